//! A hand that goes round over all entry numbers to find those that are absent and still take room.
//!
//! Costs: nothing per entry and one comparison per write; a step looks at one number, so a full round costs as many
//! steps as there are numbers. No round is made while nothing can have expired and no invalidation is pending.

/// The hand, and what it knows.
#[derive(Debug)]
pub(crate) struct Sweep {
    /// The next number to look at.
    hand: u32,
    /// No entry expires before this ms.
    soonest_ms: u64,
    /// What will be known when this round ends: no entry behind the hand, nor any written in this round, expires before.
    round_soonest_ms: u64,
    /// Numbers still to be looked at because of an invalidation.
    unswept: u32,
}

impl Sweep {
    /// No entries.
    pub(crate) fn new() -> Self {
        Self { hand: 0, soonest_ms: u64::MAX, round_soonest_ms: u64::MAX, unswept: 0 }
    }

    /// An entry was written or touched, or the hand passed by; it expires then (0: never).
    #[inline]
    pub(crate) fn note(&mut self, expires_at_ms: u64) {
        if expires_at_ms != 0 {
            self.soonest_ms = self.soonest_ms.min(expires_at_ms);
            self.round_soonest_ms = self.round_soonest_ms.min(expires_at_ms);
        }
    }

    /// All entries of a group became absent; there are numbers below `end`.
    pub(crate) fn invalidated(&mut self, end: u32) {
        self.unswept = end;
    }

    /// Whether an invalidation is not swept up yet.
    pub(crate) fn invalidation_pending(&self) -> bool {
        self.unswept > 0
    }

    /// The next number to look at, if there may be anything to find; numbers are below `end`.
    pub(crate) fn step(&mut self, end: u32, now_ms: u64) -> Option<u32> {
        if end == 0 {
            return None;
        }
        if self.hand >= end {
            (self.soonest_ms, self.round_soonest_ms) = (self.round_soonest_ms, u64::MAX);
            self.hand = 0;
        }
        if self.unswept == 0 && now_ms < self.soonest_ms {
            return None;
        }
        let entry = self.hand;
        self.hand += 1;
        self.unswept = self.unswept.saturating_sub(1);
        Some(entry)
    }

    /// Checks what is claimed against one entry.
    ///
    /// # Panics
    /// If it expires before the ms before which nothing does.
    pub(crate) fn validate(&self, entry: u32, expires_at_ms: u64) {
        if expires_at_ms != 0 {
            assert!(expires_at_ms >= self.soonest_ms, "entry {entry} expires before {}", self.soonest_ms);
            let noted = entry >= self.hand || expires_at_ms >= self.round_soonest_ms;
            assert!(noted, "entry {entry} behind the hand expires before {}", self.round_soonest_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_learns_when_the_next_one_is_due() {
        let mut sweep = Sweep::new();
        assert_eq!(sweep.step(0, 1000), None, "there are no entries");
        sweep.note(10);
        sweep.note(100);
        assert_eq!(sweep.step(2, 9), None, "nothing can have expired");
        assert_eq!(sweep.step(2, 10), Some(0), "which is removed");
        assert_eq!(sweep.step(2, 10), Some(1));
        sweep.note(100);
        assert_eq!((sweep.step(2, 10), sweep.step(2, 10)), (Some(0), Some(1)), "10 was written in the first round");
        sweep.note(100);
        assert_eq!(sweep.step(2, 99), None, "the second has shown that nothing expires before 100");
        assert_eq!(sweep.step(2, 100), Some(0));
        sweep.invalidated(2);
        assert!(sweep.invalidation_pending());
        assert_eq!((sweep.step(2, 100), sweep.step(2, 100)), (Some(1), Some(0)));
        assert!(!sweep.invalidation_pending());
    }
}

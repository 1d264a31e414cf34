//! Answers that wait for others of the same connection.
//!
//! Of the requests that a client sends together, some are for other shards. Were the answers of the rest sent at once,
//! each such batch would take two sends instead of one, and its client, which asks again as answers come, would ask in
//! ever smaller batches. So they are held back for as long as others are on their way: for a bounded number of turns
//! of a busy shard, or until it has waited for work in vain. Nothing waits for an answer that is known to take long, which
//! is that of an origin or of who holds a lease: the shard that has the key says so at once.

use std::collections::VecDeque;

use crate::limits::HOLD_TURNS;

/// When a connection's answers began to be held back; the name of that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    turn: u64,
}

/// Who is held, in order. One that was sent earlier stays in it until its time is over.
#[derive(Debug, Default)]
pub(super) struct Holding {
    turn: u64,
    queue: VecDeque<(Held, u32)>,
}

impl Holding {
    /// Counts a turn.
    pub(super) fn turn(&mut self) {
        self.turn += 1;
    }

    /// Holds what a connection has from now on.
    pub(super) fn hold(&mut self, index: u32) -> Held {
        let held = Held { turn: self.turn };
        self.queue.push_back((held, index));
        held
    }

    /// A connection that was held for [`HOLD_TURNS`], until there is none.
    pub(super) fn next_over(&mut self) -> Option<(Held, u32)> {
        let (held, _) = self.queue.front()?;
        if self.turn < held.turn + HOLD_TURNS { None } else { self.queue.pop_front() }
    }

    /// A connection that is held, until there is none.
    pub(super) fn next(&mut self) -> Option<(Held, u32)> {
        self.queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_held_for_longer_than_the_bound() {
        let mut holding = Holding::default();
        let first = holding.hold(7);
        holding.turn();
        let second = holding.hold(8);
        for _ in 1..HOLD_TURNS {
            assert_eq!(holding.next_over(), None);
            holding.turn();
        }
        assert_eq!((holding.next_over(), holding.next_over()), (Some((first, 7)), None));
        holding.turn();
        assert_eq!(holding.next_over(), Some((second, 8)));
        let third = holding.hold(9);
        assert_ne!(second, third);
        assert_eq!((holding.next(), holding.next()), (Some((third, 9)), None));
    }
}

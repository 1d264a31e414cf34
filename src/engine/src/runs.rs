//! Requests of one caller that one other shard executes, each by itself, under tickets that share a number.
//!
//! A connection asks for many keys at a time, and half of them or more are another shard's. What has to be kept for a
//! request that waits (a place, a deadline, who asked) is kept once for up to [`RUN_MAX`] of them, and what is left for
//! each is a bit.

use core::iter;

use crate::limits::RUN_MAX;

const _: () = assert!(RUN_MAX <= u32::BITS as usize, "each request of a run has a bit");

/// The requests of a run, by their places in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Which shard has them.
    pub(crate) to: u16,
    /// How many there are.
    len: u8,
    /// Those that the shard has not answered.
    open: u32,
    /// Those of them whose caller still waits.
    wanted: u32,
    /// Those that do no harm when they are asked again.
    idempotent: u32,
    /// By place: what it counts for among the unanswered bytes of its lane.
    bytes: [u32; RUN_MAX],
}

/// What follows from an answer of the other shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Landed {
    /// Somebody waits for it.
    pub(crate) is_wanted: bool,
    /// Nobody waits for any other of the run.
    pub(crate) is_last_wanted: bool,
    /// It was the last of the run, which is over.
    pub(crate) is_last: bool,
    /// What the request counted for among the unanswered bytes of its lane.
    pub(crate) bytes: u32,
}

impl Run {
    /// No requests to this shard.
    pub(crate) fn new(to: u16) -> Self {
        Self { to, len: 0, open: 0, wanted: 0, idempotent: 0, bytes: [0; RUN_MAX] }
    }

    /// Whether one more may join: there is room, and the caller has not given all others up.
    #[inline]
    pub(crate) fn takes_more(&self) -> bool {
        usize::from(self.len) < RUN_MAX && self.wanted != 0
    }

    /// Adds a request; says which place it has.
    #[inline]
    pub(crate) fn add(&mut self, is_idempotent: bool, bytes: u32) -> u8 {
        let (place, bit) = (self.len, 1 << self.len);
        self.len += 1;
        self.open |= bit;
        self.wanted |= bit;
        self.idempotent |= if is_idempotent { bit } else { 0 };
        self.bytes[usize::from(place)] = bytes;
        place
    }

    /// The shard has answered a request; `None`: it has before, or there is no such.
    #[inline]
    pub(crate) fn land(&mut self, place: u8) -> Option<Landed> {
        let bit = 1_u32.checked_shl(u32::from(place))?;
        if self.open & bit == 0 {
            return None;
        }
        let is_wanted = self.wanted & bit != 0;
        self.open &= !bit;
        self.wanted &= !bit;
        let is_last_wanted = is_wanted && self.wanted == 0;
        let bytes = self.bytes[usize::from(place)];
        Some(Landed { is_wanted, is_last_wanted, is_last: self.open == 0, bytes })
    }

    /// Nobody waits for a request any more; whether somebody did.
    pub(crate) fn give_up(&mut self, place: u8) -> bool {
        let bit = 1_u32.checked_shl(u32::from(place)).unwrap_or(0);
        let was_wanted = self.wanted & bit != 0;
        self.wanted &= !bit;
        was_wanted
    }

    /// Nobody waits for any of them any more: the places of those that somebody waited for, and whether each does no
    /// harm when it is asked again.
    pub(crate) fn give_all_up(&mut self) -> impl Iterator<Item = (u8, bool)> + use<> {
        let (mut wanted, idempotent) = (core::mem::take(&mut self.wanted), self.idempotent);
        iter::from_fn(move || {
            let place = wanted.trailing_zeros();
            let bit = 1_u32.checked_shl(place)?;
            wanted &= !bit;
            Some((place as u8, idempotent & bit != 0))
        })
    }

    /// How many the shard has not answered.
    pub(crate) fn open(&self) -> usize {
        self.open.count_ones() as usize
    }

    /// What those count for among the unanswered bytes of their lane.
    pub(crate) fn open_bytes(&self) -> usize {
        let places = self.bytes.iter().enumerate().filter(|(place, _)| self.open & 1 << place != 0);
        places.map(|(_, bytes)| *bytes as usize).sum()
    }

    /// How many somebody waits for.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted.count_ones() as usize
    }

    /// Panics with what is wrong.
    pub(crate) fn validate(&self) {
        let all = 1_u32.checked_shl(u32::from(self.len)).map_or(u32::MAX, |bit| bit - 1);
        assert!(usize::from(self.len) <= RUN_MAX, "{self:?} is too long");
        assert!(self.open != 0, "{self:?} is answered, and gone");
        assert_eq!((self.open & !all, self.wanted & !self.open, self.idempotent & !all), (0, 0, 0), "{self:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_over_when_the_last_is_answered_whoever_waits() {
        let mut run = Run::new(3);
        assert!(!run.takes_more(), "one that nobody waits for takes no more");
        for place in 0..RUN_MAX as u8 {
            assert_eq!(run.add(place % 2 == 0, 10 + u32::from(place)), place);
            run.validate();
        }
        assert!(!run.takes_more());
        assert!(run.give_up(1) && !run.give_up(1));
        let landed = Landed { is_wanted: true, is_last_wanted: false, is_last: false, bytes: 10 };
        assert_eq!(run.land(0), Some(landed));
        assert_eq!((run.land(0), run.land(RUN_MAX as u8), run.land(u8::MAX)), (None, None, None), "it has none");
        assert_eq!(run.land(1), Some(Landed { is_wanted: false, bytes: 11, ..landed }));
        let late: Vec<_> = run.give_all_up().collect();
        assert_eq!(late, (2..RUN_MAX as u8).map(|place| (place, place % 2 == 0)).collect::<Vec<_>>());
        assert_eq!((run.wanted(), run.open()), (0, RUN_MAX - 2));
        assert!(!run.takes_more(), "nor does one that was given up");
        for place in 2..RUN_MAX as u8 {
            run.validate();
            let (left, is_last) = (run.open_bytes(), usize::from(place) == RUN_MAX - 1);
            let bytes = 10 + u32::from(place);
            assert_eq!(run.land(place), Some(Landed { is_wanted: false, is_last_wanted: false, is_last, bytes }));
            assert_eq!(run.open_bytes(), left - bytes as usize);
        }
        let mut run = Run::new(0);
        run.add(true, 5);
        assert_eq!(run.land(0), Some(Landed { is_wanted: true, is_last_wanted: true, is_last: true, bytes: 5 }));
    }
}

//! The results of a multi-key request, collected from several shards and answered in the order asked.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use larder_protocol::{Entries, Found, Outcomes, Reply, Status, Value};

use crate::limits::{GATHER_BYTES_MAX, GATHERS_KEPT_MAX, KEPT_BYTES_MAX};

/// The results of one multi-key request so far.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    /// By position in the request.
    slots: Vec<Slot>,
    /// The positions, those of one shard together; parts name ranges of it.
    pub(crate) order: Vec<u32>,
    /// The values that were found. They are copies: each is as it was when its key's shard looked.
    values: Vec<u8>,
    /// Parts that are not answered.
    pub(crate) missing: usize,
    /// Whether it is a get_many.
    pub(crate) reads: bool,
}

/// What is known of one key.
#[derive(Clone, Copy, Debug)]
enum Slot {
    /// Its shard has not answered; and whether asking again does no harm.
    Waiting { idempotent: bool },
    /// Not found, or not done.
    Failed(Status),
    /// Found; the value is at `start` of [`Gather::values`].
    Found { start: u32, len: u32, flags: u32, version: u64, ttl_ms: u64, is_stale: bool },
    /// Stored under this version, or deleted (0).
    Changed { version: u64 },
}

impl Gather {
    /// Begins with one waiting key; `false`: asking for it twice does harm.
    pub(crate) fn push(&mut self, idempotent: bool) {
        self.slots.push(Slot::Waiting { idempotent });
    }

    /// Which position is at `place` of the order.
    pub(crate) fn position(&self, place: u32) -> usize {
        self.order[place as usize] as usize
    }

    /// Lays down which keys are at the places from the beginning of `before` on, or at all places: by their numbers there.
    pub(crate) fn arrange(&mut self, before: Option<Range<u32>>, indices: &[u32]) {
        let Some(before) = before else { return self.order.extend_from_slice(indices) };
        let positions: Vec<u32> = indices.iter().map(|index| self.order[(before.start + index) as usize]).collect();
        self.order[before.start as usize..][..positions.len()].copy_from_slice(&positions);
    }

    /// Whether nothing is known of a key yet.
    pub(crate) fn is_waiting(&self, position: usize) -> bool {
        matches!(self.slots[position], Slot::Waiting { .. })
    }

    /// Whoever has these places of the order is gone, and may have executed what was sent.
    pub(crate) fn lose(&mut self, order: Range<u32>, was_sent: bool) {
        for place in order {
            let position = self.position(place);
            if let Slot::Waiting { idempotent } = self.slots[position] {
                let is_harmless = idempotent || !was_sent;
                self.fail(position, if is_harmless { Status::Unavailable } else { Status::OutcomeUnknown });
            }
        }
    }

    pub(crate) fn fail(&mut self, position: usize, status: Status) {
        self.slots[position] = Slot::Failed(status);
    }

    /// None of these places of the order was done.
    pub(crate) fn fail_all(&mut self, order: Range<u32>, status: Status) {
        for place in order {
            self.fail(self.position(place), status);
        }
    }

    pub(crate) fn change(&mut self, position: usize, outcome: Result<u64, Status>) {
        self.slots[position] = match outcome {
            Ok(version) => Slot::Changed { version },
            Err(status) => Slot::Failed(status),
        };
    }

    fn found(&mut self, position: usize, found: Found<'_>) {
        let (start, len) = (self.values.len() as u32, found.value.len() as u32);
        found.value.append_to(&mut self.values);
        let Found { flags, version, ttl_ms, is_stale, .. } = found;
        self.slots[position] = Slot::Found { start, len, flags, version, ttl_ms, is_stale };
    }

    /// The status of a key whose shard did not answer in time.
    fn late(idempotent: bool) -> Status {
        if idempotent { Status::DeadlineExceeded } else { Status::OutcomeUnknown }
    }
}

impl Entries for Gather {
    fn len(&self) -> usize {
        self.slots.len()
    }

    fn entry(&self, index: usize) -> Result<Found<'_>, Status> {
        match self.slots[index] {
            Slot::Found { start, len, flags, version, ttl_ms, is_stale } => {
                let value = Value::Whole(&self.values[start as usize..][..len as usize]);
                Ok(Found { value, flags, version, ttl_ms, is_stale })
            }
            Slot::Failed(status) => Err(status),
            Slot::Waiting { idempotent } => Err(Self::late(idempotent)),
            Slot::Changed { .. } => unreachable!("a get_many changes nothing"),
        }
    }
}

impl Outcomes for Gather {
    fn len(&self) -> usize {
        self.slots.len()
    }

    fn outcome(&self, index: usize) -> Result<u64, Status> {
        match self.slots[index] {
            Slot::Changed { version } => Ok(version),
            Slot::Failed(status) => Err(status),
            Slot::Waiting { idempotent } => Err(Self::late(idempotent)),
            Slot::Found { .. } => unreachable!("a set_many or delete_many reads nothing"),
        }
    }
}

/// Every gather of one engine: those in use are counted, and those that are done are kept for the next.
#[derive(Debug, Default)]
pub(crate) struct Gathers {
    #[allow(clippy::vec_box, reason = "they go in and out of boxes that the waiting hold")]
    kept: Vec<Box<Gather>>,
    /// Bytes of values in the gathers that are in use.
    bytes: usize,
}

impl Gathers {
    /// An empty gather.
    pub(crate) fn take(&mut self, reads: bool) -> Box<Gather> {
        let mut gather = self.kept.pop().unwrap_or_default();
        gather.reads = reads;
        gather
    }

    /// Takes back a gather that nobody looks at any more.
    pub(crate) fn give_back(&mut self, mut gather: Box<Gather>) {
        self.bytes -= gather.values.len();
        gather.slots.clear();
        gather.order.clear();
        gather.values.clear();
        gather.missing = 0;
        let slots_kept_max = KEPT_BYTES_MAX / size_of::<Slot>();
        let is_small = gather.values.capacity() <= KEPT_BYTES_MAX && gather.slots.capacity() <= slots_kept_max;
        if is_small && self.kept.len() < GATHERS_KEPT_MAX {
            self.kept.push(gather);
        }
    }

    /// Copies an entry that was found. Where it does not fit, the key is answered TOO_LARGE if its own request holds
    /// that much already, or else OVERLOADED; says whether it was the latter.
    pub(crate) fn found(&mut self, gather: &mut Gather, position: usize, found: Found<'_>) -> bool {
        let bytes = found.value.len();
        if self.bytes + bytes <= GATHER_BYTES_MAX {
            self.bytes += bytes;
            gather.found(position, found);
            return false;
        }
        let is_overloaded = gather.values.len() + bytes <= GATHER_BYTES_MAX;
        gather.fail(position, if is_overloaded { Status::Overloaded } else { Status::TooLarge });
        is_overloaded
    }

    /// Bytes of values in the gathers that are in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Gather {
    /// As the reply that the caller gets.
    pub(crate) fn reply(&self) -> Reply<'_> {
        if self.reads { Reply::Entries(self) } else { Reply::Outcomes(self) }
    }

    /// Bytes of values in it.
    pub(crate) fn bytes(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: &[u8]) -> Found<'_> {
        Found { value: Value::Whole(value), flags: 3, version: 9, ttl_ms: 0, is_stale: false }
    }

    #[test]
    fn what_is_late_says_whether_it_may_be_repeated() {
        let mut gather = Gather::default();
        gather.push(true);
        gather.push(false);
        gather.push(false);
        gather.change(2, Ok(5));
        assert_eq!(gather.outcome(0), Err(Status::DeadlineExceeded));
        assert_eq!(gather.outcome(1), Err(Status::OutcomeUnknown));
        assert_eq!(gather.outcome(2), Ok(5));
    }

    #[test]
    fn values_are_bounded_over_all_gathers() {
        let mut gathers = Gathers::default();
        let (mut first, mut second) = (gathers.take(true), gathers.take(true));
        for gather in [&mut first, &mut second] {
            gather.push(true);
            gather.push(true);
        }
        let half = vec![1; GATHER_BYTES_MAX / 2];
        assert!(!gathers.found(&mut first, 0, entry(&half)));
        assert!(gathers.found(&mut second, 0, entry(&vec![1; GATHER_BYTES_MAX / 2 + 1])), "another request's fault");
        assert_eq!(second.entry(0), Err(Status::Overloaded));
        assert!(!gathers.found(&mut first, 1, entry(&vec![1; GATHER_BYTES_MAX / 2 + 1])), "its own fault");
        assert_eq!(first.entry(1), Err(Status::TooLarge));
        gathers.give_back(first);
        assert_eq!(gathers.bytes(), 0);
        assert!(!gathers.found(&mut second, 1, entry(b"fits now")));
        assert_eq!(second.entry(1), Ok(entry(b"fits now")));
        gathers.give_back(second);
        assert_eq!((gathers.bytes(), gathers.kept.len()), (0, 1), "the large one is not kept");
    }
}

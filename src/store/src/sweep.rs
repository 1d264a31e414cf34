//! A hand that goes round over the segments of the log to find entries that are absent and still take room.
//!
//! Costs: nothing per entry, and a comparison or two per write. A step passes over one segment in which nothing can have
//! expired, or looks at one block of another. No round is made while nothing can have expired and no invalidation is
//! pending.

use crate::block;
use crate::log::Log;
use crate::region::{GRANULE_BYTES, Ref, Region, SegmentId};

/// The hand, and what it knows.
#[derive(Debug)]
pub(crate) struct Sweep {
    /// The segment that it is at.
    segment: usize,
    /// Bytes of it that it passed; 0: it has not begun.
    done: u32,
    /// Which time the segment was taken when the hand began with it.
    tenure: u32,
    /// No entry of this segment behind the hand, nor any written there since it began, expires before.
    segment_soonest_ms: u64,
    /// No entry expires before this ms.
    soonest_ms: u64,
    /// What will be known when this round ends: no entry of a segment behind the hand, nor any written in this round,
    /// expires before.
    round_soonest_ms: u64,
    /// Segments still to be looked at because of an invalidation.
    unswept: usize,
}

/// What a step came across.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing can be found at this time.
    Idle,
    /// Nothing here.
    Passed,
    /// An entry, which is told to [`Sweep::stays`] unless it is removed.
    Entry(Ref),
}

impl Sweep {
    /// No entries.
    pub(crate) fn new() -> Self {
        Self {
            segment: 0,
            done: 0,
            tenure: 0,
            segment_soonest_ms: u64::MAX,
            soonest_ms: u64::MAX,
            round_soonest_ms: u64::MAX,
            unswept: 0,
        }
    }

    /// An entry was written, moved or touched in a segment; it expires then, which is not 0.
    #[inline]
    pub(crate) fn note(&mut self, segment: SegmentId, expires_at_ms: u64) {
        self.soonest_ms = self.soonest_ms.min(expires_at_ms);
        self.round_soonest_ms = self.round_soonest_ms.min(expires_at_ms);
        if segment.number() == self.segment {
            self.segment_soonest_ms = self.segment_soonest_ms.min(expires_at_ms);
        }
    }

    /// The entry of the last step is not removed, and expires then (0: never).
    pub(crate) fn stays(&mut self, expires_at_ms: u64) {
        if expires_at_ms != 0 {
            self.segment_soonest_ms = self.segment_soonest_ms.min(expires_at_ms);
        }
    }

    /// All entries of a group became absent.
    pub(crate) fn invalidated(&mut self, log: &Log) {
        // The hand may be in the middle of a segment, which then has to be looked at once more.
        self.unswept = log.segments() + 1;
    }

    /// Whether an invalidation is not swept up yet.
    pub(crate) fn invalidation_pending(&self) -> bool {
        self.unswept > 0
    }

    /// Whether there is something to look at: [`Sweep::step`] would not be idle.
    pub(crate) fn is_amid_round(&self, log: &Log, now_ms: u64) -> bool {
        // Behind the last segment the next round begins, with what this one has learned.
        let soonest_ms = if self.segment == log.segments() { self.round_soonest_ms } else { self.soonest_ms };
        self.done > 0 || self.unswept > 0 || now_ms >= soonest_ms
    }

    /// Goes on by one step.
    pub(crate) fn step(&mut self, region: &Region, log: &mut Log, now_ms: u64) -> Step {
        if self.segment == log.segments() {
            (self.soonest_ms, self.round_soonest_ms) = (self.round_soonest_ms, u64::MAX);
            self.segment = 0;
        }
        if !self.is_amid_round(log, now_ms) {
            return Step::Idle;
        }
        let Some(walk) = log.segment(self.segment) else { return self.pass() };
        if self.done == 0 {
            if self.unswept == 0 && now_ms < walk.soonest_ms {
                self.round_soonest_ms = self.round_soonest_ms.min(walk.soonest_ms);
                return self.pass();
            }
            (self.tenure, self.segment_soonest_ms) = (walk.tenure, u64::MAX);
        } else if self.tenure != walk.tenure {
            // What was taken anew has noted its entries in this round.
            return self.pass();
        }
        if self.done >= walk.used {
            log.set_soonest_ms(self.segment, self.segment_soonest_ms);
            self.round_soonest_ms = self.round_soonest_ms.min(self.segment_soonest_ms);
            return self.pass();
        }
        let place = region.start(SegmentId::new(self.segment)) + self.done / GRANULE_BYTES as u32;
        self.done += block::extent(region, place) as u32;
        let is_entry = block::is_live(region, place) && block::list(region, place) != block::PIECE;
        if is_entry { Step::Entry(place) } else { Step::Passed }
    }

    fn pass(&mut self) -> Step {
        (self.segment, self.done) = (self.segment + 1, 0);
        self.unswept = self.unswept.saturating_sub(1);
        Step::Passed
    }

    /// Checks what is claimed against one entry.
    ///
    /// # Panics
    /// If it expires before a time before which nothing does.
    pub(crate) fn validate(&self, region: &Region, log: &Log, entry: Ref, expires_at_ms: u64) {
        if expires_at_ms == 0 {
            return;
        }
        let segment = region.segment_of(entry);
        let walk = log.segment(segment.number()).expect("an entry is in the log");
        assert!(expires_at_ms >= walk.soonest_ms, "entry {entry} of {segment:?} expires before {}", walk.soonest_ms);
        assert!(expires_at_ms >= self.soonest_ms, "entry {entry} expires before {}", self.soonest_ms);
        if segment.number() < self.segment {
            let noted = expires_at_ms >= self.round_soonest_ms;
            assert!(noted, "entry {entry} behind the hand expires before {}", self.round_soonest_ms);
        }
        let place = region.start(segment) + self.done / GRANULE_BYTES as u32;
        if segment.number() == self.segment && entry < place && walk.tenure == self.tenure {
            let noted = expires_at_ms >= self.segment_soonest_ms;
            assert!(noted, "entry {entry} in the hand's segment expires before {}", self.segment_soonest_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GroupIndex;
    use crate::block::{Frame, Header, Shape, Stamp};
    use crate::log::Stream;

    const FRAME: Frame = Frame { shard: 0, base_ms: 0 };

    struct Segments {
        region: Region,
        log: Log,
        sweep: Sweep,
    }

    impl Segments {
        /// Writes an entry of a whole segment.
        fn write(&mut self, expires_at_ms: u64) -> Ref {
            let bytes = self.region.segment_bytes();
            let entry = self.log.append(&mut self.region, bytes, Stream::Written).unwrap();
            let shape = Shape { header: Header::WIDE, key_bytes: bytes - 48, value_bytes: 0, pieces: 0 };
            let stamp = Stamp { version: 256, expires_at_ms, flags: 0, now_ms: 0 };
            FRAME.write(&mut self.region, entry, GroupIndex(0), shape, stamp);
            self.log.note(&self.region, entry, expires_at_ms);
            self.sweep.note(self.region.segment_of(entry), expires_at_ms);
            entry
        }

        fn step(&mut self, now_ms: u64) -> Step {
            self.sweep.step(&self.region, &mut self.log, now_ms)
        }

        /// Steps on to the next entry.
        fn next(&mut self, now_ms: u64) -> Step {
            let passed = |step: &Step| *step == Step::Passed;
            core::iter::repeat_with(|| self.step(now_ms)).take(20).find(|step| !passed(step)).unwrap()
        }
    }

    #[test]
    fn a_round_learns_when_the_next_one_is_due() {
        let region = Region::of_segments(5, 1 << 10);
        let log = Log::new(&region);
        let mut segments = Segments { region, log, sweep: Sweep::new() };
        assert_eq!(segments.step(1000), Step::Idle, "there are no entries");
        let first = segments.write(10);
        let second = segments.write(100);
        assert_eq!(segments.step(9), Step::Idle, "nothing can have expired");
        assert_eq!(segments.next(10), Step::Entry(first));
        segments.log.kill(&mut segments.region, first, 1 << 10);
        assert_eq!(segments.next(10), Step::Idle, "the other one was passed over");
        assert_eq!(segments.next(99), Step::Idle, "and a round has shown that nothing expires before 100");
        assert_eq!(segments.next(100), Step::Entry(second));
        segments.sweep.stays(100);
        assert_eq!(segments.next(100), Step::Entry(second), "it is still there");
        segments.sweep.stays(200);
        segments.log.validate(&segments.region);
        assert_eq!(segments.next(199), Step::Idle);
        segments.sweep.invalidated(&segments.log);
        assert!(segments.sweep.invalidation_pending());
        assert_eq!(segments.next(199), Step::Entry(second));
        segments.sweep.stays(200);
        while segments.sweep.invalidation_pending() {
            segments.sweep.stays(200);
            assert_ne!(segments.step(199), Step::Idle);
        }
        assert_eq!(segments.next(199), Step::Idle);
    }
}

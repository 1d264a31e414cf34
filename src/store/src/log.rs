//! The log of a shard: segments to which blocks are appended, and the account of what is alive in them.
//!
//! There are two open segments: one for what is written, one for what outlives cleaning, so that old and young do not
//! mix. A segment that has no room for the next block is closed. When its last block dies it is given back to the
//! region; until then it is listed by its dead bytes, so that the one that is most worth cleaning is found at once.
//!
//! What must stay true:
//! - A segment of the log holds blocks without a gap, from its beginning up to `used`.
//! - `live` is the sum of its live blocks. A closed segment has some.
//! - No live entry of a segment expires before `soonest_ms`.

use alloc::vec;
use alloc::vec::Vec;

use crate::block;
use crate::limits::{DEAD_CLASSES, RESERVE_SEGMENTS};
use crate::region::{GRANULE_BYTES, Ref, Region, SegmentId, Use};

/// No segment.
const NONE: u32 = u32::MAX;

/// What is appended to which open segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// What is written. Does not take segments of the reserve.
    Written = 0,
    /// What outlives cleaning.
    Survivors = 1,
}

/// The account of all segments, and of the work on them.
#[derive(Debug)]
pub(crate) struct Log {
    segments: Vec<Segment>,
    open: [u32; 2],
    emptying: Option<Emptying>,
    /// The first closed segment of each class of dead bytes.
    classes: [u32; DEAD_CLASSES],
    /// A bit for each class that has segments.
    occupied: u32,
    /// Bytes of live blocks, and of dead ones in closed segments.
    live_bytes: u64,
    dead_bytes: u64,
    /// Bytes appended by writes and by cleaning, ever.
    pub(crate) written_bytes: u64,
    pub(crate) moved_bytes: u64,
}

/// The account of one segment.
#[derive(Clone, Copy, Debug)]
struct Segment {
    soonest_ms: u64,
    used: u32,
    live: u32,
    /// Neighbours in the list of the class.
    previous: u32,
    next: u32,
    /// Counts how often the segment was taken.
    tenure: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not of the log.
    Elsewhere,
    Open,
    Closed,
    Emptying,
}

/// The segment that is being emptied, and how far that has come, in bytes.
#[derive(Clone, Copy, Debug)]
struct Emptying {
    segment: SegmentId,
    done: u32,
}

impl Log {
    /// A log without segments.
    pub(crate) fn new(region: &Region) -> Self {
        let elsewhere = Segment {
            soonest_ms: u64::MAX,
            used: 0,
            live: 0,
            previous: NONE,
            next: NONE,
            tenure: 0,
            state: State::Elsewhere,
        };
        Self {
            segments: vec![elsewhere; region.segments()],
            open: [NONE; 2],
            emptying: None,
            classes: [NONE; DEAD_CLASSES],
            occupied: 0,
            live_bytes: 0,
            dead_bytes: 0,
            written_bytes: 0,
            moved_bytes: 0,
        }
    }

    /// Bytes of all live blocks.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Bytes of dead blocks in closed segments.
    pub(crate) fn dead_bytes(&self) -> u64 {
        self.dead_bytes
    }

    /// Bytes that the open segment for what is written still has.
    #[inline]
    pub(crate) fn open_bytes(&self, region: &Region) -> usize {
        match self.open[Stream::Written as usize] {
            NONE => 0,
            open => region.segment_bytes() - self.segments[open as usize].used as usize,
        }
    }

    /// Makes room for a live block of so many bytes, up to a whole segment; `None` if no segment can be had.
    pub(crate) fn append(&mut self, region: &mut Region, bytes: usize, stream: Stream) -> Option<Ref> {
        debug_assert!(bytes.is_multiple_of(GRANULE_BYTES) && bytes <= region.segment_bytes());
        let open = match self.open[stream as usize] {
            NONE => self.open_segment(region, stream)?,
            open if self.segments[open as usize].used as usize + bytes > region.segment_bytes() => {
                self.open_segment(region, stream)?
            }
            open => open,
        };
        let segment = &mut self.segments[open as usize];
        let place = region.start(SegmentId::new(open as usize)) + segment.used / GRANULE_BYTES as u32;
        segment.used += bytes as u32;
        segment.live += bytes as u32;
        self.live_bytes += bytes as u64;
        match stream {
            Stream::Written => self.written_bytes += bytes as u64,
            Stream::Survivors => self.moved_bytes += bytes as u64,
        }
        Some(place)
    }

    fn open_segment(&mut self, region: &mut Region, stream: Stream) -> Option<u32> {
        let taken = match stream {
            Stream::Written => region.take(Use::Log)?,
            Stream::Survivors => region.take_reserved(Use::Log)?,
        };
        let number = taken.number() as u32;
        let segment = &mut self.segments[taken.number()];
        debug_assert_eq!(segment.state, State::Elsewhere);
        *segment = Segment {
            soonest_ms: u64::MAX,
            used: 0,
            live: 0,
            previous: NONE,
            next: NONE,
            tenure: segment.tenure.wrapping_add(1),
            state: State::Open,
        };
        let full = core::mem::replace(&mut self.open[stream as usize], number);
        if full != NONE {
            self.close(region, full);
        }
        Some(number)
    }

    fn close(&mut self, region: &mut Region, number: u32) {
        let segment = &mut self.segments[number as usize];
        segment.state = State::Closed;
        self.dead_bytes += u64::from(segment.used - segment.live);
        match segment.live {
            0 => self.give_back(region, number),
            _ => self.list(region, number),
        }
    }

    /// A live block of so many bytes is dead from now on.
    pub(crate) fn kill(&mut self, region: &mut Region, place: Ref, bytes: usize) {
        debug_assert!(block::is_live(region, place), "a block dies once");
        block::set_dead(region, place);
        let number = region.segment_of(place).number() as u32;
        let segment = &mut self.segments[number as usize];
        let before = class(segment, region.segment_bytes());
        segment.live -= bytes as u32;
        self.live_bytes -= bytes as u64;
        if segment.state == State::Open {
            return;
        }
        self.dead_bytes += bytes as u64;
        let (live, after) = (segment.live, class(segment, region.segment_bytes()));
        if live == 0 {
            if segment.state == State::Closed {
                self.unlist(number, before);
            }
            self.give_back(region, number);
        } else if segment.state == State::Closed && before != after {
            self.unlist(number, before);
            self.list(region, number);
        }
    }

    /// Gives a segment without live blocks back to the region.
    fn give_back(&mut self, region: &mut Region, number: u32) {
        let segment = &mut self.segments[number as usize];
        self.dead_bytes -= u64::from(segment.used);
        segment.state = State::Elsewhere;
        let id = SegmentId::new(number as usize);
        if self.emptying.is_some_and(|emptying| emptying.segment == id) {
            self.emptying = None;
        }
        region.give_back(id);
    }

    fn list(&mut self, region: &Region, number: u32) {
        let class = class(&self.segments[number as usize], region.segment_bytes());
        let next = core::mem::replace(&mut self.classes[class], number);
        (self.segments[number as usize].previous, self.segments[number as usize].next) = (NONE, next);
        if next != NONE {
            self.segments[next as usize].previous = number;
        }
        self.occupied |= 1 << class;
    }

    fn unlist(&mut self, number: u32, class: usize) {
        let Segment { previous, next, .. } = self.segments[number as usize];
        match previous {
            NONE => self.classes[class] = next,
            previous => self.segments[previous as usize].next = next,
        }
        if next != NONE {
            self.segments[next as usize].previous = previous;
        }
        if self.classes[class] == NONE {
            self.occupied &= !(1 << class);
        }
    }

    /// Whether a segment is being emptied.
    pub(crate) fn is_emptying(&self) -> bool {
        self.emptying.is_some()
    }

    /// Begins to empty a closed segment with about the most dead bytes of all, if those are at least of this class;
    /// whether one was found.
    pub(crate) fn begin_emptying(&mut self, class_min: usize) -> bool {
        debug_assert!(self.emptying.is_none());
        let Some(class) = self.occupied.checked_ilog2().map(|class| class as usize) else { return false };
        let number = self.classes[class];
        let segment = self.segments[number as usize];
        if class < class_min || segment.used == segment.live {
            return false;
        }
        self.unlist(number, class);
        self.segments[number as usize].state = State::Emptying;
        self.emptying = Some(Emptying { segment: SegmentId::new(number as usize), done: 0 });
        true
    }

    /// The next block of the segment that is being emptied, and its bytes. After the last one there is no such segment
    /// any more.
    pub(crate) fn next_to_move(&mut self, region: &Region) -> Option<(Ref, usize)> {
        let emptying = self.emptying.as_mut()?;
        let place = region.start(emptying.segment) + emptying.done / GRANULE_BYTES as u32;
        debug_assert!(emptying.done < self.segments[emptying.segment.number()].used, "an empty segment is given back");
        let bytes = block::extent(region, place);
        emptying.done += bytes as u32;
        Some((place, bytes))
    }

    /// An entry at this place expires then, which is not 0.
    #[inline]
    pub(crate) fn note(&mut self, region: &Region, entry: Ref, expires_at_ms: u64) {
        let segment = &mut self.segments[region.segment_of(entry).number()];
        segment.soonest_ms = segment.soonest_ms.min(expires_at_ms);
    }

    /// How many segments the region has, of the log or not.
    pub(crate) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// What a walk over a segment has to know, if it is one of the log.
    pub(crate) fn segment(&self, number: usize) -> Option<Walk> {
        let Segment { soonest_ms, used, tenure, state, .. } = self.segments[number];
        (state != State::Elsewhere).then_some(Walk { soonest_ms, used, tenure })
    }

    /// Says that no live entry of a segment expires before a time.
    pub(crate) fn set_soonest_ms(&mut self, number: usize, soonest_ms: u64) {
        self.segments[number].soonest_ms = soonest_ms;
    }

    /// The blocks of all segments with their bytes, dead ones too.
    pub(crate) fn blocks<'r>(&'r self, region: &'r Region) -> impl Iterator<Item = (Ref, usize)> + use<'r> {
        let numbers = (0..self.segments.len()).filter(|&number| self.segments[number].state != State::Elsewhere);
        numbers.flat_map(move |number| {
            let mut done = 0;
            core::iter::from_fn(move || {
                let place = region.start(SegmentId::new(number)) + done / GRANULE_BYTES as u32;
                (done < self.segments[number].used).then(|| {
                    let bytes = block::extent(region, place);
                    done += bytes as u32;
                    (place, bytes)
                })
            })
        })
    }

    /// Walks all segments.
    ///
    /// # Panics
    /// If an account is wrong.
    pub(crate) fn validate(&self, region: &Region) {
        let mut live = vec![0_u64; self.segments.len()];
        let mut used = live.clone();
        for (place, bytes) in self.blocks(region) {
            let number = region.segment_of(place).number();
            used[number] += bytes as u64;
            live[number] += if block::is_live(region, place) { bytes as u64 } else { 0 };
        }
        let (mut dead_bytes, mut listed) = (0, 0);
        for (number, segment) in self.segments.iter().enumerate() {
            let id = SegmentId::new(number);
            let is_log = region.purpose(id) == Use::Log;
            assert_eq!(is_log, segment.state != State::Elsewhere, "{id:?} is of the log or not");
            if !is_log {
                continue;
            }
            assert_eq!(used[number], u64::from(segment.used), "the blocks of {id:?} do not end where it does");
            assert_eq!(live[number], u64::from(segment.live), "live bytes of {id:?} are counted wrong");
            match segment.state {
                State::Open => assert!(self.open.contains(&(number as u32)), "{id:?} is open twice"),
                _ => {
                    assert!(segment.live > 0, "{id:?} has nothing alive");
                    dead_bytes += u64::from(segment.used - segment.live);
                    listed += usize::from(segment.state == State::Closed);
                }
            }
        }
        assert_eq!(self.live_bytes, live.iter().sum::<u64>(), "live bytes are counted wrong");
        assert_eq!(self.dead_bytes, dead_bytes, "dead bytes are counted wrong");
        assert_eq!(listed, self.validate_classes(region), "a closed segment is not listed");
    }

    fn validate_classes(&self, region: &Region) -> usize {
        let mut listed = 0;
        for (of, &first) in self.classes.iter().enumerate() {
            assert_eq!(self.occupied >> of & 1 == 1, first != NONE, "class {of} is marked wrong");
            let (mut previous, mut number) = (NONE, first);
            while number != NONE {
                let segment = &self.segments[number as usize];
                assert_eq!(segment.state, State::Closed, "segment {number} is listed and not closed");
                assert_eq!(class(segment, region.segment_bytes()), of, "segment {number} is in another class");
                assert_eq!(segment.previous, previous, "segment {number} has a broken link");
                (previous, number, listed) = (number, segment.next, listed + 1);
            }
        }
        listed
    }
}

/// What a walk over the blocks of a segment has to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    /// No live entry expires before.
    pub(crate) soonest_ms: u64,
    /// Bytes of its blocks.
    pub(crate) used: u32,
    /// Another number when the segment was given back and taken again.
    pub(crate) tenure: u32,
}

/// The class of a segment by its dead bytes, each of the same width.
#[inline]
fn class(segment: &Segment, segment_bytes: usize) -> usize {
    // A segment is as long as a power of two, which the processor need not be made to divide by.
    let dead = (segment.used - segment.live) as usize;
    ((dead * DEAD_CLASSES) >> segment_bytes.trailing_zeros()).min(DEAD_CLASSES - 1)
}

const _: () = assert!(DEAD_CLASSES <= u32::BITS as usize, "there is a bit for each class");
const _: () = assert!(RESERVE_SEGMENTS >= 2, "survivors of one segment may need the rest of one and another");

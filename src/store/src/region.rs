//! The memory of one shard: one region, reserved at once, backed by pages little by little (see `pages`), and cut into segments of one size.
//!
//! Everything that grows lives in segments, so that the region bounds it all, and memory that one use gives back serves
//! another. Free segments that were touched before are taken first, the last given back before the others; so the
//! process grows only when nothing that it has would do.
//!
//! What must stay true:
//! - A segment is free or has one use, and whoever took it is the only one who writes to it.
//! - [`Region::take`] leaves [`RESERVE_SEGMENTS`] free ones, which only [`Region::take_reserved`] may have: cleaning
//!   can always begin. From tables it keeps [`LOG_SEGMENTS`] more, so that their growth, which can wait, takes no
//!   segment from a write, which cannot.
//! - The first segment that is taken begins at granule 0. It belongs to whoever takes it first, for as long as the
//!   region lives; that is the index, so that 0 is the place of no entry.

use alloc::vec;
use alloc::vec::Vec;

use crate::limits::{
    LOG_SEGMENTS, REGION_BYTES_MAX, RESERVE_SEGMENTS, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENTS_WANTED,
};
use crate::pages::{self, Ahead, Taken};
use crate::prefetch::{self, LINE_BYTES};

/// Bytes of one granule: a place in the region is the number of a granule, in 32 bits.
pub(crate) const GRANULE_BYTES: usize = 8;
/// Granules of one line of the processor's cache.
pub(crate) const LINE_GRANULES: usize = LINE_BYTES / GRANULE_BYTES;

/// A granule: a word in little-endian order, or eight bytes of something.
pub(crate) type Granule = [u8; GRANULE_BYTES];
/// A line: it begins where a line of the processor's cache does.
pub(crate) type Line = [Granule; LINE_GRANULES];

/// The place of something in a region: the number of the granule at which it begins.
pub(crate) type Ref = u32;

/// What a segment is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Nothing.
    Free,
    /// Entries.
    Log,
    /// The index of entries.
    Index,
    /// Ghosts.
    Ghost,
}

impl Use {
    /// How many uses there are.
    const COUNT: usize = 4;
}

/// The number of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentId(u32);

impl SegmentId {
    /// The segment with this number.
    pub(crate) fn new(number: usize) -> Self {
        Self(number as u32)
    }

    /// Its number, from 0.
    pub(crate) fn number(self) -> usize {
        self.0 as usize
    }
}

/// The memory of one shard.
pub(crate) struct Region {
    granules: Vec<Granule>,
    /// Granules in front of the first line.
    skipped: usize,
    /// Granules of a segment, as a power of two.
    segment_shift: u32,
    uses: Vec<Use>,
    counts: [u32; Use::COUNT],
    /// Free segments that were touched; the last is taken first.
    touched: Vec<SegmentId>,
    /// Segments from this one on were never taken.
    untouched: u32,
    /// The same in bytes.
    reached: Taken,
    /// How often a segment was taken.
    taken: u64,
}

impl core::fmt::Debug for Region {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (segments, segment_bytes) = (self.segments(), self.segment_bytes());
        write!(f, "Region {{ {segments} segments of {segment_bytes} bytes, {:?} by use }}", self.counts)
    }
}

impl Region {
    /// Reserves as many whole segments as there is room for in `memory_bytes`, at least those that are kept and one
    /// more of the smallest size. Nothing is touched yet.
    ///
    /// # Panics
    /// If `memory_bytes` is above [`REGION_BYTES_MAX`].
    pub(crate) fn new(memory_bytes: u64) -> Self {
        assert!(memory_bytes <= REGION_BYTES_MAX, "a region of {memory_bytes} bytes is above {REGION_BYTES_MAX}");
        let (segments, segment_bytes) = segmentation(memory_bytes as usize);
        Self::of_segments(segments, segment_bytes)
    }

    /// Reserves segments of a size, which is a power of two of whole lines.
    pub(crate) fn of_segments(segments: usize, segment_bytes: usize) -> Self {
        assert!(segment_bytes.is_power_of_two() && segment_bytes >= LINE_BYTES, "a segment is whole lines");
        // An allocator gives out large blocks at places that no line begins at: one line more makes up for that.
        // Memory that has to be zero comes from the kernel as it is, which does not touch it.
        let granules = vec![[0; GRANULE_BYTES]; segments * (segment_bytes / GRANULE_BYTES) + LINE_GRANULES];
        pages::prefer_large(&granules);
        let skipped = granules.as_ptr().cast::<u8>().align_offset(LINE_BYTES) / GRANULE_BYTES;
        Self {
            granules,
            // Where alignment is not known, lines may be split between two of the processor's; nothing else changes.
            skipped: skipped % LINE_GRANULES,
            segment_shift: (segment_bytes / GRANULE_BYTES).trailing_zeros(),
            uses: vec![Use::Free; segments],
            counts: [segments as u32, 0, 0, 0],
            touched: Vec::with_capacity(segments),
            untouched: 0,
            reached: Taken::default(),
            taken: 0,
        }
    }

    /// Who goes ahead of what is touched.
    pub(crate) fn ahead(&self) -> Ahead {
        self.reached.ahead(&self.granules)
    }

    /// Bytes of a segment; a power of two.
    #[inline]
    pub(crate) fn segment_bytes(&self) -> usize {
        GRANULE_BYTES << self.segment_shift
    }

    /// How many segments there are, free or not.
    pub(crate) fn segments(&self) -> usize {
        self.uses.len()
    }

    /// How many segments are free, those of the reserve among them.
    #[inline]
    pub(crate) fn free(&self) -> usize {
        self.used_for(Use::Free)
    }

    /// How many segments have this use.
    #[inline]
    pub(crate) fn used_for(&self, purpose: Use) -> usize {
        self.counts[purpose as usize] as usize
    }

    /// How often a segment was taken since the beginning.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// What a segment is used for.
    #[inline]
    pub(crate) fn purpose(&self, segment: SegmentId) -> Use {
        self.uses[segment.number()]
    }

    /// Whether a segment can be taken for this.
    #[inline]
    pub(crate) fn can_take(&self, purpose: Use) -> bool {
        self.can_take_all(purpose, 1)
    }

    /// Whether so many segments can be taken for this, one after the other.
    #[inline]
    pub(crate) fn can_take_all(&self, purpose: Use, segments: usize) -> bool {
        let kept = if purpose == Use::Log { 0 } else { LOG_SEGMENTS };
        self.free() >= RESERVE_SEGMENTS + kept + segments
    }

    /// Takes a segment, unless only those are left that are kept for others. It holds whatever its last user left there.
    pub(crate) fn take(&mut self, purpose: Use) -> Option<SegmentId> {
        if self.can_take(purpose) { self.take_reserved(purpose) } else { None }
    }

    /// Takes a segment, one of the reserve if need be.
    pub(crate) fn take_reserved(&mut self, purpose: Use) -> Option<SegmentId> {
        debug_assert_ne!(purpose, Use::Free, "a segment is taken for something");
        let segment = match self.touched.pop() {
            Some(segment) => segment,
            None if (self.untouched as usize) < self.segments() => {
                self.untouched += 1;
                self.reached.set(self.untouched as usize * self.segment_bytes());
                SegmentId(self.untouched - 1)
            }
            None => return None,
        };
        self.set_use(segment, purpose);
        self.taken += 1;
        Some(segment)
    }

    /// Gives a segment back.
    pub(crate) fn give_back(&mut self, segment: SegmentId) {
        assert_ne!(self.purpose(segment), Use::Free, "{segment:?} is given back twice");
        self.set_use(segment, Use::Free);
        self.touched.push(segment);
    }

    fn set_use(&mut self, segment: SegmentId, purpose: Use) {
        let old = core::mem::replace(&mut self.uses[segment.number()], purpose);
        self.counts[old as usize] -= 1;
        self.counts[purpose as usize] += 1;
    }

    /// The granule at which a segment begins.
    #[inline]
    pub(crate) fn start(&self, segment: SegmentId) -> Ref {
        segment.0 << self.segment_shift
    }

    /// The segment that a granule lies in.
    #[inline]
    pub(crate) fn segment_of(&self, place: Ref) -> SegmentId {
        SegmentId(place >> self.segment_shift)
    }

    /// All bytes, from granule 0 on.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.granules[self.skipped..].as_flattened()
    }

    /// All bytes, from granule 0 on.
    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.granules[self.skipped..].as_flattened_mut()
    }

    /// So many bytes, from one on.
    #[inline]
    pub(crate) fn part(&self, start: usize, len: usize) -> &[u8] {
        let start = self.number(0) * GRANULE_BYTES + start;
        &self.granules.as_flattened()[start..start + len]
    }

    /// So many bytes, from one on.
    #[inline]
    pub(crate) fn part_mut(&mut self, start: usize, len: usize) -> &mut [u8] {
        let start = self.number(0) * GRANULE_BYTES + start;
        &mut self.granules.as_flattened_mut()[start..start + len]
    }

    /// The word at a granule.
    #[inline]
    pub(crate) fn word(&self, place: Ref) -> u64 {
        u64::from_le_bytes(self.granules[self.number(place)])
    }

    /// Sets the word at a granule.
    #[inline]
    pub(crate) fn set_word(&mut self, place: Ref, word: u64) {
        *self.granule_mut(place) = word.to_le_bytes();
    }

    /// A granule.
    #[inline]
    pub(crate) fn granule_mut(&mut self, place: Ref) -> &mut Granule {
        let number = self.number(place);
        &mut self.granules[number]
    }

    /// So many granules, from one on.
    #[inline]
    pub(crate) fn granules<const N: usize>(&self, place: Ref) -> &[Granule; N] {
        let number = self.number(place);
        self.granules[number..number + N].first_chunk().expect("there are as many in the range")
    }

    /// So many granules, from one on.
    #[inline]
    pub(crate) fn granules_mut<const N: usize>(&mut self, place: Ref) -> &mut [Granule; N] {
        let number = self.number(place);
        self.granules[number..number + N].first_chunk_mut().expect("there are as many in the range")
    }

    /// The line that begins at a granule.
    #[inline]
    pub(crate) fn line(&self, place: Ref) -> &Line {
        self.granules(place)
    }

    /// The line that begins at a granule.
    #[inline]
    pub(crate) fn line_mut(&mut self, place: Ref) -> &mut Line {
        self.granules_mut(place)
    }

    /// Which of all granules this one is. The remainder is what it is taken of; with it the compiler sees that nothing
    /// overflows, and one comparison is left of every check of a range.
    #[inline]
    fn number(&self, place: Ref) -> usize {
        self.skipped % LINE_GRANULES + place as usize
    }

    /// Asks the processor for the line that a granule lies in. Any number will do.
    #[inline]
    pub(crate) fn prefetch(&self, place: Ref) {
        if let Some(granule) = self.granules.get(self.number(place)) {
            prefetch::first(granule);
        }
    }

    /// Walks all segments.
    ///
    /// # Panics
    /// If the counts or the free segments are wrong.
    pub(crate) fn validate(&self) {
        let mut counts = [0; Use::COUNT];
        self.uses.iter().for_each(|&purpose| counts[purpose as usize] += 1);
        assert_eq!(self.counts, counts, "segments by use are counted wrong");
        let mut listed = vec![false; self.segments()];
        for &segment in &self.touched {
            assert_eq!(self.purpose(segment), Use::Free, "{segment:?} is used and free");
            assert!(!core::mem::replace(&mut listed[segment.number()], true), "{segment:?} is free twice");
            assert!(segment.0 < self.untouched, "{segment:?} is free and was never taken");
        }
        let untouched = &self.uses[self.untouched as usize..];
        assert!(untouched.iter().all(|&purpose| purpose == Use::Free), "a segment is used that was never taken");
        assert_eq!(self.touched.len() + untouched.len(), self.free(), "a free segment is in no list");
    }
}

/// How many segments of how many bytes so much memory is cut into.
pub(crate) fn segmentation(memory_bytes: usize) -> (usize, usize) {
    let wanted = (memory_bytes / SEGMENTS_WANTED).max(1).next_power_of_two();
    let segment_bytes = wanted.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    ((memory_bytes / segment_bytes).max(RESERVE_SEGMENTS + LOG_SEGMENTS + 1), segment_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_sized_by_the_memory() {
        assert_eq!(segmentation(0), (RESERVE_SEGMENTS + LOG_SEGMENTS + 1, 16 << 10));
        assert_eq!(segmentation(1 << 20), (64, 16 << 10));
        assert_eq!(segmentation((1 << 20) + 16_383), (64, 16 << 10));
        assert_eq!(segmentation(64 << 20), (512, 128 << 10));
        assert_eq!(segmentation(96 << 20), (384, 256 << 10));
        assert_eq!(segmentation(8 << 30), (8192, 1 << 20));
        assert_eq!(segmentation(REGION_BYTES_MAX as usize), (32768, 1 << 20));
    }

    #[test]
    #[should_panic(expected = "is above")]
    fn a_region_that_places_cannot_number_is_refused() {
        Region::new(REGION_BYTES_MAX + 1);
    }

    #[test]
    fn what_was_touched_is_taken_first_and_the_reserve_last() {
        let mut region = Region::of_segments(5, 1024);
        let taken: Vec<_> = core::iter::from_fn(|| region.take(Use::Log)).collect();
        assert_eq!(taken, [SegmentId::new(0), SegmentId::new(1), SegmentId::new(2)]);
        assert_eq!((region.free(), region.used_for(Use::Log)), (RESERVE_SEGMENTS, 3));
        region.give_back(SegmentId::new(1));
        assert_eq!(region.take(Use::Index), None, "a table leaves one more to the log");
        region.give_back(SegmentId::new(0));
        assert_eq!(region.take(Use::Index), Some(SegmentId::new(0)), "the last that was given back");
        assert_eq!(region.take_reserved(Use::Log), Some(SegmentId::new(1)), "touched before those that never were");
        assert_eq!(region.take(Use::Ghost), None);
        assert_eq!(region.take_reserved(Use::Log), Some(SegmentId::new(3)));
        assert_eq!(region.take_reserved(Use::Log), Some(SegmentId::new(4)));
        assert_eq!(region.take_reserved(Use::Log), None);
        assert_eq!(region.purpose(SegmentId::new(0)), Use::Index);
        region.validate();
    }

    #[test]
    #[should_panic(expected = "given back twice")]
    fn a_segment_is_given_back_once() {
        let mut region = Region::of_segments(3, 64);
        let segment = region.take(Use::Log).unwrap();
        region.give_back(segment);
        region.give_back(segment);
    }

    #[test]
    fn random_uses_agree_with_a_model() {
        for seed in 0..10 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut region = Region::of_segments(random.usize(3..20), 64);
            let mut held: Vec<(SegmentId, Use)> = Vec::new();
            for step in 0..2000 {
                let free = region.segments() - held.len();
                let purpose = [Use::Log, Use::Index, Use::Ghost][random.usize(0..3)];
                match random.u8(0..4) {
                    0 => match region.take(purpose) {
                        Some(segment) => held.push((segment, purpose)),
                        None => assert!(
                            free <= RESERVE_SEGMENTS + if purpose == Use::Log { 0 } else { LOG_SEGMENTS },
                            "seed {seed} step {step}"
                        ),
                    },
                    1 => match region.take_reserved(purpose) {
                        Some(segment) => held.push((segment, purpose)),
                        None => assert_eq!(free, 0, "seed {seed} step {step}"),
                    },
                    _ if held.is_empty() => continue,
                    _ => region.give_back(held.swap_remove(random.usize(0..held.len())).0),
                }
                region.validate();
                assert_eq!(region.free(), region.segments() - held.len(), "seed {seed} step {step}");
                assert!(held.iter().all(|&(segment, purpose)| region.purpose(segment) == purpose));
            }
        }
    }

    #[test]
    fn words_lines_and_bytes_are_the_same_memory() {
        let mut region = Region::of_segments(4, 256);
        assert!(region.bytes().iter().all(|&byte| byte == 0));
        assert!(region.bytes().len() >= 4 * 256);
        assert_eq!(region.bytes().as_ptr().align_offset(LINE_BYTES), 0, "granule 0 begins a line");
        region.set_word(9, 0x0807_0605_0403_0201);
        assert_eq!(region.bytes()[72..80], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(region.line(8)[1], [1, 2, 3, 4, 5, 6, 7, 8]);
        region.line_mut(8)[7] = [9; 8];
        assert_eq!(region.word(15), u64::from_le_bytes([9; 8]));
        region.bytes_mut()[72] = 0;
        assert_eq!(region.word(9), 0x0807_0605_0403_0200);
        assert_eq!(
            (region.start(SegmentId::new(3)), region.segment_of(95), region.segment_of(96)),
            (96, SegmentId::new(2), SegmentId::new(3))
        );
        let last = 4 * 256 / 8 - 8;
        region.line_mut(last)[0] = [1; 8];
        (0..u32::MAX).step_by(1 << 20).for_each(|place| region.prefetch(place));
        assert_eq!(region.line(last)[0], [1; 8]);
    }

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn a_word_outside_is_refused() {
        Region::of_segments(3, 64).word(1 << 20);
    }
}

//! Lines in segments: an array that grows and shrinks by whole segments, wherever those lie.

use alloc::vec::Vec;

use crate::prefetch::LINE_BYTES;
use crate::region::{LINE_GRANULES, Line, Ref, Region, SegmentId, Use};

/// An array of lines over the segments of one use.
#[derive(Debug)]
pub(crate) struct Lines {
    purpose: Use,
    directory: Vec<SegmentId>,
    /// The granules at which the segments begin.
    starts: Vec<Ref>,
    /// Lines of a segment, as a power of two.
    shift: u32,
    /// Lines below this one hold nothing of their segment's user before.
    wiped: usize,
}

impl Lines {
    /// No lines.
    pub(crate) fn new(region: &Region, purpose: Use) -> Self {
        let shift = (region.segment_bytes() / LINE_BYTES).trailing_zeros();
        Self { purpose, directory: Vec::new(), starts: Vec::new(), shift, wiped: 0 }
    }

    /// How many there are, wiped or not.
    pub(crate) fn len(&self) -> usize {
        self.directory.len() << self.shift
    }

    /// How many lines so many segments have.
    pub(crate) fn of_segments(&self, segments: usize) -> usize {
        segments << self.shift
    }

    /// Takes one more segment, if there is one. Its lines have to be wiped.
    pub(crate) fn grow(&mut self, region: &mut Region) -> bool {
        let Some(segment) = region.take(self.purpose) else { return false };
        self.directory.push(segment);
        self.starts.push(region.start(segment));
        true
    }

    /// Makes up to `lines_max` lines below `end` empty that are not; whether all that are there are wiped now.
    pub(crate) fn wipe(&mut self, region: &mut Region, end: usize, lines_max: usize) -> bool {
        let end = self.len().min(end);
        let now = end.min(self.wiped.saturating_add(lines_max));
        (self.wiped..now).for_each(|line| *region.line_mut(self.place(line)) = Line::default());
        self.wiped = self.wiped.max(now);
        self.wiped >= end
    }

    /// Gives segments back, from the last on, that the first so many lines do not need. Lines behind those are empty.
    pub(crate) fn shrink(&mut self, region: &mut Region, lines: usize) {
        let segments = lines.div_ceil(self.of_segments(1));
        for segment in self.directory.drain(segments..).rev() {
            region.give_back(segment);
        }
        self.starts.truncate(segments);
        self.wiped = self.wiped.min(self.len());
    }

    /// The granule at which a line begins.
    #[inline]
    pub(crate) fn place(&self, line: usize) -> Ref {
        let within = line & ((1 << self.shift) - 1);
        self.starts[line >> self.shift] + (within * LINE_GRANULES) as Ref
    }

    /// A line.
    #[inline]
    pub(crate) fn line<'a>(&self, region: &'a Region, line: usize) -> &'a Line {
        region.line(self.place(line))
    }

    /// A line.
    #[inline]
    pub(crate) fn line_mut<'a>(&self, region: &'a mut Region, line: usize) -> &'a mut Line {
        region.line_mut(self.place(line))
    }

    /// Whether all segments are theirs, and so many lines are wiped.
    ///
    /// # Panics
    /// If a segment has another use, or too few lines are wiped.
    pub(crate) fn validate(&self, region: &Region, wiped: usize) {
        assert!((wiped..=self.len()).contains(&self.wiped), "{} lines are wiped and not {wiped}", self.wiped);
        for &segment in &self.directory {
            assert_eq!(region.purpose(segment), self.purpose, "{segment:?} has another use");
        }
        assert!(self.directory.iter().map(|&segment| region.start(segment)).eq(self.starts.iter().copied()));
    }
}

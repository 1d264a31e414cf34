//! What ghosts cost, in the order in which they were remembered.

use alloc::collections::VecDeque;

use crate::region::{Ref, Region, SegmentId, Use};

/// One ghost, or nothing: 0 is nothing. In a narrow ring 32 bits of it are kept.
pub(super) type Cell = u64;

/// Bits of a cell in a narrow ring.
pub(super) const NARROW_BITS: u32 = 32;

/// A queue of cells numbered from its beginning, in segments. Cells are emptied in any order; a segment without any that
/// is full is given back, whatever lies before it.
#[derive(Debug)]
pub(super) struct Ring {
    chunks: VecDeque<Chunk>,
    /// Bits of a cell.
    cell_bits: u32,
    /// Cells of a segment, as a power of two.
    shift: u32,
    /// The number of the first cell of the first chunk.
    base: u64,
    /// No cell before this number is full.
    tail: u64,
    /// The number of the next cell.
    head: u64,
}

/// A segment of cells.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    /// Not there if it was given back.
    segment: Option<SegmentId>,
    /// How many cells are full.
    full: u32,
}

impl Ring {
    /// An empty queue, whose first cell has the number 0.
    pub(super) fn new(region: &Region, is_wide: bool) -> Self {
        let cell_bits = if is_wide { Cell::BITS } else { NARROW_BITS };
        let shift = (region.segment_bytes() * 8 / cell_bits as usize).trailing_zeros();
        Self { chunks: VecDeque::new(), cell_bits, shift, base: 0, tail: 0, head: 0 }
    }

    /// Whether its cells have 64 bits.
    #[inline]
    pub(super) fn is_wide(&self) -> bool {
        self.cell_bits == Cell::BITS
    }

    /// The number of the next cell.
    #[inline]
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// Appends a cell, which may be empty; whether there was memory for it.
    pub(super) fn push(&mut self, region: &mut Region, cell: Cell) -> bool {
        if self.head == self.base + ((self.chunks.len() as u64) << self.shift) {
            let Some(segment) = region.take(Use::Ghost) else { return false };
            // The last chunk is the only one that may be empty and have memory.
            if let Some(last) = self.chunks.back_mut().filter(|chunk| chunk.full == 0) {
                last.segment.take().into_iter().for_each(|segment| region.give_back(segment));
            }
            self.chunks.push_back(Chunk { segment: Some(segment), full: 0 });
            self.drop_vacant();
        }
        let number = self.head;
        self.head += 1;
        self.write(region, number, cell);
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.full += u32::from(cell != 0);
        }
        true
    }

    /// The cell with this number; 0 if it is empty or was forgotten.
    #[inline]
    pub(super) fn cell(&self, region: &Region, number: u64) -> Cell {
        if number < self.tail || number >= self.head {
            return 0;
        }
        let within = (number - self.base) as usize;
        let chunk = self.chunks[within >> self.shift];
        let Some(segment) = chunk.segment else { return 0 };
        let (place, bits) = self.place(region, segment, within);
        region.word(place) >> bits & self.cell_mask()
    }

    /// How far before the next number the first one is that may be full.
    #[inline]
    pub(super) fn span(&self) -> u64 {
        self.head - self.tail
    }

    /// Empties a full cell.
    pub(super) fn empty(&mut self, region: &mut Region, number: u64) {
        debug_assert_ne!(self.cell(region, number), 0, "cell {number} is empty already");
        self.write(region, number, 0);
        self.count_out(region, number);
    }

    /// Takes the first full cell out. What is empty before it is never looked at again.
    pub(super) fn pop(&mut self, region: &mut Region) -> Option<Cell> {
        while self.tail < self.head {
            let (number, cell) = (self.tail, self.cell(region, self.tail));
            self.tail += 1;
            if cell != 0 {
                self.count_out(region, number);
                return Some(cell);
            }
        }
        None
    }

    /// A cell of this number is full no more.
    fn count_out(&mut self, region: &mut Region, number: u64) {
        let index = (number - self.base) as usize >> self.shift;
        let is_last = index + 1 == self.chunks.len();
        let chunk = &mut self.chunks[index];
        chunk.full -= 1;
        // The last one may still be written to.
        if chunk.full == 0 && !is_last {
            let segment = chunk.segment.take();
            region.give_back(segment.expect("a chunk with full cells has a segment"));
            self.drop_vacant();
        }
    }

    /// Gives all memory back. Numbers go on.
    pub(super) fn clear(&mut self, region: &mut Region) {
        self.chunks.drain(..).filter_map(|chunk| chunk.segment).for_each(|segment| region.give_back(segment));
        (self.base, self.tail) = (self.head, self.head);
    }

    /// Full cells with their numbers, the oldest first.
    pub(super) fn iter(&self, region: &Region) -> impl Iterator<Item = (u64, Cell)> {
        (self.tail..self.head).map(|number| (number, self.cell(region, number))).filter(|&(_, cell)| cell != 0)
    }

    /// Walks everything.
    ///
    /// # Panics
    /// If anything is wrong.
    pub(super) fn validate(&self, region: &Region) {
        assert!(self.base <= self.tail && self.tail <= self.head, "{self:?}");
        let mut full = alloc::vec![0; self.chunks.len()];
        self.iter(region).for_each(|(number, _)| full[(number - self.base) as usize >> self.shift] += 1);
        for (index, (chunk, full)) in self.chunks.iter().zip(full).enumerate() {
            assert_eq!(chunk.full, full, "a segment of ghosts is counted wrong");
            let may_be_empty = index + 1 == self.chunks.len();
            assert!(chunk.segment.is_some() == (full > 0 || may_be_empty), "an empty segment was not given back");
            assert!(chunk.segment.is_none_or(|segment| region.purpose(segment) == Use::Ghost));
        }
    }

    /// Leaves chunks behind that were given back.
    fn drop_vacant(&mut self) {
        while let Some(Chunk { segment: None, .. }) = self.chunks.front() {
            self.chunks.pop_front();
            self.base += 1 << self.shift;
        }
        self.tail = self.tail.max(self.base);
    }

    fn write(&mut self, region: &mut Region, number: u64, cell: Cell) {
        let within = (number - self.base) as usize;
        let segment = self.chunks[within >> self.shift].segment.expect("a cell is written in memory");
        let (place, bits) = self.place(region, segment, within);
        debug_assert_eq!(cell & !self.cell_mask(), 0, "a narrow cell has {NARROW_BITS} bits");
        let kept = region.word(place) & !(self.cell_mask() << bits);
        region.set_word(place, kept | cell << bits);
    }

    #[inline]
    fn cell_mask(&self) -> Cell {
        Cell::MAX >> (Cell::BITS - self.cell_bits)
    }

    /// The granule of a cell, and how far it is shifted there.
    fn place(&self, region: &Region, segment: SegmentId, within: usize) -> (Ref, usize) {
        let within = within & ((1 << self.shift) - 1);
        let bit = within * self.cell_bits as usize;
        (region.start(segment) + (bit / Cell::BITS as usize) as Ref, bit % Cell::BITS as usize)
    }
}

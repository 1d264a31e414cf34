//! What ghosts cost, in the order in which they were remembered.

use alloc::collections::VecDeque;

use crate::limits::{GHOST_WORD_BYTES, GHOST_WORDS_MAX};
use crate::region::{GRANULE_BYTES, Region, SegmentId, Use};

/// One ghost, or nothing: 0 is nothing. [`NARROW_BITS`] of it are kept, and 32 for each word.
pub(super) type Cell = u128;

/// Bits of a cell without words.
pub(super) const NARROW_BITS: u32 = 24;
const NARROW_BYTES: usize = NARROW_BITS as usize / 8;
const WORD_BYTES: usize = GHOST_WORD_BYTES as usize;
const WITH_ONE_BYTES: usize = NARROW_BYTES + WORD_BYTES;
const WITH_TWO_BYTES: usize = NARROW_BYTES + 2 * WORD_BYTES;
/// What is empty is passed over by so many bytes at once.
const STRIDE: usize = 64;

/// A queue of cells numbered from its beginning, in segments. Cells are emptied in any order; a segment without any that
/// is full is given back, whatever lies before it.
#[derive(Debug)]
pub(super) struct Ring {
    chunks: VecDeque<Chunk>,
    /// Words of each cell, up to [`GHOST_WORDS_MAX`].
    words: u64,
    /// Cells of a segment.
    per_chunk: usize,
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
    pub(super) fn new(region: &Region, words: u64) -> Self {
        assert!(words <= GHOST_WORDS_MAX, "{words} words for a ghost");
        let per_chunk = region.segment_bytes() / cell_bytes(words);
        Self { chunks: VecDeque::new(), words, per_chunk, base: 0, tail: 0, head: 0 }
    }

    /// The same, but the first cell has this number.
    #[cfg(test)]
    pub(super) fn starting_at(self, number: u64) -> Self {
        Self { base: number, tail: number, head: number, ..self }
    }

    /// Words of each cell.
    #[inline]
    pub(super) fn words(&self) -> u64 {
        self.words
    }

    /// The number of the next cell.
    #[inline]
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// Appends a cell, which may be empty; whether there was memory for it.
    pub(super) fn push(&mut self, region: &mut Region, cell: Cell) -> bool {
        if self.head == self.base + (self.chunks.len() * self.per_chunk) as u64 {
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
        let (index, cell) = self.locate(number);
        let Some(segment) = self.chunks[index].segment else { return 0 };
        let start = self.byte(region, segment, cell);
        match self.words {
            0 => read::<NARROW_BYTES>(region, start),
            1 => read::<WITH_ONE_BYTES>(region, start),
            _ => read::<WITH_TWO_BYTES>(region, start),
        }
    }

    /// No cell before this number is full.
    #[inline]
    pub(super) fn tail(&self) -> u64 {
        self.tail
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
        self.tail = self.next_full(region)?;
        let (number, cell) = (self.tail, self.cell(region, self.tail));
        self.tail += 1;
        self.count_out(region, number);
        Some(cell)
    }

    /// The number of the first full cell. Segments without any are passed over at once, and empty cells by some twenty, so
    /// that many that were emptied behind the first take no time that would be noticed.
    fn next_full(&self, region: &Region) -> Option<u64> {
        let mut number = self.tail;
        while number < self.head {
            let (index, cell) = self.locate(number);
            let behind = self.base + ((index + 1) * self.per_chunk) as u64;
            let Some(segment) = self.chunks[index].segment.filter(|_| self.chunks[index].full > 0) else {
                number = behind;
                continue;
            };
            let end = self.byte(region, segment, self.per_chunk);
            let rest = &region.bytes()[self.byte(region, segment, cell)..end];
            let empty = rest.chunks(STRIDE).take_while(|part| part.iter().fold(0, |any, byte| any | byte) == 0).count();
            number += (empty * STRIDE / self.cell_bytes()) as u64;
            while number < behind.min(self.head) {
                if self.cell(region, number) != 0 {
                    return Some(number);
                }
                number += 1;
            }
        }
        None
    }

    /// A cell of this number is full no more.
    fn count_out(&mut self, region: &mut Region, number: u64) {
        let (index, _) = self.locate(number);
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
        self.iter(region).for_each(|(number, _)| full[self.locate(number).0] += 1);
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
            self.base += self.per_chunk as u64;
        }
        self.tail = self.tail.max(self.base);
    }

    fn write(&mut self, region: &mut Region, number: u64, cell: Cell) {
        let (index, within) = self.locate(number);
        let segment = self.chunks[index].segment.expect("a cell is written in memory");
        let start = self.byte(region, segment, within);
        debug_assert_eq!(cell >> (8 * self.cell_bytes()), 0, "cell {cell:#x} has too many bits");
        match self.words {
            0 => write::<NARROW_BYTES>(region, start, cell),
            1 => write::<WITH_ONE_BYTES>(region, start, cell),
            _ => write::<WITH_TWO_BYTES>(region, start, cell),
        }
    }

    /// In which chunk a cell is, and the how manyth there.
    #[inline]
    fn locate(&self, number: u64) -> (usize, usize) {
        let within = (number - self.base) as usize;
        (within / self.per_chunk, within % self.per_chunk)
    }

    /// The byte at which a cell of a segment begins.
    #[inline]
    fn byte(&self, region: &Region, segment: SegmentId, within: usize) -> usize {
        region.start(segment) as usize * GRANULE_BYTES + within * self.cell_bytes()
    }

    #[inline]
    fn cell_bytes(&self) -> usize {
        cell_bytes(self.words)
    }
}

/// Bytes of a cell with so many words.
#[inline]
fn cell_bytes(words: u64) -> usize {
    NARROW_BYTES + words as usize * WORD_BYTES
}

#[inline]
fn read<const BYTES: usize>(region: &Region, start: usize) -> Cell {
    let mut cell = [0; size_of::<Cell>()];
    cell[..BYTES].copy_from_slice(region.part(start, BYTES));
    Cell::from_le_bytes(cell)
}

#[inline]
fn write<const BYTES: usize>(region: &mut Region, start: usize, cell: Cell) {
    region.part_mut(start, BYTES).copy_from_slice(&cell.to_le_bytes()[..BYTES]);
}

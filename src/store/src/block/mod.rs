//! How entries and pieces lie in the log: the words of their headers, and what follows them.
//!
//! A block begins at a granule and lies within one segment. That of an entry has four words,
//!
//! | word | low bits to high |
//! |---|---|
//! | 0 | neighbour towards the head of the policy's list 32, towards the tail 32 |
//! | 1 | list 4, live 1, hit 1, marks 2, second of the last access 24, flags of the writer 32 |
//! | 2 | version without the shard's number 56, bytes of the key 8 |
//! | 3 | ms of expiry since the base 40 (0: never), bytes of the value 16, group 8 |
//!
//! and then key and value. Where the policy keeps more than links with an entry, the top bit of the group is set and two
//! words end the block: four memos of the policy, 32 bits each.
//!
//! Where a number does not fit, and for a value in pieces, the group is [`WIDE`]. Word 3 then says in its low bits: group
//! 16, number of pieces 16, whether memos end the block 1. Two more words follow it: the ms of expiry since the Unix epoch;
//! bytes of the key 32 and of the value 32. Then come the places of the pieces, 32 bits each, filled up to a whole word.
//!
//! A block is never longer than it must be, up to whole words. An entry that would be longer than
//! [`piece_bytes`] has as much of its value as can be in pieces of just that size; what remains, the first part of the
//! value, lies with the key. So what an entry takes depends on its lengths alone, and little is lost where a segment
//! ends. A piece has two words, then its part of the value:
//!
//! | word | low bits to high |
//! |---|---|
//! | 0 | place of the owner 32, which piece it is 32 |
//! | 1 | list 4 ([`PIECE`]), live 1 |
//!
//! Everything but the links stays as it is when a block dies, so that the blocks behind it are found.

mod head;

use core::ops::Range;

use crate::limits::{PIECE_BYTES_MAX, PIECE_BYTES_MIN, PIECES_PER_SEGMENT};
use crate::region::{GRANULE_BYTES, Ref, Region};
use crate::{GroupIndex, Marks};

pub(crate) use head::{Before, Frame, Head, MEMOS, Stamp, copy_memos, memos, set_memos};

/// Bytes of a header.
const HEADER_BYTES: usize = 4 * GRANULE_BYTES;
/// Bytes of a header that says more.
const WIDE_BYTES: usize = 6 * GRANULE_BYTES;
/// Bytes of the memos behind the value, if there are some.
const MEMO_BYTES: usize = 2 * GRANULE_BYTES;
/// Bytes of the header of a piece.
const PIECE_HEADER_BYTES: usize = 2 * GRANULE_BYTES;
/// Bytes of the place of a piece.
const PLACE_BYTES: usize = size_of::<Ref>();

/// The list that pieces are tagged for; policies use those below.
pub(crate) const PIECE: u8 = LIST_MASK as u8;
/// The group that says that the header is wide.
const WIDE: u64 = 0xFF;
/// What is set in the group of a narrow header if memos end the block.
const WITH_MEMOS: u64 = 0x80;
/// Groups from this one on need a wide header.
const GROUP_WIDE: u64 = WIDE & !WITH_MEMOS;

const LIST_MASK: u64 = 0xF;
const LIVE: u64 = 1 << 4;
const HIT: u64 = 1 << 5;
const STALE: u64 = 1 << 6;
const WON: u64 = 1 << 7;
const ACCESS_SHIFT: u32 = 8;
const ACCESS_MASK: u64 = (1 << 24) - 1;
const FLAGS_SHIFT: u32 = 32;
const VERSION_BITS: u32 = 56;
const EXPIRY_BITS: u32 = 40;
const EXPIRY_MAX: u64 = (1 << EXPIRY_BITS) - 1;
const VALUE_SHIFT: u32 = EXPIRY_BITS;
const GROUP_SHIFT: u32 = 56;
/// In word 3 of a wide header.
const PIECES_SHIFT: u32 = 16;
const WIDE_WITH_MEMOS: u64 = 1 << 32;
/// Lengths from these on need a wide header.
const KEY_WIDE: usize = 0xFF;
const VALUE_WIDE: usize = 0xFFFF;

/// Bytes of a piece and of the longest block whose entry has none, given those of a segment.
pub(crate) fn piece_bytes(segment_bytes: usize) -> usize {
    (segment_bytes / PIECES_PER_SEGMENT).clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX)
}

/// What a header can say, and what is kept with the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Six words, and not four.
    is_wide: bool,
    /// Two words with the memos of the policy end the block.
    has_memos: bool,
}

impl Header {
    /// Four words.
    pub(crate) const NARROW: Self = Self { is_wide: false, has_memos: false };
    /// Four words, and memos.
    pub(crate) const WITH_MEMOS: Self = Self { has_memos: true, ..Self::NARROW };
    /// Six words.
    pub(crate) const WIDE: Self = Self { is_wide: true, ..Self::NARROW };

    /// One that can do what either can.
    #[inline]
    pub(crate) fn and(self, other: Self) -> Self {
        Self { is_wide: self.is_wide | other.is_wide, has_memos: self.has_memos | other.has_memos }
    }

    /// Whether it can do all that another can.
    #[inline]
    pub(crate) fn covers(self, other: Self) -> bool {
        self.and(other) == self
    }
}

/// Lengths that say where everything of an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// What the header can say.
    pub(crate) header: Header,
    /// Bytes of the key.
    pub(crate) key_bytes: usize,
    /// Bytes of the value.
    pub(crate) value_bytes: usize,
    /// How many pieces there are.
    pub(crate) pieces: usize,
}

impl Shape {
    /// The shape of an entry with these lengths, in segments of this size, if nothing else calls for a wide header.
    pub(crate) fn of(key_bytes: usize, value_bytes: usize, segment_bytes: usize) -> Self {
        let is_wide = key_bytes >= KEY_WIDE || value_bytes >= VALUE_WIDE;
        let header = if is_wide { Header::WIDE } else { Header::NARROW };
        let whole = Self { header, key_bytes, value_bytes, pieces: 0 };
        let piece_bytes = piece_bytes(segment_bytes);
        if whole.block_bytes(segment_bytes) <= piece_bytes {
            return whole;
        }
        match value_bytes / (piece_bytes - PIECE_HEADER_BYTES) {
            0 => whole,
            pieces => Self { header: Header::WIDE, pieces, ..whole },
        }
    }

    /// The shape of an entry with these lengths, this header, which is not wide, and no pieces, if the header can say them.
    #[inline]
    pub(crate) fn narrow(header: Header, key_bytes: usize, value_bytes: usize) -> Option<Self> {
        let is_narrow = key_bytes < KEY_WIDE && value_bytes < VALUE_WIDE;
        is_narrow.then_some(Self { header, key_bytes, value_bytes, pieces: 0 })
    }

    /// The same with a header that can do no less than this one.
    #[inline]
    pub(crate) fn with(self, header: Header) -> Self {
        Self { header: self.header.and(header), ..self }
    }

    /// The shape of the entry at this place.
    #[inline]
    pub(crate) fn at(region: &Region, entry: Ref) -> Self {
        Head::at(region, entry).shape(region, entry)
    }

    #[cold]
    #[inline(never)]
    fn at_wide(region: &Region, entry: Ref, word_3: u64) -> Self {
        let lengths = region.word(entry + 5);
        let [key_bytes, value_bytes] = [lengths as u32 as usize, (lengths >> 32) as usize];
        let pieces = usize::from((word_3 >> PIECES_SHIFT) as u16);
        let header = Header { is_wide: true, has_memos: word_3 & WIDE_WITH_MEMOS != 0 };
        Self { header, key_bytes, value_bytes, pieces }
    }

    /// Bytes of the block of key and first part, header and places included.
    #[inline]
    pub(crate) fn block_bytes(&self, segment_bytes: usize) -> usize {
        let key_and_first = self.key_offset() + self.key_bytes + self.first_bytes(segment_bytes);
        key_and_first.next_multiple_of(GRANULE_BYTES) + self.memo_bytes()
    }

    /// Bytes of all blocks.
    #[inline]
    pub(crate) fn total_bytes(&self, segment_bytes: usize) -> usize {
        let block_bytes = self.block_bytes(segment_bytes);
        match self.pieces {
            0 => block_bytes,
            pieces => block_bytes + pieces * piece_bytes(segment_bytes),
        }
    }

    /// Bytes of the part of the value that lies with the key.
    #[inline]
    pub(crate) fn first_bytes(&self, segment_bytes: usize) -> usize {
        match self.pieces {
            0 => self.value_bytes,
            pieces => self.value_bytes - pieces * (piece_bytes(segment_bytes) - PIECE_HEADER_BYTES),
        }
    }

    #[inline]
    fn memo_bytes(&self) -> usize {
        if self.header.has_memos { MEMO_BYTES } else { 0 }
    }

    #[inline]
    fn key_offset(&self) -> usize {
        match self.header.is_wide {
            false => HEADER_BYTES,
            true => WIDE_BYTES + (self.pieces * PLACE_BYTES).next_multiple_of(GRANULE_BYTES),
        }
    }

    /// The first word of the memos.
    #[inline]
    fn memos(&self, entry: Ref, segment_bytes: usize) -> Ref {
        debug_assert!(self.header.has_memos, "entry {entry} has no memos");
        entry + ((self.block_bytes(segment_bytes) - MEMO_BYTES) / GRANULE_BYTES) as Ref
    }

    /// The key of an entry of this shape, and the first part of its value.
    #[inline]
    pub(crate) fn key_and_first<'r>(&self, region: &'r Region, entry: Ref) -> (&'r [u8], &'r [u8]) {
        let start = byte_of(entry) + self.key_offset();
        let bytes = self.key_bytes + self.first_bytes(region.segment_bytes());
        region.part(start, bytes).split_at(self.key_bytes)
    }

    /// Where the key of an entry of this shape lies, in bytes.
    #[inline]
    pub(crate) fn key_range(&self, entry: Ref) -> Range<usize> {
        let start = byte_of(entry) + self.key_offset();
        start..start + self.key_bytes
    }

    /// Where the first part of its value lies, in bytes.
    #[inline]
    pub(crate) fn first_range(&self, entry: Ref, segment_bytes: usize) -> Range<usize> {
        let start = byte_of(entry) + self.key_offset() + self.key_bytes;
        start..start + self.first_bytes(segment_bytes)
    }

    /// Where the places of its pieces lie, in bytes.
    #[inline]
    pub(crate) fn places_range(&self, entry: Ref) -> Range<usize> {
        let start = byte_of(entry) + WIDE_BYTES;
        if self.pieces == 0 { start..start } else { start..start + self.pieces * PLACE_BYTES }
    }

    /// Where the value goes on that has so many bytes before, and up to where there, in bytes.
    pub(crate) fn part_range(&self, region: &Region, entry: Ref, offset: usize) -> Range<usize> {
        let segment_bytes = region.segment_bytes();
        let first = self.first_range(entry, segment_bytes);
        let Some(behind) = offset.checked_sub(first.len()) else { return first.start + offset..first.end };
        if self.pieces == 0 {
            return first.end..first.end;
        }
        let part_bytes = piece_bytes(segment_bytes) - PIECE_HEADER_BYTES;
        let part = part_range(piece(region, entry, behind / part_bytes), segment_bytes);
        part.start + behind % part_bytes..part.end
    }
}

/// The byte at which a granule begins.
#[inline]
pub(crate) fn byte_of(place: Ref) -> usize {
    place as usize * GRANULE_BYTES
}

/// The group of an entry.
#[inline]
pub(crate) fn group(region: &Region, entry: Ref) -> GroupIndex {
    Head::at(region, entry).group()
}

/// The key of an entry.
#[inline]
pub(crate) fn key(region: &Region, entry: Ref) -> &[u8] {
    &region.bytes()[Shape::at(region, entry).key_range(entry)]
}

/// Sets the marks of leases.
pub(crate) fn set_marks(region: &mut Region, entry: Ref, marks: Marks) {
    let bits = if marks.stale { STALE } else { 0 } | if marks.won { WON } else { 0 };
    let word = region.word(entry + 1) & !(STALE | WON);
    region.set_word(entry + 1, word | bits);
}

/// The tag of the list that an entry is in, or [`PIECE`]; meaningless while no list holds it.
#[inline]
pub(crate) fn list(region: &Region, place: Ref) -> u8 {
    (region.word(place + 1) & LIST_MASK) as u8
}

/// Says in which list an entry is.
#[inline]
pub(crate) fn set_list(region: &mut Region, entry: Ref, list: u8) {
    let word = region.word(entry + 1) & !LIST_MASK;
    region.set_word(entry + 1, word | u64::from(list));
}

/// What the header of an entry says of reading and leases, and its list; see [`restore_state`].
pub(crate) fn state(region: &Region, entry: Ref) -> u64 {
    region.word(entry + 1)
}

/// Says of reading and leases what another header of the entry said. Its list stays.
pub(crate) fn restore_state(region: &mut Region, entry: Ref, state: u64) {
    let list = region.word(entry + 1) & LIST_MASK;
    region.set_word(entry + 1, state & !LIST_MASK | list);
}

/// The neighbours of an entry: towards the head, towards the tail.
#[inline]
pub(crate) fn links(region: &Region, entry: Ref) -> (Ref, Ref) {
    let word = region.word(entry);
    (word as u32, (word >> 32) as u32)
}

/// Sets both neighbours.
#[inline]
pub(crate) fn set_links(region: &mut Region, entry: Ref, towards_head: Ref, towards_tail: Ref) {
    region.set_word(entry, u64::from(towards_head) | u64::from(towards_tail) << 32);
}

/// Sets the neighbour towards the head. It and its counterpart only write: a neighbour is seldom in a cache, and nothing
/// waits for a write.
#[inline]
pub(crate) fn set_towards_head(region: &mut Region, entry: Ref, other: Ref) {
    let ([low, _], []) = region.granule_mut(entry).as_chunks_mut::<PLACE_BYTES>() else { return };
    *low = other.to_le_bytes();
}

/// Sets the neighbour towards the tail.
#[inline]
pub(crate) fn set_towards_tail(region: &mut Region, entry: Ref, other: Ref) {
    let ([_, high], []) = region.granule_mut(entry).as_chunks_mut::<PLACE_BYTES>() else { return };
    *high = other.to_le_bytes();
}

/// Whether a block, of an entry or a piece, is alive.
#[inline]
pub(crate) fn is_live(region: &Region, place: Ref) -> bool {
    region.word(place + 1) & LIVE != 0
}

/// Says that a block is dead.
#[inline]
pub(crate) fn set_dead(region: &mut Region, place: Ref) {
    let word = region.word(place + 1);
    region.set_word(place + 1, word & !LIVE);
}

/// Bytes of a block, of an entry or a piece, dead or alive.
#[inline]
pub(crate) fn extent(region: &Region, place: Ref) -> usize {
    let segment_bytes = region.segment_bytes();
    match list(region, place) {
        PIECE => piece_bytes(segment_bytes),
        _ => Shape::at(region, place).block_bytes(segment_bytes),
    }
}

/// Where a piece of an entry is.
#[inline]
pub(crate) fn piece(region: &Region, owner: Ref, number: usize) -> Ref {
    let start = byte_of(owner) + WIDE_BYTES + number * PLACE_BYTES;
    place_at(&region.bytes()[start..])
}

/// Says where a piece of an entry is.
pub(crate) fn set_piece(region: &mut Region, owner: Ref, number: usize, place: Ref) {
    let start = byte_of(owner) + WIDE_BYTES + number * PLACE_BYTES;
    region.bytes_mut()[start..start + PLACE_BYTES].copy_from_slice(&place.to_le_bytes());
}

/// The place that bytes begin with.
#[inline]
pub(crate) fn place_at(bytes: &[u8]) -> Ref {
    Ref::from_le_bytes(*bytes.first_chunk().expect("places of pieces are whole"))
}

/// Writes the header of a live piece.
pub(crate) fn write_piece(region: &mut Region, place: Ref, owner: Ref, number: usize) {
    region.set_word(place, u64::from(owner) | (number as u64) << 32);
    region.set_word(place + 1, u64::from(PIECE) | LIVE);
}

/// The owner of a piece, and which of its pieces it is.
pub(crate) fn owner(region: &Region, place: Ref) -> (Ref, usize) {
    let word = region.word(place);
    (word as u32, (word >> 32) as usize)
}

/// Where the part of the value lies that is in a piece, in bytes.
#[inline]
pub(crate) fn part_range(place: Ref, segment_bytes: usize) -> Range<usize> {
    let start = byte_of(place);
    start + PIECE_HEADER_BYTES..start + piece_bytes(segment_bytes)
}

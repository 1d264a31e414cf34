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
//! and then key and value. Where a number does not fit, and for a value in pieces, the group is [`WIDE`] and three more
//! words follow, which say all of it: the ms of expiry since the Unix epoch; bytes of the key 32 and of the value 32;
//! group 32 and number of pieces 32. Then come the places of the pieces, 32 bits each, filled up to a whole word.
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

use core::ops::Range;

use crate::limits::{PIECE_BYTES_MAX, PIECE_BYTES_MIN, PIECES_PER_SEGMENT};
use crate::region::{GRANULE_BYTES, Ref, Region};
use crate::{GroupIndex, Marks};

/// Bytes of a header.
const HEADER_BYTES: usize = 4 * GRANULE_BYTES;
/// Bytes of a header that says more.
const WIDE_BYTES: usize = 7 * GRANULE_BYTES;
/// Bytes of the header of a piece.
const PIECE_HEADER_BYTES: usize = 2 * GRANULE_BYTES;
/// Bytes of the place of a piece.
const PLACE_BYTES: usize = size_of::<Ref>();

/// The list that pieces are tagged for; policies use those below.
pub(crate) const PIECE: u8 = LIST_MASK as u8;
/// The group that says that the header is wide.
const WIDE: u64 = 0xFF;

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
/// Lengths from these on need a wide header.
const KEY_WIDE: usize = 0xFF;
const VALUE_WIDE: usize = 0xFFFF;

/// Bytes of a piece and of the longest block whose entry has none, given those of a segment.
pub(crate) fn piece_bytes(segment_bytes: usize) -> usize {
    (segment_bytes / PIECES_PER_SEGMENT).clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX)
}

/// The four words of the header of an entry, read at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head([u64; 4]);

impl Head {
    /// The header of the entry at this place.
    #[inline]
    pub(crate) fn at(region: &Region, entry: Ref) -> Self {
        let header = region.bytes()[byte_of(entry)..].first_chunk().expect("an entry lies within the region");
        Self::of(header)
    }

    #[inline]
    fn of(header: &[u8; HEADER_BYTES]) -> Self {
        let (words, _) = header.as_chunks();
        Self([0, 1, 2, 3].map(|word| u64::from_le_bytes(words[word])))
    }

    #[inline]
    fn is_wide(&self) -> bool {
        self.0[3] >> GROUP_SHIFT == WIDE
    }

    /// The shape of the entry, which lies at this place.
    #[inline]
    pub(crate) fn shape(&self, region: &Region, entry: Ref) -> Shape {
        if self.is_wide() {
            return Shape::at_wide(region, entry);
        }
        let value_bytes = (self.0[3] >> VALUE_SHIFT) as usize & VALUE_WIDE;
        Shape { is_wide: false, key_bytes: (self.0[2] >> VERSION_BITS) as usize, value_bytes, pieces: 0 }
    }

    /// The writer's flags.
    #[inline]
    pub(crate) fn flags(&self) -> u32 {
        (self.0[1] >> FLAGS_SHIFT) as u32
    }

    /// Whether the value was read since it was stored.
    #[inline]
    pub(crate) fn hit(&self) -> bool {
        self.0[1] & HIT != 0
    }

    /// Marks of leases.
    #[inline]
    pub(crate) fn marks(&self) -> Marks {
        Marks { stale: self.0[1] & STALE != 0, won: self.0[1] & WON != 0 }
    }

    /// When the entry was last accessed, in ms since the Unix epoch: the second of that access, if it was less than 194
    /// days ago.
    #[inline]
    pub(crate) fn accessed_ms(&self, now_ms: u64) -> u64 {
        let now_s = now_ms / 1000;
        let ago_s = now_s.wrapping_sub(self.0[1] >> ACCESS_SHIFT) & ACCESS_MASK;
        now_s.saturating_sub(ago_s) * 1000
    }

    /// Notes an access.
    #[inline]
    pub(crate) fn access(&self, region: &mut Region, entry: Ref, now_ms: u64) {
        let state = self.0[1] & !(ACCESS_MASK << ACCESS_SHIFT);
        region.set_word(entry + 1, state | second(now_ms) << ACCESS_SHIFT | HIT);
    }
}

/// Lengths that say where everything of an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Whether the header is wide.
    pub(crate) is_wide: bool,
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
        let whole = Self { is_wide, key_bytes, value_bytes, pieces: 0 };
        let piece_bytes = piece_bytes(segment_bytes);
        if whole.block_bytes(segment_bytes) <= piece_bytes {
            return whole;
        }
        match value_bytes / (piece_bytes - PIECE_HEADER_BYTES) {
            0 => whole,
            pieces => Self { is_wide: true, pieces, ..whole },
        }
    }

    /// The shape of the entry at this place.
    #[inline]
    pub(crate) fn at(region: &Region, entry: Ref) -> Self {
        Head::at(region, entry).shape(region, entry)
    }

    #[cold]
    fn at_wide(region: &Region, entry: Ref) -> Self {
        let (lengths, rest) = (region.word(entry + 5), region.word(entry + 6));
        let [key_bytes, value_bytes] = [lengths as u32 as usize, (lengths >> 32) as usize];
        Self { is_wide: true, key_bytes, value_bytes, pieces: (rest >> 32) as usize }
    }

    /// Bytes of the block of key and first part, header and places included.
    #[inline]
    pub(crate) fn block_bytes(&self, segment_bytes: usize) -> usize {
        (self.key_offset() + self.key_bytes + self.first_bytes(segment_bytes)).next_multiple_of(GRANULE_BYTES)
    }

    /// Bytes of all blocks.
    #[inline]
    pub(crate) fn total_bytes(&self, segment_bytes: usize) -> usize {
        self.block_bytes(segment_bytes) + self.pieces * piece_bytes(segment_bytes)
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
    fn key_offset(&self) -> usize {
        match self.is_wide {
            false => HEADER_BYTES,
            true => WIDE_BYTES + (self.pieces * PLACE_BYTES).next_multiple_of(GRANULE_BYTES),
        }
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

/// What a header says beside links, lengths, list and the state of reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// The version; see [`crate::Store`].
    pub(crate) version: u64,
    /// When it expires, in ms since the Unix epoch; 0: never.
    pub(crate) expires_at_ms: u64,
    /// The writer's flags.
    pub(crate) flags: u32,
    /// The time, in ms since the Unix epoch.
    pub(crate) now_ms: u64,
}

/// What the headers of one store are relative to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// The number of the shard, which ends every version.
    pub(crate) shard: u8,
    /// Narrow headers count time from this ms since the Unix epoch.
    pub(crate) base_ms: u64,
}

impl Frame {
    /// Whether only a wide header can say that an entry of this group expires then. What expires before the base does
    /// not need one: the base is long past.
    pub(crate) fn needs_wide(&self, group: GroupIndex, expires_at_ms: u64) -> bool {
        u64::from(group.0) >= WIDE || expires_at_ms.saturating_sub(self.base_ms) > EXPIRY_MAX
    }

    /// Writes the header of a live entry that is in no list yet. Places of pieces are not written.
    pub(crate) fn write(&self, region: &mut Region, entry: Ref, group: GroupIndex, shape: Shape, stamp: Stamp) {
        debug_assert!(shape.is_wide || !self.needs_wide(group, stamp.expires_at_ms), "the header is too narrow");
        let [key, sized] = match shape.is_wide {
            true => [0, WIDE << GROUP_SHIFT],
            false => {
                let sized = (shape.value_bytes as u64) << VALUE_SHIFT | u64::from(group.0) << GROUP_SHIFT;
                [(shape.key_bytes as u64) << VERSION_BITS, sized]
            }
        };
        region.set_word(entry, u64::MAX);
        region.set_word(entry + 1, LIVE);
        region.set_word(entry + 2, key);
        region.set_word(entry + 3, sized);
        if shape.is_wide {
            region.set_word(entry + 5, shape.key_bytes as u64 | (shape.value_bytes as u64) << 32);
            region.set_word(entry + 6, u64::from(group.0) | (shape.pieces as u64) << 32);
        }
        self.stamp(region, entry, stamp);
    }

    /// Writes what a header says of a new value. List and links stay.
    pub(crate) fn stamp(&self, region: &mut Region, entry: Ref, stamp: Stamp) {
        let state = region.word(entry + 1) & (LIST_MASK | LIVE);
        let access = second(stamp.now_ms) << ACCESS_SHIFT;
        region.set_word(entry + 1, state | access | u64::from(stamp.flags) << FLAGS_SHIFT);
        let key = region.word(entry + 2) >> VERSION_BITS << VERSION_BITS;
        region.set_word(entry + 2, key | stamp.version >> u8::BITS);
        self.set_expires_at_ms(region, entry, stamp.expires_at_ms);
    }

    /// The version of an entry.
    #[inline]
    pub(crate) fn version(&self, head: &Head) -> u64 {
        head.0[2] << u8::BITS | u64::from(self.shard)
    }

    /// When the entry at this place expires, in ms since the Unix epoch; 0: never.
    #[inline]
    pub(crate) fn expires_at_ms(&self, head: &Head, region: &Region, entry: Ref) -> u64 {
        if head.is_wide() {
            return region.word(entry + 4);
        }
        match head.0[3] & EXPIRY_MAX {
            0 => 0,
            since_base => self.base_ms + since_base,
        }
    }

    /// Says when an entry expires. A narrow header has to be able to.
    pub(crate) fn set_expires_at_ms(&self, region: &mut Region, entry: Ref, expires_at_ms: u64) {
        let sized = region.word(entry + 3);
        if sized >> GROUP_SHIFT == WIDE {
            return region.set_word(entry + 4, expires_at_ms);
        }
        let since_base = match expires_at_ms {
            0 => 0,
            _ => expires_at_ms.saturating_sub(self.base_ms).clamp(1, EXPIRY_MAX),
        };
        region.set_word(entry + 3, sized & !EXPIRY_MAX | since_base);
    }
}

#[inline]
fn second(now_ms: u64) -> u64 {
    (now_ms / 1000) & ACCESS_MASK
}

/// The group of an entry.
#[inline]
pub(crate) fn group(region: &Region, entry: Ref) -> GroupIndex {
    match region.word(entry + 3) >> GROUP_SHIFT {
        WIDE => GroupIndex(region.word(entry + 6) as u16),
        group => GroupIndex(group as u16),
    }
}

/// The key of an entry.
#[inline]
pub(crate) fn key(region: &Region, entry: Ref) -> &[u8] {
    &region.bytes()[Shape::at(region, entry).key_range(entry)]
}

/// Whether an entry is that of this key.
#[inline]
pub(crate) fn is_of(region: &Region, entry: Ref, group: GroupIndex, key: &[u8]) -> bool {
    let Some((header, behind)) = region.bytes()[byte_of(entry)..].split_first_chunk() else { return false };
    let head = Head::of(header);
    if head.is_wide() {
        return is_of_wide(region, entry, group, key);
    }
    head.0[3] >> GROUP_SHIFT == u64::from(group.0)
        && head.0[2] >> VERSION_BITS == key.len() as u64
        && behind.get(..key.len()) == Some(key)
}

#[cold]
fn is_of_wide(region: &Region, entry: Ref, group: GroupIndex, key: &[u8]) -> bool {
    self::group(region, entry) == group && self::key(region, entry) == key
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
    let start = byte_of(entry);
    region.bytes_mut()[start..start + PLACE_BYTES].copy_from_slice(&other.to_le_bytes());
}

/// Sets the neighbour towards the tail.
#[inline]
pub(crate) fn set_towards_tail(region: &mut Region, entry: Ref, other: Ref) {
    let start = byte_of(entry) + PLACE_BYTES;
    region.bytes_mut()[start..start + PLACE_BYTES].copy_from_slice(&other.to_le_bytes());
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

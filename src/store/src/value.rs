//! Values as callers see them.

use alloc::vec::Vec;
use core::fmt;

use crate::block;
use crate::region::{Ref, Region};

/// The value of an entry, borrowed from the store's memory. Most lie there in one piece, large ones in several.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    first: &'a [u8],
    /// The places of the other parts, as they lie in memory.
    places: &'a [u8],
    region: &'a Region,
    len: usize,
}

impl<'a> Value<'a> {
    #[inline]
    pub(crate) fn at(region: &'a Region, entry: Ref, shape: block::Shape) -> Self {
        Self::with_first(region, entry, shape, shape.key_and_first(region, entry).1)
    }

    /// The value of an entry, whose first part is known.
    #[inline]
    pub(crate) fn with_first(region: &'a Region, entry: Ref, shape: block::Shape, first: &'a [u8]) -> Self {
        let places = match shape.pieces {
            0 => &[],
            _ => &region.bytes()[shape.places_range(entry)],
        };
        Self { first, places, region, len: shape.value_bytes }
    }

    /// Its length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value, if it lies in memory in one piece. One of up to 4,000 bytes with a key of up to 40 always does.
    #[inline]
    pub fn contiguous(&self) -> Option<&'a [u8]> {
        self.places.is_empty().then_some(self.first)
    }

    /// The pieces in their order, of which there is at least one; the first may be empty.
    #[inline]
    pub fn pieces(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let region = self.region;
        let part = move |place: &[u8]| {
            let place = block::place_at(place);
            &region.bytes()[block::part_range(place, region.segment_bytes())]
        };
        core::iter::once(self.first).chain(self.places.chunks_exact(size_of::<Ref>()).map(part))
    }

    /// Adds the value to what `buffer` holds.
    pub fn copy_to(&self, buffer: &mut Vec<u8>) {
        buffer.reserve(self.len);
        self.pieces().for_each(|piece| buffer.extend_from_slice(piece));
    }

    /// A copy of the value.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut copy = Vec::new();
        self.copy_to(&mut copy);
        copy
    }
}

impl PartialEq<[u8]> for Value<'_> {
    fn eq(&self, other: &[u8]) -> bool {
        let mut rest = other;
        self.len == other.len()
            && self.pieces().all(|piece| match rest.split_at_checked(piece.len()) {
                Some((same, behind)) => {
                    rest = behind;
                    piece == same
                }
                None => false,
            })
    }
}

impl PartialEq<&[u8]> for Value<'_> {
    fn eq(&self, other: &&[u8]) -> bool {
        *self == **other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for Value<'_> {
    fn eq(&self, other: &[u8; N]) -> bool {
        *self == other[..]
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Value<'_> {
    fn eq(&self, other: &&[u8; N]) -> bool {
        *self == other[..]
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.pieces().flatten().eq(other.pieces().flatten())
    }
}

impl Eq for Value<'_> {}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.pieces().flatten()).finish()
    }
}

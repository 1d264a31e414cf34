//! What the id of a request says of the command that it belongs to.

use larder_protocol::resp::{Shape, Version};

use crate::shard::order::PLACES;

/// What the id of a request says: from the lowest bits on, how its reply is told, in which version of the protocol, whether at
/// all, which part of a command it is, and the place of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    /// `None`: see [`Pending`].
    pub(super) shape: Option<Shape>,
    pub(super) version: Version,
    pub(super) is_silent: bool,
    pub(super) part: usize,
    pub(super) place: u64,
}

const SHAPE_BITS: u32 = 5;
const VERSION_SHIFT: u32 = SHAPE_BITS;
const SILENT_SHIFT: u32 = VERSION_SHIFT + 1;
const PART_SHIFT: u32 = SILENT_SHIFT + 1;
const PART_BITS: u32 = 14;
const PLACE_SHIFT: u32 = PART_SHIFT + PART_BITS;
/// In the bits of a shape: there is none.
const NO_SHAPE: u64 = (1 << SHAPE_BITS) - 1;

const _: () = assert!(PLACES == 1 << (u64::BITS - PLACE_SHIFT), "a place has all bits that are left");
const _: () = assert!(Shape::ALL.len() < NO_SHAPE as usize, "every shape has its number");
const _: () = assert!(larder_protocol::limits::KEYS_MAX <= 1 << PART_BITS, "every key of a command is a part");

impl Id {
    pub(super) fn number(self) -> u64 {
        let shape = self.shape.map_or(NO_SHAPE, |shape| shape as u64);
        let (three, silent) = (u64::from(self.version == Version::Three), u64::from(self.is_silent));
        self.place << PLACE_SHIFT
            | (self.part as u64) << PART_SHIFT
            | silent << SILENT_SHIFT
            | three << VERSION_SHIFT
            | shape
    }

    #[inline]
    pub(super) fn of(number: u64) -> Self {
        let version = if number >> VERSION_SHIFT & 1 == 1 { Version::Three } else { Version::Two };
        Self {
            shape: Shape::ALL.get((number & NO_SHAPE) as usize).copied(),
            version,
            is_silent: number >> SILENT_SHIFT & 1 == 1,
            part: (number >> PART_SHIFT) as usize & ((1 << PART_BITS) - 1),
            place: number >> PLACE_SHIFT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_what_it_was_made_of() {
        for shape in [None, Some(Shape::Value), Some(Shape::Count)] {
            for (version, is_silent) in [(Version::Two, true), (Version::Three, false)] {
                let id = Id { shape, version, is_silent, part: (1 << PART_BITS) - 1, place: PLACES - 1 };
                assert_eq!(Id::of(id.number()), id);
                assert_eq!(Id::of(Id { part: 0, place: 1, ..id }.number()), Id { part: 0, place: 1, ..id });
            }
        }
    }
}

//! What a line of a table looks like, for entries and for ghosts.
//!
//! Both have slots, filled from the first on, and a word with 4 bits of how many are filled and 8 of how many entries
//! passed the line over. A slot has a tag, a value that is never 0, and how many lines behind its home the entry lies.

use super::equal;
use crate::limits::{GHOST_LOAD, INDEX_LOAD, Load, PASSED_MAX};
use crate::prefetch::LINE_BYTES;
use crate::region::{Line, Ref};

/// Bits of the word that counts, in every layout: displacements end below them.
const FILLED_SHIFT: u32 = 52;
const PASSED_SHIFT: u32 = 56;
/// Most that the count of entries that passed a line over can say.
pub(super) const PASSED_END: usize = 1 << (64 - PASSED_SHIFT);

/// One slot's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The low bits of the entry's point.
    pub(crate) tag: u32,
    /// What the table holds; never 0.
    pub(crate) value: u32,
    /// Lines between the home and this one, or [`Layout::FAR`] if it may be more.
    pub(crate) displacement: usize,
}

/// How slots lie in a line.
pub(crate) trait Layout {
    /// Slots of a line.
    const SLOTS: usize;
    /// Bits of a tag.
    const TAG_BITS: u32;
    /// Bits of a value.
    const VALUE_BITS: u32;
    /// Displacements below this one are kept; all others are kept as this one.
    const FAR: usize;
    /// The word with the two counts.
    const COUNTS: usize;
    /// How many of the slots are filled.
    const LOAD: Load;

    /// The slots with this tag, and perhaps some that are not filled; slot 0 is the lowest bit.
    fn matches(line: &Line, tag: u32) -> u32;

    /// The value in a slot; 0 if it is not filled.
    fn value(line: &Line, slot: usize) -> u32;

    /// Sets the value in a slot.
    fn set_value(line: &mut Line, slot: usize, value: u32);

    /// The tag in a slot.
    fn tag(line: &Line, slot: usize) -> u32;

    /// The displacement in a slot, [`Layout::FAR`] standing for more.
    fn displacement(line: &Line, slot: usize) -> usize;

    /// Fills a slot; a displacement above [`Layout::FAR`] is kept as that.
    fn set(line: &mut Line, slot: usize, content: Slot);

    /// The first slot of a full line with the smallest displacement.
    fn nearest(line: &Line) -> usize;

    /// The first slot with the largest displacement.
    fn farthest(line: &Line) -> usize;
}

/// How many slots are filled.
#[inline]
pub(super) fn filled<L: Layout>(line: &Line) -> usize {
    (word(line, L::COUNTS) >> FILLED_SHIFT) as usize & 0xF
}

/// Says how many slots are filled.
#[inline]
pub(super) fn set_filled<L: Layout>(line: &mut Line, filled: usize) {
    let rest = word(line, L::COUNTS) & !(0xF << FILLED_SHIFT);
    set_word(line, L::COUNTS, rest | (filled as u64) << FILLED_SHIFT);
}

/// How many entries have passed this line over: their home is this line or before it, and they lie behind it.
#[inline]
pub(super) fn passed<L: Layout>(line: &Line) -> usize {
    (word(line, L::COUNTS) >> PASSED_SHIFT) as usize
}

/// One more entry passes this line over.
#[inline]
pub(super) fn pass<L: Layout>(line: &mut Line) {
    set_word(line, L::COUNTS, word(line, L::COUNTS) + (1 << PASSED_SHIFT));
}

/// One entry less passes this line over.
#[inline]
pub(super) fn unpass<L: Layout>(line: &mut Line) {
    set_word(line, L::COUNTS, word(line, L::COUNTS) - (1 << PASSED_SHIFT));
}

/// All of a slot.
#[inline]
pub(super) fn slot<L: Layout>(line: &Line, slot: usize) -> Slot {
    Slot { tag: L::tag(line, slot), value: L::value(line, slot), displacement: L::displacement(line, slot) }
}

/// Empties a slot by the last filled one.
#[inline]
pub(super) fn clear<L: Layout>(line: &mut Line, place: usize) {
    let last = filled::<L>(line) - 1;
    if place < last {
        let moved = slot::<L>(line, last);
        L::set(line, place, moved);
    }
    L::set(line, last, Slot { tag: 0, value: 0, displacement: 0 });
    set_filled::<L>(line, last);
}

/// Fills the first empty slot.
#[inline]
pub(super) fn push<L: Layout>(line: &mut Line, content: Slot) {
    let place = filled::<L>(line);
    L::set(line, place, content);
    set_filled::<L>(line, place + 1);
}

#[inline]
fn word(line: &Line, place: usize) -> u64 {
    u64::from_le_bytes(line[place & 7])
}

#[inline]
fn set_word(line: &mut Line, place: usize, word: u64) {
    line[place & 7] = word.to_le_bytes();
}

/// One of the parts of this length that a line consists of; its words are in little-endian order.
#[inline]
fn part<const N: usize>(line: &Line, number: usize) -> [u8; N] {
    let (parts, _) = line.as_flattened().as_chunks();
    parts[number % (LINE_BYTES / N)]
}

/// Sets one of the parts of this length that a line consists of; its words are in little-endian order.
#[inline]
fn set_part<const N: usize>(line: &mut Line, number: usize, part: [u8; N]) {
    let (parts, _) = line.as_flattened_mut().as_chunks_mut();
    parts[number % (LINE_BYTES / N)] = part;
}

/// Sets `bits` bits of a word.
#[inline]
fn set_bits(line: &mut Line, place: usize, shift: usize, bits: u32, value: u64) {
    let mask = ((1 << bits) - 1) << shift;
    set_word(line, place, word(line, place) & !mask | value << shift);
}

/// Ten entries of 6 bytes: words 0, 1 and half of 2 are tags of 16 bits, then come 2 bits of displacement for each and
/// the counts, then five words with two places each.
#[derive(Debug)]
pub(crate) struct EntryLine;

/// The first word with places.
const PLACES: usize = 3;

const _: () = assert!(size_of::<Ref>() == 4, "two places fill a word");

impl Layout for EntryLine {
    const SLOTS: usize = 10;
    const TAG_BITS: u32 = 16;
    const VALUE_BITS: u32 = 32;
    const FAR: usize = 3;
    const COUNTS: usize = 2;
    const LOAD: Load = INDEX_LOAD;

    #[inline]
    fn matches(line: &Line, tag: u32) -> u32 {
        equal::of_sixteen(line, tag) & ((1 << Self::SLOTS) - 1)
    }

    #[inline]
    fn value(line: &Line, slot: usize) -> u32 {
        u32::from_le_bytes(part(line, 2 * PLACES + slot))
    }

    #[inline]
    fn set_value(line: &mut Line, slot: usize, value: u32) {
        set_part(line, 2 * PLACES + slot, value.to_le_bytes());
    }

    #[inline]
    fn tag(line: &Line, slot: usize) -> u32 {
        (word(line, slot / 4) >> (slot % 4 * 16)) as u32 & 0xFFFF
    }

    #[inline]
    fn displacement(line: &Line, slot: usize) -> usize {
        (word(line, Self::COUNTS) >> (DISPLACEMENTS + 2 * slot)) as usize & 3
    }

    #[inline]
    fn set(line: &mut Line, slot: usize, content: Slot) {
        set_part(line, slot, (content.tag as u16).to_le_bytes());
        let displacement = content.displacement.min(Self::FAR) as u64;
        set_bits(line, Self::COUNTS, DISPLACEMENTS + 2 * slot, 2, displacement);
        Self::set_value(line, slot, content.value);
    }

    #[inline]
    fn nearest(line: &Line) -> usize {
        nearest_of_four::<Self>(line)
    }

    #[inline]
    fn farthest(line: &Line) -> usize {
        farthest_of_four::<Self>(line)
    }
}

/// Where two bits of displacement of each slot begin in the word of counts.
const DISPLACEMENTS: usize = 32;
/// A bit for each slot, two bits apart.
const TEN_SLOTS: u32 = 0x5_5555;

const _: () = assert!(EntryLine::SLOTS == 10 && GhostLine::SLOTS == 10, "there is a bit for each slot");

/// The first slot whose two bits of displacement are the smallest.
#[inline]
fn nearest_of_four<L: Layout>(line: &Line) -> usize {
    let (low, high) = displacement_bits::<L>(line);
    let [zero, one, two] = [!low & !high, low & !high, !low & high].map(|slots| slots & TEN_SLOTS);
    first_of([zero, one, two])
}

/// The first slot whose two bits of displacement are the largest.
#[inline]
fn farthest_of_four<L: Layout>(line: &Line) -> usize {
    let (low, high) = displacement_bits::<L>(line);
    let [three, two, one] = [low & high, !low & high, low & !high].map(|slots| slots & TEN_SLOTS);
    first_of([three, two, one])
}

/// The low bits of all displacements, and the high ones, each at [`TEN_SLOTS`].
#[inline]
fn displacement_bits<L: Layout>(line: &Line) -> (u32, u32) {
    let all = (word(line, L::COUNTS) >> DISPLACEMENTS) as u32;
    (all, all >> 1)
}

/// The first slot of the first of these sets, in [`TEN_SLOTS`], that is not empty; slot 0 if all are.
#[inline]
fn first_of(sets: [u32; 3]) -> usize {
    let set = sets.into_iter().find(|&slots| slots != 0).unwrap_or(1);
    set.trailing_zeros() as usize / 2
}

/// Ten ghosts of 50 bits: values of 27 bits, tags of 19, displacements of 4. A ghost has no item that could be asked for
/// its hash; so displacements are kept whole.
///
/// | bytes | |
/// |---|---|
/// | 0 to 19 | the low 16 bits of all tags |
/// | 20 to 59 | all values, and above each of them the 3 other bits of the tag and the 2 high ones of the displacement |
/// | 60 to 63 | the 2 low bits of all displacements, and the counts |
#[derive(Debug)]
pub(crate) struct GhostLine;

/// The first part of 4 bytes with a value.
const GHOST_VALUES: usize = 5;
/// Where the high bits of a displacement begin in the part with the value.
const GHOST_FARTHER: u32 = 30;
/// The high bits of the displacements in a word with two values.
const GHOST_FARTHER_OF_TWO: u64 = 0b11 << GHOST_FARTHER | 0b11 << (32 + GHOST_FARTHER);

const _: () = assert!(
    PASSED_MAX.div_ceil(GhostLine::SLOTS) < GhostLine::FAR,
    "the displacement of a ghost is known wherever it may lie"
);

impl GhostLine {
    const VALUE: u32 = (1 << Self::VALUE_BITS) - 1;

    /// A value and what lies above it.
    #[inline]
    fn packed(line: &Line, slot: usize) -> u32 {
        u32::from_le_bytes(part(line, GHOST_VALUES + slot))
    }

    /// Whether all displacements are so small that their low bits say them, as nearly always.
    #[inline]
    fn are_near(line: &Line) -> bool {
        let whole = word(line, 3) | word(line, 4) | word(line, 5) | word(line, 6);
        (whole | word(line, 2) >> 32 << 32 | word(line, 7) & u64::from(u32::MAX)) & GHOST_FARTHER_OF_TWO == 0
    }
}

impl Layout for GhostLine {
    const SLOTS: usize = 10;
    const TAG_BITS: u32 = 19;
    const VALUE_BITS: u32 = 27;
    const FAR: usize = 15;
    const COUNTS: usize = 7;
    const LOAD: Load = GHOST_LOAD;

    #[inline]
    fn matches(line: &Line, tag: u32) -> u32 {
        let alike = equal::of_sixteen(line, tag & 0xFFFF) & ((1 << Self::SLOTS) - 1);
        let (mut found, mut rest) = (alike, alike);
        while rest != 0 {
            let slot = rest.trailing_zeros();
            rest &= rest - 1;
            if Self::tag(line, slot as usize) != tag {
                found ^= 1 << slot;
            }
        }
        found
    }

    #[inline]
    fn value(line: &Line, slot: usize) -> u32 {
        Self::packed(line, slot) & Self::VALUE
    }

    #[inline]
    fn set_value(line: &mut Line, slot: usize, value: u32) {
        debug_assert!(value <= Self::VALUE, "value {value} is too large for a line of ghosts");
        let above = Self::packed(line, slot) & !Self::VALUE;
        set_part(line, GHOST_VALUES + slot, (above | value).to_le_bytes());
    }

    #[inline]
    fn tag(line: &Line, slot: usize) -> u32 {
        let low = u32::from(u16::from_le_bytes(part(line, slot)));
        low | (Self::packed(line, slot) >> Self::VALUE_BITS & 7) << 16
    }

    #[inline]
    fn displacement(line: &Line, slot: usize) -> usize {
        let low = (word(line, Self::COUNTS) >> (DISPLACEMENTS + 2 * slot)) as usize & 3;
        low | (Self::packed(line, slot) >> GHOST_FARTHER << 2) as usize
    }

    #[inline]
    fn set(line: &mut Line, slot: usize, Slot { tag, value, displacement }: Slot) {
        debug_assert!(value <= Self::VALUE, "value {value} is too large for a line of ghosts");
        let displacement = displacement.min(Self::FAR) as u32;
        let packed = value | tag >> 16 << Self::VALUE_BITS | displacement >> 2 << GHOST_FARTHER;
        set_part(line, slot, (tag as u16).to_le_bytes());
        set_part(line, GHOST_VALUES + slot, packed.to_le_bytes());
        set_bits(line, Self::COUNTS, DISPLACEMENTS + 2 * slot, 2, u64::from(displacement & 3));
    }

    #[inline]
    fn nearest(line: &Line) -> usize {
        match Self::are_near(line) {
            true => nearest_of_four::<Self>(line),
            false => (0..Self::SLOTS).min_by_key(|&place| Self::displacement(line, place)).unwrap_or(0),
        }
    }

    #[inline]
    fn farthest(line: &Line) -> usize {
        match Self::are_near(line) {
            true => farthest_of_four::<Self>(line),
            false => (0..Self::SLOTS).min_by_key(|&place| Self::FAR - Self::displacement(line, place)).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_keep_what_is_set<L: Layout>() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut line = Line::default();
        let mut model: Vec<Slot> = Vec::new();
        let mut behind = 0;
        for step in 0..100_000 {
            match random.u8(0..6) {
                0..3 if model.len() < L::SLOTS => {
                    let tag = random.u32(0..=3) << random.u32(0..L::TAG_BITS - 1);
                    let content = Slot {
                        tag,
                        value: random.u32(1..) >> (32 - L::VALUE_BITS) | 1,
                        displacement: random.usize(0..=L::FAR),
                    };
                    push::<L>(&mut line, content);
                    model.push(content);
                }
                3 if !model.is_empty() => {
                    let place = random.usize(0..model.len());
                    clear::<L>(&mut line, place);
                    model.swap_remove(place);
                }
                4 if behind < PASSED_END - 1 => {
                    pass::<L>(&mut line);
                    behind += 1;
                }
                5 if behind > 0 => {
                    unpass::<L>(&mut line);
                    behind -= 1;
                }
                _ => continue,
            }
            assert_eq!((filled::<L>(&line), passed::<L>(&line)), (model.len(), behind), "step {step}");
            let displacements = || (0..L::SLOTS).map(|slot| L::displacement(&line, slot));
            let farthest = displacements().position(|displacement| Some(displacement) == displacements().max());
            assert_eq!(Some(L::farthest(&line)), farthest, "step {step}");
            if model.len() == L::SLOTS {
                let nearest = displacements().position(|displacement| Some(displacement) == displacements().min());
                assert_eq!(Some(L::nearest(&line)), nearest, "step {step}");
            }
            let places = || 0..model.len();
            assert!(places().all(|place| slot::<L>(&line, place) == model[place]), "step {step}");
            let absent = random.u32(0..=3) << random.u32(0..L::TAG_BITS - 1);
            for tag in model.iter().map(|content| content.tag).chain([absent]) {
                let mut bits = L::matches(&line, tag);
                let mut matching = [false; 16];
                while bits != 0 {
                    matching[bits.trailing_zeros() as usize] = true;
                    bits &= bits - 1;
                }
                let equal: Vec<usize> = (0..L::SLOTS).filter(|&slot| L::tag(&line, slot) == tag).collect();
                assert!(equal.iter().all(|&slot| matching[slot]), "step {step}");
                assert!(!equal.is_empty() || !matching.contains(&true), "step {step}: {tag:#x} is not there");
            }
            (model.len()..L::SLOTS).for_each(|slot| assert_eq!(L::value(&line, slot), 0));
        }
    }

    #[test]
    fn lines_of_entries_keep_what_is_set() {
        lines_keep_what_is_set::<EntryLine>();
    }

    #[test]
    fn lines_of_ghosts_keep_what_is_set() {
        lines_keep_what_is_set::<GhostLine>();
    }
}

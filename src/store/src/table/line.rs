//! What a line of a table looks like, for entries and for ghosts.
//!
//! Both have slots, filled from the first on, and a word with 4 bits of how many are filled and 8 of how many entries
//! passed the line over. A slot has a tag, a value that is never 0, and how many lines behind its home the entry lies.

use super::equal;
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
    /// Displacements below this one are kept; all others are kept as this one.
    const FAR: usize;
    /// The word with the two counts.
    const COUNTS: usize;

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
    fn nearest(line: &Line) -> usize {
        (0..Self::SLOTS).min_by_key(|&place| Self::displacement(line, place)).unwrap_or(0)
    }

    /// The first slot with the largest displacement.
    fn farthest(line: &Line) -> usize {
        (0..Self::SLOTS).min_by_key(|&place| Self::FAR - Self::displacement(line, place)).unwrap_or(0)
    }
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
/// Where displacements begin in the word of counts.
const ENTRY_DISPLACEMENTS: usize = 32;

const _: () = assert!(size_of::<Ref>() == 4, "two places fill a word");

impl Layout for EntryLine {
    const SLOTS: usize = 10;
    const TAG_BITS: u32 = 16;
    const FAR: usize = 3;
    const COUNTS: usize = 2;

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
        (word(line, Self::COUNTS) >> (ENTRY_DISPLACEMENTS + 2 * slot)) as usize & 3
    }

    #[inline]
    fn set(line: &mut Line, slot: usize, content: Slot) {
        set_part(line, slot, (content.tag as u16).to_le_bytes());
        let displacement = content.displacement.min(Self::FAR) as u64;
        set_bits(line, Self::COUNTS, ENTRY_DISPLACEMENTS + 2 * slot, 2, displacement);
        Self::set_value(line, slot, content.value);
    }

    #[inline]
    fn nearest(line: &Line) -> usize {
        let (low, high) = entry_displacements(line);
        let [zero, one, two] = [!low & !high, low & !high, !low & high].map(|slots| slots & ENTRY_SLOTS);
        first_of([zero, one, two])
    }

    #[inline]
    fn farthest(line: &Line) -> usize {
        let (low, high) = entry_displacements(line);
        let [three, two, one] = [low & high, !low & high, low & !high].map(|slots| slots & ENTRY_SLOTS);
        first_of([three, two, one])
    }
}

/// A bit for each slot, two bits apart.
const ENTRY_SLOTS: u32 = 0x5_5555;

/// The low bits of all displacements, and the high ones, each at [`ENTRY_SLOTS`].
#[inline]
fn entry_displacements(line: &Line) -> (u32, u32) {
    let all = (word(line, EntryLine::COUNTS) >> ENTRY_DISPLACEMENTS) as u32;
    (all, all >> 1)
}

/// The first slot of the first of these sets, in [`ENTRY_SLOTS`], that is not empty; slot 0 if all are.
#[inline]
fn first_of(sets: [u32; 3]) -> usize {
    let set = sets.into_iter().find(|&slots| slots != 0).unwrap_or(1);
    set.trailing_zeros() as usize / 2
}

/// Seven ghosts of 8 bytes, a tag and a value of 32 bits each, and behind them 7 bits of displacement for each and the
/// counts. A ghost has no item that could be asked for its hash; so displacements are kept whole.
#[derive(Debug)]
pub(crate) struct GhostLine;

impl Layout for GhostLine {
    const SLOTS: usize = 7;
    const TAG_BITS: u32 = 32;
    const FAR: usize = 127;
    const COUNTS: usize = 7;

    #[inline]
    fn matches(line: &Line, tag: u32) -> u32 {
        equal::of_eight(line, tag) & ((1 << Self::SLOTS) - 1)
    }

    #[inline]
    fn value(line: &Line, slot: usize) -> u32 {
        (word(line, slot) >> 32) as u32
    }

    #[inline]
    fn set_value(line: &mut Line, slot: usize, value: u32) {
        set_part(line, 2 * slot + 1, value.to_le_bytes());
    }

    #[inline]
    fn tag(line: &Line, slot: usize) -> u32 {
        word(line, slot) as u32
    }

    #[inline]
    fn displacement(line: &Line, slot: usize) -> usize {
        (word(line, Self::COUNTS) >> (7 * slot)) as usize & 0x7F
    }

    #[inline]
    fn set(line: &mut Line, slot: usize, content: Slot) {
        set_word(line, slot, u64::from(content.tag) | u64::from(content.value) << 32);
        set_bits(line, Self::COUNTS, 7 * slot, 7, content.displacement as u64);
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
                    let content = Slot { tag, value: random.u32(1..), displacement: random.usize(0..=L::FAR) };
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

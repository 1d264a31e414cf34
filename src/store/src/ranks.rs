//! Entries by rank, the least first: a ring of chains, one for each rank of a window, and a bitmap of those that are in use.
//! All steps take constant time but the one that halves the number of ranks.
//!
//! Ranks below the window share its first chain; nobody comes with a rank above it. A window only moves up, and chains that
//! it leaves behind join the first. So an entry is found by its rank, wherever the window was when it came. What has the
//! first rank can be looked at, one entry at a time, since a rank may follow from a number that must not become too old.

use alloc::boxed::Box;
use alloc::vec;

use crate::block;
use crate::limits::RANKS;
use crate::list::{self, Ends, NONE, Side};
use crate::region::{Ref, Region};
use crate::settings::Charge;

const WORDS: usize = RANKS / u64::BITS as usize;
const _: () = assert!(RANKS == (u64::BITS * u64::BITS) as usize, "two levels of words say which chains are in use");

/// See the module.
#[derive(Debug)]
pub(crate) struct Ranks {
    tag: u8,
    unit: Charge,
    /// By rank, modulo their number.
    chains: Box<[Ends]>,
    /// Which of these have entries.
    used: [u64; WORDS],
    /// Which of these words are not 0.
    words: u64,
    /// The first rank of the window.
    first: u64,
    /// The entry of the first rank that is looked at next, or [`NONE`].
    hand: Ref,
    len: u32,
    charge: u64,
}

impl Ranks {
    /// No entries, which will have this tag.
    pub(crate) fn new(side: Side, tag: u8, unit: Charge) -> Self {
        let chains = vec![Ends::EMPTY; RANKS].into_boxed_slice();
        Self { tag: side.tag(tag), unit, chains, used: [0; WORDS], words: 0, first: 0, hand: NONE, len: 0, charge: 0 }
    }

    /// Whether an entry is here.
    #[inline]
    pub(crate) fn holds(&self, region: &Region, entry: Ref) -> bool {
        block::list(region, entry) == self.tag
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The sum of their charges.
    pub(crate) fn charge(&self) -> u64 {
        self.charge
    }

    /// The first rank of the window.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The first rank above the window.
    pub(crate) fn end(&self) -> u64 {
        self.first + RANKS as u64
    }

    /// Adds an entry of this charge that is in no list, as the youngest of its rank.
    pub(crate) fn push(&mut self, region: &mut Region, entry: Ref, charge: u32, rank: u64) {
        debug_assert_eq!(charge, list::charge(region, entry, self.unit), "entry {entry} costs something else");
        debug_assert!(rank < self.end(), "rank {rank} is above the window");
        let place = self.place(rank);
        block::set_list(region, entry, self.tag);
        self.chains[place].link_head(region, entry);
        self.mark(place);
        (self.len, self.charge) = (self.len + 1, self.charge + u64::from(charge));
    }

    /// Takes an entry of this charge and rank out.
    pub(crate) fn unlink(&mut self, region: &mut Region, entry: Ref, charge: u32, rank: u64) {
        debug_assert!(self.holds(region, entry), "entry {entry} is in another list");
        if entry == self.hand {
            self.hand = block::links(region, entry).0;
        }
        let place = self.place(rank);
        self.chains[place].part(region, entry);
        self.unmark(place);
        (self.len, self.charge) = (self.len - 1, self.charge - u64::from(charge));
    }

    /// An entry costs something else from now on.
    pub(crate) fn recharge(&mut self, old: u32, new: u32) {
        self.charge = self.charge - u64::from(old) + u64::from(new);
    }

    /// An entry of this rank lies at another place from now on, with the links that it had.
    pub(crate) fn moved(&mut self, region: &mut Region, to: Ref, rank: u64) {
        let place = self.place(rank);
        if self.hand != NONE && self.chains[place].place_before(region, to) == self.hand {
            self.hand = to;
        }
        self.chains[place].moved(region, to);
    }

    /// Begins to look at the entries of the first rank, the oldest first.
    pub(crate) fn begin_round(&mut self) {
        self.hand = self.chains[self.place(self.first)].tail;
    }

    /// The next of them. Its rank is not to change.
    #[inline]
    pub(crate) fn next_of_first(&mut self, region: &Region) -> Option<Ref> {
        let entry = self.hand;
        if entry == NONE {
            return None;
        }
        self.hand = block::links(region, entry).0;
        Some(entry)
    }

    /// The oldest entry of the least rank, but for one that is to stay.
    pub(crate) fn least_but(&self, region: &Region, keep: Ref) -> Option<Ref> {
        let first = self.next_used(self.place(self.first))?;
        let oldest = self.chains[first].tail;
        if oldest != keep || keep == NONE {
            return Some(oldest);
        }
        let (towards_head, _) = block::links(region, keep);
        if towards_head != NONE {
            return Some(towards_head);
        }
        let next = self.next_used((first + 1) % RANKS).filter(|&next| next != first)?;
        Some(self.chains[next].tail)
    }

    /// Moves the window up; what lies below has the first rank from then on, in its order.
    pub(crate) fn advance(&mut self, region: &mut Region, first: u64) {
        if first <= self.first {
            return;
        }
        let left = (first - self.first).min(RANKS as u64) as usize;
        let begin = self.place(self.first);
        let mut behind = Ends::EMPTY;
        let mut passed = 0;
        while passed < left
            && let Some(place) = self.next_used((begin + passed) % RANKS)
        {
            let distance = (place + RANKS - begin) % RANKS;
            if distance < passed || distance >= left {
                break;
            }
            let mut younger = core::mem::replace(&mut self.chains[place], Ends::EMPTY);
            self.unmark(place);
            younger.append(region, behind);
            behind = younger;
            passed = distance + 1;
        }
        self.first = first;
        let place = self.place(first);
        self.chains[place].append(region, behind);
        self.mark(place);
    }

    /// Two ranks become one: what had rank n has rank n / 2 from now on.
    pub(crate) fn halve(&mut self, region: &mut Region) {
        let (first, begin) = (self.first, self.place(self.first));
        let before = core::mem::replace(&mut self.chains, vec![Ends::EMPTY; RANKS].into_boxed_slice());
        (self.used, self.words, self.first) = ([0; WORDS], 0, first / 2);
        for distance in 0..RANKS {
            let mut younger = before[(begin + distance) % RANKS];
            if younger.is_empty() {
                continue;
            }
            let place = self.place((first + distance as u64) / 2);
            younger.append(region, self.chains[place]);
            self.chains[place] = younger;
            self.mark(place);
        }
    }

    /// Walks everything; `rank_of` tells the rank of an entry.
    ///
    /// # Panics
    /// If anything is wrong.
    pub(crate) fn validate(&self, region: &Region, rank_of: impl Fn(Ref) -> u64) {
        let (mut len, mut charge) = (0, 0);
        for (place, chain) in self.chains.iter().enumerate() {
            let is_used = self.used[place / 64] >> (place % 64) & 1 == 1;
            assert_eq!(is_used, !chain.is_empty(), "the bitmap is wrong about chain {place}");
            let mut previous = NONE;
            for entry in chain.iter(region).take(self.len as usize + 1) {
                assert_eq!(block::links(region, entry).0, previous, "entry {entry} of chain {place} has a broken link");
                assert!(self.holds(region, entry) && block::is_live(region, entry), "entry {entry} of chain {place}");
                assert_eq!(self.place(rank_of(entry)), place, "entry {entry} has another rank");
                (len, previous) = (len + 1, entry);
                charge += u64::from(list::charge(region, entry, self.unit));
            }
            assert_eq!(chain.tail, previous, "chain {place} does not end at its tail");
        }
        assert_eq!((self.len, self.charge), (len, charge), "entries are counted wrong");
        let mut looked_at = self.chains[self.place(self.first)].iter(region);
        assert!(self.hand == NONE || looked_at.any(|entry| entry == self.hand), "the hand is astray");
        let words = self.used.iter().enumerate().filter(|(_, word)| **word != 0);
        assert_eq!(self.words, words.fold(0, |words, (place, _)| words | 1 << place));
    }

    #[inline]
    fn place(&self, rank: u64) -> usize {
        rank.clamp(self.first, self.end() - 1) as usize % RANKS
    }

    fn mark(&mut self, place: usize) {
        if !self.chains[place].is_empty() {
            self.used[place / 64] |= 1 << (place % 64);
            self.words |= 1 << (place / 64);
        }
    }

    fn unmark(&mut self, place: usize) {
        if self.chains[place].is_empty() {
            self.used[place / 64] &= !(1 << (place % 64));
            if self.used[place / 64] == 0 {
                self.words &= !(1 << (place / 64));
            }
        }
    }

    /// The first chain in use from this one on, round the ring.
    fn next_used(&self, from: usize) -> Option<usize> {
        let (word, bit) = (from / 64, from % 64);
        let here = self.used[word] & u64::MAX << bit;
        if here != 0 {
            return Some(word * 64 + here.trailing_zeros() as usize);
        }
        let behind = self.words & (u64::MAX << word << 1);
        let words = if behind != 0 { behind } else { self.words };
        let word = (words != 0).then(|| words.trailing_zeros() as usize)?;
        Some(word * 64 + self.used[word].trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GroupIndex;
    use crate::block::{Frame, Shape, Stamp};
    use std::vec::Vec;

    fn write(region: &mut Region, entry: Ref) {
        let frame = Frame { shard: 0, base_ms: 0 };
        let stamp = Stamp { version: 1 << 8, expires_at_ms: 0, flags: 0, now_ms: 0 };
        frame.write(region, entry, GroupIndex(0), Shape::of(0, 0, region.segment_bytes()), stamp);
    }

    /// Beside a vector of rank and entry, the youngest of a rank first.
    #[test]
    fn ranks_behave_like_a_sorted_vector() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut region = Region::new(1 << 20);
            let mut ranks = Ranks::new(Side::Left, 1, Charge::Objects);
            let mut model: Vec<(u64, Ref)> = Vec::new();
            let (mut free, mut first) = (8, 0);
            for step in 0..3000 {
                let chosen = (!model.is_empty()).then(|| random.usize(0..model.len()));
                match (random.u8(0..8), chosen) {
                    (0..3, _) => {
                        let rank = first + random.u64(0..[10, RANKS as u64][step % 2]);
                        write(&mut region, free);
                        ranks.push(&mut region, free, 1, rank);
                        model.insert(0, (rank, free));
                        free += 8;
                    }
                    (3, Some(place)) => {
                        let (rank, entry) = model.remove(place);
                        ranks.unlink(&mut region, entry, 1, rank);
                    }
                    (4, Some(place)) => {
                        let (rank, from) = model[place];
                        let (links, tag) = (block::links(&region, from), block::list(&region, from));
                        write(&mut region, free);
                        block::set_links(&mut region, free, links.0, links.1);
                        block::set_list(&mut region, free, tag);
                        block::set_dead(&mut region, from);
                        ranks.moved(&mut region, free, rank);
                        model[place] = (rank, free);
                        free += 8;
                    }
                    (5, _) => {
                        let far = if random.u8(0..10) == 0 { 2 * RANKS as u64 } else { 20 };
                        first += random.u64(0..far);
                        ranks.advance(&mut region, first);
                        // Within what joins, and what it joins, the younger ones are those of the higher ranks.
                        model.sort_by_key(|(rank, _)| core::cmp::Reverse((*rank).min(first)));
                        model.iter_mut().for_each(|(rank, _)| *rank = (*rank).max(first));
                    }
                    (6, _) if step % 100 == 0 => {
                        ranks.halve(&mut region);
                        first /= 2;
                        model.sort_by_key(|(rank, _)| core::cmp::Reverse(*rank));
                        model.iter_mut().for_each(|(rank, _)| *rank /= 2);
                    }
                    _ => {}
                }
                // Of the least rank the last.
                let least = |keep: Ref| {
                    let others = model.iter().rev().filter(|(_, entry)| *entry != keep);
                    others.min_by_key(|(rank, _)| *rank).map(|(_, entry)| *entry)
                };
                let keep = chosen.and_then(|place| model.get(place)).map_or(NONE, |(_, entry)| *entry);
                assert_eq!(ranks.least_but(&region, NONE), least(NONE), "seed {seed} step {step}");
                assert_eq!(ranks.least_but(&region, keep), least(keep), "seed {seed} step {step}");
                let rank_of = |entry: Ref| model.iter().find(|(_, other)| *other == entry).expect("it is there").0;
                ranks.validate(&region, rank_of);
                assert_eq!(ranks.len() as usize, model.len());
            }
        }
    }
}

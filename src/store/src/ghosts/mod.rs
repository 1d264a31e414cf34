//! Ghosts: what a policy remembers of entries that it evicted. Hashes and what they count as, oldest first out, never more
//! than a given sum. A ghost counts as what its entry was charged with and the bytes that it takes itself, where bytes are
//! charged, a little rounded up ([`cost`]).
//!
//! A ghost is a cell in a [`Ring`], which has its cost, and a slot in a [`Table`], which leads from its hash to the
//! number of the cell. Forgetting the oldest ghost takes its cell alone; the slot, which cannot be found from there, is
//! stale from then on: its number is before that of the first cell, so that nothing has to be read to know it. A hand
//! goes over the table, a line for each ghost that is remembered, and removes stale slots. A ghost that is taken was found through its slot, which goes with it. Where the
//! hand comes next there are stale slots of a whole turn, where it was there are none; so the table keeps the room that
//! its fullest part needs ([`Turn`]).
//!
//! Home and tag of a slot are 28 bits of the hash or more; another [`CHECK_BITS`] are in the cell. A hash that agrees in
//! all of these is taken for the ghost: with a million ghosts that happens to one in four million strangers at the most.
//!
//! A policy may keep words with each ghost; then cells are longer.
//!
//! Ghosts yield: where the region has no segment for one more, some of the oldest are forgotten instead of it. A queue
//! without ghosts holds no memory. The first ghost takes two segments and touches a small part of them, and is given up
//! before it touches anything if it cannot have both.

mod cost;
mod ring;
#[cfg(test)]
mod tests;

use crate::limits::{
    GHOST_BYTES, GHOST_CHARGE_BITS, GHOST_COST_BITS, GHOST_HAND_LINES, GHOST_REST, GHOST_SPAN_MAX, GHOST_WORD_BYTES,
    GHOST_WORDS_MAX, GHOSTS_YIELDED,
};
use crate::region::{Region, Use};
use crate::settings::Charge;
use crate::table::{GhostLine, Layout, Table};

pub(crate) use cost::rounded;
use ring::{Cell, NARROW_BITS, Ring};

/// Bits of a hash beside a cost in a cell.
const CHECK_BITS: u32 = NARROW_BITS - GHOST_COST_BITS;
/// The part of a number that is in the table.
const NUMBER: u64 = (1 << GhostLine::VALUE_BITS) - 1;

const _: () = assert!(2 * GHOST_SPAN_MAX <= NUMBER + 1, "what lies in the table can be told from what comes later");

/// What is kept with a ghost, 32 bits for each word.
pub(crate) type Words = u64;

const _: () = assert!(GHOST_WORDS_MAX * GHOST_WORD_BYTES <= size_of::<Words>() as u64);

/// A bounded queue of ghosts that are found by hash.
#[derive(Debug)]
pub(crate) struct Ghosts {
    /// Not there as long as there are no ghosts.
    table: Option<Table<GhostLine>>,
    ring: Ring,
    /// What each counts as beside what its entry was charged with.
    own: u32,
    /// [`GHOST_SPAN_MAX`], but in tests.
    span_max: u64,
    len: u64,
    cost: u64,
    /// The next line of the table from which stale slots are removed.
    hand: usize,
    turn: Turn,
    /// So many entries are not remembered, see [`Ghosts::yield_oldest`].
    rest: u32,
}

/// Most slots that the table had since the hand was last at any line: of those that lie there now, all that are older
/// than this were among them.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// In the turn that is under way.
    most: usize,
    /// In the one before.
    most_before: usize,
}

impl Ghosts {
    /// No ghosts; takes nothing from the region yet. They count what is charged of entries.
    pub(crate) fn new(region: &Region, unit: Charge) -> Self {
        Self::with_words(region, unit, 0)
    }

    /// No ghosts that each keep so many words.
    pub(crate) fn with_words(region: &Region, unit: Charge, words: u64) -> Self {
        Self::of(Ring::new(region, words), unit)
    }

    fn of(ring: Ring, unit: Charge) -> Self {
        let own = if unit == Charge::Bytes { Self::ghost_bytes(&ring) as u32 } else { 0 };
        let (span_max, turn) = (GHOST_SPAN_MAX, Turn::default());
        Self { table: None, ring, own, span_max, len: 0, cost: 0, hand: 0, turn, rest: 0 }
    }

    /// What a ghost takes of a budget in bytes.
    fn ghost_bytes(ring: &Ring) -> u64 {
        GHOST_BYTES + ring.words() * GHOST_WORD_BYTES
    }

    /// What the ghost of an entry with this charge counts as.
    pub(crate) fn cost_of(&self, charge: u32) -> u32 {
        rounded(charge + self.own)
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// What they take of a budget in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.len * Self::ghost_bytes(&self.ring)
    }

    /// The sum of what they count as.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    /// Remembers an entry that was evicted and has no ghost, since it was taken when the entry was admitted; forgets the
    /// oldest ghosts until they count as at most `limit`. An entry that alone is above the limit is not remembered. Takes time for as many ghosts as it forgets, each of which was
    /// remembered once.
    pub(crate) fn remember(&mut self, region: &mut Region, hash: u64, charge: u32, limit: u64) {
        self.remember_with(region, hash, (charge, 0), limit);
    }

    /// The same with the words that ghosts keep.
    pub(crate) fn remember_with(&mut self, region: &mut Region, hash: u64, (charge, words): (u32, Words), limit: u64) {
        debug_assert!(charge > 0 && charge >> GHOST_CHARGE_BITS == 0, "a charge of {charge} is none of an entry");
        let cost = self.cost_of(charge);
        if u64::from(cost) <= limit {
            while (self.cost + u64::from(cost) > limit || self.ring.span() >= self.span_max)
                && self.drop_oldest(region).is_some()
            {}
            if self.rest > 0 {
                self.rest -= 1;
            } else if !self.add(region, hash, (cost, words)) {
                (0..GHOSTS_YIELDED).for_each(|_| _ = self.drop_oldest(region));
            }
        }
        self.clear_if_empty(region);
    }

    /// Asks the processor for what is read to find or remember this hash.
    #[inline]
    pub(crate) fn prefetch(&self, region: &Region, hash: u64) {
        if let Some(table) = &self.table {
            table.prefetch(region, hash);
        }
    }

    /// Forgets the ghost with this hash; whether there was one.
    pub(crate) fn take(&mut self, region: &mut Region, hash: u64) -> bool {
        self.take_whole(region, hash).is_some()
    }

    /// Forgets the ghost with this hash; its cost and its words, if there was one.
    pub(crate) fn take_whole(&mut self, region: &mut Region, hash: u64) -> Option<(u32, Words)> {
        let value = self.find(region, hash)?;
        let cell = self.remove(region, hash, value);
        self.clear_if_empty(region);
        Some((cost_of(cell), words_of(cell)))
    }

    /// The next ghost will have this number, and all numbers before are of older ones.
    pub(crate) fn number(&self) -> u64 {
        self.ring.head()
    }

    /// Whether there may be a ghost with a number before this one.
    #[inline]
    pub(crate) fn has_before(&self, number: u64) -> bool {
        self.len > 0 && self.ring.tail() < number
    }

    /// Forgets the oldest ghost; whether there was one.
    pub(crate) fn forget_oldest(&mut self, region: &mut Region) -> bool {
        self.forget_whole(region).is_some()
    }

    /// Forgets the oldest ghost; its cost and its words, if there was one.
    pub(crate) fn forget_whole(&mut self, region: &mut Region) -> Option<(u32, Words)> {
        let cell = self.drop_oldest(region)?;
        self.clear_if_empty(region);
        Some((cost_of(cell), words_of(cell)))
    }

    /// Forgets the oldest ghost because its memory is needed; whether there was one. A queue that has given all of its
    /// memory away remembers nothing of the next [`GHOST_REST`] entries, so that it does not take it at once again.
    pub(crate) fn yield_oldest(&mut self, region: &mut Region) -> bool {
        let was_there = self.forget_oldest(region);
        self.rest_if_empty();
        was_there
    }

    /// Remembers nothing of the next entries if there are no ghosts.
    pub(crate) fn rest_if_empty(&mut self) {
        if self.len == 0 {
            self.rest = GHOST_REST;
        }
    }

    /// Walks everything.
    ///
    /// # Panics
    /// If the parts disagree, or they count as more than `limit`.
    pub(crate) fn validate(&self, region: &Region, limit: u64) {
        self.ring.validate(region);
        let (mut len, mut cost) = (0, 0);
        for (_, cell) in self.ring.iter(region) {
            (len, cost) = (len + 1, cost + u64::from(cost_of(cell)));
        }
        assert_eq!((self.len, self.cost), (len, cost), "ghosts are counted wrong");
        assert!(cost <= limit, "ghosts of {cost} are above the limit {limit}");
        assert_eq!(self.table.is_some(), len > 0, "a queue without ghosts holds no memory");
        let Some(table) = &self.table else { return };
        table.validate(region, &|_, _| None);
        let mut found = 0;
        for at in 0..table.lines_end() {
            for age in table.values(region, at).map(|value| self.age(value)).filter(|&age| age <= self.ring.span()) {
                assert_ne!(self.ring.cell(region, self.ring.head() - age), 0, "a ghost that was taken has its slot");
                found += 1;
            }
        }
        assert_eq!(found, len, "a ghost is not in the table, or twice");
    }

    /// What the table has for the ghost with this hash.
    fn find(&self, region: &Region, hash: u64) -> Option<u32> {
        let age_max = self.ring.span();
        self.table.as_ref()?.find_alike(region, hash, |value| {
            let age = self.age(value);
            age <= age_max && self.ring.cell(region, self.ring.head() - age) & CHECK == check(hash)
        })
    }

    /// How many numbers before that of the next ghost a value in the table is, which has the low bits of a number. Ghosts
    /// are at most [`GHOST_SPAN_MAX`] behind, and stale slots not as much more, for the hand comes round earlier.
    #[inline]
    fn age(&self, value: u32) -> u64 {
        age(self.ring.head(), value)
    }

    /// Appends a ghost; whether there was room for it. Nothing is touched for the first ghost unless all memory that it
    /// needs can be had.
    fn add(&mut self, region: &mut Region, hash: u64, (cost, words): (u32, Words)) -> bool {
        if self.table.is_none() {
            let segments = Table::<GhostLine>::small_segments(region, Use::Ghost) + 1;
            if !region.can_take_all(Use::Ghost, segments) {
                return false;
            }
            self.table = Table::small(region, Use::Ghost);
        }
        let Some(table) = &mut self.table else { return false };
        // In the table 0 means an empty slot; so one number in 2^27 has no ghost.
        if self.ring.head() & NUMBER == 0 && !self.ring.push(region, 0) {
            return false;
        }
        let value = (self.ring.head() & NUMBER) as u32;
        let words = Cell::from(words);
        debug_assert_eq!(words >> (u64::from(u32::BITS) * self.ring.words()), 0, "these ghosts keep fewer words");
        let cell = words << NARROW_BITS | Cell::from(cost::encode(cost)) << CHECK_BITS | check(hash);
        if !self.ring.push(region, cell) {
            return false;
        }
        let is_entered = table.insert(region, hash, value, &unknown).is_ok();
        match is_entered {
            true => (self.len, self.cost) = (self.len + 1, self.cost + u64::from(cost)),
            false => self.ring.empty(region, self.ring.head() - 1),
        }
        self.sweep(region);
        is_entered
    }

    /// Removes stale slots from the next lines.
    fn sweep(&mut self, region: &mut Region) {
        let Some(table) = &mut self.table else { return };
        let (head, age_max) = (self.ring.head(), self.ring.span());
        self.turn.most = self.turn.most.max(table.len());
        for _ in 0..GHOST_HAND_LINES {
            if self.hand >= table.lines_end() {
                self.hand = 0;
                self.turn = Turn { most: table.len(), most_before: self.turn.most };
            }
            table.keep_room(self.turn.most.max(self.turn.most_before));
            table.retain_in(region, self.hand, &unknown, |value| age(head, value) <= age_max);
            self.hand += 1;
        }
    }

    /// Forgets the ghost that has this value in the table, and its slot with it.
    fn remove(&mut self, region: &mut Region, hash: u64, value: u32) -> Cell {
        let number = self.ring.head() - self.age(value);
        let cell = self.ring.cell(region, number);
        self.ring.empty(region, number);
        self.count_out(cell);
        if let Some(table) = &mut self.table {
            table.remove(region, hash, value, &unknown);
        }
        cell
    }

    /// Forgets the oldest ghost, whose slot is stale from then on, if there is one.
    fn drop_oldest(&mut self, region: &mut Region) -> Option<Cell> {
        let cell = self.ring.pop(region)?;
        self.count_out(cell);
        Some(cell)
    }

    fn count_out(&mut self, cell: Cell) {
        (self.len, self.cost) = (self.len - 1, self.cost - u64::from(cost_of(cell)));
    }

    /// Forgets all ghosts and gives their memory back.
    pub(crate) fn clear(&mut self, region: &mut Region) {
        if let Some(table) = self.table.take() {
            table.dissolve(region);
        }
        self.ring.clear(region);
        (self.len, self.cost, self.hand) = (0, 0, 0);
        self.turn = Turn::default();
    }

    /// Without ghosts there is to be no memory either.
    fn clear_if_empty(&mut self, region: &mut Region) {
        if self.len == 0 && self.table.is_some() {
            self.clear(region);
        }
    }

    /// The costs from the oldest to the youngest.
    #[cfg(test)]
    pub(crate) fn costs(&self, region: &Region) -> Vec<u32> {
        self.ring.iter(region).map(|(_, cell)| cost_of(cell)).collect()
    }
}

/// See [`Ghosts::age`].
#[inline]
fn age(head: u64, value: u32) -> u64 {
    head.wrapping_sub(value.into()) & NUMBER
}

/// All but the word of a cell.
const NARROW: Cell = (1 << NARROW_BITS) - 1;
/// The bits of a hash in a cell.
const CHECK: Cell = (1 << CHECK_BITS) - 1;

/// What a cell has of a hash.
fn check(hash: u64) -> Cell {
    Cell::from(hash) & CHECK
}

/// What the ghost of a cell counts as.
fn cost_of(cell: Cell) -> u32 {
    cost::decode((cell & NARROW) as u32 >> CHECK_BITS)
}

/// What is kept with the ghost of a cell.
fn words_of(cell: Cell) -> Words {
    (cell >> NARROW_BITS) as Words
}

/// No ghost can be asked for its hash, and none is: its slot has all that is needed.
fn unknown(_: &Region, value: u32) -> u64 {
    unreachable!("ghost {value} lies farther from its home than a table lets it")
}

//! Ghosts: what a policy remembers of entries that it evicted. Hashes and charges, oldest first out, never more than a
//! given charge.
//!
//! A ghost is a cell in a [`Ring`], which has its charge, and a slot in a [`Table`], which leads from its hash to the
//! number of the cell. Forgetting the oldest ghost empties its cell alone; the slot, which cannot be found from there, is
//! stale from then on: its number is that of an empty cell. A hand goes over the table, some lines for each ghost that
//! is remembered, and removes stale slots, and a slot is used again if the same hash comes back before. There is one slot
//! at most for a hash, or rather for what the table knows of it.
//!
//! That is its home and 32 bits, 39 bits of the hash or more; another [`CHECK_BITS`] are in the cell. A hash that agrees
//! in all of these is taken for the ghost: with a million ghosts that happens to one in 10 million strangers at the very
//! most.
//!
//! Ghosts yield: where the region has no segment for one more, some of the oldest are forgotten instead of it. A queue
//! without ghosts holds no memory.

mod ring;
#[cfg(test)]
mod tests;

use crate::limits::{GHOST_CHARGE_BITS, GHOST_HAND_LINES, GHOSTS_YIELDED};
use crate::region::{Region, Use};
use crate::table::{GhostLine, Table};

use ring::{Cell, Ring};

/// Bits of a hash beside a charge in a cell.
const CHECK_BITS: u32 = Cell::BITS - GHOST_CHARGE_BITS;

/// A bounded queue of ghosts that are found by hash.
#[derive(Debug)]
pub(crate) struct Ghosts {
    /// Not there as long as there are no ghosts.
    table: Option<Table<GhostLine>>,
    ring: Ring,
    len: u64,
    charge: u64,
    /// The next line of the table from which stale slots are removed.
    hand: usize,
}

impl Ghosts {
    /// No ghosts; takes nothing from the region yet.
    pub(crate) fn new(region: &Region) -> Self {
        Self { table: None, ring: Ring::new(region), len: 0, charge: 0, hand: 0 }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The sum of their charges.
    pub(crate) fn charge(&self) -> u64 {
        self.charge
    }

    /// Remembers an entry that was evicted, and forgets the oldest ghosts until their charges are at most `limit`.
    /// An entry that alone is above the limit is not remembered. Takes time for as many ghosts as it forgets, each of
    /// which was remembered once.
    pub(crate) fn remember(&mut self, region: &mut Region, hash: u64, charge: u32, limit: u64) {
        debug_assert!(charge > 0 && charge >> GHOST_CHARGE_BITS == 0, "a charge of {charge} is none of an entry");
        self.take(region, hash);
        if u64::from(charge) > limit {
            return;
        }
        while self.charge + u64::from(charge) > limit {
            self.forget_oldest(region);
        }
        if !self.add(region, hash, charge) {
            for _ in 0..GHOSTS_YIELDED {
                self.forget_oldest(region);
            }
        }
    }

    /// Forgets the ghost with this hash; whether there was one.
    pub(crate) fn take(&mut self, region: &mut Region, hash: u64) -> bool {
        let Some(number) = self.find(region, hash) else { return false };
        let cell = self.ring.cell(region, number);
        self.forget(region, number, cell);
        true
    }

    /// Forgets the oldest ghost; whether there was one.
    pub(crate) fn forget_oldest(&mut self, region: &mut Region) -> bool {
        let Some((number, cell)) = self.ring.oldest(region) else { return false };
        self.forget(region, number, cell);
        true
    }

    /// Forgets all ghosts and gives their memory back.
    pub(crate) fn clear(&mut self, region: &mut Region) {
        if let Some(table) = self.table.take() {
            table.dissolve(region);
        }
        self.ring.clear(region);
        (self.len, self.charge, self.hand) = (0, 0, 0);
    }

    /// Walks everything.
    ///
    /// # Panics
    /// If the parts disagree, or the charges are above `limit`.
    pub(crate) fn validate(&self, region: &Region, limit: u64) {
        self.ring.validate(region);
        let (mut len, mut charge) = (0, 0);
        for (_, cell) in self.ring.iter(region) {
            (len, charge) = (len + 1, charge + u64::from(charge_of(cell)));
        }
        assert_eq!((self.len, self.charge), (len, charge), "ghosts are counted wrong");
        assert!(charge <= limit, "ghosts of {charge} are above the limit {limit}");
        assert_eq!(self.table.is_some(), len > 0, "a queue without ghosts holds no memory");
        let Some(table) = &self.table else { return };
        table.validate(region, &|_, _| None);
        let mut found = 0;
        for at in 0..table.lines_end() {
            table.values(region, at).for_each(|value| found += u64::from(self.number(region, value).is_some()));
        }
        assert_eq!(found, len, "a ghost is not in the table, or twice");
    }

    /// The number of the cell of the ghost with this hash.
    fn find(&self, region: &Region, hash: u64) -> Option<u64> {
        let is_it = |value| {
            let number = self.number(region, value);
            number.is_some_and(|number| self.ring.cell(region, number) & CHECK == check(hash))
        };
        let value = self.table.as_ref()?.find_alike(region, hash, is_it)?;
        self.number(region, value)
    }

    /// The number of the full cell that a value in the table stands for; `None` if the slot is stale. A value has the
    /// low bits of a number. It stays less than 2^32 numbers behind, for the hand comes round earlier.
    fn number(&self, region: &Region, value: u32) -> Option<u64> {
        let behind = (self.ring.head() as u32).wrapping_sub(value);
        let number = self.ring.head().checked_sub(behind.into())?;
        (self.ring.cell(region, number) != 0).then_some(number)
    }

    /// Appends a ghost; whether there was memory for it.
    fn add(&mut self, region: &mut Region, hash: u64, charge: u32) -> bool {
        if self.table.is_none() {
            self.table = Table::new(region, Use::Ghost, 0);
        }
        // In the table 0 means an empty slot; so one number in 2^32 has no ghost.
        if self.ring.head() as u32 == 0 && !self.ring.push(region, 0) {
            return self.give_up(region);
        }
        let value = self.ring.head() as u32;
        if self.table.is_none() || !self.ring.push(region, charge << CHECK_BITS | check(hash)) {
            return self.give_up(region);
        }
        (self.len, self.charge) = (self.len + 1, self.charge + u64::from(charge));
        let is_added = self.enter(region, hash, value);
        if !is_added && let Some(number) = self.number(region, value) {
            self.forget(region, number, charge << CHECK_BITS);
        }
        is_added
    }

    /// Puts a ghost into the table, whose cell is full; whether there was room.
    fn enter(&mut self, region: &mut Region, hash: u64, value: u32) -> bool {
        let Some(mut table) = self.table.take() else { return false };
        let stale = table.find_alike(region, hash, |value| self.number(region, value).is_none());
        let is_entered = match stale {
            Some(stale) => {
                table.replace(region, hash, stale, value);
                true
            }
            None => table.insert(region, hash, value, &unknown).is_ok(),
        };
        for _ in 0..GHOST_HAND_LINES {
            self.hand = if self.hand < table.lines_end() { self.hand } else { 0 };
            loop {
                let stale = table.values(region, self.hand).find(|&value| self.number(region, value).is_none());
                let Some(stale) = stale else { break };
                table.remove_from(region, self.hand, stale, &unknown);
            }
            self.hand += 1;
        }
        self.table = Some(table);
        is_entered
    }

    /// Nothing was added; without ghosts there is to be no memory either.
    fn give_up(&mut self, region: &mut Region) -> bool {
        if self.len == 0 {
            self.clear(region);
        }
        false
    }

    fn forget(&mut self, region: &mut Region, number: u64, cell: Cell) {
        self.ring.empty(region, number);
        (self.len, self.charge) = (self.len - 1, self.charge - u64::from(charge_of(cell)));
        if self.len == 0 {
            self.clear(region);
        }
    }

    /// The charges from the oldest to the youngest.
    #[cfg(test)]
    pub(crate) fn charges(&self, region: &Region) -> Vec<u32> {
        self.ring.iter(region).map(|(_, cell)| charge_of(cell)).collect()
    }
}

/// The bits of a hash in a cell.
const CHECK: Cell = (1 << CHECK_BITS) - 1;

/// What a cell has of a hash.
fn check(hash: u64) -> Cell {
    hash as Cell & CHECK
}

/// What the ghost of a cell costs.
fn charge_of(cell: Cell) -> u32 {
    cell >> CHECK_BITS
}

/// No ghost can be asked for its hash, and none is: its slot has all that is needed.
fn unknown(_: &Region, value: u32) -> u64 {
    unreachable!("ghost {value} lies farther from its home than a table lets it")
}

//! S3-FIFO. J. Yang, Y. Zhang, Z. Qiu, Y. Yue and R. Vigfusson, "FIFO Queues are All You Need for Cache Eviction", SOSP
//! 2023, algorithm 1.
//!
//! A new entry goes to a small queue. Who has been read often enough when it comes to the end of it goes on to the main
//! queue, and begins to count anew there; who has not leaves, and is remembered in a ghost queue by hash alone. A key
//! that comes back while it is remembered goes to the main queue at once. At the end of that, an entry that was read
//! begins again at the head, with one less on its account. So most of what is read once stays a short time only.
//!
//! The parameters are those of the paper: the small queue has a tenth of the budget before it pays, the ghost queue
//! remembers as much as the other nine tenths hold, two hits lead to the main queue, and counts end at three; in the small
//! queue they end where they suffice. Where the paper counts objects, charges are counted here. At most
//! [`SECOND_CHANCES_MAX`] entries are moved before one goes, whatever was read of it.

use super::{Departure, Replacement, percent_of};
use crate::PolicySettings;
use crate::ghosts::Ghosts;
use crate::limits::SECOND_CHANCES_MAX;
use crate::list::{List, NONE, Side};
use crate::memory::Hashes;
use crate::policy_settings::{S3_FIFO_GHOST, S3_FIFO_SMALL, S3_FIFO_THRESHOLD, S3_FIFO_THRESHOLD_MAX};
use crate::region::{Ref, Region};
use crate::settings::Charge;

/// First tags of the two queues. The states of entries are how often they were read, up to a bound.
const SMALL: u8 = 0;
const MAIN: u8 = S3_FIFO_THRESHOLD_MAX as u8 + 1;
const MAIN_COUNT_MAX: u8 = 3;

/// The three queues.
#[derive(Debug)]
pub(crate) struct S3Fifo {
    settings: PolicySettings,
    small: List,
    main: List,
    ghosts: Ghosts,
    /// Whether the entry that was admitted last was remembered.
    admitted_to_main: bool,
}

impl S3Fifo {
    pub(super) fn new(settings: PolicySettings, side: Side, unit: Charge, region: &Region) -> Self {
        let small = List::with_states(side, SMALL..MAIN, unit);
        let main = List::with_states(side, MAIN..MAIN + MAIN_COUNT_MAX + 1, unit);
        Self { settings, small, main, ghosts: Ghosts::new(region, unit), admitted_to_main: false }
    }

    /// What the small queue may hold before it pays.
    fn small_charge_max(&self, budget: u64) -> u64 {
        percent_of(self.settings.value(S3_FIFO_SMALL), budget).max(1)
    }

    fn ghost_charge_max(&self, budget: u64) -> u64 {
        percent_of(self.settings.value(S3_FIFO_GHOST), budget)
    }

    /// How often an entry of the small queue has to be read.
    fn threshold(&self) -> u8 {
        self.settings.value(S3_FIFO_THRESHOLD) as u8
    }
}

impl Replacement for S3Fifo {
    #[inline]
    fn access(&mut self, region: &mut Region, entry: Ref, _hash: u64, _budget: u64) {
        let (queue, most) = match self.main.holds(region, entry) {
            true => (&self.main, MAIN_COUNT_MAX),
            false => (&self.small, self.threshold()),
        };
        let count = queue.state(region, entry);
        if count < most {
            queue.set_state(region, entry, count + 1);
        }
    }

    #[inline]
    fn prefetch(&self, region: &Region, hash: u64) {
        self.ghosts.prefetch(region, hash);
    }

    fn admit(&mut self, region: &mut Region, hash: u64, _charge: u32, _budget: u64) -> bool {
        self.admitted_to_main = self.ghosts.take(region, hash);
        self.admitted_to_main
    }

    fn insert(&mut self, region: &mut Region, entry: Ref, charge: u32, _budget: u64) {
        let queue = if self.admitted_to_main { &mut self.main } else { &mut self.small };
        queue.push_head(region, entry, charge);
    }

    fn victim(&mut self, region: &mut Region, _hashes: &Hashes, keep: Ref, budget: u64) -> Option<Ref> {
        let small_charge_max = self.small_charge_max(budget);
        // Once the small queue pays, it goes on until somebody leaves it.
        let mut small_pays = self.small.charge() >= small_charge_max;
        for step in 1.. {
            let (small, main) = (self.small.oldest_but(region, keep), self.main.oldest_but(region, keep));
            let is_last = step == SECOND_CHANCES_MAX;
            match (small, main) {
                (Some(entry), other) if small_pays || other.is_none() => {
                    small_pays = true;
                    if self.small.state(region, entry) < self.threshold() || is_last {
                        return Some(entry);
                    }
                    let charge = self.small.charge_of(region, entry);
                    self.small.unlink(region, entry, charge);
                    self.main.push_head(region, entry, charge);
                }
                (_, Some(entry)) => {
                    let count = self.main.state(region, entry);
                    if count == 0 || is_last {
                        return Some(entry);
                    }
                    self.main.move_to_head(region, entry);
                    self.main.set_state(region, entry, count - 1);
                }
                _ => break,
            }
        }
        debug_assert!(keep != NONE || self.small.len() + self.main.len() == 0, "somebody can go");
        None
    }

    fn recharge(&mut self, region: &Region, entry: Ref, old: u32, new: u32) {
        let queue = if self.main.holds(region, entry) { &mut self.main } else { &mut self.small };
        queue.recharge(old, new);
    }

    fn moved(&mut self, region: &mut Region, to: Ref) {
        let queue = if self.main.holds(region, to) { &mut self.main } else { &mut self.small };
        queue.moved(region, to);
    }

    fn remove(&mut self, region: &mut Region, entry: Ref, charge: u32, departure: Departure, budget: u64) {
        if self.main.holds(region, entry) {
            return self.main.unlink(region, entry, charge);
        }
        self.small.unlink(region, entry, charge);
        if let Departure::Evicted { hash } = departure {
            let limit = self.ghost_charge_max(budget);
            self.ghosts.remember(region, hash, charge, limit);
        }
    }

    fn ghost_bytes(&self) -> u64 {
        self.ghosts.bytes()
    }

    fn clear_ghosts(&mut self, region: &mut Region) {
        self.ghosts.clear(region);
    }

    fn forget_ghost(&mut self, region: &mut Region) -> bool {
        self.ghosts.forget_oldest(region)
    }

    fn yield_ghost(&mut self, region: &mut Region) -> bool {
        self.ghosts.yield_oldest(region)
    }

    fn shrink(&mut self, region: &mut Region, budget: u64) {
        while self.ghosts.cost() > self.ghost_charge_max(budget) {
            self.ghosts.forget_oldest(region);
        }
    }

    fn validate(&self, region: &Region, budget: u64) -> (u64, u64) {
        self.small.validate(region);
        self.main.validate(region);
        self.ghosts.validate(region, self.ghost_charge_max(budget));
        (u64::from(self.small.len() + self.main.len()), self.small.charge() + self.main.charge())
    }
}

#[cfg(test)]
mod tests {
    use crate::PolicyKind;
    use crate::policy::oracle::{Account, Oracle, hold};

    #[derive(Clone, Copy)]
    struct Entry {
        key: u64,
        charge: u64,
        count: u8,
    }

    fn charge(queue: &[Entry]) -> u64 {
        queue.iter().map(|entry| entry.charge).sum()
    }

    /// The algorithm of the paper on vectors, the head first.
    #[derive(Default)]
    struct Naive {
        small: Vec<Entry>,
        main: Vec<Entry>,
        ghosts: Vec<Entry>,
    }

    impl Naive {
        fn reclaim(&mut self, needed: u64, keep: Option<u64>, account: Account) {
            let held =
                |naive: &Naive| charge(&naive.small) + charge(&naive.main) + naive.ghosts.len() as u64 * account.ghost;
            let mut small_pays = false;
            while held(self) + needed > account.budget {
                let oldest = |queue: &[Entry]| queue.iter().rposition(|entry| Some(entry.key) != keep);
                let (from_small, from_main) = (oldest(&self.small), oldest(&self.main));
                small_pays |= charge(&self.small) >= (account.budget / 10).max(1);
                match (from_small, from_main) {
                    (Some(place), other) if small_pays || other.is_none() => {
                        small_pays = true;
                        let entry = self.small.remove(place);
                        if entry.count >= 2 {
                            self.main.insert(0, Entry { count: 0, ..entry });
                            continue;
                        }
                        small_pays = false;
                        let ghosts_max = account.budget * 9 / 10;
                        let ghost = Entry { charge: account.ghost_cost(entry.charge, 0), ..entry };
                        if ghost.charge <= ghosts_max {
                            self.ghosts.insert(0, ghost);
                        }
                        while charge(&self.ghosts) > ghosts_max {
                            self.ghosts.pop();
                        }
                    }
                    (_, Some(place)) => {
                        let entry = self.main.remove(place);
                        if entry.count > 0 {
                            self.main.insert(0, Entry { count: entry.count - 1, ..entry });
                        }
                    }
                    _ => drop(self.ghosts.pop().expect("something is held")),
                }
            }
        }
    }

    impl Oracle for Naive {
        fn access(&mut self, key: u64) -> bool {
            let found = self.small.iter_mut().chain(&mut self.main).find(|entry| entry.key == key);
            found.map(|entry| entry.count = (entry.count + 1).min(3)).is_some()
        }

        fn store(&mut self, key: u64, charge: u64, account: Account) {
            if let Some(entry) = self.small.iter_mut().chain(&mut self.main).find(|entry| entry.key == key) {
                entry.charge = charge;
                return self.reclaim(0, Some(key), account);
            }
            let remembered = self.ghosts.iter().position(|ghost| ghost.key == key);
            if let Some(place) = remembered {
                self.ghosts.remove(place);
            }
            self.reclaim(charge, None, account);
            let queue = if remembered.is_some() { &mut self.main } else { &mut self.small };
            queue.insert(0, Entry { key, charge, count: 0 });
        }

        fn delete(&mut self, key: u64) {
            self.small.retain(|entry| entry.key != key);
            self.main.retain(|entry| entry.key != key);
        }

        fn entries(&self) -> Vec<u64> {
            self.small.iter().chain(&self.main).map(|entry| entry.key).collect()
        }

        fn ghosts(&self) -> u64 {
            self.ghosts.len() as u64
        }
    }

    #[test]
    fn s3_fifo_does_what_the_algorithm_of_the_paper_does_on_vectors() {
        hold(PolicyKind::S3Fifo, Naive::default);
    }
}

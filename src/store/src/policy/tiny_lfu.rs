//! W-TinyLFU. G. Einziger, R. Friedman and B. Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM Transactions
//! on Storage 2017.
//!
//! A new entry goes to a window, which is an LRU list. The rest of the budget is a segmented LRU: entries come to a
//! probation segment, and from there to a protected one when they are read; what is too much there goes back. When there
//! is no room, the last of the window wants to come to the probation segment, and the last of that has to go: whoever was
//! asked for more often lately, by the estimate of a [`Sketch`] that knows keys that are not there too, may stay.
//!
//! The window has a tenth of the budget, as a parameter, and the protected segment four fifths of the rest. Where the
//! paper counts items, charges are counted here.

use super::{Departure, Replacement, percent_of};
use crate::PolicySettings;
use crate::limits::TINY_LFU_MOVES_MAX;
use crate::list::{BY_ACCESS, List, Side};
use crate::memory::Hashes;
use crate::policy_settings::TINY_LFU_WINDOW;
use crate::region::{Ref, Region};
use crate::settings::Charge;
use crate::sketch::Sketch;

/// Tags of the lists.
const PROTECTED: u8 = BY_ACCESS;
const WINDOW: u8 = 1;
const PROBATION: u8 = 2;
/// Of what the window leaves, what the protected segment may have.
const PROTECTED_PERCENT: u64 = 80;

/// The window, the two segments, and the sketch.
#[derive(Debug)]
pub(crate) struct TinyLfu {
    settings: PolicySettings,
    window: List,
    probation: List,
    protected: List,
    sketch: Sketch,
    /// What the entry that was admitted will add to the window.
    incoming: u64,
}

impl TinyLfu {
    pub(super) fn new(settings: PolicySettings, side: Side, unit: Charge, region: &Region) -> Self {
        let list = |tag| List::new(side, tag, unit);
        let (window, probation, protected) = (list(WINDOW), list(PROBATION), list(PROTECTED));
        Self { settings, window, probation, protected, sketch: Sketch::new(region), incoming: 0 }
    }

    fn entries(&self) -> u64 {
        [&self.window, &self.probation, &self.protected].iter().map(|list| u64::from(list.len())).sum()
    }

    fn window_charge_max(&self, budget: u64) -> u64 {
        percent_of(self.settings.value(TINY_LFU_WINDOW), budget).max(1)
    }

    fn main_charge_max(&self, budget: u64) -> u64 {
        budget.saturating_sub(self.window_charge_max(budget))
    }

    fn list_of(&mut self, region: &Region, entry: Ref) -> &mut List {
        if self.protected.holds(region, entry) {
            &mut self.protected
        } else if self.window.holds(region, entry) {
            &mut self.window
        } else {
            &mut self.probation
        }
    }

    /// An entry leaves the window for the probation segment.
    fn pass_on(&mut self, region: &mut Region, entry: Ref) {
        let charge = self.window.charge_of(region, entry);
        self.window.unlink(region, entry, charge);
        self.probation.push_head(region, entry, charge);
    }
}

impl Replacement for TinyLfu {
    fn access(&mut self, region: &mut Region, entry: Ref, hash: u64, budget: u64) {
        let entries = self.entries();
        self.sketch.count(region, hash, entries);
        if !self.probation.holds(region, entry) {
            return self.list_of(region, entry).move_to_head(region, entry);
        }
        let charge = self.probation.charge_of(region, entry);
        self.probation.unlink(region, entry, charge);
        self.protected.push_head(region, entry, charge);
        let charge_max = percent_of(PROTECTED_PERCENT, self.main_charge_max(budget));
        for _ in 0..TINY_LFU_MOVES_MAX {
            let Some(oldest) = self.protected.oldest_but(region, entry) else { break };
            if self.protected.charge() <= charge_max {
                break;
            }
            let charge = self.protected.charge_of(region, oldest);
            self.protected.unlink(region, oldest, charge);
            self.probation.push_head(region, oldest, charge);
        }
    }

    #[inline]
    fn prefetch(&self, region: &Region, hash: u64) {
        self.sketch.prefetch(region, hash);
    }

    fn admit(&mut self, region: &mut Region, hash: u64, charge: u32, _budget: u64) -> bool {
        let entries = self.entries() + 1;
        self.sketch.fit(region, entries);
        self.sketch.count(region, hash, entries);
        self.incoming = charge.into();
        false
    }

    fn readmit(&mut self, region: &mut Region, hash: u64, charge: u32, _budget: u64) {
        let entries = self.entries() + 1;
        self.sketch.count(region, hash, entries);
        self.incoming = charge.into();
    }

    fn insert(&mut self, region: &mut Region, entry: Ref, charge: u32, budget: u64) {
        self.window.push_head(region, entry, charge);
        self.incoming = 0;
        // While there is room, nobody has to contend for it.
        for _ in 0..TINY_LFU_MOVES_MAX {
            let Some(oldest) = self.window.oldest_but(region, entry) else { break };
            if self.window.charge() <= self.window_charge_max(budget) {
                break;
            }
            self.pass_on(region, oldest);
        }
    }

    fn victim(&mut self, region: &mut Region, hashes: &Hashes, keep: Ref, budget: u64) -> Option<Ref> {
        for moves in 0.. {
            let last = self.probation.oldest_but(region, keep).or_else(|| self.protected.oldest_but(region, keep));
            let candidate = self.window.oldest_but(region, keep);
            let window_pays =
                self.incoming > 0 && self.window.charge() + self.incoming > self.window_charge_max(budget);
            let (Some(candidate), Some(last)) = (candidate, last) else { return last.or(candidate) };
            if !window_pays {
                return Some(last);
            }
            let charge = u64::from(self.window.charge_of(region, candidate));
            let main = self.probation.charge() + self.protected.charge();
            if main + charge <= self.main_charge_max(budget) && moves < TINY_LFU_MOVES_MAX {
                self.pass_on(region, candidate);
                continue;
            }
            let [contender, holder] =
                [candidate, last].map(|entry| self.sketch.frequency(region, hashes.of(region, entry)));
            if contender <= holder {
                return Some(candidate);
            }
            self.pass_on(region, candidate);
            return Some(last);
        }
        unreachable!("the number of moves is bounded")
    }

    fn recharge(&mut self, region: &Region, entry: Ref, old: u32, new: u32) {
        self.list_of(region, entry).recharge(old, new);
    }

    fn moved(&mut self, region: &mut Region, to: Ref) {
        self.list_of(region, to).moved(region, to);
    }

    fn remove(&mut self, region: &mut Region, entry: Ref, charge: u32, _departure: Departure, _budget: u64) {
        self.list_of(region, entry).unlink(region, entry, charge);
        if self.entries() == 0 && self.incoming == 0 {
            self.sketch.clear(region);
        }
    }

    fn ghost_bytes(&self) -> u64 {
        self.sketch.bytes()
    }

    fn clear_ghosts(&mut self, region: &mut Region) {
        self.sketch.clear(region);
    }

    fn forget_ghost(&mut self, region: &mut Region) -> bool {
        self.sketch.clear(region)
    }

    fn yield_ghost(&mut self, region: &mut Region) -> bool {
        self.sketch.give_away(region)
    }

    fn validate(&self, region: &Region, _budget: u64) -> (u64, u64) {
        let lists = [&self.window, &self.probation, &self.protected];
        lists.iter().for_each(|list| list.validate(region));
        self.sketch.validate(region);
        assert!(self.entries() > 0 || self.sketch.bytes() == 0, "a group without entries holds no memory");
        (self.entries(), lists.iter().map(|list| list.charge()).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PolicyKind;
    use crate::policy::oracle::{Account, Oracle, hash, hold};
    use alloc::vec::Vec;

    /// Three vectors, the most recent first, and a sketch, which has tests of its own.
    struct Naive {
        lists: [Vec<(u64, u64)>; 3],
        region: Region,
        sketch: Sketch,
        account: Account,
    }

    const WINDOW: usize = 0;
    const PROBATION: usize = 1;
    const PROTECTED: usize = 2;

    impl Naive {
        fn new() -> Self {
            let region = Region::new(4 << 20);
            let account = Account { budget: 0, ghost: 0 };
            Self { lists: [const { Vec::new() }; 3], sketch: Sketch::new(&region), region, account }
        }

        fn charge(&self, list: usize) -> u64 {
            self.lists[list].iter().map(|entry| entry.1).sum()
        }

        fn find(&self, key: u64) -> Option<(usize, usize)> {
            let place = |list: usize| self.lists[list].iter().position(|entry| entry.0 == key);
            (0..3).find_map(|list| place(list).map(|place| (list, place)))
        }

        fn frequency(&self, key: u64) -> u8 {
            self.sketch.frequency(&self.region, hash(key))
        }

        fn len(&self) -> u64 {
            self.entries().len() as u64
        }

        fn total(&self, account: Account) -> u64 {
            (0..3).map(|list| self.charge(list)).sum::<u64>() + self.ghost_bytes(account)
        }

        fn window_max(account: Account) -> u64 {
            (account.budget / 10).max(1)
        }

        fn pass_on(&mut self, place: usize) {
            let entry = self.lists[WINDOW].remove(place);
            self.lists[PROBATION].insert(0, entry);
        }

        /// The last of a list that is not this key.
        fn last(&self, list: usize, keep: u64) -> Option<usize> {
            self.lists[list].iter().rposition(|entry| entry.0 != keep)
        }

        fn evict(&mut self, incoming: u64, keep: u64, account: Account) {
            let main_max = account.budget - Self::window_max(account);
            for moves in 0.. {
                let in_main = [PROBATION, PROTECTED].into_iter().find_map(|list| Some((list, self.last(list, keep)?)));
                let candidate = self.last(WINDOW, keep);
                let pays = incoming > 0 && self.charge(WINDOW) + incoming > Self::window_max(account);
                let (list, place) = match (candidate, in_main) {
                    (Some(candidate), Some((list, place))) if pays => {
                        let (key, charge) = self.lists[WINDOW][candidate];
                        if self.charge(PROBATION) + self.charge(PROTECTED) + charge <= main_max
                            && moves < TINY_LFU_MOVES_MAX
                        {
                            self.pass_on(candidate);
                            continue;
                        }
                        if self.frequency(key) > self.frequency(self.lists[list][place].0) {
                            let evicted = self.lists[list][place].0;
                            self.pass_on(candidate);
                            self.find(evicted).unwrap()
                        } else {
                            (WINDOW, candidate)
                        }
                    }
                    (_, Some(found)) => found,
                    (Some(candidate), None) => (WINDOW, candidate),
                    (None, None) => {
                        self.sketch.clear(&mut self.region);
                        return;
                    }
                };
                self.lists[list].remove(place);
                if self.len() == 0 && incoming == 0 {
                    self.sketch.clear(&mut self.region);
                }
                return;
            }
        }
    }

    impl Naive {
        /// A key that is there was asked for.
        fn note(&mut self, key: u64) {
            let (list, place) = self.find(key).unwrap();
            let entries = self.len();
            self.sketch.count(&mut self.region, hash(key), entries);
            let entry = self.lists[list].remove(place);
            self.lists[if list == PROBATION { PROTECTED } else { list }].insert(0, entry);
            let protected_max = (self.account.budget - Self::window_max(self.account)) * 80 / 100;
            for _ in 0..TINY_LFU_MOVES_MAX {
                if list != PROBATION || self.charge(PROTECTED) <= protected_max || self.lists[PROTECTED].len() == 1 {
                    break;
                }
                let oldest = self.lists[PROTECTED].pop().unwrap();
                self.lists[PROBATION].insert(0, oldest);
            }
        }
    }

    impl Oracle for Naive {
        fn begin(&mut self, account: Account) {
            self.account = account;
        }

        fn access(&mut self, key: u64) -> bool {
            let is_there = self.find(key).is_some();
            if is_there {
                self.note(key);
            }
            is_there
        }

        fn write(&mut self, key: u64, charge: u64, account: Account) {
            let Some((list, place)) = self.find(key) else { return self.store(key, charge, account) };
            self.lists[list][place].1 = charge;
            self.note(key);
            while self.total(account) > account.budget {
                self.evict(0, key, account);
            }
        }

        fn store(&mut self, key: u64, charge: u64, account: Account) {
            let entries = self.len() + 1;
            self.sketch.fit(&mut self.region, entries);
            self.sketch.count(&mut self.region, hash(key), entries);
            while self.total(account) + charge > account.budget {
                self.evict(charge, u64::MAX, account);
            }
            self.lists[WINDOW].insert(0, (key, charge));
            for _ in 0..TINY_LFU_MOVES_MAX {
                if self.charge(WINDOW) <= Self::window_max(account) || self.lists[WINDOW].len() == 1 {
                    break;
                }
                self.pass_on(self.lists[WINDOW].len() - 1);
            }
        }

        fn delete(&mut self, key: u64) {
            if let Some((list, place)) = self.find(key) {
                self.lists[list].remove(place);
                if self.len() == 0 {
                    self.sketch.clear(&mut self.region);
                }
            }
        }

        fn entries(&self) -> Vec<u64> {
            self.lists.iter().flatten().map(|entry| entry.0).collect()
        }

        fn ghosts(&self) -> u64 {
            unreachable!("it has a sketch instead")
        }

        fn ghost_bytes(&self, account: Account) -> u64 {
            if account.ghost == 0 { 0 } else { self.sketch.bytes() }
        }
    }

    #[test]
    fn tiny_lfu_does_what_three_vectors_do() {
        hold(PolicyKind::TinyLfu, Naive::new);
    }
}

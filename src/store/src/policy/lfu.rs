//! LFU with dynamic aging. M. Arlitt, L. Cherkasova, J. Dilley, R. Friedrich and T. Jin, "Evaluating Content Management
//! Techniques for Web Proxy Caches", ACM SIGMETRICS Performance Evaluation Review 27(4), 2000 (LFU-DA).
//!
//! An entry's priority is how often it was asked for since it is here, plus the age of the cache when it was asked for
//! last: the age is the priority of the entry that was evicted last. The least priority goes; among equals the one that
//! was used least recently. So what was popular once is overtaken in time. Sizes play no part, but in what has to go.
//!
//! Priorities lie at the age or above it, and are chains of a window from there on ([`Ranks`]). Who is above the window has
//! been asked for some thousand times more often than who goes next, and waits in a list from which two entries are
//! tried at each access. Only where all entries are above the window may another one go than the least, of
//! [`ABOVE_LOOKED_AT`] that are looked at; the paper's order is kept otherwise.

use super::{Departure, Replacement};
use crate::block::{self, MEMOS};
use crate::limits::{ABOVE_LOOKED_AT, ABOVE_STEPS};
use crate::list::{BY_ACCESS, List, NONE, Side};
use crate::memory::Hashes;
use crate::ranks::Ranks;
use crate::region::{Ref, Region};
use crate::settings::Charge;

/// Tags of the orders.
const RANKED: u8 = BY_ACCESS;
const ABOVE: u8 = 1;
/// What is kept with an entry: how often it was asked for, and the low half of its priority.
const COUNT: usize = 0;
const PRIORITY: usize = 1;
/// A count does not go beyond this, so that no priority is 2^31 or more above the age.
const COUNT_MAX: u32 = 1 << 30;

/// Entries by priority.
#[derive(Debug)]
pub(crate) struct Lfu {
    ranked: Ranks,
    above: List,
    /// The age of the cache: L of the paper.
    age: u64,
    /// Who was named as the next victim.
    named: Ref,
}

impl Lfu {
    pub(super) fn new(side: Side, unit: Charge) -> Self {
        let (ranked, above) = (Ranks::new(side, RANKED, unit), List::new(side, ABOVE, unit));
        Self { ranked, above, age: 0, named: NONE }
    }

    /// The priority of an entry, which may be a little below the age if it was spared.
    fn priority(&self, region: &Region, entry: Ref) -> u64 {
        let distance = block::memos(region, entry)[PRIORITY].wrapping_sub(self.age as u32) as i32;
        self.age.saturating_add_signed(distance.into())
    }

    /// Gives an entry, which is in no order, the priority that follows from its count.
    fn place(&mut self, region: &mut Region, entry: Ref, charge: u32, count: u32) {
        let priority = self.age + u64::from(count);
        let mut memos = [0; MEMOS];
        (memos[COUNT], memos[PRIORITY]) = (count, priority as u32);
        block::set_memos(region, entry, memos);
        if priority < self.ranked.end() {
            self.ranked.push(region, entry, charge, priority);
        } else {
            self.above.push_head(region, entry, charge);
        }
    }

    fn unlink(&mut self, region: &mut Region, entry: Ref, charge: u32) {
        if self.above.holds(region, entry) {
            self.above.unlink(region, entry, charge);
        } else {
            let priority = self.priority(region, entry);
            self.ranked.unlink(region, entry, charge, priority);
        }
    }

    /// Tries some entries above the window, whether it has come up to them.
    fn try_above(&mut self, region: &mut Region) {
        for _ in 0..ABOVE_STEPS {
            let Some(entry) = self.above.oldest_but(region, NONE) else { break };
            let priority = self.priority(region, entry);
            if priority < self.ranked.end() {
                let charge = self.above.charge_of(region, entry);
                self.above.unlink(region, entry, charge);
                self.ranked.push(region, entry, charge, priority);
            } else {
                self.above.move_to_head(region, entry);
            }
        }
    }

    /// The least of some entries above the window.
    fn least_above(&self, region: &Region, keep: Ref) -> Option<Ref> {
        let mut entry = self.above.oldest_but(region, keep)?;
        let mut least = (self.priority(region, entry), entry);
        for _ in 1..ABOVE_LOOKED_AT {
            entry = self.above.towards_head(region, entry);
            if entry == NONE {
                break;
            }
            if entry != keep {
                let priority = self.priority(region, entry);
                // Of equals the first, which is the oldest.
                least = if priority < least.0 { (priority, entry) } else { least };
            }
        }
        Some(least.1)
    }
}

impl Replacement for Lfu {
    fn access(&mut self, region: &mut Region, entry: Ref, _hash: u64, _budget: u64) {
        let charge = self.above.charge_of(region, entry);
        let count = block::memos(region, entry)[COUNT].min(COUNT_MAX - 1) + 1;
        self.unlink(region, entry, charge);
        self.place(region, entry, charge, count);
        self.try_above(region);
    }

    fn insert(&mut self, region: &mut Region, entry: Ref, charge: u32, _budget: u64) {
        self.place(region, entry, charge, 1);
        self.try_above(region);
    }

    fn victim(&mut self, region: &mut Region, _hashes: &Hashes, keep: Ref, _budget: u64) -> Option<Ref> {
        let victim = self.ranked.least_but(region, keep).or_else(|| self.least_above(region, keep));
        self.named = victim.unwrap_or(NONE);
        victim
    }

    fn recharge(&mut self, region: &Region, entry: Ref, old: u32, new: u32) {
        if self.above.holds(region, entry) {
            self.above.recharge(old, new);
        } else {
            self.ranked.recharge(old, new);
        }
    }

    fn moved(&mut self, region: &mut Region, to: Ref) {
        if self.above.holds(region, to) {
            return self.above.moved(region, to);
        }
        let priority = self.priority(region, to);
        self.ranked.moved(region, to, priority);
    }

    fn remove(&mut self, region: &mut Region, entry: Ref, charge: u32, departure: Departure, _budget: u64) {
        self.unlink(region, entry, charge);
        // One that had to go for another reason than its priority says nothing about the others.
        if matches!(departure, Departure::Evicted { .. }) && entry == self.named {
            self.age = self.age.max(self.priority(region, entry));
            self.ranked.advance(region, self.age);
        }
        self.named = NONE;
    }

    fn validate(&self, region: &Region, _budget: u64) -> (u64, u64) {
        self.ranked.validate(region, |entry| self.priority(region, entry));
        self.above.validate(region);
        assert_eq!(self.ranked.first(), self.age, "the window begins at the age");
        let len = self.ranked.len() + self.above.len();
        (u64::from(len), self.ranked.charge() + self.above.charge())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use crate::PolicyKind;
    use crate::policy::oracle::{Account, Oracle, hold};

    /// Key, charge, count and priority, the most recently used first.
    #[derive(Default)]
    struct Naive {
        used: Vec<(u64, u64, u64, u64)>,
        age: u64,
    }

    impl Naive {
        fn total(&self) -> u64 {
            self.used.iter().map(|entry| entry.1).sum()
        }

        fn evict(&mut self, keep: Option<u64>) {
            // Of equal minima the last, which is the least recently used.
            let others = self.used.iter().enumerate().rev().filter(|(_, entry)| Some(entry.0) != keep);
            let (place, _) = others.min_by_key(|(_, entry)| entry.3.max(self.age)).unwrap();
            self.age = self.age.max(self.used.remove(place).3);
        }
    }

    impl Oracle for Naive {
        fn access(&mut self, key: u64) -> bool {
            let Some(place) = self.used.iter().position(|entry| entry.0 == key) else { return false };
            let (key, charge, count, _) = self.used.remove(place);
            self.used.insert(0, (key, charge, count + 1, count + 1 + self.age));
            true
        }

        fn store(&mut self, key: u64, charge: u64, account: Account) {
            if let Some(entry) = self.used.iter_mut().find(|entry| entry.0 == key) {
                entry.1 = charge;
                while self.total() > account.budget {
                    self.evict(Some(key));
                }
                return;
            }
            while self.total() + charge > account.budget {
                self.evict(None);
            }
            self.used.insert(0, (key, charge, 1, 1 + self.age));
        }

        fn delete(&mut self, key: u64) {
            self.used.retain(|entry| entry.0 != key);
        }

        fn entries(&self) -> Vec<u64> {
            self.used.iter().map(|entry| entry.0).collect()
        }

        fn ghosts(&self) -> u64 {
            0
        }
    }

    #[test]
    fn lfu_does_what_a_vector_with_counts_does() {
        hold(PolicyKind::Lfu, Naive::default);
    }
}

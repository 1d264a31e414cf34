//! Least recently used. P. J. Denning, "The Working Set Model for Program Behavior", CACM 11(5), 1968, names it and
//! its rivals; the list is as old.

use super::{Departure, Replacement};
use crate::list::{BY_ACCESS, List, Side};
use crate::memory::Hashes;
use crate::region::{Ref, Region};
use crate::settings::Charge;

/// One list: the most recently used entry is its head, the victim its tail.
#[derive(Debug)]
pub(crate) struct Lru {
    list: List,
}

impl Lru {
    pub(super) fn new(side: Side, unit: Charge) -> Self {
        Self { list: List::new(side, BY_ACCESS, unit) }
    }
}

impl Replacement for Lru {
    #[inline]
    fn access(&mut self, region: &mut Region, entry: Ref, _hash: u64, _budget: u64) {
        self.list.move_to_head(region, entry);
    }

    fn insert(&mut self, region: &mut Region, entry: Ref, charge: u32, _budget: u64) {
        self.list.push_head(region, entry, charge);
    }

    fn victim(&mut self, region: &mut Region, _hashes: &Hashes, keep: Ref, _budget: u64) -> Option<Ref> {
        self.list.oldest_but(region, keep)
    }

    fn recharge(&mut self, _region: &Region, _entry: Ref, old: u32, new: u32) {
        self.list.recharge(old, new);
    }

    fn moved(&mut self, region: &mut Region, to: Ref) {
        self.list.moved(region, to);
    }

    fn remove(&mut self, region: &mut Region, entry: Ref, charge: u32, _departure: Departure, _budget: u64) {
        self.list.unlink(region, entry, charge);
    }

    fn validate(&self, region: &Region, _budget: u64) -> (u64, u64) {
        self.list.validate(region);
        (u64::from(self.list.len()), self.list.charge())
    }
}

#[cfg(test)]
mod tests {
    use crate::PolicyKind;
    use crate::policy::oracle::{Account, Oracle, hold};

    /// A vector in order of use, the most recent first.
    #[derive(Default)]
    struct Naive {
        used: Vec<(u64, u64)>,
    }

    impl Oracle for Naive {
        fn access(&mut self, key: u64) -> bool {
            let Some(place) = self.used.iter().position(|entry| entry.0 == key) else { return false };
            let entry = self.used.remove(place);
            self.used.insert(0, entry);
            true
        }

        fn store(&mut self, key: u64, charge: u64, account: Account) {
            match self.used.iter_mut().find(|entry| entry.0 == key) {
                Some(entry) => entry.1 = charge,
                None => self.used.insert(0, (key, charge)),
            }
            while self.used.iter().map(|entry| entry.1).sum::<u64>() > account.budget {
                self.used.pop();
            }
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
    fn lru_does_what_a_vector_in_order_of_use_does() {
        hold(PolicyKind::Lru, Naive::default);
    }
}

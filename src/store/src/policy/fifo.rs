//! First in, first out. L. A. Belady, "A Study of Replacement Algorithms for a Virtual-Storage Computer", IBM Systems
//! Journal 5(2), 1966. Hits change nothing, so it is what the others are measured against.

use super::{Departure, Replacement};
use crate::list::{List, Side};
use crate::memory::Hashes;
use crate::region::{Ref, Region};
use crate::settings::Charge;

const QUEUE: u8 = 1;

/// One queue: the entry that was stored last is its head, the victim its tail.
#[derive(Debug)]
pub(crate) struct Fifo {
    queue: List,
}

impl Fifo {
    pub(super) fn new(side: Side, unit: Charge) -> Self {
        Self { queue: List::new(side, QUEUE, unit) }
    }
}

impl Replacement for Fifo {
    #[inline]
    fn access(&mut self, _region: &mut Region, _entry: Ref, _hash: u64, _budget: u64) {}

    fn insert(&mut self, region: &mut Region, entry: Ref, charge: u32, _budget: u64) {
        self.queue.push_head(region, entry, charge);
    }

    fn victim(&mut self, region: &mut Region, _hashes: &Hashes, keep: Ref, _budget: u64) -> Option<Ref> {
        self.queue.oldest_but(region, keep)
    }

    fn recharge(&mut self, _region: &Region, _entry: Ref, old: u32, new: u32) {
        self.queue.recharge(old, new);
    }

    fn moved(&mut self, region: &mut Region, to: Ref) {
        self.queue.moved(region, to);
    }

    fn remove(&mut self, region: &mut Region, entry: Ref, charge: u32, _departure: Departure, _budget: u64) {
        self.queue.unlink(region, entry, charge);
    }

    fn validate(&self, region: &Region, _budget: u64) -> (u64, u64) {
        self.queue.validate(region);
        (u64::from(self.queue.len()), self.queue.charge())
    }
}

#[cfg(test)]
mod tests {
    use crate::PolicyKind;
    use crate::policy::oracle::{Account, Oracle, hold};

    /// A vector in the order in which entries came, the youngest first.
    #[derive(Default)]
    struct Naive {
        queue: Vec<(u64, u64)>,
    }

    impl Oracle for Naive {
        fn access(&mut self, key: u64) -> bool {
            self.queue.iter().any(|entry| entry.0 == key)
        }

        fn store(&mut self, key: u64, charge: u64, account: Account) {
            match self.queue.iter_mut().find(|entry| entry.0 == key) {
                Some(entry) => entry.1 = charge,
                None => self.queue.insert(0, (key, charge)),
            }
            while self.queue.iter().map(|entry| entry.1).sum::<u64>() > account.budget {
                let victim = self.queue.iter().rposition(|entry| entry.0 != key).expect("one entry fits");
                self.queue.remove(victim);
            }
        }

        fn delete(&mut self, key: u64) {
            self.queue.retain(|entry| entry.0 != key);
        }

        fn entries(&self) -> Vec<u64> {
            self.queue.iter().map(|entry| entry.0).collect()
        }

        fn ghosts(&self) -> u64 {
            0
        }
    }

    #[test]
    fn fifo_does_what_a_vector_in_order_of_arrival_does() {
        hold(PolicyKind::Fifo, Naive::default);
    }
}

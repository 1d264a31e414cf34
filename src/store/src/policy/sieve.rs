//! SIEVE. Y. Zhang, J. Yang, Y. Yue, Y. Vigfusson and K. V. Rashmi, "SIEVE is Simpler than LRU: an Efficient Turn-Key
//! Eviction Algorithm for Web Caches", NSDI 2024, algorithm 1.
//!
//! One queue, in which a hit only marks an entry. A hand goes from the oldest entry towards the youngest: it takes the
//! mark of those that have one, and stops at the first that has none, which is the victim. It stays there, so that young
//! entries which nobody reads go soon, and old ones that are read stay where they are.
//!
//! A step of the hand was paid by the hit that made the mark. For the sake of whoever inserts, the hand takes at most
//! [`SECOND_CHANCES_MAX`] marks at a time; then the entry where it is goes, although it had one.

use super::{Departure, Replacement};
use crate::limits::SECOND_CHANCES_MAX;
use crate::list::{List, NONE, Side};
use crate::memory::Hashes;
use crate::region::{Ref, Region};
use crate::settings::Charge;

/// First tag of the queue, and the states of its entries.
const QUEUE: u8 = 1;
const PLAIN: u8 = 0;
const MARKED: u8 = 1;

/// The queue and the hand.
#[derive(Debug)]
pub(crate) struct Sieve {
    queue: List,
    /// Where the search for a victim goes on; [`NONE`]: at the oldest entry.
    hand: Ref,
}

impl Sieve {
    pub(super) fn new(side: Side, unit: Charge) -> Self {
        Self { queue: List::with_states(side, QUEUE..QUEUE + MARKED + 1, unit), hand: NONE }
    }
}

impl Replacement for Sieve {
    #[inline]
    fn access(&mut self, region: &mut Region, entry: Ref, _hash: u64, _budget: u64) {
        if self.queue.state(region, entry) != MARKED {
            self.queue.set_state(region, entry, MARKED);
        }
    }

    fn insert(&mut self, region: &mut Region, entry: Ref, charge: u32, _budget: u64) {
        self.queue.push_head(region, entry, charge);
    }

    fn victim(&mut self, region: &mut Region, _hashes: &Hashes, keep: Ref, _budget: u64) -> Option<Ref> {
        self.queue.oldest_but(region, keep)?;
        for _ in 0..SECOND_CHANCES_MAX {
            if self.hand == NONE {
                self.hand = self.queue.tail();
            }
            if self.hand != keep {
                if self.queue.state(region, self.hand) == PLAIN {
                    return Some(self.hand);
                }
                self.queue.set_state(region, self.hand, PLAIN);
            }
            self.hand = self.queue.towards_head(region, self.hand);
        }
        self.queue.next_but(region, self.hand, keep)
    }

    fn recharge(&mut self, _region: &Region, _entry: Ref, old: u32, new: u32) {
        self.queue.recharge(old, new);
    }

    fn moved(&mut self, region: &mut Region, to: Ref) {
        if self.queue.place_before(region, to) == self.hand {
            self.hand = to;
        }
        self.queue.moved(region, to);
    }

    fn remove(&mut self, region: &mut Region, entry: Ref, charge: u32, _departure: Departure, _budget: u64) {
        if self.hand == entry {
            self.hand = self.queue.towards_head(region, entry);
        }
        self.queue.unlink(region, entry, charge);
    }

    fn validate(&self, region: &Region, _budget: u64) -> (u64, u64) {
        self.queue.validate(region);
        assert!(self.hand == NONE || self.queue.iter(region).any(|entry| entry == self.hand), "the hand is astray");
        (u64::from(self.queue.len()), self.queue.charge())
    }
}

#[cfg(test)]
mod tests {
    use crate::PolicyKind;
    use crate::policy::oracle::{Account, Oracle, hold};

    struct Entry {
        key: u64,
        charge: u64,
        is_marked: bool,
    }

    /// The algorithm of the paper on a vector, the head first; the hand is a key.
    #[derive(Default)]
    struct Naive {
        queue: Vec<Entry>,
        hand: Option<u64>,
    }

    impl Naive {
        fn take(&mut self, place: usize) {
            let key = self.queue[place].key;
            if self.hand == Some(key) {
                self.hand = place.checked_sub(1).map(|next| self.queue[next].key);
            }
            self.queue.remove(place);
        }

        fn evict(&mut self, keep: u64) {
            loop {
                let hand = self.hand.unwrap_or(self.queue.last().expect("there is an entry").key);
                let place = self.queue.iter().position(|entry| entry.key == hand).expect("the hand is at an entry");
                if hand != keep && !self.queue[place].is_marked {
                    return self.take(place);
                }
                if hand != keep {
                    self.queue[place].is_marked = false;
                }
                self.hand = place.checked_sub(1).map(|next| self.queue[next].key);
            }
        }
    }

    impl Oracle for Naive {
        fn access(&mut self, key: u64) -> bool {
            let found = self.queue.iter_mut().find(|entry| entry.key == key);
            found.map(|entry| entry.is_marked = true).is_some()
        }

        fn store(&mut self, key: u64, charge: u64, account: Account) {
            let held = |naive: &Naive| naive.queue.iter().map(|entry| entry.charge).sum::<u64>();
            if let Some(entry) = self.queue.iter_mut().find(|entry| entry.key == key) {
                entry.charge = charge;
                while held(self) > account.budget {
                    self.evict(key);
                }
                return;
            }
            while held(self) + charge > account.budget {
                self.evict(key);
            }
            self.queue.insert(0, Entry { key, charge, is_marked: false });
        }

        fn delete(&mut self, key: u64) {
            if let Some(place) = self.queue.iter().position(|entry| entry.key == key) {
                self.take(place);
            }
        }

        fn entries(&self) -> Vec<u64> {
            self.queue.iter().map(|entry| entry.key).collect()
        }

        fn ghosts(&self) -> u64 {
            0
        }
    }

    #[test]
    fn sieve_does_what_the_algorithm_of_the_paper_does_on_a_vector() {
        hold(PolicyKind::Sieve, Naive::default);
    }
}

//! Ghosts: what a policy remembers of entries that it evicted. A full 64-bit hash and the charge of each, oldest first
//! out, never more than a given charge.

use alloc::vec::Vec;

use hashbrown::HashTable;

use crate::list::{List, Nodes, push_by_eighths};
use crate::memory::index_hash;

/// A bounded queue of ghosts that are found by hash.
#[derive(Debug)]
pub(crate) struct Ghosts {
    index: HashTable<u32>,
    hashes: Vec<u64>,
    nodes: Nodes,
    queue: List,
    unused: List,
}

/// Tags of the two lists.
const QUEUE: u8 = 0;
const UNUSED: u8 = 1;

impl Ghosts {
    /// No ghosts.
    pub(crate) fn new() -> Self {
        let (queue, unused) = (List::new(QUEUE), List::new(UNUSED));
        Self { index: HashTable::new(), hashes: Vec::new(), nodes: Nodes::default(), queue, unused }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        u64::from(self.queue.len())
    }

    /// Remembers an entry that was evicted, and forgets the oldest ghosts until their charges are at most `limit`.
    /// An entry that alone is above the limit is not remembered. Takes time for as many ghosts as it forgets, each of
    /// which was remembered once.
    pub(crate) fn remember(&mut self, hash: u64, charge: u32, limit: u64) {
        self.take(hash);
        if u64::from(charge) > limit {
            return;
        }
        while self.queue.charge() + u64::from(charge) > limit {
            self.forget_oldest();
        }
        let ghost = self.unused_number();
        self.hashes[ghost as usize] = hash;
        self.nodes.set_charge(ghost, charge);
        self.queue.push_head(&mut self.nodes, ghost);
        let hashes = &self.hashes;
        self.index.insert_unique(index_hash(hash), ghost, |&ghost| index_hash(hashes[ghost as usize]));
    }

    /// Forgets the ghost with this hash; whether there was one.
    pub(crate) fn take(&mut self, hash: u64) -> bool {
        let hashes = &self.hashes;
        let Ok(found) = self.index.find_entry(index_hash(hash), |&ghost| hashes[ghost as usize] == hash) else {
            return false;
        };
        let (ghost, _) = found.remove();
        self.release(ghost);
        true
    }

    /// Forgets the oldest ghost; whether there was one.
    pub(crate) fn forget_oldest(&mut self) -> bool {
        self.queue.tail().is_some_and(|oldest| self.take(self.hashes[oldest as usize]))
    }

    fn release(&mut self, ghost: u32) {
        self.queue.unlink(&mut self.nodes, ghost);
        self.nodes.set_charge(ghost, 0);
        self.unused.push_head(&mut self.nodes, ghost);
    }

    fn unused_number(&mut self) -> u32 {
        if let Some(number) = self.unused.head() {
            self.unused.unlink(&mut self.nodes, number);
            return number;
        }
        self.nodes.grow();
        push_by_eighths(&mut self.hashes, 0);
        self.hashes.len() as u32 - 1
    }

    /// The hashes from the youngest to the oldest.
    #[cfg(test)]
    pub(crate) fn hashes(&self) -> Vec<u64> {
        self.queue.iter(&self.nodes).map(|ghost| self.hashes[ghost as usize]).collect()
    }

    /// Walks everything.
    ///
    /// # Panics
    /// If the parts disagree, or the charges are above `limit`.
    pub(crate) fn validate(&self, limit: u64) {
        self.queue.validate(&self.nodes);
        self.unused.validate(&self.nodes);
        assert!(self.queue.charge() <= limit, "ghosts of {} are above the limit {limit}", self.queue.charge());
        assert_eq!(self.hashes.len(), self.nodes.len(), "ghosts without a hash");
        assert_eq!(self.index.len() as u64, self.len(), "the index has another number of ghosts");
        assert_eq!(self.queue.len() + self.unused.len(), self.nodes.len() as u32, "a ghost is in no list");
        for ghost in self.queue.iter(&self.nodes) {
            let hash = self.hashes[ghost as usize];
            let found = self.index.find(index_hash(hash), |&other| self.hashes[other as usize] == hash);
            assert_eq!(found, Some(&ghost), "ghost {ghost} is not found by its hash");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ghosts_behave_like_a_list_of_pairs() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut ghosts = Ghosts::new();
            let mut model: Vec<(u64, u32)> = Vec::new();
            for step in 0..3000 {
                let hash = random.u64(0..50);
                let limit = 500;
                match random.u8(0..4) {
                    0 => {
                        let known = model.iter().any(|ghost| ghost.0 == hash);
                        assert_eq!(ghosts.take(hash), known, "seed {seed} step {step}");
                        model.retain(|ghost| ghost.0 != hash);
                    }
                    1 if step % 50 == 0 => {
                        assert_eq!(ghosts.forget_oldest(), model.pop().is_some(), "seed {seed} step {step}");
                    }
                    _ => {
                        let charge = if random.u8(0..20) == 0 { 501 } else { random.u32(1..100) };
                        ghosts.remember(hash, charge, limit);
                        model.retain(|ghost| ghost.0 != hash);
                        if charge <= 500 {
                            model.insert(0, (hash, charge));
                        }
                        while model.iter().map(|ghost| u64::from(ghost.1)).sum::<u64>() > limit {
                            model.pop();
                        }
                    }
                }
                ghosts.validate(limit);
                let hashes: Vec<u64> = model.iter().map(|ghost| ghost.0).collect();
                assert_eq!(ghosts.hashes(), hashes, "seed {seed} step {step}");
            }
        }
    }
}

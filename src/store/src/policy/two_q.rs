//! 2Q, full version. T. Johnson and D. Shasha, "2Q: A Low Overhead High Performance Buffer Management Replacement
//! Algorithm", VLDB 1994, figure "2Q, full version".
//!
//! A new entry goes to `A1in`, a queue in which hits change nothing. Who leaves it for want of room is remembered in
//! `A1out` by hash alone; a key that comes back while it is remembered goes to `Am`, an LRU list. So one pass over many
//! keys washes through `A1in` and leaves `Am` alone. The parameters are those of the paper: `A1in` may hold a quarter
//! of the budget before it pays (Kin), `A1out` remembers as much as half of the budget held (Kout). Where the paper
//! counts page slots, charges are counted here.

use super::{Departure, Replacement};
use crate::ghost::Ghosts;
use crate::list::{List, Nodes};

/// Tags of the two lists.
const A1_IN: u8 = 0;
const AM: u8 = 1;

/// The three queues.
#[derive(Debug)]
pub(crate) struct TwoQ {
    a1_in: List,
    a1_out: Ghosts,
    am: List,
    /// Whether the entry that was admitted last was remembered.
    admitted_to_am: bool,
}

impl TwoQ {
    pub(super) fn new() -> Self {
        Self { a1_in: List::new(A1_IN), a1_out: Ghosts::new(), am: List::new(AM), admitted_to_am: false }
    }
}

impl Replacement for TwoQ {
    #[inline]
    fn access(&mut self, nodes: &mut Nodes, entry: u32) {
        if nodes.list(entry) == AM {
            self.am.move_to_head(nodes, entry);
        }
    }

    fn admit(&mut self, hash: u64, _charge: u32, _budget: u64) -> bool {
        self.admitted_to_am = self.a1_out.take(hash);
        self.admitted_to_am
    }

    fn insert(&mut self, nodes: &mut Nodes, entry: u32, _budget: u64) {
        let list = if self.admitted_to_am { &mut self.am } else { &mut self.a1_in };
        list.push_head(nodes, entry);
    }

    fn victim(&mut self, nodes: &mut Nodes, keep: u32, budget: u64) -> Option<u32> {
        let (first, second) = match self.a1_in.charge() > a1_in_charge_max(budget) {
            true => (&self.a1_in, &self.am),
            false => (&self.am, &self.a1_in),
        };
        first.oldest_but(nodes, keep).or_else(|| second.oldest_but(nodes, keep))
    }

    fn recharge(&mut self, nodes: &mut Nodes, entry: u32, charge: u32) {
        let list = if nodes.list(entry) == AM { &mut self.am } else { &mut self.a1_in };
        list.recharge(nodes, entry, charge);
    }

    fn remove(&mut self, nodes: &mut Nodes, entry: u32, departure: Departure, budget: u64) {
        if nodes.list(entry) == AM {
            return self.am.unlink(nodes, entry);
        }
        self.a1_in.unlink(nodes, entry);
        if let Departure::Evicted { hash } = departure {
            self.a1_out.remember(hash, nodes.charge(entry), a1_out_charge_max(budget));
        }
    }

    fn ghosts(&self) -> u64 {
        self.a1_out.len()
    }

    fn forget_ghost(&mut self) -> bool {
        self.a1_out.forget_oldest()
    }

    fn validate(&self, nodes: &Nodes, budget: u64) -> (u64, u64) {
        self.a1_in.validate(nodes);
        self.a1_out.validate(a1_out_charge_max(budget));
        self.am.validate(nodes);
        (u64::from(self.a1_in.len() + self.am.len()), self.a1_in.charge() + self.am.charge())
    }
}

/// Kin.
fn a1_in_charge_max(budget: u64) -> u64 {
    (budget / 4).max(1)
}

/// Kout.
fn a1_out_charge_max(budget: u64) -> u64 {
    budget / 2
}

#[cfg(test)]
mod tests {
    use crate::PolicyKind;
    use crate::policy::oracle::{Account, Oracle, hold};

    fn charge(queue: &[(u64, u64)]) -> u64 {
        queue.iter().map(|entry| entry.1).sum()
    }

    /// The figure of the paper on vectors, the head first.
    #[derive(Default)]
    struct Naive {
        a1_in: Vec<(u64, u64)>,
        a1_out: Vec<(u64, u64)>,
        am: Vec<(u64, u64)>,
    }

    impl Naive {
        /// Frees room for `needed`, but not by `keep`.
        fn reclaim(&mut self, needed: u64, keep: Option<u64>, account: Account) {
            let held =
                |naive: &Naive| charge(&naive.a1_in) + charge(&naive.am) + naive.a1_out.len() as u64 * account.ghost;
            while held(self) + needed > account.budget {
                let oldest = |queue: &[(u64, u64)]| queue.iter().rposition(|entry| Some(entry.0) != keep);
                let (from_in, from_am) = (oldest(&self.a1_in), oldest(&self.am));
                let a1_in_pays = charge(&self.a1_in) > (account.budget / 4).max(1);
                match (from_in, from_am) {
                    (Some(place), other) if a1_in_pays || other.is_none() => {
                        let victim = self.a1_in.remove(place);
                        if victim.1 <= account.budget / 2 {
                            self.a1_out.insert(0, victim);
                        }
                        while charge(&self.a1_out) > account.budget / 2 {
                            self.a1_out.pop();
                        }
                    }
                    (_, Some(place)) => drop(self.am.remove(place)),
                    _ => drop(self.a1_out.pop().expect("something is held")),
                }
            }
        }
    }

    impl Oracle for Naive {
        fn access(&mut self, key: u64) -> bool {
            if let Some(place) = self.am.iter().position(|entry| entry.0 == key) {
                let entry = self.am.remove(place);
                self.am.insert(0, entry);
                return true;
            }
            self.a1_in.iter().any(|entry| entry.0 == key)
        }

        fn store(&mut self, key: u64, charge: u64, account: Account) {
            if let Some(entry) = self.am.iter_mut().chain(&mut self.a1_in).find(|entry| entry.0 == key) {
                entry.1 = charge;
                return self.reclaim(0, Some(key), account);
            }
            let remembered = self.a1_out.iter().position(|ghost| ghost.0 == key);
            if let Some(place) = remembered {
                self.a1_out.remove(place);
            }
            self.reclaim(charge, None, account);
            let queue = if remembered.is_some() { &mut self.am } else { &mut self.a1_in };
            queue.insert(0, (key, charge));
        }

        fn delete(&mut self, key: u64) {
            self.a1_in.retain(|entry| entry.0 != key);
            self.am.retain(|entry| entry.0 != key);
        }

        fn entries(&self) -> Vec<u64> {
            self.a1_in.iter().chain(&self.am).map(|entry| entry.0).collect()
        }

        fn ghosts(&self) -> u64 {
            self.a1_out.len() as u64
        }
    }

    #[test]
    fn two_q_does_what_the_figure_of_the_paper_does_on_vectors() {
        hold(PolicyKind::TwoQ, Naive::default);
    }
}

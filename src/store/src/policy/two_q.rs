//! 2Q, full version. T. Johnson and D. Shasha, "2Q: A Low Overhead High Performance Buffer Management Replacement
//! Algorithm", VLDB 1994, figure "2Q, full version".
//!
//! A new entry goes to `A1in`, a queue in which hits change nothing. Who leaves it for want of room is remembered in
//! `A1out` by hash alone; a key that comes back while it is remembered goes to `Am`, an LRU list. So one pass over many
//! keys washes through `A1in` and leaves `Am` alone. The parameters are those of the paper: `A1in` may hold a quarter
//! of the budget before it pays (Kin), `A1out` remembers as much as half of the budget held (Kout), unless set otherwise. Where the paper
//! counts page slots, charges are counted here.

use super::{Departure, Replacement, percent_of};
use crate::PolicySettings;
use crate::ghosts::Ghosts;
use crate::list::{BY_ACCESS, List, Side};
use crate::memory::Hashes;
use crate::policy_settings::{TWO_Q_IN, TWO_Q_OUT};
use crate::region::{Ref, Region};
use crate::settings::Charge;

/// Tags of the two lists.
const AM: u8 = BY_ACCESS;
const A1_IN: u8 = 1;

/// The three queues.
#[derive(Debug)]
pub(crate) struct TwoQ {
    settings: PolicySettings,
    a1_in: List,
    a1_out: Ghosts,
    am: List,
    /// Whether the entry that was admitted last was remembered.
    admitted_to_am: bool,
}

impl TwoQ {
    pub(super) fn new(settings: PolicySettings, side: Side, unit: Charge, region: &Region) -> Self {
        let (a1_in, am) = (List::new(side, A1_IN, unit), List::new(side, AM, unit));
        Self { settings, a1_in, a1_out: Ghosts::new(region, unit), am, admitted_to_am: false }
    }

    /// Kin.
    fn a1_in_charge_max(&self, budget: u64) -> u64 {
        percent_of(self.settings.value(TWO_Q_IN), budget).max(1)
    }

    /// Kout.
    fn a1_out_charge_max(&self, budget: u64) -> u64 {
        percent_of(self.settings.value(TWO_Q_OUT), budget)
    }
}

impl Replacement for TwoQ {
    #[inline]
    fn access(&mut self, region: &mut Region, entry: Ref, _hash: u64, _budget: u64) {
        if self.am.holds(region, entry) {
            self.am.move_to_head(region, entry);
        }
    }

    #[inline]
    fn prefetch(&self, region: &Region, hash: u64) {
        self.a1_out.prefetch(region, hash);
    }

    fn admit(&mut self, region: &mut Region, hash: u64, _charge: u32, _budget: u64) -> bool {
        self.admitted_to_am = self.a1_out.take(region, hash);
        self.admitted_to_am
    }

    fn insert(&mut self, region: &mut Region, entry: Ref, charge: u32, _budget: u64) {
        let list = if self.admitted_to_am { &mut self.am } else { &mut self.a1_in };
        list.push_head(region, entry, charge);
    }

    fn victim(&mut self, region: &mut Region, _hashes: &Hashes, keep: Ref, budget: u64) -> Option<Ref> {
        let (first, second) = match self.a1_in.charge() > self.a1_in_charge_max(budget) {
            true => (&self.a1_in, &self.am),
            false => (&self.am, &self.a1_in),
        };
        first.oldest_but(region, keep).or_else(|| second.oldest_but(region, keep))
    }

    fn recharge(&mut self, region: &Region, entry: Ref, old: u32, new: u32) {
        let list = if self.am.holds(region, entry) { &mut self.am } else { &mut self.a1_in };
        list.recharge(old, new);
    }

    fn moved(&mut self, region: &mut Region, to: Ref) {
        let list = if self.am.holds(region, to) { &mut self.am } else { &mut self.a1_in };
        list.moved(region, to);
    }

    fn remove(&mut self, region: &mut Region, entry: Ref, charge: u32, departure: Departure, budget: u64) {
        if self.am.holds(region, entry) {
            return self.am.unlink(region, entry, charge);
        }
        self.a1_in.unlink(region, entry, charge);
        if let Departure::Evicted { hash } = departure {
            let limit = self.a1_out_charge_max(budget);
            self.a1_out.remember(region, hash, charge, limit);
        }
    }

    fn ghost_bytes(&self) -> u64 {
        self.a1_out.bytes()
    }

    fn clear_ghosts(&mut self, region: &mut Region) {
        self.a1_out.clear(region);
    }

    fn forget_ghost(&mut self, region: &mut Region) -> bool {
        self.a1_out.forget_oldest(region)
    }

    fn yield_ghost(&mut self, region: &mut Region) -> bool {
        self.a1_out.yield_oldest(region)
    }

    fn shrink(&mut self, region: &mut Region, budget: u64) {
        while self.a1_out.cost() > self.a1_out_charge_max(budget) {
            self.a1_out.forget_oldest(region);
        }
    }

    fn validate(&self, region: &Region, budget: u64) -> (u64, u64) {
        self.a1_in.validate(region);
        self.a1_out.validate(region, self.a1_out_charge_max(budget));
        self.am.validate(region);
        (u64::from(self.a1_in.len() + self.am.len()), self.a1_in.charge() + self.am.charge())
    }
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
                        let ghost = (victim.0, account.ghost_cost(victim.1, 0));
                        if ghost.1 <= account.budget / 2 {
                            self.a1_out.insert(0, ghost);
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

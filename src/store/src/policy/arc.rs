//! ARC. N. Megiddo and D. S. Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003, figure 4.
//!
//! `T1` has what was seen once lately, `T2` what was seen at least twice, both by recency; `B1` and `B2` remember by hash
//! alone what left them. A key that comes back while `B1` remembers it says that `T1` is too small, one of `B2` that `T2`
//! is: the target of `T1` moves accordingly, the faster the shorter that queue of ghosts is beside the other. It has no
//! parameters.
//!
//! Where the paper counts pages, charges are counted here: the budget stands for c, a step of the target is as long as
//! what comes back costs, and what `T1` holds and `B1` remembers is together at most the budget, all four at most twice
//! that. Both hold when an entry has been stored; one that grows later is made up for at the next.

use super::{Departure, Replacement};
use crate::ghosts::Ghosts;
use crate::list::{BY_ACCESS, List, Side};
use crate::memory::Hashes;
use crate::region::{Ref, Region};
use crate::settings::Charge;

/// Tags of the two lists.
const T2: u8 = BY_ACCESS;
const T1: u8 = 1;

/// Where the key that was admitted last was remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Nowhere,
    B1,
    B2,
}

/// The four lists and the target.
#[derive(Debug)]
pub(crate) struct Arc {
    t1: List,
    t2: List,
    b1: Ghosts,
    b2: Ghosts,
    /// The charge that `T1` should have: p of the paper.
    target: f64,
    admitted: Origin,
    /// What the entry that was admitted will add to `T1`.
    incoming: u64,
}

impl Arc {
    pub(super) fn new(side: Side, unit: Charge, region: &Region) -> Self {
        Self {
            t1: List::new(side, T1, unit),
            t2: List::new(side, T2, unit),
            b1: Ghosts::new(region, unit),
            b2: Ghosts::new(region, unit),
            target: 0.0,
            admitted: Origin::Nowhere,
            incoming: 0,
        }
    }

    /// Forgets the oldest ghosts of `B2` while all lists are together above twice the budget.
    fn trim_b2(&mut self, region: &mut Region, budget: u64) {
        let others = self.t1.charge() + self.t2.charge() + self.b1.cost();
        while self.b2.cost() > 0 && others + self.b2.cost() > 2 * budget {
            self.b2.forget_oldest(region);
        }
    }

    /// How far the target moves for a key of this charge, when the queue that remembered it has one charge and the
    /// other one another.
    fn step(charge: u32, own: u64, other: u64) -> f64 {
        f64::from(charge) * (other as f64 / own as f64).max(1.0)
    }
}

impl Replacement for Arc {
    #[inline]
    fn access(&mut self, region: &mut Region, entry: Ref, _hash: u64, _budget: u64) {
        if self.t2.holds(region, entry) {
            return self.t2.move_to_head(region, entry);
        }
        let charge = self.t1.charge_of(region, entry);
        self.t1.unlink(region, entry, charge);
        self.t2.push_head(region, entry, charge);
    }

    #[inline]
    fn prefetch(&self, region: &Region, hash: u64) {
        self.b1.prefetch(region, hash);
        self.b2.prefetch(region, hash);
    }

    fn admit(&mut self, region: &mut Region, hash: u64, charge: u32, budget: u64) -> bool {
        let (b1, b2) = (self.b1.cost(), self.b2.cost());
        self.incoming = 0;
        self.admitted = if self.b1.take(region, hash) {
            self.target = (self.target + Self::step(charge, b1, b2)).min(budget as f64);
            Origin::B1
        } else if self.b2.take(region, hash) {
            self.target = (self.target - Self::step(charge, b2, b1)).max(0.0);
            Origin::B2
        } else {
            self.incoming = charge.into();
            while self.b1.cost() > 0 && self.t1.charge() + self.b1.cost() + self.incoming > budget {
                self.b1.forget_oldest(region);
            }
            Origin::Nowhere
        };
        self.admitted != Origin::Nowhere
    }

    fn insert(&mut self, region: &mut Region, entry: Ref, charge: u32, budget: u64) {
        let list = if self.admitted == Origin::Nowhere { &mut self.t1 } else { &mut self.t2 };
        list.push_head(region, entry, charge);
        (self.admitted, self.incoming) = (Origin::Nowhere, 0);
        self.trim_b2(region, budget);
    }

    fn victim(&mut self, region: &mut Region, _hashes: &Hashes, keep: Ref, budget: u64) -> Option<Ref> {
        let held = self.t1.charge();
        // Without a ghost of B1 to forget, T1 must give way to what comes to it.
        let is_full = self.incoming > 0 && held + self.incoming > budget;
        let is_above = held as f64 > self.target || self.admitted == Origin::B2 && held as f64 == self.target;
        let (first, second) = match is_full || is_above {
            true => (&self.t1, &self.t2),
            false => (&self.t2, &self.t1),
        };
        first.oldest_but(region, keep).or_else(|| second.oldest_but(region, keep))
    }

    fn recharge(&mut self, region: &Region, entry: Ref, old: u32, new: u32) {
        let list = if self.t2.holds(region, entry) { &mut self.t2 } else { &mut self.t1 };
        list.recharge(old, new);
    }

    fn moved(&mut self, region: &mut Region, to: Ref) {
        let list = if self.t2.holds(region, to) { &mut self.t2 } else { &mut self.t1 };
        list.moved(region, to);
    }

    fn remove(&mut self, region: &mut Region, entry: Ref, charge: u32, departure: Departure, budget: u64) {
        let is_of_t2 = self.t2.holds(region, entry);
        let list = if is_of_t2 { &mut self.t2 } else { &mut self.t1 };
        list.unlink(region, entry, charge);
        let Departure::Evicted { hash } = departure else { return };
        let held = self.t1.charge() + self.incoming;
        if is_of_t2 {
            let limit = (2 * budget).saturating_sub(held + self.t2.charge() + self.b1.cost());
            self.b2.remember(region, hash, charge, limit);
        } else {
            self.b1.remember(region, hash, charge, budget.saturating_sub(held));
            self.trim_b2(region, budget);
        }
    }

    fn ghost_bytes(&self) -> u64 {
        self.b1.bytes() + self.b2.bytes()
    }

    fn clear_ghosts(&mut self, region: &mut Region) {
        self.b1.clear(region);
        self.b2.clear(region);
    }

    fn forget_ghost(&mut self, region: &mut Region) -> bool {
        self.b1.forget_oldest(region) || self.b2.forget_oldest(region)
    }

    fn yield_ghost(&mut self, region: &mut Region) -> bool {
        match self.b1.cost() > self.b2.cost() {
            true => self.b1.yield_oldest(region) || self.b2.yield_oldest(region),
            false => self.b2.yield_oldest(region) || self.b1.yield_oldest(region),
        }
    }

    fn shrink(&mut self, region: &mut Region, budget: u64) {
        self.target = self.target.min(budget as f64);
        while self.b1.cost() > 0 && self.t1.charge() + self.b1.cost() > budget {
            self.b1.forget_oldest(region);
        }
        self.trim_b2(region, budget);
    }

    fn validate(&self, region: &Region, budget: u64) -> (u64, u64) {
        self.t1.validate(region);
        self.t2.validate(region);
        self.b1.validate(region, budget);
        self.b2.validate(region, 2 * budget);
        assert!((0.0..=budget as f64).contains(&self.target), "a target of {} for {budget}", self.target);
        (u64::from(self.t1.len() + self.t2.len()), self.t1.charge() + self.t2.charge())
    }
}

#[cfg(test)]
mod tests {
    use crate::PolicyKind;
    use crate::policy::oracle::{Account, Oracle, hold};

    type Queue = Vec<(u64, u64)>;

    fn charge(queue: &[(u64, u64)]) -> u64 {
        queue.iter().map(|entry| entry.1).sum()
    }

    fn take(queue: &mut Queue, key: u64) -> Option<(u64, u64)> {
        let place = queue.iter().position(|entry| entry.0 == key)?;
        Some(queue.remove(place))
    }

    /// The figure of the paper on vectors, the head first.
    #[derive(Default)]
    struct Naive {
        t1: Queue,
        t2: Queue,
        b1: Queue,
        b2: Queue,
        target: f64,
    }

    impl Naive {
        /// REPLACE until there is room for `needed`, but not by `keep`; `incoming` goes to T1.
        fn replace(&mut self, needed: u64, incoming: u64, is_of_b2: bool, keep: Option<u64>, account: Account) {
            let held = |naive: &Naive| {
                charge(&naive.t1) + charge(&naive.t2) + (naive.b1.len() + naive.b2.len()) as u64 * account.ghost
            };
            while held(self) + needed > account.budget {
                let oldest = |queue: &Queue| queue.iter().rposition(|entry| Some(entry.0) != keep);
                let size = charge(&self.t1);
                let must = incoming > 0 && size + incoming > account.budget;
                let from_t1 = must || size as f64 > self.target || is_of_b2 && size as f64 == self.target;
                match (oldest(&self.t1), oldest(&self.t2)) {
                    (Some(place), other) if from_t1 || other.is_none() => {
                        let victim = self.t1.remove(place);
                        let limit = account.budget.saturating_sub(charge(&self.t1) + incoming);
                        remember(&mut self.b1, victim, limit, account);
                        self.trim_b2(account);
                    }
                    (_, Some(place)) => {
                        let victim = self.t2.remove(place);
                        let others = charge(&self.t1) + incoming + charge(&self.t2) + charge(&self.b1);
                        remember(&mut self.b2, victim, (2 * account.budget).saturating_sub(others), account);
                    }
                    _ => drop(self.b1.pop().or_else(|| self.b2.pop()).expect("something is held")),
                }
            }
        }

        fn trim_b2(&mut self, account: Account) {
            while charge(&self.t1) + charge(&self.t2) + charge(&self.b1) + charge(&self.b2) > 2 * account.budget {
                if self.b2.pop().is_none() {
                    return;
                }
            }
        }
    }

    fn remember(queue: &mut Queue, victim: (u64, u64), limit: u64, account: Account) {
        let ghost = (victim.0, account.ghost_cost(victim.1, 0));
        if ghost.1 <= limit {
            queue.insert(0, ghost);
            while charge(queue) > limit {
                queue.pop();
            }
        }
    }

    impl Oracle for Naive {
        fn access(&mut self, key: u64) -> bool {
            let found = take(&mut self.t1, key).or_else(|| take(&mut self.t2, key));
            self.t2.splice(0..0, found);
            found.is_some()
        }

        fn store(&mut self, key: u64, cost: u64, account: Account) {
            if let Some(entry) = self.t1.iter_mut().chain(&mut self.t2).find(|entry| entry.0 == key) {
                entry.1 = cost;
                return self.replace(0, 0, false, Some(key), account);
            }
            let (size_1, size_2) = (charge(&self.b1) as f64, charge(&self.b2) as f64);
            if take(&mut self.b1, key).is_some() {
                self.target = (self.target + cost as f64 * (size_2 / size_1).max(1.0)).min(account.budget as f64);
                self.replace(cost, 0, false, None, account);
                self.t2.insert(0, (key, cost));
            } else if take(&mut self.b2, key).is_some() {
                self.target = (self.target - cost as f64 * (size_1 / size_2).max(1.0)).max(0.0);
                self.replace(cost, 0, true, None, account);
                self.t2.insert(0, (key, cost));
            } else {
                while charge(&self.t1) + charge(&self.b1) + cost > account.budget && self.b1.pop().is_some() {}
                self.replace(cost, cost, false, None, account);
                self.t1.insert(0, (key, cost));
            }
            self.trim_b2(account);
        }

        fn delete(&mut self, key: u64) {
            take(&mut self.t1, key);
            take(&mut self.t2, key);
        }

        fn entries(&self) -> Vec<u64> {
            self.t1.iter().chain(&self.t2).map(|entry| entry.0).collect()
        }

        fn ghosts(&self) -> u64 {
            (self.b1.len() + self.b2.len()) as u64
        }
    }

    #[test]
    fn arc_does_what_the_figure_of_the_paper_does_on_vectors() {
        hold(PolicyKind::Arc, Naive::default);
    }
}

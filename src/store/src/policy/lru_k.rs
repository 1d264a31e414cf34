//! LRU-K. E. O'Neil, P. O'Neil and G. Weikum, "The LRU-K Page Replacement Algorithm for Database Disk Buffering", SIGMOD
//! 1993, figure 2.1.
//!
//! The entry goes whose k-th last reference is the longest ago, where references that follow each other within the
//! correlated reference period count as one, and nobody goes whose last reference is not longer ago than that. An entry
//! with less than k references goes before all others, by its first one. Of keys that were evicted the last reference
//! is remembered for a while, so that the next one is their second.
//!
//! Time is counted in references. The period is half the number of entries, as a parameter (or half the budget, where
//! objects are counted), k is 2 unless it is 1, and the history remembers what has cost as much as the budget.
//!
//! Entries within the period are in a list by their last reference; when it is over they move to a window of ranks by
//! their k-th last one ([`Ranks`]), two at most at each reference. The order is that of the paper up to 128 entries; of
//! more, entries whose references lie within a 128th of their number count as equal, and the one goes whose period was
//! over first. The history forgets by the last reference that counts, also in such steps, where the paper's forgets by the
//! last one.

use super::{Departure, Replacement, percent_of};
use crate::PolicySettings;
use crate::block;
use crate::history::History;
use crate::limits::{MATURE_STEPS, RANK_SPAN, RANKS};
use crate::list::{BY_ACCESS, List, NONE, Side};
use crate::memory::Hashes;
use crate::policy_settings::{LRU_K_HISTORY, LRU_K_K, LRU_K_PERIOD};
use crate::ranks::Ranks;
use crate::region::{Ref, Region};
use crate::settings::Charge;

/// Tags of the orders.
const RECENT: u8 = BY_ACCESS;
const ONCE: u8 = 1;
const FULL: u8 = 2;
/// What is kept with an entry, as the low half of a time: the last reference, the last one that counts, and the one that
/// counts before it; 0: there is none.
const LAST: usize = 0;
const FIRST: usize = 1;
const SECOND: usize = 2;

/// Entries by their references.
#[derive(Debug)]
pub(crate) struct LruK {
    settings: PolicySettings,
    unit: Charge,
    /// By the last reference.
    recent: List,
    /// Entries with less than k references that count, by the last that does.
    once: Ranks,
    /// The others, by the k-th last.
    full: Ranks,
    history: History,
    /// References so far.
    now: u64,
    /// Times whose bits from this one on are equal have one rank.
    shift: u32,
    /// The last reference of the key that was admitted, if it was remembered.
    admitted: Option<u32>,
}

impl LruK {
    pub(super) fn new(settings: PolicySettings, side: Side, unit: Charge, region: &Region) -> Self {
        let [once, full] = [ONCE, FULL].map(|tag| Ranks::new(side, tag, unit));
        let recent = List::new(side, RECENT, unit);
        Self {
            settings,
            unit,
            recent,
            once,
            full,
            history: History::new(region, unit),
            now: 0,
            shift: 0,
            admitted: None,
        }
    }

    fn entries(&self) -> u64 {
        u64::from(self.recent.len() + self.once.len() + self.full.len())
    }

    /// The correlated reference period.
    fn period(&self, budget: u64) -> u64 {
        let entries = if self.unit == Charge::Objects { budget } else { self.entries() };
        percent_of(self.settings.value(LRU_K_PERIOD), entries)
    }

    fn history_charge_max(&self, budget: u64) -> u64 {
        percent_of(self.settings.value(LRU_K_HISTORY), budget)
    }

    /// A reference comes. Times do not have the low half 0, which says that there is none.
    fn tick(&mut self, region: &mut Region) {
        self.now += if self.now as u32 == u32::MAX { 2 } else { 1 };
        while (self.entries() * RANK_SPAN) >> self.shift > RANKS as u64 {
            self.shift += 1;
            self.once.halve(region);
            self.full.halve(region);
            self.history.halve();
        }
        let first = (self.now >> self.shift).saturating_sub(RANKS as u64 - 1);
        self.once.advance(region, first);
        self.full.advance(region, first);
        self.history.advance(first);
    }

    /// The time that has this low half.
    fn time(&self, low: u32) -> u64 {
        self.now - u64::from((self.now as u32).wrapping_sub(low))
    }

    /// The time by which an entry is ranked, and whether it has k references.
    fn ranked_by(&self, region: &Region, entry: Ref) -> (u64, bool) {
        let [first, second] = [FIRST, SECOND].map(|number| block::memo(region, entry, number));
        match self.settings.value(LRU_K_K) {
            1 => (self.time(first), true),
            _ if second == 0 => (self.time(first), false),
            _ => (self.time(second), true),
        }
    }

    fn rank(&self, region: &Region, entry: Ref) -> u64 {
        self.ranked_by(region, entry).0 >> self.shift
    }

    /// Tells the rank of a time by its low half.
    fn ranks(&self) -> impl Fn(u32) -> u64 + use<> {
        let (now, shift) = (self.now, self.shift);
        move |low| now.saturating_sub(u64::from((now as u32).wrapping_sub(low))) >> shift
    }

    /// Entries whose period is over become eligible.
    fn mature(&mut self, region: &mut Region, budget: u64) {
        let period = self.period(budget);
        for _ in 0..MATURE_STEPS {
            let entry = self.recent.tail();
            if entry == NONE || self.now - self.time(block::memo(region, entry, LAST)) <= period {
                break;
            }
            let charge = self.recent.charge_of(region, entry);
            let (time, is_full) = self.ranked_by(region, entry);
            self.recent.unlink(region, entry, charge);
            let ranks = if is_full { &mut self.full } else { &mut self.once };
            ranks.push(region, entry, charge, time >> self.shift);
        }
    }

    fn unlink(&mut self, region: &mut Region, entry: Ref, charge: u32) {
        if self.recent.holds(region, entry) {
            return self.recent.unlink(region, entry, charge);
        }
        let rank = self.rank(region, entry);
        let ranks = if self.full.holds(region, entry) { &mut self.full } else { &mut self.once };
        ranks.unlink(region, entry, charge, rank);
    }
}

impl Replacement for LruK {
    fn access(&mut self, region: &mut Region, entry: Ref, _hash: u64, budget: u64) {
        self.tick(region);
        let charge = self.recent.charge_of(region, entry);
        let last = block::memo(region, entry, LAST);
        let is_uncorrelated = self.now - self.time(last) > self.period(budget);
        self.unlink(region, entry, charge);
        if is_uncorrelated {
            // The time that passed since the reference that counted is counted without the period of the latter.
            block::set_memo(region, entry, SECOND, last);
            block::set_memo(region, entry, FIRST, self.now as u32);
        }
        block::set_memo(region, entry, LAST, self.now as u32);
        self.recent.push_head(region, entry, charge);
        self.mature(region, budget);
    }

    #[inline]
    fn prefetch(&self, region: &Region, hash: u64) {
        self.history.prefetch(region, hash);
    }

    fn admit(&mut self, region: &mut Region, hash: u64, _charge: u32, budget: u64) -> bool {
        self.tick(region);
        self.mature(region, budget);
        self.admitted = self.history.take(region, hash, self.ranks());
        self.admitted.is_some()
    }

    fn insert(&mut self, region: &mut Region, entry: Ref, charge: u32, _budget: u64) {
        block::set_memo(region, entry, LAST, self.now as u32);
        block::set_memo(region, entry, FIRST, self.now as u32);
        block::set_memo(region, entry, SECOND, self.admitted.take().unwrap_or(0));
        self.recent.push_head(region, entry, charge);
    }

    fn victim(&mut self, region: &mut Region, _hashes: &Hashes, keep: Ref, _budget: u64) -> Option<Ref> {
        let eligible = self.once.least_but(region, keep).or_else(|| self.full.least_but(region, keep));
        eligible.or_else(|| self.recent.oldest_but(region, keep))
    }

    fn recharge(&mut self, region: &Region, entry: Ref, old: u32, new: u32) {
        if self.recent.holds(region, entry) {
            self.recent.recharge(old, new);
        } else if self.full.holds(region, entry) {
            self.full.recharge(old, new);
        } else {
            self.once.recharge(old, new);
        }
    }

    fn moved(&mut self, region: &mut Region, to: Ref) {
        if self.recent.holds(region, to) {
            return self.recent.moved(region, to);
        }
        let rank = self.rank(region, to);
        let ranks = if self.full.holds(region, to) { &mut self.full } else { &mut self.once };
        ranks.moved(region, to, rank);
    }

    fn remove(&mut self, region: &mut Region, entry: Ref, charge: u32, departure: Departure, budget: u64) {
        self.unlink(region, entry, charge);
        // With k = 1 nothing follows from what was before.
        if let Departure::Evicted { hash } = departure
            && self.settings.value(LRU_K_K) > 1
        {
            let first = block::memo(region, entry, FIRST);
            let limit = self.history_charge_max(budget);
            self.history.remember(region, hash, (charge, first), limit, self.ranks());
        }
    }

    fn ghost_bytes(&self) -> u64 {
        self.history.bytes()
    }

    fn clear_ghosts(&mut self, region: &mut Region) {
        self.history.clear(region);
    }

    fn forget_ghost(&mut self, region: &mut Region) -> bool {
        self.history.forget_oldest(region, self.ranks())
    }

    fn yield_ghost(&mut self, region: &mut Region) -> bool {
        self.history.yield_oldest(region, self.ranks())
    }

    fn shrink(&mut self, region: &mut Region, budget: u64) {
        self.history.shrink(region, self.history_charge_max(budget), self.ranks());
    }

    fn validate(&self, region: &Region, budget: u64) -> (u64, u64) {
        self.recent.validate(region);
        [&self.once, &self.full].iter().for_each(|ranks| ranks.validate(region, |entry| self.rank(region, entry)));
        self.history.validate(region, self.history_charge_max(budget));
        let charge = self.recent.charge() + self.once.charge() + self.full.charge();
        (self.entries(), charge)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use crate::PolicyKind;
    use crate::limits::{GHOST_WORD_BYTES, HISTORY_HELD_PERCENT, HISTORY_HELD_PERCENT_OF_OBJECTS, MATURE_STEPS, RANKS};
    use crate::policy::oracle::{Account, Oracle, hold_for};

    #[derive(Clone, Copy, Debug)]
    struct Held {
        key: u64,
        charge: u64,
        last: u64,
        first: u64,
        second: u64,
        /// Its period was over.
        is_eligible: bool,
    }

    /// A key that was evicted.
    #[derive(Clone, Copy, Debug)]
    struct Past {
        key: u64,
        charge: u64,
        first: u64,
        /// It is not forgotten, but for its memory.
        is_known: bool,
    }

    /// The figure of the paper on a vector of entries, and one for the history, who was evicted last in front.
    #[derive(Default)]
    struct Naive {
        held: Vec<Held>,
        history: Vec<Past>,
        /// What was before this is not remembered any more.
        cutoff: u64,
        now: u64,
        account: Option<Account>,
    }

    impl Naive {
        fn account(&self) -> Account {
            self.account.unwrap()
        }

        fn period(&self) -> u64 {
            let Account { budget, ghost } = self.account();
            if ghost == 0 { budget / 2 } else { self.held.len() as u64 / 2 }
        }

        fn total(&self) -> u64 {
            self.held.iter().map(|held| held.charge).sum::<u64>() + self.ghost_bytes(self.account())
        }

        /// Where objects are counted, the period is the same all the time, and this is but the rule of the paper.
        fn mature(&mut self) {
            let (now, period) = (self.now, self.period());
            for _ in 0..MATURE_STEPS {
                let oldest = self.held.iter_mut().filter(|held| !held.is_eligible).min_by_key(|held| held.last);
                let Some(oldest) = oldest.filter(|held| now - held.last > period) else { break };
                oldest.is_eligible = true;
            }
            if self.account().ghost == 0 {
                assert!(self.held.iter().all(|held| held.is_eligible == (now - held.last > period)));
            }
        }

        fn evict(&mut self, keep: Option<u64>) {
            let others = || self.held.iter().enumerate().filter(|(_, held)| Some(held.key) != keep);
            let eligible = others().filter(|(_, held)| held.is_eligible);
            let victim = eligible.min_by_key(|(_, held)| (held.second, held.first));
            let victim = victim.or_else(|| others().min_by_key(|(_, held)| held.last));
            let Some((place, _)) = victim else {
                self.history.pop();
                return;
            };
            let Held { key, charge, first, .. } = self.held.remove(place);
            let Account { budget, ghost } = self.account();
            let held_percent = if ghost == 0 { HISTORY_HELD_PERCENT_OF_OBJECTS } else { HISTORY_HELD_PERCENT };
            let charge = self.account().ghost_cost(charge, GHOST_WORD_BYTES);
            let cost = |history: &[Past], known: bool| -> u64 {
                history.iter().filter(|past| past.is_known || !known).map(|past| past.charge).sum()
            };
            if charge > budget {
                return;
            }
            while cost(&self.history, false) + charge > budget * held_percent / 100 {
                self.history.pop();
            }
            self.history.insert(0, Past { key, charge, first, is_known: first >= self.cutoff });
            while cost(&self.history, true) > budget {
                let earliest = self.history.iter_mut().filter(|past| past.is_known).min_by_key(|past| past.first);
                let earliest = earliest.unwrap();
                (earliest.is_known, self.cutoff) = (false, earliest.first + 1);
            }
        }

        fn touch(&mut self, place: usize) {
            self.now += 1;
            let (now, period) = (self.now, self.period());
            let held = &mut self.held[place];
            if now - held.last > period {
                (held.second, held.first) = (held.last, now);
            }
            (held.last, held.is_eligible) = (now, false);
            self.mature();
        }

        fn find(&self, key: u64) -> Option<usize> {
            self.held.iter().position(|held| held.key == key)
        }
    }

    impl Oracle for Naive {
        fn begin(&mut self, account: Account) {
            self.account = Some(account);
        }

        fn access(&mut self, key: u64) -> bool {
            let place = self.find(key);
            place.into_iter().for_each(|place| self.touch(place));
            place.is_some()
        }

        fn store(&mut self, key: u64, charge: u64, account: Account) {
            if let Some(place) = self.find(key) {
                self.held[place].charge = charge;
                while self.total() > account.budget {
                    self.evict(Some(key));
                }
                return;
            }
            self.now += 1;
            self.mature();
            let known = self.history.iter().position(|past| past.key == key).map(|place| self.history.remove(place));
            let second = known.filter(|past| past.is_known).map_or(0, |past| past.first);
            while self.total() + charge > account.budget {
                self.evict(None);
            }
            let (last, first) = (self.now, self.now);
            self.held.push(Held { key, charge, last, first, second, is_eligible: false });
        }

        fn delete(&mut self, key: u64) {
            self.held.retain(|held| held.key != key);
        }

        fn entries(&self) -> Vec<u64> {
            self.held.iter().map(|held| held.key).collect()
        }

        fn ghosts(&self) -> u64 {
            self.history.len() as u64
        }

        fn ghost_bytes(&self, account: Account) -> u64 {
            if account.ghost == 0 { 0 } else { self.ghosts() * (account.ghost + GHOST_WORD_BYTES) }
        }
    }

    #[test]
    fn lru_k_does_what_the_figure_of_the_paper_does_on_a_vector() {
        // As many as there are ranks: what is longer ago is not told apart.
        hold_for(PolicyKind::LruK, RANKS, Naive::default);
    }
}

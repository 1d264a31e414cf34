//! LRU-K. E. O'Neil, P. O'Neil and G. Weikum, "The LRU-K Page Replacement Algorithm for Database Disk Buffering", SIGMOD
//! 1993, figure 2.1.
//!
//! The entry goes whose k-th last reference is the longest ago, where references that follow each other within the
//! correlated reference period count as one, and nobody goes whose last reference is not longer ago than that. An entry
//! with less than k references goes before all others, by the last one that counts: the paper leaves it to a subsidiary
//! policy who goes first of them, and names LRU. Of keys that were evicted the references are remembered for a while, so
//! that the next one counts as one more.
//!
//! Time is counted in references. The period is half the number of entries, as a parameter (or half the budget, where
//! objects are counted), k is 2 unless it is 1 or 3, and the history remembers what has cost as much as the budget.
//!
//! Entries within the period are in a list by their last reference; when it is over they move to a window of ranks by
//! their k-th last one ([`Ranks`]), two at most at each reference. The order is that of the paper up to 128 entries; of
//! more, entries whose references lie within a 128th of their number count as equal, and the one goes whose period was
//! over first. The history forgets by the last reference that counts, also in such steps, where the paper's forgets by the
//! last one.
//!
//! Of a time its low half is kept. So that it can be told which one it is, what is long ago is looked at in rounds, an
//! entry at each reference, and made later if need be; it is below the window all the same. Ghosts are forgotten when
//! they have been there for two rounds.

use super::{Departure, Replacement, percent_of};
use crate::PolicySettings;
use crate::block::{self, MEMOS};
use crate::ghosts::Words;
use crate::history::History;
use crate::limits::{GHOST_WORDS_MAX, MATURE_STEPS, RANK_SHIFT_MAX, RANK_SPAN, RANKS, TIME_AGO_MAX, TIME_ROUND};
use crate::list::{BY_ACCESS, List, NONE, Side};
use crate::memory::Hashes;
use crate::policy_settings::{LRU_K_HISTORY, LRU_K_K, LRU_K_K_MAX, LRU_K_PERIOD};
use crate::ranks::Ranks;
use crate::region::{Ref, Region};
use crate::settings::Charge;

/// Tags of the orders.
const RECENT: u8 = BY_ACCESS;
const ONCE: u8 = 1;
const FULL: u8 = 2;
/// What is kept with an entry, as the low half of a time: the last reference, and from [`FIRST`] on the last one that
/// counts, the one that counts before it, up to the k-th; 0: there is none.
const LAST: usize = 0;
const FIRST: usize = 1;

const _: () = assert!(FIRST + LRU_K_K_MAX as usize <= MEMOS, "an entry can keep all its times");
const _: () = assert!(LRU_K_K_MAX as u64 - 1 <= GHOST_WORDS_MAX, "a ghost can keep all but the k-th");

/// Entries by their references.
#[derive(Debug)]
pub(crate) struct LruK {
    settings: PolicySettings,
    unit: Charge,
    /// How many references count.
    k: usize,
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
    /// When the next round begins.
    round_at: u64,
    /// The references of the key that was admitted, if it was remembered.
    admitted: Option<Words>,
}

impl LruK {
    pub(super) fn new(settings: PolicySettings, side: Side, unit: Charge, region: &Region) -> Self {
        let [once, full] = [ONCE, FULL].map(|tag| Ranks::new(side, tag, unit));
        let recent = List::new(side, RECENT, unit);
        let k = settings.value(LRU_K_K);
        Self {
            settings,
            unit,
            k: k as usize,
            recent,
            once,
            full,
            history: History::new(region, unit, (k - 1).max(1)),
            now: 0,
            shift: 0,
            round_at: TIME_ROUND,
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
        while (self.entries() * RANK_SPAN) >> self.shift > RANKS as u64 && self.shift < RANK_SHIFT_MAX {
            self.shift += 1;
            self.once.halve(region);
            self.full.halve(region);
            self.history.halve();
        }
        let first = (self.now >> self.shift).saturating_sub(RANKS as u64 - 1);
        self.once.advance(region, first);
        self.full.advance(region, first);
        self.history.advance(first);
        self.look_back(region);
    }

    /// Looks at some of what is long ago.
    fn look_back(&mut self, region: &mut Region) {
        if self.now >= self.round_at {
            self.round_at = self.now + TIME_ROUND;
            self.once.begin_round();
            self.full.begin_round();
            self.history.begin_round();
        }
        let now = self.now;
        for entry in [self.once.next_of_first(region), self.full.next_of_first(region)].into_iter().flatten() {
            let times = block::memos(region, entry);
            let later = times.map(|low| match low {
                0 => 0,
                _ => low_half(self.time(low).max(now.saturating_sub(TIME_AGO_MAX))),
            });
            if later != times {
                block::set_memos(region, entry, later);
            }
        }
        self.history.expire(region, self.ranks());
    }

    /// The time that has this low half.
    fn time(&self, low: u32) -> u64 {
        self.now - u64::from((self.now as u32).wrapping_sub(low))
    }

    /// The time by which an entry with these is ranked, and whether it has k references.
    fn ranked_by(&self, times: [u32; MEMOS]) -> (u64, bool) {
        match times[self.k] {
            0 => (self.time(times[FIRST]), false),
            last => (self.time(last), true),
        }
    }

    fn rank(&self, region: &Region, entry: Ref) -> u64 {
        self.ranked_by(block::memos(region, entry)).0 >> self.shift
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
            if entry == NONE {
                break;
            }
            let times = block::memos(region, entry);
            if self.now - self.time(times[LAST]) <= period {
                break;
            }
            let charge = self.recent.charge_of(region, entry);
            let (time, is_full) = self.ranked_by(times);
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
        let mut times = block::memos(region, entry);
        let [last, first] = [LAST, FIRST].map(|place| times[place]);
        let is_uncorrelated = self.now - self.time(last) > self.period(budget);
        self.unlink(region, entry, charge);
        if is_uncorrelated {
            // The time that passed since a reference that counted is counted without the period of the last one.
            let period = last.wrapping_sub(first);
            for place in (FIRST + 1..=self.k).rev() {
                times[place] = match times[place - 1] {
                    0 => 0,
                    before => before.wrapping_add(period).max(1),
                };
            }
            times[FIRST] = self.now as u32;
        }
        times[LAST] = self.now as u32;
        block::set_memos(region, entry, times);
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
        let mut times = [0; MEMOS];
        (times[LAST], times[FIRST]) = (self.now as u32, self.now as u32);
        let before = self.admitted.take().unwrap_or(0);
        for (place, word) in (FIRST + 1..=self.k).zip([before as u32, (before >> u32::BITS) as u32]) {
            times[place] = word;
        }
        block::set_memos(region, entry, times);
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
            && self.k > 1
        {
            let times = &block::memos(region, entry)[FIRST..self.k];
            let words = times.iter().rev().fold(0, |words, &time| words << u32::BITS | Words::from(time));
            let limit = self.history_charge_max(budget);
            self.history.remember(region, hash, (charge, words), limit, self.ranks());
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

/// What is kept of a time. None has the low half 0.
fn low_half(time: u64) -> u32 {
    (time as u32).max(1)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use crate::limits::{
        GHOST_WORD_BYTES, HISTORY_HELD_PERCENT, HISTORY_HELD_PERCENT_OF_OBJECTS, MATURE_STEPS, RANKS, TIME_ROUND,
    };
    use crate::policy::Policy;
    use crate::policy::oracle::{Account, Oracle, hash, held_by, hold_for};
    use crate::{Charge, Key, PolicyKind, PolicySettings, Write};

    #[derive(Clone, Copy, Debug)]
    struct Held {
        key: u64,
        charge: u64,
        last: u64,
        /// The last references that count, the latest first; 0: there is none.
        counted: [u64; 3],
        /// Its period was over.
        is_eligible: bool,
    }

    /// A key that was evicted.
    #[derive(Clone, Copy, Debug)]
    struct Past {
        key: u64,
        charge: u64,
        counted: [u64; 3],
        /// It is not forgotten, but for its memory.
        is_known: bool,
    }

    /// The figure of the paper on a vector of entries, and one for the history, who was evicted last in front.
    struct Naive {
        k: usize,
        held: Vec<Held>,
        history: Vec<Past>,
        /// What was before this is not remembered any more.
        cutoff: u64,
        now: u64,
        account: Option<Account>,
    }

    impl Naive {
        fn with(k: usize) -> Self {
            Self { k, held: Vec::new(), history: Vec::new(), cutoff: 0, now: 0, account: None }
        }

        fn account(&self) -> Account {
            self.account.unwrap()
        }

        fn words_bytes(&self) -> u64 {
            (self.k as u64 - 1).max(1) * GHOST_WORD_BYTES
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
            let victim = eligible.min_by_key(|(_, held)| (held.counted[self.k - 1], held.counted[0]));
            let victim = victim.or_else(|| others().min_by_key(|(_, held)| held.last));
            let Some((place, _)) = victim else {
                self.history.pop();
                return;
            };
            let Held { key, charge, counted, .. } = self.held.remove(place);
            let Account { budget, ghost } = self.account();
            let held_percent = if ghost == 0 { HISTORY_HELD_PERCENT_OF_OBJECTS } else { HISTORY_HELD_PERCENT };
            let charge = self.account().ghost_cost(charge, self.words_bytes());
            let cost = |history: &[Past], known: bool| -> u64 {
                history.iter().filter(|past| past.is_known || !known).map(|past| past.charge).sum()
            };
            if charge > budget || self.k == 1 {
                return;
            }
            while cost(&self.history, false) + charge > budget * held_percent / 100 {
                self.history.pop();
            }
            self.history.insert(0, Past { key, charge, counted, is_known: counted[0] >= self.cutoff });
            while cost(&self.history, true) > budget {
                let earliest = self.history.iter_mut().filter(|past| past.is_known).min_by_key(|past| past.counted[0]);
                let earliest = earliest.unwrap();
                (earliest.is_known, self.cutoff) = (false, earliest.counted[0] + 1);
            }
        }

        fn touch(&mut self, place: usize) {
            self.now += 1;
            let (now, period) = (self.now, self.period());
            let held = &mut self.held[place];
            if now - held.last > period {
                let correlated = held.last - held.counted[0];
                for place in (1..held.counted.len()).rev() {
                    let before = held.counted[place - 1];
                    held.counted[place] = if before == 0 { 0 } else { before + correlated };
                }
                held.counted[0] = now;
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
            let before = known.filter(|past| past.is_known).map_or([0; 3], |past| past.counted);
            while self.total() + charge > account.budget {
                self.evict(None);
            }
            let counted = [self.now, before[0], if self.k > 2 { before[1] } else { 0 }];
            self.held.push(Held { key, charge, last: self.now, counted, is_eligible: false });
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
            if account.ghost == 0 { 0 } else { self.ghosts() * (account.ghost + self.words_bytes()) }
        }
    }

    #[test]
    fn lru_k_does_what_the_figure_of_the_paper_does_on_a_vector() {
        for k in 1..=3 {
            // As many as there are ranks: what is longer ago is not told apart.
            let settings = PolicySettings::from(PolicyKind::LruK).with("k", k).unwrap();
            hold_for(settings, RANKS, || Naive::with(k.into()));
        }
    }

    /// Entries and ghosts that nobody asks for while so many references pass that their times could be taken for others.
    #[test]
    fn times_long_ago_stay_long_ago() {
        for (seed, k) in [(1, 2), (2, 3)] {
            let policy = PolicySettings::from(PolicyKind::LruK).with("k", k).unwrap();
            let (mut store, group) = held_by(policy, Charge::Objects, 1400);
            let mut random = fastrand::Rng::with_seed(seed);
            let mut jumped = 0;
            for step in 0..300_000_u64 {
                // Of most keys of a quarter nobody hears for a long time.
                let quarter = if random.u16(0..500) == 0 { random.u64(0..4) } else { step / 75_000 };
                let number = 400 * quarter + random.u64(0..400);
                let key = Key { group, hash: hash(number), bytes: &number.to_le_bytes() };
                if store.get(key, 1).is_none() {
                    store.set(key, Write::default(), 1).unwrap();
                }
                if step % 3_000 == 0 {
                    let references = TIME_ROUND - random.u64(0..1 << 20);
                    jumped += references;
                    store.policy_mut(group, |policy| {
                        let Policy::LruK(lru_k) = policy else { panic!("another policy") };
                        lru_k.now += references;
                    });
                }
                if step % 100 == 0 {
                    store.validate();
                }
            }
            assert!(jumped > 3 << 32, "the low half of the time began anew some times");
        }
    }
}

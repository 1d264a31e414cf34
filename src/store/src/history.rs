//! Ghosts that each keep a time, and maybe another word, and are forgotten by it: the earliest first, whoever was remembered first.
//!
//! Ghosts can be taken out from where they are, but the earliest cannot be found there. So only what they count as is
//! summed up by time, in a window of ranks; to forget the earliest, its rank and all below are given up, and a ghost of
//! such a rank counts as unknown from then on. Its memory comes back when it is the oldest: of ghosts that are forgotten
//! and not gone there is at most a twelfth of those that may be remembered, and where objects are counted a quarter.

use alloc::boxed::Box;
use alloc::vec;

use crate::ghosts::{Ghosts, Words};
use crate::limits::{HISTORY_HELD_PERCENT, HISTORY_HELD_PERCENT_OF_OBJECTS, RANKS};
use crate::region::Region;
use crate::settings::Charge;

/// See the module. A rank is a time, or many that are not told apart.
#[derive(Debug)]
pub(crate) struct History {
    ghosts: Ghosts,
    /// What all ghosts may count as, in percent of those that are remembered.
    held_percent: u64,
    /// What ghosts of each rank count as, modulo the number of ranks.
    costs: Box<[u64]>,
    /// The sum of these.
    cost: u64,
    /// The first rank of the window; those below it count as this one.
    first: u64,
    /// Ghosts of lower ranks are forgotten.
    cutoff: u64,
    /// Ghosts with lower numbers are so old that they are forgotten, one at a time.
    expired: u64,
    /// The number of the next ghost when the present round began.
    round: u64,
}

impl History {
    /// A history of nothing, whose ghosts will keep so many words, at least one.
    pub(crate) fn new(region: &Region, unit: Charge, words: u64) -> Self {
        let costs = vec![0; RANKS].into_boxed_slice();
        let held_percent = match unit {
            Charge::Bytes => HISTORY_HELD_PERCENT,
            Charge::Objects => HISTORY_HELD_PERCENT_OF_OBJECTS,
        };
        let ghosts = Ghosts::with_words(region, unit, words);
        Self { ghosts, held_percent, costs, cost: 0, first: 0, cutoff: 0, expired: 0, round: 0 }
    }

    /// What it takes of a budget in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.ghosts.bytes()
    }

    /// Asks the processor for what is read to find or remember this hash.
    pub(crate) fn prefetch(&self, region: &Region, hash: u64) {
        self.ghosts.prefetch(region, hash);
    }

    /// What was kept with a ghost, which is remembered no longer; `rank_of` tells its rank.
    pub(crate) fn take(&mut self, region: &mut Region, hash: u64, rank_of: impl Fn(u32) -> u64) -> Option<Words> {
        let (cost, words) = self.ghosts.take_whole(region, hash)?;
        let is_known = self.count_out(cost, rank_of(time_of(words)));
        is_known.then_some(words)
    }

    /// Remembers an entry that was evicted, whose time is the lowest of the words, and forgets the earliest ghosts until they
    /// count as at most `limit`.
    pub(crate) fn remember(
        &mut self,
        region: &mut Region,
        hash: u64,
        (charge, words): (u32, Words),
        limit: u64,
        rank_of: impl Fn(u32) -> u64,
    ) {
        let cost = u64::from(self.ghosts.cost_of(charge));
        if cost > limit {
            return;
        }
        let held_max = self.held_max(limit);
        while self.ghosts.cost() + cost > held_max && self.forget_oldest(region, &rank_of) {}
        self.ghosts.remember_with(region, hash, (charge, words), held_max);
        let rank = rank_of(time_of(words)).max(self.first);
        if rank < self.cutoff {
            return;
        }
        self.costs[rank as usize % RANKS] += cost;
        self.cost += cost;
        self.forget_earliest(limit);
    }

    /// Forgets the earliest ghosts until they count as at most `limit`.
    pub(crate) fn shrink(&mut self, region: &mut Region, limit: u64, rank_of: impl Fn(u32) -> u64) {
        self.forget_earliest(limit);
        while self.ghosts.cost() > self.held_max(limit) && self.forget_oldest(region, &rank_of) {}
    }

    /// Forgets the oldest ghost, and gives its memory back; whether there was one.
    pub(crate) fn forget_oldest(&mut self, region: &mut Region, rank_of: impl Fn(u32) -> u64) -> bool {
        let Some((cost, words)) = self.ghosts.forget_whole(region) else { return false };
        self.count_out(cost, rank_of(time_of(words)));
        true
    }

    /// Begins to forget what was remembered before the last round began: its times must not become too old.
    pub(crate) fn begin_round(&mut self) {
        (self.expired, self.round) = (self.round, self.ghosts.number());
    }

    /// Forgets a ghost that is due for that, if there is one.
    #[inline]
    pub(crate) fn expire(&mut self, region: &mut Region, rank_of: impl Fn(u32) -> u64) {
        if self.ghosts.has_before(self.expired) {
            self.forget_oldest(region, rank_of);
        }
    }

    /// The same because its memory is needed.
    pub(crate) fn yield_oldest(&mut self, region: &mut Region, rank_of: impl Fn(u32) -> u64) -> bool {
        let was_there = self.forget_oldest(region, rank_of);
        self.ghosts.rest_if_empty();
        was_there
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self, region: &mut Region) {
        self.ghosts.clear(region);
        self.costs.fill(0);
        self.cost = 0;
    }

    /// Moves the window up; what lies below has the first rank from then on.
    pub(crate) fn advance(&mut self, first: u64) {
        // Most of the time by one rank.
        while self.first < first {
            let before = core::mem::take(&mut self.costs[self.first as usize % RANKS]);
            if self.cost == 0 {
                self.first = first;
                return;
            }
            self.first += 1;
            self.costs[self.first as usize % RANKS] += before;
        }
    }

    /// Two ranks become one: what had rank n has rank n / 2 from now on.
    pub(crate) fn halve(&mut self) {
        if self.cutoff % 2 == 1 {
            self.cut();
        }
        let (first, before) = (self.first, self.costs.clone());
        self.costs.fill(0);
        (self.first, self.cutoff) = (first / 2, self.cutoff / 2);
        for rank in first..first + RANKS as u64 {
            self.costs[rank as usize / 2 % RANKS] += before[rank as usize % RANKS];
        }
    }

    /// Walks everything.
    ///
    /// # Panics
    /// If anything is wrong, or the ghosts are above `limit`.
    pub(crate) fn validate(&self, region: &Region, limit: u64) {
        self.ghosts.validate(region, self.held_max(limit));
        assert_eq!(self.cost, self.costs.iter().sum::<u64>(), "costs are counted wrong");
        assert!(self.cost <= limit, "{} are remembered of {limit}", self.cost);
    }

    /// What all ghosts may count as.
    fn held_max(&self, limit: u64) -> u64 {
        limit * self.held_percent / 100
    }

    fn forget_earliest(&mut self, limit: u64) {
        while self.cost > limit {
            self.cut();
        }
    }

    /// Gives up the lowest rank that is not.
    fn cut(&mut self) {
        let rank = self.cutoff.max(self.first);
        self.cost -= core::mem::take(&mut self.costs[rank as usize % RANKS]);
        self.cutoff = rank + 1;
    }

    /// A ghost is in memory no more; whether it was remembered. Ghosts that the queue dropped by itself, for want of
    /// memory, stay counted until their rank is given up.
    fn count_out(&mut self, cost: u32, rank: u64) -> bool {
        let rank = rank.max(self.first);
        if rank < self.cutoff {
            return false;
        }
        let counted = &mut self.costs[rank as usize % RANKS];
        let cost = u64::from(cost).min(*counted);
        (*counted, self.cost) = (*counted - cost, self.cost - cost);
        true
    }
}

/// The time of a ghost.
fn time_of(words: Words) -> u32 {
    words as u32
}

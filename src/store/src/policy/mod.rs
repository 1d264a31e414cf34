//! Eviction policies: who must go when a group is full.
//!
//! One file and one paper each. A policy orders the entries of one group, by place, in lists through their headers in
//! the [`Region`]; it never sees keys, values or time, and never removes an entry itself: it names a victim, and is
//! told of every removal and of every entry that is moved to another place. Charges are bytes or objects, which only
//! its lists know. The group's budget is an argument, so that it may change from one call to the next; whatever a policy
//! derives from it (the size of a list or ghost queue) it derives anew.
//!
//! Calls come in this order: an absent key is stored by `admit`, then `victim` and `remove` until there is room, then
//! `insert`. So a policy can look at its ghosts and adapt before it names a victim, and knows in `victim` whether a new
//! entry is waiting and whence it comes. An entry that grows is followed by `victim` with the entry to `keep`. A clock
//! of accesses counts `access` and `insert`: a miss alone says nothing, the write that follows does.

use alloc::boxed::Box;

mod arc;
mod fifo;
mod lfu;
mod lru;
mod lru_k;
#[cfg(test)]
mod oracle;
mod s3_fifo;
mod sieve;
mod switch;
mod tiny_lfu;
mod two_q;

use crate::list::Side;
use crate::memory::Hashes;
use crate::region::{Ref, Region};
use crate::settings::Charge;
use crate::{PolicyKind, PolicySettings};
use arc::Arc;
use fifo::Fifo;
use lfu::Lfu;
use lru::Lru;
use lru_k::LruK;
use s3_fifo::S3Fifo;
use sieve::Sieve;
pub(crate) use switch::Switch;
use tiny_lfu::TinyLfu;
use two_q::TwoQ;

/// What every policy can do. Each call takes amortised constant time.
pub(crate) trait Replacement {
    /// An entry, whose key has this hash, was read or overwritten.
    fn access(&mut self, region: &mut Region, entry: Ref, hash: u64, budget: u64);

    /// Asks the processor for what `admit`, or `remove` of a victim, will read of this hash.
    fn prefetch(&self, _region: &Region, _hash: u64) {}

    /// An absent key with this hash and charge is about to be stored; whether a ghost remembers it. Always followed by
    /// `insert`.
    fn admit(&mut self, _region: &mut Region, _hash: u64, _charge: u32, _budget: u64) -> bool {
        false
    }

    /// The same for an entry that another policy had, for which no room is made: what is remembered must not grow.
    fn readmit(&mut self, region: &mut Region, hash: u64, charge: u32, budget: u64) {
        self.admit(region, hash, charge, budget);
    }

    /// The entry of the key that was admitted last, with this charge; it is in no list.
    fn insert(&mut self, region: &mut Region, entry: Ref, charge: u32, budget: u64);

    /// Who is to go next, but for `keep` (or [`crate::list::NONE`]); `None` only if there is nobody else. May move
    /// entries between lists.
    fn victim(&mut self, region: &mut Region, hashes: &Hashes, keep: Ref, budget: u64) -> Option<Ref>;

    /// An entry costs something else from now on.
    fn recharge(&mut self, region: &Region, entry: Ref, old: u32, new: u32);

    /// An entry lies at another place from now on, with the header that it had.
    fn moved(&mut self, region: &mut Region, to: Ref);

    /// An entry of this charge leaves, a victim or any other: takes it out of its list.
    fn remove(&mut self, region: &mut Region, entry: Ref, charge: u32, departure: Departure, budget: u64);

    /// What it remembers beside its entries, in bytes of the budget. This and the next four are for policies that do.
    fn ghost_bytes(&self) -> u64 {
        0
    }

    /// Forgets all that, in few steps. It is told of no further entry.
    fn clear_ghosts(&mut self, _region: &mut Region) {}

    /// Forgets the oldest ghost, because even an empty group has no room for it; whether there was one.
    fn forget_ghost(&mut self, _region: &mut Region) -> bool {
        false
    }

    /// Forgets the oldest ghost, because entries need its memory; whether there was one.
    fn yield_ghost(&mut self, _region: &mut Region) -> bool {
        false
    }

    /// The budget is smaller from now on, and what the entries cost is within it: forgets the ghosts that it does not
    /// allow.
    fn shrink(&mut self, _region: &mut Region, _budget: u64) {}

    /// Walks everything, and returns the number and charge of the entries.
    ///
    /// # Panics
    /// If anything is wrong.
    fn validate(&self, region: &Region, budget: u64) -> (u64, u64);
}

/// How an entry leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// For want of room. The policy may remember the hash.
    Evicted {
        /// Hash of the key.
        hash: u64,
    },
    /// For another reason.
    Removed,
}

/// The policy of one group.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few groups, and a box would be one more place to look at")]
pub(crate) enum Policy {
    /// See [`fifo`].
    Fifo(Fifo),
    /// See [`lru`].
    Lru(Lru),
    /// See [`lfu`].
    Lfu(Lfu),
    /// See [`lru_k`].
    LruK(LruK),
    /// See [`two_q`].
    TwoQ(TwoQ),
    /// See [`arc`].
    Arc(Arc),
    /// See [`sieve`].
    Sieve(Sieve),
    /// See [`s3_fifo`].
    S3Fifo(S3Fifo),
    /// See [`tiny_lfu`].
    TinyLfu(TinyLfu),
    /// Two of the others: entries go from one to the other, see [`switch`].
    Switch(Box<Switch>),
}

impl Policy {
    /// A policy that is about to be replaced by another.
    pub(crate) fn none() -> Self {
        Policy::Lru(Lru::new(Side::Left, Charge::Bytes))
    }

    /// A policy without entries, for those with tags of this side.
    pub(crate) fn new(settings: PolicySettings, side: Side, unit: Charge, region: &Region) -> Self {
        match settings.kind() {
            PolicyKind::Fifo => Policy::Fifo(Fifo::new(side, unit)),
            PolicyKind::Lru => Policy::Lru(Lru::new(side, unit)),
            PolicyKind::Lfu => Policy::Lfu(Lfu::new(side, unit)),
            PolicyKind::LruK => Policy::LruK(LruK::new(settings, side, unit, region)),
            PolicyKind::TwoQ => Policy::TwoQ(TwoQ::new(settings, side, unit, region)),
            PolicyKind::Arc => Policy::Arc(Arc::new(side, unit, region)),
            PolicyKind::Sieve => Policy::Sieve(Sieve::new(side, unit)),
            PolicyKind::S3Fifo => Policy::S3Fifo(S3Fifo::new(settings, side, unit, region)),
            PolicyKind::TinyLfu => Policy::TinyLfu(TinyLfu::new(settings, side, unit, region)),
        }
    }
}

/// A share of a budget.
pub(crate) fn percent_of(percent: u64, budget: u64) -> u64 {
    // As budget * percent / 100, which may be too large for 64 bits, and without a division of 128.
    (budget / 100).saturating_mul(percent).saturating_add(budget % 100 * percent / 100)
}

/// Evaluates a call for whichever policy it is.
macro_rules! each {
    ($policy:expr, $name:ident => $call:expr) => {
        match $policy {
            Policy::Fifo($name) => $call,
            Policy::Lru($name) => $call,
            Policy::Lfu($name) => $call,
            Policy::LruK($name) => $call,
            Policy::TwoQ($name) => $call,
            Policy::Arc($name) => $call,
            Policy::Sieve($name) => $call,
            Policy::S3Fifo($name) => $call,
            Policy::TinyLfu($name) => $call,
            Policy::Switch($name) => $call,
        }
    };
}

impl Replacement for Policy {
    #[inline(always)]
    fn access(&mut self, region: &mut Region, entry: Ref, hash: u64, budget: u64) {
        each!(self, policy => policy.access(region, entry, hash, budget));
    }

    #[inline]
    fn prefetch(&self, region: &Region, hash: u64) {
        each!(self, policy => policy.prefetch(region, hash));
    }

    fn admit(&mut self, region: &mut Region, hash: u64, charge: u32, budget: u64) -> bool {
        each!(self, policy => policy.admit(region, hash, charge, budget))
    }

    fn readmit(&mut self, region: &mut Region, hash: u64, charge: u32, budget: u64) {
        each!(self, policy => policy.readmit(region, hash, charge, budget));
    }

    fn insert(&mut self, region: &mut Region, entry: Ref, charge: u32, budget: u64) {
        each!(self, policy => policy.insert(region, entry, charge, budget));
    }

    fn victim(&mut self, region: &mut Region, hashes: &Hashes, keep: Ref, budget: u64) -> Option<Ref> {
        each!(self, policy => policy.victim(region, hashes, keep, budget))
    }

    fn recharge(&mut self, region: &Region, entry: Ref, old: u32, new: u32) {
        each!(self, policy => policy.recharge(region, entry, old, new));
    }

    fn moved(&mut self, region: &mut Region, to: Ref) {
        each!(self, policy => policy.moved(region, to));
    }

    fn remove(&mut self, region: &mut Region, entry: Ref, charge: u32, departure: Departure, budget: u64) {
        each!(self, policy => policy.remove(region, entry, charge, departure, budget));
    }

    fn ghost_bytes(&self) -> u64 {
        each!(self, policy => policy.ghost_bytes())
    }

    fn clear_ghosts(&mut self, region: &mut Region) {
        each!(self, policy => policy.clear_ghosts(region));
    }

    fn forget_ghost(&mut self, region: &mut Region) -> bool {
        each!(self, policy => policy.forget_ghost(region))
    }

    fn yield_ghost(&mut self, region: &mut Region) -> bool {
        each!(self, policy => policy.yield_ghost(region))
    }

    fn shrink(&mut self, region: &mut Region, budget: u64) {
        each!(self, policy => policy.shrink(region, budget));
    }

    fn validate(&self, region: &Region, budget: u64) -> (u64, u64) {
        each!(self, policy => policy.validate(region, budget))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_exact_and_never_too_large_for_its_type() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            let (budget, percent) = (random.u64(..) >> random.u32(0..64), random.u64(0..=400));
            let exact = u128::from(budget) * u128::from(percent) / 100;
            assert_eq!(
                percent_of(percent, budget),
                u64::try_from(exact).unwrap_or(u64::MAX),
                "{percent} % of {budget}"
            );
        }
        assert_eq!(percent_of(100, u64::MAX), u64::MAX);
    }
}

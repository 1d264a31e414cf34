//! From one policy to another while the group is in use.
//!
//! New entries belong to the new policy at once. Those that the old one has stay with it, and are taken over some at a
//! time, the one that it would evict next always first, so that both the work of a step and what it forgets are bounded:
//! an entry is known to the new policy as one that was stored when it was taken over. While the old policy has entries
//! they are the victims, and nobody remembers them.

use super::{Departure, Policy, Replacement};
use crate::list::Side;
use crate::memory::Hashes;
use crate::region::{Ref, Region};

/// The two policies.
#[derive(Debug)]
pub(crate) struct Switch {
    old: Policy,
    new: Policy,
    /// The tags of the old policy.
    old_side: Side,
    /// Entries of the old policy.
    left: u64,
}

impl Switch {
    /// From a policy with so many entries to one without any, with tags of the other side.
    pub(crate) fn new(mut old: Policy, old_side: Side, entries: u64, new: Policy, region: &mut Region) -> Self {
        old.clear_ghosts(region);
        Self { old, new, old_side, left: entries }
    }

    /// Entries of the old policy.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The entry of the old policy to be taken over next.
    pub(crate) fn next(&mut self, region: &mut Region, hashes: &Hashes, budget: u64) -> Option<Ref> {
        self.old.victim(region, hashes, crate::list::NONE, budget)
    }

    /// The new policy takes over an entry of the old one.
    pub(crate) fn take_over(&mut self, region: &mut Region, entry: Ref, hash: u64, charge: u32, budget: u64) {
        self.remove(region, entry, charge, Departure::Removed, budget);
        self.new.readmit(region, hash, charge, budget);
        self.new.insert(region, entry, charge, budget);
    }

    /// The new policy, when the old one has no entries any more.
    pub(crate) fn finish(self) -> Policy {
        assert_eq!(self.left, 0, "entries are left with the old policy");
        self.new
    }

    #[inline]
    fn is_old(&self, region: &Region, entry: Ref) -> bool {
        Side::of(region, entry) == self.old_side
    }

    /// The policy of an entry.
    #[inline]
    fn policy_of(&mut self, region: &Region, entry: Ref) -> &mut Policy {
        if self.is_old(region, entry) { &mut self.old } else { &mut self.new }
    }
}

impl Replacement for Switch {
    fn access(&mut self, region: &mut Region, entry: Ref, hash: u64, budget: u64) {
        self.policy_of(region, entry).access(region, entry, hash, budget);
    }

    fn prefetch(&self, region: &Region, hash: u64) {
        self.new.prefetch(region, hash);
    }

    fn admit(&mut self, region: &mut Region, hash: u64, charge: u32, budget: u64) -> bool {
        self.new.admit(region, hash, charge, budget)
    }

    fn insert(&mut self, region: &mut Region, entry: Ref, charge: u32, budget: u64) {
        self.new.insert(region, entry, charge, budget);
    }

    fn victim(&mut self, region: &mut Region, hashes: &Hashes, keep: Ref, budget: u64) -> Option<Ref> {
        let old = self.old.victim(region, hashes, keep, budget);
        old.or_else(|| self.new.victim(region, hashes, keep, budget))
    }

    fn recharge(&mut self, region: &Region, entry: Ref, old: u32, new: u32) {
        self.policy_of(region, entry).recharge(region, entry, old, new);
    }

    fn moved(&mut self, region: &mut Region, to: Ref) {
        self.policy_of(region, to).moved(region, to);
    }

    fn remove(&mut self, region: &mut Region, entry: Ref, charge: u32, departure: Departure, budget: u64) {
        if self.is_old(region, entry) {
            self.left -= 1;
            return self.old.remove(region, entry, charge, Departure::Removed, budget);
        }
        self.new.remove(region, entry, charge, departure, budget);
    }

    fn ghost_bytes(&self) -> u64 {
        self.old.ghost_bytes() + self.new.ghost_bytes()
    }

    fn clear_ghosts(&mut self, region: &mut Region) {
        self.old.clear_ghosts(region);
        self.new.clear_ghosts(region);
    }

    fn forget_ghost(&mut self, region: &mut Region) -> bool {
        self.old.forget_ghost(region) || self.new.forget_ghost(region)
    }

    fn yield_ghost(&mut self, region: &mut Region) -> bool {
        self.old.yield_ghost(region) || self.new.yield_ghost(region)
    }

    fn shrink(&mut self, region: &mut Region, budget: u64) {
        self.new.shrink(region, budget);
    }

    fn validate(&self, region: &Region, budget: u64) -> (u64, u64) {
        let (old, new) = (self.old.validate(region, budget), self.new.validate(region, budget));
        assert_eq!(old.0, self.left, "the old policy has another number of entries");
        (old.0 + new.0, old.1 + new.1)
    }
}

//! One group on this shard: its settings, policy, account and counters.

use alloc::boxed::Box;
use core::mem;

use crate::block::Header;
use crate::limits::{
    BUDGET_BYTES_MIN, BUDGET_OBJECTS_MIN, GROUP_NAME_BYTES_MAX, SHRINK_STEP_BYTES, SHRINK_STEP_OBJECTS,
    SHRINK_UNUSED_MAX, TTL_JITTER_MAX,
};
use crate::list::Side;
use crate::memory::Memory;
use crate::policy::{Policy, Replacement, Switch};
use crate::region::{Ref, Region};
use crate::{Charge, Expiry, GroupCounters, GroupError, GroupSettings, PolicySettings, Reason, list};

/// What a number of a group stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// A group.
    Used,
    /// One that was dropped; entries of it may be left.
    Dropped,
    /// Nothing: another group can have the number.
    Free,
}

/// A group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) life: Life,
    pub(crate) settings: GroupSettings,
    pub(crate) policy: Policy,
    /// The tags of the policy, of the new one if there are two.
    pub(crate) side: Side,
    /// What the headers of entries can do at least: a policy may keep memos with them.
    pub(crate) header: Header,
    /// What entries and ghosts may cost at this moment: the budget of the settings, or more while that was lowered and
    /// is not met yet.
    pub(crate) budget: u64,
    /// Entries with a version up to this one are absent.
    pub(crate) floor: u64,
    /// How often the group was invalidated.
    pub(crate) generation: u64,
    /// Entries stay for so long after their time is over: what headers say of that is later by this much.
    pub(crate) stale_ms: u64,
    /// All counters but `ghost_bytes` and `budget_bytes`, which are derived.
    pub(crate) counters: GroupCounters,
    /// The counters when the group was given its policy.
    pub(crate) before: GroupCounters,
}

impl Group {
    /// A group without entries.
    pub(crate) fn new(settings: GroupSettings, region: &Region) -> Result<Self, GroupError> {
        let GroupSettings { ref name, budget_bytes: budget, charge, ttl_jitter: jitter, .. } = settings;
        if name.is_empty() || name.len() > GROUP_NAME_BYTES_MAX {
            return Err(GroupError::NameLength { name: name.clone() });
        }
        check_jitter(name, jitter)?;
        check_budget(name, budget, charge)?;
        let policy = Policy::new(settings.policy, Side::Left, charge, region);
        let counters = GroupCounters::default();
        let header = settings.policy.kind().header();
        Ok(Self {
            life: Life::Used,
            settings,
            policy,
            side: Side::Left,
            header,
            budget,
            floor: 0,
            generation: 0,
            stale_ms: 0,
            counters,
            before: counters,
        })
    }

    /// What the budget takes of the memory, as far as that is known.
    pub(crate) fn budget_bytes(&self) -> u64 {
        match self.settings.charge {
            Charge::Bytes => self.settings.budget_bytes,
            Charge::Objects => 0,
        }
    }

    /// Sets the budget. A smaller one is approached by [`Group::shrink`].
    pub(crate) fn set_budget(&mut self, budget: u64) -> Result<(), GroupError> {
        check_budget(&self.settings.name, budget, self.settings.charge)?;
        self.settings.budget_bytes = budget;
        self.budget = self.budget.max(budget);
        Ok(())
    }

    /// Sets how long entries live whose writer does not say.
    pub(crate) fn set_ttl(&mut self, ttl_ms: u64, jitter: u8) -> Result<(), GroupError> {
        check_jitter(&self.settings.name, jitter)?;
        (self.settings.ttl_ms, self.settings.ttl_jitter) = (ttl_ms, jitter);
        Ok(())
    }

    /// Whether a smaller budget is not met yet. A dropped group has none to meet.
    pub(crate) fn is_shrinking(&self) -> bool {
        self.life == Life::Used && self.budget > self.settings.budget_bytes
    }

    /// What the group is held against when entries are to go for want of memory: those of a dropped one go first.
    pub(crate) fn budget_under_pressure(&self) -> u64 {
        if self.life == Life::Used { self.budget } else { 0 }
    }

    /// Takes a step towards a smaller budget; whether there was one to take. It takes what nobody uses, in larger steps,
    /// or else makes a few entries leave.
    pub(crate) fn shrink(&mut self) -> bool {
        let step = match self.settings.charge {
            Charge::Bytes => SHRINK_STEP_BYTES,
            Charge::Objects => SHRINK_STEP_OBJECTS,
        };
        let unused = self.budget.saturating_sub(self.counters.bytes + self.ghost_bytes());
        self.shrink_by(unused.min(SHRINK_UNUSED_MAX).max(step))
    }

    /// Takes a step of this size towards a smaller budget; whether there was one to take.
    pub(crate) fn shrink_by(&mut self, step: u64) -> bool {
        if !self.is_shrinking() {
            return false;
        }
        self.budget = self.budget.saturating_sub(step).max(self.settings.budget_bytes);
        true
    }

    /// Gives the group another policy, which takes over its entries in steps, see [`Group::take_over`].
    pub(crate) fn set_policy(&mut self, settings: PolicySettings, region: &mut Region) -> Result<(), GroupError> {
        if settings == self.settings.policy {
            return Ok(());
        }
        let entries_left = self.switching();
        if entries_left > 0 {
            let (name, policy) = (self.settings.name.clone(), self.settings.policy);
            return Err(GroupError::Switching { name, policy, entries_left });
        }
        self.finish_switch();
        let (old_side, side, unit) = (self.side, self.side.other(), self.settings.charge);
        let old = mem::replace(&mut self.policy, Policy::new(settings, side, unit, region));
        let new = mem::replace(&mut self.policy, Policy::none());
        self.policy = Policy::Switch(Box::new(Switch::new(old, old_side, self.counters.entries, new, region)));
        (self.settings.policy, self.side, self.before) = (settings, side, self.counters);
        // Entries of the old policy need what it keeps with them until the last is taken over.
        self.header = self.header.and(settings.kind().header());
        self.finish_switch();
        Ok(())
    }

    /// Entries that the former policy still has.
    pub(crate) fn switching(&self) -> u64 {
        if let Policy::Switch(switch) = &self.policy { switch.left() } else { 0 }
    }

    /// The entry of the former policy to be taken over next.
    pub(crate) fn next_to_take_over(&mut self, memory: &mut Memory) -> Option<Ref> {
        let Policy::Switch(switch) = &mut self.policy else { return None };
        switch.next(&mut memory.region, &memory.hashes, self.budget)
    }

    /// The policy takes over an entry of the former one, whose header has what the policy keeps.
    pub(crate) fn take_over(&mut self, memory: &mut Memory, entry: Ref) {
        let Policy::Switch(switch) = &mut self.policy else { return };
        let Memory { region, hashes, .. } = memory;
        let (hash, charge) = (hashes.of(region, entry), list::charge(region, entry, self.settings.charge));
        switch.take_over(region, entry, hash, charge, self.budget);
        self.finish_switch();
    }

    /// Leaves the former policy behind when it has no entries any more.
    pub(crate) fn finish_switch(&mut self) {
        if matches!(&self.policy, Policy::Switch(switch) if switch.left() == 0)
            && let Policy::Switch(switch) = mem::replace(&mut self.policy, Policy::none())
        {
            self.policy = switch.finish();
            self.header = self.settings.policy.kind().header();
        }
    }

    /// What the ghosts cost.
    pub(crate) fn ghost_bytes(&self) -> u64 {
        match self.settings.charge {
            Charge::Bytes => self.policy.ghost_bytes(),
            Charge::Objects => 0,
        }
    }

    /// Whether there is room for one more entry of this charge, or, with 0, for what there is.
    pub(crate) fn has_room(&self, charge: u32) -> bool {
        self.counters.bytes + self.ghost_bytes() + u64::from(charge) <= self.budget
    }

    /// When the time of an entry is over, by what its header says.
    #[inline]
    pub(crate) fn time_over_ms(&self, held_until_ms: u64) -> u64 {
        if held_until_ms == 0 { 0 } else { held_until_ms.saturating_sub(self.stale_ms).max(1) }
    }

    /// What the header of an entry is to say whose time is over then.
    #[inline]
    pub(crate) fn held_until_ms(&self, expires_at_ms: u64) -> u64 {
        if expires_at_ms == 0 { 0 } else { expires_at_ms.saturating_add(self.stale_ms) }
    }

    /// Why an entry of this group is to leave although it is in memory; `None`: it is present, or stale.
    #[inline]
    pub(crate) fn absence(&self, version: u64, expires_at_ms: u64, now_ms: u64) -> Option<Reason> {
        if version <= self.floor {
            Some(Reason::Invalidated)
        } else if expires_at_ms != 0 && expires_at_ms <= now_ms {
            Some(Reason::Expired)
        } else {
            None
        }
    }

    /// When an entry that is stored or touched now expires; 0: never. `kept` is that of the entry that is there, `seed`
    /// decides how the default time is spread.
    pub(crate) fn expires_at_ms(&self, expiry: Expiry, kept: Option<u64>, seed: u64, now_ms: u64) -> u64 {
        let default = || match self.settings.ttl_ms {
            0 => 0,
            ttl_ms => now_ms.saturating_add(jittered(ttl_ms, self.settings.ttl_jitter, seed)),
        };
        match expiry {
            Expiry::Default => default(),
            Expiry::Never => 0,
            Expiry::After(ttl_ms) => now_ms.saturating_add(ttl_ms).max(1),
            Expiry::At(at_ms) => at_ms.max(1),
            Expiry::Keep => kept.unwrap_or_else(default),
        }
    }
}

fn check_jitter(name: &str, jitter: u8) -> Result<(), GroupError> {
    if jitter > TTL_JITTER_MAX {
        return Err(GroupError::JitterTooLarge { name: name.into(), jitter });
    }
    Ok(())
}

fn check_budget(name: &str, budget: u64, charge: Charge) -> Result<(), GroupError> {
    let minimum = match charge {
        Charge::Bytes => BUDGET_BYTES_MIN,
        Charge::Objects => BUDGET_OBJECTS_MIN,
    };
    if budget < minimum {
        return Err(GroupError::BudgetTooSmall { name: name.into(), budget, minimum });
    }
    Ok(())
}

/// A time that is longer or shorter by up to `percent`; each millisecond of that band is as likely as the others.
fn jittered(ttl_ms: u64, percent: u8, seed: u64) -> u64 {
    if percent == 0 {
        return ttl_ms;
    }
    let band_ms = (u128::from(ttl_ms) * u128::from(percent) / 100) as u64;
    let mixed = (seed ^ (seed >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let part = (u128::from(mixed) * (2 * u128::from(band_ms) + 1)) >> u64::BITS;
    (ttl_ms - band_ms).saturating_add(part as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_fills_its_band_and_no_more() {
        assert_eq!(jittered(1000, 0, 12345), 1000);
        let spread: Vec<u64> = (0..10_000_u64).map(|seed| jittered(1000, 20, seed << 8)).collect();
        assert!(spread.iter().all(|ttl_ms| (800..=1200).contains(ttl_ms)));
        for quarter in [800..900, 900..1000, 1000..1100, 1100..1201] {
            let share = spread.iter().filter(|&ttl_ms| quarter.contains(ttl_ms)).count();
            assert!((2000..3000).contains(&share), "{share} of 10,000 in {quarter:?}");
        }
        assert_eq!(jittered(1, 50, 7), 1, "a time that is short stays a time");
        assert!(jittered(u64::MAX, 50, u64::MAX) >= u64::MAX / 2);
    }
}

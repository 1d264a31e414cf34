//! One group on this shard: its settings, policy, account and counters.

use crate::error::StoreError;
use crate::limits::{BUDGET_BYTES_MIN, BUDGET_OBJECTS_MIN, ENTRY_OVERHEAD_BYTES, GHOST_BYTES, GROUP_NAME_BYTES_MAX};
use crate::memory::Item;
use crate::policy::{Policy, Replacement};
use crate::{Charge, Expiry, GroupCounters, GroupError, GroupSettings, Reason};

/// A group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) settings: GroupSettings,
    pub(crate) policy: Policy,
    /// Entries with a version up to this one are absent.
    pub(crate) floor: u64,
    /// How often the group was invalidated.
    pub(crate) generation: u64,
    /// All counters but `ghost_bytes` and `budget_bytes`, which are derived.
    pub(crate) counters: GroupCounters,
}

impl Group {
    /// A group without entries.
    pub(crate) fn new(settings: GroupSettings) -> Result<Self, GroupError> {
        let GroupSettings { ref name, budget_bytes: budget, charge, .. } = settings;
        if name.is_empty() || name.len() > GROUP_NAME_BYTES_MAX {
            return Err(GroupError::NameLength { name: name.clone() });
        }
        let minimum = match charge {
            Charge::Bytes => BUDGET_BYTES_MIN,
            Charge::Objects => BUDGET_OBJECTS_MIN,
        };
        if budget < minimum {
            return Err(GroupError::BudgetTooSmall { name: name.clone(), budget, minimum });
        }
        let (policy, counters) = (Policy::new(settings.policy), GroupCounters::default());
        Ok(Self { settings, policy, floor: 0, generation: 0, counters })
    }

    /// The most entries that the budget could pay.
    pub(crate) fn entries_max(&self) -> u64 {
        match self.settings.charge {
            Charge::Bytes => self.settings.budget_bytes / ENTRY_OVERHEAD_BYTES,
            Charge::Objects => self.settings.budget_bytes,
        }
    }

    /// What an entry of these sizes, each within its limit, costs.
    pub(crate) fn charge(&self, key_bytes: usize, value_bytes: usize) -> Result<u32, StoreError> {
        let charge = match self.settings.charge {
            Charge::Bytes => key_bytes as u64 + value_bytes as u64 + ENTRY_OVERHEAD_BYTES,
            Charge::Objects => 1,
        };
        if charge > self.settings.budget_bytes {
            return Err(StoreError::TooLarge);
        }
        Ok(u32::try_from(charge).expect("limits.rs asserts that a largest charge fits"))
    }

    /// What the ghosts cost.
    pub(crate) fn ghost_bytes(&self) -> u64 {
        match self.settings.charge {
            Charge::Bytes => self.policy.ghosts() * GHOST_BYTES,
            Charge::Objects => 0,
        }
    }

    /// Whether there is room for one more entry of this charge, or, with 0, for what there is.
    pub(crate) fn has_room(&self, charge: u32) -> bool {
        self.counters.bytes + self.ghost_bytes() + u64::from(charge) <= self.settings.budget_bytes
    }

    /// Why an item of this group is absent although it is in memory; `None`: it is present.
    #[inline]
    pub(crate) fn absence(&self, item: &Item, now_ms: u64) -> Option<Reason> {
        if item.version <= self.floor {
            Some(Reason::Invalidated)
        } else if item.expires_at_ms != 0 && item.expires_at_ms <= now_ms {
            Some(Reason::Expired)
        } else {
            None
        }
    }

    /// When an entry that is stored or touched now expires; 0: never. `kept` is that of the entry that is there.
    pub(crate) fn expires_at_ms(&self, expiry: Expiry, kept: Option<u64>, now_ms: u64) -> u64 {
        let default = match self.settings.ttl_ms {
            0 => 0,
            ttl_ms => now_ms.saturating_add(ttl_ms),
        };
        match expiry {
            Expiry::Default => default,
            Expiry::Never => 0,
            Expiry::After(ttl_ms) => now_ms.saturating_add(ttl_ms).max(1),
            Expiry::At(at_ms) => at_ms.max(1),
            Expiry::Keep => kept.unwrap_or(default),
        }
    }
}

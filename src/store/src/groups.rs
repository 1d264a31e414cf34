//! Groups: created, changed and dropped.

use alloc::string::String;

use crate::group::{Group, Life};
use crate::limits::GROUPS_MAX;
use crate::policy::{Policy, Replacement};
use crate::{Charge, GroupError, GroupIndex, GroupSettings, PolicySettings, RemovalHook, Store};

impl<H: RemovalHook> Store<H> {
    /// Adds a group without entries.
    ///
    /// # Errors
    /// If its name is taken or has no right length, its budget is too small or with those of the others above the
    /// memory, its jitter is too large, or there are [`GROUPS_MAX`] groups, those among them that were dropped and are not
    /// free.
    pub fn create_group(&mut self, settings: GroupSettings) -> Result<GroupIndex, GroupError> {
        let group = Group::new(settings, &self.memory.region)?;
        let name = || group.settings.name.clone();
        if self.groups.iter().any(|other| other.life == Life::Used && other.settings.name == group.settings.name) {
            return Err(GroupError::DuplicateName { name: name() });
        }
        let free = self.groups.iter().position(|group| group.life == Life::Free);
        if free.is_none() && self.groups.len() == GROUPS_MAX {
            return Err(GroupError::TooManyGroups { name: name() });
        }
        self.check_budgets(None, &group.settings.name, group.budget_bytes())?;
        let seed = group.settings.hash_seed;
        let index = free.unwrap_or(self.groups.len());
        if index == self.groups.len() {
            self.memory.hashes.seeds.push(seed);
            self.groups.push(group);
        } else {
            self.memory.hashes.seeds[index] = seed;
            self.groups[index] = group;
        }
        Ok(GroupIndex(index as u16))
    }

    /// Drops a group: it is not to be named in any call any more, its name can be given to another, and its budget is
    /// nobody's. Its entries are absent from now on; what they take is given back as in an invalidation, and is the first
    /// to go where memory is wanted. The number stays taken until [`Store::free_dropped`].
    ///
    /// # Panics
    /// If it was dropped before.
    pub fn drop_group(&mut self, group: GroupIndex) {
        self.end_run();
        let group = &mut self.groups[usize::from(group.0)];
        assert_eq!(group.life, Life::Used, "a group is dropped once");
        (group.life, group.floor, group.settings.budget_bytes) = (Life::Dropped, u64::MAX, 0);
        group.counters.invalid = group.counters.entries;
        group.settings.name = String::new();
        self.memory.sweep.invalidated(&self.memory.log);
    }

    /// Lets the numbers of dropped groups be used again of which nothing is left and `is_free` says that nobody names them;
    /// whether some are taken still.
    pub fn free_dropped(&mut self, is_free: impl Fn(GroupIndex) -> bool) -> bool {
        self.end_run();
        let mut taken = false;
        for (index, group) in self.groups.iter_mut().enumerate().filter(|(_, group)| group.life == Life::Dropped) {
            if group.counters.entries > 0 || !is_free(GroupIndex(index as u16)) {
                taken = true;
                continue;
            }
            group.policy.clear_ghosts(&mut self.memory.region);
            group.finish_switch();
            group.policy = Policy::none();
            group.life = Life::Free;
        }
        taken
    }

    /// How long entries of a group live from now on whose writer does not say; see [`GroupSettings`].
    ///
    /// # Errors
    /// If the jitter is too large; then nothing changes.
    pub fn set_ttl(&mut self, group: GroupIndex, ttl_ms: u64, ttl_jitter: u8) -> Result<(), GroupError> {
        self.end_run();
        self.groups[usize::from(group.0)].set_ttl(ttl_ms, ttl_jitter)
    }

    /// Has entries of a group stay for so long after their time is over, see [`Store::stale`]. A shorter time than before
    /// does nothing: there are entries that were stored with the longer one. With a longer one, the time of entries that are
    /// there is over earlier by the difference. What a group began with is 0.
    pub fn set_stale(&mut self, group: GroupIndex, stale_ms: u64) {
        self.end_run();
        let group = &mut self.groups[usize::from(group.0)];
        group.stale_ms = group.stale_ms.max(stale_ms);
    }

    /// Changes the budget of a group. A larger one is there at once. A smaller one is approached in bounded steps: each
    /// entry that is stored makes room for twice its charge, and [`Store::reclaim`] goes on where nothing is stored.
    ///
    /// # Errors
    /// If the budget is too small, or with those of the others above the memory; then nothing changes.
    pub fn set_budget(&mut self, group: GroupIndex, budget: u64) -> Result<(), GroupError> {
        self.end_run();
        let index = usize::from(group.0);
        let in_bytes = match self.groups[index].settings.charge {
            Charge::Bytes => budget,
            Charge::Objects => 0,
        };
        self.check_budgets(Some(index), &self.groups[index].settings.name, in_bytes)?;
        self.groups[index].set_budget(budget)
    }

    /// Gives a group another policy and keeps its entries. They go over in bounded steps: each entry that is stored takes
    /// [`crate::limits::SWITCH_ENTRIES`] with it, and [`Store::reclaim`] goes on where nothing is stored. Meanwhile
    /// the former policy's entries are the ones that are evicted; what it remembered beside them is forgotten at once.
    ///
    /// # Errors
    /// [`GroupError::Switching`] if the last change is not done yet.
    pub fn set_policy(&mut self, group: GroupIndex, policy: PolicySettings) -> Result<(), GroupError> {
        self.end_run();
        self.groups[usize::from(group.0)].set_policy(policy, &mut self.memory.region)
    }

    /// Whether a budget in bytes and those of all groups but one are within the memory.
    fn check_budgets(&self, but: Option<usize>, name: &str, budget: u64) -> Result<(), GroupError> {
        let others = self.groups.iter().enumerate().filter(|&(index, _)| Some(index) != but);
        let room = self.settings.memory_bytes - others.map(|(_, group)| group.budget_bytes()).sum::<u64>();
        match budget > room {
            true => Err(GroupError::BudgetTooLarge { name: name.into(), budget, room }),
            false => Ok(()),
        }
    }
}

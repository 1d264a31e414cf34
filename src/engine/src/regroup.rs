//! The groups of a shard as its node wants them: whoever keeps the node's groups gives all shards the same plans, and each
//! brings its store to them.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use larder_ring::{DEFAULT_GROUP, group_hash};
use larder_store::{GroupError, GroupIndex, GroupSettings, PolicySettings, RemovalHook};

use crate::groups::{Group, OriginSettings, Refill};
use crate::local::Local;
use crate::{Engine, EngineError};

/// A group as a node has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPlan {
    /// Its settings. The budget is that of the node, of which each shard gives its store its share; the hash seed is set by
    /// the engine, which derives it from the cluster's.
    pub settings: GroupSettings,
    /// Where its missing values come from, see [`Engine::next_load`]; `None`: they are missing.
    pub origin: Option<OriginSettings>,
    /// For how long after its time an entry is answered while it is loaded anew, in ms (`stale-while-revalidate` of RFC
    /// 5861).
    pub stale_while_revalidate_ms: u64,
    /// For how long after its time an entry is answered if it cannot be loaded anew, in ms (`stale-if-error` of RFC 5861).
    pub stale_if_error_ms: u64,
    /// Tells groups apart that have one name, one after the other.
    pub identity: u64,
}

/// The groups of a node.
pub type GroupPlans = Arc<[GroupPlan]>;

impl From<GroupSettings> for GroupPlan {
    fn from(settings: GroupSettings) -> Self {
        Self { settings, origin: None, stale_while_revalidate_ms: 0, stale_if_error_ms: 0, identity: 0 }
    }
}

impl GroupPlan {
    fn refill(&self) -> Refill {
        let (revalidate_ms, error_ms) = (self.stale_while_revalidate_ms, self.stale_if_error_ms);
        Refill { origin: self.origin, revalidate_ms, error_ms }
    }
}

impl<H: RemovalHook> Engine<H> {
    /// Has these groups from now on. One that is not among them is dropped with its entries, and so is one with another
    /// identity than the group of its name. More memory is there at once; less is approached in steps, and so is another
    /// policy; see [`Engine::background`].
    ///
    /// # Errors
    /// If the groups cannot be, see [`EngineError`]; nothing changes then, but for groups that were dropped or have less
    /// memory if it is the store that refuses.
    pub fn set_groups(&mut self, plans: &[GroupPlan]) -> Result<(), EngineError> {
        self.local.set_groups(plans)
    }
}

impl<H: RemovalHook> Local<H> {
    /// See [`Engine::set_groups`].
    pub(crate) fn set_groups(&mut self, plans: &[GroupPlan]) -> Result<(), EngineError> {
        self.check_plans(plans)?;
        let known = |plan: &&GroupPlan| self.group_of(plan).is_some();
        let (kept, new): (Vec<&GroupPlan>, Vec<&GroupPlan>) = plans.iter().partition(known);
        let gone: Vec<String> = {
            let is_kept = |name: &str| kept.iter().any(|plan| plan.settings.name == name);
            self.groups.names().map(|(name, _)| name).filter(|name| !is_kept(name)).map(String::from).collect()
        };
        gone.iter().for_each(|name| self.drop_group(name));
        // What gives comes before what takes, so that the sum stays within the memory.
        let (less, more): (Vec<&GroupPlan>, Vec<&GroupPlan>) = kept.into_iter().partition(|plan| {
            let index = self.group_of(plan).expect("it was found before").index;
            self.share(plan.settings.budget_bytes) < self.store.group_settings(index).budget_bytes
        });
        for plan in less.into_iter().chain(more) {
            self.alter_group(plan)?;
        }
        new.into_iter().try_for_each(|plan| self.create_group(plan))?;
        self.change_policies();
        Ok(())
    }

    /// One shard's share of so many bytes of the node.
    pub(crate) fn share(&self, bytes: u64) -> u64 {
        bytes / u64::from(self.shards)
    }

    /// The policy that a group has, or will have.
    fn policy(&self, group: GroupIndex) -> PolicySettings {
        let wanted = self.policies.iter().find(|(of, _)| *of == group);
        wanted.map_or_else(|| self.store.group_settings(group).policy, |(_, policy)| *policy)
    }

    /// Gives groups the policies that they are to have, but for those whose last change is under way still. To be called
    /// again when some of that was done.
    pub(crate) fn change_policies(&mut self) {
        let store = &mut self.store;
        self.policies.retain(|(group, policy)| store.set_policy(*group, *policy).is_err());
    }

    /// Lets numbers of groups that were dropped be used again, if nobody names them any more.
    pub(crate) fn free_dropped(&mut self) {
        if !self.has_dropped {
            return;
        }
        let mut watched: Vec<GroupIndex> = Vec::new();
        self.store.hook().each_watched(&mut |group| watched.push(group));
        let flights = &self.flights;
        self.has_dropped = self.store.free_dropped(|group| !watched.contains(&group) && !flights.name(group.0));
    }

    /// The group that a plan is about, if it is there.
    fn group_of(&self, plan: &GroupPlan) -> Option<Group> {
        let (group, identity) = self.groups.named(&plan.settings.name)?;
        (identity == plan.identity).then_some(group)
    }

    fn check_plans(&self, plans: &[GroupPlan]) -> Result<(), EngineError> {
        let mut hashes: Vec<(u64, &str)> = Vec::with_capacity(plans.len());
        for plan in plans {
            let name = &plan.settings.name;
            let hash = group_hash(name, self.topology.cluster_seed());
            if hash == 0 {
                return Err(EngineError::GroupHashZero { name: name.clone() });
            }
            if let Some((_, first)) = hashes.iter().find(|(taken, _)| *taken == hash) {
                return Err(EngineError::GroupHashTaken { first: (*first).into(), second: name.clone(), hash });
            }
            hashes.push((hash, name));
        }
        match plans.iter().any(|plan| plan.settings.name == DEFAULT_GROUP) {
            true => Ok(()),
            false => Err(EngineError::NoDefaultGroup),
        }
    }

    fn create_group(&mut self, plan: &GroupPlan) -> Result<(), EngineError> {
        let hash = group_hash(&plan.settings.name, self.topology.cluster_seed());
        let budget_bytes = self.share(plan.settings.budget_bytes);
        let settings = GroupSettings { hash_seed: hash, budget_bytes, ..plan.settings.clone() };
        let index = match self.store.create_group(settings.clone()) {
            Err(GroupError::TooManyGroups { .. }) => {
                self.free_dropped();
                self.store.create_group(settings)?
            }
            created => created?,
        };
        self.store.set_stale(index, plan.refill().stale_ms());
        self.groups.insert(&plan.settings.name, (index, hash), plan.refill(), plan.identity);
        Ok(())
    }

    fn alter_group(&mut self, plan: &GroupPlan) -> Result<(), EngineError> {
        let group = self.group_of(plan).expect("it was found before");
        let GroupSettings { budget_bytes, policy, ttl_ms, ttl_jitter, ref name, .. } = plan.settings;
        let share = self.share(budget_bytes);
        if self.store.group_settings(group.index).budget_bytes != share {
            self.store.set_budget(group.index, share)?;
        }
        self.store.set_ttl(group.index, ttl_ms, ttl_jitter)?;
        if policy != self.policy(group.index) {
            self.policies.retain(|(of, _)| *of != group.index);
            self.policies.push((group.index, policy));
        }
        let before = self.groups.refill(group);
        if plan.origin != before.origin {
            // What comes from where it came from before is not to be kept.
            self.flights.changed_group(group.index.0);
        }
        if plan.refill() != before {
            self.store.set_stale(group.index, plan.refill().stale_ms());
            self.groups.insert(name, (group.index, group.hash), plan.refill(), plan.identity);
        }
        Ok(())
    }

    fn drop_group(&mut self, name: &str) {
        let group = self.groups.remove(name);
        self.flights.changed_group(group.index.0);
        self.policies.retain(|(of, _)| *of != group.index);
        self.store.drop_group(group.index);
        self.has_dropped = true;
    }
}

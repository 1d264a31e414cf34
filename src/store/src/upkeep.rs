//! Groups, and the work on all entries of one or of all.

use alloc::vec;

use crate::group::Group;
use crate::limits::{ENTRIES_MAX, GROUPS_MAX, SWEEP_YIELD};
use crate::policy::Replacement;
use crate::{GroupError, GroupIndex, GroupSettings, Reason, Reclaimed, RemovalHook, Store};

impl<H: RemovalHook> Store<H> {
    /// Adds a group without entries.
    ///
    /// # Errors
    /// If its name is taken or has no right length, its budget is too small or too large, or there are
    /// [`GROUPS_MAX`] groups.
    pub fn create_group(&mut self, settings: GroupSettings) -> Result<GroupIndex, GroupError> {
        let group = Group::new(settings)?;
        let name = || group.settings.name.clone();
        if self.groups.iter().any(|other| other.settings.name == group.settings.name) {
            return Err(GroupError::DuplicateName { name: name() });
        }
        if self.groups.len() == GROUPS_MAX {
            return Err(GroupError::TooManyGroups { name: name() });
        }
        let room = ENTRIES_MAX - self.groups.iter().map(Group::entries_max).sum::<u64>();
        if group.entries_max() > room {
            let (budget, entries) = (group.settings.budget_bytes, group.entries_max());
            return Err(GroupError::BudgetTooLarge { name: name(), budget, entries, room });
        }
        self.groups.push(group);
        Ok(GroupIndex((self.groups.len() - 1) as u16))
    }

    /// A group's settings.
    pub fn group_settings(&self, group: GroupIndex) -> &GroupSettings {
        &self.groups[usize::from(group.0)].settings
    }

    /// The groups in the order in which they were created.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (GroupIndex, &GroupSettings)> {
        self.groups.iter().enumerate().map(|(index, group)| (GroupIndex(index as u16), &group.settings))
    }

    /// Makes every entry of a group absent, in constant time, and returns how often that was done to this group. What
    /// the entries took is given back when they are next asked for, evicted or found by [`Store::reclaim`].
    pub fn invalidate(&mut self, group: GroupIndex, now_ms: u64) -> u64 {
        self.end_run();
        let floor = self.versions.next(now_ms);
        let group = &mut self.groups[usize::from(group.0)];
        group.floor = floor;
        group.generation += 1;
        self.sweep.invalidated(self.memory.end());
        group.generation
    }

    /// Removes expired and invalidated entries without their being asked for. It looks at up to `steps` entry numbers,
    /// of all groups, and goes on there the next time; while nothing can have expired it looks at none.
    pub fn reclaim(&mut self, now_ms: u64, steps: usize) -> Reclaimed {
        self.end_run();
        let mut reclaimed = Reclaimed::default();
        for _ in 0..steps {
            let Some(entry) = self.sweep.step(self.memory.end(), now_ms) else { return reclaimed };
            let item = self.memory.item(entry);
            let Some(group) = item.group() else { continue };
            let Some(reason) = self.groups[usize::from(group.0)].absence(item, now_ms) else {
                self.sweep.note(item.expires_at_ms);
                continue;
            };
            reclaimed.bytes += u64::from(self.memory.nodes.charge(entry));
            reclaimed.expired += u64::from(reason == Reason::Expired);
            reclaimed.invalidated += u64::from(reason == Reason::Invalidated);
            self.remove(entry, reason);
        }
        let found = (reclaimed.expired + reclaimed.invalidated) as usize;
        reclaimed.more = self.sweep.invalidation_pending() || (found > 0 && found * SWEEP_YIELD >= steps);
        reclaimed
    }

    /// Walks everything, and holds every account against what is there.
    ///
    /// # Panics
    /// If anything is wrong, with a description of it.
    pub fn validate(&self) {
        self.memory.validate();
        let (mut entries, mut charges) = (vec![0; self.groups.len()], vec![0; self.groups.len()]);
        for entry in self.memory.entries() {
            let item = self.memory.item(entry);
            let index = usize::from(item.group().expect("it has an entry").0);
            let expected = self.groups[index].charge(item.key().len(), item.value().len());
            assert_eq!(expected, Ok(self.memory.nodes.charge(entry)), "entry {entry} has another charge");
            assert!(item.value().len() <= self.settings.value_bytes_max, "entry {entry} is too large");
            self.sweep.validate(entry, item.expires_at_ms);
            entries[index] += 1;
            charges[index] += u64::from(self.memory.nodes.charge(entry));
        }
        for (index, group) in self.groups.iter().enumerate() {
            let name = &group.settings.name;
            let counted = (group.counters.entries, group.counters.bytes);
            assert_eq!(counted, (entries[index], charges[index]), "the account of group {name:?} is wrong");
            let listed = group.policy.validate(&self.memory.nodes, group.settings.budget_bytes);
            assert_eq!(counted, listed, "the policy of group {name:?} has other entries");
            assert!(group.has_room(0), "group {name:?} is above its budget");
        }
    }

    /// The keys in memory.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.memory.entries().map(|entry| self.memory.item(entry).key())
    }
}

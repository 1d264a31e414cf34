//! The work on all entries of a group or of all, and what there is to be told of them.

use alloc::vec;
use core::ops::ControlFlow;

use crate::block::{self, Head, Shape};
use crate::group::Life;
use crate::limits::{ENTRY_INDEX_BYTES, EVICTION_STEPS, HOME_ENTRIES_MAX, LOOKS_PER_STEP, SCAN_LINES_MAX, SWEEP_YIELD};
use crate::list::{self, NONE};
use crate::memory::Found;
use crate::policy::Replacement;
use crate::region::{Region, Use};
use crate::sweep::Step;
use crate::{Entry, GroupCounters, GroupIndex, GroupSettings, MemoryCounters, Reason, Reclaimed, RemovalHook, Store};

impl<H: RemovalHook> Store<H> {
    /// What an entry with a key and a value of these lengths is charged with under [`crate::Charge::Bytes`]. Unless key or
    /// value are long it is 16 more in a group with a number from 127 on or with a time of expiry that is decades ahead, and
    /// with policy `lfu` or `lru_k` it is 16 more in any case.
    pub fn entry_bytes(&self, key_bytes: usize, value_bytes: usize) -> u64 {
        let segment_bytes = self.memory.region.segment_bytes();
        let shape = Shape::of(key_bytes, value_bytes, segment_bytes);
        (shape.total_bytes(segment_bytes) + ENTRY_INDEX_BYTES) as u64
    }

    /// The same in a group, whose policy may keep more with an entry than others.
    pub fn entry_bytes_in(&self, group: GroupIndex, key_bytes: usize, value_bytes: usize) -> u64 {
        let segment_bytes = self.memory.region.segment_bytes();
        let shape = self.memory.shape(group, self.groups[usize::from(group.0)].header, key_bytes, value_bytes);
        (shape.total_bytes(segment_bytes) + ENTRY_INDEX_BYTES) as u64
    }

    /// The most that an entry may be charged with in this memory, if its group's budget is not less.
    pub fn entry_bytes_max(&self) -> u64 {
        (self.memory.entry_bytes_max() + ENTRY_INDEX_BYTES) as u64
    }

    /// What a group has counted.
    pub fn counters(&self, group: GroupIndex) -> GroupCounters {
        let group = &self.groups[usize::from(group.0)];
        let (ghost_bytes, budget_bytes) = (group.ghost_bytes(), group.settings.budget_bytes);
        GroupCounters { ghost_bytes, budget_bytes, switching: group.switching(), ..group.counters }
    }

    /// What a group has counted since it has its present policy.
    pub fn policy_counters(&self, group: GroupIndex) -> GroupCounters {
        self.counters(group).since(self.groups[usize::from(group.0)].before)
    }

    /// What the memory of this shard is used for.
    pub fn memory(&self) -> MemoryCounters {
        let (region, log) = (&self.memory.region, &self.memory.log);
        let segments = |purpose| region.used_for(purpose) as u64;
        MemoryCounters {
            memory_bytes: self.settings.memory_bytes,
            segment_bytes: region.segment_bytes() as u64,
            segments_free: segments(Use::Free),
            segments_log: segments(Use::Log),
            segments_index: segments(Use::Index),
            segments_ghost: segments(Use::Ghost),
            segments_taken: region.taken(),
            index_lines: self.memory.index.lines() as u64,
            index_waits: self.memory.index.wants_segment(region),
            index_moves: self.memory.index.moved(),
            live_bytes: log.live_bytes(),
            dead_bytes: log.dead_bytes(),
            written_bytes: log.written_bytes,
            moved_bytes: log.moved_bytes,
            moved_bytes_max: self.work.moved_bytes_max,
            evictions: self.work.evictions,
        }
    }

    /// Shows entries of a group, and returns the cursor for the next call, `None` after the last; 0 is the first cursor.
    /// A key that is there throughout all calls is shown at least once, whatever else happens between them. Goes on until
    /// `visit` breaks it off or it has passed over [`SCAN_LINES_MAX`] lines of the index; entries that lie together in
    /// the index are shown together, at most [`crate::limits::HOME_ENTRIES_MAX`] of them, whatever `visit` says. This is
    /// no access to the entries.
    pub fn scan(
        &self,
        group: GroupIndex,
        cursor: u64,
        now_ms: u64,
        mut visit: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Option<u64> {
        let (memory, mut cursor, mut flow) = (&self.memory, cursor, ControlFlow::Continue(()));
        for _ in 0..SCAN_LINES_MAX {
            let hash_of = |region: &Region, entry| memory.hashes.of(region, entry);
            cursor = memory.index.scan(&memory.region, cursor, &hash_of, |entry| {
                let head = Head::at(&memory.region, entry);
                let is_of_group = block::group(&memory.region, entry) == group;
                if is_of_group && self.absence_now(group, &head, entry, now_ms).is_none() {
                    flow = visit(self.entry(self.handle(&head, entry, now_ms)));
                }
            })?;
            if flow.is_break() {
                break;
            }
        }
        Some(cursor)
    }

    /// One step of a walk over all entries: removes those of one home of the index that `is_void` says so of, by their hash
    /// and version. Returns the cursor for the next step, `None` after the last, and how many entries were looked at, at
    /// most [`HOME_ENTRIES_MAX`]. From cursor 0 to `None`, an entry that is there throughout is looked at, whatever happens
    /// between the steps.
    pub fn void_where(
        &mut self,
        cursor: u64,
        now_ms: u64,
        mut is_void: impl FnMut(u64, u64) -> bool,
    ) -> (Option<u64>, usize) {
        self.end_run();
        let (memory, mut seen) = (&self.memory, 0);
        let (mut found, mut count) = ([0; HOME_ENTRIES_MAX], 0);
        let hash_of = |region: &Region, entry| memory.hashes.of(region, entry);
        let next = memory.index.scan(&memory.region, cursor, &hash_of, |entry| {
            seen += 1;
            let head = Head::at(&memory.region, entry);
            let group = block::group(&memory.region, entry);
            let is_present = self.absence(group, &head, entry, now_ms).is_none();
            if is_present && is_void(hash_of(&memory.region, entry), memory.frame.version(&head)) {
                found[count] = entry;
                count += 1;
            }
        });
        for &entry in &found[..count] {
            self.remove(Found::at(&self.memory.region, entry), Reason::Voided);
        }
        (next, seen)
    }

    /// The longest value that is accepted, in bytes.
    pub fn value_bytes_max(&self) -> usize {
        self.settings.value_bytes_max
    }

    /// A group's settings.
    pub fn group_settings(&self, group: GroupIndex) -> &GroupSettings {
        &self.groups[usize::from(group.0)].settings
    }

    /// The groups that were created and not dropped, by their numbers.
    pub fn groups(&self) -> impl Iterator<Item = (GroupIndex, &GroupSettings)> {
        let groups = self.groups.iter().enumerate().filter(|(_, group)| group.life == Life::Used);
        groups.map(|(index, group)| (GroupIndex(index as u16), &group.settings))
    }

    /// Makes every entry of a group absent, in constant time, and returns how often that was done to this group. What
    /// the entries took is given back when they are next asked for, evicted or found by [`Store::reclaim`].
    pub fn invalidate(&mut self, group: GroupIndex, now_ms: u64) -> u64 {
        self.end_run();
        let floor = self.versions.next(now_ms);
        let group = &mut self.groups[usize::from(group.0)];
        group.floor = floor;
        group.counters.invalid = group.counters.entries;
        group.generation += 1;
        self.memory.sweep.invalidated(&self.memory.log);
        group.generation
    }

    /// Removes expired and invalidated entries without their being asked for, evicts where a budget was lowered, and has
    /// policies take over entries of former ones. It takes up to `steps` steps, and goes on there the next time: each
    /// removes an entry, or looks at [`LOOKS_PER_STEP`] places in memory or passes over as many segments where nothing can
    /// have expired. While nothing at all can have expired it takes none. Towards budgets that were lowered and are not met
    /// it takes about as many more, of which an eviction counts as [`EVICTION_STEPS`].
    pub fn reclaim(&mut self, now_ms: u64, steps: usize) -> Reclaimed {
        self.end_run();
        let mut reclaimed = Reclaimed::default();
        let looks = steps.saturating_mul(LOOKS_PER_STEP);
        let mut left = looks;
        while left > 0 {
            left -= 1;
            let memory = &mut self.memory;
            let entry = match memory.sweep.step(&memory.region, &mut memory.log, now_ms) {
                Step::Idle => break,
                Step::Passed => continue,
                Step::Entry(entry) => entry,
            };
            let found = Found::at(&memory.region, entry);
            let group = found.head.group();
            let Some(reason) = self.absence(group, &found.head, entry, now_ms) else {
                let expires_at_ms = self.expires_at_ms(found);
                self.memory.sweep.stays(expires_at_ms);
                continue;
            };
            let unit = self.groups[usize::from(group.0)].settings.charge;
            reclaimed.bytes += u64::from(list::charge(&self.memory.region, entry, unit));
            reclaimed.expired += u64::from(reason == Reason::Expired);
            reclaimed.invalidated += u64::from(reason == Reason::Invalidated);
            self.remove(found, reason);
            left = left.saturating_sub(LOOKS_PER_STEP - 1);
        }
        let found = (reclaimed.expired + reclaimed.invalidated) as usize;
        reclaimed.more = self.memory.sweep.invalidation_pending() || (found > 0 && found * SWEEP_YIELD >= looks);
        reclaimed.amid_round = self.memory.sweep.is_amid_round(&self.memory.log, now_ms);
        self.shrink_budgets(&mut reclaimed, now_ms, steps);
        self.take_entries_over(&mut reclaimed, now_ms, steps);
        reclaimed
    }

    /// Takes steps towards the budgets that were lowered, one group after the other, as long as `steps` last.
    fn shrink_budgets(&mut self, reclaimed: &mut Reclaimed, now_ms: u64, mut steps: usize) {
        for index in 0..self.groups.len() {
            let before = self.groups[index].counters;
            while steps > 0 && self.groups[index].shrink() {
                let evicted = self.make_room(GroupIndex(index as u16), 0, NONE, now_ms, true);
                steps = steps.saturating_sub((evicted as usize).max(1) * EVICTION_STEPS);
            }
            // Victims may have been absent already.
            let after = &self.groups[index].counters;
            let (evicted, expired) = (after.evictions - before.evictions, after.expirations - before.expirations);
            reclaimed.evicted += evicted;
            reclaimed.expired += expired;
            reclaimed.invalidated += before.entries - after.entries - evicted - expired;
            reclaimed.bytes += before.bytes - after.bytes;
            reclaimed.shrinking |= self.groups[index].is_shrinking();
        }
        reclaimed.more |= reclaimed.shrinking;
    }

    /// Has policies take over entries of former ones, `steps` of them at most.
    fn take_entries_over(&mut self, reclaimed: &mut Reclaimed, now_ms: u64, mut steps: usize) {
        for index in 0..self.groups.len() {
            // Entries that grow for what the policy keeps with them make others leave, of this group or of any.
            let before = self.totals();
            let mut grown = 0;
            while steps > 0
                && let Some(more) = self.take_over(GroupIndex(index as u16), now_ms)
            {
                (steps, grown) = (steps - 1, grown + more);
            }
            let after = self.totals();
            let (evicted, expired) = (after.evictions - before.evictions, after.expirations - before.expirations);
            reclaimed.evicted += evicted;
            reclaimed.expired += expired;
            reclaimed.invalidated += after.invalidations - before.invalidations;
            reclaimed.bytes += before.bytes + grown - after.bytes;
            reclaimed.more |= self.groups[index].switching() > 0;
        }
    }

    /// What all groups have counted of entries that left, and what they hold.
    fn totals(&self) -> GroupCounters {
        self.groups.iter().fold(GroupCounters::default(), |sum, group| GroupCounters {
            evictions: sum.evictions + group.counters.evictions,
            expirations: sum.expirations + group.counters.expirations,
            invalidations: sum.invalidations + group.counters.invalidations,
            bytes: sum.bytes + group.counters.bytes,
            ..sum
        })
    }

    /// Walks everything, and holds every account against what is there.
    ///
    /// # Panics
    /// If anything is wrong, with a description of it.
    pub fn validate(&self) {
        self.memory.validate();
        let (region, memory) = (&self.memory.region, &self.memory);
        let (mut entries, mut charges) = (vec![(0, 0); self.groups.len()], vec![0; self.groups.len()]);
        for entry in memory.entries() {
            let found = Found::at(region, entry);
            let index = usize::from(block::group(region, entry).0);
            let (shape, unit) = (found.shape(region), self.groups[index].settings.charge);
            assert!(shape.value_bytes <= self.settings.value_bytes_max, "entry {entry} is too large");
            memory.sweep.validate(region, &memory.log, entry, self.expires_at_ms(found));
            entries[index].0 += 1;
            entries[index].1 += u64::from(memory.frame.version(&found.head) <= self.groups[index].floor);
            charges[index] += u64::from(list::charge_of(shape, region.segment_bytes(), unit));
        }
        for (index, group) in self.groups.iter().enumerate() {
            let name = &group.settings.name;
            let counted = (group.counters.entries, group.counters.bytes);
            assert_eq!(counted, (entries[index].0, charges[index]), "the account of group {name:?} is wrong");
            assert_eq!(group.counters.invalid, entries[index].1, "other entries of group {name:?} are invalid");
            let listed = group.policy.validate(region, group.budget);
            assert_eq!(counted, listed, "the policy of group {name:?} has other entries");
            assert!(group.has_room(0), "group {name:?} is above its budget");
            let is_vacant = group.counters.entries == 0 && group.ghost_bytes() == 0;
            assert!(group.life != Life::Free || is_vacant, "a number is free and has entries or ghosts");
            assert!(group.budget >= group.settings.budget_bytes, "group {name:?} has less than its budget");
        }
    }

    /// Changes the policy of a group by hand.
    #[cfg(test)]
    pub(crate) fn policy_mut(&mut self, group: GroupIndex, change: impl FnOnce(&mut crate::policy::Policy)) {
        change(&mut self.groups[usize::from(group.0)].policy);
    }

    /// The keys in memory.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.memory.entries().map(|entry| block::key(&self.memory.region, entry))
    }
}

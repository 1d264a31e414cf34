//! The store's operations on entries. Creating groups and the work behind the operations are in `upkeep`.

use alloc::vec::Vec;

use crate::group::Group;
use crate::limits::{KEY_BYTES_MAX, PREFETCH_HASHES, VALUE_BYTES_MAX};
use crate::list::NONE;
use crate::memory::{Change, Memory, Stamp};
use crate::number::{self, Decimal};
use crate::policy::{Departure, Replacement};
use crate::sweep::Sweep;
use crate::version::VersionClock;
use crate::{
    Condition, Entry, Expiry, GroupCounters, Handle, Key, Marks, NoHook, Reason, Removal, RemovalHook, StoreError,
    StoreSettings, VersionAhead, Write,
};

/// One shard's entries, in groups.
///
/// `now_ms` is the time in ms since the Unix epoch, and does not run backwards from one call to the next.
///
/// Versions have 64 bits: 44 of ms, 12 of counter, 8 of shard number. They are never 0, and each is greater than every
/// earlier one of this store, whatever the key.
///
/// # Panics
/// Every method that takes a [`crate::GroupIndex`] or a [`Key`] panics if the group is not one of this store.
#[derive(Debug)]
pub struct Store<H: RemovalHook = NoHook> {
    pub(crate) settings: StoreSettings,
    pub(crate) hook: H,
    pub(crate) memory: Memory,
    pub(crate) groups: Vec<Group>,
    pub(crate) versions: VersionClock,
    pub(crate) sweep: Sweep,
    /// Counts the runs of handles that are valid together.
    generation: u32,
    /// The time of the gets of the present run, or [`NO_RUN`].
    run_ms: u64,
}

/// No get since the last operation that may have moved an entry.
const NO_RUN: u64 = u64::MAX;

impl<H: RemovalHook> Store<H> {
    /// A store without groups. It allocates nothing yet.
    ///
    /// # Panics
    /// If `settings.value_bytes_max` is above [`VALUE_BYTES_MAX`].
    pub fn new(settings: StoreSettings, hook: H) -> Self {
        let value_bytes_max = settings.value_bytes_max;
        assert!(value_bytes_max <= VALUE_BYTES_MAX, "value_bytes_max {value_bytes_max} is above {VALUE_BYTES_MAX}");
        let (versions, sweep) = (VersionClock::new(settings.shard), Sweep::new());
        let (memory, groups) = (Memory::new(), Vec::new());
        Self { settings, hook, memory, groups, versions, sweep, generation: 0, run_ms: NO_RUN }
    }

    /// Finds an entry and counts the access. An entry that has expired is removed.
    #[inline]
    pub fn get(&mut self, key: Key<'_>, now_ms: u64) -> Option<Handle> {
        if self.run_ms != now_ms {
            self.end_run();
            self.run_ms = now_ms;
        }
        self.look_up(key, now_ms)
    }

    /// Like [`Store::get`], but no access: it counts nothing, and neither policy nor entry notice. The handle is valid
    /// like that of a get.
    pub fn peek(&self, key: Key<'_>, now_ms: u64) -> Option<Handle> {
        let entry = self.memory.find(key)?;
        let item = self.memory.item(entry);
        match self.group(key).absence(item, now_ms) {
            Some(_) => None,
            None => Some(self.handle(entry)),
        }
    }

    /// Asks the processor for all that operations on keys with these hashes will read, at once for all of them, so that
    /// they wait for memory once instead of once each: first the entries that are probably meant, then their keys and
    /// values. Changes nothing; all handles stay valid.
    pub fn prefetch(&self, hashes: &[u64]) {
        let mut nearby = [0; PREFETCH_HASHES];
        for hashes in hashes.chunks(PREFETCH_HASHES) {
            let mut found = 0;
            for entry in hashes.iter().filter_map(|&hash| self.memory.prefetch_item(hash)) {
                nearby[found] = entry;
                found += 1;
            }
            nearby[..found].iter().for_each(|&entry| self.memory.prefetch_block(entry));
        }
    }

    /// The entry that was found.
    ///
    /// # Panics
    /// If the handle is not valid any more, see [`Handle`].
    #[inline]
    pub fn entry(&self, handle: Handle) -> Entry<'_> {
        self.assert_valid(handle);
        let item = self.memory.item(handle.entry);
        Entry {
            key: item.key(),
            value: item.value(),
            flags: item.flags,
            version: item.version,
            expires_at_ms: item.expires_at_ms,
            hit_before: handle.hit_before,
            last_access_ms: handle.accessed_ms,
            marks: item.marks,
        }
    }

    /// Sets the marks of an entry, which stay until its value is replaced. All handles stay valid.
    ///
    /// # Panics
    /// If the handle is not valid any more, see [`Handle`].
    pub fn mark(&mut self, handle: Handle, marks: Marks) {
        self.assert_valid(handle);
        self.memory.item_mut(handle.entry).marks = marks;
    }

    /// Stores a value and returns its version. A write whose expiry has come already removes the key instead, and is a
    /// success with a version too. Makes room by evicting as many entries of the group as the new one needs: one or two
    /// of its own size, or at most one for every [`crate::limits::ENTRY_OVERHEAD_BYTES`] of a large one.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], which leaves an old value in its place and evicts nothing; or, if the condition does
    /// not hold, what [`Condition`] says.
    pub fn set(&mut self, key: Key<'_>, write: Write<'_>, now_ms: u64) -> Result<u64, StoreError> {
        self.end_run();
        let charge = self.charge(key, write.value.len())?;
        let found = self.find_present(key, now_ms);
        self.check(write.condition, found)?;
        let kept = found.map(|entry| self.memory.item(entry).expires_at_ms);
        let expires_at_ms = self.group(key).expires_at_ms(write.expiry, kept, now_ms);
        let stamp = Stamp { version: self.versions.next(now_ms), expires_at_ms, flags: write.flags, now_ms };
        self.group_mut(key).counters.sets += 1;
        let has_come = expires_at_ms != 0 && expires_at_ms <= now_ms;
        match found {
            Some(entry) if has_come => self.remove(entry, Reason::Deleted),
            None if has_come => {}
            Some(entry) => self.change(entry, Change::Whole(write.value), stamp, charge),
            None => self.insert(key, write.value, stamp, charge),
        }
        Ok(stamp.version)
    }

    /// Removes an entry, whatever its version (0), or only with this one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::VersionMismatch`].
    pub fn delete(&mut self, key: Key<'_>, version: u64, now_ms: u64) -> Result<(), StoreError> {
        self.end_run();
        let entry = self.find_present(key, now_ms).ok_or(StoreError::NotFound)?;
        if version != 0 && self.memory.item(entry).version != version {
            return Err(StoreError::VersionMismatch);
        }
        self.remove(entry, Reason::Deleted);
        self.group_mut(key).counters.deletes += 1;
        Ok(())
    }

    /// Sets when an entry expires; this is an access like a get, and the version stays. With a time that has come
    /// already the entry can be read through the handle, and is absent for the next call.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn touch(&mut self, key: Key<'_>, expiry: Expiry, now_ms: u64) -> Result<Handle, StoreError> {
        self.end_run();
        let handle = self.look_up(key, now_ms).ok_or(StoreError::NotFound)?;
        let kept = self.memory.item(handle.entry).expires_at_ms;
        let expires_at_ms = self.group(key).expires_at_ms(expiry, Some(kept), now_ms);
        self.memory.item_mut(handle.entry).expires_at_ms = expires_at_ms;
        self.sweep.note(expires_at_ms);
        Ok(handle)
    }

    /// Adds to a value that is a decimal integer, and returns the sum and its version. Flags and expiry stay. An absent
    /// key is created with `initial`, to which nothing is added, and `expiry`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the key is absent and there is no `initial`; [`StoreError::NotANumber`] for
    /// anything but an optional `-` and digits without leading zeros, in the range of `i64`;
    /// [`StoreError::OutOfRange`]; [`StoreError::TooLarge`].
    pub fn increment(
        &mut self,
        key: Key<'_>,
        delta: i64,
        initial: Option<i64>,
        expiry: Expiry,
        now_ms: u64,
    ) -> Result<(i64, u64), StoreError> {
        self.end_run();
        let Some(entry) = self.find_present(key, now_ms) else {
            let number = initial.ok_or(StoreError::NotFound)?;
            let value = Decimal::new(number);
            let write = Write { value: value.as_bytes(), expiry, ..Write::default() };
            return Ok((number, self.set(key, write, now_ms)?));
        };
        let number = number::parse(self.memory.item(entry).value()).ok_or(StoreError::NotANumber)?;
        let sum = number.checked_add(delta).ok_or(StoreError::OutOfRange)?;
        let value = Decimal::new(sum);
        let version = self.rewrite(key, entry, Change::Whole(value.as_bytes()), value.as_bytes().len(), now_ms)?;
        Ok((sum, version))
    }

    /// Adds bytes behind the value of an entry, and returns its new version. Flags and expiry stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::TooLarge`].
    pub fn append(&mut self, key: Key<'_>, value: &[u8], now_ms: u64) -> Result<u64, StoreError> {
        self.extend(key, Change::Append(value), value.len(), now_ms)
    }

    /// Adds bytes in front of the value of an entry, and returns its new version. Flags and expiry stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::TooLarge`].
    pub fn prepend(&mut self, key: Key<'_>, value: &[u8], now_ms: u64) -> Result<u64, StoreError> {
        self.extend(key, Change::Prepend(value), value.len(), now_ms)
    }

    /// Makes every later version of this store greater than this one, which another shard or node gave.
    ///
    /// # Errors
    /// If it is more than [`crate::limits::VERSION_AHEAD_MS_MAX`] ahead of `now_ms`; then nothing changes.
    pub fn raise_version(&mut self, version: u64, now_ms: u64) -> Result<(), VersionAhead> {
        self.versions.raise(version, now_ms)
    }

    /// What a group has counted.
    pub fn counters(&self, group: crate::GroupIndex) -> GroupCounters {
        let group = &self.groups[usize::from(group.0)];
        let (ghost_bytes, budget_bytes) = (group.ghost_bytes(), group.settings.budget_bytes);
        GroupCounters { ghost_bytes, budget_bytes, ..group.counters }
    }

    /// Who is told of removals.
    pub fn hook(&self) -> &H {
        &self.hook
    }

    /// Who is told of removals.
    pub fn hook_mut(&mut self) -> &mut H {
        &mut self.hook
    }
}

/// What the operations are made of.
impl<H: RemovalHook> Store<H> {
    /// Makes all handles invalid.
    pub(crate) fn end_run(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.run_ms = NO_RUN;
    }

    #[inline]
    fn assert_valid(&self, handle: Handle) {
        assert_eq!(handle.generation, self.generation, "a handle was used after the entries may have moved");
    }

    fn handle(&self, entry: u32) -> Handle {
        let item = self.memory.item(entry);
        Handle { entry, generation: self.generation, accessed_ms: item.accessed_ms, hit_before: item.hit }
    }

    fn group(&self, key: Key<'_>) -> &Group {
        &self.groups[usize::from(key.group.0)]
    }

    fn group_mut(&mut self, key: Key<'_>) -> &mut Group {
        &mut self.groups[usize::from(key.group.0)]
    }

    /// A get, in a run that has begun.
    #[inline]
    fn look_up(&mut self, key: Key<'_>, now_ms: u64) -> Option<Handle> {
        let Some(entry) = self.find_present(key, now_ms) else {
            self.group_mut(key).counters.misses += 1;
            return None;
        };
        let handle = self.handle(entry);
        let item = self.memory.item_mut(entry);
        (item.accessed_ms, item.hit) = (now_ms, true);
        let group = &mut self.groups[usize::from(key.group.0)];
        group.policy.access(&mut self.memory.nodes, entry);
        group.counters.hits += 1;
        Some(handle)
    }

    /// The entry of a key. One that is absent by now is removed.
    #[inline]
    fn find_present(&mut self, key: Key<'_>, now_ms: u64) -> Option<u32> {
        let entry = self.memory.find(key)?;
        match self.group(key).absence(self.memory.item(entry), now_ms) {
            None => Some(entry),
            Some(reason) => {
                self.remove(entry, reason);
                None
            }
        }
    }

    /// What an entry costs, if it is within all limits.
    fn charge(&self, key: Key<'_>, value_bytes: usize) -> Result<u32, StoreError> {
        if key.bytes.len() > KEY_BYTES_MAX || value_bytes > self.settings.value_bytes_max {
            return Err(StoreError::TooLarge);
        }
        self.group(key).charge(key.bytes.len(), value_bytes)
    }

    fn check(&self, condition: Condition, found: Option<u32>) -> Result<(), StoreError> {
        match (condition, found) {
            (Condition::Absent, Some(_)) => Err(StoreError::Exists),
            (Condition::Present | Condition::Version(_), None) => Err(StoreError::NotFound),
            (Condition::Version(version), Some(entry)) if self.memory.item(entry).version != version => {
                Err(StoreError::VersionMismatch)
            }
            _ => Ok(()),
        }
    }

    fn extend(&mut self, key: Key<'_>, change: Change<'_>, added: usize, now_ms: u64) -> Result<u64, StoreError> {
        self.end_run();
        let entry = self.find_present(key, now_ms).ok_or(StoreError::NotFound)?;
        let value_bytes = self.memory.item(entry).value().len().saturating_add(added);
        self.rewrite(key, entry, change, value_bytes, now_ms)
    }

    /// Changes the value of an entry that keeps its flags and expiry.
    fn rewrite(
        &mut self,
        key: Key<'_>,
        entry: u32,
        change: Change<'_>,
        value_bytes: usize,
        now_ms: u64,
    ) -> Result<u64, StoreError> {
        let charge = self.charge(key, value_bytes)?;
        let version = self.versions.next(now_ms);
        let item = self.memory.item(entry);
        let stamp = Stamp { version, expires_at_ms: item.expires_at_ms, flags: item.flags, now_ms };
        self.group_mut(key).counters.sets += 1;
        self.change(entry, change, stamp, charge);
        Ok(version)
    }

    fn insert(&mut self, key: Key<'_>, value: &[u8], stamp: Stamp, charge: u32) {
        let group = self.group_mut(key);
        let budget = group.settings.budget_bytes;
        let remembered = group.policy.admit(key.hash, charge, budget);
        group.counters.ghost_hits += u64::from(remembered);
        self.make_room(key.group, charge, NONE, stamp.now_ms);
        let entry = self.memory.insert(key, value, stamp, charge);
        let group = &mut self.groups[usize::from(key.group.0)];
        group.policy.insert(&mut self.memory.nodes, entry, budget);
        group.counters.entries += 1;
        group.counters.bytes += u64::from(charge);
        self.sweep.note(stamp.expires_at_ms);
    }

    /// Gives a present entry another value; to the policy, that is an access.
    fn change(&mut self, entry: u32, change: Change<'_>, stamp: Stamp, charge: u32) {
        self.report(entry, Reason::Replaced);
        self.memory.change(entry, change, stamp);
        self.sweep.note(stamp.expires_at_ms);
        let index = self.memory.item(entry).group().expect("a present entry is in a group");
        let group = &mut self.groups[usize::from(index.0)];
        group.policy.access(&mut self.memory.nodes, entry);
        let old = self.memory.nodes.charge(entry);
        if charge != old {
            group.policy.recharge(&mut self.memory.nodes, entry, charge);
            group.counters.bytes = group.counters.bytes - u64::from(old) + u64::from(charge);
            self.make_room(index, 0, entry, stamp.now_ms);
        }
    }

    /// Removes victims until an entry of this charge has room. Terminates because each step frees something, and the
    /// charge of any one entry is at most the budget.
    fn make_room(&mut self, index: crate::GroupIndex, charge: u32, keep: u32, now_ms: u64) {
        loop {
            let group = &mut self.groups[usize::from(index.0)];
            if group.has_room(charge) {
                return;
            }
            match group.policy.victim(&mut self.memory.nodes, keep, group.settings.budget_bytes) {
                Some(victim) => {
                    let absence = group.absence(self.memory.item(victim), now_ms);
                    self.remove(victim, absence.unwrap_or(Reason::Evicted));
                }
                None => assert!(group.policy.forget_ghost(), "a group without entries and ghosts has room"),
            }
        }
    }

    /// Removes an entry from everything.
    pub(crate) fn remove(&mut self, entry: u32, reason: Reason) {
        self.report(entry, reason);
        let item = self.memory.item(entry);
        let index = item.group().expect("a vacant item is not removed again");
        let departure = match reason {
            Reason::Evicted => Departure::Evicted { hash: item.hash() },
            _ => Departure::Removed,
        };
        let group = &mut self.groups[usize::from(index.0)];
        match reason {
            Reason::Evicted => group.counters.evictions += 1,
            Reason::Expired => group.counters.expirations += 1,
            Reason::Deleted | Reason::Replaced | Reason::Invalidated => {}
        }
        group.counters.entries -= 1;
        group.counters.bytes -= u64::from(self.memory.nodes.charge(entry));
        group.policy.remove(&mut self.memory.nodes, entry, departure, group.settings.budget_bytes);
        self.memory.remove(entry);
    }

    fn report(&mut self, entry: u32, reason: Reason) {
        if !H::ENABLED {
            return;
        }
        let item = self.memory.item(entry);
        let group = item.group().expect("only a present entry is reported");
        let removal = Removal { group, key: item.key(), reason, bytes: item.bytes(), version: item.version };
        self.hook.removed(removal);
    }
}

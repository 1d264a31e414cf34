//! The store's operations on entries. What writes are made of is in `writes`, groups and the
//! work on all entries are in `upkeep`.

use alloc::vec::Vec;

use crate::block::{self, Head, Stamp};
use crate::group::Group;
use crate::limits::{BASE_BACK_MS, MEMORY_BYTES_MIN, PREFETCH_HASHES, REGION_BYTES_MAX, VALUE_BYTES_MAX};
use crate::memory::{Change, Found, Memory};
use crate::number;
use crate::pages::Ahead;
use crate::policy::Replacement;
use crate::region::Ref;
use crate::version::VersionClock;
use crate::writes::Work;
use crate::{
    Entry, Expiry, GroupIndex, Handle, Key, Marks, NoHook, Reason, RemovalHook, StoreError, StoreSettings,
    TouchCondition, Value, VersionAhead, Write,
};

/// One shard's entries, in groups.
///
/// `now_ms` is the time in ms since the Unix epoch, and does not run backwards from one call to the next.
///
/// Versions have 64 bits: 44 of ms, 12 of counter, 8 of shard number. They are never 0, and each is greater than every
/// earlier one of this store, whatever the key.
///
/// # Panics
/// Every method that takes a [`GroupIndex`] or a [`Key`] panics if the group is not one of this store.
#[derive(Debug)]
pub struct Store<H: RemovalHook = NoHook> {
    pub(crate) settings: StoreSettings,
    pub(crate) hook: H,
    pub(crate) memory: Memory,
    pub(crate) groups: Vec<Group>,
    pub(crate) versions: VersionClock,
    pub(crate) work: Work,
    /// Counts the runs of handles that are valid together.
    generation: u32,
    /// The time of the gets of the present run, or [`NO_RUN`].
    run_ms: u64,
}

/// No get since the last operation that may have moved an entry.
const NO_RUN: u64 = u64::MAX;

impl<H: RemovalHook> Store<H> {
    /// A store without groups. It reserves its memory and touches little of it yet.
    ///
    /// # Panics
    /// If `settings.value_bytes_max` is above [`VALUE_BYTES_MAX`], or `settings.memory_bytes` is not from
    /// [`MEMORY_BYTES_MIN`] to [`REGION_BYTES_MAX`].
    pub fn new(settings: StoreSettings, hook: H) -> Self {
        let value_bytes_max = settings.value_bytes_max;
        assert!(value_bytes_max <= VALUE_BYTES_MAX, "value_bytes_max {value_bytes_max} is above {VALUE_BYTES_MAX}");
        let (memory_bytes, possible) = (settings.memory_bytes, MEMORY_BYTES_MIN..=REGION_BYTES_MAX);
        assert!(possible.contains(&memory_bytes), "memory_bytes {memory_bytes} is not within {possible:?}");
        let (memory, groups) = (Memory::new(&settings), Vec::new());
        let (versions, work) = (VersionClock::new(settings.shard), Work::default());
        Self { settings, hook, memory, groups, versions, work, generation: 0, run_ms: NO_RUN }
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
        let Found { entry, head } = self.memory.find(key)?;
        match self.absence_now(key.group, &head, entry, now_ms) {
            Some(_) => None,
            None => Some(self.handle(&head, entry, now_ms)),
        }
    }

    /// An entry whose time is over by less than [`Store::set_stale`] says; see [`Entry::expires_at_ms`]. It is absent for
    /// all other operations. Like [`Store::peek`], no access.
    pub fn stale(&self, key: Key<'_>, now_ms: u64) -> Option<Handle> {
        let Found { entry, head } = self.memory.find(key)?;
        let is_held = self.absence(key.group, &head, entry, now_ms).is_none();
        let is_over = self.absence_now(key.group, &head, entry, now_ms).is_some();
        (is_held && is_over).then(|| self.handle(&head, entry, now_ms))
    }

    /// What was stored under this version is as good as new: it expires as if it was stored now. If it is there still, be it
    /// stale.
    pub fn renew(&mut self, key: Key<'_>, version: u64, expiry: Expiry, now_ms: u64) -> Option<Handle> {
        self.end_run();
        let found = self.memory.find(key)?;
        let is_held = self.absence(key.group, &found.head, found.entry, now_ms).is_none();
        if !is_held || self.memory.frame.version(&found.head) != version {
            return None;
        }
        let seed = key.hash ^ version ^ now_ms;
        let expires_at_ms = self.group(key).expires_at_ms(expiry, None, seed, now_ms);
        self.expire_at(key, found, expires_at_ms, now_ms).ok()?;
        self.peek(key, now_ms)
    }

    /// To be stepped on a thread that may wait for the kernel, so that this one need not.
    pub fn pages_ahead(&self) -> Ahead {
        self.memory.region.ahead()
    }

    /// Asks the processor for all that operations on keys with these hashes will read, at once for all of them, so that
    /// they wait for memory three times instead of three times each: first for the lines of the index, then for the
    /// beginnings of the entries that are probably meant, then for the rest of them and the neighbours in their lists.
    /// Changes nothing; all handles stay valid.
    pub fn prefetch(&self, hashes: &[u64]) {
        for hashes in hashes.chunks(PREFETCH_HASHES) {
            let mut entries = [None; PREFETCH_HASHES];
            hashes.iter().for_each(|&hash| self.memory.prefetch_line(hash));
            for (entry, &hash) in entries.iter_mut().zip(hashes) {
                *entry = self.memory.prefetch_entry(hash);
            }
            entries.into_iter().flatten().for_each(|entry| self.memory.prefetch_rest(entry));
        }
    }

    /// The entry that was found.
    ///
    /// # Panics
    /// If the handle is not valid any more, see [`Handle`].
    #[inline(always)]
    pub fn entry(&self, handle: Handle) -> Entry<'_> {
        self.assert_valid(handle);
        let (region, entry) = (&self.memory.region, handle.entry);
        let head = Head::at(region, entry);
        let shape = head.shape(region, entry);
        let (key, first) = shape.key_and_first(region, entry);
        Entry {
            key,
            value: Value::with_first(region, entry, shape, first),
            flags: head.flags(),
            version: self.memory.frame.version(&head),
            expires_at_ms: self.groups[usize::from(head.group().0)]
                .time_over_ms(self.memory.frame.expires_at_ms(&head, region, entry)),
            hit_before: handle.before.hit(),
            last_access_ms: handle.before.accessed_ms(handle.now_ms),
            marks: head.marks(),
        }
    }

    /// Sets the marks of an entry, which stay until its value is replaced. All handles stay valid.
    ///
    /// # Panics
    /// If the handle is not valid any more, see [`Handle`].
    pub fn mark(&mut self, handle: Handle, marks: Marks) {
        self.assert_valid(handle);
        block::set_marks(&mut self.memory.region, handle.entry, marks);
    }

    /// Stores a value and returns its version. A write whose expiry has come already removes the key instead, and is a
    /// success with a version too. Makes room by evicting as many entries of the group as the new one needs: one or two
    /// of its own size, or at most one for every [`crate::limits::ENTRY_BYTES_MIN`] of a large one. When all memory is
    /// in use, it also evicts entries of the group that is closest to its budget, and moves others to empty segments:
    /// [`crate::limits`] says how many bytes for each byte stored.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], which leaves an old value in its place and evicts nothing; or, if the condition does
    /// not hold, what [`crate::Condition`] says.
    pub fn set(&mut self, key: Key<'_>, write: Write<'_>, now_ms: u64) -> Result<u64, StoreError> {
        self.end_run();
        let nominal = self.check_lengths(key, write.value.len())?;
        // If the key is absent this is read next; it comes while the index is waited for.
        self.group(key).policy.prefetch(&self.memory.region, key.hash);
        let found = self.find_present(key, now_ms);
        self.check(write.condition, found)?;
        if self.memory.frame.base_ms == 0 {
            self.memory.frame.base_ms = now_ms.saturating_sub(BASE_BACK_MS).max(1);
        }
        let kept = found.map(|found| self.group(key).time_over_ms(self.expires_at_ms(found)));
        let version = self.versions.next(now_ms);
        let expires_at_ms = self.group(key).expires_at_ms(write.expiry, kept, key.hash ^ version, now_ms);
        let held_until_ms = self.group(key).held_until_ms(expires_at_ms);
        let shape = self.check_expiry(key, nominal, held_until_ms)?;
        let stamp = Stamp { version, expires_at_ms: held_until_ms, flags: write.flags, now_ms };
        self.group_mut(key).counters.sets += 1;
        let has_come = expires_at_ms != 0 && expires_at_ms <= now_ms;
        match found {
            Some(found) if has_come => self.remove(found, Reason::Deleted),
            None if has_come => {}
            Some(found) => self.change(key, found, shape, Change::Whole(write.value), stamp),
            None => self.insert(key, write.value, shape, stamp),
        }
        Ok(version)
    }

    /// Removes an entry, whatever its version (0), or only with this one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::VersionMismatch`].
    pub fn delete(&mut self, key: Key<'_>, version: u64, now_ms: u64) -> Result<(), StoreError> {
        self.end_run();
        let found = self.find_present(key, now_ms).ok_or(StoreError::NotFound)?;
        if version != 0 && self.memory.frame.version(&found.head) != version {
            return Err(StoreError::VersionMismatch);
        }
        self.remove(found, Reason::Deleted);
        self.group_mut(key).counters.deletes += 1;
        Ok(())
    }

    /// Removes an entry because what it was made from is not valid any more: the load that stored it was overtaken, or
    /// its place has gone to another node. Whether there was one.
    pub fn void(&mut self, key: Key<'_>, now_ms: u64) -> bool {
        self.end_run();
        let found = self.find_present(key, now_ms);
        found.into_iter().for_each(|found| self.remove(found, Reason::Voided));
        found.is_some()
    }

    /// Sets when an entry expires; this is an access like a get, and the version stays. With a time that has come
    /// already the entry can be read through the handle, and is absent for the next call. A time that is decades ahead
    /// takes a few bytes more, for which room is made like for a write.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn touch(&mut self, key: Key<'_>, expiry: Expiry, now_ms: u64) -> Result<Handle, StoreError> {
        self.touch_if(key, expiry, TouchCondition::Always, now_ms)
    }

    /// The same for some entries only.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Exists`] if the entry is there and is none of those.
    pub fn touch_if(
        &mut self,
        key: Key<'_>,
        expiry: Expiry,
        only: TouchCondition,
        now_ms: u64,
    ) -> Result<Handle, StoreError> {
        self.end_run();
        let mut handle = self.look_up(key, now_ms).ok_or(StoreError::NotFound)?;
        let found = Found::at(&self.memory.region, handle.entry);
        let kept = self.group(key).time_over_ms(self.expires_at_ms(found));
        let seed = key.hash ^ self.memory.frame.version(&found.head) ^ now_ms;
        let expires_at_ms = self.group(key).expires_at_ms(expiry, Some(kept), seed, now_ms);
        if !only.holds(kept, expires_at_ms) {
            return Err(StoreError::Exists);
        }
        handle.entry = self.expire_at(key, found, expires_at_ms, now_ms)?;
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
        let Some(found) = self.find_present(key, now_ms) else {
            let number = initial.ok_or(StoreError::NotFound)?;
            let mut buffer = itoa::Buffer::new();
            let write = Write { value: buffer.format(number).as_bytes(), expiry, ..Write::default() };
            return Ok((number, self.set(key, write, now_ms)?));
        };
        let value = self.value(found).contiguous().ok_or(StoreError::NotANumber)?;
        let number = number::parse(value).ok_or(StoreError::NotANumber)?;
        let sum = number.checked_add(delta).ok_or(StoreError::OutOfRange)?;
        let mut buffer = itoa::Buffer::new();
        let value = buffer.format(sum).as_bytes();
        let version = self.rewrite(key, found, Change::Whole(value), value.len(), now_ms)?;
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

    /// Gives a key the value that `change` makes of its present one, which is empty if the key is absent, and returns its
    /// version. Flags and expiry of an entry stay; a new one expires as its group has it. Copies the value twice.
    ///
    /// # Errors
    /// What `change` says, and nothing was changed; [`StoreError::TooLarge`].
    pub fn update(
        &mut self,
        key: Key<'_>,
        now_ms: u64,
        change: impl FnOnce(&mut Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<u64, StoreError> {
        self.end_run();
        let mut value = Vec::new();
        let found = self.find_present(key, now_ms);
        found.into_iter().for_each(|found| self.value(found).copy_to(&mut value));
        change(&mut value)?;
        match found {
            Some(found) => self.rewrite(key, found, Change::Whole(&value), value.len(), now_ms),
            None => self.set(key, Write { value: &value, ..Write::default() }, now_ms),
        }
    }

    /// Makes every later version of this store greater than this one, which another shard or node gave.
    ///
    /// # Errors
    /// If it is more than [`crate::limits::VERSION_AHEAD_MS_MAX`] ahead of `now_ms`; then nothing changes.
    pub fn raise_version(&mut self, version: u64, now_ms: u64) -> Result<(), VersionAhead> {
        self.versions.raise(version, now_ms)
    }

    /// A version above all that this store has given: those that it gives later are greater, and others' too that are
    /// raised past it.
    pub fn fence(&mut self, now_ms: u64) -> u64 {
        self.versions.next(now_ms)
    }

    /// Makes every later version greater than any that was given before a time, which is ahead of `now_ms` by at most
    /// [`crate::limits::VERSION_AHEAD_MS_MAX`] or is taken to be.
    pub fn run_ahead(&mut self, to_ms: u64, now_ms: u64) {
        self.versions.run_ahead(to_ms, now_ms);
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
        assert!(handle.generation == self.generation, "a handle was used after the entries may have moved");
    }

    #[inline]
    pub(crate) fn handle(&self, head: &Head, entry: Ref, now_ms: u64) -> Handle {
        Handle { entry, generation: self.generation, now_ms, before: head.before() }
    }

    #[inline]
    pub(crate) fn group(&self, key: Key<'_>) -> &Group {
        &self.groups[usize::from(key.group.0)]
    }

    #[inline]
    pub(crate) fn group_mut(&mut self, key: Key<'_>) -> &mut Group {
        &mut self.groups[usize::from(key.group.0)]
    }

    #[inline]
    pub(crate) fn expires_at_ms(&self, Found { entry, head }: Found) -> u64 {
        self.memory.frame.expires_at_ms(&head, &self.memory.region, entry)
    }

    /// Has an entry expire then, and returns its place.
    fn expire_at(&mut self, key: Key<'_>, found: Found, expires_at_ms: u64, now_ms: u64) -> Result<Ref, StoreError> {
        // Who says that it is over wants it gone.
        let is_over = expires_at_ms != 0 && expires_at_ms <= now_ms;
        let held_until_ms = if is_over { expires_at_ms } else { self.group(key).held_until_ms(expires_at_ms) };
        if !found.head.is_wide() && self.memory.frame.needs_wide(key.group, held_until_ms) {
            return self.widen(key, found, held_until_ms, now_ms);
        }
        self.memory.set_expires_at_ms(found.entry, held_until_ms);
        Ok(found.entry)
    }

    pub(crate) fn value(&self, found: Found) -> Value<'_> {
        let region = &self.memory.region;
        Value::at(region, found.entry, found.shape(region))
    }

    /// Why an entry is to leave although it is in memory; `None`: it is present, or stale.
    #[inline]
    pub(crate) fn absence(&self, group: GroupIndex, head: &Head, entry: Ref, now_ms: u64) -> Option<Reason> {
        let frame = &self.memory.frame;
        let (version, held_until_ms) = (frame.version(head), frame.expires_at_ms(head, &self.memory.region, entry));
        self.groups[usize::from(group.0)].absence(version, held_until_ms, now_ms)
    }

    /// Why an entry is absent although it is in memory, stale or not; `None`: it is present.
    #[inline]
    pub(crate) fn absence_now(&self, group: GroupIndex, head: &Head, entry: Ref, now_ms: u64) -> Option<Reason> {
        let stale_ms = self.groups[usize::from(group.0)].stale_ms;
        self.absence(group, head, entry, now_ms.saturating_add(stale_ms))
    }

    /// A get, in a run that has begun.
    #[inline(always)]
    fn look_up(&mut self, key: Key<'_>, now_ms: u64) -> Option<Handle> {
        let Some(Found { entry, head }) = self.memory.find(key) else {
            self.group_mut(key).counters.misses += 1;
            return None;
        };
        if self.absence_now(key.group, &head, entry, now_ms).is_some() {
            if let Some(reason) = self.absence(key.group, &head, entry, now_ms) {
                self.remove(Found { entry, head }, reason);
            }
            self.group_mut(key).counters.misses += 1;
            return None;
        }
        head.access(&mut self.memory.region, entry, now_ms);
        let group = &mut self.groups[usize::from(key.group.0)];
        group.policy.access(&mut self.memory.region, entry, key.hash, group.budget);
        group.counters.hits += 1;
        Some(self.handle(&head, entry, now_ms))
    }

    /// The entry of a key. One that is absent by now is removed, also if it is stale.
    #[inline(always)]
    pub(crate) fn find_present(&mut self, key: Key<'_>, now_ms: u64) -> Option<Found> {
        let found = self.memory.find(key)?;
        match self.absence_now(key.group, &found.head, found.entry, now_ms) {
            None => Some(found),
            Some(reason) => {
                self.remove(found, reason);
                None
            }
        }
    }
}

//! What writes are made of: an entry comes, gets another value, or leaves.

use alloc::vec::Vec;

use crate::block::{self, Head, Header, Shape, Stamp};
use crate::limits::{KEY_BYTES_MAX, SWITCH_ENTRIES};
use crate::list::{self, NONE};
use crate::memory::{Change, Found, Memory};
use crate::policy::{Departure, Replacement};
use crate::region::Ref;
use crate::{Condition, GroupIndex, Key, Reason, Removal, RemovalHook, Store, StoreError, version};

/// What writes did beside writing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    /// The most bytes that one write moved.
    pub(crate) moved_bytes_max: u64,
    /// Entries evicted for want of memory.
    pub(crate) evictions: u64,
    /// The group that such entries are taken from, for so many more.
    pub(crate) pressed: (usize, u32),
}

impl<H: RemovalHook> Store<H> {
    /// The shape of an entry with these lengths that says no far time, if it is within all limits.
    #[inline]
    pub(crate) fn check_lengths(&self, key: Key<'_>, value_bytes: usize) -> Result<Shape, StoreError> {
        if key.bytes.len() > KEY_BYTES_MAX || value_bytes > self.settings.value_bytes_max {
            return Err(StoreError::TooLarge);
        }
        let header = self.group(key).header;
        match self.memory.small_shape(key.group, header, key.bytes.len(), value_bytes) {
            // What is small is within all limits but perhaps this one.
            Some(shape) => match u64::from(self.charge(key, shape)) <= self.group(key).settings.budget_bytes {
                true => Ok(shape),
                false => Err(StoreError::TooLarge),
            },
            None => {
                let shape = self.memory.shape(key.group, header, key.bytes.len(), value_bytes);
                self.check_shape(key, shape)?;
                Ok(shape)
            }
        }
    }

    /// The same shape, or a wide one if the entry expires at a time that calls for it, within all limits too.
    #[inline]
    pub(crate) fn check_expiry(&self, key: Key<'_>, shape: Shape, expires_at_ms: u64) -> Result<Shape, StoreError> {
        if shape.header.covers(Header::WIDE) || !self.memory.frame.needs_wide(key.group, expires_at_ms) {
            return Ok(shape);
        }
        let shape = shape.with(Header::WIDE);
        self.check_shape(key, shape)?;
        Ok(shape)
    }

    /// Whether an entry of this shape is within all limits.
    pub(crate) fn check_shape(&self, key: Key<'_>, shape: Shape) -> Result<(), StoreError> {
        let segment_bytes = self.memory.region.segment_bytes();
        let fits = shape.block_bytes(segment_bytes) <= segment_bytes
            && shape.total_bytes(segment_bytes) <= self.memory.entry_bytes_max()
            && u64::from(self.charge(key, shape)) <= self.group(key).settings.budget_bytes;
        if fits { Ok(()) } else { Err(StoreError::TooLarge) }
    }

    /// What an entry of this shape costs.
    #[inline]
    fn charge(&self, key: Key<'_>, shape: Shape) -> u32 {
        list::charge_of(shape, self.memory.region.segment_bytes(), self.group(key).settings.charge)
    }

    #[inline]
    pub(crate) fn check(&self, condition: Condition, found: Option<Found>) -> Result<(), StoreError> {
        match (condition, found) {
            (Condition::Absent, Some(_)) => Err(StoreError::Exists),
            (Condition::Present | Condition::Version(_), None) => Err(StoreError::NotFound),
            (Condition::Version(version), Some(found)) if self.memory.frame.version(&found.head) != version => {
                Err(StoreError::VersionMismatch)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn extend(
        &mut self,
        key: Key<'_>,
        change: Change<'_>,
        added: usize,
        now_ms: u64,
    ) -> Result<u64, StoreError> {
        self.end_run();
        let found = self.find_present(key, now_ms).ok_or(StoreError::NotFound)?;
        let value_bytes = self.value(found).len().saturating_add(added);
        self.rewrite(key, found, change, value_bytes, now_ms)
    }

    /// Changes the value of an entry that keeps its flags and expiry.
    pub(crate) fn rewrite(
        &mut self,
        key: Key<'_>,
        found: Found,
        change: Change<'_>,
        value_bytes: usize,
        now_ms: u64,
    ) -> Result<u64, StoreError> {
        let shape = self.check_lengths(key, value_bytes)?;
        let (expires_at_ms, flags) = (self.expires_at_ms(found), found.head.flags());
        let shape = self.check_expiry(key, shape, expires_at_ms)?;
        let version = self.versions.next(now_ms);
        self.group_mut(key).counters.sets += 1;
        self.change(key, found, shape, change, Stamp { version, expires_at_ms, flags, now_ms });
        Ok(version)
    }

    pub(crate) fn insert(&mut self, key: Key<'_>, value: &[u8], shape: Shape, stamp: Stamp) {
        let charge = self.charge(key, shape);
        let group = &mut self.groups[usize::from(key.group.0)];
        let remembered = group.policy.admit(&mut self.memory.region, key.hash, charge, group.budget);
        group.counters.ghost_hits += u64::from(remembered);
        let shrunk = group.shrink_by(2 * u64::from(charge));
        self.make_room(key.group, charge, NONE, stamp.now_ms, shrunk);
        self.make_log_room(key.group, shape, NONE, stamp.now_ms);
        let entry = self.memory.write(key, shape, value, stamp);
        while let Err(crowded) = self.memory.enter(key.hash, entry) {
            self.evict(crowded.victim, stamp.now_ms);
        }
        let group = &mut self.groups[usize::from(key.group.0)];
        group.policy.insert(&mut self.memory.region, entry, charge, group.budget);
        group.counters.entries += 1;
        group.counters.bytes += u64::from(charge);
        for _ in 0..SWITCH_ENTRIES {
            if self.take_over(key.group, stamp.now_ms).is_none() {
                break;
            }
        }
    }

    /// The policy of a group takes over one more entry of the former one, if there is one; what that costs more then. An
    /// entry whose header does not have what the policy keeps is written anew, or evicted.
    pub(crate) fn take_over(&mut self, index: GroupIndex, now_ms: u64) -> Option<u64> {
        let group = &mut self.groups[usize::from(index.0)];
        let Some(entry) = group.next_to_take_over(&mut self.memory) else {
            group.finish_switch();
            return None;
        };
        let header = group.settings.policy.kind().header();
        let head = Head::at(&self.memory.region, entry);
        if head.shape(&self.memory.region, entry).header.covers(header) {
            group.take_over(&mut self.memory, entry);
            return Some(0);
        }
        let Some((entry, grown)) = self.widen_to_take_over(index, entry, head, header, now_ms) else { return Some(0) };
        self.groups[usize::from(index.0)].take_over(&mut self.memory, entry);
        Some(grown)
    }

    /// Writes an entry anew with a header that can do more, if there is room for it: its place, and what it costs more.
    /// Otherwise it goes, being the next that would, and nobody else has to.
    fn widen_to_take_over(
        &mut self,
        index: GroupIndex,
        entry: Ref,
        head: Head,
        header: Header,
        now_ms: u64,
    ) -> Option<(Ref, u64)> {
        let region = &self.memory.region;
        let old = head.shape(region, entry);
        let shape = old.with(header);
        let bytes = Vec::from(block::key(region, entry));
        let key = Key { group: index, hash: self.memory.hashes.of(region, entry), bytes: &bytes };
        let grown = self.charge(key, shape) - self.charge(key, old);
        let fits = self.check_shape(key, shape).is_ok() && self.group(key).has_room(grown);
        if !fits || !self.memory.has_room(shape) {
            self.evict(entry, now_ms);
            return None;
        }
        let (version, flags) = (self.memory.frame.version(&head), head.flags());
        let expires_at_ms = self.memory.frame.expires_at_ms(&head, region, entry);
        let state = block::state(region, entry);
        let stamp = Stamp { version, expires_at_ms, flags, now_ms };
        let entry = self.memory.rewrite(key, entry, shape, Change::Append(&[]), stamp);
        block::restore_state(&mut self.memory.region, entry, state);
        self.groups[usize::from(index.0)].policy.moved(&mut self.memory.region, entry);
        self.recharge(key, entry, [old, shape]);
        Some((entry, grown.into()))
    }

    /// Gives a present entry another value; to the policy, that is an access.
    #[inline]
    pub(crate) fn change(&mut self, key: Key<'_>, found: Found, shape: Shape, change: Change<'_>, stamp: Stamp) {
        self.report(found, Reason::Replaced);
        self.group_mut(key).counters.replacements += 1;
        let old = found.shape(&self.memory.region);
        let fits = shape.with(old.header) == old;
        if let Change::Whole(value) = change
            && fits
        {
            self.memory.overwrite(found, old, value, stamp);
            let group = &mut self.groups[usize::from(key.group.0)];
            return group.policy.access(&mut self.memory.region, found.entry, key.hash, group.budget);
        }
        let entry = self.relocate(key, found.entry, shape, change, stamp);
        // In this order, because an access may take the entry, and its charge, to another list.
        let charge = self.recharge(key, entry, [old, shape]);
        let group = &mut self.groups[usize::from(key.group.0)];
        group.policy.access(&mut self.memory.region, entry, key.hash, group.budget);
        self.settle(key, entry, charge, stamp.now_ms);
    }

    /// Makes the header of an entry able to say that it expires decades from now.
    pub(crate) fn widen(
        &mut self,
        key: Key<'_>,
        found: Found,
        expires_at_ms: u64,
        now_ms: u64,
    ) -> Result<Ref, StoreError> {
        let head = found.head;
        let old = found.shape(&self.memory.region);
        let shape = old.with(Header::WIDE);
        self.check_shape(key, shape)?;
        let (version, flags) = (self.memory.frame.version(&head), head.flags());
        let stamp = Stamp { version, expires_at_ms, flags, now_ms };
        let entry = self.relocate(key, found.entry, shape, Change::Append(&[]), stamp);
        block::set_marks(&mut self.memory.region, entry, head.marks());
        Head::at(&self.memory.region, entry).access(&mut self.memory.region, entry, now_ms);
        let charge = self.recharge(key, entry, [old, shape]);
        Ok(self.settle(key, entry, charge, now_ms))
    }

    /// Writes an entry anew, in another shape, and returns its new place.
    fn relocate(&mut self, key: Key<'_>, entry: Ref, shape: Shape, change: Change<'_>, stamp: Stamp) -> Ref {
        let entry = self.make_log_room(key.group, shape, entry, stamp.now_ms);
        let entry = self.memory.rewrite(key, entry, shape, change, stamp);
        self.groups[usize::from(key.group.0)].policy.moved(&mut self.memory.region, entry);
        entry
    }

    /// Takes account of an entry that costs something else from now on: what, if it does.
    fn recharge(&mut self, key: Key<'_>, entry: Ref, shapes: [Shape; 2]) -> Option<u32> {
        let [old, charge] = shapes.map(|shape| self.charge(key, shape));
        if charge == old {
            return None;
        }
        let group = &mut self.groups[usize::from(key.group.0)];
        group.policy.recharge(&self.memory.region, entry, old, charge);
        group.counters.bytes = group.counters.bytes - u64::from(old) + u64::from(charge);
        Some(charge)
    }

    /// Makes room for what an entry costs from now on, and returns its place.
    fn settle(&mut self, key: Key<'_>, entry: Ref, charge: Option<u32>, now_ms: u64) -> Ref {
        if let Some(charge) = charge {
            let group = &mut self.groups[usize::from(key.group.0)];
            let shrunk = group.shrink_by(u64::from(charge));
            self.make_room(key.group, 0, entry, now_ms, shrunk);
        }
        entry
    }

    /// Removes victims until an entry of this charge has room, in a group whose budget may have `shrunk` before, and
    /// returns how many were evicted. Terminates because each step frees something, and the charge of any one entry is
    /// at most the budget.
    pub(crate) fn make_room(&mut self, index: GroupIndex, charge: u32, keep: Ref, now_ms: u64, shrunk: bool) -> u64 {
        let (mut evicted, number) = (0, usize::from(index.0));
        while !self.groups[number].has_room(charge) {
            let group = &mut self.groups[number];
            let Memory { region, hashes, .. } = &mut self.memory;
            match group.policy.victim(region, hashes, keep, group.budget) {
                Some(victim) => evicted += u64::from(self.evict(victim, now_ms)),
                None => {
                    let forgotten = group.policy.forget_ghost(&mut self.memory.region);
                    assert!(forgotten, "a group without entries and ghosts has room");
                }
            }
        }
        if shrunk {
            let group = &mut self.groups[number];
            group.policy.shrink(&mut self.memory.region, group.budget);
        }
        evicted
    }

    /// Removes a victim; whether it was there until now.
    pub(crate) fn evict(&mut self, victim: Ref, now_ms: u64) -> bool {
        let found = Found::at(&self.memory.region, victim);
        let group = found.head.group();
        let absence = self.absence(group, &found.head, victim, now_ms);
        if absence.is_none() {
            let counters = &mut self.groups[usize::from(group.0)].counters;
            let written_ms = version::version_ms(self.memory.frame.version(&found.head));
            counters.eviction_age_ms += now_ms.saturating_sub(written_ms);
        }
        self.remove(found, absence.unwrap_or(Reason::Evicted));
        absence.is_none()
    }

    /// Removes an entry from everything.
    pub(crate) fn remove(&mut self, found: Found, reason: Reason) {
        self.report(found, reason);
        let region = &self.memory.region;
        let (index, hash) = (found.head.group(), self.memory.hashes.of_found(region, found));
        let shape = found.shape(region);
        self.memory.prefetch_line(hash);
        let region = &self.memory.region;
        let group = &mut self.groups[usize::from(index.0)];
        let departure = match reason {
            Reason::Evicted => {
                group.policy.prefetch(region, hash);
                Departure::Evicted { hash }
            }
            _ => Departure::Removed,
        };
        match reason {
            Reason::Evicted => group.counters.evictions += 1,
            Reason::Expired => group.counters.expirations += 1,
            Reason::Invalidated => group.counters.invalidations += 1,
            Reason::Voided => group.counters.voids += 1,
            Reason::Deleted | Reason::Replaced => {}
        }
        group.counters.entries -= 1;
        group.counters.invalid -= u64::from(self.memory.frame.version(&found.head) <= group.floor);
        let charge = list::charge_of(shape, region.segment_bytes(), group.settings.charge);
        group.counters.bytes -= u64::from(charge);
        group.policy.remove(&mut self.memory.region, found.entry, charge, departure, group.budget);
        self.memory.remove(hash, found.entry, shape);
    }

    #[inline]
    fn report(&mut self, found: Found, reason: Reason) {
        if H::ENABLED && self.hook.listens() {
            self.tell(found, reason);
        }
    }

    /// Not inlined, so that a store to which nobody listens has none of this in its way.
    #[cold]
    fn tell(&mut self, found: Found, reason: Reason) {
        let region = &self.memory.region;
        let shape = found.shape(region);
        let bytes = (shape.key_bytes + shape.value_bytes) as u64;
        let (group, version) = (found.head.group(), self.memory.frame.version(&found.head));
        let (key, _) = shape.key_and_first(region, found.entry);
        let removal = Removal { group, key, reason, bytes, version };
        self.hook.removed(removal);
    }
}

//! Operations with all that the meta commands of memcached can say (`doc/protocol.txt` of memcached 1.6). An entry that is to be
//! made anew is filled by one client: by whoever is told first that it is stale, or will soon be over, or is not there. The
//! last is a lease, the same that `lease_get` gives, and not an entry without a value as in memcached: who does not know of
//! it finds nothing, rather than nothing where a value should be.

use larder_protocol::{Claim, Command, Condition, Expiry, Found, Looked, Meta, MetaAction, Reply, Value, Write};
use larder_store::{Key, Marks, RemovalHook, StoreError};

use crate::absent::Named;
use crate::failures;
use crate::flights::Lease;
use crate::groups::Group;
use crate::limits::LEASE_MS_MAX;
use crate::local::Local;
use crate::terms::expiry_of;

/// What a change has led to.
enum Changed {
    /// The entry has this version.
    To(u64),
    /// There is none any more.
    Gone,
}

impl<H: RemovalHook> Local<H> {
    /// Executes an operation on a key of this shard.
    #[cold]
    pub(crate) fn meta(&mut self, group: Group, key: Key<'_>, meta: &Meta<'_>, now_ms: u64) -> Reply<'_> {
        let named = Named { group: key.group.0, hash: key.hash, key: key.bytes };
        if meta.action == MetaAction::Get {
            return match self.store.peek(key, now_ms) {
                Some(_) => self.meta_get(key, meta, now_ms),
                None => {
                    if !meta.is_unseen {
                        // It counts as a miss, and what is over goes.
                        let _ = self.store.get(key, now_ms);
                    }
                    self.meta_lease(group, named, meta, now_ms)
                }
            };
        }
        if let MetaAction::AddTo | MetaAction::TakeFrom = meta.action {
            return match self.meta_count(named, key, meta, now_ms) {
                Ok(looked) => Reply::Looked(looked),
                Err(StoreError::NotFound) => Reply::Miss,
                Err(error) => Reply::Failed(failures::of_store(error)),
            };
        }
        let changed = match meta.action {
            MetaAction::Append | MetaAction::Prepend => self.meta_extend(key, meta, now_ms),
            MetaAction::Delete | MetaAction::Clear => self.meta_delete(group, named, key, meta, now_ms),
            _ => self.meta_set(named, key, meta, now_ms),
        };
        match changed {
            Ok(Changed::Gone) => Reply::Done,
            Ok(Changed::To(version)) => {
                self.flights.changed(named);
                if meta.new_version != 0 {
                    self.names.put(version, meta.new_version);
                }
                let version = self.names.told(version);
                match meta.action {
                    MetaAction::Delete | MetaAction::Clear => Reply::Done,
                    MetaAction::Append | MetaAction::Prepend => self.resized(key, version, now_ms),
                    _ => Reply::Resized { version, value_bytes: meta.value.len() as u64 },
                }
            }
            Err(StoreError::NotFound) => Reply::Miss,
            Err(error) => Reply::Failed(failures::of_store(error)),
        }
    }

    /// Tells of an entry that is there.
    fn meta_get(&mut self, key: Key<'_>, meta: &Meta<'_>, now_ms: u64) -> Reply<'_> {
        let before = self.store.peek(key, now_ms).expect("it was just there");
        let entry = self.store.entry(before);
        let (marks, expires_at_ms) = (entry.marks, entry.expires_at_ms);
        let found = match meta.expiry {
            Expiry::Keep if meta.is_unseen => Ok(before),
            Expiry::Keep => self.store.get(key, now_ms).ok_or(StoreError::NotFound),
            expiry => self.store.touch(key, expiry_of(expiry), now_ms),
        };
        let handle = match found {
            Ok(handle) => handle,
            Err(error) => return Reply::Failed(failures::of_store(error)),
        };
        let until_ms = if meta.is_early_after { self.store.entry(handle).expires_at_ms } else { expires_at_ms };
        let is_early = until_ms != 0 && until_ms.saturating_sub(now_ms) < meta.early_ms;
        let claim = match (marks.won, marks.stale || is_early) {
            (true, _) => Claim::Taken,
            (false, true) => Claim::Won,
            (false, false) => Claim::Nobody,
        };
        if claim == Claim::Won {
            self.store.mark(handle, Marks { won: true, ..marks });
        }
        let mut looked = self.looked(handle, meta.wants_value, now_ms);
        looked.claim = claim;
        looked.entry.is_stale = marks.stale;
        looked.entry.ttl_ms = left_ms(expires_at_ms, now_ms);
        Reply::Looked(looked)
    }

    /// Tells who fills a key that is not there.
    fn meta_lease(&mut self, group: Group, named: Named<'_>, meta: &Meta<'_>, now_ms: u64) -> Reply<'_> {
        self.flights.end_over(named, now_ms);
        let (lease, claim) = if let Some(lease) = self.flights.take_lease(named, now_ms) {
            (lease, Claim::Won)
        } else if let Some(lease) = self.flights.lease_of(named, now_ms) {
            (lease, Claim::Taken)
        } else if let Some(created) = meta.created.filter(|_| self.flights.of(named, now_ms).is_none()) {
            let longest_ms = now_ms.saturating_add(LEASE_MS_MAX.into());
            let until_ms = match created {
                Expiry::After(ms) => now_ms.saturating_add(ms).min(longest_ms),
                Expiry::At(at_ms) => at_ms.clamp(now_ms + 1, longest_ms),
                _ => longest_ms,
            };
            let token = if meta.new_version == 0 { self.store.fence(now_ms) } else { meta.new_version };
            let lease = Lease { token, until_ms, is_stale: false, is_held: true };
            if !self.flights.lease(group, (named.hash, named.key), lease, now_ms) {
                return Reply::Failed(&failures::FLIGHTS_FULL);
            }
            (lease, Claim::Won)
        } else {
            return Reply::Miss;
        };
        let Lease { token: version, until_ms, is_stale, .. } = lease;
        let ttl_ms = until_ms.saturating_sub(now_ms).max(1);
        let entry = Found { value: Value::Whole(&[]), flags: 0, version, ttl_ms, is_stale };
        let (value_bytes, expires_at_ms, accessed_ms, is_hit) = (0, until_ms, now_ms, false);
        Reply::Looked(Looked { entry, value_bytes, expires_at_ms, accessed_ms, is_hit, claim })
    }

    fn meta_set(
        &mut self,
        named: Named<'_>,
        key: Key<'_>,
        meta: &Meta<'_>,
        now_ms: u64,
    ) -> Result<Changed, StoreError> {
        let mut write = larder_store::Write { value: meta.value, flags: meta.flags, ..larder_store::Write::default() };
        write.expiry = expiry_of(meta.expiry);
        let mut marks = Marks::default();
        match (meta.action, meta.version, self.store.peek(key, now_ms)) {
            (MetaAction::Add, ..) => write.condition = larder_store::Condition::Absent,
            (MetaAction::Replace, 0, _) => write.condition = larder_store::Condition::Present,
            (_, 0, _) => {}
            (_, wanted, Some(handle)) => {
                let entry = self.store.entry(handle);
                if !self.names.mean(entry.version, wanted) {
                    if !meta.is_stale || wanted > self.names.told(entry.version) {
                        return Err(StoreError::VersionMismatch);
                    }
                    marks = Marks { stale: true, won: entry.marks.won };
                    write.expiry = larder_store::Expiry::Keep;
                }
            }
            (_, wanted, None) => match self.flights.lease_of(named, now_ms) {
                Some(lease) if lease.token == wanted => {}
                Some(_) => return Err(StoreError::VersionMismatch),
                None => return Err(StoreError::NotFound),
            },
        }
        let version = self.store.set(key, write, now_ms)?;
        if marks.stale {
            let handle = self.store.peek(key, now_ms).expect("it keeps the time of one that is there");
            self.store.mark(handle, marks);
        }
        Ok(Changed::To(version))
    }

    fn meta_extend(&mut self, key: Key<'_>, meta: &Meta<'_>, now_ms: u64) -> Result<Changed, StoreError> {
        if !self.has_version(key, meta.version, now_ms)? {
            let expiry = expiry_of(meta.created.ok_or(StoreError::NotFound)?);
            let (value, flags) = (meta.value, meta.flags);
            let write = larder_store::Write { value, flags, expiry, ..Default::default() };
            return self.store.set(key, write, now_ms).map(Changed::To);
        }
        let version = match meta.action {
            MetaAction::Append => self.store.append(key, meta.value, now_ms),
            _ => self.store.prepend(key, meta.value, now_ms),
        };
        version.map(Changed::To)
    }

    fn meta_delete(
        &mut self,
        group: Group,
        named: Named<'_>,
        key: Key<'_>,
        meta: &Meta<'_>,
        now_ms: u64,
    ) -> Result<Changed, StoreError> {
        if !self.has_version(key, meta.version, now_ms)? {
            let lease = self.flights.lease_of(named, now_ms);
            if lease.is_some_and(|lease| meta.version != 0 && meta.version != lease.token) {
                return Err(StoreError::VersionMismatch);
            }
            // Whoever is about to fill the key may have read what is not so any more.
            self.flights.changed(named);
            let lease = lease.ok_or(StoreError::NotFound)?;
            if meta.is_stale {
                let token = if meta.new_version == 0 { self.store.fence(now_ms) } else { meta.new_version };
                let next = Lease { token, is_stale: true, is_held: false, ..lease };
                self.flights.lease(group, (named.hash, named.key), next, now_ms);
            }
            return Ok(Changed::Gone);
        }
        let version = match (meta.action, meta.is_stale) {
            (MetaAction::Clear, _) => {
                let expiry = expiry_of(meta.expiry);
                let write = larder_store::Write { flags: meta.flags, expiry, ..Default::default() };
                self.store.set(key, write, now_ms)?
            }
            (_, false) => {
                self.store.delete(key, 0, now_ms)?;
                self.flights.changed(named);
                return Ok(Changed::Gone);
            }
            (_, true) => {
                // Nothing is added: it has a new version then.
                let version = self.store.append(key, &[], now_ms)?;
                if meta.expiry != Expiry::Keep {
                    self.store.touch(key, expiry_of(meta.expiry), now_ms)?;
                }
                version
            }
        };
        if meta.is_stale
            && let Some(handle) = self.store.peek(key, now_ms)
        {
            self.store.mark(handle, Marks { stale: true, won: false });
        }
        Ok(Changed::To(version))
    }

    /// Counts, and tells the number, also if its time is over then.
    fn meta_count(
        &mut self,
        named: Named<'_>,
        key: Key<'_>,
        meta: &Meta<'_>,
        now_ms: u64,
    ) -> Result<Looked<Found<'_>>, StoreError> {
        self.has_version(key, meta.version, now_ms)?;
        let before = self.store.peek(key, now_ms).map(|handle| self.store.entry(handle));
        let before = before.map(|entry| (entry.expires_at_ms, entry.marks));
        // What it is created with is set below, so that it can be told if that is over.
        let created = meta.created.map(|_| (meta.initial, larder_store::Expiry::Never));
        let step = (meta.delta, meta.action == MetaAction::TakeFrom, 0);
        let version = self.count(key, step, created, now_ms)?;
        self.flights.changed(named);
        if meta.new_version != 0 {
            self.names.put(version, meta.new_version);
        }
        let expiry = if before.is_some() { meta.expiry } else { meta.created.unwrap_or_default() };
        let handle = match expiry {
            Expiry::Keep => self.store.peek(key, now_ms).ok_or(StoreError::NotFound)?,
            expiry => self.store.touch(key, expiry_of(expiry), now_ms)?,
        };
        // A number made of what is not right is not right.
        if let Some((_, marks)) = before.filter(|(_, marks)| *marks != Marks::default()) {
            self.store.mark(handle, marks);
        }
        let mut looked = self.looked(handle, true, now_ms);
        if let Some((expired_at_ms, _)) = before {
            looked.entry.ttl_ms = left_ms(expired_at_ms, now_ms);
        }
        Ok(looked)
    }

    /// Whether a key is there, with the version that is wanted.
    fn has_version(&self, key: Key<'_>, wanted: u64, now_ms: u64) -> Result<bool, StoreError> {
        match self.store.peek(key, now_ms) {
            None => Ok(false),
            Some(handle) => match wanted == 0 || self.names.mean(self.store.entry(handle).version, wanted) {
                true => Ok(true),
                false => Err(StoreError::VersionMismatch),
            },
        }
    }

    /// A command with the version that the store has for the one that it names.
    #[cold]
    pub(crate) fn by_store<'a>(&self, key: Key<'_>, command: &Command<'a>, now_ms: u64) -> Command<'a> {
        let mut command = *command;
        let named = match &mut command {
            Command::Set(Write { condition: Condition::Version(version), .. })
            | Command::LeaseSet { write: Write { condition: Condition::Version(version), .. }, .. }
            | Command::Delete { version, .. }
            | Command::Count { version, .. }
            | Command::Check { version, .. } => version,
            _ => return command,
        };
        *named = self.version_by_store(key, *named, now_ms);
        command
    }

    /// The version that the store has for one that was named.
    pub(crate) fn version_by_store(&self, key: Key<'_>, named: u64, now_ms: u64) -> u64 {
        if named == 0 || self.names.are_none() {
            return named;
        }
        let version = self.store.peek(key, now_ms).map(|handle| self.store.entry(handle).version);
        version.filter(|version| self.names.mean(*version, named)).unwrap_or(named)
    }
}

/// What is left of a life until then, as replies have it.
fn left_ms(expires_at_ms: u64, now_ms: u64) -> u64 {
    if expires_at_ms == 0 { 0 } else { expires_at_ms.saturating_sub(now_ms).max(1) }
}

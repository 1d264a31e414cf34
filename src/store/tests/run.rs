//! Operations on a store and on a plain model, compared after every one.
//!
//! The model is a map of entries and, for `lru`, their exact order. It learns of removals from the hook only, and holds
//! each against what it knows: so an entry that leaves silently, twice, for a wrong reason or out of turn is found.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use larder_store::{
    Charge, Condition, Entry, Expiry, GroupCounters, GroupIndex, GroupSettings, Key, Marks, PolicyKind, PolicySettings,
    Reason, Store, StoreError, StoreSettings, Write,
};

use crate::operation::{KEYS, Operation, Place, Time, When, Which, key_bytes, key_hash};
use crate::plain::{Cause, Held, ModelGroup, Outcome, Recorder};
use crate::setup::Setup;

const SHARD: u8 = 0x5A;
const START_MS: u64 = 1_000_000;

pub(crate) struct Run {
    setup: Setup,
    pub(crate) store: Store<Recorder>,
    pub(crate) groups: Vec<ModelGroup>,
    now_ms: u64,
    version: u64,
    /// What failures say first.
    pub(crate) context: String,
}

/// The scan of a group that is under way.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    cursor: u64,
    /// The keys that were there throughout and were not shown yet.
    missing: HashSet<Vec<u8>>,
}

impl Run {
    pub(crate) fn new(setup: Setup) -> Self {
        let Setup { value_bytes_max, memory_bytes, hashes, is_tight, .. } = setup;
        let settings = StoreSettings { shard: SHARD, value_bytes_max, memory_bytes, key_hash };
        let mut store = Store::new(settings, Recorder::default());
        let piece_bytes = (store.memory().segment_bytes as usize / 64).clamp(4096, 16384);
        let entry_bytes_max = store.entry_bytes_max();
        let mut groups = Vec::new();
        for (index, (policy, charge, budget_bytes, ttl_ms, ttl_jitter)) in setup.groups.into_iter().enumerate() {
            let (name, hash_seed) = (index.to_string(), hashes);
            let settings =
                GroupSettings { name, budget_bytes, policy: policy.into(), ttl_ms, ttl_jitter, hash_seed, charge };
            assert_eq!(store.create_group(settings.clone()), Ok(GroupIndex(index as u16)));
            groups.push(ModelGroup {
                settings,
                piece_bytes,
                entry_bytes_max,
                budget_before: budget_bytes,
                is_tight,
                was_switched: false,
                has_memos: false,
                // Where a few hashes belong to all keys, there is no room in the index for them, and one goes.
                is_crowded: hashes < u64::from(KEYS) / 4,
                floor: 0,
                generation: 0,
                held: HashMap::new(),
                order: Vec::new(),
                scan: None,
                counters: GroupCounters { budget_bytes, ..GroupCounters::default() },
                removals: HashMap::new(),
            });
        }
        Self { setup, store, groups, now_ms: START_MS, version: 0, context: String::new() }
    }

    /// Executes one operation, and compares everything.
    pub(crate) fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Wait { ms } => self.now_ms += u64::from(ms),
            Operation::Get(place) => self.get(place),
            Operation::GetMany { group, ref keys } => self.get_many(group, keys),
            Operation::Set { place, content, flags, when, time } => {
                self.set(place, content.bytes(self.setup.value_bytes_max), flags, when, time);
            }
            Operation::Delete { place, which } => self.delete(place, which),
            Operation::Touch { place, time } => self.touch(place, time),
            Operation::Increment { place, delta, initial, time } => self.increment(place, delta, initial, time),
            Operation::Extend { place, content, front } => {
                self.extend(place, &content.bytes(self.setup.value_bytes_max), front);
            }
            Operation::Mark { place, stale, won } => self.mark(place, Marks { stale, won }),
            Operation::Scan { group, count } => self.scan(group, usize::from(count)),
            Operation::Reclaim { steps } => self.reclaim(usize::from(steps)),
            Operation::SetBudget { group, part } => self.set_budget(group, part),
            Operation::Invalidate { group } => self.invalidate(group),
            Operation::Void(place) => self.void(place),
            Operation::SetPolicy { group, policy } => self.set_policy(group, policy),
        }
        self.compare();
    }

    fn place<'a>(&self, group: u8, bytes: &'a [u8]) -> Key<'a> {
        Key { group: GroupIndex(u16::from(group)), hash: key_hash(self.setup.hashes, bytes), bytes }
    }

    fn expiry(&self, time: Time) -> Expiry {
        match time {
            Time::Default => Expiry::Default,
            Time::Never => Expiry::Never,
            Time::After { ms } => Expiry::After(u64::from(ms)),
            Time::At { ms } => Expiry::At(self.now_ms.saturating_add_signed(i64::from(ms))),
            Time::Keep => Expiry::Keep,
        }
    }

    fn get(&mut self, Place { group, key }: Place) {
        let key = key_bytes(key);
        let handle = self.store.get(self.place(group, &key), self.now_ms);
        self.settle(&Cause::Read);
        let model = &mut self.groups[usize::from(group)];
        let Some(expected) = model.present(&key, self.now_ms).cloned() else {
            assert_eq!(handle, None, "{}", self.context);
            model.counters.misses += 1;
            return;
        };
        let handle = handle.unwrap_or_else(|| panic!("{}: {key:?} is missed", self.context));
        assert_eq!(held(&self.store.entry(handle)), expected, "{}", self.context);
        self.accessed(group, &key);
    }

    fn accessed(&mut self, group: u8, key: &[u8]) {
        let model = &mut self.groups[usize::from(group)];
        model.use_key(key);
        model.counters.hits += 1;
        let held = model.held.get_mut(key).unwrap();
        (held.accessed_ms, held.hit) = (self.now_ms / 1000 * 1000, true);
    }

    fn get_many(&mut self, group: u8, keys: &[u8]) {
        let keys: Vec<Vec<u8>> = keys.iter().map(|&key| key_bytes(key)).collect();
        let hashes: Vec<u64> = keys.iter().map(|key| key_hash(self.setup.hashes, key)).collect();
        self.store.prefetch(&hashes);
        let mut handles = Vec::new();
        for key in &keys {
            handles.push(self.store.get(self.place(group, key), self.now_ms));
            self.settle(&Cause::Read);
            let is_present = self.groups[usize::from(group)].present(key, self.now_ms).is_some();
            assert_eq!(handles.last().unwrap().is_some(), is_present, "{}", self.context);
            match is_present {
                true => self.accessed(group, key),
                false => self.groups[usize::from(group)].counters.misses += 1,
            }
        }
        for (key, handle) in keys.iter().zip(handles) {
            let expected = self.groups[usize::from(group)].present(key, self.now_ms);
            let value = handle.map(|handle| self.store.entry(handle).value.to_vec());
            assert_eq!(value, expected.map(|held| held.value.clone()), "{}", self.context);
        }
    }

    fn set(&mut self, Place { group, key }: Place, value: Vec<u8>, flags: u32, when: When, time: Time) {
        let (key, expiry) = (key_bytes(key), self.expiry(time));
        let model = &self.groups[usize::from(group)];
        let present = model.present(&key, self.now_ms);
        let version = |which| match which {
            Which::Any | Which::Same => present.map_or(7, |held| held.version),
            Which::Other => self.version + 1,
        };
        let condition = match when {
            When::Always => Condition::Always,
            When::Absent => Condition::Absent,
            When::Present => Condition::Present,
            When::Version(which) => Condition::Version(version(which)),
        };
        let expected = match (condition, present) {
            _ if self.is_too_large(group, &key, value.len()) => Err(StoreError::TooLarge),
            (Condition::Absent, Some(_)) => Err(StoreError::Exists),
            (Condition::Present | Condition::Version(_), None) => Err(StoreError::NotFound),
            (Condition::Version(version), Some(held)) if version != held.version => Err(StoreError::VersionMismatch),
            _ => Ok(()),
        };
        let expires = model.expires_at_ms(expiry, present.map(|held| held.expires_at_ms), self.now_ms);
        let write = Write { value: &value, flags, condition, expiry };
        let stored = self.store.set(self.place(group, &key), write, self.now_ms);
        assert_eq!(stored.map(|_| ()), expected, "{}", self.context);
        self.stored(group, key, stored, Held::new(value, flags, expires));
    }

    fn is_too_large(&self, group: u8, key: &[u8], value_bytes: usize) -> bool {
        value_bytes > self.setup.value_bytes_max || !self.groups[usize::from(group)].fits(key, value_bytes)
    }

    /// Settles a write.
    fn stored(&mut self, group: u8, key: Vec<u8>, stored: Result<u64, StoreError>, mut held: Held) {
        let Ok(version) = stored else { return self.settle(&Cause::Read) };
        assert!(version > self.version, "{}: version {version:#x} after {:#x}", self.context, self.version);
        assert_eq!((version >> 20 >= self.now_ms, version as u8), (true, SHARD), "{}", self.context);
        (self.version, held.version, held.accessed_ms) = (version, version, self.now_ms / 1000 * 1000);
        if held.is_jittered() {
            let handle = self.store.peek(self.place(group, &key), self.now_ms);
            let handle = handle.unwrap_or_else(|| panic!("{}: {key:?} is gone at once", self.context));
            held.learn(self.store.entry(handle).expires_at_ms, &self.context);
        }
        self.groups[usize::from(group)].counters.sets += 1;
        let lives = held.expires_at_ms == 0 || held.expires_at_ms > self.now_ms;
        self.settle(&Cause::Write(Outcome { group: usize::from(group), key, held: lives.then_some(held) }));
    }

    fn delete(&mut self, Place { group, key }: Place, which: Which) {
        let key = key_bytes(key);
        let present = self.groups[usize::from(group)].present(&key, self.now_ms).map(|held| held.version);
        let version = match which {
            Which::Any => 0,
            Which::Same => present.unwrap_or(1),
            Which::Other => self.version + 1,
        };
        let expected = match present {
            None => Err(StoreError::NotFound),
            Some(other) if version != 0 && version != other => Err(StoreError::VersionMismatch),
            Some(_) => Ok(()),
        };
        let deleted = self.store.delete(self.place(group, &key), version, self.now_ms);
        assert_eq!(deleted, expected, "{}", self.context);
        if deleted.is_err() {
            return self.settle(&Cause::Read);
        }
        self.groups[usize::from(group)].counters.deletes += 1;
        self.settle(&Cause::Write(Outcome { group: usize::from(group), key, held: None }));
    }

    fn touch(&mut self, Place { group, key }: Place, time: Time) {
        let (key, expiry) = (key_bytes(key), self.expiry(time));
        let touched = self.store.touch(self.place(group, &key), expiry, self.now_ms);
        self.settle(&Cause::Read);
        let model = &mut self.groups[usize::from(group)];
        let Some(mut expected) = model.present(&key, self.now_ms).cloned() else {
            assert_eq!(touched, Err(StoreError::NotFound), "{}", self.context);
            model.counters.misses += 1;
            return;
        };
        let entry = self.store.entry(touched.unwrap_or_else(|error| panic!("{}: {error}", self.context)));
        expected.expire(model.expires_at_ms(expiry, Some(expected.expires_at_ms), self.now_ms));
        expected.learn(entry.expires_at_ms, &self.context);
        assert_eq!(held(&entry), expected, "{}", self.context);
        model.held.get_mut(&key).unwrap().expires_at_ms = expected.expires_at_ms;
        self.accessed(group, &key);
    }

    fn increment(&mut self, Place { group, key }: Place, delta: i64, initial: Option<i64>, time: Time) {
        let (key, expiry) = (key_bytes(key), self.expiry(time));
        let model = &self.groups[usize::from(group)];
        let present = model.present(&key, self.now_ms).cloned();
        let mut expected = match (&present, initial) {
            (None, None) => Err(StoreError::NotFound),
            (None, Some(initial)) => Ok(initial),
            (Some(held), _) => held
                .number()
                .ok_or(StoreError::NotANumber)
                .and_then(|number| number.checked_add(delta).ok_or(StoreError::OutOfRange)),
        };
        let value = expected.map_or(Vec::new(), |number| number.to_string().into_bytes());
        if expected.is_ok() && self.is_too_large(group, &key, value.len()) {
            expected = Err(StoreError::TooLarge);
        }
        let held = match present {
            Some(held) => Held { value, ..Held::new(Vec::new(), held.flags, held.expires_at_ms..=held.expires_at_ms) },
            None => Held::new(value, 0, model.expires_at_ms(expiry, None, self.now_ms)),
        };
        let summed = self.store.increment(self.place(group, &key), delta, initial, expiry, self.now_ms);
        assert_eq!(summed.map(|(sum, _)| sum), expected, "{}", self.context);
        self.stored(group, key, summed.map(|(_, version)| version), held);
    }

    fn extend(&mut self, Place { group, key }: Place, added: &[u8], front: bool) {
        let key = key_bytes(key);
        let present = self.groups[usize::from(group)].present(&key, self.now_ms).cloned();
        let mut value = present.as_ref().map_or(Vec::new(), |held| held.value.clone());
        let at = if front { 0 } else { value.len() };
        value.splice(at..at, added.iter().copied());
        let expected = match present {
            None => Err(StoreError::NotFound),
            Some(_) if self.is_too_large(group, &key, value.len()) => Err(StoreError::TooLarge),
            Some(_) => Ok(()),
        };
        let place = self.place(group, &key);
        let stored = match front {
            true => self.store.prepend(place, added, self.now_ms),
            false => self.store.append(place, added, self.now_ms),
        };
        assert_eq!(stored.map(|_| ()), expected, "{}", self.context);
        let (flags, expires_at_ms) = present.map_or((0, 0), |held| (held.flags, held.expires_at_ms));
        self.stored(group, key, stored, Held::new(value, flags, expires_at_ms..=expires_at_ms));
    }

    fn mark(&mut self, Place { group, key }: Place, marks: Marks) {
        let key = key_bytes(key);
        let Some(handle) = self.store.peek(self.place(group, &key), self.now_ms) else { return };
        self.store.mark(handle, marks);
        self.groups[usize::from(group)].held.get_mut(&key).unwrap().marks = marks;
    }

    fn scan(&mut self, group: u8, count: usize) {
        let model = &mut self.groups[usize::from(group)];
        let mut scan = model.scan.take().unwrap_or_else(|| {
            let present = model.held.keys().filter(|key| model.present(key, self.now_ms).is_some());
            Scan { cursor: 0, missing: present.cloned().collect() }
        });
        let mut shown = 0;
        let next = self.store.scan(GroupIndex(u16::from(group)), scan.cursor, self.now_ms, |entry| {
            let expected = model.present(entry.key, self.now_ms);
            assert_eq!(Some(&held(&entry)), expected, "{}: {:?} is shown", self.context, entry.key);
            scan.missing.remove(entry.key);
            shown += 1;
            if shown < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if let Some(cursor) = next {
            scan.cursor = cursor;
            model.scan = Some(scan);
            return;
        }
        // What was invalidated or expired is not removed at once.
        scan.missing.retain(|key| model.present(key, self.now_ms).is_some());
        assert!(scan.missing.is_empty(), "{}: not shown: {:?}", self.context, scan.missing);
    }

    fn reclaim(&mut self, steps: usize) {
        let bytes = |run: &Self| run.groups.iter().map(ModelGroup::bytes).sum::<u64>();
        let (before, evicted_before) = (bytes(self), self.evicted());
        let reclaimed = self.store.reclaim(self.now_ms, steps);
        let removals = self.store.hook().removals.len() as u64;
        self.settle(&Cause::Reclaim);
        let found = reclaimed.expired + reclaimed.invalidated;
        assert_eq!(found + reclaimed.evicted, removals, "{}: {reclaimed:?}", self.context);
        assert_eq!(reclaimed.evicted, self.evicted() - evicted_before, "{}: {reclaimed:?}", self.context);
        // Where a policy keeps more with entries, or did, some cost more than the model knows.
        let widened = if self.groups.iter().any(|model| model.was_switched) { 24 * removals } else { 0 };
        let off = reclaimed.bytes.abs_diff(before - bytes(self));
        assert!(off <= widened, "{}: {reclaimed:?}, {off} bytes off", self.context);
        if !reclaimed.more {
            for (index, model) in self.groups.iter().enumerate() {
                let at = GroupIndex(index as u16);
                let has_memos = self.store.entry_bytes_in(at, 1, 1) > self.store.entry_bytes(1, 1);
                let keeps_memos = matches!(model.settings.policy.kind(), PolicyKind::Lfu | PolicyKind::LruK);
                assert_eq!(has_memos, keeps_memos, "{}: the former policy is left behind", self.context);
            }
            self.groups.iter_mut().for_each(|model| model.budget_before = model.settings.budget_bytes);
        }
    }

    fn evicted(&self) -> u64 {
        self.groups.iter().map(|model| model.counters.evictions).sum()
    }

    fn set_budget(&mut self, group: u8, part: u8) {
        let model = &self.groups[usize::from(group)];
        let budget = self.setup.groups[usize::from(group)].2 * u64::from(part) / 128;
        let (others, least) = match model.settings.charge {
            Charge::Objects => (0, 1),
            Charge::Bytes => {
                let in_bytes = |model: &&ModelGroup| model.settings.charge == Charge::Bytes;
                let all: u64 = self.groups.iter().filter(in_bytes).map(|model| model.settings.budget_bytes).sum();
                (all - model.settings.budget_bytes, 4096)
            }
        };
        let is_right = budget >= least && others + budget <= self.setup.memory_bytes;
        let set = self.store.set_budget(GroupIndex(u16::from(group)), budget);
        assert_eq!(set.is_ok(), is_right, "{}: {set:?}", self.context);
        if is_right {
            let model = &mut self.groups[usize::from(group)];
            model.settings.budget_bytes = budget;
            model.budget_before = model.budget_before.max(budget);
            model.counters.budget_bytes = budget;
        }
        self.settle(&Cause::Read);
    }

    fn invalidate(&mut self, group: u8) {
        let model = &mut self.groups[usize::from(group)];
        model.generation += 1;
        let generation = self.store.invalidate(GroupIndex(u16::from(group)), self.now_ms);
        assert_eq!(generation, model.generation, "{}", self.context);
        model.floor = self.version.max(model.held.values().map(|held| held.version).max().unwrap_or(0));
        self.settle(&Cause::Read);
    }

    fn void(&mut self, Place { group, key }: Place) {
        let key = key_bytes(key);
        let is_present = self.groups[usize::from(group)].present(&key, self.now_ms).is_some();
        assert_eq!(self.store.void(self.place(group, &key), self.now_ms), is_present, "{}", self.context);
        match is_present {
            true => self.settle(&Cause::Write(Outcome { group: usize::from(group), key, held: None })),
            false => self.settle(&Cause::Read),
        }
    }

    /// Another policy, which is refused while the last change is under way.
    fn set_policy(&mut self, group: u8, number: u8) {
        // The order of use is known exactly only where the policy was lru throughout.
        if group == 0 {
            return;
        }
        let kinds = PolicyKind::ALL;
        let mut policy = PolicySettings::from(kinds[usize::from(number) % kinds.len()]);
        if policy.kind() == PolicyKind::LruK {
            policy = policy.with("k", 1 + u16::from(number) / kinds.len() as u16 % 3).expect("k is 1 to 3");
        }
        let index = GroupIndex(u16::from(group));
        let is_under_way = self.store.counters(index).switching > 0;
        let model = &mut self.groups[usize::from(group)];
        let changes = policy != model.settings.policy;
        let set = self.store.set_policy(index, policy);
        assert_eq!(set.is_err(), changes && is_under_way, "{}: {set:?}", self.context);
        if changes && set.is_ok() {
            (model.settings.policy, model.was_switched) = (policy, true);
        }
        self.settle(&Cause::Read);
    }

    /// Holds every removal since the last call against the model, and then applies what a write left behind.
    fn settle(&mut self, cause: &Cause) {
        let context = &self.context;
        for removal in std::mem::take(&mut self.store.hook_mut().removals) {
            let model = &mut self.groups[usize::from(removal.group.0)];
            *model.removals.entry(removal.reason).or_default() += 1;
            model.assert_right(cause, &removal, self.now_ms, context);
            if removal.reason == Reason::Replaced {
                model.replace(cause, &removal);
                model.counters.replacements += 1;
                continue;
            }
            model.counters.evictions += u64::from(removal.reason == Reason::Evicted);
            model.counters.expirations += u64::from(removal.reason == Reason::Expired);
            model.counters.invalidations += u64::from(removal.reason == Reason::Invalidated);
            model.counters.voids += u64::from(removal.reason == Reason::Voided);
            if removal.reason == Reason::Evicted {
                model.counters.eviction_age_ms += self.now_ms.saturating_sub(removal.version >> 20);
            }
            model.held.remove(&removal.key);
            model.order.retain(|key| *key != removal.key);
            if let Some(scan) = &mut model.scan {
                scan.missing.remove(&removal.key);
            }
        }
        if let Cause::Write(Outcome { group, key, held: Some(held) }) = cause {
            let model = &mut self.groups[*group];
            model.held.insert(key.clone(), held.clone());
            model.use_key(key);
        }
    }

    /// Every key of every group, and every counter.
    fn compare(&mut self) {
        self.store.validate();
        for (index, model) in self.groups.iter_mut().enumerate() {
            model.counters.entries = model.held.len() as u64;
            let counters = self.store.counters(GroupIndex(index as u16));
            model.counters.bytes = if model.was_switched { counters.bytes } else { model.bytes() };
            if model.was_switched && model.settings.charge == Charge::Bytes {
                let [narrow, wide] = [false, true].map(|has_memos| {
                    model.has_memos = has_memos;
                    model.bytes()
                });
                assert!((narrow..=wide).contains(&counters.bytes), "{}: {} bytes", self.context, counters.bytes);
            }
            let at = GroupIndex(index as u16);
            model.has_memos = self.store.entry_bytes_in(at, 1, 1) > self.store.entry_bytes(1, 1);
            let keeps_memos = matches!(model.settings.policy.kind(), PolicyKind::Lfu | PolicyKind::LruK);
            assert!(model.has_memos || !keeps_memos, "{}: nowhere to keep what the policy needs", self.context);
            let mut expected = model.counters;
            if !model.is_lru() {
                (expected.ghost_bytes, expected.ghost_hits) = (counters.ghost_bytes, counters.ghost_hits);
            }
            if model.is_tight {
                expected.evictions_for_memory = counters.evictions_for_memory;
            }
            let is_valid = |held: &&Held| held.version > model.floor;
            expected.invalid = expected.entries - model.held.values().filter(is_valid).count() as u64;
            expected.switching = counters.switching;
            assert_eq!(counters, expected, "{}", self.context);
            let taken = counters.bytes + counters.ghost_bytes;
            assert!(taken <= model.budget_before, "{}: {counters:?}", self.context);
            for key in model.held.keys() {
                let place = Key { group: GroupIndex(index as u16), hash: key_hash(self.setup.hashes, key), bytes: key };
                let there = self.store.peek(place, self.now_ms).map(|handle| held(&self.store.entry(handle)));
                assert_eq!(there.as_ref(), model.present(key, self.now_ms), "{}: {key:?}", self.context);
            }
        }
    }
}

/// An entry as the model would hold it.
fn held(entry: &Entry<'_>) -> Held {
    Held {
        version: entry.version,
        accessed_ms: entry.last_access_ms,
        hit: entry.hit_before,
        marks: entry.marks,
        ..Held::new(entry.value.to_vec(), entry.flags, entry.expires_at_ms..=entry.expires_at_ms)
    }
}

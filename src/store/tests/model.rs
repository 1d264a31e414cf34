//! Random operations on a store and on a plain model, compared after every one.
//!
//! The model is a map of entries and, for `lru`, their exact order. It learns of removals from the hook only, and holds
//! each against what it knows: so an entry that leaves silently, twice, for a wrong reason or out of turn is found.

use std::collections::HashMap;

use larder_store::{
    Charge, Condition, Expiry, GroupCounters, GroupIndex, GroupSettings, Key, Marks, PolicyKind, Reason, Store,
    StoreError, StoreSettings, Write,
};

use crate::plain::{Held, ModelGroup, Outcome, Recorder};

const SHARD: u8 = 0x5A;
const KEYS: u64 = 60;
const STEPS: usize = 5000;
const SEEDS: u64 = 20;

#[test]
fn random_operations_agree_with_a_plain_model() {
    random_operations(&|seed| Case {
        memory_bytes: 4 << 20,
        value_bytes_max: 6000,
        is_tight: false,
        groups: groups(seed),
    });
}

/// Budgets are as large as memory or larger than it, so that every other write cleans or evicts for want of it.
#[test]
fn random_operations_agree_with_a_plain_model_while_memory_is_short() {
    random_operations(&|seed| {
        let mut groups = groups(seed);
        for (group, budget) in [(0, 60_000), (1, 60_000), (2, 60), (3, 60), (4, 100_000)] {
            groups[group].2 = budget;
        }
        let memory_bytes = (16 + 2 * (seed % 4)) * (16 << 10);
        Case { memory_bytes, value_bytes_max: 30_000, is_tight: true, groups }
    });
}

type Specification = (PolicyKind, Charge, u64, u64);

struct Case {
    memory_bytes: u64,
    value_bytes_max: usize,
    is_tight: bool,
    groups: [Specification; 5],
}

fn groups(seed: u64) -> [Specification; 5] {
    [
        (PolicyKind::Lru, Charge::Bytes, 4096, 0),
        (PolicyKind::TwoQ, Charge::Bytes, 4096 + 500 * (seed % 8), 0),
        (PolicyKind::Lru, Charge::Objects, 1 + seed % 16, 300),
        (PolicyKind::TwoQ, Charge::Objects, 20, 0),
        (PolicyKind::Lru, Charge::Bytes, 16_000, 500),
    ]
}

fn random_operations(case: &dyn Fn(u64) -> Case) {
    for seed in 0..if crate::full() { 20 * SEEDS } else { SEEDS } {
        let mut run = Run::new(seed, case(seed));
        for step in 0..STEPS {
            run.context = format!("seed {seed} step {step}");
            run.step();
            run.compare();
        }
        run.assert_eventful();
    }
}

struct Run {
    random: fastrand::Rng,
    hashes: u64,
    value_bytes_max: usize,
    store: Store<Recorder>,
    groups: Vec<ModelGroup>,
    now_ms: u64,
    version: u64,
    context: String,
}

impl Run {
    fn new(seed: u64, case: Case) -> Self {
        let Case { value_bytes_max, memory_bytes, .. } = case;
        let settings = StoreSettings { shard: SHARD, value_bytes_max, memory_bytes, key_hash };
        let mut store = Store::new(settings, Recorder::default());
        let piece_bytes = (store.memory().segment_bytes as usize / 64).clamp(4096, 16384);
        // With odd seeds many keys share a hash.
        let hashes = if seed.is_multiple_of(2) { u64::MAX } else { 1 + KEYS / 4 };
        let (mut groups, is_tight) = (Vec::new(), case.is_tight);
        for (index, (policy, charge, budget, ttl_ms)) in case.groups.into_iter().enumerate() {
            let settings = crate::group(&index.to_string(), policy, charge, budget);
            let settings = GroupSettings { ttl_ms, hash_seed: hashes, ..settings };
            assert_eq!(store.create_group(settings.clone()), Ok(GroupIndex(index as u16)));
            groups.push(ModelGroup {
                settings,
                piece_bytes,
                is_tight,
                floor: 0,
                generation: 0,
                held: HashMap::new(),
                order: Vec::new(),
                counters: GroupCounters { budget_bytes: budget, ..GroupCounters::default() },
                removals: HashMap::new(),
            });
        }
        let random = fastrand::Rng::with_seed(seed);
        Self { random, hashes, value_bytes_max, store, groups, now_ms: 1_000_000, version: 0, context: String::new() }
    }

    fn step(&mut self) {
        if self.random.u8(0..3) == 0 {
            self.now_ms += self.random.u64(0..60);
        }
        let group = self.random.usize(0..self.groups.len());
        let key = self.key();
        match self.random.u8(0..100) {
            0..30 => self.get(group, key),
            30..65 => self.set(group, key),
            65..72 => self.delete(group, key),
            72..78 => self.touch(group, key),
            78..85 => self.increment(group, key),
            85..94 => self.extend(group, key),
            94..96 => self.many(group),
            96..99 => self.reclaim(),
            _ if self.random.u8(0..3) == 0 => self.invalidate(group),
            _ => self.mark(group, key),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        let draw = self.random.f64();
        let number = (draw * draw * KEYS as f64) as u64;
        match number {
            0 => Vec::new(),
            1 => vec![b'k'; 400],
            _ => format!("key {number}").into_bytes(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.random.u8(0..20) {
            0 => self.random.usize(0..=self.value_bytes_max + 1),
            1 => self.value_bytes_max + self.random.usize(0..2),
            2..5 => self.random.usize(0..self.value_bytes_max / 4),
            5..12 if self.groups[0].is_tight => self.random.usize(0..6000),
            _ => self.random.usize(0..100),
        };
        match self.random.u8(0..4) {
            0 => self.random.i64(-1000..1000).to_string().into_bytes(),
            _ => (0..len).map(|_| self.random.u8(b'a'..=b'z')).collect(),
        }
    }

    fn expiry(&mut self) -> Expiry {
        match self.random.u8(0..8) {
            0 => Expiry::Never,
            1 => Expiry::After(self.random.u64(0..400)),
            2 => Expiry::At(self.now_ms - 20 + self.random.u64(0..400)),
            3 => Expiry::Keep,
            _ => Expiry::Default,
        }
    }

    fn get(&mut self, group: usize, key: Vec<u8>) {
        let place = place(self.hashes, group, &key);
        let handle = self.store.get(place, self.now_ms);
        self.settle(None);
        let model = &mut self.groups[group];
        let Some(expected) = model.present(&key, self.now_ms).cloned() else {
            assert_eq!(handle, None, "{}", self.context);
            model.counters.misses += 1;
            return;
        };
        let handle = handle.unwrap_or_else(|| panic!("{}: {key:?} is missed", self.context));
        assert_eq!(held(&self.store, handle), expected, "{}", self.context);
        self.accessed(group, &key);
    }

    fn accessed(&mut self, group: usize, key: &[u8]) {
        let model = &mut self.groups[group];
        model.use_key(key);
        model.counters.hits += 1;
        let held = model.held.get_mut(key).unwrap();
        (held.accessed_ms, held.hit) = (self.now_ms / 1000 * 1000, true);
    }

    /// A run of gets whose handles are used together, after all of them.
    fn many(&mut self, group: usize) {
        let keys: Vec<Vec<u8>> = (0..20).map(|_| self.key()).collect();
        let mut handles = Vec::new();
        for key in &keys {
            handles.push(self.store.get(place(self.hashes, group, key), self.now_ms));
            self.settle(None);
            let expected = self.groups[group].present(key, self.now_ms).cloned();
            assert_eq!(handles.last().unwrap().is_some(), expected.is_some(), "{}", self.context);
            match expected {
                Some(_) => self.accessed(group, key),
                None => self.groups[group].counters.misses += 1,
            }
        }
        for (key, handle) in keys.iter().zip(handles) {
            let expected = self.groups[group].present(key, self.now_ms);
            let value = handle.map(|handle| self.store.entry(handle).value.to_vec());
            assert_eq!(value, expected.map(|held| held.value.clone()), "{}", self.context);
        }
    }

    fn set(&mut self, group: usize, key: Vec<u8>) {
        let (value, flags, expiry) = (self.value(), self.random.u32(..), self.expiry());
        let model = &self.groups[group];
        let present = model.present(&key, self.now_ms);
        let condition = match self.random.u8(0..10) {
            0 => Condition::Absent,
            1 => Condition::Present,
            2 => Condition::Version(present.map_or(7, |held| held.version)),
            3 => Condition::Version(self.version + 1),
            _ => Condition::Always,
        };
        let expected =
            if value.len() > self.value_bytes_max || model.charge(&key, value.len()) > model.settings.budget_bytes {
                Err(StoreError::TooLarge)
            } else {
                match (condition, present) {
                    (Condition::Absent, Some(_)) => Err(StoreError::Exists),
                    (Condition::Present | Condition::Version(_), None) => Err(StoreError::NotFound),
                    (Condition::Version(version), Some(held)) if version != held.version => {
                        Err(StoreError::VersionMismatch)
                    }
                    _ => Ok(()),
                }
            };
        let expires_at_ms = model.expires_at_ms(expiry, present.map(|held| held.expires_at_ms), self.now_ms);
        let write = Write { value: &value, flags, condition, expiry };
        let stored = self.store.set(place(self.hashes, group, &key), write, self.now_ms);
        assert_eq!(stored.map(|_| ()), expected, "{}", self.context);
        self.stored(group, key, stored, value, flags, expires_at_ms);
    }

    /// Settles a write.
    fn stored(
        &mut self,
        group: usize,
        key: Vec<u8>,
        stored: Result<u64, StoreError>,
        value: Vec<u8>,
        flags: u32,
        expires_at_ms: u64,
    ) {
        let Ok(version) = stored else { return self.settle(None) };
        assert!(version > self.version, "{}: version {version:#x} after {:#x}", self.context, self.version);
        assert_eq!((version >> 20 >= self.now_ms, version as u8), (true, SHARD), "{}", self.context);
        self.version = version;
        self.groups[group].counters.sets += 1;
        let (accessed_ms, hit, marks) = (self.now_ms / 1000 * 1000, false, Marks::default());
        let held = Held { value, flags, version, expires_at_ms, accessed_ms, hit, marks };
        let lives = expires_at_ms == 0 || expires_at_ms > self.now_ms;
        self.settle(Some(Outcome { group, key, held: lives.then_some(held) }));
    }

    fn delete(&mut self, group: usize, key: Vec<u8>) {
        let present = self.groups[group].present(&key, self.now_ms).map(|held| held.version);
        let version = match self.random.u8(0..4) {
            0 => present.unwrap_or(1),
            1 => self.version + 1,
            _ => 0,
        };
        let expected = match present {
            None => Err(StoreError::NotFound),
            Some(other) if version != 0 && version != other => Err(StoreError::VersionMismatch),
            Some(_) => Ok(()),
        };
        let deleted = self.store.delete(place(self.hashes, group, &key), version, self.now_ms);
        assert_eq!(deleted, expected, "{}", self.context);
        if deleted.is_ok() {
            self.groups[group].counters.deletes += 1;
        }
        self.settle(deleted.is_ok().then_some(Outcome { group, key, held: None }));
    }

    fn touch(&mut self, group: usize, key: Vec<u8>) {
        let expiry = self.expiry();
        let touched = self.store.touch(place(self.hashes, group, &key), expiry, self.now_ms);
        self.settle(None);
        let model = &mut self.groups[group];
        let Some(mut expected) = model.present(&key, self.now_ms).cloned() else {
            assert_eq!(touched, Err(StoreError::NotFound), "{}", self.context);
            model.counters.misses += 1;
            return;
        };
        expected.expires_at_ms = model.expires_at_ms(expiry, Some(expected.expires_at_ms), self.now_ms);
        model.held.get_mut(&key).unwrap().expires_at_ms = expected.expires_at_ms;
        assert_eq!(held(&self.store, touched.unwrap()), expected, "{}", self.context);
        self.accessed(group, &key);
    }

    fn increment(&mut self, group: usize, key: Vec<u8>) {
        let delta = if self.random.u8(0..4) == 0 { self.random.i64(..) } else { self.random.i64(-200..200) };
        let initial = self.random.bool().then(|| self.random.i64(..));
        let expiry = self.expiry();
        let model = &self.groups[group];
        let present = model.present(&key, self.now_ms).cloned();
        let mut expected = match (&present, initial) {
            (None, None) => Err(StoreError::NotFound),
            (None, Some(initial)) => Ok(initial),
            (Some(held), _) => match std::str::from_utf8(&held.value).unwrap().parse::<i64>() {
                Err(_) => Err(StoreError::NotANumber),
                Ok(number) => number.checked_add(delta).ok_or(StoreError::OutOfRange),
            },
        };
        let value = expected.map_or(Vec::new(), |number| number.to_string().into_bytes());
        if expected.is_ok() && model.charge(&key, value.len()) > model.settings.budget_bytes {
            expected = Err(StoreError::TooLarge);
        }
        let (flags, expires_at_ms) = match &present {
            Some(held) => (held.flags, held.expires_at_ms),
            None => (0, model.expires_at_ms(expiry, None, self.now_ms)),
        };
        let place = place(self.hashes, group, &key);
        let summed = self.store.increment(place, delta, initial, expiry, self.now_ms);
        assert_eq!(summed.map(|(sum, _)| sum), expected, "{}", self.context);
        self.stored(group, key, summed.map(|(_, version)| version), value, flags, expires_at_ms);
    }

    fn extend(&mut self, group: usize, key: Vec<u8>) {
        let (added, front) = (self.value(), self.random.bool());
        let model = &self.groups[group];
        let present = model.present(&key, self.now_ms).cloned();
        let mut value = present.as_ref().map_or(Vec::new(), |held| held.value.clone());
        let at = if front { 0 } else { value.len() };
        value.splice(at..at, added.iter().copied());
        let too_large =
            value.len() > self.value_bytes_max || model.charge(&key, value.len()) > model.settings.budget_bytes;
        let expected = match present {
            None => Err(StoreError::NotFound),
            Some(_) if too_large => Err(StoreError::TooLarge),
            Some(_) => Ok(()),
        };
        let place = place(self.hashes, group, &key);
        let stored = match front {
            true => self.store.prepend(place, &added, self.now_ms),
            false => self.store.append(place, &added, self.now_ms),
        };
        assert_eq!(stored.map(|_| ()), expected, "{}", self.context);
        let (flags, expires_at_ms) = present.map_or((0, 0), |held| (held.flags, held.expires_at_ms));
        self.stored(group, key, stored, value, flags, expires_at_ms);
    }

    fn invalidate(&mut self, group: usize) {
        let model = &mut self.groups[group];
        model.generation += 1;
        assert_eq!(self.store.invalidate(GroupIndex(group as u16), self.now_ms), model.generation, "{}", self.context);
        model.floor = self.version.max(model.held.values().map(|held| held.version).max().unwrap_or(0));
        self.settle(None);
    }

    fn reclaim(&mut self) {
        let steps = self.random.usize(0..200);
        let bytes = |run: &Self| run.groups.iter().map(ModelGroup::bytes).sum::<u64>();
        let before = bytes(self);
        let reclaimed = self.store.reclaim(self.now_ms, steps);
        let removals = self.store.hook().removals.len() as u64;
        self.settle(None);
        assert_eq!(reclaimed.expired + reclaimed.invalidated, removals, "{}", self.context);
        assert_eq!(reclaimed.bytes, before - bytes(self), "{}", self.context);
        assert!(removals <= steps as u64, "{}", self.context);
    }

    fn mark(&mut self, group: usize, key: Vec<u8>) {
        let Some(handle) = self.store.peek(place(self.hashes, group, &key), self.now_ms) else { return };
        let marks = Marks { stale: self.random.bool(), won: self.random.bool() };
        self.store.mark(handle, marks);
        self.groups[group].held.get_mut(&key).unwrap().marks = marks;
    }

    /// Holds every removal since the last call against the model, and then applies what a write left behind.
    fn settle(&mut self, outcome: Option<Outcome>) {
        let context = &self.context;
        for removal in std::mem::take(&mut self.store.hook_mut().removals) {
            let model = &mut self.groups[usize::from(removal.group.0)];
            *model.removals.entry(removal.reason).or_default() += 1;
            let held = &model.held.get(&removal.key).unwrap_or_else(|| panic!("{context}: {removal:?} is not held"));
            assert_eq!(removal.version, held.version, "{context}");
            assert_eq!(removal.bytes, (removal.key.len() + held.value.len()) as u64, "{context}");
            let expired = held.expires_at_ms != 0 && held.expires_at_ms <= self.now_ms;
            let invalidated = held.version <= model.floor;
            let target = outcome
                .as_ref()
                .filter(|outcome| outcome.group == usize::from(removal.group.0) && outcome.key == removal.key);
            match removal.reason {
                Reason::Invalidated => assert!(invalidated, "{context}: {removal:?}"),
                Reason::Expired => assert!(expired && !invalidated, "{context}: {removal:?}"),
                Reason::Deleted => assert!(target.is_some_and(|target| target.held.is_none()), "{context}"),
                Reason::Replaced => {
                    let held = target.and_then(|target| target.held.clone());
                    model.held.insert(removal.key.clone(), held.unwrap_or_else(|| panic!("{context}: {removal:?}")));
                    model.use_key(&removal.key);
                    continue;
                }
                Reason::Evicted => {
                    assert!(!expired && !invalidated && target.is_none(), "{context}: {removal:?}");
                    let outcome = outcome.as_ref().unwrap_or_else(|| panic!("{context}: {removal:?}"));
                    let pays = model.is_tight || outcome.group == usize::from(removal.group.0);
                    assert!(pays, "{context}: another group pays");
                    model.assert_turn(outcome, &removal, context);
                    model.counters.evictions += 1;
                }
                other => panic!("{context}: unknown reason {other:?}"),
            }
            model.counters.expirations += u64::from(removal.reason == Reason::Expired);
            model.held.remove(&removal.key);
            model.order.retain(|key| *key != removal.key);
        }
        if let Some(Outcome { group, key, held: Some(held) }) = outcome {
            let model = &mut self.groups[group];
            model.held.insert(key.clone(), held);
            model.use_key(&key);
        }
    }

    /// Every key of every group, and every counter.
    fn compare(&mut self) {
        self.store.validate();
        for (index, model) in self.groups.iter_mut().enumerate() {
            model.counters.entries = model.held.len() as u64;
            model.counters.bytes = model.bytes();
            let counters = self.store.counters(GroupIndex(index as u16));
            let (mut expected, remembers) = (model.counters, model.settings.policy == PolicyKind::TwoQ);
            if remembers {
                (expected.ghost_bytes, expected.ghost_hits) = (counters.ghost_bytes, counters.ghost_hits);
            }
            assert_eq!(counters, expected, "{}", self.context);
            for key in model.held.keys() {
                let handle = self.store.peek(place(self.hashes, index, key), self.now_ms);
                let there = handle.map(|handle| held(&self.store, handle));
                assert_eq!(there.as_ref(), model.present(key, self.now_ms), "{}: {key:?}", self.context);
            }
        }
    }

    /// A run in which something never happened would prove nothing about it.
    fn assert_eventful(&self) {
        for reason in [Reason::Evicted, Reason::Expired, Reason::Deleted, Reason::Replaced, Reason::Invalidated] {
            let count: u64 = self.groups.iter().filter_map(|model| model.removals.get(&reason)).sum();
            assert!(count > 0, "{}: no entry left as {reason:?}", self.context);
        }
        let ghost_hits = |index| self.store.counters(GroupIndex(index)).ghost_hits;
        let memory = self.store.memory();
        let is_tight = self.groups[0].is_tight;
        // Where memory is short, ghosts get the least of it.
        assert!(is_tight || ghost_hits(1) > 0 && ghost_hits(3) > 0, "{}: no ghost was hit", self.context);
        assert_eq!(memory.moved_bytes > 0, is_tight, "{}: {memory:?}", self.context);
        assert!(!is_tight || memory.evictions > 0, "{}: {memory:?}", self.context);
    }
}

/// The key as the store wants it, with one of so many hashes.
fn place(hashes: u64, group: usize, key: &[u8]) -> Key<'_> {
    Key { group: GroupIndex(group as u16), hash: key_hash(hashes, key), bytes: key }
}

fn key_hash(hashes: u64, key: &[u8]) -> u64 {
    let mixed = key.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23)
    });
    mixed % hashes
}

fn held(store: &Store<Recorder>, handle: larder_store::Handle) -> Held {
    let entry = store.entry(handle);
    Held {
        value: entry.value.to_vec(),
        flags: entry.flags,
        version: entry.version,
        expires_at_ms: entry.expires_at_ms,
        accessed_ms: entry.last_access_ms,
        hit: entry.hit_before,
        marks: entry.marks,
    }
}

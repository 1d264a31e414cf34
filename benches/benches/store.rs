//! One shard's store: look-ups and writes of random keys, in a store that does not fit in the processor's caches.
//!
//! Cases with a distribution in their name get 1 M items of 16 + 64 bytes, beside `quick_cache` without its locks, in two
//! forms: `boxed` owns keys and values of any length, as a server must; `inline` has arrays of these very lengths in its
//! table. Each get hashes the key and copies the value. The hook of the store is that of a server, to which nobody listens.
//!
//! For each policy there is a get of a key that is there and is drawn by Zipf's law, a set that evicts, and the metadata of an entry: what its memory and that of index and ghosts is beside key and value, when the
//! store is full.

use std::process::ExitCode;

use larder_benches::harness::{case, figure, run};
use larder_engine::Watchers;
use larder_ring::{group_hash, key_hash};
use larder_store::{
    Charge, Condition, Expiry, GroupIndex, GroupSettings, Key, PolicyKind, Store, StoreSettings, Write,
};
use loadgen::workload::{Distribution, KeySampler};
use quick_cache::unsync::Cache;

/// Keys of a store with room for all of them.
const KEYS: u64 = 500_000;
/// Keys of the cases with a distribution.
const MANY_KEYS: u64 = 1_000_000;
/// Draws of those, which are repeated.
const DRAWS: usize = 1 << 20;
const ZIPF: Distribution = Distribution::Zipf(0.99);
const UNIFORM: Distribution = Distribution::Uniform;
/// Memory in which metadata is counted, and keys that are stored there.
const METADATA_MEMORY_BYTES: u64 = 64 << 20;
const METADATA_KEYS: u64 = 1_500_000;
const VALUE: [u8; 64] = [7; 64];
const NOW_MS: u64 = 1_700_000_000_000;

fn main() -> ExitCode {
    let mut cases = vec![
        case("get_hit_lru", || getting(PolicyKind::Lru, 0)),
        case("get_hit_two_q", || getting(PolicyKind::TwoQ, 0)),
        case("get_miss", || getting(PolicyKind::TwoQ, KEYS)),
        case("get_zipf_quick_cache_boxed", || getting_boxed(ZIPF)),
        case("get_zipf_quick_cache_inline", || getting_inline(ZIPF)),
        case("get_uniform_lru", || getting_drawn(PolicyKind::Lru, UNIFORM)),
        case("get_uniform_two_q", || getting_drawn(PolicyKind::TwoQ, UNIFORM)),
        case("get_uniform_quick_cache_boxed", || getting_boxed(UNIFORM)),
        case("get_uniform_quick_cache_inline", || getting_inline(UNIFORM)),
        case("set_same_size_lru", || setting(PolicyKind::Lru, 1 << 30, KEYS)),
        case("set_same_size_two_q", || setting(PolicyKind::TwoQ, 1 << 30, KEYS)),
    ];
    for &policy in PolicyKind::ALL {
        cases.push(case(format!("get_zipf_{policy}"), move || getting_drawn(policy, ZIPF)));
        cases.push(case(format!("set_evicting_{policy}"), move || setting(policy, 8 << 20, 64 * KEYS)));
        cases.push(figure(format!("metadata_{policy}"), "bytes of an entry", move || metadata_bytes(policy)));
    }
    run(&cases)
}

/// What an entry takes beside key and value in a full store of distinct keys.
fn metadata_bytes(policy: PolicyKind) -> f64 {
    let Shard { store, group, .. } = Shard::filled(policy, METADATA_MEMORY_BYTES, METADATA_KEYS);
    let (memory, counters) = (store.memory(), store.counters(group));
    let tables = (memory.segments_index + memory.segments_ghost) * memory.segment_bytes;
    (memory.live_bytes + tables) as f64 / counters.entries as f64 - (key_bytes(0).len() + VALUE.len()) as f64
}

/// Numbers that follow each other without a pattern.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((u128::from(self.0) * u128::from(below)) >> 64) as u64
    }
}

struct Shard {
    store: Store<Watchers>,
    group: GroupIndex,
    group_hash: u64,
    numbers: Numbers,
}

impl Shard {
    fn new(policy: PolicyKind, budget_bytes: u64) -> Shard {
        let mut store = Store::new(
            StoreSettings {
                shard: 0,
                value_bytes_max: 1 << 16,
                memory_bytes: budget_bytes,
                key_hash: |seed, key| key_hash(key, seed),
            },
            Watchers::new(),
        );
        let settings = GroupSettings {
            name: "default".into(),
            budget_bytes,
            policy: policy.into(),
            ttl_ms: 0,
            ttl_jitter: 0,
            hash_seed: group_hash("default", 0),
            charge: Charge::Bytes,
        };
        let group = store.create_group(settings).expect("the first group of a store");
        Shard { store, group, group_hash: group_hash("default", 0), numbers: Numbers(1) }
    }

    fn filled(policy: PolicyKind, budget_bytes: u64, keys: u64) -> Shard {
        let mut shard = Shard::new(policy, budget_bytes);
        (0..keys).for_each(|number| shard.set(number));
        shard
    }

    fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { group: self.group, hash: key_hash(bytes, self.group_hash), bytes }
    }

    fn set(&mut self, number: u64) {
        let bytes = key_bytes(number);
        let write = Write { value: &VALUE, flags: 0, condition: Condition::Always, expiry: Expiry::Default };
        self.store.set(self.key(&bytes), write, NOW_MS).expect("an unconditional set of a small value");
    }
}

fn key_bytes(number: u64) -> [u8; 16] {
    let mut bytes = *b"key:____________";
    bytes[8..].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// Keys from `first` on; those from [`KEYS`] on are not there.
fn getting(policy: PolicyKind, first: u64) -> impl FnMut() -> usize {
    let mut shard = Shard::filled(policy, 1 << 30, KEYS);
    move || {
        let bytes = key_bytes(first + shard.numbers.next(KEYS));
        let handle = shard.store.get(shard.key(&bytes), NOW_MS);
        assert_eq!(handle.is_some(), first == 0, "what is there is found");
        handle.map_or(0, |handle| shard.store.entry(handle).value.len())
    }
}

/// Numbers of keys, drawn beforehand.
struct Draws {
    keys: Vec<u32>,
    next: usize,
}

impl Draws {
    fn new(distribution: Distribution) -> Draws {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut sampler = KeySampler::new(distribution, MANY_KEYS, 0..MANY_KEYS);
        Draws { keys: (0..DRAWS).map(|_| sampler.sample(&mut rng) as u32).collect(), next: 0 }
    }

    fn next_key(&mut self) -> [u8; 16] {
        let number = self.keys[self.next];
        self.next = (self.next + 1) % DRAWS;
        key_bytes(number.into())
    }
}

fn getting_drawn(policy: PolicyKind, distribution: Distribution) -> impl FnMut() -> [u8; 64] {
    let mut shard = Shard::filled(policy, 1 << 30, MANY_KEYS);
    let mut draws = Draws::new(distribution);
    move || {
        let bytes = draws.next_key();
        let handle = shard.store.get(shard.key(&bytes), NOW_MS).expect("it is there");
        let value = shard.store.entry(handle).value.contiguous().expect("a small value is in one piece");
        value.try_into().expect("64 bytes")
    }
}

fn getting_boxed(distribution: Distribution) -> impl FnMut() -> [u8; 64] {
    let mut cache: Cache<Box<[u8]>, Box<[u8]>> = Cache::new(2 * MANY_KEYS as usize);
    (0..MANY_KEYS).for_each(|number| cache.insert(key_bytes(number).into(), VALUE.into()));
    let mut draws = Draws::new(distribution);
    move || {
        let value = cache.get(&draws.next_key()[..]).expect("it is there");
        value[..].try_into().expect("64 bytes")
    }
}

fn getting_inline(distribution: Distribution) -> impl FnMut() -> [u8; 64] {
    let mut cache: Cache<[u8; 16], [u8; 64]> = Cache::new(2 * MANY_KEYS as usize);
    (0..MANY_KEYS).for_each(|number| cache.insert(key_bytes(number), VALUE));
    let mut draws = Draws::new(distribution);
    move || *cache.get(&draws.next_key()).expect("it is there")
}

fn setting(policy: PolicyKind, budget_bytes: u64, below: u64) -> impl FnMut() {
    let mut shard = Shard::filled(policy, budget_bytes, KEYS);
    move || {
        let number = shard.numbers.next(below);
        shard.set(number);
    }
}

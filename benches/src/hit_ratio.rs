//! How often a trace misses, worked out in process with the store of the server.
//!
//! [`objects`] counts as published miss ratios do: one store, every object costs 1. [`Replayed`] gives what a replay
//! over the network must give (`loadgen replay` with one connection): the same shards, budgets, keys and values as a
//! server with the same configuration.

use anyhow::{Context, Result};
use larder_ring::{group_hash, key_hash, shard};
use larder_server::config::{Config, Loaded, ServeFlags};
use larder_store::limits::{MEMORY_BYTES_MIN, REGION_BYTES_MAX};
use larder_store::{
    Charge, GroupIndex, GroupSettings, Key, NoHook, PolicyKind, Store, StoreError, StoreSettings, Write,
};
use loadgen::trace::Trace;
use loadgen::workload::keys::trace_key;

/// Memory for each object of a cache: an entry without a value, its place in the index, ghosts, and room to clean.
const OBJECT_MEMORY_BYTES: u64 = 256;
/// No entry of a replay expires, so the time does not matter; only 0 is not a time.
const NOW_MS: u64 = 1;

/// Replays keys against one store with room for so many objects, and returns the number of misses.
///
/// # Errors
/// The store refuses the size.
pub fn objects(policy: PolicyKind, cache_objects: u64, keys: impl IntoIterator<Item = u64>) -> Result<u64> {
    let memory_bytes = (cache_objects * OBJECT_MEMORY_BYTES).clamp(MEMORY_BYTES_MIN, REGION_BYTES_MAX);
    let settings = StoreSettings { shard: 0, value_bytes_max: 0, memory_bytes, key_hash: hash_of };
    let mut store = Store::new(settings, NoHook);
    let group = store
        .create_group(GroupSettings {
            name: "objects".into(),
            budget_bytes: cache_objects,
            policy: policy.into(),
            ttl_ms: 0,
            ttl_jitter: 0,
            hash_seed: 0,
            charge: Charge::Objects,
        })
        .with_context(|| format!("a cache of {cache_objects} objects"))?;
    let mut misses = 0;
    for key in keys {
        let bytes = key.to_le_bytes();
        let key = Key { group, hash: key_hash(&bytes, 0), bytes: &bytes };
        if store.get(key, NOW_MS).is_none() {
            misses += 1;
            store.set(key, Write::default(), NOW_MS).context("an object costs 1, and the cache has room for 1")?;
        }
    }
    Ok(misses)
}

/// What became of the requests of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Requests of the trace.
    pub requests: u64,
    /// Of those: found.
    pub hits: u64,
    /// Of those: not found.
    pub misses: u64,
    /// Values stored after a miss.
    pub sets: u64,
    /// Values that were too large to be stored.
    pub too_large: u64,
}

/// The stores of a server's shards, without the server.
#[derive(Debug)]
pub struct Replayed {
    shards: Vec<Store>,
    group: GroupIndex,
    group_hash: u64,
    value: Vec<u8>,
}

impl Replayed {
    /// The stores that a server with this configuration has.
    ///
    /// # Errors
    /// There is no such group, or a store refuses its settings.
    pub fn new(config: &Config, group: &str) -> Result<Replayed> {
        let known = || config.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>().join(", ");
        let place = config.groups.iter().position(|known| known.name == group);
        let place = place.with_context(|| format!("there is no group {group}; the configuration has {}", known()))?;
        let shards: Result<_> = (0..config.shards).map(|number| store(config, number)).collect();
        Ok(Replayed {
            shards: shards?,
            group: GroupIndex(u16::try_from(place)?),
            group_hash: group_hash(group, config.cluster_seed),
            value: vec![0; config.value_bytes_max as usize],
        })
    }

    /// Entries that had to make room for others.
    pub fn evictions(&self) -> u64 {
        self.shards.iter().map(|store| store.counters(self.group).evictions).sum()
    }

    /// Replays the trace, at most `requests_max` requests of it: get, and on a miss set. Without sizes every value has
    /// `value_bytes`.
    ///
    /// # Errors
    /// The trace cannot be read.
    pub fn replay(&mut self, trace: &mut Trace, value_bytes: u32, requests_max: u64) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        while outcome.requests < requests_max
            && let Some(request) = trace.next_request()?
        {
            outcome.requests += 1;
            let bytes = trace_key(request.key);
            let hash = key_hash(&bytes, self.group_hash);
            let count = u16::try_from(self.shards.len()).expect("a server has at most 256 shards");
            let store = &mut self.shards[usize::from(shard(hash, count))];
            let key = Key { group: self.group, hash, bytes: &bytes };
            if store.get(key, NOW_MS).is_some() {
                outcome.hits += 1;
                continue;
            }
            outcome.misses += 1;
            let value_bytes = request.size.unwrap_or(value_bytes) as usize;
            let Some(value) = self.value.get(..value_bytes) else {
                outcome.too_large += 1;
                continue;
            };
            match store.set(key, Write { value, ..Write::default() }, NOW_MS) {
                Ok(_) => outcome.sets += 1,
                Err(StoreError::TooLarge) => outcome.too_large += 1,
                Err(error) => return Err(error).context("a set without a condition"),
            }
        }
        Ok(outcome)
    }
}

fn hash_of(seed: u64, key: &[u8]) -> u64 {
    key_hash(key, seed)
}

/// The store of one shard, as the server makes it.
fn store(config: &Config, number: u16) -> Result<Store> {
    let shard = u8::try_from(number).expect("a server has at most 256 shards");
    let settings = StoreSettings {
        shard,
        value_bytes_max: config.value_bytes_max as usize,
        memory_bytes: config.memory_bytes / u64::from(config.shards),
        key_hash: hash_of,
    };
    let mut store = Store::new(settings, NoHook);
    for mut group in config.group_settings() {
        group.budget_bytes /= u64::from(config.shards);
        let name = group.name.clone();
        group.hash_seed = group_hash(&name, config.cluster_seed);
        store.create_group(group).with_context(|| format!("group {name} on shard {number}"))?;
    }
    Ok(store)
}

/// The configuration that `larder serve` has with these flags, whatever the environment says.
///
/// # Errors
/// What `larder serve` would refuse.
pub fn config(flags: &ServeFlags) -> Result<Config> {
    // The number of cores does not matter here: flags name the number of shards.
    Ok(Loaded::load(flags, [], &[0])?.config)
}

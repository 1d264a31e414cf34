//! Caches of which every object costs 1, as in published miss ratios.

use anyhow::{Context, Result, ensure};
use larder_ring::{key_hash, shard};
use larder_store::limits::{MEMORY_BYTES_MIN, REGION_BYTES_MAX};
use larder_store::{Charge, GroupIndex, GroupSettings, Key, NoHook, PolicyKind, Store, StoreSettings, Write};

use super::{NOW_MS, Rival, Run, hash_of};

/// Memory for each object of a cache: an entry without a value, its place in the index, ghosts, and room to clean.
const OBJECT_MEMORY_BYTES: u64 = 256;

/// What a trace is replayed against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// The store of the server, one for each shard, among which the objects are divided.
    Larder {
        /// What is evicted.
        policy: PolicyKind,
        /// Number of stores; the hash of a key says which is its own.
        shards: u16,
    },
    /// Somebody else's cache.
    Rival(Rival),
}

impl Cache {
    /// What tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Cache::Larder { policy, .. } => policy.name(),
            Cache::Rival(rival) => rival.name(),
        }
    }

    /// Stores that the objects are divided among.
    pub fn shards(self) -> u16 {
        match self {
            Cache::Larder { shards, .. } => shards,
            Cache::Rival(_) => 1,
        }
    }

    /// Replays the keys of a trace in room for so many objects. The run says how many shards there were if `is_sharded`.
    ///
    /// # Errors
    /// Those of [`Cache::misses`].
    pub fn run(self, trace: &str, keys: &[u64], cache_objects: u64, is_sharded: bool) -> Result<Run> {
        let misses = self.misses(cache_objects, keys)?;
        let (requests, shards) = (keys.len() as u64, is_sharded.then(|| self.shards()));
        Ok(Run { trace: trace.into(), policy: self.name(), shards, cache_objects, requests, misses })
    }

    /// Asks for each key, stores what is not there, in room for so many objects, and returns the number of misses.
    ///
    /// # Errors
    /// Fewer objects than shards, or the store refuses the size.
    pub fn misses(self, cache_objects: u64, keys: &[u64]) -> Result<u64> {
        match self {
            Cache::Larder { policy, shards } => larder(policy, shards, cache_objects, keys),
            Cache::Rival(rival) => Ok(rival.misses(cache_objects, keys)),
        }
    }
}

fn larder(policy: PolicyKind, shards: u16, cache_objects: u64, keys: &[u64]) -> Result<u64> {
    ensure!(
        u64::from(shards) <= cache_objects,
        "a cache of {cache_objects} objects cannot be divided among {shards} shards; ask for larger sizes, or fewer shards"
    );
    let stores = (0..u64::from(shards)).map(|number| {
        let more = u64::from(number < cache_objects % u64::from(shards));
        store(policy, cache_objects / u64::from(shards) + more)
    });
    let mut stores = stores.collect::<Result<Vec<_>>>()?;
    let mut misses = 0;
    for key in keys {
        let bytes = key.to_le_bytes();
        let hash = key_hash(&bytes, 0);
        let (store, group) = &mut stores[usize::from(shard(hash, shards))];
        let key = Key { group: *group, hash, bytes: &bytes };
        if store.get(key, NOW_MS).is_none() {
            misses += 1;
            store.set(key, Write::default(), NOW_MS).context("an object costs 1, and the cache has room for 1")?;
        }
    }
    Ok(misses)
}

fn store(policy: PolicyKind, objects: u64) -> Result<(Store<NoHook>, GroupIndex)> {
    let memory_bytes = (objects * OBJECT_MEMORY_BYTES).clamp(MEMORY_BYTES_MIN, REGION_BYTES_MAX);
    let settings = StoreSettings { shard: 0, value_bytes_max: 0, memory_bytes, key_hash: hash_of };
    let mut store = Store::new(settings, NoHook);
    let group = store
        .create_group(GroupSettings {
            name: "objects".into(),
            budget_bytes: objects,
            policy: policy.into(),
            ttl_ms: 0,
            ttl_jitter: 0,
            hash_seed: 0,
            charge: Charge::Objects,
        })
        .with_context(|| format!("a cache of {objects} objects"))?;
    Ok((store, group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_divided_among_the_shards_without_a_rest() {
        let keys: Vec<u64> = (0..5_000).chain(0..5_000).collect();
        let whole = Cache::Larder { policy: PolicyKind::Lru, shards: 1 };
        assert_eq!(whole.misses(5_000, &keys).unwrap(), 5_000, "the second round finds all");
        let sharded = Cache::Larder { policy: PolicyKind::Lru, shards: 7 };
        let misses = sharded.misses(10_003, &keys).unwrap();
        assert_eq!(misses, 5_000, "seven shards of 1,429 objects hold about 714 keys each");
        let error = sharded.misses(6, &keys).unwrap_err().to_string();
        assert!(error.contains("6 objects") && error.contains("7 shards"), "{error}");
    }
}

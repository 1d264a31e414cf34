//! What a replay over the network must give (`loadgen replay` with one connection): the same shards, budgets, keys and
//! values as a server with the same configuration.

use anyhow::{Context, Result};
use larder_ring::{group_hash, key_hash, shard};
use larder_server::config::{Config, GroupConfig, Loaded, ServeFlags};
use larder_store::{GroupIndex, Key, NoHook, Store, StoreError, StoreSettings, Write};
use loadgen::trace::Trace;
use loadgen::workload::keys::trace_key;

use super::{NOW_MS, hash_of};

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
    for mut group in config.groups.iter().map(GroupConfig::settings) {
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

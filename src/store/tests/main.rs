//! Tests of the store through its public face.

mod allocations;
mod arena;
mod bounds;
mod contract;
mod dropping;
mod expiry;
mod model;
mod operation;
mod plain;
mod policies;
mod removals;
mod run;
mod scan;
mod setup;
mod shrinking;
mod stale;
mod switching;
mod traces;
mod updates;
mod upkeep;

use larder_store::{Charge, GroupSettings, PolicyKind, StoreSettings};

/// Whether the long form of the tests was asked for.
fn full() -> bool {
    std::env::var_os("LARDER_TEST_FULL").is_some_and(|value| value == "1")
}

/// Settings of a group without a default TTL.
fn group(name: &str, policy: PolicyKind, charge: Charge, budget_bytes: u64) -> GroupSettings {
    let (name, ttl_ms, ttl_jitter, hash_seed) = (name.into(), 0, 0, 7);
    GroupSettings { name, budget_bytes, policy: policy.into(), ttl_ms, ttl_jitter, hash_seed, charge }
}

/// Settings of a store with memory for whatever most tests store.
const SETTINGS: StoreSettings = StoreSettings { shard: 3, value_bytes_max: 100_000, memory_bytes: 64 << 20, key_hash };

fn key_hash(seed: u64, key: &[u8]) -> u64 {
    key.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0xD6E8_FEB8_6659_FD93))
}

//! How often a trace misses, worked out in process with the store of the server.
//!
//! [`Cache::misses`] counts as published miss ratios do: every object costs 1. [`Rival`] are caches of other people,
//! asked in the same way. [`Replayed`] gives what a replay over the network must give. [`Table`] and [`curves`] show
//! what was counted.

pub mod curves;
mod objects;
mod replayed;
mod rivals;
mod table;

pub use objects::Cache;
pub use replayed::{Outcome, Replayed, config};
pub use rivals::Rival;
pub use table::{Run, SHARD_OBJECTS_MIN, Spread, Table, TraceTable};

/// No entry of a replay expires, so the time does not matter; only 0 is not a time.
const NOW_MS: u64 = 1;

fn hash_of(seed: u64, key: &[u8]) -> u64 {
    larder_ring::key_hash(key, seed)
}

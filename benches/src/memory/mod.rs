//! What memory servers take, seen from outside: for each item that is really kept, and while the sizes of values
//! change.

pub mod account;
pub mod churn;
pub mod fill;
pub mod report;

use std::time::Duration;

use anyhow::Result;
use larder_ring::DEFAULT_GROUP;
use loadgen::run::{Length, Pace, Plan};
use loadgen::workload::{Distribution, KeySpace, ValueSizes};

use crate::peers::case::Target;

/// Length of a key, in bytes.
pub const KEY_BYTES: usize = 16;
/// Longest silence of a server under load.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections under load, and requests of each that wait for an answer.
const CONNECTIONS: usize = 4;
const PIPELINE: usize = 256;

/// What all loads here have in common: `mix` on `keys` keys, so many requests.
fn plan(target: Target, keys: u64, value_bytes: u32, mix: &str, requests: u64) -> Result<Plan> {
    Ok(Plan {
        address: target.address,
        protocol: target.protocol,
        group: DEFAULT_GROUP.into(),
        threads: 1,
        cores: vec![target.core],
        connections: CONNECTIONS,
        pipeline: PIPELINE,
        pace: Pace::Closed,
        keys: KeySpace::new(keys, "key:", KEY_BYTES, false)?,
        distribution: Distribution::InTurn,
        values: ValueSizes::Fixed(value_bytes),
        mix: mix.parse().map_err(anyhow::Error::msg)?,
        multi_get: 1,
        ttl: None,
        preload: false,
        warm_up: Duration::ZERO,
        length: Length::Requests(requests),
        verify: None,
        fill: false,
        seed: 1,
        reconnects: 0,
        timeout: ANSWER_TIMEOUT,
        progress: false,
        shard_aware: false,
    })
}

//! What load is made for, and what all loads here have in common.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use larder_ring::DEFAULT_GROUP;
use loadgen::protocol::ProtocolName;
use loadgen::run::{Length, Pace, Plan};
use loadgen::workload::{Distribution, KeySpace, ValueSizes};

/// Length of a key, in bytes.
pub const KEY_BYTES: usize = 16;
/// Longest silence of a server under load.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Where load goes, and from which core it comes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The server.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: ProtocolName,
    /// The core of the load generator.
    pub core: usize,
}

impl Target {
    /// A load of `mix` on so many keys, by one thread: one request at a time on one connection, in a closed loop.
    ///
    /// # Errors
    /// Keys that cannot be.
    pub fn plan(self, keys: u64, value_bytes: u32, mix: &str, length: Length) -> Result<Plan> {
        Ok(Plan {
            address: self.address,
            protocol: self.protocol,
            group: DEFAULT_GROUP.into(),
            threads: 1,
            cores: vec![self.core],
            connections: 1,
            pipeline: 1,
            pace: Pace::Closed,
            keys: KeySpace::new(keys, "key:", KEY_BYTES, false)?,
            distribution: Distribution::Uniform,
            values: ValueSizes::Fixed(value_bytes),
            mix: mix.parse().map_err(anyhow::Error::msg)?,
            multi_get: 1,
            ttl: None,
            preload: false,
            warm_up: Duration::ZERO,
            length,
            verify: None,
            fill: false,
            seed: 1,
            reconnects: 0,
            timeout: ANSWER_TIMEOUT,
            progress: false,
            shard_aware: false,
        })
    }
}

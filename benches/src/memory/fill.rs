//! Bytes per item really kept: a server gets more than fits, and every key is asked for afterwards.

use anyhow::{Context, Result, ensure};
use loadgen::run::{Length, Plan, run};
use loadgen::workload::Distribution;
use serde::Serialize;
use std::time::Duration;

use super::account::Account;
use super::{CONNECTIONS, PIPELINE};
use crate::peers::server::{Kind, Launch, Server};
use crate::target::{KEY_BYTES, Target};

/// Memory that [`Filling::items`] are for, in MiB.
pub const MEMORY_MIB: u64 = 256;
/// How long items live: longer than the measurement, and as all peers can have it.
const TTL: Duration = Duration::from_secs(3600);

/// Items that a server gets.
#[derive(Clone, Copy, Debug)]
pub struct Filling {
    /// Bytes of each value.
    pub value_bytes: u32,
    /// How many, for [`MEMORY_MIB`]; more than fit.
    pub items: u64,
    /// Resident bytes per item kept that Larder may have.
    pub target_bytes: f64,
    /// What it is to come to.
    pub goal_bytes: f64,
}

/// Small and middling items.
pub const FILLINGS: [Filling; 2] = [
    Filling { value_bytes: 64, items: 4_800_000, target_bytes: 136.0, goal_bytes: 128.0 },
    Filling { value_bytes: 1024, items: 369_230, target_bytes: 1150.0, goal_bytes: 1110.0 },
];

/// What a server made of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FillReport {
    /// Which one.
    pub server: &'static str,
    /// Its name and version.
    pub version: String,
    /// Bytes of each key and value.
    pub key_bytes: usize,
    /// See `key_bytes`.
    pub value_bytes: u32,
    /// Items that it got, and those that were found when all were asked for.
    pub items: u64,
    /// See `items`.
    pub items_kept: u64,
    /// Resident memory of the process before and after, in bytes.
    pub resident_bytes_before: u64,
    /// See `resident_bytes_before`.
    pub resident_bytes: u64,
    /// `resident_bytes` for each item kept.
    pub bytes_per_item: f64,
    /// Larder's own account.
    pub account: Option<Account>,
}

/// Fills a new server, and counts what it kept.
///
/// # Errors
/// A server that does not start, or refuses something.
pub fn fill(kind: Kind, launch: &Launch<'_>, generator_core: usize, filling: &Filling) -> Result<FillReport> {
    let server = Server::start(kind, launch)?;
    let resident_bytes_before = server.resident_bytes()?;
    let target = Target { address: server.address, protocol: kind.protocol(), core: generator_core };
    let items = filling.items * launch.memory_mib / MEMORY_MIB;
    // Each key once.
    let report = run(&Plan {
        connections: CONNECTIONS,
        pipeline: PIPELINE,
        distribution: Distribution::InTurn,
        preload: true,
        ttl: Some(TTL),
        ..target.plan(items, filling.value_bytes, "get=1", Length::Requests(items))?
    })
    .with_context(|| format!("{items} items of {} bytes to {}", filling.value_bytes, kind.name()))?;
    let asked = report.hits + report.misses;
    ensure!(report.errors_total == 0, "{} refused {} requests: {:?}", kind.name(), report.errors_total, report.errors);
    ensure!(asked == items, "{asked} of {items} keys were asked for at {}", kind.name());
    ensure!(report.hits > 0, "{} kept nothing", kind.name());
    let resident_bytes = server.resident_bytes()?;
    Ok(FillReport {
        server: kind.name(),
        version: report.server,
        key_bytes: KEY_BYTES,
        value_bytes: filling.value_bytes,
        items,
        items_kept: report.hits,
        resident_bytes_before,
        resident_bytes,
        bytes_per_item: resident_bytes as f64 / report.hits as f64,
        account: (kind == Kind::Larder).then(|| Account::ask(server.address)).transpose()?,
    })
}

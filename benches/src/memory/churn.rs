//! Churn: values of one size make room for those of another, and the process stays within its memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use larder_store::limits::{ENTRY_HEADER_BYTES, ENTRY_INDEX_BYTES};
use loadgen::run::{Length, Plan, run};
use serde::Serialize;

use super::account::Account;
use super::{CONNECTIONS, PIPELINE};
use crate::peers::server::{Kind, Launch, Server};
use crate::target::{KEY_BYTES, Target};

/// Sizes of values, phase by phase, in bytes.
pub const PHASES: [u32; 4] = [200, 64 << 10, 1 << 10, 16];
/// Each phase writes so many times the memory.
pub const MEMORIES_WRITTEN: u64 = 10;
/// The keys of a phase would take so many times the memory.
const MEMORIES_OF_KEYS: u64 = 2;
/// Resident memory may be so many times the memory that was given, and a base.
pub const MEMORY_FACTOR: f64 = 1.05;
/// The base that is stated for two shards: the program itself, its stacks, and the buffers of connections and lanes.
pub const BASE_BYTES_MAX: u64 = 64 << 20;
/// The least share of the memory that is to be entries with what belongs to them, at the end of each phase, under a
/// policy without ghosts. With ghosts it is what these leave.
pub const ENTRY_SHARE_MIN: f64 = 0.9;
/// Bytes of values on their way at most, so that the buffers of connections are not what is measured.
const IN_FLIGHT_BYTES: usize = 4 << 20;
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// One phase.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseReport {
    /// Bytes of each value.
    pub value_bytes: u32,
    /// Keys that writes were drawn from, all alike often.
    pub keys: u64,
    /// Writes.
    pub writes: u64,
    /// Writes that were not answered OK, or not at all.
    pub failed: u64,
    /// Writes that the server counts.
    pub stored: u64,
    /// Writes per second: how fast it went, no measurement of speed.
    pub writes_per_s: f64,
    /// Keys, values and headers of all writes, in bytes.
    pub sent_bytes: u64,
    /// What the server appended of it: a value that is written over one of its own size takes its place.
    pub appended_bytes: u64,
    /// The most resident memory that was seen in this phase, in bytes.
    pub resident_bytes_max: u64,
    /// The share of the memory that is entries with all that belongs to them, at the end.
    pub entry_share: f64,
    /// The share that is in use for ghosts, at the end.
    pub ghost_share: f64,
    /// Bytes appended and moved for each byte appended, in this phase.
    pub write_amplification: f64,
    /// The server's account at the end.
    pub account: Account,
}

/// All phases, on one server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChurnReport {
    /// Memory that the server was told to use, in bytes.
    pub memory_bytes: u64,
    /// Cores of its shards.
    pub cores: String,
    /// Resident memory before the first write.
    pub resident_bytes_before: u64,
    /// The most resident memory that it ever had, as the kernel counts it.
    pub resident_bytes_max: u64,
    /// What it had besides its memory then: the base as it really is.
    pub base_bytes: i64,
    /// The most that it may have.
    pub resident_bytes_limit: u64,
    /// The phases.
    pub phases: Vec<PhaseReport>,
}

/// Churns a new Larder with two shards or more.
///
/// # Errors
/// A server that does not start, or breaks off. What it refuses is in the report.
pub fn churn(launch: &Launch<'_>, generator_core: usize) -> Result<ChurnReport> {
    let server = Server::start(Kind::Larder, launch)?;
    let memory_bytes = launch.memory_mib << 20;
    let resident_bytes_before = server.resident_bytes()?;
    let target = Target { address: server.address, protocol: Kind::Larder.protocol(), core: generator_core };
    let mut phases = Vec::new();
    let mut before = Account::ask(server.address)?;
    ensure!(before.memory_bytes <= memory_bytes, "larder counts {} bytes as its memory", before.memory_bytes);
    for value_bytes in PHASES {
        eprintln!("memory: churn, values of {value_bytes} bytes");
        let phase = phase(&server, target, memory_bytes, value_bytes, &before)
            .with_context(|| format!("churn with values of {value_bytes} bytes"))?;
        before = phase.account;
        phases.push(phase);
    }
    // The kernel counts per core and puts its counts together now and then, so either may be a little ahead.
    let polled = phases.iter().map(|phase| phase.resident_bytes_max).max().unwrap_or(0);
    let resident_bytes_max = server.resident_bytes_max()?.max(polled);
    Ok(ChurnReport {
        memory_bytes,
        cores: launch.cores.into(),
        resident_bytes_before,
        resident_bytes_max,
        base_bytes: resident_bytes_max as i64 - memory_bytes as i64,
        resident_bytes_limit: (memory_bytes as f64 * MEMORY_FACTOR) as u64 + BASE_BYTES_MAX,
        phases,
    })
}

fn phase(
    server: &Server,
    target: Target,
    memory_bytes: u64,
    value_bytes: u32,
    before: &Account,
) -> Result<PhaseReport> {
    let block_bytes = (ENTRY_HEADER_BYTES + KEY_BYTES) as u64 + u64::from(value_bytes);
    let keys = MEMORIES_OF_KEYS * memory_bytes / (block_bytes + ENTRY_INDEX_BYTES as u64);
    let writes = (MEMORIES_WRITTEN * memory_bytes).div_ceil(block_bytes);
    let fitting = IN_FLIGHT_BYTES / CONNECTIONS / value_bytes as usize;
    let plan = Plan {
        connections: CONNECTIONS,
        pipeline: PIPELINE.min(fitting.max(1)),
        // Each key straight to its shard: what is measured is memory, and this is the least work.
        shard_aware: true,
        ..target.plan(keys, value_bytes, "set=1", Length::Requests(writes))?
    };
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let (report, resident_bytes_max) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| resident_bytes_until(server, &over));
        let report = run(&plan);
        over.store(true, Ordering::Release);
        (report, watch.join().expect("the watch does not panic"))
    });
    let (report, seconds) = (report?, begun.elapsed().as_secs_f64());
    let account = Account::ask(server.address)?;
    Ok(PhaseReport {
        value_bytes,
        keys,
        writes,
        failed: writes - (report.requests - report.errors_total),
        writes_per_s: writes as f64 / seconds,
        stored: account.sets - before.sets,
        sent_bytes: writes * block_bytes,
        appended_bytes: account.written_bytes - before.written_bytes,
        resident_bytes_max: resident_bytes_max?,
        entry_share: account.entry_share(),
        ghost_share: account.ghost_share(),
        write_amplification: account.write_amplification(before),
        account,
    })
}

/// The most resident memory that is seen until it is over.
fn resident_bytes_until(server: &Server, over: &AtomicBool) -> Result<u64> {
    let mut most = 0;
    loop {
        let is_over = over.load(Ordering::Acquire);
        most = most.max(server.resident_bytes()?);
        if is_over {
            return Ok(most);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

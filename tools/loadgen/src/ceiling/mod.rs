//! `loadgen ceiling`: what the generator itself can do, against a server that does nothing. A run that comes near to
//! it measures the generator.

mod canned;
mod null;

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::error::LoadError;
use crate::progress::{percent, thousands};
use crate::protocol::ProtocolName;
use crate::report::{Latency, Row, write_latencies, write_line};
use crate::run::{Length, Pace, Plan, run};
use crate::system;
use crate::workload::{Distribution, KeySpace, Mix, ValueSizes};
use null::NullServer;

/// What `ceiling` is to measure.
#[derive(Clone, Debug)]
pub struct CeilingPlan {
    /// What is spoken.
    pub protocol: ProtocolName,
    /// Connections of the one thread that makes load.
    pub connections: usize,
    /// Requests of each that wait for an answer.
    pub pipeline: usize,
    /// Bytes of each value.
    pub value_bytes: u32,
    /// Which operations.
    pub mix: Mix,
    /// Keys of each get.
    pub multi_get: usize,
    /// Core of the generator; absent: not pinned.
    pub core: Option<usize>,
    /// Core of the server; absent: not pinned.
    pub server_core: Option<usize>,
    /// Length of the measurement.
    pub duration: Duration,
}

/// What the generator can do. The field names are what scripts rely on.
#[derive(Clone, Debug, Serialize)]
pub struct CeilingReport {
    /// Always `ceiling`.
    pub command: &'static str,
    /// The load protocol.
    pub protocol: &'static str,
    /// Connections.
    pub connections: usize,
    /// Requests of each that wait for an answer.
    pub pipeline: usize,
    /// Requests per second that were made.
    pub achieved_per_s: f64,
    /// Requests per second of the generator's CPU time: the ceiling of a thread that has its core for itself.
    pub per_cpu_s: f64,
    /// Share of the time that the generator was at work.
    pub busy: f64,
    /// Whether that is over 90 %. If not, the server was what limited this measurement, and `per_cpu_s` counts.
    pub limited: bool,
    /// Latency with a server that does nothing.
    pub latency: Latency,
}

/// Loads a server that does nothing.
///
/// # Errors
/// What [`run`] says; no listener.
pub fn ceiling(plan: &CeilingPlan) -> Result<CeilingReport, LoadError> {
    // Both ends of every connection are here.
    system::allow_files(plan.connections * 2)?;
    let server = NullServer::start(plan.protocol, plan.value_bytes as usize, plan.server_core)?;
    let report = run(&Plan {
        address: server.address(),
        protocol: plan.protocol,
        group: "default".into(),
        threads: 1,
        cores: plan.core.into_iter().collect(),
        connections: plan.connections,
        pipeline: plan.pipeline,
        pace: Pace::Closed,
        keys: KeySpace::new(1_000_000, "key:", 16, true)?,
        distribution: Distribution::Uniform,
        values: ValueSizes::Fixed(plan.value_bytes),
        mix: plan.mix,
        multi_get: plan.multi_get,
        ttl: None,
        preload: false,
        warm_up: Duration::ZERO,
        length: Length::Time(plan.duration),
        verify: None,
        fill: false,
        seed: 1,
        reconnects: 0,
        timeout: Duration::from_secs(10),
        progress: false,
        shard_aware: false,
    });
    let stopped = server.stop();
    // If the server failed, the run could only fail too, and the server knows why.
    stopped?;
    let report = report.map_err(|error| match error {
        // A run may have several cores, this one has one.
        LoadError::Option { name: "--cores", value, remedy } => LoadError::Option { name: "--core", value, remedy },
        other => other,
    })?;
    Ok(CeilingReport {
        command: "ceiling",
        protocol: report.protocol,
        connections: plan.connections,
        pipeline: plan.pipeline,
        achieved_per_s: report.achieved_per_s,
        per_cpu_s: report.achieved as f64 / report.generator.cpu_s,
        busy: report.generator.busy[0],
        limited: report.generator.limited,
        latency: report.latency,
    })
}

impl fmt::Display for CeilingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CeilingReport { protocol, connections, pipeline, .. } = self;
        writeln!(f, "ceiling of protocol {protocol}, {connections} connections, pipeline {pipeline}\n")?;
        let per_s = |rate: f64| thousands(rate.round() as u64);
        write_line(f, "throughput", &format!("{} req/s", per_s(self.achieved_per_s)))?;
        write_line(f, "ceiling", &format!("{} req/s of the generator's CPU time", per_s(self.per_cpu_s)))?;
        let busy = percent((self.busy * 10_000.0) as u64, 10_000);
        let who = if self.limited { "generator-limited" } else { "the server was slower: the ceiling counts" };
        write_line(f, "generator", &format!("{busy} busy; {who}"))?;
        writeln!(f)?;
        write_latencies(f, &[Row("latency", self.latency)])
    }
}

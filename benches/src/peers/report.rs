//! The result: a JSON object and a table.

use std::fmt::{self, Write};

use serde::Serialize;

use super::idle::IdleReport;
use super::measure::{Medians, OpenLoop};

/// Everything that was measured. The field names are what scripts rely on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PeersReport {
    /// Always `peers`.
    pub command: &'static str,
    /// The processor, as the kernel names it, and how many of its cores there are.
    pub machine: String,
    /// How often each case was measured on each server, in turn.
    pub rounds: usize,
    /// Length of each measurement, in seconds.
    pub seconds: f64,
    /// Cores of the servers and of the load generator.
    pub server_core: usize,
    /// See `server_core`.
    pub generator_core: usize,
    /// Name and version of each server.
    pub servers: Vec<String>,
    /// Closed loops, one core each.
    pub cases: Vec<CaseReport>,
    /// Larder with two shards on two cores.
    pub two_shards: Option<TwoShards>,
    /// Open loops.
    pub open_loops: Vec<OpenReport>,
    /// Connections that ask for nothing.
    pub idle: Vec<IdleReport>,
    /// What a reader must know to judge the figures.
    pub notes: Vec<String>,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    /// Its name.
    pub name: &'static str,
    /// Requests of a connection that wait for an answer.
    pub pipeline: usize,
    /// Connections.
    pub connections: usize,
    /// Keys of each get.
    pub multi_get: usize,
    /// Bytes of each value.
    pub value_bytes: u32,
    /// The servers.
    pub servers: Vec<CaseServer>,
}

/// One server in one case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseServer {
    /// Which one.
    pub server: &'static str,
    /// What it did.
    #[serde(flatten)]
    pub medians: Medians,
    /// Larder's CPU per request as a share of this server's: median of the ratios within rounds.
    pub larder_cpu_ratio: Option<f64>,
    /// The same of Larder by this server's own protocol.
    pub same_protocol_cpu_ratio: Option<f64>,
    /// Resident memory after the keys were loaded, in bytes.
    pub resident_bytes: u64,
}

/// Two shards with two kinds of client.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TwoShards {
    /// A client that sends each request to any shard.
    pub plain: Medians,
    /// A client with connections for each shard.
    pub shard_aware: Medians,
    /// CPU per request of the plain client as a multiple of that of the shard-aware one.
    pub plain_cpu_ratio: f64,
    /// Most connections of a round that another shard serves than the one they named.
    pub connections_elsewhere: u64,
}

/// One server at one share of its peak.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct OpenReport {
    /// Which one.
    pub server: &'static str,
    /// Share of its closed-loop throughput.
    pub share_of_peak: f64,
    /// What came of it.
    #[serde(flatten)]
    pub result: OpenLoop,
}

impl fmt::Display for PeersReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        writeln!(f, "{}", self.servers.join(", "))?;
        writeln!(
            f,
            "medians of {} rounds of {} s; servers on core {}, load generator on core {}\n",
            self.rounds, self.seconds, self.server_core, self.generator_core
        )?;
        writeln!(
            f,
            "{:<10} {:<11} {:>9} {:>8} {:>8} {:>8} {:>9} {:>9} {:>8}  {:>5}",
            "case", "server", "us CPU/op", "larder/", "same/", "kop/s", "p50 us", "p99 us", "RSS MiB", "busy"
        )?;
        for case in &self.cases {
            for (place, server) in case.servers.iter().enumerate() {
                let name = if place == 0 { case.name } else { "" };
                f.write_str(&row(
                    name,
                    server.server,
                    &server.medians,
                    [server.larder_cpu_ratio, server.same_protocol_cpu_ratio],
                ))?;
                writeln!(f, " {:>8.0}  {}", server.resident_bytes as f64 / f64::from(1 << 20), busy(&server.medians))?;
            }
        }
        if let Some(shards) = &self.two_shards {
            for (name, client, medians, ratio) in [
                ("two_shards", "plain", &shards.plain, None),
                ("/plain", "aware", &shards.shard_aware, Some(1.0 / shards.plain_cpu_ratio)),
            ] {
                f.write_str(&row(name, client, medians, [ratio, None]))?;
                writeln!(f, " {:>8}  {}", "", busy(medians))?;
            }
        }
        self.write_open_loops(f)?;
        self.write_idle(f)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "\nnote: {note}"))
    }
}

impl PeersReport {
    fn write_idle(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.idle.first() else { return Ok(()) };
        writeln!(f, "\n{} idle connections, {:.0} s", first.connections, first.seconds)?;
        writeln!(f, "{:<10} {:<11} {:>9} {:>18}", "idle", "server", "% CPU", "bytes/connection")?;
        for (place, IdleReport { server, cpu_percent, resident_bytes_per_connection, .. }) in
            self.idle.iter().enumerate()
        {
            let name = if place == 0 { "idle" } else { "" };
            writeln!(f, "{name:<10} {server:<11} {cpu_percent:>9.3} {resident_bytes_per_connection:>18.0}")?;
        }
        Ok(())
    }

    fn write_open_loops(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.open_loops.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "\n{:<10} {:<11} {:>8} {:>9} {:>9} {:>9} {:>9} {:>12} {:>12}",
            "open loop", "server", "kop/s", "answered", "p50 us", "p99 us", "p99.9 us", "own lag p99", "own lag 99.9"
        )?;
        for OpenReport { server, share_of_peak, result } in &self.open_loops {
            writeln!(
                f,
                "{:<10} {server:<11} {:>8.0} {:>7.2} % {:>9.0} {:>9.0} {:>9.0} {:>12.0} {:>12.0}",
                format!("{:.0} %", share_of_peak * 100.0),
                result.rate_per_s / 1000.0,
                result.answered * 100.0,
                result.p50_us,
                result.p99_us,
                result.p999_us,
                result.generator_lag_p99_us,
                result.generator_lag_p999_us
            )?;
        }
        Ok(())
    }
}

fn row(name: &str, server: &str, medians: &Medians, ratios: [Option<f64>; 2]) -> String {
    let mut text = String::new();
    let Medians { cpu_us_per_op, ops_per_s, p50_us, p99_us, .. } = medians;
    let [larder, same] = ratios.map(|ratio| ratio.map_or(String::new(), |ratio| format!("{ratio:.3}")));
    let _ = write!(
        text,
        "{name:<10} {server:<11} {cpu_us_per_op:>9.3} {larder:>8} {same:>8} {:>8.0} {p50_us:>9.0} {p99_us:>9.0}",
        ops_per_s / 1000.0
    );
    text
}

fn busy(medians: &Medians) -> String {
    let limited = if medians.generator_limited { " generator-limited" } else { "" };
    format!("{:>3.0} %{limited}", medians.generator_busy * 100.0)
}

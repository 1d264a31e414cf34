//! `topology`: how long a change in etcd takes to the last shard of the last node, and what a ring costs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use larder_benches::peers::server::larder_beside;
use larder_benches::topology::{RingCost, Spread, ring_cost, spread};
use larder_benches::{machine, report};
use serde::Serialize;

/// Most processes and shards that are started.
const NODES_MAX: usize = 32;
const SHARDS_MAX: u16 = 64;

/// Starts etcd and a cluster, changes a weight again and again, and times how long every shard takes to know; and builds
/// rings of many nodes.
#[derive(Debug, Parser)]
#[command(name = "topology")]
struct Options {
    /// Print one JSON object to standard output, and the table to standard error.
    #[arg(long)]
    json: bool,
    /// Nodes of the cluster.
    #[arg(long, value_name = "N", default_value_t = 3)]
    nodes: usize,
    /// Shards of each.
    #[arg(long, value_name = "N", default_value_t = 2)]
    shards: u16,
    /// Changes.
    #[arg(long, value_name = "N", default_value_t = 100)]
    events: usize,
    /// Sizes of the rings that are built.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "3,100,1000")]
    rings: Vec<usize>,
    /// The server, instead of the one beside this program.
    #[arg(long, value_name = "PATH")]
    larder: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct TopologyReport {
    command: &'static str,
    machine: String,
    spread: Spread,
    rings: Vec<RingCost>,
}

fn main() -> ExitCode {
    report::exit("topology", execute(Options::parse()))
}

fn execute(options: Options) -> Result<()> {
    let Options { nodes, shards, .. } = options;
    ensure!((1..=NODES_MAX).contains(&nodes), "--nodes {nodes}: expected 1 to {NODES_MAX}");
    ensure!((1..=SHARDS_MAX).contains(&shards), "--shards {shards}: expected 1 to {SHARDS_MAX}");
    let larder = options.larder.map_or_else(larder_beside, Ok)?;
    let rings = options.rings.iter().map(|&nodes| ring_cost(nodes)).collect::<Result<_>>()?;
    let spread = spread(&larder, nodes, shards, options.events)?;
    let report = TopologyReport { command: "topology", machine: machine()?, spread, rings };
    report::print(options.json, &report, table(&report))
}

fn table(report: &TopologyReport) -> String {
    let Spread { nodes, shards, events, from_asking_ms, from_answer_ms } = &report.spread;
    let mut text = format!(
        "{}\n\n{events} changes of a weight, until the last shard of {nodes} nodes x {shards} shards goes by it\n\n",
        report.machine
    );
    text += &format!("{:<34} {:>10} {:>10}\n", "", "median ms", "longest ms");
    for (name, times) in [("from asking a node to write it", from_asking_ms), ("from etcd's answer", from_answer_ms)] {
        text += &format!("{name:<34} {:>10.2} {:>10.2}\n", times.median, times.max);
    }
    text += &format!("\n{:>10} {:>12} {:>12}\n", "ring of", "build ms", "look-up ns");
    for RingCost { nodes, build_ms, lookup_ns } in &report.rings {
        text += &format!("{nodes:>10} {build_ms:>12.2} {lookup_ns:>12.2}\n");
    }
    text
}

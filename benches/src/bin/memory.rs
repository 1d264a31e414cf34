//! `memory`: bytes per item really kept, and memory under churn, of Larder beside redis-server and memcached.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use larder_benches::hit_ratio::config;
use larder_benches::memory::churn::churn;
use larder_benches::memory::fill::{FILLINGS, fill};
use larder_benches::memory::report::MemoryReport;
use larder_benches::peers::server::{Kind, Launch, larder_beside};
use larder_benches::{machine, report};
use larder_server::config::{ServeFlags, Setting};
use larder_store::PolicyKind;

/// What --quick divides the memory and the numbers of items by.
const QUICK_DIVISOR: u64 = 20;

/// Measures what memory servers take: per item really kept, and while the sizes of values change.
#[derive(Debug, Parser)]
#[command(
    name = "memory",
    after_help = "\
fill: each server is told to use the same memory and gets more items with a TTL than fit, 4.8 M of 16 + 64 bytes and,
newly started, 369,230 of 16 + 1024 (for 256MiB, else in proportion). Then every key is asked for, and the resident
memory of the process is divided by the number of items found.

churn: Larder alone, with two shards. In phases with values of 200 bytes, 64 KiB, 1 KiB and 16 bytes random keys are
written, 10 times the memory in each, and the resident memory is looked at all the time. `entries` is the share of the
memory that is entries with their headers and places in the index, at the end of a phase.

Examples:
  memory --json > memory.json
  memory --sections churn --memory 1GiB
  memory --sections fill --servers larder --policy lru"
)]
struct Options {
    /// Print one JSON object to standard output, and the table to standard error.
    #[arg(long)]
    json: bool,
    /// What is measured; all if absent.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    sections: Vec<Section>,
    /// Servers that are filled; all if absent: larder, redis, memcached.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    servers: Vec<String>,
    /// Memory of each server, in whole MiB.
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    memory: String,
    /// Larder's eviction policy.
    #[arg(long, value_name = "P", default_value_t = PolicyKind::default())]
    policy: PolicyKind,
    /// 1/20 of memory and items: to see that it works, not what it measures.
    #[arg(long)]
    quick: bool,
    /// Core of the servers.
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    server_core: usize,
    /// Core of the load generator, and of Larder's second shard under churn.
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    generator_core: usize,
    /// The server program; the one beside this program if absent.
    #[arg(long, value_name = "PATH")]
    larder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Bytes per item really kept.
    Fill,
    /// Larder while the sizes of values change.
    Churn,
}

fn main() -> ExitCode {
    report::exit("memory", execute(&Options::parse()))
}

fn execute(options: &Options) -> Result<()> {
    let wants = |section| options.sections.is_empty() || options.sections.contains(&section);
    let memory_mib = memory_mib(&options.memory)? / if options.quick { QUICK_DIVISOR } else { 1 };
    ensure!(memory_mib > 0, "--memory {} --quick: a twentieth of it is less than 1MiB", options.memory);
    let kinds = kinds(&options.servers)?;
    let larder = options.larder.clone().map_or_else(larder_beside, Ok)?;
    let server_core = options.server_core.to_string();
    let launch = Launch {
        cores: &server_core,
        larder: &larder,
        memory_mib,
        policy: Some(options.policy),
        connections_max: None,
    };
    let mut report = MemoryReport {
        command: "memory",
        machine: machine()?,
        memory_bytes: memory_mib << 20,
        policy: options.policy.to_string(),
        ..MemoryReport::default()
    };
    if wants(Section::Fill) {
        for filling in &FILLINGS {
            for &kind in &kinds {
                eprintln!("memory: filling {} with values of {} bytes", kind.name(), filling.value_bytes);
                report.fill.push(fill(kind, &launch, options.generator_core, filling)?);
            }
        }
    }
    if wants(Section::Churn) {
        let cores = format!("{},{}", options.server_core, options.generator_core);
        report.churn = Some(churn(&Launch { cores: &cores, ..launch }, options.generator_core)?);
    }
    report::print(options.json, &report, &report)
}

/// A size as `larder serve` reads it.
fn memory_mib(text: &str) -> Result<u64> {
    let flags = ServeFlags { settings: vec![(Setting::Memory, text.into())], ..ServeFlags::default() };
    let bytes = config(&flags).context("the memory of a server")?.memory_bytes;
    ensure!(bytes % (1 << 20) == 0, "--memory {text}: memcached takes whole MiB");
    Ok(bytes >> 20)
}

fn kinds(names: &[String]) -> Result<Vec<Kind>> {
    for name in names {
        let is_known = Kind::PROGRAMS.iter().any(|kind| kind.name() == name);
        ensure!(is_known, "--servers {name}: there are larder, redis and memcached");
    }
    Ok(Kind::PROGRAMS
        .into_iter()
        .filter(|kind| names.is_empty() || names.iter().any(|name| name == kind.name()))
        .collect())
}

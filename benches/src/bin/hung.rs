//! `hung`: latency of gets that hit, beside others that wait for an origin that never answers.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use larder_benches::hung::{Hung, HungSettings, hung};
use larder_benches::peers::server::larder_beside;
use larder_benches::{machine, report};
use serde::Serialize;

/// Starts a server with a group whose origin never answers, and measures gets of another group that are there, in rounds
/// with and without 256 gets that wait for that origin.
#[derive(Debug, Parser)]
#[command(name = "hung")]
struct Options {
    /// Print one JSON object to standard output, and the table to standard error.
    #[arg(long)]
    json: bool,
    /// Rounds of each.
    #[arg(long, value_name = "N", default_value_t = 9)]
    rounds: usize,
    /// Time of a round in ms.
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    time: u64,
    /// Gets per second.
    #[arg(long, value_name = "N", default_value_t = 100_000.0)]
    rate: f64,
    /// The server's core, and the load generator's.
    #[arg(long, value_name = "CORE,CORE", value_delimiter = ',', default_value = "0,1")]
    cores: Vec<usize>,
    /// The server, instead of the one beside this program.
    #[arg(long, value_name = "PATH")]
    larder: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct HungReport {
    command: &'static str,
    machine: String,
    rounds: usize,
    rate_per_s: f64,
    hung: Hung,
}

fn main() -> ExitCode {
    report::exit("hung", execute(Options::parse()))
}

fn execute(options: Options) -> Result<()> {
    let [server, generator] = options.cores[..] else { anyhow::bail!("--cores: expected two, such as 0,1") };
    ensure!(options.rounds > 0 && options.rate > 0.0, "--rounds and --rate: expected more than 0");
    let larder = options.larder.map_or_else(larder_beside, Ok)?;
    let (rounds, rate_per_s) = (options.rounds, options.rate);
    let settings =
        HungSettings { cores: (server, generator), rounds, time: Duration::from_millis(options.time), rate_per_s };
    let hung = hung(&larder, &settings)?;
    let report = HungReport { command: "hung", machine: machine()?, rounds, rate_per_s, hung };
    report::print(options.json, &report, table(&report))
}

fn table(report: &HungReport) -> String {
    let HungReport { machine, rounds, rate_per_s, hung, .. } = report;
    let Hung { without_us, with_us, p99_ratio, origin_most, refused } = hung;
    format!(
        "{machine}\n\n{rate_per_s} gets per second of keys that are there, medians of {rounds} rounds\n\n\
         {:24} {:>9} {:>9}\n{:24} {:>9.0} {:>9.0}\n{:24} {:>9.0} {:>9.0}\n\n\
         ratio of the p99: {p99_ratio:.2} (median within rounds)\n\
         the origin saw {origin_most} requests at a time at most; {refused} gets waited for it in vain\n",
        "", "p50 us", "p99 us", "alone", without_us[0], without_us[1], "beside the hung origin", with_us[0], with_us[1]
    )
}

//! `pauses`: how long single inserts into one shard's store take, growth of the index and cleaning included.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use larder_benches::pauses::{INSERT_NS_MAX, P9999_NS_MAX, PASSES, Pass, PassReport, Times, clock, measure};
use larder_benches::{machine, report};
use larder_store::PolicyKind;
use serde::Serialize;

/// What --quick divides the number of inserts by.
const QUICK_DIVISOR: u64 = 20;
/// Readings of the clock with nothing between them.
const CLOCK_READINGS: u64 = 20_000_000;
/// Most repeats.
const REPEATS_MAX: usize = 100;

/// Measures each of 20 M inserts into one shard's store, in CPU time of the thread.
#[derive(Debug, Parser)]
#[command(
    name = "pauses",
    after_help = "\
Two passes with items of 16 + 16 bytes: `growing`, with memory for all of them, so that the index grows all the way;
and `full`, with random keys of which half fit, so that eviction and cleaning go on all the time. Each is done several times with
a new store: `all` has every insert, `least` for each insert the shortest of its times. The store does the same work
each time, so what is in `all` and not in `least` was the machine. A time contains one reading of the clock."
)]
struct Options {
    /// Print one JSON object to standard output, and the table to standard error.
    #[arg(long)]
    json: bool,
    /// Passes; both if absent: growing, full.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    passes: Vec<String>,
    /// Eviction policy.
    #[arg(long, value_name = "P", default_value_t = PolicyKind::default())]
    policy: PolicyKind,
    /// How often each pass is done.
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeats: usize,
    /// 1/20 of the inserts.
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Serialize)]
struct PausesReport {
    command: &'static str,
    machine: String,
    /// Times of nothing: readings of the clock that follow each other.
    clock: Times,
    passes: Vec<PassReport>,
}

fn main() -> ExitCode {
    report::exit("pauses", execute(&Options::parse()))
}

fn execute(options: &Options) -> Result<()> {
    let repeats = options.repeats;
    ensure!((1..=REPEATS_MAX).contains(&repeats), "--repeats {repeats}: expected 1 to {REPEATS_MAX}");
    for name in &options.passes {
        ensure!(PASSES.iter().any(|pass| pass.name == name), "--passes {name}: there are growing and full");
    }
    let divisor = if options.quick { QUICK_DIVISOR } else { 1 };
    let mut report = PausesReport {
        command: "pauses",
        machine: machine()?,
        clock: clock(CLOCK_READINGS / divisor),
        passes: Vec::new(),
    };
    for pass in
        PASSES.iter().filter(|pass| options.passes.is_empty() || options.passes.iter().any(|name| name == pass.name))
    {
        eprintln!("pauses: {}", pass.name);
        let pass = Pass { inserts: pass.inserts / divisor, keys: pass.keys / divisor, ..*pass };
        report.passes.push(measure(&pass, options.policy, repeats)?);
    }
    report::print(options.json, &report, table(&report))
}

fn table(report: &PausesReport) -> String {
    let mut text = format!(
        "{}\nno insert may take more than {} us, 99.99 % no more than {} us; one reading of the clock is in each\n\n",
        report.machine,
        INSERT_NS_MAX / 1000,
        P9999_NS_MAX / 1000
    );
    text += &format!(
        "{:<10} {:<6} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
        "pass", "times", "p50 us", "p99.9 us", "p99.99 us", "max us", "above max"
    );
    text += &row("(nothing)", "clock", &report.clock);
    for pass in &report.passes {
        text += &row(pass.pass, "all", &pass.all);
        text += &row("", "least", &pass.least);
    }
    for pass in &report.passes {
        text += &format!(
            "\n{}: policy {}, memory {} MiB, {} entries at the end, {} evicted; index of {} lines, {} moves in it; \
             cleaning moved {} bytes, at most {} in one insert",
            pass.pass,
            pass.policy,
            pass.memory_bytes >> 20,
            pass.entries,
            pass.evictions,
            pass.index_lines,
            pass.index_moves,
            pass.moved_bytes,
            pass.moved_bytes_max
        );
    }
    text + "\n"
}

fn row(pass: &str, name: &str, times: &Times) -> String {
    let us = |ns: u64| format!("{:.2}", ns as f64 / 1000.0);
    let [p50, p999, p9999, max] = [times.p50_ns, times.p999_ns, times.p9999_ns, times.max_ns].map(us);
    format!("{pass:<10} {name:<6} {p50:>9} {p999:>9} {p9999:>9} {max:>9} {:>9}\n", times.above_max)
}

//! `simulate`: runs of a simulated cluster, each from its seed.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{available_parallelism, scope};

use clap::Parser;
use larder_simulator::{Bug, Settings, simulate};

/// Run a simulated cluster with faults, and check what its clients saw
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  simulate --runs 1000                seeds 0 to 999
  simulate --seed 17 --trace          one run, with all that happens
  simulate --runs 300 --bug NoProof   a mistake is made, and has to be found (not in release builds)"
)]
struct Cli {
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Runs, with one seed after another
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: u64,
    /// Print all that happens
    #[arg(long)]
    trace: bool,
    /// Make this mistake, and succeed if it is found
    #[arg(long, value_name = "NAME", value_parser = Bug::parse)]
    bug: Option<Bug>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Bug::Engine(bug)) = cli.bug {
        if !cfg!(debug_assertions) {
            eprintln!("simulate: --bug {bug:?}: this build leaves such mistakes out; use one without --release");
            return ExitCode::from(2);
        }
        larder_engine::planted::plant(bug);
    }
    // What is wrong is printed with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let (next, totals) = (AtomicU64::new(0), Mutex::new((0_u64, [0_usize; 5])));
    let found: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let threads = if cli.trace { 1 } else { available_parallelism().map_or(1, usize::from) };
    scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= cli.runs || found.lock().expect("no panic with it").is_some() {
                        return;
                    }
                    let seed = cli.seed + run;
                    let outcome = simulate(&Settings { seed, bug: cli.bug, is_shown: cli.trace });
                    if cli.runs == 1 {
                        println!(
                            "seed {seed}: {} nodes, {} events, digest {:016x}",
                            outcome.nodes, outcome.events, outcome.digest
                        );
                    }
                    let mut totals = totals.lock().expect("no panic with it");
                    totals.0 += outcome.events;
                    totals.1.iter_mut().zip(outcome.outcomes).for_each(|(total, count)| *total += count);
                    if let Some(problem) = outcome.problem {
                        let mut found = found.lock().expect("no panic with it");
                        if found.as_ref().is_none_or(|(other, _)| seed < *other) {
                            *found = Some((seed, problem));
                        }
                    }
                }
            });
        }
    });
    let (events, [entries, misses, writes, refused, unknown]) = totals.into_inner().expect("no panic with it");
    println!(
        "{events} events; operations on keys: {entries} entries read, {misses} misses, {writes} written, {refused} not \
         executed, {unknown} of unknown outcome"
    );
    match (found.into_inner().expect("no panic with it"), cli.bug) {
        (None, None) => ExitCode::SUCCESS,
        (None, Some(bug)) => {
            println!("{bug} was not found");
            ExitCode::FAILURE
        }
        (Some((seed, problem)), None) => {
            println!("seed {seed}: {problem}\nreplay it with: simulate --seed {seed} --trace");
            ExitCode::FAILURE
        }
        (Some((seed, problem)), Some(bug)) => {
            println!("{bug} is found with seed {seed}: {problem}");
            ExitCode::SUCCESS
        }
    }
}

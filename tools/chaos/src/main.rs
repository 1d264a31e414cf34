//! `chaos`: a cluster of real processes, of which one is killed, halted, stopped or started every few seconds.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use fastrand::Rng;
use larder_chaos::{REGISTRATION_TTL, Scene};

/// Start etcd and a cluster, and do it harm while clients check what it says
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  chaos --time 60                  a minute, with a seed of its own
  chaos --time 3600 --seed 17      an hour; the same seed does the same things in the same order"
)]
struct Cli {
    /// How long, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    time: u64,
    /// What follows what
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=20))]
    nodes: u8,
    /// Clients
    #[arg(long, value_name = "N", default_value_t = 6)]
    clients: usize,
    /// The server program; the one beside this program if absent
    #[arg(long, value_name = "PATH")]
    larder: Option<PathBuf>,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let seed = cli.seed.unwrap_or_else(|| Rng::new().u64(..));
    println!("seed {seed}");
    let binary = cli.larder.unwrap_or_else(|| {
        std::env::current_exe()
            .ok()
            .and_then(|own| Some(own.parent()?.join("larder")))
            .unwrap_or_else(|| "larder".into())
    });
    if !binary.exists() {
        eprintln!("chaos: there is no {}: build it, or name it with --larder", binary.display());
        return ExitCode::from(2);
    }
    let mut random = Rng::with_seed(seed);
    let mut scene = Scene::begin(binary, cli.nodes.into(), cli.clients, seed).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(cli.time) {
        harm(&mut scene, &mut random).await;
        scene.go_on(Duration::from_millis(random.u64(0..3_000))).await;
    }
    match scene.end().await {
        Ok(report) => {
            let [entries, misses, writes, refused, unknown] = report.history.outcomes();
            println!(
                "nothing is wrong: {entries} entries read, {misses} misses, {writes} written, {refused} not executed, \
                 {unknown} of unknown outcome; {} errors, each at a key of a node that was killed or halted",
                report.errors.len()
            );
            ExitCode::SUCCESS
        }
        Err(problem) => {
            println!("seed {seed}: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Does one thing, and waits for the cluster to be whole again.
async fn harm(scene: &mut Scene, random: &mut Rng) {
    let node = random.usize(0..scene.nodes());
    let time = Duration::from_millis(random.u64(100..4 * REGISTRATION_TTL.as_millis() as u64));
    match random.u8(0..5) {
        0 => {
            scene.kill(node).await;
            scene.go_on(time / 4).await;
            scene.start(node).await;
        }
        1 => scene.halt(node, time).await,
        2 => scene.without_etcd(time, random.bool()).await,
        _ => {
            scene.stop(node).await;
            scene.go_on(time / 4).await;
            scene.start(node).await;
        }
    }
}

//! `peers`: Larder, redis-server and memcached under the same load, one core each.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use larder_benches::peers::case::{DATA_SETS, DataSet, P16};
use larder_benches::peers::idle;
use larder_benches::peers::measure::{Medians, OpenLoop, Sample, open_loop, preload, ratio, sample};
use larder_benches::peers::report::{CaseReport, CaseServer, OpenReport, PeersReport, TwoShards};
use larder_benches::peers::server::{Kind, Launch, Server, larder_beside};
use larder_benches::target::Target;
use larder_benches::{machine, report};
use loadgen::run::Plan;

/// What --quick divides the numbers of keys by.
const QUICK_KEYS_DIVISOR: u64 = 20;
/// Memory of every server: what is preloaded fits well.
const MEMORY_MIB: u64 = 1024;
/// Most rounds.
const ROUNDS_MAX: usize = 1000;
/// Name of the case with two shards and two kinds of client.
const TWO_SHARDS: &str = "two_shards";
/// Name of the case with connections that ask for nothing.
const IDLE: &str = "idle";
/// How many there are.
const IDLE_CONNECTIONS: usize = 10_000;
/// Connections that a server is to take besides: those that ask what it is.
const CONNECTIONS_BESIDES: usize = 16;
/// A server has so many files open besides its connections.
const FILES_BESIDES: usize = 1024;
/// How much longer than the other cases idle connections are looked at: little CPU time takes long to be seen.
const IDLE_TIME_FACTOR: u32 = 10;
/// Shares of its peak that each server gets in open loops.
const OPEN_SHARES: [f64; 2] = [0.5, 0.8];

/// Measures Larder beside redis-server and memcached: server CPU per operation, throughput, latency, memory.
#[derive(Debug, Parser)]
#[command(
    name = "peers",
    after_help = "\
Each server runs alone on one core and is asked by the same load generator on another one: Larder by its native
protocol, by RESP (larder-resp) and by memcached's (larder-mc), the others by their own. Rounds go over all servers
in turn; figures are medians over rounds, and ratios (larder/ = CPU per operation of Larder by its native protocol as
a share of the other's; same/ = by the other's own protocol) medians of the ratios within rounds. Where the generator was over 90 % busy (generator-limited) throughput and latency say nothing, CPU per operation does.

Examples:
  peers --json > peers.json
  peers --quick --cases p16,p64
  peers --servers larder,redis --rounds 15 --seconds 3"
)]
struct Options {
    /// Print one JSON object to standard output, and the table to standard error.
    #[arg(long)]
    json: bool,
    /// How often each case is measured on each server.
    #[arg(long, value_name = "N", default_value_t = 9)]
    rounds: usize,
    /// Length of each measurement, in seconds.
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    seconds: f64,
    /// Few keys, three rounds of 0.2 s: to see that it works, not what it measures.
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Cases; all if absent: p1, p16, p64, p64x200, mget50, 1x1, p16-1KiB, p16-16KiB, two_shards,
    /// idle.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    cases: Vec<String>,
    /// Servers beside larder; all if absent: larder-resp, larder-mc, redis, memcached.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    servers: Vec<String>,
    /// Core of the servers.
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    server_core: usize,
    /// Core of the load generator.
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    generator_core: usize,
    /// Core of the second shard, where Larder has two.
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    second_core: usize,
    /// The server program; the one beside this program if absent.
    #[arg(long, value_name = "PATH")]
    larder: Option<PathBuf>,
}

fn main() -> ExitCode {
    report::exit("peers", execute(Options::parse()))
}

fn execute(options: Options) -> Result<()> {
    let bench = Bench::new(options)?;
    let mut report = PeersReport {
        command: "peers",
        machine: machine()?,
        rounds: bench.rounds,
        seconds: bench.time.as_secs_f64(),
        server_core: bench.options.server_core,
        generator_core: bench.options.generator_core,
        ..PeersReport::default()
    };
    for data in &DATA_SETS {
        bench.measure(data, &mut report)?;
    }
    if bench.wants(TWO_SHARDS) {
        bench.two_shards(&DATA_SETS[0], &mut report)?;
    }
    if bench.wants(IDLE) {
        bench.idle(&mut report)?;
    }
    if bench.kinds.contains(&Kind::Memcached) {
        report.notes.push("memcached up to 1.6.18 sends a packet for each get, so pipelining does not help it".into());
    }
    report::print(bench.options.json, &report, &report)
}

struct Bench {
    options: Options,
    kinds: Vec<Kind>,
    larder: PathBuf,
    rounds: usize,
    time: Duration,
    keys_divisor: u64,
}

impl Bench {
    fn new(options: Options) -> Result<Bench> {
        let (rounds, seconds, keys_divisor) =
            if options.quick { (3, 0.2, QUICK_KEYS_DIVISOR) } else { (options.rounds, options.seconds, 1) };
        ensure!((1..=ROUNDS_MAX).contains(&rounds), "--rounds {rounds}: expected 1 to {ROUNDS_MAX}");
        ensure!(seconds > 0.0 && seconds <= 3600.0, "--seconds {seconds}: expected above 0 and up to 3600");
        for name in &options.servers {
            let known = Kind::ALL.iter().any(|kind| kind.name() == name);
            ensure!(known, "--servers {name}: there are larder, larder-resp, larder-mc, redis and memcached");
        }
        for name in &options.cases {
            let known = [TWO_SHARDS, IDLE].contains(&name.as_str())
                || DATA_SETS.iter().any(|data| data.cases.iter().any(|case| case.name == name));
            ensure!(known, "--cases {name}: see --help for the names");
        }
        ensure!(
            options.server_core != options.generator_core,
            "--generator-core {}: the servers are on that core; the load generator needs another one",
            options.generator_core
        );
        let wanted = |kind: &Kind| {
            let is_named = options.servers.is_empty() || options.servers.iter().any(|name| name == kind.name());
            // What the others are compared with.
            is_named || *kind == Kind::Larder
        };
        let kinds = Kind::ALL.into_iter().filter(wanted).collect();
        let larder = options.larder.clone().map_or_else(larder_beside, Ok)?;
        Ok(Bench { kinds, larder, rounds, time: Duration::from_secs_f64(seconds), keys_divisor, options })
    }

    fn wants(&self, case: &str) -> bool {
        self.options.cases.is_empty() || self.options.cases.iter().any(|name| name == case)
    }

    fn launch<'a>(&'a self, cores: &'a str) -> Launch<'a> {
        Launch { cores, larder: &self.larder, memory_mib: MEMORY_MIB, policy: None, connections_max: None }
    }

    fn target(&self, server: &Server) -> Target {
        Target { address: server.address, protocol: server.kind.protocol(), core: self.options.generator_core }
    }

    /// Measures all cases of a data set that are wanted.
    fn measure(&self, data: &DataSet, report: &mut PeersReport) -> Result<()> {
        let cases: Vec<_> = data.cases.iter().filter(|case| self.wants(case.name)).collect();
        if cases.is_empty() {
            return Ok(());
        }
        let mut servers = Vec::new();
        for &kind in &self.kinds {
            let server = Server::start(kind, &self.launch(&self.options.server_core.to_string()))?;
            eprintln!("peers: loading {} with values of {} bytes", kind.name(), data.value_bytes);
            preload(&data.plan(&P16, self.target(&server), self.time, self.keys_divisor)?)?;
            let resident_bytes = server.resident_bytes()?;
            servers.push((server, resident_bytes));
        }
        for case in cases {
            eprintln!("peers: {}", case.name);
            let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); servers.len()];
            for round in 0..self.rounds {
                for place in order(round, servers.len()) {
                    let server = &servers[place].0;
                    let plan = data.plan(case, self.target(server), self.time, self.keys_divisor)?;
                    samples[place].push(sample(server, &plan)?);
                }
            }
            if report.servers.is_empty() {
                report.servers = samples.iter().map(|samples| samples[0].report.server.clone()).collect();
            }
            let servers_report = servers.iter().zip(&samples).map(|((server, resident_bytes), theirs)| {
                let rival = servers.iter().position(|(other, _)| Some(other.kind) == server.kind.rival());
                CaseServer {
                    server: server.kind.name(),
                    medians: Medians::of(theirs),
                    larder_cpu_ratio: (server.kind != Kind::Larder).then(|| ratio(&samples[0], theirs)),
                    same_protocol_cpu_ratio: rival.map(|rival| ratio(&samples[rival], theirs)),
                    resident_bytes: *resident_bytes,
                }
            });
            let servers_report: Vec<CaseServer> = servers_report.collect();
            if case.name == P16.name {
                self.open_loops(data, &servers, &servers_report, report)?;
            }
            report.cases.push(CaseReport {
                name: case.name,
                pipeline: case.pipeline,
                connections: case.connections,
                multi_get: case.multi_get,
                value_bytes: data.value_bytes,
                servers: servers_report,
            });
        }
        Ok(())
    }

    /// P16 on two shards, by a client that knows them and by one that does not, round by round.
    fn two_shards(&self, data: &DataSet, report: &mut PeersReport) -> Result<()> {
        eprintln!("peers: {TWO_SHARDS}");
        let Options { server_core, generator_core, second_core, .. } = self.options;
        let server = Server::start(Kind::Larder, &self.launch(&format!("{server_core},{second_core}")))?;
        let plain = data.plan(&P16, self.target(&server), self.time, self.keys_divisor)?;
        preload(&plain)?;
        let aware = Plan { shard_aware: true, ..plain.clone() };
        let mut samples = [Vec::new(), Vec::new()];
        for round in 0..self.rounds {
            for place in order(round, 2) {
                samples[place].push(sample(&server, [&plain, &aware][place])?);
            }
        }
        let elsewhere = samples[1].iter().filter_map(|sample| sample.report.shard_aware);
        let connections_elsewhere = elsewhere.map(|aware| aware.connections_elsewhere).max().unwrap_or(0);
        if connections_elsewhere > 0 {
            report.notes.push(format!(
                "of the {} shard-aware connections {connections_elsewhere} are served by another shard than they named",
                P16.connections
            ));
        }
        if second_core == generator_core {
            report.notes.push("the load generator shares a core with the second shard; give --second-core".into());
        }
        report.two_shards = Some(TwoShards {
            plain: Medians::of(&samples[0]),
            shard_aware: Medians::of(&samples[1]),
            plain_cpu_ratio: ratio(&samples[0], &samples[1]),
            connections_elsewhere,
        });
        Ok(())
    }

    /// Many connections that ask for nothing, on one core.
    fn idle(&self, report: &mut PeersReport) -> Result<()> {
        eprintln!("peers: {IDLE}");
        // Servers inherit the limit.
        loadgen::allow_files(IDLE_CONNECTIONS + CONNECTIONS_BESIDES + FILES_BESIDES)?;
        let cores = self.options.server_core.to_string();
        for &kind in &self.kinds {
            let connections_max = Some(IDLE_CONNECTIONS + CONNECTIONS_BESIDES);
            let server = Server::start(kind, &Launch { connections_max, ..self.launch(&cores) })?;
            report.idle.push(idle::measure(&server, IDLE_CONNECTIONS, self.time * IDLE_TIME_FACTOR)?);
        }
        Ok(())
    }

    /// Latency at shares of the throughput that each server just had, round by round.
    fn open_loops(
        &self,
        data: &DataSet,
        servers: &[(Server, u64)],
        peaks: &[CaseServer],
        report: &mut PeersReport,
    ) -> Result<()> {
        for share_of_peak in OPEN_SHARES {
            let mut rounds: Vec<Vec<OpenLoop>> = vec![Vec::new(); servers.len()];
            for round in 0..self.rounds {
                for place in order(round, servers.len()) {
                    let server = &servers[place].0;
                    let plan = data.plan(&P16, self.target(server), self.time, self.keys_divisor)?;
                    let rate_per_s = peaks[place].medians.ops_per_s * share_of_peak;
                    rounds[place].push(open_loop(server, &plan, rate_per_s)?);
                }
            }
            let reports = servers.iter().zip(&rounds).map(|((server, _), rounds)| OpenReport {
                server: server.kind.name(),
                share_of_peak,
                result: OpenLoop::medians(rounds),
            });
            report.open_loops.extend(reports);
        }
        Ok(())
    }
}

/// Each round begins with another server, so that none is always behind the same one.
fn order(round: usize, servers: usize) -> impl Iterator<Item = usize> {
    (0..servers).map(move |place| (place + round) % servers)
}

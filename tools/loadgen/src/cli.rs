//! The command line: what may be given, and the plans that follow from it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};

use crate::ceiling::CeilingPlan;
use crate::error::LoadError;
use crate::parse;
use crate::protocol::ProtocolName;
use crate::replay::ReplayPlan;
use crate::run::{Arrivals, Length, Pace, Plan};
use crate::verify::Writers;
use crate::workload::{Distribution, KeySpace, Mix, Operation, ValueSizes};

/// Makes load for a cache server and measures what comes of it.
#[derive(Debug, Parser)]
#[command(
    name = "loadgen",
    version,
    arg_required_else_help = true,
    after_help = "\
Exit codes: 0 the run was made (refusals by the server are part of its result), 1 the run broke or every request was
refused, 2 an option or a trace is wrong, 3 no server answers, 4 a value was wrong (--verify)."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make load by keys, values and operations, in a closed or an open loop.
    Run(Box<RunArgs>),
    /// Replay a trace as a read-through cache: get, and on a miss set.
    Replay(Box<ReplayArgs>),
    /// Measure the generator itself, against a built-in server that does nothing.
    Ceiling(CeilingArgs),
}

/// Options that all commands have.
#[derive(Debug, Args)]
pub struct Common {
    /// Server to load, as HOST:PORT.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7400")]
    pub addr: String,
    /// Protocol to speak.
    #[arg(long, value_enum, default_value = "native")]
    pub protocol: ProtocolName,
    /// Group of the keys.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub group: String,
    /// Write the result there, as one JSON object; `-` is the standard output (the table then goes to standard error).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// A connection that owes an answer and is silent for so long counts as lost.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse::duration)]
    pub timeout: Duration,
    /// Do not show a line each second.
    #[arg(long)]
    pub quiet: bool,
}

/// `loadgen run`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
LOOPS. Without --rate the loop is closed: each of CONNECTIONS x PIPELINE slots sends its next request when the one
before was answered, and latency is the time from the sending to the answer. With --rate the loop is open: requests
start at times of their own, and latency counts from that intended start, whether or not the request could be sent
then, so a slow server cannot hide (no coordinated omission). 'service' is the time from the actual sending. 'own lag'
is how much later than possible the generator itself sent. Requests that were never sent or answered count with their
age at the end.

VERIFY. With --verify each value carries its key, a version that grows with each write of the key, and a checksum.
Each connection then writes keys of its own (KEY modulo CONNECTIONS), and reads any: a value that is damaged, belongs
to another key, was never written, or is older than a write that was acknowledged before the read was sent, ends the
run with exit code 4. With --shared-writes any connection writes any key, and only damage, the key, and versions that
were never written are noticed.

LOST CONNECTIONS are reported, counted and opened again, at most --reconnects times in a row; the pause before doubles
from 100 ms. Their requests count as lost.

EXAMPLES
  A closed loop, ten gets per set, over a million keys that are loaded first:
      loadgen run --preload --keys 1M --mix 10:1 --connections 50 --pipeline 16 --duration 10s
  Latency at 100,000 requests per second, on core 1, after two seconds of warm-up:
      loadgen run --rate 100k --arrivals poisson --cores 1 --warm-up 2s --duration 30s --json result.json
  A cache under pressure: Zipf keys, values of three sizes, misses are filled:
      loadgen run --keys 5M --distribution zipf:0.99 --values 64:8,1KiB:3,16KiB:1 --mix get=1 --fill
  Multi-gets of 50 keys:
      loadgen run --preload --keys 1M --mix get=1 --multi-get 50
  Is every answer right?
      loadgen run --verify --values 100-2000 --mix get=10,set=3,delete=1 --distribution hotspot:1%:50%")]
pub struct RunArgs {
    /// Options that all commands have.
    #[command(flatten)]
    pub common: Common,
    /// Threads that make load.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,
    /// Cores that the threads are pinned to, in turn, such as 1 or 2-5,8; not pinned if absent.
    #[arg(long, value_name = "LIST", value_parser = CoreList::parse)]
    pub cores: Option<CoreList>,
    /// Connections, over all threads.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub connections: usize,
    /// Requests of one connection that wait for an answer, at most.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub pipeline: usize,
    /// Open loop: so many requests per second, over all threads, such as 50000 or 100k.
    #[arg(long, value_name = "PER_SECOND", value_parser = parse::count)]
    pub rate: Option<u64>,
    /// Open loop: how the times of requests lie.
    #[arg(long, value_enum, default_value = "poisson", requires = "rate")]
    pub arrivals: Arrivals,
    /// Number of keys.
    #[arg(long, value_name = "N", default_value = "100k", value_parser = parse::count)]
    pub keys: u64,
    /// Length of a key: its prefix and a number, filled with zeros.
    #[arg(long, value_name = "BYTES", default_value_t = 16)]
    pub key_bytes: usize,
    /// What keys begin with.
    #[arg(long, value_name = "TEXT", default_value = "key:")]
    pub key_prefix: String,
    /// How often which key is asked for: uniform, zipf:THETA, hotspot:KEYS%:REQUESTS%, or
    /// in_turn (each key once, then again from the first).
    #[arg(long, value_name = "NAME", default_value = "uniform")]
    pub distribution: Distribution,
    /// Sizes of values: one, a range such as 16-1024, or a list with weights such as 64:9,1KiB:1.
    #[arg(long, value_name = "BYTES", default_value = "64")]
    pub values: ValueSizes,
    /// Weights of get:set:delete:touch:incr:gat, such as 10:1, or by name, such as get=10,incr=1. Counters (incr) have
    /// keys of their own; gat is get-and-touch.
    #[arg(long, value_name = "WEIGHTS", default_value = "10:1")]
    pub mix: Mix,
    /// Each get asks for so many keys with one request.
    #[arg(long, value_name = "KEYS", default_value_t = 1)]
    pub multi_get: usize,
    /// Expiry of what is set or touched, such as 500ms or 10m; 0: never. Absent: the default of the group.
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub ttl: Option<Duration>,
    /// Set every key once before the run.
    #[arg(long)]
    pub preload: bool,
    /// Set a key that a get did not find.
    #[arg(long)]
    pub fill: bool,
    /// Time under load before the measurement begins.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse::duration)]
    pub warm_up: Duration,
    /// Length of the measurement.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse::duration)]
    pub duration: Duration,
    /// Measure so many requests instead of a time.
    #[arg(long, value_name = "N", value_parser = parse::count, conflicts_with = "duration")]
    pub requests: Option<u64>,
    /// Check every value that is read; a wrong one ends the run with exit code 4.
    #[arg(long)]
    pub verify: bool,
    /// With --verify: any connection writes any key, and the order of versions is not checked.
    #[arg(long, requires = "verify")]
    pub shared_writes: bool,
    /// Each connection names a shard of the node in its Hello, in turn, and asks for the keys of that shard alone.
    #[arg(long)]
    pub shard_aware: bool,
    /// Attempts in a row to open a lost connection again, before the run fails.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub reconnects: u32,
    /// Everything random follows from it. Absent: drawn, and told in the result.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// `loadgen replay`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
FILES. NAME.keys.zst is one zstd frame with one little-endian 64-bit key for each request; NAME.sizes.zst is the same
with 32-bit sizes in bytes. An object keeps the size of its first request.

ON THE WIRE a key is 16 lower-case hexadecimal digits. A get that misses is followed by a set of the same key. A value
larger than the server accepts is not stored and counted as too large.

ORDER. Keys are dealt to CONNECTIONS x PIPELINE lanes; each lane is strictly sequential. One connection without
pipelining (the default) therefore replays the trace exactly, and its hit ratio is that of the server's policy. More
lanes are faster; requests of one key keep their order, and the order across keys varies within 16 requests per lane.
Start with an empty server.

EXAMPLES
  larder serve --memory 16MiB &
  loadgen replay traces/oltp.keys.zst --value-bytes 100
  loadgen replay traces/webclient.keys.zst --sizes traces/webclient.sizes.zst --connections 8 --json -")]
pub struct ReplayArgs {
    /// Options that all commands have.
    #[command(flatten)]
    pub common: Common,
    /// Keys of the trace.
    #[arg(value_name = "FILE.keys.zst")]
    pub keys: PathBuf,
    /// Sizes of the trace.
    #[arg(long, value_name = "FILE.sizes.zst", conflicts_with = "value_bytes")]
    pub sizes: Option<PathBuf>,
    /// Size of every value.
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = value_bytes)]
    pub value_bytes: u32,
    /// Connections.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub connections: usize,
    /// Lanes of each connection: requests, of different keys, that wait for an answer.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub pipeline: usize,
    /// Core that the one thread of a replay is pinned to; not pinned if absent.
    #[arg(long, value_name = "CORE")]
    pub core: Option<usize>,
    /// Stop after so many requests of the trace.
    #[arg(long, value_name = "N", value_parser = parse::count)]
    pub requests: Option<u64>,
}

/// A list of cores as one value.
#[derive(Clone, Debug)]
pub struct CoreList(pub Vec<usize>);

impl CoreList {
    fn parse(text: &str) -> Result<CoreList, String> {
        parse::cores(text).map(CoreList)
    }
}

fn value_bytes(text: &str) -> Result<u32, String> {
    parse::bytes(text)?.try_into().map_err(|_| "more than a value can have".to_string())
}

impl RunArgs {
    /// The plan that follows from the options.
    ///
    /// # Errors
    /// Options that cannot be together, or an address that says nothing.
    pub fn plan(&self) -> Result<Plan, LoadError> {
        let keys = KeySpace::new(self.keys, &self.key_prefix, self.key_bytes, self.mix.has(Operation::Increment))?;
        let plan = Plan {
            address: resolve(&self.common.addr)?,
            protocol: self.common.protocol,
            group: self.common.group.clone(),
            threads: self.threads,
            cores: self.cores.as_ref().map(|list| list.0.clone()).unwrap_or_default(),
            connections: self.connections,
            pipeline: self.pipeline,
            pace: match self.rate {
                None => Pace::Closed,
                Some(rate) => Pace::Open { per_second: rate as f64, arrivals: self.arrivals },
            },
            keys,
            distribution: self.distribution,
            values: self.values.clone(),
            mix: self.mix,
            multi_get: self.multi_get,
            ttl: self.ttl,
            preload: self.preload,
            warm_up: self.warm_up,
            length: self.requests.map_or(Length::Time(self.duration), Length::Requests),
            verify: self.verify.then_some(if self.shared_writes { Writers::Many } else { Writers::OnePerKey }),
            fill: self.fill,
            seed: self.seed.unwrap_or_else(drawn_seed),
            reconnects: self.reconnects,
            timeout: self.common.timeout,
            progress: !self.common.quiet,
            shard_aware: self.shard_aware,
        };
        plan.check()?;
        Ok(plan)
    }
}

/// `loadgen ceiling`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The server answers every get with the same value and stores nothing. Where the generator is more than 90 % busy the
throughput is its ceiling; else the server was the slower one, and the ceiling is what the generator did per second of
its own CPU time. A run of `loadgen run` that comes near says 'generator-limited': then only the server's CPU time per
operation says something about the server.

EXAMPLES
  loadgen ceiling --pipeline 64 --server-core 0 --core 1
  loadgen ceiling --protocol resp --pipeline 16 --json -")]
pub struct CeilingArgs {
    /// Protocol to speak.
    #[arg(long, value_enum, default_value = "native")]
    pub protocol: ProtocolName,
    /// Connections.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub connections: usize,
    /// Requests of one connection that wait for an answer, at most.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub pipeline: usize,
    /// Bytes of each value.
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = value_bytes)]
    pub values: u32,
    /// Weights of the operations, as those of `loadgen run`.
    #[arg(long, value_name = "WEIGHTS", default_value = "10:1")]
    pub mix: Mix,
    /// Each get asks for so many keys with one request.
    #[arg(long, value_name = "KEYS", default_value_t = 1)]
    pub multi_get: usize,
    /// Core of the generator; not pinned if absent.
    #[arg(long, value_name = "CORE")]
    pub core: Option<usize>,
    /// Core of the server; not pinned if absent.
    #[arg(long, value_name = "CORE")]
    pub server_core: Option<usize>,
    /// Length of the measurement.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse::duration)]
    pub duration: Duration,
    /// Write the result there, as one JSON object; `-` is the standard output (the table then goes to standard error).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl CeilingArgs {
    /// The plan that follows from the options.
    pub fn plan(&self) -> CeilingPlan {
        CeilingPlan {
            protocol: self.protocol,
            connections: self.connections,
            pipeline: self.pipeline,
            value_bytes: self.values,
            mix: self.mix,
            multi_get: self.multi_get,
            core: self.core,
            server_core: self.server_core,
            duration: self.duration,
        }
    }
}

impl ReplayArgs {
    /// The plan that follows from the options.
    ///
    /// # Errors
    /// Options above a limit, or an address that says nothing.
    pub fn plan(&self) -> Result<ReplayPlan, LoadError> {
        let plan = ReplayPlan {
            address: resolve(&self.common.addr)?,
            protocol: self.common.protocol,
            group: self.common.group.clone(),
            keys: self.keys.clone(),
            sizes: self.sizes.clone(),
            value_bytes: self.value_bytes,
            connections: self.connections,
            pipeline: self.pipeline,
            core: self.core,
            requests: self.requests,
            timeout: self.common.timeout,
            progress: !self.common.quiet,
        };
        plan.check()?;
        Ok(plan)
    }
}

/// From the time, and short enough to be typed again.
#[expect(clippy::disallowed_methods, reason = "any number will do, and it is told in the result")]
fn drawn_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    u64::from(fastrand::Rng::with_seed(now).u32(..))
}

fn resolve(addr: &str) -> Result<SocketAddr, LoadError> {
    let wrong = |source| LoadError::Address { addr: addr.into(), source };
    let mut found = addr.to_socket_addrs().map_err(wrong)?;
    found.next().ok_or_else(|| wrong(std::io::Error::other("the name has no address")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        Cli::command().debug_assert();
    }

    fn plan(arguments: &[&str]) -> Result<Plan, String> {
        let cli = Cli::try_parse_from([&["loadgen", "run"], arguments].concat()).map_err(|error| error.to_string())?;
        match cli.command {
            Command::Run(run) => run.plan().map_err(|error| error.to_string()),
            Command::Replay(_) | Command::Ceiling(_) => unreachable!("the command is run"),
        }
    }

    #[test]
    fn options_become_a_plan() {
        let plan = plan(&[
            "--rate",
            "100k",
            "--arrivals",
            "fixed",
            "--cores",
            "0-1",
            "--threads",
            "2",
            "--requests",
            "5M",
            "--ttl",
            "0",
            "--seed",
            "7",
        ])
        .unwrap();
        assert_eq!(plan.pace, Pace::Open { per_second: 1e5, arrivals: Arrivals::Fixed });
        assert_eq!(
            (plan.cores, plan.length, plan.ttl, plan.seed),
            (vec![0, 1], Length::Requests(5_000_000), Some(Duration::ZERO), 7)
        );
    }

    #[test]
    fn wrong_options_are_named_with_their_value() {
        for (arguments, expected) in [
            (&["--keys", "x"][..], "--keys"),
            (&["--mix", "a"], "--mix"),
            (&["--shared-writes"], "--verify"),
            (&["--arrivals", "fixed"], "--rate"),
            (&["--requests", "1", "--duration", "1s"], "--duration"),
            (&["--key-bytes", "4"], "--key-bytes 4"),
            (&["--addr", "nowhere"], "--addr nowhere"),
            (&["--protocol", "http"], "native, resp, memcache"),
            (&["--protocol", "resp", "--mix", "get=1,gat=1"], "has no gat"),
            (&["--verify", "--values", "49"], "--values 49"),
        ] {
            let error = plan(arguments).expect_err(expected);
            assert!(error.contains(expected), "{arguments:?}: {error}");
        }
    }
}

//! `hit_ratio`: how often traces miss, for policies and cache sizes, without a server.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Parser};
use larder_benches::hit_ratio::{Cache, Replayed, Rival, Run, Table, TraceTable, config, curves};
use larder_server::config::{ServeFlags, Setting};
use larder_store::PolicyKind;
use loadgen::trace::Trace;
use loadgen::workload::{Distribution, KeySampler};
use serde::Serialize;

/// The cache sizes without `--sizes`, in thousandths of the unique keys.
const SIZES_DEFAULT: [u64; 5] = [1, 10, 50, 100, 250];
const KEYS_SUFFIX: &str = ".keys.zst";

/// Replays traces in process and counts misses: every request is a get, and a miss stores the object.
#[derive(Debug, Parser)]
#[command(name = "hit_ratio", group = ArgGroup::new("mode").required(true), group = ArgGroup::new("source").required(true),
    after_help = "\
With --objects every object costs 1, as in published miss ratios. What is printed is a table for each trace and the
geometric mean of misses in relation to lru; with --json a line is
  {\"trace\",\"policy\",\"cache_objects\",\"requests\",\"misses\"} and with --shards also \"shards\"
With --replayed the stores are those of `larder serve` with the same shards, memory and configuration file, keys are
written as `loadgen replay` writes them, and the counts are those of such a replay with one connection.

Examples:
  hit_ratio --generated zipf:0.9 --objects --rivals
  hit_ratio --traces traces --objects --rivals --svg curves.svg
  hit_ratio --traces traces --trace oltp,webclient --policy lru --sizes 1000,10% --objects
  hit_ratio --traces traces --sizes 10% --objects --shards 16
  hit_ratio --traces traces --trace oltp --replayed --shards 2 --memory 16MiB --value-bytes 100 --json
  hit_ratio --traces traces --trace webclient --sizes-file traces/webclient.sizes.zst --replayed --shards 2 --memory 16MiB")]
struct Options {
    /// Folder with the traces, NAME.keys.zst: 64-bit little-endian keys, one for each request.
    #[arg(long, value_name = "DIR", group = "source")]
    traces: Option<PathBuf>,
    /// Traces; all in the folder if absent.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', requires = "traces")]
    trace: Vec<String>,
    /// Draw requests instead: uniform, zipf:THETA, hotspot:KEYS%:REQUESTS% or in_turn.
    #[arg(long, value_name = "D,…", value_delimiter = ',', group = "source", conflicts_with = "replayed")]
    generated: Vec<Distribution>,
    /// --generated: number of keys.
    #[arg(long, value_name = "N", default_value = "1M", value_parser = some)]
    keys: u64,
    /// --generated: number of requests.
    #[arg(long, value_name = "N", default_value = "2M", value_parser = some)]
    requests: u64,
    /// --generated: what the draws depend on.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Policies; all with --objects, and those of the configuration with --replayed, if absent.
    #[arg(long, value_name = "P,…", value_delimiter = ',')]
    policy: Vec<PolicyKind>,
    /// --objects: also what quick_cache, moka and foyer miss.
    #[arg(long, conflicts_with = "replayed")]
    rivals: bool,
    /// Cache sizes in objects, or in percent of the unique keys; 0.1%,1%,5%,10%,25% if absent.
    #[arg(long, value_name = "N,…", value_delimiter = ',', conflicts_with = "replayed")]
    sizes: Vec<Size>,
    /// Every object costs 1.
    #[arg(long, group = "mode")]
    objects: bool,
    /// Do what a server does with a replay.
    #[arg(long, group = "mode", requires = "shards", requires = "memory")]
    replayed: bool,
    /// Number of shards. --objects: also with the objects divided among so many.
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// --replayed: memory of the server, such as 16MiB.
    #[arg(long, value_name = "SIZE", requires = "replayed")]
    memory: Option<String>,
    /// --replayed: a larder.toml with the groups of the server.
    #[arg(long, value_name = "FILE", requires = "replayed")]
    config: Option<PathBuf>,
    /// --replayed: the group of the keys.
    #[arg(long, value_name = "NAME", default_value = larder_ring::DEFAULT_GROUP, requires = "replayed")]
    group: String,
    /// --replayed: size of every value.
    #[arg(long, value_name = "BYTES", default_value_t = 64, requires = "replayed")]
    value_bytes: u32,
    /// --replayed: sizes of the values of the one trace.
    #[arg(long, value_name = "FILE.sizes.zst", requires = "replayed", conflicts_with = "value_bytes")]
    sizes_file: Option<PathBuf>,
    /// One JSON object per line instead of tables.
    #[arg(long)]
    json: bool,
    /// --objects: comma-separated values instead of tables.
    #[arg(long, conflicts_with_all = ["json", "replayed"])]
    csv: bool,
    /// --objects: draw miss-ratio curves into this file.
    #[arg(long, value_name = "FILE", conflicts_with = "replayed")]
    svg: Option<PathBuf>,
}

/// A number above 0.
fn some(text: &str) -> Result<u64, String> {
    match loadgen::count(text)? {
        0 => Err("expected a number above 0".into()),
        count => Ok(count),
    }
}

/// A cache size.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Size {
    Objects(u64),
    /// Of the unique keys.
    Share(f64),
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let expected = || "expected a number of objects, or a percentage above 0 such as 10%".to_string();
        match text.strip_suffix('%') {
            None => text.parse().ok().filter(|&objects| objects > 0).map(Size::Objects).ok_or_else(expected),
            Some(percent) => match percent.parse::<f64>() {
                Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(Size::Share(percent / 100.0)),
                _ => Err(expected()),
            },
        }
    }
}

impl Size {
    fn objects(self, unique: u64) -> u64 {
        match self {
            Size::Objects(objects) => objects,
            Size::Share(share) => ((unique as f64 * share).round() as u64).max(1),
        }
    }
}

#[derive(Debug, Serialize)]
struct ReplayedLine<'a> {
    trace: &'a str,
    policy: &'a str,
    shards: u16,
    memory_bytes: u64,
    value_bytes: Option<u32>,
    requests: u64,
    hits: u64,
    misses: u64,
    hit_ratio: f64,
    sets: u64,
    too_large: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match if options.objects { run_objects(&options) } else { run_replayed(&options) } {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hit_ratio: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Names and files of the traces.
fn traces(options: &Options) -> Result<Vec<(String, PathBuf)>> {
    let Some(folder) = &options.traces else { return Ok(Vec::new()) };
    let mut names = options.trace.clone();
    if names.is_empty() {
        let dir = std::fs::read_dir(folder).with_context(|| format!("--traces {}", folder.display()))?;
        for entry in dir {
            let name = entry?.file_name().to_string_lossy().into_owned();
            names.extend(name.strip_suffix(KEYS_SUFFIX).map(str::to_owned));
        }
        names.sort();
    }
    if names.is_empty() {
        bail!("--traces {}: there is no NAME{KEYS_SUFFIX} in it", folder.display());
    }
    if options.sizes_file.is_some() && names.len() > 1 {
        bail!("--sizes-file belongs to one trace, and there are {}; name one with --trace", names.len());
    }
    Ok(names
        .into_iter()
        .map(|name| {
            let path = folder.join(format!("{name}{KEYS_SUFFIX}"));
            (name, path)
        })
        .collect())
}

fn run_objects(options: &Options) -> Result<()> {
    let caches = caches(options)?;
    let mut table = Table::default();
    if options.csv {
        println!("{}", Run::CSV_HEADER);
    }
    for (name, path) in traces(options)? {
        run_trace(options, &caches, &name, &captured(&path)?, &mut table)?;
    }
    for &distribution in &options.generated {
        run_trace(options, &caches, &distribution.to_string(), &drawn(options, distribution), &mut table)?;
    }
    if !options.json && !options.csv {
        print!("{table}");
    }
    options.svg.as_deref().map_or(Ok(()), |path| curves::draw(path, table.runs()))
}

/// What each trace is replayed against.
fn caches(options: &Options) -> Result<Vec<Cache>> {
    let policies = if options.policy.is_empty() { PolicyKind::ALL } else { &options.policy };
    let shards = match &options.shards {
        None => None,
        Some(text) => match text.parse() {
            Ok(shards @ 2..=256_u16) => Some(shards),
            _ => bail!("--shards {text}: with --objects expected a number from 2 to 256"),
        },
    };
    let policies =
        policies.iter().flat_map(|&policy| [Some(1), shards].into_iter().flatten().map(move |n| (policy, n)));
    let mut caches: Vec<_> = policies.map(|(policy, shards)| Cache::Larder { policy, shards }).collect();
    if options.rivals {
        caches.extend(Rival::ALL.map(Cache::Rival));
    }
    Ok(caches)
}

/// Replays one trace against all caches of all sizes, and prints what came out.
fn run_trace(options: &Options, caches: &[Cache], trace: &str, keys: &[u64], table: &mut Table) -> Result<()> {
    let unique = keys.iter().collect::<HashSet<_>>().len() as u64;
    let default = SIZES_DEFAULT.map(|thousandths| Size::Share(thousandths as f64 / 1000.0));
    let sizes = if options.sizes.is_empty() { &default[..] } else { &options.sizes };
    let cells: Vec<_> = caches.iter().flat_map(|&cache| sizes.iter().map(move |size| (cache, *size))).collect();
    let run = |&(cache, size): &(Cache, Size)| cache.run(trace, keys, size.objects(unique), options.shards.is_some());
    let runs = on_all_cores(&cells, run).into_iter().collect::<Result<Vec<_>>>();
    let runs = runs.with_context(|| format!("trace {trace}"))?;
    match options {
        Options { csv: true, .. } => runs.iter().for_each(|run| println!("{}", run.csv())),
        Options { json: true, .. } => runs.iter().for_each(|run| println!("{}", json(run))),
        _ => println!("{}", TraceTable { trace, unique, runs: &runs, sizes: sizes.len() }),
    }
    table.extend(runs);
    Ok(())
}

/// Does a piece of work for each item, as many at a time as there are cores, and returns what came out in their order.
fn on_all_cores<Item: Sync, Out: Send>(items: &[Item], work: impl Fn(&Item) -> Out + Sync) -> Vec<Out> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(items.len())));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(place) else { break };
                    let out = work(item);
                    done.lock().expect("no thread panics with it").push((place, out));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no thread panics with it");
    done.sort_by_key(|&(place, _)| place);
    done.into_iter().map(|(_, out)| out).collect()
}

fn captured(path: &Path) -> Result<Vec<u64>> {
    let mut trace = Trace::open(path, None)?;
    let mut keys = Vec::new();
    while let Some(request) = trace.next_request()? {
        keys.push(request.key);
    }
    Ok(keys)
}

fn drawn(options: &Options, distribution: Distribution) -> Vec<u64> {
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut sampler = KeySampler::new(distribution, options.keys, 0..options.keys);
    (0..options.requests).map(|_| sampler.sample(&mut random)).collect()
}

fn run_replayed(options: &Options) -> Result<()> {
    traces(options)?.iter().try_for_each(|(name, path)| replay_trace(options, name, path))
}

fn replay_trace(options: &Options, trace: &str, path: &Path) -> Result<()> {
    let setting = |setting, text: &Option<String>| (setting, text.clone().expect("clap requires it"));
    let flags = ServeFlags {
        config: options.config.clone(),
        settings: vec![setting(Setting::Shards, &options.shards), setting(Setting::Memory, &options.memory)],
        ..ServeFlags::default()
    };
    let configured = config(&flags)?;
    let group = configured.groups.iter().find(|group| group.name == options.group);
    let group = group.with_context(|| format!("--group {}: the configuration has no such group", options.group))?;
    let policies = if options.policy.is_empty() {
        vec![group.policy]
    } else {
        options.policy.iter().map(|&policy| policy.into()).collect()
    };
    for policy in policies {
        let mut config = configured.clone();
        config.groups.iter_mut().filter(|group| group.name == options.group).for_each(|group| group.policy = policy);
        let mut stores = Replayed::new(&config, &options.group)?;
        let mut requests = Trace::open(path, options.sizes_file.as_deref())?;
        let outcome = stores.replay(&mut requests, options.value_bytes, u64::MAX)?;
        let line = ReplayedLine {
            trace,
            policy: policy.kind().name(),
            shards: config.shards,
            memory_bytes: config.memory_bytes,
            value_bytes: options.sizes_file.is_none().then_some(options.value_bytes),
            requests: outcome.requests,
            hits: outcome.hits,
            misses: outcome.misses,
            hit_ratio: outcome.hits as f64 / outcome.requests.max(1) as f64,
            sets: outcome.sets,
            too_large: outcome.too_large,
        };
        if options.json {
            println!("{}", json(&line));
            continue;
        }
        println!(
            "{trace:<12} {:<8} {} shards  {} bytes  {} requests  {} hits  {} misses  {} too large  {:.6}",
            line.policy,
            line.shards,
            line.memory_bytes,
            line.requests,
            line.hits,
            line.misses,
            line.too_large,
            line.hit_ratio
        );
    }
    Ok(())
}

fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("a line is plain data")
}

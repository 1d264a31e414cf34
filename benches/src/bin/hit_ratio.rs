//! `hit_ratio`: how often captured traces miss, for policies and cache sizes, without a server.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Parser};
use larder_benches::hit_ratio::{Replayed, config, objects};
use larder_server::config::{ServeFlags, Setting};
use larder_store::PolicyKind;
use loadgen::trace::Trace;
use serde::Serialize;

/// The cache sizes without `--sizes`, in thousandths of the unique keys.
const SIZES_DEFAULT: [u64; 5] = [1, 10, 50, 100, 250];
const KEYS_SUFFIX: &str = ".keys.zst";

/// Replays traces in process and counts misses: every request is a get, and a miss stores the object.
#[derive(Debug, Parser)]
#[command(name = "hit_ratio", group = ArgGroup::new("mode").required(true), after_help = "\
With --objects every object costs 1, as in published miss ratios, and a line is
  {\"trace\",\"policy\",\"cache_objects\",\"requests\",\"misses\"}
With --replayed the stores are those of `larder serve` with the same shards, memory and configuration file, keys are
written as `loadgen replay` writes them, and the counts are those of such a replay with one connection.

Examples:
  hit_ratio --traces traces --objects --json
  hit_ratio --traces traces --trace oltp,webclient --policy lru --sizes 1000,10% --objects
  hit_ratio --traces traces --trace oltp --replayed --shards 2 --memory 16MiB --value-bytes 100 --json
  hit_ratio --traces traces --trace webclient --sizes-file traces/webclient.sizes.zst --replayed --shards 2 --memory 16MiB")]
struct Options {
    /// Folder with the traces, NAME.keys.zst.
    #[arg(long, value_name = "DIR")]
    traces: PathBuf,
    /// Traces; all in the folder if absent.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    trace: Vec<String>,
    /// Policies; all with --objects, and those of the configuration with --replayed, if absent.
    #[arg(long, value_name = "P,…", value_delimiter = ',')]
    policy: Vec<PolicyKind>,
    /// Cache sizes in objects, or in percent of the unique keys; 0.1%,1%,5%,10%,25% if absent.
    #[arg(long, value_name = "N,…", value_delimiter = ',', conflicts_with = "replayed")]
    sizes: Vec<Size>,
    /// Every object costs 1.
    #[arg(long, group = "mode")]
    objects: bool,
    /// Do what a server does with a replay.
    #[arg(long, group = "mode", requires = "shards", requires = "memory")]
    replayed: bool,
    /// --replayed: number of shards.
    #[arg(long, value_name = "N", requires = "replayed")]
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
    /// One JSON object per line instead of a table.
    #[arg(long)]
    json: bool,
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
struct ObjectsLine<'a> {
    trace: &'a str,
    policy: &'a str,
    cache_objects: u64,
    requests: u64,
    misses: u64,
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
    let result = traces(&options).and_then(|traces| {
        traces.iter().try_for_each(|(name, path)| {
            if options.objects { run_objects(&options, name, path) } else { run_replayed(&options, name, path) }
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hit_ratio: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Names and files of the traces.
fn traces(options: &Options) -> Result<Vec<(String, PathBuf)>> {
    let mut names = options.trace.clone();
    if names.is_empty() {
        let dir =
            std::fs::read_dir(&options.traces).with_context(|| format!("--traces {}", options.traces.display()))?;
        for entry in dir {
            let name = entry?.file_name().to_string_lossy().into_owned();
            names.extend(name.strip_suffix(KEYS_SUFFIX).map(str::to_owned));
        }
        names.sort();
    }
    if names.is_empty() {
        bail!("--traces {}: there is no NAME{KEYS_SUFFIX} in it", options.traces.display());
    }
    if options.sizes_file.is_some() && names.len() > 1 {
        bail!("--sizes-file belongs to one trace, and there are {}; name one with --trace", names.len());
    }
    Ok(names
        .into_iter()
        .map(|name| {
            let path = options.traces.join(format!("{name}{KEYS_SUFFIX}"));
            (name, path)
        })
        .collect())
}

fn run_objects(options: &Options, trace: &str, path: &Path) -> Result<()> {
    let keys = keys(path)?;
    let unique = keys.iter().collect::<HashSet<_>>().len() as u64;
    let default = SIZES_DEFAULT.map(|thousandths| Size::Share(thousandths as f64 / 1000.0));
    let sizes = if options.sizes.is_empty() { &default[..] } else { &options.sizes };
    let policies = if options.policy.is_empty() { PolicyKind::ALL } else { &options.policy };
    for policy in policies {
        for size in sizes {
            let cache_objects = size.objects(unique);
            let misses = objects(*policy, cache_objects, keys.iter().copied())?;
            let requests = keys.len() as u64;
            let line = ObjectsLine { trace, policy: policy.name(), cache_objects, requests, misses };
            print(options, &line, || {
                let ratio = misses as f64 / requests.max(1) as f64;
                format!(
                    "{trace:<12} {policy:<8} {cache_objects:>9} objects  {requests:>9} requests  {misses:>9} misses  {ratio:.6}"
                )
            });
        }
    }
    Ok(())
}

fn keys(path: &Path) -> Result<Vec<u64>> {
    let mut trace = Trace::open(path, None)?;
    let mut keys = Vec::new();
    while let Some(request) = trace.next_request()? {
        keys.push(request.key);
    }
    Ok(keys)
}

fn run_replayed(options: &Options, trace: &str, path: &Path) -> Result<()> {
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
        print(options, &line, || {
            format!(
                "{trace:<12} {:<8} {} shards  {} bytes  {} requests  {} hits  {} misses  {} too large  {:.6}",
                line.policy,
                line.shards,
                line.memory_bytes,
                line.requests,
                line.hits,
                line.misses,
                line.too_large,
                line.hit_ratio
            )
        });
    }
    Ok(())
}

fn print(options: &Options, line: &impl Serialize, table: impl FnOnce() -> String) {
    let text = if options.json { serde_json::to_string(line).expect("a line is plain data") } else { table() };
    println!("{text}");
}

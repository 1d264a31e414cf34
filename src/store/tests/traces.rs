//! Replays of captured traces, whose exact numbers of misses are known: every request is a get, a miss stores the key,
//! and every entry costs one.
//!
//! `LARDER_TRACES` names the folder with `reference.csv` and the traces. The shorter ones run always, all of them with
//! `LARDER_TEST_FULL=1`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use larder_store::{Charge, Key, NoHook, PolicyKind, Store, StoreSettings, Write};
use ruzstd::decoding::StreamingDecoder;

/// Traces of up to a million requests.
const SHORT: [&str; 3] = ["mooncake", "oltp", "webclient"];
/// The reference holds at least so many cache sizes of each trace.
const SIZES_MIN: usize = 5;
const TRACES: usize = 6;

/// One run of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    objects: u64,
    /// The number of misses, where that was written down.
    misses: Option<u64>,
    /// The miss ratio in millionths.
    ratio: u64,
}

impl Run {
    /// How many of these requests missed, and how far that may be off for having been rounded.
    fn misses(self, requests: usize) -> (u64, u64) {
        let requests = requests as u64;
        self.misses
            .map_or(((self.ratio * requests + 500_000) / 1_000_000, requests / 2_000_000 + 1), |exact| (exact, 0))
    }
}

#[test]
fn lru_misses_as_often_as_the_reference() {
    replay_all(PolicyKind::Lru, "LRU", "");
}

#[test]
fn two_q_misses_as_often_as_the_reference() {
    replay_all(PolicyKind::TwoQ, "2Q", "full;Kin=0.25C;Kout=0.50C");
}

#[test]
fn fifo_misses_as_often_as_the_reference() {
    replay_all(PolicyKind::Fifo, "FIFO", "");
}

#[test]
fn sieve_misses_as_often_as_the_reference() {
    replay_all(PolicyKind::Sieve, "SIEVE", "");
}

#[test]
fn s3_fifo_misses_as_often_as_the_reference() {
    replay_all(PolicyKind::S3Fifo, "S3-FIFO", "S=0.1;ghost=0.9;thr=2;freq reset");
}

#[test]
fn arc_misses_as_often_as_the_reference() {
    replay_all(PolicyKind::Arc, "ARC", "");
}

#[test]
fn lfu_misses_as_often_as_the_reference() {
    replay_all(PolicyKind::Lfu, "LFU", "dynamic aging (LFUDA);in-cache;tie=LRU");
}

#[test]
fn lru_k_misses_as_often_as_the_reference() {
    replay_all(PolicyKind::LruK, "LRU-2", "CRP=0.5C;history=C");
}

#[test]
fn tiny_lfu_misses_as_often_as_the_reference() {
    replay_all(PolicyKind::TinyLfu, "W-TinyLFU", "window=0.1;protected=0.8;cms 4x4C;reset=10C");
}

/// With sizes, which only one trace has. There an entry costs what the object is long; here a header is part of that, so the
/// value is as much shorter, and no entry costs less than 48 bytes or a part of eight.
#[test]
fn with_sizes_they_miss_about_as_often_as_the_reference() {
    let policies = [
        (PolicyKind::Fifo, "FIFO", ""),
        (PolicyKind::Lru, "LRU", ""),
        (PolicyKind::Arc, "ARC", ""),
        (PolicyKind::Sieve, "SIEVE", ""),
        (PolicyKind::TwoQ, "2Q", "a_in_size_ratio=0.25;a_out_size_ratio=0.5"),
        (PolicyKind::S3Fifo, "S3-FIFO", "small_size_ratio=0.1;ghost_size_ratio=0.9;move_to_main_threshold=2"),
    ];
    let Some(folder) = traces() else { return };
    let keys = keys(&folder, "webclient");
    let sizes = numbers(&folder.join("webclient.sizes.zst"), u32::from_le_bytes);
    assert_eq!(keys.len(), sizes.len());
    let path = folder.join("reference_bytes.csv");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for (policy, name, parameters) in policies {
        let rows = text.lines().filter_map(|line| line.strip_prefix(&format!("webclient,{name},{parameters},")));
        let mut runs = 0;
        for row in rows {
            let fields: Vec<&str> = row.split(',').collect();
            let [_, cache_bytes, expected, _] = fields[..] else { panic!("not seven fields: {row}") };
            let (cache_bytes, expected): (u64, f64) = (cache_bytes.parse().unwrap(), expected.parse().unwrap());
            let found = ratio_of_bytes(policy, cache_bytes, &keys, &sizes);
            println!("{policy} {cache_bytes} bytes: {found:.4} of the requests miss, {expected:.4} of the reference");
            assert!((found - expected).abs() < 0.01, "{policy} {cache_bytes} bytes: {found}, not {expected}");
            runs += 1;
        }
        assert!(runs >= SIZES_MIN, "{policy}: {runs} runs");
    }
}

/// The share of requests that miss if entries cost what objects are long; one that does not fit is not kept.
fn ratio_of_bytes(policy: PolicyKind, budget: u64, keys: &[u64], sizes: &[u32]) -> f64 {
    let key_hash = |_, key: &[u8]| mixed(u64::from_le_bytes(key.try_into().expect("a key of 8 bytes")));
    let settings =
        StoreSettings { shard: 0, value_bytes_max: 8 << 20, memory_bytes: (64 << 20) + 2 * budget, key_hash };
    let mut store = Store::new(settings, NoHook);
    let group = store.create_group(crate::group("trace", policy, Charge::Bytes, budget)).unwrap();
    let value = vec![0; 8 << 20];
    let mut misses = 0_u32;
    for (step, (&number, &size)) in keys.iter().zip(sizes).enumerate() {
        let now_ms = step as u64 / 1000 + 1;
        let key = Key { group, hash: mixed(number), bytes: &number.to_le_bytes() };
        if store.get(key, now_ms).is_none() {
            misses += 1;
            let size = u64::from(size);
            let overhead = store.entry_bytes(8, size as usize) - size;
            let length = size.saturating_sub(overhead) as usize;
            match store.set(key, Write { value: &value[..length], ..Write::default() }, now_ms) {
                Ok(_) => {}
                Err(larder_store::StoreError::TooLarge) => assert!(size + 4096 > budget / 3, "{size} of {budget}"),
                Err(error) => panic!("{error}"),
            }
        }
    }
    store.validate();
    f64::from(misses) / keys.len() as f64
}

/// The folder with the traces.
fn traces() -> Option<PathBuf> {
    let folder = std::env::var_os("LARDER_TRACES").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: LARDER_TRACES does not name a folder with traces");
    }
    folder
}

fn replay_all(policy: PolicyKind, name: &str, parameters: &str) {
    let Some(folder) = traces() else { return };
    let reference = reference(&folder, name, parameters);
    assert_eq!(reference.len(), TRACES, "reference.csv has traces that the test does not know, or lacks some");
    for (trace, runs) in reference {
        assert!(runs.len() >= SIZES_MIN, "{trace} has only {} sizes for {name}", runs.len());
        if !crate::full() && !SHORT.contains(&trace.as_str()) {
            eprintln!("left out: {trace}; LARDER_TEST_FULL=1 runs it");
            continue;
        }
        let keys = keys(&folder, &trace);
        for run in runs {
            let (objects, (expected, rounded)) = (run.objects, run.misses(keys.len()));
            let (misses, most) = (misses(policy, objects, &keys), tolerance(policy, keys.len()) + rounded);
            let differs = misses.abs_diff(expected);
            assert!(differs <= most, "{trace} with {policy} and {objects} objects: {misses}, not {expected}");
            eprintln!(
                "{trace} {policy} {objects}: {misses} misses, {differs} from the reference, {:.3} points",
                differs as f64 * 100.0 / keys.len() as f64
            );
        }
    }
}

/// How far the misses of so many requests may be from the reference: not at all, but for policies whose search for a
/// victim is cut short ([`larder_store::limits::SECOND_CHANCES_MAX`]), 0.01 points, and where frequencies are estimates,
/// one point.
fn tolerance(policy: PolicyKind, requests: usize) -> u64 {
    match policy {
        PolicyKind::Sieve | PolicyKind::S3Fifo => requests as u64 / 10_000,
        PolicyKind::LruK => requests as u64 / 1_000,
        PolicyKind::TinyLfu => requests as u64 / 100,
        _ => 0,
    }
}

/// The runs of one policy for each trace.
fn reference(folder: &Path, name: &str, parameters: &str) -> BTreeMap<String, BTreeSet<Run>> {
    let path = folder.join("reference.csv");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("trace,policy,params,cache_objects,miss_ratio,misses"));
    let mut traces: BTreeMap<String, BTreeSet<Run>> = BTreeMap::new();
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let [trace, policy, params, objects, ratio, misses] = fields[..] else { panic!("not six fields: {line}") };
        if (policy, params) == (name, parameters) {
            let number = |field: &str| field.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
            let misses = (!misses.is_empty()).then(|| number(misses));
            let run = Run { objects: number(objects), misses, ratio: number(&ratio.replacen("0.", "", 1)) };
            traces.entry(trace.into()).or_default().insert(run);
        }
    }
    traces
}

fn keys(folder: &Path, trace: &str) -> Vec<u64> {
    numbers(&folder.join(format!("{trace}.keys.zst")), u64::from_le_bytes)
}

/// The numbers of a file, each of so many bytes.
fn numbers<const BYTES: usize, N>(path: &Path, of: impl Fn([u8; BYTES]) -> N) -> Vec<N> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    let mut decoder = StreamingDecoder::new(file).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    decoder.read_to_end(&mut bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (numbers, rest) = bytes.as_chunks::<BYTES>();
    assert!(rest.is_empty() && !numbers.is_empty(), "{} holds no whole numbers", path.display());
    numbers.iter().map(|&number| of(number)).collect()
}

fn misses(policy: PolicyKind, objects: u64, keys: &[u64]) -> u64 {
    let key_hash = |_, key: &[u8]| mixed(u64::from_le_bytes(key.try_into().expect("a key of 8 bytes")));
    // Twice what entries, index and ghosts take, and some segments.
    let memory_bytes = (16 << 20) + 160 * objects;
    let mut store = Store::new(StoreSettings { shard: 0, value_bytes_max: 0, memory_bytes, key_hash }, NoHook);
    let group = store.create_group(crate::group("trace", policy, Charge::Objects, objects)).unwrap();
    for (step, &number) in keys.iter().enumerate() {
        let now_ms = step as u64 / 1000 + 1;
        let key = Key { group, hash: mixed(number), bytes: &number.to_le_bytes() };
        if store.get(key, now_ms).is_none() {
            store.set(key, Write::default(), now_ms).unwrap();
        }
    }
    store.validate();
    let counters = store.counters(group);
    assert_eq!(counters.hits + counters.misses, keys.len() as u64);
    assert_eq!(counters.entries, counters.sets - counters.evictions);
    assert_eq!(store.memory().evictions, 0, "it was the budget that evicted");
    counters.misses
}

/// One to one, so that no two keys share a ghost. This is the finisher of SplitMix64.
fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

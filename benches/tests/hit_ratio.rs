//! The `hit_ratio` program.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn hit_ratio(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hit_ratio")).args(arguments).output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Keys 0..count twice over, as a trace named `name`.
fn write_loop(dir: &Path, name: &str, count: u64) {
    let bytes: Vec<u8> = (0..2).flat_map(|_| 0..count).flat_map(u64::to_le_bytes).collect();
    let packed = ruzstd::encoding::compress_to_vec(&bytes[..], ruzstd::encoding::CompressionLevel::Fastest);
    std::fs::write(dir.join(format!("{name}.keys.zst")), packed).unwrap();
}

#[test]
fn a_loop_misses_always_below_its_length_and_once_at_it() {
    let dir = tempfile::tempdir().unwrap();
    write_loop(dir.path(), "loop", 1000);
    let traces = dir.path().to_str().unwrap();
    let found = lines(&hit_ratio(&[
        "--traces",
        traces,
        "--trace",
        "loop",
        "--policy",
        "lru",
        "--sizes",
        "999,1000,50%",
        "--objects",
        "--json",
    ]));
    let expected = [(999, 2000), (1000, 1000), (500, 2000)];
    assert_eq!(found.len(), expected.len());
    for (line, (cache_objects, misses)) in found.iter().zip(expected) {
        let expected = serde_json::json!({
            "trace": "loop", "policy": "lru", "cache_objects": cache_objects, "requests": 2000, "misses": misses
        });
        assert_eq!(*line, expected);
    }
}

#[test]
fn all_traces_policies_and_sizes_come_without_being_named() {
    let dir = tempfile::tempdir().unwrap();
    write_loop(dir.path(), "a", 1000);
    write_loop(dir.path(), "b", 2345);
    let found = lines(&hit_ratio(&["--traces", dir.path().to_str().unwrap(), "--objects", "--json"]));
    assert_eq!(found.len(), 2 * larder_store::PolicyKind::ALL.len() * 5);
    let sizes: Vec<u64> =
        found.iter().rev().take(5).rev().map(|line| line["cache_objects"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [2, 23, 117, 235, 586], "0.1, 1, 5, 10 and 25 % of 2,345, to the nearest");
}

#[test]
fn tables_have_rivals_shards_and_means() {
    let arguments = ["--generated", "zipf:0.9", "--keys", "20k", "--requests", "200k", "--sizes", "400,20%"];
    let policies = ["--policy", "lru,s3_fifo", "--objects", "--rivals", "--shards", "4"];
    let dir = tempfile::tempdir().unwrap();
    let svg = dir.path().join("curves.svg");
    let output = hit_ratio(&[&arguments[..], &policies, &["--svg", svg.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    println!("{text}");
    let (of_trace, rest) = text.split_once("\n\n").unwrap();
    assert!(of_trace.starts_with("zipf:0.9: 200000 requests of "), "{text}");
    let rows: Vec<_> = of_trace.lines().skip(1).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(rows, ["objects", "lru", "lru/4", "s3_fifo", "s3_fifo/4", "quick_cache", "moka", "foyer"]);
    let row = |part: &str, name: &str| -> Vec<f64> {
        let found = part.lines().find(|line| line.split_whitespace().next() == Some(name));
        let found = found.unwrap_or_else(|| panic!("no {name} in {part}"));
        found.split_whitespace().skip(1).map(|number| number.parse().unwrap()).collect()
    };
    for name in &rows[1..] {
        let [few, many] = row(of_trace, name)[..] else { panic!("two sizes: {text}") };
        assert!(0.2 < many && many < few && few < 0.9, "{name}: {few} and {many}");
    }
    let (to_lru, to_one) = rest.split_once("\n\n").unwrap();
    assert_eq!(row(to_lru, "lru"), [1.0]);
    assert!(row(to_lru, "s3_fifo")[0] < 0.99, "it is better than LRU on skewed draws");
    let [mean, least, most] = row(to_one, "lru/4")[..] else { panic!("{to_one}") };
    assert!(0.98 < least && least <= mean && mean <= most && most < 1.02, "{to_one}");
    let svg = std::fs::read_to_string(svg).unwrap();
    assert!(svg.contains("quick_cache") && !svg.contains("lru/4"), "one line for each cache of one shard");
}

#[test]
fn csv_is_the_same_as_json() {
    let arguments = ["--generated", "uniform,in_turn", "--keys", "1k", "--requests", "3k", "--objects"];
    let csv = hit_ratio(&[&arguments[..], &["--csv"]].concat());
    let csv = String::from_utf8(csv.stdout).unwrap();
    let json = lines(&hit_ratio(&[&arguments[..], &["--json"]].concat()));
    let mut csv = csv.lines();
    assert_eq!(csv.next(), Some("trace,policy,shards,cache_objects,requests,misses,miss_ratio"));
    let csv: Vec<_> = csv.collect();
    assert_eq!(csv.len(), json.len());
    for (row, line) in csv.iter().zip(json) {
        let text = |field: &str| line[field].as_str().unwrap();
        let number = |field: &str| line[field].as_u64().unwrap();
        let (objects, requests, misses) = (number("cache_objects"), number("requests"), number("misses"));
        let ratio = misses as f64 / requests as f64;
        let expected = format!("{},{},1,{objects},{requests},{misses},{ratio:.6}", text("trace"), text("policy"));
        assert_eq!(*row, expected);
    }
}

#[test]
fn wrong_options_and_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    write_loop(dir.path(), "a", 10);
    std::fs::write(dir.path().join("broken.keys.zst"), b"no zstd").unwrap();
    let traces = dir.path().to_str().unwrap();
    let cases: [(&[&str], &str); 12] = [
        (&["--traces", traces], "--objects"),
        (&["--traces", "no-such-dir", "--objects"], "no-such-dir"),
        (&["--traces", traces, "--trace", "none", "--objects"], "none.keys.zst"),
        (&["--traces", traces, "--trace", "broken", "--objects"], "broken.keys.zst"),
        (&["--traces", traces, "--policy", "best", "--objects"], "choose one of fifo, lru"),
        (&["--traces", traces, "--replayed", "--shards", "2"], "--memory"),
        (
            &["--traces", traces, "--trace", "a", "--replayed", "--shards", "2", "--memory", "16MiB", "--group", "x"],
            "--group x",
        ),
        (&["--objects"], "--generated"),
        (&["--generated", "zip", "--objects"], "zipf:THETA"),
        (&["--generated", "uniform", "--keys", "0", "--objects"], "above 0"),
        (&["--traces", traces, "--objects", "--shards", "1"], "--shards 1"),
        (&["--traces", traces, "--trace", "a", "--objects", "--shards", "16", "--sizes", "8"], "16 shards"),
    ];
    for (arguments, expected) in cases {
        let output = hit_ratio(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(expected), "{arguments:?}: {output:?}");
    }
}

/// The misses of published runs: exactly, but for what `src/store/tests/traces.rs` says of some policies.
#[test]
fn captured_traces_miss_as_published() {
    let Some(folder) = crate::traces() else { return };
    let reference = folder.join("reference.csv");
    let reference =
        std::fs::read_to_string(&reference).unwrap_or_else(|error| panic!("{}: {error}", reference.display()));
    let traces = folder.to_str().unwrap();
    let arguments = ["--traces", traces, "--trace", "mooncake,webclient", "--objects", "--rivals", "--json"];
    let found = lines(&hit_ratio(&arguments));
    assert_eq!(found.len(), 2 * (larder_store::PolicyKind::ALL.len() + 3) * 5);
    for line in found {
        let text = |field: &str| line[field].as_str().unwrap();
        let policy = match text("policy") {
            "fifo" => "FIFO,",
            "lru" => "LRU,",
            "lfu" => "LFU,dynamic aging (LFUDA);in-cache;tie=LRU",
            "lru_k" => "LRU-2,CRP=0.5C;history=C",
            "two_q" => "2Q,full;Kin=0.25C;Kout=0.50C",
            "arc" => "ARC,",
            "sieve" => "SIEVE,",
            "s3_fifo" => "S3-FIFO,S=0.1;ghost=0.9;thr=2;freq reset",
            "tiny_lfu" => "W-TinyLFU,window=0.1;protected=0.8;cms 4x4C;reset=10C",
            "quick_cache" => "lib:quick_cache,0.7.0 unsync default (hot .97 ghost .5)",
            "moka" => "lib:moka,0.12.16 sync tinylfu;run_pending_tasks each op",
            "foyer" => "lib:foyer,0.22.6 S3FIFO default 1 shard",
            other => panic!("there is no reference for {other}"),
        };
        let start = format!("{},{policy},{},", text("trace"), line["cache_objects"]);
        let expected = reference.lines().find(|row| row.starts_with(&start)).unwrap_or_else(|| panic!("no {start}"));
        let [expected, found] = [expected.rsplit(',').next().unwrap(), &line["misses"].to_string()]
            .map(|misses| misses.parse::<u64>().unwrap());
        let requests = line["requests"].as_u64().unwrap();
        let most = match text("policy") {
            "lru_k" => requests / 1_000,
            "tiny_lfu" | "quick_cache" | "foyer" => requests / 100,
            // Its hashes are seeded by chance.
            "moka" => requests / 50,
            _ => 0,
        };
        assert!(found.abs_diff(expected) <= most, "{start}: {found} misses, not {expected}");
    }
}

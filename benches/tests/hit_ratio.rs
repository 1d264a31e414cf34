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
fn wrong_options_and_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    write_loop(dir.path(), "a", 10);
    std::fs::write(dir.path().join("broken.keys.zst"), b"no zstd").unwrap();
    let traces = dir.path().to_str().unwrap();
    let cases: [(&[&str], &str); 7] = [
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
    let found = lines(&hit_ratio(&["--traces", traces, "--trace", "mooncake,webclient", "--objects", "--json"]));
    assert_eq!(found.len(), 2 * larder_store::PolicyKind::ALL.len() * 5);
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
            other => panic!("there is no reference for {other}"),
        };
        let start = format!("{},{policy},{},", text("trace"), line["cache_objects"]);
        let expected = reference.lines().find(|row| row.starts_with(&start)).unwrap_or_else(|| panic!("no {start}"));
        let [expected, found] = [expected.rsplit(',').next().unwrap(), &line["misses"].to_string()]
            .map(|misses| misses.parse::<u64>().unwrap());
        let requests = line["requests"].as_u64().unwrap();
        let most = match text("policy") {
            "lru_k" => requests / 1_000,
            "tiny_lfu" => requests / 100,
            _ => 0,
        };
        assert!(found.abs_diff(expected) <= most, "{start}: {found} misses, not {expected}");
    }
}

//! The times of single inserts, short: that every pass is timed and says what the store did.

use std::process::{Command, Output};

use serde_json::Value;

fn pauses(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pauses")).args(arguments).output().unwrap()
}

#[test]
fn both_passes_are_timed() {
    let output = pauses(&["--quick", "--repeats", "2", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("standard output is one JSON object");
    assert!(report["clock"]["p50_ns"].as_u64().unwrap() > 0);
    let passes = report["passes"].as_array().unwrap();
    assert_eq!([&passes[0]["pass"], &passes[1]["pass"]], ["growing", "full"]);
    for pass in passes {
        assert_eq!((&pass["inserts"], &pass["repeats"]), (&1_000_000.into(), &2.into()));
        for times in [&pass["all"], &pass["least"]] {
            let [p50, p999, p9999, max] =
                ["p50_ns", "p999_ns", "p9999_ns", "max_ns"].map(|field| times[field].as_u64().unwrap());
            assert!(0 < p50 && p50 <= p999 && p999 <= p9999 && p9999 <= max, "{pass}");
        }
    }
    assert_eq!((&passes[0]["entries"], &passes[0]["evictions"]), (&1_000_000.into(), &0.into()));
    assert!(passes[0]["index_moves"].as_u64().unwrap() > 0, "the index grows: {report}");
    assert!(passes[1]["evictions"].as_u64().unwrap() > 0 && passes[1]["moved_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn wrong_options_are_named() {
    for (arguments, expected) in [
        (&["--repeats", "0"][..], "--repeats 0"),
        (&["--passes", "empty"], "--passes empty"),
        (&["--policy", "best"], "choose one of fifo, lru"),
    ] {
        let output = pauses(arguments);
        assert!(!output.status.success());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

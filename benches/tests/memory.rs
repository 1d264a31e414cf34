//! Memory from outside: what a server takes for each item that it really keeps, and while the sizes of values change.

use std::process::{Command, Output};

use larder_benches::memory::churn::{BASE_BYTES_MAX, ENTRY_SHARE_MIN, MEMORIES_WRITTEN, MEMORY_FACTOR, PHASES};
use larder_benches::memory::fill::FILLINGS;
use serde_json::Value;

fn memory(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memory")).args(arguments).output().unwrap()
}

fn report(arguments: &[&str]) -> Value {
    let output = memory(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The table, for whoever reads the output of the test.
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("standard output is one JSON object")
}

fn number(value: &Value, field: &str) -> f64 {
    value[field].as_f64().unwrap_or_else(|| panic!("no number {field} in {value}"))
}

#[test]
fn items_that_are_really_kept_take_few_bytes_each() {
    let report = report(&["--sections", "fill", "--servers", "larder", "--policy", "two_q", "--json"]);
    assert_eq!((&report["memory_bytes"], &report["policy"]), (&(256 << 20).into(), &"two_q".into()));
    let fill = report["fill"].as_array().unwrap();
    assert_eq!(fill.len(), FILLINGS.len());
    for (filled, filling) in fill.iter().zip(&FILLINGS) {
        let kept = number(filled, "items_kept");
        assert_eq!(number(filled, "items"), filling.items as f64);
        assert!(kept < filling.items as f64, "everything fits, so memory was not full: {filled}");
        assert_eq!(kept, number(&filled["account"], "entries"), "what is found is what is counted");
        let payload = kept * f64::from(16 + filling.value_bytes);
        let resident = number(filled, "resident_bytes");
        assert!(resident > payload, "{resident} bytes cannot hold {payload}");
        let per_item = number(filled, "bytes_per_item");
        assert!(per_item <= filling.target_bytes, "{per_item} bytes per item: {filled}");
    }
}

/// Under lru all that is not entries is what the memory's own structure costs.
#[test]
fn memory_stays_within_its_limit_while_sizes_change() {
    churns("lru", "256MiB", ENTRY_SHARE_MIN);
}

#[test]
fn memory_stays_within_its_limit_while_sizes_change_and_ghosts_come_and_go() {
    // In little memory the larger values and the segments of ghosts are coarse.
    let (memory, share_min) = if crate::full() { ("256MiB", ENTRY_SHARE_MIN) } else { ("32MiB", 0.85) };
    churns("two_q", memory, share_min);
}

fn churns(policy: &str, memory: &str, share_min: f64) {
    let report = report(&["--sections", "churn", "--policy", policy, "--memory", memory, "--json"]);
    let churn = &report["churn"];
    let memory_bytes = number(&report, "memory_bytes");
    let limit = memory_bytes * MEMORY_FACTOR + BASE_BYTES_MAX as f64;
    assert!(number(churn, "resident_bytes_max") <= limit, "{churn}");
    let phases = churn["phases"].as_array().unwrap();
    assert_eq!(phases.len(), PHASES.len());
    for (phase, value_bytes) in phases.iter().zip(PHASES) {
        assert_eq!((&phase["value_bytes"], &phase["failed"]), (&value_bytes.into(), &0.into()), "{phase}");
        assert_eq!(phase["stored"], phase["writes"], "the server counts as we do: {phase}");
        assert!(number(phase, "sent_bytes") >= MEMORIES_WRITTEN as f64 * memory_bytes, "{phase}");
        let resident = number(phase, "resident_bytes_max");
        assert!(resident > memory_bytes / 2.0 && resident <= limit, "{phase}");
        let [entries, ghosts] = ["entry_share", "ghost_share"].map(|share| number(phase, share));
        assert!(ghosts == 0.0 || policy == "two_q", "{phase}");
        assert!(entries + ghosts >= share_min, "{phase}");
        assert!((1.0..10.0).contains(&number(phase, "write_amplification")), "{phase}");
    }
}

#[test]
fn a_short_comparison_has_all_servers() {
    let report = report(&["--sections", "fill", "--quick", "--policy", "lru", "--json"]);
    let fill = report["fill"].as_array().unwrap();
    assert_eq!(fill.len(), 6);
    for (filled, server) in fill.iter().zip(["larder", "redis", "memcached"].iter().cycle()) {
        assert_eq!(filled["server"], *server);
        assert!(number(filled, "items_kept") > 0.0 && number(filled, "items_kept") < number(filled, "items"));
        assert_eq!(filled["account"].is_object(), *server == "larder", "{filled}");
    }
    assert_eq!(report["policy"], "lru");
}

#[test]
fn what_cannot_be_measured_is_named() {
    for (arguments, expected) in [
        (&["--servers", "valkey"][..], "--servers valkey"),
        (&["--memory", "lots"], "lots"),
        (&["--memory", "1500000B"], "whole MiB"),
        (&["--memory", "16MiB", "--quick"], "less than 1MiB"),
        (&["--policy", "best"], "choose one of fifo, lru"),
        (&["--sections", "grow"], "grow"),
        (&["--larder", "/no/such/larder"], "/no/such/larder"),
    ] {
        let output = memory(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

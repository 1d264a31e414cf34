//! The comparison, short: that it starts the servers, measures what it says, and names what is wrong.

use std::process::{Command, Output};

use serde_json::Value;

const SERVERS: [&str; 5] = ["larder", "larder-resp", "larder-mc", "redis", "memcached"];

fn peers(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_peers")).args(arguments).output().unwrap()
}

#[test]
fn a_short_comparison_measures_all_servers() {
    let output = peers(&["--quick", "--cases", "p16,two_shards,idle", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("standard output is one JSON object");
    let case = &report["cases"][0];
    assert_eq!((&case["name"], &case["pipeline"], &report["rounds"]), (&"p16".into(), &16.into(), &3.into()));
    for (server, name) in case["servers"].as_array().unwrap().iter().zip(SERVERS) {
        assert_eq!(server["server"], name);
        for field in ["cpu_us_per_op", "ops_per_s", "p50_us", "p99_us", "generator_busy", "resident_bytes"] {
            assert!(server[field].as_f64().unwrap() > 0.0, "{field} of {name}: {report}");
        }
        // One core gives a million microseconds in a second.
        let cpu_s = server["cpu_us_per_op"].as_f64().unwrap() * server["ops_per_s"].as_f64().unwrap() / 1e6;
        assert!((0.01..1.5).contains(&cpu_s), "{name} used {cpu_s} s of CPU in a second: {report}");
        assert_eq!(server["larder_cpu_ratio"].is_f64(), name != "larder", "{report}");
        assert_eq!(server["same_protocol_cpu_ratio"].is_f64(), !name.starts_with("larder"), "{report}");
    }
    assert!(report["two_shards"]["plain_cpu_ratio"].as_f64().unwrap() > 0.3, "{report}");
    for (server, name) in report["idle"].as_array().unwrap().iter().zip(SERVERS) {
        assert_eq!((&server["server"], &server["connections"]), (&name.into(), &10_000.into()), "{report}");
        assert!(server["resident_bytes_per_connection"].as_f64().unwrap() > 0.0, "{report}");
        assert!(server["cpu_percent"].as_f64().unwrap() < 20.0, "{report}");
    }
    assert_eq!(report["idle"].as_array().unwrap().len(), SERVERS.len(), "{report}");
    assert_eq!(report["open_loops"].as_array().unwrap().len(), 2 * SERVERS.len());
    assert!(report["open_loops"][0]["generator_lag_p99_us"].is_f64(), "{report}");
}

#[test]
fn what_cannot_be_measured_is_named() {
    for (arguments, expected) in [
        (&["--servers", "valkey"][..], "--servers valkey"),
        (&["--cases", "p2"], "--cases p2"),
        (&["--rounds", "0"], "--rounds 0"),
        (&["--seconds", "0"], "--seconds 0"),
        (&["--generator-core", "0"], "--generator-core 0"),
        (&["--larder", "/no/such/larder"], "/no/such/larder"),
    ] {
        let output = peers(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

//! The program: exit codes, and where its output goes.

use std::process::{Command, Output};

use serde_json::Value;

use crate::server::{Faults, TestServer};

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_run_prints_one_json_object_and_a_table() {
    let server = TestServer::start(Faults::default());
    let address = server.address.to_string();
    let output = loadgen(&["run", "--addr", &address, "--duration", "1800ms", "--seed", "5", "--json", "-"]);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("standard output is one JSON object");
    assert_eq!((&report["command"], &report["seed"], &report["errors_total"]), (&"run".into(), &5.into(), &0.into()));
    for field in ["achieved_per_s", "hit_ratio", "elapsed_s"] {
        assert!(report[field].is_f64(), "{field}: {report}");
    }
    for field in ["p50_us", "p90_us", "p99_us", "p999_us", "p9999_us", "max_us", "mean_us"] {
        assert!(report["latency"][field].as_f64().unwrap() > 0.0, "{field}: {report}");
    }
    let table = text(&output.stderr);
    for part in ["seed 5", "throughput", "p99.99", "hit ratio", "generator", "run    1 s"] {
        assert!(table.contains(part), "{part:?} in {table}");
    }
}

#[test]
fn a_file_gets_the_json_and_standard_output_the_table() {
    let server = TestServer::start(Faults::default());
    let address = server.address.to_string();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result.json");
    let output =
        loadgen(&["run", "--addr", &address, "--requests", "100", "--quiet", "--json", path.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(report["requests"], 100);
    assert!(text(&output.stdout).contains("throughput"));
}

#[test]
fn exit_codes_tell_what_is_wrong() {
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let server = TestServer::start(Faults { refuse_every: 1, ..Faults::default() });
    let address = server.address.to_string();
    let cases: [(&[&str], i32, &str); 8] = [
        (&["run", "--addr", &refused], 3, "cannot connect to"),
        (&["replay", "missing.keys.zst"], 2, "missing.keys.zst"),
        (&["run", "--keys", "0"], 2, "--keys 0"),
        (&["run", "--nonsense"], 2, "--nonsense"),
        (&["run", "--addr", "no such name"], 2, "--addr no such name"),
        (&["run", "--json", "/no/such/dir/file"], 2, "--json"),
        (&["run", "--addr", &address, "--cores", "1023"], 2, "--cores 1023"),
        (&["run", "--addr", &address, "--requests", "100"], 1, "every request was refused"),
    ];
    for (arguments, code, expected) in cases {
        let output = loadgen(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(text(&output.stderr).contains(expected), "{arguments:?}: {output:?}");
    }
}

#[test]
fn help_has_examples() {
    for command in ["run", "replay", "ceiling"] {
        let output = loadgen(&[command, "--help"]);
        assert!(output.status.success() && text(&output.stdout).contains("EXAMPLES"), "{output:?}");
    }
}

//! Exit codes, and messages with them.

use std::io::Read;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::{Cli, program, run};

#[test]
fn a_miss_is_one() {
    let cli = Cli::start();
    let miss = cli.run(&["get", "absent"]).exits(1);
    assert_eq!((miss.out.len(), &*miss.err), (0, "absent: not found\n"));
}

#[test]
fn wrong_usage_is_two_and_nothing_is_sent() {
    let cli = Cli::start();
    for arguments in [
        &["get"][..],
        &["fetch", "k"],
        &["set", "k"],
        &["set", "k", "v", "--ttl", "soon"],
        &["set", "k", "v", "--flags", "4294967296"],
        &["incr", "k", "much"],
        &["mset", "a", "1", "b"],
        &["del", "a", "b", "--if-version", "3"],
        &["set", "k", "--file", "no/such/file"],
        &["--group", "", "get", "k"],
        &["--timeout", "0s", "get", "k"],
    ] {
        let refused = cli.run(arguments).exits(2);
        assert!(!refused.err.is_empty(), "{arguments:?}");
        assert!(refused.out.is_empty(), "{arguments:?}: {}", refused.text());
    }
    assert!(cli.run(&["mset", "a", "1", "b"]).err.contains("\"b\" has no value"));
    let refused = run(program().args(["--addr", "nowhere", "get", "k"]), b"").exits(2);
    assert!(refused.err.contains("--addr \"nowhere\": it must be host:port"), "{}", refused.err);
    assert!(cli.run(&["--group", "", "get", "k"]).err.contains("--group \"\": "));
    assert!(cli.run(&["--timeout", "30d", "get", "k"]).exits(2).err.contains("--timeout \""));
    cli.run(&["get", "a"]).exits(1);
}

#[test]
fn no_server_is_three() {
    let cli = Cli::start();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let refused = run(program().args(["--addr", &address, "get", "k"]), b"").exits(3);
    assert!(refused.err.contains(&address) && refused.err.contains("refused"), "{}", refused.err);
    let refused = run(program().args(["--addr", &address, "--json", "get", "k"]), b"").exits(3);
    assert_eq!(refused.json()["retryable"], true);
    assert!(refused.json()["error"].as_str().unwrap().contains(&address));
    // The second address answers.
    let both = format!("{address},{}", cli.address());
    run(program().args(["--addr", &both, "set", "second", "v"]), b"").exits(0);
}

#[test]
fn a_server_of_something_else_is_three() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 512]);
        let _ = std::io::Write::write_all(&mut stream, b"-ERR unknown command\r\n");
    });
    let refused = run(program().args(["--addr", &address, "get", "k"]), b"").exits(3);
    assert!(refused.err.contains("does not speak this protocol"), "{}", refused.err);
    other.join().unwrap();
}

#[test]
fn a_silent_server_is_three_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let begun = Instant::now();
    let refused = run(program().args(["--addr", &address, "--timeout", "200ms", "get", "k"]), b"").exits(3);
    assert!(refused.err.contains("within 200 ms"), "{}", refused.err);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn an_unknown_group_is_three_and_named() {
    let cli = Cli::start();
    let refused = cli.run(&["--group", "nope", "get", "k"]).exits(3);
    assert!(refused.err.contains("nope") && refused.err.contains("default"), "{}", refused.err);
}

#[test]
fn a_value_above_the_limit_is_three_with_both_numbers() {
    let cli = Cli::start();
    let refused = cli.run_with_input(&["set", "large", "-"], &vec![0; 65 << 20]).exits(2);
    assert!(refused.err.contains("67108864"), "the limit of the protocol: {}", refused.err);
    let refused = cli.run_with_input(&["set", "large", "-"], &vec![0; 60 << 20]).exits(3);
    assert!(refused.err.contains("value of 62914560 bytes is above the limit"), "{}", refused.err);
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let cli = Cli::start();
    cli.run_with_input(&["set", "long", "-"], &vec![b'x'; 4 << 20]).exits(0);
    let address = cli.address();
    let mut child = program()
        .args(["--addr", &address, "get", "long"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn help_names_the_exit_codes() {
    let help = run(program().arg("--help"), b"").exits(0);
    for line in ["Exit codes:", "1  a miss", "Examples:", "base64"] {
        assert!(help.text().contains(line), "{line}");
    }
}

#[test]
fn a_closed_standard_error_is_no_panic() {
    let cli = Cli::start();
    let address = cli.address();
    let mut shell = std::process::Command::new("sh");
    let line = "\"$0\" --addr \"$1\" get absent 2>&-";
    run(shell.args(["-c", line, env!("CARGO_BIN_EXE_larder-cli"), &address]), b"").exits(1);
}

//! What leaves a group of a running server, as the program shows it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use larder_testkit::Server;
use serde_json::Value;

use crate::{Run, program, run};

/// How long something may take that comes by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program while it watches.
struct Watching {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Watching {
    /// Starts it, and waits until it watches.
    fn start(server: &Server, arguments: &[&str]) -> Watching {
        let mut command = program();
        command.args(["--addr", &server.address().to_string()]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut said = String::new();
        BufReader::new(child.stderr.take().expect("piped")).read_line(&mut said).expect("text");
        assert!(said.starts_with("larder-cli: watching group "), "{said}");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        Watching { child, out }
    }

    /// The next line, without its end; empty: it has ended.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("text");
        line.trim_end_matches('\n').to_owned()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cli(server: &Server, arguments: &[&str], input: &[u8]) -> Run {
    run(program().args(["--addr", &server.address().to_string()]).args(arguments), input)
}

/// A counter of the default group.
fn counter(server: &Server, name: &str) -> u64 {
    let stats = cli(server, &["--json", "stats"], b"").exits(0).json();
    stats["nodes"][0]["groups"][0][name].as_u64().unwrap_or_else(|| panic!("no {name} in {stats}"))
}

#[test]
fn one_line_for_each_entry_that_leaves() {
    let server = Server::start(&["--shards", "2", "--memory", "64MiB"]);
    let mut text = Watching::start(&server, &["watch", "default"]);
    let mut json = Watching::start(&server, &["--json", "watch", "default"]);
    cli(&server, &["set", "user:17", "Ada"], b"").exits(0);
    cli(&server, &["set", "user:17", "Grace"], b"").exits(0);
    assert_eq!(text.line(), "replaced\t10\tuser:17");
    cli(&server, &["del", "user:17"], b"").exits(0);
    assert_eq!(text.line(), "deleted\t12\tuser:17");
    cli(&server, &["set", "a\tb\n", "v", "--ttl", "20ms"], b"").exits(0);
    assert_eq!(text.line(), "expired\t5\ta\\tb\\n", "nobody has asked for it");
    for (reason, bytes, key) in [("replaced", 10, "user:17"), ("deleted", 12, "user:17"), ("expired", 5, "a\tb\n")] {
        let line: Value = serde_json::from_str(&json.line()).expect("an object on each line");
        let expected = serde_json::json!({ "reason": reason, "bytes": bytes, "key": key, "key_encoding": "utf-8" });
        assert_eq!(line, expected);
    }
    let refused = cli(&server, &["watch", "sores"], b"").exits(3);
    assert!(refused.err.contains("\"sores\"") && refused.err.contains("default"), "{}", refused.err);
    assert!(server.stop().success(), "whoever watches");
    assert_eq!(text.line(), "");
    assert_eq!(text.child.wait().expect("it ends").code(), Some(3), "the server has ended, and more may have left");
    let error: Value = serde_json::from_str(&json.line()).expect("an object");
    assert!(error["error"].as_str().is_some_and(|error| error.contains("was lost")), "{error}");
    assert_eq!(error["retryable"], true);
}

/// Stores so many keys of a kind, 1,000 for each run of the program.
fn fill(server: &Server, prefix: &str, count: usize, value: &str) {
    let numbers: Vec<usize> = (0..count).collect();
    for numbers in numbers.chunks(1_000) {
        let keys: Vec<String> = numbers.iter().map(|number| format!("{prefix}:{number}")).collect();
        let mut arguments = vec!["mset"];
        arguments.extend(keys.iter().flat_map(|key| [key, value]));
        cli(server, &arguments, b"").exits(0);
    }
}

#[test]
fn as_many_lines_as_the_counters_of_all_shards_say() {
    let server = Server::start(&["--shards", "3", "--memory", "3MiB", "--value-max", "2kB"]);
    let mut watching = Watching::start(&server, &["watch", "default"]);
    fill(&server, "k", 6_000, &"v".repeat(1_000));
    cli(&server, &["del", "k:5999", "k:5998", "k:0"], b"").exits(1);
    let expected = ["evictions", "deletes"].map(|name| counter(&server, name));
    assert!(expected[0] > 3_000 && expected[1] == 2, "{expected:?}");
    let mut lines = BTreeMap::<String, u64>::new();
    let mut keys = BTreeMap::<String, u64>::new();
    for _ in 0..expected.iter().sum() {
        let line = watching.line();
        let [reason, bytes, key] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
        assert_eq!(bytes.parse(), Ok(1_000 + key.len()), "{line:?}");
        *lines.entry(reason.to_owned()).or_default() += 1;
        *keys.entry(key.to_owned()).or_default() += 1;
    }
    assert_eq!(lines, BTreeMap::from([("deleted".into(), expected[1]), ("evicted".into(), expected[0])]));
    assert!(keys.values().all(|times| *times == 1), "each key has left once: it was stored once");
    cli(&server, &["set", "last", "v"], b"").exits(0);
    cli(&server, &["del", "last"], b"").exits(0);
    loop {
        let line = watching.line();
        if line == "deleted\t5\tlast" {
            break;
        }
        assert!(line.starts_with("evicted\t"), "nothing but what the last set needed room for: {line:?}");
    }
    assert!(server.stop().success());
}

#[test]
fn who_does_not_read_is_told_how_many_were_missed() {
    let server = Server::start(&["--shards", "1", "--memory", "16MiB"]);
    let mut watching = Watching::start(&server, &["watch", "default"]);
    // Nobody reads its output, so it stops to read from the server. Each run overwrites one long key 60 times: 1.2 MB.
    let key = "k".repeat(20_000);
    let mut arguments = vec!["mset"];
    let pairs = [&*key, "v"].repeat(60);
    arguments.extend(pairs);
    let begun = Instant::now();
    let mut overwrites = 0;
    // As many bytes of keys as program and sockets cannot hold.
    while overwrites < 2_400 {
        cli(&server, &arguments, b"").exits(0);
        overwrites += 60;
        assert!(begun.elapsed() < PATIENCE, "others are served: {overwrites} in {:?}", begun.elapsed());
    }
    let (mut told, mut missed) = (0, 0);
    while told + missed < overwrites - 1 {
        let line = watching.line();
        match line.split_once('\t').unwrap_or_else(|| panic!("{line:?}")) {
            ("missed", count) => missed += count.parse::<u64>().expect("a number"),
            (reason, _) => {
                assert_eq!(reason, "replaced");
                told += 1;
            }
        }
    }
    assert_eq!(told + missed, overwrites - 1, "each overwrite is told or counted, once");
    assert!(told > 0 && missed > 0, "{told} told and {missed} missed");
    drop(watching);
    cli(&server, &["get", "none"], b"").exits(1);
    assert!(server.stop().success(), "a watch that was killed holds nobody up");
}

//! Scans, and groups of a running node.

use std::io::Write;
use std::time::{Duration, Instant};

use larder_testkit::Server;
use serde_json::json;

use crate::{Cli, program, run};

#[test]
fn keys_are_listed_one_on_each_line() {
    let cli = Cli::start();
    cli.run(&["mset", "gs:1", "v", "gs:2", "v", "gs:\n3", "v", "gt:1", "v"]).exits(0);
    let listed = cli.run(&["scan", "--pattern", "gs:*"]).exits(0);
    let mut lines: Vec<&str> = listed.text().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["gs:1", "gs:2", "gs:\\n3"]);
    let listed = cli.run(&["scan", "--pattern", "g[t]:?", "--count", "1", "--json"]).exits(0).json();
    assert_eq!(listed, json!({ "keys": [{ "key": "gt:1", "key_encoding": "utf-8" }] }));
    assert_eq!(cli.run(&["scan", "--pattern", "nothing:*"]).exits(0).text(), "");
    assert_eq!(cli.run(&["--json", "scan", "--pattern", "nothing:*"]).exits(0).json(), json!({ "keys": [] }));
    let refused = cli.run(&["scan", "--pattern", &"x".repeat(256)]).exits(2);
    assert!(refused.err.contains("at most 255 bytes"), "{}", refused.err);
}

/// A server with a group beside the default one.
fn server() -> (Server, tempfile::NamedTempFile) {
    let mut config = tempfile::Builder::new().suffix(".toml").tempfile().expect("a temporary file");
    config.write_all(b"[[group]]\nname = \"scores\"\nmemory = \"16MiB\"\npolicy = \"lru\"\n").expect("it is written");
    let path = config.path().to_str().expect("a path of text");
    let flags = ["--shards", "2", "--memory", "64MiB", "--value-max", "100kB", "--config", path];
    (Server::start(&flags), config)
}

#[test]
fn groups_are_listed_and_altered_while_the_node_runs() {
    let (server, _config) = server();
    let address = server.address().to_string();
    let cli = |arguments: &[&str]| run(program().args(["--addr", &address]).args(arguments), b"");
    cli(&["--group", "scores", "set", "k", "v"]).exits(0);
    let listed = cli(&["group", "list"]).exits(0);
    let rows: Vec<Vec<&str>> = listed.text().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["group", "policy", "budget", "bytes", "entries", "settings"]);
    assert_eq!(rows[2][..3], ["default", "two_q", "50331648"]);
    assert_eq!(rows[3][..3], ["scores", "lru", "16777216"]);
    assert_eq!(rows[3][4], "1");

    let altered = cli(&["group", "alter", "scores", "--memory", "8MiB"]).exits(0);
    let lines: Vec<&str> = altered.text().lines().collect();
    assert!(lines[0].ends_with(": group scores had 16MiB and has 8MiB"), "{lines:?}");
    assert!(lines[1].ends_with(": group default had 48MiB and has 56MiB"), "{lines:?}");
    assert!(lines[2].contains("until the node ends"), "{lines:?}");
    let groups = cli(&["--json", "group", "list"]).exits(0).json();
    let groups = &groups["nodes"][0]["groups"];
    assert_eq!((&groups[0]["budget_bytes"], &groups[1]["budget_bytes"]), (&json!(56 << 20), &json!(8 << 20)));
    let altered = cli(&["--json", "group", "alter", "scores", "--memory", "32MiB"]).exits(0).json();
    assert_eq!(altered["nodes"][0]["changes"][0]["memory_bytes_before"], 8 << 20);
    assert_eq!(cli(&["--group", "scores", "get", "k"]).exits(0).text(), "v", "nothing was lost");

    let refused = cli(&["group", "alter", "scores", "--memory", "65MiB"]).exits(3);
    assert!(refused.err.contains("65MiB (scores) = 65MiB"), "{}", refused.err);
    let refused = cli(&["group", "alter", "sores", "--memory", "8MiB"]).exits(3);
    assert!(refused.err.contains("\"sores\"") && refused.err.contains("default, scores"), "{}", refused.err);
    cli(&["group", "alter", "scores", "--memory", "8M"]).exits(2);
    assert!(server.stop().success());
}

#[test]
fn the_policy_of_a_group_is_altered_while_the_node_runs() {
    let (server, _config) = server();
    let address = server.address().to_string();
    let cli = |arguments: &[&str]| run(program().args(["--addr", &address]).args(arguments), b"");
    let keys: Vec<String> = (0..500).map(|number| format!("k:{number}")).collect();
    let pairs: Vec<&str> = keys.iter().flat_map(|key| [key.as_str(), "v"]).collect();
    cli(&[&["--group", "scores", "mset"], &pairs[..]].concat()).exits(0);
    cli(&["--group", "scores", "get", "k:1"]).exits(0);
    let altered = cli(&["group", "alter", "scores", "--policy", "lru_k:history=50%"]).exits(0);
    let lines: Vec<&str> = altered.text().lines().collect();
    assert!(lines[0].ends_with(": group scores had policy lru and has lru_k:history=50%"), "{lines:?}");
    assert!(lines[1].contains("until the node ends"), "{lines:?}");
    let begun = Instant::now();
    let group = loop {
        let stats = cli(&["--json", "stats"]).exits(0).json();
        let group = stats["nodes"][0]["groups"][1].clone();
        if group["switching"] == 0 {
            break group;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "entries do not go over: {group}");
    };
    assert_eq!((&group["policy"], &group["entries"]), (&json!("lru_k:history=50%"), &json!(500)));
    assert_eq!(group["hits"], 1, "since the start");
    assert_eq!(group["since_policy"]["hits"], 0, "since it has its policy: {group}");
    for key in &keys {
        assert_eq!(cli(&["--group", "scores", "get", key]).exits(0).text(), "v", "{key} went over");
        if key == "k:20" {
            break;
        }
    }
    let refused = cli(&["group", "alter", "scores", "--policy", "lru_k:k=9"]).exits(3);
    assert!(refused.err.contains('9') && refused.err.contains("lru_k"), "{}", refused.err);
    assert!(server.stop().success());
}

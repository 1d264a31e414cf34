//! What is said about the nodes of a cluster.

use std::time::{Duration, Instant};

use larder_testkit::{Etcd, Server};
use serde_json::json;

use crate::{program, run};

/// How long a change may take to be seen.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn nodes_are_drained_and_weighed_and_it_is_taken_back() {
    let etcd = Etcd::start();
    let endpoints = etcd.endpoints();
    let start = |id| Server::start(&["--etcd", &endpoints, "--node-id", id, "--memory", "64MiB", "--shards", "1"]);
    let (node, _other) = (start("a"), start("b"));
    let address = node.address().to_string();
    let cli = |arguments: &[&str]| run(program().args(["--addr", &address]).args(arguments), b"");
    let wait = |expected: serde_json::Value| {
        let begun = Instant::now();
        loop {
            let topology = cli(&["topology", "--json"]).exits(0).json();
            let nodes = topology["nodes"].as_array().expect("a list");
            let found: Vec<_> = nodes.iter().map(|node| json!([node["id"], node["state"], node["weight"]])).collect();
            if json!(found) == expected {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{topology}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait(json!([["a", "serving", 1.0], ["b", "serving", 1.0]]));
    let said = cli(&["drain", "b"]).exits(0);
    assert_eq!(said.text(), "node b: it is to own nothing; a restart does not change that\n");
    wait(json!([["a", "serving", 1.0], ["b", "draining", 1.0]]));
    cli(&["drain", "b", "--undo"]).exits(0);
    let said = cli(&["weight", "b", "0.3", "--json"]).exits(0).json();
    assert_eq!(said, json!({ "node": "b", "weight": "0.3", "drain": null }));
    wait(json!([["a", "serving", 1.0], ["b", "serving", 0.299805]]));
    cli(&["weight", "b", "default"]).exits(0);
    wait(json!([["a", "serving", 1.0], ["b", "serving", 1.0]]));
    let unknown = cli(&["drain", "c"]).exits(3);
    assert!(unknown.err.contains("no node of this cluster has that id"), "{}", unknown.err);
    let wrong = cli(&["weight", "b", "-1"]).exits(2);
    assert!(!wrong.err.is_empty());
    for number in 0..20 {
        cli(&["set", &format!("key {number}"), "value"]).exits(0);
    }
    let said = cli(&["invalidate"]).exits(0);
    let expected = "group default: no node has any of its entries from before (generation 1)\n";
    assert_eq!(said.text(), expected);
    for number in 0..20 {
        cli(&["get", &format!("key {number}")]).exits(1);
    }
    assert_eq!(cli(&["invalidate", "--json"]).exits(0).json(), json!({ "group": "default", "generation": 2 }));
    let alone = Server::start(&["--memory", "64MiB"]);
    let refused = run(program().args(["--addr", &alone.address().to_string(), "drain", "a"]), b"").exits(3);
    assert!(refused.err.contains("--etcd"), "{}", refused.err);
}

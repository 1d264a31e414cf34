//! What scripts see.

use serde_json::json;

use crate::Cli;

#[test]
fn values_say_how_they_are_encoded() {
    let cli = Cli::start();
    cli.run_with_input(&["set", "j1", "-", "--flags", "7", "--ttl", "1h"], b"\xff\x00").exits(0);
    let found = cli.run(&["--json", "get", "j1"]).exits(0).json();
    assert_eq!((&found["value"], &found["value_encoding"]), (&json!("/wA="), &json!("base64")));
    assert_eq!((&found["flags"], &found["found"]), (&json!(7), &json!(true)));
    let ttl_ms = found["ttl_ms"].as_u64().unwrap();
    assert!((3_500_000..=3_600_000).contains(&ttl_ms), "{ttl_ms}");
    cli.run(&["set", "j1", "Zoë", "--no-expiry"]).exits(0);
    let found = cli.run(&["--json", "get", "j1"]).exits(0).json();
    assert_eq!((&found["value"], &found["value_encoding"]), (&json!("Zoë"), &json!("utf-8")));
    assert_eq!(found["ttl_ms"], json!(null));
    assert_eq!(
        cli.run(&["--json", "get", "j0"]).exits(1).json(),
        json!({"key": "j0", "key_encoding": "utf-8", "found": false})
    );
}

#[test]
fn versions_are_exact_and_can_be_used() {
    let cli = Cli::start();
    let stored = cli.run(&["--json", "set", "jv", "1"]).exits(0).json();
    let version = stored["version"].as_str().expect("a string");
    assert_eq!(cli.run(&["--json", "get", "jv"]).json()["version"], stored["version"]);
    let again = cli.run(&["--json", "set", "jv", "2", "--if-version", version]).exits(0).json();
    assert_eq!(again["stored"], true);
    let refused = cli.run(&["--json", "set", "jv", "3", "--if-version", version]).exits(1).json();
    assert_eq!(refused["stored"], false);
    assert!(refused["reason"].as_str().unwrap().contains("another version"));
}

#[test]
fn several_keys_are_a_list_in_the_order_asked() {
    let cli = Cli::start();
    let stored = cli.run(&["--json", "mset", "jm1", "1", "jm2", "2"]).exits(0).json();
    assert!(stored["entries"].as_array().unwrap().iter().all(|entry| entry["stored"] == true));
    let found = cli.run(&["--json", "mget", "jm2", "jm0", "jm1"]).exits(1).json();
    let view: Vec<_> =
        found["entries"].as_array().unwrap().iter().map(|e| (&e["key"], &e["found"], &e["value"])).collect();
    assert_eq!(
        view,
        [
            (&json!("jm2"), &json!(true), &json!("2")),
            (&json!("jm0"), &json!(false), &json!(null)),
            (&json!("jm1"), &json!(true), &json!("1")),
        ]
    );
    let deleted = cli.run(&["--json", "del", "jm1", "jm0"]).exits(1).json();
    assert_eq!(deleted["entries"][0]["deleted"], true);
    assert_eq!((&deleted["entries"][1]["deleted"], &deleted["entries"][1]["found"]), (&json!(false), &json!(false)));
}

#[test]
fn numbers_and_touches() {
    let cli = Cli::start();
    assert_eq!(cli.run(&["--json", "incr", "jn"]).exits(1).json()["found"], false);
    assert_eq!(cli.run(&["--json", "incr", "jn", "--initial", "41"]).exits(0).json()["value"], 41);
    assert_eq!(cli.run(&["--json", "incr", "jn"]).exits(0).json()["value"], 42);
    assert_eq!(cli.run(&["--json", "touch", "jn", "--ttl", "1m"]).exits(0).json()["found"], true);
    assert_eq!(cli.run(&["--json", "touch", "j-none", "--ttl", "1m"]).exits(1).json()["found"], false);
    cli.run(&["set", "jn", "x"]).exits(0);
    let refused = cli.run(&["--json", "incr", "jn"]).exits(3).json();
    assert_eq!(refused["retryable"], false);
}

#[test]
fn the_server_in_json() {
    let cli = Cli::start();
    cli.run(&["set", "js", "v"]).exits(0);
    let stats = cli.run(&["--json", "stats"]).exits(0).json();
    let node = &stats["nodes"][0];
    assert_eq!(node["shards"].as_array().unwrap().len(), 2);
    let group = node["groups"].as_array().unwrap().iter().find(|group| group["name"] == "default").expect("default");
    assert!(group["sets"].as_u64().unwrap() >= 1 && group["budget_bytes"].as_u64().unwrap() > 0, "{group}");
    let topology = cli.run(&["--json", "topology"]).exits(0).json();
    assert_eq!((&topology["epoch"], &topology["nodes"][0]["share"]), (&json!(1), &json!(1.0)));
    assert_eq!((&topology["nodes"][0]["shards"], &topology["nodes"][0]["weight"]), (&json!(2), &json!(1.0)));
}

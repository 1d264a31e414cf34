//! Groups that are created, changed and dropped while servers run.

use std::io::Write as _;
use std::time::Instant;

use larder_protocol::{Command, GroupAction, GroupAlteration, Status};
use larder_ring::group_hash;
use larder_testkit::{Etcd, Origin, OriginAnswer};
use serde_json::{Value, json};

use crate::etcd::{patiently, start, wait_for_ring};
use crate::support::{self, Answer, Client, SHARDS, get, server, set};

fn on_groups(client: &mut Client, name: &str, action: GroupAction, settings: &str) -> Answer {
    client.call(Command::AlterGroup(GroupAlteration { name, action, settings }))
}

fn create(client: &mut Client, name: &str, settings: &str) -> Answer {
    on_groups(client, name, GroupAction::Create, settings)
}

fn drop_group(client: &mut Client, name: &str) -> Answer {
    on_groups(client, name, GroupAction::Drop, "")
}

/// The groups as JSON, and whether they are kept.
fn listed(client: &mut Client) -> (Value, bool) {
    match on_groups(client, "", GroupAction::List, "").result {
        support::Result::Altered(altered) => (serde_json::from_str(&altered.groups).expect("JSON"), altered.is_kept),
        other => panic!("{other:?}"),
    }
}

fn names(client: &mut Client) -> Vec<String> {
    let (groups, _) = listed(client);
    let mut names: Vec<String> =
        groups.as_array().expect("a list").iter().map(|group| group["name"].as_str().expect("a name").into()).collect();
    names.sort();
    names
}

/// Asked within a group.
fn within(client: &mut Client, group: &str, command: Command<'_>) -> Answer {
    client.call_in(group_hash(group, 0), command)
}

#[test]
fn groups_of_a_single_node_last_until_it_ends() {
    for shards in SHARDS {
        let origin = Origin::start(|path, _| OriginAnswer::value(format!("of {path}")));
        let server = server(&["--shards", shards, "--memory", "64MiB"]);
        let mut client = Client::connect(server.address());
        assert_eq!(within(&mut client, "scores", get(b"ann")).status, Status::NoSuchGroup);
        let settings = format!(r#"{{"memory": "25%", "origin": {{"url": "{}", "headers": ["A: b"]}}}}"#, origin.url());
        let created = create(&mut client, "scores", &settings);
        assert_eq!(created.status, Status::Ok, "{created:?}");
        // Whoever is asked after the answer has it.
        let mut other = Client::connect(server.address());
        assert_eq!(within(&mut other, "scores", get(b"ann")).value(), Some(&b"of /ann"[..]));
        assert_eq!(within(&mut client, "scores", set(b"ann", b"7")).status, Status::Ok);
        let (groups, is_kept) = listed(&mut client);
        assert!(!is_kept);
        assert_eq!(groups[0], json!({ "name": "default", "memory_bytes": 48 << 20, "policy": "two_q" }));
        assert_eq!((&groups[1]["memory"], &groups[1]["memory_bytes"]), (&json!("25%"), &json!(16 << 20)));
        assert_eq!(groups[1]["origin"]["headers"], "1 not shown", "they may be secret");
        // The same again is no error; another one is.
        assert_eq!(create(&mut client, "scores", &settings).status, Status::Ok);
        let other = create(&mut client, "scores", r#"{"memory": "1MiB"}"#);
        assert!(other.status == Status::Exists && other.message.contains("\"scores\""), "{other:?}");
        for (name, settings, status, part) in [
            ("faces", r#"{"memory": "60MiB"}"#, Status::TooLarge, "60MiB (faces) + 16MiB (scores) = 76MiB"),
            ("faces", "{}", Status::BadRequest, "it has no memory"),
            ("faces", "memory", Status::BadRequest, "no JSON"),
            ("", r#"{"memory": "1MiB"}"#, Status::BadRequest, "it is empty"),
            ("default", r#"{"memory": "1MiB"}"#, Status::Exists, "\"default\""),
        ] {
            let refused = create(&mut client, name, settings);
            assert!(refused.status == status && refused.message.contains(part), "{refused:?}");
        }
        let alter = |client: &mut Client, settings| on_groups(client, "scores", GroupAction::Alter, settings);
        assert_eq!(alter(&mut client, r#"{"origin": null, "ttl": "1h", "memory": "8MiB"}"#).status, Status::Ok);
        assert_eq!(within(&mut client, "scores", get(b"ann")).value(), Some(&b"7"[..]));
        assert_eq!(within(&mut client, "scores", get(b"bob")).status, Status::NotFound, "there is no origin any more");
        assert_eq!(within(&mut client, "scores", set(b"bob", b"8")).status, Status::Ok);
        let unknown = on_groups(&mut client, "sores", GroupAction::Alter, r#"{"ttl": "1h"}"#);
        assert!(unknown.status == Status::NoSuchGroup && unknown.message.contains("default, scores"), "{unknown:?}");
        assert_eq!(drop_group(&mut client, "default").status, Status::BadRequest);
        assert_eq!(drop_group(&mut client, "scores").status, Status::Ok);
        assert_eq!(within(&mut client, "scores", get(b"ann")).status, Status::NoSuchGroup);
        assert_eq!(drop_group(&mut client, "scores").status, Status::NoSuchGroup);
        assert_eq!(create(&mut client, "scores", r#"{"memory": "8MiB"}"#).status, Status::Ok);
        assert_eq!(within(&mut client, "scores", get(b"ann")).status, Status::NotFound, "it is another group");
        assert!(server.stop().success());
    }
}

/// As many as may be, again and again: numbers of dropped groups are used again, and nothing is left of them.
#[test]
fn groups_come_and_go_many_times() {
    let server = server(&["--shards", "2", "--memory", "64MiB"]);
    let mut client = Client::connect(server.address());
    for round in 0..support::scaled(100) {
        let name = format!("group {round}");
        assert_eq!(create(&mut client, &name, r#"{"memory": "32MiB"}"#).status, Status::Ok);
        for number in 0..50_u32 {
            assert_eq!(within(&mut client, &name, set(&number.to_le_bytes(), &[7; 1000])).status, Status::Ok);
        }
        assert_eq!(drop_group(&mut client, &name).status, Status::Ok);
    }
    assert_eq!(names(&mut client), ["default"]);
    assert!(server.stop().success());
}

#[test]
fn groups_of_a_cluster_are_kept_in_etcd() {
    let mut etcd = Etcd::start();
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a temporary file");
    file.write_all(b"[[group]]\nname = 'scores'\nmemory = '16MiB'\npolicy = 'lru'\n").expect("it is written");
    let path = file.path().to_str().expect("UTF-8");
    let a = start(&etcd, "a", &["--config", path]);
    let b = start(&etcd, "b", &[]);
    let (mut at_a, mut at_b) = (Client::connect(a.address()), Client::connect(b.address()));
    wait_for_ring(&mut at_a, &[("a", 1024), ("b", 1024)]);
    assert_eq!(names(&mut at_b), ["default", "scores"], "what one node is configured with, all have");
    let record = etcd.ctl(&["get", "--print-value-only", "/larder/larder/groups/scores"]);
    assert_eq!(record.trim(), r#"{"memory":"16MiB","policy":"lru"}"#);

    let begun = Instant::now();
    let created = create(&mut at_b, "faces", r#"{"memory": "8MiB", "ttl": "1h"}"#);
    assert_eq!(created.status, Status::Ok, "{created:?}");
    println!("a group is on all nodes after {:?}", begun.elapsed());
    for number in 0..100_u32 {
        let key = number.to_le_bytes();
        let (one, other) = if number % 2 == 0 { (&mut at_a, &mut at_b) } else { (&mut at_b, &mut at_a) };
        assert_eq!(within(one, "faces", set(&key, b"v")).status, Status::Ok);
        assert_eq!(within(other, "faces", get(&key)).value(), Some(&b"v"[..]));
    }
    assert!(listed(&mut at_a).1, "and there they stay");
    // What etcd has goes before what a node is configured with.
    let altered = on_groups(&mut at_a, "scores", GroupAction::Alter, r#"{"policy": "sieve"}"#);
    assert_eq!(altered.status, Status::Ok, "{altered:?}");
    let _c = start(&etcd, "c", &["--config", path]);
    wait_for_ring(&mut at_a, &[("a", 1024), ("b", 1024), ("c", 1024)]);
    let mut at_c = Client::connect(_c.address());
    assert_eq!(listed(&mut at_c).0, listed(&mut at_a).0);
    assert!(listed(&mut at_c).0.as_array().expect("a list").iter().any(|group| group["policy"] == "sieve"));
    let exists = create(&mut at_c, "faces", r#"{"memory": "9MiB"}"#);
    assert_eq!(exists.status, Status::Exists, "{exists:?}");
    let vast = create(&mut at_c, "more", r#"{"memory": "60MiB"}"#);
    assert!(vast.status == Status::TooLarge && vast.message.contains("= 84MiB"), "{vast:?}");

    // Dropped and created again, it is another one everywhere, whoever has missed what was in between.
    assert_eq!(drop_group(&mut at_c, "faces").status, Status::Ok);
    for client in [&mut at_a, &mut at_b, &mut at_c] {
        assert_eq!(within(client, "faces", get(b"x")).status, Status::NoSuchGroup);
    }
    assert_eq!(create(&mut at_a, "faces", r#"{"memory": "8MiB"}"#).status, Status::Ok);
    for number in 0..100_u32 {
        let found = patiently_within(&mut at_b, "faces", get(&number.to_le_bytes()));
        assert_eq!(found.status, Status::NotFound);
    }
    // By hand too, and what cannot be is reported and does no harm.
    etcd.ctl(&["put", "/larder/larder/groups/hand", r#"{"memory":"1MiB"}"#]);
    etcd.ctl(&["put", "/larder/larder/groups/odd", r#"{"memory":"much"}"#]);
    let begun = Instant::now();
    while names(&mut at_b) != ["default", "faces", "hand", "scores"] {
        assert!(begun.elapsed() < crate::etcd::PATIENCE, "{:?}", names(&mut at_b));
    }
    assert_eq!(patiently(&mut at_b, set(b"k", b"v")).status, Status::Ok);
    assert_eq!(create(&mut at_a, "more", r#"{"memory": "1MiB"}"#).status, Status::Ok);
    assert_eq!(on_groups(&mut at_b, "odd", GroupAction::Alter, r#"{"memory": "1MiB"}"#).status, Status::Ok);
    assert_eq!(names(&mut at_a), ["default", "faces", "hand", "more", "odd", "scores"], "it is mended");
    etcd.kill(0);
    let refused = create(&mut at_a, "late", r#"{"memory": "1MiB"}"#);
    assert!(matches!(refused.status, Status::Unavailable | Status::DeadlineExceeded), "{refused:?}");
}

fn patiently_within(client: &mut Client, group: &str, command: Command<'_>) -> Answer {
    let begun = Instant::now();
    loop {
        let answer = within(client, group, command);
        if !matches!(answer.status, Status::Unavailable | Status::OwnerUnsure | Status::DeadlineExceeded) {
            return answer;
        }
        assert!(begun.elapsed() < crate::etcd::PATIENCE, "{answer:?}");
    }
}

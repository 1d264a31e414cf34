//! Several processes that find each other in a real etcd.

use std::process::Command as Program;
use std::time::{Duration, Instant};

use larder_protocol::{Command, NodeAlteration, Status};
use larder_testkit::{Etcd, Proxy, Server};

use crate::support::{self, Client, get, scaled, set};

/// How long the nodes may take to notice what has happened: ten times what they do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn start(etcd: &Etcd, id: &str, further: &[&str]) -> Server {
    start_at(&etcd.endpoints(), id, further)
}

fn start_at(endpoints: &str, id: &str, further: &[&str]) -> Server {
    let flags = ["--etcd", endpoints, "--node-id", id, "--registration-ttl", "2s", "--shards", "2"];
    let flags = [&flags, &["--memory", "64MiB"][..], further].concat();
    Server::start_binary(env!("CARGO_BIN_EXE_larder").into(), &flags)
}

/// Asks again while the answer says that it is safe to, and that it helps.
pub(crate) fn patiently(client: &mut Client, command: Command<'_>) -> support::Answer {
    let begun = Instant::now();
    loop {
        let answer = client.call(command);
        // Two changes of the ring while a request is on its way are one more than nodes follow by themselves.
        let passes = [Status::Unavailable, Status::OwnerUnsure, Status::WrongOwner, Status::DeadlineExceeded];
        if !passes.contains(&answer.status) {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The ids of those in the ring, with their points.
fn ring(client: &mut Client) -> Vec<(String, u32)> {
    match client.call(Command::Topology).result {
        support::Result::Topology(topology) => topology.nodes.into_iter().map(|node| (node.id, node.points)).collect(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn wait_for_ring(client: &mut Client, expected: &[(&str, u32)]) {
    let begun = Instant::now();
    loop {
        let found = ring(client);
        if found.iter().map(|(id, points)| (id.as_str(), *points)).eq(expected.iter().copied()) {
            return println!("a ring of {} after {:?}", expected.len(), begun.elapsed());
        }
        assert!(begun.elapsed() < PATIENCE, "{found:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn nodes_join_answer_for_each_other_and_leave() {
    let etcd = Etcd::start();
    let a = start(&etcd, "a", &[]);
    let b = start(&etcd, "b", &["--weight", "0.3"]);
    let mut at_a = Client::connect(a.address());
    wait_for_ring(&mut at_a, &[("a", 1024), ("b", 307)]);
    let keys: Vec<String> = (0..200).map(|number| format!("key {number}")).collect();
    for key in &keys {
        assert_eq!(patiently(&mut at_a, set(key.as_bytes(), key.as_bytes())).status, Status::Ok);
    }
    let mut at_b = Client::connect(b.address());
    for key in &keys {
        assert_eq!(patiently(&mut at_b, get(key.as_bytes())).value(), Some(key.as_bytes()));
    }
    // One that leaves in order, and one that does not.
    let c = start(&etcd, "c", &[]);
    wait_for_ring(&mut at_a, &[("a", 1024), ("b", 307), ("c", 1024)]);
    drop(at_b);
    assert!(b.stop().success());
    wait_for_ring(&mut at_a, &[("a", 1024), ("c", 1024)]);
    c.signal("KILL");
    wait_for_ring(&mut at_a, &[("a", 1024)]);
    for key in &keys {
        let again = patiently(&mut at_a, set(key.as_bytes(), b"again"));
        assert_eq!(again.status, Status::Ok, "{again:?}");
    }
    let entries = at_a.stats().groups[0].entries;
    assert_eq!(entries, 200, "all are here");
}

#[test]
fn operators_change_weights_and_drain_nodes() {
    let etcd = Etcd::start();
    let a = start(&etcd, "a", &[]);
    let b = start(&etcd, "b", &[]);
    let mut client = Client::connect(a.address());
    let alter = |client: &mut Client, node, weight, drain| {
        client.call(Command::AlterNode(NodeAlteration { node, weight, drain }))
    };
    assert_eq!(alter(&mut client, "b", Some("2.5"), None).status, Status::Ok);
    wait_for_ring(&mut client, &[("a", 1024), ("b", 2560)]);
    assert!(b.stop().success());
    wait_for_ring(&mut client, &[("a", 1024)]);
    let _b = start(&etcd, "b", &[]);
    wait_for_ring(&mut client, &[("a", 1024), ("b", 2560)]);
    assert_eq!(alter(&mut client, "b", None, Some(true)).status, Status::Ok);
    wait_for_ring(&mut client, &[("a", 1024)]);
    assert_eq!(alter(&mut client, "b", Some("default"), Some(false)).status, Status::Ok);
    wait_for_ring(&mut client, &[("a", 1024), ("b", 1024)]);
    let unknown = alter(&mut client, "x", None, Some(true));
    assert_eq!(unknown.status, Status::BadRequest, "{unknown:?}");
    let wrong = alter(&mut client, "b", Some("much"), None);
    assert!(wrong.status == Status::BadRequest && wrong.message.contains("much"), "{wrong:?}");
}

/// What happens to etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    Killed,
    Halted,
    CutOff,
}

#[test]
fn while_etcd_is_dead_nodes_go_on() {
    goes_on_without_etcd(Outage::Killed);
}

#[test]
fn while_etcd_stands_still_nodes_go_on() {
    goes_on_without_etcd(Outage::Halted);
}

#[test]
fn while_nobody_reaches_etcd_nodes_go_on() {
    goes_on_without_etcd(Outage::CutOff);
}

/// A running node goes on, a new one says what it waits for, and all are together again afterwards.
fn goes_on_without_etcd(outage: Outage) {
    let mut etcd = Etcd::start();
    let endpoint = etcd.endpoints().replace("http://", "").parse().expect("an address");
    let proxy = Proxy::start(endpoint);
    let endpoints = format!("http://{}", proxy.address());
    let a = start_at(&endpoints, "a", &[]);
    let b = start_at(&endpoints, "b", &[]);
    let mut client = Client::connect(a.address());
    wait_for_ring(&mut client, &[("a", 1024), ("b", 1024)]);
    match outage {
        Outage::Killed => etcd.kill(0),
        Outage::Halted => etcd.signal(0, "STOP"),
        Outage::CutOff => proxy.cut(true),
    }
    let begun = Instant::now();
    // At least three times as long as a registration lasts.
    let length = Duration::from_secs(scaled(60).max(6) as u64);
    let mut asked = 0;
    while begun.elapsed() < length {
        let key = format!("key {asked}");
        let stored = client.call(set(key.as_bytes(), b"v"));
        assert_eq!(stored.status, Status::Ok, "after {:?}: {stored:?}", begun.elapsed());
        let found = client.call(get(key.as_bytes()));
        assert_eq!(found.value(), Some(&b"v"[..]), "after {:?}: {found:?}", begun.elapsed());
        asked += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    let waiting = Program::new("timeout")
        .args(["--signal", "TERM", "3", env!("CARGO_BIN_EXE_larder"), "serve", "--listen", "127.0.0.1:0"])
        .args(["--etcd", &endpoints, "--node-id", "c", "--memory", "64MiB", "--registration-ttl", "2s"])
        .output()
        .expect("timeout is there");
    let (out, err) = (String::from_utf8_lossy(&waiting.stdout), String::from_utf8_lossy(&waiting.stderr));
    assert!(out.is_empty(), "it is not ready: {out}");
    assert!(err.contains(&format!("etcd at {endpoints} cannot be used")), "{err}");
    match outage {
        Outage::Killed => etcd.restart(0),
        Outage::Halted => etcd.signal(0, "CONT"),
        Outage::CutOff => proxy.cut(false),
    }
    let mut joined = start_at(&endpoints, "c", &[]);
    wait_for_ring(&mut client, &[("a", 1024), ("b", 1024), ("c", 1024)]);
    assert!(joined.is_running());
    let registered = etcd.ctl(&["get", "--prefix", "--keys-only", "/larder/larder/nodes/"]);
    assert_eq!(registered.split_whitespace().count(), 3, "{registered}");
    drop(b);
}

#[test]
fn who_cannot_be_in_the_cluster_ends_with_what_to_do() {
    let etcd = Etcd::start();
    let _a = start(&etcd, "a", &[]);
    let endpoints = etcd.endpoints();
    let refused = Program::new(env!("CARGO_BIN_EXE_larder"))
        .args(["serve", "--listen", "127.0.0.1:0", "--etcd", &endpoints, "--seed", "7", "--memory", "64MiB"])
        .output()
        .expect("it starts");
    let err = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{err}");
    assert!(err.contains("seed") && err.contains("give all nodes the same seed"), "{err}");
}

#[test]
fn a_group_is_invalidated_on_all_nodes_and_stays_so_for_who_joins() {
    let mut etcd = Etcd::start();
    let a = start(&etcd, "a", &[]);
    let b = start(&etcd, "b", &[]);
    let (mut at_a, mut at_b) = (Client::connect(a.address()), Client::connect(b.address()));
    wait_for_ring(&mut at_a, &[("a", 1024), ("b", 1024)]);
    let keys: Vec<String> = (0..200).map(|number| format!("key {number}")).collect();
    for key in &keys {
        assert_eq!(patiently(&mut at_a, set(key.as_bytes(), key.as_bytes())).status, Status::Ok);
    }
    let begun = Instant::now();
    let invalidated = at_b.call(Command::Invalidate);
    assert_eq!(invalidated.status, Status::Ok, "{invalidated:?}");
    println!("acknowledged by all after {:?}", begun.elapsed());
    for key in &keys {
        assert_eq!(patiently(&mut at_a, get(key.as_bytes())).status, Status::NotFound, "{key}");
    }
    assert!(etcd.ctl(&["get", "--print-value-only", "/larder/larder/groups/default"]).contains("\"generation\":1"));
    for key in &keys {
        assert_eq!(patiently(&mut at_b, set(key.as_bytes(), b"new")).status, Status::Ok);
    }
    let _c = start(&etcd, "c", &[]);
    wait_for_ring(&mut at_a, &[("a", 1024), ("b", 1024), ("c", 1024)]);
    let kept = keys.iter().filter(|key| patiently(&mut at_a, get(key.as_bytes())).value() == Some(b"new")).count();
    assert!((50..200).contains(&kept), "those of a and b stay, {kept}");
    etcd.kill(0);
    let refused = at_a.call(Command::Invalidate);
    assert!(matches!(refused.status, Status::Unavailable | Status::DeadlineExceeded), "{refused:?}");
}

/// Their changes cross with what they ask each other, and etcd, about epochs.
#[test]
fn nodes_that_start_at_once_have_one_ring() {
    for _ in 0..4 {
        let etcd = Etcd::start();
        let nodes: Vec<Server> = std::thread::scope(|scope| {
            let begun = ["a", "b", "c"].map(|id| scope.spawn(|| start(&etcd, id, &[])));
            begun.map(|node| node.join().expect("it gets ready")).into()
        });
        let digests = nodes.iter().map(|node| {
            let mut client = Client::connect(node.address());
            wait_for_ring(&mut client, &[("a", 1024), ("b", 1024), ("c", 1024)]);
            match client.call(Command::Topology).result {
                support::Result::Topology(topology) => (topology.epoch, topology.digest),
                other => panic!("{other:?}"),
            }
        });
        let digests: Vec<_> = digests.collect();
        assert!(digests.iter().all(|other| other.1 == digests[0].1), "{digests:?}");
    }
}

//! Several nodes in one ring.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder_client::{Error, RetryPolicy, ScanOptions, SetOptions, Status};
use larder_protocol::Failure;
use larder_ring::{Node, Topology, group_hash, key_hash};

use crate::fake::{Action, Seen, Server, Settings};
use crate::{builder, eventually};

fn node(id: &str, server: &Server) -> Node {
    Node { id: id.into(), address: server.address(), shards: 2, points: 1024, incarnation: 1 }
}

fn ring(epoch: u64, nodes: Vec<Node>) -> Arc<Topology> {
    Arc::new(Topology::new(0, epoch, nodes).expect("a ring"))
}

/// Two nodes that note the keys of single-key requests.
struct Pair {
    servers: [Server; 2],
    seen: [Arc<Mutex<HashSet<Vec<u8>>>>; 2],
    ring: Arc<Topology>,
}

async fn pair() -> Pair {
    let seen: [Arc<Mutex<HashSet<Vec<u8>>>>; 2] = Default::default();
    let start = |index: usize| {
        let notes = seen[index].clone();
        Server::start_with(Settings::default(), move |request: &Seen| {
            notes.lock().unwrap().insert(request.key.clone());
            Action::Answer
        })
    };
    let servers = [start(0).await, start(1).await];
    let ring = ring(1, vec![node("a", &servers[0]), node("b", &servers[1])]);
    for (server, id) in servers.iter().zip(["a", "b"]) {
        server.change(|settings| (settings.node, settings.topology) = (id.into(), ring.clone()));
    }
    Pair { servers, seen, ring }
}

fn owner(ring: &Topology, key: &str) -> usize {
    usize::from(ring.owner(key_hash(key.as_bytes(), group_hash("default", 0))).0)
}

fn keys() -> Vec<String> {
    (0..200).map(|key| format!("key {key}")).collect()
}

#[tokio::test]
async fn each_key_goes_to_its_owner_and_a_batch_to_all() {
    let Pair { servers, seen, ring } = pair().await;
    let client = builder(&servers[0]).connect().await.unwrap();
    for key in keys() {
        client.set(&key, &key).await.unwrap();
        let there = owner(&ring, &key);
        assert!(seen[there].lock().unwrap().contains(key.as_bytes()), "{key} is not at its owner {there}");
        assert!(!seen[1 - there].lock().unwrap().contains(key.as_bytes()), "{key} went to the wrong node");
    }
    let before: u64 = servers.iter().map(|server| server.shared().requests.load(Ordering::Relaxed)).sum();
    for (key, found) in keys().iter().zip(client.get_many(&keys()).await) {
        assert_eq!(&found.unwrap().unwrap().value[..], key.as_bytes());
    }
    let after: u64 = servers.iter().map(|server| server.shared().requests.load(Ordering::Relaxed)).sum();
    assert_eq!(after - before, 4, "two nodes with two shards each");
    let names: Vec<String> = client.stats().await.unwrap().into_iter().map(|stats| stats.node).collect();
    assert_eq!(names, ["a", "b"]);
    let (mut scan, mut found) = (client.scan(ScanOptions::new()).unwrap(), HashSet::new());
    while let Some(page) = scan.next_page().await.unwrap() {
        found.extend(page.into_iter().map(|key| String::from_utf8(key.into()).unwrap()));
    }
    assert_eq!(found, keys().into_iter().collect(), "a scan goes from node to node");
    let altered: Vec<String> =
        client.alter_group("scores", "{}").await.unwrap().into_iter().map(|altered| altered.node).collect();
    assert_eq!(altered, ["a", "b"]);
}

#[tokio::test]
async fn a_dead_node_fails_its_own_keys_alone() {
    let Pair { servers: [first, second], ring, .. } = pair().await;
    let client =
        builder(&first).retry(RetryPolicy::none()).deadline(Duration::from_millis(500)).connect().await.unwrap();
    let entries: Vec<(String, &str)> = keys().into_iter().map(|key| (key, "v")).collect();
    assert!(client.set_many(&entries, SetOptions::new()).await.iter().all(Result::is_ok));
    second.stop().await;
    let mut failed = 0;
    for (key, found) in keys().iter().zip(client.get_many(&keys()).await) {
        if owner(&ring, key) == 0 {
            assert!(found.unwrap().is_some(), "{key}");
        } else {
            assert!(found.unwrap_err().is_retryable(), "{key}");
            failed += 1;
        }
    }
    assert!(failed > 50, "{failed}");
}

/// A node leaves the ring: the other says so with a newer epoch and refuses nothing; calls follow without an error.
#[tokio::test]
async fn a_new_ring_is_followed_and_wrong_owners_are_asked_no_more() {
    let Pair { servers, ring: old, .. } = pair().await;
    let patient = RetryPolicy { pause_min: Duration::from_millis(100), ..RetryPolicy::default() };
    let client = builder(&servers[0]).retry(patient).connect().await.unwrap();
    let theirs = keys().into_iter().find(|key| owner(&old, key) == 1).expect("a key of the other node");
    client.set(&theirs, "v").await.unwrap();
    let alone = ring(2, vec![node("a", &servers[0])]);
    for server in &servers {
        server.change(|settings| settings.topology = alone.clone());
    }
    let wrong = Failure::new(Status::WrongOwner, "it has left");
    servers[1].set_script(move |_| Action::Refuse(wrong.clone()));
    // Refused there, not executed, and then taken by the new owner.
    let options = larder_client::IncrementOptions { initial: Some(1), ..Default::default() };
    assert_eq!(client.increment_with(&theirs, 1, options).await.unwrap().unwrap().value, 1);
    assert_eq!(client.topology().nodes().len(), 1);
    eventually("nobody keeps a connection to it", || servers[1].open_connections() == 0).await;
}

#[tokio::test]
async fn a_node_of_another_ring_at_the_same_epoch_is_refused() {
    let Pair { servers, ring: known, .. } = pair().await;
    let stranger = ring(1, vec![node("b", &servers[1])]);
    servers[1].change(|settings| settings.topology = stranger);
    let client =
        builder(&servers[0]).retry(RetryPolicy::none()).deadline(Duration::from_secs(1)).connect().await.unwrap();
    let (ours, theirs): (Vec<_>, Vec<_>) = keys().into_iter().partition(|key| owner(&known, key) == 0);
    client.set(&ours[0], "v").await.unwrap();
    let error = client.set(&theirs[0], "v").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. } | Error::DeadlineExceeded { .. }), "{error:?}");
    assert!(error.to_string().contains("another ring"), "{error}");
    assert_eq!(client.topology().digest(), known.digest());
}

//! Keys of other nodes: any node answers for any key.

use larder_engine::limits::{LINK_BACKOFF_MS_MAX, LINK_SILENCE_MS};
use larder_protocol::{Command, Expiry, Request, Status};

use crate::harness::{Batch, Cluster, OwnedReply, ring, scaled, set};

pub(crate) fn status(reply: &OwnedReply) -> Status {
    match reply {
        OwnedReply::Failed(failure) => failure.status,
        other => panic!("not refused: {other:?}"),
    }
}

fn increment(key: &[u8]) -> Command<'_> {
    Command::Increment { key, delta: 1, initial: Some(1), expiry: Expiry::Never }
}

#[test]
fn what_is_set_through_one_node_is_found_through_another() {
    for seed in 0..6 {
        let (nodes, shards) = [(2, 1), (3, 2), (4, 3)][seed as usize % 3];
        let mut cluster = Cluster::new(seed, nodes, shards);
        for number in 0..scaled(4_000) {
            let key = format!("key {}", cluster.random.u32(0..50));
            let value = format!("value {number}");
            let at = |cluster: &mut Cluster| (cluster.random.usize(0..nodes), cluster.random.u16(0..shards));
            let (writer, reader) = (at(&mut cluster), at(&mut cluster));
            let stored = cluster.ask(writer, set(key.as_bytes(), value.as_bytes()));
            assert!(matches!(stored, OwnedReply::Stored(_)), "seed {seed}, {number}: {stored:?}");
            let found = cluster.ask(reader, Command::Get { key: key.as_bytes() });
            assert_eq!(found.value(), Some(value.as_bytes()), "seed {seed}, {number}");
            if number % 10 == 9 {
                assert_eq!(cluster.ask(writer, Command::Delete { key: key.as_bytes(), version: 0 }), OwnedReply::Done);
                assert_eq!(cluster.ask(reader, Command::Get { key: key.as_bytes() }), OwnedReply::Miss, "seed {seed}");
            }
        }
    }
}

#[test]
fn several_keys_go_to_each_owner_in_one_frame() {
    let mut cluster = Cluster::new(3, 3, 2);
    let keys: Vec<_> = (0..300).map(|number| format!("key {number}")).collect();
    let stored = cluster.ask((0, 0), Batch::of_values(keys.iter().map(|key| (key, key))).set());
    match &stored {
        OwnedReply::Outcomes(outcomes) => assert!(outcomes.len() == 300 && outcomes.iter().all(Result::is_ok)),
        other => panic!("{other:?}"),
    }
    assert_eq!(cluster.requests_sent, 4, "a frame for each shard of the two other nodes");
    match cluster.ask((1, 1), Batch::of_keys(&keys).get()) {
        OwnedReply::Entries(entries) => {
            for (key, entry) in keys.iter().zip(entries) {
                assert_eq!(entry.unwrap().value, key.as_bytes());
            }
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(cluster.requests_sent, 8);
}

#[test]
fn gets_of_one_key_share_requests() {
    let mut cluster = Cluster::new(5, 2, 1);
    let key = cluster.key_of(1, "hot");
    cluster.ask((0, 0), set(&key, b"v"));
    let before = cluster.requests_sent;
    let first: Vec<u64> = (0..100).map(|_| cluster.submit((0, 0), Command::Get { key: &key })).collect();
    // The first is under way when these come, which share one that begins after it.
    cluster.step();
    let second: Vec<u64> = (0..100).map(|_| cluster.submit((0, 0), Command::Get { key: &key })).collect();
    for client in first.into_iter().chain(second) {
        assert_eq!(cluster.wait(client).value(), Some(&b"v"[..]));
    }
    assert_eq!(cluster.requests_sent - before, 2);
}

#[test]
fn requests_of_one_caller_about_one_key_keep_their_order() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(seed, 2, 1);
        let key = cluster.key_of(1, "k");
        let mut expected = Vec::new();
        let mut current = OwnedReply::Miss;
        for number in 0..200_u32 {
            match cluster.random.u8(0..4) {
                0 => {
                    let value = number.to_le_bytes();
                    cluster.submit((0, 0), set(&key, &value));
                    current = OwnedReply::Done;
                    expected.push((cluster.submit((0, 0), Command::Get { key: &key }), Some(value.to_vec())));
                }
                1 => cluster.step(),
                _ if current == OwnedReply::Miss => {}
                _ => {
                    let last = expected.last().expect("something is set").1.clone();
                    expected.push((cluster.submit((0, 0), Command::Get { key: &key }), last));
                }
            }
        }
        for (client, value) in expected {
            assert_eq!(cluster.wait(client).value().map(<[u8]>::to_vec), value, "seed {seed}");
        }
    }
}

#[test]
fn a_node_that_cannot_be_reached_is_refused_at_once_and_tried_again() {
    let mut cluster = Cluster::new(7, 2, 1);
    let key = cluster.key_of(1, "k");
    cluster.is_unreachable[1] = true;
    assert_eq!(status(&cluster.ask((0, 0), set(&key, b"v"))), Status::Unavailable);
    let before_ms = cluster.now_ms;
    assert_eq!(status(&cluster.ask((0, 0), Command::Get { key: &key })), Status::Unavailable);
    assert_eq!(cluster.now_ms, before_ms, "nobody waits for a node that was not there a moment ago");
    cluster.is_unreachable[1] = false;
    cluster.now_ms += LINK_BACKOFF_MS_MAX;
    assert!(matches!(cluster.ask((0, 0), set(&key, b"v")), OwnedReply::Stored(_)));
}

#[test]
fn a_lost_connection_answers_everybody_and_says_what_may_have_happened() {
    let mut cluster = Cluster::new(8, 2, 1);
    let key = cluster.key_of(1, "k");
    cluster.ask((0, 0), set(&key, b"1"));
    cluster.is_stopped[1] = true;
    let (read, added) = (cluster.submit((0, 0), Command::Get { key: &key }), cluster.submit((0, 0), increment(&key)));
    let both = Batch::of_keys([&key, &key]);
    let many = cluster.submit((0, 0), both.get());
    cluster.step();
    cluster.cut(1);
    assert_eq!(status(&cluster.wait(read)), Status::Unavailable);
    assert_eq!(status(&cluster.wait(added)), Status::OutcomeUnknown);
    match cluster.wait(many) {
        OwnedReply::Entries(entries) => assert!(entries.iter().all(|entry| entry == &Err(Status::Unavailable))),
        other => panic!("{other:?}"),
    }
    assert_eq!(cluster.engines[0][0].unanswered(), 0);
}

#[test]
fn a_silent_node_is_given_up_and_no_request_waits_past_its_time() {
    let mut cluster = Cluster::new(9, 2, 1);
    let key = cluster.key_of(1, "k");
    cluster.ask((0, 0), set(&key, b"1"));
    cluster.is_stopped[1] = true;
    let command = Command::Get { key: &key };
    let request = Request { id: 0, epoch: 0, group: 0, timeout_ms: 50, forwarded: false, command };
    let begin_ms = cluster.now_ms;
    let client = cluster.submit_request((0, 0), request);
    assert_eq!(status(&cluster.wait(client)), Status::DeadlineExceeded);
    assert!((50..60).contains(&(cluster.now_ms - begin_ms)), "{} ms", cluster.now_ms - begin_ms);
    while cluster.now_ms < begin_ms + 2 * LINK_SILENCE_MS {
        cluster.step();
    }
    assert_eq!(cluster.engines[0][0].unanswered(), 0, "what was asked is forgotten");
    assert_eq!(status(&cluster.ask((0, 0), set(&key, b"2"))), Status::DeadlineExceeded, "it takes connections still");
}

#[test]
fn a_request_that_comes_to_the_former_owner_finds_the_new_one() {
    let mut cluster = Cluster::new(10, 3, 2);
    let (two, three) = (ring(1, &[0, 1], 2), ring(2, &[0, 1, 2], 2));
    (0..3).for_each(|node| cluster.set_topology(node, &two));
    let keys: Vec<_> = (0..200).map(|number| format!("key {number}").into_bytes()).collect();
    // What the first node owned itself before it learned is a miss now, for nothing is handed over.
    let (gone, moved): (Vec<_>, Vec<_>) = keys.iter().partition(|key| cluster.owner(0, key).0 == 0);
    assert!(gone.len() > 50 && moved.len() > 50);
    // Nodes 1 and 2 know the new ring; node 0 learns it later, while requests are under way.
    cluster.set_topology(1, &three);
    cluster.set_topology(2, &three);
    let clients: Vec<u64> = keys.iter().map(|key| cluster.submit((0, 0), set(key, b"v"))).collect();
    let many = cluster.submit((0, 1), Batch::of_keys(&keys).get());
    (0..20).for_each(|_| cluster.step());
    assert_eq!(cluster.engines[0][0].newest_epoch(), 2, "somebody has told it");
    cluster.set_topology(0, &three);
    for client in clients {
        let stored = cluster.wait(client);
        assert!(matches!(stored, OwnedReply::Stored(_)), "{stored:?}");
    }
    match cluster.wait(many) {
        OwnedReply::Entries(entries) => {
            let refused = entries.iter().filter(|entry| !matches!(entry, Ok(_) | Err(Status::NotFound))).count();
            assert_eq!(refused, 0);
        }
        other => panic!("{other:?}"),
    }
    for key in moved {
        assert_eq!(cluster.ask((1, 0), Command::Get { key }).value(), Some(&b"v"[..]));
    }
}

#[test]
fn a_node_that_does_not_know_the_ring_yet_does_not_execute_what_it_was_asked_by_it() {
    let mut cluster = Cluster::new(11, 2, 1);
    let key = cluster.key_of(1, "k");
    cluster.set_topology(0, &ring(2, &[0, 1], 1));
    let client = cluster.submit((0, 0), set(&key, b"v"));
    (0..100).for_each(|_| cluster.step());
    assert!(!cluster.answers.contains_key(&client), "it is tried again until the other node knows the ring");
    cluster.set_topology(1, &ring(2, &[0, 1], 1));
    assert!(matches!(cluster.wait(client), OwnedReply::Stored(_)));
}

#[test]
fn a_group_is_invalidated_on_all_nodes() {
    let mut cluster = Cluster::new(9, 3, 2);
    let keys: Vec<Vec<u8>> = (0..60).map(|number| format!("k{number}").into_bytes()).collect();
    for key in &keys {
        assert!(matches!(cluster.ask((0, 0), set(key, b"v")), OwnedReply::Stored(_)));
    }
    assert!(matches!(cluster.ask((1, 1), Command::Invalidate), OwnedReply::Invalidated(1)));
    for key in &keys {
        assert_eq!(cluster.ask((2, 0), Command::Get { key }), OwnedReply::Miss);
        assert!(matches!(cluster.ask((2, 1), set(key, b"w")), OwnedReply::Stored(_)));
        assert_eq!(cluster.ask((0, 1), Command::Get { key }).value(), Some(&b"w"[..]));
    }
    // It is acknowledged by all, or not at all.
    cluster.is_unreachable[2] = true;
    cluster.cut(2);
    assert_eq!(status(&cluster.ask((0, 0), Command::Invalidate)), Status::Unavailable);
    cluster.is_unreachable[2] = false;
    (0..3_000).for_each(|_| cluster.step());
    assert!(matches!(cluster.ask((0, 0), Command::Invalidate), OwnedReply::Invalidated(_)));
    assert!(keys.iter().all(|key| cluster.ask((1, 0), Command::Get { key }) == OwnedReply::Miss));
}

//! Rings that change while nodes answer: who may answer for what, and when.

use std::sync::Arc;

use larder_engine::limits::{CLOCK_MARGIN_MS, CLUSTER_ORDERS_MAX};
use larder_engine::{Backlog, ClusterOrderKind, ClusterOrderOutcome, Standing};
use larder_protocol::{Command, ScanStep, Status};
use larder_ring::Membership;
use larder_store::version_ms;

use crate::forwarding::status;
use crate::harness::{Batch, Cluster, OwnedReply, ring, set};

const GOOD: Standing = Standing { registration: 1, until_ms: u64::MAX, stand_in_until_ms: 0 };

fn membership(epoch: u64, members: &[usize], shards: u16) -> Membership {
    Membership { follows: true, registration: 1, ..Membership::first(ring(epoch, members, shards)) }
}

/// Nodes that have registered, and all go by the first ring.
fn registered(seed: u64, nodes: usize, shards: u16) -> Cluster {
    let mut cluster = Cluster::new(seed, nodes, shards);
    let first = membership(2, &(0..nodes).collect::<Vec<_>>(), shards);
    for node in 0..nodes {
        cluster.set_membership(node, &first);
        cluster.set_standing(node, GOOD);
    }
    settle(&mut cluster);
    cluster
}

/// Runs until every shard has what it owns opened.
fn settle(cluster: &mut Cluster) {
    for _ in 0..10_000 {
        if cluster.engines.iter().flatten().all(larder_engine::Engine::is_settled) {
            return;
        }
        cluster.step();
    }
    panic!("something stays shut");
}

#[test]
fn what_is_gained_is_answered_for_once_every_shard_of_its_owner_knows() {
    let mut cluster = registered(21, 3, 2);
    let two = membership(3, &[0, 1], 2);
    let key = cluster.key_of(2, "k");
    assert!(matches!(cluster.ask((0, 0), set(&key, b"v")), OwnedReply::Stored(_)));
    // Node 2 has left the ring and lives; 0 and 1 know, it does not yet.
    let leaving = vec![ring(2, &[2], 2).nodes()[0].clone()];
    let two = Membership { leaving, ..two };
    (0..2).for_each(|node| cluster.set_membership(node, &two));
    let (owner, shard) = cluster.owner(0, &key);
    (0..500).for_each(|_| cluster.step());
    let refused = cluster.ask((owner, shard), Command::Get { key: &key });
    assert_eq!(status(&refused), Status::OwnerUnsure, "node 2 may answer for it still");
    assert_eq!(cluster.ask((2, 0), Command::Get { key: &key }).value(), Some(&b"v"[..]), "and does");
    assert!(cluster.engines[2].iter().all(|engine| engine.newest_epoch() == 3), "it was told");
    cluster.set_membership(2, &two);
    settle(&mut cluster);
    assert_eq!(cluster.ask((owner, shard), Command::Get { key: &key }), OwnedReply::Miss, "nothing is handed over");
    assert!(matches!(cluster.ask((2, 0), set(&key, b"w")), OwnedReply::Stored(_)), "passed on");
    assert_eq!(cluster.ask((owner, shard), Command::Get { key: &key }).value(), Some(&b"w"[..]));
}

#[test]
fn what_was_held_before_a_loss_does_not_come_back() {
    let mut cluster = registered(22, 2, 1);
    let key = cluster.key_of(0, "k");
    // Alone, node 0 owns all; what it keeps over both changes stays.
    cluster.set_membership(0, &membership(3, &[0], 1));
    settle(&mut cluster);
    let moved = (0..).map(|number| format!("moved {number}").into_bytes());
    let two = ring(4, &[0, 1], 1);
    let is_moved = |key: &Vec<u8>| {
        let place = two.place(larder_ring::key_hash(key, larder_ring::group_hash("default", 0)));
        two.node(place.node).id != two.nodes()[0].id
    };
    let moved = moved.into_iter().find(is_moved).expect("half of all");
    for key in [&key, &moved] {
        assert!(matches!(cluster.ask((0, 0), set(key, b"old")), OwnedReply::Stored(_)));
    }
    (0..2).for_each(|node| cluster.set_membership(node, &membership(4, &[0, 1], 1)));
    settle(&mut cluster);
    assert!(matches!(cluster.ask((0, 0), set(&moved, b"new")), OwnedReply::Stored(_)), "at node 1");
    cluster.set_membership(0, &membership(5, &[0], 1));
    settle(&mut cluster);
    assert_eq!(cluster.ask((0, 0), Command::Get { key: &key }).value(), Some(&b"old"[..]));
    let many = [moved.clone(), key.clone()];
    match cluster.ask((0, 0), Batch::of_keys(&many).get()) {
        OwnedReply::Entries(entries) => {
            assert!(matches!(entries[0], Err(Status::NotFound)) && entries[1].is_ok(), "{entries:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(cluster.ask((0, 0), Command::Get { key: &moved }), OwnedReply::Miss);
}

#[test]
fn what_is_left_of_lost_slots_is_not_shown_and_removed_in_steps() {
    let mut cluster = registered(25, 2, 1);
    cluster.set_membership(0, &membership(3, &[0], 1));
    settle(&mut cluster);
    let keys: Vec<Vec<u8>> = (0..2_000_u32).map(|number| format!("k{number}").into_bytes()).collect();
    for key in &keys {
        assert!(matches!(cluster.ask((0, 0), set(key, b"old")), OwnedReply::Stored(_)));
    }
    (0..2).for_each(|node| cluster.set_membership(node, &membership(4, &[0, 1], 1)));
    settle(&mut cluster);
    let kept: Vec<&Vec<u8>> = keys.iter().filter(|key| cluster.owner(0, key).0 == 0).collect();
    assert!((500..1_500).contains(&kept.len()), "half of all");
    let entries = |cluster: &mut Cluster| match cluster.ask((0, 0), Command::Stats) {
        OwnedReply::Stats(stats) => stats.groups[0].entries as usize,
        other => panic!("{other:?}"),
    };
    let shown = |cluster: &mut Cluster| {
        let (mut shown, mut cursor) = (Vec::new(), Vec::new());
        loop {
            let page = match cluster.ask((0, 0), Command::Scan(ScanStep { cursor: &cursor, count: 0, pattern: b"" })) {
                OwnedReply::Scan(page) => page,
                other => panic!("{other:?}"),
            };
            shown.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_empty() {
                return shown.len();
            }
        }
    };
    assert_eq!(shown(&mut cluster), kept.len(), "of what is there, what may be answered for");
    // The ring of before, while something is left: what comes back is not what was lost.
    cluster.set_membership(0, &membership(5, &[0], 1));
    settle(&mut cluster);
    assert_eq!(shown(&mut cluster), kept.len());
    let now_ms = cluster.now_ms;
    let mut turns = 0;
    while cluster.engines[0][0].background(now_ms, 100) == Backlog::Some {
        turns += 1;
    }
    assert!(turns >= keys.len() / 2 / 100 / 2, "in steps, {turns}");
    assert_eq!(entries(&mut cluster), kept.len(), "nothing is left that nobody can ask for");
    assert_eq!(shown(&mut cluster), kept.len());
    for key in keys.iter().take(100) {
        let found = cluster.ask((0, 0), Command::Get { key });
        assert_eq!(found.value(), kept.contains(&key).then_some(&b"old"[..]));
    }
    cluster.engines.iter().flatten().for_each(larder_engine::Engine::validate);
}

#[test]
fn a_lapsed_registration_is_no_proof_and_another_member_stands_in_during_an_outage() {
    let mut cluster = registered(23, 2, 1);
    let key = cluster.key_of(0, "k");
    assert!(matches!(cluster.ask((0, 0), set(&key, b"v")), OwnedReply::Stored(_)));
    let lapsed = Standing { until_ms: cluster.now_ms, ..GOOD };
    cluster.set_standing(0, lapsed);
    let get = Command::Get { key: &key };
    assert_eq!(status(&cluster.ask((0, 0), get)), Status::OwnerUnsure);
    cluster.set_standing(0, Standing { stand_in_until_ms: u64::MAX, ..lapsed });
    (0..4_000).for_each(|_| cluster.step());
    assert_eq!(cluster.ask((0, 0), get).value(), Some(&b"v"[..]), "node 1 goes by the same ring");
    cluster.is_stopped[1] = true;
    (0..4_000).for_each(|_| cluster.step());
    assert_eq!(status(&cluster.ask((0, 0), get)), Status::OwnerUnsure, "nobody stands in");
}

/// A cluster that crashed and began again at once: those before may have run their versions ahead by clocks that nobody
/// who is there has ever heard.
#[test]
fn who_begins_after_others_answers_once_its_versions_are_above_theirs() {
    let mut cluster = Cluster::new(26, 2, 2);
    let began_ms = cluster.now_ms;
    let again = Membership { follows: false, is_first: false, ..membership(2, &[0, 1], 2) };
    for node in 0..2 {
        cluster.set_membership(node, &again);
        cluster.set_standing(node, GOOD);
    }
    let key = cluster.key_of(0, "k");
    while cluster.now_ms < began_ms + CLOCK_MARGIN_MS / 2 {
        cluster.step();
    }
    assert_eq!(status(&cluster.ask((0, 0), set(&key, b"v"))), Status::OwnerUnsure);
    settle(&mut cluster);
    assert!(cluster.now_ms >= began_ms + CLOCK_MARGIN_MS, "open after {} ms", cluster.now_ms - began_ms);
    let OwnedReply::Stored(version) = cluster.ask((0, 0), set(&key, b"v")) else { panic!("it is open") };
    let ahead_ms = version_ms(version) - began_ms;
    assert!(ahead_ms >= 2 * CLOCK_MARGIN_MS, "{ahead_ms} ms ahead");
    // A node that comes to two who remember learns from them, and does not wait.
    let mut cluster = Cluster::new(27, 3, 1);
    (0..2).for_each(|node| cluster.set_membership(node, &membership(2, &[0, 1], 1)));
    (0..2).for_each(|node| cluster.set_standing(node, GOOD));
    settle(&mut cluster);
    let came_ms = cluster.now_ms;
    for node in 0..3 {
        let follows = node != 2;
        cluster.set_membership(node, &Membership { follows, is_first: false, ..membership(3, &[0, 1, 2], 1) });
    }
    cluster.set_standing(2, GOOD);
    settle(&mut cluster);
    assert!(cluster.now_ms < came_ms + CLOCK_MARGIN_MS / 2, "open after {} ms", cluster.now_ms - came_ms);
}

/// Nodes that have registered keep how often a group was invalidated where their members are kept: the engine says that
/// it is to be raised, and answers when everybody goes by the epoch at which it was.
#[test]
fn an_invalidation_is_acknowledged_by_every_shard_of_every_member() {
    let mut cluster = registered(24, 3, 2);
    let keys: Vec<Vec<u8>> = (0..60).map(|number| format!("k{number}").into_bytes()).collect();
    for key in &keys {
        assert!(matches!(cluster.ask((0, 0), set(key, b"v")), OwnedReply::Stored(_)));
    }
    let client = cluster.submit((1, 1), Command::Invalidate);
    let order = cluster.engines[1][1].next_cluster_order().expect("it is to be kept");
    assert_eq!(order.what, ClusterOrderKind::Invalidate { group: "default".into() });
    let raised = Membership {
        generations: Arc::new([("default".into(), 7), ("unknown".into(), 3)].into()),
        ..membership(3, &[0, 1, 2], 2)
    };
    cluster.set_membership(1, &raised);
    cluster.order_done((1, 1), order.ticket, &ClusterOrderOutcome::Invalidated { generation: 7, epoch: 3 });
    cluster.set_membership(0, &raised);
    (0..300).for_each(|_| cluster.step());
    assert!(!cluster.answers.contains_key(&client), "node 2 has not heard of it");
    let old = keys.iter().filter(|key| cluster.ask((2, 0), Command::Get { key }).value().is_some()).count();
    assert!((1..60).contains(&old), "{old} are those of node 2");
    cluster.set_membership(2, &raised);
    assert_eq!(cluster.wait(client), OwnedReply::Invalidated(7));
    for key in &keys {
        assert_eq!(cluster.ask((0, 0), Command::Get { key }), OwnedReply::Miss);
        assert!(matches!(cluster.ask((2, 1), set(key, b"w")), OwnedReply::Stored(_)));
    }
    // The same number again takes nothing away.
    (0..3).for_each(|node| {
        cluster.set_membership(node, &Membership { topology: ring(4, &[0, 1, 2], 2), ..raised.clone() })
    });
    settle(&mut cluster);
    assert!(keys.iter().all(|key| cluster.ask((1, 0), Command::Get { key }).value() == Some(b"w")));
}

/// A member that stands still acknowledges nothing: those who wait for it are few, and leave nothing behind.
#[test]
fn invalidations_that_nobody_acknowledges_are_bounded() {
    let mut cluster = registered(25, 2, 1);
    cluster.is_stopped[1] = true;
    for _ in 0..3 {
        let clients: Vec<u64> = (0..CLUSTER_ORDERS_MAX)
            .map(|_| {
                let client = cluster.submit((0, 0), Command::Invalidate);
                let order = cluster.engines[0][0].next_cluster_order().expect("there is room for it");
                let outcome = ClusterOrderOutcome::Invalidated { generation: 1, epoch: 2 };
                cluster.order_done((0, 0), order.ticket, &outcome);
                client
            })
            .collect();
        assert_eq!(status(&cluster.ask((0, 0), Command::Invalidate)), Status::Overloaded);
        for client in clients {
            assert_eq!(status(&cluster.wait(client)), Status::DeadlineExceeded);
        }
    }
    cluster.is_stopped[1] = false;
    settle(&mut cluster);
}

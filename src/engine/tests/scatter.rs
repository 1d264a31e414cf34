//! Requests that concern several shards.

use larder_protocol::limits::{KEYS_MAX, VALUE_BYTES_MAX};
use larder_protocol::{Command, Request, Status};
use larder_ring::group_hash;

use crate::harness::{Batch, OwnedReply, World, WorldSettings, set};

fn values(reply: &OwnedReply) -> Vec<Result<Vec<u8>, Status>> {
    match reply {
        OwnedReply::Entries(entries) => entries
            .iter()
            .map(|entry| entry.as_ref().map(|entry| entry.value.clone()).map_err(|status| *status))
            .collect(),
        other => panic!("no entries: {other:?}"),
    }
}

#[test]
fn results_are_in_the_order_asked() {
    for shards in [1, 2, 3, 16] {
        let mut world = World::new(u64::from(shards), WorldSettings { shards, ..WorldSettings::default() });
        let keys: Vec<_> = (0..500).map(|number| format!("key {number}")).collect();
        let stored = world.ask(0, Batch::of_values(keys.iter().step_by(2).map(|key| (key, key))).set());
        match &stored {
            OwnedReply::Outcomes(outcomes) => assert!(outcomes.len() == 250 && outcomes.iter().all(Result::is_ok)),
            other => panic!("{other:?}"),
        }
        let got = values(&world.ask(shards - 1, Batch::of_keys(&keys).get()));
        for (number, value) in got.iter().enumerate() {
            let expected = if number % 2 == 0 { Ok(keys[number].clone().into_bytes()) } else { Err(Status::NotFound) };
            assert_eq!(*value, expected, "{shards} shards, key {number}");
        }
        let deleted = world.ask(shards / 2, Batch::of_keys(&keys[..2]).delete());
        assert_eq!(deleted, OwnedReply::Outcomes(vec![Ok(0), Err(Status::NotFound)]));
        world.validate();
    }
}

#[test]
fn one_shard_answers_at_once() {
    let mut world = World::new(1, WorldSettings { shards: 1, ..WorldSettings::default() });
    let keys: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    assert!(world.submit(0, Batch::of_values(keys.iter().map(|key| (key, "v"))).set()).is_ok());
    assert!(world.submit(0, Batch::of_keys(&keys).get()).is_ok());
    assert!(world.submit(0, Command::Stats).is_ok());
    assert!(world.submit(0, Command::Invalidate).is_ok());
    assert_eq!(world.engines[0].next_batch(), None);
}

#[test]
fn keys_that_are_all_here_are_answered_at_once() {
    let mut world = World::new(1, WorldSettings::default());
    let own: Vec<_> =
        (0..50).map(|number| format!("k{number}")).filter(|key| world.owner(key.as_bytes()) == 2).collect();
    assert!(own.len() > 3);
    assert!(world.submit(2, Batch::of_keys(&own).get()).is_ok());
    assert!(world.submit(1, Batch::of_keys(&own).get()).is_err());
}

#[test]
fn each_shard_gets_one_frame() {
    let mut world = World::new(3, WorldSettings { delay_ms_max: 0, ..WorldSettings::default() });
    let keys: Vec<_> = (0..1000).map(|number| format!("key {number}")).collect();
    let ticket = world.submit(0, Batch::of_keys(&keys).get()).unwrap_err();
    assert_eq!(world.engines[0].unanswered(), 3);
    world.wait(0, ticket);
    for shard in 0..4 {
        let counters = *world.engines[shard].counters();
        assert_eq!((counters.requests, counters.cross_core), (1, u64::from(shard != 0)), "shard {shard}");
    }
}

#[test]
fn our_own_part_is_as_it_was_when_executed() {
    let mut world = World::new(4, WorldSettings::default());
    let (own, other) = (world.key_of(0, "own"), world.key_of(1, "other"));
    world.ask(0, set(&own, b"before"));
    world.ask(0, set(&other, b"there"));
    let ticket = world.submit(0, Batch::of_keys([&own, &other]).get()).unwrap_err();
    world.submit(0, set(&own, b"after")).unwrap();
    let reply = world.wait(0, ticket);
    assert_eq!(values(&reply), [Ok(b"before".to_vec()), Ok(b"there".to_vec())]);
    world.validate();
}

#[test]
fn a_set_many_above_a_frame_is_split() {
    let large = vec![7; VALUE_BYTES_MAX / 2];
    let settings = WorldSettings {
        shards: 2,
        delay_ms_max: 0,
        budget_bytes: 1 << 30,
        value_bytes_max: VALUE_BYTES_MAX,
        ..WorldSettings::default()
    };
    let mut world = World::new(5, settings);
    let keys: Vec<_> =
        (0..64).map(|number| format!("k{number}")).filter(|key| world.owner(key.as_bytes()) == 1).collect();
    let batch = Batch::of_values(keys.iter().take(3).map(|key| (key, &large)));
    let outcomes = match world.ask(0, batch.set()) {
        OwnedReply::Outcomes(outcomes) => outcomes,
        other => panic!("{other:?}"),
    };
    // The first two fill a frame and, with it, the lane; the third would have needed a frame of its own.
    assert!(outcomes[0].is_ok() && outcomes[1].is_ok(), "{outcomes:?}");
    assert_eq!(outcomes[2], Err(Status::Overloaded));
    assert!(matches!(world.ask(0, set(keys[2].as_bytes(), &large)), OwnedReply::Stored(_)), "alone it passes");
    world.validate();
}

#[test]
fn the_largest_value_travels_both_ways() {
    let settings = WorldSettings {
        shards: 2,
        budget_bytes: 1 << 30,
        value_bytes_max: VALUE_BYTES_MAX,
        ..WorldSettings::default()
    };
    let mut world = World::new(6, settings);
    let key = world.key_of(1, "large");
    let value = vec![9; VALUE_BYTES_MAX];
    assert!(matches!(world.ask(0, set(&key, &value)), OwnedReply::Stored(_)));
    assert_eq!(world.ask(0, Command::Get { key: &key }).value(), Some(value.as_slice()));
    let gathered = world.ask(0, Batch::of_keys([&key]).get());
    assert_eq!(values(&gathered), [Ok(value)]);
    world.settle();
    world.validate();
}

#[test]
fn most_keys_of_a_request_pass() {
    let mut world = World::new(7, WorldSettings { shards: 16, ..WorldSettings::default() });
    let keys: Vec<_> = (0..KEYS_MAX).map(|number| number.to_string()).collect();
    let stored = world.ask(3, Batch::of_values(keys.iter().map(|key| (key, key))).set());
    assert!(matches!(stored, OwnedReply::Outcomes(outcomes) if outcomes.iter().all(Result::is_ok)));
    let got = values(&world.ask(5, Batch::of_keys(&keys).get()));
    assert!(got.iter().zip(&keys).all(|(value, key)| value.as_deref() == Ok(key.as_bytes())));
}

#[test]
fn an_empty_request_has_an_empty_answer() {
    let mut world = World::new(8, WorldSettings::default());
    assert_eq!(world.submit(0, Batch::default().get()), Ok(OwnedReply::Entries(vec![])));
    assert_eq!(world.submit(0, Batch::default().set()), Ok(OwnedReply::Outcomes(vec![])));
}

#[test]
fn statistics_are_those_of_the_node() {
    let mut world = World::new(9, WorldSettings::default());
    let keys: Vec<_> = (0..100).map(|number| format!("key {number}")).collect();
    world.ask(1, Batch::of_values(keys.iter().map(|key| (key, "v"))).set());
    world.ask(2, Batch::of_keys(&keys).get());
    world.engines[3].counters_mut().connections = 17;
    let stats = match world.ask(2, Command::Stats) {
        OwnedReply::Stats(stats) => stats,
        other => panic!("{other:?}"),
    };
    let names: Vec<_> = stats.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["default", "scores"]);
    assert_eq!((stats.groups[0].entries, stats.groups[0].hits, stats.groups[0].sets), (100, 100, 100));
    assert_eq!(stats.groups[0].policy, "lru");
    assert_eq!(stats.groups[0].budget_bytes, 4 * (32 << 20));
    assert_eq!(stats.shards.iter().map(|shard| shard.shard).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(stats.shards[3].connections, 17);
    let memory: Vec<_> = stats.shards.iter().map(|shard| shard.memory.as_ref().unwrap()).collect();
    assert!(memory.iter().all(|memory| memory.memory_bytes == 64 << 20 && memory.dead_bytes == 0), "{memory:?}");
    let live: u64 = memory.iter().map(|memory| memory.live_bytes).sum();
    assert_eq!(live + 100 * 8, stats.groups[0].bytes, "entries and their places in the index");
    assert_eq!(live, memory.iter().map(|memory| memory.written_bytes).sum(), "each key was written once");
    assert_eq!((stats.node.as_str(), stats.version.as_str()), ("alone", "larder/test"));
}

fn in_group(group: u64, command: Command<'_>) -> Request<'_> {
    Request { id: 0, epoch: 0, group, timeout_ms: 0, forwarded: false, command }
}

#[test]
fn an_invalidation_is_acknowledged_by_every_shard() {
    let mut world = World::new(10, WorldSettings::default());
    let keys: Vec<_> = (0..100).map(|number| format!("key {number}")).collect();
    let scores = group_hash("scores", 0);
    for group in [0, scores] {
        let batch = Batch::of_values(keys.iter().map(|key| (key, "v")));
        let ticket = world.submit_request(1, in_group(group, batch.set())).unwrap_err();
        world.wait(1, ticket);
    }
    let ticket = world.submit_request(3, in_group(scores, Command::Invalidate)).unwrap_err();
    assert_eq!(world.wait(3, ticket), OwnedReply::Invalidated(1));
    for (group, expected) in [(scores, false), (0, true)] {
        let batch = Batch::of_keys(&keys);
        let ticket = world.submit_request(0, in_group(group, batch.get())).unwrap_err();
        let found = values(&world.wait(0, ticket));
        assert!(found.iter().all(|value| value.is_ok() == expected), "group {group:#x}: {found:?}");
    }
    let ticket = world.submit_request(3, in_group(scores, Command::Invalidate)).unwrap_err();
    assert_eq!(world.wait(3, ticket), OwnedReply::Invalidated(2), "counted");
}

#[test]
fn batches_of_a_full_scatter_stay_short() {
    let mut world = World::new(11, WorldSettings { shards: 2, delay_ms_max: 0, ..WorldSettings::default() });
    let key = world.key_of(1, "k");
    for _ in 0..2000 {
        world.submit(0, Command::Get { key: &key }).unwrap_err();
    }
    let mut batches = 0;
    while let Some(outgoing) = world.engines[0].next_batch() {
        assert!(outgoing.batch.len() <= larder_engine::limits::BATCH_BYTES, "{} bytes", outgoing.batch.len());
        batches += 1;
    }
    assert!((2..=30).contains(&batches), "{batches} batches for 2000 small requests");
}

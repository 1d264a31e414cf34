//! Every bound is reached, answered with OVERLOADED, and left again.

use larder_engine::limits::{LANE_BYTES_MAX, LANE_CREDITS, RETRY_AFTER_MS, WAITING_MAX};
use larder_protocol::{Command, Expiry, Status};

use crate::harness::{Batch, OwnedReply, World, WorldSettings, set};

fn two_shards(seed: u64) -> (World, Vec<u8>) {
    let world = World::new(seed, WorldSettings { shards: 2, ..WorldSettings::default() });
    let key = world.key_of(1, "far");
    (world, key)
}

#[test]
fn unanswered_requests_are_bounded() {
    let (mut world, key) = two_shards(1);
    let own = world.key_of(0, "own");
    let tickets: Vec<_> = (0..LANE_CREDITS).map(|_| world.submit(0, Command::Get { key: &key }).unwrap_err()).collect();
    let refused = world.submit(0, Command::Get { key: &key }).unwrap();
    match &refused {
        OwnedReply::Failed(failure) => {
            assert_eq!((failure.status, failure.retry_after_ms), (Status::Overloaded, RETRY_AFTER_MS));
        }
        other => panic!("{other:?}"),
    }
    let many = world.submit(0, Batch::of_keys([&own, &key]).get()).unwrap();
    assert_eq!(many, OwnedReply::Entries(vec![Err(Status::NotFound), Err(Status::Overloaded)]), "each key by itself");
    for command in [Command::Stats, Command::Invalidate] {
        assert_eq!(world.submit(0, command).unwrap().failure(), Some(Status::Overloaded), "{command:?}");
    }
    assert_eq!(world.engines[0].counters().overloaded, 4);
    world.validate();
    for ticket in tickets {
        assert_eq!(world.wait(0, ticket), OwnedReply::Miss);
    }
    assert_eq!(world.ask(0, Command::Get { key: &key }), OwnedReply::Miss, "there is room again");
    world.validate();
}

#[test]
fn unanswered_bytes_are_bounded() {
    let (mut world, key) = two_shards(2);
    let value = vec![1; LANE_BYTES_MAX / 4];
    let tickets: Vec<_> = (0..3).map(|_| world.submit(0, set(&key, &value)).unwrap_err()).collect();
    assert_eq!(world.submit(0, set(&key, &value)).unwrap().failure(), Some(Status::Overloaded), "with its envelope");
    let small = world.submit(0, Command::Get { key: &key }).unwrap_err();
    for ticket in tickets {
        assert!(matches!(world.wait(0, ticket), OwnedReply::Stored(_)));
    }
    assert_eq!(world.wait(0, small).value(), Some(&value[..]));
    world.validate();
}

#[test]
fn who_waits_for_long_holds_no_bytes_of_what_was_answered() {
    let (mut world, key) = two_shards(6);
    let missing = world.key_of(1, "missing");
    let lease = Command::LeaseGet { key: &missing, lease_ms: 60_000 };
    assert!(matches!(world.ask(0, lease), OwnedReply::Leased { .. }));
    let value = vec![1; LANE_BYTES_MAX / 4];
    for round in 0..4 {
        world.engines[0].next_caller();
        let waiting = world.submit(0, lease).unwrap_err();
        let sets: Vec<_> = (0..3).map(|_| world.submit(0, set(&key, &value)).unwrap_err()).collect();
        assert!(sets.iter().all(|ticket| ticket.index() == waiting.index()), "round {round}: they are of one run");
        for ticket in sets {
            assert!(matches!(world.wait(0, ticket), OwnedReply::Stored(_)), "round {round}");
        }
        assert_eq!(world.engines[0].unanswered(), round + 1, "those who wait for the lease");
        world.validate();
    }
}

#[test]
fn values_on_their_way_back_are_bounded() {
    let (mut world, key) = two_shards(3);
    let value = vec![1; LANE_BYTES_MAX / 4];
    world.ask(0, set(&key, &value));
    world.settle();
    let read = Command::Get { key: &key };
    let many = Batch::of_keys([&key, &key]);
    let gets: Vec<_> = (0..3).map(|_| world.submit(0, read).unwrap_err()).collect();
    let refused = [world.submit(0, read).unwrap_err(), world.submit(0, many.get()).unwrap_err()];
    // Small ones always have a place, and a touch is executed or refused, but never half.
    let stored = world.submit(0, set(&key, b"small")).unwrap_err();
    let small = world.submit(0, read).unwrap_err();
    for ticket in gets {
        assert_eq!(world.wait(0, ticket).value(), Some(&value[..]));
    }
    assert_eq!(world.wait(0, refused[0]).failure(), Some(Status::Overloaded));
    let many = world.wait(0, refused[1]);
    assert_eq!(many, OwnedReply::Entries(vec![Err(Status::Overloaded); 2]));
    assert!(matches!(world.wait(0, stored), OwnedReply::Stored(_)));
    assert_eq!(world.wait(0, small).value(), Some(&b"small"[..]));
    assert_eq!(world.engines[1].counters().overloaded, 2);
    world.validate();
}

#[test]
fn a_touch_is_refused_before_it_is_executed() {
    let (mut world, key) = two_shards(4);
    let value = vec![1; LANE_BYTES_MAX - 1000];
    world.ask(0, set(&key, &value));
    world.settle();
    let touch = |at_ms| Command::GetAndTouch { key: &key, expiry: Expiry::At(at_ms) };
    let later_ms = world.now_ms + 1_000_000;
    // The first fills the lane nearly, the second overfills it by one entry, the third finds it full.
    let tickets: Vec<_> = (1..=3).map(|number| world.submit(0, touch(later_ms * number)).unwrap_err()).collect();
    let replies: Vec<_> = tickets.into_iter().map(|ticket| world.wait(0, ticket)).collect();
    assert!(replies[0].value().is_some() && replies[1].value().is_some());
    assert_eq!(replies[2].failure(), Some(Status::Overloaded));
    match world.ask(0, Command::Get { key: &key }) {
        OwnedReply::Entry(entry) => assert!(entry.ttl_ms > later_ms / 2 && entry.ttl_ms < later_ms * 2, "the second's"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn waiting_requests_are_bounded() {
    let shards = (WAITING_MAX / LANE_CREDITS + 2) as u16;
    let mut world = World::new(5, WorldSettings { shards, delay_ms_max: 0, ..WorldSettings::default() });
    let keys: Vec<_> = (1..shards).map(|shard| world.key_of(shard, "k")).collect();
    let mut tickets = Vec::new();
    for number in 0..WAITING_MAX {
        world.engines[0].next_caller();
        tickets.push(world.submit(0, Command::Get { key: &keys[number % keys.len()] }).unwrap_err());
    }
    assert!(tickets.iter().all(|ticket| ticket.index() < WAITING_MAX), "numbers are dense");
    assert_eq!(world.submit(0, Command::Get { key: &keys[0] }).unwrap().failure(), Some(Status::Overloaded));
    let many = Batch::of_keys(&keys);
    assert_eq!(world.submit(0, many.get()).unwrap().failure(), Some(Status::Overloaded));
    assert_eq!(world.submit(0, Command::Stats).unwrap().failure(), Some(Status::Overloaded));
    world.settle();
    assert_eq!(world.answers.len(), WAITING_MAX, "all are answered");
    assert!(world.answers.drain(..).all(|(_, _, reply)| reply == OwnedReply::Miss));
    assert!(world.submit(0, Command::Get { key: &keys[0] }).is_err(), "there is room again");
}

//! Every operation, on a key that is here and on one that is elsewhere, answers the same.

use larder_engine::Backlog;
use larder_protocol::{Command, Condition, Expiry, Status, Write};

use crate::harness::{OwnedReply, World, WorldSettings, set, set_if};

/// A world, and a key of the shard that is asked and one of another.
fn worlds() -> impl Iterator<Item = (World, Vec<u8>)> {
    [0, 1].into_iter().map(|owner| {
        let world = World::new(1, WorldSettings { shards: 2, delay_ms_max: 0, ..WorldSettings::default() });
        let key = world.key_of(owner, "k");
        (world, key)
    })
}

fn stored(reply: &OwnedReply) -> u64 {
    match reply {
        OwnedReply::Stored(version) => *version,
        other => panic!("not stored: {other:?}"),
    }
}

#[test]
fn an_entry_comes_back_whole() {
    for (mut world, key) in worlds() {
        let key = &key[..];
        let (condition, expiry) = (Condition::Always, Expiry::After(10_000));
        let write = Write { key, value: b"v", flags: 0xF1A6, condition, expiry };
        let version = stored(&world.ask(0, Command::Set(write)));
        let stored_ms = world.now_ms;
        match world.ask(0, Command::Get { key }) {
            OwnedReply::Entry(entry) => {
                assert_eq!((entry.value.as_slice(), entry.flags, entry.version), (&b"v"[..], 0xF1A6, version));
                assert!((9_900..=10_000).contains(&entry.ttl_ms), "{}", entry.ttl_ms);
            }
            other => panic!("{other:?}"),
        }
        let touched = world.ask(0, Command::Touch { key, expiry: Expiry::At(stored_ms + 500) });
        assert_eq!(stored(&touched), version, "a touch keeps the version");
        world.now_ms = stored_ms + 499;
        let OwnedReply::Entry(entry) = world.ask(0, Command::GetAndTouch { key, expiry: Expiry::Keep }) else {
            panic!()
        };
        assert!(entry.ttl_ms >= 1, "what is there has a life left");
        world.now_ms = stored_ms + 500;
        assert_eq!(world.ask(0, Command::Get { key }), OwnedReply::Miss);
        let never = Write { expiry: Expiry::Never, ..write };
        world.ask(0, Command::Set(never));
        let OwnedReply::Entry(entry) = world.ask(0, Command::GetAndTouch { key, expiry: Expiry::Never }) else {
            panic!()
        };
        assert_eq!(entry.ttl_ms, 0, "it does not expire");
    }
}

#[test]
fn conditions_are_kept() {
    for (mut world, key) in worlds() {
        let key = &key[..];
        assert_eq!(world.ask(0, set_if(key, b"v", Condition::Present)), OwnedReply::Miss);
        assert_eq!(world.ask(0, set_if(key, b"v", Condition::Version(5))), OwnedReply::Miss);
        let first = stored(&world.ask(0, set_if(key, b"v1", Condition::Absent)));
        assert_eq!(world.ask(0, set_if(key, b"v", Condition::Absent)).failure(), Some(Status::Exists));
        let second = stored(&world.ask(0, set_if(key, b"v2", Condition::Version(first))));
        assert!(second > first);
        let stale = world.ask(0, set_if(key, b"v", Condition::Version(first)));
        assert_eq!(stale.failure(), Some(Status::VersionMismatch));
        assert_eq!(world.ask(0, Command::Get { key }).value(), Some(&b"v2"[..]));
        let stale = world.ask(0, Command::Delete { key, version: first });
        assert_eq!(stale.failure(), Some(Status::VersionMismatch));
        assert_eq!(world.ask(0, Command::Delete { key, version: second }), OwnedReply::Done);
        assert_eq!(world.ask(0, Command::Delete { key, version: 0 }), OwnedReply::Miss);
    }
}

#[test]
fn values_are_changed_in_place() {
    for (mut world, key) in worlds() {
        let key = &key[..];
        let add = |initial| Command::Increment { key, delta: -3, initial, expiry: Expiry::Default };
        assert_eq!(world.ask(0, add(None)), OwnedReply::Miss);
        assert!(matches!(world.ask(0, add(Some(10))), OwnedReply::Number(10, version) if version != 0));
        assert!(matches!(world.ask(0, add(Some(10))), OwnedReply::Number(7, _)));
        stored(&world.ask(0, Command::Append { key, value: b"0" }));
        stored(&world.ask(0, Command::Prepend { key, value: b"-" }));
        assert_eq!(world.ask(0, Command::Get { key }).value(), Some(&b"-70"[..]));
        assert!(matches!(world.ask(0, add(None)), OwnedReply::Number(-73, _)));
    }
}

#[test]
fn what_the_store_refuses_is_refused() {
    for (mut world, key) in worlds() {
        let large = vec![0; world.settings.value_bytes_max];
        stored(&world.ask(0, set(&key, &large)));
        let appended = world.ask(0, Command::Append { key: &key, value: b"x" });
        assert_eq!(appended.failure(), Some(Status::TooLarge));
        assert_eq!(world.ask(0, Command::Get { key: &key }).value(), Some(&large[..]), "the old value stays");
    }
}

#[test]
fn background_work_reclaims_in_bounded_steps() {
    let mut world = World::new(2, WorldSettings { shards: 1, ..WorldSettings::default() });
    for number in 0..1_000u32 {
        let key = number.to_be_bytes();
        let (condition, expiry) = (Condition::Always, Expiry::After(100));
        let write = Write { key: &key, value: b"v", flags: 0, condition, expiry };
        world.ask(0, Command::Set(write));
    }
    let now_ms = world.now_ms + 1_000;
    let engine = &mut world.engines[0];
    assert_eq!(engine.background(now_ms, 10), Backlog::Some);
    let calls = (0..10_000).take_while(|_| engine.background(now_ms, 10) != Backlog::None).count();
    assert!(calls >= 50, "{calls} calls");
    world.now_ms = now_ms;
    let OwnedReply::Stats(stats) = world.ask(0, Command::Stats) else { panic!() };
    assert_eq!((stats.groups[0].entries, stats.groups[0].expirations), (0, 1_000));
    assert!(stats.uptime_ms >= 1_000);
}

#[test]
fn the_topology_is_answered_by_whoever_is_asked() {
    for (mut world, _) in worlds() {
        assert_eq!(world.submit(1, Command::Topology), Ok(OwnedReply::Topology { epoch: 1, nodes: 1 }));
    }
}

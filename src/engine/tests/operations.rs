//! Every operation, on a key that is here and on one that is elsewhere, answers the same.

use larder_engine::Backlog;
use larder_protocol::{Command, Condition, Expiry, Status, TouchCondition, Write};

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
        OwnedReply::Stored(version) | OwnedReply::Resized(version, _) => *version,
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
        let touched =
            world.ask(0, Command::Touch { key, expiry: Expiry::At(stored_ms + 500), only: TouchCondition::Always });
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
fn lengths_are_told() {
    for (mut world, key) in worlds() {
        let key = &key[..];
        let patch = |offset, value| Command::Patch { key, offset, value };
        assert!(matches!(world.ask(0, patch(2, b"cd")), OwnedReply::Resized(_, 4)));
        assert!(matches!(world.ask(0, Command::Append { key, value: b"ef" }), OwnedReply::Resized(_, 6)));
        assert!(matches!(world.ask(0, Command::Prepend { key, value: b"" }), OwnedReply::Resized(_, 6)));
        assert!(matches!(world.ask(0, patch(0, b"ab")), OwnedReply::Resized(_, 6)));
        assert_eq!(world.ask(0, Command::Get { key }).value(), Some(&b"abcdef"[..]));
        let bytes_max = world.settings.value_bytes_max as u64;
        for offset in [bytes_max - 1, bytes_max + 1, u64::MAX] {
            assert_eq!(world.ask(0, patch(offset, b"xy")).failure(), Some(Status::TooLarge), "{offset}");
        }
        assert_eq!(world.ask(0, Command::Get { key }).value(), Some(&b"abcdef"[..]));
    }
}

#[test]
fn counts_have_no_sign_and_keep_their_length() {
    for (mut world, key) in worlds() {
        let key = &key[..];
        let count = |delta, is_down, initial, version| {
            let expiry = Expiry::After(9_000);
            Command::Count { key, delta, is_down, initial, expiry, version }
        };
        assert_eq!(world.ask(0, count(1, false, None, 0)), OwnedReply::Miss);
        let OwnedReply::Entry(created) = world.ask(0, count(1, false, Some(9), 0)) else { panic!() };
        assert_eq!((&created.value[..], created.ttl_ms > 0), (&b"9"[..], true));
        assert_eq!(world.ask(0, count(1, false, Some(0), 0)).value(), Some(&b"10"[..]));
        assert_eq!(world.ask(0, count(1, true, None, 0)).value(), Some(&b"9 "[..]), "it keeps its length");
        assert_eq!(world.ask(0, count(100, true, None, 0)).value(), Some(&b"0 "[..]));
        assert_eq!(world.ask(0, count(1, true, None, created.version)).failure(), Some(Status::VersionMismatch));
        let OwnedReply::Entry(most) = world.ask(0, count(u64::MAX, false, None, 0)) else { panic!() };
        assert_eq!(most.value, b"18446744073709551615");
        assert_eq!(world.ask(0, count(2, false, None, most.version)).value(), Some(&b"1                   "[..]));
        for wrong in [&b"-1"[..], b"x", b"", b"18446744073709551616", b"1x"] {
            world.ask(0, set(key, wrong));
            assert_eq!(world.ask(0, count(1, false, None, 0)).failure(), Some(Status::NotANumber), "{wrong:?}");
        }
    }
}

#[test]
fn decimal_fractions_are_added() {
    for (mut world, key) in worlds() {
        let key = &key[..];
        let add = |delta| Command::AddDecimal { key, delta };
        for (delta, sum) in [("1.50", "1.5"), ("-0.25", "1.25"), ("1e2", "101.25"), ("-101.25", "0")] {
            assert_eq!(world.ask(0, add(delta.as_bytes())).value(), Some(sum.as_bytes()), "{delta}");
        }
        assert_eq!(world.ask(0, add(b"x")).failure(), Some(Status::NotANumber));
        world.ask(0, set(key, b"1.7e308"));
        assert_eq!(world.ask(0, add(b"1.7e308")).failure(), Some(Status::OutOfRange));
        world.ask(0, set(key, b""));
        assert_eq!(world.ask(0, add(b"1")).failure(), Some(Status::NotANumber), "no text is no number");
    }
}

#[test]
fn a_look_is_no_access_and_says_what_is_known() {
    for (mut world, key) in worlds() {
        let key = &key[..];
        let look = |value| Command::Look { key, value };
        assert_eq!(world.ask(0, look(true)), OwnedReply::Miss);
        let expires_at_ms = world.now_ms + 9_000;
        let (condition, expiry) = (Condition::Always, Expiry::At(expires_at_ms));
        let version = stored(&world.ask(0, Command::Set(Write { key, value: b"abc", flags: 7, condition, expiry })));
        for wants_value in [false, true] {
            let OwnedReply::Looked(looked) = world.ask(0, look(wants_value)) else { panic!() };
            assert_eq!((looked.entry.flags, looked.entry.version, looked.value_bytes), (7, version, 3));
            assert_eq!(looked.entry.value, if wants_value { &b"abc"[..] } else { b"" });
            assert_eq!((looked.expires_at_ms, looked.is_hit), (expires_at_ms, false), "a look is no hit");
        }
        world.ask(0, Command::Get { key });
        let OwnedReply::Looked(looked) = world.ask(0, look(false)) else { panic!() };
        assert!(looked.is_hit && looked.accessed_ms <= world.now_ms);
    }
}

#[test]
fn touches_are_of_those_that_are_meant() {
    use TouchCondition::{Always, Earlier, Expiring, ExpiringEarlier, Lasting, Later};
    for (mut world, key) in worlds() {
        let key = &key[..];
        // Whether those conditions hold for an entry that lasts, or expires in 10 s, and is to expire in 5 s, 20 s or never.
        for (only, holds) in [
            (Always, [true, true, true, true, true, true]),
            (Lasting, [true, true, true, false, false, false]),
            (Expiring, [false, false, false, true, true, true]),
            (Later, [false, false, false, false, true, true]),
            (Earlier, [true, true, false, true, false, false]),
            (ExpiringEarlier, [false, false, false, true, false, false]),
        ] {
            let mut holds = holds.into_iter();
            for before in [Expiry::Never, Expiry::After(10_000)] {
                for then in [Expiry::After(5_000), Expiry::After(20_000), Expiry::Never] {
                    let write = Write { key, value: b"v", flags: 0, condition: Condition::Always, expiry: before };
                    let version = stored(&world.ask(0, Command::Set(write)));
                    let touched = world.ask(0, Command::Touch { key, expiry: then, only });
                    let what = format!("{only:?}: {before:?} to {then:?}");
                    match holds.next().expect("one for each") {
                        true => assert_eq!(stored(&touched), version, "{what}"),
                        false => assert_eq!(touched.failure(), Some(Status::Exists), "{what}"),
                    }
                }
            }
        }
        world.ask(0, Command::Delete { key, version: 0 });
        assert_eq!(world.ask(0, Command::Touch { key, expiry: Expiry::Never, only: Lasting }), OwnedReply::Miss);
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

//! Operations with all that memcached's meta commands can say: who fills what is stale, nearly over or not there.

use larder_engine::limits::LEASE_MS_MAX;
use larder_protocol::native::encode_request;
use larder_protocol::{Claim, Command, Condition, Expiry, Meta, MetaAction, Request, Status, Write};

use crate::harness::{OwnedReply, World, WorldSettings, set};

type Told = (Vec<u8>, u64, Claim, bool);

/// Worlds, each with a key of the shard that is asked, or of another.
fn worlds() -> Vec<(World, Vec<u8>)> {
    [0, 1]
        .map(|owner| {
            let world = World::new(3, WorldSettings::default());
            let key = world.key_of(owner, "k");
            (world, key)
        })
        .into()
}

fn get(key: &[u8]) -> Meta<'_> {
    Meta { key, wants_value: true, expiry: Expiry::Keep, ..Meta::default() }
}

fn ask(world: &mut World, meta: Meta<'_>) -> OwnedReply {
    world.ask(0, Command::Meta(meta))
}

/// Value, version, claim, and whether it is stale.
fn told(world: &mut World, meta: Meta<'_>) -> Told {
    match ask(world, meta) {
        OwnedReply::Looked(looked) => (looked.entry.value, looked.entry.version, looked.claim, looked.entry.is_stale),
        other => panic!("{other:?} tells nothing"),
    }
}

fn stored(reply: &OwnedReply) -> u64 {
    match reply {
        OwnedReply::Resized(version, _) | OwnedReply::Stored(version) => *version,
        other => panic!("{other:?}: nothing was stored"),
    }
}

#[test]
fn one_fills_what_is_not_there_whatever_it_speaks() {
    for (mut world, key) in worlds() {
        let key = &key[..];
        let leased = Meta { created: Some(Expiry::After(30_000)), ..get(key) };
        let fill = |version| Meta { key, action: MetaAction::Set, value: b"v", version, ..Meta::default() };
        assert_eq!(ask(&mut world, get(key)), OwnedReply::Miss);
        let (value, token, claim, _) = told(&mut world, leased);
        assert_eq!((&value[..], claim), (&b""[..], Claim::Won));
        assert_eq!(told(&mut world, leased), (Vec::new(), token, Claim::Taken, false));
        assert_eq!(told(&mut world, get(key)).2, Claim::Taken);
        assert_eq!(world.ask(0, Command::Get { key }), OwnedReply::Miss, "nothing is there");
        // By the lease of the native protocol: it waits until the key is filled.
        let waiting = world.submit(0, Command::LeaseGet { key, lease_ms: 0 }).expect_err("it waits");
        assert_eq!(ask(&mut world, fill(token + 1)).failure(), Some(Status::VersionMismatch));
        let version = stored(&ask(&mut world, fill(token)));
        assert_eq!(world.wait(0, waiting).value(), Some(&b"v"[..]));
        assert_eq!(told(&mut world, leased), (b"v".to_vec(), version, Claim::Nobody, false));

        // And the other way round.
        world.ask(0, Command::Delete { key, version: 0 });
        let OwnedReply::Leased { token, .. } = world.ask(0, Command::LeaseGet { key, lease_ms: 0 }) else { panic!() };
        assert_eq!(told(&mut world, leased), (Vec::new(), token, Claim::Taken, false));
        stored(&ask(&mut world, fill(token)));
        assert_eq!(ask(&mut world, fill(token)).failure(), Some(Status::VersionMismatch), "it was used");
        world.validate();
    }
}

#[test]
fn a_fill_from_before_a_delete_comes_too_late() {
    for (mut world, key) in worlds() {
        let key = &key[..];
        let leased = Meta { created: Some(Expiry::Default), ..get(key) };
        let fill = |version| Meta { key, action: MetaAction::Set, value: b"v", version, ..Meta::default() };
        let delete = Meta { key, action: MetaAction::Delete, expiry: Expiry::Keep, ..Meta::default() };
        let token = told(&mut world, leased).1;
        assert_eq!(ask(&mut world, delete), OwnedReply::Done);
        assert_eq!(ask(&mut world, fill(token)), OwnedReply::Miss);
        // Invalidated, it is for whoever asks first.
        let token = told(&mut world, leased).1;
        assert_eq!(ask(&mut world, Meta { is_stale: true, ..delete }), OwnedReply::Done);
        assert_eq!(ask(&mut world, fill(token)).failure(), Some(Status::VersionMismatch));
        let (_, next, claim, is_stale) = told(&mut world, get(key));
        assert!(next > token && claim == Claim::Won && is_stale);
        assert_eq!(told(&mut world, get(key)), (Vec::new(), next, Claim::Taken, true));
        stored(&ask(&mut world, fill(next)));
        // Nobody waits longer than a minute.
        world.ask(0, Command::Delete { key, version: 0 });
        assert_eq!(told(&mut world, leased).2, Claim::Won);
        world.now_ms += u64::from(LEASE_MS_MAX);
        assert_eq!(told(&mut world, leased).2, Claim::Won);
        // Who leases by the native protocol is given what nobody has.
        assert_eq!(ask(&mut world, Meta { is_stale: true, ..delete }), OwnedReply::Done);
        let reply = world.ask(0, Command::LeaseGet { key, lease_ms: 0 });
        assert!(matches!(reply, OwnedReply::Leased { .. }), "{reply:?}");
        assert_eq!(told(&mut world, get(key)).2, Claim::Taken);
        world.validate();
    }
}

#[test]
fn one_fills_what_is_stale_or_nearly_over() {
    for (mut world, key) in worlds() {
        let key = &key[..];
        let expiry = Expiry::After(20_000);
        let write = Write { key, value: b"old", flags: 0, condition: Condition::Always, expiry };
        let first = stored(&world.ask(0, Command::Set(write)));
        let early = |early_ms| Meta { early_ms, ..get(key) };
        assert_eq!(told(&mut world, early(10_000)).2, Claim::Nobody);
        // By the time that it sets, or by that before.
        let touch = Meta { expiry: Expiry::After(50_000), is_early_after: true, ..early(30_000) };
        assert_eq!(told(&mut world, touch).2, Claim::Nobody);
        let touch = Meta { expiry, is_early_after: false, ..early(30_000) };
        assert_eq!(told(&mut world, touch).2, Claim::Nobody);
        assert_eq!(told(&mut world, early(30_000)).2, Claim::Won);
        assert_eq!(told(&mut world, early(10_000)).2, Claim::Taken, "until it is filled");

        let stale = Meta { key, action: MetaAction::Delete, is_stale: true, expiry: Expiry::Keep, ..Meta::default() };
        assert_eq!(ask(&mut world, stale), OwnedReply::Done);
        let (value, second, claim, is_stale) = told(&mut world, get(key));
        assert!(value == b"old" && second > first && claim == Claim::Won && is_stale);
        assert_eq!(told(&mut world, get(key)), (b"old".to_vec(), second, Claim::Taken, true));
        let fill = |version, value| Meta { key, action: MetaAction::Set, value, version, ..Meta::default() };
        assert_eq!(ask(&mut world, fill(first, b"new")).failure(), Some(Status::VersionMismatch));
        // Late, but better than what is there; it is no more than that.
        let late = stored(&ask(&mut world, Meta { is_stale: true, ..fill(first, b"late") }));
        assert_eq!(told(&mut world, get(key)), (b"late".to_vec(), late, Claim::Taken, true));
        let newer = Meta { is_stale: true, ..fill(late + 1, b"x") };
        assert_eq!(ask(&mut world, newer).failure(), Some(Status::VersionMismatch), "a version that there never was");
        let third = stored(&ask(&mut world, fill(late, b"new")));
        assert_eq!(told(&mut world, get(key)), (b"new".to_vec(), third, Claim::Nobody, false));
        world.validate();
    }
}

#[test]
fn versions_are_called_as_clients_name_them() {
    for (mut world, key) in worlds() {
        let key = &key[..];
        let named = |action, new_version| {
            let value = if action == MetaAction::Set { &b"1"[..] } else { b"" };
            Meta { key, action, value, new_version, delta: 1, expiry: Expiry::Keep, ..Meta::default() }
        };
        assert_eq!(stored(&ask(&mut world, named(MetaAction::Set, 99))), 99);
        assert_eq!(told(&mut world, get(key)).1, 99);
        let OwnedReply::Entry(entry) = world.ask(0, Command::Get { key }) else { panic!() };
        assert_eq!(entry.version, 99, "in every protocol");
        let write = |version| Write {
            key,
            value: b"5",
            flags: 0,
            condition: Condition::Version(version),
            expiry: Expiry::Default,
        };
        assert_eq!(world.ask(0, Command::Set(write(98))).failure(), Some(Status::VersionMismatch));
        for (version, holds) in [(99, true), (98, false)] {
            let mut requests = Vec::new();
            let command = Command::Check { key, version, expires_at_ms: None };
            let (id, epoch, group, timeout_ms) = (1, 0, 0, 0);
            encode_request(&mut requests, &Request { id, epoch, group, timeout_ms, forwarded: false, command });
            let checked = world.ask(0, Command::Transact { key, requests: &requests });
            assert_eq!(checked.failure().is_none(), holds, "{checked:?}");
        }
        let own = stored(&world.ask(0, Command::Set(write(99))));
        assert!(own > 99 && told(&mut world, get(key)).1 == own, "a name is that of one version");
        assert_eq!(told(&mut world, named(MetaAction::AddTo, 7)), (b"6".to_vec(), 7, Claim::Nobody, false));
        assert_eq!(stored(&ask(&mut world, Meta { value: b"0", ..named(MetaAction::Append, 8) })), 8);
        let stale = Meta { is_stale: true, version: 8, ..named(MetaAction::Delete, 9) };
        assert_eq!(ask(&mut world, stale), OwnedReply::Done);
        assert_eq!(told(&mut world, get(key)), (b"60".to_vec(), 9, Claim::Won, true));
        assert_eq!(ask(&mut world, named(MetaAction::Clear, 0)), OwnedReply::Done);
        let (value, version, ..) = told(&mut world, get(key));
        assert!(value.is_empty() && version > 9, "another value has another version");
        assert_eq!(world.ask(0, Command::Delete { key, version: 9 }).failure(), Some(Status::VersionMismatch));
        assert_eq!(stored(&ask(&mut world, named(MetaAction::Set, 9))), 9);
        assert_eq!(world.ask(0, Command::Delete { key, version: 9 }), OwnedReply::Done);
        world.validate();
    }
}

#[test]
fn what_is_stored_counts_and_is_told_as_it_was_asked() {
    for (mut world, key) in worlds() {
        let key = &key[..];
        let of = |action| Meta { key, action, value: b"ab", expiry: Expiry::Keep, delta: 3, ..Meta::default() };
        let created = Some(Expiry::After(9_000));
        for action in [MetaAction::Replace, MetaAction::Append, MetaAction::Prepend, MetaAction::TakeFrom] {
            assert_eq!(ask(&mut world, of(action)), OwnedReply::Miss, "{action:?}");
        }
        let made = ask(&mut world, Meta { created, flags: 4, ..of(MetaAction::Prepend) });
        assert!(matches!(made, OwnedReply::Resized(_, 2)), "{made:?}");
        assert_eq!(ask(&mut world, of(MetaAction::Add)).failure(), Some(Status::Exists));
        let more = ask(&mut world, Meta { value: b"c", created, ..of(MetaAction::Append) });
        assert!(matches!(more, OwnedReply::Resized(_, 3)), "{more:?}");
        let expires_at_ms = world.now_ms + 100_000;
        let touch = Meta { expiry: Expiry::At(expires_at_ms), ..get(key) };
        let OwnedReply::Looked(looked) = ask(&mut world, touch) else { panic!() };
        assert_eq!((&looked.entry.value[..], looked.entry.flags, looked.value_bytes), (&b"abc"[..], 4, 3));
        assert!((1..=9_000).contains(&looked.entry.ttl_ms) && looked.expires_at_ms == expires_at_ms && !looked.is_hit);
        let OwnedReply::Looked(looked) = ask(&mut world, Meta { wants_value: false, ..get(key) }) else { panic!() };
        assert!(looked.entry.value.is_empty() && looked.is_hit);
        assert_eq!(ask(&mut world, of(MetaAction::AddTo)).failure(), Some(Status::NotANumber));
        world.ask(0, set(key, b"unseen"));
        let unseen = Meta { is_unseen: true, ..get(key) };
        for _ in 0..2 {
            let OwnedReply::Looked(looked) = ask(&mut world, unseen) else { panic!() };
            assert!(!looked.is_hit);
        }
        world.ask(0, Command::Delete { key, version: 0 });
        let count = Meta { created, initial: 10, ..of(MetaAction::TakeFrom) };
        for value in ["10", "7 ", "4 ", "1 ", "0 "] {
            let OwnedReply::Looked(looked) = ask(&mut world, count) else { panic!() };
            assert_eq!(looked.entry.value, value.as_bytes());
        }
        // A number made of a stale one is stale, and one whose time is over is told all the same.
        assert_eq!(ask(&mut world, Meta { is_stale: true, ..of(MetaAction::Delete) }), OwnedReply::Done);
        assert_eq!(told(&mut world, get(key)).2, Claim::Won);
        ask(&mut world, of(MetaAction::AddTo));
        let (value, _, claim, is_stale) = told(&mut world, get(key));
        assert!(value == b"3 " && claim == Claim::Taken && is_stale);
        let over = Meta { expiry: Expiry::At(1), ..of(MetaAction::AddTo) };
        assert_eq!(told(&mut world, over).0, b"6 ");
        assert_eq!(world.ask(0, Command::Get { key }), OwnedReply::Miss);
        world.ask(0, set(key, b"x"));
        let over = Meta { expiry: Expiry::At(1), is_stale: true, ..of(MetaAction::Delete) };
        assert_eq!(ask(&mut world, over), OwnedReply::Done);
        assert_eq!(world.ask(0, Command::Get { key }), OwnedReply::Miss);
        world.validate();
    }
}

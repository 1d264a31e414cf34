//! Leases: one client may fill a key, the others wait for it; and nobody fills it with what is older than a write.

use std::collections::BTreeSet;

use larder_engine::limits::{LEASE_MS_DEFAULT, LEASE_MS_MAX};
use larder_engine::{Loaded, OriginSettings, Ticket};
use larder_protocol::{Command, Condition, Expiry, Request, Status, Write};
use larder_ring::group_hash;

use crate::harness::{Batch, Cluster, OwnedReply, World, WorldSettings, ring, scaled, set};

fn lease(key: &[u8], lease_ms: u32) -> Command<'_> {
    Command::LeaseGet { key, lease_ms }
}

fn fill<'a>(key: &'a [u8], value: &'a [u8], token: u64) -> Command<'a> {
    let write = Write { key, value, flags: 0, condition: Condition::Always, expiry: Expiry::Default };
    Command::LeaseSet { write, token }
}

fn token_of(reply: &OwnedReply) -> u64 {
    match reply {
        OwnedReply::Leased { token, .. } => *token,
        other => panic!("{other:?} is no lease"),
    }
}

fn value_of(reply: &OwnedReply) -> &[u8] {
    match reply {
        OwnedReply::Entry(entry) => &entry.value,
        other => panic!("{other:?} is no entry"),
    }
}

fn world(seed: u64) -> World {
    World::new(seed, WorldSettings::default())
}

#[test]
fn one_of_a_hundred_fills_and_all_get_what_it_stored() {
    let mut world = world(1);
    let mut waiting: Vec<(u16, Ticket)> = Vec::new();
    let mut leased = Vec::new();
    for caller in 0..100 {
        let at = caller % 4;
        match world.submit(at, lease(b"ann", 0)) {
            Ok(reply) => leased.push(reply),
            Err(ticket) => waiting.push((at, ticket)),
        }
    }
    for _ in 0..100 {
        world.step();
    }
    while let Some((at, ticket, reply)) = world.answers.pop_front() {
        waiting.retain(|known| *known != (at, ticket));
        leased.push(reply);
    }
    assert!(matches!(leased[..], [OwnedReply::Leased { lease_ms: LEASE_MS_DEFAULT, .. }]), "{leased:?}");
    assert_eq!(waiting.len(), 99);
    assert_eq!(world.ask(1, Command::Get { key: b"ann" }), OwnedReply::Miss, "a get does not wait");
    let token = token_of(&leased[0]);
    assert_eq!(world.ask(3, fill(b"ann", b"old", token + 1)).failure(), Some(Status::LeaseLost));
    let OwnedReply::Stored(version) = world.ask(2, fill(b"ann", b"93", token)) else { panic!("it holds the lease") };
    assert!(version > token, "the token is a version before it");
    for (at, ticket) in waiting {
        assert_eq!(value_of(&world.wait(at, ticket)), b"93");
    }
    assert_eq!(world.ask(2, fill(b"ann", b"94", token)).failure(), Some(Status::LeaseLost), "once");
    assert_eq!(value_of(&world.ask(0, lease(b"ann", 0))), b"93");
    world.settle();
    world.validate();
}

#[test]
fn a_lease_that_ends_goes_to_one_who_waits() {
    let mut world = world(2);
    let first = token_of(&world.ask(0, lease(b"ann", 50)));
    let since_ms = world.now_ms;
    let second = world.submit(1, lease(b"ann", u32::MAX)).unwrap_err();
    let hasty = world.submit_request(
        3,
        Request { id: 0, epoch: 0, group: 0, timeout_ms: 20, forwarded: false, command: lease(b"ann", 0) },
    );
    let third = world.submit(2, lease(b"ann", 0)).unwrap_err();
    assert_eq!(world.wait(3, hasty.unwrap_err()).failure(), Some(Status::DeadlineExceeded));
    // Whoever of those who wait came first has it, and goes, or stores.
    let (mut replies, mut tickets) = (Vec::new(), vec![(1, second), (2, third)]);
    while replies.is_empty() {
        world.step();
        while let Some((at, ticket, reply)) = world.answers.pop_front() {
            tickets.retain(|known| *known != (at, ticket));
            replies.push(reply);
        }
    }
    let waited_ms = world.now_ms - since_ms;
    println!("the next one has it after {waited_ms} ms");
    assert!((40..200).contains(&waited_ms), "{waited_ms} ms");
    let next = token_of(&replies[0]);
    let &OwnedReply::Leased { lease_ms, .. } = &replies[0] else { unreachable!("it has a token") };
    assert!(lease_ms == LEASE_MS_MAX || lease_ms == LEASE_MS_DEFAULT, "{lease_ms}");
    assert!(replies.len() == 1 && tickets.len() == 1 && next > first);
    assert_eq!(world.ask(0, fill(b"ann", b"late", first)).failure(), Some(Status::LeaseLost));
    assert!(matches!(world.ask(0, fill(b"ann", b"93", next)), OwnedReply::Stored(_)));
    let (at, ticket) = tickets[0];
    assert_eq!(value_of(&world.wait(at, ticket)), b"93");
    world.settle();
    world.validate();
}

#[test]
fn what_is_written_or_invalidated_ends_a_lease() {
    let mut world = world(3);
    for round in 0..4 {
        world.ask(0, Command::Delete { key: b"ann", version: 0 });
        let token = token_of(&world.ask(0, lease(b"ann", 0)));
        let waiting = world.submit(1, lease(b"ann", 0)).unwrap_err();
        for _ in 0..30 {
            world.step();
        }
        let ended = match round {
            0 => world.ask(2, set(b"ann", b"new")),
            1 => world.ask(2, Command::Delete { key: b"ann", version: 0 }),
            2 => world.ask(2, Command::Invalidate),
            _ => world.ask(2, Command::Increment { key: b"ann", delta: 1, initial: Some(7), expiry: Expiry::Never }),
        };
        assert_eq!(world.ask(3, fill(b"ann", b"old", token)).failure(), Some(Status::LeaseLost), "{ended:?}");
        let answer = world.wait(1, waiting);
        match round {
            0 => assert_eq!(value_of(&answer), b"new"),
            3 => assert_eq!(value_of(&answer), b"7"),
            _ => assert!(matches!(world.ask(3, fill(b"ann", b"93", token_of(&answer))), OwnedReply::Stored(_))),
        }
    }
    world.settle();
    world.validate();
}

/// A lease and a load of one key know of each other.
#[test]
fn a_client_and_an_origin_do_not_fill_at_once() {
    let origin = Some(OriginSettings::default());
    let mut world = World::new(4, WorldSettings { origin, ..WorldSettings::default() });
    let request =
        |command| Request { id: 0, epoch: 0, group: group_hash("scores", 0), timeout_ms: 0, forwarded: false, command };
    let get = world.submit_request(0, request(Command::Get { key: b"ann" })).unwrap_err();
    let waits = world.submit_request(1, request(lease(b"ann", 0))).unwrap_err();
    (0..30).for_each(|_| world.step());
    let loads = world.loads();
    world.loaded(&loads[0], Loaded::Value { value: b"93", ttl_ms: None, is_kept: true, etag: None });
    assert_eq!((value_of(&world.wait(0, get)), value_of(&world.wait(1, waits))), (&b"93"[..], &b"93"[..]));

    let leased = match world.submit_request(0, request(lease(b"bob", 60))) {
        Ok(reply) => reply,
        Err(ticket) => world.wait(0, ticket),
    };
    token_of(&leased);
    let get = world.submit_request(2, request(Command::Get { key: b"bob" })).unwrap_err();
    (0..30).for_each(|_| world.step());
    assert!(world.loads().is_empty(), "the holder fills it");
    while world.answers.is_empty() {
        world.step();
        for load in world.loads() {
            world.loaded(&load, Loaded::Value { value: b"94", ttl_ms: None, is_kept: true, etag: None });
        }
    }
    assert_eq!(value_of(&world.wait(2, get)), b"94", "the lease has ended, and the origin was asked");
    world.settle();
    world.validate();
}

/// At any time one holds the lease of a key; what is stored under a token was leased after the last write.
#[test]
fn random_callers_have_one_lease_at_a_time() {
    for seed in 0..4 {
        println!("seed {seed}");
        let mut world = world(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut waiting: Vec<(u16, Ticket)> = Vec::new();
        // Tokens that were not used; all that were given; and those above which one has to be to be good.
        let (mut tokens, mut given, mut dead): (Vec<u64>, BTreeSet<u64>, u64) = (Vec::new(), BTreeSet::new(), 0);
        let (mut filled, mut lost) = (0, 0);
        for step in 0..scaled(60_000) {
            let at = random.u16(0..4);
            let mut replies = Vec::new();
            match random.u8(0..8) {
                0..4 => match world.submit(at, lease(b"ann", random.u32(1..40))) {
                    Ok(reply) => replies.push(reply),
                    Err(ticket) => waiting.push((at, ticket)),
                },
                4 if !tokens.is_empty() => {
                    let token = tokens.swap_remove(random.usize(0..tokens.len()));
                    match world.ask(at, fill(b"ann", b"filled", token)) {
                        OwnedReply::Stored(version) => {
                            assert!(token > dead, "{token} was given before a write at {dead}");
                            dead = version;
                            filled += 1;
                        }
                        reply => {
                            assert_eq!(reply.failure(), Some(Status::LeaseLost));
                            lost += 1;
                        }
                    }
                }
                5 => {
                    dead = given.last().copied().unwrap_or(0).max(dead);
                    world.ask(at, Command::Delete { key: b"ann", version: 0 });
                }
                6 if !waiting.is_empty() => {
                    let (at, ticket) = waiting.swap_remove(random.usize(0..waiting.len()));
                    world.engines[usize::from(at)].cancel(ticket);
                }
                _ => world.step(),
            }
            while let Some((at, ticket, reply)) = world.answers.pop_front() {
                waiting.retain(|known| *known != (at, ticket));
                replies.push(reply);
            }
            for reply in replies {
                if let OwnedReply::Leased { token, lease_ms } = reply {
                    assert!(lease_ms < 40 && given.insert(token), "each token is given once");
                    tokens.push(token);
                }
            }
            if step % 64 == 0 {
                world.validate();
            }
        }
        println!("{filled} filled, {lost} lost");
        assert!(filled > 20 && lost > 20, "{filled} filled, {lost} lost");
    }
}

#[test]
fn what_another_node_may_take_long_for_is_told() {
    let mut cluster = Cluster::with_origin(6, 2, 1, Some(OriginSettings::default()));
    let key = cluster.key_of(1, "leased");
    let several = Batch::of_keys([&key]);
    let mut delayed = |group, command| {
        cluster.submit_request((0, 0), Request { id: 0, epoch: 0, group, timeout_ms: 0, forwarded: false, command });
        cluster.engine((0, 0)).delayed().len()
    };
    let (get, lease) = (Command::Get { key: &key }, lease(&key, 0));
    assert_eq!((delayed(0, get), delayed(0, several.get()), delayed(0, lease)), (0, 0, 1), "nothing loads there");
    let scores = group_hash("scores", 0);
    // The second of the gets shares the request of the first, or is held back for it.
    assert_eq!((delayed(scores, get), delayed(scores, get), delayed(scores, get)), (1, 1, 1));
    assert_eq!(delayed(scores, several.get()), 1);
    assert_eq!(delayed(scores, set(&key, b"v")), 0);
}

/// The new owner of a key does not know the leases of the one before, whose tokens are good no more.
#[test]
fn a_lease_ends_when_the_key_moves() {
    let mut cluster = Cluster::new(5, 2, 2);
    let key = cluster.key_of(0, "moves");
    let token = token_of(&cluster.ask((1, 0), lease(&key, 0)));
    (0..2).for_each(|node| cluster.set_topology(node, &ring(2, &[1], 2)));
    assert_eq!(cluster.ask((1, 1), fill(&key, b"old", token)).failure(), Some(Status::LeaseLost));
    let next = token_of(&cluster.ask((1, 0), lease(&key, 0)));
    assert!(matches!(cluster.ask((1, 1), fill(&key, b"93", next)), OwnedReply::Stored(_)));
}

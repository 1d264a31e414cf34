//! Groups with an origin: one load for each key however many ask, everybody answered once, and nothing older than what was
//! written kept.

use std::collections::BTreeMap;

use larder_engine::limits::{FLIGHT_MS_MAX, LANE_BYTES_MAX};
use larder_engine::{Load, Loaded, OriginSettings, Ticket};
use larder_protocol::{Command, Failure, Request, Status, TouchCondition};
use larder_ring::group_hash;

use crate::harness::{Batch, OwnedReply, World, WorldSettings, scaled, set};

const NEGATIVE_TTL_MS: u64 = 500;

fn world(seed: u64) -> World {
    let origin = Some(OriginSettings { negative_ttl_ms: NEGATIVE_TTL_MS, ..OriginSettings::default() });
    World::new(seed, WorldSettings { origin, ..WorldSettings::default() })
}

fn submit(world: &mut World, at: u16, command: Command<'_>) -> Result<OwnedReply, Ticket> {
    submit_within(world, at, command, 0)
}

fn submit_within(world: &mut World, at: u16, command: Command<'_>, timeout_ms: u32) -> Result<OwnedReply, Ticket> {
    let group = group_hash("scores", 0);
    world.submit_request(at, Request { id: 0, epoch: 0, group, timeout_ms, forwarded: false, command })
}

fn ask(world: &mut World, at: u16, command: Command<'_>) -> OwnedReply {
    match submit(world, at, command) {
        Ok(reply) => reply,
        Err(ticket) => world.wait(at, ticket),
    }
}

fn get(key: &[u8]) -> Command<'_> {
    Command::Get { key }
}

/// Lets the world run until shards want something loaded.
fn loads(world: &mut World) -> Vec<(u16, Load)> {
    for _ in 0..100 {
        world.step();
    }
    world.loads()
}

fn value_of(reply: &OwnedReply) -> &[u8] {
    match reply {
        OwnedReply::Entry(entry) => &entry.value,
        other => panic!("{other:?} is no entry"),
    }
}

fn value(value: &[u8]) -> Loaded<'_> {
    Loaded::Value { value, ttl_ms: None, is_kept: true, etag: None }
}

#[test]
fn a_key_is_loaded_once_for_all_who_ask() {
    let mut world = world(1);
    let mut tickets: Vec<(u16, Ticket)> = Vec::new();
    for at in [0, 1, 2, 3, 0, 1, 2, 3] {
        tickets.push((at, submit(&mut world, at, get(b"ann")).unwrap_err()));
    }
    // The first caller goes, and another has little time.
    world.engines[0].cancel(tickets[0].1);
    let hasty = submit_within(&mut world, 1, get(b"ann"), 20).unwrap_err();
    assert_eq!(world.wait(1, hasty).failure(), Some(Status::DeadlineExceeded));
    let loads = loads(&mut world);
    assert_eq!(loads.len(), 1, "{loads:?}");
    assert_eq!((loads[0].1.group, &*loads[0].1.key), (group_hash("scores", 0), &b"ann"[..]));
    world.loaded(&loads[0], value(b"93"));
    for (at, ticket) in &tickets[1..] {
        assert_eq!(value_of(&world.wait(*at, *ticket)), b"93");
    }
    for at in 0..4 {
        assert_eq!(value_of(&ask(&mut world, at, get(b"ann"))), b"93", "it was kept");
    }
    assert!(world.loads().is_empty());
    world.loaded(&loads[0], value(b"late"));
    assert_eq!(value_of(&ask(&mut world, 0, get(b"ann"))), b"93", "there is no such flight any more");
    assert_eq!(
        ask(
            &mut world,
            0,
            Command::Touch { key: b"bob", expiry: larder_protocol::Expiry::Never, only: TouchCondition::Always }
        ),
        OwnedReply::Miss
    );
    assert_eq!(world.ask(0, get(b"bob")), OwnedReply::Miss, "the default group has no origin");
    assert!(world.loads().is_empty(), "only a get loads");
    world.validate();
}

#[test]
fn who_waits_for_an_origin_is_told_and_nobody_else() {
    let mut world = world(8);
    let kept: Vec<Vec<u8>> = (0..40).map(|number| format!("kept {number}").into_bytes()).collect();
    for key in &kept {
        ask(&mut world, 0, set(key, b"v"));
    }
    for (number, key) in kept.iter().enumerate() {
        assert!(matches!(ask(&mut world, number as u16 % 4, get(key)), OwnedReply::Entry(_)));
    }
    ask(&mut world, 1, Batch::of_keys(&kept).get());
    assert_eq!(world.delayed.len(), 0, "the other shards have answered at once");

    // At each shard, by itself and among others.
    for (number, at) in (0..40).zip([0, 1, 2, 3].into_iter().cycle()) {
        let key = format!("missing {number}").into_bytes();
        let several = Batch::of_keys([&kept[0], &key, &kept[1]]);
        let tickets = [get(&key), several.get()].map(|command| submit(&mut world, at, command).unwrap_err());
        let loads = loads(&mut world);
        for ticket in tickets {
            assert!(world.delayed.contains(&(at, ticket)), "shard {at} is not told of {ticket:?}");
        }
        assert_eq!(world.answers.len(), 0);
        world.loaded(&loads[0], value(b"new"));
        for ticket in tickets {
            world.wait(at, ticket);
        }
    }
    let most = world.engines.iter().map(|engine| engine.delayed().len()).max();
    assert!(most <= Some(2), "what was said before is forgotten: {most:?}");
    world.validate();
}

#[test]
fn the_largest_value_is_loaded_over_a_quiet_lane() {
    let origin = Some(OriginSettings::default());
    let mut world = World::new(
        9,
        WorldSettings { shards: 2, origin, value_bytes_max: 2 * LANE_BYTES_MAX, ..WorldSettings::default() },
    );
    let large = vec![7; LANE_BYTES_MAX + 1];
    for number in 0..10 {
        let key = format!("large {number}").into_bytes();
        let ticket = submit(&mut world, number % 2, get(&key)).unwrap_err();
        let loads = loads(&mut world);
        let is_kept = false;
        world.loaded(&loads[0], Loaded::Value { value: &large, ttl_ms: None, is_kept, etag: None });
        assert_eq!(value_of(&world.wait(number % 2, ticket)).len(), large.len());
    }
    world.validate();
}

#[test]
fn what_is_written_meanwhile_is_newer() {
    for at in 0..4 {
        let mut world = world(2);
        let before = submit(&mut world, at, get(b"ann")).unwrap_err();
        let first = loads(&mut world);
        assert!(matches!(ask(&mut world, 1, set(b"ann", b"new")), OwnedReply::Stored(_)));
        assert_eq!(value_of(&ask(&mut world, 2, get(b"ann"))), b"new");
        world.loaded(&first[0], value(b"old"));
        assert_eq!(value_of(&world.wait(at, before)), b"old", "it was asked before");
        assert_eq!(value_of(&ask(&mut world, 3, get(b"ann"))), b"new");

        // What is deleted while it is loaded is loaded again, also if it was not there.
        for is_group in [false, true] {
            ask(&mut world, 0, Command::Delete { key: b"ann", version: 0 });
            let before = submit(&mut world, at, get(b"ann")).unwrap_err();
            let first = loads(&mut world);
            let gone = if is_group { Command::Invalidate } else { Command::Delete { key: b"ann", version: 0 } };
            ask(&mut world, 1, gone);
            let after = submit(&mut world, 2, get(b"ann")).unwrap_err();
            let second = loads(&mut world);
            assert_eq!((first.len(), second.len()), (1, 1));
            world.loaded(&first[0], value(b"old"));
            assert_eq!(value_of(&world.wait(at, before)), b"old");
            assert!(submit(&mut world, 3, get(b"ann")).is_err(), "not kept");
            world.loaded(&second[0], value(b"new"));
            assert_eq!(value_of(&world.wait(2, after)), b"new");
            assert_eq!(value_of(&ask(&mut world, 3, get(b"ann"))), b"new");
        }
        world.settle();
        world.validate();
    }
}

#[test]
fn a_failure_reaches_who_waits_and_is_not_kept() {
    let mut world = world(3);
    let failure = Failure {
        status: Status::OriginFailed,
        message: "the origin of group \"scores\" answered 500".into(),
        retry_after_ms: 7,
    };
    let tickets = [0, 1, 2, 3].map(|at| (at, submit(&mut world, at, get(b"ann")).unwrap_err()));
    let first = loads(&mut world);
    world.loaded(&first[0], Loaded::Failed(&failure));
    for (at, ticket) in tickets {
        assert_eq!(world.wait(at, ticket), OwnedReply::Failed(failure.clone()));
    }
    let ticket = submit(&mut world, 0, get(b"ann")).unwrap_err();
    let second = loads(&mut world);
    world.loaded(&second[0], value(b"93"));
    assert_eq!(value_of(&world.wait(0, ticket)), b"93");
}

#[test]
fn what_is_nowhere_is_asked_for_again_after_a_while() {
    let mut world = world(4);
    let ticket = submit(&mut world, 0, get(b"ann")).unwrap_err();
    let first = loads(&mut world);
    world.loaded(&first[0], Loaded::Absent);
    assert_eq!(world.wait(0, ticket), OwnedReply::Miss);
    let since_ms = world.now_ms;
    for at in 0..4 {
        assert_eq!(ask(&mut world, at, get(b"ann")), OwnedReply::Miss);
    }
    assert!(loads(&mut world).is_empty() && world.now_ms < since_ms + NEGATIVE_TTL_MS);
    ask(&mut world, 1, set(b"ann", b"93"));
    assert_eq!(value_of(&ask(&mut world, 2, get(b"ann"))), b"93", "it was written");
    ask(&mut world, 1, Command::Delete { key: b"ann", version: 0 });
    let ticket = submit(&mut world, 3, get(b"ann")).unwrap_err();
    let second = loads(&mut world);
    world.loaded(&second[0], Loaded::Absent);
    assert_eq!(world.wait(3, ticket), OwnedReply::Miss);
    world.now_ms += NEGATIVE_TTL_MS;
    assert!(submit(&mut world, 0, get(b"ann")).is_err());
    assert_eq!(loads(&mut world).len(), 1);
}

#[test]
fn what_may_not_be_kept_is_served() {
    let mut world = world(5);
    for kept in [false, true] {
        let ticket = submit(&mut world, 0, get(b"ann")).unwrap_err();
        let first = loads(&mut world);
        world.loaded(&first[0], Loaded::Value { value: b"93", ttl_ms: Some(1_000), is_kept: kept, etag: None });
        let OwnedReply::Entry(entry) = world.wait(0, ticket) else { panic!("it is there") };
        assert_eq!((&*entry.value, entry.ttl_ms > 0, entry.version > 0), (&b"93"[..], kept, kept));
    }
    let OwnedReply::Entry(entry) = ask(&mut world, 1, get(b"ann")) else { panic!("it was kept") };
    assert!((1..=1_000).contains(&entry.ttl_ms), "{entry:?}");
    world.now_ms += 1_000;
    assert!(submit(&mut world, 0, get(b"ann")).is_err(), "its time is up");
    // Nobody will say anything about a flight that is so old.
    loads(&mut world);
    world.now_ms += FLIGHT_MS_MAX;
    assert!(submit(&mut world, 0, get(b"ann")).is_err());
    assert_eq!(loads(&mut world).len(), 1);
}

#[test]
fn several_keys_are_loaded_for_one_request() {
    let mut world = world(6);
    let keys: Vec<Vec<u8>> = (0..40_u32).map(|number| format!("key {number}").into_bytes()).collect();
    for key in &keys[..10] {
        ask(&mut world, 0, set(key, b"set"));
    }
    let batch = Batch::of_keys(&keys);
    let tickets = [0, 2].map(|at| (at, submit(&mut world, at, batch.get()).unwrap_err()));
    let single = submit(&mut world, 1, get(&keys[39])).unwrap_err();
    let loads = loads(&mut world);
    assert_eq!(loads.len(), 30, "each once");
    for load in &loads {
        match &*load.1.key {
            b"key 20" => world.loaded(load, Loaded::Absent),
            b"key 21" => world.loaded(load, Loaded::Failed(&Failure::new(Status::OriginFailed, "no"))),
            _ => world.loaded(load, value(b"loaded")),
        }
    }
    for (at, ticket) in tickets {
        let OwnedReply::Entries(entries) = world.wait(at, ticket) else { panic!("a get_many") };
        for (number, entry) in entries.into_iter().enumerate() {
            let expected = match number {
                0..10 => Ok(&b"set"[..]),
                20 => Err(Status::NotFound),
                21 => Err(Status::OriginFailed),
                _ => Ok(&b"loaded"[..]),
            };
            assert_eq!(entry.as_ref().map(|entry| &*entry.value).map_err(|status| *status), expected, "{number}");
        }
    }
    assert_eq!(value_of(&world.wait(1, single)), b"loaded");
    world.settle();
    world.validate();
}

/// Versions of the origin's values count up, and so do those that are written; what a get answers is none that was replaced
/// before it was asked.
#[test]
fn random_operations_never_answer_what_was_replaced_before() {
    for seed in 0..4 {
        println!("seed {seed}");
        random_operations(seed);
    }
}

fn random_operations(seed: u64) {
    let mut world = world(seed);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut clock = 0_u64;
    // By key, the least number that may be answered: that of the last write, or of the last delete.
    let mut least: BTreeMap<u8, u64> = BTreeMap::new();
    let mut waiting: Vec<(u16, Ticket, u8, u64)> = Vec::new();
    let mut flying: Vec<((u16, Load), u64)> = Vec::new();
    let (mut asked, mut answered) = (0, 0);
    for step in 0..scaled(100_000) {
        let (at, number) = (random.u16(0..4), random.u8(0..12));
        let key = [b'k', number];
        match random.u8(0..10) {
            0..5 => {
                asked += 1;
                let floor = least.get(&number).copied().unwrap_or(0);
                match submit_within(&mut world, at, get(&key), random.u32(5..2_000)) {
                    Ok(reply) => {
                        answered += 1;
                        check(&reply, floor);
                    }
                    Err(ticket) => waiting.push((at, ticket, number, floor)),
                }
            }
            5 => {
                clock += 1;
                ask(&mut world, at, set(&key, &clock.to_le_bytes()));
                least.insert(number, clock);
            }
            6 => {
                ask(&mut world, at, Command::Delete { key: &key, version: 0 });
                clock += 1;
                least.insert(number, clock);
            }
            _ => world.step(),
        }
        if random.u16(0..500) == 0 {
            ask(&mut world, at, Command::Invalidate);
            clock += 1;
            least.extend((0..12).map(|number| (number, clock)));
        }
        for load in world.loads() {
            clock += 1;
            flying.push((load, clock));
        }
        if !flying.is_empty() && random.u8(0..3) == 0 {
            let (load, number) = flying.swap_remove(random.usize(0..flying.len()));
            match random.u8(0..8) {
                0 => world.loaded(&load, Loaded::Absent),
                1 => world.loaded(&load, Loaded::Failed(&Failure::new(Status::OriginFailed, "no"))),
                kept => {
                    let value = number.to_le_bytes();
                    world.loaded(&load, Loaded::Value { value: &value, ttl_ms: None, is_kept: kept > 2, etag: None });
                }
            }
        }
        if step % 64 == 0 {
            world.validate();
        }
        while let Some((at, ticket, reply)) = world.answers.pop_front() {
            let place = waiting.iter().position(|(who, wanted, ..)| (*who, *wanted) == (at, ticket));
            let (.., floor) = waiting.swap_remove(place.expect("each is answered once"));
            answered += 1;
            check(&reply, floor);
        }
    }
    for (load, _) in std::mem::take(&mut flying) {
        world.loaded(&load, Loaded::Absent);
    }
    world.now_ms += 2 * FLIGHT_MS_MAX;
    for _ in 0..1_000 {
        world.step();
    }
    answered += world.answers.len();
    assert_eq!(answered, asked, "everybody is answered");
    world.validate();
}

fn check(reply: &OwnedReply, floor: u64) {
    if let OwnedReply::Entry(entry) = reply {
        let number = u64::from_le_bytes(entry.value[..].try_into().expect("8 bytes"));
        assert!(number >= floor, "{number} was replaced by {floor} before it was asked for");
    }
}

//! Scans of a node: every shard, every key, whatever happens meanwhile.

use std::collections::BTreeSet;

use larder_engine::limits::{SCAN_COUNT_MAX, SCAN_KEY_BYTES};
use larder_protocol::limits::{KEY_BYTES_MAX, PATTERN_BYTES_MAX};
use larder_protocol::{Command, Request, ScanStep, Status};
use larder_ring::group_hash;
use larder_store::limits::HOME_ENTRIES_MAX;

use crate::harness::{OwnedReply, World, WorldSettings, scaled, set};

fn step(cursor: &[u8]) -> ScanStep<'_> {
    ScanStep { cursor, count: 0, pattern: &[] }
}

fn world(seed: u64, shards: u16) -> World {
    World::new(
        seed,
        WorldSettings { shards, budget_bytes: 16 << 20, value_bytes_max: 1 << 20, ..WorldSettings::default() },
    )
}

/// All pages of a scan, each asked of a shard at random, with something happening between them.
fn pages(world: &mut World, count: u32, pattern: &[u8], mut between: impl FnMut(&mut World)) -> Vec<Vec<Vec<u8>>> {
    let (mut pages, mut cursor) = (Vec::new(), Vec::new());
    loop {
        let at = world.random.u16(0..world.settings.shards);
        let reply = world.ask(at, Command::Scan(ScanStep { cursor: &cursor, count, pattern }));
        let OwnedReply::Scan(page) = reply else { panic!("{reply:?}") };
        pages.push(page.keys);
        cursor = page.cursor;
        if cursor.is_empty() {
            return pages;
        }
        between(world);
    }
}

#[test]
fn every_shard_is_scanned_whoever_is_asked() {
    for shards in [1, 4] {
        let mut world = world(1, shards);
        let keys: BTreeSet<Vec<u8>> = (0..3_000_u32).map(|number| format!("k{number}").into_bytes()).collect();
        for key in &keys {
            world.ask(0, set(key, b"v"));
        }
        for count in [1, 100, u32::MAX] {
            let pages = pages(&mut world, count, b"", |_| ());
            let found: BTreeSet<Vec<u8>> = pages.iter().flatten().cloned().collect();
            assert_eq!(found, keys, "{shards} shards, {count} at a time");
            assert_eq!(pages.iter().flatten().count(), keys.len(), "with nothing going on each comes once");
            let most = count.min(SCAN_COUNT_MAX) as usize + HOME_ENTRIES_MAX;
            assert!(pages.iter().all(|page| page.len() <= most), "{count} at a time");
        }
        let matching = pages(&mut world, 50, b"k1?5*", |_| ());
        let found: BTreeSet<Vec<u8>> = matching.into_iter().flatten().collect();
        let wanted = keys.iter().filter(|key| key.starts_with(b"k1") && key.get(3) == Some(&b'5'));
        assert_eq!(found, wanted.cloned().collect());
        world.validate();
    }
}

#[test]
fn keys_that_are_there_throughout_are_found_among_random_writes() {
    for seed in 0..scaled(40) as u64 {
        let mut world = world(seed, 3);
        let name = |number: u32| format!("key {number}").into_bytes();
        (0..1_000).for_each(|number| _ = world.ask(0, set(&name(number), b"there throughout")));
        let (mut round, mut newest) = (0, 1_000);
        let found: BTreeSet<Vec<u8>> = pages(&mut world, 10, b"key *", |world| {
            round += 1;
            for _ in 0..40 {
                let at = world.random.u16(0..3);
                let value = vec![7; world.random.usize(0..500)];
                let kept = name(world.random.u32(0..1_000));
                world.ask(at, set(&kept, &value));
                if round % 60 < 40 {
                    newest += 1;
                    world.ask(at, set(&name(newest), &value));
                } else {
                    let key = name(world.random.u32(1_000..=newest));
                    world.ask(at, Command::Delete { key: &key, version: 0 });
                }
            }
        })
        .into_iter()
        .flatten()
        .collect();
        assert!(round > 60, "seed {seed}: {round} rounds");
        let missing = (0..1_000).map(name).find(|key| !found.contains(key));
        assert_eq!(missing.as_deref().map(String::from_utf8_lossy), None, "seed {seed}");
        world.validate();
    }
}

#[test]
fn groups_are_scanned_apart() {
    let mut world = world(2, 2);
    let in_scores =
        |command| Request { id: 0, epoch: 0, group: group_hash("scores", 0), timeout_ms: 0, forwarded: false, command };
    world.ask(0, set(b"of default", b"v"));
    let key = world.key_of(0, "of scores");
    let at = (0..2).find(|at| world.submit_request(*at, in_scores(set(&key, b"v"))).is_ok());
    assert!(at.is_some(), "one of the shards has it");
    world.settle();
    let of_default: Vec<_> = pages(&mut world, 0, b"", |_| ()).concat();
    assert_eq!(of_default, [b"of default".to_vec()]);
    let OwnedReply::Failed(failure) =
        world.submit_request(0, Request { group: 5, ..in_scores(Command::Scan(step(&[]))) }).unwrap()
    else {
        panic!()
    };
    assert_eq!(failure.status, Status::NoSuchGroup);
}

#[test]
fn long_keys_end_a_step_early() {
    // A key has to fit into a segment, which follows from the memory.
    let settings = WorldSettings { shards: 2, budget_bytes: 64 << 20, ..WorldSettings::default() };
    let mut world = World::new(3, settings);
    let keys = 60;
    for number in 0..keys {
        let key = [vec![b'k'; KEY_BYTES_MAX - 1], vec![number]].concat();
        assert!(matches!(world.ask(0, set(&key, b"v")), OwnedReply::Stored(_)));
    }
    let pages = pages(&mut world, u32::MAX, b"", |_| ());
    assert_eq!(pages.iter().flatten().count(), usize::from(keys));
    let lengths: Vec<usize> = pages.iter().map(|page| page.iter().map(Vec::len).sum()).collect();
    // Keys of one home come together, which here are few.
    assert!(lengths.iter().all(|bytes| *bytes < SCAN_KEY_BYTES + 16 * KEY_BYTES_MAX), "{lengths:?}");
    assert!(pages.len() >= usize::from(keys) * KEY_BYTES_MAX / (SCAN_KEY_BYTES + 16 * KEY_BYTES_MAX), "{lengths:?}");
}

#[test]
fn what_is_no_step_is_refused() {
    let mut world = world(4, 2);
    let forwarded = |cursor| Request {
        id: 0,
        epoch: 0,
        group: 0,
        timeout_ms: 0,
        forwarded: true,
        command: Command::Scan(step(cursor)),
    };
    let at_shard = |shard: u8| [shard, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let of_other = at_shard(1);
    for cursor in [&[0][..], &at_shard(2), &[0; 11], &[0xff; 10]] {
        let OwnedReply::Failed(failure) = world.submit(1, Command::Scan(step(cursor))).unwrap() else { panic!() };
        assert_eq!(failure.status, Status::BadRequest, "{cursor:?}");
        assert!(failure.message.contains("begin with an empty one"), "{}", failure.message);
    }
    let OwnedReply::Failed(failure) = world.submit_request(0, forwarded(&of_other)).unwrap() else { panic!() };
    assert_eq!(failure.status, Status::WrongOwner);
    assert!(matches!(world.submit_request(1, forwarded(&of_other)), Ok(OwnedReply::Scan(_))));
    // Any position is one, so a client that makes a cursor up harms nobody.
    let anywhere = [1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert!(matches!(world.ask(0, Command::Scan(step(&anywhere))), OwnedReply::Scan(_)));
    let pattern = &[b'a'; PATTERN_BYTES_MAX + 1][..];
    let reply = world.ask(0, Command::Scan(ScanStep { pattern, ..step(&[]) }));
    assert_eq!(reply.failure(), Some(Status::TooLarge));
}

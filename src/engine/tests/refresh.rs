//! Entries that are shown after their time, and entries that are loaded anew before it is over.

use larder_engine::{GroupPlan, Loaded, OriginSettings};
use larder_protocol::{Command, Failure, Request, Status};
use larder_ring::group_hash;

use crate::harness::{OwnedReply, World, WorldSettings, plan, set};

const MIB: u64 = 1 << 20;
const TTL_MS: u64 = 1_000;
const REVALIDATE_MS: u64 = 200;
const ERROR_MS: u64 = 500;

/// Of one shard, with "scores" shown for a while after its time, loaded from an origin or not.
fn world(has_origin: bool, early_refresh_percent: u32) -> World {
    let mut world = World::new(7, WorldSettings { shards: 1, ..WorldSettings::default() });
    let mut scores = plan("scores", 8 * MIB);
    scores.settings.ttl_ms = TTL_MS;
    let origin = has_origin.then_some(OriginSettings { negative_ttl_ms: 50, early_refresh_percent });
    let (stale_while_revalidate_ms, stale_if_error_ms) = (REVALIDATE_MS, ERROR_MS);
    let scores = GroupPlan { origin, stale_while_revalidate_ms, stale_if_error_ms, ..scores };
    world.engines[0].set_groups(&[plan("default", 8 * MIB), scores]).expect("they fit");
    world
}

fn submit(world: &mut World, command: Command<'_>) -> Result<OwnedReply, larder_engine::Ticket> {
    let request = Request { id: 0, epoch: 0, group: group_hash("scores", 0), timeout_ms: 0, forwarded: false, command };
    world.submit_request(0, request)
}

fn get(world: &mut World) -> Result<OwnedReply, larder_engine::Ticket> {
    submit(world, Command::Get { key: b"ann" })
}

/// What a get is told at once: the value, and whether it is stale.
fn shown(world: &mut World) -> (Vec<u8>, bool) {
    match get(world) {
        Ok(OwnedReply::Entry(entry)) => (entry.value, entry.is_stale),
        other => panic!("{other:?}"),
    }
}

fn value(value: &[u8]) -> Loaded<'_> {
    Loaded::Value { value, ttl_ms: None, is_kept: true, etag: None }
}

/// Fills the key by a load that took so long.
fn load(world: &mut World, text: &[u8], takes_ms: u64) {
    let ticket = get(world).expect_err("it is missing");
    let loads = world.loads();
    world.now_ms += takes_ms;
    world.loaded(&loads[0], value(text));
    assert_eq!(world.wait(0, ticket).value(), Some(text));
}

#[test]
fn a_stale_entry_is_shown_while_one_load_makes_it_new() {
    let mut world = world(true, 0);
    load(&mut world, b"1", 1);
    assert_eq!(shown(&mut world), (b"1".to_vec(), false));
    world.now_ms += TTL_MS;
    for _ in 0..3 {
        assert_eq!(shown(&mut world), (b"1".to_vec(), true));
    }
    let loads = world.loads();
    assert_eq!(loads.len(), 1, "one load for all");
    world.loaded(&loads[0], value(b"2"));
    assert_eq!(shown(&mut world), (b"2".to_vec(), false));
    let counters = world.engines[0].counters();
    assert_eq!((counters.loads, counters.refreshes, counters.stale), (2, 1, 3));
    // A write meanwhile is newer than what comes.
    world.now_ms += TTL_MS;
    shown(&mut world);
    let loads = world.loads();
    assert!(matches!(submit(&mut world, set(b"ann", b"3")), Ok(OwnedReply::Stored(_))));
    world.loaded(&loads[0], value(b"old"));
    assert_eq!(shown(&mut world), (b"3".to_vec(), false));
    // What was deleted is not shown.
    world.now_ms += TTL_MS;
    assert_eq!(shown(&mut world), (b"3".to_vec(), true));
    assert_eq!(submit(&mut world, Command::Delete { key: b"ann", version: 0 }), Ok(OwnedReply::Miss));
    assert!(get(&mut world).is_err(), "it is loaded");
    world.validate();
}

#[test]
fn behind_the_first_window_it_is_shown_only_if_it_cannot_be_loaded() {
    let mut world = world(true, 0);
    load(&mut world, b"1", 1);
    let failure = Failure { status: Status::OriginFailed, message: "500".into(), retry_after_ms: 0 };
    world.now_ms += TTL_MS + REVALIDATE_MS;
    let waits = [get(&mut world).unwrap_err(), get(&mut world).unwrap_err()];
    let loads = world.loads();
    assert_eq!(loads.len(), 1);
    world.loaded(&loads[0], Loaded::Failed(&failure));
    for ticket in waits {
        match world.wait(0, ticket) {
            OwnedReply::Entry(entry) => assert_eq!((&*entry.value, entry.is_stale), (&b"1"[..], true)),
            other => panic!("{other:?}"),
        }
    }
    // It is asked for again the next time, and when the window is over nothing is left.
    let waits = get(&mut world).unwrap_err();
    let loads = world.loads();
    world.now_ms += ERROR_MS;
    world.loaded(&loads[0], Loaded::Failed(&failure));
    assert_eq!(world.wait(0, waits).failure(), Some(Status::OriginFailed));
    world.validate();
}

#[test]
fn what_the_origin_does_not_have_any_more_is_not_shown() {
    let mut world = world(true, 0);
    load(&mut world, b"1", 1);
    world.now_ms += TTL_MS;
    shown(&mut world);
    let loads = world.loads();
    world.loaded(&loads[0], Loaded::Absent);
    assert_eq!(get(&mut world), Ok(OwnedReply::Miss));
    world.now_ms += 60;
    assert!(get(&mut world).is_err(), "for as long as that is remembered");
    world.validate();
}

#[test]
fn without_an_origin_it_is_shown_to_whoever_does_not_fill_it() {
    let mut world = world(false, 0);
    assert_eq!(get(&mut world), Ok(OwnedReply::Miss));
    assert!(matches!(submit(&mut world, set(b"ann", b"1")), Ok(OwnedReply::Stored(_))));
    world.now_ms += TTL_MS + 300;
    assert_eq!(shown(&mut world), (b"1".to_vec(), true));
    let lease = Command::LeaseGet { key: b"ann", lease_ms: 5_000 };
    let Ok(OwnedReply::Leased { token, .. }) = submit(&mut world, lease) else { panic!("the first fills it") };
    for _ in 0..3 {
        match submit(&mut world, lease) {
            Ok(OwnedReply::Entry(entry)) => assert_eq!((&*entry.value, entry.is_stale), (&b"1"[..], true)),
            other => panic!("{other:?}"),
        }
    }
    let Command::Set(write) = set(b"ann", b"2") else { unreachable!() };
    assert!(matches!(submit(&mut world, Command::LeaseSet { write, token }), Ok(OwnedReply::Stored(_))));
    assert_eq!(shown(&mut world), (b"2".to_vec(), false));
    world.now_ms += TTL_MS + ERROR_MS;
    assert_eq!(get(&mut world), Ok(OwnedReply::Miss));
    world.validate();
}

#[test]
fn what_is_as_good_as_new_is_not_sent_again() {
    let mut world = world(true, 0);
    let ticket = get(&mut world).unwrap_err();
    let loads = world.loads();
    assert_eq!(loads[0].1.etag, None);
    world.loaded(&loads[0], Loaded::Value { value: b"1", ttl_ms: None, is_kept: true, etag: Some(b"\"x\"") });
    world.wait(0, ticket);
    world.now_ms += TTL_MS;
    shown(&mut world);
    let loads = world.loads();
    assert_eq!(loads[0].1.etag.as_deref(), Some(&b"\"x\""[..]));
    world.loaded(&loads[0], Loaded::Unchanged { ttl_ms: Some(300) });
    assert_eq!(shown(&mut world), (b"1".to_vec(), false));
    // Who waits for it is answered too.
    world.now_ms += 300 + REVALIDATE_MS;
    let waits = get(&mut world).unwrap_err();
    let loads = world.loads();
    assert!(loads[0].1.etag.is_some());
    world.loaded(&loads[0], Loaded::Unchanged { ttl_ms: None });
    assert_eq!(world.wait(0, waits).value(), Some(&b"1"[..]));
    // One that has left meanwhile is loaded whole, for the same caller.
    world.now_ms += TTL_MS + REVALIDATE_MS;
    let waits = get(&mut world).unwrap_err();
    let loads = world.loads();
    world.now_ms += ERROR_MS;
    world.loaded(&loads[0], Loaded::Unchanged { ttl_ms: None });
    let loads = world.loads();
    assert_eq!((loads.len(), &loads[0].1.etag), (1, &None));
    world.loaded(&loads[0], value(b"2"));
    assert_eq!(world.wait(0, waits).value(), Some(&b"2"[..]));
    // What was written in between is not what the origin has called so.
    world.now_ms += TTL_MS;
    assert!(matches!(submit(&mut world, set(b"ann", b"3")), Ok(OwnedReply::Stored(_))));
    world.now_ms += TTL_MS;
    shown(&mut world);
    assert_eq!(world.loads()[0].1.etag, None);
    world.validate();
}

#[test]
fn hot_keys_are_loaded_before_they_expire() {
    const TAKES_MS: u64 = 50;
    let mut early = 0;
    for seed in 0..200_u32 {
        let mut world = world(true, 100);
        world.random.seed(u64::from(seed));
        let key = seed.to_be_bytes();
        let get = |world: &mut World| submit(world, Command::Get { key: &key });
        let ticket = get(&mut world).unwrap_err();
        let loads = world.loads();
        world.now_ms += TAKES_MS;
        world.loaded(&loads[0], value(b"1"));
        world.wait(0, ticket);
        let expires_ms = world.now_ms + TTL_MS;
        while world.now_ms < expires_ms {
            assert!(matches!(get(&mut world), Ok(OwnedReply::Entry(entry)) if !entry.is_stale));
            if let [_load] = &world.loads()[..] {
                let left_ms = expires_ms - world.now_ms;
                assert!(left_ms < 18 * TAKES_MS, "{left_ms} ms before");
                early += 1;
                break;
            }
            world.now_ms += 5;
        }
        world.validate();
    }
    // A key that is got every 5 ms is as good as always loaded early; one without early refresh never is.
    assert!(early > 190, "{early} of 200");
    let mut world = world(true, 0);
    load(&mut world, b"1", TAKES_MS);
    for _ in 0..TTL_MS - 1 {
        shown(&mut world);
        assert!(world.loads().is_empty());
        world.now_ms += 1;
    }
}

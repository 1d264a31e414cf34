//! Groups that come, change and go on a running node.

use larder_engine::{Backlog, GroupPlan, Loaded, OriginSettings};
use larder_protocol::native::generated::StatsResult;
use larder_protocol::{Command, GroupAction, GroupAlteration, Request, Status};
use larder_ring::group_hash;

use crate::harness::{OwnedReply, START_MS, World, WorldSettings, plan, set};

const MIB: u64 = 1 << 20;

/// Two groups of 8 MiB on each shard.
fn world(seed: u64, shards: u16) -> World {
    let (budget_bytes, value_bytes_max) = (8 * MIB, 64 << 10);
    World::new(seed, WorldSettings { shards, budget_bytes, value_bytes_max, ..WorldSettings::default() })
}

fn set_groups(world: &mut World, plans: &[GroupPlan]) {
    for engine in &mut world.engines {
        engine.set_groups(plans).expect("they fit");
    }
    world.validate();
}

fn stats(world: &mut World) -> StatsResult {
    let OwnedReply::Stats(stats) = world.ask(0, Command::Stats) else { panic!() };
    stats
}

fn within(group: &str, command: Command<'static>) -> Request<'static> {
    Request { id: 0, epoch: 0, group: group_hash(group, 0), timeout_ms: 0, forwarded: false, command }
}

fn ask(world: &mut World, group: &str, command: Command<'static>) -> OwnedReply {
    match world.submit_request(0, within(group, command)) {
        Ok(reply) => reply,
        Err(ticket) => world.wait(0, ticket),
    }
}

/// Background work until there is none.
fn clean_up(world: &mut World) {
    for engine in &mut world.engines {
        while engine.background(world.now_ms, 1000) != Backlog::None {}
    }
    world.validate();
}

#[test]
fn groups_come_and_go_with_their_entries() {
    let mut world = world(1, 2);
    let default = plan("default", 8 * MIB);
    let first = [default.clone(), plan("scores", 8 * MIB), plan("faces", 16 * MIB)];
    assert_eq!(ask(&mut world, "faces", Command::Get { key: b"ann" }).failure(), Some(Status::NoSuchGroup));
    set_groups(&mut world, &first);
    for group in ["default", "scores", "faces"] {
        assert!(matches!(ask(&mut world, group, set(b"ann", b"7")), OwnedReply::Stored(_)), "{group}");
    }
    let names: Vec<String> = stats(&mut world).groups.into_iter().map(|group| group.name).collect();
    assert_eq!(names, ["default", "scores", "faces"]);
    // Without one of them, and with another of the same name as one of them.
    let second = [default.clone(), GroupPlan { identity: 9, ..plan("faces", 23 * MIB) }];
    set_groups(&mut world, &second);
    assert_eq!(ask(&mut world, "scores", Command::Get { key: b"ann" }).failure(), Some(Status::NoSuchGroup));
    assert_eq!(ask(&mut world, "faces", Command::Get { key: b"ann" }), OwnedReply::Miss);
    assert_eq!(ask(&mut world, "default", Command::Get { key: b"ann" }).value(), Some(&b"7"[..]));
    assert!(matches!(ask(&mut world, "faces", set(b"ann", b"8")), OwnedReply::Stored(_)));
    clean_up(&mut world);
    set_groups(&mut world, &[default, plan("more", MIB), second[1].clone()]);
    assert_eq!(ask(&mut world, "more", Command::Get { key: b"ann" }), OwnedReply::Miss);
    assert_eq!(ask(&mut world, "faces", Command::Get { key: b"ann" }).value(), Some(&b"8"[..]), "it stayed");
    let budgets: Vec<u64> = stats(&mut world).groups.iter().map(|group| group.budget_bytes / MIB).collect();
    assert_eq!(budgets.iter().sum::<u64>(), 8 + 23 + 1);
}

#[test]
fn groups_that_cannot_be_change_nothing() {
    let mut world = world(2, 1);
    let refused = world.engines[0].set_groups(&[plan("scores", MIB)]).unwrap_err();
    assert!(refused.to_string().contains("there is no group \"default\""), "{refused}");
    let twice = [plan("default", MIB), plan("a", MIB), plan("a", MIB)];
    let refused = world.engines[0].set_groups(&twice).unwrap_err();
    assert!(refused.to_string().contains("the groups \"a\" and \"a\" have the same hash"), "{refused}");
    assert!(matches!(ask(&mut world, "scores", set(b"ann", b"7")), OwnedReply::Stored(_)));
}

#[test]
fn a_lowered_budget_is_met_by_background_work_and_a_raised_one_is_used() {
    let mut world = world(4, 2);
    let value = [7; 1_000];
    for number in 0..20_000_u32 {
        assert!(matches!(world.ask(0, set(&number.to_be_bytes(), &value)), OwnedReply::Stored(_)));
    }
    let full = stats(&mut world).groups[0].bytes;
    assert!(full > 15 * MIB, "{full}");
    set_groups(&mut world, &[plan("default", 6 * MIB), plan("scores", 26 * MIB)]);
    let mut calls = 0;
    let now_ms = world.now_ms;
    for engine in &mut world.engines {
        while engine.background(now_ms, 256) == Backlog::Urgent {
            calls += 1;
        }
    }
    let group = stats(&mut world).groups[0].clone();
    assert!(group.bytes <= 6 * MIB && group.bytes > 5 * MIB && calls > 10, "{} bytes, {calls} calls", group.bytes);
    set_groups(&mut world, &[plan("default", 16 * MIB), plan("scores", 16 * MIB)]);
    for number in 0..20_000_u32 {
        world.ask(0, set(&number.to_be_bytes(), &value));
    }
    assert!(stats(&mut world).groups[0].bytes > 15 * MIB);
    world.validate();
}

/// Entries stay; a second change waits on each shard for the end of the first.
#[test]
fn a_policy_is_changed_and_all_entries_stay() {
    let mut world = world(5, 3);
    let keys: Vec<_> = (0..600_u32).map(u32::to_be_bytes).collect();
    for key in &keys {
        assert!(matches!(world.ask(0, set(key, b"value")), OwnedReply::Stored(_)));
        assert!(matches!(world.ask(1, Command::Get { key }), OwnedReply::Entry(_)));
    }
    for text in ["lfu", "s3_fifo:small=20%", "two_q"] {
        let mut default = plan("default", 24 * MIB);
        (default.settings.policy, default.settings.ttl_ms) = (text.parse().expect("a policy"), 60_000);
        set_groups(&mut world, &[default, plan("scores", 24 * MIB)]);
    }
    let group = |world: &mut World| stats(world).groups[0].clone();
    assert!(group(&mut world).switching > 0, "it takes its time");
    clean_up(&mut world);
    let after = group(&mut world);
    assert_eq!((&*after.policy, after.switching, after.entries), ("two_q", 0, 600), "the last that was asked for");
    let since = after.since_policy.clone().expect("it was changed");
    assert_eq!((after.hits, since.hits, since.entries), (600, 0, 600));
    for key in &keys {
        assert!(matches!(world.ask(2, Command::Get { key }), OwnedReply::Entry(_)));
    }
    let after = group(&mut world);
    assert_eq!((after.hits, after.since_policy.unwrap().hits), (1200, 600));
    world.ask(0, set(b"new", b"value"));
    let OwnedReply::Entry(new) = world.ask(0, Command::Get { key: b"new" }) else { panic!("it is there") };
    assert!((1..=60_000).contains(&new.ttl_ms), "the group has a time to live now: {}", new.ttl_ms);
    world.validate();
}

/// What is under way for a group when it is dropped is answered, not kept, and keeps its number from another group.
#[test]
fn who_waits_for_a_key_of_a_dropped_group_is_answered() {
    let origin = Some(OriginSettings { negative_ttl_ms: 1_000, ..OriginSettings::default() });
    let mut world = World::new(6, WorldSettings { shards: 1, origin, ..WorldSettings::default() });
    let scores = GroupPlan { origin, ..plan("scores", 8 * MIB) };
    let all = [plan("default", 8 * MIB), scores.clone()];
    set_groups(&mut world, &all);
    let get = world.submit_request(0, within("scores", Command::Get { key: b"ann" })).unwrap_err();
    let load = world.engines[0].next_load(START_MS).expect("it is loaded");
    let lease = Command::LeaseGet { key: b"bob", lease_ms: 5_000 };
    let holder = world.submit_request(0, within("scores", lease));
    assert!(matches!(holder, Ok(OwnedReply::Leased { .. })), "{holder:?}");
    let waits = world.submit_request(0, within("scores", lease)).unwrap_err();
    set_groups(&mut world, &all[..1]);
    assert_eq!(world.wait(0, waits).failure(), Some(Status::NoSuchGroup));
    clean_up(&mut world);
    // Another group that had its number would be given what comes now.
    set_groups(&mut world, &[plan("default", 8 * MIB), plan("more", 8 * MIB)]);
    let value = Loaded::Value { value: b"7", ttl_ms: None, is_kept: true, etag: None };
    let mut answers = Vec::new();
    let now_ms = world.now_ms;
    world.engines[0].loaded(load.flight, &value, now_ms, |ticket, reply| answers.push((ticket, OwnedReply::of(reply))));
    assert_eq!((answers.len(), answers[0].0, answers[0].1.value()), (1, get, Some(&b"7"[..])));
    assert!(stats(&mut world).groups.iter().all(|group| group.entries == 0));
    clean_up(&mut world);
    // What comes from where it came from before is not kept.
    set_groups(&mut world, &all);
    let get = world.submit_request(0, within("scores", Command::Get { key: b"ann" })).unwrap_err();
    let load = world.engines[0].next_load(START_MS).expect("it is loaded");
    let other =
        GroupPlan { origin: Some(OriginSettings { negative_ttl_ms: 5, ..OriginSettings::default() }), ..scores };
    set_groups(&mut world, &[all[0].clone(), other]);
    let mut count = 0;
    world.engines[0].loaded(load.flight, &value, now_ms, |ticket, _| count += u32::from(ticket == get));
    assert_eq!(count, 1);
    assert!(stats(&mut world).groups.iter().all(|group| group.entries == 0));
    world.validate();
}

/// Whoever keeps the groups of the node is told what is to become of them; no shard decides.
#[test]
fn what_is_to_become_of_groups_is_handed_out() {
    let mut world = world(7, 2);
    let alteration = GroupAlteration { name: "faces", action: GroupAction::Create, settings: "{}" };
    let ticket = world.submit(1, Command::AlterGroup(alteration)).unwrap_err();
    let order = world.engines[1].next_cluster_order().expect("it is handed out");
    let (group, action, settings) = ("faces".into(), GroupAction::Create, "{}".into());
    assert_eq!(order.what, larder_engine::ClusterOrderKind::Group { group, action, settings });
    assert_eq!(order.ticket, ticket);
    let (status, why) = (Status::TooLarge, "the groups have more".into());
    let outcome = larder_engine::ClusterOrderOutcome::Refused { status, why };
    let mut replies = Vec::new();
    world.engines[1].cluster_order_done(ticket, &outcome, |_, reply| replies.push(OwnedReply::of(reply)));
    let [OwnedReply::Failed(failure)] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!((failure.status, &*failure.message), (Status::TooLarge, "the groups have more"));
    let marked = Request { forwarded: true, ..within("default", Command::AlterGroup(alteration)) };
    let OwnedReply::Failed(failure) = world.submit_request(0, marked).unwrap() else { panic!() };
    assert_eq!(failure.status, Status::WrongOwner);
}

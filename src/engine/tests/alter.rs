//! Changes of groups on a running node.

use larder_engine::Backlog;
use larder_engine::limits::ALTERATIONS_MAX;
use larder_protocol::native::generated::{AlteredGroup, StatsResult};
use larder_protocol::{Command, GroupAlteration, Request, Status};

use crate::harness::{OwnedReply, World, WorldSettings, set};

const MIB: u64 = 1 << 20;

/// Two groups of 8 MiB on each shard.
fn world(seed: u64, shards: u16) -> World {
    let (budget_bytes, value_bytes_max) = (8 * MIB, 64 << 10);
    World::new(
        seed,
        WorldSettings { shards, budget_bytes, value_bytes_max, default_follows: true, ..WorldSettings::default() },
    )
}

fn alter(name: &str, mib: u64) -> Command<'_> {
    Command::AlterGroup(GroupAlteration { name, memory_bytes: Some(mib * MIB), policy: None })
}

/// Name, and MiB before and after, of what was changed.
fn changes(reply: OwnedReply) -> Vec<(String, u64, u64)> {
    let OwnedReply::Altered(AlteredGroup { changes, .. }) = reply else { panic!("{reply:?}") };
    changes.into_iter().map(|to| (to.name, to.memory_bytes_before / MIB, to.memory_bytes / MIB)).collect()
}

fn stats(world: &mut World) -> StatsResult {
    let OwnedReply::Stats(stats) = world.ask(0, Command::Stats) else { panic!() };
    stats
}

/// MiB of "default" and "scores".
fn budgets(world: &mut World) -> [u64; 2] {
    let groups = stats(world).groups;
    ["default", "scores"].map(|name| groups.iter().find(|group| group.name == name).unwrap().budget_bytes / MIB)
}

#[test]
fn every_shard_has_its_share_whoever_is_asked() {
    for shards in [1, 4] {
        let all = 8 * u64::from(shards);
        for at in 0..shards {
            let mut world = world(u64::from(at), shards);
            let (less, more) = (all / 2, all + all / 2);
            let altered = changes(world.ask(at, alter("scores", less)));
            assert_eq!(altered, [("scores".into(), all, less), ("default".into(), all, more)]);
            assert_eq!(budgets(&mut world), [more, less], "all shards have it when it is answered");
            let altered = changes(world.ask(at, alter("scores", more)));
            assert_eq!(altered, [("scores".into(), less, more), ("default".into(), more, less)]);
            assert_eq!(budgets(&mut world), [less, more]);
            world.validate();
        }
    }
}

#[test]
fn alterations_that_meet_come_to_the_same_on_every_shard() {
    for seed in 0..50 {
        let mut world = world(seed, 4);
        let mut waiting = Vec::new();
        for _ in 0..20 {
            let (at, mib) = (world.random.u16(0..4), world.random.u64(4..56));
            match world.submit(at, alter("scores", mib)) {
                Ok(reply) => drop(changes(reply)),
                Err(ticket) => waiting.push((at, ticket)),
            }
            if world.random.bool() {
                world.step();
            }
            let stalled = world.random.u16(0..4);
            world.stall(stalled, 3);
        }
        for (at, ticket) in waiting {
            assert!(!changes(world.wait(at, ticket)).is_empty(), "seed {seed}");
        }
        world.settle();
        world.validate();
        let shares = |world: &mut World, at| {
            let stats = Request { id: 0, epoch: 0, group: 0, timeout_ms: 0, forwarded: true, command: Command::Stats };
            let OwnedReply::Stats(stats) = world.submit_request(at, stats).unwrap() else { panic!() };
            stats.groups.into_iter().map(|group| group.budget_bytes).collect::<Vec<_>>()
        };
        let first = shares(&mut world, 0);
        assert_eq!(first.iter().sum::<u64>(), 16 * MIB, "seed {seed}: default has what scores leaves");
        for at in 1..4 {
            assert_eq!(shares(&mut world, at), first, "seed {seed}: shard {at}");
        }
    }
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    for at in 0..2 {
        let mut world = world(1, 2);
        for (command, status, part) in [
            (alter("sores", 4), Status::NoSuchGroup, "\"sores\"; this node has default, scores"),
            (alter("scores", 33), Status::TooLarge, "more than the 32MiB of this node: 33MiB (scores) = 33MiB"),
            (alter("scores", 32), Status::BadRequest, "group \"default\" would have 0B"),
            (alter("scores", 0), Status::BadRequest, "group \"scores\" would have 0B"),
            (
                Command::AlterGroup(GroupAlteration { name: "scores", memory_bytes: None, policy: None }),
                Status::BadRequest,
                "name its memory or its policy",
            ),
        ] {
            let OwnedReply::Failed(failure) = world.ask(at, command) else { panic!("{command:?}") };
            assert_eq!(failure.status, status, "{}", failure.message);
            assert!(failure.message.contains(part), "{}", failure.message);
        }
        assert_eq!(budgets(&mut world), [16, 16]);
        let marked = Request { id: 0, epoch: 0, group: 0, timeout_ms: 0, forwarded: true, command: alter("scores", 4) };
        let OwnedReply::Failed(failure) = world.submit_request(at, marked).unwrap() else { panic!() };
        assert_eq!(failure.status, Status::WrongOwner, "a client cannot speak for the administrator");
        assert_eq!(budgets(&mut world), [16, 16]);
    }
}

#[test]
fn who_asks_in_vain_is_told_and_the_change_is_made_all_the_same() {
    let mut world = world(2, 3);
    world.stall(2, 5_000);
    let request =
        Request { id: 0, epoch: 0, group: 0, timeout_ms: 100, forwarded: false, command: alter("scores", 12) };
    let ticket = world.submit_request(1, request).unwrap_err();
    assert_eq!(world.wait(1, ticket).failure(), Some(Status::DeadlineExceeded));
    world.settle();
    world.validate();
    assert_eq!(budgets(&mut world), [36, 12]);
}

#[test]
fn the_administrator_waits_for_a_bounded_number() {
    let mut world = world(3, 3);
    world.stall(2, 1_000);
    let asked = 2 * ALTERATIONS_MAX;
    let tickets: Vec<_> = (0..asked).map(|_| world.submit(1, alter("scores", 12)).unwrap_err()).collect();
    let replies: Vec<_> = tickets.into_iter().map(|ticket| world.wait(1, ticket)).collect();
    let refused = replies.iter().filter(|reply| reply.failure() == Some(Status::Overloaded)).count();
    assert_eq!(refused, asked - ALTERATIONS_MAX);
    world.settle();
    world.validate();
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
    assert_eq!(changes(world.ask(1, alter("scores", 26)))[1], ("default".into(), 16, 6));
    let mut calls = 0;
    let now_ms = world.now_ms;
    for engine in &mut world.engines {
        while engine.background(now_ms, 256) == Backlog::Urgent {
            calls += 1;
        }
    }
    let group = stats(&mut world).groups[0].clone();
    assert!(group.bytes <= 6 * MIB && group.bytes > 5 * MIB && calls > 10, "{} bytes, {calls} calls", group.bytes);
    changes(world.ask(1, alter("scores", 16)));
    for number in 0..20_000_u32 {
        world.ask(0, set(&number.to_be_bytes(), &value));
    }
    assert!(stats(&mut world).groups[0].bytes > 15 * MIB);
    world.validate();
}

/// On all shards, and entries stay; a second change waits on each shard for the end of the first.
#[test]
fn a_policy_is_changed_on_all_shards_and_all_entries_stay() {
    let mut world = world(5, 3);
    let keys: Vec<_> = (0..600_u32).map(u32::to_be_bytes).collect();
    for key in &keys {
        assert!(matches!(world.ask(0, set(key, b"value")), OwnedReply::Stored(_)));
        assert!(matches!(world.ask(1, Command::Get { key }), OwnedReply::Entry(_)));
    }
    let policy =
        |text| Command::AlterGroup(GroupAlteration { name: "default", memory_bytes: None, policy: Some(text) });
    let OwnedReply::Failed(failure) = world.ask(2, policy("best")) else { panic!("there is no such policy") };
    assert_eq!(failure.status, Status::BadRequest);
    assert!(failure.message.contains("policy of group \"default\": there is no policy \"best\"; choose one of fifo"));
    for (text, before) in [("lfu", "lru"), ("s3_fifo:small=20%", "lfu"), ("two_q", "s3_fifo:small=20%")] {
        let OwnedReply::Altered(altered) = world.ask(1, policy(text)) else { panic!("{text}") };
        let [change] = &altered.changes[..] else { panic!("{altered:?}") };
        assert_eq!((&*change.policy, &*change.policy_before), (text, before));
        assert_eq!(change.memory_bytes, change.memory_bytes_before);
    }
    world.settle();
    let now_ms = world.now_ms;
    let group = |world: &mut World| stats(world).groups[0].clone();
    assert!(group(&mut world).switching > 0, "it takes its time");
    for _ in 0..100 {
        world.engines.iter_mut().for_each(|engine| _ = engine.background(now_ms, 64));
    }
    let after = group(&mut world);
    assert_eq!((&*after.policy, after.switching, after.entries), ("two_q", 0, 600), "the last that was asked for");
    let since = after.since_policy.clone().expect("it was changed");
    assert_eq!((after.hits, since.hits, since.entries), (600, 0, 600));
    for key in &keys {
        assert!(matches!(world.ask(2, Command::Get { key }), OwnedReply::Entry(_)));
    }
    let after = group(&mut world);
    assert_eq!((after.hits, after.since_policy.unwrap().hits), (1200, 600));
    world.validate();
}

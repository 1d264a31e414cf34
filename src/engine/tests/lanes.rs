//! The lanes themselves: order, bounds, and that nothing ever stands still.

use std::sync::Arc;

use larder_engine::limits::{BATCH_HEADER_BYTES, LANE_BATCHES_MAX, LANE_BATCHES_RESERVED, LANE_CREDITS};
use larder_engine::{Lane, Outgoing, Ticket};
use larder_protocol::{Command, Expiry, Reply};

use crate::harness::{OwnedReply, START_MS, World, WorldSettings, scaled, set};

#[test]
fn requests_about_one_key_are_executed_in_order() {
    for seed in 0..scaled(100) as u64 {
        let mut world = World::new(seed, WorldSettings { shards: 2, delay_ms_max: 20, ..WorldSettings::default() });
        let key = world.key_of(1, "k");
        let mut tickets = Vec::new();
        for number in 0..200u32 {
            // Long ones travel in buffers of their own, between short ones.
            let len = if number % 7 == 0 { 9_000 } else { 10 };
            let value: Vec<u8> = number.to_be_bytes().into_iter().cycle().take(len).collect();
            tickets.push((None, world.submit(0, set(&key, &value)).unwrap_err()));
            tickets.push((Some(value), world.submit(0, Command::Get { key: &key }).unwrap_err()));
            if number % 10 == 0 {
                world.step();
            }
        }
        for (expected, ticket) in tickets {
            let reply = world.wait(0, ticket);
            assert_eq!(reply.value().map(<[u8]>::to_vec), expected, "seed {seed}");
        }
    }
}

/// Two shards that never receive while they send: every lane is filled to its bound in both directions at once, with
/// replies that each need a batch, and still everything is answered.
#[test]
fn full_lanes_in_both_directions_do_not_stand_still() {
    for seed in 0..scaled(60) as u64 {
        let mut world = World::new(seed, WorldSettings { shards: 2, delay_ms_max: 0, ..WorldSettings::default() });
        let keys = [world.key_of(1, "far"), world.key_of(0, "far")];
        for at in [0, 1] {
            world.ask(at, set(&keys[usize::from(at)], &[5; 5_000]));
        }
        world.settle();
        let mut asked = 0;
        for round in 0..LANE_CREDITS / 4 {
            for at in [0, 1] {
                if world.submit(at, Command::Get { key: &keys[usize::from(at)] }).is_err() {
                    asked += 1;
                }
                // One request per batch, as long as the lane takes it.
                world.send(at);
            }
            if world.random.usize(0..200) == 0 {
                let (shard, for_ms) = (world.random.u16(0..2), world.random.u64(1..50));
                world.stall(shard, for_ms);
                world.step();
            }
            if round % 256 == 0 {
                world.validate();
            }
        }
        assert!(world.most_in_lane >= LANE_BATCHES_MAX - LANE_BATCHES_RESERVED, "seed {seed}: {}", world.most_in_lane);
        world.settle();
        assert_eq!(world.answers.len(), asked, "seed {seed}");
        world.validate();
    }
}

#[test]
fn a_lane_never_holds_more_than_its_bound() {
    let mut world = World::new(1, WorldSettings { shards: 2, ..WorldSettings::default() });
    let key = world.key_of(1, "far");
    world.ask(0, set(&key, &[1; 5_000]));
    world.settle();
    let mut requests = Vec::new();
    let mut asked = 0;
    while let Err(_ticket) = world.submit(0, Command::Get { key: &key }) {
        asked += 1;
        requests.extend(core::iter::from_fn(|| world.engines[0].next_batch()));
    }
    assert_eq!(asked, LANE_CREDITS);
    assert_eq!(requests.len(), LANE_BATCHES_MAX - LANE_BATCHES_RESERVED, "the rest is held back");
    for Outgoing { lane, batch, .. } in requests {
        world.engines[1].receive(0, lane, &batch, START_MS, nobody);
    }
    let replies: Vec<_> = core::iter::from_fn(|| world.engines[1].next_batch()).collect();
    assert!(replies.iter().all(|outgoing| outgoing.lane == Lane::Replies));
    assert!(replies.len() <= LANE_BATCHES_MAX, "{} batches of replies", replies.len());
    let mut answered = 0;
    for Outgoing { lane, batch, .. } in replies {
        world.engines[0].receive(1, lane, &batch, START_MS, |_, _| answered += 1);
    }
    world.settle();
    assert_eq!(answered + world.answers.len(), LANE_CREDITS);
    world.validate();
    assert_eq!(world.engines[0].unanswered(), 0, "what was held back has gone out");
}

#[test]
fn a_quiet_node_says_nothing() {
    let mut world = World::new(2, WorldSettings { shards: 4, ..WorldSettings::default() });
    let keys: Vec<_> = (0..4).map(|shard| world.key_of(shard, "k")).collect();
    for number in 0..2_000 {
        world.ask(number % 4, Command::Get { key: &keys[usize::from((number + 1) % 4)] });
    }
    world.settle();
    let delivered = world.delivered;
    for _ in 0..1_000 {
        world.step();
    }
    assert_eq!(world.delivered, delivered, "confirmations of confirmations die out");
    assert!(delivered <= 4_000 + 4_000 / 16, "{delivered} batches for 2000 requests and replies");
}

#[test]
fn callers_of_one_key_on_all_shards_see_one_counter() {
    for seed in 0..scaled(40) as u64 {
        let mut world = World::new(seed, WorldSettings { shards: 8, delay_ms_max: 10, ..WorldSettings::default() });
        let increment = Command::Increment { key: b"n", delta: 1, initial: Some(1), expiry: Expiry::Never };
        let mut numbers = Vec::new();
        for _ in 0..1_000 {
            let at = world.random.u16(0..8);
            if let Ok(OwnedReply::Number(number, _)) = world.submit(at, increment) {
                numbers.push(number);
            }
            if world.random.u8(0..3) == 0 {
                world.step();
            }
        }
        world.settle();
        for (_, _, reply) in &world.answers {
            match reply {
                OwnedReply::Number(number, _) => numbers.push(*number),
                other => panic!("seed {seed}: {other:?}"),
            }
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=1_000).collect::<Vec<i64>>(), "seed {seed}: each number once");
    }
}

#[test]
#[should_panic(expected = "answers no request")]
fn a_reply_that_was_not_asked_for_is_a_broken_invariant() {
    let mut world = World::new(3, WorldSettings { shards: 3, ..WorldSettings::default() });
    let key = world.key_of(1, "k");
    world.submit(0, Command::Get { key: &key }).unwrap_err();
    let request = world.engines[0].next_batch().unwrap();
    world.engines[1].receive(0, request.lane, &request.batch, START_MS, nobody);
    let reply = world.engines[1].next_batch().unwrap();
    let mut misled = reply.batch;
    misled[..BATCH_HEADER_BYTES].fill(0);
    world.engines[0].receive(2, reply.lane, &misled, START_MS, nobody);
}

#[test]
fn buffers_go_round() {
    let mut world = World::new(4, WorldSettings { shards: 2, delay_ms_max: 0, ..WorldSettings::default() });
    let key = world.key_of(1, "k");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..1_000 {
        world.submit(0, Command::Get { key: &key }).unwrap_err();
        let mut answered = 0;
        for at in [0usize, 1] {
            while let Some(Outgoing { to, lane, batch }) = world.engines[at].next_batch() {
                seen.insert(batch.as_ptr() as usize);
                let to = &mut world.engines[usize::from(to)];
                to.receive(at as u16, lane, &batch, START_MS, |_, _| answered += 1);
                to.recycle(batch);
            }
        }
        assert_eq!(answered, 1);
    }
    assert!(seen.len() <= 4, "{} buffers for one request at a time", seen.len());
    assert_eq!(Arc::strong_count(world.engines[0].topology()), 2, "one topology for all");
}

/// Takes the answers of a shard that has asked for nothing.
fn nobody(ticket: Ticket, _: &Reply<'_>) {
    panic!("nobody waits for {ticket:?}");
}

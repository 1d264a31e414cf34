//! What is executed here allocates nothing, and what crosses cores allocates nothing once its buffers are there.

use allocation_counter::{AllocationInfo, measure};
use larder_engine::{Outgoing, Submission};
use larder_protocol::{Command, Condition, Expiry, Reply, Request, TouchCondition, Value};

use crate::harness::{Batch, START_MS, World, WorldSettings, set, set_if};

fn request(command: Command<'_>) -> Request<'_> {
    Request { id: 1, epoch: 1, group: 0, timeout_ms: 0, forwarded: false, command }
}

fn none(info: AllocationInfo, what: &str) {
    assert_eq!(info.count_total, 0, "{what}: {info:?}");
}

#[test]
fn what_is_executed_here_allocates_nothing() {
    let mut world = World::new(1, WorldSettings::default());
    let keys: Vec<_> = (0..200).map(|number| format!("k{number}")).collect();
    let own: Vec<_> = keys.iter().filter(|key| world.owner(key.as_bytes()) == 0).map(String::as_bytes).collect();
    for key in &own {
        world.ask(0, set(key, b"value"));
    }
    let (key, batch, absent) = (own[0], Batch::of_keys(&own), world.key_of(0, "absent"));
    let engine = &mut world.engines[0];
    for round in 0..2 {
        let mut check = |what: &str, command: Command<'_>, right: fn(&Reply<'_>) -> bool| {
            let mut is_right = false;
            let info = measure(|| {
                is_right = match engine.submit(&request(command), START_MS) {
                    Submission::Done(reply) => right(&reply),
                    Submission::Pending(_) => false,
                };
            });
            assert!(is_right, "{what}");
            // The first time grows memory that is reused.
            if round > 0 {
                none(info, what);
            }
        };
        check(
            "a hit",
            Command::Get { key },
            |reply| matches!(reply, Reply::Entry(entry) if entry.value == Value::Whole(b"value")),
        );
        check("a miss", Command::Get { key: &absent }, |reply| matches!(reply, Reply::Miss));
        let touch = Command::GetAndTouch { key, expiry: Expiry::Never };
        check("get_and_touch", touch, |reply| matches!(reply, Reply::Entry(_)));
        check("a touch", Command::Touch { key, expiry: Expiry::Never, only: TouchCondition::Always }, |reply| {
            matches!(reply, Reply::Stored { .. })
        });
        check("exists", set_if(key, b"v", Condition::Absent), |reply| matches!(reply, Reply::Failed(_)));
        check("a stale delete", Command::Delete { key, version: 1 }, |reply| matches!(reply, Reply::Failed(_)));
        let all_found = |reply: &Reply<'_>| match reply {
            Reply::Entries(entries) => (0..entries.len()).all(|index| entries.entry(index).is_ok()),
            _ => false,
        };
        check("get_many", batch.get(), all_found);
    }
}

/// Delivers all batches between two engines until there is none; how many answers they had.
fn exchange(world: &mut World) -> usize {
    let mut answers = 0;
    loop {
        let mut is_quiet = true;
        for at in [0usize, 1] {
            while let Some(Outgoing { to, lane, batch }) = world.engines[at].next_batch() {
                let to = &mut world.engines[usize::from(to)];
                to.receive(at as u16, lane, &batch, START_MS, |_, _| answers += 1);
                to.recycle(batch);
                is_quiet = false;
            }
        }
        if is_quiet {
            return answers;
        }
    }
}

#[test]
fn what_crosses_cores_reuses_its_buffers() {
    let mut world = World::new(2, WorldSettings { shards: 2, delay_ms_max: 0, ..WorldSettings::default() });
    let all: Vec<_> = (100..1000).map(|number| format!("k{number}")).collect();
    let (own, others): (Vec<_>, Vec<_>) = all.iter().partition(|key| world.owner(key.as_bytes()) == 0);
    let keys = [&own[..25], &others[..25]].concat();
    world.ask(0, Batch::of_values(keys.iter().map(|key| (key, "value"))).set());
    world.settle();
    let far = [keys[25].as_bytes(), keys[0].as_bytes()];
    let batch = Batch::of_keys(&keys);
    // Both ask the other the same, so that buffers come back as they go.
    let round = |world: &mut World| {
        for number in 0..40 {
            let (engine, far) = (&mut world.engines[number % 2], far[number % 2]);
            for command in [Command::Get { key: far }, batch.get()] {
                assert!(matches!(engine.submit(&request(command), START_MS), Submission::Pending(_)));
            }
        }
        assert_eq!(exchange(world), 80);
    };
    for _ in 0..20 {
        round(&mut world);
    }
    none(measure(|| round(&mut world)), "a round of gets and get_manys");
    world.validate();
}

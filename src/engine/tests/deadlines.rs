//! Requests whose time is up, and callers that are gone.

use larder_engine::limits::{EXPIRE_STEPS_MAX, RUN_MAX};
use larder_protocol::{Command, Condition, Expiry, Request, Status, TouchCondition};

use crate::harness::{Batch, OwnedReply, START_MS, World, WorldSettings, set, set_if};

/// A world whose second shard does nothing for a minute.
fn stalled() -> (World, Vec<u8>) {
    let settings = WorldSettings { shards: 2, timeout_ms_default: 500, ..WorldSettings::default() };
    let mut world = World::new(1, settings);
    let key = world.key_of(1, "far");
    world.stall(1, 60_000);
    (world, key)
}

#[test]
fn late_is_unknown_unless_it_is_harmless_to_repeat() {
    let (mut world, key) = stalled();
    let key = &key[..];
    let initial = Some(1);
    let cases = [
        (Command::Get { key }, Status::DeadlineExceeded),
        (set(key, b"v"), Status::DeadlineExceeded),
        (set_if(key, b"v", Condition::Absent), Status::OutcomeUnknown),
        (Command::Delete { key, version: 0 }, Status::DeadlineExceeded),
        (Command::Delete { key, version: 9 }, Status::OutcomeUnknown),
        (Command::Append { key, value: b"v" }, Status::OutcomeUnknown),
        (Command::Prepend { key, value: b"v" }, Status::OutcomeUnknown),
        (Command::Increment { key, delta: 1, initial, expiry: Expiry::Default }, Status::OutcomeUnknown),
        (Command::Touch { key, expiry: Expiry::Never, only: TouchCondition::Always }, Status::DeadlineExceeded),
        (Command::Stats, Status::DeadlineExceeded),
        (Command::Invalidate, Status::DeadlineExceeded),
    ];
    for (command, status) in cases {
        assert_eq!(world.ask(0, command).failure(), Some(status), "{command:?}");
    }
    assert_eq!(world.engines[0].counters().deadline_exceeded, cases.len() as u64);
    assert_eq!(world.engines[0].unanswered(), cases.len(), "the credits are still in use");
    world.validate();
    world.settle();
    world.validate();
    assert_eq!(world.engines[0].unanswered(), 0, "late replies give the credits back");
    assert!(world.answers.is_empty(), "and answer nobody: {:?}", world.answers);
}

#[test]
fn keys_that_were_answered_in_time_keep_their_results() {
    let settings = WorldSettings { shards: 3, timeout_ms_default: 100, ..WorldSettings::default() };
    let mut world = World::new(2, settings);
    let (own, near, far) = (world.key_of(0, "own"), world.key_of(1, "near"), world.key_of(2, "far"));
    world.stall(2, 1_000);
    let mut batch = Batch::of_values([(&own, "1"), (&near, "2"), (&far, "3")]);
    batch.push_write(&far, b"4", Condition::Present);
    match world.ask(0, batch.set()) {
        OwnedReply::Outcomes(outcomes) => {
            assert!(outcomes[0].is_ok() && outcomes[1].is_ok(), "{outcomes:?}");
            assert_eq!(outcomes[2..], [Err(Status::DeadlineExceeded), Err(Status::OutcomeUnknown)]);
        }
        other => panic!("{other:?}"),
    }
    match world.ask(0, Batch::of_keys([&own, &near, &far]).get()) {
        OwnedReply::Entries(entries) => {
            assert!(entries[0].is_ok() && entries[1].is_ok(), "{entries:?}");
            assert_eq!(entries[2], Err(Status::DeadlineExceeded));
        }
        other => panic!("{other:?}"),
    }
    world.validate();
    world.settle();
    world.validate();
}

#[test]
fn the_earliest_deadline_is_the_time_to_wake() {
    let (mut world, key) = stalled();
    let get = |timeout_ms| Request {
        id: 0,
        epoch: 0,
        group: 0,
        timeout_ms,
        forwarded: false,
        command: Command::Get { key: &key },
    };
    assert_eq!(world.engines[0].next_wake_ms(), None);
    world.submit_request(0, get(0)).unwrap_err();
    assert_eq!(world.engines[0].next_wake_ms(), Some(START_MS + 500), "the default");
    let soon = world.submit_request(0, get(20)).unwrap_err();
    assert_eq!(world.engines[0].next_wake_ms(), Some(START_MS + 20));
    world.submit_request(0, get(u32::MAX)).unwrap_err();
    world.engines[0].wake(START_MS + 19, |ticket, _| panic!("{ticket:?} has time left"));
    let mut answered = Vec::new();
    world.engines[0].wake(START_MS + 20, |ticket, reply| answered.push((ticket, OwnedReply::of(reply).failure())));
    assert_eq!(answered, [(soon, Some(Status::DeadlineExceeded))]);
    assert_eq!(world.engines[0].next_wake_ms(), Some(START_MS + 500));
}

#[test]
fn the_remaining_time_travels_in_a_frame() {
    let (mut world, key) = stalled();
    world.submit(0, Command::Append { key: &key, value: b"v" }).unwrap_err();
    let outgoing = world.engines[0].next_batch().unwrap();
    const RECORD_HEADER_BYTES: usize = 8;
    let frame = &outgoing.batch[larder_engine::limits::BATCH_HEADER_BYTES + RECORD_HEADER_BYTES..];
    let mut scratch = larder_protocol::native::Scratch::default();
    let request = larder_protocol::native::decode_request(&frame[4..], &mut scratch).unwrap();
    assert_eq!((request.timeout_ms, request.forwarded, request.epoch), (500, true, 1));
}

#[test]
fn waking_is_bounded() {
    let (mut world, key) = stalled();
    world.submit(0, Command::Get { key: &key }).unwrap_err();
    world.engines[0].next_caller();
    for _ in 1..EXPIRE_STEPS_MAX + RUN_MAX {
        world.submit(0, Command::Get { key: &key }).unwrap_err();
    }
    let engine = &mut world.engines[0];
    let mut answered = 0;
    engine.wake(START_MS + 1000, |_, _| answered += 1);
    assert!((EXPIRE_STEPS_MAX..EXPIRE_STEPS_MAX + RUN_MAX).contains(&answered), "{answered} are late at once");
    assert_eq!(engine.counters().deadline_exceeded, answered as u64);
    assert!(engine.next_wake_ms().is_some_and(|at_ms| at_ms <= START_MS + 1000), "there is more");
    engine.wake(START_MS + 1000, |_, _| answered += 1);
    assert_eq!((answered, engine.next_wake_ms()), (EXPIRE_STEPS_MAX + RUN_MAX, None));
}

#[test]
fn nothing_is_reported_to_who_is_gone() {
    let mut world = World::new(3, WorldSettings::default());
    let key = world.key_of(1, "k");
    let keys: Vec<_> = (0..50).map(|number| format!("key {number}")).collect();
    world.ask(0, Batch::of_values(keys.iter().map(|key| (key, "v"))).set());
    let single = world.submit(0, set(&key, b"v")).unwrap_err();
    let many = world.submit(0, Batch::of_keys(&keys).get()).unwrap_err();
    let all = world.submit(0, Command::Stats).unwrap_err();
    let kept = world.submit(0, Command::Get { key: &key }).unwrap_err();
    for ticket in [single, many, all, single] {
        world.engines[0].cancel(ticket);
        world.validate();
    }
    let reused = world.submit(0, Command::Get { key: &key }).unwrap_err();
    assert!([single, many, all].iter().any(|gone| gone.index() == reused.index()), "the place is free");
    assert_eq!(world.wait(0, kept).value(), Some(&b"v"[..]), "what was cancelled is executed all the same");
    assert_eq!(world.wait(0, reused).value(), Some(&b"v"[..]));
    world.settle();
    assert!(world.answers.is_empty(), "{:?}", world.answers);
    world.validate();
}

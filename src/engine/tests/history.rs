//! Random callers on every shard, and the check that each key's history is the one of a plain map.
//!
//! Each caller has keys of its own, so for every key the order of submission is known; the operations on a key must
//! have been executed in that order, except those that were refused. Of an operation that came too late both are
//! possible, executed or not, but never anything else, and never later than what was submitted after it.

use std::collections::{BTreeSet, HashMap};

use larder_engine::Ticket;
use larder_engine::limits::LANE_BATCHES_MAX;
use larder_protocol::{Command, Condition, Expiry, Request, Status, TouchCondition};

use crate::harness::{Batch, OwnedEntry, OwnedReply, World, WorldSettings, scaled, set_if};

/// What was asked of one key.
#[derive(Clone, Debug)]
enum Operation {
    Get,
    Set(Vec<u8>, Condition),
    Delete(u64),
    Append(Vec<u8>),
    Prepend(Vec<u8>),
    Increment(i64, Option<i64>),
    Touch,
    GetAndTouch,
}

/// What was answered for it.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Found(Vec<u8>, u64),
    Miss,
    Stored(u64),
    Deleted,
    Number(i64, u64),
    Refused(Status),
    /// OVERLOADED: not executed.
    Shed,
    /// DEADLINE_EXCEEDED or OUTCOME_UNKNOWN.
    Late,
}

/// One operation on one key.
struct Step {
    operation: Operation,
    outcome: Option<Outcome>,
}

/// A key, and the number of a step of it.
type Place = (Vec<u8>, usize);

/// What may be under a key: nothing, or a value with its version (0: stored by an operation whose answer was lost).
type State = Option<(Vec<u8>, u64)>;

/// Everything that was asked, by key and in order, and who waits for which answers.
#[derive(Default)]
struct History {
    keys: HashMap<Vec<u8>, Vec<Step>>,
    pending: HashMap<(u16, Ticket), Vec<Place>>,
    /// Versions that were seen under a key.
    versions: HashMap<Vec<u8>, u64>,
    sheds: usize,
    lates: usize,
    answers: usize,
}

impl History {
    fn begin(&mut self, key: &[u8], operation: Operation) -> Place {
        let steps = self.keys.entry(key.to_vec()).or_default();
        steps.push(Step { operation, outcome: None });
        (key.to_vec(), steps.len() - 1)
    }

    fn end(&mut self, places: Vec<Place>, reply: &OwnedReply) {
        self.answers += 1;
        for (index, (key, place)) in places.into_iter().enumerate() {
            let outcome = outcome(reply, index);
            match outcome {
                Outcome::Shed => self.sheds += 1,
                Outcome::Late => self.lates += 1,
                Outcome::Found(_, version) | Outcome::Stored(version) | Outcome::Number(_, version) => {
                    self.versions.insert(key.clone(), version);
                }
                _ => {}
            }
            let step = &mut self.keys.get_mut(&key).unwrap()[place];
            assert!(step.outcome.is_none(), "answered twice: {:?}", step.operation);
            step.outcome = Some(outcome);
        }
    }

    fn check(&self, what: &str) {
        assert!(self.pending.is_empty(), "{what}: {} requests were never answered", self.pending.len());
        for (key, steps) in &self.keys {
            check_key(steps, &format!("{what}, key {}", String::from_utf8_lossy(key)));
        }
    }
}

fn outcome(reply: &OwnedReply, index: usize) -> Outcome {
    let of_status = |status| match status {
        Status::NotFound => Outcome::Miss,
        Status::Overloaded => Outcome::Shed,
        Status::DeadlineExceeded | Status::OutcomeUnknown => Outcome::Late,
        status => Outcome::Refused(status),
    };
    let found = |entry: &OwnedEntry| Outcome::Found(entry.value.clone(), entry.version);
    match reply {
        OwnedReply::Done => Outcome::Deleted,
        OwnedReply::Miss => Outcome::Miss,
        OwnedReply::Entry(entry) => found(entry),
        OwnedReply::Entries(entries) => entries[index].as_ref().map_or_else(|status| of_status(*status), found),
        OwnedReply::Stored(version) | OwnedReply::Resized(version, _) => Outcome::Stored(*version),
        OwnedReply::Outcomes(outcomes) => match outcomes[index] {
            Ok(0) => Outcome::Deleted,
            Ok(version) => Outcome::Stored(version),
            Err(status) => of_status(status),
        },
        OwnedReply::Number(value, version) => Outcome::Number(*value, *version),
        OwnedReply::Failed(failure) => of_status(failure.status),
        other => panic!("{other:?} answers no operation on a key"),
    }
}

/// Replays the operations on one key against every state that it can be in.
fn check_key(steps: &[Step], what: &str) {
    let mut states: BTreeSet<State> = BTreeSet::from([None]);
    let mut newest = 0;
    for (number, Step { operation, outcome }) in steps.iter().enumerate() {
        let outcome = outcome.as_ref().unwrap();
        if let Outcome::Stored(version) | Outcome::Number(_, version) = outcome {
            let rises = !matches!(operation, Operation::Touch);
            assert!(*version > newest || !rises, "{what}, step {number}: version {version:#x} after {newest:#x}");
            newest = newest.max(*version);
        }
        let mut after = BTreeSet::new();
        for state in &states {
            match outcome {
                Outcome::Shed => {
                    after.insert(state.clone());
                }
                Outcome::Late => {
                    after.insert(state.clone());
                    after.insert(apply(state, operation, 0).0);
                }
                _ => after.extend(follow(state, operation, outcome)),
            }
        }
        let before = &steps[number.saturating_sub(4)..number];
        let before: Vec<_> = before.iter().map(|step| (&step.operation, &step.outcome)).collect();
        assert!(
            !after.is_empty(),
            "{what}, step {number}: {operation:?} cannot be answered {outcome:?} in any of {states:?}; before: {before:?}"
        );
        states = after;
    }
}

/// The state after an operation that was answered so; `None`: it cannot have been.
fn follow(state: &State, operation: &Operation, outcome: &Outcome) -> Option<State> {
    // An answer names the version of what an unanswered operation had stored.
    let mut state = state.clone();
    if let (Some((_, version @ 0)), Outcome::Found(_, named)) = (&mut state, outcome) {
        *version = *named;
    }
    if let (Some((_, version @ 0)), Operation::Touch, Outcome::Stored(named)) = (&mut state, operation, outcome) {
        *version = *named;
    }
    let version = match outcome {
        Outcome::Stored(version) | Outcome::Number(_, version) => *version,
        _ => 0,
    };
    let (after, expected) = apply(&state, operation, version);
    (expected == *outcome).then_some(after)
}

/// What an operation does to a key.
fn apply(state: &State, operation: &Operation, version: u64) -> (State, Outcome) {
    let miss = (None, Outcome::Miss);
    let refused = |status| (state.clone(), Outcome::Refused(status));
    let stored = |value: Vec<u8>| (Some((value, version)), Outcome::Stored(version));
    match (operation, state) {
        (Operation::Get | Operation::GetAndTouch, Some((value, version))) => {
            (state.clone(), Outcome::Found(value.clone(), *version))
        }
        (Operation::Set(_, Condition::Absent), Some(_)) => refused(Status::Exists),
        (Operation::Set(_, Condition::Version(wanted)), Some((_, found))) if wanted != found => {
            refused(Status::VersionMismatch)
        }
        (Operation::Set(_, Condition::Present | Condition::Version(_)), None) => miss,
        (Operation::Set(value, _), _) => stored(value.clone()),
        (Operation::Delete(wanted), Some((_, found))) if *wanted != 0 && wanted != found => {
            refused(Status::VersionMismatch)
        }
        (Operation::Delete(_), Some(_)) => (None, Outcome::Deleted),
        (Operation::Append(added), Some((value, _))) => stored([value.as_slice(), added].concat()),
        (Operation::Prepend(added), Some((value, _))) => stored([added.as_slice(), value].concat()),
        (Operation::Touch, Some((_, version))) => (state.clone(), Outcome::Stored(*version)),
        (Operation::Increment(delta, _), Some((value, _))) => {
            let text = std::str::from_utf8(value).unwrap_or("");
            let number = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
            match number.map(|number| number.checked_add(*delta)) {
                None => refused(Status::NotANumber),
                Some(None) => refused(Status::OutOfRange),
                Some(Some(sum)) => (Some((sum.to_string().into_bytes(), version)), Outcome::Number(sum, version)),
            }
        }
        (Operation::Increment(_, Some(initial)), None) => {
            (Some((initial.to_string().into_bytes(), version)), Outcome::Number(*initial, version))
        }
        (_, None) => miss,
    }
}

/// Callers that submit random requests.
struct Callers {
    history: History,
    keys_per_shard: usize,
    value_bytes_max: usize,
    timeout_ms: u32,
}

impl Callers {
    fn new(keys_per_shard: usize, value_bytes_max: usize, timeout_ms: u32) -> Self {
        Self { history: History::default(), keys_per_shard, value_bytes_max, timeout_ms }
    }

    fn key(&self, random: &mut fastrand::Rng, at: u16) -> Vec<u8> {
        format!("caller {at} key {}", random.usize(0..self.keys_per_shard)).into_bytes()
    }

    fn value(&self, random: &mut fastrand::Rng) -> Vec<u8> {
        match random.u8(0..10) {
            0 => Vec::new(),
            1..4 => random.i64(-1000..1000).to_string().into_bytes(),
            4 => vec![random.u8(..); random.usize(0..=self.value_bytes_max)],
            _ => vec![random.u8(..); random.usize(0..=self.value_bytes_max.min(100))],
        }
    }

    /// Submits one random request of the caller at a shard.
    fn submit(&mut self, world: &mut World, at: u16) {
        let mut random = world.random.fork();
        if random.u8(0..3) == 0 {
            return self.submit_many(world, &mut random, at);
        }
        let key = self.key(&mut random, at);
        let version = self.history.versions.get(&key).copied().unwrap_or(7);
        let operation = match random.u8(0..13) {
            0..4 => Operation::Get,
            4..7 => {
                let choices = [Condition::Always, Condition::Absent, Condition::Present, Condition::Version(version)];
                Operation::Set(self.value(&mut random), choices[random.usize(0..4)])
            }
            7 => Operation::Delete(if random.bool() { 0 } else { version }),
            8 => Operation::Append(b"7".to_vec()),
            9 => Operation::Prepend(b"1".to_vec()),
            10 => Operation::Increment(random.i64(-9..9), random.bool().then_some(5)),
            11 => Operation::Touch,
            _ => Operation::GetAndTouch,
        };
        let expiry = Expiry::Never;
        let command = match &operation {
            Operation::Get => Command::Get { key: &key },
            Operation::Set(value, condition) => set_if(&key, value, *condition),
            Operation::Delete(version) => Command::Delete { key: &key, version: *version },
            Operation::Append(value) => Command::Append { key: &key, value },
            Operation::Prepend(value) => Command::Prepend { key: &key, value },
            Operation::Increment(delta, initial) => {
                Command::Increment { key: &key, delta: *delta, initial: *initial, expiry }
            }
            Operation::Touch => Command::Touch { key: &key, expiry, only: TouchCondition::Always },
            Operation::GetAndTouch => Command::GetAndTouch { key: &key, expiry },
        };
        let place = self.history.begin(&key, operation.clone());
        self.run(world, at, command, vec![place]);
    }

    fn submit_many(&mut self, world: &mut World, random: &mut fastrand::Rng, at: u16) {
        let keys: Vec<_> = (0..random.usize(0..40)).map(|_| self.key(random, at)).collect();
        let kind = random.u8(0..3);
        let mut batch = if kind == 1 { Batch::default() } else { Batch::of_keys(&keys) };
        let mut places = Vec::new();
        for key in &keys {
            let operation = match kind {
                0 => Operation::Get,
                1 => {
                    let condition = [Condition::Always, Condition::Absent, Condition::Present][random.usize(0..3)];
                    let value = self.value(random);
                    batch.push_write(key, &value, condition);
                    Operation::Set(value, condition)
                }
                _ => Operation::Delete(0),
            };
            places.push(self.history.begin(key, operation));
        }
        let command = [Batch::get, Batch::set, Batch::delete][usize::from(kind)](&batch);
        self.run(world, at, command, places);
    }

    fn run(&mut self, world: &mut World, at: u16, command: Command<'_>, places: Vec<Place>) {
        let timeout_ms = self.timeout_ms;
        let request = Request { id: 0, epoch: 1, group: 0, timeout_ms, forwarded: false, command };
        match world.submit_request(at, request) {
            Ok(reply) => self.history.end(places, &reply),
            Err(ticket) => {
                let before = self.history.pending.insert((at, ticket), places);
                assert!(before.is_none(), "{ticket:?} of shard {at} was given twice");
            }
        }
    }

    fn take_answers(&mut self, world: &mut World) {
        while let Some((at, ticket, reply)) = world.answers.pop_front() {
            let places = self.history.pending.remove(&(at, ticket)).expect("answered once, and to who asked");
            self.history.end(places, &reply);
        }
    }
}

/// Runs a world: `bursts` times, each shard's caller submits up to `burst` requests and the world makes a step.
fn run(seed: u64, settings: WorldSettings, callers: Callers, bursts: usize, burst: usize, stalls: bool) -> History {
    run_traced(seed, settings, callers, bursts, burst, stalls).0
}

/// As [`run`], with the digest of all that travelled.
fn run_traced(
    seed: u64,
    settings: WorldSettings,
    mut callers: Callers,
    bursts: usize,
    burst: usize,
    stalls: bool,
) -> (History, u64) {
    let what = format!("seed {seed}, {settings:?}");
    let shards = settings.shards;
    let mut world = World::new(seed, settings);
    for number in 0..bursts {
        for at in 0..shards {
            for _ in 0..world.random.usize(0..=burst) {
                callers.submit(&mut world, at);
            }
            if world.random.u8(0..4) == 0 {
                world.send(at);
            }
        }
        if stalls && world.random.u8(0..50) == 0 {
            let (shard, for_ms) = (world.random.u16(0..shards), world.random.u64(1..300));
            world.stall(shard, for_ms);
        }
        world.step();
        callers.take_answers(&mut world);
        if number % 64 == 0 {
            world.validate();
        }
    }
    world.settle();
    callers.take_answers(&mut world);
    world.validate();
    assert!(world.engines.iter().all(|engine| engine.next_wake_ms().is_none()), "{what}: a deadline is left");
    assert!(world.most_in_lane <= LANE_BATCHES_MAX, "{what}");
    callers.history.check(&what);
    (callers.history, world.trace)
}

#[test]
fn a_seed_gives_one_run() {
    let trace = |seed| {
        let settings = WorldSettings { shards: 5, delay_ms_max: 9, ..WorldSettings::default() };
        run_traced(seed, settings, Callers::new(20, 6_000, 50), 200, 4, true).1
    };
    assert_eq!(trace(1), trace(1), "a failure can be replayed");
    assert_ne!(trace(1), trace(2));
}

#[test]
fn every_key_has_the_history_of_a_plain_map() {
    for seed in 0..scaled(100) as u64 {
        let shards = fastrand::Rng::with_seed(seed).u16(1..=16);
        let settings = WorldSettings { shards, delay_ms_max: seed % 20, ..WorldSettings::default() };
        let history = run(seed, settings, Callers::new(30, 6_000, 0), 300, 4, false);
        assert_eq!((history.sheds, history.lates), (0, 0), "seed {seed}: nothing is in the way");
    }
}

#[test]
fn stalls_and_deadlines_lose_nothing() {
    let mut lates = 0;
    for seed in 1000..1000 + scaled(100) as u64 {
        let shards = fastrand::Rng::with_seed(seed).u16(2..=8);
        let settings = WorldSettings { shards, delay_ms_max: 30, ..WorldSettings::default() };
        lates += run(seed, settings, Callers::new(20, 3_000, 60), 400, 3, true).lates;
    }
    assert!(lates > 100, "only {lates} requests were late: the test does not test");
}

#[test]
fn overload_is_refused_and_loses_nothing() {
    let mut sheds = 0;
    for seed in 2000..2000 + scaled(40) as u64 {
        let settings = WorldSettings { shards: 3, delay_ms_max: 10, ..WorldSettings::default() };
        sheds += run(seed, settings, Callers::new(50, 400_000, 0), 120, 60, true).sheds;
    }
    assert!(sheds > 100, "only {sheds} operations were refused: the test does not test");
}

//! Asking for memory ahead changes nothing: neither replies, nor what is there afterwards, nor what is removed.

use larder_engine::{Engine, Lane, Submission};
use larder_protocol::{Command, Condition, Expiry, Request, Write};
use larder_store::{GroupSettings, PolicyKind, Reason, Removal, RemovalHook};

use crate::harness::{Batch, OwnedReply, START_MS, WorldSettings, alone, scaled, settings};

/// Writes down every removal.
#[derive(Default)]
struct Log(Vec<(Vec<u8>, Reason, u64)>);

impl RemovalHook for Log {
    fn removed(&mut self, removal: Removal<'_>) {
        self.0.push((removal.key.to_vec(), removal.reason, removal.version));
    }
}

/// Two shards of one node, so small that they evict, with a policy that remembers.
fn engines() -> [Engine<Log>; 2] {
    let world =
        WorldSettings { shards: 2, budget_bytes: 8 << 10, value_bytes_max: 4 << 10, ..WorldSettings::default() };
    [0, 1].map(|shard| {
        let mut settings = settings(&world, shard);
        let groups = settings.groups.into_iter();
        settings.groups =
            groups.map(|plan| GroupSettings { policy: PolicyKind::TwoQ.into(), ..plan.settings }.into()).collect();
        Engine::new(settings, alone(2), Log::default()).unwrap()
    })
}

/// What a run did, as far as anybody can see.
#[derive(Debug, PartialEq)]
struct Seen {
    replies: Vec<OwnedReply>,
    removals: Vec<(Vec<u8>, Reason, u64)>,
}

/// Random runs of requests, with everything exchanged between the shards after each.
fn run(seed: u64, runs: usize, is_ahead: bool) -> Seen {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut engines = engines();
    let mut replies = Vec::new();
    let mut now_ms = START_MS;
    for _ in 0..runs {
        let keys: Vec<Vec<u8>> = (0..100).map(|_| random.u32(0..400).to_string().into_bytes()).collect();
        let values: Vec<Vec<u8>> = keys.iter().map(|_| vec![random.u8(b'0'..=b'9'); random.usize(0..300)]).collect();
        let many = Batch::of_keys(&keys[..random.usize(0..keys.len())]);
        let stored = Batch::of_values(keys.iter().zip(&values).take(random.usize(0..20)));
        let requests: Vec<Request<'_>> = (0..random.usize(1..150))
            .map(|id| {
                let place = random.usize(0..keys.len());
                let (key, value) = (&keys[place][..], &values[place][..]);
                let expiry = if random.bool() { Expiry::Default } else { Expiry::After(random.u64(1..30)) };
                let command = match random.u8(0..24) {
                    0..10 => Command::Get { key },
                    10..15 => Command::Set(Write { key, value, flags: 7, condition: Condition::Always, expiry }),
                    15 => Command::Set(Write { key, value, flags: 8, condition: Condition::Absent, expiry }),
                    16 | 17 => Command::Delete { key, version: 0 },
                    18 => Command::GetAndTouch { key, expiry },
                    19 => Command::Increment { key, delta: 1, initial: Some(5), expiry },
                    20 => Command::Append { key, value: b"1" },
                    21 => many.get(),
                    22 => stored.set(),
                    _ if random.u8(0..20) == 0 => Command::Invalidate,
                    _ => many.delete(),
                };
                let group = if random.u8(0..30) == 0 { 0xBAD } else { 0 };
                Request { id: id as u64, epoch: 1, group, timeout_ms: 0, forwarded: random.u8(0..20) == 0, command }
            })
            .collect();
        let at = random.usize(0..2);
        if is_ahead {
            engines[at].prefetch(requests.iter());
        }
        for request in &requests {
            if let Submission::Done(reply) = engines[at].submit(request, now_ms) {
                replies.push(OwnedReply::of(&reply));
            }
        }
        exchange(&mut engines, &mut replies, now_ms);
        now_ms += random.u64(0..10);
        engines.iter_mut().for_each(|engine| {
            engine.background(now_ms, 2);
            engine.validate();
        });
    }
    for engine in &mut engines {
        let request = Request { id: 0, epoch: 1, group: 0, timeout_ms: 0, forwarded: true, command: Command::Stats };
        let Submission::Done(reply) = engine.submit(&request, now_ms) else { panic!("forwarded is answered here") };
        replies.push(OwnedReply::of(&reply));
    }
    let removals = engines.iter_mut().flat_map(|engine| std::mem::take(&mut engine.hook_mut().0)).collect();
    Seen { replies, removals }
}

fn exchange(engines: &mut [Engine<Log>; 2], replies: &mut Vec<OwnedReply>, now_ms: u64) {
    let mut is_quiet = false;
    while !is_quiet {
        is_quiet = true;
        for at in 0..2 {
            while let Some(outgoing) = engines[at].next_batch() {
                assert!(matches!(outgoing.lane, Lane::Requests | Lane::Replies));
                let to = &mut engines[usize::from(outgoing.to)];
                to.receive(at as u16, outgoing.lane, &outgoing.batch, now_ms, |_, reply| {
                    replies.push(OwnedReply::of(reply));
                });
                is_quiet = false;
            }
        }
    }
}

#[test]
fn asking_ahead_changes_nothing() {
    for seed in 0..scaled(400) as u64 {
        let (ahead, plain) = (run(seed, 40, true), run(seed, 40, false));
        assert!(plain.removals.iter().any(|removal| removal.1 == Reason::Evicted), "seed {seed} fills the shards");
        assert!(plain.removals.iter().any(|removal| removal.1 == Reason::Expired), "seed {seed} lets entries expire");
        assert!(ahead == plain, "seed {seed}: replies or removals differ");
    }
}

//! Watchers of a shard are told of what leaves it, while requests come in by any shard.

use std::collections::BTreeMap;

use allocation_counter::measure;
use larder_engine::limits::WATCHERS_MAX;
use larder_engine::{Engine, Lane, Submission, WatcherId, Watchers};
use larder_protocol::limits::REMOVALS_MAX;
use larder_protocol::native::generated::GroupStats;
use larder_protocol::{Command, Condition, Expiry, RemovalReason, Reply, Request, Status, Write};
use larder_ring::group_hash;

use crate::harness::{START_MS, WorldSettings, alone, scaled, set, settings};

/// Shards of one node, so small that they evict.
fn engines(shards: u16) -> Vec<Engine<Watchers>> {
    let world = WorldSettings { shards, budget_bytes: 8 << 10, value_bytes_max: 4 << 10, ..WorldSettings::default() };
    (0..shards).map(|shard| Engine::new(settings(&world, shard), alone(shards), Watchers::new()).unwrap()).collect()
}

fn request(group: u64, command: Command<'_>) -> Request<'_> {
    Request { id: 1, epoch: 1, group, timeout_ms: 0, forwarded: false, command }
}

/// Submits a request to the first engine and hands over what lies in both until nothing does; the status of a failure.
fn ask(engines: &mut [Engine<Watchers>], request: &Request<'_>, now_ms: u64) -> Option<Status> {
    let status = |reply: &Reply<'_>| match reply {
        Reply::Failed(failure) => Some(failure.status),
        _ => None,
    };
    let mut failed = match engines[0].submit(request, now_ms) {
        Submission::Done(reply) => return status(&reply),
        Submission::Pending(_) => None,
    };
    for (from, to, lane) in [(0, 1, Lane::Requests), (1, 0, Lane::Replies)] {
        while let Some(outgoing) = engines[from].next_batch() {
            assert_eq!((usize::from(outgoing.to), outgoing.lane), (to, lane));
            engines[to].receive(from as u16, lane, &outgoing.batch, now_ms, |_, reply| failed = status(reply));
        }
    }
    failed
}

/// What the watchers of one group were told.
#[derive(Default)]
struct Told {
    counts: BTreeMap<&'static str, u64>,
    missed: u64,
}

impl Told {
    fn poll(&mut self, engine: &mut Engine<Watchers>, id: WatcherId, prefix: &str) {
        let removals = engine.removals(id);
        self.missed += removals.missed();
        for removed in removals.iter() {
            assert!(removed.key.starts_with(prefix.as_bytes()), "{:?} is of another group", removed.key);
            assert!(removed.bytes >= removed.key.len() as u64, "the size is that of key and value");
            *self.counts.entry(removed.reason.name()).or_default() += 1;
        }
    }

    fn count(&self, reason: RemovalReason) -> u64 {
        self.counts.get(reason.name()).copied().unwrap_or(0)
    }
}

fn stats(engine: &mut Engine<Watchers>, group: &str, now_ms: u64) -> GroupStats {
    let request = Request { forwarded: true, ..request(0, Command::Stats) };
    match engine.submit(&request, now_ms) {
        Submission::Done(Reply::Stats(stats)) => stats.groups.iter().find(|stats| stats.name == group).unwrap().clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_told_is_what_the_counters_say() {
    let scores = group_hash("scores", 0);
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut engines = engines(2);
        let mut told = [Told::default(), Told::default()];
        let watches: Vec<_> =
            engines.iter_mut().map(|engine| [0, scores].map(|hash| engine.watch(hash).unwrap())).collect();
        let (mut now_ms, mut overwrites) = (START_MS, 0);
        for _ in 0..scaled(60_000) {
            now_ms += random.u64(0..=1);
            let (index, number) = (random.usize(0..2), random.u32(0..150));
            let (group, prefix) = [(0, "d"), (scores, "s")][index];
            let key = format!("{prefix}{number}").into_bytes();
            let value = vec![b'v'; random.usize(0..400)];
            let expiry = if random.bool() { Expiry::Never } else { Expiry::After(random.u64(1..500)) };
            let write = Write { key: &key, value: &value, flags: 0, condition: Condition::Always, expiry };
            let command = match random.u8(0..10) {
                0..2 => Command::Get { key: &key },
                2 => Command::Delete { key: &key, version: 0 },
                // As it replaces if it is done at all, the counters of failures say how often it was.
                3 => Command::Set(Write { condition: Condition::Present, ..write }),
                _ => Command::Set(Write { condition: Condition::Absent, ..write }),
            };
            let is_overwrite = matches!(command, Command::Set(Write { condition: Condition::Present, .. }));
            let before: u64 =
                engines.iter_mut().map(|engine| stats(engine, ["default", "scores"][index], now_ms).sets).sum();
            ask(&mut engines, &request(group, command), now_ms);
            let after: u64 =
                engines.iter_mut().map(|engine| stats(engine, ["default", "scores"][index], now_ms).sets).sum();
            overwrites += if is_overwrite { after - before } else { 0 };
            let at = random.usize(0..2);
            if random.u8(0..20) == 0 {
                engines[at].background(now_ms, 100);
            }
            told[index].poll(&mut engines[at], watches[at][index], prefix);
        }
        let mut replaced = 0;
        for (index, (name, prefix)) in [("default", "d"), ("scores", "s")].into_iter().enumerate() {
            let (mut sums, told) = ([0; 3], &mut told[index]);
            for (engine, watches) in engines.iter_mut().zip(&watches) {
                told.poll(engine, watches[index], prefix);
                assert!(!engine.has_removals(watches[index]));
                let stats = stats(engine, name, now_ms);
                let counts = [stats.evictions, stats.expirations, stats.deletes];
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
            let reasons = [RemovalReason::Evicted, RemovalReason::Expired, RemovalReason::Deleted];
            assert_eq!(reasons.map(|reason| told.count(reason)), sums, "seed {seed}, {name}");
            assert!(sums.iter().all(|sum| *sum > 20) && told.missed == 0, "seed {seed}, {name}: {sums:?}");
            replaced += told.count(RemovalReason::Replaced);
            let all: u64 = told.counts.values().sum();
            assert_eq!(all, sums.iter().sum::<u64>() + told.count(RemovalReason::Replaced), "no other reason");
        }
        assert!(replaced == overwrites && replaced > 20, "seed {seed}: {replaced} of {overwrites}");
        engines.iter().for_each(Engine::validate);
        engines.iter().for_each(|engine| engine.hook().validate());
    }
}

#[test]
fn who_cannot_watch_is_told_why() {
    let mut engine = engines(1).remove(0);
    let Err(Reply::Failed(failure)) = engine.watch(0xBAD) else { panic!("there is no such group") };
    assert_eq!(failure.status, Status::NoSuchGroup);
    assert!(failure.message.contains("0x0000000000000bad"), "{failure:?}");
    let watches: Vec<_> = (0..WATCHERS_MAX).map(|_| engine.watch(0).unwrap()).collect();
    let Err(Reply::Failed(failure)) = engine.watch(0) else { panic!("there are too many") };
    assert_eq!((failure.status, failure.retry_after_ms), (Status::Overloaded, 1_000));
    assert_eq!(engine.counters().overloaded, 1);
    engine.unwatch(watches[0]);
    engine.watch(0).unwrap();
    // It belongs to a connection, and no other shard has that.
    assert_eq!(ask(&mut [engine], &request(0, Command::Watch), START_MS), Some(Status::NotSupported));
}

#[test]
fn a_watch_that_is_not_polled_takes_no_more_memory() {
    let mut engines = engines(1);
    let watch = engines[0].watch(0).unwrap();
    let keys: Vec<String> = (0..2 * REMOVALS_MAX).map(|number| format!("key {number}")).collect();
    let (warm, rest) = keys.split_at(1_000);
    for key in warm {
        assert_eq!(ask(&mut engines, &request(0, set(key.as_bytes(), b"value")), START_MS), None);
    }
    let info = measure(|| {
        for key in rest {
            engines[0].submit(&request(0, set(key.as_bytes(), b"value")), START_MS);
        }
    });
    assert_eq!(info.count_total, 0, "{info:?}");
    let evictions = stats(&mut engines[0], "default", START_MS).evictions;
    let removals = engines[0].removals(watch);
    assert_eq!(removals.len(), REMOVALS_MAX);
    assert_eq!(removals.len() as u64 + removals.missed(), evictions);
    let first = removals.iter().next().unwrap();
    assert_eq!((first.key, first.reason, first.bytes), (&b"key 0"[..], RemovalReason::Evicted, 10));
}

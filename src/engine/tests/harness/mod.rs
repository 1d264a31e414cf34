//! The engines of one node in one thread, with virtual time: batches travel with seeded delays, in order within a lane
//! and in any order across lanes, and shards may stall. Everything follows from the seed.

mod cluster;
mod owned;
mod requests;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use larder_engine::limits::LANE_BATCHES_MAX;
use larder_engine::{
    Engine, EngineSettings, GroupPlan, Lane, Load, Loaded, OriginSettings, Outgoing, Standing, Submission, Ticket,
};
use larder_protocol::{Command, Request};
use larder_ring::{Node, Topology, group_hash, key_hash, shard};
use larder_store::limits::MEMORY_BYTES_MIN;
use larder_store::{Charge, GroupSettings, NoHook, PolicyKind};

pub(crate) use cluster::{Cluster, ring};
pub(crate) use owned::{OwnedEntry, OwnedReply};
pub(crate) use requests::{Batch, set, set_if};

/// When every world begins, in ms since the Unix epoch.
pub(crate) const START_MS: u64 = 1_800_000_000_000;
/// The id of the one node.
pub(crate) const NODE: &str = "alone";

/// Batches on one lane, with when they arrive.
type Travelling = VecDeque<(u64, Vec<u8>)>;

/// One node.
pub(crate) struct World {
    pub(crate) engines: Vec<Engine>,
    pub(crate) now_ms: u64,
    pub(crate) random: fastrand::Rng,
    pub(crate) settings: WorldSettings,
    /// What travels, by (from, to, lane).
    lanes: BTreeMap<(u16, u16, u8), Travelling>,
    /// Until when each shard does nothing at all.
    stalled_until_ms: Vec<u64>,
    /// The most batches that any lane held at once.
    pub(crate) most_in_lane: usize,
    /// How many batches were delivered, and a digest of all of them, with when and where.
    pub(crate) delivered: u64,
    pub(crate) trace: u64,
    /// Answers to tickets, in the order in which they came.
    pub(crate) answers: VecDeque<(u16, Ticket, OwnedReply)>,
    /// Tickets that were said to take long.
    pub(crate) delayed: HashSet<(u16, Ticket)>,
    next_id: u64,
}

/// What a world is like.
#[derive(Clone, Debug)]
pub(crate) struct WorldSettings {
    pub(crate) shards: u16,
    pub(crate) delay_ms_max: u64,
    pub(crate) timeout_ms_default: u32,
    /// Of each of the two groups, on each shard.
    pub(crate) budget_bytes: u64,
    pub(crate) value_bytes_max: usize,
    /// Of the group "scores".
    pub(crate) origin: Option<OriginSettings>,
}

impl Default for WorldSettings {
    fn default() -> Self {
        Self {
            shards: 4,
            delay_ms_max: 5,
            timeout_ms_default: 1_000_000,
            budget_bytes: 32 << 20,
            value_bytes_max: 8 << 20,
            origin: None,
        }
    }
}

/// The topology of one node with that many shards.
pub(crate) fn alone(shards: u16) -> Arc<Topology> {
    let node = Node { id: NODE.into(), address: "127.0.0.1:7400".into(), shards, points: 1024, incarnation: 1 };
    Arc::new(Topology::single(node, 0))
}

/// Settings of one shard with the groups "default" and "scores".
pub(crate) fn settings(world: &WorldSettings, shard: u16) -> EngineSettings {
    let group = |name: &str| plan(name, world.budget_bytes * u64::from(world.shards));
    EngineSettings {
        node_id: NODE.into(),
        shard,
        server: "larder/test".into(),
        groups: vec![group("default"), GroupPlan { origin: world.origin, ..group("scores") }],
        value_bytes_max: world.value_bytes_max,
        node_memory_bytes: (2 * world.budget_bytes).max(MEMORY_BYTES_MIN) * u64::from(world.shards),
        timeout_ms_default: world.timeout_ms_default,
        started_ms: START_MS,
        standing: Standing::FIXED,
    }
}

/// A group with so much memory on the node.
pub(crate) fn plan(name: &str, budget_bytes: u64) -> GroupPlan {
    let settings = GroupSettings {
        name: name.into(),
        budget_bytes,
        policy: PolicyKind::Lru.into(),
        ttl_ms: 0,
        ttl_jitter: 0,
        hash_seed: 0,
        charge: Charge::Bytes,
    };
    settings.into()
}

impl World {
    pub(crate) fn new(seed: u64, settings_: WorldSettings) -> Self {
        let topology = alone(settings_.shards);
        let engine = |shard| Engine::new(settings(&settings_, shard), Arc::clone(&topology), NoHook).unwrap();
        Self {
            engines: (0..settings_.shards).map(engine).collect(),
            now_ms: START_MS,
            random: fastrand::Rng::with_seed(seed),
            lanes: BTreeMap::new(),
            stalled_until_ms: vec![0; usize::from(settings_.shards)],
            settings: settings_,
            most_in_lane: 0,
            delivered: 0,
            trace: 0,
            answers: VecDeque::new(),
            delayed: HashSet::new(),
            next_id: 1,
        }
    }

    /// Submits a command to a shard, in the default group and with the default time-out.
    pub(crate) fn submit(&mut self, at: u16, command: Command<'_>) -> Result<OwnedReply, Ticket> {
        self.submit_request(at, Request { id: 0, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command })
    }

    /// Submits a request, as its caller would: done at once, or a ticket.
    pub(crate) fn submit_request(&mut self, at: u16, request: Request<'_>) -> Result<OwnedReply, Ticket> {
        let request = Request { id: self.next_id, ..request };
        self.next_id += 1;
        match self.engines[usize::from(at)].submit(&request, self.now_ms) {
            Submission::Done(reply) => Ok(OwnedReply::of(&reply)),
            Submission::Pending(ticket) => {
                self.delayed.extend(self.engines[usize::from(at)].delayed().iter().map(|delayed| (at, *delayed)));
                Err(ticket)
            }
        }
    }

    /// Submits a command and lets the world run until it is answered.
    pub(crate) fn ask(&mut self, at: u16, command: Command<'_>) -> OwnedReply {
        match self.submit(at, command) {
            Ok(reply) => reply,
            Err(ticket) => self.wait(at, ticket),
        }
    }

    /// Lets the world run until a ticket is answered; answers to others are kept.
    pub(crate) fn wait(&mut self, at: u16, ticket: Ticket) -> OwnedReply {
        for _ in 0..1_000_000 {
            let found = self.answers.iter().position(|answer| (answer.0, answer.1) == (at, ticket));
            if let Some(position) = found {
                return self.answers.remove(position).unwrap().2;
            }
            self.step();
        }
        panic!("{ticket:?} of shard {at} is never answered");
    }

    /// Lets a shard do nothing until that much later.
    pub(crate) fn stall(&mut self, shard: u16, for_ms: u64) {
        self.stalled_until_ms[usize::from(shard)] = self.now_ms + for_ms;
    }

    /// A turn of every shard that is not stalled, in a random order; then time goes on, by 1 ms at most.
    pub(crate) fn step(&mut self) {
        let mut shards: Vec<u16> = (0..self.settings.shards).collect();
        self.random.shuffle(&mut shards);
        for shard in shards {
            if self.stalled_until_ms[usize::from(shard)] <= self.now_ms {
                self.turn(shard);
            }
        }
        self.now_ms += self.random.u64(0..=1);
    }

    /// What the engines want loaded, and which of them.
    pub(crate) fn loads(&mut self) -> Vec<(u16, Load)> {
        let mut loads = Vec::new();
        for (engine, shard) in self.engines.iter_mut().zip(0..) {
            loads.extend(std::iter::from_fn(|| engine.next_load(self.now_ms)).map(|load| (shard, load)));
        }
        loads
    }

    /// Tells a shard what became of a load.
    pub(crate) fn loaded(&mut self, (shard, load): &(u16, Load), loaded: Loaded<'_>) {
        let (engine, answers) = (&mut self.engines[usize::from(*shard)], &mut self.answers);
        engine.loaded(load.flight, &loaded, self.now_ms, |ticket, reply| {
            answers.push_back((*shard, ticket, OwnedReply::of(reply)));
        });
        engine.validate();
        self.send(*shard);
    }

    /// Steps until nothing travels and nothing is unanswered.
    pub(crate) fn settle(&mut self) {
        for _ in 0..1_000_000 {
            let is_quiet = self.lanes.values().all(VecDeque::is_empty)
                && self.engines.iter().all(|engine| engine.unanswered() == 0)
                && self.stalled_until_ms.iter().all(|until_ms| *until_ms <= self.now_ms);
            if is_quiet {
                return;
            }
            self.step();
        }
        panic!("the world does not come to rest");
    }

    fn turn(&mut self, shard: u16) {
        let mut arriving: Vec<_> = self.lanes.keys().copied().filter(|(_, to, _)| *to == shard).collect();
        self.random.shuffle(&mut arriving);
        for lane in arriving {
            self.deliver(lane);
        }
        let engine = &mut self.engines[usize::from(shard)];
        while engine.next_wake_ms().is_some_and(|at_ms| at_ms <= self.now_ms) {
            let answers = &mut self.answers;
            engine.wake(self.now_ms, |ticket, reply| answers.push_back((shard, ticket, OwnedReply::of(reply))));
        }
        self.send(shard);
    }

    fn deliver(&mut self, lane: (u16, u16, u8)) {
        let (from, to, number) = lane;
        let engine = &mut self.engines[usize::from(to)];
        let queue = self.lanes.get_mut(&lane).unwrap();
        while queue.front().is_some_and(|(at_ms, _)| *at_ms <= self.now_ms) {
            let (_, batch) = queue.pop_front().unwrap();
            let head = [self.trace, self.now_ms, u64::from(from), u64::from(to), u64::from(number)];
            let seed = head.iter().fold(0, |seed, part| key_hash(&part.to_le_bytes(), seed));
            self.trace = key_hash(&batch, seed);
            let answers = &mut self.answers;
            engine.receive(from, Lane::ALL[usize::from(number)], &batch, self.now_ms, |ticket, reply| {
                answers.push_back((to, ticket, OwnedReply::of(reply)));
            });
            self.delayed.extend(engine.delayed().iter().map(|delayed| (to, *delayed)));
            engine.recycle(batch);
            self.delivered += 1;
        }
    }

    /// Takes the batches of a shard, as its driver does once per turn.
    pub(crate) fn send(&mut self, shard: u16) {
        while let Some(Outgoing { to, lane, batch }) = self.engines[usize::from(shard)].next_batch() {
            let queue = self.lanes.entry((shard, to, lane as u8)).or_default();
            let after_ms = queue.back().map_or(0, |(at_ms, _)| *at_ms);
            let at_ms = after_ms.max(self.now_ms + self.random.u64(0..=self.settings.delay_ms_max));
            queue.push_back((at_ms, batch));
            self.most_in_lane = self.most_in_lane.max(queue.len());
            assert!(queue.len() <= LANE_BATCHES_MAX, "{lane:?} from {shard} to {to} holds {} batches", queue.len());
        }
    }

    /// The shard that owns a key of the default group.
    pub(crate) fn owner(&self, key: &[u8]) -> u16 {
        shard(key_hash(key, group_hash("default", 0)), self.settings.shards)
    }

    /// The first key with this beginning that a shard owns.
    pub(crate) fn key_of(&self, owner: u16, prefix: &str) -> Vec<u8> {
        let mut keys = (0u32..).map(|number| format!("{prefix}{number}").into_bytes());
        keys.find(|key| self.owner(key) == owner).unwrap()
    }

    pub(crate) fn validate(&self) {
        self.engines.iter().for_each(Engine::validate);
    }
}

/// How many of something a test does: all with `LARDER_TEST_FULL=1`, else a twentieth.
pub(crate) fn scaled(full: usize) -> usize {
    if std::env::var_os("LARDER_TEST_FULL").is_some_and(|value| value == "1") { full } else { full.div_ceil(20) }
}

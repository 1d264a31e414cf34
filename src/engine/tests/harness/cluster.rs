//! The engines of several nodes in one thread, with virtual time: batches travel between shards, frames between nodes,
//! with seeded delays; connections can be cut and nodes can stop. Everything follows from the seed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use larder_engine::{
    ClusterOrderOutcome, Engine, Lane, LinkId, LinkOutput, OriginSettings, Outgoing, Standing, Submission, Ticket,
};
use larder_protocol::native::{RequestLimits, Scratch, decode_request, encode_response, frame};
use larder_protocol::{Command, Reply, Request};
use larder_ring::{Membership, Node, Place, Topology, group_hash, key_hash};
use larder_store::NoHook;

use super::{OwnedReply, START_MS, WorldSettings, settings};

/// What arrives, and when.
type Travelling = VecDeque<(u64, Vec<u8>)>;

/// Where a shard is: node and number.
type At = (usize, u16);

/// Who waits for a ticket.
#[derive(Clone, Copy, Debug)]
enum Asker {
    Client(u64),
    Link { wire: usize, id: u64 },
}

/// A connection between two shards of two nodes, or what was one.
struct Wire {
    from: At,
    link: LinkId,
    to: At,
    is_cut: bool,
    requests: Travelling,
    responses: Travelling,
}

/// Several nodes.
pub(crate) struct Cluster {
    pub(crate) engines: Vec<Vec<Engine>>,
    pub(crate) now_ms: u64,
    pub(crate) random: fastrand::Rng,
    /// Nodes that do nothing, as if their machine had stopped.
    pub(crate) is_stopped: Vec<bool>,
    /// Nodes to which no connection can be made.
    pub(crate) is_unreachable: Vec<bool>,
    /// Requests that went over connections.
    pub(crate) requests_sent: u64,
    pub(crate) answers: BTreeMap<u64, OwnedReply>,
    delay_ms_max: u64,
    lanes: BTreeMap<(usize, u16, u16, u8), Travelling>,
    wires: Vec<Wire>,
    askers: HashMap<(At, Ticket), Asker>,
    next_client: u64,
    steps: u64,
}

/// After how many steps everything is walked, which takes much longer than the steps.
const VALIDATED_STEPS: u64 = 32;

/// The topology of some of the nodes, which have names from "a" on.
pub(crate) fn ring(epoch: u64, members: &[usize], shards: u16) -> Arc<Topology> {
    let node = |number: &usize| Node {
        id: name(*number),
        address: format!("{}.example:7400", name(*number)),
        shards,
        points: 1024,
        incarnation: 1 + *number as u64,
    };
    Arc::new(Topology::new(0, epoch, members.iter().map(node).collect()).unwrap())
}

fn name(number: usize) -> String {
    char::from(b'a' + number as u8).to_string()
}

impl Cluster {
    pub(crate) fn new(seed: u64, nodes: usize, shards: u16) -> Self {
        Self::with_origin(seed, nodes, shards, None)
    }

    /// The group "scores" has this origin.
    pub(crate) fn with_origin(seed: u64, nodes: usize, shards: u16, origin: Option<OriginSettings>) -> Self {
        let world = WorldSettings { shards, timeout_ms_default: 2_000, origin, ..WorldSettings::default() };
        let topology = ring(1, &(0..nodes).collect::<Vec<_>>(), shards);
        let engine = |node: usize, shard| {
            let settings = larder_engine::EngineSettings { node_id: name(node), ..settings(&world, shard) };
            Engine::new(settings, Arc::clone(&topology), NoHook).unwrap()
        };
        Self {
            engines: (0..nodes).map(|node| (0..shards).map(|shard| engine(node, shard)).collect()).collect(),
            now_ms: START_MS,
            random: fastrand::Rng::with_seed(seed),
            is_stopped: vec![false; nodes],
            is_unreachable: vec![false; nodes],
            requests_sent: 0,
            answers: BTreeMap::new(),
            delay_ms_max: 3,
            lanes: BTreeMap::new(),
            wires: Vec::new(),
            askers: HashMap::new(),
            next_client: 0,
            steps: 0,
        }
    }

    /// Submits a request as a client would; the answer comes under this number.
    pub(crate) fn submit(&mut self, at: At, command: Command<'_>) -> u64 {
        self.submit_request(at, Request { id: 0, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command })
    }

    pub(crate) fn submit_request(&mut self, at: At, request: Request<'_>) -> u64 {
        let client = self.next_client;
        self.next_client += 1;
        match self.engines[at.0][usize::from(at.1)].submit(&request, self.now_ms) {
            Submission::Done(reply) => {
                self.answers.insert(client, OwnedReply::of(&reply));
            }
            Submission::Pending(ticket) => {
                self.askers.insert((at, ticket), Asker::Client(client));
            }
        }
        client
    }

    /// Submits a command and lets the cluster run until it is answered.
    pub(crate) fn ask(&mut self, at: At, command: Command<'_>) -> OwnedReply {
        let client = self.submit(at, command);
        self.wait(client)
    }

    pub(crate) fn wait(&mut self, client: u64) -> OwnedReply {
        for _ in 0..100_000 {
            if let Some(reply) = self.answers.remove(&client) {
                return reply;
            }
            self.step();
        }
        panic!("client {client} is never answered");
    }

    /// The owner of a key of the default group in the ring of this node.
    pub(crate) fn owner(&self, node: usize, key: &[u8]) -> At {
        let topology = self.engines[node][0].topology();
        let Place { node, shard } = topology.place(key_hash(key, group_hash("default", 0)));
        (usize::from(topology.node(node).id.as_bytes()[0] - b'a'), shard)
    }

    /// The first key with this beginning that a node owns in the ring of node 0.
    pub(crate) fn key_of(&self, owner: usize, prefix: &str) -> Vec<u8> {
        let mut keys = (0u32..).map(|number| format!("{prefix}{number}").into_bytes());
        keys.find(|key| self.owner(0, key).0 == owner).unwrap()
    }

    /// All shards of a node take this topology.
    pub(crate) fn set_topology(&mut self, node: usize, topology: &Arc<Topology>) {
        for engine in &mut self.engines[node] {
            engine.set_topology(Arc::clone(topology)).unwrap();
        }
    }

    /// All shards of a node take this membership.
    pub(crate) fn set_membership(&mut self, node: usize, membership: &Membership) {
        let now_ms = self.now_ms;
        for engine in &mut self.engines[node] {
            engine.set_membership(membership, now_ms).unwrap();
        }
    }

    /// All shards of a node are told of its registration.
    pub(crate) fn set_standing(&mut self, node: usize, standing: Standing) {
        self.engines[node].iter_mut().for_each(|engine| engine.set_standing(standing));
    }

    /// What a shard has ordered for the cluster is done.
    pub(crate) fn order_done(&mut self, at: At, ticket: Ticket, outcome: &ClusterOrderOutcome) {
        self.with_answers(at, |engine, _, answer| engine.cluster_order_done(ticket, outcome, answer));
    }

    /// A turn of every shard that is not stopped, in a random order; then time goes on.
    pub(crate) fn step(&mut self) {
        let mut shards: Vec<At> = (0..self.engines.len())
            .flat_map(|node| (0..self.engines[node].len() as u16).map(move |shard| (node, shard)))
            .filter(|at| !self.is_stopped[at.0])
            .collect();
        self.random.shuffle(&mut shards);
        for at in shards {
            self.turn(at);
        }
        self.steps += 1;
        if self.steps.is_multiple_of(VALIDATED_STEPS) {
            self.engines.iter().flatten().for_each(Engine::validate);
        }
        self.now_ms += self.random.u64(0..=1);
    }

    /// Cuts every connection from or to a node; both ends notice. What travels is lost.
    pub(crate) fn cut(&mut self, node: usize) {
        for number in 0..self.wires.len() {
            let Wire { from, to, link, is_cut, .. } = self.wires[number];
            if !is_cut && (from.0 == node || to.0 == node) {
                self.wires[number].is_cut = true;
                self.with_answers(from, |engine, now_ms, answer| engine.link_closed(link, now_ms, answer));
            }
        }
    }

    fn turn(&mut self, at: At) {
        self.take_batches(at);
        for number in 0..self.wires.len() {
            self.take_frames(at, number);
        }
        while self.engine(at).next_wake_ms().is_some_and(|at_ms| at_ms <= self.now_ms) {
            self.with_answers(at, |engine, now_ms, answer| engine.wake(now_ms, answer));
        }
        if self.random.u8(..) == 0 {
            let (steps, now_ms) = (self.random.usize(0..100), self.now_ms);
            self.engine(at).background(now_ms, steps);
        }
        self.send(at);
    }

    pub(crate) fn engine(&mut self, at: At) -> &mut Engine {
        &mut self.engines[at.0][usize::from(at.1)]
    }

    /// Calls an engine, and gives its answers to who waits.
    fn with_answers(&mut self, at: At, call: impl FnOnce(&mut Engine, u64, &mut dyn FnMut(Ticket, &Reply<'_>))) {
        let Self { engines, askers, answers, wires, random, now_ms, delay_ms_max, .. } = self;
        let engine = &mut engines[at.0][usize::from(at.1)];
        let epoch = engine.epoch();
        call(engine, *now_ms, &mut |ticket, reply| match askers.remove(&(at, ticket)).expect("answered once") {
            Asker::Client(client) => {
                answers.insert(client, OwnedReply::of(reply));
            }
            Asker::Link { wire, id } => {
                let mut frame = Vec::new();
                encode_response(&mut frame, id, epoch, reply);
                travel(&mut wires[wire].responses, frame, *now_ms + random.u64(0..=*delay_ms_max));
            }
        });
    }

    fn take_batches(&mut self, at: At) {
        let lanes: Vec<_> = self.lanes.keys().copied().filter(|lane| (lane.0, lane.2) == at).collect();
        for lane in lanes {
            while let Some(batch) = arrived(self.lanes.get_mut(&lane).unwrap(), self.now_ms) {
                let (from, kind) = (lane.1, Lane::ALL[usize::from(lane.3)]);
                self.with_answers(at, |engine, now_ms, answer| {
                    engine.receive(from, kind, &batch, now_ms, answer);
                    engine.recycle(batch);
                });
            }
        }
    }

    fn take_frames(&mut self, at: At, number: usize) {
        let Wire { from, to, link, is_cut, .. } = self.wires[number];
        if is_cut {
            return;
        }
        while from == at
            && let Some(bytes) = arrived(&mut self.wires[number].responses, self.now_ms)
        {
            let message = frame(&bytes, usize::MAX).unwrap().unwrap().message;
            self.with_answers(at, |engine, now_ms, answer| {
                engine.receive_response(link, message, now_ms, answer).unwrap();
            });
        }
        while to == at
            && let Some(bytes) = arrived(&mut self.wires[number].requests, self.now_ms)
        {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let next = frame(rest, usize::MAX).unwrap().unwrap();
                rest = &rest[next.consumed..];
                self.execute(at, number, next.message);
            }
        }
    }

    /// A node executes a request that came over a connection.
    fn execute(&mut self, at: At, number: usize, message: &[u8]) {
        let mut scratch = Scratch::new(RequestLimits::default());
        let request = decode_request(message, &mut scratch).unwrap();
        assert!(request.forwarded, "{request:?}");
        self.requests_sent += 1;
        let now_ms = self.now_ms;
        let delay_ms = self.random.u64(0..=self.delay_ms_max);
        let engine = &mut self.engines[at.0][usize::from(at.1)];
        let epoch = engine.epoch();
        match engine.submit(&request, now_ms) {
            Submission::Done(reply) => {
                let mut frame = Vec::new();
                encode_response(&mut frame, request.id, epoch, &reply);
                travel(&mut self.wires[number].responses, frame, now_ms + delay_ms);
            }
            Submission::Pending(ticket) => {
                self.askers.insert((at, ticket), Asker::Link { wire: number, id: request.id });
            }
        }
    }

    fn send(&mut self, at: At) {
        let now_ms = self.now_ms;
        while let Some(Outgoing { to, lane, batch }) = self.engine(at).next_batch() {
            let at_ms = now_ms + self.random.u64(0..=self.delay_ms_max);
            travel(self.lanes.entry((at.0, at.1, to, lane as u8)).or_default(), batch, at_ms);
        }
        while let Some(output) = self.engine(at).next_link_output(now_ms) {
            match output {
                LinkOutput::Open(link) => self.open(at, link),
                LinkOutput::Send(link, frames) => {
                    let at_ms = now_ms + self.random.u64(0..=self.delay_ms_max);
                    let number = self.wire(at, link).expect("what is sent has a connection");
                    travel(&mut self.wires[number].requests, frames, at_ms);
                }
                LinkOutput::Reset(link) | LinkOutput::Close(link) => {
                    if let Some(number) = self.wire(at, link) {
                        self.wires[number].is_cut = true;
                    }
                }
            }
        }
    }

    fn wire(&self, from: At, link: LinkId) -> Option<usize> {
        self.wires.iter().position(|wire| !wire.is_cut && (wire.from, wire.link) == (from, link))
    }

    fn open(&mut self, from: At, link: LinkId) {
        let target = self.engine(from).link_target(link).expect("it was just asked for");
        let to = (usize::from(target.node_id.as_bytes()[0] - b'a'), target.shard);
        if self.is_unreachable[to.0] {
            return self.with_answers(from, |engine, now_ms, answer| engine.link_closed(link, now_ms, answer));
        }
        let (requests, responses) = (VecDeque::new(), VecDeque::new());
        self.wires.push(Wire { from, link, to, is_cut: false, requests, responses });
        let now_ms = self.now_ms;
        self.engine(from).link_opened(link, now_ms);
    }
}

/// Puts something behind what travels already.
fn travel(queue: &mut Travelling, what: Vec<u8>, at_ms: u64) {
    let at_ms = queue.back().map_or(at_ms, |(before_ms, _)| at_ms.max(*before_ms));
    queue.push_back((at_ms, what));
}

fn arrived(queue: &mut Travelling, now_ms: u64) -> Option<Vec<u8>> {
    if queue.front()?.0 > now_ms { None } else { queue.pop_front().map(|(_, what)| what) }
}

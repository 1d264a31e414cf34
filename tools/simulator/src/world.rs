//! The cluster and its network: what happens, when, and what follows from it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fastrand::Rng;
use larder_engine::{Engine, Lane, LinkId, LinkOutput, Outgoing, Submission, Ticket};
use larder_membership::{Keys, OverrideRecord, State};
use larder_protocol::native::{RequestLimits, Scratch, decode_request, encode_response, frame};
use larder_protocol::{Command, Reply};
use larder_ring::Membership;

use crate::agent::{Out, PATIENCE_MS};
use crate::bugs::{Bug, Bugs};
use crate::clients::Clients;
use crate::etcd::{Answer, Ask, EXPIRY_LOOK_MS, Etcd, Session};
use crate::faults::{self, Fault};
use crate::history::{History, Outcome};
use crate::node::{Asker, Clock, Ending, Node, Process, number_of};
use crate::trace::Trace;

/// Longest way of a message between two nodes, or a node and etcd or a client, unless something is wrong; in ms.
const DELAY_MS_MAX: u64 = 4;
/// How long a connection is tried that nobody answers, in ms.
const DIAL_MS: u64 = 1_000;
/// How long a node that stops waits to be out of the ring, and then for others to hear of it, in ms.
const DRAIN_MS: u64 = 1_500;
const GRACE_MS: u64 = 300;
/// A message in so many takes much longer.
const SLOW_SHARE: u32 = 200;
/// Clocks are wrong by this at most, in ms: a node makes up for so much although nobody is left who has heard of it.
const AHEAD_MS_MAX: i64 = larder_engine::limits::CLOCK_MARGIN_MS as i64 / 2 - 50;
/// The same in runs in which somebody is left always.
const SKEWED_MS_MAX: i64 = 60_000;
/// Who runs for so long has heard how late it is for all others, in ms.
const HEARD_MS: u64 = 6_000;
/// Clocks run wrong by this at most, in millionths.
const DRIFT_MAX: i64 = 2_000;
/// Everything is walked once in so many events.
const VALIDATED_EVENTS: u64 = 4_096;
/// An exchange with another node proves for so long that one is an owner, in ms: longer is no excuse.
const EXCUSE_MS: u64 = larder_engine::limits::EXCHANGE_MS + 500;

/// Where a shard is: node and number.
pub(crate) type At = (usize, u16);

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    Batch {
        at: At,
        process: u64,
        from: u16,
        lane: Lane,
        batch: Vec<u8>,
    },
    Requests {
        wire: usize,
        frames: Vec<u8>,
    },
    Response {
        wire: usize,
        frame: Vec<u8>,
    },
    Dialed {
        at: At,
        process: u64,
        link: LinkId,
        has_waited: bool,
    },
    Lost {
        wire: usize,
    },
    Wake {
        at: At,
        process: u64,
    },
    Membership {
        at: At,
        process: u64,
        membership: Arc<Membership>,
    },
    Agent {
        node: usize,
        process: u64,
    },
    Heard {
        session: Session,
        answer: Answer,
    },
    /// The connection to etcd is lost.
    Broken {
        node: usize,
        process: u64,
    },
    Etcd {
        session: Session,
        ask: Ask,
    },
    EtcdLooks,
    EtcdReturns {
        was_killed: bool,
    },
    Client(usize),
    Asked {
        number: u64,
        at: At,
        process: u64,
    },
    Answered {
        number: u64,
        outcomes: Vec<Outcome>,
    },
    GiveUp {
        number: u64,
    },
    Fault(Fault),
    Start {
        node: usize,
    },
    Ending {
        node: usize,
        process: u64,
        restart_ms: u64,
    },
}

/// A connection between two shards of two nodes, or what was one.
#[derive(Debug)]
struct Wire {
    from: At,
    from_process: u64,
    link: LinkId,
    to: At,
    to_process: u64,
    is_cut: bool,
    /// When what was sent last arrives: requests, responses.
    last_ms: [u64; 2],
}

/// See the module.
pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) sequence: u64,
    pub(crate) random: Rng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Clients,
    pub(crate) history: History,
    pub(crate) trace: Trace,
    pub(crate) bugs: Bugs,
    events: BTreeMap<(u64, u64), Event>,
    wires: Vec<Wire>,
    etcd: Etcd,
    etcd_away_until_ms: u64,
    etcd_killed: bool,
    partitions: HashMap<(usize, usize), u64>,
    /// By way, when what was sent last arrives.
    lanes: HashMap<(At, u16, u8), u64>,
    to_etcd: HashMap<usize, u64>,
    from_etcd: HashMap<usize, u64>,
    to_shards: HashMap<At, u64>,
    processes: u64,
    happened: u64,
    /// Clocks are very wrong.
    is_skewed: bool,
    /// Nothing is wrong any more.
    is_mended: bool,
}

impl World {
    pub(crate) fn new(seed: u64, bugs: Bugs, is_shown: bool) -> Self {
        let mut random = Rng::with_seed(seed);
        let nodes = [2, 2, 3, 3, 3, 4, 4, 5, 7][random.usize(0..9)];
        let shards = random.u16(1..=if nodes > 4 { 2 } else { 4 });
        let mut world = Self {
            now_ms: 0,
            sequence: 0,
            nodes: (0..nodes).map(|number| Node::new(number, shards)).collect(),
            clients: Clients::new(&mut random),
            random,
            history: History::default(),
            trace: Trace::new(is_shown),
            bugs,
            events: BTreeMap::new(),
            wires: Vec::new(),
            etcd: Etcd::new(),
            etcd_away_until_ms: 0,
            etcd_killed: false,
            partitions: HashMap::new(),
            lanes: HashMap::new(),
            to_etcd: HashMap::new(),
            from_etcd: HashMap::new(),
            to_shards: HashMap::new(),
            processes: 0,
            happened: 0,
            is_skewed: false,
            is_mended: false,
        };
        world.is_skewed = world.random.bool();
        for node in 0..nodes {
            let at_ms = world.random.u64(0..500);
            world.at(at_ms, Event::Start { node });
        }
        for client in 0..world.clients.len() {
            let at_ms = world.random.u64(1_000..1_500);
            world.at(at_ms, Event::Client(client));
        }
        world.at(EXPIRY_LOOK_MS, Event::EtcdLooks);
        for (at_ms, fault) in faults::plan(&mut world.random, nodes) {
            world.at(at_ms, Event::Fault(fault));
        }
        world
    }

    /// Something will happen.
    pub(crate) fn at(&mut self, at_ms: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((at_ms, self.sequence), event);
    }

    /// The next thing happens, unless it is later than this.
    pub(crate) fn step(&mut self, until_ms: u64) -> bool {
        let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= until_ms) else {
            self.now_ms = until_ms;
            return false;
        };
        let ((at_ms, sequence), event) = entry.remove_entry();
        assert!(at_ms >= self.now_ms, "time goes on");
        self.now_ms = at_ms;
        if let Some(node) = self.node_of(&event) {
            let is_of_agent = matches!(event, Event::Agent { .. } | Event::Broken { .. } | Event::Heard { .. });
            let Node { paused_until_ms, agent_late_ms, .. } = self.nodes[node];
            let until_ms = paused_until_ms + if is_of_agent { agent_late_ms } else { 0 };
            if at_ms < until_ms {
                self.events.insert((until_ms, sequence), event);
                return true;
            }
        }
        self.sequence += 1;
        self.happen(event);
        self.happened += 1;
        if self.happened.is_multiple_of(VALIDATED_EVENTS) {
            self.validate();
        }
        true
    }

    /// How much happened.
    pub(crate) fn happened(&self) -> u64 {
        self.happened
    }

    /// Walks everything.
    pub(crate) fn validate(&self) {
        self.processes().for_each(|(_, process)| process.engines.iter().for_each(Engine::validate));
    }

    /// Nodes with a process.
    pub(crate) fn processes(&self) -> impl Iterator<Item = (usize, &Process)> {
        self.nodes.iter().enumerate().filter_map(|(number, node)| Some((number, node.process.as_ref()?)))
    }

    /// Ends everything that is wrong, and starts who does not run.
    pub(crate) fn heal(&mut self) {
        self.events.retain(|_, event| !matches!(event, Event::Fault(_)));
        self.partitions.clear();
        self.is_mended = true;
        let keys = Keys::new("c");
        for node in 0..self.nodes.len() {
            (self.nodes[node].cut_until_ms, self.nodes[node].late_ms) = (0, 10);
            if self.nodes[node].process.is_none() {
                self.at(self.now_ms, Event::Start { node });
            }
            let told = self.etcd.set(keys.override_of(&self.nodes[node].id), None);
            self.tell(told);
        }
    }

    /// The process of a node, if it is this one.
    pub(crate) fn process(&mut self, node: usize, number: u64) -> Option<&mut Process> {
        self.nodes[node].process.as_mut().filter(|process| process.number == number)
    }

    /// What the clock of a node shows.
    pub(crate) fn local_ms(&self, node: usize) -> u64 {
        let Node { clock, paused_until_ms, paused_at_ms, .. } = &self.nodes[node];
        let is_late = self.bugs.has(Bug::ClockBeforePause) && self.now_ms == *paused_until_ms && self.now_ms > 0;
        clock.at(if is_late { (*paused_at_ms).max(clock.since_ms) } else { self.now_ms })
    }

    pub(crate) fn delay_ms(&mut self) -> u64 {
        if !self.is_mended && self.random.u32(0..SLOW_SHARE) == 0 {
            self.random.u64(0..800)
        } else {
            self.random.u64(0..=DELAY_MS_MAX)
        }
    }

    /// The node that has to be awake for this.
    fn node_of(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Batch { at, .. }
            | Event::Dialed { at, .. }
            | Event::Wake { at, .. }
            | Event::Membership { at, .. }
            | Event::Asked { at, .. } => Some(at.0),
            Event::Requests { wire, .. } => Some(self.wires[*wire].to.0),
            Event::Response { wire, .. } | Event::Lost { wire } => Some(self.wires[*wire].from.0),
            Event::Agent { node, .. } | Event::Broken { node, .. } | Event::Ending { node, .. } => Some(*node),
            Event::Heard { session, .. } => Some(session.node),
            _ => None,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Batch { at, process, from, lane, batch } => {
                if self.process(at.0, process).is_some() {
                    self.with_answers(at, |engine, now_ms, answer| {
                        engine.receive(from, lane, &batch, now_ms, answer);
                        engine.recycle(batch);
                    });
                }
            }
            Event::Requests { wire, frames } => self.take_requests(wire, &frames),
            Event::Response { wire, frame } => self.take_response(wire, &frame),
            Event::Dialed { at, process, link, has_waited } => self.dialed(at, process, link, has_waited),
            Event::Lost { wire } => self.lost(wire),
            Event::Wake { at, process } => self.wake(at, process),
            Event::Membership { at, process, membership } => self.take_membership(at, process, &membership),
            Event::Agent { node, process } => {
                let now_ms = self.local_ms(node);
                if let Some(process) = self.process(node, process) {
                    process.agent_wake = 0;
                    process.agent.time(now_ms);
                    self.after_agent(node);
                }
            }
            Event::Heard { session, answer } => {
                let now_ms = self.local_ms(session.node);
                if let Some(process) = self.process(session.node, session.process) {
                    process.agent.heard(session.number, answer, now_ms);
                    self.after_agent(session.node);
                }
            }
            Event::Broken { node, process, for_ms } => {
                let now_ms = self.local_ms(node);
                if let Some(process) = self.process(node, process) {
                    process.agent.broken(for_ms, now_ms);
                    self.after_agent(node);
                }
            }
            Event::Etcd { session, ask } => {
                if self.etcd_killed {
                    return;
                }
                self.trace.note(self.now_ms, format_args!("etcd is asked by {}: {ask:?}", session.node));
                let told = self.etcd.ask(session, ask, self.now_ms);
                self.tell(told);
            }
            Event::EtcdLooks => {
                if self.now_ms >= self.etcd_away_until_ms {
                    let told = self.etcd.expire(self.now_ms);
                    if !told.is_empty() {
                        self.trace.note(self.now_ms, format_args!("registrations run out"));
                    }
                    self.tell(told);
                }
                self.at(self.now_ms + EXPIRY_LOOK_MS, Event::EtcdLooks);
            }
            Event::EtcdReturns { was_killed } => {
                self.trace.note(self.now_ms, format_args!("etcd is back"));
                self.etcd_killed = false;
                if was_killed {
                    self.etcd.returns(self.now_ms);
                }
            }
            Event::Client(client) => self.client_asks(client),
            Event::Asked { number, at, process } => self.take_client_request(number, at, process),
            Event::Answered { number, outcomes } => self.client_answered(number, &outcomes),
            Event::GiveUp { number } => self.client_gives_up(number),
            Event::Fault(fault) => self.fault(fault),
            Event::Start { node } => self.start(node),
            Event::Ending { node, process, restart_ms } => self.ending(node, process, restart_ms),
        }
    }

    fn start(&mut self, node: usize) {
        if self.nodes[node].process.is_some() {
            return;
        }
        self.processes += 1;
        let most = if self.is_skewed { SKEWED_MS_MAX } else { AHEAD_MS_MAX };
        let ahead = self.random.i64(-most..=most);
        let drift = self.random.i64(-DRIFT_MAX..=DRIFT_MAX);
        self.nodes[node].clock = Clock { ahead, drift, since_ms: self.now_ms };
        let names = (self.processes, self.random.u64(1..));
        let process = Process::new(&self.nodes[node], names, self.now_ms);
        self.nodes[node].process = Some(process);
        self.trace.note(self.now_ms, format_args!("node {node} starts, its clock {ahead} ms ahead"));
        self.at(self.now_ms, Event::Agent { node, process: names.0 });
    }

    /// A process is gone, with all that it had.
    fn end(&mut self, node: usize, is_silent: bool) {
        let Some(process) = self.nodes[node].process.take() else { return };
        self.trace.note(self.now_ms, format_args!("the process of node {node} ends"));
        self.nodes[node].paused_until_ms = 0;
        self.etcd.ends(node);
        for number in 0..self.wires.len() {
            let Wire { from, to, is_cut, .. } = self.wires[number];
            if is_cut || from.0 != node && to.0 != node {
                continue;
            }
            self.wires[number].is_cut = true;
            if to.0 == node && !is_silent {
                let at_ms = self.now_ms + self.delay_ms();
                self.at(at_ms, Event::Lost { wire: number });
            }
        }
        for number in self.clients.asked_of(node, process.number) {
            let at_ms = self.now_ms + self.delay_ms();
            let outcomes = self.clients.unknown(number);
            self.at(at_ms, Event::Answered { number, outcomes });
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.trace.note(self.now_ms, format_args!("{fault:?}"));
        let now_ms = self.now_ms;
        match fault {
            Fault::Crash { node, .. }
            | Fault::Stop { node, .. }
            | Fault::Pause { node, .. }
            | Fault::Cut { node, .. }
                if self.is_skewed && !self.has_witness(node) => {}
            Fault::Partition { .. } if self.is_skewed => {}
            Fault::Crash { node, restart_ms } => {
                let is_silent = self.random.u8(0..4) == 0;
                self.end(node, is_silent);
                self.at(now_ms + restart_ms, Event::Start { node });
            }
            Fault::Stop { node, restart_ms } => {
                let Some(process) = self.nodes[node].process.as_mut().filter(|process| process.ending == Ending::No)
                else {
                    return;
                };
                let epoch = process.engines.iter().map(Engine::epoch).max().unwrap_or(0);
                process.ending = Ending::Draining { until_ms: now_ms + DRAIN_MS, epoch };
                process.agent.set_state(State::Draining);
                let process = process.number;
                self.after_agent(node);
                self.at(now_ms + 5, Event::Ending { node, process, restart_ms });
            }
            Fault::Pause { node, for_ms } => {
                let agent_late_ms = self.random.u64(0..=5);
                let node = &mut self.nodes[node];
                if node.process.is_some() && !node.is_paused(now_ms) {
                    (node.paused_at_ms, node.paused_until_ms) = (now_ms, now_ms + for_ms);
                    node.agent_late_ms = agent_late_ms;
                }
            }
            Fault::Cut { node, for_ms } => {
                self.nodes[node].cut_until_ms = now_ms + for_ms;
                self.excuse();
            }
            Fault::EtcdAway { .. } if now_ms < self.etcd_away_until_ms => {}
            Fault::EtcdAway { for_ms } => {
                let was_killed = self.random.bool();
                (self.etcd_away_until_ms, self.etcd_killed) = (now_ms + for_ms, was_killed);
                if was_killed {
                    let running: Vec<(usize, u64)> =
                        self.processes().map(|(node, process)| (node, process.number)).collect();
                    for (node, process) in running {
                        let at_ms = now_ms + self.delay_ms();
                        self.at(at_ms, Event::Broken { node, process, for_ms: 0 });
                    }
                }
                self.at(now_ms + for_ms, Event::EtcdReturns { was_killed });
                self.excuse();
            }
            Fault::Compact => {
                self.etcd.compact();
                let running: Vec<(usize, u64)> =
                    self.processes().map(|(node, process)| (node, process.number)).collect();
                for (node, process) in running {
                    let at_ms = now_ms + self.delay_ms();
                    let for_ms = self.random.u64(0..PATIENCE_MS);
                    self.at(at_ms, Event::Broken { node, process, for_ms });
                }
            }
            Fault::Disconnect { a, b } => self.disconnect(a, b),
            Fault::Partition { a, b, for_ms } => {
                for pair in [(a, b), (b, a)] {
                    self.partitions.insert(pair, now_ms + for_ms);
                }
                if self.random.bool() {
                    self.disconnect(a, b);
                }
            }
            Fault::Late { node, late_ms } => self.nodes[node].late_ms = late_ms,
            Fault::Drain { node, is_drained } => {
                self.set_override(node, OverrideRecord { drain: is_drained, weight: None });
            }
            Fault::Weigh { node, weight } => {
                self.set_override(node, OverrideRecord { drain: false, weight: Some(weight) });
            }
        }
    }

    /// A node that is cut off from etcd alone, or was when etcd went away, may serve its side: the one exception to the
    /// promises.
    fn excuse(&mut self) {
        let cut_until_ms = self.nodes.iter().map(|node| node.cut_until_ms).max().unwrap_or(0);
        if cut_until_ms > self.now_ms {
            let until_ms = cut_until_ms.max(self.etcd_away_until_ms) + EXCUSE_MS;
            self.history.excuse(self.now_ms, until_ms);
        }
    }

    /// Whether another node is there that knows how late it is for this one.
    fn has_witness(&self, node: usize) -> bool {
        let is_heard = |process: &Process| process.joined_ms > 0 && process.joined_ms + HEARD_MS < self.now_ms;
        if !self.nodes[node].process.as_ref().is_none_or(is_heard) {
            return false;
        }
        let is_witness = |(other, process): (usize, &Process)| {
            let Node { paused_until_ms, cut_until_ms, .. } = &self.nodes[other];
            let since_ms = process.joined_ms.max(*paused_until_ms).max(*cut_until_ms) + HEARD_MS;
            other != node && process.ending == Ending::No && process.joined_ms > 0 && since_ms < self.now_ms
        };
        self.processes().any(is_witness)
    }

    fn set_override(&mut self, node: usize, record: OverrideRecord) {
        if self.now_ms >= self.etcd_away_until_ms {
            let told = self.etcd.set(Keys::new("c").override_of(&self.nodes[node].id), Some(record.to_json()));
            self.tell(told);
        }
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        for number in 0..self.wires.len() {
            let Wire { from, to, is_cut, .. } = self.wires[number];
            if !is_cut && ((from.0, to.0) == (a, b) || (from.0, to.0) == (b, a)) {
                self.wires[number].is_cut = true;
                let at_ms = self.now_ms + self.delay_ms();
                self.at(at_ms, Event::Lost { wire: number });
            }
        }
    }

    fn ending(&mut self, node: usize, number: u64, restart_ms: u64) {
        let now_ms = self.now_ms;
        let Some(process) = self.process(node, number) else { return };
        match process.ending {
            Ending::Draining { until_ms, epoch } => {
                let has_left = |engine: &Engine| !engine.is_in_ring() && engine.epoch() > epoch;
                if process.engines.iter().all(has_left) || until_ms <= now_ms {
                    process.ending = Ending::Grace { until_ms: now_ms + GRACE_MS };
                }
            }
            Ending::Grace { until_ms } if until_ms <= now_ms => {
                process.agent.leave();
                self.after_agent(node);
                self.end(node, false);
                return self.at(now_ms + restart_ms, Event::Start { node });
            }
            _ => {}
        }
        self.at(now_ms + 5, Event::Ending { node, process: number, restart_ms });
    }

    /// What etcd says is on its way.
    fn tell(&mut self, told: Vec<(Session, Answer)>) {
        for (session, answer) in told {
            let sent_ms = self.now_ms.max(self.nodes[session.node].cut_until_ms).max(self.etcd_away_until_ms);
            let last_ms = self.from_etcd.get(&session.node).copied().unwrap_or(0);
            let at_ms = (sent_ms + self.delay_ms()).max(last_ms);
            self.from_etcd.insert(session.node, at_ms);
            self.at(at_ms, Event::Heard { session, answer });
        }
    }

    /// Does what the agent of a node wants.
    fn after_agent(&mut self, node: usize) {
        let now_ms = self.now_ms;
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let number = process.number;
        for out in process.agent.take() {
            match out {
                Out::Ask(session, ask) => {
                    let session = Session { node, process: number, number: session };
                    let sent_ms = now_ms.max(self.nodes[node].cut_until_ms).max(self.etcd_away_until_ms);
                    let last_ms = self.to_etcd.get(&node).copied().unwrap_or(0);
                    let at_ms = (sent_ms + self.delay_ms()).max(last_ms);
                    self.to_etcd.insert(node, at_ms);
                    self.at(at_ms, Event::Etcd { session, ask });
                }
                Out::Membership(membership) => {
                    let (epoch, follows) = (membership.topology.epoch(), membership.follows);
                    let members: Vec<&str> = membership.topology.nodes().iter().map(|node| node.id.as_str()).collect();
                    self.trace.note(
                        now_ms,
                        format_args!(
                            "node {node} hears of epoch {epoch} with {members:?}, follows {follows}, {} leaving, \
                             registration {}",
                            membership.leaving.len(),
                            membership.registration
                        ),
                    );
                    let membership = Arc::new(membership);
                    for shard in 0..self.nodes[node].shards {
                        let at = (node, shard);
                        let late_ms = self.random.u64(0..=self.nodes[node].late_ms);
                        let at_ms = (now_ms + late_ms).max(self.to_shards.get(&at).copied().unwrap_or(0));
                        self.to_shards.insert(at, at_ms);
                        let membership = Arc::clone(&membership);
                        self.at(at_ms, Event::Membership { at, process: number, membership });
                    }
                }
                Out::Standing(standing) => {
                    if let Some(process) = self.process(node, number) {
                        process.standing = standing;
                    }
                }
                Out::Left => {}
            }
        }
        let Some(process) = self.nodes[node].process.as_ref() else { return };
        if let Some(next_ms) = process.agent.next_ms() {
            let at_ms = self.nodes[node].clock.when(next_ms, now_ms);
            if process.agent_wake <= now_ms || at_ms < process.agent_wake {
                self.process(node, number).expect("it is there").agent_wake = at_ms;
                self.at(at_ms, Event::Agent { node, process: number });
            }
        }
    }

    fn take_membership(&mut self, at: At, process: u64, membership: &Membership) {
        if self.process(at.0, process).is_none() {
            return;
        }
        self.trace.note(self.now_ms, format_args!("{at:?} goes by epoch {}", membership.topology.epoch()));
        self.with_answers(at, |engine, now_ms, _| {
            engine.set_membership(membership, now_ms).expect("nodes keep their shards");
        });
        let now_ms = self.now_ms;
        let process = self.process(at.0, process).expect("it runs");
        match process.engines.iter().all(Engine::is_in_ring) {
            true if process.joined_ms == 0 => process.joined_ms = now_ms,
            true => {}
            false => process.joined_ms = 0,
        }
    }

    fn wake(&mut self, at: At, number: u64) {
        let shard = usize::from(at.1);
        let (now_ms, local_ms) = (self.now_ms, self.local_ms(at.0));
        let Some(process) = self.process(at.0, number) else { return };
        if process.wakes[shard] > now_ms {
            return;
        }
        process.wakes[shard] = 0;
        if process.engines[shard].next_wake_ms().is_some_and(|at_ms| at_ms <= local_ms) {
            self.with_answers(at, |engine, now_ms, answer| engine.wake(now_ms, answer));
        } else {
            self.after(at);
        }
    }

    /// Calls an engine, gives its answers to who waits, and sends what it has to send.
    fn with_answers(&mut self, at: At, call: impl FnOnce(&mut Engine, u64, &mut dyn FnMut(Ticket, &Reply<'_>))) {
        let local_ms = self.local_ms(at.0);
        let process = self.nodes[at.0].process.as_mut().expect("it is asked of one that runs");
        let Process { engines, askers, standing, .. } = process;
        let engine = &mut engines[usize::from(at.1)];
        engine.set_standing(*standing);
        let epoch = engine.epoch();
        let mut answers: Vec<(Asker, Vec<u8>, Vec<Outcome>)> = Vec::new();
        let clients = &self.clients;
        call(engine, local_ms, &mut |ticket, reply| {
            let asker = askers.remove(&(at.1, ticket)).expect("a ticket is answered once");
            let (mut frame, mut outcomes) = (Vec::new(), Vec::new());
            match asker {
                Asker::Client(number) => outcomes = clients.outcomes(number, reply),
                Asker::Wire { id, .. } => encode_response(&mut frame, id, epoch, reply),
            }
            answers.push((asker, frame, outcomes));
        });
        for (asker, frame, outcomes) in answers {
            match asker {
                Asker::Client(number) => self.answer_client(number, outcomes),
                Asker::Wire { wire, .. } => self.respond(wire, frame),
            }
        }
        self.after(at);
    }

    fn answer_client(&mut self, number: u64, outcomes: Vec<Outcome>) {
        let at_ms = self.now_ms + self.delay_ms();
        self.at(at_ms, Event::Answered { number, outcomes });
    }

    fn respond(&mut self, wire: usize, frame: Vec<u8>) {
        self.travel(wire, 1, |wire| Event::Response { wire, frame });
    }

    /// Something goes over a connection: requests (0), or responses (1).
    fn travel(&mut self, number: usize, direction: usize, event: impl FnOnce(usize) -> Event) {
        let Wire { from, to, is_cut, last_ms, .. } = &self.wires[number];
        if *is_cut {
            return;
        }
        let held_ms = self.partitions.get(&(from.0, to.0)).copied().unwrap_or(0);
        let last_ms = last_ms[direction];
        let at_ms = (self.now_ms.max(held_ms) + self.delay_ms()).max(last_ms);
        self.wires[number].last_ms[direction] = at_ms;
        self.at(at_ms, event(number));
    }

    /// Sends what a shard has to send, and sees to its being woken.
    fn after(&mut self, at: At) {
        let (now_ms, local_ms) = (self.now_ms, self.local_ms(at.0));
        let number = self.nodes[at.0].process.as_ref().expect("it runs").number;
        while let Some(Outgoing { to, lane, batch }) = self.engine(at).next_batch() {
            let way = (at, to, lane as u8);
            let at_ms = (now_ms + self.random.u64(0..=2)).max(self.lanes.get(&way).copied().unwrap_or(0));
            self.lanes.insert(way, at_ms);
            self.at(at_ms, Event::Batch { at: (at.0, to), process: number, from: at.1, lane, batch });
        }
        while let Some(output) = self.engine(at).next_link_output(local_ms) {
            match output {
                LinkOutput::Open(link) => {
                    let at_ms = now_ms + self.delay_ms();
                    self.at(at_ms, Event::Dialed { at, process: number, link, has_waited: false });
                }
                LinkOutput::Send(link, frames) => {
                    // Without one, it is lost and the engine is told so soon.
                    if let Some(wire) = self.wire(at, number, link) {
                        self.check_once(at.0, &frames);
                        self.travel(wire, 0, |wire| Event::Requests { wire, frames });
                    }
                }
                LinkOutput::Reset(link) | LinkOutput::Close(link) => {
                    if let Some(wire) = self.wire(at, number, link) {
                        self.wires[wire].is_cut = true;
                    }
                }
            }
        }
        let engine = self.engine(at);
        let (newest, next_ms) = (engine.newest_epoch(), engine.next_wake_ms());
        let is_news = newest > engine.epoch();
        let clock = self.nodes[at.0].clock;
        let process = self.process(at.0, number).expect("it runs");
        let mut wake_ms = None;
        if let Some(next_ms) = next_ms {
            let at_ms = clock.when(next_ms, now_ms);
            let known_ms = &mut process.wakes[usize::from(at.1)];
            if *known_ms <= now_ms || at_ms < *known_ms {
                *known_ms = at_ms;
                wake_ms = Some(at_ms);
            }
        }
        if is_news && newest > process.asked_epoch {
            process.asked_epoch = newest;
            process.agent.reach(newest, local_ms);
            self.after_agent(at.0);
        }
        if let Some(at_ms) = wake_ms {
            self.at(at_ms, Event::Wake { at, process: number });
        }
    }

    fn engine(&mut self, at: At) -> &mut Engine {
        &mut self.nodes[at.0].process.as_mut().expect("it runs").engines[usize::from(at.1)]
    }

    fn wire(&self, from: At, process: u64, link: LinkId) -> Option<usize> {
        let is_it = |wire: &Wire| !wire.is_cut && (wire.from, wire.from_process, wire.link) == (from, process, link);
        self.wires.iter().rposition(is_it)
    }

    fn dialed(&mut self, at: At, number: u64, link: LinkId, has_waited: bool) {
        let now_ms = self.now_ms;
        if self.process(at.0, number).is_none() {
            return;
        }
        let Some(target) = self.engine(at).link_target(link) else { return };
        let (to, id, incarnation) =
            ((number_of(target.node_id), target.shard), target.node_id.to_owned(), target.incarnation);
        let node = &self.nodes[to.0];
        let is_cut_off = self.partitions.get(&(at.0, to.0)).is_some_and(|until_ms| now_ms < *until_ms);
        if (node.is_paused(now_ms) || is_cut_off) && !has_waited {
            return self.at(now_ms + DIAL_MS, Event::Dialed { at, process: number, link, has_waited: true });
        }
        let there = node.process.as_ref().filter(|process| [0, process.incarnation].contains(&incarnation));
        let there = there.filter(|_| !is_cut_off && !node.is_paused(now_ms)).map(|process| process.number);
        let local_ms = self.local_ms(at.0);
        match there {
            Some(to_process) => {
                let from_process = number;
                let is_cut = false;
                self.wires.push(Wire { from: at, from_process, link, to, to_process, is_cut, last_ms: [0; 2] });
                self.with_answers(at, |engine, now_ms, _| engine.link_opened(link, now_ms));
            }
            None => self.with_answers(at, |engine, now_ms, answer| engine.link_closed(link, now_ms, answer)),
        }
        if let Some(process) = self.process(at.0, number) {
            process.agent.reached(&id, there.is_some(), local_ms);
            self.after_agent(at.0);
        }
    }

    fn lost(&mut self, number: usize) {
        let Wire { from, from_process, link, .. } = self.wires[number];
        if self.process(from.0, from_process).is_none() || self.wire(from, from_process, link).is_some() {
            return;
        }
        self.trace.note(self.now_ms, format_args!("{from:?} notices that a connection is lost"));
        self.with_answers(from, |engine, now_ms, answer| engine.link_closed(link, now_ms, answer));
    }

    fn take_response(&mut self, number: usize, bytes: &[u8]) {
        let Wire { from, from_process, link, is_cut, .. } = self.wires[number];
        if is_cut || self.process(from.0, from_process).is_none() {
            return;
        }
        let message = frame(bytes, usize::MAX).expect("a frame").expect("a whole one").message;
        self.with_answers(from, |engine, now_ms, answer| {
            engine.receive_response(link, message, now_ms, answer).expect("a response to what was asked");
        });
    }

    fn take_requests(&mut self, number: usize, bytes: &[u8]) {
        let Wire { to, to_process, is_cut, .. } = self.wires[number];
        if is_cut || self.process(to.0, to_process).is_none() {
            return;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let next = frame(rest, usize::MAX).expect("frames").expect("whole ones");
            rest = &rest[next.consumed..];
            let mut scratch = Scratch::new(RequestLimits::default());
            let request = decode_request(next.message, &mut scratch).expect("a request");
            assert!(request.forwarded, "nodes mark what they forward");
            self.trace.note(self.now_ms, format_args!("{to:?} is asked by another node: {:?}", request.command));
            let local_ms = self.local_ms(to.0);
            let process = self.process(to.0, to_process).expect("it was there");
            let engine = &mut process.engines[usize::from(to.1)];
            engine.set_standing(process.standing);
            let epoch = engine.epoch();
            match engine.submit(&request, local_ms) {
                Submission::Done(reply) => {
                    let mut frame = Vec::new();
                    encode_response(&mut frame, request.id, epoch, &reply);
                    self.respond(number, frame);
                }
                Submission::Pending(ticket) => {
                    process.askers.insert((to.1, ticket), Asker::Wire { wire: number, id: request.id });
                }
            }
            self.after(to);
        }
    }

    /// A client's request is here.
    fn take_client_request(&mut self, number: u64, at: At, process: u64) {
        let local_ms = self.local_ms(at.0);
        let Some(running) = self.nodes[at.0].process.as_mut().filter(|running| running.number == process) else {
            let outcomes = self.clients.unknown(number);
            return self.answer_client(number, outcomes);
        };
        let Some(request) = self.clients.request(number) else { return };
        let engine = &mut running.engines[usize::from(at.1)];
        engine.set_standing(running.standing);
        let outcomes = request.with(|request| match engine.submit(&request, local_ms) {
            Submission::Done(reply) => Some(self.clients.outcomes(number, &reply)),
            Submission::Pending(ticket) => {
                running.askers.insert((at.1, ticket), Asker::Client(number));
                None
            }
        });
        if let Some(outcomes) = outcomes {
            self.answer_client(number, outcomes);
        }
        self.after(at);
    }

    /// Only the node that a client has asked may send that client's writes to another one, and only twice: the second
    /// time because the first was refused.
    fn check_once(&mut self, node: usize, frames: &[u8]) {
        let mut rest = frames;
        while !rest.is_empty() {
            let next = frame(rest, usize::MAX).expect("frames").expect("whole ones");
            rest = &rest[next.consumed..];
            let mut scratch = Scratch::new(RequestLimits::default());
            let request = decode_request(next.message, &mut scratch).expect("a request");
            if let Command::Set(write) = request.command
                && let Some(asked) = self.clients.entry_node(write.value)
            {
                assert_eq!(asked, node, "a request that was forwarded is forwarded again");
            }
        }
    }
}

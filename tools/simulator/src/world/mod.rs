//! The cluster and its network: what happens, when, and what follows from it.

mod engines;
mod nodes;
mod origin;
mod wires;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use fastrand::Rng;
use larder_engine::{Engine, FlightId, Lane, LinkId, Ticket};
use larder_membership::Keys;
use larder_ring::{Membership, Topology};

use crate::bugs::{Bug, Bugs};
use crate::clients::Clients;
use crate::etcd::{Answer, Ask, EXPIRY_LOOK_MS, Etcd, Session};
use crate::faults::{self, Fault};
use crate::history::{History, Outcome};
use crate::node::{Filling, Node, Process};
use crate::trace::Trace;
use origin::Said;

/// Longest way of a message between two nodes, or a node and etcd or a client, unless something is wrong; in ms.
const DELAY_MS_MAX: u64 = 4;
/// How long a connection is tried that nobody answers, in ms.
const DIAL_MS: u64 = 1_000;
/// How long a node that stops waits to be out of the ring, and then for others to hear of it, in ms.
const DRAIN_MS: u64 = 1_500;
const GRACE_MS: u64 = 300;
/// A message in so many takes much longer.
const SLOW_SHARE: u32 = 200;
const SLOW_MS: u64 = 800;
/// Clocks are wrong by this at most, in ms: a node makes up for so much although nobody is left who has heard of it.
const AHEAD_MS_MAX: i64 = larder_engine::limits::CLOCK_MARGIN_MS as i64 / 2 - 50;
/// The same in runs in which somebody is left always.
const SKEWED_MS_MAX: i64 = 60_000;
/// Who runs for so long has heard how late it is for all others, in ms.
const HEARD_MS: u64 = 6_000;
/// Clocks run wrong by this at most, in millionths.
const DRIFT_MAX: i64 = 2_000;
/// Everything is walked once in so many events.
const VALIDATED_EVENTS: u64 = 16_384;
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
    Raised {
        at: At,
        process: u64,
        ticket: Ticket,
        raised: Option<(u64, u64)>,
    },
    /// The origin has answered.
    Loaded {
        at: At,
        process: u64,
        flight: FlightId,
        /// When it was asked.
        began: u64,
        said: Said,
    },
    Agent {
        node: usize,
        process: u64,
    },
    Heard {
        session: Session,
        answer: Answer,
    },
    /// The connection to etcd is lost, for this long.
    Broken {
        node: usize,
        process: u64,
        for_ms: u64,
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
    etcd_slow_until_ms: u64,
    /// The latest that nodes have made.
    pub(crate) rings: VecDeque<Arc<Topology>>,
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
    pub(crate) filling: Filling,
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
            clients: Clients::new(&mut random, seed),
            random,
            history: History::default(),
            trace: Trace::new(is_shown),
            bugs,
            events: BTreeMap::new(),
            wires: Vec::new(),
            etcd: Etcd::new(&Keys::new("c")),
            etcd_away_until_ms: 0,
            etcd_slow_until_ms: 0,
            rings: VecDeque::new(),
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
            filling: Filling { has_origin: false, is_stale: false, has_leases: false },
        };
        world.is_skewed = world.random.bool();
        world.filling.has_origin = world.random.u8(0..4) == 0;
        // By itself, so that other runs stay as they are.
        let mut filling = Rng::with_seed(!seed);
        world.filling.is_stale = filling.u8(0..if world.filling.has_origin { 2 } else { 8 }) == 0;
        world.filling.has_leases = filling.u8(0..4) == 0;
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
            self.random.u64(0..SLOW_MS)
        } else {
            self.random.u64(0..=DELAY_MS_MAX)
        }
    }

    /// How long something is on its way between a node and etcd.
    pub(crate) fn etcd_delay_ms(&mut self, sent_ms: u64) -> u64 {
        let is_slow = sent_ms < self.etcd_slow_until_ms && self.random.bool();
        if is_slow { self.random.u64(0..SLOW_MS) } else { self.delay_ms() }
    }

    /// The node that has to be awake for this.
    fn node_of(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Batch { at, .. }
            | Event::Dialed { at, .. }
            | Event::Wake { at, .. }
            | Event::Raised { at, .. }
            | Event::Loaded { at, .. }
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
            Event::Loaded { at, process, flight, began, said } => self.loaded(at, process, (flight, began), &said),
            Event::Raised { at, process, ticket, raised } => self.take_raised(at, process, ticket, raised),
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
                let rings = self.rings.clone();
                if let Some(process) = self.process(session.node, session.process) {
                    process.agent.know(rings);
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
}

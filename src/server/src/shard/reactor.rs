//! A shard without its sockets: bytes in, bytes out, batches in and out, and the time as an argument.
//!
//! Whoever drives it (the sockets of a ring) hands in what a connection received, sends what it has for output, runs
//! a turn when the mesh or the clock asks for one, and closes what is finished. Nothing here does I/O or waits.

use std::sync::Arc;

use larder_engine::{Backlog, ClusterOrderOutcome, Engine, EngineError, FlightId, Loaded, Standing, Ticket, Watchers};
use larder_protocol::{Ahead, Reply};
use larder_ring::{Membership, Topology};

use super::answers::Answers;
use super::buffers::Buffers;
use super::connections::{Connection, Connections, Home};
use super::dialect::{Decoding, Dialect};
use super::hello::Welcome;
use super::links::Links;
use super::requests::Parts;
use super::waiters::Waiters;
use super::watches::Watches;
use crate::limits::HOLD_BYTES_MAX;
use crate::mesh::Port;
use crate::tally::Tally;

pub use super::connections::ConnectionId;

/// The connections of one shard, its engine, and its ends of the mesh.
#[derive(Debug)]
pub struct Reactor {
    pub(super) engine: Engine<Watchers>,
    port: Port,
    pub(super) welcome: Welcome,
    pub(super) connections: Connections,
    pub(super) waiters: Waiters,
    pub(super) watches: Watches,
    pub(super) links: Links,
    pub(super) decoding: Decoding,
    /// Memory for requests that are decoded ahead; empty between two calls.
    ahead: Ahead<'static>,
    pub(super) buffers: Buffers,
    /// Connections that a turn had something for.
    pub(super) listed: Vec<ConnectionId>,
    /// Connections that ask for something by themselves; some may be gone.
    pub(super) queued: Vec<ConnectionId>,
    /// When the default group is to be made absent, as a client of memcached's protocol has asked for; the last one counts.
    pub(super) flush_at_ms: Option<u64>,
    /// Requests or replies for other shards or nodes may lie in the engine.
    pub(super) unsent: bool,
}

/// What a turn found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// There was something to do, so there may be more.
    pub worked: bool,
    /// Something lies on the control lane.
    pub control: bool,
}

/// A connection without its socket, between two shards.
#[derive(Debug)]
pub struct Parcel {
    dialect: Dialect,
    input: Vec<u8>,
    ended: bool,
}

impl Parcel {
    /// A connection that has sent `input`, of which nothing was processed.
    pub fn new(dialect: Dialect, input: Vec<u8>) -> Self {
        Self { dialect, input, ended: false }
    }

    /// What was received and not processed.
    pub fn input(&self) -> &[u8] {
        &self.input
    }
}

impl Reactor {
    /// A shard without connections.
    pub fn new(engine: Engine<Watchers>, port: Port, welcome: Welcome, tally: Arc<Tally>) -> Self {
        let decoding = Decoding::new(welcome.request_limits());
        Self {
            engine,
            port,
            welcome,
            connections: Connections::default(),
            waiters: Waiters::new(tally),
            watches: Watches::default(),
            links: Links::default(),
            decoding,
            ahead: Ahead::default(),
            buffers: Buffers::default(),
            listed: Vec::new(),
            queued: Vec::new(),
            flush_at_ms: None,
            unsent: false,
        }
    }

    /// A new connection.
    pub fn opened(&mut self, dialect: Dialect) -> ConnectionId {
        let id = self.connections.insert(dialect);
        self.count_connections();
        id
    }

    /// A connection is gone, or is to be: whatever it waits for is forgotten, and what waits for it is answered.
    pub fn closed(&mut self, id: ConnectionId, now_ms: u64) {
        if let Some(link) = self.remove(id).link {
            self.unlinked(link, now_ms);
        }
    }

    /// The ring, and who is in it, changes.
    ///
    /// # Errors
    /// This shard cannot be as the topology says; it keeps the one that it has.
    pub fn set_topology(&mut self, topology: Arc<Topology>) -> Result<(), EngineError> {
        self.unsent = true;
        self.engine.set_topology(topology)
    }

    /// The ring changes, and with it what this node owns.
    ///
    /// # Errors
    /// This shard cannot be as the topology says; it keeps the one that it has.
    pub fn set_membership(&mut self, membership: &Membership, now_ms: u64) -> Result<(), EngineError> {
        self.unsent = true;
        self.engine.set_membership(membership, now_ms)
    }

    /// What is known of this node's registration; to be told before anything is received.
    #[inline]
    pub fn set_standing(&mut self, standing: Standing) {
        self.engine.set_standing(standing);
    }

    /// What became of an order about a node.
    pub fn cluster_order_done(&mut self, ticket: Ticket, outcome: &ClusterOrderOutcome) {
        let (engine, mut answers) = self.answers();
        engine.cluster_order_done(ticket, outcome, |ticket, reply| answers.give(ticket, reply));
    }

    /// A key was loaded, or could not be.
    pub fn loaded(&mut self, flight: FlightId, loaded: &Loaded<'_>, now_ms: u64) {
        self.unsent = true;
        let (engine, mut answers) = self.answers();
        engine.loaded(flight, loaded, now_ms, |ticket, reply| answers.give(ticket, reply));
        // Whoever lists connections for what is to be sent may come before the next turn, which resumes those that are listed.
        self.resume_listed(now_ms);
    }

    /// The engine, for what has nothing to do with connections.
    pub fn engine(&mut self) -> &mut Engine<Watchers> {
        &mut self.engine
    }

    /// The shard that this connection is to be handed over to: its first request was a Hello that asks for that shard.
    /// Nothing of it was processed, and nothing will be before [`Reactor::detach`] or [`Reactor::stay`]. To be asked
    /// after [`Reactor::received`].
    pub fn destination(&mut self, id: ConnectionId) -> Option<u16> {
        match self.connections.at(id).home {
            Home::Elsewhere(shard) => Some(shard),
            Home::Here | Home::Undecided => None,
        }
    }

    /// Whether the connection is served here to its end, so that more than one receive may be under way. Before, a
    /// receive could take bytes that another shard is to see.
    pub fn is_settled(&mut self, id: ConnectionId) -> bool {
        self.connections.at(id).home == Home::Here
    }

    /// A connection leaves for the shard of its [`Reactor::destination`].
    ///
    /// # Panics
    /// If it has none.
    pub fn detach(&mut self, id: ConnectionId) -> Parcel {
        let Connection { home, dialect, input, ended, .. } = self.remove(id);
        assert!(matches!(home, Home::Elsewhere(_)), "only a connection that asked for another shard leaves");
        Parcel { dialect, input, ended }
    }

    /// A connection that should move cannot: it is served here, and its Hello is told so.
    pub fn stay(&mut self, id: ConnectionId, now_ms: u64) {
        self.connections.at(id).home = Home::Here;
        self.resume(id, now_ms);
    }

    /// Takes in a connection from another shard and processes what it brings. It stays, whatever shard it asked for.
    pub fn adopt(&mut self, parcel: Parcel, now_ms: u64) -> ConnectionId {
        let id = self.opened(parcel.dialect);
        let connection = self.connections.at(id);
        (connection.home, connection.input, connection.ended) = (Home::Here, parcel.input, parcel.ended);
        self.resume(id, now_ms);
        id
    }

    /// Asks the processor for the memory that these reads will want which have one request each, for all of them at once:
    /// they are about to be [`Reactor::received`]. Changes nothing. A read of several asks for its own when it is processed.
    /// Returns for how many requests it has asked.
    #[inline]
    pub fn prefetch<'a>(&self, reads: impl Iterator<Item = (ConnectionId, &'a [u8])>) -> usize {
        let (limits, frame_bytes_max) = (self.decoding.limits(), self.welcome.frame_bytes_max());
        self.engine.prefetch(reads.filter_map(|(id, bytes)| {
            let connection = self.connections.get(id);
            let is_begun = !connection.input.is_empty() || connection.link.is_some();
            if is_begun { None } else { connection.dialect.only(bytes, &limits, frame_bytes_max) }
        }))
    }

    /// Bytes came. Every whole request in them is executed or passed on, up to the connection's limits; the rest waits.
    pub fn received(&mut self, id: ConnectionId, bytes: &[u8], now_ms: u64) {
        let connection = self.connections.at(id);
        if connection.broken {
            return;
        }
        connection.dialect.heard(bytes.len(), now_ms);
        if connection.input.is_empty() {
            let consumed = self.process(id, bytes, now_ms);
            let connection = self.connections.at(id);
            if !connection.broken && consumed < bytes.len() {
                connection.keep_input(&bytes[consumed..]);
            }
        } else {
            connection.keep_input(bytes);
            self.resume(id, now_ms);
        }
        // Not once a turn: a turn has many reads, and those who watch have little room.
        self.tell_watches();
    }

    /// No more bytes will come from this connection: it is finished once everything is answered and sent.
    pub fn ended(&mut self, id: ConnectionId, now_ms: u64) {
        let connection = self.connections.at(id);
        connection.ended = true;
        if let Some(link) = connection.link {
            self.link_ended(id, link, now_ms);
        }
    }

    /// Hands over everything that is to be sent, so that it can lie still while it is; what comes up until it is given
    /// to [`Reactor::sent`] collects in another buffer. None if there is nothing, or a buffer is out already.
    pub fn take_output(&mut self, id: ConnectionId) -> Option<Vec<u8>> {
        let connection = self.connections.at(id);
        if connection.sending > 0 || connection.output.is_empty() {
            return None;
        }
        connection.sending = connection.output.len();
        connection.dialect.sends(connection.sending);
        Some(core::mem::take(&mut connection.output))
    }

    /// Whether there are answers to be sent, more are on their way from other shards that are not known to take long, and
    /// those may wait for these.
    pub fn awaits_more(&mut self, id: ConnectionId) -> bool {
        let connection = self.connections.at(id);
        connection.pending > connection.delayed
            && !connection.output.is_empty()
            && connection.backlog() < HOLD_BYTES_MAX
    }

    /// What is on its way takes long, and what follows is not to wait for it; see [`Reactor::awaits_more`].
    pub fn waited_in_vain(&mut self, id: ConnectionId) {
        self.waiters.delay_all(self.connections.at(id));
    }

    /// All that was handed over is sent. Requests that waited for that are processed.
    pub fn sent(&mut self, id: ConnectionId, buffer: Vec<u8>, now_ms: u64) {
        let connection = self.connections.at(id);
        assert_eq!(core::mem::take(&mut connection.sending), buffer.len(), "what was handed over comes back");
        self.buffers.give(buffer);
        self.resume(id, now_ms);
    }

    /// Bytes that are to be sent, those that were handed over among them.
    pub fn backlog(&mut self, id: ConnectionId) -> usize {
        self.connections.at(id).backlog()
    }

    /// Whether a request has come in part, and its rest would be taken in.
    pub fn is_half_sent(&mut self, id: ConnectionId) -> bool {
        let connection = self.connections.at(id);
        !connection.input.is_empty() && connection.wants_input()
    }

    /// Whether a request of this connection is at another shard, or is answered for as long as it lasts, or it is a link,
    /// whose silence is ours.
    pub fn is_pending(&mut self, id: ConnectionId) -> bool {
        let connection = self.connections.at(id);
        connection.pending > 0 || connection.watches > 0 || connection.link.is_some()
    }

    /// Whether bytes from this connection are of use now. If not: leave them in the socket, which slows the client.
    pub fn wants_input(&mut self, id: ConnectionId) -> bool {
        self.connections.at(id).wants_input()
    }

    /// Whether everything is answered and sent, and nothing more will come: close it.
    pub fn is_finished(&mut self, id: ConnectionId) -> bool {
        self.connections.at(id).is_finished()
    }

    /// Whether the last bytes of a finished connection need care: the peer may be sending still, see
    /// [`crate::limits::LINGER_MS`].
    pub fn is_broken(&mut self, id: ConnectionId) -> bool {
        self.connections.at(id).broken
    }

    /// Whether [`Reactor::turn`] has something to do.
    pub fn needs_turn(&self) -> bool {
        let is_told = !self.listed.is_empty() || !self.queued.is_empty();
        self.unsent || is_told || self.port.door().is_marked() || self.watches.has_news(&self.engine, &self.connections)
    }

    /// Takes in what other shards sent, lets deadlines pass, collects what is complete, sends what is to go, and tells
    /// those who watch.
    pub fn turn(&mut self, now_ms: u64) -> Turn {
        let mut worked = core::mem::take(&mut self.unsent) | self.submit_queued(now_ms) | self.flush(now_ms);
        let Self { engine, port, connections, waiters, buffers, listed, queued, welcome, .. } = self;
        waiters.now_ms = now_ms;
        let shared = &welcome.resp;
        let mut answers = Answers { epoch: engine.epoch(), connections, waiters, buffers, listed, queued, shared };
        let control = port.take(|incoming| {
            let answer = |ticket, reply: &Reply<'_>| answers.give(ticket, reply);
            engine.receive(incoming.from, incoming.lane, &incoming.batch, now_ms, answer);
            engine.delayed().iter().for_each(|ticket| answers.delay(*ticket));
            engine.recycle(incoming.batch);
            worked = true;
        });
        if engine.next_wake_ms().is_some_and(|wake_ms| wake_ms <= now_ms) {
            engine.wake(now_ms, |ticket, reply| answers.give(ticket, reply));
            worked = true;
        }
        if worked {
            self.resume_listed(now_ms);
            self.send(now_ms);
        }
        self.tell_watches();
        Turn { worked, control }
    }

    /// When [`Reactor::turn`] is to be called at the latest; `None`: there is no deadline.
    pub fn next_wake_ms(&self) -> Option<u64> {
        self.engine.next_wake_ms().into_iter().chain(self.flush_at_ms).min()
    }

    /// A piece of bounded work that no request waits for. Returns what is left of it.
    pub fn background(&mut self, now_ms: u64, steps: usize) -> Backlog {
        self.engine.background(now_ms, steps)
    }

    /// A connection that the last turn gave output to, or made finished.
    pub fn next_listed(&mut self) -> Option<ConnectionId> {
        let id = self.listed.pop()?;
        self.connections.at(id).listed = false;
        Some(id)
    }

    /// To be stepped on another thread.
    pub fn pages_ahead(&self) -> larder_store::Ahead {
        self.engine.pages_ahead()
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// This shard's door.
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// Checks every invariant.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn validate(&mut self) {
        self.engine.validate();
        self.port.validate();
        self.connections.validate();
        self.watches.validate(&self.engine, &self.connections);
        let ids: Vec<_> = self.connections.ids().collect();
        let mut pending = 0;
        for id in ids {
            let connection = self.connections.at(id);
            self.waiters.validate(id, connection);
            self.links.validate(id, connection);
            pending += connection.pending as usize;
            assert_eq!(connection.listed, self.listed.contains(&id), "listed if and only if on the list");
        }
        assert_eq!(pending, self.waiters.len(), "every waiter has a connection");
    }

    fn remove(&mut self, id: ConnectionId) -> Connection {
        let mut connection = self.connections.remove(id);
        while let Some(ticket) = self.waiters.take_first(&mut connection) {
            self.engine.cancel(ticket);
        }
        if connection.watches > 0 {
            self.watches.end_all(&mut self.engine, id);
        }
        self.listed.retain(|listed| *listed != id);
        self.buffers.give(core::mem::take(&mut connection.output));
        if connection.link.is_none() {
            self.count_connections();
        }
        connection
    }

    pub(super) fn count_connections(&mut self) {
        self.engine.counters_mut().connections = (self.connections.len() - self.links.open()) as u64;
    }

    /// Processes what waited, if the connection is not paused any more.
    fn resume(&mut self, id: ConnectionId, now_ms: u64) {
        let connection = self.connections.at(id);
        if connection.input.is_empty() || connection.is_paused() && connection.link.is_none() {
            return;
        }
        let mut input = core::mem::take(&mut connection.input);
        let consumed = self.process(id, &input, now_ms);
        let connection = self.connections.at(id);
        if connection.broken || consumed == input.len() {
            return;
        }
        input.drain(..consumed);
        // What is left is the beginning of another request: do not keep the room of a large one for it.
        if consumed > 0 && input.capacity() > 2 * input.len().max(crate::limits::READ_BYTES) {
            input.shrink_to_fit();
        }
        connection.input = input;
    }

    /// Executes the requests at the beginning of `bytes` while the connection is not paused; returns their bytes.
    fn process(&mut self, id: ConnectionId, bytes: &[u8], now_ms: u64) -> usize {
        if let Some(link) = self.connections.at(id).link {
            return self.take_responses(id, link, bytes, now_ms);
        }
        let Self { engine, welcome, waiters, watches, decoding, unsent, queued, flush_at_ms, .. } = self;
        engine.next_caller();
        let mut parts = Parts { engine, welcome, waiters, watches, decoding, unsent, queued, flush_at_ms };
        let mut ahead = std::mem::take(&mut self.ahead).recycled();
        let connection = self.connections.at(id);
        if connection.output.capacity() == 0 {
            connection.output = self.buffers.take();
        }
        let consumed = parts.process(id, connection, bytes, &mut ahead, now_ms);
        self.ahead = ahead.recycled();
        if connection.output.is_empty() {
            self.buffers.give(core::mem::take(&mut connection.output));
        }
        consumed
    }

    /// Tells those who watch and read what has left.
    #[inline]
    fn tell_watches(&mut self) {
        let Self { engine, connections, watches, buffers, listed, .. } = self;
        watches.tell(engine, connections, buffers, listed);
    }

    /// Connections that got answers may have requests that waited for that.
    fn resume_listed(&mut self, now_ms: u64) {
        for index in 0..self.listed.len() {
            self.resume(self.listed[index], now_ms);
        }
    }

    /// The engine, and what it takes to pass on what it answers.
    pub(super) fn answers(&mut self) -> (&mut Engine<Watchers>, Answers<'_>) {
        let Self { engine, connections, waiters, buffers, listed, queued, welcome, .. } = self;
        let (epoch, shared) = (engine.epoch(), &welcome.resp);
        (engine, Answers { epoch, connections, waiters, buffers, listed, queued, shared })
    }

    /// Puts what is for other shards on their lanes, and what is for other nodes on their links.
    fn send(&mut self, now_ms: u64) {
        self.unsent = false;
        self.drive_links(now_ms);
        while let Some(outgoing) = self.engine.next_batch() {
            self.port.push(outgoing.to, outgoing.lane, outgoing.batch);
        }
        self.port.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW_MS, reactors};
    use super::*;
    use larder_protocol::native::encode_request;
    use larder_protocol::{Command, Condition, Expiry, Keys, Request, Span, TouchCondition, Write};

    /// Frames of any kind of request, and some that are none.
    fn frames(random: &mut fastrand::Rng, next_id: &mut u64) -> Vec<Vec<u8>> {
        let frame = |_| {
            let names = format!("{:02}{:02}", random.u32(0..40), random.u32(0..40));
            let (key, value) = (&names.as_bytes()[..2], vec![random.u8(..); random.usize(0..200)]);
            let spans = [Span { start: 0, len: 2 }, Span { start: 2, len: 2 }];
            let expiry = if random.bool() { Expiry::Default } else { Expiry::After(random.u64(1..20)) };
            let condition = if random.u8(0..5) == 0 { Condition::Present } else { Condition::Always };
            let command = match random.u8(0..20) {
                0..9 => Command::Get { key },
                9..14 => Command::Set(Write { key, value: &value, flags: 1, condition, expiry }),
                14 => Command::Delete { key, version: 0 },
                15 => Command::Touch { key, expiry, only: TouchCondition::Always },
                16 => Command::Append { key, value: &value },
                17 => Command::GetMany { keys: Keys::new(names.as_bytes(), &spans) },
                18 => return vec![0, 0, 0, 2, 0x08, random.u8(..)],
                _ => Command::Hello { client: "c", protocol: 1, credentials: &[], shard: None },
            };
            *next_id += 1;
            let group = if random.u8(0..20) == 0 { 0xBAD } else { 0 };
            let mut frame = Vec::new();
            let forwarded = random.u8(0..10) == 0;
            encode_request(&mut frame, &Request { id: *next_id, epoch: 0, group, timeout_ms: 0, forwarded, command });
            frame
        };
        (0..150).map(frame).collect()
    }

    /// All that a connection is answered, if its reads have these frames together or each by itself.
    fn answers(shards: u16, seed: u64, is_ahead: bool) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut reactors, mut answers, mut next_id) = (reactors(shards), Vec::new(), 0);
        let id = reactors[0].opened(Dialect::Native);
        for round in 0..20 {
            let frames = frames(&mut random, &mut next_id);
            let now_ms = NOW_MS + 7 * round;
            if is_ahead {
                let bytes = frames.concat();
                let cut = random.usize(0..bytes.len());
                reactors[0].received(id, &bytes[..cut], now_ms);
                reactors[0].received(id, &bytes[cut..], now_ms);
            } else {
                random.usize(0..frames.concat().len());
                frames.iter().for_each(|frame| reactors[0].received(id, frame, now_ms));
            }
            while reactors.iter_mut().map(|reactor| reactor.turn(now_ms)).fold(false, |any, turn| any | turn.worked) {}
            while let Some(output) = reactors[0].take_output(id) {
                answers.extend_from_slice(&output);
                reactors[0].sent(id, output, now_ms);
            }
            reactors.iter_mut().for_each(Reactor::validate);
        }
        let stats = Request { id: 1, epoch: 0, group: 0, timeout_ms: 0, forwarded: true, command: Command::Stats };
        let mut frame = Vec::new();
        encode_request(&mut frame, &stats);
        reactors[0].received(id, &frame, NOW_MS + 1000);
        answers.extend(reactors[0].take_output(id).expect("statistics are answered at once"));
        answers
    }

    #[test]
    fn requests_of_one_read_are_answered_like_requests_of_many() {
        for seed in 0..40 {
            for shards in [1, 2] {
                let (ahead, alone) = (answers(shards, seed, true), answers(shards, seed, false));
                assert!(ahead.len() > 20_000, "seed {seed}: {} bytes of answers", ahead.len());
                assert!(ahead == alone, "seed {seed}, {shards} shards: the answers differ");
            }
        }
    }
}

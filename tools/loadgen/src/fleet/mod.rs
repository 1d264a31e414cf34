//! The connections of one thread: one poll, one read and one write per connection and turn, and slots that remember
//! what was asked. What to ask, and what an answer means, is the [`Workload`]'s.
//!
//! Every request has a slot of its connection, and its id names the slot, so answers may come in any order and finding
//! the request is an index. No request allocates.

mod link;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use larder_protocol::Command;
use mio::{Events, Poll, Token};

use crate::clock::{Clock, ns};
use crate::error::LoadError;
use crate::limits::{EVENTS_PER_TURN, LOSSES_SHOWN_MAX, READ_BYTES, READS_PER_TURN, REOPEN_PAUSE, TICK};
use crate::progress::note;
use crate::protocol::{AnswerOf, LoadProtocol};
use crate::workload::Operation;
use link::{Link, Received, State};

/// What is asked: enough to encode it, and to judge the answer.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The kind.
    pub operation: Operation,
    /// Number of the key; of a multi-get: nothing.
    pub key: u64,
    /// Of a write that is verified: its version. Of a read: the oldest version that may come back.
    pub version: u64,
    /// Of a set: size of the value.
    pub value_bytes: u32,
    /// Whether it fills a miss, and is sent besides what the run is to send.
    pub fill: bool,
}

/// A call on its way.
#[derive(Clone, Copy, Debug)]
pub struct Flight {
    /// What was asked.
    pub call: Call,
    /// When it should have been sent. Latency counts from here.
    pub intended_ns: u64,
    /// When it was sent. Service time counts from here.
    pub sent_ns: u64,
}

/// A slot of a connection of this fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the connection.
    pub connection: usize,
    /// Number of the slot within the connection.
    pub slot: usize,
}

/// Who decides what is asked.
pub trait Workload<P: LoadProtocol> {
    /// The bytes of a call.
    fn command(&mut self, place: Place, call: &Call) -> Command<'_>;

    /// An answer has come. Returns what goes into the same slot next, at once.
    ///
    /// # Errors
    /// The answer is one that the run cannot go on after.
    fn answered(
        &mut self,
        place: Place,
        flight: &Flight,
        answer: &AnswerOf<'_, P>,
        now_ns: u64,
    ) -> Result<Option<Call>, LoadError>;

    /// No answer will come: the connection broke, or the run is over.
    fn lost(&mut self, place: Place, flight: &Flight, now_ns: u64);
}

/// How a fleet is to be.
#[derive(Clone, Copy, Debug)]
pub struct FleetSettings {
    /// Where to.
    pub address: SocketAddr,
    /// Number of the first connection among those of the run.
    pub first_connection: usize,
    /// How many connections.
    pub connections: usize,
    /// Slots of each.
    pub depth: usize,
    /// Attempts in a row to open a lost connection again.
    pub reopens_max: u32,
    /// A connection that owes an answer and stays silent for so long counts as lost.
    pub answer_timeout: Duration,
}

/// Bytes and events of a fleet since it was connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes written.
    pub bytes_sent: u64,
    /// Bytes read.
    pub bytes_received: u64,
    /// Connections that were lost.
    pub losses: u64,
    /// Time that passed waiting for events or for the clock, in ns.
    pub idle_ns: u64,
}

/// Connections of one thread.
#[derive(Debug)]
pub struct Fleet<P> {
    poll: Poll,
    events: Events,
    ready: Vec<Ready>,
    links: Vec<Link<P>>,
    settings: FleetSettings,
    clock: Clock,
    inbox: Box<[u8]>,
    /// Connections with requests that were not written yet.
    unwritten: Vec<usize>,
    /// Connections whose last read was stopped by its bound.
    unread: Vec<usize>,
    /// Connections that came about since someone asked.
    opened: Vec<usize>,
    in_flight: usize,
    free_slots: usize,
    next_tick_ns: u64,
    traffic: Traffic,
}

#[derive(Clone, Copy, Debug)]
struct Ready {
    link: usize,
    readable: bool,
    writable: bool,
    closed: bool,
}

impl<P: LoadProtocol> Fleet<P> {
    /// Opens all connections.
    ///
    /// # Errors
    /// The server cannot be reached, or the operating system refuses.
    pub fn connect(settings: FleetSettings, protocol: &P, clock: Clock) -> Result<Fleet<P>, LoadError> {
        let system = |source: io::Error| LoadError::System { action: "poll connections".into(), source };
        let poll = Poll::new().map_err(system)?;
        let mut links = Vec::with_capacity(settings.connections);
        for number in 0..settings.connections {
            let mut link = Link::open(&settings, settings.first_connection + number, protocol, clock.now_ns())?;
            link.register(poll.registry(), Token(number)).map_err(system)?;
            links.push(link);
        }
        Ok(Fleet {
            poll,
            events: Events::with_capacity(EVENTS_PER_TURN),
            ready: Vec::with_capacity(EVENTS_PER_TURN),
            links,
            settings,
            clock,
            inbox: vec![0; READ_BYTES].into_boxed_slice(),
            unwritten: Vec::with_capacity(settings.connections),
            unread: Vec::new(),
            opened: (0..settings.connections).collect(),
            in_flight: 0,
            free_slots: settings.connections * settings.depth,
            next_tick_ns: 0,
            traffic: Traffic::default(),
        })
    }

    /// Requests that wait for an answer.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Free slots of open connections.
    pub fn free_slots(&self) -> usize {
        self.free_slots
    }

    /// Free slots of one connection; 0 while it is not open.
    pub fn free_slots_of(&self, connection: usize) -> usize {
        self.links[connection].free_slots()
    }

    /// How many connections there are, open or not.
    pub fn connections(&self) -> usize {
        self.links.len()
    }

    /// What went over the wire.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// A connection that was opened since the last time somebody asked; `None` when there is no other one.
    pub fn next_opened(&mut self) -> Option<usize> {
        self.opened.pop()
    }

    /// Puts a call into a free slot of an open connection; [`Fleet::turn`] or [`Fleet::flush`] sends it.
    ///
    /// # Panics
    /// If the connection has no free slot.
    pub fn start<W: Workload<P>>(
        &mut self,
        connection: usize,
        call: Call,
        intended_ns: u64,
        now_ns: u64,
        load: &mut W,
    ) {
        let link = &mut self.links[connection];
        let slot = link.take_slot();
        self.start_in(connection, slot, call, intended_ns, now_ns, load);
    }

    /// [`Fleet::start`] in the slot with this number.
    ///
    /// # Panics
    /// If the connection is not open or the slot is not free.
    pub fn start_at<W: Workload<P>>(&mut self, place: Place, call: Call, now_ns: u64, load: &mut W) {
        self.links[place.connection].take_slot_at(place.slot);
        self.start_in(place.connection, place.slot, call, now_ns, now_ns, load);
    }

    fn start_in<W: Workload<P>>(
        &mut self,
        connection: usize,
        slot: usize,
        call: Call,
        intended_ns: u64,
        now_ns: u64,
        load: &mut W,
    ) {
        self.free_slots -= 1;
        self.in_flight += 1;
        let place = Place { connection, slot };
        let link = &mut self.links[connection];
        if link.send(slot, Flight { call, intended_ns, sent_ns: now_ns }, &load.command(place, &call), now_ns) {
            self.unwritten.push(connection);
        }
    }

    /// Writes what was started since the last turn: one write per connection.
    ///
    /// # Errors
    /// As [`Fleet::turn`].
    pub fn flush<W: Workload<P>>(&mut self, load: &mut W) -> Result<(), LoadError> {
        while let Some(connection) = self.unwritten.pop() {
            self.write(connection, load)?;
        }
        Ok(())
    }

    /// Waits for events, at most `timeout`, handles them, and returns the time.
    ///
    /// # Errors
    /// What the workload cannot go on after; a connection that is lost for good; a server that breaks the protocol.
    pub fn turn<W: Workload<P>>(&mut self, timeout: Duration, load: &mut W) -> Result<u64, LoadError> {
        self.flush(load)?;
        let before_ns = self.clock.now_ns();
        let timeout = if self.unread.is_empty() { timeout } else { Duration::ZERO };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(LoadError::System { action: "poll connections".into(), source: error });
            }
            _ => {}
        }
        let now_ns = self.clock.now_ns();
        self.ready.clear();
        self.ready.extend(self.events.iter().map(|event| Ready {
            link: event.token().0,
            readable: event.is_readable() || event.is_read_closed() || event.is_error(),
            writable: event.is_writable(),
            closed: event.is_read_closed(),
        }));
        if !timeout.is_zero() || (self.ready.is_empty() && self.unread.is_empty()) {
            self.traffic.idle_ns += now_ns - before_ns;
        }
        for number in 0..self.ready.len() {
            self.handle(self.ready[number], load)?;
        }
        for connection in std::mem::take(&mut self.unread) {
            self.read(connection, load)?;
        }
        if now_ns >= self.next_tick_ns {
            self.next_tick_ns = now_ns + ns(TICK);
            self.tick(now_ns, load)?;
        }
        Ok(now_ns)
    }

    /// Gives up on everything that is on its way, because the run is over.
    pub fn abandon<W: Workload<P>>(&mut self, load: &mut W) {
        let now_ns = self.clock.now_ns();
        for (connection, link) in self.links.iter_mut().enumerate() {
            let free = link.free_slots();
            self.in_flight -= link.forget(|slot, flight| load.lost(Place { connection, slot }, flight, now_ns));
            self.free_slots = self.free_slots - free + link.free_slots();
        }
    }

    fn handle<W: Workload<P>>(&mut self, ready: Ready, load: &mut W) -> Result<(), LoadError> {
        let connection = ready.link;
        if self.links[connection].is_opening() {
            return match self.links[connection].finish_opening() {
                Ok(true) => {
                    self.free_slots += self.links[connection].free_slots();
                    self.opened.push(connection);
                    Ok(())
                }
                Ok(false) => Ok(()),
                Err(reason) => self.lose(connection, reason, load),
            };
        }
        if ready.closed {
            self.links[connection].close();
        }
        if ready.readable {
            self.read(connection, load)?;
        }
        if ready.writable {
            self.write(connection, load)?;
        }
        Ok(())
    }

    /// Reads until there is nothing more, or the others must have their turn, and answers with one write.
    fn read<W: Workload<P>>(&mut self, connection: usize, load: &mut W) -> Result<(), LoadError> {
        for _ in 0..READS_PER_TURN {
            let link = &mut self.links[connection];
            let read = match link.read(&mut self.inbox) {
                Received::Bytes(read) => read,
                Received::Nothing => return Ok(()),
                Received::End(reason) => return self.lose(connection, reason, load),
            };
            self.traffic.bytes_received += read as u64;
            let now_ns = self.clock.now_ns();
            let free = link.free_slots();
            let result = link.receive(&self.inbox[..read], connection, now_ns, load);
            let freed = link.free_slots() - free;
            self.free_slots += freed;
            self.in_flight -= freed;
            match result {
                Err(link::Fault::Load(error)) => return Err(error),
                Err(link::Fault::Protocol(reason)) => {
                    return Err(LoadError::Protocol { address: self.settings.address, reason });
                }
                Ok(()) => self.write(connection, load)?,
            }
            // A read that is not filled has taken everything; more of it is a new event. Only the end is none.
            if read < self.inbox.len() && !self.links[connection].is_closing() {
                return Ok(());
            }
        }
        // Once: an event may come for one that waits here already, turn after turn.
        if !self.unread.contains(&connection) {
            self.unread.push(connection);
        }
        Ok(())
    }

    fn write<W: Workload<P>>(&mut self, connection: usize, load: &mut W) -> Result<(), LoadError> {
        match self.links[connection].write() {
            Ok(written) => {
                self.traffic.bytes_sent += written as u64;
                Ok(())
            }
            Err(reason) => self.lose(connection, reason, load),
        }
    }

    /// A connection is gone: its requests are lost, and it is opened again later, or the run fails.
    fn lose<W: Workload<P>>(&mut self, connection: usize, reason: String, load: &mut W) -> Result<(), LoadError> {
        let now_ns = self.clock.now_ns();
        let link = &mut self.links[connection];
        self.free_slots -= link.free_slots();
        self.in_flight -= link.forget(|slot, flight| load.lost(Place { connection, slot }, flight, now_ns));
        let FleetSettings { address, reopens_max, .. } = self.settings;
        let attempts = link.attempts();
        if attempts >= reopens_max {
            return Err(LoadError::Lost { connection, address, reason, attempts });
        }
        link.wait_until(now_ns + (ns(REOPEN_PAUSE) << attempts));
        self.traffic.losses += 1;
        if self.traffic.losses <= LOSSES_SHOWN_MAX {
            let last = if self.traffic.losses == LOSSES_SHOWN_MAX { " (further ones are only counted)" } else { "" };
            note(&format!(
                "connection {connection} was lost: {reason}; opening it again, attempt {} of {reopens_max}{last}",
                attempts + 1
            ));
        }
        Ok(())
    }

    /// Opens connections whose pause is over, and finds those that owe an answer for too long.
    fn tick<W: Workload<P>>(&mut self, now_ns: u64, load: &mut W) -> Result<(), LoadError> {
        let timeout_ns = ns(self.settings.answer_timeout);
        for connection in 0..self.links.len() {
            let link = &mut self.links[connection];
            let lost = match link.state() {
                State::Open if link.is_silent(now_ns, timeout_ns) => {
                    Some(format!("no answer for {:?}", self.settings.answer_timeout))
                }
                State::Opening if link.is_late(now_ns) => Some("no connection in time".into()),
                State::Waiting if link.is_late(now_ns) => {
                    let registry = self.poll.registry();
                    link.reopen(self.settings.address, now_ns, registry, Token(connection)).err()
                }
                _ => None,
            };
            if let Some(reason) = lost {
                self.lose(connection, reason, load)?;
            }
        }
        Ok(())
    }
}

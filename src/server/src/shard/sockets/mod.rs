//! The sockets of one shard: what the ring completes goes to the reactor, what the reactor has goes to the ring.

mod closing;
mod reaping;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use larder_engine::LinkId;
use rustix::net::SendFlags;

use crate::dialer::Dials;
use crate::limits::{REAPED_MAX, STOP_READ_BYTES_MAX, SWEEP_INTERVAL_MS};
use crate::shard::accept::Listener;
use crate::shard::control::Admission;
use crate::shard::dialect::Dialect;
use crate::shard::handover::{Handover, Moved};
use crate::shard::holding::{Held, Holding};
use crate::shard::reactor::{ConnectionId, Reactor};
use crate::shard::ring::{Completion, Ring};

/// How long clients may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A connection over which nothing goes either way is closed after so long; zero: never.
    pub idle: Duration,
    /// A connection on which a request has begun, and of which nothing more comes, is closed after so long; zero:
    /// never.
    pub half_sent: Duration,
}

/// A connection's socket.
struct Socket {
    id: ConnectionId,
    descriptor: OwnedFd,
    phase: Phase,
    receiving: Receiving,
    is_sending: bool,
    /// Among those that [`Sockets::settle`] looks at.
    is_dirty: bool,
    /// It is a connection to another node, which the limit on connections does not count.
    is_link: bool,
    /// Its answers wait for others.
    held: Option<Held>,
    /// When bytes went last, either way.
    active_ms: u64,
    /// What may still be read after the order to stop.
    stop_read_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Requests come and answers go.
    Open,
    /// Everything is answered, and the peer may be sending still: its unread bytes must not turn the last answers into
    /// a reset.
    Lingering { until_ms: u64 },
    /// Nothing more is read or sent; the ring lets go of it.
    Closing { is_shut: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiving {
    No,
    InFlight,
    Cancelled,
}

/// See the module.
pub(in crate::shard) struct Sockets {
    pub(in crate::shard) reactor: Reactor,
    pub(in crate::shard) ring: Ring,
    listener: Listener,
    admission: Arc<Admission>,
    handover: Arc<Handover>,
    dials: Dials,
    patience: Patience,
    /// By the index of the connection.
    sockets: Vec<Option<Socket>>,
    open: usize,
    /// How many of these are links.
    links: usize,
    dirty: Vec<u32>,
    /// Completions that are being taken in; empty between two turns.
    reaped: Vec<Completion>,
    /// For how many requests of reads that came together the memory was asked for.
    asked_for: u64,
    holding: Holding,
    /// When lingering ends, for whom. One that has ended earlier stays until then.
    lingering: BinaryHeap<Reverse<(u64, u32)>>,
    next_sweep_ms: u64,
    swept: usize,
    is_stopping: bool,
    is_cut: bool,
    cut_off: usize,
    /// Where a stopping shard reads to.
    last_bytes: Box<[u8]>,
}

impl Sockets {
    /// Accepts connections.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(in crate::shard) fn new(
        reactor: Reactor,
        mut ring: Ring,
        listener: TcpListener,
        admission: Arc<Admission>,
        handover: Arc<Handover>,
        dials: Dials,
        patience: Patience,
    ) -> std::io::Result<Self> {
        let listener = Listener::new(listener, &mut ring, admission.clone())?;
        ring.watch(reactor.port().door().event());
        Ok(Self {
            reactor,
            ring,
            listener,
            admission,
            handover,
            dials,
            patience,
            sockets: Vec::new(),
            open: 0,
            links: 0,
            dirty: Vec::new(),
            reaped: Vec::with_capacity(REAPED_MAX),
            asked_for: 0,
            holding: Holding::default(),
            lingering: BinaryHeap::new(),
            next_sweep_ms: 0,
            swept: 0,
            is_stopping: false,
            is_cut: false,
            cut_off: 0,
            last_bytes: Box::default(),
        })
    }

    /// Connections that a turn of the reactor had something for are to be looked at, and those that it wants to other
    /// nodes to be made.
    pub(in crate::shard) fn take_listed(&mut self, now_ms: u64) {
        while let Some(dial) = self.reactor.next_dial() {
            let link = dial.link;
            if !self.dials.ask(dial) {
                self.reactor.unlinked(link, now_ms);
            }
        }
        while let Some(id) = self.reactor.next_listed() {
            self.mark(id.index);
        }
    }

    /// Asks the ring for what is to be done on the connections with which something has happened. Once a turn.
    pub(in crate::shard) fn settle(&mut self, now_ms: u64) {
        self.holding.turn();
        while let Some(index) = self.dirty.pop() {
            let Some(socket) = &mut self.sockets[index as usize] else { continue };
            socket.is_dirty = false;
            match socket.phase {
                Phase::Open => self.settle_open(index, now_ms),
                Phase::Lingering { .. } => {
                    if socket.receiving == Receiving::No {
                        socket.receiving = Receiving::InFlight;
                        self.ring.receive(index, socket.descriptor.as_fd());
                    }
                }
                Phase::Closing { is_shut } => self.settle_closing(index, is_shut, now_ms),
            }
        }
        while let Some((held, index)) = self.holding.next_over(now_ms) {
            self.let_go(held, index);
        }
    }

    /// Sends what is held back; whether there was something.
    pub(in crate::shard) fn let_go_all(&mut self) -> bool {
        while let Some((held, index)) = self.holding.next() {
            self.let_go(held, index);
        }
        self.ring.has_requests()
    }

    /// Does what is due.
    pub(in crate::shard) fn on_time(&mut self, now_ms: u64) {
        self.listener.retry(&mut self.ring, now_ms);
        while let Some(Reverse((until_ms, index))) = self.lingering.peek().copied()
            && until_ms <= now_ms
        {
            self.lingering.pop();
            if let Some(socket) = &mut self.sockets[index as usize]
                && matches!(socket.phase, Phase::Lingering { until_ms } if until_ms <= now_ms)
            {
                self.close(index);
            }
        }
        if self.next_sweep_ms <= now_ms {
            self.next_sweep_ms = now_ms + SWEEP_INTERVAL_MS;
            self.sweep(now_ms);
        }
    }

    /// When [`Sockets::on_time`] has something to do at the latest.
    pub(in crate::shard) fn next_ms(&self) -> u64 {
        let lingering = self.lingering.peek().map(|Reverse((until_ms, _))| *until_ms);
        let next_sweep_ms = if self.open == 0 { None } else { Some(self.next_sweep_ms) };
        [lingering, self.listener.retry_ms(), next_sweep_ms].into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// Serves the connections that other shards have handed over.
    pub(in crate::shard) fn take_in(&mut self, now_ms: u64) {
        let shard = self.reactor.port().shard();
        while let Some(moved) = self.handover.next(shard) {
            self.adopt(moved, now_ms);
        }
    }

    /// Lets no more connections come from other shards; those that are under way are served.
    pub(in crate::shard) fn close_handover(&mut self, now_ms: u64) {
        self.handover.close(self.reactor.port().shard());
        self.take_in(now_ms);
    }

    /// Accepts nothing more by itself.
    pub(in crate::shard) fn close_listener(&mut self) {
        self.listener.close(&mut self.ring);
    }

    /// Whether nothing more is accepted.
    pub(in crate::shard) fn is_listener_closed(&self) -> bool {
        self.listener.is_closed()
    }

    /// A connection to another node is there, or cannot be made.
    pub(in crate::shard) fn linked(&mut self, link: LinkId, socket: Option<OwnedFd>, now_ms: u64) {
        let Some(socket) = socket else { return self.reactor.unlinked(link, now_ms) };
        if let Some(id) = self.reactor.linked(link, now_ms) {
            self.insert(id, socket, true, now_ms);
        }
    }

    /// How many sockets are open, lingering ones too.
    pub(in crate::shard) fn open_count(&self) -> usize {
        self.open
    }

    /// Checks every invariant.
    pub(in crate::shard) fn validate(&mut self) {
        self.reactor.validate();
        self.ring.validate();
        assert_eq!(self.sockets.iter().flatten().count(), self.open);
        assert_eq!(self.reactor.connections(), self.open, "each connection has a socket");
        assert_eq!(self.sockets.iter().flatten().filter(|socket| socket.is_link).count(), self.links);
        for index in &self.dirty {
            assert!(self.sockets[*index as usize].as_ref().is_none_or(|socket| socket.is_dirty));
        }
    }

    fn open(&mut self, descriptor: OwnedFd, now_ms: u64) {
        if !self.admission.enter() {
            return;
        }
        let id = self.reactor.opened(Dialect::Native);
        self.insert(id, descriptor, false, now_ms);
    }

    /// Serves a connection that comes from another shard, or that could not go there; it is admitted already.
    fn adopt(&mut self, moved: Moved, now_ms: u64) {
        let id = self.reactor.adopt(moved.parcel, now_ms);
        self.insert(id, moved.socket, false, now_ms);
    }

    fn insert(&mut self, id: ConnectionId, descriptor: OwnedFd, is_link: bool, now_ms: u64) {
        let slot = id.index as usize;
        if self.sockets.len() <= slot {
            self.sockets.resize_with(slot + 1, || None);
        }
        let socket = Socket {
            id,
            descriptor,
            phase: Phase::Open,
            receiving: Receiving::No,
            is_sending: false,
            is_dirty: false,
            is_link,
            held: None,
            active_ms: now_ms,
            stop_read_bytes: STOP_READ_BYTES_MAX,
        };
        assert!(self.sockets[slot].replace(socket).is_none(), "a connection has one socket");
        self.open += 1;
        self.links += usize::from(is_link);
        self.mark(id.index);
    }

    fn settle_open(&mut self, index: u32, now_ms: u64) {
        let id = self.sockets[index as usize].as_ref().expect("it was there just now").id;
        if let Some(to) = self.reactor.destination(id) {
            if !self.is_stopping {
                return self.hand_over(index, to, now_ms);
            }
            self.reactor.stay(id, now_ms);
        }
        let is_link = self.sockets[index as usize].as_ref().expect("it was there just now").is_link;
        if self.is_stopping && !is_link {
            self.read_the_rest(index, now_ms);
        }
        if !self.holds(index, now_ms) {
            self.send(index);
        }
        let socket = self.sockets[index as usize].as_mut().expect("it was there just now");
        if self.reactor.is_finished(socket.id) {
            self.finish(index, now_ms);
        } else if (!self.is_stopping || is_link)
            && socket.receiving == Receiving::No
            && self.reactor.wants_input(socket.id)
        {
            socket.receiving = Receiving::InFlight;
            self.ring.receive(index, socket.descriptor.as_fd());
        }
    }

    /// Whether the answers of a connection wait for others.
    fn holds(&mut self, index: u32, now_ms: u64) -> bool {
        let socket = self.sockets[index as usize].as_mut().expect("it was there just now");
        if self.is_stopping || !self.reactor.awaits_more(socket.id) {
            socket.held = None;
        } else if socket.held.is_none() {
            socket.held = Some(self.holding.hold(index, now_ms));
        }
        socket.held.is_some()
    }

    /// Sends what waited in vain, and holds nothing more for what it waited for.
    fn let_go(&mut self, held: Held, index: u32) {
        if let Some(socket) = &mut self.sockets[index as usize]
            && socket.phase == Phase::Open
            && socket.held == Some(held)
        {
            socket.held = None;
            self.reactor.waited_in_vain(socket.id);
            self.send(index);
        }
    }

    fn send(&mut self, index: u32) {
        let socket = self.sockets[index as usize].as_mut().expect("it was there just now");
        if !socket.is_sending
            && let Some(buffer) = self.reactor.take_output(socket.id)
        {
            socket.is_sending = true;
            self.ring.send(index, socket.descriptor.as_fd(), buffer, 0);
        }
    }

    /// Sends what the socket takes at once, while it is in the processor's caches; the ring sends the rest. Whether all is
    /// sent.
    fn send_now(&mut self, index: u32, now_ms: u64) -> bool {
        let socket = self.sockets[index as usize].as_mut().expect("it was there just now");
        if socket.is_sending || socket.held.is_some() {
            return false;
        }
        let Some(buffer) = self.reactor.take_output(socket.id) else { return false };
        // An error is one again when the ring sends.
        let sent =
            rustix::net::send(&socket.descriptor, &buffer, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).unwrap_or(0);
        if sent == buffer.len() {
            self.reactor.sent(socket.id, buffer, now_ms);
            return true;
        }
        socket.is_sending = true;
        self.ring.send(index, socket.descriptor.as_fd(), buffer, sent);
        false
    }

    /// Hands a connection over to the shard that it has asked for, as soon as the ring does not receive from it any
    /// more. What has come until then goes along.
    fn hand_over(&mut self, index: u32, to: u16, now_ms: u64) {
        let slot = &mut self.sockets[index as usize];
        let socket = slot.as_mut().expect("it was there just now");
        match socket.receiving {
            Receiving::InFlight => {
                socket.receiving = Receiving::Cancelled;
                return self.ring.cancel_receive(index);
            }
            Receiving::Cancelled => return,
            Receiving::No => {}
        }
        let Socket { id, descriptor, is_sending, .. } = slot.take().expect("it was there just now");
        assert!(!is_sending, "nothing is answered before it is known which shard answers");
        self.open -= 1;
        let moved = Moved { socket: descriptor, parcel: self.reactor.detach(id) };
        if let Err(back) = self.handover.send(to, moved) {
            self.adopt(back, now_ms);
        }
    }

    fn mark(&mut self, index: u32) {
        if let Some(socket) = &mut self.sockets[index as usize]
            && !std::mem::replace(&mut socket.is_dirty, true)
        {
            self.dirty.push(index);
        }
    }
}

//! From the bytes of a connection to its answers: decodes requests, has the engine execute them, and encodes what it
//! says or remembers who waits.

use larder_engine::{Engine, Submission, Watchers};
use larder_protocol::limits::FRAME_BYTES_MAX;
use larder_protocol::native::{self, Scratch};
use larder_protocol::{Ahead, Command, Expiry, Reply, Request};

use super::connections::{Connection, ConnectionId, Home};
use super::dialect::{Decoding, Step};
use super::hello::Welcome;
use super::resp::World;
use super::waiters::Waiters;
use super::watches::Watches;
use crate::limits::AHEAD_MAX;
use crate::tally::{Operation, Outcome};

/// What one engine and one connection need at the same time.
pub(super) struct Parts<'r> {
    pub(super) engine: &'r mut Engine<Watchers>,
    pub(super) welcome: &'r Welcome,
    pub(super) waiters: &'r mut Waiters,
    pub(super) watches: &'r mut Watches,
    pub(super) decoding: &'r mut Decoding,
    pub(super) unsent: &'r mut bool,
    pub(super) queued: &'r mut Vec<ConnectionId>,
    /// When the default group is to be made absent.
    pub(super) flush_at_ms: &'r mut Option<u64>,
}

impl Parts<'_> {
    /// Executes requests in their order. Runs of those that can be decoded ahead are: then the memory of all is asked
    /// for before the first is executed.
    pub(super) fn process<'a>(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        bytes: &'a [u8],
        ahead: &mut Ahead<'a>,
        now_ms: u64,
    ) -> usize {
        let mut consumed = 0;
        let epoch = self.engine.epoch();
        let (limits, frame_bytes_max) = (self.decoding.limits(), self.welcome.frame_bytes_max());
        while !connection.is_paused() {
            connection.dialect.ahead(&bytes[consumed..], &limits, frame_bytes_max, ahead);
            if ahead.requests.len() > 1 {
                self.engine.prefetch(ahead.iter());
            }
            let begin = consumed;
            for (request, end) in &ahead.requests {
                connection.home = Home::Here;
                if connection.is_paused() {
                    return consumed;
                }
                connection.dialect.begun(request, &self.waiters.tally);
                self.submit(id, connection, request, epoch, now_ms);
                consumed = begin + end;
            }
            if ahead.requests.len() == AHEAD_MAX {
                continue;
            }
            if consumed == bytes.len() || connection.is_paused() {
                break;
            }
            match self.process_one(id, connection, &bytes[consumed..], epoch, now_ms) {
                0 => break,
                taken => consumed += taken,
            }
        }
        consumed
    }

    /// Processes what `bytes` begin with, whatever it is; returns how many bytes it takes, 0: it is not there as a
    /// whole.
    fn process_one(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        bytes: &[u8],
        epoch: u64,
        now_ms: u64,
    ) -> usize {
        let Connection { dialect, output, home, .. } = connection;
        // Out of `self` for as long as the request borrows it.
        let mut decoding = std::mem::take(self.decoding);
        let (engine, tally) = (&*self.engine, &*self.waiters.tally);
        let world = World { engine, shared: &self.welcome.resp, tally, now_ms };
        let taken = match dialect.next(bytes, &mut decoding, self.welcome.frame_bytes_max(), &world) {
            Step::More => 0,
            Step::Request(request, taken) => {
                if let Command::Hello { protocol, shard, .. } = request.command {
                    match self.welcome.elsewhere(protocol, shard) {
                        Some(elsewhere) if *home == Home::Undecided => {
                            *home = Home::Elsewhere(elsewhere);
                            0
                        }
                        _ => {
                            *home = Home::Here;
                            self.welcome.answer(output, request.id, self.engine, protocol, shard);
                            taken
                        }
                    }
                } else if let Command::Watch = request.command {
                    *home = Home::Here;
                    self.watches.begin(self.engine, (id, connection), request.id, request.group);
                    taken
                } else {
                    *home = Home::Here;
                    self.submit(id, connection, &request, epoch, now_ms);
                    taken
                }
            }
            Step::Malformed { id, failure, consumed } => {
                *home = Home::Here;
                self.engine.counters_mut().malformed += 1;
                dialect.tell(output, id, epoch, &Reply::Failed(&failure));
                consumed
            }
            Step::Broken(failure) => {
                *home = Home::Here;
                self.engine.counters_mut().malformed += 1;
                dialect.tell(output, 0, epoch, &Reply::Failed(&failure));
                connection.broken = true;
                connection.input = Vec::new();
                bytes.len()
            }
            Step::Said(taken) => {
                *home = Home::Here;
                dialect.say(output);
                taken
            }
            Step::Last { is_malformed } => {
                *home = Home::Here;
                self.engine.counters_mut().malformed += u64::from(is_malformed);
                dialect.say(output);
                connection.broken = true;
                connection.input = Vec::new();
                bytes.len()
            }
        };
        connection.dialect.give_back(&mut decoding);
        *self.decoding = decoding;
        if connection.dialect.has_queue() {
            self.submit_queue(id, connection, now_ms);
        }
        if let Some(expiry) = connection.dialect.take_flush() {
            *self.flush_at_ms = match expiry {
                Expiry::After(delay_ms) => Some(now_ms.saturating_add(delay_ms)),
                Expiry::At(at_ms) => Some(at_ms),
                // It is done now, and with that what was to come.
                _ => None,
            };
            if self.flush_at_ms.is_some() {
                let operation = Operation::of(&Command::Invalidate);
                self.waiters.tally.answered(connection.dialect.spoken(), operation, Outcome::Done);
            }
        }
        taken
    }

    /// Submits what a connection asks for by itself. What its answers ask for in turn waits for the next turn of the shard, so
    /// that nobody waits for long.
    #[cold]
    pub(super) fn submit_queue(&mut self, id: ConnectionId, connection: &mut Connection, now_ms: u64) {
        self.engine.next_caller();
        let (queue, epoch) = (connection.dialect.take_queue(), self.engine.epoch());
        let (mut rest, mut scratch) = (&queue[..], Scratch::default());
        while let Some(frame) = native::frame(rest, FRAME_BYTES_MAX).expect("a dialect has frames") {
            let request = native::decode_request(frame.message, &mut scratch).expect("a dialect has requests");
            self.submit(id, connection, &request, epoch, now_ms);
            rest = &rest[frame.consumed..];
        }
        if connection.dialect.has_queue() {
            self.queued.push(id);
        }
    }

    /// Executes a request and answers it, or remembers who waits for it.
    #[inline]
    fn submit(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        request: &Request<'_>,
        epoch: u64,
        now_ms: u64,
    ) {
        match self.engine.submit(request, now_ms) {
            // By reference: a reply is twelve words, which need not move.
            Submission::Done(ref reply) => {
                let (spoken, operation) = (connection.dialect.spoken(), Operation::of(&request.command));
                self.waiters.tally.answered(spoken, operation, Outcome::of(reply));
                let told = (epoch, now_ms, &self.welcome.resp);
                connection.dialect.answer(&mut connection.output, request.id, reply, told);
            }
            Submission::Pending(ticket) => {
                *self.unsent = true;
                self.waiters.insert(ticket, (id, connection), request, now_ms);
                if self.engine.delayed().contains(&ticket) {
                    self.waiters.delay(ticket, connection);
                }
            }
        }
    }
}

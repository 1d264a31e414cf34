//! What the ring has completed is taken in.
//!
//! Reads of several connections come together, and a client that waits for each answer sends one request in each. So some
//! completions are looked at before the first is taken in, and the memory for the requests of all such reads is asked for
//! at once; for a read of several requests, the reactor does the same.

use rustix::io::Errno;

use super::{Phase, Receiving, Sockets};
use crate::limits::{REAPED_MAX, SEND_NOW_BYTES};
use crate::shard::provided::Lent;
use crate::shard::reactor::ConnectionId;
use crate::shard::ring::Completion;

impl Sockets {
    /// Takes in what the ring has completed. Returns whether there was something.
    pub(in crate::shard) fn reap(&mut self, now_ms: u64) -> bool {
        let mut any = false;
        let mut reaped = std::mem::take(&mut self.reaped);
        loop {
            while reaped.len() < REAPED_MAX
                && let Some(completion) = self.ring.next()
            {
                reaped.push(completion);
            }
            if reaped.is_empty() {
                break;
            }
            any = true;
            if reaped.len() > 1 {
                let reads = reaped.iter().filter_map(|completion| self.read_of(completion));
                self.asked_for += self.reactor.prefetch(reads) as u64;
            }
            reaped.drain(..).for_each(|completion| self.take(completion, now_ms));
        }
        self.reaped = reaped;
        any
    }

    /// What was received from whom.
    fn read_of(&self, completion: &Completion) -> Option<(ConnectionId, &[u8])> {
        let Completion::Received { index, bytes: Ok(Some(lent)), .. } = completion else { return None };
        let socket = self.sockets[*index as usize].as_ref().filter(|socket| socket.phase == Phase::Open)?;
        Some((socket.id, self.ring.bytes(lent)))
    }

    fn take(&mut self, completion: Completion, now_ms: u64) {
        match completion {
            Completion::Received { index, bytes, more } => self.received(index, bytes, more, now_ms),
            Completion::Sent { index, buffer, result } => self.sent(index, buffer, result, now_ms),
            Completion::Accepted { socket, more } => {
                let error = socket.map(|socket| self.open(socket, now_ms)).err();
                self.listener.failed(error, more, &mut self.ring, now_ms);
            }
            Completion::Seen { more } => {
                if !more && !self.is_cut {
                    self.ring.watch(self.reactor.port().door().event());
                }
            }
        }
    }

    fn received(&mut self, index: u32, bytes: Result<Option<Lent>, Errno>, more: bool, now_ms: u64) {
        let socket = self.sockets[index as usize].as_mut().expect("open while something is in flight");
        if !more {
            socket.receiving = Receiving::No;
        }
        match (socket.phase, bytes) {
            (Phase::Open, Ok(Some(lent))) => {
                // Only who sends on while the connection is full is stopped: a client that waits for its answers is
                // spared the two requests that this takes.
                let was_full = !self.reactor.wants_input(socket.id);
                socket.active_ms = now_ms;
                self.reactor.received(socket.id, self.ring.bytes(&lent), now_ms);
                self.ring.give_back(lent);
                let id = socket.id;
                if was_full && socket.receiving == Receiving::InFlight {
                    socket.receiving = Receiving::Cancelled;
                    self.ring.cancel_receive(index);
                }
                // Each time requests of what was received are processed, which comes to an end.
                while self.reactor.backlog(id) >= SEND_NOW_BYTES && self.send_now(index, now_ms) {}
            }
            (_, Ok(Some(lent))) => self.ring.give_back(lent),
            (Phase::Open, Ok(None)) => self.reactor.ended(socket.id, now_ms),
            // All buffers were taken, or this side has ended it; it begins again if it is of use.
            (_, Err(Errno::NOBUFS | Errno::CANCELED | Errno::INTR | Errno::AGAIN)) => {}
            // The peer has reset the connection or its host is gone: nothing can be said to it.
            (Phase::Open, Err(_)) | (Phase::Lingering { .. }, Ok(None) | Err(_)) => self.close(index),
            (Phase::Closing { .. }, _) => {}
        }
        self.mark(index);
    }

    fn sent(&mut self, index: u32, buffer: Vec<u8>, result: Result<(), Errno>, now_ms: u64) {
        let socket = self.sockets[index as usize].as_mut().expect("open while something is in flight");
        socket.is_sending = false;
        socket.active_ms = now_ms;
        self.reactor.sent(socket.id, buffer, now_ms);
        if result.is_err() {
            self.close(index);
        }
        self.mark(index);
    }
}

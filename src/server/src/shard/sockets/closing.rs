//! How connections end: by themselves, by their silence, or with the server.

use std::cmp::Reverse;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};

use super::{Phase, Receiving, Sockets};
use crate::limits::{LINGER_MS, LINGER_STOPPING_MS, READ_BYTES, SWEEP_CONNECTIONS};

impl Sockets {
    /// From now on each connection is read from as far as its bytes have come, and closed when it is answered.
    ///
    /// # Panics
    /// If the listener is not closed.
    pub(in crate::shard) fn stop(&mut self, now_ms: u64) {
        for socket in self.listener.rest() {
            self.open(socket, now_ms);
        }
        self.is_stopping = true;
        self.last_bytes = vec![0; READ_BYTES].into_boxed_slice();
        for index in 0..self.sockets.len() as u32 {
            if let Some(socket) = &mut self.sockets[index as usize]
                && let Phase::Lingering { until_ms } = &mut socket.phase
            {
                *until_ms = (*until_ms).min(now_ms + LINGER_STOPPING_MS);
                self.lingering.push(Reverse((*until_ms, index)));
            }
            self.mark(index);
        }
    }

    /// Closes whatever is open.
    pub(in crate::shard) fn cut(&mut self) {
        self.close_listener();
        self.ring.cancel_watch();
        self.is_cut = true;
        for index in 0..self.sockets.len() as u32 {
            if let Some(socket) = &self.sockets[index as usize] {
                self.cut_off += usize::from(socket.phase == Phase::Open);
                self.close(index);
            }
        }
    }

    /// How many connections were cut off with something to be done for them.
    pub(in crate::shard) fn cut_off(&self) -> usize {
        self.cut_off
    }

    /// Reads what had come to a socket before the order to stop.
    pub(super) fn read_the_rest(&mut self, index: u32, now_ms: u64) {
        let Self { sockets, reactor, ring, last_bytes, .. } = self;
        let socket = sockets[index as usize].as_mut().expect("it was there just now");
        match socket.receiving {
            Receiving::InFlight => {
                socket.receiving = Receiving::Cancelled;
                return ring.cancel_receive(index);
            }
            Receiving::Cancelled => return,
            Receiving::No => {}
        }
        while reactor.wants_input(socket.id) {
            match recv(&socket.descriptor, &mut last_bytes[..], RecvFlags::DONTWAIT) {
                Ok((bytes @ 1.., _)) => {
                    reactor.received(socket.id, &last_bytes[..bytes], now_ms);
                    if reactor.destination(socket.id).is_some() {
                        // The other shard stops too.
                        reactor.stay(socket.id, now_ms);
                    }
                    socket.stop_read_bytes = socket.stop_read_bytes.saturating_sub(bytes);
                    if socket.stop_read_bytes == 0 {
                        reactor.ended(socket.id, now_ms);
                    }
                }
                Err(Errno::INTR) => {}
                // Its end, all that there was, or an error that sending will meet too.
                Ok(_) | Err(_) => reactor.ended(socket.id, now_ms),
            }
        }
    }

    /// Everything is answered and sent, and nothing more will come.
    pub(super) fn finish(&mut self, index: u32, now_ms: u64) {
        let socket = self.sockets[index as usize].as_mut().expect("it was there just now");
        let is_peer_sending = self.is_stopping || self.reactor.is_broken(socket.id);
        if is_peer_sending && shutdown(&socket.descriptor, Shutdown::Write).is_ok() {
            let until_ms = now_ms + if self.is_stopping { LINGER_STOPPING_MS } else { LINGER_MS };
            socket.phase = Phase::Lingering { until_ms };
            self.lingering.push(Reverse((until_ms, index)));
        } else {
            socket.phase = Phase::Closing { is_shut: false };
        }
        self.mark(index);
    }

    pub(super) fn close(&mut self, index: u32) {
        let socket = self.sockets[index as usize].as_mut().expect("only what is open is closed");
        if !matches!(socket.phase, Phase::Closing { .. }) {
            socket.phase = Phase::Closing { is_shut: false };
        }
        self.mark(index);
    }

    /// Whether nothing is open but connections to other nodes, which serve those that are gone.
    pub(in crate::shard) fn only_links_are_open(&self) -> bool {
        self.links > 0 && self.links == self.open
    }

    /// Closes the connections to other nodes.
    pub(in crate::shard) fn close_links(&mut self) {
        for index in 0..self.sockets.len() as u32 {
            if self.sockets[index as usize].as_ref().is_some_and(|socket| socket.is_link) {
                self.close(index);
            }
        }
    }

    pub(super) fn settle_closing(&mut self, index: u32, is_shut: bool, now_ms: u64) {
        let slot = &mut self.sockets[index as usize];
        let socket = slot.as_mut().expect("it was there just now");
        if socket.receiving == Receiving::No && !socket.is_sending {
            let is_link = socket.is_link;
            self.reactor.closed(socket.id, now_ms);
            *slot = None;
            self.open -= 1;
            match is_link {
                true => self.links -= 1,
                false => self.admission.leave(),
            }
        } else if !is_shut {
            socket.phase = Phase::Closing { is_shut: true };
            // Ends what is in flight. An error says that the connection has ended already, which does so too.
            let _ = shutdown(&socket.descriptor, Shutdown::Both);
        }
    }

    /// Looks for connections that have been silent for too long, a part of them at a time.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        for _ in 0..SWEEP_CONNECTIONS.min(self.sockets.len()) {
            self.swept = (self.swept + 1) % self.sockets.len();
            let Some(socket) = &self.sockets[self.swept] else { continue };
            let (id, silence_ms) = (socket.id, now_ms.saturating_sub(socket.active_ms));
            let is_over = |patience: Duration| !patience.is_zero() && u128::from(silence_ms) >= patience.as_millis();
            if socket.phase == Phase::Open
                && (is_over(self.patience.half_sent) && self.reactor.is_half_sent(id)
                    || is_over(self.patience.idle) && !self.reactor.is_pending(id))
            {
                self.close(self.swept as u32);
            }
        }
    }
}

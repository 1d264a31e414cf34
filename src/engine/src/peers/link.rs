//! One link: a connection from this shard to one shard of another node, as the engine sees it.

use alloc::vec::Vec;
use core::mem;

use larder_protocol::native::encode_request;
use larder_protocol::{Command, Request};

use crate::limits::{LINK_BACKOFF_MS_MAX, LINK_BACKOFF_MS_MIN, LINK_BYTES_MAX, LINK_CREDITS};
use crate::slab::SlabKey;

/// What is known of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody was asked to make it: nothing was to be sent yet, or not since it was lost.
    Idle,
    /// It is to be made.
    Wanted,
    /// It is being made; requests wait for it.
    Opening,
    /// Frames can be sent.
    Open,
    /// It was lost or could not be made. Requests are refused at once until it is time to try again.
    Resting {
        /// When that is, in ms since the Unix epoch.
        until_ms: u64,
    },
}

/// A question how far the shard at the other end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ping {
    /// None is under way.
    None,
    /// One is to be sent with the next frames.
    Wanted,
    /// One was sent then.
    Sent(u64),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    /// The node, in the slab of peers.
    pub(super) peer: SlabKey,
    /// The shard there.
    pub(super) shard: u16,
    pub(super) state: State,
    /// Frames to be handed out, and the requests in them.
    outgoing: Vec<u8>,
    unsent: Vec<SlabKey>,
    /// Requests that it has not answered, and their bytes.
    unanswered: usize,
    unanswered_bytes: usize,
    /// Requests that were handed out and are not answered.
    sent: usize,
    ping: Ping,
    /// How often in a row it was lost or could not be made.
    failures: u32,
    /// When the last answer came, or the first request that waits for one was handed out; in ms since the Unix epoch.
    heard_ms: u64,
    /// Whether it is among the links that have something to hand out.
    pub(super) is_listed: bool,
}

impl Link {
    pub(super) fn new(peer: SlabKey, shard: u16) -> Self {
        Self {
            peer,
            shard,
            state: State::Idle,
            outgoing: Vec::new(),
            unsent: Vec::new(),
            unanswered: 0,
            unanswered_bytes: 0,
            sent: 0,
            ping: Ping::None,
            failures: 0,
            heard_ms: 0,
            is_listed: false,
        }
    }

    /// Whether it is the time to try again, or was never tried.
    pub(super) fn is_usable(&self, now_ms: u64) -> bool {
        !matches!(self.state, State::Resting { until_ms } if until_ms > now_ms)
    }

    /// Whether it may have another request of so many bytes.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let bytes_left = self.unanswered_bytes == 0 || self.unanswered_bytes + bytes <= LINK_BYTES_MAX;
        bytes_left && self.unanswered < LINK_CREDITS
    }

    /// A request of so many bytes counts from now on.
    pub(super) fn count_in(&mut self, bytes: usize) {
        self.unanswered += 1;
        self.unanswered_bytes += bytes;
    }

    /// It counts no longer.
    pub(super) fn count_out(&mut self, bytes: usize) {
        self.unanswered -= 1;
        self.unanswered_bytes -= bytes;
    }

    /// The frame of a request that counts is to be sent.
    pub(super) fn append(&mut self, request: SlabKey, frame: &[u8]) {
        self.outgoing.extend_from_slice(frame);
        self.unsent.push(request);
    }

    /// Whether frames could be handed out.
    pub(super) fn has_frames(&self) -> bool {
        self.state == State::Open && (!self.outgoing.is_empty() || self.ping == Ping::Wanted)
    }

    /// The frames to be sent, and the requests in them.
    pub(super) fn take_frames(&mut self, now_ms: u64) -> (Vec<u8>, impl Iterator<Item = SlabKey>) {
        if self.sent == 0 && self.ping == Ping::None {
            self.heard_ms = now_ms;
        }
        self.sent += self.unsent.len();
        (mem::take(&mut self.outgoing), self.unsent.drain(..))
    }

    /// The shard at the other end is to be asked how far it is; false if it is being asked.
    pub(super) fn want_ping(&mut self) -> bool {
        let is_new = self.ping == Ping::None;
        if is_new {
            self.ping = Ping::Wanted;
        }
        is_new
    }

    /// Puts a ping that is wanted behind the frames, which go by this epoch.
    pub(super) fn put_ping(&mut self, epoch: u64, now_ms: u64) {
        if self.ping != Ping::Wanted {
            return;
        }
        if self.sent == 0 {
            self.heard_ms = now_ms;
        }
        self.ping = Ping::Sent(now_ms);
        let (group, timeout_ms, command) = (0, 0, Command::Ping);
        let request = Request { id: super::PING_ID, epoch, group, timeout_ms, forwarded: true, command };
        encode_request(&mut self.outgoing, &request);
    }

    /// A ping was answered; when it was sent, if it was.
    pub(super) fn ponged(&mut self, now_ms: u64) -> Option<u64> {
        let Ping::Sent(sent_ms) = self.ping else { return None };
        (self.ping, self.heard_ms) = (Ping::None, now_ms);
        Some(sent_ms)
    }

    /// Takes an empty buffer for the next frames.
    pub(super) fn reuse(&mut self, buffer: Vec<u8>) {
        if self.outgoing.capacity() == 0 {
            self.outgoing = buffer;
        }
    }

    /// A request that was handed out is answered.
    pub(super) fn heard(&mut self, now_ms: u64) {
        (self.sent, self.heard_ms) = (self.sent - 1, now_ms);
    }

    /// Whether nothing was answered since then, although something was asked before it.
    pub(super) fn is_silent(&self, since_ms: u64) -> bool {
        let is_asked = self.sent > 0 || matches!(self.ping, Ping::Sent(_));
        self.state == State::Open && is_asked && self.heard_ms <= since_ms
    }

    pub(super) fn opened(&mut self, now_ms: u64) {
        debug_assert_eq!(self.sent, 0, "what was sent before is answered or lost");
        (self.state, self.failures, self.heard_ms) = (State::Open, 0, now_ms);
    }

    /// It was lost, or could not be made: what was to be sent is forgotten, and it rests. `spread` decides how long
    /// within the band, so that not all nodes come back at once. One that was open and of which nothing was expected
    /// is made again when it is needed.
    pub(super) fn closed(&mut self, now_ms: u64, spread: u64) {
        let was_asked = mem::replace(&mut self.ping, Ping::None) != Ping::None;
        if self.state == State::Open && self.unanswered == 0 && !was_asked {
            self.state = State::Idle;
            return;
        }
        let ceiling_ms = LINK_BACKOFF_MS_MIN.saturating_mul(1 << self.failures.min(16)).min(LINK_BACKOFF_MS_MAX);
        let rest_ms = ceiling_ms / 2 + spread % (ceiling_ms / 2 + 1);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Resting { until_ms: now_ms + rest_ms };
        self.outgoing = Vec::new();
        self.unsent.clear();
        self.sent = 0;
    }

    /// How many requests are unanswered, and their bytes.
    pub(super) fn unanswered(&self) -> (usize, usize) {
        (self.unanswered, self.unanswered_bytes)
    }

    /// How many requests were handed out and are not answered.
    pub(super) fn sent(&self) -> usize {
        self.sent
    }

    /// The requests whose frames wait to be handed out.
    pub(super) fn unsent(&self) -> &[SlabKey] {
        &self.unsent
    }

    /// Bytes of frames that wait to be handed out.
    pub(super) fn outgoing_bytes(&self) -> usize {
        self.outgoing.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_link_grows_and_is_capped() {
        let mut link = Link::new(SlabKey::from_u64(0), 0);
        assert!(link.is_usable(0));
        let mut before_ms = 0;
        for attempt in 0..40 {
            link.closed(1_000, u64::MAX - attempt);
            let State::Resting { until_ms } = link.state else { panic!("{:?}", link.state) };
            let rest_ms = until_ms - 1_000;
            let ceiling_ms = (LINK_BACKOFF_MS_MIN << attempt.min(20)).min(LINK_BACKOFF_MS_MAX);
            assert!((ceiling_ms / 2..=ceiling_ms).contains(&rest_ms), "attempt {attempt}: {rest_ms} ms");
            assert!(!link.is_usable(until_ms - 1) && link.is_usable(until_ms));
            before_ms = rest_ms.max(before_ms);
        }
        assert!(before_ms >= LINK_BACKOFF_MS_MAX / 2);
        link.opened(5);
        link.count_in(1);
        link.closed(1_000, 0);
        assert_eq!(link.state, State::Resting { until_ms: 1_000 + LINK_BACKOFF_MS_MIN / 2 }, "it begins anew");
        link.count_out(1);
        link.opened(1_000);
        link.closed(1_000, 0);
        assert_eq!(link.state, State::Idle, "nobody has lost anything");
    }

    #[test]
    fn room_is_bounded_by_requests_and_bytes() {
        let mut link = Link::new(SlabKey::from_u64(0), 0);
        assert!(link.has_room(usize::MAX), "a single request above the bound passes");
        link.count_in(LINK_BYTES_MAX);
        assert!(!link.has_room(1));
        link.count_out(LINK_BYTES_MAX);
        (0..LINK_CREDITS).for_each(|_| link.count_in(1));
        assert!(!link.has_room(1));
        link.count_out(1);
        assert!(link.has_room(1));
    }
}

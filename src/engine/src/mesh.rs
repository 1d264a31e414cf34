//! The lanes to the other shards of the node: what waits to be sent, what is unanswered, and how much of both.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;

use larder_protocol::Request;

use crate::Ticket;
use crate::batches::{Buffers, Outbox, open_batch, seal_batch};
use crate::error::BatchError;
use crate::limits::{CONFIRM_BATCHES, LANE_BYTES_MAX, LANE_CREDITS};
use crate::records::{LATER_BYTES, put_request};
use crate::runs::Run;
use crate::slab::{Slab, SlabKey};

/// The two kinds of batches between a pair of shards, per direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Requests that the receiver is to execute.
    Requests = 0,
    /// Replies to requests of the receiver.
    Replies = 1,
}

impl Lane {
    /// Both lanes.
    pub const ALL: [Lane; 2] = [Lane::Requests, Lane::Replies];

    /// The lane that carries confirmations of this one.
    fn opposite(self) -> Lane {
        match self {
            Lane::Requests => Lane::Replies,
            Lane::Replies => Lane::Requests,
        }
    }
}

/// A batch that an engine wants delivered: whole, and after the earlier ones of the same shard and lane.
#[derive(Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The shard that is to receive it.
    pub to: u16,
    /// By which lane.
    pub lane: Lane,
    /// What to hand to [`crate::Engine::receive`] there, and then to [`crate::Engine::recycle`].
    pub batch: Vec<u8>,
}

/// A request that another shard has not answered yet.
#[derive(Debug)]
pub(crate) struct Part {
    /// Who waits for it.
    pub(crate) ticket: Ticket,
    /// Which shard has it.
    pub(crate) to: u16,
    /// What it counts for among the unanswered bytes of its lane.
    pub(crate) bytes: u32,
    /// Which places in the order of a gather it answers; empty if it is no gather.
    pub(crate) order: Range<u32>,
}

/// All lanes of one shard.
#[derive(Debug)]
pub(crate) struct Mesh {
    links: Vec<Link>,
    /// Lanes that have a batch to hand out, each once.
    ready: VecDeque<(u16, Lane)>,
    buffers: Buffers,
    parts: Slab<Part>,
}

/// The lanes to and from one other shard.
#[derive(Debug, Default)]
struct Link {
    /// Requests that it has not answered, and their bytes.
    unanswered: usize,
    unanswered_bytes: usize,
    /// By lane.
    outboxes: [Outbox; 2],
    /// By lane: batches received, and how many of them the last batch we sent has confirmed.
    received: [u64; 2],
    confirmed: [u64; 2],
    /// By lane: whether it is in [`Mesh::ready`].
    listed: [bool; 2],
}

impl Link {
    /// Whether enough batches arrived on `lane` that the sender should be told.
    fn owes_confirmation(&self, lane: Lane) -> bool {
        self.received[lane as usize] - self.confirmed[lane as usize] >= CONFIRM_BATCHES
    }

    fn is_ready(&self, lane: Lane) -> bool {
        self.outboxes[lane as usize].is_ready(self.owes_confirmation(lane.opposite()))
    }
}

impl Mesh {
    pub(crate) fn new(shards: u16) -> Self {
        let links = (0..shards).map(|_| Link::default()).collect();
        Self { links, ready: VecDeque::new(), buffers: Buffers::default(), parts: Slab::new() }
    }

    /// Whether a shard may be sent a request of that many bytes.
    #[inline]
    pub(crate) fn has_room(&self, to: u16, bytes: usize) -> bool {
        let link = &self.links[usize::from(to)];
        let bytes_left = link.unanswered_bytes == 0 || link.unanswered_bytes + bytes <= LANE_BYTES_MAX;
        bytes_left && link.unanswered < LANE_CREDITS
    }

    /// Sends a request; there must be room for it. Its id becomes that of the part. The hash is that of its key, if it
    /// is about one.
    pub(crate) fn send(&mut self, part: Part, request: Request<'_>, hash: u64) {
        let (to, bytes) = (part.to, part.bytes as usize);
        let id = self.parts.insert(part).to_u64();
        debug_assert!(Ticket::of_id(id).is_none(), "there are fewer parts");
        let framed = || Request { id, forwarded: true, ..request };
        self.post(to, bytes, |out| put_request(out, id, &request, hash, framed));
    }

    /// Sends a request that `encode` appends, of at most that many bytes; there must be room for it.
    #[inline]
    pub(crate) fn post(&mut self, to: u16, bytes: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        debug_assert!(self.has_room(to, bytes), "asked before");
        let link = &mut self.links[usize::from(to)];
        link.unanswered += 1;
        link.unanswered_bytes += bytes;
        if link.outboxes[Lane::Requests as usize].append(&mut self.buffers, bytes, encode) {
            self.list(to, Lane::Requests);
        }
    }

    /// A shard has answered a request that was posted. So many bytes count no longer.
    #[inline]
    pub(crate) fn settle(&mut self, from: u16, bytes: usize) {
        let link = &mut self.links[usize::from(from)];
        link.unanswered -= 1;
        link.unanswered_bytes -= bytes;
    }

    /// The request of which `from` says something.
    pub(crate) fn asked(&self, from: u16, id: u64) -> Result<&Part, BatchError> {
        let part = self.parts.value(SlabKey::from_u64(id)).filter(|part| part.to == from);
        part.ok_or(BatchError::UnknownReply { id })
    }

    /// The request that a reply from `from` answers. It counts no longer.
    pub(crate) fn answered(&mut self, from: u16, id: u64) -> Result<Part, BatchError> {
        self.asked(from, id)?;
        let part = self.parts.remove(SlabKey::from_u64(id)).expect("it was there");
        self.settle(from, part.bytes as usize);
        Ok(part)
    }

    /// Whether a reply of that many bytes keeps the lane within its bound, or nothing is on the lane but what says of replies
    /// that they take long.
    #[inline]
    pub(crate) fn has_reply_room(&self, to: u16, bytes: usize) -> bool {
        let waiting = self.links[usize::from(to)].outboxes[Lane::Replies as usize].bytes();
        waiting <= LANE_CREDITS * LATER_BYTES || waiting + bytes <= LANE_BYTES_MAX
    }

    /// Sends the reply that `encode` appends, or word that it takes long. It always has a place: the asker holds a credit, and
    /// so much is said once for each.
    #[inline]
    pub(crate) fn reply(&mut self, to: u16, bytes_max: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.links[usize::from(to)].outboxes[Lane::Replies as usize].append(&mut self.buffers, bytes_max, encode) {
            self.list(to, Lane::Replies);
        }
    }

    /// The next batch to deliver.
    pub(crate) fn next_batch(&mut self) -> Option<Outgoing> {
        while let Some(&(to, lane)) = self.ready.front() {
            let link = &mut self.links[usize::from(to)];
            let opposite = lane.opposite();
            let owes_confirmation = link.owes_confirmation(opposite);
            if let Some(mut batch) = link.outboxes[lane as usize].take(owes_confirmation, &mut self.buffers) {
                let received = link.received[opposite as usize];
                seal_batch(&mut batch, received);
                link.confirmed[opposite as usize] = received;
                return Some(Outgoing { to, lane, batch });
            }
            link.listed[lane as usize] = false;
            self.ready.pop_front();
        }
        None
    }

    /// Takes note of a batch that arrived, and gives the records in it.
    pub(crate) fn arrived<'b>(&mut self, from: u16, lane: Lane, batch: &'b [u8]) -> Result<&'b [u8], BatchError> {
        let (confirmed, records) = open_batch(batch)?;
        let link = &mut self.links[usize::from(from)];
        link.received[lane as usize] += 1;
        link.outboxes[lane.opposite() as usize].confirm(confirmed)?;
        self.list(from, lane.opposite());
        Ok(records)
    }

    pub(crate) fn recycle(&mut self, batch: Vec<u8>) {
        self.buffers.give_back(batch);
    }

    fn list(&mut self, to: u16, lane: Lane) {
        let link = &mut self.links[usize::from(to)];
        if !link.listed[lane as usize] && link.is_ready(lane) {
            link.listed[lane as usize] = true;
            self.ready.push_back((to, lane));
        }
    }

    /// How many requests are unanswered, over all shards.
    pub(crate) fn unanswered(&self) -> usize {
        self.links.iter().map(|link| link.unanswered).sum()
    }

    /// The requests that are unanswered.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().map(|(_, part)| part)
    }

    /// Panics with what is wrong. `runs` are those that wait for other shards.
    pub(crate) fn validate<'r>(&self, runs: impl Iterator<Item = &'r Run>) {
        self.parts.validate();
        let mut unanswered = alloc::vec![(0, 0); self.links.len()];
        for run in runs {
            let (requests, bytes) = &mut unanswered[usize::from(run.to)];
            *requests += run.open();
            *bytes += run.open_bytes();
        }
        for part in self.parts() {
            let (requests, bytes) = &mut unanswered[usize::from(part.to)];
            *requests += 1;
            *bytes += part.bytes as usize;
        }
        for (to, (link, unanswered)) in self.links.iter().zip(unanswered).enumerate() {
            assert_eq!((link.unanswered, link.unanswered_bytes), unanswered, "unanswered by shard {to}");
            assert!(link.unanswered <= LANE_CREDITS, "{} requests unanswered by shard {to}", link.unanswered);
            for lane in Lane::ALL {
                link.outboxes[lane as usize].validate();
                assert!(link.confirmed[lane as usize] <= link.received[lane as usize]);
                let listed = self.ready.iter().filter(|ready| **ready == (to as u16, lane)).count();
                assert_eq!(listed, usize::from(link.listed[lane as usize]), "{lane:?} of shard {to} in the list");
                assert!(listed == 1 || !link.is_ready(lane), "{lane:?} of shard {to} is ready and not listed");
            }
        }
    }
}

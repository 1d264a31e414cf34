//! The other nodes of the ring: a link to each of their shards that was ever asked for something, what waits there, and
//! how much.
//!
//! A node is known by id and incarnation, so that what was meant for one process never reaches the next one of that
//! name. Links are made when they are first needed. One that is lost, or cannot be made, refuses requests at once for a
//! while, so that nobody waits for a node that is gone.

mod aside;
mod check;
mod flights;
mod link;
mod members;
mod pings;

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use larder_protocol::native::encode_request;
use larder_protocol::{Failure, Request};
use larder_ring::Place;

use crate::Ticket;
use crate::error::BatchError;
use crate::failures;
use crate::limits::{FRAMES_KEPT_MAX, KEPT_BYTES_MAX, LINK_CHECK_MS, LINK_SILENCE_MS, PEERS_BYTES_MAX};
use crate::slab::{Slab, SlabKey};
pub(crate) use flights::Boarding;
use flights::{Flights, is_get_of};
use link::{Link, State};
pub(crate) use pings::PING_ID;

/// Names a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkId(SlabKey);

impl LinkId {
    /// A number that no other link in use has. The numbers in use are dense.
    pub fn index(self) -> usize {
        self.0.index as usize
    }
}

/// What an engine wants done with a link.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkOutput {
    /// Make the connection that [`crate::Engine::link_target`] describes, then call [`crate::Engine::link_opened`], or
    /// [`crate::Engine::link_closed`] if that fails.
    Open(LinkId),
    /// Send these frames, behind those that were handed out before.
    Send(LinkId, Vec<u8>),
    /// Give the connection up, there is no hope for it. The engine counts it as closed; the name stays.
    Reset(LinkId),
    /// Close it; nothing is waited for. The name is used no more.
    Close(LinkId),
}

/// Where a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkTarget<'e> {
    /// Id of the node.
    pub node_id: &'e str,
    /// Its address, `host:port`.
    pub address: &'e str,
    /// Its incarnation; 0: any.
    pub incarnation: u64,
    /// The shard there.
    pub shard: u16,
}

/// A request that another node has to execute.
#[derive(Debug)]
pub(crate) struct Forwarded {
    /// Who waits for it, and who has joined.
    pub(crate) ticket: Ticket,
    pub(crate) others: Vec<Ticket>,
    /// Which places in the order of a gather it answers; empty if it is about one key.
    pub(crate) order: Range<u32>,
    /// Its frame, in case that it has to be sent to somebody else.
    pub(crate) frame: Vec<u8>,
    /// By when it is of use.
    pub(crate) deadline_ms: u64,
    /// The epoch it was routed by last.
    pub(crate) epoch: u64,
    /// How often it came back because its owner was another one.
    pub(crate) reroutes: u32,
    /// Under which hash it is in a flight.
    flight: Option<u64>,
    stage: Stage,
}

/// Where a forwarded request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Held back for a link until another get is answered.
    Held(SlabKey),
    /// In the frames that a link has to hand out.
    Unsent(SlabKey),
    /// Handed out.
    Sent(SlabKey),
    /// To be routed again, not before this time and an epoch.
    Aside { at_ms: u64, epoch: u64 },
}

/// What is to be forwarded, and for whom.
#[derive(Debug)]
pub(crate) struct Passenger {
    pub(crate) ticket: Ticket,
    pub(crate) order: Range<u32>,
    pub(crate) deadline_ms: u64,
}

/// Another node.
#[derive(Debug)]
struct Peer {
    id: String,
    address: String,
    incarnation: u64,
    /// By shard.
    links: Vec<Option<SlabKey>>,
    /// It is in the ring, or was and has not ended.
    is_member: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Peers {
    peers: Slab<Peer>,
    /// By place in the topology; none for this node.
    by_node: Vec<Option<SlabKey>>,
    /// Those in the ring and those that leave it, sorted.
    by_id: Vec<(String, SlabKey)>,
    links: Slab<Link>,
    /// Links that have something to hand out, each once.
    ready: VecDeque<SlabKey>,
    closing: Vec<SlabKey>,
    /// Links that are lost as far as this shard is concerned, while their connections are there.
    resets: Vec<SlabKey>,
    requests: Slab<Forwarded>,
    /// Bytes of frames of all requests.
    bytes: usize,
    flights: Flights,
    /// Requests that are aside, the one that was put there first in front.
    aside: VecDeque<SlabKey>,
    /// Empty buffers for frames.
    kept: Vec<Vec<u8>>,
    /// When to look for silent links.
    check_ms: u64,
    /// Makes this shard's pauses differ from those of others.
    seed: u64,
    /// Which this shard goes by.
    epoch: u64,
    /// By how much a clock that was heard of was ahead of ours at most, in ms.
    ahead_ms: u64,
}

impl Peers {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            peers: Slab::new(),
            by_node: Vec::new(),
            by_id: Vec::new(),
            links: Slab::new(),
            ready: VecDeque::new(),
            closing: Vec::new(),
            resets: Vec::new(),
            requests: Slab::new(),
            bytes: 0,
            flights: Flights::default(),
            aside: VecDeque::new(),
            kept: Vec::new(),
            check_ms: 0,
            seed,
            epoch: 0,
            ahead_ms: 0,
        }
    }

    /// The link to a shard of another node.
    ///
    /// # Panics
    /// If the place is on this node.
    pub(crate) fn link_to(&mut self, place: Place) -> LinkId {
        let key = self.by_node[usize::from(place.node.0)].expect("the place is on another node");
        LinkId(self.link_of(key, place.shard))
    }

    fn link_of(&mut self, key: SlabKey, number: u16) -> SlabKey {
        let peer = self.peers.value_mut(key).expect("who is asked is known");
        let shard = usize::from(number);
        if peer.links.len() <= shard {
            peer.links.resize(shard + 1, None);
        }
        *peer.links[shard].get_or_insert_with(|| self.links.insert(Link::new(key, number)))
    }

    /// Why this link cannot have a request of so many bytes now.
    pub(crate) fn refusal(&self, link: LinkId, bytes: usize, now_ms: u64) -> Option<&'static Failure> {
        let link = self.links.value(link.0).expect("a link of this topology");
        if !link.is_usable(now_ms) {
            return Some(&failures::UNREACHABLE);
        }
        let has_room = link.has_room(bytes) && (self.bytes == 0 || self.bytes + bytes <= PEERS_BYTES_MAX);
        if has_room { None } else { Some(&failures::PEER_OVERLOADED) }
    }

    /// What is to be done with a get of the key with this hash.
    pub(crate) fn board(&self, hash: u64, group: u64, key: &[u8]) -> Boarding {
        let is_same = |other: &Forwarded| is_get_of(&other.frame, group, key);
        if self.flights.requests(hash).any(|other| !self.requests.value(other).is_some_and(is_same)) {
            return Boarding::Alone;
        }
        let is_open = |first| matches!(self.requests.value(first), Some(Forwarded { stage: Stage::Unsent(_), .. }));
        self.flights.board(hash, is_open)
    }

    /// A ticket is answered with a get that it can join.
    pub(crate) fn join(&mut self, joined: SlabKey, ticket: Ticket) {
        self.requests.value_mut(joined).expect("it is in a flight").others.push(ticket);
    }

    /// Sends a get of the key with this hash on a link that has room for it, or holds it back.
    pub(crate) fn send_get(
        &mut self,
        link: LinkId,
        passenger: Passenger,
        request: Request<'_>,
        (hash, boarding): (u64, Boarding),
        now_ms: u64,
    ) {
        let id = self.add(link, passenger, request);
        let added = self.requests.value_mut(id).expect("it was just added");
        match boarding {
            Boarding::Send => {
                added.flight = Some(hash);
                self.flights.begin(hash, id);
            }
            Boarding::Hold => {
                added.flight = Some(hash);
                return self.flights.hold(hash, id);
            }
            Boarding::Join(_) | Boarding::Alone => {}
        }
        self.append(id, now_ms);
    }

    /// Sends a request that was sent before, for these others too.
    pub(crate) fn send_again(
        &mut self,
        link: LinkId,
        passenger: Passenger,
        request: Request<'_>,
        (others, reroutes): (Vec<Ticket>, u32),
        now_ms: u64,
    ) {
        let id = self.add(link, passenger, request);
        let added = self.requests.value_mut(id).expect("it was just added");
        (added.others, added.reroutes) = (others, reroutes);
        self.append(id, now_ms);
    }

    /// The key with this hash is about to be written: gets of it are not shared beyond that.
    pub(crate) fn end_flight(&mut self, hash: u64, now_ms: u64) {
        if self.flights.is_empty() {
            return;
        }
        for request in self.flights.requests(hash).collect::<Vec<_>>() {
            self.requests.value_mut(request).expect("it is in a flight").flight = None;
        }
        if let Some(held) = self.flights.end(hash) {
            self.append(held, now_ms);
        }
    }

    /// A request that counts on its link and is held back.
    fn add(&mut self, LinkId(link): LinkId, passenger: Passenger, request: Request<'_>) -> SlabKey {
        let Passenger { ticket, order, deadline_ms } = passenger;
        let frame = self.kept.pop().unwrap_or_default();
        let (epoch, stage) = (request.epoch, Stage::Held(link));
        let added = Forwarded {
            ticket,
            others: Vec::new(),
            order,
            frame,
            deadline_ms,
            epoch,
            reroutes: 0,
            flight: None,
            stage,
        };
        let id = self.requests.insert(added);
        let frame = &mut self.requests.value_mut(id).expect("it was just added").frame;
        encode_request(frame, &Request { id: id.to_u64(), forwarded: true, ..request });
        let bytes = frame.len();
        self.bytes += bytes;
        self.links.value_mut(link).expect("a link in use").count_in(bytes);
        id
    }

    /// Puts a request that was held back behind the others of its link.
    fn append(&mut self, id: SlabKey, now_ms: u64) {
        let request = self.requests.value_mut(id).expect("it is held back");
        let Stage::Held(key) = request.stage else { unreachable!("only what is held back is appended") };
        request.stage = Stage::Unsent(key);
        let link = self.links.value_mut(key).expect("a link in use");
        link.append(id, &request.frame);
        if link.state == State::Idle || matches!(link.state, State::Resting { until_ms } if until_ms <= now_ms) {
            link.state = State::Wanted;
        }
        self.list(key);
    }

    fn list(&mut self, key: SlabKey) {
        let Some(link) = self.links.value_mut(key) else { return };
        if !link.is_listed && (link.state == State::Wanted || link.has_frames()) {
            link.is_listed = true;
            self.ready.push_back(key);
        }
    }

    /// The next thing to do with a link.
    pub(crate) fn next_output(&mut self, now_ms: u64) -> Option<LinkOutput> {
        if let Some(key) = self.closing.pop() {
            return Some(LinkOutput::Close(LinkId(key)));
        }
        if let Some(key) = self.resets.pop() {
            return Some(LinkOutput::Reset(LinkId(key)));
        }
        while let Some(key) = self.ready.pop_front() {
            let link = self.links.value_mut(key).expect("a link that is gone is not listed");
            link.is_listed = false;
            if link.state == State::Wanted {
                link.state = State::Opening;
                return Some(LinkOutput::Open(LinkId(key)));
            }
            if link.has_frames() {
                link.put_ping(self.epoch, now_ms);
                let (frames, sent) = link.take_frames(now_ms);
                for id in sent {
                    self.requests.value_mut(id).expect("what is unsent is unanswered").stage = Stage::Sent(key);
                }
                return Some(LinkOutput::Send(LinkId(key), frames));
            }
        }
        None
    }

    /// A link has an empty buffer for its next frames.
    pub(crate) fn reuse(&mut self, link: LinkId, buffer: Vec<u8>) {
        debug_assert!(buffer.is_empty(), "frames would be sent twice");
        if let Some(link) = self.links.value_mut(link.0) {
            link.reuse(buffer);
        }
    }

    /// Where a link leads to; `None`: it was closed.
    pub(crate) fn target(&self, link: LinkId) -> Option<LinkTarget<'_>> {
        let link = self.links.value(link.0)?;
        let Peer { id, address, incarnation, .. } = self.peers.value(link.peer)?;
        Some(LinkTarget { node_id: id, address, incarnation: *incarnation, shard: link.shard })
    }

    /// The connection is there.
    pub(crate) fn opened(&mut self, link: LinkId, now_ms: u64) {
        if let Some(opening) = self.links.value_mut(link.0) {
            opening.opened(now_ms);
            self.list(link.0);
        }
    }

    /// The connection is lost or was not made: everything that waits for it, with whether it may have been executed.
    pub(crate) fn closed(&mut self, LinkId(key): LinkId, now_ms: u64) -> Vec<(Forwarded, bool)> {
        let Some(link) = self.links.value_mut(key) else { return Vec::new() };
        let peer = link.peer;
        link.closed(now_ms, mixed(self.seed ^ now_ms ^ u64::from(key.index) << 32));
        let is_here = |request: &Forwarded| match request.stage {
            Stage::Held(at) | Stage::Unsent(at) | Stage::Sent(at) => at == key,
            Stage::Aside { .. } => false,
        };
        let lost: Vec<_> = self.requests.iter().filter(|(_, request)| is_here(request)).map(|(id, _)| id).collect();
        let lost: Vec<_> = lost
            .into_iter()
            .map(|id| {
                let request = self.take(id);
                if let Some(hash) = request.flight {
                    self.flights.end(hash);
                }
                let is_sent = matches!(request.stage, Stage::Sent(_));
                (request, is_sent)
            })
            .collect();
        self.retire_links(peer);
        lost
    }

    /// The request that a response from this link answers. It is no longer unanswered.
    pub(crate) fn answered(&mut self, link: LinkId, id: u64, now_ms: u64) -> Result<Forwarded, BatchError> {
        let key = SlabKey::from_u64(id);
        if self.requests.value(key).is_none_or(|request| request.stage != Stage::Sent(link.0)) {
            return Err(BatchError::UnknownReply { id });
        }
        let request = self.take(key);
        let next = request.flight.and_then(|hash| self.flights.landed(hash, key));
        if let Some(next) = next {
            self.append(next, now_ms);
        }
        let link = self.links.value_mut(link.0).expect("it is in use");
        link.heard(now_ms);
        let peer = link.peer;
        if link.unanswered().0 == 0 {
            self.retire_links(peer);
        }
        Ok(request)
    }

    /// Takes a request out; it counts nowhere any more.
    fn take(&mut self, id: SlabKey) -> Forwarded {
        let request = self.requests.remove(id).expect("it is there");
        self.bytes -= request.frame.len();
        if let Stage::Held(link) | Stage::Unsent(link) | Stage::Sent(link) = request.stage {
            self.links.value_mut(link).expect("a link in use").count_out(request.frame.len());
        }
        request
    }

    /// Gives the frame of a request back that is done.
    pub(crate) fn recycle(&mut self, mut frame: Vec<u8>) {
        if self.kept.len() < FRAMES_KEPT_MAX && frame.capacity() <= KEPT_BYTES_MAX {
            frame.clear();
            self.kept.push(frame);
        }
    }

    /// A link that has answered nothing for so long that it is to be given up; looked for now and then.
    pub(crate) fn next_silent(&mut self, now_ms: u64) -> Option<LinkId> {
        if now_ms < self.check_ms {
            return None;
        }
        let is_silent = |link: &Link| link.is_silent(now_ms.saturating_sub(LINK_SILENCE_MS));
        let silent = self.links.iter().find(|(_, link)| is_silent(link)).map(|(key, _)| LinkId(key));
        if silent.is_none() {
            self.check_ms = now_ms + LINK_CHECK_MS;
        }
        silent
    }

    /// Has a link closed that the owner of the connection still has.
    pub(crate) fn give_up(&mut self, link: LinkId) {
        self.resets.push(link.0);
    }

    /// How many requests are unanswered or aside.
    pub(crate) fn unanswered(&self) -> usize {
        self.requests.len()
    }

    /// The requests that are unanswered or aside.
    pub(crate) fn requests(&self) -> impl Iterator<Item = &Forwarded> {
        self.requests.iter().map(|(_, request)| request)
    }
}

/// Spreads a number over 64 bits: the finisher of SplitMix64.
fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

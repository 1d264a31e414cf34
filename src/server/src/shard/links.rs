//! Connections to other nodes, as a reactor has them: the engine says what is to be sent to whom, and what comes back
//! goes to the engine.
//!
//! A shard does not make connections: looking up names and waiting for others is the sidecar's
//! ([`crate::dialer`]), which also says Hello. What a shard gets is a socket that is ready for requests.

use larder_engine::{LinkId, LinkOutput};
use larder_protocol::Reply;
use larder_protocol::limits::FRAME_BYTES_MAX;
use larder_protocol::native;

use super::connections::Connection;
use super::dialect::Dialect;
use super::reactor::{ConnectionId, Reactor};

/// A connection that a shard wants to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// For what the engine wants it.
    pub link: LinkId,
    /// Where it leads to.
    pub target: Target,
}

/// A shard of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Id of the node.
    pub node_id: String,
    /// Its address, `host:port`.
    pub address: String,
    /// Its incarnation; 0: any.
    pub incarnation: u64,
    /// The shard there.
    pub shard: u16,
}

/// Which connections are links.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// By the index of the link.
    connections: Vec<Option<(LinkId, ConnectionId)>>,
    /// What is to be dialed.
    wanted: Vec<LinkId>,
    open: usize,
}

impl Links {
    /// How many there are.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    fn insert(&mut self, link: LinkId, id: ConnectionId) {
        if self.connections.len() <= link.index() {
            self.connections.resize(link.index() + 1, None);
        }
        assert!(self.connections[link.index()].replace((link, id)).is_none(), "a link has one connection");
        self.open += 1;
    }

    fn remove(&mut self, link: LinkId) -> Option<ConnectionId> {
        let place = self.connections.get_mut(link.index())?;
        let (_, id) = place.take_if(|(found, _)| *found == link)?;
        self.open -= 1;
        Some(id)
    }

    fn connection(&self, link: LinkId) -> Option<ConnectionId> {
        let (found, id) = (*self.connections.get(link.index())?)?;
        (found == link).then_some(id)
    }

    /// Panics if another connection than this one, or none, is that of a link.
    pub(super) fn validate(&self, id: ConnectionId, connection: &Connection) {
        if let Some(link) = connection.link {
            assert_eq!(self.connection(link), Some(id), "{link:?}");
        }
    }
}

impl Reactor {
    /// A connection that is to be made, until there is none. [`Reactor::linked`] or [`Reactor::unlinked`] tells how it
    /// went.
    pub fn next_dial(&mut self) -> Option<Dial> {
        loop {
            let link = self.links.wanted.pop()?;
            // One that was closed since is wanted no more.
            let Some(target) = self.engine.link_target(link) else { continue };
            let (node_id, address) = (target.node_id.to_owned(), target.address.to_owned());
            let target = Target { node_id, address, incarnation: target.incarnation, shard: target.shard };
            return Some(Dial { link, target });
        }
    }

    /// The connection of a link is there: its number here, or `None` if it is wanted no more.
    pub fn linked(&mut self, link: LinkId, now_ms: u64) -> Option<ConnectionId> {
        self.engine.link_target(link)?;
        let id = self.connections.insert(Dialect::Native);
        self.connections.at(id).make_link(link);
        self.links.insert(link, id);
        self.engine.link_opened(link, now_ms);
        self.unsent = true;
        Some(id)
    }

    /// The connection of a link cannot be made.
    pub fn unlinked(&mut self, link: LinkId, now_ms: u64) {
        self.links.remove(link);
        self.count_connections();
        let (engine, mut answers) = self.answers();
        engine.link_closed(link, now_ms, |ticket, reply: &Reply<'_>| answers.give(ticket, reply));
        self.unsent = true;
    }

    /// How many connections are links.
    pub fn links(&self) -> usize {
        self.links.open()
    }

    /// Whether a connection is a link.
    pub fn is_link(&mut self, id: ConnectionId) -> bool {
        self.connections.at(id).link.is_some()
    }

    /// Takes in the responses at the beginning of `bytes`; returns their bytes.
    pub(super) fn take_responses(&mut self, id: ConnectionId, link: LinkId, bytes: &[u8], now_ms: u64) -> usize {
        let mut consumed = 0;
        self.unsent = true;
        let reason = loop {
            let (engine, mut answers) = self.answers();
            match native::frame(&bytes[consumed..], FRAME_BYTES_MAX) {
                Ok(Some(frame)) => {
                    let answer = |ticket, reply: &Reply<'_>| answers.give(ticket, reply);
                    if let Err(error) = engine.receive_response(link, frame.message, now_ms, answer) {
                        break error.to_string();
                    }
                    consumed += frame.consumed;
                }
                Ok(None) => return consumed,
                Err(error) => break error.to_string(),
            }
        };
        let node = self.engine.link_target(link).map_or("", |target| target.node_id);
        crate::log::line(format_args!("node {node} answers what cannot be understood, connecting anew: {reason}"));
        self.connections.at(id).give_up();
        self.unlinked(link, now_ms);
        bytes.len()
    }

    /// The other end of a link sends nothing more.
    pub(super) fn link_ended(&mut self, id: ConnectionId, link: LinkId, now_ms: u64) {
        self.connections.at(id).give_up();
        self.unlinked(link, now_ms);
    }

    /// Does what the engine wants done with links.
    pub(super) fn drive_links(&mut self, now_ms: u64) {
        while let Some(output) = self.engine.next_link_output(now_ms) {
            match output {
                LinkOutput::Open(link) => self.links.wanted.push(link),
                LinkOutput::Send(link, frames) => {
                    let id = self.links.connection(link).expect("frames are for an open link");
                    self.engine.reuse(link, self.buffers.take());
                    let connection = self.connections.at(id);
                    if connection.output.is_empty() {
                        self.buffers.give(std::mem::replace(&mut connection.output, frames));
                    } else {
                        connection.output.extend_from_slice(&frames);
                        self.buffers.give(frames);
                    }
                    self.list(id);
                }
                LinkOutput::Reset(link) | LinkOutput::Close(link) => {
                    // One that is being dialed is dropped when it comes.
                    if let Some(id) = self.links.remove(link) {
                        self.connections.at(id).give_up();
                        self.list(id);
                    }
                }
            }
        }
    }

    fn list(&mut self, id: ConnectionId) {
        if !std::mem::replace(&mut self.connections.at(id).listed, true) {
            self.listed.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use larder_protocol::native::{Body, Scratch, decode_request, decode_response, encode_request, encode_response};
    use larder_protocol::{Command, Request, Status};
    use larder_ring::{Node, Topology};

    use super::super::tests::{NOW_MS, reactors};
    use super::*;

    /// A shard that is alone on its node, of two.
    fn half() -> Reactor {
        let node = |id: &str, incarnation| {
            let (id, address) = (id.to_owned(), format!("{id}.example:7400"));
            Node { id, address, shards: 1, points: 1024, incarnation }
        };
        let mut reactor = reactors(1).pop().expect("one");
        let topology = Topology::new(0, 2, vec![node("node", 1), node("other", 7)]).expect("two nodes");
        reactor.set_topology(Arc::new(topology)).expect("it has one shard still");
        reactor
    }

    /// Asks for keys until one is the other node's; with the link that is wanted for it.
    fn ask(reactor: &mut Reactor, client: ConnectionId) -> Dial {
        for number in 0..1_000_u64 {
            let (key, mut frame) = (number.to_le_bytes(), Vec::new());
            let command = Command::Get { key: &key };
            encode_request(
                &mut frame,
                &Request { id: number, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command },
            );
            reactor.received(client, &frame, NOW_MS);
            reactor.turn(NOW_MS);
            if let Some(dial) = reactor.next_dial() {
                return dial;
            }
        }
        panic!("half of the keys are the other node's");
    }

    /// The status of the last answer.
    fn last_status(reactor: &mut Reactor, client: ConnectionId) -> Option<Status> {
        let output = reactor.take_output(client)?;
        let (mut rest, mut status) = (&output[..], None);
        while let Some(frame) = native::frame(rest, FRAME_BYTES_MAX).expect("sane") {
            let response = decode_response(frame.message).expect("valid");
            assert!(matches!(response.body, Body::None));
            status = Some(response.status);
            rest = &rest[frame.consumed..];
        }
        reactor.sent(client, output, NOW_MS);
        status
    }

    fn close_listed(reactor: &mut Reactor) {
        while let Some(id) = reactor.next_listed() {
            if reactor.is_finished(id) {
                reactor.closed(id, NOW_MS);
            }
        }
    }

    #[test]
    fn what_is_asked_goes_out_on_the_link_and_what_comes_back_is_answered() {
        let mut reactor = half();
        let client = reactor.opened(Dialect::Native);
        let dial = ask(&mut reactor, client);
        let expected = ("other", "other.example:7400", 7, 0);
        assert_eq!(
            (&*dial.target.node_id, &*dial.target.address, dial.target.incarnation, dial.target.shard),
            expected
        );
        last_status(&mut reactor, client);
        let link = reactor.linked(dial.link, NOW_MS).expect("it is wanted");
        assert_eq!((reactor.links(), reactor.connections()), (1, 2));
        reactor.turn(NOW_MS);
        let frames = reactor.take_output(link).expect("the request");
        let mut scratch = Scratch::new(native::RequestLimits::default());
        let frame = native::frame(&frames, FRAME_BYTES_MAX).expect("sane").expect("whole");
        let request = decode_request(frame.message, &mut scratch).expect("valid");
        assert!(request.forwarded && request.epoch == 2, "{request:?}");
        let mut response = Vec::new();
        encode_response(&mut response, request.id, 2, &Reply::Miss);
        reactor.sent(link, frames.clone(), NOW_MS);
        // However it is cut.
        reactor.received(link, &response[..3], NOW_MS);
        reactor.received(link, &response[3..], NOW_MS);
        assert_eq!(last_status(&mut reactor, client), Some(Status::NotFound));
        reactor.turn(NOW_MS);
        while reactor.next_listed().is_some() {}
        reactor.validate();
    }

    #[test]
    fn a_link_that_ends_or_brings_nonsense_answers_who_waits() {
        let nonsense = [&[0xff; 8][..], &[0, 0, 0, 2, 0xff, 0xff], &[0, 0, 0, 2, 0x08, 0x55], &[]];
        for bytes in nonsense {
            let mut reactor = half();
            let client = reactor.opened(Dialect::Native);
            let dial = ask(&mut reactor, client);
            last_status(&mut reactor, client);
            let link = reactor.linked(dial.link, NOW_MS).expect("it is wanted");
            reactor.turn(NOW_MS);
            let frames = reactor.take_output(link).expect("the request");
            reactor.sent(link, frames, NOW_MS);
            match bytes {
                [] => reactor.ended(link, NOW_MS),
                bytes => reactor.received(link, bytes, NOW_MS),
            }
            assert_eq!(last_status(&mut reactor, client), Some(Status::Unavailable), "{bytes:?}");
            assert!(reactor.is_finished(link));
            reactor.closed(link, NOW_MS);
            assert_eq!((reactor.links(), reactor.connections()), (0, 1));
            while reactor.next_listed().is_some() {}
            reactor.validate();
        }
    }

    #[test]
    fn one_that_cannot_be_made_and_one_that_is_wanted_no_more_leave_nothing() {
        let mut reactor = half();
        let client = reactor.opened(Dialect::Native);
        let dial = ask(&mut reactor, client);
        last_status(&mut reactor, client);
        reactor.unlinked(dial.link, NOW_MS);
        assert_eq!(last_status(&mut reactor, client), Some(Status::Unavailable));
        let alone = reactors(1).pop().expect("one").engine.topology().nodes().to_vec();
        let alone = Topology::new(0, 3, alone).expect("one node");
        reactor.set_topology(Arc::new(alone)).expect("it has one shard still");
        reactor.turn(NOW_MS);
        assert_eq!(reactor.linked(dial.link, NOW_MS), None, "the node is in the ring no more");
        close_listed(&mut reactor);
        assert_eq!((reactor.links(), reactor.connections()), (0, 1));
        reactor.validate();
    }
}

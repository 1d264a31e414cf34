//! Connections between nodes.

use larder_engine::{LinkId, Submission};
use larder_protocol::Command;
use larder_protocol::native::{RequestLimits, Scratch, decode_request, encode_response, frame};

use super::{At, DIAL_MS, Event, Wire, World};
use crate::node::{Asker, number_of};

impl World {
    pub(super) fn respond(&mut self, wire: usize, frame: Vec<u8>) {
        self.travel(wire, 1, |wire| Event::Response { wire, frame });
    }

    /// Something goes over a connection: requests (0), or responses (1).
    pub(super) fn travel(&mut self, number: usize, direction: usize, event: impl FnOnce(usize) -> Event) {
        let Wire { from, to, is_cut, last_ms, .. } = &self.wires[number];
        if *is_cut {
            return;
        }
        let held_ms = self.partitions.get(&(from.0, to.0)).copied().unwrap_or(0);
        let last_ms = last_ms[direction];
        let at_ms = (self.now_ms.max(held_ms) + self.delay_ms()).max(last_ms);
        self.wires[number].last_ms[direction] = at_ms;
        self.at(at_ms, event(number));
    }

    pub(super) fn wire(&self, from: At, process: u64, link: LinkId) -> Option<usize> {
        let is_it = |wire: &Wire| !wire.is_cut && (wire.from, wire.from_process, wire.link) == (from, process, link);
        self.wires.iter().rposition(is_it)
    }

    pub(super) fn dialed(&mut self, at: At, number: u64, link: LinkId, has_waited: bool) {
        let now_ms = self.now_ms;
        if self.process(at.0, number).is_none() {
            return;
        }
        let Some(target) = self.engine(at).link_target(link) else { return };
        let (to, id, incarnation) =
            ((number_of(target.node_id), target.shard), target.node_id.to_owned(), target.incarnation);
        let node = &self.nodes[to.0];
        let is_cut_off = self.partitions.get(&(at.0, to.0)).is_some_and(|until_ms| now_ms < *until_ms);
        if (node.is_paused(now_ms) || is_cut_off) && !has_waited {
            return self.at(now_ms + DIAL_MS, Event::Dialed { at, process: number, link, has_waited: true });
        }
        let there = node.process.as_ref().filter(|process| [0, process.incarnation].contains(&incarnation));
        let there = there.filter(|_| !is_cut_off && !node.is_paused(now_ms)).map(|process| process.number);
        let local_ms = self.local_ms(at.0);
        match there {
            Some(to_process) => {
                let from_process = number;
                let is_cut = false;
                self.wires.push(Wire { from: at, from_process, link, to, to_process, is_cut, last_ms: [0; 2] });
                self.with_answers(at, |engine, now_ms, _| engine.link_opened(link, now_ms));
            }
            None => self.with_answers(at, |engine, now_ms, answer| engine.link_closed(link, now_ms, answer)),
        }
        if let Some(process) = self.process(at.0, number) {
            process.agent.reached(&id, there.is_some(), local_ms);
            self.after_agent(at.0);
        }
    }

    pub(super) fn lost(&mut self, number: usize) {
        let Wire { from, from_process, link, .. } = self.wires[number];
        if self.process(from.0, from_process).is_none() || self.wire(from, from_process, link).is_some() {
            return;
        }
        self.trace.note(self.now_ms, format_args!("{from:?} notices that a connection is lost"));
        self.with_answers(from, |engine, now_ms, answer| engine.link_closed(link, now_ms, answer));
    }

    pub(super) fn take_response(&mut self, number: usize, bytes: &[u8]) {
        let Wire { from, from_process, link, is_cut, .. } = self.wires[number];
        if is_cut || self.process(from.0, from_process).is_none() {
            return;
        }
        let message = frame(bytes, usize::MAX).expect("a frame").expect("a whole one").message;
        self.with_answers(from, |engine, now_ms, answer| {
            engine.receive_response(link, message, now_ms, answer).expect("a response to what was asked");
        });
    }

    pub(super) fn take_requests(&mut self, number: usize, bytes: &[u8]) {
        let Wire { to, to_process, is_cut, .. } = self.wires[number];
        if is_cut || self.process(to.0, to_process).is_none() {
            return;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let next = frame(rest, usize::MAX).expect("frames").expect("whole ones");
            rest = &rest[next.consumed..];
            let mut scratch = Scratch::new(RequestLimits::default());
            let request = decode_request(next.message, &mut scratch).expect("a request");
            assert!(request.forwarded, "nodes mark what they forward");
            self.trace.note(self.now_ms, format_args!("{to:?} is asked by another node: {:?}", request.command));
            let local_ms = self.local_ms(to.0);
            let process = self.process(to.0, to_process).expect("it was there");
            let engine = &mut process.engines[usize::from(to.1)];
            engine.set_standing(process.standing);
            let epoch = engine.epoch();
            match engine.submit(&request, local_ms) {
                Submission::Done(reply) => {
                    let mut frame = Vec::new();
                    encode_response(&mut frame, request.id, epoch, &reply);
                    self.respond(number, frame);
                }
                Submission::Pending(ticket) => {
                    process.askers.insert((to.1, ticket), Asker::Wire { wire: number, id: request.id });
                }
            }
            self.after(to);
        }
    }

    /// Only the node that a client has asked may send that client's writes to another one, and only twice: the second
    /// time because the first was refused.
    pub(super) fn check_once(&mut self, node: usize, frames: &[u8]) {
        let mut rest = frames;
        while !rest.is_empty() {
            let next = frame(rest, usize::MAX).expect("frames").expect("whole ones");
            rest = &rest[next.consumed..];
            let mut scratch = Scratch::new(RequestLimits::default());
            let request = decode_request(next.message, &mut scratch).expect("a request");
            if let Command::Set(write) = request.command
                && let Some(asked) = self.clients.entry_node(write.value)
            {
                assert_eq!(asked, node, "a request that was forwarded is forwarded again");
            }
        }
    }
}

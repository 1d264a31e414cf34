//! What engines and agents are told, and what they want.

use std::sync::Arc;

use larder_engine::{ClusterOrderOutcome, Engine, LinkOutput, Outgoing, Submission, Ticket};
use larder_protocol::Reply;
use larder_protocol::native::encode_response;
use larder_ring::Membership;

use super::{At, Event, World};
use crate::agent::Out;
use crate::etcd::{Answer, Session};
use crate::history::Outcome;
use crate::node::{Asker, Process};

/// Rings that are kept, so that not every node works out each.
const RINGS_MAX: usize = 6;
/// Steps of background work at a time: few, so that it is never far.
const BACKGROUND_STEPS_MAX: usize = 40;

impl World {
    /// What etcd says is on its way.
    pub(super) fn tell(&mut self, told: Vec<(Session, Answer)>) {
        for (session, answer) in told {
            let sent_ms = self.now_ms.max(self.nodes[session.node].cut_until_ms).max(self.etcd_away_until_ms);
            let last_ms = self.from_etcd.get(&session.node).copied().unwrap_or(0);
            let at_ms = (sent_ms + self.etcd_delay_ms(sent_ms)).max(last_ms);
            self.from_etcd.insert(session.node, at_ms);
            self.at(at_ms, Event::Heard { session, answer });
        }
    }

    /// Does what the agent of a node wants.
    pub(super) fn after_agent(&mut self, node: usize) {
        let now_ms = self.now_ms;
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let number = process.number;
        for out in process.agent.take() {
            match out {
                Out::Ask(session, ask) => {
                    let session = Session { node, process: number, number: session };
                    let sent_ms = now_ms.max(self.nodes[node].cut_until_ms).max(self.etcd_away_until_ms);
                    let last_ms = self.to_etcd.get(&node).copied().unwrap_or(0);
                    let at_ms = (sent_ms + self.etcd_delay_ms(sent_ms)).max(last_ms);
                    self.to_etcd.insert(node, at_ms);
                    self.at(at_ms, Event::Etcd { session, ask });
                }
                Out::Membership(membership) => {
                    let (epoch, follows) = (membership.topology.epoch(), membership.follows);
                    let members: Vec<&str> = membership.topology.nodes().iter().map(|node| node.id.as_str()).collect();
                    self.trace.note(
                        now_ms,
                        format_args!(
                            "node {node} hears of epoch {epoch} with {members:?}, follows {follows}, {} leaving, \
                             registration {}",
                            membership.leaving.len(),
                            membership.registration
                        ),
                    );
                    self.rings.truncate(RINGS_MAX - 1);
                    self.rings.push_front(Arc::clone(&membership.topology));
                    let membership = Arc::new(membership);
                    for shard in 0..self.nodes[node].shards {
                        let at = (node, shard);
                        let late_ms = self.random.u64(0..=self.nodes[node].late_ms);
                        let at_ms = (now_ms + late_ms).max(self.to_shards.get(&at).copied().unwrap_or(0));
                        self.to_shards.insert(at, at_ms);
                        let membership = Arc::clone(&membership);
                        self.at(at_ms, Event::Membership { at, process: number, membership });
                    }
                }
                Out::Standing(standing) => {
                    if let Some(process) = self.process(node, number) {
                        process.standing = standing;
                    }
                }
                Out::Raised { shard, ticket, raised } => {
                    let at = (node, shard);
                    self.at(now_ms, Event::Raised { at, process: number, ticket, raised });
                }
                Out::Left => {}
            }
        }
        let Some(process) = self.nodes[node].process.as_ref() else { return };
        if let Some(next_ms) = process.agent.next_ms() {
            let at_ms = self.nodes[node].clock.when(next_ms, now_ms);
            if process.agent_wake <= now_ms || at_ms < process.agent_wake {
                self.process(node, number).expect("it is there").agent_wake = at_ms;
                self.at(at_ms, Event::Agent { node, process: number });
            }
        }
    }

    pub(super) fn take_membership(&mut self, at: At, process: u64, membership: &Membership) {
        if self.process(at.0, process).is_none() {
            return;
        }
        self.trace.note(self.now_ms, format_args!("{at:?} goes by epoch {}", membership.topology.epoch()));
        self.sequence += 1;
        self.history.ring_changed(at, process, self.sequence);
        self.with_answers(at, |engine, now_ms, _| {
            engine.set_membership(membership, now_ms).expect("nodes keep their shards");
        });
        let now_ms = self.now_ms;
        let process = self.process(at.0, process).expect("it runs");
        match process.engines.iter().all(Engine::is_in_ring) {
            true if process.joined_ms == 0 => process.joined_ms = now_ms,
            true => {}
            false => process.joined_ms = 0,
        }
    }

    /// Whoever has ordered an invalidation is told once all shards of the node go by its epoch.
    pub(super) fn take_raised(&mut self, at: At, number: u64, ticket: Ticket, raised: Option<(u64, u64)>) {
        let Some(process) = self.process(at.0, number) else { return };
        if let Some((_, epoch)) = raised
            && process.engines.iter().any(|engine| engine.epoch() < epoch)
        {
            return self.at(self.now_ms + 5, Event::Raised { at, process: number, ticket, raised });
        }
        let outcome = match raised {
            Some((generation, epoch)) => ClusterOrderOutcome::Invalidated { generation, epoch },
            None => ClusterOrderOutcome::Unavailable("etcd does not answer".into()),
        };
        self.with_answers(at, |engine, _, answer| engine.cluster_order_done(ticket, &outcome, answer));
    }

    pub(super) fn wake(&mut self, at: At, number: u64) {
        let shard = usize::from(at.1);
        let (now_ms, local_ms) = (self.now_ms, self.local_ms(at.0));
        let Some(process) = self.process(at.0, number) else { return };
        if process.wakes[shard] > now_ms {
            return;
        }
        process.wakes[shard] = 0;
        if process.engines[shard].next_wake_ms().is_some_and(|at_ms| at_ms <= local_ms) {
            let steps = self.random.usize(0..BACKGROUND_STEPS_MAX);
            self.with_answers(at, |engine, now_ms, answer| {
                engine.wake(now_ms, answer);
                engine.background(now_ms, steps);
            });
        } else {
            self.after(at);
        }
    }

    /// Calls an engine, gives its answers to who waits, and sends what it has to send.
    pub(super) fn with_answers(
        &mut self,
        at: At,
        call: impl FnOnce(&mut Engine, u64, &mut dyn FnMut(Ticket, &Reply<'_>)),
    ) {
        let local_ms = self.local_ms(at.0);
        let process = self.nodes[at.0].process.as_mut().expect("it is asked of one that runs");
        let Process { engines, askers, standing, .. } = process;
        let engine = &mut engines[usize::from(at.1)];
        engine.set_standing(*standing);
        let epoch = engine.epoch();
        let mut answers: Vec<(Asker, Vec<u8>, Vec<Outcome>)> = Vec::new();
        let clients = &self.clients;
        call(engine, local_ms, &mut |ticket, reply| {
            let asker = askers.remove(&(at.1, ticket)).expect("a ticket is answered once");
            let (mut frame, mut outcomes) = (Vec::new(), Vec::new());
            match asker {
                Asker::Client(number) => outcomes = clients.outcomes(number, reply),
                Asker::Wire { id, .. } => encode_response(&mut frame, id, epoch, reply),
            }
            answers.push((asker, frame, outcomes));
        });
        for (asker, frame, outcomes) in answers {
            match asker {
                Asker::Client(number) => self.answer_client(number, outcomes),
                Asker::Wire { wire, .. } => self.respond(wire, frame),
            }
        }
        self.after(at);
    }

    pub(super) fn answer_client(&mut self, number: u64, outcomes: Vec<Outcome>) {
        let at_ms = self.now_ms + self.delay_ms();
        self.at(at_ms, Event::Answered { number, outcomes });
    }

    /// Sends what a shard has to send, and sees to its being woken.
    pub(super) fn after(&mut self, at: At) {
        let (now_ms, local_ms) = (self.now_ms, self.local_ms(at.0));
        let number = self.nodes[at.0].process.as_ref().expect("it runs").number;
        while let Some(Outgoing { to, lane, batch }) = self.engine(at).next_batch() {
            let way = (at, to, lane as u8);
            let at_ms = (now_ms + self.random.u64(0..=2)).max(self.lanes.get(&way).copied().unwrap_or(0));
            self.lanes.insert(way, at_ms);
            self.at(at_ms, Event::Batch { at: (at.0, to), process: number, from: at.1, lane, batch });
        }
        while let Some(output) = self.engine(at).next_link_output(local_ms) {
            match output {
                LinkOutput::Open(link) => {
                    let at_ms = now_ms + self.delay_ms();
                    self.at(at_ms, Event::Dialed { at, process: number, link, has_waited: false });
                }
                LinkOutput::Send(link, frames) => {
                    // Without one, it is lost and the engine is told so soon.
                    if let Some(wire) = self.wire(at, number, link) {
                        self.check_once(at.0, &frames);
                        self.travel(wire, 0, |wire| Event::Requests { wire, frames });
                    }
                }
                LinkOutput::Reset(link) | LinkOutput::Close(link) => {
                    if let Some(wire) = self.wire(at, number, link) {
                        self.wires[wire].is_cut = true;
                    }
                }
            }
        }
        while let Some(load) = self.engine(at).next_load(now_ms) {
            self.load(at, number, load);
        }
        while let Some(order) = self.engine(at).next_cluster_order() {
            self.process(at.0, number).expect("it runs").agent.invalidate(at.1, order.ticket);
            self.after_agent(at.0);
        }
        let engine = self.engine(at);
        let (newest, next_ms) = (engine.newest_epoch(), engine.next_wake_ms());
        let is_news = newest > engine.epoch();
        let clock = self.nodes[at.0].clock;
        let process = self.process(at.0, number).expect("it runs");
        let mut wake_ms = None;
        if let Some(next_ms) = next_ms {
            let at_ms = clock.when(next_ms, now_ms);
            let known_ms = &mut process.wakes[usize::from(at.1)];
            if *known_ms <= now_ms || at_ms < *known_ms {
                *known_ms = at_ms;
                wake_ms = Some(at_ms);
            }
        }
        if is_news && newest > process.asked_epoch {
            process.asked_epoch = newest;
            process.agent.reach(newest, local_ms);
            self.after_agent(at.0);
        }
        if let Some(at_ms) = wake_ms {
            self.at(at_ms, Event::Wake { at, process: number });
        }
    }

    pub(super) fn engine(&mut self, at: At) -> &mut Engine {
        &mut self.nodes[at.0].process.as_mut().expect("it runs").engines[usize::from(at.1)]
    }

    /// A client's request is here.
    pub(super) fn take_client_request(&mut self, number: u64, at: At, process: u64) {
        let local_ms = self.local_ms(at.0);
        let Some(running) = self.nodes[at.0].process.as_mut().filter(|running| running.number == process) else {
            let outcomes = self.clients.unknown(number);
            return self.answer_client(number, outcomes);
        };
        let Some(request) = self.clients.request(number) else { return };
        let engine = &mut running.engines[usize::from(at.1)];
        engine.set_standing(running.standing);
        let outcomes = request.with(|request| match engine.submit(&request, local_ms) {
            Submission::Done(reply) => Some(self.clients.outcomes(number, &reply)),
            Submission::Pending(ticket) => {
                running.askers.insert((at.1, ticket), Asker::Client(number));
                None
            }
        });
        if let Some(outcomes) = outcomes {
            self.answer_client(number, outcomes);
        }
        self.after(at);
    }
}

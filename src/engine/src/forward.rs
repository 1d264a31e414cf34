//! Requests for other nodes: sent over a link, and answered with what comes back. A request is forwarded once; only the
//! node that its caller asked may route it again, if its owner turns out to be another one.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use larder_protocol::limits::FRAME_PREFIX_BYTES;
use larder_protocol::native::{Body, Response, decode_request, decode_response, request_bytes};
use larder_protocol::{Command, Failure, Reply, Request, Status};
use larder_ring::Place;
use larder_store::RemovalHook;

use crate::command::Subject;
use crate::error::LinkError;
use crate::failures;
use crate::flights;
use crate::groups::Group;
use crate::limits::{LINK_BACKOFF_MS_MAX, REROUTES_MAX, ROUTED_AGAIN_MAX, TRY_AGAIN_MS};
use crate::local::Route;
use crate::members::key_of;
use crate::mesh::Part;
use crate::pass_on::record_bytes;
use crate::peers::{Boarding, Forwarded, LinkId, LinkOutput, LinkTarget, PING_ID, Passenger};
use crate::planted::{self, Bug};
use crate::receive::{fill, reply_of};
use crate::transact::{for_each, for_each_key};
use crate::waiting::Awaited;
use crate::{Engine, Submission, Ticket};

impl<H: RemovalHook> Engine<H> {
    /// The next thing that the engine wants done with a link to another node, until there is none. Poll after every call
    /// that takes requests, responses, time or a topology; what is not polled waits, within [`crate::limits`].
    pub fn next_link_output(&mut self, now_ms: u64) -> Option<LinkOutput> {
        self.peers.next_output(now_ms)
    }

    /// Gives a link an empty buffer for the frames behind those that it has just handed out.
    pub fn reuse(&mut self, link: LinkId, buffer: Vec<u8>) {
        self.peers.reuse(link, buffer);
    }

    /// Where a link leads to; `None`: it was closed.
    pub fn link_target(&self, link: LinkId) -> Option<LinkTarget<'_>> {
        self.peers.target(link)
    }

    /// The connection of a link is there. Without effect if the link was closed.
    pub fn link_opened(&mut self, link: LinkId, now_ms: u64) {
        self.peers.opened(link, now_ms);
    }

    /// The connection of a link is lost, or could not be made. Tickets that this answers are handed to `answer`. Without
    /// effect if the link was closed.
    pub fn link_closed(&mut self, link: LinkId, now_ms: u64, mut answer: impl FnMut(Ticket, &Reply<'_>)) {
        for (lost, was_sent) in self.peers.closed(link, now_ms) {
            if planted::has(Bug::LostReply) {
                self.waiting.cancel(lost.ticket);
                continue;
            }
            if planted::has(Bug::SentAgain) && was_sent {
                self.peers.put_aside(lost, now_ms + LINK_BACKOFF_MS_MAX / 4, 0);
                continue;
            }
            self.answer_lost(lost, was_sent, &mut answer);
        }
    }

    /// A response came over a link: the message of a frame. The ticket that it answers is handed to `answer`.
    ///
    /// # Errors
    /// If it is none, or answers nothing that was asked: close the connection, and call [`Engine::link_closed`].
    pub fn receive_response(
        &mut self,
        link: LinkId,
        message: &[u8],
        now_ms: u64,
        mut answer: impl FnMut(Ticket, &Reply<'_>),
    ) -> Result<(), LinkError> {
        let response = decode_response(message)?;
        self.newest_epoch = self.newest_epoch.max(response.epoch);
        if response.id == PING_ID {
            self.take_pong(link, &response, now_ms)?;
            self.answer_acknowledged(&mut answer);
            return Ok(());
        }
        let mut request = self.peers.answered(link, response.id, now_ms)?;
        if !request.order.is_empty() {
            return self.take_results(request, &response, now_ms, &mut answer);
        }
        if let Body::Invalidated { .. } = response.body {
            self.take_invalidated(request, &mut answer);
            return Ok(());
        }
        let epochs = (response.epoch, self.epoch());
        // What all nodes are asked has no owner to be looked for.
        let is_about_key = self.waiting.is_about_key(request.ticket);
        if is_about_key && let Some((at_ms, epoch)) = when_again(response.status, epochs, &mut request, now_ms) {
            self.peers.put_aside(request, at_ms, epoch);
            return Ok(());
        }
        let mut failure = Failure::new(response.status, "");
        let Some(reply) = reply_of(&response, &mut failure) else {
            self.answer_lost(request, true, &mut answer);
            return Err(LinkError::mismatch(response.id, "it answers no request about one key"));
        };
        self.answer_all(request, &reply, &mut answer);
        Ok(())
    }

    /// The greatest epoch that another node has named; above [`Engine::epoch`], there is a newer ring.
    pub fn newest_epoch(&self) -> u64 {
        self.newest_epoch
    }

    /// A node does not say, as a shard does, that its answer takes long: one that may is taken for it.
    fn delay_forwarded(&mut self, ticket: Ticket, request: &Request<'_>) {
        let group = self.local.groups.group(request.group);
        let may_take_long = match request.command {
            Command::LeaseGet { .. } => true,
            Command::Get { .. } | Command::Meta(_) => group.is_some_and(|group| group.is_refilled),
            _ => false,
        };
        if may_take_long {
            self.waiting.delay(ticket);
        }
    }

    /// Sends a request to the node that owns its key.
    pub(crate) fn forward(&mut self, place: Place, request: &Request<'_>, hash: u64, now_ms: u64) -> Submission<'_> {
        let request = self.to_pass_on(request);
        let link = self.peers.link_to(place);
        let boarding = match request.command {
            Command::Get { key } => self.peers.board(hash, request.group, key),
            Command::Transact { requests, .. } => {
                self.end_flights(requests, now_ms);
                self.peers.end_flight(hash, now_ms);
                Boarding::Alone
            }
            _ => {
                self.peers.end_flight(hash, now_ms);
                Boarding::Alone
            }
        };
        if self.waiting.is_full() {
            return Submission::Done(self.overloaded());
        }
        let deadline_ms = now_ms.saturating_add(u64::from(request.timeout_ms));
        if let Boarding::Join(joined) = boarding {
            let ticket = self.waiting.begin(deadline_ms, true);
            self.delay_forwarded(ticket, &request);
            self.peers.join(joined, ticket);
            return Submission::Pending(ticket);
        }
        if let Some(refusal) = self.peers.refusal(link, request_bytes(&request), now_ms) {
            self.local.counters.overloaded += u64::from(refusal.status == Status::Overloaded);
            return Submission::Done(Reply::Failed(refusal));
        }
        let ticket = self.waiting.begin(deadline_ms, request.command.is_idempotent());
        self.delay_forwarded(ticket, &request);
        self.local.counters.forwarded += 1;
        self.peers.send_get(link, Passenger { ticket, order: 0..0, deadline_ms }, request, (hash, boarding), now_ms);
        Submission::Pending(ticket)
    }

    /// Nobody who asks for a key of a transaction joins a get that was sent before it. What is no transaction is refused by who
    /// executes it.
    #[cold]
    fn end_flights(&mut self, requests: &[u8], now_ms: u64) {
        let Self { local, peers, .. } = self;
        let mut scratch = mem::take(&mut local.transact);
        let _ = for_each(requests, &mut scratch, |request| {
            for_each_key(request, |group, key| {
                if let Some(group) = local.groups.group(group) {
                    peers.end_flight(larder_ring::key_hash(key, group.hash), now_ms);
                }
                Ok(())
            })
        });
        local.transact = scratch;
    }

    /// Executes a request of another node, or passes it on to the shard of this one that has to. It is never forwarded.
    #[inline]
    pub(crate) fn submit_forwarded(&mut self, request: &Request<'_>, now_ms: u64) -> Submission<'_> {
        if request.epoch > self.epoch() {
            self.newest_epoch = self.newest_epoch.max(request.epoch);
            if !matches!(request.command, Command::Ping) {
                return Submission::Done(Reply::Failed(&failures::BEHIND));
            }
        }
        match Subject::of(&request.command) {
            Subject::Key(key) => {
                let Some(group) = self.local.groups.group(request.group) else {
                    return Submission::Done(self.local.no_such_group(request.group));
                };
                let hash = larder_ring::key_hash(key, group.hash);
                match self.local.route(hash) {
                    Route::Here if let Some(wish) = self.local.wish((group, hash), &request.command, now_ms) => {
                        let deadline_ms = now_ms.saturating_add(u64::from(self.timeout_ms(request)));
                        self.grant(wish, group, (hash, key), (now_ms, deadline_ms))
                    }
                    Route::Here => Submission::Done(self.local.execute_key(group, hash, &request.command, now_ms)),
                    Route::Shard(to) => self.pass_on(to, request, hash, now_ms),
                    Route::Node(place) if planted::has(Bug::ForwardTwice) => self.forward(place, request, hash, now_ms),
                    Route::Node(_) => Submission::Done(self.local.wrong_owner(hash)),
                }
            }
            Subject::Keys(many) => self.submit_keys(many, request, now_ms),
            _ if matches!(request.command, Command::Ping) => Submission::Done(self.pong(now_ms)),
            Subject::Group if self.local.shards > 1 => self.ask_all(request, now_ms),
            _ => Submission::Done(self.local.execute(request, now_ms)),
        }
    }

    /// Another node has invalidated the group on all its shards.
    fn take_invalidated(&mut self, request: Forwarded, answer: &mut impl FnMut(Ticket, &Reply<'_>)) {
        let ticket = request.ticket;
        self.peers.recycle(request.frame);
        let Some((Awaited::Invalidation { missing, .. }, _)) = self.waiting.awaited(ticket) else { return };
        *missing -= 1;
        if *missing == 0
            && let Some(complete) = self.waiting.take(ticket)
        {
            self.answer(ticket, complete, answer);
        }
    }

    /// Takes the results of a request about several keys; those whose owner was another one are routed again.
    fn take_results(
        &mut self,
        mut request: Forwarded,
        response: &Response<'_>,
        now_ms: u64,
        answer: &mut impl FnMut(Ticket, &Reply<'_>),
    ) -> Result<(), LinkError> {
        let (ticket, order) = (request.ticket, request.order.clone());
        let Some(mut gather) = self.waiting.take_gather(ticket) else {
            self.peers.recycle(request.frame);
            return Ok(());
        };
        let mut when = None;
        let reroutes = request.reroutes;
        let waits = |status: Status| {
            request.reroutes = reroutes;
            let again = when_again(status, (response.epoch, self.local.topology.epoch()), &mut request, now_ms);
            when = again.or(when);
            again.is_some()
        };
        let filled = fill(&mut gather, &mut self.waiting.gathers, &order, response, waits);
        match (&filled, when) {
            (Ok(overloaded), Some((at_ms, epoch))) => {
                self.local.counters.overloaded += overloaded;
                self.peers.put_aside(request, at_ms, epoch);
            }
            (Ok(overloaded), None) => {
                self.local.counters.overloaded += overloaded;
                gather.missing -= 1;
                self.peers.recycle(request.frame);
            }
            (Err(_), _) => {
                gather.lose(order, true);
                gather.missing -= 1;
                self.peers.recycle(request.frame);
            }
        }
        self.put_gather_back(ticket, gather, answer);
        filled.map(|_| ()).map_err(|reason| LinkError::mismatch(response.id, reason))
    }

    /// Answers a gather if nothing is missing, and otherwise lets it wait on.
    pub(crate) fn put_gather_back(
        &mut self,
        ticket: Ticket,
        gather: Box<crate::gather::Gather>,
        answer: &mut impl FnMut(Ticket, &Reply<'_>),
    ) {
        self.waiting.await_instead(ticket, Awaited::Keys(gather));
        if self.waiting.missing(ticket) == Some(0)
            && let Some(complete) = self.waiting.take(ticket)
        {
            self.answer(ticket, complete, answer);
        }
    }

    /// Answers everybody who waits for a request about one key.
    fn answer_all(&mut self, request: Forwarded, reply: &Reply<'_>, answer: &mut impl FnMut(Ticket, &Reply<'_>)) {
        let Forwarded { ticket, others, frame, .. } = request;
        for ticket in [ticket].into_iter().chain(others) {
            if self.waiting.take(ticket).is_some() {
                answer(ticket, reply);
            }
        }
        self.peers.recycle(frame);
    }

    /// Answers a request whose link is gone.
    fn answer_lost(&mut self, lost: Forwarded, was_sent: bool, answer: &mut impl FnMut(Ticket, &Reply<'_>)) {
        if lost.order.is_empty() {
            let is_harmless = !was_sent || self.waiting.is_idempotent(lost.ticket);
            let failure = if is_harmless { &failures::UNREACHABLE } else { &failures::LOST };
            return self.answer_all(lost, &Reply::Failed(failure), answer);
        }
        let ticket = lost.ticket;
        if let Some(mut gather) = self.waiting.take_gather(ticket) {
            gather.lose(lost.order.clone(), was_sent);
            gather.missing -= 1;
            self.put_gather_back(ticket, gather, answer);
        }
        self.peers.recycle(lost.frame);
    }

    /// Routes requests again whose time has come, and gives up links that are silent.
    pub(crate) fn wake_peers(&mut self, now_ms: u64, answer: &mut impl FnMut(Ticket, &Reply<'_>)) {
        while let Some(link) = self.peers.next_silent(now_ms) {
            self.peers.give_up(link);
            self.link_closed(link, now_ms, &mut *answer);
        }
        for _ in 0..self.peers.aside().min(ROUTED_AGAIN_MAX) {
            if self.peers.aside_ms().is_none_or(|at_ms| at_ms > now_ms) {
                break;
            }
            let Some((request, epoch)) = self.peers.next_aside() else { break };
            if epoch > self.epoch() {
                self.peers.put_aside_unless_late(request, now_ms + TRY_AGAIN_MS, epoch, &self.waiting);
            } else {
                self.route_again(request, now_ms, answer);
            }
        }
    }

    /// Sends a request where it belongs by the ring of now.
    fn route_again(&mut self, mut request: Forwarded, now_ms: u64, answer: &mut impl FnMut(Ticket, &Reply<'_>)) {
        request.others.retain(|ticket| self.waiting.missing(*ticket).is_some());
        if self.waiting.missing(request.ticket).is_none() {
            match request.others.pop() {
                Some(other) => request.ticket = other,
                None => return self.peers.recycle(request.frame),
            }
        }
        let frame = mem::take(&mut request.frame);
        let mut decoder = mem::take(&mut self.decoder);
        let decoded = decode_request(&frame[FRAME_PREFIX_BYTES..], &mut decoder).expect("it was encoded here");
        let left_ms = u32::try_from(request.deadline_ms.saturating_sub(now_ms)).unwrap_or(u32::MAX).max(1);
        let decoded = Request { id: u64::MAX, epoch: self.epoch(), timeout_ms: left_ms, ..decoded };
        match (Subject::of(&decoded.command), self.local.groups.group(decoded.group)) {
            (Subject::Key(key), Some(group)) => {
                let hash = larder_ring::key_hash(key, group.hash);
                self.route_key_again(request, &decoded, (group, hash), now_ms, answer);
            }
            (Subject::Keys(many), Some(group)) => {
                self.scatter_again(&many, &request, &decoded, group, now_ms, answer);
            }
            _ => unreachable!("only requests on keys of a known group are routed again"),
        }
        self.decoder = decoder;
        self.peers.recycle(frame);
    }

    fn route_key_again(
        &mut self,
        request: Forwarded,
        decoded: &Request<'_>,
        (group, hash): (Group, u64),
        now_ms: u64,
        answer: &mut impl FnMut(Ticket, &Reply<'_>),
    ) {
        let deadline_ms = request.deadline_ms;
        match self.local.route(hash) {
            Route::Here if let Some(wish) = self.local.wish((group, hash), &decoded.command, now_ms) => {
                let tickets: Vec<Ticket> = [request.ticket].into_iter().chain(request.others).collect();
                let key = key_of(&decoded.command);
                let passengers = tickets.into_iter().map(|ticket| flights::Passenger::Alone(ticket, wish));
                self.grant_again(passengers, group, (hash, key), now_ms, answer);
            }
            Route::Here => {
                let tickets: Vec<Ticket> = [request.ticket].into_iter().chain(request.others).collect();
                let waiting = &mut self.waiting;
                let reply = self.local.execute_key(group, hash, &decoded.command, now_ms);
                for ticket in tickets {
                    if waiting.take(ticket).is_some() {
                        answer(ticket, &reply);
                    }
                }
            }
            Route::Shard(to) => {
                let bytes = record_bytes(decoded);
                for ticket in [request.ticket].into_iter().chain(request.others) {
                    if self.mesh.has_room(to, bytes) {
                        self.mesh.send(Part { ticket, to, bytes: bytes as u32, order: 0..0 }, *decoded, hash);
                    } else if self.waiting.take(ticket).is_some() {
                        self.local.counters.overloaded += 1;
                        answer(ticket, &Reply::Failed(&failures::OVERLOADED));
                    }
                }
            }
            Route::Node(place) => {
                let link = self.peers.link_to(place);
                if let Some(refusal) = self.peers.refusal(link, request_bytes(decoded), now_ms) {
                    return self.answer_all(request, &Reply::Failed(refusal), answer);
                }
                let Forwarded { ticket, others, reroutes, .. } = request;
                let passenger = Passenger { ticket, order: 0..0, deadline_ms };
                self.peers.send_again(link, passenger, *decoded, (others, reroutes), now_ms);
            }
        }
    }
}

/// When, and from which epoch on, a refused request is to be routed again; `None`: it is answered. The epochs are those
/// of the node that refused it, and ours.
fn when_again(status: Status, (theirs, ours): (u64, u64), request: &mut Forwarded, now_ms: u64) -> Option<(u64, u64)> {
    match status {
        Status::OwnerUnsure => Some((now_ms + TRY_AGAIN_MS, 0)),
        Status::WrongOwner if request.reroutes < REROUTES_MAX && theirs.max(ours) > request.epoch => {
            request.reroutes += 1;
            Some((now_ms, theirs.max(ours)))
        }
        _ => None,
    }
}

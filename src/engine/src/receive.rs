//! Batches from other shards: their requests are executed, their replies given to who waits for them.

use alloc::borrow::ToOwned;
use alloc::vec::Vec;
use core::mem;
use core::ops::Range;

use larder_protocol::limits::{FRAME_BYTES_MAX, FRAME_PREFIX_BYTES};
use larder_protocol::native::{Body, Response, decode_request, decode_response, encode_response};
use larder_protocol::{Command, Failure, Looked, Meta, Reply, Request, Status};
use larder_store::RemovalHook;

use crate::error::BatchError;
use crate::failures;
use crate::flights::Wish;
use crate::gather::{Gather, Gathers};
use crate::limits::{
    ENTRY_ENVELOPE_BYTES_MAX, ENVELOPE_BYTES_MAX, FLIGHT_MS_MAX, KEY_ENVELOPE_BYTES_MAX, LANE_BYTES_MAX,
    LOOKED_ENVELOPE_BYTES_MAX, OUTCOME_BYTES_MAX, PREFETCH_REQUESTS,
};
use crate::load::loads;
use crate::local::Route;
use crate::mesh::{Lane, Mesh, Part};
use crate::records::{self, Asked, RECORD_BYTES_MAX, Replied, entry_bytes, put_entry, put_reply, reply_bytes};
use crate::stats;
use crate::waiting::{Awaited, Behalf};
use crate::{Engine, Ticket};

impl<H: RemovalHook> Engine<H> {
    /// A batch arrived that the engine of shard `from` handed out for this one: each once, and those of one lane in
    /// their order. Tickets that it answers are handed to `answer`. Poll [`Engine::next_batch`] afterwards.
    ///
    /// # Panics
    /// If it is none that an engine would hand out next: the lanes lost, mixed or changed something.
    pub fn receive(
        &mut self,
        from: u16,
        lane: Lane,
        batch: &[u8],
        now_ms: u64,
        mut answer: impl FnMut(Ticket, &Reply<'_>),
    ) {
        self.waiting.begin_call();
        let received = match lane {
            Lane::Requests => self.receive_requests(from, batch, now_ms),
            Lane::Replies => self.receive_replies(from, batch, &mut answer),
        };
        if let Err(error) = received {
            panic!("shard {} cannot use a batch of {lane:?} from shard {from}: {error}", self.local.shard);
        }
    }

    fn receive_requests(&mut self, from: u16, batch: &[u8], now_ms: u64) -> Result<(), BatchError> {
        let mut records = self.mesh.arrived(from, Lane::Requests, batch)?;
        while !records.is_empty() {
            let asked_for = self.prefetch_records(records)?;
            for _ in 0..asked_for {
                let Some(record) = records::next(&mut records)? else { break };
                match record.asked()? {
                    Asked::OfKey { id, hash, group, command } => {
                        self.execute_of_key(from, id, (group, hash), &command, now_ms);
                    }
                    Asked::Other(message) => self.execute_message(from, message, now_ms)?,
                }
            }
        }
        Ok(())
    }

    /// Asks for the memory that the first [`PREFETCH_REQUESTS`] of these requests will read; how many there are.
    #[inline]
    fn prefetch_records(&self, mut records: &[u8]) -> Result<usize, BatchError> {
        let (mut hashes, mut len, mut count) = ([0; PREFETCH_REQUESTS], 0, 0);
        while count < PREFETCH_REQUESTS
            && let Some(record) = records::next(&mut records)?
        {
            if let Some(hash) = record.hash() {
                hashes[len] = hash;
                len += 1;
            }
            count += 1;
        }
        self.local.store.prefetch(&hashes[..len]);
        Ok(count)
    }

    /// Executes a get or an unconditional set of another shard and sends the reply. An entry that would take the lane
    /// above its bound is not sent: the reply is OVERLOADED instead.
    #[inline]
    fn execute_of_key(&mut self, from: u16, id: u64, key: (u64, u64), command: &Command<'_>, now_ms: u64) {
        self.local.counters.cross_core += 1;
        let epoch = self.local.topology.epoch();
        let reply = match self.local.groups.group(key.0) {
            None => self.local.no_such_group(key.0),
            Some(_) if self.local.route(key.1) != Route::Here => self.local.wrong_owner(key.1),
            Some(group) => match *command {
                Command::Get { key: bytes } if loads(group, command) => {
                    let (behalf, deadline_ms) = (Behalf { shard: from, id }, now_ms.saturating_add(FLIGHT_MS_MAX));
                    return self.grant_on_behalf(behalf, Wish::Get, group, (key.1, bytes), (now_ms, deadline_ms));
                }
                _ => self.local.execute_key(group, key.1, command, now_ms),
            },
        };
        match reply {
            Reply::Entry(ref found) => {
                let bytes = entry_bytes(found);
                if self.mesh.has_reply_room(from, bytes) {
                    return self.mesh.reply(from, bytes, |out| put_entry(out, id, found));
                }
                self.local.counters.overloaded += 1;
                send_reply(&mut self.mesh, from, (id, epoch), &Reply::Failed(&failures::OVERLOADED));
            }
            ref other => send_reply(&mut self.mesh, from, (id, epoch), other),
        }
    }

    /// Executes any other request of another shard.
    fn execute_message(&mut self, from: u16, message: &[u8], now_ms: u64) -> Result<(), BatchError> {
        // Out of `self` for as long as the request borrows it.
        let mut decoder = mem::take(&mut self.decoder);
        let executed = decode_request(message, &mut decoder).map(|request| self.execute_for(from, &request, now_ms));
        self.decoder = decoder;
        Ok(executed?)
    }

    /// Executes one request of another shard and sends the reply. Entries that would take the lane above its bound are
    /// not sent: the reply is OVERLOADED instead. A get_and_touch, a transaction or a meta command is refused before it changes anything, once
    /// the lane is at its bound.
    fn execute_for(&mut self, from: u16, request: &Request<'_>, now_ms: u64) {
        let epoch = self.local.topology.epoch();
        let touches =
            matches!(request.command, Command::GetAndTouch { .. } | Command::Transact { .. } | Command::Meta(_));
        let reads = matches!(request.command, Command::GetMany { .. } | Command::Look { .. } | Command::Scan(_));
        if touches && !self.mesh.has_reply_room(from, 1) {
            self.local.counters.overloaded += 1;
            send_reply(&mut self.mesh, from, (request.id, epoch), &Reply::Failed(&failures::OVERLOADED));
            return;
        }
        self.local.counters.cross_core += 1;
        if let Command::LeaseGet { key, .. } | Command::Meta(Meta { key, .. }) = request.command
            && let Some(group) = self.local.groups.group(request.group)
        {
            let hash = larder_ring::key_hash(key, group.hash);
            if self.local.route(hash) == Route::Here
                && let Some(wish) = self.local.wish((group, hash), &request.command, now_ms)
            {
                let behalf = Behalf { shard: from, id: request.id };
                let deadline_ms = now_ms.saturating_add(u64::from(self.timeout_ms(request)));
                return self.grant_on_behalf(behalf, wish, group, (hash, key), (now_ms, deadline_ms));
            }
        }
        if let Command::GetMany { keys } = request.command
            && self.local.groups.group(request.group).is_some_and(|group| loads(group, &request.command))
        {
            return self.load_many_on_behalf(Behalf { shard: from, id: request.id }, keys, request, now_ms);
        }
        let reply = self.local.execute(request, now_ms);
        let refused = reads && !self.mesh.has_reply_room(from, reply_bytes_max(&reply));
        let reply = if refused { Reply::Failed(&failures::OVERLOADED) } else { reply };
        send_reply(&mut self.mesh, from, (request.id, epoch), &reply);
        self.local.counters.overloaded += u64::from(refused);
    }

    fn receive_replies(
        &mut self,
        from: u16,
        batch: &[u8],
        answer: &mut impl FnMut(Ticket, &Reply<'_>),
    ) -> Result<(), BatchError> {
        let mut records = self.mesh.arrived(from, Lane::Replies, batch)?;
        while let Some(record) = records::next(&mut records)? {
            match record.replied()? {
                // By reference: a reply is twelve words, which need not move.
                Replied::OfKey { id, ref reply } => match Ticket::of_id(id) {
                    Some(ticket) => self.take_landed(from, ticket, reply, answer)?,
                    None => {
                        let part = self.mesh.answered(from, id)?;
                        self.take_answer(part.ticket, id, reply, answer)?;
                    }
                },
                Replied::Later { id } => {
                    let ticket = match Ticket::of_id(id) {
                        Some(ticket) => ticket,
                        None => self.mesh.asked(from, id)?.ticket,
                    };
                    self.waiting.delay(ticket);
                }
                Replied::Other(message) => {
                    let response = decode_response(message)?;
                    if let Some(ticket) = Ticket::of_id(response.id) {
                        let mut failure = Failure::new(response.status, "");
                        let reply = reply_of(&response, &mut failure);
                        let reply = reply.ok_or(no_reply_of_one(response.id))?;
                        self.take_landed(from, ticket, &reply, answer)?;
                        continue;
                    }
                    let part = self.mesh.answered(from, response.id)?;
                    self.take_response(&part, response, answer)?;
                }
            }
        }
        Ok(())
    }

    /// Gives the reply to a request of a run to who waits for it; nobody may.
    #[inline]
    fn take_landed(
        &mut self,
        from: u16,
        ticket: Ticket,
        reply: &Reply<'_>,
        answer: &mut impl FnMut(Ticket, &Reply<'_>),
    ) -> Result<(), BatchError> {
        let landed = self.waiting.land(ticket, from).ok_or(BatchError::UnknownReply { id: ticket.to_id() })?;
        self.mesh.settle(from, landed.bytes as usize);
        if landed.is_wanted {
            answer(ticket, reply);
        }
        Ok(())
    }

    /// Gives the reply of the one shard that was asked to who waits for it; nobody may.
    #[inline]
    fn take_answer(
        &mut self,
        ticket: Ticket,
        id: u64,
        reply: &Reply<'_>,
        answer: &mut impl FnMut(Ticket, &Reply<'_>),
    ) -> Result<(), BatchError> {
        match self.waiting.take(ticket) {
            Some(Awaited::Reply) => answer(ticket, reply),
            Some(_) => return Err(BatchError::Mismatch { id, reason: "more than one shard was asked" }),
            None => {}
        }
        Ok(())
    }

    /// Gives any other reply to who waits for it; nobody may.
    fn take_response(
        &mut self,
        part: &Part,
        response: Response<'_>,
        answer: &mut impl FnMut(Ticket, &Reply<'_>),
    ) -> Result<(), BatchError> {
        let id = response.id;
        let mismatch = |reason| BatchError::Mismatch { id, reason };
        let ticket = part.ticket;
        let Some((awaited, gathers)) = self.waiting.awaited(ticket) else { return Ok(()) };
        match awaited {
            Awaited::Reply => {
                let mut failure = Failure::new(response.status, "");
                let reply = reply_of(&response, &mut failure).ok_or(no_reply_of_one(id))?;
                return self.take_answer(ticket, id, &reply, answer);
            }
            Awaited::Keys(gather) => {
                let overloaded = fill(gather, gathers, &part.order, &response, |_| false).map_err(mismatch)?;
                self.local.counters.overloaded += overloaded;
                gather.missing -= 1;
            }
            Awaited::Stats { total, missing } => match response.body {
                Body::Stats(shard) => {
                    stats::merge(total, *shard);
                    *missing -= 1;
                }
                _ => return Err(mismatch("it has no statistics")),
            },
            Awaited::Invalidation { missing, .. } => match response.body {
                Body::Invalidated { .. } => *missing -= 1,
                _ => return Err(mismatch("it confirms no invalidation")),
            },
            Awaited::Alteration { .. } => return Err(mismatch("no shard is asked to alter a group")),
            Awaited::Run(_) => return Err(mismatch("a run has no parts")),
        }
        if awaited.missing() == 0
            && let Some(complete) = self.waiting.take(ticket)
        {
            self.answer(ticket, complete, answer);
        }
        Ok(())
    }

    /// Gives what was awaited to who waited for it.
    pub(crate) fn answer(&mut self, ticket: Ticket, complete: Awaited, answer: &mut impl FnMut(Ticket, &Reply<'_>)) {
        match complete {
            Awaited::Reply | Awaited::Run(_) => unreachable!("the reply of one shard is handed on as it comes"),
            Awaited::Keys(gather) => {
                answer(ticket, &gather.reply());
                self.waiting.gathers.give_back(gather);
            }
            Awaited::Stats { total, .. } => answer(ticket, &Reply::Stats(&total)),
            Awaited::Invalidation { generation, .. } => answer(ticket, &Reply::Invalidated { generation }),
            Awaited::Alteration { altered, .. } => answer(ticket, &Reply::Altered(&altered)),
        }
    }
}

fn no_reply_of_one(id: u64) -> BatchError {
    BatchError::Mismatch { id, reason: "it answers no request to one shard" }
}

/// The reply that another shard's response to a request that it alone has to execute is; `None`: it can be none.
/// `failure` is a place for one that has to be made.
pub fn reply_of<'a>(response: &'a Response<'_>, failure: &'a mut Failure) -> Option<Reply<'a>> {
    match (response.status, &response.body) {
        (Status::Ok, Body::None) => Some(Reply::Done),
        (Status::Ok, Body::Entry(entry)) => Some(Reply::Entry((*entry).into())),
        (Status::Ok, &Body::Stored { version, value_bytes: 0 }) => Some(Reply::Stored { version }),
        (Status::Ok, &Body::Stored { version, value_bytes }) => Some(Reply::Resized { version, value_bytes }),
        (Status::Ok, &Body::Looked(Looked { entry, value_bytes, expires_at_ms, accessed_ms, is_hit, claim })) => {
            let entry = entry.into();
            Some(Reply::Looked(Looked { entry, value_bytes, expires_at_ms, accessed_ms, is_hit, claim }))
        }
        (Status::Ok, &Body::Transacted(responses)) => Some(Reply::Transacted(responses)),
        (Status::NotFound, Body::None) => Some(Reply::Miss),
        (Status::Ok, &Body::Number { value, version }) => Some(Reply::Number { value, version }),
        (Status::Ok, &Body::Leased { token, lease_ms }) => Some(Reply::Leased { token, lease_ms }),
        (Status::Ok, Body::Scan(scan)) => Some(Reply::Scan(scan)),
        (Status::Ok | Status::NotFound, _) => None,
        (status, _) => Some(Reply::Failed(match failures::ready_made(status, response.message) {
            Some(ready) => ready,
            None => {
                failure.message = response.message.to_owned().into();
                failure.retry_after_ms = response.retry_after_ms;
                failure
            }
        })),
    }
}

/// Takes the results of one part into a gather; how many of them had to be refused for want of room. Keys that wait on
/// although they were refused are those for which `waits` says so.
pub(crate) fn fill(
    gather: &mut Gather,
    gathers: &mut Gathers,
    order: &Range<u32>,
    response: &Response<'_>,
    mut waits: impl FnMut(Status) -> bool,
) -> Result<u64, &'static str> {
    let mut overloaded = 0;
    let mut fail = |gather: &mut Gather, place: u32, status: Status| {
        let position = gather.position(place);
        if gather.is_waiting(position) && !waits(status) {
            gather.fail(position, status);
        }
    };
    match &response.body {
        Body::Entries(entries) if gather.reads && entries.len() == order.len() => {
            for (place, found) in order.clone().zip(entries.iter()) {
                match found {
                    Ok(found) => {
                        let position = gather.position(place);
                        overloaded += u64::from(gathers.found(gather, position, found.into()));
                    }
                    Err(status) => fail(gather, place, status),
                }
            }
        }
        Body::Outcomes(outcomes) if !gather.reads && outcomes.len() == order.len() => {
            for (place, outcome) in order.clone().zip(outcomes.iter()) {
                match outcome {
                    Ok(_) => gather.change(gather.position(place), outcome),
                    Err(status) => fail(gather, place, status),
                }
            }
        }
        Body::None if !matches!(response.status, Status::Ok | Status::NotFound) => {
            order.clone().for_each(|place| fail(gather, place, response.status));
        }
        _ => return Err("it does not answer the keys of its part"),
    }
    Ok(overloaded)
}

/// Sends a reply to a request of another shard, which has this id; behind it, our epoch.
#[inline]
pub(crate) fn send_reply(mesh: &mut Mesh, to: u16, (id, epoch): (u64, u64), reply: &Reply<'_>) {
    if let Some(bytes) = reply_bytes(reply) {
        return mesh.reply(to, bytes, |out| put_reply(out, id, epoch, reply));
    }
    if let Reply::Stats(_) | Reply::Topology(_) | Reply::Altered(_) = reply {
        let mut frame = Vec::new();
        encode_response(&mut frame, id, epoch, reply);
        let bytes = RECORD_BYTES_MAX + frame.len();
        return mesh.reply(to, bytes, |out| put_reply(out, id, epoch, reply));
    }
    mesh.reply(to, reply_bytes_max(reply), |out| put_reply(out, id, epoch, reply));
}

/// Most bytes of the record of a reply.
#[inline]
pub(crate) fn reply_bytes_max(reply: &Reply<'_>) -> usize {
    reply_bytes(reply).unwrap_or_else(|| RECORD_BYTES_MAX + frame_bytes_max(reply))
}

/// Most bytes of the frame of a reply.
fn frame_bytes_max(reply: &Reply<'_>) -> usize {
    let results = match reply {
        Reply::Entries(entries) => {
            let found = (0..entries.len()).map(|index| entries.entry(index).map_or(0, |found| found.value.len()));
            let bytes: usize = found.map(|bytes| bytes + ENTRY_ENVELOPE_BYTES_MAX).sum();
            bytes.min(FRAME_BYTES_MAX)
        }
        Reply::Entry(found) => found.value.len() + ENTRY_ENVELOPE_BYTES_MAX,
        Reply::Looked(looked) => looked.entry.value.len() + LOOKED_ENVELOPE_BYTES_MAX,
        Reply::Transacted(responses) => responses.len(),
        Reply::Outcomes(outcomes) => outcomes.len() * OUTCOME_BYTES_MAX,
        Reply::Scan(scan) => scan.keys.iter().map(|key| key.len() + KEY_ENVELOPE_BYTES_MAX).sum(),
        Reply::Failed(failure) => failure.message.len(),
        _ => 0,
    };
    FRAME_PREFIX_BYTES + ENVELOPE_BYTES_MAX + results
}

const _: () =
    assert!(LANE_BYTES_MAX > RECORD_BYTES_MAX + FRAME_PREFIX_BYTES + ENVELOPE_BYTES_MAX, "a lane carries replies");

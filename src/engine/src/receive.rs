//! Batches from other shards: their requests are executed, their replies given to who waits for them.

use alloc::vec::Vec;
use core::mem;

use larder_protocol::limits::{FRAME_BYTES_MAX, FRAME_PREFIX_BYTES};
use larder_protocol::native::{Body, Response, decode_ahead, decode_request, decode_response, encode_response};
use larder_protocol::{Command, Reply, Request, Status};
use larder_store::RemovalHook;

use crate::Engine;
use crate::batches::next_message;
use crate::completions::Answer;
use crate::error::BatchError;
use crate::failures;
use crate::gather::{Gather, Gathers};
use crate::limits::{
    ENTRY_ENVELOPE_BYTES_MAX, ENVELOPE_BYTES_MAX, KEY_ENVELOPE_BYTES_MAX, LANE_BYTES_MAX, OUTCOME_BYTES_MAX,
    PREFETCH_REQUESTS,
};
use crate::mesh::{Lane, Mesh, Part};
use crate::stats;
use crate::waiting::Awaited;

impl<H: RemovalHook> Engine<H> {
    /// A batch arrived that the engine of shard `from` handed out for this one: each once, and those of one lane in
    /// their order. Poll [`Engine::next_batch`] and [`Engine::next_completion`] afterwards.
    ///
    /// # Panics
    /// If it is none that an engine would hand out next: the lanes lost, mixed or changed something.
    pub fn receive(&mut self, from: u16, lane: Lane, batch: &[u8], now_ms: u64) {
        let received = match lane {
            Lane::Requests => self.receive_requests(from, batch, now_ms),
            Lane::Replies => self.receive_replies(from, batch),
        };
        if let Err(error) = received {
            panic!("shard {} cannot use a batch of {lane:?} from shard {from}: {error}", self.local.shard);
        }
    }

    fn receive_requests(&mut self, from: u16, batch: &[u8], now_ms: u64) -> Result<(), BatchError> {
        let mut frames = self.mesh.arrived(from, Lane::Requests, batch)?;
        let limits = self.decoder.limits();
        let mut ahead = mem::take(&mut self.ahead).recycled();
        loop {
            decode_ahead(frames, &limits, FRAME_BYTES_MAX, PREFETCH_REQUESTS, &mut ahead);
            self.prefetch(ahead.iter());
            for (request, _) in &ahead.requests {
                self.execute_for(from, request, now_ms);
            }
            if let Some((_, end)) = ahead.requests.last() {
                frames = &frames[*end..];
            }
            if ahead.requests.len() < PREFETCH_REQUESTS && !self.execute_next(from, &mut frames, now_ms)? {
                break;
            }
        }
        self.ahead = ahead.recycled();
        Ok(())
    }

    /// Executes one request of any kind; whether there was one.
    fn execute_next(&mut self, from: u16, frames: &mut &[u8], now_ms: u64) -> Result<bool, BatchError> {
        let Some(message) = next_message(frames)? else { return Ok(false) };
        // Out of `self` for as long as the request borrows it.
        let mut decoder = mem::take(&mut self.decoder);
        let executed = decode_request(message, &mut decoder).map(|request| self.execute_for(from, &request, now_ms));
        self.decoder = decoder;
        executed?;
        Ok(true)
    }

    /// Executes one request of another shard and sends the reply. An entry that would take the lane above its bound is
    /// not sent: the reply is OVERLOADED instead. A get_and_touch is refused before it changes anything, once the lane
    /// is at its bound.
    fn execute_for(&mut self, from: u16, request: &Request<'_>, now_ms: u64) {
        let epoch = self.local.topology.epoch();
        let touches = matches!(request.command, Command::GetAndTouch { .. });
        let reads = matches!(request.command, Command::Get { .. } | Command::GetMany { .. } | Command::Scan(_));
        if touches && !self.mesh.has_reply_room(from, 1) {
            self.local.counters.overloaded += 1;
            send_reply(&mut self.mesh, from, (request.id, epoch), &Reply::Failed(&failures::OVERLOADED));
            return;
        }
        self.local.counters.cross_core += 1;
        if let Command::AlterGroup(alteration) = &request.command {
            return self.alter_for(from, alteration, request, now_ms);
        }
        let reply = self.local.execute(request, now_ms);
        let refused = reads && !self.mesh.has_reply_room(from, reply_bytes_max(&reply));
        let reply = if refused { Reply::Failed(&failures::OVERLOADED) } else { reply };
        send_reply(&mut self.mesh, from, (request.id, epoch), &reply);
        self.local.counters.overloaded += u64::from(refused);
    }

    fn receive_replies(&mut self, from: u16, batch: &[u8]) -> Result<(), BatchError> {
        let mut frames = self.mesh.arrived(from, Lane::Replies, batch)?;
        while let Some(message) = next_message(&mut frames)? {
            let response = decode_response(message)?;
            let part = self.mesh.answered(from, response.id)?;
            self.take_reply(part, response)?;
        }
        self.answer_on_behalf();
        Ok(())
    }

    /// Gives a reply to who waits for it; nobody may.
    fn take_reply(&mut self, part: Part, response: Response<'_>) -> Result<(), BatchError> {
        let id = response.id;
        let mismatch = |reason| BatchError::Mismatch { id, reason };
        let ticket = part.ticket;
        let Some((awaited, values, gathers)) = self.waiting.awaited(ticket) else { return Ok(()) };
        let is_complete = match awaited {
            Awaited::Reply => {
                let answer = Answer::of(response, values).ok_or(mismatch("it answers no request to one shard"))?;
                self.waiting.answer(ticket, answer);
                return Ok(());
            }
            Awaited::Keys(gather) => {
                let overloaded = fill(gather, gathers, &part, &response).map_err(mismatch)?;
                self.local.counters.overloaded += overloaded;
                gather.missing -= 1;
                gather.missing == 0
            }
            Awaited::Stats { total, missing } => match response.body {
                Body::Stats(shard) => {
                    stats::merge(total, *shard);
                    *missing -= 1;
                    *missing == 0
                }
                _ => return Err(mismatch("it has no statistics")),
            },
            Awaited::Invalidation { missing, .. } => match response.body {
                Body::Invalidated { .. } => {
                    *missing -= 1;
                    *missing == 0
                }
                _ => return Err(mismatch("it confirms no invalidation")),
            },
            Awaited::Alteration { altered, missing } => match response.body {
                Body::Altered(other) if other.changes == altered.changes => {
                    *missing -= 1;
                    *missing == 0
                }
                _ => return Err(mismatch("it confirms another alteration, or none")),
            },
        };
        if is_complete {
            self.waiting.complete(ticket);
        }
        Ok(())
    }
}

/// Takes the results of one part into a gather; how many of them had to be refused for want of room.
fn fill(gather: &mut Gather, gathers: &mut Gathers, part: &Part, response: &Response<'_>) -> Result<u64, &'static str> {
    let mut overloaded = 0;
    match &response.body {
        Body::Entries(entries) if gather.reads && entries.len() == part.order.len() => {
            for (place, found) in part.order.clone().zip(entries.iter()) {
                let position = gather.position(place);
                match found {
                    Ok(found) => overloaded += u64::from(gathers.found(gather, position, found.into())),
                    Err(status) => gather.fail(position, status),
                }
            }
        }
        Body::Outcomes(outcomes) if !gather.reads && outcomes.len() == part.order.len() => {
            for (place, outcome) in part.order.clone().zip(outcomes.iter()) {
                gather.change(gather.position(place), outcome);
            }
        }
        Body::None if !matches!(response.status, Status::Ok | Status::NotFound) => {
            gather.fail_all(part.order.clone(), response.status);
        }
        _ => return Err("it does not answer the keys of its part"),
    }
    Ok(overloaded)
}

/// Sends a reply to a request of another shard, which has this id; behind it, our epoch.
pub(crate) fn send_reply(mesh: &mut Mesh, to: u16, (id, epoch): (u64, u64), reply: &Reply<'_>) {
    if let Reply::Stats(_) | Reply::Topology(_) | Reply::Altered(_) = reply {
        let mut frame = Vec::new();
        encode_response(&mut frame, id, epoch, reply);
        mesh.reply(to, frame.len(), |out| out.extend_from_slice(&frame));
    } else {
        mesh.reply(to, reply_bytes_max(reply), |out| encode_response(out, id, epoch, reply));
    }
}

/// Most bytes of the frame of a reply.
fn reply_bytes_max(reply: &Reply<'_>) -> usize {
    let results = match reply {
        Reply::Entry(found) => found.value.len(),
        Reply::Entries(entries) => {
            let found = (0..entries.len()).map(|index| entries.entry(index).map_or(0, |found| found.value.len()));
            let bytes: usize = found.map(|bytes| bytes + ENTRY_ENVELOPE_BYTES_MAX).sum();
            bytes.min(FRAME_BYTES_MAX)
        }
        Reply::Outcomes(outcomes) => outcomes.len() * OUTCOME_BYTES_MAX,
        Reply::Scan(scan) => scan.keys.iter().map(|key| key.len() + KEY_ENVELOPE_BYTES_MAX).sum(),
        Reply::Failed(failure) => failure.message.len(),
        _ => 0,
    };
    FRAME_PREFIX_BYTES + ENVELOPE_BYTES_MAX + results
}

const _: () = assert!(LANE_BYTES_MAX > FRAME_PREFIX_BYTES + ENVELOPE_BYTES_MAX, "a lane carries replies");

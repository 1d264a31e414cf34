//! Requests for the other shards of the node.

use larder_protocol::Request;
use larder_protocol::native::request_bytes;
use larder_store::RemovalHook;

use crate::{Engine, Submission, records};

impl<H: RemovalHook> Engine<H> {
    /// Sends a request to the one shard that has to execute it; the hash is that of its key, if it is about one.
    #[inline]
    pub(crate) fn pass_on(&mut self, to: u16, request: &Request<'_>, hash: u64, now_ms: u64) -> Submission<'_> {
        let bytes = records::request_bytes(request, || request_bytes(&self.to_pass_on(request)));
        if self.waiting.is_full() || !self.mesh.has_room(to, bytes) {
            return Submission::Done(self.overloaded());
        }
        let deadline_ms = now_ms.saturating_add(u64::from(self.timeout_ms(request)));
        let ticket = self.waiting.begin_to(to, deadline_ms, request.command.is_idempotent(), bytes as u32);
        let framed = || Request {
            id: ticket.to_id(),
            ..to_pass_on(request, self.local.topology.epoch(), self.timeout_ms_default)
        };
        self.mesh.post(to, bytes, |out| records::put_request(out, ticket.to_id(), request, hash, framed));
        Submission::Pending(ticket)
    }

    /// The envelope of a request as another shard gets it: with our epoch and what is left of its time. The id is a
    /// place-holder of full length for that of the part or the ticket.
    pub(crate) fn to_pass_on<'a>(&self, request: &Request<'a>) -> Request<'a> {
        to_pass_on(request, self.epoch(), self.timeout_ms_default)
    }

    #[inline]
    pub(crate) fn timeout_ms(&self, request: &Request<'_>) -> u32 {
        timeout_ms(request, self.timeout_ms_default)
    }
}

fn to_pass_on<'a>(request: &Request<'a>, epoch: u64, timeout_ms_default: u32) -> Request<'a> {
    Request { id: u64::MAX, epoch, timeout_ms: timeout_ms(request, timeout_ms_default), forwarded: true, ..*request }
}

#[inline]
fn timeout_ms(request: &Request<'_>, default: u32) -> u32 {
    if request.timeout_ms == 0 { default } else { request.timeout_ms }
}

/// Most bytes of the record of a request.
#[inline]
pub(crate) fn record_bytes(request: &Request<'_>) -> usize {
    records::request_bytes(request, || request_bytes(request))
}

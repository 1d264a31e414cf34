//! The protocols that a connection may speak.

use larder_protocol::native::{self, RequestLimits, Scratch};
use larder_protocol::{Ahead, Failure, Reply, Request, Status};
use std::borrow::Cow;

use crate::limits::AHEAD_MAX;
use crate::tally::Spoken;

/// What a connection speaks, and what that takes to be remembered between two reads. A dialect whose answers have to
/// come in the order of the requests numbers them in `next` and holds early ones back in
/// `answer`; the native one needs neither.
#[derive(Debug)]
pub enum Dialect {
    /// The native protocol.
    Native,
    /// The same, by the sidecar on behalf of who speaks HTTP to it.
    Http,
}

/// What the beginning of a connection's input is.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// Not a whole request yet.
    More,
    /// A request, which takes so many bytes.
    Request(Request<'a>, usize),
    /// No request, but it takes so many bytes and is answered under this id.
    Malformed {
        /// The id of the answer.
        id: u64,
        /// The answer.
        failure: Failure,
        /// Bytes.
        consumed: usize,
    },
    /// What follows cannot be trusted. The answer, under id 0, is the last one.
    Broken(Failure),
}

impl Dialect {
    /// By what name its requests are counted.
    #[inline]
    pub(super) fn spoken(&self) -> Spoken {
        match self {
            Dialect::Native => Spoken::Native,
            Dialect::Http => Spoken::Http,
        }
    }

    /// The requests in `input` that can be decoded ahead of their execution, up to the first that cannot and to
    /// [`AHEAD_MAX`]. None of them says anything about those that follow; [`Dialect::next`] is for all others.
    #[inline]
    pub(super) fn ahead<'a>(
        &mut self,
        input: &'a [u8],
        limits: &RequestLimits,
        frame_bytes_max: usize,
        ahead: &mut Ahead<'a>,
    ) {
        match self {
            Dialect::Native | Dialect::Http => native::decode_ahead(input, limits, frame_bytes_max, AHEAD_MAX, ahead),
        }
    }

    /// The first request in `input`.
    #[inline]
    pub(super) fn next<'a>(&mut self, input: &'a [u8], scratch: &'a mut Scratch, frame_bytes_max: usize) -> Step<'a> {
        match self {
            Dialect::Native | Dialect::Http => next_native(input, scratch, frame_bytes_max),
        }
    }

    /// Appends an answer to a connection's output.
    #[inline]
    pub(super) fn answer(&mut self, output: &mut Vec<u8>, id: u64, epoch: u64, reply: &Reply<'_>) {
        match self {
            Dialect::Native | Dialect::Http => native::encode_response(output, id, epoch, reply),
        }
    }

    /// How long the request that begins with `input` says it is in all, in bytes; `usize::MAX` if that cannot be told.
    pub(super) fn frame_bytes(&self, input: &[u8]) -> usize {
        match self {
            Dialect::Native | Dialect::Http => input.first_chunk().map_or(usize::MAX, |prefix| {
                (u32::from_be_bytes(*prefix) as usize).saturating_add(larder_protocol::limits::FRAME_PREFIX_BYTES)
            }),
        }
    }
}

fn next_native<'a>(input: &'a [u8], scratch: &'a mut Scratch, frame_bytes_max: usize) -> Step<'a> {
    let frame = match native::frame(input, frame_bytes_max) {
        Ok(Some(frame)) => frame,
        Ok(None) => return Step::More,
        Err(too_large) => {
            return Step::Broken(Failure {
                status: Status::BadRequest,
                message: Cow::Owned(format!("{too_large}; is the client speaking the native protocol?")),
                retry_after_ms: 0,
            });
        }
    };
    match native::decode_request(frame.message, scratch) {
        Ok(request) => Step::Request(request, frame.consumed),
        Err(malformed) => Step::Malformed { id: malformed.id, failure: malformed.into(), consumed: frame.consumed },
    }
}

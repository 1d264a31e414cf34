//! The protocols that a connection may speak.

use larder_protocol::limits::KEY_BYTES_MAX;
use larder_protocol::native::{self, RequestLimits, Scratch};
use larder_protocol::resp::{ReaderLimits, Which};
use larder_protocol::{Ahead, Command, Expiry, Failure, Reply, Request, Status};
use std::borrow::Cow;
use std::sync::Arc;

use super::resp::{RespScratch, World};
use super::{Memcache, Resp};
use crate::limits::{AHEAD_MAX, OUTPUT_BYTES_PAUSE};
use crate::resp::Shared;
use crate::tally::{Spoken, Tally};

/// What a connection speaks, and what that takes to be remembered between two reads. A dialect whose answers have to
/// come in the order of the requests numbers them in `next` and holds early ones back in
/// `answer`; the native one needs neither.
#[derive(Debug)]
pub enum Dialect {
    /// The native protocol.
    Native,
    /// The same, by the sidecar on behalf of who speaks HTTP to it.
    Http,
    /// RESP, the protocol of Redis and Valkey.
    Resp(Box<Resp>),
    /// The text protocol of memcached.
    Memcache(Box<Memcache>),
}

/// Memory that decoding needs, one for all connections of a shard.
#[derive(Debug, Default)]
pub(super) struct Decoding {
    native: Scratch,
    resp: RespScratch,
    memcache: larder_protocol::memcache::Places,
}

impl Decoding {
    /// For requests within these limits.
    pub(super) fn new(limits: RequestLimits) -> Self {
        Self { native: Scratch::new(limits), resp: RespScratch::default(), memcache: Default::default() }
    }

    /// What requests may have.
    pub(super) fn limits(&self) -> RequestLimits {
        self.native.limits()
    }
}

/// What an answer may have to say: the epoch, the time in ms since the Unix epoch, and what connections of RESP share.
pub(super) type Told<'t> = (u64, u64, &'t Arc<Shared>);

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
    /// So many bytes are done with: the connection answers by itself, by [`Dialect::say`], or not at all.
    Said(usize),
    /// The connection says something by itself, and nothing more is to be read from it.
    Last {
        /// What came was nothing that makes sense.
        is_malformed: bool,
    },
}

impl Dialect {
    /// By what name its requests are counted.
    #[inline]
    pub(super) fn spoken(&self) -> Spoken {
        match self {
            Dialect::Native => Spoken::Native,
            Dialect::Http => Spoken::Http,
            Dialect::Resp(_) => Spoken::Resp,
            Dialect::Memcache(_) => Spoken::Memcache,
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
            Dialect::Resp(resp) => resp.ahead(input, limits.value_bytes_max, ahead),
            Dialect::Memcache(memcache) => memcache.ahead(input, limits.value_bytes_max, ahead),
        }
    }

    /// The one of those requests that `input` consists of.
    pub(super) fn only<'a>(
        &self,
        input: &'a [u8],
        limits: &RequestLimits,
        frame_bytes_max: usize,
    ) -> Option<Request<'a>> {
        match self {
            Dialect::Native | Dialect::Http => native::decode_only(input, limits, frame_bytes_max),
            Dialect::Resp(resp) => resp.only(input, limits.value_bytes_max),
            Dialect::Memcache(memcache) => memcache.only(input, limits.value_bytes_max),
        }
    }

    /// So many bytes have come.
    #[inline]
    pub(super) fn heard(&mut self, bytes: usize, now_ms: u64) {
        if let Dialect::Resp(resp) = self {
            resp.heard(bytes, now_ms);
        }
    }

    /// So many bytes go out.
    #[inline]
    pub(super) fn sends(&mut self, bytes: usize) {
        if let Dialect::Resp(resp) = self {
            resp.sends(bytes);
        }
    }

    /// A request that was decoded ahead is executed.
    #[inline]
    pub(super) fn begun(&mut self, request: &Request<'_>, tally: &Tally) {
        match self {
            Dialect::Native | Dialect::Http => {}
            Dialect::Resp(resp) => {
                tally.asked(if matches!(request.command, Command::Get { .. }) { Which::GET } else { Which::SET });
                resp.begun(request.id);
            }
            Dialect::Memcache(memcache) => memcache.begun(&request.command),
        }
    }

    /// The first request in `input`.
    #[inline]
    pub(super) fn next<'a>(
        &mut self,
        input: &'a [u8],
        decoding: &'a mut Decoding,
        frame_bytes_max: usize,
        world: &World<'_>,
    ) -> Step<'a> {
        match self {
            Dialect::Native | Dialect::Http => next_native(input, &mut decoding.native, frame_bytes_max),
            Dialect::Resp(resp) => {
                let argument_bytes_max = decoding.limits().value_bytes_max.max(KEY_BYTES_MAX);
                let limits =
                    ReaderLimits { argument_bytes_max, command_bytes_max: frame_bytes_max, is_stranger: false };
                resp.next(input, &mut decoding.resp, limits, world)
            }
            Dialect::Memcache(memcache) => {
                let value_bytes_max = decoding.limits().value_bytes_max;
                memcache.next(input, &mut decoding.memcache, value_bytes_max)
            }
        }
    }

    /// After each [`Dialect::next`]: what of the connection's was lent to it comes back.
    #[inline]
    pub(super) fn give_back(&mut self, decoding: &mut Decoding) {
        if let Dialect::Resp(resp) = self {
            resp.give_back(&mut decoding.resp);
        }
    }

    /// Appends what the connection says by itself.
    pub(super) fn say(&mut self, output: &mut Vec<u8>) {
        match self {
            Dialect::Native | Dialect::Http => {}
            Dialect::Resp(resp) => resp.say(output),
            Dialect::Memcache(memcache) => memcache.say(output),
        }
    }

    /// Frames of requests that the connection asks for by itself, to be submitted now.
    pub(super) fn take_queue(&mut self) -> Vec<u8> {
        match self {
            Dialect::Native | Dialect::Http => Vec::new(),
            Dialect::Resp(resp) => resp.take_queue(),
            Dialect::Memcache(memcache) => memcache.take_queue(),
        }
    }

    /// Whether there are such.
    #[inline]
    pub(super) fn has_queue(&self) -> bool {
        match self {
            Dialect::Native | Dialect::Http => false,
            Dialect::Resp(resp) => resp.has_queue(),
            Dialect::Memcache(memcache) => memcache.has_queue(),
        }
    }

    /// Whether what follows has to wait until something was answered.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        match self {
            Dialect::Native | Dialect::Http => false,
            Dialect::Resp(resp) => resp.is_waiting(),
            Dialect::Memcache(memcache) => memcache.is_waiting(),
        }
    }

    /// When everything is to be made absent, if that was asked for; [`Expiry::Never`]: no more at a later time.
    pub(super) fn take_flush(&mut self) -> Option<Expiry> {
        match self {
            Dialect::Memcache(memcache) => memcache.take_flush(),
            _ => None,
        }
    }

    /// Whether so many keys are kept for answers that no more are to be.
    #[inline]
    pub(super) fn is_laden(&self) -> bool {
        matches!(self, Dialect::Memcache(memcache) if memcache.key_bytes() >= OUTPUT_BYTES_PAUSE)
    }

    /// Bytes of answers that wait for those before them.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Dialect::Native | Dialect::Http => 0,
            Dialect::Resp(resp) => resp.held_bytes(),
            Dialect::Memcache(memcache) => memcache.held_bytes(),
        }
    }

    /// Panics with what is wrong, where so many requests wait for an answer.
    pub(super) fn validate(&self, pending: usize) {
        match self {
            Dialect::Native | Dialect::Http => {}
            Dialect::Resp(resp) => resp.validate(pending),
            Dialect::Memcache(memcache) => memcache.validate(pending),
        }
    }

    /// Appends an answer to a connection's output.
    #[inline]
    pub(super) fn answer(
        &mut self,
        output: &mut Vec<u8>,
        id: u64,
        reply: &Reply<'_>,
        (epoch, now_ms, shared): Told<'_>,
    ) {
        match self {
            Dialect::Native | Dialect::Http => native::encode_response(output, id, epoch, reply),
            Dialect::Resp(resp) => resp.answer(output, id, reply, (now_ms, shared)),
            Dialect::Memcache(memcache) => memcache.answer(output, id, reply, (now_ms, shared)),
        }
    }

    /// Appends what only the native protocol has.
    ///
    /// # Panics
    /// In another one.
    pub(super) fn tell(&self, output: &mut Vec<u8>, id: u64, epoch: u64, reply: &Reply<'_>) {
        assert!(matches!(self, Dialect::Native | Dialect::Http), "{reply:?} is of the native protocol");
        native::encode_response(output, id, epoch, reply);
    }

    /// How long the request that begins with `input` says it is in all, in bytes; `usize::MAX` if that cannot be told.
    pub(super) fn frame_bytes(&self, input: &[u8]) -> usize {
        match self {
            Dialect::Native | Dialect::Http => input.first_chunk().map_or(usize::MAX, |prefix| {
                (u32::from_be_bytes(*prefix) as usize).saturating_add(larder_protocol::limits::FRAME_PREFIX_BYTES)
            }),
            Dialect::Resp(resp) => resp.bytes_announced(input),
            Dialect::Memcache(_) => usize::MAX,
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

//! The native protocol; `proto/larder.proto` is its specification.
//!
//! Hot messages are coded by hand, straight from and to buffers; cold results (Hello, statistics, topology, the keys of a scan) by prost.
//! Both give the same bytes and accept the same ones, which property tests hold.
//!
//! A server: [`frame`], [`decode_request`], and [`encode_response`] with the reply, or with the [`Failure`] of a
//! [`Malformed`]. A client: [`encode_request`], [`frame`], [`decode_response`].

mod frame;
mod meta;
mod numbers;
mod piece;
mod reader;
mod request_decode;
mod request_encode;
mod request_fields;
mod request_plain;
mod response_decode;
mod response_encode;
mod scratch;
mod topology;
mod views;
mod writer;

use alloc::borrow::Cow;

pub use frame::{Frame, FrameTooLarge, frame};
pub use request_decode::decode_request;
pub use request_encode::{encode_request, request_bytes};
pub use request_plain::{decode_ahead, decode_only, decode_plain};
pub use response_decode::{Body, Response, decode_response};
pub use response_encode::{encode_hello, encode_response};
pub use scratch::{RequestLimits, Scratch};
pub use topology::TopologyRefused;
pub use views::{EntriesView, OutcomesView};

use crate::reply::{Failure, Status};
use reader::{Fault, Reader};

/// The messages as prost generates them from `proto/larder.proto`; a test keeps them current.
#[rustfmt::skip]
#[allow(missing_docs, clippy::all, clippy::pedantic)]
#[path = "gen/larder.v1.rs"]
pub mod generated;

/// The version of the protocol that this crate speaks; what Hello names.
pub const PROTOCOL: u32 = 1;

/// A message that is not what the protocol says. The connection goes on with the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message with id {id}: {reason} ({status:?})")]
pub struct Malformed {
    /// The id in the message; 0 if it has none, or is broken before it.
    pub id: u64,
    /// [`Status::BadRequest`], [`Status::NotSupported`] or [`Status::TooLarge`].
    pub status: Status,
    /// What is wrong, for a person.
    pub reason: &'static str,
}

impl Malformed {
    #[cold]
    fn new(message: &[u8], fault: Fault) -> Self {
        Self { id: readable_id(message), status: fault.status, reason: fault.reason }
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self { status: malformed.status, message: Cow::Borrowed(malformed.reason), retry_after_ms: 0 }
    }
}

/// The last id before the fields of a request or response stop making sense.
fn readable_id(message: &[u8]) -> u64 {
    let mut id = 0;
    let mut reader = Reader::new(message);
    while let Ok(Some((number, wire))) = reader.field() {
        let read = match number {
            numbers::request::ID => reader.uint64(wire).map(|found| id = found),
            _ => reader.skip(number, wire),
        };
        if read.is_err() {
            break;
        }
    }
    id
}

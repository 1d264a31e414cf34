//! Sans-I/O codecs: what the bytes of a dialect mean, and the bytes of what is answered.
//!
//! Every dialect decodes to one [`Request`] with one [`Command`], and encodes one [`Reply`]; what a command does is
//! the engine's. Bytes in, bytes out: this crate never reads a socket, a clock or a random number.
//!
//! # What this crate may not do
//! - panic on any input, or allocate without a bound that [`limits`] names;
//! - execute anything, or know the store and the engine;
//! - copy a key on a get, or a value more than once.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod ahead;
mod command;
pub mod limits;
pub mod memcache;
pub mod native;
mod places;
mod removals;
mod reply;
pub mod resp;
mod size;

pub use ahead::Ahead;
pub use command::{
    Command, Condition, Expiry, GroupAction, GroupAlteration, Meta, MetaAction, NodeAlteration, Request, ScanStep,
    TouchCondition, Write,
};
pub use places::{Keys, Span, WriteSpan, Writes};
pub use removals::{RemovalReason, Removals, Removed, RemovedSpan};
pub use reply::{Claim, Entries, Entry, Failure, Found, Looked, Members, Outcomes, Pieces, Reply, Status, Value};
pub use size::Size;

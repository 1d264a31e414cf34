//! The lanes between the shards of a node: for each ordered pair of shards one bounded ring of batches for requests
//! and one for replies, and a [`Door`] per shard to be woken by.
//!
//! A batch is moved, never copied, and never refused: the engine's credits bound what can be on a lane, and the rings
//! are that large. What a lane carries is none of its business.

mod door;
mod latch;
#[cfg(test)]
mod model;
mod port;
#[cfg(test)]
mod stress;

/// See `latch`.
mod atomics {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
}

pub use door::{CONTROL_MARK, Door};
pub use port::{Incoming, Port, mesh};

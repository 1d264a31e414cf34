//! Where topologies come from. A [`Source`] starts from what an operator wrote and what this process knows about
//! itself, finds out which member of the ring it is, and gives the first [`Topology`]; a source whose members change
//! gives later ones too.
//!
//! This version has fixed sources: a single node, and a static list. Both have epoch 1 for ever, and two nodes agree
//! if the digests of their topologies are equal.
//!
//! This crate may not know of the shard threads of this process: it hands over an `Arc<Topology>` and leaves it to
//! the caller who sees it when. It adds no rule of placement either; those are larder-ring's.
#![forbid(unsafe_code)]

mod error;
mod source;

pub use error::MembershipError;
pub use larder_ring::Topology;
pub use source::{Local, Source};

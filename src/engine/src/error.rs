//! Why an engine was not made, and what can be wrong with what another shard sends.

use alloc::string::String;

use larder_protocol::native::{FrameTooLarge, Malformed};
use larder_store::GroupError;

/// Why an engine was not made, or a topology not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The store refused a group.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// No group has the name that group 0 stands for.
    #[error("there is no group \"default\"; add it, it serves every request that names no group")]
    NoDefaultGroup,
    /// Two names have one hash, and requests name groups by it.
    #[error("the groups {first:?} and {second:?} have the same hash {hash:#018x} under this cluster seed; rename one")]
    GroupHashTaken {
        /// The group that came first.
        first: String,
        /// The other one.
        second: String,
        /// Their hash.
        hash: u64,
    },
    /// The name's hash is 0, which stands for the default group.
    #[error("the group {name:?} has the hash 0 under this cluster seed, which stands for the default group; rename it")]
    GroupHashZero {
        /// The group.
        name: String,
    },
    /// The node is not in the topology that the engine begins with.
    #[error("node {node_id:?} is not in the topology of epoch {epoch}; add it, or name the node as it is there")]
    UnknownNode {
        /// The node's id.
        node_id: String,
        /// The topology's epoch.
        epoch: u64,
    },
    /// The shard is none of the node's.
    #[error("shard {shard} of node {node_id:?} is none of its {shards}, which are numbered from 0")]
    UnknownShard {
        /// The node's id.
        node_id: String,
        /// The shard.
        shard: u16,
        /// How many shards the topology gives the node.
        shards: u16,
    },
    /// A topology says that this node has another number of shards than it was started with.
    #[error(
        "the topology of epoch {epoch} gives node {node_id:?} {claimed} shards and it runs {shards}; two nodes with one id?"
    )]
    OtherShards {
        /// The node's id.
        node_id: String,
        /// The topology's epoch.
        epoch: u64,
        /// What the topology says.
        claimed: u16,
        /// How many shards the node runs.
        shards: u16,
    },
}

/// What is wrong with a batch from another shard. Between shards of one process this is a broken invariant of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BatchError {
    #[error("a batch of {bytes} bytes has no header")]
    NoHeader { bytes: usize },
    #[error("the batch confirms {confirmed} batches, {sent} were sent and {before} confirmed before")]
    Confirmation { confirmed: u64, sent: u64, before: u64 },
    #[error("the batch ends within a record, {bytes} bytes after its beginning")]
    HalfRecord { bytes: usize },
    #[error("a record with head {head:#x} and {bytes} bytes behind it is none that travels on this lane")]
    UnknownRecord { head: u64, bytes: usize },
    #[error(transparent)]
    FrameTooLarge(#[from] FrameTooLarge),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("a reply with id {id:#x} answers no request")]
    UnknownReply { id: u64 },
    #[error("the reply with id {id:#x} does not fit its request: {reason}")]
    Mismatch { id: u64, reason: &'static str },
}

/// What is wrong with a response from another node. Its connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct LinkError(#[from] BatchError);

impl LinkError {
    pub(crate) fn mismatch(id: u64, reason: &'static str) -> Self {
        Self(BatchError::Mismatch { id, reason })
    }
}

impl From<Malformed> for LinkError {
    fn from(malformed: Malformed) -> Self {
        Self(malformed.into())
    }
}

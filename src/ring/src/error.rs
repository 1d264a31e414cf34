//! Why a membership is refused.

use alloc::string::String;

use crate::limits::{ADDRESS_BYTES_MAX, NODE_ID_BYTES_MAX, NODES_MAX, POINTS_MAX, POINTS_TOTAL_MAX, SHARDS_MAX};

/// Why a membership makes no topology.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// The epoch is 0, which on the wire stands for "knows no ring".
    #[error("epoch 0 is reserved: the first epoch is 1")]
    EpochZero,
    /// There is no node.
    #[error("a ring needs at least one node")]
    NoNodes,
    /// There are more than [`NODES_MAX`].
    #[error("{nodes} nodes are too many for one ring: at most {NODES_MAX}")]
    TooManyNodes {
        /// How many.
        nodes: usize,
    },
    /// Two nodes have one id.
    #[error("node id {id:?} is there twice, at {first:?} and {second:?}: give each node an id of its own")]
    DuplicateId {
        /// The id.
        id: String,
        /// Address of the one.
        first: String,
        /// Address of the other.
        second: String,
    },
    /// The id has characters that it may not have, or none.
    #[error("node id {id:?} is not possible: use 1 or more visible ASCII characters other than / , = *")]
    IdMalformed {
        /// The id.
        id: String,
    },
    /// The id is longer than [`NODE_ID_BYTES_MAX`].
    #[error("node id {id:?} is too long: {bytes} bytes, at most {NODE_ID_BYTES_MAX}")]
    IdTooLong {
        /// Its beginning.
        id: String,
        /// Its length.
        bytes: usize,
    },
    /// The address is empty or has characters that no address has.
    #[error("address {address:?} of node {id:?} is no address: it must be host:port")]
    AddressMalformed {
        /// The node.
        id: String,
        /// The address.
        address: String,
    },
    /// The address is longer than [`ADDRESS_BYTES_MAX`].
    #[error("the address of node {id:?} is too long: {bytes} bytes, at most {ADDRESS_BYTES_MAX}")]
    AddressTooLong {
        /// The node.
        id: String,
        /// Length of its address.
        bytes: usize,
    },
    /// No shards, or more than [`SHARDS_MAX`].
    #[error("node {id:?} has {shards} shards: it must be 1 to {SHARDS_MAX}")]
    Shards {
        /// The node.
        id: String,
        /// How many it claims.
        shards: u16,
    },
    /// No points, or more than [`POINTS_MAX`].
    #[error("node {id:?} has {points} points on the ring: it must be 1 to {POINTS_MAX} (1024 for a weight of 1)")]
    Points {
        /// The node.
        id: String,
        /// How many it claims.
        points: u32,
    },
    /// All nodes together have more than [`POINTS_TOTAL_MAX`].
    #[error("the nodes have {points} points in sum, at most {POINTS_TOTAL_MAX}: divide all weights by the same number")]
    TooManyPoints {
        /// The sum.
        points: u64,
    },
}

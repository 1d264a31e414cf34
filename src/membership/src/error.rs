//! What an operator has to change before a node can start.

use larder_ring::{StaticListError, TopologyError};

/// Why there is no topology. The messages name the settings as the `larder` binary has them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// The list of peers cannot be read.
    #[error("peers: {0}")]
    List(StaticListError),
    /// The members make no ring.
    #[error(transparent)]
    Topology(TopologyError),
    /// No entry is this node, by id or by address.
    #[error("this node is not in peers: add {entry:?}, or set --advertise or --node-id to what an entry names")]
    NotInList {
        /// The entry to add.
        entry: String,
    },
    /// One entry has the id of this node, and another one its address.
    #[error(
        "two entries of peers are this node: {id_entry:?} has its id, and {address_entry:?} has its address; \
         keep one, with both"
    )]
    TwoEntries {
        /// The entry with the id.
        id_entry: String,
        /// The entry with the address.
        address_entry: String,
    },
    /// The entry with the id of this node has another address.
    #[error("peers has node {id:?} at {listed:?}, but it advertises {advertised:?}: change the entry, or --advertise")]
    OtherAddress {
        /// The id.
        id: String,
        /// Address in the list.
        listed: String,
        /// Address of this node.
        advertised: String,
    },
    /// The entry with the address of this node has another id.
    #[error("peers calls the node at {address:?} {listed:?}, but its id is {id:?}: change the entry, or --node-id")]
    OtherId {
        /// The address.
        address: String,
        /// Id in the list.
        listed: String,
        /// Id of this node.
        id: String,
    },
    /// The entry of this node has another weight than the node was given.
    #[error("peers gives node {id:?} {listed} points, but its own weight is {own}: set the weight in one place only")]
    OtherWeight {
        /// The id.
        id: String,
        /// Points in the list.
        listed: u32,
        /// Points of this node.
        own: u32,
    },
}

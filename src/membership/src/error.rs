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
    /// The cluster has another seed.
    #[error(
        "cluster {cluster:?} has seed {theirs:?} in etcd ({key}), and this node was given seed {ours}: give all nodes the \
         same seed, or this one another cluster name"
    )]
    OtherSeed {
        /// Name of the cluster.
        cluster: String,
        /// Where the seed is.
        key: String,
        /// What is there.
        theirs: String,
        /// What this node has.
        ours: u64,
    },
    /// Another process renews a registration under the id of this node.
    #[error(
        "cluster {cluster:?} has a node {id:?} at {theirs} that is alive, and this one at {address} has the same id: give \
         one of them another --node-id"
    )]
    IdTaken {
        /// Name of the cluster.
        cluster: String,
        /// The id.
        id: String,
        /// Address of the other one.
        theirs: String,
        /// Address of this one.
        address: String,
    },
    /// Another process renews a registration with the address of this node.
    #[error(
        "cluster {cluster:?} has a node {theirs:?} at {address} that is alive, and this node {id:?} advertises the same \
         address: correct --advertise on one of them"
    )]
    AddressTaken {
        /// Name of the cluster.
        cluster: String,
        /// The id of this one.
        id: String,
        /// The id of the other one.
        theirs: String,
        /// The address.
        address: String,
    },
    /// The record under the id of this node cannot be read, so nobody knows whose it is.
    #[error("the record under {key} in etcd cannot be read, {problem}: remove it if it is nobody's")]
    UnreadableRecord {
        /// The key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// Another etcd answers.
    #[error(
        "the etcd that answers now is cluster {found:016x}, and was {known:016x} before: correct --etcd; the ring stays as \
         it is"
    )]
    OtherEtcd {
        /// The one that answers.
        found: u64,
        /// The one that did before.
        known: u64,
    },
    /// etcd has lost what it had.
    #[error(transparent)]
    Backwards(crate::view::Backwards),
}

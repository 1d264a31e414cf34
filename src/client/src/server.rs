//! What a server says of itself.

use std::sync::Arc;

use larder_protocol::limits::FRAME_PREFIX_BYTES;
use larder_protocol::native::TopologyRefused;
use larder_protocol::native::generated as pb;
use larder_ring::{Node, Topology};

use crate::error::Error;

/// The limits of a server, as it said in Hello. The client holds requests against them before it sends anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest key, in bytes.
    pub key_bytes_max: usize,
    /// Longest value, in bytes.
    pub value_bytes_max: usize,
    /// Longest frame, in bytes.
    pub frame_bytes_max: usize,
    /// Most keys in one frame.
    pub keys_max: usize,
    /// Most requests of one connection that wait for an answer.
    pub pipeline_max: usize,
}

impl Limits {
    /// Refuses a key or value above the limits.
    pub(crate) fn check(&self, key_bytes: usize, value_bytes: usize) -> Result<(), Error> {
        within("key", key_bytes, self.key_bytes_max)?;
        within("value", value_bytes, self.value_bytes_max)
    }

    /// Refuses a frame, its length prefix included, above the limit.
    pub(crate) fn check_frame(&self, frame_bytes: usize) -> Result<(), Error> {
        within("request", frame_bytes.saturating_sub(FRAME_PREFIX_BYTES), self.frame_bytes_max)
    }
}

fn within(what: &'static str, bytes: usize, limit: usize) -> Result<(), Error> {
    if bytes <= limit { Ok(()) } else { Err(Error::TooLarge { what, bytes: bytes as u64, limit: limit as u64 }) }
}

/// A group that a server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its hash, as requests carry it.
    pub hash: u64,
}

/// The nodes of a cluster.
#[derive(Clone, Debug)]
pub struct Members {
    /// The ring of those that own something.
    pub topology: Arc<Topology>,
    /// Those that have started and own nothing yet.
    pub joining: Vec<Node>,
    /// Those that own nothing more: they are ending, or an operator has said so.
    pub draining: Vec<Node>,
}

impl TryFrom<&pb::TopologyResult> for Members {
    type Error = TopologyRefused;

    fn try_from(told: &pb::TopologyResult) -> Result<Self, TopologyRefused> {
        let nodes = |nodes: &[pb::Node]| nodes.iter().map(Node::try_from).collect::<Result<Vec<_>, _>>();
        let (joining, draining) = (nodes(&told.joining)?, nodes(&told.draining)?);
        Ok(Self { topology: Arc::new(Topology::try_from(told)?), joining, draining })
    }
}

/// What a node said in the Hello of the connection that is used at this time.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// Where it was reached.
    pub address: String,
    /// Name and version of the server.
    pub server: String,
    /// Id of the node.
    pub node: String,
    /// Its limits.
    pub limits: Limits,
    /// Its groups.
    pub groups: Vec<Group>,
    /// The ring as it knew it then.
    pub topology: Arc<Topology>,
}

//! The ring as nodes and clients tell each other, and as `larder-ring` computes it.

use alloc::string::String;
use alloc::vec::Vec;

use larder_ring::{Topology, TopologyError};

use super::generated::{Node, TopologyResult};

/// Why a topology that was received is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyRefused {
    /// A node's number of shards is outside what a ring can have.
    #[error("node {node:?} claims {shards} shards, and a node has at most {}", u16::MAX)]
    Shards {
        /// Id of the node.
        node: String,
        /// What it claims.
        shards: u32,
    },
    /// The nodes make no ring.
    #[error("the nodes of the topology make no ring")]
    Ring(#[from] TopologyError),
    /// The ring of these nodes is not the one that the sender uses; it places keys by other rules.
    #[error("the sender's ring has digest {sent:#018x}, and its nodes give {computed:#018x}: the versions differ")]
    Digest {
        /// What the sender has.
        sent: u64,
        /// What the nodes give here.
        computed: u64,
    },
}

impl From<&Topology> for TopologyResult {
    fn from(topology: &Topology) -> Self {
        let nodes = topology.nodes().iter().map(|node| Node {
            id: node.id.clone(),
            address: node.address.clone(),
            shards: u32::from(node.shards),
            points: node.points,
            incarnation: node.incarnation,
        });
        Self {
            epoch: topology.epoch(),
            digest: topology.digest(),
            cluster_seed: topology.cluster_seed(),
            nodes: nodes.collect(),
        }
    }
}

impl TryFrom<&TopologyResult> for Topology {
    type Error = TopologyRefused;

    /// The ring of these nodes, which has the digest that the sender says.
    fn try_from(sent: &TopologyResult) -> Result<Self, TopologyRefused> {
        let nodes = sent.nodes.iter().map(|node| {
            let shards = u16::try_from(node.shards)
                .map_err(|_| TopologyRefused::Shards { node: node.id.clone(), shards: node.shards })?;
            Ok(larder_ring::Node {
                id: node.id.clone(),
                address: node.address.clone(),
                shards,
                points: node.points,
                incarnation: node.incarnation,
            })
        });
        let nodes = nodes.collect::<Result<Vec<_>, TopologyRefused>>()?;
        let topology = Topology::new(sent.cluster_seed, sent.epoch, nodes)?;
        if topology.digest() != sent.digest {
            return Err(TopologyRefused::Digest { sent: sent.digest, computed: topology.digest() });
        }
        Ok(topology)
    }
}

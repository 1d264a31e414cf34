//! The ring as nodes and clients tell each other, and as `larder-ring` computes it.

use alloc::string::String;
use alloc::vec::Vec;

use larder_ring::{SHARDS_MAX, Topology, TopologyError};

use super::generated::{Node, TopologyResult};
use crate::Members;

/// Why a topology that was received is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyRefused {
    /// A node's number of shards is outside what a ring can have.
    #[error("node {node:?} claims {shards} shards, and a node has at most {SHARDS_MAX}")]
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
        Self::from(Members { topology, joining: &[], draining: &[] })
    }
}

impl From<Members<'_>> for TopologyResult {
    fn from(Members { topology, joining, draining }: Members<'_>) -> Self {
        let all = |nodes: &[larder_ring::Node]| nodes.iter().map(Node::from).collect();
        Self {
            epoch: topology.epoch(),
            digest: topology.digest(),
            cluster_seed: topology.cluster_seed(),
            nodes: all(topology.nodes()),
            joining: all(joining),
            draining: all(draining),
        }
    }
}

impl From<&larder_ring::Node> for Node {
    fn from(node: &larder_ring::Node) -> Self {
        Self {
            id: node.id.clone(),
            address: node.address.clone(),
            shards: u32::from(node.shards),
            points: node.points,
            incarnation: node.incarnation,
        }
    }
}

impl TryFrom<&Node> for larder_ring::Node {
    type Error = TopologyRefused;

    fn try_from(node: &Node) -> Result<Self, TopologyRefused> {
        let shards = u16::try_from(node.shards)
            .map_err(|_| TopologyRefused::Shards { node: node.id.clone(), shards: node.shards })?;
        let node = Self {
            id: node.id.clone(),
            address: node.address.clone(),
            shards,
            points: node.points,
            incarnation: node.incarnation,
        };
        node.check()?;
        Ok(node)
    }
}

impl TryFrom<&TopologyResult> for Topology {
    type Error = TopologyRefused;

    /// The ring of these nodes, which has the digest that the sender says.
    fn try_from(sent: &TopologyResult) -> Result<Self, TopologyRefused> {
        let nodes = sent.nodes.iter().map(larder_ring::Node::try_from).collect::<Result<Vec<_>, TopologyRefused>>()?;
        let topology = Topology::new(sent.cluster_seed, sent.epoch, nodes)?;
        if topology.digest() != sent.digest {
            return Err(TopologyRefused::Digest { sent: sent.digest, computed: topology.digest() });
        }
        Ok(topology)
    }
}

#[cfg(test)]
mod tests {
    use core::slice::from_ref;

    use super::*;

    fn sent() -> TopologyResult {
        let node = |id: &str| larder_ring::Node {
            id: id.into(),
            address: String::from("127.0.0.1:7400"),
            shards: 2,
            points: 1024,
            incarnation: 7,
        };
        TopologyResult::from(&Topology::new(3, 5, vec![node("a"), node("b")]).expect("a topology"))
    }

    #[test]
    fn a_topology_comes_back_as_it_was_sent() {
        let topology = Topology::try_from(&sent()).expect("the same");
        assert_eq!(TopologyResult::from(&topology), sent());
        assert_eq!((topology.epoch(), topology.cluster_seed()), (5, 3));
    }

    #[test]
    fn those_that_own_nothing_are_told_beside() {
        let topology = Topology::try_from(&sent()).expect("a topology");
        let [joining, draining] =
            ["c", "d"].map(|id| larder_ring::Node { id: id.into(), ..topology.nodes()[0].clone() });
        let members = Members { topology: &topology, joining: from_ref(&joining), draining: from_ref(&draining) };
        let told = TopologyResult::from(members);
        assert_eq!(Topology::try_from(&told).as_ref().ok(), Some(&topology), "the ring is the same");
        let read = |nodes: &[Node]| larder_ring::Node::try_from(&nodes[0]).expect("a node");
        assert_eq!((read(&told.joining), read(&told.draining)), (joining, draining));
    }

    #[test]
    fn another_digest_is_refused() {
        let mut other = sent();
        other.nodes[0].points += 1;
        let refused = Topology::try_from(&other).expect_err("other weights");
        assert!(matches!(refused, TopologyRefused::Digest { sent: digest, .. } if digest == other.digest), "{refused}");
    }

    #[test]
    fn what_makes_no_ring_is_refused() {
        let mut no_nodes = sent();
        no_nodes.nodes.clear();
        let refused = Topology::try_from(&no_nodes).expect_err("no nodes");
        assert!(matches!(refused, TopologyRefused::Ring(TopologyError::NoNodes)), "{refused}");

        for shards in [0, 257, 65_535, 65_536, 65_538, u32::MAX] {
            let mut many = sent();
            many.nodes[1].shards = shards;
            let named = match Topology::try_from(&many).expect_err("too many shards") {
                TopologyRefused::Ring(cause) => cause.to_string(),
                refused => refused.to_string(),
            };
            assert!(named.contains(&shards.to_string()) && named.contains("\"b\""), "{named}");
        }
    }
}

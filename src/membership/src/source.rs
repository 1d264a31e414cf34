//! Fixed sources, and how a node finds itself in a list.

use std::sync::Arc;

use larder_ring::limits::POINTS_PER_WEIGHT;
use larder_ring::{Node, NodeIndex, StaticNode, Topology, parse_static_list};

use crate::MembershipError;

/// What this process knows about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its id, if it was given one. `None`: the id of the entry with its address, or the address itself.
    pub id: Option<String>,
    /// `host:port` under which others reach its native protocol.
    pub address: String,
    /// How many shards it has.
    pub shards: u16,
    /// Its points on the ring, if it was given a weight. `None`: those of its entry, or a weight of 1.
    pub points: Option<u32>,
    /// Random per start of the process.
    pub incarnation: u64,
}

/// Epoch of every topology of a fixed source.
const EPOCH: u64 = 1;
/// Shards of a peer before it has said how many it has. A node routes to nodes; only who speaks to a peer's shards
/// needs their number, and learns it from that peer's Hello.
const PEER_SHARDS: u16 = 1;
/// Incarnation of a peer before it has named its own.
const PEER_INCARNATION: u64 = 0;

/// Gives the topologies of a node, one after another; a fixed one gives one.
#[derive(Clone, Debug)]
pub struct Source {
    topology: Arc<Topology>,
    own: NodeIndex,
}

impl Source {
    /// A node on its own.
    pub fn single(local: Local, cluster_seed: u64) -> Result<Source, MembershipError> {
        let id = local.id.clone().unwrap_or_else(|| local.address.clone());
        let points = local.points.unwrap_or(POINTS_PER_WEIGHT);
        Source::fixed(vec![node(&local, id.clone(), points)], &id, cluster_seed)
    }

    /// A node among those of a static list, whose entries are `[id=]addr[*weight]`, its own among them. The list is
    /// the same on all nodes, in any order.
    pub fn list<S: AsRef<str>>(local: Local, entries: &[S], cluster_seed: u64) -> Result<Source, MembershipError> {
        let listed = parse_static_list(entries).map_err(MembershipError::List)?;
        let own = own_entry(&local, &listed, entries)?;
        let id = listed[own].id.clone();
        let member = |(index, entry): (usize, &StaticNode)| {
            if index == own {
                node(&local, id.clone(), entry.points)
            } else {
                entry.node(PEER_SHARDS, PEER_INCARNATION)
            }
        };
        Source::fixed(listed.iter().enumerate().map(member).collect(), &id, cluster_seed)
    }

    /// A node has said how many shards it has: the topology with that, if it is news. Of one that is in no list, or
    /// cannot have so many, nothing is heard.
    pub fn heard(&mut self, id: &str, shards: u32) -> Option<Arc<Topology>> {
        let shards = u16::try_from(shards).ok()?;
        let index = self.topology.index_of(id).filter(|index| *index != self.own)?;
        let mut nodes = self.topology.nodes().to_vec();
        let node = &mut nodes[usize::from(index.0)];
        if core::mem::replace(&mut node.shards, shards) == shards {
            return None;
        }
        let topology = Topology::new(self.topology.cluster_seed(), EPOCH, nodes).ok()?;
        debug_assert_eq!(topology.digest(), self.topology.digest(), "shards are no matter of the ring");
        self.topology = Arc::new(topology);
        Some(self.current())
    }

    /// The topology of now: the one to start with, until a node was heard of.
    pub fn current(&self) -> Arc<Topology> {
        Arc::clone(&self.topology)
    }

    /// This node in [`Source::current`].
    pub fn own(&self) -> NodeIndex {
        self.own
    }

    fn fixed(nodes: Vec<Node>, own_id: &str, cluster_seed: u64) -> Result<Source, MembershipError> {
        let topology = Topology::new(cluster_seed, EPOCH, nodes).map_err(MembershipError::Topology)?;
        let own = topology.index_of(own_id).expect("this node is one of the nodes");
        Ok(Source { topology: Arc::new(topology), own })
    }
}

fn node(local: &Local, id: String, points: u32) -> Node {
    Node { id, address: local.address.clone(), shards: local.shards, points, incarnation: local.incarnation }
}

/// The position of this node's entry, which agrees with all that the node was told about itself.
fn own_entry<S: AsRef<str>>(local: &Local, listed: &[StaticNode], entries: &[S]) -> Result<usize, MembershipError> {
    let by_id = local.id.as_ref().and_then(|id| listed.iter().position(|entry| entry.id == *id));
    let by_address = listed.iter().position(|entry| entry.address.eq_ignore_ascii_case(&local.address));
    let written = |index: usize| entries[index].as_ref().to_string();
    let own = match (by_id, by_address, &local.id) {
        (Some(id), Some(address), _) if id == address => id,
        (Some(id), Some(address), _) => {
            return Err(MembershipError::TwoEntries { id_entry: written(id), address_entry: written(address) });
        }
        (Some(index), None, _) => {
            let StaticNode { id, address, .. } = listed[index].clone();
            return Err(MembershipError::OtherAddress { id, listed: address, advertised: local.address.clone() });
        }
        (None, Some(index), Some(id)) => {
            let StaticNode { id: listed, address, .. } = listed[index].clone();
            return Err(MembershipError::OtherId { address, listed, id: id.clone() });
        }
        (None, Some(index), None) => index,
        (None, None, id) => {
            let id = id.as_ref().map(|id| format!("{id}=")).unwrap_or_default();
            return Err(MembershipError::NotInList { entry: format!("{id}{}", local.address) });
        }
    };
    match local.points {
        Some(points) if points != listed[own].points => {
            let StaticNode { id, points: listed, .. } = listed[own].clone();
            Err(MembershipError::OtherWeight { id, listed, own: points })
        }
        _ => Ok(own),
    }
}

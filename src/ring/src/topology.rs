//! A membership at one epoch and the owner of every slot in it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use xxhash_rust::xxh3::xxh3_64;

use crate::assign::{Owners, assign};
use crate::limits::{NODES_MAX, POINTS_TOTAL_MAX, SLOTS};
use crate::{Node, Slot, TopologyError, shard, slot};

/// A node's position in [`Topology::nodes`]. Means nothing in another topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u16);

/// Where a key lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The node.
    pub node: NodeIndex,
    /// The shard on it.
    pub shard: u16,
}

/// A membership at one epoch, with the owner of every slot worked out. Immutable, and shared as an `Arc`.
#[derive(PartialEq, Eq)]
pub struct Topology {
    cluster_seed: u64,
    epoch: u64,
    digest: u64,
    /// Sorted by id.
    nodes: Vec<Node>,
    owners: Owners,
}

impl Topology {
    /// The topology of `nodes`, in whatever order they come.
    pub fn new(cluster_seed: u64, epoch: u64, nodes: Vec<Node>) -> Result<Topology, TopologyError> {
        Self::from_known([], cluster_seed, epoch, nodes)
    }

    /// The same. If one of those that are known has these ids and points, its table of owners is shared and not worked out
    /// again.
    pub fn from_known<'t>(
        known: impl IntoIterator<Item = &'t Topology>,
        cluster_seed: u64,
        epoch: u64,
        mut nodes: Vec<Node>,
    ) -> Result<Topology, TopologyError> {
        if epoch == 0 {
            return Err(TopologyError::EpochZero);
        }
        if nodes.is_empty() {
            return Err(TopologyError::NoNodes);
        }
        if nodes.len() > NODES_MAX {
            return Err(TopologyError::TooManyNodes { nodes: nodes.len() });
        }
        nodes.iter().try_for_each(Node::check)?;
        nodes.sort_by(|a, b| (&a.id, &a.address).cmp(&(&b.id, &b.address)));
        if let Some(pair) = nodes.windows(2).find(|pair| pair[0].id == pair[1].id) {
            let (first, second) = (pair[0].address.clone(), pair[1].address.clone());
            return Err(TopologyError::DuplicateId { id: pair[0].id.clone(), first, second });
        }
        let points = nodes.iter().map(|node| u64::from(node.points)).sum();
        if points > POINTS_TOTAL_MAX {
            return Err(TopologyError::TooManyPoints { points });
        }
        let digest = digest(&nodes, cluster_seed);
        let is_alike =
            |known: &&Topology| known.cluster_seed == cluster_seed && have_equal_shares(&known.nodes, &nodes);
        let owners = match known.into_iter().find(is_alike) {
            Some(known) => Arc::clone(&known.owners),
            None => assign(&nodes, cluster_seed),
        };
        Ok(Topology { cluster_seed, epoch, digest, nodes, owners })
    }

    /// The ring of one node, which owns everything, at epoch 1.
    ///
    /// # Panics
    /// If [`Node::check`] refuses the node: what comes from outside goes through [`Topology::new`].
    pub fn single(node: Node, cluster_seed: u64) -> Topology {
        Topology::new(cluster_seed, 1, alloc::vec![node]).unwrap_or_else(|error| panic!("single node: {error}"))
    }

    /// Orders topologies; a fixed membership has 1.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Names the assignment of slots: topologies with one digest have the same cluster seed and the same owners.
    /// Covers the cluster seed and each node's id and points, and nothing else.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Seeds the hashes of groups, and so of keys.
    pub fn cluster_seed(&self) -> u64 {
        self.cluster_seed
    }

    /// The nodes, sorted by id.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node at an index of this topology.
    ///
    /// # Panics
    /// If the index is of another, larger topology.
    #[inline]
    pub fn node(&self, index: NodeIndex) -> &Node {
        &self.nodes[usize::from(index.0)]
    }

    /// Where the node with this id is.
    pub fn index_of(&self, id: &str) -> Option<NodeIndex> {
        let index = self.nodes.binary_search_by(|node| node.id.as_str().cmp(id)).ok()?;
        Some(NodeIndex(index as u16))
    }

    /// The node that owns a hash.
    #[inline]
    pub fn owner(&self, hash: u64) -> NodeIndex {
        // A lone node need not wait for a line of the table, which is too long to stay in the caches near a core.
        if self.nodes.len() == 1 { NodeIndex(0) } else { self.slot_owner(slot(hash)) }
    }

    /// The node that owns a slot.
    ///
    /// # Panics
    /// If there is no such slot; [`slot`] gives only those that are.
    #[inline]
    pub fn slot_owner(&self, slot: Slot) -> NodeIndex {
        NodeIndex(self.owners[slot.0 as usize])
    }

    /// The node that owns a hash, and the shard there.
    #[inline]
    pub fn place(&self, hash: u64) -> Place {
        let node = self.owner(hash);
        Place { node, shard: shard(hash, self.node(node).shards) }
    }

    /// How many of the [`SLOTS`] slots each node owns, in the order of [`Topology::nodes`].
    pub fn slots_owned(&self) -> Vec<u32> {
        let mut counts = alloc::vec![0; self.nodes.len()];
        for &owner in self.owners.iter() {
            counts[usize::from(owner)] += 1;
        }
        counts
    }

    /// Walks everything and works it out anew.
    ///
    /// # Panics
    /// If anything is not as [`Topology::new`] makes it.
    pub fn validate(&self) {
        assert!(self.epoch > 0, "epoch 0");
        assert!((1..=NODES_MAX).contains(&self.nodes.len()), "{} nodes", self.nodes.len());
        for node in &self.nodes {
            node.check().unwrap_or_else(|error| panic!("{error}"));
        }
        assert!(self.nodes.is_sorted_by(|a, b| a.id < b.id), "ids are not sorted and unique");
        assert_eq!(self.digest, digest(&self.nodes, self.cluster_seed), "digest");
        assert!(self.owners == assign(&self.nodes, self.cluster_seed), "owners are not those of the membership");
        assert_eq!(self.slots_owned().iter().map(|&count| count as usize).sum::<usize>(), SLOTS, "slots owned");
    }
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topology")
            .field("cluster_seed", &self.cluster_seed)
            .field("epoch", &self.epoch)
            .field("digest", &format_args!("{:016x}", self.digest))
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

/// Whether the assignment is the same: it goes by nothing else of a node.
fn have_equal_shares(nodes: &[Node], others: &[Node]) -> bool {
    let mut pairs = nodes.iter().zip(others);
    nodes.len() == others.len() && pairs.all(|(node, other)| node.id == other.id && node.points == other.points)
}

/// What the digest begins with. Another rule of assignment is another name here.
const DIGEST_NAME: &[u8] = b"larder-ring-1";

/// XXH3-64 of: [`DIGEST_NAME`], the cluster seed, and per node in the order of ids the length of the id (2 bytes), the
/// id, and the points (4 bytes). Numbers are little-endian.
fn digest(nodes: &[Node], cluster_seed: u64) -> u64 {
    let mut bytes = DIGEST_NAME.to_vec();
    bytes.extend_from_slice(&cluster_seed.to_le_bytes());
    for node in nodes {
        bytes.extend_from_slice(&(node.id.len() as u16).to_le_bytes());
        bytes.extend_from_slice(node.id.as_bytes());
        bytes.extend_from_slice(&node.points.to_le_bytes());
    }
    xxh3_64(&bytes)
}

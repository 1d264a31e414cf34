//! Who owns a key: the hash, the slots, the ring of a membership, and the shard within a node.
//!
//! `key -> hash -> slot -> node -> shard` is a pure function of the key, its group, the cluster seed and the
//! membership. Every node and every client computes it, in any language, so all of it is wire contract: the golden
//! files in `tests/golden` hold it, and README.md specifies it together with the figures that decided it.
//!
//! This crate may not do I/O, read a clock, draw randomness, log, or know what is stored or spoken. It has no state
//! but the immutable [`Topology`].
//!
//! ```
//! use larder_ring::{Node, Topology, group_hash, key_hash};
//!
//! let node = |id: &str| Node { id: id.into(), address: format!("{id}:7400"), shards: 4, points: 1024, incarnation: 1 };
//! let topology = Topology::new(0, 1, vec![node("a"), node("b")])?;
//! let place = topology.place(key_hash(b"user:17", group_hash("scores", topology.cluster_seed())));
//! assert!(place.shard < topology.node(place.node).shards);
//! # Ok::<(), larder_ring::TopologyError>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod assign;
mod error;
mod hash;
pub mod limits;
mod membership;
mod node;
mod static_list;
mod topology;
mod weight;

pub use error::TopologyError;
pub use hash::{DEFAULT_GROUP, Slot, group_hash, key_hash, shard, slot};
pub use limits::{SHARDS_MAX, SLOTS};
pub use membership::{KeptGroup, Membership};
pub use node::Node;
pub use static_list::{StaticListError, StaticNode, parse_static_list};
pub use topology::{NodeIndex, Place, Topology};
pub use weight::{WeightError, weight_points, weight_text};

//! The crate from outside: its golden files, its figures, and what it refuses.

use larder_ring::Node;

mod figures;
mod golden;
mod refusals;
mod topology;

/// A node that is fine, with this id and weight.
fn node(id: &str, points: u32) -> Node {
    Node { id: id.into(), address: format!("{id}.example.org:7400"), shards: 4, points, incarnation: 1 }
}

/// `count` nodes of weight 1.
fn equal_nodes(count: usize) -> Vec<Node> {
    (0..count).map(|index| node(&format!("node-{index:04}"), 1024)).collect()
}

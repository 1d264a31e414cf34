//! From a key to its owner.

use std::process::ExitCode;

use larder_benches::harness::{case, run};
use larder_ring::{Node, Topology, group_hash, key_hash, shard, slot};

fn main() -> ExitCode {
    run(&[
        case("key_hash_16", || hashing(16)),
        case("key_hash_100", || hashing(100)),
        case("slot_and_shard", || {
            let mut hash = 1_u64;
            move || {
                hash = next(hash);
                (slot(hash), shard(hash, 16))
            }
        }),
        case("place_3_nodes", || placing(3)),
        case("place_1000_nodes", || placing(1000)),
    ])
}

fn next(hash: u64) -> u64 {
    hash.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f)
}

fn hashing(len: usize) -> impl FnMut() -> u64 {
    let seed = group_hash("default", 0);
    let mut key = vec![b'k'; len];
    let mut count = 0_u64;
    move || {
        count += 1;
        key[..8].copy_from_slice(&count.to_le_bytes());
        key_hash(&key, seed)
    }
}

fn nodes(count: usize) -> Vec<Node> {
    let node = |number: usize| Node {
        id: format!("node-{number}"),
        address: format!("10.0.{}.{}:7400", number / 250, number % 250),
        shards: 16,
        points: 1024,
        incarnation: 1,
    };
    (0..count).map(node).collect()
}

fn topology(nodes: Vec<Node>) -> Topology {
    Topology::new(0, 1, nodes).expect("nodes with names and addresses of their own")
}

fn placing(count: usize) -> impl FnMut() -> u16 {
    let topology = topology(nodes(count));
    let mut hash = 1_u64;
    move || {
        hash = next(hash);
        let place = topology.place(hash);
        place.node.0 ^ place.shard
    }
}

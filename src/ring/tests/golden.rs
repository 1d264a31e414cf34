//! The files in `golden` come from `golden/reference.py`, which shares no code with the crate.

use larder_ring::{DEFAULT_GROUP, Node, NodeIndex, SLOTS, Slot, Topology, group_hash, key_hash, shard, slot};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

fn load(text: &str, list: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).expect("a golden file is JSON");
    let vectors = file[list].as_array().unwrap_or_else(|| panic!("no list {list:?}")).clone();
    assert!(!vectors.is_empty(), "{list} is empty");
    vectors
}

fn wide(vector: &Value, field: &str) -> u64 {
    let text = vector[field].as_str().unwrap_or_else(|| panic!("no {field:?} in {vector}"));
    assert_eq!(text.len(), 16, "{field} of {vector}");
    u64::from_str_radix(text, 16).unwrap_or_else(|error| panic!("{field} of {vector}: {error}"))
}

fn number(vector: &Value, field: &str) -> u64 {
    vector[field].as_u64().unwrap_or_else(|| panic!("no number {field:?} in {vector}"))
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap_or_else(|| panic!("no text {field:?} in {vector}"))
}

fn bytes(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex:?}");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hex digits")).collect()
}

#[test]
fn group_hashes() {
    let vectors = load(include_str!("golden/hashes.json"), "groups");
    for vector in &vectors {
        let hash = group_hash(text(vector, "name"), wide(vector, "cluster_seed"));
        assert_eq!(hash, wide(vector, "hash"), "{vector}");
    }
    assert!(vectors.iter().any(|vector| vector["name"] == DEFAULT_GROUP), "the default group has a vector");
}

#[test]
fn key_hashes_slots_and_shards() {
    let mut lengths = Vec::new();
    for vector in load(include_str!("golden/hashes.json"), "keys") {
        let key = bytes(text(&vector, "key"));
        let hash = key_hash(&key, wide(&vector, "group_hash"));
        assert_eq!(hash, wide(&vector, "hash"), "{vector}");
        assert_eq!(u64::from(slot(hash).0), number(&vector, "slot"), "{vector}");
        let shards = vector["shard_by_shards"].as_object().expect("an object");
        assert!(shards.len() >= 4, "{vector}");
        for (count, expected) in shards {
            let count = count.parse().expect("a number of shards");
            assert_eq!(Some(u64::from(shard(hash, count))), expected.as_u64(), "{count} shards, {vector}");
        }
        lengths.push(key.len());
    }
    // XXH3 has a way of its own for each of these ranges of length.
    for range in [0..=0, 1..=3, 4..=8, 9..=16, 17..=128, 129..=240, 241..=1024, 1025..=4096] {
        assert!(lengths.iter().any(|length| range.contains(length)), "no key of {range:?} bytes");
    }
}

#[test]
fn topologies() {
    for vector in load(include_str!("golden/topologies.json"), "topologies") {
        let cluster_seed = wide(&vector, "cluster_seed");
        let listed = vector["nodes"].as_array().expect("nodes");
        let read = |node: &Value| Node {
            id: text(node, "id").into(),
            address: "127.0.0.1:7400".into(),
            shards: 1,
            points: number(node, "points") as u32,
            incarnation: 0,
        };
        let topology = Topology::new(cluster_seed, 1, listed.iter().rev().map(read).collect()).expect("possible");
        topology.validate();
        assert_eq!(topology.digest(), wide(&vector, "digest"), "digest of {vector}");
        for (node, owned) in listed.iter().zip(topology.slots_owned()) {
            assert_eq!(u64::from(owned), number(node, "slots_owned"), "{node} of cluster seed {cluster_seed:x}");
        }
        for owner in vector["owners"].as_array().expect("owners") {
            let index = topology.slot_owner(Slot(number(owner, "slot") as u32));
            assert_eq!(topology.node(index).id, text(owner, "node"), "{owner} of cluster seed {cluster_seed:x}");
        }
        let owner = |slot| {
            let NodeIndex(node) = topology.slot_owner(Slot(slot));
            node.to_le_bytes()
        };
        let table: Vec<u8> = (0..SLOTS as u32).flat_map(owner).collect();
        assert_eq!(xxh3_64(&table), wide(&vector, "owners_hash"), "owners of cluster seed {cluster_seed:x}");
    }
}

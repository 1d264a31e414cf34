//! What a topology is: a function of the membership, whatever order it comes in.

use larder_ring::{Node, NodeIndex, SLOTS, Slot, Topology};

use crate::{equal_nodes, node};

fn topology(cluster_seed: u64, nodes: &[Node]) -> Topology {
    Topology::new(cluster_seed, 1, nodes.to_vec()).expect("a possible ring")
}

fn random_nodes(random: &mut fastrand::Rng) -> Vec<Node> {
    let count = random.usize(1..50);
    let mut ids: Vec<u32> = (0..count as u32 * 3).collect();
    random.shuffle(&mut ids);
    ids[..count].iter().map(|id| node(&format!("n{id}"), random.u32(1..3000))).collect()
}

#[test]
fn order_of_the_list_is_nothing() {
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..100 {
        let seed = random.u64(..);
        let mut nodes = random_nodes(&mut random);
        let first = topology(seed, &nodes);
        first.validate();
        random.shuffle(&mut nodes);
        let second = topology(seed, &nodes);
        assert!(first == second, "round {round}, cluster seed {seed}: {first:?} and {second:?}");
        for (index, node) in first.nodes().iter().enumerate() {
            assert_eq!(first.index_of(&node.id), Some(NodeIndex(index as u16)), "round {round}, {node:?}");
        }
        assert!(first.nodes().is_sorted_by_key(|node| &node.id), "round {round}");
        assert_eq!(first.slots_owned().iter().sum::<u32>() as usize, SLOTS, "round {round}");
    }
}

#[test]
fn digest_covers_what_decides_ownership() {
    let nodes = equal_nodes(3);
    let base = topology(9, &nodes);
    let changed = |change: &dyn Fn(&mut Node)| {
        let mut nodes = nodes.clone();
        change(&mut nodes[1]);
        topology(9, &nodes)
    };
    for (what, other) in [
        ("address", changed(&|node| node.address = "elsewhere:1".into())),
        ("shards", changed(&|node| node.shards = 7)),
        ("incarnation", changed(&|node| node.incarnation = 99)),
        ("epoch", Topology::new(9, 2, nodes.clone()).expect("possible")),
    ] {
        assert_eq!(other.digest(), base.digest(), "{what} is no part of the digest");
        assert!((0..SLOTS as u32).all(|slot| other.slot_owner(Slot(slot)) == base.slot_owner(Slot(slot))), "{what}");
        assert!(other != base, "{what} is a part of the topology");
    }
    for (what, other) in [
        ("points", changed(&|node| node.points += 1)),
        ("id", changed(&|node| node.id = "node-0001x".into())),
        ("cluster seed", topology(10, &nodes)),
        ("a node less", topology(9, &nodes[..2])),
        ("a node more", topology(9, &equal_nodes(4))),
    ] {
        assert_ne!(other.digest(), base.digest(), "{what} is a part of the digest");
    }
}

#[test]
fn a_topology_from_known_ones_is_the_same_as_a_new_one() {
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..30 {
        let mut nodes = random_nodes(&mut random);
        let before = topology(4, &nodes);
        match round % 5 {
            0 => nodes[0].points += 1,
            1 => nodes.push(node("another", 1024)),
            2 if nodes.len() > 1 => drop(nodes.pop()),
            3 => nodes[0].id.push('x'),
            _ => nodes[0].address.push('1'),
        }
        let other = topology(5, &nodes);
        let made = Topology::from_known([&other, &before], 4, 2, nodes.clone()).expect("possible");
        made.validate();
        assert!(made == Topology::new(4, 2, nodes).expect("possible"), "round {round}: {before:?}, {made:?}");
    }
    assert!(Topology::from_known([&topology(4, &equal_nodes(2))], 4, 2, Vec::new()).is_err());
}

#[test]
fn owner_and_place_agree_with_the_slots() {
    let mut random = fastrand::Rng::with_seed(2);
    let nodes: Vec<Node> = (1..=20).map(|shards| Node { shards, ..node(&format!("n{shards}"), 1024) }).collect();
    let topology = topology(3, &nodes);
    for round in 0..100_000 {
        let hash = random.u64(..);
        let owner = topology.owner(hash);
        assert_eq!(owner, topology.slot_owner(larder_ring::slot(hash)), "round {round}, hash {hash:x}");
        let place = topology.place(hash);
        let shards = topology.node(owner).shards;
        assert_eq!((place.node, place.shard), (owner, larder_ring::shard(hash, shards)), "round {round}");
        assert!(place.shard < shards, "round {round}, hash {hash:x}");
    }
}

#[test]
fn single_node_owns_everything() {
    let topology = Topology::single(node("127.0.0.1:7400", 1), 77);
    topology.validate();
    assert_eq!((topology.epoch(), topology.cluster_seed()), (1, 77));
    assert_eq!(topology.slots_owned(), [SLOTS as u32]);
    assert_eq!(topology.owner(u64::MAX), NodeIndex(0));
    assert_eq!(topology.index_of("127.0.0.1:7400"), Some(NodeIndex(0)));
    assert_eq!(topology.index_of("somebody"), None);
}

#[test]
#[should_panic(expected = "single node: node \"a\" has 0 shards")]
fn single_node_must_be_possible() {
    Topology::single(Node { shards: 0, ..node("a", 1) }, 0);
}

#[test]
fn largest_ring_is_possible() {
    let topology = topology(1, &equal_nodes(larder_ring::limits::NODES_MAX));
    let most = topology.slots_owned().into_iter().max();
    // 16 slots are fair; 5 % more, rounded up.
    assert_eq!(most, Some(17));
}

#[test]
fn tiny_weight_beside_a_large_one_is_no_harm() {
    let topology = topology(1, &[node("large", 1 << 20), node("tiny", 1)]);
    topology.validate();
    assert!(topology.slots_owned()[1] <= 1, "{:?}", topology.slots_owned());
}

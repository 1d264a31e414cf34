//! The figures that decided the number of slots and the rule (README.md): nobody makes them worse unseen.

use larder_ring::{Node, SLOTS, Slot, Topology, group_hash, key_hash};

use crate::{equal_nodes, node};

/// Nodes; memberships tried; least share of a node as a multiple of the fair one; slots that may move when one of so
/// many nodes joins or leaves, beyond its fair share, in points. The worst measured, and a margin.
const FIGURES: [(usize, u64, f64, f64); 7] = [
    (2, 100, 0.93, 1.9),
    (3, 100, 0.93, 1.5),
    (10, 60, 0.92, 0.8),
    (30, 30, 0.90, 0.4),
    (100, 10, 0.84, 0.3),
    (300, 4, 0.70, 0.3),
    (1000, 2, 0.50, 0.3),
];

fn topology(cluster_seed: u64, nodes: &[Node]) -> Topology {
    Topology::new(cluster_seed, 1, nodes.to_vec()).expect("a possible ring")
}

fn shares(topology: &Topology) -> Vec<f64> {
    topology.slots_owned().iter().map(|&owned| f64::from(owned) / SLOTS as f64).collect()
}

/// Ids of the owners before and after, of each slot that changes its owner.
fn moves<'a>(before: &'a Topology, after: &'a Topology) -> Vec<(&'a str, &'a str)> {
    let owner = |topology: &'a Topology, slot| topology.node(topology.slot_owner(Slot(slot))).id.as_str();
    let pairs = (0..SLOTS as u32).map(|slot| (owner(before, slot), owner(after, slot)));
    pairs.filter(|(before, after)| before != after).collect()
}

fn points(slots: usize) -> f64 {
    100.0 * slots as f64 / SLOTS as f64
}

#[test]
fn equal_nodes_have_equal_shares_and_little_moves() {
    for (count, memberships, share_min, moved_points_max) in FIGURES {
        for seed in 0..memberships {
            let nodes = equal_nodes(count);
            let all = topology(seed, &nodes);
            let fair = 1.0 / count as f64;
            for share in shares(&all) {
                // A full node has 5 % more than its share, rounded up to a slot.
                assert!(share <= fair * 1.05 + 1.0 / SLOTS as f64, "{count} nodes, seed {seed}: share {share}");
                assert!(share <= fair * 1.3, "{count} nodes, seed {seed}: share {share}");
                assert!(share >= fair * share_min, "{count} nodes, seed {seed}: share {share}");
            }
            let leaver = seed as usize * 7919 % count;
            let mut others = nodes.clone();
            others.remove(leaver);
            let without = topology(seed, &others);
            let joined = moves(&without, &all);
            let moved = points(joined.len()) - 100.0 * fair;
            assert!(moved <= moved_points_max, "{count} nodes, seed {seed}: {moved:.2} points above its share move");
            assert_eq!(moves(&all, &without).len(), joined.len(), "leaving is joining backwards");
            let detours = joined.iter().filter(|(_, to)| *to != nodes[leaver].id).count();
            assert!(points(detours) <= 0.6, "{count} nodes, seed {seed}: {detours} slots move between old nodes");
        }
    }
}

#[test]
fn weights_are_met_within_three_points() {
    for seed in 0..300 {
        let topology = topology(seed, &[node("a", 1024), node("b", 1024), node("c", 2048)]);
        for (share, fair) in shares(&topology).iter().zip([0.25, 0.25, 0.5]) {
            assert!((share - fair).abs() <= 0.03, "seed {seed}: share {share} instead of {fair}");
        }
    }
}

#[test]
fn change_of_weight_moves_what_it_must() {
    for seed in 0..60 {
        let mut nodes = equal_nodes(5);
        let before = topology(seed, &nodes);
        nodes[2].points *= 2;
        let after = topology(seed, &nodes);
        // From 1 of 5 to 2 of 6.
        let moved = points(moves(&before, &after).len()) - 100.0 * (2.0 / 6.0 - 1.0 / 5.0);
        assert!(moved <= 2.0, "seed {seed}: {moved:.2} points more than needed move");
    }
}

#[test]
fn moves_with_random_weights_stay_near_the_fair_share() {
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..150 {
        let seed = random.u64(..);
        let count = random.usize(3..40);
        let nodes: Vec<Node> = (0..count).map(|index| node(&format!("n{index}"), random.u32(1..=16) * 256)).collect();
        let total: u32 = nodes.iter().map(|node| node.points).sum();
        let all = topology(seed, &nodes);
        let fair = f64::from(nodes[0].points) / f64::from(total);
        let moved = points(moves(&all, &topology(seed, &nodes[1..])).len()) - 100.0 * fair;
        assert!(moved <= 2.0, "round {round}, seed {seed}, {count} nodes: {moved:.2} points above its share move");
    }
}

#[test]
fn keys_are_even_over_nodes_and_their_shards() {
    let topology = topology(5, &equal_nodes(3));
    let group = group_hash("scores", topology.cluster_seed());
    let mut counts = [[0u32; 4]; 3];
    let keys = 400_000u32;
    for number in 0..keys {
        let hash = key_hash(format!("user:{number}").as_bytes(), group);
        let place = topology.place(hash);
        assert_eq!(place.node, topology.owner(hash), "user:{number}");
        counts[usize::from(place.node.0)][usize::from(place.shard)] += 1;
    }
    for (counts, share) in counts.iter().zip(shares(&topology)) {
        let expected = share * f64::from(keys) / 4.0;
        for &count in counts {
            let off = (f64::from(count) - expected).abs() / expected;
            assert!(off < 0.03, "a shard has {count} keys instead of {expected}");
        }
    }
}

//! From the weights of the nodes to the owner of each slot. README.md specifies the rule and says why it is this one.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::limits::{NODES_MAX, POSITIONS_PER_POINT, PROBES_MAX, SHARE_EXCESS_PERCENT, SLOT_BITS, SLOTS};
use crate::{Node, slot};

/// The owner of each slot, as an index into `nodes`.
pub(crate) type Owners = Arc<[u16; SLOTS]>;

/// No node: a slot whose own node is full and that has not found another one yet.
const NOBODY: u16 = u16::MAX;
const _: () = assert!(NODES_MAX <= NOBODY as usize, "NOBODY is no index of a node");

/// A slot without a position in it. No position looks like this: its low bits would be [`NOBODY`].
const NO_POSITION: u64 = u64::MAX;

/// Assigns every slot. `nodes` are sorted by id and within the limits.
///
/// Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, SODA 2018), where a slot whose node is full
/// jumps to a pseudo-random place on the ring instead of walking on (Chen, Coleman, Shrivastava, "Revisiting Consistent
/// Hashing with Bounded Loads", AAAI 2021), so that the neighbour of a full node is not flooded in its turn. A slot
/// leaves its own node only when that one is full of its OWN slots; this keeps changes of the membership local.
pub(crate) fn assign(nodes: &[Node], cluster_seed: u64) -> Owners {
    let natural = successors(nodes, cluster_seed);
    let mut room = capacities(nodes);
    let mut owners = natural.clone();
    let mut start = 0;
    // Slots that follow each other mostly have the same node.
    for run in natural.chunk_by(|node, next| node == next) {
        let room = &mut room[usize::from(run[0])];
        let fitting = run.len().min(*room as usize);
        *room -= fitting as u32;
        owners[start + fitting..start + run.len()].fill(NOBODY);
        start += run.len();
    }
    for (slot, owner) in owners.iter_mut().enumerate().filter(|(_, owner)| **owner == NOBODY) {
        let node = elsewhere(slot as u32, &natural, &room, cluster_seed);
        room[usize::from(node)] -= 1;
        *owner = node;
    }
    Arc::<[u16]>::from(owners).try_into().expect("there are SLOTS owners")
}

/// Position `number` of a node: XXH3-64 of the number (4 bytes, little-endian), seeded with [`node_seed`].
fn position(number: u32, node_seed: u64) -> u64 {
    xxh3_64_with_seed(&number.to_le_bytes(), node_seed)
}

/// XXH3-64 of a node's id, seeded with the cluster seed.
fn node_seed(id: &str, cluster_seed: u64) -> u64 {
    xxh3_64_with_seed(id.as_bytes(), cluster_seed)
}

/// Per slot, the node of the first position at or after the slot's start, around the ring; of equal positions the one
/// of the smaller id.
///
/// Only the first position within each slot matters, so nothing is sorted: one pass over the positions keeps the least
/// per slot (without its slot bits, which leaves room for the node's index), one pass over the slots fills the gaps.
fn successors(nodes: &[Node], cluster_seed: u64) -> Vec<u16> {
    let mut first = vec![NO_POSITION; SLOTS];
    for (index, node) in nodes.iter().enumerate() {
        let seed = node_seed(&node.id, cluster_seed);
        for number in 0..node.points * POSITIONS_PER_POINT {
            let position = position(number, seed);
            let first = &mut first[slot(position).0 as usize];
            *first = (*first).min(position << SLOT_BITS | index as u64);
        }
    }
    let wrapped = first.iter().copied().find(|&position| position != NO_POSITION).expect("every node has points");
    let mut next = wrapped as u16;
    let mut natural = vec![next; SLOTS];
    for (natural, &position) in natural.iter_mut().zip(&first).rev() {
        if position != NO_POSITION {
            next = position as u16;
        }
        *natural = next;
    }
    natural
}

/// Most slots that each node may own: its share by points, raised by [`SHARE_EXCESS_PERCENT`], rounded up. The sum is
/// at least [`SLOTS`].
fn capacities(nodes: &[Node]) -> Vec<u32> {
    let total: u64 = nodes.iter().map(|node| u64::from(node.points)).sum();
    let raised = SLOTS as u64 * (100 + SHARE_EXCESS_PERCENT);
    nodes.iter().map(|node| (u64::from(node.points) * raised).div_ceil(total * 100) as u32).collect()
}

/// A node with room for a slot that its own node cannot take.
fn elsewhere(slot_: u32, natural: &[u16], room: &[u32], cluster_seed: u64) -> u16 {
    let probed = (1..=PROBES_MAX).find_map(|probe| {
        let input = u64::from(probe) << 32 | u64::from(slot_);
        let probed = slot(xxh3_64_with_seed(&input.to_le_bytes(), cluster_seed));
        let node = natural[probed.0 as usize];
        (room[usize::from(node)] > 0).then_some(node)
    });
    probed.unwrap_or_else(|| {
        let first = room.iter().position(|&room| room > 0);
        first.expect("capacities add up to the number of slots or more") as u16
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(points: &[u32]) -> Vec<Node> {
        let node = |(index, &points)| Node {
            id: format!("node-{index:04}"),
            address: format!("10.0.0.1:{}", 1000 + index),
            shards: 1,
            points,
            incarnation: 0,
        };
        points.iter().enumerate().map(node).collect()
    }

    /// The rule as README.md words it: every position in one sorted list, and no short cut.
    fn assign_plainly(nodes: &[Node], cluster_seed: u64) -> (Vec<u16>, usize) {
        let mut ring = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let seed = xxh3_64_with_seed(node.id.as_bytes(), cluster_seed);
            ring.extend((0..4 * node.points).map(|number| (xxh3_64_with_seed(&number.to_le_bytes(), seed), index)));
        }
        ring.sort();
        let natural = |slot: usize| {
            let at = ring.partition_point(|&(position, _)| position < (slot as u64) << 48);
            ring[at % ring.len()].1
        };
        let total: u64 = nodes.iter().map(|node| u64::from(node.points)).sum();
        let cap = |node: &Node| (u64::from(node.points) * 65536 * 105).div_ceil(total * 100) as usize;
        let caps: Vec<usize> = nodes.iter().map(cap).collect();
        let mut owned = vec![0; nodes.len()];
        let mut owners = vec![None; SLOTS];
        for (slot, owner) in owners.iter_mut().enumerate() {
            let node = natural(slot);
            if owned[node] < caps[node] {
                owned[node] += 1;
                *owner = Some(node as u16);
            }
        }
        let mut jumped = 0;
        for (slot, owner) in owners.iter_mut().enumerate().filter(|(_, owner)| owner.is_none()) {
            let probe = |probe: u32| {
                let bytes = [(slot as u32).to_le_bytes(), probe.to_le_bytes()].concat();
                natural((xxh3_64_with_seed(&bytes, cluster_seed) >> 48) as usize)
            };
            let probed = (1..=64).map(probe).find(|&node| owned[node] < caps[node]);
            let node = probed.unwrap_or_else(|| (0..nodes.len()).find(|&node| owned[node] < caps[node]).unwrap());
            owned[node] += 1;
            *owner = Some(node as u16);
            jumped += 1;
        }
        (owners.into_iter().flatten().collect(), jumped)
    }

    #[test]
    fn table_is_the_one_of_the_plain_rule() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut cases = vec![vec![1], vec![1, 1], vec![1 << 12, 1], vec![1024; 3], vec![1024; 200], vec![1; 300]];
        cases.extend((0..12).map(|_| (0..random.usize(1..40)).map(|_| random.u32(1..4000)).collect()));
        let mut jumped_sum = 0;
        for (case, points) in cases.iter().enumerate() {
            let (nodes, seed) = (nodes(points), random.u64(..));
            let (plain, jumped) = assign_plainly(&nodes, seed);
            assert!(assign(&nodes, seed)[..] == plain, "case {case}, cluster seed {seed}, points {points:?}");
            jumped_sum += jumped;
        }
        assert!(jumped_sum > 1000, "{jumped_sum} slots were met whose node was full");
    }

    #[test]
    fn slot_without_luck_goes_to_the_first_node_with_room() {
        let mut room = vec![0; 10];
        room[7] = 1;
        room[9] = 1;
        let natural = vec![0; SLOTS];
        assert_eq!(elsewhere(5, &natural, &room, 1), 7);
    }

    #[test]
    fn capacities_suffice_whatever_the_weights() {
        let mut random = fastrand::Rng::with_seed(11);
        for round in 0..2000 {
            let points: Vec<u32> = (0..random.usize(1..60)).map(|_| 1 << random.u32(0..18)).collect();
            let sum: u64 = capacities(&nodes(&points)).iter().map(|&capacity| u64::from(capacity)).sum();
            assert!(sum >= SLOTS as u64, "round {round}: {sum} for {points:?}");
        }
    }
}

//! Measures ways to assign slots to nodes: how even they are, how much moves when a node joins or leaves, and what they
//! cost. `cargo run --release -p larder-ring --example balance` prints the table in README.md; the last row of each
//! block is the crate itself, the others are plain code for the ways that were weighed.

use std::hint::black_box;
use std::time::{Duration, Instant};

use larder_ring::limits::POSITIONS_PER_POINT;
use larder_ring::{Node, NodeIndex, SLOTS, Slot, Topology};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const NODE_COUNTS: [usize; 6] = [3, 10, 30, 100, 300, 1000];

/// What happens to a slot whose node is full, and when a node is.
#[derive(Clone, Copy)]
enum Rule {
    /// No node is ever full: the successor of the slot's start.
    Plain,
    /// Walk on to the next position whose node has room; slots in order. Excess in percent.
    Walk(u64),
    /// Jump to the node of a pseudo-random other slot; slots of a node's own first. Excess in percent.
    Jump(u64),
}

/// A way to assign.
#[derive(Clone, Copy)]
enum Candidate {
    /// The crate itself.
    Larder,
    /// Bits of the slot, positions per point, and the rule.
    Other(u32, u32, Rule),
}

const CANDIDATES: [Candidate; 11] = [
    Candidate::Other(16, 1, Rule::Plain),
    Candidate::Other(18, 1, Rule::Plain),
    Candidate::Other(20, 1, Rule::Plain),
    Candidate::Other(16, 1, Rule::Walk(5)),
    Candidate::Other(16, 1, Rule::Jump(5)),
    Candidate::Other(16, 4, Rule::Plain),
    Candidate::Other(18, 4, Rule::Plain),
    Candidate::Other(16, 4, Rule::Walk(5)),
    Candidate::Other(16, 4, Rule::Jump(0)),
    Candidate::Other(16, 4, Rule::Jump(10)),
    Candidate::Larder,
];

fn main() {
    println!(
        "share: largest and smallest share of a node, as a multiple of its fair one; worst of all rounds (n = 3: 200, n = 1000: 4)"
    );
    println!("moved: slots that change owner when the last of n nodes joins (or leaves), minus 1/n, in points\n");
    println!("| nodes | slots | positions | rule | share max | share min | moved mean | moved max | build |");
    println!("|---:|---:|---:|---|---:|---:|---:|---:|---:|");
    for count in NODE_COUNTS {
        let rounds = (3000 / count).clamp(4, 200) as u64;
        for candidate in CANDIDATES {
            print_row(candidate, count, rounds);
        }
    }
    println!("\nWeights 1:1:2, largest distance of a share from 25, 25 and 50 %, in points, of 200 rounds:");
    for candidate in CANDIDATES {
        let distance = (0..200).map(|seed| weighted_distance(candidate, seed)).fold(0.0, f64::max);
        println!("  {:>26} {:>5.2}", name(candidate).join(" "), distance);
    }
    println!("\nLook-up in a ring of 1000 nodes: {:.2} ns, each waiting for the one before", lookup_ns());
}

/// Time of one [`Topology::owner`] of a random hash, the table being warm.
fn lookup_ns() -> f64 {
    const LOOKUPS: u32 = 20_000_000;
    let topology = Topology::new(0, 1, ring(&[1024; 1000])).expect("a possible ring");
    let start = Instant::now();
    let mut hash = 1u64;
    for _ in 0..LOOKUPS {
        let NodeIndex(node) = topology.owner(hash);
        hash = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(u64::from(node) + 1);
    }
    black_box(hash);
    start.elapsed().as_secs_f64() * 1e9 / f64::from(LOOKUPS)
}

fn print_row(candidate: Candidate, count: usize, rounds: u64) {
    let (mut share_max, mut share_min) = (0f64, f64::MAX);
    let (mut moved_sum, mut moved_max) = (0f64, f64::MIN);
    let mut fastest = Duration::MAX;
    for seed in 0..rounds {
        let nodes = ring(&vec![1024; count]);
        let start = Instant::now();
        let all = table(candidate, &nodes, seed);
        fastest = fastest.min(start.elapsed());
        for share in shares(&all, count) {
            share_max = share_max.max(share * count as f64);
            share_min = share_min.min(share * count as f64);
        }
        let before = table(candidate, &nodes[..count - 1], seed);
        let changed = all.iter().zip(&before).filter(|(a, b)| a != b).count();
        let moved = 100.0 * (changed as f64 / all.len() as f64 - 1.0 / count as f64);
        moved_sum += moved;
        moved_max = moved_max.max(moved);
    }
    let [slots, positions, rule] = name(candidate);
    let moved_mean = moved_sum / rounds as f64;
    let build = fastest.as_secs_f64() * 1e3;
    println!(
        "| {count} | {slots} | {positions} | {rule} | {share_max:.3} | {share_min:.3} | {moved_mean:.2} | {moved_max:.2} | {build:.1} ms |"
    );
}

fn weighted_distance(candidate: Candidate, seed: u64) -> f64 {
    let table = table(candidate, &ring(&[1024, 1024, 2048]), seed);
    let fair = [0.25, 0.25, 0.5];
    shares(&table, 3).iter().zip(fair).map(|(share, fair)| 100.0 * (share - fair).abs()).fold(0.0, f64::max)
}

/// Slots, positions per point, rule.
fn name(candidate: Candidate) -> [String; 3] {
    let Candidate::Other(bits, positions, rule) = candidate else {
        return [SLOTS.to_string(), POSITIONS_PER_POINT.to_string(), "**larder-ring**".into()];
    };
    let rule = match rule {
        Rule::Plain => "plain".into(),
        Rule::Walk(excess) => format!("walk, {excess} %"),
        Rule::Jump(excess) => format!("jump, {excess} %"),
    };
    [(1u32 << bits).to_string(), positions.to_string(), rule]
}

/// Nodes whose ids sort in their order.
fn ring(points: &[u32]) -> Vec<Node> {
    let node = |(index, &points)| Node {
        id: format!("node-{index:04}"),
        address: format!("10.0.0.1:{}", 1024 + index),
        shards: 1,
        points,
        incarnation: 0,
    };
    points.iter().enumerate().map(node).collect()
}

fn shares(table: &[u16], nodes: usize) -> Vec<f64> {
    let mut counts = vec![0u32; nodes];
    for &node in table {
        counts[usize::from(node)] += 1;
    }
    counts.iter().map(|&count| f64::from(count) / table.len() as f64).collect()
}

/// The owner of each slot.
fn table(candidate: Candidate, nodes: &[Node], seed: u64) -> Vec<u16> {
    let Candidate::Other(bits, positions, rule) = candidate else {
        let topology = Topology::new(seed, 1, nodes.to_vec()).expect("a possible ring");
        let owner = |slot| {
            let NodeIndex(node) = topology.slot_owner(Slot(slot));
            node
        };
        return (0..SLOTS as u32).map(owner).collect();
    };
    let ring = sorted_positions(nodes, positions, seed);
    let first = successors(&ring, bits);
    let natural: Vec<u16> = first.iter().map(|&at| ring[at].1).collect();
    let excess = match rule {
        Rule::Plain => return natural,
        Rule::Walk(excess) | Rule::Jump(excess) => excess,
    };
    let total: u64 = nodes.iter().map(|node| u64::from(node.points)).sum();
    let room = |node: &Node| (u64::from(node.points) * ((100 + excess) << bits)).div_ceil(total * 100);
    let mut room: Vec<u64> = nodes.iter().map(room).collect();
    let mut take = |node: u16| {
        let free = room[usize::from(node)] > 0;
        room[usize::from(node)] -= u64::from(free);
        free
    };
    if let Rule::Walk(_) = rule {
        let walk = |&first: &usize| {
            let mut walked = (first..ring.len()).chain(0..first).map(|at| ring[at].1);
            walked.find(|&node| take(node)).expect("the sum of rooms is enough")
        };
        return first.iter().map(walk).collect();
    }
    let own: Vec<bool> = natural.iter().map(|&node| take(node)).collect();
    let place = |(slot, own): (usize, bool)| {
        if own {
            return natural[slot];
        }
        let input = |probe: u64| (probe << 32 | slot as u64).to_le_bytes();
        let mut probes = (1..).map(|probe| natural[(xxh3_64_with_seed(&input(probe), seed) >> (64 - bits)) as usize]);
        probes.find(|&node| take(node)).expect("endless")
    };
    own.into_iter().enumerate().map(place).collect()
}

fn sorted_positions(nodes: &[Node], per_point: u32, seed: u64) -> Vec<(u64, u16)> {
    let mut ring = Vec::new();
    for (index, node) in (0u16..).zip(nodes) {
        let node_seed = xxh3_64_with_seed(node.id.as_bytes(), seed);
        let position = |number: u32| (xxh3_64_with_seed(&number.to_le_bytes(), node_seed), index);
        ring.extend((0..node.points * per_point).map(position));
    }
    ring.sort_unstable();
    ring
}

/// Per slot, where the first position at or after its start is, around the ring.
fn successors(ring: &[(u64, u16)], bits: u32) -> Vec<usize> {
    let mut at = 0;
    let successor = |slot: u64| {
        while at < ring.len() && ring[at].0 < slot << (64 - bits) {
            at += 1;
        }
        at % ring.len()
    };
    (0..1u64 << bits).map(successor).collect()
}

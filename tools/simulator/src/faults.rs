//! What goes wrong in a run, and when: made up from the seed beforehand.

use fastrand::Rng;

use crate::agent::TTL_MS;

/// Something goes wrong, or an operator does something.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A process ends at once, and another one starts so much later.
    Crash { node: usize, restart_ms: u64 },
    /// A process is asked to end, and another one starts so much after it has.
    Stop { node: usize, restart_ms: u64 },
    /// A node does nothing for so long.
    Pause { node: usize, for_ms: u64 },
    /// A node does not reach etcd for so long.
    Cut { node: usize, for_ms: u64 },
    /// Nobody reaches etcd for so long.
    EtcdAway { for_ms: u64 },
    /// What nodes and etcd tell each other is slow, every other time, for so long.
    EtcdSlow { for_ms: u64 },
    /// etcd forgets what happened.
    Compact,
    /// All connections between two nodes are lost.
    Disconnect { a: usize, b: usize },
    /// Two nodes do not reach each other for so long.
    Partition { a: usize, b: usize, for_ms: u64 },
    /// Membership comes to the shards of a node this late from now on, at most.
    Late { node: usize, late_ms: u64 },
    /// An operator has a node drained.
    Drain { node: usize, is_drained: bool },
    /// An operator changes a node's weight.
    Weigh { node: usize, weight: f64 },
}

/// Nothing goes wrong before this time, in ms.
const BEGIN_MS: u64 = 4_000;
/// Nor is anything new going wrong after it.
pub(crate) const END_MS: u64 = 34_000;

/// What goes wrong in a run with so many nodes.
pub(crate) fn plan(random: &mut Rng, nodes: usize) -> Vec<(u64, Fault)> {
    // Some runs know some faults only, so that each is seen without the others.
    let kinds: Vec<u8> =
        if random.bool() { (0..11).collect() } else { (0..random.usize(1..=3)).map(|_| random.u8(0..11)).collect() };
    let mut faults: Vec<(u64, Fault)> = (0..random.usize(2..=12))
        .map(|_| {
            let (at_ms, kind) = (random.u64(BEGIN_MS..END_MS), kinds[random.usize(0..kinds.len())]);
            (at_ms, fault(random, nodes, kind))
        })
        .collect();
    match random.u8(0..8) {
        0..=2 => faults.extend(storm(random, nodes)),
        3 => faults.extend(outage(random, nodes)),
        4 => faults.extend((0..random.usize(20..80)).map(|_| {
            let a = random.usize(0..nodes);
            let b = (a + random.usize(1..nodes)) % nodes;
            (random.u64(BEGIN_MS..END_MS), Fault::Disconnect { a, b })
        })),
        _ => {}
    }
    faults.sort_by_key(|(at_ms, _)| *at_ms);
    faults
}

/// The ring changes again and again while shards hear late of it.
fn storm(random: &mut Rng, nodes: usize) -> Vec<(u64, Fault)> {
    // Some, or one who goes by rings that two others have left behind.
    let is_one = random.bool();
    let latest = random.usize(0..nodes);
    let mut faults: Vec<(u64, Fault)> = (0..nodes)
        .map(|node| {
            let is_late = if is_one { node == latest } else { random.bool() };
            let late_ms = if is_late { random.u64(1..2_000) } else { random.u64(1..5) };
            (BEGIN_MS, Fault::Late { node, late_ms })
        })
        .collect();
    let mut at_ms = random.u64(BEGIN_MS..END_MS / 2);
    let pause_ms_max = [60, 400][random.usize(0..2)];
    for _ in 0..random.usize(10..60) {
        faults.push((
            at_ms,
            match random.u8(0..12) {
                0 | 1 => fault(random, nodes, 6),
                // Its registration is taken over at once, so the process of before is gone for the others.
                2 => Fault::Crash { node: random.usize(0..nodes), restart_ms: random.u64(10..300) },
                _ => fault(random, nodes, 10),
            },
        ));
        // What one had goes to another and on to a third before the first has heard of either.
        if nodes > 2 && random.u8(0..4) == 0 {
            let other = (latest + random.usize(1..nodes)) % nodes;
            let (then_ms, back_ms) = (at_ms + random.u64(20..100), at_ms + random.u64(300..1_500));
            for (node, is_drained, at_ms) in
                [(latest, true, at_ms), (other, true, then_ms), (latest, false, back_ms), (other, false, back_ms)]
            {
                faults.push((at_ms, Fault::Drain { node, is_drained }));
            }
        }
        at_ms += random.u64(1..pause_ms_max);
    }
    faults
}

/// etcd is away until every registration has run out, and a process ends meanwhile and starts anew: when etcd returns, which
/// some hear late, it has nothing to go by.
fn outage(random: &mut Rng, nodes: usize) -> Vec<(u64, Fault)> {
    let (from_ms, for_ms) = (random.u64(BEGIN_MS..END_MS / 2), random.u64(TTL_MS..2 * TTL_MS));
    let (node, restart_ms) = (random.usize(0..nodes), random.u64(10..500));
    let at_ms = from_ms + random.u64(0..for_ms - restart_ms);
    vec![
        (from_ms, Fault::EtcdAway { for_ms }),
        (at_ms, Fault::Crash { node, restart_ms }),
        (from_ms + for_ms - 1, Fault::EtcdSlow { for_ms: random.u64(100..2_000) }),
    ]
}

fn fault(random: &mut Rng, nodes: usize, kind: u8) -> Fault {
    let node = random.usize(0..nodes);
    let other = (node + random.usize(1..nodes)) % nodes;
    let for_ms = match random.u8(0..3) {
        0 => random.u64(20..500),
        1 => random.u64(500..TTL_MS),
        _ => random.u64(TTL_MS..3 * TTL_MS),
    };
    let restart_ms = random.u64(10..2 * TTL_MS);
    match kind {
        0 => Fault::Crash { node, restart_ms },
        1 => Fault::Stop { node, restart_ms },
        2 | 3 => Fault::Pause { node, for_ms },
        4 => Fault::Cut { node, for_ms },
        5 => Fault::EtcdAway { for_ms },
        6 => Fault::Compact,
        7 => Fault::Disconnect { a: node, b: other },
        8 => Fault::Partition { a: node, b: other, for_ms },
        9 => Fault::Late { node, late_ms: random.u64(1..2_000) },
        _ if random.bool() => Fault::Drain { node, is_drained: random.bool() },
        _ => Fault::Weigh { node, weight: f64::from(random.u32(1..=8)) / 2.0 },
    }
}

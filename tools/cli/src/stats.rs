//! Counters and the ring, as tables and as JSON.

use std::io::{self, Write};

use larder_client::{GroupStats, Members, MemoryStats, Node, ShardStats, Stats, Topology};
use larder_ring::weight_text;
use serde_json::{Value, json};

use crate::groups::policy;

/// Tables of groups and shards, node by node.
pub(crate) fn print_stats(out: &mut impl Write, nodes: &[Stats]) -> io::Result<()> {
    for node in nodes {
        writeln!(out, "node {}, version {}, up {:.1} s", node.node, node.version, node.uptime_ms as f64 / 1000.0)?;
        let head = [
            "group", "policy", "entries", "bytes", "budget", "hits", "misses", "hit %", "sets", "deletes", "evicted",
            "expired",
        ];
        let rows = node.groups.iter().flat_map(|group| {
            let since = group.since_policy.as_deref().map(|since| {
                group_row(&GroupStats {
                    name: group.name.clone(),
                    policy: format!("since {}", group.policy),
                    ..since.clone()
                })
            });
            [Some(group_row(group)), since].into_iter().flatten()
        });
        print_table(out, &head, rows)?;
        let head = [
            "group",
            "ghost hits",
            "ghost bytes",
            "evicted for memory",
            "age at eviction",
            "replaced",
            "invalidated",
            "voided",
        ];
        print_table(out, &head, node.groups.iter().map(policy_row))?;
        let head = [
            "shard",
            "requests",
            "cross-core",
            "forwarded",
            "overloaded",
            "late",
            "connections",
            "malformed",
            "loads",
            "load failures",
            "load waits",
        ];
        print_table(out, &head, node.shards.iter().map(shard_row))?;
        let head = ["memory", "bytes", "live", "dead", "free", "index", "ghosts", "written", "moved", "amplification"];
        let rows = node.shards.iter().filter_map(|shard| Some(memory_row(shard.shard, shard.memory.as_ref()?)));
        print_table(out, &head, rows)?;
    }
    Ok(())
}

/// The nodes and their shares.
pub(crate) fn print_topology(out: &mut impl Write, members: &Members) -> io::Result<()> {
    let topology = &members.topology;
    let (epoch, digest, seed) = (topology.epoch(), topology.digest(), topology.cluster_seed());
    writeln!(out, "epoch {epoch}, digest {digest:016x}, cluster seed {seed}")?;
    let head = ["node", "state", "address", "shards", "weight", "share %", "incarnation"];
    let rows = all(members).map(|(node, state, share)| {
        vec![
            node.id.clone(),
            state.to_owned(),
            node.address.clone(),
            node.shards.to_string(),
            format!("{}", weight(node.points)),
            format!("{:.2}", share * 100.0),
            format!("{:016x}", node.incarnation),
        ]
    });
    print_table(out, &head, rows)
}

/// One node's counters.
pub(crate) fn stats_json(stats: &Stats) -> Value {
    let groups: Vec<Value> = stats
        .groups
        .iter()
        .map(|group| {
            let mut json = group_json(group);
            json["since_policy"] = group.since_policy.as_deref().map(group_json).unwrap_or_default();
            json
        })
        .collect();
    let shards: Vec<Value> = stats
        .shards
        .iter()
        .map(|shard| {
            json!({
                    "shard": shard.shard, "requests": shard.requests, "cross_core": shard.cross_core,
                    "overloaded": shard.overloaded, "deadline_exceeded": shard.deadline_exceeded,
                    "connections": shard.connections, "malformed": shard.malformed, "forwarded": shard.forwarded,
            "loads": shard.loads, "load_failures": shard.load_failures, "load_waits": shard.load_waits,
            "refreshes": shard.refreshes, "stale": shard.stale,
                    "memory": shard.memory.as_ref().map(memory_json),
                })
        })
        .collect();
    json!({
        "node": stats.node, "version": stats.version, "uptime_ms": stats.uptime_ms, "groups": groups, "shards": shards,
    })
}

fn group_json(group: &GroupStats) -> Value {
    json!({
        "name": group.name, "policy": group.policy, "entries": group.entries, "bytes": group.bytes,
        "budget_bytes": group.budget_bytes, "hits": group.hits, "misses": group.misses,
        "hit_ratio": hit_ratio(group), "sets": group.sets, "deletes": group.deletes,
        "evictions": group.evictions, "evictions_for_memory": group.evictions_for_memory,
        "eviction_age_ms": mean_age_ms(group), "expirations": group.expirations, "replacements": group.replacements,
        "invalidations": group.invalidations, "voids": group.voids, "ghost_hits": group.ghost_hits,
        "ghost_bytes": group.ghost_bytes, "switching": group.switching,
    })
}

fn memory_json(memory: &MemoryStats) -> Value {
    json!({
        "memory_bytes": memory.memory_bytes, "segment_bytes": memory.segment_bytes,
        "segments_free": memory.segments_free, "segments_log": memory.segments_log,
        "segments_index": memory.segments_index, "segments_ghost": memory.segments_ghost,
        "live_bytes": memory.live_bytes, "dead_bytes": memory.dead_bytes,
        "written_bytes": memory.written_bytes, "moved_bytes": memory.moved_bytes,
        "moved_bytes_max": memory.moved_bytes_max, "write_amplification": amplification(memory),
        "evictions": memory.evictions, "index_waits": memory.index_waits,
    })
}

/// The nodes and their shares.
pub(crate) fn topology_json(members: &Members) -> Value {
    let topology = &members.topology;
    let nodes: Vec<Value> = all(members)
        .map(|(node, state, share)| {
            json!({
                "id": node.id, "state": state, "address": node.address, "shards": node.shards,
                "weight": weight(node.points), "share": share, "incarnation": format!("{:016x}", node.incarnation),
            })
        })
        .collect();
    json!({
        "epoch": topology.epoch(), "digest": format!("{:016x}", topology.digest()),
        "cluster_seed": topology.cluster_seed().to_string(), "nodes": nodes,
    })
}

fn group_row(group: &GroupStats) -> Vec<String> {
    let counters = [group.entries, group.bytes, group.budget_bytes, group.hits, group.misses].map(|n| n.to_string());
    let rest = [group.sets, group.deletes, group.evictions, group.expirations].map(|n| n.to_string());
    let ratio = hit_ratio(group).map_or("-".to_owned(), |ratio| format!("{:.2}", ratio * 100.0));
    [group.name.clone(), policy(group)].into_iter().chain(counters).chain([ratio]).chain(rest).collect()
}

fn policy_row(group: &GroupStats) -> Vec<String> {
    let age = mean_age_ms(group).map_or("-".to_owned(), |age_ms| format!("{:.1} s", age_ms / 1000.0));
    let before = [group.ghost_hits, group.ghost_bytes, group.evictions_for_memory].map(|n| n.to_string());
    let behind = [group.replacements, group.invalidations, group.voids].map(|n| n.to_string());
    [group.name.clone()].into_iter().chain(before).chain([age]).chain(behind).collect()
}

/// How old entries were when they were evicted, on average; `None` before the first.
fn mean_age_ms(group: &GroupStats) -> Option<f64> {
    (group.evictions > 0).then(|| group.eviction_age_ms as f64 / group.evictions as f64)
}

fn shard_row(shard: &ShardStats) -> Vec<String> {
    let counters = [
        u64::from(shard.shard),
        shard.requests,
        shard.cross_core,
        shard.forwarded,
        shard.overloaded,
        shard.deadline_exceeded,
        shard.connections,
        shard.malformed,
        shard.loads,
        shard.load_failures,
        shard.load_waits,
    ];
    counters.iter().map(u64::to_string).collect()
}

fn memory_row(shard: u32, memory: &MemoryStats) -> Vec<String> {
    let MemoryStats { memory_bytes, segment_bytes, live_bytes, dead_bytes, written_bytes, moved_bytes, .. } = *memory;
    let [free, index, ghosts] =
        [memory.segments_free, memory.segments_index, memory.segments_ghost].map(|segments| segments * segment_bytes);
    let bytes = [memory_bytes, live_bytes, dead_bytes, free, index, ghosts, written_bytes, moved_bytes];
    let amplification = amplification(memory).map_or("-".to_owned(), |times| format!("{times:.2}"));
    let bytes = bytes.iter().map(u64::to_string);
    [format!("shard {shard}")].into_iter().chain(bytes).chain([amplification]).collect()
}

/// Bytes that were written and moved, for each byte that was written; `None` before the first write.
fn amplification(memory: &MemoryStats) -> Option<f64> {
    let MemoryStats { written_bytes, moved_bytes, .. } = *memory;
    (written_bytes > 0).then(|| (written_bytes + moved_bytes) as f64 / written_bytes as f64)
}

/// `None` before the first get.
fn hit_ratio(group: &GroupStats) -> Option<f64> {
    let gets = group.hits + group.misses;
    (gets > 0).then(|| group.hits as f64 / gets as f64)
}

fn weight(points: u32) -> f64 {
    weight_text(points).parse().expect("a weight is a decimal number")
}

/// Every node, with its state and its share of all slots.
fn all(members: &Members) -> impl Iterator<Item = (&Node, &'static str, f64)> {
    let Members { topology, joining, draining } = members;
    let serving = topology.nodes().iter().zip(shares(topology)).map(|(node, share)| (node, "serving", share));
    let joining = joining.iter().map(|node| (node, "joining", 0.0));
    serving.chain(joining).chain(draining.iter().map(|node| (node, "draining", 0.0)))
}

/// Of all slots, by node.
fn shares(topology: &Topology) -> Vec<f64> {
    let owned = topology.slots_owned();
    let all: f64 = owned.iter().map(|slots| f64::from(*slots)).sum();
    owned.iter().map(|slots| f64::from(*slots) / all).collect()
}

/// The first column to the left, the others to the right.
pub(crate) fn print_table(
    out: &mut impl Write,
    head: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> io::Result<()> {
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let columns = lines[0].len();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for line in &lines {
        let first = format!("  {:<1$}", line[0], widths[0]);
        let rest: String = (1..columns).map(|column| format!("  {:>1$}", line[column], widths[column])).collect();
        writeln!(out, "{}", (first + &rest).trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut out = Vec::new();
        let rows = [vec!["default".to_owned(), "1".to_owned()], vec!["é".to_owned(), "1000".to_owned()]];
        print_table(&mut out, &["group", "hits"], rows.into_iter()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "  group    hits\n  default     1\n  é        1000\n");
    }

    #[test]
    fn a_ratio_of_nothing_is_none() {
        assert_eq!(hit_ratio(&GroupStats::default()), None);
        assert_eq!(hit_ratio(&GroupStats { hits: 3, misses: 1, ..GroupStats::default() }), Some(0.75));
        assert_eq!(group_row(&GroupStats::default())[7], "-");
        assert_eq!(memory_row(0, &MemoryStats::default()).pop().unwrap(), "-");
        let written = MemoryStats { written_bytes: 100, moved_bytes: 50, ..MemoryStats::default() };
        assert_eq!(amplification(&written), Some(1.5));
    }
}

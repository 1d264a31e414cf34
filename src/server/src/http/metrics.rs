//! What this node counts, as Prometheus reads it.
//!
//! Source: Prometheus, "Text-based format", version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats).

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use larder_protocol::native::generated::{GroupStats, MemoryStats, ShardStats, StatsResult, TopologyResult};

use crate::tally::{Counted, DIALECTS, DURATIONS_MS, OPERATIONS, OUTCOMES, Outcome, Tally};

/// The content type of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family of samples is.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// What no shard is asked for.
#[derive(Clone, Copy)]
pub(super) struct Inside<'a> {
    /// By shard.
    pub(super) tallies: &'a [Arc<Tally>],
    /// How often each shard has looked for work, by shard.
    pub(super) turns: &'a [Arc<CachePadded<AtomicU64>>],
    pub(super) is_ready: bool,
}

/// All samples of this node. Labels are names of groups, nodes and the like: never a key.
pub(super) fn exposition(
    stats: &StatsResult,
    topology: &TopologyResult,
    Inside { tallies, turns, is_ready }: Inside<'_>,
) -> String {
    let mut page = Page(String::new());
    page.family("larder_info", Kind::Gauge, "The node and its version.");
    page.sample(&[("node", &stats.node), ("version", &stats.version)], 1);
    page.family("larder_uptime_seconds", Kind::Gauge, "Time since the start.");
    page.sample(&[], stats.uptime_ms as f64 / 1000.0);
    page.family("larder_ready", Kind::Gauge, "Whether clients are to come.");
    page.sample(&[], u8::from(is_ready));
    page.family("larder_ring_epoch", Kind::Gauge, "The epoch of the ring that the node goes by.");
    page.sample(&[], topology.epoch);
    page.family("larder_ring_nodes", Kind::Gauge, "Nodes of the cluster, by their state.");
    for (state, nodes) in
        [("serving", &topology.nodes), ("joining", &topology.joining), ("draining", &topology.draining)]
    {
        page.sample(&[("state", &state)], nodes.len());
    }
    groups(&mut page, &stats.groups);
    shards(&mut page, &stats.shards);
    page.family("larder_reactor_turns_total", Kind::Counter, "How often a shard has looked for work.");
    for (shard, turns) in turns.iter().enumerate() {
        page.sample(&[("shard", &shard)], turns.load(Ordering::Relaxed));
    }
    requests(&mut page, tallies);
    page.0
}

fn groups(page: &mut Page, groups: &[GroupStats]) {
    page.family("larder_gets_total", Kind::Counter, "Reads of one key, by whether it was there.");
    for group in groups {
        page.sample(&[("group", &group.name), ("result", &"hit")], group.hits);
        page.sample(&[("group", &group.name), ("result", &"miss")], group.misses);
    }
    page.family("larder_removals_total", Kind::Counter, "Entries that left, by why.");
    for group in groups {
        let for_memory = group.evictions_for_memory;
        for (reason, count) in [
            ("evicted_for_budget", group.evictions.saturating_sub(for_memory)),
            ("evicted_for_memory", for_memory),
            ("expired", group.expirations),
            ("replaced", group.replacements),
            ("deleted", group.deletes),
            ("invalidated", group.invalidations),
            ("voided", group.voids),
        ] {
            page.sample(&[("group", &group.name), ("reason", &reason)], count);
        }
    }
    type Of = fn(&GroupStats) -> u64;
    let families: [(&str, Kind, &str, Of); 7] = [
        ("larder_sets_total", Kind::Counter, "Values that were stored.", |group| group.sets),
        (
            "larder_ghost_hits_total",
            Kind::Counter,
            "Misses of keys that the policy remembers to have evicted.",
            |group| group.ghost_hits,
        ),
        ("larder_entries", Kind::Gauge, "Entries that are there.", |group| group.entries),
        ("larder_entries_bytes", Kind::Gauge, "What the entries are charged with.", |group| group.bytes),
        ("larder_ghosts_bytes", Kind::Gauge, "What remembering evicted keys is charged with.", |group| {
            group.ghost_bytes
        }),
        ("larder_budget_bytes", Kind::Gauge, "What entries and ghosts may be charged with.", |group| {
            group.budget_bytes
        }),
        ("larder_switching_entries", Kind::Gauge, "Entries that a former policy still has.", |group| group.switching),
    ];
    for (name, kind, help, of) in families {
        page.family(name, kind, help);
        groups.iter().for_each(|group| page.sample(&[("group", &group.name)], of(group)));
    }
}

fn shards(page: &mut Page, shards: &[ShardStats]) {
    type Of = fn(&ShardStats) -> u64;
    let families: [(&str, Kind, &str, Of); 12] = [
        ("larder_executed_requests_total", Kind::Counter, "Requests that were executed here.", |shard| shard.requests),
        (
            "larder_cross_core_requests_total",
            Kind::Counter,
            "Of those, requests that another shard passed on.",
            |shard| shard.cross_core,
        ),
        (
            "larder_forwarded_requests_total",
            Kind::Counter,
            "Requests, or parts of them, sent to other nodes.",
            |shard| shard.forwarded,
        ),
        ("larder_origin_loads_total", Kind::Counter, "Keys that were to be loaded from an origin.", |shard| {
            shard.loads
        }),
        ("larder_origin_load_failures_total", Kind::Counter, "Of those, the ones that were not answered.", |shard| {
            shard.load_failures
        }),
        ("larder_origin_load_waits_total", Kind::Counter, "Gets that waited for a load under way.", |shard| {
            shard.load_waits
        }),
        (
            "larder_origin_refreshes_total",
            Kind::Counter,
            "Loads that were begun while there was an entry to show.",
            |shard| shard.refreshes,
        ),
        (
            "larder_stale_gets_total",
            Kind::Counter,
            "Gets that were answered with an entry whose time was over; they count as misses too.",
            |shard| shard.stale,
        ),
        ("larder_overloaded_total", Kind::Counter, "Requests that were refused for want of room.", |shard| {
            shard.overloaded
        }),
        ("larder_deadline_exceeded_total", Kind::Counter, "Requests that were not answered in time.", |shard| {
            shard.deadline_exceeded
        }),
        ("larder_malformed_total", Kind::Counter, "Frames that were no valid message.", |shard| shard.malformed),
        ("larder_connections", Kind::Gauge, "Open connections.", |shard| shard.connections),
    ];
    for (name, kind, help, of) in families {
        page.family(name, kind, help);
        shards.iter().for_each(|shard| page.sample(&[("shard", &shard.shard)], of(shard)));
    }
    type OfMemory = fn(&MemoryStats) -> u64;
    let families: [(&str, Kind, &str, OfMemory); 5] = [
        ("larder_memory_bytes", Kind::Gauge, "Memory of the shard, in segments of one size.", |memory| {
            memory.memory_bytes
        }),
        ("larder_live_bytes", Kind::Gauge, "Memory of entries that are there.", |memory| memory.live_bytes),
        ("larder_dead_bytes", Kind::Gauge, "Memory of former entries that is not free yet.", |memory| {
            memory.dead_bytes
        }),
        ("larder_written_bytes_total", Kind::Counter, "Bytes of entries that were written.", |memory| {
            memory.written_bytes
        }),
        ("larder_moved_bytes_total", Kind::Counter, "Bytes of entries that cleaning moved.", |memory| {
            memory.moved_bytes
        }),
    ];
    let memories = || shards.iter().filter_map(|shard| Some((shard.shard, shard.memory.as_ref()?)));
    for (name, kind, help, of) in families {
        page.family(name, kind, help);
        memories().for_each(|(shard, memory)| page.sample(&[("shard", &shard)], of(memory)));
    }
    page.family("larder_segments", Kind::Gauge, "Segments of memory, by what they are used for.");
    for (shard, memory) in memories() {
        for (usage, count) in [
            ("free", memory.segments_free),
            ("entries", memory.segments_log),
            ("index", memory.segments_index),
            ("ghosts", memory.segments_ghost),
        ] {
            page.sample(&[("shard", &shard), ("use", &usage)], count);
        }
    }
}

/// What was asked of this node, over all shards.
fn requests(page: &mut Page, tallies: &[Arc<Tally>]) {
    let mut all: BTreeMap<(usize, usize), Counted> = BTreeMap::new();
    for (kind, counted) in tallies.iter().flat_map(|tally| tally.counted()) {
        let sum = all.remove(&kind).map_or(counted.clone(), |sum| sum.plus(&counted));
        all.insert(kind, sum);
    }
    let help = "Requests that were answered, by what they asked for and how; each counts once, whatever keys it has.";
    page.family("larder_requests_total", Kind::Counter, help);
    for ((dialect, operation), counted) in &all {
        for (outcome, count) in OUTCOMES.iter().zip(counted.outcomes).filter(|(_, count)| *count > 0) {
            let labels: [(&str, &dyn Display); 3] =
                [("dialect", &DIALECTS[*dialect]), ("operation", &OPERATIONS[*operation]), ("result", outcome)];
            page.sample(&labels, count);
        }
    }
    page.family("larder_leases_total", Kind::Counter, "Rights to fill a key, by what became of them.");
    let answers = |operation: &str, outcome: Outcome| -> u64 {
        let of = all.iter().filter(|((_, of), _)| OPERATIONS[*of] == operation);
        of.map(|(_, counted)| counted.outcomes[outcome as usize]).sum()
    };
    for (event, operation, outcome) in [
        ("granted", "lease_get", Outcome::Done),
        ("filled", "lease_set", Outcome::Done),
        ("lost", "lease_set", Outcome::Unmet),
    ] {
        page.sample(&[("event", &event)], answers(operation, outcome));
    }
    let help = "From when a request was read to its answer, in steps of a millisecond.";
    page.family("larder_request_duration_seconds", Kind::Histogram, help);
    for ((dialect, operation), counted) in &all {
        let (dialect, operation) = (("dialect", &DIALECTS[*dialect] as &dyn Display), &OPERATIONS[*operation]);
        let mut sum = 0;
        for (class, count) in counted.durations.iter().enumerate() {
            sum += count;
            let most = DURATIONS_MS.get(class).map_or("+Inf".to_owned(), |ms| (*ms as f64 / 1000.0).to_string());
            page.part("_bucket", &[dialect, ("operation", operation), ("le", &most)], sum);
        }
        page.part("_sum", &[dialect, ("operation", operation)], counted.sum_ms as f64 / 1000.0);
        page.part("_count", &[dialect, ("operation", operation)], sum);
    }
}

/// Families of samples, one after the other.
struct Page(String);

impl Page {
    /// Samples of this name follow.
    fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// A sample of the last family.
    fn sample(&mut self, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.part("", labels, value);
    }

    /// A sample of the last family, whose name has an end.
    fn part(&mut self, end: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        let family = self.0.rfind("# TYPE ").and_then(|at| self.0[at..].split(' ').nth(2));
        let name = format!("{}{end}", family.expect("a family is begun before its samples"));
        let label = |(label, text): &(&str, &dyn Display)| {
            let text = text.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{label}=\"{text}\"")
        };
        match labels {
            [] => self.put(format_args!("{name} {value}\n")),
            labels => {
                let labels = labels.iter().map(label).collect::<Vec<_>>().join(",");
                self.put(format_args!("{name}{{{labels}}} {value}\n"));
            }
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::{Operation, Spoken};

    #[test]
    fn every_sample_has_a_family_and_labels_are_escaped() {
        let group = GroupStats { name: "a\"b\\c\nd".into(), hits: 3, misses: 4, evictions: 5, ..Default::default() };
        let shard = ShardStats { shard: 1, requests: 7, memory: Some(MemoryStats::default()), ..Default::default() };
        let stats = StatsResult {
            node: "n".into(),
            version: "larder 0".into(),
            uptime_ms: 1_500,
            groups: vec![group],
            shards: vec![shard],
        };
        let (tally, get) = (Tally::default(), Operation::of(&larder_protocol::Command::Get { key: b"k" }));
        tally.answered(Spoken::Http, get, Outcome::Hit);
        tally.took(Spoken::Http, get, 3);
        let (tallies, turns) = ([tally.into()], [Arc::new(CachePadded::new(AtomicU64::new(17)))]);
        let inside = Inside { tallies: &tallies, turns: &turns, is_ready: true };
        let page = exposition(&stats, &TopologyResult { epoch: 9, ..Default::default() }, inside);
        for line in [
            "larder_info{node=\"n\",version=\"larder 0\"} 1",
            "larder_uptime_seconds 1.5",
            "larder_ring_epoch 9",
            "larder_gets_total{group=\"a\\\"b\\\\c\\nd\",result=\"miss\"} 4",
            "larder_removals_total{group=\"a\\\"b\\\\c\\nd\",reason=\"evicted_for_budget\"} 5",
            "larder_executed_requests_total{shard=\"1\"} 7",
            "larder_reactor_turns_total{shard=\"0\"} 17",
            "larder_leases_total{event=\"granted\"} 0",
            "larder_requests_total{dialect=\"http\",operation=\"get\",result=\"hit\"} 1",
            "larder_request_duration_seconds_bucket{dialect=\"http\",operation=\"get\",le=\"0.002\"} 0",
            "larder_request_duration_seconds_bucket{dialect=\"http\",operation=\"get\",le=\"+Inf\"} 1",
            "larder_request_duration_seconds_count{dialect=\"http\",operation=\"get\"} 1",
            "larder_segments{shard=\"1\",use=\"free\"} 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}: {page}");
        }
        let mut families = Vec::new();
        for line in page.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(family) => families.push(family.split(' ').next().expect("a name")),
                None if line.starts_with("# HELP ") => {}
                None => {
                    let name = line.split(['{', ' ']).next().expect("a name");
                    let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                    let is_of_family = [Some(name), of_histogram].contains(&families.last().copied());
                    assert!(is_of_family, "{line}");
                }
            }
        }
        families.sort_unstable();
        assert!(families.windows(2).all(|pair| pair[0] != pair[1]), "each family once");
    }
}

//! What a shard counts, and how the counts of a node's shards are put together.

use alloc::boxed::Box;
use alloc::string::{String, ToString};

use larder_protocol::native::generated::{GroupStats, MemoryStats, ShardStats, StatsResult};
use larder_store::{GroupCounters, MemoryCounters, RemovalHook, Store};

/// Counters of one shard since it started, written by nobody else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests executed here; the part of a multi-key request that belongs here counts as one.
    pub requests: u64,
    /// Of those, the ones that another shard passed on.
    pub cross_core: u64,
    /// Requests, or parts of multi-key requests, that this shard sent to other nodes.
    pub forwarded: u64,
    /// Requests, or parts of multi-key requests, that this shard refused with OVERLOADED.
    pub overloaded: u64,
    /// Requests that this shard had passed on and that ran out of time.
    pub deadline_exceeded: u64,
    /// Keys that were to be loaded from an origin.
    pub loads: u64,
    /// Of those, the ones that the origin did not answer as it should.
    pub load_failures: u64,
    /// Gets that waited for a load that was under way.
    pub load_waits: u64,
    /// Loads that were begun while there was an entry to show.
    pub refreshes: u64,
    /// Gets that were answered with an entry whose time was over; they count as misses too.
    pub stale: u64,
    /// Open connections whose socket this shard serves. Written by the engine's owner.
    pub connections: u64,
    /// Frames from connections that were no valid message. Written by the engine's owner.
    pub malformed: u64,
}

/// The statistics of one shard.
pub(crate) fn of_shard<H: RemovalHook>(
    store: &Store<H>,
    counters: &Counters,
    shard: u16,
    (node, server): (&str, &str),
    uptime_ms: u64,
) -> StatsResult {
    let groups = store.groups().map(|(index, settings)| {
        let (counters, since) = (store.counters(index), store.policy_counters(index));
        let since_policy = (since != counters).then(|| Box::new(of_group(&since)));
        GroupStats {
            name: settings.name.clone(),
            policy: settings.policy.to_string(),
            since_policy,
            ..of_group(&counters)
        }
    });
    let shard = ShardStats {
        shard: u32::from(shard),
        requests: counters.requests,
        cross_core: counters.cross_core,
        overloaded: counters.overloaded,
        deadline_exceeded: counters.deadline_exceeded,
        connections: counters.connections,
        malformed: counters.malformed,
        forwarded: counters.forwarded,
        loads: counters.loads,
        load_failures: counters.load_failures,
        load_waits: counters.load_waits,
        refreshes: counters.refreshes,
        stale: counters.stale,
        memory: Some(of_memory(&store.memory())),
    };
    StatsResult {
        node: String::from(node),
        version: String::from(server),
        uptime_ms,
        groups: groups.collect(),
        shards: [shard].into(),
    }
}

fn of_group(counters: &GroupCounters) -> GroupStats {
    GroupStats {
        name: String::new(),
        policy: String::new(),
        entries: counters.entries - counters.invalid,
        bytes: counters.bytes,
        budget_bytes: counters.budget_bytes,
        hits: counters.hits,
        misses: counters.misses,
        sets: counters.sets,
        deletes: counters.deletes,
        evictions: counters.evictions,
        expirations: counters.expirations,
        ghost_hits: counters.ghost_hits,
        ghost_bytes: counters.ghost_bytes,
        evictions_for_memory: counters.evictions_for_memory,
        eviction_age_ms: counters.eviction_age_ms,
        invalidations: counters.invalidations,
        voids: counters.voids,
        replacements: counters.replacements,
        switching: counters.switching,
        since_policy: None,
    }
}

fn of_memory(counters: &MemoryCounters) -> MemoryStats {
    MemoryStats {
        memory_bytes: counters.memory_bytes,
        segment_bytes: counters.segment_bytes,
        segments_free: counters.segments_free,
        segments_log: counters.segments_log,
        segments_index: counters.segments_index,
        segments_ghost: counters.segments_ghost,
        live_bytes: counters.live_bytes,
        dead_bytes: counters.dead_bytes,
        written_bytes: counters.written_bytes,
        moved_bytes: counters.moved_bytes,
        moved_bytes_max: counters.moved_bytes_max,
        evictions: counters.evictions,
        index_waits: counters.index_waits,
    }
}

/// Adds the statistics of another shard: groups are summed by name, shards listed by number.
pub(crate) fn merge(total: &mut StatsResult, part: StatsResult) {
    for group in part.groups {
        match total.groups.iter_mut().find(|known| known.name == group.name) {
            Some(known) => {
                if known.since_policy.is_some() || group.since_policy.is_some() {
                    let mut since = since_policy(known);
                    add(&mut since, &since_policy(&group));
                    known.since_policy = Some(since);
                }
                add(known, &group);
            }
            None => total.groups.push(group),
        }
    }
    for shard in part.shards {
        let place = total.shards.partition_point(|known| known.shard < shard.shard);
        total.shards.insert(place, shard);
    }
    total.uptime_ms = total.uptime_ms.max(part.uptime_ms);
}

/// What a group has counted since it has its policy: all, where that is not told apart.
fn since_policy(group: &GroupStats) -> Box<GroupStats> {
    group.since_policy.clone().unwrap_or_else(|| {
        Box::new(GroupStats { name: String::new(), policy: String::new(), since_policy: None, ..group.clone() })
    })
}

fn add(total: &mut GroupStats, part: &GroupStats) {
    total.entries += part.entries;
    total.bytes += part.bytes;
    total.budget_bytes += part.budget_bytes;
    total.hits += part.hits;
    total.misses += part.misses;
    total.sets += part.sets;
    total.deletes += part.deletes;
    total.evictions += part.evictions;
    total.expirations += part.expirations;
    total.ghost_hits += part.ghost_hits;
    total.ghost_bytes += part.ghost_bytes;
    total.evictions_for_memory += part.evictions_for_memory;
    total.eviction_age_ms += part.eviction_age_ms;
    total.invalidations += part.invalidations;
    total.voids += part.voids;
    total.replacements += part.replacements;
    total.switching += part.switching;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_summed_and_shards_sorted() {
        let part = |shard: u32, hits: u64| StatsResult {
            groups: vec![GroupStats { name: "default".into(), hits, budget_bytes: 10, ..GroupStats::default() }],
            shards: vec![ShardStats { shard, requests: hits, ..ShardStats::default() }],
            ..StatsResult::default()
        };
        let mut total = part(1, 5);
        merge(&mut total, part(2, 7));
        merge(&mut total, part(0, 1));
        assert_eq!(total.groups.len(), 1);
        assert_eq!((total.groups[0].hits, total.groups[0].budget_bytes), (13, 30));
        let switched = |hits, since: Option<u64>| {
            let since_policy = since.map(|hits| Box::new(GroupStats { hits, ..GroupStats::default() }));
            let group = GroupStats { name: "default".into(), hits, since_policy, ..GroupStats::default() };
            StatsResult { groups: vec![group], ..StatsResult::default() }
        };
        let mut sum = switched(5, None);
        merge(&mut sum, switched(7, Some(2)));
        merge(&mut sum, switched(1, None));
        let group = &sum.groups[0];
        assert_eq!((group.hits, group.since_policy.as_ref().map(|since| since.hits)), (13, Some(8)));
        let shards: Vec<_> = total.shards.iter().map(|shard| (shard.shard, shard.requests)).collect();
        assert_eq!(shards, [(0, 1), (1, 5), (2, 7)]);
    }
}

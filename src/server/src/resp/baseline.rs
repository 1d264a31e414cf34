//! From where statistics are counted for those who have reset them.

use std::borrow::Cow;
use std::sync::Mutex;

use larder_protocol::native::generated::StatsResult;

use super::NOT_POISONED;

/// What had been counted when somebody reset it, of this node. The counters themselves go on, for others read them too.
#[derive(Debug, Default)]
pub struct Baseline(Mutex<Option<Counted>>);

#[derive(Debug)]
struct Counted {
    /// As many groups and shards as there were.
    stats: StatsResult,
    connections: Connections,
}

/// Connections since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Those of clients of RESP.
    pub accepted: u64,
    /// Those that there was no room for, of all protocols.
    pub rejected: u64,
}

impl Baseline {
    /// What was counted up to here counts no more.
    pub fn set(&self, stats: &StatsResult, connections: Connections) {
        *self.0.lock().expect(NOT_POISONED) = Some(Counted { stats: stats.clone(), connections });
    }

    /// What was counted since then, of groups and requests, and of connections.
    pub fn since<'s>(&self, stats: &'s StatsResult, connections: Connections) -> (Cow<'s, StatsResult>, Connections) {
        let counted = self.0.lock().expect(NOT_POISONED);
        let Some(Counted { stats: before, connections: connections_before }) = &*counted else {
            return (Cow::Borrowed(stats), connections);
        };
        let mut stats = stats.clone();
        for group in &mut stats.groups {
            let Some(before) = before.groups.iter().find(|known| known.name == group.name) else { continue };
            // One that was dropped and created since counts anew.
            if group.hits < before.hits || group.misses < before.misses || group.sets < before.sets {
                continue;
            }
            for (count, before) in [
                (&mut group.hits, before.hits),
                (&mut group.misses, before.misses),
                (&mut group.sets, before.sets),
                (&mut group.deletes, before.deletes),
                (&mut group.evictions, before.evictions),
                (&mut group.expirations, before.expirations),
            ] {
                *count = count.saturating_sub(before);
            }
        }
        for (shard, before) in stats.shards.iter_mut().zip(&before.shards) {
            shard.requests = shard.requests.saturating_sub(before.requests);
        }
        let connections = Connections {
            accepted: connections.accepted.saturating_sub(connections_before.accepted),
            rejected: connections.rejected.saturating_sub(connections_before.rejected),
        };
        (Cow::Owned(stats), connections)
    }
}

#[cfg(test)]
mod tests {
    use larder_protocol::native::generated::{GroupStats, ShardStats};

    use super::*;

    fn stats(hits: u64, entries: u64, requests: u64) -> StatsResult {
        let group = |name: &str| GroupStats { name: name.into(), hits, entries, ..GroupStats::default() };
        StatsResult {
            groups: vec![group("a"), group("b")],
            shards: vec![ShardStats { requests, ..ShardStats::default() }],
            ..StatsResult::default()
        }
    }

    #[test]
    fn what_was_counted_before_counts_no_more() {
        let baseline = Baseline::default();
        let so_many = |accepted, rejected| Connections { accepted, rejected };
        let (before, after) = (so_many(3, 1), so_many(4, 3));
        assert_eq!(
            baseline.since(&stats(5, 2, 9), before),
            (Cow::Owned(stats(5, 2, 9)), before),
            "nobody has reset it"
        );
        baseline.set(&stats(5, 2, 9), before);
        let counted = (Cow::Owned(stats(2, 1, 3)), so_many(1, 2));
        assert_eq!(baseline.since(&stats(7, 1, 12), after), counted, "entries are no counter");
        assert_eq!(baseline.since(&stats(4, 1, 12), after).0.groups[0].hits, 4, "it is another group of that name");
        baseline.set(&stats(7, 1, 12), after);
        assert_eq!(baseline.since(&stats(7, 1, 12), after), (Cow::Owned(stats(0, 1, 0)), so_many(0, 0)));
    }
}

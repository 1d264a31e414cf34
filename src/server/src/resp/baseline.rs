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
    accepted: u64,
}

impl Baseline {
    /// What was counted up to here counts no more.
    pub fn set(&self, stats: &StatsResult, accepted: u64) {
        *self.0.lock().expect(NOT_POISONED) = Some(Counted { stats: stats.clone(), accepted });
    }

    /// What was counted since then, of groups and requests, and of connections.
    pub fn since<'s>(&self, stats: &'s StatsResult, accepted: u64) -> (Cow<'s, StatsResult>, u64) {
        let counted = self.0.lock().expect(NOT_POISONED);
        let Some(Counted { stats: before, accepted: accepted_before }) = &*counted else {
            return (Cow::Borrowed(stats), accepted);
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
        (Cow::Owned(stats), accepted.saturating_sub(*accepted_before))
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
        assert_eq!(baseline.since(&stats(5, 2, 9), 3), (Cow::Owned(stats(5, 2, 9)), 3), "nobody has reset it");
        baseline.set(&stats(5, 2, 9), 3);
        assert_eq!(baseline.since(&stats(7, 1, 12), 4), (Cow::Owned(stats(2, 1, 3)), 1), "entries are no counter");
        assert_eq!(baseline.since(&stats(4, 1, 12), 4).0.groups[0].hits, 4, "it is another group of that name");
        baseline.set(&stats(7, 1, 12), 4);
        assert_eq!(baseline.since(&stats(7, 1, 12), 4), (Cow::Owned(stats(0, 1, 0)), 0));
    }
}

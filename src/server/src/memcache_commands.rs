//! How often commands of memcached's protocol were answered how, by the names that STATS gives these counts.

use std::sync::{Arc, Mutex};

use crate::resp::NOT_POISONED;
use crate::tally::{Outcome, Spoken, Tally};

/// What a count is the sum of: operations and their outcomes.
type Sum = &'static [(&'static str, Outcome)];

/// All meta commands.
const META: Sum = &{
    let operations = ["meta", "meta_delete", "meta_count", "meta_count_down"];
    let outcomes = [Outcome::Hit, Outcome::Miss, Outcome::Stale, Outcome::Done, Outcome::Unmet, Outcome::Error];
    let (mut all, mut at) = ([("", Outcome::Hit); 24], 0);
    while at < all.len() {
        all[at] = (operations[at / outcomes.len()], outcomes[at % outcomes.len()]);
        at += 1;
    }
    all
};
/// Names, and what they count.
const COUNTS: [(&str, Sum); 14] = [
    ("cmd_flush", &[("invalidate", Outcome::Done)]),
    (
        "cmd_touch",
        &[
            ("touch", Outcome::Done),
            ("touch", Outcome::Miss),
            ("get_and_touch", Outcome::Hit),
            ("get_and_touch", Outcome::Miss),
        ],
    ),
    ("cmd_meta", META),
    ("delete_hits", &[("delete", Outcome::Done), ("meta_delete", Outcome::Done)]),
    ("delete_misses", &[("delete", Outcome::Miss), ("meta_delete", Outcome::Miss)]),
    ("incr_hits", &[("count", Outcome::Hit), ("meta_count", Outcome::Hit)]),
    ("incr_misses", &[("count", Outcome::Miss), ("meta_count", Outcome::Miss)]),
    ("decr_hits", &[("count_down", Outcome::Hit), ("meta_count_down", Outcome::Hit)]),
    ("decr_misses", &[("count_down", Outcome::Miss), ("meta_count_down", Outcome::Miss)]),
    ("cas_hits", &[("compare_and_set", Outcome::Done)]),
    ("cas_misses", &[("compare_and_set", Outcome::Miss)]),
    ("cas_badval", &[("compare_and_set", Outcome::Unmet)]),
    ("touch_hits", &[("touch", Outcome::Done), ("get_and_touch", Outcome::Hit)]),
    ("touch_misses", &[("touch", Outcome::Miss), ("get_and_touch", Outcome::Miss)]),
];

/// See the module.
#[derive(Debug, Default)]
pub struct Commands {
    /// Of each shard.
    tallies: Vec<Arc<Tally>>,
    /// What had been counted when somebody reset it.
    before: Mutex<[u64; COUNTS.len()]>,
}

impl Commands {
    /// From what shards count.
    pub fn new(tallies: Vec<Arc<Tally>>) -> Self {
        Self { tallies, ..Self::default() }
    }

    /// What was counted is counted no more.
    pub fn reset(&self) {
        *self.before.lock().expect(NOT_POISONED) = self.counted();
    }

    /// Names and counts since the last reset.
    pub fn since(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let before = *self.before.lock().expect(NOT_POISONED);
        let counts = self.counted().into_iter().zip(before).map(|(count, before)| count.saturating_sub(before));
        COUNTS.iter().map(|(name, _)| *name).zip(counts)
    }

    fn counted(&self) -> [u64; COUNTS.len()] {
        let count = |operation, outcome| {
            self.tallies.iter().map(|tally| tally.count(Spoken::Memcache, operation, outcome)).sum::<u64>()
        };
        COUNTS.map(|(_, sum)| sum.iter().map(|(operation, outcome)| count(operation, *outcome)).sum())
    }
}

#[cfg(test)]
mod tests {
    use larder_protocol::Command;

    use super::*;
    use crate::tally::Operation;

    #[test]
    fn counts_are_of_all_shards_and_of_this_protocol_since_the_last_reset() {
        let tallies: Vec<Arc<Tally>> = vec![Arc::default(), Arc::default()];
        let commands = Commands::new(tallies.clone());
        let touch = Operation::of(&Command::Touch {
            key: b"k",
            expiry: larder_protocol::Expiry::Default,
            only: larder_protocol::TouchCondition::Always,
        });
        for tally in &tallies {
            tally.answered(Spoken::Memcache, touch, Outcome::Done);
            tally.answered(Spoken::Resp, touch, Outcome::Done);
        }
        tallies[1].answered(Spoken::Memcache, touch, Outcome::Miss);
        let found = |name: &str| commands.since().find(|(known, _)| *known == name).expect("it is counted").1;
        assert_eq!(["cmd_touch", "touch_hits", "touch_misses", "cas_hits"].map(found), [3, 2, 1, 0]);
        commands.reset();
        tallies[0].answered(Spoken::Memcache, touch, Outcome::Miss);
        assert_eq!(["cmd_touch", "touch_hits", "touch_misses", "cas_hits"].map(found), [1, 0, 1, 0]);
    }
}

//! How often commands of RESP were asked for, since somebody has reset that.

use std::sync::{Arc, Mutex};

use larder_protocol::resp::Which;

use super::NOT_POISONED;
use crate::tally::Tally;

/// See the module.
#[derive(Debug, Default)]
pub struct Commands {
    /// Of each shard.
    tallies: Vec<Arc<Tally>>,
    /// What had been counted when it was reset, by the numbers of the commands; nothing: it never was.
    before: Mutex<Vec<u64>>,
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

    /// What was asked for since then, how often, and how often it was rejected.
    pub fn since(&self) -> Vec<(Which, u64, u64)> {
        let before = self.before.lock().expect(NOT_POISONED);
        let before = before.iter().copied().chain(std::iter::repeat(0));
        let counts: Vec<u64> =
            self.counted().into_iter().zip(before).map(|(count, before)| count.saturating_sub(before)).collect();
        let (asked, rejected) = counts.split_at(Which::COUNT);
        let counts = asked.iter().copied().zip(rejected.iter().copied());
        let all = (0..).map_while(Which::of).zip(counts).map(|(which, (asked, rejected))| (which, asked, rejected));
        all.filter(|(_, asked, rejected)| asked + rejected > 0).collect()
    }

    fn counted(&self) -> Vec<u64> {
        let mut counts = vec![0; 2 * Which::COUNT];
        for tally in &self.tallies {
            counts.iter_mut().zip(tally.commands()).for_each(|(count, more)| *count += more);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_all_shards_are_counted_since_the_last_reset() {
        let tallies: Vec<Arc<Tally>> = vec![Arc::default(), Arc::default()];
        let commands = Commands::new(tallies.clone());
        assert!(commands.since().is_empty());
        tallies.iter().for_each(|tally| tally.asked(Which::GET));
        assert_eq!(commands.since(), [(Which::GET, 2, 0)]);
        commands.reset();
        tallies[1].asked(Which::SET);
        tallies[0].rejected(Which::GET);
        assert_eq!(commands.since(), [(Which::GET, 0, 1), (Which::SET, 1, 0)]);
    }
}

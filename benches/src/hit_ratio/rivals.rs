//! Caches of other people, in the settings that they come with, one of one shard each.

use foyer_memory::{CacheBuilder, EvictionConfig, S3FifoConfig};

/// A library that keeps a bounded number of objects in process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// `quick_cache`, without its locks: Clock-PRO and S3-FIFO combined.
    QuickCache,
    /// `moka`: W-TinyLFU. Its deferred work is done after each request, which it otherwise does in batches.
    Moka,
    /// `foyer`, its part in memory, with S3-FIFO.
    Foyer,
}

impl Rival {
    /// All of them.
    pub const ALL: [Rival; 3] = [Rival::QuickCache, Rival::Moka, Rival::Foyer];

    /// What the library is called.
    pub fn name(self) -> &'static str {
        match self {
            Rival::QuickCache => "quick_cache",
            Rival::Moka => "moka",
            Rival::Foyer => "foyer",
        }
    }

    /// Asks for each key, stores what is not there, in room for so many objects, and returns the number of misses.
    pub(super) fn misses(self, cache_objects: u64, keys: &[u64]) -> u64 {
        let objects = usize::try_from(cache_objects).expect("memory for each of them");
        match self {
            Rival::QuickCache => {
                let mut cache = quick_cache::unsync::Cache::new(objects);
                count(keys, |key| {
                    let is_there = cache.get(&key).is_some();
                    if !is_there {
                        cache.insert(key, ());
                    }
                    is_there
                })
            }
            Rival::Moka => {
                let cache = moka::sync::Cache::new(cache_objects);
                count(keys, |key| {
                    let is_there = cache.get(&key).is_some();
                    if !is_there {
                        cache.insert(key, ());
                    }
                    cache.run_pending_tasks();
                    is_there
                })
            }
            Rival::Foyer => {
                let eviction = EvictionConfig::S3Fifo(S3FifoConfig::default());
                let cache: foyer_memory::Cache<u64, ()> =
                    CacheBuilder::new(objects).with_shards(1).with_eviction_config(eviction).build();
                count(keys, |key| {
                    let is_there = cache.get(&key).is_some();
                    if !is_there {
                        cache.insert(key, ());
                    }
                    is_there
                })
            }
        }
    }
}

fn count(keys: &[u64], mut ask: impl FnMut(u64) -> bool) -> u64 {
    keys.iter().map(|&key| u64::from(!ask(key))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_missed_once_and_what_does_not_is_missed_again() {
        let keys: Vec<u64> = (0..1_000).chain(0..1_000).collect();
        for rival in Rival::ALL {
            // quick_cache divides its objects between two lists, and keeps somewhat fewer of keys that are seen once.
            let misses = rival.misses(2_000, &keys);
            assert_eq!(misses, 1_000, "{}", rival.name());
            let misses = rival.misses(100, &keys);
            assert!((1_900..=2_000).contains(&misses), "{}: {misses}", rival.name());
        }
    }
}

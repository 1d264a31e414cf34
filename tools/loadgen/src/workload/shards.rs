//! Which shard of a node serves which key, for load that goes to the right shard at once.

use larder_ring::{key_hash, shard};

use super::{KeySampler, KeySpace};
use crate::error::LoadError;
use crate::limits::{REDRAWS_PER_SHARD_MAX, SHARD_AWARE_KEYS_MAX};

/// The shard of every key of a key space.
#[derive(Clone, Debug)]
pub struct ShardMap {
    shards: u16,
    of_key: Vec<u8>,
}

const _: () = assert!(larder_ring::SHARDS_MAX as usize <= 1 << u8::BITS, "a shard's number fits in a byte");

impl ShardMap {
    /// Hashes every key as a server does.
    ///
    /// # Errors
    /// More keys than there is a map for, or a shard without a key.
    pub fn new(keys: &KeySpace, group_hash: u64, shards: u16) -> Result<ShardMap, LoadError> {
        let wrong = |remedy: String| LoadError::option("--keys", keys.count(), remedy);
        if keys.count() > SHARD_AWARE_KEYS_MAX {
            return Err(wrong(format!("at most {SHARD_AWARE_KEYS_MAX} with --shard-aware")));
        }
        let mut writer = keys.writer();
        let of_key: Vec<u8> =
            (0..keys.count()).map(|number| shard(key_hash(writer.key(number), group_hash), shards) as u8).collect();
        match (0..shards).find(|&shard| !of_key.iter().any(|&of| u16::from(of) == shard)) {
            None => Ok(ShardMap { shards, of_key }),
            Some(empty) => Err(wrong(format!("none of them is on shard {empty} of {shards}; use more keys"))),
        }
    }

    /// The shard that a connection is for.
    pub fn of_connection(&self, connection: usize) -> u16 {
        (connection % usize::from(self.shards)) as u16
    }

    /// The shard of a key.
    pub fn of_key(&self, key: u64) -> u16 {
        u16::from(self.of_key[key as usize])
    }

    /// A key of `shard`, as likely as it is among the keys of that shard. If none was drawn within a bound, because
    /// the distribution is very uneven, the one behind the last draw.
    pub fn sample(&self, shard: u16, sampler: &mut KeySampler, rng: &mut fastrand::Rng) -> u64 {
        let mut key = sampler.sample(rng);
        for _ in 0..usize::from(self.shards) * REDRAWS_PER_SHARD_MAX {
            if self.of_key(key) == shard {
                return key;
            }
            key = sampler.sample(rng);
        }
        let (before, behind) = self.of_key.split_at(key as usize);
        let found = |of: &u8| u16::from(*of) == shard;
        match behind.iter().position(found) {
            Some(place) => key + place as u64,
            None => before.iter().position(found).expect("every shard has a key") as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Distribution;

    #[test]
    fn every_key_that_is_drawn_for_a_shard_is_on_it_and_each_comes_up() {
        let seed = 11;
        let mut rng = fastrand::Rng::with_seed(seed);
        let keys = KeySpace::new(1000, "key:", 16, false).unwrap();
        let map = ShardMap::new(&keys, 77, 3).unwrap();
        for text in ["uniform", "zipf:1.2", "hotspot:0.1%:100%"] {
            let mut sampler = KeySampler::new(text.parse().unwrap(), keys.count(), 0..keys.count());
            let mut seen = vec![false; 1000];
            for draw in 0..30_000 {
                let wanted = map.of_connection(draw);
                let key = map.sample(wanted, &mut sampler, &mut rng);
                assert_eq!(map.of_key(key), wanted, "{text}, seed {seed}");
                seen[key as usize] = true;
            }
            let all = text.parse::<Distribution>().unwrap() == Distribution::Uniform;
            assert!(!all || seen.iter().all(|&seen| seen), "seed {seed}");
        }
    }

    #[test]
    fn a_shard_without_a_key_is_refused() {
        let keys = KeySpace::new(2, "key:", 16, false).unwrap();
        let error = ShardMap::new(&keys, 77, 3).unwrap_err().to_string();
        assert!(error.contains("--keys 2") && error.contains("use more keys"), "{error}");
    }
}

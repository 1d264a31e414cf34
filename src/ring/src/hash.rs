//! From a key to 64 bits, and which of the bits choose what.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::limits::{SHARD_BITS, SHARD_BITS_SHIFT, SLOT_BITS};

/// The group that 0 stands for on the wire. It is placed by the hash of this name like any other group.
pub const DEFAULT_GROUP: &str = "default";

/// Hash of a group's name: XXH3-64 of its UTF-8 bytes, seeded with the cluster seed.
pub fn group_hash(name: &str, cluster_seed: u64) -> u64 {
    xxh3_64_with_seed(name.as_bytes(), cluster_seed)
}

/// Hash of a key: XXH3-64 of its bytes, seeded with the hash of its group.
#[inline]
pub fn key_hash(key: &[u8], group_hash: u64) -> u64 {
    xxh3_64_with_seed(key, group_hash)
}

/// A slot: one of [`crate::SLOTS`] equal ranges of the hash, owned by one node as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// The slot of a hash: its top bits.
#[inline]
pub fn slot(hash: u64) -> Slot {
    Slot((hash >> (u64::BITS - SLOT_BITS)) as u32)
}

/// The shard of a hash on a node with `shards` shards, at least 1: bits 28 to 43, scaled by multiply and shift. They
/// are independent of the slot, so a node's shards are even whichever slots it owns.
#[inline]
pub fn shard(hash: u64, shards: u16) -> u16 {
    debug_assert!(shards > 0, "a node has shards");
    let bits = (hash >> SHARD_BITS_SHIFT) & ((1 << SHARD_BITS) - 1);
    ((bits * u64::from(shards)) >> SHARD_BITS) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{SHARDS_MAX, SLOTS};

    #[test]
    fn slot_is_the_top_bits() {
        assert_eq!(slot(0), Slot(0));
        assert_eq!(slot(u64::MAX), Slot(SLOTS as u32 - 1));
        assert_eq!(slot(0x8000_0000_0000_0000), Slot(SLOTS as u32 / 2));
    }

    #[test]
    fn shard_looks_at_its_own_bits_only() {
        assert_eq!(shard(!(0xFFFF << 28), 256), 0, "every other bit set");
        assert_eq!(shard(0xFFFF << 28, 256), 255);
        assert_eq!(shard(0x8000 << 28, 2), 1);
        assert_eq!(shard(0x7FFF << 28, 2), 0);
        assert_eq!(shard(u64::MAX, 1), 0);
    }

    #[test]
    fn every_number_of_shards_is_even() {
        for shards in 1..=SHARDS_MAX {
            let mut counts = vec![0u32; usize::from(shards)];
            for bits in 0..1u64 << SHARD_BITS {
                counts[usize::from(shard(bits << SHARD_BITS_SHIFT, shards))] += 1;
            }
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 1, "{shards} shards: {least}..{most} of 65536");
        }
    }
}

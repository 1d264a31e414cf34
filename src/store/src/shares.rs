//! What fits into the memory of a shard, for who has to know before there is a store.

use crate::block::Shape;
use crate::limits::{ENTRY_INDEX_BYTES, ENTRY_SHARE, SEGMENTS_FIXED, VALUE_BYTES_MAX};
use crate::region::segmentation;

/// Bytes of one of the segments that a shard's memory of so many bytes is cut into. A group should have more than one.
pub fn segment_bytes(memory_bytes: u64) -> u64 {
    segmentation(memory_bytes as usize).1 as u64
}

/// The longest value, in bytes, that a group with this budget on a shard with this memory takes under a key of one
/// byte; longer keys take away from it. At most [`VALUE_BYTES_MAX`], and 0 if there is room for none.
pub fn value_bytes_max(memory_bytes: u64, budget_bytes: u64) -> u64 {
    let (segments, segment_bytes) = segmentation(memory_bytes as usize);
    let room = entry_bytes_max(segments, segment_bytes).min(budget_bytes.saturating_sub(ENTRY_INDEX_BYTES as u64));
    let fits = |value_bytes: usize| Shape::of(1, value_bytes, segment_bytes).total_bytes(segment_bytes) as u64 <= room;
    // Longer values take more, so that the first that does not fit is found by halving.
    let (mut fitting, mut too_long) = (0, VALUE_BYTES_MAX + 1);
    while fitting + 1 < too_long {
        let middle = fitting.midpoint(too_long);
        if fits(middle) {
            fitting = middle;
        } else {
            too_long = middle;
        }
    }
    fitting as u64
}

/// The most bytes that one entry may take of so many segments.
pub(crate) fn entry_bytes_max(segments: usize, segment_bytes: usize) -> u64 {
    (segments.saturating_sub(SEGMENTS_FIXED) / ENTRY_SHARE * segment_bytes) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{BUDGET_BYTES_MIN, MEMORY_BYTES_MIN};
    use crate::{Charge, GroupSettings, Key, NoHook, PolicyKind, Store, StoreError, StoreSettings, Write};

    #[test]
    fn the_longest_value_is_stored_and_a_longer_one_is_not() {
        for (memory_bytes, budget_bytes) in [
            (MEMORY_BYTES_MIN, MEMORY_BYTES_MIN),
            (MEMORY_BYTES_MIN, BUDGET_BYTES_MIN),
            (1 << 20, 1 << 20),
            (5 << 20, 100_000),
            (32 << 20, 32 << 20),
            (300 << 20, 300 << 20),
        ] {
            let settings = StoreSettings {
                shard: 0,
                value_bytes_max: VALUE_BYTES_MAX,
                memory_bytes,
                key_hash: |_, key| u64::from(key[0]),
            };
            let mut store = Store::new(settings, NoHook);
            let group = GroupSettings {
                name: "group".into(),
                budget_bytes,
                policy: PolicyKind::Lru.into(),
                ttl_ms: 0,
                ttl_jitter: 0,
                hash_seed: 0,
                charge: Charge::Bytes,
            };
            let group = store.create_group(group).unwrap();
            let longest = value_bytes_max(memory_bytes, budget_bytes) as usize;
            assert!(longest > 0);
            let value = vec![7; longest + 1];
            for round in 0..4_u8 {
                let key = Key { group, hash: u64::from(round), bytes: &[round] };
                let write = |value| Write { value, ..Write::default() };
                assert!(store.set(key, write(&value[..longest]), 1).is_ok(), "{longest} of {memory_bytes}");
                let longer = store.set(key, write(&value), 1);
                assert!(longest == VALUE_BYTES_MAX || longer == Err(StoreError::TooLarge), "{longest} + 1");
            }
            store.validate();
        }
    }

    #[test]
    fn too_little_memory_has_room_for_nothing() {
        assert_eq!(value_bytes_max(0, 0), 0);
        assert_eq!(value_bytes_max(1 << 30, 40), 0);
        assert_eq!(segment_bytes(128 << 20), 256 << 10);
    }
}

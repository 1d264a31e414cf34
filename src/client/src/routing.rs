//! Which node and shard a key belongs to.

use larder_ring::{Place, Topology, key_hash};

/// The place of `key` in the group with `group_hash`.
pub(crate) fn place(topology: &Topology, group_hash: u64, key: &[u8]) -> Place {
    topology.place(key_hash(key, group_hash))
}

/// Keys of a batch that go to one shard in one frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) place: Place,
    /// Which keys of the batch, in its order.
    pub(crate) indices: Vec<u32>,
}

/// The bounds of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameBounds {
    pub(crate) keys_max: usize,
    pub(crate) bytes_max: usize,
}

/// Groups `keys` (index in the batch, place, bytes in a frame) by shard, and cuts what is too much for one frame. A key
/// that alone is above the bound in bytes gets a frame of its own. The order is that of the batch within a shard, and
/// that of (node, shard) between them.
pub(crate) fn split(mut keys: Vec<(u32, Place, usize)>, bounds: FrameBounds) -> Vec<Part> {
    keys.sort_by_key(|(_, place, _)| (place.node.0, place.shard));
    let mut parts: Vec<Part> = Vec::new();
    let mut part_bytes = 0;
    for (index, place, bytes) in keys {
        match parts.last_mut() {
            Some(part)
                if part.place == place
                    && part.indices.len() < bounds.keys_max
                    && part_bytes + bytes <= bounds.bytes_max =>
            {
                part.indices.push(index);
                part_bytes += bytes;
            }
            _ => {
                parts.push(Part { place, indices: vec![index] });
                part_bytes = bytes;
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use larder_ring::NodeIndex;

    use super::*;

    #[test]
    fn random_batches_are_split_without_loss_within_bounds_and_in_order() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let bounds = FrameBounds { keys_max: rng.usize(1..20), bytes_max: rng.usize(1..500) };
            let keys: Vec<(u32, Place, usize)> = (0..rng.u32(0..300))
                .map(|index| {
                    let place = Place { node: NodeIndex(rng.u16(0..3)), shard: rng.u16(0..4) };
                    (index, place, rng.usize(0..200))
                })
                .collect();
            let parts = split(keys.clone(), bounds);
            let mut seen = vec![false; keys.len()];
            for part in &parts {
                assert!(!part.indices.is_empty() && part.indices.len() <= bounds.keys_max, "seed {seed}");
                assert!(part.indices.is_sorted(), "seed {seed}: {part:?}");
                let bytes: usize = part.indices.iter().map(|index| keys[*index as usize].2).sum();
                assert!(bytes <= bounds.bytes_max || part.indices.len() == 1, "seed {seed}: {bytes} bytes");
                for index in &part.indices {
                    assert_eq!(keys[*index as usize].1, part.place, "seed {seed}");
                    assert!(!std::mem::replace(&mut seen[*index as usize], true), "seed {seed}: {index} twice");
                }
            }
            assert!(seen.into_iter().all(|seen| seen), "seed {seed}: a key was lost");
        }
    }

    #[test]
    fn one_frame_per_shard_when_it_fits() {
        let place = |shard| Place { node: NodeIndex(0), shard };
        let keys = (0..100).map(|index| (index, place((index % 4) as u16), 10)).collect();
        let parts = split(keys, FrameBounds { keys_max: 1_000, bytes_max: 10_000 });
        assert_eq!(parts.len(), 4);
        assert!(parts.iter().all(|part| part.indices.len() == 25));
    }
}

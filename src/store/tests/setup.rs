//! The stores that operations run on.

use larder_store::{Charge, PolicyKind};

use crate::operation::{GROUPS, KEYS};

/// What a run begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) memory_bytes: u64,
    pub(crate) value_bytes_max: usize,
    /// Memory may be short, so that entries leave although their group has room.
    pub(crate) is_tight: bool,
    /// Keys have so many hashes.
    pub(crate) hashes: u64,
    pub(crate) groups: [Specification; GROUPS as usize],
}

/// Policy, charge, budget, TTL in ms and its jitter in percent.
pub(crate) type Specification = (PolicyKind, Charge, u64, u64, u8);

impl Setup {
    /// One of all that there are.
    pub(crate) fn of(choice: u8) -> Self {
        let seed = u64::from(choice / 4);
        match choice % 4 {
            0 => Self::roomy(seed),
            1 | 2 => Self::tight(seed),
            _ => Self { hashes: 1 + seed % 2, ..Self::tight(seed) },
        }
    }

    /// Budgets are all that rules.
    pub(crate) fn roomy(seed: u64) -> Self {
        let groups = [
            (PolicyKind::Lru, Charge::Bytes, 4096, 0, 0),
            (PolicyKind::TwoQ, Charge::Bytes, 4096 + 500 * (seed % 8), 0, 0),
            (PolicyKind::Lru, Charge::Objects, 1 + seed % 16, 300, 0),
            (PolicyKind::TwoQ, Charge::Objects, 20, 0, 0),
            (PolicyKind::Lru, Charge::Bytes, 16_000, 500, 10 * (seed % 6) as u8),
        ];
        // With odd seeds many keys share a hash.
        let hashes = if seed.is_multiple_of(2) { u64::MAX } else { 1 + u64::from(KEYS) / 4 };
        Self { memory_bytes: 4 << 20, value_bytes_max: 6000, is_tight: false, hashes, groups }
    }

    /// Budgets are as large as memory or larger than it, so that every other write cleans or evicts for want of it.
    pub(crate) fn tight(seed: u64) -> Self {
        let mut setup = Self::roomy(seed);
        for (group, budget) in [(0, 60_000), (1, 60_000), (2, 60), (3, 60), (4, 100_000)] {
            setup.groups[group].2 = budget;
        }
        let memory_bytes = (16 + 2 * (seed % 4)) * (16 << 10);
        // From time to time values are longer than any entry may be here.
        let value_bytes_max = if seed % 3 == 2 { 70_000 } else { 30_000 };
        Self { memory_bytes, value_bytes_max, is_tight: true, ..setup }
    }
}

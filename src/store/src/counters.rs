//! What a group counts.

/// Counters of one group on one shard, since it was created; the first four are the state at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounters {
    /// Entries held, those among them that have expired and are not yet reclaimed.
    pub entries: u64,
    /// What these entries are charged with: bytes, or objects under [`crate::Charge::Objects`].
    pub bytes: u64,
    /// What ghosts are charged with, in the same unit; `bytes` and this never exceed the budget together.
    pub ghost_bytes: u64,
    /// The budget on this shard, in the same unit.
    pub budget_bytes: u64,
    /// Keys found by get and touch.
    pub hits: u64,
    /// Keys not found by get and touch.
    pub misses: u64,
    /// Writes that succeeded, by whatever operation.
    pub sets: u64,
    /// Entries removed by delete.
    pub deletes: u64,
    /// Entries removed because the room was needed.
    pub evictions: u64,
    /// Entries removed because their time was over.
    pub expirations: u64,
    /// New entries that the policy remembered from before.
    pub ghost_hits: u64,
}

/// What one call of [`crate::Store::reclaim`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Expired entries removed.
    pub expired: u64,
    /// Entries removed that their group's invalidation had made absent.
    pub invalidated: u64,
    /// What these entries were charged with, over all groups.
    pub bytes: u64,
    /// Whether another call at this time is likely to find more.
    pub more: bool,
}

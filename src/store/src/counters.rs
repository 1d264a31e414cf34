//! What a group counts.

/// Counters of one group on one shard, since it was created; the first five and the last are the state at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounters {
    /// Entries held, those among them that have expired and are not yet reclaimed.
    pub entries: u64,
    /// Of these, those that the group's invalidation has made absent, and that are not yet reclaimed.
    pub invalid: u64,
    /// What these entries are charged with: bytes, or objects under [`crate::Charge::Objects`].
    pub bytes: u64,
    /// What ghosts are charged with, in the same unit; `bytes` and this never exceed the budget together, unless it was
    /// lowered a moment ago.
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
    /// Of these, how many for want of memory, while the group was within its budget.
    pub evictions_for_memory: u64,
    /// How long ago evicted entries had been written, in ms, summed up.
    pub eviction_age_ms: u64,
    /// Entries removed because their time was over.
    pub expirations: u64,
    /// Entries removed because their group was invalidated.
    pub invalidations: u64,
    /// Entries removed by [`crate::Store::void`].
    pub voids: u64,
    /// Values replaced by others under the same key.
    pub replacements: u64,
    /// New entries that the policy remembered from before.
    pub ghost_hits: u64,
    /// Entries that a former policy of the group still has, which the present one takes over.
    pub switching: u64,
}

impl GroupCounters {
    /// What was counted after `before`, and the present state.
    pub fn since(self, before: Self) -> Self {
        Self {
            hits: self.hits - before.hits,
            misses: self.misses - before.misses,
            sets: self.sets - before.sets,
            deletes: self.deletes - before.deletes,
            evictions: self.evictions - before.evictions,
            evictions_for_memory: self.evictions_for_memory - before.evictions_for_memory,
            eviction_age_ms: self.eviction_age_ms - before.eviction_age_ms,
            expirations: self.expirations - before.expirations,
            invalidations: self.invalidations - before.invalidations,
            voids: self.voids - before.voids,
            replacements: self.replacements - before.replacements,
            ghost_hits: self.ghost_hits - before.ghost_hits,
            ..self
        }
    }
}

/// What one call of [`crate::Store::reclaim`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Expired entries removed.
    pub expired: u64,
    /// Entries removed that their group's invalidation had made absent.
    pub invalidated: u64,
    /// Entries evicted because the budget of their group was lowered.
    pub evicted: u64,
    /// What these entries were charged with, over all groups.
    pub bytes: u64,
    /// Whether another call at this time is likely to find more.
    pub more: bool,
    /// Whether another call at this time has something to look at: an entry may have expired that was not come across yet.
    pub amid_round: bool,
    /// Whether a budget that was lowered is not met yet.
    pub shrinking: bool,
}

/// The memory of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCounters {
    /// All of it, in bytes.
    pub memory_bytes: u64,
    /// Bytes of one segment.
    pub segment_bytes: u64,
    /// Free segments.
    pub segments_free: u64,
    /// Segments that hold entries.
    pub segments_log: u64,
    /// Segments of the index.
    pub segments_index: u64,
    /// Segments that hold ghosts.
    pub segments_ghost: u64,
    /// How often a segment was taken for any of these since the start.
    pub segments_taken: u64,
    /// Lines of 64 bytes in which the index has its entries, ten at most in each.
    pub index_lines: u64,
    /// Whether the index would grow if more segments were free; look-ups take a little longer meanwhile.
    pub index_waits: bool,
    /// Places of entries that the index moved from one slot to another since the start.
    pub index_moves: u64,
    /// Bytes of entries that are held.
    pub live_bytes: u64,
    /// Bytes of former entries that are not free yet.
    pub dead_bytes: u64,
    /// Bytes of entries written since the start.
    pub written_bytes: u64,
    /// Bytes of entries moved by cleaning since the start; in relation to `written_bytes`, the write amplification.
    pub moved_bytes: u64,
    /// The most that one write moved, in bytes.
    pub moved_bytes_max: u64,
    /// Entries evicted for want of memory, while their group was within its budget; a part of
    /// [`GroupCounters::evictions`].
    pub evictions: u64,
}

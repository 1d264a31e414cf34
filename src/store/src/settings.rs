//! What a store and its groups are told when they are created.

use alloc::string::String;

use crate::PolicySettings;

/// Settings of one shard's store.
#[derive(Clone, Copy, Debug)]
pub struct StoreSettings {
    /// The shard's number; the low bits of every version.
    pub shard: u8,
    /// Longest value that is accepted, in bytes; at most [`crate::limits::VALUE_BYTES_MAX`].
    pub value_bytes_max: usize,
    /// All memory that entries, index and ghosts may ever take, in bytes, from [`crate::limits::MEMORY_BYTES_MIN`] to
    /// [`crate::limits::REGION_BYTES_MAX`]. It is reserved at once and backed by pages little by little, see [`crate::Ahead`].
    pub memory_bytes: u64,
    /// The hash of a key, given the seed of its group. Hashes are not stored, so the store computes that of an entry
    /// again when it evicts or moves it.
    pub key_hash: fn(u64, &[u8]) -> u64,
}

/// Settings of one group on one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// The group's name, unique in its store.
    pub name: String,
    /// This shard's share of the group's budget: bytes, or objects under [`Charge::Objects`].
    pub budget_bytes: u64,
    /// Who is evicted.
    pub policy: PolicySettings,
    /// How long an entry lives whose writer does not say, in ms; 0: for ever.
    pub ttl_ms: u64,
    /// By up to how many percent `ttl_ms` is made longer or shorter for each entry, so that what was written together
    /// does not expire together; at most [`crate::limits::TTL_JITTER_MAX`]. Times that a writer gives are exact.
    pub ttl_jitter: u8,
    /// The seed for [`StoreSettings::key_hash`].
    pub hash_seed: u64,
    /// What an entry costs.
    pub charge: Charge,
}

/// What an entry costs its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Charge {
    /// The bytes that it takes, see [`crate::Store::entry_bytes`]; ghosts cost [`crate::limits::GHOST_BYTES`] of the
    /// same budget.
    #[default]
    Bytes,
    /// One, whatever its size; the budget is a number of entries and ghosts cost nothing. This is how published miss
    /// ratios count. Such a group may take whatever memory the others leave.
    Objects,
}

/// A group of a store; given by [`crate::Store::create_group`], and valid in that store only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupIndex(pub u16);

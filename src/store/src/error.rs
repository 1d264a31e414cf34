//! Why the store did not do what it was asked.

use alloc::string::String;

use crate::{PolicySettings, limits};

/// Why an operation on an entry was not done. Nothing was changed, except that an entry that had expired may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The key is absent.
    #[error("the key is not there")]
    NotFound,
    /// The key is present, and the condition was that it is absent.
    #[error("the key is there already")]
    Exists,
    /// The entry has another version than the one named.
    #[error("the entry has another version")]
    VersionMismatch,
    /// The key or the value is above its limit, or the entry costs more than its group's whole budget on this shard, or
    /// more than any entry can have of its memory (see [`crate::Store::entry_bytes_max`]).
    #[error("the entry is above the limit for values, or above its group's budget on this shard")]
    TooLarge,
    /// The value is no decimal integer of 64 bits.
    #[error("the value is no decimal integer of 64 bits")]
    NotANumber,
    /// The sum is outside 64 bits.
    #[error("the sum is outside the range of a signed integer of 64 bits")]
    OutOfRange,
}

/// Why a group was not created or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The name is taken.
    #[error("there is a group {name:?} already; choose another name")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// The name is empty or too long.
    #[error("the name of a group has 1 to {} bytes, {name:?} has {}", limits::GROUP_NAME_BYTES_MAX, name.len())]
    NameLength {
        /// The name.
        name: String,
    },
    /// No place for one more group.
    #[error("group {name:?} is one more than the {} that a shard can have; use fewer", limits::GROUPS_MAX)]
    TooManyGroups {
        /// Name of the group that was to be created.
        name: String,
    },
    /// The share of a shard is too small to be of use.
    #[error(
        "group {name:?} has a budget of {budget} on each shard, the minimum is {minimum}; raise it or use fewer shards"
    )]
    BudgetTooSmall {
        /// The group.
        name: String,
        /// Its budget on this shard.
        budget: u64,
        /// The least that is accepted, in the same unit.
        minimum: u64,
    },
    /// The budgets of a shard's groups exceed its memory.
    #[error(
        "group {name:?} has a budget of {budget} bytes on each shard, where the other groups leave {room} of its memory; lower it or raise the memory"
    )]
    BudgetTooLarge {
        /// The group.
        name: String,
        /// Its budget on this shard, in bytes.
        budget: u64,
        /// What the other groups leave, in bytes.
        room: u64,
    },
    /// Entries are still on their way from one policy to another.
    #[error(
        "group {name:?} still goes to policy {policy}, {entries_left} entries of a shard are left with the former one; try again when it is done"
    )]
    Switching {
        /// The group.
        name: String,
        /// The policy that it goes to.
        policy: PolicySettings,
        /// Entries that are left.
        entries_left: u64,
    },
    /// The jitter is above its limit.
    #[error("group {name:?} has a TTL jitter of {jitter} %, the limit is {} %", limits::TTL_JITTER_MAX)]
    JitterTooLarge {
        /// The group.
        name: String,
        /// Its jitter, in percent.
        jitter: u8,
    },
}

/// A version that is too far ahead to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "version {version:#018x} is {ahead_ms} ms ahead of this shard's clock, more than {} ms; compare the nodes' clocks",
    limits::VERSION_AHEAD_MS_MAX
)]
pub struct VersionAhead {
    /// The version.
    pub version: u64,
    /// How far it is ahead, in ms.
    pub ahead_ms: u64,
}

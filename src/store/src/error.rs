//! Why the store did not do what it was asked.

use alloc::string::String;

use crate::limits;

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
    /// The key or the value is above its limit, or the entry costs more than its group's whole budget on this shard.
    #[error("the entry is above the limit for values, or above its group's budget on this shard")]
    TooLarge,
    /// The value is no decimal integer of 64 bits.
    #[error("the value is no decimal integer of 64 bits")]
    NotANumber,
    /// The sum is outside 64 bits.
    #[error("the sum is outside the range of a signed integer of 64 bits")]
    OutOfRange,
}

/// Why a group was not created.
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
    /// The groups of this shard could come to hold more entries than can be numbered.
    #[error(
        "group {name:?} with a budget of {budget} could hold {entries} entries on a shard, {room} are left; lower it or use more shards"
    )]
    BudgetTooLarge {
        /// The group.
        name: String,
        /// Its budget on this shard.
        budget: u64,
        /// How many entries that could be.
        entries: u64,
        /// How many entries the groups before have left.
        room: u64,
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

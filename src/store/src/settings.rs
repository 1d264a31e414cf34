//! What a store and its groups are told when they are created.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// Settings of one shard's store.
#[derive(Clone, Copy, Debug)]
pub struct StoreSettings {
    /// The shard's number; the low bits of every version.
    pub shard: u8,
    /// Longest value that is accepted, in bytes; at most [`crate::limits::VALUE_BYTES_MAX`].
    pub value_bytes_max: usize,
    /// All memory that entries, index and ghosts may ever take, in bytes, from [`crate::limits::MEMORY_BYTES_MIN`] to
    /// [`crate::limits::REGION_BYTES_MAX`]. It is reserved at once and touched when first used.
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
    pub policy: PolicyKind,
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

/// The eviction policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PolicyKind {
    /// Least recently used.
    Lru,
    /// 2Q, full version (Johnson & Shasha, VLDB 1994).
    #[default]
    TwoQ,
}

impl PolicyKind {
    /// Every policy.
    pub const ALL: &'static [PolicyKind] = &[PolicyKind::Lru, PolicyKind::TwoQ];

    /// The name in configuration and statistics.
    pub const fn name(self) -> &'static str {
        match self {
            PolicyKind::Lru => "lru",
            PolicyKind::TwoQ => "two_q",
        }
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let known = Self::ALL.iter().find(|policy| policy.name() == name);
        known.copied().ok_or_else(|| UnknownPolicy { name: name.into() })
    }
}

/// A name that no policy has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPolicy {
    name: String,
}

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "there is no policy {:?}; choose one of", self.name)?;
        for (place, policy) in PolicyKind::ALL.iter().enumerate() {
            write!(formatter, "{} {policy}", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownPolicy {}

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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn policies_are_found_by_name() {
        for policy in PolicyKind::ALL {
            assert_eq!(policy.to_string().parse(), Ok(*policy));
        }
        let unknown = "2q".parse::<PolicyKind>().unwrap_err();
        assert_eq!(unknown.to_string(), "there is no policy \"2q\"; choose one of lru, two_q");
    }
}

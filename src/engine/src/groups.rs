//! The groups of a node, by the hash that requests name them by.

use alloc::string::String;
use alloc::vec::Vec;

use hashbrown::HashTable;
use larder_ring::DEFAULT_GROUP;
use larder_store::GroupIndex;

use crate::EngineError;

/// A group as requests need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Its number in the store.
    pub(crate) index: GroupIndex,
    /// The hash of its name, with which keys are placed.
    pub(crate) hash: u64,
    /// Where what is missing comes from; `None`: it is missing.
    pub(crate) origin: Option<OriginSettings>,
}

/// What a shard knows of where the values of a group come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginSettings {
    /// How long a key that the origin does not have is not asked for again, in ms; 0: it is asked every time.
    pub negative_ttl_ms: u64,
}

/// Every group, its name and hash.
#[derive(Debug)]
pub(crate) struct Groups {
    default: Group,
    by_hash: HashTable<Group>,
    names: Vec<(String, u64)>,
}

impl Groups {
    /// Refuses hashes that are taken or reserved, and to do without the default group.
    pub(crate) fn new(groups: impl Iterator<Item = (String, Group)>) -> Result<Groups, EngineError> {
        let mut default = None;
        let mut by_hash = HashTable::new();
        let mut names: Vec<(String, u64)> = Vec::new();
        for (name, group) in groups {
            let hash = group.hash;
            if hash == 0 {
                return Err(EngineError::GroupHashZero { name });
            }
            if let Some((first, _)) = names.iter().find(|(_, taken)| *taken == hash) {
                return Err(EngineError::GroupHashTaken { first: first.clone(), second: name, hash });
            }
            if name == DEFAULT_GROUP {
                default = Some(group);
            }
            by_hash.insert_unique(hash, group, |group: &Group| group.hash);
            names.push((name, hash));
        }
        Ok(Groups { default: default.ok_or(EngineError::NoDefaultGroup)?, by_hash, names })
    }

    /// The group that a request means.
    #[inline]
    pub(crate) fn group(&self, wire: u64) -> Option<Group> {
        if wire == 0 { Some(self.default) } else { self.by_hash.find(wire, |group| group.hash == wire).copied() }
    }

    /// Name and hash of each group, in the order of their settings.
    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = (&str, u64)> {
        self.names.iter().map(|(name, hash)| (name.as_str(), *hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(hashes: &[(&str, u64)]) -> Result<Groups, EngineError> {
        Groups::new(hashes.iter().zip(0..).map(|(&(name, hash), index)| (name.into(), group(index, hash))))
    }

    fn group(index: u16, hash: u64) -> Group {
        Group { index: GroupIndex(index), hash, origin: None }
    }

    #[test]
    fn zero_is_the_default_group() {
        let groups = groups(&[("scores", 9), ("default", 7)]).unwrap();
        assert_eq!(groups.group(0), Some(group(1, 7)));
        assert_eq!(groups.group(7), groups.group(0));
        assert_eq!(groups.group(9), Some(group(0, 9)));
        assert_eq!(groups.group(8), None);
        assert_eq!(groups.names().collect::<Vec<_>>(), [("scores", 9), ("default", 7)]);
    }

    #[test]
    fn ambiguous_hashes_are_refused() {
        let taken = groups(&[("default", 7), ("scores", 7)]).unwrap_err();
        assert!(matches!(&taken, EngineError::GroupHashTaken { hash: 7, .. }), "{taken:?}");
        for name in ["default", "scores"] {
            assert!(taken.to_string().contains(name), "{taken}");
        }
        assert!(matches!(groups(&[("default", 0)]), Err(EngineError::GroupHashZero { .. })));
        assert!(matches!(groups(&[("scores", 1)]), Err(EngineError::NoDefaultGroup)));
    }
}

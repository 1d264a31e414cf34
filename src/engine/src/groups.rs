//! The groups of a node, by the hash that requests name them by.

use alloc::string::String;
use alloc::vec::Vec;

use hashbrown::HashTable;
use larder_ring::DEFAULT_GROUP;
use larder_store::GroupIndex;

/// A group as requests need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Its number in the store.
    pub(crate) index: GroupIndex,
    /// The hash of its name, with which keys are placed.
    pub(crate) hash: u64,
    /// Whether there is more to a get than to look: see [`Refill`].
    pub(crate) is_refilled: bool,
}

/// What a shard knows of where the values of a group come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginSettings {
    /// How long a key that the origin does not have is not asked for again, in ms; 0: it is asked every time.
    pub negative_ttl_ms: u64,
    /// How early keys are loaded anew that expire soon, in percent of the factor β; 0: not before they have expired.
    pub early_refresh_percent: u32,
}

/// What becomes of keys of a group that are missing, or whose time is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refill {
    /// Where what is missing comes from; `None`: it is missing.
    pub(crate) origin: Option<OriginSettings>,
    /// For how long after its time an entry is shown while it is loaded anew, in ms.
    pub(crate) revalidate_ms: u64,
    /// For how long after its time an entry is shown if it cannot be, in ms.
    pub(crate) error_ms: u64,
}

impl Refill {
    /// For how long after its time an entry is shown at all, in ms.
    pub(crate) fn stale_ms(self) -> u64 {
        self.revalidate_ms.max(self.error_ms)
    }
}

/// Every group, its name and hash.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    default: Option<Group>,
    by_hash: HashTable<Known>,
    names: Vec<Name>,
}

#[derive(Debug)]
struct Known {
    group: Group,
    refill: Refill,
}

#[derive(Debug)]
struct Name {
    name: String,
    hash: u64,
    /// See [`crate::GroupPlan::identity`].
    identity: u64,
}

impl Groups {
    /// The group that a request means.
    #[inline]
    pub(crate) fn group(&self, wire: u64) -> Option<Group> {
        // Most requests are about the default group, whether they name it or not.
        match self.default {
            Some(default) if wire == default.hash => Some(default),
            default if wire == 0 => default,
            _ => self.known(wire).map(|known| known.group),
        }
    }

    /// The group with this name, and its identity.
    pub(crate) fn named(&self, name: &str) -> Option<(Group, u64)> {
        let known = self.names.iter().find(|known| known.name == name)?;
        Some((self.group(known.hash)?, known.identity))
    }

    /// What becomes of missing keys of a group; nothing if it was dropped.
    pub(crate) fn refill(&self, group: Group) -> Refill {
        self.known(group.hash).map_or_else(Refill::default, |known| known.refill)
    }

    #[inline]
    fn known(&self, hash: u64) -> Option<&Known> {
        self.by_hash.find(hash, |known| known.group.hash == hash)
    }

    /// Whether this is a group still, although others may have been dropped and created meanwhile; as it is now.
    pub(crate) fn again(&self, group: Group) -> Option<Group> {
        self.group(group.hash).filter(|now| now.index == group.index)
    }

    /// Adds a group whose hash is nobody else's and not 0, or replaces the one with its name.
    pub(crate) fn insert(&mut self, name: &str, (index, hash): (GroupIndex, u64), refill: Refill, identity: u64) {
        let group = Group { index, hash, is_refilled: refill != Refill::default() };
        match self.by_hash.find_mut(hash, |known| known.group.hash == hash) {
            Some(known) => *known = Known { group, refill },
            None => {
                self.by_hash.insert_unique(hash, Known { group, refill }, |known| known.group.hash);
                self.names.push(Name { name: name.into(), hash, identity });
            }
        }
        if name == DEFAULT_GROUP {
            self.default = Some(group);
        }
    }

    /// Removes the group with this name, which is there.
    pub(crate) fn remove(&mut self, name: &str) -> Group {
        let at = self.names.iter().position(|known| known.name == name).expect("it is there");
        let Name { hash, .. } = self.names.remove(at);
        if name == DEFAULT_GROUP {
            self.default = None;
        }
        let found = self.by_hash.find_entry(hash, |known| known.group.hash == hash);
        found.expect("every name has its group").remove().0.group
    }

    /// Name and hash of each group, in the order in which they came.
    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = (&str, u64)> {
        self.names.iter().map(|known| (known.name.as_str(), known.hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(index: u16, hash: u64) -> Group {
        Group { index: GroupIndex(index), hash, is_refilled: false }
    }

    #[test]
    fn zero_is_the_default_group() {
        let mut groups = Groups::default();
        assert_eq!(groups.group(0), None);
        groups.insert("scores", (GroupIndex(0), 9), Refill::default(), 1);
        groups.insert("default", (GroupIndex(1), 7), Refill::default(), 2);
        assert_eq!(groups.group(0), Some(group(1, 7)));
        assert_eq!(groups.group(7), groups.group(0));
        assert_eq!((groups.group(9), groups.named("scores")), (Some(group(0, 9)), Some((group(0, 9), 1))));
        assert_eq!((groups.group(8), groups.named("sores")), (None, None));
        assert_eq!(groups.names().collect::<Vec<_>>(), [("scores", 9), ("default", 7)]);
        let refill = Refill { revalidate_ms: 5, ..Refill::default() };
        groups.insert("default", (GroupIndex(2), 7), refill, 2);
        let refilled = Group { is_refilled: true, ..group(2, 7) };
        assert_eq!((groups.group(0), groups.refill(refilled)), (Some(refilled), refill));
        assert_eq!(groups.names().len(), 2);
        assert_eq!(groups.again(group(1, 7)), None, "another one has the name");
        assert_eq!(groups.remove("scores"), group(0, 9));
        assert_eq!((groups.group(9), groups.named("scores"), groups.names().len()), (None, None, 1));
    }
}

//! What versions are called by whoever named them: clients of memcached may say which one an entry is to have, and versions of a
//! store are its own, in order. Known beside the store, within a bound.

use alloc::collections::BTreeMap;

use crate::limits::NAMES_MAX;

/// See the module. Beyond [`NAMES_MAX`], the oldest are forgotten: who names such a version is told that it is another.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// By version: later ones are greater.
    names: BTreeMap<u64, u64>,
}

impl Names {
    #[inline]
    pub(crate) fn are_none(&self) -> bool {
        self.names.is_empty()
    }

    /// A version, which was given just now, is called so.
    pub(crate) fn put(&mut self, version: u64, name: u64) {
        self.names.insert(version, name);
        if self.names.len() > NAMES_MAX {
            self.names.pop_first();
        }
    }

    /// What a version is called.
    #[inline]
    pub(crate) fn told(&self, version: u64) -> u64 {
        if self.are_none() { version } else { self.names.get(&version).copied().unwrap_or(version) }
    }

    /// Whether somebody who says `wanted` may mean a version.
    #[inline]
    pub(crate) fn mean(&self, version: u64, wanted: u64) -> bool {
        version == wanted || self.told(version) == wanted
    }

    /// Panics with what is wrong.
    pub(crate) fn validate(&self) {
        assert!(self.names.len() <= NAMES_MAX, "{} names", self.names.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_names_are_forgotten() {
        let mut names = Names::default();
        assert!(names.are_none() && names.told(5) == 5 && names.mean(5, 5));
        for version in 1..=NAMES_MAX as u64 + 1 {
            names.put(version, 7);
        }
        names.put(3, 8);
        names.validate();
        assert_eq!([1, 2, 3].map(|version| names.told(version)), [1, 7, 8]);
        assert!(names.mean(2, 7) && names.mean(2, 2) && !names.mean(2, 8) && !names.mean(1, 7));
    }
}

//! What origins call the values that they gave: with that they can say that a value is as good as new, instead of sending it
//! again (RFC 9110, section 8.8.3). Known beside the store, within bounds; what is forgotten is loaded whole.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use hashbrown::HashTable;

use crate::absent::Named;
use crate::limits::{ETAG_BYTES_MAX, ETAGS_BYTES_MAX, ETAGS_MAX};

/// See the module. Beyond the bounds, the oldest are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Etags {
    etags: HashTable<Etag>,
    /// Hash and number of each, in the order in which they came; some are gone from `etags`.
    order: VecDeque<(u64, u64)>,
    bytes: usize,
    next_number: u64,
}

/// Of the entry with this version.
#[derive(Debug)]
struct Etag {
    number: u64,
    group: u16,
    hash: u64,
    key: Box<[u8]>,
    etag: Box<[u8]>,
    version: u64,
}

impl Etag {
    fn is(&self, named: Named<'_>) -> bool {
        self.hash == named.hash && self.group == named.group && *self.key == *named.key
    }

    fn bytes(&self) -> usize {
        self.key.len() + self.etag.len()
    }
}

impl Etags {
    pub(crate) fn is_empty(&self) -> bool {
        self.etags.is_empty()
    }

    /// What the value of an entry is called. A long name is not worth its place.
    pub(crate) fn put(&mut self, named: Named<'_>, version: u64, etag: &[u8]) {
        self.remove(named);
        if etag.len() > ETAG_BYTES_MAX {
            return;
        }
        let Named { group, hash, key } = named;
        let number = self.next_number;
        self.next_number += 1;
        let etag = Etag { number, group, hash, key: key.into(), etag: etag.into(), version };
        self.bytes += etag.bytes();
        self.etags.insert_unique(hash, etag, |etag| etag.hash);
        self.order.push_back((hash, number));
        while self.etags.len() > ETAGS_MAX || self.bytes > ETAGS_BYTES_MAX || self.order.len() > 2 * ETAGS_MAX {
            let Some((hash, number)) = self.order.pop_front() else { break };
            if let Ok(oldest) = self.etags.find_entry(hash, |etag| etag.number == number) {
                self.bytes -= oldest.remove().0.bytes();
            }
        }
    }

    /// What the value of a key is called, and the version of its entry.
    pub(crate) fn of(&self, named: Named<'_>) -> Option<(&[u8], u64)> {
        self.etags.find(named.hash, |etag| etag.is(named)).map(|etag| (&*etag.etag, etag.version))
    }

    /// The key has another value, or none.
    pub(crate) fn remove(&mut self, named: Named<'_>) {
        if let Ok(found) = self.etags.find_entry(named.hash, |etag| etag.is(named)) {
            self.bytes -= found.remove().0.bytes();
        }
    }

    /// The keys of a group have others, or none.
    pub(crate) fn remove_group(&mut self, group: u16) {
        let bytes = &mut self.bytes;
        self.etags.retain(|etag| {
            let stays = etag.group != group;
            *bytes -= if stays { 0 } else { etag.bytes() };
            stays
        });
    }

    pub(crate) fn clear(&mut self) {
        *self = Self { next_number: self.next_number, ..Self::default() };
    }

    /// Panics with what is wrong.
    pub(crate) fn validate(&self) {
        assert_eq!(self.bytes, self.etags.iter().map(Etag::bytes).sum::<usize>(), "bytes of names of values");
        assert!(self.etags.len() <= ETAGS_MAX && self.bytes <= ETAGS_BYTES_MAX, "{} names", self.etags.len());
        assert!(self.order.len() <= 2 * ETAGS_MAX, "{} places in the order", self.order.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(group: u16, key: &[u8]) -> Named<'_> {
        Named { group, hash: u64::from(key[0]), key }
    }

    #[test]
    fn names_belong_to_one_version_of_one_key() {
        let mut etags = Etags::default();
        etags.put(named(1, b"a"), 5, b"x");
        etags.put(named(2, b"a"), 6, b"y");
        etags.put(named(1, b"a"), 7, b"z");
        assert_eq!((etags.of(named(1, b"a")), etags.of(named(2, b"a"))), (Some((&b"z"[..], 7)), Some((&b"y"[..], 6))));
        etags.put(named(1, b"a"), 8, &[0; ETAG_BYTES_MAX + 1]);
        assert_eq!(etags.of(named(1, b"a")), None, "what it was called before is not what it is called now");
        etags.remove_group(2);
        etags.validate();
        assert!(etags.is_empty());
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut etags = Etags::default();
        let keys: Vec<[u8; 8]> = (0..3 * ETAGS_MAX as u64).map(u64::to_be_bytes).collect();
        for key in &keys {
            etags.put(Named { group: 1, hash: u64::from_be_bytes(*key), key }, 5, b"name");
        }
        etags.validate();
        let of = |key: &[u8; 8]| etags.of(Named { group: 1, hash: u64::from_be_bytes(*key), key });
        assert_eq!((of(&keys[0]), of(&keys[keys.len() - 1])), (None, Some((&b"name"[..], 5))));
        let long = [7; 64 << 10];
        for group in 0..100 {
            etags.put(named(group, &long), 5, b"name");
        }
        etags.validate();
        assert!(etags.of(named(99, &long)).is_some() && etags.of(named(0, &long)).is_none());
        etags.clear();
        etags.validate();
    }
}

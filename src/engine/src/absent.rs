//! Keys that their group's origin does not have: known for a while, so that it is not asked for them again and again.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use hashbrown::HashTable;

use crate::limits::{ABSENT_BYTES_MAX, ABSENT_KEYS_MAX};

/// A key with the place that it has: the number of its group and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named<'k> {
    pub(crate) group: u16,
    pub(crate) hash: u64,
    pub(crate) key: &'k [u8],
}

/// See the module. At most [`ABSENT_KEYS_MAX`] keys of [`ABSENT_BYTES_MAX`] bytes; beyond, the oldest are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Absent {
    keys: HashTable<AbsentKey>,
    /// Hash and number of each, in the order in which they came; some are gone from `keys`.
    order: VecDeque<(u64, u64)>,
    bytes: usize,
    next_number: u64,
}

#[derive(Debug)]
struct AbsentKey {
    number: u64,
    group: u16,
    hash: u64,
    key: Box<[u8]>,
    until_ms: u64,
}

impl AbsentKey {
    fn is(&self, named: Named<'_>) -> bool {
        self.hash == named.hash && self.group == named.group && *self.key == *named.key
    }
}

impl Absent {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// A key is absent until this time.
    pub(crate) fn add(&mut self, named: Named<'_>, until_ms: u64) {
        self.remove(named);
        let Named { group, hash, key } = named;
        let number = self.next_number;
        self.next_number += 1;
        self.bytes += key.len();
        self.keys.insert_unique(hash, AbsentKey { number, group, hash, key: key.into(), until_ms }, |key| key.hash);
        self.order.push_back((hash, number));
        while self.keys.len() > ABSENT_KEYS_MAX
            || self.bytes > ABSENT_BYTES_MAX
            || self.order.len() > 2 * ABSENT_KEYS_MAX
        {
            let Some((hash, number)) = self.order.pop_front() else { break };
            if let Ok(oldest) = self.keys.find_entry(hash, |key| key.number == number) {
                self.bytes -= oldest.remove().0.key.len();
            }
        }
    }

    /// Whether a key is known to be absent. One whose time is up is forgotten.
    pub(crate) fn has(&mut self, named: Named<'_>, now_ms: u64) -> bool {
        match self.keys.find(named.hash, |key| key.is(named)) {
            Some(key) if now_ms < key.until_ms => true,
            Some(_) => {
                self.remove(named);
                false
            }
            None => false,
        }
    }

    /// A key may be there now.
    pub(crate) fn remove(&mut self, named: Named<'_>) {
        if let Ok(found) = self.keys.find_entry(named.hash, |key| key.is(named)) {
            self.bytes -= found.remove().0.key.len();
        }
    }

    /// Any key of a group may be there now.
    pub(crate) fn remove_group(&mut self, group: u16) {
        let bytes = &mut self.bytes;
        self.keys.retain(|key| {
            let stays = key.group != group;
            *bytes -= if stays { 0 } else { key.key.len() };
            stays
        });
    }

    pub(crate) fn clear(&mut self) {
        *self = Self { next_number: self.next_number, ..Self::default() };
    }

    /// Panics with what is wrong.
    pub(crate) fn validate(&self) {
        assert_eq!(self.bytes, self.keys.iter().map(|key| key.key.len()).sum::<usize>(), "bytes of absent keys");
        assert!(self.keys.len() <= ABSENT_KEYS_MAX && self.bytes <= ABSENT_BYTES_MAX, "{} keys", self.keys.len());
        assert!(self.order.len() <= 2 * ABSENT_KEYS_MAX, "{} places in the order", self.order.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(group: u16, key: &[u8]) -> Named<'_> {
        Named { group, hash: key.iter().map(|byte| u64::from(*byte)).sum(), key }
    }

    #[test]
    fn a_key_is_absent_for_its_time_and_until_it_is_written() {
        let mut absent = Absent::default();
        // These have one hash.
        absent.add(named(1, b"ab"), 100);
        absent.add(named(1, b"ba"), 200);
        absent.add(named(2, b"ab"), 200);
        assert!(absent.has(named(1, b"ab"), 99) && !absent.has(named(1, b"ab"), 100));
        assert!(absent.has(named(1, b"ba"), 100));
        absent.remove(named(1, b"ba"));
        assert!(!absent.has(named(1, b"ba"), 100) && absent.has(named(2, b"ab"), 100));
        absent.add(named(1, b"x"), 200);
        absent.remove_group(2);
        assert!(!absent.has(named(2, b"ab"), 100) && absent.has(named(1, b"x"), 100));
        absent.validate();
        absent.clear();
        assert!(absent.is_empty());
        absent.validate();
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut absent = Absent::default();
        let key = |number: usize| number.to_le_bytes();
        for number in 0..ABSENT_KEYS_MAX + 10 {
            absent.add(named(1, &key(number)), 100);
            if number % 3 == 0 {
                absent.add(named(1, &key(number)), 100);
            }
        }
        absent.validate();
        assert!(!absent.has(named(1, &key(0)), 1) && absent.has(named(1, &key(ABSENT_KEYS_MAX + 9)), 1));
        let long = alloc::vec![7; ABSENT_BYTES_MAX - 1];
        absent.add(named(1, &long), 100);
        assert!(absent.has(named(1, &long), 1) && absent.keys.len() == 1);
        absent.validate();
        absent.add(named(1, &[1, 2]), 100);
        assert!(absent.has(named(1, &[1, 2]), 1) && absent.keys.len() == 1);
        absent.validate();
    }
}

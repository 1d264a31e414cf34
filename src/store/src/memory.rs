//! Where entries live: their numbers, the index from key to number, and the bytes.
//!
//! This is the boundary behind which the arena will replace everything: the rest of the store knows entries by number
//! only, and asks here for their fields and bytes. For now an entry is an [`Item`] in a vector, a [`Nodes`] node for
//! its policy, and one allocated block that holds key and value. A number is used again after its entry was removed;
//! neither vector ever shrinks.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::HashTable;

use crate::limits::PREFETCH_LINES_MAX;
use crate::list::{List, Nodes, push_by_eighths};
use crate::prefetch;
use crate::{GroupIndex, Key, Marks};

/// Entries of all groups of a shard, by number.
#[derive(Debug)]
pub(crate) struct Memory {
    index: HashTable<u32>,
    items: Vec<Item>,
    /// The policies' view of the entries.
    pub(crate) nodes: Nodes,
    vacant: List,
}

/// One entry, in one line of the processor's cache.
#[derive(Debug)]
pub(crate) struct Item {
    hash: u64,
    /// The version; see [`crate::Store`].
    pub(crate) version: u64,
    /// When it expires, in ms; 0: never.
    pub(crate) expires_at_ms: u64,
    /// When it was last read or stored, in ms.
    pub(crate) accessed_ms: u64,
    block: Box<[u8]>,
    key_len: u32,
    /// The writer's flags.
    pub(crate) flags: u32,
    group: u16,
    /// Whether the value was read since it was stored.
    pub(crate) hit: bool,
    /// Marks of leases.
    pub(crate) marks: Marks,
}

const _: () = assert!(size_of::<Item>() == 64, "limits::ENTRY_OVERHEAD_BYTES counts items of 64 bytes");
const _: () = assert!(crate::limits::GROUPS_MAX < NO_GROUP as usize, "a vacant item is in no group");

/// What a write sets beside the value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// The version.
    pub(crate) version: u64,
    /// When it expires, in ms; 0: never.
    pub(crate) expires_at_ms: u64,
    /// The writer's flags.
    pub(crate) flags: u32,
    /// The time, in ms.
    pub(crate) now_ms: u64,
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    /// It is replaced.
    Whole(&'a [u8]),
    /// Something is added behind it.
    Append(&'a [u8]),
    /// Something is added in front of it.
    Prepend(&'a [u8]),
}

/// The group of items that hold no entry.
const NO_GROUP: u16 = u16::MAX;
/// Tag of the list of vacant numbers; policies use small ones.
const VACANT: u8 = u8::MAX;

impl Memory {
    /// No entries; allocates nothing.
    pub(crate) fn new() -> Self {
        let (items, nodes) = (Vec::new(), Nodes::default());
        Self { index: HashTable::new(), items, nodes, vacant: List::new(VACANT) }
    }

    /// The entry of a key, in one look into the index.
    #[inline]
    pub(crate) fn find(&self, key: Key<'_>) -> Option<u32> {
        let is_it = |&entry: &u32| {
            let item = &self.items[entry as usize];
            item.hash == key.hash && item.group == key.group.0 && item.key() == key.bytes
        };
        self.index.find(index_hash(key.hash), is_it).copied()
    }

    /// Asks the processor for the item and the node of the entry that a key with this hash probably has: the first
    /// whose 7 bits of tag are the same. The index itself is read for that; several such calls in a row do not wait for
    /// each other, since none depends on what another finds.
    #[inline]
    pub(crate) fn prefetch_item(&self, hash: u64) -> Option<u32> {
        let entry = *self.index.find(index_hash(hash), |_| true)?;
        prefetch::ends(&self.items[entry as usize]);
        self.nodes.prefetch(entry);
        Some(entry)
    }

    /// Asks for the beginning of the block of an entry.
    #[inline]
    pub(crate) fn prefetch_block(&self, entry: u32) {
        prefetch::bytes(&self.item(entry).block, PREFETCH_LINES_MAX);
    }

    /// Adds an entry for a key that has none. Its node is in no list yet.
    pub(crate) fn insert(&mut self, key: Key<'_>, value: &[u8], stamp: Stamp, charge: u32) -> u32 {
        let Stamp { version, expires_at_ms, flags, now_ms } = stamp;
        let item = Item {
            hash: key.hash,
            version,
            expires_at_ms,
            accessed_ms: now_ms,
            block: joined([key.bytes, value, &[]]),
            key_len: key.bytes.len() as u32,
            flags,
            group: key.group.0,
            hit: false,
            marks: Marks::default(),
        };
        let entry = match self.vacant.head() {
            Some(entry) => {
                self.vacant.unlink(&mut self.nodes, entry);
                self.items[entry as usize] = item;
                entry
            }
            None => {
                self.nodes.grow();
                push_by_eighths(&mut self.items, item);
                self.items.len() as u32 - 1
            }
        };
        self.nodes.set_charge(entry, charge);
        let items = &self.items;
        self.index.insert_unique(index_hash(key.hash), entry, |&entry| index_hash(items[entry as usize].hash));
        entry
    }

    /// Gives an entry another value. A value of the same length is copied in place.
    pub(crate) fn change(&mut self, entry: u32, change: Change<'_>, stamp: Stamp) {
        let item = &mut self.items[entry as usize];
        match change {
            Change::Whole(value) if value.len() == item.value().len() => {
                item.block[item.key_len as usize..].copy_from_slice(value);
            }
            Change::Whole(value) => item.block = joined([item.key(), value, &[]]),
            Change::Append(value) => item.block = joined([item.key(), item.value(), value]),
            Change::Prepend(value) => item.block = joined([item.key(), value, item.value()]),
        }
        (item.version, item.expires_at_ms, item.flags) = (stamp.version, stamp.expires_at_ms, stamp.flags);
        (item.accessed_ms, item.hit, item.marks) = (stamp.now_ms, false, Marks::default());
    }

    /// Removes an entry whose node is in no list any more.
    pub(crate) fn remove(&mut self, entry: u32) {
        let item = &mut self.items[entry as usize];
        let found = self.index.find_entry(index_hash(item.hash), |&other| other == entry);
        found.expect("an entry is in the index").remove();
        (item.block, item.group) = (Box::default(), NO_GROUP);
        self.nodes.set_charge(entry, 0);
        self.vacant.push_head(&mut self.nodes, entry);
    }

    /// An entry.
    #[inline]
    pub(crate) fn item(&self, entry: u32) -> &Item {
        &self.items[entry as usize]
    }

    /// An entry.
    #[inline]
    pub(crate) fn item_mut(&mut self, entry: u32) -> &mut Item {
        &mut self.items[entry as usize]
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Every number is below this one; not every one below it has an entry.
    pub(crate) fn end(&self) -> u32 {
        self.items.len() as u32
    }

    /// The numbers that have entries.
    pub(crate) fn entries(&self) -> impl Iterator<Item = u32> {
        (0..self.end()).filter(|&entry| self.item(entry).group().is_some())
    }

    /// Walks everything: every entry is found by its key, and every number is in use or vacant.
    ///
    /// # Panics
    /// If anything is wrong.
    pub(crate) fn validate(&self) {
        self.vacant.validate(&self.nodes);
        assert_eq!(self.items.len(), self.nodes.len(), "items and nodes come in pairs");
        assert_eq!(self.items.len(), self.len() + self.vacant.len() as usize, "a number is neither used nor vacant");
        for entry in self.vacant.iter(&self.nodes) {
            assert_eq!(self.item(entry).group(), None, "vacant entry {entry} is in a group");
        }
        for entry in self.entries() {
            let item = self.item(entry);
            let group = item.group().expect("it was chosen for having one");
            let key = Key { group, hash: item.hash, bytes: item.key() };
            assert_eq!(self.find(key), Some(entry), "entry {entry} is not found by its key");
            assert_ne!(self.nodes.list(entry), VACANT, "entry {entry} is on the list of vacant numbers");
        }
    }
}

impl Item {
    /// The key.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        &self.block[..self.key_len as usize]
    }

    /// The value.
    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        &self.block[self.key_len as usize..]
    }

    /// Bytes of key and value.
    pub(crate) fn bytes(&self) -> u64 {
        self.block.len() as u64
    }

    /// The key's hash.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The group, if this number has an entry.
    pub(crate) fn group(&self) -> Option<GroupIndex> {
        (self.group != NO_GROUP).then_some(GroupIndex(self.group))
    }
}

/// The hash as the index wants it, which takes buckets from the low bits and tags from the top 7. On one shard the top
/// bits are all alike, since they chose its slots; multiplying brings the others there.
pub(crate) fn index_hash(hash: u64) -> u64 {
    hash.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// One block with all the parts, in one allocation of just that size.
fn joined(parts: [&[u8]; 3]) -> Box<[u8]> {
    let mut block = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        block.extend_from_slice(part);
    }
    block.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { version: 1, expires_at_ms: 0, flags: 0, now_ms: 0 };

    fn key(group: u16, hash: u64, bytes: &[u8]) -> Key<'_> {
        Key { group: GroupIndex(group), hash, bytes }
    }

    #[test]
    fn equal_hashes_and_equal_keys_of_two_groups_are_told_apart() {
        let mut memory = Memory::new();
        let list = &mut List::new(0);
        let keys = [key(0, 7, b"a"), key(0, 7, b"b"), key(1, 7, b"a"), key(0, 7, b"")];
        for (place, &key) in keys.iter().enumerate() {
            assert_eq!(memory.find(key), None);
            let entry = memory.insert(key, &[place as u8], STAMP, 1);
            list.push_head(&mut memory.nodes, entry);
        }
        memory.validate();
        for (place, &key) in keys.iter().enumerate() {
            let entry = memory.find(key).unwrap();
            assert_eq!(memory.item(entry).value(), [place as u8]);
            list.unlink(&mut memory.nodes, entry);
            memory.remove(entry);
            assert_eq!(memory.find(key), None);
            memory.validate();
        }
        assert_eq!(memory.end(), 4, "numbers are used again");
        assert_eq!(memory.insert(keys[0], b"", STAMP, 1), 3);
    }

    #[test]
    fn values_change_in_place_or_not() {
        let mut memory = Memory::new();
        let entry = memory.insert(key(0, 1, b"key"), b"12", STAMP, 1);
        for (change, value) in [
            (Change::Whole(b"34"), &b"34"[..]),
            (Change::Append(b"56"), b"3456"),
            (Change::Prepend(b"-"), b"-3456"),
            (Change::Whole(b""), b""),
            (Change::Append(b""), b""),
        ] {
            memory.item_mut(entry).hit = true;
            memory.change(entry, change, STAMP);
            assert_eq!((memory.item(entry).key(), memory.item(entry).value()), (&b"key"[..], value));
            assert!(!memory.item(entry).hit, "another value was not read yet");
        }
    }

    #[test]
    fn tags_of_the_index_differ_where_only_low_bits_do() {
        let tags: std::collections::HashSet<u64> =
            (0..1000_u64).map(|low| index_hash(0xABCD_E000_0000_0000 | low) >> 57).collect();
        assert_eq!(tags.len(), 128);
    }
}

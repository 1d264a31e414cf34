//! The index of a shard: from the hash of a key to the place of its entry.
//!
//! It is a [`Table`] of places, ten to a line: 6 bytes a slot, of which 75 to 84 % are filled once it has grown, so 7.6
//! to 8.6 bytes an entry. A look-up reads one line of the processor's cache, 1.2 on average when it finds something and
//! 1.3 when it does not, and then the entries whose tags are equal, of which one in a hundred or fewer is another one.
//!
//! It takes the first segment of its region and keeps it, so that 0 is the place of no entry.

use crate::limits::{INDEX_LOAD, INDEXED_BYTES_MIN};
use crate::region::{Ref, Region, SegmentId, Use};
use crate::table::{Crowded, EntryLine, Layout, Probe, Table};

/// Places of entries by hash. `hash_of` tells the hash of an entry that is in the index, from the region.
#[derive(Debug)]
pub(crate) struct Index {
    table: Table<EntryLine>,
}

impl Index {
    /// An empty index, in a region from which nothing was taken yet.
    ///
    /// # Panics
    /// If something was.
    pub(crate) fn new(region: &mut Region) -> Self {
        let bytes = region.segments() * region.segment_bytes();
        let lines_max = bytes / INDEXED_BYTES_MIN * 100 / (INDEX_LOAD.grow_percent * EntryLine::SLOTS);
        let table = Table::new(region, Use::Index, lines_max).expect("a region has room for a smallest index");
        assert_eq!(region.purpose(SegmentId::new(0)), Use::Index, "the index takes the first segment");
        Self { table }
    }

    /// How many entries there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many lines it has for its entries, without those behind the last.
    pub(crate) fn lines(&self) -> usize {
        self.table.home_lines()
    }

    /// How many entries were moved from one slot to another, since the beginning.
    pub(crate) fn moved(&self) -> u64 {
        self.table.moved()
    }

    /// Whether it would have grown if there had been a free segment.
    pub(crate) fn wants_segment(&self, region: &Region) -> bool {
        self.table.wants_segment(region)
    }

    /// A look-up of this hash that has begun; [`Index::next`] goes on with it.
    #[inline(always)]
    pub(crate) fn probe<'r>(&self, region: &'r Region, hash: u64) -> Probe<'r> {
        self.table.probe(region, hash)
    }

    /// The next entry whose hash is probably equal.
    #[inline(always)]
    pub(crate) fn next<'r>(&self, region: &'r Region, probe: &mut Probe<'r>) -> Option<Ref> {
        self.table.next(region, probe)
    }

    /// Asks the processor for the line that a look-up of this hash reads first.
    #[inline]
    pub(crate) fn prefetch(&self, region: &Region, hash: u64) {
        self.table.prefetch(region, hash);
    }

    /// The entry that a look-up of this hash probably finds, without a look at any entry.
    #[inline]
    pub(crate) fn candidate(&self, region: &Region, hash: u64) -> Option<Ref> {
        self.table.candidate(region, hash)
    }

    /// Adds an entry, which must not be there. This may move some others, see [`crate::limits::SWEEP_LINES`].
    ///
    /// # Errors
    /// [`Crowded`] if too many hashes are nearly equal: the entry that it names has to be removed, and then this can be
    /// tried again. Nothing was added, and each entry removed brings it nearer to success.
    pub(crate) fn insert(
        &mut self,
        region: &mut Region,
        hash: u64,
        entry: Ref,
        hash_of: &impl Fn(&Region, Ref) -> u64,
    ) -> Result<(), Crowded> {
        self.table.insert(region, hash, entry, hash_of)
    }

    /// Removes an entry. It must be there, and `hash_of` may still be asked about it.
    ///
    /// # Panics
    /// If it is not there.
    pub(crate) fn remove(
        &mut self,
        region: &mut Region,
        hash: u64,
        entry: Ref,
        hash_of: &impl Fn(&Region, Ref) -> u64,
    ) {
        self.table.remove(region, hash, entry, hash_of);
    }

    /// Says that an entry lies somewhere else now.
    ///
    /// # Panics
    /// If it is not in the index.
    pub(crate) fn replace(&mut self, region: &mut Region, hash: u64, from: Ref, to: Ref) {
        self.table.replace(region, hash, from, to);
    }

    /// Visits the entries of one home line, and returns the cursor of the next; `None` after the last. The first cursor
    /// is 0. An entry that is there throughout is visited at least once, whatever happens between the calls.
    pub(crate) fn scan(
        &self,
        region: &Region,
        cursor: u64,
        hash_of: &impl Fn(&Region, Ref) -> u64,
        visit: impl FnMut(Ref),
    ) -> Option<u64> {
        self.table.scan(region, cursor, hash_of, visit)
    }

    /// Walks everything.
    ///
    /// # Panics
    /// If anything is wrong.
    pub(crate) fn validate(&self, region: &Region, hash_of: &impl Fn(&Region, Ref) -> u64) {
        self.table.validate(region, &|region, entry| Some(hash_of(region, entry)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries of a region that hold nothing but their hash, as the store would have them.
    fn hash_of(region: &Region, entry: Ref) -> u64 {
        region.word(entry)
    }

    /// Whom a look-up of this hash asks about, if none of them is the right one.
    fn places(index: &Index, region: &Region, hash: u64) -> Vec<Ref> {
        let mut probe = index.probe(region, hash);
        core::iter::from_fn(|| index.next(region, &mut probe)).collect()
    }

    #[test]
    fn entries_of_a_region_are_indexed_in_it() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut region = Region::new(4 << 20);
        let mut index = Index::new(&mut region);
        let mut entries = Vec::new();
        while let Some(segment) = region.take(Use::Log) {
            for granule in 0..region.segment_bytes() / 8 / 8 {
                let entry = region.start(segment) + 8 * granule as Ref;
                let hash = random.u64(..);
                region.set_word(entry, hash);
                index.insert(&mut region, hash, entry, &hash_of).unwrap();
                entries.push(entry);
                if random.bool() {
                    let entry = entries.swap_remove(random.usize(0..entries.len()));
                    let hash = hash_of(&region, entry);
                    index.remove(&mut region, hash, entry, &hash_of);
                } else if let Some(entry) = entries.last_mut() {
                    let hash = hash_of(&region, *entry);
                    region.set_word(*entry + 4, hash);
                    index.replace(&mut region, hash, *entry, *entry + 4);
                    *entry += 4;
                }
            }
            index.validate(&region, &hash_of);
        }
        assert!(!index.wants_segment(&region), "it is large enough");
        assert!(index.moved() > 0 && index.lines() > 1000 && index.len() == entries.len());
        for &entry in &entries {
            let hash = hash_of(&region, entry);
            index.prefetch(&region, hash);
            assert!(places(&index, &region, hash).contains(&entry));
            assert!(index.candidate(&region, hash).is_some());
            assert!(places(&index, &region, !hash).iter().all(|other| *other != entry), "its tag is another");
        }
        let (mut cursor, mut visited) = (Some(0), Vec::new());
        while let Some(from) = cursor {
            cursor = index.scan(&region, from, &hash_of, |entry| visited.push(entry));
        }
        visited.sort_unstable();
        entries.sort_unstable();
        assert_eq!(visited, entries, "with nothing going on each is visited once");
    }
}

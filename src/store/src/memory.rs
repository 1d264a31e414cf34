//! Where entries live: the region, the log of their blocks in it, and the index from key to place.
//!
//! The rest of the store knows an entry by its place, which changes when its block is written anew or moved; both tell
//! whoever has to know.

use alloc::vec::Vec;

use crate::block::{self, Frame, Head, Header, Shape, Stamp, byte_of};
use crate::index::Index;
use crate::limits::{PREFETCH_LINES, PREFETCH_LINES_MAX, RESERVE_SEGMENTS};
use crate::list::{NONE, Side};
use crate::log::{Log, Stream};
use crate::region::{GRANULE_BYTES, LINE_GRANULES, Ref, Region};
use crate::settings::StoreSettings;
use crate::sweep::Sweep;
use crate::table::Crowded;
use crate::{GroupIndex, Key, shares};

/// Entries of all groups of a shard, by place.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) region: Region,
    pub(crate) log: Log,
    pub(crate) index: Index,
    pub(crate) frame: Frame,
    pub(crate) hashes: Hashes,
    pub(crate) sweep: Sweep,
    /// The most bytes that one entry may take.
    entry_bytes_max: usize,
    /// Blocks up to this length have no pieces, and there is always room for one.
    small_bytes: usize,
}

/// How the hash of a key is computed.
#[derive(Debug)]
pub(crate) struct Hashes {
    key_hash: fn(u64, &[u8]) -> u64,
    /// One for each group.
    pub(crate) seeds: Vec<u64>,
}

/// An entry that was found, with its header as it was then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) entry: Ref,
    pub(crate) head: Head,
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

impl Found {
    /// The entry at this place.
    #[inline]
    pub(crate) fn at(region: &Region, entry: Ref) -> Self {
        Self { entry, head: Head::at(region, entry) }
    }

    /// Its shape.
    #[inline]
    pub(crate) fn shape(&self, region: &Region) -> Shape {
        self.head.shape(region, self.entry)
    }
}

impl Hashes {
    /// The hash of the key of an entry.
    #[inline]
    pub(crate) fn of(&self, region: &Region, entry: Ref) -> u64 {
        self.of_found(region, Found::at(region, entry))
    }

    /// The hash of the key of an entry whose header is known.
    #[inline]
    pub(crate) fn of_found(&self, region: &Region, Found { entry, head }: Found) -> u64 {
        let group = head.group();
        let (key, _) = head.shape(region, entry).key_and_first(region, entry);
        (self.key_hash)(self.seeds[usize::from(group.0)], key)
    }

    fn assert_contract(&self, key: Key<'_>) {
        let expected = (self.key_hash)(self.seeds[usize::from(key.group.0)], key.bytes);
        assert_eq!(key.hash, expected, "a key comes with another hash than its group's seed gives");
    }
}

impl Memory {
    /// Reserves the region.
    pub(crate) fn new(settings: &StoreSettings) -> Self {
        let mut region = Region::new(settings.memory_bytes);
        let index = Index::new(&mut region);
        let (log, frame) = (Log::new(&region), Frame { shard: settings.shard, base_ms: 0 });
        let hashes = Hashes { key_hash: settings.key_hash, seeds: Vec::new() };
        let entry_bytes_max = shares::entry_bytes_max(region.segments(), region.segment_bytes()) as usize;
        let small_bytes = block::piece_bytes(region.segment_bytes()).min(entry_bytes_max);
        Self { region, log, index, frame, hashes, sweep: Sweep::new(), entry_bytes_max, small_bytes }
    }

    /// The entry of a key, in one look into the index.
    #[inline(always)]
    pub(crate) fn find(&self, key: Key<'_>) -> Option<Found> {
        if cfg!(debug_assertions) {
            self.hashes.assert_contract(key);
        }
        let region = &self.region;
        let mut probe = self.index.probe(region, key.hash);
        while let Some(entry) = self.index.next(region, &mut probe) {
            if let Some(head) = Head::of_key(region, entry, key.group, key.bytes) {
                return Some(Found { entry, head });
            }
        }
        None
    }

    /// Asks the processor for the line of the index that leads to a key with this hash.
    #[inline]
    pub(crate) fn prefetch_line(&self, hash: u64) {
        self.index.prefetch(&self.region, hash);
    }

    /// Asks for the beginning of the entry that a key with this hash probably has, and returns it.
    #[inline]
    pub(crate) fn prefetch_entry(&self, hash: u64) -> Option<Ref> {
        let entry = self.index.candidate(&self.region, hash)?;
        (0..PREFETCH_LINES).for_each(|line| self.region.prefetch(entry.wrapping_add((line * LINE_GRANULES) as Ref)));
        Some(entry)
    }

    /// Asks for the rest of an entry, whose beginning has come, and for what an access to it will write to beside it.
    #[inline]
    pub(crate) fn prefetch_rest(&self, entry: Ref) {
        let (region, head) = (&self.region, Head::at(&self.region, entry));
        if !head.is_wide() {
            let bytes = head.shape(region, entry).block_bytes(region.segment_bytes());
            rest(bytes / GRANULE_BYTES).for_each(|granule| region.prefetch(entry.wrapping_add(granule as Ref)));
        }
        if Side::moves_on_access(block::list(region, entry)) {
            let (towards_head, towards_tail) = block::links(region, entry);
            region.prefetch(towards_head);
            region.prefetch(towards_tail);
        }
    }

    /// The shape of an entry with these lengths and this header, if it is a short block that needs no wide one. Any memory
    /// has room for it.
    #[inline]
    pub(crate) fn small_shape(
        &self,
        group: GroupIndex,
        header: Header,
        key_bytes: usize,
        value_bytes: usize,
    ) -> Option<Shape> {
        let small = Shape::narrow(header, key_bytes, value_bytes)?;
        (small.block_bytes(0) <= self.small_bytes && !self.frame.needs_wide(group, 0)).then_some(small)
    }

    /// The shape of an entry with these lengths, and a header that can do no less than this one, that says no far time.
    pub(crate) fn shape(&self, group: GroupIndex, header: Header, key_bytes: usize, value_bytes: usize) -> Shape {
        let shape = Shape::of(key_bytes, value_bytes, self.region.segment_bytes()).with(header);
        if self.frame.needs_wide(group, 0) { shape.with(Header::WIDE) } else { shape }
    }

    /// How many more segments than now must be free for an entry of this shape to be written.
    pub(crate) fn segments_needed(&self, shape: Shape) -> usize {
        let segment_bytes = self.region.segment_bytes();
        let open_bytes = self.log.open_bytes(&self.region);
        if shape.total_bytes(segment_bytes) <= open_bytes {
            return 0;
        }
        let pieces_per_segment = segment_bytes / block::piece_bytes(segment_bytes);
        usize::from(shape.block_bytes(segment_bytes) > open_bytes) + shape.pieces.div_ceil(pieces_per_segment)
    }

    /// The most bytes that one entry may take.
    #[inline]
    pub(crate) fn entry_bytes_max(&self) -> usize {
        self.entry_bytes_max
    }

    /// Whether an entry of this shape can be written.
    #[inline]
    pub(crate) fn has_room(&self, shape: Shape) -> bool {
        self.region.free() >= RESERVE_SEGMENTS + self.segments_needed(shape)
    }

    /// Writes an entry for a key that has none. It is in no list and not in the index yet.
    ///
    /// # Panics
    /// If there is no room for it.
    pub(crate) fn write(&mut self, key: Key<'_>, shape: Shape, value: &[u8], stamp: Stamp) -> Ref {
        let entry = self.place(key, shape, stamp);
        self.pour(entry, shape, 0, value);
        entry
    }

    /// Makes the entry of a key known to the index.
    pub(crate) fn enter(&mut self, hash: u64, entry: Ref) -> Result<(), Crowded> {
        let Self { region, index, hashes, .. } = self;
        index.insert(region, hash, entry, &|region: &Region, entry| hashes.of(region, entry))
    }

    /// Gives an entry another value of the same length.
    #[inline]
    pub(crate) fn overwrite(&mut self, Found { entry, head }: Found, shape: Shape, value: &[u8], stamp: Stamp) {
        self.pour(entry, shape, 0, value);
        self.frame.stamp(&mut self.region, entry, head, stamp);
        self.note(entry, stamp.expires_at_ms);
    }

    /// Writes an entry anew, with another shape, and returns its new place. It has the links of the old one, whose
    /// neighbours are not told yet.
    ///
    /// # Panics
    /// If there is no room for it.
    pub(crate) fn rewrite(&mut self, key: Key<'_>, from: Ref, shape: Shape, change: Change<'_>, stamp: Stamp) -> Ref {
        let to = self.place(key, shape, stamp);
        let old = Shape::at(&self.region, from);
        match change {
            Change::Whole(value) => self.pour(to, shape, 0, value),
            Change::Append(value) => {
                self.pour_old(to, shape, 0, from, old);
                self.pour(to, shape, old.value_bytes, value);
            }
            Change::Prepend(value) => {
                self.pour(to, shape, 0, value);
                self.pour_old(to, shape, value.len(), from, old);
            }
        }
        self.inherit(from, to);
        self.replace(key.hash, from, to);
        self.kill(from, old);
        to
    }

    fn inherit(&mut self, from: Ref, to: Ref) {
        let (towards_head, towards_tail) = block::links(&self.region, from);
        block::set_links(&mut self.region, to, towards_head, towards_tail);
        let list = block::list(&self.region, from);
        block::set_list(&mut self.region, to, list);
        block::copy_memos(&mut self.region, from, to);
    }

    fn replace(&mut self, hash: u64, from: Ref, to: Ref) {
        self.index.replace(&mut self.region, hash, from, to);
    }

    /// Header, key and empty pieces of an entry.
    fn place(&mut self, key: Key<'_>, shape: Shape, stamp: Stamp) -> Ref {
        let segment_bytes = self.region.segment_bytes();
        let entry = self.append(shape.block_bytes(segment_bytes));
        self.frame.write(&mut self.region, entry, key.group, shape, stamp);
        self.region.bytes_mut()[shape.key_range(entry)].copy_from_slice(key.bytes);
        for number in 0..shape.pieces {
            let piece = self.append(block::piece_bytes(segment_bytes));
            block::write_piece(&mut self.region, piece, entry, number);
            block::set_piece(&mut self.region, entry, number, piece);
        }
        self.note(entry, stamp.expires_at_ms);
        entry
    }

    /// Says when an entry expires; its header is able to.
    pub(crate) fn set_expires_at_ms(&mut self, entry: Ref, expires_at_ms: u64) {
        self.frame.set_expires_at_ms(&mut self.region, entry, expires_at_ms);
        self.note(entry, expires_at_ms);
    }

    #[inline]
    fn note(&mut self, entry: Ref, expires_at_ms: u64) {
        if expires_at_ms != 0 {
            // A narrow header may say a later time than this one, which bounds it all the same.
            self.log.note(&self.region, entry, expires_at_ms);
            self.sweep.note(self.region.segment_of(entry), expires_at_ms);
        }
    }

    fn append(&mut self, bytes: usize) -> Ref {
        self.log.append(&mut self.region, bytes, Stream::Written).expect("room was made before")
    }

    /// Copies a part of a value to where it belongs.
    #[inline]
    fn pour(&mut self, entry: Ref, shape: Shape, offset: usize, part: &[u8]) {
        if shape.pieces > 0 {
            return self.pour_into_pieces(entry, shape, offset, part);
        }
        let start = shape.first_range(entry, self.region.segment_bytes()).start + offset;
        self.region.part_mut(start, part.len()).copy_from_slice(part);
    }

    fn pour_into_pieces(&mut self, entry: Ref, shape: Shape, offset: usize, part: &[u8]) {
        let (mut offset, mut rest) = (offset, part);
        while !rest.is_empty() {
            let room = shape.part_range(&self.region, entry, offset);
            let (now, behind) = rest.split_at(rest.len().min(room.len()));
            self.region.bytes_mut()[room.start..room.start + now.len()].copy_from_slice(now);
            (offset, rest) = (offset + now.len(), behind);
        }
    }

    /// Copies the value of one entry into that of another.
    fn pour_old(&mut self, to: Ref, shape: Shape, offset: usize, from: Ref, old: Shape) {
        let mut done = 0;
        while done < old.value_bytes {
            let room = shape.part_range(&self.region, to, offset + done);
            let part = old.part_range(&self.region, from, done);
            let len = room.len().min(part.len());
            self.region.bytes_mut().copy_within(part.start..part.start + len, room.start);
            done += len;
        }
    }

    /// Moves the block of an entry out of the way of cleaning. It has the links that it had; its neighbours are not
    /// told yet.
    pub(crate) fn move_entry(&mut self, from: Ref, bytes: usize) -> Ref {
        let to = self.move_block(from, bytes);
        for number in 0..Shape::at(&self.region, to).pieces {
            let piece = block::piece(&self.region, to, number);
            block::write_piece(&mut self.region, piece, to, number);
        }
        let hash = self.hashes.of(&self.region, to);
        self.replace(hash, from, to);
        let expires_at_ms = self.frame.expires_at_ms(&Head::at(&self.region, to), &self.region, to);
        self.note(to, expires_at_ms);
        self.log.kill(&mut self.region, from, bytes);
        to
    }

    /// Moves a piece out of the way of cleaning.
    pub(crate) fn move_piece(&mut self, from: Ref, bytes: usize) {
        let to = self.move_block(from, bytes);
        let (owner, number) = block::owner(&self.region, from);
        block::set_piece(&mut self.region, owner, number, to);
        self.log.kill(&mut self.region, from, bytes);
    }

    fn move_block(&mut self, from: Ref, bytes: usize) -> Ref {
        let to = self.log.append(&mut self.region, bytes, Stream::Survivors).expect("the reserve has a segment");
        let start = byte_of(from);
        self.region.bytes_mut().copy_within(start..start + bytes, byte_of(to));
        to
    }

    /// Removes an entry that is in no list any more.
    pub(crate) fn remove(&mut self, hash: u64, entry: Ref, shape: Shape) {
        let Self { region, index, hashes, .. } = self;
        index.remove(region, hash, entry, &|region: &Region, entry| hashes.of(region, entry));
        self.kill(entry, shape);
    }

    #[inline]
    fn kill(&mut self, entry: Ref, shape: Shape) {
        let segment_bytes = self.region.segment_bytes();
        for number in 0..shape.pieces {
            let piece = block::piece(&self.region, entry, number);
            self.log.kill(&mut self.region, piece, block::piece_bytes(segment_bytes));
        }
        self.log.kill(&mut self.region, entry, shape.block_bytes(segment_bytes));
    }

    /// The live entries.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Ref> {
        let live = self.log.blocks(&self.region).filter(|&(place, _)| block::is_live(&self.region, place));
        live.filter(|&(place, _)| block::list(&self.region, place) != block::PIECE).map(|(place, _)| place)
    }

    /// Walks everything: every entry is found by its key, and every piece belongs to an entry that knows it.
    ///
    /// # Panics
    /// If anything is wrong.
    pub(crate) fn validate(&self) {
        self.region.validate();
        self.log.validate(&self.region);
        self.index.validate(&self.region, &|region: &Region, entry| self.hashes.of(region, entry));
        let (mut entries, mut owned, mut pieces) = (0, 0, 0);
        for (place, _) in self.log.blocks(&self.region).filter(|&(place, _)| block::is_live(&self.region, place)) {
            if block::list(&self.region, place) == block::PIECE {
                let (owner, number) = block::owner(&self.region, place);
                assert!(block::is_live(&self.region, owner), "piece {place} has a dead owner");
                assert_eq!(block::piece(&self.region, owner, number), place, "piece {place} is not known to its owner");
                pieces += 1;
                continue;
            }
            let group = block::group(&self.region, place);
            let key = Key { group, hash: self.hashes.of(&self.region, place), bytes: block::key(&self.region, place) };
            assert_eq!(self.find(key).map(|found| found.entry), Some(place), "entry {place} is not found by its key");
            entries += 1;
            owned += Shape::at(&self.region, place).pieces;
        }
        assert_eq!(entries, self.index.len(), "the index has another number of entries");
        assert_eq!(owned, pieces, "a piece is missing");
    }
}

const _: () = assert!(NONE as u64 * 8 >= crate::limits::REGION_BYTES_MAX - 8, "no entry begins at the last granule");

/// Which granules of an entry of so many to ask for so that each of its lines is asked for, up to [`PREFETCH_LINES_MAX`]
/// of them, where the granules at the first [`PREFETCH_LINES`] multiples of a line's length have been.
#[inline]
fn rest(granules: usize) -> impl Iterator<Item = usize> {
    let end = granules.min(PREFETCH_LINES_MAX * LINE_GRANULES);
    // An entry begins anywhere in a line, so that its last granule may be in a line more than those that are stepped on.
    (PREFETCH_LINES * LINE_GRANULES..end).step_by(LINE_GRANULES).chain([end - 1])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_line_of_an_entry_is_asked_for_and_no_other() {
        let most = PREFETCH_LINES_MAX * LINE_GRANULES;
        for begin in 0..LINE_GRANULES {
            for granules in 4..2 * most {
                let line = |granule: usize| (begin + granule) / LINE_GRANULES;
                let beginning = (0..PREFETCH_LINES).map(|step| line(step * LINE_GRANULES));
                let asked: BTreeSet<usize> = rest(granules).map(line).chain(beginning).collect();
                let its: BTreeSet<usize> = (0..granules.min(most)).map(line).collect();
                let beyond: Vec<_> = asked.difference(&its).collect();
                assert!(its.is_subset(&asked), "{granules} granules from {begin} on: {asked:?} of {its:?}");
                assert!(beyond.is_empty() || granules <= LINE_GRANULES, "{granules} from {begin} on: {beyond:?}");
                assert!(rest(granules).count() < PREFETCH_LINES_MAX, "few for {granules}");
            }
        }
    }
}

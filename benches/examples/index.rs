//! The index of the store beside hashbrown's table: looking up random hashes that are there and that are not, one by
//! one and in batches that are asked for ahead. Of an entry only its hash is read, which lies in memory of its own, as
//! the key of an entry does in the store.
//!
//! `cargo run --release -p larder-benches --example index`, with the options of `cargo bench`.

use std::process::ExitCode;

use hashbrown::HashTable;
use larder_benches::harness::{case, run};

// The index is no part of the store's public face; here it is compiled once more.
#[path = "../../src/store/src/index.rs"]
#[expect(dead_code)]
mod index;
#[path = "../../src/store/src/limits.rs"]
#[expect(dead_code, unreachable_pub)]
mod limits;
#[path = "../../src/store/src/pages.rs"]
#[expect(dead_code, unreachable_pub)]
mod pages;
#[path = "../../src/store/src/prefetch.rs"]
mod prefetch;
#[path = "../../src/store/src/region.rs"]
#[expect(dead_code)]
mod region;
#[path = "../../src/store/src/table/mod.rs"]
#[expect(dead_code)]
mod table;

extern crate alloc;

use index::Index;
use region::{Ref, Region};

const SMALL: u64 = 1_000_000;
const LARGE: u64 = 4_000_000;
/// Look-ups that are asked for ahead together.
const BATCH: usize = 64;
/// Granules of an entry: 128 bytes, of which the first holds the hash.
const ENTRY_GRANULES: u64 = 16;

fn main() -> ExitCode {
    run(&[
        case("hit_1m_hashbrown", || one_by_one(Hashbrown::new(SMALL), SMALL, 0)),
        case("hit_1m_index", || one_by_one(Own::new(SMALL), SMALL, 0)),
        case("miss_1m_hashbrown", || one_by_one(Hashbrown::new(SMALL), SMALL, SMALL)),
        case("miss_1m_index", || one_by_one(Own::new(SMALL), SMALL, SMALL)),
        case("hit_4m_hashbrown", || one_by_one(Hashbrown::new(LARGE), LARGE, 0)),
        case("hit_4m_index", || one_by_one(Own::new(LARGE), LARGE, 0)),
        case("miss_4m_hashbrown", || one_by_one(Hashbrown::new(LARGE), LARGE, LARGE)),
        case("miss_4m_index", || one_by_one(Own::new(LARGE), LARGE, LARGE)),
        case("batch_hit_1m_hashbrown", || in_batches(Hashbrown::new(SMALL), SMALL, 0)),
        case("batch_hit_1m_index", || in_batches(Own::new(SMALL), SMALL, 0)),
        case("batch_miss_1m_hashbrown", || in_batches(Hashbrown::new(SMALL), SMALL, SMALL)),
        case("batch_miss_1m_index", || in_batches(Own::new(SMALL), SMALL, SMALL)),
        case("batch_hit_4m_hashbrown", || in_batches(Hashbrown::new(LARGE), LARGE, 0)),
        case("batch_hit_4m_index", || in_batches(Own::new(LARGE), LARGE, 0)),
        case("batch_miss_4m_hashbrown", || in_batches(Hashbrown::new(LARGE), LARGE, LARGE)),
        case("batch_miss_4m_index", || in_batches(Own::new(LARGE), LARGE, LARGE)),
        case("churn_4m_hashbrown", || churning(Hashbrown::new(LARGE))),
        case("churn_4m_index", || churning(Own::new(LARGE))),
        case("fill_hashbrown", || filling(Hashbrown::new(0))),
        case("fill_index", || filling(Own::new(0))),
    ])
}

/// The hash of the entry with this number: the finisher of SplitMix64.
fn hash(number: u64) -> u64 {
    let mut hash = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

/// Numbers below a bound that follow each other without a pattern.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        ((u128::from(hash(!self.0)) * u128::from(below)) >> 64) as u64
    }
}

/// Entries by hash, each with a place in a region.
trait Table: 'static {
    /// With the entries of so many numbers.
    fn new(entries: u64) -> Self;
    fn find(&self, hash: u64) -> Option<Ref>;
    /// First half of asking ahead.
    fn prefetch(&self, hash: u64);
    /// Second half.
    fn prefetch_entry(&self, hash: u64);
    fn insert(&mut self, number: u64, hash: u64);
    fn remove(&mut self, number: u64, hash: u64);
}

/// Bytes of a region for so many entries, of which only what the index needs is made when there are none.
fn region(entries: u64) -> Region {
    Region::new((entries + 2) * ENTRY_GRANULES * 8 * 5 / 4 + (1 << 30))
}

/// The place of an entry: behind all that the index may take.
fn place(region: &Region, number: u64) -> Ref {
    (region.segments() * region.segment_bytes() / 8) as Ref - (number as Ref + 1) * ENTRY_GRANULES as Ref
}

struct Own {
    region: Region,
    index: Index,
}

impl Table for Own {
    fn new(entries: u64) -> Self {
        let mut region = region(entries);
        let index = Index::new(&mut region);
        let mut own = Self { region, index };
        (0..entries).for_each(|number| own.insert(number, hash(number)));
        own
    }

    fn find(&self, hash: u64) -> Option<Ref> {
        let mut probe = self.index.probe(&self.region, hash);
        core::iter::from_fn(|| self.index.next(&self.region, &mut probe)).find(|&entry| self.region.word(entry) == hash)
    }

    fn prefetch(&self, hash: u64) {
        self.index.prefetch(&self.region, hash);
    }

    fn prefetch_entry(&self, hash: u64) {
        if let Some(entry) = self.index.candidate(&self.region, hash) {
            self.region.prefetch(entry);
        }
    }

    fn insert(&mut self, number: u64, hash: u64) {
        let entry = place(&self.region, number);
        self.region.set_word(entry, hash);
        self.index
            .insert(&mut self.region, hash, entry, &|region, entry| region.word(entry))
            .expect("mixed hashes fit");
    }

    fn remove(&mut self, number: u64, hash: u64) {
        let entry = place(&self.region, number);
        self.index.remove(&mut self.region, hash, entry, &|region, entry| region.word(entry));
    }
}

struct Hashbrown {
    region: Region,
    table: HashTable<Ref>,
}

fn mixed(hash: u64) -> u64 {
    hash.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Table for Hashbrown {
    fn new(entries: u64) -> Self {
        let mut hashbrown = Self { region: region(entries), table: HashTable::new() };
        (0..entries).for_each(|number| hashbrown.insert(number, hash(number)));
        hashbrown
    }

    fn find(&self, hash: u64) -> Option<Ref> {
        self.table.find(mixed(hash), |&entry| self.region.word(entry) == hash).copied()
    }

    fn prefetch(&self, _hash: u64) {}

    fn prefetch_entry(&self, hash: u64) {
        if let Some(&entry) = self.table.find(mixed(hash), |_| true) {
            self.region.prefetch(entry);
        }
    }

    fn insert(&mut self, number: u64, hash: u64) {
        let entry = place(&self.region, number);
        self.region.set_word(entry, hash);
        let region = &self.region;
        self.table.insert_unique(mixed(hash), entry, |&entry| mixed(region.word(entry)));
    }

    fn remove(&mut self, number: u64, hash: u64) {
        let entry = place(&self.region, number);
        let found = self.table.find_entry(mixed(hash), |&other| other == entry);
        found.expect("it was inserted").remove();
    }
}

/// Looks up numbers from `first` on; those below `entries` are there.
fn one_by_one<T: Table>(table: T, entries: u64, first: u64) -> impl FnMut() -> Option<Ref> {
    let mut numbers = Numbers(1);
    move || {
        let found = table.find(hash(first + numbers.next(entries)));
        assert_eq!(found.is_some(), first == 0, "what is there is found");
        found
    }
}

/// The same; with each operation one look-up, and at each 64th they are all done.
fn in_batches<T: Table>(table: T, entries: u64, first: u64) -> impl FnMut() -> usize {
    let mut numbers = Numbers(1);
    let mut hashes = Vec::with_capacity(BATCH);
    move || {
        hashes.push(hash(first + numbers.next(entries)));
        if hashes.len() < BATCH {
            return 0;
        }
        hashes.iter().for_each(|&hash| table.prefetch(hash));
        hashes.iter().for_each(|&hash| table.prefetch_entry(hash));
        let found = hashes.iter().filter(|&&hash| table.find(hash).is_some()).count();
        assert_eq!(found, if first == 0 { BATCH } else { 0 }, "what is there is found");
        hashes.clear();
        found
    }
}

/// Replaces one entry at random by another.
fn churning<T: Table>(mut table: T) -> impl FnMut() {
    let mut numbers = Numbers(1);
    let mut rounds = vec![0_u64; LARGE as usize];
    let of_round = |number: u64, round: u64| hash(number + round * LARGE);
    move || {
        let number = numbers.next(LARGE);
        let round = &mut rounds[number as usize];
        table.remove(number, of_round(number, *round));
        *round += 1;
        table.insert(number, of_round(number, *round));
    }
}

/// Adds one entry after the other, growing; begins anew when there are [`LARGE`].
fn filling<T: Table>(mut table: T) -> impl FnMut() {
    let mut number = 0;
    move || {
        if number == LARGE {
            (table, number) = (T::new(0), 0);
        }
        table.insert(number, hash(number));
        number += 1;
    }
}

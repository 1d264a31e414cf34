//! From the hash of a key to the numbers of entries that may have it: a table of buckets, each one line of the
//! processor's cache with its tags and numbers together, so that a look-up waits for one line, which can be asked for
//! beforehand by the hash alone.
//!
//! A tag is 32 bits of mixed hash. It chooses the bucket, by its high bits scaled to the number of buckets, so that the
//! table's order is that of the tags: it grows by a quarter in one pass over both tables from end to end that looks at
//! no entry. An entry whose bucket is full lies in the next that is not, and every bucket counts those that passed it:
//! where none did, a search ends. Removal is exact and leaves nothing behind.

use alloc::vec::Vec;

use crate::prefetch;

/// Entries of one bucket.
const WIDTH: usize = 7;
/// Of so many places ...
const LOAD_OF: usize = 10;
/// ... so many may be taken before the table grows.
const LOAD_MAX: usize = 8;
/// Buckets of the smallest table that has any.
const BUCKETS_MIN: usize = 4;

/// One line: places below [`Bucket::len`] are taken.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Bucket {
    /// Tags, and in the last place how many there are: so all are compared in two steps of four.
    tags: [u32; WIDTH + 1],
    numbers: [u32; WIDTH],
    /// Entries that belong to this bucket or one before it and lie behind it.
    passed: u32,
}

const _: () = assert!(size_of::<Bucket>() == prefetch::LINE_BYTES, "a bucket is one line");
const _: () = assert!(LOAD_MAX < LOAD_OF, "an insertion finds a free place");

/// Numbers by tag.
#[derive(Debug, Default)]
pub(crate) struct Index {
    buckets: Vec<Bucket>,
    len: usize,
    /// The table grows above it.
    len_max: usize,
}

/// What the index knows of a hash. On one shard the top bits of hashes are all alike, since they chose its slots;
/// multiplying brings the others there.
#[inline]
pub(crate) fn tag(hash: u64) -> u32 {
    (hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
}

impl Index {
    /// How many numbers it holds.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The first number with this tag that `is_it`.
    #[inline]
    pub(crate) fn find(&self, tag: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.home(tag)?;
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let mut matching = bucket.matching(tag);
            while matching != 0 {
                let number = bucket.numbers[matching.trailing_zeros() as usize];
                if is_it(number) {
                    return Some(number);
                }
                matching &= matching - 1;
            }
            if bucket.passed == 0 {
                return None;
            }
            at = self.next(at);
        }
        None
    }

    /// Adds a number, which no other has. The table may grow.
    pub(crate) fn insert(&mut self, tag: u32, number: u32) {
        if self.len == self.len_max {
            self.grow();
        }
        self.len += 1;
        let mut at = self.home(tag).expect("a table that may hold something has buckets");
        while self.buckets[at].len() == WIDTH {
            self.buckets[at].passed += 1;
            at = self.next(at);
        }
        let bucket = &mut self.buckets[at];
        let place = bucket.len();
        (bucket.tags[place], bucket.numbers[place]) = (tag, number);
        bucket.tags[WIDTH] += 1;
    }

    /// Removes a number, and says whether it was there.
    pub(crate) fn remove(&mut self, tag: u32, number: u32) -> bool {
        let Some(home) = self.home(tag) else { return false };
        let Some((at, place)) = self.place(home, tag, number) else { return false };
        let bucket = &mut self.buckets[at];
        bucket.tags[WIDTH] -= 1;
        let last = bucket.len();
        (bucket.tags[place], bucket.numbers[place]) = (bucket.tags[last], bucket.numbers[last]);
        let mut passed = home;
        while passed != at {
            self.buckets[passed].passed -= 1;
            passed = self.next(passed);
        }
        self.len -= 1;
        true
    }

    /// Asks for the line where a search for this tag begins.
    #[inline]
    pub(crate) fn prefetch(&self, tag: u32) {
        if let Some(home) = self.home(tag) {
            prefetch::ends(&self.buckets[home]);
        }
    }

    /// The first number with this tag in the bucket where the search begins; nearly always the one that is meant.
    #[inline]
    pub(crate) fn likely(&self, tag: u32) -> Option<u32> {
        let bucket = &self.buckets[self.home(tag)?];
        let matching = bucket.matching(tag);
        (matching != 0).then(|| bucket.numbers[matching.trailing_zeros() as usize])
    }

    /// Holds every bucket against what lies where.
    ///
    /// # Panics
    /// If anything is wrong.
    pub(crate) fn validate(&self) {
        let mut passed = alloc::vec![0; self.buckets.len()];
        let mut len = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            for &tag in &bucket.tags[..bucket.len()] {
                let mut before = self.home(tag).expect("there are buckets");
                while before != at {
                    passed[before] += 1;
                    before = self.next(before);
                }
                len += 1;
            }
        }
        assert_eq!(len, self.len, "the index has another number of entries");
        assert!(self.len <= self.len_max, "the index is too full");
        for (at, bucket) in self.buckets.iter().enumerate() {
            assert_eq!(bucket.passed, passed[at], "bucket {at} counts others than passed it");
        }
    }

    /// The bucket where a tag belongs; `None`: there are no buckets.
    #[inline]
    fn home(&self, tag: u32) -> Option<usize> {
        let home = ((u64::from(tag) * self.buckets.len() as u64) >> u32::BITS) as usize;
        (home < self.buckets.len()).then_some(home)
    }

    #[inline]
    fn next(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() { 0 } else { at + 1 }
    }

    /// Bucket and place of a number.
    fn place(&self, home: usize, tag: u32, number: u32) -> Option<(usize, usize)> {
        let mut at = home;
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            if let Some(place) = bucket.numbers[..bucket.len()].iter().position(|&other| other == number) {
                debug_assert_eq!(bucket.tags[place], tag, "a number keeps its tag");
                return Some((at, place));
            }
            if bucket.passed == 0 {
                return None;
            }
            at = self.next(at);
        }
        None
    }

    /// Grows by a quarter.
    #[cold]
    fn grow(&mut self) {
        let count = (self.buckets.len() + self.buckets.len() / 4).max(BUCKETS_MIN);
        let mut buckets = Vec::new();
        buckets.reserve_exact(count);
        buckets.resize(count, Bucket::default());
        let old = core::mem::replace(&mut self.buckets, buckets);
        (self.len, self.len_max) = (0, count * WIDTH * LOAD_MAX / LOAD_OF);
        for bucket in &old {
            for place in 0..bucket.len() {
                self.insert(bucket.tags[place], bucket.numbers[place]);
            }
        }
    }
}

impl Bucket {
    /// The places with this tag, as bits.
    #[inline]
    fn matching(&self, tag: u32) -> u32 {
        let mut matching = 0;
        for (place, &other) in self.tags.iter().enumerate() {
            matching |= u32::from(other == tag) << place;
        }
        matching & ((1 << self.len()) - 1)
    }

    /// How many places are taken.
    #[inline]
    fn len(&self) -> usize {
        self.tags[WIDTH] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Tags that differ in few bits fill buckets far beyond their width, also around the end of the table.
    fn crowded(random: &mut fastrand::Rng) -> u32 {
        match random.u8(0..4) {
            0 => random.u32(..),
            1 => u32::MAX - random.u32(0..4),
            2 => random.u32(0..4),
            _ => random.u32(0..4) << 30,
        }
    }

    #[test]
    fn the_index_behaves_like_a_map() {
        for seed in 0..30 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut index, mut model) = (Index::default(), BTreeMap::new());
            for number in 0..1500_u32 {
                if random.u8(0..3) > 0 {
                    let tag = if seed % 2 == 0 { crowded(&mut random) } else { random.u32(..) };
                    index.insert(tag, number);
                    model.insert(number, tag);
                } else if let Some((&number, &tag)) = model.iter().nth(random.usize(0..=model.len())) {
                    assert!(index.remove(tag, number), "seed {seed}: {number} is there");
                    assert!(!index.remove(tag, number), "seed {seed}: {number} is gone");
                    model.remove(&number);
                }
                if number % 50 == 0 {
                    index.validate();
                    for (&number, &tag) in &model {
                        assert_eq!(index.find(tag, |other| other == number), Some(number), "seed {seed}");
                    }
                }
                let tag = random.u32(..);
                let known: Vec<u32> = model.iter().filter(|pair| *pair.1 == tag).map(|pair| *pair.0).collect();
                let mut seen = Vec::new();
                assert_eq!(
                    index.find(tag, |other| {
                        seen.push(other);
                        false
                    }),
                    None,
                    "seed {seed}"
                );
                seen.sort_unstable();
                assert_eq!(seen, known, "seed {seed} number {number}");
                index.prefetch(tag);
                assert!(index.likely(tag).is_none_or(|likely| known.contains(&likely)), "seed {seed}");
            }
            assert_eq!(index.len(), model.len(), "seed {seed}");
        }
    }

    #[test]
    fn a_search_seldom_leaves_its_first_bucket() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut index = Index::default();
        let mut worst = 0;
        for number in 0..200_000_u32 {
            index.insert(random.u32(..), number);
            if index.len == index.len_max {
                let elsewhere: u64 = index.buckets.iter().map(|bucket| u64::from(bucket.passed)).sum();
                worst = worst.max(elsewhere * 100 / index.len.max(1000) as u64);
            }
        }
        assert!(worst < 30, "{worst} steps beyond the first bucket per 100 entries");
    }

    #[test]
    fn an_entry_costs_what_the_limits_say() {
        let mut index = Index::default();
        for number in 0..100_000 {
            index.insert(tag(u64::from(number)), number);
            if number > 1000 {
                let bytes = index.buckets.capacity() * size_of::<Bucket>();
                assert!(bytes * 10 <= index.len() * 145, "{bytes} bytes for {}", index.len());
            }
        }
    }

    #[test]
    fn tags_differ_where_only_low_bits_of_hashes_do() {
        let homes: std::collections::HashSet<u32> =
            (0..1000_u64).map(|low| tag(0xABCD_E000_0000_0000 | low) >> 22).collect();
        assert!(homes.len() > 500, "{} of 1024 buckets are used", homes.len());
    }
}

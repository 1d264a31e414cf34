//! How often keys were asked for lately, estimated from their hashes: a count-min sketch (G. Cormode and
//! S. Muthukrishnan, "An Improved Data Stream Summary: The Count-Min Sketch and its Applications", J. Algorithms 2005)
//! with aging (G. Einziger, R. Friedman and B. Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM TOS 2017; that
//! requests for keys with full counters do not bring aging nearer, as in Caffeine by the same authors).
//!
//! A key has four counters of 4 bits, all in one line of the region, and its frequency is the least of them. Only those
//! that are the least are counted up. The paper halves all counters after a number of requests; here a hand does that line
//! after line, one for each request, so that no request pays for all. The number of lines follows
//! the number of entries by linear hashing (W. Litwin, VLDB 1980): one more line is a copy of the one that its keys had
//! before, one less is taken in by it.
//!
//! Where the region has no segment for more lines, the sketch stays as it is and tells keys apart less well.

use crate::limits::{SKETCH_AGE, SKETCH_LINE_ENTRIES, SKETCH_LINES_PER_STEP, SKETCH_REST};
use crate::prefetch::LINE_BYTES;
use crate::region::{LINE_GRANULES, Line, Region, Use};
use crate::table::Lines;

/// The most that a counter can say.
pub(crate) const FREQUENCY_MAX: u8 = 15;
/// Counters of a key.
const ROWS: usize = 4;
/// Granules of a line that belong to one row.
const ROW_GRANULES: usize = LINE_GRANULES / ROWS;
/// Bits that choose one of the counters of a row.
const ROW_BITS: u32 = (ROW_GRANULES * 16).trailing_zeros();

/// See the module. Takes no memory before the first key is counted.
#[derive(Debug)]
pub(crate) struct Sketch {
    /// As many as fit into the segments taken.
    lines: Lines,
    /// How many of these are in use.
    used: usize,
    /// The next one to be aged; none, if it is as many as are in use.
    hand: usize,
    /// Requests that were counted since all lines were aged, and half of those before.
    counted: u64,
    /// Memory is not taken for so many entries, because it had to be given away.
    rest: u32,
}

impl Sketch {
    /// A sketch of nothing.
    pub(crate) fn new(region: &Region) -> Self {
        Self { lines: Lines::new(region, Use::Ghost), used: 0, hand: 0, counted: 0, rest: 0 }
    }

    /// What it takes of a budget in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        (self.used * LINE_BYTES) as u64
    }

    /// Grows or shrinks towards what so many entries need, by a few lines.
    pub(crate) fn fit(&mut self, region: &mut Region, entries: u64) {
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        let wanted = entries.div_ceil(SKETCH_LINE_ENTRIES) as usize;
        for _ in 0..SKETCH_LINES_PER_STEP {
            if self.used < wanted {
                if !self.grow(region) {
                    break;
                }
            } else if self.used > 2 * wanted.max(1) {
                self.shrink(region);
            } else {
                break;
            }
        }
    }

    /// Counts a request for a key of a cache with so many entries.
    #[inline]
    pub(crate) fn count(&mut self, region: &mut Region, hash: u64, entries: u64) {
        let Some((line, counters)) = self.place(hash) else { return };
        let line = region.line_mut(self.lines.place(line));
        let frequency = least(line, counters);
        if frequency < FREQUENCY_MAX {
            self.counted += 1;
            for (granule, shift) in counters {
                let word = u64::from_le_bytes(line[granule]);
                if (word >> shift) as u8 & FREQUENCY_MAX == frequency {
                    line[granule] = (word + (1 << shift)).to_le_bytes();
                }
            }
        }
        self.age(region, entries);
    }

    /// About how often a key was counted lately; 0 to [`FREQUENCY_MAX`].
    #[inline]
    pub(crate) fn frequency(&self, region: &Region, hash: u64) -> u8 {
        self.place(hash).map_or(0, |(line, counters)| least(region.line(self.lines.place(line)), counters))
    }

    /// Asks the processor for what is read to count this hash.
    #[inline]
    pub(crate) fn prefetch(&self, region: &Region, hash: u64) {
        if let Some((line, _)) = self.place(hash) {
            region.prefetch(self.lines.place(line));
        }
    }

    /// Forgets everything, and gives its memory back; whether there was something.
    pub(crate) fn clear(&mut self, region: &mut Region) -> bool {
        self.lines.shrink(region, 0);
        (self.hand, self.counted) = (0, 0);
        core::mem::take(&mut self.used) > 0
    }

    /// The same because its memory is needed: it takes none again before some more entries have come.
    pub(crate) fn give_away(&mut self, region: &mut Region) -> bool {
        let was_there = self.clear(region);
        if was_there {
            self.rest = SKETCH_REST;
        }
        was_there
    }

    /// Walks everything.
    ///
    /// # Panics
    /// If a segment is not its own, or more or fewer are taken than its lines need.
    pub(crate) fn validate(&self, region: &Region) {
        self.lines.validate(region, 0);
        assert_eq!(self.lines.len(), self.used.next_multiple_of(self.lines.of_segments(1)), "{self:?}");
        assert!(self.hand <= self.used, "{self:?}");
    }

    /// The line of a hash, and its counters there: granules, and how far they are shifted in them.
    #[inline]
    fn place(&self, hash: u64) -> Option<(usize, [(usize, u32); ROWS])> {
        if self.used == 0 {
            return None;
        }
        // Bits of the hash have chosen the shard; in the upper half of the product all of them are mixed.
        let mixed = (hash ^ hash >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let number = (mixed >> 32) as usize;
        let level = self.used.next_power_of_two();
        let line = match number & (level - 1) {
            line if line < self.used => line,
            line => line - level / 2,
        };
        let counter = |row: usize| {
            let number = (mixed >> (row as u32 * ROW_BITS)) as usize & ((1 << ROW_BITS) - 1);
            (row * ROW_GRANULES + number / 16, (number % 16 * 4) as u32)
        };
        Some((line, core::array::from_fn(counter)))
    }

    /// One more line, with the counts of that which its keys had; whether there was memory for it.
    fn grow(&mut self, region: &mut Region) -> bool {
        if self.used == self.lines.len() && !self.lines.grow(region) {
            return false;
        }
        let copied = match self.used {
            0 => Line::default(),
            used => *region.line(self.lines.place(parent(used))),
        };
        *region.line_mut(self.lines.place(self.used)) = copied;
        self.used += 1;
        // If its line was aged just now, so was it.
        self.hand = if self.hand + 1 == self.used { self.used } else { self.hand };
        true
    }

    /// One line less; the one that its keys have then keeps the greater count of each pair.
    fn shrink(&mut self, region: &mut Region) {
        self.used -= 1;
        if self.used > 0 {
            let last = *region.line(self.lines.place(self.used));
            let parent = region.line_mut(self.lines.place(parent(self.used)));
            for (granule, other) in parent.iter_mut().zip(last) {
                *granule = greater(u64::from_le_bytes(*granule), u64::from_le_bytes(other)).to_le_bytes();
            }
        }
        self.hand = self.hand.min(self.used);
        self.lines.shrink(region, self.used);
    }

    /// Once each entry was counted [`SKETCH_AGE`] times on average, the hand goes over all lines, one for each request.
    /// What counts nothing any more does not count for that either.
    #[inline]
    fn age(&mut self, region: &mut Region, entries: u64) {
        if self.hand < self.used {
            for granule in region.line_mut(self.lines.place(self.hand)) {
                *granule = (u64::from_le_bytes(*granule) >> 1 & 0x7777_7777_7777_7777).to_le_bytes();
            }
            self.hand += 1;
        } else if self.counted >= entries.saturating_mul(SKETCH_AGE) {
            (self.counted, self.hand) = (self.counted / 2, 0);
        }
    }
}

/// The line whose keys a line takes over when it is added behind so many.
fn parent(used: usize) -> usize {
    used - (used + 1).next_power_of_two() / 2
}

/// The least of some counters.
#[inline]
fn least(line: &Line, counters: [(usize, u32); ROWS]) -> u8 {
    let count = |(granule, shift): (usize, u32)| (u64::from_le_bytes(line[granule]) >> shift) as u8 & FREQUENCY_MAX;
    counters.map(count).into_iter().fold(FREQUENCY_MAX, u8::min)
}

/// The greater of each pair of counters.
fn greater(one: u64, other: u64) -> u64 {
    let counter = |shift: u32| (one >> shift & 15).max(other >> shift & 15) << shift;
    (0..16).map(|place| counter(4 * place)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn hash(key: u64) -> u64 {
        let mixed = (key ^ 0x1234_5678).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        (mixed ^ mixed >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93)
    }

    #[test]
    fn frequencies_are_those_counted_and_seldom_more() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut region = Region::new(16 << 20);
        let mut sketch = Sketch::new(&region);
        let entries = 10_000;
        (0..entries).for_each(|count| sketch.fit(&mut region, count));
        let mut counted: HashMap<u64, u8> = HashMap::new();
        // Not so many that the hand comes round.
        for _ in 0..entries {
            let draw = random.f64();
            let key = (draw * draw * entries as f64) as u64;
            sketch.count(&mut region, hash(key), entries * 1_000);
            *counted.entry(key).or_default() += 1;
        }
        let mut above = 0;
        for (key, count) in &counted {
            let (found, count) = (sketch.frequency(&region, hash(*key)), (*count).min(FREQUENCY_MAX));
            assert!(found >= count, "key {key}: {found} of {count}");
            above += usize::from(found > count);
        }
        assert!(above * 20 < counted.len(), "{above} of {} keys count too much", counted.len());
        let strangers = (0..1000).filter(|key| sketch.frequency(&region, hash(1 << 40 | key)) > 0).count();
        assert!(strangers < 200, "{strangers} of 1,000 strangers are known");
        sketch.validate(&region);
    }

    #[test]
    fn counts_survive_growing_and_shrinking() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut region = Region::of_segments(200, 1024);
            let mut sketch = Sketch::new(&region);
            sketch.fit(&mut region, 1);
            let mut counted = [0; 30];
            for step in 0..500 {
                let entries = if step / 100 % 2 == 0 { random.u64(1..4000) } else { random.u64(1..100) };
                sketch.fit(&mut region, entries);
                let key = random.usize(0..counted.len());
                sketch.count(&mut region, hash(key as u64), u64::from(u32::MAX));
                counted[key] = (counted[key] + 1).min(FREQUENCY_MAX);
                let found = sketch.frequency(&region, hash(key as u64));
                assert!(found >= counted[key], "seed {seed} step {step}: {found} of {}", counted[key]);
                sketch.validate(&region);
                region.validate();
            }
            assert!(sketch.clear(&mut region));
            assert_eq!((sketch.bytes(), region.free()), (0, region.segments()), "all memory was given back");
        }
    }

    #[test]
    fn what_is_not_asked_for_any_more_is_forgotten() {
        let mut region = Region::new(1 << 20);
        let mut sketch = Sketch::new(&region);
        let entries = 1000;
        (0..entries).for_each(|count| sketch.fit(&mut region, count));
        (0..15).for_each(|_| sketch.count(&mut region, hash(1), entries));
        assert_eq!(sketch.frequency(&region, hash(1)), FREQUENCY_MAX);
        let mut random = fastrand::Rng::with_seed(1);
        // The hand comes round five times; what was counted 15 times is forgotten after four.
        for _ in 0..5 * SKETCH_AGE * entries {
            sketch.count(&mut region, hash(random.u64(1 << 20..1 << 40)), entries);
        }
        assert!(sketch.frequency(&region, hash(1)) < 5, "{}", sketch.frequency(&region, hash(1)));
    }

    #[test]
    fn without_memory_there_are_no_counts_and_no_harm() {
        let mut region = Region::of_segments(8, 1024);
        let mut sketch = Sketch::new(&region);
        sketch.count(&mut region, 7, 100);
        assert_eq!((sketch.frequency(&region, 7), sketch.bytes()), (0, 0));
        (0..100_000).for_each(|count| sketch.fit(&mut region, count));
        assert!(sketch.bytes() > 0 && region.free() >= crate::limits::RESERVE_SEGMENTS);
        sketch.count(&mut region, 7, 100);
        assert_eq!(sketch.frequency(&region, 7), 1);
        assert!(sketch.give_away(&mut region) && !sketch.give_away(&mut region));
        sketch.fit(&mut region, 1000);
        assert_eq!(sketch.bytes(), 0, "it rests");
    }
}

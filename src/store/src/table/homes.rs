//! Which line is the home of a hash, also while the number of lines changes.

/// Homes of points. A point is the top bits of a mixed hash, and points are spread over the lines in order: home is
/// monotonic in the point. While a table is resized, points below `split` have their home among `lower` lines, the
/// others among `upper`. The order stays, since the points above `split` always have the larger number of lines when
/// growing, and those below it the smaller one when shrinking.
#[derive(Clone, Copy, Debug)]
pub(super) struct Homes {
    /// Bits of a point.
    pub(super) bits: u32,
    /// The first point that has its home among `upper` lines.
    pub(super) split: u64,
    /// How many home lines there are for points below `split`.
    pub(super) lower: u64,
    /// How many home lines there are for the other points.
    pub(super) upper: u64,
}

impl Homes {
    /// So many home lines for all points.
    pub(super) fn new(bits: u32, lines: usize) -> Self {
        Self { bits, split: 0, lower: lines as u64, upper: lines as u64 }
    }

    /// The point of a hash. Top bits of the hashes of one shard are alike; the product depends on all of them.
    #[inline]
    pub(super) fn point(&self, hash: u64) -> u64 {
        hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - self.bits)
    }

    /// One more than the last point.
    pub(super) fn end(&self) -> u64 {
        1 << self.bits
    }

    /// The home line of a point.
    #[inline]
    pub(super) fn home(&self, point: u64) -> usize {
        let lines = if point < self.split { self.lower } else { self.upper };
        // A product with the point at the top of a word has its home in the upper half.
        ((u128::from(point << (64 - self.bits)) * u128::from(lines)) >> 64) as usize
    }

    /// The first point whose home among so many lines is this one.
    pub(super) fn first_point(&self, home: usize, lines: u64) -> u64 {
        ((home as u128) << self.bits).div_ceil(u128::from(lines)) as u64
    }

    /// The first point behind this one with another home; the end if there is none.
    pub(super) fn next(&self, point: u64) -> u64 {
        let behind = self.home(point) + 1;
        match point < self.split {
            true => self.first_point(behind, self.lower).min(self.split),
            false => self.first_point(behind, self.upper),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_in_the_order_of_points_whatever_the_split() {
        for (lines, other) in [(5, 7), (7, 5), (1, 2), (13, 13), (16, 9)] {
            let mut homes = Homes { bits: 8, split: 0, lower: lines, upper: other };
            if other < lines {
                (homes.lower, homes.upper) = (other, lines);
            }
            let old = lines;
            for line in 0..=old as usize {
                homes.split = homes.first_point(line, old);
                let all: Vec<usize> = (0..homes.end()).map(|point| homes.home(point)).collect();
                assert!(all.is_sorted(), "{homes:?}");
                for point in 0..homes.end() {
                    let next = (point + 1..homes.end()).find(|&other| all[other as usize] != all[point as usize]);
                    // Points on both sides of the split may share a home; a step that ends there is short, not wrong.
                    let next = next.unwrap_or(homes.end());
                    let found = homes.next(point);
                    assert!(
                        found == next || found == homes.split && point < found && found < next,
                        "{homes:?} {point}"
                    );
                }
            }
            assert_eq!(homes.split, homes.end());
        }
    }
}

//! How a table gets more lines or fewer, a few at each insertion and removal.
//!
//! A table begins with a part of a segment, which is doubled until it is a whole one; from then on it has whole segments.
//! Growing from `l` lines to `m`: segments are taken and their lines wiped, a bounded number at each call. Then the old
//! homes are swept from the last to the first: all entries of a home are taken out, `split` is set to the first point of
//! that home, and they are put in again, which is now among `m` homes, and never before the old one. Points from `split`
//! on have new homes, those below it old ones, and homes are in the order of points all the while; so between two swept
//! lines the table is a table like any other, and everything that is said in [`super`] holds.
//!
//! Shrinking is the same from the first home to the last, with the points below `split` among fewer homes. When all are
//! swept, nothing lies behind the last new home and its spare lines, and the segments there are given back.
//!
//! Entries that are moved need not be asked for their hash: the point is the only one of its home with that tag. The few
//! that lie [`Layout::FAR`] lines behind their home or more are the exception.
//!
//! If entries do not fit at their new homes, they are put back, the line stays unswept and the insertion is refused; that
//! needs as many hashes that are nearly equal as any other [`Crowded`].

use crate::limits::{PASSED_MAX, RUN_LINES_MAX, SWEEP_LINES, SWEEP_MOVES, WIPE_LINES};
use crate::region::{Region, Use};

use super::homes::Homes;
use super::{Crowded, EntryLine, GhostLine, Layout, Table};

/// How far a change of the number of lines has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resize {
    /// None is under way.
    Steady,
    /// Segments are taken and their lines wiped, until there are so many.
    Gathering {
        /// How many lines there were, the spare ones included.
        from: usize,
        /// How many there will be.
        to: usize,
    },
    /// Old homes from this one on are swept.
    Growing {
        /// The last one that was swept.
        swept: usize,
    },
    /// Old homes below this one are swept.
    Shrinking {
        /// The next one to be swept.
        next: usize,
        /// How many lines will be left, the spare ones included.
        to: usize,
    },
}

/// Most entries that one insertion or removal moves: usually some fifty while lines are swept and one or two otherwise;
/// so many only if somebody chose the hashes.
#[cfg(test)]
pub(super) const MOVES_MAX: usize = RUN_LINES_MAX + SWEEP_MOVES + LINE_MOVES_MAX;
/// Most entries that have one home.
const HOME_ENTRIES_MAX: usize = PASSED_MAX + 10;
/// Most entries that are moved to sweep one line, and then to put them back because they did not fit.
const LINE_MOVES_MAX: usize = 2 * HOME_ENTRIES_MAX * (2 * RUN_LINES_MAX + 1);

// A table that has just grown to m = l + l / grow_share lines or more is due to grow again after grow_percent of the slots
// of m - l lines were filled. Half of these insertions sweep all l lines, so that the other half is left for taking and
// wiping segments.
const fn grows_in_time<L: Layout>() -> bool {
    SWEEP_LINES * L::SLOTS * L::LOAD.grow_percent >= 2 * L::LOAD.grow_share * 100
}

const _: () = assert!(grows_in_time::<EntryLine>() && grows_in_time::<GhostLine>(), "growing must not be overtaken");
const _: () = assert!(WIPE_LINES > 0 && LINE_MOVES_MAX < 1 << 20);

impl<L: Layout> Table<L> {
    /// How many lines are homes, once no change is under way.
    pub(crate) fn home_lines(&self) -> usize {
        self.homes.upper.max(self.homes.lower) as usize
    }

    /// Whether it would have grown, had there been a segment to take. Until there is one look-ups grow longer, and
    /// insertions may be refused.
    pub(crate) fn wants_segment(&self, region: &Region) -> bool {
        let waits = matches!(self.resize, Resize::Gathering { to, .. } if self.lines.len() < to);
        waits && !region.can_take(Use::Index)
    }

    /// A bounded part of a change of the number of lines, or the beginning of one that is due.
    pub(super) fn pay(&mut self, region: &mut Region, hash_of: &impl Fn(&Region, u32) -> u64) -> Result<(), Crowded> {
        match self.resize {
            Resize::Steady => self.begin(),
            Resize::Gathering { from, to } => self.gather(region, from, to),
            Resize::Growing { .. } | Resize::Shrinking { .. } => {
                let begun = self.moved;
                for _ in 0..SWEEP_LINES {
                    if self.resize == Resize::Steady || self.moved - begun > SWEEP_MOVES as u64 {
                        break;
                    }
                    self.sweep_one(region, hash_of)?;
                }
            }
        }
        Ok(())
    }

    /// Whether so many entries are more than this share of the slots of so many homes.
    fn is_above(entries: usize, percent: usize, homes: usize) -> bool {
        entries * 100 > percent * L::SLOTS * homes
    }

    fn begin(&mut self) {
        let (lines, segment_lines) = (self.lines_end(), self.lines.of_segments(1));
        let segments = lines / segment_lines;
        if Self::is_above(self.len, L::LOAD.grow_percent, self.home_lines()) {
            let to = match segments {
                0 => (2 * lines).min(segment_lines),
                _ => (segments + segments.div_ceil(L::LOAD.grow_share)) * segment_lines,
            };
            self.resize = Resize::Gathering { from: lines, to };
        } else if lines > self.lines_min {
            let to = match segments {
                0 | 1 => lines / 2,
                _ => (segments - (segments / L::LOAD.grow_share).max(1)) * segment_lines,
            };
            let to = to.max(self.lines_min);
            let fewer = to - Self::SPARE;
            if !Self::is_above(self.len.max(self.room), L::LOAD.shrink_percent, fewer) {
                self.homes = Homes { split: 0, lower: fewer as u64, ..self.homes };
                self.resize = Resize::Shrinking { next: 0, to };
            }
        }
    }

    fn gather(&mut self, region: &mut Region, from: usize, to: usize) {
        if !Self::is_above(self.len, L::LOAD.shrink_percent, self.home_lines()) {
            // It waited for a segment until it needed none any more.
            self.lines.shrink(region, from);
            self.resize = Resize::Steady;
        } else if self.lines.wipe(region, to, WIPE_LINES) {
            if self.lines.len() < to {
                self.lines.grow(region);
            } else {
                let lines = self.home_lines();
                self.homes = Homes { split: self.homes.end(), ..self.homes };
                self.homes.upper = (to - Self::SPARE) as u64;
                self.resize = Resize::Growing { swept: lines };
            }
        }
    }

    /// Sweeps the next line, or ends the change if there is none.
    fn sweep_one(&mut self, region: &mut Region, hash_of: &impl Fn(&Region, u32) -> u64) -> Result<(), Crowded> {
        let Homes { bits, lower, upper, .. } = self.homes;
        match self.resize {
            Resize::Growing { swept: 0 } => {
                self.homes = Homes::new(bits, upper as usize);
                self.resize = Resize::Steady;
            }
            Resize::Growing { swept } => {
                let (first, split) = (self.homes.first_point(swept - 1, lower), self.homes.split);
                self.sweep(region, swept - 1, first, (split, first), hash_of)?;
                self.resize = Resize::Growing { swept: swept - 1 };
            }
            Resize::Shrinking { next, to } if next == upper as usize => {
                self.homes = Homes::new(bits, lower as usize);
                self.lines.shrink(region, to);
                self.resize = Resize::Steady;
            }
            Resize::Shrinking { next, to } => {
                let (first, behind) = (self.homes.split, self.homes.first_point(next + 1, upper));
                self.sweep(region, next, first, (first, behind), hash_of)?;
                self.resize = Resize::Shrinking { next: next + 1, to };
            }
            Resize::Steady | Resize::Gathering { .. } => {}
        }
        Ok(())
    }

    /// Moves the entries of a home, whose first point is given, to where they belong after the split.
    fn sweep(
        &mut self,
        region: &mut Region,
        home: usize,
        first: u64,
        (before, after): (u64, u64),
        hash_of: &impl Fn(&Region, u32) -> u64,
    ) -> Result<(), Crowded> {
        let mut swept = core::mem::take(&mut self.swept);
        swept.clear();
        // All points of the home are less than the number of tags away from the first.
        let point = |tag: u32| first + u64::from(Self::tag(u64::from(tag).wrapping_sub(first)));
        self.each_of_home(region, home, hash_of, |content, value| swept.push((point(content.tag), value)));
        // The last first: then hardly any line has to fetch one from the next.
        for &(point, value) in swept.iter().rev() {
            self.take_out(region, point, value, hash_of);
        }
        self.homes.split = after;
        self.moved += swept.len() as u64;
        let mut result = Ok(());
        for (count, &(point, value)) in swept.iter().rev().enumerate() {
            if self.add(region, point, value, hash_of).is_err() {
                result = Err(Crowded { victim: value });
                for &(point, value) in swept.iter().rev().take(count) {
                    self.take_out(region, point, value, hash_of);
                }
                self.homes.split = before;
                for &(point, value) in &swept {
                    self.add(region, point, value, hash_of).expect("what was there before fits");
                }
                break;
            }
        }
        self.swept = swept;
        result
    }
}

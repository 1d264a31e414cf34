//! A hash table in segments that grows and shrinks in place, in bounded steps, without asking what it holds.
//!
//! A table is an array of lines with some slots each; a slot holds a tag, a value of 32 bits, and how far the entry lies
//! from its home. The *point* of an entry is the top bits of its mixed hash, and homes are in the order of points
//! ([`homes`]). Since there are at least as many lines as tags have room for, home and tag together are the point: an
//! entry can be moved to another home without its hash.
//!
//! Entries that do not fit into their home lie behind it. What holds between any two calls:
//! 1. *Order.* If one entry's home is before another's, it does not lie behind it. Within a line there is no order.
//! 2. *No gaps.* A line is full if any entry passes it over: lies behind it, with its home there or before.
//! 3. *Counts.* Each line knows how many entries pass it over; they are at most [`PASSED_MAX`].
//! 4. *Runs.* At most [`RUN_LINES_MAX`] lines in a row are passed over.
//!
//! By 1 and 2, the entries that pass over line `h` fill the lines behind it without a gap, so an entry with home `h` is
//! in `h` or in one of the next `passed(h) / slots`, rounded up. That is where a look-up ends, nearly always in the first
//! line. It also follows that the counts depend on the set of entries alone, not on its history: churn does not lengthen
//! look-ups, and an entry that was taken out can always be put back. Keeping entries where they first fell instead was
//! tried: at this load and after some rounds of churn, a miss had to look at 32 lines.
//!
//! An insertion carries one entry from each full line into the next, up to a line with room; a removal fetches one
//! back the same way. By 4 neither takes more than [`RUN_LINES_MAX`] moves. With mixed hashes runs longer than that do
//! not occur (about 1 in 10^15 at full load); where equal or chosen hashes would make one, or break 3, the insertion is
//! refused and names an entry that has to leave first ([`Crowded`]). Behind the last home there are enough lines for
//! [`PASSED_MAX`] entries, so that nothing wraps around.
//!
//! [`resize`] says how the number of lines changes.

mod check;
mod equal;
mod homes;
mod line;
mod lines;
mod resize;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::marker::PhantomData;

use crate::limits::{FIRST_LINES, HOME_ENTRIES_MAX, PASSED_MAX, RUN_LINES_MAX};
use crate::region::{Line, Region, Use};

use homes::Homes;
pub(crate) use line::{EntryLine, GhostLine, Layout};
use line::{PASSED_END, Slot, clear, filled, pass, passed, push, slot, unpass};
pub(crate) use lines::Lines;
use resize::Resize;

const _: () = assert!(FIRST_LINES > 2 * PASSED_MAX, "a table must begin with more lines than the spare ones");
const _: () = assert!(PASSED_MAX < PASSED_END, "the count of a line must be able to say it");
const _: () = assert!(
    EntryLine::SLOTS + PASSED_MAX <= HOME_ENTRIES_MAX,
    "entries of one home are in it, or are among those that pass it over"
);

/// A table whose lines are laid out in one way.
#[derive(Debug)]
pub(crate) struct Table<L> {
    lines: Lines,
    homes: Homes,
    resize: Resize,
    /// It never has less lines than this, the spare ones included.
    lines_min: usize,
    len: usize,
    /// It does not shrink to fewer lines than so many entries need, see [`Table::keep_room`].
    room: usize,
    /// How many entries were moved from one slot to another.
    moved: u64,
    /// Points and values of the line that is being swept; kept for its memory.
    swept: Vec<(u64, u32)>,
    layout: PhantomData<L>,
}

/// An insertion was refused, because too many entries have their homes nearby. It will do when this one has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded {
    /// What has to leave.
    pub(crate) victim: u32,
}

/// A look-up on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe<'r> {
    /// The line that it is at, and its number.
    line: &'r Line,
    at: usize,
    tag: u32,
    /// Slots of the line that are still to be asked about.
    matches: u32,
    /// How many lines there are behind it, once that has been asked.
    lines_left: Option<usize>,
}

/// An entry on its way from line to line.
#[derive(Clone, Copy, Debug)]
struct Carried {
    tag: u32,
    value: u32,
    home: usize,
}

impl<L: Layout> Table<L> {
    /// Lines behind the last home.
    const SPARE: usize = PASSED_MAX.div_ceil(L::SLOTS);

    /// An empty table in whole segments, if there are as many. `lines_max` is how many lines it is expected to need at
    /// most; it may come to have more, but then tags say less. All segments that it begins with are wiped.
    pub(crate) fn new(region: &mut Region, purpose: Use, lines_max: usize) -> Option<Self> {
        let lines = Lines::new(region, purpose);
        // With 256 times as many lines, 8 bits of a tag of 16 are still unknown to who knows the home.
        let lines_min = (lines_max / 256 + Self::SPARE + 1).next_multiple_of(lines.of_segments(1));
        Self::with_lines(region, lines, lines_min)
    }

    /// An empty table of [`FIRST_LINES`] or of one segment, whichever is less, if there is memory for it. What it wipes
    /// is that much, or where segments are tiny, as many of them as are needed.
    pub(crate) fn small(region: &mut Region, purpose: Use) -> Option<Self> {
        let lines = Lines::new(region, purpose);
        let lines_min = Self::small_lines(&lines);
        Self::with_lines(region, lines, lines_min)
    }

    /// How many segments [`Table::small`] needs.
    pub(crate) fn small_segments(region: &Region, purpose: Use) -> usize {
        let lines = Lines::new(region, purpose);
        Self::small_lines(&lines).div_ceil(lines.of_segments(1))
    }

    fn small_lines(lines: &Lines) -> usize {
        (Self::SPARE + 1).next_multiple_of(lines.of_segments(1)).min(FIRST_LINES)
    }

    fn with_lines(region: &mut Region, mut lines: Lines, lines_min: usize) -> Option<Self> {
        while lines.len() < lines_min {
            if !lines.grow(region) {
                lines.shrink(region, 0);
                return None;
            }
        }
        lines.wipe(region, lines_min, usize::MAX);
        let homes = Homes::new(L::TAG_BITS + (lines_min - Self::SPARE).ilog2(), lines_min - Self::SPARE);
        let (resize, swept) = (Resize::Steady, Vec::new());
        Some(Self { lines, homes, resize, lines_min, len: 0, room: 0, moved: 0, swept, layout: PhantomData })
    }

    /// Gives all memory back.
    pub(crate) fn dissolve(mut self, region: &mut Region) {
        self.lines.shrink(region, 0);
    }

    /// How many entries there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// From now on it does not shrink to fewer lines than so many entries need. Half of the lines for half of the entries
    /// are too few if those all have their homes in one half: who takes entries out in the order of their lines has to
    /// say how many there were.
    #[inline]
    pub(crate) fn keep_room(&mut self, entries: usize) {
        self.room = entries;
    }

    /// How many entries were moved from one slot to another since the beginning.
    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }

    /// What is known of the entry with this hash that is the right one: `known` says it of the right value.
    #[inline(always)]
    pub(crate) fn find<T>(&self, region: &Region, hash: u64, known: impl Fn(u32) -> Option<T>) -> Option<T> {
        let mut probe = self.probe(region, hash);
        while let Some(value) = self.next(region, &mut probe) {
            let found = known(value);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// A look-up of this hash that has begun. It and [`Table::next`] are loops without a closure, because one that is
    /// passed on to a function and called in several places is not compiled into them.
    #[inline(always)]
    pub(crate) fn probe<'r>(&self, region: &'r Region, hash: u64) -> Probe<'r> {
        let point = self.homes.point(hash);
        let (home, tag) = (self.homes.home(point), Self::tag(point));
        let line = self.lines.line(region, home);
        Probe { line, matches: L::matches(line, tag), tag, at: home, lines_left: None }
    }

    /// The next value that a look-up has to ask about.
    #[inline(always)]
    pub(crate) fn next<'r>(&self, region: &'r Region, probe: &mut Probe<'r>) -> Option<u32> {
        loop {
            while probe.matches != 0 {
                let value = L::value(probe.line, probe.matches.trailing_zeros() as usize);
                probe.matches &= probe.matches - 1;
                // Slots that are not filled have a tag too.
                if value != 0 {
                    return Some(value);
                }
            }
            let lines_left = probe.lines_left.unwrap_or_else(|| passed::<L>(probe.line).div_ceil(L::SLOTS));
            probe.lines_left = Some(lines_left.checked_sub(1)?);
            probe.at += 1;
            probe.line = self.lines.line(region, probe.at);
            probe.matches = L::matches(probe.line, probe.tag);
        }
    }

    /// Asks the processor for the line where a look-up of this hash begins.
    #[inline]
    pub(crate) fn prefetch(&self, region: &Region, hash: u64) {
        region.prefetch(self.lines.place(self.homes.home(self.homes.point(hash))));
    }

    /// What a look-up of this hash probably finds.
    #[inline]
    pub(crate) fn candidate(&self, region: &Region, hash: u64) -> Option<u32> {
        self.find(region, hash, Some)
    }

    /// Like [`Table::find`], and home and tag are both those of the hash: for a table whose displacements are all known,
    /// this is the look-up that leaves nothing to ask.
    pub(crate) fn find_alike(&self, region: &Region, hash: u64, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let (at, place) = self.locate_any(region, self.homes.point(hash), is_it)?;
        Some(L::value(self.lines.line(region, at), place))
    }

    /// Adds an entry. `hash_of` tells the hash of one that is there; it is asked about few.
    ///
    /// # Errors
    /// [`Crowded`], and the entry was not added.
    pub(crate) fn insert(
        &mut self,
        region: &mut Region,
        hash: u64,
        value: u32,
        hash_of: &impl Fn(&Region, u32) -> u64,
    ) -> Result<(), Crowded> {
        debug_assert_ne!(value, 0, "0 is what empty slots hold");
        self.pay(region, hash_of)?;
        self.add(region, self.homes.point(hash), value, hash_of)?;
        self.len += 1;
        Ok(())
    }

    /// Removes an entry, which must be there.
    pub(crate) fn remove(
        &mut self,
        region: &mut Region,
        hash: u64,
        value: u32,
        hash_of: &impl Fn(&Region, u32) -> u64,
    ) {
        let point = self.homes.point(hash);
        self.take_out(region, point, value, hash_of);
        self.len -= 1;
        // A line that is crowded stays unswept until something has left it.
        let _ = self.pay(region, hash_of);
    }

    /// Removes the entries of a line that are not to stay; lines are numbered from 0 to [`Table::lines_end`].
    pub(crate) fn retain_in(
        &mut self,
        region: &mut Region,
        at: usize,
        hash_of: &impl Fn(&Region, u32) -> u64,
        stays: impl Fn(u32) -> bool,
    ) {
        // A gap is closed by an entry from the next line, or from behind in this one: so each is looked at again.
        loop {
            let line = self.lines.line(region, at);
            let leaves = (0..filled::<L>(line)).find(|&place| !stays(L::value(line, place)));
            let Some(place) = leaves else { break };
            let home = self.home_of(region, at, slot::<L>(line, place), hash_of);
            self.close(region, home, at, place, hash_of);
            self.len -= 1;
        }
    }

    /// The values in a line; lines are numbered from 0 to [`Table::lines_end`].
    pub(crate) fn values<'a>(&self, region: &'a Region, at: usize) -> impl Iterator<Item = u32> + use<'a, L> {
        let line = self.lines.line(region, at);
        (0..filled::<L>(line)).map(move |place| L::value(line, place))
    }

    /// One more than the last line in which an entry can lie.
    pub(crate) fn lines_end(&self) -> usize {
        self.home_lines() + Self::SPARE
    }

    /// Gives an entry, which must be there, another value.
    pub(crate) fn replace(&mut self, region: &mut Region, hash: u64, from: u32, to: u32) {
        debug_assert_ne!(to, 0, "0 is what empty slots hold");
        let (at, slot) = self.locate(region, self.homes.point(hash), from);
        L::set_value(self.lines.line_mut(region, at), slot, to);
    }

    /// Visits the entries of one home and returns where to go on; `None` after the last. From 0 to `None`, an entry that
    /// is there throughout is visited at least once, whatever is inserted, removed or moved between the steps: a cursor
    /// is the point below which all were visited, and no point ever changes.
    pub(crate) fn scan(
        &self,
        region: &Region,
        cursor: u64,
        hash_of: &impl Fn(&Region, u32) -> u64,
        mut visit: impl FnMut(u32),
    ) -> Option<u64> {
        let unused = 64 - self.homes.bits;
        let point = cursor >> unused;
        self.each_of_home(region, self.homes.home(point), hash_of, |_, value| visit(value));
        let next = self.homes.next(point);
        (next < self.homes.end()).then(|| next << unused)
    }

    #[inline]
    fn tag(point: u64) -> u32 {
        point as u32 & (u32::MAX >> (32 - L::TAG_BITS))
    }

    /// The last line in which an entry with this home can lie.
    fn last_of_home(&self, region: &Region, home: usize) -> usize {
        home + passed::<L>(self.lines.line(region, home)).div_ceil(L::SLOTS)
    }

    /// Visits the slots and values of all entries with this home.
    fn each_of_home(
        &self,
        region: &Region,
        home: usize,
        hash_of: &impl Fn(&Region, u32) -> u64,
        mut visit: impl FnMut(Slot, u32),
    ) {
        for at in home..=self.last_of_home(region, home) {
            let line = self.lines.line(region, at);
            for place in 0..filled::<L>(line) {
                let content = slot::<L>(line, place);
                if self.home_of(region, at, content, hash_of) == home {
                    visit(content, content.value);
                }
            }
        }
    }

    /// The home of what a slot of line `at` holds.
    fn home_of(&self, region: &Region, at: usize, content: Slot, hash_of: &impl Fn(&Region, u32) -> u64) -> usize {
        match content.displacement < L::FAR {
            true => at - content.displacement,
            false => self.homes.home(self.homes.point(hash_of(region, content.value))),
        }
    }

    /// The line and slot of an entry that must be there.
    fn locate(&self, region: &Region, point: u64, value: u32) -> (usize, usize) {
        let found = self.locate_any(region, point, |other| other == value);
        found.unwrap_or_else(|| panic!("{value:#x} is not in the table"))
    }

    /// The line and slot of an entry with this point, as far as it is known without its hash, that is the right one.
    fn locate_any(&self, region: &Region, point: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<(usize, usize)> {
        let (home, tag) = (self.homes.home(point), Self::tag(point));
        let line = self.lines.line(region, home);
        if let Some(place) = Self::locate_in(line, 0, tag, &mut is_it) {
            return Some((home, place));
        }
        let behind = 1..=passed::<L>(line).div_ceil(L::SLOTS);
        behind.into_iter().find_map(|displacement| {
            let line = self.lines.line(region, home + displacement);
            Self::locate_in(line, displacement, tag, &mut is_it).map(|place| (home + displacement, place))
        })
    }

    /// The slot of a line that is so far behind the home, as far as that is known, and the right one.
    #[inline]
    fn locate_in(line: &Line, displacement: usize, tag: u32, is_it: &mut impl FnMut(u32) -> bool) -> Option<usize> {
        let mut bits = L::matches(line, tag);
        while bits != 0 {
            let place = bits.trailing_zeros() as usize;
            let value = L::value(line, place);
            // Equal tags nearby may belong to another home.
            if value != 0 && L::displacement(line, place) == displacement.min(L::FAR) && is_it(value) {
                return Some(place);
            }
            bits &= bits - 1;
        }
        None
    }

    /// Puts an entry in its place: it goes to its home, and each full line hands on the one whose home is last.
    fn add(
        &mut self,
        region: &mut Region,
        point: u64,
        value: u32,
        hash_of: &impl Fn(&Region, u32) -> u64,
    ) -> Result<(), Crowded> {
        let (home, tag) = (self.homes.home(point), Self::tag(point));
        let line = self.lines.line_mut(region, home);
        if filled::<L>(line) < L::SLOTS {
            push::<L>(line, Slot { tag, value, displacement: 0 });
            return Ok(());
        }
        self.add_behind(region, Carried { tag, value, home }, hash_of)
    }

    /// What [`Table::add`] does if the home is full.
    #[inline(never)]
    fn add_behind(
        &mut self,
        region: &mut Region,
        mut carried: Carried,
        hash_of: &impl Fn(&Region, u32) -> u64,
    ) -> Result<(), Crowded> {
        let home = carried.home;
        let end = self.line_with_room(region, home)?;
        for at in home..end {
            carried = self.exchange(region, at, carried, hash_of);
            pass::<L>(self.lines.line_mut(region, at));
        }
        let Carried { tag, value, home } = carried;
        push::<L>(self.lines.line_mut(region, end), Slot { tag, value, displacement: end - home });
        Ok(())
    }

    /// The first line behind `home`, which is full, that is not, if an entry may be carried as far as that.
    fn line_with_room(&self, region: &Region, home: usize) -> Result<usize, Crowded> {
        // When any entry of its home has left, there is room here, or things are as they were before the last came.
        let crowded = Crowded { victim: L::value(self.lines.line(region, home), 0) };
        let (mut begin, mut end) = (home, home);
        loop {
            let line = self.lines.line(region, end);
            if filled::<L>(line) < L::SLOTS {
                break;
            }
            if passed::<L>(line) == PASSED_MAX || end - home == RUN_LINES_MAX {
                return Err(crowded);
            }
            end += 1;
        }
        while begin > 0 && passed::<L>(self.lines.line(region, begin - 1)) > 0 {
            begin -= 1;
            if end - begin > RUN_LINES_MAX {
                return Err(crowded);
            }
        }
        Ok(end)
    }

    /// Carries an entry into a full line, and from there the one whose home is last, of those in the line and itself.
    fn exchange(
        &mut self,
        region: &mut Region,
        at: usize,
        carried: Carried,
        hash_of: &impl Fn(&Region, u32) -> u64,
    ) -> Carried {
        if carried.home == at {
            return carried;
        }
        let line = self.lines.line(region, at);
        let nearest = L::nearest(line);
        let nearest = match L::displacement(line, nearest) < L::FAR {
            true => nearest,
            false => {
                let home = |&place: &usize| self.home_of(region, at, slot::<L>(line, place), hash_of);
                (0..L::SLOTS).max_by_key(home).unwrap_or(0)
            }
        };
        let content = slot::<L>(line, nearest);
        let home = self.home_of(region, at, content, hash_of);
        if home <= carried.home {
            return carried;
        }
        let Carried { tag, value, home: carried_home } = carried;
        let line = self.lines.line_mut(region, at);
        L::set(line, nearest, Slot { tag, value, displacement: at - carried_home });
        self.moved += 1;
        Carried { tag: content.tag, value: content.value, home }
    }

    /// Takes an entry out: each line that was passed over fetches the one whose home is first from the next line.
    fn take_out(&mut self, region: &mut Region, point: u64, value: u32, hash_of: &impl Fn(&Region, u32) -> u64) {
        let (at, gap) = self.locate(region, point, value);
        self.close(region, self.homes.home(point), at, gap, hash_of);
    }

    /// The entry of a line that is passed over whose home is first, with that home.
    fn first_home(&self, region: &Region, at: usize, hash_of: &impl Fn(&Region, u32) -> u64) -> (usize, usize) {
        let line = self.lines.line(region, at);
        let farthest = L::farthest(line);
        let displacement = L::displacement(line, farthest);
        if displacement < L::FAR {
            return (at - displacement, farthest);
        }
        let far = (0..L::SLOTS).filter(|&place| L::displacement(line, place) == L::FAR);
        let home = |place: usize| self.home_of(region, at, slot::<L>(line, place), hash_of);
        far.map(|place| (home(place), place)).min().unwrap_or_default()
    }

    /// Closes the gap that an entry with this home leaves in line `at`.
    fn close(
        &mut self,
        region: &mut Region,
        home: usize,
        mut at: usize,
        mut gap: usize,
        hash_of: &impl Fn(&Region, u32) -> u64,
    ) {
        for line in home..at {
            unpass::<L>(self.lines.line_mut(region, line));
        }
        loop {
            let line = self.lines.line_mut(region, at);
            if passed::<L>(line) == 0 {
                return clear::<L>(line, gap);
            }
            let (home, place) = self.first_home(region, at + 1, hash_of);
            let Slot { tag, value, .. } = slot::<L>(self.lines.line(region, at + 1), place);
            let line = self.lines.line_mut(region, at);
            L::set(line, gap, Slot { tag, value, displacement: at - home });
            unpass::<L>(line);
            self.moved += 1;
            (at, gap) = (at + 1, place);
        }
    }
}

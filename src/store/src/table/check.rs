//! What must be true of a table.

use alloc::vec;

use crate::limits::{PASSED_MAX, RUN_LINES_MAX};
use crate::region::Region;

use super::line::{filled, passed, slot};
use super::{Layout, Resize, Table};

impl<L: Layout> Table<L> {
    /// Walks everything. `hash_of` tells the hashes of the entries, as far as they can be known.
    ///
    /// # Panics
    /// If anything is wrong.
    pub(crate) fn validate(&self, region: &Region, hash_of: &impl Fn(&Region, u32) -> Option<u64>) {
        let used = self.lines_end();
        self.lines.validate(region, used);
        let needed = match self.resize {
            Resize::Gathering { to, .. } => to,
            _ => used,
        };
        let surplus = self.lines.len().saturating_sub(needed);
        assert!(surplus < self.lines.of_segments(1), "{surplus} lines more than the {needed} that are needed");
        assert!(used >= self.lines_min, "{used} lines are less than {}", self.lines_min);
        let known = |region: &Region, value| hash_of(region, value).expect("what lies far from home has a hash");
        let (mut len, mut latest) = (0, 0);
        // How many more entries pass each line than the one before.
        let mut changes = vec![0_isize; used];
        for at in 0..used {
            let line = self.lines.line(region, at);
            let mut latest_here = latest;
            for place in 0..L::SLOTS {
                let content = slot::<L>(line, place);
                if place >= filled::<L>(line) {
                    assert_eq!((content.tag, content.value), (0, 0), "slot {place} of line {at} is not empty");
                    continue;
                }
                assert_ne!(content.value, 0, "slot {place} of line {at} is empty");
                let home = self.home_of(region, at, content, &known);
                assert!(home <= at && home < self.home_lines(), "an entry of line {at} has its home at {home}");
                assert_eq!(content.displacement, (at - home).min(L::FAR), "an entry of line {at} and home {home}");
                if let Some(hash) = hash_of(region, content.value) {
                    let point = self.homes.point(hash);
                    assert_eq!((self.homes.home(point), Self::tag(point)), (home, content.tag), "in line {at}");
                }
                assert!(home >= latest, "an entry of line {at} and home {home} lies behind one of home {latest}");
                latest_here = latest_here.max(home);
                changes[home] += 1;
                changes[at] -= 1;
                len += 1;
            }
            latest = latest_here;
        }
        let (mut passing, mut run) = (0, 0);
        for (at, change) in changes.into_iter().enumerate() {
            passing += change;
            let line = self.lines.line(region, at);
            let counted = passed::<L>(line);
            assert_eq!(counted as isize, passing, "line {at} counts another number of entries that pass it");
            assert!(counted <= PASSED_MAX, "{counted} entries pass line {at}");
            assert!(counted == 0 || filled::<L>(line) == L::SLOTS, "line {at} is passed over and has room");
            run = if counted > 0 { run + 1 } else { 0 };
            assert!(run <= RUN_LINES_MAX, "a run of lines that ends at {at} is too long");
        }
        assert_eq!(len, self.len, "there is another number of entries");
        assert!(self.homes.split <= self.homes.end());
        assert!(self.resize != Resize::Steady || self.homes.lower == self.homes.upper, "{:?}", self.homes);
    }
}

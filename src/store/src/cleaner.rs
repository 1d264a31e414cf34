//! Room in the log: who makes it, and at what cost.
//!
//! A segment becomes free when its last block dies, or when what is alive in it is moved to another. Moving costs the
//! more the less is dead, and gains the less; evicting costs entries. So a write that finds few segments free does this,
//! in bounded steps:
//!
//! - While little is dead, it evicts, the entries of the group that is closest to its budget. Where they go in about the
//!   order in which they came, whole segments die without a move.
//! - Once one byte of [`DEAD_SHARE_MIN`] is dead, it cleans the segment in which most is: it moves what is alive to a
//!   segment of survivors, and evicts nothing for that. With entries that go in random order the segments hold from no
//!   dead bytes to one of eight, and cleaning moves up to seven bytes for each byte that is gained.
//!
//! Both run ahead of what is needed, at [`CLEAN_RATIO`] and [`EVICT_RATIO`] bytes for each byte that is written, while
//! less than [`FREE_SEGMENTS_LOW`] segments are free. Should that not be enough, because the write needs many segments
//! at once, it goes on until there are enough, for as long as the state of the memory asks for. Everything follows from
//! the operations alone, so the same calls give the same evictions.
//!
//! Emptying a segment needs at most one more than those that are open, because what is alive in one fits into one: so
//! the reserve suffices.

use crate::block::{self, Shape};
use crate::limits::{CLEAN_CLASS_MIN, CLEAN_RATIO, DEAD_SHARE_MIN, EVICT_RATIO, FREE_SEGMENTS_LOW, PRESSED_EVICTIONS};
use crate::list::NONE;
use crate::memory::{Found, Memory};
use crate::policy::Replacement;
use crate::region::{Ref, Use};
use crate::{GroupIndex, RemovalHook, Store};

impl<H: RemovalHook> Store<H> {
    /// Makes room in the log for an entry of this shape, which a write to this group needs, without the help of the
    /// entry to `keep` (or [`NONE`]). Returns where that is now.
    #[inline]
    pub(crate) fn make_log_room(&mut self, group: GroupIndex, shape: Shape, keep: Ref, now_ms: u64) -> Ref {
        if self.memory.region.free() >= FREE_SEGMENTS_LOW && self.memory.has_room(shape) {
            return keep;
        }
        self.pay(Need { group, shape, keep, now_ms })
    }

    fn pay(&mut self, mut need: Need) -> Ref {
        let moved_before = self.memory.log.moved_bytes;
        let bytes = need.shape.total_bytes(self.memory.region.segment_bytes());
        let (mut to_clean, mut to_evict) = (bytes * CLEAN_RATIO, bytes * EVICT_RATIO);
        while self.memory.region.free() < FREE_SEGMENTS_LOW {
            if self.cleaning_pays() {
                let Some(left) = to_clean.checked_sub(1) else { break };
                to_clean = left.saturating_sub(self.clean_block(&mut need));
            } else {
                let Some(left) = to_evict.checked_sub(1) else { break };
                let Some(victim) = self.next_victim(&need) else { break };
                to_evict = left.saturating_sub(self.evict_one(victim, &need));
            }
        }
        while !self.memory.has_room(need.shape) {
            if self.cleaning_pays() {
                self.clean_block(&mut need);
            } else if let Some(victim) = self.next_victim(&need) {
                self.evict_one(victim, &need);
            } else {
                self.scrape(&mut need);
            }
        }
        let moved = self.memory.log.moved_bytes - moved_before;
        self.work.moved_bytes_max = self.work.moved_bytes_max.max(moved);
        need.keep
    }

    /// Whether a segment is being cleaned, or cleaning one is worth what it costs.
    fn cleaning_pays(&mut self) -> bool {
        let log_bytes = (self.memory.region.used_for(Use::Log) * self.memory.region.segment_bytes()) as u64;
        self.memory.log.is_emptying()
            || (self.memory.log.dead_bytes() * DEAD_SHARE_MIN as u64 >= log_bytes
                && self.memory.log.begin_emptying(CLEAN_CLASS_MIN))
    }

    /// Looks at the next block of the segment that is being cleaned, and returns its bytes. What is absent is removed
    /// instead of moved.
    fn clean_block(&mut self, need: &mut Need) -> usize {
        let region = &self.memory.region;
        let Some((place, bytes)) = self.memory.log.next_to_move(region) else { return 0 };
        if !block::is_live(region, place) {
            return bytes;
        }
        let is_piece = block::list(region, place) == block::PIECE;
        let entry = if is_piece { block::owner(region, place).0 } else { place };
        let found = Found::at(region, entry);
        let group = found.head.group();
        if entry != need.keep
            && let Some(reason) = self.absence(group, &found.head, entry, need.now_ms)
        {
            self.remove(found, reason);
            return bytes;
        }
        if is_piece {
            self.memory.move_piece(place, bytes);
            return bytes;
        }
        let to = self.memory.move_entry(place, bytes);
        self.groups[usize::from(group.0)].policy.moved(&mut self.memory.region, to);
        if place == need.keep {
            need.keep = to;
        }
        bytes
    }

    /// Who is to go for want of memory: an entry of the group that is closest to its budget. `None` if there is nobody.
    fn next_victim(&mut self, need: &Need) -> Option<Ref> {
        let (mut chosen, mut left) = self.work.pressed;
        if left == 0 || !self.has_victim(chosen, need) {
            (chosen, left) = (self.closest_to_budget(need)?, PRESSED_EVICTIONS);
        }
        self.work.pressed = (chosen, left - 1);
        let group = &mut self.groups[chosen];
        let Memory { region, hashes, .. } = &mut self.memory;
        group.policy.victim(region, hashes, need.keep, group.budget)
    }

    /// Evicts an entry for want of memory, and returns the bytes that it had.
    fn evict_one(&mut self, victim: Ref, need: &Need) -> usize {
        let bytes = Shape::at(&self.memory.region, victim).total_bytes(self.memory.region.segment_bytes());
        let found = Found::at(&self.memory.region, victim);
        let group = usize::from(found.head.group().0);
        let evicted = u64::from(self.evict(victim, need.now_ms));
        self.work.evictions += evicted;
        self.groups[group].counters.evictions_for_memory += evicted;
        bytes
    }

    /// Whether a group has an entry but for the one to keep.
    fn has_victim(&self, index: usize, need: &Need) -> bool {
        let kept = u64::from(need.keep != NONE && index == usize::from(need.group.0));
        self.groups[index].counters.entries > kept
    }

    /// The group that is closest to its budget, the writing one if it is one of several, of those with a victim. This
    /// looks at all of them, which is why the answer is good for the next [`PRESSED_EVICTIONS`].
    fn closest_to_budget(&self, need: &Need) -> Option<usize> {
        let writing = usize::from(need.group.0);
        let candidates = core::iter::once(writing).chain(0..self.groups.len());
        candidates.filter(|&index| self.has_victim(index, need)).reduce(|closest, index| {
            let (other, group) = (&self.groups[closest], &self.groups[index]);
            let share = |bytes: u64, of: u64| u128::from(bytes) * u128::from(of);
            let is_closer = share(group.counters.bytes, other.budget_under_pressure())
                > share(other.counters.bytes, group.budget_under_pressure());
            if is_closer { index } else { closest }
        })
    }

    /// What is left when there is nobody to evict: cleaning whatever has dead bytes, then forgetting ghosts.
    fn scrape(&mut self, need: &mut Need) {
        if self.memory.log.is_emptying() || self.memory.log.begin_emptying(0) {
            self.clean_block(need);
            return;
        }
        let region = &mut self.memory.region;
        let forgotten = self.groups.iter_mut().any(|group| group.policy.yield_ghost(region));
        assert!(forgotten, "an entry within Memory::entry_bytes_max has room when it is alone");
    }
}

/// What a write needs.
#[derive(Clone, Copy, Debug)]
struct Need {
    group: GroupIndex,
    shape: Shape,
    keep: Ref,
    now_ms: u64,
}

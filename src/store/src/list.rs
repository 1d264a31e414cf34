//! Doubly linked lists through the headers of entries, which are linked by their places. An entry is in one list at a
//! time, and its header says in which.

use core::ops::Range;

use crate::block::{self, Shape};
use crate::limits::ENTRY_INDEX_BYTES;
use crate::region::{Ref, Region};
use crate::settings::Charge;

/// No entry.
pub(crate) const NONE: Ref = Ref::MAX;

/// The tag of the list of a policy whose entries move to its head when they are accessed.
pub(crate) const BY_ACCESS: u8 = 0;

/// Tags of one policy: from 0 up to this.
pub(crate) const TAGS: u8 = 7;

/// Which tags a policy has. A group that goes from one policy to another has entries of both for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

impl Side {
    /// The tags of an entry's policy.
    #[inline]
    pub(crate) fn of(region: &Region, entry: Ref) -> Self {
        if block::list(region, entry) < TAGS { Side::Left } else { Side::Right }
    }

    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }

    /// A tag as it is in headers.
    pub(crate) fn tag(self, tag: u8) -> u8 {
        assert!(tag < TAGS, "tag {tag} of a policy is none of {TAGS}");
        match self {
            Side::Left => tag,
            Side::Right => TAGS + tag,
        }
    }

    /// Whether this tag in a header is that of a list whose entries move when they are accessed.
    #[inline]
    pub(crate) fn moves_on_access(list: u8) -> bool {
        list == BY_ACCESS || list == TAGS + BY_ACCESS
    }
}

const _: () = assert!(2 * TAGS <= block::PIECE, "a tag is one of those for entries");

/// What an entry of this shape costs.
#[inline]
pub(crate) fn charge_of(shape: Shape, segment_bytes: usize, unit: Charge) -> u32 {
    match unit {
        Charge::Bytes => (shape.total_bytes(segment_bytes) + ENTRY_INDEX_BYTES) as u32,
        Charge::Objects => 1,
    }
}

/// What an entry costs.
#[inline]
pub(crate) fn charge(region: &Region, entry: Ref, unit: Charge) -> u32 {
    match unit {
        Charge::Bytes => charge_of(Shape::at(region, entry), region.segment_bytes(), unit),
        Charge::Objects => 1,
    }
}

/// One list: new entries at the head, old ones at the tail. Its entries may be in one of several states, each of which
/// has a tag; a new one is in state 0.
#[derive(Debug)]
pub(crate) struct List {
    tag: u8,
    states: u8,
    unit: Charge,
    ends: Ends,
    len: u32,
    charge: u64,
}

/// The ends of a chain of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The youngest, or [`NONE`].
    pub(crate) head: Ref,
    /// The oldest, or [`NONE`].
    pub(crate) tail: Ref,
}

impl Ends {
    /// Those of a chain without entries.
    pub(crate) const EMPTY: Self = Self { head: NONE, tail: NONE };

    /// Whether it has no entries.
    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.head == NONE
    }

    /// Adds an entry that is in no chain as the youngest.
    #[inline]
    pub(crate) fn link_head(&mut self, region: &mut Region, entry: Ref) {
        block::set_links(region, entry, NONE, self.head);
        match self.head {
            NONE => self.tail = entry,
            old => block::set_towards_head(region, old, entry),
        }
        self.head = entry;
    }

    /// Takes an entry out.
    #[inline]
    pub(crate) fn part(&mut self, region: &mut Region, entry: Ref) {
        let (towards_head, towards_tail) = block::links(region, entry);
        match towards_head {
            NONE => self.head = towards_tail,
            other => block::set_towards_tail(region, other, towards_tail),
        }
        match towards_tail {
            NONE => self.tail = towards_head,
            other => block::set_towards_head(region, other, towards_head),
        }
    }

    /// Where an entry was that lies at another place now, before [`Ends::moved`] is told.
    pub(crate) fn place_before(&self, region: &Region, to: Ref) -> Ref {
        match block::links(region, to).0 {
            NONE => self.head,
            other => block::links(region, other).1,
        }
    }

    /// An entry lies at another place from now on, with the links that it had.
    pub(crate) fn moved(&mut self, region: &mut Region, to: Ref) {
        let (towards_head, towards_tail) = block::links(region, to);
        match towards_head {
            NONE => self.head = to,
            other => block::set_towards_tail(region, other, to),
        }
        match towards_tail {
            NONE => self.tail = to,
            other => block::set_towards_head(region, other, to),
        }
    }

    /// Takes a chain in, whose entries are older than all here.
    pub(crate) fn append(&mut self, region: &mut Region, older: Ends) {
        if older.is_empty() {
            return;
        }
        if self.is_empty() {
            *self = older;
            return;
        }
        block::set_towards_tail(region, self.tail, older.head);
        block::set_towards_head(region, older.head, self.tail);
        self.tail = older.tail;
    }

    /// The entries from the youngest to the oldest. A broken link may make it endless.
    pub(crate) fn iter(self, region: &Region) -> impl Iterator<Item = Ref> {
        let next = move |entry: Ref| Some(block::links(region, entry).1).filter(|&next| next != NONE);
        core::iter::successors(Some(self.head).filter(|&head| head != NONE), move |&entry| next(entry))
    }
}

impl List {
    /// An empty list. The tag tells it from the others of its policy, the unit is that of all charges.
    pub(crate) fn new(side: Side, tag: u8, unit: Charge) -> Self {
        Self::with_states(side, tag..tag + 1, unit)
    }

    /// An empty list with a tag for each state that its entries may be in.
    pub(crate) fn with_states(side: Side, tags: Range<u8>, unit: Charge) -> Self {
        assert!(!tags.is_empty() && tags.end <= TAGS, "{tags:?} are no tags of a list");
        let (tag, states) = (side.tag(tags.start), tags.end - tags.start);
        Self { tag, states, unit, ends: Ends::EMPTY, len: 0, charge: 0 }
    }

    /// Whether an entry, which is in a list, is in this one.
    #[inline]
    pub(crate) fn holds(&self, region: &Region, entry: Ref) -> bool {
        block::list(region, entry).wrapping_sub(self.tag) < self.states
    }

    /// The state of an entry of this list.
    #[inline]
    pub(crate) fn state(&self, region: &Region, entry: Ref) -> u8 {
        debug_assert!(self.holds(region, entry), "entry {entry} is in another list");
        block::list(region, entry) - self.tag
    }

    /// Sets the state of an entry of this list.
    #[inline]
    pub(crate) fn set_state(&self, region: &mut Region, entry: Ref, state: u8) {
        debug_assert!(self.holds(region, entry) && state < self.states, "state {state} of entry {entry}");
        block::set_list(region, entry, self.tag + state);
    }

    /// How many entries it holds.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The sum of their charges.
    pub(crate) fn charge(&self) -> u64 {
        self.charge
    }

    /// What an entry costs, in the unit of this list.
    #[inline]
    pub(crate) fn charge_of(&self, region: &Region, entry: Ref) -> u32 {
        charge(region, entry, self.unit)
    }

    /// The oldest entry but for one that is to stay, if it has any.
    pub(crate) fn oldest_but(&self, region: &Region, keep: Ref) -> Option<Ref> {
        let oldest = if self.ends.tail == keep && keep != NONE { block::links(region, keep).0 } else { self.ends.tail };
        (oldest != NONE).then_some(oldest)
    }

    /// The oldest entry, or [`NONE`].
    #[inline]
    pub(crate) fn tail(&self) -> Ref {
        self.ends.tail
    }

    /// The entry that is next to one of this list, and younger; [`NONE`]: it is the youngest.
    #[inline]
    pub(crate) fn towards_head(&self, region: &Region, entry: Ref) -> Ref {
        debug_assert!(self.holds(region, entry), "entry {entry} is in another list");
        block::links(region, entry).0
    }

    /// This entry; the oldest instead of none or of one that is to stay. `None`: there is no other.
    pub(crate) fn next_but(&self, region: &Region, entry: Ref, keep: Ref) -> Option<Ref> {
        if entry == NONE || entry == keep {
            return self.oldest_but(region, keep);
        }
        Some(entry)
    }

    /// Where an entry of this list was that lies at another place now, before [`List::moved`] is told.
    pub(crate) fn place_before(&self, region: &Region, to: Ref) -> Ref {
        self.ends.place_before(region, to)
    }

    /// Adds an entry of this charge that is in no list.
    #[inline]
    pub(crate) fn push_head(&mut self, region: &mut Region, entry: Ref, charge: u32) {
        debug_assert_eq!(charge, self.charge_of(region, entry), "entry {entry} costs something else");
        self.charge += u64::from(charge);
        self.len += 1;
        block::set_list(region, entry, self.tag);
        self.ends.link_head(region, entry);
    }

    /// Takes an entry of this list, of this charge, out of it.
    #[inline]
    pub(crate) fn unlink(&mut self, region: &mut Region, entry: Ref, charge: u32) {
        debug_assert!(self.holds(region, entry), "entry {entry} is in another list");
        debug_assert_eq!(charge, self.charge_of(region, entry), "entry {entry} costs something else");
        self.charge -= u64::from(charge);
        self.len -= 1;
        self.ends.part(region, entry);
    }

    /// Makes an entry of this list its youngest.
    #[inline]
    pub(crate) fn move_to_head(&mut self, region: &mut Region, entry: Ref) {
        if self.ends.head != entry {
            self.ends.part(region, entry);
            self.ends.link_head(region, entry);
        }
    }

    /// An entry of this list costs something else from now on.
    pub(crate) fn recharge(&mut self, old: u32, new: u32) {
        self.charge = self.charge - u64::from(old) + u64::from(new);
    }

    /// An entry of this list lies at another place from now on, with the links that it had.
    pub(crate) fn moved(&mut self, region: &mut Region, to: Ref) {
        debug_assert!(self.holds(region, to), "entry {to} is in another list");
        self.ends.moved(region, to);
    }

    /// The entries from the youngest to the oldest; for `validate` and tests, where a broken link must not hang.
    pub(crate) fn iter<'r>(&self, region: &'r Region) -> impl Iterator<Item = Ref> + use<'r> {
        self.ends.iter(region).take(self.len as usize + 1)
    }

    /// Walks the list both ways and holds tags, number and charges against its own account.
    ///
    /// # Panics
    /// If anything is wrong.
    pub(crate) fn validate(&self, region: &Region) {
        let (mut len, mut charge, mut previous) = (0, 0, NONE);
        for entry in self.iter(region) {
            assert_eq!(block::links(region, entry).0, previous, "entry {entry} of list {} has a broken link", self.tag);
            assert!(self.holds(region, entry), "entry {entry} is tagged for another list");
            assert!(block::is_live(region, entry), "entry {entry} of list {} is dead", self.tag);
            (len, charge, previous) = (len + 1, charge + u64::from(self.charge_of(region, entry)), entry);
        }
        assert_eq!(self.ends.tail, previous, "list {} does not end at its tail", self.tag);
        assert_eq!(self.len, len, "list {} has another length", self.tag);
        assert_eq!(self.charge, charge, "list {} has another charge", self.tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GroupIndex;
    use crate::block::{Frame, Stamp};
    use std::collections::VecDeque;

    const FRAME: Frame = Frame { shard: 0, base_ms: 0 };
    const STAMP: Stamp = Stamp { version: 1 << 8, expires_at_ms: 0, flags: 0, now_ms: 0 };

    /// Writes an entry that has only a value of this length.
    fn write(region: &mut Region, entry: Ref, value_bytes: usize) {
        let shape = Shape::of(0, value_bytes, region.segment_bytes());
        FRAME.write(region, entry, GroupIndex(0), shape, STAMP);
    }

    #[test]
    fn lists_behave_like_deques() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut region = Region::new(1 << 20);
            let mut lists =
                [List::with_states(Side::Left, 0..7, Charge::Bytes), List::new(Side::Right, 0, Charge::Objects)];
            let mut model = [VecDeque::new(), VecDeque::new()];
            let (mut free, step_granules) = (1_u32, 16);
            for step in 0..2000 {
                let side = random.usize(0..2);
                let chosen = (!model[side].is_empty()).then(|| random.usize(0..model[side].len()));
                match (random.u8(0..6), chosen) {
                    (0, _) => {
                        write(&mut region, free, step % 90);
                        let charge = lists[side].charge_of(&region, free);
                        lists[side].push_head(&mut region, free, charge);
                        model[side].push_front(free);
                        free += step_granules;
                    }
                    (1, Some(place)) => {
                        let entry = model[side].remove(place).unwrap();
                        let [from, to] = [side, 1 - side].map(|side| lists[side].charge_of(&region, entry));
                        lists[side].unlink(&mut region, entry, from);
                        lists[1 - side].push_head(&mut region, entry, to);
                        model[1 - side].push_front(entry);
                    }
                    (2, Some(place)) => {
                        let entry = model[side].remove(place).unwrap();
                        assert!(lists[side].holds(&region, entry) && !lists[1 - side].holds(&region, entry));
                        let state = step as u8 % [7, 1][side];
                        lists[side].set_state(&mut region, entry, state);
                        assert_eq!(lists[side].state(&region, entry), state, "seed {seed} step {step}");
                        lists[side].move_to_head(&mut region, entry);
                        model[side].push_front(entry);
                    }
                    (3, Some(place)) => {
                        let entry = model[side][place];
                        let (links, list) = (block::links(&region, entry), block::list(&region, entry));
                        let old = lists[side].charge_of(&region, entry);
                        write(&mut region, free, step % 70);
                        block::set_links(&mut region, free, links.0, links.1);
                        block::set_list(&mut region, free, list);
                        block::set_dead(&mut region, entry);
                        lists[side].moved(&mut region, free);
                        lists[side].recharge(old, lists[side].charge_of(&region, free));
                        model[side][place] = free;
                        free += step_granules;
                    }
                    (_, Some(place)) => {
                        let keep = model[side][place];
                        let oldest = model[side].iter().rev().find(|&&entry| entry != keep).copied();
                        assert_eq!(lists[side].oldest_but(&region, keep), oldest, "seed {seed} step {step}");
                    }
                    _ => assert_eq!(lists[side].oldest_but(&region, NONE), None, "seed {seed} step {step}"),
                }
                for side in 0..2 {
                    lists[side].validate(&region);
                    assert!(lists[side].iter(&region).eq(model[side].iter().copied()), "seed {seed} step {step}");
                }
            }
        }
    }
}

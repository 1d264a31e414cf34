//! When this shard may answer for a key of a slot that its node owns.
//!
//! An epoch says who owns a slot; it does not make the owner before it stop. So a slot that is gained is kept shut until
//! the node that had it has acknowledged the epoch on all its shards, or is gone. And an owner has to be able to prove
//! that nobody took its slots away without its knowledge: by its registration, which others wait for to run out.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use larder_ring::{Membership, Node, NodeIndex, SLOTS, Slot, Topology};

use crate::Ticket;
use crate::limits::{EXCHANGE_MS, WAITS_MAX};
use crate::planted::{self, Bug};

mod wait;

use wait::{Before, Wait, is_member, members};

/// What a node knows of its registration, read anew before every batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which registration, see [`Membership::registration`].
    pub registration: u64,
    /// Until when it is good, in ms since the Unix epoch.
    pub until_ms: u64,
    /// While whoever keeps registrations does not answer: until when another member, or being the only one, may stand in
    /// for it. It is put off again and again, and no more once this node has stood still: it cannot know then whether
    /// registrations, its own among them, were kept meanwhile. 0: nobody stands in.
    pub stand_in_until_ms: u64,
}

impl Standing {
    /// That of a node whose ring never changes.
    pub const FIXED: Standing = Standing { registration: 0, until_ms: u64::MAX, stand_in_until_ms: 0 };
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ownership {
    standing: Standing,
    /// Of the topology that is gone by.
    registration: u64,
    is_alone: bool,
    /// When the last exchange of epochs was begun that another member has answered, as an equal.
    exchanged_ms: u64,
    /// Until then this shard may answer as an owner.
    owner_until_ms: u64,
    /// The same while no slot is shut and none has a floor, else 0.
    plain_until_ms: u64,
    /// Numbers of waits are places here.
    waits: Vec<Option<Wait>>,
    /// By slot the number of its wait, from 1; 0: it is open.
    shut: Option<Box<[u16]>>,
    /// Slots that this node had before and has lost, or has held without a registration, and of which entries may be left.
    had: Option<Box<[bool]>>,
    /// By slot the version below which an entry is from an earlier time; 0: there is none.
    floors: Option<Box<[u64]>>,
    /// How far the walk is that removes what is left of slots that were lost, since the last was; `None`: nothing is left.
    cleared_to: Option<u64>,
    /// Processes that are in the ring no more and have not ended.
    leaving: Vec<Node>,
    /// See [`Membership::shut_until_ms`].
    shut_until_ms: u64,
    /// This process, or one that has answered it, has been there for long enough to be above all versions that were given,
    /// if clocks differ by less than [`crate::limits::CLOCK_MARGIN_MS`]. Until then nothing is opened that may have been
    /// owned by who is gone.
    remembers: bool,
    /// Tickets of waits that are over.
    acknowledged: Vec<Ticket>,
}

/// Whom a slot was gained from, and what is to be known about it.
pub(crate) struct Gained<'m> {
    pub(crate) membership: &'m Membership,
    pub(crate) own_id: &'m str,
    pub(crate) own: Option<NodeIndex>,
    pub(crate) before: &'m Topology,
    pub(crate) own_before: Option<NodeIndex>,
    /// A version above all that this shard has given.
    pub(crate) fence: u64,
}

impl Ownership {
    /// That of a node that owns its slots from the beginning, with this registration.
    pub(crate) fn new(standing: Standing, registration: u64, is_alone: bool) -> Self {
        let mut ownership = Self {
            standing,
            registration,
            is_alone,
            exchanged_ms: 0,
            owner_until_ms: 0,
            plain_until_ms: 0,
            waits: Vec::new(),
            shut: None,
            had: None,
            floors: None,
            cleared_to: None,
            leaving: Vec::new(),
            shut_until_ms: 0,
            remembers: true,
            acknowledged: Vec::new(),
        };
        ownership.settle();
        ownership
    }

    /// Whether every slot of this node may be answered for at this time, and entries are as old as they like.
    #[inline]
    pub(crate) fn is_plain(&self, now_ms: u64) -> bool {
        now_ms < self.plain_until_ms
    }

    /// Below which version an entry of this slot is from an earlier time; `None`: nobody may answer for it now.
    pub(crate) fn floor(&self, Slot(slot): Slot, now_ms: u64) -> Option<u64> {
        let slot = slot as usize;
        let is_shut = self.shut.as_ref().is_some_and(|shut| shut[slot] != 0);
        (now_ms < self.owner_until_ms && !is_shut).then(|| self.floors.as_ref().map_or(0, |floors| floors[slot]))
    }

    /// Below which version an entry of a slot is from an earlier time, whether or not it may be answered for now. `is_ours`
    /// by the topology that is gone by.
    pub(crate) fn kept_from(&self, Slot(slot): Slot, is_ours: bool) -> u64 {
        match &self.floors {
            _ if !is_ours => u64::MAX,
            Some(floors) => floors[slot as usize],
            None => 0,
        }
    }

    /// From where entries of an earlier time are to be removed next; `None`: there are none.
    pub(crate) fn cleared_to(&self) -> Option<u64> {
        self.cleared_to
    }

    /// Those before this cursor were removed; `None`: all were.
    pub(crate) fn cleared(&mut self, next: Option<u64>) {
        self.cleared_to = next;
        if next.is_none() {
            (self.had, self.floors) = (None, None);
            self.settle();
        }
    }

    /// What is known of the registration.
    pub(crate) fn set_standing(&mut self, standing: Standing) {
        if self.standing != standing {
            self.standing = standing;
            self.end_waits();
            self.settle();
        }
    }

    /// Whether members have to be asked, so that one of them can stand in for the registration.
    pub(crate) fn needs_exchange(&self) -> bool {
        self.standing.stand_in_until_ms > 0 && !self.is_alone
    }

    /// Whether the ring never changes. Otherwise what concerns the whole cluster is somebody else's, also before this node is
    /// in the ring.
    pub(crate) fn is_fixed(&self) -> bool {
        self.registration == 0 && self.standing.until_ms == Standing::FIXED.until_ms
    }

    /// Whether the ring that this shard goes by has come with a registration.
    pub(crate) fn is_registered(&self) -> bool {
        self.registration != 0
    }

    /// Whether versions that were given before are known of, see [`Ownership::remember`].
    pub(crate) fn remembers(&self) -> bool {
        self.remembers
    }

    /// All later versions are above those that anybody has given.
    pub(crate) fn remember(&mut self) {
        self.remembers = true;
        self.end_waits();
        self.settle();
    }

    /// Whether no slot is shut.
    pub(crate) fn is_open(&self) -> bool {
        self.waits.iter().all(Option::is_none)
    }

    /// Takes another membership. Returns how many slots were gained.
    pub(crate) fn adopt(&mut self, gained: &Gained<'_>) -> usize {
        let Gained { membership, own_id, own, before, own_before, fence } = *gained;
        let topology = &*membership.topology;
        let is_anew = membership.registration != self.registration && !planted::has(Bug::KeepsAfterLoss);
        // Whoever began before and is gone may have given versions by a clock that was ahead of this one.
        self.remembers &= self.registration > 0 || membership.registration == 0 || membership.is_first;
        self.registration = membership.registration;
        self.is_alone = topology.nodes().len() == 1 && own.is_some();
        // Who is not in the ring opens nothing.
        self.shut_until_ms = if own.is_some() { membership.shut_until_ms } else { 0 };
        self.forget_gone(membership, own_id);
        self.leaving.clone_from(&membership.leaving);
        let mut count = 0;
        // By node of the topology before, the wait for it; the last one is for all, and for what was owned by who is gone.
        let mut numbers = vec![0_u16; before.nodes().len() + 1];
        if !membership.follows || is_anew {
            self.widen_waits(membership, own_id);
            let number = self.begin(membership, own_id, None);
            numbers[before.nodes().len()] = number;
            if let Some(wait) = number.checked_sub(1).and_then(|place| self.waits[usize::from(place)].as_mut()) {
                wait.kept_epoch.get_or_insert(before.epoch());
            }
        }
        if is_anew || topology.digest() != before.digest() {
            let is_there = |node: &Node| is_member(membership, &node.id, node.incarnation);
            let is_there: Vec<bool> = before.nodes().iter().map(is_there).collect();
            for slot in (0..SLOTS).map(|slot| Slot(slot as u32)) {
                let is_ours = own == Some(topology.slot_owner(slot));
                let was_ours = own_before == Some(before.slot_owner(slot));
                if is_ours == was_ours && !is_anew {
                    continue;
                }
                match (was_ours && !is_anew, is_ours) {
                    (true, false) => self.lose(slot, before.epoch()),
                    (false, true) => {
                        if was_ours {
                            self.lose(slot, before.epoch());
                        }
                        count += 1;
                        let owner = before.slot_owner(slot);
                        let knows_owner = membership.follows && !is_anew && is_there[usize::from(owner.0)];
                        let place = if knows_owner { usize::from(owner.0) } else { before.nodes().len() };
                        if numbers[place] == 0 {
                            numbers[place] = self.begin(membership, own_id, knows_owner.then(|| before.node(owner)));
                        }
                        self.gain(slot, numbers[place], fence);
                    }
                    (false, false) if was_ours => self.lose(slot, before.epoch()),
                    _ => {}
                }
            }
        }
        self.end_waits();
        self.settle();
        count
    }

    /// All other processes are to acknowledge an epoch; then the ticket is handed out by [`Ownership::next_acknowledged`].
    pub(crate) fn await_all(&mut self, epoch: u64, topology: &Topology, own_id: &str, ticket: Ticket) {
        let others = topology.nodes().iter().chain(&self.leaving).filter(|node| node.id != own_id);
        let before: Vec<Before> = others.map(Before::of).collect();
        let until_ms = self.shut_until_ms;
        if before.is_empty() && until_ms <= self.standing.until_ms {
            return self.acknowledged.push(ticket);
        }
        // Beyond [`WAITS_MAX`] if need be: there are few such tickets, and no slot has its number.
        self.waits.push(Some(Wait {
            epoch,
            before,
            is_everyone: true,
            kept_epoch: None,
            until_ms,
            ticket: Some(ticket),
        }));
    }

    /// Tickets that wait, or are about to be answered.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.waits.iter().flatten().filter_map(|wait| wait.ticket).chain(self.acknowledged.iter().copied())
    }

    /// Waits for nobody's sake are given up.
    pub(crate) fn forget_tickets(&mut self, is_gone: impl Fn(Ticket) -> bool) {
        for wait in &mut self.waits {
            wait.take_if(|wait| wait.ticket.is_some_and(&is_gone));
        }
        if self.is_open() {
            (self.shut, self.waits) = (None, Vec::new());
            self.settle();
        }
    }

    /// A ticket that everybody has acknowledged, until there is none.
    pub(crate) fn next_acknowledged(&mut self) -> Option<Ticket> {
        self.acknowledged.pop()
    }

    /// A shard of another process goes by an epoch, which is not above ours, and has acknowledged one.
    pub(crate) fn acknowledged(
        &mut self,
        (id, incarnation): (&str, u64),
        shard: u16,
        (adopted, acknowledged): (u64, u64),
    ) {
        let is_meant = |wait: &&mut Wait| {
            let epoch = if wait.is_everyone { adopted } else { acknowledged };
            wait.epoch <= epoch || planted::has(Bug::AnyAcknowledgement)
        };
        for wait in self.waits.iter_mut().flatten().filter(is_meant) {
            for before in wait.before.iter_mut().filter(|before| before.id == id && before.incarnation == incarnation) {
                before.shards.retain(|waiting| *waiting != shard);
            }
            wait.before.retain(|before| !before.shards.is_empty());
        }
        self.end_waits();
        self.settle();
    }

    /// Another member has answered an exchange of epochs that was begun then, and goes by no newer ring.
    pub(crate) fn exchanged(&mut self, begun_ms: u64) {
        self.exchanged_ms = self.exchanged_ms.max(begun_ms);
        self.settle();
    }

    /// The greatest epoch by which this shard has given up what it does not own any more.
    pub(crate) fn acknowledges(&self, epoch: u64) -> u64 {
        if planted::has(Bug::ChainIgnored) {
            return epoch;
        }
        self.waits.iter().flatten().filter_map(|wait| wait.kept_epoch).fold(epoch, u64::min)
    }

    /// Who is to be asked for an acknowledgement: id, incarnation and shard.
    pub(crate) fn asked(&self) -> impl Iterator<Item = (&str, u64, u16)> {
        let all = self.waits.iter().flatten().flat_map(|wait| &wait.before);
        all.flat_map(|before| before.shards.iter().map(|shard| (before.id.as_str(), before.incarnation, *shard)))
    }

    /// A wait for one process, or for all that may have owned something; 0 if there is nobody to wait for.
    fn begin(&mut self, membership: &Membership, own_id: &str, owner: Option<&Node>) -> u16 {
        let is_meant = |node: &&Node| match owner {
            Some(owner) => owner.id == node.id && owner.incarnation == node.incarnation,
            // Also where this node has left the ring.
            None => node.id != own_id,
        };
        let before = members(membership).filter(is_meant).map(Before::of);
        let wait = Wait {
            epoch: membership.topology.epoch(),
            before: before.collect(),
            is_everyone: owner.is_none(),
            kept_epoch: None,
            until_ms: if owner.is_none() { self.shut_until_ms } else { 0 },
            ticket: None,
        };
        if wait.before.is_empty() && wait.until_ms == 0 && (self.remembers || owner.is_some()) {
            return 0;
        }
        let free = self.waits.iter().position(Option::is_none).unwrap_or(self.waits.len());
        let number = u16::try_from(free + 1).expect("its maximum has 16 bits");
        match self.waits.get_mut(free) {
            Some(place) => *place = Some(wait),
            None if free < WAITS_MAX => self.waits.push(Some(wait)),
            None => return self.join_last(wait),
        }
        number
    }

    /// So many wait that this one shares its fate with the last: its slots open later than they could.
    fn join_last(&mut self, wait: Wait) -> u16 {
        let last = self.waits[WAITS_MAX - 1].as_mut().expect("all places are taken");
        last.epoch = last.epoch.max(wait.epoch);
        last.until_ms = last.until_ms.max(wait.until_ms);
        last.before.extend(wait.before);
        // What is acknowledged is gone by too.
        last.is_everyone &= wait.is_everyone;
        u16::try_from(WAITS_MAX).expect("it has 16 bits")
    }

    fn gain(&mut self, Slot(slot): Slot, number: u16, fence: u64) {
        let slot = slot as usize;
        if number != 0 && !planted::has(Bug::OpenAtOnce) {
            self.shut.get_or_insert_with(|| vec![0; SLOTS].into())[slot] = number;
        }
        if self.had.as_ref().is_some_and(|had| had[slot]) && !planted::has(Bug::OldEntriesLive) {
            self.floors.get_or_insert_with(|| vec![0; SLOTS].into())[slot] = fence;
        }
    }

    fn lose(&mut self, Slot(slot): Slot, kept_epoch: u64) {
        let slot = slot as usize;
        self.cleared_to = Some(0);
        self.had.get_or_insert_with(|| vec![false; SLOTS].into())[slot] = true;
        if let Some(shut) = &mut self.shut
            && let Some(number) = core::mem::take(&mut shut[slot]).checked_sub(1)
            && let Some(wait) = &mut self.waits[usize::from(number)]
        {
            wait.kept_epoch.get_or_insert(kept_epoch);
        }
    }

    /// Epochs were missed. By one of them somebody else may own again what is waited for here, and never have given it up:
    /// who goes by it has acknowledged ours before. So all have to go by the one of now.
    fn widen_waits(&mut self, membership: &Membership, own_id: &str) {
        for wait in self.waits.iter_mut().flatten().filter(|wait| wait.ticket.is_none()) {
            wait.before = members(membership).filter(|node| node.id != own_id).map(Before::of).collect();
            (wait.is_everyone, wait.epoch) = (true, membership.topology.epoch());
        }
    }

    /// Who is not registered any more does not answer either. What it has not acknowledged it may not have been given
    /// itself: whoever had that before goes by an older ring, and is somebody who is there.
    fn forget_gone(&mut self, membership: &Membership, own_id: &str) {
        let is_there = |before: &Before| is_member(membership, &before.id, before.incarnation);
        for wait in self.waits.iter_mut().flatten() {
            if !wait.is_everyone && !wait.before.iter().all(is_there) {
                wait.before = members(membership).filter(|node| node.id != own_id).map(Before::of).collect();
                wait.is_everyone = true;
                wait.until_ms = wait.until_ms.max(self.shut_until_ms);
            }
            if !wait.before.iter().all(is_there) {
                wait.before.retain(is_there);
                wait.until_ms = wait.until_ms.max(self.shut_until_ms);
            }
        }
    }

    /// Opens the slots of waits that are over.
    fn end_waits(&mut self) {
        let (good_until_ms, remembers) = (self.standing.until_ms, self.remembers);
        let is_over = |wait: &Option<Wait>| wait.as_ref().is_some_and(|wait| wait.is_over(good_until_ms, remembers));
        let over: Vec<bool> = self.waits.iter().map(is_over).collect();
        if !over.contains(&true) {
            return;
        }
        for (wait, _) in self.waits.iter_mut().zip(&over).filter(|(_, over)| **over) {
            self.acknowledged.extend(wait.take().and_then(|wait| wait.ticket));
        }
        if self.is_open() {
            (self.shut, self.waits) = (None, Vec::new());
        } else if let Some(shut) = &mut self.shut {
            for number in shut.iter_mut().filter(|number| **number != 0 && over[usize::from(**number) - 1]) {
                *number = 0;
            }
        }
    }

    /// Works out until when this shard may answer.
    fn settle(&mut self) {
        let Standing { registration, until_ms, stand_in_until_ms } = self.standing;
        self.owner_until_ms = match registration == self.registration {
            _ if planted::has(Bug::NoProof) => u64::MAX,
            false => 0,
            // Who was never registered owns nothing that something could stand in for.
            true if registration == 0 => until_ms,
            true if self.is_alone => until_ms.max(stand_in_until_ms),
            true => until_ms.max(stand_in_until_ms.min(self.exchanged_ms.saturating_add(EXCHANGE_MS))),
        };
        let is_plain = self.shut.is_none() && self.floors.is_none();
        self.plain_until_ms = if is_plain { self.owner_until_ms } else { 0 };
    }

    /// Panics with what is wrong.
    pub(crate) fn validate(&self) {
        let numbers = self.shut.iter().flatten().filter(|number| **number != 0);
        for number in numbers {
            assert!(self.waits[usize::from(*number) - 1].is_some(), "a slot waits for nothing");
        }
        for wait in self.waits.iter().flatten() {
            assert!(!wait.is_over(0, self.remembers), "{wait:?}");
            assert!(wait.before.iter().all(|before| !before.shards.is_empty()), "{wait:?}");
            let is_late = wait.kept_epoch.is_none_or(|kept| kept >= wait.epoch);
            assert!(is_late || wait.is_everyone || self.waits.len() >= WAITS_MAX, "{wait:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::sync::Arc;

    use super::*;

    fn node(id: &str) -> Node {
        Node { id: id.into(), address: format!("{id}.example:1"), shards: 2, points: 1024, incarnation: 7 }
    }

    fn membership(epoch: u64, ids: &[&str]) -> Membership {
        let topology = Topology::new(0, epoch, ids.iter().map(|id| node(id)).collect()).expect("a ring");
        Membership { follows: true, registration: 1, ..Membership::first(Arc::new(topology)) }
    }

    struct Shard {
        ownership: Ownership,
        membership: Membership,
        own: &'static str,
    }

    impl Shard {
        fn new(own: &'static str, membership: Membership) -> Self {
            let standing = Standing { registration: 1, until_ms: 1_000, stand_in_until_ms: 0 };
            let is_alone = membership.topology.nodes().len() == 1;
            Self { ownership: Ownership::new(standing, 1, is_alone), membership, own }
        }

        fn adopt(&mut self, membership: Membership) -> usize {
            let own = membership.topology.index_of(self.own);
            let before = core::mem::replace(&mut self.membership, membership);
            let own_before = before.topology.index_of(self.own);
            let gained = Gained {
                membership: &self.membership,
                own_id: self.own,
                own,
                before: &before.topology,
                own_before,
                fence: 100 * self.membership.topology.epoch(),
            };
            let count = self.ownership.adopt(&gained);
            self.ownership.validate();
            count
        }

        /// Floors of the slots that the node owns now; `None`: shut.
        fn owned(&self) -> Vec<Option<u64>> {
            let own = self.membership.topology.index_of(self.own);
            let slots = (0..SLOTS).map(|slot| Slot(slot as u32));
            let owned = slots.filter(|slot| Some(self.membership.topology.slot_owner(*slot)) == own);
            owned.map(|slot| self.ownership.floor(slot, 0)).collect()
        }

        fn shut(&self) -> usize {
            self.owned().iter().filter(|floor| floor.is_none()).count()
        }

        fn good_until(&mut self, until_ms: u64) {
            self.ownership.set_standing(Standing { registration: 1, until_ms, stand_in_until_ms: 0 });
            self.ownership.validate();
        }

        fn acknowledged(&mut self, id: &str, epoch: u64) {
            (0..2).for_each(|shard| self.ownership.acknowledged((id, 7), shard, (epoch, epoch)));
            self.ownership.validate();
        }
    }

    #[test]
    fn what_is_gained_is_shut_until_all_shards_of_its_owner_have_acknowledged() {
        let mut shard = Shard::new("a", membership(1, &["a", "b", "c"]));
        assert!(shard.ownership.is_plain(999) && !shard.ownership.is_plain(1_000));
        let count = shard.adopt(Membership { leaving: vec![node("b")], ..membership(5, &["a", "c"]) });
        assert!(count > 0 && shard.shut() == count && !shard.ownership.is_plain(0));
        assert_eq!(shard.ownership.asked().collect::<Vec<_>>(), [("b", 7, 0), ("b", 7, 1)]);
        shard.ownership.acknowledged(("b", 7), 0, (5, 5));
        shard.ownership.acknowledged(("b", 7), 1, (5, 4));
        shard.ownership.acknowledged(("b", 8), 1, (5, 5));
        assert_eq!(shard.shut(), count, "one shard is at an earlier epoch");
        shard.ownership.acknowledged(("b", 7), 1, (6, 6));
        assert!(shard.shut() == 0 && shard.ownership.is_plain(0), "nothing of it was here before");
    }

    #[test]
    fn who_is_gone_may_not_have_been_given_what_is_inherited() {
        // "c" owned something that "b" gained when it left, and died at once.
        let mut shard = Shard::new("a", membership(1, &["a", "b", "c"]));
        let left = Membership { leaving: vec![node("c")], ..membership(5, &["a", "b"]) };
        shard.adopt(left.clone());
        shard.acknowledged("c", 5);
        assert_eq!(shard.shut(), 0, "its own part of it");
        let count = shard.adopt(Membership { topology: membership(6, &["a"]).topology, ..left });
        assert!(count > 0 && shard.shut() == count, "c may go by the first ring still");
        shard.acknowledged("c", 5);
        assert_eq!(shard.shut(), count);
        shard.acknowledged("c", 6);
        assert_eq!(shard.shut(), 0);
        // The same of one that dies while it is waited for.
        let mut shard = Shard::new("a", membership(1, &["a", "b", "c"]));
        let count = shard.adopt(Membership { leaving: vec![node("b"), node("c")], ..membership(5, &["a"]) });
        shard.acknowledged("c", 4);
        shard.adopt(Membership { leaving: vec![node("c")], ..membership(6, &["a"]) });
        assert_eq!(shard.shut(), count);
        shard.acknowledged("c", 5);
        assert_eq!(shard.shut(), 0);
    }

    #[test]
    fn who_is_missing_after_an_outage_may_not_have_noticed() {
        let until = |shut_until_ms, membership| Membership { shut_until_ms, ..membership };
        let mut shard = Shard::new("a", membership(1, &["a", "b", "c"]));
        // "c" leaves as it should, so of it one knows.
        let both = shard.adopt(until(1_700, Membership { leaving: vec![node("c")], ..membership(5, &["a"]) }));
        shard.acknowledged("c", 5);
        let of_b = shard.shut();
        assert!(0 < of_b && of_b < both, "{of_b} of {both}");
        let ticket = crate::waiting::Waiting::new(1).begin(9, true);
        shard.ownership.await_all(5, &shard.membership.topology, "a", ticket);
        shard.acknowledged("c", 5);
        shard.good_until(1_699);
        assert_eq!((shard.shut(), shard.ownership.next_acknowledged()), (of_b, None));
        shard.good_until(1_700);
        assert_eq!((shard.shut(), shard.ownership.next_acknowledged()), (0, Some(ticket)));
        // The same of one that goes missing while it is waited for.
        let mut shard = Shard::new("a", membership(1, &["a", "b"]));
        shard.adopt(Membership { leaving: vec![node("b")], ..membership(5, &["a"]) });
        shard.adopt(until(1_700, membership(6, &["a"])));
        assert!(shard.shut() > 0);
        shard.good_until(1_700);
        assert_eq!(shard.shut(), 0);
        shard.ownership.validate();
    }

    /// The cluster was there before, and of those who gave versions then nobody is.
    #[test]
    fn who_remembers_nothing_opens_nothing_of_who_is_gone() {
        let fresh = |is_first| {
            let standing = Standing { registration: 0, until_ms: 1_000, stand_in_until_ms: 0 };
            let alone = Membership { registration: 0, ..membership(1, &["a"]) };
            let mut shard = Shard { ownership: Ownership::new(standing, 0, true), membership: alone, own: "a" };
            let count = shard.adopt(Membership { is_first, follows: false, ..membership(2, &["a"]) });
            shard.good_until(1_000);
            assert_eq!(count, SLOTS);
            shard
        };
        assert_eq!(fresh(true).shut(), 0, "nobody was before it");
        let mut shard = fresh(false);
        assert_eq!(shard.shut(), SLOTS);
        shard.ownership.remember();
        assert!(shard.shut() == 0 && shard.ownership.remembers());
        // Who registers anew has been there all the time.
        shard.adopt(Membership { is_first: false, follows: false, registration: 2, ..membership(3, &["a"]) });
        assert!(shard.ownership.remembers());
        // What is gained of who is there is opened by its acknowledgement, which names a version.
        let mut shard = fresh(true);
        shard.adopt(membership(3, &["a", "b"]));
        shard.ownership.remembers = false;
        shard.adopt(Membership { leaving: vec![node("b")], ..membership(4, &["a"]) });
        assert!(shard.shut() > 0);
        shard.acknowledged("b", 4);
        assert_eq!(shard.shut(), 0);
    }

    #[test]
    fn who_missed_epochs_waits_for_all_to_go_by_the_newest() {
        let mut shard = Shard::new("a", membership(1, &["a", "b"]));
        let count = shard.adopt(Membership { leaving: vec![node("b")], ..membership(5, &["a"]) });
        assert_eq!(shard.shut(), count);
        // By an epoch in between, "b" owned it again.
        let own = shard.adopt(Membership { follows: false, leaving: vec![node("b")], ..membership(9, &["a"]) });
        assert_eq!((own, shard.shut()), (0, count));
        shard.acknowledged("b", 8);
        assert_eq!(shard.shut(), count, "it may own it by that");
        shard.acknowledged("b", 9);
        assert_eq!(shard.shut(), 0);
    }

    #[test]
    fn nobody_waits_for_who_is_gone() {
        let mut shard = Shard::new("a", membership(1, &["a", "b"]));
        shard.adopt(membership(5, &["a"]));
        assert_eq!(shard.shut(), 0);
        let mut shard = Shard::new("a", membership(1, &["a", "b"]));
        shard.adopt(Membership { leaving: vec![node("b")], ..membership(5, &["a"]) });
        assert!(shard.shut() > 0);
        shard.adopt(membership(6, &["a"]));
        assert_eq!(shard.shut(), 0);
        let mut shard = Shard::new("a", membership(1, &["a", "b"]));
        let other = Node { incarnation: 8, ..node("b") };
        shard.adopt(Membership { leaving: vec![other], ..membership(5, &["a"]) });
        (0..2).for_each(|number| shard.ownership.acknowledged(("b", 7), number, (9, 9)));
        assert!(shard.shut() > 0, "it is another process");
        (0..2).for_each(|number| shard.ownership.acknowledged(("b", 8), number, (5, 0)));
        assert_eq!(shard.shut(), 0);
    }

    #[test]
    fn what_was_here_before_is_below_the_floor() {
        let mut shard = Shard::new("a", membership(1, &["a"]));
        shard.adopt(membership(2, &["a", "b"]));
        let kept = shard.owned().len();
        assert!(shard.ownership.is_plain(0));
        shard.adopt(membership(3, &["a"]));
        let floors = shard.owned();
        assert_eq!(floors.iter().filter(|floor| **floor == Some(300)).count(), SLOTS - kept);
        assert_eq!(floors.iter().filter(|floor| **floor == Some(0)).count(), kept);
    }

    #[test]
    fn after_a_gap_everybody_has_to_acknowledge() {
        let mut shard = Shard::new("a", membership(1, &["a", "b", "c"]));
        let count = shard.adopt(Membership { follows: false, ..membership(9, &["a", "b", "d"]) });
        assert_eq!(shard.shut(), count);
        shard.acknowledged("b", 9);
        assert_eq!(shard.shut(), count, "d may have had it too");
        shard.acknowledged("d", 9);
        assert_eq!(shard.shut(), 0);
    }

    /// In epochs that it has missed, it may have been given and have lost what another one still has.
    #[test]
    fn who_has_missed_something_acknowledges_when_nobody_goes_by_an_epoch_before() {
        let mut shard = Shard::new("c", membership(7, &["a", "b", "c"]));
        // It is among those that leave, and need not ask itself.
        let leaving = vec![node("c")];
        shard.adopt(Membership { follows: false, leaving, ..membership(16, &["a", "b"]) });
        assert_eq!((shard.shut(), shard.ownership.acknowledges(16)), (0, 7), "nothing was gained");
        shard.acknowledged("a", 16);
        (0..2).for_each(|number| shard.ownership.acknowledged(("b", 7), number, (15, 15)));
        assert_eq!(shard.ownership.acknowledges(16), 7, "b may have what this node was given at 14");
        (0..2).for_each(|number| shard.ownership.acknowledged(("b", 7), number, (16, 7)));
        assert_eq!(shard.ownership.acknowledges(16), 16);
    }

    #[test]
    fn a_new_registration_makes_everything_new() {
        let mut shard = Shard::new("a", membership(1, &["a", "b"]));
        let own = shard.owned().len();
        assert_eq!(shard.adopt(Membership { registration: 2, ..membership(9, &["a", "b"]) }), own);
        assert!(!shard.ownership.is_plain(0));
        shard.acknowledged("b", 9);
        assert_eq!(shard.shut(), own, "the registration of before proves nothing");
        shard.ownership.set_standing(Standing { registration: 2, until_ms: 1_000, stand_in_until_ms: 0 });
        assert_eq!(shard.owned(), vec![Some(900); own]);
    }

    #[test]
    fn who_lost_what_was_still_shut_acknowledges_after_it_was_acknowledged_itself() {
        let mut shard = Shard::new("b", membership(1, &["a", "b"]));
        shard.adopt(Membership { leaving: vec![node("a")], ..membership(5, &["b"]) });
        assert_eq!(shard.ownership.acknowledges(5), 5);
        shard.adopt(Membership { leaving: vec![node("a")], ..membership(6, &["b", "c"]) });
        assert_eq!(shard.ownership.acknowledges(6), 5, "a may still answer for what c has gained");
        shard.acknowledged("a", 5);
        assert_eq!(shard.ownership.acknowledges(6), 6);
    }

    /// Two have joined at once, and each waits for all others. A third one takes something of both before they have it.
    #[test]
    fn nobody_waits_in_a_circle() {
        let [mut first, mut second] = ["c", "d"].map(|own| {
            let mut shard = Shard::new(own, membership(1, &[own]));
            shard.ownership.set_standing(Standing { registration: 2, until_ms: 1_000, stand_in_until_ms: 0 });
            let registered = |membership| Membership { registration: 2, ..membership };
            shard.adopt(registered(Membership { follows: false, ..membership(4, &["a", "c", "d"]) }));
            shard.adopt(registered(membership(5, &["a", "b", "c", "d"])));
            shard
        });
        let acknowledges = [&first, &second].map(|shard| shard.ownership.acknowledges(5));
        assert_eq!(acknowledges, [1, 1], "what b has gained is a's still");
        // Each goes by the other's epoch, whatever it acknowledges.
        (0..2).for_each(|shard| first.ownership.acknowledged(("d", 7), shard, (4, 1)));
        (0..2).for_each(|shard| second.ownership.acknowledged(("c", 7), shard, (4, 1)));
        assert!(first.shut() > 0, "a has not acknowledged");
        for shard in [&mut first, &mut second] {
            shard.acknowledged("a", 5);
            assert_eq!((shard.shut(), shard.ownership.acknowledges(5)), (0, 5));
        }
    }

    #[test]
    fn a_member_stands_in_while_nobody_keeps_registrations() {
        let mut shard = Shard::new("a", membership(1, &["a", "b"]));
        let outage = Standing { registration: 1, until_ms: 1_000, stand_in_until_ms: 1_800 };
        shard.ownership.set_standing(outage);
        assert!(shard.ownership.needs_exchange() && !shard.ownership.is_plain(1_000));
        shard.ownership.exchanged(900);
        assert!(shard.ownership.is_plain(1_799) && !shard.ownership.is_plain(1_800), "the outage may be over then");
        shard.ownership.set_standing(Standing { stand_in_until_ms: 9_000, ..outage });
        assert!(shard.ownership.is_plain(899 + EXCHANGE_MS) && !shard.ownership.is_plain(900 + EXCHANGE_MS));
        shard.ownership.set_standing(Standing { stand_in_until_ms: 0, ..outage });
        assert!(!shard.ownership.is_plain(1_000), "with registrations kept, nothing stands in");
        let mut alone = Shard::new("a", membership(1, &["a"]));
        alone.ownership.set_standing(outage);
        assert!(alone.ownership.is_plain(1_799) && !alone.ownership.is_plain(1_800));
        assert!(!alone.ownership.needs_exchange());
        alone.ownership.set_standing(Standing { registration: 2, ..outage });
        assert!(!alone.ownership.is_plain(0));
        let never = Standing { registration: 0, until_ms: 0, stand_in_until_ms: 1_800 };
        assert!(!Ownership::new(never, 0, true).is_plain(0), "who was never in the ring is not alone in it");
    }
}

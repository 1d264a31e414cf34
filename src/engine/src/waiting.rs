//! Who waits for other shards, and until when.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use larder_protocol::native::generated::{AlteredGroup, StatsResult};

use crate::deadlines::Deadlines;
use crate::gather::{Gather, Gathers};
use crate::limits::{DELAYED_MAX, LANE_CREDITS, RUN_MAX, WAITING_MAX};
use crate::runs::{Landed, Run};
use crate::slab::{Slab, SlabKey};

/// The right to one answer, given by [`crate::Engine::submit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    key: SlabKey,
    place: u8,
}

/// In the id of a request to another shard: it is of a run, and the rest is its ticket. Other ids are numbers of parts,
/// which have fewer bits.
const OF_RUN: u64 = 1 << 31;
/// Where the place of such a ticket is; below is the index.
const PLACE_SHIFT: u32 = 26;

const _: () = assert!(RUN_MAX <= 1 << (31 - PLACE_SHIFT), "a place fits between the index and the flag");
const _: () = assert!(
    WAITING_MAX + larder_ring::limits::SHARDS_MAX as usize * LANE_CREDITS <= 1 << PLACE_SHIFT,
    "so does every index"
);

impl Ticket {
    /// A number that it shares with others of its caller at most, all given since the caller's last
    /// [`crate::Engine::next_caller`]. The numbers in use are dense: a vector indexed by them stays as short as the most
    /// that were ever in use at once, at most [`WAITING_MAX`] and what is unanswered by other shards.
    pub fn index(self) -> usize {
        self.key.index as usize
    }

    /// Tells it apart from others with its number: they have the places from 0 on, in the order in which they were given,
    /// below [`RUN_MAX`].
    pub fn place(self) -> usize {
        usize::from(self.place)
    }

    /// How often the number had been used before.
    pub fn generation(self) -> u32 {
        self.key.generation
    }

    /// Another ticket of the same run.
    pub(crate) fn at(self, place: u8) -> Self {
        Self { place, ..self }
    }

    fn alone(key: SlabKey) -> Self {
        Self { key, place: 0 }
    }

    /// As the id of a request to another shard.
    #[inline]
    pub(crate) fn to_id(self) -> u64 {
        self.key.to_u64() | u64::from(self.place) << PLACE_SHIFT | OF_RUN
    }

    /// The ticket that [`Ticket::to_id`] made this id of; `None`: it is another id.
    #[inline]
    pub(crate) fn of_id(id: u64) -> Option<Self> {
        let index = id & ((1 << PLACE_SHIFT) - 1);
        let place = (id >> PLACE_SHIFT) as u8 & ((OF_RUN >> PLACE_SHIFT) as u8 - 1);
        let key = SlabKey::from_u64(id >> 32 << 32 | index);
        (id & OF_RUN != 0).then_some(Self { key, place })
    }
}

/// Another shard, for whose request a ticket was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behalf {
    pub(crate) shard: u16,
    /// The id of its request.
    pub(crate) id: u64,
}

/// Everyone with a ticket.
#[derive(Debug)]
pub(crate) struct Waiting {
    waiters: Slab<Waiter>,
    /// How many tickets are in use.
    tickets: usize,
    /// By shard, the run that the next request to it may join.
    joinable: Vec<Option<Joinable>>,
    /// Counts who asks.
    caller: u64,
    deadlines: Deadlines,
    pub(crate) gathers: Gathers,
    /// See [`crate::Engine::delayed`].
    delayed: Vec<Ticket>,
}

/// A run, and who may join it.
#[derive(Clone, Copy, Debug)]
struct Joinable {
    key: SlabKey,
    caller: u64,
    deadline_ms: u64,
}

#[derive(Debug)]
struct Waiter {
    idempotent: bool,
    behalf: Option<Behalf>,
    what: Awaited,
}

/// What is missing.
#[derive(Debug)]
pub(crate) enum Awaited {
    /// The reply of the one node or shard that was asked, or of who loads the key.
    Reply,
    /// The replies of the one shard that was asked, each with a ticket of its own.
    Run(Run),
    /// The results of some keys.
    Keys(Box<Gather>),
    /// The statistics of some shards.
    Stats { total: Box<StatsResult>, missing: usize },
    /// That some shards have invalidated the group.
    Invalidation { generation: u64, missing: usize },
    /// That others have heard of what became of groups.
    Alteration { altered: Box<AlteredGroup>, missing: usize },
}

impl Awaited {
    /// How many parts are missing.
    pub(crate) fn missing(&self) -> usize {
        match self {
            Awaited::Reply => 1,
            Awaited::Run(run) => run.open(),
            Awaited::Keys(gather) => gather.missing,
            Awaited::Stats { missing, .. }
            | Awaited::Invalidation { missing, .. }
            | Awaited::Alteration { missing, .. } => *missing,
        }
    }
}

/// A ticket whose time is up.
#[derive(Debug)]
pub(crate) struct Late {
    pub(crate) ticket: Ticket,
    /// Whether to ask again does no harm.
    pub(crate) idempotent: bool,
    pub(crate) awaited: Awaited,
    pub(crate) behalf: Option<Behalf>,
}

impl Waiting {
    pub(crate) fn new(shards: u16) -> Self {
        Self {
            waiters: Slab::new(),
            tickets: 0,
            joinable: alloc::vec![None; usize::from(shards)],
            caller: 0,
            deadlines: Deadlines::default(),
            gathers: Gathers::default(),
            delayed: Vec::new(),
        }
    }

    /// It is known that the answer to this ticket takes long.
    pub(crate) fn delay(&mut self, ticket: Ticket) {
        if self.delayed.len() < DELAYED_MAX && self.delayed.last() != Some(&ticket) {
            self.delayed.push(ticket);
        }
    }

    /// What was last delayed.
    #[inline]
    pub(crate) fn delayed(&self) -> &[Ticket] {
        &self.delayed
    }

    /// Forgets what was delayed before.
    #[inline]
    pub(crate) fn begin_call(&mut self) {
        self.delayed.clear();
    }

    /// Whether no more tickets may be given.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.tickets >= WAITING_MAX
    }

    /// What follows is asked by somebody else, and joins no run from before.
    #[inline]
    pub(crate) fn next_caller(&mut self) {
        self.caller += 1;
    }

    /// A new ticket; there must be room for it. `idempotent`: whether to ask again does no harm.
    pub(crate) fn begin(&mut self, deadline_ms: u64, idempotent: bool) -> Ticket {
        debug_assert!(!self.is_full(), "asked before");
        self.tickets += 1;
        Ticket::alone(self.insert(Waiter { idempotent, behalf: None, what: Awaited::Reply }, deadline_ms))
    }

    fn insert(&mut self, waiter: Waiter, deadline_ms: u64) -> SlabKey {
        let key = self.waiters.insert(waiter);
        self.deadlines.insert(key.index, deadline_ms);
        key
    }

    /// A new ticket for a request to one other shard; there must be room for it. It joins the caller's run, if there is
    /// one to this shard with this deadline and room. `bytes`: what it counts for among the unanswered bytes of the lane.
    #[inline]
    pub(crate) fn begin_to(&mut self, to: u16, deadline_ms: u64, idempotent: bool, bytes: u32) -> Ticket {
        debug_assert!(!self.is_full(), "asked before");
        self.tickets += 1;
        if let Some(joinable) = self.joinable[usize::from(to)]
            && (joinable.caller, joinable.deadline_ms) == (self.caller, deadline_ms)
            && let Some(Waiter { what: Awaited::Run(run), .. }) = self.waiters.value_mut(joinable.key)
            && run.takes_more()
        {
            return Ticket { key: joinable.key, place: run.add(idempotent, bytes) };
        }
        let mut run = Run::new(to);
        let place = run.add(idempotent, bytes);
        let key = self.insert(Waiter { idempotent, behalf: None, what: Awaited::Run(run) }, deadline_ms);
        self.joinable[usize::from(to)] = Some(Joinable { key, caller: self.caller, deadline_ms });
        Ticket { key, place }
    }

    /// A shard has answered a request of a run; `None`: it was not asked, or has answered before.
    #[inline]
    pub(crate) fn land(&mut self, ticket: Ticket, from: u16) -> Option<Landed> {
        let Awaited::Run(run) = &mut self.waiters.value_mut(ticket.key)?.what else { return None };
        if run.to != from {
            return None;
        }
        let landed = run.land(ticket.place)?;
        self.tickets -= usize::from(landed.is_wanted);
        if landed.is_last_wanted {
            self.deadlines.remove(ticket.key.index);
        }
        if landed.is_last {
            self.waiters.remove(ticket.key);
        }
        Some(landed)
    }

    /// The answer to a ticket that was just given is for another shard.
    pub(crate) fn set_behalf(&mut self, ticket: Ticket, behalf: Behalf) {
        self.waiters.value_mut(ticket.key).expect("the ticket was just given").behalf = Some(behalf);
    }

    /// For which other shard the answer to a ticket is.
    pub(crate) fn behalf(&self, ticket: Ticket) -> Option<Behalf> {
        self.waiters.value(ticket.key).and_then(|waiter| waiter.behalf)
    }

    /// What the ticket waits for; `None`: its time was up, or it was cancelled.
    pub(crate) fn awaited(&mut self, ticket: Ticket) -> Option<(&mut Awaited, &mut Gathers)> {
        let waiter = self.waiters.value_mut(ticket.key)?;
        Some((&mut waiter.what, &mut self.gathers))
    }

    /// Whether the ticket does not wait for all shards and nodes.
    pub(crate) fn is_about_key(&self, ticket: Ticket) -> bool {
        !matches!(self.waiters.value(ticket.key), Some(Waiter { what: Awaited::Invalidation { .. }, .. }))
    }

    /// Changes what the ticket waits for.
    pub(crate) fn await_instead(&mut self, ticket: Ticket, awaited: Awaited) {
        let (what, ..) = self.awaited(ticket).expect("the ticket was just given");
        *what = awaited;
    }

    /// The gather that the ticket waits for, to be given back with [`Waiting::await_instead`]; `None`: the ticket's time
    /// was up, or it was cancelled.
    pub(crate) fn take_gather(&mut self, ticket: Ticket) -> Option<Box<Gather>> {
        match mem::replace(&mut self.waiters.value_mut(ticket.key)?.what, Awaited::Reply) {
            Awaited::Keys(gather) => Some(gather),
            other => unreachable!("{ticket:?} waits for {other:?}, not for keys"),
        }
    }

    /// Whether asking again for what the ticket waits for does no harm.
    pub(crate) fn is_idempotent(&self, ticket: Ticket) -> bool {
        self.waiters.value(ticket.key).is_none_or(|waiter| waiter.idempotent)
    }

    /// Takes back a ticket of no run, to be answered with what was awaited; `None`: its time was up, or it was cancelled.
    #[inline]
    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<Awaited> {
        let waiter = self.waiters.remove(ticket.key)?;
        debug_assert!(!matches!(waiter.what, Awaited::Run(_)), "a run lasts until all of it is answered");
        self.tickets -= 1;
        self.deadlines.remove(ticket.key.index);
        Some(waiter.what)
    }

    /// Takes back a ticket that nobody wants answered.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        if let Some(Waiter { what: Awaited::Run(run), .. }) = self.waiters.value_mut(ticket.key) {
            if run.give_up(ticket.place) {
                self.tickets -= 1;
                if run.wanted() == 0 {
                    self.deadlines.remove(ticket.key.index);
                }
            }
        } else if let Some(Awaited::Keys(gather)) = self.take(ticket) {
            self.gathers.give_back(gather);
        }
    }

    /// The earliest deadline, in ms since the Unix epoch.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|(at_ms, _)| at_ms)
    }

    /// Takes back the ticket, or tickets of a run, with the earliest deadline, if it has come.
    pub(crate) fn take_late(&mut self, now_ms: u64) -> Option<Late> {
        let (_, index) = self.deadlines.first().filter(|(at_ms, _)| *at_ms <= now_ms)?;
        let key = self.waiters.key(index).expect("who has a deadline waits");
        self.deadlines.remove(index);
        let ticket = Ticket::alone(key);
        if let Some(Waiter { what: Awaited::Run(run), .. }) = self.waiters.value_mut(key) {
            self.tickets -= run.wanted();
            let late = Late { ticket, idempotent: false, awaited: Awaited::Run(*run), behalf: None };
            let _ = run.give_all_up();
            return Some(late);
        }
        let Waiter { idempotent, what, behalf } = self.waiters.remove(key).expect("it is there");
        self.tickets -= 1;
        Some(Late { ticket, idempotent, awaited: what, behalf })
    }

    /// How many parts the ticket waits for; `None`: it was answered.
    pub(crate) fn missing(&self, ticket: Ticket) -> Option<usize> {
        self.waiters.value(ticket.key).map(|waiter| waiter.what.missing())
    }

    /// The tickets in use that are of no run.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        let alone = self.waiters.iter().filter(|(_, waiter)| !matches!(waiter.what, Awaited::Run(_)));
        alone.map(|(key, _)| Ticket::alone(key))
    }

    /// The runs that are not answered.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.waiters.iter().filter_map(|(_, waiter)| match &waiter.what {
            Awaited::Run(run) => Some(run),
            _ => None,
        })
    }

    /// Panics with what is wrong. `delivered_bytes`: bytes of values in the gather that was answered last.
    pub(crate) fn validate(&self, delivered_bytes: usize) {
        self.waiters.validate();
        self.deadlines.validate();
        for (key, waiter) in self.waiters.iter() {
            let waits = match &waiter.what {
                Awaited::Run(run) => {
                    run.validate();
                    assert!(waiter.behalf.is_none(), "a run is asked for by a caller");
                    run.wanted() > 0
                }
                _ => true,
            };
            assert_eq!(self.deadlines.has(key.index), waits, "who waits has a deadline: {waiter:?}");
        }
        let wanted: usize = self.runs().map(Run::wanted).sum();
        assert_eq!(self.tickets, self.tickets().count() + wanted, "tickets are counted");
        assert!(self.tickets <= WAITING_MAX, "{} tickets", self.tickets);
        let mut gathered_bytes = delivered_bytes;
        for (_, waiter) in self.waiters.iter() {
            if let Awaited::Keys(gather) = &waiter.what {
                gathered_bytes += gather.bytes();
            }
        }
        let waiting = self.tickets().count() + self.runs().filter(|run| run.wanted() > 0).count();
        assert_eq!(self.deadlines.len(), waiting, "who waits has a deadline, and nobody else");
        assert_eq!(self.gathers.bytes(), gathered_bytes, "bytes of values that are being gathered");
    }
}

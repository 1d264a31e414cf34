//! Who waits for other shards, and until when.

use alloc::boxed::Box;
use core::mem;

use larder_protocol::native::generated::{AlteredGroup, StatsResult};

use crate::deadlines::Deadlines;
use crate::gather::{Gather, Gathers};
use crate::limits::WAITING_MAX;
use crate::slab::{Slab, SlabKey};

/// The right to one answer, given by [`crate::Engine::submit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(SlabKey);

impl Ticket {
    /// A number that no other ticket in use has. The numbers in use are dense: a vector indexed by them stays as short
    /// as the most tickets that were ever in use at once, at most [`WAITING_MAX`].
    pub fn index(self) -> usize {
        self.0.index as usize
    }

    /// How often the number had been used before.
    pub fn generation(self) -> u32 {
        self.0.generation
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
    deadlines: Deadlines,
    pub(crate) gathers: Gathers,
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
    /// The reply of the one shard that was asked.
    Reply,
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
    pub(crate) fn new() -> Self {
        Self { waiters: Slab::new(), deadlines: Deadlines::default(), gathers: Gathers::default() }
    }

    /// Whether no more tickets may be given.
    pub(crate) fn is_full(&self) -> bool {
        self.waiters.len() >= WAITING_MAX
    }

    /// A new ticket; there must be room for it. `idempotent`: whether to ask again does no harm.
    pub(crate) fn begin(&mut self, deadline_ms: u64, idempotent: bool) -> Ticket {
        debug_assert!(!self.is_full(), "asked before");
        let key = self.waiters.insert(Waiter { idempotent, behalf: None, what: Awaited::Reply });
        self.deadlines.insert(key.index, deadline_ms);
        Ticket(key)
    }

    /// The answer to a ticket that was just given is for another shard.
    pub(crate) fn set_behalf(&mut self, ticket: Ticket, behalf: Behalf) {
        self.waiters.value_mut(ticket.0).expect("the ticket was just given").behalf = Some(behalf);
    }

    /// For which other shard the answer to a ticket is.
    pub(crate) fn behalf(&self, ticket: Ticket) -> Option<Behalf> {
        self.waiters.value(ticket.0).and_then(|waiter| waiter.behalf)
    }

    /// What the ticket waits for; `None`: its time was up, or it was cancelled.
    pub(crate) fn awaited(&mut self, ticket: Ticket) -> Option<(&mut Awaited, &mut Gathers)> {
        let waiter = self.waiters.value_mut(ticket.0)?;
        Some((&mut waiter.what, &mut self.gathers))
    }

    /// Whether the ticket does not wait for all shards and nodes.
    pub(crate) fn is_about_key(&self, ticket: Ticket) -> bool {
        !matches!(self.waiters.value(ticket.0), Some(Waiter { what: Awaited::Invalidation { .. }, .. }))
    }

    /// Changes what the ticket waits for.
    pub(crate) fn await_instead(&mut self, ticket: Ticket, awaited: Awaited) {
        let (what, ..) = self.awaited(ticket).expect("the ticket was just given");
        *what = awaited;
    }

    /// The gather that the ticket waits for, to be given back with [`Waiting::await_instead`]; `None`: the ticket's time
    /// was up, or it was cancelled.
    pub(crate) fn take_gather(&mut self, ticket: Ticket) -> Option<Box<Gather>> {
        match mem::replace(&mut self.waiters.value_mut(ticket.0)?.what, Awaited::Reply) {
            Awaited::Keys(gather) => Some(gather),
            other => unreachable!("{ticket:?} waits for {other:?}, not for keys"),
        }
    }

    /// Whether asking again for what the ticket waits for does no harm.
    pub(crate) fn is_idempotent(&self, ticket: Ticket) -> bool {
        self.waiters.value(ticket.0).is_none_or(|waiter| waiter.idempotent)
    }

    /// Takes back a ticket, to be answered with what was awaited; `None`: its time was up, or it was cancelled.
    #[inline]
    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<Awaited> {
        let waiter = self.waiters.remove(ticket.0)?;
        self.deadlines.remove(ticket.0.index);
        Some(waiter.what)
    }

    /// Takes back a ticket that nobody wants answered.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        if let Some(Awaited::Keys(gather)) = self.take(ticket) {
            self.gathers.give_back(gather);
        }
    }

    /// The earliest deadline, in ms since the Unix epoch.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|(at_ms, _)| at_ms)
    }

    /// Takes back the ticket with the earliest deadline, if it has come.
    pub(crate) fn take_late(&mut self, now_ms: u64) -> Option<Late> {
        let (_, index) = self.deadlines.first().filter(|(at_ms, _)| *at_ms <= now_ms)?;
        let key = self.waiters.key(index).expect("who has a deadline waits");
        let Waiter { idempotent, what, behalf } = self.waiters.remove(key).expect("it is there");
        self.deadlines.remove(index);
        Some(Late { ticket: Ticket(key), idempotent, awaited: what, behalf })
    }

    /// How many parts the ticket waits for; `None`: it was answered.
    pub(crate) fn missing(&self, ticket: Ticket) -> Option<usize> {
        self.waiters.value(ticket.0).map(|waiter| waiter.what.missing())
    }

    /// The tickets in use.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.waiters.iter().map(|(key, _)| Ticket(key))
    }

    /// Panics with what is wrong. `delivered_bytes`: bytes of values in the gather that was answered last.
    pub(crate) fn validate(&self, delivered_bytes: usize) {
        self.waiters.validate();
        self.deadlines.validate();
        assert!(self.waiters.len() <= WAITING_MAX, "{} tickets", self.waiters.len());
        let mut gathered_bytes = delivered_bytes;
        for (_, waiter) in self.waiters.iter() {
            if let Awaited::Keys(gather) = &waiter.what {
                gathered_bytes += gather.bytes();
            }
        }
        assert_eq!(self.deadlines.len(), self.waiters.len(), "who waits has a deadline, and nobody else");
        assert_eq!(self.gathers.bytes(), gathered_bytes, "bytes of values that are being gathered");
    }
}

//! Who waits for which answer of the engine: tickets to connections, and a list of its tickets per connection.

use std::sync::Arc;

use larder_engine::Ticket;
use larder_protocol::{Command, Request};

use super::connections::{Connection, ConnectionId, NO_WAITER};
use crate::tally::{Operation, Tally};

/// A request that other shards are at.
#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    request: u64,
    reads_only: bool,
    operation: Operation,
    /// Its answer is known to take long.
    is_delayed: bool,
}

/// What was remembered of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The client's number for the request.
    pub(super) request: u64,
    /// When it came.
    pub(super) begun_ms: u64,
    /// Whether it changes nothing, so that its answer can be replaced by OVERLOADED.
    pub(super) reads_only: bool,
    /// What it asks for.
    pub(super) operation: Operation,
}

/// The waiters of one connection whose tickets have one number.
#[derive(Debug)]
struct Slot {
    connection: ConnectionId,
    /// When they came.
    begun_ms: u64,
    /// By place.
    waiters: Vec<Waiter>,
    /// The places that are not answered, a bit for each; none: the slot is empty.
    open: u32,
    /// Neighbours in the list of the connection.
    previous: u32,
    next: u32,
}

/// Slots that keep their room when they are empty: as many as a busy shard has in use. The first of them are used first.
const SLOTS_KEPT: u32 = 4 << 10;

const _: () = assert!(larder_engine::limits::RUN_MAX <= u32::BITS as usize, "each place has a bit");

/// Waiters by the index of their ticket.
#[derive(Debug)]
pub(super) struct Waiters {
    slots: Vec<Slot>,
    len: usize,
    /// Of all that is answered, by whoever has waited and at once.
    pub(super) tally: Arc<Tally>,
    /// The time of this turn.
    pub(super) now_ms: u64,
}

impl Waiters {
    /// Nobody waits.
    pub(super) fn new(tally: Arc<Tally>) -> Self {
        Self { slots: Vec::new(), len: 0, tally, now_ms: 0 }
    }

    /// Remembers that a request of a connection, which came at this time, waits for `ticket`.
    pub(super) fn insert(
        &mut self,
        ticket: Ticket,
        (id, connection): (ConnectionId, &mut Connection),
        request: &Request<'_>,
        now_ms: u64,
    ) {
        let (operation, reads_only) = (Operation::of(&request.command), reads_only(request));
        let index = index_of(ticket);
        if ticket.place() == 0 {
            self.begin(index, (id, connection), now_ms);
        }
        let slot = &mut self.slots[index as usize];
        assert_eq!((slot.connection, slot.waiters.len()), (id, ticket.place()), "tickets with a number are in order");
        slot.open |= 1 << slot.waiters.len();
        slot.waiters.push(Waiter { ticket, request: request.id, reads_only, operation, is_delayed: false });
        connection.pending += 1;
        self.len += 1;
    }

    /// Takes a slot for a connection.
    fn begin(&mut self, index: u32, (id, connection): (ConnectionId, &mut Connection), now_ms: u64) {
        let empty =
            || Slot { connection: id, begun_ms: 0, waiters: Vec::new(), open: 0, previous: NO_WAITER, next: NO_WAITER };
        if self.slots.len() <= index as usize {
            self.slots.resize_with(index as usize + 1, empty);
        }
        let next = core::mem::replace(&mut connection.first_waiter, index);
        if next != NO_WAITER {
            self.slots[next as usize].previous = index;
        }
        let slot = &mut self.slots[index as usize];
        assert_eq!(slot.open, 0, "ticket {index} was given out twice");
        slot.waiters.clear();
        (slot.connection, slot.begun_ms, slot.previous, slot.next) = (id, now_ms, NO_WAITER, next);
    }

    /// Whose ticket it is.
    ///
    /// # Panics
    /// If nobody waits for it: an engine reports each ticket once, and no cancelled one.
    #[inline]
    pub(super) fn owner(&self, ticket: Ticket) -> ConnectionId {
        let slot = &self.slots[ticket.index()];
        assert!(slot.open & 1 << ticket.place() != 0, "somebody waits for this ticket");
        slot.connection
    }

    /// Whose ticket it is, if somebody waits for it.
    pub(super) fn find(&self, ticket: Ticket) -> Option<ConnectionId> {
        let slot = self.slots.get(ticket.index())?;
        let is_open = slot.open & 1 << ticket.place() != 0;
        (is_open && slot.waiters[ticket.place()].ticket == ticket).then_some(slot.connection)
    }

    /// The answer to a ticket that `connection` waits for takes long.
    #[cold]
    pub(super) fn delay(&mut self, ticket: Ticket, connection: &mut Connection) {
        let waiter = &mut self.slots[ticket.index()].waiters[ticket.place()];
        debug_assert_eq!(waiter.ticket, ticket, "who waits lies where the ticket says");
        connection.delayed += u32::from(!waiter.is_delayed);
        waiter.is_delayed = true;
    }

    /// The answers to all that a connection waits for take long.
    #[cold]
    pub(super) fn delay_all(&mut self, connection: &mut Connection) {
        let mut index = connection.first_waiter;
        while index != NO_WAITER {
            let slot = &mut self.slots[index as usize];
            slot.waiters.iter_mut().for_each(|waiter| waiter.is_delayed = true);
            index = slot.next;
        }
        connection.delayed = connection.pending;
    }

    /// Forgets who waits for a ticket: `connection`. Says what was asked.
    #[inline]
    pub(super) fn take(&mut self, ticket: Ticket, connection: &mut Connection) -> Asked {
        let index = index_of(ticket);
        let slot = &mut self.slots[index as usize];
        // Field by field: of a copy of the whole, which does not lie in whole words, every reader would wait for its writer.
        let Waiter { ticket: waiting, request, reads_only, operation, is_delayed } = slot.waiters[ticket.place()];
        let asked = Asked { request, begun_ms: slot.begun_ms, reads_only, operation };
        debug_assert_eq!(waiting, ticket, "who waits lies where the ticket says");
        slot.open &= !(1 << ticket.place());
        connection.pending -= 1;
        connection.delayed -= u32::from(is_delayed);
        self.len -= 1;
        if slot.open == 0 {
            if index >= SLOTS_KEPT {
                slot.waiters = Vec::new();
            }
            let (previous, next) = (slot.previous, slot.next);
            match previous {
                NO_WAITER => connection.first_waiter = next,
                previous => self.slots[previous as usize].next = next,
            }
            if next != NO_WAITER {
                self.slots[next as usize].previous = previous;
            }
        }
        asked
    }

    /// Forgets one of the waiters of a connection, if it has any.
    pub(super) fn take_first(&mut self, connection: &mut Connection) -> Option<Ticket> {
        if connection.first_waiter == NO_WAITER {
            return None;
        }
        let slot = &self.slots[connection.first_waiter as usize];
        let ticket = slot.waiters[slot.open.trailing_zeros() as usize].ticket;
        self.take(ticket, connection);
        Some(ticket)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Checks the list of one connection.
    pub(super) fn validate(&self, id: ConnectionId, connection: &Connection) {
        let (mut index, mut previous, mut pending, mut delayed) = (connection.first_waiter, NO_WAITER, 0, 0);
        while index != NO_WAITER {
            let slot = &self.slots[index as usize];
            assert_eq!((slot.connection, slot.previous), (id, previous), "waiter {index} is in its own list");
            for (place, waiter) in slot.waiters.iter().enumerate() {
                let ticket = (index_of(waiter.ticket), waiter.ticket.place());
                assert_eq!(ticket, (index, place), "waiters lie where their tickets say");
                delayed += u32::from(waiter.is_delayed && slot.open & 1 << place != 0);
            }
            let generations =
                slot.waiters.windows(2).all(|pair| pair[0].ticket.generation() == pair[1].ticket.generation());
            assert!(generations, "the tickets of a slot are of one time");
            assert!(slot.open != 0 && slot.open >> slot.waiters.len() == 0, "somebody waits in a slot of a list");
            (previous, index) = (index, slot.next);
            pending += slot.open.count_ones() as usize;
            assert!(pending <= self.len, "the list of waiters ends");
        }
        assert_eq!(pending, connection.pending as usize, "the list holds all that is pending");
        assert_eq!(delayed, connection.delayed, "so many of them are delayed");
    }
}

/// Whether a request changes nothing.
fn reads_only(request: &Request<'_>) -> bool {
    matches!(request.command, Command::Get { .. } | Command::GetMany { .. })
}

/// Numbers of tickets are dense, and far fewer than 2^32.
fn index_of(ticket: Ticket) -> u32 {
    u32::try_from(ticket.index()).ok().filter(|index| *index != NO_WAITER).expect("tickets are dense")
}

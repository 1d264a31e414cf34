//! Who waits for which answer of the engine: tickets to connections, and a list of its tickets per connection.

use std::sync::Arc;

use larder_engine::Ticket;
use larder_protocol::{Command, Request};

use super::connections::{Connection, ConnectionId, NO_WAITER};
use crate::tally::{Operation, Tally};

/// A request that other shards are at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) connection: ConnectionId,
    /// The client's number for the request.
    pub(super) request: u64,
    /// Whether it changes nothing, so that its answer can be replaced by OVERLOADED.
    pub(super) reads_only: bool,
    /// What it asks for.
    pub(super) operation: Operation,
    /// When it came.
    pub(super) begun_ms: u64,
    previous: u32,
    next: u32,
}

/// Waiters by the index of their ticket.
#[derive(Debug)]
pub(super) struct Waiters {
    slots: Vec<Option<Waiter>>,
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
        if self.slots.len() <= index as usize {
            self.slots.resize(index as usize + 1, None);
        }
        let next = connection.first_waiter;
        if next != NO_WAITER {
            self.linked(next).previous = index;
        }
        let slot = &mut self.slots[index as usize];
        assert!(slot.is_none(), "ticket {index} was given out twice");
        let (request, begun_ms, previous) = (request.id, now_ms, NO_WAITER);
        *slot = Some(Waiter { ticket, connection: id, request, reads_only, operation, begun_ms, previous, next });
        connection.first_waiter = index;
        connection.pending += 1;
        self.len += 1;
    }

    /// Whose ticket it is.
    ///
    /// # Panics
    /// If nobody waits for it: an engine reports each ticket once, and no cancelled one.
    pub(super) fn owner(&self, ticket: Ticket) -> ConnectionId {
        let waiter = self.slots[ticket.index()].as_ref().expect("somebody waits for this ticket");
        waiter.connection
    }

    /// Forgets who waits for a ticket: `connection`.
    pub(super) fn take(&mut self, ticket: Ticket, connection: &mut Connection) -> Waiter {
        self.remove(index_of(ticket), connection)
    }

    /// Forgets the first waiter of a connection, if it has one.
    pub(super) fn take_first(&mut self, connection: &mut Connection) -> Option<Waiter> {
        (connection.first_waiter != NO_WAITER).then(|| self.remove(connection.first_waiter, connection))
    }

    fn remove(&mut self, index: u32, connection: &mut Connection) -> Waiter {
        let waiter = self.slots[index as usize].take().expect("somebody waits for this ticket");
        match waiter.previous {
            NO_WAITER => connection.first_waiter = waiter.next,
            previous => self.linked(previous).next = waiter.next,
        }
        if waiter.next != NO_WAITER {
            self.linked(waiter.next).previous = waiter.previous;
        }
        connection.pending -= 1;
        self.len -= 1;
        waiter
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn linked(&mut self, index: u32) -> &mut Waiter {
        self.slots[index as usize].as_mut().expect("linked waiters exist")
    }

    /// Checks the list of one connection.
    pub(super) fn validate(&self, id: ConnectionId, connection: &Connection) {
        let (mut index, mut previous, mut pending) = (connection.first_waiter, NO_WAITER, 0);
        while index != NO_WAITER {
            let waiter = self.slots[index as usize].as_ref().expect("linked waiters exist");
            assert_eq!((waiter.connection, waiter.previous), (id, previous), "waiter {index} is in its own list");
            assert_eq!(index_of(waiter.ticket), index, "waiters lie where their tickets say");
            (previous, index) = (index, waiter.next);
            pending += 1;
            assert!(pending <= self.len, "the list of waiters ends");
        }
        assert_eq!(pending, connection.pending as usize, "the list holds all that is pending");
    }
}

/// Whether a request changes nothing.
fn reads_only(request: &Request<'_>) -> bool {
    matches!(request.command, Command::Get { .. } | Command::GetMany { .. })
}

/// Tickets are dense, and far fewer than 2^32.
fn index_of(ticket: Ticket) -> u32 {
    u32::try_from(ticket.index()).ok().filter(|index| *index != NO_WAITER).expect("tickets are dense")
}

//! From what the engine says of a ticket to the connection that waits for it.

use std::sync::Arc;

use larder_engine::Ticket;
use larder_protocol::{Failure, Reply, Status};

use super::buffers::Buffers;
use super::connections::{Connection, ConnectionId, Connections};
use super::waiters::{Asked, Waiters};
use crate::limits::{OUTPUT_BYTES_MAX, OUTPUT_RETRY_AFTER_MS};
use crate::resp::Shared;
use crate::tally::Outcome;

/// Replaces a value for a client that does not read.
static CLIENT_DOES_NOT_READ: Failure = Failure {
    status: Status::Overloaded,
    message: std::borrow::Cow::Borrowed("this connection has too many answers to be read; read them, then ask again"),
    retry_after_ms: OUTPUT_RETRY_AFTER_MS,
};

/// What it takes to give an answer of the engine to the connection that waits for it.
pub(super) struct Answers<'r> {
    pub(super) epoch: u64,
    pub(super) connections: &'r mut Connections,
    pub(super) waiters: &'r mut Waiters,
    pub(super) buffers: &'r mut Buffers,
    pub(super) listed: &'r mut Vec<ConnectionId>,
    pub(super) queued: &'r mut Vec<ConnectionId>,
    pub(super) shared: &'r Arc<Shared>,
}

impl Answers<'_> {
    #[inline]
    pub(super) fn give(&mut self, ticket: Ticket, reply: &Reply<'_>) {
        let id = self.waiters.owner(ticket);
        let connection = self.connections.at(id);
        let Asked { request, begun_ms, reads_only, operation } = self.waiters.take(ticket, connection);
        if connection.output.capacity() == 0 {
            connection.output = self.buffers.take();
        }
        let reply = match reply {
            Reply::Entry(_) | Reply::Entries(_) if reads_only && connection.backlog() > OUTPUT_BYTES_MAX => {
                &Reply::Failed(&CLIENT_DOES_NOT_READ)
            }
            reply => reply,
        };
        let (spoken, tally) = (connection.dialect.spoken(), &self.waiters.tally);
        tally.answered(spoken, operation, Outcome::of(reply));
        tally.took(spoken, operation, self.waiters.now_ms.saturating_sub(begun_ms));
        let told = (self.epoch, self.waiters.now_ms, self.shared);
        connection.dialect.answer(&mut connection.output, request, reply, told);
        if connection.dialect.has_queue() {
            self.queued.push(id);
        }
        list(id, connection, self.listed);
    }

    /// The answer to a ticket takes long: those that wait for it do so no more. Nobody may have the ticket.
    pub(super) fn delay(&mut self, ticket: Ticket) {
        if let Some(id) = self.waiters.find(ticket) {
            let connection = self.connections.at(id);
            self.waiters.delay(ticket, connection);
            list(id, connection, self.listed);
        }
    }
}

#[inline]
fn list(id: ConnectionId, connection: &mut Connection, listed: &mut Vec<ConnectionId>) {
    if !connection.listed {
        connection.listed = true;
        listed.push(id);
    }
}

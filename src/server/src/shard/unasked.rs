//! What a shard does for its connections without a request of theirs: what their dialects ask for, and what they have asked for
//! a later time.

use larder_engine::Submission;
use larder_protocol::{Command, Request};

use super::dialect::Dialect;
use super::reactor::Reactor;
use super::requests::Parts;

impl Reactor {
    /// Submits what connections ask for by themselves; whether there was any.
    pub(super) fn submit_queued(&mut self, now_ms: u64) -> bool {
        if self.queued.is_empty() {
            return false;
        }
        for id in std::mem::take(&mut self.queued) {
            let Self { engine, welcome, waiters, watches, decoding, unsent, queued, flush_at_ms, connections, .. } =
                self;
            let mut parts = Parts { engine, welcome, waiters, watches, decoding, unsent, queued, flush_at_ms };
            let Some(connection) = connections.find(id) else { continue };
            if connection.output.capacity() == 0 {
                connection.output = self.buffers.take();
            }
            parts.submit_queue(id, connection, now_ms);
            if !std::mem::replace(&mut connection.listed, true) {
                self.listed.push(id);
            }
        }
        true
    }

    /// Makes the default group absent if the time for it has come; whether it has.
    pub(super) fn flush(&mut self, now_ms: u64) -> bool {
        if self.flush_at_ms.is_none_or(|at_ms| at_ms > now_ms) {
            return false;
        }
        self.flush_at_ms = None;
        let command = Command::Invalidate;
        let request = Request { id: 0, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command };
        // Nobody waits for it: whoever asked was answered then.
        if let Submission::Pending(ticket) = self.engine.submit(&request, now_ms) {
            self.engine.cancel(ticket);
        }
        true
    }

    /// Closes the connections of clients of RESP that were killed, once what is being sent is.
    pub fn close_killed(&mut self) {
        for id in self.connections.ids().collect::<Vec<_>>() {
            let connection = self.connections.at(id);
            // Who has killed itself gets its answer.
            if !connection.broken && matches!(&connection.dialect, Dialect::Resp(resp) if resp.is_killed()) {
                connection.give_up();
                if !std::mem::replace(&mut connection.listed, true) {
                    self.listed.push(id);
                }
            }
        }
    }
}

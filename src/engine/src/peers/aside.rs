//! Requests that came back without having been executed, and wait until they can be routed again.

use super::{Forwarded, Peers, Stage};
use crate::Ticket;
use crate::waiting::Waiting;

impl Peers {
    /// Puts a request aside, to be routed again at that time and epoch or later.
    pub(crate) fn put_aside(&mut self, mut request: Forwarded, at_ms: u64, epoch: u64) {
        (request.stage, request.flight) = (Stage::Aside { at_ms, epoch }, None);
        self.bytes += request.frame.len();
        let id = self.requests.insert(request);
        self.aside.push_back(id);
    }

    /// Puts a request aside for longer, unless nobody waits for it any more.
    pub(crate) fn put_aside_unless_late(&mut self, request: Forwarded, at_ms: u64, epoch: u64, waiting: &Waiting) {
        let waits = |ticket: &Ticket| waiting.missing(*ticket).is_some();
        if waits(&request.ticket) || request.others.iter().any(waits) {
            self.put_aside(request, at_ms, epoch);
        } else {
            self.recycle(request.frame);
        }
    }

    /// When something is to be done about requests that are aside, or links that are silent.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        if self.requests.len() == 0 {
            return None;
        }
        Some(self.aside_ms().map_or(self.check_ms, |at_ms| at_ms.min(self.check_ms)))
    }

    /// When the first request that is aside is to be looked at.
    pub(crate) fn aside_ms(&self) -> Option<u64> {
        match self.requests.value(*self.aside.front()?)?.stage {
            Stage::Aside { at_ms, .. } => Some(at_ms),
            _ => unreachable!("it is aside"),
        }
    }

    /// How many requests are aside.
    pub(crate) fn aside(&self) -> usize {
        self.aside.len()
    }

    /// The request that was put aside first, with the epoch that it waits for.
    pub(crate) fn next_aside(&mut self) -> Option<(Forwarded, u64)> {
        let id = self.aside.pop_front()?;
        let request = self.take(id);
        match request.stage {
            Stage::Aside { epoch, .. } => Some((request, epoch)),
            _ => unreachable!("it is aside"),
        }
    }
}

//! What a connection has done, as CLIENT LIST tells of it.
//!
//! Nothing of it is done for each get and set: those that are decoded ahead are counted by the places that they took, and told
//! of to others once for each read and each output.

use larder_protocol::resp::{Misfit, Which};

use super::Resp;
use crate::resp::Activity;
use crate::shard::order::PLACES;
use crate::tally::Tally;

/// Commands of a connection.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// So many, but for those whose places were taken since `mark`.
    commands: u64,
    mark: u64,
    /// The last one.
    last: Option<Which>,
    /// It has not ended, and is not among `commands`: as in Valkey, CLIENT INFO does not count itself.
    is_running: bool,
}

impl Figures {
    /// Gets and sets are decoded, of which this is the last.
    #[inline]
    pub(super) fn is_ahead(&mut self, last: Which) {
        self.last = Some(last);
    }

    fn count(&self, next: u64) -> u64 {
        self.commands + next.wrapping_sub(self.mark) % PLACES
    }
}

impl Resp {
    /// This command begins, whose places are not counted.
    pub(super) fn begin(&mut self, which: &Result<Which, Misfit>, tally: &Tally) {
        match which {
            Ok(which) => tally.asked(*which),
            Err(misfit) => misfit.which.into_iter().for_each(|which| tally.rejected(which)),
        }
        self.figures.commands = self.figures.count(self.order.next());
        self.figures.mark = self.order.next();
        self.figures.is_running = true;
        self.figures.last = which.as_ref().map_or_else(|misfit| misfit.which, |which| Some(*which));
    }

    /// It ends, if one has begun. All places up to here are its own.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.figures.is_running) {
            self.figures.commands += 1;
            self.figures.mark = self.order.next();
        }
    }

    /// So many bytes have come.
    pub(in crate::shard) fn heard(&mut self, bytes: usize, now_ms: u64) {
        if let Some(registration) = &self.registration {
            registration.client().is_heard(bytes as u64, now_ms);
            self.publish();
        }
    }

    /// So many bytes go out.
    pub(in crate::shard) fn sends(&mut self, bytes: usize) {
        if let Some(registration) = &self.registration {
            registration.client().is_sent(bytes as u64);
            self.publish();
        }
    }

    /// Shows how far it is.
    pub(super) fn publish(&self) {
        let Some(registration) = &self.registration else { return };
        registration.client().show(Activity {
            commands: self.figures.count(self.order.next()),
            last: self.figures.last,
            queued: self.multi.as_ref().map(super::transaction::Multi::count),
            watched: self.watched.len(),
        });
    }
}

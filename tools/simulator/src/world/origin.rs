//! Where missing values come from in some runs: an origin that is slow, fails, and never says what it did not say before.

use larder_engine::{FlightId, Load as Order, Loaded};
use larder_protocol::{Failure, Status};

use super::{At, Event, World};
use crate::clients::{VALUES, key_number};
use crate::history::{Load, Loaded as Told};

/// Longest time that an answer takes in most cases, and in those where it is slow or never comes, in ms.
const QUICK_MS_MAX: u64 = 30;
const SLOW_MS_MAX: u64 = 4_000;

/// What the origin says.
#[derive(Debug)]
pub(crate) enum Said {
    Value { number: u64, is_kept: bool },
    Absent,
    Failed,
}

impl World {
    /// A shard wants a key loaded.
    pub(super) fn load(&mut self, at: At, process: u64, load: Order) {
        let key = key_number(&load.key);
        self.sequence += 1;
        let began = self.sequence;
        self.history.load_began(Load { at, process, key, began, ended: u64::MAX });
        let is_slow = !self.is_mended && self.random.u8(0..8) == 0;
        let delay_ms = self.random.u64(0..if is_slow { SLOW_MS_MAX } else { QUICK_MS_MAX });
        let said = match self.random.u8(0..10) {
            // It has no numbers that are counted.
            _ if key >= VALUES => Said::Absent,
            0 => Said::Failed,
            1 => Said::Absent,
            choice => {
                let number = self.clients.next_value;
                self.clients.next_value += 1;
                self.history.told(number, Told { key, began });
                Said::Value { number, is_kept: choice > 2 }
            }
        };
        self.trace.note(self.now_ms, format_args!("{at:?} has key {key} loaded, which takes {delay_ms} ms: {said:?}"));
        self.at(self.now_ms + delay_ms, Event::Loaded { at, process, flight: load.flight, began, said });
    }

    pub(super) fn loaded(&mut self, at: At, process: u64, (flight, began): (FlightId, u64), said: &Said) {
        self.sequence += 1;
        self.history.load_ended(began, self.sequence);
        if self.process(at.0, process).is_none() {
            return;
        }
        let failure = Failure::new(Status::OriginFailed, "it has failed");
        let text = if let Said::Value { number, .. } = said { number.to_string() } else { String::new() };
        let loaded = match *said {
            Said::Value { is_kept, .. } => Loaded::Value { value: text.as_bytes(), ttl_ms: None, is_kept, etag: None },
            Said::Absent => Loaded::Absent,
            Said::Failed => Loaded::Failed(&failure),
        };
        self.with_answers(at, |engine, now_ms, answer| engine.loaded(flight, &loaded, now_ms, answer));
    }
}

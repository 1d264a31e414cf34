//! Sets every key once before a run.

use std::sync::atomic::{AtomicU64, Ordering};

use larder_protocol::{Command, Status};

use super::Stage;
use super::plan::share;
use super::sender::Sender;
use crate::error::LoadError;
use crate::fleet::{Call, Fleet, FleetSettings, Flight, Place, Workload};
use crate::limits::{IN_FLIGHT_BYTES_MAX, PRELOAD_CONNECTIONS, PRELOAD_PIPELINE, RETRIES_MAX, SLEEP_MAX};
use crate::protocol::{AnswerOf, LoadProtocol};
use crate::stats::status_name;
use crate::workload::{Operation, ValueSizes};

/// Sets this thread's share of the keys.
pub(super) fn preload<P: LoadProtocol>(stage: &Stage<'_, P>, thread: usize) -> Result<(), LoadError> {
    let Stage { plan, facts, clock, gate, .. } = *stage;
    let keys = share(plan.keys.count(), plan.threads, thread);
    let fitting =
        IN_FLIGHT_BYTES_MAX / u64::from(plan.values.most().max(1)) / (plan.threads * PRELOAD_CONNECTIONS) as u64;
    let depth = fitting.min(facts.pipeline_max).clamp(1, PRELOAD_PIPELINE as u64) as usize;
    let settings = FleetSettings {
        address: plan.address,
        first_connection: 0,
        connections: PRELOAD_CONNECTIONS,
        depth,
        reopens_max: 0,
        answer_timeout: plan.timeout,
    };
    let mut fleet = Fleet::connect(settings, stage.protocol, clock)?;
    let mut load = Preload {
        sender: Sender::new(plan, stage.material.clone()),
        values: plan.values.clone(),
        rng: fastrand::Rng::with_seed(plan.seed ^ (thread as u64) << 48 ^ 1),
        next: keys.start,
        end: keys.end,
        retries: 0,
        done: &stage.preloaded,
    };
    while let Some(connection) = fleet.next_opened() {
        while fleet.free_slots_of(connection) > 0
            && let Some(call) = load.next_call()
        {
            let now_ns = clock.now_ns();
            fleet.start(connection, call, now_ns, now_ns, &mut load);
        }
    }
    while fleet.in_flight() > 0 {
        if gate.has_failed() {
            return Err(LoadError::BrokenOff);
        }
        fleet.turn(SLEEP_MAX, &mut load)?;
    }
    Ok(())
}

struct Preload<'a> {
    sender: Sender,
    values: ValueSizes,
    rng: fastrand::Rng,
    next: u64,
    end: u64,
    /// How often a key was sent again since the last one that was stored.
    retries: u32,
    done: &'a AtomicU64,
}

impl Preload<'_> {
    fn next_call(&mut self) -> Option<Call> {
        let key = (self.next < self.end).then_some(self.next)?;
        self.next += 1;
        let version = self.sender.ledger().map_or(0, |ledger| ledger.issue(key));
        Some(Call {
            operation: Operation::Set,
            key,
            version,
            value_bytes: self.values.sample(&mut self.rng),
            fill: false,
        })
    }
}

impl<P: LoadProtocol> Workload<P> for Preload<'_> {
    fn command(&mut self, place: Place, call: &Call) -> Command<'_> {
        self.sender.command(call, place.connection)
    }

    fn answered(
        &mut self,
        _place: Place,
        flight: &Flight,
        answer: &AnswerOf<'_, P>,
        _now_ns: u64,
    ) -> Result<Option<Call>, LoadError> {
        let Call { key, version, .. } = flight.call;
        match answer.status {
            Status::Ok => {
                self.retries = 0;
                if let Some(ledger) = self.sender.ledger() {
                    ledger.answered(key, version, answer.status);
                }
                self.done.fetch_add(1, Ordering::Relaxed);
                Ok(self.next_call())
            }
            Status::Overloaded if self.retries < RETRIES_MAX => {
                self.retries += 1;
                Ok(Some(flight.call))
            }
            status => Err(LoadError::Preload {
                key: String::from_utf8_lossy(self.sender.key(key)).into_owned(),
                reason: format!("{} {}", status_name(status), answer.message),
            }),
        }
    }

    fn lost(&mut self, _place: Place, _flight: &Flight, _now_ns: u64) {}
}

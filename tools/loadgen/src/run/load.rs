//! What one thread asks for in a run, when, and what it makes of the answers.

use larder_protocol::{Command, Status};

use super::pace::Schedule;
use super::plan::{Length, Pace, share};
use super::sender::{Material, Sender};
use super::{Plan, Window};
use crate::error::LoadError;
use crate::fleet::{Call, Fleet, Flight, Place, Workload};
use crate::protocol::{AnswerBody, AnswerOf, LoadProtocol, Values};
use crate::stats::{Live, Recorder};
use crate::verify::{Origin, Writers};
use crate::workload::{KeySampler, Operation, ShardMap};

/// When there is something to do again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// When an answer comes.
    Answer,
    /// At this time, or when an answer comes.
    Until(u64),
    /// Never: everything was sent.
    Finished,
}

/// The load of one thread.
pub(super) struct Load<'a> {
    plan: &'a Plan,
    /// Number of this thread's first connection among those of the run.
    first_connection: usize,
    sender: Sender,
    rng: fastrand::Rng,
    sampler: KeySampler,
    /// Shard-aware: where keys are.
    shards: Option<&'a ShardMap>,
    window: Window,
    /// Requests that may still be sent in the measurement.
    budget: u64,
    schedule: Option<Schedule>,
    /// Whether a request was due and had no slot, and when that was over for the last time.
    blocked: bool,
    unblocked_ns: u64,
    /// Where the search for a free slot goes on.
    cursor: usize,
    /// Of each slot: the keys of its multi-get, and the oldest versions that may come back.
    multi_keys: Vec<u64>,
    multi_floors: Vec<u64>,
    over: bool,
    pub(super) recorder: Recorder,
    pub(super) live: Live,
}

/// What an answer says about its keys.
#[derive(Default)]
struct Outcome {
    hits: u64,
    misses: u64,
    errors: u64,
}

impl<'a> Load<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        thread: usize,
        material: Material,
        shards: Option<&'a ShardMap>,
        window: Window,
    ) -> Load<'a> {
        let mut rng = fastrand::Rng::with_seed(plan.seed ^ (thread as u64) << 48);
        let schedule = match plan.pace {
            Pace::Closed => None,
            Pace::Open { per_second, arrivals } => {
                Some(Schedule::new(per_second, arrivals, (thread, plan.threads), window.begin_ns, rng.fork()))
            }
        };
        let budget = match plan.length {
            Length::Time(_) => u64::MAX,
            Length::Requests(count) => {
                let share = share(count, plan.threads, thread);
                share.end - share.start
            }
        };
        let (first_connection, connections) = plan.share_of(thread);
        let multi = if plan.multi_get > 1 { connections * plan.pipeline * plan.multi_get } else { 0 };
        Load {
            plan,
            first_connection,
            sender: Sender::new(plan, material),
            sampler: KeySampler::new(
                plan.distribution,
                plan.keys.count(),
                share(plan.keys.count(), plan.threads, thread),
            ),
            rng,
            shards,
            window,
            budget,
            schedule,
            blocked: false,
            unblocked_ns: 0,
            cursor: 0,
            multi_keys: vec![0; multi],
            multi_floors: vec![0; multi],
            over: false,
            recorder: Recorder::for_operations(
                Operation::ALL
                    .into_iter()
                    .filter(|&operation| plan.mix.has(operation) || (plan.fill && operation == Operation::Set)),
            ),
            live: Live::default(),
        }
    }

    /// Starts what is due.
    pub(super) fn dispatch<P: LoadProtocol>(&mut self, fleet: &mut Fleet<P>, now_ns: u64) -> Wait {
        match self.schedule.take() {
            None => self.dispatch_closed(fleet, now_ns),
            Some(mut schedule) => {
                let wait = self.dispatch_open(&mut schedule, fleet, now_ns);
                self.schedule = Some(schedule);
                wait
            }
        }
    }

    /// Counts what was not sent or not answered, with its age, so that no slowness is left out.
    pub(super) fn finish<P: LoadProtocol>(&mut self, fleet: &mut Fleet<P>, now_ns: u64) {
        self.over = true;
        fleet.abandon(self);
        let Some(schedule) = self.schedule.take() else { return };
        if self.window.end_ns == u64::MAX {
            return;
        }
        // Which operation it would have been was not drawn; most requests are of the heaviest one.
        let operation = self.heaviest();
        for (due_ns, count) in schedule.rest(self.window.end_ns) {
            if self.window.start_ns <= due_ns {
                self.recorder.offered += count;
                self.recorder.unsent += count;
                let age_ns = now_ns.saturating_sub(due_ns);
                self.recorder.operation(operation).latency.saturating_record_n(age_ns, count);
            }
        }
    }

    fn heaviest(&self) -> Operation {
        Operation::ALL
            .into_iter()
            .max_by_key(|&operation| self.plan.mix.weight(operation))
            .expect("there are operations")
    }

    fn dispatch_closed<P: LoadProtocol>(&mut self, fleet: &mut Fleet<P>, now_ns: u64) -> Wait {
        while let Some(connection) = fleet.next_opened() {
            while fleet.free_slots_of(connection) > 0 {
                let Some(call) = self.next_call(connection, now_ns) else { break };
                fleet.start(connection, call, now_ns, now_ns, self);
            }
        }
        if self.is_over(now_ns) { Wait::Finished } else { Wait::Answer }
    }

    fn dispatch_open<P: LoadProtocol>(&mut self, schedule: &mut Schedule, fleet: &mut Fleet<P>, now_ns: u64) -> Wait {
        if self.blocked && now_ns >= self.window.end_ns {
            self.budget = 0;
        }
        if self.blocked && fleet.free_slots() > 0 {
            self.blocked = false;
            self.unblocked_ns = now_ns;
        }
        // What was due before the end is sent behind it too, if only the generator was late; not what waits for slots.
        while self.budget > 0 && schedule.due_ns() < self.window.end_ns {
            let due_ns = schedule.due_ns();
            if due_ns > now_ns {
                return Wait::Until(due_ns);
            }
            let Some(connection) = self.next_free(fleet) else {
                if now_ns >= self.window.end_ns {
                    break;
                }
                self.blocked = true;
                return Wait::Answer;
            };
            schedule.advance();
            if self.window.has(due_ns) {
                self.recorder.lag.saturating_record(now_ns - due_ns.max(self.unblocked_ns).min(now_ns));
            }
            let call = self.draw(connection, due_ns);
            fleet.start(connection, call, due_ns, now_ns, self);
        }
        self.budget = 0;
        Wait::Finished
    }

    /// A connection with a free slot; they take turns.
    fn next_free<P: LoadProtocol>(&mut self, fleet: &Fleet<P>) -> Option<usize> {
        if fleet.free_slots() == 0 {
            return None;
        }
        loop {
            self.cursor = if self.cursor + 1 < fleet.connections() { self.cursor + 1 } else { 0 };
            if fleet.free_slots_of(self.cursor) > 0 {
                return Some(self.cursor);
            }
        }
    }

    fn is_over(&self, now_ns: u64) -> bool {
        now_ns >= self.window.end_ns || self.budget == 0
    }

    fn next_call(&mut self, connection: usize, now_ns: u64) -> Option<Call> {
        (!self.is_over(now_ns)).then(|| self.draw(connection, now_ns))
    }

    /// The next call, which counts as started at `start_ns`.
    fn draw(&mut self, connection: usize, start_ns: u64) -> Call {
        if self.window.has(start_ns) {
            self.recorder.offered += 1;
            self.budget = self.budget.saturating_sub(1);
        }
        let operation = self.plan.mix.sample(&mut self.rng);
        let mut key = self.sample_key(connection);
        let (mut version, mut value_bytes) = (0, 0);
        if operation == Operation::Set {
            value_bytes = self.plan.values.sample(&mut self.rng);
        }
        if let Some(ledger) = self.sender.ledger() {
            match operation {
                Operation::Set | Operation::Delete => {
                    if ledger.writers() == Writers::OnePerKey {
                        key = self.own_key(key, connection);
                    }
                    version = ledger.issue(key);
                }
                Operation::Get | Operation::GetAndTouch => version = ledger.floor(key),
                Operation::Touch | Operation::Increment => {}
            }
        }
        Call { operation, key, version, value_bytes, fill: false }
    }

    /// The next key that this connection may ask for.
    fn sample_key(&mut self, connection: usize) -> u64 {
        match self.shards {
            None => self.sampler.sample(&mut self.rng),
            Some(map) => {
                let shard = map.of_connection(self.first_connection + connection);
                map.sample(shard, &mut self.sampler, &mut self.rng)
            }
        }
    }

    /// The key nearest to `key` that this connection may write.
    fn own_key(&self, key: u64, connection: usize) -> u64 {
        let writers = self.plan.connections as u64;
        let own = key - key % writers + (self.first_connection + connection) as u64;
        if own < self.plan.keys.count() { own } else { own - writers }
    }

    fn fill(&mut self, key: u64) -> Call {
        self.recorder.fills += 1;
        let version = self.sender.ledger().map_or(0, |ledger| ledger.issue(key));
        Call {
            operation: Operation::Set,
            key,
            version,
            value_bytes: self.plan.values.sample(&mut self.rng),
            fill: true,
        }
    }

    fn multi_of(&self, place: Place) -> std::ops::Range<usize> {
        let start = (place.connection * self.plan.pipeline + place.slot) * self.plan.multi_get;
        start..start + self.plan.multi_get
    }

    fn judge<P: LoadProtocol>(
        &mut self,
        place: Place,
        flight: &Flight,
        answer: &AnswerOf<'_, P>,
    ) -> Result<Outcome, LoadError> {
        let call = &flight.call;
        let counts = self.window.has(flight.intended_ns);
        let mut outcome = Outcome::default();
        if matches!(call.operation, Operation::Set | Operation::Delete)
            && let Some(ledger) = self.sender.ledger()
        {
            ledger.answered(call.key, call.version, answer.status);
        }
        match (answer.status, &answer.body, call.operation) {
            (Status::Ok, AnswerBody::Values(values), Operation::Get) if self.plan.multi_get > 1 => {
                return self.judge_values(place, values, counts);
            }
            (Status::Ok, AnswerBody::Value(value), Operation::Get | Operation::GetAndTouch) => {
                self.check(call.key, call.version, value)?;
                outcome.hits = 1;
            }
            (Status::Ok, _, Operation::Get | Operation::GetAndTouch) => {
                return Err(self.breach("a read is answered OK and without a value"));
            }
            (Status::Ok, _, Operation::Delete | Operation::Touch) => outcome.hits = 1,
            (Status::Ok, ..) => {}
            (Status::NotFound, _, Operation::Get | Operation::GetAndTouch | Operation::Delete | Operation::Touch) => {
                outcome.misses = 1;
            }
            (status, ..) => {
                if counts {
                    self.recorder.error(status, answer.message);
                }
                outcome.errors = 1;
            }
        }
        Ok(outcome)
    }

    fn judge_values<'v>(&mut self, place: Place, values: &impl Values<'v>, counts: bool) -> Result<Outcome, LoadError> {
        let keys = self.multi_of(place);
        if values.count() != keys.len() {
            return Err(self.breach(&format!("{} values answer a multi-get of {} keys", values.count(), keys.len())));
        }
        let mut outcome = Outcome::default();
        for (value, place) in values.iter().zip(keys) {
            match value {
                Ok(value) => {
                    self.check(self.multi_keys[place], self.multi_floors[place], value)?;
                    outcome.hits += 1;
                }
                Err(Status::NotFound) => outcome.misses += 1,
                Err(status) => {
                    if counts {
                        self.recorder.error(status, "");
                    }
                    outcome.errors += 1;
                }
            }
        }
        Ok(outcome)
    }

    fn check(&mut self, key: u64, floor: u64, value: &[u8]) -> Result<(), LoadError> {
        if let Some(origin) = self.sender.check(key, floor, value)? {
            self.recorder.verified += 1;
            self.recorder.foreign += u64::from(origin == Origin::Foreign);
        }
        Ok(())
    }

    fn breach(&self, reason: &str) -> LoadError {
        LoadError::Protocol { address: self.plan.address, reason: reason.into() }
    }

    fn count(&mut self, flight: &Flight, outcome: &Outcome, now_ns: u64) {
        let latency_ns = now_ns.saturating_sub(flight.intended_ns);
        let reads = matches!(flight.call.operation, Operation::Get | Operation::GetAndTouch);
        self.live.requests += 1;
        self.live.errors += outcome.errors;
        self.live.latency.saturating_record(latency_ns);
        if reads {
            self.live.hits += outcome.hits;
            self.live.misses += outcome.misses;
        }
        if !self.window.has(flight.intended_ns) {
            return;
        }
        self.recorder.last_answer_ns = now_ns;
        self.recorder.achieved += u64::from(!flight.call.fill && now_ns < self.window.end_ns);
        let open = self.schedule.is_some();
        let stats = self.recorder.operation(flight.call.operation);
        stats.requests += 1;
        stats.hits += outcome.hits;
        stats.misses += outcome.misses;
        stats.errors += outcome.errors;
        stats.latency.saturating_record(latency_ns);
        if open {
            stats.service.saturating_record(now_ns.saturating_sub(flight.sent_ns));
        }
    }
}

impl<P: LoadProtocol> Workload<P> for Load<'_> {
    fn command(&mut self, place: Place, call: &Call) -> Command<'_> {
        if call.operation != Operation::Get || self.plan.multi_get == 1 {
            return self.sender.command(call, self.first_connection + place.connection);
        }
        let (connection, keys) = (place.connection, self.multi_of(place));
        for place in keys.clone() {
            let key = self.sample_key(connection);
            self.multi_keys[place] = key;
            self.multi_floors[place] = self.sender.ledger().map_or(0, |ledger| ledger.floor(key));
        }
        self.sender.get_many(&self.multi_keys[keys])
    }

    fn answered(
        &mut self,
        place: Place,
        flight: &Flight,
        answer: &AnswerOf<'_, P>,
        now_ns: u64,
    ) -> Result<Option<Call>, LoadError> {
        let outcome = self.judge::<P>(place, flight, answer)?;
        self.count(flight, &outcome, now_ns);
        if self.plan.fill && outcome.misses > 0 && flight.call.operation == Operation::Get {
            return Ok(Some(self.fill(flight.call.key)));
        }
        Ok(if self.schedule.is_some() { None } else { self.next_call(place.connection, now_ns) })
    }

    fn lost(&mut self, _place: Place, flight: &Flight, now_ns: u64) {
        let Call { operation, key, .. } = flight.call;
        if matches!(operation, Operation::Set | Operation::Delete)
            && let Some(ledger) = self.sender.ledger()
        {
            ledger.lost(key);
        }
        if self.window.has(flight.intended_ns) {
            if self.over {
                self.recorder.unanswered += 1;
            } else {
                self.recorder.lost += 1;
            }
            let age_ns = now_ns.saturating_sub(flight.intended_ns);
            self.recorder.operation(operation).latency.saturating_record(age_ns);
        }
    }
}

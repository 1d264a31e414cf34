//! `loadgen replay`: the requests of a trace, as an application with a cache in front of its data would send them: get,
//! and on a miss set.
//!
//! Requests are dealt to lanes by their key. A lane is strictly sequential: it sends nothing before the get, and the
//! set that may follow, were answered. Connections times pipeline is the number of lanes, so one connection without
//! pipelining replays the trace exactly. With more lanes the requests of a key keep their order, and no lane is further
//! ahead than [`REPLAY_LANE_REQUESTS_MAX`] of its own requests; the order across keys varies within that.
//!
//! On the wire a key is [`trace_key`]: 16 lower-case hexadecimal digits. A value has the size of its object, or
//! `value_bytes`; one that is larger than the server accepts is not sent and counts as `too_large`.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use larder_protocol::limits::VALUE_BYTES_MAX;
use larder_protocol::{Command, Condition, Expiry, Status, Write};
use serde::Serialize;

use crate::clock::Clock;
use crate::error::LoadError;
use crate::fleet::{Call, Fleet, FleetSettings, Flight, Place, Workload};
use crate::limits::{PIPELINE_MAX, REPLAY_LANE_REQUESTS_MAX, REPLAY_LANES_MAX, RETRIES_MAX, SLEEP_MAX};
use crate::progress::{self, percent, thousands};
use crate::protocol::{
    AnswerOf, LoadProtocol, ProtocolName, ServerFacts, connect_memcache, connect_native, connect_resp,
};
use crate::report::{ErrorReport, Latency, Row, write_errors, write_latencies, write_line};
use crate::stats::{Live, Recorder};
use crate::system;
use crate::trace::{Request, Trace};
use crate::workload::keys::{TRACE_KEY_BYTES, trace_key};
use crate::workload::{Content, Operation};

/// One replay.
#[derive(Clone, Debug)]
pub struct ReplayPlan {
    /// Where to.
    pub address: SocketAddr,
    /// What is spoken there.
    pub protocol: ProtocolName,
    /// Name of the group.
    pub group: String,
    /// The keys of the trace.
    pub keys: PathBuf,
    /// Its sizes.
    pub sizes: Option<PathBuf>,
    /// Size of every value, if there are no sizes.
    pub value_bytes: u32,
    /// Connections.
    pub connections: usize,
    /// Lanes of each connection.
    pub pipeline: usize,
    /// The core that the one thread of a replay is pinned to.
    pub core: Option<usize>,
    /// Stop after so many requests of the trace.
    pub requests: Option<u64>,
    /// A connection that owes an answer and is silent for so long counts as lost.
    pub timeout: Duration,
    /// Whether a line each second tells how it goes.
    pub progress: bool,
}

impl ReplayPlan {
    /// # Errors
    /// What is above a limit.
    pub fn check(&self) -> Result<(), LoadError> {
        if !(1..=PIPELINE_MAX).contains(&self.pipeline) {
            return Err(LoadError::option("--pipeline", self.pipeline, format!("expected 1 to {PIPELINE_MAX}")));
        }
        if !(1..=REPLAY_LANES_MAX / self.pipeline).contains(&self.connections) {
            let remedy =
                format!("expected 1 or more, and at most {REPLAY_LANES_MAX} with the pipelines of all taken together");
            return Err(LoadError::option("--connections", self.connections, remedy));
        }
        if self.value_bytes as usize > VALUE_BYTES_MAX {
            return Err(LoadError::option("--value-bytes", self.value_bytes, format!("at most {VALUE_BYTES_MAX}")));
        }
        Ok(())
    }
}

/// What a replay gave. The field names are what scripts rely on.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayReport {
    /// Always `replay`.
    pub command: &'static str,
    /// Version of the load generator.
    pub version: &'static str,
    /// The load protocol.
    pub protocol: &'static str,
    /// Where to.
    pub addr: String,
    /// Name of the group.
    pub group: String,
    /// Name and version of the server, as it says.
    pub server: String,
    /// The file of the keys.
    pub trace: String,
    /// The file of the sizes.
    pub sizes: Option<String>,
    /// Size of every value without sizes.
    pub value_bytes: Option<u32>,
    /// Connections.
    pub connections: usize,
    /// Lanes of each.
    pub pipeline: usize,
    /// Length of the replay.
    pub elapsed_s: f64,
    /// Requests of the trace that were replayed.
    pub requests: u64,
    /// Of those: found, not found.
    pub hits: u64,
    /// See `hits`.
    pub misses: u64,
    /// `hits` of `requests`; null if there were none.
    pub hit_ratio: Option<f64>,
    /// Values stored after a miss.
    pub sets: u64,
    /// Values that are too large for the server and were not stored.
    pub too_large: u64,
    /// Requests sent again because the server was overloaded.
    pub retries: u64,
    /// Requests that were refused. Above 0 the hit ratio is not that of the trace.
    pub errors_total: u64,
    /// The same by status.
    pub errors: BTreeMap<String, ErrorReport>,
    /// Requests of the trace per second.
    pub requests_per_s: f64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Times of the gets.
    pub get: Latency,
    /// Times of the sets.
    pub set: Latency,
}

/// Replays a trace.
///
/// # Errors
/// See [`LoadError`]. A lost connection ends the replay, because its result would mean nothing.
pub fn replay(plan: &ReplayPlan) -> Result<ReplayReport, LoadError> {
    plan.check()?;
    let trace = Trace::open(&plan.keys, plan.sizes.as_deref())?;
    if let Some(core) = plan.core {
        system::pin("--core", core)?;
    }
    system::allow_files(plan.connections)?;
    let result = match plan.protocol {
        ProtocolName::Native => {
            let (protocol, facts) = connect_native(plan.address, &plan.group)?;
            replay_with(plan, trace, &protocol, &facts)
        }
        ProtocolName::Resp => {
            let (protocol, facts) = connect_resp(plan.address, &plan.group)?;
            replay_with(plan, trace, &protocol, &facts)
        }
        ProtocolName::Memcache => {
            let (protocol, facts) = connect_memcache(plan.address, &plan.group)?;
            replay_with(plan, trace, &protocol, &facts)
        }
    };
    progress::end();
    result
}

fn check_server(plan: &ReplayPlan, facts: &ServerFacts) -> Result<(), LoadError> {
    if plan.pipeline as u64 > facts.pipeline_max {
        let remedy = format!("this server accepts at most {}", facts.pipeline_max);
        return Err(LoadError::option("--pipeline", plan.pipeline, remedy));
    }
    if plan.sizes.is_none() && u64::from(plan.value_bytes) > facts.value_bytes_max {
        let remedy = format!("this server accepts at most {}", facts.value_bytes_max);
        return Err(LoadError::option("--value-bytes", plan.value_bytes, remedy));
    }
    Ok(())
}

fn replay_with<P: LoadProtocol>(
    plan: &ReplayPlan,
    trace: Trace,
    protocol: &P,
    facts: &ServerFacts,
) -> Result<ReplayReport, LoadError> {
    const SECOND_NS: u64 = 1_000_000_000;
    check_server(plan, facts)?;
    let clock = Clock::start();
    let settings = FleetSettings {
        address: plan.address,
        first_connection: 0,
        connections: plan.connections,
        depth: plan.pipeline,
        reopens_max: 0,
        answer_timeout: plan.timeout,
    };
    let mut fleet = Fleet::connect(settings, protocol, clock)?;
    let mut load = Replay::new(plan, trace, facts);
    let started_ns = clock.now_ns();
    let mut now_ns = started_ns;
    let mut shown_ns = now_ns;
    loop {
        load.deal(&mut fleet, now_ns)?;
        if fleet.in_flight() == 0 {
            break;
        }
        now_ns = fleet.turn(SLEEP_MAX, &mut load)?;
        if plan.progress && now_ns - shown_ns >= SECOND_NS {
            let seconds = Duration::from_nanos(now_ns - shown_ns).as_secs_f64();
            progress::live(&progress::run_line(
                "replay",
                Duration::from_nanos(now_ns - started_ns),
                seconds,
                &load.live,
            ));
            load.live = Live::default();
            shown_ns = now_ns;
        }
    }
    assert!(load.is_done(), "a replay ends with its trace");
    Ok(load.report(facts, &fleet, Duration::from_nanos(clock.now_ns() - started_ns)))
}

struct Replay<'a> {
    plan: &'a ReplayPlan,
    trace: Trace,
    /// Requests of the trace that may still be read.
    left: u64,
    /// The request that has no room in its lane.
    held: Option<Request>,
    lanes: Vec<Lane>,
    content: Content,
    value_bytes_max: u64,
    key: [u8; TRACE_KEY_BYTES],
    recorder: Recorder,
    live: Live,
    sets: u64,
    too_large: u64,
    retries: u64,
    /// Retries since something was executed.
    retries_in_a_row: u32,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Request>,
    busy: bool,
}

impl<'a> Replay<'a> {
    fn new(plan: &'a ReplayPlan, trace: Trace, facts: &ServerFacts) -> Replay<'a> {
        Replay {
            plan,
            trace,
            left: plan.requests.unwrap_or(u64::MAX),
            held: None,
            lanes: (0..plan.connections * plan.pipeline).map(|_| Lane::default()).collect(),
            content: Content::new(facts.value_bytes_max as u32, 0),
            value_bytes_max: facts.value_bytes_max,
            key: [0; TRACE_KEY_BYTES],
            recorder: Recorder::for_operations([Operation::Get, Operation::Set].into_iter()),
            live: Live::default(),
            sets: 0,
            too_large: 0,
            retries: 0,
            retries_in_a_row: 0,
        }
    }

    /// Deals requests to their lanes until one has no room, and starts the lanes that were idle.
    fn deal<P: LoadProtocol>(&mut self, fleet: &mut Fleet<P>, now_ns: u64) -> Result<(), LoadError> {
        while let Some(request) = self.next_request()? {
            let lane = self.lane_of(request.key);
            let Lane { waiting, busy } = &mut self.lanes[lane];
            if !*busy {
                *busy = true;
                let place = Place { connection: lane % self.plan.connections, slot: lane / self.plan.connections };
                fleet.start_at(place, self.get(request), now_ns, self);
            } else if waiting.len() < REPLAY_LANE_REQUESTS_MAX {
                waiting.push_back(request);
            } else {
                self.held = Some(request);
                break;
            }
        }
        Ok(())
    }

    fn next_request(&mut self) -> Result<Option<Request>, LoadError> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let request = self.trace.next_request()?;
        if request.is_none() {
            self.left = 0;
        }
        Ok(request)
    }

    fn is_done(&self) -> bool {
        self.left == 0 && self.held.is_none() && self.lanes.iter().all(|lane| lane.waiting.is_empty() && !lane.busy)
    }

    fn lane_of(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % self.lanes.len()
    }

    fn get(&self, request: Request) -> Call {
        let value_bytes = request.size.unwrap_or(self.plan.value_bytes);
        Call { operation: Operation::Get, key: request.key, version: 0, value_bytes, fill: false }
    }

    /// The next get of the lane that has just finished one.
    fn next_of(&mut self, key: u64) -> Option<Call> {
        let lane = self.lane_of(key);
        let Lane { waiting, busy } = &mut self.lanes[lane];
        let next = waiting.pop_front();
        *busy = next.is_some();
        next.map(|request| self.get(request))
    }

    /// What follows an answer: nothing, or a set.
    fn judge(&mut self, call: &Call, status: Status, message: &str) -> Option<Call> {
        match (call.operation, status) {
            (Operation::Get, Status::Ok) => {
                self.recorder.operation(Operation::Get).hits += 1;
                self.live.hits += 1;
            }
            (Operation::Get, Status::NotFound) => {
                self.recorder.operation(Operation::Get).misses += 1;
                self.live.misses += 1;
                if u64::from(call.value_bytes) <= self.value_bytes_max {
                    return Some(Call { operation: Operation::Set, ..*call });
                }
                self.too_large += 1;
            }
            (Operation::Set, Status::Ok) => self.sets += 1,
            (Operation::Set, Status::TooLarge) => self.too_large += 1,
            (_, status) => {
                self.recorder.error(status, message);
                self.recorder.operation(call.operation).errors += 1;
                self.live.errors += 1;
            }
        }
        None
    }

    fn report<P: LoadProtocol>(self, facts: &ServerFacts, fleet: &Fleet<P>, elapsed: Duration) -> ReplayReport {
        let Replay { plan, mut recorder, .. } = self;
        let elapsed_s = elapsed.as_secs_f64();
        let get = recorder.operation(Operation::Get).clone();
        let requests = get.hits + get.misses + get.errors;
        ReplayReport {
            command: "replay",
            version: env!("CARGO_PKG_VERSION"),
            protocol: plan.protocol.name(),
            addr: plan.address.to_string(),
            group: plan.group.clone(),
            server: facts.server.clone(),
            trace: plan.keys.display().to_string(),
            sizes: plan.sizes.as_ref().map(|path| path.display().to_string()),
            value_bytes: plan.sizes.is_none().then_some(plan.value_bytes),
            connections: plan.connections,
            pipeline: plan.pipeline,
            elapsed_s,
            requests,
            hits: get.hits,
            misses: get.misses,
            hit_ratio: (requests > 0).then(|| get.hits as f64 / requests as f64),
            sets: self.sets,
            too_large: self.too_large,
            retries: self.retries,
            errors_total: recorder.error_count(),
            errors: ErrorReport::all(&recorder),
            requests_per_s: requests as f64 / elapsed_s,
            bytes_sent: fleet.traffic().bytes_sent,
            bytes_received: fleet.traffic().bytes_received,
            get: Latency::of(&get.latency),
            set: Latency::of(&recorder.operation(Operation::Set).latency),
        }
    }
}

impl<P: LoadProtocol> Workload<P> for Replay<'_> {
    fn command(&mut self, _place: Place, call: &Call) -> Command<'_> {
        self.key = trace_key(call.key);
        match call.operation {
            Operation::Set => Command::Set(Write {
                key: &self.key,
                value: self.content.cut(call.key, call.value_bytes as usize),
                flags: 0,
                condition: Condition::Always,
                expiry: Expiry::Default,
            }),
            _ => Command::Get { key: &self.key },
        }
    }

    fn answered(
        &mut self,
        _place: Place,
        flight: &Flight,
        answer: &AnswerOf<'_, P>,
        now_ns: u64,
    ) -> Result<Option<Call>, LoadError> {
        let call = flight.call;
        if answer.status == Status::Overloaded && self.retries_in_a_row < RETRIES_MAX {
            self.retries_in_a_row += 1;
            self.retries += 1;
            return Ok(Some(call));
        }
        self.retries_in_a_row = 0;
        let latency_ns = now_ns.saturating_sub(flight.sent_ns);
        let stats = self.recorder.operation(call.operation);
        stats.requests += 1;
        stats.latency.saturating_record(latency_ns);
        self.live.requests += 1;
        self.live.latency.saturating_record(latency_ns);
        let next = self.judge(&call, answer.status, answer.message);
        Ok(next.or_else(|| self.next_of(call.key)))
    }

    /// A replay ends with the first connection that is lost.
    fn lost(&mut self, _place: Place, _flight: &Flight, _now_ns: u64) {}
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = match (&self.sizes, self.value_bytes) {
            (Some(sizes), _) => format!("sizes {sizes}"),
            (None, bytes) => format!("values of {} bytes", bytes.unwrap_or_default()),
        };
        writeln!(f, "{} at {}, group {}, protocol {}", self.server, self.addr, self.group, self.protocol)?;
        writeln!(
            f,
            "replay of {}, {values}, {} connections, pipeline {}",
            self.trace, self.connections, self.pipeline
        )?;
        writeln!(f)?;
        let [requests, hits, misses] = [self.requests, self.hits, self.misses].map(thousands);
        let (elapsed_s, per_s) = (self.elapsed_s, thousands(self.requests_per_s.round() as u64));
        write_line(f, "requests", &format!("{requests} in {elapsed_s:.2} s, {per_s} per s"))?;
        let ratio = percent(self.hits, self.requests);
        write_line(f, "hit ratio", &format!("{ratio} ({hits} hits, {misses} misses)"))?;
        let [sets, too_large, retries] = [self.sets, self.too_large, self.retries].map(thousands);
        write_line(f, "sets", &format!("{sets} stored, {too_large} too large, {retries} retries"))?;
        let [sent, received] = [self.bytes_sent, self.bytes_received].map(thousands);
        write_line(f, "bytes", &format!("{sent} sent, {received} received"))?;
        write_errors(f, self.errors_total, &self.errors)?;
        writeln!(f)?;
        write_latencies(f, &[Row("get", self.get), Row("set", self.set)])
    }
}

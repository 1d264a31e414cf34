//! The result of a run: one JSON object, and a table for people.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::plan::{Length, Pace, Plan};
use super::thread::ThreadResult;
use crate::progress::{percent, thousands};
use crate::protocol::ServerFacts;
use crate::report::{ErrorReport, Latency, Row, write_errors, write_latencies, write_line};
use crate::stats::{OperationStats, Recorder};
use crate::verify::Writers;

/// Above this share of time at work the generator itself may be what limits a run.
const BUSY_LIMIT: f64 = 0.9;

/// What a run measured. The field names are what scripts rely on.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Always `run`.
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
    /// What everything random followed from.
    pub seed: u64,
    /// What was to be done.
    pub setup: Setup,
    /// Length of the measurement.
    pub elapsed_s: f64,
    /// Requests that should have been sent in the measurement.
    pub offered: u64,
    /// Of those: answered before its end.
    pub achieved: u64,
    /// `offered` per second.
    pub offered_per_s: f64,
    /// `achieved` per second: the throughput.
    pub achieved_per_s: f64,
    /// Requests that were answered, also after the end of the measurement, with those that filled misses.
    pub requests: u64,
    /// Requests that were due and never sent, because the server had not answered enough of the others.
    pub unsent: u64,
    /// Requests that were sent and not answered in time after the end.
    pub unanswered: u64,
    /// Requests that were on their way when their connection broke.
    pub lost: u64,
    /// Connections that broke.
    pub connections_lost: u64,
    /// Keys that reads found.
    pub hits: u64,
    /// Keys that reads did not find.
    pub misses: u64,
    /// `hits` of all keys looked for; null if there were none.
    pub hit_ratio: Option<f64>,
    /// Requests that filled misses.
    pub fills: u64,
    /// Keys or requests that were refused.
    pub errors_total: u64,
    /// The same by status.
    pub errors: BTreeMap<String, ErrorReport>,
    /// Bytes sent in the measurement.
    pub bytes_sent: u64,
    /// Bytes received in the measurement.
    pub bytes_received: u64,
    /// From the intended start to the answer.
    pub latency: Latency,
    /// From the sending to the answer.
    pub service: Latency,
    /// Open loop: how much later than possible the generator itself sent.
    pub lag: Option<Latency>,
    /// Each operation that came up.
    pub operations: BTreeMap<&'static str, OperationReport>,
    /// What was checked, with `--verify`.
    pub verify: Option<VerifyReport>,
    /// With `--shard-aware`: what came of it.
    pub shard_aware: Option<ShardAwareReport>,
    /// How the generator did.
    pub generator: GeneratorReport,
}

/// Connections that named a shard.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ShardAwareReport {
    /// Shards of the server.
    pub shards: u16,
    /// Connections, those of the preload included, that another shard serves than the one they named. Their requests
    /// cross cores.
    pub connections_elsewhere: u64,
}

/// The options of a run, as they were understood.
#[derive(Clone, Debug, Serialize)]
pub struct Setup {
    threads: usize,
    cores: Vec<usize>,
    connections: usize,
    pipeline: usize,
    pace: &'static str,
    rate_per_s: Option<f64>,
    arrivals: Option<String>,
    keys: u64,
    key_bytes: usize,
    distribution: String,
    values: String,
    mix: String,
    multi_get: usize,
    ttl_ms: Option<u64>,
    preload: bool,
    fill: bool,
    warm_up_s: f64,
    duration_s: Option<f64>,
    requests: Option<u64>,
}

/// One operation.
#[derive(Clone, Debug, Serialize)]
pub struct OperationReport {
    /// Requests that were answered.
    pub requests: u64,
    /// Keys found.
    pub hits: u64,
    /// Keys not found.
    pub misses: u64,
    /// Keys or requests refused.
    pub errors: u64,
    /// From the intended start to the answer.
    pub latency: Latency,
}

/// What `--verify` saw. A wrong value ends the run, so there is no number of them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct VerifyReport {
    /// Values checked: well-formed, checksum, key, version.
    pub checked: u64,
    /// Of those: written by another run, so that of their version nothing is known.
    pub foreign: u64,
    /// `one_per_key`: no value older than an acknowledged write was seen. `many`: that was not checked.
    pub writers: &'static str,
}

/// How the generator did.
#[derive(Clone, Debug, Serialize)]
pub struct GeneratorReport {
    /// Share of the measurement that each thread was at work, or would have been if others had not had its core.
    pub busy: Vec<f64>,
    /// CPU time of all threads in the measurement. In an open loop a thread that waits for a time looks at the clock.
    pub cpu_s: f64,
    /// Whether one was so busy that the generator may be what limited the run.
    pub limited: bool,
}

impl Report {
    pub(super) fn new(plan: &Plan, facts: &ServerFacts, recorder: &Recorder, threads: &[ThreadResult]) -> Report {
        let started_ns = threads.iter().map(|thread| thread.started_ns).max().unwrap_or(0);
        let elapsed_s = match plan.length {
            Length::Time(time) => time.as_secs_f64(),
            Length::Requests(_) => recorder.last_answer_ns.saturating_sub(started_ns) as f64 / 1e9,
        };
        let per_s = |count: u64| if elapsed_s > 0.0 { count as f64 / elapsed_s } else { 0.0 };
        let (hits, misses) = recorder.reads();
        let latency = recorder.latency(false);
        let open = matches!(plan.pace, Pace::Open { .. });
        let service = if open { Latency::of(&recorder.latency(true)) } else { Latency::of(&latency) };
        Report {
            command: "run",
            version: env!("CARGO_PKG_VERSION"),
            protocol: plan.protocol.name(),
            addr: plan.address.to_string(),
            group: plan.group.clone(),
            server: facts.server.clone(),
            seed: plan.seed,
            setup: Setup::of(plan),
            elapsed_s,
            offered: recorder.offered,
            achieved: recorder.achieved,
            offered_per_s: per_s(recorder.offered),
            achieved_per_s: per_s(recorder.achieved),
            requests: recorder.requests(),
            unsent: recorder.unsent,
            unanswered: recorder.unanswered,
            lost: recorder.lost,
            connections_lost: threads.iter().map(|thread| thread.traffic.losses).sum(),
            hits,
            misses,
            hit_ratio: (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64),
            fills: recorder.fills,
            errors_total: recorder.error_count(),
            errors: ErrorReport::all(recorder),
            bytes_sent: threads.iter().map(|thread| thread.traffic.bytes_sent).sum(),
            bytes_received: threads.iter().map(|thread| thread.traffic.bytes_received).sum(),
            latency: Latency::of(&latency),
            service,
            lag: open.then(|| Latency::of(&recorder.lag)),
            operations: recorder
                .operations()
                .map(|(operation, stats)| (operation.name(), OperationReport::of(stats)))
                .collect(),
            verify: plan.verify.map(|writers| VerifyReport::of(writers, recorder)),
            shard_aware: None,
            generator: GeneratorReport::of(threads),
        }
    }
}

impl OperationReport {
    fn of(stats: &OperationStats) -> OperationReport {
        let OperationStats { requests, hits, misses, errors, .. } = *stats;
        OperationReport { requests, hits, misses, errors, latency: Latency::of(&stats.latency) }
    }
}

impl VerifyReport {
    fn of(writers: Writers, recorder: &Recorder) -> VerifyReport {
        let writers = match writers {
            Writers::OnePerKey => "one_per_key",
            Writers::Many => "many",
        };
        VerifyReport { checked: recorder.verified, foreign: recorder.foreign, writers }
    }
}

impl Setup {
    fn of(plan: &Plan) -> Setup {
        let (pace, rate_per_s, arrivals) = match plan.pace {
            Pace::Closed => ("closed", None, None),
            Pace::Open { per_second, arrivals } => ("open", Some(per_second), Some(arrivals.to_string())),
        };
        let (duration_s, requests) = match plan.length {
            Length::Time(time) => (Some(time.as_secs_f64()), None),
            Length::Requests(count) => (None, Some(count)),
        };
        Setup {
            threads: plan.threads,
            cores: plan.cores.clone(),
            connections: plan.connections,
            pipeline: plan.pipeline,
            pace,
            rate_per_s,
            arrivals,
            keys: plan.keys.count(),
            key_bytes: plan.keys.key_bytes(),
            distribution: plan.distribution.to_string(),
            values: plan.values.to_string(),
            mix: plan.mix.to_string(),
            multi_get: plan.multi_get,
            ttl_ms: plan.ttl.map(|ttl| ttl.as_millis() as u64),
            preload: plan.preload,
            fill: plan.fill,
            warm_up_s: plan.warm_up.as_secs_f64(),
            duration_s,
            requests,
        }
    }
}

impl GeneratorReport {
    fn of(threads: &[ThreadResult]) -> GeneratorReport {
        let busy: Vec<f64> = threads
            .iter()
            .map(|thread| {
                1.0 - thread.traffic.idle_ns.min(thread.measured_ns) as f64 / thread.measured_ns.max(1) as f64
            })
            .collect();
        let cpu_ns: u64 = threads.iter().map(|thread| thread.cpu_ns).sum();
        GeneratorReport { limited: busy.iter().any(|&busy| busy > BUSY_LIMIT), busy, cpu_s: cpu_ns as f64 / 1e9 }
    }

    fn busiest(&self) -> f64 {
        self.busy.iter().copied().fold(0.0, f64::max)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { server, addr, group, protocol, seed, .. } = self;
        writeln!(f, "{server} at {addr}, group {group}, protocol {protocol}, seed {seed}")?;
        writeln!(f, "{}\n", self.setup)?;
        self.write_counts(f)?;
        self.write_remarks(f)?;
        writeln!(f)?;
        let mut rows = vec![Row("latency", self.latency)];
        if let Some(lag) = self.lag {
            rows.extend([Row("service", self.service), Row("own lag", lag)]);
        }
        if self.operations.len() > 1 {
            rows.extend(self.operations.iter().map(|(name, operation)| Row(name, operation.latency)));
        }
        write_latencies(f, &rows)
    }
}

impl Report {
    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_s = |rate: f64| thousands(rate.round() as u64);
        let (achieved, offered) = (per_s(self.achieved_per_s), per_s(self.offered_per_s));
        let (elapsed_s, pace) = (self.elapsed_s, self.setup.pace);
        let text = format!("{achieved} req/s over {elapsed_s:.2} s ({pace} loop, {offered} offered per s)");
        write_line(f, "throughput", &text)?;
        let [answered, unsent, unanswered, lost] =
            [self.requests, self.unsent, self.unanswered, self.lost].map(thousands);
        let text = format!("{answered} answered, {unsent} unsent, {unanswered} unanswered, {lost} lost");
        write_line(f, "requests", &text)?;
        let ratio = percent(self.hits, self.hits + self.misses);
        let [hits, misses, fills] = [self.hits, self.misses, self.fills].map(thousands);
        write_line(f, "hit ratio", &format!("{ratio} ({hits} hits, {misses} misses, {fills} filled)"))?;
        let [sent, received] = [self.bytes_sent, self.bytes_received].map(thousands);
        write_line(f, "bytes", &format!("{sent} sent, {received} received"))
    }

    fn write_remarks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_errors(f, self.errors_total, &self.errors)?;
        if self.connections_lost > 0 {
            write_line(f, "connections", &format!("{} lost", thousands(self.connections_lost)))?;
        }
        if let Some(VerifyReport { checked, foreign, writers }) = self.verify {
            let [checked, foreign] = [checked, foreign].map(thousands);
            let text = format!("{checked} values, all right ({foreign} of other runs, writers {writers})");
            write_line(f, "verified", &text)?;
        }
        if let Some(ShardAwareReport { shards, connections_elsewhere }) = self.shard_aware {
            let note = match connections_elsewhere {
                0 => "every connection is served by the shard it named".into(),
                count => {
                    format!("{count} connections are served by another shard than they named; requests cross cores")
                }
            };
            write_line(f, "shards", &format!("{shards}; {note}"))?;
        }
        let limited =
            if self.generator.limited { "; GENERATOR-LIMITED: more threads or cores may show more" } else { "" };
        let (busiest, cpu_s) = (self.generator.busiest() * 100.0, self.generator.cpu_s);
        write_line(f, "generator", &format!("{busiest:.0} % busy, {cpu_s:.2} s of CPU{limited}"))
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setup { threads, connections, pipeline, key_bytes, distribution, values, mix, multi_get, .. } = self;
        let keys = thousands(self.keys);
        write!(
            f,
            "{threads} threads, {connections} connections, pipeline {pipeline}, {keys} keys of {key_bytes} bytes \
             ({distribution}), values {values}, mix {mix}"
        )?;
        if *multi_get > 1 { write!(f, ", {multi_get} keys per get") } else { Ok(()) }
    }
}

//! What is counted and measured: per thread while the run goes on, merged at its end.

use std::time::Duration;

use hdrhistogram::Histogram;
use larder_protocol::Status;

use crate::clock::ns;
use crate::limits::{LATENCY_DIGITS, LATENCY_MAX};
use crate::workload::Operation;

const STATUSES: usize = 32;
const OPERATIONS: usize = Operation::ALL.len();
/// Digits of the live line's latencies; few, because its histogram is handed over each second.
const LIVE_DIGITS: u8 = 2;

const _: () = assert!(Status::ALL.len() <= STATUSES, "every status has a counter");

/// The name of a status as reports have it, such as `not_found`.
pub fn status_name(status: Status) -> String {
    let mut name = String::new();
    for letter in format!("{status:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// An empty histogram of nanoseconds.
pub(crate) fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, ns(LATENCY_MAX), digits).expect("the bounds are constants that fit")
}

/// Counters and latencies of one operation.
#[derive(Clone, Debug)]
pub struct OperationStats {
    /// Requests that were answered, whatever the answer.
    pub requests: u64,
    /// Keys that were found, and keys that were not (reads, deletes, touches).
    pub hits: u64,
    /// See `hits`.
    pub misses: u64,
    /// Keys or requests that were refused.
    pub errors: u64,
    /// From the intended start to the answer.
    pub latency: Histogram<u64>,
    /// From the sending to the answer. Empty in a closed loop, where it is the same.
    pub service: Histogram<u64>,
}

/// What one thread has seen, or all of them together.
#[derive(Clone, Debug)]
pub struct Recorder {
    operations: [Option<Box<OperationStats>>; OPERATIONS],
    errors: [u64; STATUSES],
    messages: [Option<String>; STATUSES],
    /// From when a request could have been sent to when it was: how late the generator itself was.
    pub lag: Histogram<u64>,
    /// Requests that were due (open loop) or started (closed loop).
    pub offered: u64,
    /// Of those: answered before the end of the measurement.
    pub achieved: u64,
    /// Of those: never sent, because all slots were taken to the end.
    pub unsent: u64,
    /// Of those: sent, and not answered when the run was over.
    pub unanswered: u64,
    /// Of those: on their way when their connection broke.
    pub lost: u64,
    /// When the last answer came that counts, in ns of the run's clock.
    pub last_answer_ns: u64,
    /// Values that were checked, and of those: written by another run.
    pub verified: u64,
    /// See `verified`.
    pub foreign: u64,
    /// Requests sent besides, to fill misses.
    pub fills: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            operations: [const { None }; OPERATIONS],
            errors: [0; STATUSES],
            messages: [const { None }; STATUSES],
            lag: histogram(LATENCY_DIGITS),
            offered: 0,
            achieved: 0,
            unsent: 0,
            unanswered: 0,
            lost: 0,
            last_answer_ns: 0,
            verified: 0,
            foreign: 0,
            fills: 0,
        }
    }
}

impl Recorder {
    /// A recorder that has its memory for these operations.
    pub fn for_operations(operations: impl Iterator<Item = Operation>) -> Recorder {
        let mut recorder = Recorder::default();
        for operation in operations {
            recorder.operation(operation);
        }
        recorder
    }

    /// What belongs to one operation.
    pub fn operation(&mut self, operation: Operation) -> &mut OperationStats {
        self.operations[operation as usize].get_or_insert_with(|| {
            let empty = || histogram(LATENCY_DIGITS);
            Box::new(OperationStats { requests: 0, hits: 0, misses: 0, errors: 0, latency: empty(), service: empty() })
        })
    }

    /// The operations that came up.
    pub fn operations(&self) -> impl Iterator<Item = (Operation, &OperationStats)> {
        Operation::ALL
            .into_iter()
            .filter_map(|operation| Some((operation, &**self.operations[operation as usize].as_ref()?)))
    }

    /// Counts a refusal, and keeps what the server said about the first of its kind.
    #[cold]
    pub fn error(&mut self, status: Status, message: &str) {
        self.errors[status as usize] += 1;
        if self.messages[status as usize].is_none() && !message.is_empty() {
            self.messages[status as usize] = Some(message.to_string());
        }
    }

    /// Refusals by status, with the first message of each.
    pub fn errors(&self) -> impl Iterator<Item = (Status, u64, &str)> {
        Status::ALL.iter().filter_map(|&status| {
            let count = self.errors[status as usize];
            (count > 0).then(|| (status, count, self.messages[status as usize].as_deref().unwrap_or("")))
        })
    }

    /// All refusals.
    pub fn error_count(&self) -> u64 {
        self.errors.iter().sum()
    }

    /// Answered requests.
    pub fn requests(&self) -> u64 {
        self.operations().map(|(_, stats)| stats.requests).sum()
    }

    /// Hits and misses of reads.
    pub fn reads(&self) -> (u64, u64) {
        self.operations()
            .filter(|(operation, _)| matches!(operation, Operation::Get | Operation::GetAndTouch))
            .fold((0, 0), |(hits, misses), (_, stats)| (hits + stats.hits, misses + stats.misses))
    }

    /// Latency of all operations together: from the intended start, or (`service`) from the sending.
    pub fn latency(&self, service: bool) -> Histogram<u64> {
        let mut all = histogram(LATENCY_DIGITS);
        for (_, stats) in self.operations() {
            add(&mut all, if service { &stats.service } else { &stats.latency });
        }
        all
    }

    /// Adds what another thread has seen.
    pub fn merge(&mut self, other: &Recorder) {
        for (operation, theirs) in other.operations() {
            let ours = self.operation(operation);
            ours.requests += theirs.requests;
            ours.hits += theirs.hits;
            ours.misses += theirs.misses;
            ours.errors += theirs.errors;
            add(&mut ours.latency, &theirs.latency);
            add(&mut ours.service, &theirs.service);
        }
        for status in 0..STATUSES {
            self.errors[status] += other.errors[status];
            if self.messages[status].is_none() {
                self.messages[status].clone_from(&other.messages[status]);
            }
        }
        add(&mut self.lag, &other.lag);
        self.offered += other.offered;
        self.achieved += other.achieved;
        self.unsent += other.unsent;
        self.unanswered += other.unanswered;
        self.lost += other.lost;
        self.last_answer_ns = self.last_answer_ns.max(other.last_answer_ns);
        self.verified += other.verified;
        self.foreign += other.foreign;
        self.fills += other.fills;
    }
}

/// What the live line shows of the time since it was last shown.
#[derive(Clone, Debug)]
pub struct Live {
    /// Answered requests.
    pub requests: u64,
    /// Keys found by reads.
    pub hits: u64,
    /// Keys not found by reads.
    pub misses: u64,
    /// Refusals.
    pub errors: u64,
    /// Latencies.
    pub latency: Histogram<u64>,
}

impl Default for Live {
    fn default() -> Self {
        Self { requests: 0, hits: 0, misses: 0, errors: 0, latency: histogram(LIVE_DIGITS) }
    }
}

impl Live {
    /// Moves everything to `to`.
    pub fn pour(&mut self, to: &mut Live) {
        to.requests += std::mem::take(&mut self.requests);
        to.hits += std::mem::take(&mut self.hits);
        to.misses += std::mem::take(&mut self.misses);
        to.errors += std::mem::take(&mut self.errors);
        add(&mut to.latency, &self.latency);
        self.latency.reset();
    }
}

fn add(to: &mut Histogram<u64>, from: &Histogram<u64>) {
    to.add(from).expect("histograms of one kind have the same bounds");
}

/// A time in a report.
pub fn to_us(duration_ns: u64) -> f64 {
    Duration::from_nanos(duration_ns).as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_names_of_small_letters() {
        assert_eq!(status_name(Status::Ok), "ok");
        assert_eq!(status_name(Status::VersionMismatch), "version_mismatch");
        assert_eq!(status_name(Status::NotANumber), "not_a_number");
    }

    #[test]
    fn merged_threads_are_like_one() {
        let seed = 21;
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut one = Recorder::default();
        let mut several = [Recorder::default(), Recorder::default(), Recorder::default()];
        for _ in 0..10_000 {
            let operation = Operation::ALL[rng.usize(..OPERATIONS)];
            let (latency, refused) = (rng.u64(1..10_000_000_000), rng.u8(..10) == 0);
            let part = &mut several[rng.usize(..3)];
            for recorder in [&mut one, part] {
                let stats = recorder.operation(operation);
                stats.requests += 1;
                stats.hits += 1;
                stats.latency.saturating_record(latency);
                if refused {
                    recorder.error(Status::Overloaded, "full");
                }
            }
        }
        let mut merged = Recorder::default();
        several.iter().for_each(|part| merged.merge(part));
        assert_eq!(merged.requests(), one.requests());
        assert_eq!(merged.reads(), one.reads());
        assert_eq!(merged.latency(false), one.latency(false), "seed {seed}");
        assert!(merged.errors().eq(one.errors()));
        assert_eq!(
            merged.errors().next().map(|(status, _, message)| (status, message)),
            Some((Status::Overloaded, "full"))
        );
    }

    #[test]
    fn a_poured_line_starts_again() {
        let (mut here, mut there) = (Live::default(), Live::default());
        here.requests = 3;
        here.latency.saturating_record(500);
        here.pour(&mut there);
        here.pour(&mut there);
        assert_eq!((there.requests, there.latency.len(), here.requests, here.latency.len()), (3, 1, 0, 0));
    }
}

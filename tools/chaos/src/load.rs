//! Clients that ask, check each value, and write down what they were told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use larder_client::{Client, IncrementOptions, RetryPolicy, SetOptions, SetOutcome};
use larder_ring::{group_hash, key_hash};
use larder_simulator::history::{History, Kind, Operation, Outcome};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Keys whose values are written, and those whose numbers are added to.
const VALUES: usize = 200;
const NUMBERS: usize = 20;
/// Pause of a client between two requests.
const THINK_MS_MAX: u64 = 4;
/// How long a call may take, with all its attempts.
pub(crate) const DEADLINE: Duration = Duration::from_secs(3);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_millis(400);
/// How much later than its deadline a call may end.
const LATE: Duration = Duration::from_secs(2);

/// A call that failed.
#[derive(Clone, Debug)]
pub struct Error {
    /// When it began, and when it ended, since the load began.
    pub began: Duration,
    /// See `began`.
    pub ended: Duration,
    /// The node that owned the key when it began, by the client's ring.
    pub owner: String,
    /// What the client said.
    pub text: String,
}

/// What the clients saw.
#[derive(Debug, Default)]
pub struct Report {
    /// All operations.
    pub history: History,
    /// Those that failed, except where it is known that they were not executed or not wanted.
    pub errors: Vec<Error>,
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    begun: Instant,
    is_over: AtomicBool,
    sequence: AtomicU64,
    values: AtomicU64,
    seen: Mutex<Report>,
}

impl Load {
    /// So many clients begin to ask the cluster at these addresses.
    pub async fn begin(addresses: &[String], clients: usize, seed: u64) -> Load {
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            is_over: AtomicBool::new(false),
            sequence: AtomicU64::new(0),
            values: AtomicU64::new(1),
            seen: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            let random = Rng::with_seed(seed.wrapping_add(number as u64));
            let client = Client::builder()
                .addresses(addresses.to_vec())
                .attempt_timeout(ATTEMPT)
                .deadline(DEADLINE)
                .retry(RetryPolicy { attempts_max: 50, budget_percent: 100, ..RetryPolicy::default() })
                .connect()
                .await
                .unwrap_or_else(|error| panic!("a client cannot connect: {error}"));
            tasks.spawn(ask_on(Arc::clone(&shared), client, random));
        }
        Load { shared, tasks }
    }

    /// How long it has been at work.
    pub fn elapsed(&self) -> Duration {
        self.shared.begun.elapsed()
    }

    /// How many operations on keys have ended.
    pub fn operations(&self) -> usize {
        self.shared.seen().history.len()
    }

    /// Ends it.
    ///
    /// # Panics
    /// If a client has.
    pub async fn end(mut self) -> Report {
        self.shared.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap_or_else(|error| panic!("a client has panicked: {error}"));
        }
        std::mem::take(&mut *self.shared.seen())
    }
}

impl Shared {
    fn seen(&self) -> std::sync::MutexGuard<'_, Report> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, operation: Operation, error: Option<Error>) {
        let mut report = self.seen();
        report.history.push(operation);
        report.errors.extend(error);
    }

    /// The place of now in the order of all that happens.
    fn next(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::SeqCst)
    }
}

async fn ask_on(shared: Arc<Shared>, client: Client, mut random: Rng) {
    let mut seen = vec![0_u64; VALUES];
    while !shared.is_over.load(Ordering::Relaxed) {
        let (key, kind) = next(&shared, &mut random, &seen);
        let name = name_of(key);
        let topology = client.topology();
        let hash = key_hash(name.as_bytes(), group_hash("default", topology.cluster_seed()));
        let owner = topology.node(topology.owner(hash)).id.clone();
        let (began, began_at) = (shared.next(), shared.begun.elapsed());
        let asked = timeout(DEADLINE + LATE, ask(&client, &name, kind)).await;
        let answered = asked.unwrap_or_else(|_| panic!("{kind:?} on {name} did not end {LATE:?} after its deadline"));
        let ended_at = shared.begun.elapsed();
        let outcome = *answered.as_ref().unwrap_or(&Outcome::Unknown);
        if let (Outcome::Entry(version, _) | Outcome::Stored(version), Some(seen)) = (outcome, seen.get_mut(key)) {
            *seen = version;
        }
        // What has no known outcome may take place later.
        let is_over = outcome != Outcome::Unknown;
        let ended = if is_over { shared.next() } else { u64::MAX };
        let ended_ms = if is_over { ended_at.as_millis() as u64 } else { u64::MAX };
        let began_ms = began_at.as_millis() as u64;
        let operation = Operation { number: began, key, kind, began, ended, began_ms, ended_ms, outcome };
        let error = answered.err().map(|text| {
            let text = format!("{kind:?} on {name}: {text}");
            Error { began: began_at, ended: ended_at, owner, text }
        });
        shared.remember(operation, error);
        sleep(Duration::from_millis(random.u64(0..=THINK_MS_MAX))).await;
    }
}

fn next(shared: &Shared, random: &mut Rng, seen: &[u64]) -> (usize, Kind) {
    if random.u8(0..8) == 0 {
        let kind = match random.u8(0..8) {
            0 => Kind::Get,
            1 => Kind::Delete,
            _ => Kind::Increment,
        };
        return (VALUES + random.usize(0..NUMBERS), kind);
    }
    let key = random.usize(0..VALUES);
    let value = || shared.values.fetch_add(1, Ordering::Relaxed);
    let kind = match random.u8(0..20) {
        0..=9 => Kind::Get,
        10 => Kind::Delete,
        11 => Kind::Add(value()),
        12..=14 if seen[key] > 0 => Kind::Swap(seen[key], value()),
        _ => Kind::Set(value()),
    };
    (key, kind)
}

async fn ask(client: &Client, name: &str, kind: Kind) -> Result<Outcome, String> {
    let text = |error: larder_client::Error| error.to_string();
    let set = async |value: u64, options: SetOptions| {
        let outcome = client.set_with(name, value_text(name, value), options).await.map_err(text)?;
        Ok(match outcome {
            SetOutcome::Stored { version } => Outcome::Stored(version),
            _ => Outcome::Refused,
        })
    };
    match kind {
        Kind::Get => Ok(match client.get(name).await.map_err(text)? {
            Some(entry) => Outcome::Entry(entry.version, value_in(name, &entry.value)),
            None => Outcome::Miss,
        }),
        Kind::Set(value) => set(value, SetOptions::new()).await,
        Kind::Add(value) => set(value, SetOptions::new().if_absent()).await,
        Kind::Swap(version, value) => set(value, SetOptions::new().if_version(version)).await,
        Kind::Delete => Ok(if client.delete(name).await.map_err(text)? { Outcome::Deleted } else { Outcome::Miss }),
        Kind::Increment => {
            let options = IncrementOptions { initial: Some(1), ..IncrementOptions::default() };
            Ok(match client.increment_with(name, 1, options).await.map_err(text)? {
                Some(number) => Outcome::Number(number.version, number.value.cast_unsigned()),
                None => Outcome::Refused,
            })
        }
        Kind::Lease | Kind::Fill(..) => unreachable!("nobody here asks for leases"),
    }
}

fn name_of(key: usize) -> String {
    if key < VALUES { format!("value {key}") } else { format!("number {key}") }
}

/// A value names its key, and has a checksum.
fn value_text(name: &str, value: u64) -> String {
    let body = format!("{name}:{value}:");
    format!("{body}{:016x}", key_hash(body.as_bytes(), 7))
}

/// The value that was written under this name.
///
/// # Panics
/// If it is none that [`value_text`] makes, nor a number that was added to.
fn value_in(name: &str, bytes: &[u8]) -> u64 {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|_| panic!("{name} has bytes that nobody wrote"));
    let value = text.strip_prefix(name).and_then(|rest| rest.split(':').nth(1)).unwrap_or(text);
    let value: u64 = value.parse().unwrap_or_else(|_| panic!("{name} has a value that nobody wrote: {text}"));
    let is_number = name.starts_with("number");
    assert!(is_number || text == value_text(name, value), "{name} has another value than its checksum says: {text}");
    value
}

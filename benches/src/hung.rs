//! What an origin that never answers costs those who ask for something else.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use larder_protocol::native::{decode_response, encode_request, frame};
use larder_protocol::{Command, GroupAction, GroupAlteration, Request, Status, limits::FRAME_BYTES_MAX};
use larder_ring::group_hash;
use larder_testkit::Server;
use loadgen::run::{Arrivals, Length, Pace, Plan, run};
use serde::Serialize;

use crate::peers::measure::{median, preload};
use crate::peers::server::Kind;
use crate::target::Target;

/// The group whose origin never answers.
const HUNG: &str = "hung";
/// Requests that the origin may be sent at a time.
const CONCURRENT: usize = 8;
/// Gets of missing keys of that group that wait at any time, and for how long each does, in ms.
const WAITING: usize = 256;
const TIMEOUT_MS: u32 = 200;
/// Keys that are asked for and are there, and the bytes of their values.
const KEYS: u64 = 100_000;
const VALUE_BYTES: u32 = 64;

/// How it is measured.
#[derive(Clone, Debug)]
pub struct HungSettings {
    /// The server's and the load generator's core.
    pub cores: (usize, usize),
    /// Interleaved rounds.
    pub rounds: usize,
    /// Time of each.
    pub time: Duration,
    /// Gets of present keys per second.
    pub rate_per_s: f64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hung {
    /// Medians of the rounds without and with the hung origin: p50 and p99 in microseconds.
    pub without_us: [f64; 2],
    /// With it.
    pub with_us: [f64; 2],
    /// Median of the ratios of the p99 within rounds.
    pub p99_ratio: f64,
    /// The most requests that the origin had at a time, as it sees them: where all cores are busy, the end of one may reach
    /// it after the beginning of the next.
    pub origin_most: usize,
    /// Gets of missing keys that were answered: it was busy, or their time was up.
    pub refused: u64,
}

/// Measures gets of keys that are there, with and without others that wait for an origin in vain.
///
/// # Errors
/// A server that does not start, or a get that fails.
pub fn hung(larder: &Path, settings: &HungSettings) -> Result<Hung> {
    let origin = Origin::start()?;
    // Its shard has a core of its own; its sidecar, which asks origins, runs where there is room.
    let cores = settings.cores.0.to_string();
    let server = Server::start_binary(larder.to_owned(), &["--cores", &cores, "--memory", "256MiB"]);
    let address = server.address();
    let mut control = TcpStream::connect(address)?;
    let group = format!(
        r#"{{"memory": "16MiB", "origin": {{"url": "http://{}/{{key}}", "timeout": "30s",
            "max_concurrent": {CONCURRENT}, "queue": 1024}}}}"#,
        origin.address
    );
    let created = GroupAlteration { name: HUNG, action: GroupAction::Create, settings: &group };
    let (status, message) = ask(&mut control, 0, Command::AlterGroup(created))?;
    ensure!(status == Status::Ok, "the group cannot be created: {message}");
    let target = Target { address, protocol: Kind::Larder.protocol(), core: settings.cores.1 };
    let plan = target.plan(KEYS, VALUE_BYTES, "get=1", Length::Time(settings.time))?;
    let plan = Plan { connections: 16, pipeline: 16, ..plan };
    preload(&Plan { mix: "1:1".parse().map_err(anyhow::Error::msg)?, ..plan.clone() })?;
    let (mut without, mut with): (Vec<[f64; 2]>, Vec<[f64; 2]>) = Default::default();
    let refused = Arc::new(AtomicU64::new(0));
    for _ in 0..settings.rounds {
        without.push(measure(&plan, settings)?);
        let is_over = Arc::new(AtomicBool::new(false));
        let asking = {
            let (is_over, refused) = (Arc::clone(&is_over), Arc::clone(&refused));
            thread::spawn(move || ask_in_vain(address, &is_over, &refused))
        };
        let measured = measure(&plan, settings);
        is_over.store(true, Ordering::Relaxed);
        asking.join().expect("it does not panic")?;
        with.push(measured?);
    }
    let quantiles = |all: &[[f64; 2]]| [0, 1].map(|at| median(all.iter().map(|round| round[at]).collect()));
    let ratios = without.iter().zip(&with).map(|(without, with)| with[1] / without[1]).collect();
    Ok(Hung {
        without_us: quantiles(&without),
        with_us: quantiles(&with),
        p99_ratio: median(ratios),
        origin_most: origin.most.load(Ordering::Relaxed),
        refused: refused.load(Ordering::Relaxed),
    })
}

/// p50 and p99 of gets that hit, in microseconds from when each was due.
fn measure(plan: &Plan, settings: &HungSettings) -> Result<[f64; 2]> {
    let pace = Pace::Open { per_second: settings.rate_per_s, arrivals: Arrivals::Poisson };
    let report = run(&Plan { pace, ..plan.clone() })?;
    ensure!(report.errors_total == 0 && report.misses == 0, "gets of what is there fail: {:?}", report.errors);
    Ok([report.latency.p50_us, report.latency.p99_us])
}

/// Keeps [`WAITING`] gets of missing keys waiting, each of another key; one that is refused comes again when it was told to.
fn ask_in_vain(address: SocketAddr, is_over: &AtomicBool, refused: &AtomicU64) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let (group, mut next, mut input) = (group_hash(HUNG, 0), 0_u64, Vec::new());
    let mut send = |stream: &mut TcpStream, count: usize| -> Result<()> {
        let mut frames = Vec::new();
        for _ in 0..count {
            next += 1;
            let key = next.to_be_bytes();
            let command = Command::Get { key: &key };
            let request = Request { id: next, epoch: 0, group, timeout_ms: TIMEOUT_MS, forwarded: false, command };
            encode_request(&mut frames, &request);
        }
        Ok(stream.write_all(&frames)?)
    };
    // When each of them asks next; they begin one after the other, as people would.
    let begun = Instant::now();
    let time = Duration::from_millis(u64::from(TIMEOUT_MS));
    let mut due: BinaryHeap<Reverse<Instant>> =
        (0..WAITING).map(|number| Reverse(begun + time * number as u32 / WAITING as u32)).collect();
    let mut buffer = [0; 16 << 10];
    stream.set_read_timeout(Some(Duration::from_millis(1)))?;
    while !is_over.load(Ordering::Relaxed) {
        let now = Instant::now();
        let mut asking = 0;
        while due.peek().is_some_and(|Reverse(at)| *at <= now) {
            due.pop();
            asking += 1;
        }
        send(&mut stream, asking)?;
        let count = match stream.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => return Err(error.into()),
        };
        ensure!(count > 0, "the server has closed the connection");
        input.extend_from_slice(&buffer[..count]);
        let mut consumed = 0;
        while let Some(frame) = frame(&input[consumed..], FRAME_BYTES_MAX)? {
            let response = decode_response(frame.message)?;
            let is_refused =
                matches!(response.status, Status::DeadlineExceeded | Status::OriginBusy | Status::OriginFailed);
            ensure!(is_refused, "a get of what nobody has is answered with {:?}", response.status);
            due.push(Reverse(Instant::now() + Duration::from_millis(u64::from(response.retry_after_ms))));
            refused.fetch_add(1, Ordering::Relaxed);
            consumed += frame.consumed;
        }
        input.drain(..consumed);
    }
    Ok(())
}

fn ask(stream: &mut TcpStream, group: u64, command: Command<'_>) -> Result<(Status, String)> {
    let mut bytes = Vec::new();
    encode_request(&mut bytes, &Request { id: 1, epoch: 0, group, timeout_ms: 0, forwarded: false, command });
    stream.write_all(&bytes)?;
    let (mut input, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(frame) = frame(&input, FRAME_BYTES_MAX)? {
            let response = decode_response(frame.message)?;
            return Ok((response.status, response.message.to_owned()));
        }
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "the server has closed the connection");
        input.extend_from_slice(&buffer[..count]);
    }
}

/// Whether the other side has not ended a connection; what it has sent is not looked at.
fn is_open(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(1..) => {}
            Ok(0) => return false,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// An HTTP server that takes requests, one on each connection, and never answers.
struct Origin {
    address: SocketAddr,
    most: Arc<AtomicUsize>,
}

impl Origin {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("a free port")?;
        let (address, most) = (listener.local_addr()?, Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        thread::spawn(move || {
            let mut open: Vec<TcpStream> = Vec::new();
            for stream in listener.incoming().flatten() {
                // Those that were ended before this one began are over, however late this thread has noticed.
                open.retain_mut(is_open);
                stream.set_nonblocking(true).expect("a socket option");
                open.push(stream);
                seen.fetch_max(open.len(), Ordering::Relaxed);
            }
        });
        Ok(Self { address, most })
    }
}

//! `loadgen run`: threads that make load by a plan, and what they measured.

mod gate;
mod load;
mod pace;
mod plan;
mod preload;
mod report;
mod sender;
mod thread;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock::{Clock, ns};
use crate::error::LoadError;
use crate::progress::{self, percent, thousands};
use crate::protocol::{
    LoadProtocol, Placement, ProtocolName, ServerFacts, connect_memcache, connect_native, connect_resp,
};
use crate::stats::{Live, Recorder};
use crate::system;
use crate::verify::Ledger;
use crate::workload::{Content, ShardMap};
use gate::Gate;
use sender::Material;
use thread::ThreadResult;

pub use plan::{Arrivals, Length, Pace, Plan};
pub use report::{Report, ShardAwareReport};

/// When load is made, and when it counts, in ns of the run's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// First request.
    pub(crate) begin_ns: u64,
    /// First request that counts.
    pub(crate) start_ns: u64,
    /// From here on nothing is sent. `u64::MAX`: the number of requests decides.
    pub(crate) end_ns: u64,
}

impl Window {
    fn new(plan: &Plan, begin_ns: u64) -> Window {
        let start_ns = begin_ns + ns(plan.warm_up);
        let end_ns = match plan.length {
            Length::Time(time) => start_ns + ns(time),
            Length::Requests(_) => u64::MAX,
        };
        Window { begin_ns, start_ns, end_ns }
    }

    /// Whether a request that starts at this time counts.
    pub(crate) fn has(&self, start_ns: u64) -> bool {
        (self.start_ns..self.end_ns).contains(&start_ns)
    }
}

/// What the threads of a run share.
struct Stage<'a, P> {
    plan: &'a Plan,
    protocol: &'a P,
    facts: &'a ServerFacts,
    material: Material,
    shards: Option<&'a ShardMap>,
    clock: Clock,
    gate: &'a Gate,
    /// Keys that were set before the run.
    preloaded: AtomicU64,
    /// When the first request was sent; 0: not yet.
    began_ns: AtomicU64,
    live: Vec<Mutex<Live>>,
}

/// Does a run.
///
/// # Errors
/// See [`LoadError`]; what the server refuses is no error but part of the report.
pub fn run(plan: &Plan) -> Result<Report, LoadError> {
    plan.check()?;
    system::allow_files(plan.connections + plan.threads * crate::limits::PRELOAD_CONNECTIONS)?;
    match plan.protocol {
        ProtocolName::Native => {
            let (mut protocol, facts) = connect_native(plan.address, &plan.group)?;
            let shards = if plan.shard_aware { Some(shard_map(plan, &facts)?) } else { None };
            if let Some(Placement { shards, .. }) = facts.placement.filter(|_| plan.shard_aware) {
                protocol.name_shards(shards);
            }
            let mut report = run_with(plan, &protocol, &facts, shards.as_ref())?;
            report.shard_aware = facts.placement.filter(|_| plan.shard_aware).map(|Placement { shards, .. }| {
                ShardAwareReport { shards, connections_elsewhere: protocol.elsewhere() }
            });
            Ok(report)
        }
        ProtocolName::Resp => {
            let (protocol, facts) = connect_resp(plan.address, &plan.group)?;
            run_with(plan, &protocol, &facts, None)
        }
        ProtocolName::Memcache => {
            let (protocol, facts) = connect_memcache(plan.address, &plan.group)?;
            run_with(plan, &protocol, &facts, None)
        }
    }
}

/// Where each key is.
fn shard_map(plan: &Plan, facts: &ServerFacts) -> Result<ShardMap, LoadError> {
    let wrong = |remedy: String| LoadError::option("--shard-aware", "", remedy);
    let Some(Placement { group_hash, shards }) = facts.placement else {
        return Err(wrong("this server does not say that it is a single node, and how many shards it has".into()));
    };
    if plan.connections < usize::from(shards) {
        return Err(wrong(format!("this server has {shards} shards; give --connections {shards} or more")));
    }
    ShardMap::new(&plan.keys, group_hash, shards)
}

fn run_with<P: LoadProtocol + Sync>(
    plan: &Plan,
    protocol: &P,
    facts: &ServerFacts,
    shards: Option<&ShardMap>,
) -> Result<Report, LoadError> {
    plan.check_server(facts)?;
    let gate = Gate::new(plan.threads);
    let ledger = plan.verify.map(|writers| Arc::new(Ledger::new(run_number(plan.seed), writers, plan.keys.count())));
    let stage = Stage {
        plan,
        protocol,
        facts,
        material: Material { content: Arc::new(Content::new(plan.values.most(), plan.seed)), ledger },
        shards,
        clock: Clock::start(),
        gate: &gate,
        preloaded: AtomicU64::new(0),
        began_ns: AtomicU64::new(0),
        live: (0..plan.threads).map(|_| Mutex::default()).collect(),
    };
    let results = std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for number in 0..plan.threads {
            let (stage, sender) = (&stage, sender.clone());
            scope.spawn(move || {
                let result = thread::run(stage, number);
                if result.is_err() {
                    stage.gate.fail();
                }
                // The receiver waits for every thread, so there is one.
                let _ = sender.send(result);
            });
        }
        drop(sender);
        collect(&stage, &receiver)
    });
    progress::end();
    let results = results?;
    let mut recorder = Recorder::default();
    results.iter().for_each(|result| recorder.merge(&result.recorder));
    Ok(Report::new(plan, facts, &recorder, &results))
}

/// Waits for all threads, and shows each second how it goes. The first failure that is no echo of another one counts.
fn collect<P: LoadProtocol>(
    stage: &Stage<'_, P>,
    receiver: &mpsc::Receiver<Result<ThreadResult, LoadError>>,
) -> Result<Vec<ThreadResult>, LoadError> {
    const SECOND: Duration = Duration::from_secs(1);
    let mut results = Vec::new();
    let mut failure = None;
    let mut shown_ns = stage.clock.now_ns();
    let mut began = false;
    loop {
        // The seconds of the load are counted from its begin, not from that of the preload.
        let began_ns = stage.began_ns.load(Ordering::Acquire);
        if began_ns > 0 && !std::mem::replace(&mut began, true) {
            shown_ns = began_ns;
        }
        let passed = Duration::from_nanos(stage.clock.now_ns().saturating_sub(shown_ns));
        match receiver.recv_timeout(SECOND.saturating_sub(passed)) {
            Ok(Ok(result)) => results.push(result),
            Ok(Err(error)) => match failure {
                None | Some(LoadError::BrokenOff) => failure = Some(error),
                Some(_) => {}
            },
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            // It has begun meanwhile, and has nothing to show yet.
            Err(mpsc::RecvTimeoutError::Timeout) if !began && stage.began_ns.load(Ordering::Acquire) > 0 => {}
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let now_ns = stage.clock.now_ns();
                if stage.plan.progress {
                    show(stage, now_ns, Duration::from_nanos(now_ns - shown_ns).as_secs_f64());
                }
                shown_ns = now_ns;
            }
        }
    }
    match failure {
        Some(error) => Err(error),
        None if results.len() < stage.plan.threads => Err(LoadError::BrokenOff),
        None => Ok(results),
    }
}

fn show<P: LoadProtocol>(stage: &Stage<'_, P>, now_ns: u64, seconds: f64) {
    let mut live = Live::default();
    for part in &stage.live {
        part.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pour(&mut live);
    }
    let began_ns = stage.began_ns.load(Ordering::Acquire);
    if began_ns == 0 {
        let (done, keys) = (stage.preloaded.load(Ordering::Relaxed), stage.plan.keys.count());
        progress::live(&format!("preload  {} of {} keys  {}", thousands(done), thousands(keys), percent(done, keys)));
        return;
    }
    let window = Window::new(stage.plan, began_ns);
    let (phase, since_ns) = match now_ns {
        now if now < window.start_ns => ("warm-up", window.begin_ns),
        now if now < window.end_ns => ("run", window.start_ns),
        _ => ("drain", window.end_ns),
    };
    progress::live(&progress::run_line(phase, Duration::from_nanos(now_ns - since_ns), seconds, &live));
}

/// Another number for each run, also for runs with one seed, so that values of an earlier run are told apart.
#[expect(clippy::disallowed_methods, reason = "any number will do that no other run has")]
fn run_number(seed: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&now.to_le_bytes());
    bytes[16..].copy_from_slice(&u64::from(std::process::id()).to_le_bytes());
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

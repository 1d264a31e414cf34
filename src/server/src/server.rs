//! A server from its configuration to its end.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam::utils::CachePadded;
use larder_engine::limits::LANE_BATCHES_MAX;
use larder_engine::{Engine, EngineError, EngineSettings, GroupPlans, Standing, Watchers};
use larder_membership::{Agent, EtcdSettings, EtcdTls, Local, MembershipError, Source, Topology};
use tokio::sync::{mpsc, watch};

use crate::acceptor::{Acceptor, Begin};
use crate::clock::{Clock, ClockError};
use crate::cluster::{Asking, Cluster, Shards};
use crate::config::{Config, Cores, EtcdConfig, Names, Setting, Size};
use crate::dialer::{Dialer, Known};
use crate::http::{self, Http, Inside};
use crate::keeper::{Keeper, Plans};
use crate::limits::{ASKED_MAX, HTTP_BODY_TIMEOUT_MS, ORDERS_MAX, REPORTS_PER_SHARD_MAX, STOP_RESERVE_MS, UPDATES_MAX};
use crate::listen::{ListenError, Listeners, listen};
use crate::loading::Loader;
use crate::mesh::{Port, mesh};
use crate::orders::pass_on_orders;
use crate::pages;
use crate::preflight::{self, PreflightError};
use crate::resp::{Settings, Shared};
use crate::shard::{
    self, Admission, ControlLane, Dialect, Executor, Handover, Patience, Plan, Reactor, Reporter, Resp, Welcome,
};
use crate::sidecar::{Sidecar, SidecarError, Signals, Stopped};
use crate::standing::{Progress, SharedStanding};
use crate::startup_code;
use crate::tally::Tally;

/// Name and version, as clients and operators see them.
const SERVER: &str = concat!("larder ", env!("CARGO_PKG_VERSION"));
/// The exit status of a server that cannot start for a reason that the user can remove.
const EXIT_REFUSED: u8 = 2;
/// The exit status of a server that failed.
const EXIT_FAILED: u8 = 1;

/// Why a server does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The clock cannot be used.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The machine cannot run it.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The address cannot be served.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The address for RESP cannot be served.
    #[error("for RESP (--resp, listen.resp): {0}")]
    Resp(ListenError),
    /// The address for memcached's protocol cannot be served.
    #[error("for memcached's protocol (--memcache, listen.memcache): {0}")]
    Memcache(ListenError),
    /// The address for HTTP cannot be served.
    #[error("for HTTP (--http, listen.http): {0}")]
    Http(ListenError),
    /// The node makes no ring.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// A file that a setting names cannot be read.
    #[error("cannot read {}: {why}; correct the setting that names it, or the file", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The groups make no engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The system refuses something that every server needs.
    #[error("cannot {step}: {why}")]
    System {
        /// What was tried.
        step: &'static str,
        /// What the system said.
        why: String,
    },
    /// A shard did not do what it should.
    #[error(transparent)]
    Sidecar(#[from] SidecarError),
}

impl ServeError {
    /// 2 if the user can remove the cause before the next start, else 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Clock(_)
            | Self::Preflight(_)
            | Self::Listen(_)
            | Self::Resp(_)
            | Self::Memcache(_)
            | Self::Http(_)
            | Self::Membership(_)
            | Self::File { .. }
            | Self::Engine(_) => ExitCode::from(EXIT_REFUSED),
            Self::Sidecar(SidecarError::Membership(_)) => ExitCode::from(EXIT_REFUSED),
            Self::System { .. } | Self::Sidecar(_) => ExitCode::from(EXIT_FAILED),
        }
    }
}

/// The socket where a dialect is spoken, if it is. Where nobody has asked for the address, it is done without if it is not to be
/// had, as for the second node of a machine.
fn dialect(config: &Config, setting: Setting, address: Option<SocketAddr>) -> Result<Option<Listeners>, ListenError> {
    match address.map(|address| listen(address, 1)).transpose() {
        Err(error) if config.by_default.contains(&setting) => {
            let Names { key, flag, .. } = setting.names();
            crate::log::line(format_args!("warning: {key} is off: {error}; give it one with --{flag}, or say off"));
            Ok(None)
        }
        opened => opened,
    }
}

/// Serves until SIGTERM or SIGINT. A panic on any thread ends the process: a shard whose state may be broken must
/// not go on answering, and the others cannot do without it.
///
/// # Errors
/// The server cannot start, or has failed.
pub fn serve(mut config: Config) -> Result<(), ServeError> {
    abort_on_panic();
    let clock = Clock::start()?;
    for oddity in preflight::run(&config)? {
        crate::log::line(format_args!("warning: {oddity}"));
    }
    let listeners = listen(config.listen, config.shards)?;
    config.bound_to(listeners.address);
    let resp = dialect(&config, Setting::Resp, config.resp).map_err(ServeError::Resp)?;
    let memcache = dialect(&config, Setting::Memcache, config.memcache).map_err(ServeError::Memcache)?;
    let http = dialect(&config, Setting::Http, config.http).map_err(ServeError::Http)?;
    [config.resp, config.memcache, config.http] =
        [&resp, &memcache, &http].map(|listeners| listeners.as_ref().map(|listeners| listeners.address));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("start the sidecar's runtime"))?;
    let (crew, stopped) = runtime.block_on(async {
        let signals = Signals::catch().map_err(system("catch signals"))?;
        let (crew, sidecar, cluster) = start(&config, clock, listeners.sockets, signals)?;
        if let Some(http) = http {
            serve_http(&config, &crew, sidecar.is_ready(), http)?;
        }
        if let Some(resp) = resp {
            let shared = Arc::clone(&crew.resp);
            let dialect = move |peer: String, local: String| {
                Dialect::Resp(Box::new(Resp::new(&shared, peer, local, clock.now_ms())))
            };
            accept(Box::new(dialect), &config, &crew, resp)?;
        }
        if let Some(memcache) = memcache {
            let dialect = |_: String, _: String| Dialect::Memcache(Box::default());
            accept(Box::new(dialect), &config, &crew, memcache)?;
        }
        let stopped = sidecar.run(cluster, || {
            if let Err(error) = startup_code::give_back() {
                crate::log::line(format_args!("the memory of code that only the start needs stays in use: {error}"));
            }
            announce(&config);
        });
        let stopped = stopped.await?;
        Ok::<_, ServeError>((crew, stopped))
    })?;
    let refused = crew.admission.refused();
    crew.join()?;
    say_goodbye(&config, stopped, refused);
    Ok(())
}

/// The executors of a server.
struct Crew {
    executors: Vec<Executor>,
    admission: Arc<Admission>,
    handover: Arc<Handover>,
    /// How far the shards are in following the ring, if it changes.
    progress: Option<Vec<Arc<CachePadded<Progress>>>>,
    tallies: Vec<Arc<Tally>>,
    turns: Vec<Arc<CachePadded<AtomicU64>>>,
    resp: Arc<Shared>,
}

/// Serves HTTP from now on, until the runtime ends.
fn serve_http(config: &Config, crew: &Crew, is_ready: Arc<AtomicBool>, listeners: Listeners) -> Result<(), ServeError> {
    let socket = listeners.sockets.into_iter().next().expect("one was asked for");
    let listener = tokio::net::TcpListener::from_std(socket).map_err(system("listen for HTTP"))?;
    let http = Http {
        inside: Inside::new(config.shards, crew.handover.clone(), crew.admission.clone()),
        cluster_seed: config.cluster_seed,
        value_bytes_max: config.value_bytes_max as usize,
        body_timeout: Duration::from_millis(HTTP_BODY_TIMEOUT_MS),
        is_ready,
        progress: crew.progress.clone(),
        tallies: crew.tallies.clone(),
        turns: crew.turns.clone(),
        cors: config.http_cors.clone(),
    };
    // It ends with the runtime.
    tokio::spawn(http::serve(listener, http));
    Ok(())
}

/// Accepts connections that speak a dialect from now on, until the runtime ends.
fn accept(dialect: Begin, config: &Config, crew: &Crew, listeners: Listeners) -> Result<(), ServeError> {
    let socket = listeners.sockets.into_iter().next().expect("one was asked for");
    let listener = tokio::net::TcpListener::from_std(socket).map_err(system("listen for a dialect"))?;
    let (handover, admission) = (crew.handover.clone(), crew.admission.clone());
    tokio::spawn(Acceptor::new(listener, dialect, config.shards, handover, admission).run());
    Ok(())
}

/// Starts all shards.
fn start(
    config: &Config,
    clock: Clock,
    listeners: Vec<TcpListener>,
    signals: Signals,
) -> Result<(Crew, Sidecar, Option<Cluster>), ServeError> {
    let local = local(config);
    let source = match config.peers.as_slice() {
        [] => Source::single(local.clone(), config.cluster_seed)?,
        peers => Source::list(local.clone(), peers, config.cluster_seed)?,
    };
    let etcd = config.etcd.as_ref().map(|etcd| etcd_settings(config, etcd)).transpose()?;
    let topology = source.current();
    let ports = mesh(config.shards, LANE_BATCHES_MAX).map_err(system("open the doors of the shards"))?;
    let (sender, reports) = mpsc::channel(REPORTS_PER_SHARD_MAX * usize::from(config.shards));
    let admission = Arc::new(Admission::new(config.connections_max));
    let handover = Handover::new(ports[0].doors().clone());
    let has_own_core = usize::from(config.shards) <= config.cores.len();
    let doors = ports[0].doors();
    let controls: Vec<_> = (0..config.shards).map(|shard| ControlLane::new(shard, Arc::clone(doors))).collect();
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    let (asking, asked) = mpsc::channel(ASKED_MAX);
    let (rings, ring) = watch::channel(topology.clone());
    let (known, standing) = match &etcd {
        None => (Known::Fixed(source), SharedStanding::fixed()),
        Some(_) => (Known::Changing(ring, orders.clone()), SharedStanding::default()),
    };
    let standing = Arc::new(standing);
    let (dialer, dials) = Dialer::new(format!("{SERVER} node {}", config.node_id), known, controls.clone());
    let keeper = Keeper::new(config);
    let tallies: Vec<Arc<Tally>> = (0..config.shards).map(|_| Arc::default()).collect();
    let resp = Shared::new(
        config.resp_databases.clone(),
        config.resp_prefixes,
        Settings::new(config),
        controls.clone(),
        tallies.clone(),
        Arc::clone(&admission),
    );
    let Plans { groups, origins, .. } = keeper.plans();
    let (loader, loading) = Loader::new(&origins, controls.clone(), clock);
    let mut loading = loading.into_iter();
    let (mut plans, mut heartbeats, mut pages, mut progress) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for ((port, listener), dials) in ports.into_iter().zip(listeners).zip(dials) {
        let shard = port.shard();
        let heartbeat = Arc::default();
        heartbeats.push(Arc::clone(&heartbeat));
        let progress_of_shard = Arc::default();
        progress.push(Arc::clone(&progress_of_shard));
        let reactor = reactor(
            config,
            port,
            &groups,
            topology.clone(),
            (clock.now_ms(), standing.read()),
            (&tallies[usize::from(shard)], &resp),
        )?;
        pages.push(reactor.pages_ahead());
        plans.push(Plan {
            reactor,
            listener,
            clock,
            admission: admission.clone(),
            handover: handover.clone(),
            controls: Arc::clone(&controls[usize::from(shard)]),
            reporter: Reporter::new(shard, sender.clone()),
            dials,
            loading: loading.next().expect("one for each shard"),
            asking: Asking::new(shard, asking.clone()),
            standing: Arc::clone(&standing),
            progress: progress_of_shard,
            turns: heartbeat,
            has_own_core,
            patience: Patience { idle: config.idle_timeout, half_sent: config.half_sent_timeout },
            spin: config.spin,
        });
    }
    // Only now, when nothing can be refused any more, threads begin.
    pages::go_ahead(pages).map_err(system("start the thread for pages"))?;
    let mut executors = Vec::new();
    for (shard, plan) in (0..config.shards).zip(plans) {
        let executor = shard::spawn(shard, config.core_of(shard), plan)
            .map_err(|why| ServeError::System { step: "start the executor of a shard", why })?;
        executors.push(executor);
    }
    // They end with the runtime.
    tokio::spawn(loader.run());
    tokio::spawn(dialer.run());
    let (shards, keeper) = (Shards { lanes: controls.clone(), progress, standing }, Arc::new(Mutex::new(keeper)));
    let agent_orders = etcd.is_some().then(|| orders.clone());
    let progress = etcd.is_some().then(|| shards.progress.clone());
    tokio::spawn(pass_on_orders(shards.clone(), asked, agent_orders, Arc::clone(&keeper)));
    let cluster = etcd.map(|settings| {
        let (sender, updates) = mpsc::channel(UPDATES_MAX);
        let agent = Agent::new(settings, &local, ordered, sender, move || clock.now_ms());
        Cluster::new(shards, tokio::spawn(agent.run()), orders, updates, keeper, rings, clock)
    });
    let turns = heartbeats.clone();
    let sidecar = Sidecar::new(controls, heartbeats, reports, signals, config.stop_timeout);
    Ok((Crew { executors, admission, handover, progress, tallies, turns, resp }, sidecar, cluster))
}

/// How etcd is spoken to, with the files read.
fn etcd_settings(config: &Config, etcd: &EtcdConfig) -> Result<EtcdSettings, ServeError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|why| ServeError::File { path: path.to_owned(), why: why.to_string() })
    };
    let user = match (&etcd.user, &etcd.password_file) {
        (Some(name), Some(path)) => {
            Some((name.clone(), String::from_utf8_lossy(&read(path)?).trim_end_matches(['\r', '\n']).to_owned()))
        }
        _ => None,
    };
    let authority = etcd.ca.as_deref().map(read).transpose()?;
    let identity = match &etcd.identity {
        Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
        None => None,
    };
    let needs_tls = authority.is_some() || identity.is_some();
    Ok(EtcdSettings {
        endpoints: etcd.endpoints.clone(),
        user,
        tls: needs_tls.then_some(EtcdTls { authority, identity }),
        cluster: config.cluster.clone(),
        cluster_seed: config.cluster_seed,
        ttl: etcd.ttl,
        http: config.http.map_or_else(String::new, |address| address.to_string()),
        zone: String::new(),
        version: SERVER.to_owned(),
        groups: config.definitions.clone().into_iter().collect(),
    })
}

fn reactor(
    config: &Config,
    port: Port,
    groups: &GroupPlans,
    topology: Arc<Topology>,
    (started_ms, standing): (u64, Standing),
    (tally, resp): (&Arc<Tally>, &Arc<Shared>),
) -> Result<Reactor, EngineError> {
    let shard = port.shard();
    let settings = EngineSettings {
        node_id: config.node_id.clone(),
        shard,
        server: SERVER.to_owned(),
        groups: groups.to_vec(),
        value_bytes_max: config.value_bytes_max as usize,
        node_memory_bytes: config.memory_bytes,
        timeout_ms_default: config.request_timeout_ms,
        started_ms,
        standing,
    };
    let welcome = Welcome {
        server: SERVER.to_owned(),
        node_id: config.node_id.clone(),
        shard,
        shards: config.shards,
        value_bytes_max: config.value_bytes_max as usize,
        resp: Arc::clone(resp),
    };
    Ok(Reactor::new(Engine::new(settings, topology, Watchers::new())?, port, welcome, Arc::clone(tally)))
}

/// What this process tells the ring about itself.
fn local(config: &Config) -> Local {
    Local {
        id: Some(config.node_id.clone()),
        address: config.address(),
        shards: config.shards,
        points: config.points,
        incarnation: incarnation(),
    }
}

/// Random per start. The standard library seeds its hash tables from the system's random numbers.
fn incarnation() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()).max(1)
}

/// Says on standard error to people, and on standard output to programs, that the server is ready.
fn announce(config: &Config) {
    let memory = Size(config.memory_bytes);
    let resp = config.resp.map_or_else(String::new, |address| format!(", RESP on {address}"));
    let memcache = config.memcache.map_or_else(String::new, |address| format!(", memcached's protocol on {address}"));
    let http = config.http.map_or_else(String::new, |address| format!(", HTTP on {address}"));
    let groups: Vec<_> = config
        .groups
        .iter()
        .map(|group| {
            let share = Size(group.budget_bytes / u64::from(config.shards));
            format!("{} ({}, {share} per shard, {})", group.name, Size(group.budget_bytes), group.policy)
        })
        .collect();
    crate::log::line(format_args!(
        "{SERVER} is ready: native protocol on {}{resp}{memcache}{http}, node {} of cluster {}, {} {} on {} {}, {memory} of memory; \
         values up to {}; groups: {}",
        config.listen,
        config.node_id,
        config.cluster,
        config.shards,
        if config.shards == 1 { "shard" } else { "shards" },
        if config.cores.len() == 1 { "core" } else { "cores" },
        Cores::new(config.cores.clone()),
        Size(u64::from(config.value_bytes_max)),
        groups.join(", "),
    ));
    let ready = serde_json::json!({
        "ready": true,
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "node": config.node_id,
        "listen": {
            "native": config.listen.to_string(),
            "resp": config.resp.map(|address| address.to_string()),
            "memcache": config.memcache.map(|address| address.to_string()),
            "http": config.http.map(|address| address.to_string()),
        },
        "cores": config.cores,
        "shards": config.shards,
        "memory_bytes": config.memory_bytes,
    });
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{ready}").and_then(|()| stdout.flush()) {
        crate::log::line(format_args!("the ready line cannot be written to standard output: {error}"));
    }
}

fn say_goodbye(config: &Config, stopped: Stopped, refused: u64) {
    let Stopped { cut_off } = stopped;
    let cut_off = match cut_off {
        0 => String::new(),
        _ => format!("; {cut_off} connections were cut off after {:?}", config.stop_timeout),
    };
    let refused = match refused {
        0 => String::new(),
        _ => format!("; {refused} connections had been refused above the limit of {}", config.connections_max),
    };
    crate::log::line(format_args!("stopped{cut_off}{refused}"));
}

impl Crew {
    /// Waits for the threads, which have nothing left to do.
    fn join(self) -> Result<(), ServeError> {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let joined: Result<(), String> = self.executors.into_iter().try_for_each(Executor::join);
            let _ = sender.send(joined);
        });
        let failed = |why| ServeError::System { step: "end the executors", why };
        match receiver.recv_timeout(Duration::from_millis(STOP_RESERVE_MS)) {
            Ok(joined) => joined.map_err(failed),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        crate::log::line(format_args!("a broken invariant: the whole server ends, and its cache with it"));
        std::process::abort();
    }));
}

fn system<E: std::fmt::Display>(step: &'static str) -> impl FnOnce(E) -> ServeError {
    move |error| ServeError::System { step, why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    const CHILD: &str = "LARDER_TEST_PANICKING_CHILD";
    const SIGABRT: i32 = 6;

    /// The child of the test below.
    #[test]
    fn panicking_child() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        abort_on_panic();
        let shard = glommio::LocalExecutorBuilder::default()
            .io_memory(crate::limits::EXECUTOR_IO_MEMORY_BYTES)
            .spawn(|| async {
                glommio::spawn_local(async { panic!("a broken invariant of this test") }).await;
            })
            .expect("an executor");
        let _ = shard.join();
        std::process::exit(0);
    }

    #[test]
    fn a_panic_in_one_task_of_one_shard_ends_the_process() {
        let test = std::env::current_exe().expect("a test knows its own path");
        let output = Command::new(test)
            .args(["--exact", "server::tests::panicking_child", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("the test starts again");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(SIGABRT), "{:?}: {stderr}", output.status);
        assert!(stderr.contains("a broken invariant of this test"), "the cause is printed: {stderr}");
        assert!(stderr.contains("larder: a broken invariant: the whole server ends"), "{stderr}");
    }

    #[test]
    fn incarnations_differ_and_are_not_0() {
        let (first, second) = (incarnation(), incarnation());
        assert!(first != 0 && second != 0 && first != second, "{first} {second}");
    }
}

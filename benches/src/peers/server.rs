//! The servers: started on loopback, bound to cores, measured by `/proc`, and gone when they are dropped.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use larder_ring::DEFAULT_GROUP;
use larder_store::PolicyKind;
use loadgen::protocol::ProtocolName;

/// How long a server may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `larder serve`, by the native protocol.
    Larder,
    /// `larder serve`, by RESP.
    LarderResp,
    /// `larder serve`, by memcached's text protocol.
    LarderMemcache,
    /// `redis-server`.
    Redis,
    /// `memcached`.
    Memcached,
}

impl Kind {
    /// In the order of the report: the first one is what the others are compared with.
    pub const ALL: [Kind; 5] = [Kind::Larder, Kind::LarderResp, Kind::LarderMemcache, Kind::Redis, Kind::Memcached];

    /// Each program once: for what does not depend on how it is asked.
    pub const PROGRAMS: [Kind; 3] = [Kind::Larder, Kind::Redis, Kind::Memcached];

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Larder => "larder",
            Kind::LarderResp => "larder-resp",
            Kind::LarderMemcache => "larder-mc",
            Kind::Redis => "redis",
            Kind::Memcached => "memcached",
        }
    }

    /// What it is asked by.
    pub fn protocol(self) -> ProtocolName {
        match self {
            Kind::Larder => ProtocolName::Native,
            Kind::LarderResp | Kind::Redis => ProtocolName::Resp,
            Kind::LarderMemcache | Kind::Memcached => ProtocolName::Memcache,
        }
    }

    /// Larder by the protocol of this peer; absent for Larder itself.
    pub fn rival(self) -> Option<Kind> {
        match self {
            Kind::Larder | Kind::LarderResp | Kind::LarderMemcache => None,
            Kind::Redis => Some(Kind::LarderResp),
            Kind::Memcached => Some(Kind::LarderMemcache),
        }
    }
}

/// How a server is started.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// Cores that it may use, such as `0` or `0-1`.
    pub cores: &'a str,
    /// Path of the `larder` program.
    pub larder: &'a Path,
    /// Memory that it is told to use, in MiB.
    pub memory_mib: u64,
    /// Larder's eviction policy; its default if absent.
    pub policy: Option<PolicyKind>,
    /// Most clients at a time; the server's default if absent.
    pub connections_max: Option<usize>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Which one.
    pub kind: Kind,
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts a server.
    ///
    /// # Errors
    /// A program that is not there or does not listen in time.
    pub fn start(kind: Kind, launch: &Launch<'_>) -> Result<Server> {
        match kind {
            Kind::Larder | Kind::LarderResp | Kind::LarderMemcache => start_larder(kind, launch),
            Kind::Redis => start_peer(kind, launch.cores, |port| redis_arguments(launch, port)),
            Kind::Memcached => start_peer(kind, launch.cores, |port| memcached_arguments(launch, port)),
        }
    }

    /// CPU time of all its threads since it started.
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu(&self) -> Result<Duration> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let mut total_ns = 0;
        for task in fs::read_dir(&tasks).with_context(|| format!("{} has ended", self.kind.name()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let running_ns = text.split(' ').next().and_then(|number| number.parse::<u64>().ok());
            total_ns += running_ns.with_context(|| format!("{tasks}/*/schedstat says {text:?}"))?;
        }
        Ok(Duration::from_nanos(total_ns))
    }

    /// Memory that is resident, in bytes.
    ///
    /// # Errors
    /// It has ended.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.status_bytes("VmRSS:")
    }

    /// The most memory that was ever resident, in bytes.
    ///
    /// # Errors
    /// It has ended.
    pub fn resident_bytes_max(&self) -> Result<u64> {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, name: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).with_context(|| format!("{} has ended", self.kind.name()))?;
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("{path}: no {name}"))?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>().with_context(|| format!("{path}: {line}"))? << 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `larder` beside this program.
///
/// # Errors
/// It was not built.
pub fn larder_beside() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("larder");
    if !path.is_file() {
        bail!("{} is not built; run `cargo build --release` first, or give --larder PATH", path.display());
    }
    Ok(path)
}

fn redis_arguments(launch: &Launch<'_>, port: &str) -> Vec<String> {
    let memory = format!("{}mb", launch.memory_mib);
    let mut arguments: Vec<String> =
        ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            .into_iter()
            .chain(["--io-threads", "1", "--loglevel", "warning"])
            // Without a policy it refuses what does not fit.
            .chain(["--maxmemory", &memory, "--maxmemory-policy", "allkeys-lru"])
            .map(str::to_string)
            .collect();
    if let Some(connections) = launch.connections_max {
        arguments.extend(["--maxclients".into(), connections.to_string()]);
    }
    arguments
}

fn memcached_arguments(launch: &Launch<'_>, port: &str) -> Vec<String> {
    let memory = launch.memory_mib.to_string();
    // As root it insists on another user to run as.
    let mut arguments =
        ["memcached", "-t", "1", "-m", &memory, "-l", "127.0.0.1", "-p", port, "-U", "0", "-u", "nobody"]
            .map(str::to_string)
            .to_vec();
    if let Some(connections) = launch.connections_max {
        arguments.extend(["-c".into(), connections.to_string()]);
    }
    arguments
}

fn spawn(cores: &str, arguments: &[String], stdin: Stdio, stdout: Stdio) -> Result<Child> {
    let program = &arguments[0];
    if Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        bail!("there is no {program}; run tools/scripts/setup test, or leave it out with --servers");
    }
    // taskset becomes the program, so that the child is the server itself.
    Command::new("taskset")
        .args(["-c", cores])
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .stdin(stdin)
        .stdout(stdout)
        .spawn()
        .context("taskset does not start; it is in the package util-linux")
}

/// What larder calls a protocol.
fn name_of(protocol: ProtocolName) -> &'static str {
    match protocol {
        ProtocolName::Resp => "resp",
        ProtocolName::Memcache => "memcache",
        ProtocolName::Native => "native",
    }
}

fn start_larder(kind: Kind, launch: &Launch<'_>) -> Result<Server> {
    let memory = format!("{}MiB", launch.memory_mib);
    let larder = fs::canonicalize(launch.larder).with_context(|| format!("--larder {}", launch.larder.display()))?;
    let larder = larder.to_str().context("the path of larder is no text")?;
    let mut arguments: Vec<String> =
        [larder, "serve", "--cores", launch.cores, "--memory", &memory, "--listen", "127.0.0.1:0", "--http", "off"]
            .map(str::to_string)
            .to_vec();
    for protocol in [ProtocolName::Resp, ProtocolName::Memcache] {
        let address = if kind.protocol() == protocol { "127.0.0.1:0" } else { "off" };
        arguments.extend([format!("--{}", name_of(protocol)), address.into()]);
    }
    if let Some(connections) = launch.connections_max {
        arguments.extend(["--connections-max".into(), connections.to_string()]);
    }
    if launch.policy.is_some() {
        arguments.extend(["--config", "/dev/stdin"].map(str::to_string));
    }
    let mut child = spawn(launch.cores, &arguments, Stdio::piped(), Stdio::piped())?;
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let stdout = child.stdout.take().expect("standard output is piped");
    let mut server = Server { kind, address: SocketAddr::from(([127, 0, 0, 1], 0)), child };
    if let Some(policy) = launch.policy {
        write!(stdin, "[[group]]\nname = \"{DEFAULT_GROUP}\"\npolicy = \"{policy}\"\n")
            .context("larder does not read its configuration")?;
    }
    drop(stdin);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let ready: serde_json::Value =
        serde_json::from_str(&line).with_context(|| format!("larder is not ready; it says {line:?}"))?;
    let address = ready["listen"][name_of(kind.protocol())].as_str().context("larder does not say where it listens")?;
    server.address = address.parse().with_context(|| format!("larder listens on {address:?}"))?;
    Ok(server)
}

fn start_peer(kind: Kind, cores: &str, arguments: impl Fn(&str) -> Vec<String>) -> Result<Server> {
    let begun = Instant::now();
    loop {
        // Another process may take the port before the server does; it then ends, and another port is tried.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = spawn(cores, &arguments(&address.port().to_string()), Stdio::null(), Stdio::null())?;
        let mut server = Server { kind, address, child };
        while server.child.try_wait()?.is_none() {
            if TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            if begun.elapsed() > START_TIMEOUT {
                bail!("{} does not listen on {address} within {START_TIMEOUT:?}", kind.name());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        if begun.elapsed() > START_TIMEOUT {
            bail!("{} ends instead of listening on {address}", kind.name());
        }
    }
}

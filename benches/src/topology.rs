//! How long a change of the cluster's members takes to be known, and what a ring costs.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use larder_protocol::limits::FRAME_BYTES_MAX;
use larder_protocol::native::{PROTOCOL, decode_response, encode_request, frame};
use larder_protocol::{Command, NodeAlteration, Request, Status};
use larder_ring::{Node, Topology};
use larder_testkit::{Etcd, Server};
use serde::Serialize;

use crate::peers::measure::median;

/// Longest wait for an answer, and for a change to be known.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing is changed before a change, so that each is one by itself.
const PAUSE: Duration = Duration::from_millis(50);
/// Builds of a ring.
const BUILDS: usize = 21;
/// Look-ups of a sample, samples, and keys that they are for.
const LOOKUPS: usize = 4 << 20;
const SAMPLES: usize = 9;
const HASHES: usize = 1 << 16;
/// Points of a node of weight 1.
const POINTS: u32 = 1024;

/// What a ring of so many nodes costs one thread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RingCost {
    /// How many nodes of weight 1 it has.
    pub nodes: usize,
    /// Building it, in ms.
    pub build_ms: f64,
    /// Finding the node and the shard of a hash, in ns.
    pub lookup_ns: f64,
}

/// How long changes took from etcd to all shards of all nodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Nodes, each a process of its own.
    pub nodes: usize,
    /// Shards of each.
    pub shards: u16,
    /// How many changes.
    pub events: usize,
    /// From the moment before a node was asked to write the change until the last shard went by it, in ms: etcd writes it to
    /// its disk meanwhile.
    pub from_asking_ms: Quantiles,
    /// The same from the answer, which comes when etcd has written it.
    pub from_answer_ms: Quantiles,
}

/// Of many times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half of them were no longer.
    pub median: f64,
    /// The longest.
    pub max: f64,
}

/// Medians for a ring of so many nodes.
///
/// # Errors
/// More nodes than a ring may have.
pub fn ring_cost(nodes: usize) -> Result<RingCost> {
    let node = |number: usize| Node {
        id: format!("node-{number}"),
        address: format!("10.{}.{}.{}:7400", number >> 16, number >> 8 & 255, number & 255),
        shards: 16,
        points: POINTS,
        incarnation: 1,
    };
    let members: Vec<Node> = (0..nodes).map(node).collect();
    let mut builds = Vec::with_capacity(BUILDS);
    for seed in 0..BUILDS as u64 {
        let members = members.clone();
        let begun = Instant::now();
        black_box(Topology::new(seed, 1, members)?);
        builds.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let topology = Topology::new(0, 1, members)?;
    let mut random = fastrand::Rng::with_seed(1);
    let hashes: Vec<u64> = (0..HASHES).map(|_| random.u64(..)).collect();
    let sample = || {
        let begun = Instant::now();
        let found = (0..LOOKUPS).fold(0_u32, |sum, at| {
            let place = topology.place(hashes[at % HASHES]);
            sum.wrapping_add(u32::from(place.node.0) ^ u32::from(place.shard))
        });
        black_box(found);
        begun.elapsed().as_nanos() as f64 / LOOKUPS as f64
    };
    Ok(RingCost { nodes, build_ms: median(builds), lookup_ns: median((0..SAMPLES).map(|_| sample()).collect()) })
}

/// Starts etcd and nodes, and changes the weight of one of them again and again.
///
/// # Errors
/// A connection that ends, or a change that is not known in time.
///
/// # Panics
/// If etcd or a node does not start.
pub fn spread(larder: &Path, nodes: usize, shards: u16, events: usize) -> Result<Spread> {
    ensure!(events > 0, "no events, no times");
    let etcd = Etcd::start();
    let endpoints = etcd.endpoints();
    let start = |number: usize| {
        let (id, shards) = (format!("node-{number}"), shards.to_string());
        let flags = ["--etcd", &endpoints, "--node-id", &id, "--shards", &shards, "--memory", "64MiB"];
        Server::start_binary(larder.to_owned(), &flags)
    };
    let servers: Vec<Server> = (0..nodes).map(start).collect();
    let mut watched = Vec::new();
    for server in &servers {
        for shard in 0..shards {
            watched.push(Shard::connect(server.address(), shard)?);
        }
    }
    let (mut from_asking, mut from_answer) = (Vec::new(), Vec::new());
    for event in 0..events {
        std::thread::sleep(PAUSE);
        let before = watched.iter_mut().map(Shard::epoch).collect::<Result<Vec<u64>>>()?.into_iter().max();
        let weight = if event % 2 == 0 { "1.25" } else { "1" };
        let alteration = NodeAlteration { node: "node-0", weight: Some(weight), drain: None };
        let asked = Instant::now();
        watched[0].ask(Command::AlterNode(alteration))?;
        let answered = Instant::now();
        wait(&mut watched, before.unwrap_or(0) + 1)?;
        from_asking.push(asked.elapsed());
        from_answer.push(answered.elapsed());
    }
    let [from_asking_ms, from_answer_ms] = [from_asking, from_answer].map(Quantiles::of);
    Ok(Spread { nodes, shards, events, from_asking_ms, from_answer_ms })
}

/// Asks the shards that do not go by an epoch yet, in turn, until all do.
fn wait(shards: &mut [Shard], epoch: u64) -> Result<()> {
    let begun = Instant::now();
    for shard in shards {
        while shard.epoch()? < epoch {
            ensure!(begun.elapsed() < PATIENCE, "epoch {epoch} is not known after {PATIENCE:?}");
        }
    }
    Ok(())
}

impl Quantiles {
    fn of(times: Vec<Duration>) -> Self {
        let ms: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        Self { max: ms.iter().copied().fold(0.0, f64::max), median: median(ms) }
    }
}

/// A connection that is answered by one shard.
#[derive(Debug)]
struct Shard {
    stream: TcpStream,
    next_id: u64,
}

impl Shard {
    fn connect(address: SocketAddr, shard: u16) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut connection = Self { stream, next_id: 1 };
        let shard = Some(u32::from(shard));
        connection.ask(Command::Hello { client: "topology", protocol: PROTOCOL, credentials: b"", shard })?;
        Ok(connection)
    }

    /// The epoch that it goes by.
    fn epoch(&mut self) -> Result<u64> {
        self.ask(Command::Ping)
    }

    /// Asks, and returns the epoch with which it is answered.
    fn ask(&mut self, command: Command<'_>) -> Result<u64> {
        let mut bytes = Vec::new();
        let request = Request { id: self.next_id, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command };
        self.next_id += 1;
        encode_request(&mut bytes, &request);
        self.stream.write_all(&bytes)?;
        let (mut input, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            if let Some(frame) = frame(&input, FRAME_BYTES_MAX)? {
                let response = decode_response(frame.message)?;
                ensure!(response.status == Status::Ok, "a node answers {:?}: {}", response.status, response.message);
                return Ok(response.epoch);
            }
            match self.stream.read(&mut buffer)? {
                0 => bail!("the server has closed a connection"),
                bytes => input.extend_from_slice(&buffer[..bytes]),
            }
        }
    }
}

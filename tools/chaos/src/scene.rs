//! The processes, what is done to them, and which errors that may cause.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use larder_client::Client;
use larder_testkit::{Etcd, Server};
use tokio::time::sleep;

use crate::load::{Error, Load, Report};

/// How long a node is in the ring that does not renew its registration.
pub const REGISTRATION_TTL: Duration = Duration::from_secs(2);
/// By then it is out of the ring, after it has ended.
const GONE: Duration = Duration::from_secs(3);
/// A machine that is busy with other things takes so many times as long.
const PATIENCE: u32 = 10;
/// How long a change of the ring may take to be known.
const SETTLE_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// A node, or the place where one was.
#[derive(Debug)]
struct Node {
    id: String,
    address: String,
    server: Option<Server>,
}

/// Errors that may occur.
#[derive(Clone, Debug)]
struct Allowance {
    from: Duration,
    until: Duration,
    /// At this node's keys alone.
    owner: String,
    /// Where it is: a client that learns of another ring while it asks says where it was last.
    address: String,
}

/// See the module.
#[derive(Debug)]
pub struct Scene {
    binary: PathBuf,
    etcd: Etcd,
    nodes: Vec<Node>,
    load: Load,
    allowances: Vec<Allowance>,
    /// Nodes that are in the ring.
    members: Vec<String>,
}

impl Scene {
    /// Starts etcd, so many nodes and so many clients.
    pub async fn begin(binary: PathBuf, nodes: usize, clients: usize, seed: u64) -> Scene {
        let etcd = Etcd::start();
        let mut started: Vec<Node> = (0..nodes).map(new_node).collect();
        for node in &mut started {
            node.server = Some(start(&binary, &etcd, node));
        }
        let addresses: Vec<String> = started.iter().map(|node| node.address.clone()).collect();
        let members: Vec<String> = started.iter().map(|node| node.id.clone()).collect();
        wait_for_ring(&addresses[0], &members).await;
        let load = Load::begin(&addresses, clients, seed).await;
        Scene { binary, etcd, nodes: started, load, allowances: Vec::new(), members }
    }

    /// How many nodes there are, running or not.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Whether a node runs.
    pub fn runs(&self, node: usize) -> bool {
        self.nodes[node].server.is_some()
    }

    /// Lets the clients ask for some time.
    pub async fn go_on(&self, time: Duration) {
        sleep(time).await;
    }

    /// A node more joins; no client may notice.
    pub async fn join(&mut self) {
        self.nodes.push(new_node(self.nodes.len()));
        self.start(self.nodes.len() - 1).await;
    }

    /// A node starts that has ended; no client may notice.
    pub async fn start(&mut self, node: usize) {
        let (binary, etcd) = (self.binary.clone(), &self.etcd);
        let started = start(&binary, etcd, &self.nodes[node]);
        self.nodes[node].server = Some(started);
        self.members.push(self.nodes[node].id.clone());
        self.told(node, "has joined").await;
    }

    /// A node is asked to end; no client may notice.
    pub async fn stop(&mut self, node: usize) {
        let server = self.nodes[node].server.take().expect("it runs");
        self.leaves(node);
        let begun = Instant::now();
        let ended = tokio::task::spawn_blocking(move || server.stop()).await.expect("it is waited for");
        assert!(ended.success(), "node {} ends with {ended}", self.nodes[node].id);
        self.say(&format!("node {} has stopped in {:?}", self.nodes[node].id, begun.elapsed()));
        self.told(node, "is out of the ring").await;
    }

    /// A node is killed; its keys are missed until its registration has run out.
    pub async fn kill(&mut self, node: usize) {
        let server = self.nodes[node].server.take().expect("it runs");
        let allowed = self.allow(node);
        server.signal("KILL");
        drop(server);
        self.leaves(node);
        self.told(node, "was killed and is out of the ring").await;
        self.end_allowance(allowed);
    }

    /// A node does nothing for longer than its registration lasts, and goes on as if nothing had been.
    pub async fn halt(&mut self, node: usize, time: Duration) {
        let allowed = self.allow(node);
        self.signal(node, "STOP");
        self.leaves(node);
        let begun = Instant::now();
        if time > GONE {
            self.told(node, "is halted and out of the ring").await;
        }
        sleep(time.saturating_sub(begun.elapsed())).await;
        self.signal(node, "CONT");
        self.members.push(self.nodes[node].id.clone());
        self.told(node, "goes on and is in the ring again").await;
        self.end_allowance(allowed);
    }

    /// etcd is away for some time; no client may notice.
    pub async fn without_etcd(&mut self, time: Duration, is_killed: bool) {
        self.say(&format!("etcd is {} for {time:?}", if is_killed { "killed" } else { "halted" }));
        if is_killed {
            self.etcd.kill(0);
        } else {
            self.etcd.signal(0, "STOP");
        }
        sleep(time).await;
        if is_killed {
            self.etcd.restart(0);
        } else {
            self.etcd.signal(0, "CONT");
        }
        sleep(REGISTRATION_TTL).await;
        self.settle().await;
        self.say("etcd is back, and all nodes are registered");
    }

    /// Ends it and checks what the clients saw.
    ///
    /// # Errors
    /// A promise that was broken, or an error that nothing explains.
    pub async fn end(self) -> Result<Report, String> {
        let Scene { load, allowances, nodes, etcd, .. } = self;
        let mut report = load.end().await;
        report.history.allow_repeats();
        drop((nodes, etcd));
        report.history.check().map_err(|violation| violation.to_string())?;
        let is_allowed = |error: &Error| {
            let covers = |allowance: &Allowance| {
                let is_there = allowance.owner == error.owner || error.text.contains(&allowance.address);
                is_there && allowance.from <= error.ended && error.began <= allowance.until
            };
            allowances.iter().any(covers)
        };
        match report.errors.iter().find(|error| !is_allowed(error)) {
            Some(error) => {
                Err(format!("no error was to be expected then, or there: {error:?}; allowed: {allowances:?}"))
            }
            None => Ok(report),
        }
    }

    /// Waits until the members of the ring are those that run.
    async fn settle(&self) {
        let asked = self.nodes.iter().find(|node| self.members.contains(&node.id)).expect("somebody runs");
        wait_for_ring(&asked.address, &self.members).await;
    }

    async fn told(&self, node: usize, what: &str) {
        let begun = Instant::now();
        self.settle().await;
        self.say(&format!("node {} {what}, which all know after {:?}", self.nodes[node].id, begun.elapsed()));
    }

    fn say(&self, what: &str) {
        println!("{:>7.2} s, {:>7} operations: {what}", self.load.elapsed().as_secs_f64(), self.load.operations());
    }

    fn signal(&self, node: usize, name: &str) {
        self.nodes[node].server.as_ref().expect("it runs").signal(name);
    }

    fn leaves(&mut self, node: usize) {
        let id = &self.nodes[node].id;
        self.members.retain(|member| member != id);
    }

    /// Errors at the keys of a node, from now on, for as long as it may take until others have them.
    fn allow(&mut self, node: usize) -> usize {
        let from = self.load.elapsed();
        let owner = self.nodes[node].id.clone();
        let address = self.nodes[node].address.clone();
        self.allowances.push(Allowance { from, until: from + GONE * PATIENCE, owner, address });
        self.allowances.len() - 1
    }

    /// Calls that begin later have no excuse.
    fn end_allowance(&mut self, allowance: usize) {
        self.allowances[allowance].until = self.load.elapsed();
    }
}

fn new_node(number: usize) -> Node {
    let id = char::from(b'a' + number as u8).to_string();
    Node { id, address: free_address(), server: None }
}

fn start(binary: &std::path::Path, etcd: &Etcd, node: &Node) -> Server {
    let ttl = format!("{}s", REGISTRATION_TTL.as_secs());
    let endpoints = etcd.endpoints();
    let flags = ["--etcd", &endpoints, "--node-id", &node.id, "--registration-ttl", &ttl, "--shards", "2"];
    let further = ["--memory", "64MiB", "--cores", "0"];
    Server::start_binary_on(&node.address, binary.to_owned(), &[&flags[..], &further[..]].concat())
}

/// An address that a node has to itself, also when it starts again.
fn free_address() -> String {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(any).expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

async fn wait_for_ring(address: &str, members: &[String]) {
    let mut expected = members.to_vec();
    expected.sort();
    let begun = Instant::now();
    let mut found = Vec::new();
    while begun.elapsed() < SETTLE_MAX {
        if let Ok(client) = Client::connect(address).await {
            found = client.topology().nodes().iter().map(|node| node.id.clone()).collect::<Vec<_>>();
            if found == expected {
                return;
            }
        }
        sleep(POLL).await;
    }
    panic!("after {SETTLE_MAX:?} the ring at {address} has {found:?}, and not {expected:?}");
}

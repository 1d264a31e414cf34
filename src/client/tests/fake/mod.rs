// A server for the tests of the client: a map behind the protocol's own codec, with faults by script. It keeps no time:
// an entry says the time to live that it was given, and stays.
//
// It is a module of the integration tests, and the doctests include it as text; hence no inner comments.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder_protocol::native::generated::{self as pb, Group, GroupStats, HelloResult, Limits, StatsResult};
use larder_protocol::native::{self, RequestLimits, Scratch};
use larder_protocol::{
    Command, Condition, Entries, Expiry, Failure, Found, GroupAlteration, Members, Outcomes, RemovalReason, Removals,
    RemovedSpan, Reply, Request, ScanStep, Span, Status, Value, Write,
};
use larder_ring::{Node, Topology, group_hash};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

/// What a script is told of a request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Counted from 0 over the life of the server; Hello does not count.
    pub(crate) number: u64,
    pub(crate) operation: &'static str,
    pub(crate) key: Vec<u8>,
    /// Keys in the request.
    pub(crate) keys: usize,
    pub(crate) timeout_ms: u32,
    /// The shard that the Hello of its connection asked for.
    pub(crate) shard: Option<u32>,
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Answer,
    AnswerAfter(Duration),
    AnswerTwice,
    /// Executed, and never answered.
    Swallow,
    /// Not executed.
    Refuse(Failure),
    /// Executed, and the connection closed instead of an answer.
    ExecuteAndDisconnect,
    Disconnect,
    /// These bytes instead of an answer.
    Raw(Vec<u8>),
    /// In a get_many, all keys but the first are `TOO_LARGE`; in any batch, keys with this status.
    KeysRefused(Status),
}

type Script = Box<dyn FnMut(&Seen) -> Action + Send>;

/// What the server says of itself.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) topology: Arc<Topology>,
    pub(crate) node: String,
    pub(crate) protocol: u32,
    pub(crate) hello: Status,
    /// What becomes of a connection that asks for a shard.
    pub(crate) shards: Shards,
}

/// See [`Settings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shards {
    /// It gets it, if there is such a shard; else it is refused.
    Given,
    /// Shard 0 serves all.
    Ignored,
    /// The connection is closed if it asks for this one.
    Dead(u32),
}

impl Default for Settings {
    fn default() -> Self {
        let limits = Limits {
            key_bytes_max: 64 << 10,
            value_bytes_max: 8 << 20,
            frame_bytes_max: 16 << 20,
            keys_max: 16 << 10,
            pipeline_max: 4 << 10,
        };
        Settings {
            limits,
            topology: topology("n1", 1, 4),
            node: "n1".into(),
            protocol: 1,
            hello: Status::Ok,
            shards: Shards::Given,
        }
    }
}

/// A ring of one node.
pub(crate) fn topology(node: &str, epoch: u64, shards: u16) -> Arc<Topology> {
    let node = Node { id: node.into(), address: "10.255.255.1:1".into(), shards, points: 1024, incarnation: 7 };
    Arc::new(Topology::new(0, epoch, vec![node]).expect("one node makes a ring"))
}

pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

pub(crate) struct Shared {
    settings: Mutex<Settings>,
    script: Mutex<Script>,
    entries: Mutex<HashMap<(u64, Vec<u8>), Stored>>,
    connections: Mutex<JoinSet<()>>,
    pub(crate) requests: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) executed: AtomicU64,
    pub(crate) topology_queries: AtomicU64,
    /// What the Hellos asked for, in their order.
    pub(crate) asked: Mutex<Vec<Option<u32>>>,
}

#[derive(Clone, Debug, Default)]
struct Stored {
    value: Vec<u8>,
    flags: u32,
    version: u64,
    ttl_ms: u64,
}

impl Server {
    /// Answers everything, on a port of its own.
    pub(crate) async fn start() -> Server {
        Self::start_with(Settings::default(), |_| Action::Answer).await
    }

    pub(crate) async fn start_with(settings: Settings, script: impl FnMut(&Seen) -> Action + Send + 'static) -> Server {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), settings, script).await
    }

    pub(crate) async fn start_at(
        address: SocketAddr,
        settings: Settings,
        script: impl FnMut(&Seen) -> Action + Send + 'static,
    ) -> Server {
        let listener = TcpListener::bind(address).await.expect("a port to listen on");
        let address = listener.local_addr().expect("the address that was bound");
        let shared = Arc::new(Shared {
            settings: Mutex::new(settings),
            script: Mutex::new(Box::new(script)),
            entries: Mutex::default(),
            connections: Mutex::default(),
            requests: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            executed: AtomicU64::new(0),
            topology_queries: AtomicU64::new(0),
            asked: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Server { address, shared, task }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn socket_address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn set_script(&self, script: impl FnMut(&Seen) -> Action + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.settings.lock().unwrap());
    }

    /// Closes all connections, and goes on accepting.
    pub(crate) fn disconnect_all(&self) {
        self.shared.connections.lock().unwrap().abort_all();
    }

    pub(crate) fn open_connections(&self) -> usize {
        let mut connections = self.shared.connections.lock().unwrap();
        while connections.try_join_next().is_some() {}
        connections.len()
    }

    /// Closes everything; the port is free when this returns.
    pub(crate) async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        let mut connections = std::mem::take(&mut *self.shared.connections.lock().unwrap());
        connections.shutdown().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        self.disconnect_all();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.expect("accepting works");
        stream.set_nodelay(true).expect("an option of TCP");
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        let serve = serve(stream, shared.clone());
        shared.connections.lock().unwrap().spawn(serve);
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let (read_half, write_half) = stream.into_split();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::select! {
        () = read(read_half, &shared, sender) => {}
        () = write(write_half, receiver) => {}
    }
}

async fn write(mut socket: OwnedWriteHalf, mut frames: mpsc::UnboundedReceiver<Vec<u8>>) {
    let mut waiting = Vec::new();
    while frames.recv_many(&mut waiting, 1024).await > 0 {
        let bytes = waiting.concat();
        waiting.clear();
        if socket.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Ends when the connection is to be closed.
async fn read(mut socket: OwnedReadHalf, shared: &Arc<Shared>, answers: mpsc::UnboundedSender<Vec<u8>>) {
    let mut scratch = Scratch::new(RequestLimits::default());
    let mut buffer = Vec::new();
    let mut shard = None;
    loop {
        buffer.reserve(64 << 10);
        match socket.read_buf(&mut buffer).await {
            Ok(1..) => shared.reads.fetch_add(1, Ordering::Relaxed),
            _ => return,
        };
        let mut begin = 0;
        while let Some(frame) = native::frame(&buffer[begin..], 1 << 30).expect("the client sends whole frames") {
            let request = native::decode_request(frame.message, &mut scratch).expect("the client sends requests");
            if !shared.take(&request, &mut shard, &answers) {
                // What was answered before leaves first.
                tokio::time::sleep(Duration::from_millis(5)).await;
                return;
            }
            begin += frame.consumed;
        }
        buffer.drain(..begin);
    }
}

impl Shared {
    /// `false`: the connection is to be closed.
    fn take(
        self: &Arc<Self>,
        request: &Request<'_>,
        shard: &mut Option<u32>,
        answers: &mpsc::UnboundedSender<Vec<u8>>,
    ) -> bool {
        let id = request.id;
        if let Command::Hello { shard: asked, .. } = request.command {
            *shard = asked;
            self.asked.lock().unwrap().push(asked);
            if let (Shards::Dead(dead), Some(asked)) = (self.settings.lock().unwrap().shards, asked)
                && dead == asked
            {
                return false;
            }
            let _ = answers.send(self.hello(id, asked));
            return true;
        }
        let (operation, key, keys) = describe(&request.command);
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let seen = Seen { number, operation, key: key.to_vec(), keys, timeout_ms: request.timeout_ms, shard: *shard };
        let action = (self.script.lock().unwrap())(&seen);
        let send = |frame: Vec<u8>| drop(answers.send(frame));
        match action {
            Action::Answer => send(self.execute(request, None)),
            Action::AnswerAfter(delay) => {
                let (frame, answers) = (self.execute(request, None), answers.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _ = answers.send(frame);
                });
            }
            Action::AnswerTwice => {
                let frame = self.execute(request, None);
                send(frame.clone());
                send(frame);
            }
            Action::Swallow => drop(self.execute(request, None)),
            Action::Refuse(failure) => send(self.answer(id, &Reply::Failed(&failure))),
            Action::ExecuteAndDisconnect => {
                self.execute(request, None);
                return false;
            }
            Action::Disconnect => return false,
            Action::Raw(bytes) => send(bytes),
            Action::KeysRefused(status) => send(self.execute(request, Some(status))),
        }
        true
    }

    fn hello(&self, id: u64, asked: Option<u32>) -> Vec<u8> {
        let settings = self.settings.lock().unwrap().clone();
        let mut out = Vec::new();
        if settings.hello != Status::Ok {
            let failure = Failure::new(settings.hello, "the script says so");
            native::encode_response(&mut out, id, settings.topology.epoch(), &Reply::Failed(&failure));
            return out;
        }
        let mut shard = asked.unwrap_or(0);
        if settings.shards == Shards::Ignored {
            shard = 0;
        } else if shard >= settings.topology.nodes().iter().map(|node| node.shards.into()).max().unwrap_or(1) {
            let failure = Failure::new(Status::BadRequest, "there is no such shard");
            native::encode_response(&mut out, id, settings.topology.epoch(), &Reply::Failed(&failure));
            return out;
        }
        let group = |name: &str| Group { name: name.into(), hash: group_hash(name, settings.topology.cluster_seed()) };
        let hello = HelloResult {
            protocol: settings.protocol,
            server: "fake/1".into(),
            node: settings.node,
            shard,
            limits: Some(settings.limits),
            groups: vec![group("default"), group("scores")],
            topology: Some((&*settings.topology).into()),
        };
        native::encode_hello(&mut out, id, settings.topology.epoch(), &hello);
        out
    }

    fn answer(&self, id: u64, reply: &Reply<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        native::encode_response(&mut out, id, self.settings.lock().unwrap().topology.epoch(), reply);
        out
    }

    /// `but`: keys of a batch behind the first one get this status.
    fn execute(&self, request: &Request<'_>, but: Option<Status>) -> Vec<u8> {
        let (id, group) = (request.id, request.group);
        let settings = self.settings.lock().unwrap().clone();
        let known = ["default", "scores"].map(|name| group_hash(name, settings.topology.cluster_seed()));
        if group != 0 && !known.contains(&group) {
            return self.answer(id, &Reply::Failed(&Failure::new(Status::NoSuchGroup, "")));
        }
        self.executed.fetch_add(1, Ordering::Relaxed);
        let mut entries = self.entries.lock().unwrap();
        let at = |key: &[u8]| (group, key.to_vec());
        let refused = |index: usize| but.filter(|_| index > 0);
        match request.command {
            Command::Get { key } => match entries.get(&at(key)) {
                Some(stored) => self.answer(id, &Reply::Entry(stored.view())),
                None => self.answer(id, &Reply::Miss),
            },
            Command::GetMany { keys } => {
                let found = keys.iter().enumerate().map(|(index, key)| match refused(index) {
                    Some(status) => Err(status),
                    None => entries.get(&at(key)).cloned().ok_or(Status::NotFound),
                });
                self.answer(id, &Reply::Entries(&Many(found.collect())))
            }
            Command::Set(write) | Command::LeaseSet { write, .. } => match set(&mut entries, group, &write) {
                Ok(version) => self.answer(id, &Reply::Stored { version }),
                Err(status) => self.answer(id, &Reply::Failed(&Failure::new(status, ""))),
            },
            Command::SetMany { entries: writes } => {
                let outcomes = writes.iter().enumerate().map(|(index, write)| match refused(index) {
                    Some(status) => Err(status),
                    None => set(&mut entries, group, &write),
                });
                self.answer(id, &Reply::Outcomes(&Done(outcomes.collect())))
            }
            Command::Delete { key, version } => match entries.get(&at(key)) {
                Some(stored) if version == 0 || stored.version == version => {
                    entries.remove(&at(key));
                    self.answer(id, &Reply::Done)
                }
                Some(_) => self.answer(id, &Reply::Failed(&Failure::new(Status::VersionMismatch, ""))),
                None => self.answer(id, &Reply::Miss),
            },
            Command::DeleteMany { keys } => {
                let outcome = |key: &[u8]| entries.remove(&at(key)).map(|_| 0).ok_or(Status::NotFound);
                self.answer(id, &Reply::Outcomes(&Done(keys.iter().map(outcome).collect())))
            }
            Command::Touch { key, expiry, .. } => match entries.get_mut(&at(key)) {
                Some(stored) => {
                    stored.ttl_ms = ttl_ms(expiry);
                    self.answer(id, &Reply::Stored { version: stored.version })
                }
                None => self.answer(id, &Reply::Miss),
            },
            Command::GetAndTouch { key, expiry } => match entries.get_mut(&at(key)) {
                Some(stored) => {
                    stored.ttl_ms = ttl_ms(expiry);
                    self.answer(id, &Reply::Entry(stored.view()))
                }
                None => self.answer(id, &Reply::Miss),
            },
            Command::Increment { key, delta, initial, .. } => match (entries.get_mut(&at(key)), initial) {
                (Some(stored), _) => match std::str::from_utf8(&stored.value).ok().and_then(|text| text.parse().ok()) {
                    Some(number) => {
                        let number: i64 = number;
                        let Some(value) = number.checked_add(delta) else {
                            return self.answer(id, &Reply::Failed(&Failure::new(Status::OutOfRange, "")));
                        };
                        *stored =
                            Stored { value: value.to_string().into(), version: stored.version + 1, ..stored.clone() };
                        self.answer(id, &Reply::Number { value, version: stored.version })
                    }
                    None => self.answer(id, &Reply::Failed(&Failure::new(Status::NotANumber, ""))),
                },
                (None, Some(value)) => {
                    entries
                        .insert(at(key), Stored { value: value.to_string().into(), version: 1, ..Stored::default() });
                    self.answer(id, &Reply::Number { value, version: 1 })
                }
                (None, None) => self.answer(id, &Reply::Miss),
            },
            Command::Append { key, value } | Command::Prepend { key, value } => match entries.get_mut(&at(key)) {
                Some(stored) => {
                    let before = matches!(request.command, Command::Prepend { .. });
                    stored.value =
                        if before { [value, &stored.value].concat() } else { [&stored.value, value].concat() };
                    stored.version += 1;
                    self.answer(id, &Reply::Stored { version: stored.version })
                }
                None => self.answer(id, &Reply::Miss),
            },
            Command::Invalidate => {
                entries.retain(|(of, _), _| *of != group);
                self.answer(id, &Reply::Invalidated { generation: 1 })
            }
            Command::Stats => {
                let groups =
                    vec![GroupStats { name: "default".into(), entries: entries.len() as u64, ..Default::default() }];
                self.answer(id, &Reply::Stats(&StatsResult { node: settings.node, groups, ..Default::default() }))
            }
            Command::Topology => {
                self.topology_queries.fetch_add(1, Ordering::Relaxed);
                let (topology, joining, draining) = (&*settings.topology, &[][..], &[][..]);
                self.answer(id, &Reply::Topology(Members { topology, joining, draining }))
            }
            Command::Scan(step) => {
                let mut keys: Vec<_> = entries.keys().filter(|(of, _)| *of == group).map(|(_, key)| key).collect();
                self.answer(id, &Reply::Scan(&page(&mut keys, &step)))
            }
            Command::AlterGroup(GroupAlteration { name, settings: given, .. }) => {
                let changes = vec![pb::GroupChange { name: name.into(), ..Default::default() }];
                let (is_kept, groups) = (false, given.into());
                self.answer(id, &Reply::Altered(&pb::AlteredGroup { node: settings.node, changes, is_kept, groups }))
            }
            Command::AlterNode(_) => self.answer(id, &Reply::Done),
            Command::Ping => self.answer(id, &Reply::Pong { acknowledged: 1, version: 1, clock_ms: 1 }),
            Command::Watch => {
                let key = b"user:17";
                let place = Span { start: 0, len: key.len() as u32 };
                let evicted = RemovedSpan { key: place, reason: RemovalReason::Evicted, bytes: 10 };
                let begun = self.answer(id, &Reply::Removals(Removals::new(&[], &[], 0)));
                [begun, self.answer(id, &Reply::Removals(Removals::new(key, &[evicted], 3)))].concat()
            }
            Command::LeaseGet { key, lease_ms } => match entries.get(&at(key)) {
                Some(stored) => self.answer(id, &Reply::Entry(stored.view())),
                None => self.answer(id, &Reply::Leased { token: 1, lease_ms: lease_ms.max(1000) }),
            },
            // Hello, and what the client never asks for.
            _ => self.answer(id, &Reply::Failed(&Failure::new(Status::NotSupported, "not offered"))),
        }
    }
}

// Text too, for the same reason.
include!("entries.rs");

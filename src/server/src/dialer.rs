//! Connections to other nodes, made for the shards on the sidecar's thread: names are looked up, others are waited for
//! and Hello is said here, and a shard gets a socket that is ready for requests.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use larder_membership::{Order, Source};
use larder_protocol::limits::{FRAME_BYTES_MAX, FRAME_PREFIX_BYTES};
use larder_protocol::native::generated::HelloResult;
use larder_protocol::native::{Body, PROTOCOL, decode_response, encode_request};
use larder_protocol::{Command, Request, Status};
use larder_ring::Topology;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::limits::{CONTROL_RETRY_MS, DIAL_TIMEOUT_MS, DIALS_AT_ONCE_MAX, DIALS_WAITING_MAX};
use crate::shard::{Control, ControlLane, Dial, Target};

/// How a shard asks for connections.
#[derive(Clone, Debug)]
pub struct Dials {
    shard: u16,
    wanted: mpsc::Sender<(u16, Dial)>,
}

impl Dials {
    /// All that is asked for fails.
    #[cfg(test)]
    pub(crate) fn to_nobody() -> Self {
        let (wanted, _) = mpsc::channel(1);
        Self { shard: 0, wanted }
    }

    /// Asks for a connection; false if [`DIALS_WAITING_MAX`] others wait to be made.
    pub fn ask(&self, dial: Dial) -> bool {
        self.wanted.try_send((self.shard, dial)).is_ok()
    }
}

/// Why there is no connection to a node.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("{0}")]
    Network(#[from] io::Error),
    #[error("no answer to Hello within {DIAL_TIMEOUT_MS} ms")]
    TimeOut,
    #[error("it does not speak the native protocol: {0}")]
    Protocol(String),
    #[error("it answers Hello with {status:?}: {message}")]
    Refused { status: Status, message: String },
    #[error("node {found:?} answers there: correct its address, or the name that it was given")]
    OtherNode { found: String },
    #[error("it has started anew, and is not known by that incarnation yet")]
    OtherIncarnation,
    #[error(
        "it has another ring of epoch {epoch} (digest {theirs:#018x}, here {ours:#018x}): give all nodes the same list \
         of peers, with the same weights, and the same seed"
    )]
    OtherRing { epoch: u64, theirs: u64, ours: u64 },
}

/// A connection that was made, with what the node says about itself; or why it was not.
struct Dialed {
    shard: u16,
    dial: Dial,
    outcome: Result<(OwnedFd, HelloResult), DialError>,
}

/// Where the dialer knows the ring from.
#[derive(Debug)]
pub enum Known {
    /// It does not change, but for how many shards others have, which they say when they are reached.
    Fixed(Source),
    /// It changes; the agent that follows that is told who is reached.
    Changing(watch::Receiver<Arc<Topology>>, mpsc::Sender<Order>),
}

impl Known {
    fn current(&self) -> Arc<Topology> {
        match self {
            Known::Fixed(source) => source.current(),
            Known::Changing(topology, _) => Arc::clone(&topology.borrow()),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Dialer {
    known: Known,
    lanes: Vec<Arc<ControlLane>>,
    wanted: mpsc::Receiver<(u16, Dial)>,
    /// What this node calls itself.
    name: String,
    /// Nodes that were reported and are not reached since.
    reported: BTreeSet<String>,
}

impl Dialer {
    /// Makes connections for the shards that have these control lanes; with what those shards ask with.
    pub fn new(name: String, known: Known, lanes: Vec<Arc<ControlLane>>) -> (Self, Vec<Dials>) {
        let (sender, wanted) = mpsc::channel(DIALS_WAITING_MAX);
        let dials = (0..lanes.len() as u16).map(|shard| Dials { shard, wanted: sender.clone() }).collect();
        (Self { known, lanes, wanted, name, reported: BTreeSet::new() }, dials)
    }

    /// Makes connections until the sidecar ends.
    pub async fn run(mut self) -> Infallible {
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                Some((shard, dial)) = self.wanted.recv(), if under_way.len() < DIALS_AT_ONCE_MAX => {
                    let (name, topology) = (self.name.clone(), self.known.current());
                    under_way.spawn(async move {
                        let limit = Duration::from_millis(DIAL_TIMEOUT_MS);
                        let outcome = timeout(limit, connect(&name, &dial.target, &topology)).await;
                        Dialed { shard, dial, outcome: outcome.unwrap_or(Err(DialError::TimeOut)) }
                    });
                }
                Some(dialed) = under_way.join_next() => {
                    self.hand_over(dialed.expect("no dial panics, and none is aborted")).await;
                }
                // Both are empty and the shards are gone: the server is ending.
                else => std::future::pending::<()>().await,
            }
        }
    }

    async fn hand_over(&mut self, Dialed { shard, dial, outcome }: Dialed) {
        self.report(&dial.target, outcome.as_ref().err());
        let socket = match outcome {
            Ok((socket, hello)) => {
                if let Known::Fixed(source) = &mut self.known
                    && let Some(topology) = source.heard(&dial.target.node_id, shards_of(&hello))
                {
                    for lane in &self.lanes {
                        give(lane, Control::Topology(Arc::clone(&topology))).await;
                    }
                }
                Some(socket)
            }
            Err(_) => None,
        };
        give(&self.lanes[usize::from(shard)], Control::Linked { link: dial.link, socket }).await;
    }

    /// Says once that a node is not reached, and once that it is again.
    fn report(&mut self, target: &Target, error: Option<&DialError>) {
        let Target { node_id, address, .. } = target;
        let was_reached = !self.reported.contains(node_id);
        if let Known::Changing(_, orders) = &self.known
            && was_reached != error.is_none()
        {
            // With no room it is said the next time, and matters to a choice between two that are both right.
            let _ = orders.try_send(Order::Reached { node: node_id.clone(), is_reached: error.is_none() });
        }
        match error {
            Some(error) if self.reported.insert(node_id.clone()) => crate::log::line(format_args!(
                "node {node_id} cannot be reached at {address}, its keys are unavailable here until it is (said once): \
                 {error}"
            )),
            None if self.reported.remove(node_id) => {
                crate::log::line(format_args!("node {node_id} is reached at {address}"));
            }
            _ => {}
        }
    }
}

/// Gives an order when there is room for it: the shard follows them at every turn. If it does not live any more, the
/// process is ending, and this with it.
pub(crate) async fn give(lane: &ControlLane, mut control: Control) {
    while let Err(back) = lane.send(control) {
        control = back;
        sleep(Duration::from_millis(CONTROL_RETRY_MS)).await;
    }
}

/// How many shards a node says it has.
fn shards_of(hello: &HelloResult) -> u32 {
    let nodes = hello.topology.as_ref().map_or(&[][..], |topology| &topology.nodes);
    nodes.iter().find(|node| node.id == hello.node).map_or(1, |node| node.shards)
}

/// Connects and says Hello.
async fn connect(name: &str, target: &Target, topology: &Topology) -> Result<(OwnedFd, HelloResult), DialError> {
    let mut stream = open(&target.address).await?;
    let mut hello = greet(&mut stream, name, Some(target.shard)).await;
    if matches!(hello, Err(DialError::Refused { status: Status::BadRequest, .. })) {
        // Started anew with fewer shards, it has no such one; any of them passes on what it is asked.
        hello = greet(&mut stream, name, None).await;
    }
    let hello = hello?;
    check(&hello, target, topology)?;
    Ok((stream.into_std()?.into(), hello))
}

/// Every address that the name has, until one answers.
async fn open(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for resolved in lookup_host(address).await? {
        match TcpStream::connect(resolved).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Says Hello and reads the answer, and not a byte more.
async fn greet(stream: &mut TcpStream, name: &str, shard: Option<u16>) -> Result<HelloResult, DialError> {
    let shard = shard.map(u32::from);
    let command = Command::Hello { client: name, protocol: PROTOCOL, credentials: b"", shard };
    let mut bytes = Vec::new();
    let timeout_ms = DIAL_TIMEOUT_MS as u32;
    encode_request(&mut bytes, &Request { id: 0, epoch: 0, group: 0, timeout_ms, forwarded: false, command });
    stream.write_all(&bytes).await?;
    let mut prefix = [0; FRAME_PREFIX_BYTES];
    stream.read_exact(&mut prefix).await?;
    let length = u32::from_be_bytes(prefix) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(DialError::Protocol(format!("its answer claims {length} bytes")));
    }
    // Grows with what comes, whatever is claimed.
    let mut message = Vec::new();
    stream.take(length as u64).read_to_end(&mut message).await?;
    let response = decode_response(&message).map_err(|error| DialError::Protocol(error.to_string()))?;
    match response.body {
        Body::Hello(hello) if response.status == Status::Ok => Ok(*hello),
        _ if response.status != Status::Ok => {
            Err(DialError::Refused { status: response.status, message: response.message.to_string() })
        }
        _ => Err(DialError::Protocol("it answers Hello with something else".into())),
    }
}

/// Whether it is the node that is meant, in the ring that is meant.
fn check(hello: &HelloResult, target: &Target, topology: &Topology) -> Result<(), DialError> {
    if hello.node != target.node_id {
        return Err(DialError::OtherNode { found: hello.node.clone() });
    }
    let Some(theirs) = &hello.topology else {
        return Err(DialError::Protocol("its Hello has no topology".into()));
    };
    let (epoch, ours) = (topology.epoch(), topology.digest());
    if theirs.epoch == epoch && theirs.digest != ours {
        return Err(DialError::OtherRing { epoch, theirs: theirs.digest, ours });
    }
    let itself = theirs.nodes.iter().find(|node| node.id == hello.node);
    if target.incarnation != 0 && itself.is_some_and(|node| node.incarnation != target.incarnation) {
        return Err(DialError::OtherIncarnation);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use larder_protocol::Reply;
    use larder_protocol::native::generated::TopologyResult;
    use larder_protocol::native::{encode_hello, encode_response};
    use larder_ring::Node;
    use tokio::net::TcpListener;

    use super::*;

    fn topology(epoch: u64, points: u32) -> Topology {
        let node = |id: &str, points| {
            let (id, address) = (id.to_owned(), format!("{id}.example:7400"));
            Node { id, address, shards: 3, points, incarnation: 7 }
        };
        Topology::new(0, epoch, vec![node("here", 1024), node("there", points)]).expect("two nodes")
    }

    fn hello(node: &str, topology: &Topology) -> Vec<u8> {
        let (node, topology) = (node.to_owned(), Some(TopologyResult::from(topology)));
        let mut bytes = Vec::new();
        encode_hello(&mut bytes, 0, 1, &HelloResult { protocol: PROTOCOL, node, topology, ..HelloResult::default() });
        bytes
    }

    /// What comes of a dial to somebody who answers this.
    fn dialed(answer: Vec<u8>, incarnation: u64) -> Result<u32, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("it is bound").to_string();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.expect("somebody comes");
                stream.write_all(&answer).await.expect("it is read");
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
            let target = Target { node_id: "there".into(), address, incarnation, shard: 1 };
            let outcome = connect("a test", &target, &topology(1, 1024)).await;
            outcome.map(|(_, hello)| shards_of(&hello)).map_err(|error| error.to_string())
        })
    }

    #[test]
    fn the_node_that_is_meant_is_taken_and_says_how_many_shards_it_has() {
        assert_eq!(dialed(hello("there", &topology(1, 1024)), 7), Ok(3));
        assert_eq!(dialed(hello("there", &topology(2, 2048)), 0), Ok(3), "a ring of another time may be another");
    }

    #[test]
    fn all_others_are_refused_with_the_reason() {
        let mut refused = Vec::new();
        let failure = larder_protocol::Failure::new(Status::Unauthenticated, "who are you?");
        encode_response(&mut refused, 0, 1, &Reply::Failed(&failure));
        let mut miss = Vec::new();
        encode_response(&mut miss, 0, 1, &Reply::Miss);
        let cases = [
            (hello("stranger", &topology(1, 1024)), 0, "node \"stranger\" answers there"),
            (hello("there", &topology(1, 1024)), 8, "started anew"),
            (hello("there", &topology(1, 2048)), 0, "another ring of epoch 1"),
            (refused, 0, "Unauthenticated: who are you?"),
            (miss, 0, "NotFound"),
            (vec![0xff; 8], 0, "claims 4294967295 bytes"),
            (vec![0, 0, 0, 2, 0xff, 0xff], 0, "does not speak the native protocol"),
        ];
        for (answer, incarnation, expected) in cases {
            let error = dialed(answer, incarnation).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }
}

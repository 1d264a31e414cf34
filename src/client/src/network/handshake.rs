//! From an address to a connection that has said Hello.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use larder_protocol::limits::{FRAME_BYTES_MAX, FRAME_PREFIX_BYTES, VALUE_BYTES_MAX};
use larder_protocol::native::generated::{HelloResult, Limits as WireLimits};
use larder_protocol::{Command, Request, Status, native};
use larder_ring::Topology;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::error::Error;
use crate::limits::READ_BYTES;
use crate::network::answer::{Answer, Payload};
use crate::network::link::Link;
use crate::server::{Group, Limits};

/// The id of the one request of a handshake.
const HELLO_ID: u64 = 1;

/// How to connect.
#[derive(Clone, Debug)]
pub(crate) struct ConnectSettings {
    pub(crate) client_name: String,
    pub(crate) credentials: Vec<u8>,
    pub(crate) timeout: Duration,
    pub(crate) in_flight_max: usize,
    pub(crate) write_queue_bytes: usize,
}

/// What a server says of itself in Hello, checked.
#[derive(Clone, Debug)]
pub(crate) struct Greeting {
    pub(crate) server: String,
    pub(crate) node: String,
    /// The shard that serves the connection.
    pub(crate) shard: u16,
    pub(crate) limits: Limits,
    pub(crate) groups: Vec<Group>,
    pub(crate) topology: Arc<Topology>,
}

/// A connection whose pump has not been started.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) link: Arc<Link>,
    pub(crate) read_half: OwnedReadHalf,
    pub(crate) write_half: OwnedWriteHalf,
    /// What came behind the answer of Hello.
    pub(crate) unread: BytesMut,
}

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(crate) enum HandshakeError {
    /// Trying again may help.
    Transport(String),
    /// The server does not want this client.
    Refused { status: Status, reason: String },
    /// The other side does not speak the protocol.
    Protocol(String),
}

impl HandshakeError {
    /// As a caller sees it.
    pub(crate) fn at(&self, address: &str) -> Error {
        let address = address.to_owned();
        match self {
            HandshakeError::Transport(reason) => Error::Unreachable { address, reason: reason.clone() },
            HandshakeError::Refused { status, reason } => {
                Error::Refused { address, status: *status, reason: reason.clone() }
            }
            HandshakeError::Protocol(reason) => Error::Protocol { address, reason: reason.clone() },
        }
    }
}

/// Connects to `address` and says Hello, asking for `shard` if one is named. Which one it became, the greeting says.
pub(crate) async fn establish(
    address: &str,
    settings: &ConnectSettings,
    shard: Option<u16>,
) -> Result<Established, HandshakeError> {
    let limit = settings.timeout;
    match timeout(limit, connect_and_greet(address, settings, shard)).await {
        Ok(result) => result,
        Err(_) => Err(HandshakeError::Transport(format!("no answer to Hello within {} ms", limit.as_millis()))),
    }
}

async fn connect_and_greet(
    address: &str,
    settings: &ConnectSettings,
    shard: Option<u16>,
) -> Result<Established, HandshakeError> {
    let mut stream = open(address).await.map_err(|error| HandshakeError::Transport(error.to_string()))?;
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let mut answer = greet(&mut stream, &mut buffer, settings, shard).await?;
    if shard.is_some() && answer.status == Status::BadRequest {
        // Started anew with fewer shards, it has no such one; what it has, it says to a Hello without.
        answer = greet(&mut stream, &mut buffer, settings, None).await?;
    }
    let greeting = greeting(answer)?;
    let link = Link::new(address.to_owned(), greeting, settings.in_flight_max, settings.write_queue_bytes);
    let (read_half, write_half) = stream.into_split();
    Ok(Established { link: Arc::new(link), read_half, write_half, unread: buffer })
}

/// Says Hello once and reads the answer.
async fn greet(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    settings: &ConnectSettings,
    shard: Option<u16>,
) -> Result<Answer, HandshakeError> {
    let hello = Command::Hello {
        client: &settings.client_name,
        protocol: native::PROTOCOL,
        credentials: &settings.credentials,
        shard: shard.map(u32::from),
    };
    let timeout_ms = u32::try_from(settings.timeout.as_millis()).unwrap_or(u32::MAX);
    let request = Request { id: HELLO_ID, epoch: 0, group: 0, timeout_ms, forwarded: false, command: hello };
    let mut frame = Vec::new();
    native::encode_request(&mut frame, &request);
    let lost = |error: io::Error| HandshakeError::Transport(format!("the connection broke during Hello: {error}"));
    stream.write_all(&frame).await.map_err(lost)?;
    loop {
        if let Some(answer) = take_answer(buffer)? {
            return Ok(answer);
        }
        buffer.reserve(READ_BYTES);
        if stream.read_buf(buffer).await.map_err(lost)? == 0 {
            return Err(HandshakeError::Transport("the server closed the connection before it answered Hello".into()));
        }
    }
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

fn take_answer(buffer: &mut BytesMut) -> Result<Option<Answer>, HandshakeError> {
    let not_ours = |reason: &str| HandshakeError::Protocol(format!("its first bytes are no answer to Hello: {reason}"));
    let consumed = match native::frame(buffer, FRAME_BYTES_MAX) {
        Ok(Some(frame)) => frame.consumed,
        Ok(None) => return Ok(None),
        Err(error) => return Err(not_ours(&error.to_string())),
    };
    let chunk = buffer.split_to(consumed).freeze();
    let (id, answer) = Answer::decode(&chunk, &chunk[FRAME_PREFIX_BYTES..]).map_err(not_ours)?;
    // Id 0: the server could not even read the request.
    if id == HELLO_ID || id == 0 { Ok(Some(answer)) } else { Err(not_ours("it has another id")) }
}

fn greeting(answer: Answer) -> Result<Greeting, HandshakeError> {
    let hello = match answer.payload {
        Payload::Hello(hello) if answer.status == Status::Ok => *hello,
        _ if answer.status == Status::Ok => {
            return Err(HandshakeError::Protocol("it answered Hello with something else".into()));
        }
        _ if crate::policies::is_not_executed(answer.status) => {
            return Err(HandshakeError::Transport(format!("{:?}: {}", answer.status, answer.message)));
        }
        _ => return Err(HandshakeError::Refused { status: answer.status, reason: answer.message }),
    };
    checked(hello).map_err(HandshakeError::Protocol)
}

/// A Hello that makes sense.
fn checked(hello: HelloResult) -> Result<Greeting, String> {
    if hello.protocol != native::PROTOCOL {
        return Err(format!("it speaks version {}, and this client version {}", hello.protocol, native::PROTOCOL));
    }
    let limits = checked_limits(&hello.limits.unwrap_or_default())?;
    let topology = hello.topology.ok_or("its Hello has no topology")?;
    let topology = Topology::try_from(&topology).map_err(|error| format!("its topology is refused: {error}"))?;
    let groups = hello.groups.into_iter().map(|group| Group { name: group.name, hash: group.hash }).collect();
    let shard = u16::try_from(hello.shard).map_err(|_| format!("its Hello names shard {}", hello.shard))?;
    Ok(Greeting { server: hello.server, node: hello.node, shard, limits, groups, topology: Arc::new(topology) })
}

fn checked_limits(wire: &WireLimits) -> Result<Limits, String> {
    let bounded = |name: &str, value: u64, max: usize| match usize::try_from(value) {
        Ok(0) => Err(format!("its limit {name} is 0")),
        Ok(value) => Ok(value.min(max)),
        Err(_) => Ok(max),
    };
    Ok(Limits {
        key_bytes_max: bounded("key_bytes_max", wire.key_bytes_max, larder_protocol::limits::KEY_BYTES_MAX)?,
        value_bytes_max: bounded("value_bytes_max", wire.value_bytes_max, VALUE_BYTES_MAX)?,
        frame_bytes_max: bounded("frame_bytes_max", wire.frame_bytes_max, FRAME_BYTES_MAX)?,
        keys_max: bounded("keys_max", wire.keys_max, larder_protocol::limits::KEYS_MAX)?,
        pipeline_max: bounded("pipeline_max", wire.pipeline_max, larder_protocol::limits::PIPELINE_MAX)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> WireLimits {
        WireLimits { key_bytes_max: 1, value_bytes_max: 2, frame_bytes_max: 3, keys_max: 4, pipeline_max: 5 }
    }

    #[test]
    fn limits_of_nothing_are_refused_and_huge_ones_are_cut() {
        let limits = checked_limits(&WireLimits { keys_max: u64::MAX, ..wire() }).unwrap();
        assert_eq!(limits.keys_max, larder_protocol::limits::KEYS_MAX);
        assert_eq!((limits.key_bytes_max, limits.pipeline_max), (1, 5));
        let refused = checked_limits(&WireLimits { pipeline_max: 0, ..wire() }).unwrap_err();
        assert!(refused.contains("pipeline_max"), "{refused}");
    }

    #[test]
    fn another_version_or_no_topology_is_no_greeting() {
        let hello = |protocol| HelloResult { protocol, limits: Some(wire()), ..HelloResult::default() };
        assert!(checked(hello(2)).unwrap_err().contains("version 2"));
        assert!(checked(hello(1)).unwrap_err().contains("topology"));
    }
}

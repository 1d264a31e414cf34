//! The native protocol as load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_protocol::limits::{FRAME_BYTES_MAX, FRAME_OVERHEAD_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use larder_protocol::native::generated::HelloResult;
use larder_protocol::native::{self, Body, EntriesView};
use larder_protocol::{Command, Request, Status};

use super::{Answer, AnswerBody, AnswerOf, LoadProtocol, Placement, ServerFacts, Values};
use crate::error::LoadError;
use crate::limits::CONNECT_TIMEOUT;

/// One connection's side of the native protocol.
#[derive(Clone, Debug)]
pub struct Native {
    group: u64,
    /// Each connection names a shard in its Hello.
    aware: Option<Aware>,
    /// Shard that was named in a Hello whose answer has not come.
    greeted: Option<u16>,
}

/// What the connections of a shard-aware run share.
#[derive(Clone, Debug)]
struct Aware {
    shards: u16,
    /// How many Hellos were answered by another shard than the one named.
    elsewhere: Arc<AtomicU64>,
}

/// Id of a Hello that opens a connection. Those of requests are far below.
const GREETING_ID: u32 = u32::MAX;
const CLIENT: &str = concat!("loadgen/", env!("CARGO_PKG_VERSION"));

impl Native {
    /// Requests for the group with this hash; 0: the default group.
    pub fn new(group: u64) -> Native {
        Native { group, aware: None, greeted: None }
    }

    /// Connections of this protocol name one of so many shards, by turns.
    pub fn name_shards(&mut self, shards: u16) {
        self.aware = Some(Aware { shards, elsewhere: Arc::default() });
    }

    /// How many connections are served by another shard than they wanted.
    pub fn elsewhere(&self) -> u64 {
        self.aware.as_ref().map_or(0, |aware| aware.elsewhere.load(Ordering::Relaxed))
    }

    /// The greeting's answer at the front of `bytes`: how many bytes it takes, and the shard that gave it.
    fn greeting(bytes: &[u8], wanted: u16) -> Result<Option<(usize, u32)>, String> {
        let Some(frame) = native::frame(bytes, FRAME_BYTES_MAX).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let response = native::decode_response(frame.message).map_err(|error| error.to_string())?;
        match response.body {
            Body::Hello(hello) if response.id == u64::from(GREETING_ID) => Ok(Some((frame.consumed, hello.shard))),
            _ => Err(format!(
                "a Hello for shard {wanted} is answered with {} {}",
                crate::stats::status_name(response.status),
                response.message
            )),
        }
    }
}

/// The values of an answered get_many.
#[derive(Clone, Copy, Debug)]
pub struct NativeValues<'a>(EntriesView<'a>);

impl<'a> Values<'a> for NativeValues<'a> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn iter(&self) -> impl Iterator<Item = Result<&'a [u8], Status>> {
        self.0.iter().map(|entry| entry.map(|entry| entry.value))
    }
}

impl LoadProtocol for Native {
    type Values<'a> = NativeValues<'a>;

    fn greet(&mut self, out: &mut Vec<u8>, connection: usize) {
        let Some(aware) = &self.aware else { return };
        let shard = (connection % usize::from(aware.shards)) as u16;
        self.greeted = Some(shard);
        self.encode(out, GREETING_ID, &hello(Some(shard)));
    }

    fn encode(&mut self, out: &mut Vec<u8>, id: u32, command: &Command<'_>) {
        let request = Request {
            id: u64::from(id),
            epoch: 0,
            group: self.group,
            timeout_ms: 0,
            forwarded: false,
            command: *command,
        };
        native::encode_request(out, &request);
    }

    fn decode<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Option<(AnswerOf<'a, Self>, usize)>, String> {
        let mut greeting_len = 0;
        if let Some(wanted) = self.greeted {
            let Some((len, served_by)) = Native::greeting(bytes, wanted)? else { return Ok(None) };
            // It goes together with the first answer behind it.
            if native::frame(&bytes[len..], FRAME_BYTES_MAX).map_err(|error| error.to_string())?.is_none() {
                return Ok(None);
            }
            greeting_len = len;
            self.greeted = None;
            if let Some(aware) = self.aware.as_ref().filter(|_| served_by != u32::from(wanted)) {
                aware.elsewhere.fetch_add(1, Ordering::Relaxed);
            }
        }
        let bytes = &bytes[greeting_len..];
        // Answers to a multi-get have no bound of their own but the frame's.
        let Some(frame) = native::frame(bytes, FRAME_BYTES_MAX).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let response = native::decode_response(frame.message).map_err(|error| error.to_string())?;
        let id = u32::try_from(response.id).map_err(|_| format!("an answer has the id {}, never sent", response.id))?;
        let body = match response.body {
            Body::Entry(entry) => AnswerBody::Value(entry.value),
            Body::Entries(entries) => AnswerBody::Values(NativeValues(entries)),
            _ => AnswerBody::None,
        };
        Ok(Some((
            Answer { id, status: response.status, message: response.message, body },
            greeting_len + frame.consumed,
        )))
    }
}

/// Asks the server at `address` who it is and what it accepts, and finds the group there.
///
/// # Errors
/// No server, or one that does not speak this version of the protocol or does not have the group.
pub fn connect(address: SocketAddr, group: &str) -> Result<(Native, ServerFacts), LoadError> {
    let refused = |error| LoadError::Connect { address, source: error };
    let mut socket = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).map_err(refused)?;
    socket.set_read_timeout(Some(CONNECT_TIMEOUT)).map_err(refused)?;
    socket.set_write_timeout(Some(CONNECT_TIMEOUT)).map_err(refused)?;
    let mut bytes = Vec::new();
    Native::new(0).encode(&mut bytes, 1, &hello(None));
    socket.write_all(&bytes).map_err(refused)?;
    let hello = read_hello(&mut socket, address)?;
    let hash = match (group, hello.groups.iter().find(|known| known.name == group)) {
        (_, Some(known)) => known.hash,
        (_, None) => {
            let known: Vec<&str> = hello.groups.iter().map(|known| known.name.as_str()).collect();
            return Err(LoadError::option("--group", group, format!("the server has {}", known.join(", "))));
        }
    };
    let limits = hello.limits.unwrap_or_default();
    let facts = ServerFacts {
        server: hello.server,
        key_bytes_max: limits.key_bytes_max.min(KEY_BYTES_MAX as u64),
        value_bytes_max: limits
            .value_bytes_max
            .min(VALUE_BYTES_MAX as u64)
            .min(limits.frame_bytes_max.saturating_sub((KEY_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX) as u64)),
        keys_max: limits.keys_max,
        pipeline_max: limits.pipeline_max,
        placement: hello.topology.filter(|topology| topology.nodes.len() == 1).and_then(|topology| {
            Some(Placement { group_hash: hash, shards: u16::try_from(topology.nodes[0].shards).ok()? })
        }),
    };
    Ok((Native::new(hash), facts))
}

fn hello(shard: Option<u16>) -> Command<'static> {
    Command::Hello { client: CLIENT, protocol: native::PROTOCOL, credentials: &[], shard: shard.map(u32::from) }
}

fn read_hello(socket: &mut TcpStream, address: SocketAddr) -> Result<HelloResult, LoadError> {
    let broken = |reason: String| LoadError::Protocol { address, reason };
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(frame) = native::frame(&bytes, FRAME_BYTES_MAX).map_err(|error| broken(error.to_string()))? {
            let response = native::decode_response(frame.message).map_err(|error| broken(error.to_string()))?;
            return match response.body {
                Body::Hello(hello) => Ok(*hello),
                _ if response.status != Status::Ok => Err(LoadError::Refused {
                    address,
                    reason: format!("{} {}", crate::stats::status_name(response.status), response.message),
                }),
                body => Err(broken(format!("it answers Hello with {body:?}"))),
            };
        }
        match socket.read(&mut chunk) {
            Ok(0) => return Err(broken("it closed the connection on Hello; is this the native port?".into())),
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
            Err(error) => return Err(broken(format!("no answer to Hello: {error}; is this the native port?"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use larder_protocol::Reply;

    use super::*;

    #[test]
    fn connections_name_shards_by_turns_and_count_who_answers() {
        for (connection, served_by, elsewhere) in [(0, 0, 0), (1, 1, 0), (3, 0, 1)] {
            let mut answers = Vec::new();
            let result = HelloResult { shard: served_by, ..HelloResult::default() };
            native::encode_hello(&mut answers, u64::from(GREETING_ID), 1, &result);
            native::encode_response(&mut answers, 1, 1, &Reply::Miss);
            for cut in 0..=answers.len() {
                let mut protocol = Native::new(0);
                protocol.name_shards(2);
                let mut out = Vec::new();
                protocol.greet(&mut out, connection);
                let frame = native::frame(&out, FRAME_BYTES_MAX).unwrap().unwrap();
                let mut scratch = native::Scratch::default();
                let request = native::decode_request(frame.message, &mut scratch).unwrap();
                let Command::Hello { shard, .. } = request.command else { panic!("{request:?} is no Hello") };
                assert_eq!(shard, Some(connection as u32 % 2));
                assert!(cut == answers.len() || protocol.decode(&answers[..cut]).unwrap().is_none());
                let (answer, len) = protocol.decode(&answers).unwrap().unwrap();
                assert_eq!((answer.id, answer.status, len), (1, Status::NotFound, answers.len()));
                assert_eq!(protocol.elsewhere(), elsewhere, "connection {connection}, cut at {cut}");
            }
        }
    }

    #[test]
    fn a_refused_greeting_is_named() {
        let mut protocol = Native::new(0);
        protocol.name_shards(2);
        protocol.greet(&mut Vec::new(), 1);
        let mut answers = Vec::new();
        native::encode_response(&mut answers, u64::from(GREETING_ID), 1, &Reply::Miss);
        native::encode_response(&mut answers, 1, 1, &Reply::Miss);
        let reason = protocol.decode(&answers).unwrap_err();
        assert!(reason.contains("Hello for shard 1"), "{reason}");
    }
}

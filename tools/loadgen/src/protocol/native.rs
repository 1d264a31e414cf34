//! The native protocol as load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use larder_protocol::limits::{FRAME_BYTES_MAX, FRAME_OVERHEAD_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use larder_protocol::native::generated::HelloResult;
use larder_protocol::native::{self, Body, EntriesView};
use larder_protocol::{Command, Request, Status};

use super::{Answer, AnswerBody, AnswerOf, LoadProtocol, ServerFacts, Values};
use crate::error::LoadError;
use crate::limits::CONNECT_TIMEOUT;

/// One connection's side of the native protocol.
#[derive(Clone, Copy, Debug)]
pub struct Native {
    group: u64,
}

impl Native {
    /// Requests for the group with this hash; 0: the default group.
    pub fn new(group: u64) -> Native {
        Native { group }
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
        Ok(Some((Answer { id, status: response.status, message: response.message, body }, frame.consumed)))
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
    let command = Command::Hello {
        client: concat!("loadgen/", env!("CARGO_PKG_VERSION")),
        protocol: native::PROTOCOL,
        credentials: &[],
        shard: None,
    };
    let mut bytes = Vec::new();
    Native::new(0).encode(&mut bytes, 1, &command);
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
    };
    Ok((Native::new(hash), facts))
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

//! The boundary between load and the bytes of a protocol. A load protocol is the client side of a dialect: bytes of
//! requests out, answers in. It does no I/O, and one value of it serves one connection, so a protocol without ids
//! (answers in order) keeps the ids of what it sent.

mod memcache;
mod native;
mod resp;
pub(crate) mod text;

use larder_protocol::{Command, Status};

use crate::workload::Operation;

pub use memcache::{Memcache, connect as connect_memcache};
pub use native::{Native, connect as connect_native};
pub use resp::{Resp, connect as connect_resp};

/// The load protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ProtocolName {
    /// The native protocol of Larder.
    Native,
    /// RESP2, as Redis speaks it: gets, sets and deletes.
    Resp,
    /// The text protocol of memcached: gets, sets and deletes.
    Memcache,
}

impl ProtocolName {
    /// Its name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            ProtocolName::Native => "native",
            ProtocolName::Resp => "resp",
            ProtocolName::Memcache => "memcache",
        }
    }

    /// Whether load with this protocol can have an operation.
    pub fn has(self, operation: Operation) -> bool {
        match self {
            ProtocolName::Native => true,
            ProtocolName::Resp | ProtocolName::Memcache => {
                matches!(operation, Operation::Get | Operation::Set | Operation::Delete)
            }
        }
    }
}

/// What is spoken on a connection.
pub trait LoadProtocol: Clone + Send {
    /// The values in an answer to a multi-get.
    type Values<'a>: Values<'a> + Copy
    where
        Self: 'a;

    /// Appends what opens a connection, before its first request. `connection` is its number in the run. An answer to
    /// it is not reported by [`LoadProtocol::decode`].
    fn greet(&mut self, _out: &mut Vec<u8>, _connection: usize) {}

    /// Appends one request.
    fn encode(&mut self, out: &mut Vec<u8>, id: u32, command: &Command<'_>);

    /// The first answer in `bytes` and how many bytes it takes; `None`: more bytes are needed.
    ///
    /// # Errors
    /// Why this is no answer, for a person. The connection is of no use any more.
    fn decode<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Option<(AnswerOf<'a, Self>, usize)>, String>;
}

/// Values of several keys, in the order asked.
pub trait Values<'a> {
    /// How many keys were answered.
    fn count(&self) -> usize;
    /// The value of each key, or why there is none ([`Status::NotFound`]: a miss).
    fn iter(&self) -> impl Iterator<Item = Result<&'a [u8], Status>>;
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a, V> {
    /// The id that the request was encoded with.
    pub id: u32,
    /// How it went.
    pub status: Status,
    /// What the server says about a failure.
    pub message: &'a str,
    /// The result.
    pub body: AnswerBody<'a, V>,
}

/// The result in an answer.
#[derive(Clone, Copy, Debug)]
pub enum AnswerBody<'a, V> {
    /// None that a load generator looks at.
    None,
    /// The value of one key.
    Value(&'a [u8]),
    /// The values of several keys.
    Values(V),
}

/// An answer as protocol `P` gives it.
pub type AnswerOf<'a, P> = Answer<'a, <P as LoadProtocol>::Values<'a>>;

/// What a server says about itself before the load starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its name and version.
    pub server: String,
    /// Longest key, in bytes.
    pub key_bytes_max: u64,
    /// Longest value, in bytes.
    pub value_bytes_max: u64,
    /// Most keys of a multi-get.
    pub keys_max: u64,
    /// Most requests of one connection that wait for an answer.
    pub pipeline_max: u64,
    /// How it deals keys to shards, if it is a single node that says so.
    pub placement: Option<Placement>,
}

/// How a single node deals keys to its shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// What the hash of keys starts from.
    pub group_hash: u64,
    /// How many shards there are.
    pub shards: u16,
}

#[cfg(test)]
mod tests {
    use larder_protocol::{Condition, Expiry, Keys, Span, Write};

    use super::*;

    /// Asks for one key, for two, writes and deletes, with the ids from 1 on.
    pub(super) fn ask_all(protocol: &mut impl LoadProtocol, out: &mut Vec<u8>, expiry: Expiry) {
        let spans = [Span { start: 0, len: 1 }, Span { start: 1, len: 2 }];
        let write = Write { key: b"a", value: b"\r\nx", flags: 0, condition: Condition::Always, expiry };
        let commands = [
            Command::Get { key: b"a" },
            Command::GetMany { keys: Keys::new(b"abb", &spans) },
            Command::Set(write),
            Command::Delete { key: b"a", version: 0 },
        ];
        for (id, command) in (1..).zip(&commands) {
            protocol.encode(out, id, command);
        }
    }

    /// What the answers in `bytes` to [`ask_all`] say.
    pub(super) fn shown(protocol: &mut impl LoadProtocol, bytes: &[u8]) -> Result<Vec<String>, String> {
        ask_all(protocol, &mut Vec::new(), Expiry::Default);
        let (mut answers, mut at) = (Vec::new(), 0);
        while let Some((answer, len)) = protocol.decode(&bytes[at..])? {
            answers.push(text_of(&answer));
            at += len;
        }
        Ok(answers)
    }

    /// Hands what [`shown`] says to `check`, for bytes that come in two pieces, cut anywhere.
    pub(super) fn in_pieces<P: LoadProtocol>(protocol: &P, bytes: &[u8], check: impl Fn(Vec<String>)) {
        for cut in 0..=bytes.len() {
            let mut protocol = protocol.clone();
            ask_all(&mut protocol, &mut Vec::new(), Expiry::Default);
            let (mut answers, mut at) = (Vec::new(), 0);
            for upto in [cut, bytes.len()] {
                while let Some((answer, len)) = protocol.decode(&bytes[at..upto]).unwrap() {
                    answers.push(text_of(&answer));
                    at += len;
                }
            }
            assert_eq!(at, bytes.len(), "cut at {cut}");
            check(answers);
        }
    }

    fn text_of<'a, V: Values<'a>>(answer: &Answer<'a, V>) -> String {
        let mut text = format!("{} {:?}", answer.id, answer.status);
        match &answer.body {
            AnswerBody::None => {}
            AnswerBody::Value(value) => text += &format!(" {}", value.escape_ascii()),
            AnswerBody::Values(values) => {
                assert_eq!(values.count(), values.iter().count());
                for value in values.iter() {
                    text += &value
                        .map_or_else(|status| format!(" {status:?}"), |value| format!(" [{}]", value.escape_ascii()));
                }
            }
        }
        text
    }
}

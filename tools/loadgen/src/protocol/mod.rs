//! The boundary between load and the bytes of a protocol. A load protocol is the client side of a dialect: bytes of
//! requests out, answers in. It does no I/O, and one value of it serves one connection, so a protocol without ids
//! (answers in order) keeps the ids of what it sent.

mod native;

use larder_protocol::{Command, Status};

pub use native::{Native, connect as connect_native};

/// The load protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ProtocolName {
    /// The native protocol of Larder.
    Native,
}

impl ProtocolName {
    /// Its name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            ProtocolName::Native => "native",
        }
    }
}

/// What is spoken on a connection.
pub trait LoadProtocol: Clone + Send {
    /// The values in an answer to a multi-get.
    type Values<'a>: Values<'a>;

    /// Appends one request.
    fn encode(&mut self, out: &mut Vec<u8>, id: u32, command: &Command<'_>);

    /// The first answer in `bytes` and how many bytes it takes; `None`: more bytes are needed.
    ///
    /// # Errors
    /// Why this is no answer, for a person. The connection is of no use any more.
    fn decode<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(AnswerOf<'a, Self>, usize)>, String>;
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
}

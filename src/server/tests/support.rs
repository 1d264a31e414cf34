//! A server to talk to, and a client that is nothing but a socket and the codec.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use larder_protocol::native::generated::{AlteredGroup, HelloResult, Removals, StatsResult, TopologyResult};
use larder_protocol::native::{self, Body};
use larder_protocol::{Command, Condition, Expiry, Keys, Request, Span, Status, Write as Entry};
pub(crate) use larder_testkit::Server;

/// How long an answer may take before a test fails.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A server with these flags.
pub(crate) fn server(flags: &[&str]) -> Server {
    Server::start_binary(PathBuf::from(env!("CARGO_BIN_EXE_larder")), flags)
}

/// The figures for one and for several shards, whatever cores this machine has.
pub(crate) const SHARDS: [&str; 2] = ["1", "4"];

/// A number of repetitions: a twentieth of it, unless `LARDER_TEST_FULL` is set.
pub(crate) fn scaled(full: usize) -> usize {
    if std::env::var_os("LARDER_TEST_FULL").is_some() { full } else { full / 20 }
}

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    input: Vec<u8>,
    next_id: u64,
}

/// An answer, with everything owned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) id: u64,
    pub(crate) status: Status,
    pub(crate) message: String,
    pub(crate) retry_after_ms: u32,
    pub(crate) result: Result,
}

/// See [`Answer`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Result {
    Nothing,
    Value(Vec<u8>),
    Values(Vec<std::result::Result<Vec<u8>, Status>>),
    Stored(u64),
    Outcomes(Vec<std::result::Result<u64, Status>>),
    Number(i64),
    /// A value with its flags and what is left of its life, in ms.
    Looked(Vec<u8>, u32, u64),
    Hello(Box<HelloResult>),
    Stats(Box<StatsResult>),
    Topology(Box<TopologyResult>),
    Removals(Box<Removals>),
    Altered(Box<AlteredGroup>),
    Other,
}

/// A command as a request without a number.
pub(crate) fn request(command: Command<'_>) -> Request<'_> {
    Request { id: 0, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command }
}

/// An unconditional set.
pub(crate) fn set<'a>(key: &'a [u8], value: &'a [u8]) -> Command<'a> {
    Command::Set(Entry { key, value, flags: 0, condition: Condition::Always, expiry: Expiry::Default })
}

/// A get.
pub(crate) fn get(key: &[u8]) -> Command<'_> {
    Command::Get { key }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).expect("the server accepts"))
    }

    pub(crate) fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a socket option");
        Self { stream, input: Vec::new(), next_id: 1 }
    }

    /// Encodes a command under the next id, which it returns.
    pub(crate) fn encode(&mut self, out: &mut Vec<u8>, command: Command<'_>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        native::encode_request(out, &Request { id, ..request(command) });
        id
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    pub(crate) fn send(&mut self, command: Command<'_>) -> u64 {
        let mut bytes = Vec::new();
        let id = self.encode(&mut bytes, command);
        self.send_bytes(&bytes);
        id
    }

    /// Sends a command about a group, by its hash, and waits for its answer.
    pub(crate) fn call_in(&mut self, group: u64, command: Command<'_>) -> Answer {
        let (mut bytes, id) = (Vec::new(), self.next_id);
        self.next_id += 1;
        native::encode_request(&mut bytes, &Request { id, group, ..request(command) });
        self.send_bytes(&bytes);
        let answer = self.answer();
        assert_eq!(answer.id, id, "{answer:?}");
        answer
    }

    /// Sends a command and waits for its answer.
    pub(crate) fn call(&mut self, command: Command<'_>) -> Answer {
        let id = self.send(command);
        let answer = self.answer();
        assert_eq!(answer.id, id, "{answer:?}");
        answer
    }

    /// A get_many, whose keys have to lie in one buffer.
    pub(crate) fn call_many(&mut self, keys: &[&[u8]], make: impl Fn(Keys<'_>) -> Command<'_>) -> Answer {
        let buffer = keys.concat();
        let mut start = 0;
        let spans: Vec<Span> = keys
            .iter()
            .map(|key| {
                let span = Span { start, len: key.len() as u32 };
                start += span.len;
                span
            })
            .collect();
        self.call(make(Keys::new(&buffer, &spans)))
    }

    /// The next answer.
    pub(crate) fn answer(&mut self) -> Answer {
        self.next_answer().expect("an answer, and not the end of the connection")
    }

    /// The next answers, by their ids, which differ.
    pub(crate) fn answers(&mut self, count: usize) -> HashMap<u64, Answer> {
        let answers: HashMap<u64, Answer> =
            (0..count).map(|_| self.answer()).map(|answer| (answer.id, answer)).collect();
        assert_eq!(answers.len(), count, "one answer per request");
        answers
    }

    /// The next answer; `None` at the end of the connection, which must not come within one.
    pub(crate) fn next_answer(&mut self) -> Option<Answer> {
        loop {
            let frame = native::frame(&self.input, larder_protocol::limits::FRAME_BYTES_MAX).expect("a sane frame");
            if let Some(frame) = frame {
                let answer = Answer::of(frame.message);
                let consumed = frame.consumed;
                self.input.drain(..consumed);
                return Some(answer);
            }
            let mut buffer = [0; 1 << 16];
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    assert!(self.input.is_empty(), "the connection ends within an answer");
                    return None;
                }
                Ok(bytes) => self.input.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                // A read with a time-out is not taken up again by itself when the process was stopped for a moment.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }

    /// Whether the server closes the connection without another word.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.next_answer().is_none()
    }

    pub(crate) fn stats(&mut self) -> StatsResult {
        match self.call(Command::Stats).result {
            Result::Stats(stats) => *stats,
            other => panic!("stats were asked for: {other:?}"),
        }
    }
}

impl Answer {
    fn of(message: &[u8]) -> Self {
        let response = native::decode_response(message).expect("the server's answers are valid");
        let result = match response.body {
            Body::None => Result::Nothing,
            Body::Entry(entry) => Result::Value(entry.value.to_vec()),
            Body::Entries(entries) => {
                Result::Values(entries.iter().map(|entry| entry.map(|entry| entry.value.to_vec())).collect())
            }
            Body::Stored { version, .. } => Result::Stored(version),
            Body::Outcomes(outcomes) => Result::Outcomes(outcomes.iter().collect()),
            Body::Number { value, .. } => Result::Number(value),
            Body::Looked(looked) => {
                Result::Looked(looked.entry.value.to_vec(), looked.entry.flags, looked.entry.ttl_ms)
            }
            Body::Hello(hello) => Result::Hello(hello),
            Body::Stats(stats) => Result::Stats(stats),
            Body::Topology(topology) => Result::Topology(topology),
            Body::Removals(removals) => Result::Removals(removals),
            Body::Altered(altered) => Result::Altered(altered),
            _ => Result::Other,
        };
        Self {
            id: response.id,
            status: response.status,
            message: response.message.to_owned(),
            retry_after_ms: response.retry_after_ms,
            result,
        }
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        match (&self.result, self.status) {
            (Result::Value(value), Status::Ok) => Some(value),
            (Result::Nothing, Status::NotFound) => None,
            _ => panic!("a value or a miss: {self:?}"),
        }
    }
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of kB");
    kib << 10
}

/// Processor time that a process has used.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    // Fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms; the split begins at field 3.
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

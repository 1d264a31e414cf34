//! Commands that are more than one request, or whose reply is told in a way that takes more than its kind.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Shape;
use super::encode::{Version, array, bulk, encode, encode_error, null, number, text, text_of};
use crate::native::encode_request;
use crate::reply::{Found, Looked, Reply, Status};
use crate::{Command, Request};

/// The requests of a command, and how their replies are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The frames of the requests, one behind the other; the id of each is its number.
    pub frames: Vec<u8>,
    /// How many there are.
    pub parts: usize,
    /// Whether they are to be executed at one go.
    pub is_one_go: bool,
    /// The group and key of the first.
    pub first: (u64, Vec<u8>),
    /// How the replies are told.
    pub told: Told,
}

/// How the replies to the requests of a plan are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The last of them alone, by this shape.
    Last(Shape),
    /// Values in the order of the requests.
    List,
    /// Of how many something was found or done.
    Sum,
    /// OK if all was done.
    All,
    /// What was there, by the first of them, if the second has not failed.
    Old,
    /// 1 if all was done, 0 if a check did not hold.
    IfAbsent,
    /// Bytes of a value, from and to a place; below 0 it counts from the end.
    Range(i64, i64),
    /// Length of a value.
    Length,
    /// Length of a value that was changed.
    NewLength,
    /// How long it lasts, in these many ms.
    Left(u64),
    /// When it expires, in these many ms.
    ExpiresAt(u64),
    /// What it is.
    Kind,
    /// How a value is kept.
    Encoding,
    /// For how long it was not used, at this time in ms since the Unix epoch, in seconds.
    Idle(u64),
    /// What it takes, with a key of so many bytes.
    Usage(u64),
    /// 1.
    One,
    /// The sum of decimal fractions.
    Decimal,
    /// The failure's text if it is there; else this number.
    Refusal(&'static str),
}

/// Bytes that an entry takes beside its key and value, more or less.
const ENTRY_BYTES: u64 = 48;
/// Longest value that Valkey embeds in the object of its key, in bytes.
const EMBEDDED_BYTES_MAX: usize = 44;

impl Plan {
    /// Without requests yet.
    pub fn new(told: Told) -> Self {
        Self { frames: Vec::new(), parts: 0, is_one_go: false, first: (0, Vec::new()), told }
    }

    /// With one more request.
    #[must_use]
    pub fn with(mut self, (group, key): (u64, &[u8]), command: Command<'_>) -> Self {
        if self.parts == 0 {
            self.first = (group, key.to_vec());
        }
        let id = self.parts as u64;
        encode_request(&mut self.frames, &Request { id, epoch: 0, group, timeout_ms: 0, forwarded: false, command });
        self.parts += 1;
        self
    }

    /// At one go.
    #[must_use]
    pub fn at_one_go(self) -> Self {
        Self { is_one_go: true, ..self }
    }
}

/// What has come of the replies to a plan.
#[derive(Debug)]
pub struct Telling {
    told: Told,
    version: Version,
    /// Replies that are still to come.
    left: usize,
    sum: i64,
    /// The first failure that counts, as text.
    failure: Option<String>,
    /// What is to be said of each part, where that is kept.
    parts: Vec<Vec<u8>>,
}

impl Telling {
    /// Of this plan's replies, in this version of the protocol.
    pub fn new(plan: &Plan, version: Version) -> Self {
        let parts = if matches!(plan.told, Told::List) { plan.parts } else { 1 };
        let parts = core::iter::repeat_n(Vec::new(), parts).collect();
        Self { told: plan.told, version, left: plan.parts, sum: 0, failure: None, parts }
    }

    /// How many replies are still to come.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(Vec::len).sum()
    }

    /// Takes the reply to a part; whether it was the last.
    pub fn take(&mut self, part: usize, reply: &Reply<'_>) -> bool {
        self.left -= 1;
        match self.told {
            Told::Last(shape) if self.left == 0 => self.keep(0, shape, reply),
            Told::Last(_) => {}
            Told::List => self.keep(part, Shape::Value, reply),
            Told::Old if part == 0 => self.keep(0, Shape::Value, &with_value(reply)),
            Told::Sum | Told::All | Told::Old | Told::IfAbsent => self.count(reply),
            // Something that comes before what is told of.
            _ if self.left > 0 => self.count(reply),
            _ => {
                let mut out = core::mem::take(&mut self.parts[0]);
                out.clear();
                tell(&mut out, self.version, self.told, reply);
                self.parts[0] = out;
            }
        }
        self.left == 0
    }

    /// There are no more replies: checks have none.
    pub fn end(&mut self) {
        self.left = 0;
    }

    /// Nothing of it was executed.
    pub fn fail(&mut self, reply: &Reply<'_>) {
        self.left = 0;
        let Reply::Failed(failure) = reply else { unreachable!("{reply:?} is no failure") };
        match (self.told, failure.status) {
            (Told::IfAbsent, Status::VersionMismatch) => self.failure = Some(String::new()),
            (Told::IfAbsent, Status::NotSupported) => {
                let why = "ERR MSETNX is atomic, and these keys belong to several shards; set them one by one with NX";
                self.failure = Some(why.into());
            }
            _ => self.failure = Some(failure_text(failure.status, &failure.message)),
        }
    }

    /// Appends what is said of all of them.
    pub fn finish(&self, out: &mut Vec<u8>) {
        debug_assert_eq!(self.left, 0, "all replies have come");
        match (self.told, &self.failure) {
            (Told::IfAbsent, Some(text)) if text.is_empty() => number(out, b':', 0),
            (_, Some(text)) => encode_error(out, text),
            (Told::Sum, None) => number(out, b':', self.sum),
            (Told::All, None) => out.extend_from_slice(b"+OK\r\n"),
            (Told::IfAbsent, None) => number(out, b':', 1),
            (Told::List, None) => {
                array(out, self.parts.len());
                self.parts.iter().for_each(|part| out.extend_from_slice(part));
            }
            (_, None) => out.extend_from_slice(&self.parts[0]),
        }
    }

    fn keep(&mut self, part: usize, shape: Shape, reply: &Reply<'_>) {
        encode(&mut self.parts[part], self.version, shape, reply);
    }

    fn count(&mut self, reply: &Reply<'_>) {
        match reply {
            Reply::Failed(failure) if !matches!(failure.status, Status::NotFound | Status::Exists) => {
                self.failure.get_or_insert_with(|| failure_text(failure.status, &failure.message));
            }
            Reply::Outcomes(outcomes) => {
                let failed = (0..outcomes.len()).find_map(|index| outcomes.outcome(index).err());
                if let Some(status) = failed {
                    self.failure.get_or_insert_with(|| text_of(status).into());
                }
            }
            Reply::Miss | Reply::Failed(_) => {}
            _ => self.sum += 1,
        }
    }
}

/// A look as a get would have it.
fn with_value<'a>(reply: &Reply<'a>) -> Reply<'a> {
    match *reply {
        Reply::Looked(Looked { entry, .. }) => Reply::Entry(entry),
        other => other,
    }
}

fn failure_text(status: Status, message: &str) -> String {
    let known = text_of(status);
    if message.is_empty() || matches!(status, Status::NotANumber | Status::OutOfRange) {
        return known.into();
    }
    let kind = known.split(' ').next().expect("there is one word");
    format!("{kind} {message}")
}

/// What is told of one reply.
fn tell(out: &mut Vec<u8>, version: Version, told: Told, reply: &Reply<'_>) {
    match (told, reply) {
        (Told::Decimal, Reply::Failed(failure)) if failure.status == Status::NotANumber => {
            encode_error(out, "ERR value is not a valid float");
        }
        (Told::Decimal, Reply::Failed(failure)) if failure.status == Status::OutOfRange => {
            encode_error(out, "ERR increment would produce NaN or Infinity");
        }
        (Told::Decimal, reply) => encode(out, version, Shape::Value, reply),
        (_, Reply::Failed(failure)) => encode_error(out, &failure_text(failure.status, &failure.message)),
        (Told::Range(from, to), Reply::Entry(found)) => range(out, found, from, to),
        (Told::Range(..), Reply::Miss) => text(out, ""),
        (Told::Length, Reply::Entry(found)) => number(out, b':', found.value.len() as i64),
        (Told::NewLength, Reply::Resized { value_bytes, .. }) => number(out, b':', *value_bytes as i64),
        (Told::NewLength, Reply::Stored { .. }) => number(out, b':', 0),
        (Told::Length | Told::NewLength, Reply::Miss) => number(out, b':', 0),
        (Told::Left(_) | Told::ExpiresAt(_), Reply::Miss) => number(out, b':', -2),
        (Told::Left(_) | Told::ExpiresAt(_), Reply::Looked(looked)) if looked.expires_at_ms == 0 => {
            number(out, b':', -1);
        }
        (Told::Left(unit_ms), Reply::Looked(looked)) => rounded(out, looked.entry.ttl_ms, unit_ms),
        (Told::ExpiresAt(unit_ms), Reply::Looked(looked)) => rounded(out, looked.expires_at_ms, unit_ms),
        (Told::Kind, Reply::Looked(_)) => out.extend_from_slice(b"+string\r\n"),
        (Told::Kind, Reply::Miss) => out.extend_from_slice(b"+none\r\n"),
        (Told::Encoding, Reply::Looked(looked)) => {
            let mut value = Vec::new();
            looked.entry.value.append_to(&mut value);
            let is_integer = super::arguments::integer(&value).is_some();
            let is_short = value.len() <= EMBEDDED_BYTES_MAX;
            text(
                out,
                if is_integer {
                    "int"
                } else if is_short {
                    "embstr"
                } else {
                    "raw"
                },
            );
        }
        (Told::Idle(now_ms), Reply::Looked(looked)) => {
            number(out, b':', (now_ms.saturating_sub(looked.accessed_ms) / 1_000) as i64);
        }
        (Told::Usage(key_bytes), Reply::Looked(looked)) => {
            number(out, b':', (looked.value_bytes + key_bytes + ENTRY_BYTES) as i64);
        }
        (Told::One, Reply::Looked(_)) => number(out, b':', 1),
        (Told::Refusal(why), Reply::Looked(_)) => encode_error(out, why),
        (_, Reply::Miss) => null(out, version),
        _ => unreachable!("{reply:?} is no answer to what is told as {told:?}"),
    }
}

/// A time in units, to the nearest.
fn rounded(out: &mut Vec<u8>, ms: u64, unit_ms: u64) {
    number(out, b':', ((ms + unit_ms / 2) / unit_ms) as i64);
}

fn range(out: &mut Vec<u8>, found: &Found<'_>, from: i64, to: i64) {
    let len = found.value.len() as i64;
    let place = |at: i64| if at < 0 { (len + at).max(0) } else { at };
    let is_backwards = from < 0 && to < 0 && from > to;
    let (from, to) = (place(from), place(to).min(len - 1));
    if is_backwards || from > to {
        return text(out, "");
    }
    let mut value = Vec::new();
    found.value.append_to(&mut value);
    let part = &value[from as usize..=to as usize];
    bulk(out, part.len(), |out| out.extend_from_slice(part));
}

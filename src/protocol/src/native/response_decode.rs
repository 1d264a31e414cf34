//! From the bytes of a `Response` to a [`Response`], borrowed from them.

use alloc::boxed::Box;

use prost::Message;

use super::Malformed;
use super::generated::{AlteredGroup, HelloResult, Removals, ScanResult, StatsResult, TopologyResult};
use super::numbers::{looked, outcome, response, result, transacted};
use super::reader::{Fault, Reader, Wire};
use super::views::{Elements, EntriesView, EntryDraft, OutcomesView, check_elements, known_status};
use crate::limits::{COLD_BYTES_MAX, SCAN_BYTES_MAX};
use crate::reply::{Claim, Entry, Looked, Status};

/// The answer to one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Response<'a> {
    /// The id of the request.
    pub id: u64,
    /// The epoch of the ring at the server.
    pub epoch: u64,
    /// How it went.
    pub status: Status,
    /// What is wrong and what to do, for a person; may be empty.
    pub message: &'a str,
    /// When to try again at the earliest, in ms; 0: no hint.
    pub retry_after_ms: u32,
    /// The result.
    pub body: Body<'a>,
}

/// The result in a response.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Body<'a> {
    /// None: a delete, a miss, a failure.
    None,
    /// An entry.
    Entry(Entry<'a>),
    /// The result of each key of a get_many.
    Entries(EntriesView<'a>),
    /// An entry was stored or touched.
    Stored {
        /// Its version.
        version: u64,
        /// Length of its value in bytes after an append, prepend or patch; else 0.
        value_bytes: u64,
    },
    /// What is known of an entry.
    Looked(Looked<Entry<'a>>),
    /// The frames of the answers to the requests of a transaction, one behind the other.
    Transacted(&'a [u8]),
    /// The result of each key of a set_many or delete_many.
    Outcomes(OutcomesView<'a>),
    /// The number after an increment.
    Number {
        /// The number.
        value: i64,
        /// The version.
        version: u64,
    },
    /// The group was invalidated.
    Invalidated {
        /// How often, on that node.
        generation: u64,
    },
    /// The shard is there.
    Pong {
        /// The greatest epoch by which it has given up what it does not own any more.
        acknowledged: u64,
        /// Every version that it has given is below.
        version: u64,
        /// What the latest clock shows that it has heard of, in ms since the Unix epoch.
        clock_ms: u64,
    },
    /// The right to fill a key.
    Leased {
        /// For lease_set.
        token: u64,
        /// How long it lasts, in ms.
        lease_ms: u32,
    },
    /// The answer to Hello.
    Hello(Box<HelloResult>),
    /// Counters.
    Stats(Box<StatsResult>),
    /// The ring.
    Topology(Box<TopologyResult>),
    /// Some keys.
    Scan(Box<ScanResult>),
    /// The group was changed.
    Altered(Box<AlteredGroup>),
    /// Entries that left.
    Removals(Box<Removals>),
}

/// Decodes one message, as [`super::frame`] gives it. Allocates for the results that prost decodes alone: the keys of a
/// scan, which are at most [`SCAN_BYTES_MAX`] long, and Hello, statistics, topology, changes of groups and removals, which
/// are at most [`COLD_BYTES_MAX`] long. Fields are merged as protobuf has it.
///
/// # Errors
/// [`Malformed`], with the id of the request where it could be read, and [`Status::NotSupported`] if the message has a
/// status that this version does not know.
pub fn decode_response(message: &[u8]) -> Result<Response<'_>, Malformed> {
    decode(message).map_err(|fault| Malformed::new(message, fault))
}

fn decode(message: &[u8]) -> Result<Response<'_>, Fault> {
    let mut reader = Reader::new(message);
    let (mut id, mut epoch, mut status, mut text, mut retry_after_ms) = (0, 0, 0, "", 0);
    let mut draft = Draft::default();
    loop {
        let start = reader.position();
        let Some((number, wire)) = reader.field()? else { break };
        match number {
            response::ID => id = reader.uint64(wire)?,
            response::EPOCH => epoch = reader.uint64(wire)?,
            response::STATUS => status = reader.uint32(wire)?,
            response::MESSAGE => text = reader.text(wire, "the message of a response is not UTF-8")?,
            response::RETRY_AFTER_MS => retry_after_ms = reader.uint32(wire)?,
            result::ENTRY..=result::TRANSACTED | result::REMOVALS => {
                if draft.number != number {
                    draft = Draft { number, start, ..Draft::default() };
                }
                draft.merge(&mut reader, wire)?;
            }
            _ => reader.skip(number, wire)?,
        }
    }
    let status = known_status(status)?;
    Ok(Response { id, epoch, status, message: text, retry_after_ms, body: draft.finish(message)? })
}

/// The fields of a result, as far as they were read.
#[derive(Default)]
struct Draft<'a> {
    /// Field number of the result; 0: none yet.
    number: u32,
    /// Where the first field of this result begins.
    start: usize,
    entry: EntryDraft<'a>,
    /// Elements of `Entries` or `Outcomes`.
    count: usize,
    /// Of `Stored`, `Number` and `Pong`.
    version: u64,
    value: i64,
    /// Of `Invalidated` and `Pong`, and the bytes of `Stored`.
    generation: u64,
    /// Of `Pong`.
    clock_ms: u64,
    looked: LookedDraft,
    responses: &'a [u8],
    cold: Cold,
}

/// The fields of `Looked` beside its entry.
#[derive(Default)]
struct LookedDraft {
    value_bytes: u64,
    expires_at_ms: u64,
    accessed_ms: u64,
    is_hit: bool,
    claim: Claim,
}

/// A result that prost decodes.
#[derive(Default)]
enum Cold {
    #[default]
    None,
    Hello(Box<HelloResult>),
    Stats(Box<StatsResult>),
    Topology(Box<TopologyResult>),
    Scan(Box<ScanResult>),
    Altered(Box<AlteredGroup>),
    Removals(Box<Removals>),
}

impl<'a> Draft<'a> {
    #[inline]
    fn merge(&mut self, reader: &mut Reader<'a>, wire: Wire) -> Result<(), Fault> {
        match self.number {
            result::ENTRY => self.entry.merge(reader.message(wire)?),
            result::ENTRIES | result::OUTCOMES => check_elements(self.number, reader.message(wire)?, &mut self.count),
            result::STORED | result::NUMBER | result::INVALIDATED | result::PONG | result::LEASED => {
                self.merge_numbers(reader.message(wire)?)
            }
            result::LOOKED => self.merge_looked(reader.message(wire)?),
            result::TRANSACTED => self.merge_transacted(reader.message(wire)?),
            _ => self.merge_cold(reader.slice(wire)?),
        }
    }

    fn merge_looked(&mut self, mut body: Reader<'a>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                looked::ENTRY => self.entry.merge(body.message(wire)?)?,
                looked::VALUE_BYTES => self.looked.value_bytes = body.uint64(wire)?,
                looked::EXPIRES_AT_MS => self.looked.expires_at_ms = body.uint64(wire)?,
                looked::ACCESSED_MS => self.looked.accessed_ms = body.uint64(wire)?,
                looked::HIT => self.looked.is_hit = body.bool(wire)?,
                looked::CLAIM => {
                    self.looked.claim = match body.uint32(wire)? {
                        1 => Claim::Won,
                        2 => Claim::Taken,
                        _ => Claim::Nobody,
                    };
                }
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    fn merge_transacted(&mut self, mut body: Reader<'a>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                transacted::RESPONSES => self.responses = body.slice(wire)?,
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    fn merge_numbers(&mut self, mut body: Reader<'a>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match (self.number, number) {
                (result::STORED, outcome::STORED_VERSION) => self.version = body.fixed64(wire)?,
                (result::STORED, outcome::VALUE_BYTES) => self.generation = body.uint64(wire)?,
                (result::NUMBER, outcome::NUMBER_VALUE) => self.value = body.sint64(wire)?,
                (result::NUMBER, outcome::VERSION) => self.version = body.fixed64(wire)?,
                (result::INVALIDATED, outcome::GENERATION) => self.generation = body.uint64(wire)?,
                (result::PONG, outcome::ACKNOWLEDGED) => self.generation = body.uint64(wire)?,
                (result::PONG, outcome::VERSION) => self.version = body.fixed64(wire)?,
                (result::PONG, outcome::CLOCK_MS) => self.clock_ms = body.uint64(wire)?,
                (result::LEASED, outcome::TOKEN) => self.version = body.fixed64(wire)?,
                (result::LEASED, outcome::LEASE_MS) => self.clock_ms = u64::from(body.uint32(wire)?),
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    fn merge_cold(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.count += bytes.len();
        let bytes_max = if self.number == result::SCAN { SCAN_BYTES_MAX } else { COLD_BYTES_MAX };
        if self.count > bytes_max {
            return Err(Fault::too_large("a result is longer than a client accepts"));
        }
        if matches!(self.cold, Cold::None) {
            self.cold = match self.number {
                result::HELLO => Cold::Hello(Box::default()),
                result::STATS => Cold::Stats(Box::default()),
                result::SCAN => Cold::Scan(Box::default()),
                result::ALTERED_GROUP => Cold::Altered(Box::default()),
                result::REMOVALS => Cold::Removals(Box::default()),
                _ => Cold::Topology(Box::default()),
            };
        }
        match &mut self.cold {
            Cold::None => Ok(()),
            Cold::Hello(hello) => hello.merge(bytes),
            Cold::Stats(stats) => stats.merge(bytes),
            Cold::Topology(topology) => topology.merge(bytes),
            Cold::Scan(scan) => scan.merge(bytes),
            Cold::Altered(altered) => altered.merge(bytes),
            Cold::Removals(removals) => removals.merge(bytes),
        }
        .map_err(|_| Fault::bad("a result is no valid message"))
    }

    fn finish(self, response: &'a [u8]) -> Result<Body<'a>, Fault> {
        let elements = Elements { response, start: self.start, number: self.number, len: self.count };
        Ok(match self.number {
            // The status of an entry has a meaning in `Entries` alone; here it is passed over.
            result::ENTRY => match self.entry.finish()? {
                Ok(entry) => Body::Entry(entry),
                Err(_) => Body::None,
            },
            result::ENTRIES => Body::Entries(EntriesView::new(elements)),
            result::OUTCOMES => Body::Outcomes(OutcomesView::new(elements)),
            result::STORED => Body::Stored { version: self.version, value_bytes: self.generation },
            result::LOOKED => match self.entry.finish()? {
                Ok(entry) => {
                    let LookedDraft { value_bytes, expires_at_ms, accessed_ms, is_hit, claim } = self.looked;
                    Body::Looked(Looked { entry, value_bytes, expires_at_ms, accessed_ms, is_hit, claim })
                }
                Err(_) => Body::None,
            },
            result::TRANSACTED => Body::Transacted(self.responses),
            result::NUMBER => Body::Number { value: self.value, version: self.version },
            result::INVALIDATED => Body::Invalidated { generation: self.generation },
            result::PONG => {
                Body::Pong { acknowledged: self.generation, version: self.version, clock_ms: self.clock_ms }
            }
            // It was read as 32 bits.
            result::LEASED => Body::Leased { token: self.version, lease_ms: self.clock_ms as u32 },
            _ => match self.cold {
                Cold::None => Body::None,
                Cold::Hello(hello) => Body::Hello(hello),
                Cold::Stats(stats) => Body::Stats(stats),
                Cold::Topology(topology) => Body::Topology(topology),
                Cold::Scan(scan) => Body::Scan(scan),
                Cold::Altered(altered) => Body::Altered(altered),
                Cold::Removals(removals) => Body::Removals(removals),
            },
        })
    }
}

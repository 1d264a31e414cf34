//! One answer, owned: values are slices of the buffer that was received.

use std::time::Duration;

use bytes::Bytes;
use larder_protocol::native::generated::{
    AlteredGroup, HelloResult, Removals, ScanResult, StatsResult, TopologyResult,
};
use larder_protocol::native::{Body, Response};
use larder_protocol::{Status, native};

use crate::entry::Entry;

/// An answer as the caller gets it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) epoch: u64,
    pub(crate) status: Status,
    pub(crate) message: String,
    pub(crate) retry_after_ms: u32,
    pub(crate) payload: Payload,
}

/// The result in an answer.
#[derive(Debug)]
pub(crate) enum Payload {
    None,
    Entry(Entry),
    Entries(Vec<Result<Entry, Status>>),
    Stored(u64),
    Outcomes(Vec<Result<u64, Status>>),
    Number { value: i64, version: u64 },
    Invalidated(u64),
    Leased { token: u64, lease_ms: u32 },
    Hello(Box<HelloResult>),
    Stats(Box<StatsResult>),
    Topology(Box<TopologyResult>),
    Scan(Box<ScanResult>),
    Altered(Box<AlteredGroup>),
    Removals(Box<Removals>),
}

impl Payload {
    /// Its kind, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Payload::None => "no result",
            Payload::Entry(_) => "an entry",
            Payload::Entries(_) => "entries",
            Payload::Stored(_) => "a stored version",
            Payload::Outcomes(_) => "outcomes",
            Payload::Number { .. } => "a number",
            Payload::Invalidated(_) => "a generation",
            Payload::Leased { .. } => "a lease",
            Payload::Hello(_) => "a hello",
            Payload::Stats(_) => "counters",
            Payload::Topology(_) => "a topology",
            Payload::Scan(_) => "keys of a scan",
            Payload::Altered(_) => "a changed group",
            Payload::Removals(_) => "removals",
        }
    }
}

impl Answer {
    /// Takes an answer out of `chunk`, of which `message` is a part.
    pub(crate) fn decode(chunk: &Bytes, message: &[u8]) -> Result<(u64, Answer), &'static str> {
        let response = native::decode_response(message).map_err(|malformed| malformed.reason)?;
        let Response { id, epoch, status, message, retry_after_ms, body } = response;
        let payload = match body {
            Body::None => Payload::None,
            Body::Entry(entry) => Payload::Entry(owned(chunk, &entry)),
            Body::Entries(entries) => {
                Payload::Entries(entries.iter().map(|entry| entry.map(|entry| owned(chunk, &entry))).collect())
            }
            Body::Stored { version, .. } => Payload::Stored(version),
            Body::Outcomes(outcomes) => Payload::Outcomes(outcomes.iter().collect()),
            Body::Number { value, version } => Payload::Number { value, version },
            Body::Invalidated { generation } => Payload::Invalidated(generation),
            Body::Leased { token, lease_ms } => Payload::Leased { token, lease_ms },
            Body::Hello(hello) => Payload::Hello(hello),
            Body::Stats(stats) => Payload::Stats(stats),
            Body::Topology(topology) => Payload::Topology(topology),
            Body::Scan(scan) => Payload::Scan(scan),
            Body::Altered(altered) => Payload::Altered(altered),
            Body::Removals(removals) => Payload::Removals(removals),
            _ => return Err("a result that this client does not know"),
        };
        Ok((id, Answer { epoch, status, message: message.to_owned(), retry_after_ms, payload }))
    }
}

/// The value stays where it is; only its owner is counted.
fn owned(chunk: &Bytes, entry: &larder_protocol::Entry<'_>) -> Entry {
    Entry {
        value: chunk.slice_ref(entry.value),
        flags: entry.flags,
        version: entry.version,
        ttl: (entry.ttl_ms != 0).then(|| Duration::from_millis(entry.ttl_ms)),
        is_stale: entry.is_stale,
    }
}

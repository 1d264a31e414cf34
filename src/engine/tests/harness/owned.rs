//! Replies that outlive the engine's memory.

use larder_protocol::native::generated::{AlteredGroup, ScanResult, StatsResult};
use larder_protocol::{Failure, Found, Looked, Members, Reply, Status};

/// An entry of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedEntry {
    pub(crate) value: Vec<u8>,
    pub(crate) flags: u32,
    pub(crate) version: u64,
    pub(crate) ttl_ms: u64,
    pub(crate) is_stale: bool,
}

/// A [`Reply`], copied.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OwnedReply {
    Done,
    Miss,
    Entry(OwnedEntry),
    Entries(Vec<Result<OwnedEntry, Status>>),
    Stored(u64),
    Outcomes(Vec<Result<u64, Status>>),
    /// Version and length of the value.
    Resized(u64, u64),
    Looked(Looked<OwnedEntry>),
    /// Frames.
    Transacted(Vec<u8>),
    Number(i64, u64),
    Invalidated(u64),
    Leased {
        token: u64,
        lease_ms: u32,
    },
    Stats(StatsResult),
    Scan(ScanResult),
    Altered(AlteredGroup),
    Topology {
        epoch: u64,
        nodes: usize,
    },
    Failed(Failure),
}

impl OwnedReply {
    pub(crate) fn of(reply: &Reply<'_>) -> Self {
        match *reply {
            Reply::Done => OwnedReply::Done,
            Reply::Miss => OwnedReply::Miss,
            Reply::Entry(entry) => OwnedReply::Entry(OwnedEntry::of(entry)),
            Reply::Entries(entries) => {
                OwnedReply::Entries((0..entries.len()).map(|index| entries.entry(index).map(OwnedEntry::of)).collect())
            }
            Reply::Stored { version } => OwnedReply::Stored(version),
            Reply::Outcomes(outcomes) => {
                OwnedReply::Outcomes((0..outcomes.len()).map(|index| outcomes.outcome(index)).collect())
            }
            Reply::Resized { version, value_bytes } => OwnedReply::Resized(version, value_bytes),
            Reply::Looked(Looked { entry, value_bytes, expires_at_ms, accessed_ms, is_hit, claim }) => {
                let entry = OwnedEntry::of(entry);
                OwnedReply::Looked(Looked { entry, value_bytes, expires_at_ms, accessed_ms, is_hit, claim })
            }
            Reply::Transacted(responses) => OwnedReply::Transacted(responses.to_vec()),
            Reply::Number { value, version } => OwnedReply::Number(value, version),
            Reply::Invalidated { generation } => OwnedReply::Invalidated(generation),
            Reply::Leased { token, lease_ms } => OwnedReply::Leased { token, lease_ms },
            Reply::Stats(stats) => OwnedReply::Stats(stats.clone()),
            Reply::Scan(scan) => OwnedReply::Scan(scan.clone()),
            Reply::Altered(altered) => OwnedReply::Altered(altered.clone()),
            Reply::Topology(Members { topology, .. }) => {
                OwnedReply::Topology { epoch: topology.epoch(), nodes: topology.nodes().len() }
            }
            Reply::Failed(failure) => OwnedReply::Failed(failure.clone()),
            ref other => panic!("{other:?} is new: teach the harness"),
        }
    }

    /// The status, where the whole request failed.
    pub(crate) fn failure(&self) -> Option<Status> {
        match self {
            OwnedReply::Failed(failure) => Some(failure.status),
            _ => None,
        }
    }

    /// The value of a get.
    pub(crate) fn value(&self) -> Option<&[u8]> {
        match self {
            OwnedReply::Entry(entry) => Some(&entry.value),
            _ => None,
        }
    }
}

impl OwnedEntry {
    fn of(found: Found<'_>) -> Self {
        let mut value = Vec::new();
        found.value.append_to(&mut value);
        Self { value, flags: found.flags, version: found.version, ttl_ms: found.ttl_ms, is_stale: found.is_stale }
    }
}

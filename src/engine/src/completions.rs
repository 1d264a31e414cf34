//! Answers of other shards, kept from their arrival until the caller fetches them.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::vec::Vec;

use larder_protocol::native::generated::{AlteredGroup, ScanResult, StatsResult};
use larder_protocol::native::{Body, Response};
use larder_protocol::{Entry, Failure, Found, Reply, Status, Value};

use crate::failures;
use crate::gather::Gather;
use crate::limits::KEPT_BYTES_MAX;

/// What a ticket is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Done,
    Miss,
    /// The value is in [`Values`].
    Entry {
        start: usize,
        len: usize,
        flags: u32,
        version: u64,
        ttl_ms: u64,
    },
    Stored {
        version: u64,
    },
    Number {
        value: i64,
        version: u64,
    },
    Invalidated {
        generation: u64,
    },
    Keys(Box<Gather>),
    Stats(Box<StatsResult>),
    Scan(Box<ScanResult>),
    Altered(Box<AlteredGroup>),
    Refused(&'static Failure),
    Failed(Failure),
}

/// The values of answers that were not fetched.
#[derive(Debug, Default)]
pub(crate) struct Values {
    bytes: Vec<u8>,
}

impl Values {
    /// Every answer was fetched, and the last one is not looked at any more.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
    }

    fn keep(&mut self, entry: &Entry<'_>) -> Answer {
        let Entry { value, flags, version, ttl_ms } = *entry;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        Answer::Entry { start, len: value.len(), flags, version, ttl_ms }
    }
}

impl Answer {
    /// The answer that another shard's response to a request that it alone has to execute is; `None`: it can be none.
    pub(crate) fn of(response: Response<'_>, values: &mut Values) -> Option<Answer> {
        match (response.status, response.body) {
            (Status::Ok, Body::None) => Some(Answer::Done),
            (Status::Ok, Body::Entry(entry)) => Some(values.keep(&entry)),
            (Status::Ok, Body::Stored { version }) => Some(Answer::Stored { version }),
            (Status::Ok, Body::Number { value, version }) => Some(Answer::Number { value, version }),
            (Status::Ok, Body::Scan(scan)) => Some(Answer::Scan(scan)),
            (Status::Ok, Body::Altered(altered)) => Some(Answer::Altered(altered)),
            (Status::Ok, _) => None,
            (Status::NotFound, _) => Some(Answer::Miss),
            (status, _) => Some(Answer::failed(status, response.message, response.retry_after_ms)),
        }
    }

    /// The failure that another shard's response is.
    fn failed(status: Status, message: &str, retry_after_ms: u32) -> Answer {
        match failures::ready_made(status, message) {
            Some(failure) => Answer::Refused(failure),
            None => Answer::Failed(Failure { status, message: message.to_owned().into(), retry_after_ms }),
        }
    }

    /// As the reply that the caller gets.
    pub(crate) fn reply<'a>(&'a self, values: &'a Values) -> Reply<'a> {
        match *self {
            Answer::Done => Reply::Done,
            Answer::Miss => Reply::Miss,
            Answer::Entry { start, len, flags, version, ttl_ms } => {
                let value = Value::Whole(&values.bytes[start..start + len]);
                Reply::Entry(Found { value, flags, version, ttl_ms })
            }
            Answer::Stored { version } => Reply::Stored { version },
            Answer::Number { value, version } => Reply::Number { value, version },
            Answer::Invalidated { generation } => Reply::Invalidated { generation },
            Answer::Keys(ref gather) if gather.reads => Reply::Entries(&**gather),
            Answer::Keys(ref gather) => Reply::Outcomes(&**gather),
            Answer::Stats(ref total) => Reply::Stats(total),
            Answer::Scan(ref scan) => Reply::Scan(scan),
            Answer::Altered(ref altered) => Reply::Altered(altered),
            Answer::Refused(failure) => Reply::Failed(failure),
            Answer::Failed(ref failure) => Reply::Failed(failure),
        }
    }
}

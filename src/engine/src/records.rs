//! What lies in a batch behind its header: a record for each request or reply.
//!
//! Gets, unconditional sets and what is answered to them have records of words at fixed places, which take a few
//! instructions to write and to read, and bring the hash of their key along. Everything else is a frame of the native
//! protocol within a record. Both ends are of one process: no other version ever reads a record.
//!
//! Words are little-endian. Word 0 has the bytes of the whole record in 32 bits, behind them the [`Kind`] in 8 and the
//! kind of expiry in 8.
//!
//! | kind | words from 1 on | bytes behind them |
//! |---|---|---|
//! | frame | | the frame |
//! | get | id, hash, group | key |
//! | set | id, hash, group, expiry in ms, flags and length of the key in 32 bits each | key, value |
//! | miss | id | |
//! | stored | id, version | |
//! | entry | id, version, time to live in ms, flags | value |
//! | later | id of a request whose reply takes long | |

use alloc::vec::Vec;

use larder_protocol::limits::FRAME_BYTES_MAX;
use larder_protocol::native::{self, encode_request, encode_response};
use larder_protocol::{Command, Condition, Expiry, Found, Reply, Request, Value, Write};

use crate::error::BatchError;

const WORD_BYTES: usize = 8;
const KIND_SHIFT: u32 = 32;
/// In the word with the flags of an entry, whether it is stale.
const STALE_SHIFT: u32 = 32;
const EXPIRY_SHIFT: u32 = 40;
/// Words of a get, and of the others.
const GET_WORDS: usize = 4;
const SET_WORDS: usize = 6;
const MISS_WORDS: usize = 2;
const STORED_WORDS: usize = 3;
const ENTRY_WORDS: usize = 5;
/// Bytes of the record that says that a reply takes long.
pub(crate) const LATER_BYTES: usize = 2 * WORD_BYTES;
/// Most bytes of a record beside key, value and frame.
pub(crate) const RECORD_BYTES_MAX: usize = SET_WORDS * WORD_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Frame = 0,
    Get = 1,
    Set = 2,
    Miss = 3,
    Stored = 4,
    Entry = 5,
    Later = 6,
}

/// A request of another shard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    /// For one key, whose hash is known.
    OfKey { id: u64, hash: u64, group: u64, command: Command<'a> },
    /// The message of a frame.
    Other(&'a [u8]),
}

/// A reply of another shard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Replied<'a> {
    /// To a request that one shard had to execute.
    OfKey { id: u64, reply: Reply<'a> },
    /// It takes long.
    Later { id: u64 },
    /// The message of a frame.
    Other(&'a [u8]),
}

/// Bytes of the record of a request, `frame_bytes` being those of its frame, if need be.
#[inline]
pub(crate) fn request_bytes(request: &Request<'_>, frame_bytes: impl FnOnce() -> usize) -> usize {
    match request.command {
        Command::Get { key } => GET_WORDS * WORD_BYTES + key.len(),
        Command::Set(Write { key, value, condition: Condition::Always, .. }) => {
            SET_WORDS * WORD_BYTES + key.len() + value.len()
        }
        _ => WORD_BYTES + frame_bytes(),
    }
}

/// Appends the record of a request under this id. The hash is that of its key, if it is about one. What has a frame has
/// that of `framed`.
#[inline]
pub(crate) fn put_request<'r>(
    out: &mut Vec<u8>,
    id: u64,
    request: &Request<'_>,
    hash: u64,
    framed: impl FnOnce() -> Request<'r>,
) {
    let group = request.group;
    match request.command {
        Command::Get { key } => {
            let head = head(Kind::Get, GET_WORDS * WORD_BYTES + key.len());
            put_words(out, [head, id, hash, group]);
            out.extend_from_slice(key);
        }
        Command::Set(Write { key, value, flags, condition: Condition::Always, expiry }) => {
            let (expiry_kind, expiry_ms) = expiry_words(expiry);
            let head = head(Kind::Set, SET_WORDS * WORD_BYTES + key.len() + value.len());
            let lengths = u64::from(flags) | (key.len() as u64) << 32;
            put_words(out, [head | expiry_kind << EXPIRY_SHIFT, id, hash, group, expiry_ms, lengths]);
            out.extend_from_slice(key);
            out.extend_from_slice(value);
        }
        _ => put_frame(out, |out| encode_request(out, &framed())),
    }
}

/// Bytes of the record of a reply, if it is not one of a frame.
#[inline]
pub(crate) fn reply_bytes(reply: &Reply<'_>) -> Option<usize> {
    match reply {
        Reply::Miss => Some(MISS_WORDS * WORD_BYTES),
        Reply::Stored { .. } => Some(STORED_WORDS * WORD_BYTES),
        Reply::Entry(found) => Some(entry_bytes(found)),
        _ => None,
    }
}

/// Bytes of the record of an entry.
#[inline]
pub(crate) fn entry_bytes(found: &Found<'_>) -> usize {
    ENTRY_WORDS * WORD_BYTES + found.value.len()
}

/// Appends the record of an entry.
#[inline]
pub(crate) fn put_entry(out: &mut Vec<u8>, id: u64, found: &Found<'_>) {
    let head = head(Kind::Entry, entry_bytes(found));
    let marked = u64::from(found.flags) | u64::from(found.is_stale) << STALE_SHIFT;
    put_words(out, [head, id, found.version, found.ttl_ms, marked]);
    found.value.append_to(out);
}

/// Appends the record of a reply.
#[inline]
pub(crate) fn put_reply(out: &mut Vec<u8>, id: u64, epoch: u64, reply: &Reply<'_>) {
    match *reply {
        Reply::Miss => put_words(out, [head(Kind::Miss, MISS_WORDS * WORD_BYTES), id]),
        Reply::Stored { version } => {
            put_words(out, [head(Kind::Stored, STORED_WORDS * WORD_BYTES), id, version]);
        }
        Reply::Entry(ref found) => put_entry(out, id, found),
        ref other => put_frame(out, |out| encode_response(out, id, epoch, other)),
    }
}

/// Appends the record that says that the reply to a request takes long.
pub(crate) fn put_later(out: &mut Vec<u8>, id: u64) {
    put_words(out, [head(Kind::Later, LATER_BYTES), id]);
}

fn put_frame(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    put_words(out, [0]);
    encode(out);
    let head = head(Kind::Frame, out.len() - begin);
    out[begin..begin + WORD_BYTES].copy_from_slice(&head.to_le_bytes());
}

#[inline]
fn head(kind: Kind, bytes: usize) -> u64 {
    debug_assert!(bytes <= u32::MAX as usize, "a record holds at most a frame");
    bytes as u64 | (kind as u64) << KIND_SHIFT
}

#[inline]
fn put_words<const N: usize>(out: &mut Vec<u8>, words: [u64; N]) {
    out.extend_from_slice(words.map(u64::to_le_bytes).as_flattened());
}

/// A record as it lies in a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    head: u64,
    /// What is behind word 0.
    rest: &'a [u8],
}

/// Takes the first record off `records`; `None`: there is no more.
#[inline]
pub(crate) fn next<'a>(records: &mut &'a [u8]) -> Result<Option<Record<'a>>, BatchError> {
    if records.is_empty() {
        return Ok(None);
    }
    let half = BatchError::HalfRecord { bytes: records.len() };
    let head = u64::from_le_bytes(*records.first_chunk().ok_or(half)?);
    let (record, rest) = records.split_at_checked(head as u32 as usize).ok_or(half)?;
    *records = rest;
    Ok(Some(Record { head, rest: record.get(WORD_BYTES..).ok_or(half)? }))
}

impl<'a> Record<'a> {
    #[inline]
    fn kind(&self) -> u8 {
        (self.head >> KIND_SHIFT) as u8
    }

    /// The hash of the key, where it is known.
    #[inline]
    pub(crate) fn hash(&self) -> Option<u64> {
        let has_hash = self.kind() == Kind::Get as u8 || self.kind() == Kind::Set as u8;
        if has_hash { self.rest.as_chunks().0.get(1).map(|word| u64::from_le_bytes(*word)) } else { None }
    }

    /// As a request.
    #[inline]
    pub(crate) fn asked(self) -> Result<Asked<'a>, BatchError> {
        if self.kind() == Kind::Get as u8 {
            let ([id, hash, group], key) = self.words()?;
            Ok(Asked::OfKey { id, hash, group, command: Command::Get { key } })
        } else if self.kind() == Kind::Set as u8 {
            let ([id, hash, group, expiry_ms, lengths], bytes) = self.words()?;
            let (key, value) = bytes.split_at_checked((lengths >> 32) as usize).ok_or(self.unknown())?;
            let expiry = self.expiry(expiry_ms)?;
            let write = Write { key, value, flags: lengths as u32, condition: Condition::Always, expiry };
            Ok(Asked::OfKey { id, hash, group, command: Command::Set(write) })
        } else {
            Ok(Asked::Other(self.message()?))
        }
    }

    /// As a reply.
    #[inline]
    pub(crate) fn replied(self) -> Result<Replied<'a>, BatchError> {
        if self.kind() == Kind::Entry as u8 {
            let ([id, version, ttl_ms, marked], value) = self.words()?;
            let is_stale = marked >> STALE_SHIFT != 0;
            let found = Found { value: Value::Whole(value), flags: marked as u32, version, ttl_ms, is_stale };
            Ok(Replied::OfKey { id, reply: Reply::Entry(found) })
        } else if self.kind() == Kind::Miss as u8 {
            let ([id], _) = self.words()?;
            Ok(Replied::OfKey { id, reply: Reply::Miss })
        } else if self.kind() == Kind::Stored as u8 {
            let ([id, version], _) = self.words()?;
            Ok(Replied::OfKey { id, reply: Reply::Stored { version } })
        } else if self.kind() == Kind::Later as u8 {
            let ([id], _) = self.words()?;
            Ok(Replied::Later { id })
        } else {
            Ok(Replied::Other(self.message()?))
        }
    }

    /// The words behind word 0, and what is behind them.
    #[inline]
    fn words<const N: usize>(&self) -> Result<([u64; N], &'a [u8]), BatchError> {
        let (words, _) = self.rest.as_chunks::<WORD_BYTES>();
        let words: &[[u8; WORD_BYTES]; N] = words.first_chunk().ok_or(self.unknown())?;
        Ok((words.map(u64::from_le_bytes), &self.rest[N * WORD_BYTES..]))
    }

    fn message(&self) -> Result<&'a [u8], BatchError> {
        if self.kind() != Kind::Frame as u8 {
            return Err(self.unknown());
        }
        let frame = native::frame(self.rest, FRAME_BYTES_MAX)?.ok_or(self.unknown())?;
        Ok(frame.message)
    }

    #[inline]
    fn expiry(&self, ms: u64) -> Result<Expiry, BatchError> {
        Ok(match (self.head >> EXPIRY_SHIFT) as u8 {
            0 => Expiry::Default,
            1 => Expiry::Never,
            2 => Expiry::After(ms),
            3 => Expiry::At(ms),
            4 => Expiry::Keep,
            _ => return Err(self.unknown()),
        })
    }

    fn unknown(&self) -> BatchError {
        BatchError::UnknownRecord { head: self.head, bytes: self.rest.len() }
    }
}

/// What [`Record::expiry`] reads.
#[inline]
fn expiry_words(expiry: Expiry) -> (u64, u64) {
    match expiry {
        Expiry::Default => (0, 0),
        Expiry::Never => (1, 0),
        Expiry::After(ms) => (2, ms),
        Expiry::At(ms) => (3, ms),
        Expiry::Keep => (4, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(command: Command<'_>) -> Request<'_> {
        Request { id: u64::MAX - 1, epoch: 3, group: 77, timeout_ms: 9, forwarded: true, command }
    }

    #[test]
    fn requests_come_out_as_they_went_in() {
        let expiries = [Expiry::Default, Expiry::Never, Expiry::After(9), Expiry::At(u64::MAX), Expiry::Keep];
        let write = |key, value, expiry| {
            Command::Set(Write { key, value, flags: u32::MAX, condition: Condition::Always, expiry })
        };
        let mut commands = vec![Command::Get { key: b"k" }, Command::Get { key: &[7; 300] }];
        commands.extend(expiries.map(|expiry| write(b"key", b"value", expiry)));
        commands.push(write(b"key", b"", Expiry::Never));
        let mut batch = Vec::new();
        for command in &commands {
            let before = batch.len();
            put_request(&mut batch, u64::MAX - 1, &request(*command), 55, || panic!("it is no frame"));
            assert_eq!(batch.len() - before, request_bytes(&request(*command), || panic!("it is no frame")));
        }
        let conditional = Command::Set(Write {
            key: b"k",
            value: b"v",
            flags: 0,
            condition: Condition::Absent,
            expiry: Expiry::Never,
        });
        put_request(&mut batch, u64::MAX - 1, &request(conditional), 55, || request(conditional));
        let mut records = &batch[..];
        for command in &commands {
            let record = next(&mut records).unwrap().expect("as many as there were");
            assert_eq!(record.hash(), Some(55));
            let Asked::OfKey { id, hash, group, command: read } = record.asked().unwrap() else { panic!("{record:?}") };
            assert_eq!((id, hash, group), (u64::MAX - 1, 55, 77));
            assert_eq!(format!("{read:?}"), format!("{command:?}"));
        }
        let record = next(&mut records).unwrap().expect("the last");
        assert_eq!(record.hash(), None);
        let Asked::Other(message) = record.asked().unwrap() else { panic!("{record:?}") };
        let mut scratch = native::Scratch::new(native::RequestLimits::default());
        let read = native::decode_request(message, &mut scratch).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", request(conditional)));
        assert!(next(&mut records).unwrap().is_none());
    }

    #[test]
    fn replies_come_out_as_they_went_in() {
        let entry = |value| {
            Reply::Entry(Found { value: Value::Whole(value), flags: 5, version: u64::MAX, ttl_ms: 1, is_stale: true })
        };
        let replies = [Reply::Miss, Reply::Stored { version: 4 }, entry(b"value"), entry(b"")];
        let mut batch = Vec::new();
        for reply in &replies {
            let before = batch.len();
            put_reply(&mut batch, 6, 1, reply);
            assert_eq!(Some(batch.len() - before), reply_bytes(reply));
        }
        put_reply(&mut batch, 6, 1, &Reply::Number { value: -1, version: 2 });
        let before = batch.len();
        put_later(&mut batch, 7);
        assert_eq!(batch.len() - before, LATER_BYTES);
        let mut records = &batch[..];
        for reply in &replies {
            let record = next(&mut records).unwrap().expect("as many as there were");
            let Replied::OfKey { id: 6, reply: read } = record.replied().unwrap() else { panic!("{record:?}") };
            assert_eq!(format!("{read:?}"), format!("{reply:?}"));
        }
        let record = next(&mut records).unwrap().expect("the last");
        let Replied::Other(message) = record.replied().unwrap() else { panic!("{record:?}") };
        assert_eq!(native::decode_response(message).unwrap().body, native::Body::Number { value: -1, version: 2 });
        let record = next(&mut records).unwrap().expect("the last");
        assert!(matches!(record.replied().unwrap(), Replied::Later { id: 7 }), "{record:?}");
        assert!(next(&mut records).unwrap().is_none());
    }

    #[test]
    fn broken_records_are_typed_errors() {
        let mut whole = Vec::new();
        let get = request(Command::Get { key: b"key" });
        put_request(&mut whole, u64::MAX - 1, &get, 1, || get);
        for bytes in 1..whole.len() {
            let half = &whole[..bytes];
            assert_eq!(next(&mut &half[..]).err(), Some(BatchError::HalfRecord { bytes }));
        }
        let mut none: &[u8] = &[4, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(next(&mut none).err(), Some(BatchError::HalfRecord { bytes: 8 }), "a record has its first word");
        for (kind, bytes) in
            [(Kind::Get, 24), (Kind::Set, 40), (Kind::Miss, 8), (Kind::Stored, 16), (Kind::Entry, 32), (Kind::Later, 8)]
        {
            let mut short = head(kind, bytes).to_le_bytes().to_vec();
            short.resize(bytes, 0);
            let record = next(&mut &short[..]).unwrap().unwrap();
            let unknown = Some(BatchError::UnknownRecord { head: head(kind, bytes), bytes: bytes - 8 });
            assert_eq!(record.asked().err(), unknown, "{kind:?}");
            assert_eq!(record.replied().err(), unknown, "{kind:?}");
        }
        let mut reply = Vec::new();
        put_reply(&mut reply, 1, 1, &Reply::Miss);
        assert!(next(&mut &reply[..]).unwrap().unwrap().asked().is_err(), "a reply is no request");
    }
}

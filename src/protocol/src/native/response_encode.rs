//! From a [`Reply`] to the frame of its `Response`.

use alloc::vec::Vec;

use prost::Message;

use super::generated::{HelloResult, TopologyResult};
use super::numbers::{entry, item, looked, outcome, removals, response, result, transacted};
use super::piece::Piece;
use super::writer::{Writer, size, zigzag};
use crate::limits::{
    COLD_BYTES_MAX, FAILURE_MESSAGE_BYTES_MAX, FRAME_BYTES_MAX, FRAME_PREFIX_BYTES, RESULT_ENVELOPE_BYTES_MAX,
    SCAN_BYTES_MAX,
};
use crate::removals::{Removals, Removed};
use crate::reply::{Entries, Failure, Found, Looked, Outcomes, Reply, Status};

/// Appends the frame of the answer to request `id`, its length first: the same bytes as prost's. Reserves once; a
/// value is copied once. Entries of a get_many that do not fit in a frame any more are answered with
/// [`Status::TooLarge`], each by itself; statistics or a topology above [`COLD_BYTES_MAX`], and the keys of a scan above
/// [`SCAN_BYTES_MAX`], with a failure. The message of a failure is cut at [`FAILURE_MESSAGE_BYTES_MAX`].
pub fn encode_response(out: &mut Vec<u8>, id: u64, epoch: u64, reply: &Reply<'_>) {
    let envelope = Envelope { id, epoch, status: Status::Ok, message: "", retry_after_ms: 0 };
    match *reply {
        Reply::Done => envelope.alone(out),
        Reply::Miss => Envelope { status: Status::NotFound, ..envelope }.alone(out),
        Reply::Entry(found) if put_found(out, id, epoch, found) => {}
        Reply::Entry(found) => {
            let mut writer = envelope.begin(out, result::ENTRY, entry_bytes(Ok(found)));
            put_entry(&mut writer, Ok(found));
        }
        Reply::Entries(entries) => put_entries(out, envelope, entries),
        Reply::Stored { version } if put_stored(out, id, epoch, version) => {}
        Reply::Stored { version } => {
            let len = size::fixed64(outcome::STORED_VERSION, version);
            let mut writer = envelope.begin(out, result::STORED, len);
            writer.fixed64(outcome::STORED_VERSION, version);
        }
        Reply::Resized { version, value_bytes } => {
            let len = size::fixed64(outcome::STORED_VERSION, version) + size::uint(outcome::VALUE_BYTES, value_bytes);
            let mut writer = envelope.begin(out, result::STORED, len);
            writer.fixed64(outcome::STORED_VERSION, version);
            writer.uint(outcome::VALUE_BYTES, value_bytes);
        }
        Reply::Looked(of) => put_looked(out, envelope, &of),
        Reply::Transacted(responses) => {
            let len = size::bytes(transacted::RESPONSES, responses.len());
            let mut writer = envelope.begin(out, result::TRANSACTED, len);
            writer.bytes(transacted::RESPONSES, responses);
        }
        Reply::Outcomes(outcomes) => put_outcomes(out, envelope, outcomes),
        Reply::Number { value, version } => {
            let len = size::uint(outcome::NUMBER_VALUE, zigzag(value)) + size::fixed64(outcome::VERSION, version);
            let mut writer = envelope.begin(out, result::NUMBER, len);
            writer.uint(outcome::NUMBER_VALUE, zigzag(value));
            writer.fixed64(outcome::VERSION, version);
        }
        Reply::Invalidated { generation } => {
            let len = size::uint(outcome::GENERATION, generation);
            let mut writer = envelope.begin(out, result::INVALIDATED, len);
            writer.uint(outcome::GENERATION, generation);
        }
        Reply::Pong { acknowledged, version, clock_ms } => {
            let len = size::uint(outcome::ACKNOWLEDGED, acknowledged)
                + size::fixed64(outcome::VERSION, version)
                + size::uint(outcome::CLOCK_MS, clock_ms);
            let mut writer = envelope.begin(out, result::PONG, len);
            writer.uint(outcome::ACKNOWLEDGED, acknowledged);
            writer.fixed64(outcome::VERSION, version);
            writer.uint(outcome::CLOCK_MS, clock_ms);
        }
        Reply::Leased { token, lease_ms } => {
            let len = size::fixed64(outcome::TOKEN, token) + size::uint(outcome::LEASE_MS, u64::from(lease_ms));
            let mut writer = envelope.begin(out, result::LEASED, len);
            writer.fixed64(outcome::TOKEN, token);
            writer.uint(outcome::LEASE_MS, u64::from(lease_ms));
        }
        Reply::Scan(keys) => put_cold(out, envelope, result::SCAN, SCAN_BYTES_MAX, keys),
        Reply::Altered(altered) => put_cold(out, envelope, result::ALTERED_GROUP, COLD_BYTES_MAX, altered),
        Reply::Removals(removals) => put_removals(out, envelope, &removals),
        Reply::Stats(stats) => put_cold(out, envelope, result::STATS, COLD_BYTES_MAX, stats),
        Reply::Topology(members) => {
            put_cold(out, envelope, result::TOPOLOGY, COLD_BYTES_MAX, &TopologyResult::from(members));
        }
        Reply::Failed(failure) => envelope.failed(out, failure),
    }
}

/// Appends the answer of a get if `out` has room for it and some more. Says whether it did; else nothing happened.
#[inline]
fn put_found(out: &mut Vec<u8>, id: u64, epoch: u64, found: Found<'_>) -> bool {
    let len = found.value.len();
    if out.capacity() - out.len() < len.saturating_add(2 * Piece::BYTES) || len == 0 {
        return false;
    }
    let entry_len = entry_bytes(Ok(found));
    Piece::append(out, |head| {
        head.skip(FRAME_PREFIX_BYTES);
        head.uint(response::ID, id);
        head.uint(response::EPOCH, epoch);
        head.message(result::ENTRY, entry_len);
        let message_len = head.bytes().len() - FRAME_PREFIX_BYTES + entry_len;
        head.message(entry::VALUE, len);
        head.prefix(message_len);
    });
    found.value.append_to(out);
    Piece::append(out, |tail| put_behind_value(tail, &found));
    true
}

/// The fields of an entry that come behind its value.
#[inline]
fn put_behind_value(tail: &mut Piece<'_>, found: &Found<'_>) {
    tail.uint(entry::FLAGS, u64::from(found.flags));
    tail.fixed64(entry::VERSION, found.version);
    tail.uint(entry::TTL_MS, found.ttl_ms);
    tail.uint(entry::STALE, u64::from(found.is_stale));
}

/// Like [`put_found`], for the answer of a set.
#[inline]
fn put_stored(out: &mut Vec<u8>, id: u64, epoch: u64, version: u64) -> bool {
    if out.capacity() - out.len() < Piece::BYTES {
        return false;
    }
    Piece::append(out, |all| {
        all.skip(FRAME_PREFIX_BYTES);
        all.uint(response::ID, id);
        all.uint(response::EPOCH, epoch);
        all.message(result::STORED, size::fixed64(outcome::STORED_VERSION, version));
        all.fixed64(outcome::STORED_VERSION, version);
        all.prefix(all.bytes().len() - FRAME_PREFIX_BYTES);
    });
    true
}

/// Appends the frame of the answer to a Hello. Like [`encode_response`], with prost.
pub fn encode_hello(out: &mut Vec<u8>, id: u64, epoch: u64, hello: &HelloResult) {
    let envelope = Envelope { id, epoch, status: Status::Ok, message: "", retry_after_ms: 0 };
    put_cold(out, envelope, result::HELLO, COLD_BYTES_MAX, hello);
}

/// What every response has.
#[derive(Clone, Copy)]
struct Envelope<'a> {
    id: u64,
    epoch: u64,
    status: Status,
    message: &'a str,
    retry_after_ms: u32,
}

impl Envelope<'_> {
    fn bytes(&self) -> usize {
        size::uint(response::ID, self.id)
            + size::uint(response::EPOCH, self.epoch)
            + size::uint(response::STATUS, self.status as u64)
            + size::bytes(response::MESSAGE, self.message.len())
            + size::uint(response::RETRY_AFTER_MS, u64::from(self.retry_after_ms))
    }

    /// Begins a frame with a result of `len` bytes, and reserves it.
    fn begin<'o>(&self, out: &'o mut Vec<u8>, number: u32, len: usize) -> Writer<'o> {
        let mut writer = Writer::frame(out, self.bytes() + size::message(number, len));
        self.put(&mut writer);
        writer.message(number, len);
        writer
    }

    /// A response without a result.
    fn alone(&self, out: &mut Vec<u8>) {
        let has_room = out.capacity() - out.len() >= Piece::BYTES;
        if has_room && self.message.is_empty() && self.retry_after_ms == 0 {
            return Piece::append(out, |all| {
                all.skip(FRAME_PREFIX_BYTES);
                all.uint(response::ID, self.id);
                all.uint(response::EPOCH, self.epoch);
                all.uint(response::STATUS, self.status as u64);
                all.prefix(all.bytes().len() - FRAME_PREFIX_BYTES);
            });
        }
        let mut writer = Writer::frame(out, self.bytes());
        self.put(&mut writer);
    }

    fn failed(&self, out: &mut Vec<u8>, failure: &Failure) {
        let (status, retry_after_ms) = (failure.status, failure.retry_after_ms);
        let message = shortened(&failure.message);
        Envelope { id: self.id, epoch: self.epoch, status, message, retry_after_ms }.alone(out);
    }

    fn put(&self, writer: &mut Writer<'_>) {
        writer.uint(response::ID, self.id);
        writer.uint(response::EPOCH, self.epoch);
        writer.uint(response::STATUS, self.status as u64);
        writer.bytes(response::MESSAGE, self.message.as_bytes());
        writer.uint(response::RETRY_AFTER_MS, u64::from(self.retry_after_ms));
    }
}

/// The text, cut between two characters where it is too long.
fn shortened(text: &str) -> &str {
    let mut ends = (0..=FAILURE_MESSAGE_BYTES_MAX.min(text.len())).rev();
    ends.find_map(|end| text.get(..end)).unwrap_or("")
}

fn entry_bytes(found: Result<Found<'_>, Status>) -> usize {
    match found {
        Ok(found) => {
            size::bytes(entry::VALUE, found.value.len())
                + size::uint(entry::FLAGS, u64::from(found.flags))
                + size::fixed64(entry::VERSION, found.version)
                + size::uint(entry::TTL_MS, found.ttl_ms)
                + size::uint(entry::STALE, u64::from(found.is_stale))
        }
        Err(status) => size::uint(entry::STATUS, status as u64),
    }
}

fn put_entry(writer: &mut Writer<'_>, found: Result<Found<'_>, Status>) {
    match found {
        Ok(found) => {
            writer.value(entry::VALUE, &found.value);
            writer.uint(entry::FLAGS, u64::from(found.flags));
            writer.fixed64(entry::VERSION, found.version);
            writer.uint(entry::TTL_MS, found.ttl_ms);
            writer.uint(entry::STALE, u64::from(found.is_stale));
        }
        Err(status) => writer.uint(entry::STATUS, status as u64),
    }
}

fn put_looked(out: &mut Vec<u8>, envelope: Envelope<'_>, of: &Looked<Found<'_>>) {
    let entry_len = entry_bytes(Ok(of.entry));
    let len = size::message(looked::ENTRY, entry_len)
        + size::uint(looked::VALUE_BYTES, of.value_bytes)
        + size::uint(looked::EXPIRES_AT_MS, of.expires_at_ms)
        + size::uint(looked::ACCESSED_MS, of.accessed_ms)
        + size::uint(looked::HIT, u64::from(of.is_hit))
        + size::uint(looked::CLAIM, of.claim as u64);
    let mut writer = envelope.begin(out, result::LOOKED, len);
    writer.message(looked::ENTRY, entry_len);
    put_entry(&mut writer, Ok(of.entry));
    writer.uint(looked::VALUE_BYTES, of.value_bytes);
    writer.uint(looked::EXPIRES_AT_MS, of.expires_at_ms);
    writer.uint(looked::ACCESSED_MS, of.accessed_ms);
    writer.uint(looked::HIT, u64::from(of.is_hit));
    writer.uint(looked::CLAIM, of.claim as u64);
}

fn put_entries(out: &mut Vec<u8>, envelope: Envelope<'_>, entries: &dyn Entries) {
    if put_entries_in_place(out, &envelope, entries) {
        return;
    }
    let mut room = Room::for_results(entries.len());
    let sized = (0..entries.len()).map(|index| size::message(item::ELEMENT, room.fit(entries.entry(index)).1));
    let mut writer = envelope.begin(out, result::ENTRIES, sized.sum());
    let mut room = Room::for_results(entries.len());
    for index in 0..entries.len() {
        let (found, len) = room.fit(entries.entry(index));
        writer.message(item::ELEMENT, len);
        put_entry(&mut writer, found);
    }
}

/// Appends the results if `out` has room for them and some more, in one pass in which each is asked for once. How many
/// bytes they take is known behind them; in front of them they are left as much room as the first lets guess, and moved if
/// that is wrong. Says whether there was room; else nothing happened.
fn put_entries_in_place(out: &mut Vec<u8>, envelope: &Envelope<'_>, entries: &dyn Entries) -> bool {
    let head_bytes = |len| {
        let envelope = size::uint(response::ID, envelope.id) + size::uint(response::EPOCH, envelope.epoch);
        FRAME_PREFIX_BYTES + envelope + size::message(result::ENTRIES, len) - len
    };
    let first_bytes = if entries.is_empty() { 0 } else { size::message(item::ELEMENT, entry_bytes(entries.entry(0))) };
    let (begin, guess) = (out.len(), first_bytes.saturating_mul(entries.len()).min(FRAME_BYTES_MAX));
    if out.capacity() - begin < guess.saturating_add(2 * Piece::BYTES) {
        return false;
    }
    let begun = begin + head_bytes(guess);
    out.resize(begun, 0);
    if !put_results(out, entries) {
        out.truncate(begin);
        return false;
    }
    let len = out.len() - begun;
    let behind_head = begin + head_bytes(len);
    if behind_head != begun {
        out.resize(out.len().max(behind_head + len), 0);
        out.copy_within(begun..begun + len, behind_head);
        out.truncate(behind_head + len);
    }
    let mut aside = [0; Piece::BYTES];
    let mut head = Piece::new(&mut aside);
    head.skip(FRAME_PREFIX_BYTES);
    head.uint(response::ID, envelope.id);
    head.uint(response::EPOCH, envelope.epoch);
    head.message(result::ENTRIES, len);
    head.prefix(behind_head - begin - FRAME_PREFIX_BYTES + len);
    out[begin..behind_head].copy_from_slice(head.bytes());
    true
}

/// Appends the results while there is room for three pieces more; says whether there was.
fn put_results(out: &mut Vec<u8>, entries: &dyn Entries) -> bool {
    let mut room = Room::for_results(entries.len());
    for index in 0..entries.len() {
        let (found, len) = room.fit(entries.entry(index));
        if out.capacity() - out.len() < len.saturating_add(3 * Piece::BYTES) {
            return false;
        }
        Piece::append(out, |head| {
            head.message(item::ELEMENT, len);
            match &found {
                Ok(found) if found.value.is_empty() => {}
                Ok(found) => head.message(entry::VALUE, found.value.len()),
                Err(status) => head.uint(entry::STATUS, *status as u64),
            }
        });
        if let Ok(found) = found {
            found.value.append_to(out);
            Piece::append(out, |tail| put_behind_value(tail, &found));
        }
    }
    true
}

/// The room that results have in a frame. Every result has its few bytes of status set aside first, so that a large value
/// takes no room from the answers behind it.
struct Room {
    bytes: usize,
}

impl Room {
    /// Bytes of a result that does not fit.
    const REFUSED_BYTES: usize = size::message(item::ELEMENT, size::uint(entry::STATUS, Status::TooLarge as u64));

    fn for_results(count: usize) -> Self {
        Self { bytes: (FRAME_BYTES_MAX - RESULT_ENVELOPE_BYTES_MAX).saturating_sub(count * Self::REFUSED_BYTES) }
    }

    /// A result, or [`Status::TooLarge`] in its place, and its bytes.
    #[inline]
    fn fit<'f>(&mut self, found: Result<Found<'f>, Status>) -> (Result<Found<'f>, Status>, usize) {
        let len = entry_bytes(found);
        let more = size::message(item::ELEMENT, len).saturating_sub(Self::REFUSED_BYTES);
        if more > self.bytes {
            return (Err(Status::TooLarge), size::uint(entry::STATUS, Status::TooLarge as u64));
        }
        self.bytes -= more;
        (found, len)
    }
}

fn put_outcomes(out: &mut Vec<u8>, envelope: Envelope<'_>, outcomes: &dyn Outcomes) {
    let bytes = |(status, version): (Status, u64)| {
        size::uint(outcome::STATUS, status as u64) + size::fixed64(outcome::VERSION, version)
    };
    let fields = |index| match outcomes.outcome(index) {
        Ok(version) => (Status::Ok, version),
        Err(status) => (status, 0),
    };
    let indices = 0..outcomes.len();
    let len = indices.clone().map(|index| size::message(item::ELEMENT, bytes(fields(index)))).sum();
    let mut writer = envelope.begin(out, result::OUTCOMES, len);
    for (status, version) in indices.map(fields) {
        writer.message(item::ELEMENT, bytes((status, version)));
        writer.uint(outcome::STATUS, status as u64);
        writer.fixed64(outcome::VERSION, version);
    }
}

fn put_removals(out: &mut Vec<u8>, envelope: Envelope<'_>, batch: &Removals<'_>) {
    let sized = batch.iter().map(|removed| size::message(item::ELEMENT, removed_bytes(&removed)));
    let len = sized.sum::<usize>() + size::uint(removals::MISSED, batch.missed());
    let mut writer = envelope.begin(out, result::REMOVALS, len);
    for removed in batch.iter() {
        writer.message(item::ELEMENT, removed_bytes(&removed));
        writer.bytes(removals::KEY, removed.key);
        writer.uint(removals::REASON, removed.reason as u64);
        writer.uint(removals::BYTES, removed.bytes);
    }
    writer.uint(removals::MISSED, batch.missed());
}

fn removed_bytes(removed: &Removed<'_>) -> usize {
    size::bytes(removals::KEY, removed.key.len())
        + size::uint(removals::REASON, removed.reason as u64)
        + size::uint(removals::BYTES, removed.bytes)
}

/// A result that prost encodes.
fn put_cold(out: &mut Vec<u8>, envelope: Envelope<'_>, number: u32, bytes_max: usize, message: &impl Message) {
    let len = message.encoded_len();
    if len > bytes_max {
        return envelope.failed(out, &Failure::new(Status::TooLarge, "the answer is longer than a client accepts"));
    }
    envelope.begin(out, number, len).by_prost(message);
}

//! From a [`Request`] to its frame.

use alloc::vec::Vec;

use super::meta::{meta_bytes, put_meta};
use super::numbers::{alter_group, alter_node, hello, item, lease_get, lease_set, operation, request, scan};
use super::writer::{Writer, size, zigzag};
use crate::command::{Command, Condition, Expiry, GroupAlteration, NodeAlteration, Request, ScanStep, Write};
use crate::limits::FRAME_PREFIX_BYTES;
use crate::places::{Keys, Writes};

/// Appends the frame of `request` to `out`, its length first: the same bytes as prost's. Reserves once. An
/// [`Expiry::After`] of 0 ms is sent as 1 ms.
///
/// Nothing is checked here, the receiver does that. A batch that may be long is checked with [`request_bytes`] first:
/// a server closes the connection at a message above its `frame_bytes_max`.
///
/// # Panics
/// If the message is 4 GiB or longer.
pub fn encode_request(out: &mut Vec<u8>, request: &Request<'_>) {
    let (number, body_len) = body(&request.command);
    let mut writer = Writer::frame(out, message_bytes(request, number, body_len));
    writer.uint(request::ID, request.id);
    writer.uint(request::EPOCH, request.epoch);
    writer.fixed64(request::GROUP, request.group);
    writer.uint(request::TIMEOUT_MS, u64::from(request.timeout_ms));
    writer.uint(request::FORWARDED, u64::from(request.forwarded));
    if number != 0 {
        writer.message(number, body_len);
    }
    put_body(&mut writer, &request.command);
}

/// Bytes of the frame that [`encode_request`] writes, with its length prefix.
pub fn request_bytes(request: &Request<'_>) -> usize {
    let (number, body_len) = body(&request.command);
    FRAME_PREFIX_BYTES + message_bytes(request, number, body_len)
}

fn message_bytes(request: &Request<'_>, number: u32, body_len: usize) -> usize {
    size::uint(request::ID, request.id)
        + size::uint(request::EPOCH, request.epoch)
        + size::fixed64(request::GROUP, request.group)
        + size::uint(request::TIMEOUT_MS, u64::from(request.timeout_ms))
        + size::uint(request::FORWARDED, u64::from(request.forwarded))
        + if number == 0 { 0 } else { size::message(number, body_len) }
}

/// Field number and length of a command's message; number 0: a name that the protocol does not have.
fn body(command: &Command<'_>) -> (u32, usize) {
    match *command {
        Command::Get { key } => (operation::GET, size::bytes(item::KEY, key.len())),
        Command::GetMany { keys } => (operation::GET_MANY, keys_bytes(&keys)),
        Command::Set(ref write) => (operation::SET, write_bytes(write)),
        Command::SetMany { entries } => (operation::SET_MANY, writes_bytes(&entries)),
        Command::Delete { key, version } => {
            let len = size::bytes(item::KEY, key.len()) + size::fixed64(item::DELETE_VERSION, version);
            (operation::DELETE, len)
        }
        Command::DeleteMany { keys } => (operation::DELETE_MANY, keys_bytes(&keys)),
        Command::Touch { key, expiry, only } => {
            (operation::TOUCH, touch_bytes(key, expiry) + size::uint(item::ONLY, only as u64))
        }
        Command::GetAndTouch { key, expiry } => (operation::GET_AND_TOUCH, touch_bytes(key, expiry)),
        Command::Increment { key, delta, initial, expiry } => {
            let initial = initial.map_or(0, |initial| size::present(item::INITIAL, zigzag(initial)));
            let len = touch_bytes(key, expiry) + size::uint(item::DELTA, zigzag(delta)) + initial;
            (operation::INCREMENT, len)
        }
        Command::Count { key, delta, is_down, initial, expiry, version } => {
            let initial = initial.map_or(0, |initial| size::present(item::INITIAL, initial));
            let len = touch_bytes(key, expiry)
                + size::uint(item::DELTA, delta)
                + initial
                + size::uint(item::DOWN, u64::from(is_down))
                + size::fixed64(item::VERSION, version);
            (operation::COUNT, len)
        }
        Command::Append { key, value } => (operation::APPEND, append_bytes(key, value)),
        Command::Prepend { key, value } => (operation::PREPEND, append_bytes(key, value)),
        Command::Patch { key, offset, value } => {
            (operation::PATCH, append_bytes(key, value) + size::uint(item::OFFSET, offset))
        }
        Command::AddDecimal { key, delta } => (operation::ADD_DECIMAL, append_bytes(key, delta)),
        Command::Look { key, value } => {
            (operation::LOOK, size::bytes(item::KEY, key.len()) + size::uint(item::WANTS_VALUE, u64::from(value)))
        }
        Command::Check { key, version, expires_at_ms } => {
            let len = size::bytes(item::KEY, key.len()) + size::fixed64(item::DELETE_VERSION, version);
            (operation::CHECK, len + expires_at_ms.map_or(0, |at_ms| size::present(item::EXPIRES_AT_MS, at_ms)))
        }
        Command::Transact { key, requests } => (operation::TRANSACT, append_bytes(key, requests)),
        Command::Meta(ref meta) => (operation::META, meta_bytes(meta)),
        Command::Invalidate => (operation::INVALIDATE, 0),
        Command::Scan(ScanStep { cursor, count, pattern }) => {
            let len = size::bytes(scan::CURSOR, cursor.len())
                + size::uint(scan::COUNT, u64::from(count))
                + size::bytes(scan::PATTERN, pattern.len());
            (operation::SCAN, len)
        }
        Command::AlterGroup(GroupAlteration { name, action, settings }) => {
            let len = size::bytes(alter_group::NAME, name.len())
                + size::uint(alter_group::ACTION, action as u64)
                + size::bytes(alter_group::SETTINGS, settings.len());
            (operation::ALTER_GROUP, len)
        }
        Command::AlterNode(NodeAlteration { node, weight, drain }) => {
            let len = size::bytes(alter_node::NODE, node.len())
                + weight.map_or(0, |weight| size::message(alter_node::WEIGHT, weight.len()))
                + drain.map_or(0, |drain| size::present(alter_node::DRAIN, u64::from(drain)));
            (operation::ALTER_NODE, len)
        }
        Command::Ping => (operation::PING, 0),
        Command::Stats => (operation::STATS, 0),
        Command::Topology => (operation::TOPOLOGY, 0),
        Command::Watch => (operation::WATCH, 0),
        Command::Hello { client, protocol, credentials, shard } => {
            let len = size::uint(hello::PROTOCOL, u64::from(protocol))
                + size::bytes(hello::CLIENT, client.len())
                + size::bytes(hello::CREDENTIALS, credentials.len())
                + shard.map_or(0, |shard| size::present(hello::SHARD, u64::from(shard)));
            (operation::HELLO, len)
        }
        Command::LeaseGet { key, lease_ms } => {
            let len = size::bytes(item::KEY, key.len()) + size::uint(lease_get::LEASE_MS, u64::from(lease_ms));
            (operation::LEASE_GET, len)
        }
        Command::LeaseSet { ref write, token } => {
            let len = size::message(lease_set::SET, write_bytes(write)) + size::fixed64(lease_set::TOKEN, token);
            (operation::LEASE_SET, len)
        }
    }
}

fn put_body(writer: &mut Writer<'_>, command: &Command<'_>) {
    match *command {
        Command::Get { key } => writer.bytes(item::KEY, key),
        Command::GetMany { keys } | Command::DeleteMany { keys } => {
            for key in keys.iter() {
                writer.element(item::ELEMENT, key);
            }
        }
        Command::Set(ref write) => put_write(writer, write),
        Command::SetMany { entries } => {
            for write in entries.iter() {
                writer.message(item::ELEMENT, write_bytes(&write));
                put_write(writer, &write);
            }
        }
        Command::Delete { key, version } => {
            writer.bytes(item::KEY, key);
            writer.fixed64(item::DELETE_VERSION, version);
        }
        Command::Check { key, version, expires_at_ms } => {
            writer.bytes(item::KEY, key);
            writer.fixed64(item::DELETE_VERSION, version);
            if let Some(at_ms) = expires_at_ms {
                writer.present(item::EXPIRES_AT_MS, at_ms);
            }
        }
        Command::Touch { key, expiry, only } => {
            writer.bytes(item::KEY, key);
            writer.uint(item::ONLY, only as u64);
            put_expiry(writer, expiry);
        }
        Command::GetAndTouch { key, expiry } => {
            writer.bytes(item::KEY, key);
            put_expiry(writer, expiry);
        }
        Command::Patch { key, offset, value } => {
            writer.bytes(item::KEY, key);
            writer.bytes(item::VALUE, value);
            writer.uint(item::OFFSET, offset);
        }
        Command::Look { key, value } => {
            writer.bytes(item::KEY, key);
            writer.uint(item::WANTS_VALUE, u64::from(value));
        }
        Command::Increment { key, delta, initial, expiry } => {
            writer.bytes(item::KEY, key);
            writer.uint(item::DELTA, zigzag(delta));
            if let Some(initial) = initial {
                writer.present(item::INITIAL, zigzag(initial));
            }
            put_expiry(writer, expiry);
        }
        Command::Count { key, delta, is_down, initial, expiry, version } => {
            writer.bytes(item::KEY, key);
            writer.uint(item::DELTA, delta);
            if let Some(initial) = initial {
                writer.present(item::INITIAL, initial);
            }
            writer.uint(item::DOWN, u64::from(is_down));
            writer.fixed64(item::VERSION, version);
            put_expiry(writer, expiry);
        }
        Command::LeaseGet { key, lease_ms } => {
            writer.bytes(item::KEY, key);
            writer.uint(lease_get::LEASE_MS, u64::from(lease_ms));
        }
        Command::LeaseSet { ref write, token } => {
            writer.message(lease_set::SET, write_bytes(write));
            put_write(writer, write);
            writer.fixed64(lease_set::TOKEN, token);
        }
        Command::Append { key, value }
        | Command::Prepend { key, value }
        | Command::AddDecimal { key, delta: value }
        | Command::Transact { key, requests: value } => {
            writer.bytes(item::KEY, key);
            writer.bytes(item::VALUE, value);
        }
        Command::Hello { client, protocol, credentials, shard } => {
            writer.uint(hello::PROTOCOL, u64::from(protocol));
            writer.bytes(hello::CLIENT, client.as_bytes());
            writer.bytes(hello::CREDENTIALS, credentials);
            if let Some(shard) = shard {
                writer.present(hello::SHARD, u64::from(shard));
            }
        }
        Command::Scan(ScanStep { cursor, count, pattern }) => {
            writer.bytes(scan::CURSOR, cursor);
            writer.uint(scan::COUNT, u64::from(count));
            writer.bytes(scan::PATTERN, pattern);
        }
        Command::AlterGroup(GroupAlteration { name, action, settings }) => {
            writer.bytes(alter_group::NAME, name.as_bytes());
            writer.uint(alter_group::ACTION, action as u64);
            writer.bytes(alter_group::SETTINGS, settings.as_bytes());
        }
        Command::AlterNode(NodeAlteration { node, weight, drain }) => {
            writer.bytes(alter_node::NODE, node.as_bytes());
            if let Some(weight) = weight {
                writer.element(alter_node::WEIGHT, weight.as_bytes());
            }
            if let Some(drain) = drain {
                writer.present(alter_node::DRAIN, u64::from(drain));
            }
        }
        Command::Meta(ref meta) => put_meta(writer, meta),
        Command::Invalidate | Command::Ping | Command::Stats | Command::Topology | Command::Watch => {}
    }
}

fn put_write(writer: &mut Writer<'_>, write: &Write<'_>) {
    let (condition, version) = condition_fields(write.condition);
    writer.bytes(item::KEY, write.key);
    writer.bytes(item::VALUE, write.value);
    writer.uint(item::FLAGS, u64::from(write.flags));
    writer.uint(item::CONDITION, condition);
    writer.fixed64(item::VERSION, version);
    put_expiry(writer, write.expiry);
}

fn write_bytes(write: &Write<'_>) -> usize {
    let (condition, version) = condition_fields(write.condition);
    append_bytes(write.key, write.value)
        + size::uint(item::FLAGS, u64::from(write.flags))
        + size::uint(item::CONDITION, condition)
        + size::fixed64(item::VERSION, version)
        + expiry_bytes(write.expiry)
}

fn writes_bytes(writes: &Writes<'_>) -> usize {
    writes.iter().map(|write| size::message(item::ELEMENT, write_bytes(&write))).sum()
}

fn keys_bytes(keys: &Keys<'_>) -> usize {
    keys.iter().map(|key| size::message(item::ELEMENT, key.len())).sum()
}

fn touch_bytes(key: &[u8], expiry: Expiry) -> usize {
    size::bytes(item::KEY, key.len()) + expiry_bytes(expiry)
}

pub(super) fn append_bytes(key: &[u8], value: &[u8]) -> usize {
    size::bytes(item::KEY, key.len()) + size::bytes(item::VALUE, value.len())
}

/// The numbers of `Set.condition` and `Set.version`.
fn condition_fields(condition: Condition) -> (u64, u64) {
    match condition {
        Condition::Always => (0, 0),
        Condition::Absent => (1, 0),
        Condition::Present => (2, 0),
        Condition::Version(version) => (3, version),
    }
}

/// Number and value of the field of `oneof expiry` that says this; it is written also when the value is 0.
fn expiry_field(expiry: Expiry) -> Option<(u32, u64)> {
    match expiry {
        Expiry::Default => None,
        Expiry::Never => Some((item::TTL_MS, 0)),
        Expiry::After(ttl_ms) => Some((item::TTL_MS, ttl_ms.max(1))),
        Expiry::At(at_ms) => Some((item::EXPIRES_AT_MS, at_ms)),
        Expiry::Keep => Some((item::KEEP_TTL, 1)),
    }
}

pub(super) fn expiry_bytes(expiry: Expiry) -> usize {
    expiry_field(expiry).map_or(0, |(number, value)| size::present(number, value))
}

pub(super) fn put_expiry(writer: &mut Writer<'_>, expiry: Expiry) {
    if let Some((number, value)) = expiry_field(expiry) {
        writer.present(number, value);
    }
}

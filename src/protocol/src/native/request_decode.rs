//! From the bytes of a `Request` to a [`Request`], borrowed from them.

use super::Malformed;
use super::meta::MetaDraft;
use super::numbers::{item, operation, request};
use super::reader::{Fault, Reader};
use super::request_fields::{
    AlterGroup, AlterNode, Count, Hello, Item, Lease, Scan, merge_keys, merge_writes, skip_all,
};
use super::request_plain::decode_plain;
use super::scratch::Scratch;
use crate::command::{Command, Expiry, Request, Write};
use crate::limits::FRAME_BYTES_MAX;
use crate::places::{Keys, Writes};

/// Decodes one message, as [`super::frame`] gives it. Every length and count is checked before anything is kept, and
/// nothing but the places of keys in `scratch` is. The last of several equal fields counts, and parts of one
/// operation are merged, as protobuf has it. An operation that is not offered must be a valid message all the same.
///
/// # Errors
/// [`Malformed`], to be answered as it says; the connection goes on with the next frame.
pub fn decode_request<'a>(message: &'a [u8], scratch: &'a mut Scratch) -> Result<Request<'a>, Malformed> {
    if message.len() > FRAME_BYTES_MAX {
        return Err(Malformed::new(message, Fault::bad("the message is longer than any frame may be")));
    }
    decode(message, scratch).map_err(|fault| Malformed::new(message, fault))
}

fn decode<'a>(message: &'a [u8], scratch: &'a mut Scratch) -> Result<Request<'a>, Fault> {
    scratch.begin();
    if let Some(request) = decode_plain(message, &scratch.limits) {
        return Ok(request);
    }
    let mut reader = Reader::new(message);
    let (mut id, mut epoch, mut group, mut timeout_ms, mut forwarded) = (0, 0, 0, 0, false);
    let mut draft = Draft::default();
    while let Some((number, wire)) = reader.field()? {
        match number {
            request::ID => id = reader.uint64(wire)?,
            request::EPOCH => epoch = reader.uint64(wire)?,
            request::GROUP => group = reader.fixed64(wire)?,
            request::TIMEOUT_MS => timeout_ms = reader.uint32(wire)?,
            request::FORWARDED => forwarded = reader.bool(wire)?,
            operation::GET..=operation::META => {
                let body = reader.message(wire)?;
                if draft.operation != number {
                    draft = Draft { operation: number, ..Draft::default() };
                    scratch.clear();
                }
                draft.merge(body, scratch)?;
            }
            _ => reader.skip(number, wire)?,
        }
    }
    let command = draft.finish(message, scratch)?;
    Ok(Request { id, epoch, group, timeout_ms, forwarded, command })
}

/// The fields of an operation, as far as they were read.
#[derive(Default)]
struct Draft<'a> {
    /// Field number of the operation; 0: none yet.
    operation: u32,
    item: Item,
    delta: i64,
    initial: Option<i64>,
    count: Count,
    meta: MetaDraft,
    lease: Lease,
    hello: Hello<'a>,
    scan: Scan<'a>,
    alter_group: AlterGroup<'a>,
    alter_node: AlterNode<'a>,
}

impl<'a> Draft<'a> {
    #[inline]
    fn merge(&mut self, body: Reader<'a>, scratch: &mut Scratch) -> Result<(), Fault> {
        match self.operation {
            operation::GET => self.item.merge_key(body),
            operation::SET => self.item.merge_set(body),
            operation::GET_MANY | operation::DELETE_MANY => merge_keys(body, scratch),
            operation::SET_MANY => merge_writes(body, scratch),
            operation::DELETE => self.item.merge_delete(body),
            operation::TOUCH | operation::GET_AND_TOUCH => self.item.merge_touch(body),
            operation::INCREMENT => self.merge_increment(body),
            operation::COUNT => self.count.merge(&mut self.item, body),
            operation::META => self.meta.merge(&mut self.item, body),
            operation::APPEND | operation::PREPEND | operation::ADD_DECIMAL | operation::TRANSACT => {
                self.item.merge_append(body)
            }
            operation::PATCH => self.item.merge_patch(body),
            operation::LOOK => self.item.merge_look(body),
            operation::CHECK => self.item.merge_check(body),
            operation::HELLO => self.hello.merge(body),
            operation::LEASE_GET => self.lease.merge_get(&mut self.item, body),
            operation::LEASE_SET => self.lease.merge_set(&mut self.item, body),
            operation::SCAN => self.scan.merge(body),
            operation::ALTER_GROUP => self.alter_group.merge(body),
            operation::ALTER_NODE => self.alter_node.merge(body),
            _ => skip_all(body),
        }
    }

    fn merge_increment(&mut self, mut body: Reader<'a>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::KEY => self.item.key = body.span(wire)?,
                item::DELTA => self.delta = body.sint64(wire)?,
                item::INITIAL => self.initial = Some(body.sint64(wire)?),
                _ => self.item.merge_expiry(&mut body, number, wire)?,
            }
        }
        Ok(())
    }

    #[inline]
    fn finish(self, message: &'a [u8], scratch: &'a Scratch) -> Result<Command<'a>, Fault> {
        let limits = &scratch.limits;
        let expiry = self.item.expiry;
        Ok(match self.operation {
            operation::GET => Command::Get { key: self.item.key(message, limits)? },
            operation::SET => Command::Set(self.item.write(limits)?.of(message)),
            operation::GET_MANY => Command::GetMany { keys: Keys::new(message, &scratch.keys) },
            operation::SET_MANY => Command::SetMany { entries: Writes::new(message, &scratch.writes) },
            operation::DELETE => Command::Delete { key: self.item.key(message, limits)?, version: self.item.version },
            operation::DELETE_MANY => Command::DeleteMany { keys: Keys::new(message, &scratch.keys) },
            operation::TOUCH => {
                let only = self.item.only()?;
                Command::Touch { key: self.item.key(message, limits)?, expiry, only }
            }
            operation::GET_AND_TOUCH => Command::GetAndTouch { key: self.item.key(message, limits)?, expiry },
            operation::INCREMENT => {
                let key = self.item.key(message, limits)?;
                Command::Increment { key, delta: self.delta, initial: self.initial, expiry }
            }
            operation::COUNT => self.count.finish(self.item.key(message, limits)?, &self.item),
            operation::META => self.meta.finish(&self.item, message, limits)?,
            operation::APPEND => {
                let Write { key, value, .. } = self.item.write(limits)?.of(message);
                Command::Append { key, value }
            }
            operation::PREPEND => {
                let Write { key, value, .. } = self.item.write(limits)?.of(message);
                Command::Prepend { key, value }
            }
            operation::PATCH => {
                let Write { key, value, .. } = self.item.write(limits)?.of(message);
                Command::Patch { key, offset: self.item.offset, value }
            }
            operation::ADD_DECIMAL => {
                let Write { key, value, .. } = self.item.write(limits)?.of(message);
                Command::AddDecimal { key, delta: value }
            }
            operation::LOOK => Command::Look { key: self.item.key(message, limits)?, value: self.item.wants_value },
            operation::CHECK => {
                let expires_at_ms = match self.item.expiry {
                    Expiry::At(at_ms) => Some(at_ms),
                    _ => None,
                };
                Command::Check { key: self.item.key(message, limits)?, version: self.item.version, expires_at_ms }
            }
            operation::TRANSACT => {
                Command::Transact { key: self.item.key(message, limits)?, requests: self.item.value(message) }
            }
            operation::LEASE_GET => {
                Command::LeaseGet { key: self.item.key(message, limits)?, lease_ms: self.lease.lease_ms }
            }
            operation::LEASE_SET => {
                Command::LeaseSet { write: self.item.write(limits)?.of(message), token: self.lease.token }
            }
            operation::INVALIDATE => Command::Invalidate,
            operation::SCAN => self.scan.finish()?,
            operation::ALTER_GROUP => self.alter_group.finish()?,
            operation::ALTER_NODE => self.alter_node.finish()?,
            operation::PING => Command::Ping,
            operation::WATCH => Command::Watch,
            operation::STATS => Command::Stats,
            operation::TOPOLOGY => Command::Topology,
            operation::HELLO => self.hello.finish()?,
            _ => return Err(Fault::not_supported("no operation, or none that this server knows")),
        })
    }
}

//! From the bytes of a `Request` to a [`Request`], borrowed from them.

use super::Malformed;
use super::numbers::{hello, item, lease_set, operation, request, scan};
use super::reader::{Fault, Reader, Wire};
use super::scratch::{RequestLimits, Scratch};
use crate::command::{Command, Condition, Expiry, Keys, Request, Span, Write, WriteSpan, Writes};
use crate::limits::{CLIENT_NAME_BYTES_MAX, FRAME_BYTES_MAX};

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
    let mut reader = Reader::new(message);
    let (mut id, mut epoch, mut group, mut timeout_ms, mut forwarded) = (0, 0, 0, 0, false);
    let mut draft = Draft::default();
    scratch.begin();
    while let Some((number, wire)) = reader.field()? {
        match number {
            request::ID => id = reader.uint64(wire)?,
            request::EPOCH => epoch = reader.uint64(wire)?,
            request::GROUP => group = reader.fixed64(wire)?,
            request::TIMEOUT_MS => timeout_ms = reader.uint32(wire)?,
            request::FORWARDED => forwarded = reader.bool(wire)?,
            operation::GET..=operation::WATCH => {
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
    hello: Hello<'a>,
}

/// The fields that operations on one key, and the elements of a set_many, share.
#[derive(Default)]
struct Item {
    key: Span,
    value: Span,
    flags: u32,
    condition: u32,
    version: u64,
    expiry: Expiry,
}

#[derive(Default)]
struct Hello<'a> {
    protocol: u32,
    client: &'a str,
    credentials: &'a [u8],
    shard: Option<u32>,
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
            operation::APPEND | operation::PREPEND => self.item.merge_append(body),
            operation::HELLO => self.hello.merge(body),
            operation::LEASE_GET => self.item.merge_key(body),
            operation::LEASE_SET => check_lease_set(body),
            operation::SCAN => check_scan(body),
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
            operation::TOUCH => Command::Touch { key: self.item.key(message, limits)?, expiry },
            operation::GET_AND_TOUCH => Command::GetAndTouch { key: self.item.key(message, limits)?, expiry },
            operation::INCREMENT => {
                let key = self.item.key(message, limits)?;
                Command::Increment { key, delta: self.delta, initial: self.initial, expiry }
            }
            operation::APPEND => {
                let Write { key, value, .. } = self.item.write(limits)?.of(message);
                Command::Append { key, value }
            }
            operation::PREPEND => {
                let Write { key, value, .. } = self.item.write(limits)?.of(message);
                Command::Prepend { key, value }
            }
            operation::INVALIDATE => Command::Invalidate,
            operation::STATS => Command::Stats,
            operation::TOPOLOGY => Command::Topology,
            operation::HELLO => self.hello.finish()?,
            number => match operation::NOT_OFFERED.iter().find(|(known, _)| *known == number) {
                Some((_, name)) => Command::NotOffered { operation: name },
                None => return Err(Fault::not_supported("no operation, or none that this server knows")),
            },
        })
    }
}

impl Item {
    #[inline]
    fn merge_key(&mut self, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::KEY => self.key = body.span(wire)?,
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    fn merge_set(&mut self, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::KEY => self.key = body.span(wire)?,
                item::VALUE => self.value = body.span(wire)?,
                item::FLAGS => self.flags = body.uint32(wire)?,
                item::CONDITION => self.condition = body.uint32(wire)?,
                item::VERSION => self.version = body.fixed64(wire)?,
                _ => self.merge_expiry(&mut body, number, wire)?,
            }
        }
        Ok(())
    }

    fn merge_delete(&mut self, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::KEY => self.key = body.span(wire)?,
                item::DELETE_VERSION => self.version = body.fixed64(wire)?,
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    fn merge_touch(&mut self, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::KEY => self.key = body.span(wire)?,
                _ => self.merge_expiry(&mut body, number, wire)?,
            }
        }
        Ok(())
    }

    fn merge_append(&mut self, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::KEY => self.key = body.span(wire)?,
                item::VALUE => self.value = body.span(wire)?,
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    /// One of the fields of `oneof expiry`, the last of which counts, or an unknown field.
    fn merge_expiry(&mut self, body: &mut Reader<'_>, number: u32, wire: Wire) -> Result<(), Fault> {
        self.expiry = match number {
            item::TTL_MS => match body.uint64(wire)? {
                0 => Expiry::Never,
                ttl_ms => Expiry::After(ttl_ms),
            },
            item::EXPIRES_AT_MS => Expiry::At(body.uint64(wire)?),
            item::KEEP_TTL => match body.bool(wire)? {
                true => Expiry::Keep,
                false => Expiry::Default,
            },
            _ => return body.skip(number, wire),
        };
        Ok(())
    }

    #[inline]
    fn key<'a>(&self, message: &'a [u8], limits: &RequestLimits) -> Result<&'a [u8], Fault> {
        limits.check_key(self.key.len as usize)?;
        Ok(self.key.of(message))
    }

    fn write(&self, limits: &RequestLimits) -> Result<WriteSpan, Fault> {
        limits.check_key(self.key.len as usize)?;
        limits.check_value(self.value.len as usize)?;
        let condition = match self.condition {
            0 => Condition::Always,
            1 => Condition::Absent,
            2 => Condition::Present,
            3 => Condition::Version(self.version),
            _ => return Err(Fault::bad("a condition is none that this server knows")),
        };
        Ok(WriteSpan { key: self.key, value: self.value, flags: self.flags, condition, expiry: self.expiry })
    }
}

impl<'a> Hello<'a> {
    fn merge(&mut self, mut body: Reader<'a>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                hello::PROTOCOL => self.protocol = body.uint32(wire)?,
                hello::CLIENT => self.client = body.text(wire, "the client's name is not UTF-8")?,
                hello::CREDENTIALS => self.credentials = body.slice(wire)?,
                hello::SHARD => self.shard = Some(body.uint32(wire)?),
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Command<'a>, Fault> {
        if self.client.len() > CLIENT_NAME_BYTES_MAX {
            return Err(Fault::too_large("the client's name is longer than 1024 bytes"));
        }
        if self.credentials.len() > CLIENT_NAME_BYTES_MAX {
            return Err(Fault::too_large("the credentials are longer than 1024 bytes"));
        }
        let Hello { protocol, client, credentials, shard } = self;
        Ok(Command::Hello { client, protocol, credentials, shard })
    }
}

fn merge_keys(mut body: Reader<'_>, scratch: &mut Scratch) -> Result<(), Fault> {
    while let Some((number, wire)) = body.field()? {
        match number {
            item::ELEMENT => scratch.push_key(body.span(wire)?)?,
            _ => body.skip(number, wire)?,
        }
    }
    Ok(())
}

fn merge_writes(mut body: Reader<'_>, scratch: &mut Scratch) -> Result<(), Fault> {
    while let Some((number, wire)) = body.field()? {
        match number {
            item::ELEMENT => {
                let mut entry = Item::default();
                entry.merge_set(body.message(wire)?)?;
                scratch.push_write(entry.write(&scratch.limits)?)?;
            }
            _ => body.skip(number, wire)?,
        }
    }
    Ok(())
}

fn check_lease_set(mut body: Reader<'_>) -> Result<(), Fault> {
    while let Some((number, wire)) = body.field()? {
        match number {
            lease_set::SET => Item::default().merge_set(body.message(wire)?)?,
            lease_set::TOKEN => _ = body.fixed64(wire)?,
            _ => body.skip(number, wire)?,
        }
    }
    Ok(())
}

fn check_scan(mut body: Reader<'_>) -> Result<(), Fault> {
    while let Some((number, wire)) = body.field()? {
        match number {
            scan::CURSOR | scan::PATTERN => _ = body.span(wire)?,
            scan::COUNT => _ = body.uint32(wire)?,
            _ => body.skip(number, wire)?,
        }
    }
    Ok(())
}

/// A message that has no fields yet.
fn skip_all(mut body: Reader<'_>) -> Result<(), Fault> {
    while let Some((number, wire)) = body.field()? {
        body.skip(number, wire)?;
    }
    Ok(())
}

//! The requests that nearly all traffic consists of, in the one form in which encoders write them.

use super::frame::frame;
use super::numbers::{item, operation, request};
use super::reader::Reader;
use super::scratch::RequestLimits;
use crate::Ahead;
use crate::command::{Command, Condition, Expiry, Request, Write};

/// The first byte of a field: its number and wire type, for numbers below 16.
const fn key(number: u32, wire: u32) -> u8 {
    assert!(number < 16 && wire < 8);
    (number << 3 | wire) as u8
}

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

/// Decodes a get or an unconditional set that is within the limits and written as encoders write it: known fields
/// only, each once, in the order of their numbers. `None`: it may be anything else, so [`super::decode_request`] has
/// to look. It gives the same where this gives something. Needs no memory beside the message, so that several
/// requests can be there at a time.
#[inline]
pub fn decode_plain<'a>(message: &'a [u8], limits: &RequestLimits) -> Option<Request<'a>> {
    let mut cursor = Cursor { rest: message };
    let id = cursor.uint(key(request::ID, VARINT))?;
    let epoch = cursor.uint(key(request::EPOCH, VARINT))?;
    let group = match cursor.is_next(key(request::GROUP, FIXED64)) {
        true => cursor.fixed64()?,
        false => 0,
    };
    let timeout_ms = u32::try_from(cursor.uint(key(request::TIMEOUT_MS, VARINT))?).ok()?;
    let forwarded = cursor.uint(key(request::FORWARDED, VARINT))? != 0;
    let (&operation, rest) = cursor.rest.split_first()?;
    cursor.rest = rest;
    if cursor.varint()? != cursor.rest.len() as u64 {
        return None;
    }
    let command = if operation == key(operation::GET, BYTES) {
        let key = cursor.bytes(key(item::KEY, BYTES), limits.key_bytes_max)?;
        Command::Get { key }
    } else if operation == key(operation::SET, BYTES) {
        let key_bytes = cursor.bytes(key(item::KEY, BYTES), limits.key_bytes_max)?;
        let value = cursor.bytes(key(item::VALUE, BYTES), limits.value_bytes_max)?;
        let flags = u32::try_from(cursor.uint(key(item::FLAGS, VARINT))?).ok()?;
        let expiry = match cursor.is_next(key(item::TTL_MS, VARINT)) {
            true => match cursor.varint()? {
                0 => Expiry::Never,
                ttl_ms => Expiry::After(ttl_ms),
            },
            false => Expiry::Default,
        };
        Command::Set(Write { key: key_bytes, value, flags, condition: Condition::Always, expiry })
    } else {
        return None;
    };
    cursor.rest.is_empty().then_some(Request { id, epoch, group, timeout_ms, forwarded, command })
}

/// The request that `input` consists of, if it is one and [`decode_plain`] understands it.
pub fn decode_only<'a>(input: &'a [u8], limits: &RequestLimits, frame_bytes_max: usize) -> Option<Request<'a>> {
    let frame = frame(input, frame_bytes_max).ok()??;
    if frame.consumed == input.len() { decode_plain(frame.message, limits) } else { None }
}

/// Decodes the frames at the beginning of `input` for as long as [`decode_plain`] understands them, up to `requests_max`.
#[inline]
pub fn decode_ahead<'a>(
    input: &'a [u8],
    limits: &RequestLimits,
    frame_bytes_max: usize,
    requests_max: usize,
    ahead: &mut Ahead<'a>,
) {
    ahead.requests.clear();
    let mut end = 0;
    while ahead.requests.len() < requests_max
        && let Ok(Some(frame)) = frame(&input[end..], frame_bytes_max)
        && let Some(request) = decode_plain(frame.message, limits)
    {
        end += frame.consumed;
        ahead.requests.push((request, end));
    }
}

/// What is left of a message.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Passes over the first byte of a field, if that is next.
    #[inline]
    fn is_next(&mut self, key: u8) -> bool {
        match self.rest.split_first() {
            Some((&first, rest)) if first == key => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// A number that is left out if it is 0.
    #[inline]
    fn uint(&mut self, key: u8) -> Option<u64> {
        if self.is_next(key) { self.varint() } else { Some(0) }
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let (&first, rest) = self.rest.split_first()?;
        if first < 0x80 {
            self.rest = rest;
            return Some(u64::from(first));
        }
        let mut reader = Reader::new(self.rest);
        let value = reader.varint().ok()?;
        self.rest = self.rest.get(reader.position()..)?;
        Some(value)
    }

    #[inline]
    fn fixed64(&mut self) -> Option<u64> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u64::from_le_bytes(*bytes))
    }

    /// A byte string, which is left out if it is empty.
    #[inline]
    fn bytes(&mut self, key: u8, len_max: usize) -> Option<&'a [u8]> {
        if !self.is_next(key) {
            return Some(&[]);
        }
        let len = usize::try_from(self.varint()?).ok().filter(|len| *len <= len_max)?;
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }
}

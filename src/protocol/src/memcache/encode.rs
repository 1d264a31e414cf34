//! Replies.

use alloc::vec::Vec;

use super::decode::TOO_LARGE;
use crate::{Failure, Found, Reply, Status};

/// How a reply is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The value of one key.
    Value {
        /// With its version.
        has_cas: bool,
    },
    /// The values of several keys.
    Values {
        /// With their versions.
        has_cas: bool,
    },
    /// STORED or NOT_STORED.
    Stored,
    /// STORED, EXISTS or NOT_FOUND.
    Compared,
    /// DELETED or NOT_FOUND.
    Deleted,
    /// TOUCHED or NOT_FOUND.
    Touched,
    /// The number, or NOT_FOUND.
    Counted,
    /// OK.
    Flushed,
}

/// Appends the answer to a command about `keys`, one behind the other with a blank between them; nothing if `is_quiet`: whoever
/// wants no answer would take a failure for that to the next command.
pub fn encode(out: &mut Vec<u8>, shape: Shape, is_quiet: bool, keys: &[u8], reply: &Reply<'_>) {
    match (shape, reply) {
        _ if is_quiet => {}
        (_, Reply::Failed(failure)) => fail(out, shape, failure),
        (Shape::Value { has_cas }, Reply::Entry(found)) => {
            value(out, keys, found, has_cas);
            out.extend_from_slice(b"END\r\n");
        }
        (Shape::Value { .. }, Reply::Miss) => out.extend_from_slice(b"END\r\n"),
        (Shape::Values { has_cas }, Reply::Entries(entries)) => {
            let begin = out.len();
            for (key, index) in keys.split(|byte| *byte == b' ').zip(0..entries.len()) {
                match entries.entry(index) {
                    Ok(found) => value(out, key, &found, has_cas),
                    Err(Status::NotFound) => {}
                    // Whoever gets some of the values and an error takes the error for the next answer.
                    Err(status) => {
                        out.truncate(begin);
                        return said(out, text_of(status));
                    }
                }
            }
            out.extend_from_slice(b"END\r\n");
        }
        (Shape::Stored | Shape::Compared, Reply::Stored { .. } | Reply::Resized { .. }) => said(out, "STORED"),
        (Shape::Stored, Reply::Miss) => said(out, "NOT_STORED"),
        (Shape::Deleted, Reply::Done) => said(out, "DELETED"),
        (Shape::Touched, Reply::Stored { .. }) => said(out, "TOUCHED"),
        (Shape::Compared | Shape::Deleted | Shape::Touched | Shape::Counted, Reply::Miss) => said(out, "NOT_FOUND"),
        (Shape::Counted, Reply::Entry(found)) => {
            let begin = out.len();
            found.value.append_to(out);
            // Blanks keep the length of the value, and are no part of the number.
            let number = out[begin..].trim_ascii_end().len();
            out.truncate(begin + number);
            out.extend_from_slice(b"\r\n");
        }
        (Shape::Flushed, Reply::Invalidated { .. }) => said(out, "OK"),
        _ => unreachable!("{reply:?} is no answer to a command of {shape:?}"),
    }
}

fn value(out: &mut Vec<u8>, key: &[u8], found: &Found<'_>, has_cas: bool) {
    let len = found.value.len();
    out.reserve(len + key.len() + 64);
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(key);
    let mut buffer = itoa::Buffer::new();
    out.push(b' ');
    out.extend_from_slice(buffer.format(found.flags).as_bytes());
    out.push(b' ');
    out.extend_from_slice(buffer.format(len).as_bytes());
    if has_cas {
        out.push(b' ');
        out.extend_from_slice(buffer.format(found.version).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    found.value.append_to(out);
    out.extend_from_slice(b"\r\n");
}

fn fail(out: &mut Vec<u8>, shape: Shape, failure: &Failure) {
    match (shape, failure.status) {
        (Shape::Stored, Status::Exists) => said(out, "NOT_STORED"),
        (Shape::Compared, Status::VersionMismatch) => said(out, "EXISTS"),
        _ => said(out, text_of(failure.status)),
    }
}

pub(super) fn said(out: &mut Vec<u8>, line: &str) {
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// As memcached says it, where it knows such an error.
pub(super) fn text_of(status: Status) -> &'static str {
    match status {
        Status::TooLarge => TOO_LARGE,
        Status::NotANumber => "CLIENT_ERROR cannot increment or decrement non-numeric value",
        Status::OutcomeUnknown => "SERVER_ERROR the command may or may not have been executed",
        Status::Overloaded | Status::OriginBusy => "SERVER_ERROR too much waits here; not executed, try again",
        Status::OwnerUnsure | Status::WrongOwner => {
            "SERVER_ERROR the owner of the key is about to change; not executed"
        }
        Status::Unavailable => "SERVER_ERROR the node of the key cannot be reached; harmless to repeat",
        Status::DeadlineExceeded => "SERVER_ERROR out of time; harmless to repeat",
        Status::OriginFailed => "SERVER_ERROR the group's origin did not give the value",
        Status::NoSuchGroup => "SERVER_ERROR there is no such group",
        _ => "SERVER_ERROR the command cannot be executed",
    }
}

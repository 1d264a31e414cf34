//! The commands that nearly all traffic consists of, in the one form in which clients write them.

use super::Shape;
use crate::command::{Command, Condition, Expiry, Write};
use crate::limits::KEY_BYTES_MAX;

/// A get, or a set without options, at the beginning of some input, with how its reply is told and the bytes that it takes.
/// `None`: it may be anything else, so [`super::Reader`] and [`super::decode`] have to look; they give the same where this
/// gives something. Needs no memory beside the input, so that several commands can be there at a time.
#[inline]
pub fn plain(input: &[u8], value_bytes_max: usize) -> Option<(Command<'_>, Shape, usize)> {
    if let Some(rest) = input.strip_prefix(b"*2\r\n$3\r\n") {
        let (key, rest) = argument(named(rest, *b"get")?, KEY_BYTES_MAX)?;
        return Some((Command::Get { key }, Shape::Value, input.len() - rest.len()));
    }
    let rest = input.strip_prefix(b"*3\r\n$3\r\n")?;
    let (key, rest) = argument(named(rest, *b"set")?, KEY_BYTES_MAX)?;
    let (value, rest) = argument(rest, value_bytes_max)?;
    let write = Write { key, value, flags: 0, condition: Condition::Always, expiry: Expiry::Default };
    Some((Command::Set(write), Shape::Ok, input.len() - rest.len()))
}

/// What is behind this name.
#[inline]
fn named(rest: &[u8], name: [u8; 3]) -> Option<&[u8]> {
    let (found, rest) = rest.split_first_chunk::<3>()?;
    let rest = rest.strip_prefix(b"\r\n")?;
    // Small and capital letters differ in one bit, and nothing else becomes a letter by it.
    (found.map(|byte| byte | 0x20) == name).then_some(rest)
}

/// An argument of at most so many bytes, with what is behind it.
#[inline]
fn argument(rest: &[u8], bytes_max: usize) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = rest.strip_prefix(b"$")?.split_first()?;
    let mut len = usize::from(first.wrapping_sub(b'0'));
    if len > 9 {
        return None;
    }
    let mut at = 0;
    // No number above it has as many digits.
    while at < 8 {
        let digit = usize::from(rest.get(at)?.wrapping_sub(b'0'));
        if digit > 9 {
            break;
        }
        // No zeros in front.
        if len == 0 {
            return None;
        }
        len = 10 * len + digit;
        at += 1;
    }
    let rest = rest[at..].strip_prefix(b"\r\n")?;
    if len > bytes_max {
        return None;
    }
    let (argument, rest) = rest.split_at_checked(len)?;
    Some((argument, rest.strip_prefix(b"\r\n")?))
}

//! The commands that nearly all traffic consists of, in the one form in which clients write them.

use super::{KEY_BYTES_MAX, RELATIVE_S_MAX, Shape};
use crate::command::{Command, Condition, Expiry, Write};

/// A get of one key, or a set, at the beginning of some input, with how its reply is told and the bytes that it takes. `None`: it
/// may be anything else, so [`super::decode`] has to look; it gives the same where this gives something. Needs no memory
/// beside the input, so that several commands can be there at a time.
#[inline]
pub fn plain(input: &[u8], value_bytes_max: usize) -> Option<(Command<'_>, Shape, usize)> {
    if let Some(rest) = input.strip_prefix(b"get ") {
        let (key, rest) = word(rest)?;
        let rest = rest.strip_prefix(b"\r\n")?;
        return Some((Command::Get { key }, Shape::Value { has_cas: false }, input.len() - rest.len()));
    }
    let (key, rest) = word(input.strip_prefix(b"set ")?)?;
    let (flags, rest) = number(rest.strip_prefix(b" ")?, u32::MAX.into())?;
    let (time_s, rest) = number(rest.strip_prefix(b" ")?, RELATIVE_S_MAX as u64)?;
    let (bytes, rest) = number(rest.strip_prefix(b" ")?, value_bytes_max as u64)?;
    let (value, rest) = rest.strip_prefix(b"\r\n")?.split_at_checked(bytes as usize)?;
    let rest = rest.strip_prefix(b"\r\n")?;
    let expiry = if time_s == 0 { Expiry::Default } else { Expiry::After(time_s * 1_000) };
    let write = Write { key, value, flags: flags as u32, condition: Condition::Always, expiry };
    Some((Command::Set(write), Shape::Stored, input.len() - rest.len()))
}

/// A key, up to a blank or the end of the line.
#[inline]
fn word(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = rest.iter().take(KEY_BYTES_MAX + 1).position(|byte| matches!(byte, b' ' | b'\r' | b'\n'))?;
    (len > 0).then(|| rest.split_at(len))
}

/// A number of at most so much, without zeros in front.
#[inline]
fn number(rest: &[u8], most: u64) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (at, byte) in rest.iter().enumerate() {
        let digit = u64::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return (at > 0).then(|| (number, &rest[at..]));
        }
        if at > 0 && number == 0 {
            return None;
        }
        number = 10 * number + digit;
        if number > most {
            return None;
        }
    }
    None
}

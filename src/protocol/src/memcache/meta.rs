//! The meta commands (`doc/protocol.txt` of memcached 1.6, "Meta Commands"): a key, and flags of one character, some with a
//! token behind it. What a flag asks to be told comes back in the order of the flags.

use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::decode::{Asked, BAD_FORMAT, ERROR, Limits, Own, Parsed, expiry, number, unsigned};
use super::{FLAGS_MAX, KEY_BYTES_MAX, OPAQUE_BYTES_MAX};
use crate::command::{Command, Expiry, Meta, MetaAction};

/// How the reply to a meta command is told. Its words from the key on are at hand then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaShape {
    /// mg, with the value or without.
    Get {
        /// With it.
        value: bool,
    },
    /// ms.
    Set {
        /// If the key is absent, that is not as it should be for the version that was named.
        is_compared: bool,
        /// Bytes of the value that was sent.
        bytes: u32,
    },
    /// md.
    Delete,
    /// ma, with the number or without.
    Count {
        /// With it.
        value: bool,
    },
    /// me.
    Debug,
}

/// The flags of a command.
#[derive(Default)]
struct Flags {
    seen: u128,
    is_base64: bool,
    is_quiet: bool,
    value: bool,
    is_unseen: bool,
    is_stale: bool,
    clears: bool,
    mode: Option<u8>,
    version: Option<u64>,
    new_version: u64,
    client_flags: u32,
    expiry: Option<Expiry>,
    created: Option<Expiry>,
    early_ms: u64,
    is_early_after: bool,
    delta: Option<u64>,
    initial: u64,
}

const BAD_TOKEN: &str = "CLIENT_ERROR bad token in command line format";
/// A version that no entry has: who deletes or sets what has version 0 means none that there is, and not any.
const NO_VERSION: u64 = u64::MAX;

impl Flags {
    /// # Errors
    /// What is said to who wrote them.
    fn of(words: &[u8]) -> Result<Self, &'static str> {
        let mut flags = Self::default();
        for (count, word) in words_of(words).enumerate() {
            if count == FLAGS_MAX {
                return Err("CLIENT_ERROR options flags are too long");
            }
            flags.take(word[0], &word[1..])?;
        }
        Ok(flags)
    }

    fn take(&mut self, flag: u8, token: &[u8]) -> Result<(), &'static str> {
        let bit = 1_u128.checked_shl(flag.into()).filter(|bit| self.seen & bit == 0);
        self.seen |= bit.ok_or("CLIENT_ERROR duplicate flag")?;
        let time = || number(token).filter(|time| i32::try_from(*time).is_ok()).ok_or(BAD_TOKEN);
        match flag {
            b'b' => self.is_base64 = true,
            b'q' => self.is_quiet = true,
            b'v' => self.value = true,
            b'u' => self.is_unseen = true,
            b'I' => self.is_stale = true,
            b'x' => self.clears = true,
            b'N' => self.created = Some(expiry(time()?)),
            b'T' => self.expiry = Some(expiry(time()?)),
            b'R' => {
                self.early_ms = u64::try_from(time()?).unwrap_or(0) * 1_000;
                self.is_early_after = self.expiry.is_some();
            }
            b'C' => self.version = Some(unsigned(token).ok_or(BAD_TOKEN)?),
            b'E' => self.new_version = unsigned(token).filter(|version| *version != NO_VERSION).ok_or(BAD_TOKEN)?,
            b'F' => {
                let flags = number(token).and_then(|flags| u32::try_from(flags).ok());
                self.client_flags = flags.ok_or("CLIENT_ERROR bad command line format")?;
            }
            b'M' => match *token {
                [mode] => self.mode = Some(mode),
                _ => return Err("CLIENT_ERROR incorrect length for M token"),
            },
            b'D' => self.delta = Some(unsigned(token).ok_or("CLIENT_ERROR invalid numeric delta value")?),
            b'J' => self.initial = unsigned(token).ok_or("CLIENT_ERROR invalid numeric initial value")?,
            b'O' if token.len() >= OPAQUE_BYTES_MAX => return Err("CLIENT_ERROR opaque token too long"),
            // What is asked to be told, and hints to whoever passes the command on.
            b'c' | b'f' | b'h' | b'k' | b'l' | b's' | b't' | b'O' | b'P' | b'L' => {}
            _ => return Err("CLIENT_ERROR invalid flag"),
        }
        Ok(())
    }
}

pub(super) fn words_of(words: &[u8]) -> impl Iterator<Item = &[u8]> {
    words.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

/// The first word, and what is behind it.
pub(super) fn split(words: &[u8]) -> (&[u8], &[u8]) {
    let words = words.trim_ascii_start();
    words.split_at(words.iter().position(|byte| *byte == b' ').unwrap_or(words.len()))
}

/// What a meta command in `line`, which ends so far into the input, means.
pub(super) fn meta<'a>(
    input: &'a [u8],
    line: &'a [u8],
    consumed: usize,
    decoded: &'a mut Vec<u8>,
    limits: Limits,
) -> Parsed<'a> {
    let (name, told) = (line[1], line[2..].trim_ascii_start());
    if name == b's' {
        return set(input, told, consumed, decoded, limits);
    }
    Parsed::Asked(without_value(name, told, decoded), consumed)
}

fn without_value<'a>(name: u8, told: &'a [u8], decoded: &'a mut Vec<u8>) -> Asked<'a> {
    let (key, words) = split(told);
    if key.is_empty() {
        return Asked::Own(if name == b'e' { BAD_FORMAT } else { ERROR });
    }
    let flags = match Flags::of(words) {
        Ok(flags) => flags,
        Err(why) if name == b'g' => return Asked::Own(Own::Line(why)),
        Err(_) => return Asked::Own(Own::Line("CLIENT_ERROR invalid or duplicate flag")),
    };
    let key = match key_of(key, &flags, decoded) {
        Ok(key) => key,
        Err(why) => return Asked::Own(why),
    };
    let Flags { new_version, value: wants_value, is_unseen, is_stale, .. } = flags;
    let version = match flags.version {
        Some(0) if name == b'd' => NO_VERSION,
        version => version.unwrap_or(0),
    };
    let Flags { client_flags, expiry, created, early_ms, initial, .. } = flags;
    let (delta, flags_of_client) = (flags.delta.unwrap_or(1), client_flags);
    let mut meta = Meta { key, flags: flags_of_client, version, new_version, created, ..Meta::default() };
    meta.expiry = expiry.unwrap_or(Expiry::Keep);
    let shape = match name {
        b'e' => return Asked::Meta(Command::Look { key, value: false }, MetaShape::Debug, told, false),
        b'g' => {
            let is_early_after = flags.is_early_after;
            meta = Meta { early_ms, is_early_after, wants_value, is_unseen, version: 0, ..meta };
            MetaShape::Get { value: wants_value }
        }
        b'd' => {
            meta.action = if flags.clears { MetaAction::Clear } else { MetaAction::Delete };
            meta.is_stale = is_stale;
            if flags.clears && expiry.is_none() {
                meta.expiry = Expiry::Default;
            }
            MetaShape::Delete
        }
        _ => {
            meta.action = match flags.mode.unwrap_or(b'I') {
                b'I' | b'i' | b'+' => MetaAction::AddTo,
                b'D' | b'd' | b'-' => MetaAction::TakeFrom,
                _ => return Asked::Own(Own::Line("CLIENT_ERROR invalid mode for ma M token")),
            };
            meta = Meta { delta, initial, ..meta };
            MetaShape::Count { value: wants_value }
        }
    };
    Asked::Meta(Command::Meta(meta), shape, told, flags.is_quiet)
}

/// ms: key, bytes, flags; and the value.
fn set<'a>(input: &'a [u8], told: &'a [u8], consumed: usize, decoded: &'a mut Vec<u8>, limits: Limits) -> Parsed<'a> {
    let (key, words) = split(told);
    let (bytes, words) = split(words);
    let bytes = number(bytes).and_then(|bytes| usize::try_from(bytes).ok());
    let Some(bytes) = bytes.filter(|bytes| *bytes <= i32::MAX as usize - 2 && !key.is_empty()) else {
        return Parsed::Asked(Asked::Own(BAD_FORMAT), consumed);
    };
    // Whatever is wrong, the value is passed over.
    let refused = |why| Parsed::Asked(Asked::Swallow(why, bytes + 2), consumed);
    let flags = match Flags::of(words) {
        Ok(flags) => flags,
        Err(why) => return refused(Own::Line(why)),
    };
    let action = match flags.mode.map(|mode| mode.to_ascii_uppercase()).unwrap_or(b'S') {
        b'S' => MetaAction::Set,
        b'E' => MetaAction::Add,
        b'A' => MetaAction::Append,
        b'P' => MetaAction::Prepend,
        b'R' => MetaAction::Replace,
        _ => return refused(Own::Line("CLIENT_ERROR invalid mode for ms M token")),
    };
    let key = match key_of(key, &flags, decoded) {
        Ok(key) => key,
        Err(why) => return refused(why),
    };
    if bytes > limits.value_bytes_max {
        return Parsed::Asked(Asked::TooLarge(key, bytes + 2, false), consumed);
    }
    let Some(block) = input.get(consumed..consumed + bytes + 2) else { return Parsed::More };
    let consumed = consumed + bytes + 2;
    let Some(value) = block.strip_suffix(b"\r\n") else {
        return Parsed::Asked(Asked::Own(Own::Line("CLIENT_ERROR bad data chunk")), consumed);
    };
    let Flags { new_version, client_flags, created, is_stale, .. } = flags;
    let compares = matches!(action, MetaAction::Set | MetaAction::Replace);
    let version = match flags.version {
        Some(0) if compares => NO_VERSION,
        version => version.unwrap_or(0),
    };
    let expiry = flags.expiry.unwrap_or_default();
    let meta = Meta { key, action, value, version, new_version, expiry, created, is_stale, ..Meta::default() };
    let is_compared = version != 0 && compares;
    let shape = MetaShape::Set { is_compared, bytes: bytes as u32 };
    let command = Command::Meta(Meta { flags: client_flags, ..meta });
    Parsed::Asked(Asked::Meta(command, shape, told, flags.is_quiet), consumed)
}

fn key_of<'a>(key: &'a [u8], flags: &Flags, decoded: &'a mut Vec<u8>) -> Result<&'a [u8], Own> {
    if key.len() > KEY_BYTES_MAX {
        return Err(BAD_FORMAT);
    }
    if !flags.is_base64 {
        return Ok(key);
    }
    decoded.clear();
    match STANDARD.decode_vec(key, decoded) {
        Ok(()) if !decoded.is_empty() => Ok(decoded),
        _ => Err(Own::Line("CLIENT_ERROR error decoding key")),
    }
}

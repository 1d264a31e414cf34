//! What the arguments of a command mean.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::arguments::integer;
use super::connection::Session;
use super::describe::Described;
use super::keyspace::Keyspace;
use super::options::{expire, get_ex, lifetime, set};
use super::plan::{Plan, Told};
use super::table::{Misfit, NAME_BYTES_MAX, Spec, Which, fit};
use super::{Shape, cold, connection};
use crate::command::{Command, Condition, Expiry, Write};
use crate::limits::{KEY_BYTES_MAX, KEYS_MAX, SCRATCH_KEYS_KEPT};
use crate::places::{Keys, Span, WriteSpan, Writes};

/// What a command asks for.
#[derive(Debug)]
pub enum Asked<'a> {
    /// Something of the engine for keys of this group, whose reply is told so.
    Command(u64, Command<'a>, Shape),
    /// Several things of the engine, or one that is told in a way of its own.
    Plan(Plan),
    /// Nothing but an answer.
    Own(Own<'a>),
    /// Something of the connection, or of the server.
    Session(Session<'a>),
}

/// What a connection answers by itself.
#[derive(Debug)]
pub enum Own<'a> {
    /// PONG.
    Pong,
    /// OK.
    Ok,
    /// What was said.
    Echo(&'a [u8]),
    /// Null.
    None,
    /// An empty array.
    Nothing,
    /// A number.
    Number(i64),
    /// What there is to know of commands.
    Described(Described<'a>),
    /// What there is of the command of this name, which has parts.
    Help(&'static str),
    /// An error.
    Refused(Cow<'static, str>),
}

/// Memory that is reused from command to command.
#[derive(Debug, Default)]
pub struct Places {
    pub(super) writes: Vec<WriteSpan>,
    pub(super) keys: Vec<Span>,
}

pub(super) type Decoded<'a> = Result<Asked<'a>, Cow<'static, str>>;

pub(super) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
pub(super) const SYNTAX: &str = "ERR syntax error";
/// Most bytes of an unknown command, and of its arguments, that an error repeats, as in Valkey.
const QUOTED_BYTES_MAX: usize = 128;

/// What is asked for by arguments, of which there is at least one.
///
/// # Panics
/// If there are no arguments.
pub fn decode<'a>(arguments: Keys<'a>, keyspace: &Keyspace<'_>, places: &'a mut Places, now_ms: u64) -> Asked<'a> {
    decode_fit(fit(arguments), arguments, keyspace, places, now_ms)
}

/// The same of arguments that are this by [`fit`].
pub fn decode_fit<'a>(
    which: Result<Which, Misfit>,
    arguments: Keys<'a>,
    keyspace: &Keyspace<'_>,
    places: &'a mut Places,
    now_ms: u64,
) -> Asked<'a> {
    assert!(!arguments.is_empty(), "a command has a name");
    let all = Arguments(arguments);
    let which = which.map_err(|misfit| misfit.text);
    let decoded = which.and_then(|which| decode_named(which.spec(), all, keyspace, places, now_ms));
    decoded.unwrap_or_else(|text| match is_of_browser(all.at(0)) {
        true => Asked::Session(Session::Leave),
        false => Asked::Own(Own::Refused(text)),
    })
}

/// Whether it is how lines begin of a browser, or of a page in it, that was told to come here. Valkey ends connections at the same.
fn is_of_browser(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Arguments by their number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arguments<'a>(pub(super) Keys<'a>);

impl<'a> Arguments<'a> {
    /// An argument; nothing if there is none.
    pub(super) fn at(&self, index: usize) -> &'a [u8] {
        self.0.spans().get(index).map_or(&[], |span| span.of(self.0.frame()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those from this number on.
    pub(super) fn from(&self, index: usize) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        self.0.iter().skip(index)
    }

    pub(super) fn integer(&self, index: usize) -> Result<i64, Cow<'static, str>> {
        integer(self.at(index)).ok_or(Cow::Borrowed(NOT_AN_INTEGER))
    }
}

fn decode_named<'a>(
    spec: &'static Spec,
    all: Arguments<'a>,
    keyspace: &Keyspace<'_>,
    places: &'a mut Places,
    now_ms: u64,
) -> Decoded<'a> {
    let one = |index: usize| placed(keyspace, all.at(index));
    let command = |(group, _): (u64, &[u8]), command, shape| Ok(Asked::Command(group, command, shape));
    match spec.name {
        "get" => {
            let at = one(1)?;
            command(at, Command::Get { key: at.1 }, Shape::Value)
        }
        "set" => set(all, one(1)?, now_ms),
        "setex" | "psetex" => {
            let at = one(1)?;
            let unit_ms = if spec.name == "setex" { 1_000 } else { 1 };
            let expiry = Expiry::After(lifetime(all.at(2), unit_ms, spec.name, now_ms)?);
            command(at, Command::Set(Write { expiry, ..write(at.1, all.at(3)) }), Shape::Ok)
        }
        "setnx" => {
            let at = one(1)?;
            let write = Write { condition: Condition::Absent, ..write(at.1, all.at(2)) };
            command(at, Command::Set(write), Shape::Flag)
        }
        "mget" => match keys(all, keyspace, places)? {
            Some((group, keys)) => Ok(Asked::Command(group, Command::GetMany { keys }, Shape::Values)),
            None => cold::each(all, keyspace, Told::List, |key| Command::Get { key }),
        },
        "mset" if all.len().is_multiple_of(2) => Err(wrong_number(spec.name)),
        "mset" => match entries(all, keyspace, places)? {
            Some((group, entries)) => Ok(Asked::Command(group, Command::SetMany { entries }, Shape::AllOk)),
            None => cold::set_each(all, keyspace),
        },
        "del" | "unlink" if all.len() == 2 => {
            let at = one(1)?;
            command(at, Command::Delete { key: at.1, version: 0 }, Shape::Flag)
        }
        "del" | "unlink" => match keys(all, keyspace, places)? {
            Some((group, keys)) => Ok(Asked::Command(group, Command::DeleteMany { keys }, Shape::Count)),
            None => cold::each(all, keyspace, Told::Sum, |key| Command::Delete { key, version: 0 }),
        },
        "incr" => increment(one(1)?, 1),
        "decr" => increment(one(1)?, -1),
        "incrby" => increment(one(1)?, all.integer(2)?),
        "decrby" => {
            let delta = all.integer(2)?;
            increment(one(1)?, delta.checked_neg().ok_or("ERR decrement would overflow")?)
        }
        "expire" => expire(all, one(1)?, (1_000, false), spec.name, now_ms),
        "pexpire" => expire(all, one(1)?, (1, false), spec.name, now_ms),
        "expireat" => expire(all, one(1)?, (1_000, true), spec.name, now_ms),
        "pexpireat" => expire(all, one(1)?, (1, true), spec.name, now_ms),
        "getex" => get_ex(all, one(1)?, now_ms),
        "ping" if all.len() > 2 => Err(wrong_number(spec.name)),
        "ping" if all.len() == 2 => Ok(Asked::Own(Own::Echo(all.at(1)))),
        "ping" => Ok(Asked::Own(Own::Pong)),
        "echo" => Ok(Asked::Own(Own::Echo(all.at(1)))),
        name if name.ends_with("|help") => Ok(Asked::Own(Own::Help(name.trim_end_matches("|help")))),
        name => match cold::decode(name, all, keyspace, now_ms) {
            Some(decoded) => decoded,
            None => connection::decode(name, all),
        },
    }
}

/// In small letters; nothing if no command has a name as long.
pub(super) fn lower<'b>(name: &[u8], buffer: &'b mut [u8; NAME_BYTES_MAX]) -> &'b [u8] {
    let Some(place) = buffer.get_mut(..name.len()) else { return &[] };
    place.copy_from_slice(name);
    place.make_ascii_lowercase();
    place
}

/// The group of a key, and the key in it.
pub(super) fn placed<'k>(keyspace: &Keyspace<'_>, key: &'k [u8]) -> Result<(u64, &'k [u8]), Cow<'static, str>> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Cow::Owned(format!("ERR a key has {} bytes, and may have {KEY_BYTES_MAX}", key.len())));
    }
    Ok(keyspace.place(key))
}

/// All arguments but the first, as keys of one group; `None`: they are of several.
fn keys<'a>(
    all: Arguments<'a>,
    keyspace: &Keyspace<'_>,
    places: &'a mut Places,
) -> Result<Option<(u64, Keys<'a>)>, Cow<'static, str>> {
    check_count(all.len() - 1)?;
    let (frame, spans) = (all.0.frame(), &all.0.spans()[1..]);
    if !keyspace.has_prefixes() {
        all.from(1).try_for_each(|key| placed(keyspace, key).map(drop))?;
        return Ok(Some((keyspace.group(), Keys::new(frame, spans))));
    }
    places.keys.clear();
    places.keys.shrink_to(SCRATCH_KEYS_KEPT);
    let group = placed(keyspace, all.at(1))?.0;
    for span in spans {
        let (of, key) = placed(keyspace, span.of(frame))?;
        if of != group {
            return Ok(None);
        }
        places.keys.push(behind(*span, key.len()));
    }
    Ok(Some((group, Keys::new(frame, &places.keys))))
}

fn entries<'a>(
    all: Arguments<'a>,
    keyspace: &Keyspace<'_>,
    places: &'a mut Places,
) -> Result<Option<(u64, Writes<'a>)>, Cow<'static, str>> {
    check_count(all.len() / 2)?;
    let frame = all.0.frame();
    places.writes.clear();
    places.writes.shrink_to(SCRATCH_KEYS_KEPT);
    let group = placed(keyspace, all.at(1))?.0;
    for pair in all.0.spans()[1..].chunks_exact(2) {
        let (of, key) = placed(keyspace, pair[0].of(frame))?;
        if of != group {
            return Ok(None);
        }
        let key = behind(pair[0], key.len());
        places.writes.push(WriteSpan { key, value: pair[1], ..WriteSpan::default() });
    }
    Ok(Some((group, Writes::new(frame, &places.writes))))
}

/// The last bytes of a place.
fn behind(span: Span, len: usize) -> Span {
    Span { start: span.start + span.len - len as u32, len: len as u32 }
}

pub(super) fn check_count(count: usize) -> Result<(), Cow<'static, str>> {
    if count > KEYS_MAX {
        return Err(Cow::Owned(format!("ERR a command has {count} keys, and may have {KEYS_MAX}; send several")));
    }
    Ok(())
}

pub(super) fn write<'a>(key: &'a [u8], value: &'a [u8]) -> Write<'a> {
    Write { key, value, flags: 0, condition: Condition::Always, expiry: Expiry::Default }
}

fn increment<'a>((group, key): (u64, &'a [u8]), delta: i64) -> Decoded<'a> {
    let command = Command::Increment { key, delta, initial: Some(delta), expiry: Expiry::Default };
    Ok(Asked::Command(group, command, Shape::Number))
}

pub(super) fn wrong_number(name: &str) -> Cow<'static, str> {
    Cow::Owned(format!("ERR wrong number of arguments for '{name}' command"))
}

pub(super) fn unknown_subcommand(command: &str, name: &[u8]) -> Cow<'static, str> {
    let command = command.to_ascii_uppercase();
    Cow::Owned(format!("ERR unknown subcommand '{}'. Try {command} HELP.", quoted(name)))
}

pub(super) fn unknown(all: Arguments<'_>) -> Cow<'static, str> {
    let name = quoted(all.at(0));
    let mut text = format!("ERR unknown command '{name}', with args beginning with: ");
    let begin = text.len();
    for argument in all.from(1) {
        if text.len() - begin >= QUOTED_BYTES_MAX {
            break;
        }
        text.push_str(&format!("'{}' ", quoted(argument)));
    }
    Cow::Owned(text)
}

pub(super) fn quoted(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(QUOTED_BYTES_MAX)]).into_owned()
}

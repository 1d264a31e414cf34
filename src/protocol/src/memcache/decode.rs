//! What lines mean.

use alloc::vec::Vec;

use super::keys::{get, get_and_touch, open_get};
use super::meta::meta;
use super::{KEY_BYTES_MAX, MetaShape, RELATIVE_S_MAX, Shape};
use crate::command::{Command, Condition, Expiry, TouchCondition, Write};
use crate::places::{Keys, Span};

/// What the beginning of some input is.
#[derive(Debug)]
pub enum Parsed<'a> {
    /// Part of a command.
    More,
    /// A command, which takes so many bytes.
    Asked(Asked<'a>, usize),
    /// Nothing that can be followed by anything: say this, if it is something, and close.
    Broken(&'static str),
}

/// What a command asks for.
#[derive(Debug)]
pub enum Asked<'a> {
    /// Something of the engine, whose reply is told so; quietly: only if it failed.
    Command(Command<'a>, Shape, Quiet),
    /// The same of a meta command, with its words from the key on; quietly: not what is usual.
    Meta(Command<'a>, MetaShape, &'a [u8], Quiet),
    /// The values of these keys.
    Get(Keys<'a>, Shape),
    /// The same where more keys of the line follow, with versions or without. What is behind is read by [`super::decode_rest`].
    GetPart(Keys<'a>, bool),
    /// An answer, and what is left of the line is not looked at, as [`super::Rest::Nothing`].
    GetRefused(Own),
    /// The values of these keys, which expire then.
    GetAndTouch(Keys<'a>, Expiry, Shape),
    /// Nothing but an answer.
    Own(Own),
    /// That, and so many bytes behind the command are not looked at.
    Swallow(Own, usize),
    /// The value is too large, so that what was there is no more valid; so many bytes behind the command are not looked at.
    TooLarge(&'a [u8], usize, Quiet),
    /// Make everything absent, now or at a time that is to come.
    Flush(Option<Expiry>, Quiet),
    /// What dashboards read.
    Stats(StatsKind),
    /// Close the connection.
    Quit,
}

/// Whether a success is not answered.
pub type Quiet = bool;

/// What STATS is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsKind {
    /// The server.
    General,
    /// Its settings.
    Settings,
    /// Items by class, of which there is one for each group.
    Items,
    /// Memory by class.
    Slabs,
    /// Something that there is nothing of.
    Nothing,
    /// Count from here on.
    Reset,
}

/// What a connection answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// A line.
    Line(&'static str),
    /// VERSION.
    Version,
    /// Nothing.
    Silence,
}

/// How long things may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest value, in bytes.
    pub value_bytes_max: usize,
    /// Longest line that is waited for, in bytes: [`super::LINE_BYTES_MAX`], and [`super::STRANGER_BYTES_MAX`] where the connection
    /// has named no command yet.
    pub line_bytes_max: usize,
}

/// Memory that is reused from command to command.
#[derive(Debug, Default)]
pub struct Places {
    pub(super) keys: Vec<Span>,
    /// A key that was written in base64.
    decoded: Vec<u8>,
}

pub(super) const BAD_FORMAT: Own = Own::Line("CLIENT_ERROR bad command line format");
pub(super) const ERROR: Own = Own::Line("ERROR");
/// What lines of a browser begin with (RFC 9110, section 9; RFC 5789).
const HTTP_VERBS: [&[u8]; 9] =
    [b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE"];
/// Most words of a line that is no list of keys.
const WORDS_MAX: usize = 8;

/// What `input` begins with.
pub fn decode<'a>(input: &'a [u8], places: &'a mut Places, limits: Limits) -> Parsed<'a> {
    let Some(end) = input.iter().take(limits.line_bytes_max + 1).position(|byte| *byte == b'\n') else {
        return match input {
            _ if input.len() <= limits.line_bytes_max => Parsed::More,
            [b'g', b'e', b't', b' ', ..] => open_get(input, b"get".len(), false, places, limits),
            [b'g', b'e', b't', b's', b' ', ..] => open_get(input, b"gets".len(), true, places, limits),
            _ => Parsed::Broken("CLIENT_ERROR line too long"),
        };
    };
    let line = &input[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let name_len = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let consumed = end + 1;
    match &line[..name_len] {
        name @ (b"get" | b"gets") => get(line, name_len, name == b"gets", places, consumed),
        name @ (b"gat" | b"gats") => get_and_touch(line, name_len, name == b"gats", places, consumed),
        b"mg" | b"ms" | b"md" | b"ma" | b"me" => meta(input, line, consumed, &mut places.decoded, limits),
        b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => store(input, line, consumed, limits),
        // A browser, or a page in it, that was told to come here.
        verb if name_len < line.len() && HTTP_VERBS.contains(&verb) => Parsed::Broken(""),
        _ => Parsed::Asked(other(&Words::of(line)), consumed),
    }
}

/// The words of a line.
struct Words<'a> {
    words: [&'a [u8]; WORDS_MAX],
    len: usize,
}

impl<'a> Words<'a> {
    fn of(line: &'a [u8]) -> Self {
        let mut words = Self { words: [&[]; WORDS_MAX], len: 0 };
        for word in line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
            // What is behind them is not looked at, but counts.
            if let Some(place) = words.words.get_mut(words.len) {
                *place = word;
            }
            words.len += 1;
        }
        words
    }

    /// Whether the last word says so; then it is no word any more.
    fn take_noreply(&mut self) -> Quiet {
        let is_quiet = self.len > 0 && self.words.get(self.len - 1).is_some_and(|word| *word == b"noreply");
        self.len -= usize::from(is_quiet);
        is_quiet
    }

    fn at(&self, index: usize) -> &'a [u8] {
        if index < self.len { self.words.get(index).copied().unwrap_or_default() } else { &[] }
    }
}

/// set, add, replace, append, prepend: key, flags, time, bytes [noreply]; cas: key, flags, time, bytes, version [noreply].
fn store<'a>(input: &'a [u8], line: &'a [u8], consumed: usize, limits: Limits) -> Parsed<'a> {
    let mut words = Words::of(line);
    let name = words.at(0);
    let is_cas = name == b"cas";
    let wanted = if is_cas { 6 } else { 5 };
    if words.len != wanted && words.len != wanted + 1 {
        return Parsed::Asked(Asked::Own(ERROR), consumed);
    }
    let is_quiet = words.take_noreply();
    let key = words.at(1);
    let (flags, time, bytes) = (number(words.at(2)), number(words.at(3)), number(words.at(4)));
    let version = if is_cas { unsigned(words.at(5)) } else { Some(0) };
    let flags = flags.and_then(|flags| u32::try_from(flags).ok());
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| *bytes <= i32::MAX as usize - 2);
    let (true, Some(flags), Some(time), Some(bytes), Some(version)) =
        (key.len() <= KEY_BYTES_MAX, flags, time, bytes, version)
    else {
        return Parsed::Asked(Asked::Own(if is_quiet { Own::Silence } else { BAD_FORMAT }), consumed);
    };
    if bytes > limits.value_bytes_max {
        return match name {
            b"set" => Parsed::Asked(Asked::TooLarge(key, bytes + 2, is_quiet), consumed),
            _ if is_quiet => Parsed::Asked(Asked::Swallow(Own::Silence, bytes + 2), consumed),
            _ => Parsed::Asked(Asked::Swallow(Own::Line(TOO_LARGE), bytes + 2), consumed),
        };
    }
    let Some(block) = input.get(consumed..consumed + bytes + 2) else { return Parsed::More };
    let consumed = consumed + bytes + 2;
    let Some(value) = block.strip_suffix(b"\r\n") else {
        let why = if is_quiet { Own::Silence } else { Own::Line("CLIENT_ERROR bad data chunk") };
        return Parsed::Asked(Asked::Own(why), consumed);
    };
    let write = |condition| Write { key, value, flags, condition, expiry: expiry(time) };
    let (command, shape) = match name {
        b"set" => (Command::Set(write(Condition::Always)), Shape::Stored),
        b"add" => (Command::Set(write(Condition::Absent)), Shape::Stored),
        b"replace" => (Command::Set(write(Condition::Present)), Shape::Stored),
        b"append" => (Command::Append { key, value }, Shape::Stored),
        b"prepend" => (Command::Prepend { key, value }, Shape::Stored),
        _ => (Command::Set(write(Condition::Version(version))), Shape::Compared),
    };
    Parsed::Asked(Asked::Command(command, shape, is_quiet), consumed)
}

pub(super) const TOO_LARGE: &str = "SERVER_ERROR object too large for cache";

/// A command without data.
fn other<'a>(words: &Words<'a>) -> Asked<'a> {
    let mut words = Words { words: words.words, len: words.len };
    let (name, len) = (words.at(0), words.len);
    match (name, len) {
        (b"delete", 2..=4) => delete(&mut words),
        (b"incr" | b"decr", 3 | 4) => {
            let is_quiet = words.take_noreply();
            let key = words.at(1);
            match (key.len() <= KEY_BYTES_MAX, unsigned(words.at(2))) {
                (false, _) => refused(is_quiet, BAD_FORMAT),
                (_, None) => refused(is_quiet, Own::Line("CLIENT_ERROR invalid numeric delta argument")),
                (true, Some(delta)) => {
                    let (is_down, expiry) = (name == b"decr", Expiry::Default);
                    let count = Command::Count { key, delta, is_down, initial: None, expiry, version: 0 };
                    Asked::Command(count, Shape::Counted, is_quiet)
                }
            }
        }
        (b"touch", 3 | 4) => {
            let is_quiet = words.take_noreply();
            let key = words.at(1);
            match (key.len() <= KEY_BYTES_MAX, number(words.at(2))) {
                (false, _) => refused(is_quiet, BAD_FORMAT),
                (_, None) => refused(is_quiet, Own::Line("CLIENT_ERROR invalid exptime argument")),
                (true, Some(time)) => {
                    let touch = Command::Touch { key, expiry: expiry(time), only: TouchCondition::Always };
                    Asked::Command(touch, Shape::Touched, is_quiet)
                }
            }
        }
        (b"flush_all", 1..=3) => {
            let is_quiet = words.take_noreply();
            match (words.len, number(words.at(1))) {
                (1, _) | (2, Some(..=0)) => Asked::Flush(None, is_quiet),
                (2, Some(time)) => Asked::Flush(Some(expiry(time)), is_quiet),
                (2, None) => refused(is_quiet, Own::Line("CLIENT_ERROR invalid exptime argument")),
                _ => Asked::Own(ERROR),
            }
        }
        (b"stats", _) => match words.at(1) {
            _ if len == 1 => Asked::Stats(StatsKind::General),
            b"settings" => Asked::Stats(StatsKind::Settings),
            b"items" => Asked::Stats(StatsKind::Items),
            b"slabs" => Asked::Stats(StatsKind::Slabs),
            b"reset" => Asked::Stats(StatsKind::Reset),
            b"conns" | b"sizes" | b"extstore" | b"proxy" => Asked::Stats(StatsKind::Nothing),
            _ => Asked::Own(ERROR),
        },
        (b"version", _) => Asked::Own(Own::Version),
        (b"verbosity", 1) => Asked::Own(ERROR),
        (b"verbosity", _) => {
            let is_quiet = words.take_noreply();
            match number(words.at(1)).filter(|level| *level >= 0) {
                Some(_) => refused(is_quiet, Own::Line("OK")),
                None => refused(is_quiet, BAD_FORMAT),
            }
        }
        (b"quit", _) => Asked::Quit,
        (b"shutdown", _) => Asked::Own(Own::Line("ERROR: shutdown not enabled")),
        (b"mn", _) => Asked::Own(Own::Line("MN")),
        _ => Asked::Own(ERROR),
    }
}

fn delete<'a>(words: &mut Words<'a>) -> Asked<'a> {
    let (key, before) = (words.at(1), words.len);
    let is_quiet = before > 2 && words.take_noreply();
    let is_right = match words.len {
        2 => true,
        3 => words.at(2) == b"0",
        _ => false,
    };
    if !is_right {
        let usage = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]";
        return refused(is_quiet, Own::Line(usage));
    }
    if key.len() > KEY_BYTES_MAX {
        return refused(is_quiet, BAD_FORMAT);
    }
    Asked::Command(Command::Delete { key, version: 0 }, Shape::Deleted, is_quiet)
}

/// What is said, unless nothing is to be.
fn refused<'a>(is_quiet: Quiet, own: Own) -> Asked<'a> {
    Asked::Own(if is_quiet { Own::Silence } else { own })
}

/// A time as memcached has it: 0: never; below 0: over; else from now on or since the Unix epoch.
pub(super) fn expiry(time_s: i64) -> Expiry {
    match time_s {
        // What lasts, lasts as long as its group has it.
        0 => Expiry::Default,
        ..0 => Expiry::At(1),
        1..=RELATIVE_S_MAX => Expiry::After(time_s as u64 * 1_000),
        _ => Expiry::At((time_s as u64).saturating_mul(1_000)),
    }
}

pub(super) fn number(word: &[u8]) -> Option<i64> {
    core::str::from_utf8(word).ok()?.parse().ok()
}

pub(super) fn unsigned(word: &[u8]) -> Option<u64> {
    core::str::from_utf8(word).ok()?.parse().ok()
}

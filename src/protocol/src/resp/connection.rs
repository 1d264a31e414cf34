//! Commands about the connection and the server.

use alloc::borrow::Cow;
use alloc::format;

use super::arguments::integer;
use super::client::{self, Client, check_name};
use super::decode::{Arguments, Asked, Decoded, Own, SYNTAX, lower, quoted};
use super::describe;
use super::encode::Version;
use super::table::NAME_BYTES_MAX;
use crate::places::Keys;

/// What takes the connection or the server to do.
#[derive(Clone, Debug)]
pub enum Session<'a> {
    /// To be greeted, from now on in this version of the protocol; `None`: in the one that is spoken.
    Hello {
        /// Which.
        version: Option<Version>,
        /// User and password.
        auth: Option<(&'a [u8], &'a [u8])>,
        /// The connection's name.
        name: Option<&'a [u8]>,
    },
    /// Says who is asking.
    Auth {
        /// The user, if one is named.
        user: Option<&'a [u8]>,
    },
    /// Another database.
    Select(i64),
    /// OK as the last answer.
    Quit,
    /// No answer any more.
    Leave,
    /// As at the beginning.
    Reset,
    /// What follows waits for `Exec`.
    Multi,
    /// See `Multi`.
    Exec,
    /// See `Multi`.
    Discard,
    /// Keys, whose change lets the next `Exec` do nothing.
    Watch(Keys<'a>),
    /// See `Watch`.
    Unwatch,
    /// About this connection and others.
    Client(Client<'a>),
    /// What dashboards read, in these sections; none: in the usual ones.
    Info(Keys<'a>),
    /// Settings that match one of these patterns.
    ConfigGet(Keys<'a>),
    /// Names and values of settings.
    ConfigSet(Keys<'a>),
    /// INFO counts from now on.
    ResetStats,
    /// Names of commands, and of their parts, that match a pattern.
    Commands(&'a [u8]),
    /// What the clock shows.
    Time,
    /// How many keys the group has on this node.
    DbSize,
    /// Keys that match a pattern.
    Keys(&'a [u8]),
    /// Some key.
    RandomKey,
    /// Makes everything absent: of all databases, or of this one.
    Flush {
        /// Of all.
        all: bool,
    },
    /// Some keys, from a cursor on.
    Scan {
        /// Where to begin.
        cursor: u64,
        /// Which keys; empty: all.
        pattern: &'a [u8],
        /// About how many to look at.
        count: u32,
        /// Whether keys of the kind that is asked for can be there.
        is_string: bool,
    },
}

/// About how many keys a step of a scan looks at unless it says so, as in Valkey.
const SCAN_COUNT_DEFAULT: u32 = 10;

/// What a command of this name asks for.
pub(super) fn decode<'a>(name: &str, all: Arguments<'a>) -> Decoded<'a> {
    let session = match name {
        "hello" => hello(all)?,
        "auth" if all.len() > 3 => return Err(SYNTAX.into()),
        "auth" => Session::Auth { user: (all.len() == 3).then(|| all.at(1)) },
        "select" => Session::Select(all.integer(1)?),
        "quit" => Session::Quit,
        "reset" => Session::Reset,
        "multi" => Session::Multi,
        "exec" => Session::Exec,
        "discard" => Session::Discard,
        "watch" => Session::Watch(behind(all, 1)),
        "unwatch" => Session::Unwatch,
        "info" => Session::Info(behind(all, 1)),
        "config|get" => Session::ConfigGet(behind(all, 2)),
        "config|set" => return config_set(all),
        "config|resetstat" => Session::ResetStats,
        "config|rewrite" => return Err("ERR The server is running without a config file".into()),
        "time" => Session::Time,
        "dbsize" => Session::DbSize,
        "keys" => Session::Keys(all.at(1)),
        "randomkey" => Session::RandomKey,
        "flushall" | "flushdb" => flush(all, name == "flushall")?,
        "scan" => scan(all)?,
        "slowlog|get" | "commandlog|get" | "latency|latest" | "latency|history" | "function|list" => {
            return log(name, all, Own::Nothing);
        }
        "slowlog|len" | "commandlog|len" | "latency|reset" => return log(name, all, Own::Number(0)),
        "slowlog|reset" | "commandlog|reset" | "function|flush" => return log(name, all, Own::Ok),
        name if name.starts_with("client|") => return client::decode(name, all),
        name if name.starts_with("command") => return describe::decode(name, all),
        _ => unreachable!("{name} is in the table"),
    };
    Ok(Asked::Session(session))
}

fn behind<'a>(all: Arguments<'a>, index: usize) -> Keys<'a> {
    Keys::new(all.0.frame(), &all.0.spans()[index..])
}

/// HELLO [version [AUTH user password] [SETNAME name]].
fn hello<'a>(all: Arguments<'a>) -> Result<Session<'a>, Cow<'static, str>> {
    let version = match (all.len(), integer(all.at(1))) {
        (1, _) => None,
        (_, Some(2)) => Some(Version::Two),
        (_, Some(3)) => Some(Version::Three),
        (_, Some(_)) => return Err("NOPROTO unsupported protocol version".into()),
        (_, None) => return Err("ERR Protocol version is not an integer or out of range".into()),
    };
    let (mut auth, mut name, mut arguments) = (None, None, all.from(2));
    let mut buffer = [0; NAME_BYTES_MAX];
    while let Some(option) = arguments.next() {
        let bad = || Cow::Owned(format!("ERR Syntax error in HELLO option '{}'", quoted(option)));
        match lower(option, &mut buffer) {
            b"auth" => auth = Some((arguments.next().ok_or_else(bad)?, arguments.next().ok_or_else(bad)?)),
            b"setname" => {
                let wanted = arguments.next().ok_or_else(bad)?;
                check_name(wanted, "Client names")?;
                name = Some(wanted);
            }
            _ => return Err(bad()),
        }
    }
    Ok(Session::Hello { version, auth, name })
}

/// CONFIG SET name value [name value ...].
fn config_set<'a>(all: Arguments<'a>) -> Decoded<'a> {
    match all.len().is_multiple_of(2) {
        true => Ok(Asked::Session(Session::ConfigSet(behind(all, 2)))),
        false => Err(SYNTAX.into()),
    }
}

fn flush<'a>(all: Arguments<'a>, is_of_all: bool) -> Result<Session<'a>, Cow<'static, str>> {
    let mut buffer = [0; NAME_BYTES_MAX];
    match (lower(all.at(1), &mut buffer), all.len()) {
        (_, 1) | (b"async" | b"sync", 2) => Ok(Session::Flush { all: is_of_all }),
        _ => Err(SYNTAX.into()),
    }
}

/// SCAN cursor [MATCH pattern] [COUNT n] [TYPE type].
fn scan<'a>(all: Arguments<'a>) -> Result<Session<'a>, Cow<'static, str>> {
    let cursor = core::str::from_utf8(all.at(1)).ok().and_then(|cursor| cursor.parse().ok());
    let cursor = cursor.ok_or("ERR invalid cursor")?;
    let (mut pattern, mut count, mut is_string) = (&[][..], SCAN_COUNT_DEFAULT, true);
    let mut arguments = all.from(2);
    let (mut buffer, mut other) = ([0; NAME_BYTES_MAX], [0; NAME_BYTES_MAX]);
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or(SYNTAX)?;
        match lower(option, &mut buffer) {
            b"match" => pattern = value,
            b"count" => {
                let wanted = integer(value).ok_or(super::decode::NOT_AN_INTEGER)?;
                if wanted < 1 {
                    return Err(SYNTAX.into());
                }
                count = u32::try_from(wanted).unwrap_or(u32::MAX);
            }
            b"type" => is_string = lower(value, &mut other) == b"string",
            _ => return Err(SYNTAX.into()),
        }
    }
    Ok(Session::Scan { cursor, pattern, count, is_string })
}

/// A log of which nothing is kept, so that only what is asked of it can be wrong.
fn log<'a>(name: &str, all: Arguments<'a>, own: Own<'a>) -> Decoded<'a> {
    let is_of_commands = name.starts_with("commandlog|");
    if name == "slowlog|get" && all.len() > 3 {
        return Err("ERR unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP.".into());
    }
    if matches!(name, "slowlog|get" | "commandlog|get") && all.len() > 2 {
        let count = integer(all.at(2)).filter(|count| *count >= -1);
        count.ok_or("ERR count should be greater than or equal to -1")?;
    }
    let mut buffer = [0; NAME_BYTES_MAX];
    match lower(all.at(all.len() - 1), &mut buffer) {
        b"slow" | b"large-request" | b"large-reply" => Ok(Asked::Own(own)),
        _ if is_of_commands => Err("ERR type should be one of the following: slow, large-request, large-reply".into()),
        _ => Ok(Asked::Own(own)),
    }
}

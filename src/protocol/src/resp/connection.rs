//! Commands about the connection and the server.

use alloc::borrow::Cow;
use alloc::format;

use super::arguments::integer;
use super::cold::unknown_subcommand;
use super::decode::{Arguments, Asked, Decoded, Own, SYNTAX, lower, quoted, wrong_number};
use super::describe::Described;
use super::encode::Version;
use super::table::NAME_BYTES_MAX;
use crate::places::Keys;

/// What takes the connection or the server to do.
#[derive(Clone, Copy, Debug)]
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

/// CLIENT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client<'a> {
    /// The connection's number.
    Id,
    /// Its name.
    Name,
    /// Another name.
    SetName(&'a [u8]),
    /// Name and version of the client's library.
    SetInfo {
        /// Whether it is the version.
        is_version: bool,
        /// The text.
        text: &'a [u8],
    },
    /// All that is known of this connection.
    Info,
    /// All that is known of these; none: of all.
    List(Ids<'a>),
    /// Close some.
    Kill(Kill<'a>),
    /// Whether commands are answered.
    Reply(ReplyMode),
}

/// Numbers of connections, as arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids<'a> {
    /// As text with blanks between; `None`: all.
    pub only: Option<&'a [u8]>,
}

/// Which connections to close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kill<'a> {
    /// The one with this number.
    pub id: Option<u64>,
    /// Those from this address.
    pub address: Option<&'a [u8]>,
    /// Not the one that asks.
    pub skips_self: bool,
    /// The old form: there has to be one, and OK says that it is closed.
    pub is_one: bool,
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// Every command is answered.
    #[default]
    On,
    /// None is.
    Off,
    /// The next one is not.
    Skip,
}

const CLIENT_HELP: [&str; 11] = [
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GETNAME",
    "ID",
    "INFO",
    "KILL <ip:port> | ID <id> | ADDR <ip:port> | SKIPME (YES|NO)",
    "LIST [ID <id>]",
    "NO-EVICT (ON|OFF)",
    "NO-TOUCH (ON|OFF)",
    "REPLY (ON|OFF|SKIP)",
    "SETINFO (LIB-NAME|LIB-VER) <text>",
    "SETNAME <name>",
];
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
        "client" => return client(all),
        "info" => Session::Info(behind(all, 1)),
        "config" => return config(all),
        "command" => return command(all),
        "time" => Session::Time,
        "dbsize" => Session::DbSize,
        "keys" => Session::Keys(all.at(1)),
        "randomkey" => Session::RandomKey,
        "flushall" | "flushdb" => flush(all, name == "flushall")?,
        "scan" => scan(all)?,
        "slowlog" | "latency" | "function" => return nothing(name, all),
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

fn client<'a>(all: Arguments<'a>) -> Decoded<'a> {
    let mut buffer = [0; NAME_BYTES_MAX];
    let mut other = [0; NAME_BYTES_MAX];
    let client = match (lower(all.at(1), &mut buffer), all.len()) {
        (b"help", 2) => return Ok(Asked::Own(Own::Help(&CLIENT_HELP))),
        (b"id", 2) => Client::Id,
        (b"getname", 2) => Client::Name,
        (b"setname", 3) => {
            check_name(all.at(2), "Client names")?;
            Client::SetName(all.at(2))
        }
        (b"setinfo", 4) => {
            let is_version = match lower(all.at(2), &mut other) {
                b"lib-name" => false,
                b"lib-ver" => true,
                _ => return Err(Cow::Owned(format!("ERR Unrecognized option '{}'", quoted(all.at(2))))),
            };
            check_name(all.at(3), if is_version { "lib-ver" } else { "lib-name" })?;
            Client::SetInfo { is_version, text: all.at(3) }
        }
        (b"info", 2) => Client::Info,
        (b"list", 2) => Client::List(Ids::default()),
        (b"list", 4..) => match lower(all.at(2), &mut other) {
            b"id" if all.len() == 4 => {
                integer(all.at(3)).filter(|id| *id > 0).ok_or("ERR Invalid client ID")?;
                Client::List(Ids { only: Some(all.at(3)) })
            }
            b"type" if lower(all.at(3), &mut buffer) == b"normal" => Client::List(Ids::default()),
            b"type" => Client::List(Ids { only: Some(b"0") }),
            _ => return Err(SYNTAX.into()),
        },
        (b"kill", 3..) => Client::Kill(kill(all)?),
        (b"no-evict" | b"no-touch", 3) => match lower(all.at(2), &mut other) {
            b"on" | b"off" => return Ok(Asked::Own(Own::Ok)),
            _ => return Err(SYNTAX.into()),
        },
        (b"reply", 3) => Client::Reply(match lower(all.at(2), &mut other) {
            b"on" => ReplyMode::On,
            b"off" => ReplyMode::Off,
            b"skip" => ReplyMode::Skip,
            _ => return Err(SYNTAX.into()),
        }),
        (
            name @ (b"help" | b"id" | b"getname" | b"setname" | b"setinfo" | b"info" | b"list" | b"kill" | b"no-evict"
            | b"no-touch" | b"reply"),
            _,
        ) => return Err(wrong_number(&format!("client|{}", quoted(name)))),
        _ => return Err(unknown_subcommand("CLIENT", all.at(1))),
    };
    Ok(Asked::Session(Session::Client(client)))
}

/// CLIENT KILL address, or with filters.
fn kill<'a>(all: Arguments<'a>) -> Result<Kill<'a>, Cow<'static, str>> {
    if all.len() == 3 {
        return Ok(Kill { address: Some(all.at(2)), is_one: true, ..Kill::default() });
    }
    let mut kill = Kill { skips_self: true, ..Kill::default() };
    let mut arguments = all.from(2);
    let (mut buffer, mut other) = ([0; NAME_BYTES_MAX], [0; NAME_BYTES_MAX]);
    while let Some(filter) = arguments.next() {
        let value = arguments.next().ok_or(SYNTAX)?;
        match lower(filter, &mut buffer) {
            b"id" => {
                let id = integer(value).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
                kill.id = Some(id.ok_or("ERR client-id should be greater than 0")?);
            }
            b"addr" => kill.address = Some(value),
            b"skipme" => {
                kill.skips_self = match lower(value, &mut other) {
                    b"yes" => true,
                    b"no" => false,
                    _ => return Err(SYNTAX.into()),
                }
            }
            b"type" if lower(value, &mut other) == b"normal" => {}
            _ => return Err(SYNTAX.into()),
        }
    }
    Ok(kill)
}

fn check_name(name: &[u8], what: &str) -> Result<(), Cow<'static, str>> {
    match name.iter().all(|byte| (b'!'..=b'~').contains(byte)) && name.len() <= crate::limits::CLIENT_NAME_BYTES_MAX {
        true => Ok(()),
        false => Err(Cow::Owned(format!("ERR {what} cannot contain spaces, newlines or special characters."))),
    }
}

fn config<'a>(all: Arguments<'a>) -> Decoded<'a> {
    let mut buffer = [0; NAME_BYTES_MAX];
    let session = match (lower(all.at(1), &mut buffer), all.len()) {
        (b"get", 3..) => Session::ConfigGet(behind(all, 2)),
        (b"set", 4..) if all.len().is_multiple_of(2) => Session::ConfigSet(behind(all, 2)),
        (b"resetstat", 2) => return Ok(Asked::Own(Own::Ok)),
        (b"rewrite", 2) => return Err("ERR The server is running without a config file".into()),
        (name @ (b"get" | b"set" | b"resetstat" | b"rewrite"), _) => {
            return Err(wrong_number(&format!("config|{}", quoted(name))));
        }
        _ => return Err(unknown_subcommand("CONFIG", all.at(1))),
    };
    Ok(Asked::Session(session))
}

fn command<'a>(all: Arguments<'a>) -> Decoded<'a> {
    let mut buffer = [0; NAME_BYTES_MAX];
    let names = || behind(all, 2);
    let described = match (lower(all.at(1), &mut buffer), all.len()) {
        (_, 1) => Described::Info(None),
        (b"count", 2) => Described::Count,
        (b"list", 2) => Described::List,
        (b"info", 2) => Described::Info(None),
        (b"info", _) => Described::Info(Some(names())),
        (b"docs", 2) => Described::Docs(None),
        (b"docs", _) => Described::Docs(Some(names())),
        (name @ (b"count" | b"list"), _) => return Err(wrong_number(&format!("command|{}", quoted(name)))),
        _ => return Err(unknown_subcommand("COMMAND", all.at(1))),
    };
    Ok(Asked::Own(Own::Described(described)))
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

/// What there is nothing of.
fn nothing<'a>(name: &str, all: Arguments<'a>) -> Decoded<'a> {
    let mut buffer = [0; NAME_BYTES_MAX];
    Ok(Asked::Own(match (name, lower(all.at(1), &mut buffer)) {
        ("slowlog", b"get") | ("latency", b"latest" | b"history") | ("function", b"list") => Own::Nothing,
        ("slowlog", b"len") | ("latency", b"reset") => Own::Number(0),
        ("slowlog", b"reset") | ("function", b"flush") => Own::Ok,
        _ => {
            let mut upper = name.as_bytes().to_vec();
            upper.make_ascii_uppercase();
            return Err(unknown_subcommand(&quoted(&upper), all.at(1)));
        }
    }))
}

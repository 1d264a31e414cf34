//! What the arguments of a command mean.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::arguments::integer;
use super::{Shape, Version};
use crate::command::{Command, Condition, Expiry, Keys, TouchCondition, Write, WriteSpan, Writes};
use crate::limits::{KEY_BYTES_MAX, KEYS_MAX, SCRATCH_KEYS_KEPT};

/// What a command asks for.
#[derive(Debug)]
pub enum Asked<'a> {
    /// Something of the engine, whose reply is told so.
    Command(Command<'a>, Shape),
    /// Nothing but an answer.
    Own(Own<'a>),
    /// To be greeted, from now on in this version of the protocol; `None`: in the one that is spoken.
    Hello(Option<Version>),
    /// OK as the last answer.
    Quit,
}

/// What a connection answers by itself.
#[derive(Debug, PartialEq, Eq)]
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
    /// Who is here, with the server's version.
    Hello(&'a str),
    /// An error.
    Refused(Cow<'static, str>),
}

type Decoded<'a> = Result<Asked<'a>, Cow<'static, str>>;

const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
const SYNTAX: &str = "ERR syntax error";
/// Longest name of a command, in bytes.
const NAME_BYTES_MAX: usize = 16;
/// Most bytes of an unknown command, and of its arguments, that an error repeats, as in Valkey.
const QUOTED_BYTES_MAX: usize = 128;

/// What is asked for by arguments, of which there is at least one; places of what is to be stored are put into `writes`, whose
/// memory is reused.
///
/// # Panics
/// If there are no arguments.
pub fn decode<'a>(arguments: Keys<'a>, writes: &'a mut Vec<WriteSpan>) -> Asked<'a> {
    assert!(!arguments.is_empty(), "a command has a name");
    decode_named(arguments, writes).unwrap_or_else(|text| Asked::Own(Own::Refused(text)))
}

fn decode_named<'a>(all: Keys<'a>, writes: &'a mut Vec<WriteSpan>) -> Decoded<'a> {
    let at = |index: usize| all.spans().get(index).map_or(&[][..], |span| span.of(all.frame()));
    let mut buffer = [0; NAME_BYTES_MAX];
    let name = upper(at(0), &mut buffer);
    // How many arguments there are, with the name, is checked by the pattern.
    match (name, all.len()) {
        (b"GET", 2) => Ok(Asked::Command(Command::Get { key: key(at(1))? }, Shape::Value)),
        (b"SET", 3..) => set(all),
        (b"SETEX", 4) => set_for(all, 1_000, "setex"),
        (b"PSETEX", 4) => set_for(all, 1, "psetex"),
        (b"SETNX", 3) => Ok(Asked::Command(
            Command::Set(Write { condition: Condition::Absent, ..write(at(1), at(2))? }),
            Shape::Flag,
        )),
        (b"MGET", 2..) => Ok(Asked::Command(Command::GetMany { keys: keys(all)? }, Shape::Values)),
        (b"MSET", 3..) if all.len() % 2 == 1 => {
            let entries = entries(all, writes)?;
            Ok(Asked::Command(Command::SetMany { entries }, Shape::AllOk))
        }
        (b"DEL" | b"UNLINK", 2..) => Ok(Asked::Command(Command::DeleteMany { keys: keys(all)? }, Shape::Count)),
        (b"INCR", 2) => increment(at(1), 1),
        (b"DECR", 2) => increment(at(1), -1),
        (b"INCRBY", 3) => increment(at(1), integer(at(2)).ok_or(NOT_AN_INTEGER)?),
        (b"DECRBY", 3) => {
            let delta = integer(at(2)).ok_or(NOT_AN_INTEGER)?;
            increment(at(1), delta.checked_neg().ok_or("ERR decrement would overflow")?)
        }
        (b"EXPIRE", 3) => expire(all, 1_000, false, "expire"),
        (b"PEXPIRE", 3) => expire(all, 1, false, "pexpire"),
        (b"EXPIREAT", 3) => expire(all, 1_000, true, "expireat"),
        (b"PEXPIREAT", 3) => expire(all, 1, true, "pexpireat"),
        (b"EXPIRE" | b"PEXPIRE" | b"EXPIREAT" | b"PEXPIREAT", 4..) => {
            Err(Cow::Owned(format!("ERR Unsupported option {}", quoted(at(3)))))
        }
        (b"PING", 1) => Ok(Asked::Own(Own::Pong)),
        (b"PING", 2) | (b"ECHO", 2) => Ok(Asked::Own(Own::Echo(at(1)))),
        (b"QUIT", _) => Ok(Asked::Quit),
        (b"SELECT", 2) => match integer(at(1)).ok_or(NOT_AN_INTEGER)? {
            0 => Ok(Asked::Own(Own::Ok)),
            _ => Err(Cow::Borrowed("ERR DB index is out of range")),
        },
        (b"HELLO", 1) => Ok(Asked::Hello(None)),
        (b"HELLO", 2) => match integer(at(1)) {
            Some(2) => Ok(Asked::Hello(Some(Version::Two))),
            Some(3) => Ok(Asked::Hello(Some(Version::Three))),
            Some(_) => Err(Cow::Borrowed("NOPROTO unsupported protocol version")),
            None => Err(Cow::Borrowed("ERR Protocol version is not an integer or out of range")),
        },
        (b"HELLO", 3..) => Err(Cow::Owned(format!("ERR Syntax error in HELLO option '{}'", quoted(at(2))))),
        (b"COMMAND", 1) => Ok(Asked::Own(Own::Nothing)),
        (b"COMMAND", _) if at(1).eq_ignore_ascii_case(b"DOCS") => Ok(Asked::Own(Own::Nothing)),
        (b"CLIENT", 4) if at(1).eq_ignore_ascii_case(b"SETINFO") => Ok(Asked::Own(Own::Ok)),
        (b"CLIENT" | b"COMMAND", 2..) => {
            let name = String::from_utf8_lossy(name);
            Err(Cow::Owned(format!("ERR unknown subcommand '{}'. Try {name} HELP.", quoted(at(1)))))
        }
        (name, _) if NAMES.contains(&name) => {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            Err(Cow::Owned(format!("ERR wrong number of arguments for '{name}' command")))
        }
        _ => Err(Cow::Owned(unknown(all))),
    }
}

/// The commands above, of which a number of arguments may be wrong.
const NAMES: [&[u8]; 21] = [
    b"GET",
    b"SET",
    b"SETEX",
    b"PSETEX",
    b"SETNX",
    b"MGET",
    b"MSET",
    b"DEL",
    b"UNLINK",
    b"INCR",
    b"DECR",
    b"INCRBY",
    b"DECRBY",
    b"EXPIRE",
    b"PEXPIRE",
    b"EXPIREAT",
    b"PEXPIREAT",
    b"PING",
    b"ECHO",
    b"SELECT",
    b"CLIENT",
];

/// In capitals; nothing if no command has a name as long.
fn upper<'b>(name: &[u8], buffer: &'b mut [u8; NAME_BYTES_MAX]) -> &'b [u8] {
    let Some(place) = buffer.get_mut(..name.len()) else { return &[] };
    place.copy_from_slice(name);
    place.make_ascii_uppercase();
    place
}

fn key(key: &[u8]) -> Result<&[u8], Cow<'static, str>> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Cow::Owned(format!("ERR a key has {} bytes, and may have {KEY_BYTES_MAX}", key.len())));
    }
    Ok(key)
}

/// All arguments but the first, as keys.
fn keys(all: Keys<'_>) -> Result<Keys<'_>, Cow<'static, str>> {
    let keys = Keys::new(all.frame(), &all.spans()[1..]);
    check_count(keys.len())?;
    keys.iter().try_for_each(|one| key(one).map(drop))?;
    Ok(keys)
}

fn check_count(count: usize) -> Result<(), Cow<'static, str>> {
    if count > KEYS_MAX {
        return Err(Cow::Owned(format!("ERR a command has {count} keys, and may have {KEYS_MAX}; send several")));
    }
    Ok(())
}

fn entries<'a>(all: Keys<'a>, writes: &'a mut Vec<WriteSpan>) -> Result<Writes<'a>, Cow<'static, str>> {
    writes.clear();
    writes.shrink_to(SCRATCH_KEYS_KEPT);
    check_count(all.len() / 2)?;
    for pair in all.spans()[1..].chunks_exact(2) {
        key(pair[0].of(all.frame()))?;
        writes.push(WriteSpan { key: pair[0], value: pair[1], ..WriteSpan::default() });
    }
    Ok(Writes::new(all.frame(), writes))
}

fn write<'a>(of: &'a [u8], value: &'a [u8]) -> Result<Write<'a>, Cow<'static, str>> {
    Ok(Write { key: key(of)?, value, flags: 0, condition: Condition::Always, expiry: Expiry::Default })
}

/// SET key value [NX | XX] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL], options in any order.
fn set(all: Keys<'_>) -> Decoded<'_> {
    let mut arguments = all.iter().skip(1);
    let mut next = || arguments.next();
    let mut write = write(next().unwrap_or(&[]), next().unwrap_or(&[]))?;
    let mut buffer = [0; NAME_BYTES_MAX];
    while let Some(option) = next() {
        match upper(option, &mut buffer) {
            b"NX" if write.condition != Condition::Present => write.condition = Condition::Absent,
            b"XX" if write.condition != Condition::Absent => write.condition = Condition::Present,
            _ if write.expiry != Expiry::Default => return Err(Cow::Borrowed(SYNTAX)),
            b"KEEPTTL" => write.expiry = Expiry::Keep,
            option @ (b"EX" | b"PX" | b"EXAT" | b"PXAT") => {
                let unit_ms = if option[0] == b'E' { 1_000 } else { 1 };
                let time_ms = lifetime(next().ok_or(SYNTAX)?, unit_ms, "set")?;
                write.expiry = if option.len() == 4 { Expiry::At(time_ms) } else { Expiry::After(time_ms) };
            }
            b"GET" => return Err(Cow::Borrowed("ERR SET with GET is not offered")),
            _ => return Err(Cow::Borrowed(SYNTAX)),
        }
    }
    Ok(Asked::Command(Command::Set(write), Shape::Ok))
}

/// A command with key, time and value.
fn set_for<'a>(all: Keys<'a>, unit_ms: i64, name: &str) -> Decoded<'a> {
    let mut arguments = all.iter().skip(1);
    let mut next = || arguments.next().unwrap_or(&[]);
    let (key, time, value) = (next(), next(), next());
    let expiry = Expiry::After(lifetime(time, unit_ms, name)?);
    Ok(Asked::Command(Command::Set(Write { expiry, ..write(key, value)? }), Shape::Ok))
}

/// A time above 0, in ms.
fn lifetime(text: &[u8], unit_ms: i64, name: &str) -> Result<u64, Cow<'static, str>> {
    let time = integer(text).ok_or(NOT_AN_INTEGER)?;
    let time_ms = time.checked_mul(unit_ms).and_then(|time_ms| u64::try_from(time_ms).ok());
    time_ms.filter(|time_ms| *time_ms > 0).ok_or_else(|| invalid_time(name))
}

fn invalid_time(name: &str) -> Cow<'static, str> {
    Cow::Owned(format!("ERR invalid expire time in '{name}' command"))
}

fn increment(of: &[u8], delta: i64) -> Decoded<'_> {
    let command = Command::Increment { key: key(of)?, delta, initial: Some(delta), expiry: Expiry::Default };
    Ok(Asked::Command(command, Shape::Number))
}

/// A command with key and time; one that is over removes the key.
fn expire<'a>(all: Keys<'a>, unit_ms: i64, is_absolute: bool, name: &str) -> Decoded<'a> {
    let mut arguments = all.iter().skip(1);
    let mut next = || arguments.next().unwrap_or(&[]);
    let (of, time) = (next(), next());
    let time = integer(time).ok_or(NOT_AN_INTEGER)?;
    let time_ms = time.checked_mul(unit_ms).ok_or_else(|| invalid_time(name))?;
    let expiry = match u64::try_from(time_ms) {
        Ok(time_ms @ 1..) if is_absolute => Expiry::At(time_ms),
        Ok(time_ms @ 1..) => Expiry::After(time_ms),
        _ => Expiry::At(1),
    };
    Ok(Asked::Command(Command::Touch { key: key(of)?, expiry, only: TouchCondition::Always }, Shape::Flag))
}

fn unknown(all: Keys<'_>) -> String {
    let mut arguments = all.iter();
    let name = quoted(arguments.next().unwrap_or(&[]));
    let mut text = format!("ERR unknown command '{name}', with args beginning with: ");
    let begin = text.len();
    for argument in arguments {
        if text.len() - begin >= QUOTED_BYTES_MAX {
            break;
        }
        text.push_str(&format!("'{}' ", quoted(argument)));
    }
    text
}

fn quoted(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(QUOTED_BYTES_MAX)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::{Reader, ReaderLimits};
    use super::*;

    fn asked(line: &str) -> String {
        let line = format!("{line}\n");
        let (mut reader, mut writes) = (Reader::default(), Vec::new());
        let limits = ReaderLimits { argument_bytes_max: 1 << 10, command_bytes_max: 1 << 10 };
        reader.read(line.as_bytes(), limits).expect("it is a line").expect("it is whole");
        match decode(reader.arguments(line.as_bytes()), &mut writes) {
            Asked::Own(Own::Refused(text)) => text.into_owned(),
            Asked::Command(Command::Set(write), shape) => {
                let Write { key, value, condition, expiry, .. } = write;
                let (key, value) = (quoted(key), quoted(value));
                format!("set {key}={value} {condition:?} {expiry:?} as {shape:?}")
            }
            Asked::Command(Command::Touch { key, expiry, .. }, Shape::Flag) => {
                format!("touch {} {expiry:?}", quoted(key))
            }
            Asked::Command(Command::Increment { key, delta, initial, expiry: Expiry::Default }, Shape::Number) => {
                format!("add {delta} to {}, {initial:?}", quoted(key))
            }
            Asked::Command(Command::GetMany { keys }, Shape::Values) => format!("get {}", listed(keys)),
            Asked::Command(Command::DeleteMany { keys }, Shape::Count) => format!("delete {}", listed(keys)),
            Asked::Command(Command::SetMany { entries }, Shape::AllOk) => {
                let pairs: Vec<String> =
                    entries.iter().map(|write| format!("{}={}", quoted(write.key), quoted(write.value))).collect();
                format!("set {}", pairs.join(" "))
            }
            other => format!("{other:?}"),
        }
    }

    fn listed(keys: Keys<'_>) -> String {
        keys.iter().map(quoted).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn commands_mean_what_they_mean_to_valkey() {
        let pairs = [
            ("set a b", "set a=b Always Default as Ok"),
            ("SET a b nx EX 10", "set a=b Absent After(10000) as Ok"),
            ("set a b PX 10 xx", "set a=b Present After(10) as Ok"),
            ("set a b exat 10", "set a=b Always At(10000) as Ok"),
            ("set a b pxat 10", "set a=b Always At(10) as Ok"),
            ("set a b keepttl", "set a=b Always Keep as Ok"),
            ("set a b nx nx", "set a=b Absent Default as Ok"),
            ("setex a 2 b", "set a=b Always After(2000) as Ok"),
            ("psetex a 2 b", "set a=b Always After(2) as Ok"),
            ("setnx a b", "set a=b Absent Default as Flag"),
            ("mget a b a", "get a b a"),
            ("mset a 1 b 2", "set a=1 b=2"),
            ("unlink a b", "delete a b"),
            ("incr a", "add 1 to a, Some(1)"),
            ("decr a", "add -1 to a, Some(-1)"),
            ("incrby a -7", "add -7 to a, Some(-7)"),
            ("decrby a -7", "add 7 to a, Some(7)"),
            ("expire a 2", "touch a After(2000)"),
            ("pexpire a -2", "touch a At(1)"),
            ("expireat a 2", "touch a At(2000)"),
            ("pexpireat a 0", "touch a At(1)"),
            ("ping", "Own(Pong)"),
            ("select 0", "Own(Ok)"),
            ("hello", "Hello(None)"),
            ("hello 3", "Hello(Some(Three))"),
            ("quit", "Quit"),
            ("client setinfo lib-name redis-py", "Own(Ok)"),
        ];
        for (line, meaning) in pairs {
            assert_eq!(asked(line), meaning, "{line}");
        }
    }

    /// The texts are those of Valkey 8.
    #[test]
    fn errors_are_said_as_valkey_says_them() {
        let pairs = [
            ("get", "ERR wrong number of arguments for 'get' command"),
            ("MSET a", "ERR wrong number of arguments for 'mset' command"),
            ("mset a 1 b", "ERR wrong number of arguments for 'mset' command"),
            ("incrby a 1.5", NOT_AN_INTEGER),
            ("decrby a -9223372036854775808", "ERR decrement would overflow"),
            ("set a b nx xx", SYNTAX),
            ("set a b ex", SYNTAX),
            ("set a b ex 1 px 1", SYNTAX),
            ("set a b keepttl ex 1", SYNTAX),
            ("set a b no", SYNTAX),
            ("set a b ex x", NOT_AN_INTEGER),
            ("set a b ex 0", "ERR invalid expire time in 'set' command"),
            ("set a b ex 9223372036854775807", "ERR invalid expire time in 'set' command"),
            ("setex a -1 b", "ERR invalid expire time in 'setex' command"),
            ("expire a 9223372036854775807", "ERR invalid expire time in 'expire' command"),
            ("expire a 1 zz", "ERR Unsupported option zz"),
            ("select 1", "ERR DB index is out of range"),
            ("hello 4", "NOPROTO unsupported protocol version"),
            ("hello x", "ERR Protocol version is not an integer or out of range"),
            ("client no", "ERR unknown subcommand 'no'. Try CLIENT HELP."),
            ("nothing a \"b c\"", "ERR unknown command 'nothing', with args beginning with: 'a' 'b c' "),
            ("averyveryverylongname", "ERR unknown command 'averyveryverylongname', with args beginning with: "),
        ];
        for (line, text) in pairs {
            assert_eq!(asked(line), text, "{line}");
        }
    }

    #[test]
    fn what_is_above_a_limit_is_refused() {
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        let mut writes = Vec::new();
        let frame = format!("getsetv{long}");
        let span = |start, len| crate::Span { start, len };
        let (get, set) = (span(0, 3), span(3, 3));
        let (value, key) = (span(6, 1), span(7, long.len() as u32));
        for arguments in [&[get, key][..], &[set, key, value]] {
            let asked = decode(Keys::new(frame.as_bytes(), arguments), &mut writes);
            assert!(matches!(asked, Asked::Own(Own::Refused(text)) if text.contains("may have 65536")));
        }
        let mut arguments = alloc::vec![span(0, 1); KEYS_MAX + 2];
        arguments[0] = span(1, 4);
        let asked = decode(Keys::new(b"kmget", &arguments), &mut writes);
        assert!(matches!(asked, Asked::Own(Own::Refused(text)) if text.contains("send several")));
    }
}

//! Replies.

use alloc::vec::Vec;

use crate::{Failure, Reply, Status};

use super::Own;
use super::describe::describe;
use super::table::NAME_BYTES_MAX;

/// Which version of RESP a connection speaks; HELLO changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// RESP2.
    #[default]
    Two,
    /// RESP3.
    Three,
}

/// How a reply is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Shape {
    /// The value, or null.
    Value,
    /// A value for each key, or null.
    Values,
    /// OK, or null where a condition was not met.
    Ok,
    /// OK if all were stored.
    AllOk,
    /// A number.
    Number,
    /// 1 if something was done, else 0.
    Flag,
    /// Of how many keys something was done.
    Count,
}

impl Shape {
    /// Every shape, by its number.
    pub const ALL: [Shape; 7] =
        [Shape::Value, Shape::Values, Shape::Ok, Shape::AllOk, Shape::Number, Shape::Flag, Shape::Count];
}

/// Appends the answer to a command.
pub fn encode(out: &mut Vec<u8>, version: Version, shape: Shape, reply: &Reply<'_>) {
    match (shape, reply) {
        (_, Reply::Failed(failure)) => match (shape, failure.status) {
            (Shape::Ok | Shape::Value, Status::NotFound | Status::Exists) => null(out, version),
            (Shape::Flag, Status::NotFound | Status::Exists) => number(out, b':', 0),
            _ => fail(out, failure),
        },
        (Shape::Value, Reply::Entry(found)) => bulk(out, found.value.len(), |out| found.value.append_to(out)),
        (Shape::Values, Reply::Entries(entries)) => {
            number(out, b'*', entries.len() as i64);
            for index in 0..entries.len() {
                match entries.entry(index) {
                    Ok(found) => bulk(out, found.value.len(), |out| found.value.append_to(out)),
                    Err(Status::NotFound) => null(out, version),
                    Err(status) => encode_error(out, text_of(status)),
                }
            }
        }
        (Shape::Ok | Shape::Value, Reply::Miss) => null(out, version),
        (Shape::Ok, Reply::Stored { .. } | Reply::Done) => out.extend_from_slice(b"+OK\r\n"),
        (Shape::AllOk, Reply::Outcomes(outcomes)) => {
            match (0..outcomes.len()).find_map(|index| outcomes.outcome(index).err()) {
                None => out.extend_from_slice(b"+OK\r\n"),
                Some(status) => encode_error(out, text_of(status)),
            }
        }
        (Shape::Number, Reply::Number { value, .. }) => number(out, b':', *value),
        (Shape::Flag, Reply::Stored { .. } | Reply::Done) => number(out, b':', 1),
        (Shape::Flag, Reply::Miss) => number(out, b':', 0),
        (Shape::Count, Reply::Outcomes(outcomes)) => {
            let outcomes = || (0..outcomes.len()).map(|index| outcomes.outcome(index));
            match outcomes().find_map(|outcome| outcome.err().filter(|status| *status != Status::NotFound)) {
                None => number(out, b':', outcomes().filter(Result::is_ok).count() as i64),
                Some(status) => encode_error(out, text_of(status)),
            }
        }
        _ => unreachable!("{reply:?} is no answer to a command of {shape:?}"),
    }
}

/// Appends what a connection says by itself.
pub fn encode_own(out: &mut Vec<u8>, version: Version, own: &Own<'_>) {
    match own {
        Own::Pong => out.extend_from_slice(b"+PONG\r\n"),
        Own::Ok => out.extend_from_slice(b"+OK\r\n"),
        Own::Echo(text) => bulk(out, text.len(), |out| out.extend_from_slice(text)),
        Own::None => null(out, version),
        Own::Nothing => array(out, 0),
        Own::Number(value) => number(out, b':', *value),
        Own::Help(command) => help(out, command),
        Own::Described(described) => describe(out, version, described),
        Own::Refused(text) => encode_error(out, text),
    }
}

/// What there is of a command with parts.
fn help(out: &mut Vec<u8>, command: &str) {
    let lines = super::help::lines(command);
    array(out, lines.len() + 3);
    let mut name = [0; NAME_BYTES_MAX];
    let name = &mut name[..command.len()];
    name.copy_from_slice(command.as_bytes());
    name.make_ascii_uppercase();
    let name = core::str::from_utf8(name).expect("names are text");
    simple(out, &[name, " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]);
    lines.iter().for_each(|line| simple(out, &[line]));
    simple(out, &["HELP"]);
    simple(out, &["    Print this help."]);
}

/// Appends an error. What it quotes may have ends of lines, which an error cannot.
pub fn encode_error(out: &mut Vec<u8>, text: &str) {
    out.push(b'-');
    out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

fn fail(out: &mut Vec<u8>, failure: &Failure) {
    let text = text_of(failure.status);
    let is_said = matches!(failure.status, Status::NotANumber | Status::OutOfRange) || failure.message.is_empty();
    if is_said {
        return encode_error(out, text);
    }
    // Its first word is for programs, the rest is more exact here.
    let kind = text.split(' ').next().expect("there is one word");
    out.push(b'-');
    out.extend_from_slice(kind.as_bytes());
    out.push(b' ');
    out.extend(failure.message.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

/// As Valkey says it, where it knows such an error. TRYAGAIN is what its cluster says to a command that it has not executed
/// and may execute soon.
pub(super) fn text_of(status: Status) -> &'static str {
    match status {
        Status::NotANumber => "ERR value is not an integer or out of range",
        Status::OutOfRange => "ERR increment or decrement would overflow",
        Status::TooLarge => "ERR the key or value is above the server's limit",
        Status::NoSuchGroup => "ERR there is no such group",
        Status::NotSupported => "ERR not offered",
        Status::Overloaded | Status::OriginBusy => "TRYAGAIN too much waits here; not executed",
        Status::OwnerUnsure | Status::WrongOwner => "TRYAGAIN the owner of the key is about to change; not executed",
        Status::Unavailable => "TRYAGAIN the node of the key cannot be reached; harmless to repeat",
        Status::DeadlineExceeded => "TRYAGAIN out of time; harmless to repeat",
        Status::OutcomeUnknown => "ERR the command may or may not have been executed: read before repeating",
        Status::Unauthenticated => "NOAUTH Authentication required.",
        Status::OriginFailed => "ERR the group's origin did not give the value",
        Status::NotFound => "ERR no such key",
        Status::Exists => "ERR the key is there",
        Status::VersionMismatch => "ERR the entry has another version",
        Status::LeaseLost => "ERR the lease has ended",
        Status::Ok | Status::BadRequest => "ERR the command cannot be executed",
    }
}

/// Appends that there is nothing.
pub fn null(out: &mut Vec<u8>, version: Version) {
    out.extend_from_slice(match version {
        Version::Two => b"$-1\r\n",
        Version::Three => b"_\r\n",
    });
}

/// Appends a text.
pub fn text(out: &mut Vec<u8>, text: &str) {
    bulk(out, text.len(), |out| out.extend_from_slice(text.as_bytes()));
}

/// Appends a string of so many bytes, which `append` adds.
pub fn bulk(out: &mut Vec<u8>, len: usize, append: impl FnOnce(&mut Vec<u8>)) {
    // Room for all of it at once.
    out.reserve(len + 32);
    number(out, b'$', len as i64);
    append(out);
    out.extend_from_slice(b"\r\n");
}

/// Appends the beginning of an array.
pub fn array(out: &mut Vec<u8>, len: usize) {
    number(out, b'*', len as i64);
}

/// Appends the beginning of a map of so many pairs, which is an array where there are none.
pub fn map(out: &mut Vec<u8>, version: Version, pairs: usize) {
    match version {
        Version::Two => array(out, 2 * pairs),
        Version::Three => number(out, b'%', pairs as i64),
    }
}

/// Appends the beginning of a set, which is an array where there are none.
pub(super) fn set(out: &mut Vec<u8>, version: Version, len: usize) {
    match version {
        Version::Two => array(out, len),
        Version::Three => number(out, b'~', len as i64),
    }
}

/// Appends a line of text, which is made of these pieces.
pub(super) fn simple(out: &mut Vec<u8>, pieces: &[&str]) {
    out.push(b'+');
    pieces.iter().for_each(|piece| out.extend_from_slice(piece.as_bytes()));
    out.extend_from_slice(b"\r\n");
}

/// Appends a text for people.
pub fn verbatim(out: &mut Vec<u8>, version: Version, words: &str) {
    match version {
        Version::Two => text(out, words),
        Version::Three => {
            number(out, b'=', words.len() as i64 + 4);
            out.extend_from_slice(b"txt:");
            out.extend_from_slice(words.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Appends a line with a number: of what kind its first byte says.
pub fn number(out: &mut Vec<u8>, kind: u8, number: i64) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use alloc::borrow::Cow;
    use alloc::string::String;

    use super::*;
    use crate::{Entries, Entry, Found, Outcomes};

    fn said(version: Version, shape: Shape, reply: &Reply<'_>) -> String {
        let mut out = Vec::new();
        encode(&mut out, version, shape, reply);
        String::from_utf8(out).expect("text")
    }

    fn found(value: &[u8]) -> Found<'_> {
        Entry { value, flags: 0, version: 7, ttl_ms: 0, is_stale: false }.into()
    }

    #[derive(Debug)]
    struct Many(&'static [Result<&'static [u8], Status>]);

    impl Entries for Many {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn entry(&self, index: usize) -> Result<Found<'_>, Status> {
            self.0[index].map(found)
        }
    }

    impl Outcomes for Many {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn outcome(&self, index: usize) -> Result<u64, Status> {
            self.0[index].map(|_| 7)
        }
    }

    #[test]
    fn each_shape_is_told_as_the_command_has_it() {
        let two = |shape, reply: Reply<'_>| said(Version::Two, shape, &reply);
        assert_eq!(two(Shape::Value, Reply::Entry(found(b"ab"))), "$2\r\nab\r\n");
        assert_eq!(two(Shape::Value, Reply::Miss), "$-1\r\n");
        assert_eq!(said(Version::Three, Shape::Value, &Reply::Miss), "_\r\n");
        let many = Many(&[Ok(b"a"), Err(Status::NotFound), Err(Status::OwnerUnsure)]);
        assert_eq!(
            two(Shape::Values, Reply::Entries(&many)),
            "*3\r\n$1\r\na\r\n$-1\r\n-TRYAGAIN the owner of the key is about to change; not executed\r\n"
        );
        assert_eq!(two(Shape::Ok, Reply::Stored { version: 7 }), "+OK\r\n");
        let exists = Failure::new(Status::Exists, "the key is there");
        assert_eq!(two(Shape::Ok, Reply::Failed(&exists)), "$-1\r\n");
        assert_eq!(two(Shape::Ok, Reply::Miss), "$-1\r\n");
        assert_eq!(two(Shape::Flag, Reply::Failed(&exists)), ":0\r\n");
        assert_eq!((two(Shape::Flag, Reply::Done), two(Shape::Flag, Reply::Miss)), (":1\r\n".into(), ":0\r\n".into()));
        for (value, text) in [(0, ":0\r\n"), (-1, ":-1\r\n"), (i64::MIN, ":-9223372036854775808\r\n")] {
            assert_eq!(two(Shape::Number, Reply::Number { value, version: 1 }), text);
        }
        let count = Many(&[Ok(b""), Err(Status::NotFound), Ok(b"")]);
        assert_eq!(two(Shape::Count, Reply::Outcomes(&count)), ":2\r\n");
        assert_eq!(two(Shape::AllOk, Reply::Outcomes(&Many(&[Ok(b"")]))), "+OK\r\n");
        assert!(two(Shape::AllOk, Reply::Outcomes(&many)).starts_with("-ERR no such key"));
        assert!(two(Shape::Count, Reply::Outcomes(&many)).starts_with("-TRYAGAIN "));
    }

    #[test]
    fn shapes_have_their_numbers() {
        assert!(Shape::ALL.iter().enumerate().all(|(number, shape)| *shape as usize == number));
    }

    #[test]
    fn an_error_is_one_line_and_says_what_is_known() {
        let failed = |status, message: &'static str| {
            let failure = Failure { status, message: Cow::Borrowed(message), retry_after_ms: 0 };
            said(Version::Two, Shape::Value, &Reply::Failed(&failure))
        };
        assert_eq!(failed(Status::Overloaded, "too\r\nmuch"), "-TRYAGAIN too  much\r\n");
        assert_eq!(failed(Status::OutcomeUnknown, "the node is gone"), "-ERR the node is gone\r\n");
        assert_eq!(failed(Status::NotANumber, "anything"), "-ERR value is not an integer or out of range\r\n");
        for status in Status::ALL {
            assert!(text_of(*status).contains(' '), "{status:?}");
        }
    }
}

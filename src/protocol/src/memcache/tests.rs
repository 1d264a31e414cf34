//! Lines and what they mean.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::*;
use crate::command::{Command, Write};
use crate::{Entry, Failure, Reply, Status};

const LIMITS: Limits = Limits { value_bytes_max: 1_000, is_stranger: false };

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What some input means, and how many bytes of it are taken.
fn meaning(input: &str) -> (String, usize) {
    let mut places = Places::default();
    match decode(input.as_bytes(), &mut places, LIMITS) {
        Parsed::More => ("more".into(), 0),
        Parsed::Broken(why) => (format!("broken {why}"), 0),
        Parsed::Asked(asked, taken) => (told(&asked), taken),
    }
}

fn told(asked: &Asked<'_>) -> String {
    match asked {
        Asked::Own(Own::Line(line)) => (*line).into(),
        Asked::Own(own) => format!("{own:?}"),
        Asked::Command(Command::Set(Write { key, value, flags, condition, expiry }), shape, quiet) => {
            format!("set {}={} {flags} {condition:?} {expiry:?} as {shape:?} {quiet}", text(key), text(value))
        }
        Asked::Command(Command::Count { key, delta, is_down, .. }, _, quiet) => {
            format!("count {} {delta} {is_down} {quiet}", text(key))
        }
        Asked::Command(Command::Touch { key, expiry, .. }, _, quiet) => {
            format!("touch {} {expiry:?} {quiet}", text(key))
        }
        Asked::Command(Command::Delete { key, .. }, _, quiet) => format!("delete {} {quiet}", text(key)),
        Asked::Command(Command::Append { key, value }, _, _) => format!("append {} {}", text(key), text(value)),
        Asked::Get(keys, shape) => format!("get {:?} as {shape:?}", keys.iter().map(text).collect::<Vec<_>>()),
        Asked::GetAndTouch(keys, expiry, _) => {
            format!("gat {expiry:?} {:?}", keys.iter().map(text).collect::<Vec<_>>())
        }
        Asked::TooLarge(key, bytes, _) => format!("too large {} {bytes}", text(key)),
        other => format!("{other:?}"),
    }
}

#[test]
fn lines_mean_what_they_mean_to_memcached() {
    let pairs = [
        ("get a\r\n", "get [\"a\"] as Values { has_cas: false }"),
        ("gets a  b \n", "get [\"a\", \"b\"] as Values { has_cas: true }"),
        ("gat 10 a b\r\n", "gat After(10000) [\"a\", \"b\"]"),
        ("gats -1 a\r\n", "gat At(1) [\"a\"]"),
        ("set a 5 0 2\r\nhi\r\n", "set a=hi 5 Always Default as Stored false"),
        ("add a 0 60 2 noreply\r\nhi\r\n", "set a=hi 0 Absent After(60000) as Stored true"),
        ("replace a 0 2592001 0\r\n\r\n", "set a= 0 Present At(2592001000) as Stored false"),
        ("cas a 0 -1 2 77\r\n\r\n\r\n", "set a=\r\n 0 Version(77) At(1) as Compared false"),
        ("append a 0 0 1\r\nx\r\n", "append a x"),
        ("delete a\r\n", "delete a false"),
        ("delete a 0 noreply\r\n", "delete a true"),
        ("incr a 5\r\n", "count a 5 false false"),
        ("decr a 18446744073709551615 noreply\r\n", "count a 18446744073709551615 true true"),
        ("touch a 10\r\n", "touch a After(10000) false"),
        ("flush_all\r\n", "Flush(0, false)"),
        ("flush_all 10 noreply\r\n", "Flush(10, true)"),
        ("stats\r\n", "Stats(General)"),
        ("stats settings\r\n", "Stats(Settings)"),
        ("version\r\n", "Version"),
        ("verbosity 1\r\n", "OK"),
        ("mn\r\n", "MN"),
        ("quit\r\n", "Quit"),
        ("get\r\n", "ERROR"),
        ("nothing\r\n", "ERROR"),
        ("\r\n", "ERROR"),
        ("SET a 0 0 1\r\n", "ERROR"),
        ("set a 0 0\r\n", "ERROR"),
        ("set a x 0 1\r\n", "CLIENT_ERROR bad command line format"),
        ("set a 0 0 -1\r\n", "CLIENT_ERROR bad command line format"),
        ("set a 4294967296 0 1\r\n", "CLIENT_ERROR bad command line format"),
        ("cas a 0 0 1 x\r\n", "CLIENT_ERROR bad command line format"),
        ("set a 0 0 2\r\nhix\r\n", "CLIENT_ERROR bad data chunk"),
        ("set a 0 0 2000\r\n", "too large a 2002"),
        ("add a 0 0 2000\r\n", "Swallow(Line(\"SERVER_ERROR object too large for cache\"), 2002)"),
        ("incr a -1\r\n", "CLIENT_ERROR invalid numeric delta argument"),
        ("touch a x\r\n", "CLIENT_ERROR invalid exptime argument"),
        ("gat x a\r\n", "CLIENT_ERROR invalid exptime argument"),
        ("delete a 5\r\n", "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]"),
    ];
    for (input, wanted) in pairs {
        let (found, taken) = meaning(input);
        assert_eq!(found, wanted, "{input:?}");
        let is_chunk = input.contains("hix");
        assert_eq!(taken, input.len() - if is_chunk { 1 } else { 0 }, "{input:?}");
        let line = input.find('\n').expect("a line");
        for end in 0..input.len() {
            let (part, _) = meaning(&input[..end]);
            // A line may say enough.
            assert!(part == "more" || end > line && part == wanted, "{end} bytes of {input:?}: {part}");
        }
    }
    for verb in ["GET / HTTP/1.1\r\n", "POST /x HTTP/1.1\r\n"] {
        assert_eq!(meaning(verb).0, "broken ");
    }
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    for line in [format!("get {long}\r\n"), format!("set {long} 0 0 1\r\n"), format!("incr {long} 1\r\n")] {
        assert_eq!(meaning(&line).0, "CLIENT_ERROR bad command line format");
    }
    assert_eq!(meaning(&"x".repeat(LINE_BYTES_MAX + 1)).0, "broken CLIENT_ERROR line too long");
    let stranger = Limits { is_stranger: true, ..LIMITS };
    let input = "x".repeat(STRANGER_BYTES_MAX + 1);
    assert!(matches!(decode(input.as_bytes(), &mut Places::default(), stranger), Parsed::Broken(_)));
}

#[test]
fn plain_commands_are_those_that_are_decoded_otherwise() {
    let inputs = [
        "get a\r\n",
        "set a 5 0 2\r\nhi\r\n",
        "set a 4294967295 2592000 2\r\n\r\n\r\n",
        "get a b\r\n",
        "get a \r\n",
        "get a\n",
        "set a 05 0 2\r\nhi\r\n",
        "set a 5 -1 2\r\nhi\r\n",
        "set a 5 0 2 noreply\r\nhi\r\n",
        "set a 5 0 2\r\nhix\r\n",
        "set a 5 0 99999999999999999999\r\n",
        "gets a\r\n",
    ];
    for (index, input) in inputs.into_iter().enumerate() {
        let found = plain(input.as_bytes(), 1_000);
        assert_eq!(found.is_some(), index < 3, "{input:?}");
        let Some((command, shape, taken)) = found else { continue };
        let wanted = match command {
            Command::Get { key } => format!("get [{:?}] as Values {{ has_cas: false }}", text(key)),
            command => told(&Asked::Command(command, shape, false)),
        };
        assert_eq!((wanted, taken), meaning(input));
        for end in 0..input.len() {
            assert!(plain(&input.as_bytes()[..end], 1_000).is_none());
        }
    }
}

#[test]
fn replies_are_told_as_memcached_does() {
    let said = |shape, is_quiet, keys: &str, reply: &Reply<'_>| {
        let mut out = Vec::new();
        encode(&mut out, shape, is_quiet, keys.as_bytes(), reply);
        text(&out)
    };
    let entry = Entry { value: b"9 ", flags: 5, version: 77, ttl_ms: 0, is_stale: false };
    let found = Reply::Entry(entry.into());
    assert_eq!(said(Shape::Value { has_cas: false }, false, "a", &found), "VALUE a 5 2\r\n9 \r\nEND\r\n");
    assert_eq!(said(Shape::Value { has_cas: true }, false, "a", &found), "VALUE a 5 2 77\r\n9 \r\nEND\r\n");
    assert_eq!(said(Shape::Value { has_cas: true }, false, "a", &Reply::Miss), "END\r\n");
    assert_eq!(said(Shape::Counted, false, "a", &found), "9\r\n");
    assert_eq!(said(Shape::Counted, true, "a", &found), "");
    let failed = |status| Failure::new(status, "");
    for (shape, reply, line) in [
        (Shape::Stored, Reply::Stored { version: 1 }, "STORED"),
        (Shape::Stored, Reply::Miss, "NOT_STORED"),
        (Shape::Stored, Reply::Failed(&failed(Status::Exists)), "NOT_STORED"),
        (Shape::Compared, Reply::Failed(&failed(Status::VersionMismatch)), "EXISTS"),
        (Shape::Compared, Reply::Miss, "NOT_FOUND"),
        (Shape::Deleted, Reply::Done, "DELETED"),
        (Shape::Deleted, Reply::Miss, "NOT_FOUND"),
        (Shape::Touched, Reply::Stored { version: 1 }, "TOUCHED"),
        (Shape::Counted, Reply::Miss, "NOT_FOUND"),
        (Shape::Flushed, Reply::Invalidated { generation: 1 }, "OK"),
    ] {
        assert_eq!(said(shape, false, "a", &reply), format!("{line}\r\n"));
        assert_eq!(said(shape, true, "a", &reply), "");
    }
    let busy = failed(Status::Overloaded);
    assert!(said(Shape::Stored, false, "a", &Reply::Failed(&busy)).starts_with("SERVER_ERROR "));
    assert_eq!(said(Shape::Stored, true, "a", &Reply::Failed(&busy)), "", "whoever wants no answer gets none");
    let number = failed(Status::NotANumber);
    let text = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
    assert_eq!(said(Shape::Counted, false, "a", &Reply::Failed(&number)), text);
}

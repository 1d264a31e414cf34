//! Lines and what they mean.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::*;
use crate::command::{Command, Meta, Write};
use crate::{Claim, Entry, Failure, Looked, Reply, Status};

const LIMITS: Limits = Limits { value_bytes_max: 1_000, line_bytes_max: LINE_BYTES_MAX };

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
        Asked::GetPart(keys, has_cas) => format!("part {:?} {has_cas}", keys.iter().map(text).collect::<Vec<_>>()),
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
        ("flush_all\r\n", "Flush(None, false)"),
        ("flush_all 10 noreply\r\n", "Flush(Some(After(10000)), true)"),
        ("flush_all 2592001\r\n", "Flush(Some(At(2592001000)), false)"),
        ("flush_all -1\r\n", "Flush(None, false)"),
        ("stats\r\n", "Stats(General)"),
        ("stats settings\r\n", "Stats(Settings)"),
        ("version\r\n", "Version"),
        ("verbosity 1\r\n", "OK"),
        ("mn\r\n", "MN"),
        ("quit\r\n", "Quit"),
        ("shutdown\r\n", "ERROR: shutdown not enabled"),
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
    for verb in ["GET / HTTP/1.1\r\n", "POST /x HTTP/1.1\r\n", "PUT /x HTTP/1.1\r\n", "OPTIONS * HTTP/1.1\r\n"] {
        assert_eq!(meaning(verb).0, "broken ");
    }
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    for line in [format!("get {long}\r\n"), format!("set {long} 0 0 1\r\n"), format!("incr {long} 1\r\n")] {
        assert_eq!(meaning(&line).0, "CLIENT_ERROR bad command line format");
    }
    assert_eq!(meaning(&"x".repeat(LINE_BYTES_MAX + 1)).0, "broken CLIENT_ERROR line too long");
    let stranger = Limits { line_bytes_max: STRANGER_BYTES_MAX, ..LIMITS };
    let input = "x".repeat(STRANGER_BYTES_MAX + 1);
    assert!(matches!(decode(input.as_bytes(), &mut Places::default(), stranger), Parsed::Broken(_)));
}

/// What a line means that is too long to be waited for, part by part.
fn parts(input: &str, line_bytes_max: usize) -> Vec<String> {
    let (limits, mut places) = (Limits { line_bytes_max, ..LIMITS }, Places::default());
    let (mut found, mut rest, mut input) = (Vec::new(), None, input.as_bytes());
    loop {
        let parsed = match rest.take() {
            Some(rest) => decode_rest(input, rest, &mut places, limits),
            None => decode(input, &mut places, limits),
        };
        let Parsed::Asked(asked, taken) = parsed else { return found };
        rest = match asked {
            Asked::GetPart(_, has_cas) => Some(Rest::Keys { has_cas }),
            Asked::GetRefused(_) => Some(Rest::Nothing),
            _ => None,
        };
        found.push(told(&asked));
        input = &input[taken..];
    }
}

#[test]
fn a_get_may_be_of_any_length() {
    let wanted = [
        "part [\"aa\", \"bb\"] true",
        "part [\"cc\", \"dd\", \"ee\"] true",
        "get [\"ff\"] as Values { has_cas: true }",
        "MN",
    ];
    assert_eq!(parts("gets aa bb cc dd ee ff\r\nmn\r\n", 11), wanted);
    assert_eq!(parts("get aa bb   \r\nmn\r\n", 11), ["part [\"aa\", \"bb\"] false", "END", "MN"]);
    assert_eq!(parts("get aa bb cc dd", 11), ["part [\"aa\", \"bb\"] false"], "its end has not come");
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    let wanted = ["part [\"aa\"] false", "GetRefused(Line(\"CLIENT_ERROR bad command line format\"))", "Silence", "MN"];
    assert_eq!(parts(&format!("get aa {long} bb cc\r\nmn\r\n"), KEY_BYTES_MAX + 5)[..], wanted);
    assert_eq!(parts(&format!("get {long}\r\nmn\r\n"), 100).last().unwrap(), "MN", "no key is a part either");
    let many = "k ".repeat(crate::limits::KEYS_MAX + 1);
    let found = parts(&format!("get {many}\r\n"), LINE_BYTES_MAX);
    assert!(found.len() == 2 && found[0].starts_with("part") && found[1].starts_with("get [\"k\"]"), "{}", found.len());
    assert!(parts(&format!("gat 0 {many}\r\n"), LINE_BYTES_MAX)[0].starts_with("CLIENT_ERROR too many keys"));
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

/// What a meta command means, and what is answered to it.
fn meta_meaning(input: &str) -> String {
    let mut places = Places::default();
    let Parsed::Asked(asked, taken) = decode(input.as_bytes(), &mut places, LIMITS) else {
        panic!("{input:?} is a command");
    };
    assert_eq!(taken, input.len(), "{input:?}");
    match asked {
        Asked::Meta(Command::Meta(meta), _, words, quiet) => {
            let (usual, Meta { key, value, action, .. }) = (Meta::default(), meta);
            let mut told = format!("{action:?} {}={}", text(key), text(value));
            let numbers =
                [meta.version, meta.new_version, meta.early_ms, meta.delta, meta.initial, u64::from(meta.flags)];
            for (name, number) in ["C", "E", "R", "D", "J", "F"].into_iter().zip(numbers) {
                if number != 0 {
                    told += &format!(" {name}{number}");
                }
            }
            for (name, is) in [
                ("v", meta.wants_value),
                ("u", meta.is_unseen),
                ("I", meta.is_stale),
                ("q", quiet),
                ("A", meta.is_early_after),
            ] {
                told += if is { name } else { "" };
            }
            if meta.expiry != usual.expiry {
                told += &format!(" {:?}", meta.expiry);
            }
            assert!(input.contains(&text(words)), "{input:?}");
            meta.created.map_or(told.clone(), |created| format!("{told} N {created:?}"))
        }
        Asked::Meta(Command::Look { key, value: false }, MetaShape::Debug, ..) => format!("look {}", text(key)),
        Asked::Swallow(Own::Line(line), bytes) => format!("{line}, and {bytes} more"),
        Asked::TooLarge(key, bytes, _) => format!("too large {}, and {bytes} more", text(key)),
        other => told(&other),
    }
}

#[test]
fn meta_commands_mean_what_they_mean_to_memcached() {
    let pairs = [
        ("mg a\r\n", "Get a= Keep"),
        ("mg  a  v  u q\r\n", "Get a=vuq Keep"),
        ("mg a c f h k l Oabc s t v C7 E8 N0 R30 T100 Px Ly\r\n", "Get a= E8 R30000v After(100000) N Default"),
        ("mg a T100 R30\r\n", "Get a= R30000A After(100000)"),
        ("mg aGk= b\r\n", "Get hi= Keep"),
        ("ms a 2\r\nhi\r\n", "Set a=hi"),
        ("ms a 2 T-1 F5 I C7 q\r\nhi\r\n", "Set a=hi C7 F5Iq At(1)"),
        ("ms a 2 C0\r\nhi\r\n", "Set a=hi C18446744073709551615"),
        ("ms a 2 C0 MA\r\nhi\r\n", "Append a=hi"),
        ("md a C0\r\n", "Delete a= C18446744073709551615 Keep"),
        ("ma a C0\r\n", "AddTo a= D1 Keep"),
        ("mg a E18446744073709551615\r\n", "CLIENT_ERROR bad token in command line format"),
        ("ms a 0 ME\r\n\r\n", "Add a="),
        ("ms a 2 MA N60 E3\r\nhi\r\n", "Append a=hi E3 N After(60000)"),
        ("ms a 2 Mp\r\nhi\r\n", "Prepend a=hi"),
        ("ms a 2 MR\r\nhi\r\n", "Replace a=hi"),
        ("md a\r\n", "Delete a= Keep"),
        ("md a I T30 C5 q\r\n", "Delete a= C5Iq After(30000)"),
        ("md a x\r\n", "Clear a="),
        ("ma a\r\n", "AddTo a= D1 Keep"),
        ("ma a MD D5 J7 N0 T9\r\n", "TakeFrom a= D5 J7 After(9000) N Default"),
        ("me a\r\n", "look a"),
        ("mg\r\n", "ERROR"),
        ("me\r\n", "CLIENT_ERROR bad command line format"),
        ("mg a v v\r\n", "CLIENT_ERROR duplicate flag"),
        ("md a q q\r\n", "CLIENT_ERROR invalid or duplicate flag"),
        ("mg a !\r\n", "CLIENT_ERROR invalid flag"),
        ("mg a T\r\n", "CLIENT_ERROR bad token in command line format"),
        ("mg a b\r\n", "CLIENT_ERROR error decoding key"),
        ("ms a 2 MX\r\n", "CLIENT_ERROR invalid mode for ms M token, and 4 more"),
        ("ms a 2 c c\r\n", "CLIENT_ERROR duplicate flag, and 4 more"),
        ("ms a x\r\n", "CLIENT_ERROR bad command line format"),
        ("ms a 2000 q\r\n", "too large a, and 2002 more"),
        ("ma a Dx\r\n", "CLIENT_ERROR invalid or duplicate flag"),
        ("ma a MX\r\n", "CLIENT_ERROR invalid mode for ma M token"),
    ];
    for (input, wanted) in pairs {
        assert_eq!(meta_meaning(input), wanted, "{input:?}");
        let line = input.find('\n').expect("a line");
        for end in 0..input.len() {
            let (part, _) = meaning(&input[..end]);
            assert!(part == "more" || end > line, "{end} bytes of {input:?}: {part}");
        }
    }
    let many: String = ('A'..='U').map(|flag| format!(" P{flag}")).collect();
    assert_eq!(meta_meaning(&format!("mg a{many}\r\n")), "CLIENT_ERROR duplicate flag");
    let opaque = |len| meta_meaning(&format!("mg a O{}\r\n", "o".repeat(len)));
    assert_eq!(opaque(OPAQUE_BYTES_MAX), "CLIENT_ERROR opaque token too long");
    assert_eq!(opaque(OPAQUE_BYTES_MAX - 1), "Get a= Keep");
    assert_eq!(
        meta_meaning(&format!("mg {}\r\n", "k".repeat(KEY_BYTES_MAX + 1))),
        "CLIENT_ERROR bad command line format"
    );
}

#[test]
fn meta_replies_come_in_the_order_of_the_flags() {
    let now_ms = 50_000;
    let said = |shape, is_quiet, words: &str, reply: &Reply<'_>| {
        let mut out = Vec::new();
        encode_meta(&mut out, shape, is_quiet, words.as_bytes(), reply, now_ms);
        text(&out)
    };
    let entry = Entry { value: b"10 ", flags: 5, version: 77, ttl_ms: 1_001, is_stale: false };
    let (expires_at_ms, accessed_ms) = (now_ms + 9_000, now_ms - 3_000);
    let (is_hit, claim) = (true, Claim::Nobody);
    let looked = Looked { entry: entry.into(), value_bytes: 3, expires_at_ms, accessed_ms, is_hit, claim };
    let (get, none) = (MetaShape::Get { value: true }, MetaShape::Get { value: false });
    let found = Reply::Looked(looked);
    assert_eq!(said(get, true, "a t c O9 f s h l k v", &found), "VA 3 t2 c77 O9 f5 s3 h1 l3 ka\r\n10 \r\n");
    assert_eq!(said(none, false, "aGk= T9 b t k", &found), "HD t9 kaGk= b\r\n", "behind a new time, that time");
    for (claim, is_stale, flags) in [
        (Claim::Won, false, " W"),
        (Claim::Taken, false, " Z"),
        (Claim::Won, true, " X W"),
        (Claim::Taken, true, " Z X"),
    ] {
        let mut looked = looked;
        (looked.claim, looked.entry.is_stale) = (claim, is_stale);
        assert_eq!(said(none, false, "a s", &Reply::Looked(looked)), format!("HD s3{flags}\r\n"));
    }
    let forever = Looked { entry: Entry { ttl_ms: 0, ..entry }.into(), expires_at_ms: 0, ..looked };
    assert_eq!(said(none, false, "a t", &Reply::Looked(forever)), "HD t-1\r\n");
    assert_eq!(said(MetaShape::Count { value: true }, false, "a c", &found), "VA 2 c77\r\n10\r\n");
    let debug = "ME a exp=9 la=3 cas=77 fetch=yes cls=1 size=4\r\n";
    assert_eq!(said(MetaShape::Debug, false, "a", &found), debug);
    assert_eq!(
        said(get, false, "a t h l v", &Reply::Entry(entry.into())),
        "VA 3 t2 h0 l0\r\n10 \r\n",
        "from an origin"
    );

    let (exists, other) = (Failure::new(Status::Exists, ""), Failure::new(Status::VersionMismatch, ""));
    let set = |is_compared| MetaShape::Set { is_compared, bytes: 2 };
    for (shape, reply, line, quiet) in [
        (get, Reply::Miss, "EN kb O1", ""),
        (MetaShape::Debug, Reply::Miss, "EN kb O1", "EN kb O1"),
        (MetaShape::Delete, Reply::Done, "HD kb O1", ""),
        (MetaShape::Delete, Reply::Miss, "NF kb O1", "NF kb O1"),
        (MetaShape::Delete, Reply::Failed(&other), "EX kb O1", "EX kb O1"),
        (MetaShape::Count { value: false }, Reply::Miss, "NF kb O1", "NF kb O1"),
        (MetaShape::Count { value: false }, found, "HD kb c77 O1", ""),
    ] {
        for (is_quiet, line) in [(false, line), (true, quiet)] {
            let line = if line.is_empty() { String::new() } else { format!("{line}\r\n") };
            assert_eq!(said(shape, is_quiet, "b k c O1", &reply), line, "{shape:?} {reply:?}");
        }
    }
    for (shape, reply, line) in [
        (set(false), Reply::Resized { version: 7, value_bytes: 9 }, "HD c7 s9"),
        (set(false), Reply::Miss, "NS c0 s2"),
        (set(true), Reply::Miss, "NF c0 s2"),
        (set(false), Reply::Failed(&exists), "NS c0 s2"),
        (set(true), Reply::Failed(&other), "EX c0 s2"),
    ] {
        assert_eq!(said(shape, false, "a 2 c s", &reply), format!("{line}\r\n"));
        assert_eq!(said(shape, true, "a 2 c s", &reply).is_empty(), line.starts_with("HD"));
    }
    let busy = Failure::new(Status::Overloaded, "");
    assert!(
        said(set(false), true, "a 2", &Reply::Failed(&busy)).starts_with("SERVER_ERROR "),
        "errors are always told"
    );
}

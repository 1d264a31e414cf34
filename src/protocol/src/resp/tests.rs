//! Commands from their words to what is told of them.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use super::decode::{NOT_AN_INTEGER, SYNTAX, quoted};
use super::*;
use crate::command::{Command, Expiry, Write};
use crate::limits::{KEY_BYTES_MAX, KEYS_MAX};
use crate::native::{Scratch, decode_request, frame};
use crate::places::{Keys, Span};
use crate::{Claim, Entry, Failure, Looked, Reply, Status};

const LIMITS: ReaderLimits =
    ReaderLimits { argument_bytes_max: 1 << 10, command_bytes_max: 1 << 20, is_stranger: false };

fn named(name: &[u8]) -> Option<u64> {
    (name == b"scores").then_some(9)
}

fn asked<T>(line: &str, prefixes: bool, then: impl FnOnce(Asked<'_>) -> T) -> T {
    let line = format!("{line}\n");
    let (mut reader, mut places) = (Reader::default(), Places::default());
    reader.read(line.as_bytes(), LIMITS).expect("it is a line").expect("it is whole");
    let keyspace = Keyspace::new(0, prefixes.then_some(&named));
    then(decode(reader.arguments(line.as_bytes()), &keyspace, &mut places, 10_000))
}

fn meaning(line: &str) -> String {
    asked(line, false, |asked| told(&asked))
}

fn told(asked: &Asked<'_>) -> String {
    match asked {
        Asked::Own(Own::Refused(text)) => text.clone().into_owned(),
        Asked::Own(own) => format!("{own:?}"),
        Asked::Command(group, command, shape) => {
            let group = if *group == 0 { String::new() } else { format!("in {group}: ") };
            format!("{group}{} as {shape:?}", of_command(command))
        }
        Asked::Plan(plan) => {
            let (mut rest, mut scratch, mut parts) = (&plan.frames[..], Scratch::default(), Vec::new());
            while let Some(next) = frame(rest, usize::MAX).expect("frames") {
                let request = decode_request(next.message, &mut scratch).expect("a request");
                assert_eq!(request.id, parts.len() as u64);
                let group = if request.group == 0 { String::new() } else { format!("in {}: ", request.group) };
                parts.push(group + &of_command(&request.command));
                rest = &rest[next.consumed..];
            }
            assert_eq!(parts.len(), plan.parts);
            let go = if plan.is_one_go { "at one go: " } else { "" };
            format!("{go}{} as {:?}", parts.join(", "), plan.told)
        }
        Asked::Session(Session::Watch(keys)) => format!("watch {}", listed(*keys)),
        Asked::Session(Session::Info(keys)) => format!("info {}", listed(*keys)),
        Asked::Session(Session::ConfigGet(keys)) => format!("config get {}", listed(*keys)),
        Asked::Session(Session::ConfigSet(keys)) => format!("config set {}", listed(*keys)),
        Asked::Session(Session::Keys(pattern)) => format!("keys {}", quoted(pattern)),
        Asked::Session(Session::Scan { cursor, pattern, count, is_string }) => {
            format!("scan {cursor} {} {count} {is_string}", quoted(pattern))
        }
        Asked::Session(Session::Hello { version, auth, name }) => {
            let auth = auth.map(|(user, password)| (quoted(user), quoted(password)));
            format!("hello {version:?} {auth:?} {:?}", name.map(quoted))
        }
        Asked::Session(Session::Client(Client::SetName(name))) => format!("client is {}", quoted(name)),
        Asked::Session(Session::Client(Client::List(filter))) => format!("list {}", filtered(filter)),
        Asked::Session(Session::Client(Client::Kill { filter, is_one })) => {
            format!("kill {} {is_one}", filtered(filter))
        }
        other => format!("{other:?}"),
    }
}

fn filtered(filter: &Filter<'_>) -> String {
    let Filter { ids, address, local, skips_self, age_s_min, is_of_other_kind } = filter;
    let (address, local) = (address.map(quoted), local.map(quoted));
    format!("{ids:?} {address:?} {local:?} {skips_self} {age_s_min} {is_of_other_kind}")
}

fn of_command(command: &Command<'_>) -> String {
    match *command {
        Command::Get { key } => format!("get {}", quoted(key)),
        Command::GetMany { keys } => format!("get {}", listed(keys)),
        Command::Set(Write { key, value, condition, expiry, .. }) => {
            format!("set {}={} {condition:?} {expiry:?}", quoted(key), quoted(value))
        }
        Command::SetMany { entries } => {
            let pairs = entries.iter().map(|write| format!("{}={}", quoted(write.key), quoted(write.value)));
            format!("set {}", pairs.collect::<Vec<_>>().join(" "))
        }
        Command::Delete { key, version: 0 } => format!("delete {}", quoted(key)),
        Command::DeleteMany { keys } => format!("delete {}", listed(keys)),
        Command::Touch { key, expiry, only } => format!("touch {} {expiry:?} {only:?}", quoted(key)),
        Command::GetAndTouch { key, expiry } => format!("get and touch {} {expiry:?}", quoted(key)),
        Command::Increment { key, delta, initial, expiry: Expiry::Default } => {
            format!("add {delta} to {}, {initial:?}", quoted(key))
        }
        Command::Append { key, value } => format!("append {}+{}", quoted(key), quoted(value)),
        Command::Patch { key, offset, value } => format!("patch {} {offset} {}", quoted(key), quoted(value)),
        Command::AddDecimal { key, delta } => format!("add {} to {}", quoted(delta), quoted(key)),
        Command::Look { key, value } => format!("look at {} {value}", quoted(key)),
        Command::Check { key, version, expires_at_ms: None } => format!("check {} {version}", quoted(key)),
        ref other => format!("{other:?}"),
    }
}

fn listed(keys: Keys<'_>) -> String {
    keys.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[test]
fn commands_mean_what_they_mean_to_valkey() {
    let pairs = [
        ("get a", "get a as Value"),
        ("set a b", "set a=b Always Default as Ok"),
        ("SET a b nx EX 10", "set a=b Absent After(10000) as Ok"),
        ("set a b PX 10 xx", "set a=b Present After(10) as Ok"),
        ("set a b exat 10", "set a=b Always At(10000) as Ok"),
        ("set a b pxat 10", "set a=b Always At(10) as Ok"),
        ("set a b keepttl", "set a=b Always Keep as Ok"),
        ("set a b nx nx", "set a=b Absent Default as Ok"),
        ("set a b get px 5", "at one go: look at a true, set a=b Always After(5) as Old"),
        ("getset a b", "at one go: look at a true, set a=b Always Default as Old"),
        ("getdel a", "at one go: look at a true, delete a as Old"),
        ("getex a", "get a as Value"),
        ("getex a persist", "get and touch a Never as Value"),
        ("getex a EX 2", "get and touch a After(2000) as Value"),
        ("getex a pxat 2", "get and touch a At(2) as Value"),
        ("setex a 2 b", "set a=b Always After(2000) as Ok"),
        ("psetex a 2 b", "set a=b Always After(2) as Ok"),
        ("setnx a b", "set a=b Absent Default as Flag"),
        ("mget a b a", "get a b a as Values"),
        ("mset a 1 b 2", "set a=1 b=2 as AllOk"),
        (
            "msetnx a 1 b 2",
            "at one go: check a 0, check b 0, set a=1 Always Default, set b=2 Always Default as IfAbsent",
        ),
        ("del a", "delete a as Flag"),
        ("unlink a b", "delete a b as Count"),
        ("append a b", "at one go: set a= Absent Default, append a+b as NewLength"),
        ("strlen a", "get a as Length"),
        ("getrange a 0 -1", "get a as Range(0, -1)"),
        ("substr a 1 2", "get a as Range(1, 2)"),
        ("setrange a 5 b", "patch a 5 b as NewLength"),
        ("setrange a 5 ''", "get a as Length"),
        ("incr a", "add 1 to a, Some(1) as Number"),
        ("decr a", "add -1 to a, Some(-1) as Number"),
        ("incrby a -7", "add -7 to a, Some(-7) as Number"),
        ("decrby a -7", "add 7 to a, Some(7) as Number"),
        ("incrbyfloat a 1.5e2", "add 1.5e2 to a as Decimal"),
        ("exists a b a", "look at a false, look at b false, look at a false as Sum"),
        ("touch a b", "touch a Keep Always, touch b Keep Always as Sum"),
        ("expire a 2", "touch a After(2000) Always as Flag"),
        ("pexpire a -2 NX", "touch a At(1) Lasting as Flag"),
        ("expireat a 20 xx", "touch a At(20000) Expiring as Flag"),
        ("expireat a 2", "touch a At(2000) Always as Flag"),
        ("expire a 0", "touch a At(1) Always as Flag"),
        ("pexpireat a 0 gt xx", "touch a At(1) Later as Flag"),
        ("expire a 2 lt", "touch a After(2000) Earlier as Flag"),
        ("expire a 2 xx lt", "touch a After(2000) ExpiringEarlier as Flag"),
        ("persist a", "touch a Never Expiring as Flag"),
        ("ttl a", "look at a false as Left(1000)"),
        ("pexpiretime a", "look at a false as ExpiresAt(1)"),
        ("type a", "look at a false as Kind"),
        ("object ENCODING a", "look at a true as Encoding"),
        ("object idletime a", "look at a false as Idle(10000)"),
        ("memory usage abc samples 5", "look at abc false as Usage(3)"),
        ("ping", "Pong"),
        ("select 3", "Session(Select(3))"),
        ("hello", "hello None None None"),
        ("hello 3 auth u p setname n", "hello Some(Three) Some((\"u\", \"p\")) Some(\"n\")"),
        ("quit", "Session(Quit)"),
        ("POST / HTTP/1.1", "Session(Leave)"),
        ("Host: 127.0.0.1:7479", "Session(Leave)"),
        ("client setname n", "client is n"),
        ("client id", "Session(Client(Id))"),
        ("client reply skip", "Session(Client(Reply(Skip)))"),
        ("client kill 1.2.3.4:5", "kill None Some(\"1.2.3.4:5\") None false 0 false true"),
        ("client kill id 7 skipme no", "kill Some([7]) None None false 0 false false"),
        ("client kill type replica maxage 5", "kill None None None true 5 true false"),
        ("client list", "list None None None false 0 false"),
        ("client list id 9 3 type normal id 4 user default", "list Some([3, 4, 9]) None None false 0 false"),
        ("client list laddr a:1 addr b:2 SKIPME yes", "list None Some(\"b:2\") Some(\"a:1\") true 0 false"),
        ("client list type pubsub id", "list Some([]) None None false 0 true"),
        ("client no-evict on", "Ok"),
        ("watch a b", "watch a b"),
        ("info memory cpu", "info memory cpu"),
        ("config get max*", "config get max*"),
        ("config set a 1 b 2", "config set a 1 b 2"),
        ("config resetstat", "Session(ResetStats)"),
        ("scan 0", "scan 0  10 true"),
        ("scan 7 count 100 match a* type hash", "scan 7 a* 100 false"),
        ("keys a*", "keys a*"),
        ("flushall async", "Session(Flush { all: true })"),
        ("flushdb", "Session(Flush { all: false })"),
        ("slowlog get 10", "Nothing"),
        ("slowlog len", "Number(0)"),
        ("latency latest", "Nothing"),
        ("function flush", "Ok"),
        ("commandlog get -1 large-reply", "Nothing"),
        ("commandlog len slow", "Number(0)"),
        ("command count", "Described(Count)"),
        ("command list filterby module json", "Nothing"),
        ("object help", "Help(\"object\")"),
    ];
    for (line, wanted) in pairs {
        let wanted = wanted.strip_prefix("Session(").map_or(wanted.to_owned(), |rest| format!("Session({rest}"));
        assert_eq!(meaning(line), wanted, "{line}");
    }
}

/// The texts are those of Valkey 8.
#[test]
fn errors_are_said_as_valkey_says_them() {
    let pairs = [
        ("get", "ERR wrong number of arguments for 'get' command"),
        ("MSET a", "ERR wrong number of arguments for 'mset' command"),
        ("mset a 1 b", "ERR wrong number of arguments for 'mset' command"),
        ("msetnx a 1 b", "ERR wrong number of arguments for 'msetnx' command"),
        ("ping a b", "ERR wrong number of arguments for 'ping' command"),
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
        ("getex a ex 0", "ERR invalid expire time in 'getex' command"),
        ("getex a persist ex", SYNTAX),
        ("getex a nx", SYNTAX),
        ("setrange a -1 b", "ERR offset is out of range"),
        ("setrange a 536870912 b", "ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
        ("getrange a b 1", NOT_AN_INTEGER),
        ("expire a 9223372036854775807", "ERR invalid expire time in 'expire' command"),
        ("expire a 1 zz", "ERR Unsupported option zz"),
        ("expire a 1 nx gt", "ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("expire a 1 lt gt", "ERR GT and LT options at the same time are not compatible"),
        ("select x", NOT_AN_INTEGER),
        ("hello 4", "NOPROTO unsupported protocol version"),
        ("hello x", "ERR Protocol version is not an integer or out of range"),
        ("hello 2 auth a", "ERR Syntax error in HELLO option 'auth'"),
        ("client no", "ERR unknown subcommand 'no'. Try CLIENT HELP."),
        ("client setname", "ERR wrong number of arguments for 'client|setname' command"),
        ("client setname 'a b'", "ERR Client names cannot contain spaces, newlines or special characters."),
        ("client setinfo x y", "ERR Unrecognized option 'x'"),
        ("client list id", SYNTAX),
        ("client list id x 7", SYNTAX),
        ("client list id 10 what", SYNTAX),
        ("client list id 3 -1", "ERR client-id should be greater than 0"),
        ("client list maxage 9999999999999999999", "ERR maxage is not an integer or out of range"),
        ("client list maxage -1", "ERR maxage should be greater than 0"),
        ("client kill type x", "ERR Unknown client type 'x'"),
        ("client kill user u", "ERR No such user 'u'"),
        ("client kill skipme maybe", SYNTAX),
        ("client kill id 1 addr", SYNTAX),
        ("client kill", "ERR wrong number of arguments for 'client|kill' command"),
        ("config set a 1 b", SYNTAX),
        ("command list filterby", SYNTAX),
        ("command list filterby x y", SYNTAX),
        ("command getkeys", "ERR wrong number of arguments for 'command|getkeys' command"),
        ("command getkeys nothing a", "ERR Invalid command specified"),
        ("command getkeys config get", "ERR The command has no key arguments"),
        ("command getkeys get", "ERR Invalid number of arguments specified for command"),
        ("slowlog get -2", "ERR count should be greater than or equal to -1"),
        ("slowlog get 1 2", "ERR unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP."),
        ("commandlog len x", "ERR type should be one of the following: slow, large-request, large-reply"),
        ("config", "ERR wrong number of arguments for 'config' command"),
        ("config get", "ERR wrong number of arguments for 'config|get' command"),
        ("object freq a b", "ERR wrong number of arguments for 'object|freq' command"),
        ("memory what", "ERR unknown subcommand 'what'. Try MEMORY HELP."),
        ("scan x", "ERR invalid cursor"),
        ("scan 0 count 0", SYNTAX),
        ("scan 0 count x", NOT_AN_INTEGER),
        ("flushall now", SYNTAX),
        ("slowlog x", "ERR unknown subcommand 'x'. Try SLOWLOG HELP."),
        ("nothing a \"b c\"", "ERR unknown command 'nothing', with args beginning with: 'a' 'b c' "),
        ("averyveryverylongname", "ERR unknown command 'averyveryverylongname', with args beginning with: "),
    ];
    for (line, text) in pairs {
        assert_eq!(meaning(line), text, "{line}");
    }
}

#[test]
fn a_prefix_names_the_group() {
    let pairs = [
        ("get scores:a", "in 9: get a as Value"),
        ("get other:a", "get other:a as Value"),
        ("mget scores:a scores:b", "in 9: get a b as Values"),
        ("mget scores:a b", "in 9: get a, get b as List"),
        ("mset scores:a 1 scores:b 2", "in 9: set a=1 b=2 as AllOk"),
        ("mset a 1 scores:b 2", "set a=1 Always Default, in 9: set b=2 Always Default as All"),
        ("del a scores:b", "delete a, in 9: delete b as Sum"),
        ("exists scores:b", "in 9: look at b false as Sum"),
    ];
    for (line, wanted) in pairs {
        assert_eq!(asked(line, true, |asked| told(&asked)), wanted, "{line}");
    }
}

#[test]
fn what_is_above_a_limit_is_refused() {
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    let mut places = Places::default();
    let frame = format!("getsetv{long}");
    let span = |start, len| Span { start, len };
    let (get, set) = (span(0, 3), span(3, 3));
    let (value, key) = (span(6, 1), span(7, long.len() as u32));
    let keyspace = Keyspace::new(0, None);
    for arguments in [&[get, key][..], &[set, key, value]] {
        let asked = decode(Keys::new(frame.as_bytes(), arguments), &keyspace, &mut places, 0);
        assert!(matches!(asked, Asked::Own(Own::Refused(text)) if text.contains("may have 65536")));
    }
    let mut arguments = vec![span(0, 1); KEYS_MAX + 2];
    arguments[0] = span(1, 4);
    let asked = decode(Keys::new(b"kmget", &arguments), &keyspace, &mut places, 0);
    assert!(matches!(asked, Asked::Own(Own::Refused(text)) if text.contains("send several")));
}

/// What is told of the replies to a plan.
fn said(line: &str, replies: &[Reply<'_>]) -> String {
    asked(line, false, |asked| {
        let Asked::Plan(plan) = asked else { panic!("{line} is no plan") };
        let mut telling = Telling::new(&plan, Version::Two);
        let mut parts: Vec<usize> = (0..replies.len()).collect();
        if !plan.is_one_go {
            parts.reverse();
        }
        for part in parts {
            telling.take(part, &replies[part]);
        }
        assert_eq!(telling.left(), 0, "{line}");
        let mut out = Vec::new();
        telling.finish(&mut out);
        String::from_utf8(out).expect("text")
    })
}

#[test]
fn plans_are_told_as_the_command_has_it() {
    let entry = Entry { value: b"hello", flags: 0, version: 7, ttl_ms: 1_499, is_stale: false };
    let looked = |expires_at_ms, value| {
        let entry = Entry { value, ttl_ms: if expires_at_ms == 0 { 0 } else { entry.ttl_ms }, ..entry };
        let (entry, claim) = (entry.into(), Claim::Nobody);
        Reply::Looked(Looked { entry, value_bytes: 5, expires_at_ms, accessed_ms: 3_000, is_hit: false, claim })
    };
    let (found, stored) = (Reply::Entry(entry.into()), Reply::Stored { version: 8 });
    let exists = Failure::new(Status::Exists, "");
    let busy = Failure::new(Status::Overloaded, "too much");
    let (exists, busy) = (Reply::Failed(&exists), Reply::Failed(&busy));
    assert_eq!(said("getset a b", &[looked(0, b"old"), stored]), "$3\r\nold\r\n");
    assert_eq!(said("set a b nx get", &[looked(0, b"old"), exists]), "$3\r\nold\r\n");
    assert_eq!(said("getset a b", &[Reply::Miss, stored]), "$-1\r\n");
    assert_eq!(said("getdel a", &[Reply::Miss, Reply::Miss]), "$-1\r\n");
    assert_eq!(said("getset a b", &[looked(0, b"old"), busy]), "-TRYAGAIN too much\r\n");
    assert_eq!(said("append a b", &[exists, Reply::Resized { version: 1, value_bytes: 9 }]), ":9\r\n");
    assert_eq!(said("append a b", &[busy, Reply::Miss]), "-TRYAGAIN too much\r\n");
    assert_eq!(said("strlen a", &[found]), ":5\r\n");
    assert_eq!(said("strlen a", &[Reply::Miss]), ":0\r\n");
    for (from, to, part) in [
        (0, -1, "hello"),
        (1, 2, "el"),
        (-3, -1, "llo"),
        (-100, 1, "he"),
        (3, 100, "lo"),
        (5, 10, ""),
        (3, 1, ""),
        (-1, -3, ""),
        (0, -100, "h"),
    ] {
        let answer = format!("${}\r\n{part}\r\n", part.len());
        assert_eq!(said(&format!("getrange a {from} {to}"), &[found]), answer, "{from} {to}");
    }
    assert_eq!(said("getrange a 0 1", &[Reply::Miss]), "$0\r\n\r\n");
    assert_eq!(said("exists a b c", &[looked(0, b""), Reply::Miss, looked(0, b"")]), ":2\r\n");
    assert_eq!(said("exists a b c", &[looked(0, b""), busy, looked(0, b"")]), "-TRYAGAIN too much\r\n");
    assert_eq!(said("ttl a", &[looked(11_499, b"")]), ":1\r\n");
    assert_eq!(said("pttl a", &[looked(11_499, b"")]), ":1499\r\n");
    assert_eq!(said("expiretime a", &[looked(11_500, b"")]), ":12\r\n");
    assert_eq!(said("ttl a", &[looked(0, b"")]), ":-1\r\n");
    assert_eq!(said("ttl a", &[Reply::Miss]), ":-2\r\n");
    assert_eq!(said("type a", &[looked(0, b"")]), "+string\r\n");
    assert_eq!(said("type a", &[Reply::Miss]), "+none\r\n");
    assert_eq!(said("object encoding a", &[looked(0, b"12")]), "$3\r\nint\r\n");
    assert_eq!(said("object encoding a", &[looked(0, b"x")]), "$6\r\nembstr\r\n");
    assert_eq!(said("object encoding a", &[looked(0, &[b'x'; 45])]), "$3\r\nraw\r\n");
    assert_eq!(said("object idletime a", &[looked(0, b"")]), ":7\r\n");
    assert_eq!(said("object encoding a", &[Reply::Miss]), "$-1\r\n");
    assert!(said("object freq a", &[looked(0, b"")]).starts_with("-ERR An LFU"));
    assert_eq!(said("memory usage a", &[looked(0, b"")]), ":54\r\n");
    let none = Failure::new(Status::NotANumber, "");
    assert_eq!(said("incrbyfloat a 1", &[Reply::Failed(&none)]), "-ERR value is not a valid float\r\n");
    assert_eq!(said("incrbyfloat a 1", &[found]), "$5\r\nhello\r\n");
    assert_eq!(said("msetnx a 1", &[Reply::Stored { version: 1 }, stored]), ":1\r\n");
}

#[test]
fn what_was_not_executed_as_a_whole_says_why() {
    let failed = |line: &str, status| {
        asked(line, false, |asked| {
            let Asked::Plan(plan) = asked else { panic!("{line} is no plan") };
            let mut telling = Telling::new(&plan, Version::Two);
            telling.fail(&Reply::Failed(&Failure::new(status, "")));
            let mut out = Vec::new();
            telling.finish(&mut out);
            String::from_utf8(out).expect("text")
        })
    };
    assert_eq!(failed("msetnx a 1 b 2", Status::VersionMismatch), ":0\r\n");
    assert!(failed("msetnx a 1 b 2", Status::NotSupported).contains("several shards"));
    assert!(failed("getset a 1", Status::OwnerUnsure).starts_with("-TRYAGAIN "));
}

#[test]
fn plain_commands_are_those_that_are_decoded_otherwise() {
    let inputs: [&[u8]; 12] = [
        b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
        b"*2\r\n$3\r\ngEt\r\n$0\r\n\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$12\r\nvalue\r\nvalue\r\n",
        b"*3\r\n$3\r\nset\r\n$1\r\na\r\n$0\r\n\r\n",
        b"*2\r\n$3\r\nGET\r\n$01\r\na\r\n",
        b"*2\r\n$3\r\nDEL\r\n$1\r\na\r\n",
        b"*2\r\n$3\r\nGET\r\n$-1\r\n",
        b"*2\r\n$3\r\nGET\r\n$1\r\nab\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$999999999\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$9999999999999999999\r\n",
        b"*4\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n$2\r\nNX\r\n",
        b"*2\r\n$3\r\nGET\r\n$:\r\n",
    ];
    for input in inputs {
        let wanted = {
            let (mut reader, mut places) = (Reader::default(), Places::default());
            let read = reader.read(input, LIMITS);
            read.ok().flatten().map(|taken| {
                let asked = decode(reader.arguments(input), &Keyspace::new(0, None), &mut places, 0);
                (told(&asked), taken)
            })
        };
        let found = plain(input, 1 << 10)
            .map(|(command, shape, taken)| (format!("{} as {shape:?}", of_command(&command)), taken));
        match found {
            Some(found) => assert_eq!(Some(found), wanted, "{:?}", String::from_utf8_lossy(input)),
            None => assert!(!input.starts_with(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n")),
        }
        for end in 0..input.len() {
            assert!(plain(&input[..end], 1 << 10).is_none(), "half a command is none");
        }
    }
    assert!(inputs[..4].iter().all(|input| plain(input, 1 << 10).is_some()));
    assert!(inputs[4..].iter().all(|input| plain(input, 1 << 10).is_none()));
}

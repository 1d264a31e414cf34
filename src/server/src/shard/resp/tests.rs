//! Connections that speak RESP, without sockets.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::limits::OUTPUT_BYTES_PAUSE;
use crate::shard::tests::{NOW_MS, answers_come_in_order, output, reactors, run_until_quiet};
use crate::shard::{ConnectionId, Dialect, Reactor};

fn open(reactor: &mut Reactor) -> ConnectionId {
    reactor.opened(Dialect::Resp(Box::default()))
}

fn array(words: &[&str]) -> String {
    words.iter().fold(format!("*{}\r\n", words.len()), |mut text, word| {
        write!(text, "${}\r\n{word}\r\n", word.len()).expect("memory");
        text
    })
}

/// A random command on few keys, and what is answered to it.
fn command(random: &mut fastrand::Rng, model: &mut HashMap<String, String>) -> (String, String) {
    let bulk = |value: Option<&String>| match value {
        Some(value) => format!("${}\r\n{value}\r\n", value.len()),
        None => "$-1\r\n".to_owned(),
    };
    let key = random.u32(0..30).to_string();
    let other = random.u32(0..30).to_string();
    let value = random.u64(..).to_string();
    match random.u8(0..9) {
        0 | 1 => {
            model.insert(key.clone(), value.clone());
            (array(&["SET", &key, &value]), "+OK\r\n".into())
        }
        2 => (format!("get {key}\r\n"), bulk(model.get(&key))),
        3 => {
            let answer = format!("*2\r\n{}{}", bulk(model.get(&key)), bulk(model.get(&other)));
            (array(&["MGET", &key, &other]), answer)
        }
        4 => {
            let count = [&key, &other].into_iter().filter(|key| model.remove(*key).is_some()).count();
            (array(&["DEL", &key, &other]), format!(":{count}\r\n"))
        }
        5 => {
            let is_there = model.contains_key(&key);
            model.entry(key.clone()).or_insert_with(|| value.clone());
            (array(&["SETNX", &key, &value]), format!(":{}\r\n", u8::from(!is_there)))
        }
        6 => {
            model.insert(key.clone(), value.clone());
            model.insert(other.clone(), value.clone());
            (array(&["mset", &key, &value, &other, &value]), "+OK\r\n".into())
        }
        7 => ("PING\r\n".into(), "+PONG\r\n".into()),
        _ => (array(&["get"]), "-ERR wrong number of arguments for 'get' command\r\n".into()),
    }
}

#[test]
fn answers_come_in_the_order_of_the_commands_though_the_keys_are_of_many_shards() {
    answers_come_in_order(|| Dialect::Resp(Box::default()), command);
}

#[test]
fn what_is_no_command_is_said_behind_all_that_was_asked_and_is_the_last() {
    let mut reactors = reactors(3);
    let id = open(&mut reactors[0]);
    let keys: Vec<String> = (0..20).map(|key| key.to_string()).collect();
    let asked: String = keys.iter().map(|key| array(&["SET", key, "v"])).collect();
    let bytes = format!("{asked}*1\r\n!\r\nPING\r\n");
    reactors[0].received(id, bytes.as_bytes(), NOW_MS);
    assert!(!reactors[0].wants_input(id) && !reactors[0].is_finished(id), "some is at other shards");
    run_until_quiet(&mut reactors);
    let expected = format!("{}-ERR Protocol error: expected '$', got '!'\r\n", "+OK\r\n".repeat(20));
    assert_eq!(output(&mut reactors[0], id), expected);
    assert!(reactors[0].is_finished(id));
    let quits = open(&mut reactors[0]);
    reactors[0].received(quits, b"PING\r\nQUIT\r\nPING\r\n", NOW_MS);
    assert_eq!(output(&mut reactors[0], quits), "+PONG\r\n+OK\r\n");
    assert!(reactors[0].is_finished(quits));
    let browser = open(&mut reactors[0]);
    reactors[0].received(browser, b"PING\r\nPOST / HTTP/1.1\r\nSET a b\r\n", NOW_MS);
    assert_eq!(output(&mut reactors[0], browser), "+PONG\r\n", "a browser is not talked to");
    assert!(reactors[0].is_finished(browser));
}

#[test]
fn the_version_changes_behind_what_was_asked_before() {
    let mut reactors = reactors(1);
    let id = open(&mut reactors[0]);
    reactors[0].received(id, b"GET a\r\nHELLO 3\r\nGET a\r\nHELLO 9\r\nGET a\r\n", NOW_MS);
    let said = output(&mut reactors[0], id);
    assert!(said.starts_with("$-1\r\n%7\r\n$6\r\nserver\r\n"), "{said}");
    assert!(said.ends_with("_\r\n-NOPROTO unsupported protocol version\r\n_\r\n"), "{said}");
}

/// Another shard has not answered the first command, and the client asks on and on.
#[test]
fn what_is_held_is_bounded() {
    let mut reactors = reactors(3);
    let id = open(&mut reactors[0]);
    let mut numbers = 0..100;
    while !reactors[0].is_pending(id) {
        let key = numbers.next().expect("most keys are of other shards").to_string();
        reactors[0].received(id, array(&["GET", &key]).as_bytes(), NOW_MS);
    }
    output(&mut reactors[0], id);
    let echo = array(&["ECHO", &"e".repeat(1_000)]);
    let mut count = 0;
    while reactors[0].wants_input(id) {
        reactors[0].received(id, echo.as_bytes(), NOW_MS);
        count += 1;
    }
    assert!(count <= OUTPUT_BYTES_PAUSE / 1_000 + 1, "{count} answers are held");
    assert_eq!(output(&mut reactors[0], id), "", "none has its turn");
    run_until_quiet(&mut reactors);
    let said = output(&mut reactors[0], id);
    assert!(said.starts_with("$-1\r\n$1000\r\n") && reactors[0].wants_input(id));
    assert_eq!(said.matches("$1000").count(), count);
}

/// What is said to these lines, with several shards.
fn talk(reactors: &mut [Reactor], id: ConnectionId, lines: &str) -> String {
    reactors[0].received(id, lines.as_bytes(), NOW_MS);
    run_until_quiet(reactors);
    reactors.iter_mut().for_each(Reactor::validate);
    output(&mut reactors[0], id).replace("\r\n", " ").trim_end().to_owned()
}

/// A key of another shard than the first, or of the first.
fn key_of(reactors: &mut [Reactor], shard: u16) -> String {
    let engine = reactors[0].engine();
    let mut keys = (0..).map(|number| format!("k{number}"));
    keys.find(|key| engine.home(0, key.as_bytes()).is_some_and(|home| home.shard == shard)).expect("keys are endless")
}

#[test]
fn what_is_asked_for_in_parts_is_answered_as_one() {
    let mut reactors = reactors(3);
    let id = open(&mut reactors[0]);
    let mut say = |lines: &str| talk(&mut reactors, id, lines);
    assert_eq!(say("mset a 1 b 2 c 3 d 4 e 5\n"), "+OK");
    assert_eq!(say("exists a b c d e f a\ntouch a b f\n"), ":6 :2");
    assert_eq!(say("append a 23\nappend new xyz\nget new\n"), ":3 :3 $3 xyz");
    assert_eq!(say("getset b 20\nget b\ngetdel b\nget b\n"), "$1 2 $2 20 $2 20 $-1");
    assert_eq!(say("set c 30 get\nset c 31 nx get\nset none 1 xx get\nget c\n"), "$1 3 $2 30 $-1 $2 30");
    assert_eq!(say("strlen a\ngetrange a 1 -1\nsetrange a 5 x\nstrlen a\n"), ":3 $2 23 :6 :6");
    assert_eq!(
        say("incrbyfloat f 10.5\nincrbyfloat f 0.1\nincrbyfloat new 1\n"),
        "$4 10.5 $4 10.6 -ERR value is not a valid float"
    );
    assert_eq!(
        say("expire d 100\nttl d\nexpire d 50 gt\nexpire d 200 gt\npersist d\nttl d\npersist d\nttl no\n"),
        ":1 :100 :0 :1 :1 :-1 :0 :-2"
    );
    assert_eq!(say("pexpireat d 99999999999999\npexpiretime d\nexpire d -1\nexists d\n"), ":1 :99999999999999 :1 :0");
    assert_eq!(say("type c\ntype no\nobject encoding c\nobject refcount no\n"), "+string +none $3 int $-1");
    assert_eq!(say("msetnx a 1\nmsetnx fresh 1\nget fresh\n"), ":0 :1 $1 1");
    assert_eq!(say("dbsize\nflushall\ndbsize\n"), ":6 +OK :0");
}

#[test]
fn several_keys_that_cannot_be_set_at_one_go_say_why() {
    let mut reactors = reactors(3);
    let id = open(&mut reactors[0]);
    let keys: Vec<String> = (0..3).map(|shard| key_of(&mut reactors, shard)).collect();
    let said = talk(&mut reactors, id, &format!("msetnx {} 1 {} 2\nmget {} {}\n", keys[0], keys[1], keys[0], keys[1]));
    assert!(said.starts_with("-ERR MSETNX is atomic, and these keys belong to several shards"), "{said}");
    assert!(said.ends_with("*2 $-1 $-1"), "{said}");
}

#[test]
fn keys_are_found_on_every_shard() {
    let mut reactors = reactors(3);
    let id = open(&mut reactors[0]);
    let sets: String = (0..300).map(|number| format!("set key:{number} v\n")).collect();
    talk(&mut reactors, id, &sets);
    let said = talk(&mut reactors, id, "keys key:1?\nkeys *\nkeys nothing\n");
    assert!(said.starts_with("*10 ") && said.contains("*300 ") && said.ends_with("*0"), "{said}");
    let (mut cursor, mut found) = ("0".to_owned(), std::collections::HashSet::new());
    loop {
        let said = talk(&mut reactors, id, &format!("scan {cursor} count 30 match key:*\n"));
        let mut words = said.split(' ').filter(|word| !word.starts_with(['*', '$']));
        words.next().expect("a cursor").clone_into(&mut cursor);
        found.extend(words.map(str::to_owned));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found.len(), 300);
    assert!(talk(&mut reactors, id, "randomkey\n").contains("key:"));
    // All of them at the same time.
    let some: std::collections::HashSet<_> = (0..100).map(|_| talk(&mut reactors, id, "randomkey\n")).collect();
    assert!(some.len() > 50, "100 draws of 300 keys gave {}", some.len());
    assert_eq!(talk(&mut reactors, id, "flushdb\nrandomkey\n"), "+OK $-1");
    assert!(talk(&mut reactors, id, "scan 9007199254740991\n").starts_with("-ERR "));
}

#[test]
fn what_waits_for_exec_is_executed_in_its_order() {
    let mut reactors = reactors(3);
    let id = open(&mut reactors[0]);
    let keys: Vec<String> = (0..3).map(|shard| key_of(&mut reactors, shard)).collect();
    let [a, b, c] = &keys[..] else { unreachable!() };
    let mut say = |lines: &str| talk(&mut reactors, id, lines);
    let all = format!("multi\nset {a} 1\nincr {a}\nset {b} x\nget {b}\nping\nmget {a} {c}\nexec\nget {b}\n");
    let queued = "+QUEUED ".repeat(6);
    assert_eq!(say(&all), format!("+OK {queued}*6 +OK :2 +OK $1 x +PONG *2 $1 2 $-1 $1 x"), "over several shards");
    let one = format!("multi\nappend {b} y\nget {b}\nincr {b}\necho hi\nexists {b}\nexec\n");
    let queued = "+QUEUED ".repeat(5);
    let answers = "*5 :2 $2 xy -ERR value is not an integer or out of range $2 hi :1";
    assert_eq!(say(&one), format!("+OK {queued}{answers}"), "at one go: an error ends nothing");
    assert_eq!(say("multi\nexec\nexec\ndiscard\n"), "+OK *0 -ERR EXEC without MULTI -ERR DISCARD without MULTI");
    let aborted = "+OK +QUEUED -ERR wrong number of arguments for 'get' command -EXECABORT Transaction discarded because of \
        previous errors. $2 xy";
    assert_eq!(say(&format!("multi\nset {b} 7\nget\nexec\nget {b}\n")), aborted);
    assert_eq!(say(&format!("multi\nset {b} 7\ndiscard\nget {b}\n")), "+OK +QUEUED +OK $2 xy");
    assert_eq!(
        say("multi\nmulti\nexec\nmulti\nwatch a\nexec\n"),
        "+OK -ERR Command not allowed inside a transaction -EXECABORT Transaction discarded because of previous errors. ".repeat(2).trim_end()
    );
    assert_eq!(say("multi\ndbsize\nflushall\ndbsize\nexec\n"), "+OK +QUEUED +QUEUED +QUEUED *3 :2 +OK :0");
}

#[test]
fn what_is_watched_and_was_changed_lets_exec_do_nothing() {
    let mut reactors = reactors(3);
    let (id, other) = (open(&mut reactors[0]), open(&mut reactors[0]));
    for shard in 0..3 {
        let key = key_of(&mut reactors, shard);
        talk(&mut reactors, id, &format!("set {key} 1\n"));
        // In one piece: what EXEC is to compare has to be waited for.
        let kept = format!("watch {key}\nmulti\nincr {key}\nget {key}\nexec\n");
        assert_eq!(talk(&mut reactors, id, &kept), "+OK +OK +QUEUED +QUEUED *2 :2 $1 2");
        assert_eq!(talk(&mut reactors, id, &format!("watch {key} {key}\nget {key}\n")), "+OK $1 2");
        talk(&mut reactors, other, &format!("set {key} 5\n"));
        assert_eq!(talk(&mut reactors, id, &format!("multi\nset {key} 9\nexec\nget {key}\n")), "+OK +QUEUED *-1 $1 5");
        // Once is enough, and UNWATCH and DISCARD forget.
        assert_eq!(talk(&mut reactors, id, &format!("multi\nset {key} 9\nexec\n")), "+OK +QUEUED *1 +OK");
        for forget in ["unwatch", "multi\ndiscard"] {
            talk(&mut reactors, id, &format!("watch {key}\n{forget}\n"));
            talk(&mut reactors, other, &format!("set {key} 5\n"));
            assert_eq!(talk(&mut reactors, id, &format!("multi\nset {key} 9\nexec\n")), "+OK +QUEUED *1 +OK");
        }
        // A time to live that has changed is a change, and what is the same is none.
        talk(&mut reactors, other, &format!("set {key} 1 px 60000\n"));
        for (change, executed) in
            [("pexpire KEY 90000", false), ("persist KEY", false), ("persist KEY", true), ("ttl KEY", true)]
        {
            talk(&mut reactors, id, &format!("watch {key}\n"));
            talk(&mut reactors, other, &format!("{}\n", change.replace("KEY", &key)));
            let told = talk(&mut reactors, id, &format!("multi\nget {key}\nexec\n"));
            assert_eq!(told, if executed { "+OK +QUEUED *1 $1 1" } else { "+OK +QUEUED *-1" }, "{change}");
        }
        let absent = format!("gone{key}");
        talk(&mut reactors, id, &format!("hello 3\nwatch {key}\n"));
        talk(&mut reactors, other, &format!("del {key}\n"));
        assert_eq!(talk(&mut reactors, id, &format!("multi\nget {key}\nexec\nhello 2\n")).split(' ').nth(2), Some("_"));
        talk(&mut reactors, id, &format!("watch {absent}\n"));
        talk(&mut reactors, other, &format!("set {absent} 1\n"));
        assert_eq!(talk(&mut reactors, id, &format!("multi\nget {absent}\nexec\n")), "+OK +QUEUED *-1");
    }
    let (a, b) = (key_of(&mut reactors, 0), key_of(&mut reactors, 1));
    let said = talk(&mut reactors, id, &format!("watch {a}\nmulti\nset {b} 1\nexec\nget {b}\n"));
    assert!(said.contains("-ERR EXEC after WATCH needs all keys on one shard"), "{said}");
}

#[test]
fn commands_may_go_without_an_answer() {
    let mut reactors = reactors(3);
    let id = open(&mut reactors[0]);
    let mut say = |lines: &str| talk(&mut reactors, id, lines);
    assert_eq!(say("client reply skip\nset a 1\nget a\n"), "$1 1");
    assert_eq!(say("client reply off\nset a 2\nping\nappend a 2\nclient reply on\nget a\n"), "+OK $2 22");
    assert_eq!(say("client reply skip\nping\nping\n"), "+PONG");
}

#[test]
fn a_connection_is_as_it_was_after_a_reset() {
    let mut reactors = reactors(1);
    let id = open(&mut reactors[0]);
    let mut say = |lines: &str| talk(&mut reactors, id, lines);
    say("hello 3\nwatch a\nmulti\n");
    assert_eq!(say("reset\nget a\nexec\n"), "+RESET $-1 -ERR EXEC without MULTI");
    assert_eq!(
        say("select 1\nselect -1\nselect 0\n"),
        "-ERR DB index is out of range -ERR DB index is out of range +OK"
    );
    assert!(say("auth secret\n").starts_with("-ERR AUTH <password> called without any password"));
    assert_eq!(say("auth default any\n"), "+OK");
    assert!(say("auth me any\n").starts_with("-WRONGPASS "));
    assert!(say("hello 3 auth me any\n").starts_with("-WRONGPASS "));
}

#[test]
fn words_that_name_no_command_have_little_room() {
    let mut reactors = reactors(1);
    let id = open(&mut reactors[0]);
    reactors[0].received(id, &[b'x'; 20_000], NOW_MS);
    assert_eq!(output(&mut reactors[0], id), "-ERR Protocol error: too big inline request\r\n");
    let known = open(&mut reactors[0]);
    assert_eq!(talk(&mut reactors, known, "ping\n"), "+PONG");
    reactors[0].received(known, &[b'x'; 20_000], NOW_MS);
    assert_eq!(output(&mut reactors[0], known), "", "it may be a long line");
}

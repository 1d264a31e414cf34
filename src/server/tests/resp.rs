//! RESP, spoken by hand and by redis-cli.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use larder_testkit::Server;

use crate::support::{Client, get, server, set};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn start() -> (Server, SocketAddr) {
    let server = server(&["--resp", "127.0.0.1:0", "--shards", "2"]);
    let address = server.ready()["listen"]["resp"].as_str().and_then(|address| address.parse().ok());
    (server, address.expect("it speaks RESP"))
}

/// What is answered to these bytes, in so many bytes.
fn ask(stream: &mut TcpStream, bytes: &[u8], len: usize) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    stream.write_all(bytes).expect("it reads");
    let mut answer = vec![0; len];
    stream.read_exact(&mut answer).expect("an answer");
    String::from_utf8(answer).expect("text")
}

#[test]
fn values_are_those_of_the_native_protocol_on_every_shard() {
    let (server, address) = start();
    let mut native = Client::connect(server.address());
    for connection in 0..4 {
        let mut resp = TcpStream::connect(address).expect("it accepts");
        for number in 0..20 {
            let key = format!("key {connection} {number}");
            native.call(set(key.as_bytes(), b"native"));
            let get_it = format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len());
            assert_eq!(ask(&mut resp, get_it.as_bytes(), 12), "$6\r\nnative\r\n");
            let set_it = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$4\r\nresp\r\n", key.len());
            assert_eq!(ask(&mut resp, set_it.as_bytes(), 5), "+OK\r\n");
            assert_eq!(native.call(get(key.as_bytes())).value(), Some(&b"resp"[..]));
        }
    }
    assert!(server.stop().success());
}

#[test]
fn what_is_no_command_closes_its_connection_alone() {
    let (server, address) = start();
    let mut good = TcpStream::connect(address).expect("it accepts");
    assert_eq!(ask(&mut good, b"PING\r\n", 7), "+PONG\r\n");
    for garbage in [&b"*9999999999\r\n"[..], b"*1\r\n$-7\r\n", b"*2\r\n:1\r\n", b"GET \"a\r\n"] {
        let mut stream = TcpStream::connect(address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.write_all(garbage).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it closes");
        assert!(answer.starts_with("-ERR Protocol error: ") && answer.ends_with("\r\n"), "{answer:?}");
    }
    assert_eq!(ask(&mut good, b"PING\r\n", 7), "+PONG\r\n");
    assert!(server.stop().success());
}

#[test]
fn redis_cli_is_understood() {
    let (server, address) = start();
    let cli = |words: &[&str]| {
        let port = address.port().to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(words).output();
        let output = output.expect("redis-cli is installed: `make test` brings it");
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    };
    assert_eq!(cli(&["SET", "k", "a value"]), "OK");
    assert_eq!(cli(&["-3", "GET", "k"]), "a value");
    assert_eq!(cli(&["INCRBY", "n", "5"]), "5");
    assert_eq!(cli(&["INCR", "k"]), "ERR value is not an integer or out of range");
    assert_eq!(cli(&["MGET", "k", "none", "n"]), "a value\n\n5");
    assert_eq!(cli(&["DEL", "k", "n", "none"]), "2");
    assert_eq!(cli(&["GET", "k"]), "");
    assert_eq!(cli(&["SET", "k", "v", "PX", "1", "NX"]), "OK");
    assert_eq!(cli(&["NOSUCH", "a"]), "ERR unknown command 'NOSUCH', with args beginning with: 'a'");
    assert!(server.stop().success());
}

/// The value of a field of a line of CLIENT LIST.
fn field(line: &str, name: &str) -> String {
    let fields = line.split_whitespace().filter_map(|field| field.split_once('='));
    let found = fields.into_iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no {name} in {line}")).1.to_owned()
}

/// A connection that is asked lines, each answered by one.
struct Lines(BufReader<TcpStream>);

impl Lines {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        Self(BufReader::new(stream))
    }

    /// The first line of the answer, or what is behind it of a bulk.
    fn ask(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).expect("it reads");
        let mut answer = String::new();
        self.0.read_line(&mut answer).expect("an answer");
        if let Some(len) = answer.strip_prefix('$').and_then(|len| len.trim_end().parse::<usize>().ok()) {
            let mut value = vec![0; len + 2];
            self.0.read_exact(&mut value).expect("as long as it says");
            answer = String::from_utf8(value).expect("text");
        }
        answer.trim_end().to_owned()
    }
}

#[test]
fn clients_are_told_of_and_closed() {
    let (server, address) = start();
    let mut one = Lines::open(address);
    let (first, second) = (one.ask("CLIENT INFO"), one.ask("CLIENT INFO"));
    let number = |line: &str, name: &str| field(line, name).parse::<u64>().expect("a number");
    assert_eq!(field(&first, "cmd"), "client|info");
    assert_eq!(number(&second, "tot-net-in"), number(&first, "tot-net-in") + "CLIENT INFO\r\n".len() as u64);
    assert_eq!(number(&second, "tot-cmds"), number(&first, "tot-cmds") + 1);
    assert!(number(&second, "tot-net-out") > number(&first, "tot-net-out") + first.len() as u64);
    let mut other = Lines::open(address);
    let id = other.ask("CLIENT ID").trim_start_matches(':').to_owned();
    assert_eq!(
        (other.ask("WATCH a b"), other.ask("MULTI"), other.ask("SET a 1")),
        ("+OK".into(), "+OK".into(), "+QUEUED".into())
    );
    let line = one.ask(&format!("CLIENT LIST ID {id} TYPE normal"));
    assert_eq!(
        (field(&line, "flags"), field(&line, "multi"), field(&line, "watch")),
        ("x".into(), "1".into(), "2".into())
    );
    assert_eq!((field(&line, "cmd"), field(&line, "tot-cmds")), ("set".into(), "4".into()));
    assert_eq!(one.ask("CLIENT KILL TYPE pubsub SKIPME no"), ":0");
    assert_eq!(one.ask("CLIENT KILL SKIPME yes"), ":1");
    assert!(one.ask("INFO clients").contains("connected_clients:1\r\n"), "who is killed is no client any more");
    assert_eq!(other.0.read(&mut [0; 9]).expect("it is closed"), 0);
    // However many they are.
    let mut many: Vec<Lines> = (0..200).map(|_| Lines::open(address)).collect();
    many.iter_mut().for_each(|client| assert_eq!(client.ask("PING"), "+PONG"));
    assert_eq!(one.ask("CLIENT KILL SKIPME yes"), ":200");
    for client in &mut many {
        assert_eq!(client.0.read(&mut [0; 9]).expect("it is closed"), 0);
    }
    let mut itself = Lines::open(address);
    let id = itself.ask("CLIENT ID").trim_start_matches(':').to_owned();
    itself.ask("MULTI");
    itself.ask(&format!("CLIENT KILL ID {id} SKIPME no"));
    assert_eq!(itself.ask("EXEC"), "*1");
    assert_eq!(itself.0.read_to_end(&mut Vec::new()).expect("it is closed"), ":1\r\n".len());
    // Gets and sets are counted too, though nothing is done for each.
    let many = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n".repeat(50) + "GET k";
    one.ask(&many);
    (0..50).for_each(|_| drop(one.ask("")));
    assert!(number(&one.ask("CLIENT INFO"), "tot-cmds") >= 56);
    assert_eq!(one.ask("CLIENT KILL ID 1 ADDR nobody"), ":0");
    assert!(server.stop().success());
}

#[test]
fn statistics_are_reset_for_those_who_do_so() {
    let server = server(&["--resp", "127.0.0.1:0", "--memcache", "127.0.0.1:0", "--shards", "2"]);
    let address =
        |name: &str| server.ready()["listen"][name].as_str().and_then(|at| at.parse().ok()).expect("it listens");
    let (mut resp, mut memcache) = (Lines::open(address("resp")), Lines::open(address("memcache")));
    let stat = |resp: &mut Lines, name: &str| {
        let info = resp.ask("INFO stats");
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|count| count.parse::<u64>().ok()).unwrap_or_else(|| panic!("no {name} in {info}"))
    };
    for line in ["SET a 1", "GET a", "GET none", "EXPIRE a -1"] {
        resp.ask(line);
    }
    assert_eq!(stat(&mut resp, "expired_keys"), 1, "what expires at once does expire");
    assert!(stat(&mut resp, "keyspace_hits") >= 1 && stat(&mut resp, "keyspace_misses") >= 1);
    let stats = resp.ask("INFO commandstats");
    for calls in ["cmdstat_set:calls=1,", "cmdstat_get:calls=2,", "cmdstat_expire:calls=1,", "cmdstat_info:calls="] {
        assert!(stats.contains(calls), "{calls}: {stats}");
    }
    assert!(!resp.ask("INFO").contains("cmdstat_") && resp.ask("INFO all").contains("cmdstat_"));
    assert_eq!(resp.ask("CONFIG RESETSTAT"), "+OK");
    assert!(!resp.ask("INFO commandstats").contains("cmdstat_get"));
    for name in ["expired_keys", "keyspace_hits", "keyspace_misses", "total_connections_received"] {
        assert_eq!(stat(&mut resp, name), 0, "{name}");
    }
    let mut get_misses = || {
        let mut line = memcache.ask("stats");
        let mut found = String::new();
        while line != "END" {
            found = line.strip_prefix("STAT get_misses ").map_or(found, str::to_owned);
            line.clear();
            memcache.0.read_line(&mut line).expect("more");
            line.truncate(line.trim_end().len());
        }
        found
    };
    assert_eq!(get_misses(), "1", "others count on");
    let mut reset = Lines::open(address("memcache"));
    assert_eq!(reset.ask("stats reset"), "RESET");
    assert_eq!(get_misses(), "0");
    resp.ask("GET none");
    assert_eq!((stat(&mut resp, "keyspace_misses"), get_misses()), (1, "1".into()));
    assert!(server.stop().success());
}

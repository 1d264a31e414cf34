//! A value that is set in one dialect is read in all others, through nodes that do not own its key.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use larder_protocol::{Command, Condition, Expiry, Status, Write as Entry};
use larder_testkit::Server;

use crate::cluster::{peers, start};
use crate::http;
use crate::support::{Client, Result, get};

/// How long nodes may take to find each other, and an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The life of every entry, and the flags of those that have some.
const TTL_S: u64 = 1_000;
const FLAGS: u32 = 7;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Dialect {
    Native,
    Resp,
    Memcache,
    Meta,
    Http,
}

const DIALECTS: [Dialect; 5] = [Dialect::Native, Dialect::Resp, Dialect::Memcache, Dialect::Meta, Dialect::Http];

/// What a dialect tells of an entry: `None` of what it does not tell.
#[derive(Debug, PartialEq)]
struct Found {
    value: Vec<u8>,
    flags: Option<u32>,
    ttl_s: Option<u64>,
}

/// Connections to one node in each dialect.
struct Node {
    server: Server,
    native: Client,
    resp: BufReader<TcpStream>,
    memcache: BufReader<TcpStream>,
}

impl Node {
    fn of(server: Server) -> Self {
        let connect = |name: &str| {
            let address = server.ready()["listen"][name].as_str().expect("it speaks it").to_owned();
            let stream = TcpStream::connect(address).expect("it accepts");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
            BufReader::new(stream)
        };
        let (resp, memcache, native) = (connect("resp"), connect("memcache"), Client::connect(server.address()));
        Self { server, native, resp, memcache }
    }

    /// Sends `text`, and reads a line.
    fn line(stream: &mut BufReader<TcpStream>, text: &[u8]) -> String {
        stream.get_mut().write_all(text).expect("it reads");
        let mut line = String::new();
        stream.read_line(&mut line).expect("an answer");
        line.trim_end().to_owned()
    }

    fn block(stream: &mut BufReader<TcpStream>, len: usize) -> Vec<u8> {
        let mut block = vec![0; len + 2];
        stream.read_exact(&mut block).expect("a value");
        block.truncate(len);
        block
    }

    fn set(&mut self, dialect: Dialect, key: &str, value: &[u8]) {
        match dialect {
            Dialect::Native => {
                let (condition, expiry) = (Condition::Always, Expiry::After(TTL_S * 1_000));
                let entry = Entry { key: key.as_bytes(), value, flags: FLAGS, condition, expiry };
                assert_eq!(self.native.call(Command::Set(entry)).status, Status::Ok);
            }
            Dialect::Resp => {
                let head = format!("*5\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), value.len());
                let tail = format!("\r\n$2\r\nEX\r\n${}\r\n{TTL_S}\r\n", TTL_S.to_string().len());
                assert_eq!(Self::line(&mut self.resp, &[head.as_bytes(), value, tail.as_bytes()].concat()), "+OK");
            }
            Dialect::Memcache => {
                let head = format!("set {key} {FLAGS} {TTL_S} {}\r\n", value.len());
                let stored = Self::line(&mut self.memcache, &[head.as_bytes(), value, b"\r\n"].concat());
                assert_eq!(stored, "STORED");
            }
            Dialect::Meta => {
                let head = format!("ms {key} {} T{TTL_S} F{FLAGS}\r\n", value.len());
                assert_eq!(Self::line(&mut self.memcache, &[head.as_bytes(), value, b"\r\n"].concat()), "HD");
            }
            Dialect::Http => {
                let (ttl, flags) = (format!("{TTL_S}s"), FLAGS.to_string());
                let headers = [("X-Larder-TTL", &*ttl), ("X-Larder-Flags", &*flags)];
                let path = format!("/v1/groups/default/keys/{key}");
                let answer = http::ask(http::http(&self.server), "PUT", &path, &headers, value);
                assert!(answer.status < 300, "{answer:?}");
            }
        }
    }

    fn get(&mut self, dialect: Dialect, key: &str) -> Option<Found> {
        match dialect {
            Dialect::Native => {
                let looked = self.native.call(Command::Look { key: key.as_bytes(), value: true }).result;
                let Result::Looked(value, flags, ttl_ms) = looked else { return None };
                Some(Found { value, flags: Some(flags), ttl_s: Some(ttl_ms.div_ceil(1_000)) })
            }
            Dialect::Resp => {
                let length = format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len());
                let head = Self::line(&mut self.resp, length.as_bytes());
                let len = head.strip_prefix('$')?.parse::<usize>().ok()?;
                let value = Self::block(&mut self.resp, len);
                let asked = format!("*2\r\n$3\r\nTTL\r\n${}\r\n{key}\r\n", key.len());
                let ttl = Self::line(&mut self.resp, asked.as_bytes());
                Some(Found { value, flags: None, ttl_s: ttl.strip_prefix(':')?.parse().ok() })
            }
            Dialect::Memcache => {
                let head = Self::line(&mut self.memcache, format!("get {key}\r\n").as_bytes());
                let words: Vec<&str> = head.split(' ').collect();
                let ["VALUE", found, flags, len] = words[..] else { return None };
                assert_eq!(found, key);
                let value = Self::block(&mut self.memcache, len.parse().expect("a length"));
                assert_eq!(Self::line(&mut self.memcache, b""), "END");
                Some(Found { value, flags: flags.parse().ok(), ttl_s: None })
            }
            Dialect::Meta => {
                let head = Self::line(&mut self.memcache, format!("mg {key} t f v\r\n").as_bytes());
                let words: Vec<&str> = head.split(' ').collect();
                let ["VA", len, ttl, flags] = words[..] else { return None };
                let value = Self::block(&mut self.memcache, len.parse().expect("a length"));
                let number = |word: &str, name| word.strip_prefix(name)?.parse().ok();
                Some(Found { value, flags: number(flags, 'f').map(|flags| flags as u32), ttl_s: number(ttl, 't') })
            }
            Dialect::Http => {
                let path = format!("/v1/groups/default/keys/{key}");
                let answer = http::ask(http::http(&self.server), "GET", &path, &[], b"");
                let ttl = answer.header("x-larder-ttl").and_then(|ttl| ttl.strip_suffix("ms")?.parse::<u64>().ok());
                let flags = answer.header("x-larder-flags").map_or(Some(0), |flags| flags.parse().ok());
                let ttl_s = ttl.map(|ttl_ms| ttl_ms.div_ceil(1_000));
                (answer.status == 200).then_some(Found { value: answer.body, flags, ttl_s })
            }
        }
    }

    fn delete(&mut self, dialect: Dialect, key: &str) {
        match dialect {
            Dialect::Native => {
                let answer = self.native.call(Command::Delete { key: key.as_bytes(), version: 0 });
                assert_eq!(answer.status, Status::Ok);
            }
            Dialect::Resp => {
                let asked = format!("*2\r\n$3\r\nDEL\r\n${}\r\n{key}\r\n", key.len());
                assert_eq!(Self::line(&mut self.resp, asked.as_bytes()), ":1");
            }
            Dialect::Memcache => {
                assert_eq!(Self::line(&mut self.memcache, format!("delete {key}\r\n").as_bytes()), "DELETED");
            }
            Dialect::Meta => {
                assert_eq!(Self::line(&mut self.memcache, format!("md {key}\r\n").as_bytes()), "HD");
            }
            Dialect::Http => {
                let path = format!("/v1/groups/default/keys/{key}");
                let answer = http::ask(http::http(&self.server), "DELETE", &path, &[], b"");
                assert!(answer.status < 300, "{answer:?}");
            }
        }
    }
}

#[test]
fn a_value_set_in_one_dialect_is_read_in_all_others_on_every_node() {
    let (addresses, list) = peers(3);
    let flags = ["--resp", "127.0.0.1:0", "--memcache", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let servers: Vec<Server> = addresses.iter().map(|address| start(*address, &list, &flags)).collect();
    let mut nodes: Vec<Node> = servers.into_iter().map(Node::of).collect();
    wait_for_each_other(&mut nodes);
    // Of several owners.
    for number in 0..6 {
        for (writer, set_in) in DIALECTS.into_iter().enumerate() {
            let (key, value) = (format!("{set_in:?}-{number}"), format!("value\r\n{number}").into_bytes());
            nodes[(writer + number) % 3].set(set_in, &key, &value);
            for (at, node) in nodes.iter_mut().enumerate() {
                for read_in in DIALECTS {
                    let what = format!("{key} by node {at} in {read_in:?}");
                    let found = node.get(read_in, &key).unwrap_or_else(|| panic!("{what}: it is not there"));
                    assert_eq!(found.value, value, "{what}");
                    let kept = if set_in == Dialect::Resp { 0 } else { FLAGS };
                    assert!(found.flags.is_none_or(|flags| flags == kept), "{what}: {found:?}");
                    let is_kept = |ttl_s: u64| (TTL_S - 60..=TTL_S).contains(&ttl_s);
                    assert!(found.ttl_s.is_none_or(is_kept), "{what}: {found:?}");
                }
            }
            let removed_in = DIALECTS[(writer + number) % DIALECTS.len()];
            nodes[number % 3].delete(removed_in, &key);
            for node in &mut nodes {
                for read_in in DIALECTS {
                    assert_eq!(node.get(read_in, &key), None, "{key}, removed in {removed_in:?}, read in {read_in:?}");
                }
            }
        }
    }
}

#[test]
fn one_client_fills_a_key_whatever_it_and_those_who_wait_speak() {
    let (addresses, list) = peers(2);
    let flags = ["--resp", "127.0.0.1:0", "--memcache", "127.0.0.1:0"];
    let servers: Vec<Server> = addresses.iter().map(|address| start(*address, &list, &flags)).collect();
    let mut nodes: Vec<Node> = servers.into_iter().map(Node::of).collect();
    wait_for_each_other(&mut nodes);
    for number in 0..10 {
        let (filler, other) = (number % 2, (number + 1) % 2);
        let key = format!("key {number}").replace(' ', "-");
        let mg = format!("mg {key} v c N30\r\n");
        let won = Node::line(&mut nodes[filler].memcache, mg.as_bytes());
        let token =
            won.strip_prefix("VA 0 c").and_then(|rest| rest.strip_suffix(" W")).expect("it is to fill it").to_owned();
        assert_eq!(Node::block(&mut nodes[filler].memcache, 0), b"");
        assert_eq!(Node::line(&mut nodes[other].memcache, mg.as_bytes()), format!("VA 0 c{token} Z"));
        assert_eq!(Node::block(&mut nodes[other].memcache, 0), b"");
        for read_in in [Dialect::Native, Dialect::Resp, Dialect::Memcache] {
            assert_eq!(nodes[other].get(read_in, &key), None, "{key} in {read_in:?}");
        }
        // Who waits for it is answered when it is filled.
        let mut waiting = Client::connect(nodes[other].server.address());
        waiting.send(Command::LeaseGet { key: key.as_bytes(), lease_ms: 0 });
        let late = format!("ms {key} 3 C{}\r\nold\r\n", token.parse::<u64>().expect("a number") - 1);
        assert_eq!(Node::line(&mut nodes[other].memcache, late.as_bytes()), "EX");
        let fill = format!("ms {key} 3 C{token}\r\nnew\r\n");
        assert_eq!(Node::line(&mut nodes[filler].memcache, fill.as_bytes()), "HD");
        assert_eq!(waiting.answer().value(), Some(&b"new"[..]), "{key}: who waited gets it");
    }
}

/// Until each has reached the others.
fn wait_for_each_other(nodes: &mut [Node]) {
    let begun = Instant::now();
    for node in nodes {
        for number in 0..50 {
            while node.native.call(get(format!("probe {number}").as_bytes())).status != Status::NotFound {
                assert!(begun.elapsed() < PATIENCE, "the nodes do not find each other");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

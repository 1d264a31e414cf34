//! RESP, spoken by hand and by redis-cli.

use std::io::{Read, Write};
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

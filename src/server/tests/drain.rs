//! SIGTERM to a server that has many connections.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use larder_protocol::Status;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{Client, SHARDS, get, scaled, server, set};

/// The default `--stop-timeout`, which the README states.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests that a busy connection has under way when the signal comes.
const PIPELINED: usize = 32;

/// Connections of this test and of those that run beside it are all of one process.
fn raise_limit_of_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("a soft limit may be raised");
}

/// Sends requests and does not wait for answers.
fn ask(client: &mut Client, number: usize) {
    let mut bytes = Vec::new();
    for request in 0..PIPELINED {
        let key = format!("key {}", number * PIPELINED + request);
        client.encode(&mut bytes, set(key.as_bytes(), key.as_bytes()));
    }
    client.send_bytes(&bytes);
}

fn is_refused(address: SocketAddr) -> bool {
    matches!(TcpStream::connect(address), Err(error) if error.kind() == ErrorKind::ConnectionRefused)
}

/// Of every 20 connections 17 are idle, one has requests under way, one has sent half a request, and one comes with its
/// requests right before the signal, so that it may not even be accepted then.
#[test]
fn every_connection_gets_its_answers_and_its_end() {
    raise_limit_of_files();
    let (count, seed) = (scaled(10_000), fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    println!("seed {seed}");
    for shards in SHARDS {
        let mut server = server(&["--shards", shards]);
        let address = server.address();
        let mut clients: Vec<Client> = (0..count / 20 * 19).map(|_| Client::connect(address)).collect();
        for client in &mut clients {
            assert_eq!(client.call(get(b"x")).status, Status::NotFound, "{shards} shards, seed {seed}");
        }
        random.shuffle(&mut clients);
        let mut busy = clients.split_off(count / 20 * 18);
        let mut half = clients.split_off(count / 20 * 17);
        let mut idle = clients;
        for client in &mut half {
            let mut bytes = Vec::new();
            client.encode(&mut bytes, set(b"half", b"a request"));
            client.send_bytes(&bytes[..random.usize(1..bytes.len())]);
        }
        for (number, client) in busy.iter_mut().enumerate() {
            ask(client, number);
        }
        for number in 0..count / 20 {
            let mut client = Client::connect(address);
            ask(&mut client, number);
            busy.push(client);
        }

        let begun = Instant::now();
        server.signal("TERM");
        let status = server.wait();
        let elapsed = begun.elapsed();
        println!("{shards} shards: {count} connections, {} of them busy, stopped in {elapsed:?}", busy.len());
        assert_eq!(status.code(), Some(0), "{shards} shards, seed {seed}");
        assert!(elapsed < STOP_TIMEOUT, "{shards} shards, seed {seed}: {elapsed:?}");
        assert!(is_refused(address), "{shards} shards, seed {seed}: somebody listens");

        // What was answered outlives the server, whole and in order: the answers, then the end.
        for client in &mut busy {
            assert!(client.answers(PIPELINED).values().all(|answer| answer.status == Status::Ok), "seed {seed}");
            assert!(client.is_closed());
        }
        for client in idle.iter_mut().chain(&mut half) {
            assert!(client.is_closed(), "{shards} shards, seed {seed}: nothing was asked, or half of it");
        }
    }
}

/// Somebody who does not read keeps the server from its end, and nobody else: who comes now is to go elsewhere.
#[test]
fn while_it_stops_nobody_waits_at_its_door() {
    for shards in SHARDS {
        let mut server = server(&["--shards", shards, "--stop-timeout", "2s"]);
        let address = server.address();
        let mut deaf = Client::connect(address);
        assert_eq!(deaf.call(set(b"large", &vec![b'v'; 1_000_000])).status, Status::Ok);
        for _ in 0..50 {
            deaf.send(get(b"large"));
        }
        let mut other = Client::connect(address);
        assert_eq!(other.call(get(b"x")).status, Status::NotFound);
        server.signal("TERM");
        assert!(other.is_closed(), "{shards} shards");
        let begun = Instant::now();
        while !is_refused(address) {
            assert!(begun.elapsed() < Duration::from_secs(1), "{shards} shards: it listens while it stops");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(server.is_running(), "{shards} shards: it waits for who does not read");
        assert_eq!(server.wait().code(), Some(0), "{shards} shards");
    }
}

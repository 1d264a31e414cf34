//! A server that the kernel gives no more file descriptors.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use larder_protocol::Status;
use larder_server::limits::{FILES_BASE, FILES_PER_SHARD};
use larder_testkit::Server;

use crate::support::{Client, SHARDS, cpu_time, get, scaled, set};

const CONNECTIONS_MAX: usize = 200;
/// Descriptors that the server inherits: more than what it asks for beyond its needs, so that it runs out of them before
/// it has as many connections as it may.
const INHERITED: usize = 200;
/// How long something may take that takes a moment.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server whose limit of open files is what it asks for at its start, with some of them open already; and this limit.
fn short_of_descriptors(shards: usize) -> (Server, usize) {
    let limit = CONNECTIONS_MAX + FILES_BASE as usize + FILES_PER_SHARD as usize * shards;
    let script = format!(
        "for fd in $(seq 10 {}); do eval \"exec $fd</dev/null\"; done; ulimit -n {limit}; exec \"$0\" \"$@\"",
        10 + INHERITED - 1
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_larder")]);
    let (shards, connections_max) = (shards.to_string(), CONNECTIONS_MAX.to_string());
    let flags = ["--shards", &shards, "--connections-max", &connections_max];
    (Server::start_command("127.0.0.1:0", command, &flags), limit)
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")).expect("the process runs").count()
}

/// A new connection, if the server answers on it instead of closing it.
fn admitted(address: SocketAddr) -> Option<Client> {
    let mut client = Client::connect(address);
    is_answered(&mut client).then_some(client)
}

fn is_answered(client: &mut Client) -> bool {
    let mut bytes = Vec::new();
    client.encode(&mut bytes, get(b"key"));
    // One that is turned away may be reset before the request is written.
    if client.stream.write_all(&bytes).is_err() {
        return false;
    }
    let answer = client.next_answer();
    assert!(answer.as_ref().is_none_or(|answer| answer.value() == Some(b"value")), "{answer:?}");
    answer.is_some()
}

/// Polls.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn without_descriptors_clients_are_turned_away_and_the_others_are_served() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    println!("seed {seed}");
    for shards in SHARDS {
        let shard_count: usize = shards.parse().expect("a number");
        let (mut server, limit) = short_of_descriptors(shard_count);
        let address = server.address();
        let mut first = Client::connect(address);
        assert_eq!(first.call(set(b"key", b"value")).status, Status::Ok);
        let mut clients = vec![first];
        while let Some(client) = admitted(address) {
            clients.push(client);
            assert!(clients.len() < CONNECTIONS_MAX, "{shards} shards: descriptors are to run out before connections");
        }
        let fitting = clients.len();
        // Who turns a client away has given its reserve back for a moment.
        until("all descriptors are in use", || limit == open_files(server.pid()));
        assert!(fitting > 10, "{shards} shards: only {fitting} connections fit");

        // It knows that it is full, and waits.
        let (cpu, begun) = (cpu_time(server.pid()), Instant::now());
        std::thread::sleep(Duration::from_secs(1));
        let used = (cpu_time(server.pid()) - cpu).div_f64(begun.elapsed().as_secs_f64());
        println!("{shards} shards: {fitting} connections, {used:?} of processor time a second");
        assert!(used <= Duration::from_millis(50), "{shards} shards, full: {used:?} of processor time in a second");

        // Many knock at once, so that shards turn clients away at the same time and one may get the descriptor that
        // another has given back for this. Each is told, nobody is let in, and who is in does not notice.
        for round in 0..scaled(60) {
            let knocking: Vec<Client> = (0..200).map(|_| Client::connect(address)).collect();
            for mut client in knocking {
                assert!(!is_answered(&mut client), "{shards} shards, round {round}: somebody was let in");
                let client = &mut clients[random.usize(..fitting)];
                assert_eq!(client.call(get(b"key")).value(), Some(&b"value"[..]), "{shards} shards, seed {seed}");
            }
        }
        for client in &mut clients {
            assert_eq!(client.call(get(b"key")).value(), Some(&b"value"[..]), "{shards} shards");
        }

        // Some leave, and as many others come in and are served.
        let leaving = fitting / 2;
        random.shuffle(&mut clients);
        clients.truncate(fitting - leaving);
        until("the descriptors of who left are free", || limit - open_files(server.pid()) >= leaving);
        let begun = Instant::now();
        while clients.len() < fitting {
            clients.extend(admitted(address));
            assert!(begun.elapsed() < PATIENCE, "{shards} shards: {} of {fitting} connections again", clients.len());
        }
        assert!(server.is_running());
        for client in &mut clients {
            assert_eq!(client.call(get(b"key")).value(), Some(&b"value"[..]), "{shards} shards");
        }
        assert!(server.stop().success(), "{shards} shards");
    }
}

//! Clients that say nothing, and servers that have nothing to do.

use std::time::{Duration, Instant};

use larder_protocol::Status;

use crate::support::{Client, cpu_time, get, server, set};

/// Voluntary context switches of all threads of a process: how often they went to sleep.
fn sleeps(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    threads
        .map(|thread| {
            let status = std::fs::read_to_string(thread.expect("a thread").path().join("status")).expect("it runs");
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt")).expect("a count of switches");
            line.split_whitespace().nth(1).and_then(|count| count.parse::<u64>().ok()).expect("a number")
        })
        .sum()
}

#[test]
fn half_a_request_is_waited_for_only_so_long() {
    let server = server(&["--shards", "1", "--half-sent-timeout", "300ms"]);
    let mut whole = Client::connect(server.address());
    assert_eq!(whole.call(get(b"x")).status, Status::NotFound);
    let mut half = Client::connect(server.address());
    let mut bytes = Vec::new();
    half.encode(&mut bytes, set(b"key", b"value"));
    let begun = Instant::now();
    half.send_bytes(&bytes[..bytes.len() - 1]);
    assert!(half.is_closed());
    let elapsed = begun.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_secs(3)).contains(&elapsed), "{elapsed:?}");
    assert_eq!(whole.call(get(b"key")).status, Status::NotFound, "who is between requests may be silent");
}

#[test]
fn an_idle_connection_is_closed_if_so_configured() {
    let server = server(&["--shards", "1", "--idle-timeout", "300ms"]);
    let mut idle = Client::connect(server.address());
    let mut busy = Client::connect(server.address());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        assert_eq!(busy.call(get(b"x")).status, Status::NotFound, "who asks is not idle");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(idle.is_closed());
    assert_eq!(busy.call(get(b"x")).status, Status::NotFound);
}

#[test]
fn an_idle_server_sleeps() {
    let server = server(&["--shards", "1"]);
    let mut clients: Vec<Client> = (0..100).map(|_| Client::connect(server.address())).collect();
    for client in &mut clients {
        assert_eq!(client.call(get(b"x")).status, Status::NotFound);
    }
    // A server that has just started touches its memory, and clocks tick coarsely on a busy machine: one window of several
    // that is idle shows that it sleeps. Its wakes are counted, whoever else runs.
    for window in 1..=10 {
        let (before, cpu) = (sleeps(server.pid()), cpu_time(server.pid()));
        std::thread::sleep(Duration::from_secs(2));
        let (woken, used) = (sleeps(server.pid()) - before, cpu_time(server.pid()) - cpu);
        println!("window {window}: {woken} wakes and {used:?} of processor time in two seconds");
        if (1..200).contains(&woken) && used <= Duration::from_millis(20) {
            return;
        }
    }
    panic!("no two seconds of twenty were idle");
}

#[test]
fn a_spinning_server_answers() {
    let server = server(&["--shards", "2", "--cores", "0", "--spin", "50us"]);
    let mut client = Client::connect(server.address());
    for number in 0..100 {
        assert_eq!(client.call(set(format!("key {number}").as_bytes(), b"v")).status, Status::Ok);
    }
}

//! Starting and stopping.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use larder_protocol::Status;
use larder_testkit::Server;

use crate::support::{Client, SHARDS, get, server, set};

/// A server on an address of the test's choice.
fn server_on(address: SocketAddr, flags: &[&str]) -> Server {
    Server::start_binary_on(&address.to_string(), PathBuf::from(env!("CARGO_BIN_EXE_larder")), flags)
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

#[test]
fn the_ready_line_says_what_was_bound() {
    let server = server(&["--shards", "3", "--cores", "0", "--memory", "64MiB", "--node-id", "me"]);
    let ready = server.ready();
    assert_eq!(ready["ready"], true);
    assert_eq!(ready["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(ready["pid"], server.pid());
    assert_eq!(ready["node"], "me");
    assert_eq!(ready["shards"], 3);
    assert_eq!(ready["cores"], serde_json::json!([0]));
    assert_eq!(ready["memory_bytes"], 64 << 20);
    assert_ne!(server.address().port(), 0);
}

#[test]
fn both_signals_stop_it_with_status_0() {
    for signal in ["TERM", "INT"] {
        let mut server = server(&["--shards", "2"]);
        let mut client = Client::connect(server.address());
        assert_eq!(client.call(get(b"x")).status, Status::NotFound);
        let begun = Instant::now();
        server.signal(signal);
        assert!(client.is_closed(), "an idle connection is closed");
        assert_eq!(server.wait().code(), Some(0), "{signal}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{signal}: {:?}", begun.elapsed());
    }
}

#[test]
fn what_was_received_before_the_stop_is_answered() {
    for shards in SHARDS {
        for _ in 0..5 {
            let mut server = server(&["--shards", shards]);
            let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(server.address())).collect();
            let count = 500;
            let mut bytes = Vec::new();
            for client in &mut clients {
                bytes.clear();
                for number in 0..count {
                    client.encode(&mut bytes, set(format!("key {number}").as_bytes(), b"v"));
                }
                client.send_bytes(&bytes);
            }
            server.signal("TERM");
            for client in &mut clients {
                assert!(client.answers(count).values().all(|answer| answer.status == Status::Ok));
                assert!(client.is_closed());
            }
            assert_eq!(server.wait().code(), Some(0));
        }
    }
}

#[test]
fn under_load_each_answer_is_whole_and_the_end_is_orderly() {
    let mut server = server(&["--shards", "4"]);
    let address = server.address();
    let clients: Vec<_> = (0..4)
        .map(|number| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                let key = format!("key {number}");
                let mut answered = 0_u64;
                loop {
                    let mut bytes = Vec::new();
                    for _ in 0..50 {
                        client.encode(&mut bytes, set(key.as_bytes(), b"v"));
                    }
                    if std::io::Write::write_all(&mut client.stream, &bytes).is_err() {
                        return answered;
                    }
                    for _ in 0..50 {
                        // The end comes between answers, or `next_answer` fails.
                        let Some(answer) = client.next_answer() else { return answered };
                        assert_eq!(answer.status, Status::Ok);
                        answered += 1;
                    }
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    server.signal("TERM");
    for client in clients {
        assert!(client.join().expect("a client ends in order") > 0, "there was load");
    }
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn who_does_not_read_is_cut_off_in_time() {
    let mut server = server(&["--shards", "2", "--stop-timeout", "1s"]);
    let mut client = Client::connect(server.address());
    let value = vec![b'v'; 1_000_000];
    assert_eq!(client.call(set(b"large", &value)).status, Status::Ok);
    for _ in 0..50 {
        client.send(get(b"large"));
    }
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = server(&["--shards", "1", "--stop-timeout", "60s"]);
    let mut client = Client::connect(server.address());
    assert_eq!(client.call(set(b"large", &vec![b'v'; 1_000_000])).status, Status::Ok);
    for _ in 0..50 {
        client.send(get(b"large"));
    }
    std::thread::sleep(Duration::from_millis(100));
    server.signal("TERM");
    std::thread::sleep(Duration::from_millis(300));
    assert!(server.is_running(), "it waits for the client to read");
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(130));
}

#[test]
fn the_port_is_free_for_the_next_one() {
    let address = free_address();
    for round in 0..20 {
        let mut server = server_on(address, &["--shards", "2", "--cores", "0"]);
        assert_eq!(server.address(), address, "round {round}");
        let mut client = Client::connect(address);
        assert_eq!(client.call(set(b"x", b"y")).status, Status::Ok, "round {round}");
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0), "round {round}");
    }
}

#[test]
fn a_second_server_on_the_port_is_refused_and_the_first_goes_on() {
    let first = server(&["--shards", "2"]);
    let second = Command::new(env!("CARGO_BIN_EXE_larder"))
        .args(["serve", "--listen", &first.address().to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("larder starts");
    assert_eq!(second.status.code(), Some(2));
    assert!(second.stdout.is_empty(), "no ready line");
    let stderr = String::from_utf8_lossy(&second.stderr);
    assert!(stderr.contains("in use"), "{stderr}");
    for _ in 0..20 {
        assert_eq!(Client::connect(first.address()).call(get(b"x")).status, Status::NotFound);
    }
}

//! What no client should do. The server lives, bounded, and others do not notice.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use larder_protocol::{Command, Status};
use larder_store::limits::PAGES_AHEAD_BYTES;

use crate::support::{Client, SHARDS, get, resident_bytes, scaled, server, set};

/// Another connection that has to be served while something bad happens.
struct Neighbour(Client);

impl Neighbour {
    fn of(server: &larder_testkit::Server) -> Self {
        let mut client = Client::connect(server.address());
        assert_eq!(client.call(set(b"neighbour", b"well")).status, Status::Ok);
        Self(client)
    }

    fn is_well(&mut self) {
        let begun = Instant::now();
        assert_eq!(self.0.call(get(b"neighbour")).value(), Some(&b"well"[..]));
        assert!(begun.elapsed() < Duration::from_secs(2), "served after {:?}", begun.elapsed());
    }
}

#[test]
fn frames_that_are_no_requests_are_answered_and_the_connection_goes_on() {
    for shards in SHARDS {
        let server = server(&["--shards", shards]);
        let mut client = Client::connect(server.address());
        // A frame of length 0 is a request without an operation.
        client.send_bytes(&[0; 4]);
        let empty = client.answer();
        assert_eq!((empty.id, empty.status), (0, Status::NotSupported), "{empty:?}");
        // id 9, and field 100, which no operation has.
        client.send_bytes(&[0, 0, 0, 5, 0x08, 9, 0xa2, 0x06, 0]);
        let unknown = client.answer();
        assert_eq!((unknown.id, unknown.status), (9, Status::NotSupported), "{unknown:?}");
        // id 7, then a get whose length points behind the end.
        client.send_bytes(&[0, 0, 0, 4, 0x08, 7, 0x32, 100]);
        let truncated = client.answer();
        assert_eq!((truncated.id, truncated.status), (7, Status::BadRequest), "{truncated:?}");
        assert!(!truncated.message.is_empty(), "a person is told why");
        assert_eq!(client.call(get(b"x")).status, Status::NotFound);
        let malformed: u64 = client.stats().shards.iter().map(|shard| shard.malformed).sum();
        assert_eq!(malformed, 3, "each is counted");
    }
}

#[test]
fn a_length_above_the_limit_is_answered_and_ends_the_connection() {
    let server = server(&["--shards", "1"]);
    let mut neighbour = Neighbour::of(&server);
    for length in [[0xff; 4], [0x80, 0, 0, 0], [0x04, 0x10, 0, 0]] {
        let mut client = Client::connect(server.address());
        let mut bytes = Vec::new();
        let id = client.encode(&mut bytes, set(b"before", b"1"));
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&[b'x'; 100_000]);
        client.send_bytes(&bytes);
        let before = client.answer();
        assert_eq!((before.id, before.status), (id, Status::Ok), "what came before is answered");
        let refused = client.answer();
        assert_eq!((refused.id, refused.status), (0, Status::BadRequest), "{refused:?}");
        assert!(refused.message.contains("limit"), "{refused:?}");
        assert!(client.is_closed());
        neighbour.is_well();
    }
}

#[test]
fn claims_of_length_cost_no_memory() {
    let server = server(&["--shards", "1"]);
    let before = resident_bytes(server.pid());
    // As long as may be, times 200: 1.6 GiB if it were believed.
    let clients: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = Client::connect(server.address());
            client.send_bytes(&(8_u32 << 20).to_be_bytes());
            client.send_bytes(&[0x08, 1]);
            client
        })
        .collect();
    Neighbour::of(&server).is_well();
    let grown = resident_bytes(server.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "{} connections that claim 8 MiB each took {grown} bytes", clients.len());
}

#[test]
fn garbage_is_survived() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut server = server(&["--shards", "2"]);
    let mut neighbour = Neighbour::of(&server);
    for round in 0..scaled(2_000) {
        let mut bytes = vec![0; random.usize(1..3_000)];
        random.fill(&mut bytes);
        if random.bool() {
            // A sane length, so that the garbage reaches the decoder.
            let length = (bytes.len().saturating_sub(4) as u32).to_be_bytes();
            bytes.splice(..4.min(bytes.len()), length);
        }
        let mut stream = TcpStream::connect(server.address()).expect("the server accepts");
        // The server may close before everything is written.
        let _ = stream.write_all(&bytes);
        if random.bool() {
            let _ = stream.shutdown(Shutdown::Write);
            stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket option");
            let mut rest = Vec::new();
            if let Err(error) = stream.read_to_end(&mut rest) {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "seed {seed}, round {round}");
            }
        }
    }
    neighbour.is_well();
    assert!(server.is_running(), "seed {seed}");
}

#[test]
fn a_million_tiny_frames_are_answered_and_nobody_notices() {
    let server = server(&["--shards", "2"]);
    let mut neighbour = Neighbour::of(&server);
    let count = scaled(1_000_000);
    let mut client = Client::connect(server.address());
    let mut writer = client.stream.try_clone().expect("a descriptor");
    let sending = std::thread::spawn(move || writer.write_all(&vec![0; 4 * count]).expect("the server reads"));
    for number in 0..count {
        let answer = client.answer();
        assert_eq!((answer.id, answer.status), (0, Status::NotSupported));
        if number % 5_000 == 0 {
            neighbour.is_well();
        }
    }
    sending.join().expect("all frames are sent");
    assert_eq!(client.call(get(b"x")).status, Status::NotFound, "and the connection goes on");
}

#[test]
fn who_does_not_read_is_not_read_from() {
    for shards in SHARDS {
        let server = server(&["--shards", shards]);
        let mut neighbour = Neighbour::of(&server);
        let value = vec![b'v'; 100_000];
        for number in 0..8 {
            assert_eq!(neighbour.0.call(set(format!("value {number}").as_bytes(), &value)).status, Status::Ok);
        }
        let before = resident_bytes(server.pid());
        // 10,000 answers of 100 kB: 1 GB, of which the client reads nothing.
        let mut client = Client::connect(server.address());
        let mut bytes = Vec::new();
        for number in 0..10_000 {
            client.encode(&mut bytes, get(format!("value {}", number % 8).as_bytes()));
        }
        let mut writer = client.stream.try_clone().expect("a descriptor");
        let sending = std::thread::spawn(move || writer.write_all(&bytes));
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(20));
            neighbour.is_well();
        }
        let grown = resident_bytes(server.pid()).saturating_sub(before);
        assert!(grown < 64 << 20, "{shards} shards: {grown} bytes for one client that does not read");
        // It reads after all: each request is answered, with the value or with a refusal.
        let answers = client.answers(10_000);
        sending.join().expect("a thread").expect("the server has read everything");
        let served = answers.values().filter(|answer| answer.status == Status::Ok);
        assert!(served.clone().all(|answer| answer.value() == Some(&value[..])));
        let refused = answers.values().filter(|answer| answer.status == Status::Overloaded).count();
        assert_eq!(served.count() + refused, 10_000);
        assert!(shards != "1" || refused == 0, "on one shard nothing is refused, it waits");
    }
}

#[test]
fn connections_may_break_with_requests_under_way() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let server = server(&["--shards", "4"]);
    let mut neighbour = Neighbour::of(&server);
    for _ in 0..scaled(2_000) {
        let mut client = Client::connect(server.address());
        let mut bytes = Vec::new();
        for number in 0..random.usize(1..400) {
            client.encode(&mut bytes, set(format!("key {number}").as_bytes(), &[b'v'; 100]));
        }
        client.send_bytes(&bytes[..random.usize(1..=bytes.len())]);
        if random.bool() {
            let _ = client.stream.shutdown(Shutdown::Both);
        }
    }
    neighbour.is_well();
    let deadline = Instant::now() + Duration::from_secs(10);
    while neighbour.0.stats().shards.iter().map(|shard| shard.connections).sum::<u64>() > 1 {
        assert!(Instant::now() < deadline, "seed {seed}: closed connections are not let go");
        std::thread::sleep(Duration::from_millis(5));
    }
    // On exit the server checks that no waiter is left behind.
    assert!(server.stop().success(), "seed {seed}");
}

#[test]
fn what_was_asked_before_the_end_is_answered() {
    for shards in SHARDS {
        let server = server(&["--shards", shards]);
        let mut client = Client::connect(server.address());
        let mut bytes = Vec::new();
        for number in 0..5_000 {
            client.encode(&mut bytes, get(format!("key {number}").as_bytes()));
        }
        // And a part of one more.
        bytes.extend_from_slice(&[0, 0, 1, 0, 0x08]);
        let mut writer = client.stream.try_clone().expect("a descriptor");
        let sending = std::thread::spawn(move || {
            writer.write_all(&bytes).expect("the server reads");
            writer.shutdown(Shutdown::Write).expect("half closed");
        });
        assert_eq!(client.answers(5_000).len(), 5_000);
        sending.join().expect("sent");
        assert!(client.is_closed());
    }
}

#[test]
fn connections_above_the_limit_are_closed_and_others_stay() {
    let server = server(&["--shards", "2", "--connections-max", "3"]);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(server.address())).collect();
    for client in &mut clients {
        assert_eq!(client.call(get(b"x")).status, Status::NotFound);
    }
    for _ in 0..5 {
        assert!(Client::connect(server.address()).is_closed());
    }
    assert_eq!(clients[0].call(get(b"x")).status, Status::NotFound);
    clients.pop();
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut client = Client::connect(server.address());
        // One that is refused may be reset before the request is written.
        let mut bytes = Vec::new();
        client.encode(&mut bytes, Command::Stats);
        if client.stream.write_all(&bytes).is_ok() && client.next_answer().is_some() {
            break;
        }
        assert!(Instant::now() < deadline, "a place that is free again is given out");
    }
}

#[test]
fn idle_connections_cost_little() {
    let (shards, count) = (2, 1_000);
    let server = server(&["--shards", &shards.to_string()]);
    // Right after its start, each shard has memory backed by pages ahead, which is nothing that connections cost.
    let begun = Instant::now();
    while resident_bytes(server.pid()) < shards * PAGES_AHEAD_BYTES as u64 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the pages ahead are not there");
        std::thread::sleep(Duration::from_millis(10));
    }
    let before = resident_bytes(server.pid());
    let mut clients: Vec<Client> = (0..count).map(|_| Client::connect(server.address())).collect();
    // Each has had a large answer once, and does not keep the room for it.
    assert_eq!(clients[0].call(set(b"large", &[b'v'; 300_000])).status, Status::Ok);
    for client in &mut clients {
        assert_eq!(client.call(get(b"large")).value().map(<[u8]>::len), Some(300_000));
    }
    let per_connection = resident_bytes(server.pid()).saturating_sub(before) / count;
    assert!(per_connection < 12 << 10, "{per_connection} bytes per idle connection");
    let cpu = crate::support::cpu_time(server.pid());
    std::thread::sleep(Duration::from_secs(1));
    let idle = crate::support::cpu_time(server.pid()) - cpu;
    assert!(idle <= Duration::from_millis(50), "an idle server used {idle:?} of processor time in a second");
}

//! Connections that ask for a shard.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use larder_protocol::native::PROTOCOL;
use larder_protocol::{Command, Status};
use larder_testkit::Proxy;

use crate::support::{Answer, Client, Result, get, scaled, server, set};

fn hello(shard: u32) -> Command<'static> {
    Command::Hello { client: "a test", protocol: PROTOCOL, credentials: &[], shard: Some(shard) }
}

fn shard_of(answer: &Answer) -> u32 {
    let Result::Hello(hello) = &answer.result else { panic!("a hello: {answer:?}") };
    hello.shard
}

/// Requests that were passed on between cores, and open connections by shard.
fn counters(client: &mut Client) -> (u64, Vec<u64>) {
    let stats = client.stats();
    let crossed = stats.shards.iter().map(|shard| shard.cross_core).sum();
    (crossed, stats.shards.iter().map(|shard| shard.connections).collect())
}

#[test]
fn every_connection_gets_the_shard_that_it_asks_for() {
    for shards in ["2", "4"] {
        let server = server(&["--shards", shards]);
        let count: u32 = shards.parse().expect("a number");
        for address in [server.address(), Proxy::start(server.address()).address()] {
            // The kernel chooses who accepts, so that of so many some have to move.
            let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(address)).collect();
            for (wanted, client) in (0..count).cycle().zip(&mut clients) {
                let answer = client.call(hello(wanted));
                assert_eq!(shard_of(&answer), wanted);
                let again = client.call(hello((wanted + 1) % count));
                assert_eq!(shard_of(&again), wanted, "only the first Hello moves, and the answer is honest");
            }
            let (_, connections) = counters(&mut clients[0]);
            assert_eq!(connections, vec![40 / u64::from(count); count as usize]);
            let nowhere = Client::connect(address).call(hello(count));
            assert_eq!(nowhere.status, Status::BadRequest, "{nowhere:?}");
            assert!(nowhere.message.contains(&format!("there is no shard {count}")), "{nowhere:?}");
            clients.iter_mut().for_each(|client| {
                let _ = client.stream.shutdown(Shutdown::Both);
            });
            drop(clients);
            wait_until("no connection is left", || {
                let mut client = Client::connect(server.address());
                counters(&mut client).1.iter().sum::<u64>() == 1
            });
        }
        assert!(server.stop().success());
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: not within 10 s");
}

/// Hello and thousands of requests in one go, cut at random places by the sender.
#[test]
fn thousands_behind_the_hello_move_with_it() {
    let server = server(&["--shards", "4"]);
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let requests = 10_000_u32;
    for round in 0..8 {
        let wanted = round % 4;
        let mut client = Client::connect(server.address());
        let mut bytes = Vec::new();
        let first = client.encode(&mut bytes, hello(wanted));
        let mut expected = Vec::new();
        for number in 0..requests / 2 {
            let (key, value) = (format!("{round} {number}"), number.to_le_bytes());
            client.encode(&mut bytes, set(key.as_bytes(), &value));
            expected.push((client.encode(&mut bytes, get(key.as_bytes())), value));
        }
        let mut writer = client.stream.try_clone().expect("a descriptor");
        // From a few bytes, so that the Hello itself is cut, to all at once.
        let chunk = [3, 100, 50_000, usize::MAX][random.usize(0..4)];
        let pause = random.bool();
        let sending = std::thread::spawn(move || {
            for (number, piece) in bytes.chunks(chunk.min(bytes.len())).enumerate() {
                writer.write_all(piece).expect("the server reads");
                if pause && number < 10 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let answers = client.answers(requests as usize + 1);
        sending.join().expect("sent");
        assert_eq!(shard_of(&answers[&first]), wanted, "seed {seed}");
        for (id, value) in expected {
            assert_eq!(answers[&id].value(), Some(&value[..]), "seed {seed}, round {round}");
        }
    }
}

/// Hundreds of connections come, move, work and go, while others keep all shards busy.
#[test]
fn hundreds_move_under_load() {
    let server = server(&["--shards", "4"]);
    let address = server.address();
    let over = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..2)
        .map(|worker| {
            let over = over.clone();
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut rounds = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    let mut bytes = Vec::new();
                    for number in 0..500 {
                        client.encode(&mut bytes, set(format!("load {worker} {number}").as_bytes(), b"v"));
                    }
                    client.send_bytes(&bytes);
                    client.answers(500);
                    rounds += 1;
                }
                rounds
            })
        })
        .collect();
    let moved = Arc::new(AtomicU64::new(0));
    let movers: Vec<_> = (0..4_u32)
        .map(|mover| {
            let moved = moved.clone();
            std::thread::spawn(move || {
                let batches = scaled(400);
                for batch in 0..batches {
                    let mut clients: Vec<Client> = (0..10).map(|_| Client::connect(address)).collect();
                    for (number, client) in clients.iter_mut().enumerate() {
                        let key = format!("{mover} {batch} {number}");
                        let mut bytes = Vec::new();
                        client.encode(&mut bytes, hello(number as u32 % 4));
                        client.encode(&mut bytes, set(key.as_bytes(), key.as_bytes()));
                        client.encode(&mut bytes, get(key.as_bytes()));
                        // Every third one is gone again before it is answered.
                        client.send_bytes(&bytes);
                    }
                    for (number, client) in clients.iter_mut().enumerate().filter(|(number, _)| number % 3 != 0) {
                        let key = format!("{mover} {batch} {number}");
                        let answers = client.answers(3);
                        moved.fetch_add(u64::from(shard_of(&answers[&1]) == number as u32 % 4), Ordering::Relaxed);
                        assert_eq!(answers[&3].value(), Some(key.as_bytes()));
                    }
                }
            })
        })
        .collect();
    movers.into_iter().for_each(|mover| mover.join().expect("a mover ends"));
    over.store(true, Ordering::Relaxed);
    let rounds: u64 = load.into_iter().map(|worker| worker.join().expect("a worker ends")).sum();
    assert!(rounds > 0);
    let asked = 4 * scaled(400) as u64 * 6;
    assert_eq!(moved.load(Ordering::Relaxed), asked, "the lanes had room, so all got the shard they asked for");
    wait_until("no connection is left", || {
        let mut client = Client::connect(address);
        counters(&mut client).1.iter().sum::<u64>() == 1
    });
    assert!(server.stop().success(), "nothing is lost count of");
}

/// The server stops while connections move: what was received is answered, and it ends in order.
#[test]
fn connections_that_move_while_the_server_stops_are_answered_or_closed() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..scaled(200).max(10) {
        let server = server(&["--shards", "4"]);
        let address = server.address();
        let pause = Duration::from_micros(random.u64(0..20_000));
        let movers: Vec<_> = (0..2_u32)
            .map(|mover| {
                std::thread::spawn(move || {
                    let mut served = 0;
                    for number in 0..10_000_u32 {
                        let Ok(stream) = TcpStream::connect(address) else { break };
                        let mut client = Client::of(stream);
                        let mut bytes = Vec::new();
                        client.encode(&mut bytes, hello((number + mover) % 4));
                        client.encode(&mut bytes, set(&number.to_le_bytes(), b"value"));
                        client.encode(&mut bytes, get(&number.to_le_bytes()));
                        if client.stream.write_all(&bytes).is_err() {
                            break;
                        }
                        // Whole or not at all: a connection that is taken in is answered in full.
                        let mut answers = 0;
                        while let Some(answer) = client.next_answer() {
                            assert_eq!(answer.status, Status::Ok, "{answer:?}");
                            answers += 1;
                            if answers == 3 {
                                break;
                            }
                        }
                        assert!(answers == 0 || answers == 3, "{answers} of 3 answers");
                        if answers == 0 {
                            break;
                        }
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        std::thread::sleep(pause);
        let begun = std::time::Instant::now();
        assert!(server.stop().success(), "seed {seed}, round {round}");
        assert!(begun.elapsed() < Duration::from_secs(4), "seed {seed}: {:?}: nobody was cut off", begun.elapsed());
        let served: u32 = movers.into_iter().map(|mover| mover.join().expect("see above")).sum();
        assert!(served < 20_000, "seed {seed}: the server has stopped in the middle");
    }
}

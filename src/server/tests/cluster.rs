//! Several processes with a fixed list of peers: any of them answers for any key.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use larder_protocol::{Command, Expiry, Status};
use larder_testkit::Server;

use crate::support::{self, Client, get, set};

/// How long the nodes may take to notice what has happened to one of them.
const PATIENCE: Duration = Duration::from_secs(20);

/// Addresses for so many nodes, and the list of them. Each call has an address of the loopback network for itself, so that
/// nobody takes a port between here and the start of the node.
pub(crate) fn peers(count: usize) -> (Vec<SocketAddr>, String) {
    static CALLS: AtomicU8 = AtomicU8::new(100);
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, CALLS.fetch_add(1, Ordering::Relaxed), high, low.clamp(1, 254));
    let free: Vec<_> = (0..count).map(|_| TcpListener::bind((address, 0)).expect("a free port")).collect();
    let addresses: Vec<_> = free.iter().map(|listener| listener.local_addr().expect("it is bound")).collect();
    let entries = addresses.iter().enumerate().map(|(number, address)| format!("n{number}={address}"));
    let list = entries.collect::<Vec<_>>().join(",");
    (addresses, list)
}

pub(crate) fn start(address: SocketAddr, peers: &str, flags: &[&str]) -> Server {
    let flags: Vec<&str> = [&["--peers", peers, "--shards", "2", "--memory", "64MiB"], flags].concat();
    Server::start_binary_on(&address.to_string(), env!("CARGO_BIN_EXE_larder").into(), &flags)
}

/// Asks again while the node of the key cannot be reached.
fn call_patiently(client: &mut Client, command: Command<'_>) -> support::Answer {
    let begun = Instant::now();
    loop {
        let answer = client.call(command);
        if answer.status != Status::Unavailable {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn any_node_answers_for_any_key() {
    let (addresses, list) = peers(3);
    let nodes: Vec<Server> = addresses.iter().map(|address| start(*address, &list, &[])).collect();
    let mut clients: Vec<Client> = nodes.iter().map(|node| Client::connect(node.address())).collect();
    let keys: Vec<String> = (0..300).map(|number| format!("key {number}")).collect();
    for (number, key) in keys.iter().enumerate() {
        let stored = call_patiently(&mut clients[number % 3], set(key.as_bytes(), key.as_bytes()));
        assert_eq!(stored.status, Status::Ok, "{stored:?}");
    }
    for (number, key) in keys.iter().enumerate() {
        let found = clients[(number + 1) % 3].call(get(key.as_bytes()));
        assert_eq!(found.value(), Some(key.as_bytes()));
    }
    let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
    for client in &mut clients {
        match client.call_many(&keys, |keys| Command::GetMany { keys }).result {
            support::Result::Values(values) => {
                assert!(values.iter().zip(&keys).all(|(value, key)| value.as_deref() == Ok(key)));
            }
            other => panic!("{other:?}"),
        }
    }
    // Every entry is at one node alone, and each has about a third.
    let entries: Vec<u64> = clients.iter_mut().map(|client| client.stats().groups[0].entries).collect();
    assert_eq!(entries.iter().sum::<u64>(), 300, "{entries:?}");
    assert!(entries.iter().all(|entries| (60..140).contains(entries)), "{entries:?}");
    drop(clients);
    for node in nodes {
        assert!(node.stop().success(), "links keep no node from stopping");
    }
}

#[test]
fn a_node_that_is_killed_is_missed_at_its_own_keys_alone_and_found_again() {
    let (addresses, list) = peers(2);
    let node = start(addresses[0], &list, &[]);
    let other = start(addresses[1], &list, &[]);
    let mut client = Client::connect(node.address());
    let keys: Vec<String> = (0..100).map(|number| format!("key {number}")).collect();
    for key in &keys {
        assert_eq!(call_patiently(&mut client, set(key.as_bytes(), b"v")).status, Status::Ok);
    }
    let theirs = Client::connect(other.address()).stats().groups[0].entries as usize;
    assert!((20..80).contains(&theirs));
    other.signal("KILL");
    drop(other);
    let begun = Instant::now();
    let (mut found, mut refused) = (0, 0);
    for key in &keys {
        match client.call(get(key.as_bytes())).status {
            Status::Ok => found += 1,
            Status::Unavailable => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    let took = begun.elapsed();
    assert_eq!((found, refused), (100 - theirs, theirs), "nobody else is concerned");
    assert!(took < Duration::from_secs(10), "refusals do not wait for deadlines: {took:?}");
    let increment = Command::Increment { key: b"n", delta: 1, initial: Some(1), expiry: Expiry::Never };
    assert!(matches!(client.call(increment).status, Status::Ok | Status::Unavailable));
    // It starts anew, and is found without anybody being told.
    let other = start(addresses[1], &list, &[]);
    for key in &keys {
        let answer = call_patiently(&mut client, set(key.as_bytes(), b"w"));
        assert_eq!(answer.status, Status::Ok, "{answer:?}");
    }
    assert_eq!(Client::connect(other.address()).stats().groups[0].entries as usize, theirs);
}

#[test]
fn a_node_that_stands_still_delays_nobody_beyond_the_deadline() {
    let (addresses, list) = peers(2);
    let node = start(addresses[0], &list, &["--request-timeout", "300ms"]);
    let other = start(addresses[1], &list, &[]);
    let mut client = Client::connect(node.address());
    let keys: Vec<String> = (0..40).map(|number| format!("key {number}")).collect();
    for key in &keys {
        assert_eq!(call_patiently(&mut client, set(key.as_bytes(), b"v")).status, Status::Ok);
    }
    other.signal("STOP");
    for key in &keys {
        let begun = Instant::now();
        let status = client.call(get(key.as_bytes())).status;
        assert!(matches!(status, Status::Ok | Status::DeadlineExceeded | Status::Unavailable), "{status:?}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{status:?} after {:?}", begun.elapsed());
    }
    other.signal("CONT");
    let begun = Instant::now();
    for key in &keys {
        // Late answers are nobody's.
        while client.call(get(key.as_bytes())).status != Status::Ok {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn nodes_with_different_lists_do_not_serve_each_other() {
    let (addresses, list) = peers(2);
    let node = start(addresses[0], &list, &[]);
    let _other = start(addresses[1], &format!("{list}*2"), &[]);
    let mut client = Client::connect(node.address());
    let refused = (0..100).filter(|number: &u32| {
        let answer = client.call(set(&number.to_le_bytes(), b"v"));
        assert!(matches!(answer.status, Status::Ok | Status::Unavailable), "{answer:?}");
        answer.status == Status::Unavailable
    });
    assert!(refused.count() > 20);
}

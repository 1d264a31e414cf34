//! What nodes say of one key, whoever is asked, also while slots move.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use larder_protocol::{Command, NodeAlteration, Status};
use larder_testkit::{Etcd, Server};

use crate::etcd::{patiently, start, wait_for_ring};
use crate::support::{Client, Result, get, scaled, set};

const KEYS: usize = 500;
const WRITERS: usize = 64;
/// Sets of each writer.
const WRITES: usize = 1_000;
/// How often shares are changed.
const CHANGE_INTERVAL: Duration = Duration::from_millis(200);

fn three(etcd: &Etcd) -> [Server; 3] {
    let servers = ["a", "b", "c"].map(|id| start(etcd, id, &[]));
    wait_for_ring(&mut Client::connect(servers[0].address()), &[("a", 1024), ("b", 1024), ("c", 1024)]);
    servers
}

#[test]
fn what_is_set_at_one_node_is_read_at_another_and_nothing_older() {
    let etcd = Etcd::start();
    let [a, b, c] = three(&etcd);
    let mut clients = [Client::connect(b.address()), Client::connect(c.address())];
    // The value of each key, and how many gets found nothing.
    let mut rounds = |count: usize| {
        let [at_b, at_c] = &mut clients;
        let mut missed = 0;
        for round in 0..count {
            let (key, value) = (format!("key {}", round % KEYS), round.to_string());
            let stored = patiently(at_b, set(key.as_bytes(), value.as_bytes()));
            assert_eq!(stored.status, Status::Ok, "{stored:?}");
            let found = patiently(at_c, get(key.as_bytes()));
            match found.value() {
                Some(found) => assert_eq!(found, value.as_bytes(), "round {round}, {key}"),
                None => missed += 1,
            }
        }
        missed
    };
    let count = scaled(100_000) / 2;
    assert_eq!(rounds(count), 0, "no slot moves, and there is room");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let changes = scope.spawn(|| move_slots(a.address(), &is_over));
        let over = Over(&is_over);
        let missed = rounds(count);
        drop(over);
        let changes = changes.join().expect("shares can be changed");
        println!("{missed} of {count} gets found nothing, with {changes} changes of the ring");
        assert!(changes > 1 && missed < count / 10, "{missed} of {count} with {changes} changes");
    });
}

/// Says that it is over when it goes, also where an assertion fails: nobody is to be waited for in vain.
struct Over<'o>(&'o AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Changes shares again and again; how often.
fn move_slots(address: SocketAddr, is_over: &AtomicBool) -> usize {
    let mut client = Client::connect(address);
    let mut changes = 0;
    while !is_over.load(Ordering::Relaxed) {
        let weight = Some(["0.5", "1"][changes % 2]);
        let node = ["b", "c"][changes / 2 % 2];
        let altered = patiently(&mut client, Command::AlterNode(NodeAlteration { node, weight, drain: None }));
        assert_eq!(altered.status, Status::Ok, "{altered:?}");
        changes += 1;
        thread::sleep(CHANGE_INTERVAL);
    }
    changes
}

#[test]
fn of_many_writers_the_one_with_the_highest_version_is_believed_by_all() {
    let etcd = Etcd::start();
    let servers = three(&etcd);
    let writes = scaled(WRITES);
    let acknowledged: BTreeMap<u64, String> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let address = servers[writer % 3].address();
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    let write = |number| {
                        let value = format!("{writer}, {number}");
                        match patiently(&mut client, set(b"one key", value.as_bytes())).result {
                            Result::Stored(version) => (version, value),
                            other => panic!("{other:?}"),
                        }
                    };
                    let written: Vec<_> = (0..writes).map(write).collect();
                    assert!(written.is_sorted_by(|(first, _), (second, _)| first < second), "versions grow");
                    written
                })
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().expect("it is answered")).collect()
    });
    assert_eq!(acknowledged.len(), WRITERS * writes, "no version is given twice");
    let (_, last) = acknowledged.last_key_value().expect("some");
    for server in &servers {
        let begun = Instant::now();
        let found = patiently(&mut Client::connect(server.address()), get(b"one key"));
        assert_eq!(found.value(), Some(last.as_bytes()), "after {:?}", begun.elapsed());
    }
}

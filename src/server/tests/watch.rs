//! Watches of a running server: those that read, those that do not, and those that go.

use std::time::{Duration, Instant};

use larder_protocol::native::generated::RemovalReason;
use larder_protocol::{Command, Condition, Expiry, Status, Write};

use crate::support::{Client, Result, Server, resident_bytes, server, set};

/// How long something may take that comes by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that watches the default group, after the first answer.
fn watch(server: &Server) -> Client {
    try_watch(server).expect("there is room for a watch")
}

fn try_watch(server: &Server) -> Option<Client> {
    let mut client = Client::connect(server.address());
    let begun = client.call(Command::Watch);
    match (begun.status, begun.result) {
        (Status::Ok, Result::Removals(removals)) => {
            assert!(removals.removals.is_empty() && removals.missed == 0, "{removals:?}");
            Some(client)
        }
        (Status::Overloaded, Result::Nothing) => {
            assert!(begun.message.contains("16 watchers") && begun.retry_after_ms > 0, "{}", begun.message);
            None
        }
        other => panic!("{other:?}"),
    }
}

/// The next keys that left with their reasons, and how many are missed behind them.
fn next(watch: &mut Client) -> (Vec<(Vec<u8>, RemovalReason)>, u64) {
    let answer = watch.answer();
    let Result::Removals(removals) = answer.result else { panic!("{answer:?}") };
    let removed = removals.removals.into_iter().map(|removed| {
        let reason = removed.reason();
        (removed.key, reason)
    });
    (removed.collect(), removals.missed)
}

/// So many sets of one key, pipelined, all of which succeed.
fn overwrite(client: &mut Client, key: &[u8], times: usize) {
    const AT_ONCE: usize = 500;
    for _ in 0..times / AT_ONCE {
        let mut bytes = Vec::new();
        for _ in 0..AT_ONCE {
            client.encode(&mut bytes, set(key, b"v"));
        }
        client.send_bytes(&bytes);
        (0..AT_ONCE).for_each(|_| assert_eq!(client.answer().status, Status::Ok));
    }
}

#[test]
fn who_does_not_read_slows_nobody_and_is_told_what_was_missed() {
    let server = server(&["--shards", "1", "--memory", "32MiB"]);
    let mut slow = watch(&server);
    let mut reading = watch(&server);
    let mut client = Client::connect(server.address());
    // 60 MB of keys: more than any socket takes in.
    let (key, times) = ([b'k'; 2_000], 30_000);
    client.call(set(&key, b"v"));
    for _ in 0..20 {
        overwrite(&mut client, &key[..200], 500);
        client.call(Command::Delete { key: &key[..200], version: 0 });
        let mut told = 0;
        while told < 500 {
            let (removed, missed) = next(&mut reading);
            assert_eq!(missed, 0, "it reads");
            told += removed.len();
        }
    }
    // Nor does it any more from here on, and then it goes.
    let before = resident_bytes(server.pid());
    overwrite(&mut client, &key, times);
    drop(reading);
    assert!(resident_bytes(server.pid()) < before + (8 << 20), "what a watch holds is bounded");
    let (mut told, mut missed) = (0, 0);
    let all = 20 * 500 + times as u64;
    while told + missed < all {
        let (removed, more) = next(&mut slow);
        (told, missed) = (told + removed.len() as u64, missed + more);
    }
    assert_eq!(told + missed, all, "each is told or counted, once");
    assert!(missed > 0 && told > 0, "{told} told and {missed} missed");
    client.call(Command::Delete { key: &key, version: 0 });
    assert_eq!(next(&mut slow), (vec![(key.to_vec(), RemovalReason::Deleted)], 0), "and it goes on");
    assert!(server.stop().success(), "a watch holds nobody up");
    assert!(slow.is_closed());
}

#[test]
fn what_expires_is_told_although_nobody_asks_for_it_and_silence_is_no_reason_to_end() {
    let server = server(&["--shards", "1", "--memory", "32MiB", "--idle-timeout", "300ms"]);
    let mut watch = watch(&server);
    let begun = Instant::now();
    let expiry = Expiry::After(1_000);
    let write = Write { key: b"short", value: b"v", flags: 0, condition: Condition::Always, expiry };
    Client::connect(server.address()).call(Command::Set(write));
    assert_eq!(next(&mut watch), (vec![(b"short".to_vec(), RemovalReason::Expired)], 0));
    assert!((Duration::from_millis(990)..PATIENCE).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert!(server.stop().success());
}

/// Each entry of an invalidated group is told once, although nobody asks for it; what is stored afterwards stays.
#[test]
fn what_is_invalidated_is_told_once_for_each_entry() {
    let server = server(&["--shards", "1", "--memory", "32MiB"]);
    let mut watch = watch(&server);
    let mut client = Client::connect(server.address());
    let keys: Vec<Vec<u8>> = (0..1_000).map(|number| format!("old:{number}").into_bytes()).collect();
    for key in &keys {
        assert_eq!(client.call(set(key, b"v")).status, Status::Ok);
    }
    assert_eq!(client.call(Command::Invalidate).status, Status::Ok);
    assert_eq!(client.call(set(b"new", b"v")).status, Status::Ok);
    let mut told = Vec::new();
    while told.len() < keys.len() {
        let (removals, missed) = next(&mut watch);
        assert_eq!(missed, 0);
        for (key, reason) in removals {
            assert_eq!(reason, RemovalReason::Invalidated, "{}", String::from_utf8_lossy(&key));
            told.push(key);
        }
    }
    told.sort_unstable();
    let mut expected = keys;
    expected.sort_unstable();
    assert_eq!(told, expected);
    assert_eq!(client.call(Command::Delete { key: b"new", version: 0 }).status, Status::Ok);
    assert_eq!(next(&mut watch), (vec![(b"new".to_vec(), RemovalReason::Deleted)], 0), "nothing else was told");
    assert!(server.stop().success());
}

#[test]
fn watches_that_are_gone_make_room_for_others() {
    let server = server(&["--shards", "1", "--memory", "32MiB"]);
    for round in 0..3 {
        let begun = Instant::now();
        let mut watches = Vec::new();
        // Those of the last round go when the server learns of it.
        while watches.len() < 16 {
            watches.extend(try_watch(&server));
            assert!(begun.elapsed() < PATIENCE, "round {round}: {} watches begin", watches.len());
        }
        assert!(try_watch(&server).is_none(), "round {round}: one too many");
        let mut client = Client::connect(server.address());
        client.call(set(b"k", b"v"));
        client.call(Command::Delete { key: b"k", version: 0 });
        for watch in &mut watches {
            assert_eq!(next(watch).0, [(b"k".to_vec(), RemovalReason::Deleted)], "round {round}");
        }
    }
    assert!(server.stop().success());
}

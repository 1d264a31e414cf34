//! Groups whose missing values come from an HTTP server: one request for all who ask, and bounds where it does not answer.

use std::fmt::Write as _;
use std::net::Shutdown;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use larder_protocol::{Command, Status};
use larder_testkit::{Etcd, Origin, OriginAnswer, Server};
use tempfile::TempDir;

use crate::etcd::{start, wait_for_ring};
use crate::support::{self, Client, SHARDS, get, server, set};

/// How long an event may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file that gives the default group this origin.
fn file(folder: &TempDir, origin: &Origin, further: &str) -> PathBuf {
    let mut text = String::from("[[group]]\nname = 'default'\n[group.origin]\n");
    writeln!(text, "url = '{}'\n{further}", origin.url()).expect("a string takes everything");
    let path = folder.path().join("larder.toml");
    std::fs::write(&path, text).expect("a file in a folder of our own");
    path
}

fn with_origin(shards: &str, origin: &Origin, further: &str) -> (Server, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = file(&folder, origin, further);
    let path = path.to_str().expect("UTF-8");
    (server(&["--config", path, "--shards", shards, "--memory", "64MiB"]), folder)
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "never so: {what}");
        thread::sleep(Duration::from_millis(2));
    }
    println!("{what} after {:?}", begun.elapsed());
}

#[test]
fn what_is_missing_is_loaded_and_kept() {
    for shards in SHARDS {
        let origin = Origin::start(|path, before| match path {
            "/none" => OriginAnswer::status(404),
            "/wrong" => OriginAnswer::status(403),
            "/short" => OriginAnswer {
                headers: "Cache-Control: max-age=1\r\n".into(),
                ..OriginAnswer::value(format!("short {before}"))
            },
            "/unkept" => {
                OriginAnswer { headers: "Cache-Control: no-store\r\n".into(), ..OriginAnswer::value("unkept") }
            }
            path => OriginAnswer::value(format!("{path} {before}")),
        });
        let (server, _folder) = with_origin(shards, &origin, "negative_ttl = '300ms'");
        let mut client = Client::connect(server.address());
        for _ in 0..3 {
            assert_eq!(client.call(get(b"ann")).value(), Some(&b"/ann 0"[..]));
            assert_eq!(client.call(get(b"none")).status, Status::NotFound);
            assert_eq!(client.call(get(b"unkept")).value(), Some(&b"unkept"[..]));
            let failed = client.call(get(b"wrong"));
            assert_eq!(failed.status, Status::OriginFailed);
            assert!(failed.message.ends_with("it has answered 403 Forbidden"), "{}", failed.message);
        }
        assert_eq!((origin.count("/ann"), origin.count("/none")), (1, 1));
        assert_eq!((origin.count("/unkept"), origin.count("/wrong")), (3, 3), "what is not kept");

        // Times to live, and that what is nowhere is asked for again.
        assert_eq!(client.call(get(b"short")).value(), Some(&b"short 0"[..]));
        until("it has expired", || client.call(get(b"short")).value() == Some(b"short 1"));
        until("it was asked for again", || {
            assert_eq!(client.call(get(b"none")).status, Status::NotFound);
            origin.count("/none") == 2
        });

        // Many keys.
        let names: Vec<String> = (0..50).map(|number| format!("many {number}")).collect();
        let keys: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        for _ in 0..2 {
            let answer = client.call_many(&keys, |keys| Command::GetMany { keys });
            let support::Result::Values(values) = answer.result else { panic!("{answer:?}") };
            for (number, value) in values.into_iter().enumerate() {
                assert_eq!(value, Ok(format!("/many%20{number} 0").into_bytes()));
            }
        }
        let stats = client.stats();
        let sum =
            |of: fn(&larder_protocol::native::generated::ShardStats) -> u64| stats.shards.iter().map(of).sum::<u64>();
        assert_eq!(sum(|shard| shard.loads), origin.total() as u64);
        assert_eq!((sum(|shard| shard.load_failures), sum(|shard| shard.load_waits)), (3, 0));
        // What clients write counts.
        assert_eq!(client.call(set(b"ann", b"written")).status, Status::Ok);
        assert_eq!(client.call(get(b"ann")).value(), Some(&b"written"[..]));
        client.call(Command::Delete { key: b"ann", version: 0 });
        assert_eq!(client.call(get(b"ann")).value(), Some(&b"/ann 1"[..]));
        client.call(Command::Invalidate);
        assert_eq!(client.call(get(b"ann")).value(), Some(&b"/ann 2"[..]));
    }
}

#[test]
fn a_load_outlives_who_began_it_and_is_void_after_a_write() {
    for shards in SHARDS {
        let origin = Origin::start(|path, before| {
            OriginAnswer::value(format!("{path} {before}")).after(Duration::from_millis(300))
        });
        let (server, _folder) = with_origin(shards, &origin, "");
        let mut other = Client::connect(server.address());
        {
            let mut first = Client::connect(server.address());
            first.send(get(b"ann"));
            until("it is asked", || origin.count("/ann") == 1);
            first.stream.shutdown(Shutdown::Both).expect("it is open");
        }
        assert_eq!(other.call(get(b"ann")).value(), Some(&b"/ann 0"[..]));
        assert_eq!(origin.count("/ann"), 1, "the same load");

        let mut before = Client::connect(server.address());
        before.send(get(b"bob"));
        until("it is asked", || origin.count("/bob") == 1);
        assert_eq!(other.call(Command::Delete { key: b"bob", version: 0 }).status, Status::NotFound);
        let mut after = Client::connect(server.address());
        after.send(get(b"bob"));
        assert_eq!(before.answer().value(), Some(&b"/bob 0"[..]), "it was asked before");
        assert_eq!(after.answer().value(), Some(&b"/bob 1"[..]), "loaded again");
        assert_eq!(other.call(get(b"bob")).value(), Some(&b"/bob 1"[..]));
    }
}

/// 10^4 gets of a cold key over three nodes cost one request. So also if a node is not the key's, and each of its shards.
#[test]
fn ten_thousand_cold_gets_over_three_nodes_are_one_request() {
    const GETS: usize = 10_000;
    let origin = Origin::start(|path, _| OriginAnswer::value(path.to_owned()).after(Duration::from_millis(500)));
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().expect("a folder");
    let path = file(&folder, &origin, "timeout = '20s'");
    let flags = ["--config", path.to_str().expect("UTF-8"), "--request-timeout", "20s"];
    let servers = ["a", "b", "c"].map(|id| start(&etcd, id, &flags));
    for server in &servers {
        let mut client = Client::connect(server.address());
        wait_for_ring(&mut client, &[("a", 1024), ("b", 1024), ("c", 1024)]);
    }
    let mut clients: Vec<Client> =
        (0..100).map(|number| Client::connect(servers[number % servers.len()].address())).collect();
    for key in ["ann", "bob", "cat"] {
        let per_client = GETS / clients.len();
        for client in &mut clients {
            let mut bytes = Vec::new();
            for _ in 0..per_client {
                client.encode(&mut bytes, get(key.as_bytes()));
            }
            client.send_bytes(&bytes);
        }
        let mut answered = 0;
        for client in &mut clients {
            for _ in 0..per_client {
                let answer = client.answer();
                assert_eq!(answer.value(), Some(format!("/{key}").as_bytes()), "{answer:?}");
                answered += 1;
            }
        }
        assert_eq!((answered, origin.count(&format!("/{key}"))), (GETS, 1));
    }
}

#[test]
fn a_hung_origin_sees_no_more_than_it_may_and_hits_go_on() {
    let origin = Origin::start(|path, _| match path {
        "/good" => OriginAnswer::value("good"),
        _ => OriginAnswer::status(500).after(PATIENCE),
    });
    let bounds = "timeout = '2s'\nmax_concurrent = 8\nqueue = 16";
    let (server, _folder) = with_origin("2", &origin, bounds);
    let mut hits = Client::connect(server.address());
    assert_eq!(hits.call(get(b"good")).value(), Some(&b"good"[..]));
    let mut misses = Client::connect(server.address());
    let mut bytes = Vec::new();
    for number in 0..200 {
        misses.encode(&mut bytes, get(format!("hung {number}").as_bytes()));
    }
    misses.send_bytes(&bytes);
    until("it hangs", || origin.most_at_once() == 8);
    for _ in 0..1_000 {
        assert_eq!(hits.call(get(b"good")).value(), Some(&b"good"[..]));
    }
    let (mut busy, mut late) = (0, 0);
    for _ in 0..200 {
        let answer = misses.answer();
        match answer.status {
            Status::OriginBusy => {
                assert!(answer.retry_after_ms > 0, "{answer:?}");
                busy += 1;
            }
            Status::DeadlineExceeded | Status::OriginFailed => late += 1,
            _ => panic!("{answer:?}"),
        }
    }
    println!("{busy} were refused, {late} were late");
    assert!(busy >= 200 - 24 && late >= 8, "{busy} were refused, {late} were late");
    assert_eq!(origin.most_at_once(), 8);
}

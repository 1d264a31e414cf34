//! Groups whose missing values come from an HTTP server: one request for all who ask, and bounds where it does not answer.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use larder_protocol::{Command, Status};
use larder_testkit::{Etcd, Origin, OriginAnswer, Secrets, Server};
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

/// What is behind a part of a long GET of memcached goes on when that part was answered with nothing.
#[test]
fn a_long_get_of_absent_keys_is_answered() {
    let origin = Origin::start(|_, _| OriginAnswer::status(404).after(Duration::from_millis(20)));
    for shards in ["1", "2"] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = file(&folder, &origin, "negative_ttl = '1m'");
        let path = path.to_str().expect("UTF-8");
        let options = ["--config", path, "--shards", shards, "--memory", "64MiB", "--memcache", "127.0.0.1:0"];
        let server = server(&options);
        let address = server.ready()["listen"]["memcache"].as_str().expect("it listens").to_owned();
        let mut stream = TcpStream::connect(address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        let keys: String = (0..30).map(|key| format!("{key:0>240} ")).collect();
        let line = format!("get {}\r\nmn\r\n", keys.repeat(20));
        assert!(line.len() > 2 * larder_protocol::memcache::LINE_BYTES_MAX);
        stream.write_all(line.as_bytes()).expect("it reads");
        let mut answer = [0; 9];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"END\r\nMN\r\n");
        assert!(server.stop().success());
    }
}

/// A file for a group whose entries are shown after their time.
fn with_stale(origin: &Origin, windows: &str) -> (Server, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("larder.toml");
    let text = format!("[[group]]\nname = 'default'\n{windows}\n[group.origin]\nurl = '{}'\n", origin.url());
    std::fs::write(&path, text).expect("a file in a folder of our own");
    let path = path.to_str().expect("UTF-8").to_owned();
    (server(&["--config", &path, "--shards", "4", "--memory", "64MiB"]), folder)
}

/// Nobody waits for an origin that takes its time, and it is not asked for what has not changed.
#[test]
fn a_stale_value_is_shown_while_it_is_loaded_anew() {
    let origin = Origin::start(|_, before| match before {
        0 => OriginAnswer { headers: "ETag: \"7\"\r\n".into(), ..OriginAnswer::value("first") },
        1 => OriginAnswer::status(304).after(Duration::from_millis(300)),
        _ => OriginAnswer::value("second").after(Duration::from_millis(300)),
    });
    let (server, _folder) = with_stale(&origin, "ttl = '200ms'\nstale_while_revalidate = '1m'");
    let mut client = Client::connect(server.address());
    assert_eq!(client.call(get(b"ann")).value(), Some(&b"first"[..]));
    thread::sleep(Duration::from_millis(250));
    for round in 1..3 {
        let begun = Instant::now();
        let mut asked = 0;
        // All gets until the load has ended are answered, and the origin is asked once.
        while origin.total() == round || begun.elapsed() < Duration::from_millis(200) {
            assert_eq!(client.call(get(b"ann")).value(), Some(&b"first"[..]));
            asked += 1;
        }
        println!("{asked} gets in {:?}, of which none has waited", begun.elapsed());
        assert_eq!(origin.total(), round + 1);
        thread::sleep(Duration::from_millis(600));
    }
    until("the second value is there", || client.call(get(b"ann")).value() == Some(&b"second"[..]));
    let shards = server_shards(&mut client);
    assert!(shards.iter().map(|shard| shard.stale).sum::<u64>() > 2, "{shards:?}");
    assert!(shards.iter().map(|shard| shard.refreshes).sum::<u64>() >= 2, "{shards:?}");
}

#[test]
fn a_stale_value_is_shown_if_the_origin_fails() {
    let origin =
        Origin::start(|_, before| if before == 0 { OriginAnswer::value("first") } else { OriginAnswer::status(500) });
    let (server, _folder) = with_stale(&origin, "ttl = '100ms'\nstale_if_error = '2s'");
    let mut client = Client::connect(server.address());
    assert_eq!(client.call(get(b"ann")).value(), Some(&b"first"[..]));
    let begun = Instant::now();
    thread::sleep(Duration::from_millis(150));
    let mut shown = 0;
    while begun.elapsed() < Duration::from_millis(1_500) {
        assert_eq!(client.call(get(b"ann")).value(), Some(&b"first"[..]));
        shown += 1;
    }
    println!("shown {shown} times while the origin failed {} times", origin.total() - 1);
    until("it fails", || matches!(client.call(get(b"ann")).status, Status::OriginFailed | Status::OriginBusy));
}

fn server_shards(client: &mut Client) -> Vec<larder_protocol::native::generated::ShardStats> {
    match client.call(Command::Stats).result {
        support::Result::Stats(stats) => stats.shards,
        other => panic!("{other:?}"),
    }
}

/// A server that only who trusts its authority believes.
#[test]
fn an_origin_may_be_asked_over_tls() {
    const SERVER: &str = "
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = ('over TLS: ' + self.path).encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *all): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
";
    let secrets = Secrets::new();
    let mut python = std::process::Command::new("python3")
        .args(["-c", SERVER])
        .args([secrets.path("server.pem"), secrets.path("server.key")])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let mut port = String::new();
    let output = python.stdout.take().expect("it is piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut port).expect("it says its port");
    let url = format!("https://127.0.0.1:{}/{{key}}", port.trim());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("larder.toml");
    std::fs::write(&path, format!("[[group]]\nname = 'default'\n[group.origin]\nurl = '{url}'\n")).expect("a file");
    let start = |authority: Option<PathBuf>| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_larder"));
        if let Some(path) = authority {
            command.env("SSL_CERT_FILE", path);
        }
        let path = path.to_str().expect("UTF-8");
        Server::start_command("127.0.0.1:0", command, &["--config", path, "--shards", "1", "--memory", "64MiB"])
    };
    let trusting = start(Some(secrets.path("authority.pem")));
    let answer = Client::connect(trusting.address()).call(get(b"ann"));
    assert_eq!(answer.value(), Some(&b"over TLS: /ann"[..]), "{answer:?}");
    let other = Secrets::new();
    let doubting = start(Some(other.path("authority.pem")));
    let answer = Client::connect(doubting.address()).call(get(b"ann"));
    assert_eq!(answer.status, Status::OriginFailed, "{answer:?}");
    println!("{}", answer.message);
    python.kill().expect("it runs");
    python.wait().expect("it ends");
}

//! Clients that people have, against Larder and against the servers that they were written for: the same assertions for both.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use larder_testkit::Server;
use tempfile::TempDir;

use crate::support::server;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that Larder is compared with.
struct Reference {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Reference {
    /// `redis-server` on some free port.
    fn redis() -> Self {
        Self::start("redis-server", |port| {
            ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"].map(str::to_owned).to_vec()
        })
    }

    /// `memcached` on some free port.
    fn memcached() -> Self {
        Self::start("memcached", |port| {
            ["-l", "127.0.0.1", "-p", port, "-U", "0", "-m", "64", "-u", "nobody"].map(str::to_owned).to_vec()
        })
    }

    fn start(program: &str, arguments: impl Fn(&str) -> Vec<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let mut command = Command::new(program);
        command.args(arguments(&port.to_string()));
        let child = command.current_dir(folder.path()).stdout(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|why| panic!("{program} does not run ({why}): `make test` brings it"));
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "{program} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, port, _folder: folder }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(dialect: &str, shards: &str) -> (Server, u16) {
    let flag = format!("--{dialect}");
    // As large as memcached takes values.
    let server = server(&[&flag, "127.0.0.1:0", "--shards", shards, "--value-max", "1MiB"]);
    let address = server.ready()["listen"][dialect].as_str().expect("it speaks it").to_owned();
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    (server, port)
}

/// Runs a script with Debian's own Python.
fn run(script: &str, arguments: &[&str]) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/conformance").join(script);
    let output = Command::new("/usr/bin/python3").arg(path).args(arguments).output().expect("python3 is installed");
    let (printed, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{script} {arguments:?}: {printed}");
    assert!(output.status.success(), "{script} {arguments:?}: {printed}\n{wrong}");
}

#[test]
fn random_commands_are_answered_as_redis_does() {
    let reference = Reference::redis();
    let reference_port = reference.port.to_string();
    for (shards, version) in [("1", "2"), ("3", "3")] {
        let (server, port) = start("resp", shards);
        run("differential.py", &[&port.to_string(), &reference_port, "--commands", "10000", "--version", version]);
        assert!(server.stop().success());
    }
}

#[test]
fn redis_py_does_all_that_is_offered() {
    let reference = Reference::redis();
    let (server, port) = start("resp", "2");
    for port in [reference.port, port].map(|port| port.to_string()) {
        run("redis_py.py", &[&port]);
        run("redis_py.py", &[&port, "--asyncio"]);
    }
    assert!(server.stop().success());
}

#[test]
fn random_lines_are_answered_as_memcached_does() {
    let reference = Reference::memcached();
    for shards in ["1", "3"] {
        let (server, port) = start("memcache", shards);
        let ports = [port, reference.port].map(|port| port.to_string());
        run("differential_memcache.py", &[&ports[0], &ports[1], "--commands", "3000"]);
        assert!(server.stop().success());
    }
}

#[test]
fn clients_of_memcached_do_all_that_is_offered() {
    let reference = Reference::memcached();
    let (server, port) = start("memcache", "2");
    for port in [reference.port, port].map(|port| port.to_string()) {
        for module in ["pymemcache", "memcache"] {
            run("memcache_py.py", &[&port, "--module", module]);
        }
        let servers = format!("--servers=127.0.0.1:{port}");
        let ping = Command::new("memcping").arg(&servers).status();
        assert!(ping.expect("libmemcached-tools is installed: `make test` brings it").success());
    }
    assert!(server.stop().success());
}

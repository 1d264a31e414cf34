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
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let child = command.current_dir(folder.path()).stdout(Stdio::null()).spawn();
        let child = child.expect("redis-server is installed: `make test` brings it");
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "redis-server does not listen");
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

fn start(shards: &str) -> (Server, u16) {
    let server = server(&["--resp", "127.0.0.1:0", "--shards", shards]);
    let address = server.ready()["listen"]["resp"].as_str().expect("it speaks RESP").to_owned();
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
        let (server, port) = start(shards);
        run("differential.py", &[&port.to_string(), &reference_port, "--commands", "10000", "--version", version]);
        assert!(server.stop().success());
    }
}

#[test]
fn redis_py_does_all_that_is_offered() {
    let reference = Reference::redis();
    let (server, port) = start("2");
    for port in [reference.port, port].map(|port| port.to_string()) {
        run("redis_py.py", &[&port]);
        run("redis_py.py", &[&port, "--asyncio"]);
    }
    assert!(server.stop().success());
}

//! Throw-away servers for tests: real `larder` and etcd processes on loopback with ports of their own, gone when the
//! handle is dropped. A dependency of tests and benchmarks only.
//!
//! It may not know what a test asserts, and never touches a process that it did not start.
#![forbid(unsafe_code)]

mod etcd;
mod origin;
mod proxy;
mod secrets;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub use etcd::Etcd;
pub use origin::{Answer as OriginAnswer, Origin};
pub use proxy::Proxy;
pub use secrets::Secrets;
use serde_json::Value;

/// How long a server may take from its start to its ready line.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may take from SIGTERM to its exit, before it is killed and the test fails.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How often an awaited event is looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A running `larder serve`.
#[derive(Debug)]
pub struct Server {
    child: Child,
    ready: Value,
    native: SocketAddr,
}

impl Server {
    /// Starts `larder serve --listen 127.0.0.1:0` with `arguments` behind, and waits until it is ready.
    ///
    /// # Panics
    /// If the binary is not built, or the server ends or stays silent instead of getting ready: with what it printed.
    pub fn start(arguments: &[&str]) -> Server {
        Self::start_binary(binary("larder"), arguments)
    }

    /// [`Server::start`] with the path of the binary, for the package that builds it.
    pub fn start_binary(binary: PathBuf, arguments: &[&str]) -> Server {
        Self::start_binary_on("127.0.0.1:0", binary, arguments)
    }

    /// [`Server::start_binary`] on an address of the test's choice.
    pub fn start_binary_on(address: &str, binary: PathBuf, arguments: &[&str]) -> Server {
        Self::start_command(address, Command::new(binary), arguments)
    }

    /// [`Server::start_binary_on`] by a command that runs the binary in surroundings of the test's choice, and passes on
    /// the arguments that come behind its own.
    pub fn start_command(address: &str, mut command: Command, arguments: &[&str]) -> Server {
        // There is one default address for each of these, and tests run side by side.
        let off = ["--resp", "--memcache", "--http"].into_iter().filter(|flag| !arguments.contains(flag));
        let mut child = command
            .args(["serve", "--listen", address])
            .args(off.flat_map(|flag| [flag, "off"]))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", command.get_program().display()));
        let line = ready_line(&mut child);
        let ready: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("the ready line is no JSON ({error}): {line}"));
        let native = ready["listen"]["native"]
            .as_str()
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("the ready line names no native address: {line}"));
        Server { child, ready, native }
    }

    /// The address of the native protocol.
    pub fn address(&self) -> SocketAddr {
        self.native
    }

    /// The ready line as the server printed it.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// The process id, to read `/proc` by or to send a signal to.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "cannot send {name} to the server, pid {}", self.pid());
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for the end, whatever causes it.
    ///
    /// # Panics
    /// If the server does not end within a minute.
    pub fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            assert!(begun.elapsed() < STOP_TIMEOUT, "the server, pid {}, does not end", self.pid());
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Where cargo has put a program of this workspace: beside the test that runs, two folders up.
///
/// # Panics
/// If it is not there, naming the command that builds it.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile_dir = test.ancestors().nth(2).expect("a test lies in target/<profile>/deps");
    let path = profile_dir.join(name);
    assert!(path.is_file(), "{} is not built; run `cargo build --workspace` first (make test does)", path.display());
    path
}

/// The first line of standard output. What the server says on standard error goes to the test's own, so that a
/// failed test shows it.
fn ready_line(child: &mut Child) -> String {
    let mut stderr = child.stderr.take().expect("standard error is piped");
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stderr.read(&mut buffer) {
            eprint!("{}", String::from_utf8_lossy(&buffer[..read]));
        }
    });
    let stdout = child.stdout.take().expect("standard output is piped");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines();
        if let Some(Ok(line)) = lines.next() {
            let _ = sender.send(line);
        }
        // Read on, so that the server never blocks on a full pipe.
        lines.for_each(drop);
    });
    receiver.recv_timeout(READY_TIMEOUT).unwrap_or_else(|_| {
        let _ = child.kill();
        panic!("the server was not ready within {READY_TIMEOUT:?}; it ended with {:?}", child.wait())
    })
}

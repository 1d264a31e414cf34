//! The program against a real server.

mod cluster;
mod commands;
mod exits;
mod groups;
mod json;
mod watch;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, Weak};

use larder_testkit::Server;

/// A test's hold on the server that tests share while they run side by side. It ends with the last of them.
struct Cli(Arc<Server>);

impl Cli {
    fn start() -> Cli {
        static SERVER: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SERVER.lock().expect("no server failed to start");
        let server =
            shared.upgrade().unwrap_or_else(|| Arc::new(Server::start(&["--shards", "2", "--memory", "64MiB"])));
        *shared = Arc::downgrade(&server);
        Cli(server)
    }

    fn address(&self) -> String {
        self.0.address().to_string()
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.run_with_input(arguments, b"")
    }

    fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Run {
        run(program().args(["--addr", &self.address()]).args(arguments), input)
    }
}

fn program() -> Command {
    Command::new(Path::new(env!("CARGO_BIN_EXE_larder-cli")))
}

/// What a run of the program came to.
struct Run {
    exit: i32,
    out: Vec<u8>,
    err: String,
}

impl Run {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("text")
    }

    #[track_caller]
    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.out).unwrap_or_else(|error| panic!("{error}: {:?} {}", self.text(), self.err))
    }

    #[track_caller]
    fn exits(self, exit: i32) -> Self {
        assert_eq!(self.exit, exit, "standard error: {}", self.err);
        self
    }
}

fn run(command: &mut Command, input: &[u8]) -> Run {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A program that does not read its input is no reason to fail here.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the program ends");
    feeder.join().expect("the feeder ends");
    let exit = status.code().unwrap_or_else(|| panic!("ended by a signal: {status}"));
    Run { exit, out: stdout, err: String::from_utf8_lossy(&stderr).into_owned() }
}

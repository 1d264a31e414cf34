//! A server whose wall clock somebody sets: nothing expires or stays because of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::{Duration, Instant};

use larder_protocol::{Command, Condition, Expiry, Write};
use larder_testkit::Server;
use tempfile::TempDir;

use crate::support::{Client, Result, get};

/// What reads it, in place of the C library's own.
const LIBRARY: &str = "wall_clock.so";
const HOUR_S: i64 = 3600;
/// Longer than this test takes, and much shorter than an hour.
const TTL_MS: u64 = 10 * 60 * 1000;
/// How long something may take that takes a moment.
const PATIENCE: Duration = Duration::from_secs(20);

/// A wall clock that can be set, for servers that are started with it.
struct WallClock {
    folder: TempDir,
}

impl WallClock {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wall_clock.c");
        let library = folder.path().join(LIBRARY);
        let compiled = Process::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
        assert!(compiled.is_ok_and(|status| status.success()), "cc does not compile it: install gcc");
        let clock = Self { folder };
        clock.set(0);
        clock
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ahead")
    }

    /// Sets it so many seconds ahead of the true time, in one step.
    fn set(&self, ahead_s: i64) {
        let new = self.folder.path().join("new");
        fs::write(&new, ahead_s.to_string()).expect("a file can be written");
        fs::rename(new, self.file()).expect("a file can be renamed");
    }

    /// A server with this clock.
    fn start(&self) -> Server {
        let mut larder = Process::new(env!("CARGO_BIN_EXE_larder"));
        larder.env("WALL_CLOCK", self.file()).env("LD_PRELOAD", self.folder.path().join(LIBRARY));
        Server::start_command("127.0.0.1:0", larder, &["--shards", "2", "--memory", "8MiB"])
    }
}

/// Stores a key and returns what the server's clock says then: versions hold it.
fn store(client: &mut Client, key: &[u8], expiry: Expiry) -> u64 {
    let write = Write { key, value: b"v", flags: 0, condition: Condition::Always, expiry };
    match client.call(Command::Set(write)).result {
        Result::Stored(version) => version >> 20,
        other => panic!("stored: {other:?}"),
    }
}

#[test]
fn a_jump_of_the_wall_clock_changes_nothing() {
    let clock = WallClock::new();
    let server = clock.start();
    let mut client = Client::connect(server.address());
    let start = Instant::now();
    let before_ms = store(&mut client, b"ten minutes", Expiry::After(TTL_MS));
    store(&mut client, b"always", Expiry::Never);
    store(&mut client, b"absolute", Expiry::At(before_ms + TTL_MS));
    let mut last_ms = before_ms;
    for ahead_s in [HOUR_S, -HOUR_S, 365 * 24 * HOUR_S, 0] {
        clock.set(ahead_s);
        // Background steps that believed it would reclaim everything now.
        std::thread::sleep(Duration::from_millis(300));
        for key in [&b"ten minutes"[..], b"always", b"absolute"] {
            assert_eq!(client.call(get(key)).value(), Some(&b"v"[..]), "{ahead_s} s ahead: {key:?}");
        }
        let now_ms = store(&mut client, b"other", Expiry::Default);
        let elapsed_ms = start.elapsed().as_millis() as u64 + 1;
        assert!(
            (last_ms..=before_ms + elapsed_ms + 1).contains(&now_ms),
            "{ahead_s} s ahead: {now_ms} after {last_ms}"
        );
        last_ms = now_ms;
    }

    // What lives for a moment does so however far the clock is set back.
    store(&mut client, b"a moment", Expiry::After(500));
    clock.set(-HOUR_S);
    let begun = Instant::now();
    while client.call(get(b"a moment")).value().is_some() {
        assert!(begun.elapsed() < PATIENCE, "it does not expire");
        std::thread::sleep(Duration::from_millis(10));
    }

    // A server that starts now believes it: so the clock was set indeed.
    let other = clock.start();
    let then_ms = store(&mut Client::connect(other.address()), b"k", Expiry::Default);
    let back_ms = (before_ms + start.elapsed().as_millis() as u64).abs_diff(then_ms);
    assert!(back_ms.abs_diff(HOUR_S as u64 * 1000) < 60_000, "{back_ms} ms behind");
}

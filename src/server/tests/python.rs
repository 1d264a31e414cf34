//! The client in Python, which has nothing but generated protobuf code.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{SHARDS, server};

/// Interpreters that may have the protobuf library: the system's first, for which distributions package it.
const INTERPRETERS: [&str; 2] = ["/usr/bin/python3", "python3"];
const REMEDY: &str = "install the packages python3-protobuf and protobuf-compiler (apt-get install)";

#[test]
fn the_python_client_gets_along_with_every_server() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/python/test_larder_client.py");
    let python = interpreter();
    let protoc = Command::new("protoc").arg("--version").output();
    assert!(protoc.is_ok_and(|output| output.status.success()), "protoc does not run: {REMEDY}");
    for shards in SHARDS {
        let server = server(&["--shards", shards]);
        let output =
            Command::new(&python).arg(&script).arg(server.address().to_string()).output().expect("python runs");
        assert!(
            output.status.success(),
            "{shards} shards: {}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

fn interpreter() -> PathBuf {
    let has_protobuf = |python: &&str| {
        let output = Command::new(python).args(["-c", "import google.protobuf"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let python = INTERPRETERS.into_iter().find(has_protobuf);
    PathBuf::from(python.unwrap_or_else(|| panic!("no Python with google.protobuf among {INTERPRETERS:?}: {REMEDY}")))
}

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

/// It asserts itself that the origin saw one request for each student, and one for the whole burst.
#[test]
fn students_and_scores_are_read_through_a_cluster() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/demo/students.py");
    let binaries = Path::new(env!("CARGO_BIN_EXE_larder")).parent().expect("a folder");
    assert!(binaries.join("larder-cli").exists(), "larder-cli is not built: cargo build --workspace --bins");
    let mut command = Command::new("python3");
    let output = command.arg(&script).arg("--binaries").arg(binaries).args(["--gets", "600"]).output();
    let output = output.unwrap_or_else(|error| panic!("python3 does not run: {error}"));
    let (printed, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{printed}");
    assert!(output.status.success(), "{printed}\n{wrong}");
    assert!(printed.contains("the origin saw 1 request(s)"), "{printed}");
}

fn interpreter() -> PathBuf {
    let has_protobuf = |python: &&str| {
        let output = Command::new(python).args(["-c", "import google.protobuf"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let python = INTERPRETERS.into_iter().find(has_protobuf);
    PathBuf::from(python.unwrap_or_else(|| panic!("no Python with google.protobuf among {INTERPRETERS:?}: {REMEDY}")))
}

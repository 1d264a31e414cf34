//! What people see.

use std::time::Duration;

use crate::{Cli, program, run};

#[test]
fn a_value_comes_back_byte_for_byte() {
    let cli = Cli::start();
    let value: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    cli.run_with_input(&["set", "bytes", "-"], &value).exits(0);
    assert_eq!(cli.run(&["get", "bytes"]).exits(0).out, value, "no line end is added in a pipe");
    let path = std::env::temp_dir().join(format!("larder-cli-test-{}", std::process::id()));
    std::fs::write(&path, &value[..1000]).unwrap();
    cli.run(&["set", "file", "--file", path.to_str().unwrap()]).exits(0);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(cli.run(&["get", "file"]).exits(0).out, &value[..1000]);
    cli.run(&["set", "empty", ""]).exits(0);
    assert_eq!(cli.run(&["get", "empty"]).exits(0).out, b"");
}

#[test]
fn a_key_may_be_any_bytes() {
    let cli = Cli::start();
    use std::os::unix::ffi::OsStrExt;
    let key = std::ffi::OsStr::from_bytes(b"k\xff\xfe");
    let address = cli.address();
    run(program().args(["--addr", &address, "set"]).arg(key).arg("v"), b"").exits(0);
    let found = run(program().args(["--addr", &address, "mget"]).arg(key), b"").exits(0);
    assert_eq!(found.text(), "k\\xff\\xfe\tv\n");
    let found = run(program().args(["--addr", &address, "--json", "get"]).arg(key), b"").exits(0).json();
    assert_eq!((&found["key"], &found["key_encoding"]), (&"a//+".into(), &"base64".into()));
}

#[test]
fn a_key_may_begin_with_a_hyphen() {
    let cli = Cli::start();
    cli.run(&["set", "--", "-k", "--json"]).exits(0);
    assert_eq!(cli.run(&["get", "--", "-k"]).exits(0).text(), "--json");
    cli.run(&["set", "frost", "-5"]).exits(0);
    assert_eq!(cli.run(&["get", "frost"]).exits(0).text(), "-5");
}

#[test]
fn several_keys_are_a_line_each_and_misses_are_told_apart() {
    let cli = Cli::start();
    cli.run(&["mset", "m1", "one", "m2", "two\nlines"]).exits(0);
    let found = cli.run(&["mget", "m2", "m0", "m1"]).exits(1);
    assert_eq!(found.text(), "m2\ttwo\\nlines\nm1\tone\n");
    assert_eq!(found.err, "m0: not found\n");
    let deleted = cli.run(&["del", "m1", "m0"]).exits(1);
    assert_eq!((deleted.text(), &*deleted.err), ("m1\tdeleted\n", "m0: not found\n"));
    cli.run(&["delete", "m2"]).exits(0);
    cli.run(&["mget", "m1", "m2"]).exits(1);
}

#[test]
fn conditions() {
    let cli = Cli::start();
    assert!(cli.run(&["set", "c", "1", "--if-present"]).exits(1).err.contains("not there"));
    let stored = cli.run(&["set", "c", "1", "--if-absent"]).exits(0);
    let version = stored.text().trim().strip_prefix("stored, version ").expect("a version").to_owned();
    assert!(cli.run(&["set", "c", "2", "--if-absent"]).exits(1).err.contains("the key is there"));
    assert!(cli.run(&["del", "c", "--if-version", "1"]).exits(1).err.contains("another version"));
    cli.run(&["set", "c", "2", "--if-version", &version]).exits(0);
    cli.run(&["set", "c", "3", "--if-version", &version]).exits(1);
    assert_eq!(cli.run(&["get", "c"]).text(), "2");
}

#[test]
fn entries_expire_when_they_are_told_to() {
    let cli = Cli::start();
    cli.run(&["set", "t1", "v", "--ttl", "300ms"]).exits(0);
    cli.run(&["set", "t2", "v", "--ttl", "1h"]).exits(0);
    cli.run(&["touch", "t2", "--ttl", "300ms"]).exits(0);
    cli.run(&["set", "t3", "v", "--ttl", "300ms"]).exits(0);
    cli.run(&["touch", "t3", "--no-expiry"]).exits(0);
    std::thread::sleep(Duration::from_millis(400));
    cli.run(&["get", "t1"]).exits(1);
    cli.run(&["get", "t2"]).exits(1);
    cli.run(&["get", "t3"]).exits(0);
    assert_eq!(cli.run(&["touch", "t1", "--ttl", "1s"]).exits(1).err, "t1: not found\n");
}

#[test]
fn numbers_count() {
    let cli = Cli::start();
    assert_eq!(cli.run(&["incr", "n"]).exits(1).err, "n: not found\n");
    assert_eq!(cli.run(&["incr", "n", "--initial", "-10"]).exits(0).text(), "-10\n");
    assert_eq!(cli.run(&["incr", "n"]).exits(0).text(), "-9\n");
    assert_eq!(cli.run(&["incr", "n", "-5"]).exits(0).text(), "-14\n");
    cli.run(&["set", "n", "many"]).exits(0);
    assert!(cli.run(&["incr", "n"]).exits(3).err.contains("no decimal integer"));
}

#[test]
fn what_the_server_is_like() {
    let cli = Cli::start();
    cli.run(&["set", "s", "v"]).exits(0);
    cli.run(&["get", "s"]).exits(0);
    let stats = cli.run(&["stats"]).exits(0);
    for word in ["default", "policy", "hits", "requests", "cross-core"] {
        assert!(stats.text().contains(word), "{word}: {}", stats.text());
    }
    let topology = cli.run(&["topology"]).exits(0);
    for word in ["epoch 1", "100.00", "weight", "serving"] {
        assert!(topology.text().contains(word), "{word}: {}", topology.text());
    }
}

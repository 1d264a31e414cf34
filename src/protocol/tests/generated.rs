//! The committed protobuf code is what `proto/larder.proto` generates.
//! `LARDER_REGENERATE=1 cargo test -p larder-protocol generated` writes it anew.

use std::path::Path;

#[test]
fn committed_code_is_current() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let proto_dir = crate_dir.join("../../proto");
    let committed_path = crate_dir.join("src/native/gen/larder.v1.rs");

    let descriptors = protox::compile(["larder.proto"], [&proto_dir]).expect("proto/larder.proto compiles");
    let out = tempfile::tempdir().expect("a temporary folder");
    prost_build::Config::new().out_dir(out.path()).compile_fds(descriptors).expect("prost generates code");
    let current = std::fs::read_to_string(out.path().join("larder.v1.rs")).expect("the generated file");

    if std::env::var_os("LARDER_REGENERATE").is_some() {
        std::fs::write(&committed_path, &current).expect("src/native/gen is writable");
        return;
    }
    let committed = std::fs::read_to_string(&committed_path).unwrap_or_default();
    assert!(
        committed == current,
        "src/protocol/src/native/gen/larder.v1.rs is not what proto/larder.proto generates; run \
         LARDER_REGENERATE=1 cargo test -p larder-protocol generated"
    );
}

//! What the measurement programs say, held against a real server and against published figures.

mod hit_ratio;
mod memory;
mod pauses;
mod peers;
mod replay;
mod topology;

/// Whether large tests run whole, as `make test-full` has it.
fn full() -> bool {
    std::env::var_os("LARDER_TEST_FULL").is_some_and(|value| value == "1")
}

/// The folder with captured traces. If it is not named, the test that asks is skipped, and says so.
fn traces() -> Option<std::path::PathBuf> {
    let folder = std::env::var_os("LARDER_TRACES").map(std::path::PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: LARDER_TRACES does not name a folder with traces");
    }
    folder
}

//! The rules of this repository that no compiler checks: which crate may depend on which, how long a file may be,
//! where `unsafe` may stand. `cargo test -p larder-tidy` applies them; a finding names the file and the remedy.
//!
//! It may only read: text in, findings out.
#![forbid(unsafe_code)]

pub mod layers;
pub mod sources;

use std::path::{Path, PathBuf};

/// A broken rule: where, what, and what to do.
pub type Finding = String;

/// The top of the repository that this crate lies in.
pub fn repository() -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    top.expect("tools/tidy lies two folders below the top").to_path_buf()
}

/// Every file below `dir` with this extension, in a stable order; build results and hidden folders are left out.
pub fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Reads a file of the repository.
pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

//! What can be fuzzed: a function of any bytes, which panics if something is wrong.
//!
//! It may only read bytes and call what it tests; where bytes come from is for the programs. What executes operations
//! and holds them against a model is that of the store's own tests, and what decodes in pieces that of the protocol's.

#![forbid(unsafe_code)]

#[path = "../../../src/protocol/tests/cut.rs"]
mod cut;
#[path = "../../../src/store/tests/operation.rs"]
mod operation;
#[path = "../../../src/store/tests/plain.rs"]
mod plain;
#[path = "../../../src/store/tests/run.rs"]
mod run;
#[path = "../../../src/store/tests/setup.rs"]
mod setup;

use operation::Operations;
use run::Run;
use setup::Setup;

/// Places at which an input of the protocol is cut.
const CUTS_MAX: usize = 6;

/// Executes operations on a store and on its model, compares them after each, and returns how many these were. The first
/// byte chooses settings and memory of the store, from the others operations are read.
///
/// # Panics
/// If store and model differ, or the store is not as it must be.
pub fn store(bytes: &[u8]) -> usize {
    let Some((&setup, bytes)) = bytes.split_first() else { return 0 };
    let (mut run, mut executed) = (Run::new(Setup::of(setup)), 0);
    for operation in (Operations { bytes }) {
        run.context = format!("step {executed}: {operation:?}");
        run.step(&operation);
        executed += 1;
    }
    executed
}

/// Decodes bytes as RESP, whole and in pieces, and returns how many commands these were. The bytes themselves say where
/// they are cut, so that any session is an input.
///
/// # Panics
/// If pieces give something else than the whole.
pub fn resp(bytes: &[u8]) -> usize {
    cut::same(bytes, &cuts(bytes), cut::resp)
}

/// The same with memcached's text protocol.
///
/// # Panics
/// If pieces give something else than the whole.
pub fn memcache(bytes: &[u8]) -> usize {
    cut::same(bytes, &cuts(bytes), cut::memcache)
}

/// Up to [`CUTS_MAX`] places that depend on the bytes alone, in order.
fn cuts(bytes: &[u8]) -> Vec<usize> {
    let seed = bytes.iter().fold(bytes.len() as u64, |seed, &byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut cuts: Vec<usize> = (0..random.usize(0..=CUTS_MAX)).map(|_| random.usize(0..=bytes.len())).collect();
    cuts.sort_unstable();
    cuts
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// What libFuzzer begins with, and what it once found.
    #[test]
    fn the_corpus_is_decoded() {
        for (folder, target) in [("resp", resp as fn(&[u8]) -> usize), ("memcache", memcache)] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(folder);
            let files = fs::read_dir(&folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
            let commands: Vec<usize> = files.map(|bytes| target(&bytes)).collect();
            assert!(commands.len() >= 8 && commands.iter().sum::<usize>() > 20, "{folder:?}: {commands:?}");
        }
    }

    #[test]
    fn any_bytes_are_operations() {
        assert_eq!(store(&[]), 0);
        for byte in 0..=u8::MAX {
            store(&[byte; 100]);
        }
        let (mut random, mut executed) = (fastrand::Rng::with_seed(1), 0);
        for length in 1..1000 {
            let mut bytes = vec![0; length % 100];
            random.fill(&mut bytes);
            executed += store(&bytes);
        }
        assert!((7_000..11_000).contains(&executed), "{executed} operations in 49,500 bytes");
    }
}

//! What can be fuzzed: a function of any bytes, which panics if something is wrong.
//!
//! It may only read bytes and call what it tests; where bytes come from is for the programs. What executes operations
//! and holds them against a model is that of the store's own tests.

#![forbid(unsafe_code)]

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

#[cfg(test)]
mod tests {
    use super::*;

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

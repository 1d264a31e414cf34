//! All that happens, as text, and a digest of it: two runs with one seed have one digest.

use std::fmt::{self, Write};

use larder_ring::key_hash;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    digest: u64,
    is_shown: bool,
    line: String,
}

impl Trace {
    pub(crate) fn new(is_shown: bool) -> Self {
        Self { is_shown, ..Self::default() }
    }

    /// Something happens.
    pub(crate) fn note(&mut self, now_ms: u64, what: fmt::Arguments<'_>) {
        self.line.clear();
        write!(self.line, "{now_ms:>7} {what}").expect("a string takes everything");
        self.digest = key_hash(self.line.as_bytes(), self.digest);
        if self.is_shown {
            println!("{}", self.line);
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }
}

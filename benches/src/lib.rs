//! Benchmarks and measurement programs: what the programs in `src/bin` and the tests share.
//!
//! This package may depend on every other one, and none depends on it.
#![forbid(unsafe_code)]

pub mod hit_ratio;

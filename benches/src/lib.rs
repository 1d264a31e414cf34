//! Benchmarks and measurement programs: what the programs in `src/bin` and the tests share.
//!
//! # What this crate may not do
//! - be depended on: it may know every other crate, and none knows it;
//! - work out for itself what a server works out: shares, limits and hashes come from the server's own code, else a
//!   comparison would compare nothing.
#![forbid(unsafe_code)]

pub mod harness;
pub mod hit_ratio;
pub mod hung;
mod machine;
pub mod memory;
pub mod pauses;
pub mod peers;
pub mod report;
pub mod target;
pub mod topology;

pub use machine::machine;

//! The load generator: it makes load that is told exactly, and says what came of it.
//!
//! A run has threads, each with a poll loop of its own over its connections ([`fleet`]), a load protocol without I/O
//! ([`protocol`]), and a workload that decides what is asked and judges the answers ([`run`], [`replay`]). Threads
//! share nothing while they work, but the ledger of `--verify`; what they counted is merged at the end.
//!
//! # What this crate may not do
//! - let a slow server slow the clock: latency counts from the intended start, which never depends on an answer in an
//!   open loop;
//! - allocate per request;
//! - know the store or the engine: it sees a server from outside.
#![forbid(unsafe_code)]

pub mod ceiling;
pub mod cli;
mod clock;
mod error;
pub mod fleet;
pub mod limits;
mod parse;
mod progress;
pub mod protocol;
pub mod replay;
mod report;
pub mod run;
pub mod stats;
mod system;
pub mod trace;
pub mod verify;
pub mod workload;

pub use clock::Clock;
pub use error::LoadError;
pub use parse::count;
pub use report::{ErrorReport, Latency};
pub use system::{allow_files, thread_cpu_ns};

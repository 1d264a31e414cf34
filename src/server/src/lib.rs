//! The `larder` server: configuration, executors, listeners, mesh and sidecar.
//!
//! # What this crate may not do
//! - hold cache logic: it wires the engine to cores, sockets, signals and the clock;
//! - let another crate know that glommio is what drives it.
#![deny(unsafe_code)]

pub mod clock;
pub mod config;
pub mod limits;
pub mod listen;
pub mod preflight;

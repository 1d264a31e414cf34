//! The `larder` server: configuration, executors, listeners, mesh and sidecar.
//!
//! # What this crate may not do
//! - hold cache logic: it wires the engine to cores, sockets, signals and the clock;
//! - let another crate know that glommio is what drives it.
//!
//! # How it fits together
//! [`server::serve`] checks the machine, listens, and starts one [`shard`] per executor; shards talk to each other by the
//! [`mesh`]. The thread that started them becomes the [`sidecar`], which catches signals and stops them in order.
#![deny(unsafe_code)]

pub mod acceptor;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod dialer;
pub mod http;
pub mod keeper;
pub mod limits;
pub mod listen;
pub mod loading;
pub mod log;
pub mod memcache_commands;
mod memcache_stats;
pub mod mesh;
pub mod orders;
pub mod pages;
pub mod preflight;
pub mod resp;
pub mod server;
pub mod shard;
pub mod sidecar;
pub mod standing;
pub mod startup_code;
pub mod tally;

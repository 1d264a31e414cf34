//! One request from command to reply, on one shard: where does it belong, what does the store say, who waits for it.
//!
//! An [`Engine`] belongs to one shard and is a synchronous state machine. [`Engine::submit`] answers at once what is
//! executed here, and gives a [`Ticket`] for what another shard of the node has to do. What it wants from the world is
//! polled: batches for other shards ([`Engine::next_batch`]), answers to tickets ([`Engine::next_completion`]), a time
//! to be woken at ([`Engine::next_wake_ms`]). What the world has for it is passed in: [`Engine::receive`],
//! [`Engine::wake`], [`Engine::set_topology`]. So the same code runs in a server and in a seeded simulation.
//!
//! # What this crate may not do
//! - be async, do I/O, read a clock, spawn, draw randomness, log, or keep a mutable global;
//! - know how batches travel, or which dialect a request came in.
//!
//! # What must stay true
//! - Every ticket is answered exactly once, unless it is cancelled: by the other shard, or by its deadline.
//! - What is executed here allocates nothing, a get_many over any number of keys included; replies borrow the store.
//! - Requests of one caller about one key are executed in the order in which they were submitted.
//! - What waits, and what travels, is bounded by [`limits`], and above it refused with OVERLOADED. A reply always has
//!   a place; a lane between two shards never holds more than [`limits::LANE_BATCHES_MAX`] batches.
//! - A request that was passed on is executed where it lands or refused with WRONG_OWNER, never passed on again.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod batches;
mod command;
mod completions;
mod deadlines;
mod engine;
mod error;
mod failures;
mod gather;
mod groups;
pub mod limits;
mod local;
mod mesh;
mod receive;
mod scatter;
mod slab;
mod stats;
mod waiting;

pub use command::is_idempotent;
pub use engine::{Engine, EngineSettings, Submission};
pub use error::EngineError;
pub use mesh::{Lane, Outgoing};
pub use stats::Counters;
pub use waiting::Ticket;

//! One request from command to reply, on one shard: where does it belong, what does the store say, who waits for it.
//!
//! An [`Engine`] belongs to one shard and is a synchronous state machine. [`Engine::submit`] answers at once what is
//! executed here, and gives a [`Ticket`] for what another shard of the node has to do. What it wants from the world is
//! polled: batches for other shards ([`Engine::next_batch`]), a time to be woken at ([`Engine::next_wake_ms`]), what left
//! for those who watch ([`Engine::removals`], with [`Watchers`] as the hook of the store). What the
//! world has for it is passed in: [`Engine::receive`] and [`Engine::wake`], which hand out the answers to tickets, and
//! [`Engine::set_topology`]. So the same code runs in a server and in a seeded simulation.
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
//! - A request that was passed on is executed where it lands or refused with WRONG_OWNER, never passed on again. Changes
//!   of groups alone take two steps: shard 0 checks one, and asks all others to apply it before it answers.
//!
//! ```
//! use std::sync::Arc;
//!
//! use larder_engine::{Engine, EngineSettings, Submission};
//! use larder_protocol::{Command, Condition, Expiry, Reply, Request, Write};
//! use larder_ring::{Node, Topology};
//! use larder_store::{Charge, GroupSettings, NoHook, PolicyKind};
//!
//! let node = Node { id: "a".into(), address: "a:7400".into(), shards: 2, points: 1024, incarnation: 1 };
//! let topology = Arc::new(Topology::single(node, 0));
//! let engine = |shard: u8| {
//!     let (name, policy, charge) = ("default".into(), PolicyKind::TwoQ.into(), Charge::Bytes);
//!     let group = GroupSettings { name, budget_bytes: 2 << 20, policy, ttl_ms: 0, ttl_jitter: 0, hash_seed: 0, charge };
//!     let settings = EngineSettings {
//!         node_id: "a".into(),
//!         shard: shard.into(),
//!         server: "example".into(),
//!         groups: vec![group.into()],
//!         value_bytes_max: 1 << 16,
//!         node_memory_bytes: 2 << 20,
//!         timeout_ms_default: 1_000,
//!         started_ms: 1,
//!         standing: larder_engine::Standing::FIXED,
//!     };
//!     Engine::new(settings, Arc::clone(&topology), NoHook)
//! };
//! let (mut here, mut there) = (engine(0)?, engine(1)?);
//!
//! let (condition, expiry) = (Condition::Always, Expiry::Never);
//! let command = Command::Set(Write { key: b"key", value: b"value", flags: 0, condition, expiry });
//! let request = Request { id: 1, epoch: 1, group: 0, timeout_ms: 0, forwarded: false, command };
//! match here.submit(&request, 1) {
//!     Submission::Done(reply) => assert!(matches!(reply, Reply::Stored { .. })),
//!     Submission::Pending(asked) => {
//!         let requests = here.next_batch().expect("a request for the other shard");
//!         there.receive(0, requests.lane, &requests.batch, 1, |_, _| unreachable!("it has asked for nothing"));
//!         let replies = there.next_batch().expect("its reply");
//!         here.receive(1, replies.lane, &replies.batch, 1, |ticket, reply| {
//!             assert!(ticket == asked && matches!(reply, Reply::Stored { .. }));
//!         });
//!     }
//! }
//! # Ok::<(), larder_engine::EngineError>(())
//! ```
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod absent;
mod batches;
mod command;
mod deadlines;
mod decimal;
mod engine;
mod error;
mod etags;
mod failures;
mod flights;
mod forward;
mod gather;
mod glob;
mod groups;
mod homes;
mod last;
pub mod limits;
mod load;
mod local;
mod members;
mod mesh;
mod meta;
mod names;
mod orders;
mod ownership;
mod pass_on;
mod peers;
pub mod planted;
mod receive;
mod records;
mod refresh;
mod refuse;
mod regroup;
mod runs;
mod scan;
mod scatter;
mod slab;
mod stats;
mod terms;
mod transact;
mod updates;
mod waiting;
mod watchers;

pub use engine::{Backlog, Engine, EngineSettings, Submission};
pub use error::{EngineError, LinkError};
pub use flights::FlightId;
pub use glob::Glob;
pub use groups::OriginSettings;
pub use load::{Load, Loaded};
pub use mesh::{Lane, Outgoing};
pub use orders::{ClusterOrder, ClusterOrderKind, ClusterOrderOutcome};
pub use ownership::Standing;
pub use peers::{LinkId, LinkOutput, LinkTarget};
pub use receive::reply_of;
pub use regroup::{GroupPlan, GroupPlans};
pub use scan::{cursor_of_number, number_of_cursor};
pub use stats::Counters;
pub use waiting::Ticket;
pub use watchers::{WatcherId, Watchers};

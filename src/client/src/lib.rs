//! The client library of Larder: gets, sets and the rest over multiplexed connections.
//!
//! ```
//! # mod fake { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake/mod.rs")); }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), larder_client::Error> {
//! # let server = fake::Server::start().await;
//! # let address = server.address();
//! use std::time::Duration;
//! use larder_client::{Client, SetOptions};
//!
//! // let address = "127.0.0.1:7400";
//! let client = Client::connect(address).await?;
//! client.set_with("user:17", "Ada", SetOptions::new().ttl(Duration::from_secs(60))).await?.version();
//!
//! let entry = client.get("user:17").await?.expect("it was just set");
//! assert_eq!(&entry.value[..], b"Ada");
//! assert!(client.get("user:18").await?.is_none(), "a miss is no error");
//! # Ok(())
//! # }
//! ```
//!
//! One [`Client`] serves a whole program: it is cheap to clone, and thousands of calls at the same time share one
//! connection. Its documentation says what holds for time, cancellation and lost connections; [`RetryPolicy`] what is
//! tried again; [`Error::is_retryable`] what the program may try again itself.
//!
//! # What this crate may not do
//! It embeds no cache and no server: it knows the protocol and the ring, and neither the engine nor the store, nor
//! where a cluster keeps its membership. It does I/O by tokio alone.
#![forbid(unsafe_code)]

mod builder;
mod call;
mod client;
mod cluster;
mod entry;
mod error;
mod join;
pub mod limits;
mod network;
mod node;
mod policies;
mod routing;
mod server;

pub use builder::Builder;
pub use client::{
    Client, FillOutcome, Lease, LeaseOutcome, LoadError, LoadOptions, Removals, Removed, Scan, ScanOptions, Watch,
};
pub use entry::{DeleteOutcome, Entry, IncrementOptions, Number, SetOptions, SetOutcome, expires_after};
pub use error::Error;
pub use policies::RetryPolicy;
pub use server::{Group, Limits, Members, ServerInfo};

pub use bytes::Bytes;
pub use larder_protocol::native::generated::{
    AlteredGroup, GroupChange, GroupStats, MemoryStats, ShardStats, StatsResult as Stats,
};
pub use larder_protocol::{Condition, Expiry, RemovalReason, Status, Write};
pub use larder_ring::{Node, Topology};

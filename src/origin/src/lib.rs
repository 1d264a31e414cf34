//! Where the values of a group come from when they are missing: an HTTP server, which is asked with bounds. No more
//! requests at a time than it is given, a bounded queue behind them, a time-out for each, at most one retry from a small
//! budget, and a pause when it fails again and again.
//!
//! An [`Origin`] belongs to one group on one node. It knows nothing of shards, flights or entries: it is asked for a key,
//! once for all who want it, and says what became of that. Other kinds of origins are further variants of what it asks.
//!
//! # What this crate may not do
//! - know of shards, groups' budgets or the ring; read the wall clock; answer for a key without the origin having said so.
//!
//! # What must stay true
//! - The origin never sees more than [`OriginSettings::concurrent_max`] requests of this node at a time.
//! - Every [`Origin::load`] ends within [`OriginSettings::load_time_max`].
//! - What an origin says is never trusted: not its lengths, its headers, or its ends.
#![forbid(unsafe_code)]

mod breaker;
mod freshness;
mod gate;
mod http;
pub mod limits;
mod origin;
mod retries;
mod template;

pub use origin::{Answer, Origin, OriginError, OriginSettings};

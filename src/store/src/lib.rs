//! One shard's memory: entries by key in groups, with a byte budget, an eviction policy, expiry and versions.
//!
//! A [`Store`] belongs to one thread, and every operation is one plain call. It may not do I/O, read a clock, draw
//! randomness or keep anything global: the time, in ms since the Unix epoch and never running backwards, and the hash
//! of a key are arguments. It knows nothing of protocols, shards other than its own number, or nodes.
//!
//! What must stay true:
//! - An entry is absent from the ms at which it expires, and from the moment its group is invalidated.
//! - Only an operation that stores evicts, decided by counted charges: the same calls give the same evictions.
//! - The charges of a group's entries and ghosts never exceed its budget.
//! - A get allocates nothing and looks into the index once; what it will read can be asked for beforehand.
//! - Whatever leaves is reported to the [`RemovalHook`] exactly once.
//!
//! ```
//! use larder_store::{Charge, Expiry, GroupSettings, Key, NoHook, PolicyKind, Store, StoreSettings, Write};
//!
//! let mut store = Store::new(StoreSettings { shard: 0, value_bytes_max: 1 << 20 }, NoHook);
//! let group = store.create_group(GroupSettings {
//!     name: "scores".into(),
//!     budget_bytes: 64 << 20,
//!     policy: PolicyKind::TwoQ,
//!     ttl_ms: 0,
//!     charge: Charge::Bytes,
//! })?;
//! let now_ms = 1_700_000_000_000;
//! let key = Key { group, hash: 0x5bd1_e995_97f4_a7c5, bytes: b"Sam" };
//! let version = store.set(key, Write { value: b"567", expiry: Expiry::After(2000), ..Write::default() }, now_ms)?;
//!
//! let handle = store.get(key, now_ms + 1999).expect("it is still there");
//! assert_eq!((store.entry(handle).value, store.entry(handle).version), (&b"567"[..], version));
//! assert!(store.get(key, now_ms + 2000).is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod counters;
mod entry;
mod error;
mod ghost;
#[cfg_attr(not(test), expect(dead_code))]
mod ghosts;
mod group;
#[cfg_attr(not(test), expect(dead_code))]
mod index;
pub mod limits;
mod list;
mod memory;
mod number;
mod policy;
mod prefetch;
#[cfg_attr(not(test), expect(dead_code))]
mod region;
mod removal;
mod settings;
mod store;
mod sweep;
mod table;
mod upkeep;
mod version;

pub use counters::{GroupCounters, Reclaimed};
pub use entry::{Condition, Entry, Expiry, Handle, Key, Marks, Write};
pub use error::{GroupError, StoreError, VersionAhead};
pub use removal::{NoHook, Reason, Removal, RemovalHook};
pub use settings::{Charge, GroupIndex, GroupSettings, PolicyKind, StoreSettings, UnknownPolicy};
pub use store::Store;

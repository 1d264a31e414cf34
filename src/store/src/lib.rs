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
//! - Everything that grows lies in one region of memory, which is reserved at the start.
//! - A get allocates nothing and looks into the index once; what it will read can be asked for beforehand.
//! - Whatever leaves is reported to the [`RemovalHook`] exactly once.
//!
//! ```
//! use larder_store::{Charge, Expiry, GroupSettings, Key, NoHook, PolicyKind, Store, StoreSettings, Write};
//!
//! // Something that mixes better than this.
//! fn key_hash(seed: u64, key: &[u8]) -> u64 {
//!     key.iter().fold(seed, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
//! }
//!
//! let (memory_bytes, value_bytes_max) = (80 << 20, 1 << 20);
//! let mut store = Store::new(StoreSettings { shard: 0, value_bytes_max, memory_bytes, key_hash }, NoHook);
//! let group = store.create_group(GroupSettings {
//!     name: "scores".into(),
//!     budget_bytes: 64 << 20,
//!     policy: PolicyKind::TwoQ.into(),
//!     ttl_ms: 0,
//!     ttl_jitter: 0,
//!     hash_seed: 7,
//!     charge: Charge::Bytes,
//! })?;
//! let now_ms = 1_700_000_000_000;
//! let key = Key { group, hash: key_hash(7, b"Sam"), bytes: b"Sam" };
//! let version = store.set(key, Write { value: b"567", expiry: Expiry::After(2000), ..Write::default() }, now_ms)?;
//!
//! let handle = store.get(key, now_ms + 1999).expect("it is still there");
//! assert_eq!((store.entry(handle).value.contiguous(), store.entry(handle).version), (Some(&b"567"[..]), version));
//! assert!(store.get(key, now_ms + 2000).is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod block;
mod cleaner;
mod counters;
mod entry;
mod error;
mod ghosts;
mod group;
mod groups;
mod history;
mod index;
pub mod limits;
mod list;
mod log;
mod memory;
mod number;
mod pages;
mod policy;
mod policy_settings;
mod prefetch;
mod ranks;
mod region;
mod removal;
mod settings;
mod shares;
mod sketch;
mod store;
mod sweep;
mod table;
mod upkeep;
mod value;
mod version;
mod writes;

pub use counters::{GroupCounters, MemoryCounters, Reclaimed};
pub use entry::{Condition, Entry, Expiry, Handle, Key, Marks, TouchCondition, Write};
pub use error::{GroupError, StoreError, VersionAhead};
pub use pages::{Advance, Ahead};
pub use policy_settings::{PolicyError, PolicyKind, PolicyParameter, PolicySettings};
pub use removal::{NoHook, Reason, Removal, RemovalHook};
pub use settings::{Charge, GroupIndex, GroupSettings, StoreSettings};
pub use shares::{segment_bytes, value_bytes_max};
pub use store::Store;
pub use value::Value;
pub use version::version_ms;

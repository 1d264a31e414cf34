//! What is asked for: keys, values, operations.

pub mod keys;
pub mod mix;
mod shards;
pub mod values;
mod zipf;

pub use keys::{Distribution, KeySampler, KeySpace, KeyWriter};
pub use mix::{Mix, Operation};
pub use shards::ShardMap;
pub use values::{Content, ValueSizes};

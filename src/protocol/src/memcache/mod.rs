//! The text protocol of memcached (`doc/protocol.txt` of memcached 1.6): a command is a line of words, with a block of data behind
//! it where something is stored, and answers come in the order of the commands. The binary protocol is not spoken.
//!
//! [`decode`] says what the beginning of a connection's input means, and [`encode`] how an engine's reply is told, by the [`Shape`]
//! that the command has asked for, and with its keys, which answers repeat.

mod decode;
mod encode;
mod keys;
mod meta;
mod meta_encode;
mod plain;
#[cfg(test)]
mod tests;

pub use decode::{Asked, Limits, Own, Parsed, Places, Quiet, StatsKind, decode};
pub use encode::{Shape, encode};
pub use keys::{Rest, decode_rest};
pub use meta::MetaShape;
pub use meta_encode::encode_meta;
pub use plain::plain;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 250;
/// Longest line that is waited for, in bytes; a GET may be longer.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// Most flags of a meta command; more is refused.
pub const FLAGS_MAX: usize = 20;
/// A token that is only repeated is shorter, in bytes.
pub const OPAQUE_BYTES_MAX: usize = 32;
/// Most bytes that are taken from who has not named a command yet.
pub const STRANGER_BYTES_MAX: usize = 16 << 10;
/// A time up to this is from now on, and a later one since the Unix epoch; in seconds: 30 days.
pub const RELATIVE_S_MAX: i64 = 60 * 60 * 24 * 30;

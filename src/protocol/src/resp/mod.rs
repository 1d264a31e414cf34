//! RESP, the protocol of Redis and Valkey, versions 2 and 3 (<https://valkey.io/topics/protocol/>): a command is an array of
//! strings, or a line of words, and answers come in the order of the commands.
//!
//! [`Reader`] takes the arguments out of a connection's bytes, [`decode`] says what they mean, and [`encode`] how an engine's
//! reply is told, by the [`Shape`] that the command has asked for. Where a command is more than one request, or is told in a
//! way of its own, it is a [`Plan`], whose replies are put together by [`Telling`]. What a connection answers by itself is
//! [`Own`], and what takes the connection or the server to do is a [`Session`]. The commands themselves are in [`commands`],
//! and behave as those of Valkey 8 do (<https://valkey.io/commands/>).

mod arguments;
mod client;
mod cold;
mod connection;
mod decode;
mod describe;
mod encode;
mod help;
mod keyspace;
mod options;
mod plain;
mod plan;
mod table;
#[cfg(test)]
mod tests;

pub use arguments::{ARGUMENTS_MAX, Broken, INLINE_BYTES_MAX, Reader, ReaderLimits, STRANGER_BYTES_MAX};
pub use client::{Client, Filter, ReplyMode};
pub use connection::Session;
pub use decode::{Asked, Own, Places, decode, decode_fit};
pub use describe::{Described, commands};
pub use encode::{Shape, Version, array, bulk, encode, encode_error, encode_own, map, null, number, text, verbatim};
pub use keyspace::{Keyspace, Named};
pub use plain::plain;
pub use plan::{Plan, Telling, Told};
pub use table::{Misfit, Spec, Which, fit, is_command};

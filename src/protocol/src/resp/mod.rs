//! RESP, the protocol of Redis and Valkey, versions 2 and 3 (<https://valkey.io/topics/protocol/>): a command is an array of
//! strings, or a line of words, and answers come in the order of the commands.
//!
//! [`Reader`] takes the arguments out of a connection's bytes, [`decode`] says what they mean, and [`encode`] how an engine's
//! reply is told, by the [`Shape`] that the command has asked for. What a connection answers by itself is [`Own`].

mod arguments;
mod decode;
mod encode;

pub use arguments::{ARGUMENTS_MAX, Broken, INLINE_BYTES_MAX, Reader, ReaderLimits};
pub use decode::{Asked, Own, decode};
pub use encode::{Shape, Version, encode, encode_error, encode_own};

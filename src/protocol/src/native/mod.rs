//! The native protocol; `proto/larder.proto` is its specification.
//!
//! Hot messages are coded by hand, straight from and to buffers; cold ones (Hello, stats, topology) by prost. Both
//! give the same bytes, which property tests hold.

/// The messages as prost generates them from `proto/larder.proto`; a test keeps them current.
#[rustfmt::skip]
#[allow(missing_docs, clippy::all, clippy::pedantic)]
#[path = "generated/larder.v1.rs"]
pub mod generated;

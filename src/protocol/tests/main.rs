//! Tests of the protocol crate as its users see it.

mod arbitrary;
mod equal;
mod generated;
mod support;

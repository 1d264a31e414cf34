//! Tests of the protocol crate as its users see it.

mod arbitrary;
mod as_prost;
mod bounds;
mod cut;
mod dialects;
mod equal;
mod framing;
mod generated;
mod golden;
mod malformed;
mod mutation;
mod odd;
mod support;

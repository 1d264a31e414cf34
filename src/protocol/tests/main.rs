//! Tests of the protocol crate as its users see it.

mod generated;

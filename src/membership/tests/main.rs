//! The crate as its users see it.

mod agent;
mod fixed;

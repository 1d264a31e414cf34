//! What memory servers take, seen from outside: for each item that is really kept, and while the sizes of values
//! change.

pub mod account;
pub mod churn;
pub mod fill;
pub mod report;

/// Connections under load, and requests of each that wait for an answer.
const CONNECTIONS: usize = 4;
const PIPELINE: usize = 256;

//! Larder beside the servers of others: one core each, the same load, rounds in turn, server CPU per operation.
//!
//! Every server gets a core of its own while it is measured (the same one; the others idle), and the load generator
//! another one. A round measures all servers of a case one after the other, so that what disturbs the machine for
//! minutes disturbs them alike; ratios are taken within a round, and medians over rounds.

pub mod case;
pub mod idle;
pub mod measure;
pub mod report;
pub mod server;

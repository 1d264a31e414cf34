//! A cluster of real processes under a checked load: `etcd`, some `larder` processes, and clients that read and write
//! through the smart client, while nodes are started, stopped, killed and halted, and etcd goes away.
//!
//! What clients saw is held against the promises by the same checker that the simulator uses, and every error against what
//! was done to the cluster at that time: most of it may cause none.
//!
//! This crate may not know how nodes do what they do: it starts programs, sends signals, and asks as any client would.
#![forbid(unsafe_code)]

mod load;
mod scene;

pub use load::{Error, Load, Report};
pub use scene::{REGISTRATION_TTL, Scene};

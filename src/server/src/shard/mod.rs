//! A shard: an engine, the connections whose sockets it serves, and its ends of the mesh, on an executor that is pinned
//! to a core.
//!
//! [`Reactor`] is all of it without I/O. The rest moves bytes between it and glommio: when another driver takes over
//! the sockets, `accept`, `socket` and `driver` go, and the reactor stays.

mod accept;
mod bell;
mod buffers;
mod connections;
mod control;
mod descriptor;
mod dialect;
mod driver;
mod executor;
mod hello;
mod reactor;
mod socket;
#[cfg(test)]
mod tests;
mod waiters;

pub use control::{Admission, Control, ControlLane, News, Report, Reporter};
pub use dialect::Dialect;
pub use driver::Plan;
pub use executor::{Executor, spawn};
pub use hello::Welcome;
pub use reactor::{ConnectionId, Reactor, Turn};

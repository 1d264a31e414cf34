//! A shard: an engine, the connections whose sockets it serves, and its ends of the mesh, on an executor that is pinned
//! to a core.
//!
//! [`Reactor`] is all of it without I/O. `ring` is an io_uring, and with its `provided` buffers the one place with
//! `unsafe`; `sockets` moves bytes between the two, and `driver` is the task that turns around them. glommio pins the
//! thread and has the timers.

mod accept;
mod answers;
mod bell;
mod buffers;
mod connections;
mod control;
mod dialect;
mod driver;
mod executor;
mod handover;
mod hello;
mod holding;
mod links;
mod lookout;
mod memcache;
#[cfg(test)]
mod moves;
mod order;
mod provided;
mod reactor;
mod requests;
mod resp;
mod ring;
mod sockets;
#[cfg(test)]
mod tests;
mod unasked;
mod waiters;
mod watches;

pub use control::{Admission, Control, ControlLane, News, Report, Reporter};
pub use dialect::Dialect;
pub use driver::Plan;
pub use executor::{Executor, spawn};
pub use handover::{Handover, Moved};
pub use hello::Welcome;
pub use links::{Dial, Target};
pub use memcache::Memcache;
pub use reactor::{ConnectionId, Parcel, Reactor, Turn};
pub use resp::Resp;
pub(crate) use ring::RingSize;
pub use sockets::Patience;

//! The handle that applications hold.

mod batch;
mod lease;
mod node;
mod scan;
mod single;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use crate::builder::{Builder, check_group, check_time};
use crate::cluster::Cluster;
use crate::error::Error;

pub(crate) use lease::Loads;
pub use lease::{FillOutcome, Lease, LeaseOutcome, LoadError, LoadOptions};
pub use scan::{Scan, ScanOptions};
pub use watch::{Removals, Removed, Watch};

/// A client of one group. Clones and the clients of other groups share all connections, and are cheap to make.
///
/// # Time
/// A call ends by its deadline ([`Builder::deadline`]), retries and pauses included. One attempt ends by the attempt
/// time-out, which the server is told too.
///
/// # Cancel safety
/// Every call is cancel safe for the connection: a future may be dropped at any point, and the others never notice. An
/// answer that comes for a dropped call is recognised by its id and discarded. What a dropped call leaves behind:
/// - nothing, if it was still waiting for a connection or for room: the request is not sent;
/// - else the request is sent and executed, or has been. A dropped `set`, `increment` and the like may thus take effect
///   after the drop, in the order of the server; read the entry to find out.
///
/// # Connections
/// A lost connection is made anew with growing, spread pauses. Calls wait for it within their deadline while it is
/// being made; after several failed tries in a row they fail at once with [`Error::Unreachable`] until a try succeeds.
/// Dropping the last clone closes the connections.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) cluster: Arc<Cluster>,
    group: Arc<str>,
    pub(crate) deadline: Duration,
}

impl Client {
    /// All settings but the addresses are defaults. See [`Builder::connect`].
    ///
    /// # Errors
    /// Those of [`Builder::connect`].
    pub async fn connect(address: impl Into<String>) -> Result<Client, Error> {
        Builder::new().address(address).connect().await
    }

    /// A builder with default settings.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(cluster: Arc<Cluster>, group: &str, deadline: Duration) -> Self {
        Self { cluster, group: group.into(), deadline }
    }

    /// A client of another group over the same connections. Whether the server has the group shows in its answers.
    ///
    /// # Errors
    /// [`Error::Setting`] if the name is empty or too long.
    pub fn group(&self, name: &str) -> Result<Client, Error> {
        check_group(name)?;
        Ok(Client { group: name.into(), ..self.clone() })
    }

    /// The name of the group.
    pub fn group_name(&self) -> &str {
        &self.group
    }

    /// A client over the same connections whose calls have this deadline.
    ///
    /// # Errors
    /// [`Error::Setting`] if it is under 1 ms or above 24 h.
    pub fn with_deadline(&self, deadline: Duration) -> Result<Client, Error> {
        check_time("deadline", deadline)?;
        Ok(Client { deadline, ..self.clone() })
    }
}

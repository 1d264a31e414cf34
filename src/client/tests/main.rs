//! The client against a server with faults by script, and against the real one.

mod batches;
mod cancel;
mod dependencies;
mod fake;
mod faults;
mod groups;
mod lease;
mod load;
mod nodes;
mod operations;
mod real;
mod reconnect;
mod retries;
mod shards;
mod watch;

use std::time::Duration;

use larder_client::{Builder, Client};

/// A builder whose jitter is the same each time, and with one connection to a node, so that what happens to a connection
/// happens to the client.
fn builder(server: &fake::Server) -> Builder {
    Client::builder().address(server.address()).seed(42).connections_per_node_max(1)
}

/// Long enough that a machine under load does not fail a test that waits for something to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

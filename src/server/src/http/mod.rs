//! The HTTP interface, in the sidecar: keys, and what there is to know of this node and its ring.

mod connections;
mod failure;
mod inside;
mod keys;
mod metrics;
mod node;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::routing::{any, get, post};

pub use inside::Inside;

/// What the handlers know.
#[derive(Debug)]
pub struct Http {
    /// The way to the shards.
    pub inside: Inside,
    /// Seeds the hashes of groups.
    pub cluster_seed: u64,
    /// Length of the longest value.
    pub value_bytes_max: usize,
    /// How long a body may take to come.
    pub body_timeout: Duration,
    /// Whether clients are to come: in the ring, and not leaving it.
    pub is_ready: Arc<AtomicBool>,
}

/// Serves until the runtime ends.
pub async fn serve(listener: tokio::net::TcpListener, http: Http) {
    let router = Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(node::ready))
        .route("/metrics", get(node::metrics))
        .route("/v1/stats", get(node::stats))
        .route("/v1/topology", get(node::topology))
        .route("/api", get(keys::of_query))
        .route("/v1/groups/{group}/invalidate", post(keys::invalidate))
        .route("/v1/groups/{group}/keys/", any(keys::of_key))
        .route("/v1/groups/{group}/keys/{*key}", any(keys::of_key))
        .fallback(node::nothing)
        .with_state(Arc::new(http));
    connections::serve(listener, router).await;
}

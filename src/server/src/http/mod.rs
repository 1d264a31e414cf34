//! The HTTP interface, in the sidecar: keys, and what there is to know of this node and its ring.

mod connections;
mod failure;
mod groups;
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

/// Every path that is served, as `docs/openapi.json` writes it.
pub const PATHS: [&str; 9] =
    ["/healthz", "/readyz", "/metrics", "/v1/stats", "/v1/topology", "/api", GET_MANY, INVALIDATE, KEY];
const GET_MANY: &str = "/v1/groups/{group}/get";
const INVALIDATE: &str = "/v1/groups/{group}/invalidate";
const KEY: &str = "/v1/groups/{group}/keys/{key}";

/// Serves until the runtime ends.
pub async fn serve(listener: tokio::net::TcpListener, http: Http) {
    let router = PATHS.into_iter().fold(Router::new(), |router, path| match path {
        "/healthz" => router.route(path, get(async || "alive\n")),
        "/readyz" => router.route(path, get(node::ready)),
        "/metrics" => router.route(path, get(node::metrics)),
        "/v1/stats" => router.route(path, get(node::stats)),
        "/v1/topology" => router.route(path, get(node::topology)),
        "/api" => router.route(path, get(keys::of_query)),
        GET_MANY => router.route(path, post(groups::get_many)),
        INVALIDATE => router.route(path, post(groups::invalidate)),
        // A key may be empty, and have slashes.
        KEY => router
            .route("/v1/groups/{group}/keys/", any(keys::of_key))
            .route("/v1/groups/{group}/keys/{*key}", any(keys::of_key)),
        _ => unreachable!("{path} has no handler"),
    });
    let router = router.fallback(node::nothing).method_not_allowed_fallback(node::not_so).with_state(Arc::new(http));
    connections::serve(listener, router).await;
}

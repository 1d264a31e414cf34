//! The HTTP interface, in the sidecar: keys, and what there is to know of this node and its ring.

mod admin;
mod connections;
mod failure;
mod groups;
mod inside;
mod keys;
mod metrics;
mod node;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::header::{ETAG, RETRY_AFTER};
use axum::http::{HeaderValue, Method};
use axum::routing::{any, get, post};

use crossbeam::utils::CachePadded;
use tower_http::cors::{Any, CorsLayer};

use crate::standing::Progress;
use crate::tally::Tally;
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
    /// How far the shards are in following the ring, if it changes.
    pub progress: Option<Vec<Arc<CachePadded<Progress>>>>,
    /// What each shard counts.
    pub tallies: Vec<Arc<Tally>>,
    /// How often each shard has looked for work.
    pub turns: Vec<Arc<CachePadded<AtomicU64>>>,
    /// The origins of web pages that may ask from a browser; `*`: any.
    pub cors: Vec<String>,
}

impl Http {
    /// Whether clients are to come, and nothing of the ring is shut.
    fn is_ready(&self) -> bool {
        let is_settled = |shard: &Arc<CachePadded<Progress>>| shard.settled_epoch.load(Ordering::Acquire) > 0;
        self.is_ready.load(Ordering::Acquire) && self.progress.iter().flatten().all(is_settled)
    }
}

/// Every path that is served, as `docs/openapi.json` writes it.
pub const PATHS: [&str; 11] =
    ["/healthz", "/readyz", "/metrics", "/v1/stats", "/v1/topology", "/api", GROUPS, GROUP, GET_MANY, INVALIDATE, KEY];
const GROUPS: &str = "/v1/groups";
const GROUP: &str = "/v1/groups/{group}";
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
        GROUPS => router.route(path, get(admin::list)),
        GROUP => router.route(path, any(admin::of_group)),
        GET_MANY => router.route(path, post(groups::get_many)),
        INVALIDATE => router.route(path, post(groups::invalidate)),
        // A key may be empty, and have slashes.
        KEY => router
            .route("/v1/groups/{group}/keys/", any(keys::of_key))
            .route("/v1/groups/{group}/keys/{*key}", any(keys::of_key)),
        _ => unreachable!("{path} has no handler"),
    });
    let cors = cors(&http.cors);
    let router = router.fallback(node::nothing).method_not_allowed_fallback(node::not_so).with_state(Arc::new(http));
    let router = if let Some(cors) = cors { router.layer(cors) } else { router };
    connections::serve(listener, router).await;
}

/// What browsers are told of who may use this (the Fetch standard, section 3.3); `None`: nobody is.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::POST, Method::DELETE])
        .allow_headers(Any)
        .expose_headers([ETAG, RETRY_AFTER, keys::TTL, keys::FLAGS, keys::STALE]);
    match origins {
        [] => None,
        [any] if any == "*" => Some(layer.allow_origin(Any)),
        some => {
            let origin = |text: &String| HeaderValue::from_str(text).expect("it was checked with the configuration");
            Some(layer.allow_origin(some.iter().map(origin).collect::<Vec<_>>()))
        }
    }
}

//! The HTTP interface, in the sidecar: keys, the ring, and whether this node is alive and ready.

mod bounded;
mod failure;
mod inside;
mod keys;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{OriginalUri, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use larder_protocol::Command;
use larder_protocol::native::generated::Node;
use larder_protocol::native::{Body, decode_response};
use larder_ring::weight_text;

use bounded::Bounded;
use failure::Failure;
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
        .route("/readyz", get(ready))
        .route("/v1/topology", get(topology))
        .route("/api", get(keys::of_query))
        .route("/v1/groups/{group}/keys/", any(keys::of_key))
        .route("/v1/groups/{group}/keys/{*key}", any(keys::of_key))
        .fallback(nothing)
        .with_state(Arc::new(http));
    // It goes on after whatever a listener can report.
    let _ = axum::serve(Bounded::new(listener), router).await;
}

async fn ready(State(http): State<Arc<Http>>) -> Response {
    match http.is_ready.load(Ordering::Acquire) {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
    }
}

async fn topology(State(http): State<Arc<Http>>) -> Result<Response, Failure> {
    let answer = http.inside.call(0, 0, Command::Topology).await?;
    let response = decode_response(&answer).expect("the server's answers are valid");
    let Body::Topology(topology) = &response.body else {
        return Err(Failure::of(response.status, response.message, response.retry_after_ms));
    };
    let nodes = |nodes: &[Node], state: &str| -> Vec<serde_json::Value> {
        nodes.iter().map(|node| shown(node, state)).collect()
    };
    let all =
        [nodes(&topology.nodes, "serving"), nodes(&topology.joining, "joining"), nodes(&topology.draining, "draining")];
    let shown = serde_json::json!({
        "epoch": topology.epoch, "digest": format!("{:016x}", topology.digest),
        "cluster_seed": topology.cluster_seed.to_string(), "nodes": all.concat(),
    });
    Ok(Json(shown).into_response())
}

fn shown(node: &Node, state: &str) -> serde_json::Value {
    serde_json::json!({
        "id": node.id, "state": state, "address": node.address, "shards": node.shards,
        "weight": weight_text(node.points), "incarnation": format!("{:016x}", node.incarnation),
    })
}

async fn nothing(OriginalUri(uri): OriginalUri) -> Failure {
    let message = format!("there is nothing at {}", uri.path());
    Failure::new(StatusCode::NOT_FOUND, "no_such_path", message)
}

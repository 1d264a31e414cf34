//! What there is to know of this node and its ring.

use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use larder_protocol::Command;
use larder_protocol::native::generated::{GroupStats, MemoryStats, Node, ShardStats, StatsResult, TopologyResult};
use larder_protocol::native::{Body, decode_response};
use larder_ring::weight_text;
use serde_json::{Value, json};

use super::failure::Failure;
use super::{Http, metrics};

pub(super) async fn ready(State(http): State<Arc<Http>>) -> Response {
    match http.is_ready() {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
    }
}

pub(super) async fn metrics(State(http): State<Arc<Http>>) -> Result<Response, Failure> {
    let (stats, topology) = (read_stats(&http).await?, read_topology(&http).await?);
    let inside = metrics::Inside { tallies: &http.tallies, turns: &http.turns, is_ready: http.is_ready() };
    let page = metrics::exposition(&stats, &topology, inside);
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response())
}

pub(super) async fn stats(State(http): State<Arc<Http>>) -> Result<Json<Value>, Failure> {
    let stats = read_stats(&http).await?;
    let groups: Vec<Value> = stats.groups.iter().map(group_json).collect();
    let shards: Vec<Value> = stats.shards.iter().map(shard_json).collect();
    let (node, version, uptime_ms) = (&stats.node, &stats.version, stats.uptime_ms);
    Ok(Json(json!({ "node": node, "version": version, "uptime_ms": uptime_ms, "groups": groups, "shards": shards })))
}

pub(super) async fn topology(State(http): State<Arc<Http>>) -> Result<Json<Value>, Failure> {
    let topology = read_topology(&http).await?;
    let all = [(&topology.nodes, "serving"), (&topology.joining, "joining"), (&topology.draining, "draining")];
    let nodes: Vec<Value> =
        all.into_iter().flat_map(|(nodes, state)| nodes.iter().map(move |node| node_json(node, state))).collect();
    Ok(Json(json!({
        "epoch": topology.epoch, "digest": format!("{:016x}", topology.digest),
        "cluster_seed": topology.cluster_seed.to_string(), "nodes": nodes,
    })))
}

/// Whatever else is asked for.
pub(super) async fn nothing(OriginalUri(uri): OriginalUri) -> Failure {
    let message = format!("there is nothing at {}", uri.path());
    Failure::new(StatusCode::NOT_FOUND, "no_such_path", message)
}

/// What is there, by another method.
pub(super) async fn not_so() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path takes another method")
}

async fn read_stats(http: &Http) -> Result<StatsResult, Failure> {
    let answer = http.inside.call(0, 0, Command::Stats).await?;
    let response = decode_response(&answer).expect("the server's answers are valid");
    match response.body {
        Body::Stats(stats) => Ok(*stats),
        _ => Err(Failure::of(response.status, response.message, response.retry_after_ms)),
    }
}

async fn read_topology(http: &Http) -> Result<TopologyResult, Failure> {
    let answer = http.inside.call(0, 0, Command::Topology).await?;
    let response = decode_response(&answer).expect("the server's answers are valid");
    match response.body {
        Body::Topology(topology) => Ok(*topology),
        _ => Err(Failure::of(response.status, response.message, response.retry_after_ms)),
    }
}

fn node_json(node: &Node, state: &str) -> Value {
    json!({
        "id": node.id, "state": state, "address": node.address, "shards": node.shards,
        "weight": weight_text(node.points), "incarnation": format!("{:016x}", node.incarnation),
    })
}

fn group_json(group: &GroupStats) -> Value {
    json!({
        "name": group.name, "policy": group.policy, "entries": group.entries, "bytes": group.bytes,
        "budget_bytes": group.budget_bytes, "hits": group.hits, "misses": group.misses, "sets": group.sets,
        "deletes": group.deletes, "evictions": group.evictions, "evictions_for_memory": group.evictions_for_memory,
        "expirations": group.expirations, "replacements": group.replacements, "invalidations": group.invalidations,
        "voids": group.voids, "ghost_hits": group.ghost_hits, "ghost_bytes": group.ghost_bytes,
        "switching": group.switching,
    })
}

fn shard_json(shard: &ShardStats) -> Value {
    json!({
        "shard": shard.shard, "requests": shard.requests, "cross_core": shard.cross_core,
        "overloaded": shard.overloaded, "deadline_exceeded": shard.deadline_exceeded,
        "connections": shard.connections, "malformed": shard.malformed, "forwarded": shard.forwarded,
        "loads": shard.loads, "load_failures": shard.load_failures, "load_waits": shard.load_waits,
        "refreshes": shard.refreshes, "stale": shard.stale,
        "memory": shard.memory.as_ref().map(memory_json),
    })
}

fn memory_json(memory: &MemoryStats) -> Value {
    json!({
        "memory_bytes": memory.memory_bytes, "segment_bytes": memory.segment_bytes,
        "segments_free": memory.segments_free, "segments_log": memory.segments_log,
        "segments_index": memory.segments_index, "segments_ghost": memory.segments_ghost,
        "live_bytes": memory.live_bytes, "dead_bytes": memory.dead_bytes,
        "written_bytes": memory.written_bytes, "moved_bytes": memory.moved_bytes,
    })
}

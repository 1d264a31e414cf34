//! Many keys of a group, and the group as a whole.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use larder_protocol::limits::KEYS_MAX;
use larder_protocol::native::{Body, decode_response};
use larder_protocol::{Command, Entry, Keys, Span, Status};
use larder_ring::group_hash;
use serde_json::{Value, json};

use super::Http;
use super::failure::Failure;
use super::keys::{body_of, decoded, named_group};
use crate::limits::HTTP_KEYS_BYTES_MAX;

/// `{"keys": ["a", "b%20c"]}`, percent-encoded as in paths; the entries are in the same order, their values in base64.
pub(super) async fn get_many(State(http): State<Arc<Http>>, request: Request) -> Result<Json<Value>, Failure> {
    let (parts, body) = request.into_parts();
    let group = group_of(parts.uri.path(), "/get")?;
    let body = body_of(&http, &parts.headers, body, ("a list of keys", HTTP_KEYS_BYTES_MAX)).await?;
    let asked: Value =
        serde_json::from_slice(&body).map_err(|error| Failure::bad_request(format!("the body is no JSON: {error}")))?;
    let keys = asked["keys"].as_array().filter(|keys| keys.iter().all(Value::is_string));
    let keys = keys.ok_or_else(|| Failure::bad_request("write {\"keys\": [\"a\", \"b\"]}, keys as in paths"))?;
    if keys.len() > KEYS_MAX {
        return Err(Failure::of(Status::TooLarge, &format!("{} keys are more than {KEYS_MAX}", keys.len()), 0));
    }
    let (mut frame, mut spans) = (Vec::new(), Vec::with_capacity(keys.len()));
    for key in keys {
        let key = decoded(key.as_str().expect("they are strings"))?;
        spans.push(Span { start: frame.len() as u32, len: key.len() as u32 });
        frame.extend(key);
    }
    let command = Command::GetMany { keys: Keys::new(&frame, &spans) };
    let answer = http.inside.call(0, group_hash(&group, http.cluster_seed), command).await?;
    let response = decode_response(&answer).expect("the server's answers are valid");
    let Body::Entries(entries) = &response.body else {
        return Err(Failure::in_group(&group, response.status, &response));
    };
    let entries: Vec<Value> = keys.iter().zip(entries.iter()).map(|(key, entry)| entry_json(key, entry)).collect();
    Ok(Json(json!({ "entries": entries })))
}

/// Makes all entries of a group absent, on all nodes.
pub(super) async fn invalidate(State(http): State<Arc<Http>>, request: Request) -> Result<Json<Value>, Failure> {
    let group = group_of(request.uri().path(), "/invalidate")?;
    let answer = http.inside.call(0, group_hash(&group, http.cluster_seed), Command::Invalidate).await?;
    let response = decode_response(&answer).expect("the server's answers are valid");
    match response.body {
        Body::Invalidated { generation } => Ok(Json(json!({ "generation": generation }))),
        _ => Err(Failure::in_group(&group, response.status, &response)),
    }
}

fn group_of(path: &str, end: &str) -> Result<String, Failure> {
    let group = path.strip_prefix("/v1/groups/").and_then(|rest| rest.strip_suffix(end)).unwrap_or_default();
    named_group(decoded(group)?)
}

/// A version is a text, since numbers of JSON are not exact everywhere.
fn entry_json(key: &Value, entry: Result<Entry<'_>, Status>) -> Value {
    match entry {
        Ok(Entry { value, flags, version, ttl_ms, is_stale }) => json!({
            "key": key, "found": true, "value": STANDARD.encode(value), "flags": flags,
            "version": version.to_string(), "ttl_ms": (ttl_ms > 0).then_some(ttl_ms), "stale": is_stale,
        }),
        Err(Status::NotFound) => json!({ "key": key, "found": false }),
        Err(status) => json!({ "key": key, "found": false, "error": Failure::of(status, "", 0).code() }),
    }
}

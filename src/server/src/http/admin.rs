//! The groups: GET of `/v1/groups`, and GET, PUT, PATCH and DELETE of `/v1/groups/{group}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use larder_protocol::limits::GROUP_SETTINGS_BYTES_MAX;
use larder_protocol::native::{Body, decode_response};
use larder_protocol::{Command, GroupAction, GroupAlteration, Status};
use serde_json::{Value, json};

use super::Http;
use super::failure::Failure;
use super::keys::{body_of, decoded, named_group};
use super::node::not_so;

/// What there is: `{"groups": [{"name": …, …}], "kept": …}`.
pub(super) async fn list(State(http): State<Arc<Http>>) -> Result<Json<Value>, Failure> {
    ask(&http, "", GroupAction::List, "").await
}

/// Any method on one group. The body of PUT has all settings that are not to be the usual ones, that of PATCH those that
/// change (RFC 7396).
pub(super) async fn of_group(State(http): State<Arc<Http>>, request: Request) -> Result<Json<Value>, Failure> {
    let (parts, body) = request.into_parts();
    let named = || {
        let name = parts.uri.path().strip_prefix("/v1/groups/").unwrap_or_default();
        named_group(decoded(name)?)
    };
    let action = match parts.method {
        Method::GET | Method::HEAD => {
            let name = named()?;
            let Json(mut all) = ask(&http, "", GroupAction::List, "").await?;
            let groups = all["groups"].as_array_mut().map(std::mem::take).unwrap_or_default();
            let Some(group) = groups.into_iter().find(|group| group["name"] == *name) else {
                return Err(Failure::of(Status::NoSuchGroup, &format!("there is no group {name:?} on this node"), 0));
            };
            all["groups"] = Value::from(vec![group]);
            return Ok(Json(all));
        }
        Method::PUT => GroupAction::Create,
        Method::PATCH => GroupAction::Alter,
        Method::DELETE => GroupAction::Drop,
        _ => return Err(not_so().await),
    };
    let name = named()?;
    let settings = body_of(&http, &parts.headers, body, ("settings of a group", GROUP_SETTINGS_BYTES_MAX)).await?;
    let settings = String::from_utf8(settings).map_err(|_| Failure::bad_request("the body is not UTF-8"))?;
    ask(&http, &name, action, &settings).await
}

/// Asks a shard of this node, which has it done.
async fn ask(http: &Http, name: &str, action: GroupAction, settings: &str) -> Result<Json<Value>, Failure> {
    let command = Command::AlterGroup(GroupAlteration { name, action, settings });
    let answer = http.inside.call(0, 0, command).await?;
    let response = decode_response(&answer).expect("the server's answers are valid");
    match &response.body {
        Body::Altered(altered) => {
            let groups: Value = serde_json::from_str(&altered.groups).unwrap_or_default();
            Ok(Json(json!({ "groups": groups, "kept": altered.is_kept })))
        }
        _ if response.status == Status::Exists => Err(Failure::new(StatusCode::CONFLICT, "exists", response.message)),
        _ => Err(Failure::of(response.status, response.message, response.retry_after_ms)),
    }
}

//! What is answered where something cannot be done: a status, and an object that says why.

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use larder_protocol::{Status, native};

use super::inside::NoAnswer;
use crate::limits::HTTP_RETRY_AFTER_S;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after_s: Option<u32>,
}

impl Failure {
    /// With this status, a name for programs and a sentence for people.
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after_s: None }
    }

    /// The name for programs.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// The request makes no sense.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// What a shard has answered other than that it is done, about a group with this name.
    pub(super) fn in_group(group: &str, status: Status, response: &native::Response<'_>) -> Self {
        // It knows the hash alone.
        let message = match status {
            Status::NoSuchGroup => &*format!("there is no group {group:?} on this node"),
            _ => response.message,
        };
        Self::of(status, message, response.retry_after_ms)
    }

    /// What a shard has answered other than that it is done.
    pub(super) fn of(status: Status, message: &str, retry_after_ms: u32) -> Self {
        let message = match (message, status) {
            ("", Status::NotFound) => "the key is not there",
            ("", _) => "the condition is not met",
            (message, _) => message,
        };
        let (http, code) = match status {
            Status::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Status::NoSuchGroup => (StatusCode::NOT_FOUND, "no_such_group"),
            Status::Exists | Status::VersionMismatch => (StatusCode::PRECONDITION_FAILED, "condition_not_met"),
            Status::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Status::BadRequest => (StatusCode::BAD_REQUEST, "bad_request"),
            Status::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "overloaded"),
            Status::OriginBusy => (StatusCode::SERVICE_UNAVAILABLE, "origin_busy"),
            Status::OriginFailed => (StatusCode::BAD_GATEWAY, "origin_failed"),
            Status::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Status::OwnerUnsure => (StatusCode::SERVICE_UNAVAILABLE, "owner_unsure"),
            Status::WrongOwner => (StatusCode::SERVICE_UNAVAILABLE, "wrong_owner"),
            Status::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded"),
            Status::OutcomeUnknown => (StatusCode::GATEWAY_TIMEOUT, "outcome_unknown"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let is_later = matches!(http, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let retry_after_s = is_later.then(|| retry_after_ms.div_ceil(1000).max(HTTP_RETRY_AFTER_S));
        Self { retry_after_s, ..Self::new(http, code, message) }
    }
}

impl From<NoAnswer> for Failure {
    fn from(why: NoAnswer) -> Self {
        let status = match why {
            NoAnswer::Busy => Status::Overloaded,
            NoAnswer::Stopping => Status::Unavailable,
        };
        Self::of(status, &why.to_string(), 0)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { status, code, message, retry_after_s } = self;
        let body = Json(serde_json::json!({ "error": { "code": code, "message": message } }));
        let mut response = (status, body).into_response();
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

//! One key: GET, HEAD, PUT and DELETE of `/v1/groups/{group}/keys/{key}`.

use std::error::Error;
use std::sync::Arc;

use axum::body::{Body as HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use larder_protocol::native::{self, Body, decode_response};
use larder_protocol::{Command, Condition, Expiry, Status, Write};
use larder_ring::{DEFAULT_GROUP, group_hash, key_hash, shard};
use tokio::time::timeout;

use super::Http;
use super::failure::Failure;
use super::node::not_so;

/// How long an entry is kept, or is kept still: "30s", "5m", "1500ms"; "never".
pub(super) const TTL: HeaderName = HeaderName::from_static("x-larder-ttl");
/// Said of a value whose time is over, and that its group shows for a while longer.
pub(super) const STALE: HeaderName = HeaderName::from_static("x-larder-stale");
/// The number that is kept with a value.
pub(super) const FLAGS: HeaderName = HeaderName::from_static("x-larder-flags");
/// What a path of a key is made of, around the names.
const GROUPS: &str = "/v1/groups/";
const KEYS: &str = "/keys/";

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    group: String,
    key: Vec<u8>,
}

/// What groupcache's children have: the value of `?key=` in the group of `&group=`, or in the default one.
pub(super) async fn of_query(State(http): State<Arc<Http>>, request: Request) -> Result<Response, Failure> {
    let query = request.uri().query().unwrap_or_default();
    let field = |name: &str| {
        let of_name = |part: &str| part.strip_prefix(name)?.strip_prefix('=').map(|text| text.replace('+', " "));
        query.split('&').find_map(of_name).map(|text| decoded(&text)).transpose()
    };
    let key = field("key")?.ok_or_else(|| Failure::bad_request("write /api?key=KEY, and &group=GROUP if need be"))?;
    let group = field("group")?.unwrap_or_else(|| DEFAULT_GROUP.into());
    let named = Named { group: named_group(group)?, key };
    get(&http, &named, request.headers()).await
}

/// Any method on a key.
pub(super) async fn of_key(State(http): State<Arc<Http>>, request: Request) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let named = Named::parse(parts.uri.path());
    match parts.method {
        Method::GET | Method::HEAD => get(&http, &named?, &parts.headers).await,
        Method::PUT => put(&http, &named?, &parts.headers, body).await,
        Method::DELETE => delete(&http, &named?, &parts.headers).await,
        _ => Err(not_so().await),
    }
}

async fn get(http: &Http, named: &Named, headers: &HeaderMap) -> Result<Response, Failure> {
    let wanted = tag(headers, &IF_MATCH)?;
    let known = tag(headers, &IF_NONE_MATCH)?;
    let response = call(http, named, Command::Get { key: &named.key }).await?;
    let response = decode_response(&response).expect("the server's answers are valid");
    let Body::Entry(entry) = &response.body else {
        return Err(named.failure(response.status, &response));
    };
    if wanted.is_some_and(|tag| !tag.is(entry.version)) {
        return Err(Failure::of(Status::VersionMismatch, "", 0));
    }
    let mut found = HeaderMap::new();
    found.insert(ETAG, etag(entry.version));
    if known.is_some_and(|tag| tag.is(entry.version)) {
        return Ok((StatusCode::NOT_MODIFIED, found).into_response());
    }
    found.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    found.insert(CONTENT_LENGTH, HeaderValue::from(entry.value.len()));
    found.insert(FLAGS, HeaderValue::from(entry.flags));
    if entry.is_stale {
        found.insert(STALE, HeaderValue::from_static("true"));
    }
    if entry.ttl_ms > 0 {
        let left = HeaderValue::try_from(format!("{}ms", entry.ttl_ms));
        found.insert(TTL, left.expect("digits and letters"));
    }
    Ok((StatusCode::OK, found, entry.value.to_vec()).into_response())
}

async fn put(http: &Http, named: &Named, headers: &HeaderMap, body: HttpBody) -> Result<Response, Failure> {
    let condition = match (tag(headers, &IF_MATCH)?, tag(headers, &IF_NONE_MATCH)?) {
        (None, None) => Condition::Always,
        (Some(Tag::Any), None) => Condition::Present,
        (Some(Tag::Version(version)), None) => Condition::Version(version),
        (None, Some(Tag::Any)) => Condition::Absent,
        _ => {
            return Err(Failure::bad_request(
                "a PUT takes one of If-Match: *, If-Match: \"version\" and If-None-Match: *",
            ));
        }
    };
    let expiry = expiry(headers)?;
    let flags = match headers.get(FLAGS) {
        None => 0,
        Some(text) => number(text).ok_or_else(|| {
            Failure::bad_request(format!("X-Larder-Flags {text:?} is no number from 0 to {}", u32::MAX))
        })?,
    };
    let value = body_of(http, headers, body, ("a value", http.value_bytes_max)).await?;
    let write = Write { key: &named.key, value: &value, flags, condition, expiry };
    let response = call(http, named, Command::Set(write)).await?;
    let response = decode_response(&response).expect("the server's answers are valid");
    match (response.status, &response.body) {
        (Status::Ok, Body::Stored { version, .. }) => {
            Ok((StatusCode::NO_CONTENT, [(ETAG, etag(*version))]).into_response())
        }
        (Status::NotFound, _) => Err(named.failure(Status::VersionMismatch, &response)),
        (status, _) => Err(named.failure(status, &response)),
    }
}

async fn delete(http: &Http, named: &Named, headers: &HeaderMap) -> Result<Response, Failure> {
    let version = match tag(headers, &IF_MATCH)? {
        None | Some(Tag::Any) => 0,
        Some(Tag::Version(version)) => version,
    };
    let response = call(http, named, Command::Delete { key: &named.key, version }).await?;
    let response = decode_response(&response).expect("the server's answers are valid");
    match response.status {
        Status::Ok => Ok(StatusCode::NO_CONTENT.into_response()),
        status => Err(named.failure(status, &response)),
    }
}

/// Asks the shard of this node that would own the key.
async fn call(http: &Http, named: &Named, command: Command<'_>) -> Result<Vec<u8>, Failure> {
    let group = group_hash(&named.group, http.cluster_seed);
    let shard = shard(key_hash(&named.key, group), http.inside.shards());
    Ok(http.inside.call(shard, group, command).await?)
}

/// A body that is sent, which has to come in time and to be no longer than `most` bytes.
pub(super) async fn body_of(
    http: &Http,
    headers: &HeaderMap,
    body: HttpBody,
    (what, most): (&str, usize),
) -> Result<Vec<u8>, Failure> {
    let too_large = || {
        let message = format!("{what} has at most {most} bytes here");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    };
    if headers.get(CONTENT_LENGTH).and_then(number::<u64>).is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    match timeout(http.body_timeout, to_bytes(body, most)).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(error)) => {
            let is_too_long = error.source().is_some_and(|why| why.is::<http_body_util::LengthLimitError>());
            let unreadable = || Failure::bad_request(format!("the body cannot be read: {error}"));
            Err(if is_too_long { too_large() } else { unreadable() })
        }
        Err(_) => Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body has not come in time")),
    }
}

/// An entity tag as a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Any,
    Version(u64),
}

impl Tag {
    fn is(self, version: u64) -> bool {
        self == Tag::Any || self == Tag::Version(version)
    }
}

fn etag(version: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).expect("digits and quotes")
}

/// RFC 9110, section 8.8.3: a list is not taken, nor are weak tags, which no answer here has.
fn tag(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tag>, Failure> {
    let Some(text) = headers.get(name) else { return Ok(None) };
    if text == "*" {
        return Ok(Some(Tag::Any));
    }
    let version = text.to_str().ok().and_then(|text| text.strip_prefix('"')?.strip_suffix('"')?.parse().ok());
    match version {
        Some(version) => Ok(Some(Tag::Version(version))),
        None => {
            Err(Failure::bad_request(format!("{name}: {text:?} is neither * nor one ETag of an answer, in quotes")))
        }
    }
}

fn number<T: std::str::FromStr>(text: &HeaderValue) -> Option<T> {
    text.to_str().ok()?.parse().ok()
}

fn expiry(headers: &HeaderMap) -> Result<Expiry, Failure> {
    let Some(text) = headers.get(TTL) else { return Ok(Expiry::Default) };
    if text == "never" {
        return Ok(Expiry::Never);
    }
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let parsed = text.to_str().ok().and_then(|text| {
        let (digits, ms) = units.iter().find_map(|(unit, ms)| {
            let digits = text.strip_suffix(unit)?;
            digits.bytes().all(|digit| digit.is_ascii_digit()).then_some((digits, *ms))
        })?;
        digits.parse::<u64>().ok()?.checked_mul(ms).filter(|ms| *ms > 0)
    });
    parsed.map(Expiry::After).ok_or_else(|| {
        Failure::bad_request(format!("X-Larder-TTL: {text:?} is no time such as 1500ms, 30s, 5m, 1h or 7d, nor never"))
    })
}

impl Named {
    /// From the path as it was sent: names are percent-encoded bytes, the group's are UTF-8.
    fn parse(path: &str) -> Result<Self, Failure> {
        let none = || Failure::new(StatusCode::NOT_FOUND, "no_such_path", format!("there is nothing at {path}"));
        let rest = path.strip_prefix(GROUPS).ok_or_else(none)?;
        let (group, key) = rest.split_once(KEYS).ok_or_else(none)?;
        if group.contains('/') || group.is_empty() {
            return Err(none());
        }
        Ok(Self { group: named_group(decoded(group)?)?, key: decoded(key)? })
    }

    fn failure(&self, status: Status, response: &native::Response<'_>) -> Failure {
        Failure::in_group(&self.group, status, response)
    }
}

pub(super) fn named_group(name: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(name).map_err(|_| Failure::bad_request("the name of the group is not UTF-8"))
}

/// What a percent-encoded text stands for: RFC 3986, section 2.1.
pub(super) fn decoded(text: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push((high << 4 | low) as u8),
            _ => {
                return Err(Failure::bad_request(
                    "a % in a path stands before two hexadecimal digits; write %25 for it",
                ));
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_any_key() {
        let named = |path: &str| Named::parse(path).map(|named| (named.group, named.key)).ok();
        let of = |group: &str, key: &[u8]| Some((group.to_owned(), key.to_vec()));
        assert_eq!(named("/v1/groups/default/keys/a"), of("default", b"a"));
        assert_eq!(named("/v1/groups/a%20b/keys/%00%ff/%2F+%25"), of("a b", b"\0\xff//+%"));
        assert_eq!(named("/v1/groups/keys/keys/keys/x"), of("keys", b"keys/x"));
        assert_eq!(named("/v1/groups/default/keys/"), of("default", b""));
        for wrong in ["/v1/groups/default/key/a", "/v1/groups//keys/a", "/v1/groups/a/b/keys/c", "/x"] {
            assert_eq!(named(wrong), None, "{wrong}");
        }
        for wrong in ["/v1/groups/a/keys/%", "/v1/groups/a/keys/%4", "/v1/groups/a/keys/%zz", "/v1/groups/%ff/keys/a"] {
            assert_eq!(named(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn headers_are_taken_as_they_are_meant() {
        let headers = |name: HeaderName, text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::try_from(text).expect("a header"));
            headers
        };
        for (text, ms) in [("1500ms", 1_500), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("7d", 604_800_000)]
        {
            assert_eq!(expiry(&headers(TTL, text)), Ok(Expiry::After(ms)), "{text}");
        }
        assert_eq!(expiry(&headers(TTL, "never")), Ok(Expiry::Never));
        assert_eq!(expiry(&HeaderMap::new()), Ok(Expiry::Default));
        for wrong in ["", "5", "s", "-5s", "1.5s", "0s", "99999999999999999999s", "18446744073709551615d", "5 s"] {
            assert!(expiry(&headers(TTL, wrong)).is_err(), "{wrong}");
        }
        assert_eq!(tag(&headers(IF_MATCH, "*"), &IF_MATCH), Ok(Some(Tag::Any)));
        assert_eq!(tag(&headers(IF_MATCH, "\"18446744073709551615\""), &IF_MATCH), Ok(Some(Tag::Version(u64::MAX))));
        for wrong in ["7", "\"x\"", "W/\"7\"", "\"7\", \"8\""] {
            assert!(tag(&headers(IF_MATCH, wrong), &IF_MATCH).is_err(), "{wrong}");
        }
    }
}

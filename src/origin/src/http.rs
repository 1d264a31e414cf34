//! One request to an HTTP server, and what is made of its response.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::header::{CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::freshness::{self, Freshness};
use crate::limits::{HEAD_BYTES_MAX, IDLE_MS_MAX};
use crate::template::Template;

/// See the module.
#[derive(Debug)]
pub(crate) struct Http {
    client: Way,
    template: Template,
    headers: HeaderMap,
    value_bytes_max: usize,
}

/// How the server is reached.
#[derive(Debug)]
enum Way {
    Plain(Client<HttpConnector, Empty<Bytes>>),
    /// `Err`: why nobody can be believed.
    Tls(Result<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>, String>),
}

/// What the server has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    Value {
        value: Bytes,
        freshness: Freshness,
        /// As it is to be sent back.
        etag: Option<Bytes>,
    },
    /// What it has is what it has called so before.
    Unchanged(Freshness),
    Absent,
}

/// What went wrong, and whether asking again may help.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) message: String,
    pub(crate) may_pass: bool,
    /// It is about this key alone, and says nothing about the origin.
    pub(crate) is_of_key: bool,
}

impl Failed {
    fn for_good(message: String) -> Self {
        Self { message, may_pass: false, is_of_key: false }
    }

    fn of_key(message: String) -> Self {
        Self { message, may_pass: false, is_of_key: true }
    }

    fn for_now(message: String) -> Self {
        Self { message, may_pass: true, is_of_key: false }
    }
}

impl Http {
    pub(crate) fn new(template: Template, mut headers: HeaderMap, value_bytes_max: usize, idle_max: usize) -> Self {
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static("larder"));
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_idle_timeout(Duration::from_millis(IDLE_MS_MAX))
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(idle_max)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            // Whether to ask again is not the connection's to say.
            .retry_canceled_requests(false);
        let client = if template.is_secure {
            // Those that the system trusts, or the file that SSL_CERT_FILE names.
            Way::Tls(match HttpsConnectorBuilder::new().with_native_roots() {
                Ok(tls) => Ok(builder.build(tls.https_only().enable_http1().build())),
                Err(error) => Err(format!("this node knows no authority that could have signed for it: {error}")),
            })
        } else {
            Way::Plain(builder.build_http())
        };
        Self { client, template, headers, value_bytes_max }
    }

    /// Whom it asks.
    pub(crate) fn place(&self) -> &str {
        &self.template.place
    }

    /// Asks once for a key, unless what it has is called `etag` still; it is this time.
    pub(crate) async fn fetch(&self, key: &[u8], etag: Option<&[u8]>, now: SystemTime) -> Result<Fetched, Failed> {
        let url = self.template.url(key).map_err(|why| Failed::of_key(format!("the key makes no URL: {why}")))?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = url;
        *request.headers_mut() = self.headers.clone();
        let etag = etag.and_then(|etag| HeaderValue::from_bytes(etag).ok());
        let is_conditional = etag.is_some();
        etag.into_iter().for_each(|etag| drop(request.headers_mut().insert(IF_NONE_MATCH, etag)));
        let response = match &self.client {
            Way::Plain(client) => client.request(request),
            Way::Tls(Ok(client)) => client.request(request),
            Way::Tls(Err(why)) => return Err(Failed::for_good(why.clone())),
        };
        let response = response.await.map_err(|error| Failed::for_now(causes(&error)))?;
        let status = response.status();
        match status {
            StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION => {}
            StatusCode::NOT_MODIFIED if is_conditional => {
                return Ok(Fetched::Unchanged(freshness::of(response.headers(), now)));
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Fetched::Absent),
            _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(Failed::for_now(format!("it has answered {status}")));
            }
            _ if status.is_redirection() => {
                let message = format!("it has answered {status}, and redirections are not followed");
                return Err(Failed::for_good(message));
            }
            _ => return Err(Failed::for_good(format!("it has answered {status}"))),
        }
        let freshness = freshness::of(response.headers(), now);
        if let Some(encoding) = response.headers().get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            return Err(Failed::for_good(format!(
                "what it has sent is encoded as {encoding:?}, which nobody asked for"
            )));
        }
        let etag = response.headers().get(ETAG).map(|etag| Bytes::copy_from_slice(etag.as_bytes()));
        let limit = self.value_bytes_max;
        let too_large = |bytes: &str| {
            Failed::of_key(format!("the value has {bytes} bytes, and this node takes {limit}; see value_max"))
        };
        if let Some(bytes) = response.body().size_hint().exact().filter(|bytes| *bytes > limit as u64) {
            return Err(too_large(&bytes.to_string()));
        }
        match Limited::new(response.into_body(), limit).collect().await {
            Ok(body) => Ok(Fetched::Value { value: body.to_bytes(), freshness, etag }),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large("more")),
            Err(error) => Err(Failed::for_now(format!("its answer ends early: {}", causes(&*error)))),
        }
    }
}

/// An error with all that it comes from.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

//! How long what an HTTP server has sent is good for: RFC 9111, as a cache that serves many users reads it.

use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::{AGE, CACHE_CONTROL, DATE, EXPIRES, VARY};

use crate::limits::TTL_MS_MAX;

/// What the headers of a response say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// For how long, in ms; `None`: they do not say.
    pub(crate) ttl_ms: Option<u64>,
    /// Whether it may be kept at all, to be served to others without asking.
    pub(crate) is_kept: bool,
}

/// Reads the headers of a response that has come now.
pub(crate) fn of(headers: &HeaderMap, now: SystemTime) -> Freshness {
    let never = Freshness { ttl_ms: None, is_kept: false };
    if headers.get_all(VARY).iter().any(|value| value.as_bytes().trim_ascii() == b"*") {
        return never;
    }
    let (mut for_all, mut for_one) = (None, None);
    for value in headers.get_all(CACHE_CONTROL) {
        // What cannot be read allows nothing.
        let Ok(text) = value.to_str() else { return never };
        for directive in text.split(',') {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let seconds = || value.trim().trim_matches('"').parse::<u64>().unwrap_or(0);
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" | "private" => return never,
                "s-maxage" => for_all = Some(seconds()),
                "max-age" => for_one = Some(seconds()),
                _ => {}
            }
        }
    }
    let Some(lifetime) = for_all.or(for_one).map(Duration::from_secs).or_else(|| expires(headers, now)) else {
        return Freshness { ttl_ms: None, is_kept: true };
    };
    let age = text(headers, AGE).and_then(|age| age.trim().parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
    match u64::try_from(lifetime.saturating_sub(age).as_millis()).unwrap_or(u64::MAX) {
        0 => never,
        ttl_ms => Freshness { ttl_ms: Some(ttl_ms.min(TTL_MS_MAX)), is_kept: true },
    }
}

/// By the header Expires. One that is no date is in the past.
fn expires(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let expires = headers.get(EXPIRES)?;
    let at = expires.to_str().ok().and_then(|expires| httpdate::parse_http_date(expires).ok());
    let from = text(headers, DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
    Some(at.and_then(|at| at.duration_since(from).ok()).unwrap_or(Duration::ZERO))
}

fn text(headers: &HeaderMap, name: hyper::header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freshness(lines: &[(&'static str, &'static str)]) -> Freshness {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("a value"));
        }
        of(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))
    }

    fn kept(ttl_ms: u64) -> Freshness {
        Freshness { ttl_ms: Some(ttl_ms), is_kept: true }
    }

    #[test]
    fn what_headers_say() {
        let never = Freshness { ttl_ms: None, is_kept: false };
        assert_eq!(freshness(&[]), Freshness { ttl_ms: None, is_kept: true });
        assert_eq!(freshness(&[("cache-control", "public, max-age=60")]), kept(60_000));
        assert_eq!(freshness(&[("cache-control", "max-age=60"), ("cache-control", "S-MaxAge=\"5\"")]), kept(5_000));
        assert_eq!(freshness(&[("cache-control", "max-age=60"), ("age", "59")]), kept(1_000));
        assert_eq!(freshness(&[("cache-control", "max-age=60"), ("age", "60")]), never);
        assert_eq!(freshness(&[("cache-control", "max-age=0")]), never);
        assert_eq!(freshness(&[("cache-control", "max-age=often")]), never);
        assert_eq!(freshness(&[("cache-control", "max-age=18446744073709551615")]), kept(TTL_MS_MAX));
        for directive in ["no-store", "No-Cache", "private, max-age=60", "no-cache=\"set-cookie\""] {
            assert_eq!(freshness(&[("cache-control", directive)]), never, "{directive}");
        }
        assert_eq!(freshness(&[("vary", "*"), ("cache-control", "max-age=60")]), never);
        assert_eq!(freshness(&[("vary", "accept"), ("cache-control", "max-age=60")]), kept(60_000));
        let (now, later) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:37 GMT");
        assert_eq!(freshness(&[("expires", later)]), kept(60_000), "{now}");
        assert_eq!(freshness(&[("expires", later), ("date", "Sun, 06 Nov 1994 08:50:30 GMT")]), kept(7_000));
        assert_eq!(freshness(&[("expires", later), ("cache-control", "max-age=1")]), kept(1_000));
        assert_eq!(freshness(&[("expires", now)]), never);
        assert_eq!(freshness(&[("expires", "0")]), never);
    }
}

//! The URL of a key: a fixed scheme and host, and a path and query in which `{key}` stands for it.

use std::fmt::Write as _;

use hyper::Uri;

use crate::limits::URL_BYTES_MAX;

/// What stands for the key.
const PLACE: &str = "{key}";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    /// What stands before, between and behind the places of the key.
    parts: Vec<String>,
    /// Scheme and host, for messages.
    pub(crate) place: String,
    /// Whether it is asked over TLS.
    pub(crate) is_secure: bool,
}

impl Template {
    /// Understands the text of a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > URL_BYTES_MAX {
            return Err(format!("it is longer than {URL_BYTES_MAX} bytes"));
        }
        let (scheme, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => ("http", rest),
            (_, Some(rest)) => ("https", rest),
            (None, None) => return Err("it begins neither with http:// nor with https://".into()),
        };
        let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(host_end);
        if host.contains(['{', '}', '@']) {
            return Err("its host is not fixed, or names a user".into());
        }
        if !path.starts_with('/') {
            return Err("there is no path behind its host: write http://host:port/path/{key}".into());
        }
        let parts: Vec<String> = text.split(PLACE).map(str::to_owned).collect();
        if parts.len() < 2 {
            return Err("it has no {key}, which is to stand where the key goes".into());
        }
        if parts.iter().any(|part| part.contains(['{', '}', '#'])) {
            return Err("it has a brace that belongs to no {key}, or a fragment".into());
        }
        let template = Self { parts, place: format!("{scheme}://{host}"), is_secure: scheme == "https" };
        template.url(b"key").map_err(|problem| format!("it makes no URL: {problem}"))?;
        Ok(template)
    }

    /// The URL of a key.
    ///
    /// # Errors
    /// It is too long, or the template makes none.
    pub(crate) fn url(&self, key: &[u8]) -> Result<Uri, String> {
        let mut encoded = String::with_capacity(key.len());
        for byte in key {
            // What RFC 3986 calls unreserved; everything else could mean something in a path or a query.
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(*byte)),
                other => write!(encoded, "%{other:02X}").expect("a string takes everything"),
            }
        }
        // A path that is "." or ".." as a whole segment means another one, and clients on the way may resolve it.
        if encoded == "." || encoded == ".." {
            encoded = encoded.replace('.', "%2E");
        }
        self.parts.join(&encoded).parse().map_err(|error: hyper::http::uri::InvalidUri| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_is_one_segment() {
        let template = Template::parse("http://127.0.0.1:90/scores/{key}/of?also={key}").unwrap();
        let url = |key: &[u8]| template.url(key).unwrap().to_string();
        assert_eq!(url(b"ann"), "http://127.0.0.1:90/scores/ann/of?also=ann");
        assert_eq!(url(b"a/b c?d#\xff%"), {
            let encoded = "a%2Fb%20c%3Fd%23%FF%25";
            format!("http://127.0.0.1:90/scores/{encoded}/of?also={encoded}")
        });
        assert_eq!(url(b".."), "http://127.0.0.1:90/scores/%2E%2E/of?also=%2E%2E");
        assert_eq!(template.place, "http://127.0.0.1:90");
        assert!(template.url(&vec![b'/'; 64 << 10]).is_err(), "longer than a URL may be");
    }

    #[test]
    fn what_makes_no_url_is_refused() {
        for (text, problem) in [
            ("ftp://a/{key}", "begins neither with http:// nor with https://"),
            ("http://{key}/a", "its host is not fixed"),
            ("http://me@a/{key}", "names a user"),
            ("http://a{key}", "its host is not fixed"),
            ("http://a?{key}", "no path behind its host"),
            ("http://a/b", "no {key}"),
            ("http://a/{key}/{id}", "a brace"),
            ("http://a/{key}#part", "a fragment"),
            ("http:///{key}", "it makes no URL"),
            ("http://a b/{key}", "it makes no URL"),
        ] {
            let refused = Template::parse(text).unwrap_err();
            assert!(refused.contains(problem), "{text}: {refused}");
        }
    }
}

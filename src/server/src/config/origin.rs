//! The origin of a group: `[group.origin]`.

use std::time::Duration;

use larder_origin::OriginSettings;
use larder_origin::limits::{CONCURRENT_DEFAULT, NEGATIVE_TTL_MS_DEFAULT, QUEUE_DEFAULT, TIMEOUT_MS_DEFAULT};

use super::OriginConfig;
use super::error::{ConfigError, Fault};
use super::file::GivenOrigin;
use super::given::Text;
use super::group::{refused, ttl};
use super::value::Milliseconds;

pub(super) fn resolve(given: &GivenOrigin, group: &str) -> Result<OriginConfig, ConfigError> {
    let key = |part: &str| format!("{part} of the origin of group {group:?}");
    let whole = |text: &str| ConfigError::Refused {
        name: format!("the origin of group {group:?}"),
        value: text.to_owned(),
        given_by: given.source.clone(),
        fault: Fault::new("it has no url", "write url = \"http://host:port/path/{key}\""),
    };
    let url = given.url.as_ref().ok_or_else(|| whole(""))?;
    let number = |name: &str, text: &Option<Text>, default: usize| match text {
        None => Ok(default),
        Some(text) => text.text.parse().map_err(|_| {
            refused(key(name), text, Fault::new("it is no whole number", format!("write one such as {default}")))
        }),
    };
    let timeout_ms = match &given.timeout {
        None => TIMEOUT_MS_DEFAULT,
        Some(text) => {
            let parsed = text.text.parse().map_err(|fault| refused(key("timeout"), text, fault));
            let Milliseconds(timeout_ms) = parsed?;
            timeout_ms
        }
    };
    let negative_ttl_ms = match &given.negative_ttl {
        None => NEGATIVE_TTL_MS_DEFAULT,
        Some(text) => ttl(&text.text).map_err(|fault| refused(key("negative_ttl"), text, fault))?,
    };
    let early_refresh_percent = match &given.early_refresh {
        None => 0,
        Some(text) => early_refresh(&text.text).map_err(|fault| refused(key("early_refresh"), text, fault))?,
    };
    let settings = OriginSettings {
        group: group.to_owned(),
        url: url.text.clone(),
        headers: given.headers.iter().map(|header| header.text.clone()).collect(),
        timeout: Duration::from_millis(timeout_ms),
        concurrent_max: number("max_concurrent", &given.max_concurrent, CONCURRENT_DEFAULT)?,
        queue_max: number("queue", &given.queue, QUEUE_DEFAULT)?,
        // The node's, which is known later.
        value_bytes_max: 0,
    };
    if let Err(error) = settings.check() {
        return Err(ConfigError::Refused {
            name: format!("the origin of group {group:?}"),
            value: url.text.clone(),
            given_by: given.source.clone(),
            fault: Fault::new(error.to_string(), "see --help"),
        });
    }
    Ok(OriginConfig { settings, negative_ttl_ms, early_refresh_percent })
}

/// A factor such as 1 or 0.5, in percent; 0: off.
fn early_refresh(text: &str) -> Result<u32, Fault> {
    if text == "off" {
        return Ok(0);
    }
    let remedy = "write a factor from 0.1 to 10 such as 1, or off; the greater, the earlier";
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 2 || whole.len() > 2 {
        return Err(Fault::new("it is no factor with up to two digits behind the point", remedy));
    }
    let number = |text: &str| text.parse::<u32>().expect("two digits are a number");
    match number(whole) * 100 + number(&format!("{fraction:0<2}")) {
        percent @ 10..=1000 => Ok(percent),
        _ => Err(Fault::new("it is out of range", remedy)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::given::Source;
    use super::*;

    fn text(text: &str) -> Option<Text> {
        Some(Text { text: text.to_owned(), source: Source::Flag("there") })
    }

    fn given() -> GivenOrigin {
        GivenOrigin {
            source: Source::Flag("here"),
            url: text("http://a/{key}"),
            timeout: None,
            max_concurrent: None,
            queue: None,
            negative_ttl: None,
            early_refresh: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn defaults_and_what_is_given() {
        let OriginConfig { settings, negative_ttl_ms, early_refresh_percent } = resolve(&given(), "g").unwrap();
        assert_eq!(early_refresh_percent, 0);
        assert_eq!((settings.timeout, settings.concurrent_max), (Duration::from_secs(1), CONCURRENT_DEFAULT));
        assert_eq!((settings.queue_max, negative_ttl_ms), (QUEUE_DEFAULT, NEGATIVE_TTL_MS_DEFAULT));
        let all = GivenOrigin {
            timeout: text("250ms"),
            max_concurrent: text("8"),
            queue: text("0"),
            negative_ttl: text("off"),
            early_refresh: text("1.5"),
            headers: vec![text("X: a, b").unwrap()],
            ..given()
        };
        let OriginConfig { settings, negative_ttl_ms, early_refresh_percent } = resolve(&all, "g").unwrap();
        assert_eq!(early_refresh_percent, 150);
        assert_eq!((settings.timeout, settings.concurrent_max), (Duration::from_millis(250), 8));
        assert_eq!((settings.queue_max, negative_ttl_ms, &*settings.headers[0]), (0, 0, "X: a, b"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |given: GivenOrigin| resolve(&given, "g").unwrap_err().to_string();
        assert!(refused(GivenOrigin { url: None, ..given() }).contains("it has no url: write url = "));
        for (given, part) in [
            (GivenOrigin { url: text("http://a/b"), ..given() }, "it has no {key}"),
            (GivenOrigin { timeout: text("1h"), ..given() }, "timeout in ms is 3600000; it can be from 1 to 30000"),
            (GivenOrigin { timeout: text("fast"), ..given() }, "timeout of the origin of group \"g\" = \"fast\""),
            (GivenOrigin { max_concurrent: text("many"), ..given() }, "it is no whole number: write one such as 64"),
            (GivenOrigin { max_concurrent: text("0"), ..given() }, "max_concurrent is 0"),
            (GivenOrigin { early_refresh: text("11"), ..given() }, "it is out of range: write a factor from 0.1 to 10"),
            (GivenOrigin { early_refresh: text("on"), ..given() }, "it is no factor"),
            (GivenOrigin { negative_ttl: text("0s"), ..given() }, "negative_ttl of the origin of group \"g\""),
            (GivenOrigin { headers: vec![text("secret").unwrap()], ..given() }, "header 1 of 1: it has no colon"),
        ] {
            let error = refused(given);
            assert!(error.contains(part) && !error.contains("secret"), "{error}");
        }
    }
}

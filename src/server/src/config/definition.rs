//! The settings of a group as one JSON object with the keys of a `[[group]]` but its name: so they are kept in etcd, and said
//! by whoever changes groups while the server runs.

use std::collections::BTreeMap;

use larder_protocol::limits::GROUP_SETTINGS_BYTES_MAX;
use serde_json::Value;

use super::error::{ConfigError, Fault};
use super::file::{GROUP_KEYS, GivenGroup, GivenOrigin, ORIGIN_KEYS};
use super::given::{Source, Text};
use super::group::{self, Groups, Room};
use super::nearest::nearest;
use super::{GroupConfig, value::Size};
use crate::limits::GROUPS_MAX;

/// See the module.
pub type Definition = serde_json::Map<String, Value>;

/// What the groups of a node are to fit into.
#[derive(Clone, Copy, Debug)]
pub struct GroupRoom {
    /// Its memory.
    pub memory_bytes: u64,
    /// How many shards share it.
    pub shards: u16,
}

const HERE: Source = Source::Running("the settings given");
static NODE: Source = Source::Running("this node");

impl GroupRoom {
    /// The groups that these definitions make, the default one first.
    ///
    /// # Errors
    /// One cannot be, or they do not fit.
    pub fn resolve(self, definitions: &BTreeMap<String, Definition>) -> Result<Vec<GroupConfig>, ConfigError> {
        if definitions.len() > GROUPS_MAX {
            let fault =
                Fault::new(format!("there are {} groups", definitions.len()), format!("have at most {GROUPS_MAX}"));
            return Err(refused("groups", Size(self.memory_bytes).to_string(), fault));
        }
        let given: Result<Vec<GivenGroup>, ConfigError> =
            definitions.iter().map(|(name, all)| given(name, all)).collect();
        group::resolve(&given?, &self.room()).map(|Groups { configs, .. }| configs)
    }

    /// The same for definitions that are so whatever this node says: what cannot be is left out or made smaller, and
    /// reported.
    pub fn resolve_as_fits(self, definitions: &BTreeMap<String, Definition>) -> (Vec<GroupConfig>, Vec<String>) {
        let (mut all, mut reports) = (Vec::new(), Vec::new());
        for (name, definition) in definitions.iter().take(GROUPS_MAX) {
            match given(name, definition) {
                Ok(given) => all.push(given),
                Err(error) => reports.push(format!("group {name:?} is left out: {error}")),
            }
        }
        if definitions.len() > GROUPS_MAX {
            reports.push(format!("there are {} groups, and a node has at most {GROUPS_MAX}", definitions.len()));
        }
        let (Groups { configs, .. }, more) = group::resolve_as_fits(&all, &self.room());
        reports.extend(more);
        (configs, reports)
    }

    fn room(self) -> Room<'static> {
        Room { memory_bytes: self.memory_bytes, memory_source: &NODE, shards: self.shards }
    }
}

/// Reads settings.
///
/// # Errors
/// They are no JSON object, or too long.
pub fn parse(text: &str) -> Result<Definition, String> {
    if text.len() > GROUP_SETTINGS_BYTES_MAX {
        return Err(format!("they have {} bytes, and may have {GROUP_SETTINGS_BYTES_MAX}", text.len()));
    }
    match if text.is_empty() { Ok(Value::Object(Definition::new())) } else { serde_json::from_str(text) } {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("they are no JSON object: write {\"memory\": \"64MiB\"}".to_owned()),
        Err(error) => Err(format!("they are no JSON: {error}")),
    }
}

/// What was given in the configuration.
pub(super) fn of_given(given: &GivenGroup) -> (String, Definition) {
    let mut all = texts([
        ("memory", &given.memory),
        ("policy", &given.policy),
        ("ttl", &given.ttl),
        ("ttl_jitter", &given.ttl_jitter),
        ("stale_while_revalidate", &given.stale_while_revalidate),
        ("stale_if_error", &given.stale_if_error),
    ]);
    if let Some(given) = &given.origin {
        let mut origin = texts([
            ("url", &given.url),
            ("timeout", &given.timeout),
            ("max_concurrent", &given.max_concurrent),
            ("queue", &given.queue),
            ("negative_ttl", &given.negative_ttl),
            ("early_refresh", &given.early_refresh),
        ]);
        if !given.headers.is_empty() {
            let headers: Vec<Value> = given.headers.iter().map(|header| Value::from(header.text.clone())).collect();
            origin.insert("headers".to_owned(), Value::from(headers));
        }
        all.insert("origin".to_owned(), Value::from(origin));
    }
    (given.name.text.clone(), all)
}

/// Those settings that were given.
fn texts<const N: usize>(settings: [(&str, &Option<Text>); N]) -> Definition {
    let given = settings.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?)));
    given.map(|(key, text)| (key.to_owned(), Value::from(text.text.clone()))).collect()
}

/// As if it had been written in the configuration.
fn given(name: &str, definition: &Definition) -> Result<GivenGroup, ConfigError> {
    let key = |part: &str| format!("{part} of group {name:?}");
    known(&key("a setting"), definition, &GROUP_KEYS[1..])?;
    let text_of = |part: &str| text(&key(part), definition.get(part));
    let origin = match definition.get("origin") {
        None => None,
        Some(Value::Object(origin)) => {
            known(&key("a setting of the origin"), origin, &ORIGIN_KEYS)?;
            let text_of = |part: &str| text(&key(&format!("origin.{part}")), origin.get(part));
            let headers = match origin.get("headers") {
                None => Vec::new(),
                Some(Value::Array(headers)) => {
                    let headers = headers.iter().map(|header| text(&key("origin.headers"), Some(header)));
                    headers.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()
                }
                Some(_) => {
                    let fault = Fault::new("it is not a list", "write \"headers\": [\"Name: value\"]");
                    return Err(refused(key("origin.headers"), String::new(), fault));
                }
            };
            Some(GivenOrigin {
                source: HERE,
                url: text_of("url")?,
                timeout: text_of("timeout")?,
                max_concurrent: text_of("max_concurrent")?,
                queue: text_of("queue")?,
                negative_ttl: text_of("negative_ttl")?,
                early_refresh: text_of("early_refresh")?,
                headers,
            })
        }
        Some(_) => {
            let fault = Fault::new("it is not an object", "write \"origin\": {\"url\": \"http://host/{key}\"}");
            return Err(refused(key("origin"), String::new(), fault));
        }
    };
    Ok(GivenGroup {
        name: Text { text: name.to_owned(), source: HERE },
        memory: text_of("memory")?,
        policy: text_of("policy")?,
        ttl: text_of("ttl")?,
        ttl_jitter: text_of("ttl_jitter")?,
        stale_while_revalidate: text_of("stale_while_revalidate")?,
        stale_if_error: text_of("stale_if_error")?,
        origin,
    })
}

fn known(what: &str, definition: &Definition, keys: &[&'static str]) -> Result<(), ConfigError> {
    let Some(unknown) = definition.keys().find(|key| !keys.contains(&key.as_str())) else { return Ok(()) };
    let remedy = match nearest(unknown, keys.iter().copied()) {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None => format!("there are {}", keys.join(", ")),
    };
    Err(refused(what, unknown.clone(), Fault::new("there is no such setting", remedy)))
}

fn text(name: &str, value: Option<&Value>) -> Result<Option<Text>, ConfigError> {
    let text = match value {
        None => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(other) => {
            let fault = Fault::new("it is neither a text nor a number", "write a text in double quotes");
            return Err(refused(name, other.to_string(), fault));
        }
    };
    Ok(Some(Text { text, source: HERE }))
}

fn refused(name: impl Into<String>, value: String, fault: Fault) -> ConfigError {
    ConfigError::Refused { name: name.into(), value, given_by: HERE, fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const ROOM: GroupRoom = GroupRoom { memory_bytes: 64 * MIB, shards: 2 };

    fn definitions(all: &[(&str, &str)]) -> BTreeMap<String, Definition> {
        all.iter().map(|(name, text)| ((*name).to_owned(), parse(text).expect("an object"))).collect()
    }

    fn budgets(configs: &[GroupConfig]) -> Vec<(&str, u64)> {
        configs.iter().map(|group| (&*group.name, group.budget_bytes)).collect()
    }

    #[test]
    fn all_settings_are_understood() {
        let all = definitions(&[(
            "scores",
            r#"{"memory": "25%", "policy": "lru", "ttl": "10m", "ttl_jitter": "5%", "stale_while_revalidate": "30s",
                "stale_if_error": "1h", "origin": {"url": "http://a/{key}", "queue": 5, "headers": ["A: b"],
                "early_refresh": "2", "negative_ttl": "off", "timeout": "2s", "max_concurrent": "8"}}"#,
        )]);
        let configs = ROOM.resolve(&all).expect("they fit");
        assert_eq!(budgets(&configs), [("default", 48 * MIB), ("scores", 16 * MIB)]);
        let scores = &configs[1];
        assert_eq!((scores.ttl_ms, scores.ttl_jitter, scores.stale_while_revalidate_ms), (600_000, 5, 30_000));
        assert_eq!(scores.stale_if_error_ms, 3_600_000);
        let origin = scores.origin.as_ref().expect("it has one");
        assert_eq!((origin.settings.queue_max, origin.settings.concurrent_max), (5, 8));
        assert_eq!((origin.early_refresh_percent, origin.negative_ttl_ms), (200, 0));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        for (text, part) in [
            (
                r#"{"memroy": "1MiB"}"#,
                "= \"memroy\" (from the settings given): there is no such setting: did you mean \"memory\"?",
            ),
            (r#"{"memory": true}"#, "memory of group \"a\" = \"true\""),
            (r#"{"memory": "65MiB"}"#, "the groups have more than this: 65MiB (a) = 65MiB"),
            (
                r#"{"memory": "1MiB", "origin": "http://a"}"#,
                "origin of group \"a\" = \"\" (from the settings given): it is not an object",
            ),
            (r#"{"memory": "1MiB", "origin": {"uri": "http://a/{key}"}}"#, "did you mean \"url\"?"),
            (r#"{"memory": "1MiB", "origin": {"url": "http://a/{key}", "headers": "A: b"}}"#, "it is not a list"),
            (r#"{}"#, "it has no memory"),
        ] {
            let error = ROOM.resolve(&definitions(&[("a", text)])).expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
        for (text, part) in [("[]", "no JSON object"), ("{", "no JSON"), (&*"x".repeat(20_000), "may have 16384")] {
            assert!(parse(text).expect_err(text).contains(part), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_here_is_made_to() {
        let (configs, reports) = ROOM.resolve_as_fits(&definitions(&[
            ("a", r#"{"memory": "96MiB"}"#),
            ("b", r#"{"memory": "32MiB"}"#),
            ("c", r#"{"memory": "much"}"#),
        ]));
        let [("default", left), ("a", a), ("b", b)] = budgets(&configs)[..] else { panic!("{configs:?}") };
        assert!(a + b + left == 64 * MIB && a > 47 * MIB && b > 15 * MIB && left >= 64 << 10, "{configs:?}");
        assert_eq!(reports.len(), 2, "{reports:?}");
        assert!(reports[0].contains("group \"c\" cannot be as it is kept: memory of group \"c\""), "{reports:?}");
        assert!(reports[1].contains("96MiB (a) + 32MiB (b) = 128MiB"), "{reports:?}");
        let many: BTreeMap<String, Definition> = (0..200)
            .map(|number| (format!("g{number:03}"), parse(r#"{"memory": "1GiB"}"#).expect("an object")))
            .collect();
        let small = GroupRoom { memory_bytes: 4 * MIB, shards: 2 };
        let (configs, reports) = small.resolve_as_fits(&many);
        assert!(configs.len() < 200 && configs[0].name == "default", "{}", configs.len());
        assert!(configs.iter().map(|group| group.budget_bytes).sum::<u64>() <= 4 * MIB);
        assert!(reports[0].contains("there is no memory for the groups"), "{reports:?}");
    }

    #[test]
    fn what_was_configured_is_read_again() {
        let text = r#"{"memory":"25%","origin":{"headers":["A: b"],"queue":"5","url":"http://a/{key}"},"ttl":"10m"}"#;
        let read = given("scores", &parse(text).expect("an object")).expect("known settings");
        let (name, again) = of_given(&read);
        assert_eq!((&*name, serde_json::to_string(&again).expect("JSON")), ("scores", text.to_owned()));
    }
}

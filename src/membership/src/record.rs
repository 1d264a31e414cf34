//! What nodes and operators write to etcd: readable JSON, one record for each key.

use std::fmt;

use larder_ring::limits::WEIGHT_DECIMALS_MAX;
use larder_ring::{Node, weight_points, weight_text};
use serde::{Deserialize, Serialize};

/// Whether a node takes part in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has started, and owns nothing.
    Joining,
    /// It is in the ring.
    Serving,
    /// It has left the ring, and is finishing.
    Draining,
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            State::Joining => "joining",
            State::Serving => "serving",
            State::Draining => "draining",
        })
    }
}

/// The registration of a node, on a lease, under `/larder/<cluster>/nodes/<id>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// `host:port` of its native protocol.
    pub addr: String,
    /// `host:port` of its HTTP interface; empty: it has none.
    #[serde(default)]
    pub http: String,
    /// How many shards it has.
    pub shards: u16,
    /// Its share of the ring in relation to others, as it was configured.
    pub weight: f64,
    /// Where it stands; empty: not said.
    #[serde(default)]
    pub zone: String,
    /// Whether it takes part in the ring.
    pub state: State,
    /// Random per start of the process: 16 hexadecimal digits.
    #[serde(with = "hex")]
    pub incarnation: u64,
    /// Name and version of the program.
    pub version: String,
}

/// What an operator has said about a node, without a lease, under `/larder/<cluster>/overrides/<id>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OverrideRecord {
    /// Counts instead of the node's own weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// The node is to own nothing.
    #[serde(default)]
    pub drain: bool,
}

/// What all nodes keep of a group, without a lease, under `/larder/<cluster>/groups/<group>`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// How often it was invalidated.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u64,
    /// Its settings, whose meaning is not known here. None: there is a group only where a node is configured with it.
    #[serde(flatten)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "that is how serde asks")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl GroupRecord {
    /// Reads a record; says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// As it lies in etcd.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a record has nothing that JSON has not")
    }

    /// Its settings as JSON.
    pub fn settings_json(&self) -> String {
        serde_json::to_string(&self.settings).expect("settings have nothing that JSON has not")
    }
}

/// Changes a JSON object by another as RFC 7396 says: what is null goes, objects are merged, and anything else is taken as it
/// is.
pub fn merge_settings(
    settings: &mut serde_json::Map<String, serde_json::Value>,
    patch: serde_json::Map<String, serde_json::Value>,
) {
    use serde_json::Value;
    for (key, value) in patch {
        match value {
            Value::Null => drop(settings.remove(&key)),
            Value::Object(patch) => {
                let before = settings.remove(&key);
                let mut inner = if let Some(Value::Object(inner)) = before { inner } else { serde_json::Map::new() };
                merge_settings(&mut inner, patch);
                settings.insert(key, Value::Object(inner));
            }
            value => drop(settings.insert(key, value)),
        }
    }
}

impl NodeRecord {
    /// Reads a record; says what is wrong with it.
    pub fn parse(id: &str, bytes: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        record.node(id, None)?;
        Ok(record)
    }

    /// The node that it describes, with the weight of an override.
    pub fn node(&self, id: &str, weight: Option<f64>) -> Result<Node, String> {
        let points = points_of(weight.unwrap_or(self.weight))?;
        let (id, address) = (id.to_owned(), self.addr.clone());
        let node = Node { id, address, shards: self.shards, points, incarnation: self.incarnation };
        node.check().map_err(|error| error.to_string())?;
        Ok(node)
    }

    /// As it lies in etcd.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a record has nothing that JSON has not")
    }
}

impl OverrideRecord {
    /// Reads a record; says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        record.weight.map_or(Ok(0), points_of)?;
        Ok(record)
    }

    /// As it lies in etcd.
    pub fn to_json(self) -> String {
        serde_json::to_string(&self).expect("a record has nothing that JSON has not")
    }

    /// Whether it says nothing.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// The weight of a node with so many points, as records have it.
pub(crate) fn weight_of(points: u32) -> f64 {
    weight_text(points).parse().expect("a weight is a decimal number")
}

fn points_of(weight: f64) -> Result<u32, String> {
    weight_points(&format!("{weight:.WEIGHT_DECIMALS_MAX$}")).map_err(|error| error.to_string())
}

/// Numbers that people are not to count with.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{number:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = u64::from_str_radix(&text, 16).ok().filter(|_| text.len() <= 16);
        number.ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no hexadecimal number of 64 bits")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_readable_and_read_again() {
        let record = NodeRecord {
            addr: "larder-0.example:7400".into(),
            http: String::new(),
            shards: 4,
            weight: weight_of(1536),
            zone: "a".into(),
            state: State::Serving,
            incarnation: 0x0123_4567_89ab_cdef,
            version: "larder 0.1.0".into(),
        };
        let json = record.to_json();
        assert_eq!(
            json,
            r#"{"addr":"larder-0.example:7400","http":"","shards":4,"weight":1.5,"zone":"a","state":"serving","incarnation":"0123456789abcdef","version":"larder 0.1.0"}"#
        );
        assert_eq!(NodeRecord::parse("a", json.as_bytes()).as_ref(), Ok(&record));
        assert_eq!(record.node("a", None).map(|node| node.points), Ok(1536));
        assert_eq!(record.node("a", Some(0.5)).map(|node| node.points), Ok(512));
        for points in (1..1 << 20).step_by(997) {
            let record = NodeRecord { weight: weight_of(points), ..record.clone() };
            let read = NodeRecord::parse("a", record.to_json().as_bytes());
            assert_eq!(read.and_then(|record| record.node("a", None)).map(|node| node.points), Ok(points));
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_is_wrong() {
        let refused = [
            ("", "EOF"),
            ("7", "invalid type"),
            (r#"{"addr":"a:1","shards":1,"weight":1,"state":"lost","incarnation":"1","version":""}"#, "lost"),
            (r#"{"addr":"a:1","shards":0,"weight":1,"state":"serving","incarnation":"1","version":""}"#, "shards"),
            (r#"{"addr":"a:1","shards":1,"weight":0,"state":"serving","incarnation":"1","version":""}"#, "0"),
            (r#"{"addr":"a:1","shards":1,"weight":1,"state":"serving","incarnation":"xyz","version":""}"#, "xyz"),
            (r#"{"addr":"","shards":1,"weight":1,"state":"serving","incarnation":"1","version":""}"#, "address"),
        ];
        for (json, reason) in refused {
            let error = NodeRecord::parse("a", json.as_bytes()).expect_err(json);
            assert!(error.contains(reason), "{json}: {error}");
        }
        assert!(OverrideRecord::parse(br#"{"weight":-1}"#).is_err());
    }

    #[test]
    fn an_override_says_no_more_than_it_has_to() {
        assert_eq!(OverrideRecord { weight: None, drain: true }.to_json(), r#"{"drain":true}"#);
        assert_eq!(OverrideRecord::parse(br#"{"weight":2}"#), Ok(OverrideRecord { weight: Some(2.0), drain: false }));
        assert!(OverrideRecord::default().is_empty());
    }
}

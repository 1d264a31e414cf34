//! What a command is answered with: for people, for scripts, and as an exit code.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use larder_client::{AlteredGroup, Bytes, DeleteOutcome, Entry, Error, Members, Number, SetOutcome, Stats};
use serde_json::{Map, Value, json};

use crate::groups;
use crate::input::bytes;
use crate::stats;
use crate::text::{escaped, put_bytes};

/// The exit codes, of which the largest of several results is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Everything is there, or was done.
    Done = 0,
    /// A miss, or a condition that was not met.
    Unmet = 1,
    /// The command line or its input is not usable.
    Usage = 2,
    /// The server cannot be reached, or refused.
    Failed = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Input that cannot be used; nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unusable(pub(crate) String);

/// An error of the whole command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) exit: Exit,
    retryable: bool,
}

impl Refusal {
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let exit = match error.downcast_ref::<Error>() {
            Some(Error::Setting { .. }) => Exit::Usage,
            Some(_) => Exit::Failed,
            None if error.is::<Unusable>() => Exit::Usage,
            None => Exit::Failed,
        };
        Self { exit, retryable: error.downcast_ref::<Error>().is_some_and(Error::is_retryable) }
    }

    pub(crate) fn to_json(self, error: &anyhow::Error) -> Value {
        json!({ "error": format!("{error:#}"), "retryable": self.retryable })
    }
}

/// Results by key, in the order of the command line.
type ByKey<T> = Vec<(OsString, Result<T, Error>)>;

/// The result of a command.
#[derive(Debug)]
pub(crate) enum Report {
    Value {
        key: OsString,
        entry: Option<Entry>,
    },
    Values(ByKey<Option<Entry>>),
    Stored {
        key: OsString,
        outcome: SetOutcome,
    },
    StoredMany(ByKey<SetOutcome>),
    Deleted(ByKey<DeleteOutcome>),
    Touched {
        key: OsString,
        version: Option<u64>,
    },
    Number {
        key: OsString,
        number: Option<Number>,
    },
    Keys(Vec<Bytes>),
    /// It was written while it came.
    Written,
    Groups(Vec<Stats>, Vec<AlteredGroup>),
    Altered(Vec<AlteredGroup>),
    Stats(Vec<Stats>),
    Topology(Members),
    /// How often all nodes have done so.
    Invalidated {
        group: String,
        generation: u64,
    },
    /// What etcd has now of a node.
    AlteredNode {
        node: String,
        weight: Option<String>,
        drain: Option<bool>,
    },
}

impl Report {
    /// What scripts are told.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Report::Value { entry, .. } => met(entry.is_some()),
            Report::Values(entries) => worst(entries, Option::is_some),
            Report::Stored { outcome, .. } => met(is_stored(outcome)),
            Report::StoredMany(outcomes) => worst(outcomes, is_stored),
            Report::Deleted(outcomes) => worst(outcomes, |outcome| *outcome == DeleteOutcome::Deleted),
            Report::Touched { version, .. } => met(version.is_some()),
            Report::Number { number, .. } => met(number.is_some()),
            Report::Keys(_)
            | Report::Written
            | Report::Groups(..)
            | Report::Altered(_)
            | Report::Stats(_)
            | Report::Topology(_)
            | Report::Invalidated { .. }
            | Report::AlteredNode { .. } => Exit::Done,
        }
    }

    /// Results to standard output; for people, what is missing or failed to standard error.
    pub(crate) fn print(&self, json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if json && !matches!(self, Report::Written) {
            writeln!(out, "{}", self.to_json())?;
        } else {
            self.print_text(&mut out)?;
        }
        out.flush()
    }

    fn print_text(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Report::Value { entry: Some(entry), .. } => {
                out.write_all(&entry.value)?;
                // A person's prompt begins on a line of its own; a pipe gets the value and nothing else.
                if io::stdout().is_terminal() { writeln!(out) } else { Ok(()) }
            }
            Report::Value { key, entry: None } | Report::Touched { key, version: None } => not_found(key),
            Report::Number { key, number: None } => not_found(key),
            Report::Number { number: Some(number), .. } => writeln!(out, "{}", number.value),
            Report::Touched { version: Some(version), .. } => writeln!(out, "touched, version {version}"),
            Report::Stored { outcome: SetOutcome::Stored { version }, .. } => {
                writeln!(out, "stored, version {version}")
            }
            Report::Stored { key, outcome } => complain(key, unmet(*outcome)),
            Report::Values(entries) => entries.iter().try_for_each(|(key, entry)| match entry {
                Ok(Some(entry)) => writeln!(out, "{}\t{}", escaped(bytes(key)), escaped(&entry.value)),
                Ok(None) => not_found(key),
                Err(error) => complain(key, error),
            }),
            Report::StoredMany(outcomes) => outcomes.iter().try_for_each(|(key, outcome)| match outcome {
                Ok(SetOutcome::Stored { version }) => {
                    writeln!(out, "{}\tstored, version {version}", escaped(bytes(key)))
                }
                Ok(outcome) => complain(key, unmet(*outcome)),
                Err(error) => complain(key, error),
            }),
            Report::Deleted(outcomes) => outcomes.iter().try_for_each(|(key, outcome)| match outcome {
                Ok(DeleteOutcome::Deleted) => writeln!(out, "{}\tdeleted", escaped(bytes(key))),
                Ok(DeleteOutcome::NotFound) => not_found(key),
                Ok(DeleteOutcome::VersionMismatch) => complain(key, unmet(SetOutcome::VersionMismatch)),
                Err(error) => complain(key, error),
            }),
            Report::Keys(keys) => keys.iter().try_for_each(|key| writeln!(out, "{}", escaped(key))),
            Report::Written => Ok(()),
            Report::Groups(nodes, settings) => groups::print_list(out, nodes, settings),
            Report::Altered(nodes) => groups::print_altered(out, nodes),
            Report::Stats(nodes) => stats::print_stats(out, nodes),
            Report::Topology(members) => stats::print_topology(out, members),
            Report::Invalidated { group, generation } => {
                writeln!(out, "group {group}: no node has any of its entries from before (generation {generation})")
            }
            Report::AlteredNode { node, weight, drain } => {
                let weight = weight.as_ref().map(|weight| format!("weight {weight}"));
                let drain =
                    drain.map(|drain| if drain { "it is to own nothing" } else { "it is not drained any more" });
                let said: Vec<&str> = weight.as_deref().into_iter().chain(drain).collect();
                writeln!(out, "node {node}: {}; a restart does not change that", said.join(", "))
            }
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Report::Value { key, entry } => entry_json(key, entry.as_ref()),
            Report::Values(entries) => {
                json!({ "entries": by_key(entries, |key, entry| entry_json(key, entry.as_ref())) })
            }
            Report::Stored { key, outcome } => stored_json(key, outcome),
            Report::StoredMany(outcomes) => json!({ "entries": by_key(outcomes, stored_json) }),
            Report::Deleted(outcomes) => json!({ "entries": by_key(outcomes, |key, outcome| {
                let found = *outcome != DeleteOutcome::NotFound;
                let deleted = *outcome == DeleteOutcome::Deleted;
                keyed(key, [("deleted", deleted.into()), ("found", found.into())])
            }) }),
            Report::Touched { key, version } => versioned(key, *version, []),
            Report::Number { key, number } => {
                // Within what JSON readers keep exact or not, a number is a number; its text is exact in any case.
                let value = number.map(|number| ("value", Value::from(number.value)));
                versioned(key, number.map(|number| number.version), value)
            }
            Report::Keys(keys) => json!({ "keys": keys.iter().map(|key| key_json(key)).collect::<Vec<_>>() }),
            Report::Written => Value::Null,
            Report::Groups(nodes, settings) => groups::list_json(nodes, settings),
            Report::Altered(nodes) => groups::altered_json(nodes),
            Report::Stats(nodes) => json!({ "nodes": nodes.iter().map(stats::stats_json).collect::<Vec<_>>() }),
            Report::Topology(members) => stats::topology_json(members),
            Report::Invalidated { group, generation } => json!({ "group": group, "generation": generation }),
            Report::AlteredNode { node, weight, drain } => json!({ "node": node, "weight": weight, "drain": drain }),
        }
    }
}

fn met(met: bool) -> Exit {
    if met { Exit::Done } else { Exit::Unmet }
}

fn worst<T>(results: &ByKey<T>, is_met: impl Fn(&T) -> bool) -> Exit {
    let exits = results.iter().map(|(_, result)| result.as_ref().map_or(Exit::Failed, |value| met(is_met(value))));
    exits.max().unwrap_or(Exit::Done)
}

fn is_stored(outcome: &SetOutcome) -> bool {
    outcome.version().is_some()
}

fn unmet(outcome: SetOutcome) -> &'static str {
    match outcome {
        SetOutcome::Stored { .. } => "stored",
        SetOutcome::Exists => "not stored: the key is there",
        SetOutcome::NotFound => "not stored: the key is not there",
        SetOutcome::VersionMismatch => "left as it is: the entry has another version",
    }
}

/// A line on standard error. That nobody listens there is no reason to fail: the exit code says the same.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn not_found(key: &OsString) -> io::Result<()> {
    complain(key, "not found")
}

fn complain(key: &OsString, what: impl fmt::Display) -> io::Result<()> {
    say(format_args!("{}: {what}", escaped(bytes(key))));
    Ok(())
}

fn by_key<T>(results: &ByKey<T>, to_json: impl Fn(&OsString, &T) -> Value) -> Vec<Value> {
    let of = |(key, result): &(OsString, Result<T, Error>)| match result {
        Ok(value) => to_json(key, value),
        Err(error) => keyed(key, [("error", error.to_string().into()), ("retryable", error.is_retryable().into())]),
    };
    results.iter().map(of).collect()
}

fn key_json(key: &[u8]) -> Value {
    let mut object = Map::new();
    put_bytes(&mut object, "key", key);
    Value::Object(object)
}

fn keyed<'n>(key: &OsString, fields: impl IntoIterator<Item = (&'n str, Value)>) -> Value {
    let mut object = Map::new();
    put_bytes(&mut object, "key", bytes(key));
    object.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Value::Object(object)
}

fn entry_json(key: &OsString, entry: Option<&Entry>) -> Value {
    let Some(entry) = entry else {
        return keyed(key, [("found", false.into())]);
    };
    let mut object = Map::new();
    put_bytes(&mut object, "value", &entry.value);
    let ttl_ms = entry.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    let fields = [
        ("found", Value::from(true)),
        ("flags", entry.flags.into()),
        ("version", entry.version.to_string().into()),
        ("ttl_ms", ttl_ms.into()),
        ("stale", entry.is_stale.into()),
    ];
    let value = object.iter().map(|(name, value)| (name.as_str(), value.clone()));
    keyed(key, value.chain(fields))
}

fn stored_json(key: &OsString, outcome: &SetOutcome) -> Value {
    match outcome {
        SetOutcome::Stored { version } => {
            keyed(key, [("stored", true.into()), ("version", version.to_string().into())])
        }
        outcome => keyed(key, [("stored", false.into()), ("reason", unmet(*outcome).into())]),
    }
}

fn versioned<'n>(key: &OsString, version: Option<u64>, more: impl IntoIterator<Item = (&'n str, Value)>) -> Value {
    let found = ("found", Value::from(version.is_some()));
    let version = version.map(|version| ("version", Value::from(version.to_string())));
    keyed(key, [found].into_iter().chain(more).chain(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_result_decides_the_exit_code() {
        let key = OsString::from("k");
        let (hit, miss) = ((key.clone(), Ok(true)), (key.clone(), Ok(false)));
        let failed = (key, Err(Error::NotANumber));
        let is_met = |hit: &bool| *hit;
        assert_eq!(worst(&vec![hit.clone(), hit.clone()], is_met), Exit::Done);
        assert_eq!(worst(&vec![hit.clone(), miss.clone()], is_met), Exit::Unmet);
        assert_eq!(worst(&vec![failed, miss, hit], is_met), Exit::Failed);
    }

    #[test]
    fn a_bad_setting_is_the_users_and_the_rest_the_servers() {
        let of = |error: Error| Refusal::of(&error.into()).exit;
        assert_eq!(of(Error::Setting { setting: "address", value: "x".into(), remedy: "y".into() }), Exit::Usage);
        assert_eq!(of(Error::OutOfRange), Exit::Failed);
        assert_eq!(Refusal::of(&Unusable("no".into()).into()).exit, Exit::Usage);
    }

    #[test]
    fn json_of_an_entry_has_everything_and_versions_are_exact() {
        let entry = Entry {
            value: vec![0xff].into(),
            flags: 3,
            version: u64::MAX,
            ttl: Some(std::time::Duration::from_secs(1)),
            is_stale: false,
        };
        let json = Report::Value { key: "k".into(), entry: Some(entry) }.to_json();
        let expected = json!({
            "key": "k", "key_encoding": "utf-8", "found": true, "value": "/w==", "value_encoding": "base64",
            "flags": 3, "version": "18446744073709551615", "ttl_ms": 1000, "stale": false,
        });
        assert_eq!(json, expected);
        let json = Report::Value { key: "k".into(), entry: None }.to_json();
        assert_eq!(json, json!({ "key": "k", "key_encoding": "utf-8", "found": false }));
    }
}

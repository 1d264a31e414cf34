//! What each command does.

use std::ffi::OsString;

use larder_client::{
    Client, Condition, DeleteOutcome, Expiry, IncrementOptions, ScanOptions, SetOptions, expires_after,
};

use crate::arguments::{Command, GroupCommand, SetArguments, TouchExpiry, WriteOptions};
use crate::groups::settings_json;
use crate::input::{bytes, value};
use crate::report::{Report, Unusable};
use crate::scan;
use crate::watch;

/// A command with all its input at hand, so that nothing is sent when a part of it is not usable.
#[derive(Debug)]
pub(crate) enum Prepared {
    Get(OsString),
    Set { key: OsString, value: Vec<u8>, options: SetOptions },
    Delete { keys: Vec<OsString>, version: Option<u64> },
    GetMany(Vec<OsString>),
    SetMany { entries: Vec<(OsString, OsString)>, options: SetOptions },
    Touch { key: OsString, expiry: Expiry },
    Increment { key: OsString, delta: i64, options: IncrementOptions },
    Scan(ScanOptions),
    Watch(String),
    Groups,
    CreateGroup { name: String, settings: String },
    AlterGroup { name: String, settings: String },
    DropGroup(String),
    Stats,
    Topology,
    Invalidate,
    AlterNode { node: String, weight: Option<String>, drain: Option<bool> },
}

/// Reads the input of a command and checks what clap cannot.
pub(crate) fn prepare(command: Command) -> Result<Prepared, Unusable> {
    Ok(match command {
        Command::Get { key } => Prepared::Get(key),
        Command::Set(SetArguments { key, value: argument, file, options }) => {
            Prepared::Set { key, value: value(argument, file.as_deref())?, options: set_options(options) }
        }
        Command::Del { keys, if_version: Some(_) } if keys.len() > 1 => {
            return Err(Unusable(format!("--if-version goes with one key, and there are {}", keys.len())));
        }
        Command::Del { keys, if_version: version } => Prepared::Delete { keys, version },
        Command::Mget { keys } => Prepared::GetMany(keys),
        Command::Mset { pairs, options } => {
            Prepared::SetMany { entries: in_pairs(pairs)?, options: set_options(options) }
        }
        Command::Touch { key, expiry: TouchExpiry { ttl, .. } } => {
            Prepared::Touch { key, expiry: ttl.map_or(Expiry::Never, expires_after) }
        }
        Command::Incr { key, delta, initial, ttl } => {
            let expiry = ttl.map_or(Expiry::Default, expires_after);
            Prepared::Increment { key, delta, options: IncrementOptions { initial, expiry } }
        }
        Command::Scan { pattern, count } => {
            let pattern = pattern.unwrap_or_default();
            Prepared::Scan(ScanOptions::new().pattern(bytes(&pattern)).count(count))
        }
        Command::Watch { name } => Prepared::Watch(name),
        Command::Group(GroupCommand::List) => Prepared::Groups,
        Command::Group(GroupCommand::Create { name, settings }) => {
            Prepared::CreateGroup { name, settings: settings_json(*settings) }
        }
        Command::Group(GroupCommand::Alter { name, settings }) => {
            Prepared::AlterGroup { name, settings: settings_json(*settings) }
        }
        Command::Group(GroupCommand::Drop { name }) => Prepared::DropGroup(name),
        Command::Stats => Prepared::Stats,
        Command::Topology => Prepared::Topology,
        Command::Invalidate => Prepared::Invalidate,
        Command::Drain { node, undo } => Prepared::AlterNode { node, weight: None, drain: Some(!undo) },
        Command::Weight { node, weight } => Prepared::AlterNode { node, weight: Some(weight), drain: None },
    })
}

/// Does it. Keys of a scan that are not for a JSON object, and what is watched, are written as they come.
pub(crate) async fn run(client: &Client, command: Prepared, json: bool) -> anyhow::Result<Report> {
    Ok(match command {
        Prepared::Get(key) => {
            let entry = client.get(bytes(&key)).await?;
            Report::Value { key, entry }
        }
        Prepared::Set { key, value, options } => {
            let outcome = client.set_with(bytes(&key), value, options).await?;
            Report::Stored { key, outcome }
        }
        Prepared::Delete { keys, version: Some(version) } => {
            let key = keys.into_iter().next().expect("clap asks for a key");
            let outcome = client.delete_version(bytes(&key), version).await?;
            Report::Deleted(vec![(key, Ok(outcome))])
        }
        Prepared::Delete { keys, version: None } => {
            let outcomes = client.delete_many(&raw(&keys)).await;
            let outcomes = outcomes.into_iter().map(|outcome| {
                outcome.map(|was_there| if was_there { DeleteOutcome::Deleted } else { DeleteOutcome::NotFound })
            });
            Report::Deleted(keys.into_iter().zip(outcomes).collect())
        }
        Prepared::GetMany(keys) => {
            let entries = client.get_many(&raw(&keys)).await;
            Report::Values(keys.into_iter().zip(entries).collect())
        }
        Prepared::SetMany { entries, options } => {
            let pairs: Vec<(&[u8], &[u8])> = entries.iter().map(|(key, value)| (bytes(key), bytes(value))).collect();
            let outcomes = client.set_many(&pairs, options).await;
            Report::StoredMany(entries.into_iter().map(|(key, _)| key).zip(outcomes).collect())
        }
        Prepared::Touch { key, expiry } => {
            let version = client.touch(bytes(&key), expiry).await?;
            Report::Touched { key, version }
        }
        Prepared::Increment { key, delta, options } => {
            let number = client.increment_with(bytes(&key), delta, options).await?;
            Report::Number { key, number }
        }
        Prepared::Scan(options) if json => Report::Keys(scan::collect(client, options).await?),
        Prepared::Scan(options) => {
            scan::print(client, options).await?;
            Report::Written
        }
        Prepared::Watch(name) => {
            watch::print(client, &name, json).await?;
            Report::Written
        }
        Prepared::Groups => Report::Groups(client.stats().await?, client.groups().await?),
        Prepared::CreateGroup { name, settings } => Report::Altered(client.create_group(&name, &settings).await?),
        Prepared::AlterGroup { name, settings } => Report::Altered(client.alter_group(&name, &settings).await?),
        Prepared::DropGroup(name) => Report::Altered(client.drop_group(&name).await?),
        Prepared::Stats => Report::Stats(client.stats().await?),
        Prepared::Topology => Report::Topology(client.members().await?),
        Prepared::Invalidate => {
            Report::Invalidated { group: client.group_name().to_owned(), generation: client.invalidate().await? }
        }
        Prepared::AlterNode { node, weight, drain } => {
            client.alter_node(&node, weight.as_deref(), drain).await?;
            Report::AlteredNode { node, weight, drain }
        }
    })
}

fn raw(keys: &[OsString]) -> Vec<&[u8]> {
    keys.iter().map(|key| bytes(key)).collect()
}

fn set_options(options: WriteOptions) -> SetOptions {
    let WriteOptions { ttl, no_expiry, keep_ttl, flags, if_absent, if_present, if_version } = options;
    let expiry = match ttl {
        Some(ttl) => expires_after(ttl),
        None if no_expiry => Expiry::Never,
        None if keep_ttl => Expiry::Keep,
        None => Expiry::Default,
    };
    let condition = match if_version {
        Some(version) => Condition::Version(version),
        None if if_absent => Condition::Absent,
        None if if_present => Condition::Present,
        None => Condition::Always,
    };
    SetOptions { flags, condition, expiry }
}

fn in_pairs(arguments: Vec<OsString>) -> Result<Vec<(OsString, OsString)>, Unusable> {
    if !arguments.len().is_multiple_of(2) {
        let last = arguments.last().map(|last| last.to_string_lossy().into_owned()).unwrap_or_default();
        return Err(Unusable(format!("key {last:?} has no value; mset takes key, value, key, value and so on")));
    }
    let mut arguments = arguments.into_iter();
    let mut pairs = Vec::with_capacity(arguments.len() / 2);
    while let (Some(key), Some(value)) = (arguments.next(), arguments.next()) {
        pairs.push((key, value));
    }
    Ok(pairs)
}

//! Groups of the nodes, as tables and as JSON.

use std::io::{self, Write};

use larder_client::{AlteredGroup, GroupStats, Stats};
use larder_protocol::Size;
use serde_json::{Map, Value, json};

use crate::arguments::GroupSettings;
use crate::stats::print_table;
use crate::text::escaped;

/// What people are told of how long a change lasts.
const UNTIL_END: &str = "until the node ends; to keep it, change its configuration too";
/// The same where it lasts.
const KEPT: &str = "kept in etcd, for all nodes";
/// Settings that have columns of their own.
const SHOWN: [&str; 4] = ["name", "memory", "memory_bytes", "policy"];

/// The settings that were given, as JSON; "default" is as if it had not been given.
pub(crate) fn settings_json(settings: GroupSettings) -> String {
    let GroupSettings { memory, policy, ttl, ttl_jitter, stale_while_revalidate, stale_if_error, .. } = settings;
    let GroupSettings { origin, origin_timeout, max_concurrent, queue, negative_ttl, early_refresh, header, .. } =
        settings;
    let mut all = object([
        ("memory", memory),
        ("policy", policy),
        ("ttl", ttl),
        ("ttl_jitter", ttl_jitter),
        ("stale_while_revalidate", stale_while_revalidate),
        ("stale_if_error", stale_if_error),
    ]);
    if origin.as_deref() == Some("default") {
        all.insert("origin".to_owned(), Value::Null);
        return Value::from(all).to_string();
    }
    let mut of_origin = object([
        ("url", origin),
        ("timeout", origin_timeout),
        ("max_concurrent", max_concurrent),
        ("queue", queue),
        ("negative_ttl", negative_ttl),
        ("early_refresh", early_refresh),
    ]);
    if !header.is_empty() {
        let is_default = header.iter().any(|header| header == "default");
        of_origin.insert("headers".to_owned(), if is_default { Value::Null } else { Value::from(header) });
    }
    if !of_origin.is_empty() {
        all.insert("origin".to_owned(), Value::from(of_origin));
    }
    Value::from(all).to_string()
}

fn object<const N: usize>(settings: [(&str, Option<String>); N]) -> Map<String, Value> {
    let given = settings.into_iter().filter_map(|(key, text)| Some((key, text?)));
    let value = |text: String| if text == "default" { Value::Null } else { Value::from(text) };
    given.map(|(key, text)| (key.to_owned(), value(text))).collect()
}

/// A table for each node.
pub(crate) fn print_list(out: &mut impl Write, nodes: &[Stats], settings: &[AlteredGroup]) -> io::Result<()> {
    for node in nodes {
        writeln!(out, "node {}", node.node)?;
        let rows = node.groups.iter().map(|group| {
            let numbers = [group.budget_bytes, group.bytes, group.entries].map(|number| number.to_string());
            let further = settings_of(settings, &node.node, &group.name);
            let further: Vec<String> = further
                .iter()
                .filter(|(key, _)| !SHOWN.contains(&key.as_str()))
                .map(|(key, value)| {
                    format!("{key}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                })
                .collect();
            [group.name.clone(), policy(group)].into_iter().chain(numbers).chain([further.join(" ")]).collect()
        });
        print_table(out, &["group", "policy", "budget", "bytes", "entries", "settings"], rows)?;
    }
    Ok(())
}

/// The settings that were given of a group: by what the node says, or whoever speaks for all.
fn settings_of(settings: &[AlteredGroup], node: &str, group: &str) -> Map<String, Value> {
    let said = settings.iter().find(|said| said.is_kept || said.node == node);
    let groups: Vec<Map<String, Value>> =
        said.and_then(|said| serde_json::from_str(&said.groups).ok()).unwrap_or_default();
    groups.into_iter().find(|known| known.get("name").is_some_and(|name| name == group)).unwrap_or_default()
}

/// The policy of a group, and how many entries it has not taken over yet.
pub(crate) fn policy(group: &GroupStats) -> String {
    match group.switching {
        0 => group.policy.clone(),
        left => format!("{} ({left} to go)", group.policy),
    }
}

/// A line for each group that was changed, and how long that lasts.
pub(crate) fn print_altered(out: &mut impl Write, nodes: &[AlteredGroup]) -> io::Result<()> {
    for node in nodes {
        for change in &node.changes {
            let name = escaped(change.name.as_bytes());
            if change.policy_before.is_empty() {
                let (memory, policy) = (Size(change.memory_bytes), &change.policy);
                writeln!(out, "node {}: group {name} is there, with {memory} and policy {policy}", node.node)?;
                continue;
            }
            if change.policy.is_empty() {
                writeln!(
                    out,
                    "node {}: group {name} is dropped, and gives back {}",
                    node.node,
                    Size(change.memory_bytes_before)
                )?;
                continue;
            }
            if change.memory_bytes != change.memory_bytes_before {
                let (before, now) = (Size(change.memory_bytes_before), Size(change.memory_bytes));
                writeln!(out, "node {}: group {name} had {before} and has {now}", node.node)?;
            }
            if change.policy != change.policy_before {
                let (before, now) = (&change.policy_before, &change.policy);
                writeln!(out, "node {}: group {name} had policy {before} and has {now}", node.node)?;
            }
        }
        if node.changes.is_empty() {
            writeln!(out, "node {}: memory and policy of all groups are as before", node.node)?;
        }
    }
    writeln!(out, "{}", lasts(nodes))
}

fn lasts(nodes: &[AlteredGroup]) -> &'static str {
    if nodes.iter().any(|node| node.is_kept) { KEPT } else { UNTIL_END }
}

pub(crate) fn list_json(nodes: &[Stats], settings: &[AlteredGroup]) -> Value {
    let nodes = nodes.iter().map(|node| {
        let groups = node.groups.iter().map(|group| {
            json!({
                "name": group.name, "policy": group.policy, "budget_bytes": group.budget_bytes, "bytes": group.bytes,
                "entries": group.entries, "switching": group.switching,
                "settings": settings_of(settings, &node.node, &group.name),
            })
        });
        json!({ "node": node.node, "groups": groups.collect::<Vec<_>>() })
    });
    json!({ "nodes": nodes.collect::<Vec<_>>() })
}

pub(crate) fn altered_json(nodes: &[AlteredGroup]) -> Value {
    let all = nodes.iter().map(|node| {
        let changes = node.changes.iter().map(|change| {
            json!({
                "group": change.name, "memory_bytes": change.memory_bytes,
                "memory_bytes_before": change.memory_bytes_before, "policy": change.policy,
                "policy_before": change.policy_before,
            })
        });
        json!({ "node": node.node, "changes": changes.collect::<Vec<_>>() })
    });
    json!({ "nodes": all.collect::<Vec<_>>(), "lasts": lasts(nodes) })
}

//! Groups of the nodes, as tables and as JSON.

use std::io::{self, Write};

use larder_client::{AlteredGroup, GroupStats, Stats};
use larder_protocol::Size;
use serde_json::{Value, json};

use crate::stats::print_table;
use crate::text::escaped;

/// What people are told of how long a change lasts.
const LASTS: &str = "until the node ends; to keep it, change its configuration too";

/// A table for each node.
pub(crate) fn print_list(out: &mut impl Write, nodes: &[Stats]) -> io::Result<()> {
    for node in nodes {
        writeln!(out, "node {}", node.node)?;
        let rows = node.groups.iter().map(|group| {
            let numbers = [group.budget_bytes, group.bytes, group.entries].map(|number| number.to_string());
            [group.name.clone(), policy(group)].into_iter().chain(numbers).collect()
        });
        print_table(out, &["group", "policy", "budget", "bytes", "entries"], rows)?;
    }
    Ok(())
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
            if change.memory_bytes != change.memory_bytes_before {
                let (before, now) = (Size(change.memory_bytes_before), Size(change.memory_bytes));
                writeln!(out, "node {}: group {name} had {before} and has {now}", node.node)?;
            }
            if change.policy != change.policy_before {
                let (before, now) = (&change.policy_before, &change.policy);
                writeln!(out, "node {}: group {name} had policy {before} and has {now}", node.node)?;
            }
            if (change.memory_bytes, &change.policy) == (change.memory_bytes_before, &change.policy_before) {
                let (memory, policy) = (Size(change.memory_bytes), &change.policy);
                writeln!(out, "node {}: group {name} has {memory} and policy {policy} already", node.node)?;
            }
        }
    }
    writeln!(out, "{LASTS}")
}

pub(crate) fn list_json(nodes: &[Stats]) -> Value {
    let nodes = nodes.iter().map(|node| {
        let groups = node.groups.iter().map(|group| {
            json!({
                "name": group.name, "policy": group.policy, "budget_bytes": group.budget_bytes, "bytes": group.bytes,
                "entries": group.entries, "switching": group.switching,
            })
        });
        json!({ "node": node.node, "groups": groups.collect::<Vec<_>>() })
    });
    json!({ "nodes": nodes.collect::<Vec<_>>() })
}

pub(crate) fn altered_json(nodes: &[AlteredGroup]) -> Value {
    let nodes = nodes.iter().map(|node| {
        let changes = node.changes.iter().map(|change| {
            json!({
                "group": change.name, "memory_bytes": change.memory_bytes,
                "memory_bytes_before": change.memory_bytes_before, "policy": change.policy,
                "policy_before": change.policy_before,
            })
        });
        json!({ "node": node.node, "changes": changes.collect::<Vec<_>>() })
    });
    json!({ "nodes": nodes.collect::<Vec<_>>(), "lasts": LASTS })
}

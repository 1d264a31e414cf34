//! Groups of the nodes, as tables and as JSON.

use std::io::{self, Write};

use larder_client::{AlteredGroup, Stats};
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
            [group.name.clone(), group.policy.clone()].into_iter().chain(numbers).collect()
        });
        print_table(out, &["group", "policy", "budget", "bytes", "entries"], rows)?;
    }
    Ok(())
}

/// A line for each group that was changed, and how long that lasts.
pub(crate) fn print_altered(out: &mut impl Write, nodes: &[AlteredGroup]) -> io::Result<()> {
    for node in nodes {
        for change in &node.changes {
            let (before, now) = (Size(change.memory_bytes_before), Size(change.memory_bytes));
            writeln!(out, "node {}: group {} had {before} and has {now}", node.node, escaped(change.name.as_bytes()))?;
        }
    }
    writeln!(out, "{LASTS}")
}

pub(crate) fn list_json(nodes: &[Stats]) -> Value {
    let nodes = nodes.iter().map(|node| {
        let groups = node.groups.iter().map(|group| {
            json!({
                "name": group.name, "policy": group.policy, "budget_bytes": group.budget_bytes, "bytes": group.bytes,
                "entries": group.entries,
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
                "memory_bytes_before": change.memory_bytes_before,
            })
        });
        json!({ "node": node.node, "changes": changes.collect::<Vec<_>>() })
    });
    json!({ "nodes": nodes.collect::<Vec<_>>(), "lasts": LASTS })
}

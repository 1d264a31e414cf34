//! A membership written by hand: a list of `[id=]addr[*weight]`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use crate::limits::{NODES_MAX, POINTS_PER_WEIGHT};
use crate::{Node, TopologyError, WeightError, weight_points};

/// One entry of a static list. How many shards the node has is not in it: the node says so itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticNode {
    /// The node's id; the address as written unless the entry names one.
    pub id: String,
    /// `host:port`.
    pub address: String,
    /// Points on the ring: 1,024 for a weight of 1.
    pub points: u32,
}

/// What is wrong with a static list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StaticListError {
    /// The list has no entry.
    #[error("the list of nodes is empty: name at least one as [id=]host:port[*weight]")]
    Empty,
    /// The list has more entries than a ring has nodes.
    #[error("the list names {entries} nodes: at most {NODES_MAX}")]
    TooManyEntries {
        /// How many.
        entries: usize,
    },
    /// The address is not `host:port`.
    #[error("entry {entry:?}: {address:?} is no address: {reason}")]
    Address {
        /// The entry as written.
        entry: String,
        /// Its address.
        address: String,
        /// What is wrong and what to write.
        reason: &'static str,
    },
    /// The weight cannot be used.
    #[error("entry {entry:?}: {error}")]
    Weight {
        /// The entry as written.
        entry: String,
        /// Why not.
        error: WeightError,
    },
    /// The id or another part cannot be in a ring.
    #[error("entry {entry:?}: {error}")]
    Node {
        /// The entry as written.
        entry: String,
        /// Why not.
        error: TopologyError,
    },
    /// Two entries have one id.
    #[error("entries {first:?} and {second:?} have the same id {id:?}: give each node an id of its own")]
    DuplicateId {
        /// The id.
        id: String,
        /// The entry that comes first.
        first: String,
        /// The other one.
        second: String,
    },
    /// Two entries have one address.
    #[error("entries {first:?} and {second:?} have the same address {address:?}: name each node once")]
    DuplicateAddress {
        /// The address.
        address: String,
        /// The entry that comes first.
        first: String,
        /// The other one.
        second: String,
    },
}

impl StaticNode {
    /// Reads `[id=]addr[*weight]`.
    pub fn parse(entry: &str) -> Result<StaticNode, StaticListError> {
        let (id, rest) = match entry.split_once('=') {
            Some((id, rest)) => (Some(id), rest),
            None => (None, entry),
        };
        let (address, weight) = match rest.split_once('*') {
            Some((address, weight)) => (address, Some(weight)),
            None => (rest, None),
        };
        check_address(address).map_err(|reason| StaticListError::Address {
            entry: entry.to_string(),
            address: address.to_string(),
            reason,
        })?;
        let points = weight
            .map_or(Ok(POINTS_PER_WEIGHT), weight_points)
            .map_err(|error| StaticListError::Weight { entry: entry.to_string(), error })?;
        let node = StaticNode { id: id.unwrap_or(address).to_string(), address: address.to_string(), points };
        match node.node(1, 0).check() {
            Ok(()) => Ok(node),
            Err(error) => Err(StaticListError::Node { entry: entry.to_string(), error }),
        }
    }

    /// The node of this entry, with what only the node itself can tell.
    pub fn node(&self, shards: u16, incarnation: u64) -> Node {
        Node { id: self.id.clone(), address: self.address.clone(), shards, points: self.points, incarnation }
    }
}

/// Reads the entries of a list and refuses any id or address that is there twice.
pub fn parse_static_list<S: AsRef<str>>(entries: &[S]) -> Result<Vec<StaticNode>, StaticListError> {
    if entries.is_empty() {
        return Err(StaticListError::Empty);
    }
    if entries.len() > NODES_MAX {
        return Err(StaticListError::TooManyEntries { entries: entries.len() });
    }
    let nodes: Vec<StaticNode> =
        entries.iter().map(|entry| StaticNode::parse(entry.as_ref())).collect::<Result<_, _>>()?;
    let written = |index: usize| entries[index].as_ref().to_string();
    if let Some((first, second)) = duplicate(&nodes, |node| node.id.clone()) {
        let id = nodes[first].id.clone();
        return Err(StaticListError::DuplicateId { id, first: written(first), second: written(second) });
    }
    // Host names have no case.
    if let Some((first, second)) = duplicate(&nodes, |node| node.address.to_ascii_lowercase()) {
        let address = nodes[second].address.clone();
        return Err(StaticListError::DuplicateAddress { address, first: written(first), second: written(second) });
    }
    Ok(nodes)
}

/// The positions of two nodes with the same value, the smaller one first.
fn duplicate(nodes: &[StaticNode], value: impl Fn(&StaticNode) -> String) -> Option<(usize, usize)> {
    let mut values: Vec<(String, usize)> = nodes.iter().map(value).zip(0..).collect();
    values.sort_unstable();
    values.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| (pair[0].1, pair[1].1))
}

/// Whether others can reach a node by this address: a host or an IP address in brackets if it has colons, and a port.
fn check_address(address: &str) -> Result<(), &'static str> {
    let (host, port) = address.rsplit_once(':').ok_or("write host:port")?;
    check_port(port)?;
    if let Some(bracketed) = host.strip_prefix('[') {
        let inner = bracketed.strip_suffix(']').ok_or("the bracket is not closed: write [IPv6]:port")?;
        let ip: Ipv6Addr = inner.parse().map_err(|_| "there is no IPv6 address in the brackets")?;
        return if ip.is_unspecified() { Err(WILDCARD) } else { Ok(()) };
    }
    if host == "0.0.0.0" {
        return Err(WILDCARD);
    }
    if host.is_empty() {
        return Err("the host is missing: write host:port");
    }
    if host.contains(':') {
        return Err("an IPv6 address needs brackets: write [IPv6]:port");
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Err("a host has letters, digits, '-', '.' and '_' only");
    }
    Ok(())
}

const WILDCARD: &str = "nobody can reach a wildcard address: write the one that others use";

fn check_port(port: &str) -> Result<(), &'static str> {
    let canonical = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    match port.parse::<u16>() {
        Ok(_) if canonical => Ok(()),
        _ => Err("the port must be 1 to 65535, without leading zeros"),
    }
}

//! A topology together with how it came about, which decides when a node may answer for what it has gained.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::{Node, Topology};

/// What a node is told when the ring changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The ring.
    pub topology: Arc<Topology>,
    /// Nodes that have started and are not in the ring yet. Nothing depends on them.
    pub joining: Vec<Node>,
    /// Nodes that are in the ring no more and have not ended: they may have owned something a moment ago.
    pub leaving: Vec<Node>,
    /// Nothing has happened between the membership before this one and it that was not seen. Otherwise any member may
    /// have been the owner of anything in between.
    pub follows: bool,
    /// Counts the registrations of this node, 0 where there are none. With another one than before, others may have owned
    /// everything of this node in between.
    pub registration: u64,
    /// Somebody who is not in the ring may not have noticed, and answer on, unless this node's registration is good until
    /// this time at least, in ms since the Unix epoch: by then whoever keeps registrations has been there again for long
    /// enough. What was such a node's, or is not known whose it was, is not to be opened before. 0: whoever is gone has
    /// fallen silent.
    pub shut_until_ms: u64,
    /// No other process of this cluster can have given versions before this node's began. Otherwise some may have that nobody
    /// who is there remembers.
    pub is_first: bool,
    /// How often each group was invalidated, by its name; those that never were may be left out.
    pub generations: Arc<BTreeMap<String, u64>>,
    /// The groups of the cluster, by name, if somebody keeps them.
    pub groups: Option<Arc<BTreeMap<String, KeptGroup>>>,
}

/// A group as it is kept for all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptGroup {
    /// Tells it from a group that had its name before. Not 0.
    pub identity: u64,
    /// Its settings, as whoever keeps them writes them; what they mean is not known here.
    pub settings: String,
}

impl Membership {
    /// One that never changes, or the first of all.
    pub fn first(topology: Arc<Topology>) -> Self {
        let (joining, leaving, generations) = (Vec::new(), Vec::new(), Arc::default());
        let (follows, registration, shut_until_ms, groups) = (false, 0, 0, None);
        let is_first = true;
        Self { topology, joining, leaving, follows, registration, shut_until_ms, is_first, generations, groups }
    }
}

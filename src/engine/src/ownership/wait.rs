//! What slots that were gained wait for.

use alloc::string::String;
use alloc::vec::Vec;

use larder_ring::{Membership, Node};

use crate::Ticket;

/// A process that may have owned something: what of it is asked to acknowledge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Before {
    pub(super) id: String,
    pub(super) incarnation: u64,
    /// Shards that have not acknowledged.
    pub(super) shards: Vec<u16>,
}

/// Slots that wait for the same processes.
#[derive(Clone, Debug)]
pub(super) struct Wait {
    /// What is to be acknowledged.
    pub(super) epoch: u64,
    pub(super) before: Vec<Before>,
    /// They are all that there are: it suffices that each goes by the epoch, for then nobody goes by one before it. Of one
    /// alone it has to be known that it has given up what it had, and was given that by who had it before.
    pub(super) is_everyone: bool,
    /// Slots of it were lost before they were opened, and this is the last epoch at which this node had all of them. Who
    /// gained them waits for this node, which therefore may not acknowledge a later one before it has been acknowledged
    /// itself. Where epochs were missed, it is the last one before: in between this node may have been given and have lost
    /// something, and never have asked for it. Else it is not before `epoch`, so of those who wait for each other each
    /// waits for an earlier epoch than the one before, and none waits for itself; who waits for everyone waits for nobody's
    /// waiting.
    pub(super) kept_epoch: Option<u64>,
    /// Nor is it over before the registration is good until then, see [`Membership::shut_until_ms`].
    pub(super) until_ms: u64,
    /// Who is answered once all have acknowledged, where it is about no slots.
    pub(super) ticket: Option<Ticket>,
}

impl Before {
    pub(super) fn of(node: &Node) -> Self {
        Self { id: node.id.clone(), incarnation: node.incarnation, shards: (0..node.shards).collect() }
    }
}

impl Wait {
    /// Whether what waits for it may be opened, by a shard whose registration is good until then.
    pub(super) fn is_over(&self, good_until_ms: u64, remembers: bool) -> bool {
        // Of some of it nobody may be there any more who has given a version.
        let is_known = remembers || !self.is_everyone || self.ticket.is_some();
        self.before.is_empty() && self.until_ms <= good_until_ms && is_known
    }
}

/// Every process that may own something.
pub(super) fn members(membership: &Membership) -> impl Iterator<Item = &Node> {
    membership.topology.nodes().iter().chain(&membership.leaving)
}

/// Whether this process may own something.
pub(super) fn is_member(membership: &Membership, id: &str, incarnation: u64) -> bool {
    let topology = &membership.topology;
    let is_it = |node: &Node| node.id == id && node.incarnation == incarnation;
    topology.index_of(id).is_some_and(|index| is_it(topology.node(index))) || membership.leaving.iter().any(is_it)
}

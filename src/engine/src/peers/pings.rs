//! Asking other nodes how far they are. A link has at most one such question under way, beside its requests.

use alloc::vec::Vec;

use super::link::State;
use super::{LinkId, Peers};
use crate::slab::SlabKey;

/// The id of a ping. No other request has it.
pub(crate) const PING_ID: u64 = u64::MAX;

impl Peers {
    /// Asks a shard of a process, unless it is being asked or was just not reached.
    pub(crate) fn ping(&mut self, (id, incarnation): (&str, u64), shard: u16, now_ms: u64) {
        let first = self.by_id.partition_point(|(other, _)| other.as_str() < id);
        let alike = self.by_id[first..].iter().take_while(|(other, _)| other == id).map(|(_, key)| *key);
        let is_it = |key: &SlabKey| self.peers.value(*key).is_some_and(|peer| peer.incarnation == incarnation);
        if let Some(key) = alike.clone().find(is_it) {
            self.ping_peer(key, shard, now_ms);
        }
    }

    /// Asks a shard of each member: the one with this number, if there is one.
    pub(crate) fn ping_all(&mut self, shard: u16, now_ms: u64) {
        let members: Vec<(SlabKey, u16)> = self.by_node.iter().flatten().map(|key| (*key, shard)).collect();
        for (key, shard) in members {
            // A node with fewer shards answers by any of them.
            self.ping_peer(key, shard, now_ms);
        }
    }

    /// A link has brought the answer to a ping: when that was asked, and the shard that was.
    pub(crate) fn ponged(&mut self, link: LinkId, now_ms: u64) -> Option<(u64, u16)> {
        let link = self.links.value_mut(link.0)?;
        Some((link.ponged(now_ms)?, link.shard))
    }

    /// Another node's clock is this much ahead of ours, or it has heard of one that is.
    pub(crate) fn heard_clock(&mut self, ahead_ms: u64) {
        self.ahead_ms = self.ahead_ms.max(ahead_ms);
    }

    fn ping_peer(&mut self, key: SlabKey, shard: u16, now_ms: u64) {
        let key = self.link_of(key, shard);
        let link = self.links.value_mut(key).expect("a link in use");
        if !link.is_usable(now_ms) || !link.want_ping() {
            return;
        }
        if matches!(link.state, State::Idle | State::Resting { .. }) {
            link.state = State::Wanted;
        }
        self.list(key);
    }
}

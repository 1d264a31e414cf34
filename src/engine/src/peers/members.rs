//! Who the other nodes are.

use alloc::string::String;
use alloc::vec::Vec;

use larder_ring::{Membership, Node, NodeIndex, Topology};

use super::{Peer, Peers};
use crate::slab::SlabKey;

impl Peers {
    /// Takes note of who is in the ring, and who has left it and not ended. Links to others are closed once they have
    /// answered.
    pub(crate) fn set_members(&mut self, topology: &Topology, leaving: &[Node], own: Option<NodeIndex>) {
        self.epoch = topology.epoch();
        let mut before: Vec<(String, SlabKey)> = self.peers.iter().map(|(key, peer)| (peer.id.clone(), key)).collect();
        before.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (_, key) in &before {
            self.peers.value_mut(*key).expect("it is there").is_member = false;
        }
        self.by_node.clear();
        self.by_id.clear();
        for (index, node) in topology.nodes().iter().enumerate() {
            let is_other = own != Some(NodeIndex(index as u16));
            let key = is_other.then(|| self.member(&before, node));
            self.by_node.push(key);
        }
        for node in leaving {
            self.member(&before, node);
        }
        self.by_id.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (_, key) in before {
            self.retire_links(key);
        }
    }

    /// Whether somebody may have gone with this membership.
    pub(crate) fn loses(&self, membership: &Membership) -> bool {
        let is_there = |peer: &Peer| {
            let mut all = membership.topology.nodes().iter().chain(&membership.leaving);
            all.any(|node| node.id == peer.id && node.incarnation == peer.incarnation)
        };
        !membership.follows || self.peers.iter().any(|(_, peer)| peer.is_member && !is_there(peer))
    }

    /// By how much a clock that was heard of was ahead of ours at most, in ms. What others say of their clocks includes those
    /// that they have heard of, so this is known of who is gone too if anybody here has heard it.
    pub(crate) fn ahead_ms(&self) -> u64 {
        self.ahead_ms
    }

    /// The node, known from before (sorted by id) or new.
    fn member(&mut self, before: &[(String, SlabKey)], node: &Node) -> SlabKey {
        let is_it = |peer: &Peer| [node.incarnation, 0].contains(&peer.incarnation);
        let alike = &before[before.partition_point(|(id, _)| *id < node.id)..];
        let mut alike = alike.iter().take_while(|(id, _)| *id == node.id).map(|(_, key)| *key);
        let known = alike.find(|key| self.peers.value(*key).is_some_and(is_it));
        let key = known.unwrap_or_else(|| {
            let (id, address) = (node.id.clone(), String::new());
            let links = Vec::new();
            self.peers.insert(Peer { id, address, incarnation: 0, links, is_member: true })
        });
        let peer = self.peers.value_mut(key).expect("it is there");
        (peer.incarnation, peer.is_member) = (node.incarnation, true);
        peer.address.clone_from(&node.address);
        self.by_id.push((node.id.clone(), key));
        key
    }

    /// Closes the links of a node that left, as far as nothing is unanswered, and forgets it when it has none.
    pub(super) fn retire_links(&mut self, key: SlabKey) {
        let Some(peer) = self.peers.value_mut(key).filter(|peer| !peer.is_member) else { return };
        for place in &mut peer.links {
            let Some(link) = *place else { continue };
            if self.links.value(link).is_some_and(|link| link.unanswered().0 == 0) {
                *place = None;
                self.links.remove(link);
                self.ready.retain(|ready| *ready != link);
                self.closing.push(link);
            }
        }
        if peer.links.iter().all(Option::is_none) {
            self.peers.remove(key);
        }
    }
}

//! The invariants of [`Peers`].

use alloc::vec::Vec;

use super::link::State;
use super::{Peers, Stage};
use crate::waiting::Waiting;

impl Peers {
    /// Panics with what is wrong.
    pub(crate) fn validate(&self, waiting: &Waiting) {
        self.requests.validate();
        self.links.validate();
        self.peers.validate();
        assert_eq!(self.bytes, self.requests().map(|request| request.frame.len()).sum::<usize>(), "bytes of frames");
        for (key, link) in self.links.iter() {
            let (mut count, mut bytes, mut sent, mut unsent, mut unsent_bytes) = (0, 0, 0, Vec::new(), 0);
            for (id, request) in self.requests.iter() {
                let frame_bytes = request.frame.len();
                match request.stage {
                    Stage::Held(at) if at == key => (count, bytes) = (count + 1, bytes + frame_bytes),
                    Stage::Sent(at) if at == key => {
                        (count, bytes, sent) = (count + 1, bytes + frame_bytes, sent + 1);
                    }
                    Stage::Unsent(at) if at == key => {
                        (count, bytes) = (count + 1, bytes + frame_bytes);
                        unsent.push(id);
                        unsent_bytes += frame_bytes;
                    }
                    _ => {}
                }
            }
            assert_eq!((link.unanswered(), link.sent()), ((count, bytes), sent), "unanswered by {key:?}");
            let mut listed = link.unsent().to_vec();
            listed.sort_by_key(|id| id.to_u64());
            unsent.sort_by_key(|id| id.to_u64());
            assert_eq!(listed, unsent, "frames of {key:?} to be handed out");
            assert_eq!(link.outgoing_bytes(), unsent_bytes, "bytes to be handed out by {key:?}");
            assert_eq!(self.ready.iter().filter(|ready| **ready == key).count(), usize::from(link.is_listed));
            assert!(link.is_listed || !link.has_frames() && link.state != State::Wanted, "{key:?} is not listed");
            let peer = self.peers.value(link.peer).expect("a link leads to a node");
            assert_eq!(peer.links[usize::from(link.shard)], Some(key));
        }
        for (hash, id, is_held) in self.flights.iter() {
            let request = self.requests.value(id).expect("a request of a flight is there");
            assert_eq!((request.flight, matches!(request.stage, Stage::Held(_))), (Some(hash), is_held));
        }
        for request in self.requests().filter(|request| waiting.missing(request.ticket).is_some()) {
            assert!(request.others.is_empty() || request.order.is_empty(), "several keys are not shared");
        }
        assert_eq!(self.aside.len(), self.requests().filter(|at| matches!(at.stage, Stage::Aside { .. })).count());
    }
}

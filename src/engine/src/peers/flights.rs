//! Gets of one key that share a request to another node.
//!
//! A get may only get an answer that was made after it was asked: it joins a request that is not sent yet, never one that
//! is under way. So for each key there is at most one get under way and one that is held back until that is answered,
//! and everyone who asks meanwhile joins the latter. A write of the key that takes the same way ends this: what is held
//! back is sent before it, and who asks afterwards asks anew, so that requests keep their order.

use hashbrown::HashTable;
use larder_protocol::Command;
use larder_protocol::limits::FRAME_PREFIX_BYTES;
use larder_protocol::native::{RequestLimits, decode_plain};

use crate::slab::SlabKey;

/// The gets of one key.
#[derive(Clone, Copy, Debug)]
struct Flight {
    hash: u64,
    /// The one that was, or is to be, sent first.
    first: SlabKey,
    /// The one that is held back.
    next: Option<SlabKey>,
}

/// What can be done with a get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Boarding {
    /// Send it; others may join.
    Send,
    /// Send it, and share it with nobody: a get of another key with the same hash is under way.
    Alone,
    /// Join this request.
    Join(SlabKey),
    /// Hold it back.
    Hold,
}

/// The flights of one shard, by the hash of group and key. Another key with the same hash does not share: see
/// [`super::Peers::board`].
#[derive(Debug, Default)]
pub(super) struct Flights {
    by_hash: HashTable<Flight>,
}

impl Flights {
    /// What to do with a get of the key with this hash; `is_open` says whether a request can be joined that is not held
    /// back.
    pub(super) fn board(&self, hash: u64, is_open: impl FnOnce(SlabKey) -> bool) -> Boarding {
        match self.by_hash.find(hash, |flight| flight.hash == hash) {
            None => Boarding::Send,
            Some(&Flight { first, .. }) if is_open(first) => Boarding::Join(first),
            Some(&Flight { next: Some(next), .. }) => Boarding::Join(next),
            Some(_) => Boarding::Hold,
        }
    }

    /// The requests of the flight with this hash.
    pub(super) fn requests(&self, hash: u64) -> impl Iterator<Item = SlabKey> {
        let flight = self.by_hash.find(hash, |flight| flight.hash == hash);
        flight.into_iter().flat_map(|flight| [Some(flight.first), flight.next]).flatten()
    }

    /// The get that is sent first.
    pub(super) fn begin(&mut self, hash: u64, first: SlabKey) {
        let flight = Flight { hash, first, next: None };
        self.by_hash.insert_unique(hash, flight, |flight| flight.hash);
    }

    /// A get of the flight is held back.
    pub(super) fn hold(&mut self, hash: u64, next: SlabKey) {
        let flight = self.by_hash.find_mut(hash, |flight| flight.hash == hash).expect("a get is under way");
        debug_assert!(flight.next.is_none(), "one is held back already");
        flight.next = Some(next);
    }

    /// A request was answered. If it was the first of the flight, the next takes its place: send it.
    pub(super) fn landed(&mut self, hash: u64, request: SlabKey) -> Option<SlabKey> {
        let mut entry = self.by_hash.find_entry(hash, |flight| flight.hash == hash).ok()?;
        let flight = entry.get_mut();
        if flight.first != request {
            return None;
        }
        match flight.next.take() {
            Some(next) => {
                flight.first = next;
                Some(next)
            }
            None => {
                entry.remove();
                None
            }
        }
    }

    /// Nobody joins any more. What was held back is to be sent.
    pub(super) fn end(&mut self, hash: u64) -> Option<SlabKey> {
        let entry = self.by_hash.find_entry(hash, |flight| flight.hash == hash).ok()?;
        entry.remove().0.next
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// Every request of a flight, with its hash and whether it is held back.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, SlabKey, bool)> {
        self.by_hash.iter().flat_map(|flight| {
            let next = flight.next.map(|next| (flight.hash, next, true));
            [Some((flight.hash, flight.first, false)), next].into_iter().flatten()
        })
    }
}

/// Whether this is the frame of a get of this key.
pub(super) fn is_get_of(frame: &[u8], group: u64, key: &[u8]) -> bool {
    let request = decode_plain(&frame[FRAME_PREFIX_BYTES..], &RequestLimits::default());
    request.is_some_and(|request| {
        request.group == group && matches!(request.command, Command::Get { key: other } if other == key)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> SlabKey {
        SlabKey::from_u64(number)
    }

    #[test]
    fn one_is_under_way_one_is_held_back_and_all_others_join() {
        let mut flights = Flights::default();
        assert_eq!(flights.board(7, |_| unreachable!()), Boarding::Send);
        flights.begin(7, key(1));
        assert_eq!(flights.board(7, |_| true), Boarding::Join(key(1)), "it is not sent yet");
        assert_eq!(flights.board(7, |_| false), Boarding::Hold);
        flights.hold(7, key(2));
        assert_eq!(flights.board(7, |_| false), Boarding::Join(key(2)));
        assert_eq!(flights.board(8, |_| unreachable!()), Boarding::Send);
        assert_eq!(flights.landed(7, key(9)), None, "a request that is no part of it");
        assert_eq!(flights.landed(7, key(1)), Some(key(2)));
        assert_eq!(flights.landed(7, key(2)), None);
        assert!(flights.is_empty());
    }

    #[test]
    fn a_write_ends_a_flight_and_lets_go_what_was_held_back() {
        let mut flights = Flights::default();
        assert_eq!(flights.end(7), None);
        flights.begin(7, key(1));
        flights.hold(7, key(2));
        assert_eq!(flights.end(7), Some(key(2)));
        assert_eq!(flights.landed(7, key(1)), None);
        assert!(flights.is_empty());
    }
}

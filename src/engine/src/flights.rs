//! What is being loaded: one flight for each key, and everybody who waits for it. Who asks for a key that is in flight
//! joins. What is written meanwhile is newer than what the flight will bring, so the flight is void then: who waits gets
//! what it brings, nobody joins it, and it is not kept.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use hashbrown::HashTable;

use crate::Ticket;
use crate::absent::{Absent, Named};
use crate::groups::Group;
use crate::limits::{FLIGHT_MS_MAX, FLIGHTS_MAX};
use crate::slab::{Slab, SlabKey};

/// A flight, until it has landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlightId(SlabKey);

/// Who waits for a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passenger {
    /// For the one reply of a ticket.
    Alone(Ticket),
    /// For one key of a ticket's gather, by its position.
    Key(Ticket, u32),
}

/// One key that is being loaded.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) group: Group,
    pub(crate) hash: u64,
    pub(crate) key: Box<[u8]>,
    pub(crate) passengers: Vec<Passenger>,
    pub(crate) begun_ms: u64,
    /// Its key was written since it began, or may belong to somebody else.
    pub(crate) is_void: bool,
}

/// All flights of a shard, and the keys that were found to be nowhere.
#[derive(Debug)]
pub(crate) struct Flights {
    flights: Slab<Flight>,
    /// Those that can be joined.
    by_key: HashTable<(u64, SlabKey)>,
    /// Those that nobody was told of.
    orders: VecDeque<SlabKey>,
    pub(crate) absent: Absent,
}

impl Passenger {
    pub(crate) fn ticket(self) -> Ticket {
        match self {
            Passenger::Alone(ticket) | Passenger::Key(ticket, _) => ticket,
        }
    }
}

impl Flight {
    pub(crate) fn named(&self) -> Named<'_> {
        Named { group: self.group.index.0, hash: self.hash, key: &self.key }
    }
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self { flights: Slab::new(), by_key: HashTable::new(), orders: VecDeque::new(), absent: Absent::default() }
    }

    /// Whether a write concerns nobody here.
    #[inline]
    pub(crate) fn are_idle(&self) -> bool {
        self.by_key.is_empty() && self.absent.is_empty()
    }

    /// The flight of a key, to be joined. One that is so old that nobody will answer it any more is void.
    pub(crate) fn of(&mut self, named: Named<'_>, now_ms: u64) -> Option<FlightId> {
        let key = self.find(named)?;
        let begun_ms = self.flights.value(key).expect("who is found flies").begun_ms;
        if now_ms.saturating_sub(begun_ms) >= FLIGHT_MS_MAX {
            self.void(named);
            return None;
        }
        Some(FlightId(key))
    }

    /// A new flight; `None`: there are [`FLIGHTS_MAX`].
    pub(crate) fn begin(&mut self, group: Group, (hash, key): (u64, &[u8]), now_ms: u64) -> Option<FlightId> {
        if self.flights.len() >= FLIGHTS_MAX {
            return None;
        }
        let passengers = Vec::new();
        let flight = Flight { group, hash, key: key.into(), passengers, begun_ms: now_ms, is_void: false };
        let id = self.flights.insert(flight);
        self.by_key.insert_unique(hash, (hash, id), |(hash, _)| *hash);
        self.orders.push_back(id);
        Some(FlightId(id))
    }

    /// Somebody waits for a flight, which is there.
    pub(crate) fn board(&mut self, FlightId(id): FlightId, passenger: Passenger) {
        self.flights.value_mut(id).expect("it was just found").passengers.push(passenger);
    }

    /// The next flight to tell of.
    pub(crate) fn next_order(&mut self) -> Option<(FlightId, &Flight)> {
        let id = self.orders.pop_front()?;
        Some((FlightId(id), self.flights.value(id).expect("it lands only after somebody was told")))
    }

    /// A flight has landed; `None`: there is none.
    pub(crate) fn land(&mut self, FlightId(id): FlightId) -> Option<Flight> {
        let flight = self.flights.remove(id)?;
        if !flight.is_void
            && let Ok(found) = self.by_key.find_entry(flight.hash, |(_, found)| *found == id)
        {
            found.remove();
        }
        Some(flight)
    }

    /// A key was written.
    pub(crate) fn changed(&mut self, named: Named<'_>) {
        self.absent.remove(named);
        self.void(named);
    }

    /// All keys of a group were made absent.
    pub(crate) fn changed_group(&mut self, group: u16) {
        self.absent.remove_group(group);
        let flights = &mut self.flights;
        self.by_key.retain(|(_, id)| {
            let flight = flights.value_mut(*id).expect("who is found flies");
            flight.is_void = flight.group.index.0 == group;
            !flight.is_void
        });
    }

    /// Any key may belong to somebody else now.
    pub(crate) fn changed_all(&mut self) {
        self.absent.clear();
        for (_, id) in self.by_key.drain() {
            self.flights.value_mut(id).expect("who is found flies").is_void = true;
        }
    }

    /// Tickets of all passengers, whether or not they wait still.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.flights.iter().flat_map(|(_, flight)| flight.passengers.iter().map(|passenger| passenger.ticket()))
    }

    fn find(&self, named: Named<'_>) -> Option<SlabKey> {
        let is_it = |(_, id): &(u64, SlabKey)| self.flights.value(*id).is_some_and(|flight| flight.named() == named);
        self.by_key.find(named.hash, is_it).map(|(_, id)| *id)
    }

    fn void(&mut self, named: Named<'_>) {
        let Some(id) = self.find(named) else { return };
        self.flights.value_mut(id).expect("it was found").is_void = true;
        self.by_key.find_entry(named.hash, |(_, found)| *found == id).expect("it was found").remove();
    }

    /// Panics with what is wrong.
    pub(crate) fn validate(&self) {
        self.flights.validate();
        self.absent.validate();
        assert!(self.flights.len() <= FLIGHTS_MAX, "{} flights", self.flights.len());
        for (id, flight) in self.flights.iter() {
            assert_eq!(self.find(flight.named()) == Some(id), !flight.is_void, "{flight:?}");
        }
        assert_eq!(self.by_key.len(), self.flights.iter().filter(|(_, flight)| !flight.is_void).count());
    }
}

#[cfg(test)]
mod tests {
    use larder_store::GroupIndex;

    use super::*;

    fn group(index: u16) -> Group {
        Group { index: GroupIndex(index), hash: 9, origin: None }
    }

    fn named(group: u16, key: &[u8]) -> Named<'_> {
        Named { group, hash: 5, key }
    }

    #[test]
    fn what_is_written_is_not_joined() {
        let mut flights = Flights::new();
        let first = flights.begin(group(1), (5, b"a"), 0).expect("room");
        let other = flights.begin(group(1), (5, b"b"), 0).expect("room");
        let elsewhere = flights.begin(group(2), (5, b"a"), 0).expect("room");
        assert_eq!(flights.of(named(1, b"a"), 0), Some(first));
        assert_eq!(flights.of(named(2, b"b"), 0), None);
        flights.changed(named(1, b"a"));
        assert_eq!((flights.of(named(1, b"a"), 0), flights.of(named(1, b"b"), 0)), (None, Some(other)));
        let again = flights.begin(group(1), (5, b"a"), 0).expect("room");
        flights.validate();
        assert!(flights.land(first).expect("it flies").is_void && flights.land(first).is_none());
        assert_eq!(flights.of(named(1, b"a"), 0), Some(again));
        flights.changed_group(1);
        assert_eq!((flights.of(named(1, b"a"), 0), flights.of(named(2, b"a"), 0)), (None, Some(elsewhere)));
        flights.changed_all();
        flights.validate();
        assert!(flights.are_idle() && flights.flights.len() == 3);
        assert!(flights.land(elsewhere).expect("it flies").is_void);
        flights.validate();
    }

    #[test]
    fn nobody_joins_what_was_forgotten() {
        let mut flights = Flights::new();
        let old = flights.begin(group(1), (5, b"a"), 10).expect("room");
        assert_eq!(flights.of(named(1, b"a"), 9 + FLIGHT_MS_MAX), Some(old));
        assert_eq!(flights.of(named(1, b"a"), 10 + FLIGHT_MS_MAX), None);
        flights.validate();
        for index in 1..FLIGHTS_MAX {
            flights.begin(group(1), (5 + index as u64, b"x"), 0).expect("room");
        }
        assert_eq!(flights.begin(group(1), (1, b"x"), 0), None);
    }
}

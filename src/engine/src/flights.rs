//! What is being loaded: one flight for each key, and everybody who waits for it. Who asks for a key that is in flight
//! joins. What is written meanwhile is newer than what the flight will bring, so the flight is void then: who waits gets
//! what it brings, nobody joins it, and it is not kept.
//!
//! A key may also be filled by a client that holds a **lease** of it. Nothing lands then: when the lease ends, by a write or
//! by its time, its passengers ask again, and one of them may be given the next.

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use hashbrown::HashTable;

use crate::Ticket;
use crate::absent::{Absent, Named};
use crate::etags::Etags;
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
    Alone(Ticket, Wish),
    /// For one key of a ticket's gather, by its position.
    Key(Ticket, u32),
}

/// What is wanted of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Its entry, from the origin if need be.
    Get,
    /// Its entry, or the right to fill it for so long.
    Lease { lease_ms: u32 },
}

/// Who fills the key of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filler {
    Origin,
    Lease(Lease),
}

/// The right to fill a key: that of whoever knows the token, until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) token: u64,
    pub(crate) until_ms: u64,
    /// The key was invalidated under another lease.
    pub(crate) is_stale: bool,
    /// Somebody has it; else it is for whoever asks next.
    pub(crate) is_held: bool,
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
    filler: Filler,
}

/// All flights of a shard, and the keys that were found to be nowhere.
#[derive(Debug)]
pub(crate) struct Flights {
    flights: Slab<Flight>,
    /// Those that can be joined.
    by_key: HashTable<(u64, SlabKey)>,
    /// Those that nobody was told of.
    orders: VecDeque<SlabKey>,
    /// When leases end.
    leases: BTreeSet<(u64, SlabKey)>,
    /// Leases that have ended, whose passengers are to ask again.
    ended: Vec<Flight>,
    pub(crate) absent: Absent,
    pub(crate) etags: Etags,
    /// How long loads of a group have taken lately, in ms: by its number.
    took_ms: Vec<u32>,
    /// For what is to be by chance.
    random: u64,
}

impl Passenger {
    pub(crate) fn ticket(self) -> Ticket {
        match self {
            Passenger::Alone(ticket, _) | Passenger::Key(ticket, _) => ticket,
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
        Self {
            flights: Slab::new(),
            by_key: HashTable::new(),
            orders: VecDeque::new(),
            leases: BTreeSet::new(),
            ended: Vec::new(),
            absent: Absent::default(),
            etags: Etags::default(),
            took_ms: Vec::new(),
            random: 0,
        }
    }

    /// A load of a group took so long: an average in which the last one counts for an eighth.
    pub(crate) fn took(&mut self, group: u16, ms: u64) {
        let index = usize::from(group);
        if self.took_ms.len() <= index {
            self.took_ms.resize(index + 1, 0);
        }
        let (ms, average) = (u32::try_from(ms).unwrap_or(u32::MAX), &mut self.took_ms[index]);
        *average = if *average == 0 { ms.max(1) } else { (*average - *average / 8).saturating_add(ms / 8).max(1) };
    }

    /// How long a load of a group takes, in ms; 0: none has ended yet.
    pub(crate) fn takes_ms(&self, group: u16) -> u32 {
        self.took_ms.get(usize::from(group)).copied().unwrap_or_default()
    }

    /// Any of 2^32 numbers, each as likely as the others (splitmix64 of Steele, Lea and Flood, OOPSLA 2014).
    pub(crate) fn any(&mut self, seed: u64) -> u32 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random ^ seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 32) as u32
    }

    /// Whether a write concerns nobody here.
    #[inline]
    pub(crate) fn are_idle(&self) -> bool {
        self.by_key.is_empty() && self.absent.is_empty() && self.etags.is_empty()
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
        let id = self.insert(group, (hash, key), Filler::Origin, now_ms)?;
        self.orders.push_back(id);
        Some(FlightId(id))
    }

    /// A lease, which nobody else has; false: there are [`FLIGHTS_MAX`].
    pub(crate) fn lease(&mut self, group: Group, key: (u64, &[u8]), lease: Lease, now_ms: u64) -> bool {
        let Some(id) = self.insert(group, key, Filler::Lease(lease), now_ms) else { return false };
        self.leases.insert((lease.until_ms, id));
        true
    }

    /// The lease of a key that has not ended.
    pub(crate) fn lease_of(&self, named: Named<'_>, now_ms: u64) -> Option<Lease> {
        match self.find(named).and_then(|id| self.flights.value(id))?.filler {
            Filler::Lease(lease) if now_ms < lease.until_ms => Some(lease),
            _ => None,
        }
    }

    /// The same if it is for whoever asks; then somebody has it.
    pub(crate) fn take_lease(&mut self, named: Named<'_>, now_ms: u64) -> Option<Lease> {
        let id = self.find(named)?;
        match &mut self.flights.value_mut(id)?.filler {
            Filler::Lease(lease) if now_ms < lease.until_ms && !lease.is_held => {
                lease.is_held = true;
                Some(*lease)
            }
            _ => None,
        }
    }

    /// Ends the lease of a key that nobody holds.
    pub(crate) fn end_unheld(&mut self, named: Named<'_>, now_ms: u64) {
        if self.lease_of(named, now_ms).is_some_and(|lease| !lease.is_held) {
            self.void(named);
        }
    }

    /// Ends the lease of a key whose time is over; who waits for it asks again.
    pub(crate) fn end_over(&mut self, named: Named<'_>, now_ms: u64) {
        let filler = self.find(named).and_then(|id| self.flights.value(id)).map(|flight| flight.filler);
        if matches!(filler, Some(Filler::Lease(lease)) if lease.until_ms <= now_ms) {
            self.void(named);
        }
    }

    /// Whether this is the token of a lease that has not ended.
    pub(crate) fn holds(&self, named: Named<'_>, wanted: u64, now_ms: u64) -> bool {
        self.lease_of(named, now_ms).is_some_and(|lease| lease.token == wanted)
    }

    /// When [`Flights::next_ended`] is to be called.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        if self.ended.is_empty() { self.leases.first().map(|(until_ms, _)| *until_ms) } else { Some(0) }
    }

    /// A lease that has ended, by a write or by its time; who waited for it asks again.
    pub(crate) fn next_ended(&mut self, now_ms: u64) -> Option<Flight> {
        if let Some(flight) = self.ended.pop() {
            return Some(flight);
        }
        let (_, id) = *self.leases.first().filter(|(until_ms, _)| *until_ms <= now_ms)?;
        let hash = self.flights.value(id).expect("a lease flies").hash;
        self.by_key.find_entry(hash, |(_, found)| *found == id).expect("a lease is never void").remove();
        self.end_lease(id);
        self.ended.pop()
    }

    fn insert(&mut self, group: Group, (hash, key): (u64, &[u8]), filler: Filler, now_ms: u64) -> Option<SlabKey> {
        if self.flights.len() >= FLIGHTS_MAX {
            return None;
        }
        let passengers = Vec::new();
        let flight = Flight { group, hash, key: key.into(), passengers, begun_ms: now_ms, is_void: false, filler };
        let id = self.flights.insert(flight);
        self.by_key.insert_unique(hash, (hash, id), |(hash, _)| *hash);
        Some(id)
    }

    /// A flight that can be joined no more; a lease ends.
    fn ground(&mut self, id: SlabKey) {
        let flight = self.flights.value_mut(id).expect("who is found flies");
        match flight.filler {
            Filler::Origin => flight.is_void = true,
            Filler::Lease(_) => self.end_lease(id),
        }
    }

    fn end_lease(&mut self, id: SlabKey) {
        let flight = self.flights.remove(id).expect("a lease flies");
        let Filler::Lease(Lease { until_ms, .. }) = flight.filler else { unreachable!("it is a lease") };
        self.leases.remove(&(until_ms, id));
        self.ended.push(flight);
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
        self.etags.remove(named);
        self.void(named);
    }

    /// All keys of a group were made absent.
    pub(crate) fn changed_group(&mut self, group: u16) {
        self.absent.remove_group(group);
        self.etags.remove_group(group);
        let flights = &self.flights;
        let is_of = |id: SlabKey| flights.value(id).is_some_and(|flight| flight.group.index.0 == group);
        let of: Vec<SlabKey> = self.by_key.iter().map(|(_, id)| *id).filter(|id| is_of(*id)).collect();
        self.by_key.retain(|(_, id)| !is_of(*id));
        of.into_iter().for_each(|id| self.ground(id));
    }

    /// Whether any of them, void or not, is of a group.
    pub(crate) fn name(&self, group: u16) -> bool {
        let flying = self.flights.iter().map(|(_, flight)| flight).chain(&self.ended);
        let mut flying = flying;
        flying.any(|flight| flight.group.index.0 == group)
    }

    /// Any key may belong to somebody else now.
    pub(crate) fn changed_all(&mut self) {
        self.absent.clear();
        self.etags.clear();
        let all: Vec<SlabKey> = self.by_key.drain().map(|(_, id)| id).collect();
        all.into_iter().for_each(|id| self.ground(id));
    }

    /// Tickets of all passengers, whether or not they wait still.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        let flying = self.flights.iter().map(|(_, flight)| flight).chain(&self.ended);
        flying.flat_map(|flight| flight.passengers.iter().map(|passenger| passenger.ticket()))
    }

    fn find(&self, named: Named<'_>) -> Option<SlabKey> {
        let is_it = |(_, id): &(u64, SlabKey)| self.flights.value(*id).is_some_and(|flight| flight.named() == named);
        self.by_key.find(named.hash, is_it).map(|(_, id)| *id)
    }

    fn void(&mut self, named: Named<'_>) {
        let Some(id) = self.find(named) else { return };
        self.by_key.find_entry(named.hash, |(_, found)| *found == id).expect("it was found").remove();
        self.ground(id);
    }

    /// Panics with what is wrong.
    pub(crate) fn validate(&self) {
        self.flights.validate();
        self.absent.validate();
        self.etags.validate();
        assert!(self.flights.len() <= FLIGHTS_MAX, "{} flights", self.flights.len());
        for (id, flight) in self.flights.iter() {
            assert_eq!(self.find(flight.named()) == Some(id), !flight.is_void, "{flight:?}");
        }
        let leases = self.flights.iter().filter(|(_, flight)| matches!(flight.filler, Filler::Lease(_)));
        assert_eq!(self.leases.len(), leases.count(), "each lease has its end");
        assert_eq!(self.by_key.len(), self.flights.iter().filter(|(_, flight)| !flight.is_void).count());
    }
}

#[cfg(test)]
mod tests {
    use larder_store::GroupIndex;

    use super::*;

    fn group(index: u16) -> Group {
        Group { index: GroupIndex(index), hash: 9, is_refilled: true }
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

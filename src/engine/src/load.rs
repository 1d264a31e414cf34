//! Gets of groups that have an origin: what is missing is loaded, once for all who ask meanwhile, by whoever takes
//! [`Engine::next_load`].

use alloc::boxed::Box;

use larder_protocol::{Command, Failure, Found, Keys, Reply, Request, Status, Value};
use larder_store::{Expiry, Key, RemovalHook, Write};

use crate::absent::Named;
use crate::command::Many;
use crate::failures;
use crate::flights::{FlightId, Passenger};
use crate::gather::Gather;
use crate::groups::Group;
use crate::limits::FLIGHT_MS_MAX;
use crate::planted::{self, Bug};
use crate::receive::{reply_bytes_max, send_reply};
use crate::waiting::{Awaited, Behalf};
use crate::{Engine, Submission, Ticket};

/// A key that is to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// For [`Engine::loaded`].
    pub flight: FlightId,
    /// The hash of the name of its group.
    pub group: u64,
    /// The key.
    pub key: Box<[u8]>,
}

/// What became of a [`Load`].
#[derive(Clone, Copy, Debug)]
pub enum Loaded<'a> {
    /// The origin has it.
    Value {
        /// What it has.
        value: &'a [u8],
        /// How long it is good for, in ms; `None`: as long as the group says.
        ttl_ms: Option<u64>,
        /// Whether it may be kept.
        is_kept: bool,
    },
    /// The origin does not have it.
    Absent,
    /// The origin did not say.
    Failed(&'a Failure),
}

/// Whether a command has what is missing loaded.
#[inline]
pub(crate) fn loads(group: Group, command: &Command<'_>) -> bool {
    group.origin.is_some() && matches!(command, Command::Get { .. } | Command::GetMany { .. })
}

/// What can be said of a key at once.
enum Known {
    Entry(larder_store::Handle),
    Absent,
    /// It flies.
    Flight(FlightId),
    Refused(&'static Failure),
}

impl<H: RemovalHook> Engine<H> {
    /// The next key to load for groups with an origin, until there is none. Poll after every call that takes requests or
    /// batches; each is answered by [`Engine::loaded`], within [`FLIGHT_MS_MAX`].
    pub fn next_load(&mut self) -> Option<Load> {
        let (flight, of) = self.local.flights.next_order()?;
        self.local.counters.loads += 1;
        Some(Load { flight, group: of.group.hash, key: of.key.clone() })
    }

    /// A key was loaded, or could not be. Tickets that this answers are handed to `answer`. Without effect if there is no
    /// such flight.
    pub fn loaded(
        &mut self,
        flight: FlightId,
        loaded: &Loaded<'_>,
        now_ms: u64,
        mut answer: impl FnMut(Ticket, &Reply<'_>),
    ) {
        let Some(flight) = self.local.flights.land(flight) else { return };
        let (group, named) = (flight.group, flight.named());
        let key = Key { group: group.index, hash: flight.hash, bytes: &flight.key };
        match *loaded {
            Loaded::Value { value, ttl_ms, is_kept } => {
                let mut found = Found { value: Value::Whole(value), flags: 0, version: 0, ttl_ms: 0 };
                // Who cannot prove that the key is its own may have lost it, and got it back, meanwhile.
                let is_newest = !flight.is_void || planted::has(Bug::StaleFill);
                if is_kept && is_newest && self.local.may_answer(key, now_ms) {
                    let expiry = ttl_ms.map_or(Expiry::Default, Expiry::After);
                    let write = Write { value, expiry, ..Write::default() };
                    // One that cannot be kept is served all the same.
                    if let Ok(version) = self.local.store.set(key, write, now_ms) {
                        found.version = version;
                    }
                    if let Some(handle) = self.local.store.peek(key, now_ms) {
                        let at_ms = self.local.store.entry(handle).expires_at_ms;
                        found.ttl_ms = if at_ms == 0 { 0 } else { at_ms.saturating_sub(now_ms).max(1) };
                    }
                }
                self.give_all(&flight.passengers, &Reply::Entry(found), &mut answer);
            }
            Loaded::Absent => {
                let negative_ttl_ms = group.origin.map_or(0, |origin| origin.negative_ttl_ms);
                if negative_ttl_ms > 0 && !flight.is_void && self.local.may_answer(key, now_ms) {
                    self.local.flights.absent.add(named, now_ms.saturating_add(negative_ttl_ms));
                }
                self.give_all(&flight.passengers, &Reply::Miss, &mut answer);
            }
            Loaded::Failed(failure) => {
                self.local.counters.load_failures += 1;
                if planted::has(Bug::FailureKept) {
                    let _ = self.local.store.set(key, Write { value: b"0", ..Write::default() }, now_ms);
                }
                self.give_all(&flight.passengers, &Reply::Failed(failure), &mut answer);
            }
        }
    }

    /// Answers a get of a key that belongs here, once it was loaded if need be.
    pub(crate) fn get_or_load(
        &mut self,
        group: Group,
        key: (u64, &[u8]),
        (now_ms, deadline_ms): (u64, u64),
    ) -> Submission<'_> {
        self.local.counters.requests += 1;
        match self.known(group, key, now_ms) {
            Known::Entry(handle) => Submission::Done(Reply::Entry(self.local.found(handle, now_ms))),
            Known::Absent => Submission::Done(Reply::Miss),
            Known::Refused(failure) => Submission::Done(Reply::Failed(failure)),
            Known::Flight(_) if self.waiting.is_full() => Submission::Done(self.overloaded()),
            Known::Flight(flight) => {
                let ticket = self.waiting.begin(deadline_ms, true);
                self.local.flights.board(flight, Passenger::Alone(ticket));
                Submission::Pending(ticket)
            }
        }
    }

    /// The same for tickets that wait already.
    pub(crate) fn load_for(
        &mut self,
        tickets: &[Ticket],
        group: Group,
        key: (u64, &[u8]),
        now_ms: u64,
        answer: &mut impl FnMut(Ticket, &Reply<'_>),
    ) {
        self.local.counters.requests += 1;
        let known = self.known(group, key, now_ms);
        if let Known::Flight(flight) = known {
            for ticket in tickets {
                self.local.flights.board(flight, Passenger::Alone(*ticket));
            }
            return;
        }
        let waiting = &mut self.waiting;
        let reply = match known {
            Known::Entry(handle) => Reply::Entry(self.local.found(handle, now_ms)),
            Known::Absent => Reply::Miss,
            Known::Refused(failure) => Reply::Failed(failure),
            Known::Flight(_) => unreachable!("see above"),
        };
        for ticket in tickets {
            if waiting.take(*ticket).is_some() {
                answer(*ticket, &reply);
            }
        }
    }

    /// A get of another shard.
    pub(crate) fn load_on_behalf(&mut self, behalf: Behalf, group: Group, key: (u64, &[u8]), now_ms: u64) {
        self.local.counters.requests += 1;
        match self.known(group, key, now_ms) {
            Known::Entry(handle) => {
                let envelope = (behalf.id, self.epoch());
                let reply = Reply::Entry(self.local.found(handle, now_ms));
                let is_refused = !self.mesh.has_reply_room(behalf.shard, reply_bytes_max(&reply));
                let reply = if is_refused { Reply::Failed(&failures::OVERLOADED) } else { reply };
                send_reply(&mut self.mesh, behalf.shard, envelope, &reply);
                self.local.counters.overloaded += u64::from(is_refused);
            }
            Known::Absent => self.reply_on_behalf(behalf, &Reply::Miss),
            Known::Refused(failure) => self.reply_on_behalf(behalf, &Reply::Failed(failure)),
            Known::Flight(_) if self.waiting.is_full() => {
                self.local.counters.overloaded += 1;
                self.reply_on_behalf(behalf, &Reply::Failed(&failures::OVERLOADED));
            }
            Known::Flight(flight) => {
                // Whoever asks has a deadline of its own, and gives its caller up then.
                let ticket = self.waiting.begin(now_ms.saturating_add(FLIGHT_MS_MAX), true);
                self.waiting.set_behalf(ticket, behalf);
                self.local.flights.board(flight, Passenger::Alone(ticket));
            }
        }
    }

    /// A get of several keys that another shard asks for.
    pub(crate) fn load_many_on_behalf(&mut self, behalf: Behalf, keys: Keys<'_>, request: &Request<'_>, now_ms: u64) {
        let many = Many::Get(keys);
        let Some(group) = self.local.groups.group(request.group).filter(|_| !self.waiting.is_full()) else {
            self.local.counters.overloaded += 1;
            return self.reply_on_behalf(behalf, &Reply::Failed(&failures::OVERLOADED));
        };
        self.local.place(&many, group);
        match self.gather(&many, request, group, now_ms) {
            Ok(ticket) => self.waiting.set_behalf(ticket, behalf),
            Err(gather) => {
                self.reply_on_behalf(behalf, &gather.reply());
                self.waiting.gathers.give_back(gather);
            }
        }
    }

    /// One key of a get of several, which is not here: it is loaded, and the gather waits for it, or is told why not.
    pub(crate) fn load_key(
        &mut self,
        ticket: Ticket,
        gather: &mut Gather,
        position: usize,
        group: Group,
        key: (u64, &[u8]),
        now_ms: u64,
    ) {
        match self.missing(group, key, now_ms) {
            Known::Flight(flight) => {
                self.local.flights.board(flight, Passenger::Key(ticket, position as u32));
                gather.missing += 1;
            }
            Known::Refused(failure) => gather.fail(position, failure.status),
            Known::Absent | Known::Entry(_) => gather.fail(position, Status::NotFound),
        }
    }

    /// Sends a reply to the shard on whose behalf a ticket was given.
    pub(crate) fn reply_on_behalf(&mut self, Behalf { shard, id }: Behalf, reply: &Reply<'_>) {
        let epoch = self.epoch();
        let carries = matches!(reply, Reply::Entry(_) | Reply::Entries(_));
        let is_refused = carries && !self.mesh.has_reply_room(shard, reply_bytes_max(reply));
        let reply = if is_refused { &Reply::Failed(&failures::OVERLOADED) } else { reply };
        self.local.counters.overloaded += u64::from(is_refused);
        send_reply(&mut self.mesh, shard, (id, epoch), reply);
    }

    /// What is known of a key that belongs here; a flight is begun if nothing is.
    fn known(&mut self, group: Group, (hash, bytes): (u64, &[u8]), now_ms: u64) -> Known {
        let key = Key { group: group.index, hash, bytes };
        if !self.local.may_answer(key, now_ms) {
            return Known::Refused(&failures::UNPROVEN);
        }
        match self.local.store.get(key, now_ms) {
            Some(handle) => Known::Entry(handle),
            None => self.missing(group, (hash, bytes), now_ms),
        }
    }

    /// The flight of a key that is not here, unless it is known to be nowhere.
    fn missing(&mut self, group: Group, (hash, key): (u64, &[u8]), now_ms: u64) -> Known {
        let named = Named { group: group.index.0, hash, key };
        let flights = &mut self.local.flights;
        if flights.absent.has(named, now_ms) {
            return Known::Absent;
        }
        if let Some(flight) = flights.of(named, now_ms) {
            self.local.counters.load_waits += 1;
            return Known::Flight(flight);
        }
        match flights.begin(group, (hash, key), now_ms) {
            Some(flight) => Known::Flight(flight),
            None => Known::Refused(&failures::FLIGHTS_FULL),
        }
    }

    /// Answers everybody who waited for a flight.
    fn give_all(&mut self, passengers: &[Passenger], reply: &Reply<'_>, answer: &mut impl FnMut(Ticket, &Reply<'_>)) {
        for (place, passenger) in passengers.iter().enumerate() {
            let ticket = passenger.ticket();
            if place > 0 && place + 1 == passengers.len() && planted::has(Bug::LostPassenger) {
                self.waiting.cancel(ticket);
                continue;
            }
            let behalf = self.waiting.behalf(ticket);
            match *passenger {
                Passenger::Alone(_) => {
                    if self.waiting.take(ticket).is_none() {
                        continue;
                    }
                    match behalf {
                        Some(behalf) => self.reply_on_behalf(behalf, reply),
                        None => answer(ticket, reply),
                    }
                }
                Passenger::Key(_, position) => self.give_key(ticket, position as usize, behalf, reply, answer),
            }
        }
    }

    fn give_key(
        &mut self,
        ticket: Ticket,
        position: usize,
        behalf: Option<Behalf>,
        reply: &Reply<'_>,
        answer: &mut impl FnMut(Ticket, &Reply<'_>),
    ) {
        let Some((Awaited::Keys(gather), gathers)) = self.waiting.awaited(ticket) else { return };
        match *reply {
            Reply::Entry(found) => self.local.counters.overloaded += u64::from(gathers.found(gather, position, found)),
            Reply::Failed(failure) => gather.fail(position, failure.status),
            _ => gather.fail(position, Status::NotFound),
        }
        gather.missing -= 1;
        if gather.missing > 0 {
            return;
        }
        let Some(Awaited::Keys(gather)) = self.waiting.take(ticket) else { unreachable!("it was just looked at") };
        match behalf {
            Some(behalf) => self.reply_on_behalf(behalf, &gather.reply()),
            None => answer(ticket, &gather.reply()),
        }
        self.waiting.gathers.give_back(gather);
    }
}

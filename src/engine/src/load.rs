//! What waits for a key to be filled. Gets of groups that have an origin: what is missing is loaded, once for all who ask
//! meanwhile, by whoever takes [`Engine::next_load`]. And leases, by which one client fills for all (R. Nishtala et al.,
//! "Scaling Memcache at Facebook", NSDI 2013, section 3.2.1).

use alloc::boxed::Box;
use alloc::vec::Vec;

use larder_protocol::{Command, Failure, Found, Keys, Reply, Request, Status, Value};
use larder_store::{Expiry, Handle, Key, RemovalHook, Write};

use crate::absent::Named;
use crate::command::Many;
use crate::failures;
use crate::flights::{FlightId, Lease, Passenger, Wish};
use crate::gather::Gather;
use crate::groups::Group;
use crate::limits::EXPIRE_STEPS_MAX;
use crate::local::{Local, Route};
use crate::mesh::Mesh;
use crate::planted::{self, Bug};
use crate::receive::{reply_bytes_max, send_reply};
use crate::records::{LATER_BYTES, put_later};
use crate::refresh::Stale;
use crate::waiting::{Awaited, Behalf, Waiting};
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
    /// What the origin has called the value that is there still, stale or not: it may say that it is as good as new.
    pub etag: Option<Box<[u8]>>,
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
        /// What the origin calls it.
        etag: Option<&'a [u8]>,
    },
    /// What it has called [`Load::etag`] is as good as new.
    Unchanged {
        /// See [`Loaded::Value`].
        ttl_ms: Option<u64>,
    },
    /// The origin does not have it.
    Absent,
    /// The origin did not say.
    Failed(&'a Failure),
}

/// Whether a command has what is missing loaded.
#[inline]
pub(crate) fn loads(group: Group, command: &Command<'_>) -> bool {
    group.is_refilled && matches!(command, Command::Get { .. } | Command::GetMany { .. })
}

/// What can be said of a key at once.
enum Known {
    Entry(Handle),
    /// An entry whose time is over.
    Stale(Handle),
    Absent,
    /// The right to fill it.
    Leased {
        token: u64,
        lease_ms: u32,
    },
    /// It flies.
    Flight(FlightId),
    Refused(&'static Failure),
}

impl<H: RemovalHook> Engine<H> {
    /// The next key to load for groups with an origin, until there is none. Poll after every call that takes requests or
    /// batches; each is answered by [`Engine::loaded`], within [`crate::limits::FLIGHT_MS_MAX`].
    pub fn next_load(&mut self, now_ms: u64) -> Option<Load> {
        let (flight, of) = self.local.flights.next_order()?;
        let (group, hash, key) = (of.group, of.hash, of.key.clone());
        self.local.counters.loads += 1;
        let known = self.local.flights.etags.of(Named { group: group.index.0, hash, key: &key });
        let etag = known.and_then(|(etag, version)| {
            let (store, key) = (&self.local.store, Key { group: group.index, hash, bytes: &key });
            let handle = store.peek(key, now_ms).or_else(|| store.stale(key, now_ms))?;
            (store.entry(handle).version == version).then(|| etag.into())
        });
        Some(Load { flight, group: group.hash, key, etag })
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
        let is_newest = !flight.is_void || planted::has(Bug::StaleFill);
        match *loaded {
            Loaded::Value { value, ttl_ms, is_kept, etag } => {
                let mut found = Found { value: Value::Whole(value), flags: 0, version: 0, ttl_ms: 0, is_stale: false };
                self.local.flights.took(group.index.0, now_ms.saturating_sub(flight.begun_ms));
                // Who cannot prove that the key is its own may have lost it, and got it back, meanwhile.
                if is_kept && is_newest && self.local.may_answer(key, now_ms) {
                    let expiry = ttl_ms.map_or(Expiry::Default, Expiry::After);
                    let write = Write { value, expiry, ..Write::default() };
                    self.local.flights.etags.remove(named);
                    // One that cannot be kept is served all the same.
                    if let Ok(version) = self.local.store.set(key, write, now_ms) {
                        found.version = version;
                        etag.into_iter().for_each(|etag| self.local.flights.etags.put(named, version, etag));
                    }
                    if let Some(handle) = self.local.store.peek(key, now_ms) {
                        let at_ms = self.local.store.entry(handle).expires_at_ms;
                        found.ttl_ms = if at_ms == 0 { 0 } else { at_ms.saturating_sub(now_ms).max(1) };
                    }
                }
                self.give_all(&flight.passengers, &Reply::Entry(found), &mut answer);
            }
            Loaded::Unchanged { ttl_ms } => {
                self.local.flights.took(group.index.0, now_ms.saturating_sub(flight.begun_ms));
                let expiry = ttl_ms.map_or(Expiry::Default, Expiry::After);
                let version = self.local.flights.etags.of(named).map(|(_, version)| version);
                let is_newest = is_newest && self.local.may_answer(key, now_ms);
                let renewed = version.filter(|_| is_newest).and_then(|version| {
                    let is_there = self.local.store.renew(key, version, expiry, now_ms).is_some();
                    is_there.then_some(version)
                });
                if renewed.is_none() && !flight.is_void {
                    // It has left meanwhile, so it is loaded whole.
                    self.local.flights.etags.remove(named);
                }
                let passengers = flight.passengers.iter().copied();
                self.grant_again(passengers, group, (flight.hash, &flight.key), now_ms, &mut answer);
            }
            Loaded::Absent => {
                let refill = self.local.groups.refill(group);
                let negative_ttl_ms = refill.origin.map_or(0, |origin| origin.negative_ttl_ms);
                if !flight.is_void && self.local.may_answer(key, now_ms) {
                    // What is shown still is not so any more.
                    if self.local.store.stale(key, now_ms).is_some() {
                        self.local.store.void(key, now_ms);
                    }
                    self.local.flights.etags.remove(named);
                    if negative_ttl_ms > 0 {
                        self.local.flights.absent.add(named, now_ms.saturating_add(negative_ttl_ms));
                    }
                }
                self.give_all(&flight.passengers, &Reply::Miss, &mut answer);
            }
            Loaded::Failed(failure) => {
                self.local.counters.load_failures += 1;
                if planted::has(Bug::FailureKept) {
                    let _ = self.local.store.set(key, Write { value: b"0", ..Write::default() }, now_ms);
                }
                let shown = if flight.passengers.is_empty() { None } else { self.shown_for_error(group, key, now_ms) };
                let reply = match &shown {
                    Some((value, flags, version)) => {
                        self.local.counters.stale += flight.passengers.len() as u64;
                        let (value, flags, version) = (Value::Whole(value), *flags, *version);
                        Reply::Entry(Found { value, flags, version, ttl_ms: 0, is_stale: true })
                    }
                    None => Reply::Failed(failure),
                };
                self.give_all(&flight.passengers, &reply, &mut answer);
            }
        }
    }

    /// The entry of a key that cannot be loaded anew: value, flags and version, if its group shows it still.
    fn shown_for_error(&mut self, group: Group, key: Key<'_>, now_ms: u64) -> Option<(Vec<u8>, u32, u64)> {
        let refill = self.local.groups.refill(group);
        if self.local.groups.again(group).is_none() || !self.local.may_answer(key, now_ms) {
            return None;
        }
        let (Stale::Shown(handle) | Stale::IfError(handle)) = self.local.stale(key, refill, now_ms)?;
        let entry = self.local.store.entry(handle);
        let mut value = Vec::new();
        entry.value.copy_to(&mut value);
        Some((value, entry.flags, self.local.names.told(entry.version)))
    }

    /// Grants what is wanted of a key that belongs here, at once or later.
    pub(crate) fn grant(
        &mut self,
        wish: Wish,
        group: Group,
        key: (u64, &[u8]),
        (now_ms, deadline_ms): (u64, u64),
    ) -> Submission<'_> {
        self.local.counters.requests += 1;
        match self.known(wish, group, key, now_ms) {
            Known::Flight(_) if self.waiting.is_full() => Submission::Done(self.overloaded()),
            Known::Flight(flight) => {
                let ticket = self.waiting.begin(deadline_ms, true);
                self.waiting.delay(ticket);
                self.local.flights.board(flight, Passenger::Alone(ticket, wish));
                Submission::Pending(ticket)
            }
            known => Submission::Done(self.local.said(&known, now_ms)),
        }
    }

    /// The same for some who wait already.
    pub(crate) fn grant_again(
        &mut self,
        passengers: impl Iterator<Item = Passenger>,
        group: Group,
        key: (u64, &[u8]),
        now_ms: u64,
        answer: &mut impl FnMut(Ticket, &Reply<'_>),
    ) {
        for passenger in passengers {
            if self.waiting.missing(passenger.ticket()).is_none() {
                continue;
            }
            let wish = if let Passenger::Alone(_, wish) = passenger { wish } else { Wish::Get };
            let known = match (self.local.route(key.0), self.local.groups.again(group)) {
                (_, None) => Known::Refused(&failures::GROUP_DROPPED),
                (Route::Here, Some(group)) => self.known(wish, group, key, now_ms),
                _ => Known::Refused(&failures::UNPROVEN),
            };
            if let Known::Flight(flight) = known {
                self.local.flights.board(flight, passenger);
                continue;
            }
            let Self { local, waiting, mesh, .. } = self;
            let epoch = local.topology.epoch();
            let is_refused = give(waiting, mesh, epoch, passenger, &local.said(&known, now_ms), answer);
            local.counters.overloaded += u64::from(is_refused);
        }
    }

    /// The same for another shard.
    pub(crate) fn grant_on_behalf(
        &mut self,
        behalf: Behalf,
        wish: Wish,
        group: Group,
        key: (u64, &[u8]),
        (now_ms, deadline_ms): (u64, u64),
    ) {
        self.local.counters.requests += 1;
        let known = match self.known(wish, group, key, now_ms) {
            Known::Flight(_) if self.waiting.is_full() => Known::Refused(&failures::OVERLOADED),
            Known::Flight(flight) => {
                // Whoever asks has a deadline of its own, and gives its caller up then.
                let ticket = self.waiting.begin(deadline_ms, true);
                self.waiting.set_behalf(ticket, behalf);
                send_later(&mut self.mesh, behalf);
                return self.local.flights.board(flight, Passenger::Alone(ticket, wish));
            }
            known => known,
        };
        let epoch = self.epoch();
        let is_refused = reply_on_behalf(&mut self.mesh, epoch, behalf, &self.local.said(&known, now_ms));
        self.local.counters.overloaded += u64::from(is_refused);
    }

    /// Leases that have ended: who waited for them asks again.
    pub(crate) fn wake_leases(&mut self, now_ms: u64, answer: &mut impl FnMut(Ticket, &Reply<'_>)) {
        for _ in 0..EXPIRE_STEPS_MAX {
            let Some(ended) = self.local.flights.next_ended(now_ms) else { break };
            let key = (ended.hash, &*ended.key);
            self.grant_again(ended.passengers.iter().copied(), ended.group, key, now_ms, answer);
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
            Ok(ticket) => {
                self.waiting.set_behalf(ticket, behalf);
                send_later(&mut self.mesh, behalf);
            }
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
                self.waiting.delay(ticket);
                gather.missing += 1;
            }
            Known::Refused(failure) => gather.fail(position, failure.status),
            Known::Stale(handle) => {
                let found = self.local.found_stale(handle, now_ms);
                let is_overloaded = self.waiting.gathers.found(gather, position, found);
                self.local.counters.overloaded += u64::from(is_overloaded);
            }
            Known::Absent | Known::Entry(_) | Known::Leased { .. } => gather.fail(position, Status::NotFound),
        }
    }

    /// Sends a reply to the shard on whose behalf a ticket was given.
    pub(crate) fn reply_on_behalf(&mut self, behalf: Behalf, reply: &Reply<'_>) {
        let is_refused = reply_on_behalf(&mut self.mesh, self.local.topology.epoch(), behalf, reply);
        self.local.counters.overloaded += u64::from(is_refused);
    }

    /// What is known of a key that belongs here; a flight or a lease is begun if nothing is.
    fn known(&mut self, wish: Wish, group: Group, (hash, bytes): (u64, &[u8]), now_ms: u64) -> Known {
        let key = Key { group: group.index, hash, bytes };
        if !self.local.may_answer(key, now_ms) {
            return Known::Refused(&failures::UNPROVEN);
        }
        match (self.local.store.get(key, now_ms), wish) {
            (Some(handle), Wish::Get) => {
                if let Some(origin) = self.local.groups.refill(group).origin {
                    self.local.refresh_early(group, origin, (hash, bytes), handle, now_ms);
                }
                Known::Entry(handle)
            }
            (Some(handle), Wish::Lease { .. }) => Known::Entry(handle),
            (None, Wish::Get) => self.missing(group, (hash, bytes), now_ms),
            (None, Wish::Lease { lease_ms }) => self.lease(group, (hash, bytes), lease_ms, now_ms),
        }
    }

    /// The flight of a key that is not here, unless it is known to be nowhere or there is an entry to show.
    fn missing(&mut self, group: Group, (hash, bytes): (u64, &[u8]), now_ms: u64) -> Known {
        let (named, key) = (Named { group: group.index.0, hash, key: bytes }, Key { group: group.index, hash, bytes });
        let refill = self.local.groups.refill(group);
        if let Some(Stale::Shown(handle)) = self.local.stale(key, refill, now_ms) {
            self.local.counters.stale += 1;
            if refill.origin.is_some() {
                self.local.refresh(group, (hash, bytes), now_ms);
            }
            return Known::Stale(handle);
        }
        let flights = &mut self.local.flights;
        // What somebody may fill who has not come yet, the origin fills.
        flights.end_unheld(named, now_ms);
        if refill.origin.is_none() || flights.absent.has(named, now_ms) {
            return Known::Absent;
        }
        if let Some(flight) = flights.of(named, now_ms).filter(|_| !planted::has(Bug::DoubleLoad)) {
            self.local.counters.load_waits += 1;
            return Known::Flight(flight);
        }
        match flights.begin(group, (hash, bytes), now_ms) {
            Some(flight) => Known::Flight(flight),
            None => Known::Refused(&failures::FLIGHTS_FULL),
        }
    }

    /// The flight of a key that is not here, or an entry to show while it flies, else a lease of it.
    fn lease(&mut self, group: Group, (hash, bytes): (u64, &[u8]), lease_ms: u32, now_ms: u64) -> Known {
        let (named, key) = (Named { group: group.index.0, hash, key: bytes }, Key { group: group.index, hash, bytes });
        if let Some(Lease { token, until_ms, .. }) = self.local.flights.take_lease(named, now_ms) {
            return Known::Leased { token, lease_ms: until_ms.saturating_sub(now_ms) as u32 };
        }
        if let Some(flight) = self.local.flights.of(named, now_ms).filter(|_| !planted::has(Bug::TwoHolders)) {
            let refill = self.local.groups.refill(group);
            if let Some(Stale::Shown(handle) | Stale::IfError(handle)) = self.local.stale(key, refill, now_ms) {
                self.local.counters.stale += 1;
                return Known::Stale(handle);
            }
            self.local.counters.load_waits += 1;
            return Known::Flight(flight);
        }
        // Above every version that was given, so also above those that the key had.
        let token = self.local.store.fence(now_ms);
        let until_ms = now_ms.saturating_add(u64::from(lease_ms));
        let lease = Lease { token, until_ms, is_stale: false, is_held: true };
        match self.local.flights.lease(group, (hash, bytes), lease, now_ms) {
            true => Known::Leased { token, lease_ms },
            false => Known::Refused(&failures::FLIGHTS_FULL),
        }
    }

    /// Answers everybody who waited for a flight.
    fn give_all(&mut self, passengers: &[Passenger], reply: &Reply<'_>, answer: &mut impl FnMut(Ticket, &Reply<'_>)) {
        let epoch = self.epoch();
        for (place, passenger) in passengers.iter().enumerate() {
            if place > 0 && place + 1 == passengers.len() && planted::has(Bug::LostPassenger) {
                self.waiting.cancel(passenger.ticket());
                continue;
            }
            let is_refused = give(&mut self.waiting, &mut self.mesh, epoch, *passenger, reply, answer);
            self.local.counters.overloaded += u64::from(is_refused);
        }
    }
}

impl<H: RemovalHook> Local<H> {
    /// Whether a command that changed nothing is a write all the same for who fills the key: a delete of what is not there,
    /// and one of the version that is the token of a lease.
    pub(crate) fn ends_flight(&self, group: Group, hash: u64, command: &Command<'_>, now_ms: u64) -> bool {
        match *command {
            Command::Delete { version: 0, .. } => true,
            Command::Delete { key, version } => {
                self.flights.holds(Named { group: group.index.0, hash, key }, version, now_ms)
            }
            _ => false,
        }
    }

    /// What is known, as a reply.
    fn said(&mut self, known: &Known, now_ms: u64) -> Reply<'_> {
        match *known {
            Known::Entry(handle) => Reply::Entry(self.found(handle, now_ms)),
            Known::Stale(handle) => Reply::Entry(self.found_stale(handle, now_ms)),
            Known::Absent => Reply::Miss,
            Known::Leased { token, lease_ms } => Reply::Leased { token, lease_ms },
            Known::Refused(failure) => Reply::Failed(failure),
            Known::Flight(_) => unreachable!("whoever boards is told later"),
        }
    }
}

/// Answers one who has waited, and may have gone; says whether what it gets had to be refused for want of room.
fn give(
    waiting: &mut Waiting,
    mesh: &mut Mesh,
    epoch: u64,
    passenger: Passenger,
    reply: &Reply<'_>,
    answer: &mut impl FnMut(Ticket, &Reply<'_>),
) -> bool {
    let ticket = passenger.ticket();
    let behalf = waiting.behalf(ticket);
    let mut hand_out = |reply: &Reply<'_>| match behalf {
        Some(behalf) => reply_on_behalf(mesh, epoch, behalf, reply),
        None => {
            answer(ticket, reply);
            false
        }
    };
    let Passenger::Key(_, position) = passenger else {
        return waiting.take(ticket).is_some() && hand_out(reply);
    };
    let (position, mut is_refused) = (position as usize, false);
    let Some((Awaited::Keys(gather), gathers)) = waiting.awaited(ticket) else { return false };
    match *reply {
        Reply::Entry(found) => is_refused = gathers.found(gather, position, found),
        Reply::Failed(failure) => gather.fail(position, failure.status),
        _ => gather.fail(position, Status::NotFound),
    }
    gather.missing -= 1;
    if gather.missing == 0 {
        let Some(Awaited::Keys(gather)) = waiting.take(ticket) else { unreachable!("it was just looked at") };
        is_refused |= hand_out(&gather.reply());
        waiting.gathers.give_back(gather);
    }
    is_refused
}

/// Tells another shard that the reply to its request takes long.
fn send_later(mesh: &mut Mesh, Behalf { shard, id }: Behalf) {
    mesh.reply(shard, LATER_BYTES, |out| put_later(out, id));
}

/// Sends a reply to another shard; says whether it had to be refused for want of room.
fn reply_on_behalf(mesh: &mut Mesh, epoch: u64, Behalf { shard, id }: Behalf, reply: &Reply<'_>) -> bool {
    let carries = matches!(reply, Reply::Entry(_) | Reply::Entries(_));
    let is_refused = carries && !mesh.has_reply_room(shard, reply_bytes_max(reply));
    let reply = if is_refused { &Reply::Failed(&failures::OVERLOADED) } else { reply };
    send_reply(mesh, shard, (id, epoch), reply);
    is_refused
}

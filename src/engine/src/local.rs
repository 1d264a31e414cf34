//! What is executed on this shard: from a command to what the store says, borrowed from it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use larder_protocol::native::Scratch;
use larder_protocol::native::generated::StatsResult;
use larder_protocol::{
    Command, Entries, Expiry, Found, Members, Meta, MetaAction, Pieces, Reply, Request, Status, Value,
};
use larder_ring::{Node, NodeIndex, Place, Topology, key_hash};
use larder_store::{Condition, GroupIndex, Handle, Key, PolicySettings, RemovalHook, Store, StoreError};

use crate::Counters;
use crate::absent::Named;
use crate::command::{Many, Subject};
use crate::failures;
use crate::flights::{Flights, Wish};
use crate::groups::{Group, Groups};
use crate::last::Last;
use crate::limits::{LEASE_MS_DEFAULT, LEASE_MS_MAX, PREFETCH_REQUESTS};
use crate::members::key_of;
use crate::names::Names;
use crate::ownership::Ownership;
use crate::planted::{self, Bug};
use crate::stats;
use crate::terms::{expiry_of, touched_of, write_of};

/// Where a key belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To this shard.
    Here,
    /// To another shard of this node.
    Shard(u16),
    /// To another node.
    Node(Place),
}

/// A key of a multi-key request, placed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) hash: u64,
    pub(crate) route: Route,
}

/// One shard's store, and all that is needed to execute requests on it.
pub(crate) struct Local<H: RemovalHook> {
    pub(crate) store: Store<H>,
    pub(crate) groups: Groups,
    /// Numbers of dropped groups are taken still.
    pub(crate) has_dropped: bool,
    pub(crate) flights: Flights,
    pub(crate) names: Names,
    pub(crate) topology: Arc<Topology>,
    /// Nodes that are not in it.
    pub(crate) joining: Vec<Node>,
    pub(crate) draining: Vec<Node>,
    pub(crate) ownership: Ownership,
    /// How often groups were invalidated on all nodes, as far as this shard has done so.
    pub(crate) generations: Arc<BTreeMap<String, u64>>,
    /// This node in the topology; `None`: it is not in it.
    pub(crate) node: Option<NodeIndex>,
    pub(crate) shard: u16,
    pub(crate) shards: u16,
    /// Who may have keys, by number: the shards of this node, and from these numbers on those of each node.
    pub(crate) first_targets: Vec<usize>,
    pub(crate) counters: Counters,
    /// Policies that groups are to have and cannot have yet, at most one for each.
    pub(crate) policies: Vec<(GroupIndex, PolicySettings)>,
    pub(crate) node_id: String,
    pub(crate) server: String,
    pub(crate) started_ms: u64,
    /// For the requests of transactions.
    pub(crate) transact: Scratch,
    /// Where the keys of the last multi-key request belong.
    pub(crate) placed: Vec<Placed>,
    /// What the replies that were given last borrow.
    pub(crate) last: Last,
}

impl<H: RemovalHook> Local<H> {
    /// Routes by this topology from now on.
    pub(crate) fn set_topology(&mut self, topology: Arc<Topology>) {
        self.node = topology.index_of(&self.node_id);
        self.first_targets.clear();
        let mut first = usize::from(self.shards);
        for node in topology.nodes() {
            self.first_targets.push(first);
            first += usize::from(node.shards);
        }
        self.topology = topology;
    }

    /// Where a key belongs.
    #[inline]
    pub(crate) fn route(&self, hash: u64) -> Route {
        let place = self.topology.place(hash);
        if Some(place.node) != self.node {
            Route::Node(place)
        } else if place.shard == self.shard {
            Route::Here
        } else {
            Route::Shard(place.shard)
        }
    }

    /// What a command on a key of this shard wants that may have to wait; `None`: it is executed at once.
    #[inline]
    pub(crate) fn wish(&self, (group, hash): (Group, u64), command: &Command<'_>, now_ms: u64) -> Option<Wish> {
        match *command {
            Command::Get { .. } if group.is_refilled => Some(Wish::Get),
            Command::LeaseGet { lease_ms: 0, .. } => Some(Wish::Lease { lease_ms: LEASE_MS_DEFAULT }),
            Command::LeaseGet { lease_ms, .. } => Some(Wish::Lease { lease_ms: lease_ms.min(LEASE_MS_MAX) }),
            // What is there has more to be told than a get has.
            Command::Meta(Meta { key: bytes, action: MetaAction::Get, is_unseen: false, .. })
                if group.is_refilled && self.store.peek(Key { group: group.index, hash, bytes }, now_ms).is_none() =>
            {
                Some(Wish::Get)
            }
            _ => None,
        }
    }

    /// Finds out where each key belongs; says whether other shards or nodes have some.
    pub(crate) fn place(&mut self, many: &Many<'_>, group: Group) -> bool {
        self.placed.clear();
        let mut others = false;
        for position in 0..many.len() {
            let hash = key_hash(many.key(position), group.hash);
            let route = self.route(hash);
            others |= route != Route::Here;
            self.placed.push(Placed { hash, route });
        }
        others
    }

    /// Executes a request here, or says why it cannot be.
    pub(crate) fn execute(&mut self, request: &Request<'_>, now_ms: u64) -> Reply<'_> {
        let group = self.groups.group(request.group);
        match (Subject::of(&request.command), group) {
            (Subject::Key(_) | Subject::Keys(_) | Subject::Group | Subject::Scan(_), None) => {
                self.no_such_group(request.group)
            }
            (Subject::Key(key), Some(group)) => {
                let hash = key_hash(key, group.hash);
                match self.route(hash) {
                    Route::Here => self.execute_key(group, hash, &request.command, now_ms),
                    Route::Shard(_) | Route::Node(_) => self.wrong_owner(hash),
                }
            }
            (Subject::Keys(many), Some(group)) => {
                self.place(&many, group);
                self.execute_keys(&many, group, now_ms)
            }
            (Subject::Group, Some(group)) => Reply::Invalidated { generation: self.invalidate(group, now_ms) },
            (Subject::Node, _) => {
                self.last.stats = self.stats(now_ms);
                Reply::Stats(&self.last.stats)
            }
            (Subject::Scan(step), Some(group)) => self.scan(group, &step, now_ms),
            (Subject::Anyone, _) => self.execute_anywhere(&request.command),
        }
    }

    /// Executes a command on one key, which belongs here.
    #[inline]
    pub(crate) fn execute_key(&mut self, group: Group, hash: u64, command: &Command<'_>, now_ms: u64) -> Reply<'_> {
        self.counters.requests += 1;
        let key = |bytes| Key { group: group.index, hash, bytes };
        if !self.ownership.is_plain(now_ms) && !self.may_answer(key(key_of(command)), now_ms) {
            return Reply::Failed(&failures::UNPROVEN);
        }
        let renamed;
        let mut command = command;
        if !self.names.are_none() {
            renamed = self.by_store(key(key_of(command)), command, now_ms);
            command = &renamed;
        }
        let changed = match *command {
            Command::Get { key: bytes } => {
                return match self.store.get(key(bytes), now_ms) {
                    Some(handle) => Reply::Entry(self.found(handle, now_ms)),
                    None => Reply::Miss,
                };
            }
            Command::Set(ref write) => {
                let stored = self.store.set(key(write.key), write_of(write), now_ms);
                stored.map(|version| Reply::Stored { version })
            }
            Command::Delete { key: bytes, version: 0 }
                if planted::has(Bug::StaleAfterDelete) && self.store.stale(key(bytes), now_ms).is_some() =>
            {
                return Reply::Done;
            }
            Command::Delete { key: bytes, version } => {
                self.store.delete(key(bytes), version, now_ms).map(|()| Reply::Done)
            }
            Command::Touch { key: bytes, expiry, only } => {
                let touched = self.store.touch_if(key(bytes), expiry_of(expiry), touched_of(only), now_ms);
                let touched =
                    touched.map(|handle| Reply::Stored { version: self.names.told(self.store.entry(handle).version) });
                if touched.is_ok() && matches!(expiry, Expiry::At(at_ms) if at_ms <= now_ms) {
                    // Its time is over: it goes, and does not wait until that is noticed.
                    self.store.void(key(bytes), now_ms);
                }
                touched
            }
            Command::GetAndTouch { key: bytes, expiry } => {
                match self.store.touch(key(bytes), expiry_of(expiry), now_ms) {
                    Ok(handle) => return Reply::Entry(self.found(handle, now_ms)),
                    Err(error) => Err(error),
                }
            }
            Command::Increment { key: bytes, delta, initial, expiry } => {
                let sum = self.store.increment(key(bytes), delta, initial, expiry_of(expiry), now_ms);
                sum.map(|(value, version)| Reply::Number { value, version })
            }
            Command::Append { key: bytes, value } => {
                let version = self.store.append(key(bytes), value, now_ms);
                version.map(|version| self.resized(key(bytes), version, now_ms))
            }
            Command::Prepend { key: bytes, value } => {
                let version = self.store.prepend(key(bytes), value, now_ms);
                version.map(|version| self.resized(key(bytes), version, now_ms))
            }
            Command::Patch { key: bytes, offset, value } => {
                let version = self.patch(key(bytes), offset, value, now_ms);
                version.map(|version| self.resized(key(bytes), version, now_ms))
            }
            Command::AddDecimal { key: bytes, delta } => {
                let version = self.add_decimal(key(bytes), delta, now_ms);
                version.map(|version| Reply::Stored { version })
            }
            Command::Count { key: bytes, delta, is_down, initial, expiry, version } => {
                let (step, created) = ((delta, is_down, version), initial.map(|initial| (initial, expiry_of(expiry))));
                self.count(key(bytes), step, created, now_ms).map(|version| Reply::Stored { version })
            }
            Command::Look { key: bytes, value } => return self.look(key(bytes), value, now_ms),
            Command::Check { key: bytes, version, expires_at_ms } => {
                return match self.is_unchanged(key(bytes), version, expires_at_ms, now_ms) {
                    true => Reply::Done,
                    false => Reply::Failed(&failures::VERSION_MISMATCH),
                };
            }
            Command::Transact { requests, .. } => return self.transact(requests, now_ms),
            Command::Meta(ref meta) => return self.meta(group, key(meta.key), meta, now_ms),
            Command::LeaseSet { ref write, token } => {
                let named = Named { group: group.index.0, hash, key: write.key };
                if !self.flights.holds(named, token, now_ms) {
                    return Reply::Failed(&failures::LEASE_LOST);
                }
                let stored = self.store.set(key(write.key), write_of(write), now_ms);
                stored.map(|version| Reply::Stored { version })
            }
            _ => unreachable!("{command:?} is not about one key, or waits"),
        };
        let is_written = changed.is_ok() || self.ends_flight(group, hash, command, now_ms);
        if is_written && !self.flights.are_idle() {
            self.flights.changed(Named { group: group.index.0, hash, key: key_of(command) });
        }
        match (changed, command) {
            // The sum is what is stored.
            (Ok(_), Command::AddDecimal { key: bytes, .. } | Command::Count { key: bytes, .. }) => {
                let key = Key { group: group.index, hash, bytes };
                let handle = self.store.peek(key, now_ms).expect("it was just stored");
                Reply::Entry(self.found(handle, now_ms))
            }
            (Ok(reply), _) => reply,
            (Err(StoreError::NotFound), _) => Reply::Miss,
            (Err(error), _) => Reply::Failed(failures::of_store(error)),
        }
    }

    /// Executes a command on those of several keys, as [`Local::place`] has placed them, that belong here; the others
    /// are answered WRONG_OWNER.
    pub(crate) fn execute_keys(&mut self, many: &Many<'_>, group: Group, now_ms: u64) -> Reply<'_> {
        self.counters.requests += 1;
        if matches!(many, Many::Get(_)) {
            self.remove_old(many, group, now_ms);
            self.last.found.clear();
            self.last.found_ms = now_ms;
            for position in 0..many.len() {
                self.prefetch(position);
                let found = self.find(many, position, group, now_ms);
                self.last.found.push(found);
            }
            return Reply::Entries(self);
        }
        self.last.outcomes.clear();
        for position in 0..many.len() {
            self.prefetch(position);
            let outcome = self.change(many, position, group, now_ms);
            self.last.outcomes.push(outcome);
        }
        Reply::Outcomes(&self.last)
    }

    /// Removes what is there of these keys from an earlier time. Before the first of them is looked up, since entries may
    /// move.
    fn remove_old(&mut self, many: &Many<'_>, group: Group, now_ms: u64) {
        if self.ownership.is_plain(now_ms) {
            return;
        }
        for position in 0..many.len() {
            let Placed { hash, route } = self.placed[position];
            if route == Route::Here {
                // Whether it may be answered for is asked again.
                let _ = self.may_answer(Key { group: group.index, hash, bytes: many.key(position) }, now_ms);
            }
        }
    }

    /// At the first of every [`PREFETCH_REQUESTS`] placed keys: asks for the memory of those that are here.
    #[inline]
    fn prefetch(&self, position: usize) {
        if position.is_multiple_of(PREFETCH_REQUESTS) {
            let (mut hashes, mut len) = ([0; PREFETCH_REQUESTS], 0);
            let next = self.placed[position..].iter().take(PREFETCH_REQUESTS);
            for placed in next.filter(|placed| placed.route == Route::Here) {
                hashes[len] = placed.hash;
                len += 1;
            }
            self.store.prefetch(&hashes[..len]);
        }
    }

    /// Looks up one key of a get_many.
    pub(crate) fn find(
        &mut self,
        many: &Many<'_>,
        position: usize,
        group: Group,
        now_ms: u64,
    ) -> Result<Handle, Status> {
        let Placed { hash, route } = self.placed[position];
        if route != Route::Here {
            return Err(Status::WrongOwner);
        }
        let key = Key { group: group.index, hash, bytes: many.key(position) };
        if !self.may_answer(key, now_ms) {
            return Err(Status::OwnerUnsure);
        }
        self.store.get(key, now_ms).ok_or(Status::NotFound)
    }

    /// Executes one key of a set_many or delete_many.
    pub(crate) fn change(
        &mut self,
        many: &Many<'_>,
        position: usize,
        group: Group,
        now_ms: u64,
    ) -> Result<u64, Status> {
        let Placed { hash, route } = self.placed[position];
        if route != Route::Here {
            return Err(Status::WrongOwner);
        }
        let key = Key { group: group.index, hash, bytes: many.key(position) };
        if !self.may_answer(key, now_ms) {
            return Err(Status::OwnerUnsure);
        }
        let outcome = match many {
            Many::Set(entries) => {
                let mut write = write_of(&Many::write(entries, position));
                if let Condition::Version(version) = &mut write.condition {
                    *version = self.version_by_store(key, *version, now_ms);
                }
                self.store.set(key, write, now_ms)
            }
            Many::Delete(_) => self.store.delete(key, 0, now_ms).map(|()| 0),
            Many::Get(_) => unreachable!("a get_many changes nothing"),
        };
        if !self.flights.are_idle() && (outcome.is_ok() || matches!(many, Many::Delete(_))) {
            self.flights.changed(Named { group: group.index.0, hash, key: key.bytes });
        }
        outcome.map_err(|error| failures::of_store(error).status)
    }

    /// An entry as a reply has it.
    #[inline]
    pub(crate) fn found(&mut self, handle: Handle, now_ms: u64) -> Found<'_> {
        let entry = self.store.entry(handle);
        if entry.value.contiguous().is_none() {
            // Where the reply finds its pieces.
            self.last.found.clear();
            self.last.found.push(Ok(handle));
        }
        self.shown(0, &entry, now_ms)
    }

    /// The same for an entry whose time is over.
    #[cold]
    pub(crate) fn found_stale(&mut self, handle: Handle, now_ms: u64) -> Found<'_> {
        Found { ttl_ms: 0, is_stale: true, ..self.found(handle, now_ms) }
    }

    /// An entry as a reply has it, which is result `index` of those that were found last if it is in pieces.
    #[inline]
    fn found_as(&self, index: usize, handle: Handle, now_ms: u64) -> Found<'_> {
        self.shown(index, &self.store.entry(handle), now_ms)
    }

    #[inline]
    fn shown<'a>(&'a self, index: usize, entry: &larder_store::Entry<'a>, now_ms: u64) -> Found<'a> {
        let value = match entry.value.contiguous() {
            Some(bytes) => Value::Whole(bytes),
            None => Value::InPieces { source: self, index, len: entry.value.len() },
        };
        let ttl_ms = match entry.expires_at_ms {
            0 => 0,
            at_ms => at_ms.saturating_sub(now_ms).max(1),
        };
        Found { value, flags: entry.flags, version: self.names.told(entry.version), ttl_ms, is_stale: false }
    }

    /// Makes every entry of the group absent here; how often that was done.
    pub(crate) fn invalidate(&mut self, group: Group, now_ms: u64) -> u64 {
        self.counters.requests += 1;
        self.flights.changed_group(group.index.0);
        self.store.invalidate(group.index, now_ms)
    }

    /// The statistics of this shard.
    pub(crate) fn stats(&mut self, now_ms: u64) -> StatsResult {
        self.counters.requests += 1;
        let uptime_ms = now_ms.saturating_sub(self.started_ms);
        stats::of_shard(&self.store, &self.counters, self.shard, (&self.node_id, &self.server), uptime_ms)
    }

    fn execute_anywhere(&mut self, command: &Command<'_>) -> Reply<'_> {
        match *command {
            Command::Topology => {
                self.counters.requests += 1;
                let (joining, draining) = (&*self.joining, &*self.draining);
                Reply::Topology(Members { topology: &self.topology, joining, draining })
            }
            Command::AlterNode(_) => self.fail(
                Status::NotSupported,
                format_args!("what operators say about nodes is kept in etcd, and this node has none: see --etcd"),
            ),
            Command::AlterGroup(_) => self.fail(
                Status::WrongOwner,
                format_args!("the groups of a node are no shard's: ask for this without `forwarded`"),
            ),
            Command::Watch => self.fail(
                Status::NotSupported,
                format_args!("a watch is told of what leaves the shard of its own connection; it cannot be passed on"),
            ),
            Command::Hello { .. } => panic!("Hello is answered by whoever owns the connection, not by an engine"),
            _ => unreachable!("{command:?} has an owner"),
        }
    }
}

impl<H: RemovalHook> fmt::Debug for Local<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Local").field("shard", &self.shard).field("counters", &self.counters).finish()
    }
}

/// The results of the last get_many.
impl<H: RemovalHook> Entries for Local<H> {
    fn len(&self) -> usize {
        self.last.found.len()
    }

    fn entry(&self, index: usize) -> Result<Found<'_>, Status> {
        self.last.found[index].map(|handle| self.found_as(index, handle, self.last.found_ms))
    }
}

/// The values of the entries that were found last.
impl<H: RemovalHook> Pieces for Local<H> {
    fn append(&self, index: usize, out: &mut Vec<u8>) {
        let handle = self.last.found[index].expect("only what was found has a value");
        self.store.entry(handle).value.copy_to(out);
    }
}

//! The engine as its owner sees it: requests in, answers and batches out.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::borrow::Borrow;

use larder_protocol::native::{RequestLimits, Scratch};
use larder_protocol::{Command, Reply, Request, Span, WriteSpan};
use larder_ring::{Topology, key_hash};
use larder_store::{NoHook, Reclaimed, RemovalHook, Store, StoreSettings};

use crate::command::Subject;
use crate::failures;
use crate::flights::Flights;
use crate::gather::Gather;
use crate::groups::Groups;
use crate::last::Last;
use crate::limits::{EXPIRE_STEPS_MAX, PREFETCH_REQUESTS};
use crate::local::{Local, Route};
use crate::mesh::{Mesh, Outgoing};
use crate::names::Names;
use crate::orders::ClusterOrder;
use crate::ownership::{Ownership, Standing};
use crate::peers::Peers;
use crate::scatter::Scatter;
use crate::waiting::{Awaited, Late, Waiting};
use crate::{Counters, EngineError, GroupPlan, Ticket};

/// What an engine is told when it is made.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// The id of this node in the topology.
    pub node_id: String,
    /// The number of this shard, below the number of shards that the topology gives the node.
    pub shard: u16,
    /// Name and version of the server, for statistics.
    pub server: String,
    /// The groups, the same on every shard; one is named "default".
    pub groups: Vec<GroupPlan>,
    /// Longest value that is accepted, in bytes.
    pub value_bytes_max: usize,
    /// All memory of the entries of this node, in bytes; see [`StoreSettings::memory_bytes`] for this shard's share.
    pub node_memory_bytes: u64,
    /// How long a request waits whose sender does not say, in ms; at least 1.
    pub timeout_ms_default: u32,
    /// When the server started, in ms since the Unix epoch.
    pub started_ms: u64,
    /// What is known of the registration of this node at the beginning.
    pub standing: Standing,
}

/// What became of a request.
#[derive(Debug)]
pub enum Submission<'e> {
    /// It was executed or refused.
    Done(Reply<'e>),
    /// Others are asked; [`Engine::receive`] or [`Engine::wake`] will answer.
    Pending(Ticket),
}

/// What background work is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// None that is known of.
    None,
    /// Looking on for entries that have expired, of which there are few or none.
    Looking,
    /// Some, which has time: entries that nobody can get any more.
    Some,
    /// A group's budget was lowered, and somebody waits for it to be met: go on as soon as what clients wait for is done.
    Urgent,
}

/// Everything that one shard knows and has to do.
#[derive(Debug)]
pub struct Engine<H: RemovalHook = NoHook> {
    pub(crate) local: Local<H>,
    pub(crate) mesh: Mesh,
    pub(crate) waiting: Waiting,
    /// For requests from other shards.
    pub(crate) decoder: Scratch,
    /// The keys of the part that is being sent.
    pub(crate) key_spans: Vec<Span>,
    pub(crate) write_spans: Vec<WriteSpan>,
    pub(crate) scatter: Scatter,
    pub(crate) peers: Peers,
    /// The greatest epoch that another node has named.
    pub(crate) newest_epoch: u64,
    /// When others are to be asked next how far they are.
    pub(crate) ping_ms: u64,
    /// When all of them were asked last.
    pub(crate) exchange_ms: u64,
    /// Orders that wait to be handed out, and the tickets of all that are not followed.
    pub(crate) cluster_orders: VecDeque<ClusterOrder>,
    pub(crate) cluster_orders_taken: Vec<Ticket>,
    /// What was gathered and answered at once last; its reply may still be looked at.
    answered_now: Option<Box<Gather>>,
    pub(crate) timeout_ms_default: u32,
}

impl<H: RemovalHook> Engine<H> {
    /// An engine with an empty store.
    ///
    /// # Errors
    /// If the node is not in the topology or has no such shard, or the groups cannot be: see [`EngineError`].
    pub fn new(settings: EngineSettings, topology: Arc<Topology>, hook: H) -> Result<Self, EngineError> {
        let EngineSettings { node_id, shard, server, groups, timeout_ms_default, started_ms, .. } = settings;
        let EngineSettings { value_bytes_max, node_memory_bytes, standing, .. } = settings;
        let Some(node) = topology.index_of(&node_id) else {
            return Err(EngineError::UnknownNode { node_id, epoch: topology.epoch() });
        };
        let shards = topology.node(node).shards;
        if shard >= shards {
            return Err(EngineError::UnknownShard { node_id, shard, shards });
        }
        let limits = RequestLimits { value_bytes_max, ..RequestLimits::default() };
        let version_shard = u8::try_from(shard).expect("the topology gives a node at most 256 shards");
        let store = StoreSettings {
            shard: version_shard,
            value_bytes_max,
            memory_bytes: node_memory_bytes / u64::from(shards),
            key_hash: |group_hash, key| key_hash(key, group_hash),
        };
        let mut local = Local {
            store: Store::new(store, hook),
            groups: Groups::default(),
            has_dropped: false,
            flights: Flights::new(),
            names: Names::default(),
            topology: Arc::clone(&topology),
            joining: Vec::new(),
            draining: Vec::new(),
            ownership: Ownership::new(standing, 0, topology.nodes().len() == 1),
            generations: Arc::default(),
            node: Some(node),
            shard,
            shards,
            first_targets: Vec::new(),
            counters: Counters::default(),
            policies: Vec::new(),
            node_id,
            server,
            started_ms,
            transact: Scratch::new(limits),
            placed: Vec::new(),
            last: Last::default(),
        };
        let mut peers = Peers::new(key_hash(local.node_id.as_bytes(), u64::from(shard)));
        peers.set_members(&topology, &[], Some(node));
        local.set_topology(topology);
        local.set_groups(&groups)?;
        Ok(Self {
            local,
            mesh: Mesh::new(shards),
            waiting: Waiting::new(shards),
            decoder: Scratch::new(limits),
            key_spans: Vec::new(),
            write_spans: Vec::new(),
            scatter: Scatter::default(),
            peers,
            newest_epoch: 0,
            ping_ms: 0,
            exchange_ms: 0,
            cluster_orders: VecDeque::new(),
            cluster_orders_taken: Vec::new(),
            answered_now: None,
            timeout_ms_default,
        })
    }

    /// Asks the processor for the memory that these requests will read, if they are about one key each and it is here.
    /// Changes nothing: a caller with several requests passes them here, then submits them in their order, and each
    /// finds in the cache what it would have waited for. Returns for how many it has asked.
    pub fn prefetch<'r>(&self, requests: impl Iterator<Item = impl Borrow<Request<'r>>>) -> usize {
        let (mut hashes, mut len, mut asked_for) = ([0; PREFETCH_REQUESTS], 0, 0);
        for request in requests {
            let request = request.borrow();
            let Subject::Key(key) = Subject::of(&request.command) else { continue };
            let Some(group) = self.local.groups.group(request.group) else { continue };
            let hash = key_hash(key, group.hash);
            if self.local.route(hash) != Route::Here {
                continue;
            }
            hashes[len] = hash;
            (len, asked_for) = (len + 1, asked_for + 1);
            if len == hashes.len() {
                self.local.store.prefetch(&hashes);
                len = 0;
            }
        }
        self.local.store.prefetch(&hashes[..len]);
        asked_for
    }

    /// Executes a request, or passes it on to the shard that has to. A request marked as forwarded is executed here or
    /// refused.
    ///
    /// # Panics
    /// With [`larder_protocol::Command::Hello`], which is answered by whoever owns the connection.
    #[inline]
    pub fn submit(&mut self, request: &Request<'_>, now_ms: u64) -> Submission<'_> {
        self.waiting.begin_call();
        if request.forwarded {
            return self.submit_forwarded(request, now_ms);
        }
        match Subject::of(&request.command) {
            Subject::Key(key) => {
                let Some(group) = self.local.groups.group(request.group) else {
                    return Submission::Done(self.local.no_such_group(request.group));
                };
                let hash = key_hash(key, group.hash);
                match self.local.route(hash) {
                    Route::Here if let Some(wish) = self.local.wish((group, hash), &request.command, now_ms) => {
                        let deadline_ms = now_ms.saturating_add(u64::from(self.timeout_ms(request)));
                        self.grant(wish, group, (hash, key), (now_ms, deadline_ms))
                    }
                    Route::Here => Submission::Done(self.local.execute_key(group, hash, &request.command, now_ms)),
                    Route::Shard(to) => self.pass_on(to, request, hash, now_ms),
                    Route::Node(place) => self.forward(place, request, hash, now_ms),
                }
            }
            Subject::Keys(many) => self.submit_keys(many, request, now_ms),
            Subject::Scan(step) => match self.local.scanned_shard(&step) {
                Some(shard) if shard != self.local.shard => self.pass_on(shard, request, 0, now_ms),
                _ => Submission::Done(self.local.execute(request, now_ms)),
            },
            Subject::Group if !self.local.ownership.is_fixed() => self.submit_invalidation(request, now_ms),
            Subject::Group if self.local.topology.nodes().len() > 1 => self.ask_all(request, now_ms),
            Subject::Group | Subject::Node if self.local.shards > 1 => self.ask_all(request, now_ms),
            Subject::Anyone => self.submit_to_anyone(request, now_ms),
            Subject::Group | Subject::Node => Submission::Done(self.local.execute(request, now_ms)),
        }
    }

    #[cold]
    fn submit_to_anyone(&mut self, request: &Request<'_>, now_ms: u64) -> Submission<'_> {
        match &request.command {
            Command::Ping => Submission::Done(self.pong(now_ms)),
            Command::AlterNode(alteration) => self.submit_node_alteration(alteration, request, now_ms),
            Command::AlterGroup(alteration) => self.submit_group_alteration(alteration, request, now_ms),
            _ => Submission::Done(self.local.execute(request, now_ms)),
        }
    }

    /// What is submitted from here on is asked by somebody else than what was before. Who does not say so gets the same
    /// answers; see [`Ticket::index`].
    #[inline]
    pub fn next_caller(&mut self) {
        self.waiting.next_caller();
    }

    /// The caller of this ticket is gone: nothing will be reported for it. What was asked of another shard may still
    /// be executed there. Without effect if the ticket was answered and fetched.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.waiting.cancel(ticket);
    }

    /// Tickets of which the last [`Engine::submit`] or [`Engine::receive`] has learnt that their answers take long, for they
    /// wait for an origin or for who holds a lease, or are of another node and may; some may be answered. Others wait for
    /// another shard or node, which most often answers at once. At most [`crate::limits::DELAYED_MAX`]; of more nothing is
    /// said.
    #[inline]
    pub fn delayed(&self) -> &[Ticket] {
        self.waiting.delayed()
    }

    /// The next batch to deliver to another shard, until there is none. Poll after every call that takes requests,
    /// batches or time; what is not polled waits, within [`crate::limits`].
    pub fn next_batch(&mut self) -> Option<Outgoing> {
        self.mesh.next_batch()
    }

    /// Gives the buffer of a batch back that was received, to be used for others. A bounded number is kept.
    pub fn recycle(&mut self, batch: Vec<u8>) {
        self.mesh.recycle(batch);
    }

    /// When [`Engine::wake`] is to be called at the latest, in ms since the Unix epoch.
    pub fn next_wake_ms(&self) -> Option<u64> {
        let (late, due) = (self.waiting.next_deadline_ms(), self.peers.next_due_ms());
        let leases = self.local.flights.next_due_ms();
        late.into_iter().chain(due).chain(leases).chain(self.next_ping_ms()).chain(self.remember_ms()).min()
    }

    /// Hands the tickets whose time is up to `answer`, at most [`EXPIRE_STEPS_MAX`] of them and the rest of the run of the
    /// last: while [`Engine::next_wake_ms`] is not in the future, there are more. Their requests may still be executed;
    /// late replies are dropped.
    pub fn wake(&mut self, now_ms: u64, mut answer: impl FnMut(Ticket, &Reply<'_>)) {
        let mut answered = 0;
        while answered < EXPIRE_STEPS_MAX {
            let Some(Late { ticket, idempotent, awaited, behalf }) = self.waiting.take_late(now_ms) else { break };
            if let Awaited::Run(mut run) = awaited {
                for (place, idempotent) in run.give_all_up() {
                    answered += 1;
                    self.local.counters.deadline_exceeded += 1;
                    answer(ticket.at(place), &Reply::Failed(failures::late(idempotent)));
                }
                continue;
            }
            answered += 1;
            self.local.counters.deadline_exceeded += 1;
            let late = failures::late(idempotent);
            match (awaited, behalf) {
                (Awaited::Keys(gather), Some(behalf)) => {
                    self.reply_on_behalf(behalf, &gather.reply());
                    self.waiting.gathers.give_back(gather);
                }
                (_, Some(behalf)) => self.reply_on_behalf(behalf, &Reply::Failed(late)),
                (awaited, None) => match awaited {
                    // Its keys that are still waiting say themselves that they are late.
                    Awaited::Keys(_) => self.answer(ticket, awaited, &mut answer),
                    Awaited::Run(_) => unreachable!("its requests were answered, each by itself"),
                    Awaited::Reply
                    | Awaited::Stats { .. }
                    | Awaited::Invalidation { .. }
                    | Awaited::Alteration { .. } => answer(ticket, &Reply::Failed(late)),
                },
            }
        }
        if self.remember_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            self.remember(now_ms);
        }
        let is_asking = self.next_ping_ms().is_some_and(|ping_ms| ping_ms <= now_ms);
        if is_asking {
            self.ping(now_ms);
        }
        if is_asking || self.peers.next_due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            self.wake_peers(now_ms, &mut answer);
        }
        self.answer_acknowledged(&mut answer);
        self.wake_leases(now_ms, &mut answer);
    }

    /// Background work, in at most `steps` steps, and about as many more while a group's budget was lowered and is not
    /// met; says whether there is more to do.
    pub fn background(&mut self, now_ms: u64, steps: usize) -> Backlog {
        self.local.change_policies();
        let reclaimed = self.local.store.reclaim(now_ms, steps);
        let is_old_left = self.local.clear_old(now_ms, steps);
        self.local.free_dropped();
        match reclaimed {
            Reclaimed { shrinking: true, .. } => Backlog::Urgent,
            Reclaimed { more, .. } if more || is_old_left || !self.local.policies.is_empty() => Backlog::Some,
            Reclaimed { amid_round: true, .. } => Backlog::Looking,
            Reclaimed { .. } => Backlog::None,
        }
    }

    /// Takes another topology, and answers by it at once: for a ring in which nobody's share changes. What was passed on
    /// before is still answered. Where shares change, see [`Engine::set_membership`].
    ///
    /// # Errors
    /// [`EngineError::OtherShards`] if it gives this node another number of shards; the old topology stays.
    pub fn set_topology(&mut self, topology: Arc<Topology>) -> Result<(), EngineError> {
        self.check_shards(&topology)?;
        self.peers.set_members(&topology, &[], topology.index_of(&self.local.node_id));
        self.local.set_topology(topology);
        Ok(())
    }

    pub(crate) fn check_shards(&self, topology: &Topology) -> Result<(), EngineError> {
        let Local { node_id, shards, .. } = &self.local;
        let claimed = topology.index_of(node_id).map_or(*shards, |node| topology.node(node).shards);
        if claimed == *shards {
            return Ok(());
        }
        let (node_id, epoch, shards) = (node_id.clone(), topology.epoch(), *shards);
        Err(EngineError::OtherShards { node_id, epoch, claimed, shards })
    }

    /// The topology that requests are routed by.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.local.topology
    }

    /// To be stepped on another thread, see [`larder_store::Store::pages_ahead`].
    pub fn pages_ahead(&self) -> larder_store::Ahead {
        self.local.store.pages_ahead()
    }

    /// The epoch of the topology, which every response carries.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.local.topology.epoch()
    }

    /// The number of this shard.
    pub fn shard(&self) -> u16 {
        self.local.shard
    }

    /// The number of shards of this node.
    pub fn shards(&self) -> u16 {
        self.local.shards
    }

    /// The id of this node.
    pub fn node_id(&self) -> &str {
        &self.local.node_id
    }

    /// Name and version of the server.
    pub fn server(&self) -> &str {
        &self.local.server
    }

    /// What requests may have, as Hello tells it and decoders check it.
    pub fn request_limits(&self) -> RequestLimits {
        self.decoder.limits()
    }

    /// Name and hash of each group, in the order of their settings.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&str, u64)> {
        self.local.groups.names()
    }

    /// This shard's counters.
    pub fn counters(&self) -> &Counters {
        &self.local.counters
    }

    /// This shard's counters, for those that the engine's owner writes.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.local.counters
    }

    /// The store's removal hook.
    pub fn hook_mut(&mut self) -> &mut H {
        self.local.store.hook_mut()
    }

    /// How many requests other shards and nodes have not answered; those whose ticket is no more count.
    pub fn unanswered(&self) -> usize {
        self.mesh.unanswered() + self.peers.unanswered()
    }

    /// Walks everything.
    ///
    /// # Panics
    /// With what is wrong.
    pub fn validate(&self) {
        self.local.store.validate();
        self.local.topology.validate();
        self.local.ownership.validate();
        self.local.flights.validate();
        self.local.names.validate();
        self.mesh.validate(self.waiting.runs());
        self.waiting.validate(self.answered_now.as_ref().map_or(0, |gather| gather.bytes()));
        // By ticket, because parts outlive tickets that are cancelled or too late.
        let mut parts = BTreeMap::new();
        self.peers.validate(&self.waiting);
        let forwarded = self.peers.requests();
        let forwarded =
            forwarded.flat_map(|request| [request.ticket].into_iter().chain(request.others.iter().copied()));
        let loaded = self.local.flights.tickets();
        for ticket in self.mesh.parts().map(|part| part.ticket).chain(forwarded).chain(self.ordered()).chain(loaded) {
            *parts.entry((ticket.index(), ticket.generation())).or_insert(0) += 1;
        }
        for ticket in self.waiting.tickets() {
            if let Some(missing) = self.waiting.missing(ticket) {
                let sent = parts.get(&(ticket.index(), ticket.generation())).copied().unwrap_or(0);
                assert_eq!(sent, missing, "parts that {ticket:?} waits for");
            }
        }
    }

    pub(crate) fn overloaded(&mut self) -> Reply<'static> {
        self.local.counters.overloaded += 1;
        Reply::Failed(&failures::OVERLOADED)
    }

    /// Answers at once what turned out to be known already.
    pub(crate) fn answer_now(&mut self, gather: Box<Gather>) -> Reply<'_> {
        if let Some(before) = self.answered_now.replace(gather) {
            self.waiting.gathers.give_back(before);
        }
        self.answered_now.as_ref().expect("it was just put there").reply()
    }
}

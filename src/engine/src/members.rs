//! The ring changes: what this shard may answer for then, and what it asks the other members for.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use larder_protocol::native::{Body, Response};
use larder_protocol::{Command, Reply};
use larder_ring::{Membership, slot};
use larder_store::limits::VERSION_AHEAD_MS_MAX;
use larder_store::{Key, RemovalHook};

use crate::error::LinkError;
use crate::limits::{CLOCK_MARGIN_MS, EXCHANGE_PING_MS, PING_MS, SHUT_PING_MS};
use crate::local::Local;
use crate::ownership::{Gained, Standing};
use crate::peers::LinkId;
use crate::planted::{self, Bug};
use crate::{Engine, EngineError};

impl<H: RemovalHook> Engine<H> {
    /// Takes another membership. What is gained is answered OWNER_UNSURE until whoever may have owned it has acknowledged,
    /// which [`Engine::wake`] asks for.
    ///
    /// # Errors
    /// [`EngineError::OtherShards`] if it gives this node another number of shards; what was stays.
    pub fn set_membership(&mut self, membership: &Membership, now_ms: u64) -> Result<(), EngineError> {
        let topology = &membership.topology;
        let (before, own_before) = (self.local.topology.clone(), self.local.node);
        self.check_shards(topology)?;
        let own = topology.index_of(&self.local.node_id);
        // Who is gone cannot be asked what versions it has given: it may have kept its pace since it was heard.
        if self.peers.loses(membership) && !planted::has(Bug::VersionsRestart) {
            self.local.store.run_ahead(now_ms + self.peers.ahead_ms() + CLOCK_MARGIN_MS, now_ms);
        }
        let fence = self.local.store.fence(now_ms);
        self.peers.set_members(topology, &membership.leaving, own);
        let gained = Gained { membership, own_id: &self.local.node_id, own, before: &before, own_before, fence };
        self.local.ownership.adopt(&gained);
        // What was begun before may be older than what another owner was given in between.
        self.local.flights.changed_all();
        self.local.set_topology(topology.clone());
        self.local.joining.clone_from(&membership.joining);
        self.local.draining.clone_from(&membership.leaving);
        self.local.set_generations(&membership.generations, now_ms);
        self.ping_ms = now_ms;
        Ok(())
    }

    /// What is known of this node's registration. To be told before every batch; without effect if it is no news.
    #[inline]
    pub fn set_standing(&mut self, standing: Standing) {
        self.local.ownership.set_standing(standing);
    }

    /// Whether this shard has taken the ring of now as far as nobody has to acknowledge anything any more.
    pub fn is_settled(&self) -> bool {
        self.local.ownership.is_open()
    }

    /// Whether this node is in a ring that it has registered for.
    pub fn is_in_ring(&self) -> bool {
        self.local.node.is_some() && self.local.ownership.is_registered()
    }

    /// When the others are to be asked next.
    pub(crate) fn next_ping_ms(&self) -> Option<u64> {
        self.local.ownership.is_registered().then_some(self.ping_ms)
    }

    /// Asks those who have to acknowledge something, and now and then everybody.
    pub(crate) fn ping(&mut self, now_ms: u64) {
        let ownership = &self.local.ownership;
        let is_shut = !ownership.is_open();
        if is_shut {
            let asked: Vec<(String, u64, u16)> =
                ownership.asked().map(|(id, incarnation, shard)| (id.into(), incarnation, shard)).collect();
            for (id, incarnation, shard) in asked {
                self.peers.ping((&id, incarnation), shard, now_ms);
            }
        }
        let pause_ms = if self.local.ownership.needs_exchange() { EXCHANGE_PING_MS } else { PING_MS };
        if now_ms >= self.exchange_ms.saturating_add(pause_ms) || self.exchange_ms > now_ms {
            self.exchange_ms = now_ms;
            self.peers.ping_all(self.local.shard, now_ms);
        }
        self.ping_ms = now_ms + if is_shut { SHUT_PING_MS } else { pause_ms };
    }

    /// The answer to a ping.
    pub(crate) fn take_pong(&mut self, link: LinkId, response: &Response<'_>, now_ms: u64) -> Result<(), LinkError> {
        let Body::Pong { acknowledged, version, clock_ms } = response.body else {
            return Err(LinkError::mismatch(response.id, "it does not answer a ping"));
        };
        let Some((sent_ms, shard)) = self.peers.ponged(link, now_ms) else {
            return Err(LinkError::mismatch(response.id, "nobody has asked for it"));
        };
        let is_deaf = planted::has(Bug::VersionsRestart);
        let ahead_ms = clock_ms.saturating_sub(now_ms);
        if ahead_ms > VERSION_AHEAD_MS_MAX
            || self.local.store.raise_version(if is_deaf { 0 } else { version }, now_ms).is_err()
        {
            return Err(LinkError::mismatch(
                response.id,
                "its clock is more than ten minutes ahead of this node's; set both by the same time",
            ));
        }
        self.peers.heard_clock(ahead_ms);
        // Whoever has no memory of its own says no time.
        if clock_ms > 0 && !self.local.ownership.remembers() {
            self.remember(now_ms);
        }
        if response.epoch <= self.epoch() {
            self.local.ownership.exchanged(sent_ms);
        }
        let Some(target) = self.peers.target(link) else { return Ok(()) };
        let process = (target.node_id, target.incarnation);
        // Nothing is opened by a ring that is not the newest that is known.
        if response.epoch <= self.local.topology.epoch() || planted::has(Bug::AnyAcknowledgement) {
            self.local.ownership.acknowledged(process, shard, (response.epoch, acknowledged));
        }
        Ok(())
    }

    /// When this process has been there for long enough, see [`Engine::remember`]; `None`: it has.
    pub(crate) fn remember_ms(&self) -> Option<u64> {
        let at_ms = self.local.started_ms.saturating_add(CLOCK_MARGIN_MS);
        (!self.local.ownership.remembers()).then_some(at_ms)
    }

    /// Versions from now on are above those of processes that nobody who is there has heard of: by clocks that differ by less
    /// than [`CLOCK_MARGIN_MS`], after so long. Those began before this one, and were at most as far ahead of their clocks as
    /// this one is now.
    pub(crate) fn remember(&mut self, now_ms: u64) {
        self.local.store.run_ahead(now_ms + self.peers.ahead_ms() + CLOCK_MARGIN_MS, now_ms);
        self.local.ownership.remember();
    }

    /// Answers a ping.
    pub(crate) fn pong(&mut self, now_ms: u64) -> Reply<'static> {
        let acknowledged = self.local.ownership.acknowledges(self.epoch());
        let clock_ms = if self.local.ownership.remembers() { now_ms + self.peers.ahead_ms() } else { 0 };
        Reply::Pong { acknowledged, version: self.local.store.fence(now_ms), clock_ms }
    }
}

impl<H: RemovalHook> Local<H> {
    /// Groups that were invalidated meanwhile lose what they have.
    fn set_generations(&mut self, generations: &Arc<BTreeMap<String, u64>>, now_ms: u64) {
        if Arc::ptr_eq(&self.generations, generations) {
            return;
        }
        for (name, generation) in &**generations {
            let hash = self.groups.names().find(|(known, _)| known == name).map(|(_, hash)| hash);
            let is_news = self.generations.get(name).is_none_or(|known| known < generation);
            if is_news && let Some(group) = hash.and_then(|hash| self.groups.group(hash)) {
                self.flights.changed_group(group.index.0);
                self.store.invalidate(group.index, now_ms);
            }
        }
        self.generations = Arc::clone(generations);
    }

    /// Whether this shard may answer for a key that belongs here. What is there of it from an earlier time is removed.
    #[inline]
    pub(crate) fn may_answer(&mut self, key: Key<'_>, now_ms: u64) -> bool {
        self.ownership.is_plain(now_ms) || self.may_answer_now(key, now_ms)
    }

    /// Whether an entry is of this time: a slot of this node, and no older than that.
    pub(crate) fn is_of_now(&self, hash: u64, version: u64) -> bool {
        let is_ours = self.node == Some(self.topology.owner(hash));
        version >= self.ownership.kept_from(slot(hash), is_ours)
    }

    /// Removes entries that are not of this time, within about so many steps. Whether there may be more.
    pub(crate) fn clear_old(&mut self, now_ms: u64, mut steps: usize) -> bool {
        if planted::has(Bug::OldEntriesLive) {
            return false;
        }
        while let Some(cursor) = self.ownership.cleared_to() {
            if steps == 0 {
                return true;
            }
            let Self { store, ownership, topology, node, .. } = self;
            let (next, seen) = store.void_where(cursor, now_ms, |hash, version| {
                let is_ours = *node == Some(topology.owner(hash));
                version < ownership.kept_from(slot(hash), is_ours)
            });
            ownership.cleared(next);
            steps = steps.saturating_sub(1 + seen);
        }
        false
    }

    #[cold]
    fn may_answer_now(&mut self, key: Key<'_>, now_ms: u64) -> bool {
        let Some(floor) = self.ownership.floor(slot(key.hash), now_ms) else { return false };
        let is_old = |store: &larder_store::Store<H>| {
            let handle = store.peek(key, now_ms).or_else(|| store.stale(key, now_ms));
            handle.is_some_and(|handle| store.entry(handle).version < floor)
        };
        if floor > 0 && is_old(&self.store) {
            self.store.void(key, now_ms);
        }
        true
    }
}

/// The key that a command is about.
#[inline]
pub(crate) fn key_of<'a>(command: &Command<'a>) -> &'a [u8] {
    match crate::command::Subject::of(command) {
        crate::command::Subject::Key(key) => key,
        _ => unreachable!("{command:?} is not about one key"),
    }
}

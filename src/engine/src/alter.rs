//! Changes of groups. Shard 0 administers those of its node: whoever is asked passes the request on to it, and it checks
//! it and has all shards apply it, itself among them. What it asks reaches each of them over one lane, so all of them
//! apply the same changes in the same order.

use alloc::string::ToString;
use alloc::vec::Vec;

use larder_protocol::native::generated::{AlteredGroup, GroupChange};
use larder_protocol::{GroupAlteration, Reply, Request, Status};
use larder_store::{GroupIndex, PolicySettings, RemovalHook};

use crate::failures;
use crate::limits::ALTERATIONS_MAX;
use crate::local::Local;
use crate::receive::send_reply;
use crate::{Engine, Submission, Ticket};

/// The shard that administers the groups of its node.
const ADMINISTRATOR: u16 = 0;

/// A ticket that another shard's request has here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnBehalf {
    ticket: Ticket,
    /// Who asked.
    to: u16,
    /// The id of its request.
    id: u64,
}

impl<H: RemovalHook> Engine<H> {
    /// An alteration that a client of this shard asks for.
    pub(crate) fn submit_alteration(
        &mut self,
        alteration: &GroupAlteration<'_>,
        request: &Request<'_>,
        now_ms: u64,
    ) -> Submission<'_> {
        if self.local.shard != ADMINISTRATOR {
            return self.pass_on(ADMINISTRATOR, request, 0, now_ms);
        }
        if self.local.shards == 1 || self.local.budgets.altered(alteration).is_err() {
            return Submission::Done(self.local.alter(alteration));
        }
        match self.begin_all(request, now_ms) {
            Some(ticket) => Submission::Pending(ticket),
            None => Submission::Done(self.overloaded()),
        }
    }

    /// An alteration that another shard passed on: to the administrator, which answers when all have applied it, or by
    /// the administrator, which has checked it.
    pub(crate) fn alter_for(
        &mut self,
        from: u16,
        alteration: &GroupAlteration<'_>,
        request: &Request<'_>,
        now_ms: u64,
    ) {
        let envelope = (request.id, self.epoch());
        if self.local.shard != ADMINISTRATOR || self.local.budgets.altered(alteration).is_err() {
            let reply = self.local.alter(alteration);
            return send_reply(&mut self.mesh, from, envelope, &reply);
        }
        let has_room = self.on_behalf.len() < ALTERATIONS_MAX;
        match has_room.then(|| self.begin_all(request, now_ms)).flatten() {
            Some(ticket) => self.on_behalf.push(OnBehalf { ticket, to: from, id: request.id }),
            None => {
                self.local.counters.overloaded += 1;
                send_reply(&mut self.mesh, from, envelope, &Reply::Failed(&failures::OVERLOADED));
            }
        }
    }

    /// Answers an alteration to the shard that it was begun for, or to a caller.
    pub(crate) fn answer_alteration(
        &mut self,
        ticket: Ticket,
        reply: &Reply<'_>,
        answer: &mut impl FnMut(Ticket, &Reply<'_>),
    ) {
        let Some(at) = self.on_behalf.iter().position(|asked| asked.ticket == ticket) else {
            return answer(ticket, reply);
        };
        let OnBehalf { to, id, .. } = self.on_behalf.remove(at);
        let epoch = self.epoch();
        send_reply(&mut self.mesh, to, (id, epoch), reply);
    }

    /// Panics with what is wrong.
    pub(crate) fn validate_on_behalf(&self) {
        assert!(self.on_behalf.len() <= ALTERATIONS_MAX, "{} alterations wait", self.on_behalf.len());
        for OnBehalf { ticket, .. } in &self.on_behalf {
            assert!(self.waiting.missing(*ticket).is_some(), "{ticket:?} waits for nothing, and nobody was told");
        }
    }
}

impl<H: RemovalHook> Local<H> {
    /// Applies an alteration to this shard, or says why it cannot be.
    pub(crate) fn alter(&mut self, alteration: &GroupAlteration<'_>) -> Reply<'_> {
        let changes = match self.budgets.altered(alteration) {
            Ok(changes) => changes,
            Err(refused) => return self.fail(refused.status(), format_args!("{refused}")),
        };
        self.counters.requests += 1;
        self.budgets.take(alteration, &changes);
        // What gives comes before what takes, so that the sum stays within the memory.
        let (less, more): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.bytes < change.bytes_before);
        for change in less.into_iter().chain(more) {
            let share = self.budgets.share(change.bytes);
            self.store.set_budget(change.group, share).expect("shares of budgets that fit into the node fit here");
        }
        let mut changed = Vec::with_capacity(changes.len());
        for change in changes {
            let before = self.policy(change.group);
            let policy = change.policy.unwrap_or(before);
            if policy != before {
                self.policies.retain(|(group, _)| *group != change.group);
                self.policies.push((change.group, policy));
            }
            changed.push(GroupChange {
                name: change.name,
                memory_bytes: change.bytes,
                memory_bytes_before: change.bytes_before,
                policy: policy.to_string(),
                policy_before: before.to_string(),
            });
        }
        self.change_policies();
        self.last.altered = AlteredGroup { node: self.node_id.clone(), changes: changed };
        Reply::Altered(&self.last.altered)
    }

    /// The policy that a group has, or will have.
    fn policy(&self, group: GroupIndex) -> PolicySettings {
        let wanted = self.policies.iter().find(|(of, _)| *of == group);
        wanted.map_or_else(|| self.store.group_settings(group).policy, |(_, policy)| *policy)
    }

    /// Gives groups the policies that they are to have, but for those whose last change is under way still. To be called
    /// again when some of that was done.
    pub(crate) fn change_policies(&mut self) {
        let store = &mut self.store;
        self.policies.retain(|(group, policy)| store.set_policy(*group, *policy).is_err());
    }

    /// Refuses an alteration that a client marked as passed on.
    pub(crate) fn refuse_forwarded_alteration(&mut self) -> Reply<'_> {
        let message = format_args!("shard {ADMINISTRATOR} administers the groups of its node: ask without `forwarded`");
        self.fail(Status::WrongOwner, message)
    }
}

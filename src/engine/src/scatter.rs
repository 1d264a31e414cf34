//! Requests that concern several shards: each gets its part in one frame (or as few as fit), our own is executed at
//! once, and the results are gathered.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use larder_protocol::limits::{FRAME_BYTES_MAX, FRAME_PREFIX_BYTES};
use larder_protocol::{Command, Keys, Reply, Request, Span, Status, WriteSpan, Writes};
use larder_store::RemovalHook;

use crate::command::{Many, Subject};
use crate::engine::record_bytes;
use crate::gather::Gather;
use crate::groups::Group;
use crate::limits::{ENTRY_ENVELOPE_BYTES_MAX, ENVELOPE_BYTES_MAX, KEY_ENVELOPE_BYTES_MAX};
use crate::local::Route;
use crate::mesh::Part;
use crate::waiting::Awaited;
use crate::{Engine, Submission, Ticket};

impl<H: RemovalHook> Engine<H> {
    /// A request on several keys: executed here if no other shard of this node has any of them, else scattered.
    pub(crate) fn submit_keys(&mut self, many: Many<'_>, request: &Request<'_>, now_ms: u64) -> Submission<'_> {
        let Some(group) = self.local.groups.group(request.group) else {
            return Submission::Done(self.local.no_such_group(request.group));
        };
        if !self.local.place(&many, group) {
            return Submission::Done(self.local.execute_keys(&many, group, now_ms));
        }
        if self.waiting.is_full() {
            return Submission::Done(self.overloaded());
        }
        let request = self.to_pass_on(request);
        let deadline_ms = now_ms.saturating_add(u64::from(request.timeout_ms));
        let ticket = self.waiting.begin(deadline_ms, request.command.is_idempotent());
        let mut gather = self.waiting.gathers.take(matches!(many, Many::Get(_)));
        self.order_by_shard(&many, &mut gather);
        for shard in 0..self.local.shards {
            let keys = self.shard_keys[usize::from(shard)]..self.shard_keys[usize::from(shard) + 1];
            if keys.is_empty() {
                continue;
            }
            if shard == self.local.shard {
                self.execute_own(&many, &mut gather, keys, group, now_ms);
            } else {
                self.send_parts(shard, &many, &mut gather, keys, ticket, &request);
            }
        }
        if gather.missing == 0 {
            self.waiting.cancel(ticket);
            return Submission::Done(self.answer_now(gather));
        }
        self.waiting.await_instead(ticket, Awaited::Keys(gather));
        Submission::Pending(ticket)
    }

    /// Fills the gather with waiting keys and its order with those of each shard in turn (a counting sort, so keys of
    /// one shard stay in the order sent); [`Engine::shard_keys`] then says where those of each shard begin and end.
    /// Keys of other nodes are answered WRONG_OWNER.
    fn order_by_shard(&mut self, many: &Many<'_>, gather: &mut Gather) {
        let starts = &mut self.shard_keys;
        starts.clear();
        starts.resize(usize::from(self.local.shards) + 1, 0);
        let own = self.local.shard;
        let shard = |route| match route {
            Route::Here => Some(usize::from(own)),
            Route::Shard(shard) => Some(usize::from(shard)),
            Route::Node(_) => None,
        };
        for (position, placed) in self.local.placed.iter().enumerate() {
            gather.push(many.is_idempotent(position));
            match shard(placed.route) {
                Some(shard) => starts[shard] += 1,
                None => gather.fail(position, Status::WrongOwner),
            }
        }
        let mut total = 0;
        for start in starts.iter_mut() {
            total += core::mem::replace(start, total);
        }
        gather.order.resize(total as usize, 0);
        for (position, placed) in self.local.placed.iter().enumerate() {
            if let Some(shard) = shard(placed.route) {
                gather.order[starts[shard] as usize] = position as u32;
                starts[shard] += 1;
            }
        }
        // Each start has moved on to the end of its shard, which is the start of the next.
        starts.rotate_right(1);
        starts[0] = 0;
    }

    /// Our own part. What is found is copied: it has to be there when the other shards have answered.
    fn execute_own(&mut self, many: &Many<'_>, gather: &mut Gather, keys: Range<u32>, group: Group, now_ms: u64) {
        self.local.counters.requests += 1;
        for place in keys {
            let position = gather.position(place);
            if !gather.reads {
                gather.change(position, self.local.change(many, position, group, now_ms));
                continue;
            }
            match self.local.find(many, position, group, now_ms) {
                Ok(handle) => {
                    let found = self.local.found(handle, now_ms);
                    let is_overloaded = self.waiting.gathers.found(gather, position, found);
                    self.local.counters.overloaded += u64::from(is_overloaded);
                }
                Err(status) => gather.fail(position, status),
            }
        }
    }

    /// The part of another shard, in as few frames as it fits in.
    fn send_parts(
        &mut self,
        to: u16,
        many: &Many<'_>,
        gather: &mut Gather,
        keys: Range<u32>,
        ticket: Ticket,
        request: &Request<'_>,
    ) {
        let mut rest = keys;
        while !rest.is_empty() {
            let part = first_frame(many, gather, rest.clone());
            rest.start = part.end;
            let command = pick(many, gather, part.clone(), &mut self.key_spans, &mut self.write_spans);
            let request = Request { command, ..*request };
            let bytes = record_bytes(&request);
            if self.mesh.has_room(to, bytes) {
                self.mesh.send(Part { ticket, to, bytes: bytes as u32, order: part }, request, 0);
                gather.missing += 1;
            } else {
                self.local.counters.overloaded += 1;
                gather.fail_all(part, Status::Overloaded);
            }
        }
    }

    /// A request on a group or the node that every shard of this node has to execute.
    pub(crate) fn ask_all(&mut self, request: &Request<'_>, now_ms: u64) -> Submission<'_> {
        let is_about_group = matches!(Subject::of(&request.command), Subject::Group);
        if is_about_group && self.local.groups.group(request.group).is_none() {
            return Submission::Done(self.local.no_such_group(request.group));
        }
        match self.begin_all(request, now_ms) {
            Some(ticket) => Submission::Pending(ticket),
            None => Submission::Done(self.overloaded()),
        }
    }

    /// Asks all other shards and executes our own part of a request that is to succeed everywhere; `None`: one has no
    /// room, and nothing was done.
    pub(crate) fn begin_all(&mut self, request: &Request<'_>, now_ms: u64) -> Option<Ticket> {
        let request = self.to_pass_on(request);
        let bytes = record_bytes(&request);
        let own = self.local.shard;
        let others = (0..self.local.shards).filter(|shard| *shard != own);
        if self.waiting.is_full() || !others.clone().all(|to| self.mesh.has_room(to, bytes)) {
            return None;
        }
        let deadline_ms = now_ms.saturating_add(u64::from(request.timeout_ms));
        let ticket = self.waiting.begin(deadline_ms, request.command.is_idempotent());
        for to in others.clone() {
            self.mesh.send(Part { ticket, to, bytes: bytes as u32, order: 0..0 }, request, 0);
        }
        let missing = others.count();
        let reply = match request.command {
            Command::AlterGroup(alteration) => self.local.alter(&alteration),
            _ => self.local.execute(&request, now_ms),
        };
        let awaited = match reply {
            Reply::Stats(stats) => Awaited::Stats { total: Box::new(stats.clone()), missing },
            Reply::Invalidated { generation } => Awaited::Invalidation { generation, missing },
            Reply::Altered(altered) => Awaited::Alteration { altered: Box::new(altered.clone()), missing },
            other => unreachable!("our part of a request to all shards is answered {other:?}"),
        };
        self.waiting.await_instead(ticket, awaited);
        Some(ticket)
    }
}

/// As many keys of `keys` as fit in one frame: at least one, since the largest entry does.
fn first_frame(many: &Many<'_>, gather: &Gather, keys: Range<u32>) -> Range<u32> {
    let mut bytes = FRAME_PREFIX_BYTES + ENVELOPE_BYTES_MAX;
    for place in keys.clone() {
        bytes += match many {
            Many::Get(_) | Many::Delete(_) => many.key(gather.position(place)).len() + KEY_ENVELOPE_BYTES_MAX,
            Many::Set(entries) => {
                let write = Many::write(entries, gather.position(place));
                write.key.len() + write.value.len() + ENTRY_ENVELOPE_BYTES_MAX
            }
        };
        if bytes > FRAME_BYTES_MAX && place > keys.start {
            return keys.start..place;
        }
    }
    keys
}

/// The command on some of the keys, in the order of the gather.
fn pick<'a>(
    many: &Many<'a>,
    gather: &Gather,
    part: Range<u32>,
    key_spans: &'a mut Vec<Span>,
    write_spans: &'a mut Vec<WriteSpan>,
) -> Command<'a> {
    let positions = part.map(|place| gather.position(place));
    match many {
        Many::Get(keys) | Many::Delete(keys) => {
            key_spans.clear();
            key_spans.extend(positions.map(|position| keys.spans()[position]));
            let picked = Keys::new(keys.frame(), key_spans);
            if gather.reads { Command::GetMany { keys: picked } } else { Command::DeleteMany { keys: picked } }
        }
        Many::Set(entries) => {
            write_spans.clear();
            write_spans.extend(positions.map(|position| entries.spans()[position]));
            Command::SetMany { entries: Writes::new(entries.frame(), write_spans) }
        }
    }
}

//! Requests that concern several shards: each gets its part in one frame (or as few as fit), our own is executed at
//! once, and the results are gathered.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::ops::Range;

use larder_protocol::limits::{FRAME_BYTES_MAX, FRAME_PREFIX_BYTES};
use larder_protocol::native::request_bytes;
use larder_protocol::{Command, Keys, Reply, Request, Span, Status, WriteSpan, Writes};
use larder_ring::{NodeIndex, Place};
use larder_store::RemovalHook;

use crate::command::{Many, Subject};
use crate::gather::Gather;
use crate::groups::Group;
use crate::limits::{ENTRY_ENVELOPE_BYTES_MAX, ENVELOPE_BYTES_MAX, KEY_ENVELOPE_BYTES_MAX};
use crate::load::loads;
use crate::local::{Local, Placed, Route};
use crate::mesh::Part;
use crate::pass_on::record_bytes;
use crate::peers::{Forwarded, LinkId, Passenger};
use crate::waiting::Awaited;
use crate::{Engine, Submission, Ticket};

/// Who has some keys of a request, and which: places among [`Scatter::indices`].
type Share = (Route, Range<u32>);

/// The keys of a request by where they belong, in memory that is reused.
#[derive(Debug, Default)]
pub(crate) struct Scatter {
    /// Numbers of keys within the request, those of one owner together and in the order sent.
    indices: Vec<u32>,
    shares: Vec<Share>,
    /// For each possible owner: in which round it was seen last, and where it is in `shares`.
    seen: Vec<(u32, u32)>,
    round: u32,
}

impl Scatter {
    /// Sorts keys by owner (a counting sort); those without a number are left out.
    fn sort(&mut self, placed: &[Placed], number: impl Fn(usize, Route) -> Option<usize>) {
        self.shares.clear();
        self.round = self.round.wrapping_add(1);
        let round = self.round;
        for (index, placed) in placed.iter().enumerate() {
            let Some(owner) = number(index, placed.route) else { continue };
            if self.seen.len() <= owner {
                self.seen.resize(owner + 1, (0, 0));
            }
            if self.seen[owner].0 != round {
                self.seen[owner] = (round, self.shares.len() as u32);
                self.shares.push((placed.route, 0..0));
            }
            self.shares[self.seen[owner].1 as usize].1.end += 1;
        }
        let mut total = 0;
        for (_, share) in &mut self.shares {
            let count = share.end;
            *share = total..total;
            total += count;
        }
        self.indices.clear();
        self.indices.resize(total as usize, 0);
        for (index, placed) in placed.iter().enumerate() {
            if let Some(owner) = number(index, placed.route) {
                let share = &mut self.shares[self.seen[owner].1 as usize].1;
                self.indices[share.end as usize] = index as u32;
                share.end += 1;
            }
        }
    }
}

/// What is to be scattered: a request on several keys, and who waits for it.
struct Scattered<'s, 'r> {
    many: &'s Many<'r>,
    request: &'s Request<'r>,
    group: Group,
    ticket: Ticket,
    deadline_ms: u64,
    /// How often its keys came back because their owner was another one.
    reroutes: u32,
    now_ms: u64,
}

impl<H: RemovalHook> Engine<H> {
    /// A request on several keys: executed here if nobody else has any of them, else scattered.
    pub(crate) fn submit_keys(&mut self, many: Many<'_>, request: &Request<'_>, now_ms: u64) -> Submission<'_> {
        let Some(group) = self.local.groups.group(request.group) else {
            return Submission::Done(self.local.no_such_group(request.group));
        };
        let is_ours = !self.local.place(&many, group);
        if is_ours && !loads(group, &request.command) {
            return Submission::Done(self.local.execute_keys(&many, group, now_ms));
        }
        if self.waiting.is_full() {
            return Submission::Done(self.overloaded());
        }
        match self.gather(&many, request, group, now_ms) {
            Ok(ticket) => Submission::Pending(ticket),
            Err(gather) => Submission::Done(self.answer_now(gather)),
        }
    }

    /// Begins a request on several keys, which are placed; there must be room for a ticket. What is known already needs
    /// none.
    pub(crate) fn gather(
        &mut self,
        many: &Many<'_>,
        request: &Request<'_>,
        group: Group,
        now_ms: u64,
    ) -> Result<Ticket, Box<Gather>> {
        let is_forwarded = request.forwarded;
        let request = self.to_pass_on(request);
        let deadline_ms = now_ms.saturating_add(u64::from(request.timeout_ms));
        let ticket = self.waiting.begin(deadline_ms, request.command.is_idempotent());
        let mut gather = self.waiting.gathers.take(matches!(many, Many::Get(_)));
        for position in 0..many.len() {
            gather.push(many.is_idempotent(position));
            if is_forwarded && matches!(self.local.placed[position].route, Route::Node(_)) {
                gather.fail(position, Status::WrongOwner);
            }
        }
        let to_scatter = Scattered { many, request: &request, group, ticket, deadline_ms, reroutes: 0, now_ms };
        self.scatter(&to_scatter, &mut gather, None, is_forwarded);
        if gather.missing == 0 {
            self.waiting.cancel(ticket);
            return Err(gather);
        }
        self.waiting.await_instead(ticket, Awaited::Keys(gather));
        Ok(ticket)
    }

    /// Routes a request on several keys again; `before` says which places of its gather it had, less those that were
    /// answered meanwhile.
    pub(crate) fn scatter_again(
        &mut self,
        many: &Many<'_>,
        before: &Forwarded,
        request: &Request<'_>,
        group: Group,
        now_ms: u64,
        answer: &mut impl FnMut(Ticket, &Reply<'_>),
    ) {
        let Forwarded { ticket, deadline_ms, reroutes, ref order, .. } = *before;
        let Some(mut gather) = self.waiting.take_gather(ticket) else { return };
        self.local.place(many, group);
        let to_scatter = Scattered { many, request, group, ticket, deadline_ms, reroutes, now_ms };
        self.scatter(&to_scatter, &mut gather, Some(order.clone()), false);
        gather.missing -= 1;
        self.put_gather_back(ticket, gather, answer);
    }

    /// Executes what is here of the placed keys of a request, and sends the rest to who has it. `before`: the places in
    /// the order of the gather that these keys had, else they are those of the whole request.
    fn scatter(
        &mut self,
        to_scatter: &Scattered<'_, '_>,
        gather: &mut Gather,
        before: Option<Range<u32>>,
        stays: bool,
    ) {
        let mut scatter = mem::take(&mut self.scatter);
        let Local { shards, ref placed, ref first_targets, shard: own, .. } = self.local;
        let is_asked = |index: usize| {
            before.as_ref().is_none_or(|before| gather.is_waiting(gather.position(before.start + index as u32)))
        };
        scatter.sort(placed, |index, route| match route {
            _ if !is_asked(index) => None,
            Route::Here => Some(usize::from(own)),
            Route::Shard(shard) => Some(usize::from(shard)),
            Route::Node(_) if stays => None,
            Route::Node(place) => Some(first_targets[usize::from(place.node.0)] + usize::from(place.shard)),
        });
        debug_assert!(first_targets.first().is_none_or(|first| *first >= usize::from(shards)));
        let start = before.as_ref().map_or(0, |before| before.start);
        gather.arrange(before, &scatter.indices);
        for (route, share) in &scatter.shares {
            let indices = &scatter.indices[share.start as usize..share.end as usize];
            let order = start + share.start..start + share.end;
            match *route {
                Route::Here => self.execute_own(to_scatter, gather, order, indices),
                Route::Shard(_) | Route::Node(_) => self.send_parts(*route, to_scatter, gather, order, indices),
            }
        }
        self.scatter = scatter;
    }

    /// Our own part. What is found is copied: it has to be there when the others have answered.
    fn execute_own(&mut self, whole: &Scattered<'_, '_>, gather: &mut Gather, order: Range<u32>, indices: &[u32]) {
        let Scattered { many, group, now_ms, .. } = *whole;
        self.local.counters.requests += 1;
        for (place, &index) in order.zip(indices) {
            let (position, index) = (gather.position(place), index as usize);
            if !gather.reads {
                gather.change(position, self.local.change(many, index, group, now_ms));
                continue;
            }
            match self.local.find(many, index, group, now_ms) {
                Ok(handle) => {
                    if group.is_refilled
                        && let Some(origin) = self.local.groups.refill(group).origin
                    {
                        let key = (self.local.placed[index].hash, many.key(index));
                        self.local.refresh_early(group, origin, key, handle, now_ms);
                    }
                    let found = self.local.found(handle, now_ms);
                    let is_overloaded = self.waiting.gathers.found(gather, position, found);
                    self.local.counters.overloaded += u64::from(is_overloaded);
                }
                Err(Status::NotFound) if group.is_refilled => {
                    let key = (self.local.placed[index].hash, many.key(index));
                    self.load_key(whole.ticket, gather, position, group, key, now_ms);
                }
                Err(status) => gather.fail(position, status),
            }
        }
    }

    /// The part of another shard or node, in as few frames as it fits in.
    fn send_parts(
        &mut self,
        to: Route,
        whole: &Scattered<'_, '_>,
        gather: &mut Gather,
        order: Range<u32>,
        indices: &[u32],
    ) {
        let mut rest = indices;
        let mut start = order.start;
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(first_frame(whole.many, rest));
            let order = start..start + part.len() as u32;
            (rest, start) = (behind, order.end);
            let mut spans = (mem::take(&mut self.key_spans), mem::take(&mut self.write_spans));
            let command = pick(whole.many, gather.reads, part, &mut spans.0, &mut spans.1);
            let request = Request { command, ..*whole.request };
            match self.send_part(to, whole, &request, order.clone(), part) {
                None => gather.missing += 1,
                Some(status) => gather.fail_all(order, status),
            }
            (self.key_spans, self.write_spans) = spans;
        }
    }

    /// Sends one frame of a part; why not, if it cannot be.
    fn send_part(
        &mut self,
        to: Route,
        whole: &Scattered<'_, '_>,
        request: &Request<'_>,
        order: Range<u32>,
        part: &[u32],
    ) -> Option<Status> {
        let &Scattered { many, group, ticket, deadline_ms, reroutes, now_ms, .. } = whole;
        let place = match to {
            Route::Here => unreachable!("our own part is executed"),
            Route::Shard(to) => {
                let bytes = record_bytes(request);
                if !self.mesh.has_room(to, bytes) {
                    self.local.counters.overloaded += 1;
                    return Some(Status::Overloaded);
                }
                self.mesh.send(Part { ticket, to, bytes: bytes as u32, order }, *request, 0);
                return None;
            }
            Route::Node(place) => place,
        };
        let link = self.peers.link_to(place);
        if let Some(refusal) = self.peers.refusal(link, request_bytes(request), now_ms) {
            self.local.counters.overloaded += u64::from(refusal.status == Status::Overloaded);
            return Some(refusal.status);
        }
        if !matches!(many, Many::Get(_)) {
            for &index in part {
                self.peers.end_flight(self.local.placed[index as usize].hash, now_ms);
            }
        }
        if group.is_refilled && matches!(many, Many::Get(_)) {
            self.waiting.delay(ticket);
        }
        self.local.counters.forwarded += 1;
        self.peers.send_again(link, Passenger { ticket, order, deadline_ms }, *request, (Vec::new(), reroutes), now_ms);
        None
    }

    /// A request on a group or the node that every shard of this node has to execute.
    pub(crate) fn ask_all(&mut self, request: &Request<'_>, now_ms: u64) -> Submission<'_> {
        let is_about_group = matches!(Subject::of(&request.command), Subject::Group);
        if is_about_group && self.local.groups.group(request.group).is_none() {
            return Submission::Done(self.local.no_such_group(request.group));
        }
        let links = if is_about_group && !request.forwarded { self.links_to_nodes() } else { Vec::new() };
        let passed_on = Request { forwarded: true, ..self.to_pass_on(request) };
        let bytes = request_bytes(&passed_on);
        if let Some(refusal) = links.iter().find_map(|link| self.peers.refusal(*link, bytes, now_ms)) {
            return Submission::Done(Reply::Failed(refusal));
        }
        let Some(ticket) = self.begin_all(request, now_ms) else { return Submission::Done(self.overloaded()) };
        let deadline_ms = now_ms.saturating_add(u64::from(passed_on.timeout_ms));
        if let Some((Awaited::Invalidation { missing, .. }, _)) = self.waiting.awaited(ticket) {
            *missing += links.len();
        }
        for link in links {
            let passenger = Passenger { ticket, order: 0..0, deadline_ms };
            self.peers.send_again(link, passenger, passed_on, (Vec::new(), 0), now_ms);
        }
        match self.waiting.missing(ticket) {
            Some(0) => {
                // There is one shard, and no other node.
                let complete = self.waiting.take(ticket).expect("it was just begun");
                match complete {
                    Awaited::Invalidation { generation, .. } => Submission::Done(Reply::Invalidated { generation }),
                    other => unreachable!("only an invalidation asks nobody else: {other:?}"),
                }
            }
            _ => Submission::Pending(ticket),
        }
    }

    /// A link to each other node of the ring, to a shard that passes on to all of that node what it is asked.
    fn links_to_nodes(&mut self) -> Vec<LinkId> {
        let nodes = 0..self.local.topology.nodes().len() as u16;
        let others = nodes.map(NodeIndex).filter(|node| Some(*node) != self.local.node);
        others.map(|node| self.peers.link_to(Place { node, shard: 0 })).collect()
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
        let awaited = match self.local.execute(&request, now_ms) {
            Reply::Stats(stats) => Awaited::Stats { total: Box::new(stats.clone()), missing },
            Reply::Invalidated { generation } => Awaited::Invalidation { generation, missing },
            other => unreachable!("our part of a request to all shards is answered {other:?}"),
        };
        self.waiting.await_instead(ticket, awaited);
        Some(ticket)
    }
}

/// How many of these keys fit in one frame: at least one, since the largest entry does.
fn first_frame(many: &Many<'_>, indices: &[u32]) -> usize {
    let mut bytes = FRAME_PREFIX_BYTES + ENVELOPE_BYTES_MAX;
    for (count, &index) in indices.iter().enumerate() {
        bytes += match many {
            Many::Get(_) | Many::Delete(_) => many.key(index as usize).len() + KEY_ENVELOPE_BYTES_MAX,
            Many::Set(entries) => {
                let write = Many::write(entries, index as usize);
                write.key.len() + write.value.len() + ENTRY_ENVELOPE_BYTES_MAX
            }
        };
        if bytes > FRAME_BYTES_MAX && count > 0 {
            return count;
        }
    }
    indices.len()
}

/// The command on some of the keys.
fn pick<'a>(
    many: &Many<'a>,
    reads: bool,
    indices: &[u32],
    key_spans: &'a mut Vec<Span>,
    write_spans: &'a mut Vec<WriteSpan>,
) -> Command<'a> {
    let indices = indices.iter().map(|index| *index as usize);
    match many {
        Many::Get(keys) | Many::Delete(keys) => {
            key_spans.clear();
            key_spans.extend(indices.map(|index| keys.spans()[index]));
            let picked = Keys::new(keys.frame(), key_spans);
            if reads { Command::GetMany { keys: picked } } else { Command::DeleteMany { keys: picked } }
        }
        Many::Set(entries) => {
            write_spans.clear();
            write_spans.extend(indices.map(|index| entries.spans()[index]));
            Command::SetMany { entries: Writes::new(entries.frame(), write_spans) }
        }
    }
}

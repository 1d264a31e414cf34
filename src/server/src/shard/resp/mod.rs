//! A connection that speaks RESP: what it has to remember, and its answers in the order of its commands.
//!
//! Every command has a place, and so has its answer. One that is a request and its reply has both in the id of the request,
//! with how the reply is told, so that nothing is kept for it; of others it is kept what is still to come ([`Pending`]).

mod figures;
mod id;
mod pending;
mod session;
#[cfg(test)]
mod tests;
mod transaction;

use std::collections::BTreeMap;
use std::sync::Arc;

use larder_engine::{Engine, Watchers};
use larder_protocol::native::encode_request;
use larder_protocol::resp::{
    self, Asked, Broken, Keyspace, Places, Plan, Reader, ReaderLimits, ReplyMode, Session, Telling, Version, Which,
    encode_error, encode_own,
};
use larder_protocol::{Ahead, Command, Reply, Request, ScanStep};

use super::dialect::Step;
use super::order::{Order, following};
use crate::limits::AHEAD_MAX;
use crate::resp::{Registration, Shared};
use crate::tally::Tally;
use figures::Figures;
use id::Id;
use pending::{Pending, Then};
use transaction::{Multi, Watched};

/// See the module.
#[derive(Debug, Default)]
pub struct Resp {
    version: Version,
    /// The number of its database, and the hash of that group; 0: the default group.
    database: u64,
    group: u64,
    mode: ReplyMode,
    /// It has named a command that there is.
    is_known: bool,
    /// It may have to look for groups in front of keys.
    has_prefixes: bool,
    order: Order,
    /// A command that has come in part; else nothing.
    reader: Reader,
    /// What the connection says by itself, until it has its place.
    said: Vec<u8>,
    /// The same with its place, until there is an output for it.
    says: Vec<(u64, Vec<u8>)>,
    /// Commands that are more than a request and its reply, by their place.
    details: BTreeMap<u64, Pending>,
    details_bytes: usize,
    /// Frames of requests that are to be submitted.
    queue: Vec<u8>,
    multi: Option<Multi>,
    watched: Vec<Watched>,
    /// Versions of what is watched that are not known yet.
    watching: usize,
    registration: Option<Registration>,
    figures: Figures,
}

/// What a reader of commands needs beside the input: one for all connections of a shard.
#[derive(Debug, Default)]
pub(super) struct RespScratch {
    reader: Reader,
    places: Places,
}

/// What a command may have to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct World<'e> {
    /// The shard.
    pub(super) engine: &'e Engine<Watchers>,
    /// What connections share.
    pub(super) shared: &'e Arc<Shared>,
    /// What is counted.
    pub(super) tally: &'e Tally,
    /// The time, in ms since the Unix epoch.
    pub(super) now_ms: u64,
}

/// What an answer may have to know: the time in ms since the Unix epoch, and what connections share.
pub(super) type Told<'t> = (u64, &'t Arc<Shared>);

impl World<'_> {
    /// The hash of the group with this name.
    fn named(&self, name: &[u8]) -> Option<u64> {
        self.engine.groups().find(|(known, _)| known.as_bytes() == name).map(|(_, hash)| hash)
    }

    /// Some number: another one for each `place` among the commands of a connection, also within a millisecond.
    fn random(&self, place: u64) -> u64 {
        larder_ring::key_hash(&place.to_le_bytes(), self.now_ms.rotate_left(32) ^ self.engine.counters().requests)
    }
}

impl Resp {
    /// A connection that is among the clients.
    pub fn new(shared: &Arc<Shared>, address: String, local: String, now_ms: u64) -> Self {
        let registration = Some(Registration::new(Arc::clone(shared), address, local, now_ms));
        Self { has_prefixes: shared.has_prefixes, registration, ..Self::default() }
    }

    /// Its number among the clients; 0: it is not among them.
    pub(super) fn client(&self) -> u64 {
        self.registration.as_ref().map_or(0, |registration| registration.client().id)
    }

    /// Whether somebody has killed it.
    #[inline]
    pub(super) fn is_killed(&self) -> bool {
        self.registration.as_ref().is_some_and(|registration| registration.client().is_killed())
    }

    /// As [`super::Dialect::ahead`].
    #[inline]
    pub(super) fn ahead<'a>(&mut self, input: &'a [u8], value_bytes_max: usize, ahead: &mut Ahead<'a>) {
        ahead.requests.clear();
        if !self.is_plain() {
            return;
        }
        let (mut end, mut id) = (0, self.id());
        while ahead.requests.len() < AHEAD_MAX
            && let Some((command, shape, taken)) = resp::plain(&input[end..], value_bytes_max)
        {
            end += taken;
            id.shape = Some(shape);
            let request = self.request(id, command);
            id.place = following(id.place);
            ahead.requests.push((request, end));
        }
        if let Some((last, _)) = ahead.requests.last() {
            self.figures.is_ahead(if matches!(last.command, Command::Get { .. }) { Which::GET } else { Which::SET });
        }
    }

    /// The one of those that `input` consists of, whatever its id will be.
    pub(super) fn only<'a>(&self, input: &'a [u8], value_bytes_max: usize) -> Option<Request<'a>> {
        let (command, _, taken) = resp::plain(input, value_bytes_max)?;
        (taken == input.len() && self.is_plain()).then(|| self.request(self.id(), command))
    }

    /// A request of [`Resp::ahead`] is executed.
    #[inline]
    pub(super) fn begun(&mut self, request: u64) {
        self.order.took(Id::of(request).place);
        self.is_known = true;
    }

    /// Whether gets and sets are nothing but that, and answered.
    fn is_plain(&self) -> bool {
        self.multi.is_none()
            && self.mode == ReplyMode::On
            && !self.has_prefixes
            && !self.reader.is_begun()
            && !self.is_killed()
    }

    /// The id of the next command.
    fn id(&self) -> Id {
        let is_silent = self.mode != ReplyMode::On;
        Id { shape: None, version: self.version, is_silent, part: 0, place: self.order.next() }
    }

    fn request<'a>(&self, id: Id, command: Command<'a>) -> Request<'a> {
        Request { id: id.number(), epoch: 0, group: self.group, timeout_ms: 0, forwarded: false, command }
    }

    /// The first command in `input`.
    pub(super) fn next<'a>(
        &mut self,
        input: &'a [u8],
        scratch: &'a mut RespScratch,
        limits: ReaderLimits,
        world: &World<'_>,
    ) -> Step<'a> {
        if self.reader.is_begun() {
            std::mem::swap(&mut self.reader, &mut scratch.reader);
        }
        let limits = ReaderLimits { is_stranger: !self.is_known, ..limits };
        let consumed = match scratch.reader.read(input, limits) {
            Ok(None) => return Step::More,
            Ok(Some(consumed)) => consumed,
            Err(Broken(text)) => {
                encode_error(&mut self.said, &format!("ERR {text}"));
                return Step::Last { is_malformed: true };
            }
        };
        if self.is_killed() {
            return Step::Last { is_malformed: false };
        }
        if self.watching > 0 || self.multi.is_some() || self.mode != ReplyMode::On {
            return self.next_of_many(input, scratch, limits, (consumed, world));
        }
        let RespScratch { reader, places } = scratch;
        let arguments = reader.arguments(input);
        if arguments.is_empty() {
            return Step::Said(consumed);
        }
        let which = resp::fit(arguments);
        self.begin(&which, world.tally);
        let named = |name: &[u8]| world.named(name);
        let keyspace = Keyspace::new(self.group, self.has_prefixes.then_some(&named));
        match resp::decode_fit(which, arguments, &keyspace, places, world.now_ms) {
            Asked::Command(group, command, shape) => {
                self.is_known = true;
                let id = Id { shape: Some(shape), ..self.id() };
                self.order.take();
                self.end();
                Step::Request(Request { group, ..self.request(id, command) }, consumed)
            }
            asked => match self.do_asked(asked, world) {
                Some(last) => last,
                None => Step::Said(consumed),
            },
        }
    }

    /// The same while commands wait for EXEC, or are not answered: slower, and with the command in memory of its own.
    #[cold]
    fn next_of_many<'a>(
        &mut self,
        input: &'a [u8],
        scratch: &'a mut RespScratch,
        limits: ReaderLimits,
        (consumed, world): (usize, &World<'_>),
    ) -> Step<'a> {
        let RespScratch { reader, places } = &mut *scratch;
        let arguments = reader.arguments(input);
        if arguments.is_empty() {
            return Step::Said(consumed);
        }
        let which = resp::fit(arguments);
        self.begin(&which, world.tally);
        let named = |name: &[u8]| world.named(name);
        let keyspace = Keyspace::new(self.group, self.has_prefixes.then_some(&named));
        let asked = resp::decode_fit(which, arguments, &keyspace, places, world.now_ms);
        let skips = self.mode == ReplyMode::Skip;
        let last = match (&asked, self.multi.is_some()) {
            (Asked::Session(Session::Exec), true) => {
                self.exec(limits, world);
                // It may have killed itself.
                self.is_killed().then_some(Step::Last { is_malformed: false })
            }
            (Asked::Session(session), true) if is_told_at_once(session) => self.do_asked(asked, world),
            (_, true) => {
                self.queue_up(arguments);
                None
            }
            (Asked::Command(group, command, shape), false) => {
                let id = Id { shape: Some(*shape), ..self.id() };
                self.order.take();
                self.queue_as(id, *group, *command);
                None
            }
            (_, false) => self.do_asked(asked, world),
        };
        if skips && self.mode == ReplyMode::Skip {
            self.place_said();
            self.mode = ReplyMode::On;
        }
        last.unwrap_or(Step::Said(consumed))
    }

    /// Does what is more than a request; whether it is the last.
    fn do_asked(&mut self, asked: Asked<'_>, world: &World<'_>) -> Option<Step<'static>> {
        match asked {
            Asked::Command(..) => unreachable!("a request is the caller's to make"),
            Asked::Plan(plan) => {
                self.is_known = true;
                self.run(plan);
            }
            Asked::Own(own) => {
                self.is_known |= !matches!(own, resp::Own::Refused(_));
                encode_own(&mut self.said, self.version, &own);
            }
            Asked::Session(session) => {
                self.is_known = true;
                self.publish();
                if self.session(session, world) {
                    return Some(Step::Last { is_malformed: false });
                }
            }
        }
        None
    }

    /// In which group keys are.
    fn keyspace<'k>(&self, named: resp::Named<'k>) -> Keyspace<'k> {
        Keyspace::new(self.group, self.has_prefixes.then_some(named))
    }

    /// Asks for what a plan says.
    fn run(&mut self, plan: Plan) {
        let id = self.plan_id();
        let telling = Telling::new(&plan, self.version);
        if plan.is_one_go {
            let (group, key) = &plan.first;
            self.queue_as(id, *group, Command::Transact { key, requests: &plan.frames });
            self.keep(id, Pending::OneGo(telling));
            return;
        }
        // The id of each is its part.
        let (mut rest, mut scratch) = (&plan.frames[..], larder_protocol::native::Scratch::default());
        while let Some(next) = larder_protocol::native::frame(rest, usize::MAX).expect("a plan has frames") {
            let request = larder_protocol::native::decode_request(next.message, &mut scratch);
            let request = request.expect("a plan has requests");
            let part = request.id as usize;
            self.queue_as(Id { part, ..id }, request.group, request.command);
            rest = &rest[next.consumed..];
        }
        self.keep(id, Pending::Each(telling));
    }

    /// A step of a scan of this node.
    fn scan(&mut self, id: Id, group: u64, cursor: &[u8], (pattern, count): (&[u8], u32)) {
        self.queue_as(id, group, Command::Scan(ScanStep { cursor, count, pattern }));
    }

    fn plan_id(&mut self) -> Id {
        self.place_said();
        let id = self.id();
        self.order.take();
        id
    }

    /// Keeps what is still to come for a command that has begun.
    fn keep(&mut self, id: Id, pending: Pending) {
        self.details_bytes += pending.bytes();
        self.details.insert(id.place, pending);
    }

    fn queue_as(&mut self, id: Id, group: u64, command: Command<'_>) {
        let request = Request { group, ..self.request(id, command) };
        encode_request(&mut self.queue, &request);
    }

    /// The frames that are to be submitted now.
    pub(super) fn take_queue(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.queue)
    }

    /// Whether there are such.
    #[inline]
    pub(super) fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether commands behind what was decoded have to wait for answers.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.watching > 0
    }

    /// What was read of a command belongs to the connection, and nothing else does: memory of large ones is the shard's.
    pub(super) fn give_back(&mut self, scratch: &mut RespScratch) {
        if scratch.reader.is_begun() {
            std::mem::swap(&mut self.reader, &mut scratch.reader);
        }
    }

    /// Appends the answer to a request of this connection to `output`, or holds it until those before it have come.
    #[inline]
    pub(super) fn answer(&mut self, output: &mut Vec<u8>, id: u64, reply: &Reply<'_>, told: Told<'_>) {
        let id = Id::of(id);
        match id.shape {
            Some(shape) if !id.is_silent => {
                self.order.place(output, id.place, |out| resp::encode(out, id.version, shape, reply));
            }
            Some(_) => self.order.place(output, id.place, |_| {}),
            None => self.answer_part(output, id, reply, told),
        }
    }

    #[cold]
    fn answer_part(&mut self, output: &mut Vec<u8>, id: Id, reply: &Reply<'_>, told: Told<'_>) {
        let pending = self.details.get_mut(&id.place).expect("what is asked for is kept until it is answered");
        let before = pending.bytes();
        let then = pending.take(id.part, reply, id.version, told);
        self.details_bytes = self.details_bytes + pending.bytes() - before;
        let is_over = pending.left() == 0;
        match then {
            Then::Wait => {}
            Then::Say(text) => {
                self.forget(id);
                self.order.place(output, id.place, |out| {
                    if !id.is_silent {
                        out.extend_from_slice(&text);
                    }
                });
            }
            Then::Step(group, cursor, pattern) => self.scan(id, group, &cursor, (&pattern, 0)),
            Then::Watched(index, state) => {
                self.watched_is(index, state);
                if is_over {
                    self.forget(id);
                    self.order.place(output, id.place, |out| out.extend_from_slice(b"+OK\r\n"));
                }
            }
        }
    }

    fn forget(&mut self, id: Id) {
        let pending = self.details.remove(&id.place).expect("it was just there");
        self.details_bytes -= pending.bytes();
    }

    /// Gives what the connection has said by itself its place behind all that was asked before.
    fn place_said(&mut self) {
        if self.said.is_empty() {
            return;
        }
        let mut said = std::mem::take(&mut self.said);
        if self.mode != ReplyMode::On {
            said.clear();
        }
        self.says.push((self.order.take(), said));
    }

    /// Appends that to `output`.
    pub(super) fn say(&mut self, output: &mut Vec<u8>) {
        self.place_said();
        for (place, said) in std::mem::take(&mut self.says) {
            self.order.place(output, place, |out| out.extend_from_slice(&said));
        }
        self.end();
    }

    /// Bytes that are held.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        self.order.held_bytes() + self.details_bytes
    }

    /// How long the command that begins with `input` says it is so far, in bytes.
    pub(super) fn bytes_announced(&self, input: &[u8]) -> usize {
        self.reader.bytes_announced(input)
    }

    /// Panics with what is wrong.
    pub(super) fn validate(&self, pending: usize) {
        assert!(self.said.is_empty() && self.says.is_empty());
        let details: usize = self.details.values().map(Pending::bytes).sum();
        assert_eq!(self.details_bytes, details);
        let left: usize = self.details.values().map(Pending::left).sum();
        let waiting = self.order.validate() - self.details.len();
        // What is queued is not pending yet.
        if self.queue.is_empty() {
            assert_eq!(waiting + left, pending, "every command is answered or waits");
        }
    }
}

/// Whether a command is not kept for EXEC.
fn is_told_at_once(session: &Session<'_>) -> bool {
    matches!(
        session,
        Session::Multi
            | Session::Discard
            | Session::Watch(_)
            | Session::Quit
            | Session::Leave
            | Session::Reset
            | Session::Hello { .. }
            | Session::Auth { .. }
    )
}

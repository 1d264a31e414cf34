//! MULTI, EXEC and WATCH.
//!
//! Commands between MULTI and EXEC are kept as they came. If the keys of all of them belong to one shard, EXEC has that shard
//! execute them at one go, and not at all if something that is watched was changed. Otherwise they are executed one after the
//! other, as if they had been sent without MULTI: each on its own, in their order for every key.

use larder_protocol::native::{Scratch, decode_request, encode_request, frame};
use larder_protocol::resp::{self, Asked, Places, Plan, Reader, ReaderLimits, Told, array, encode_error, encode_own};
use larder_protocol::{Command, Keys, Request};
use larder_ring::Place;

use super::pending::{Item, Pending, telling};
use super::{Id, Resp, World};
use crate::limits::{RESP_QUEUED_BYTES_MAX, RESP_QUEUED_MAX, RESP_WATCHED_MAX};

/// Commands that wait for EXEC.
#[derive(Debug, Default)]
pub(super) struct Multi {
    /// As they came, each as an array.
    commands: Vec<u8>,
    count: usize,
    /// One of them was none.
    is_aborted: bool,
}

/// A key that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    group: u64,
    key: Vec<u8>,
    /// Its version, and when it expires; `None`: they are not known.
    state: Option<(u64, Option<u64>)>,
}

const NOT_ONE_GO: &str = "ERR EXEC after WATCH needs all keys on one shard, and these belong to several, or a command among them \
    is not about keys: watch and change one key at a time";

impl Multi {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// One of the commands is none, so that EXEC is to refuse all of them.
    pub(super) fn abort(&mut self) {
        self.is_aborted = true;
    }
}

impl Resp {
    /// Keeps a command for EXEC.
    pub(super) fn queue_up(&mut self, arguments: Keys<'_>) {
        let multi = self.multi.as_mut().expect("MULTI was said");
        // Only whether there is such a one is looked at now.
        if let Err(misfit) = resp::fit(arguments) {
            multi.is_aborted = true;
            return encode_error(&mut self.said, &misfit.text);
        }
        let bytes: usize = arguments.iter().map(|argument| argument.len() + 32).sum();
        if multi.count == RESP_QUEUED_MAX || multi.commands.len() + bytes > RESP_QUEUED_BYTES_MAX {
            multi.is_aborted = true;
            return encode_error(&mut self.said, "ERR too many commands wait for EXEC; send fewer at a time");
        }
        multi.count += 1;
        array(&mut multi.commands, arguments.len());
        for argument in arguments.iter() {
            resp::bulk(&mut multi.commands, argument.len(), |out| out.extend_from_slice(argument));
        }
        self.said.extend_from_slice(b"+QUEUED\r\n");
    }

    /// Notes the keys, and asks for their versions.
    pub(super) fn watch(&mut self, keys: Keys<'_>, world: &World<'_>) {
        if self.watched.len() + keys.len() > RESP_WATCHED_MAX {
            return encode_error(&mut self.said, "ERR too many keys are watched");
        }
        let (first, left, id) = (self.watched.len(), keys.len(), self.plan_id());
        let named = |name: &[u8]| world.named(name);
        let keyspace = self.keyspace(&named);
        for (part, key) in keys.iter().enumerate() {
            let (group, key) = keyspace.place(key);
            self.queue_as(Id { part, ..id }, group, Command::Look { key, value: false });
            self.watched.push(Watched { group, key: key.to_vec(), state: None });
        }
        self.keep(id, Pending::Watch { first, left });
        self.watching += left;
    }

    /// What is watched has this version, and expires then.
    pub(super) fn watched_is(&mut self, index: usize, state: (u64, Option<u64>)) {
        self.watching -= 1;
        if let Some(watched) = self.watched.get_mut(index) {
            watched.state = Some(state);
        }
    }

    /// Executes what has waited.
    pub(super) fn exec(&mut self, limits: ReaderLimits, world: &World<'_>) {
        let (multi, watched) = (self.multi.take().expect("MULTI was said"), std::mem::take(&mut self.watched));
        if multi.is_aborted {
            return encode_error(&mut self.said, "EXECABORT Transaction discarded because of previous errors.");
        }
        // They were within these limits one by one.
        let limits = ReaderLimits { command_bytes_max: RESP_QUEUED_BYTES_MAX, is_stranger: false, ..limits };
        let commands = self.prepared(&multi, limits, world);
        let home = one_home(&commands, &watched, world);
        let parts: usize = commands.iter().map(Prepared::parts).sum();
        if home.is_some() && (!watched.is_empty() || parts > 1) {
            return self.exec_at_one_go(commands, &watched);
        }
        if !watched.is_empty() {
            return encode_error(&mut self.said, NOT_ONE_GO);
        }
        array(&mut self.said, commands.len());
        for command in commands {
            match command {
                Prepared::Said(said) => self.said.extend_from_slice(&said),
                Prepared::Asked(plan) => self.run(plan),
                Prepared::Later(at) => self.do_later(&multi.commands[at..], limits, world),
            }
        }
    }

    /// Each command as its answer, or as requests.
    fn prepared(&mut self, multi: &Multi, limits: ReaderLimits, world: &World<'_>) -> Vec<Prepared> {
        let (mut at, mut commands) = (0, Vec::with_capacity(multi.count));
        let (mut reader, mut places) = (Reader::default(), Places::default());
        while at < multi.commands.len() {
            let rest = &multi.commands[at..];
            let taken = reader.read(rest, limits).ok().flatten().expect("they were read before");
            let before = std::mem::take(&mut self.said);
            let named = |name: &[u8]| world.named(name);
            let keyspace = self.keyspace(&named);
            commands.push(match resp::decode(reader.arguments(rest), &keyspace, &mut places, world.now_ms) {
                Asked::Command(group, command, shape) => {
                    let first = (group, first_key(&command));
                    Prepared::Asked(Plan::new(Told::Last(shape)).with(first, command))
                }
                Asked::Plan(plan) => Prepared::Asked(plan),
                Asked::Own(own) => {
                    encode_own(&mut self.said, self.version, &own);
                    Prepared::Said(std::mem::take(&mut self.said))
                }
                Asked::Session(session) if Self::is_done_inside(&session) => {
                    self.session(session, world);
                    Prepared::Said(std::mem::take(&mut self.said))
                }
                Asked::Session(_) => Prepared::Later(at),
            });
            self.said = before;
            at += taken;
        }
        commands
    }

    /// Does a command that has its turn.
    fn do_later(&mut self, command: &[u8], limits: ReaderLimits, world: &World<'_>) {
        let (mut reader, mut places) = (Reader::default(), Places::default());
        reader.read(command, limits).ok().flatten().expect("it was read before");
        let named = |name: &[u8]| world.named(name);
        let keyspace = self.keyspace(&named);
        if let Asked::Session(session) = resp::decode(reader.arguments(command), &keyspace, &mut places, world.now_ms) {
            self.session(session, world);
        }
    }

    fn exec_at_one_go(&mut self, commands: Vec<Prepared>, watched: &[Watched]) {
        let mut requests = Vec::new();
        for Watched { group, key, state } in watched {
            // Of what is not known, no version is the right one.
            let (version, expires_at_ms) = state.unwrap_or((u64::MAX, None));
            let command = Command::Check { key, version, expires_at_ms };
            let request = Request { id: 0, epoch: 0, group: *group, timeout_ms: 0, forwarded: false, command };
            encode_request(&mut requests, &request);
        }
        let (mut items, mut first) = (Vec::with_capacity(commands.len()), None);
        for command in commands {
            items.push(match command {
                Prepared::Said(said) => Item::Said(said),
                Prepared::Asked(plan) => {
                    requests.extend_from_slice(&plan.frames);
                    first.get_or_insert_with(|| plan.first.clone());
                    telling(&plan, self.version)
                }
                Prepared::Later(_) => unreachable!("it has no home"),
            });
        }
        let (group, key) = first.unwrap_or_else(|| (watched[0].group, watched[0].key.clone()));
        let id = self.plan_id();
        self.queue_as(id, group, Command::Transact { key: &key, requests: &requests });
        self.keep(id, Pending::Exec(items));
    }
}

/// A command of an EXEC before it is executed.
enum Prepared {
    /// It is answered.
    Said(Vec<u8>),
    /// Requests.
    Asked(Plan),
    /// It is done when it has its turn; where it begins.
    Later(usize),
}

impl Prepared {
    fn parts(&self) -> usize {
        match self {
            Prepared::Asked(plan) => plan.parts,
            Prepared::Said(_) | Prepared::Later(_) => 0,
        }
    }
}

/// A key of a command on one or several.
fn first_key<'a>(command: &Command<'a>) -> &'a [u8] {
    let first = match *command {
        Command::GetMany { keys } | Command::DeleteMany { keys } => keys.iter().next(),
        Command::SetMany { entries } => entries.iter().next().map(|write| write.key),
        ref command => command.key(),
    };
    first.unwrap_or_default()
}

/// The shard that all keys of these commands and all that is watched belong to; `None`: there are several, or some of it cannot
/// be executed at one go. Nothing is loaded within a transaction, so commands on groups with an origin are executed so only if
/// something is watched.
fn one_home(commands: &[Prepared], watched: &[Watched], world: &World<'_>) -> Option<Place> {
    let mut homes = Vec::new();
    for Watched { group, key, .. } in watched {
        homes.push(world.engine.home(*group, key)?);
    }
    let mut scratch = Scratch::default();
    for command in commands {
        let plan = match command {
            Prepared::Said(_) => continue,
            Prepared::Later(_) => return None,
            // Its checks would be those of the whole.
            Prepared::Asked(plan) if plan.told == Told::IfAbsent => return None,
            Prepared::Asked(plan) => plan,
        };
        let mut rest = &plan.frames[..];
        while let Ok(Some(next)) = frame(rest, usize::MAX) {
            let request = decode_request(next.message, &mut scratch).ok()?;
            if watched.is_empty() && world.engine.is_refilled(request.group) {
                return None;
            }
            let home = |key: &[u8]| world.engine.home(request.group, key);
            let mut found: Option<Vec<Place>> = match request.command {
                Command::GetMany { keys } | Command::DeleteMany { keys } => keys.iter().map(home).collect(),
                Command::SetMany { entries } => entries.iter().map(|write| home(write.key)).collect(),
                ref command => command.key().map(home).into_iter().collect(),
            };
            homes.append(found.as_mut()?);
            rest = &rest[next.consumed..];
        }
    }
    let first = *homes.first()?;
    homes.iter().all(|home| *home == first).then_some(first)
}

//! What takes the connection or the server to do.

use std::sync::atomic::Ordering;

use larder_engine::cursor_of_number;
use larder_protocol::resp::{
    self, Client, Filter, Own, Plan, ReplyMode, Session, Told, Version, array, encode_error, encode_own, map, null,
    number, text, verbatim,
};
use larder_protocol::{Command, Keys};

use super::pending::{Pending, RANDOM_STEPS, pairs};
use super::transaction::Multi;
use super::{Resp, World};
use crate::resp::{NOT_POISONED, REDIS_VERSION};

const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
    configuration is correct?";
const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";

impl Resp {
    /// Does it; whether it is the last command of the connection.
    pub(super) fn session(&mut self, session: Session<'_>, world: &World<'_>) -> bool {
        match session {
            Session::Quit => {
                self.ok();
                return true;
            }
            Session::Leave => return true,
            Session::Hello { version, auth, name } => self.hello(version, auth, name, world),
            Session::Auth { user: None } => encode_error(&mut self.said, NO_PASSWORD),
            Session::Auth { user: Some(b"default") } => self.ok(),
            Session::Auth { user: Some(_) } => encode_error(&mut self.said, WRONG_PASSWORD),
            Session::Select(database) => self.select(database, world),
            Session::Reset => {
                self.reset();
                self.said.extend_from_slice(b"+RESET\r\n");
            }
            Session::Multi | Session::Watch(_) if self.multi.is_some() => self.refuse_inside(),
            Session::Multi => {
                self.multi = Some(Multi::default());
                self.ok();
            }
            Session::Exec => encode_error(&mut self.said, "ERR EXEC without MULTI"),
            Session::Discard if self.multi.is_none() => encode_error(&mut self.said, "ERR DISCARD without MULTI"),
            Session::Discard => {
                self.multi = None;
                self.watched.clear();
                self.ok();
            }
            Session::Watch(keys) => self.watch(keys, world),
            Session::Unwatch => {
                self.watched.clear();
                self.ok();
            }
            Session::Client(client) => return self.about_clients(client, world),
            Session::ConfigGet(patterns) => self.config_get(patterns, world),
            Session::ConfigSet(settings) => self.config_set(settings, world),
            Session::ResetStats => self.ask(0, Command::Stats, Pending::Reset),
            Session::Commands(pattern) if is_too_long(pattern) => self.refuse_pattern(),
            Session::Commands(pattern) => self.commands(pattern),
            Session::Time => {
                array(&mut self.said, 2);
                text(&mut self.said, &(world.now_ms / 1_000).to_string());
                text(&mut self.said, &(world.now_ms % 1_000 * 1_000).to_string());
            }
            Session::Info(sections) => {
                let sections = sections.iter().map(|name| String::from_utf8_lossy(name).to_lowercase()).collect();
                self.ask(0, Command::Stats, Pending::Info(sections));
            }
            Session::DbSize => {
                let name = world.shared.database(self.database).unwrap_or_default().to_owned();
                self.ask(0, Command::Stats, Pending::Size(name));
            }
            Session::Keys(pattern) if is_too_long(pattern) => self.refuse_pattern(),
            Session::Keys(pattern) => {
                // Of `*` alone, every key is one.
                let (pattern, group) = (if pattern == b"*" { &[] } else { pattern }, self.group);
                let id = self.plan_id();
                self.scan(id, group, &[], (pattern, 0));
                self.keep(id, Pending::Keys { pattern: pattern.to_vec(), group, found: Vec::new(), count: 0 });
            }
            Session::Scan { pattern, .. } if is_too_long(pattern) => self.refuse_pattern(),
            Session::Scan { cursor, pattern, count, is_string } => {
                let id = self.plan_id();
                self.scan(id, self.group, &cursor_of_number(cursor), (pattern, count));
                self.keep(id, Pending::Scan { is_string });
            }
            Session::RandomKey => {
                let (group, id) = (self.group, self.plan_id());
                let random = world.random(id.place);
                let shard = random % u64::from(world.engine.shards());
                let cursor = cursor_of_number((shard << 44 | random >> 20).max(1));
                self.scan(id, group, &cursor, (&[], 1));
                self.keep(id, Pending::Random { group, steps: RANDOM_STEPS });
            }
            Session::Flush { all } => self.flush(all, world),
        }
        false
    }

    /// What is done at once within an EXEC, without a request; false: it takes one, or its turn.
    pub(super) fn is_done_inside(session: &Session<'_>) -> bool {
        !matches!(
            session,
            Session::Info(_)
                | Session::ResetStats
                | Session::DbSize
                | Session::Keys(_)
                | Session::Scan { .. }
                | Session::RandomKey
                | Session::Flush { .. }
        )
    }

    fn ok(&mut self) {
        self.said.extend_from_slice(b"+OK\r\n");
    }

    /// One request, whose reply is told by what is kept.
    fn ask(&mut self, group: u64, command: Command<'_>, pending: Pending) {
        let id = self.plan_id();
        self.queue_as(id, group, command);
        self.keep(id, pending);
    }

    fn refuse_pattern(&mut self) {
        encode_error(&mut self.said, "ERR the pattern is longer than 255 bytes");
    }

    /// Between MULTI and EXEC, which refuses them all because of it.
    fn refuse_inside(&mut self) {
        self.multi.iter_mut().for_each(Multi::abort);
        encode_error(&mut self.said, "ERR Command not allowed inside a transaction");
    }

    fn hello(
        &mut self,
        version: Option<Version>,
        auth: Option<(&[u8], &[u8])>,
        name: Option<&[u8]>,
        world: &World<'_>,
    ) {
        if self.multi.is_some() {
            return self.refuse_inside();
        }
        if auth.is_some_and(|(user, _)| user != b"default") {
            return encode_error(&mut self.said, WRONG_PASSWORD);
        }
        self.version = version.unwrap_or(self.version);
        let proto = if self.version == Version::Three { 3 } else { 2 };
        if let Some(registration) = &self.registration {
            registration.client().version.store(proto, Ordering::Relaxed);
        }
        if let Some(name) = name {
            self.set_name(name);
        }
        let (id, version) = (self.client(), self.version);
        let out = &mut self.said;
        map(out, version, 7);
        for (name, value) in [("server", "larder"), ("version", REDIS_VERSION)] {
            text(out, name);
            text(out, value);
        }
        text(out, "proto");
        number(out, b':', i64::from(proto));
        text(out, "id");
        number(out, b':', id as i64);
        for (name, value) in [("mode", "standalone"), ("role", "master")] {
            text(out, name);
            text(out, value);
        }
        text(out, "modules");
        array(out, 0);
        let _ = world;
    }

    fn select(&mut self, database: i64, world: &World<'_>) {
        let number = u64::try_from(database).ok();
        let Some((number, name)) = number.and_then(|number| Some((number, world.shared.database(number)?))) else {
            return encode_error(&mut self.said, "ERR DB index is out of range");
        };
        let Some(group) = world.named(name.as_bytes()) else {
            let why = format!("ERR database {number} is group {name:?}, which there is not; see larder-cli group list");
            return encode_error(&mut self.said, &why);
        };
        (self.database, self.group) =
            (number, if number == 0 && world.shared.databases.is_empty() { 0 } else { group });
        if let Some(registration) = &self.registration {
            registration.client().database.store(number as u32, Ordering::Relaxed);
        }
        self.ok();
    }

    fn reset(&mut self) {
        (self.version, self.mode, self.multi) = (Version::Two, ReplyMode::On, None);
        (self.database, self.group) = (0, 0);
        self.watched.clear();
        if let Some(registration) = &self.registration {
            let client = registration.client();
            client.version.store(2, Ordering::Relaxed);
            client.database.store(0, Ordering::Relaxed);
            client.names.lock().expect(NOT_POISONED).name.clear();
        }
    }

    fn set_name(&mut self, name: &[u8]) {
        if let Some(registration) = &self.registration {
            registration.client().names.lock().expect(NOT_POISONED).name = String::from_utf8_lossy(name).into_owned();
        }
    }

    /// CLIENT; whether it has closed its own connection.
    fn about_clients(&mut self, client: Client<'_>, world: &World<'_>) -> bool {
        let (own, version) = (self.client(), self.version);
        match client {
            Client::Id => number(&mut self.said, b':', own as i64),
            Client::Name => {
                let name = self.registration.as_ref().map_or_else(String::new, |registration| {
                    registration.client().names.lock().expect(NOT_POISONED).name.clone()
                });
                match name.as_str() {
                    "" => null(&mut self.said, version),
                    name => text(&mut self.said, name),
                }
            }
            Client::SetName(name) => {
                self.set_name(name);
                self.ok();
            }
            Client::SetInfo { is_version, text } => {
                if let Some(registration) = &self.registration {
                    let mut names = registration.client().names.lock().expect(NOT_POISONED);
                    let place = if is_version { &mut names.library_version } else { &mut names.library };
                    *place = String::from_utf8_lossy(text).into_owned();
                }
                self.ok();
            }
            Client::Info => {
                let list = world.shared.clients.list(|client| client.id == own, world.now_ms);
                verbatim(&mut self.said, version, &list);
            }
            Client::List(filter) => {
                let is_meant = |client: &crate::resp::Client| client.is_meant(&filter, own, world.now_ms);
                let list = world.shared.clients.list(is_meant, world.now_ms);
                verbatim(&mut self.said, version, &list);
            }
            Client::Kill { filter, is_one } => return self.kill(&filter, is_one, world),
            Client::Reply(ReplyMode::On) => {
                self.mode = ReplyMode::On;
                self.ok();
            }
            // The command itself is not answered.
            Client::Reply(mode) => {
                self.place_said();
                self.mode = mode;
            }
        }
        false
    }

    fn kill(&mut self, filter: &Filter<'_>, is_one: bool, world: &World<'_>) -> bool {
        let own = self.client();
        let killed = world.shared.clients.kill(|client| client.is_meant(filter, own, world.now_ms));
        if !killed.is_empty() {
            world.shared.close_killed();
        }
        match killed.len() {
            0 if is_one => encode_error(&mut self.said, "ERR No such client"),
            _ if is_one => self.ok(),
            count => number(&mut self.said, b':', count as i64),
        }
        killed.contains(&own)
    }

    /// COMMAND LIST FILTERBY PATTERN.
    fn commands(&mut self, pattern: &[u8]) {
        let glob = larder_engine::Glob::new(&pattern.to_ascii_lowercase());
        let is_meant = |name: &str| glob.as_ref().is_some_and(|glob| glob.matches(name.as_bytes()));
        let names: Vec<_> = resp::commands().map(|spec| spec.name).filter(|name| is_meant(name)).collect();
        array(&mut self.said, names.len());
        names.into_iter().for_each(|name| text(&mut self.said, name));
    }

    fn config_get(&mut self, patterns: Keys<'_>, world: &World<'_>) {
        let globs: Vec<_> =
            patterns.iter().filter_map(|pattern| larder_engine::Glob::new(&pattern.to_ascii_lowercase())).collect();
        let found = world.shared.settings.matching(|name| globs.iter().any(|glob| glob.matches(name.as_bytes())));
        pairs(&mut self.said, self.version, found.into_iter());
    }

    fn config_set(&mut self, settings: Keys<'_>, world: &World<'_>) {
        let words: Vec<String> = settings.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        match world.shared.settings.refusal(&words) {
            Some(why) => encode_error(&mut self.said, &why),
            None => self.ok(),
        }
    }

    fn flush(&mut self, is_of_all: bool, world: &World<'_>) {
        let mut plan = Plan::new(Told::All);
        if is_of_all {
            for name in world.shared.all_databases() {
                if let Some(group) = world.named(name.as_bytes()) {
                    plan = plan.with((group, b""), Command::Invalidate);
                }
            }
        } else {
            plan = plan.with((self.group, b""), Command::Invalidate);
        }
        match plan.parts {
            0 => encode_own(&mut self.said, self.version, &Own::Ok),
            _ => self.run(plan),
        }
    }
}

fn is_too_long(pattern: &[u8]) -> bool {
    pattern.len() > larder_protocol::limits::PATTERN_BYTES_MAX
}

//! The commands, as COMMAND tells of them.

use alloc::borrow::Cow;

use super::decode::{Arguments, lower, unknown, unknown_subcommand, wrong_number};
use crate::places::Keys;

/// One command, or a part of one such as CLIENT LIST.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its name, in small letters; that of a part is as `client|list`.
    pub name: &'static str,
    /// How many arguments it has, the name among them; below 0: at least so many.
    pub arity: i64,
    /// What it does, in Valkey's words, with blanks between them.
    pub flags: &'static str,
    /// Where its first and last key are, and how far apart; 0: it has none; -1 counts from the end.
    pub keys: (i64, i64, i64),
    /// What it does with them, in Valkey's words.
    pub access: &'static str,
    /// What it belongs to.
    pub group: &'static str,
    /// What it does, in one sentence without a full stop.
    pub summary: &'static str,
    /// Whether it has parts.
    pub has_parts: bool,
}

impl Spec {
    /// Whether it may have so many arguments, its name among them.
    pub fn takes(&self, count: usize) -> bool {
        let count = count as i64;
        if self.arity > 0 { count == self.arity } else { count >= -self.arity }
    }

    /// The parts that it has.
    pub fn parts(&self) -> &'static [Spec] {
        let is_before = |part: &Spec| part.name.split('|').next() < Some(self.name);
        let begin = PARTS.partition_point(is_before);
        let len = PARTS[begin..].iter().take_while(|part| part.name.split('|').next() == Some(self.name)).count();
        &PARTS[begin..begin + len]
    }

    /// Whether it has this flag.
    pub(super) fn is(&self, flag: &str) -> bool {
        self.flags.split(' ').any(|known| known == flag)
    }
}

/// A command or part that there is, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Which(u16);

impl Which {
    /// GET.
    pub const GET: Which = Which(20);
    /// SET.
    pub const SET: Which = Which(50);
    /// How many there are.
    pub const COUNT: usize = COMMANDS.len() + PARTS.len();

    /// What there is to know of it.
    #[inline]
    pub fn spec(self) -> &'static Spec {
        let number = usize::from(self.0);
        COMMANDS.get(number).unwrap_or_else(|| &PARTS[number - COMMANDS.len()])
    }

    /// Its number, below 65535.
    pub fn number(self) -> u16 {
        self.0
    }

    /// That of a number, if there is one.
    pub fn of(number: u16) -> Option<Self> {
        (usize::from(number) < Self::COUNT).then_some(Self(number))
    }
}

const fn spec(
    name: &'static str,
    arity: i64,
    flags: &'static str,
    (keys, access): ((i64, i64, i64), &'static str),
    group: &'static str,
    summary: &'static str,
) -> Spec {
    Spec { name, arity, flags, keys, access, group, summary, has_parts: false }
}

const fn container(
    name: &'static str,
    arity: i64,
    flags: &'static str,
    group: &'static str,
    summary: &'static str,
) -> Spec {
    Spec { has_parts: true, ..spec(name, arity, flags, NONE, group, summary) }
}

const NONE: ((i64, i64, i64), &str) = ((0, 0, 0), "");
const ONE: (i64, i64, i64) = (1, 1, 1);
const SECOND: (i64, i64, i64) = (2, 2, 1);
const ALL: (i64, i64, i64) = (1, -1, 1);
const PAIRS: (i64, i64, i64) = (1, -1, 2);

const SEES: &str = "RO";
const READS: &str = "RO access";
const PUTS: &str = "OW update";
const ADDS: &str = "OW insert";
const GROWS: &str = "RW insert";
const CHANGES: &str = "RW update";
const ALTERS: &str = "RW access update";
const TAKES: &str = "RW access delete";
const REMOVES: &str = "RM delete";

const READ: &str = "readonly fast";
const LOOK: &str = "readonly";
const WRITE: &str = "write denyoom fast";
const STORE: &str = "write denyoom";
const CHANGE: &str = "write fast";
const ADMIN: &str = "admin noscript loading stale";
const LOG: &str = "admin loading stale";
const LINK: &str = "noscript loading stale";
const TOLD: &str = "loading stale";
const ANY: &str = "loading stale fast";
const GREET: &str = "noscript loading stale fast no_auth allow_busy";
const TRANSACTION: &str = "noscript loading stale fast allow_busy";
const ONCE: &str = "noscript loading stale fast no_multi allow_busy";

/// Longest name of a command or part by itself, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 16;

/// Every command, by name.
pub(super) static COMMANDS: [Spec; 64] = [
    spec("append", 3, WRITE, (ONE, GROWS), "string", "Adds to the end of a value, or creates it"),
    spec("auth", -2, GREET, NONE, "connection", "Says who is asking"),
    container("client", -2, "", "connection", "Tells of connections, and changes them"),
    container("command", -1, TOLD, "server", "Tells of commands"),
    container("commandlog", -2, "", "server", "There is no log of slow or large commands"),
    container("config", -2, "", "server", "Tells of settings"),
    spec("dbsize", 1, READ, NONE, "server", "How many keys this node has of the group"),
    spec("decr", 2, WRITE, (ONE, ALTERS), "string", "Takes one from an integer"),
    spec("decrby", 3, WRITE, (ONE, ALTERS), "string", "Takes from an integer"),
    spec("del", -2, "write", (ALL, REMOVES), "generic", "Removes keys"),
    spec("discard", 1, TRANSACTION, NONE, "transactions", "Forgets the commands since MULTI"),
    spec("echo", 2, ANY, NONE, "connection", "Says what was said"),
    spec(
        "exec",
        1,
        "noscript loading stale skip_commandlog",
        NONE,
        "transactions",
        "Executes the commands since MULTI",
    ),
    spec("exists", -2, READ, (ALL, SEES), "generic", "How many of these keys are there"),
    spec("expire", -3, CHANGE, (ONE, CHANGES), "generic", "Has a key expire in so many seconds"),
    spec("expireat", -3, CHANGE, (ONE, CHANGES), "generic", "Has a key expire at a second"),
    spec("expiretime", 2, READ, (ONE, READS), "generic", "The second at which a key expires"),
    spec("flushall", -1, "write", NONE, "server", "Makes all keys of all databases absent, on all nodes"),
    spec("flushdb", -1, "write", NONE, "server", "Makes all keys of the database absent, on all nodes"),
    container("function", -2, "", "scripting", "There are no functions: FLUSH and LIST say so"),
    spec("get", 2, READ, (ONE, READS), "string", "The value of a key"),
    spec("getdel", 2, CHANGE, (ONE, TAKES), "string", "The value of a key, which is removed"),
    spec("getex", -2, CHANGE, (ONE, ALTERS), "string", "The value of a key, which gets another expiry"),
    spec("getrange", 4, LOOK, (ONE, READS), "string", "Part of a value"),
    spec("getset", 3, WRITE, (ONE, ALTERS), "string", "The value of a key, which gets another one"),
    spec("hello", -1, GREET, NONE, "connection", "Agrees on a version of the protocol"),
    spec("incr", 2, WRITE, (ONE, ALTERS), "string", "Adds one to an integer"),
    spec("incrby", 3, WRITE, (ONE, ALTERS), "string", "Adds to an integer"),
    spec("incrbyfloat", 3, WRITE, (ONE, ALTERS), "string", "Adds to a decimal fraction"),
    spec("info", -1, TOLD, NONE, "server", "Tells of the server"),
    spec("keys", 2, LOOK, NONE, "generic", "The keys of this node that match a pattern"),
    container("latency", -2, "", "server", "There are no spikes to tell of"),
    container("memory", -2, "", "server", "What a key takes"),
    spec("mget", -2, READ, (ALL, READS), "string", "The values of several keys"),
    spec("mset", -3, STORE, (PAIRS, PUTS), "string", "Sets several keys"),
    spec("msetnx", -3, STORE, (PAIRS, ADDS), "string", "Sets several keys of one shard if none is there"),
    spec("multi", 1, ONCE, NONE, "transactions", "Has the commands that follow wait for EXEC"),
    container("object", -2, "", "generic", "Tells of a value"),
    spec("persist", 2, CHANGE, (ONE, CHANGES), "generic", "Has a key not expire"),
    spec("pexpire", -3, CHANGE, (ONE, CHANGES), "generic", "Has a key expire in so many milliseconds"),
    spec("pexpireat", -3, CHANGE, (ONE, CHANGES), "generic", "Has a key expire at a millisecond"),
    spec("pexpiretime", 2, READ, (ONE, READS), "generic", "The millisecond at which a key expires"),
    spec("ping", -1, "fast", NONE, "connection", "PONG, or what was said"),
    spec("psetex", 4, STORE, (ONE, PUTS), "string", "Sets a key for so many milliseconds"),
    spec("pttl", 2, READ, (ONE, READS), "generic", "In how many milliseconds a key expires"),
    spec("quit", -1, GREET, NONE, "connection", "Ends the connection"),
    spec("randomkey", 1, LOOK, NONE, "generic", "Some key of this node"),
    spec("reset", 1, GREET, NONE, "connection", "Makes the connection as it was at its beginning"),
    spec("scan", -2, LOOK, NONE, "generic", "Some keys of this node, and where to go on"),
    spec("select", 2, ANY, NONE, "connection", "Chooses a database, which is a group"),
    spec("set", -3, STORE, (ONE, PUTS), "string", "Sets a key"),
    spec("setex", 4, STORE, (ONE, PUTS), "string", "Sets a key for so many seconds"),
    spec("setnx", 3, WRITE, (ONE, ADDS), "string", "Sets a key that is not there"),
    spec("setrange", 4, STORE, (ONE, CHANGES), "string", "Replaces part of a value"),
    container("slowlog", -2, "", "server", "There is no log of slow commands"),
    spec("strlen", 2, READ, (ONE, SEES), "string", "The length of a value"),
    spec("substr", 4, LOOK, (ONE, READS), "string", "Part of a value"),
    spec("time", 1, ANY, NONE, "server", "What the server's clock shows"),
    spec("touch", -2, READ, (ALL, SEES), "generic", "How many of these keys are there, each of which is used"),
    spec("ttl", 2, READ, (ONE, READS), "generic", "In how many seconds a key expires"),
    spec("type", 2, READ, (ONE, SEES), "generic", "What a key is: a string"),
    spec("unlink", -2, CHANGE, (ALL, REMOVES), "generic", "Removes keys"),
    spec("unwatch", 1, TRANSACTION, NONE, "transactions", "Forgets what is watched"),
    spec("watch", -2, ONCE, (ALL, SEES), "transactions", "Has EXEC do nothing if one of these keys was changed"),
];

/// Every part, by name.
pub(super) static PARTS: [Spec; 46] = [
    spec("client|getname", 2, LINK, NONE, "connection", "The connection's name"),
    spec("client|help", 2, TOLD, NONE, "connection", "What there is"),
    spec("client|id", 2, LINK, NONE, "connection", "The connection's number"),
    spec("client|info", 2, LINK, NONE, "connection", "All that is known of the connection"),
    spec("client|kill", -3, ADMIN, NONE, "connection", "Closes connections"),
    spec("client|list", -2, ADMIN, NONE, "connection", "All that is known of connections"),
    spec("client|no-evict", 3, ADMIN, NONE, "connection", "Means nothing here"),
    spec("client|no-touch", 3, LINK, NONE, "connection", "Means nothing here"),
    spec("client|reply", 3, LINK, NONE, "connection", "Whether commands are answered"),
    spec("client|setinfo", 4, LINK, NONE, "connection", "Names the client's library"),
    spec("client|setname", 3, LINK, NONE, "connection", "Names the connection"),
    spec("command|count", 2, TOLD, NONE, "server", "How many commands there are"),
    spec("command|docs", -2, TOLD, NONE, "server", "What commands are for"),
    spec("command|getkeys", -3, TOLD, NONE, "server", "The keys among the arguments of a command"),
    spec("command|getkeysandflags", -3, TOLD, NONE, "server", "The same, and what happens to them"),
    spec("command|help", 2, TOLD, NONE, "server", "What there is"),
    spec("command|info", -2, TOLD, NONE, "server", "What clients have to know of commands"),
    spec("command|list", -2, TOLD, NONE, "server", "The names of commands"),
    spec("commandlog|get", 4, LOG, NONE, "server", "There are no such commands"),
    spec("commandlog|help", 2, TOLD, NONE, "server", "What there is"),
    spec("commandlog|len", 3, LOG, NONE, "server", "How many there are: none"),
    spec("commandlog|reset", 3, LOG, NONE, "server", "There is nothing to forget"),
    spec("config|get", -3, ADMIN, NONE, "server", "Settings that match patterns"),
    spec("config|help", 2, TOLD, NONE, "server", "What there is"),
    spec("config|resetstat", 2, ADMIN, NONE, "server", "Has INFO count from now on"),
    spec("config|rewrite", 2, ADMIN, NONE, "server", "There is no file to write"),
    spec("config|set", -4, ADMIN, NONE, "server", "Accepts what means nothing here"),
    spec("function|flush", -2, "write noscript", NONE, "scripting", "There are no functions to remove"),
    spec("function|help", 2, TOLD, NONE, "scripting", "What there is"),
    spec("function|list", -2, "noscript", NONE, "scripting", "There are no functions"),
    spec("latency|help", 2, TOLD, NONE, "server", "What there is"),
    spec("latency|history", 3, ADMIN, NONE, "server", "There are no spikes"),
    spec("latency|latest", 2, ADMIN, NONE, "server", "There are no spikes"),
    spec("latency|reset", -2, ADMIN, NONE, "server", "There is nothing to forget"),
    spec("memory|doctor", 2, "", NONE, "server", "Nothing is wrong"),
    spec("memory|help", 2, TOLD, NONE, "server", "What there is"),
    spec("memory|usage", -3, LOOK, (SECOND, SEES), "server", "What a key takes"),
    spec("object|encoding", 3, LOOK, (SECOND, SEES), "generic", "How a value would be kept"),
    spec("object|freq", 3, LOOK, (SECOND, SEES), "generic", "There are no frequencies"),
    spec("object|help", 2, TOLD, NONE, "generic", "What there is"),
    spec("object|idletime", 3, LOOK, (SECOND, SEES), "generic", "For how long a value was not used"),
    spec("object|refcount", 3, LOOK, (SECOND, SEES), "generic", "One"),
    spec("slowlog|get", -2, LOG, NONE, "server", "There are no slow commands"),
    spec("slowlog|help", 2, TOLD, NONE, "server", "What there is"),
    spec("slowlog|len", 2, LOG, NONE, "server", "How many there are: none"),
    spec("slowlog|reset", 2, LOG, NONE, "server", "There is nothing to forget"),
];

/// The command of this name, in small letters.
pub(super) fn find(name: &[u8]) -> Option<Which> {
    let at = COMMANDS.binary_search_by(|spec| spec.name.as_bytes().cmp(name)).ok()?;
    Some(Which(at as u16))
}

/// The part of this name, in small letters, of a command.
fn find_part(spec: &Spec, part: &[u8]) -> Option<Which> {
    let place = |known: &Spec| known.name.as_bytes().split(|byte| *byte == b'|').cmp([spec.name.as_bytes(), part]);
    let at = PARTS.binary_search_by(place).ok()?;
    Some(Which((COMMANDS.len() + at) as u16))
}

/// The command of a name in any letters, or the part of one such as `client|list`.
pub(super) fn find_full(name: &[u8]) -> Option<&'static Spec> {
    let (mut buffer, mut other) = ([0; NAME_BYTES_MAX], [0; NAME_BYTES_MAX]);
    let mut words = name.split(|byte| *byte == b'|');
    let command = find(lower(words.next()?, &mut buffer))?;
    let which = match (words.next(), words.next()) {
        (None, _) => command,
        (Some(part), None) => find_part(command.spec(), lower(part, &mut other))?,
        _ => return None,
    };
    Some(which.spec())
}

/// The command that these arguments begin with, or the part of one, however many they are.
pub(super) fn look_up(all: Arguments<'_>) -> Option<Which> {
    let (mut buffer, mut other) = ([0; NAME_BYTES_MAX], [0; NAME_BYTES_MAX]);
    let which = find(lower(all.at(0), &mut buffer))?;
    if !which.spec().has_parts || all.len() == 1 {
        return Some(which);
    }
    find_part(which.spec(), lower(all.at(1), &mut other))
}

/// Why arguments are no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// What is answered.
    pub text: Cow<'static, str>,
    /// The command, if there is one, with another number of arguments.
    pub which: Option<Which>,
}

impl Misfit {
    #[cold]
    fn of(text: Cow<'static, str>, which: Option<Which>) -> Self {
        Self { text, which }
    }
}

/// What arguments are, of which there is at least one, whatever they mean.
///
/// # Errors
/// There is no such command, or not with so many arguments.
#[inline]
pub fn fit(arguments: Keys<'_>) -> Result<Which, Misfit> {
    let all = Arguments(arguments);
    let mut buffer = [0; NAME_BYTES_MAX];
    let which = find(lower(all.at(0), &mut buffer)).ok_or_else(|| Misfit::of(unknown(all), None))?;
    let spec = which.spec();
    if spec.has_parts && all.len() > 1 {
        return fit_part(spec, all);
    }
    checked(which, all)
}

#[inline]
fn checked(which: Which, all: Arguments<'_>) -> Result<Which, Misfit> {
    let spec = which.spec();
    if spec.takes(all.len()) { Ok(which) } else { Err(Misfit::of(wrong_number(spec.name), Some(which))) }
}

fn fit_part(spec: &Spec, all: Arguments<'_>) -> Result<Which, Misfit> {
    let mut buffer = [0; NAME_BYTES_MAX];
    let part = find_part(spec, lower(all.at(1), &mut buffer));
    let part = part.ok_or_else(|| Misfit::of(unknown_subcommand(spec.name, all.at(1)), None))?;
    checked(part, all)
}

/// Whether there is a command of this name.
pub fn is_command(name: &[u8]) -> bool {
    let mut buffer = [0; NAME_BYTES_MAX];
    find(lower(name, &mut buffer)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found() {
        for spec in &COMMANDS {
            assert_eq!(find(spec.name.as_bytes()).map(|found| found.spec().name), Some(spec.name));
            assert!(spec.arity != 0 && spec.name.len() <= NAME_BYTES_MAX, "{}", spec.name);
            assert_eq!(spec.has_parts, !spec.parts().is_empty(), "{}", spec.name);
        }
        assert_eq!(COMMANDS.iter().map(|spec| spec.parts().len()).sum::<usize>(), PARTS.len());
        assert!(find(b"nothing").is_none() && find(b"").is_none());
        assert_eq!((Which::GET.spec().name, Which::SET.spec().name), ("get", "set"));
    }

    #[test]
    fn every_part_is_found() {
        for part in &PARTS {
            assert_eq!(find_full(part.name.as_bytes()).map(|found| found.name), Some(part.name));
            assert!(part.name.split('|').all(|word| word.len() <= NAME_BYTES_MAX), "{}", part.name);
        }
        assert!(find_full(b"get|key").is_none() && find_full(b"config|get|key").is_none());
        assert!(find_full(b"config|").is_none() && find_full(b"|get").is_none());
        assert_eq!(find_full(b"CONFIG|Get").map(|found| found.arity), Some(-3));
        let numbers = 0..(COMMANDS.len() + PARTS.len()) as u16;
        assert!(numbers.clone().all(|number| Which::of(number).is_some_and(|which| which.number() == number)));
        assert_eq!(Which::of(numbers.end), None);
    }
}

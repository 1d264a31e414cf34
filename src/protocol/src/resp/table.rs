//! The commands, as COMMAND tells of them.

/// One command.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its name, in small letters.
    pub name: &'static str,
    /// How many arguments it has, the name among them; below 0: at least so many.
    pub arity: i64,
    /// What it does, in Valkey's words, with blanks between them.
    pub flags: &'static str,
    /// Where its first and last key are, and how far apart; 0: it has none; -1 counts from the end.
    pub keys: (i64, i64, i64),
    /// What it belongs to.
    pub group: &'static str,
    /// What it does, in one sentence without a full stop.
    pub summary: &'static str,
}

impl Spec {
    /// Whether it may have so many arguments, its name among them.
    pub fn takes(&self, count: usize) -> bool {
        let count = count as i64;
        if self.arity > 0 { count == self.arity } else { count >= -self.arity }
    }
}

const fn spec(
    name: &'static str,
    arity: i64,
    flags: &'static str,
    keys: (i64, i64, i64),
    group: &'static str,
    summary: &'static str,
) -> Spec {
    Spec { name, arity, flags, keys, group, summary }
}

const ONE: (i64, i64, i64) = (1, 1, 1);
const ALL: (i64, i64, i64) = (1, -1, 1);
const PAIRS: (i64, i64, i64) = (1, -1, 2);
const NONE: (i64, i64, i64) = (0, 0, 0);
const READ: &str = "readonly fast";
const WRITE: &str = "write denyoom fast";
const CHANGE: &str = "write fast";
const ADMIN: &str = "admin noscript loading stale";
const LINK: &str = "noscript loading stale fast";

/// Longest name of a command, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 16;

/// Every command, by name.
pub static COMMANDS: [Spec; 63] = [
    spec("append", 3, WRITE, ONE, "string", "Adds to the end of a value, or creates it"),
    spec("auth", -2, LINK, NONE, "connection", "Says who is asking"),
    spec("client", -2, ADMIN, NONE, "connection", "Tells of connections, and changes them"),
    spec("command", -1, "loading stale", NONE, "server", "Tells of commands"),
    spec("config", -2, ADMIN, NONE, "server", "Tells of settings"),
    spec("dbsize", 1, READ, NONE, "server", "How many keys this node has of the group"),
    spec("decr", 2, WRITE, ONE, "string", "Takes one from an integer"),
    spec("decrby", 3, WRITE, ONE, "string", "Takes from an integer"),
    spec("del", -2, "write", ALL, "generic", "Removes keys"),
    spec("discard", 1, LINK, NONE, "transactions", "Forgets the commands since MULTI"),
    spec("echo", 2, LINK, NONE, "connection", "Says what was said"),
    spec("exec", 1, "noscript loading stale", NONE, "transactions", "Executes the commands since MULTI"),
    spec("exists", -2, READ, ALL, "generic", "How many of these keys are there"),
    spec("expire", -3, CHANGE, ONE, "generic", "Has a key expire in so many seconds"),
    spec("expireat", -3, CHANGE, ONE, "generic", "Has a key expire at a second"),
    spec("expiretime", 2, READ, ONE, "generic", "The second at which a key expires"),
    spec("flushall", -1, "write", NONE, "server", "Makes all keys of all databases absent, on all nodes"),
    spec("flushdb", -1, "write", NONE, "server", "Makes all keys of the database absent, on all nodes"),
    spec("function", -2, "noscript", NONE, "scripting", "There are no functions: FLUSH and LIST say so"),
    spec("get", 2, READ, ONE, "string", "The value of a key"),
    spec("getdel", 2, CHANGE, ONE, "string", "The value of a key, which is removed"),
    spec("getex", -2, CHANGE, ONE, "string", "The value of a key, which gets another expiry"),
    spec("getrange", 4, "readonly", ONE, "string", "Part of a value"),
    spec("getset", 3, WRITE, ONE, "string", "The value of a key, which gets another one"),
    spec("hello", -1, LINK, NONE, "connection", "Agrees on a version of the protocol"),
    spec("incr", 2, WRITE, ONE, "string", "Adds one to an integer"),
    spec("incrby", 3, WRITE, ONE, "string", "Adds to an integer"),
    spec("incrbyfloat", 3, WRITE, ONE, "string", "Adds to a decimal fraction"),
    spec("info", -1, "loading stale", NONE, "server", "Tells of the server"),
    spec("keys", 2, "readonly", NONE, "generic", "The keys of this node that match a pattern"),
    spec("latency", -2, ADMIN, NONE, "server", "There are no spikes to tell of"),
    spec("memory", -2, "readonly", NONE, "server", "What a key takes"),
    spec("mget", -2, READ, ALL, "string", "The values of several keys"),
    spec("mset", -3, "write denyoom", PAIRS, "string", "Sets several keys"),
    spec("msetnx", -3, "write denyoom", PAIRS, "string", "Sets several keys of one shard if none is there"),
    spec("multi", 1, LINK, NONE, "transactions", "Has the commands that follow wait for EXEC"),
    spec("object", -2, "readonly", NONE, "generic", "Tells of a value"),
    spec("persist", 2, CHANGE, ONE, "generic", "Has a key not expire"),
    spec("pexpire", -3, CHANGE, ONE, "generic", "Has a key expire in so many milliseconds"),
    spec("pexpireat", -3, CHANGE, ONE, "generic", "Has a key expire at a millisecond"),
    spec("pexpiretime", 2, READ, ONE, "generic", "The millisecond at which a key expires"),
    spec("ping", -1, "fast", NONE, "connection", "PONG, or what was said"),
    spec("psetex", 4, "write denyoom", ONE, "string", "Sets a key for so many milliseconds"),
    spec("pttl", 2, READ, ONE, "generic", "In how many milliseconds a key expires"),
    spec("quit", -1, LINK, NONE, "connection", "Ends the connection"),
    spec("randomkey", 1, "readonly", NONE, "generic", "Some key of this node"),
    spec("reset", 1, LINK, NONE, "connection", "Makes the connection as it was at its beginning"),
    spec("scan", -2, "readonly", NONE, "generic", "Some keys of this node, and where to go on"),
    spec("select", 2, "loading stale fast", NONE, "connection", "Chooses a database, which is a group"),
    spec("set", -3, "write denyoom", ONE, "string", "Sets a key"),
    spec("setex", 4, "write denyoom", ONE, "string", "Sets a key for so many seconds"),
    spec("setnx", 3, WRITE, ONE, "string", "Sets a key that is not there"),
    spec("setrange", 4, "write denyoom", ONE, "string", "Replaces part of a value"),
    spec("slowlog", -2, ADMIN, NONE, "server", "There is no log of slow commands"),
    spec("strlen", 2, READ, ONE, "string", "The length of a value"),
    spec("substr", 4, "readonly", ONE, "string", "Part of a value"),
    spec("time", 1, "loading stale fast", NONE, "server", "What the server's clock shows"),
    spec("touch", -2, READ, ALL, "generic", "How many of these keys are there, each of which is used"),
    spec("ttl", 2, READ, ONE, "generic", "In how many seconds a key expires"),
    spec("type", 2, READ, ONE, "generic", "What a key is: a string"),
    spec("unlink", -2, CHANGE, ALL, "generic", "Removes keys"),
    spec("unwatch", 1, LINK, NONE, "transactions", "Forgets what is watched"),
    spec("watch", -2, LINK, ALL, "transactions", "Has EXEC do nothing if one of these keys was changed"),
];

/// The command of this name, in small letters.
pub(super) fn find(name: &[u8]) -> Option<&'static Spec> {
    let at = COMMANDS.binary_search_by(|spec| spec.name.as_bytes().cmp(name)).ok()?;
    Some(&COMMANDS[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found() {
        assert!(COMMANDS.iter().all(|spec| find(spec.name.as_bytes()).is_some_and(|found| found.name == spec.name)));
        assert!(COMMANDS.iter().all(|spec| spec.arity != 0 && spec.name.len() <= NAME_BYTES_MAX));
        assert!(find(b"nothing").is_none() && find(b"").is_none());
    }
}

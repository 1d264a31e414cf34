//! What a client asks for, in the terms of the engine. Borrowed from the bytes that were received.

use crate::places::{Keys, Writes};

/// One request: the envelope and the command in it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Chosen by the sender and repeated in the answer.
    pub id: u64,
    /// The epoch by which the sender routed; 0: it knows no ring.
    pub epoch: u64,
    /// Hash of the group's name; 0: the default group.
    pub group: u64,
    /// How long the sender waits, in ms; 0: the server's default.
    pub timeout_ms: u32,
    /// Passed on by a peer or another shard: answer here, or refuse.
    pub forwarded: bool,
    /// What to do.
    pub command: Command<'a>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// The value of a key.
    Get {
        /// The key.
        key: &'a [u8],
    },
    /// The values of several keys, in order.
    GetMany {
        /// The keys.
        keys: Keys<'a>,
    },
    /// Store an entry.
    Set(Write<'a>),
    /// Store several entries, in order.
    SetMany {
        /// The entries.
        entries: Writes<'a>,
    },
    /// Remove an entry.
    Delete {
        /// The key.
        key: &'a [u8],
        /// Only this version; 0: any.
        version: u64,
    },
    /// Remove several entries.
    DeleteMany {
        /// The keys.
        keys: Keys<'a>,
    },
    /// Set the expiry of an entry.
    Touch {
        /// The key.
        key: &'a [u8],
        /// The new expiry.
        expiry: Expiry,
        /// Of which entries.
        only: TouchCondition,
    },
    /// Set the expiry of an entry and return it.
    GetAndTouch {
        /// The key.
        key: &'a [u8],
        /// The new expiry.
        expiry: Expiry,
    },
    /// Add to a decimal integer.
    Increment {
        /// The key.
        key: &'a [u8],
        /// What to add; may be negative.
        delta: i64,
        /// What to store if the key is absent; `None`: that is a miss.
        initial: Option<i64>,
        /// Expiry of an entry that is created.
        expiry: Expiry,
    },
    /// Add to, or take from, a decimal integer of 64 bits without a sign: above the largest one it begins again at 0, and below 0
    /// it stays there.
    Count {
        /// The key.
        key: &'a [u8],
        /// How much.
        delta: u64,
        /// Whether to take it.
        is_down: bool,
        /// What to store if the key is absent; `None`: that is a miss.
        initial: Option<u64>,
        /// Expiry of an entry that is created.
        expiry: Expiry,
        /// Only this version; 0: any.
        version: u64,
    },
    /// Add bytes behind a value.
    Append {
        /// The key.
        key: &'a [u8],
        /// What to add.
        value: &'a [u8],
    },
    /// Add bytes in front of a value.
    Prepend {
        /// The key.
        key: &'a [u8],
        /// What to add.
        value: &'a [u8],
    },
    /// Replace the bytes of a value from an offset on. One that is shorter, or absent, is filled up with zeros.
    Patch {
        /// The key.
        key: &'a [u8],
        /// Where to begin, in bytes.
        offset: u64,
        /// What to put there.
        value: &'a [u8],
    },
    /// Add to a decimal fraction; an absent one is 0.
    AddDecimal {
        /// The key.
        key: &'a [u8],
        /// What to add, as text such as "-1.5" or "3e2".
        delta: &'a [u8],
    },
    /// What is known of an entry. This is no access to it, and loads nothing.
    Look {
        /// The key.
        key: &'a [u8],
        /// Whether its value is wanted too.
        value: bool,
    },
    /// Whether an entry has this version and expiry; 0: whether it is absent.
    Check {
        /// The key.
        key: &'a [u8],
        /// The version.
        version: u64,
        /// When it has to expire, in ms since the Unix epoch, 0: never; `None`: whenever.
        expires_at_ms: Option<u64>,
    },
    /// Several requests at one go, if all checks among them hold.
    Transact {
        /// A key whose owner executes it: that of all keys in it.
        key: &'a [u8],
        /// Their frames, one behind the other.
        requests: &'a [u8],
    },
    /// What the meta commands of memcached can say.
    Meta(Meta<'a>),
    /// Make every entry of the group absent.
    Invalidate,
    /// Some keys of the group.
    Scan(ScanStep<'a>),
    /// Change a group of the node.
    AlterGroup(GroupAlteration<'a>),
    /// Say something about a node of the cluster.
    AlterNode(NodeAlteration<'a>),
    /// Whether the shard of this connection is there, and how far it has come.
    Ping,
    /// Counters of the node.
    Stats,
    /// The ring as this node knows it.
    Topology,
    /// The entries of the group that leave this shard, as they leave. Answered by whoever owns the connection, not by an
    /// engine: it is told again and again.
    Watch,
    /// First words of a connection. Answered by whoever owns the connection, not by an engine.
    Hello {
        /// The client's name for itself; UTF-8, at most [`crate::limits::CLIENT_NAME_BYTES_MAX`] bytes.
        client: &'a str,
        /// Version of the protocol that the client speaks.
        protocol: u32,
        /// What the client proves itself with; empty: nothing.
        credentials: &'a [u8],
        /// The shard that the client wants.
        shard: Option<u32>,
    },
    /// The entry, or the right to fill the key if it is not there. It waits while somebody else has that right.
    LeaseGet {
        /// The key.
        key: &'a [u8],
        /// How long the right is to last, in ms; 0: as long as is usual.
        lease_ms: u32,
    },
    /// What the holder of a lease fills the key with.
    LeaseSet {
        /// The entry.
        write: Write<'a>,
        /// What `LeaseGet` gave.
        token: u64,
    },
}

impl<'a> Command<'a> {
    /// The key of a command that is about one.
    pub fn key(&self) -> Option<&'a [u8]> {
        match *self {
            Command::Get { key }
            | Command::Set(Write { key, .. })
            | Command::Delete { key, .. }
            | Command::Touch { key, .. }
            | Command::GetAndTouch { key, .. }
            | Command::Increment { key, .. }
            | Command::Count { key, .. }
            | Command::Append { key, .. }
            | Command::Prepend { key, .. }
            | Command::Patch { key, .. }
            | Command::AddDecimal { key, .. }
            | Command::Look { key, .. }
            | Command::Check { key, .. }
            | Command::Transact { key, .. }
            | Command::Meta(Meta { key, .. })
            | Command::LeaseGet { key, .. }
            | Command::LeaseSet { write: Write { key, .. }, .. } => Some(key),
            Command::GetMany { .. }
            | Command::SetMany { .. }
            | Command::DeleteMany { .. }
            | Command::Invalidate
            | Command::Scan(_)
            | Command::AlterGroup(_)
            | Command::AlterNode(_)
            | Command::Ping
            | Command::Stats
            | Command::Topology
            | Command::Watch
            | Command::Hello { .. } => None,
        }
    }
}

impl Command<'_> {
    /// Whether executing the command twice leaves what executing it once does, so that it may be sent again when its
    /// answer was lost: then a lost reply is DEADLINE_EXCEEDED, else OUTCOME_UNKNOWN. This is the one place that decides
    /// it, for servers and clients.
    ///
    /// A plain set or delete may be repeated: it says what is to be there, and whoever sends it wants that now. What
    /// depends on what is there may not: with a condition or a named version, the second execution would report that
    /// the first one never was; increment, append and prepend would be applied twice.
    pub fn is_idempotent(&self) -> bool {
        match self {
            Command::Set(write) => write.is_idempotent(),
            Command::SetMany { entries } => entries.iter().all(|write| write.is_idempotent()),
            Command::Delete { version, .. } => *version == 0,
            // The token of a lease whose answer was lost is lost too: its time is waited for, and no harm is done.
            Command::LeaseSet { .. }
            | Command::Increment { .. }
            | Command::Count { .. }
            | Command::AddDecimal { .. }
            | Command::Append { .. }
            | Command::Prepend { .. }
            | Command::Transact { .. } => false,
            Command::Touch { only, .. } => *only == TouchCondition::Always,
            // As for leases, a claim whose answer was lost is lost too.
            Command::Meta(meta) => match meta.action {
                MetaAction::Get => true,
                MetaAction::Set | MetaAction::Delete => meta.version == 0 && meta.new_version == 0,
                _ => false,
            },
            Command::Get { .. }
            | Command::GetMany { .. }
            | Command::DeleteMany { .. }
            | Command::GetAndTouch { .. }
            | Command::Patch { .. }
            | Command::Look { .. }
            | Command::Check { .. }
            | Command::Invalidate
            | Command::Scan(_)
            | Command::AlterGroup(_)
            | Command::AlterNode(_)
            | Command::Ping
            | Command::Stats
            | Command::Topology
            | Command::Watch
            | Command::Hello { .. }
            | Command::LeaseGet { .. } => true,
        }
    }
}

/// An operation on one entry with all that the meta commands of memcached can say; what does not concern the action does not
/// count. See `Meta` in `larder.proto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta<'a> {
    /// The key.
    pub key: &'a [u8],
    /// What to do.
    pub action: MetaAction,
    /// What is stored, or added to a value.
    pub value: &'a [u8],
    /// Of what is stored or cleared.
    pub flags: u32,
    /// Only this version; 0: any.
    pub version: u64,
    /// What the entry's version is called from then on, if it is changed; 0: as it is.
    pub new_version: u64,
    /// When it expires; [`Expiry::Keep`]: that stays.
    pub expiry: Expiry,
    /// If the key is absent: have the asker fill it, or create it. Default, after some time, or at a time.
    pub created: Option<Expiry>,
    /// Have the asker fill an entry that expires within so many ms; 0: not.
    pub early_ms: u64,
    /// That is about the new time, and not about that before it.
    pub is_early_after: bool,
    /// What to add or to take away.
    pub delta: u64,
    /// The number that is created.
    pub initial: u64,
    /// The value is wanted.
    pub wants_value: bool,
    /// It is no access to the entry.
    pub is_unseen: bool,
    /// An older version will do, and what is stored is stale then; or what is there becomes stale.
    pub is_stale: bool,
}

/// What [`Meta`] does; the numbers are those of the native protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MetaAction {
    /// The entry is told.
    #[default]
    Get = 0,
    /// A value is stored.
    Set = 1,
    /// Only if the key is absent.
    Add = 2,
    /// Only if it is there.
    Replace = 3,
    /// It is added behind the value.
    Append = 4,
    /// It is added in front of the value.
    Prepend = 5,
    /// The entry goes.
    Delete = 6,
    /// The value goes, and the entry stays.
    Clear = 7,
    /// As [`Command::Count`], upwards.
    AddTo = 8,
    /// The same, downwards.
    TakeFrom = 9,
}

impl MetaAction {
    /// The action with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        use MetaAction::{Add, AddTo, Append, Clear, Delete, Get, Prepend, Replace, Set, TakeFrom};
        let all = [Get, Set, Add, Replace, Append, Prepend, Delete, Clear, AddTo, TakeFrom];
        all.get(number as usize).copied()
    }
}

/// What an operator says about a node; what is `None` stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeAlteration<'a> {
    /// Its id, at most [`crate::limits::NODE_NAME_BYTES_MAX`] bytes.
    pub node: &'a str,
    /// Its weight as text, or "default"; at most [`crate::limits::WEIGHT_BYTES_MAX`] bytes.
    pub weight: Option<&'a str>,
    /// Whether it is to own nothing.
    pub drain: Option<bool>,
}

/// One step of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanStep<'a> {
    /// Where to go on; empty: at the beginning. At most [`crate::limits::CURSOR_BYTES_MAX`] bytes.
    pub cursor: &'a [u8],
    /// About how many keys to look at; 0: whoever answers decides.
    pub count: u32,
    /// Which keys to show; empty: all. At most [`crate::limits::PATTERN_BYTES_MAX`] bytes.
    pub pattern: &'a [u8],
}

/// What is to become of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupAlteration<'a> {
    /// Its name, at most [`crate::limits::GROUP_NAME_BYTES_MAX`] bytes.
    pub name: &'a str,
    /// What.
    pub action: GroupAction,
    /// For some actions, settings as a JSON object of at most [`crate::limits::GROUP_SETTINGS_BYTES_MAX`] bytes.
    pub settings: &'a str,
}

/// What can be done about groups; the numbers are those of the native protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GroupAction {
    /// They are named, and none is changed.
    #[default]
    List = 0,
    /// There is one more.
    Create = 1,
    /// Some of its settings are others.
    Alter = 2,
    /// It is no more.
    Drop = 3,
}

/// One entry to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// Kept with the entry and not looked at.
    pub flags: u32,
    /// When to store at all.
    pub condition: Condition,
    /// When the entry expires.
    pub expiry: Expiry,
}

impl Write<'_> {
    /// As [`Command::is_idempotent`], for one entry.
    pub fn is_idempotent(&self) -> bool {
        self.condition == Condition::Always
    }
}

/// When a write takes place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    #[default]
    Always,
    /// Only if the key is absent.
    Absent,
    /// Only if the key is present.
    Present,
    /// Only if the key is present with this version.
    Version(u64),
}

/// The expiry of which entries a touch sets; the numbers are those of the native protocol. Who never expires does so later
/// than everybody else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TouchCondition {
    /// Of all.
    #[default]
    Always = 0,
    /// Of those that never expire.
    Lasting = 1,
    /// Of those that expire.
    Expiring = 2,
    /// Of those that expire earlier than they would then.
    Later = 3,
    /// Of those that expire later than they would then.
    Earlier = 4,
    /// Of those that expire, but later than they would then.
    ExpiringEarlier = 5,
}

impl TouchCondition {
    /// The condition with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        use TouchCondition::{Always, Earlier, Expiring, ExpiringEarlier, Lasting, Later};
        [Always, Lasting, Expiring, Later, Earlier, ExpiringEarlier].get(number as usize).copied()
    }
}

/// When an entry expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// After the default time of its group.
    #[default]
    Default,
    /// Never.
    Never,
    /// This many ms from now; at least 1.
    After(u64),
    /// At this time, in ms since the Unix epoch.
    At(u64),
    /// Like the entry that is there; the group's default if there is none.
    Keep,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WriteSpan;

    #[test]
    fn what_depends_on_what_is_there_is_not_idempotent() {
        let write = |condition| Write { key: b"k", value: b"v", flags: 0, condition, expiry: Expiry::Default };
        assert!(Command::Get { key: b"k" }.is_idempotent());
        assert!(Command::Set(write(Condition::Always)).is_idempotent());
        for condition in [Condition::Absent, Condition::Present, Condition::Version(1)] {
            assert!(!Command::Set(write(condition)).is_idempotent(), "{condition:?}");
            let spans = [WriteSpan::default(), WriteSpan { condition, ..WriteSpan::default() }];
            assert!(!Command::SetMany { entries: Writes::new(b"", &spans) }.is_idempotent(), "{condition:?}");
            assert!(Command::SetMany { entries: Writes::new(b"", &spans[..1]) }.is_idempotent());
        }
        assert!(Command::Delete { key: b"k", version: 0 }.is_idempotent());
        assert!(!Command::Delete { key: b"k", version: 1 }.is_idempotent());
        assert!(!Command::Append { key: b"k", value: b"v" }.is_idempotent());
        assert!(!Command::Prepend { key: b"k", value: b"v" }.is_idempotent());
        let touch = |only| Command::Touch { key: b"k", expiry: Expiry::Never, only };
        assert!(touch(TouchCondition::Always).is_idempotent() && !touch(TouchCondition::Later).is_idempotent());
        assert!(Command::Patch { key: b"k", offset: 3, value: b"v" }.is_idempotent());
        assert!(!Command::AddDecimal { key: b"k", delta: b"1" }.is_idempotent());
        assert!(!Command::Transact { key: b"k", requests: b"" }.is_idempotent());
        let increment = Command::Increment { key: b"k", delta: 0, initial: None, expiry: Expiry::Keep };
        assert!(!increment.is_idempotent());
        assert!(Command::GetAndTouch { key: b"k", expiry: Expiry::Never }.is_idempotent());
    }
}

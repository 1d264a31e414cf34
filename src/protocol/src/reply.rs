//! What is answered, in the terms of the engine. Borrowed from the memory where the values are, so that the encoder's
//! copy into the connection's buffer is the only one.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use larder_ring::{Node, Topology};

use crate::Removals;
use crate::native::generated::{AlteredGroup, ScanResult, StatsResult};

/// The answer to one [`crate::Command`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Reply<'a> {
    /// Done, and there is nothing to say (delete).
    Done,
    /// The key is not there.
    Miss,
    /// An entry (get, get_and_touch).
    Entry(Found<'a>),
    /// The result of each key (get_many).
    Entries(&'a dyn Entries),
    /// An entry was stored or touched; its version.
    Stored {
        /// The version.
        version: u64,
    },
    /// The value of an entry has another length (append, prepend, patch).
    Resized {
        /// The entry's version.
        version: u64,
        /// Length of its value, in bytes.
        value_bytes: u64,
    },
    /// What is known of an entry (look).
    Looked(Looked<Found<'a>>),
    /// The frames of the answers to the requests of a transaction, one behind the other.
    Transacted(&'a [u8]),
    /// The result of each key (set_many, delete_many).
    Outcomes(&'a dyn Outcomes),
    /// The number after an increment.
    Number {
        /// The number.
        value: i64,
        /// The version.
        version: u64,
    },
    /// The group was invalidated.
    Invalidated {
        /// How often, on this node.
        generation: u64,
    },
    /// The shard is there.
    Pong {
        /// The greatest epoch by which it has given up what it does not own any more.
        acknowledged: u64,
        /// Every version that it has given is below.
        version: u64,
        /// What the latest clock shows that it has heard of, in ms since the Unix epoch.
        clock_ms: u64,
    },
    /// The right to fill a key.
    Leased {
        /// For `LeaseSet`.
        token: u64,
        /// How long it lasts, in ms.
        lease_ms: u32,
    },
    /// Some keys.
    Scan(&'a ScanResult),
    /// The group was changed.
    Altered(&'a AlteredGroup),
    /// Entries that left.
    Removals(Removals<'a>),
    /// Counters.
    Stats(&'a StatsResult),
    /// The nodes.
    Topology(Members<'a>),
    /// Not done.
    Failed(&'a Failure),
}

/// The nodes of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Members<'a> {
    /// The ring of those that own something.
    pub topology: &'a Topology,
    /// Those that own nothing yet.
    pub joining: &'a [Node],
    /// Those that own nothing more.
    pub draining: &'a [Node],
}

/// An entry as a client is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The value.
    pub value: &'a [u8],
    /// As the writer set them.
    pub flags: u32,
    /// Its version, never 0.
    pub version: u64,
    /// What is left of its life in ms, at least 1; 0: it does not expire, or is stale.
    pub ttl_ms: u64,
    /// Its time is over, and its group shows it for a while longer.
    pub is_stale: bool,
}

/// An entry, and what is known of it beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked<E> {
    /// The entry, with an empty value if that was not asked for.
    pub entry: E,
    /// Length of its value, in bytes.
    pub value_bytes: u64,
    /// When it expires, in ms since the Unix epoch; 0: never.
    pub expires_at_ms: u64,
    /// The second in which it was last read or stored, in ms since the Unix epoch.
    pub accessed_ms: u64,
    /// Whether it was read since it was stored.
    pub is_hit: bool,
    /// Who is to fill it.
    pub claim: Claim,
}

/// Who is to fill a key, as far as that was asked for; the numbers are those of the native protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Claim {
    /// Nobody.
    #[default]
    Nobody = 0,
    /// Whoever asked.
    Won = 1,
    /// Somebody else.
    Taken = 2,
}

/// An entry as a server finds it; its fields are those of [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The value.
    pub value: Value<'a>,
    /// As the writer set them.
    pub flags: u32,
    /// Its version, never 0.
    pub version: u64,
    /// What is left of its life in ms, at least 1; 0: it does not expire, or is stale.
    pub ttl_ms: u64,
    /// Its time is over, and its group shows it for a while longer.
    pub is_stale: bool,
}

impl<'a> From<Entry<'a>> for Found<'a> {
    fn from(Entry { value, flags, version, ttl_ms, is_stale }: Entry<'a>) -> Self {
        Self { value: Value::Whole(value), flags, version, ttl_ms, is_stale }
    }
}

/// A value as the server's memory has it.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// In one run of bytes: nearly all of them.
    Whole(&'a [u8]),
    /// In several places: large ones.
    InPieces {
        /// Who knows the places.
        source: &'a dyn Pieces,
        /// Which of the values of that source.
        index: usize,
        /// Length of the value, in bytes.
        len: usize,
    },
}

/// Values that are not in one place.
pub trait Pieces: core::fmt::Debug {
    /// Appends value `index`, all of it.
    fn append(&self, index: usize, out: &mut Vec<u8>);
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |value: &Value<'_>| {
            let mut bytes = Vec::new();
            value.append_to(&mut bytes);
            bytes
        };
        match (self, other) {
            (Value::Whole(one), Value::Whole(other)) => one == other,
            _ => self.len() == other.len() && bytes(self) == bytes(other),
        }
    }
}

impl Eq for Value<'_> {}

impl Value<'_> {
    /// Its length, in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match *self {
            Value::Whole(bytes) => bytes.len(),
            Value::InPieces { len, .. } => len,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends all of it.
    ///
    /// # Panics
    /// If its source appends another number of bytes.
    #[inline]
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match *self {
            Value::Whole(bytes) => out.extend_from_slice(bytes),
            Value::InPieces { source, index, len } => {
                let end = out.len() + len;
                source.append(index, out);
                assert_eq!(out.len(), end, "a value is as long as it says");
            }
        }
    }
}

/// The results of a get_many, in the order asked: the entry, or why there is none ([`Status::NotFound`]: a miss).
pub trait Entries: core::fmt::Debug {
    /// How many keys were asked for.
    fn len(&self) -> usize;
    /// Whether none was.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The result of key `index`, below [`Entries::len`].
    fn entry(&self, index: usize) -> Result<Found<'_>, Status>;
}

/// The results of a set_many or delete_many, in the order sent: the version (0 after a delete), or why not.
pub trait Outcomes: core::fmt::Debug {
    /// How many keys were sent.
    fn len(&self) -> usize;
    /// Whether none was.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The result of key `index`, below [`Outcomes::len`].
    fn outcome(&self, index: usize) -> Result<u64, Status>;
}

/// Why a command was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind, for programs.
    pub status: Status,
    /// What is wrong and what to do, for a person; may be empty where the status says it all.
    pub message: Cow<'static, str>,
    /// When to try again at the earliest, in ms; 0: no hint.
    pub retry_after_ms: u32,
}

impl Failure {
    /// A failure that needs no hint when to try again.
    pub const fn new(status: Status, message: &'static str) -> Self {
        Self { status, message: Cow::Borrowed(message), retry_after_ms: 0 }
    }
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// The status of an answer; the numbers are those of `proto/larder.proto`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Status {
            $($(#[$doc])* $name = $number,)*
        }

        impl Status {
            /// Every status, in the order of the numbers.
            pub const ALL: &'static [Status] = &[$(Status::$name,)*];

            /// The status with this number on the wire.
            pub fn from_number(number: u64) -> Option<Status> {
                match number {
                    $($number => Some(Status::$name),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    /// Done.
    Ok = 0,
    /// A miss.
    NotFound = 1,
    /// The key is there, and the condition was that it is not.
    Exists = 2,
    /// The entry has another version.
    VersionMismatch = 3,
    /// A key, value, batch or pattern is above a limit, or the groups would have more memory than there is.
    TooLarge = 4,
    /// The value is no decimal integer.
    NotANumber = 5,
    /// The sum is outside 64 bits.
    OutOfRange = 6,
    /// There is no such group.
    NoSuchGroup = 7,
    /// Unknown operation, or not offered.
    NotSupported = 8,
    /// No valid message, or one that asks for what cannot be.
    BadRequest = 9,
    /// A bounded queue is full; not executed.
    Overloaded = 10,
    /// Out of time; not executed, or harmless to repeat.
    DeadlineExceeded = 11,
    /// It may or may not have been executed.
    OutcomeUnknown = 12,
    /// Not the owner; not executed.
    WrongOwner = 13,
    /// Cannot prove that it is the owner; not executed.
    OwnerUnsure = 14,
    /// Stopping, or something needed is missing; not executed, or harmless to repeat.
    Unavailable = 15,
    /// Credentials missing or wrong.
    Unauthenticated = 16,
    /// The group's origin has too much to do, or is left alone; nothing was changed.
    OriginBusy = 17,
    /// The group's origin did not give the value; nothing was kept.
    OriginFailed = 18,
    /// The lease of that token has ended, or the key was written since; nothing was changed.
    LeaseLost = 19,
}

//! Field numbers of `proto/larder.proto`, for the messages that are coded by hand. That they are right is what the
//! comparisons with the generated code show.

/// Fields of `Request`.
pub(super) mod request {
    pub(in crate::native) const ID: u32 = 1;
    pub(in crate::native) const EPOCH: u32 = 2;
    pub(in crate::native) const GROUP: u32 = 3;
    pub(in crate::native) const TIMEOUT_MS: u32 = 4;
    pub(in crate::native) const FORWARDED: u32 = 5;
}

/// Fields of `Request.operation`.
pub(super) mod operation {
    pub(in crate::native) const GET: u32 = 6;
    pub(in crate::native) const GET_MANY: u32 = 7;
    pub(in crate::native) const SET: u32 = 8;
    pub(in crate::native) const SET_MANY: u32 = 9;
    pub(in crate::native) const DELETE: u32 = 10;
    pub(in crate::native) const DELETE_MANY: u32 = 11;
    pub(in crate::native) const TOUCH: u32 = 12;
    pub(in crate::native) const GET_AND_TOUCH: u32 = 13;
    pub(in crate::native) const INCREMENT: u32 = 14;
    pub(in crate::native) const APPEND: u32 = 15;
    pub(in crate::native) const PREPEND: u32 = 16;
    pub(in crate::native) const LEASE_GET: u32 = 17;
    pub(in crate::native) const LEASE_SET: u32 = 18;
    pub(in crate::native) const INVALIDATE: u32 = 19;
    pub(in crate::native) const SCAN: u32 = 20;
    pub(in crate::native) const HELLO: u32 = 21;
    pub(in crate::native) const STATS: u32 = 22;
    pub(in crate::native) const TOPOLOGY: u32 = 23;
    pub(in crate::native) const WATCH: u32 = 24;
    pub(in crate::native) const ALTER_GROUP: u32 = 25;
    pub(in crate::native) const PING: u32 = 26;
    pub(in crate::native) const ALTER_NODE: u32 = 27;
    pub(in crate::native) const PATCH: u32 = 28;
    pub(in crate::native) const ADD_DECIMAL: u32 = 29;
    pub(in crate::native) const LOOK: u32 = 30;
    pub(in crate::native) const CHECK: u32 = 31;
    pub(in crate::native) const TRANSACT: u32 = 32;
    pub(in crate::native) const COUNT: u32 = 33;
    pub(in crate::native) const META: u32 = 34;
}

/// Fields of `Set`, `Delete`, `Touch`, `Increment`, `Append`, `Count`, `Patch`, `AddDecimal`, `Look`, `Check`, `Transact` and of the
/// messages with keys; the numbers of the fields that several have are the same in all.
pub(super) mod item {
    pub(in crate::native) const KEY: u32 = 1;
    pub(in crate::native) const VALUE: u32 = 2;
    pub(in crate::native) const FLAGS: u32 = 3;
    pub(in crate::native) const CONDITION: u32 = 4;
    pub(in crate::native) const VERSION: u32 = 5;
    pub(in crate::native) const TTL_MS: u32 = 6;
    pub(in crate::native) const EXPIRES_AT_MS: u32 = 7;
    pub(in crate::native) const KEEP_TTL: u32 = 8;
    /// The version in `Delete`.
    pub(in crate::native) const DELETE_VERSION: u32 = 2;
    pub(in crate::native) const DELTA: u32 = 2;
    pub(in crate::native) const INITIAL: u32 = 3;
    /// Whether `Count` takes away.
    pub(in crate::native) const DOWN: u32 = 4;
    /// The condition in `Touch`.
    pub(in crate::native) const ONLY: u32 = 4;
    pub(in crate::native) const OFFSET: u32 = 3;
    /// Whether `Look` wants the value.
    pub(in crate::native) const WANTS_VALUE: u32 = 2;
    /// The elements of `GetMany`, `SetMany`, `DeleteMany`, `Entries` and `Outcomes`.
    pub(in crate::native) const ELEMENT: u32 = 1;
}

/// Fields of `Meta` beside those of [`item`], whose condition is its action.
pub(super) mod meta {
    pub(in crate::native) const NEW_VERSION: u32 = 9;
    pub(in crate::native) const WANTS_VALUE: u32 = 10;
    pub(in crate::native) const UNSEEN: u32 = 11;
    pub(in crate::native) const STALE: u32 = 12;
    pub(in crate::native) const CREATED_TTL_MS: u32 = 13;
    pub(in crate::native) const CREATED_AT_MS: u32 = 14;
    pub(in crate::native) const EARLY_MS: u32 = 15;
    pub(in crate::native) const DELTA: u32 = 16;
    pub(in crate::native) const INITIAL: u32 = 17;
    pub(in crate::native) const EARLY_AFTER: u32 = 18;
}

/// Fields of `LeaseGet`, beside its key.
pub(super) mod lease_get {
    pub(in crate::native) const LEASE_MS: u32 = 2;
}

/// Fields of `LeaseSet`.
pub(super) mod lease_set {
    pub(in crate::native) const SET: u32 = 1;
    pub(in crate::native) const TOKEN: u32 = 2;
}

/// Fields of `Scan`.
pub(super) mod scan {
    pub(in crate::native) const CURSOR: u32 = 1;
    pub(in crate::native) const COUNT: u32 = 2;
    pub(in crate::native) const PATTERN: u32 = 3;
}

/// Fields of `AlterGroup`.
pub(super) mod alter_group {
    pub(in crate::native) const NAME: u32 = 1;
    pub(in crate::native) const ACTION: u32 = 2;
    pub(in crate::native) const SETTINGS: u32 = 3;
}

/// Fields of `AlterNode`.
pub(super) mod alter_node {
    pub(in crate::native) const NODE: u32 = 1;
    pub(in crate::native) const WEIGHT: u32 = 2;
    pub(in crate::native) const DRAIN: u32 = 3;
}

/// Fields of `Hello`.
pub(super) mod hello {
    pub(in crate::native) const PROTOCOL: u32 = 1;
    pub(in crate::native) const CLIENT: u32 = 2;
    pub(in crate::native) const CREDENTIALS: u32 = 3;
    pub(in crate::native) const SHARD: u32 = 4;
}

/// Fields of `Response`.
pub(super) mod response {
    pub(in crate::native) const ID: u32 = 1;
    pub(in crate::native) const EPOCH: u32 = 2;
    pub(in crate::native) const STATUS: u32 = 3;
    pub(in crate::native) const MESSAGE: u32 = 4;
    pub(in crate::native) const RETRY_AFTER_MS: u32 = 5;
}

/// Fields of `Response.result`.
pub(super) mod result {
    pub(in crate::native) const ENTRY: u32 = 6;
    pub(in crate::native) const ENTRIES: u32 = 7;
    pub(in crate::native) const STORED: u32 = 8;
    pub(in crate::native) const OUTCOMES: u32 = 9;
    pub(in crate::native) const NUMBER: u32 = 10;
    pub(in crate::native) const HELLO: u32 = 11;
    pub(in crate::native) const STATS: u32 = 12;
    pub(in crate::native) const TOPOLOGY: u32 = 13;
    pub(in crate::native) const INVALIDATED: u32 = 14;
    pub(in crate::native) const SCAN: u32 = 15;
    pub(in crate::native) const ALTERED_GROUP: u32 = 16;
    pub(in crate::native) const PONG: u32 = 17;
    pub(in crate::native) const LEASED: u32 = 18;
    pub(in crate::native) const LOOKED: u32 = 19;
    pub(in crate::native) const TRANSACTED: u32 = 20;
    pub(in crate::native) const REMOVALS: u32 = 40;
}

/// Fields of `Removals`, whose elements are [`item::ELEMENT`], and of `Removed`.
pub(super) mod removals {
    pub(in crate::native) const MISSED: u32 = 2;
    pub(in crate::native) const KEY: u32 = 1;
    pub(in crate::native) const REASON: u32 = 2;
    pub(in crate::native) const BYTES: u32 = 3;
}

/// Fields of `Entry`.
pub(super) mod entry {
    pub(in crate::native) const VALUE: u32 = 1;
    pub(in crate::native) const FLAGS: u32 = 2;
    pub(in crate::native) const VERSION: u32 = 3;
    pub(in crate::native) const TTL_MS: u32 = 4;
    pub(in crate::native) const STATUS: u32 = 5;
    pub(in crate::native) const STALE: u32 = 6;
}

/// Fields of `Looked`.
pub(super) mod looked {
    pub(in crate::native) const ENTRY: u32 = 1;
    pub(in crate::native) const VALUE_BYTES: u32 = 2;
    pub(in crate::native) const EXPIRES_AT_MS: u32 = 3;
    pub(in crate::native) const ACCESSED_MS: u32 = 4;
    pub(in crate::native) const HIT: u32 = 5;
    pub(in crate::native) const CLAIM: u32 = 6;
}

/// Fields of `Transacted`.
pub(super) mod transacted {
    pub(in crate::native) const RESPONSES: u32 = 1;
}

/// Fields of `Stored`, `Outcome`, `Number`, `Invalidated` and `Pong`.
pub(super) mod outcome {
    pub(in crate::native) const STORED_VERSION: u32 = 1;
    pub(in crate::native) const VALUE_BYTES: u32 = 2;
    pub(in crate::native) const STATUS: u32 = 1;
    pub(in crate::native) const VERSION: u32 = 2;
    pub(in crate::native) const NUMBER_VALUE: u32 = 1;
    pub(in crate::native) const GENERATION: u32 = 1;
    pub(in crate::native) const ACKNOWLEDGED: u32 = 1;
    pub(in crate::native) const CLOCK_MS: u32 = 3;
    pub(in crate::native) const TOKEN: u32 = 1;
    pub(in crate::native) const LEASE_MS: u32 = 2;
}

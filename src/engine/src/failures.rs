//! Failures that are answered often: made once, so that refusing costs nothing.

use alloc::borrow::Cow;

use larder_protocol::{Failure, Status};
use larder_store::StoreError;

use crate::limits::{FLIGHTS_RETRY_AFTER_MS, LINK_BACKOFF_MS_MIN, RETRY_AFTER_MS, WATCH_RETRY_AFTER_MS};

static EXISTS: Failure = Failure::new(Status::Exists, "the key is there, and the condition is about others");
pub(crate) static VERSION_MISMATCH: Failure = Failure::new(Status::VersionMismatch, "the entry has another version");
static TOO_LARGE: Failure = Failure::new(
    Status::TooLarge,
    "the value is above the server's limit, or its entry above the group's budget per shard",
);
pub(crate) static NO_ROOM: Failure =
    Failure::new(Status::TooLarge, "it was executed; the answers to the transaction are too long to be sent together");
static NOT_A_NUMBER: Failure = Failure::new(Status::NotANumber, "the value is no decimal integer of 64 bits");
static OUT_OF_RANGE: Failure = Failure::new(Status::OutOfRange, "the sum is outside 64 bits");
pub(crate) static OVERLOADED: Failure = Failure {
    status: Status::Overloaded,
    message: Cow::Borrowed("too much waits between the shard that was asked and the key's; not executed, try again"),
    retry_after_ms: RETRY_AFTER_MS,
};
pub(crate) static WATCHERS: Failure = Failure {
    status: Status::Overloaded,
    message: Cow::Borrowed("this shard has 16 watchers, as many as may be; end one of them, or try again"),
    retry_after_ms: WATCH_RETRY_AFTER_MS,
};
pub(crate) static PEER_OVERLOADED: Failure = Failure {
    status: Status::Overloaded,
    message: Cow::Borrowed("too much waits between the node that was asked and the key's; not executed, try again"),
    retry_after_ms: RETRY_AFTER_MS,
};
pub(crate) static FLIGHTS_FULL: Failure = Failure {
    status: Status::OriginBusy,
    message: Cow::Borrowed(
        "as many keys of this shard are being loaded or leased as may be; nothing was changed, try again",
    ),
    retry_after_ms: FLIGHTS_RETRY_AFTER_MS,
};
pub(crate) static LEASE_LOST: Failure = Failure::new(
    Status::LeaseLost,
    "the lease has ended, or the key was written or invalidated since, or has another owner; nothing was changed",
);
pub(crate) static GROUP_DROPPED: Failure = Failure::new(Status::NoSuchGroup, "the group was dropped meanwhile");
pub(crate) static UNREACHABLE: Failure = Failure {
    status: Status::Unavailable,
    message: Cow::Borrowed(
        "the node of the key cannot be reached, and is tried again within a second; harmless to repeat",
    ),
    retry_after_ms: LINK_BACKOFF_MS_MIN as u32,
};
pub(crate) static LOST: Failure = Failure::new(
    Status::OutcomeUnknown,
    "the node of the key is gone; it may have executed this: read before repeating",
);
pub(crate) static BEHIND: Failure = Failure {
    status: Status::OwnerUnsure,
    message: Cow::Borrowed("this node does not know the ring yet by which it was asked; not executed, try again"),
    retry_after_ms: RETRY_AFTER_MS,
};
pub(crate) static UNPROVEN: Failure = Failure {
    status: Status::OwnerUnsure,
    message: Cow::Borrowed("this node cannot prove that it owns the key; not executed, try again"),
    retry_after_ms: RETRY_AFTER_MS,
};
pub(crate) static DEADLINE_EXCEEDED: Failure =
    Failure::new(Status::DeadlineExceeded, "no answer in time; harmless to repeat");
pub(crate) static OUTCOME_UNKNOWN: Failure =
    Failure::new(Status::OutcomeUnknown, "no answer in time; it may have been executed: read before repeating");

/// What a request is answered whose time is up.
pub(crate) fn late(is_idempotent: bool) -> &'static Failure {
    if is_idempotent { &DEADLINE_EXCEEDED } else { &OUTCOME_UNKNOWN }
}

/// What stands for a miss among failures. Answered as a miss, never as a failure.
static NOT_FOUND: Failure = Failure::new(Status::NotFound, "");

/// How a refusal of the store is answered.
pub(crate) fn of_store(error: StoreError) -> &'static Failure {
    match error {
        StoreError::NotFound => &NOT_FOUND,
        StoreError::Exists => &EXISTS,
        StoreError::VersionMismatch => &VERSION_MISMATCH,
        StoreError::TooLarge => &TOO_LARGE,
        StoreError::NotANumber => &NOT_A_NUMBER,
        StoreError::OutOfRange => &OUT_OF_RANGE,
        error => unreachable!("the store refuses with {error:?}, for which there is no status"),
    }
}

/// The ready-made failure that equals one that another shard sent.
pub(crate) fn ready_made(status: Status, message: &str) -> Option<&'static Failure> {
    let failure = match status {
        Status::Exists => &EXISTS,
        Status::VersionMismatch => &VERSION_MISMATCH,
        Status::TooLarge => &TOO_LARGE,
        Status::NotANumber => &NOT_A_NUMBER,
        Status::OutOfRange => &OUT_OF_RANGE,
        Status::Overloaded => &OVERLOADED,
        Status::LeaseLost => &LEASE_LOST,
        Status::OwnerUnsure => &UNPROVEN,
        _ => return None,
    };
    (failure.message == message).then_some(failure)
}

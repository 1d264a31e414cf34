//! Every bound of the engine, and how they relate.

use larder_protocol::limits::{
    FRAME_BYTES_MAX, KEY_BYTES_MAX, PIPELINE_MAX, RESULT_ENVELOPE_BYTES_MAX, SCAN_BYTES_MAX, TRANSACT_REQUESTS_MAX,
    VALUE_BYTES_DEFAULT, VALUE_BYTES_MAX,
};
use larder_store::limits::HOME_ENTRIES_MAX;

/// Most requests that one shard has unanswered at another one; more are refused with OVERLOADED. One part of a
/// multi-key request counts as one.
pub const LANE_CREDITS: usize = 4 << 10;
/// Most batches that a lane holds at once: handed out by one engine and not yet received by the other. A queue of this
/// many places between two shards never overflows.
///
/// Why: every batch begins with the number of batches that its sender has received on the opposite lane
/// ([`BATCH_HEADER_BYTES`]), so a sender knows a lower bound of what has arrived. It hands out a batch with records only
/// while fewer than `LANE_BATCHES_MAX - LANE_BATCHES_RESERVED` are unconfirmed, and one without records only while fewer
/// than `LANE_BATCHES_MAX` are. Records that have to wait are collected in fuller batches.
///
/// Why this never stands still: a receiver owes a confirmation after [`CONFIRM_BATCHES`] batches and sends it without
/// records if there are none. Say both directions are full. The last place of each was taken by a batch without records,
/// which confirms at least `CONFIRM_BATCHES` batches of the other direction as soon as it is received, and so gives
/// it room.
pub const LANE_BATCHES_MAX: usize = 64;
/// Places of a lane that only a batch without records may take.
pub const LANE_BATCHES_RESERVED: usize = 1;
/// After how many unconfirmed batches a receiver owes a confirmation.
pub const CONFIRM_BATCHES: u64 = LANE_BATCHES_MAX as u64 / 2;
/// Bytes that records share a batch up to. A longer record travels alone, in a buffer of its own.
pub const BATCH_BYTES: usize = 4 << 10;
/// Bytes in front of the records of a batch: how many batches the sender has received on the opposite lane,
/// little-endian.
pub const BATCH_HEADER_BYTES: usize = 8;
/// Most bytes of unanswered requests, or of replies that are not known to have arrived, per lane. A single record above
/// it passes when the lane has no replies, so that the largest value can always travel. Replies without values always
/// pass: they are bounded by the credits and bytes of their requests (at most 40 bytes for each, 16 of them to say that it
/// takes long, or 13 per key of several). A get_and_touch or a transaction cannot be taken back once executed, so its
/// answer passes while the lane is below the bound.
pub const LANE_BYTES_MAX: usize = 8 << 20;
/// Most digits of an integer without a sign of 64 bits.
pub const UNSIGNED_BYTES_MAX: usize = 20;
/// Longest text that is taken for a decimal fraction, in bytes.
pub const DECIMAL_BYTES_MAX: usize = 256;
/// Most requests of one shard that one shard of another node has not answered; more are refused with OVERLOADED.
pub const LINK_CREDITS: usize = 4 << 10;
/// Most bytes of unanswered requests per link. A single request above it passes when nothing else is unanswered.
pub const LINK_BYTES_MAX: usize = 8 << 20;
/// Most bytes of requests of one shard that other nodes have not answered, over all links.
pub const PEERS_BYTES_MAX: usize = 64 << 20;
/// How long a link that was lost refuses requests at once, in ms: from half of this, twice as long after each failure,
/// up to [`LINK_BACKOFF_MS_MAX`].
pub const LINK_BACKOFF_MS_MIN: u64 = 20;
/// See [`LINK_BACKOFF_MS_MIN`].
pub const LINK_BACKOFF_MS_MAX: u64 = 1_000;
/// A link that answers nothing for so long although it was asked is given up, in ms.
pub const LINK_SILENCE_MS: u64 = 3_000;
/// How often links are looked at for that, in ms.
pub const LINK_CHECK_MS: u64 = LINK_SILENCE_MS / 4;
/// After how many ms a request is tried again that its owner refused because it is not sure, or before it knows the ring
/// by which it is the owner.
pub const TRY_AGAIN_MS: u64 = 5;
/// How often a request is sent to another owner because the one before was none.
pub const REROUTES_MAX: u32 = 1;
/// Requests that are routed again in one call of `wake`.
pub const ROUTED_AGAIN_MAX: usize = 1 << 10;
/// Most empty buffers for frames that are kept for reuse, up to [`KEPT_BYTES_MAX`] each.
pub const FRAMES_KEPT_MAX: usize = 256;
/// Most requests of one shard that wait for others; more are refused with OVERLOADED.
pub const WAITING_MAX: usize = 64 << 10;
/// Most tickets that one call says are delayed; see [`crate::Engine::delayed`].
pub const DELAYED_MAX: usize = 1 << 10;
/// Most requests of one caller to one other shard that are kept count of together.
pub const RUN_MAX: usize = 16;
/// Most bytes of values that unfinished get_many requests of one shard hold. A key whose value does not fit is
/// answered OVERLOADED, or TOO_LARGE if its own request holds that much.
pub const GATHER_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// Deadlines that one call of `wake` handles, and the rest of the run of the last: up to [`RUN_MAX`] - 1 more.
pub const EXPIRE_STEPS_MAX: usize = 1 << 10;
/// Requests, or keys of one, whose memory is asked for at a time.
pub const PREFETCH_REQUESTS: usize = larder_store::limits::PREFETCH_HASHES;
/// Keys that a step of a scan looks at unless it is told another number.
pub const SCAN_COUNT_DEFAULT: u32 = 100;
/// Most keys that a step of a scan looks at, beside those that lie together with the last.
pub const SCAN_COUNT_MAX: u32 = 1_000;
/// A step of a scan stops when the keys that it has looked at have this many bytes.
pub const SCAN_KEY_BYTES: usize = 256 << 10;
/// Most watchers of one shard; more are refused with OVERLOADED. Each has its buffer reserved: 352 KiB of addresses, of
/// which memory is taken for what waits at most.
pub const WATCHERS_MAX: usize = 16;
/// When who was refused because of [`WATCHERS_MAX`] should come back, in ms.
pub const WATCH_RETRY_AFTER_MS: u32 = 1_000;
/// When a client that was refused with OVERLOADED should come back, in ms: some turns of a busy shard.
pub const RETRY_AFTER_MS: u32 = 5;
/// Most empty batch buffers that are kept for reuse, [`BATCH_BYTES`] each.
pub const BUFFERS_KEPT_MAX: usize = 4 * LANE_BATCHES_MAX;
/// Most finished gathers that are kept for reuse.
pub const GATHERS_KEPT_MAX: usize = 64;
/// Longest buffer that is kept with something that is reused; a longer one is given back.
pub const KEPT_BYTES_MAX: usize = 64 << 10;

/// An exchange of epochs with another member proves for so long that this node is up to date, in ms.
pub const EXCHANGE_MS: u64 = 1000;
/// How often members exchange epochs, in ms.
pub const PING_MS: u64 = 1000;
/// The same while registrations are kept by nobody.
pub const EXCHANGE_PING_MS: u64 = 250;
/// How often those are asked whose acknowledgement keeps slots shut.
pub const SHUT_PING_MS: u64 = 5;
/// Sets of slots that wait for the acknowledgements of different processes; more wait together.
pub const WAITS_MAX: usize = 8 << 10;
/// Orders for the whole cluster that one shard has not seen followed, or not seen acknowledged by all.
pub const CLUSTER_ORDERS_MAX: usize = 16;
/// Clocks of nodes may part by so much more than they did when they were compared last, in ms.
pub const CLOCK_MARGIN_MS: u64 = 1000;
/// Names of values that a shard keeps for origins.
pub const ETAGS_MAX: usize = 16 << 10;
/// Bytes of them and their keys.
pub const ETAGS_BYTES_MAX: usize = 2 << 20;
/// The longest of them that is kept.
pub const ETAG_BYTES_MAX: usize = 256;
/// Versions that a shard knows under the names that clients gave them.
pub const NAMES_MAX: usize = 64 << 10;
/// Keys that one shard has loaded at a time.
pub const FLIGHTS_MAX: usize = 16 << 10;
/// Whoever loads a key has answered within this time, in ms; nobody joins an older flight.
pub const FLIGHT_MS_MAX: u64 = 120_000;
/// How long a lease lasts whose asker does not say, in ms.
pub const LEASE_MS_DEFAULT: u32 = 5_000;
/// The longest that can be asked for; more is cut.
pub const LEASE_MS_MAX: u32 = 60_000;
/// When to try again what was refused because so many are loaded, in ms.
pub const FLIGHTS_RETRY_AFTER_MS: u32 = 100;
/// Keys that one shard knows to be nowhere: beyond, the oldest are forgotten.
pub const ABSENT_KEYS_MAX: usize = 32 << 10;
/// The same of their bytes.
pub const ABSENT_BYTES_MAX: usize = 2 << 20;

/// Most bytes of an encoded request (or of its reply) beside keys, values and messages.
pub(crate) const ENVELOPE_BYTES_MAX: usize = 128;
/// Most bytes that a key takes in an encoded get_many or delete_many beside itself.
pub(crate) const KEY_ENVELOPE_BYTES_MAX: usize = 6;
/// Most bytes that an entry takes in an encoded set_many or get_many reply beside its key and value.
pub(crate) const ENTRY_ENVELOPE_BYTES_MAX: usize = 64;
/// Most bytes that an entry takes in the reply to a look, beside its value.
pub(crate) const LOOKED_ENVELOPE_BYTES_MAX: usize = ENTRY_ENVELOPE_BYTES_MAX + 64;
/// Bytes that each answer of a transaction has for certain: those of one that is refused for want of room.
pub(crate) const REFUSED_BYTES_MAX: usize = 2 * ENVELOPE_BYTES_MAX;
/// Most bytes of the outcome of one key of a set_many or delete_many.
pub(crate) const OUTCOME_BYTES_MAX: usize = 16;

const _: () = assert!(
    SCAN_KEY_BYTES
        + HOME_ENTRIES_MAX * (KEY_BYTES_MAX + KEY_ENVELOPE_BYTES_MAX)
        + ENVELOPE_BYTES_MAX
        + SCAN_COUNT_MAX as usize * KEY_ENVELOPE_BYTES_MAX
        <= SCAN_BYTES_MAX,
    "the keys of a step fit into an answer, those that lie together with the last included"
);
const _: () = assert!(WAITS_MAX < u16::MAX as usize, "the number of a wait is 16 bits, and 0 is none");
const _: () = assert!(2 * EXCHANGE_PING_MS < EXCHANGE_MS, "an exchange that takes its time is not missed at once");
const _: () = assert!(WATCHERS_MAX == 16, "who is refused is told this number, and so does the protocol");
const _: () = assert!(PEERS_BYTES_MAX >= LINK_BYTES_MAX && WAITING_MAX >= LINK_CREDITS);
const _: () = assert!(LINK_CREDITS >= PIPELINE_MAX, "one connection may pipeline to its limit for one other node");
const _: () = assert!(LANE_CREDITS >= PIPELINE_MAX, "one connection may pipeline to its limit for one other shard");
const _: () = assert!(WAITING_MAX >= LANE_CREDITS, "a lane's credits can be used up");
const _: () = assert!(LANE_BATCHES_RESERVED >= 1 && LANE_BATCHES_RESERVED < LANE_BATCHES_MAX / 2);
const _: () = assert!(CONFIRM_BATCHES >= 2, "confirmations of confirmations die out");
const _: () =
    assert!(CONFIRM_BATCHES as usize + LANE_BATCHES_RESERVED < LANE_BATCHES_MAX, "owed before a lane is full");
const _: () = assert!(BATCH_BYTES >= BATCH_HEADER_BYTES + ENVELOPE_BYTES_MAX, "a batch holds a record");
const _: () =
    assert!(LANE_BYTES_MAX >= VALUE_BYTES_DEFAULT, "a value of the default limit does not need an empty lane");
const _: () = assert!(GATHER_BYTES_MAX >= VALUE_BYTES_MAX, "the largest value can be gathered");
const _: () = assert!(GATHER_BYTES_MAX <= u32::MAX as usize, "places in a gather are 32 bits");
const _: () = assert!(
    VALUE_BYTES_MAX + KEY_BYTES_MAX + ENVELOPE_BYTES_MAX + ENTRY_ENVELOPE_BYTES_MAX <= FRAME_BYTES_MAX,
    "the largest entry can be passed on, alone or as a part of a set_many"
);
const _: () = assert!(
    TRANSACT_REQUESTS_MAX * REFUSED_BYTES_MAX + RESULT_ENVELOPE_BYTES_MAX <= FRAME_BYTES_MAX,
    "a transaction has room for an answer to each of its requests"
);

//! Every bound of the client, and how they relate. Settings of the [`crate::Builder`] are checked against these.

use std::time::Duration;

use larder_protocol::limits::{FRAME_BYTES_MAX, FRAME_PREFIX_BYTES, KEYS_MAX, PIPELINE_MAX};

/// Most addresses that a builder takes.
pub const ADDRESSES_MAX: usize = 1024;
/// Most connections to one node that may be set: one for each shard that a node can have.
pub const CONNECTIONS_PER_NODE_MAX: usize = larder_ring::SHARDS_MAX as usize;
/// Most connections to one node, unless set.
pub const CONNECTIONS_PER_NODE_DEFAULT: usize = 64;

/// Requests of one connection that wait for an answer, unless set or limited further by the server.
pub const IN_FLIGHT_DEFAULT: usize = PIPELINE_MAX;
/// Bytes of one connection that wait to be written, unless set. A frame larger than this goes when it is alone.
pub const WRITE_QUEUE_BYTES_DEFAULT: usize = 4 << 20;
/// Most bytes that the write queue of a connection may be set to.
pub const WRITE_QUEUE_BYTES_MAX: usize = 1 << 30;
/// Calls of one connection that exist at the same time, answered ones included that nobody has looked at yet.
pub const CALLS_MAX: usize = 1 << 24;

/// Bytes that a connection has room for at least before each read.
pub const READ_BYTES: usize = 64 << 10;
/// Answers of one read that a connection keeps room for.
pub const ANSWERS_KEPT: usize = 1 << 10;
/// A write buffer that grew beyond this many bytes is given back after use.
pub const WRITE_BUFFER_KEEP_BYTES: usize = 256 << 10;
/// Frames up to this size are encoded into the buffer that several callers share; larger ones have one of their own, so
/// that nobody waits while a long value is copied.
pub const SHARED_FRAME_BYTES_MAX: usize = 16 << 10;
/// Room that is counted for all fields of a request but key and value.
pub const REQUEST_OVERHEAD_BYTES: usize = 96;
/// Room that is counted for the fields of one entry of a batch but key and value.
pub const BATCH_ENTRY_OVERHEAD_BYTES: usize = 64;
/// A batch is cut into frames of about this size, so that one large batch does not hold up a whole connection.
pub const BATCH_FRAME_BYTES: usize = 1 << 20;
/// Keys of one call of a `…_many` operation.
pub const BATCH_KEYS_MAX: usize = 1 << 20;
/// Frames of one batch that are under way at the same time.
pub const BATCH_FRAMES_AT_ONCE: usize = 64;

/// Answers of a watch that wait for its reader, beside the one that each connection holds. While so many do, nothing is read.
pub const WATCH_BATCHES_MAX: usize = 8;
/// Shards that a watch connects to at the same time.
pub const WATCH_CONNECTS_AT_ONCE: usize = 16;
/// Between two connects of a watch to a shard that had no room for the connection.
pub const WATCH_PAUSE: Duration = Duration::from_millis(50);

/// From the start of a connect to the answer of Hello, unless set.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
/// One attempt of a call, unless set.
pub const ATTEMPT_TIMEOUT_DEFAULT: Duration = Duration::from_millis(500);
/// A whole call, unless set.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(2);
/// Longest time that any of them may be set to.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);
/// A connection on which requests wait and nothing was received for this many attempt time-outs is given up.
pub const STALL_ATTEMPTS: u32 = 4;
/// How often a connection looks whether it is stalled, per stall time.
pub const STALL_CHECKS: u32 = 8;

/// First pause before a reconnect, unless set.
pub const RECONNECT_PAUSE_MIN_DEFAULT: Duration = Duration::from_millis(10);
/// Longest pause before a reconnect, unless set.
pub const RECONNECT_PAUSE_MAX_DEFAULT: Duration = Duration::from_secs(1);
/// So many connects in a row must fail before calls fail at once; until then they wait, which hides a restart.
pub const FAILURES_UNTIL_DOWN: u32 = 5;
/// A connection that lived this long clears the count of failures before it.
pub const STABLE_AFTER: Duration = Duration::from_secs(1);
/// Shortest time between two refreshes of the topology.
pub const REFRESH_INTERVAL: Duration = Duration::from_millis(500);

/// Attempts of one call, the first included, unless set.
pub const ATTEMPTS_DEFAULT: u32 = 4;
/// Most attempts of one call that may be set.
pub const ATTEMPTS_MAX: u32 = 100;
/// Retries in percent of the calls, unless set.
pub const RETRY_PERCENT_DEFAULT: u32 = 10;
/// Retries that are possible at once after a quiet time, unless set.
pub const RETRY_BURST_DEFAULT: u32 = 64;
/// Most retries that may be set to be possible at once.
pub const RETRY_BURST_MAX: u32 = 1 << 20;
/// First pause before a retry, unless set.
pub const RETRY_PAUSE_MIN_DEFAULT: Duration = Duration::from_millis(2);
/// Longest pause before a retry, unless set. A hint of the server may be longer.
pub const RETRY_PAUSE_MAX_DEFAULT: Duration = Duration::from_millis(200);

const _: () = assert!(IN_FLIGHT_DEFAULT <= CALLS_MAX, "each request in flight is a call");
const _: () = assert!(CONNECTIONS_PER_NODE_DEFAULT <= CONNECTIONS_PER_NODE_MAX);
const _: () = assert!(PIPELINE_MAX <= CALLS_MAX, "each request in flight is a call");
const _: () = assert!(SHARED_FRAME_BYTES_MAX < WRITE_BUFFER_KEEP_BYTES, "a shared buffer takes several frames");
const _: () = assert!(BATCH_FRAME_BYTES <= FRAME_BYTES_MAX, "a batch frame is a frame");
const _: () = assert!(KEYS_MAX <= BATCH_KEYS_MAX, "a batch has room for at least one full frame");
const _: () = assert!(WRITE_QUEUE_BYTES_MAX <= u32::MAX as usize, "permits are taken as 32 bits");
const _: () = assert!(FRAME_BYTES_MAX + FRAME_PREFIX_BYTES <= u32::MAX as usize, "a frame is charged as 32 bits");
const _: () = assert!(FAILURES_UNTIL_DOWN > 0, "a failure is needed to be down");

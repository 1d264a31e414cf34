//! Every bound of the server, and how they relate.

use crate::shard::RingSize;

/// The core numbers that can be named, from 0 up to here exclusive: what the kernel's affinity masks of common builds
/// hold.
pub const CORES_MAX: usize = 1024;
/// Most `memory` per shard, in bytes.
pub const MEMORY_PER_SHARD_BYTES_MAX: u64 = larder_store::limits::REGION_BYTES_MAX;
/// Least `memory` per shard, in bytes: less is all overhead.
pub const MEMORY_PER_SHARD_BYTES_MIN: u64 = 1 << 20;
/// `memory` unless configured, in bytes.
pub const MEMORY_BYTES_DEFAULT: u64 = 256 << 20;
/// Most groups of a server.
pub const GROUPS_MAX: usize = 256;
/// Longest time to live that can be configured, in milliseconds: ten years of 365 days.
pub const TTL_MS_MAX: u64 = 10 * 365 * 24 * 3600 * 1000;
/// Longest name of a cluster, in bytes.
pub const CLUSTER_NAME_BYTES_MAX: usize = 64;
/// Deadline of a request that names none, unless configured, in milliseconds.
pub const REQUEST_TIMEOUT_MS_DEFAULT: u64 = 1_000;
/// Longest default deadline that can be configured, in milliseconds.
pub const REQUEST_TIMEOUT_MS_MAX: u64 = 10 * 60 * 1000;
/// How long a stopping server may take, unless configured, in milliseconds.
pub const STOP_TIMEOUT_MS_DEFAULT: u64 = 5_000;
/// Longest time that a stopping server can be given, in milliseconds.
pub const STOP_TIMEOUT_MS_MAX: u64 = 60 * 60 * 1000;
/// Most client connections at the same time, unless configured.
pub const CONNECTIONS_DEFAULT: u32 = 16_384;
/// Most client connections at the same time that can be configured.
pub const CONNECTIONS_MAX: u32 = 1 << 20;
/// Longest configuration file, in bytes.
pub const CONFIG_FILE_BYTES_MAX: u64 = 1 << 20;
/// Connections that the kernel has accepted and the server not yet, per listener. The kernel lowers it to
/// `net.core.somaxconn`.
pub const LISTEN_BACKLOG: i32 = 4096;
/// How long an address in use is tried again, in milliseconds: sockets of a process that has just ended take some time
/// to go.
pub const LISTEN_RETRY_MS_MAX: u64 = 1_000;
/// Between two such tries, in milliseconds.
pub const LISTEN_RETRY_PAUSE_MS: u64 = 20;
/// Least memory that an executor must be allowed to lock, in bytes; with less it does not start, not even for root.
pub const MEMLOCK_BYTES_MIN: u64 = 512 << 10;
/// What the three rings of an executor lock if they may, in bytes: its 64 KiB of I/O memory, once for each.
pub const MEMLOCK_PER_SHARD_BYTES: u64 = 3 * (64 << 10);
/// Files that the server opens beside those of shards and connections; 11 when this was written.
pub const FILES_BASE: u64 = 64;
/// Files that a shard opens: rings, event descriptors, its listener, its end of the mesh; 8 when this was written.
pub const FILES_PER_SHARD: u64 = 16;
/// Entries of the ring that is made to see whether it can be made.
pub const PROBE_RING_ENTRIES: u32 = 2;

const _: () =
    assert!(MEMORY_PER_SHARD_BYTES_MIN >= larder_store::limits::MEMORY_BYTES_MIN, "the store accepts every memory");
const _: () = assert!(
    larder_store::limits::SEGMENT_BYTES_MIN as u64 >= larder_store::limits::BUDGET_BYTES_MIN,
    "the store accepts every group of a segment"
);
const _: () = assert!(GROUPS_MAX <= larder_store::limits::GROUPS_MAX, "the store has room for every group");
const _: () = assert!(MEMORY_BYTES_DEFAULT <= MEMORY_PER_SHARD_BYTES_MAX);
const _: () = assert!(REQUEST_TIMEOUT_MS_DEFAULT <= REQUEST_TIMEOUT_MS_MAX);
const _: () = assert!(REQUEST_TIMEOUT_MS_MAX <= u32::MAX as u64, "deadlines are 32 bits on the wire");
const _: () = assert!(LISTEN_RETRY_PAUSE_MS < LISTEN_RETRY_MS_MAX);
/// Most commands of a RESP connection that wait for EXEC: as many as a transaction may have requests; further ones are refused,
/// and so is EXEC.
pub const RESP_QUEUED_MAX: usize = larder_protocol::limits::TRANSACT_REQUESTS_MAX / 2;
/// Most bytes of them.
pub const RESP_QUEUED_BYTES_MAX: usize = 16 << 20;
/// Most keys that a RESP connection watches; a WATCH of more is refused.
pub const RESP_WATCHED_MAX: usize = 256;
/// Longest answer to KEYS, in bytes; a longer one is refused.
pub const RESP_KEYS_BYTES_MAX: usize = 16 << 20;
/// Most steps that RANDOMKEY makes through the index before it says that there is no key.
pub const RESP_RANDOM_STEPS_MAX: usize = 10_000;
/// Most databases that RESP connections can choose from.
pub const RESP_DATABASES_MAX: usize = 256;

const _: () = assert!(
    2 * RESP_QUEUED_MAX + RESP_WATCHED_MAX <= larder_protocol::limits::TRANSACT_REQUESTS_MAX + RESP_WATCHED_MAX,
    "a command of a transaction has at most two requests, beside those that have one for each key"
);
/// HTTP connections at a time; more wait to be accepted.
pub const HTTP_CONNECTIONS_MAX: usize = 1024;
/// Longest list of keys in an HTTP request, in bytes.
pub const HTTP_KEYS_BYTES_MAX: usize = 4 << 20;
/// When an HTTP client that is refused for now is to try again at the earliest, in seconds.
pub const HTTP_RETRY_AFTER_S: u32 = 1;
/// How long an HTTP connection may be without a request, or with half of one's head, in ms.
pub const HTTP_HEAD_TIMEOUT_MS: u64 = 60_000;
/// How long to wait where an HTTP connection cannot be accepted, in ms.
pub const HTTP_ACCEPT_PAUSE_MS: u64 = 100;
/// How long the body of an HTTP request may take, in ms.
pub const HTTP_BODY_TIMEOUT_MS: u64 = 30_000;
/// Requests from the sidecar to one shard that wait for an answer; further ones are refused.
pub const INSIDE_CALLS_MAX: usize = 1024;
/// Room for their answers, to begin with.
pub const INSIDE_READ_BYTES: usize = 16 << 10;
/// Keys that a node has its origins asked for at a time; further ones are answered ORIGIN_BUSY.
pub const LOADS_MAX: usize = 16 << 10;
/// What those are told to wait, in ms.
pub const LOADS_RETRY_AFTER_MS: u32 = 100;
/// Most servers of etcd that a node is told of.
pub const ETCD_ENDPOINTS_MAX: usize = 32;
/// How long a registration in etcd lasts that is not renewed, in ms.
pub const REGISTRATION_TTL_MS_DEFAULT: u64 = 5_000;
/// Shortest that can be chosen.
pub const REGISTRATION_TTL_MS_MIN: u64 = 2_000;
/// Longest that can be chosen.
pub const REGISTRATION_TTL_MS_MAX: u64 = 60_000;

const _: () =
    assert!(4 * STAND_IN_POLL_MS < larder_engine::limits::EXCHANGE_MS, "one that takes its time is not missed");
const _: () = assert!(STOP_TIMEOUT_MS_DEFAULT <= STOP_TIMEOUT_MS_MAX);
const _: () = assert!(CONNECTIONS_DEFAULT <= CONNECTIONS_MAX);

/// Bytes that a stopping shard reads at a time, and those that a connection keeps room for without asking.
pub const READ_BYTES: usize = 64 << 10;
/// Requests of one read that are decoded, and their memory asked for, before the first of them is executed.
pub const AHEAD_MAX: usize = larder_engine::limits::PREFETCH_REQUESTS;
/// Completions of a ring that are taken in at a time, so that the memory for what each asks for is fetched together.
pub const REAPED_MAX: usize = 32;
/// A connection with this many bytes to be sent is not read from, and its further requests wait: the client reads
/// first.
pub const OUTPUT_BYTES_PAUSE: usize = 256 << 10;
/// A connection with this many bytes to be sent gets no more values from other shards, but OVERLOADED: the requests
/// were passed on before its client stopped reading. So a connection holds at most this and one more answer.
pub const OUTPUT_BYTES_MAX: usize = 16 << 20;
/// Most bytes of values that the commands of a memcached connection hold which are one request for each of their keys
/// (`gat`): one whose values would take more fails.
pub const MEMCACHE_GATHERED_BYTES_MAX: usize = larder_protocol::limits::FRAME_BYTES_MAX;
/// What such a client is told to wait, in milliseconds.
pub const OUTPUT_RETRY_AFTER_MS: u32 = 100;
/// A watch whose connection has this many bytes to be sent is told nothing more until some are. So such a connection holds
/// this and one more answer, and what leaves meanwhile is kept by its watcher, as far as that has room. Together they take
/// what leaves within a turn, in which nothing is sent.
pub const WATCH_OUTPUT_BYTES_MAX: usize = 512 << 10;
/// A frame is never limited below this, however small the values of this server are, so that a batch of small entries
/// fits.
pub const FRAME_BYTES_MAX_LEAST: usize = 1 << 20;
/// Buffers that a shard keeps for reuse, and the largest of them. Idle connections hold none.
pub const BUFFERS_KEPT: usize = 64;
/// See [`BUFFERS_KEPT`].
pub const BUFFER_BYTES_KEPT_MAX: usize = 512 << 10;
/// Control messages that can wait for one shard.
pub const CONTROLS_MAX: usize = 64;
/// After how long an order that finds no room is given again.
pub const CONTROL_RETRY_MS: u64 = 1;
/// How often the sidecar looks how far shards are, in ms.
pub const PROGRESS_POLL_MS: u64 = 5;
/// How often what may stand in for a registration is put off while etcd does not answer, in ms.
pub const STAND_IN_POLL_MS: u64 = 100;
/// How long a node that stops waits to be out of the ring, in ms.
pub const DRAIN_TIMEOUT_MS: u64 = 1_500;
/// How long it passes on what it is asked after that, in ms: others may not have heard of it yet.
pub const DRAIN_GRACE_MS: u64 = 300;
/// How long taking a registration back may take, in ms.
pub const LEAVE_TIMEOUT_MS: u64 = 1_500;
/// Changes of the ring that wait to be passed on to shards, before the registration is not renewed for them.
pub const UPDATES_MAX: usize = 64;
/// Orders to the agent that wait.
pub const ORDERS_MAX: usize = 64;
/// What shards ask that waits.
pub const ASKED_MAX: usize = 256;
/// Connections to other nodes that wait to be made; further ones fail at once and are tried again later.
pub const DIALS_WAITING_MAX: usize = 1 << 10;
/// Connections to other nodes that are being made at the same time; the others wait.
pub const DIALS_AT_ONCE_MAX: usize = 128;
/// How long making one may take, in ms, Hello included.
pub const DIAL_TIMEOUT_MS: u64 = 1_000;
/// Between two looks whether shards need more pages, in milliseconds; longer and longer while they need none.
pub const PAGES_PAUSE_MS_MIN: u64 = 2;
/// See [`PAGES_PAUSE_MS_MIN`].
pub const PAGES_PAUSE_MS_MAX: u64 = 50;
/// Stack of the thread that looks, in bytes.
pub const PAGES_STACK_BYTES: usize = 128 << 10;
/// Reports of one shard that can wait for the sidecar: each kind comes at most once.
pub const REPORTS_PER_SHARD_MAX: usize = 8;
/// Turns of a busy shard for which answers of a connection wait for those that other shards are at.
pub const HOLD_TURNS: u64 = 64;
/// And for how many milliseconds. A shard that nothing wakes meanwhile waits up to [`RING_WAIT_MS`] more.
pub const HOLD_MS: u64 = 2;
/// A connection that a read left with this many bytes to be sent sends at once, and not at the end of the turn: what a
/// turn of many such connections has to send does not fit into the processor's caches.
pub const SEND_NOW_BYTES: usize = HOLD_BYTES_MAX;
/// A connection with this many bytes to be sent holds none of them back.
pub const HOLD_BYTES_MAX: usize = 64 << 10;
/// How long a shard looks for messages from other shards before it sleeps, in microseconds, if it has a core of its
/// own. Only after a turn that had messages: local traffic never spins.
pub const SPIN_US: u64 = 5;
/// Chances to look for messages that are let pass after looks in vain.
pub const LOOKS_PASSED_MAX: u32 = 31;
/// Longest `spin` that can be configured, in microseconds.
pub const SPIN_US_MAX: u64 = 1_000;
/// After so long glommio asks its tasks to make way, in milliseconds. So long that it never does: tasks make way by
/// themselves, see `breathe` in the driver. Were it short, a thread that loses its core for that time at the wrong
/// moment would sleep with tasks that are ready (glommio 0.9 takes "make way before the first task" for "no task").
pub const PREEMPT_MS: u64 = 1_000;
/// An executor never sleeps longer than this, in milliseconds: whatever wake is lost, it is found then.
pub const TICK_MS: u64 = 100;
/// How long a shard with work goes on before the executor looks for what else is to be done, in milliseconds.
pub const GIVE_WAY_MS: u64 = 10;
/// How long a shard without work waits in its own ring before it sleeps in glommio, which costs more, in milliseconds;
/// after that no answers are held back either. Not a short time: on a virtual machine, setting the processor's timer
/// for every wait costs more than the wait itself.
pub const RING_WAIT_MS: u64 = 5;
/// The ring of a shard. One whose completions do not fit goes on, at the cost of allocations in the kernel; one that
/// is short of buffers receives when some are back.
pub(crate) const RING_SIZE: RingSize = RingSize { requests: 1024, completions: 4096, buffers: 256, buffer_bytes: 4096 };
/// Looks of an exiting shard, a millisecond apart, at whether the kernel has let go of its sockets.
pub const EXIT_TURNS_MAX: usize = 200;
/// Connections that are turned away at once when there are no descriptors for them.
pub const ACCEPT_REFUSALS_MAX: usize = 64;
/// How often connections that are silent for too long are looked for, in milliseconds, and among how many.
pub const SWEEP_INTERVAL_MS: u64 = 100;
/// See [`SWEEP_INTERVAL_MS`].
pub const SWEEP_CONNECTIONS: usize = 1024;
/// How long a request that has begun may stay silent, unless configured, in milliseconds.
pub const HALF_SENT_TIMEOUT_MS_DEFAULT: u64 = 30_000;
/// Longest time-out of silence that can be configured, in milliseconds.
pub const SILENCE_MS_MAX: u64 = 30 * 24 * 3600 * 1000;
/// How long a task steps aside for the executor to look around, in microseconds: the shortest that is not at once.
pub const BREATH_US: u64 = 1;
/// Memory that an executor registers for files, which it does not read: as little as it takes.
pub const EXECUTOR_IO_MEMORY_BYTES: usize = 64 << 10;
/// How often background work is looked for when there was none, in milliseconds.
pub const BACKGROUND_INTERVAL_MS: u64 = 100;
/// Steps of background work at a time: 70 to 100 microseconds if each removes an entry or looks at small ones, and up to
/// 750 while the index shrinks with them. A request is delayed by that at most.
pub const BACKGROUND_STEPS: usize = 256;
/// Between two such, in milliseconds, while there is more but no budget to be met. So background work takes five percent
/// of a core, and removes [`EXPIRED_PER_SECOND_MIN`] entries.
pub const BACKGROUND_PAUSE_MS: u64 = 2;
/// The same while few or none are found, but an entry that was not come across yet may have expired: a hundred thousand
/// entries are looked at in a second, for half a percent of a core.
pub const BACKGROUND_LOOK_PAUSE_MS: u64 = 20;
const _: () =
    assert!(BACKGROUND_PAUSE_MS <= BACKGROUND_LOOK_PAUSE_MS && BACKGROUND_LOOK_PAUSE_MS <= BACKGROUND_INTERVAL_MS);
const _: () = assert!(
    (BACKGROUND_STEPS * larder_store::limits::LOOKS_PER_STEP) as u64 * 1_000 / BACKGROUND_LOOK_PAUSE_MS >= 100_000,
    "a million entries are looked at in ten seconds"
);
/// Entries that a shard removes in a second at least when they have expired together: a million in ten seconds.
pub const EXPIRED_PER_SECOND_MIN: u64 = 100_000;
/// The pause while a budget is being lowered and clients have the shard do something; what it would wait is used whole.
pub const SHRINK_PAUSE_MS: u64 = 1;
/// How long a listener that cannot accept (no descriptors, no memory) waits before it tries again, in milliseconds.
pub const ACCEPT_BACKOFF_MS: u64 = 100;
/// How long a connection that the server closes goes on being read, and what comes thrown away, so that the last
/// answer is not lost to a reset, in milliseconds.
pub const LINGER_MS: u64 = 1_000;
/// The same when the server stops.
pub const LINGER_STOPPING_MS: u64 = 100;
/// Connections on their way to one shard; further ones are served where they are. A sender holds at most one read of
/// input for each, so that they hold no more than their sockets would.
pub const HANDOVERS_MAX: usize = 256;
/// What a stopping server still reads from one connection, in bytes: what had come before is at most a socket buffer.
pub const STOP_READ_BYTES_MAX: usize = 4 << 20;
/// How long all executors may take to get ready, in milliseconds.
pub const START_TIMEOUT_MS: u64 = 20_000;
/// Part of the time to stop that is kept for closing what was cut off, in milliseconds; at most half of it.
pub const STOP_RESERVE_MS: u64 = 500;
/// A shard that has shown no sign of life for so long is reported, in milliseconds.
pub const STALL_MS: u64 = 10_000;
/// How often the sidecar looks for signs of life, in milliseconds.
pub const HEARTBEAT_MS: u64 = 1_000;

const _: () = assert!(OUTPUT_BYTES_PAUSE < OUTPUT_BYTES_MAX && WATCH_OUTPUT_BYTES_MAX < OUTPUT_BYTES_MAX);
const _: () = assert!(READ_BYTES <= BUFFER_BYTES_KEPT_MAX && OUTPUT_BYTES_PAUSE <= BUFFER_BYTES_KEPT_MAX);
const _: () = assert!(LINGER_STOPPING_MS < STOP_RESERVE_MS && EXIT_TURNS_MAX as u64 <= STOP_RESERVE_MS);
const _: () = assert!(HALF_SENT_TIMEOUT_MS_DEFAULT <= SILENCE_MS_MAX);
const _: () = assert!(SHRINK_PAUSE_MS <= BACKGROUND_PAUSE_MS && BACKGROUND_PAUSE_MS < BACKGROUND_INTERVAL_MS);
const _: () = assert!(BACKGROUND_STEPS as u64 * (1000 / BACKGROUND_PAUSE_MS) >= EXPIRED_PER_SECOND_MIN);
const _: () = assert!(HEARTBEAT_MS * 2 < STALL_MS && TICK_MS < HEARTBEAT_MS);

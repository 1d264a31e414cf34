//! Every bound of the load generator, and how they relate.

use std::time::Duration;

use larder_protocol::limits as protocol;

/// Most threads that make load.
pub const THREADS_MAX: usize = 256;
/// Most connections of one run.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Most requests of one connection that wait for an answer.
pub const PIPELINE_MAX: usize = protocol::PIPELINE_MAX;
/// Most bytes of values that may be on their way at once, over all connections.
pub const IN_FLIGHT_BYTES_MAX: u64 = 4 << 30;
/// Most keys of a key space.
pub const KEYS_MAX: u64 = 1 << 40;
/// Most keys with `--verify`, which remembers eight bytes for each.
pub const VERIFY_KEYS_MAX: u64 = 1 << 28;
/// Most keys with `--shard-aware`, which remembers one byte for each.
pub const SHARD_AWARE_KEYS_MAX: u64 = 1 << 28;
/// How often a key is drawn again for a shard, per shard, before the nearest one is taken.
pub const REDRAWS_PER_SHARD_MAX: usize = 64;
/// Most keys that one multi-get asks for.
pub const MULTI_GET_MAX: usize = protocol::KEYS_MAX;
/// Longest key of memcached, in bytes.
pub const MEMCACHE_KEY_BYTES_MAX: u64 = 250;
/// Longest expiry that memcached takes for a time to live; a longer one would be a date.
pub const MEMCACHE_TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest line of an answer in a text protocol, and of the first answer as a whole. Values are not in lines.
pub const LINE_BYTES_MAX: usize = 8 << 10;
/// Most sizes in a list of value sizes.
pub const VALUE_SIZES_MAX: usize = 256;
/// Highest rate of an open loop, in requests per second.
pub const RATE_MAX: f64 = 1e9;
/// Longest warm-up or measurement.
pub const RUN_TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most requests of a run that is bounded by their number.
pub const REQUESTS_MAX: u64 = 1 << 53;

/// How long a connection may take to come about.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before the first attempt to open a lost connection again; it doubles with each further attempt.
pub const REOPEN_PAUSE: Duration = Duration::from_millis(100);
/// Most attempts to open a lost connection again before the run fails.
pub const REOPENS_MAX: u32 = 16;
/// How often lost connections and missing answers are looked for.
pub const TICK: Duration = Duration::from_millis(20);
/// Longest sleep of a thread, so that it notices that the run has failed elsewhere.
pub const SLEEP_MAX: Duration = Duration::from_millis(50);
/// An open loop sleeps until this long before the next request is due, and looks at the clock from then on: a sleep
/// of the operating system is not more exact than this.
pub const SPIN: Duration = Duration::from_millis(2);

/// Bytes that one read asks for.
pub const READ_BYTES: usize = 256 << 10;
/// Most reads of one connection before the others have their turn.
pub const READS_PER_TURN: usize = 8;
/// Most events that one turn takes from the operating system.
pub const EVENTS_PER_TURN: usize = 1024;
/// Buffers that are empty and larger than this are given back.
pub const IDLE_BUFFER_BYTES_MAX: usize = 256 << 10;

/// Connections of a preload.
pub const PRELOAD_CONNECTIONS: usize = 4;
/// Requests of one preload connection that wait for an answer, at most.
pub const PRELOAD_PIPELINE: usize = 64;
/// How often in a row a preload or a replay sends something again because the server is overloaded.
pub const RETRIES_MAX: u32 = 10_000;

/// Requests of a trace that may be read ahead for one lane of a replay. Together with the number of lanes this bounds
/// how far one key's requests may run ahead of another's.
pub const REPLAY_LANE_REQUESTS_MAX: usize = 16;
/// Bytes of a trace that are decoded ahead.
pub const TRACE_BUFFER_BYTES: usize = 64 << 10;
/// Most objects of a trace whose sizes are remembered.
pub const TRACE_OBJECTS_MAX: usize = 1 << 28;
/// Most lanes (connections times pipeline) of a replay.
pub const REPLAY_LANES_MAX: usize = 4096;
/// Bytes of random content that values are cut from.
pub const CONTENT_BYTES: usize = 1 << 20;

/// Steps in which requests that an open loop never sent are counted, when there are more of them.
pub const UNSENT_STEPS_MAX: usize = 100_000;
/// How often a thread hands over what the live line shows.
pub const LIVE_INTERVAL: Duration = Duration::from_millis(200);
/// Longest latency that is told apart; a longer one counts as this.
pub const LATENCY_MAX: Duration = Duration::from_secs(3600);
/// Significant digits of recorded latencies.
pub const LATENCY_DIGITS: u8 = 3;
/// Lost connections that are reported one by one; further ones are only counted.
pub const LOSSES_SHOWN_MAX: u64 = 10;
/// First bytes of a wrong value that an error shows.
pub const WRONG_VALUE_BYTES_SHOWN: usize = 48;

const _: () = assert!(REPLAY_LANES_MAX <= CONNECTIONS_MAX, "a replay may use a connection per lane");
const _: () = assert!(PRELOAD_PIPELINE <= PIPELINE_MAX, "a preload is a client like others");
const _: () = assert!(READ_BYTES <= IDLE_BUFFER_BYTES_MAX, "the rest of one read may stay where it is");
const _: () = assert!(TICK.as_millis() < SLEEP_MAX.as_millis(), "a sleeping thread misses few ticks");
const _: () = assert!(IN_FLIGHT_BYTES_MAX >= protocol::VALUE_BYTES_MAX as u64, "one largest value can be sent");

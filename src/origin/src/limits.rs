//! Every bound of this crate.

/// Longest time that one request to an origin may take, in ms.
pub const TIMEOUT_MS_MAX: u64 = 30_000;
/// The same where nothing is said.
pub const TIMEOUT_MS_DEFAULT: u64 = 1_000;
/// Requests to one origin at a time where nothing is said, and at most.
pub const CONCURRENT_DEFAULT: usize = 64;
/// See [`CONCURRENT_DEFAULT`].
pub const CONCURRENT_MAX: usize = 1024;
/// Loads that wait for one of those where nothing is said, and at most.
pub const QUEUE_DEFAULT: usize = 1024;
/// See [`QUEUE_DEFAULT`].
pub const QUEUE_MAX: usize = 16 << 10;
/// How long it is remembered that an origin does not have a key, in ms, where nothing is said.
pub const NEGATIVE_TTL_MS_DEFAULT: u64 = 1_000;
/// Most headers that are sent with each request, and longest of them in bytes.
pub const HEADERS_MAX: usize = 16;
/// See [`HEADERS_MAX`].
pub const HEADER_BYTES_MAX: usize = 4 << 10;
/// Longest URL template, in bytes.
pub const URL_BYTES_MAX: usize = 2 << 10;
/// Failures in a row after which an origin is left alone.
pub const BREAKER_FAILURES: u32 = 10;
/// For how long, in ms: at first, and at most; twice as long each time that a probe fails.
pub const BREAKER_PAUSE_MS_MIN: u64 = 500;
/// See [`BREAKER_PAUSE_MS_MIN`].
pub const BREAKER_PAUSE_MS_MAX: u64 = 16_000;
/// Retries there may be for a hundred loads, and how many may be saved up.
pub const RETRY_PERCENT: u32 = 10;
/// See [`RETRY_PERCENT`].
pub const RETRIES_SAVED_MAX: u32 = 10;
/// Before a retry, at least and at most, in ms.
pub const RETRY_PAUSE_MS_MIN: u64 = 10;
/// See [`RETRY_PAUSE_MS_MIN`].
pub const RETRY_PAUSE_MS_MAX: u64 = 100;
/// What who finds the queue full is told to wait, in ms.
pub const BUSY_RETRY_AFTER_MS: u32 = 100;
/// Longest time to live that an origin may name, in ms; longer ones are cut.
pub const TTL_MS_MAX: u64 = 365 * 24 * 60 * 60 * 1000;
/// Longest head of a response, in bytes.
pub const HEAD_BYTES_MAX: usize = 32 << 10;
/// Connections that are kept although nothing is asked over them, in ms.
pub const IDLE_MS_MAX: u64 = 30_000;

const _: () = assert!(RETRY_PAUSE_MS_MIN < RETRY_PAUSE_MS_MAX && BREAKER_PAUSE_MS_MIN <= BREAKER_PAUSE_MS_MAX);

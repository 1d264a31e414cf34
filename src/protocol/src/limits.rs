//! Every bound of the protocol, and how they relate. A server may be configured to lower ones, never to higher ones.

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// Longest value, in bytes. The default limit of a server is [`VALUE_BYTES_DEFAULT`].
pub const VALUE_BYTES_MAX: usize = 64 << 20;
/// Longest value that a server accepts unless it is configured otherwise, in bytes.
pub const VALUE_BYTES_DEFAULT: usize = 8 << 20;
/// Room in a frame for everything that is neither key nor value.
pub const FRAME_OVERHEAD_BYTES_MAX: usize = 4 << 10;
/// Longest frame, in bytes, without its length prefix.
pub const FRAME_BYTES_MAX: usize = VALUE_BYTES_MAX + KEY_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX;
/// Bytes of the length in front of a frame.
pub const FRAME_PREFIX_BYTES: usize = 4;
/// Most bytes that a response with a result has in front of it: id, epoch and the result's length.
pub const RESULT_ENVELOPE_BYTES_MAX: usize = 64;
/// Most keys in one get_many, set_many or delete_many.
pub const KEYS_MAX: usize = 16 << 10;
/// Most requests of one connection that wait for an answer.
pub const PIPELINE_MAX: usize = 4 << 10;
/// Longest name of a group, in bytes.
pub const GROUP_NAME_BYTES_MAX: usize = 255;
/// Longest id of a node, in bytes.
pub const NODE_NAME_BYTES_MAX: usize = 255;
/// Longest weight of a node as text, in bytes.
pub const WEIGHT_BYTES_MAX: usize = 255;
/// Longest settings of a group as JSON, in bytes.
pub const GROUP_SETTINGS_BYTES_MAX: usize = 16 << 10;
/// Longest name that a client may give itself in Hello, in bytes; also the bound of its credentials.
pub const CLIENT_NAME_BYTES_MAX: usize = 1 << 10;
/// Longest Hello result, statistics or topology, in bytes. A decoder allocates at most some 64 times as much for one.
pub const COLD_BYTES_MAX: usize = 4 << 20;
/// Most requests of a transaction.
pub const TRANSACT_REQUESTS_MAX: usize = 1 << 10;
/// Longest pattern of a scan, in bytes.
pub const PATTERN_BYTES_MAX: usize = 255;
/// Longest cursor of a scan that a decoder takes, in bytes. Which cursors there are is up to who gives them.
pub const CURSOR_BYTES_MAX: usize = 64;
/// Longest result of a scan, in bytes. A decoder allocates at most some 32 times as much for one.
pub const SCAN_BYTES_MAX: usize = 16 << 20;
/// Most entries that left in one answer to a watch; as many wait for a client at most.
pub const REMOVALS_MAX: usize = 4 << 10;
/// Most bytes of their keys.
pub const REMOVALS_KEY_BYTES_MAX: usize = 256 << 10;
/// Longest message of a failure, in bytes; a longer one is cut.
pub const FAILURE_MESSAGE_BYTES_MAX: usize = 1 << 10;
/// Places of keys that a decoder's scratch keeps room for between requests; above it, memory is given back.
pub const SCRATCH_KEYS_KEPT: usize = 1 << 10;

const _: () = assert!(FAILURE_MESSAGE_BYTES_MAX + 64 <= FRAME_OVERHEAD_BYTES_MAX, "a failure fits in the overhead");
const _: () = assert!(COLD_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX <= FRAME_BYTES_MAX, "a cold result fits in a frame");
const _: () = assert!(SCAN_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX <= FRAME_BYTES_MAX, "a page of keys fits in a frame");
const _: () = assert!(REMOVALS_KEY_BYTES_MAX >= KEY_BYTES_MAX, "every removal can be told of");
const _: () = assert!(
    REMOVALS_KEY_BYTES_MAX + REMOVALS_MAX * 24 + RESULT_ENVELOPE_BYTES_MAX <= COLD_BYTES_MAX,
    "removals with the largest numbers are within what a client accepts"
);
const _: () = assert!(SCRATCH_KEYS_KEPT <= KEYS_MAX, "no more is kept than can be used");
const _: () = assert!(
    RESULT_ENVELOPE_BYTES_MAX + VALUE_BYTES_MAX + 64 + 4 * KEYS_MAX <= FRAME_BYTES_MAX,
    "the largest entry fits in the answer of the largest get_many, where every other key has a status of 4 bytes"
);
const _: () = assert!(FRAME_BYTES_MAX >= VALUE_BYTES_MAX + KEY_BYTES_MAX, "a largest entry must fit in a frame");
const _: () = assert!(FRAME_BYTES_MAX <= u32::MAX as usize, "spans in a frame are 32 bits");
const _: () = assert!(VALUE_BYTES_DEFAULT <= VALUE_BYTES_MAX, "the default is below the limit");

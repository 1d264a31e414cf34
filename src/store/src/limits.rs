//! Every bound of the store, and how they relate.

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// Highest limit that a store may be given for its values, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 << 20;
/// Most groups of one shard.
pub const GROUPS_MAX: usize = 1 << 10;
/// Longest name of a group, in bytes.
pub const GROUP_NAME_BYTES_MAX: usize = 255;
/// Smallest budget of a group on one shard under [`crate::Charge::Bytes`], in bytes.
pub const BUDGET_BYTES_MIN: u64 = 4 << 10;
/// Smallest budget of a group on one shard under [`crate::Charge::Objects`], in objects.
pub const BUDGET_OBJECTS_MIN: u64 = 1;
/// Most entries of one shard, over all groups: entry numbers are 32 bits, and one of them means "none".
pub const ENTRIES_MAX: u64 = u32::MAX as u64;
/// How far ahead of this shard's clock a version may be that [`crate::Store::raise_version`] accepts, in ms.
pub const VERSION_AHEAD_MS_MAX: u64 = 10 * 60 * 1000;
/// A reclaim says that there is more to do as long as it finds something at one of so many entry numbers.
pub const SWEEP_YIELD: usize = 16;

/// Hashes whose entries are asked for at a time by [`crate::Store::prefetch`]: their lines stay in the first cache.
pub const PREFETCH_HASHES: usize = 64;
/// Lines of an entry's key and value that are asked for.
pub const PREFETCH_LINES_MAX: usize = 4;

/// What an entry costs beside its key and value, in bytes: item and node (64 + 16, in vectors that grow by eighths),
/// its place in the index (5 bytes at a load that doubling lets fall to 7/16: at most 11.5), and what a general
/// allocator adds to the one block that holds key and value (8 of header, 7.5 of rounding on average).
pub const ENTRY_OVERHEAD_BYTES: u64 = 120;
/// What a ghost costs, in bytes: hash and node (8 + 16, growing by eighths), and its place in the index.
pub const GHOST_BYTES: u64 = 40;

const _: () = assert!(
    KEY_BYTES_MAX as u64 + VALUE_BYTES_MAX as u64 + ENTRY_OVERHEAD_BYTES <= u32::MAX as u64,
    "the charge of a largest entry must fit in 32 bits"
);
const _: () = assert!(GHOST_BYTES < ENTRY_OVERHEAD_BYTES, "an eviction must make room even if it leaves a ghost");
const _: () = assert!(BUDGET_BYTES_MIN >= 8 * ENTRY_OVERHEAD_BYTES, "a smallest group must hold some entries");
const _: () = assert!(GROUPS_MAX <= u16::MAX as usize, "a group's index is 16 bits");

/// Most memory of one shard, in bytes: places in it are numbers of 8 bytes each, in 32 bits.
pub const REGION_BYTES_MAX: u64 = 32 << 30;
/// A region is cut into about so many segments, as far as the bounds of their size let it.
pub const SEGMENTS_WANTED: usize = 512;
/// Smallest segment, in bytes.
pub const SEGMENT_BYTES_MIN: usize = 16 << 10;
/// Largest segment, in bytes.
pub const SEGMENT_BYTES_MAX: usize = 1 << 20;
/// Free segments that only cleaning may take.
pub const RESERVE_SEGMENTS: usize = 2;

const _: () = assert!(SEGMENT_BYTES_MIN.is_power_of_two() && SEGMENT_BYTES_MAX.is_power_of_two());
const _: () = assert!(REGION_BYTES_MAX / 8 <= 1 << 32, "a place must fit in 32 bits");

// Tables of entries and ghosts, see `table`.

/// Most entries that lie behind a line and have their home in it or before.
pub const PASSED_MAX: usize = 120;
/// Most lines in a row that entries pass over.
pub const RUN_LINES_MAX: usize = 256;
/// A table grows when more of its slots are filled, in percent.
pub const LOAD_GROW_PERCENT: usize = 84;
/// A table shrinks when no more of the slots that it would keep are filled, in percent.
pub const LOAD_SHRINK_PERCENT: usize = 75;
/// A table grows and shrinks by one in so many of its segments.
pub const GROW_SHARE: usize = 8;
/// Lines that an insertion or removal sweeps while a table is resized.
pub const SWEEP_LINES: usize = 4;
/// Entries that it moves at most before it leaves the rest of these lines to the next one.
pub const SWEEP_MOVES: usize = 128;
/// What an entry takes of a region at least, its share of the index included, in bytes.
pub const INDEXED_BYTES_MIN: usize = 48;
/// Lines that an insertion wipes before a table grows.
pub const WIPE_LINES: usize = 128;

const _: () = assert!(LOAD_SHRINK_PERCENT < LOAD_GROW_PERCENT, "what has shrunk must not be due to grow");
/// Lines from which stale slots are removed for each ghost that is remembered.
pub const GHOST_HAND_LINES: usize = 4;
/// Ghosts that are forgotten when there is no memory for one more.
pub const GHOSTS_YIELDED: usize = 64;
/// Bits of what a ghost remembers of its entry's charge.
pub const GHOST_CHARGE_BITS: u32 = 27;

const _: () = assert!(
    KEY_BYTES_MAX as u64 + VALUE_BYTES_MAX as u64 + (1 << 20) <= 1 << GHOST_CHARGE_BITS,
    "a ghost must be able to remember the charge of a largest entry"
);

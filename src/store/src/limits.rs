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
/// How far ahead of this shard's clock a version may be that [`crate::Store::raise_version`] accepts, in ms.
pub const VERSION_AHEAD_MS_MAX: u64 = 10 * 60 * 1000;
/// Headers count time from so many ms before the first write: a time of expiry that is longer past is kept as that.
pub const BASE_BACK_MS: u64 = 24 * 60 * 60 * 1000;
/// Places that a step of [`crate::Store::reclaim`] looks at where it removes nothing: neighbours in memory, at 40 ns each
/// at most, where a removal takes 300.
pub const LOOKS_PER_STEP: usize = 8;
/// A reclaim says that there is more to do as long as it removes something at one of so many places that it could look at.
pub const SWEEP_YIELD: usize = 16;

/// Homes in the index that one call of [`crate::Store::scan`] looks at at most: as many lines, of ten entries at most.
pub const SCAN_LINES_MAX: usize = 256;
/// Entries that have one home in the index at most, and so are shown together by [`crate::Store::scan`].
pub const HOME_ENTRIES_MAX: usize = PASSED_MAX + 10;

/// Memory that is backed by pages before the store comes to use it, where somebody sees to that.
pub const PAGES_AHEAD_BYTES: usize = 16 << 20;

/// Hashes whose entries are asked for at a time by [`crate::Store::prefetch`]: their lines stay in the first cache.
pub const PREFETCH_HASHES: usize = 64;
/// Lines that are asked for of what is most likely an entry, before anything of it is known.
pub const PREFETCH_LINES: usize = 2;
/// Lines that are asked for of an entry that is so long; the processor itself sees the run of those behind them.
pub const PREFETCH_LINES_MAX: usize = 8;

/// Bytes of the header of an entry. An entry costs these, its key and its value, up to whole words of 8 bytes, and
/// [`ENTRY_INDEX_BYTES`]; one with a key from 255 bytes on or a value from 65,535 on costs 16 more, and one in pieces
/// 20 to 24 for each of them. See [`crate::Store::entry_bytes`].
pub const ENTRY_HEADER_BYTES: usize = 32;
/// What an entry costs for its place in the index, in bytes: 6.4 at the load that the index grows at, and some more
/// because it grows in steps.
pub const ENTRY_INDEX_BYTES: usize = 8;
/// The least that an entry costs, in bytes.
pub const ENTRY_BYTES_MIN: u64 = (ENTRY_HEADER_BYTES + ENTRY_INDEX_BYTES) as u64;
/// What a ghost costs, in bytes: a cell of 3 and a slot of 6.4 in a table that is filled to four fifths or
/// more, and some that are stale.
pub const GHOST_BYTES: u64 = 12;
/// What each word that is kept with a ghost takes of a budget.
pub const GHOST_WORD_BYTES: u64 = 4;
/// The most words that are kept with a ghost.
pub const GHOST_WORDS_MAX: u64 = 2;

const _: () = assert!(
    2 * (KEY_BYTES_MAX as u64 + VALUE_BYTES_MAX as u64) <= u32::MAX as u64,
    "the charge of a largest entry must fit in 32 bits, headers of pieces included"
);
const _: () = assert!(
    GHOST_BYTES + GHOST_WORDS_MAX * GHOST_WORD_BYTES < ENTRY_BYTES_MIN,
    "an eviction must make room even if it leaves a ghost"
);
const _: () = assert!(BUDGET_BYTES_MIN >= 8 * ENTRY_BYTES_MIN, "a smallest group must hold some entries");
const _: () = assert!(GROUPS_MAX <= u16::MAX as usize, "a group's index is 16 bits");

/// A value that makes its entry longer than a segment divided by this, within the two bounds below, is kept in pieces.
pub const PIECES_PER_SEGMENT: usize = 64;
/// Shortest piece of a value, in bytes, headers included.
pub const PIECE_BYTES_MIN: usize = 4 << 10;
/// Longest piece of a value, in bytes, headers included.
pub const PIECE_BYTES_MAX: usize = 16 << 10;

/// With less free segments than this a write pays for new ones, by evicting and cleaning ahead of what it needs.
pub const FREE_SEGMENTS_LOW: usize = RESERVE_SEGMENTS + LOG_SEGMENTS + 4;
/// Closed segments are sorted into so many classes by their dead bytes.
pub const DEAD_CLASSES: usize = 32;
/// Cleaning begins when one byte of so many in the log is dead: below that evicting costs less, and where entries go
/// in the order in which they came, it empties whole segments.
pub const DEAD_SHARE_MIN: usize = 16;
/// The class of segments from which on cleaning is worth it. When one byte of [`DEAD_SHARE_MIN`] is dead in all, there
/// is a segment in which that is so; while cleaning goes on, the emptiest has about twice as much.
pub const CLEAN_CLASS_MIN: usize = DEAD_CLASSES / DEAD_SHARE_MIN;
/// Bytes of a segment that a write passes over in cleaning ahead, for each byte that it adds itself: one more than it
/// takes for a byte to be gained where cleaning gains the least.
pub const CLEAN_RATIO: usize = DEAD_SHARE_MIN + 1;
/// Bytes that a write evicts ahead for each byte that it adds itself: so a full memory in which nothing is dead has the
/// dead bytes that cleaning begins with before the segments that are free then are full, if it is one of
/// [`SEGMENTS_WANTED`].
pub const EVICT_RATIO: usize = 8;
/// Entries that are evicted for want of memory from one group before it is asked again which is closest to its budget.
pub const PRESSED_EVICTIONS: u32 = 16;
/// What a budget that is being lowered loses at a time, in bytes: an entry or two, up to six of the smallest.
pub const SHRINK_STEP_BYTES: u64 = 256;
/// The same in objects.
pub const SHRINK_STEP_OBJECTS: u64 = 2;
/// What it loses at a time at most where entries and ghosts do not use it, in bytes or objects.
pub const SHRINK_UNUSED_MAX: u64 = 16 << 10;
/// Entries that each new one makes a policy take over from the former one of its group.
pub const SWITCH_ENTRIES: usize = 2;
/// An eviction counts as so many steps of [`crate::Store::reclaim`]; it takes half a microsecond to one, for cold entries.
pub const EVICTION_STEPS: usize = 2;

/// Least memory of one shard, in bytes.
pub const MEMORY_BYTES_MIN: u64 = 16 * SEGMENT_BYTES_MIN as u64;
/// Segments that an entry never gets: the reserve, the open ones, and one each for the index and the ghosts.
pub const SEGMENTS_FIXED: usize = RESERVE_SEGMENTS + 4;
/// An entry may take one byte of so many in all other segments: its old and its new form must be able to lie there at
/// the same time, with a share of dead bytes.
pub const ENTRY_SHARE: usize = 3;
/// Largest TTL jitter, in percent.
pub const TTL_JITTER_MAX: u8 = 50;

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
/// Free segments beside the reserve that index and ghosts leave to entries. Writes keep more free than that, so tables
/// can grow while memory is full.
pub const LOG_SEGMENTS: usize = 1;

const _: () = assert!(SEGMENT_BYTES_MIN.is_power_of_two() && SEGMENT_BYTES_MAX.is_power_of_two());
const _: () = assert!(REGION_BYTES_MAX / 8 <= 1 << 32, "a place must fit in 32 bits");

// Tables of entries and ghosts, see `table`.

/// Most entries that lie behind a line and have their home in it or before.
pub const PASSED_MAX: usize = 120;
/// Most lines in a row that entries pass over.
pub const RUN_LINES_MAX: usize = 256;
/// How full a table is kept.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// It grows when more of its slots are filled, in percent.
    pub grow_percent: usize,
    /// It shrinks when no more of the slots that it would keep are filled, in percent.
    pub shrink_percent: usize,
    /// It grows and shrinks by one in so many of its segments.
    pub grow_share: usize,
}

/// The index: a look-up ends in the first line nearly always.
pub const INDEX_LOAD: Load = Load { grow_percent: 84, shrink_percent: 75, grow_share: 8 };
/// Ghosts, which are looked up at a miss alone; one in some 100 million that would make too long a run is not
/// remembered.
pub const GHOST_LOAD: Load = Load { grow_percent: 88, shrink_percent: 81, grow_share: 14 };
/// Lines that an insertion or removal sweeps while a table is resized.
pub const SWEEP_LINES: usize = 4;
/// Entries that it moves at most before it leaves the rest of these lines to the next one.
pub const SWEEP_MOVES: usize = 128;
/// What an entry takes of a region at least, its share of the index included, in bytes.
pub const INDEXED_BYTES_MIN: usize = 48;
/// Lines that an insertion wipes before a table grows.
pub const WIPE_LINES: usize = 128;

const _: () = assert!(INDEX_LOAD.shrink_percent < INDEX_LOAD.grow_percent, "what has shrunk must not be due to grow");
const _: () = assert!(GHOST_LOAD.shrink_percent < GHOST_LOAD.grow_percent, "what has shrunk must not be due to grow");
/// Lines of its first segment that a table begins with and wipes at once, if it needs no more.
pub const FIRST_LINES: usize = 1024;
/// Lines from which stale slots are removed for each ghost that is remembered.
pub const GHOST_HAND_LINES: usize = 1;
/// Ghosts that are forgotten when there is no memory for one more.
pub const GHOSTS_YIELDED: usize = 64;
/// Entries that a queue of ghosts does not remember after it had to give all of its memory away.
pub const GHOST_REST: u32 = 64;
/// Ranks that are told apart where a policy orders entries by a number: 32 KiB for each such order of a group on a shard,
/// beside the budget.
pub const RANKS: usize = 4 << 10;
/// So many accesses for each entry are within the window in which lru_k tells times apart.
pub const RANK_SPAN: u64 = 32;
/// The accesses within which lru_k tells times apart are not more than this many times the number of ranks.
pub const RANK_SHIFT_MAX: u32 = 16;
/// After so many accesses lru_k looks at all times that are longer ago than it tells apart, one at each access, so that
/// none of them is ever too long ago for its 32 bits.
pub const TIME_ROUND: u64 = 1 << 28;
/// No time is taken to be longer ago than this when it is looked at.
pub const TIME_AGO_MAX: u64 = 1 << 29;

const _: () = assert!((RANKS as u64) << RANK_SHIFT_MAX <= TIME_ROUND, "what is told apart needs not be looked at");
const _: () = assert!(
    TIME_AGO_MAX + 4 * TIME_ROUND <= 1 << 31,
    "a time is looked at again before it is too long ago, whatever a round and a ghost's life add to that"
);
/// Entries whose correlated reference period is over that lru_k looks after at each access, which makes one at most.
pub const MATURE_STEPS: usize = 2;
/// What ghosts of a history may count as that are in memory, in percent of those that are remembered; the others are
/// forgotten, and not the oldest yet. With fewer, some are forgotten early: at 125 % lru_k misses up to 0.052 points more or
/// less often than the paper's order on captured traces, at 110 % it was up to 0.079.
pub const HISTORY_HELD_PERCENT: u64 = 108;
/// The same where objects are counted, and memory is no matter.
pub const HISTORY_HELD_PERCENT_OF_OBJECTS: u64 = 125;
/// Entries above the ranks that are looked at when one is accessed, and when none has a rank to go by.
pub const ABOVE_STEPS: usize = 2;
/// See [`ABOVE_STEPS`].
pub const ABOVE_LOOKED_AT: usize = 64;
/// Entries for each line of a sketch, which has 32 counters in each of its rows.
pub const SKETCH_LINE_ENTRIES: u64 = 8;
/// Lines that a sketch grows or shrinks by when an entry comes.
pub const SKETCH_LINES_PER_STEP: usize = 4;
/// How often each entry of a cache is asked for, on average, before all counters of its sketch are halved.
pub const SKETCH_AGE: u64 = 10;
/// Entries that come before a sketch that had to give its memory away takes some again.
pub const SKETCH_REST: u32 = 4 << 10;
/// Entries that one call moves from one list of W-TinyLFU to another because the first is above its share: many only where
/// a large entry has come, or the parameters or the budget have changed. Further calls go on with it.
pub const TINY_LFU_MOVES_MAX: usize = 64;
/// Entries that one search for a victim passes over at most because they were read. The next one goes although it was.
/// Each was paid by the hit before, so the mean is below one; this bounds the worst case, at some 100 ns each.
pub const SECOND_CHANCES_MAX: usize = 4 << 10;
/// Bits of the largest charge that a ghost may have.
pub const GHOST_CHARGE_BITS: u32 = 27;
/// Bits of what is kept of a charge.
pub const GHOST_COST_BITS: u32 = 10;
/// Ghosts, those that were taken out in between included, from the oldest to the youngest; the oldest is forgotten rather
/// than to have more of them. A group on one shard needs 9 GB to have as many that may all be remembered.
pub const GHOST_SPAN_MAX: u64 = 1 << 26;

const _: () = assert!(
    KEY_BYTES_MAX as u64 + VALUE_BYTES_MAX as u64 + (1 << 20) <= 1 << GHOST_CHARGE_BITS,
    "a ghost must be able to remember the charge of a largest entry"
);
const _: () = assert!(
    (FREE_SEGMENTS_LOW - RESERVE_SEGMENTS - 1) * EVICT_RATIO * DEAD_SHARE_MIN >= SEGMENTS_WANTED,
    "cleaning must be able to begin before no segment is free"
);

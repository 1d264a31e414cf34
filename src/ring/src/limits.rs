//! Every bound of placement, and how they relate.

/// Bits of a hash that name the slot: the top ones.
pub const SLOT_BITS: u32 = 16;
/// Number of slots: the unit of ownership, fencing and hand-off. Wire contract; README.md says why this many.
pub const SLOTS: usize = 1 << SLOT_BITS;
/// Most shards on one node.
pub const SHARDS_MAX: u16 = 256;
/// First of the 16 bits of a hash that choose the shard.
pub const SHARD_BITS_SHIFT: u32 = 28;
/// Number of bits that choose the shard.
pub const SHARD_BITS: u32 = 16;
/// Most nodes in one topology. Beyond it the slots per node are too few for a fair share.
pub const NODES_MAX: usize = 4096;
/// Points on the ring for a weight of 1.
pub const POINTS_PER_WEIGHT: u32 = 1024;
/// Positions on the ring of each point. Wire contract; README.md says why this many.
pub const POSITIONS_PER_POINT: u32 = 4;
/// Most points of one node: a weight of 1,024.
pub const POINTS_MAX: u32 = 1 << 20;
/// Most points of all nodes together; bounds the time to build a table that somebody else sent.
pub const POINTS_TOTAL_MAX: u64 = 1 << 23;
/// A node owns at most its fair share of the slots, raised by this many hundredths.
pub const SHARE_EXCESS_PERCENT: u64 = 5;
/// How many other slots' owners a slot tries whose own is full, before it takes the first node with room.
pub const PROBES_MAX: u32 = 64;
/// Longest id of a node, in bytes.
pub const NODE_ID_BYTES_MAX: usize = 255;
/// Longest address of a node, in bytes: a DNS name of 253, a colon and a port.
pub const ADDRESS_BYTES_MAX: usize = 259;
/// Digits that a weight may have behind the point.
pub const WEIGHT_DECIMALS_MAX: usize = 6;

const _: () = assert!(SHARD_BITS_SHIFT + SHARD_BITS + 20 == u64::BITS, "shard bits lie below the widest slot (2^20)");
const _: () = assert!(SLOT_BITS <= 20, "slot and shard share no bits");
const _: () = assert!(SLOT_BITS >= 16, "a point without its slot bits leaves room for a node index of 16 bits");
const _: () = assert!(NODES_MAX <= u16::MAX as usize, "a node index is 16 bits");
const _: () = assert!(NODES_MAX * 16 <= SLOTS, "every node of a full topology has slots");
const _: () = assert!(SHARDS_MAX as u32 <= 1 << SHARD_BITS, "every shard is reached");
const _: () = assert!(NODES_MAX as u64 * POINTS_PER_WEIGHT as u64 <= POINTS_TOTAL_MAX, "all nodes may weigh 1");
const _: () = assert!(POINTS_MAX as u64 <= POINTS_TOTAL_MAX, "one node may have the largest weight");
const _: () = assert!(POINTS_MAX <= u32::MAX / POSITIONS_PER_POINT, "positions of a node are numbered in 32 bits");

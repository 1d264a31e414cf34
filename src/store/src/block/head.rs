//! What the header of an entry says, read and written as a whole; [`super`] has the layout.

use super::{
    ACCESS_MASK, ACCESS_SHIFT, EXPIRY_MAX, FLAGS_SHIFT, GROUP_SHIFT, GROUP_WIDE, HEADER_BYTES, HIT, Header, LIST_MASK,
    LIVE, MEMO_BYTES, PIECES_SHIFT, STALE, Shape, VALUE_SHIFT, VALUE_WIDE, VERSION_BITS, WIDE, WIDE_WITH_MEMOS,
    WITH_MEMOS, WON, byte_of,
};
use crate::region::{GRANULE_BYTES, Ref, Region};
use crate::{GroupIndex, Marks};

/// The four words of the header of an entry, read at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head([u64; 4]);

impl Head {
    /// The header of the entry at this place.
    #[inline]
    pub(crate) fn at(region: &Region, entry: Ref) -> Self {
        Self(region.granules(entry).map(u64::from_le_bytes))
    }

    /// The header of the entry at this place, if it is that of this key.
    #[inline(always)]
    pub(crate) fn of_key(region: &Region, entry: Ref, group: GroupIndex, key: &[u8]) -> Option<Self> {
        let head = Self::at(region, entry);
        let is_it = match head.is_wide() {
            true => is_of_wide(region, entry, group, key),
            false => {
                head.0[3] >> GROUP_SHIFT & GROUP_WIDE == u64::from(group.0)
                    && head.0[2] >> VERSION_BITS == key.len() as u64
                    && is_equal(key, region.part(byte_of(entry) + HEADER_BYTES, key.len()))
            }
        };
        is_it.then_some(head)
    }

    /// Whether it has two words more.
    #[inline]
    pub(crate) fn is_wide(&self) -> bool {
        self.0[3] >> GROUP_SHIFT == WIDE
    }

    /// Whether the policy can keep memos with the entry.
    #[inline]
    fn has_memos(&self) -> bool {
        match self.is_wide() {
            false => self.0[3] >> GROUP_SHIFT & WITH_MEMOS != 0,
            true => self.0[3] & WIDE_WITH_MEMOS != 0,
        }
    }

    /// The shape of the entry, which lies at this place.
    #[inline]
    pub(crate) fn shape(&self, region: &Region, entry: Ref) -> Shape {
        if self.is_wide() {
            return Shape::at_wide(region, entry, self.0[3]);
        }
        let header = if self.has_memos() { Header::WITH_MEMOS } else { Header::NARROW };
        let value_bytes = (self.0[3] >> VALUE_SHIFT) as usize & VALUE_WIDE;
        Shape { header, key_bytes: (self.0[2] >> VERSION_BITS) as usize, value_bytes, pieces: 0 }
    }

    /// The group of the entry.
    #[inline]
    pub(crate) fn group(&self) -> GroupIndex {
        match self.0[3] >> GROUP_SHIFT {
            WIDE => GroupIndex(self.0[3] as u16),
            group => GroupIndex((group & GROUP_WIDE) as u16),
        }
    }

    /// The writer's flags.
    #[inline]
    pub(crate) fn flags(&self) -> u32 {
        (self.0[1] >> FLAGS_SHIFT) as u32
    }

    /// What it says of accesses.
    #[inline]
    pub(crate) fn before(&self) -> Before {
        Before(self.0[1] as u32)
    }

    /// Marks of leases.
    #[inline]
    pub(crate) fn marks(&self) -> Marks {
        Marks { stale: self.0[1] & STALE != 0, won: self.0[1] & WON != 0 }
    }

    /// Notes an access.
    #[inline]
    pub(crate) fn access(&self, region: &mut Region, entry: Ref, now_ms: u64) {
        let state = self.0[1] & !(ACCESS_MASK << ACCESS_SHIFT);
        region.set_word(entry + 1, state | second(now_ms) << ACCESS_SHIFT | HIT);
    }
}

/// What a header says of accesses: half of its second word. Most who get an entry do not ask, so it is kept as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before(u32);

impl Before {
    /// Whether the value was read since it was stored.
    #[inline]
    pub(crate) fn hit(self) -> bool {
        u64::from(self.0) & HIT != 0
    }

    /// When the entry was last accessed, in ms since the Unix epoch: the second of that access, if it was less than 194
    /// days ago.
    #[inline]
    pub(crate) fn accessed_ms(self, now_ms: u64) -> u64 {
        let now_s = now_ms / 1000;
        let ago_s = now_s.wrapping_sub(u64::from(self.0) >> ACCESS_SHIFT) & ACCESS_MASK;
        now_s.saturating_sub(ago_s) * 1000
    }
}

/// What a header says beside links, lengths, list and the state of reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// The version; see [`crate::Store`].
    pub(crate) version: u64,
    /// When it expires, in ms since the Unix epoch; 0: never.
    pub(crate) expires_at_ms: u64,
    /// The writer's flags.
    pub(crate) flags: u32,
    /// The time, in ms since the Unix epoch.
    pub(crate) now_ms: u64,
}

/// What the headers of one store are relative to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// The number of the shard, which ends every version.
    pub(crate) shard: u8,
    /// Narrow headers count time from this ms since the Unix epoch.
    pub(crate) base_ms: u64,
}

impl Frame {
    /// Whether only a wide header can say that an entry of this group expires then. What expires before the base does
    /// not need one: the base is long past.
    #[inline]
    pub(crate) fn needs_wide(&self, group: GroupIndex, expires_at_ms: u64) -> bool {
        u64::from(group.0) >= GROUP_WIDE || expires_at_ms.saturating_sub(self.base_ms) > EXPIRY_MAX
    }

    /// Writes the header of a live entry that is in no list yet. Places of pieces are not written.
    #[inline]
    pub(crate) fn write(&self, region: &mut Region, entry: Ref, group: GroupIndex, shape: Shape, stamp: Stamp) {
        let Header { is_wide, has_memos } = shape.header;
        debug_assert!(is_wide || !self.needs_wide(group, stamp.expires_at_ms), "the header is too narrow");
        let group = u64::from(group.0);
        let [key, sized] = match is_wide {
            true => {
                region.set_word(entry + 5, shape.key_bytes as u64 | (shape.value_bytes as u64) << 32);
                let mark = if has_memos { WIDE_WITH_MEMOS } else { 0 };
                [0, WIDE << GROUP_SHIFT | mark | (shape.pieces as u64) << PIECES_SHIFT | group]
            }
            false => {
                let mark = if has_memos { WITH_MEMOS } else { 0 };
                let group = (group | mark) << GROUP_SHIFT;
                [(shape.key_bytes as u64) << VERSION_BITS, (shape.value_bytes as u64) << VALUE_SHIFT | group]
            }
        };
        if has_memos {
            let memos = shape.memos(entry, region.segment_bytes());
            (0..MEMO_WORDS).for_each(|word| region.set_word(memos + word, 0));
        }
        self.stamp(region, entry, Head([u64::MAX, LIVE, key, sized]), stamp);
    }

    /// Writes what a header, as it was until now, says of a new value. List and links stay.
    #[inline]
    pub(crate) fn stamp(&self, region: &mut Region, entry: Ref, head: Head, stamp: Stamp) {
        let Head([links, state, key, sized]) = head;
        let access = second(stamp.now_ms) << ACCESS_SHIFT;
        let state = state & (LIST_MASK | LIVE) | access | u64::from(stamp.flags) << FLAGS_SHIFT;
        let key = key >> VERSION_BITS << VERSION_BITS | stamp.version >> u8::BITS;
        let sized = match head.is_wide() {
            true => sized,
            false => sized & !EXPIRY_MAX | self.since_base(stamp.expires_at_ms),
        };
        *region.granules_mut(entry) = [links, state, key, sized].map(u64::to_le_bytes);
        if head.is_wide() {
            region.set_word(entry + 4, stamp.expires_at_ms);
        }
    }

    /// The version of an entry.
    #[inline]
    pub(crate) fn version(&self, head: &Head) -> u64 {
        head.0[2] << u8::BITS | u64::from(self.shard)
    }

    /// When the entry at this place expires, in ms since the Unix epoch; 0: never.
    #[inline]
    pub(crate) fn expires_at_ms(&self, head: &Head, region: &Region, entry: Ref) -> u64 {
        if head.is_wide() {
            return region.word(entry + 4);
        }
        match head.0[3] & EXPIRY_MAX {
            0 => 0,
            since_base => self.base_ms + since_base,
        }
    }

    /// Says when an entry expires. A narrow header has to be able to.
    pub(crate) fn set_expires_at_ms(&self, region: &mut Region, entry: Ref, expires_at_ms: u64) {
        let sized = region.word(entry + 3);
        if sized >> GROUP_SHIFT == WIDE {
            return region.set_word(entry + 4, expires_at_ms);
        }
        region.set_word(entry + 3, sized & !EXPIRY_MAX | self.since_base(expires_at_ms));
    }

    /// How a narrow header says when an entry expires.
    #[inline]
    fn since_base(&self, expires_at_ms: u64) -> u64 {
        match expires_at_ms {
            0 => 0,
            _ => expires_at_ms.saturating_sub(self.base_ms).clamp(1, EXPIRY_MAX),
        }
    }
}

/// Numbers that a policy may keep with an entry.
pub(crate) const MEMOS: usize = MEMO_BYTES / size_of::<u32>();
const MEMO_WORDS: Ref = (MEMO_BYTES / GRANULE_BYTES) as Ref;

/// What a policy keeps with an entry, whose header allows it; 0 at first. It stays while the entry is moved or changed.
#[inline]
pub(crate) fn memos(region: &Region, entry: Ref) -> [u32; MEMOS] {
    let [first, second] = *region.granules(place_of_memos(region, entry));
    let ([low, high], [third, fourth]) = (halves(first), halves(second));
    [low, high, third, fourth]
}

/// See [`memos`].
#[inline]
pub(crate) fn set_memos(region: &mut Region, entry: Ref, memos: [u32; MEMOS]) {
    let place = place_of_memos(region, entry);
    let [low, high, third, fourth] = memos.map(u64::from);
    *region.granules_mut(place) = [low | high << 32, third | fourth << 32].map(u64::to_le_bytes);
}

#[inline]
fn place_of_memos(region: &Region, entry: Ref) -> Ref {
    let head = Head::at(region, entry);
    if head.is_wide() {
        return Shape::at_wide(region, entry, head.0[3]).memos(entry, region.segment_bytes());
    }
    debug_assert!(head.has_memos(), "entry {entry} has no memos");
    let bytes =
        HEADER_BYTES + (head.0[2] >> VERSION_BITS) as usize + ((head.0[3] >> VALUE_SHIFT) as usize & VALUE_WIDE);
    entry + bytes.div_ceil(GRANULE_BYTES) as Ref
}

#[inline]
fn halves(granule: [u8; GRANULE_BYTES]) -> [u32; 2] {
    let word = u64::from_le_bytes(granule);
    [word as u32, (word >> 32) as u32]
}

/// Gives an entry the memos of another, if both have some.
pub(crate) fn copy_memos(region: &mut Region, from: Ref, to: Ref) {
    if Head::at(region, from).has_memos() && Head::at(region, to).has_memos() {
        let memos = memos(region, from);
        set_memos(region, to, memos);
    }
}

#[inline]
fn second(now_ms: u64) -> u64 {
    (now_ms / 1000) & ACCESS_MASK
}

#[cold]
#[inline(never)]
fn is_of_wide(region: &Region, entry: Ref, group: GroupIndex, key: &[u8]) -> bool {
    super::group(region, entry) == group && super::key(region, entry) == key
}

/// Whether two keys of one length are equal. Most are short, and a call would take longer than to compare them.
#[inline]
fn is_equal(key: &[u8], other: &[u8]) -> bool {
    match (key.first_chunk(), key.last_chunk(), other.first_chunk(), other.last_chunk()) {
        (Some(first), Some(last), Some(other_first), Some(other_last)) if key.len() <= 2 * GRANULE_BYTES => {
            let differs = u64::from_ne_bytes(*first) ^ u64::from_ne_bytes(*other_first);
            differs | (u64::from_ne_bytes(*last) ^ u64::from_ne_bytes(*other_last)) == 0
        }
        _ => key == other,
    }
}

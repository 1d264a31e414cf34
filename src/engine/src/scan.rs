//! One step of a scan: some keys of a group on this shard, and where to go on.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use larder_protocol::native::generated::ScanResult;
use larder_protocol::{Reply, ScanStep, Status};
use larder_ring::key_hash;
use larder_store::RemovalHook;

use crate::glob::Glob;
use crate::groups::Group;
use crate::limits::{SCAN_COUNT_DEFAULT, SCAN_COUNT_MAX, SCAN_KEY_BYTES};
use crate::local::Local;

/// A place in a scan of a node: its shards are gone through one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    shard: u16,
    /// Where in the shard's index; what its store says.
    position: u64,
}

impl Cursor {
    /// Bytes of a cursor: those of the shard's number and of the position, little-endian.
    const BYTES: usize = size_of::<u16>() + size_of::<u64>();

    /// `None`: it is none that a scan of so many shards gives.
    fn decode(bytes: &[u8], shards: u16) -> Option<Cursor> {
        if bytes.is_empty() {
            return Some(Cursor { shard: 0, position: 0 });
        }
        let bytes: &[u8; Cursor::BYTES] = bytes.try_into().ok()?;
        let (shard, position) = bytes.split_first_chunk()?;
        let (shard, position) = (u16::from_le_bytes(*shard), u64::from_le_bytes(position.try_into().ok()?));
        (shard < shards).then_some(Cursor { shard, position })
    }

    fn encode(self) -> Vec<u8> {
        [&self.shard.to_le_bytes()[..], &self.position.to_le_bytes()].concat()
    }
}

/// Bits of a position that a number has room for. Positions are bits of hashes, the first ones of which tell lines of an
/// index apart: those that no index has so many of are 0.
const NUMBER_BITS: u32 = 44;
const UNUSED_BITS: u32 = u64::BITS - NUMBER_BITS;

/// The number that stands for a cursor, for clients that know no others: below 2^53, so that each is one of a double; 0: that
/// of an empty one. `None`: it is none that a scan of this node gave, or no number can.
pub fn number_of_cursor(cursor: &[u8]) -> Option<u64> {
    let Cursor { shard, position } = Cursor::decode(cursor, u16::MAX)?;
    let is_whole = position.trailing_zeros() >= UNUSED_BITS && u32::from(shard) < 1 << (53 - NUMBER_BITS);
    is_whole.then_some(u64::from(shard) << NUMBER_BITS | position >> UNUSED_BITS)
}

/// The cursor that a number stands for, which may be none.
pub fn cursor_of_number(number: u64) -> Vec<u8> {
    if number == 0 {
        return Vec::new();
    }
    let shard = u16::try_from(number >> NUMBER_BITS).unwrap_or(u16::MAX);
    Cursor { shard, position: number << UNUSED_BITS }.encode()
}

impl<H: RemovalHook> Local<H> {
    /// The shard that has to execute this step; `None`: the cursor is none.
    pub(crate) fn scanned_shard(&self, step: &ScanStep<'_>) -> Option<u16> {
        Cursor::decode(step.cursor, self.shards).map(|cursor| cursor.shard)
    }

    /// Executes a step, or says why it cannot be.
    pub(crate) fn scan(&mut self, group: Group, step: &ScanStep<'_>, now_ms: u64) -> Reply<'_> {
        let Some(cursor) = Cursor::decode(step.cursor, self.shards) else {
            return self.fail(
                Status::BadRequest,
                format_args!("the cursor is none that a scan of this node gave; begin with an empty one"),
            );
        };
        if cursor.shard != self.shard {
            let (shard, own) = (cursor.shard, self.shard);
            let message = format_args!("the scan goes on at shard {shard}, and this is {own}: ask without `forwarded`");
            return self.fail(Status::WrongOwner, message);
        }
        let glob = match step.pattern {
            [] => None,
            pattern => match Glob::new(pattern) {
                Some(glob) => Some(glob),
                None => return self.fail(Status::TooLarge, format_args!("the pattern is longer than 255 bytes")),
            },
        };
        self.counters.requests += 1;
        self.last.scan = self.keys_from(group, cursor, step.count, glob.as_ref(), now_ms);
        Reply::Scan(&self.last.scan)
    }

    fn keys_from(&self, group: Group, cursor: Cursor, count: u32, glob: Option<&Glob>, now_ms: u64) -> ScanResult {
        let count = if count == 0 { SCAN_COUNT_DEFAULT } else { count.min(SCAN_COUNT_MAX) };
        let (mut seen, mut seen_bytes, mut keys) = (0, 0, Vec::new());
        let is_plain = self.ownership.cleared_to().is_none();
        let next = self.store.scan(group.index, cursor.position, now_ms, |entry| {
            seen += 1;
            seen_bytes += entry.key.len();
            let is_of_now = is_plain || self.is_of_now(key_hash(entry.key, group.hash), entry.version);
            if is_of_now && glob.is_none_or(|glob| glob.matches(entry.key)) {
                keys.push(entry.key.to_vec());
            }
            match seen < count && seen_bytes < SCAN_KEY_BYTES {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        let next = match next {
            Some(position) => Some(Cursor { position, ..cursor }),
            None if cursor.shard + 1 < self.shards => Some(Cursor { shard: cursor.shard + 1, position: 0 }),
            None => None,
        };
        ScanResult { cursor: next.map_or(Vec::new(), Cursor::encode), keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_for_a_cursor() {
        for (shard, position) in [(0, 1 << 20), (1, 0), (255, u64::MAX << 20), (7, 5 << 40)] {
            let cursor = Cursor { shard, position }.encode();
            let number = number_of_cursor(&cursor).expect("it has room");
            assert!(number > 0 && number < 1 << 53);
            assert_eq!(cursor_of_number(number), cursor);
        }
        assert_eq!((number_of_cursor(&[]), cursor_of_number(0)), (Some(0), Vec::new()));
        assert_eq!(number_of_cursor(&Cursor { shard: 0, position: 1 << 19 }.encode()), None);
        assert!(Cursor::decode(&cursor_of_number(u64::MAX), 256).is_none());
    }

    #[test]
    fn a_cursor_comes_back_and_others_are_refused() {
        assert_eq!(Cursor::decode(&[], 1), Some(Cursor { shard: 0, position: 0 }));
        for (shard, position) in [(0, 0), (2, u64::MAX), (1, 1 << 40)] {
            let cursor = Cursor { shard, position };
            assert_eq!(Cursor::decode(&cursor.encode(), 3), Some(cursor));
            assert_eq!(Cursor::decode(&cursor.encode(), shard), None, "there is no such shard");
            assert_eq!(Cursor::decode(&cursor.encode()[1..], 3), None);
            assert_eq!(Cursor::decode(&[&cursor.encode()[..], &[0]].concat(), 3), None);
        }
    }
}

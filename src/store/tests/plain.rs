//! The plain model of a group: a map of entries, and their exact order of use.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use larder_store::{
    Charge, Expiry, GroupCounters, GroupIndex, GroupSettings, Marks, PolicyKind, Reason, Removal, RemovalHook,
};

use crate::run::Scan;

/// Keeps what the store reports until somebody takes it.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) removals: Vec<Removed>,
}

#[derive(Debug)]
pub(crate) struct Removed {
    pub(crate) group: GroupIndex,
    pub(crate) key: Vec<u8>,
    pub(crate) reason: Reason,
    pub(crate) bytes: u64,
    pub(crate) version: u64,
}

impl RemovalHook for Recorder {
    fn removed(&mut self, removal: Removal<'_>) {
        let Removal { group, key, reason, bytes, version } = removal;
        self.removals.push(Removed { group, key: key.to_vec(), reason, bytes, version });
    }
}

/// An entry as the next access finds it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) value: Vec<u8>,
    pub(crate) flags: u32,
    pub(crate) version: u64,
    pub(crate) expires_at_ms: u64,
    /// The last ms at which it may expire, as long as only a band is known; then `expires_at_ms` is the first.
    pub(crate) latest_ms: u64,
    pub(crate) accessed_ms: u64,
    pub(crate) hit: bool,
    pub(crate) marks: Marks,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        let all = |held: &Self| (held.flags, held.version, held.expires_at_ms, held.accessed_ms, held.hit, held.marks);
        all(self) == all(other) && self.value == other.value
    }
}

impl Held {
    /// An entry that was just stored, and expires at one of these times.
    pub(crate) fn new(value: Vec<u8>, flags: u32, expires: RangeInclusive<u64>) -> Self {
        let (version, accessed_ms, hit, marks) = (0, 0, false, Marks::default());
        let (expires_at_ms, latest_ms) = expires.into_inner();
        Self { value, flags, version, expires_at_ms, latest_ms, accessed_ms, hit, marks }
    }

    /// Sets when it expires.
    pub(crate) fn expire(&mut self, expires: RangeInclusive<u64>) {
        (self.expires_at_ms, self.latest_ms) = expires.into_inner();
    }

    /// Whether only a band is known of its time.
    pub(crate) fn is_jittered(&self) -> bool {
        self.expires_at_ms != self.latest_ms
    }

    /// Learns when it expires, which has to be within the band.
    pub(crate) fn learn(&mut self, expires_at_ms: u64, context: &str) {
        let band = self.expires_at_ms..=self.latest_ms;
        assert!(band.contains(&expires_at_ms), "{context}: {expires_at_ms} is not in {band:?}");
        self.expire(expires_at_ms..=expires_at_ms);
    }

    /// The number that its value spells as numbers are written.
    pub(crate) fn number(&self) -> Option<i64> {
        let text = std::str::from_utf8(&self.value).ok()?;
        text.parse().ok().filter(|number: &i64| number.to_string() == text)
    }
}

#[derive(Debug)]
pub(crate) struct ModelGroup {
    pub(crate) settings: GroupSettings,
    pub(crate) piece_bytes: usize,
    /// The most that an entry may take in this memory, whatever the budget.
    pub(crate) entry_bytes_max: u64,
    /// What the budget was before it was lowered and that was met.
    pub(crate) budget_before: u64,
    /// Whether it had another policy before.
    pub(crate) was_switched: bool,
    /// Whether what is stored now has memos, for a policy that keeps more with it; what was stored before may.
    pub(crate) has_memos: bool,
    /// Whether memory may be short, so that entries are evicted although their group has room.
    pub(crate) is_tight: bool,
    /// Whether the index may have no room for so many keys of one hash, so that any of these is evicted.
    pub(crate) is_crowded: bool,
    pub(crate) floor: u64,
    pub(crate) generation: u64,
    pub(crate) held: HashMap<Vec<u8>, Held>,
    /// By use, the most recent first.
    pub(crate) order: Vec<Vec<u8>>,
    pub(crate) scan: Option<Scan>,
    pub(crate) counters: GroupCounters,
    pub(crate) removals: HashMap<Reason, u64>,
}

impl ModelGroup {
    pub(crate) fn charge(&self, key: &[u8], value_bytes: usize) -> u64 {
        match self.settings.charge {
            Charge::Bytes => entry_bytes(key.len(), value_bytes, self.piece_bytes) + self.memo_bytes(),
            Charge::Objects => 1,
        }
    }

    /// What memos take.
    fn memo_bytes(&self) -> u64 {
        if self.has_memos { 16 } else { 0 }
    }

    /// Whether an entry may be as large as this.
    pub(crate) fn fits(&self, key: &[u8], value_bytes: usize) -> bool {
        entry_bytes(key.len(), value_bytes, self.piece_bytes) + self.memo_bytes() <= self.entry_bytes_max
            && self.charge(key, value_bytes) <= self.settings.budget_bytes
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.held.iter().map(|(key, held)| self.charge(key, held.value.len())).sum()
    }

    pub(crate) fn present(&self, key: &[u8], now_ms: u64) -> Option<&Held> {
        self.held
            .get(key)
            .filter(|held| held.version > self.floor && (held.expires_at_ms == 0 || now_ms < held.expires_at_ms))
    }

    /// The times at one of which an entry expires.
    pub(crate) fn expires_at_ms(&self, expiry: Expiry, kept: Option<u64>, now_ms: u64) -> RangeInclusive<u64> {
        let GroupSettings { ttl_ms, ttl_jitter, .. } = self.settings;
        let band_ms = ttl_ms * u64::from(ttl_jitter) / 100;
        let only = |at_ms| at_ms..=at_ms;
        match expiry {
            Expiry::Never => only(0),
            Expiry::After(ttl_ms) => only(now_ms + ttl_ms),
            Expiry::At(at_ms) => only(at_ms),
            Expiry::Keep if kept.is_some() => only(kept.unwrap()),
            _ if ttl_ms == 0 => only(0),
            _ => now_ms + ttl_ms - band_ms..=now_ms + ttl_ms + band_ms,
        }
    }

    pub(crate) fn use_key(&mut self, key: &[u8]) {
        self.order.retain(|other| other != key);
        self.order.insert(0, key.to_vec());
    }

    /// Gives an entry what a write put in its place.
    pub(crate) fn replace(&mut self, cause: &Cause, removal: &Removed) {
        let held = cause.outcome().and_then(|outcome| outcome.held.clone());
        self.held.insert(removal.key.clone(), held.expect("a write that stores replaces"));
        self.use_key(&removal.key);
    }

    /// Whether an entry of this group may leave as was reported.
    pub(crate) fn assert_right(&self, cause: &Cause, removal: &Removed, now_ms: u64, context: &str) {
        let held = self.held.get(&removal.key).unwrap_or_else(|| panic!("{context}: {removal:?} is not held"));
        assert_eq!(removal.version, held.version, "{context}");
        assert_eq!(removal.bytes, (removal.key.len() + held.value.len()) as u64, "{context}");
        let expired = held.expires_at_ms != 0 && held.expires_at_ms <= now_ms;
        let invalidated = held.version <= self.floor;
        let is_own = |outcome: &&Outcome| outcome.group == usize::from(removal.group.0);
        let target = cause.outcome().filter(is_own).filter(|outcome| outcome.key == removal.key);
        match removal.reason {
            Reason::Invalidated => assert!(invalidated, "{context}: {removal:?}"),
            Reason::Expired => assert!(expired && !invalidated, "{context}: {removal:?}"),
            Reason::Deleted | Reason::Voided => {
                assert!(target.is_some_and(|target| target.held.is_none()), "{context}: {removal:?}")
            }
            Reason::Replaced => assert!(target.is_some_and(|target| target.held.is_some()), "{context}: {removal:?}"),
            Reason::Evicted => {
                assert!(!expired && !invalidated && target.is_none(), "{context}: {removal:?}");
                self.assert_turn(cause, removal, context);
            }
            other => panic!("{context}: unknown reason {other:?}"),
        }
    }

    /// An entry is evicted only if room is needed, and under `lru` only the least recently used one.
    fn assert_turn(&self, cause: &Cause, removal: &Removed, context: &str) {
        let (group, added) = match cause {
            Cause::Read => panic!("{context}: {removal:?} by what stores nothing"),
            Cause::Reclaim => (usize::from(removal.group.0), 0),
            Cause::Write(Outcome { group, key, held }) => {
                let held = held.as_ref().unwrap_or_else(|| panic!("{context}: {removal:?} by a removal"));
                let is_new = !self.held.contains_key(key);
                (*group, if is_new { self.charge(key, held.value.len()) } else { 0 })
            }
        };
        if self.is_tight && !matches!(cause, Cause::Reclaim) {
            assert!(self.is_crowded || self.is_next(removal), "{context}: another entry was used less recently");
            return;
        }
        assert_eq!(group, usize::from(removal.group.0), "{context}: another group pays");
        assert!(self.is_next(removal), "{context}: another entry was used less recently");
        let is_exact = self.is_lru();
        assert!(!is_exact || self.bytes() + added > self.settings.budget_bytes, "{context}: there was room");
    }

    /// Whether the least recently used entry is the one to go, and nothing is remembered.
    pub(crate) fn is_lru(&self) -> bool {
        self.settings.policy.kind() == PolicyKind::Lru && !self.was_switched
    }

    fn is_next(&self, removal: &Removed) -> bool {
        !self.is_lru() || self.order.last() == Some(&removal.key)
    }
}

/// What entries leave for.
pub(crate) enum Cause {
    /// Something that stores nothing.
    Read,
    /// A write that was a success.
    Write(Outcome),
    /// Work in the background.
    Reclaim,
}

impl Cause {
    fn outcome(&self) -> Option<&Outcome> {
        match self {
            Cause::Write(outcome) => Some(outcome),
            Cause::Read | Cause::Reclaim => None,
        }
    }
}

/// What a write is to leave behind; `None` for an entry that is removed.
pub(crate) struct Outcome {
    pub(crate) group: usize,
    pub(crate) key: Vec<u8>,
    pub(crate) held: Option<Held>,
}

/// What an entry with a narrow time of expiry takes, in words of 8 bytes, its place in the index included.
fn entry_bytes(key_bytes: usize, value_bytes: usize, piece_bytes: usize) -> u64 {
    let header = if key_bytes >= 255 || value_bytes >= 65_535 { 48 } else { 32 };
    let whole = (header + key_bytes + value_bytes).next_multiple_of(8);
    let (pieces, first) = (value_bytes / (piece_bytes - 16), value_bytes % (piece_bytes - 16));
    let bytes = match whole > piece_bytes && pieces > 0 {
        true => 48 + (4 * pieces).next_multiple_of(8) + (key_bytes + first).next_multiple_of(8) + pieces * piece_bytes,
        false => whole,
    };
    bytes as u64 + 8
}

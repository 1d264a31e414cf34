//! The plain model of a group: a map of entries, and their exact order of use.

use std::collections::HashMap;

use larder_store::{
    Charge, Expiry, GroupCounters, GroupIndex, GroupSettings, Marks, PolicyKind, Reason, Removal, RemovalHook,
};

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
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) value: Vec<u8>,
    pub(crate) flags: u32,
    pub(crate) version: u64,
    pub(crate) expires_at_ms: u64,
    pub(crate) accessed_ms: u64,
    pub(crate) hit: bool,
    pub(crate) marks: Marks,
}

#[derive(Debug)]
pub(crate) struct ModelGroup {
    pub(crate) settings: GroupSettings,
    pub(crate) piece_bytes: usize,
    /// Whether memory may be short, so that entries are evicted although their group has room.
    pub(crate) is_tight: bool,
    pub(crate) floor: u64,
    pub(crate) generation: u64,
    pub(crate) held: HashMap<Vec<u8>, Held>,
    /// By use, the most recent first.
    pub(crate) order: Vec<Vec<u8>>,
    pub(crate) counters: GroupCounters,
    pub(crate) removals: HashMap<Reason, u64>,
}

impl ModelGroup {
    pub(crate) fn charge(&self, key: &[u8], value_bytes: usize) -> u64 {
        match self.settings.charge {
            Charge::Bytes => entry_bytes(key.len(), value_bytes, self.piece_bytes),
            Charge::Objects => 1,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.held.iter().map(|(key, held)| self.charge(key, held.value.len())).sum()
    }

    pub(crate) fn present(&self, key: &[u8], now_ms: u64) -> Option<&Held> {
        self.held
            .get(key)
            .filter(|held| held.version > self.floor && (held.expires_at_ms == 0 || now_ms < held.expires_at_ms))
    }

    pub(crate) fn expires_at_ms(&self, expiry: Expiry, kept: Option<u64>, now_ms: u64) -> u64 {
        match expiry {
            Expiry::Never => 0,
            Expiry::After(ttl_ms) => now_ms + ttl_ms,
            Expiry::At(at_ms) => at_ms,
            Expiry::Keep if kept.is_some() => kept.unwrap(),
            _ if self.settings.ttl_ms == 0 => 0,
            _ => now_ms + self.settings.ttl_ms,
        }
    }

    pub(crate) fn use_key(&mut self, key: &[u8]) {
        self.order.retain(|other| other != key);
        self.order.insert(0, key.to_vec());
    }

    /// An entry is evicted only if room is needed, and under `lru` only the least recently used one.
    pub(crate) fn assert_turn(&self, outcome: &Outcome, removal: &Removed, context: &str) {
        if self.settings.policy != PolicyKind::Lru {
            return;
        }
        assert_eq!(self.order.last(), Some(&removal.key), "{context}: another entry was used less recently");
        let held = outcome.held.as_ref().expect("only a write that stores evicts");
        let added = match self.held.contains_key(&outcome.key) {
            true => 0,
            false => self.charge(&outcome.key, held.value.len()),
        };
        let was_needed = self.is_tight || self.bytes() + added > self.settings.budget_bytes;
        assert!(was_needed, "{context}: there was room");
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
    let header = if key_bytes >= 255 || value_bytes >= 65_535 { 56 } else { 32 };
    let whole = (header + key_bytes + value_bytes).next_multiple_of(8);
    let (pieces, first) = (value_bytes / (piece_bytes - 16), value_bytes % (piece_bytes - 16));
    let bytes = match whole > piece_bytes && pieces > 0 {
        true => 56 + (4 * pieces).next_multiple_of(8) + (key_bytes + first).next_multiple_of(8) + pieces * piece_bytes,
        false => whole,
    };
    bytes as u64 + 8
}

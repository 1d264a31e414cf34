//! Values that prove what they are, and the memory of what was written.
//!
//! A verifiable value starts with a header, little-endian, and is filled up with arbitrary bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | XXH3-64 of everything behind, so of the header too |
//! | 8..16 | the run: another number for each run, whatever its seed |
//! | 16..24 | the version of this key: 1 for its first write of the run, then one more for each write and delete |
//! | 24..28 | the connection that wrote it |
//! | 28..32 | length of the whole value |
//! | 32..34 | length of the key |
//! | 34.. | the key |
//!
//! What is checked of every value that is read:
//! - always: it is well-formed, its checksum is right, it belongs to the key that was asked for, and, if this run wrote
//!   it, its version was issued already;
//! - with one writer per key: its version is no older than the newest write or delete of this key that was acknowledged
//!   before the read was sent. Requests of one connection on one key are executed in their order, so this holds with
//!   pipelining too. A miss is never an error: a cache may forget. A key whose write was lost with its connection is
//!   exempt from then on, because nobody knows when, or whether, the server executes it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_protocol::Status;
use xxhash_rust::xxh3::xxh3_64;

use crate::limits::WRONG_VALUE_BYTES_SHOWN;

/// Bytes of the header in front of the key.
pub const HEADER_BYTES: usize = 34;

/// Who writes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// One connection: the one whose number is the key's modulo the number of connections.
    OnePerKey,
    /// Any connection.
    Many,
}

/// A value that is not what was stored.
#[derive(Debug, thiserror::Error)]
pub struct Mismatch {
    key: String,
    what: &'static str,
    expected: String,
    got: String,
    value_bytes: usize,
    first: Vec<u8>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { key, what, expected, got, value_bytes, first } = self;
        write!(f, "wrong value of key {key:?}: {what}: expected {expected}, got {got}; it has {value_bytes} bytes")?;
        write!(f, ", the first {} are ", first.len())?;
        first.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where a right value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This run wrote it.
    Own,
    /// Another run wrote it; of its version nothing is known.
    Foreign,
}

/// What was written to each key, shared by all threads.
#[derive(Debug)]
pub struct Ledger {
    run: u64,
    writers: Writers,
    keys: Vec<History>,
}

#[derive(Debug, Default)]
struct History {
    issued: AtomicU64,
    /// Newest version that was acknowledged; [`UNKNOWN`] once nobody can tell any more.
    acknowledged: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;

impl Ledger {
    /// Nothing was written yet. `run` must differ from that of every run whose values may still be in the cache.
    pub fn new(run: u64, writers: Writers, keys: u64) -> Ledger {
        Ledger { run, writers, keys: (0..keys).map(|_| History::default()).collect() }
    }

    /// Who writes a key.
    pub fn writers(&self) -> Writers {
        self.writers
    }

    /// The version of the next write or delete of a key.
    pub fn issue(&self, key: u64) -> u64 {
        self.history(key).issued.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Notes what became of a write or delete.
    pub fn answered(&self, key: u64, version: u64, status: Status) {
        match status {
            Status::Ok | Status::NotFound => {
                self.history(key).acknowledged.fetch_max(version, Ordering::SeqCst);
            }
            Status::DeadlineExceeded | Status::OutcomeUnknown => self.lost(key),
            _ => {}
        }
    }

    /// Notes that nobody knows what became of a write or delete.
    pub fn lost(&self, key: u64) {
        self.history(key).acknowledged.store(UNKNOWN, Ordering::SeqCst);
    }

    /// The oldest version that a read sent now may return.
    pub fn floor(&self, key: u64) -> u64 {
        match self.history(key).acknowledged.load(Ordering::SeqCst) {
            UNKNOWN => 0,
            version => version,
        }
    }

    /// Writes a value of `len` bytes, at least [`HEADER_BYTES`] and the key.
    pub fn write(&self, out: &mut Vec<u8>, key: &[u8], version: u64, writer: u32, filling: &[u8], len: usize) {
        assert!(len >= HEADER_BYTES + key.len(), "a value of {len} bytes has no room for its header");
        out.clear();
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.run.to_le_bytes());
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&writer.to_le_bytes());
        out.extend_from_slice(&(len as u32).to_le_bytes());
        out.extend_from_slice(&(key.len() as u16).to_le_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(&filling[..len - HEADER_BYTES - key.len()]);
        let checksum = xxh3_64(&out[8..]);
        out[..8].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Checks the value that a read of `key` (the key with this number) has returned.
    pub fn check(&self, number: u64, key: &[u8], floor: u64, value: &[u8]) -> Result<Origin, Box<Mismatch>> {
        let wrong = |what, expected: String, got: String| {
            Err(Box::new(Mismatch {
                key: String::from_utf8_lossy(key).into_owned(),
                what,
                expected,
                got,
                value_bytes: value.len(),
                first: value[..value.len().min(WRONG_VALUE_BYTES_SHOWN)].to_vec(),
            }))
        };
        if value.len() < HEADER_BYTES {
            return wrong("length", format!("at least {HEADER_BYTES} bytes"), value.len().to_string());
        }
        let number_at = |at: usize| u64::from_le_bytes(value[at..at + 8].try_into().expect("eight bytes"));
        let checksum = xxh3_64(&value[8..]);
        if checksum != number_at(0) {
            return wrong("checksum", format!("{checksum:016x}"), format!("{:016x}", number_at(0)));
        }
        let len = u32::from_le_bytes(value[28..32].try_into().expect("four bytes")) as usize;
        if len != value.len() {
            return wrong("length", format!("{len} bytes"), value.len().to_string());
        }
        let key_len = usize::from(u16::from_le_bytes([value[32], value[33]]));
        let stored = value[HEADER_BYTES..].get(..key_len).unwrap_or(&[]);
        if stored != key {
            return wrong(
                "key",
                format!("{:?}", String::from_utf8_lossy(key)),
                format!("{:?}", String::from_utf8_lossy(stored)),
            );
        }
        let (run, version) = (number_at(8), number_at(16));
        if run != self.run {
            return match floor {
                0 => Ok(Origin::Foreign),
                _ => wrong("run", format!("{:016x}, version {floor} or newer", self.run), format!("{run:016x}")),
            };
        }
        let issued = self.history(number).issued.load(Ordering::SeqCst);
        if version > issued || version == 0 {
            return wrong("version", format!("at most {issued}, the newest one written"), version.to_string());
        }
        if self.writers == Writers::OnePerKey && version < floor {
            return wrong("version", format!("{floor}, acknowledged before the read, or newer"), version.to_string());
        }
        Ok(Origin::Own)
    }

    fn history(&self, key: u64) -> &History {
        &self.keys[key as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"key:7";

    fn ledger(writers: Writers) -> (Ledger, Vec<u8>) {
        let ledger = Ledger::new(99, writers, 10);
        let version = ledger.issue(7);
        let mut value = Vec::new();
        ledger.write(&mut value, KEY, version, 3, &[5; 200], 100);
        (ledger, value)
    }

    #[test]
    fn a_right_value_passes() {
        let (ledger, value) = ledger(Writers::OnePerKey);
        assert_eq!(value.len(), 100);
        assert_eq!(ledger.check(7, KEY, ledger.floor(7), &value).unwrap(), Origin::Own);
        ledger.answered(7, 1, Status::Ok);
        assert_eq!(ledger.check(7, KEY, ledger.floor(7), &value).unwrap(), Origin::Own);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let (ledger, value) = ledger(Writers::Many);
        for bit in 0..value.len() * 8 {
            let mut wrong = value.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(ledger.check(7, KEY, 0, &wrong).is_err(), "bit {bit}");
        }
        for len in 0..value.len() {
            assert!(ledger.check(7, KEY, 0, &value[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn the_value_of_another_key_is_named() {
        let (ledger, value) = ledger(Writers::Many);
        let error = ledger.check(8, b"key:8", 0, &value).unwrap_err().to_string();
        for part in ["\"key:8\"", "\"key:7\"", "100 bytes"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn an_older_version_than_acknowledged_is_an_error_with_one_writer() {
        let (one, old) = ledger(Writers::OnePerKey);
        let (many, _) = ledger(Writers::Many);
        for ledger in [&one, &many] {
            let version = ledger.issue(7);
            assert_eq!(ledger.floor(7), 0, "issued is not acknowledged");
            ledger.answered(7, version, Status::Overloaded);
            assert_eq!(ledger.floor(7), 0, "refused is not acknowledged");
            ledger.answered(7, version, Status::Ok);
            assert_eq!(ledger.floor(7), 2);
        }
        assert!(one.check(7, KEY, one.floor(7), &old).unwrap_err().to_string().contains("version"));
        assert!(many.check(7, KEY, many.floor(7), &old).is_ok());
        one.lost(7);
        assert!(one.check(7, KEY, one.floor(7), &old).is_ok(), "a lost write makes the key exempt");
        one.answered(7, 3, Status::Ok);
        assert_eq!(one.floor(7), 0, "for ever");
    }

    #[test]
    fn a_version_from_the_future_is_an_error() {
        let (ledger, _) = ledger(Writers::Many);
        let mut value = Vec::new();
        ledger.write(&mut value, KEY, 2, 0, &[0; 100], 64);
        assert!(ledger.check(7, KEY, 0, &value).is_err());
        ledger.issue(7);
        assert!(ledger.check(7, KEY, 0, &value).is_ok());
    }

    #[test]
    fn a_value_of_an_earlier_run_is_foreign_until_this_run_wrote_the_key() {
        let (ledger, _) = ledger(Writers::OnePerKey);
        let mut value = Vec::new();
        Ledger::new(98, Writers::Many, 10).write(&mut value, KEY, 77, 0, &[0; 100], 64);
        assert_eq!(ledger.check(7, KEY, ledger.floor(7), &value).unwrap(), Origin::Foreign);
        ledger.answered(7, 1, Status::Ok);
        assert!(ledger.check(7, KEY, ledger.floor(7), &value).is_err());
    }
}

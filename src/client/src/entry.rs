//! What calls take and give back.

use std::time::Duration;

use bytes::Bytes;
use larder_protocol::{Condition, Expiry};

/// An entry that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value: a part of the buffer that it was received in, without a copy. A small value that is kept for long
    /// holds that whole buffer; keep [`Entry::detached`] then.
    pub value: Bytes,
    /// As the writer set them.
    pub flags: u32,
    /// Its version, never 0: the token for [`SetOptions::if_version`].
    pub version: u64,
    /// What is left of its life; `None`: it does not expire, or is stale.
    pub ttl: Option<Duration>,
    /// Its time is over, and its group shows it for a while longer.
    pub is_stale: bool,
}

impl Entry {
    /// The same with a value that has memory of its own.
    pub fn detached(&self) -> Entry {
        Entry { value: Bytes::copy_from_slice(&self.value), ..self.clone() }
    }
}

/// How an entry is stored. The default: always, without flags, with the group's default time to live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetOptions {
    /// 32 bits that are kept with the entry and not looked at.
    pub flags: u32,
    /// When to store at all.
    pub condition: Condition,
    /// When the entry expires.
    pub expiry: Expiry,
}

impl SetOptions {
    /// Always, without flags, with the group's default time to live.
    pub fn new() -> Self {
        Self::default()
    }

    /// Expires after this time.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { expiry: expires_after(ttl), ..self }
    }

    /// Expires when `expiry` says.
    #[must_use]
    pub fn expiry(self, expiry: Expiry) -> Self {
        Self { expiry, ..self }
    }

    /// With these flags.
    #[must_use]
    pub fn flags(self, flags: u32) -> Self {
        Self { flags, ..self }
    }

    /// Only if the key is absent.
    #[must_use]
    pub fn if_absent(self) -> Self {
        Self { condition: Condition::Absent, ..self }
    }

    /// Only if the key is present.
    #[must_use]
    pub fn if_present(self) -> Self {
        Self { condition: Condition::Present, ..self }
    }

    /// Only if the key is present with this version.
    #[must_use]
    pub fn if_version(self, version: u64) -> Self {
        Self { condition: Condition::Version(version), ..self }
    }
}

/// [`Expiry::After`] this time: in whole ms, rounded up, at least 1.
pub fn expires_after(ttl: Duration) -> Expiry {
    let ms = ttl.as_nanos().div_ceil(1_000_000).max(1);
    Expiry::After(u64::try_from(ms).unwrap_or(u64::MAX))
}

/// What became of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a set with a condition may not have stored anything"]
pub enum SetOutcome {
    /// Stored.
    Stored {
        /// The version that the entry has now.
        version: u64,
    },
    /// Not stored: the key is there, and the condition was that it is not.
    Exists,
    /// Not stored: the key is not there, and the condition was that it is.
    NotFound,
    /// Not stored: the entry has another version.
    VersionMismatch,
}

impl SetOutcome {
    /// The version, if the entry was stored.
    pub fn version(self) -> Option<u64> {
        match self {
            SetOutcome::Stored { version } => Some(version),
            SetOutcome::Exists | SetOutcome::NotFound | SetOutcome::VersionMismatch => None,
        }
    }
}

/// What became of a delete of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "nothing was deleted if the version is another one"]
pub enum DeleteOutcome {
    /// Deleted.
    Deleted,
    /// The key was not there.
    NotFound,
    /// Not deleted: the entry has another version.
    VersionMismatch,
}

/// How a number is counted up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IncrementOptions {
    /// If the key is absent: create it with this value. `None`: that is a miss.
    pub initial: Option<i64>,
    /// Expiry of an entry that is created.
    pub expiry: Expiry,
}

/// A number after an increment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// The number.
    pub value: i64,
    /// The version of its entry.
    pub version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_rounded_up_and_never_becomes_never() {
        assert_eq!(expires_after(Duration::ZERO), Expiry::After(1));
        assert_eq!(expires_after(Duration::from_nanos(1)), Expiry::After(1));
        assert_eq!(expires_after(Duration::from_micros(1_001)), Expiry::After(2));
        assert_eq!(expires_after(Duration::from_secs(2)), Expiry::After(2_000));
        assert_eq!(expires_after(Duration::MAX), Expiry::After(u64::MAX));
    }

    #[test]
    fn a_detached_value_is_equal_and_elsewhere() {
        let buffer = Bytes::from(vec![7; 64]);
        let entry = Entry { value: buffer.slice(8..16), flags: 1, version: 2, ttl: None, is_stale: false };
        let detached = entry.detached();
        assert_eq!(detached, entry);
        assert_ne!(detached.value.as_ptr(), entry.value.as_ptr());
    }
}

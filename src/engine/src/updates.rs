//! What is made of the value that is there: on one shard, reading and writing it is one step.

use larder_protocol::{Claim, Found, Looked, Reply};
use larder_store::{Handle, Key, RemovalHook, StoreError};

use crate::decimal::Decimal;
use crate::limits::UNSIGNED_BYTES_MAX;
use crate::local::Local;

impl<H: RemovalHook> Local<H> {
    /// What is known of an entry, with its value or without.
    pub(crate) fn look(&mut self, key: Key<'_>, wants_value: bool, now_ms: u64) -> Reply<'_> {
        match self.store.peek(key, now_ms) {
            Some(handle) => Reply::Looked(self.looked(handle, wants_value, now_ms)),
            None => Reply::Miss,
        }
    }

    /// What is known of an entry that was found.
    pub(crate) fn looked(&mut self, handle: Handle, wants_value: bool, now_ms: u64) -> Looked<Found<'_>> {
        let known = self.store.entry(handle);
        let (value_bytes, is_hit) = (known.value.len() as u64, known.hit_before);
        let (expires_at_ms, accessed_ms) = (known.expires_at_ms, known.last_access_ms);
        let mut entry = self.found(handle, now_ms);
        if !wants_value {
            entry.value = larder_protocol::Value::Whole(&[]);
        }
        Looked { entry, value_bytes, expires_at_ms, accessed_ms, is_hit, claim: Claim::Nobody }
    }

    /// The reply to a change of a value's length.
    pub(crate) fn resized(&self, key: Key<'_>, version: u64, now_ms: u64) -> Reply<'static> {
        let handle = self.store.peek(key, now_ms);
        let value_bytes = handle.map_or(0, |handle| self.store.entry(handle).value.len() as u64);
        Reply::Resized { version, value_bytes }
    }

    /// Replaces bytes of a value from an offset on; what is missing in front of it is filled up with zeros.
    pub(crate) fn patch(&mut self, key: Key<'_>, offset: u64, part: &[u8], now_ms: u64) -> Result<u64, StoreError> {
        let bytes_max = self.store.value_bytes_max();
        let begin = usize::try_from(offset).ok().filter(|begin| *begin <= bytes_max).ok_or(StoreError::TooLarge)?;
        self.store.update(key, now_ms, |value| {
            let end = begin + part.len();
            if value.len() < end {
                value.resize(end, 0);
            }
            value[begin..end].copy_from_slice(part);
            Ok(())
        })
    }

    /// Adds to an integer without a sign, or takes from it, if it has this version (0: any). One that is absent is created so.
    pub(crate) fn count(
        &mut self,
        key: Key<'_>,
        (delta, is_down, version): (u64, bool, u64),
        created: Option<(u64, larder_store::Expiry)>,
        now_ms: u64,
    ) -> Result<u64, StoreError> {
        let Some(handle) = self.store.peek(key, now_ms) else {
            let (initial, expiry) = created.ok_or(StoreError::NotFound)?;
            let mut buffer = itoa::Buffer::new();
            let value = buffer.format(initial).as_bytes();
            return self.store.set(key, larder_store::Write { value, expiry, ..Default::default() }, now_ms);
        };
        if version != 0 && self.store.entry(handle).version != version {
            return Err(StoreError::VersionMismatch);
        }
        self.store.update(key, now_ms, |value| {
            let number = unsigned(value).ok_or(StoreError::NotANumber)?;
            let number = if is_down { number.saturating_sub(delta) } else { number.wrapping_add(delta) };
            let mut buffer = itoa::Buffer::new();
            let (len, digits) = (value.len(), buffer.format(number).as_bytes());
            value.clear();
            value.extend_from_slice(digits);
            value.resize(len.max(digits.len()), b' ');
            Ok(())
        })
    }

    /// Adds to a decimal fraction.
    pub(crate) fn add_decimal(&mut self, key: Key<'_>, delta: &[u8], now_ms: u64) -> Result<u64, StoreError> {
        let delta = Decimal::parse(delta).ok_or(StoreError::NotANumber)?;
        let is_absent = self.store.peek(key, now_ms).is_none();
        self.store.update(key, now_ms, |value| {
            let present = if is_absent { &b"0"[..] } else { &value[..] };
            let present = Decimal::parse(present).ok_or(StoreError::NotANumber)?;
            let sum = present.plus(delta).ok_or(StoreError::OutOfRange)?;
            value.clear();
            value.extend_from_slice(sum.as_bytes());
            Ok(())
        })
    }
}

/// The number that a value begins with, which may have blanks in front of it and anything behind a blank (`safe_strtoull` of
/// memcached).
fn unsigned(value: &[u8]) -> Option<u64> {
    let text = value.trim_ascii_start();
    let digits = text.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    let is_number = (1..=UNSIGNED_BYTES_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| core::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

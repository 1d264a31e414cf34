//! What a decoder keeps from request to request: its limits, and the buffers for the places of keys.

use alloc::vec::Vec;

use super::reader::Fault;
use crate::limits::{KEY_BYTES_MAX, KEYS_MAX, SCRATCH_KEYS_KEPT, VALUE_BYTES_MAX};
use crate::places::{Span, WriteSpan};

/// What a decoder accepts in one request. A server may set lower limits than the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Longest key, in bytes; at most [`KEY_BYTES_MAX`].
    pub key_bytes_max: usize,
    /// Longest value, in bytes; at most [`VALUE_BYTES_MAX`].
    pub value_bytes_max: usize,
    /// Most keys of one request; at most [`KEYS_MAX`].
    pub keys_max: usize,
}

impl Default for RequestLimits {
    /// The protocol's own limits.
    fn default() -> Self {
        Self { key_bytes_max: KEY_BYTES_MAX, value_bytes_max: VALUE_BYTES_MAX, keys_max: KEYS_MAX }
    }
}

/// Reused by every [`super::decode_request`] of one owner (a connection, a lane or a whole shard), so that a
/// multi-key request allocates nothing. Holds at most [`KEYS_MAX`] places, and gives back what is above
/// [`SCRATCH_KEYS_KEPT`] when the next request is decoded.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) limits: RequestLimits,
    pub(super) keys: Vec<Span>,
    pub(super) writes: Vec<WriteSpan>,
}

impl Scratch {
    /// A decoder's memory with these limits; those above the protocol's are lowered to it.
    pub fn new(limits: RequestLimits) -> Self {
        let most = RequestLimits::default();
        let limits = RequestLimits {
            key_bytes_max: limits.key_bytes_max.min(most.key_bytes_max),
            value_bytes_max: limits.value_bytes_max.min(most.value_bytes_max),
            keys_max: limits.keys_max.min(most.keys_max),
        };
        Self { limits, keys: Vec::new(), writes: Vec::new() }
    }

    /// What requests may have.
    pub fn limits(&self) -> RequestLimits {
        self.limits
    }

    /// Forgets the request before.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.clear();
        if self.keys.capacity() > SCRATCH_KEYS_KEPT || self.writes.capacity() > SCRATCH_KEYS_KEPT {
            self.keys.shrink_to(SCRATCH_KEYS_KEPT);
            self.writes.shrink_to(SCRATCH_KEYS_KEPT);
        }
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.writes.clear();
    }

    pub(super) fn push_key(&mut self, key: Span) -> Result<(), Fault> {
        self.limits.check_key(key.len as usize)?;
        self.limits.check_another(self.keys.len())?;
        self.keys.push(key);
        Ok(())
    }

    pub(super) fn push_write(&mut self, write: WriteSpan) -> Result<(), Fault> {
        self.limits.check_another(self.writes.len())?;
        self.writes.push(write);
        Ok(())
    }
}

impl RequestLimits {
    #[inline]
    pub(super) fn check_key(&self, len: usize) -> Result<(), Fault> {
        if len <= self.key_bytes_max {
            Ok(())
        } else {
            Err(Fault::too_large("a key is longer than the server accepts"))
        }
    }

    #[inline]
    pub(super) fn check_value(&self, len: usize) -> Result<(), Fault> {
        if len <= self.value_bytes_max {
            Ok(())
        } else {
            Err(Fault::too_large("a value is longer than the server accepts"))
        }
    }

    fn check_another(&self, count: usize) -> Result<(), Fault> {
        if count < self.keys_max {
            Ok(())
        } else {
            Err(Fault::too_large("a request has more keys than the server accepts; send several requests"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{decode_request, encode_request};
    use super::*;
    use crate::command::{Command, Request};
    use crate::places::{Keys, Writes};

    #[test]
    fn memory_is_kept_up_to_a_bound() {
        let frame_of = |command| {
            let mut frame = Vec::new();
            encode_request(
                &mut frame,
                &Request { id: 1, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command },
            );
            frame
        };
        let keys = [Span::default(); KEYS_MAX];
        let writes = [WriteSpan::default(); KEYS_MAX];
        let batches = [
            frame_of(Command::GetMany { keys: Keys::new(&[], &keys) }),
            frame_of(Command::SetMany { entries: Writes::new(&[], &writes) }),
            frame_of(Command::GetMany { keys: Keys::new(&[], &keys[..SCRATCH_KEYS_KEPT]) }),
        ];
        let get = frame_of(Command::Get { key: b"k" });

        let mut scratch = Scratch::default();
        for batch in &batches {
            decode_request(&batch[4..], &mut scratch).expect("a batch at the limit");
            assert!(scratch.keys.capacity() <= KEYS_MAX && scratch.writes.capacity() <= KEYS_MAX);
        }
        decode_request(&get[4..], &mut scratch).expect("a get");
        assert_eq!((scratch.keys.capacity(), scratch.writes.capacity()), (SCRATCH_KEYS_KEPT, SCRATCH_KEYS_KEPT));
        decode_request(&batches[2][4..], &mut scratch).expect("a batch");
        assert_eq!(scratch.keys.capacity(), SCRATCH_KEYS_KEPT, "what is kept is enough for it");
    }
}

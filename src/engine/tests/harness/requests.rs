//! Multi-key requests, as a decoder would have left them.

use larder_protocol::{Command, Condition, Expiry, Keys, Span, Write, WriteSpan, Writes};

/// Keys, or entries, of one request.
#[derive(Default)]
pub(crate) struct Batch {
    frame: Vec<u8>,
    keys: Vec<Span>,
    writes: Vec<WriteSpan>,
}

impl Batch {
    /// A request on these keys.
    pub(crate) fn of_keys<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Self {
        let mut batch = Self::default();
        for key in keys {
            let span = batch.put(key.as_ref());
            batch.keys.push(span);
        }
        batch
    }

    /// A request to store these values.
    pub(crate) fn of_values<K: AsRef<[u8]>, V: AsRef<[u8]>>(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut batch = Self::default();
        for (key, value) in entries {
            batch.push_write(key.as_ref(), value.as_ref(), Condition::Always);
        }
        batch
    }

    pub(crate) fn push_write(&mut self, key: &[u8], value: &[u8], condition: Condition) {
        let (key, value) = (self.put(key), self.put(value));
        self.writes.push(WriteSpan { key, value, flags: 0, condition, expiry: Expiry::Default });
    }

    fn put(&mut self, bytes: &[u8]) -> Span {
        let span = Span { start: self.frame.len() as u32, len: bytes.len() as u32 };
        self.frame.extend_from_slice(bytes);
        span
    }

    pub(crate) fn get(&self) -> Command<'_> {
        Command::GetMany { keys: Keys::new(&self.frame, &self.keys) }
    }

    pub(crate) fn delete(&self) -> Command<'_> {
        Command::DeleteMany { keys: Keys::new(&self.frame, &self.keys) }
    }

    pub(crate) fn set(&self) -> Command<'_> {
        Command::SetMany { entries: Writes::new(&self.frame, &self.writes) }
    }
}

/// A plain set.
pub(crate) fn set<'a>(key: &'a [u8], value: &'a [u8]) -> Command<'a> {
    set_if(key, value, Condition::Always)
}

/// A set with a condition.
pub(crate) fn set_if<'a>(key: &'a [u8], value: &'a [u8], condition: Condition) -> Command<'a> {
    Command::Set(Write { key, value, flags: 0, condition, expiry: Expiry::Default })
}

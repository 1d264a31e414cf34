//! Entries that left, as a watcher is told of them.

use crate::Span;

/// Why an entry left; the numbers are those of `proto/larder.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum RemovalReason {
    /// One that this version does not know.
    Unknown = 0,
    /// Its group, or the memory of its shard, needed the room.
    Evicted = 1,
    /// Its time was over.
    Expired = 2,
    /// By a delete, or by a write whose expiry was in the past.
    Deleted = 3,
    /// By a new value under the same key.
    Replaced = 4,
    /// With its group.
    Invalidated = 5,
    /// What it was made from is not valid any more.
    Voided = 6,
}

impl RemovalReason {
    /// The reason with this number on the wire.
    pub fn from_number(number: i32) -> RemovalReason {
        match number {
            1 => RemovalReason::Evicted,
            2 => RemovalReason::Expired,
            3 => RemovalReason::Deleted,
            4 => RemovalReason::Replaced,
            5 => RemovalReason::Invalidated,
            6 => RemovalReason::Voided,
            _ => RemovalReason::Unknown,
        }
    }

    /// Its name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            RemovalReason::Unknown => "unknown",
            RemovalReason::Evicted => "evicted",
            RemovalReason::Expired => "expired",
            RemovalReason::Deleted => "deleted",
            RemovalReason::Replaced => "replaced",
            RemovalReason::Invalidated => "invalidated",
            RemovalReason::Voided => "voided",
        }
    }
}

/// An entry that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// Why it left.
    pub reason: RemovalReason,
    /// Bytes of key and value.
    pub bytes: u64,
}

/// An entry that left, with its key somewhere in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedSpan {
    /// As [`Removed::key`].
    pub key: Span,
    /// As [`Removed::reason`].
    pub reason: RemovalReason,
    /// As [`Removed::bytes`].
    pub bytes: u64,
}

/// Entries that left, in order, and how many left behind them that are not here. The keys lie in one buffer, so that
/// collecting them allocates nothing.
#[derive(Clone, Copy, Debug)]
pub struct Removals<'a> {
    keys: &'a [u8],
    spans: &'a [RemovedSpan],
    missed: u64,
}

impl<'a> Removals<'a> {
    /// Entries with their keys at `spans` of `keys`, and `missed` ones behind them.
    pub fn new(keys: &'a [u8], spans: &'a [RemovedSpan], missed: u64) -> Self {
        Self { keys, spans, missed }
    }

    /// How many entries are here.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// How many left behind these and are not here.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The entries, in the order in which they left.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Removed<'a>> + Clone + use<'a> {
        let keys = self.keys;
        self.spans.iter().map(move |span| Removed { key: span.key.of(keys), reason: span.reason, bytes: span.bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_specification() {
        use crate::native::generated::RemovalReason as Specified;
        for number in -1..8 {
            let reason = RemovalReason::from_number(number);
            match Specified::try_from(number) {
                Ok(Specified::UnknownReason) | Err(_) => assert_eq!(reason, RemovalReason::Unknown),
                Ok(specified) => {
                    assert_eq!((reason as i32, reason.name()), (number, &*specified.as_str_name().to_lowercase()));
                }
            }
        }
    }
}

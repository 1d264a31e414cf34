//! Several keys or entries, by their places in the bytes that were received.

use crate::command::{Condition, Expiry, Write};

/// A place in the bytes of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// The bytes at this place in `frame`; empty if the span does not lie in it.
    pub fn of(self, frame: &[u8]) -> &[u8] {
        let start = self.start as usize;
        frame.get(start..start.saturating_add(self.len as usize)).unwrap_or(&[])
    }
}

/// Several keys in a frame. The spans are in a buffer that the decoder's owner reuses, so a multi-get allocates
/// nothing, whatever dialect it came in.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    frame: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Keys<'a> {
    /// Keys at `spans` of `frame`.
    pub fn new(frame: &'a [u8], spans: &'a [Span]) -> Self {
        Self { frame, spans }
    }

    /// How many keys.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The bytes that the spans lie in.
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// Where the keys are, in the order asked; what a scatter picks its parts from.
    pub fn spans(&self) -> &'a [Span] {
        self.spans
    }

    /// The keys in the order asked.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let frame = self.frame;
        self.spans.iter().map(move |span| span.of(frame))
    }
}

/// Where the parts of one entry of a set_many are in its frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteSpan {
    /// The key.
    pub key: Span,
    /// The value.
    pub value: Span,
    /// As [`Write::flags`].
    pub flags: u32,
    /// As [`Write::condition`].
    pub condition: Condition,
    /// As [`Write::expiry`].
    pub expiry: Expiry,
}

impl WriteSpan {
    /// The entry with its parts in `frame`.
    pub fn of(self, frame: &[u8]) -> Write<'_> {
        Write {
            key: self.key.of(frame),
            value: self.value.of(frame),
            flags: self.flags,
            condition: self.condition,
            expiry: self.expiry,
        }
    }
}

/// Several entries to store, like [`Keys`].
#[derive(Clone, Copy, Debug)]
pub struct Writes<'a> {
    frame: &'a [u8],
    spans: &'a [WriteSpan],
}

impl<'a> Writes<'a> {
    /// Entries at `spans` of `frame`.
    pub fn new(frame: &'a [u8], spans: &'a [WriteSpan]) -> Self {
        Self { frame, spans }
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The bytes that the spans lie in.
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// Where the entries are, in the order sent; what a scatter picks its parts from.
    pub fn spans(&self) -> &'a [WriteSpan] {
        self.spans
    }

    /// The entries in the order sent.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Write<'a>> + Clone + use<'a> {
        let frame = self.frame;
        self.spans.iter().map(move |span| span.of(frame))
    }
}

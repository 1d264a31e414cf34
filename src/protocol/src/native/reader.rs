//! Reading protobuf from a slice: as strict and as lenient as prost, and without allocating.

use core::str;

use crate::Status;
use crate::places::Span;

/// How deep groups and messages may nest; prost's limit, so that both accept the same bytes.
pub(super) const DEPTH_MAX: u32 = 100;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) status: Status,
    pub(super) reason: &'static str,
}

impl Fault {
    #[cold]
    pub(super) fn bad(reason: &'static str) -> Self {
        Self { status: Status::BadRequest, reason }
    }

    #[cold]
    pub(super) fn too_large(reason: &'static str) -> Self {
        Self { status: Status::TooLarge, reason }
    }

    #[cold]
    pub(super) fn not_supported(reason: &'static str) -> Self {
        Self { status: Status::NotSupported, reason }
    }
}

/// How a field's bytes are delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Varint,
    Fixed64,
    Bytes,
    GroupStart,
    GroupEnd,
    Fixed32,
}

/// A position in a frame, up to the end of the message that is being read. Positions count from the start of the
/// frame also in a nested message, so that spans are of the frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    /// The frame up to the end of this message.
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { bytes: message, at: 0, depth: DEPTH_MAX }
    }

    /// A reader of the same message that begins at `at`, which an earlier reader returned from [`Reader::position`].
    pub(super) fn starting_at(message: &'a [u8], at: usize) -> Self {
        Self { bytes: message, at, depth: DEPTH_MAX }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The number and the kind of the next field; `None` at the end of the message.
    #[inline]
    pub(super) fn field(&mut self) -> Result<Option<(u32, Wire)>, Fault> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let Ok(key) = u32::try_from(self.varint()?) else {
            return Err(Fault::bad("a field number is above 2^29 - 1"));
        };
        let wire = match key & 7 {
            0 => Wire::Varint,
            1 => Wire::Fixed64,
            2 => Wire::Bytes,
            3 => Wire::GroupStart,
            4 => Wire::GroupEnd,
            5 => Wire::Fixed32,
            _ => return Err(Fault::bad("a field has wire type 6 or 7, which do not exist")),
        };
        match key >> 3 {
            0 => Err(Fault::bad("a field has number 0")),
            number => Ok(Some((number, wire))),
        }
    }

    /// A number of up to 64 bits. Overlong encodings of up to 10 bytes are accepted, as prost does.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.varint_long(),
        }
    }

    fn varint_long(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for (index, &byte) in self.bytes[self.at..].iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                if index == 9 && byte > 1 {
                    return Err(Fault::bad("a number has more than 64 bits"));
                }
                self.at += index + 1;
                return Ok(value);
            }
        }
        match self.bytes.len() - self.at {
            0..10 => Err(Fault::bad("a number is cut off at the end of its message")),
            _ => Err(Fault::bad("a number has more than 10 bytes")),
        }
    }

    /// A length-delimited field, as a place in the frame.
    #[inline]
    pub(super) fn span(&mut self, wire: Wire) -> Result<Span, Fault> {
        expect(wire, Wire::Bytes)?;
        let len = self.varint()?;
        if len > (self.bytes.len() - self.at) as u64 {
            return Err(Fault::bad("a field claims more bytes than its message has"));
        }
        let span = Span { start: self.at as u32, len: len as u32 };
        self.at += len as usize;
        Ok(span)
    }

    /// A length-delimited field.
    #[inline]
    pub(super) fn slice(&mut self, wire: Wire) -> Result<&'a [u8], Fault> {
        let span = self.span(wire)?;
        Ok(&self.bytes[span.start as usize..][..span.len as usize])
    }

    /// A length-delimited field of text.
    pub(super) fn text(&mut self, wire: Wire, not_utf8: &'static str) -> Result<&'a str, Fault> {
        str::from_utf8(self.slice(wire)?).map_err(|_| Fault::bad(not_utf8))
    }

    /// A reader of a nested message, which this reader then stands behind.
    #[inline]
    pub(super) fn message(&mut self, wire: Wire) -> Result<Reader<'a>, Fault> {
        let span = self.span(wire)?;
        let start = span.start as usize;
        Ok(Reader { bytes: &self.bytes[..start + span.len as usize], at: start, depth: self.depth - 1 })
    }

    #[inline]
    pub(super) fn fixed64(&mut self, wire: Wire) -> Result<u64, Fault> {
        expect(wire, Wire::Fixed64)?;
        match self.bytes[self.at..].first_chunk() {
            Some(bytes) => {
                self.at += 8;
                Ok(u64::from_le_bytes(*bytes))
            }
            None => Err(Fault::bad("a number of 8 bytes is cut off at the end of its message")),
        }
    }

    #[inline]
    pub(super) fn uint64(&mut self, wire: Wire) -> Result<u64, Fault> {
        expect(wire, Wire::Varint)?;
        self.varint()
    }

    /// Higher bits are dropped, as protobuf has it.
    #[inline]
    pub(super) fn uint32(&mut self, wire: Wire) -> Result<u32, Fault> {
        Ok(self.uint64(wire)? as u32)
    }

    #[inline]
    pub(super) fn bool(&mut self, wire: Wire) -> Result<bool, Fault> {
        Ok(self.uint64(wire)? != 0)
    }

    pub(super) fn sint64(&mut self, wire: Wire) -> Result<i64, Fault> {
        let zigzag = self.uint64(wire)?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// Passes over a field of unknown number, whatever it is; groups must be balanced.
    pub(super) fn skip(&mut self, number: u32, wire: Wire) -> Result<(), Fault> {
        self.skip_nested(number, wire, self.depth)
    }

    fn skip_nested(&mut self, number: u32, wire: Wire, depth: u32) -> Result<(), Fault> {
        if depth == 0 {
            return Err(Fault::bad("unknown fields are nested too deep"));
        }
        let len = match wire {
            Wire::Varint => {
                self.varint()?;
                0
            }
            Wire::Fixed64 => 8,
            Wire::Fixed32 => 4,
            Wire::Bytes => self.varint()?,
            Wire::GroupEnd => return Err(Fault::bad("a group ends that did not begin")),
            Wire::GroupStart => loop {
                match self.field()? {
                    None => return Err(Fault::bad("a group has no end")),
                    Some((end, Wire::GroupEnd)) if end == number => break 0,
                    Some((inner, wire)) => self.skip_nested(inner, wire, depth - 1)?,
                }
            },
        };
        if len > (self.bytes.len() - self.at) as u64 {
            return Err(Fault::bad("an unknown field claims more bytes than its message has"));
        }
        self.at += len as usize;
        Ok(())
    }
}

#[inline]
fn expect(found: Wire, wanted: Wire) -> Result<(), Fault> {
    if found == wanted { Ok(()) } else { Err(Fault::bad("a known field has another wire type than its own")) }
}

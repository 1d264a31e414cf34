//! A short run of protobuf fields that is put together where it is to lie, without asking a buffer for room at every byte.

use alloc::vec::Vec;

use super::writer::size;
use crate::limits::FRAME_PREFIX_BYTES;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

/// At most [`Piece::BYTES`] bytes. Field numbers are below 16.
pub(super) struct Piece<'a> {
    bytes: &'a mut [u8; Piece::BYTES],
    len: usize,
}

/// The longest piece: in front of a value are the frame's length, two numbers, and two lengths with their fields.
const LONGEST: usize =
    FRAME_PREFIX_BYTES + 2 * size::present(1, u64::MAX) + 2 * (1 + size::varint(u32::MAX as u64)) + 1 + 8;
const _: () = assert!(LONGEST <= Piece::BYTES);

impl<'a> Piece<'a> {
    /// Room of a piece, a power of two.
    pub(super) const BYTES: usize = 64;

    /// An empty one, in this place.
    pub(super) fn new(place: &'a mut [u8; Piece::BYTES]) -> Self {
        Self { bytes: place, len: 0 }
    }

    /// Appends what `put` puts together. Asks `out` for the room of a whole piece. It is made where it stays: to copy bytes that
    /// were just written one by one, the processor waits until the last of them is in its cache.
    ///
    /// # Panics
    /// If it is longer than a piece may be, which the fields of callers never are.
    #[inline]
    pub(super) fn append(out: &mut Vec<u8>, put: impl FnOnce(&mut Piece<'_>)) {
        let begin = out.len();
        out.extend_from_slice(&[0; Piece::BYTES]);
        let mut piece = Piece::new(out.last_chunk_mut().expect("so many were just added"));
        put(&mut piece);
        let len = piece.bytes().len();
        out.truncate(begin + len);
    }

    /// Leaves room at the beginning, for [`Piece::prefix`].
    #[inline]
    pub(super) fn skip(&mut self, bytes: usize) {
        self.len += bytes;
    }

    /// Writes the length of a frame into the first bytes.
    ///
    /// # Panics
    /// If it does not fit in the prefix.
    #[inline]
    pub(super) fn prefix(&mut self, len: usize) {
        let claim = u32::try_from(len).expect("a message is shorter than 4 GiB");
        self.bytes[..FRAME_PREFIX_BYTES].copy_from_slice(&claim.to_be_bytes());
    }

    /// A number that is left out if it is 0.
    #[inline]
    pub(super) fn uint(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.varint(u64::from(number) << 3 | VARINT);
            self.varint(value);
        }
    }

    /// A number of 8 bytes that is left out if it is 0.
    #[inline]
    pub(super) fn fixed64(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.varint(u64::from(number) << 3 | FIXED64);
            let at = self.len & (Self::BYTES - 1);
            if let Some(place) = self.bytes[at..].first_chunk_mut() {
                *place = value.to_le_bytes();
            }
            self.len += 8;
        }
    }

    /// Begins a message, or a byte string, of `len` bytes.
    #[inline]
    pub(super) fn message(&mut self, number: u32, len: usize) {
        self.varint(u64::from(number) << 3 | BYTES);
        self.varint(len as u64);
    }

    /// What was put together.
    ///
    /// # Panics
    /// If that is longer than a piece may be.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        assert!(self.len <= Self::BYTES, "a piece of {} bytes is too long", self.len);
        &self.bytes[..self.len]
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        // The mask says what the assert in `bytes` holds, without a branch at every byte.
        self.bytes[self.len & (Self::BYTES - 1)] = byte;
        self.len += 1;
    }
}

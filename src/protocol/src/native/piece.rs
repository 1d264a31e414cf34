//! A short run of protobuf fields that is put together aside, without asking a buffer for room at every byte.

use alloc::vec::Vec;

use super::writer::size;
use crate::limits::FRAME_PREFIX_BYTES;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

/// At most [`Piece::BYTES`] bytes. Field numbers are below 16.
pub(super) struct Piece {
    bytes: [u8; Self::BYTES],
    len: usize,
}

/// The longest piece: in front of a value are the frame's length, two numbers, and two lengths with their fields.
const LONGEST: usize =
    FRAME_PREFIX_BYTES + 2 * size::present(1, u64::MAX) + 2 * (1 + size::varint(u32::MAX as u64)) + 1 + 8;
const _: () = assert!(LONGEST <= Piece::BYTES);

impl Default for Piece {
    #[inline]
    fn default() -> Self {
        Self { bytes: [0; Self::BYTES], len: 0 }
    }
}

impl Piece {
    /// Room of a piece, a power of two.
    pub(super) const BYTES: usize = 64;

    pub(super) fn len(&self) -> usize {
        self.len
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

    /// Appends it, with as many bytes of room behind it as it is shorter than [`Piece::BYTES`].
    ///
    /// # Panics
    /// If it was longer than that, which the fields of callers never are.
    #[inline]
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        assert!(self.len <= Self::BYTES, "a piece of {} bytes is too long", self.len);
        let end = out.len() + self.len;
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
    }

    /// Appends it, and begins again.
    #[inline]
    pub(super) fn move_to(&mut self, out: &mut Vec<u8>) {
        self.append_to(out);
        self.len = 0;
    }

    /// What was put together.
    pub(super) fn bytes(&self) -> &[u8] {
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
        // The mask says what the assert in `append_to` holds, without a branch at every byte.
        self.bytes[self.len & (Self::BYTES - 1)] = byte;
        self.len += 1;
    }
}

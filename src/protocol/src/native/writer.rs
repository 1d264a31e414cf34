//! Writing protobuf: the sizes first, so that a message is reserved once and its length is known in front of it.

use alloc::vec::Vec;

use prost::Message;

use crate::Value;
use crate::limits::FRAME_PREFIX_BYTES;

const WIRE_VARINT: u32 = 0;
const WIRE_FIXED64: u32 = 1;
const WIRE_BYTES: u32 = 2;

/// Sizes of encoded fields. Numbers that are 0 and byte strings that are empty are left out, as proto3 has it.
pub(super) mod size {
    /// Bytes of a varint.
    pub(in crate::native) const fn varint(value: u64) -> usize {
        (70 - (value | 1).leading_zeros() as usize) / 7
    }

    /// Bytes of the number and kind of a field.
    pub(in crate::native) const fn key(number: u32) -> usize {
        varint((number as u64) << 3)
    }

    /// A varint field that is written also when it is 0.
    pub(in crate::native) const fn present(number: u32, value: u64) -> usize {
        key(number) + varint(value)
    }

    pub(in crate::native) const fn uint(number: u32, value: u64) -> usize {
        if value == 0 { 0 } else { present(number, value) }
    }

    pub(in crate::native) const fn fixed64(number: u32, value: u64) -> usize {
        if value == 0 { 0 } else { key(number) + 8 }
    }

    /// A message, or an element of a repeated field: written also when it is empty.
    pub(in crate::native) const fn message(number: u32, len: usize) -> usize {
        key(number) + varint(len as u64) + len
    }

    pub(in crate::native) const fn bytes(number: u32, len: usize) -> usize {
        if len == 0 { 0 } else { message(number, len) }
    }
}

/// Protobuf's mapping of signed numbers to small unsigned ones.
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Appends fields to a buffer in which the message was reserved.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Begins a frame whose message has `len` bytes, and reserves it in `out`.
    ///
    /// # Panics
    /// If `len` does not fit in the prefix; callers of the encoders keep messages below `FRAME_BYTES_MAX`.
    #[inline]
    pub(super) fn frame(out: &'a mut Vec<u8>, len: usize) -> Self {
        let claim = u32::try_from(len).expect("a message is shorter than 4 GiB");
        out.reserve(FRAME_PREFIX_BYTES + len);
        out.extend_from_slice(&claim.to_be_bytes());
        Self { out }
    }

    /// A message that prost encodes, of which the number and the length were written.
    pub(super) fn by_prost(self, message: &impl Message) {
        message.encode(self.out).expect("a Vec has room for what was reserved");
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    #[inline]
    fn key(&mut self, number: u32, wire: u32) {
        self.varint(u64::from(number << 3 | wire));
    }

    #[inline]
    pub(super) fn present(&mut self, number: u32, value: u64) {
        self.key(number, WIRE_VARINT);
        self.varint(value);
    }

    /// A value, which is left out if it is empty.
    #[inline]
    pub(super) fn value(&mut self, number: u32, value: &Value<'_>) {
        if !value.is_empty() {
            self.message(number, value.len());
            value.append_to(self.out);
        }
    }

    #[inline]
    pub(super) fn uint(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.present(number, value);
        }
    }

    #[inline]
    pub(super) fn fixed64(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.key(number, WIRE_FIXED64);
            self.out.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Begins a message, or an element of a repeated field, of `len` bytes.
    #[inline]
    pub(super) fn message(&mut self, number: u32, len: usize) {
        self.key(number, WIRE_BYTES);
        self.varint(len as u64);
    }

    #[inline]
    pub(super) fn bytes(&mut self, number: u32, payload: &[u8]) {
        if !payload.is_empty() {
            self.element(number, payload);
        }
    }

    /// A byte string in a repeated field, where an empty one is written too.
    #[inline]
    pub(super) fn element(&mut self, number: u32, payload: &[u8]) {
        self.message(number, payload.len());
        self.out.extend_from_slice(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varint_sizes_are_those_written() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, (1u64 << shift) + 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                Writer { out: &mut out }.varint(value);
                assert_eq!(out.len(), size::varint(value), "value {value}");
            }
        }
    }

    #[test]
    fn zigzag_maps_small_numbers_to_small_numbers() {
        let mapped = [0, -1, 1, -2, i64::MAX, i64::MIN].map(zigzag);
        assert_eq!(mapped, [0, 1, 2, 3, u64::MAX - 1, u64::MAX]);
    }
}

//! Writing protobuf: the sizes first, so that a message is reserved once and its length is known in front of it.

use alloc::vec::Vec;

use crate::limits::FRAME_PREFIX_BYTES;

/// Bytes that [`Head`] holds. The longest run of fields without a payload is the set_many of an empty key and value:
/// length and envelope (43), beginnings of the operation and the element (12), and the other fields (28). A loop over
/// elements flushes each.
const HEAD_BYTES: usize = 96;

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

/// Fields between two payloads, put together on the stack and appended to the output at once.
pub(super) struct Head {
    bytes: [u8; HEAD_BYTES],
    len: usize,
}

impl Head {
    pub(super) fn new() -> Self {
        Self { bytes: [0; HEAD_BYTES], len: 0 }
    }

    /// Begins a frame whose message has `len` bytes, and reserves it in `out`.
    ///
    /// # Panics
    /// If `len` does not fit in the prefix; callers of the encoders keep messages below `FRAME_BYTES_MAX`.
    pub(super) fn frame(out: &mut Vec<u8>, len: usize) -> Self {
        let claim = u32::try_from(len).expect("a message is shorter than 4 GiB");
        out.reserve(FRAME_PREFIX_BYTES + len);
        let mut head = Self::new();
        head.raw(&claim.to_be_bytes());
        head
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes[self.len] = value as u8 | 0x80;
            self.len += 1;
            value >>= 7;
        }
        self.bytes[self.len] = value as u8;
        self.len += 1;
    }

    fn key(&mut self, number: u32, wire: u32) {
        self.varint(u64::from(number << 3 | wire));
    }

    pub(super) fn present(&mut self, number: u32, value: u64) {
        self.key(number, WIRE_VARINT);
        self.varint(value);
    }

    pub(super) fn uint(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.present(number, value);
        }
    }

    pub(super) fn fixed64(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.key(number, WIRE_FIXED64);
            self.raw(&value.to_le_bytes());
        }
    }

    /// Begins a message, or an element of a repeated field, of `len` bytes.
    pub(super) fn message(&mut self, number: u32, len: usize) {
        self.key(number, WIRE_BYTES);
        self.varint(len as u64);
    }

    /// A byte string; appends what was put together and then the payload to `out`.
    pub(super) fn bytes(&mut self, out: &mut Vec<u8>, number: u32, payload: &[u8]) {
        if !payload.is_empty() {
            self.element(out, number, payload);
        }
    }

    /// A byte string in a repeated field, where an empty one is written too.
    pub(super) fn element(&mut self, out: &mut Vec<u8>, number: u32, payload: &[u8]) {
        self.message(number, payload.len());
        self.flush(out);
        out.extend_from_slice(payload);
    }

    /// Appends what was put together to `out`.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes[..self.len]);
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varint_sizes_are_those_written() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, (1u64 << shift) + 1, u64::MAX >> shift] {
                let mut head = Head::new();
                head.varint(value);
                assert_eq!(head.len, size::varint(value), "value {value}");
            }
        }
    }

    #[test]
    fn zigzag_maps_small_numbers_to_small_numbers() {
        let mapped = [0, -1, 1, -2, i64::MAX, i64::MIN].map(zigzag);
        assert_eq!(mapped, [0, 1, 2, 3, u64::MAX - 1, u64::MAX]);
    }
}

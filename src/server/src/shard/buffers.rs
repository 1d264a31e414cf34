//! Output buffers that idle connections do not hold.

use crate::limits::{BUFFER_BYTES_KEPT_MAX, BUFFERS_KEPT};

/// Empty buffers for reuse; at most [`BUFFERS_KEPT`] of at most [`BUFFER_BYTES_KEPT_MAX`] bytes.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    free: Vec<Vec<u8>>,
}

impl Buffers {
    /// An empty buffer, with room from earlier use if there is one.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub(super) fn give(&mut self, mut buffer: Vec<u8>) {
        if self.free.len() < BUFFERS_KEPT && (1..=BUFFER_BYTES_KEPT_MAX).contains(&buffer.capacity()) {
            buffer.clear();
            self.free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_bounded_number_of_bounded_buffers() {
        let mut buffers = Buffers::default();
        buffers.give(vec![1; BUFFER_BYTES_KEPT_MAX + 1]);
        assert_eq!(buffers.take().capacity(), 0, "too large to keep");
        for _ in 0..2 * BUFFERS_KEPT {
            buffers.give(vec![1; 10]);
        }
        assert_eq!(buffers.free.len(), BUFFERS_KEPT);
        assert!(buffers.take().is_empty());
    }
}

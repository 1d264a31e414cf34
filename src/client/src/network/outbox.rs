//! Frames that wait to be written: what many callers put in between two writes leaves in one.

use crate::limits::{SHARED_FRAME_BYTES_MAX, WRITE_BUFFER_KEEP_BYTES};

/// The bytes of one connection that were not yet given to its socket.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    chunks: Vec<Vec<u8>>,
    /// The last chunk takes further small frames.
    open: bool,
    /// A used buffer for the next small frames.
    spare: Option<Vec<u8>>,
    /// Permits of the write queue that the waiting frames hold.
    charged: usize,
    /// Where in the stream of the connection the next frame begins, and how much of it was taken.
    position: u64,
    taken: u64,
}

impl Outbox {
    /// Where the next frame begins.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// How much of the stream was taken to be written.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Adds a frame of about [`SHARED_FRAME_BYTES_MAX`] or less, which `encode` appends to a shared buffer.
    pub(crate) fn push(&mut self, charge: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        if !self.open {
            let chunk = self.spare.take().unwrap_or_else(|| Vec::with_capacity(SHARED_FRAME_BYTES_MAX));
            self.chunks.push(chunk);
            self.open = true;
        }
        let chunk = self.chunks.last_mut().expect("an open chunk is there");
        let before = chunk.len();
        encode(chunk);
        self.position += (chunk.len() - before) as u64;
        self.charged += charge;
    }

    /// Adds a frame that was encoded elsewhere.
    pub(crate) fn push_frame(&mut self, charge: usize, frame: Vec<u8>) {
        self.position += frame.len() as u64;
        self.charged += charge;
        self.chunks.push(frame);
        self.open = false;
    }

    /// Moves all that waits to `chunks` and says how many permits it held. What was in `chunks`, written by now, is
    /// given back; one buffer of it is used again.
    pub(crate) fn take(&mut self, chunks: &mut Vec<Vec<u8>>) -> usize {
        self.spare = self.spare.take().or_else(|| {
            let mut used = chunks.drain(..).find(|chunk| chunk.capacity() <= WRITE_BUFFER_KEEP_BYTES)?;
            used.clear();
            Some(used)
        });
        chunks.clear();
        std::mem::swap(&mut self.chunks, chunks);
        self.open = false;
        self.taken = self.position;
        std::mem::take(&mut self.charged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_leave_in_the_order_in_which_they_came() {
        let mut outbox = Outbox::default();
        let (mut chunks, mut sent, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..100_u8 {
            for frame in 0..3 {
                assert_eq!(outbox.position(), all.len() as u64);
                let bytes = vec![round ^ frame; usize::from(round) * 37 + 1];
                all.extend_from_slice(&bytes);
                if frame == 1 {
                    outbox.push_frame(2, bytes);
                } else {
                    outbox.push(1, |out| out.extend_from_slice(&bytes));
                }
            }
            if round % 3 == 0 {
                assert!(outbox.take(&mut chunks) >= 4);
                sent.extend(chunks.concat());
                assert!(outbox.is_empty());
                assert_eq!(outbox.taken(), sent.len() as u64);
            }
        }
        outbox.take(&mut chunks);
        sent.extend(chunks.concat());
        assert_eq!(sent, all);
    }

    #[test]
    fn small_frames_share_a_buffer_and_the_buffer_is_used_again() {
        let mut outbox = Outbox::default();
        let mut chunks = Vec::new();
        (0..10).for_each(|_| outbox.push(5, |out| out.extend_from_slice(b"12345")));
        assert_eq!(outbox.take(&mut chunks), 50);
        assert_eq!(chunks.len(), 1);
        let buffer = chunks[0].as_ptr();
        assert_eq!(outbox.take(&mut chunks), 0);
        assert!(chunks.is_empty());
        outbox.push(1, |out| out.push(1));
        outbox.take(&mut chunks);
        assert_eq!(chunks[0].as_ptr(), buffer);
    }

    #[test]
    fn a_buffer_that_grew_too_large_is_given_back() {
        let mut outbox = Outbox::default();
        let mut chunks = Vec::new();
        outbox.push(1, |out| out.resize(WRITE_BUFFER_KEEP_BYTES + 1, 0));
        outbox.take(&mut chunks);
        outbox.take(&mut chunks);
        assert!(outbox.spare.is_none());
    }
}

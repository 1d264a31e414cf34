//! Records on their way out of one engine: collected in batches, handed out while there is room, and counted until the
//! other side has confirmed them. [`crate::limits::LANE_BATCHES_MAX`] says why this is bounded and never stands still.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::error::BatchError;
use crate::limits::{BATCH_BYTES, BATCH_HEADER_BYTES, BUFFERS_KEPT_MAX, LANE_BATCHES_MAX, LANE_BATCHES_RESERVED};

/// One lane to one shard, at its sender.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Batches that take no more records, in order.
    closed: VecDeque<Vec<u8>>,
    /// The batch behind them, which has at least one record.
    open: Option<Vec<u8>>,
    /// Bytes of records in each batch that was handed out and is not confirmed.
    in_flight: VecDeque<u32>,
    /// Batches handed out since the start.
    sent: u64,
    /// Bytes of records that are not known to have arrived.
    bytes: usize,
}

impl Outbox {
    /// Bytes of records that are not known to have arrived.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the record that `encode` appends, of at most `record_bytes_max` bytes. Whether it is the only one that waits:
    /// any further one changes nothing about [`Outbox::is_ready`].
    #[inline]
    pub(crate) fn append(
        &mut self,
        buffers: &mut Buffers,
        record_bytes_max: usize,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let is_alone = BATCH_HEADER_BYTES + record_bytes_max > BATCH_BYTES;
        if is_alone || self.open.as_ref().is_some_and(|open| open.len() + record_bytes_max > BATCH_BYTES) {
            self.close();
        }
        let is_only = self.open.is_none() && self.closed.is_empty();
        let open = self.open.get_or_insert_with(|| match is_alone {
            true => Buffers::of(BATCH_HEADER_BYTES + record_bytes_max),
            false => buffers.take(),
        });
        let before = open.len();
        encode(open);
        debug_assert!(open.len() - before <= record_bytes_max, "{} bytes of {record_bytes_max}", open.len() - before);
        self.bytes += open.len() - before;
        if is_alone {
            self.close();
        }
        is_only
    }

    fn close(&mut self) {
        self.closed.extend(self.open.take());
    }

    /// Whether [`Outbox::take`] has a batch.
    pub(crate) fn is_ready(&self, owes_confirmation: bool) -> bool {
        let room = LANE_BATCHES_MAX - self.in_flight.len();
        let records = self.open.is_some() || !self.closed.is_empty();
        records && room > LANE_BATCHES_RESERVED || owes_confirmation && room > 0
    }

    /// The next batch to hand out, with room for its header; one without records if there is no room for others and a
    /// confirmation is owed.
    pub(crate) fn take(&mut self, owes_confirmation: bool, buffers: &mut Buffers) -> Option<Vec<u8>> {
        if !self.is_ready(owes_confirmation) {
            return None;
        }
        let records = if LANE_BATCHES_MAX - self.in_flight.len() > LANE_BATCHES_RESERVED {
            self.closed.pop_front().or_else(|| self.open.take())
        } else {
            None
        };
        let batch = records.unwrap_or_else(|| buffers.take());
        self.in_flight.push_back((batch.len() - BATCH_HEADER_BYTES) as u32);
        self.sent += 1;
        Some(batch)
    }

    /// The receiver has had `confirmed` batches since the start.
    pub(crate) fn confirm(&mut self, confirmed: u64) -> Result<(), BatchError> {
        let before = self.sent - self.in_flight.len() as u64;
        if confirmed < before || confirmed > self.sent {
            return Err(BatchError::Confirmation { confirmed, sent: self.sent, before });
        }
        for bytes in self.in_flight.drain(..(confirmed - before) as usize) {
            self.bytes -= bytes as usize;
        }
        Ok(())
    }

    /// Panics with what is wrong.
    pub(crate) fn validate(&self) {
        assert!(self.in_flight.len() <= LANE_BATCHES_MAX, "{} batches in flight", self.in_flight.len());
        let queued = self.closed.iter().chain(&self.open).map(|batch| batch.len() - BATCH_HEADER_BYTES);
        let in_flight = self.in_flight.iter().map(|bytes| *bytes as usize);
        assert_eq!(self.bytes, queued.chain(in_flight).sum::<usize>(), "bytes of a lane");
        assert!(self.open.as_ref().is_none_or(|open| (BATCH_HEADER_BYTES + 1..=BATCH_BYTES).contains(&open.len())));
    }
}

/// Empty batches, kept for reuse. Buffers stay with who received them last: where one shard asks and the other answers at
/// length, the answering one allocates a buffer now and then, and the asking one frees those above its bound.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    kept: Vec<Vec<u8>>,
}

impl Buffers {
    /// An empty batch: room for the header, and none of it used.
    fn take(&mut self) -> Vec<u8> {
        self.kept.pop().map_or_else(|| Self::of(BATCH_BYTES), Self::begun)
    }

    /// One with room for so many bytes, header included.
    #[cold]
    fn of(bytes: usize) -> Vec<u8> {
        Self::begun(Vec::with_capacity(bytes))
    }

    fn begun(mut batch: Vec<u8>) -> Vec<u8> {
        batch.resize(BATCH_HEADER_BYTES, 0);
        batch
    }

    /// Keeps a buffer of the common size, up to a bound.
    pub(crate) fn give_back(&mut self, mut batch: Vec<u8>) {
        if batch.capacity() == BATCH_BYTES && self.kept.len() < BUFFERS_KEPT_MAX {
            batch.clear();
            self.kept.push(batch);
        }
    }
}

/// What the header of a batch says, and the records behind it.
pub(crate) fn open_batch(batch: &[u8]) -> Result<(u64, &[u8]), BatchError> {
    let (header, records) = batch.split_first_chunk().ok_or(BatchError::NoHeader { bytes: batch.len() })?;
    Ok((u64::from_le_bytes(*header), records))
}

/// Writes the header of a batch.
pub(crate) fn seal_batch(batch: &mut [u8], received: u64) {
    batch[..BATCH_HEADER_BYTES].copy_from_slice(&received.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(outbox: &mut Outbox, buffers: &mut Buffers, bytes: usize) {
        let is_first = outbox.open.is_none() && outbox.closed.is_empty();
        assert_eq!(outbox.append(buffers, bytes, |out| out.resize(out.len() + bytes, 7)), is_first);
        outbox.validate();
    }

    #[test]
    fn records_share_a_batch_and_a_long_one_travels_alone() {
        let (mut outbox, mut buffers) = (Outbox::default(), Buffers::default());
        for bytes in [2000, 2000, 500, 5000, 10] {
            add(&mut outbox, &mut buffers, bytes);
        }
        let taken = core::iter::from_fn(|| outbox.take(false, &mut buffers));
        let lens: Vec<_> = taken.map(|batch| batch.len() - BATCH_HEADER_BYTES).collect();
        assert_eq!(lens, [4000, 500, 5000, 10], "in order, and none longer than need be");
        assert_eq!(outbox.bytes(), 7_510 + 2_000, "in flight counts");
        outbox.confirm(3).unwrap();
        assert_eq!(outbox.bytes(), 10);
        outbox.validate();
    }

    #[test]
    fn a_full_lane_holds_records_back_and_still_confirms() {
        let (mut outbox, mut buffers) = (Outbox::default(), Buffers::default());
        for _ in 0..LANE_BATCHES_MAX - LANE_BATCHES_RESERVED {
            add(&mut outbox, &mut buffers, 100);
            assert!(outbox.take(false, &mut buffers).is_some());
        }
        add(&mut outbox, &mut buffers, 100);
        add(&mut outbox, &mut buffers, 100);
        assert!(outbox.take(false, &mut buffers).is_none(), "the rest of the lane is reserved");
        assert_eq!(outbox.take(true, &mut buffers).map(|batch| batch.len()), Some(BATCH_HEADER_BYTES));
        assert!(outbox.take(true, &mut buffers).is_none(), "the lane is full");
        outbox.confirm(2).unwrap();
        let held = outbox.take(false, &mut buffers).expect("there is room");
        assert_eq!(held.len(), BATCH_HEADER_BYTES + 200, "what had to wait is one batch");
        outbox.validate();
    }

    #[test]
    fn confirmations_that_cannot_be_are_errors() {
        let (mut outbox, mut buffers) = (Outbox::default(), Buffers::default());
        add(&mut outbox, &mut buffers, 100);
        outbox.take(false, &mut buffers).unwrap();
        assert!(matches!(outbox.confirm(2), Err(BatchError::Confirmation { confirmed: 2, sent: 1, before: 0 })));
        outbox.confirm(1).unwrap();
        assert!(matches!(outbox.confirm(0), Err(BatchError::Confirmation { before: 1, .. })));
    }

    #[test]
    fn only_common_buffers_are_kept_and_only_some() {
        let mut buffers = Buffers::default();
        buffers.give_back(Vec::with_capacity(BATCH_BYTES * 2));
        assert!(buffers.kept.is_empty());
        for _ in 0..2 * BUFFERS_KEPT_MAX {
            buffers.give_back(Vec::with_capacity(BATCH_BYTES));
        }
        assert_eq!(buffers.kept.len(), BUFFERS_KEPT_MAX);
    }

    #[test]
    fn a_batch_without_a_header_is_a_typed_error() {
        assert_eq!(open_batch(&[1, 2]), Err(BatchError::NoHeader { bytes: 2 }));
    }
}

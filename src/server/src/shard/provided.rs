//! Buffers that receives of a ring share: the kernel takes one when bytes have come, and has it again when they have
//! been looked at.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

/// The one group of provided buffers of a ring.
pub(super) const GROUP: u16 = 0;
/// Alignment that the kernel wants for the list of buffers.
const PAGE_BYTES: usize = 4096;

/// Bytes that were received. To be given back to the ring.
#[derive(Debug)]
#[must_use]
pub(super) struct Lent {
    number: u16,
    len: u32,
}

/// Buffers that the kernel puts into use by itself, and the list by which it is told of them.
pub(super) struct Buffers {
    list: Region,
    memory: Region,
    /// The number of buffers that were ever put on the list.
    tail: u16,
    count: u16,
    buffer_bytes: u32,
    /// Which of them the kernel does not have.
    lent: Box<[bool]>,
}

impl Buffers {
    pub(super) fn new(count: u16, buffer_bytes: u32) -> Self {
        assert!(count.is_power_of_two() && count <= 1 << 15, "the kernel takes a power of two up to 32,768");
        let mut buffers = Self {
            list: Region::new(usize::from(count) * size_of::<BufRingEntry>()),
            memory: Region::new(usize::from(count) * buffer_bytes as usize),
            tail: 0,
            count,
            buffer_bytes,
            lent: vec![true; usize::from(count)].into_boxed_slice(),
        };
        (0..count).for_each(|number| buffers.give_back(Lent { number, len: 0 }));
        buffers
    }

    pub(super) fn register(&self, uring: &IoUring) -> io::Result<()> {
        // SAFETY: the list is a whole number of pages long enough for `count` entries, and lives until the ring is
        // closed, for `Ring` drops its fields in that order, or for ever.
        unsafe { uring.submitter().register_buf_ring_with_flags(self.list.start.as_ptr() as u64, self.count, GROUP, 0) }
    }

    /// The kernel has filled this buffer with so many bytes.
    pub(super) fn lend(&mut self, number: u16, len: u32) -> Lent {
        let lent = Lent { number, len };
        assert!(lent.len <= self.buffer_bytes, "the kernel knows how long a buffer is");
        assert!(!std::mem::replace(&mut self.lent[usize::from(number)], true), "a buffer is filled once");
        lent
    }

    pub(super) fn bytes(&self, lent: &Lent) -> &[u8] {
        assert!(self.lent[usize::from(lent.number)], "what is lent is not the kernel's");
        // SAFETY: the range lies in the region, for `number` is below `count` (it indexes `lent`) and `len` was checked
        // when the buffer was lent; it is initialised, for the region was zeroed. The kernel does not write to it
        // before it is on the list again, which takes the `Lent` that is borrowed here.
        unsafe { std::slice::from_raw_parts(self.start_of(lent.number), lent.len as usize) }
    }

    pub(super) fn give_back(&mut self, lent: Lent) {
        assert!(std::mem::replace(&mut self.lent[usize::from(lent.number)], false), "a buffer is given back once");
        let address = self.start_of(lent.number) as u64;
        let list = self.list.start.as_ptr().cast::<BufRingEntry>();
        let position = usize::from(self.tail & (self.count - 1));
        // SAFETY: `position` is below `count`, so the entry lies in the region, which is zeroed, and zeroes are an
        // entry. The kernel reads entries only up to the tail, and has taken this one: at most `count` buffers are on
        // the list, and this one was not. No reference to another entry exists.
        let entry = unsafe { &mut *list.add(position) };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(lent.number);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is a field of the first entry that `set_*` do not touch, aligned, and valid as long as the
        // region. The kernel reads it while this thread alone writes it, both atomically.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(list).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    fn start_of(&self, number: u16) -> *mut u8 {
        assert!(number < self.count);
        // SAFETY: the offset is within the region, which has `count` times `buffer_bytes` bytes.
        unsafe { self.memory.start.as_ptr().add(usize::from(number) * self.buffer_bytes as usize) }
    }

    pub(super) fn leak(&mut self) {
        self.list.is_leaked = true;
        self.memory.is_leaked = true;
    }

    pub(super) fn validate(&self) {
        let list = self.list.start.as_ptr().cast::<BufRingEntry>();
        let on_list = self.lent.iter().filter(|lent| !**lent).count();
        // The kernel takes from the front, and completes in that order.
        let mut seen = vec![false; usize::from(self.count)];
        for back in 1..=on_list {
            let position = usize::from(self.tail.wrapping_sub(back as u16) & (self.count - 1));
            // SAFETY: as in `give_back`; entries are written by this thread only.
            let entry = unsafe { &*list.add(position) };
            assert_eq!(entry.addr(), self.start_of(entry.bid()) as u64, "an entry names its own buffer");
            assert_eq!(entry.len(), self.buffer_bytes);
            let number = usize::from(entry.bid());
            assert!(!self.lent[number], "what is lent is not on the list");
            assert!(!std::mem::replace(&mut seen[number], true), "the list names no buffer twice");
        }
    }
}

/// Zeroed pages at a place that never changes.
struct Region {
    start: NonNull<u8>,
    layout: Layout,
    is_leaked: bool,
}

impl Region {
    fn new(bytes: usize) -> Self {
        assert!(bytes > 0);
        let layout = Layout::from_size_align(bytes.next_multiple_of(PAGE_BYTES), PAGE_BYTES).expect("a sane size");
        // SAFETY: the layout is not of size 0.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, layout, is_leaked: false }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if !self.is_leaked {
            // SAFETY: allocated in `new` with this layout, and freed nowhere else.
            unsafe { dealloc(self.start.as_ptr(), self.layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_lending_keeps_the_books() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut buffers = Buffers::new(16, 64);
        // What the kernel would find on the list, in order.
        let mut on_list: Vec<u16> = (0..16).collect();
        let mut held = Vec::new();
        for _ in 0..100_000 {
            if random.bool() && !on_list.is_empty() {
                let number = on_list.remove(0);
                let lent = buffers.lend(number, random.u32(..=64));
                assert_eq!(buffers.bytes(&lent).len(), lent.len as usize, "seed {seed}");
                held.push(lent);
            } else if !held.is_empty() {
                let lent = held.swap_remove(random.usize(..held.len()));
                on_list.push(lent.number);
                buffers.give_back(lent);
            }
            buffers.validate();
            let lent = buffers.lent.iter().filter(|lent| **lent).count();
            assert_eq!((lent, held.len() + on_list.len()), (held.len(), 16), "seed {seed}");
        }
    }

    #[test]
    #[should_panic(expected = "a buffer is filled once")]
    fn a_buffer_is_not_lent_twice() {
        let mut buffers = Buffers::new(2, 64);
        let _first = buffers.lend(1, 1);
        let _second = buffers.lend(1, 1);
    }
}

//! Asking the kernel for large pages, and for pages before they are needed. A module with `unsafe`: this advice has no
//! safe form. It changes what backs memory and never what is in it, so a wrong one costs time and nothing else.
//!
//! Entries lie all over a region, so with pages of 4 KiB nearly every look-up walks page tables, and a long value does
//! at each page of it. Measured on one pinned shard with large pages, in CPU per operation: gets of 50 keys of 64
//! bytes 21 to 31 % less, values of 16 KiB 8 %, gets of one key, 16 in a batch, 4 to 11 %.
//!
//! To be given a large page takes up to some ms, in which it is filled with zeros and the host of a virtual machine may have
//! to find one too. So that no write waits for that, a thread of its own can go ahead of the store ([`Ahead`]).
#![allow(unsafe_code)]

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use rustix::mm::{Advice, madvise};

use crate::limits::PAGES_AHEAD_BYTES;

/// Bytes of a page unless large ones are asked for; less than that on no machine.
const PAGE_BYTES: usize = 4 << 10;
/// Bytes of a large page on most machines. Memory that has room for few of them is left as it is.
const LARGE_PAGE_BYTES: usize = 2 << 20;
const LARGE_PAGES_MIN: usize = 4;

/// Asks for large pages behind this memory, from now on. Whether the kernel does it is its own affair: it may have none
/// or be told by its administrator to give none, and all works as before.
pub(crate) fn prefer_large<T>(memory: &[T]) {
    let bytes = size_of_val(memory);
    if bytes < LARGE_PAGES_MIN * LARGE_PAGE_BYTES {
        return;
    }
    let start = memory.as_ptr().cast::<u8>();
    let skipped = start.align_offset(PAGE_BYTES).min(bytes);
    // SAFETY: the range lies within `memory`, but for the rest of its last page, and this advice neither changes what
    // can be read there nor takes it away.
    let advised = unsafe { madvise(start.add(skipped).cast_mut().cast(), bytes - skipped, Advice::LinuxHugepage) };
    // It was advice.
    let _ = advised;
}

/// How much of its memory a store has come to use, for who goes ahead of it.
#[derive(Debug, Default)]
pub(crate) struct Taken(Arc<AtomicUsize>);

impl Taken {
    /// So many bytes from the beginning on are used or were.
    pub(crate) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// Who goes ahead in this memory.
    pub(crate) fn ahead<T>(&self, memory: &[T]) -> Ahead {
        let bytes = size_of_val(memory);
        Ahead { start: memory.as_ptr().addr(), bytes, backed: 0, taken: Arc::clone(&self.0) }
    }
}

/// Has the kernel back the memory of a store before the store comes to it, on a thread that may wait for that. Of no use
/// for anything else: it neither reads nor writes the memory, and without it all works, with waits.
#[derive(Debug)]
pub struct Ahead {
    /// Where the memory begins.
    start: usize,
    bytes: usize,
    /// So many of these bytes have pages.
    backed: usize,
    taken: Arc<AtomicUsize>,
}

/// What [`Ahead::step`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// A page more is there.
    Taken,
    /// The store has enough for now.
    Enough,
    /// Nothing is left to be done: all memory has pages, the kernel cannot do it, or the store is gone.
    Over,
}

impl Ahead {
    /// Has a large page more backed, if the store is less than [`PAGES_AHEAD_BYTES`] behind.
    pub fn step(&mut self) -> Advance {
        if self.backed == self.bytes || Arc::strong_count(&self.taken) == 1 {
            return Advance::Over;
        }
        let taken = self.taken.load(Ordering::Relaxed);
        if self.backed >= taken.saturating_add(PAGES_AHEAD_BYTES) {
            return Advance::Enough;
        }
        let from = self.start + self.backed;
        let to = (from + 1).next_multiple_of(LARGE_PAGE_BYTES).min(self.start + self.bytes);
        let page = from / PAGE_BYTES * PAGE_BYTES;
        // SAFETY: this advice touches pages and changes nothing in them, whoever uses them at the same time. Should the
        // memory have just been given back, none is there or it is another's, which is touched just so.
        let advised =
            unsafe { madvise(core::ptr::without_provenance_mut(page), to - page, Advice::LinuxPopulateWrite) };
        match advised {
            Ok(()) => {
                self.backed = to - self.start;
                Advance::Taken
            }
            Err(_) => {
                self.backed = self.bytes;
                Advance::Over
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn memory_stays_what_it_is_whatever_backs_it() {
        let mut random = fastrand::Rng::with_seed(1);
        for bytes in [0, 1, PAGE_BYTES, LARGE_PAGES_MIN * LARGE_PAGE_BYTES, 9_000_007] {
            let mut memory = vec![0_u8; bytes];
            let written: Vec<(usize, u8)> =
                (0..bytes.min(1000)).map(|_| (random.usize(0..bytes), random.u8(..))).collect();
            written.iter().for_each(|&(place, byte)| memory[place] = byte);
            let copy = memory.clone();
            prefer_large(&memory);
            assert_eq!(memory, copy, "{bytes}");
            memory.fill(7);
            assert!(memory.iter().all(|&byte| byte == 7));
        }
    }

    /// The kernel says of each mapping what it was advised.
    #[test]
    fn the_kernel_has_heard_it() {
        let memory = vec![0_u8; 16 * LARGE_PAGE_BYTES];
        prefer_large(&memory);
        let flags = mapping_of(&memory).into_iter().find(|line| line.starts_with("VmFlags:"));
        let flags = flags.expect("the mapping has flags");
        let has_large_pages = fs::exists("/sys/kernel/mm/transparent_hugepage").expect("it can be looked at");
        assert_eq!(flags.split(' ').any(|flag| flag == "hg"), has_large_pages, "{flags}");
    }

    /// What the kernel says of the mapping that this memory lies in.
    fn mapping_of(memory: &[u8]) -> Vec<String> {
        let middle = memory.as_ptr().addr() + memory.len() / 2;
        let mappings = fs::read_to_string("/proc/self/smaps").expect("the kernel tells of mappings");
        let of_memory = mappings.lines().skip_while(|line| {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let ends = range.map(|(from, to)| [from, to].map(|end| usize::from_str_radix(end, 16)));
            !matches!(ends, Some([Ok(from), Ok(to)]) if (from..to).contains(&middle))
        });
        of_memory.take(30).map(String::from).collect()
    }

    #[test]
    fn pages_are_there_before_they_are_needed_and_not_long_before() {
        let memory = vec![0_u8; PAGES_AHEAD_BYTES + 32 * LARGE_PAGE_BYTES];
        let taken = Taken::default();
        let mut ahead = taken.ahead(&memory);
        let steps =
            |ahead: &mut Ahead| core::iter::repeat_with(|| ahead.step()).position(|step| step != Advance::Taken);
        let first = steps(&mut ahead).expect("it comes to an end");
        assert!((0..2).contains(&(first - PAGES_AHEAD_BYTES / LARGE_PAGE_BYTES)), "{first} pages");
        assert_eq!(ahead.step(), Advance::Enough);
        let resident = mapping_of(&memory).into_iter().find(|line| line.starts_with("Rss:")).expect("it has a size");
        let resident: usize = resident.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("in KiB");
        assert!(resident << 10 >= PAGES_AHEAD_BYTES, "{resident} KiB");
        taken.set(3 * LARGE_PAGE_BYTES);
        assert_eq!(steps(&mut ahead), Some(3));
        taken.set(memory.len());
        assert!((28..31).contains(&steps(&mut ahead).expect("it comes to an end")));
        assert_eq!(ahead.step(), Advance::Over);
        assert!(memory.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn who_goes_ahead_of_nobody_stops() {
        let memory = vec![0_u8; LARGE_PAGE_BYTES];
        let taken = Taken::default();
        let mut ahead = taken.ahead(&memory);
        drop(taken);
        assert_eq!(ahead.step(), Advance::Over);
    }
}

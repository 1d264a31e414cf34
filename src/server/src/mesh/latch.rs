// The atomics of a door: what is marked, and whether the shard sleeps. Without the event, so that a model checker can
// run all of it: this text is compiled once with the standard library's atomics and once, in the tests, with those of
// the model (hence no inner comments).
//
// The producer puts down what it has, marks where, and knocks once. The consumer that found nothing says that it goes
// to sleep, and then looks at the marks for the last time. Between a producer's mark and its look at the flag, and
// between the consumer's flag and its last look at the marks, stands a sequentially consistent fence: at least one of
// the two sees the other, so that no wake is lost.

use super::atomics::{AtomicBool, AtomicU64, Ordering, fence};
use crossbeam::utils::CachePadded;

/// Marks and a flag.
#[derive(Debug)]
pub(in crate::mesh) struct Latch {
    marks: Box<[CachePadded<AtomicU64>]>,
    sleeping: CachePadded<AtomicBool>,
}

impl Latch {
    /// Nothing is marked, and nobody sleeps.
    pub(in crate::mesh) fn new(marks: usize) -> Self {
        Self {
            marks: (0..marks.div_ceil(u64::BITS as usize)).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
            sleeping: CachePadded::new(AtomicBool::new(false)),
        }
    }

    /// Sets the marks of `mask`, which begins at mark `first` and stays within one word.
    pub(in crate::mesh) fn mark(&self, first: usize, mask: u64) {
        self.marks[first / 64].fetch_or(mask << (first % 64), Ordering::AcqRel);
    }

    /// After any number of marks: whether the shard sleeps and nobody else is waking it, so that the caller has to.
    #[must_use]
    pub(in crate::mesh) fn knock(&self) -> bool {
        fence(Ordering::SeqCst);
        // Compared and not just swapped: who finds that the shard is up has nothing to write, and the model checker, which
        // lets that write come after the shard's next `true`, would call it a lost wake.
        self.sleeping.load(Ordering::Relaxed)
            && self.sleeping.compare_exchange(true, false, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Whether there is a mark. Only a hint while producers run.
    pub(in crate::mesh) fn is_marked(&self) -> bool {
        self.marks.iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// Takes the marks away and hands them to `each`.
    pub(in crate::mesh) fn take_marks(&self, mut each: impl FnMut(usize)) {
        for (index, word) in self.marks.iter().enumerate() {
            if word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut marks = word.swap(0, Ordering::AcqRel);
            while marks != 0 {
                each(index * 64 + marks.trailing_zeros() as usize);
                marks &= marks - 1;
            }
        }
    }

    /// Says that the shard goes to sleep; false if something has come and it may not.
    #[must_use]
    pub(in crate::mesh) fn may_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.is_marked() {
            self.awake();
            return false;
        }
        true
    }

    /// Says that the shard is up.
    pub(in crate::mesh) fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }
}

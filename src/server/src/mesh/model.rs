//! The latch under a model checker: every order of events, and every value that the memory model lets a load return.
//! A lost wake is a deadlock there, which the checker reports.

use loom::sync::atomic::{AtomicU64 as Lane, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// The latch as it is.
mod whole {
    mod atomics {
        pub(super) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
    }
    pub(super) mod latch {
        include!("latch.rs");
    }
}

/// The latch without its fences, to see that the checker would tell.
mod without_fences {
    mod atomics {
        pub(super) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
        pub(super) fn fence(_: Ordering) {}
    }
    pub(super) mod latch {
        include!("latch.rs");
    }
}

/// The event of a door: a count that a read waits for and takes.
#[derive(Default)]
struct Event {
    count: Mutex<u64>,
    is_up: Condvar,
}

impl Event {
    fn write(&self) {
        *self.count.lock().expect("no panic") += 1;
        self.is_up.notify_one();
    }

    fn read(&self) {
        let mut count = self.count.lock().expect("no panic");
        while *count == 0 {
            count = self.is_up.wait(count).expect("no panic");
        }
        *count = 0;
    }
}

/// Checks that a consumer which sleeps whenever it may gets everything that producers put on lanes with these marks,
/// each `messages` times one more.
macro_rules! check {
    ($latch:ty, $marks:expr, $messages:expr) => {{
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let marks: &[usize] = &$marks;
            let latch = Arc::new(<$latch>::new(marks.iter().max().expect("a mark") + 1));
            let event = Arc::new(Event::default());
            let lanes: Vec<Arc<Lane>> = marks.iter().map(|_| Arc::new(Lane::new(0))).collect();
            let producers: Vec<_> = marks
                .iter()
                .zip(&lanes)
                .map(|(mark, lane)| {
                    let (mark, latch, event, lane) = (*mark, latch.clone(), event.clone(), lane.clone());
                    thread::spawn(move || {
                        for message in 1..=$messages {
                            // Only the mark makes it visible to others.
                            lane.store(message, Ordering::Relaxed);
                            latch.mark(mark, 1);
                            if latch.knock() {
                                event.write();
                            }
                        }
                    })
                })
                .collect();
            let mut seen = vec![0; lanes.len()];
            while seen.iter().any(|seen| *seen < $messages) {
                let mut worked = false;
                latch.take_marks(|mark| {
                    let index = marks.iter().position(|known| *known == mark).expect("only these are marked");
                    let now = lanes[index].load(Ordering::Relaxed);
                    assert!(now > 0 && now >= seen[index], "a mark shows what was put down before it");
                    seen[index] = now;
                    worked = true;
                });
                if !worked && latch.may_sleep() {
                    event.read();
                    latch.awake();
                }
            }
            producers.into_iter().for_each(|producer| producer.join().expect("it ends"));
        });
    }};
}

#[test]
fn one_producer_wakes_a_sleeper_every_time() {
    check!(whole::latch::Latch, [0], 3);
}

#[test]
fn two_producers_with_marks_in_one_word() {
    check!(whole::latch::Latch, [0, 2], 1);
}

#[test]
fn two_producers_with_marks_in_two_words() {
    check!(whole::latch::Latch, [1, 64], 1);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_fences_a_wake_can_be_lost() {
    check!(without_fences::latch::Latch, [0], 1);
}

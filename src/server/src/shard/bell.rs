//! How a shard sleeps in glommio: until its ring completes something, somebody knocks at its door, or the time comes.
//!
//! The ring watches the door too, but only a shard that waits in the ring may trust in that: a ring that learns of an
//! event through another event rings its own only after a grace period of the kernel (eventfd_signal_allowed), and
//! Linux 6.18 once and never again. So glommio reads both.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use glommio::Task;
use glommio::timer::Timer;

use super::ring::{self, Ring};
use crate::mesh::Door;

/// Length of an event's counter.
const EVENT_BYTES: usize = 8;

/// What a shard sleeps on.
pub(super) struct Bell {
    ring: Event,
    door: Event,
    notice: Rc<Notice>,
    timer: Option<(u64, Timer)>,
}

/// An event as glommio reads it, in a task of its own: glommio keeps every waker that a pending read was polled with
/// until the read is over, and panics at 32,768 of them, so nobody but that task may poll it.
struct Event {
    reading: Task<()>,
    is_closing: Rc<Cell<bool>>,
}

/// A word from the tasks that read events.
#[derive(Debug, Default)]
struct Notice {
    is_given: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Bell {
    /// # Errors
    /// A descriptor cannot be duplicated: mostly none are left.
    pub(super) fn new(ring: &Ring, door: &Door) -> io::Result<Self> {
        let notice = Rc::<Notice>::default();
        let (ring, door) = (Event::new(ring.event(), notice.clone())?, Event::new(door.event(), notice.clone())?);
        Ok(Self { ring, door, notice, timer: None })
    }

    /// Waits for a completion of the ring, a knock at the door (which says it may sleep), or `wake_ms`. May return
    /// earlier.
    pub(super) async fn sleep(&mut self, ring: &mut Ring, now_ms: u64, wake_ms: u64) {
        // From here on a completion rings the event; what came before is found by this look at the kernel.
        ring.ring_event(true);
        ring.enter(None);
        if !ring.has_completions() {
            self.set_timer(now_ms, wake_ms);
            self.wait().await;
        }
        ring.ring_event(false);
    }

    async fn wait(&mut self) {
        poll_fn(|context| {
            if let Some((_, timer)) = &mut self.timer
                && Pin::new(timer).poll(context).is_ready()
            {
                self.timer = None;
                return Poll::Ready(());
            }
            self.notice.poll(context)
        })
        .await;
    }

    /// Ends the reads that are under way and closes the descriptors.
    pub(super) async fn close(self, ring: &Ring, door: &Door) {
        self.ring.close(ring.event()).await;
        self.door.close(door.event()).await;
    }

    /// A timer that fires no later than `wake_ms`. One that fires earlier is left alone: it costs one empty turn,
    /// while setting it anew would cost something for every sleep.
    fn set_timer(&mut self, now_ms: u64, wake_ms: u64) {
        if self.timer.as_ref().is_none_or(|(set_ms, _)| wake_ms < *set_ms) {
            let timer = Timer::new(Duration::from_millis(wake_ms.saturating_sub(now_ms)));
            self.timer = Some((wake_ms, timer));
        }
    }
}

impl Event {
    fn new(event: BorrowedFd<'_>, notice: Rc<Notice>) -> io::Result<Self> {
        let file = ring::file(event.try_clone_to_owned()?);
        let is_closing = Rc::<Cell<bool>>::default();
        let reading = glommio::spawn_local({
            let is_closing = is_closing.clone();
            async move {
                while !is_closing.get() {
                    file.read_at(0, EVENT_BYTES).await.expect("an event can be read");
                    notice.give();
                }
                if let Err(error) = file.close().await {
                    crate::log::line(format_args!("an event descriptor does not close: {error}"));
                }
            }
        });
        Ok(Self { reading, is_closing })
    }

    async fn close(self, event: BorrowedFd<'_>) {
        self.is_closing.set(true);
        let one = 1_u64.to_ne_bytes();
        let written = rustix::io::retry_on_intr(|| rustix::io::write(event, &one));
        assert_eq!(written, Ok(one.len()), "an event counter takes a 1");
        self.reading.await;
    }
}

impl Notice {
    /// Wakes who waits, once however often it is called.
    fn give(&self) {
        if !self.is_given.replace(true)
            && let Some(waker) = self.waiting.take()
        {
            waker.wake();
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_given.replace(false) {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waiting = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::limits::RING_SIZE;
    use crate::shard::ring::Completion;

    /// Wakes of one executor by another thread.
    const WAKES: u64 = 2_000;
    /// Far behind the end of a test.
    const NEVER_MS: u64 = 1_000_000;

    fn on_executor<T: Send + 'static, F: Future<Output = T> + 'static>(make: impl FnOnce() -> F + Send + 'static) -> T {
        glommio::LocalExecutorBuilder::default()
            .io_memory(crate::limits::EXECUTOR_IO_MEMORY_BYTES)
            .spawn(make)
            .expect("an executor")
            .join()
            .expect("the executor ends")
    }

    #[test]
    fn another_thread_wakes_an_executor_every_time() {
        let seed = fastrand::u64(..);
        let door = Arc::new(Door::new(1).expect("an event"));
        let (given, taken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let ringing = {
            let (door, given, taken) = (door.clone(), given.clone(), taken.clone());
            std::thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for number in 1..=WAKES {
                    given.store(number, Ordering::Release);
                    door.ring_control();
                    let begun = Instant::now();
                    while random.bool() && taken.load(Ordering::Acquire) < number {
                        assert!(begun.elapsed() < Duration::from_secs(20), "seed {seed}: wake {number} is lost");
                        std::thread::sleep(Duration::from_micros(random.u64(0..100)));
                    }
                }
            })
        };
        on_executor(move || async move {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut ring = Ring::new(RING_SIZE).expect("a ring");
            let mut bell = Bell::new(&ring, &door).expect("a descriptor");
            ring.watch(door.event());
            while taken.load(Ordering::Relaxed) < WAKES {
                door.take_marks(|_| taken.store(given.load(Ordering::Acquire), Ordering::Release));
                while let Some(completion) = ring.next() {
                    let Completion::Seen { more } = completion else { panic!("{completion:?}") };
                    assert!(more, "the watch goes on");
                }
                if taken.load(Ordering::Relaxed) < WAKES && door.may_sleep() {
                    if random.bool() {
                        ring.enter(Some(Duration::from_micros(random.u64(1..100))));
                    }
                    if !ring.has_completions() {
                        bell.sleep(&mut ring, 0, NEVER_MS).await;
                    }
                    door.awake();
                }
            }
            bell.close(&ring, &door).await;
        });
        ringing.join().unwrap_or_else(|_| panic!("seed {seed}: see above"));
    }

    #[test]
    fn sleeps_leave_nothing_behind_on_an_event_that_does_not_come() {
        on_executor(|| async {
            let door = Door::new(1).expect("an event");
            let mut ring = Ring::new(RING_SIZE).expect("a ring");
            let mut bell = Bell::new(&ring, &door).expect("a descriptor");
            // More than a waker of glommio can be cloned. The ring's event never comes.
            for _ in 0..40_000 {
                assert!(door.may_sleep(), "nobody has knocked");
                door.ring_control();
                bell.sleep(&mut ring, 0, NEVER_MS).await;
                door.awake();
                door.take_marks(|_| {});
            }
            bell.close(&ring, &door).await;
        });
    }

    #[test]
    fn the_time_wakes_too() {
        let elapsed = on_executor(|| async {
            let door = Door::new(1).expect("an event");
            let mut ring = Ring::new(RING_SIZE).expect("a ring");
            let mut bell = Bell::new(&ring, &door).expect("a descriptor");
            let begun = Instant::now();
            bell.sleep(&mut ring, 1_000, 1_020).await;
            let elapsed = begun.elapsed();
            bell.close(&ring, &door).await;
            elapsed
        });
        assert!(elapsed >= Duration::from_millis(20), "the time is waited for: {elapsed:?}");
    }
}

//! What a shard's main task sleeps on: a word from another task of its executor, the event of its door, or the time.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use glommio::io::BufferedFile;
use glommio::timer::Timer;

use super::descriptor;
use crate::mesh::Door;

/// Length of an event's counter.
const EVENT_BYTES: usize = 8;

/// A word from a task of the same executor.
#[derive(Debug, Default)]
pub(super) struct Notice {
    given: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Notice {
    /// Wakes the main task, once however often it is called.
    pub(super) fn give(&self) {
        if !self.given.replace(true)
            && let Some(waker) = self.waiting.take()
        {
            waker.wake();
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.given.replace(false) {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waiting = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

/// The event of a door as glommio reads it. One read is always under way while the shard sleeps, and stays under way
/// over wakes that came from elsewhere.
pub(super) struct Bell {
    event: Rc<BufferedFile>,
    read: Option<Pin<Box<dyn Future<Output = ()>>>>,
    timer: Option<(u64, Timer)>,
}

impl Bell {
    /// # Errors
    /// The descriptor cannot be duplicated: mostly none are left.
    pub(super) fn new(door: &Door) -> io::Result<Self> {
        let event = door.event().try_clone_to_owned()?;
        Ok(Self { event: Rc::new(descriptor::file(event)), read: None, timer: None })
    }

    /// Waits for a notice, a knock at the door (which says it may sleep), or `wake_ms`.
    pub(super) async fn sleep(&mut self, notice: &Notice, now_ms: u64, wake_ms: Option<u64>) {
        self.set_timer(now_ms, wake_ms);
        poll_fn(|context| {
            if notice.poll(context).is_ready() {
                return Poll::Ready(());
            }
            if let Some((_, timer)) = &mut self.timer
                && Pin::new(timer).poll(context).is_ready()
            {
                self.timer = None;
                return Poll::Ready(());
            }
            let read = self.read.get_or_insert_with(|| {
                let event = self.event.clone();
                Box::pin(async move {
                    event.read_at(0, EVENT_BYTES).await.expect("an event can be read");
                })
            });
            if read.as_mut().poll(context).is_ready() {
                self.read = None;
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    /// Ends the read that is under way and closes the descriptor.
    pub(super) async fn close(self, door: &Door) {
        if let Some(read) = self.read {
            door.ring();
            read.await;
        }
        let event = Rc::into_inner(self.event).expect("the one read is over");
        if let Err(error) = event.close().await {
            crate::log::line(format_args!("an event descriptor does not close: {error}"));
        }
    }

    /// A timer that fires no later than `wake_ms`. One that fires earlier is left alone: it costs one empty turn,
    /// while setting it anew would cost something for every request that is passed on.
    fn set_timer(&mut self, now_ms: u64, wake_ms: Option<u64>) {
        let Some(wake_ms) = wake_ms else {
            self.timer = None;
            return;
        };
        if self.timer.as_ref().is_none_or(|(set_ms, _)| wake_ms < *set_ms) {
            let timer = Timer::new(Duration::from_millis(wake_ms.saturating_sub(now_ms)));
            self.timer = Some((wake_ms, timer));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use super::*;

    /// Wakes of one executor by another thread.
    const WAKES: u64 = 2_000;

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
            let mut bell = Bell::new(&door).expect("a descriptor");
            let notice = Notice::default();
            while taken.load(Ordering::Relaxed) < WAKES {
                door.take_marks(|_| taken.store(given.load(Ordering::Acquire), Ordering::Release));
                if taken.load(Ordering::Relaxed) < WAKES && door.may_sleep() {
                    bell.sleep(&notice, 0, None).await;
                    door.awake();
                }
            }
            bell.close(&door).await;
        });
        ringing.join().unwrap_or_else(|_| panic!("seed {seed}: see above"));
    }

    #[test]
    fn a_notice_and_the_time_wake_too() {
        let elapsed = on_executor(|| async {
            let door = Door::new(1).expect("an event");
            let mut bell = Bell::new(&door).expect("a descriptor");
            let notice = Rc::new(Notice::default());
            let giver = glommio::spawn_local({
                let notice = notice.clone();
                async move { notice.give() }
            });
            bell.sleep(&notice, 0, None).await;
            giver.await;
            notice.give();
            notice.give();
            bell.sleep(&notice, 0, None).await;
            let begun = Instant::now();
            bell.sleep(&notice, 1_000, Some(1_020)).await;
            let elapsed = begun.elapsed();
            bell.close(&door).await;
            elapsed
        });
        assert!(elapsed >= Duration::from_millis(20), "two notices are one, and the time is waited for: {elapsed:?}");
    }
}

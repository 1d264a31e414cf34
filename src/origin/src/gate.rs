//! How many may be at an origin at a time, and how many may wait for that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate {
    places: Semaphore,
    concurrent_max: usize,
    waiting: AtomicUsize,
    queue_max: usize,
}

/// Why somebody may not enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{concurrent_max} requests are under way and {queue_max} wait, as many as may")]
    Full { concurrent_max: usize, queue_max: usize },
    #[error("{concurrent_max} requests are under way, as many as may, and none ended within {wait:?}")]
    TooLong { concurrent_max: usize, wait: Duration },
}

/// One who waits.
struct Waiting<'g>(&'g AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    pub(crate) fn new(concurrent_max: usize, queue_max: usize) -> Self {
        let places = Semaphore::new(concurrent_max);
        Self { places, concurrent_max, waiting: AtomicUsize::new(0), queue_max }
    }

    /// Why whoever comes now would be refused at once; it may be different a moment later.
    pub(crate) fn refusal(&self) -> Option<Refused> {
        let &Self { concurrent_max, queue_max, .. } = self;
        let is_full = self.waiting.load(Ordering::Relaxed) >= queue_max && self.places.available_permits() == 0;
        is_full.then_some(Refused::Full { concurrent_max, queue_max })
    }

    /// Enters, in the order in which they came, and waits for at most so long. Whoever has the permit is inside.
    pub(crate) async fn enter(&self, wait: Duration) -> Result<SemaphorePermit<'_>, Refused> {
        let &Self { concurrent_max, queue_max, .. } = self;
        if let Ok(permit) = self.places.try_acquire() {
            return Ok(permit);
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= queue_max {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Full { concurrent_max, queue_max });
        }
        let _waiting = Waiting(&self.waiting);
        match timeout(wait, self.places.acquire()).await {
            Ok(permit) => Ok(permit.expect("it is never closed")),
            Err(_) => Err(Refused::TooLong { concurrent_max, wait }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_than_may_are_inside_and_wait() {
        let gate = Gate::new(2, 1);
        let wait = Duration::from_secs(1);
        let first = gate.enter(wait).await.expect("a place");
        let _second = gate.enter(wait).await.expect("a place");
        let (third, fourth) = tokio::join!(gate.enter(wait), gate.enter(wait));
        assert_eq!(third.err(), Some(Refused::TooLong { concurrent_max: 2, wait }));
        assert_eq!(fourth.err(), Some(Refused::Full { concurrent_max: 2, queue_max: 1 }));
        let (third, ()) = tokio::join!(gate.enter(wait), async {
            tokio::time::sleep(wait / 2).await;
            drop(first);
        });
        assert!(third.is_ok());
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 0);
    }
}

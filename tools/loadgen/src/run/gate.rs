//! Where the threads of a run wait for each other, and learn that one of them has failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::clock::Clock;
use crate::error::LoadError;

/// All threads pass it together, as often as they like.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    threads: usize,
    /// The same as in the state, to be looked at each turn.
    failed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    arrived: usize,
    passed: u64,
    opened_ns: u64,
    failed: bool,
}

impl Gate {
    pub(crate) fn new(threads: usize) -> Gate {
        Gate { state: Mutex::default(), changed: Condvar::new(), threads, failed: AtomicBool::new(false) }
    }

    /// Waits for the others; returns the time at which the last one came, the same for all.
    ///
    /// # Errors
    /// [`LoadError::BrokenOff`] if one of them has failed.
    pub(crate) fn pass(&self, clock: Clock) -> Result<u64, LoadError> {
        let mut state = self.lock();
        state.arrived += 1;
        if state.arrived == self.threads {
            state.arrived = 0;
            state.passed += 1;
            state.opened_ns = clock.now_ns();
            self.changed.notify_all();
        } else {
            let before = state.passed;
            while state.passed == before && !state.failed {
                state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
        }
        if state.failed { Err(LoadError::BrokenOff) } else { Ok(state.opened_ns) }
    }

    /// Lets nobody pass any more.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
        self.lock().failed = true;
        self.changed.notify_all();
    }

    /// Whether one of the threads has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pass_at_one_time_again_and_again() {
        let (gate, clock) = (Gate::new(4), Clock::start());
        let times: Vec<Vec<u64>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..100).map(|_| gate.pass(clock).unwrap()).collect())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(times.iter().all(|other| *other == times[0]));
        assert!(times[0].is_sorted());
    }

    #[test]
    fn a_failure_lets_nobody_wait_for_ever() {
        let (gate, clock) = (Gate::new(2), Clock::start());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.pass(clock));
            gate.fail();
            assert!(matches!(waiting.join().unwrap(), Err(LoadError::BrokenOff)));
        });
        assert!(gate.has_failed());
    }
}

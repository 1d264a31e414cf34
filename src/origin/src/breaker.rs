//! Leaves an origin alone that fails again and again, and finds out with single requests whether it works again (the
//! circuit breaker of M. Nygard, "Release It!", 2007).

use crate::limits::{BREAKER_FAILURES, BREAKER_PAUSE_MS_MAX, BREAKER_PAUSE_MS_MIN};

/// See the module. Times are in ms, and never go back.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    /// How long the next pause is.
    pause_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It works, but for so many failures in a row.
    Closed { failures: u32 },
    /// It is left alone until then.
    Open { until_ms: u64 },
    /// One request is on its way to find out.
    Probing,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self { state: State::Closed { failures: 0 }, pause_ms: BREAKER_PAUSE_MS_MIN }
    }

    /// Whether a request may be sent; else how long it is left alone still, in ms. Who may send says how it went.
    pub(crate) fn enter(&mut self, now_ms: u64) -> Result<(), u64> {
        match self.state {
            State::Closed { .. } => Ok(()),
            State::Open { until_ms } if now_ms >= until_ms => {
                self.state = State::Probing;
                Ok(())
            }
            State::Open { until_ms } => Err(until_ms - now_ms),
            State::Probing => Err(self.pause_ms),
        }
    }

    /// Until when it is left alone; 0: it is not, or is being tried.
    pub(crate) fn alone_until_ms(&self) -> u64 {
        if let State::Open { until_ms } = self.state { until_ms } else { 0 }
    }

    /// A request was answered as it should be.
    pub(crate) fn worked(&mut self) {
        *self = Self::new();
    }

    /// A request was not.
    pub(crate) fn failed(&mut self, now_ms: u64) {
        match self.state {
            State::Closed { failures } if failures + 1 < BREAKER_FAILURES => {
                self.state = State::Closed { failures: failures + 1 };
            }
            State::Closed { .. } | State::Probing => {
                self.state = State::Open { until_ms: now_ms + self.pause_ms };
                self.pause_ms = (2 * self.pause_ms).min(BREAKER_PAUSE_MS_MAX);
            }
            // Of a request that was sent before.
            State::Open { .. } => {}
        }
    }

    /// Whoever was to send has not.
    pub(crate) fn left(&mut self, now_ms: u64) {
        if self.state == State::Probing {
            self.state = State::Open { until_ms: now_ms };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_finds_out_whether_it_works_again() {
        let mut breaker = Breaker::new();
        for _ in 1..BREAKER_FAILURES {
            breaker.failed(100);
        }
        breaker.worked();
        for _ in 0..BREAKER_FAILURES {
            assert_eq!(breaker.enter(100), Ok(()));
            breaker.failed(100);
        }
        assert_eq!(breaker.enter(100), Err(BREAKER_PAUSE_MS_MIN));
        breaker.failed(200);
        assert_eq!(breaker.enter(99 + BREAKER_PAUSE_MS_MIN), Err(1), "one that was sent before changes nothing");
        assert_eq!(breaker.enter(100 + BREAKER_PAUSE_MS_MIN), Ok(()));
        assert_eq!(breaker.enter(100 + BREAKER_PAUSE_MS_MIN), Err(2 * BREAKER_PAUSE_MS_MIN), "one at a time");
        breaker.failed(1_000);
        assert_eq!(breaker.enter(1_000), Err(2 * BREAKER_PAUSE_MS_MIN), "longer");
        assert_eq!(breaker.enter(1_000 + 2 * BREAKER_PAUSE_MS_MIN), Ok(()));
        breaker.left(2_000);
        assert_eq!(breaker.enter(2_000), Ok(()), "another one finds out");
        breaker.worked();
        assert_eq!((breaker.enter(2_000), breaker.enter(2_000)), (Ok(()), Ok(())));
        breaker.failed(2_000);
        assert_eq!(breaker.enter(2_000), Ok(()), "it counts anew");
    }

    #[test]
    fn pauses_are_bounded() {
        let mut breaker = Breaker::new();
        let mut now_ms = 0;
        for _ in 0..BREAKER_FAILURES + 40 {
            while let Err(pause_ms) = breaker.enter(now_ms) {
                assert!(pause_ms <= BREAKER_PAUSE_MS_MAX);
                now_ms += pause_ms;
            }
            breaker.failed(now_ms);
        }
        assert_eq!(breaker.enter(now_ms), Err(BREAKER_PAUSE_MS_MAX));
    }
}

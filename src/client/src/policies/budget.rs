//! A budget of retries, so that a struggling server is not struck down by the retries of its clients: each call earns a
//! share of a retry, and each retry costs a whole one.
//! After "Handling Overload", Site Reliability Engineering, O'Reilly 2016, chapter 21.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a retry costs.
const RETRY: u64 = 100;

/// A token bucket, in hundredths of a retry.
#[derive(Debug)]
pub(crate) struct Budget {
    /// At most `burst`.
    tokens: AtomicU64,
    percent: u64,
    burst: u64,
}

impl Budget {
    /// `percent` of the calls may be retried, and `burst` retries at once after a quiet time.
    pub(crate) fn new(percent: u32, burst: u32) -> Self {
        let burst = u64::from(burst) * RETRY;
        Self { tokens: AtomicU64::new(burst), percent: u64::from(percent), burst }
    }

    /// A call begins.
    pub(crate) fn earn(&self) {
        // A full bucket, the usual state, is only read, so that calls on several threads share the line.
        if self.tokens.load(Ordering::Relaxed) < self.burst {
            self.update(|tokens| Some((tokens + self.percent).min(self.burst)));
        }
    }

    /// Whether a retry may be made; it is then paid.
    pub(crate) fn spend(&self) -> bool {
        self.update(|tokens| tokens.checked_sub(RETRY))
    }

    fn update(&self, change: impl FnMut(u64) -> Option<u64>) -> bool {
        self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_a_share_of_the_calls() {
        let budget = Budget::new(10, 5);
        assert_eq!((0..20).filter(|_| budget.spend()).count(), 5, "the burst");
        let retries = (0..1_000)
            .filter(|_| {
                budget.earn();
                budget.spend()
            })
            .count();
        assert_eq!(retries, 100, "10 % of 1,000 calls");
    }

    #[test]
    fn quiet_time_fills_the_bucket_to_the_burst_and_not_beyond() {
        let budget = Budget::new(10, 5);
        (0..10_000).for_each(|_| budget.earn());
        assert_eq!((0..20).filter(|_| budget.spend()).count(), 5);
    }

    #[test]
    fn no_percent_and_no_burst_is_no_retry() {
        let budget = Budget::new(0, 0);
        budget.earn();
        assert!(!budget.spend());
    }
}

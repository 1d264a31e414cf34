//! Pauses that grow and are spread: doubling with a cap, and "equal jitter" (half fixed, half random), so that many
//! clients that lost one server do not come back in the same instant.
//! After M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

/// The rule by which pauses grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// The first pause before jitter.
    pub(crate) min: Duration,
    /// No pause is longer.
    pub(crate) max: Duration,
}

impl Backoff {
    /// The pause after `failures` failures in a row (at least 1): between half and all of min × 2^(failures - 1), at
    /// most `max`. `random` is uniform in 0..=1.
    pub(crate) fn pause(&self, failures: u32, random: f64) -> Duration {
        debug_assert!((0.0..=1.0).contains(&random), "{random} is no fraction");
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.min.saturating_mul(1 << doublings).min(self.max);
        full / 2 + (full / 2).mul_f64(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_never_pass_it() {
        let backoff = Backoff { min: Duration::from_millis(10), max: Duration::from_millis(100) };
        let longest: Vec<u128> = (1..=6).map(|failures| backoff.pause(failures, 1.0).as_millis()).collect();
        assert_eq!(longest, [10, 20, 40, 80, 100, 100]);
        let shortest: Vec<u128> = (1..=6).map(|failures| backoff.pause(failures, 0.0).as_millis()).collect();
        assert_eq!(shortest, [5, 10, 20, 40, 50, 50]);
        assert_eq!(backoff.pause(u32::MAX, 1.0), backoff.max);
    }

    #[test]
    fn jitter_spreads_pauses_over_the_upper_half() {
        let backoff = Backoff { min: Duration::from_millis(80), max: Duration::from_secs(1) };
        let mut rng = fastrand::Rng::with_seed(7);
        let pauses: Vec<Duration> = (0..1_000).map(|_| backoff.pause(1, rng.f64())).collect();
        let (low, high) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(*low >= Duration::from_millis(40) && *low < Duration::from_millis(42), "seed 7: {low:?}");
        assert!(*high <= Duration::from_millis(80) && *high > Duration::from_millis(78), "seed 7: {high:?}");
    }
}

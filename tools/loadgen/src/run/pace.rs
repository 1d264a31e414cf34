//! The times at which an open loop starts its requests. They follow from the seed alone and are never put off, so a
//! slow server cannot hide in them (no coordinated omission).

use super::plan::Arrivals;
use crate::limits::UNSENT_STEPS_MAX;

/// Intended starts of one thread, one after the other.
#[derive(Debug)]
pub(crate) struct Schedule {
    due_ns: f64,
    gap_ns: f64,
    arrivals: Arrivals,
    rng: fastrand::Rng,
}

impl Schedule {
    /// Thread `thread` of `threads` has its part of `per_second`; with fixed gaps the threads take turns.
    pub(crate) fn new(
        per_second: f64,
        arrivals: Arrivals,
        (thread, threads): (usize, usize),
        begin_ns: u64,
        mut rng: fastrand::Rng,
    ) -> Schedule {
        let gap_ns = 1e9 * threads as f64 / per_second;
        let first = match arrivals {
            Arrivals::Fixed => gap_ns * thread as f64 / threads as f64,
            Arrivals::Poisson => exponential(&mut rng) * gap_ns,
        };
        Schedule { due_ns: begin_ns as f64 + first, gap_ns, arrivals, rng }
    }

    /// The next intended start.
    pub(crate) fn due_ns(&self) -> u64 {
        self.due_ns as u64
    }

    /// Goes on to the one after.
    pub(crate) fn advance(&mut self) {
        self.due_ns += match self.arrivals {
            Arrivals::Fixed => self.gap_ns,
            Arrivals::Poisson => exponential(&mut self.rng) * self.gap_ns,
        };
    }

    /// The intended starts that are left before `end_ns`, as (time, how many). Up to [`UNSENT_STEPS_MAX`] they come one
    /// by one; more of them are taken together in as many equal steps, by their expected number.
    pub(crate) fn rest(mut self, end_ns: u64) -> Vec<(u64, u64)> {
        let mut rest = Vec::new();
        let span_ns = end_ns as f64 - self.due_ns;
        let expected = span_ns / self.gap_ns;
        if expected <= UNSENT_STEPS_MAX as f64 {
            while self.due_ns() < end_ns {
                rest.push((self.due_ns(), 1));
                self.advance();
            }
            return rest;
        }
        let mut counted = 0;
        for step in 0..UNSENT_STEPS_MAX {
            let part = (step + 1) as f64 / UNSENT_STEPS_MAX as f64;
            let upto = (expected * part) as u64;
            rest.push(((self.due_ns + span_ns * part) as u64, upto - counted));
            counted = upto;
        }
        rest
    }
}

/// With mean 1.
fn exponential(rng: &mut fastrand::Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(arrivals: Arrivals, count: usize) -> Vec<u64> {
        let mut schedule = Schedule::new(1e6, arrivals, (0, 1), 5_000_000_000, fastrand::Rng::with_seed(3));
        let mut before = 5_000_000_000;
        (0..count)
            .map(|_| {
                let due = schedule.due_ns();
                schedule.advance();
                let gap = due - before;
                before = due;
                gap
            })
            .collect()
    }

    #[test]
    fn what_was_not_sent_is_counted_in_whole() {
        for (per_second, arrivals) in [(1e5, Arrivals::Fixed), (1e9, Arrivals::Fixed), (1e9, Arrivals::Poisson)] {
            let schedule = Schedule::new(per_second, arrivals, (0, 1), 1000, fastrand::Rng::with_seed(3));
            let rest = schedule.rest(1_000_001_000);
            assert!(rest.len() <= UNSENT_STEPS_MAX + 1 && rest.is_sorted());
            assert!(rest.iter().all(|&(due, _)| (1000..=1_000_001_000).contains(&due)));
            let count = rest.iter().map(|&(_, count)| count).sum::<u64>() as f64;
            assert!((count - per_second).abs() <= 2.0, "{count} of {per_second}");
        }
    }

    #[test]
    fn fixed_gaps_are_equal_and_threads_take_turns() {
        assert!(gaps(Arrivals::Fixed, 10_000)[1..].iter().all(|&gap| gap == 1000));
        let first = |thread| Schedule::new(1e6, Arrivals::Fixed, (thread, 4), 0, fastrand::Rng::with_seed(1)).due_ns();
        assert_eq!([first(0), first(1), first(2), first(3)], [0, 1000, 2000, 3000]);
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_exponential_ones() {
        let gaps = gaps(Arrivals::Poisson, 200_000);
        let mean = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64;
        let variance = gaps.iter().map(|&gap| (gap as f64 - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((990.0..1010.0).contains(&mean), "mean {mean}, seed 3");
        assert!((980.0..1020.0).contains(&variance.sqrt()), "deviation {}, seed 3", variance.sqrt());
    }
}

//! Ranks by Zipf's law, in constant time and memory.
//!
//! Rejection-inversion after W. Hörmann and G. Derflinger, "Rejection-inversion to generate variates from monotone
//! discrete distributions", ACM TOMACS 6(3), 1996. Almost every draw needs one logarithm and one exponential, whatever
//! the number of ranks; a table would miss the processor's caches instead.

/// Draws ranks from 0 to `count - 1` with probability proportional to `1 / (rank + 1)^theta`.
#[derive(Clone, Copy, Debug)]
pub struct Zipf {
    count: f64,
    theta: f64,
    integral_first: f64,
    integral_last: f64,
    shortcut: f64,
}

impl Zipf {
    /// `count` is at least 1, and `theta` is a positive number; 0.99 is that of YCSB.
    pub fn new(count: u64, theta: f64) -> Zipf {
        assert!(count >= 1 && theta > 0.0 && theta.is_finite(), "zipf over {count} ranks with {theta}");
        let mut zipf = Zipf { count: count as f64, theta, integral_first: 0.0, integral_last: 0.0, shortcut: 0.0 };
        zipf.integral_first = zipf.integral(1.5) - 1.0;
        zipf.integral_last = zipf.integral(count as f64 + 0.5);
        zipf.shortcut = 2.0 - zipf.integral_inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    /// The next rank.
    pub fn sample(&self, rng: &mut fastrand::Rng) -> u64 {
        loop {
            let u = self.integral_last + rng.f64() * (self.integral_first - self.integral_last);
            let x = self.integral_inverse(u);
            let rank = (x + 0.5).floor().clamp(1.0, self.count);
            if rank - x <= self.shortcut || u >= self.integral(rank + 0.5) - self.weight(rank) {
                return rank as u64 - 1;
            }
        }
    }

    /// The integral of the weight from 1 to `x`.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        exp_m1_over(log * (1.0 - self.theta)) * log
    }

    fn integral_inverse(&self, x: f64) -> f64 {
        // Rounding may lead below -1, where the logarithm has no value.
        let t = (x * (1.0 - self.theta)).max(-1.0);
        (ln_1p_over(t) * x).exp()
    }

    fn weight(&self, x: f64) -> f64 {
        (-self.theta * x.ln()).exp()
    }
}

/// `(e^x - 1) / x`, by its series where the quotient loses its digits.
fn exp_m1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x / 2.0 * (1.0 + x / 3.0) }
}

/// `ln(1 + x) / x`, likewise.
fn ln_1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x * (0.5 - x / 3.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chi-square against the exact probabilities, with the tail taken together.
    #[test]
    fn ranks_come_as_often_as_the_law_says() {
        const DRAWS: usize = 1_000_000;
        const HEAD: usize = 50;
        for (seed, theta, count) in [(1, 0.5, 1000_u64), (2, 0.99, 1_000_000), (3, 1.0, 10_000), (4, 1.3, 1_000_000)] {
            let mut rng = fastrand::Rng::with_seed(seed);
            let zipf = Zipf::new(count, theta);
            let mut seen = [0_u64; HEAD + 1];
            for _ in 0..DRAWS {
                let rank = zipf.sample(&mut rng);
                assert!(rank < count, "rank {rank} of {count}, seed {seed}");
                seen[(rank as usize).min(HEAD)] += 1;
            }
            let total: f64 = (1..=count).map(|k| (k as f64).powf(-theta)).sum();
            let mut chi_square = 0.0;
            let mut left = 1.0;
            for (rank, &count) in seen.iter().enumerate() {
                let share = if rank < HEAD { ((rank + 1) as f64).powf(-theta) / total } else { left };
                left -= share;
                let expected = share * DRAWS as f64;
                chi_square += (count as f64 - expected).powi(2) / expected;
            }
            // 50 degrees of freedom: 99.99 % of right samplers stay below 99.
            assert!(chi_square < 99.0, "chi-square {chi_square} for theta {theta}, seed {seed}");
        }
    }

    #[test]
    fn one_rank_is_drawn_for_ever() {
        let mut rng = fastrand::Rng::with_seed(7);
        let zipf = Zipf::new(1, 0.99);
        assert!((0..100).all(|_| zipf.sample(&mut rng) == 0));
    }
}

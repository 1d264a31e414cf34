//! Rounds and medians.

use anyhow::{Context, Result, ensure};
use loadgen::run::{Arrivals, Pace, Plan, Report, run};
use serde::Serialize;

use super::server::Server;

/// What one run on one server gave.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Server CPU per request, in microseconds.
    pub cpu_us: f64,
    /// What the load generator says.
    pub report: Report,
}

/// Medians of the samples of one server in one case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Medians {
    /// Server CPU per request, in microseconds.
    pub cpu_us_per_op: f64,
    /// Requests per second.
    pub ops_per_s: f64,
    /// Half of the requests took at most this, in microseconds.
    pub p50_us: f64,
    /// 99 % of them.
    pub p99_us: f64,
    /// Share of the time that the load generator was at work.
    pub generator_busy: f64,
    /// Whether it may have been what limited the run: then only the CPU per request is to be quoted.
    pub generator_limited: bool,
}

/// An open loop, or the medians of several: latencies from the intended start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct OpenLoop {
    /// Requests per second that were due.
    pub rate_per_s: f64,
    /// Share of them that was answered in time.
    pub answered: f64,
    /// Median latency, in microseconds.
    pub p50_us: f64,
    /// 99 % took at most this.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// 99 % of the requests were sent at most so much later than possible.
    pub generator_lag_p99_us: f64,
    /// 99.9 %.
    pub generator_lag_p999_us: f64,
}

/// Sets all keys of a plan.
///
/// # Errors
/// What [`run`] says; a key that was not found afterwards.
pub fn preload(plan: &Plan) -> Result<()> {
    let (values, plan) = (plan.keys.count(), Plan { preload: true, ..plan.clone() });
    let report = run(&plan).with_context(|| format!("preload of {}", plan.address))?;
    ensure!(report.misses == 0, "{} of {values} keys are missing at {}", report.misses, report.server);
    Ok(())
}

/// Runs a plan and reads the CPU time of the server before and after.
///
/// # Errors
/// What [`run`] says; a refusal or a miss, because the server would then do less than the others.
pub fn sample(server: &Server, plan: &Plan) -> Result<Sample> {
    let name = server.kind.name();
    let before = server.cpu()?;
    let report = run(plan).with_context(|| format!("load on {name}"))?;
    let used = server.cpu()? - before;
    ensure!(report.requests > 0, "{name} answered nothing");
    ensure!(report.errors_total == 0, "{name} refused {} requests: {:?}", report.errors_total, report.errors);
    ensure!(report.misses == 0, "{} keys are missing at {name}", report.misses);
    Ok(Sample { cpu_us: used.as_secs_f64() * 1e6 / report.requests as f64, report })
}

/// Runs an open loop at `rate_per_s`.
///
/// # Errors
/// As [`sample`].
pub fn open_loop(server: &Server, plan: &Plan, rate_per_s: f64) -> Result<OpenLoop> {
    let pace = Pace::Open { per_second: rate_per_s, arrivals: Arrivals::Poisson };
    let report = sample(server, &Plan { pace, ..plan.clone() })?.report;
    let lag = report.lag.context("an open loop has a lag")?;
    Ok(OpenLoop {
        rate_per_s,
        answered: report.achieved as f64 / report.offered.max(1) as f64,
        p50_us: report.latency.p50_us,
        p99_us: report.latency.p99_us,
        p999_us: report.latency.p999_us,
        generator_lag_p99_us: lag.p99_us,
        generator_lag_p999_us: lag.p999_us,
    })
}

impl OpenLoop {
    /// The medians of several; each figure its own.
    ///
    /// # Panics
    /// Without any.
    pub fn medians(rounds: &[OpenLoop]) -> OpenLoop {
        let of = |value: fn(&OpenLoop) -> f64| median(rounds.iter().map(value).collect());
        OpenLoop {
            rate_per_s: of(|round| round.rate_per_s),
            answered: of(|round| round.answered),
            p50_us: of(|round| round.p50_us),
            p99_us: of(|round| round.p99_us),
            p999_us: of(|round| round.p999_us),
            generator_lag_p99_us: of(|round| round.generator_lag_p99_us),
            generator_lag_p999_us: of(|round| round.generator_lag_p999_us),
        }
    }
}

impl Medians {
    /// The medians of the samples; each of its own.
    ///
    /// # Panics
    /// Without samples.
    pub fn of(samples: &[Sample]) -> Medians {
        let of = |value: &dyn Fn(&Sample) -> f64| median(samples.iter().map(value).collect());
        Medians {
            cpu_us_per_op: of(&|sample| sample.cpu_us),
            ops_per_s: of(&|sample| sample.report.achieved_per_s),
            p50_us: of(&|sample| sample.report.latency.p50_us),
            p99_us: of(&|sample| sample.report.latency.p99_us),
            generator_busy: of(&|sample| sample.report.generator.busy.iter().copied().fold(0.0, f64::max)),
            generator_limited: samples.iter().any(|sample| sample.report.generator.limited),
        }
    }
}

/// Median of what the CPU of `ours` is to that of `theirs`, round by round.
///
/// # Panics
/// Without samples.
pub fn ratio(ours: &[Sample], theirs: &[Sample]) -> f64 {
    median(ours.iter().zip(theirs).map(|(ours, theirs)| ours.cpu_us / theirs.cpu_us).collect())
}

/// The value in the middle, or the mean of the two there.
///
/// # Panics
/// Without values.
pub fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "a median needs values");
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![7.0]), 7.0);
    }

    #[test]
    fn one_bad_round_of_an_open_loop_decides_nothing() {
        let round = |p50_us, p999_us| OpenLoop { rate_per_s: 5.0, p50_us, p999_us, ..OpenLoop::default() };
        let medians = OpenLoop::medians(&[round(1.0, 70.0), round(3.0, 9.0), round(2.0, 8.0)]);
        assert_eq!(medians, round(2.0, 9.0));
    }
}

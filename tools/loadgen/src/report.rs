//! What the reports of all commands have in common.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::progress::{millis, thousands};
use crate::stats::{Recorder, status_name, to_us};

/// A distribution of times. Exact to three digits; all but `count` in microseconds, and 0 if `count` is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Their mean.
    pub mean_us: f64,
    /// Half of them are at most this.
    pub p50_us: f64,
    /// 90 %.
    pub p90_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// 99.99 %.
    pub p9999_us: f64,
    /// The largest one.
    pub max_us: f64,
}

impl Latency {
    pub(crate) fn of(times_ns: &Histogram<u64>) -> Latency {
        if times_ns.is_empty() {
            return Latency::default();
        }
        let quantile = |quantile| to_us(times_ns.value_at_quantile(quantile));
        Latency {
            count: times_ns.len(),
            mean_us: times_ns.mean() / 1000.0,
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            p9999_us: quantile(0.9999),
            max_us: to_us(times_ns.max()),
        }
    }
}

/// Refusals with one status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorReport {
    /// How many.
    pub count: u64,
    /// What the server said about the first one.
    pub message: String,
}

impl ErrorReport {
    pub(crate) fn all(recorder: &Recorder) -> BTreeMap<String, ErrorReport> {
        recorder
            .errors()
            .map(|(status, count, message)| (status_name(status), ErrorReport { count, message: message.to_string() }))
            .collect()
    }
}

/// A line of a table: what, and how much.
pub(crate) fn write_line(f: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(f, "  {name:<12} {text}")
}

/// The lines of a table that tell the refusals.
pub(crate) fn write_errors(
    f: &mut fmt::Formatter<'_>,
    total: u64,
    errors: &BTreeMap<String, ErrorReport>,
) -> fmt::Result {
    write_line(f, "errors", &thousands(total))?;
    for (status, ErrorReport { count, message }) in errors {
        let message = if message.is_empty() { String::new() } else { format!(": {message}") };
        write_line(f, "", &format!("{} {status}{message}", thousands(*count)))?;
    }
    Ok(())
}

/// A line of the table of latencies.
pub(crate) struct Row<'a>(pub(crate) &'a str, pub(crate) Latency);

pub(crate) fn write_latencies(f: &mut fmt::Formatter<'_>, rows: &[Row<'_>]) -> fmt::Result {
    write!(f, "  {:<12}", "in ms")?;
    for column in ["count", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"] {
        write!(f, " {column:>11}")?;
    }
    writeln!(f)?;
    for Row(name, times) in rows {
        write!(f, "  {name:<12} {:>11}", thousands(times.count))?;
        for time_us in
            [times.mean_us, times.p50_us, times.p90_us, times.p99_us, times.p999_us, times.p9999_us, times.max_us]
        {
            write!(f, " {:>11}", millis((time_us * 1000.0) as u64))?;
        }
        writeln!(f)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_times() {
        let mut times = crate::stats::histogram(3);
        (1..=10_000).for_each(|us| times.saturating_record(us * 1000));
        let latency = Latency::of(&times);
        for (got, expected) in [
            (latency.mean_us, 5000.5),
            (latency.p50_us, 5000.0),
            (latency.p90_us, 9000.0),
            (latency.p99_us, 9900.0),
            (latency.p999_us, 9990.0),
            (latency.p9999_us, 9999.0),
            (latency.max_us, 10_000.0),
        ] {
            assert!((got - expected).abs() / expected < 0.001, "{got} instead of {expected}");
        }
        assert_eq!(Latency::of(&crate::stats::histogram(3)), Latency::default());
    }
}

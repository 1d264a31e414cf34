//! What a person sees on standard error while the run goes on: one line each second, rewritten on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use crate::stats::{Live, to_us};

/// Whether a live line is on the terminal that something else must not be written behind.
static LINE_OPEN: Mutex<bool> = Mutex::new(false);

/// A message on a line of its own.
pub(crate) fn note(message: &str) {
    let mut open = LINE_OPEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    clear(&mut open);
    eprintln!("loadgen: {message}");
}

/// Shows a live line in place of the one before.
pub(crate) fn live(line: &str) {
    let mut open = LINE_OPEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    clear(&mut open);
    if std::io::stderr().is_terminal() {
        eprint!("{line}");
        *open = true;
    } else {
        eprintln!("{line}");
    }
}

/// Leaves nothing of the live line.
pub(crate) fn end() {
    clear(&mut LINE_OPEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
}

fn clear(open: &mut bool) {
    if std::mem::take(open) {
        // Carriage return, and erase to the end of the line. Nobody is told if the terminal is gone.
        let _ = write!(std::io::stderr(), "\r\x1b[2K");
    }
}

/// The live line of a run.
pub(crate) fn run_line(phase: &str, elapsed: Duration, seconds: f64, live: &Live) -> String {
    let looked = live.hits + live.misses;
    let ratio = if looked == 0 { "-".to_string() } else { percent(live.hits, looked) };
    let quantile = |quantile| millis(live.latency.value_at_quantile(quantile));
    format!(
        "{phase} {:>4.0} s  {:>11} req/s  hit {ratio:>7}  p50 {} ms  p99 {} ms  max {} ms  errors {}",
        elapsed.as_secs_f64(),
        thousands((live.requests as f64 / seconds).round() as u64),
        quantile(0.5),
        quantile(0.99),
        millis(live.latency.max()),
        thousands(live.errors),
    )
}

/// A share in percent.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".into() } else { format!("{:.2} %", part as f64 * 100.0 / whole as f64) }
}

/// Nanoseconds as milliseconds.
pub(crate) fn millis(time_ns: u64) -> String {
    format!("{:.3}", to_us(time_ns) / 1000.0)
}

/// A number with commas.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn the_line_shows_rate_ratio_and_latency() {
        let mut live = Live { requests: 2_000_000, hits: 3, misses: 1, ..Live::default() };
        live.latency.saturating_record(1_000_000);
        let line = run_line("run", Duration::from_secs(7), 2.0, &live);
        for part in ["7 s", "1,000,000 req/s", "75.00 %", "errors 0"] {
            assert!(line.contains(part), "{line}");
        }
    }
}

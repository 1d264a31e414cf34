//! Lines for the operator, on standard error, in one style.

use std::fmt::Arguments;
use std::io::Write;

/// Writes `larder: …` as one line. A standard error that is closed or full is no reason to stop serving.
pub fn line(message: Arguments<'_>) {
    let line = format!("larder: {message}\n");
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

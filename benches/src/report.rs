//! How a measurement program tells what it found.

use std::fmt::Display;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

/// Writes a report to standard output: as one JSON object with the table for people on standard error, or the table alone.
///
/// # Errors
/// The report is nothing that JSON can say.
pub fn print(is_json: bool, report: &impl Serialize, table: impl Display) -> Result<()> {
    if is_json {
        eprint!("{table}");
        println!("{}", serde_json::to_string(report)?);
    } else {
        print!("{table}");
    }
    Ok(())
}

/// How the program `name` ends: with what went wrong on standard error, if something did.
pub fn exit(name: &str, result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

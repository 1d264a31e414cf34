//! The `larder` program.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use larder_server::config::{Arguments, Command, Loaded, ServeFlags};
use larder_server::log;
use larder_server::preflight;
use larder_server::server::serve;

/// The exit status of a configuration that cannot be used.
const EXIT_REFUSED: u8 = 2;

fn main() -> ExitCode {
    let Arguments { command: Command::Serve(flags) } = Arguments::from_process();
    match configured(&flags) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(loaded)) => match serve(loaded.config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log::line(format_args!("{error}"));
                error.exit_code()
            }
        },
        Err(error) => {
            log::line(format_args!("{error:#}"));
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

/// The configuration to serve by; `None` if it was only to be looked at.
fn configured(flags: &ServeFlags) -> anyhow::Result<Option<Loaded>> {
    let loaded = Loaded::load(flags, std::env::vars_os(), &preflight::cores_allowed()?)?;
    for warning in &loaded.warnings {
        log::line(format_args!("warning: {warning}"));
    }
    if flags.print_config {
        print(&loaded.to_toml())?;
        return Ok(None);
    }
    if flags.check_config {
        print("larder: the configuration is OK\n")?;
        return Ok(None);
    }
    Ok(Some(loaded))
}

/// Writes to standard output, which may be closed or full.
fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().lock().write_all(text.as_bytes()).context("cannot write to standard output")
}

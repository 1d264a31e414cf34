//! `larder-cli`: the operations of a Larder server for people and scripts.
//!
//! It may not know more of a server than the client library does. What a command does is in `commands`, how its result
//! is shown in `report`; `arguments` is what users script against.
#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod duration;
mod groups;
mod input;
mod report;
mod scan;
mod size;
mod stats;
mod text;
mod watch;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use larder_client::{Client, Error};

use crate::arguments::Arguments;
use crate::report::{Exit, Refusal, Report, Unusable};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.json;
    match run(arguments) {
        Ok(report) => match report.print(json) {
            Ok(()) => report.exit().into(),
            // Whoever read our output has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => report.exit().into(),
            Err(error) => {
                report::say(format_args!("larder-cli: cannot write to standard output: {error}"));
                Exit::Failed.into()
            }
        },
        Err(error) => {
            report::say(format_args!("larder-cli: {error:#}"));
            let refusal = Refusal::of(&error);
            if json {
                // Without a reader for it, standard error has said the same.
                let _ = writeln!(std::io::stdout(), "{}", refusal.to_json(&error));
            }
            refusal.exit.into()
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<Report> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime does not start")?;
    runtime.block_on(async {
        let command = commands::prepare(arguments.command)?;
        let client = Client::builder()
            .addresses(arguments.addr)
            .group(arguments.group)
            .client_name(concat!("larder-cli/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(arguments.timeout)
            .attempt_timeout(arguments.timeout)
            .deadline(arguments.timeout)
            .connect()
            .await
            .map_err(as_option)?;
        commands::run(&client, command, arguments.json).await
    })
}

/// Names a setting of the client library that cannot be as the option that it comes from.
fn as_option(error: Error) -> anyhow::Error {
    let Error::Setting { setting, value, remedy } = &error else { return error.into() };
    let option = match *setting {
        "address" => "addr",
        "deadline" => "timeout",
        other => other,
    };
    Unusable(format!("--{option} {value:?}: {remedy}")).into()
}

//! The `loadgen` program: options in, a table and a JSON object out.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use loadgen::LoadError;
use loadgen::cli::{Cli, Command};
use serde::Serialize;

/// The run was made, and every request was refused; or a replay had refusals, so that its hit ratio means nothing.
const REFUSED: u8 = 1;

fn main() -> ExitCode {
    match execute(&Cli::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn execute(command: &Command) -> Result<u8, LoadError> {
    match command {
        Command::Run(args) => {
            let plan = args.plan()?;
            let output = Output::open(args.common.json.as_deref())?;
            eprintln!("loadgen: {} with seed {}", plan.address, plan.seed);
            let report = loadgen::run::run(&plan)?;
            output.write(&report)?;
            let refused = report.errors_total > 0 && report.errors_total >= report.requests;
            if refused {
                eprintln!("loadgen: every request was refused; see the errors above");
            }
            Ok(if refused { REFUSED } else { 0 })
        }
        Command::Ceiling(args) => {
            let output = Output::open(args.json.as_deref())?;
            output.write(&loadgen::ceiling::ceiling(&args.plan())?)?;
            Ok(0)
        }
        Command::Replay(args) => {
            let plan = args.plan()?;
            let output = Output::open(args.common.json.as_deref())?;
            let report = loadgen::replay::replay(&plan)?;
            output.write(&report)?;
            if report.errors_total > 0 {
                eprintln!(
                    "loadgen: {} requests were refused, so this is not the trace's hit ratio",
                    report.errors_total
                );
            }
            Ok(if report.errors_total > 0 { REFUSED } else { 0 })
        }
    }
}

/// Where results go. Opened before the run, so that a path which cannot be written is known at once.
enum Output {
    Table,
    Stdout,
    File(PathBuf, File),
}

impl Output {
    fn open(json: Option<&Path>) -> Result<Output, LoadError> {
        match json {
            None => Ok(Output::Table),
            Some(path) if path == Path::new("-") => Ok(Output::Stdout),
            Some(path) => match File::create(path) {
                Ok(file) => Ok(Output::File(path.to_path_buf(), file)),
                Err(error) => Err(LoadError::option("--json", path.display(), error.to_string())),
            },
        }
    }

    fn write(self, report: &(impl Serialize + Display)) -> Result<(), LoadError> {
        let line = || format!("{}\n", serde_json::to_string(report).expect("a report is plain data"));
        let failed = |action: String| move |source: io::Error| LoadError::System { action, source };
        let stdout = |text: String| io::stdout().write_all(text.as_bytes()).map_err(failed("write the result".into()));
        match self {
            Output::Table => stdout(report.to_string()),
            Output::Stdout => {
                eprint!("{report}");
                stdout(line())
            }
            Output::File(path, mut file) => {
                stdout(report.to_string())?;
                file.write_all(line().as_bytes()).map_err(failed(format!("write {}", path.display())))
            }
        }
    }
}

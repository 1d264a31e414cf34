//! What `cargo bench` runs: cases that are timed, or whose instructions are counted, which is stable also where the
//! machine is not.
//!
//! A case is a closure that does one operation, or one that works out a figure. Times are the median of several samples; instructions are what
//! callgrind counts for twice as many operations less what it counts for once as many, so that the setup is left out.

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;

/// Samples of a timed case.
const SAMPLES: usize = 15;
/// Length of each.
const SAMPLE_TIME: Duration = Duration::from_millis(40);
/// Operations that callgrind counts.
const COUNTED: u64 = 20_000;

/// Operations that are timed, or whose instructions are counted.
#[derive(Debug, Parser)]
struct Options {
    /// Only cases whose name contains this.
    filter: Option<String>,
    /// Count instructions with callgrind (of valgrind) instead of taking the time.
    #[arg(long)]
    instructions: bool,
    /// Do the case of this very name so often, and say nothing; this is what callgrind runs.
    #[arg(long, value_name = "N", requires = "filter", hide = true)]
    silently: Option<u64>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A name, and what makes the operation. The setup is made only for cases that run.
pub struct Case {
    name: String,
    what: What,
}

enum What {
    Operation(Box<dyn Fn() -> Box<dyn FnMut()>>),
    Figure { unit: &'static str, work_out: Box<dyn Fn() -> f64> },
}

/// A case; what its operation returns is kept from being optimised away.
pub fn case<T, Op: FnMut() -> T + 'static>(name: impl Into<String>, setup: impl Fn() -> Op + 'static) -> Case {
    let operation = move || -> Box<dyn FnMut()> {
        let mut operation = setup();
        Box::new(move || {
            black_box(operation());
        })
    };
    Case { name: name.into(), what: What::Operation(Box::new(operation)) }
}

/// A figure that is shown as it is.
pub fn figure(name: impl Into<String>, unit: &'static str, work_out: impl Fn() -> f64 + 'static) -> Case {
    Case { name: name.into(), what: What::Figure { unit, work_out: Box::new(work_out) } }
}

/// Does what the command line asks for.
pub fn run(cases: &[Case]) -> ExitCode {
    match execute(&Options::parse(), cases) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(options: &Options, cases: &[Case]) -> Result<()> {
    if let (Some(count), Some(name)) = (options.silently, &options.filter) {
        let found = cases.iter().find_map(|case| match &case.what {
            What::Operation(setup) if case.name == *name => Some(setup),
            _ => None,
        });
        let mut operation = found.with_context(|| format!("there is no case {name}"))?();
        (0..count).for_each(|_| operation());
        return Ok(());
    }
    let wanted = |case: &&Case| options.filter.as_ref().is_none_or(|filter| case.name.contains(filter.as_str()));
    for case in cases.iter().filter(wanted) {
        let name = &case.name;
        match &case.what {
            What::Figure { unit, work_out } => println!("{name:<32} {:>10.1} {unit}", work_out()),
            What::Operation(_) if options.instructions => {
                let count = (counted(name, 2 * COUNTED)? - counted(name, COUNTED)?) as f64 / COUNTED as f64;
                println!("{name:<32} {count:>10.1} instructions");
            }
            What::Operation(setup) => println!("{name:<32} {:>10.1} ns", timed(&mut *setup())),
        }
    }
    Ok(())
}

/// Median time of an operation, in ns.
fn timed(operation: &mut dyn FnMut()) -> f64 {
    let time = |operation: &mut dyn FnMut(), count: u64| {
        let begun = Instant::now();
        (0..count).for_each(|_| operation());
        begun.elapsed()
    };
    let mut count = 1;
    while time(operation, count) < SAMPLE_TIME {
        count *= 2;
    }
    let samples = (0..SAMPLES).map(|_| time(operation, count).as_nanos() as f64 / count as f64);
    crate::peers::measure::median(samples.collect())
}

/// What callgrind counts for the setup of a case and so many operations.
fn counted(name: &str, operations: u64) -> Result<i64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--silently", &operations.to_string(), name])
        .output()
        .context("valgrind does not start; install the package valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    match collected {
        Some(instructions) if output.status.success() => Ok(instructions),
        _ => bail!("callgrind counted nothing for {name}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_filter_runs_its_cases_alone_and_silent_runs_count() {
        let calls = Rc::new(Cell::new([0; 2]));
        let counting = |name: &str, place: usize| {
            let calls = Rc::clone(&calls);
            case(name, move || {
                let calls = Rc::clone(&calls);
                move || {
                    let mut now = calls.get();
                    now[place] += 1;
                    calls.set(now);
                }
            })
        };
        let cases = [counting("encode", 0), counting("decode", 1), figure("bytes", "bytes", || 1.5)];
        let options = |filter: &str, silently| Options {
            filter: Some(filter.into()),
            instructions: false,
            silently,
            bench: true,
        };
        execute(&options("encode", Some(7)), &cases).unwrap();
        assert_eq!(calls.get(), [7, 0]);
        execute(&options("dec", None), &cases).unwrap();
        assert!(calls.get()[0] == 7 && calls.get()[1] > 1000, "{:?}", calls.get());
        assert!(execute(&options("dec", Some(1)), &cases).is_err(), "no case has that very name");
        assert!(execute(&options("bytes", Some(1)), &cases).is_err(), "a figure is no operation");
        execute(&options("bytes", None), &cases).unwrap();
    }

    #[test]
    fn times_are_those_of_one_operation() {
        let ns = timed(&mut || std::thread::sleep(Duration::from_millis(1)));
        assert!((1e6..1e8).contains(&ns), "{ns}");
    }
}

//! Runs as continuous integration makes them, and that the simulator finds mistakes.

use std::process::{Command, Output};

use larder_simulator::{Bug, Settings, simulate};

/// Seeds of a test that finds nothing.
const RUNS: &str = "300";
/// Most seeds until a mistake is found. The rarest shows in one of 280.
const RUNS_MAX: &str = "3000";

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulate")).args(arguments).output().expect("it runs")
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[test]
fn nothing_is_wrong() {
    let output = program(&["--runs", RUNS]);
    eprintln!("{}", text(&output));
    assert!(output.status.success(), "see above");
}

/// One process for each: a mistake is made by all engines of a process.
#[test]
fn every_planted_mistake_is_found() {
    for bug in Bug::all() {
        let output = program(&["--runs", RUNS_MAX, "--bug", &bug.to_string()]);
        let said = text(&output);
        assert!(output.status.success() && said.contains(&format!("{bug} is found")), "{bug}: {said}");
        eprintln!("{}", said.lines().last().unwrap_or_default());
    }
}

#[test]
fn a_seed_is_a_run() {
    for seed in [3, 11, 30] {
        let [first, second] = [0, 1].map(|_| simulate(&Settings { seed, ..Settings::default() }));
        assert_eq!(first, second);
        assert!(first.problem.is_none() && first.events > 5_000, "{first:?}");
        assert!(first.outcomes[0] > 100 && first.outcomes[2] > 100, "clients read and write: {first:?}");
        assert_ne!(first.digest, simulate(&Settings { seed: seed + 1, ..Settings::default() }).digest);
    }
}

#[test]
fn a_run_can_be_read() {
    let output = program(&["--seed", "3", "--trace"]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for part in ["hears of epoch", "client 0 asks", "is asked by another node", "goes by epoch", "digest"] {
        assert!(said.contains(part), "no {part}");
    }
    let wrong = program(&["--bug", "None"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong).contains("NoProof"), "{}", text(&wrong));
}

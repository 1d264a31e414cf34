//! Feeds bytes to what can be fuzzed: from files, from standard input, or drawn with a seed for so many seconds.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, panic, process};

use clap::{Parser, ValueEnum};

/// Longest input that is drawn, in bytes: some 1500 operations.
const INPUT_BYTES_MAX: usize = 8 << 10;
/// Longest input that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Feed bytes to what must work with any; what fails is left in a file.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What is fuzzed
    target: Target,
    /// Inputs, once each; `-` is standard input. Without any, inputs are drawn
    files: Vec<PathBuf>,
    /// How long inputs are drawn
    #[arg(long, default_value_t = 10, conflicts_with = "files")]
    seconds: u64,
    /// What they are drawn with; the same seed gives the same inputs in the same order
    #[arg(long, default_value_t = 1, conflicts_with = "files")]
    seed: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Target {
    /// Operations on a store, held against a model
    Store,
    /// Commands of RESP, whole and in pieces
    Resp,
    /// Commands of memcached's text protocol, whole and in pieces
    Memcache,
}

impl Target {
    fn run(self, bytes: &[u8]) -> usize {
        match self {
            Target::Store => larder_fuzz::store(bytes),
            Target::Resp => larder_fuzz::resp(bytes),
            Target::Memcache => larder_fuzz::memcache(bytes),
        }
    }
}

/// The input that is being executed, and its name.
static CURRENT: Mutex<Option<(String, Vec<u8>)>> = Mutex::new(None);

fn main() -> ExitCode {
    let Arguments { target, files, seconds, seed } = Arguments::parse();
    keep_what_fails();
    if files.is_empty() {
        draw(target, seed, Duration::from_secs(seconds));
        return ExitCode::SUCCESS;
    }
    for file in files {
        match read(&file) {
            Ok(bytes) => println!("{}: {} operations", file.display(), target.run(&bytes)),
            Err(error) => {
                eprintln!(
                    "{}: {error}: name a file of at most {FILE_BYTES_MAX} bytes that can be read",
                    file.display()
                );
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::SUCCESS
}

/// Executes inputs for so long.
fn draw(target: Target, seed: u64, time: Duration) {
    let (mut random, start) = (fastrand::Rng::with_seed(seed), Instant::now());
    let (mut inputs, mut executed) = (0, 0);
    while start.elapsed() < time {
        let mut bytes = vec![0; random.usize(1..=INPUT_BYTES_MAX) >> random.u32(0..8)];
        random.fill(&mut bytes);
        let name = format!("fuzz-{target:?}-{seed}-{inputs}.bin").to_lowercase();
        let before = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).replace((name, bytes.clone()));
        drop(before);
        executed += target.run(&bytes);
        inputs += 1;
    }
    println!("seed {seed}: {executed} operations of {inputs} inputs in {} s", start.elapsed().as_secs());
}

/// Has a panic leave the input behind that it came from, and end the process.
fn keep_what_fails() {
    let say = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        say(info);
        if let Some((name, bytes)) = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).take() {
            match fs::write(&name, bytes) {
                Ok(()) => eprintln!("the input is in {name}"),
                Err(error) => eprintln!("{name} cannot be written: {error}"),
            }
        }
        process::exit(1);
    }));
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin()),
        _ => Box::new(fs::File::open(file)?),
    };
    source.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is too long"));
    }
    Ok(bytes)
}

//! Miss ratios as tables for people: one for each trace, and how all of them compare with LRU and with one shard.

use std::fmt::{self, Display, Formatter, Write as _};

use larder_store::PolicyKind;
use serde::Serialize;

/// With fewer objects a shard is a cache of a handful, which no policy can make good.
pub const SHARD_OBJECTS_MIN: u64 = 100;
/// Width of the first column: the longest name, and the number of its shards.
const NAME_WIDTH: usize = 14;

/// How often a trace missed in a cache of some size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Name of the trace.
    pub trace: String,
    /// Name of the policy, or of the library.
    pub policy: &'static str,
    /// Stores that the objects are divided among, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<u16>,
    /// Size of the cache.
    pub cache_objects: u64,
    /// Length of the trace.
    pub requests: u64,
    /// Of those: not found.
    pub misses: u64,
}

impl Run {
    /// First line of a CSV file of runs.
    pub const CSV_HEADER: &str = "trace,policy,shards,cache_objects,requests,misses,miss_ratio";

    /// Misses of a request.
    pub fn miss_ratio(&self) -> f64 {
        self.misses as f64 / self.requests.max(1) as f64
    }

    /// A line of a CSV file, as [`Run::CSV_HEADER`] says.
    pub fn csv(&self) -> String {
        let Run { trace, policy, shards, cache_objects, requests, misses } = self;
        let shards = shards.unwrap_or(1);
        format!("{trace},{policy},{shards},{cache_objects},{requests},{misses},{:.6}", self.miss_ratio())
    }

    /// As rows of tables call it.
    fn row(&self) -> String {
        match self.shards {
            Some(shards) if shards > 1 => format!("{}/{shards}", self.policy),
            _ => self.policy.to_string(),
        }
    }
}

/// Runs of many traces.
#[derive(Debug, Default)]
pub struct Table {
    runs: Vec<Run>,
}

impl Table {
    /// Adds what was counted.
    pub fn extend(&mut self, runs: impl IntoIterator<Item = Run>) {
        self.runs.extend(runs);
    }

    /// All that was counted.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Geometric means of misses in relation to LRU with one shard, over all traces and sizes, the least first; none
    /// without LRU.
    pub fn relative_to_lru(&self) -> Vec<(String, f64)> {
        let mut means: Vec<(String, Vec<f64>)> = Vec::new();
        for run in &self.runs {
            let Some(lru) = self.like(run, PolicyKind::Lru.name()) else { continue };
            push(&mut means, run.row(), run.misses as f64 / lru.misses as f64);
        }
        let mut means: Vec<_> = means.into_iter().map(|(row, ratios)| (row, geometric_mean(&ratios))).collect();
        means.sort_by(|(_, left), (_, right)| left.total_cmp(right));
        means
    }

    /// Traces and sizes of the runs.
    fn cells(&self) -> usize {
        self.runs.iter().filter(|run| run.row() == PolicyKind::Lru.name()).count()
    }

    /// What one store did that has the same trace and size.
    fn like(&self, run: &Run, policy: &str) -> Option<&Run> {
        self.runs.iter().find(|other| {
            other.trace == run.trace
                && other.policy == policy
                && other.cache_objects == run.cache_objects
                && other.shards.unwrap_or(1) == 1
        })
    }

    /// For each policy with several shards: its misses in relation to one shard, of runs that leave each shard
    /// [`SHARD_OBJECTS_MIN`] objects.
    pub fn relative_to_one_shard(&self) -> Vec<(String, Spread)> {
        let mut rows: Vec<(String, Vec<f64>)> = Vec::new();
        for run in &self.runs {
            let shards = u64::from(run.shards.unwrap_or(1));
            if shards == 1 || run.cache_objects / shards < SHARD_OBJECTS_MIN {
                continue;
            }
            if let Some(one) = self.like(run, run.policy) {
                push(&mut rows, run.row(), run.misses as f64 / one.misses as f64);
            }
        }
        rows.into_iter().map(|(row, ratios)| (row, Spread::of(&ratios))).collect()
    }
}

/// How ratios lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Their geometric mean.
    pub mean: f64,
    /// The least of them.
    pub least: f64,
    /// The greatest.
    pub most: f64,
}

impl Spread {
    fn of(ratios: &[f64]) -> Spread {
        Spread {
            mean: geometric_mean(ratios),
            least: ratios.iter().copied().fold(f64::MAX, f64::min),
            most: ratios.iter().copied().fold(f64::MIN, f64::max),
        }
    }
}

/// Adds to a row, the last if there is none yet.
fn push(rows: &mut Vec<(String, Vec<f64>)>, row: String, ratio: f64) {
    match rows.iter_mut().find(|(other, _)| *other == row) {
        Some((_, ratios)) => ratios.push(ratio),
        None => rows.push((row, vec![ratio])),
    }
}

/// What follows the tables of the traces.
impl Display for Table {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let means = self.relative_to_lru();
        if !means.is_empty() {
            writeln!(out, "misses in relation to lru, geometric mean of {} runs", self.cells())?;
        }
        for (row, mean) in means {
            writeln!(out, "{row:<NAME_WIDTH$} {mean:>9.4}")?;
        }
        let sharded = self.relative_to_one_shard();
        if !sharded.is_empty() {
            writeln!(out, "\nmisses in relation to one shard, with {SHARD_OBJECTS_MIN} objects per shard and more")?;
            writeln!(out, "{:<NAME_WIDTH$} {:>9} {:>9} {:>9}", "", "mean", "least", "most")?;
        }
        for (row, Spread { mean, least, most }) in sharded {
            writeln!(out, "{row:<NAME_WIDTH$} {mean:>9.4} {least:>9.4} {most:>9.4}")?;
        }
        Ok(())
    }
}

/// Policies and sizes of one trace.
#[derive(Debug)]
pub struct TraceTable<'a> {
    /// Name of the trace.
    pub trace: &'a str,
    /// Its keys.
    pub unique: u64,
    /// What was counted, sizes of a cache in order, one cache after the other.
    pub runs: &'a [Run],
    /// Sizes of each cache.
    pub sizes: usize,
}

impl Display for TraceTable<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let mut rows = self.runs.chunks(self.sizes).peekable();
        let Some(first) = rows.peek() else { return Ok(()) };
        writeln!(
            out,
            "{}: {} requests of {} keys; miss ratio with room for so many",
            self.trace, first[0].requests, self.unique
        )?;
        let mut header = String::new();
        first.iter().try_for_each(|run| write!(header, " {:>9}", run.cache_objects))?;
        writeln!(out, "{:<NAME_WIDTH$}{header}", "objects")?;
        for row in rows {
            write!(out, "{:<NAME_WIDTH$}", row[0].row())?;
            row.iter().try_for_each(|run| write!(out, " {:>9.4}", run.miss_ratio()))?;
            writeln!(out)?;
        }
        Ok(())
    }
}

fn geometric_mean(ratios: &[f64]) -> f64 {
    (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(policy: &'static str, shards: u16, cache_objects: u64, misses: u64) -> Run {
        Run { trace: "t".into(), policy, shards: Some(shards), cache_objects, requests: 1_000, misses }
    }

    fn table(runs: impl IntoIterator<Item = Run>) -> Table {
        let mut table = Table::default();
        table.extend(runs);
        table
    }

    #[test]
    fn means_are_geometric_and_sorted() {
        let table = table([
            run("fifo", 1, 1_000, 800),
            run("fifo", 1, 2_000, 200),
            run("lru", 1, 1_000, 400),
            run("lru", 1, 2_000, 100),
            run("arc", 1, 1_000, 200),
            run("arc", 1, 2_000, 72),
        ]);
        let means = table.relative_to_lru();
        let rounded: Vec<_> = means.iter().map(|(row, mean)| (&row[..], (mean * 1e4).round() / 1e4)).collect();
        assert_eq!(rounded, [("arc", 0.6), ("lru", 1.0), ("fifo", 2.0)]);
        assert!(table.to_string().starts_with("misses in relation to lru, geometric mean of 2 runs\n"));
    }

    #[test]
    fn shards_count_where_they_are_no_handful() {
        let table = table([
            run("sieve", 1, 160, 500),
            run("sieve", 1, 1_600, 400),
            run("sieve", 1, 3_200, 200),
            run("sieve", 16, 160, 900),
            run("sieve", 16, 1_600, 396),
            run("sieve", 16, 3_200, 204),
        ]);
        let [(row, spread)] = &table.relative_to_one_shard()[..] else { panic!("{table}") };
        assert_eq!((&row[..], (spread.mean * 1e3).round()), ("sieve/16", 1_005.0));
        assert_eq!((spread.least, spread.most), (0.99, 1.02));
        assert!(table.relative_to_lru().is_empty(), "there is no LRU");
    }

    #[test]
    fn a_trace_is_a_row_for_each_cache() {
        let runs = [run("lru", 1, 10, 500), run("lru", 1, 20, 250), run("lru", 2, 10, 501), run("lru", 2, 20, 251)];
        let text = TraceTable { trace: "t", unique: 33, runs: &runs, sizes: 2 }.to_string();
        let expected = "\
t: 1000 requests of 33 keys; miss ratio with room for so many
objects               10        20
lru               0.5000    0.2500
lru/2             0.5010    0.2510
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_line_of_csv_has_the_fields_of_the_header() {
        let line = run("lru", 16, 10, 333).csv();
        assert_eq!(line, "t,lru,16,10,1000,333,0.333000");
        assert_eq!(line.split(',').count(), Run::CSV_HEADER.split(',').count());
    }
}

//! How long single inserts take, in CPU time of the thread.
//!
//! The clock is that of the thread, because others work on the machine too. It is read once for each insert: what lies
//! between two readings is one insert and one reading, and what a reading costs is measured and reported beside, not
//! subtracted. It is far below what is looked for, and a histogram from it is an upper bound.
//!
//! CPU time of a thread still contains what is not the store's: interrupts that were served meanwhile, and on a virtual
//! machine the time that the host took away. The store does the same work for the same calls, so all is done several
//! times with a new store each, and for each insert the least of its times is kept: what the store causes comes again
//! at the same insert, what the machine causes comes elsewhere. Both histograms are reported, and that of the clock alone.

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use larder_ring::{group_hash, key_hash};
use larder_server::pages;
use larder_store::{
    Charge, Condition, Expiry, GroupSettings, Key, MemoryCounters, NoHook, PolicyKind, Store, StoreSettings, Write,
};
use loadgen::thread_cpu_ns;
use serde::Serialize;

/// No insert may take longer, in ns.
pub const INSERT_NS_MAX: u64 = 1_000_000;
/// 99.99 % of inserts may take no longer, in ns.
pub const P9999_NS_MAX: u64 = 20_000;
/// Length of keys and values, in bytes.
const KEY_BYTES: usize = 16;
const VALUE: [u8; 16] = [7; 16];
const GROUP: &str = "default";
const START_MS: u64 = 1_700_000_000_000;
/// Inserts in one ms of the store's time.
const INSERTS_PER_MS: u64 = 1000;
/// Longest time that is told apart, in ns, and digits of it.
const TIME_NS_MAX: u64 = 60_000_000_000;
const TIME_DIGITS: u8 = 3;

/// Inserts into a new store.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Its name in the report.
    pub name: &'static str,
    /// How many.
    pub inserts: u64,
    /// Each insert has the next of so many keys, by turns; or, if that is less than inserts, any of them.
    pub keys: u64,
    /// Memory of the store for each key, in bytes.
    pub memory_bytes_per_key: u64,
}

/// `growing`: the index grows all the way, and nothing is evicted. `full`: half of the keys fit, and they are written in
/// random order, so that eviction and cleaning go on all the time.
pub const PASSES: [Pass; 2] = [
    Pass { name: "growing", inserts: 20_000_000, keys: 20_000_000, memory_bytes_per_key: 128 },
    Pass { name: "full", inserts: 20_000_000, keys: 4_000_000, memory_bytes_per_key: 36 },
];

/// Times of inserts, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Times {
    /// The longest.
    pub max_ns: u64,
    /// 99.99 % took at most this.
    pub p9999_ns: u64,
    /// 99.9 %.
    pub p999_ns: u64,
    /// Half of them.
    pub p50_ns: u64,
    /// How many took longer than [`INSERT_NS_MAX`].
    pub above_max: u64,
}

/// What came of a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassReport {
    /// Its name.
    pub pass: &'static str,
    /// The store's eviction policy.
    pub policy: String,
    /// How many items were inserted.
    pub inserts: u64,
    /// Memory of the store, in bytes.
    pub memory_bytes: u64,
    /// How often all of it was done.
    pub repeats: usize,
    /// All inserts of all repeats.
    pub all: Times,
    /// Of each insert the least of its times.
    pub least: Times,
    /// Entries at the end, and those that were evicted.
    pub entries: u64,
    /// See `entries`.
    pub evictions: u64,
    /// Lines of the index at the end, of 64 bytes.
    pub index_lines: u64,
    /// Entries that the index moved from slot to slot.
    pub index_moves: u64,
    /// Bytes that cleaning moved, in all and the most in one insert.
    pub moved_bytes: u64,
    /// See `moved_bytes`.
    pub moved_bytes_max: u64,
}

/// The times of nothing: so many readings of the clock that follow each other. Their median is what one costs, and their
/// longest what the machine does to whatever runs on it.
pub fn clock(readings: u64) -> Times {
    let mut times = histogram();
    for _ in 0..readings {
        let before_ns = thread_cpu_ns();
        times.saturating_record(thread_cpu_ns() - before_ns);
    }
    Times::of(&times)
}

/// Does a pass so often.
///
/// # Errors
/// Memory that no store can have.
///
/// # Panics
/// If the store refuses an insert, or does not do the same each time.
pub fn measure(pass: &Pass, policy: PolicyKind, repeats: usize) -> Result<PassReport> {
    let mut all = histogram();
    // Four bytes for each insert: a longer time than fits is as long as that.
    let mut least = vec![u32::MAX; pass.inserts as usize];
    let mut end: Option<End> = None;
    for _ in 0..repeats {
        let this = repeat(pass, policy, |insert, ns| {
            all.saturating_record(ns);
            let least = &mut least[insert as usize];
            *least = (*least).min(u32::try_from(ns).unwrap_or(u32::MAX));
        })?;
        assert!(end.is_none_or(|end| end == this), "the same calls gave another store: {end:?} and {this:?}");
        end = Some(this);
    }
    let end = end.context("--repeats 0: expected 1 or more")?;
    let mut of_least = histogram();
    least.iter().for_each(|&ns| of_least.saturating_record(u64::from(ns)));
    Ok(PassReport {
        pass: pass.name,
        policy: policy.to_string(),
        inserts: pass.inserts,
        memory_bytes: end.memory.memory_bytes,
        repeats,
        all: Times::of(&all),
        least: Times::of(&of_least),
        entries: end.entries,
        evictions: end.evictions,
        index_lines: end.memory.index_lines,
        index_moves: end.memory.index_moves,
        moved_bytes: end.memory.moved_bytes,
        moved_bytes_max: end.memory.moved_bytes_max,
    })
}

/// What a store has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    memory: MemoryCounters,
    entries: u64,
    evictions: u64,
}

/// Inserts everything into a new store, and tells the time of each insert.
fn repeat(pass: &Pass, policy: PolicyKind, mut tell: impl FnMut(u64, u64)) -> Result<End> {
    let memory_bytes = pass.keys * pass.memory_bytes_per_key;
    let mut store = Store::new(
        StoreSettings {
            shard: 0,
            value_bytes_max: VALUE.len(),
            memory_bytes,
            key_hash: |seed, key| key_hash(key, seed),
        },
        NoHook,
    );
    pages::go_ahead(vec![store.pages_ahead()])?;
    let seed = group_hash(GROUP, 0);
    let group = store
        .create_group(GroupSettings {
            name: GROUP.into(),
            budget_bytes: memory_bytes,
            policy: policy.into(),
            ttl_ms: 0,
            ttl_jitter: 0,
            hash_seed: seed,
            charge: Charge::Bytes,
        })
        .with_context(|| format!("a store of {memory_bytes} bytes"))?;
    let mut before_ns = thread_cpu_ns();
    for insert in 0..pass.inserts {
        let mut bytes = [b'k'; KEY_BYTES];
        let number = if pass.keys < pass.inserts { mixed(insert) % pass.keys } else { insert };
        bytes[KEY_BYTES - 8..].copy_from_slice(&number.to_le_bytes());
        let key = Key { group, hash: key_hash(&bytes, seed), bytes: &bytes };
        let write = Write { value: &VALUE, flags: 0, condition: Condition::Always, expiry: Expiry::Default };
        store.set(key, write, START_MS + insert / INSERTS_PER_MS).expect("a small value is stored");
        let now_ns = thread_cpu_ns();
        tell(insert, now_ns - before_ns);
        // What was done with the time is not the next insert's.
        before_ns = thread_cpu_ns();
    }
    let counters = store.counters(group);
    Ok(End { memory: store.memory(), entries: counters.entries, evictions: counters.evictions })
}

impl Times {
    fn of(histogram: &Histogram<u64>) -> Times {
        Times {
            max_ns: histogram.max(),
            p9999_ns: histogram.value_at_quantile(0.9999),
            p999_ns: histogram.value_at_quantile(0.999),
            p50_ns: histogram.value_at_quantile(0.5),
            above_max: histogram.count_between(INSERT_NS_MAX + 1, TIME_NS_MAX),
        }
    }
}

/// A number that follows from the other one without a pattern (the finaliser of SplitMix64).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(TIME_NS_MAX, TIME_DIGITS).expect("a histogram of these bounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_times_every_insert_and_the_least_is_no_more_than_all() {
        let pass = Pass { name: "short", inserts: 100_000, keys: 20_000, memory_bytes_per_key: 36 };
        let report = measure(&pass, PolicyKind::TwoQ, 3).unwrap();
        assert!(report.entries < pass.keys && report.evictions > 0, "{report:?}");
        assert!(report.moved_bytes_max > 0 && report.moved_bytes_max < report.moved_bytes, "{report:?}");
        assert!(report.least.p50_ns > 0 && report.least.p50_ns <= report.all.p50_ns, "{report:?}");
        assert!(report.least.max_ns <= report.all.max_ns, "{report:?}");
        assert!(measure(&pass, PolicyKind::TwoQ, 0).is_err());
        let growing = Pass { keys: pass.inserts, memory_bytes_per_key: 128, ..pass };
        let report = measure(&growing, PolicyKind::TwoQ, 1).unwrap();
        assert_eq!((report.entries, report.evictions, report.moved_bytes), (pass.inserts, 0, 0), "{report:?}");
    }
}

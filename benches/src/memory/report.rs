//! The result: a JSON object and a table.

use std::fmt;

use serde::Serialize;

use super::churn::{ChurnReport, PhaseReport};
use super::fill::{FILLINGS, FillReport};

/// Everything that was measured. The field names are what scripts rely on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MemoryReport {
    /// Always `memory`.
    pub command: &'static str,
    /// The processor, as the kernel names it, and how many of its cores there are.
    pub machine: String,
    /// Memory that each server was told to use, in bytes.
    pub memory_bytes: u64,
    /// Larder's eviction policy.
    pub policy: String,
    /// Bytes per item really kept.
    pub fill: Vec<FillReport>,
    /// Larder while the sizes of values change.
    pub churn: Option<ChurnReport>,
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        writeln!(f, "memory of each server {}, larder's policy {}", mib(self.memory_bytes), self.policy)?;
        self.write_fill(f)?;
        self.churn.as_ref().map_or(Ok(()), |churn| write_churn(f, churn))
    }
}

impl MemoryReport {
    fn write_fill(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fill.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "\n{:<10} {:<20} {:>10} {:>10} {:>12} {:>11} {:>14}",
            "item", "server", "sent", "kept", "RSS before", "RSS", "bytes per item"
        )?;
        for report in &self.fill {
            let FillReport { version, key_bytes, value_bytes, items, items_kept, bytes_per_item, .. } = report;
            let item = format!("{key_bytes} + {value_bytes}");
            let (before, resident) = (mib(report.resident_bytes_before), mib(report.resident_bytes));
            write!(f, "{item:<10} {version:<20} {items:>10} {items_kept:>10} {before:>12} {resident:>11}")?;
            write!(f, " {bytes_per_item:>14.1}")?;
            let aim = FILLINGS.iter().find(|filling| report.account.is_some() && filling.value_bytes == *value_bytes);
            match aim {
                Some(aim) => writeln!(f, "  (target {}, goal {})", aim.target_bytes, aim.goal_bytes)?,
                None => writeln!(f)?,
            }
        }
        for report in &self.fill {
            if let Some(account) = &report.account {
                writeln!(f, "\nlarder's account, {} + {}:", report.key_bytes, report.value_bytes)?;
                write_account(f, account)?;
            }
        }
        Ok(())
    }
}

fn write_account(f: &mut fmt::Formatter<'_>, account: &super::account::Account) -> fmt::Result {
    let share =
        |bytes: u64| format!("{:>11} {:>6.2} %", mib(bytes), bytes as f64 * 100.0 / account.memory_bytes as f64);
    for (name, bytes) in [
        ("entries with metadata", account.entry_bytes),
        ("ghosts", account.ghost_bytes),
        ("segments of entries", account.log_segment_bytes),
        ("  live", account.live_bytes),
        ("  dead", account.dead_bytes),
        ("segments free", account.free_segment_bytes),
        ("segments of the index", account.index_segment_bytes),
        ("segments of ghosts", account.ghost_segment_bytes),
    ] {
        writeln!(f, "  {name:<22} {}", share(bytes))?;
    }
    let amplification = account.write_amplification(&super::account::Account::default());
    writeln!(
        f,
        "  {} entries; write amplification {amplification:.2}, at most {} bytes moved by one write",
        account.entries, account.moved_bytes_max
    )
}

fn write_churn(f: &mut fmt::Formatter<'_>, churn: &ChurnReport) -> fmt::Result {
    writeln!(
        f,
        "\nchurn, shards on cores {}: RSS {} before, at most {}, limit {}; base {:.1} MiB",
        churn.cores,
        mib(churn.resident_bytes_before),
        mib(churn.resident_bytes_max),
        mib(churn.resident_bytes_limit),
        churn.base_bytes as f64 / f64::from(1 << 20)
    )?;
    writeln!(
        f,
        "{:<10} {:>10} {:>10} {:>7} {:>8} {:>12} {:>12} {:>11} {:>9} {:>9} {:>14}",
        "values", "keys", "writes", "failed", "kop/s", "sent", "appended", "RSS", "entries", "ghosts", "amplification"
    )?;
    for phase in &churn.phases {
        let PhaseReport { value_bytes, keys, writes, failed, writes_per_s, .. } = phase;
        let (sent, appended, resident) =
            (mib(phase.sent_bytes), mib(phase.appended_bytes), mib(phase.resident_bytes_max));
        writeln!(
            f,
            "{value_bytes:<10} {keys:>10} {writes:>10} {failed:>7} {:>8.0} {sent:>12} {appended:>12} {resident:>11} \
             {:>7.2} % {:>7.2} % {:>14.2}",
            writes_per_s / 1000.0,
            phase.entry_share * 100.0,
            phase.ghost_share * 100.0,
            phase.write_amplification
        )?;
    }
    Ok(())
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

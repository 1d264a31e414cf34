//! INFO: what dashboards and redis_exporter read.

use std::fmt::{self, Write as _};

use larder_protocol::native::generated::{GroupStats, StatsResult};

use super::{REDIS_VERSION, Shared};

/// All sections, in their order.
const SECTIONS: [&str; 10] = [
    "server",
    "clients",
    "memory",
    "persistence",
    "stats",
    "replication",
    "cpu",
    "commandstats",
    "cluster",
    "keyspace",
];
/// What is told only to whoever asks for it or for everything.
const UNUSUAL: &str = "commandstats";
/// Kernel ticks per second of `/proc` (USER_HZ, which is 100 for programs on every architecture that this runs on).
const TICKS_PER_S: f64 = 100.0;

/// What INFO is made of.
#[derive(Debug)]
pub struct Info<'i> {
    /// What connections share.
    pub shared: &'i Shared,
    /// The counters of the node.
    pub stats: &'i StatsResult,
    /// The time, in ms since the Unix epoch.
    pub now_ms: u64,
}

impl Info<'_> {
    /// The sections with these names, in any letters; none: the usual ones.
    pub fn text(&self, sections: &[String]) -> String {
        let all = sections.iter().any(|name| matches!(name.as_str(), "all" | "everything"));
        let usual = sections.is_empty() || sections.iter().any(|name| name == "default");
        let is_wanted = |name: &&str| all || usual && *name != UNUSUAL || sections.iter().any(|wanted| wanted == name);
        let mut text = String::new();
        for section in SECTIONS.into_iter().filter(is_wanted) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            let mut title = section.to_owned();
            title[..1].make_ascii_uppercase();
            let title = if section == "cpu" { "CPU".to_owned() } else { title };
            write!(text, "# {title}\r\n").expect("a string takes everything");
            self.section(&mut Lines(&mut text), section);
        }
        text
    }

    fn section(&self, lines: &mut Lines<'_>, section: &str) {
        let setting = |name| self.shared.settings.get(name).unwrap_or("0");
        let sum = |of: fn(&GroupStats) -> u64| self.stats.groups.iter().map(of).sum::<u64>();
        match section {
            "server" => {
                let uptime_s = self.stats.uptime_ms / 1_000;
                lines.put("redis_version", REDIS_VERSION);
                lines.put("redis_git_sha1", "00000000");
                lines.put("redis_git_dirty", 0);
                lines.put("server_name", "larder");
                lines.put("larder_version", env!("CARGO_PKG_VERSION"));
                lines.put("redis_mode", "standalone");
                lines.put("os", "Linux");
                lines.put("arch_bits", usize::BITS);
                lines.put("multiplexing_api", "io_uring");
                lines.put("process_id", std::process::id());
                lines.put("run_id", &self.stats.node);
                lines.put("tcp_port", setting("port"));
                lines.put("server_time_usec", self.now_ms * 1_000);
                lines.put("uptime_in_seconds", uptime_s);
                lines.put("uptime_in_days", uptime_s / 86_400);
                lines.put("io_threads_active", self.stats.shards.len());
            }
            "clients" => {
                lines.put("connected_clients", self.shared.clients.count());
                lines.put("maxclients", setting("maxclients"));
                lines.put("blocked_clients", 0);
            }
            "memory" => {
                let (used, rss) = (sum(|group| group.bytes + group.ghost_bytes), rss_bytes());
                lines.put("used_memory", used);
                lines.put("used_memory_human", human(used));
                lines.put("used_memory_rss", rss);
                lines.put("used_memory_rss_human", human(rss));
                lines.put("used_memory_peak", rss);
                lines.put("used_memory_dataset", used);
                lines.put("used_memory_lua", 0);
                lines.put("maxmemory", setting("maxmemory"));
                lines.put("maxmemory_human", human(setting("maxmemory").parse().unwrap_or(0)));
                lines.put("maxmemory_policy", setting("maxmemory-policy"));
                lines.put("mem_fragmentation_ratio", format_args!("{:.2}", rss as f64 / used.max(1) as f64));
                lines.put("mem_allocator", "segments");
                lines.put("lazyfree_pending_objects", 0);
            }
            "persistence" => {
                for name in ["loading", "rdb_changes_since_last_save", "rdb_bgsave_in_progress", "aof_enabled"] {
                    lines.put(name, 0);
                }
                lines.put("rdb_last_bgsave_status", "ok");
                lines.put("rdb_last_save_time", 0);
            }
            "stats" => {
                let requests = |stats: &StatsResult| stats.shards.iter().map(|shard| shard.requests).sum::<u64>();
                let (stats, connections) = self.shared.resp_counts.since(self.stats, self.shared.connections());
                let sum = |of: fn(&GroupStats) -> u64| stats.groups.iter().map(of).sum::<u64>();
                lines.put("total_connections_received", connections.accepted);
                lines.put("total_commands_processed", requests(&stats));
                lines.put("instantaneous_ops_per_sec", self.shared.rate(requests(self.stats)));
                lines.put("rejected_connections", connections.rejected);
                lines.put("expired_keys", sum(|group| group.expirations));
                lines.put("evicted_keys", sum(|group| group.evictions));
                lines.put("keyspace_hits", sum(|group| group.hits));
                lines.put("keyspace_misses", sum(|group| group.misses));
                for name in ["pubsub_channels", "pubsub_patterns", "latest_fork_usec"] {
                    lines.put(name, 0);
                }
            }
            "replication" => {
                lines.put("role", "master");
                lines.put("connected_slaves", 0);
                lines.put("master_repl_offset", 0);
            }
            "cpu" => {
                let (user_s, system_s) = cpu_s();
                lines.put("used_cpu_sys", format_args!("{system_s:.6}"));
                lines.put("used_cpu_user", format_args!("{user_s:.6}"));
                lines.put("used_cpu_sys_children", "0.000000");
                lines.put("used_cpu_user_children", "0.000000");
            }
            // How long each takes is not measured: that would cost more than many of them do.
            "commandstats" => {
                for (which, calls, rejected) in self.shared.resp_commands.since() {
                    let name = format!("cmdstat_{}", which.spec().name);
                    lines.put(&name, format_args!("calls={calls},usec=0,usec_per_call=0.00,rejected_calls={rejected}"));
                }
            }
            "cluster" => lines.put("cluster_enabled", 0),
            _ => {
                for (number, name) in self.shared.all_databases().enumerate() {
                    let group = self.stats.groups.iter().find(|group| group.name == name);
                    let keys = group.map_or(0, |group| group.entries);
                    if keys > 0 {
                        lines.put(&format!("db{number}"), format_args!("keys={keys},expires=0,avg_ttl=0"));
                    }
                }
            }
        }
    }
}

/// Lines with a name and a value.
struct Lines<'t>(&'t mut String);

impl Lines<'_> {
    fn put(&mut self, name: &str, value: impl fmt::Display) {
        write!(self.0, "{name}:{value}\r\n").expect("a string takes everything");
    }
}

/// As people read it.
fn human(bytes: u64) -> String {
    let units = ["B", "K", "M", "G", "T"];
    let power = (bytes.max(1).ilog2() / 10).min(4);
    match power {
        0 => format!("{bytes}B"),
        _ => format!("{:.2}{}", bytes as f64 / (1_u64 << (10 * power)) as f64, units[power as usize]),
    }
}

/// What the kernel says that the process has in memory; 0 where it does not say.
fn rss_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// Processor time of the process, in user mode and in the kernel.
pub(crate) fn cpu_s() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is a name that may have blanks, in parentheses.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) / TICKS_PER_S, ticks(12) / TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_told_in_their_order() {
        let shared = Shared::default();
        let group = GroupStats { name: "default".into(), entries: 3, hits: 5, ..GroupStats::default() };
        let stats = StatsResult { groups: vec![group], ..StatsResult::default() };
        let info = Info { shared: &shared, stats: &stats, now_ms: 5 };
        let text = info.text(&[]);
        for line in [
            "# Server",
            "redis_version:7.2.4",
            "# CPU",
            "keyspace_hits:5",
            "role:master",
            "db0:keys=3,expires=0,avg_ttl=0",
        ] {
            assert!(text.contains(&format!("{line}\r\n")), "{line}: {text}");
        }
        let two = info.text(&["keyspace".into(), "cluster".into(), "nothing".into()]);
        assert_eq!(two, "# Cluster\r\ncluster_enabled:0\r\n\r\n# Keyspace\r\ndb0:keys=3,expires=0,avg_ttl=0\r\n");
        assert!(info.text(&["all".into()]).len() >= text.len() - 64);
        assert!(rss_bytes() > 0 && cpu_s().0 >= 0.0);
        assert_eq!((human(5), human(1536), human(3 << 30)), ("5B".into(), "1.50K".into(), "3.00G".into()));
    }
}

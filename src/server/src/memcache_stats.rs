//! What STATS of memcached's protocol tells.

use std::fmt::Display;
use std::io::Write as _;

use larder_protocol::Reply;
use larder_protocol::memcache::StatsKind;
use larder_protocol::native::generated::{GroupStats, MemoryStats, StatsResult};

use crate::resp::{Shared, cpu_s};

/// What it is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stats<'s> {
    /// What connections share.
    pub shared: &'s Shared,
    /// The time, in ms since the Unix epoch.
    pub now_ms: u64,
}

impl Stats<'_> {
    /// Appends what is told of the counters of a node.
    pub(crate) fn tell(&self, out: &mut Vec<u8>, kind: StatsKind, reply: &Reply<'_>) {
        let Reply::Stats(stats) = reply else {
            out.extend_from_slice(b"SERVER_ERROR the statistics cannot be had\r\n");
            return;
        };
        if kind == StatsKind::Reset {
            self.shared.memcache_counts.set(stats, self.shared.connections());
            self.shared.memcache_commands.reset();
            out.extend_from_slice(b"RESET\r\n");
            return;
        }
        let (stats, connections) = self.shared.memcache_counts.since(stats, self.shared.connections());
        let (stats, mut lines) = (&*stats, Lines(out));
        match kind {
            StatsKind::General => self.general(&mut lines, stats, connections.rejected),
            StatsKind::Settings => self.settings(&mut lines, stats),
            StatsKind::Items => {
                for (class, group) in (1..).zip(&stats.groups) {
                    let mut put = |name: &str, value: u64| lines.put(&format!("items:{class}:{name}"), value);
                    put("number", group.entries);
                    put("evicted", group.evictions);
                    put("reclaimed", group.expirations);
                    put("mem_requested", group.bytes);
                }
            }
            StatsKind::Slabs => {
                for (class, group) in (1..).zip(&stats.groups) {
                    let mut put = |name: &str, value: u64| lines.put(&format!("{class}:{name}"), value);
                    put("used_chunks", group.entries);
                    put("mem_requested", group.bytes);
                    put("get_hits", group.hits);
                    put("cmd_set", group.sets);
                    put("delete_hits", group.deletes);
                }
                lines.put("active_slabs", stats.groups.len());
                lines.put("total_malloced", stats.groups.iter().map(|group| group.bytes).sum::<u64>());
            }
            StatsKind::Nothing | StatsKind::Reset => {}
        }
        out.extend_from_slice(b"END\r\n");
    }

    fn general(&self, lines: &mut Lines<'_>, stats: &StatsResult, rejected: u64) {
        let sum = |of: fn(&GroupStats) -> u64| stats.groups.iter().map(of).sum::<u64>();
        let (user_s, system_s) = cpu_s();
        lines.put("pid", std::process::id());
        lines.put("uptime", stats.uptime_ms / 1_000);
        lines.put("time", self.now_ms / 1_000);
        lines.put("version", concat!("1.6.45-larder-", env!("CARGO_PKG_VERSION")));
        lines.put("pointer_size", usize::BITS);
        lines.put("rusage_user", format_args!("{user_s:.6}"));
        lines.put("rusage_system", format_args!("{system_s:.6}"));
        lines.put("max_connections", self.shared.settings.get("maxclients").unwrap_or("0"));
        lines.put("curr_connections", stats.shards.iter().map(|shard| shard.connections).sum::<u64>());
        lines.put("rejected_connections", rejected);
        lines.put("cmd_get", sum(|group| group.hits + group.misses));
        lines.put("cmd_set", sum(|group| group.sets));
        lines.put("get_hits", sum(|group| group.hits));
        lines.put("get_misses", sum(|group| group.misses));
        lines.put("get_expired", sum(|group| group.expirations));
        for (name, count) in self.shared.memcache_commands.since() {
            lines.put(name, count);
        }
        let segments = |of: fn(&MemoryStats) -> u64| {
            let memories = stats.shards.iter().filter_map(|shard| shard.memory.as_ref());
            memories.map(|memory| of(memory) * memory.segment_bytes).sum::<u64>()
        };
        lines.put("accepting_conns", 1);
        lines.put("hash_bytes", segments(|memory| memory.segments_index));
        let used = |memory: &MemoryStats| memory.segments_log + memory.segments_index + memory.segments_ghost;
        lines.put("total_malloced", segments(used));
        lines.put("limit_maxbytes", self.shared.settings.get("maxmemory").unwrap_or("0"));
        lines.put("threads", stats.shards.len());
        lines.put("bytes", sum(|group| group.bytes));
        lines.put("curr_items", sum(|group| group.entries));
        lines.put("total_items", sum(|group| group.sets));
        lines.put("evictions", sum(|group| group.evictions));
        lines.put("reclaimed", sum(|group| group.expirations));
    }

    fn settings(&self, lines: &mut Lines<'_>, stats: &StatsResult) {
        let setting = |name| self.shared.settings.get(name).unwrap_or("0");
        lines.put("maxbytes", setting("maxmemory"));
        lines.put("maxconns", setting("maxclients"));
        lines.put("item_size_max", setting("proto-max-bulk-len"));
        lines.put("num_threads", stats.shards.len());
        lines.put("idle_timeout", setting("timeout"));
        for (name, value) in [
            ("evictions", "on"),
            ("cas_enabled", "yes"),
            ("binding_protocol", "ascii"),
            ("verbosity", "0"),
            ("domain_socket", "NULL"),
            ("auth_enabled_sasl", "no"),
            ("auth_enabled_ascii", "no"),
            ("flush_enabled", "yes"),
            ("shutdown_command", "no"),
            ("detail_enabled", "no"),
            ("dump_enabled", "no"),
            ("lru_crawler", "no"),
        ] {
            lines.put(name, value);
        }
    }
}

struct Lines<'o>(&'o mut Vec<u8>);

impl Lines<'_> {
    fn put(&mut self, name: &str, value: impl Display) {
        write!(self.0, "STAT {name} {value}\r\n").expect("memory takes everything");
    }
}

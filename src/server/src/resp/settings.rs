//! What CONFIG tells: the settings of the server in the words of Valkey, and those that mean nothing here.

use std::collections::BTreeSet;

use crate::config::Config;

/// Names and values, by name.
#[derive(Debug, Default)]
pub struct Settings {
    pairs: Vec<(&'static str, String)>,
}

/// Settings that clients ask for and that are the same in every Larder.
const FOREIGN: [(&str, &str); 27] = [
    ("activedefrag", "no"),
    ("appendfsync", "no"),
    ("appendonly", "no"),
    ("client-query-buffer-limit", "1073741824"),
    ("cluster-enabled", "no"),
    ("daemonize", "no"),
    ("dir", "/"),
    ("hz", "10"),
    ("io-threads", "1"),
    ("latency-monitor-threshold", "0"),
    ("lazyfree-lazy-user-flush", "yes"),
    ("loglevel", "notice"),
    ("maxmemory-clients", "0"),
    ("maxmemory-policy", "allkeys-lru"),
    ("maxmemory-samples", "5"),
    ("notify-keyspace-events", ""),
    ("protected-mode", "no"),
    ("replica-read-only", "yes"),
    ("replicaof", ""),
    ("requirepass", ""),
    ("rdbcompression", "no"),
    ("save", ""),
    ("slaveof", ""),
    ("slowlog-log-slower-than", "-1"),
    ("slowlog-max-len", "0"),
    ("stop-writes-on-bgsave-error", "no"),
    ("tcp-keepalive", "0"),
];
/// Settings of the server itself, which CONFIG SET does not change.
const OWN: [&str; 7] = ["bind", "databases", "maxclients", "maxmemory", "port", "proto-max-bulk-len", "timeout"];
/// Settings that Valkey does not change while it runs. Those that are hidden, or for builds with other libraries, are not among
/// them.
const IMMUTABLE: [&str; 37] = [
    "aclfile",
    "always-show-logo",
    "aof-rewrite-cpulist",
    "aof_rewrite_cpulist",
    "appenddirname",
    "appendfilename",
    "bgsave-cpulist",
    "bgsave_cpulist",
    "bio-cpulist",
    "bio_cpulist",
    "cluster-config-file",
    "cluster-enabled",
    "cluster-port",
    "daemonize",
    "databases",
    "disable-thp",
    "enable-debug-command",
    "enable-module-command",
    "enable-protected-configs",
    "io-threads",
    "logfile",
    "pidfile",
    "rdbchecksum",
    "replicaof",
    "server-cpulist",
    "server_cpulist",
    "set-proc-title",
    "slaveof",
    "socket-mark-id",
    "supervised",
    "syslog-enabled",
    "syslog-facility",
    "syslog-ident",
    "tcp-backlog",
    "unixsocket",
    "unixsocketgroup",
    "unixsocketperm",
];

impl Settings {
    /// Of a server with this configuration, whose address for RESP is known by now.
    pub fn new(config: &Config) -> Self {
        let (bind, port) = config.resp.map_or_else(Default::default, |at| (at.ip().to_string(), at.port()));
        let databases = config.resp_databases.len().max(1);
        let timeout_s = config.idle_timeout.as_secs();
        let own = [
            ("bind", bind),
            ("databases", databases.to_string()),
            ("maxclients", config.connections_max.to_string()),
            ("maxmemory", config.memory_bytes.to_string()),
            ("port", port.to_string()),
            ("proto-max-bulk-len", config.value_bytes_max.to_string()),
            ("timeout", timeout_s.to_string()),
        ];
        let foreign = FOREIGN.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let mut pairs: Vec<_> = own.into_iter().chain(foreign).collect();
        pairs.sort_unstable();
        Self { pairs }
    }

    /// One of the server's.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Those whose name one of these patterns matches, in small letters.
    pub fn matching(&self, is_meant: impl Fn(&str) -> bool) -> Vec<(&'static str, &str)> {
        let meant = self.pairs.iter().filter(|(name, _)| is_meant(name));
        meant.map(|(name, value)| (*name, value.as_str())).collect()
    }

    /// Why settings cannot be these, which are names with their values behind them; `None`: they are so, or mean nothing here.
    /// None is changed if one cannot be.
    pub fn refusal(&self, words: &[String]) -> Option<String> {
        let mut names = BTreeSet::new();
        let pairs = || words.chunks_exact(2).map(|pair| (&pair[0], pair[0].to_lowercase(), &pair[1]));
        let misused = pairs().find_map(|(said, name, _)| match IMMUTABLE.contains(&name.as_str()) {
            true => Some((said, "can't set immutable config")),
            false => (!names.insert(name)).then_some((said, "duplicate parameter")),
        });
        if let Some((said, why)) = misused {
            return Some(failed(said, why));
        }
        let is_changed = |name: &str, value: &str| OWN.contains(&name) && self.get(name) != Some(value);
        let (_, name, _) = pairs().find(|(_, name, value)| is_changed(name, value))?;
        let value = self.get(&name).unwrap_or("unknown");
        let why = format!("it is {value} here, and is changed in larder.toml or with larder-cli group alter");
        Some(failed(&name, &why))
    }
}

fn failed(name: &str, why: &str) -> String {
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_nothing_here_may_be_anything() {
        let settings = Settings { pairs: vec![("maxmemory", "100".into()), ("save", String::new())] };
        let refusal = |words: &str| {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            settings.refusal(&words)
        };
        assert_eq!(refusal("save 900"), None);
        assert_eq!(refusal("no-such-thing 1 save 1 maxmemory 100"), None);
        assert!(refusal("save 1 maxmemory 200").is_some_and(|why| why.contains("larder.toml")));
        let refused = |name, why| Some(failed(name, why));
        assert_eq!(refusal("save 1 Daemonize yes save 2"), refused("Daemonize", "can't set immutable config"));
        assert_eq!(refusal("maxmemory 1 MaxMemory 2"), refused("MaxMemory", "duplicate parameter"));
        assert_eq!(settings.matching(|name| name.starts_with("max")), [("maxmemory", "100")]);
        assert!(FOREIGN.iter().all(|(name, _)| !OWN.contains(name)));
    }
}

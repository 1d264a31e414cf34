//! What CONFIG tells: the settings of the server in the words of Valkey, and those that mean nothing here.

use crate::config::Config;

/// Names and values, by name.
#[derive(Debug, Default)]
pub struct Settings {
    pairs: Vec<(&'static str, String)>,
}

/// Settings that clients ask for and that are the same in every Larder.
const FOREIGN: [(&str, &str); 24] = [
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
    ("maxmemory-policy", "allkeys-lru"),
    ("maxmemory-samples", "5"),
    ("notify-keyspace-events", ""),
    ("protected-mode", "no"),
    ("replica-read-only", "yes"),
    ("requirepass", ""),
    ("rdbcompression", "no"),
    ("save", ""),
    ("slowlog-log-slower-than", "-1"),
    ("slowlog-max-len", "0"),
    ("stop-writes-on-bgsave-error", "no"),
    ("tcp-keepalive", "0"),
];
/// Settings of the server itself, which CONFIG SET does not change.
const OWN: [&str; 7] = ["bind", "databases", "maxclients", "maxmemory", "port", "proto-max-bulk-len", "timeout"];

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

    /// Why a setting cannot be this; `None`: it is so, or means nothing here.
    pub fn refusal(&self, name: &str, value: &str) -> Option<String> {
        let is_own = OWN.contains(&name) && self.get(name) != Some(value);
        is_own.then(|| {
            format!(
                "ERR CONFIG SET failed (possibly related to argument '{name}') - it is {} here, and is changed in \
                 larder.toml or with larder-cli group alter",
                self.get(name).unwrap_or("unknown"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_nothing_here_may_be_anything() {
        let settings = Settings { pairs: vec![("maxmemory", "100".into()), ("save", String::new())] };
        assert_eq!(settings.refusal("save", "900 1"), None);
        assert_eq!(settings.refusal("no-such-thing", "1"), None);
        assert_eq!(settings.refusal("maxmemory", "100"), None);
        assert!(settings.refusal("maxmemory", "200").is_some_and(|why| why.contains("larder.toml")));
        assert_eq!(settings.matching(|name| name.starts_with("max")), [("maxmemory", "100")]);
        assert!(FOREIGN.iter().all(|(name, _)| !OWN.contains(name)));
    }
}

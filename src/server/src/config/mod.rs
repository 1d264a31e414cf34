//! Configuration in two stages: as given, then as derived and checked.
//!
//! Every setting may come from a flag, from the environment (`LARDER_…`), from `larder.toml` or from its default, and
//! the first of these that names it wins. `given` collects the texts and where each of them stood; `resolve`
//! parses, derives and checks. So a [`Config`] that exists is right, and every error can say what was wrong, where it
//! was written and what to write instead.
//!
//! The one table of settings, with their names in all three places, is [`Setting::TABLE`].

mod definition;
mod error;
mod etcd;
mod file;
mod flags;
mod given;
mod group;
mod nearest;
mod origin;
mod print;
mod resolve;
mod setting;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use larder_store::{Charge, GroupSettings};

pub use definition::{Definition, GroupRoom, parse as parse_definition};
pub use error::{ConfigError, Warning};
pub use etcd::EtcdConfig;
pub use flags::{Arguments, Command, ServeFlags};
pub use given::Source;
pub use larder_store::PolicySettings;
pub use setting::{Names, Setting};
pub use value::{Cores, Milliseconds, Size};

use given::Given;

/// Everything that `larder serve` needs to know, derived and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name of this node in its cluster. Unless it is given, the address under which others reach the node.
    pub node_id: String,
    /// The name of the cluster.
    pub cluster: String,
    /// The members of the cluster, as `[id=]host:port[*weight]`, this node among them; empty: it is alone.
    pub peers: Vec<String>,
    /// The seed of all hashes; the same on every node of a cluster.
    pub cluster_seed: u64,
    /// The node's share of the ring, in points, if it was given one.
    pub points: Option<u32>,
    /// Where the members of the cluster are kept, if they come and go.
    pub etcd: Option<EtcdConfig>,
    /// The cores that executors are pinned to, in ascending order, without repetition, at least one. Shard `i` runs on
    /// `cores[i % cores.len()]`.
    pub cores: Vec<usize>,
    /// How many shards this node has: 1 to [`larder_ring::SHARDS_MAX`].
    pub shards: u16,
    /// The memory of all groups, in bytes.
    pub memory_bytes: u64,
    /// Where the native protocol is spoken. Port 0 means any free port, see [`Config::bound_to`].
    pub listen: SocketAddr,
    /// Where RESP is spoken, if it is. Port 0 means any free port.
    pub resp: Option<SocketAddr>,
    /// Where the text protocol of memcached is spoken, if it is. Port 0 means any free port.
    pub memcache: Option<SocketAddr>,
    /// The groups of the databases of RESP, in their order; empty: the default group is the only one.
    pub resp_databases: Vec<String>,
    /// Whether a key of RESP may begin with the name of a group and a colon.
    pub resp_prefixes: bool,
    /// Where HTTP is spoken, if it is. Port 0 means any free port.
    pub http: Option<SocketAddr>,
    /// Of RESP, memcached's protocol and HTTP, those whose address nobody has asked for: they are done without where it cannot be
    /// had.
    pub by_default: Vec<Setting>,
    /// The origins of web pages that may use HTTP from a browser; `*`: any.
    pub http_cors: Vec<String>,
    /// `host:port` under which others reach this node, where that is not [`Config::listen`].
    pub advertise: Option<String>,
    /// Every group, the one named [`larder_ring::DEFAULT_GROUP`] first. The budgets add up to at most
    /// [`Config::memory_bytes`].
    pub groups: Vec<GroupConfig>,
    /// Whether the default group has what the others leave.
    pub default_follows: bool,
    /// The groups that were given, by name, with the settings that were given.
    pub definitions: BTreeMap<String, Definition>,
    /// Whether an address that others can reach may be served without TLS and credentials.
    pub insecure: bool,
    /// How long a stopping server may take to answer what it has received.
    pub stop_timeout: Duration,
    /// The deadline of a request that names none, in milliseconds from its arrival.
    pub request_timeout_ms: u32,
    /// The longest value, in bytes. No longer than the smallest group's share on a shard.
    pub value_bytes_max: u32,
    /// Most client connections at the same time, over all shards.
    pub connections_max: u32,
    /// A connection over which nothing goes either way is closed after so long; zero: never.
    pub idle_timeout: Duration,
    /// A connection of which a request has come in part, and then nothing more, is closed after so long; zero: never.
    pub half_sent_timeout: Duration,
    /// How long a shard without work looks for some before it waits; zero: not at all.
    pub spin: Duration,
}

/// A group of keys with its own budget, policy and time to live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// Its name; unique.
    pub name: String,
    /// What it may use of this node's memory, in bytes, over all shards.
    pub budget_bytes: u64,
    /// What is evicted when the budget is used up.
    pub policy: PolicySettings,
    /// How long an entry lives whose write names no time, in milliseconds; 0: until it is evicted.
    pub ttl_ms: u64,
    /// By up to how many percent that time is made longer or shorter for each entry: 0 to
    /// [`larder_store::limits::TTL_JITTER_MAX`], and 0 without a time.
    pub ttl_jitter: u8,
    /// For how long after its time an entry is shown while it is loaded anew, in ms; 0: not at all.
    pub stale_while_revalidate_ms: u64,
    /// For how long after its time an entry is shown if it cannot be loaded anew, in ms; 0: not at all.
    pub stale_if_error_ms: u64,
    /// Where what is missing comes from.
    pub origin: Option<OriginConfig>,
}

/// The origin of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginConfig {
    /// How it is asked, but for the longest value.
    pub settings: larder_origin::OriginSettings,
    /// How long a key that it does not have is not asked for again, in ms; 0: it is asked every time.
    pub negative_ttl_ms: u64,
    /// How much earlier than they expire hot keys are loaded anew, in percent of the factor β; 0: not at all.
    pub early_refresh_percent: u32,
}

impl GroupConfig {
    /// As a store is told, with the budget on the whole node.
    pub fn settings(&self) -> GroupSettings {
        GroupSettings {
            name: self.name.clone(),
            budget_bytes: self.budget_bytes,
            policy: self.policy,
            ttl_ms: self.ttl_ms,
            ttl_jitter: self.ttl_jitter,
            hash_seed: 0,
            charge: Charge::Bytes,
        }
    }
}

impl Config {
    /// `host:port` under which others reach this node.
    pub fn address(&self) -> String {
        self.advertise.clone().unwrap_or_else(|| self.listen.to_string())
    }

    /// The core that a shard's executor is pinned to.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn core_of(&self, shard: u16) -> usize {
        assert!(shard < self.shards, "shard {shard} of {}", self.shards);
        self.cores[usize::from(shard) % self.cores.len()]
    }

    /// Takes note of the address that was really bound, which differs where [`Config::listen`] has port 0. A node id
    /// that was derived from the address follows it.
    pub fn bound_to(&mut self, address: SocketAddr) {
        if self.node_id == self.listen.to_string() {
            self.node_id = address.to_string();
        }
        self.listen = address;
    }
}

/// A configuration, where each of its values came from, and what is odd about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// What is allowed, but worth a line on standard error.
    pub warnings: Vec<Warning>,
    sources: Sources,
}

/// Where the values of a [`Config`] came from.
#[derive(Clone, Debug)]
struct Sources {
    settings: Vec<(Setting, Source)>,
    /// In the order of [`Config::groups`].
    groups: Vec<GroupSources>,
}

#[derive(Clone, Debug)]
struct GroupSources {
    name: Source,
    memory: Source,
    policy: Source,
    ttl: Source,
    ttl_jitter: Source,
    stale_while_revalidate: Source,
    stale_if_error: Source,
    /// Of the table; `None`: there is no origin.
    origin: Option<Source>,
}

impl Loaded {
    /// Collects all settings from the flags, the environment and the file that one of both names, and checks them.
    ///
    /// `cores_allowed` are the cores that this process may run on, in ascending order; see
    /// [`crate::preflight::cores_allowed`].
    ///
    /// # Errors
    /// The first setting that is wrong.
    pub fn load(
        flags: &ServeFlags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        cores_allowed: &[usize],
    ) -> Result<Self, ConfigError> {
        let (given, mut warnings) = Given::collect(flags, environment)?;
        let mut loaded = resolve::resolve(&given, cores_allowed)?;
        warnings.append(&mut loaded.warnings);
        loaded.warnings = warnings;
        Ok(loaded)
    }

    /// Where the value of a setting came from.
    pub fn source(&self, setting: Setting) -> &Source {
        let (_, source) = &self.sources.settings[setting as usize];
        source
    }

    /// The whole configuration as a `larder.toml` that gives the same configuration, with the source of every value
    /// in a comment beside it.
    pub fn to_toml(&self) -> String {
        print::to_toml(self)
    }
}

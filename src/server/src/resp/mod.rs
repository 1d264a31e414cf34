//! What connections that speak RESP share: who they are, and what the server tells of itself in its words. Nothing of it is
//! touched by a command on keys.

mod baseline;
mod clients;
mod commands;
mod info;
mod settings;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

pub use baseline::{Baseline, Connections};
pub use clients::{Activity, Client, Clients, Registration};
pub use commands::Commands;
pub use info::Info;
pub(crate) use info::cpu_s;
pub use settings::Settings;

use crate::memcache_commands;
use crate::shard::{Admission, ControlLane};
use crate::tally::Tally;

/// The version of Redis that clients may take the server for: it has the commands of that one.
pub const REDIS_VERSION: &str = "7.2.4";

/// Why a lock is never poisoned.
pub(crate) const NOT_POISONED: &str = "a panic ends the process";

/// See the module.
#[derive(Debug, Default)]
pub struct Shared {
    /// The groups of the databases, in their order; none: the default group is the only one.
    pub databases: Vec<String>,
    /// Whether a key may begin with the name of a group and a colon.
    pub has_prefixes: bool,
    /// Who is connected.
    pub clients: Clients,
    /// What CONFIG tells.
    pub settings: Settings,
    /// From where INFO counts.
    pub resp_counts: Baseline,
    /// From where STATS of memcached's protocol counts.
    pub memcache_counts: Baseline,
    /// How often its commands were answered how.
    pub memcache_commands: memcache_commands::Commands,
    /// How often commands of RESP were asked for.
    pub resp_commands: Commands,
    /// To every shard.
    lanes: Vec<Arc<ControlLane>>,
    /// When INFO was asked for last, and how many requests there were then.
    asked: Mutex<Option<(Instant, u64)>>,
    /// Connections since the start.
    accepted: AtomicU64,
    /// Who counts those that are not let in.
    admission: Option<Arc<Admission>>,
}

impl Shared {
    /// With these databases, settings to tell, lanes to shards, what those count, and who is let in.
    pub fn new(
        databases: Vec<String>,
        has_prefixes: bool,
        settings: Settings,
        lanes: Vec<Arc<ControlLane>>,
        tallies: Vec<Arc<Tally>>,
        admission: Arc<Admission>,
    ) -> Arc<Self> {
        let memcache_commands = memcache_commands::Commands::new(tallies.clone());
        let resp_commands = Commands::new(tallies);
        let admission = Some(admission);
        let shared = Self { databases, has_prefixes, settings, lanes, admission, ..Self::default() };
        Arc::new(Self { memcache_commands, resp_commands, ..shared })
    }

    /// The name of a database's group; `None`: there is no such database.
    pub fn database(&self, number: u64) -> Option<&str> {
        match number {
            0 if self.databases.is_empty() => Some(larder_ring::DEFAULT_GROUP),
            _ => self.databases.get(usize::try_from(number).ok()?).map(String::as_str),
        }
    }

    /// Every group that a database is.
    pub fn all_databases(&self) -> impl Iterator<Item = &str> {
        (0..self.databases.len().max(1) as u64).filter_map(|number| self.database(number))
    }

    /// One more connection was accepted.
    pub fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were, and how many were not.
    pub fn connections(&self) -> Connections {
        Connections {
            accepted: self.accepted.load(Ordering::Relaxed),
            rejected: self.admission.as_ref().map_or(0, |admission| admission.refused()),
        }
    }

    /// Has the connections of clients that were killed closed by the shards that have them.
    pub fn close_killed(&self) {
        self.lanes.iter().for_each(|lane| lane.close_killed());
    }

    /// Requests per second since this was asked last.
    fn rate(&self, requests: u64) -> u64 {
        let (now, mut asked) = (Instant::now(), self.asked.lock().expect(NOT_POISONED));
        let before = asked.replace((now, requests));
        let Some((at, count)) = before else { return 0 };
        let elapsed_ms = now.duration_since(at).as_millis().max(1) as u64;
        requests.saturating_sub(count).saturating_mul(1_000) / elapsed_ms
    }
}

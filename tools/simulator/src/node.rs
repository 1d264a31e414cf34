//! A node: its processes, one after another, their clocks, engines and agent.

use std::collections::HashMap;
use std::sync::Arc;

use larder_engine::{Engine, EngineSettings, GroupPlan, OriginSettings, Standing, Ticket};
use larder_membership::{Keys, NodeRecord, State};
use larder_ring::{Node as Member, Topology};
use larder_store::{Charge, GroupSettings, NoHook, PolicyKind};

use crate::agent::Agent;

/// When time begins, in ms since the Unix epoch.
pub(crate) const EPOCH_MS: u64 = 1_800_000_000_000;
/// Memory of each shard, in bytes.
const SHARD_BYTES: u64 = 512 << 10;

/// A clock that is wrong and runs too fast or too slow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// In ms.
    pub(crate) ahead: i64,
    /// Millionths.
    pub(crate) drift: i64,
    /// When it was set.
    pub(crate) since_ms: u64,
}

/// Who waits for a ticket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    /// The client of this operation.
    Client(u64),
    /// A node that has sent request `id` over a connection.
    Wire { wire: usize, id: u64 },
}

/// How a process ends when it is asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is not.
    No,
    /// It waits to be out of the ring, until then at the latest; it was in the ring of this epoch.
    Draining { until_ms: u64, epoch: u64 },
    /// It passes on requests of those who have not heard of that yet, until then.
    Grace { until_ms: u64 },
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) number: u64,
    pub(crate) incarnation: u64,
    pub(crate) engines: Vec<Engine>,
    pub(crate) agent: Agent,
    pub(crate) standing: Standing,
    pub(crate) askers: HashMap<(u16, Ticket), Asker>,
    /// By shard, when it is woken next; 0: not.
    pub(crate) wakes: Vec<u64>,
    /// When the agent is called next; 0: not.
    pub(crate) agent_wake: u64,
    pub(crate) asked_epoch: u64,
    pub(crate) ending: Ending,
    /// Since when all shards have been in the ring; 0: they are not.
    pub(crate) joined_ms: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) shards: u16,
    pub(crate) clock: Clock,
    pub(crate) process: Option<Process>,
    /// It does nothing until then.
    pub(crate) paused_until_ms: u64,
    pub(crate) paused_at_ms: u64,
    /// After a pause its agent goes on this much later than its shards, in ms.
    pub(crate) agent_late_ms: u64,
    /// It does not reach etcd until then.
    pub(crate) cut_until_ms: u64,
    /// By this much membership comes later to its shards, at most.
    pub(crate) late_ms: u64,
}

impl Clock {
    /// What it shows at this true time.
    pub(crate) fn at(&self, now_ms: u64) -> u64 {
        (EPOCH_MS + now_ms).saturating_add_signed(self.ahead_at(now_ms))
    }

    /// By how much it is wrong then.
    pub(crate) fn ahead_at(&self, now_ms: u64) -> i64 {
        let elapsed = (now_ms - self.since_ms).cast_signed();
        self.ahead + elapsed * self.drift / 1_000_000
    }

    /// The true time at which it shows at least this; at least 1 ms from now.
    pub(crate) fn when(&self, shown_ms: u64, now_ms: u64) -> u64 {
        let left_ms = shown_ms.saturating_sub(self.at(now_ms));
        now_ms + left_ms.max(1)
    }
}

impl Node {
    pub(crate) fn new(number: usize, shards: u16) -> Self {
        Self {
            id: name(number),
            shards,
            clock: Clock { ahead: 0, drift: 0, since_ms: 0 },
            process: None,
            paused_until_ms: 0,
            paused_at_ms: 0,
            agent_late_ms: 0,
            cut_until_ms: 0,
            late_ms: 10,
        }
    }

    pub(crate) fn is_paused(&self, now_ms: u64) -> bool {
        now_ms < self.paused_until_ms
    }
}

/// How keys come to be filled in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filling {
    /// What is missing comes from an origin.
    pub(crate) has_origin: bool,
    /// Entries expire, and are shown for a while longer.
    pub(crate) is_stale: bool,
    /// Clients ask for leases.
    pub(crate) has_leases: bool,
}

/// How long what the origin does not have is not asked for again, in ms.
const NEGATIVE_TTL_MS: u64 = 300;
/// How long entries live where they expire, in ms, and how long they are shown then.
const TTL_MS: u64 = 400;
const REVALIDATE_MS: u64 = 300;
const IF_ERROR_MS: u64 = 1_500;

impl Process {
    pub(crate) fn new(
        node: &Node,
        (number, incarnation): (u64, u64),
        Filling { has_origin, is_stale, .. }: Filling,
        now_ms: u64,
    ) -> Self {
        let address = format!("{}.example:7400", node.id);
        let member = Member {
            id: node.id.clone(),
            address: address.clone(),
            shards: node.shards,
            points: larder_ring::limits::POINTS_PER_WEIGHT,
            incarnation,
        };
        let topology = Arc::new(Topology::single(member, 0));
        let standing = Standing { registration: 0, until_ms: 0, stand_in_until_ms: 0 };
        let started_ms = node.clock.at(now_ms);
        let engine = |shard| {
            let group = GroupSettings {
                name: "default".into(),
                budget_bytes: SHARD_BYTES / 2 * u64::from(node.shards),
                policy: PolicyKind::Lru.into(),
                ttl_ms: if is_stale { TTL_MS } else { 0 },
                ttl_jitter: 0,
                hash_seed: 0,
                charge: Charge::Bytes,
            };
            let settings = EngineSettings {
                node_id: node.id.clone(),
                shard,
                server: "larder/simulated".into(),
                groups: vec![GroupPlan {
                    origin: has_origin.then_some(OriginSettings {
                        negative_ttl_ms: NEGATIVE_TTL_MS,
                        early_refresh_percent: if is_stale { 100 } else { 0 },
                    }),
                    stale_while_revalidate_ms: if is_stale { REVALIDATE_MS } else { 0 },
                    stale_if_error_ms: if is_stale { IF_ERROR_MS } else { 0 },
                    ..group.into()
                }],
                value_bytes_max: 1 << 10,
                node_memory_bytes: SHARD_BYTES * u64::from(node.shards),
                timeout_ms_default: 1_000,
                started_ms,
                standing,
            };
            Engine::new(settings, Arc::clone(&topology), NoHook).expect("these settings are right")
        };
        let record = NodeRecord {
            addr: address,
            http: String::new(),
            shards: node.shards,
            weight: 1.0,
            zone: String::new(),
            state: State::Joining,
            incarnation,
            version: "larder/simulated".into(),
        };
        let mut agent = Agent::new(node.id.clone(), Keys::new("c"), record);
        agent.set_state(State::Serving);
        Self {
            number,
            incarnation,
            engines: (0..node.shards).map(engine).collect(),
            agent,
            standing,
            askers: HashMap::new(),
            wakes: vec![0; usize::from(node.shards)],
            agent_wake: 0,
            asked_epoch: 0,
            ending: Ending::No,
            joined_ms: 0,
        }
    }
}

/// The id of a node.
pub(crate) fn name(number: usize) -> String {
    char::from(b'a' + number as u8).to_string()
}

/// The node with this id.
pub(crate) fn number_of(id: &str) -> usize {
    usize::from(id.as_bytes()[0] - b'a')
}

//! A node among those that register in etcd: it registers itself, keeps that alive, and follows what happens to all.
//!
//! One task does all of it, in sessions with one etcd server each. A session ends when the server does not answer in time;
//! the next one is with the next server of the list. What was known stays: the ring does not change because etcd is gone.

mod groups;
mod register;
mod session;

use std::collections::BTreeSet;
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use larder_ring::Membership;
use larder_ring::limits::POINTS_PER_WEIGHT;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::record::{NodeRecord, OverrideRecord, State, weight_of};
use crate::view::{Keys, View};
use crate::{Local, MembershipError};
pub use groups::GroupChange;
use session::Ended;

/// How etcd is reached, and what this node says there.
#[derive(Clone, Debug)]
pub struct EtcdSettings {
    /// Its servers: URLs, or `host:port`.
    pub endpoints: Vec<String>,
    /// Name and password.
    pub user: Option<(String, String)>,
    /// For URLs with `https`.
    pub tls: Option<EtcdTls>,
    /// The name of the cluster.
    pub cluster: String,
    /// The seed of all hashes; the same on every node of a cluster.
    pub cluster_seed: u64,
    /// A node whose registration is not renewed for so long is gone. Whole seconds.
    pub ttl: Duration,
    /// `host:port` of the HTTP interface; empty: there is none.
    pub http: String,
    /// Where this node stands; empty: not said.
    pub zone: String,
    /// Name and version of the program.
    pub version: String,
    /// Names and settings of the groups that this node is configured with: written where nobody has written them before.
    pub groups: Vec<(String, serde_json::Map<String, serde_json::Value>)>,
}

/// Files in PEM, read.
#[derive(Clone, Debug)]
pub struct EtcdTls {
    /// Who is believed to have signed the server's certificate; `None`: nobody, which no server satisfies.
    pub authority: Option<Vec<u8>>,
    /// Certificate and key of this node.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// What a node hears from etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// The ring has changed, or its epoch has.
    Membership(Membership),
    /// The registration with this number is good until this time, by the clock that [`Agent::new`] was given.
    Proof {
        /// Counts registrations, see [`Membership::registration`].
        registration: u64,
        /// In ms; 0: it is gone.
        until_ms: u64,
    },
    /// Whether etcd is without an answer.
    Outage(bool),
    /// Something that an operator should know.
    Report(String),
}

/// What a node wants done.
#[derive(Debug)]
pub enum Order {
    /// It is ready to be in the ring.
    Serve,
    /// It is to leave the ring.
    Drain,
    /// It has left, or does not want to wait any more: the registration is taken back, and the task ends.
    Leave,
    /// Another node has named this epoch.
    Reach(u64),
    /// Whether a node is reached.
    Reached {
        /// Its id.
        node: String,
        /// Whether it is.
        is_reached: bool,
    },
    /// An operator says something about a node; what is `None` stays as it is.
    Override {
        /// The node.
        node: String,
        /// Its points on the ring; `Some(None)`: its own.
        points: Option<Option<u32>>,
        /// Whether it is to own nothing.
        drain: Option<bool>,
        /// What became of it.
        done: oneshot::Sender<Result<(), Refusal>>,
    },
    /// A group is to lose all its entries, on all nodes.
    Invalidate {
        /// Its name.
        group: String,
        /// What became of it.
        done: oneshot::Sender<Result<Invalidated, Refusal>>,
    },
    /// A group is to be created, changed or dropped, on all nodes.
    Group {
        /// Its name.
        group: String,
        /// What.
        change: GroupChange,
        /// Whoever goes by this epoch, or a later one, has it so.
        done: oneshot::Sender<Result<u64, Refusal>>,
    },
}

/// A group was invalidated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalidated {
    /// How often.
    pub generation: u64,
    /// Whoever goes by this epoch, or a later one, has none of its entries from before.
    pub epoch: u64,
}

/// Why what was ordered is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody has heard of such a node.
    UnknownNode,
    /// There is no such group.
    UnknownGroup,
    /// There is such a group, and it is another one.
    Exists,
    /// etcd does not answer.
    Unanswered(String),
}

/// Pause between two sessions.
const SESSION_PAUSE: Duration = Duration::from_millis(200);
/// A lease is renewed so often in its time.
const RENEWALS_PER_TTL: u32 = 5;
/// What clocks may differ in while a lease runs, as a share of it.
const DRIFT_SHARE: u64 = 64;

/// See the module.
pub struct Agent<C> {
    settings: EtcdSettings,
    keys: Keys,
    own_id: String,
    record: NodeRecord,
    view: View,
    /// The cluster of etcd servers that this is about.
    etcd: Option<u64>,
    lease: Option<i64>,
    /// How often this node has registered.
    registration: u64,
    /// When the last answer to a renewal was asked for.
    renewed_ms: u64,
    /// The greatest epoch that another node has named.
    wanted: u64,
    is_out: bool,
    orders: mpsc::Receiver<Order>,
    clock: C,
    updates: mpsc::Sender<Update>,
    /// Nodes that are not reached.
    down: BTreeSet<String>,
    /// Said last about why etcd cannot be used, so that it is said once.
    said: String,
}

impl<C: Fn() -> u64> Agent<C> {
    /// An agent that reads its time, in ms, from `clock`. While there is no room for an update, it waits: also with the
    /// renewal of the registration, which is of no use to a node that does not follow.
    pub fn new(
        settings: EtcdSettings,
        local: &Local,
        orders: mpsc::Receiver<Order>,
        updates: mpsc::Sender<Update>,
        clock: C,
    ) -> Self {
        let own_id = local.id.clone().unwrap_or_else(|| local.address.clone());
        let keys = Keys::new(&settings.cluster);
        let record = NodeRecord {
            addr: local.address.clone(),
            http: settings.http.clone(),
            shards: local.shards,
            weight: weight_of(local.points.unwrap_or(POINTS_PER_WEIGHT)),
            zone: settings.zone.clone(),
            state: State::Joining,
            incarnation: local.incarnation,
            version: settings.version.clone(),
        };
        let view = View::new(keys.clone(), settings.cluster_seed);
        let (etcd, lease, said) = (None, None, String::new());
        let (registration, renewed_ms, wanted, is_out) = (0, 0, 0, false);
        Self {
            settings,
            keys,
            own_id,
            record,
            view,
            etcd,
            lease,
            registration,
            renewed_ms,
            wanted,
            is_out,
            orders,
            clock,
            updates,
            down: BTreeSet::new(),
            said,
        }
    }

    /// Follows etcd until [`Order::Leave`], or until whoever gives orders is gone.
    ///
    /// # Errors
    /// This node cannot be in this cluster. Only before its first registration: later it is reported, and tried again.
    pub async fn run(mut self) -> Result<(), MembershipError> {
        let mut turn = 0_usize;
        loop {
            let endpoint = self.settings.endpoints[turn % self.settings.endpoints.len()].clone();
            match self.session(&endpoint).await {
                Ended::Left => return Ok(()),
                Ended::Refused(error) if self.registration == 0 => return Err(error),
                Ended::Refused(error) => self.say(error.to_string()).await,
                // With the same server: it answers, and something has to be read anew.
                Ended::Anew => turn = turn.wrapping_sub(1),
                Ended::Unanswered(why) => {
                    self.say(format!("etcd at {endpoint} cannot be used, the ring stays as it is: {why}")).await;
                    if !std::mem::replace(&mut self.is_out, true) {
                        self.tell(Update::Outage(true)).await;
                    }
                }
            }
            turn = turn.wrapping_add(1);
            if self.pause().await {
                return Ok(());
            }
        }
    }

    /// Waits before the next session, following what orders can be followed; whether to leave.
    async fn pause(&mut self) -> bool {
        let until = Instant::now() + SESSION_PAUSE;
        loop {
            tokio::select! {
                () = sleep_until(until) => return false,
                order = self.orders.recv() => match order {
                    None | Some(Order::Leave) => return true,
                    Some(order) => self.note(order),
                }
            }
        }
    }

    /// Follows an order as far as that can be done without etcd; the next session does the rest.
    fn note(&mut self, order: Order) {
        match order {
            Order::Serve => self.record.state = State::Serving,
            Order::Drain => self.record.state = State::Draining,
            Order::Reach(epoch) => self.wanted = self.wanted.max(epoch),
            Order::Reached { node, is_reached: true } => drop(self.down.remove(&node)),
            Order::Reached { node, is_reached: false } => drop(self.down.insert(node)),
            Order::Leave => unreachable!("whoever takes orders leaves"),
            // Whoever asked may be gone.
            Order::Override { done, .. } => {
                let _ =
                    done.send(Err(Refusal::Unanswered("etcd does not answer, and an override is kept there".into())));
            }
            Order::Invalidate { done, .. } => {
                let why = "etcd does not answer, and how often a group was invalidated is kept there";
                let _ = done.send(Err(Refusal::Unanswered(why.into())));
            }
            Order::Group { done, .. } => {
                let _ = done.send(Err(Refusal::Unanswered("etcd does not answer, and groups are kept there".into())));
            }
        }
    }

    /// Reports something unless it was the last thing that was reported.
    async fn say(&mut self, report: String) {
        if self.said != report {
            self.said.clone_from(&report);
            self.tell(Update::Report(report)).await;
        }
    }

    /// Whoever listens may be gone; then orders end too.
    async fn tell(&self, update: Update) {
        let _ = self.updates.send(update).await;
    }

    /// How long one answer may take.
    fn patience(&self) -> Duration {
        self.settings.ttl / RENEWALS_PER_TTL
    }

    fn ttl_ms(&self) -> u64 {
        self.settings.ttl.as_millis() as u64
    }

    /// How long after one node another one may hear of etcd's return: it pauses, and may wait for an answer to what it
    /// has asked before.
    fn notice_ms(&self) -> u64 {
        (SESSION_PAUSE + 2 * self.patience()).as_millis() as u64
    }

    /// The lease was renewed by a request that was sent then: what the registration is good for.
    async fn renewed(&mut self, sent_ms: u64, ttl_s: i64) {
        let ttl_ms = self.ttl_ms().min(ttl_s.max(0) as u64 * 1000);
        let good_ms = ttl_ms - ttl_ms / DRIFT_SHARE;
        if sent_ms > self.renewed_ms + self.ttl_ms() / 2 {
            // What is renewed by then shows that etcd was there for as long as anybody may take to notice.
            let shut_until_ms = (self.clock)() + self.notice_ms() + good_ms;
            self.view.hold(sent_ms + self.ttl_ms(), shut_until_ms);
        }
        self.renewed_ms = sent_ms;
        let until_ms = sent_ms + good_ms;
        self.tell(Update::Proof { registration: self.registration, until_ms }).await;
    }

    /// The registration is gone: nothing can be answered by it, and others may own what was this node's.
    async fn lost(&mut self) {
        self.lease = None;
        self.tell(Update::Proof { registration: self.registration, until_ms: 0 }).await;
    }

    /// Gives on what the view has to say.
    async fn give(&mut self) {
        let now_ms = (self.clock)();
        for report in self.view.take_reports() {
            self.tell(Update::Report(report)).await;
        }
        if let Some(membership) = self.view.membership(now_ms, |id| self.down.contains(id)) {
            self.tell(Update::Membership(membership)).await;
        }
    }

    fn options(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.patience())
            .with_keep_alive(self.patience(), self.patience())
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        if let Some((name, password)) = &self.settings.user {
            options = options.with_user(name, password);
        }
        if let Some(EtcdTls { authority, identity }) = &self.settings.tls {
            let mut tls = TlsOptions::new();
            if let Some(authority) = authority {
                tls = tls.ca_certificate(Certificate::from_pem(authority));
            }
            if let Some((certificate, key)) = identity {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            options = options.with_tls(tls);
        }
        options
    }
}

/// What an override becomes.
fn changed(before: OverrideRecord, points: Option<Option<u32>>, drain: Option<bool>) -> OverrideRecord {
    let weight = points.map(|points| points.map(weight_of));
    OverrideRecord { weight: weight.unwrap_or(before.weight), drain: drain.unwrap_or(before.drain) }
}

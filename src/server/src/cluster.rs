//! A node of a cluster that has its members in etcd: between the agent that follows etcd, and the shards.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam::utils::CachePadded;
use larder_engine::ClusterOrder;
use larder_membership::{MembershipError, Order, Update};
use larder_ring::Topology;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::Clock;
use crate::dialer::give;
use crate::keeper::{Keeper, lock};
use crate::limits::{DRAIN_GRACE_MS, DRAIN_TIMEOUT_MS, LEAVE_TIMEOUT_MS, PROGRESS_POLL_MS, STAND_IN_POLL_MS};
use crate::shard::{Control, ControlLane};
use crate::standing::{Progress, SharedStanding};

/// What shards want of a cluster.
#[derive(Debug)]
pub enum Asked {
    /// Another node has named this epoch.
    Epoch(u64),
    /// Somebody wants something done for the whole cluster, and has asked this shard.
    Order(u16, ClusterOrder),
}

/// How a shard says what it wants.
#[derive(Clone, Debug)]
pub struct Asking {
    shard: u16,
    sender: mpsc::Sender<Asked>,
}

/// The shards as the cluster has to do with them, and what it tells them.
#[derive(Clone, Debug)]
pub struct Shards {
    /// In order.
    pub lanes: Vec<Arc<ControlLane>>,
    /// In order.
    pub progress: Vec<Arc<CachePadded<Progress>>>,
    /// For all.
    pub standing: Arc<SharedStanding>,
}

/// See the module.
#[derive(Debug)]
pub struct Cluster {
    shards: Shards,
    orders: mpsc::Sender<Order>,
    agent: JoinHandle<Result<(), MembershipError>>,
}

impl Asking {
    /// As shard `shard`.
    pub fn new(shard: u16, sender: mpsc::Sender<Asked>) -> Self {
        Self { shard, sender }
    }

    /// Another node has named this epoch. Lost if too much is asked: it is named again.
    pub fn reach(&self, epoch: u64) {
        // See above.
        let _ = self.sender.try_send(Asked::Epoch(epoch));
    }

    /// Somebody wants something done for the whole cluster; false if too much is asked.
    pub fn order(&self, order: ClusterOrder) -> bool {
        self.sender.try_send(Asked::Order(self.shard, order)).is_ok()
    }
}

impl Cluster {
    /// A cluster whose agent runs. What the agent hears is passed on by a task of its own, which ends with the runtime; the
    /// keeper is told of groups, and `topology` of rings.
    pub fn new(
        shards: Shards,
        agent: JoinHandle<Result<(), MembershipError>>,
        orders: mpsc::Sender<Order>,
        updates: mpsc::Receiver<Update>,
        keeper: Arc<Mutex<Keeper>>,
        topology: watch::Sender<Arc<Topology>>,
        clock: Clock,
    ) -> Self {
        let (lanes, standing) = (shards.lanes.clone(), Arc::clone(&shards.standing));
        tokio::spawn(put_off(Arc::clone(&standing), clock));
        tokio::spawn(pass_on_updates(lanes, standing, updates, keeper, topology));
        Self { shards, orders, agent }
    }

    /// Has the node taken into the ring, and waits until it is, on all shards, and nothing is shut.
    ///
    /// # Errors
    /// It cannot be in this cluster.
    pub async fn join(&mut self) -> Result<(), MembershipError> {
        self.order(Order::Serve).await;
        loop {
            if self.shards.progress.iter().all(|shard| shard.settled_epoch.load(Ordering::Acquire) > 0) {
                return Ok(());
            }
            tokio::select! {
                ended = &mut self.agent => return ended.expect("the agent does not panic"),
                () = sleep(Duration::from_millis(PROGRESS_POLL_MS)) => {}
            }
        }
    }

    /// Has the node taken out of the ring, and waits for the others to know: until then it passes on what it is asked.
    /// Within a bounded time, for etcd may not answer, or there may be nobody else.
    pub async fn drain(&self) {
        let epochs = self.shards.progress.iter().map(|shard| shard.epoch.load(Ordering::Acquire));
        let before = epochs.max().unwrap_or(0);
        self.order(Order::Drain).await;
        let until = Instant::now() + Duration::from_millis(DRAIN_TIMEOUT_MS);
        let has_left = || self.shards.progress.iter().all(|shard| shard.left_epoch.load(Ordering::Acquire) > before);
        while Instant::now() < until {
            if has_left() {
                return sleep(Duration::from_millis(DRAIN_GRACE_MS)).await;
            }
            sleep(Duration::from_millis(PROGRESS_POLL_MS)).await;
        }
    }

    /// Takes the registration back.
    pub async fn leave(self) {
        self.order(Order::Leave).await;
        // It runs out by itself otherwise.
        let _ = timeout(Duration::from_millis(LEAVE_TIMEOUT_MS), self.agent).await;
    }

    async fn order(&self, order: Order) {
        // An agent that has ended needs none.
        let _ = self.orders.send(order).await;
    }
}

/// Lets others stand in for the registration, during an outage, for as long as this thread does not stand still.
async fn put_off(standing: Arc<SharedStanding>, clock: Clock) {
    loop {
        standing.put_off(clock.now_ms());
        sleep(Duration::from_millis(STAND_IN_POLL_MS)).await;
    }
}

async fn pass_on_updates(
    lanes: Vec<Arc<ControlLane>>,
    standing: Arc<SharedStanding>,
    mut updates: mpsc::Receiver<Update>,
    keeper: Arc<Mutex<Keeper>>,
    topology: watch::Sender<Arc<Topology>>,
) {
    while let Some(update) = updates.recv().await {
        match update {
            Update::Membership(membership) => {
                if let Some(groups) = &membership.groups {
                    // Before the epoch at which they are so.
                    let (plans, reports) = lock(&keeper).follow(groups);
                    reports.iter().for_each(|report| crate::log::line(format_args!("{report}")));
                    if let Some(plans) = plans {
                        for lane in &lanes {
                            give(lane, Control::Groups(plans.clone())).await;
                        }
                    }
                }
                topology.send_replace(Arc::clone(&membership.topology));
                let membership = Arc::new(membership);
                for lane in &lanes {
                    give(lane, Control::Membership(Arc::clone(&membership))).await;
                }
            }
            Update::Proof { registration, until_ms } => standing.prove(registration, until_ms),
            Update::Outage(is_outage) => standing.set_outage(is_outage),
            Update::Report(report) => crate::log::line(format_args!("{report}")),
        }
    }
}

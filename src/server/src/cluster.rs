//! A node of a cluster that has its members in etcd: between the agent that follows etcd, and the shards.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam::utils::CachePadded;
use larder_engine::{ClusterOrder, ClusterOrderKind, ClusterOrderOutcome};
use larder_membership::{Invalidated, MembershipError, Order, Refusal, Update};
use larder_ring::Topology;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::Clock;
use crate::dialer::give;
use crate::limits::{
    DRAIN_GRACE_MS, DRAIN_TIMEOUT_MS, LEAVE_TIMEOUT_MS, PROGRESS_POLL_MS, REQUEST_TIMEOUT_MS_MAX, STAND_IN_POLL_MS,
};
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

/// How a shard says what it wants; without effect where the members of the ring are fixed.
#[derive(Clone, Debug)]
pub struct Asking {
    shard: u16,
    sender: Option<mpsc::Sender<Asked>>,
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
    /// Nobody listens.
    pub fn nobody() -> Self {
        Self { shard: 0, sender: None }
    }

    /// As shard `shard`.
    pub fn new(shard: u16, sender: mpsc::Sender<Asked>) -> Self {
        Self { shard, sender: Some(sender) }
    }

    /// Another node has named this epoch. Lost if too much is asked: it is named again.
    pub fn reach(&self, epoch: u64) {
        if let Some(sender) = &self.sender {
            // See above.
            let _ = sender.try_send(Asked::Epoch(epoch));
        }
    }

    /// Somebody wants something done for the whole cluster; false if too much is asked.
    pub fn order(&self, order: ClusterOrder) -> bool {
        self.sender.as_ref().is_some_and(|sender| sender.try_send(Asked::Order(self.shard, order)).is_ok())
    }
}

impl Cluster {
    /// A cluster whose agent runs. What the agent hears and what shards ask is passed on by a task of its own, which ends
    /// with the runtime; `topology` is told of rings.
    pub fn new(
        shards: Shards,
        agent: JoinHandle<Result<(), MembershipError>>,
        orders: mpsc::Sender<Order>,
        updates: mpsc::Receiver<Update>,
        asked: mpsc::Receiver<Asked>,
        topology: watch::Sender<Arc<Topology>>,
        clock: Clock,
    ) -> Self {
        let (lanes, standing) = (shards.lanes.clone(), Arc::clone(&shards.standing));
        tokio::spawn(put_off(Arc::clone(&standing), clock));
        tokio::spawn(pass_on_updates(lanes, standing, updates, topology));
        tokio::spawn(pass_on_orders(shards.clone(), asked, orders.clone()));
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
    topology: watch::Sender<Arc<Topology>>,
) {
    while let Some(update) = updates.recv().await {
        match update {
            Update::Membership(membership) => {
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

async fn pass_on_orders(shards: Shards, mut asked: mpsc::Receiver<Asked>, orders: mpsc::Sender<Order>) {
    let Shards { lanes, progress, .. } = shards;
    let progress: Arc<[_]> = progress.into();
    while let Some(asked) = asked.recv().await {
        let (shard, ClusterOrder { ticket, what }) = match asked {
            Asked::Epoch(epoch) => {
                // An agent that has ended needs none.
                let _ = orders.send(Order::Reach(epoch)).await;
                continue;
            }
            Asked::Order(shard, order) => (shard, order),
        };
        let lane = Arc::clone(&lanes[usize::from(shard)]);
        // Without an agent, nobody answers.
        match what {
            ClusterOrderKind::Node { node, points, drain } => {
                let (done, answer) = oneshot::channel();
                let _ = orders.send(Order::Override { node, points, drain, done }).await;
                tokio::spawn(async move {
                    let outcome = answer.await.map(|done| done.map(|()| ClusterOrderOutcome::Done));
                    give(&lane, Control::ClusterOrderDone { ticket, outcome: outcome_of(outcome) }).await;
                });
            }
            ClusterOrderKind::Invalidate { group } => {
                let (done, answer) = oneshot::channel();
                let _ = orders.send(Order::Invalidate { group, done }).await;
                let progress = Arc::clone(&progress);
                tokio::spawn(async move {
                    let outcome = match answer.await {
                        Ok(Ok(Invalidated { generation, epoch })) => {
                            wait_for_shards(&progress, epoch).await;
                            Ok(Ok(ClusterOrderOutcome::Invalidated { generation, epoch }))
                        }
                        Ok(Err(refusal)) => Ok(Err(refusal)),
                        Err(gone) => Err(gone),
                    };
                    give(&lane, Control::ClusterOrderDone { ticket, outcome: outcome_of(outcome) }).await;
                });
            }
        }
    }
}

/// What the engine is told of an order.
fn outcome_of(outcome: Result<Result<ClusterOrderOutcome, Refusal>, oneshot::error::RecvError>) -> ClusterOrderOutcome {
    match outcome {
        Ok(Ok(done)) => done,
        Ok(Err(Refusal::UnknownNode)) => ClusterOrderOutcome::UnknownNode,
        Ok(Err(Refusal::Unanswered(why))) => ClusterOrderOutcome::Unavailable(why),
        Err(_) => ClusterOrderOutcome::Unavailable("this node is leaving".into()),
    }
}

/// Waits until all shards of this node go by an epoch, or for as long as nobody waits for that any more.
async fn wait_for_shards(progress: &[Arc<CachePadded<Progress>>], epoch: u64) {
    let until = Instant::now() + Duration::from_millis(REQUEST_TIMEOUT_MS_MAX);
    while Instant::now() < until && progress.iter().any(|shard| shard.epoch.load(Ordering::Acquire) < epoch) {
        sleep(Duration::from_millis(PROGRESS_POLL_MS)).await;
    }
}

//! What clients want done that is no shard's: about nodes, and about groups. It comes from the shard that was asked, and its
//! outcome goes back there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam::utils::CachePadded;
use larder_engine::{ClusterOrder, ClusterOrderKind, ClusterOrderOutcome};
use larder_membership::{Invalidated, Order, Refusal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use crate::cluster::{Asked, Shards};
use crate::dialer::give;
use crate::keeper::{Considered, Keeper, Plans, exists_already, lock};
use crate::limits::{PROGRESS_POLL_MS, REQUEST_TIMEOUT_MS_MAX};
use crate::shard::Control;
use crate::standing::Progress;

/// The shards of this node, by how far they are.
type Progresses = Arc<[Arc<CachePadded<Progress>>]>;

/// Has done what shards ask for until none can ask any more. `agent` is there where members are kept in etcd.
pub async fn pass_on_orders(
    shards: Shards,
    mut asked: mpsc::Receiver<Asked>,
    agent: Option<mpsc::Sender<Order>>,
    keeper: Arc<Mutex<Keeper>>,
) {
    let progress: Progresses = shards.progress.clone().into();
    while let Some(asked) = asked.recv().await {
        let (shard, ClusterOrder { ticket, what }) = match asked {
            Asked::Epoch(epoch) => {
                if let Some(agent) = &agent {
                    // An agent that has ended needs none.
                    let _ = agent.send(Order::Reach(epoch)).await;
                }
                continue;
            }
            Asked::Order(shard, order) => (shard, order),
        };
        let begun = match what {
            ClusterOrderKind::Node { node, points, drain } => {
                let (done, answer) = oneshot::channel();
                pass_on(agent.as_ref(), Order::Override { node, points, drain, done }).await;
                Begun::Node(answer)
            }
            ClusterOrderKind::Invalidate { group } => {
                let (done, answer) = oneshot::channel();
                pass_on(agent.as_ref(), Order::Invalidate { group, done }).await;
                Begun::Invalidation(answer)
            }
            ClusterOrderKind::Group { group, action, settings } => {
                let considered = lock(&keeper).consider(action, &group, &settings);
                match considered {
                    Err(refused) => Begun::Nothing(refused),
                    Ok(Considered::Nothing(altered)) => {
                        Begun::Nothing(ClusterOrderOutcome::Altered { altered, epoch: None })
                    }
                    Ok(Considered::Change { change, altered, next }) => match &agent {
                        Some(agent) => {
                            let (done, answer) = oneshot::channel();
                            pass_on(Some(agent), Order::Group { group: group.clone(), change, done }).await;
                            Begun::Group { group, altered, answer }
                        }
                        None => {
                            let plans = lock(&keeper).take(next);
                            for lane in &shards.lanes {
                                give(lane, Control::Groups(plans.clone())).await;
                            }
                            Begun::Plans(plans, ClusterOrderOutcome::Altered { altered, epoch: None })
                        }
                    },
                }
            }
        };
        let (lane, progress) = (Arc::clone(&shards.lanes[usize::from(shard)]), Arc::clone(&progress));
        let keeper = Arc::clone(&keeper);
        tokio::spawn(async move {
            let outcome = begun.end(&progress, &keeper).await;
            give(&lane, Control::ClusterOrderDone { ticket, outcome }).await;
        });
    }
}

/// An order that somebody follows.
enum Begun {
    /// There is nothing to wait for.
    Nothing(ClusterOrderOutcome),
    /// Shards have been told.
    Plans(Plans, ClusterOrderOutcome),
    Node(oneshot::Receiver<Result<(), Refusal>>),
    Invalidation(oneshot::Receiver<Result<Invalidated, Refusal>>),
    Group {
        group: String,
        altered: larder_protocol::native::generated::AlteredGroup,
        answer: oneshot::Receiver<Result<u64, Refusal>>,
    },
}

impl Begun {
    /// Waits for what becomes of it.
    async fn end(self, progress: &Progresses, keeper: &Mutex<Keeper>) -> ClusterOrderOutcome {
        match self {
            Begun::Nothing(outcome) => outcome,
            Begun::Plans(plans, outcome) => {
                wait_for_shards(progress, plans.version, |shard| &shard.groups_version).await;
                outcome
            }
            Begun::Node(answer) => answer.await.map_or_else(leaving, |done| match done {
                Ok(()) => ClusterOrderOutcome::Done,
                Err(refusal) => refused(refusal, "", keeper),
            }),
            Begun::Invalidation(answer) => match answer.await {
                Ok(Ok(Invalidated { generation, epoch })) => {
                    wait_for_shards(progress, epoch, |shard| &shard.epoch).await;
                    ClusterOrderOutcome::Invalidated { generation, epoch }
                }
                Ok(Err(refusal)) => refused(refusal, "", keeper),
                Err(gone) => leaving(gone),
            },
            Begun::Group { group, altered, answer } => match answer.await {
                Ok(Ok(epoch)) => {
                    wait_for_shards(progress, epoch, |shard| &shard.epoch).await;
                    ClusterOrderOutcome::Altered { altered, epoch: Some(epoch) }
                }
                Ok(Err(refusal)) => refused(refusal, &group, keeper),
                Err(gone) => leaving(gone),
            },
        }
    }
}

/// Without an agent that takes it, nobody answers.
async fn pass_on(agent: Option<&mpsc::Sender<Order>>, order: Order) {
    if let Some(agent) = agent {
        let _ = agent.send(order).await;
    }
}

fn leaving(_: oneshot::error::RecvError) -> ClusterOrderOutcome {
    ClusterOrderOutcome::Unavailable("this node is leaving".into())
}

fn refused(refusal: Refusal, group: &str, keeper: &Mutex<Keeper>) -> ClusterOrderOutcome {
    match refusal {
        Refusal::UnknownNode => ClusterOrderOutcome::UnknownNode,
        Refusal::UnknownGroup => lock(keeper).unknown(group),
        Refusal::Exists => exists_already(group),
        Refusal::Unanswered(why) => ClusterOrderOutcome::Unavailable(why),
    }
}

/// Waits until all shards of this node are so far, or for as long as nobody waits for that any more.
async fn wait_for_shards(progress: &Progresses, wanted: u64, so_far: impl Fn(&Progress) -> &AtomicU64) {
    let until = Instant::now() + Duration::from_millis(REQUEST_TIMEOUT_MS_MAX);
    while Instant::now() < until && progress.iter().any(|shard| so_far(shard).load(Ordering::Acquire) < wanted) {
        sleep(Duration::from_millis(PROGRESS_POLL_MS)).await;
    }
}

//! What concerns the whole cluster, and not this node alone: an engine checks it, whoever keeps the members of the cluster
//! does it, and the engine answers.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;

use larder_protocol::native::generated::AlteredGroup;
use larder_protocol::{GroupAction, GroupAlteration, NodeAlteration, Reply, Request, Status};
use larder_ring::weight_points;
use larder_store::RemovalHook;

use crate::limits::CLUSTER_ORDERS_MAX;
use crate::waiting::Awaited;
use crate::{Engine, Submission, Ticket, failures};

/// Something to be done for the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOrder {
    /// For [`Engine::cluster_order_done`].
    pub ticket: Ticket,
    /// What.
    pub what: ClusterOrderKind,
}

/// See [`ClusterOrder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterOrderKind {
    /// An operator says something about a node; what is `None` stays.
    Node {
        /// The node.
        node: String,
        /// Its points on the ring; `Some(None)`: those that it was configured with.
        points: Option<Option<u32>>,
        /// Whether it is to own nothing.
        drain: Option<bool>,
    },
    /// A group is to lose all its entries on all nodes.
    Invalidate {
        /// Its name.
        group: String,
    },
    /// Groups are to be named, or one is to be created, changed or dropped.
    Group {
        /// Its name.
        group: String,
        /// What.
        action: GroupAction,
        /// What it is to have, as JSON.
        settings: String,
    },
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterOrderOutcome {
    /// It is kept.
    Done,
    /// It is kept that the group was invalidated, and all shards of this node have the epoch.
    Invalidated {
        /// How often it was.
        generation: u64,
        /// Whoever goes by this epoch or a later one has none of its entries from before.
        epoch: u64,
    },
    /// It is done as far as this node goes.
    Altered {
        /// What.
        altered: AlteredGroup,
        /// It is done when all members go by this epoch or a later one; `None`: when this node has done it.
        epoch: Option<u64>,
    },
    /// It is not to be done.
    Refused {
        /// How that is called.
        status: Status,
        /// Why, and what can be.
        why: String,
    },
    /// Nobody has heard of such a node.
    UnknownNode,
    /// It cannot be done now, for this reason.
    Unavailable(String),
}

/// What stands for the weight that a node was configured with.
const DEFAULT_WEIGHT: &str = "default";

impl<H: RemovalHook> Engine<H> {
    /// Takes an alteration of a node, to be handed out by [`Engine::next_cluster_order`].
    pub(crate) fn submit_node_alteration(
        &mut self,
        alteration: &NodeAlteration<'_>,
        request: &Request<'_>,
        now_ms: u64,
    ) -> Submission<'_> {
        if self.local.ownership.is_fixed() {
            return Submission::Done(self.local.execute(request, now_ms));
        }
        let points = match alteration.weight {
            None => None,
            Some(DEFAULT_WEIGHT) => Some(None),
            Some(text) => match weight_points(text) {
                Ok(points) => Some(Some(points)),
                Err(error) => {
                    return Submission::Done(
                        self.local.fail(Status::BadRequest, format_args!("weight {text:?}: {error}")),
                    );
                }
            },
        };
        let (node, drain) = (alteration.node.to_owned(), alteration.drain);
        self.order(ClusterOrderKind::Node { node, points, drain }, request, now_ms)
    }

    /// Takes the invalidation of a group on all nodes, whose members come and go.
    pub(crate) fn submit_invalidation(&mut self, request: &Request<'_>, now_ms: u64) -> Submission<'_> {
        let hash = self.local.groups.group(request.group).map(|group| group.hash);
        let name = self.local.groups.names().find(|(_, named)| Some(*named) == hash).map(|(name, _)| name.to_owned());
        match name {
            Some(group) => self.order(ClusterOrderKind::Invalidate { group }, request, now_ms),
            None => Submission::Done(self.local.no_such_group(request.group)),
        }
    }

    /// Takes what is to become of groups.
    pub(crate) fn submit_group_alteration(
        &mut self,
        alteration: &GroupAlteration<'_>,
        request: &Request<'_>,
        now_ms: u64,
    ) -> Submission<'_> {
        let GroupAlteration { name, action, settings } = *alteration;
        let (group, settings) = (name.to_owned(), settings.to_owned());
        self.order(ClusterOrderKind::Group { group, action, settings }, request, now_ms)
    }

    fn order(&mut self, what: ClusterOrderKind, request: &Request<'_>, now_ms: u64) -> Submission<'_> {
        let waiting = &self.waiting;
        self.cluster_orders_taken.retain(|ticket| waiting.missing(*ticket).is_some());
        self.local.ownership.forget_tickets(|ticket| waiting.missing(ticket).is_none());
        if self.ordered().count() >= CLUSTER_ORDERS_MAX || self.waiting.is_full() {
            return Submission::Done(Reply::Failed(&failures::OVERLOADED));
        }
        let ticket = self.waiting.begin(now_ms.saturating_add(u64::from(self.timeout_ms(request))), true);
        self.cluster_orders_taken.push(ticket);
        self.cluster_orders.push_back(ClusterOrder { ticket, what });
        Submission::Pending(ticket)
    }

    /// The next order that the engine wants followed, until there is none; [`Engine::cluster_order_done`] says how it went.
    pub fn next_cluster_order(&mut self) -> Option<ClusterOrder> {
        self.cluster_orders.pop_front()
    }

    /// An order was followed, or could not be. The ticket that this answers, if somebody waits still, is handed to
    /// `answer`.
    pub fn cluster_order_done(
        &mut self,
        ticket: Ticket,
        outcome: &ClusterOrderOutcome,
        answer: impl FnOnce(Ticket, &Reply<'_>),
    ) {
        self.cluster_orders_taken.retain(|taken| *taken != ticket);
        if self.waiting.missing(ticket).is_none() {
            return;
        }
        let acknowledged = match *outcome {
            ClusterOrderOutcome::Invalidated { generation, epoch } => {
                Some((epoch, Awaited::Invalidation { generation, missing: 1 }))
            }
            ClusterOrderOutcome::Altered { ref altered, epoch: Some(epoch) } => {
                Some((epoch, Awaited::Alteration { altered: Box::new(altered.clone()), missing: 1 }))
            }
            _ => None,
        };
        if let Some((epoch, awaited)) = acknowledged {
            self.waiting.await_instead(ticket, awaited);
            self.local.ownership.await_all(epoch, &self.local.topology, &self.local.node_id, ticket);
            // Who has to acknowledge is asked now, and whoever does is heard then.
            self.ping_ms = 0;
            return;
        }
        if !matches!(self.waiting.take(ticket), Some(Awaited::Reply)) {
            return;
        }
        let reply = match outcome {
            ClusterOrderOutcome::Done | ClusterOrderOutcome::Invalidated { .. } => Reply::Done,
            ClusterOrderOutcome::Altered { altered, .. } => Reply::Altered(altered),
            ClusterOrderOutcome::Refused { status, why } => self.local.fail(*status, format_args!("{why}")),
            ClusterOrderOutcome::UnknownNode => self.local.fail(
                Status::BadRequest,
                format_args!("no node of this cluster has that id; the topology names those that there are"),
            ),
            ClusterOrderOutcome::Unavailable(why) => {
                self.local.fail(Status::Unavailable, format_args!("not done, and harmless to repeat: {why}"))
            }
        };
        answer(ticket, &reply);
    }

    /// Answers those whose invalidation everybody has acknowledged.
    pub(crate) fn answer_acknowledged(&mut self, answer: &mut impl FnMut(Ticket, &Reply<'_>)) {
        while let Some(ticket) = self.local.ownership.next_acknowledged() {
            if let Some(complete) = self.waiting.take(ticket) {
                self.answer(ticket, complete, answer);
            }
        }
    }

    /// Tickets of orders that are not followed yet, or not acknowledged by all.
    pub(crate) fn ordered(&self) -> impl Iterator<Item = Ticket> {
        self.cluster_orders_taken.iter().copied().chain(self.local.ownership.tickets())
    }
}

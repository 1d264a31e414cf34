//! What operators say about nodes: an engine checks it, whoever keeps the members of the cluster does it, and the engine
//! answers.

use alloc::borrow::ToOwned;
use alloc::string::String;

use larder_protocol::{NodeAlteration, Reply, Request, Status};
use larder_ring::weight_points;
use larder_store::RemovalHook;

use crate::limits::NODE_ORDERS_MAX;
use crate::waiting::Awaited;
use crate::{Engine, Submission, Ticket, failures};

/// What is to be said about a node; what is `None` stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeOrder {
    /// For [`Engine::node_order_done`].
    pub ticket: Ticket,
    /// The node.
    pub node: String,
    /// Its points on the ring; `Some(None)`: those that it was configured with.
    pub points: Option<Option<u32>>,
    /// Whether it is to own nothing.
    pub drain: Option<bool>,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeOrderOutcome {
    /// It is kept.
    Done,
    /// Nobody has heard of such a node.
    UnknownNode,
    /// It cannot be done now, for this reason.
    Unavailable(String),
}

/// What stands for the weight that a node was configured with.
const DEFAULT_WEIGHT: &str = "default";

impl<H: RemovalHook> Engine<H> {
    /// Takes an alteration of a node, to be handed out by [`Engine::next_node_order`].
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
        self.node_orders_taken.retain(|ticket| self.waiting.missing(*ticket).is_some());
        if self.node_orders_taken.len() >= NODE_ORDERS_MAX || self.waiting.is_full() {
            return Submission::Done(Reply::Failed(&failures::OVERLOADED));
        }
        let ticket = self.waiting.begin(now_ms.saturating_add(u64::from(self.timeout_ms(request))), true);
        self.node_orders_taken.push(ticket);
        let (node, drain) = (alteration.node.to_owned(), alteration.drain);
        self.node_orders.push_back(NodeOrder { ticket, node, points, drain });
        Submission::Pending(ticket)
    }

    /// The next order that the engine wants followed, until there is none; [`Engine::node_order_done`] says how it went.
    pub fn next_node_order(&mut self) -> Option<NodeOrder> {
        self.node_orders.pop_front()
    }

    /// An order was followed, or could not be. The ticket that this answers, if somebody waits still, is handed to
    /// `answer`.
    pub fn node_order_done(
        &mut self,
        ticket: Ticket,
        outcome: &NodeOrderOutcome,
        answer: impl FnOnce(Ticket, &Reply<'_>),
    ) {
        self.node_orders_taken.retain(|taken| *taken != ticket);
        if !matches!(self.waiting.take(ticket), Some(Awaited::Reply)) {
            return;
        }
        let reply = match outcome {
            NodeOrderOutcome::Done => Reply::Done,
            NodeOrderOutcome::UnknownNode => self.local.fail(
                Status::BadRequest,
                format_args!("no node of this cluster has that id; the topology names those that there are"),
            ),
            NodeOrderOutcome::Unavailable(why) => {
                self.local.fail(Status::Unavailable, format_args!("not done, and harmless to repeat: {why}"))
            }
        };
        answer(ticket, &reply);
    }

    /// Tickets of orders that are not followed yet.
    pub(crate) fn ordered(&self) -> impl Iterator<Item = Ticket> {
        self.node_orders_taken.iter().copied()
    }
}

//! What a node does with etcd, in virtual time: the sessions of larder-membership's agent, step by step, with its view
//! of the cluster, which is the real one.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use larder_engine::limits::EXCHANGE_MS;
use larder_engine::{Standing, Ticket};
use larder_membership::{Keys, NodeRecord, State, View};
use larder_ring::{Membership, Topology};

use crate::etcd::{Answer, Ask};

/// How long a registration lasts, in ms.
pub(crate) const TTL_MS: u64 = 5_000;
/// How long one answer may take, and how often the registration is renewed, in ms.
pub(crate) const PATIENCE_MS: u64 = TTL_MS / 5;
/// Between two sessions, in ms.
const PAUSE_MS: u64 = 200;
/// How often what stands in for a registration is put off, in ms.
const PUT_OFF_MS: u64 = 250;
/// What clocks may differ in while a lease runs, as a share of it.
const DRIFT_SHARE: u64 = 64;
const GOOD_MS: u64 = TTL_MS - TTL_MS / DRIFT_SHARE;

/// What comes of it.
#[derive(Debug)]
pub(crate) enum Out {
    /// To etcd, in the session with this number.
    Ask(u64, Ask),
    Membership(Membership),
    Standing(Standing),
    /// The group of this order was invalidated: how often, and at which epoch.
    Raised {
        shard: u16,
        ticket: Ticket,
        raised: Option<(u64, u64)>,
    },
    /// The registration is taken back.
    Left,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Paused {
        until_ms: u64,
    },
    /// It waits for the one answer, until then.
    Continuing {
        sent_ms: u64,
        due_ms: u64,
    },
    Registering {
        due_ms: u64,
    },
    Proving {
        sent_ms: u64,
        due_ms: u64,
    },
    Listing {
        due_ms: u64,
    },
    Watching {
        due_ms: u64,
    },
    Following,
    Over,
}

/// See the module. All times are those of the node's clock.
#[derive(Debug)]
pub(crate) struct Agent {
    id: String,
    keys: Keys,
    record: NodeRecord,
    view: View,
    phase: Phase,
    session: u64,
    lease: Option<u64>,
    standing: Standing,
    /// etcd does not answer.
    is_out: bool,
    put_off_ms: u64,
    renewed_ms: u64,
    /// The renewal that is not answered.
    renewal: Option<u64>,
    tick_ms: u64,
    reach_by_ms: Option<u64>,
    wanted: u64,
    down: BTreeSet<String>,
    written: Option<State>,
    /// Who has ordered an invalidation that etcd has not confirmed, in order.
    raising: VecDeque<(u16, Ticket)>,
    outs: Vec<Out>,
}

impl Agent {
    pub(crate) fn new(id: String, keys: Keys, record: NodeRecord) -> Self {
        let view = View::new(keys.clone(), 0);
        let standing = Standing { registration: 0, until_ms: 0, stand_in_until_ms: 0 };
        Self {
            id,
            keys,
            record,
            view,
            phase: Phase::Paused { until_ms: 0 },
            session: 0,
            lease: None,
            standing,
            is_out: false,
            put_off_ms: 0,
            renewed_ms: 0,
            renewal: None,
            tick_ms: 0,
            reach_by_ms: None,
            wanted: 0,
            down: BTreeSet::new(),
            written: None,
            raising: VecDeque::new(),
            outs: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.outs)
    }

    /// When [`Agent::time`] is to be called.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        let next_ms = self.next_of_session_ms()?;
        Some(if self.is_out { next_ms.min(self.put_off_ms) } else { next_ms })
    }

    fn next_of_session_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Over => None,
            Phase::Paused { until_ms } => Some(until_ms),
            Phase::Continuing { due_ms, .. }
            | Phase::Registering { due_ms }
            | Phase::Proving { due_ms, .. }
            | Phase::Listing { due_ms }
            | Phase::Watching { due_ms } => Some(due_ms),
            Phase::Following => {
                let renewal_ms = self.renewal.map_or(self.tick_ms, |sent_ms| sent_ms + PATIENCE_MS);
                [Some(renewal_ms), self.reach_by_ms, self.view.due_ms()].into_iter().flatten().min()
            }
        }
    }

    pub(crate) fn time(&mut self, now_ms: u64) {
        if self.is_out && self.put_off_ms <= now_ms {
            self.put_off(now_ms);
        }
        match self.phase {
            Phase::Over => {}
            Phase::Paused { until_ms } if until_ms <= now_ms => self.begin(now_ms),
            Phase::Continuing { due_ms, .. }
            | Phase::Registering { due_ms }
            | Phase::Proving { due_ms, .. }
            | Phase::Listing { due_ms }
            | Phase::Watching { due_ms }
                if due_ms <= now_ms =>
            {
                self.unanswered(now_ms);
            }
            Phase::Following => self.follow(now_ms),
            _ => {}
        }
    }

    fn follow(&mut self, now_ms: u64) {
        match self.renewal {
            Some(sent_ms) if sent_ms + PATIENCE_MS <= now_ms => return self.unanswered(now_ms),
            None if self.tick_ms <= now_ms => {
                self.renewal = Some(now_ms);
                self.tick_ms = now_ms + PATIENCE_MS;
                let lease = self.lease.expect("who follows is registered");
                self.ask(Ask::Renew { lease, key: self.keys.node(&self.id) });
            }
            _ => {}
        }
        if self.reach_by_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            return self.anew(now_ms);
        }
        self.give(now_ms);
    }

    /// etcd has said something in a session.
    pub(crate) fn heard(&mut self, session: u64, answer: Answer, now_ms: u64) {
        if session != self.session {
            return;
        }
        match (self.phase, answer) {
            (Phase::Continuing { sent_ms, .. }, Answer::Renewed { is_registered: true }) => {
                self.renewed(sent_ms, now_ms);
                self.list(now_ms);
            }
            (Phase::Continuing { .. }, Answer::Renewed { .. } | Answer::NoLease) => {
                self.lost();
                self.register(now_ms);
            }
            (Phase::Registering { .. }, Answer::Registered { lease }) => {
                self.lease = Some(lease);
                self.written = Some(self.record.state);
                self.standing = Standing { registration: self.standing.registration + 1, until_ms: 0, ..self.standing };
                self.view.registered(self.standing.registration);
                self.phase = Phase::Proving { sent_ms: now_ms, due_ms: now_ms + PATIENCE_MS };
                self.ask(Ask::Renew { lease, key: self.keys.node(&self.id) });
            }
            (Phase::Proving { sent_ms, .. }, Answer::Renewed { .. }) => {
                self.renewed(sent_ms, now_ms);
                self.list(now_ms);
            }
            (Phase::Proving { .. }, Answer::NoLease) => self.unanswered(now_ms),
            (Phase::Listing { .. }, Answer::Listed { revision, found }) => {
                self.view.list(revision, found).expect("this etcd loses nothing");
                if std::mem::take(&mut self.is_out) {
                    self.standing.stand_in_until_ms = 0;
                    self.outs.push(Out::Standing(self.standing));
                }
                self.give(now_ms);
                self.phase = Phase::Watching { due_ms: now_ms + PATIENCE_MS };
                self.ask(Ask::Watch { from: self.view.revision() + 1 });
            }
            (Phase::Watching { .. }, Answer::Watching) => {
                (self.phase, self.renewal, self.tick_ms, self.reach_by_ms) = (Phase::Following, None, now_ms, None);
                self.write_state();
                self.follow(now_ms);
            }
            (_, Answer::Cancelled) => self.anew(now_ms),
            (Phase::Following, Answer::Renewed { .. }) => {
                if let Some(sent_ms) = self.renewal.take() {
                    self.renewed(sent_ms, now_ms);
                }
            }
            (Phase::Following, Answer::NoLease) => {
                self.lost();
                self.anew(now_ms);
            }
            (Phase::Following, Answer::Changed { revision, found }) => {
                self.view.change(revision, found);
                self.give(now_ms);
                if self.view.revision() >= self.wanted {
                    self.reach_by_ms = None;
                }
                let own = self.view.record(&self.id);
                if own.is_none_or(|record| record.incarnation != self.record.incarnation) {
                    self.lost();
                    self.anew(now_ms);
                }
            }
            (Phase::Following, Answer::Raised { generation, revision }) => {
                if let Some((shard, ticket)) = self.raising.pop_front() {
                    self.outs.push(Out::Raised { shard, ticket, raised: Some((generation, revision)) });
                }
            }
            (Phase::Following, Answer::Looked { revision, there }) => {
                // Else what is missing is on its way, or the watch is lost.
                if self.view.is_as(there.into_iter()) {
                    self.view.reached(revision, self.wanted);
                    self.give(now_ms);
                }
                if self.view.revision() >= self.wanted {
                    self.reach_by_ms = None;
                }
            }
            _ => {}
        }
    }

    /// The node is to be in the ring, or is to leave it.
    pub(crate) fn set_state(&mut self, state: State) {
        self.record.state = state;
        if self.phase == Phase::Following {
            self.write_state();
        }
    }

    /// The registration is taken back.
    pub(crate) fn leave(&mut self) {
        if let Some(lease) = self.lease {
            self.lost();
            self.ask(Ask::Revoke { lease });
        }
        self.phase = Phase::Over;
        self.outs.push(Out::Left);
    }

    /// A shard has ordered that the group is invalidated.
    pub(crate) fn invalidate(&mut self, shard: u16, ticket: Ticket) {
        if self.phase == Phase::Following {
            self.raising.push_back((shard, ticket));
            self.ask(Ask::Raise { key: self.keys.group("default") });
        } else {
            self.outs.push(Out::Raised { shard, ticket, raised: None });
        }
    }

    /// Rings that other nodes have made.
    pub(crate) fn know(&mut self, rings: impl IntoIterator<Item = Arc<Topology>>) {
        self.view.know(rings);
    }

    /// Another node has named this epoch.
    pub(crate) fn reach(&mut self, epoch: u64, now_ms: u64) {
        if epoch <= self.wanted {
            return;
        }
        self.wanted = epoch;
        if self.phase != Phase::Following {
            return;
        }
        self.view.believe(epoch);
        self.view.reached(0, epoch);
        self.give(now_ms);
        if self.view.revision() < epoch {
            self.reach_by_ms = Some(now_ms + PATIENCE_MS);
            self.ask(Ask::Look);
        }
    }

    /// Whether a node is reached.
    pub(crate) fn reached(&mut self, node: &str, is_reached: bool, now_ms: u64) {
        if is_reached {
            self.down.remove(node);
        } else {
            self.down.insert(node.to_owned());
        }
        if self.phase == Phase::Following {
            self.give(now_ms);
        }
    }

    /// The connection is lost.
    pub(crate) fn broken(&mut self, for_ms: u64, now_ms: u64) {
        if !matches!(self.phase, Phase::Paused { .. } | Phase::Over) {
            self.unanswered(now_ms);
            self.phase = Phase::Paused { until_ms: now_ms + PAUSE_MS.max(for_ms) };
        }
    }

    fn begin(&mut self, now_ms: u64) {
        self.session += 1;
        match self.lease {
            Some(lease) => {
                self.phase = Phase::Continuing { sent_ms: now_ms, due_ms: now_ms + PATIENCE_MS };
                self.ask(Ask::Renew { lease, key: self.keys.node(&self.id) });
            }
            None => self.register(now_ms),
        }
    }

    fn register(&mut self, now_ms: u64) {
        self.phase = Phase::Registering { due_ms: now_ms + PATIENCE_MS };
        self.ask(Ask::Register { key: self.keys.node(&self.id), record: self.record.to_json(), ttl_ms: TTL_MS });
    }

    fn list(&mut self, now_ms: u64) {
        self.phase = Phase::Listing { due_ms: now_ms + PATIENCE_MS };
        self.ask(Ask::List);
    }

    fn write_state(&mut self) {
        let Some(lease) = self.lease else { return };
        if self.record.state != State::Joining && self.written != Some(self.record.state) {
            self.written = Some(self.record.state);
            self.ask(Ask::Put { key: self.keys.node(&self.id), record: self.record.to_json(), lease });
        }
    }

    fn unanswered(&mut self, now_ms: u64) {
        // What was written may not have arrived.
        self.written = None;
        if !std::mem::replace(&mut self.is_out, true) {
            self.put_off(now_ms);
        }
        self.phase = Phase::Paused { until_ms: now_ms + PAUSE_MS };
        self.session += 1;
        self.forget_orders();
    }

    /// As the server does: others stand in for the registration as long as this node does not stand still.
    fn put_off(&mut self, now_ms: u64) {
        self.put_off_ms = now_ms + PUT_OFF_MS;
        if now_ms < self.standing.until_ms.max(self.standing.stand_in_until_ms) {
            self.standing.stand_in_until_ms = now_ms + EXCHANGE_MS;
            self.outs.push(Out::Standing(self.standing));
        }
    }

    fn anew(&mut self, now_ms: u64) {
        self.phase = Phase::Paused { until_ms: now_ms + PAUSE_MS };
        self.session += 1;
        self.forget_orders();
    }

    /// What etcd has not confirmed in this session may have been done, or not.
    fn forget_orders(&mut self) {
        for (shard, ticket) in self.raising.drain(..) {
            self.outs.push(Out::Raised { shard, ticket, raised: None });
        }
    }

    fn renewed(&mut self, sent_ms: u64, now_ms: u64) {
        if sent_ms > self.renewed_ms + TTL_MS / 2 {
            self.view.hold(sent_ms + TTL_MS, now_ms + PAUSE_MS + 2 * PATIENCE_MS + GOOD_MS);
        }
        self.renewed_ms = sent_ms;
        self.standing.until_ms = sent_ms + GOOD_MS;
        self.outs.push(Out::Standing(self.standing));
    }

    fn lost(&mut self) {
        self.lease = None;
        self.written = None;
        // That was an answer, so nobody stands in any more.
        (self.standing.until_ms, self.standing.stand_in_until_ms) = (0, 0);
        self.outs.push(Out::Standing(self.standing));
    }

    fn give(&mut self, now_ms: u64) {
        let down = &self.down;
        if let Some(membership) = self.view.membership(now_ms, |id| down.contains(id)) {
            self.outs.push(Out::Membership(membership));
        }
        let reports = self.view.take_reports();
        assert!(reports.is_empty(), "nothing in this etcd is to be reported: {reports:?}");
    }

    fn ask(&mut self, ask: Ask) {
        self.outs.push(Out::Ask(self.session, ask));
    }
}

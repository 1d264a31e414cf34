//! What goes wrong, and how processes begin and end.

use larder_engine::Engine;
use larder_membership::{Keys, OverrideRecord, State};

use super::{AHEAD_MS_MAX, DRAIN_MS, DRIFT_MAX, EXCUSE_MS, Event, GRACE_MS, HEARD_MS, SKEWED_MS_MAX, Wire, World};
use crate::agent::PATIENCE_MS;
use crate::faults::Fault;
use crate::node::{Clock, Ending, Node, Process};

impl World {
    /// Ends everything that is wrong, and starts who does not run.
    pub(crate) fn heal(&mut self) {
        self.events.retain(|_, event| !matches!(event, Event::Fault(_)));
        self.partitions.clear();
        self.is_mended = true;
        let keys = Keys::new("c");
        for node in 0..self.nodes.len() {
            (self.nodes[node].cut_until_ms, self.nodes[node].late_ms) = (0, 10);
            if self.nodes[node].process.is_none() {
                self.at(self.now_ms, Event::Start { node });
            }
            let told = self.etcd.set(keys.override_of(&self.nodes[node].id), None);
            self.tell(told);
        }
    }

    pub(super) fn start(&mut self, node: usize) {
        if self.nodes[node].process.is_some() {
            return;
        }
        self.processes += 1;
        let most = if self.is_skewed { SKEWED_MS_MAX } else { AHEAD_MS_MAX };
        // A machine's clock may be set while no process runs, and not back.
        let before = self.nodes[node].clock;
        let least = if self.is_skewed || before.since_ms == 0 { -most } else { before.ahead_at(self.now_ms).min(most) };
        let ahead = self.random.i64(least..=most);
        let drift = self.random.i64(-DRIFT_MAX..=DRIFT_MAX);
        self.nodes[node].clock = Clock { ahead, drift, since_ms: self.now_ms };
        let names = (self.processes, self.random.u64(1..));
        let process = Process::new(&self.nodes[node], names, self.filling, self.now_ms);
        self.nodes[node].process = Some(process);
        self.trace.note(self.now_ms, format_args!("node {node} starts, its clock {ahead} ms ahead"));
        self.at(self.now_ms, Event::Agent { node, process: names.0 });
    }

    /// A process is gone, with all that it had.
    pub(super) fn end(&mut self, node: usize, is_silent: bool) {
        let Some(process) = self.nodes[node].process.take() else { return };
        self.trace.note(self.now_ms, format_args!("the process of node {node} ends"));
        self.nodes[node].paused_until_ms = 0;
        self.etcd.ends(node);
        for number in 0..self.wires.len() {
            let Wire { from, to, is_cut, .. } = self.wires[number];
            if is_cut || from.0 != node && to.0 != node {
                continue;
            }
            self.wires[number].is_cut = true;
            if to.0 == node && !is_silent {
                let at_ms = self.now_ms + self.delay_ms();
                self.at(at_ms, Event::Lost { wire: number });
            }
        }
        for number in self.clients.asked_of(node, process.number) {
            let at_ms = self.now_ms + self.delay_ms();
            let outcomes = self.clients.unknown(number);
            self.at(at_ms, Event::Answered { number, outcomes });
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        self.trace.note(self.now_ms, format_args!("{fault:?}"));
        let now_ms = self.now_ms;
        match fault {
            Fault::Crash { node, .. }
            | Fault::Stop { node, .. }
            | Fault::Pause { node, .. }
            | Fault::Cut { node, .. }
                if self.is_skewed && !self.has_witness(node) => {}
            Fault::Partition { .. } if self.is_skewed => {}
            Fault::Crash { node, restart_ms } => {
                let is_silent = self.random.u8(0..4) == 0;
                self.end(node, is_silent);
                self.at(now_ms + restart_ms, Event::Start { node });
            }
            Fault::Stop { node, restart_ms } => {
                let Some(process) = self.nodes[node].process.as_mut().filter(|process| process.ending == Ending::No)
                else {
                    return;
                };
                let epoch = process.engines.iter().map(Engine::epoch).max().unwrap_or(0);
                process.ending = Ending::Draining { until_ms: now_ms + DRAIN_MS, epoch };
                process.agent.set_state(State::Draining);
                let process = process.number;
                self.after_agent(node);
                self.at(now_ms + 5, Event::Ending { node, process, restart_ms });
            }
            Fault::Pause { node, for_ms } => {
                let agent_late_ms = self.random.u64(0..=5);
                let node = &mut self.nodes[node];
                if node.process.is_some() && !node.is_paused(now_ms) {
                    (node.paused_at_ms, node.paused_until_ms) = (now_ms, now_ms + for_ms);
                    node.agent_late_ms = agent_late_ms;
                }
            }
            Fault::Cut { node, for_ms } => {
                self.nodes[node].cut_until_ms = now_ms + for_ms;
                self.excuse();
            }
            Fault::EtcdAway { .. } if now_ms < self.etcd_away_until_ms => {}
            Fault::EtcdAway { for_ms } => {
                let was_killed = self.random.bool();
                (self.etcd_away_until_ms, self.etcd_killed) = (now_ms + for_ms, was_killed);
                if was_killed {
                    let running: Vec<(usize, u64)> =
                        self.processes().map(|(node, process)| (node, process.number)).collect();
                    for (node, process) in running {
                        let at_ms = now_ms + self.delay_ms();
                        self.at(at_ms, Event::Broken { node, process, for_ms: 0 });
                    }
                }
                self.at(now_ms + for_ms, Event::EtcdReturns { was_killed });
                self.excuse();
            }
            Fault::EtcdSlow { for_ms } => self.etcd_slow_until_ms = now_ms + for_ms,
            Fault::Compact => {
                self.etcd.compact();
                let running: Vec<(usize, u64)> =
                    self.processes().map(|(node, process)| (node, process.number)).collect();
                for (node, process) in running {
                    let at_ms = now_ms + self.delay_ms();
                    let for_ms = self.random.u64(0..PATIENCE_MS);
                    self.at(at_ms, Event::Broken { node, process, for_ms });
                }
            }
            Fault::Disconnect { a, b } => self.disconnect(a, b),
            Fault::Partition { a, b, for_ms } => {
                for pair in [(a, b), (b, a)] {
                    self.partitions.insert(pair, now_ms + for_ms);
                }
                if self.random.bool() {
                    self.disconnect(a, b);
                }
            }
            Fault::Late { node, late_ms } => self.nodes[node].late_ms = late_ms,
            Fault::Drain { node, is_drained } => {
                self.set_override(node, OverrideRecord { drain: is_drained, weight: None });
            }
            Fault::Weigh { node, weight } => {
                self.set_override(node, OverrideRecord { drain: false, weight: Some(weight) });
            }
        }
    }

    /// A node that is cut off from etcd alone, or was when etcd went away, may serve its side: the one exception to the
    /// promises.
    pub(super) fn excuse(&mut self) {
        let cut_until_ms = self.nodes.iter().map(|node| node.cut_until_ms).max().unwrap_or(0);
        if cut_until_ms > self.now_ms {
            let until_ms = cut_until_ms.max(self.etcd_away_until_ms) + EXCUSE_MS;
            self.history.excuse(self.now_ms, until_ms);
        }
    }

    /// Whether another node is there that knows how late it is for this one.
    pub(super) fn has_witness(&self, node: usize) -> bool {
        let is_heard = |process: &Process| process.joined_ms > 0 && process.joined_ms + HEARD_MS < self.now_ms;
        if !self.nodes[node].process.as_ref().is_none_or(is_heard) {
            return false;
        }
        let is_witness = |(other, process): (usize, &Process)| {
            let Node { paused_until_ms, cut_until_ms, .. } = &self.nodes[other];
            let since_ms = process.joined_ms.max(*paused_until_ms).max(*cut_until_ms) + HEARD_MS;
            other != node && process.ending == Ending::No && process.joined_ms > 0 && since_ms < self.now_ms
        };
        self.processes().any(is_witness)
    }

    pub(super) fn set_override(&mut self, node: usize, record: OverrideRecord) {
        if self.now_ms >= self.etcd_away_until_ms {
            let told = self.etcd.set(Keys::new("c").override_of(&self.nodes[node].id), Some(record.to_json()));
            self.tell(told);
        }
    }

    pub(super) fn disconnect(&mut self, a: usize, b: usize) {
        for number in 0..self.wires.len() {
            let Wire { from, to, is_cut, .. } = self.wires[number];
            if !is_cut && ((from.0, to.0) == (a, b) || (from.0, to.0) == (b, a)) {
                self.wires[number].is_cut = true;
                let at_ms = self.now_ms + self.delay_ms();
                self.at(at_ms, Event::Lost { wire: number });
            }
        }
    }

    pub(super) fn ending(&mut self, node: usize, number: u64, restart_ms: u64) {
        let now_ms = self.now_ms;
        let Some(process) = self.process(node, number) else { return };
        match process.ending {
            Ending::Draining { until_ms, epoch } => {
                let has_left = |engine: &Engine| !engine.is_in_ring() && engine.epoch() > epoch;
                if process.engines.iter().all(has_left) || until_ms <= now_ms {
                    process.ending = Ending::Grace { until_ms: now_ms + GRACE_MS };
                }
            }
            Ending::Grace { until_ms } if until_ms <= now_ms => {
                process.agent.leave();
                self.after_agent(node);
                self.end(node, false);
                return self.at(now_ms + restart_ms, Event::Start { node });
            }
            _ => {}
        }
        self.at(now_ms + 5, Event::Ending { node, process: number, restart_ms });
    }
}

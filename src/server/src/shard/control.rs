//! What the sidecar and a shard say to each other.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use larder_engine::{ClusterOrderOutcome, FlightId, LinkId, Ticket};
use larder_ring::{Membership, Topology};
use tokio::sync::mpsc;

use crate::keeper::Plans;
use crate::limits::CONTROLS_MAX;
use crate::loading::Landed;
use crate::mesh::Door;

/// An order to a shard.
#[derive(Debug)]
pub enum Control {
    /// The connection of a link to another node, or that it cannot be made.
    Linked {
        /// Which link.
        link: LinkId,
        /// The connection, on which Hello was said.
        socket: Option<OwnedFd>,
    },
    /// Go by this topology from now on, in which nobody's share has changed.
    Topology(Arc<Topology>),
    /// Go by this membership from now on.
    Membership(Arc<Membership>),
    /// Have these groups from now on.
    Groups(Plans),
    /// What became of an order for the cluster.
    ClusterOrderDone {
        /// Of the engine.
        ticket: Ticket,
        /// What.
        outcome: ClusterOrderOutcome,
    },
    /// A key was loaded, or could not be.
    Landed {
        /// Of the engine.
        flight: FlightId,
        /// What became of it.
        landed: Landed,
    },
    /// Accept nothing more, answer what was received, and close each connection when its answers are sent.
    Stop,
    /// Close what is open and end.
    Exit,
}

/// News from a shard.
#[derive(Debug)]
pub struct Report {
    /// Which shard.
    pub shard: u16,
    /// What.
    pub news: News,
}

/// See [`Report`].
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// It accepts connections.
    Ready,
    /// It could not start, or ended without being told to: why.
    Failed(String),
    /// After [`Control::Stop`]: its last connection is closed.
    Drained,
    /// After [`Control::Exit`]: it is done, and this many connections were cut off.
    Exited(usize),
}

/// The control lane to one shard.
#[derive(Debug)]
pub struct ControlLane {
    shard: u16,
    queue: ArrayQueue<Control>,
    /// Clients of RESP were killed, which may be here. No order: one is as good as many, and none is lost.
    has_killed: AtomicBool,
    doors: Arc<[Door]>,
}

impl ControlLane {
    /// The control lane to the shard whose door is the one of its number.
    pub fn new(shard: u16, doors: Arc<[Door]>) -> Arc<Self> {
        Arc::new(Self { shard, queue: ArrayQueue::new(CONTROLS_MAX), has_killed: AtomicBool::new(false), doors })
    }

    /// Gives an order, and wakes the shard.
    ///
    /// # Errors
    /// The order, if [`CONTROLS_MAX`] others wait.
    pub fn send(&self, control: Control) -> Result<(), Control> {
        let sent = self.queue.push(control);
        self.doors[usize::from(self.shard)].ring_control();
        sent
    }

    /// Has the connections of clients closed that are marked as killed, and wakes the shard.
    pub fn close_killed(&self) {
        self.has_killed.store(true, Ordering::Release);
        self.doors[usize::from(self.shard)].ring_control();
    }

    /// Whether that was asked for since the last time.
    pub(super) fn takes_killed(&self) -> bool {
        self.has_killed.load(Ordering::Relaxed) && self.has_killed.swap(false, Ordering::Acquire)
    }

    /// The next order.
    pub(super) fn receive(&self) -> Option<Control> {
        self.queue.pop()
    }
}

/// How a shard reports. If it is dropped before the shard has said anything final, it says that the shard has failed:
/// so also when an executor cannot even be made.
#[derive(Debug)]
pub struct Reporter {
    shard: u16,
    reports: mpsc::Sender<Report>,
    is_over: bool,
}

impl Reporter {
    /// Reports of one shard.
    pub fn new(shard: u16, reports: mpsc::Sender<Report>) -> Self {
        Self { shard, reports, is_over: false }
    }

    /// Reports. Never waits: the channel has room for everything that a shard can say.
    pub fn say(&mut self, news: News) {
        self.is_over |= matches!(news, News::Failed(_) | News::Exited(_));
        // An error says that the sidecar is gone; then the process is ending.
        let _ = self.reports.try_send(Report { shard: self.shard, news });
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if !self.is_over {
            self.say(News::Failed("its executor could not be made, or ended without being told to".into()));
        }
    }
}

/// How many connections the server has, over all shards, and how many it refused.
#[derive(Debug)]
pub struct Admission {
    open: CachePadded<AtomicU32>,
    refused: AtomicU64,
    /// Listeners that cannot turn clients away, for want of a descriptor.
    reserves_spent: AtomicU32,
    is_reported: AtomicBool,
    connections_max: u32,
}

impl Admission {
    /// None is open, and at most so many may be.
    pub fn new(connections_max: u32) -> Self {
        Self {
            open: CachePadded::default(),
            refused: AtomicU64::new(0),
            reserves_spent: AtomicU32::new(0),
            is_reported: AtomicBool::new(false),
            connections_max,
        }
    }

    /// Whether one more may be open. One that may must [`Admission::leave`] again.
    pub fn enter(&self) -> bool {
        // Its descriptor may be what a listener misses.
        if self.reserves_spent.load(Ordering::SeqCst) > 0 {
            return false;
        }
        if self.open.fetch_add(1, Ordering::Relaxed) < self.connections_max {
            return true;
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.refused.fetch_add(1, Ordering::Relaxed);
        if !self.is_reported.swap(true, Ordering::Relaxed) {
            crate::log::line(format_args!(
                "{} connections are open, as many as may be: more are closed at once, and this is said once; raise \
                 --connections-max or let clients share connections",
                self.connections_max,
            ));
        }
        false
    }

    /// One is closed.
    pub fn leave(&self) {
        let before = self.open.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "more connections were closed than opened");
    }

    /// A listener gives its spare descriptor back to the system: until [`Admission::reserve_is_settled`], whoever was
    /// accepted with it is not to keep it.
    pub fn reserve_is_spent(&self) {
        self.reserves_spent.fetch_add(1, Ordering::SeqCst);
    }

    /// The listener has a spare descriptor again, or needs none any more.
    pub fn reserve_is_settled(&self) {
        let before = self.reserves_spent.fetch_sub(1, Ordering::SeqCst);
        assert!(before > 0, "more spare descriptors came back than were spent");
    }

    /// How many connections were refused because of the limit.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reporter_that_is_dropped_early_says_that_the_shard_failed() {
        let (sender, mut receiver) = mpsc::channel(4);
        drop(Reporter::new(3, sender.clone()));
        let report = receiver.try_recv().expect("a report");
        assert_eq!(report.shard, 3);
        assert!(matches!(report.news, News::Failed(_)));

        let mut reporter = Reporter::new(1, sender);
        reporter.say(News::Ready);
        reporter.say(News::Exited(0));
        drop(reporter);
        assert_eq!(receiver.try_recv().expect("a report").news, News::Ready);
        assert_eq!(receiver.try_recv().expect("a report").news, News::Exited(0));
        assert!(receiver.try_recv().is_err(), "nothing more");
    }

    #[test]
    fn admission_counts_what_is_open_and_what_it_refused() {
        let admission = Admission::new(2);
        assert!(admission.enter() && admission.enter());
        assert!(!admission.enter());
        assert_eq!(admission.refused(), 1);
        admission.leave();
        assert!(admission.enter());
    }

    #[test]
    fn a_full_control_lane_says_so() {
        let doors: Arc<[Door]> = Arc::new([Door::new(1).expect("an event")]);
        let lane = ControlLane::new(0, doors);
        for _ in 0..CONTROLS_MAX {
            assert!(lane.send(Control::Stop).is_ok());
        }
        assert!(matches!(lane.send(Control::Exit), Err(Control::Exit)));
        assert!(matches!(lane.receive(), Some(Control::Stop)));
        assert!(lane.send(Control::Exit).is_ok());
    }
}

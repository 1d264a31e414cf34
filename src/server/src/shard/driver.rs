//! One shard on its executor: one task that owns a ring and turns around it.
//!
//! A turn takes in what the ring has completed and what other shards sent, and passes on everything that follows from
//! it in one system call. When nothing is left the shard looks around for a moment, waits in its own ring for a
//! moment more, and then sleeps in glommio, which serves whatever else runs on the executor.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam::utils::{Backoff, CachePadded};
use glommio::timer::sleep;
use larder_engine::{Backlog, ClusterOrderOutcome};

use super::bell::Bell;
use super::control::{Admission, Control, ControlLane, News, Reporter};
use super::handover::Handover;
use super::lookout::Lookout;
use super::reactor::Reactor;
use super::ring::Ring;
use super::sockets::{Patience, Sockets};
use crate::clock::Clock;
use crate::cluster::Asking;
use crate::dialer::Dials;
use crate::keeper::Plans;
use crate::limits::{
    BACKGROUND_INTERVAL_MS, BACKGROUND_LOOK_PAUSE_MS, BACKGROUND_PAUSE_MS, BACKGROUND_STEPS, BREATH_US, EXIT_TURNS_MAX,
    GIVE_WAY_MS, RING_SIZE, RING_WAIT_MS, SHRINK_PAUSE_MS, SPIN_US, TICK_MS,
};
use crate::loading::Loading;
use crate::standing::{Progress, SharedStanding};

/// What a shard is made of when its executor starts.
pub struct Plan {
    /// The connections and the engine.
    pub reactor: Reactor,
    /// Where connections come from.
    pub listener: TcpListener,
    /// The time.
    pub clock: Clock,
    /// The bound on connections, shared by all shards.
    pub admission: Arc<Admission>,
    /// How connections move between shards, shared by all.
    pub handover: Arc<Handover>,
    /// Where orders come from.
    pub controls: Arc<ControlLane>,
    /// Where news goes.
    pub reporter: Reporter,
    /// Who makes connections to other nodes.
    pub dials: Dials,
    /// Who keeps the members of the cluster.
    pub asking: Asking,
    /// Who asks the origins of groups.
    pub loading: Loading,
    /// What is known of this node's registration.
    pub standing: Arc<SharedStanding>,
    /// Where this shard shows how far it is.
    pub progress: Arc<CachePadded<Progress>>,
    /// Counts the turns of the shard; one comes every [`TICK_MS`] at least while it lives.
    pub turns: Arc<CachePadded<AtomicU64>>,
    /// Whether the shard has its core for itself, and may spin.
    pub has_own_core: bool,
    /// How long clients may be silent.
    pub patience: Patience,
    /// How long a shard without work looks for some before it waits; zero: not at all.
    pub spin: Duration,
}

/// Runs a shard until it is told to exit. On its executor.
pub(super) async fn run(plan: Plan) {
    let Plan {
        reactor,
        listener,
        clock,
        admission,
        handover,
        controls,
        mut reporter,
        dials,
        asking,
        loading,
        standing,
        progress,
        turns,
        has_own_core,
        patience,
        spin,
    } = plan;
    let opened = Ring::new(RING_SIZE).and_then(|ring| {
        let bell = Bell::new(&ring, reactor.port().door())?;
        Ok((bell, Sockets::new(reactor, ring, listener, admission, handover, dials, patience)?))
    });
    let (bell, sockets) = match opened {
        Ok(opened) => opened,
        Err(error) => return reporter.say(News::Failed(format!("its ring cannot be opened: {error}"))),
    };
    // Detached: it holds nothing that outlives the executor.
    glommio::spawn_local(tick()).detach();
    let shard = Shard {
        sockets,
        bell,
        clock,
        controls,
        reporter,
        asking,
        loading,
        standing,
        progress,
        shown: None,
        asked_epoch: 0,
        turns,
        has_own_core,
        spin,
        stop: Stop::No,
        background_ms: 0,
        backlog: Backlog::None,
        gave_way_ms: clock.now_ms(),
        busy_until: None,
        lookout: Lookout::default(),
    };
    shard.run().await;
}

struct Shard {
    sockets: Sockets,
    bell: Bell,
    clock: Clock,
    controls: Arc<ControlLane>,
    reporter: Reporter,
    asking: Asking,
    loading: Loading,
    standing: Arc<SharedStanding>,
    progress: Arc<CachePadded<Progress>>,
    /// What `progress` shows: the epoch, whether nothing is shut, and whether the node is in the ring.
    shown: Option<(u64, bool, bool)>,
    /// The greatest epoch that was asked for.
    asked_epoch: u64,
    turns: Arc<CachePadded<AtomicU64>>,
    has_own_core: bool,
    spin: Duration,
    stop: Stop,
    /// When background work is done next.
    background_ms: u64,
    /// What it left the last time.
    backlog: Backlog,
    gave_way_ms: u64,
    /// When looking around for work ends.
    busy_until: Option<Instant>,
    lookout: Lookout,
}

/// How far the order to stop has been followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    /// The last accept is being taken back.
    Asked,
    /// Connections end by themselves.
    Draining,
    Drained,
}

/// What a turn found.
struct Found {
    /// There was something to do.
    work: bool,
    /// Something came from another shard, or went there.
    messages: bool,
    exit: bool,
}

impl Shard {
    async fn run(mut self) {
        self.reporter.say(News::Ready);
        loop {
            let now_ms = self.clock.now_ms();
            let found = self.turn(now_ms);
            if found.exit {
                break;
            }
            if now_ms.saturating_sub(self.gave_way_ms) >= GIVE_WAY_MS {
                self.sockets.ring.enter(None);
                self.breathe().await;
                continue;
            }
            if self.backlog == Backlog::Urgent {
                self.sockets.ring.enter(None);
            } else if !self.is_worth_a_look(&found) {
                self.wait(now_ms).await;
            }
        }
        self.exit().await;
    }

    /// Takes in what has come and asks for what follows from it.
    fn turn(&mut self, now_ms: u64) -> Found {
        // Nobody else writes it.
        self.turns.store(self.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.sockets.reactor.set_standing(self.standing.read());
        let reaped = self.sockets.reap(now_ms);
        let reactor = &mut self.sockets.reactor;
        let mut exit = false;
        let mut messages = false;
        if reactor.needs_turn() || reactor.next_wake_ms().is_some_and(|wake_ms| wake_ms <= now_ms) {
            let turn = reactor.turn(now_ms);
            messages = turn.worked;
            self.sockets.take_listed(now_ms);
            if turn.control {
                self.sockets.take_in(now_ms);
                exit = self.obey(now_ms);
            }
        }
        if self.sockets.next_ms() <= now_ms {
            self.sockets.on_time(now_ms);
        }
        self.pass_on_loads(now_ms);
        self.follow_stop(now_ms);
        self.sockets.settle(now_ms);
        self.show_progress();
        let would_wait = !reaped && !messages;
        if self.background_ms <= now_ms || (would_wait && self.backlog == Backlog::Urgent) {
            self.backlog = self.sockets.reactor.background(now_ms, BACKGROUND_STEPS);
            self.background_ms = now_ms
                + match self.backlog {
                    Backlog::None => BACKGROUND_INTERVAL_MS,
                    Backlog::Looking => BACKGROUND_LOOK_PAUSE_MS,
                    Backlog::Some => BACKGROUND_PAUSE_MS,
                    Backlog::Urgent => SHRINK_PAUSE_MS,
                };
        }
        Found { work: reaped || messages, messages, exit }
    }

    /// Has loaded what is missing in groups with an origin.
    fn pass_on_loads(&mut self, now_ms: u64) {
        while let Some(load) = self.sockets.reactor.engine().next_load(now_ms) {
            if let Err((flight, landed)) = self.loading.want(load) {
                self.sockets.reactor.loaded(flight, &landed.as_loaded(), now_ms);
                self.sockets.take_listed(now_ms);
            }
        }
    }

    /// Shows how far this shard is, and passes on what its engine wants of the cluster.
    fn show_progress(&mut self) {
        let engine = self.sockets.reactor.engine();
        if let Some(order) = engine.next_cluster_order()
            && !self.asking.order(order.clone())
        {
            let why = "too many such orders wait".to_owned();
            self.sockets.reactor.cluster_order_done(order.ticket, &ClusterOrderOutcome::Unavailable(why));
        }
        let engine = self.sockets.reactor.engine();
        let (epoch, newest) = (engine.epoch(), engine.newest_epoch());
        if newest > epoch.max(self.asked_epoch) {
            self.asked_epoch = newest;
            self.asking.reach(newest);
        }
        let shown = (epoch, engine.is_settled(), engine.is_in_ring());
        if self.shown != Some(shown) {
            self.shown = Some(shown);
            let (epoch, is_settled, is_in_ring) = shown;
            self.progress.epoch.store(epoch, Ordering::Release);
            self.progress.settled_epoch.store(if is_settled && is_in_ring { epoch } else { 0 }, Ordering::Release);
            if !is_in_ring {
                self.progress.left_epoch.store(epoch, Ordering::Release);
            }
        }
    }

    /// Follows the orders that have come. Returns whether the shard is to exit.
    fn obey(&mut self, now_ms: u64) -> bool {
        if self.controls.takes_killed() {
            self.sockets.reactor.close_killed();
            self.sockets.take_listed(now_ms);
        }
        while let Some(control) = self.controls.receive() {
            match control {
                Control::Linked { link, socket } => self.sockets.linked(link, socket, now_ms),
                Control::Topology(topology) => {
                    if let Err(error) = self.sockets.reactor.set_topology(topology) {
                        crate::log::line(format_args!("the topology stays as it is: {error}"));
                    }
                }
                Control::Membership(membership) => {
                    if let Err(error) = self.sockets.reactor.set_membership(&membership, now_ms) {
                        crate::log::line(format_args!("the ring stays as it is: {error}"));
                    }
                }
                Control::Groups(Plans { version, groups, origins }) => {
                    self.loading.set_origins(origins);
                    if let Err(error) = self.sockets.reactor.engine().set_groups(&groups) {
                        crate::log::line(format_args!("not all groups are as they should be: {error}"));
                    }
                    self.progress.groups_version.store(version, Ordering::Release);
                }
                Control::ClusterOrderDone { ticket, outcome } => {
                    self.sockets.reactor.cluster_order_done(ticket, &outcome);
                    self.sockets.take_listed(now_ms);
                }
                Control::Landed { flight, landed } => {
                    self.sockets.reactor.loaded(flight, &landed.as_loaded(), now_ms);
                    self.sockets.take_listed(now_ms);
                }
                Control::Stop if self.stop == Stop::No => {
                    self.sockets.close_handover(now_ms);
                    self.sockets.close_listener();
                    self.stop = Stop::Asked;
                }
                Control::Stop => {}
                Control::Exit => return true,
            }
        }
        false
    }

    fn follow_stop(&mut self, now_ms: u64) {
        if self.stop == Stop::Asked && self.sockets.is_listener_closed() {
            self.sockets.stop(now_ms);
            self.stop = Stop::Draining;
        }
        if self.stop == Stop::Draining && self.sockets.only_links_are_open() {
            self.sockets.close_links();
        }
        if self.stop == Stop::Draining && self.sockets.open_count() == 0 {
            self.stop = Stop::Drained;
            self.reporter.say(News::Drained);
        }
    }

    /// Whether to look for work again at once: for a moment after messages, for who has just talked to another shard is
    /// likely to hear from it, sooner than a wake takes; and as long as is configured after any work.
    fn is_worth_a_look(&mut self, found: &Found) -> bool {
        if found.messages && self.has_own_core && self.lookout.is_due() && self.sees_messages() {
            return true;
        }
        if self.spin.is_zero() {
            return false;
        }
        let now = Instant::now();
        if found.work {
            self.busy_until = Some(now + self.spin);
        }
        if self.busy_until.is_none_or(|until| until <= now) {
            return false;
        }
        self.sockets.ring.enter(None);
        true
    }

    /// Passes on what there is, and looks for messages for a moment; whether some came.
    fn sees_messages(&mut self) -> bool {
        if self.sockets.ring.has_requests() {
            self.sockets.ring.enter(None);
        }
        let begun = Instant::now();
        let backoff = Backoff::new();
        while begun.elapsed() < Duration::from_micros(SPIN_US) {
            if self.sockets.reactor.needs_turn() {
                self.lookout.looked(true);
                return true;
            }
            backoff.spin();
        }
        self.lookout.looked(false);
        false
    }

    /// Passes on what there is and waits until something comes: for a moment in the ring, then in glommio.
    async fn wait(&mut self, now_ms: u64) {
        // What was read in this turn, after the reactor's own, may be for other shards.
        if self.sockets.reactor.needs_turn() || !self.sockets.reactor.port().door().may_sleep() {
            if self.sockets.ring.has_requests() {
                self.sockets.ring.enter(None);
            }
            return;
        }
        let engine_ms = self.sockets.reactor.next_wake_ms().unwrap_or(u64::MAX);
        let wake_ms = self.sockets.next_ms().min(engine_ms).min(self.background_ms).min(now_ms + TICK_MS);
        let wait_ms = RING_WAIT_MS.min(wake_ms.saturating_sub(now_ms));
        self.sockets.ring.enter(Some(Duration::from_millis(wait_ms)));
        if self.sockets.ring.has_completions() {
            // It may be what held answers wait for.
        } else if self.sockets.let_go_all() {
            self.sockets.ring.enter(None);
        } else {
            self.bell.sleep(&mut self.sockets.ring, now_ms, wake_ms).await;
            self.gave_way_ms = now_ms;
        }
        self.sockets.reactor.port().door().awake();
    }

    /// Steps aside until the executor has looked at its timers and other tasks. It does so when no task is ready:
    /// [`glommio::yield_if_needed`] and its like only let the other ready tasks run.
    async fn breathe(&mut self) {
        sleep(Duration::from_micros(BREATH_US)).await;
        self.gave_way_ms = self.clock.now_ms();
    }

    async fn exit(mut self) {
        self.sockets.close_handover(self.clock.now_ms());
        self.sockets.cut();
        let mut turns = 0;
        while self.sockets.ring.in_flight() > 0 && turns < EXIT_TURNS_MAX {
            let now_ms = self.clock.now_ms();
            self.sockets.reap(now_ms);
            self.sockets.settle(now_ms);
            self.sockets.ring.enter(Some(Duration::from_millis(1)));
            turns += 1;
        }
        let now_ms = self.clock.now_ms();
        self.sockets.reap(now_ms);
        self.sockets.settle(now_ms);
        if cfg!(debug_assertions) {
            self.sockets.validate();
            assert_eq!(self.sockets.ring.in_flight(), 0, "the ring lets go of everything");
        }
        self.bell.close(&self.sockets.ring, self.sockets.reactor.port().door()).await;
        self.reporter.say(News::Exited(self.sockets.cut_off()));
    }
}

/// Bounds how long the executor may sleep: without a timer of another task, a sleep that glommio begins by mistake,
/// over the timer and the event of the shard, would have no end.
async fn tick() {
    loop {
        sleep(Duration::from_millis(TICK_MS)).await;
    }
}

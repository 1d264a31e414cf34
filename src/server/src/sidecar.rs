//! The one thread beside the shards: signals, and the order of starting and stopping.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::utils::CachePadded;
use larder_membership::MembershipError;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use crate::cluster::Cluster;
use crate::limits::{HEARTBEAT_MS, STALL_MS, START_TIMEOUT_MS, STOP_RESERVE_MS};
use crate::shard::{Control, ControlLane, News, Report};

/// A program that a signal ended has this and the signal's number as its exit status.
const EXIT_STATUS_SIGNAL: i32 = 128;

/// The sidecar's side of all shards.
#[derive(Debug)]
pub struct Sidecar {
    shards: Vec<Arc<ControlLane>>,
    heartbeats: Vec<Arc<CachePadded<AtomicU64>>>,
    reports: mpsc::Receiver<Report>,
    signals: Signals,
    stop_timeout: Duration,
    is_ready: Arc<AtomicBool>,
}

/// The signals that stop the server. They are caught from when this exists.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// How it went with the shards.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SidecarError {
    /// The node cannot be in its cluster.
    #[error(transparent)]
    Membership(MembershipError),
    /// A shard did not start, or ended.
    #[error("shard {shard} has failed: {why}")]
    Shard {
        /// Which.
        shard: u16,
        /// Why.
        why: String,
    },
    /// Some shards did not get ready.
    #[error("after {} s only {ready} of {shards} shards are ready; is the machine overloaded?", START_TIMEOUT_MS / 1000)]
    NotReady {
        /// How many are.
        ready: usize,
        /// How many there should be.
        shards: usize,
    },
    /// Some shards did not end.
    #[error("{exited} of {shards} shards have ended in the time that stopping may take: the others are left behind")]
    NotStopped {
        /// How many have.
        exited: usize,
        /// How many there are.
        shards: usize,
    },
}

/// How a server was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that had not got all their answers, or had not read them, when the time was up.
    pub cut_off: usize,
}

impl Signals {
    /// Catches SIGTERM and SIGINT. In a tokio runtime.
    ///
    /// # Errors
    /// The system refuses.
    pub fn catch() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one: its name and number.
    async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", SignalKind::terminate().as_raw_value()),
            _ = self.interrupt.recv() => ("SIGINT", SignalKind::interrupt().as_raw_value()),
        }
    }
}

impl Sidecar {
    /// The sidecar of shards that have been started: their control lanes and heartbeats in order, and the channel that
    /// they report to.
    pub fn new(
        shards: Vec<Arc<ControlLane>>,
        heartbeats: Vec<Arc<CachePadded<AtomicU64>>>,
        reports: mpsc::Receiver<Report>,
        signals: Signals,
        stop_timeout: Duration,
    ) -> Self {
        assert_eq!(shards.len(), heartbeats.len(), "one of each per shard");
        Self { shards, heartbeats, reports, signals, stop_timeout, is_ready: Arc::default() }
    }

    /// Whether clients are to come: all shards accept, the node is in the ring, and was not told to stop.
    pub fn is_ready(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_ready)
    }

    /// Waits for the shards, calls `on_ready` once all accept, and serves until a signal comes; then stops them. A
    /// second signal ends the process at once.
    ///
    /// # Errors
    /// A shard does not start, or ends by itself, or does not end in time.
    pub async fn run(mut self, mut cluster: Option<Cluster>, on_ready: impl FnOnce()) -> Result<Stopped, SidecarError> {
        let deadline = Instant::now() + Duration::from_millis(START_TIMEOUT_MS);
        let is_signalled = tokio::select! {
            (name, _) = self.signals.next() => {
                crate::log::line(format_args!("{name} before the server was ready"));
                true
            }
            ready = all_ready(&mut self.reports, self.shards.len(), deadline) => {
                ready?;
                false
            }
        };
        let is_signalled = is_signalled || self.join(cluster.as_mut()).await?;
        if !is_signalled {
            self.is_ready.store(true, Ordering::Release);
            on_ready();
            self.serve().await?;
            self.is_ready.store(false, Ordering::Release);
            if let Some(cluster) = &cluster {
                or_signal(&mut self.signals, cluster.drain()).await;
            }
        }
        let stopped = self.stop().await;
        if let Some(cluster) = cluster {
            cluster.leave().await;
        }
        stopped
    }

    /// Waits until the node is in the ring of its cluster; whether a signal came before that.
    async fn join(&mut self, cluster: Option<&mut Cluster>) -> Result<bool, SidecarError> {
        let Some(cluster) = cluster else { return Ok(false) };
        tokio::select! {
            (name, _) = self.signals.next() => {
                crate::log::line(format_args!("{name} before the node was in the ring"));
                Ok(true)
            }
            joined = cluster.join() => joined.map(|()| false).map_err(SidecarError::Membership),
        }
    }

    /// Until a signal comes.
    async fn serve(&mut self) -> Result<(), SidecarError> {
        let mut pulse = Pulse::new(&self.heartbeats);
        let mut ticks = interval(Duration::from_millis(HEARTBEAT_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                (name, _) = self.signals.next() => {
                    crate::log::line(format_args!("{name}: stopping, which may take {:?}", self.stop_timeout));
                    return Ok(());
                }
                Some(report) = self.reports.recv() => {
                    if let News::Failed(why) = report.news {
                        return Err(SidecarError::Shard { shard: report.shard, why });
                    }
                }
                _ = ticks.tick() => pulse.feel(&self.heartbeats),
            }
        }
    }

    async fn stop(mut self) -> Result<Stopped, SidecarError> {
        let begun = Instant::now();
        let reserve = Duration::from_millis(STOP_RESERVE_MS).min(self.stop_timeout / 2);
        let shards = self.shards.len();
        self.order(|| Control::Stop);
        // When the time is up, what is left is cut off by the order to exit.
        let drained = count(&mut self.reports, shards, |news| matches!(news, News::Drained));
        or_signal(&mut self.signals, timeout_at(begun + self.stop_timeout - reserve, drained))
            .await
            .unwrap_or(Ok(0))?;

        self.order(|| Control::Exit);
        let mut cut_off = 0;
        let mut exited = 0;
        let exiting = count(&mut self.reports, shards, |news| {
            let News::Exited(connections) = news else { return false };
            cut_off += connections;
            exited += 1;
            true
        });
        let outcome = or_signal(&mut self.signals, timeout_at(begun + self.stop_timeout, exiting)).await;
        match outcome {
            Ok(counted) => counted.map(|_| Stopped { cut_off }),
            Err(_) => Err(SidecarError::NotStopped { exited, shards }),
        }
    }

    fn order(&self, control: impl Fn() -> Control) {
        for (shard, lane) in self.shards.iter().enumerate() {
            if lane.send(control()).is_err() {
                crate::log::line(format_args!("shard {shard} takes no orders: its control lane is full"));
            }
        }
    }
}

/// Waits until every shard is ready.
async fn all_ready(reports: &mut mpsc::Receiver<Report>, shards: usize, deadline: Instant) -> Result<(), SidecarError> {
    let mut ready = 0;
    let waited = count(reports, shards, |news| {
        let is_ready = matches!(news, News::Ready);
        ready += usize::from(is_ready);
        is_ready
    });
    match timeout_at(deadline, waited).await {
        Ok(counted) => counted.map(|_| ()),
        Err(_) => Err(SidecarError::NotReady { ready, shards }),
    }
}

/// Waits until `is_counted` was true of as many news as there are shards, and returns their number.
async fn count(
    reports: &mut mpsc::Receiver<Report>,
    shards: usize,
    mut is_counted: impl FnMut(&News) -> bool,
) -> Result<usize, SidecarError> {
    let mut counted = 0;
    while counted < shards {
        let Some(Report { shard, news }) = reports.recv().await else {
            // Every reporter says something final before it goes, so all have.
            return Ok(counted);
        };
        if is_counted(&news) {
            counted += 1;
        } else if let News::Failed(why) = news {
            return Err(SidecarError::Shard { shard, why });
        }
    }
    Ok(counted)
}

/// What `stopping` gives, unless another signal comes: then the process ends.
async fn or_signal<T>(signals: &mut Signals, stopping: impl Future<Output = T>) -> T {
    tokio::select! {
        stopped = stopping => stopped,
        (name, number) = signals.next() => {
            crate::log::line(format_args!("{name} while stopping: ending at once, what was received is not answered"));
            std::process::exit(EXIT_STATUS_SIGNAL + number);
        }
    }
}

/// Watches whether all shards live: an executor whose core is taken, or whose timers have died, is reported.
#[derive(Debug)]
struct Pulse {
    last: Vec<(u64, Instant)>,
    reported: Vec<bool>,
}

impl Pulse {
    fn new(heartbeats: &[Arc<CachePadded<AtomicU64>>]) -> Self {
        Self { last: vec![(0, Instant::now()); heartbeats.len()], reported: vec![false; heartbeats.len()] }
    }

    fn feel(&mut self, heartbeats: &[Arc<CachePadded<AtomicU64>>]) {
        let now = Instant::now();
        for (shard, heartbeat) in heartbeats.iter().enumerate() {
            let beats = heartbeat.load(Ordering::Relaxed);
            let (last_beats, last_beat) = &mut self.last[shard];
            let silence = now - *last_beat;
            if beats != *last_beats {
                (*last_beats, *last_beat) = (beats, now);
                if core::mem::take(&mut self.reported[shard]) {
                    crate::log::line(format_args!("shard {shard} is alive again"));
                }
            } else if silence > Duration::from_millis(STALL_MS) && !core::mem::replace(&mut self.reported[shard], true)
            {
                crate::log::line(format_args!(
                    "shard {shard} has shown no sign of life for {} s: its core is taken by others, or it hangs",
                    silence.as_secs()
                ));
            }
        }
    }
}

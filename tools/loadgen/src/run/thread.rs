//! One thread of a run, from its pinning to its result.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::load::{Load, Wait};
use super::preload::preload;
use super::{Stage, Window};
use crate::clock::ns;
use crate::error::LoadError;
use crate::fleet::{Fleet, FleetSettings, Traffic};
use crate::limits::{LIVE_INTERVAL, SLEEP_MAX, SPIN};
use crate::protocol::LoadProtocol;
use crate::stats::Recorder;
use crate::system;

/// What a thread brings home.
#[derive(Debug)]
pub(super) struct ThreadResult {
    pub(super) recorder: Recorder,
    /// Of the measurement alone, except for the losses.
    pub(super) traffic: Traffic,
    /// Length of the measurement as this thread had it, in ns.
    pub(super) measured_ns: u64,
    /// CPU time of the thread in it, in ns.
    pub(super) cpu_ns: u64,
    /// When the measurement began, in ns of the run's clock.
    pub(super) started_ns: u64,
}

/// What had passed when the measurement began, or ended.
#[derive(Clone, Copy)]
struct Mark {
    traffic: Traffic,
    time_ns: u64,
    cpu_ns: u64,
}

impl Mark {
    fn now<P: LoadProtocol>(fleet: &Fleet<P>, time_ns: u64) -> Mark {
        Mark { traffic: fleet.traffic(), time_ns, cpu_ns: system::thread_cpu_ns() }
    }
}

pub(super) fn run<P: LoadProtocol>(stage: &Stage<'_, P>, thread: usize) -> Result<ThreadResult, LoadError> {
    let plan = stage.plan;
    if !plan.cores.is_empty() {
        system::pin("--cores", plan.cores[thread % plan.cores.len()])?;
    }
    let (first_connection, connections) = plan.share_of(thread);
    let settings = FleetSettings {
        address: plan.address,
        first_connection,
        connections,
        depth: plan.pipeline,
        reopens_max: plan.reconnects,
        answer_timeout: plan.timeout,
    };
    let mut fleet = Fleet::connect(settings, stage.protocol, stage.clock)?;
    if plan.preload {
        preload(stage, thread)?;
    }
    let begin_ns = stage.gate.pass(stage.clock)?;
    stage.began_ns.store(begin_ns, Ordering::Release);
    let window = Window::new(plan, begin_ns);
    let mut load = Load::new(plan, thread, stage.material.clone(), stage.shards, window);
    let (started, ended) = drive(stage, thread, &mut fleet, &mut load, window)?;
    let traffic = Traffic {
        bytes_sent: ended.traffic.bytes_sent - started.traffic.bytes_sent,
        bytes_received: ended.traffic.bytes_received - started.traffic.bytes_received,
        idle_ns: ended.traffic.idle_ns - started.traffic.idle_ns,
        losses: fleet.traffic().losses,
    };
    Ok(ThreadResult {
        recorder: load.recorder,
        traffic,
        measured_ns: ended.time_ns - started.time_ns,
        cpu_ns: ended.cpu_ns - started.cpu_ns,
        started_ns: window.start_ns,
    })
}

/// Sends until everything was sent, and waits for the answers.
fn drive<P: LoadProtocol>(
    stage: &Stage<'_, P>,
    thread: usize,
    fleet: &mut Fleet<P>,
    load: &mut Load<'_>,
    window: Window,
) -> Result<(Mark, Mark), LoadError> {
    let mut now_ns = stage.clock.now_ns();
    let mut next_live_ns = now_ns + ns(LIVE_INTERVAL);
    let (mut started, mut ended) = (None, None);
    loop {
        if now_ns >= window.start_ns && started.is_none() {
            started = Some(Mark::now(fleet, now_ns));
        }
        let wait = load.dispatch(fleet, now_ns);
        if wait == Wait::Finished {
            let ended = *ended.get_or_insert_with(|| Mark::now(fleet, now_ns));
            let too_long = now_ns.saturating_sub(ended.time_ns) > ns(stage.plan.timeout);
            if fleet.in_flight() == 0 || too_long {
                load.finish(fleet, now_ns);
                pour(stage, thread, load);
                // A run of so many requests lasts until they are answered.
                let ended = if window.end_ns == u64::MAX { Mark::now(fleet, now_ns) } else { ended };
                return Ok((started.unwrap_or(ended), ended));
            }
        }
        if stage.gate.has_failed() {
            return Err(LoadError::BrokenOff);
        }
        now_ns = fleet.turn(timeout(wait, now_ns, window), load)?;
        if now_ns >= next_live_ns {
            next_live_ns = now_ns + ns(LIVE_INTERVAL);
            pour(stage, thread, load);
        }
    }
}

/// How long to sleep. What is due soon is waited for with open eyes.
fn timeout(wait: Wait, now_ns: u64, window: Window) -> Duration {
    let next_ns = match wait {
        Wait::Until(due_ns) => due_ns,
        Wait::Answer => window.end_ns,
        Wait::Finished => u64::MAX,
    };
    let sleep = Duration::from_nanos(next_ns.saturating_sub(now_ns)).saturating_sub(SPIN).min(SLEEP_MAX);
    match wait {
        Wait::Until(_) => Duration::from_millis(sleep.as_millis() as u64),
        Wait::Answer | Wait::Finished => sleep.max(Duration::from_millis(1)),
    }
}

fn pour<P: LoadProtocol>(stage: &Stage<'_, P>, thread: usize, load: &mut Load<'_>) {
    load.live.pour(&mut stage.live[thread].lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
}

//! A whole cluster in one thread: the engines of some nodes, what they say to each other and to etcd, clients, and all
//! that can go wrong, in virtual time and from one seed. Afterwards it is checked that clients saw nothing that a cache
//! which keeps its promises cannot have shown (see [`history`]), that every request was answered once and in time, and that
//! with nothing wrong any more all nodes agree and answer.
//!
//! Real are the engines, with everything that moves between shards and nodes as bytes, and the view that nodes have of
//! what etcd says. Simulated are etcd itself, the sessions with it, the network and the clocks.
//!
//! What goes wrong: messages are late, connections are lost with requests and replies on their way, processes end and
//! start again, nodes stand still for longer than their registration lasts and go on, nodes do not reach each other or
//! etcd, etcd stands still or is restarted or forgets what happened, membership reaches shards late and at different times,
//! operators drain and weigh nodes, clocks are wrong and run wrong.
//!
//! This crate may not know of sockets, threads or the time of the machine, and adds no rule of its own to how nodes behave.
#![forbid(unsafe_code)]

mod agent;
mod bugs;
mod clients;
mod etcd;
mod faults;
pub mod history;
mod node;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use bugs::Bug;
use bugs::Bugs;
use world::World;

/// How a run is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Everything follows from it.
    pub seed: u64,
    /// The mistake that the sessions and nodes make; one of the engines has to be planted before.
    pub bug: Option<Bug>,
    /// Whether all that happens is printed.
    pub is_shown: bool,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// A digest of all that happened.
    pub digest: u64,
    /// Nodes of the cluster.
    pub nodes: usize,
    /// How much happened.
    pub events: u64,
    /// Operations of clients on one key: entries, misses, writes, not executed, unknown.
    pub outcomes: [usize; 5],
    /// What is wrong; `None`: nothing was found.
    pub problem: Option<String>,
}

/// When everything that is wrong is mended, in ms.
const HEAL_MS: u64 = clients::LAST_MS + 500;
/// When all is well again, in ms: the longest fault that still lasts, a registration that runs out, and some.
const SETTLED_MS: u64 = HEAL_MS + 30_000;

/// Makes a run.
pub fn simulate(settings: &Settings) -> Outcome {
    let Settings { seed, bug, is_shown } = *settings;
    let mut world = World::new(seed, Bugs(bug), is_shown);
    let ran = catch_unwind(AssertUnwindSafe(|| run(&mut world)));
    let problem = match ran {
        Ok(checked) => checked.err(),
        Err(panic) => Some(match panic.downcast_ref::<String>() {
            Some(message) => message.clone(),
            None => panic.downcast_ref::<&str>().map_or("it panics".into(), |message| (*message).into()),
        }),
    };
    Outcome {
        digest: world.trace.digest(),
        nodes: world.nodes.len(),
        events: world.happened(),
        outcomes: world.history.outcomes(),
        problem,
    }
}

fn run(world: &mut World) -> Result<(), String> {
    while world.step(HEAL_MS) {}
    world.heal();
    while world.step(SETTLED_MS) {}
    assert!(world.clients.is_quiet(), "everybody has an answer, or has given up");
    world.history.check().map_err(|violation| violation.to_string())?;
    world.check_agreement()?;
    world.validate();
    Ok(())
}

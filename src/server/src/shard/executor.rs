//! The thread of a shard.

use std::time::Duration;

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

use super::driver::{Plan, run};
use crate::limits::{EXECUTOR_IO_MEMORY_BYTES, PREEMPT_MS};

/// A running executor.
#[derive(Debug)]
pub struct Executor {
    thread: ExecutorJoinHandle<()>,
}

impl Executor {
    /// Waits until the thread has ended.
    ///
    /// # Errors
    /// Why the executor could not be made.
    pub fn join(self) -> Result<(), String> {
        self.thread.join().map_err(|error| error.to_string())
    }
}

/// Starts a shard on a thread of its own, pinned to `core`. What becomes of it is said to `plan.reporter`.
///
/// # Errors
/// The thread cannot be started: why.
pub fn spawn(shard: u16, core: usize, plan: Plan) -> Result<Executor, String> {
    let thread = LocalExecutorBuilder::new(Placement::Fixed(core))
        .name(&format!("shard-{shard}"))
        .io_memory(EXECUTOR_IO_MEMORY_BYTES)
        .preempt_timer(Duration::from_millis(PREEMPT_MS))
        .spawn(move || run(plan))
        .map_err(|error| error.to_string())?;
    Ok(Executor { thread })
}

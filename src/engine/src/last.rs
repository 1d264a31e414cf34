//! What the replies that were given last borrow.

use alloc::vec::Vec;

use larder_protocol::native::generated::{ScanResult, StatsResult};
use larder_protocol::{Failure, Outcomes, Status};
use larder_store::Handle;

/// Results that a reply borrows, in memory that is reused.
#[derive(Debug)]
pub(crate) struct Last {
    pub(crate) found: Vec<Result<Handle, Status>>,
    /// The time at which `found` was looked up.
    pub(crate) found_ms: u64,
    pub(crate) outcomes: Vec<Result<u64, Status>>,
    pub(crate) failure: Failure,
    pub(crate) stats: StatsResult,
    pub(crate) scan: ScanResult,
    /// Frames.
    pub(crate) transacted: Vec<u8>,
}

impl Default for Last {
    fn default() -> Self {
        Self {
            found: Vec::new(),
            found_ms: 0,
            outcomes: Vec::new(),
            failure: Failure::new(Status::Ok, ""),
            stats: StatsResult::default(),
            scan: ScanResult::default(),
            transacted: Vec::new(),
        }
    }
}

/// The results of the last set_many or delete_many.
impl Outcomes for Last {
    fn len(&self) -> usize {
        self.outcomes.len()
    }

    fn outcome(&self, index: usize) -> Result<u64, Status> {
        self.outcomes[index]
    }
}

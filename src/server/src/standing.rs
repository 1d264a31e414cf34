//! What shards read of this node's registration before every batch, and what they show of how far they are.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use larder_engine::Standing;

/// Written by the sidecar, read by all shards.
#[derive(Debug, Default)]
pub struct SharedStanding {
    until_ms: CachePadded<AtomicU64>,
    registration: AtomicU64,
    is_outage: AtomicBool,
}

/// How far one shard is. Written by it, read by the sidecar.
#[derive(Debug, Default)]
pub struct Progress {
    /// The epoch that it goes by.
    pub epoch: AtomicU64,
    /// The same if its node is in the ring and no slot is shut; else 0.
    pub settled_epoch: AtomicU64,
    /// The greatest epoch by which its node is not in the ring.
    pub left_epoch: AtomicU64,
}

impl SharedStanding {
    /// That of a node whose ring never changes.
    pub fn fixed() -> Self {
        let shared = Self::default();
        shared.until_ms.store(Standing::FIXED.until_ms, Ordering::Relaxed);
        shared
    }

    /// A registration is good until then.
    pub fn prove(&self, registration: u64, until_ms: u64) {
        // What a shard reads of the time is never newer than what it reads of the number afterwards, so no time is taken
        // for that of a registration before.
        if self.registration.load(Ordering::Relaxed) != registration {
            self.until_ms.store(0, Ordering::Release);
            self.registration.store(registration, Ordering::Release);
        }
        self.until_ms.store(until_ms, Ordering::Release);
    }

    /// Whether whoever keeps registrations does not answer.
    pub fn set_outage(&self, is_outage: bool) {
        self.is_outage.store(is_outage, Ordering::Release);
    }

    /// What is known now.
    #[inline]
    pub fn read(&self) -> Standing {
        let until_ms = self.until_ms.load(Ordering::Acquire);
        let registration = self.registration.load(Ordering::Acquire);
        Standing { registration, until_ms, is_outage: self.is_outage.load(Ordering::Acquire) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(SharedStanding::fixed().read(), Standing::FIXED);
        let shared = SharedStanding::default();
        shared.prove(1, 500);
        assert_eq!(shared.read(), Standing { registration: 1, until_ms: 500, is_outage: false });
        shared.set_outage(true);
        shared.prove(2, 900);
        assert_eq!(shared.read(), Standing { registration: 2, until_ms: 900, is_outage: true });
    }
}

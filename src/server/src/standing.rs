//! What shards read of this node's registration before every batch, and what they show of how far they are.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use larder_engine::Standing;
use larder_engine::limits::EXCHANGE_MS;

/// Written by the sidecar, read by all shards.
#[derive(Debug, Default)]
pub struct SharedStanding {
    until_ms: CachePadded<AtomicU64>,
    registration: AtomicU64,
    stand_in_until_ms: AtomicU64,
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
    /// The version of the groups that it has.
    pub groups_version: AtomicU64,
}

impl SharedStanding {
    /// That of a node whose ring never changes.
    pub fn fixed() -> Self {
        let shared = Self::default();
        shared.until_ms.store(Standing::FIXED.until_ms, Ordering::Relaxed);
        shared
    }

    /// A registration is good until then. 0: it is gone, and somebody has said so, who need not be stood in for.
    pub fn prove(&self, registration: u64, until_ms: u64) {
        // What a shard reads of the time is never newer than what it reads of the number afterwards, so no time is taken
        // for that of a registration before.
        if self.registration.load(Ordering::Relaxed) != registration {
            self.until_ms.store(0, Ordering::Release);
            self.registration.store(registration, Ordering::Release);
        }
        if until_ms == 0 {
            self.stand_in_until_ms.store(0, Ordering::Release);
        }
        self.until_ms.store(until_ms, Ordering::Release);
    }

    /// Whether whoever keeps registrations does not answer. See [`SharedStanding::put_off`].
    pub fn set_outage(&self, is_outage: bool) {
        self.is_outage.store(is_outage, Ordering::Release);
        if !is_outage {
            self.stand_in_until_ms.store(0, Ordering::Release);
        }
    }

    /// During an outage, others may stand in for the registration for some time more. To be called more often than that
    /// time lasts: not if neither they nor the registration were good until now, for then this node has stood still.
    pub fn put_off(&self, now_ms: u64) {
        if !self.is_outage.load(Ordering::Acquire) {
            return;
        }
        let good_until_ms = self.until_ms.load(Ordering::Acquire).max(self.stand_in_until_ms.load(Ordering::Acquire));
        if now_ms < good_until_ms {
            self.stand_in_until_ms.store(now_ms + EXCHANGE_MS, Ordering::Release);
        }
    }

    /// What is known now.
    #[inline]
    pub fn read(&self) -> Standing {
        let until_ms = self.until_ms.load(Ordering::Acquire);
        let registration = self.registration.load(Ordering::Acquire);
        Standing { registration, until_ms, stand_in_until_ms: self.stand_in_until_ms.load(Ordering::Acquire) }
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
        let first = Standing { registration: 1, until_ms: 500, stand_in_until_ms: 0 };
        assert_eq!(shared.read(), first);
        shared.put_off(100);
        assert_eq!(shared.read(), first, "there is no outage");
        shared.set_outage(true);
        shared.put_off(499);
        assert_eq!(shared.read(), Standing { stand_in_until_ms: 499 + EXCHANGE_MS, ..first });
        shared.put_off(1_400);
        assert_eq!(shared.read(), Standing { stand_in_until_ms: 1_400 + EXCHANGE_MS, ..first });
        shared.put_off(1_400 + EXCHANGE_MS);
        assert_eq!(shared.read(), Standing { stand_in_until_ms: 1_400 + EXCHANGE_MS, ..first }, "it stood still");
        shared.prove(1, 0);
        shared.put_off(1_401);
        assert_eq!(shared.read(), Standing { until_ms: 0, ..first }, "it is gone, and whoever knows has said so");
        shared.prove(2, 900);
        shared.set_outage(false);
        assert_eq!(shared.read(), Standing { registration: 2, until_ms: 900, stand_in_until_ms: 0 });
    }
}

//! A member of the ring.

use alloc::string::String;

use crate::TopologyError;
use crate::limits::{ADDRESS_BYTES_MAX, NODE_ID_BYTES_MAX, POINTS_MAX, SHARDS_MAX};

/// A member of the ring. Only `id` and `points` decide what it owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, unique in the cluster: 1 to 255 visible ASCII characters other than `/ , = *`.
    pub id: String,
    /// `host:port` of the native protocol. Two nodes may show one address for a while, when a process has come back
    /// under another id and the old entry has not run out; what reads memberships decides which one it believes.
    pub address: String,
    /// How many shards its keys are spread over, 1 to [`crate::SHARDS_MAX`].
    pub shards: u16,
    /// Points on the ring: 1,024 for a weight of 1 (see [`crate::weight_points`]).
    pub points: u32,
    /// Random per start of its process; tells a node from what it was before a restart.
    pub incarnation: u64,
}

impl Node {
    /// Whether the node may be in a topology; what it shares with others is for [`crate::Topology::new`] to check.
    pub fn check(&self) -> Result<(), TopologyError> {
        let id = || self.id.clone();
        if self.id.len() > NODE_ID_BYTES_MAX {
            let beginning = self.id.chars().take(32).collect();
            return Err(TopologyError::IdTooLong { id: beginning, bytes: self.id.len() });
        }
        if self.id.is_empty() || !self.id.bytes().all(|byte| byte.is_ascii_graphic() && !b"/,=*".contains(&byte)) {
            return Err(TopologyError::IdMalformed { id: id() });
        }
        if self.address.len() > ADDRESS_BYTES_MAX {
            return Err(TopologyError::AddressTooLong { id: id(), bytes: self.address.len() });
        }
        if self.address.is_empty() || !self.address.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TopologyError::AddressMalformed { id: id(), address: self.address.clone() });
        }
        if self.shards == 0 || self.shards > SHARDS_MAX {
            return Err(TopologyError::Shards { id: id(), shards: self.shards });
        }
        if self.points == 0 || self.points > POINTS_MAX {
            return Err(TopologyError::Points { id: id(), points: self.points });
        }
        Ok(())
    }
}

//! What dialects have to know of keys before they ask for them.

use larder_ring::{Place, key_hash};
use larder_store::RemovalHook;

use crate::Engine;

impl<H: RemovalHook> Engine<H> {
    /// Where a key of a group belongs; `None`: there is no such group.
    pub fn home(&self, group: u64, key: &[u8]) -> Option<Place> {
        let group = self.local.groups.group(group)?;
        Some(self.local.topology.place(key_hash(key, group.hash)))
    }

    /// Whether values of a group come from an origin, or are shown after their time, so that there is more to a get than to
    /// look.
    pub fn is_refilled(&self, group: u64) -> bool {
        self.local.groups.group(group).is_some_and(|group| group.is_refilled)
    }
}

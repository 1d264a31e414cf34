//! Who wants to know of entries that leave.

use crate::GroupIndex;

/// Told of every entry that leaves the store, exactly once, while its key can still be read. What is not listened to costs
/// a look at [`RemovalHook::listens`].
pub trait RemovalHook {
    /// Whether anybody ever listens. With `false`, nothing is compiled for the hook.
    const ENABLED: bool = true;

    /// Whether anybody listens at this time. If not, nothing is computed for the hook, and it is not told.
    #[inline]
    fn listens(&self) -> bool {
        true
    }

    /// An entry left.
    fn removed(&mut self, removal: Removal<'_>);

    /// Names groups of which entries that leave are told of to somebody: another group is not to get their number.
    fn each_watched(&self, _watched: &mut dyn FnMut(GroupIndex)) {}
}

/// Nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHook;

impl RemovalHook for NoHook {
    const ENABLED: bool = false;

    fn removed(&mut self, _: Removal<'_>) {}
}

/// One entry that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal<'a> {
    /// Its group.
    pub group: GroupIndex,
    /// Its key.
    pub key: &'a [u8],
    /// Why.
    pub reason: Reason,
    /// Bytes of key and value.
    pub bytes: u64,
    /// Its version.
    pub version: u64,
}

/// Why an entry left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Its group needed the room.
    Evicted,
    /// Its time was over. Noticed by the next operation on the key, by eviction, or by [`crate::Store::reclaim`].
    Expired,
    /// By a delete, or a write whose expiry was in the past.
    Deleted,
    /// By a write of a new value under the same key; increment, append and prepend are such writes.
    Replaced,
    /// With its group. Noticed like [`Reason::Expired`].
    Invalidated,
    /// Because what it was made from is not valid any more, see [`crate::Store::void`].
    Voided,
}

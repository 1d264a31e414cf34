//! Keys, writes and entries as callers see them.

use crate::block::Before;
use crate::region::Ref;
use crate::{GroupIndex, Value};

/// A key with its place. The hash is an argument because its owner has computed it already, to find the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// The group.
    pub group: GroupIndex,
    /// The key's hash: what [`crate::StoreSettings::key_hash`] gives for it with the seed of the group. Nothing else is
    /// expected of it but that it is well mixed.
    pub hash: u64,
    /// The key itself.
    pub bytes: &'a [u8],
}

/// What to store under a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Write<'a> {
    /// The value.
    pub value: &'a [u8],
    /// Kept with the entry and not looked at.
    pub flags: u32,
    /// When to store at all.
    pub condition: Condition,
    /// When the entry expires.
    pub expiry: Expiry,
}

/// When a write takes place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    #[default]
    Always,
    /// Only if the key is absent, else [`crate::StoreError::Exists`].
    Absent,
    /// Only if the key is present, else [`crate::StoreError::NotFound`].
    Present,
    /// Only if the key is present with this version, else [`crate::StoreError::NotFound`] or
    /// [`crate::StoreError::VersionMismatch`].
    Version(u64),
}

/// The expiry of which entries a touch sets. Who never expires does so later than everybody else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TouchCondition {
    /// Of all.
    #[default]
    Always,
    /// Of those that never expire.
    Lasting,
    /// Of those that expire.
    Expiring,
    /// Of those that expire earlier than they would then.
    Later,
    /// Of those that expire later than they would then.
    Earlier,
    /// Of those that expire, but later than they would then.
    ExpiringEarlier,
}

impl TouchCondition {
    /// Whether it holds for an entry that expires at one time and would at the other, in ms; 0: never.
    pub(crate) fn holds(self, now_ms: u64, then_ms: u64) -> bool {
        let order = |at_ms: u64| if at_ms == 0 { u64::MAX } else { at_ms };
        let expires = now_ms != 0;
        match self {
            TouchCondition::Always => true,
            TouchCondition::Lasting => !expires,
            TouchCondition::Expiring => expires,
            TouchCondition::Later => order(then_ms) > order(now_ms),
            TouchCondition::Earlier => order(then_ms) < order(now_ms),
            TouchCondition::ExpiringEarlier => expires && order(then_ms) < order(now_ms),
        }
    }
}

/// When an entry expires: it is there before that ms, and absent from then on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// After the default time of its group.
    #[default]
    Default,
    /// Never.
    Never,
    /// This many ms from now. 0 is a time that has come already, see [`Expiry::At`].
    After(u64),
    /// At this time, in ms since the Unix epoch. A write with a time that has come already removes the key, and is a
    /// success; a touch leaves an entry that is absent for whoever asks next.
    At(u64),
    /// Like the entry that is there; the group's default if there is none.
    Keep,
}

/// A place of an entry that was found, given by [`crate::Store::get`], [`crate::Store::peek`] and
/// [`crate::Store::touch`].
///
/// It is valid until the next call that may move or remove an entry: any method that takes `&mut self`, except a
/// `get` or `mark` with the same `now_ms` as the `get` before. So all handles of a run of gets at one time are valid
/// together, and a multi-get needs no memory but for its handles. [`crate::Store::entry`] refuses an old handle by a
/// panic in every build, because the alternative is the value of another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    pub(crate) entry: Ref,
    pub(crate) generation: u32,
    /// The time of the access that gave this handle, and what the entry said of accesses before it.
    pub(crate) now_ms: u64,
    pub(crate) before: Before,
}

/// An entry, borrowed from the store's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: Value<'a>,
    /// As the writer set them.
    pub flags: u32,
    /// Never 0.
    pub version: u64,
    /// When it expires, in ms since the Unix epoch; 0: never. In the past only after a [`crate::Store::touch`] with
    /// such a time; then it may be a later one in the past.
    pub expires_at_ms: u64,
    /// Whether the value was read since it was stored, before the access that gave the handle.
    pub hit_before: bool,
    /// The second in which the entry was last read or stored, before the access that gave the handle; in ms since the
    /// Unix epoch. Wrong by 194 days if that was so long ago.
    pub last_access_ms: u64,
    /// Marks of the entry.
    pub marks: Marks,
}

/// Two bits that leases keep with an entry. The store does not look at them; storing a value clears them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The value is served although it was invalidated, until somebody fills it.
    pub stale: bool,
    /// Somebody holds the right to fill it.
    pub won: bool,
}

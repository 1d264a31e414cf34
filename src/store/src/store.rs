//! The contract of the store. Bodies follow in the next commits.

use crate::*;

/// One shard's entries, in groups.
#[derive(Debug)]
pub struct Store<H: RemovalHook = NoHook> {
    hook: H,
}

#[allow(unused_variables, missing_docs)]
impl<H: RemovalHook> Store<H> {
    pub fn new(settings: StoreSettings, hook: H) -> Self {
        Self { hook }
    }
    pub fn create_group(&mut self, settings: GroupSettings) -> Result<GroupIndex, GroupError> {
        unimplemented!()
    }
    pub fn get(&mut self, key: Key<'_>, now_ms: u64) -> Option<Handle> {
        unimplemented!()
    }
    /// Like get, but no access: counts nothing and tells the policy nothing.
    pub fn peek(&self, key: Key<'_>, now_ms: u64) -> Option<Handle> {
        unimplemented!()
    }
    pub fn entry(&self, handle: Handle) -> Entry<'_> {
        unimplemented!()
    }
    pub fn mark(&mut self, handle: Handle, marks: Marks) {
        unimplemented!()
    }
    pub fn set(&mut self, key: Key<'_>, write: Write<'_>, now_ms: u64) -> Result<u64, StoreError> {
        unimplemented!()
    }
    /// `version` 0: any.
    pub fn delete(&mut self, key: Key<'_>, version: u64, now_ms: u64) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn touch(&mut self, key: Key<'_>, expiry: Expiry, now_ms: u64) -> Result<Handle, StoreError> {
        unimplemented!()
    }
    pub fn increment(
        &mut self,
        key: Key<'_>,
        delta: i64,
        initial: Option<i64>,
        expiry: Expiry,
        now_ms: u64,
    ) -> Result<(i64, u64), StoreError> {
        unimplemented!()
    }
    pub fn append(&mut self, key: Key<'_>, value: &[u8], now_ms: u64) -> Result<u64, StoreError> {
        unimplemented!()
    }
    pub fn prepend(&mut self, key: Key<'_>, value: &[u8], now_ms: u64) -> Result<u64, StoreError> {
        unimplemented!()
    }
    pub fn invalidate(&mut self, group: GroupIndex, now_ms: u64) -> u64 {
        unimplemented!()
    }
    pub fn reclaim(&mut self, now_ms: u64, steps: usize) -> Reclaimed {
        unimplemented!()
    }
    pub fn raise_version(&mut self, version: u64, now_ms: u64) -> Result<(), VersionAhead> {
        unimplemented!()
    }
    pub fn counters(&self, group: GroupIndex) -> GroupCounters {
        unimplemented!()
    }
    pub fn group_settings(&self, group: GroupIndex) -> &GroupSettings {
        unimplemented!()
    }
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (GroupIndex, &GroupSettings)> {
        core::iter::empty()
    }
    pub fn hook_mut(&mut self) -> &mut H {
        &mut self.hook
    }
    pub fn validate(&self) {
        unimplemented!()
    }
}

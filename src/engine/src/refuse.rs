//! Refusals that name what they are about.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::{self, Write as _};

use larder_protocol::{Failure, Reply, Status};
use larder_store::RemovalHook;

use crate::local::Local;

impl<H: RemovalHook> Local<H> {
    #[cold]
    pub(crate) fn no_such_group(&mut self, wire: u64) -> Reply<'_> {
        self.fail(
            Status::NoSuchGroup,
            format_args!(
                "there is no group with hash {wire:#018x}: Hello names the groups of this node; \
                 add the group to the configuration, or hash its name with this cluster's seed"
            ),
        )
    }

    /// Refuses a key that belongs elsewhere, naming where.
    #[cold]
    pub(crate) fn wrong_owner(&mut self, hash: u64) -> Reply<'_> {
        let topology = Arc::clone(&self.topology);
        let place = topology.place(hash);
        let owner = topology.node(place.node);
        self.fail(
            Status::WrongOwner,
            format_args!(
                "the key belongs to shard {} of node {:?} at {} in epoch {}: ask there, or ask for the topology",
                place.shard,
                owner.id,
                owner.address,
                topology.epoch()
            ),
        )
    }

    /// Refuses a request, and says why.
    pub(crate) fn fail(&mut self, status: Status, message: fmt::Arguments<'_>) -> Reply<'_> {
        let mut text = match core::mem::take(&mut self.last.failure.message) {
            Cow::Owned(text) => text,
            Cow::Borrowed(_) => String::new(),
        };
        text.clear();
        text.write_fmt(message).expect("a string takes everything");
        self.last.failure = Failure { status, message: Cow::Owned(text), retry_after_ms: 0 };
        Reply::Failed(&self.last.failure)
    }
}

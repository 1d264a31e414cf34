//! Where topologies come from. A [`Source`] starts from what an operator wrote and what this process knows about
//! itself, finds out which member of the ring it is, and gives the first [`Topology`]; a source whose members change
//! gives later ones too.
//!
//! Fixed sources are a single node and a static list: epoch 1 for ever, and two nodes agree if the digests of their
//! topologies are equal. The source that changes is etcd, which an [`Agent`] follows; what follows from what is read
//! there is worked out by a [`View`], without a network and without a clock.
//!
//! This crate may not know of the shard threads of this process: it hands over an `Arc<Topology>` and leaves it to
//! the caller who sees it when. It adds no rule of placement either; those are larder-ring's.
#![forbid(unsafe_code)]

mod error;
mod etcd;
mod record;
mod source;
mod view;

pub use error::MembershipError;
pub use etcd::{Agent, EtcdSettings, EtcdTls, GroupChange, Invalidated, Order, Refusal, Update};
pub use larder_ring::{KeptGroup, Membership, Topology};
pub use record::{GroupRecord, NodeRecord, OverrideRecord, State, merge_settings};
pub use source::{Local, Source};
pub use view::{Backwards, Found, Keys, View};

//! Eviction policies: who must go when a group is full.
//!
//! One file and one paper each. A policy orders the entries of one group, by number, in lists through the shared
//! [`Nodes`]; it never sees keys, values or time, and never removes an entry itself: it names a victim, and is told of
//! every removal. Charges are bytes or objects, which it does not know. The group's budget is an argument, so that it
//! may change from one call to the next; whatever a policy derives from it (the size of a list or ghost queue) it
//! derives anew.
//!
//! Calls come in this order: an absent key is stored by `admit`, then `victim` and `remove` until there is room, then
//! `insert`. So a policy can look at its ghosts and adapt before it names a victim, and knows in `victim` whether a new
//! entry is waiting and whence it comes. An entry that grows is followed by `victim` with the entry to `keep`. A clock
//! of accesses counts `access` and `insert`: a miss alone says nothing, the write that follows does.

mod lru;
#[cfg(test)]
mod oracle;
mod two_q;

use crate::PolicyKind;
use crate::list::Nodes;
use lru::Lru;
use two_q::TwoQ;

/// What every policy can do. Each call takes amortised constant time.
pub(crate) trait Replacement {
    /// An entry was read or overwritten.
    fn access(&mut self, nodes: &mut Nodes, entry: u32);

    /// An absent key with this hash and charge is about to be stored; whether a ghost remembers it. Always followed by
    /// `insert`.
    fn admit(&mut self, hash: u64, charge: u32, budget: u64) -> bool;

    /// The entry of the key that was admitted last; its node has its charge and is in no list.
    fn insert(&mut self, nodes: &mut Nodes, entry: u32, budget: u64);

    /// Who is to go next, but for `keep` (or [`crate::list::NONE`]); `None` only if there is nobody else. May move
    /// entries between lists.
    fn victim(&mut self, nodes: &mut Nodes, keep: u32, budget: u64) -> Option<u32>;

    /// An entry costs something else from now on.
    fn recharge(&mut self, nodes: &mut Nodes, entry: u32, charge: u32);

    /// An entry leaves, a victim or any other: takes its node out of its list.
    fn remove(&mut self, nodes: &mut Nodes, entry: u32, departure: Departure, budget: u64);

    /// How many ghosts there are.
    fn ghosts(&self) -> u64;

    /// Forgets the oldest ghost, because even an empty group has no room for it; whether there was one.
    fn forget_ghost(&mut self) -> bool;

    /// Walks everything, and returns the number and charge of the entries.
    ///
    /// # Panics
    /// If anything is wrong.
    fn validate(&self, nodes: &Nodes, budget: u64) -> (u64, u64);
}

/// How an entry leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// For want of room. The policy may remember the hash.
    Evicted {
        /// Hash of the key.
        hash: u64,
    },
    /// For another reason.
    Removed,
}

/// The policy of one group.
#[derive(Debug)]
pub(crate) enum Policy {
    /// See [`lru`].
    Lru(Lru),
    /// See [`two_q`].
    TwoQ(TwoQ),
}

impl Policy {
    /// A policy without entries.
    pub(crate) fn new(kind: PolicyKind) -> Self {
        match kind {
            PolicyKind::Lru => Policy::Lru(Lru::new()),
            PolicyKind::TwoQ => Policy::TwoQ(TwoQ::new()),
        }
    }
}

/// Evaluates a call for whichever policy it is.
macro_rules! each {
    ($policy:expr, $name:ident => $call:expr) => {
        match $policy {
            Policy::Lru($name) => $call,
            Policy::TwoQ($name) => $call,
        }
    };
}

impl Replacement for Policy {
    #[inline]
    fn access(&mut self, nodes: &mut Nodes, entry: u32) {
        each!(self, policy => policy.access(nodes, entry));
    }

    fn admit(&mut self, hash: u64, charge: u32, budget: u64) -> bool {
        each!(self, policy => policy.admit(hash, charge, budget))
    }

    fn insert(&mut self, nodes: &mut Nodes, entry: u32, budget: u64) {
        each!(self, policy => policy.insert(nodes, entry, budget));
    }

    fn victim(&mut self, nodes: &mut Nodes, keep: u32, budget: u64) -> Option<u32> {
        each!(self, policy => policy.victim(nodes, keep, budget))
    }

    fn recharge(&mut self, nodes: &mut Nodes, entry: u32, charge: u32) {
        each!(self, policy => policy.recharge(nodes, entry, charge));
    }

    fn remove(&mut self, nodes: &mut Nodes, entry: u32, departure: Departure, budget: u64) {
        each!(self, policy => policy.remove(nodes, entry, departure, budget));
    }

    fn ghosts(&self) -> u64 {
        each!(self, policy => policy.ghosts())
    }

    fn forget_ghost(&mut self) -> bool {
        each!(self, policy => policy.forget_ghost())
    }

    fn validate(&self, nodes: &Nodes, budget: u64) -> (u64, u64) {
        each!(self, policy => policy.validate(nodes, budget))
    }
}

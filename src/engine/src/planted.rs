//! Mistakes that can be planted, to see that whoever checks this crate finds them. Where debug assertions are off there are
//! none, and this is nothing.

use core::sync::atomic::{AtomicU8, Ordering};

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A request that was forwarded is forwarded again.
    ForwardTwice = 1,
    /// A node answers as an owner without proof that it is one.
    NoProof,
    /// A gained slot is open before its owner of before has acknowledged anything.
    OpenAtOnce,
    /// An entry from before a slot was lost is there when it comes back.
    OldEntriesLive,
    /// Versions begin by the own clock, whatever others have given.
    VersionsRestart,
    /// What was asked over a connection that is lost is never answered.
    LostReply,
    /// A node acknowledges the loss of what it has not been given itself yet.
    ChainIgnored,
    /// An acknowledgement of any epoch counts.
    AnyAcknowledgement,
    /// A node that registers anew goes on with what it had.
    KeepsAfterLoss,
    /// A request that may have been executed is sent again.
    SentAgain,
    /// What was loaded is kept, whatever was written meanwhile.
    StaleFill,
    /// That something could not be loaded is kept as if it was a value.
    FailureKept,
    /// The last one who joined a flight is not answered.
    LostPassenger,
    /// A key is loaded although it is being loaded already.
    DoubleLoad,
    /// A lease is given although another has one.
    TwoHolders,
    /// A stale entry is shown although the key was deleted.
    StaleAfterDelete,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 16] = [
        Bug::ForwardTwice,
        Bug::NoProof,
        Bug::OpenAtOnce,
        Bug::OldEntriesLive,
        Bug::VersionsRestart,
        Bug::LostReply,
        Bug::ChainIgnored,
        Bug::AnyAcknowledgement,
        Bug::KeepsAfterLoss,
        Bug::SentAgain,
        Bug::StaleFill,
        Bug::FailureKept,
        Bug::LostPassenger,
        Bug::DoubleLoad,
        Bug::TwoHolders,
        Bug::StaleAfterDelete,
    ];
}

/// The mistake of this process; 0: none.
static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Plants a mistake in all engines of this process.
pub fn plant(bug: Bug) {
    PLANTED.store(bug as u8, Ordering::Relaxed);
}

/// Whether this mistake is to be made.
#[inline]
pub(crate) fn has(bug: Bug) -> bool {
    cfg!(debug_assertions) && PLANTED.load(Ordering::Relaxed) == bug as u8
}

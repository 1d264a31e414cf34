//! What the protocol says, in the terms of the store.

use larder_protocol::{Condition, Expiry, TouchCondition, Write};

pub(crate) fn write_of<'a>(write: &Write<'a>) -> larder_store::Write<'a> {
    let condition = match write.condition {
        Condition::Always => larder_store::Condition::Always,
        Condition::Absent => larder_store::Condition::Absent,
        Condition::Present => larder_store::Condition::Present,
        Condition::Version(version) => larder_store::Condition::Version(version),
    };
    larder_store::Write { value: write.value, flags: write.flags, condition, expiry: expiry_of(write.expiry) }
}

pub(crate) fn touched_of(only: TouchCondition) -> larder_store::TouchCondition {
    match only {
        TouchCondition::Always => larder_store::TouchCondition::Always,
        TouchCondition::Lasting => larder_store::TouchCondition::Lasting,
        TouchCondition::Expiring => larder_store::TouchCondition::Expiring,
        TouchCondition::Later => larder_store::TouchCondition::Later,
        TouchCondition::Earlier => larder_store::TouchCondition::Earlier,
        TouchCondition::ExpiringEarlier => larder_store::TouchCondition::ExpiringEarlier,
    }
}

pub(crate) fn expiry_of(expiry: Expiry) -> larder_store::Expiry {
    match expiry {
        Expiry::Default => larder_store::Expiry::Default,
        Expiry::Never => larder_store::Expiry::Never,
        Expiry::After(ttl_ms) => larder_store::Expiry::After(ttl_ms),
        Expiry::At(at_ms) => larder_store::Expiry::At(at_ms),
        Expiry::Keep => larder_store::Expiry::Keep,
    }
}

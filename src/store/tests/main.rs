//! Tests of the store through its public face.

mod contract;
mod model;
mod plain;
mod traces;

use larder_store::{Charge, GroupSettings, PolicyKind};

/// Whether the long form of the tests was asked for.
fn full() -> bool {
    std::env::var_os("LARDER_TEST_FULL").is_some_and(|value| value == "1")
}

/// Settings of a group without a default TTL.
fn group(name: &str, policy: PolicyKind, charge: Charge, budget_bytes: u64) -> GroupSettings {
    GroupSettings { name: name.into(), budget_bytes, policy, ttl_ms: 0, charge }
}

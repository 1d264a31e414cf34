//! What the generator says about itself.

use std::time::Duration;

use loadgen::ceiling::{CeilingPlan, ceiling};
use loadgen::protocol::ProtocolName;

#[test]
fn every_protocol_has_a_ceiling() {
    for protocol in [ProtocolName::Native, ProtocolName::Resp, ProtocolName::Memcache] {
        for (mix, multi_get, value_bytes) in
            [("get=10,set=1", 1, 64), ("get=1,set=1,delete=1", 50, 64), ("get=1,set=1", 1, 300_000)]
        {
            let plan = CeilingPlan {
                protocol,
                connections: 10,
                pipeline: 16,
                value_bytes,
                mix: mix.parse().unwrap(),
                multi_get,
                core: None,
                server_core: None,
                duration: Duration::from_millis(200),
            };
            let report = ceiling(&plan).unwrap_or_else(|error| panic!("{protocol:?} {mix}: {error}"));
            assert!(report.achieved_per_s > 0.0 && report.per_cpu_s > 0.0, "{report:?}");
            assert!((0.0..=1.0).contains(&report.busy), "{report:?}");
            assert_eq!(report.limited, report.busy > 0.9);
        }
    }
}

#[test]
fn what_cannot_be_had_is_named_as_the_option_is() {
    let plan = CeilingPlan {
        protocol: ProtocolName::Native,
        connections: 1,
        pipeline: 1,
        value_bytes: 64,
        mix: "get=1".parse().unwrap(),
        multi_get: 1,
        core: None,
        server_core: None,
        duration: Duration::from_millis(1),
    };
    let message = |plan: CeilingPlan| ceiling(&plan).unwrap_err().to_string();
    let error = message(CeilingPlan { core: Some(1023), ..plan.clone() });
    assert!(error.contains("--core 1023"), "{error}");
    let error = message(CeilingPlan { server_core: Some(1022), ..plan.clone() });
    assert!(error.contains("--server-core 1022"), "{error}");
    // Half of the descriptors that there may be at most do not suffice for both ends.
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum {
        let error = message(CeilingPlan { connections: most as usize / 2, ..plan });
        assert!(error.contains("connections") && error.contains("ulimit"), "{error}");
    }
}

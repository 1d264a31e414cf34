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

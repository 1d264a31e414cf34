//! Replays of traces.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use loadgen::protocol::ProtocolName;
use loadgen::replay::{ReplayPlan, replay};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use crate::server::{Faults, TestServer, VALUE_BYTES_MAX};

struct Files {
    dir: tempfile::TempDir,
    keys: Vec<u64>,
}

const SEED: u64 = 17;

impl Files {
    fn new(requests: usize) -> Files {
        let mut rng = fastrand::Rng::with_seed(SEED);
        let keys: Vec<u64> = (0..requests)
            .map(|_| {
                let bits = rng.u32(1..14);
                rng.u64(..1 << bits)
            })
            .collect();
        let files = Files { dir: tempfile::tempdir().unwrap(), keys };
        let bytes: Vec<u8> = files.keys.iter().flat_map(|key| key.to_le_bytes()).collect();
        std::fs::write(files.path("t.keys.zst"), compress_to_vec(&bytes[..], CompressionLevel::Fastest)).unwrap();
        let sizes: Vec<u8> = files.keys.iter().flat_map(|&key| (size(key) as u32).to_le_bytes()).collect();
        std::fs::write(files.path("t.sizes.zst"), compress_to_vec(&sizes[..], CompressionLevel::Fastest)).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn plan(&self, server: &TestServer) -> ReplayPlan {
        ReplayPlan {
            address: server.address,
            protocol: ProtocolName::Native,
            group: "default".into(),
            keys: self.path("t.keys.zst"),
            sizes: None,
            value_bytes: 10,
            connections: 1,
            pipeline: 1,
            core: None,
            requests: None,
            timeout: Duration::from_secs(10),
            progress: false,
        }
    }

    fn unique(&self) -> u64 {
        self.keys.iter().collect::<HashSet<_>>().len() as u64
    }
}

/// Some sizes are above what the server takes.
fn size(key: u64) -> u64 {
    (key * 37) % (VALUE_BYTES_MAX + VALUE_BYTES_MAX / 10)
}

#[test]
fn without_eviction_the_misses_are_the_unique_keys_whatever_the_lanes() {
    let files = Files::new(20_000);
    for (connections, pipeline) in [(1, 1), (1, 16), (5, 1), (4, 7)] {
        let server = TestServer::start(Faults { shuffle: true, ..Faults::default() });
        let mut plan = files.plan(&server);
        (plan.connections, plan.pipeline) = (connections, pipeline);
        let report = replay(&plan).unwrap();
        assert_eq!(report.requests, 20_000, "seed {SEED}");
        assert_eq!(report.misses, files.unique(), "{connections} x {pipeline}: requests of one key keep their order");
        assert_eq!((report.sets, report.hits), (report.misses, 20_000 - report.misses));
        assert_eq!(report.hit_ratio, Some(report.hits as f64 / 20_000.0));
        assert_eq!(server.count(|counts| &counts.requests), report.requests + report.sets);
    }
}

#[test]
fn a_value_above_the_limit_of_the_server_is_not_sent() {
    let files = Files::new(5000);
    let server = TestServer::start(Faults::default());
    let mut plan = files.plan(&server);
    plan.sizes = Some(files.path("t.sizes.zst"));
    let report = replay(&plan).unwrap();
    let too_large = files.keys.iter().filter(|&&key| size(key) > VALUE_BYTES_MAX).count() as u64;
    assert!(too_large > 0, "seed {SEED}");
    assert_eq!((report.too_large, report.errors_total), (too_large, 0));
    assert_eq!(report.sets + report.too_large, report.misses);
    plan.sizes = None;
    plan.value_bytes = VALUE_BYTES_MAX as u32 + 1;
    assert_eq!(replay(&plan).expect_err("no value would fit").exit_code(), 2);
}

#[test]
fn an_overloaded_server_is_asked_again() {
    let files = Files::new(5000);
    let server = TestServer::start(Faults { refuse_every: 10, ..Faults::default() });
    let report = replay(&files.plan(&server)).unwrap();
    assert_eq!((report.misses, report.errors_total), (files.unique(), 0));
    assert!(report.retries > 500, "{} retries", report.retries);
}

#[test]
fn a_replay_can_be_cut_and_does_not_survive_a_lost_connection() {
    let files = Files::new(5000);
    let server = TestServer::start(Faults { close_every: 2000, closes_max: 1, ..Faults::default() });
    let mut plan = files.plan(&server);
    plan.requests = Some(100);
    assert_eq!(replay(&plan).unwrap().requests, 100);
    plan.requests = None;
    assert_eq!(replay(&plan).expect_err("the connection is lost").exit_code(), 1);
}

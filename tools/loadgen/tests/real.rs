//! Verified load on a real server.

use std::time::Duration;

use larder_testkit::Server;
use loadgen::run::{Arrivals, Length, Pace, run};
use loadgen::verify::Writers;
use loadgen::workload::{KeySpace, ValueSizes};

use crate::server::{Faults, TestServer};

/// Everything is evicted now and then, half of the keys are on the other shard, and every value is checked.
#[test]
fn a_small_server_under_heavy_load_gives_right_values() {
    let server = Server::start(&["--shards", "2", "--memory", "4MiB"]);
    let mut plan = TestServer::start(Faults::default()).plan();
    (plan.address, plan.threads, plan.connections, plan.pipeline) = (server.address(), 2, 16, 8);
    plan.keys = KeySpace::new(20_000, "key:", 16, true).unwrap();
    plan.distribution = "zipf:0.8".parse().unwrap();
    plan.values = ValueSizes::Range(60, 2000);
    plan.mix = "get=10,set=4,delete=1,touch=1,incr=1,gat=1".parse().unwrap();
    (plan.preload, plan.length) = (true, Length::Requests(200_000));
    for (writers, multi_get) in [(Writers::OnePerKey, 1), (Writers::OnePerKey, 20), (Writers::Many, 1)] {
        (plan.verify, plan.multi_get) = (Some(writers), multi_get);
        let report = run(&plan).unwrap_or_else(|error| panic!("{writers:?}, seed {}: {error}", plan.seed));
        assert_eq!(report.requests, 200_000);
        assert!(report.errors.keys().all(|status| status == "overloaded"), "{:?}", report.errors);
        assert!(report.hits > 10_000 && report.misses > 1000, "{} hits, {} misses", report.hits, report.misses);
        assert_eq!(report.verify.unwrap().checked, report.hits);
    }
}

/// Each connection asks for the keys of the shard that it named; what matters is that all answers come.
#[test]
fn shard_aware_load_is_answered_by_a_server_of_several_shards() {
    let server = Server::start(&["--shards", "3", "--memory", "64MiB"]);
    let mut plan = TestServer::start(Faults::default()).plan();
    (plan.address, plan.threads, plan.connections, plan.pipeline) = (server.address(), 2, 16, 8);
    (plan.shard_aware, plan.preload, plan.verify) = (true, true, Some(Writers::Many));
    plan.length = Length::Requests(100_000);
    for multi_get in [1, 7] {
        plan.multi_get = multi_get;
        let report = run(&plan).unwrap();
        assert_eq!((report.requests, report.misses, report.errors_total), (100_000, 0, 0), "{:?}", report.errors);
        let aware = report.shard_aware.unwrap();
        assert_eq!(aware.shards, 3);
        // 16 of the run, 4 of the preload of each thread.
        assert_eq!(aware.connections_elsewhere, 0, "{aware:?}");
    }
    plan.connections = 2;
    assert!(run(&plan).unwrap_err().to_string().contains("--connections 3"));
    plan.connections = 16;
    plan.address = TestServer::start(Faults::default()).address;
    assert!(run(&plan).unwrap_err().to_string().contains("--shard-aware"), "it has no topology");
}

#[test]
fn an_open_loop_at_a_low_rate_is_answered_in_time() {
    let server = Server::start(&["--shards", "2", "--memory", "16MiB"]);
    let mut plan = TestServer::start(Faults::default()).plan();
    // So many slots that a busy machine does not run out of them.
    (plan.address, plan.connections, plan.pipeline) = (server.address(), 8, 64);
    plan.pace = Pace::Open { per_second: 1000.0, arrivals: Arrivals::Poisson };
    plan.length = Length::Time(Duration::from_secs(1));
    let report = run(&plan).unwrap();
    assert_eq!((report.unsent, report.unanswered, report.errors_total), (0, 0, 0));
    assert!((800..1200).contains(&report.offered), "{} requests, seed {}", report.offered, plan.seed);
    assert_eq!(report.requests, report.offered);
}

//! What a run sends, and what it makes of the answers.

use std::time::Duration;

use loadgen::run::{Arrivals, Length, Pace, run};
use loadgen::verify::Writers;
use loadgen::workload::ValueSizes;

use crate::server::{Faults, TestServer};

#[test]
fn a_run_of_requests_sends_exactly_those() {
    let server = TestServer::start(Faults { shuffle: true, ..Faults::default() });
    let mut plan = server.plan();
    (plan.threads, plan.connections, plan.length) = (3, 7, Length::Requests(10_001));
    let report = run(&plan).unwrap();
    assert_eq!(server.count(|counts| &counts.requests), 10_001);
    assert_eq!((report.requests, report.offered, report.achieved), (10_001, 10_001, 10_001));
    let (gets, sets) = (server.count(|counts| &counts.gets), server.count(|counts| &counts.sets));
    assert_eq!((report.operations["get"].requests, report.operations["set"].requests), (gets, sets));
    assert!((700..1120).contains(&sets), "{sets} of 10,001 requests are sets, of 909, seed {}", plan.seed);
    assert_eq!(report.hits + report.misses, gets);
    assert_eq!(report.errors_total, 0);
    assert_eq!(report.latency.count, 10_001);
}

#[test]
fn one_seed_asks_for_the_same() {
    let ask = |seed| {
        let server = TestServer::start(Faults::default());
        let mut plan = server.plan();
        (plan.seed, plan.connections, plan.pipeline) = (seed, 1, 1);
        let report = run(&plan).unwrap();
        (report.hits, report.misses, report.operations["set"].requests, report.bytes_sent, report.bytes_received)
    };
    assert_eq!(ask(1), ask(1));
    assert_ne!(ask(1), ask(2));
}

#[test]
fn a_preload_sets_every_key_also_at_a_busy_server() {
    let server = TestServer::start(Faults { refuse_every: 7, ..Faults::default() });
    let mut plan = server.plan();
    (plan.preload, plan.threads, plan.mix) = (true, 2, "1".parse().unwrap());
    let report = run(&plan).unwrap();
    assert_eq!(server.keys(), 1000);
    assert_eq!((report.misses, report.hits + report.errors_total), (0, 5000));
    assert!((600..830).contains(&report.errors["overloaded"].count), "{:?}", report.errors);
    assert_eq!(report.errors["overloaded"].message, "the test wants it so");
}

#[test]
fn every_operation_is_sent_and_counted() {
    let server = TestServer::start(Faults::default());
    let mut plan = server.plan();
    (plan.mix, plan.ttl) =
        ("get=1,set=2,delete=1,touch=1,incr=1,gat=1".parse().unwrap(), Some(Duration::from_millis(500)));
    let report = run(&plan).unwrap();
    assert_eq!(report.operations.len(), 6);
    let sent = |name: &str| report.operations[name].requests;
    assert_eq!(server.count(|counts| &counts.gets), sent("get") + sent("gat"));
    assert_eq!(server.count(|counts| &counts.others), sent("delete") + sent("touch") + sent("incr"));
    assert_eq!(server.count(|counts| &counts.expiring), sent("set"), "every set has the expiry");
    assert!(report.operations.values().all(|operation| operation.requests > 400));
    assert_eq!(report.errors_total, 0);
}

#[test]
fn multi_gets_count_their_keys() {
    let server = TestServer::start(Faults { shuffle: true, ..Faults::default() });
    let mut plan = server.plan();
    (plan.preload, plan.multi_get, plan.mix, plan.length) = (true, 50, "1".parse().unwrap(), Length::Requests(500));
    plan.verify = Some(Writers::OnePerKey);
    let report = run(&plan).unwrap();
    assert_eq!((report.requests, report.hits, report.misses), (500, 25_000, 0));
    assert_eq!(server.count(|counts| &counts.keys), 25_000);
    assert_eq!(report.verify.unwrap().checked, 25_000);
}

#[test]
fn misses_are_filled() {
    let server = TestServer::start(Faults::default());
    let mut plan = server.plan();
    (plan.fill, plan.mix, plan.connections, plan.pipeline) = (true, "1".parse().unwrap(), 1, 1);
    let report = run(&plan).unwrap();
    assert_eq!(report.offered, 5000, "fills are sent besides");
    assert_eq!((report.misses, report.fills), (server.keys() as u64, server.keys() as u64));
    assert_eq!(server.count(|counts| &counts.sets), report.fills);
}

#[test]
fn a_warm_up_does_not_count() {
    let server = TestServer::start(Faults::default());
    let mut plan = server.plan();
    (plan.warm_up, plan.length) = (Duration::from_millis(200), Length::Requests(100));
    let report = run(&plan).unwrap();
    assert_eq!(report.requests, 100);
    assert!(server.count(|counts| &counts.requests) > 200);
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let server = TestServer::start(Faults::default());
    for (arrivals, least, most) in [(Arrivals::Fixed, 1000, 1000), (Arrivals::Poisson, 850, 1150)] {
        let mut plan = server.plan();
        plan.threads = 2;
        plan.pace = Pace::Open { per_second: 2000.0, arrivals };
        plan.length = Length::Time(Duration::from_millis(500));
        let report = run(&plan).unwrap();
        assert!(
            (least..=most).contains(&report.offered),
            "{} requests, {arrivals}, seed {}",
            report.offered,
            plan.seed
        );
        assert_eq!(report.requests + report.unsent, report.offered);
        assert_eq!(report.latency.count, report.offered);
        assert_eq!(report.lag.unwrap().count, report.requests);
    }
}

/// The server stands still for 300 ms. Who only measures from the sending sees one slow request.
#[test]
fn a_stall_is_not_omitted_in_an_open_loop() {
    let stalled = |pace| {
        let server = TestServer::start(Faults { stall: Some((200, Duration::from_millis(300))), ..Faults::default() });
        let mut plan = server.plan();
        (plan.pace, plan.connections, plan.pipeline) = (pace, 1, 1);
        plan.length = Length::Requests(1000);
        run(&plan).unwrap()
    };
    let open = stalled(Pace::Open { per_second: 1000.0, arrivals: Arrivals::Fixed });
    assert!(open.latency.p90_us > 50_000.0, "about 300 of 1,000 requests are late: {:?}", open.latency);
    assert!(open.service.p90_us < 20_000.0, "one of them was slow once it was sent: {:?}", open.service);
    assert!(open.service.max_us > 250_000.0, "{:?}", open.service);
    let closed = stalled(Pace::Closed);
    assert!(closed.latency.p90_us < 20_000.0 && closed.latency.max_us > 250_000.0, "{:?}", closed.latency);
}

#[test]
fn what_could_not_be_sent_counts_with_its_age() {
    let server = TestServer::start(Faults { delay: Duration::from_millis(20), ..Faults::default() });
    let mut plan = server.plan();
    (plan.connections, plan.pipeline) = (1, 1);
    plan.pace = Pace::Open { per_second: 1000.0, arrivals: Arrivals::Fixed };
    plan.length = Length::Time(Duration::from_millis(500));
    let report = run(&plan).unwrap();
    assert_eq!(report.offered, 500);
    assert!(report.unsent > 400, "{} unsent", report.unsent);
    assert_eq!(report.latency.count, 500);
    assert!(report.latency.p50_us > 200_000.0, "{:?}", report.latency);
    assert!(report.service.p50_us < 100_000.0, "{:?}", report.service);
    assert!(report.lag.unwrap().p50_us < 20_000.0, "the server is slow, not the generator: {:?}", report.lag);
    assert!(report.achieved_per_s < 60.0, "{}", report.achieved_per_s);
}

#[test]
fn a_heavily_mixed_run_is_verified() {
    for (writers, name) in [(Writers::OnePerKey, "one_per_key"), (Writers::Many, "many")] {
        let server = TestServer::start(Faults { shuffle: true, ..Faults::default() });
        let mut plan = server.plan();
        (plan.verify, plan.threads, plan.preload, plan.length) = (Some(writers), 2, true, Length::Requests(40_000));
        plan.distribution = "zipf:0.99".parse().unwrap();
        plan.mix = "get=10,set=5,delete=1,touch=1,incr=1,gat=1".parse().unwrap();
        plan.values = ValueSizes::Range(60, 3000);
        let report = run(&plan).unwrap();
        let verify = report.verify.unwrap();
        assert_eq!((verify.writers, verify.foreign), (name, 0));
        assert_eq!(verify.checked, report.hits, "every value is checked, seed {}", plan.seed);
        assert!(report.hits > 15_000);
        let again = run(&plan).unwrap().verify.unwrap();
        assert_eq!(again.foreign, 0, "the preload has overwritten what the run before left");
        plan.preload = false;
        assert!(run(&plan).unwrap().verify.unwrap().foreign > 0);
    }
}

//! Servers that misbehave.

use std::net::TcpListener;
use std::time::Duration;

use loadgen::LoadError;
use loadgen::run::{Length, run};
use loadgen::verify::Writers;

use crate::server::{Faults, TestServer, Wrong};

#[test]
fn every_kind_of_wrong_value_ends_a_verified_run() {
    for (wrong, expected) in
        [(Wrong::Bit, "checksum"), (Wrong::Short, "checksum"), (Wrong::Key, "key: expected"), (Wrong::Stale, "version")]
    {
        let server = TestServer::start(Faults { wrong_from: Some((4000, wrong)), ..Faults::default() });
        let mut plan = server.plan();
        (plan.preload, plan.verify, plan.mix) = (true, Some(Writers::OnePerKey), "1:1".parse().unwrap());
        let error = run(&plan).expect_err("a wrong value is found");
        assert_eq!(error.exit_code(), 4, "{wrong:?}: {error}");
        let text = error.to_string();
        for part in ["wrong value of key \"key:0", expected, "bytes, the first 48 are "] {
            assert!(text.contains(part), "{wrong:?}: {text}");
        }
    }
}

#[test]
fn a_wrong_value_in_a_multi_get_is_found_too() {
    let server = TestServer::start(Faults { wrong_from: Some((1500, Wrong::Stale)), ..Faults::default() });
    let mut plan = server.plan();
    (plan.preload, plan.verify, plan.mix, plan.multi_get) =
        (true, Some(Writers::OnePerKey), "1:5".parse().unwrap(), 20);
    assert_eq!(run(&plan).expect_err("a stale value is found").exit_code(), 4);
}

#[test]
fn lost_connections_are_opened_again_and_counted() {
    let server = TestServer::start(Faults { close_every: 1000, closes_max: 3, ..Faults::default() });
    let mut plan = server.plan();
    (plan.reconnects, plan.verify, plan.mix) = (3, Some(Writers::OnePerKey), "2:1".parse().unwrap());
    plan.length = Length::Time(Duration::from_secs(1));
    let report = run(&plan).unwrap();
    assert_eq!(report.connections_lost, 3);
    assert!((3..=12).contains(&report.lost), "{} requests were on their way", report.lost);
    assert_eq!(report.requests + report.lost, report.offered);
    assert_eq!(server.count(|counts| &counts.connections), 1 + 4 + 3, "one for Hello, four, and three again");
}

#[test]
fn a_lost_connection_ends_a_run_that_may_not_open_it_again() {
    let server = TestServer::start(Faults { close_every: 1000, closes_max: 1, ..Faults::default() });
    let error = run(&server.plan()).expect_err("the connection is lost");
    assert!(matches!(error, LoadError::Lost { attempts: 0, .. }), "{error}");
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn a_server_that_keeps_closing_ends_the_run_after_the_attempts() {
    let server = TestServer::start(Faults { close_every: 1, closes_max: u64::MAX, ..Faults::default() });
    let mut plan = server.plan();
    (plan.reconnects, plan.threads) = (2, 2);
    let error = run(&plan).expect_err("the connection is lost");
    assert!(matches!(error, LoadError::Lost { attempts: 2, .. }), "{error}");
}

#[test]
fn silence_counts_as_a_lost_connection() {
    let server = TestServer::start(Faults { silent_from: 100, ..Faults::default() });
    let mut plan = server.plan();
    plan.timeout = Duration::from_millis(300);
    let error = run(&plan).expect_err("nobody answers").to_string();
    assert!(error.contains("no answer for 300ms"), "{error}");
}

#[test]
fn an_answer_that_nobody_waits_for_ends_the_run() {
    let server = TestServer::start(Faults { twice: 1000, ..Faults::default() });
    let error = run(&server.plan()).expect_err("an answer comes twice");
    assert!(matches!(error, LoadError::Protocol { .. }), "{error}");
    assert!(error.to_string().contains("no waiting request"), "{error}");
}

#[test]
fn what_is_no_server_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut plan = TestServer::start(Faults::default()).plan();
    plan.address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut socket, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let error = run(&plan).expect_err("this is no server");
    assert!(matches!(error, LoadError::Protocol { .. }), "{error}");
}

#[test]
fn what_the_server_does_not_have_is_refused_before_the_load() {
    let server = TestServer::start(Faults::default());
    let mut plan = server.plan();
    plan.group = "score".into();
    let error = run(&plan).expect_err("no such group");
    assert!(error.to_string().contains("--group score") && error.to_string().contains("default, scores"), "{error}");
    let mut plan = server.plan();
    plan.pipeline = 257;
    assert!(run(&plan).expect_err("too deep").to_string().contains("at most 256"));
    assert_eq!(server.count(|counts| &counts.requests), 0);
}

/// The run must end although one thread waits at the gate for the one that cannot connect.
#[test]
fn a_failing_thread_ends_the_others() {
    let server = TestServer::start(Faults { close_every: 100, closes_max: 1, ..Faults::default() });
    let mut plan = server.plan();
    (plan.threads, plan.preload, plan.length) = (4, true, Length::Time(Duration::from_secs(30)));
    let begun = std::time::Instant::now();
    assert!(matches!(run(&plan), Err(LoadError::Lost { .. })));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

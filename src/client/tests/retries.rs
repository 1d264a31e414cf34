//! What is tried again, how often, and when not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use larder_client::{Client, Error, IncrementOptions, RetryPolicy, SetOptions, Status};
use larder_protocol::Failure;

use crate::builder;
use crate::fake::{Action, Seen, Server, Settings};

fn refusal(status: Status, retry_after_ms: u32) -> Action {
    Action::Refuse(Failure { status, message: "by script".into(), retry_after_ms })
}

/// The first `times` requests have this fate.
async fn failing_first(times: u64, fate: Action) -> Server {
    let script = move |seen: &Seen| if seen.number < times { fate.clone() } else { Action::Answer };
    Server::start_with(Settings::default(), script).await
}

const NOT_EXECUTED: [Status; 4] = [Status::Overloaded, Status::Unavailable, Status::OwnerUnsure, Status::WrongOwner];

#[tokio::test]
async fn what_was_not_executed_is_tried_again_whatever_it_is() {
    for status in NOT_EXECUTED {
        let server = failing_first(2, refusal(status, 1)).await;
        let client = builder(&server).connect().await.unwrap();
        let options = IncrementOptions { initial: Some(1), ..IncrementOptions::default() };
        assert_eq!(client.increment_with("n", 5, options).await.unwrap().unwrap().value, 1, "{status:?}");
        assert_eq!(server.shared().requests.load(Ordering::Relaxed), 3, "{status:?}");
        assert_eq!(server.shared().executed.load(Ordering::Relaxed), 1, "{status:?}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_retried_for_idempotent_calls_alone() {
    let server = failing_first(1, Action::ExecuteAndDisconnect).await;
    let client = builder(&server).connect().await.unwrap();
    assert_eq!(client.set("k", "v").await, Ok(2), "executed, lost, and executed again");

    let server = failing_first(1, Action::ExecuteAndDisconnect).await;
    let client = builder(&server).connect().await.unwrap();
    let error = client.set_with("k", "v", SetOptions::new().if_absent()).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { operation: "set", .. }), "{error:?}");
    assert!(!error.is_retryable());
    assert_eq!(server.shared().requests.load(Ordering::Relaxed), 1, "not repeated");
    assert_eq!(client.get("k").await.unwrap().unwrap().version, 1);
}

#[tokio::test]
async fn a_late_answer_of_an_increment_is_of_unknown_outcome() {
    let server = failing_first(1, Action::Swallow).await;
    let client = builder(&server).attempt_timeout(Duration::from_millis(30)).connect().await.unwrap();
    let error = client.append("k", "v").await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { operation: "append", .. }), "{error:?}");
    assert_eq!(server.shared().requests.load(Ordering::Relaxed), 1);
    let server = failing_first(1, Action::Swallow).await;
    let client = builder(&server).attempt_timeout(Duration::from_millis(30)).connect().await.unwrap();
    assert_eq!(client.get("k").await, Ok(None), "a get is tried again");
    assert_eq!(server.shared().requests.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_the_server_calls_unknown_is_unknown() {
    let server = failing_first(u64::MAX, refusal(Status::OutcomeUnknown, 0)).await;
    let client = builder(&server).connect().await.unwrap();
    let error = client.increment("n", 1).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { operation: "increment", .. }), "{error:?}");
    assert_eq!(server.shared().requests.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_tried_again() {
    for status in [Status::BadRequest, Status::NotSupported, Status::TooLarge, Status::Unauthenticated] {
        let server = failing_first(u64::MAX, refusal(status, 0)).await;
        let client = builder(&server).connect().await.unwrap();
        let error = client.get("k").await.unwrap_err();
        assert_eq!(error, Error::Rejected { status, message: "by script".into() });
        assert!(!error.is_retryable());
        assert_eq!(server.shared().requests.load(Ordering::Relaxed), 1, "{status:?}");
    }
}

#[tokio::test]
async fn attempts_are_counted_and_the_last_error_is_told() {
    let server = failing_first(u64::MAX, refusal(Status::Unavailable, 0)).await;
    let policy = RetryPolicy { attempts_max: 3, ..RetryPolicy::default() };
    let client = builder(&server).retry(policy).connect().await.unwrap();
    let error = client.get("k").await.unwrap_err();
    assert!(
        matches!(error, Error::Unavailable { status: Status::Unavailable, .. }) && error.is_retryable(),
        "{error:?}"
    );
    assert_eq!(server.shared().requests.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn the_hint_of_the_server_is_waited_for() {
    let server = failing_first(1, refusal(Status::Overloaded, 80)).await;
    let client = builder(&server).connect().await.unwrap();
    let begun = Instant::now();
    client.get("k").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(80), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_hint_beyond_the_deadline_is_told_at_once() {
    let server = failing_first(u64::MAX, refusal(Status::Overloaded, 60_000)).await;
    let client = builder(&server).connect().await.unwrap();
    let begun = Instant::now();
    let error = client.get("k").await.unwrap_err();
    assert!(matches!(error, Error::Overloaded { retry_after_ms: 60_000, .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_deadline_covers_all_attempts() {
    let server = failing_first(u64::MAX, Action::Swallow).await;
    let policy = RetryPolicy { attempts_max: 100, budget_percent: 100, ..RetryPolicy::default() };
    let client = builder(&server)
        .retry(policy)
        .attempt_timeout(Duration::from_millis(60))
        .deadline(Duration::from_millis(200))
        .connect()
        .await
        .unwrap();
    let begun = Instant::now();
    let error = client.get("k").await.unwrap_err();
    let took = begun.elapsed();
    assert!(
        matches!(error, Error::DeadlineExceeded { operation: "get", deadline_ms: 200, attempts: 3..=4, .. }),
        "{error:?}"
    );
    assert!(took >= Duration::from_millis(150) && took < Duration::from_millis(700), "{took:?}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn retries_stay_within_their_budget() {
    let server = failing_first(u64::MAX, refusal(Status::Overloaded, 0)).await;
    let policy =
        RetryPolicy { budget_percent: 10, budget_burst: 5, pause_min: Duration::ZERO, ..RetryPolicy::default() };
    let client = builder(&server).retry(policy).connect().await.unwrap();
    for _ in 0..500 {
        assert!(matches!(client.get("k").await, Err(Error::Overloaded { .. })));
    }
    let retries = server.shared().requests.load(Ordering::Relaxed) - 500;
    assert_eq!(retries, 5 + 49, "the burst, and 10 % of the calls after the first");
}

#[tokio::test]
async fn what_never_left_is_repeated_even_if_it_counts_up() {
    // The second call is in the outbox of a connection that ends: the server closes before it reads.
    let server = Server::start().await;
    let pause = Duration::from_millis(1);
    let client: Client = builder(&server).reconnect_pause(pause, 4 * pause).connect().await.unwrap();
    client.set("n", "0").await.unwrap();
    let done = Arc::new(AtomicU64::new(0));
    for _ in 0..30 {
        server.disconnect_all();
        // The client has not noticed yet, or is connecting again.
        match client.increment("n", 1).await {
            Ok(number) => done.store(number.unwrap().value as u64, Ordering::Relaxed),
            Err(error) => assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}"),
        }
    }
    let value: u64 =
        String::from_utf8(client.get("n").await.unwrap().unwrap().value.to_vec()).unwrap().parse().unwrap();
    assert!(value <= 30 && value >= done.load(Ordering::Relaxed), "{value}: nothing was counted twice");
}

//! What the client does with a server that misbehaves.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use larder_client::{Client, Error, RetryPolicy};

use crate::fake::{Action, Server, Settings};
use crate::{PATIENCE, builder};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_in_any_order_reach_their_callers() {
    let seed = 11;
    let mut rng = fastrand::Rng::with_seed(seed);
    let server = Server::start_with(Settings::default(), move |_| {
        Action::AnswerAfter(Duration::from_micros(rng.u64(0..20_000)))
    })
    .await;
    let client = builder(&server).attempt_timeout(PATIENCE).deadline(PATIENCE).connect().await.unwrap();
    let calls: Vec<_> = (0..2_000_u32)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let key = format!("key {number}");
                client.set(&key, number.to_be_bytes()).await.unwrap();
                let entry = client.get(&key).await.unwrap().unwrap();
                assert_eq!(entry.value, &number.to_be_bytes()[..], "seed {seed}");
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(server.shared().accepted.load(Ordering::Relaxed), 1, "one connection for all");
}

#[tokio::test]
async fn a_late_answer_is_a_time_out_and_then_discarded() {
    let server = Server::start_with(Settings::default(), |seen| match &*seen.key {
        b"slow" => Action::AnswerAfter(Duration::from_millis(1_200)),
        _ => Action::Answer,
    })
    .await;
    let client = builder(&server)
        .attempt_timeout(Duration::from_millis(400))
        .retry(RetryPolicy::none())
        .connect()
        .await
        .unwrap();
    client.set("fast", "right").await.unwrap();
    let begun = Instant::now();
    let error = client.get("slow").await.unwrap_err();
    assert_eq!(error, Error::TimedOut { operation: "get", address: server.address(), timeout_ms: 400 });
    assert!(begun.elapsed() >= Duration::from_millis(400) && error.is_retryable());
    let until = Instant::now() + Duration::from_millis(2_000);
    while Instant::now() < until {
        let entry = client.get("fast").await.unwrap().unwrap();
        assert_eq!(&entry.value[..], b"right");
    }
    assert_eq!(server.shared().accepted.load(Ordering::Relaxed), 1, "the connection has stayed");
}

#[tokio::test]
async fn the_server_is_told_how_long_the_attempt_waits() {
    let (sender, mut timeouts) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start_with(Settings::default(), move |seen| {
        let _ = sender.send(seen.timeout_ms);
        Action::Answer
    })
    .await;
    let client = builder(&server).attempt_timeout(Duration::from_millis(300)).connect().await.unwrap();
    client.get("k").await.unwrap();
    let told = timeouts.recv().await.unwrap();
    assert!((200..=300).contains(&told), "{told} ms");
    client.with_deadline(Duration::from_millis(100)).unwrap().get("k").await.unwrap();
    let told = timeouts.recv().await.unwrap();
    assert!((1..=100).contains(&told), "{told} ms: the deadline is before the end of the attempt");
}

#[tokio::test]
async fn garbage_ends_the_connection_and_not_the_client() {
    let garbage: [&[u8]; 5] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        &[0, 0, 0, 2, 0xff, 0xff],
        &[0xff; 64],
        // A frame that has no end, and an answer to nothing.
        &[0, 0, 0, 9, 8],
        &[0, 0, 0, 2, 8, 77],
    ];
    for bytes in garbage {
        let server = Server::start_with(Settings::default(), move |seen| match seen.number {
            0 => Action::Raw(bytes.to_vec()),
            _ => Action::Answer,
        })
        .await;
        let client = builder(&server).attempt_timeout(Duration::from_millis(100)).connect().await.unwrap();
        client.set("k", "v").await.unwrap_or_else(|error| panic!("after {bytes:?}: {error}"));
        assert_eq!(&client.get("k").await.unwrap().unwrap().value[..], b"v", "after {bytes:?}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_twice_ends_the_connection() {
    let server = Server::start_with(Settings::default(), |seen| match seen.number {
        0 => Action::AnswerTwice,
        _ => Action::Answer,
    })
    .await;
    let client = builder(&server).connect().await.unwrap();
    client.set("k", "v").await.unwrap();
    crate::eventually("a new connection", || server.shared().accepted.load(Ordering::Relaxed) == 2).await;
    assert!(client.get("k").await.unwrap().is_some());
}

#[tokio::test]
async fn a_result_of_another_operation_is_told_as_such() {
    let server = Server::start_with(Settings::default(), |_| Action::Answer).await;
    let client = builder(&server).connect().await.unwrap();
    // The first id of a connection is known: place 0, used once. An answer with a number to a get.
    let frame = {
        let mut out = Vec::new();
        let reply = larder_protocol::Reply::Number { value: 1, version: 1 };
        larder_protocol::native::encode_response(&mut out, 1 << 24, 1, &reply);
        out
    };
    server.set_script(move |_| Action::Raw(frame.clone()));
    let error = client.get("k").await.unwrap_err();
    assert!(
        matches!(&error, Error::UnexpectedAnswer { operation: "get", answer } if answer == "Ok and a number"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_a_new_connection_made() {
    let server = Server::start_with(Settings::default(), |_| Action::Swallow).await;
    let client =
        builder(&server).attempt_timeout(Duration::from_millis(30)).retry(RetryPolicy::none()).connect().await.unwrap();
    let shared = server.shared();
    let begun = Instant::now();
    while shared.accepted.load(Ordering::Relaxed) == 1 {
        assert!(client.get("k").await.is_err());
        assert!(begun.elapsed() < PATIENCE, "the connection was not given up");
    }
    server.set_script(|_| Action::Answer);
    crate::eventually("the client is usable again", || client.server().is_some()).await;
    client.get("k").await.unwrap();
}

#[tokio::test]
async fn a_full_connection_refuses_in_time_and_recovers() {
    let server = Server::start_with(Settings::default(), |seen| match &*seen.key {
        b"stuck" => Action::AnswerAfter(Duration::from_millis(300)),
        _ => Action::Answer,
    })
    .await;
    let client = builder(&server)
        .in_flight_max(4)
        .attempt_timeout(Duration::from_millis(100))
        .retry(RetryPolicy::none())
        .connect()
        .await
        .unwrap();
    let stuck: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get("stuck").await })
        })
        .collect();
    crate::eventually("all places taken", || server.shared().requests.load(Ordering::Relaxed) == 4).await;
    let error = client.get("free").await.unwrap_err();
    assert!(matches!(&error, Error::Overloaded { message, .. } if message.contains("no room")), "{error:?}");
    assert_eq!(server.shared().requests.load(Ordering::Relaxed), 4, "nothing more was sent");
    for call in stuck {
        assert!(matches!(call.await.unwrap(), Err(Error::TimedOut { .. })));
    }
    // The places of the late calls come back with their answers, and not before.
    tokio::time::sleep(Duration::from_millis(250)).await;
    client.get("free").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_write_queue_is_bounded_and_a_longer_frame_passes_all_the_same() {
    let server = Server::start().await;
    let client = builder(&server).write_queue_bytes(1_000).deadline(PATIENCE).attempt_timeout(PATIENCE);
    let client = client.connect().await.unwrap();
    let calls: Vec<_> = (0..200_u32)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let value = vec![number as u8; 400 * (number as usize % 100)];
                client.set(number.to_be_bytes(), &value).await.unwrap();
                assert_eq!(client.get(number.to_be_bytes()).await.unwrap().unwrap().value, value);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn an_unreadable_request_ends_the_connection_with_the_servers_words() {
    let complaint = {
        let mut out = Vec::new();
        let failure = larder_protocol::Failure::new(larder_client::Status::BadRequest, "frame above the limit");
        larder_protocol::native::encode_response(&mut out, 0, 1, &larder_protocol::Reply::Failed(&failure));
        out
    };
    let server = Server::start_with(Settings::default(), move |_| Action::Raw(complaint.clone())).await;
    let client = Client::builder().address(server.address()).retry(RetryPolicy::none()).connect().await.unwrap();
    let error = client.get("k").await.unwrap_err();
    assert!(
        matches!(&error, Error::ConnectionLost { reason, .. } if reason.contains("frame above the limit")),
        "{error}"
    );
}

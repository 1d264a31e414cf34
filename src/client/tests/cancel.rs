//! Dropped futures.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use larder_client::SetOptions;

use crate::fake::{Action, Server, Settings};
use crate::{PATIENCE, builder, eventually};

/// Thousands of calls are dropped at random points of their lives, among them calls whose answers are checked: none of
/// these ever sees another one's answer, and the connection is never made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_dropped_calls_disturbs_nobody() {
    let seed = 5;
    let mut delays = fastrand::Rng::with_seed(seed);
    let server = Server::start_with(Settings::default(), move |_| match delays.u8(0..4) {
        0 => Action::AnswerAfter(Duration::from_micros(delays.u64(0..3_000))),
        _ => Action::Answer,
    })
    .await;
    let client = builder(&server).attempt_timeout(PATIENCE).deadline(PATIENCE).connect().await.unwrap();
    let keys: Vec<String> = (0..64).map(|key| format!("key {key}")).collect();
    for key in &keys {
        client.set(key, key).await.unwrap();
    }
    let workers: Vec<_> = (0..16_u64)
        .map(|worker| {
            let (client, keys, mut rng) = (client.clone(), keys.clone(), fastrand::Rng::with_seed(seed + worker));
            tokio::spawn(async move {
                let mut dropped = 0;
                for _ in 0..1_000 {
                    let key = &keys[rng.usize(0..keys.len())];
                    let patience = Duration::from_micros(rng.u64(0..1_500));
                    match rng.u8(0..3) {
                        0 => {
                            let found = client.get(key).await.unwrap().unwrap();
                            assert_eq!(&found.value[..], key.as_bytes(), "seed {seed}, worker {worker}");
                        }
                        1 => dropped += u32::from(tokio::time::timeout(patience, client.get(key)).await.is_err()),
                        _ => {
                            let many = client.get_many(&keys);
                            dropped += u32::from(tokio::time::timeout(patience, many).await.is_err());
                        }
                    }
                }
                dropped
            })
        })
        .collect();
    let mut dropped = 0;
    for worker in workers {
        dropped += worker.await.unwrap();
    }
    assert!(dropped > 1_000, "only {dropped} calls were dropped half-way");
    assert_eq!(server.shared().accepted.load(Ordering::Relaxed), 1, "the connection has stayed");
}

#[tokio::test]
async fn a_call_dropped_before_there_is_room_sends_nothing() {
    let server = Server::start_with(Settings::default(), |seen| match seen.number {
        0 => Action::AnswerAfter(Duration::from_millis(100)),
        _ => Action::Answer,
    })
    .await;
    let client = builder(&server).in_flight_max(1).connect().await.unwrap();
    let busy = tokio::spawn({
        let client = client.clone();
        async move { client.get("busy").await }
    });
    eventually("the place is taken", || server.shared().requests.load(Ordering::Relaxed) == 1).await;
    {
        let mut waiting = pin!(client.increment("n", 1));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    busy.await.unwrap().unwrap();
    client.get("after").await.unwrap();
    assert_eq!(server.shared().requests.load(Ordering::Relaxed), 2, "the dropped call was not sent");
}

#[tokio::test]
async fn a_call_dropped_after_it_was_sent_is_executed_and_gives_its_place_back() {
    let server = Server::start().await;
    let client = builder(&server).in_flight_max(2).connect().await.unwrap();
    for round in 1..=50_u64 {
        {
            let mut call = pin!(client.set("k", round.to_string()));
            // Polled once, the frame is in the outbox.
            assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        let entry = client.get("k").await.unwrap().expect("the set before it, in the order of the connection");
        assert_eq!(&entry.value[..], round.to_string().as_bytes());
    }
}

#[tokio::test]
async fn a_dropped_batch_leaves_the_connection_in_step() {
    let server = Server::start_with(Settings::default(), |seen| match seen.operation {
        "set_many" => Action::AnswerAfter(Duration::from_millis(20)),
        _ => Action::Answer,
    })
    .await;
    let client = builder(&server).connect().await.unwrap();
    let entries: Vec<(String, String)> = (0..100).map(|i| (format!("key {i}"), format!("value {i}"))).collect();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(200) {
        let call = client.set_many(&entries, SetOptions::new());
        assert!(tokio::time::timeout(Duration::from_millis(5), call).await.is_err());
        let found = client.get("key 7").await.unwrap().expect("executed, though nobody waits");
        assert_eq!(&found.value[..], b"value 7");
    }
    assert_eq!(server.shared().accepted.load(Ordering::Relaxed), 1);
}

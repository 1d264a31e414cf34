//! The client against the real server.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use larder_client::{Client, Error, Expiry, IncrementOptions, SetOptions, SetOutcome, expires_after};
use larder_testkit::Server;

use crate::PATIENCE;

/// A client without a hurry.
async fn client(server: &Server) -> Client {
    let builder = Client::builder().address(server.address().to_string()).seed(1);
    builder.attempt_timeout(PATIENCE).deadline(PATIENCE).connect().await.unwrap()
}

/// Every operation at random, one after the other, against a plain map.
#[tokio::test]
async fn random_operations_do_what_they_do_to_a_map() {
    let server = Server::start(&["--shards", "4", "--memory", "128MiB"]);
    let client = client(&server).await;
    for seed in 0..4 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut model: HashMap<String, (Vec<u8>, u64)> = HashMap::new();
        assert!(client.invalidate().await.is_ok());
        for step in 0..2_000 {
            let at = format!("seed {seed}, step {step}");
            let key = format!("k{}", rng.u8(0..40));
            let value = vec![rng.u8(b'a'..=b'z'); rng.usize(0..300)];
            let known = model.get(&key).cloned();
            match rng.u8(0..8) {
                0 | 1 => {
                    let found = client.get(&key).await.unwrap().map(|entry| (entry.value.to_vec(), entry.version));
                    assert_eq!(found, known, "{at}");
                }
                2 => {
                    let version = client.set(&key, &value).await.unwrap();
                    assert!(known.is_none_or(|(_, before)| version > before), "{at}");
                    model.insert(key, (value, version));
                }
                3 => {
                    let version = known.as_ref().map_or(1, |(_, version)| *version);
                    let options =
                        if rng.bool() { SetOptions::new().if_absent() } else { SetOptions::new().if_version(version) };
                    let outcome = client.set_with(&key, &value, options).await.unwrap();
                    let absent_wanted = options == SetOptions::new().if_absent();
                    match (outcome, known.is_some()) {
                        (SetOutcome::Stored { version }, present) => {
                            assert_ne!(present, absent_wanted, "{at}");
                            model.insert(key, (value, version));
                        }
                        (SetOutcome::Exists, present) => assert!(present && absent_wanted, "{at}"),
                        (SetOutcome::NotFound, present) => assert!(!present && !absent_wanted, "{at}"),
                        (SetOutcome::VersionMismatch, _) => panic!("{at}: the version was the entry's own"),
                    }
                }
                4 => {
                    assert_eq!(client.delete(&key).await.unwrap(), model.remove(&key).is_some(), "{at}");
                }
                5 => {
                    let version = client.append(&key, &value).await.unwrap();
                    assert_eq!(version.is_some(), known.is_some(), "{at}");
                    if let (Some(version), Some(entry)) = (version, model.get_mut(&key)) {
                        entry.0.extend_from_slice(&value);
                        entry.1 = version;
                    }
                }
                6 => {
                    let touched = client.touch(&key, Expiry::After(60_000)).await.unwrap();
                    assert_eq!(touched, known.map(|(_, version)| version), "{at}");
                }
                _ => {
                    let keys: Vec<String> = (0..40).map(|key| format!("k{key}")).collect();
                    for (key, found) in keys.iter().zip(client.get_many(&keys).await) {
                        let found = found.unwrap().map(|entry| (entry.value.to_vec(), entry.version));
                        assert_eq!(found.as_ref(), model.get(key), "{at}, {key}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn numbers_flags_times_and_groups() {
    let server = Server::start(&["--shards", "2", "--memory", "64MiB"]);
    let client = client(&server).await;
    let options = IncrementOptions { initial: Some(i64::MAX - 1), ..IncrementOptions::default() };
    assert_eq!(client.increment_with("n", 9, options).await.unwrap().unwrap().value, i64::MAX - 1);
    assert_eq!(client.increment("n", 1).await.unwrap().unwrap().value, i64::MAX);
    assert_eq!(client.increment("n", 1).await, Err(Error::OutOfRange));
    client.set("n", "x").await.unwrap();
    assert_eq!(client.increment("n", 1).await, Err(Error::NotANumber));
    let ttl = Duration::from_millis(150);
    let stored = client.set_with("t", "v", SetOptions::new().flags(0xdead_beef).ttl(ttl)).await.unwrap();
    let entry = client.get("t").await.unwrap().unwrap();
    assert_eq!((entry.flags, Some(entry.version)), (0xdead_beef, stored.version()));
    assert!(entry.ttl.is_some_and(|left| left <= ttl), "{:?}", entry.ttl);
    client.set("kept", "v").await.unwrap();
    assert!(client.get_and_touch("kept", expires_after(ttl)).await.unwrap().is_some());
    tokio::time::sleep(ttl * 2).await;
    assert_eq!((client.get("t").await, client.get("kept").await), (Ok(None), Ok(None)));
    let error = client.group("nope").unwrap().get("k").await.unwrap_err();
    assert!(
        matches!(&error, Error::NoSuchGroup { group, known } if group == "nope" && known == "default"),
        "{error:?}"
    );
    let info = client.server().unwrap();
    assert!(info.server.contains("larder") && info.topology.nodes()[0].shards == 2, "{info:?}");
    assert_eq!(client.stats().await.unwrap()[0].shards.len(), 2);
}

/// Together longer than any frame may be: what does not fit into one answer is asked for again.
#[tokio::test]
async fn entries_of_more_than_a_frame_come_back_from_one_call() {
    let server = Server::start(&["--shards", "1", "--memory", "256MiB"]);
    let client = client(&server).await;
    let values: Vec<Vec<u8>> = (0..20).map(|index| vec![index; 4 << 20]).collect();
    let keys: Vec<[u8; 1]> = (0..20).map(|index| [index]).collect();
    let entries: Vec<_> = keys.iter().zip(&values).collect();
    for outcome in client.set_many(&entries, SetOptions::new()).await {
        assert!(outcome.unwrap().version().is_some());
    }
    for (index, found) in client.get_many(&keys).await.into_iter().enumerate() {
        let entry = found.unwrap().expect("80 MiB fit into 256 MiB");
        assert_eq!(entry.value, values[index], "value {index}");
    }
    let limit = client.server().unwrap().limits.value_bytes_max;
    let error = client.set("k", vec![0; limit + 1]).await.unwrap_err();
    assert_eq!(error, Error::TooLarge { what: "value", bytes: limit as u64 + 1, limit: limit as u64 });
}

/// Many callers count up one number while others drop their calls half-way: nothing is counted twice, and nothing of
/// the ones that were answered is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_together_among_dropped_calls_is_exact() {
    let server = Server::start(&["--shards", "2", "--memory", "64MiB"]);
    let client = client(&server).await;
    client.set("n", "0").await.unwrap();
    let (answered, begun) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let seed = 3;
    let workers: Vec<_> = (0..32_u64)
        .map(|worker| {
            let (client, answered, begun) = (client.clone(), answered.clone(), begun.clone());
            let mut rng = fastrand::Rng::with_seed(seed + worker);
            tokio::spawn(async move {
                for _ in 0..300 {
                    begun.fetch_add(1, Ordering::Relaxed);
                    let patience = Duration::from_micros(if rng.bool() { rng.u64(0..2_000) } else { 20_000_000 });
                    if let Ok(number) = tokio::time::timeout(patience, client.increment("n", 1)).await {
                        number.unwrap().expect("it was set");
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let text = client.get("n").await.unwrap().unwrap().value;
    let counted: u32 = std::str::from_utf8(&text).unwrap().parse().unwrap();
    let (answered, begun) = (answered.load(Ordering::Relaxed), begun.load(Ordering::Relaxed));
    assert!((answered..=begun).contains(&counted), "seed {seed}: {counted} of {answered} answered and {begun} begun");
    assert!(answered < begun, "seed {seed}: no call was dropped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_gets_at_once() {
    let server = Server::start(&["--shards", "2", "--memory", "64MiB"]);
    let client = client(&server).await;
    let entries: Vec<(String, String)> = (0..1_000).map(|i| (format!("key {i}"), format!("value {i}"))).collect();
    assert!(client.set_many(&entries, SetOptions::new()).await.iter().all(Result::is_ok));
    let begun = std::time::Instant::now();
    let calls: Vec<_> = (0..100_000)
        .map(|number| {
            let (client, number) = (client.clone(), number % 1_000);
            tokio::spawn(async move {
                let entry = client.get(format!("key {number}")).await.unwrap().unwrap();
                assert_eq!(entry.value, format!("value {number}"));
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    println!("100,000 gets from the real server in {:?}", begun.elapsed());
}

/// A server that is stopped answers what it has received; afterwards errors are typed, fast, and say what to do.
#[tokio::test]
async fn a_stopped_server_is_unreachable_and_says_so() {
    let server = Server::start(&["--shards", "1", "--memory", "64MiB"]);
    let client = client(&server).await.with_deadline(Duration::from_secs(2)).unwrap();
    client.set("k", "v").await.unwrap();
    assert!(server.stop().success());
    crate::eventually("the client knows", || client.server().is_none()).await;
    let error = client.increment("k", 1).await.unwrap_err();
    assert!(
        error.is_retryable() && matches!(error, Error::Unreachable { .. } | Error::DeadlineExceeded { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
}

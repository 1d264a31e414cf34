//! Several keys in one call.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use larder_client::{Error, Expiry, RetryPolicy, SetOptions, SetOutcome, Status, Write};

use crate::builder;
use crate::fake::{Action, Seen, Server, Settings};

/// A server that notes what it saw.
async fn noting(
    settings: Settings,
    mut script: impl FnMut(&Seen) -> Action + Send + 'static,
) -> (Server, Arc<Mutex<Vec<Seen>>>) {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let kept = notes.clone();
    let server = Server::start_with(settings, move |seen| {
        notes.lock().unwrap().push(seen.clone());
        script(seen)
    })
    .await;
    (server, kept)
}

fn keys(count: u32) -> Vec<String> {
    (0..count).map(|index| format!("key {index}")).collect()
}

#[tokio::test]
async fn one_frame_per_shard_and_results_in_the_order_asked() {
    let (server, seen) = noting(Settings::default(), |_| Action::Answer).await;
    let client = builder(&server).connect().await.unwrap();
    let keys = keys(1_000);
    let entries: Vec<(&String, Vec<u8>)> = keys.iter().map(|key| (key, key.as_bytes().to_vec())).collect();
    let stored = client.set_many(&entries, SetOptions::new().flags(3)).await;
    assert!(stored.iter().all(|outcome| matches!(outcome, Ok(SetOutcome::Stored { .. }))), "{stored:?}");
    assert_eq!(client.delete_many(&keys[..10]).await, vec![Ok(true); 10]);
    assert_eq!(client.delete_many(&keys[5..15]).await, [vec![Ok(false); 5], vec![Ok(true); 5]].concat());
    let found = client.get_many(&keys).await;
    for (index, (key, found)) in keys.iter().zip(found).enumerate() {
        let entry = found.unwrap();
        assert_eq!(entry.is_some(), index >= 15, "{key}");
        if let Some(entry) = entry {
            assert_eq!((&entry.value[..], entry.flags), (key.as_bytes(), 3));
        }
    }
    let count = |operation| seen.lock().unwrap().iter().filter(|seen| seen.operation == operation).count();
    assert_eq!((count("set_many"), count("get_many")), (4, 4), "four shards");
}

#[tokio::test]
async fn frames_keep_to_the_limits_of_the_server() {
    let mut settings = Settings::default();
    settings.limits.keys_max = 7;
    settings.limits.value_bytes_max = 3_000;
    settings.limits.frame_bytes_max = 5_000;
    let (server, seen) = noting(settings, |_| Action::Answer).await;
    let client = builder(&server).connect().await.unwrap();
    let keys = keys(100);
    let entries: Vec<(&String, Vec<u8>)> = keys.iter().map(|key| (key, vec![b'v'; 900])).collect();
    assert!(client.set_many(&entries, SetOptions::new()).await.iter().all(Result::is_ok));
    assert!(client.get_many(&keys).await.into_iter().all(|found| found.unwrap().unwrap().value.len() == 900));
    let seen = seen.lock().unwrap();
    let most = |operation| seen.iter().filter(|seen| seen.operation == operation).map(|seen| seen.keys).max();
    assert_eq!(most("get_many"), Some(7));
    assert_eq!(most("set_many"), Some(5), "five entries of 900 bytes fit into a frame of 5,000");
}

#[tokio::test]
async fn a_key_fails_alone() {
    let server = Server::start_with(Settings::default(), |_| Action::KeysRefused(Status::BadRequest)).await;
    let client = builder(&server).connect().await.unwrap();
    let keys = keys(40);
    let entries: Vec<(&String, &str)> = keys.iter().map(|key| (key, "v")).collect();
    let outcomes = client.set_many(&entries, SetOptions::new()).await;
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(stored, 4, "the first of each shard");
    assert!(outcomes.iter().all(|outcome| match outcome {
        Ok(outcome) => outcome.version().is_some(),
        Err(error) => matches!(error, Error::Rejected { status: Status::BadRequest, .. }),
    }));
}

#[tokio::test]
async fn keys_that_were_not_executed_are_asked_for_again_and_only_those() {
    let (server, seen) = noting(Settings::default(), |seen| {
        if seen.number < 4 { Action::KeysRefused(Status::Overloaded) } else { Action::Answer }
    })
    .await;
    let client = builder(&server).connect().await.unwrap();
    let keys = keys(40);
    let entries: Vec<(&String, &str)> = keys.iter().map(|key| (key, "v")).collect();
    let outcomes = client.set_many(&entries, SetOptions::new().if_absent()).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Ok(SetOutcome::Stored { version: 1 })), "{outcomes:?}");
    let seen = seen.lock().unwrap();
    let (first, second) = seen.split_at(4);
    assert_eq!(first.iter().map(|seen| seen.keys).sum::<usize>(), 40);
    assert_eq!(second.iter().map(|seen| seen.keys).sum::<usize>(), 36);
}

#[tokio::test]
async fn entries_that_did_not_fit_into_an_answer_are_asked_for_again() {
    let server = Server::start().await;
    let client = builder(&server).connect().await.unwrap();
    let keys = keys(12);
    for key in &keys {
        client.set(key, key).await.unwrap();
    }
    // Only the first of each answer fits, every time; that is not a retry, so that none are needed.
    server.set_script(|seen| if seen.keys > 1 { Action::KeysRefused(Status::TooLarge) } else { Action::Answer });
    let client = builder(&server).retry(RetryPolicy::none()).connect().await.unwrap();
    let found = client.get_many(&keys).await;
    for (key, found) in keys.iter().zip(found) {
        assert_eq!(&found.unwrap().unwrap().value[..], key.as_bytes());
    }
}

#[tokio::test]
async fn a_frame_that_is_lost_fails_its_keys_alone() {
    let server = Server::start_with(Settings::default(), |seen| {
        if seen.key == b"key 3" {
            Action::Refuse(larder_protocol::Failure::new(Status::NotSupported, "no"))
        } else {
            Action::Answer
        }
    })
    .await;
    let client = builder(&server).connect().await.unwrap();
    // The key that begins its frame takes it down; the others of other shards are there.
    let keys = ["key 3", "key 0", "key 1", "key 2", "key 4", "key 5", "key 6", "key 7"];
    let found = client.get_many(&keys).await;
    assert!(matches!(found[0], Err(Error::Rejected { .. })), "{found:?}");
    assert!(found.iter().any(|found| *found == Ok(None)), "{found:?}");
}

#[tokio::test]
async fn a_lost_answer_of_conditional_writes_is_of_unknown_outcome() {
    let server = Server::start_with(Settings::default(), |seen| match seen.number {
        0 => Action::ExecuteAndDisconnect,
        _ => Action::Answer,
    })
    .await;
    let client = builder(&server).connect().await.unwrap();
    let entries = [("same shard", "v")];
    let outcomes = client.set_many(&entries, SetOptions::new().if_absent()).await;
    assert!(matches!(outcomes[..], [Err(Error::OutcomeUnknown { .. })]), "{outcomes:?}");
    assert!(matches!(client.set_many(&entries, SetOptions::new()).await[..], [Ok(SetOutcome::Stored { version: 2 })]));
}

#[tokio::test]
async fn writes_have_options_of_their_own() {
    let server = Server::start().await;
    let client = builder(&server).connect().await.unwrap();
    client.set("b", "old").await.unwrap();
    let write = |key: &'static str, condition| Write {
        key: key.as_bytes(),
        value: b"new",
        flags: 1,
        condition,
        expiry: Expiry::After(5_000),
    };
    let writes = [
        write("a", larder_client::Condition::Present),
        write("b", larder_client::Condition::Absent),
        write("b", larder_client::Condition::Version(9)),
        write("c", larder_client::Condition::Absent),
    ];
    let outcomes = client.write_many(&writes).await;
    let expected = [
        Ok(SetOutcome::NotFound),
        Ok(SetOutcome::Exists),
        Ok(SetOutcome::VersionMismatch),
        Ok(SetOutcome::Stored { version: 1 }),
    ];
    assert_eq!(outcomes, expected);
}

#[tokio::test]
async fn nothing_is_asked_for_nothing() {
    let server = Server::start().await;
    let client = builder(&server).connect().await.unwrap();
    assert!(client.get_many(&Vec::<String>::new()).await.is_empty());
    assert_eq!(server.shared().requests.load(Ordering::Relaxed), 0);
}

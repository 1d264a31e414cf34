//! Watches: of a server by script, and of the real one.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use larder_client::{Client, Error, RemovalReason, Removals, SetOptions};
use larder_protocol::{Failure, Status};
use larder_testkit::Server as RealServer;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::fake::{Action, Server, Settings, Shards};

async fn client(address: String) -> Client {
    Client::builder().address(address).seed(1).attempt_timeout(PATIENCE).deadline(PATIENCE).connect().await.unwrap()
}

#[tokio::test]
async fn each_shard_is_watched_over_a_connection_of_its_own_until_one_ends() {
    let server = Server::start().await;
    let client = client(server.address()).await;
    let before = server.shared().asked.lock().unwrap().len();
    let mut watch = client.watch("default").await.unwrap();
    let asked: BTreeSet<_> = server.shared().asked.lock().unwrap().iter().skip(before).copied().collect();
    assert_eq!(asked, (0..4).map(Some).collect());
    let mut shards = BTreeSet::new();
    for _ in 0..4 {
        let Removals { node, shard, removed, missed } = watch.next().await.unwrap();
        assert_eq!((&*node, missed, removed.len()), ("n1", 3, 1));
        let evicted = &removed[0];
        assert_eq!((&evicted.key[..], evicted.reason, evicted.bytes), (&b"user:17"[..], RemovalReason::Evicted, 10));
        assert!(shards.insert(shard), "shard {shard} tells it once");
    }
    assert!(timeout(Duration::from_millis(50), watch.next()).await.is_err(), "there is no more");
    server.stop().await;
    let lost = watch.next().await.unwrap_err();
    assert!(matches!(&lost, Error::ConnectionLost { operation: "watch", .. }) && lost.is_retryable(), "{lost}");
    assert_eq!(watch.next().await.unwrap_err(), lost, "it stays over");
}

/// What becomes of a watch whose request meets this.
async fn refused(action: Action) -> Error {
    let server = Server::start_with(Settings::default(), move |seen| match seen.operation {
        "watch" => action.clone(),
        _ => Action::Answer,
    });
    let server = server.await;
    let client = client(server.address()).await.with_deadline(Duration::from_millis(300)).unwrap();
    client.watch("scores").await.unwrap_err()
}

#[tokio::test]
async fn a_watch_that_cannot_begin_says_why() {
    let failure = |status| Action::Refuse(Failure::new(status, "by script"));
    let error = refused(failure(Status::NoSuchGroup)).await;
    assert!(matches!(&error, Error::NoSuchGroup { group, known } if group == "scores" && known == "default, scores"));
    let error = refused(failure(Status::Overloaded)).await;
    assert!(matches!(&error, Error::Overloaded { message, .. } if message == "by script"), "{error}");
    let error = refused(failure(Status::NotSupported)).await;
    assert!(matches!(&error, Error::Rejected { status: Status::NotSupported, .. }), "an old server: {error}");
    let error = refused(Action::Swallow).await;
    assert!(matches!(&error, Error::TimedOut { operation: "watch", timeout_ms: 300, .. }), "{error}");
    let error = refused(Action::Disconnect).await;
    assert!(matches!(&error, Error::ConnectionLost { operation: "watch", .. }), "{error}");
    let error = refused(Action::Raw(vec![0, 0, 0, 1, 0xff])).await;
    assert!(error.to_string().contains("malformed answer"), "{error}");
    let error = refused(Action::Raw(vec![0, 0, 0, 2, 0x08, 2])).await;
    assert!(matches!(&error, Error::UnexpectedAnswer { operation: "watch", .. }), "an answer of nothing: {error}");
    let no_name = client(Server::start().await.address()).await.watch("").await.unwrap_err();
    assert!(matches!(no_name, Error::Setting { .. }), "{no_name}");
}

#[tokio::test]
async fn a_shard_that_gives_no_connection_of_its_own_is_named() {
    let settings = Settings { shards: Shards::Ignored, ..Settings::default() };
    let server = Server::start_with(settings, |_| Action::Answer).await;
    let client = client(server.address()).await.with_deadline(Duration::from_millis(200)).unwrap();
    let error = client.watch("default").await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { status: Status::Unavailable, .. }), "{error}");
    assert!(error.to_string().contains("shard 1 of node \"n1\""), "{error}");
}

/// Takes what is told until there are so many; none may be missed.
async fn take(watch: &mut larder_client::Watch, count: usize) -> HashMap<Vec<u8>, Vec<RemovalReason>> {
    let (mut told, mut taken) = (HashMap::<_, Vec<_>>::new(), 0);
    while taken < count {
        let removals = timeout(PATIENCE, watch.next()).await.expect("it is told in time").unwrap();
        assert_eq!(removals.missed, 0);
        taken += removals.removed.len();
        for removed in removals.removed {
            told.entry(removed.key.to_vec()).or_default().push(removed.reason);
        }
    }
    assert_eq!(taken, count, "and no more");
    told
}

/// What leaves is told once, by the right shard, in the order of its key.
#[tokio::test]
async fn random_removals_are_told_by_the_real_server() {
    let server = RealServer::start(&["--shards", "4", "--memory", "64MiB"]);
    let client = client(server.address().to_string()).await;
    client.set("before", "v").await.unwrap();
    client.delete("before").await.unwrap();
    let mut watch = client.watch("default").await.unwrap();
    for seed in 0..4 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut expected, mut held) = (HashMap::<Vec<u8>, Vec<RemovalReason>>::new(), BTreeSet::new());
        for _ in 0..2_000 {
            let key = format!("{seed} {}", random.u8(0..100)).into_bytes();
            if random.u8(0..3) == 0 {
                if client.delete(&key).await.unwrap() {
                    assert!(held.remove(&key));
                    expected.entry(key).or_default().push(RemovalReason::Deleted);
                }
            } else {
                client.set(&key, vec![b'v'; random.usize(0..100)]).await.unwrap();
                if !held.insert(key.clone()) {
                    expected.entry(key).or_default().push(RemovalReason::Replaced);
                }
            }
        }
        let count = expected.values().map(Vec::len).sum();
        assert_eq!(take(&mut watch, count).await, expected, "seed {seed}");
    }
    let short: Vec<String> = (0..50).map(|number| format!("short {number}")).collect();
    for key in &short {
        let stored = client.set_with(key, "v", SetOptions::new().ttl(Duration::from_millis(300))).await.unwrap();
        assert!(stored.version().is_some());
    }
    let expected = short.into_iter().map(|key| (key.into_bytes(), vec![RemovalReason::Expired])).collect();
    assert_eq!(take(&mut watch, 50).await, expected, "by all shards, without a request");
}

#[tokio::test]
async fn a_dropped_watch_leaves_room_for_the_next() {
    let server = RealServer::start(&["--shards", "2", "--memory", "32MiB"]);
    let client = client(server.address().to_string()).await;
    // More, one after the other, than a shard can have.
    for round in 0..40 {
        let mut watch = client.watch("default").await;
        while let Err(Error::Overloaded { .. }) = watch {
            tokio::time::sleep(Duration::from_millis(5)).await;
            watch = client.watch("default").await;
        }
        let mut watch = watch.unwrap();
        client.set("k", "v").await.unwrap();
        client.delete("k").await.unwrap();
        let told = take(&mut watch, 1).await;
        assert_eq!(told, HashMap::from([(b"k".to_vec(), vec![RemovalReason::Deleted])]), "round {round}");
    }
    let error = client.watch("nope").await.unwrap_err();
    assert!(matches!(&error, Error::NoSuchGroup { group, .. } if group == "nope"), "{error}");
}

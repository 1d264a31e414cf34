//! Scans and changes of groups, by script and against the real server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use larder_client::{AlteredGroup, Client, Error, GroupStats, RetryPolicy, ScanOptions, SetOptions, Status};
use larder_protocol::Failure;
use larder_testkit::Server;

use crate::{PATIENCE, builder, fake};

const MIB: u64 = 1 << 20;
/// Within which a halved budget of 256 MiB is to be met; a busy machine is given ten times that.
const SHRINK_TIME: Duration = Duration::from_secs(5);

/// A client that tries nothing twice, so that no failure is hidden.
async fn client(server: &Server) -> Client {
    let builder = Client::builder().address(server.address().to_string()).seed(1).retry(RetryPolicy::none());
    builder.attempt_timeout(PATIENCE).deadline(PATIENCE).connect().await.unwrap()
}

async fn all_keys(client: &Client, options: ScanOptions) -> BTreeSet<Vec<u8>> {
    let (mut scan, mut keys) = (client.scan(options).unwrap(), BTreeSet::new());
    while let Some(page) = scan.next_page().await.unwrap() {
        keys.extend(page.into_iter().map(Vec::from));
    }
    assert_eq!(scan.next_page().await.unwrap(), None, "the end stays the end");
    keys
}

async fn default_group(client: &Client) -> GroupStats {
    client.stats().await.unwrap().remove(0).groups.remove(0)
}

async fn alter_memory(client: &Client, bytes: u64) -> Result<Vec<AlteredGroup>, Error> {
    client.alter_group("default", &format!(r#"{{"memory": "{bytes}"}}"#)).await
}

#[tokio::test]
async fn a_scan_goes_on_where_it_was_and_a_failed_step_is_repeated() {
    let server = fake::Server::start().await;
    let client = builder(&server).connect().await.unwrap();
    for key in ["a", "b", "c", "d", "e"] {
        client.set(key, "v").await.unwrap();
    }
    client.group("scores").unwrap().set("other", "v").await.unwrap();
    let mut scan = client.scan(ScanOptions::new()).unwrap();
    assert_eq!(scan.next_page().await.unwrap().unwrap(), ["a", "b"]);
    server.set_script(|_| fake::Action::Refuse(Failure::new(Status::BadRequest, "the script says so")));
    assert!(matches!(scan.next_page().await, Err(Error::Rejected { status: Status::BadRequest, .. })));
    server.set_script(|_| fake::Action::Answer);
    assert_eq!(scan.next_page().await.unwrap().unwrap(), ["c", "d"]);
    assert_eq!(scan.next_page().await.unwrap().unwrap(), ["e"]);
    assert_eq!(scan.next_page().await.unwrap(), None);
    let long = ScanOptions::new().pattern([b'x'; 256]);
    assert!(matches!(client.scan(long), Err(Error::Setting { setting: "pattern", .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_of_a_real_server_is_scanned_while_others_come_and_go() {
    let server = Server::start(&["--shards", "4", "--memory", "128MiB"]);
    let client = client(&server).await;
    assert_eq!(all_keys(&client, ScanOptions::new()).await.len(), 0);
    let entries: Vec<(String, &str)> =
        (0..20_000).map(|number| (format!("user:{number}"), "there throughout")).collect();
    assert!(client.set_many(&entries, SetOptions::new()).await.iter().all(Result::is_ok));
    let is_over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (client, is_over) = (client.clone(), is_over.clone());
        async move {
            let mut rng = fastrand::Rng::with_seed(1);
            for round in 0_u32.. {
                if is_over.load(Ordering::Relaxed) {
                    return round;
                }
                let passing: Vec<String> =
                    (0..200).map(|number| format!("passing:{}", round % 200 * 200 + number)).collect();
                let written: Vec<_> = passing.iter().map(|key| (key, vec![7; rng.usize(0..400)])).collect();
                assert!(client.set_many(&written, SetOptions::new()).await.iter().all(Result::is_ok));
                if round % 200 > 100 {
                    assert!(client.delete_many(&passing).await.iter().all(Result::is_ok));
                }
            }
            unreachable!("there is no last round")
        }
    });
    let kept: BTreeSet<Vec<u8>> = entries.iter().map(|(key, _)| key.clone().into_bytes()).collect();
    for count in [50, 1_000] {
        let found = all_keys(&client, ScanOptions::new().count(count)).await;
        assert_eq!(found.intersection(&kept).count(), kept.len(), "{count} at a time");
    }
    assert_eq!(all_keys(&client, ScanOptions::new().pattern("user:*")).await, kept);
    assert_eq!(all_keys(&client, ScanOptions::new().pattern("user:1999[5-9]")).await.len(), 5);
    is_over.store(true, Ordering::Relaxed);
    assert!(writer.await.unwrap() > 0);
}

/// Sets and gets of entries that are too many for the memory, until it is told to stop. No request fails.
async fn load(client: Client, seed: u64, keys: u32, is_over: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    while !is_over.load(Ordering::Relaxed) {
        let names: Vec<[u8; 4]> = (0..256).map(|_| rng.u32(0..keys).to_be_bytes()).collect();
        let entries: Vec<_> = names.iter().map(|key| (key, [key[3]; 100])).collect();
        for outcome in client.set_many(&entries, SetOptions::new()).await {
            assert!(outcome.expect("no set fails").version().is_some());
        }
        for (key, found) in names.iter().zip(client.get_many(&names).await) {
            let found = found.expect("no get fails");
            assert!(found.is_none_or(|entry| entry.value == [key[3]; 100][..]));
        }
        done.fetch_add(2 * names.len() as u64, Ordering::Relaxed);
    }
}

/// Waits until the default group has this budget and is inside it; how long that took.
async fn until_met(client: &Client, budget_bytes: u64) -> Duration {
    let begun = Instant::now();
    loop {
        let group = default_group(client).await;
        assert_eq!(group.budget_bytes, budget_bytes, "all shards had it when it was answered");
        if group.bytes <= budget_bytes {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < 10 * SHRINK_TIME, "{} of {budget_bytes} bytes", group.bytes);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_is_halved_and_doubled_under_load_without_a_failed_request() {
    let full = std::env::var_os("LARDER_TEST_FULL").is_some_and(|value| value == "1");
    let memory_bytes = if full { 256 * MIB } else { 64 * MIB };
    let server = Server::start(&["--shards", "2", "--memory", &memory_bytes.to_string()]);
    let client = client(&server).await;
    let keys = (memory_bytes / 100) as u32;
    let (is_over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let workers: Vec<_> =
        (0..4).map(|seed| tokio::spawn(load(client.clone(), seed, keys, is_over.clone(), done.clone()))).collect();
    let begun = Instant::now();
    while default_group(&client).await.bytes < memory_bytes / 10 * 8 {
        assert!(begun.elapsed() < 3 * PATIENCE, "the memory is never full");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for round in 0..2 {
        let altered = alter_memory(&client, memory_bytes / 2).await.unwrap();
        assert_eq!(altered[0].changes[0].memory_bytes_before, memory_bytes);
        let before = done.load(Ordering::Relaxed);
        let took = until_met(&client, memory_bytes / 2).await;
        let meanwhile = done.load(Ordering::Relaxed) - before;
        println!(
            "round {round}: {} MiB were given back in {took:?}, among {meanwhile} requests",
            memory_bytes / 2 / MIB
        );
        assert!(alter_memory(&client, memory_bytes).await.unwrap()[0].changes[0].memory_bytes == memory_bytes);
        let begun = Instant::now();
        while default_group(&client).await.bytes < memory_bytes / 10 * 8 {
            assert!(begun.elapsed() < 3 * PATIENCE, "what was given back is never used again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
}

/// Nobody writes any more: background work alone gives back what was taken.
#[tokio::test]
async fn a_budget_that_was_lowered_is_met_without_a_write() {
    let server = Server::start(&["--shards", "1", "--memory", "64MiB"]);
    let client = client(&server).await;
    for batch in 0..100_u32 {
        let entries: Vec<_> = (0..2_000).map(|number| ((batch * 2_000 + number).to_be_bytes(), [7; 300])).collect();
        assert!(client.set_many(&entries, SetOptions::new()).await.iter().all(Result::is_ok));
    }
    assert!(default_group(&client).await.bytes > 48 * MIB);
    alter_memory(&client, 32 * MIB).await.unwrap();
    println!("32 MiB of one shard were given back in {:?}", until_met(&client, 32 * MIB).await);
}

#[tokio::test]
async fn what_a_node_cannot_have_is_refused_with_the_reason() {
    let server = Server::start(&["--shards", "2", "--memory", "64MiB"]);
    let client = client(&server).await;
    let rejected = |error: Error| match error {
        Error::Rejected { status, message } => (status, message),
        other => panic!("{other:?}"),
    };
    let (status, message) = rejected(alter_memory(&client, 65 * MIB).await.unwrap_err());
    assert_eq!(status, Status::TooLarge);
    assert!(message.contains("the groups have more than this: 65MiB (default) = 65MiB"), "{message}");
    let (status, message) = rejected(alter_memory(&client, 1).await.unwrap_err());
    assert!(status == Status::BadRequest && message.contains("give it at least"), "{message}");
    let error = client.alter_group("nope", r#"{"memory": "1MiB"}"#).await.unwrap_err();
    assert!(matches!(&error, Error::NoSuchGroup { group, .. } if group == "nope"), "{error:?}");
    assert_eq!(default_group(&client).await.budget_bytes, 64 * MIB);
}

/// On a real server: entries stay, an idle group has gone over after a moment, and counters go on.
#[tokio::test]
async fn another_policy_keeps_the_entries() {
    let server = Server::start(&["--shards", "2", "--memory", "64MiB"]);
    let client = client(&server).await;
    let keys: Vec<_> = (0..5_000_u32).map(u32::to_be_bytes).collect();
    let entries: Vec<_> = keys.iter().map(|key| (*key, *key)).collect();
    assert!(client.set_many(&entries, SetOptions::new()).await.iter().all(Result::is_ok));
    let mut before = "two_q".to_owned();
    for policy in ["lru_k", "s3_fifo:small=20%", "tiny_lfu", "lfu", "fifo"] {
        let altered = client.alter_group("default", &format!(r#"{{"policy": "{policy}"}}"#)).await.unwrap();
        let change = &altered[0].changes[0];
        assert_eq!((&*change.policy, &change.policy_before), (policy, &before));
        let begun = Instant::now();
        loop {
            let group = default_group(&client).await;
            if group.switching == 0 && group.policy == policy {
                assert_eq!(group.entries, 5_000, "{policy}");
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{policy}: {} entries are left behind", group.switching);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("{policy} has taken over 5,000 entries after {:?}", begun.elapsed());
        before = policy.into();
    }
    let found = client.get_many(&keys).await;
    assert!(found.iter().zip(&keys).all(|(entry, key)| entry.as_ref().unwrap().as_ref().unwrap().value[..] == *key));
    let group = default_group(&client).await;
    assert_eq!((group.hits, group.since_policy.unwrap().hits, group.sets), (5_000, 5_000, 5_000));
    let error = client.alter_group("default", r#"{"policy": "lru:k=2"}"#).await.unwrap_err().to_string();
    assert!(error.contains("policy lru has no parameter \"k\": write lru alone"), "{error}");
    let both = client.alter_group("default", r#"{"memory": "32MiB", "policy": "best"}"#).await.unwrap_err().to_string();
    assert!(both.contains("choose one of fifo"), "{both}");
    assert_eq!(default_group(&client).await.budget_bytes, 64 * MIB, "both or none");
}

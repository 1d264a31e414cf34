//! Leases and `get_or_load` against a real server.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use larder_client::{Client, Error, FillOutcome, LeaseOutcome, LoadError, LoadOptions, SetOptions};
use larder_testkit::Server;
use tokio::time::{sleep, timeout};

/// How long an event may take.
const PATIENCE: Duration = Duration::from_secs(30);

async fn connect(server: &Server) -> Client {
    let client = Client::connect(server.address().to_string()).await.expect("it accepts");
    client.with_deadline(PATIENCE).expect("a deadline")
}

fn start() -> Server {
    Server::start(&["--shards", "2", "--memory", "64MiB"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_given_to_one_and_on_its_end_to_the_next() {
    let server = start();
    let (first, second) = (connect(&server).await, connect(&server).await);
    let LeaseOutcome::Leased(lease) = first.lease_get("ann", Duration::ZERO).await.unwrap() else { panic!("a miss") };
    let waits = tokio::spawn({
        let second = second.clone();
        async move { second.lease_get("ann", Duration::ZERO).await }
    });
    let hasty = second.with_deadline(Duration::from_millis(50)).unwrap();
    let error = hasty.lease_get("ann", Duration::ZERO).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    first.lease_end("ann", lease).await.unwrap();
    let outcome = waits.await.unwrap().unwrap();
    let LeaseOutcome::Leased(next) = outcome else { panic!("{outcome:?}") };
    assert!(next.token > lease.token);
    assert_eq!(first.lease_set("ann", "old", &lease, SetOptions::new()).await.unwrap(), FillOutcome::Lost);
    let filled = second.lease_set("ann", "93", &next, SetOptions::new()).await.unwrap();
    let FillOutcome::Stored { version } = filled else { panic!("{filled:?}") };
    let LeaseOutcome::Hit(entry) = first.lease_get("ann", Duration::ZERO).await.unwrap() else { panic!("it is there") };
    assert_eq!((&*entry.value, entry.version), (&b"93"[..], version));

    // One who goes without a word is waited for until its lease ends.
    let LeaseOutcome::Leased(_) = first.lease_get("bob", Duration::from_millis(300)).await.unwrap() else { panic!() };
    let since = Instant::now();
    let LeaseOutcome::Leased(_) = second.lease_get("bob", Duration::ZERO).await.unwrap() else { panic!("unfilled") };
    println!("the next has it after {:?}", since.elapsed());
    assert!(since.elapsed() > Duration::from_millis(200), "{:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_callers_in_two_programs_one_loads() {
    let server = start();
    let clients = [connect(&server).await, connect(&server).await];
    let loads = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..200)
        .map(|caller| {
            let (client, loads) = (clients[caller % 2].clone(), Arc::clone(&loads));
            tokio::spawn(async move {
                let load = || async move {
                    loads.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_millis(50)).await;
                    Ok::<_, Infallible>("93")
                };
                client.get_or_load("ann", LoadOptions::default(), load).await
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), "93");
    }
    assert_eq!(loads.load(Ordering::Relaxed), 1);
    assert_eq!(clients[0].get("ann").await.unwrap().expect("kept").value, "93");
    // What was waited for is not kept in the client.
    clients[0].set("ann", "94").await.unwrap();
    let never = || async { Err::<&str, _>("it is there") };
    assert_eq!(clients[1].get_or_load("ann", LoadOptions::default(), never).await.unwrap(), "94");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_dropped_leaves_its_turn_to_the_next() {
    let server = start();
    let client = connect(&server).await;
    let options = LoadOptions { lease: Duration::from_secs(60), ..LoadOptions::default() };
    let hangs = tokio::spawn({
        let client = client.clone();
        async move { client.get_or_load("ann", options, std::future::pending::<Result<&str, Infallible>>).await }
    });
    sleep(Duration::from_millis(50)).await;
    let next = tokio::spawn({
        let client = client.clone();
        async move { client.get_or_load("ann", options, || async { Ok::<_, Infallible>("93") }).await }
    });
    sleep(Duration::from_millis(50)).await;
    assert!(!next.is_finished(), "it waits");
    hangs.abort();
    let value = timeout(PATIENCE, next).await.expect("not the lease's time").unwrap().unwrap();
    assert_eq!(value, "93");

    // An error is the caller's own, and others load at once.
    let other = connect(&server).await;
    let error = client.get_or_load("bob", options, || async { Err::<&str, _>("no database") }).await.unwrap_err();
    assert!(matches!(error, LoadError::Load("no database")), "{error:?}");
    let value = other.get_or_load("bob", options, || async { Ok::<_, Infallible>("7") }).await.unwrap();
    assert_eq!(value, "7");
    // What was written while it was loaded stays.
    let value = client.get_or_load("cat", options, || async {
        other.set("cat", "written").await?;
        Ok::<_, Error>("loaded")
    });
    assert_eq!(value.await.unwrap(), "loaded");
    assert_eq!(client.get("cat").await.unwrap().expect("it was set").value, "written");
}

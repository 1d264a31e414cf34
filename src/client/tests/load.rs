//! Very many calls at the same time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Semaphore;

use crate::fake::Server;
use crate::{PATIENCE, builder};

/// 100,000 gets wait at the same time on one connection; each gets its own answer, and far fewer reads than requests
/// show that their frames travelled together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_gets_share_one_connection() {
    const CALLS: u32 = 100_000;
    let server = Server::start().await;
    let client = builder(&server).attempt_timeout(PATIENCE).deadline(PATIENCE).connect().await.unwrap();
    for key in 0..100_u32 {
        client.set(key.to_be_bytes(), format!("value {key}")).await.unwrap();
    }
    let reads_before = server.shared().reads.load(Ordering::Relaxed);
    let gate = Arc::new(Semaphore::new(0));
    let calls: Vec<_> = (0..CALLS)
        .map(|number| {
            let (client, gate) = (client.clone(), gate.clone());
            tokio::spawn(async move {
                let _pass = gate.acquire().await.unwrap();
                let key = number % 100;
                let entry = client.get(key.to_be_bytes()).await.unwrap().unwrap();
                assert_eq!(entry.value, format!("value {key}"));
            })
        })
        .collect();
    let begun = std::time::Instant::now();
    gate.add_permits(CALLS as usize);
    for call in calls {
        call.await.unwrap();
    }
    let reads = server.shared().reads.load(Ordering::Relaxed) - reads_before;
    println!("{CALLS} gets in {:?}, {reads} reads at the server", begun.elapsed());
    assert_eq!(server.shared().accepted.load(Ordering::Relaxed), 1);
    assert!(reads < u64::from(CALLS) / 10, "{reads} reads for {CALLS} requests");
}

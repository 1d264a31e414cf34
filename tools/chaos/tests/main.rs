//! Three real processes and a real etcd, and all that can be done to them, under a checked load.

use std::time::Duration;

use larder_chaos::{REGISTRATION_TTL, Scene};

const SEED: u64 = 20_261;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_notice_nothing_but_what_cannot_be_helped() {
    println!("seed {SEED}");
    let second = Duration::from_secs(1);
    let mut scene = Scene::begin(larder_testkit::binary("larder"), 3, 6, SEED).await;
    scene.go_on(second).await;
    scene.join().await;
    scene.go_on(second).await;
    scene.stop(3).await;
    scene.go_on(second).await;
    scene.kill(1).await;
    scene.go_on(second).await;
    scene.start(1).await;
    scene.halt(2, 3 * REGISTRATION_TTL).await;
    scene.go_on(second).await;
    scene.without_etcd(3 * REGISTRATION_TTL, true).await;
    scene.without_etcd(3 * REGISTRATION_TTL, false).await;
    for node in 0..3 {
        scene.stop(node).await;
        scene.start(node).await;
    }
    scene.go_on(second).await;
    let report = scene.end().await.unwrap_or_else(|problem| panic!("{problem}"));
    let [entries, _, writes, _, unknown] = report.history.outcomes();
    println!("{entries} entries read, {writes} written, {unknown} of unknown outcome, {} errors", report.errors.len());
    assert!(entries > 1_000 && writes > 1_000, "the clients were at work");
}

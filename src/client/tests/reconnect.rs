//! Lost connections, restarted servers, and rings that change.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use larder_client::{Error, RetryPolicy};

use crate::fake::{Action, Server, Settings, topology};
use crate::{builder, eventually};

#[tokio::test]
async fn a_restart_is_waited_out() {
    let server = Server::start().await;
    let client = builder(&server).connect().await.unwrap();
    client.set("k", "v").await.unwrap();
    for _ in 0..5 {
        server.disconnect_all();
        client.set("k", "v").await.unwrap();
    }
    let address = server.socket_address();
    server.stop().await;
    let restart = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Server::start_at(address, Settings::default(), |_| Action::Answer).await
    });
    assert_eq!(client.get("k").await, Ok(None), "the new server is empty, and the call has waited for it");
    drop(restart.await.unwrap());
}

#[tokio::test]
async fn a_dead_server_fails_fast_and_its_return_is_noticed() {
    let server = Server::start().await;
    let client = builder(&server)
        .retry(RetryPolicy::none())
        .reconnect_pause(Duration::from_millis(1), Duration::from_millis(50))
        .connect()
        .await
        .unwrap();
    let address = server.socket_address();
    server.stop().await;
    eventually("the client knows", || client.server().is_none()).await;
    let error = client.get("k").await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { reason, .. } if reason.contains("refused")), "{error:?}");
    let begun = Instant::now();
    for _ in 0..1_000 {
        assert!(matches!(client.get("k").await, Err(Error::Unreachable { .. })));
    }
    assert!(begun.elapsed() < Duration::from_millis(500), "1,000 failures took {:?}", begun.elapsed());
    let server = Server::start_at(address, Settings::default(), |_| Action::Answer).await;
    eventually("connected again", || client.server().is_some()).await;
    client.set("k", "v").await.unwrap();
    drop(server);
}

#[tokio::test]
async fn a_server_that_drops_every_connection_is_not_hammered() {
    let server = Server::start_with(Settings::default(), |_| Action::Disconnect).await;
    let client = builder(&server)
        .retry(RetryPolicy::none())
        .reconnect_pause(Duration::from_millis(40), Duration::from_millis(80))
        .connect()
        .await
        .unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(500) {
        assert!(client.get("k").await.is_err());
    }
    let accepted = server.shared().accepted.load(Ordering::Relaxed);
    assert!((3..=30).contains(&accepted), "{accepted} connections in 500 ms");
}

#[tokio::test]
async fn a_newer_ring_is_fetched_when_an_answer_shows_its_epoch() {
    let server = Server::start().await;
    let client = builder(&server).connect().await.unwrap();
    assert_eq!(client.topology().epoch(), 1);
    server.change(|settings| settings.topology = topology("n1", 9, 4));
    client.get("k").await.unwrap();
    eventually("the new ring", || client.topology().epoch() == 9).await;
    for _ in 0..100 {
        client.get("k").await.unwrap();
    }
    assert_eq!(server.shared().topology_queries.load(Ordering::Relaxed), 1, "asked once");
    assert_eq!(server.shared().accepted.load(Ordering::Relaxed), 1, "a known node keeps its connection");
}

#[tokio::test]
async fn a_server_that_lies_about_its_epoch_is_asked_rarely() {
    let server = Server::start().await;
    let client = builder(&server).connect().await.unwrap();
    // Every answer shows epoch 9; the topology that it sends is refused by its digest or older.
    server.set_script(|seen| match seen.operation {
        "topology" => Action::Refuse(larder_protocol::Failure::new(larder_client::Status::NotSupported, "no")),
        _ => Action::Answer,
    });
    server.change(|settings| settings.topology = topology("n1", 9, 2));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(700) {
        client.get("k").await.unwrap();
    }
    let asked = server.shared().requests.load(Ordering::Relaxed) - server.shared().executed.load(Ordering::Relaxed);
    assert!((1..=3).contains(&asked), "asked {asked} times in 700 ms");
}

#[tokio::test]
async fn a_server_started_anew_under_another_id_is_followed() {
    let server = Server::start().await;
    let client = builder(&server).connect().await.unwrap();
    client.get("k").await.unwrap();
    let address = server.socket_address();
    server.stop().await;
    eventually("the client knows", || client.server().is_none()).await;
    let settings = Settings { node: "n2".into(), topology: topology("n2", 1, 8), ..Settings::default() };
    let server = Server::start_at(address, settings, |_| Action::Answer).await;
    eventually("the new ring", || client.topology().nodes()[0].id == "n2").await;
    client.set("k", "v").await.unwrap();
    assert!(client.get("k").await.unwrap().is_some());
    drop(server);
}

#[tokio::test]
async fn dropping_the_last_clone_closes_the_connections() {
    let server = Server::start().await;
    let client = builder(&server).connections_per_node_max(3).connect().await.unwrap();
    let scores = client.group("scores").unwrap();
    for key in 0..20_u8 {
        client.get([key]).await.unwrap();
    }
    eventually("three connections", || server.shared().accepted.load(Ordering::Relaxed) == 3).await;
    drop(client);
    scores.get("k").await.unwrap();
    assert_eq!(server.open_connections(), 3);
    drop(scores);
    eventually("all closed", || server.open_connections() == 0).await;
    assert_eq!(server.shared().accepted.load(Ordering::Relaxed), 3, "none was made anew");
}

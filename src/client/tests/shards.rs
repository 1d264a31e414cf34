//! A connection for each shard.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder_client::{Client, SetOptions};
use larder_ring::{group_hash, key_hash};
use larder_testkit::Server as RealServer;

use crate::fake::{Action, Seen, Server, Settings, Shards, topology};
use crate::{PATIENCE, eventually};

/// Of each request: the first key, and the shard that its connection asked for.
type Notes = Arc<Mutex<Vec<(Vec<u8>, Option<u32>)>>>;

async fn noting(shards: u16, on: Shards) -> (Server, Notes) {
    let notes: Notes = Arc::default();
    let seen = notes.clone();
    let settings = Settings { topology: topology("n1", 1, shards), shards: on, ..Settings::default() };
    let server = Server::start_with(settings, move |request: &Seen| {
        seen.lock().unwrap().push((request.key.clone(), request.shard));
        Action::Answer
    })
    .await;
    (server, notes)
}

async fn connect(address: String, connections_max: usize) -> Client {
    let builder = Client::builder().address(address).seed(42).connections_per_node_max(connections_max);
    builder.attempt_timeout(PATIENCE).deadline(PATIENCE).connect().await.unwrap()
}

fn keys() -> Vec<String> {
    (0..400).map(|key| format!("key {key}")).collect()
}

/// Sets all keys, so that every shard is asked for, and gets them until no further connection comes.
async fn warm_up(client: &Client, server: &Server, connections: u64) {
    for key in keys() {
        client.set(&key, &key).await.unwrap();
    }
    let shared = server.shared();
    eventually("all connections", || {
        let greeted = shared.asked.lock().unwrap().len() as u64;
        shared.accepted.load(Ordering::Relaxed) == connections && greeted >= connections
    })
    .await;
    // Their answers to Hello are on their way.
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn each_key_goes_straight_to_its_shard() {
    let (server, notes) = noting(4, Shards::Given).await;
    let client = connect(server.address(), 64).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(server.shared().accepted.load(Ordering::Relaxed), 1, "no connection before somebody needs it");
    warm_up(&client, &server, 4).await;
    let asked: HashSet<_> = server.shared().asked.lock().unwrap().iter().copied().collect();
    // The first one says which shard it got, 0 here, and takes that.
    assert_eq!(asked, HashSet::from([None, Some(1), Some(2), Some(3)]));
    notes.lock().unwrap().clear();
    for key in keys() {
        assert_eq!(client.get(&key).await.unwrap().unwrap().value, key);
    }
    for found in client.get_many(&keys()).await {
        assert!(found.unwrap().is_some());
    }
    let notes = notes.lock().unwrap();
    assert_eq!(notes.len(), keys().len() + 4, "a batch is one frame for each shard");
    for (key, shard) in notes.iter() {
        let owner = client.topology().place(key_hash(key, group_hash("default", 0))).shard;
        assert_eq!(shard.unwrap_or(0), u32::from(owner), "{}", String::from_utf8_lossy(key));
    }
}

#[tokio::test]
async fn above_the_cap_shards_share_connections() {
    for cap in [1, 3] {
        let (server, notes) = noting(8, Shards::Given).await;
        let client = connect(server.address(), cap).await;
        warm_up(&client, &server, cap as u64).await;
        assert_eq!(
            client.get_many(&keys()).await.into_iter().filter(|found| matches!(found, Ok(Some(_)))).count(),
            400
        );
        let used: HashSet<_> = notes.lock().unwrap().iter().map(|(_, shard)| *shard).collect();
        assert_eq!(used.len(), cap, "all connections are used: {used:?}");
        assert_eq!(server.shared().accepted.load(Ordering::Relaxed), cap as u64);
    }
}

#[tokio::test]
async fn a_server_that_gives_other_shards_is_served_all_the_same() {
    let (server, _) = noting(4, Shards::Ignored).await;
    let client = connect(server.address(), 64).await;
    warm_up(&client, &server, 4).await;
    for key in keys() {
        assert_eq!(client.get(&key).await.unwrap().unwrap().value, key);
    }
}

/// The connection for one shard cannot be had: its keys go by the others, without an error and without a wait.
#[tokio::test]
async fn keys_of_a_shard_whose_connection_is_down_go_by_another() {
    let (server, notes) = noting(4, Shards::Dead(2)).await;
    let client = connect(server.address(), 64).await;
    for round in 0..3 {
        let begun = std::time::Instant::now();
        for key in keys() {
            client.set(&key, "v").await.unwrap();
        }
        assert!(begun.elapsed() < PATIENCE / 2, "round {round}: {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let used: HashSet<_> = notes.lock().unwrap().iter().map(|(_, shard)| shard.unwrap_or(0)).collect();
    assert_eq!(used, HashSet::from([0, 1, 3]));
    assert!(server.shared().asked.lock().unwrap().iter().filter(|asked| **asked == Some(2)).count() > 1, "it is tried");
    server.change(|settings| settings.shards = Shards::Given);
    notes.lock().unwrap().clear();
    let seen = || notes.lock().unwrap().iter().any(|(_, shard)| *shard == Some(2));
    for _ in 0..1_000 {
        for found in client.get_many(&keys()).await {
            assert!(found.unwrap().is_some());
        }
        if seen() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the connection for shard 2 never came up");
}

#[tokio::test]
async fn a_server_started_anew_with_fewer_shards_is_followed() {
    let (server, _) = noting(8, Shards::Given).await;
    let client = connect(server.address(), 64).await;
    warm_up(&client, &server, 8).await;
    let address = server.socket_address();
    server.stop().await;
    eventually("the client knows", || client.server().is_none()).await;
    let settings = Settings { topology: topology("n1", 1, 2), ..Settings::default() };
    let server = Server::start_at(address, settings, |_| Action::Answer).await;
    eventually("the new ring", || client.topology().nodes()[0].shards == 2).await;
    for key in keys() {
        client.set(&key, "v").await.unwrap();
    }
    eventually("a connection for each shard and no more", || server.open_connections() == 2).await;
}

/// Bytes to and fro between two sockets, from another port than the client's, as behind a NAT.
async fn forward(server: std::net::SocketAddr) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(server).await.unwrap();
                server.set_nodelay(true).unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

/// Requests that were passed on between cores so far.
async fn crossed(client: &Client) -> u64 {
    let stats = client.stats().await.unwrap();
    stats.iter().flat_map(|stats| &stats.shards).map(|shard| shard.cross_core).sum()
}

/// Of the real server: in steady state no request crosses cores, also from behind a proxy, and with one connection
/// requests do.
#[tokio::test]
async fn no_request_crosses_the_cores_of_the_real_server() {
    for shards in ["2", "4"] {
        let server = RealServer::start(&["--shards", shards, "--memory", "64MiB"]);
        let direct = server.address().to_string();
        let proxied = forward(server.address()).await.to_string();
        for address in [&direct, &proxied] {
            let client = connect(address.clone(), 64).await;
            let connections = shards.parse::<u64>().unwrap();
            let entries: Vec<(String, &str)> = keys().into_iter().map(|key| (key, "v")).collect();
            assert!(client.set_many(&entries, SetOptions::new()).await.iter().all(Result::is_ok));
            let mut open = 0;
            for _ in 0..1_000 {
                let stats = client.stats().await.unwrap();
                open = stats[0].shards.iter().filter(|shard| shard.connections == 1).count() as u64;
                if open == connections {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(open, connections, "each shard serves the one connection that is for it");
            // The answers to the last Hellos are on their way.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let (first, second) = (crossed(&client).await, crossed(&client).await);
            let of_stats = second - first;
            for key in keys() {
                client.set(&key, &key).await.unwrap();
                assert_eq!(client.get(&key).await.unwrap().unwrap().value, key);
            }
            assert!(client.get_many(&keys()).await.iter().all(|found| matches!(found, Ok(Some(_)))));
            let more = crossed(&client).await - second - of_stats;
            assert_eq!(more, 0, "{shards} shards at {address}: of {} requests", 2 * keys().len());
            drop(client);
            let plain = connect(address.clone(), 1).await;
            let before = crossed(&plain).await;
            for key in keys() {
                assert_eq!(plain.get(&key).await.unwrap().unwrap().value, key);
            }
            let more = crossed(&plain).await - before;
            assert!(more > 100, "{shards} shards, one connection: only {more} requests crossed cores");
            drop(plain);
            // The next client's connections are to be the only ones.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

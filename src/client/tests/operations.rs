//! Every operation, when nothing goes wrong.

use std::time::Duration;

use larder_client::{
    Client, Condition, DeleteOutcome, Error, Expiry, IncrementOptions, SetOptions, SetOutcome, Status, expires_after,
};

use crate::builder;
use crate::fake::{Server, Settings};

#[tokio::test]
async fn sets_and_gets() {
    let server = Server::start().await;
    let client = Client::connect(server.address()).await.unwrap();
    assert_eq!(client.get("k").await, Ok(None));
    let version = client.set("k", b"\x00\xff").await.unwrap();
    let entry = client.get("k").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.flags, entry.version, entry.ttl), (&b"\x00\xff"[..], 0, version, None));
    let ttl = Duration::from_millis(1500);
    let outcome = client.set_with("k", "", SetOptions::new().flags(9).ttl(ttl)).await.unwrap();
    assert_eq!(outcome, SetOutcome::Stored { version: version + 1 });
    let entry = client.get("k").await.unwrap().unwrap();
    assert_eq!((entry.value.len(), entry.flags, entry.ttl), (0, 9, Some(ttl)));
}

#[tokio::test]
async fn conditions_are_outcomes() {
    let server = Server::start().await;
    let client = Client::connect(server.address()).await.unwrap();
    let set = |options| client.set_with("k", "v", options);
    assert_eq!(set(SetOptions::new().if_present()).await, Ok(SetOutcome::NotFound));
    assert_eq!(set(SetOptions::new().if_version(1)).await, Ok(SetOutcome::NotFound));
    assert_eq!(set(SetOptions::new().if_absent()).await, Ok(SetOutcome::Stored { version: 1 }));
    assert_eq!(set(SetOptions::new().if_absent()).await, Ok(SetOutcome::Exists));
    assert_eq!(set(SetOptions::new().if_version(7)).await, Ok(SetOutcome::VersionMismatch));
    assert_eq!(set(SetOptions::new().if_version(1)).await.unwrap().version(), Some(2));
    assert_eq!(client.delete_version("k", 1).await, Ok(DeleteOutcome::VersionMismatch));
    assert_eq!(client.delete_version("k", 2).await, Ok(DeleteOutcome::Deleted));
    assert_eq!(client.delete_version("k", 2).await, Ok(DeleteOutcome::NotFound));
    assert!(matches!(client.delete_version("k", 0).await, Err(Error::Setting { setting: "version", .. })));
}

#[tokio::test]
async fn the_other_operations_on_one_key() {
    let server = Server::start().await;
    let client = Client::connect(server.address()).await.unwrap();
    assert_eq!(client.delete("k").await, Ok(false));
    assert_eq!(client.append("k", "x").await, Ok(None));
    assert_eq!(client.prepend("k", "x").await, Ok(None));
    assert_eq!(client.touch("k", Expiry::Never).await, Ok(None));
    assert_eq!(client.get_and_touch("k", Expiry::Never).await, Ok(None));
    client.set("k", "b").await.unwrap();
    assert_eq!(client.append("k", "c").await, Ok(Some(2)));
    assert_eq!(client.prepend("k", "a").await, Ok(Some(3)));
    assert_eq!(client.touch("k", expires_after(Duration::from_secs(5))).await, Ok(Some(3)));
    let entry = client.get_and_touch("k", expires_after(Duration::from_secs(9))).await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.ttl), (&b"abc"[..], Some(Duration::from_secs(9))));
    assert_eq!(client.delete("k").await, Ok(true));
}

#[tokio::test]
async fn numbers() {
    let server = Server::start().await;
    let client = Client::connect(server.address()).await.unwrap();
    assert_eq!(client.increment("n", 1).await, Ok(None));
    let options = IncrementOptions { initial: Some(-5), ..IncrementOptions::default() };
    assert_eq!(client.increment_with("n", 100, options).await.unwrap().unwrap().value, -5);
    assert_eq!(client.increment("n", -3).await.unwrap().unwrap().value, -8);
    client.set("n", i64::MAX.to_string()).await.unwrap();
    assert_eq!(client.increment("n", 1).await, Err(Error::OutOfRange));
    client.set("n", "many").await.unwrap();
    assert_eq!(client.increment("n", 1).await, Err(Error::NotANumber));
}

#[tokio::test]
async fn groups_are_apart_and_an_unknown_one_is_named_with_those_there_are() {
    let server = Server::start().await;
    let client = Client::connect(server.address()).await.unwrap();
    let scores = client.group("scores").unwrap();
    client.set("k", "default").await.unwrap();
    scores.set("k", "scores").await.unwrap();
    assert_eq!(&client.get("k").await.unwrap().unwrap().value[..], b"default");
    assert_eq!(&scores.get("k").await.unwrap().unwrap().value[..], b"scores");
    assert_eq!(scores.invalidate().await, Ok(1));
    assert_eq!(scores.get("k").await, Ok(None));
    assert!(client.get("k").await.unwrap().is_some());
    let error = client.group("nope").unwrap().get("k").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no group \"nope\"; the server has default, scores");
    assert!(matches!(client.group(""), Err(Error::Setting { setting: "group", .. })));
    assert_eq!(client.get_many(&["k"]).await.len(), 1, "the connection is in step");
    let named = builder(&server).group("scores").connect().await.unwrap();
    assert_eq!(named.group_name(), "scores");
}

#[tokio::test]
async fn what_the_server_says_of_itself() {
    let server = Server::start().await;
    let client = Client::connect(server.address()).await.unwrap();
    client.set("k", "v").await.unwrap();
    let info = client.server().expect("connected");
    assert_eq!((&*info.server, &*info.node, info.address), ("fake/1", "n1", server.address()));
    assert_eq!(info.limits.value_bytes_max, 8 << 20);
    assert_eq!(info.groups.iter().map(|group| &*group.name).collect::<Vec<_>>(), ["default", "scores"]);
    assert_eq!(client.topology().nodes()[0].shards, 4);
    assert_eq!(client.refresh_topology().await.unwrap().epoch(), 1);
    let stats = client.stats().await.unwrap();
    assert_eq!((stats.len(), stats[0].groups[0].entries), (1, 1));
}

#[tokio::test]
async fn sizes_are_refused_here_by_name_before_anything_is_sent() {
    let mut settings = Settings::default();
    settings.limits.key_bytes_max = 10;
    settings.limits.value_bytes_max = 100;
    settings.limits.frame_bytes_max = 300;
    let server = Server::start_with(settings, |_| crate::fake::Action::Answer).await;
    let client = Client::connect(server.address()).await.unwrap();
    let error = client.get([0; 11]).await.unwrap_err();
    assert_eq!(error, Error::TooLarge { what: "key", bytes: 11, limit: 10 });
    let error = client.set("k", [0; 101]).await.unwrap_err();
    assert_eq!(error, Error::TooLarge { what: "value", bytes: 101, limit: 100 });
    assert!(matches!(client.append("k", [0; 101]).await, Err(Error::TooLarge { what: "value", .. })));
    assert!(matches!(client.touch([0; 11], Expiry::Keep).await, Err(Error::TooLarge { what: "key", .. })));
    let many = client.set_many(&[("a", &[0; 100][..]), ("b", &[0; 101]), ("c", &[0; 3])], SetOptions::new()).await;
    assert!(matches!(many[..], [Ok(_), Err(Error::TooLarge { what: "value", bytes: 101, .. }), Ok(_)]), "{many:?}");
    assert_eq!(server.shared().requests.load(std::sync::atomic::Ordering::Relaxed), many.len() as u64 - 1);
    client.set("k", [0; 100]).await.unwrap();
}

#[tokio::test]
async fn values_are_slices_of_what_was_received() {
    let settings = Settings { topology: crate::fake::topology("n1", 1, 1), ..Settings::default() };
    let server = Server::start_with(settings, |_| crate::fake::Action::Answer).await;
    let client = Client::connect(server.address()).await.unwrap();
    client.set("a", [b'a'; 5000]).await.unwrap();
    client.set("b", [b'b'; 5000]).await.unwrap();
    // One shard, so one frame: both values lie in the buffer that it was received in, a few bytes apart.
    let entries: Vec<_> = client.get_many(&["a", "b"]).await.into_iter().map(|e| e.unwrap().unwrap()).collect();
    assert_eq!((&entries[0].value[..], &entries[1].value[..]), (&[b'a'; 5000][..], &[b'b'; 5000][..]));
    let apart = entries[1].value.as_ptr() as usize - entries[0].value.as_ptr() as usize;
    assert!((5000..5064).contains(&apart), "{apart} bytes apart");
    assert!(!entries[0].value.is_unique() && entries[0].detached().value.is_unique());
}

#[tokio::test]
async fn a_server_that_refuses_or_speaks_something_else_is_told_apart() {
    let server = Server::start().await;
    server.change(|settings| settings.hello = Status::Unauthenticated);
    let error = Client::connect(server.address()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: Status::Unauthenticated, .. }), "{error:?}");
    server.change(|settings| (settings.hello, settings.protocol) = (Status::Ok, 2));
    let error = Client::connect(server.address()).await.unwrap_err();
    assert!(matches!(&error, Error::Protocol { reason, .. } if reason.contains("version 2")), "{error:?}");
    server.change(|settings| settings.protocol = 1);
    let error = builder(&server).cluster_seed(5).connect().await.unwrap_err();
    assert!(matches!(&error, Error::Protocol { reason, .. } if reason.contains("seed 0")), "{error:?}");
    builder(&server).cluster_seed(0).connect().await.unwrap();
}

#[tokio::test]
async fn the_first_address_that_answers_is_used_and_all_that_fail_are_named() {
    let server = Server::start().await;
    let gone = Server::start().await;
    let closed = gone.address();
    gone.stop().await;
    let client = Client::builder().addresses([closed.clone(), server.address()]).connect().await.unwrap();
    client.set("k", "v").await.unwrap();
    let error = Client::builder().addresses([closed.clone(), closed.clone()]).connect().await.unwrap_err();
    let message = error.to_string();
    assert!(message.matches(&closed).count() >= 2 && message.contains("refused"), "{message}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn options_say_what_they_do() {
    let options = SetOptions::new().if_version(3).flags(1).expiry(Expiry::Keep);
    assert_eq!((options.condition, options.flags, options.expiry), (Condition::Version(3), 1, Expiry::Keep));
}

//! Operations of every kind that Larder offers, by fred: `fred PORT 2|3`.
//!
//! The server may be Larder, Redis or Valkey; all get the same assertions. Its data is removed.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use fred::cmd;
use fred::prelude::*;
use fred::types::config::ServerConfig;
use fred::types::scan::Scanner;
use fred::types::{ExpireOptions, InfoKind, RespVersion, client::ClientKillFilter, scan::ScanType};
use futures_util::TryStreamExt;

type Strings = Vec<Option<String>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> FredResult<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, port, version] = arguments.as_slice() else { panic!("usage: fred PORT 2|3") };
    let config = Config {
        server: ServerConfig::new_centralized("127.0.0.1", port.parse().expect("a port")),
        version: if version == "3" { RespVersion::RESP3 } else { RespVersion::RESP2 },
        ..Config::default()
    };
    let r = Builder::from_config(config.clone()).build()?;
    let other = Builder::from_config(config.clone()).set_policy(ReconnectPolicy::new_constant(0, 20)).build()?;
    r.init().await?;
    other.init().await?;
    r.flushall::<()>(false).await?;
    strings(&r).await?;
    numbers(&r).await?;
    keys(&r).await?;
    r.flushall::<()>(false).await?;
    scans(&r).await?;
    server(&r, &other).await?;
    transactions(&r, &other).await?;
    pooled(config).await?;
    r.flushall::<()>(false).await?;
    r.quit().await?;
    other.quit().await?;
    println!("right");
    Ok(())
}

async fn strings(r: &Client) -> FredResult<()> {
    type Text = Option<String>;
    assert_eq!(r.set::<String, _, _>("a", "1", None, None, false).await?, "OK");
    assert_eq!(r.get::<Text, _>("a").await?.as_deref(), Some("1"));
    assert_eq!(r.get::<Text, _>("none").await?, None);
    assert_eq!(r.set::<Text, _, _>("a", "2", None, Some(SetOptions::NX), false).await?, None);
    assert_eq!(r.set::<Text, _, _>("none", "2", None, Some(SetOptions::XX), false).await?, None);
    r.set::<(), _, _>("a", "2", Some(Expiration::EX(100)), Some(SetOptions::XX), false).await?;
    assert!((95..=100).contains(&r.ttl::<i64, _>("a").await?));
    assert_eq!(r.set::<String, _, _>("a", "3", Some(Expiration::KEEPTTL), None, true).await?, "2");
    assert!((90_000..=100_000).contains(&r.pttl::<i64, _>("a").await?));
    r.set::<(), _, _>("a", "4", Some(Expiration::PX(50_000)), None, false).await?;
    assert!(r.ttl::<i64, _>("a").await? <= 50);
    let at = now(r).await? + 1_000;
    r.set::<(), _, _>("a", "4", Some(Expiration::EXAT(at)), None, false).await?;
    assert_eq!(r.expire_time::<i64, _>("a").await?, at);
    r.set::<(), _, _>("a", "4", Some(Expiration::PXAT(at * 1_000 + 5)), None, false).await?;
    assert_eq!(r.pexpire_time::<i64, _>("a").await?, at * 1_000 + 5);
    assert!(!r.setnx::<bool, _, _>("a", "x").await? && r.setnx::<bool, _, _>("b", "w").await?);
    assert_eq!(r.getset::<Text, _, _>("b", "y").await?.as_deref(), Some("w"));
    assert_eq!(r.custom::<String, _>(cmd!("SETEX"), vec!["c", "100", "v"]).await?, "OK");
    assert_eq!(r.custom::<String, _>(cmd!("PSETEX"), vec!["c", "100000", "v"]).await?, "OK");
    assert_eq!(r.custom::<String, _>(cmd!("GETEX"), vec!["c", "PERSIST"]).await?, "v");
    assert_eq!(r.ttl::<i64, _>("c").await?, -1);
    assert_eq!(r.getdel::<Text, _>("b").await?.as_deref(), Some("y"));
    assert_eq!(r.getdel::<Text, _>("b").await?, None);
    r.mset(vec![("m1", "1"), ("m2", "2"), ("m3", "3")]).await?;
    assert_eq!(r.mget::<Strings, _>(vec!["m1", "none", "m3"]).await?, [Some("1".into()), None, Some("3".into())]);
    assert!(!r.msetnx::<bool, _>(vec![("m1", "9")]).await? && r.msetnx::<bool, _>(vec![("m9", "9")]).await?);
    assert_eq!(r.append::<i64, _, _>("s", "ab").await? + r.append::<i64, _, _>("s", "cd").await?, 6);
    assert_eq!(r.strlen::<i64, _>("s").await?, 4);
    assert_eq!(r.getrange::<String, _>("s", 1, 2).await?, "bc");
    assert_eq!(r.custom::<String, _>(cmd!("SUBSTR"), vec!["s", "-2", "-1"]).await?, "cd");
    assert_eq!(r.setrange::<i64, _, _>("s", 6, "x").await?, 7);
    assert_eq!(r.get::<String, _>("s").await?, "abcd\0\0x");
    let value: Vec<u8> = (0..=255).cycle().take(500_000).collect();
    r.set::<(), _, _>("binary", value.as_slice(), None, None, false).await?;
    assert_eq!(r.get::<Value, _>("binary").await?.as_bytes(), Some(value.as_slice()));
    Ok(())
}

async fn numbers(r: &Client) -> FredResult<()> {
    assert_eq!(r.incr::<i64, _>("n").await?, 1);
    assert_eq!(r.incr_by::<i64, _>("n", 10).await?, 11);
    assert_eq!(r.decr::<i64, _>("n").await?, 10);
    assert_eq!(r.decr_by::<i64, _>("n", 20).await?, -10);
    assert_eq!(r.incr_by_float::<f64, _>("f", 1.5).await?, 1.5);
    assert_eq!(r.incr_by_float::<f64, _>("f", 10.0).await?, 11.5);
    r.set::<(), _, _>("s", "text", None, None, false).await?;
    r.set::<(), _, _>("big", i64::MAX, None, None, false).await?;
    fails(r.incr::<i64, _>("s").await, "value is not an integer or out of range");
    fails(r.incr::<i64, _>("big").await, "would overflow");
    fails(r.incr_by_float::<f64, _>("s", 0.5).await, "not a valid float");
    fails(r.custom::<(), _>(cmd!("GET"), Vec::<String>::new()).await, "wrong number of arguments for 'get' command");
    fails(r.custom::<(), _>(cmd!("NOSUCH"), vec!["a"]).await, "unknown command 'NOSUCH'");
    fails(r.custom::<(), _>(cmd!("SET"), vec!["a", "b", "EX", "0"]).await, "invalid expire time in 'set' command");
    fails(r.custom::<(), _>(cmd!("SET"), vec!["a", "b", "NX", "XX"]).await, "syntax error");
    Ok(())
}

async fn keys(r: &Client) -> FredResult<()> {
    r.mset((0..20).map(|number| (format!("k{number}"), "v")).collect::<HashMap<_, _>>()).await?;
    let some = vec!["k1", "k2", "none", "k1"];
    assert_eq!(r.exists::<i64, _>(some.clone()).await?, 3);
    assert_eq!(r.custom::<i64, _>(cmd!("TOUCH"), some.clone()).await?, 3);
    assert_eq!(r.del::<i64, _>(some).await? + r.unlink::<i64, _>(vec!["k3", "none"]).await?, 3);
    assert_eq!(r.r#type::<String, _>("k4").await? + &r.r#type::<String, _>("none").await?, "stringnone");
    assert!(r.expire::<bool, _>("k4", 100, None).await? && !r.expire::<bool, _>("none", 1, None).await?);
    assert!(!r.expire::<bool, _>("k4", 50, Some(ExpireOptions::GT)).await?);
    assert!(r.expire::<bool, _>("k4", 50, Some(ExpireOptions::LT)).await?);
    assert!(!r.pexpire::<bool, _>("k4", 90_000, Some(ExpireOptions::NX)).await?);
    assert!(r.pexpire::<bool, _>("k4", 90_000, Some(ExpireOptions::XX)).await?);
    assert!(r.persist::<bool, _>("k4").await? && !r.persist::<bool, _>("k4").await?);
    assert_eq!((r.ttl::<i64, _>("k4").await?, r.pttl::<i64, _>("none").await?), (-1, -2));
    let at = now(r).await? + 1_000;
    assert!(r.expire_at::<bool, _>("k4", at, None).await? && r.expire_time::<i64, _>("k4").await? == at);
    assert!(r.pexpire_at::<bool, _>("k4", at * 1_000 + 7, None).await?);
    assert_eq!(r.pexpire_time::<i64, _>("k4").await?, at * 1_000 + 7);
    assert!(r.expire::<bool, _>("k4", -1, None).await? && !r.exists::<bool, _>("k4").await?);
    r.set::<(), _, _>("short", "v", Some(Expiration::PX(30)), None, false).await?;
    let begun = Instant::now();
    while r.exists::<bool, _>("short").await? {
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
    assert!(r.memory_usage::<i64, _>("k5", None).await? > 0);
    assert_eq!(r.custom::<i64, _>(cmd!("OBJECT"), vec!["REFCOUNT", "k5"]).await?, 1);
    assert!(r.custom::<Option<String>, _>(cmd!("OBJECT"), vec!["ENCODING", "k5"]).await?.is_some());
    assert!(r.custom::<i64, _>(cmd!("OBJECT"), vec!["IDLETIME", "k5"]).await? < 60);
    Ok(())
}

async fn scans(r: &Client) -> FredResult<()> {
    r.mset((0..1_000).map(|number| (format!("k{number}"), number)).collect::<HashMap<_, i64>>()).await?;
    let every: HashSet<Key> = r.scan_buffered("*", Some(100), None).try_collect().await?;
    assert_eq!(every.len(), 1_000);
    let mut found = HashSet::new();
    let mut pages = Box::pin(r.scan("k1*", Some(50), Some(ScanType::String)));
    while let Some(mut page) = pages.try_next().await? {
        found.extend(page.take_results().unwrap_or_default());
        page.next();
    }
    assert_eq!(found.len(), 111);
    let (mut cursor, mut count) = ("0".to_owned(), 0);
    loop {
        let (next, keys): (String, Vec<String>) = r.scan_page(cursor, "*", Some(100), None).await?;
        count += keys.len();
        cursor = next;
        if cursor == "0" {
            break;
        }
    }
    assert!(count >= 1_000);
    assert_eq!(r.custom::<Vec<String>, _>(cmd!("KEYS"), vec!["k1?"]).await?.len(), 10);
    assert!(every.contains(&r.randomkey::<Key>().await?));
    assert_eq!(r.dbsize::<i64>().await?, 1_000);
    r.custom::<(), _>(cmd!("FLUSHDB"), Vec::<String>::new()).await?;
    assert_eq!((r.dbsize::<i64>().await?, r.randomkey::<Option<String>>().await?), (0, None));
    Ok(())
}

async fn server(r: &Client, other: &Client) -> FredResult<()> {
    assert_eq!(r.ping::<String>(None).await?, "PONG");
    assert_eq!(r.ping::<String>(Some("hi".into())).await?, "hi");
    assert_eq!(r.echo::<String, _>("hi").await?, "hi");
    r.client_setname("worker").await?;
    assert_eq!(r.client_getname::<String>().await?, "worker");
    let list: String = r.client_list::<_, String>(None, None).await?;
    assert!(list.contains("name=worker") && list.contains("addr=127.0.0.1:"));
    assert!(r.client_info::<String>().await?.contains("name=worker"));
    // It connects again.
    let id: i64 = other.client_id().await?;
    assert_eq!(r.client_kill::<i64>(vec![ClientKillFilter::ID(id.to_string())]).await?, 1);
    let begun = Instant::now();
    while other.ping::<String>(None).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_ne!(other.client_id::<i64>().await?, id);
    let info: String = r.info(None).await?;
    for field in ["redis_version:", "uptime_in_seconds:", "used_memory:", "keyspace_hits:", "evicted_keys:"] {
        assert!(info.contains(field), "{field}");
    }
    assert!(r.info::<String>(Some(InfoKind::Replication)).await?.contains("role:"));
    let settings: HashMap<String, String> = r.config_get("maxm*").await?;
    assert!(settings.contains_key("maxmemory"));
    r.config_set("slowlog-max-len", 100).await?;
    r.config_resetstat().await?;
    assert_eq!(r.slowlog_length::<i64>().await?, 0);
    assert!(r.slowlog_get::<Vec<Value>>(Some(5)).await?.is_empty());
    assert!(r.custom::<i64, _>(cmd!("COMMAND"), vec!["COUNT"]).await? > 50);
    assert!(r.custom::<Vec<Value>, _>(cmd!("LATENCY"), vec!["LATEST"]).await?.is_empty());
    r.select(0).await?;
    fails(r.select(255).await, "DB index is out of range");
    Ok(())
}

async fn transactions(r: &Client, other: &Client) -> FredResult<()> {
    let many = r.pipeline();
    for number in 0..1_000 {
        many.set::<(), _, _>(format!("p{number}"), number, None, None, false).await?;
        many.incr::<(), _>(format!("p{number}")).await?;
    }
    let answers: Vec<Value> = many.all().await?;
    assert_eq!(answers.len(), 2_000);
    assert!((0..1_000).all(|number| answers[2 * number + 1].as_i64() == Some(number as i64 + 1)));
    let some = r.pipeline();
    some.set::<(), _, _>("t", "x", None, None, false).await?;
    some.incr::<(), _>("t").await?;
    some.get::<(), _>("t").await?;
    let answers = some.try_all::<String>().await;
    assert!(answers[0].is_ok() && answers[1].is_err() && answers[2].as_deref() == Ok("x"));

    let transaction = r.multi();
    transaction.set::<(), _, _>("t", "y", None, None, false).await?;
    transaction.get::<(), _>("t").await?;
    transaction.incr::<(), _>("u").await?;
    assert_eq!(transaction.exec::<(String, String, i64)>(true).await?, ("OK".into(), "y".into(), 1));
    let refused = r.multi();
    refused.set::<(), _, _>("t", "lost", None, None, false).await?;
    refused.custom::<(), _>(cmd!("NOSUCH"), vec!["t"]).await?;
    assert!(refused.exec::<Value>(true).await.is_err());
    assert_eq!(r.get::<String, _>("t").await?, "y");

    r.watch("t").await?;
    other.set::<(), _, _>("t", "changed", None, None, false).await?;
    let late = r.multi();
    late.set::<(), _, _>("t", "lost", None, None, false).await?;
    assert_eq!(late.exec::<Value>(true).await?, Value::Null);
    assert_eq!(r.get::<String, _>("t").await?, "changed");
    r.watch("t").await?;
    other.set::<(), _, _>("t", "again", None, None, false).await?;
    r.unwatch().await?;
    assert_eq!(late.exec::<String>(true).await?, "OK");
    Ok(())
}

/// Many tasks on few connections, each of which has to get its own answers.
async fn pooled(config: Config) -> FredResult<()> {
    let pool = Builder::from_config(config).build_pool(3)?;
    pool.init().await?;
    let tasks: Vec<_> = (0..100).map(|task| tokio::spawn(alone(pool.clone(), task))).collect();
    for task in tasks {
        task.await.expect("no task panics")?;
    }
    pool.quit().await
}

async fn alone(r: Pool, task: usize) -> FredResult<()> {
    let key = format!("task:{task}");
    for round in 0..50 {
        let value = format!("{task}/{round}");
        r.set::<(), _, _>(&key, value.as_str(), None, None, false).await?;
        assert_eq!(r.get::<String, _>(&key).await?, value);
        assert_eq!(r.mget::<Strings, _>(vec![key.as_str(), "none"]).await?, [Some(value), None]);
        fails(r.incr::<i64, _>(&key).await, "not an integer");
    }
    Ok(())
}

/// The server's time in seconds.
async fn now(r: &Client) -> FredResult<i64> {
    let (seconds, microseconds): (i64, i64) = r.custom(cmd!("TIME"), Vec::<String>::new()).await?;
    assert!((0..1_000_000).contains(&microseconds));
    Ok(seconds)
}

fn fails<T>(asked: FredResult<T>, text: &str) {
    let Err(error) = asked else { panic!("it should fail with {text:?}") };
    assert!(error.to_string().contains(text), "{error}");
}

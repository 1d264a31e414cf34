//! Operations of every kind that Larder offers, by redis-rs: `redis_rs PORT 2|3|tokio`.
//!
//! The server may be Larder, Redis or Valkey; all get the same assertions. Its data is removed.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, MultiplexedConnection, transaction_async};
use redis::{
    AsyncTypedCommands, Client, Connection, ErrorKind, ExistenceCheck, Expiry, FromRedisValue, InfoDict, RedisResult,
    ScanOptions, ServerErrorKind, SetExpiry, SetOptions, TypedCommands, ValueType, cmd, pipe, transaction,
};

fn main() -> RedisResult<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, port, way] = arguments.as_slice() else { panic!("usage: redis_rs PORT 2|3|tokio") };
    let version = if way == "2" { "resp2" } else { "resp3" };
    let client = Client::open(format!("redis://127.0.0.1:{port}/0?protocol={version}"))?;
    if way == "tokio" {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(multiplexed(&client))?;
    } else {
        let mut r = client.get_connection()?;
        for part in [strings, numbers, keys, scans, server, transactions] {
            r.flushall()?;
            part(&mut r, &client)?;
        }
        r.flushall()?;
    }
    println!("right");
    Ok(())
}

fn strings(r: &mut Connection, _: &Client) -> RedisResult<()> {
    r.set("a", "1")?;
    assert_eq!(r.get("a")?.as_deref(), Some("1"));
    assert_eq!(r.get("none")?, None);
    let options = SetOptions::default;
    assert_eq!(r.set_options("a", "2", options().conditional_set(ExistenceCheck::NX))?, None);
    assert_eq!(r.set_options("none", "2", options().conditional_set(ExistenceCheck::XX))?, None);
    let timed = options().conditional_set(ExistenceCheck::XX).with_expiration(SetExpiry::EX(100));
    assert_eq!(r.set_options("a", "2", timed)?.as_deref(), Some("OK"));
    assert!((95..=100).contains(&r.ttl("a")?.raw()) && (95_000..=100_000).contains(&r.pttl("a")?.raw()));
    assert_eq!(r.set_options("a", "3", options().with_expiration(SetExpiry::KEEPTTL).get(true))?.as_deref(), Some("2"));
    assert!(r.ttl("a")?.raw() > 90);
    r.set_options("a", "4", options().with_expiration(SetExpiry::PX(50_000)))?;
    assert!(r.ttl("a")?.raw() <= 50);
    let at = now(r)? + 1_000;
    r.set_options("a", "4", options().with_expiration(SetExpiry::EXAT(at)))?;
    assert_eq!(r.expire_time("a")?, at as usize);
    r.set_options("a", "4", options().with_expiration(SetExpiry::PXAT(at * 1_000 + 5)))?;
    assert_eq!(r.pexpire_time("a")?, at as usize * 1_000 + 5);
    r.set_ex("b", "v", 100)?;
    r.pset_ex("b", "w", 100_000)?;
    assert!(r.ttl("b")?.raw() > 90);
    assert!(!r.set_nx("b", "x")? && r.set_nx("fresh", "x")?);
    assert_eq!(r.getset("b", "y")?.as_deref(), Some("w"));
    assert_eq!(r.get_ex("b", Expiry::EX(50))?.as_deref(), Some("y"));
    assert!((1..=50).contains(&r.ttl("b")?.raw()));
    assert_eq!(r.get_ex("b", Expiry::PERSIST)?.as_deref(), Some("y"));
    assert_eq!(r.ttl("b")?, -1_isize);
    assert_eq!(r.get_del("b")?.as_deref(), Some("y"));
    assert_eq!(r.get_del("b")?, None);
    r.mset(&[("m1", "1"), ("m2", "2"), ("m3", "3")])?;
    assert_eq!(r.mget(&["m1", "none", "m3"])?, [Some("1".into()), None, Some("3".into())]);
    assert!(!r.mset_nx(&[("m1", "9")])? && r.mset_nx(&[("m9", "9")])?);
    assert_eq!((r.append("s", "ab")?, r.append("s", "cd")?, r.strlen("s")?), (2, 4, 4));
    assert_eq!(r.getrange("s", 1, -2)?, "bc");
    assert_eq!(cmd("SUBSTR").arg("s").arg(0).arg(1).query::<String>(r)?, "ab");
    assert_eq!(r.setrange("s", 6, "x")?, 7);
    assert_eq!(r.get("s")?.as_deref(), Some("abcd\0\0x"));
    let value: Vec<u8> = (0..=255).cycle().take(500_000).collect();
    r.set("binary", value.as_slice())?;
    assert_eq!(redis::Commands::get::<_, Vec<u8>>(r, "binary")?, value);
    Ok(())
}

fn numbers(r: &mut Connection, _: &Client) -> RedisResult<()> {
    assert_eq!((r.incr("n", 1)?, r.incr("n", 10)?, r.decr("n", 1)?, r.decr("n", 20)?), (1, 11, 10, -10));
    assert_eq!((cmd("INCR").arg("n").query::<i64>(r)?, cmd("DECR").arg("n").query::<i64>(r)?), (-9, -10));
    let add = |r: &mut Connection, delta: f64| redis::Commands::incr::<_, _, f64>(r, "f", delta);
    assert_eq!((add(r, 1.5)?, add(r, 10.0)?, add(r, -0.25)?), (1.5, 11.5, 11.25));
    r.set("s", "text")?;
    fails(r.incr("s", 1), ErrorKind::Server(ServerErrorKind::ResponseError), "value is not an integer or out of range");
    r.set("big", i64::MAX)?;
    fails(r.incr("big", 1), ErrorKind::Server(ServerErrorKind::ResponseError), "would overflow");
    let float = redis::Commands::incr::<_, _, f64>(r, "s", 0.5);
    fails(float, ErrorKind::Server(ServerErrorKind::ResponseError), "not a valid float");
    let refused = [
        (vec!["GET"], "wrong number of arguments for 'get' command"),
        (vec!["NOSUCH", "a"], "unknown command 'NOSUCH'"),
        (vec!["SET", "a", "b", "EX", "0"], "invalid expire time in 'set' command"),
        (vec!["SET", "a", "b", "NX", "XX"], "syntax error"),
        (vec!["SELECT", "9999"], "DB index is out of range"),
    ];
    for (words, text) in refused {
        let asked = cmd(words[0]).arg(&words[1..]).exec(r);
        fails(asked, ErrorKind::Server(ServerErrorKind::ResponseError), text);
    }
    Ok(())
}

fn keys(r: &mut Connection, _: &Client) -> RedisResult<()> {
    let pairs: Vec<(String, &str)> = (0..20).map(|number| (format!("k{number}"), "v")).collect();
    r.mset(&pairs)?;
    assert!(r.exists("k1")? && !r.exists("none")?);
    let count = |r: &mut Connection, name: &str| cmd(name).arg(&["k1", "k2", "none", "k1"]).query::<usize>(r);
    assert_eq!((count(r, "EXISTS")?, count(r, "TOUCH")?, count(r, "DEL")?), (3, 3, 2));
    assert_eq!((r.del(&["k3", "none"])?, r.unlink("k0")?), (1, 1));
    assert_eq!((r.key_type("k4")?, r.key_type("none")?), (ValueType::String, ValueType::None));
    assert!(r.expire("k4", 100)? && !r.expire("none", 1)?);
    let only = |r: &mut Connection, seconds: i64, option: &str| {
        cmd("EXPIRE").arg("k4").arg(seconds).arg(option).query::<bool>(r)
    };
    assert!(!only(r, 50, "GT")? && only(r, 50, "LT")? && !only(r, 90, "NX")? && only(r, 90, "XX")?);
    assert!(r.pexpire("k4", 100_000)? && r.persist("k4")? && !r.persist("k4")?);
    assert_eq!((r.ttl("k4")?.raw(), r.pttl("none")?.raw(), r.expire_time("none")?.raw()), (-1, -2, -2));
    let at = now(r)? as i64 + 1_000;
    assert!(r.expire_at("k4", at)?);
    assert!(r.expire_time("k4")? == at as usize && r.pexpire_time("k4")? == at as usize * 1_000);
    assert!(r.pexpire_at("k4", at * 1_000 + 7)? && r.pexpire_time("k4")? == at as usize * 1_000 + 7);
    assert!(r.expire("k4", -1)? && !r.exists("k4")?);
    r.pset_ex("short", "v", 30)?;
    let begun = Instant::now();
    while r.exists("short")? {
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
    assert!(r.object_encoding("k5")?.is_some() && r.object_encoding("none")?.is_none());
    assert!(r.object_refcount("k5")? == Some(1) && r.object_idletime("k5")?.is_some_and(|seconds| seconds < 60));
    assert!(cmd("MEMORY").arg("USAGE").arg("k5").query::<u64>(r)? > 0);
    Ok(())
}

fn scans(r: &mut Connection, _: &Client) -> RedisResult<()> {
    let pairs: Vec<(String, usize)> = (0..1_000).map(|number| (format!("k{number}"), number)).collect();
    r.mset(&pairs)?;
    r.set("other", "x")?;
    let every: HashSet<String> = r.scan::<String>()?.collect::<RedisResult<_>>()?;
    assert_eq!(every.len(), 1_001);
    let options = ScanOptions::default().with_pattern("k1*").with_count(100).with_type("string");
    let some: HashSet<String> = r.scan_options::<String>(options)?.collect::<RedisResult<_>>()?;
    assert_eq!(some, r.scan_match::<_, String>("k1*")?.collect::<RedisResult<_>>()?);
    assert_eq!(some.len(), 111);
    assert_eq!(r.keys("k1?")?.len(), 10);
    assert!(every.contains(&cmd("RANDOMKEY").query::<String>(r)?));
    assert_eq!(cmd("DBSIZE").query::<usize>(r)?, 1_001);
    r.flushdb()?;
    assert_eq!(cmd("DBSIZE").query::<usize>(r)?, 0);
    assert_eq!(cmd("RANDOMKEY").query::<Option<String>>(r)?, None);
    Ok(())
}

fn server(r: &mut Connection, client: &Client) -> RedisResult<()> {
    assert_eq!(r.ping()?, "PONG");
    assert_eq!(r.ping_message("hi")?, "hi");
    assert_eq!(cmd("ECHO").arg("hi").query::<String>(r)?, "hi");
    r.client_setname("worker")?;
    assert!(r.client_getname()?.as_deref() == Some("worker") && r.client_id()? > 0);
    let list: String = cmd("CLIENT").arg("LIST").query(r)?;
    assert!(list.contains("name=worker") && list.contains("addr=127.0.0.1:"));
    assert!(cmd("CLIENT").arg("INFO").query::<String>(r)?.contains("name=worker"));
    let mut other = client.get_connection()?;
    let id = other.client_id()?;
    assert_eq!(cmd("CLIENT").arg("KILL").arg("ID").arg(id).query::<usize>(r)?, 1);
    assert!(other.ping().is_err());
    let info: InfoDict = cmd("INFO").query(r)?;
    for field in ["redis_version", "uptime_in_seconds", "used_memory", "role", "keyspace_hits", "evicted_keys"] {
        assert!(info.contains_key(&field), "{field}");
    }
    let settings: HashMap<String, String> = cmd("CONFIG").arg("GET").arg("maxm*").query(r)?;
    assert!(settings.contains_key("maxmemory"));
    cmd("CONFIG").arg("SET").arg("slowlog-max-len").arg(100).exec(r)?;
    cmd("CONFIG").arg("RESETSTAT").exec(r)?;
    assert_eq!(cmd("SLOWLOG").arg("LEN").query::<usize>(r)?, 0);
    assert!(cmd("COMMAND").arg("COUNT").query::<usize>(r)? > 50);
    assert!(cmd("LATENCY").arg("LATEST").query::<Vec<String>>(r)?.is_empty());
    let hello: HashMap<String, redis::Value> = cmd("HELLO").query(r)?;
    assert!(hello.contains_key("proto") && hello.contains_key("version"));
    cmd("SELECT").arg(0).exec(r)?;
    assert_eq!(cmd("RESET").query::<String>(&mut client.get_connection()?)?, "RESET");
    Ok(())
}

fn transactions(r: &mut Connection, client: &Client) -> RedisResult<()> {
    let mut many = pipe();
    for number in 0..1_000 {
        many.set(format!("p{number}"), number).ignore().incr(format!("p{number}"), 1);
    }
    assert_eq!(many.query::<Vec<usize>>(r)?, (1..=1_000).collect::<Vec<_>>());
    let (text, number): (String, i64) = pipe().atomic().set("t", "x").ignore().get("t").incr("u", 1).query(r)?;
    assert_eq!((text.as_str(), number), ("x", 1));
    let failed = pipe().atomic().set("t", "y").ignore().incr("t", 1).get("t").query::<Vec<String>>(r);
    assert!(failed.is_err_and(|error| error.to_string().contains("not an integer")));
    assert_eq!(r.get("t")?.as_deref(), Some("y"));

    // Nothing is lost of those who add to one key, though each is disturbed once.
    let mut other = client.get_connection()?;
    r.set("counter", 0)?;
    for _ in 0..20 {
        let mut disturbed = false;
        transaction(r, &["counter"], |r, pipe| {
            let value = count(r.get("counter")?);
            if !disturbed {
                disturbed = true;
                other.incr("counter", 1)?;
            }
            pipe.set("counter", value + 1).ignore().query::<Option<()>>(r)
        })?;
    }
    assert_eq!(count(r.get("counter")?), 40);
    cmd("WATCH").arg("counter").exec(r)?;
    other.set("counter", 50)?;
    cmd("UNWATCH").exec(r)?;
    assert_eq!(pipe().atomic().incr("counter", 1).query::<Option<(i64,)>>(r)?, Some((51,)));
    let mut queued = |words: &[&str]| cmd(words[0]).arg(&words[1..]).query::<String>(r);
    assert_eq!((queued(&["MULTI"])?.as_str(), queued(&["INCR", "counter"])?.as_str()), ("OK", "QUEUED"));
    assert_eq!(queued(&["DISCARD"])?, "OK");
    fails(queued(&["EXEC"]), ErrorKind::Server(ServerErrorKind::ResponseError), "EXEC without MULTI");
    queued(&["MULTI"])?;
    fails(queued(&["NOSUCH"]), ErrorKind::Server(ServerErrorKind::ResponseError), "unknown command");
    fails(queued(&["EXEC"]), ErrorKind::Server(ServerErrorKind::ExecAbort), "discarded because of previous errors");
    assert_eq!(count(r.get("counter")?), 51);
    Ok(())
}

/// Many tasks on one connection, each of which has to get its own answers.
async fn multiplexed(client: &Client) -> RedisResult<()> {
    let mut r: MultiplexedConnection = client.get_multiplexed_async_connection().await?;
    r.flushall().await?;
    let tasks: Vec<_> = (0..100).map(|task| tokio::spawn(alone(r.clone(), task))).collect();
    for task in tasks {
        task.await.expect("no task panics")?;
    }
    let mut found = HashSet::new();
    let options = ScanOptions::default().with_pattern("task:*").with_count(50);
    let mut pages = r.scan_options::<String>(options).await?;
    while let Some(key) = pages.next_item().await {
        found.insert(key?);
    }
    drop(pages);
    assert_eq!(found.len(), 100);
    let mut managed: ConnectionManager = client.get_connection_manager().await?;
    let mut writer = managed.clone();
    managed.set("counter", 0).await?;
    for _ in 0..10 {
        let add = |mut r: MultiplexedConnection, mut pipe: redis::Pipeline| async move {
            let value = count(r.get("counter").await?);
            pipe.set("counter", value + 1).ignore().get("counter").query_async::<Option<(i64,)>>(&mut r).await
        };
        transaction_async(r.clone(), &["counter"], add).await?;
        writer.incr("counter", 1).await?;
    }
    assert_eq!(count(managed.get("counter").await?), 20);
    // It connects again.
    let id = managed.client_id().await?;
    cmd("CLIENT").arg("KILL").arg("ID").arg(id).exec_async(&mut r).await?;
    let begun = Instant::now();
    while managed.ping().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_ne!(managed.client_id().await?, id);
    r.flushall().await
}

async fn alone(mut r: MultiplexedConnection, task: usize) -> RedisResult<()> {
    let key = format!("task:{task}");
    for round in 0..50 {
        r.set(&key, format!("{task}/{round}")).await?;
        assert_eq!(r.get(&key).await?, Some(format!("{task}/{round}")));
        assert_eq!(r.mget(&[key.as_str(), "none"]).await?, [Some(format!("{task}/{round}")), None]);
        assert!(r.incr(&key, 1).await.is_err_and(|error| error.to_string().contains("not an integer")));
    }
    Ok(())
}

fn count(value: Option<String>) -> i64 {
    value.expect("it is there").parse().expect("it is a number")
}

/// The server's time in seconds.
fn now(r: &mut Connection) -> RedisResult<u64> {
    let (seconds, microseconds): (u64, u64) = cmd("TIME").query(r)?;
    assert!(microseconds < 1_000_000);
    Ok(seconds)
}

fn fails<T: FromRedisValue>(asked: RedisResult<T>, kind: ErrorKind, text: &str) {
    let Err(error) = asked else { panic!("it should fail with {text:?}") };
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

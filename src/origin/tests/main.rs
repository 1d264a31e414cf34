//! Origins against real HTTP servers that count, sleep, fail and lie.

mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_origin::limits::{BREAKER_FAILURES, BREAKER_PAUSE_MS_MIN, RETRIES_SAVED_MAX};
use larder_origin::{Answer, Origin, OriginError, OriginSettings};

use server::{Act, HungServer, Server};

const NOW_MS: u64 = 1_800_000_000_000;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n93";

fn settings(server: &Server) -> OriginSettings {
    OriginSettings {
        group: "scores".into(),
        url: format!("http://{}/scores/{{key}}", server.address),
        headers: vec!["X-Secret: sesame".into()],
        timeout: Duration::from_millis(500),
        concurrent_max: 8,
        queue_max: 4,
        value_bytes_max: 1000,
    }
}

fn origin(server: &Server) -> Origin {
    Origin::new(&settings(server)).expect("it can be")
}

async fn load_from(response: impl Into<String>) -> Answer {
    let response = response.into();
    let server = Server::start(move |_| vec![Act::Send(response.clone().into_bytes()), Act::Close]).await;
    origin(&server).load(b"ann", None, NOW_MS).await
}

fn failure(answer: &Answer) -> &str {
    match answer {
        Answer::Failed { message } => message,
        other => panic!("{other:?} is no failure"),
    }
}

#[tokio::test]
async fn a_value_comes_with_what_its_headers_say() {
    let server = Server::start(|_| vec![Act::Send(OK.into())]).await;
    let origin = origin(&server);
    let value = |answer: Answer| match answer {
        Answer::Value { value, ttl_ms, is_kept, .. } => (value, ttl_ms, is_kept),
        other => panic!("{other:?}"),
    };
    assert_eq!(value(origin.load(b"a/b\xff", None, NOW_MS).await), ("93".into(), None, true));
    assert_eq!(value(origin.load(b"bob", None, NOW_MS).await), ("93".into(), None, true));
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[0].starts_with("GET /scores/a%2Fb%FF HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].to_lowercase().contains("x-secret: sesame\r\n"), "{}", requests[0]);
    assert!(!requests[0].to_lowercase().contains("accept-encoding"), "{}", requests[0]);
    assert_eq!(server.connections(), 1, "the connection is used again");
    assert!(!format!("{origin:?}").contains("sesame"), "secrets are not shown");

    let with = |lines: &str, body: &str| {
        load_from(format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len()))
    };
    assert_eq!(value(with("Cache-Control: max-age=60\r\n", "x").await), ("x".into(), Some(60_000), true));
    assert_eq!(value(with("Cache-Control: no-store\r\n", "x").await), ("x".into(), None, false));
    assert_eq!(value(with("", "").await), ("".into(), None, true), "an empty value is one");
    let until_the_end = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it";
    assert_eq!(value(load_from(until_the_end).await).0, "all of it");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(value(load_from(chunked).await).0, "abcde");
}

#[tokio::test]
async fn what_is_called_as_before_is_not_sent_again() {
    let named = "HTTP/1.1 200 OK\r\nETag: W/\"7\"\r\nContent-Length: 2\r\n\r\n93";
    let unchanged = "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=9\r\n\r\n";
    let server = Server::start(move |number| vec![Act::Send(if number == 0 { named } else { unchanged }.into())]).await;
    let origin = origin(&server);
    let Answer::Value { etag: Some(etag), .. } = origin.load(b"ann", None, NOW_MS).await else {
        panic!("it has a name")
    };
    assert_eq!(&*etag, b"W/\"7\"");
    let again = origin.load(b"ann", Some(&etag), NOW_MS).await;
    assert_eq!(again, Answer::Unchanged { ttl_ms: Some(9_000) });
    assert!(server.requests()[1].to_lowercase().contains("if-none-match: w/\"7\"\r\n"), "{}", server.requests()[1]);
    // Whoever has not asked so is not to be told so.
    assert!(failure(&origin.load(b"ann", None, NOW_MS).await).contains("304"));
    let at_once = "HTTP/1.1 304 Not Modified\r\nCache-Control: no-store\r\n\r\n";
    let server = Server::start(move |_| vec![Act::Send(at_once.into())]).await;
    let over = self::origin(&server).load(b"ann", Some(b"\"7\""), NOW_MS).await;
    assert_eq!(over, Answer::Unchanged { ttl_ms: Some(1) }, "it is not kept for longer");
}

#[tokio::test]
async fn what_is_not_there_is_absent() {
    for status in ["404 Not Found", "410 Gone"] {
        let response = format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nnone");
        assert_eq!(load_from(response).await, Answer::Absent, "{status}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_failure_that_says_why() {
    for (response, why) in [
        (
            "HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n",
            "302 Found, and redirections",
        ),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "it has answered 403 Forbidden"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "it has answered 204"),
        ("HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx", "it has answered 206"),
        ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "encoded as \"gzip\""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", "the value has 1001 bytes, and this node takes 1000"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "its answer ends early"),
        ("HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n", "content-length"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "its answer ends early"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "the origin of group \"scores\""),
        ("", "the origin of group \"scores\""),
    ] {
        let answer = load_from(response).await;
        let message = failure(&answer);
        assert!(message.contains(why) && message.starts_with("the origin of group \"scores\" at http://"), "{message}");
    }
    let endless_head = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(200_000));
    failure(&load_from(endless_head).await);
    let endless = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", "x".repeat(200_000));
    assert!(failure(&load_from(endless).await).contains("the value has more bytes"));

    let nobody = Server::start(|_| vec![]).await;
    let settings = settings(&nobody);
    drop(nobody);
    let answer = Origin::new(&settings).expect("it can be").load(b"ann", None, NOW_MS).await;
    assert!(failure(&answer).contains("refused"), "{answer:?}");
}

#[tokio::test]
async fn a_failure_that_may_pass_is_retried_once_within_a_budget() {
    let server = Server::start(|number| {
        let status = if number == 1 { "200 OK" } else { "500 Oops" };
        vec![Act::Send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n93").into_bytes())]
    })
    .await;
    let origin = origin(&server);
    assert!(matches!(origin.load(b"ann", None, NOW_MS).await, Answer::Value { .. }));
    assert_eq!(server.requests().len(), 2);
    let answer = origin.load(b"ann", None, NOW_MS).await;
    assert!(
        failure(&answer).contains("500 Internal Server Error; asked again: it has answered 500 Internal"),
        "{answer:?}"
    );
    assert_eq!(server.requests().len(), 4);

    // One in two fails, so that it is not left alone.
    let server = Server::start(|number| {
        let status = if number % 2 == 1 { "404 No" } else { "503 Later" };
        vec![Act::Send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes())]
    })
    .await;
    let origin = self::origin(&server);
    for _ in 0..200 {
        origin.load(b"ann", None, NOW_MS).await;
    }
    let retries = server.requests().len() - 200;
    let most = RETRIES_SAVED_MAX as usize + 200 / 10;
    assert!((10..=most).contains(&retries), "{retries} retries");
}

#[tokio::test]
async fn a_hung_origin_never_sees_more_than_it_may() {
    let server = Server::start(|_| vec![Act::Sleep(Duration::from_secs(60))]).await;
    let origin = Arc::new(origin(&server));
    let began = Instant::now();
    let loads: Vec<_> = (0..100_u32)
        .map(|number| {
            let origin = Arc::clone(&origin);
            tokio::spawn(async move { origin.load(&number.to_le_bytes(), None, NOW_MS).await })
        })
        .collect();
    let (mut busy, mut late) = (0, 0);
    for load in loads {
        match load.await.expect("it does not panic") {
            Answer::Busy { message, retry_after_ms } => {
                assert!(retry_after_ms > 0 && message.contains("8 requests are under way"), "{message}");
                busy += 1;
            }
            Answer::Failed { message } => {
                assert!(message.ends_with("no answer within 500ms"), "{message}");
                late += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    println!("{busy} busy, {late} late, after {:?}", began.elapsed());
    assert!(server.most_at_once() <= 8, "{} at once", server.most_at_once());
    assert!(busy >= 88 && late >= 8 && busy + late == 100, "{busy} busy, {late} late");
    assert!(began.elapsed() < 10 * settings(&server).load_time_max());
}

/// Whoever was waiting asks when others have waited for too long, and not before their connections are closed.
#[tokio::test]
async fn what_timed_out_is_over_before_the_next_begins() {
    let server = HungServer::start();
    let settings = OriginSettings {
        url: format!("http://{}/{{key}}", server.address),
        timeout: Duration::from_millis(300),
        queue_max: 100,
        ..settings(&Server::start(|_| vec![]).await)
    };
    for _ in 0..5 {
        // Each time another one, as one that has failed so often is left alone.
        let origin = Arc::new(Origin::new(&settings).expect("it can be"));
        let mut loads = Vec::new();
        for number in 0..24_u32 {
            if number == 8 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let origin = Arc::clone(&origin);
            loads.push(tokio::spawn(async move { origin.load(&number.to_le_bytes(), None, NOW_MS).await }));
        }
        for load in loads {
            let answer = load.await.expect("it does not panic");
            assert!(matches!(answer, Answer::Busy { .. } | Answer::Failed { .. }), "{answer:?}");
        }
    }
    println!("{} connections", server.connections());
    assert!(server.connections() > 5 * 8, "some waited and asked then");
    assert!(server.most_at_once() <= 8, "{} at once", server.most_at_once());
}

#[tokio::test]
async fn who_fails_again_and_again_is_left_alone_until_one_works() {
    let server = Server::start(|number| {
        let works = number > BREAKER_FAILURES as usize;
        let status = if works { "200 OK" } else { "400 Bad" };
        vec![Act::Send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n93").into_bytes())]
    })
    .await;
    let origin = origin(&server);
    for _ in 0..BREAKER_FAILURES {
        failure(&origin.load(b"ann", None, NOW_MS).await);
    }
    let mut probes = 0;
    let began = Instant::now();
    while probes < 2 {
        match origin.load(b"ann", None, NOW_MS).await {
            Answer::Busy { message, retry_after_ms } => {
                assert!(message.contains("left alone"), "{message}");
                tokio::time::sleep(Duration::from_millis(u64::from(retry_after_ms))).await;
            }
            Answer::Failed { .. } if probes == 0 => probes = 1,
            Answer::Value { .. } if probes == 1 => probes = 2,
            other => panic!("{other:?} after {probes} probes"),
        }
    }
    println!("it works again after {:?}", began.elapsed());
    assert!(began.elapsed() >= Duration::from_millis(3 * BREAKER_PAUSE_MS_MIN - 2), "{:?}", began.elapsed());
    assert_eq!(server.requests().len(), BREAKER_FAILURES as usize + 2);
    assert!(matches!(origin.load(b"ann", None, NOW_MS).await, Answer::Value { .. }));
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused() {
    let server = Server::start(|_| vec![]).await;
    let good = settings(&server);
    let refused = |settings: OriginSettings| Origin::new(&settings).expect_err("it cannot be");
    let url = OriginSettings { url: "http://a/".into(), ..good.clone() };
    assert!(matches!(refused(url), OriginError::Url { .. }));
    let bound = |settings| refused(settings).to_string();
    assert_eq!(
        bound(OriginSettings { concurrent_max: 0, ..good.clone() }),
        "max_concurrent is 0; it can be from 1 to 1024"
    );
    assert!(bound(OriginSettings { timeout: Duration::from_secs(31), ..good.clone() }).starts_with("timeout in ms"));
    assert!(bound(OriginSettings { queue_max: 1 << 20, ..good.clone() }).starts_with("queue is"));
    for (line, problem) in
        [("x", "no colon"), ("a b: c", "its name"), ("Host: a", "not one to be chosen"), ("x: a\nb", "its value")]
    {
        let headers = vec!["X: y".into(), line.into()];
        let error = bound(OriginSettings { headers, ..good.clone() });
        assert!(error.starts_with("header 2 of 2") && error.contains(problem), "{error}");
    }
}

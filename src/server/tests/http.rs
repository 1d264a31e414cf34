//! HTTP, spoken by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use larder_protocol::Status;
use larder_testkit::{Etcd, Server};
use serde_json::{Value, json};

use crate::etcd::{patiently, start, wait_for_ring};
use crate::support::{Client, get, server, set};

/// How long an event may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The name of what is wrong.
    fn code(&self) -> String {
        let error: Value = serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {self:?}"));
        assert!(error["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
        error["error"]["code"].as_str().expect("a code").to_owned()
    }
}

pub(crate) fn http(server: &Server) -> SocketAddr {
    server.ready()["listen"]["http"].as_str().and_then(|address| address.parse().ok()).expect("it speaks HTTP")
}

pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: larder\r\nConnection: close\r\n");
    headers.iter().for_each(|(name, value)| request += &format!("{name}: {value}\r\n"));
    request += &format!("Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(request.as_bytes()).expect("it reads");
    // It may have answered without reading all.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("an end of the headers");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.into(), value.into()));
    Answer { status, headers: headers.collect(), body: bytes[end + 4..].to_vec() }
}

#[test]
fn a_key_is_stored_read_and_removed_by_http_as_by_the_native_protocol() {
    let server = server(&["--http", "127.0.0.1:0", "--shards", "2", "--memory", "64MiB", "--value-max", "1MiB"]);
    let (address, mut native) = (http(&server), Client::connect(server.address()));
    let key = |method: &str, key: &str, headers: &[(&str, &str)], body: &[u8]| {
        ask(address, method, &format!("/v1/groups/default/keys/{key}"), headers, body)
    };
    let stored = key("PUT", "%00%ff%2Fa", &[("X-Larder-TTL", "30s"), ("X-Larder-Flags", "7")], b"value\0");
    assert_eq!((stored.status, stored.body.len()), (204, 0), "{stored:?}");
    assert_eq!(native.call(get(b"\0\xff/a")).value(), Some(&b"value\0"[..]));
    let found = key("GET", "%00%FF/a", &[], b"");
    assert_eq!((found.status, &*found.body), (200, &b"value\0"[..]));
    let tag = found.header("etag").expect("a version").to_owned();
    assert_eq!(stored.header("etag"), Some(&*tag));
    assert_eq!(found.header("x-larder-flags"), Some("7"));
    let left: u64 = found.header("x-larder-ttl").and_then(|left| left.strip_suffix("ms")?.parse().ok()).expect("ms");
    assert!((1..=30_000).contains(&left), "{left}");
    let head = key("HEAD", "%00%ff%2fa", &[], b"");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("6"), 0));
    // Conditions, each kept and not.
    assert_eq!(key("GET", "%00%ff%2Fa", &[("If-None-Match", &tag)], b"").status, 304);
    assert_eq!(key("GET", "%00%ff%2Fa", &[("If-Match", "\"1\"")], b"").code(), "condition_not_met");
    for (headers, status) in [
        (("If-None-Match", "*"), 412),
        (("If-Match", "\"1\""), 412),
        (("If-Match", &*tag), 204),
        (("If-Match", &*tag), 412),
        (("If-Match", "*"), 204),
    ] {
        let put = key("PUT", "%00%ff%2Fa", &[headers], b"other");
        assert_eq!(put.status, status, "{headers:?}: {put:?}");
    }
    assert_eq!(key("PUT", "absent", &[("If-Match", "*")], b"").code(), "condition_not_met");
    assert_eq!(key("PUT", "absent", &[("If-None-Match", "*")], b"").status, 204);
    assert_eq!(key("DELETE", "%00%ff%2Fa", &[("If-Match", &tag)], b"").code(), "condition_not_met");
    assert_eq!(key("DELETE", "%00%ff%2Fa", &[], b"").status, 204);
    for method in ["GET", "DELETE"] {
        let missed = key(method, "%00%ff%2Fa", &[], b"");
        assert_eq!((missed.status, &*missed.code()), (404, "not_found"));
    }
    // What groupcache's children ask.
    assert_eq!(native.call(set(b"a b", b"by query")).status, Status::Ok);
    for path in ["/api?key=a+b", "/api?group=default&key=a%20b"] {
        let found = ask(address, "GET", path, &[], b"");
        assert_eq!((found.status, &*found.body, found.header("x-larder-ttl")), (200, &b"by query"[..], None), "{path}");
    }
    // Long values, up to the longest and above.
    let long = vec![7; 1 << 20];
    assert_eq!(key("PUT", "long", &[], &long).status, 204);
    assert!(key("GET", "long", &[], b"").body == long);
    assert_eq!(key("PUT", "long", &[], &vec![7; (1 << 20) + 1]).code(), "too_large");
    for (path, status, code) in [
        ("/v1/groups/none/keys/a", 404, "no_such_group"),
        ("/v1/groups/default/keys/%zz", 400, "bad_request"),
        ("/v1/groups/default/none", 404, "no_such_path"),
        ("/api", 400, "bad_request"),
        ("/", 404, "no_such_path"),
    ] {
        let refused = ask(address, "GET", path, &[], b"");
        assert_eq!((refused.status, &*refused.code()), (status, code), "{path}");
    }
    assert_eq!(key("PUT", "a", &[("X-Larder-TTL", "5")], b"").code(), "bad_request");
    assert_eq!(key("POST", "a", &[], b"").status, 405);
    let asked = br#"{"keys": ["long%00", "a%20b", "none"]}"#;
    let many = ask(address, "POST", "/v1/groups/default/get", &[], asked);
    let many: Value = serde_json::from_slice(&many.body).unwrap_or_else(|why| panic!("{why}: {many:?}"));
    let [first, second, third] = many["entries"].as_array().expect("a list").as_slice() else { panic!("{many}") };
    assert_eq!((first, third), (&json!({"key": "long%00", "found": false}), &json!({"key": "none", "found": false})));
    assert_eq!(
        (&second["value"], &second["flags"], &second["ttl_ms"]),
        (&json!("YnkgcXVlcnk="), &json!(0), &json!(null))
    );
    for (body, code) in
        [("", "bad_request"), ("{\"keys\": [1]}", "bad_request"), ("{\"keys\": [\"%\"]}", "bad_request")]
    {
        assert_eq!(ask(address, "POST", "/v1/groups/default/get", &[], body.as_bytes()).code(), code, "{body}");
    }
    assert_eq!(ask(address, "POST", "/v1/groups/none/get", &[], asked).code(), "no_such_group");
    let invalidated = ask(address, "POST", "/v1/groups/default/invalidate", &[], b"");
    assert_eq!((invalidated.status, &*invalidated.body), (200, &b"{\"generation\":1}"[..]));
    assert_eq!(key("GET", "long", &[], b"").status, 404);
    assert_eq!(ask(address, "POST", "/v1/groups/none/invalidate", &[], b"").code(), "no_such_group");
    // What is no HTTP concerns nobody else.
    let mut garbage = TcpStream::connect(address).expect("it accepts");
    garbage.write_all(b"\0\xff garbage\r\n\r\n").expect("it reads");
    let mut said = Vec::new();
    garbage.read_to_end(&mut said).expect("the end");
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&said));
    assert!(server.stop().success(), "with connections to its own shards");
}

/// What is documented is there, answers as documented, and nothing else is there.
#[test]
fn the_description_is_that_of_the_server() {
    let description: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).expect("JSON");
    let paths = description["paths"].as_object().expect("paths");
    let mut documented: Vec<&str> = paths.keys().map(String::as_str).collect();
    let mut served = larder_server::http::PATHS.to_vec();
    documented.sort_unstable();
    served.sort_unstable();
    assert_eq!(documented, served);
    let server = server(&["--http", "127.0.0.1:0", "--shards", "1", "--memory", "64MiB"]);
    let address = http(&server);
    for (path, methods) in paths {
        for method in ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"] {
            let operation = &methods[method.to_lowercase()];
            // Everything that a client may send of a sort: what is right, an absent key, an absent group, nonsense.
            for (group, key, body) in [
                ("default", "a", &b"{\"keys\": [\"a\"]}"[..]),
                ("default", "none", b"{\"keys\": []}"),
                ("none", "a", b"{\"keys\": [\"a\"]}"),
                ("%ff", "%zz", b"nonsense"),
            ] {
                let concrete = path.replace("{group}", group).replace("{key}", key);
                let concrete = if path == "/api" { format!("/api?key={key}&group={group}") } else { concrete };
                let answer = ask(address, method, &concrete, &[], body);
                let status = answer.status.to_string();
                match operation {
                    // The framework answers HEAD wherever there is a GET.
                    Value::Null if method == "HEAD" => {}
                    Value::Null => assert_eq!(answer.code(), "method_not_allowed", "{method} {concrete}"),
                    operation => {
                        assert!(operation["responses"][&status].is_object(), "{method} {concrete}: {answer:?}");
                        if answer.status >= 400 && method != "HEAD" && path != "/readyz" {
                            answer.code();
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn groups_are_administered_by_http() {
    let server = server(&["--http", "127.0.0.1:0", "--shards", "2", "--memory", "64MiB"]);
    let address = http(&server);
    let path = "/v1/groups/a%20b";
    let key = "/v1/groups/a%20b/keys/k";
    assert_eq!(ask(address, "GET", path, &[], b"").code(), "no_such_group");
    let created = ask(address, "PUT", path, &[], br#"{"memory": "16MiB", "ttl": "200ms", "stale_if_error": "1m"}"#);
    assert_eq!(created.status, 200, "{created:?}");
    let created: Value = serde_json::from_slice(&created.body).expect("an object");
    assert_eq!(created["kept"], false);
    assert_eq!(
        (&created["groups"][0]["name"], &created["groups"][0]["memory_bytes"]),
        (&json!("a b"), &json!(16 << 20))
    );
    assert_eq!(ask(address, "PUT", key, &[], b"7").status, 204);
    let fresh = ask(address, "GET", key, &[], b"");
    assert_eq!((fresh.status, fresh.header("x-larder-stale")), (200, None));
    let begun = Instant::now();
    let stale = loop {
        let found = ask(address, "GET", key, &[], b"");
        assert_eq!((found.status, &*found.body), (200, &b"7"[..]));
        if found.header("x-larder-stale") == Some("true") {
            break found;
        }
        assert!(begun.elapsed() < PATIENCE, "{found:?}");
    };
    assert_eq!(stale.header("x-larder-ttl"), None);
    let altered = ask(address, "PATCH", path, &[], br#"{"ttl": null, "policy": "lru"}"#);
    let altered: Value = serde_json::from_slice(&altered.body).expect("an object");
    assert_eq!((&altered["groups"][0]["ttl"], &altered["groups"][0]["policy"]), (&Value::Null, &json!("lru")));
    assert_eq!(ask(address, "PUT", path, &[], br#"{"memory": "1MiB"}"#).code(), "exists");
    assert_eq!(ask(address, "PUT", "/v1/groups/c", &[], br#"{"memory": "1GiB"}"#).code(), "too_large");
    assert_eq!(ask(address, "PUT", "/v1/groups/c", &[], b"[]").code(), "bad_request");
    assert_eq!(ask(address, "DELETE", "/v1/groups/default", &[], b"").code(), "bad_request");
    let all = ask(address, "GET", "/v1/groups", &[], b"");
    let all: Value = serde_json::from_slice(&all.body).expect("an object");
    assert_eq!(all["groups"].as_array().map(Vec::len), Some(2));
    assert_eq!(ask(address, "DELETE", path, &[], b"").status, 200);
    assert_eq!(ask(address, "GET", key, &[], b"").code(), "no_such_group");
}

/// What a browser asks before it lets a page ask.
#[test]
fn pages_of_other_origins_are_let_in_only_if_they_are_named() {
    let asks = |server: &Server, method: &str, origin: &str| {
        let headers = [("Origin", origin), ("Access-Control-Request-Method", "PUT")];
        ask(http(server), method, "/v1/groups/default/keys/a", &headers, b"")
    };
    let closed = server(&["--http", "127.0.0.1:0", "--shards", "1", "--memory", "64MiB"]);
    assert_eq!(asks(&closed, "OPTIONS", "https://a.example").header("access-control-allow-origin"), None);
    let origins = "https://a.example,http://localhost:3000";
    let open = server(&["--http", "127.0.0.1:0", "--http-cors", origins, "--shards", "1", "--memory", "64MiB"]);
    let asked = asks(&open, "OPTIONS", "https://a.example");
    assert_eq!(asked.header("access-control-allow-origin"), Some("https://a.example"), "{asked:?}");
    assert!(asked.header("access-control-allow-methods").is_some_and(|methods| methods.contains("PUT")), "{asked:?}");
    let found = asks(&open, "GET", "http://localhost:3000");
    assert_eq!(found.header("access-control-allow-origin"), Some("http://localhost:3000"));
    let exposed = found.header("access-control-expose-headers").expect("some").to_lowercase();
    assert!(exposed.contains("etag") && exposed.contains("x-larder-ttl"), "{exposed}");
    assert_eq!(asks(&open, "GET", "https://b.example").header("access-control-allow-origin"), None);
    let any = server(&["--http", "127.0.0.1:0", "--http-cors", "*", "--shards", "1", "--memory", "64MiB"]);
    assert_eq!(asks(&any, "GET", "https://b.example").header("access-control-allow-origin"), Some("*"));
}

#[test]
fn what_was_counted_is_told_to_programs_and_to_prometheus() {
    let server = server(&["--http", "127.0.0.1:0", "--shards", "2", "--memory", "64MiB"]);
    let (address, mut native) = (http(&server), Client::connect(server.address()));
    for number in 0..30 {
        let key = format!("key {number}");
        assert_eq!(native.call(set(key.as_bytes(), b"v")).status, Status::Ok);
        for _ in 0..2 {
            assert_eq!(native.call(get(key.as_bytes())).status, Status::Ok);
        }
        assert_eq!(native.call(get(b"none")).status, Status::NotFound);
    }
    let page = ask(address, "GET", "/metrics", &[], b"");
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let page = String::from_utf8(page.body).expect("text");
    for line in [
        "larder_gets_total{group=\"default\",result=\"hit\"} 60",
        "larder_gets_total{group=\"default\",result=\"miss\"} 30",
        "larder_sets_total{group=\"default\"} 30",
        "larder_entries{group=\"default\"} 30",
        "larder_ready 1",
        "larder_requests_total{dialect=\"native\",operation=\"get\",result=\"hit\"} 60",
        "larder_requests_total{dialect=\"native\",operation=\"get\",result=\"miss\"} 30",
        "larder_requests_total{dialect=\"native\",operation=\"set\",result=\"done\"} 30",
        "larder_request_duration_seconds_count{dialect=\"native\",operation=\"get\"} 90",
        "larder_request_duration_seconds_bucket{dialect=\"native\",operation=\"set\",le=\"+Inf\"} 30",
        "larder_ring_nodes{state=\"serving\"} 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}: {page}");
    }
    assert!(!page.contains("key 1"), "keys are nobody's business");
    let mut promtool = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's prometheus, is installed");
    promtool.stdin.take().expect("it is piped").write_all(page.as_bytes()).expect("it reads");
    let checked = promtool.wait_with_output().expect("it ends");
    let said = [checked.stdout, checked.stderr].concat();
    assert!(checked.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    let stats = ask(address, "GET", "/v1/stats", &[], b"");
    let stats: Value = serde_json::from_slice(&stats.body).expect("an object");
    let group = &stats["groups"][0];
    assert_eq!((&group["hits"], &group["misses"], &group["entries"]), (&json!(60), &json!(30), &json!(30)));
    assert_eq!(stats["shards"].as_array().map(Vec::len), Some(2));
}

#[test]
fn any_node_answers_for_any_key_and_says_whether_it_is_ready() {
    let etcd = Etcd::start();
    let nodes = ["a", "b"].map(|id| start(&etcd, id, &["--http", "127.0.0.1:0"]));
    let mut native = Client::connect(nodes[0].address());
    wait_for_ring(&mut native, &[("a", 1024), ("b", 1024)]);
    for number in 0..50 {
        let path = format!("/v1/groups/default/keys/{number}");
        let begun = Instant::now();
        loop {
            let stored = ask(http(&nodes[number % 2]), "PUT", &path, &[], path.as_bytes());
            if stored.status == 204 {
                break;
            }
            assert!(stored.status == 503 && stored.header("retry-after") == Some("1"), "{stored:?}");
            assert!(begun.elapsed() < PATIENCE, "{stored:?}");
        }
        let found = patiently(&mut native, get(number.to_string().as_bytes()));
        assert_eq!(found.value(), Some(path.as_bytes()));
        let found = ask(http(&nodes[1 - number % 2]), "GET", &path, &[], b"");
        assert_eq!((found.status, &*found.body), (200, path.as_bytes()));
    }
    let topology = ask(http(&nodes[0]), "GET", "/v1/topology", &[], b"");
    let topology: Value = serde_json::from_slice(&topology.body).expect("an object");
    let states: Vec<Value> =
        topology["nodes"].as_array().expect("a list").iter().map(|node| json!([node["id"], node["state"]])).collect();
    assert_eq!(states, [json!(["a", "serving"]), json!(["b", "serving"])]);
    assert!(etcd.ctl(&["get", "--print-value-only", "/larder/larder/nodes/a"]).contains(&http(&nodes[0]).to_string()));
    let [a, b] = nodes;
    let address = http(&b);
    assert_eq!(ask(address, "GET", "/healthz", &[], b"").status, 200);
    assert_eq!(ask(address, "GET", "/readyz", &[], b"").status, 200);
    // It waits for the other one to know that it leaves, which stands still.
    a.signal("STOP");
    b.signal("TERM");
    let begun = Instant::now();
    while ask(address, "GET", "/readyz", &[], b"").status != 503 {
        assert!(begun.elapsed() < PATIENCE, "it is ready still");
    }
    a.signal("CONT");
}

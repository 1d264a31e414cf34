//! A server of the native protocol in a few lines: one thread per connection, one map, no eviction, and faults on
//! demand. It counts what it was asked.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use larder_protocol::native::generated::{Group, HelloResult, Limits};
use larder_protocol::native::{self, Scratch};
use larder_protocol::{Command, Entries, Expiry, Failure, Found, Reply, Request, Status, Value};
use loadgen::protocol::ProtocolName;
use loadgen::run::{Length, Pace, Plan};
use loadgen::workload::{Distribution, KeySpace, ValueSizes};

/// What goes wrong. Numbers count the requests of all connections, Hello excluded, from 1.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Answers of one read are sent last first.
    pub(crate) shuffle: bool,
    /// This request closes its connection, and so does each one that many requests later.
    pub(crate) close_every: u64,
    /// How often connections are closed.
    pub(crate) closes_max: u64,
    /// This request is answered so much later, and everything behind it on its connection too.
    pub(crate) stall: Option<(u64, Duration)>,
    /// Every answer takes so long.
    pub(crate) delay: Duration,
    /// Every so many requests one is refused.
    pub(crate) refuse_every: u64,
    /// From this request on nothing is answered.
    pub(crate) silent_from: u64,
    /// The answer to this request is sent twice.
    pub(crate) twice: u64,
    /// From this request on, found values are wrong in this way.
    pub(crate) wrong_from: Option<(u64, Wrong)>,
}

/// How a value is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// One bit is flipped.
    Bit,
    /// The last byte is missing.
    Short,
    /// It is that of another key.
    Key,
    /// It is the first one that the key had.
    Stale,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: AtomicU64,
    pub(crate) gets: AtomicU64,
    pub(crate) keys: AtomicU64,
    pub(crate) sets: AtomicU64,
    pub(crate) others: AtomicU64,
    pub(crate) expiring: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) closed: AtomicU64,
}

#[derive(Debug, Default)]
struct Cache {
    now: HashMap<Vec<u8>, Vec<u8>>,
    first: HashMap<Vec<u8>, Vec<u8>>,
}

/// A listening server; its threads end with the test process.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) counts: Arc<Counts>,
    cache: Arc<Mutex<Cache>>,
}

pub(crate) const VALUE_BYTES_MAX: u64 = 100_000;

impl TestServer {
    pub(crate) fn start(faults: Faults) -> TestServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (counts, cache) = (Arc::<Counts>::default(), Arc::<Mutex<Cache>>::default());
        let shared = (Arc::clone(&counts), Arc::clone(&cache));
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (counts, cache) = (Arc::clone(&shared.0), Arc::clone(&shared.1));
                thread::spawn(move || Connection { socket, counts, cache, faults }.serve());
            }
        });
        TestServer { address, counts, cache }
    }

    pub(crate) fn count(&self, counter: impl Fn(&Counts) -> &AtomicU64) -> u64 {
        counter(&self.counts).load(Ordering::SeqCst)
    }

    pub(crate) fn keys(&self) -> usize {
        self.cache.lock().unwrap().now.len()
    }

    /// A plan for this server: closed loop, 1,000 uniform keys, ten gets per set, 5,000 requests.
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            address: self.address,
            protocol: ProtocolName::Native,
            group: "default".into(),
            threads: 1,
            cores: Vec::new(),
            connections: 4,
            pipeline: 4,
            pace: Pace::Closed,
            keys: KeySpace::new(1000, "key:", 16, true).unwrap(),
            distribution: Distribution::Uniform,
            values: ValueSizes::Fixed(64),
            mix: "10:1".parse().unwrap(),
            multi_get: 1,
            ttl: None,
            preload: false,
            warm_up: Duration::ZERO,
            length: Length::Requests(5000),
            verify: None,
            fill: false,
            seed: 42,
            reconnects: 0,
            timeout: Duration::from_secs(10),
            progress: false,
            shard_aware: false,
        }
    }
}

struct Connection {
    socket: TcpStream,
    counts: Arc<Counts>,
    cache: Arc<Mutex<Cache>>,
    faults: Faults,
}

#[derive(Debug)]
struct Values(Vec<Option<Vec<u8>>>);

impl Entries for Values {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn entry(&self, index: usize) -> Result<Found<'_>, Status> {
        self.0[index].as_deref().map(entry).ok_or(Status::NotFound)
    }
}

fn entry(value: &[u8]) -> Found<'_> {
    Found { value: Value::Whole(value), flags: 0, version: 1, ttl_ms: 0, is_stale: false }
}

impl Connection {
    fn serve(mut self) {
        self.counts.connections.fetch_add(1, Ordering::SeqCst);
        let _ = self.socket.set_nodelay(true);
        let (mut inbox, mut scratch, mut chunk) = (Vec::new(), Scratch::default(), vec![0; 64 << 10]);
        while let Ok(read @ 1..) = self.socket.read(&mut chunk) {
            inbox.extend_from_slice(&chunk[..read]);
            let mut answers = Vec::new();
            let mut at = 0;
            let mut closed = false;
            while let Some(frame) = native::frame(&inbox[at..], 1 << 20).expect("the load generator sends valid frames")
            {
                at += frame.consumed;
                let request = native::decode_request(frame.message, &mut scratch).expect("and valid requests");
                match self.answer(&request) {
                    Some(answer) => answers.push(answer),
                    None => {
                        closed = true;
                        break;
                    }
                }
            }
            inbox.drain(..at);
            if self.faults.shuffle {
                answers.reverse();
            }
            if self.socket.write_all(&answers.concat()).is_err() || closed {
                return;
            }
        }
    }

    /// The bytes of an answer; `None`: the connection is closed.
    fn answer(&mut self, request: &Request<'_>) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        if let Command::Hello { .. } = request.command {
            native::encode_hello(&mut out, request.id, 1, &hello());
            return Some(out);
        }
        let number = self.counts.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let Faults { close_every, closes_max, stall, delay, refuse_every, silent_from, twice, .. } = self.faults;
        if is_multiple(number, close_every) && self.counts.closed.fetch_add(1, Ordering::SeqCst) < closes_max {
            return None;
        }
        if let Some((at, time)) = stall
            && at == number
        {
            thread::sleep(time);
        }
        thread::sleep(delay);
        if silent_from > 0 && number >= silent_from {
            return Some(out);
        }
        if is_multiple(number, refuse_every) {
            let failure = Failure::new(Status::Overloaded, "the test wants it so");
            native::encode_response(&mut out, request.id, 1, &Reply::Failed(&failure));
            return Some(out);
        }
        self.execute(request, number, &mut out);
        if number == twice {
            out.extend_from_within(..);
        }
        Some(out)
    }

    fn execute(&mut self, request: &Request<'_>, number: u64, out: &mut Vec<u8>) {
        let count = |counter: &AtomicU64, by: usize| counter.fetch_add(by as u64, Ordering::SeqCst);
        let mut cache = self.cache.lock().unwrap();
        let mut respond = |reply: &Reply<'_>| native::encode_response(out, request.id, 1, reply);
        match request.command {
            Command::Get { key } | Command::GetAndTouch { key, .. } => {
                count(&self.counts.gets, 1);
                match self.find(&cache, key, number) {
                    Some(value) => respond(&Reply::Entry(entry(&value))),
                    None => respond(&Reply::Miss),
                }
            }
            Command::GetMany { keys } => {
                count(&self.counts.gets, 1);
                count(&self.counts.keys, keys.len());
                respond(&Reply::Entries(&Values(keys.iter().map(|key| self.find(&cache, key, number)).collect())));
            }
            Command::Set(write) => {
                count(&self.counts.sets, 1);
                count(&self.counts.expiring, usize::from(write.expiry == Expiry::After(500)));
                cache.first.entry(write.key.to_vec()).or_insert_with(|| write.value.to_vec());
                cache.now.insert(write.key.to_vec(), write.value.to_vec());
                respond(&Reply::Stored { version: number });
            }
            Command::Delete { key, .. } => {
                count(&self.counts.others, 1);
                respond(&if cache.now.remove(key).is_some() { Reply::Done } else { Reply::Miss });
            }
            Command::Touch { key, .. } => {
                count(&self.counts.others, 1);
                respond(&if cache.now.contains_key(key) { Reply::Stored { version: 1 } } else { Reply::Miss });
            }
            Command::Increment { key, delta, initial, .. } => {
                count(&self.counts.others, 1);
                let number = cache.now.get(key).map_or(initial.unwrap(), |text| {
                    String::from_utf8_lossy(text).parse::<i64>().expect("counters have keys of their own") + delta
                });
                cache.now.insert(key.to_vec(), number.to_string().into_bytes());
                respond(&Reply::Number { value: number, version: 1 });
            }
            ref other => panic!("no run sends {other:?}"),
        }
    }

    fn find(&self, cache: &Cache, key: &[u8], number: u64) -> Option<Vec<u8>> {
        let value = cache.now.get(key)?;
        let Some((_, wrong)) = self.faults.wrong_from.filter(|&(from, _)| number >= from) else {
            return Some(value.clone());
        };
        let mut value = value.clone();
        match wrong {
            Wrong::Bit => *value.last_mut().unwrap() ^= 4,
            Wrong::Short => drop(value.pop()),
            Wrong::Key => value = cache.now.iter().find(|(other, _)| *other != key)?.1.clone(),
            Wrong::Stale => value = cache.first[key].clone(),
        }
        Some(value)
    }
}

fn is_multiple(number: u64, of: u64) -> bool {
    of > 0 && number.is_multiple_of(of)
}

fn hello() -> HelloResult {
    HelloResult {
        protocol: 1,
        server: "test".into(),
        node: "test".into(),
        shard: 0,
        limits: Some(Limits {
            key_bytes_max: 1000,
            value_bytes_max: VALUE_BYTES_MAX,
            frame_bytes_max: 1 << 20,
            keys_max: 100,
            pipeline_max: 256,
        }),
        groups: vec![Group { name: "default".into(), hash: 1 }, Group { name: "scores".into(), hash: 2 }],
        topology: None,
    }
}

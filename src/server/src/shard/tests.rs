//! Several reactors in one thread, without sockets or executors: random clients, random cuts, random order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use larder_engine::limits::LANE_BATCHES_MAX;
use larder_engine::{Engine, EngineSettings, Standing, Watchers};
use larder_protocol::limits::{FRAME_BYTES_MAX, PIPELINE_MAX};
use larder_protocol::native::{self, Body};
use larder_protocol::{Command, Condition, Expiry, Request, Status, Write};
use larder_ring::{Node, Topology};
use larder_store::{Charge, GroupSettings, PolicyKind};

use super::{ConnectionId, Dialect, Reactor, Welcome};
use crate::limits::{OUTPUT_BYTES_MAX, OUTPUT_BYTES_PAUSE};
use crate::mesh::mesh;

pub(super) const NOW_MS: u64 = 1_700_000_000_000;
const VALUE_BYTES_MAX: usize = 1 << 20;

pub(super) fn reactors(shards: u16) -> Vec<Reactor> {
    let node = Node { id: "node".into(), address: "127.0.0.1:1".into(), shards, points: 1024, incarnation: 1 };
    let topology = Arc::new(Topology::new(0, 1, vec![node]).expect("one node makes a ring"));
    let ports = mesh(shards, LANE_BATCHES_MAX).expect("descriptors for the doors");
    let make = |port: crate::mesh::Port| {
        let shard = port.shard();
        let group = GroupSettings {
            name: "default".into(),
            budget_bytes: u64::from(shards) * (64 << 20),
            policy: PolicyKind::Lru.into(),
            ttl_ms: 0,
            ttl_jitter: 0,
            hash_seed: 0,
            charge: Charge::Bytes,
        };
        let settings = EngineSettings {
            node_id: "node".into(),
            shard,
            server: "larder test".into(),
            groups: vec![group.into()],
            value_bytes_max: VALUE_BYTES_MAX,
            node_memory_bytes: u64::from(shards) * (64 << 20),
            timeout_ms_default: 1_000,
            started_ms: NOW_MS,
            standing: Standing::FIXED,
        };
        let welcome = Welcome {
            server: "larder test".into(),
            node_id: "node".into(),
            shard,
            shards,
            value_bytes_max: VALUE_BYTES_MAX,
            resp: Arc::default(),
        };
        Reactor::new(
            Engine::new(settings, topology.clone(), Watchers::new()).expect("an engine"),
            port,
            welcome,
            Arc::default(),
        )
    };
    ports.into_iter().map(make).collect()
}

/// One connection's other end.
struct Client {
    id: ConnectionId,
    reactor: usize,
    /// Encoded and not received yet.
    outgoing: Vec<u8>,
    /// Handed over by the reactor, and how much of it has come.
    sending: Option<(Vec<u8>, usize)>,
    /// Received and not decoded yet.
    incoming: Vec<u8>,
    next_request: u64,
    unanswered: HashSet<u64>,
    /// Keys of this client alone: what a get that is answered in order must find.
    expected: HashMap<u64, Option<Vec<u8>>>,
    model: HashMap<Vec<u8>, Vec<u8>>,
}

impl Client {
    fn open(reactors: &mut [Reactor], reactor: usize) -> Self {
        let id = reactors[reactor].opened(Dialect::Native);
        Self {
            id,
            reactor,
            outgoing: Vec::new(),
            sending: None,
            incoming: Vec::new(),
            next_request: 1,
            unanswered: HashSet::new(),
            expected: HashMap::new(),
            model: HashMap::new(),
        }
    }

    fn ask(&mut self, name: usize, random: &mut fastrand::Rng) {
        let id = self.next_request;
        self.next_request += 1;
        let key = format!("{name} {}", random.u32(0..20)).into_bytes();
        let value = vec![random.u8(..); random.usize(0..200)];
        let command = match random.u32(0..3) {
            0 => {
                self.model.insert(key.clone(), value.clone());
                Command::Set(Write {
                    key: &key,
                    value: &value,
                    flags: 0,
                    condition: Condition::Always,
                    expiry: Expiry::Default,
                })
            }
            1 => {
                self.model.remove(&key);
                Command::Delete { key: &key, version: 0 }
            }
            _ => {
                self.expected.insert(id, self.model.get(&key).cloned());
                Command::Get { key: &key }
            }
        };
        let request = Request { id, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command };
        native::encode_request(&mut self.outgoing, &request);
        self.unanswered.insert(id);
    }

    fn send(&mut self, reactors: &mut [Reactor], random: &mut fastrand::Rng) {
        let reactor = &mut reactors[self.reactor];
        if !self.outgoing.is_empty() && reactor.wants_input(self.id) {
            let bytes = random.usize(1..=self.outgoing.len());
            reactor.received(self.id, &self.outgoing[..bytes], NOW_MS);
            self.outgoing.drain(..bytes);
        }
    }

    fn receive(&mut self, reactors: &mut [Reactor], random: &mut fastrand::Rng, seed: u64) {
        let reactor = &mut reactors[self.reactor];
        if self.sending.is_none() {
            self.sending = reactor.take_output(self.id).map(|buffer| (buffer, 0));
        }
        if let Some((buffer, sent)) = &mut self.sending {
            assert!(reactor.take_output(self.id).is_none(), "seed {seed}: one buffer is out at a time");
            let bytes = random.usize(1..=buffer.len() - *sent);
            self.incoming.extend_from_slice(&buffer[*sent..*sent + bytes]);
            *sent += bytes;
            if *sent == buffer.len() {
                let (buffer, _) = self.sending.take().expect("it is there");
                reactor.sent(self.id, buffer, NOW_MS);
            }
        }
        let mut consumed = 0;
        while let Ok(Some(frame)) = native::frame(&self.incoming[consumed..], FRAME_BYTES_MAX) {
            consumed += frame.consumed;
            let response = native::decode_response(frame.message).expect("a valid answer");
            assert!(
                self.unanswered.remove(&response.id),
                "seed {seed}: {} was not asked, or is answered twice",
                response.id
            );
            if let Some(expected) = self.expected.remove(&response.id) {
                match (&response.body, response.status) {
                    (Body::Entry(entry), Status::Ok) => {
                        assert_eq!(Some(entry.value), expected.as_deref(), "seed {seed}")
                    }
                    (Body::None, Status::NotFound) => assert_eq!(None, expected, "seed {seed}"),
                    other => panic!("seed {seed}: {other:?}"),
                }
            }
        }
        self.incoming.drain(..consumed);
    }

    fn is_over(&self) -> bool {
        self.unanswered.is_empty() && self.outgoing.is_empty()
    }
}

fn random_clients(shards: u16, steps: usize, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut reactors = reactors(shards);
    let mut clients: Vec<Client> =
        (0..12).map(|number| Client::open(&mut reactors, number % usize::from(shards))).collect();
    for step in 0..steps {
        let name = random.usize(0..clients.len());
        let client = &mut clients[name];
        match random.u32(0..20) {
            0..6 => (0..random.u32(1..20)).for_each(|_| client.ask(name, &mut random)),
            6..12 => client.send(&mut reactors, &mut random),
            12..16 => client.receive(&mut reactors, &mut random, seed),
            16..19 => {
                let shard = random.usize(0..reactors.len());
                reactors[shard].turn(NOW_MS);
                while reactors[shard].next_listed().is_some() {}
            }
            _ if random.u32(0..50) == 0 => {
                // Gone in the middle of whatever it was doing; its keys are not looked at again.
                reactors[client.reactor].closed(client.id, NOW_MS);
                let mut opened = Client::open(&mut reactors, name % usize::from(shards));
                opened.model = std::mem::take(&mut clients[name].model);
                opened.model.clear();
                clients[name] = opened;
                return_to_nothing(&mut reactors, &mut clients, name, seed);
            }
            _ => {}
        }
        if step % 64 == 0 {
            reactors.iter_mut().for_each(Reactor::validate);
        }
    }
    settle(&mut reactors, &mut clients, &mut random, seed);
    reactors.iter_mut().for_each(Reactor::validate);
    for client in clients {
        reactors[client.reactor].ended(client.id, NOW_MS);
        assert!(reactors[client.reactor].is_finished(client.id), "seed {seed}: all is answered and sent");
        reactors[client.reactor].closed(client.id, NOW_MS);
    }
    assert!(reactors.iter().all(|reactor| reactor.connections() == 0));
}

/// A new client begins with no keys: those of the one before, which may still be changing, are deleted first.
fn return_to_nothing(reactors: &mut [Reactor], clients: &mut [Client], name: usize, seed: u64) {
    for number in 0..20 {
        let client = &mut clients[name];
        let key = format!("{name} {number}").into_bytes();
        let id = client.next_request;
        client.next_request += 1;
        client.unanswered.insert(id);
        let command = Command::Delete { key: &key, version: 0 };
        let request = Request { id, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command };
        native::encode_request(&mut client.outgoing, &request);
    }
    let mut random = fastrand::Rng::with_seed(seed);
    settle(reactors, clients, &mut random, seed);
}

fn settle(reactors: &mut [Reactor], clients: &mut [Client], random: &mut fastrand::Rng, seed: u64) {
    for round in 0.. {
        assert!(round < 10_000, "seed {seed}: something is never answered");
        let mut is_quiet = true;
        for reactor in reactors.iter_mut() {
            is_quiet &= !reactor.turn(NOW_MS).worked;
            while reactor.next_listed().is_some() {}
        }
        for client in clients.iter_mut() {
            client.send(reactors, random);
            client.receive(reactors, random, seed);
        }
        if is_quiet && clients.iter().all(Client::is_over) {
            return;
        }
    }
}

#[test]
fn random_clients_get_each_answer_once_and_right() {
    let is_full = std::env::var_os("LARDER_TEST_FULL").is_some();
    for shards in [1, 2, 5] {
        random_clients(shards, if is_full { 400_000 } else { 20_000 }, fastrand::u64(..));
    }
}

pub(super) fn set_of(key: &[u8], value: &[u8]) -> Vec<u8> {
    let write = Write { key, value, flags: 0, condition: Condition::Always, expiry: Expiry::Default };
    encoded(Command::Set(write))
}

pub(super) fn encoded(command: Command<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    native::encode_request(
        &mut bytes,
        &Request { id: 1, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command },
    );
    bytes
}

#[test]
fn nothing_is_held_for_what_was_waited_for_in_vain() {
    let mut reactors = reactors(2);
    let id = reactors[0].opened(Dialect::Native);
    let ask = |reactors: &mut [Reactor], numbers: std::ops::Range<u8>| {
        let sets: Vec<u8> = numbers.flat_map(|number| set_of(&[number], b"v")).collect();
        reactors[0].received(id, &sets, NOW_MS);
    };
    ask(&mut reactors, 0..40);
    assert!(reactors[0].awaits_more(id), "some are for the other shard");
    reactors[0].waited_in_vain(id);
    assert!(!reactors[0].awaits_more(id));
    reactors[0].validate();
    ask(&mut reactors, 40..80);
    assert!(reactors[0].awaits_more(id), "there are others, which may come soon");
    for reactor in [0, 1, 0] {
        reactors[reactor].turn(NOW_MS);
        reactors[reactor].validate();
    }
    assert!(!reactors[0].is_pending(id) && !reactors[0].awaits_more(id));
}

#[test]
fn word_that_an_answer_takes_long_may_come_for_who_is_gone() {
    let mut reactors = reactors(2);
    for numbers in [0..20, 20..40_u8] {
        let closes_early = numbers.start == 0;
        let id = reactors[0].opened(Dialect::Native);
        // The first has the lease, and the second waits for it.
        let leases = numbers.flat_map(|key| encoded(Command::LeaseGet { key: &[key], lease_ms: 0 }).repeat(2));
        reactors[0].received(id, &leases.collect::<Vec<u8>>(), NOW_MS);
        reactors[0].turn(NOW_MS);
        if !closes_early {
            reactors[1].turn(NOW_MS);
            reactors[0].turn(NOW_MS);
            reactors[0].validate();
            assert!(reactors[0].is_pending(id) && !reactors[0].awaits_more(id));
        }
        reactors[0].closed(id, NOW_MS);
        for reactor in [1, 0] {
            reactors[reactor].turn(NOW_MS);
            reactors[reactor].validate();
        }
    }
}

#[test]
fn the_requests_of_several_reads_are_asked_for_together() {
    let mut reactors = reactors(1);
    let reactor = &mut reactors[0];
    let [native, resp, memcache] = [Dialect::Native, Dialect::Resp(Box::default()), Dialect::Memcache(Box::default())]
        .map(|dialect| reactor.opened(dialect));
    let get = encoded(Command::Get { key: b"k" });
    let reads: [(_, &[u8]); 3] = [(native, &get), (resp, b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"), (memcache, b"get k\r\n")];
    assert_eq!(reactor.prefetch(reads.into_iter()), 3);
    for (id, read) in reads {
        reactor.received(id, &read[..read.len() - 1], NOW_MS);
        assert_eq!(reactor.prefetch([(id, read)].into_iter()), 0, "it goes on with what has begun");
        reactor.received(id, &read[read.len() - 1..], NOW_MS);
        assert_eq!(reactor.prefetch([(id, read)].into_iter()), 1);
    }
    let (stats, two) = (encoded(Command::Stats), get.repeat(2));
    assert_eq!(reactor.prefetch([(native, &stats[..]), (resp, b"PING\r\n")].into_iter()), 0, "they have no key");
    assert_eq!(
        reactor.prefetch([(native, &two[..]), (memcache, b"get k\r\nget l\r\n")].into_iter()),
        0,
        "by themselves"
    );
}

#[test]
fn a_connection_that_is_not_read_from_is_paused_and_resumes() {
    let mut reactors = reactors(1);
    let reactor = &mut reactors[0];
    let id = reactor.opened(Dialect::Native);
    reactor.received(id, &set_of(b"key", &[1; 50_000]), NOW_MS);
    let gets = encoded(Command::Get { key: b"key" }).repeat(100);
    reactor.received(id, &gets, NOW_MS);
    assert!(!reactor.wants_input(id), "so much output is not added to");
    let output = reactor.backlog(id);
    assert!((OUTPUT_BYTES_PAUSE..OUTPUT_BYTES_PAUSE + 51_000).contains(&output), "{output}");
    let mut total = 0;
    while let Some(buffer) = reactor.take_output(id) {
        assert!(!reactor.wants_input(id) || buffer.len() < OUTPUT_BYTES_PAUSE, "what is being sent counts");
        total += buffer.len();
        reactor.sent(id, buffer, NOW_MS);
        assert!(reactor.backlog(id) < OUTPUT_BYTES_PAUSE + 51_000);
    }
    assert!(total > 100 * 50_000, "all requests were answered: {total}");
    assert!(reactor.wants_input(id));
    reactor.validate();
}

#[test]
fn what_was_passed_on_for_a_client_that_does_not_read_is_bounded() {
    let mut reactors = reactors(2);
    let client = Client::open(&mut reactors, 0);
    let value = vec![1; 1 << 20];
    // A key of the other shard: the first whose set does not answer at once. A long one, so that the requests do not
    // all travel at once, and the answers come in many rounds.
    let key = (0..100_u8)
        .map(|number| vec![number; 1_500])
        .find(|key| {
            let before = reactors[0].backlog(client.id);
            reactors[0].received(client.id, &set_of(key, &value), NOW_MS);
            reactors[0].backlog(client.id) == before
        })
        .expect("half of all keys are there");
    run_until_quiet(&mut reactors);
    let get = encoded(Command::Get { key: &key });
    let mut asked = 0;
    while reactors[0].wants_input(client.id) {
        reactors[0].received(client.id, &get, NOW_MS);
        asked += 1;
    }
    assert_eq!(asked, PIPELINE_MAX, "the connection waits for as many answers as it may");
    run_until_quiet(&mut reactors);
    let output = reactors[0].backlog(client.id);
    assert!(output > OUTPUT_BYTES_MAX, "{output}: the bound was met");
    assert!(output < OUTPUT_BYTES_MAX + (2 << 20), "{output}");
    reactors.iter_mut().for_each(Reactor::validate);
}

pub(super) fn run_until_quiet(reactors: &mut [Reactor]) {
    while reactors.iter_mut().map(|reactor| reactor.turn(NOW_MS)).fold(false, |any, turn| any | turn.worked) {}
}

#[test]
fn what_follows_a_broken_frame_is_not_looked_at() {
    let mut reactors = reactors(1);
    let reactor = &mut reactors[0];
    let id = reactor.opened(Dialect::Native);
    let mut bytes = set_of(b"before", b"1");
    bytes.extend_from_slice(&u32::MAX.to_be_bytes());
    bytes.extend_from_slice(&set_of(b"after", b"1"));
    reactor.received(id, &bytes, NOW_MS);
    reactor.received(id, &set_of(b"after", b"1"), NOW_MS);
    assert!(!reactor.wants_input(id) && !reactor.is_finished(id), "the answers are to be sent");
    let output = reactor.take_output(id).expect("the answers");
    assert!(!reactor.is_finished(id), "they are on their way");
    reactor.sent(id, output, NOW_MS);
    assert!(reactor.is_finished(id) && reactor.is_broken(id));
    reactor.closed(id, NOW_MS);
    let id = reactor.opened(Dialect::Native);
    reactor.received(id, &encoded(Command::Get { key: b"after" }), NOW_MS);
    let output = reactor.take_output(id).expect("an answer");
    let frame = native::frame(&output, FRAME_BYTES_MAX).expect("sane").expect("whole");
    assert_eq!(native::decode_response(frame.message).expect("valid").status, Status::NotFound);
}

/// What was said on a connection of a dialect of text, since it was last asked for.
pub(super) fn output(reactor: &mut Reactor, id: ConnectionId) -> String {
    while reactor.next_listed().is_some() {}
    let mut all = String::new();
    while let Some(output) = reactor.take_output(id) {
        all.push_str(str::from_utf8(&output).expect("text"));
        reactor.sent(id, output, NOW_MS);
    }
    all
}

/// A random command on few keys, and what is answered to it with the values that the model has.
type Commands = fn(&mut fastrand::Rng, &mut HashMap<String, String>) -> (String, String);

/// Asks for what `command` makes on one of three shards, in pieces, and compares the answers.
pub(super) fn answers_come_in_order(dialect: fn() -> Dialect, command: Commands) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..30 {
        let mut reactors = reactors(3);
        let id = reactors[0].opened(dialect());
        let mut model = HashMap::new();
        let (mut input, mut expected) = (String::new(), String::new());
        for _ in 0..random.usize(1..400) {
            let (command, answer) = command(&mut random, &mut model);
            input.push_str(&command);
            expected.push_str(&answer);
        }
        let (mut rest, mut said) = (input.as_bytes(), String::new());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(random.usize(1..=rest.len().min(2_000)));
            reactors[0].received(id, now, NOW_MS);
            rest = later;
            for _ in 0..random.usize(0..4) {
                let shard = random.usize(0..3);
                reactors[shard].turn(NOW_MS);
                reactors[shard].validate();
            }
            if random.bool() {
                said.push_str(&output(&mut reactors[0], id));
            }
        }
        run_until_quiet(&mut reactors);
        said.push_str(&output(&mut reactors[0], id));
        assert_eq!(said, expected, "seed {seed}");
        reactors.iter_mut().for_each(Reactor::validate);
    }
}

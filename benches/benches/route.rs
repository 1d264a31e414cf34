//! From a key to its owner, and what it costs if that is another shard.

use std::process::ExitCode;
use std::sync::Arc;

use larder_benches::harness::{case, run};
use larder_engine::{Engine, EngineSettings, Standing, Submission};
use larder_protocol::native::encode_response;
use larder_protocol::{Command, Condition, Expiry, Request, Write};
use larder_ring::{DEFAULT_GROUP, Node, Topology, group_hash, key_hash, shard, slot};
use larder_store::{Charge, GroupSettings, NoHook, PolicyKind};

const NOW_MS: u64 = 1_700_000_000_000;
/// Requests that a shard passes on in one turn.
const PASSED_ON: usize = 64;

fn main() -> ExitCode {
    run(&[
        case("key_hash_16", || hashing(16)),
        case("key_hash_100", || hashing(100)),
        case("slot_and_shard", || {
            let mut hash = 1_u64;
            move || {
                hash = next(hash);
                (slot(hash), shard(hash, 16))
            }
        }),
        case("place_3_nodes", || placing(3)),
        case("place_1000_nodes", || placing(1000)),
        case("get_here_x64", || asking(0, false)),
        case("get_passed_on_x64", || asking(1, false)),
        case("set_here_x64", || asking(0, true)),
        case("set_passed_on_x64", || asking(1, true)),
    ])
}

fn next(hash: u64) -> u64 {
    hash.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f)
}

fn hashing(len: usize) -> impl FnMut() -> u64 {
    let seed = group_hash("default", 0);
    let mut key = vec![b'k'; len];
    let mut count = 0_u64;
    move || {
        count += 1;
        key[..8].copy_from_slice(&count.to_le_bytes());
        key_hash(&key, seed)
    }
}

fn nodes(count: usize) -> Vec<Node> {
    let node = |number: usize| Node {
        id: format!("node-{number}"),
        address: format!("10.0.{}.{}:7400", number / 250, number % 250),
        shards: 16,
        points: 1024,
        incarnation: 1,
    };
    (0..count).map(node).collect()
}

fn topology(nodes: Vec<Node>) -> Topology {
    Topology::new(0, 1, nodes).expect("nodes with names and addresses of their own")
}

fn placing(count: usize) -> impl FnMut() -> u16 {
    let topology = topology(nodes(count));
    let mut hash = 1_u64;
    move || {
        hash = next(hash);
        let place = topology.place(hash);
        place.node.0 ^ place.shard
    }
}

/// [`PASSED_ON`] requests for keys of shard `owner`, asked of shard 0 of two: the engines' work from the decoded
/// request to the encoded answer.
fn asking(owner: u16, sets: bool) -> impl FnMut() -> usize {
    let mut engines = [0, 1].map(engine);
    let group = group_hash(DEFAULT_GROUP, 0);
    let keys = (0..).map(|number: u64| format!("key:{number:012}"));
    let is_wanted = |key: &String| shard(key_hash(key.as_bytes(), group), 2) == owner;
    let keys: Vec<String> = keys.filter(is_wanted).take(64 * PASSED_ON).collect();
    let mut output = Vec::with_capacity(64 << 10);
    for keys in keys.chunks(PASSED_ON) {
        ask(&mut engines, keys, true, &mut output);
    }
    let mut turn = 0;
    move || {
        turn = (turn + 1) % (keys.len() / PASSED_ON);
        output.clear();
        ask(&mut engines, &keys[turn * PASSED_ON..][..PASSED_ON], sets, &mut output);
        output.len()
    }
}

/// Gets or sets keys by way of the first engine.
fn ask([asked, other]: &mut [Engine<NoHook>; 2], keys: &[String], sets: bool, output: &mut Vec<u8>) {
    let (mut answered, value) = (0, [b'v'; 64]);
    for (id, key) in keys.iter().enumerate() {
        let (key, condition, expiry) = (key.as_bytes(), Condition::Always, Expiry::Default);
        let command = match sets {
            true => Command::Set(Write { key, value: &value, flags: 0, condition, expiry }),
            false => Command::Get { key },
        };
        let request = Request { id: id as u64, epoch: 1, group: 0, timeout_ms: 0, forwarded: false, command };
        if let Submission::Done(reply) = asked.submit(&request, NOW_MS) {
            encode_response(output, request.id, 1, &reply);
            answered += 1;
        }
    }
    while let Some(requests) = asked.next_batch() {
        other.receive(0, requests.lane, &requests.batch, NOW_MS, |_, _| unreachable!("it asks for nothing"));
        other.recycle(requests.batch);
    }
    while let Some(replies) = other.next_batch() {
        asked.receive(1, replies.lane, &replies.batch, NOW_MS, |ticket, reply| {
            encode_response(output, ticket.index() as u64, 1, reply);
            answered += 1;
        });
        asked.recycle(replies.batch);
    }
    assert_eq!(answered, keys.len(), "every request is answered");
}

fn engine(shard: u16) -> Engine<NoHook> {
    const BUDGET_BYTES: u64 = 64 << 20;
    let node = Node { id: "a".into(), address: "a:1".into(), shards: 2, points: 1024, incarnation: 1 };
    let settings = EngineSettings {
        node_id: "a".into(),
        shard,
        server: "bench".into(),
        groups: vec![
            GroupSettings {
                name: DEFAULT_GROUP.into(),
                budget_bytes: BUDGET_BYTES,
                policy: PolicyKind::TwoQ.into(),
                ttl_ms: 0,
                ttl_jitter: 0,
                hash_seed: 0,
                charge: Charge::Bytes,
            }
            .into(),
        ],
        value_bytes_max: 1 << 20,
        node_memory_bytes: BUDGET_BYTES,
        timeout_ms_default: 1_000,
        started_ms: NOW_MS,
        standing: Standing::FIXED,
    };
    Engine::new(settings, Arc::new(Topology::single(node, 0)), NoHook).expect("an engine of a group that fits")
}

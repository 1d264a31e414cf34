//! What a get costs in the engine, codec included and sockets not: frames decoded, executed and answered in batches,
//! with their memory asked for ahead and without.
//!
//! `cargo run --release -p larder-engine --example batch -- [ENTRIES] [REQUESTS] [BATCH]`; the entries are of
//! 16 + 64 bytes. Under `valgrind --tool=callgrind` it counts instructions: take the difference of two numbers of
//! requests.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use larder_engine::{Engine, EngineSettings, Standing, Submission};
use larder_protocol::native::{RequestLimits, decode_plain, encode_request, encode_response, frame};
use larder_protocol::{Command, Condition, Expiry, Request, Write};
use larder_ring::{Node, Topology};
use larder_store::{Charge, GroupSettings, NoHook, PolicyKind};

const NOW_MS: u64 = 1_700_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let entries = numbers.next().transpose()?.unwrap_or(1_000_000);
    let requests = numbers.next().transpose()?.unwrap_or(4_000_000);
    let batch = numbers.next().transpose()?.unwrap_or(64).max(1);
    let mut engine = engine(entries as u64 * 250)?;
    for number in 0..entries {
        let key = format!("key:{number:012}");
        let (condition, expiry) = (Condition::Always, Expiry::Never);
        let write = Write { key: key.as_bytes(), value: &[b'v'; 64], flags: 0, condition, expiry };
        engine.submit(&request(1, Command::Set(write)), NOW_MS);
    }
    for is_ahead in [false, true, false, true] {
        let ns = gets(&mut engine, entries, requests, batch, is_ahead);
        println!("{entries} entries, batches of {batch}, ahead {is_ahead}: {ns:.1} ns per get");
    }
    Ok(())
}

/// Nanoseconds per get.
fn gets(engine: &mut Engine<NoHook>, entries: usize, requests: usize, batch: usize, is_ahead: bool) -> f64 {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut input, mut output) = (Vec::new(), Vec::new());
    let mut ns = 0;
    for _ in 0..requests / batch {
        input.clear();
        for id in 0..batch as u64 {
            let key = format!("key:{:012}", random.usize(0..entries));
            encode_request(&mut input, &request(id, Command::Get { key: key.as_bytes() }));
        }
        output.clear();
        let begun = Instant::now();
        answer(engine, &input, &mut output, is_ahead);
        ns += begun.elapsed().as_nanos();
        assert!(black_box(&output).len() > batch * 64, "every get is a hit");
    }
    ns as f64 / requests as f64
}

#[inline(never)]
fn answer(engine: &mut Engine<NoHook>, input: &[u8], output: &mut Vec<u8>, is_ahead: bool) {
    let limits = RequestLimits::default();
    let mut rest = input;
    let mut decoded = Vec::with_capacity(64);
    while let Ok(Some(frame)) = frame(rest, 1 << 20) {
        rest = &rest[frame.consumed..];
        decoded.extend(decode_plain(frame.message, &limits));
    }
    if is_ahead {
        engine.prefetch(decoded.iter());
    }
    for request in &decoded {
        if let Submission::Done(reply) = engine.submit(request, NOW_MS) {
            encode_response(output, request.id, 1, &reply);
        }
    }
}

fn request(id: u64, command: Command<'_>) -> Request<'_> {
    Request { id, epoch: 1, group: 0, timeout_ms: 0, forwarded: false, command }
}

fn engine(budget_bytes: u64) -> Result<Engine<NoHook>, Box<dyn Error>> {
    let node = Node { id: "a".into(), address: "a:1".into(), shards: 1, points: 1024, incarnation: 1 };
    let (name, policy, charge) = ("default".into(), PolicyKind::TwoQ.into(), Charge::Bytes);
    let settings = EngineSettings {
        node_id: "a".into(),
        shard: 0,
        server: "example".into(),
        groups: vec![
            GroupSettings { name, budget_bytes, policy, ttl_ms: 0, ttl_jitter: 0, hash_seed: 0, charge }.into(),
        ],
        value_bytes_max: 1 << 20,
        node_memory_bytes: budget_bytes,
        timeout_ms_default: 1_000,
        started_ms: NOW_MS,
        standing: Standing::FIXED,
    };
    Ok(Engine::new(settings, Arc::new(Topology::single(node, 0)), NoHook)?)
}

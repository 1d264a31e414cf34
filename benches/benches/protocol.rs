//! The native protocol: what a frame costs on either side.

use std::process::ExitCode;

use larder_benches::harness::{case, run};
use larder_protocol::native::{self, Scratch};
use larder_protocol::{Command, Condition, Entries, Expiry, Found, Keys, Reply, Request, Span, Status, Value, Write};

const KEY: &[u8; 16] = b"key:000000123456";
const KEYS: usize = 50;
const FRAME_BYTES_MAX: usize = 1 << 20;

fn main() -> ExitCode {
    run(&[
        case("request_encode_get", || encoding(|out| native::encode_request(out, &request(get())))),
        case("request_decode_get", || decoding_requests(request_bytes(get()))),
        case("request_encode_set_64", || encoding(|out| native::encode_request(out, &request(set(&[7; 64]))))),
        case("request_decode_set_64", || decoding_requests(request_bytes(set(&[7; 64])))),
        case("request_decode_get_many_50", || decoding_requests(get_many_bytes())),
        case("response_encode_hit_64", || encoding(|out| respond(out, &Reply::Entry(entry(&[7; 64]))))),
        case("response_decode_hit_64", || decoding_responses(|out| respond(out, &Reply::Entry(entry(&[7; 64]))))),
        case("response_encode_hit_1024", || encoding(|out| respond(out, &Reply::Entry(entry(&[7; 1024]))))),
        case("response_encode_miss", || encoding(|out| respond(out, &Reply::Miss))),
        case("response_decode_miss", || decoding_responses(|out| respond(out, &Reply::Miss))),
        case("response_encode_stored", || encoding(|out| respond(out, &Reply::Stored { version: 1 << 60 }))),
        case("response_encode_get_many_50", || encoding(|out| respond(out, &Reply::Entries(&Hits)))),
        case("response_decode_get_many_50", || decoding_responses(|out| respond(out, &Reply::Entries(&Hits)))),
    ])
}

#[derive(Debug)]
struct Hits;

impl Entries for Hits {
    fn len(&self) -> usize {
        KEYS
    }

    fn entry(&self, _index: usize) -> Result<Found<'_>, Status> {
        Ok(entry(&[7; 64]))
    }
}

fn entry(value: &[u8]) -> Found<'_> {
    Found { value: Value::Whole(value), flags: 0, version: 1 << 60, ttl_ms: 0, is_stale: false }
}

fn get() -> Command<'static> {
    Command::Get { key: KEY }
}

fn set(value: &[u8]) -> Command<'_> {
    Command::Set(Write { key: KEY, value, flags: 0, condition: Condition::Always, expiry: Expiry::Default })
}

fn request(command: Command<'_>) -> Request<'_> {
    Request { id: 77, epoch: 1, group: 0, timeout_ms: 0, forwarded: false, command }
}

fn request_bytes(command: Command<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    native::encode_request(&mut out, &request(command));
    out
}

fn get_many_bytes() -> Vec<u8> {
    let keys = KEY.repeat(KEYS);
    let spans: Vec<Span> = (0..KEYS as u32).map(|key| Span { start: key * 16, len: 16 }).collect();
    request_bytes(Command::GetMany { keys: Keys::new(&keys, &spans) })
}

fn respond(out: &mut Vec<u8>, reply: &Reply<'_>) {
    native::encode_response(out, 77, 1, reply);
}

fn encoding(encode: impl Fn(&mut Vec<u8>)) -> impl FnMut() -> usize {
    let mut out = Vec::with_capacity(FRAME_BYTES_MAX);
    move || {
        out.clear();
        encode(&mut out);
        out.len()
    }
}

fn decoding_requests(bytes: Vec<u8>) -> impl FnMut() -> u64 {
    let mut scratch = Scratch::default();
    move || {
        let frame = native::frame(&bytes, FRAME_BYTES_MAX).expect("a valid frame").expect("a whole frame");
        native::decode_request(frame.message, &mut scratch).expect("a valid request").id
    }
}

fn decoding_responses(encode: impl Fn(&mut Vec<u8>)) -> impl FnMut() -> u64 {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    move || {
        let frame = native::frame(&bytes, FRAME_BYTES_MAX).expect("a valid frame").expect("a whole frame");
        native::decode_response(frame.message).expect("a valid response").id
    }
}

//! Odd but valid input, and input that is odd at random: the decoders must see what prost sees.

use larder_protocol::native::{Body, Scratch, decode_request, decode_response};
use larder_protocol::{Command, Condition, Expiry, Status};

use crate::support::{agree_about_request, agree_about_response, hex};

/// What may stand in a field, for the writer of random messages.
#[derive(Clone, Copy)]
enum Kind {
    /// A varint; mostly a small one, so that enumerations are hit.
    Varint,
    Fixed64,
    Bytes,
    Text,
    Message(&'static [(u32, Kind)]),
}

use Kind::{Bytes, Fixed64, Message, Text, Varint};

const GET: &[(u32, Kind)] = &[(1, Bytes)];
const SET: &[(u32, Kind)] =
    &[(1, Bytes), (2, Bytes), (3, Varint), (4, Varint), (5, Fixed64), (6, Varint), (7, Varint), (8, Varint)];
const SETS: &[(u32, Kind)] = &[(1, Message(SET))];
const DELETE: &[(u32, Kind)] = &[(1, Bytes), (2, Fixed64)];
const TOUCH: &[(u32, Kind)] = &[(1, Bytes), (6, Varint), (7, Varint), (8, Varint)];
const INCREMENT: &[(u32, Kind)] = &[(1, Bytes), (2, Varint), (3, Varint), (6, Varint), (7, Varint), (8, Varint)];
const COUNT: &[(u32, Kind)] =
    &[(1, Bytes), (2, Varint), (3, Varint), (4, Varint), (5, Fixed64), (6, Varint), (7, Varint), (8, Varint)];
const META: &[(u32, Kind)] = &[
    (1, Bytes),
    (2, Bytes),
    (3, Varint),
    (4, Varint),
    (5, Fixed64),
    (6, Varint),
    (7, Varint),
    (8, Varint),
    (9, Fixed64),
    (10, Varint),
    (11, Varint),
    (12, Varint),
    (13, Varint),
    (14, Varint),
    (15, Varint),
    (16, Varint),
    (17, Varint),
    (18, Varint),
];
const APPEND: &[(u32, Kind)] = &[(1, Bytes), (2, Bytes)];
const LEASE_SET: &[(u32, Kind)] = &[(1, Message(SET)), (2, Fixed64)];
const SCAN: &[(u32, Kind)] = &[(1, Bytes), (2, Varint), (3, Bytes)];
const ALTER_GROUP: &[(u32, Kind)] = &[(1, Text), (2, Varint)];
const ALTER_NODE: &[(u32, Kind)] = &[(1, Text), (2, Text), (3, Varint)];
const HELLO: &[(u32, Kind)] = &[(1, Varint), (2, Text), (3, Bytes), (4, Varint)];
const REQUEST: &[(u32, Kind)] = &[
    (1, Varint),
    (2, Varint),
    (3, Fixed64),
    (4, Varint),
    (5, Varint),
    (6, Message(GET)),
    (7, Message(GET)),
    (8, Message(SET)),
    (9, Message(SETS)),
    (10, Message(DELETE)),
    (11, Message(GET)),
    (12, Message(TOUCH)),
    (13, Message(TOUCH)),
    (14, Message(INCREMENT)),
    (15, Message(APPEND)),
    (16, Message(APPEND)),
    (17, Message(GET)),
    (18, Message(LEASE_SET)),
    (19, Message(&[])),
    (20, Message(SCAN)),
    (21, Message(HELLO)),
    (22, Message(&[])),
    (23, Message(&[])),
    (24, Message(&[])),
    (25, Message(ALTER_GROUP)),
    (26, Message(&[])),
    (27, Message(ALTER_NODE)),
    (28, Message(&[(1, Bytes), (2, Bytes), (3, Varint)])),
    (29, Message(APPEND)),
    (30, Message(&[(1, Bytes), (2, Varint)])),
    (31, Message(DELETE)),
    (32, Message(APPEND)),
    (33, Message(COUNT)),
    (34, Message(META)),
];

const ENTRY: &[(u32, Kind)] = &[(1, Bytes), (2, Varint), (3, Fixed64), (4, Varint), (5, Varint)];
const OUTCOME: &[(u32, Kind)] = &[(1, Varint), (2, Fixed64)];
const NODE: &[(u32, Kind)] = &[(1, Text), (2, Text), (3, Varint), (4, Varint), (5, Fixed64)];
const TOPOLOGY: &[(u32, Kind)] = &[(1, Varint), (2, Fixed64), (3, Fixed64), (4, Message(NODE))];
const HELLO_RESULT: &[(u32, Kind)] =
    &[(1, Varint), (2, Text), (3, Text), (4, Varint), (6, Message(&[(1, Text), (2, Fixed64)])), (7, Message(TOPOLOGY))];
const STATS: &[(u32, Kind)] = &[
    (1, Text),
    (2, Text),
    (3, Varint),
    (5, Message(&[(1, Varint), (2, Varint), (8, Message(&[(1, Varint), (12, Varint)]))])),
];
const RESPONSE: &[(u32, Kind)] = &[
    (1, Varint),
    (2, Varint),
    (3, Varint),
    (4, Text),
    (5, Varint),
    (6, Message(ENTRY)),
    (7, Message(&[(1, Message(ENTRY))])),
    (8, Message(&[(1, Fixed64)])),
    (9, Message(&[(1, Message(OUTCOME))])),
    (10, Message(OUTCOME)),
    (11, Message(HELLO_RESULT)),
    (12, Message(STATS)),
    (13, Message(TOPOLOGY)),
    (14, Message(&[(1, Varint)])),
    (15, Message(&[(1, Bytes), (2, Bytes)])),
    (16, Message(&[(1, Text), (2, Message(&[(1, Text), (2, Varint), (3, Varint)]))])),
    (17, Message(&[(1, Varint), (2, Fixed64)])),
    (18, Message(&[(1, Fixed64), (2, Varint)])),
    (19, Message(&[(1, Message(ENTRY)), (2, Varint), (3, Varint), (4, Varint), (5, Varint), (6, Varint)])),
    (20, Message(&[(1, Bytes)])),
];

/// Writes messages that a protobuf library may send and none does: any order, repeated and unknown fields, overlong
/// numbers; and now and then something that is not valid.
struct Writer {
    random: fastrand::Rng,
    /// Whether to write only what prost accepts.
    valid: bool,
}

impl Writer {
    fn message(&mut self, fields: &[(u32, Kind)], depth: u32) -> Vec<u8> {
        let mut out = Vec::new();
        // Few kinds of field in one message, so that repeats and merges are frequent.
        let palette: Vec<_> = (0..3).filter_map(|_| self.random.choice(fields).copied()).collect();
        for _ in 0..self.random.u32(0..8) {
            match palette.get(self.random.usize(0..=palette.len())) {
                Some(&(number, _)) if !self.valid && self.random.u32(0..60) == 0 => self.unknown(&mut out, number, 0),
                Some(&(number, kind)) => self.field(&mut out, number, kind, depth),
                None => {
                    let number = self.random.u32(35..40) << self.random.u32(0..20);
                    self.unknown(&mut out, number, 0);
                }
            }
        }
        if !self.valid && self.random.u32(0..40) == 0 {
            out.truncate(self.random.usize(0..=out.len()));
        }
        out
    }

    fn field(&mut self, out: &mut Vec<u8>, number: u32, kind: Kind, depth: u32) {
        match kind {
            Varint => {
                self.key(out, number, 0);
                let value = match self.random.u32(0..8) {
                    0 => u64::MAX,
                    1 => self.random.u64(..),
                    2 => 1 << 32 | self.random.u64(..4),
                    _ => self.random.u64(..5),
                };
                self.varint(out, value);
            }
            Fixed64 => {
                self.key(out, number, 1);
                out.extend(self.random.u64(..).to_le_bytes());
            }
            Bytes | Text => {
                let len = self.random.usize(0..6);
                let bytes: Vec<u8> = match kind {
                    Text if self.valid || self.random.u32(0..20) > 0 => {
                        "naïve".chars().cycle().take(len).collect::<String>().into()
                    }
                    _ => (0..len).map(|_| self.random.u8(..)).collect(),
                };
                self.payload(out, number, &bytes);
            }
            Message(fields) => {
                let message = self.message(fields, depth + 1);
                self.payload(out, number, &message);
            }
        }
    }

    /// A field with any wire type; groups may nest.
    fn unknown(&mut self, out: &mut Vec<u8>, number: u32, depth: u32) {
        match self.random.u32(0..if depth < 3 { 5 } else { 4 }) {
            0 => self.field(out, number, Varint, 0),
            1 => self.field(out, number, Fixed64, 0),
            2 => self.field(out, number, Bytes, 0),
            3 => {
                self.key(out, number, 5);
                out.extend(self.random.u32(..).to_le_bytes());
            }
            _ => {
                self.key(out, number, 3);
                for _ in 0..self.random.u32(0..3) {
                    let inner = self.random.u32(1..60);
                    self.unknown(out, inner, depth + 1);
                }
                let end = if self.valid || self.random.u32(0..10) > 0 { number } else { number + 1 };
                self.key(out, end, 4);
            }
        }
    }

    fn payload(&mut self, out: &mut Vec<u8>, number: u32, payload: &[u8]) {
        self.key(out, number, 2);
        let lie = !self.valid && self.random.u32(0..100) == 0;
        self.varint(out, payload.len() as u64 + u64::from(lie));
        out.extend_from_slice(payload);
    }

    fn key(&mut self, out: &mut Vec<u8>, number: u32, wire: u64) {
        self.varint(out, u64::from(number) << 3 | wire);
    }

    /// Sometimes with more bytes than are needed, up to the 10 that are allowed.
    fn varint(&mut self, out: &mut Vec<u8>, mut value: u64) {
        let start = out.len();
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        if self.random.u32(0..12) == 0 {
            for _ in 0..self.random.usize(0..=10 - (out.len() - start)) {
                *out.last_mut().expect("a byte was written") |= 0x80;
                out.push(0);
            }
        }
    }
}

fn run(valid: bool, fields: &[(u32, Kind)], agree: impl Fn(&[u8]) -> Result<(), String>) {
    let seed = if valid { 41 } else { 42 };
    let mut writer = Writer { random: fastrand::Rng::with_seed(seed), valid };
    for round in 0..150_000 {
        let message = writer.message(fields, 0);
        agree(&message).unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error}\n{}", hex(&message)));
    }
}

#[test]
fn random_valid_requests_are_seen_as_prost_sees_them() {
    run(true, REQUEST, |message| {
        use prost::Message as _;
        larder_protocol::native::generated::Request::decode(message).map_err(|error| error.to_string())?;
        agree_about_request(message)
    });
}

#[test]
fn random_valid_responses_are_seen_as_prost_sees_them() {
    run(true, RESPONSE, |message| {
        use prost::Message as _;
        larder_protocol::native::generated::Response::decode(message).map_err(|error| error.to_string())?;
        agree_about_response(message)
    });
}

#[test]
fn random_broken_requests_are_seen_as_prost_sees_them() {
    run(false, REQUEST, agree_about_request);
}

#[test]
fn random_broken_responses_are_seen_as_prost_sees_them() {
    run(false, RESPONSE, agree_about_response);
}

/// The command in a request of these bytes, as text, since it borrows.
fn command(message: &[u8], check: impl FnOnce(&Command<'_>)) {
    agree_about_request(message).expect("prost agrees");
    let mut scratch = Scratch::default();
    check(&decode_request(message, &mut scratch).expect("valid").command);
}

#[test]
fn fields_may_come_in_any_order_and_the_last_of_several_counts() {
    // get { key: "a" key: "bc" }, id 5, id 7.
    let message = [0x32, 7, 0x0a, 1, b'a', 0x0a, 2, b'b', b'c', 0x08, 5, 0x08, 7];
    let mut scratch = Scratch::default();
    let request = decode_request(&message, &mut scratch).expect("valid");
    assert_eq!(request.id, 7);
    assert!(matches!(request.command, Command::Get { key: b"bc" }));
}

#[test]
fn the_last_operation_counts_and_parts_of_one_are_merged() {
    // set { key: "k" }, set { value: "v" }.
    command(&[0x42, 3, 0x0a, 1, b'k', 0x42, 3, 0x12, 1, b'v'], |command| match command {
        Command::Set(write) => assert_eq!((write.key, write.value), (&b"k"[..], &b"v"[..])),
        other => panic!("{other:?}"),
    });
    // set { key: "k" }, get {}, set { value: "v" }: the first set is gone.
    command(&[0x42, 3, 0x0a, 1, b'k', 0x32, 0, 0x42, 3, 0x12, 1, b'v'], |command| match command {
        Command::Set(write) => assert_eq!((write.key, write.value), (&b""[..], &b"v"[..])),
        other => panic!("{other:?}"),
    });
    // get_many { keys: "a" }, get_many { keys: "b" }, with an unknown field in between.
    command(&[0x3a, 3, 0x0a, 1, b'a', 0xb8, 0x02, 1, 0x3a, 3, 0x0a, 1, b'b'], |command| match command {
        Command::GetMany { keys } => assert_eq!(keys.iter().collect::<Vec<_>>(), [b"a", b"b"]),
        other => panic!("{other:?}"),
    });
    // get_many { keys: "a" }, delete_many { keys: "b" }.
    command(&[0x3a, 3, 0x0a, 1, b'a', 0x5a, 3, 0x0a, 1, b'b'], |command| match command {
        Command::DeleteMany { keys } => assert_eq!(keys.iter().collect::<Vec<_>>(), [b"b"]),
        other => panic!("{other:?}"),
    });
}

#[test]
fn the_last_expiry_counts() {
    // touch { ttl_ms: 5 expires_at_ms: 9 }, and the other way round.
    for (fields, wanted) in [
        ([0x30, 5, 0x38, 9], Expiry::At(9)),
        ([0x38, 9, 0x30, 5], Expiry::After(5)),
        ([0x38, 9, 0x30, 0], Expiry::Never),
        ([0x30, 5, 0x40, 1], Expiry::Keep),
        ([0x30, 5, 0x40, 0], Expiry::Default),
    ] {
        let message = [&[0x62, 4][..], &fields].concat();
        command(&message, |command| match command {
            Command::Touch { expiry, .. } => assert_eq!(*expiry, wanted, "{}", hex(&fields)),
            other => panic!("{other:?}"),
        });
    }
}

#[test]
fn a_version_counts_with_its_condition_alone() {
    let version = [0x29, 7, 0, 0, 0, 0, 0, 0, 0];
    for (condition, wanted) in [(0, Condition::Always), (2, Condition::Present), (3, Condition::Version(7))] {
        let message = [&[0x42, 11, 0x20, condition][..], &version].concat();
        command(&message, |command| match command {
            Command::Set(write) => assert_eq!(write.condition, wanted),
            other => panic!("{other:?}"),
        });
    }
}

#[test]
fn numbers_may_be_overlong_up_to_ten_bytes() {
    let overlong = |last: u8| [&[0x08][..], &[0x81], &[0x80; 8], &[last, 0x32, 0]].concat();
    let mut scratch = Scratch::default();
    assert_eq!(decode_request(&overlong(0), &mut scratch).expect("ten bytes").id, 1);
    assert_eq!(decode_request(&overlong(1), &mut scratch).expect("64 bits").id, 1 << 63 | 1);
    let refused = decode_request(&overlong(2), &mut scratch).expect_err("65 bits");
    assert_eq!((refused.id, refused.status), (0, Status::BadRequest));
}

#[test]
fn unknown_fields_of_every_kind_are_skipped() {
    let unknown = [
        &[0xb8, 0x02, 0x96, 0x01][..],
        &[0xb9, 0x02, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xba, 0x02, 2, 0xff, 0xff],
        &[0xbd, 0x02, 1, 2, 3, 4],
        // A group with a number, a group and a string in it.
        &[0xbb, 0x02, 0x08, 1, 0x13, 0x14, 0x1a, 1, 0, 0xbc, 0x02],
    ]
    .concat();
    let body = [&unknown[..], &[0x0a, 1, b'k'], &unknown].concat();
    let message = [&unknown[..], &[0x32, body.len() as u8], &body, &unknown, &[0x08, 9]].concat();
    command(&message, |command| assert!(matches!(command, Command::Get { key: b"k" }), "{command:?}"));
}

#[test]
fn results_spread_over_a_response_are_merged() {
    // entries { entries { value: "a" } }, id, an unknown field, entries { unknown, entries { status: NOT_FOUND } }.
    let message = [
        &[0x3a, 5, 0x0a, 3, 0x0a, 1, b'a'][..],
        &[0x08, 4, 0xb8, 0x02, 0],
        &[0x3a, 0],
        &[0x3a, 7, 0xb8, 0x02, 0, 0x0a, 2, 0x28, 1],
    ]
    .concat();
    agree_about_response(&message).expect("prost agrees");
    let response = decode_response(&message).expect("valid");
    let Body::Entries(entries) = response.body else { panic!("{response:?}") };
    assert_eq!(entries.len(), 2);
    let values: Vec<_> = entries.iter().map(|entry| entry.map(|entry| entry.value)).collect();
    assert_eq!(values, [Ok(&b"a"[..]), Err(Status::NotFound)]);
}

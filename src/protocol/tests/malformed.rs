//! Input that is refused: what it is answered, and with which id.

use larder_protocol::limits::{CLIENT_NAME_BYTES_MAX, COLD_BYTES_MAX, FRAME_BYTES_MAX, KEY_BYTES_MAX, KEYS_MAX};
use larder_protocol::native::{
    Malformed, RequestLimits, Scratch, decode_request, decode_response, encode_request, generated as pb,
};
use larder_protocol::{Command, Condition, Expiry, Failure, Request, Status, Write};
use pb::request::Operation;
use prost::Message;

use crate::golden;
use crate::support::{agree_about_request, agree_about_response};

fn refusal(message: &[u8]) -> Malformed {
    refusal_within(message, RequestLimits::default())
}

fn refusal_within(message: &[u8], limits: RequestLimits) -> Malformed {
    let mut scratch = Scratch::new(limits);
    decode_request(message, &mut scratch).map(|request| format!("{request:?}")).expect_err("refused")
}

fn with(id: u64, operation: Operation) -> Vec<u8> {
    pb::Request { id, operation: Some(operation), ..pb::Request::default() }.encode_to_vec()
}

#[track_caller]
fn assert_refused(message: &[u8], id: u64, status: Status, reason: &str) {
    let malformed = refusal(message);
    assert_eq!((malformed.id, malformed.status), (id, status), "{malformed}");
    assert!(malformed.reason.contains(reason), "{malformed}");
}

#[test]
fn an_empty_message_has_no_operation() {
    assert_refused(&[], 0, Status::NotSupported, "no operation");
    assert_refused(&[0x08, 7], 7, Status::NotSupported, "no operation");
}

#[test]
fn an_unknown_operation_is_not_supported() {
    // Field 39, a message, before and behind the id.
    assert_refused(&[0xba, 0x02, 2, 0x0a, 0, 0x08, 7], 7, Status::NotSupported, "no operation");
    assert_refused(&[0x08, 7, 0xba, 0x02, 0], 7, Status::NotSupported, "no operation");
}

#[test]
fn messages_cut_or_spoilt_at_every_byte_are_refused_or_read_as_prost_does() {
    let spoil = |message: &[u8], agree: &dyn Fn(&[u8]) -> Result<(), String>| {
        for at in 0..message.len() {
            let (before, behind) = message.split_at(at);
            let agreed = agree(before)
                .and_then(|()| agree(&[before, &[0x80]].concat()))
                .and_then(|()| agree(&[before, &[0x80], &behind[1..]].concat()))
                .and_then(|()| agree(&[before, &[0xff; 11], behind].concat()))
                .and_then(|()| agree(&[before, &behind[1..]].concat()));
            agreed.unwrap_or_else(|error| panic!("at byte {at}: {error}"));
        }
    };
    for case in golden::requests() {
        spoil(case.message(), &agree_about_request);
    }
    for case in golden::responses() {
        spoil(case.message(), &agree_about_response);
    }
}

#[test]
fn a_message_cut_inside_a_field_is_refused() {
    // id 7, get { key: "k" }: the cuts at 0 and behind the id leave no operation, the other ones half a field.
    let message = with(7, Operation::Get(pb::Get { key: b"k".to_vec() }));
    assert_eq!(message.len(), 7);
    for cut in 0..message.len() {
        let malformed = refusal(&message[..cut]);
        let status = if matches!(cut, 0 | 2) { Status::NotSupported } else { Status::BadRequest };
        let id = if cut < 2 { 0 } else { 7 };
        assert_eq!((malformed.id, malformed.status), (id, status), "cut at {cut}: {malformed}");
    }
}

#[test]
fn the_id_is_found_behind_a_broken_operation() {
    // set with half a field in it, whose own length is right, and then the id.
    assert_refused(&[0x42, 2, 0x0a, 5, 0x08, 9], 9, Status::BadRequest, "more bytes than its message");
    // An operation whose length is wrong: nothing behind it can be trusted.
    assert_refused(&[0x42, 100, 0x0a, 5, 0x08, 9], 0, Status::BadRequest, "more bytes than its message");
}

#[test]
fn broken_fields_are_named() {
    for (message, reason) in [
        (&[0x00, 0x01][..], "number 0"),
        (&[0x0e, 0x01], "wire type 6 or 7"),
        (&[0x0f, 0x01], "wire type 6 or 7"),
        (&[0xff, 0xff, 0xff, 0xff, 0x1f], "above 2^29 - 1"),
        (&[0x0a, 0x00], "another wire type"),
        (&[0x30, 0x00], "another wire type"),
        (&[0x18, 0x00], "another wire type"),
        (&[0x19, 1, 2, 3], "8 bytes is cut off"),
        (&[0x08], "cut off"),
        (&[0x08, 0x80], "cut off"),
        (&[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80], "more than 10 bytes"),
        (&[0xba, 0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "an unknown field claims"),
        (&[0x32, 0xff, 0xff, 0xff, 0xff, 0x0f], "a field claims"),
        (&[0xbb, 0x02], "no end"),
        (&[0xbb, 0x02, 0x1c], "did not begin"),
        (&[0xbc, 0x02], "did not begin"),
    ] {
        assert_refused(message, 0, Status::BadRequest, reason);
        agree_about_request(message).expect("prost refuses it too");
    }
}

#[test]
fn groups_nest_as_deep_as_prost_lets_them() {
    let nested = |depth: usize| [[0xbb, 0x02].repeat(depth), [0xbc, 0x02].repeat(depth), vec![0x32, 0]].concat();
    let mut scratch = Scratch::default();
    for depth in [1, 99, 100, 101, 1_000, 1_000_000] {
        let message = nested(depth);
        agree_about_request(&message).unwrap_or_else(|error| panic!("depth {depth}: {error}"));
        assert_eq!(decode_request(&message, &mut scratch).is_ok(), depth <= 100, "depth {depth}");
    }
    assert_refused(&nested(101), 0, Status::BadRequest, "too deep");

    // A message around them counts as a level: get, set_many and its element; entries and its element.
    let groups = |depth: usize| [[0xbb, 0x02].repeat(depth), [0xbc, 0x02].repeat(depth)].concat();
    let within = |number: u8, body: &[u8]| {
        let mut field = vec![number << 3 | 2];
        prost::encoding::encode_varint(body.len() as u64, &mut field);
        [&field, body].concat()
    };
    for depth in 97..=101 {
        let in_get = within(6, &groups(depth));
        let in_element = within(1, &groups(depth));
        agree_about_request(&in_get).unwrap_or_else(|error| panic!("get, depth {depth}: {error}"));
        agree_about_request(&within(9, &in_element)).unwrap_or_else(|error| panic!("set_many, depth {depth}: {error}"));
        agree_about_response(&within(7, &in_element)).unwrap_or_else(|error| panic!("entries, depth {depth}: {error}"));
        assert_eq!(decode_request(&in_get, &mut scratch).is_ok(), depth <= 99, "depth {depth}");
    }
}

#[test]
fn text_must_be_utf8() {
    // hello { client: ff }, id 7.
    assert_refused(&[0xaa, 0x01, 3, 0x12, 1, 0xff, 0x08, 7], 7, Status::BadRequest, "not UTF-8");
    // message: c3, id 7.
    let malformed = decode_response(&[0x22, 1, 0xc3, 0x08, 7]).expect_err("not UTF-8");
    assert_eq!((malformed.id, malformed.status), (7, Status::BadRequest), "{malformed}");
    assert!(malformed.reason.contains("not UTF-8"), "{malformed}");
}

#[test]
fn what_is_above_a_limit_is_too_large_and_keeps_its_id() {
    let long_key = vec![b'k'; KEY_BYTES_MAX + 1];
    let key = || long_key.clone();
    for operation in [
        Operation::Get(pb::Get { key: key() }),
        Operation::Set(pb::Set { key: key(), ..pb::Set::default() }),
        Operation::Delete(pb::Delete { key: key(), version: 0 }),
        Operation::Touch(pb::Touch { key: key(), ..pb::Touch::default() }),
        Operation::GetAndTouch(pb::Touch { key: key(), ..pb::Touch::default() }),
        Operation::Increment(pb::Increment { key: key(), ..pb::Increment::default() }),
        Operation::Count(pb::Count { key: key(), ..pb::Count::default() }),
        Operation::Append(pb::Append { key: key(), value: Vec::new() }),
        Operation::Prepend(pb::Append { key: key(), value: Vec::new() }),
        Operation::Patch(pb::Patch { key: key(), ..pb::Patch::default() }),
        Operation::AddDecimal(pb::AddDecimal { key: key(), delta: Vec::new() }),
        Operation::Look(pb::Look { key: key(), value: false }),
        Operation::Check(pb::Check { key: key(), ..pb::Check::default() }),
        Operation::Meta(pb::Meta { key: key(), ..pb::Meta::default() }),
        Operation::Transact(pb::Transact { key: key(), requests: Vec::new() }),
        Operation::GetMany(pb::GetMany { keys: vec![key()] }),
        Operation::DeleteMany(pb::DeleteMany { keys: vec![Vec::new(), key()] }),
        Operation::SetMany(pb::SetMany { entries: vec![pb::Set { key: key(), ..pb::Set::default() }] }),
    ] {
        assert_refused(&with(7, operation), 7, Status::TooLarge, "a key is longer");
    }
    let name = "n".repeat(CLIENT_NAME_BYTES_MAX + 1);
    let hello = pb::Hello { client: name.clone(), ..pb::Hello::default() };
    assert_refused(&with(7, Operation::Hello(hello)), 7, Status::TooLarge, "name is longer");
    let hello = pb::Hello { credentials: name.into(), ..pb::Hello::default() };
    assert_refused(&with(7, Operation::Hello(hello)), 7, Status::TooLarge, "credentials are longer");
}

#[test]
fn what_is_at_a_limit_is_accepted() {
    let mut scratch = Scratch::default();
    let message = with(7, Operation::Get(pb::Get { key: vec![b'k'; KEY_BYTES_MAX] }));
    assert!(decode_request(&message, &mut scratch).is_ok());
    let message = with(7, Operation::GetMany(pb::GetMany { keys: vec![Vec::new(); KEYS_MAX] }));
    assert!(decode_request(&message, &mut scratch).is_ok());
}

#[test]
fn a_batch_above_the_limit_is_too_large_and_keeps_no_memory() {
    let keys = vec![Vec::new(); KEYS_MAX + 1];
    let entries = vec![pb::Set::default(); KEYS_MAX + 1];
    for operation in [
        Operation::GetMany(pb::GetMany { keys: keys.clone() }),
        Operation::DeleteMany(pb::DeleteMany { keys }),
        Operation::SetMany(pb::SetMany { entries }),
    ] {
        // The id behind the batch.
        let message = [with(0, operation), vec![0x08, 7]].concat();
        assert_refused(&message, 7, Status::TooLarge, "more keys");
    }
}

#[test]
fn a_server_may_have_lower_limits() {
    let limits = RequestLimits { key_bytes_max: 4, value_bytes_max: 6, keys_max: 2 };
    let set = |key: &str, value: &str| pb::Set { key: key.into(), value: value.into(), ..pb::Set::default() };
    let get_many = |count| Operation::GetMany(pb::GetMany { keys: vec![b"k".to_vec(); count] });
    let mut scratch = Scratch::new(limits);
    for operation in [Operation::Set(set("1234", "123456")), get_many(2)] {
        assert!(decode_request(&with(7, operation), &mut scratch).is_ok());
    }
    for (operation, reason) in [
        (Operation::Set(set("12345", "")), "a key is longer"),
        (Operation::Set(set("", "1234567")), "a value is longer"),
        (Operation::Append(pb::Append { key: Vec::new(), value: vec![0; 7] }), "a value is longer"),
        (Operation::SetMany(pb::SetMany { entries: vec![set("", "1234567")] }), "a value is longer"),
        (get_many(3), "more keys"),
    ] {
        let malformed = refusal_within(&with(7, operation), limits);
        assert_eq!((malformed.id, malformed.status), (7, Status::TooLarge), "{malformed}");
        assert!(malformed.reason.contains(reason), "{malformed}");
    }
    let higher = RequestLimits { key_bytes_max: usize::MAX, value_bytes_max: usize::MAX, keys_max: usize::MAX };
    assert_eq!(Scratch::new(higher).limits(), RequestLimits::default());
}

#[test]
fn an_unknown_condition_is_refused() {
    for number in [4, 100, -1] {
        let set = pb::Set { condition: number, ..pb::Set::default() };
        assert_refused(&with(7, Operation::Set(set.clone())), 7, Status::BadRequest, "condition");
        let set_many = Operation::SetMany(pb::SetMany { entries: vec![set] });
        assert_refused(&with(7, set_many), 7, Status::BadRequest, "condition");
    }
}

#[test]
fn a_message_longer_than_any_frame_is_refused() {
    let message = vec![0; FRAME_BYTES_MAX + 1];
    assert_refused(&message, 0, Status::BadRequest, "longer than any frame");
}

#[test]
fn a_life_of_no_time_is_sent_as_the_shortest() {
    let write = Write { key: b"k", value: b"v", flags: 0, condition: Condition::Always, expiry: Expiry::After(0) };
    let command = Command::Set(write);
    let request = Request { id: 1, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command };
    let mut frame = Vec::new();
    encode_request(&mut frame, &request);
    let mut scratch = Scratch::default();
    match decode_request(&frame[4..], &mut scratch).expect("valid").command {
        Command::Set(write) => assert_eq!(write.expiry, Expiry::After(1), "0 would mean never"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_response_with_an_unknown_status_is_not_supported() {
    // In the envelope, in an entry, and in an outcome.
    for message in
        [&[0x08, 7, 0x18, 20][..], &[0x08, 7, 0x3a, 4, 0x0a, 2, 0x28, 20], &[0x08, 7, 0x4a, 4, 0x0a, 2, 0x08, 20]]
    {
        let malformed = decode_response(message).expect_err("an unknown status");
        assert_eq!((malformed.id, malformed.status), (7, Status::NotSupported), "{malformed}");
    }
}

#[test]
fn a_response_has_bounds_too() {
    let many = [&[0x0a, 0].repeat(KEYS_MAX + 1)[..]].concat();
    for (key, status) in [(0x3a, Status::TooLarge), (0x4a, Status::TooLarge)] {
        let mut message = vec![0x08, 7, key];
        prost::encoding::encode_varint(many.len() as u64, &mut message);
        message.extend_from_slice(&many);
        let malformed = decode_response(&message).expect_err("too many results");
        assert_eq!((malformed.id, malformed.status), (7, status), "{malformed}");
    }
    // Two halves of a topology that together are too long.
    let half = pb::TopologyResult {
        nodes: vec![pb::Node { id: "n".repeat(COLD_BYTES_MAX / 2), ..pb::Node::default() }],
        ..pb::TopologyResult::default()
    };
    let half = pb::Response { id: 7, result: Some(pb::response::Result::Topology(half)), ..pb::Response::default() };
    let half = half.encode_to_vec();
    assert!(decode_response(&half).is_ok());
    let malformed = decode_response(&half.repeat(2)).expect_err("too long");
    assert_eq!((malformed.id, malformed.status), (7, Status::TooLarge), "{malformed}");
}

#[test]
fn a_malformed_message_is_a_failure_to_answer() {
    let failure = Failure::from(refusal(&[0x08, 7]));
    assert_eq!(failure.status, Status::NotSupported);
    assert!(!failure.message.is_empty());
}

//! Connections that ask for a shard, between reactors in one thread, without sockets.

use larder_protocol::limits::FRAME_BYTES_MAX;
use larder_protocol::native::{self, Body, PROTOCOL};
use larder_protocol::{Command, Request, Status};

use super::tests::{NOW_MS, reactors, run_until_quiet, set_of};
use super::{ConnectionId, Dialect, Reactor};

fn hello(protocol: u32, shard: Option<u32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let command = Command::Hello { client: "a test", protocol, credentials: b"", shard };
    native::encode_request(
        &mut bytes,
        &Request { id: 9, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command },
    );
    bytes
}

/// Takes all output: per answer its status, and of a Hello the shard.
fn answers(reactor: &mut Reactor, id: ConnectionId) -> Vec<(Status, Option<u32>)> {
    let mut answers = Vec::new();
    while let Some(output) = reactor.take_output(id) {
        let mut consumed = 0;
        while let Some(frame) = native::frame(&output[consumed..], FRAME_BYTES_MAX).expect("sane") {
            let response = native::decode_response(frame.message).expect("valid");
            let shard = if let Body::Hello(hello) = &response.body { Some(hello.shard) } else { None };
            answers.push((response.status, shard));
            consumed += frame.consumed;
        }
        assert_eq!(consumed, output.len(), "whole answers");
        reactor.sent(id, output, NOW_MS);
    }
    answers
}

#[test]
fn a_connection_moves_with_all_that_is_behind_its_hello() {
    let behind = 3_000;
    let mut bytes = hello(PROTOCOL, Some(2));
    (0..behind).for_each(|number: u32| bytes.extend_from_slice(&set_of(&number.to_le_bytes(), b"v")));
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..20 {
        let mut reactors = reactors(3);
        let id = reactors[0].opened(Dialect::Native);
        // However the bytes are cut: before the move they go to one shard, afterwards to the other.
        let mut given = 0;
        let to = loop {
            assert!(!reactors[0].is_settled(id) && reactors[0].wants_input(id), "seed {seed}");
            let next = (given + random.usize(1..200)).min(bytes.len());
            reactors[0].received(id, &bytes[given..next], NOW_MS);
            given = next;
            if let Some(to) = reactors[0].destination(id) {
                break to;
            }
        };
        assert_eq!(to, 2);
        assert!(!reactors[0].wants_input(id) && !reactors[0].is_finished(id));
        assert!(reactors[0].take_output(id).is_none(), "seed {seed}: nobody has answered yet");
        reactors[0].validate();
        let parcel = reactors[0].detach(id);
        assert_eq!(parcel.input(), &bytes[..given], "seed {seed}");
        assert_eq!(reactors[0].connections(), 0);
        let id = reactors[2].adopt(parcel, NOW_MS);
        assert!(reactors[2].is_settled(id));
        let mut told = Vec::new();
        while given < bytes.len() || told.len() <= behind as usize {
            if reactors[2].wants_input(id) && given < bytes.len() {
                let next = (given + random.usize(1..20_000)).min(bytes.len());
                reactors[2].received(id, &bytes[given..next], NOW_MS);
                given = next;
            }
            run_until_quiet(&mut reactors);
            while reactors.iter_mut().any(|reactor| reactor.next_listed().is_some()) {}
            told.extend(answers(&mut reactors[2], id));
        }
        assert_eq!(told.iter().find_map(|(_, shard)| *shard), Some(2), "seed {seed}");
        assert_eq!(told.len(), behind as usize + 1);
        assert!(told.iter().all(|(status, _)| *status == Status::Ok), "seed {seed}");
        reactors.iter_mut().for_each(Reactor::validate);
    }
}

#[test]
fn only_the_first_request_moves_a_connection_and_only_to_another_shard_that_exists() {
    let here = [
        (hello(PROTOCOL, None), Status::Ok),
        (hello(PROTOCOL, Some(0)), Status::Ok),
        (hello(PROTOCOL, Some(2)), Status::BadRequest),
        (hello(PROTOCOL, Some(u32::MAX)), Status::BadRequest),
        (hello(PROTOCOL, Some(65_537)), Status::BadRequest),
        (hello(PROTOCOL + 1, Some(1)), Status::NotSupported),
        (set_of(b"key", b"value"), Status::Ok),
    ];
    for (first, status) in here {
        let mut reactors = reactors(2);
        let id = reactors[0].opened(Dialect::Native);
        reactors[0].received(id, &first, NOW_MS);
        assert_eq!(reactors[0].destination(id), None);
        assert!(reactors[0].is_settled(id));
        run_until_quiet(&mut reactors);
        assert_eq!(answers(&mut reactors[0], id)[0].0, status);
        reactors[0].received(id, &hello(PROTOCOL, Some(1)), NOW_MS);
        assert_eq!(reactors[0].destination(id), None);
        assert_eq!(answers(&mut reactors[0], id), [(Status::Ok, Some(0))], "honest about who serves");
        while reactors[0].next_listed().is_some() {}
        reactors.iter_mut().for_each(Reactor::validate);
    }
    let mut reactors = reactors(2);
    let id = reactors[0].opened(Dialect::Native);
    reactors[0].received(id, &[0, 0, 0, 2, 0xff, 0xff], NOW_MS);
    assert!(reactors[0].is_settled(id), "so does what is no request at all");
}

#[test]
fn one_that_cannot_move_is_served_where_it_is() {
    let mut reactors = reactors(2);
    let mut bytes = hello(PROTOCOL, Some(1));
    (0..50_u8).for_each(|key| bytes.extend_from_slice(&set_of(&[key], b"v")));
    for comes_back in [false, true] {
        let mut id = reactors[0].opened(Dialect::Native);
        reactors[0].received(id, &bytes, NOW_MS);
        assert_eq!(reactors[0].destination(id), Some(1));
        if comes_back {
            let parcel = reactors[0].detach(id);
            id = reactors[0].adopt(parcel, NOW_MS);
        } else {
            reactors[0].stay(id, NOW_MS);
        }
        assert_eq!(reactors[0].destination(id), None);
        run_until_quiet(&mut reactors);
        let told = answers(&mut reactors[0], id);
        assert_eq!(told.len(), 51);
        assert_eq!(told[0], (Status::Ok, Some(0)), "the Hello is answered first, and honestly");
        reactors[0].ended(id, NOW_MS);
        assert!(reactors[0].is_finished(id));
        while reactors[0].next_listed().is_some() {}
        reactors[0].closed(id, NOW_MS);
    }
    reactors.iter_mut().for_each(Reactor::validate);
}

#[test]
fn one_that_leaves_before_it_is_served_is_forgotten() {
    let mut reactors = reactors(2);
    let id = reactors[0].opened(Dialect::Native);
    reactors[0].received(id, &hello(PROTOCOL, Some(1)), NOW_MS);
    reactors[0].ended(id, NOW_MS);
    assert!(!reactors[0].is_finished(id), "its Hello is not answered");
    let parcel = reactors[0].detach(id);
    let id = reactors[1].adopt(parcel, NOW_MS);
    assert_eq!(answers(&mut reactors[1], id), [(Status::Ok, Some(1))]);
    assert!(reactors[1].is_finished(id), "its end has moved with it");
    reactors[1].closed(id, NOW_MS);
    reactors.iter_mut().for_each(Reactor::validate);
}

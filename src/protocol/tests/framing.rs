//! Streams of frames, however they are cut.

use larder_protocol::limits::FRAME_BYTES_MAX;
use larder_protocol::native::{FrameTooLarge, Scratch, decode_request, frame};
use larder_protocol::{Command, Status};

use crate::golden;
use crate::support::{framed, hex};

/// A connection's receiving side: takes bytes as they come and gives the messages that are whole.
#[derive(Default)]
struct Receiver {
    buffer: Vec<u8>,
    messages: Vec<Vec<u8>>,
}

impl Receiver {
    fn receive(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        let mut consumed = 0;
        while let Some(found) = frame(&self.buffer[consumed..], FRAME_BYTES_MAX).expect("below the limit") {
            self.messages.push(found.message.to_vec());
            consumed += found.consumed;
        }
        self.buffer.drain(..consumed);
    }
}

/// All golden requests in one stream, and the messages in it.
fn stream() -> (Vec<u8>, Vec<Vec<u8>>) {
    let cases = golden::requests();
    let messages = cases.iter().map(|case| case.message().to_vec()).collect();
    (cases.into_iter().flat_map(|case| case.frame).collect(), messages)
}

#[test]
fn a_stream_may_be_cut_at_every_byte() {
    let (stream, messages) = stream();
    for at in 0..=stream.len() {
        let mut receiver = Receiver::default();
        receiver.receive(&stream[..at]);
        receiver.receive(&stream[at..]);
        assert!(receiver.messages == messages && receiver.buffer.is_empty(), "cut at byte {at}");
    }
    let mut receiver = Receiver::default();
    stream.iter().for_each(|byte| receiver.receive(&[*byte]));
    assert!(receiver.messages == messages && receiver.buffer.is_empty(), "byte by byte");
}

#[test]
fn thousands_of_frames_may_come_at_once_or_in_any_pieces() {
    let (stream, messages) = stream();
    let (stream, messages) = (stream.repeat(200), vec![messages; 200].concat());
    let mut at_once = Receiver::default();
    at_once.receive(&stream);
    assert!(at_once.messages == messages && at_once.buffer.is_empty(), "{} frames at once", messages.len());

    let seed = 7;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut receiver = Receiver::default();
    let mut rest = &stream[..];
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(random.usize(1..=rest.len().min(3_000)));
        receiver.receive(piece);
        rest = behind;
    }
    assert!(receiver.messages == messages && receiver.buffer.is_empty(), "seed {seed}");
}

#[test]
fn a_claim_of_4_gib_is_refused_from_its_four_bytes() {
    let refused = frame(&[0xff, 0xff, 0xff, 0xff], FRAME_BYTES_MAX).expect_err("above the limit");
    assert_eq!(refused, FrameTooLarge { claimed: u32::MAX, limit: FRAME_BYTES_MAX });
    assert!(refused.to_string().contains("4294967295") && refused.to_string().contains(&FRAME_BYTES_MAX.to_string()));
    // As does the first line of another protocol.
    assert!(frame(b"GET / HTTP/1.1\r\n", FRAME_BYTES_MAX).is_err());
}

#[test]
fn frames_of_length_zero_are_messages_without_an_operation() {
    let stream = [0; 4_000];
    let mut rest = &stream[..];
    let mut scratch = Scratch::default();
    for _ in 0..1_000 {
        let found = frame(rest, FRAME_BYTES_MAX).expect("below the limit").expect("whole");
        let refused = decode_request(found.message, &mut scratch).expect_err("no operation");
        assert_eq!((refused.id, refused.status), (0, Status::NotSupported));
        rest = &rest[found.consumed..];
    }
    assert!(rest.is_empty());
}

#[test]
fn a_million_tiny_frames_are_answered_one_by_one() {
    let stream = [framed(&[0x08, 7]), framed(&[]), framed(&[0x32, 0]), framed(&[0xff])].concat().repeat(250_000);
    let mut rest = &stream[..];
    let mut scratch = Scratch::default();
    let (mut gets, mut without_operation, mut broken) = (0, 0, 0);
    while let Some(found) = frame(rest, FRAME_BYTES_MAX).expect("below the limit") {
        match decode_request(found.message, &mut scratch) {
            Ok(request) if matches!(request.command, Command::Get { key: b"" }) => gets += 1,
            Ok(request) => panic!("{request:?}"),
            Err(refused) if refused.status == Status::NotSupported => without_operation += 1,
            Err(_) => broken += 1,
        }
        rest = &rest[found.consumed..];
    }
    assert_eq!((gets, without_operation, broken, rest.len()), (250_000, 500_000, 250_000, 0));
}

#[test]
fn a_broken_message_does_not_spoil_the_next() {
    let mut scratch = Scratch::default();
    for case in golden::requests() {
        for at in 0..case.message().len() {
            let mut spoilt = case.frame.clone();
            spoilt[4 + at] ^= 0xff;
            let stream = [&spoilt[..], &case.frame].concat();
            let first = frame(&stream, FRAME_BYTES_MAX).expect("below the limit").expect("whole");
            // Refused or not: what counts is the frame behind it.
            let _: bool = decode_request(first.message, &mut scratch).is_ok();
            let second = frame(&stream[first.consumed..], FRAME_BYTES_MAX).expect("below the limit").expect("whole");
            assert_eq!(hex(second.message), hex(case.message()), "{}", case.name);
            assert!(decode_request(second.message, &mut scratch).is_ok(), "{}", case.name);
        }
    }
}

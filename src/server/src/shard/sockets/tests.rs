//! Two shards in one thread, one of them with real sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use larder_protocol::limits::FRAME_BYTES_MAX;
use larder_protocol::{Command, Request, native};

use super::*;
use crate::limits::{HOLD_MS, HOLD_TURNS, REAPED_MAX, RING_SIZE, SEND_NOW_BYTES};
use crate::shard::tests::{NOW_MS, encoded, reactors, set_of};

/// Requests that are sent together; some are for either shard.
const REQUESTS: usize = 40;

struct Pair {
    sockets: Sockets,
    other: Reactor,
    client: TcpStream,
    address: SocketAddr,
}

impl Pair {
    fn new() -> Self {
        let mut reactors = reactors(2);
        let other = reactors.pop().expect("two");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let patience = Patience { idle: Duration::ZERO, half_sent: Duration::ZERO };
        let sockets = Sockets::new(
            reactors.pop().expect("two"),
            Ring::new(RING_SIZE).expect("a ring"),
            listener,
            Arc::new(Admission::new(4 * REAPED_MAX as u32)),
            Handover::new(other.port().doors().clone()),
            Dials::to_nobody(),
            patience,
        )
        .expect("descriptors");
        let client = TcpStream::connect(address).expect("the kernel accepts");
        client.set_nonblocking(true).expect("a socket option");
        let mut pair = Self { sockets, other, client, address };
        let mut requests = Vec::new();
        (0..REQUESTS).for_each(|number| requests.extend(set_of(&number.to_le_bytes(), b"v")));
        pair.client.write_all(&requests).expect("it fits into the socket");
        // Until they have come, which is told by some of them having been passed on.
        let begun = Instant::now();
        while !pair.other.needs_turn() {
            assert!(begun.elapsed() < Duration::from_secs(10), "the requests do not come");
            pair.turn();
        }
        pair
    }

    /// What the driver does in a turn.
    fn turn(&mut self) {
        let Self { sockets, .. } = self;
        sockets.ring.enter(None);
        sockets.reap(NOW_MS);
        sockets.reactor.turn(NOW_MS);
        sockets.take_listed(NOW_MS);
        sockets.settle(NOW_MS);
        sockets.ring.enter(None);
        sockets.validate();
    }

    /// Answers that have come to the client.
    fn answers(&mut self) -> usize {
        let mut bytes = vec![0; 1 << 16];
        let read = match self.client.read(&mut bytes) {
            Ok(read) => read,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                0
            }
        };
        let (mut answers, mut end) = (0, 0);
        while let Some(frame) = native::frame(&bytes[end..read], FRAME_BYTES_MAX).expect("sane") {
            answers += 1;
            end += frame.consumed;
        }
        assert_eq!(end, read, "whole answers");
        answers
    }
}

#[test]
fn answers_wait_for_those_of_other_shards_and_go_together() {
    let mut pair = Pair::new();
    for _ in 0..HOLD_TURNS / 2 {
        assert_eq!(pair.answers(), 0, "the other shard has not answered");
        pair.turn();
    }
    pair.other.turn(NOW_MS);
    pair.turn();
    assert_eq!(pair.answers(), REQUESTS);
}

#[test]
fn answers_wait_for_no_more_turns_than_the_bound() {
    let mut pair = Pair::new();
    let mut turns = 0;
    let first = loop {
        match pair.answers() {
            0 => pair.turn(),
            some => break some,
        }
        turns += 1;
        assert!(turns <= HOLD_TURNS, "they are held for too long");
    };
    assert!((1..REQUESTS).contains(&first), "{first} answers without the other shard");
    pair.other.turn(NOW_MS);
    pair.turn();
    assert_eq!(pair.answers(), REQUESTS - first, "and the others when they are there");
}

#[test]
fn answers_are_let_go_when_there_is_nothing_else_to_do() {
    let mut pair = Pair::new();
    assert_eq!(pair.answers(), 0);
    assert!(pair.sockets.let_go_all(), "there is something to send");
    pair.sockets.ring.enter(None);
    assert!((1..REQUESTS).contains(&pair.answers()));
    assert!(!pair.sockets.let_go_all());
    // The other shard has still not answered, and what is answered here does not wait for it once more.
    pair.client.write_all(&encoded(Command::Ping)).expect("it fits into the socket");
    let mut turns = 0;
    while pair.answers() == 0 {
        pair.turn();
        turns += 1;
        assert!(turns < HOLD_TURNS / 2, "it waits for what was waited for in vain");
    }
}

#[test]
fn answers_wait_for_no_longer_than_the_bound() {
    let mut pair = Pair::new();
    pair.sockets.settle(NOW_MS + HOLD_MS - 1);
    pair.sockets.ring.enter(None);
    assert_eq!(pair.answers(), 0);
    pair.sockets.settle(NOW_MS + HOLD_MS);
    pair.sockets.ring.enter(None);
    assert!((1..REQUESTS).contains(&pair.answers()));
}

#[test]
fn answers_do_not_wait_for_what_is_known_to_take_long() {
    let mut pair = Pair::new();
    pair.other.turn(NOW_MS);
    pair.turn();
    assert_eq!(pair.answers(), REQUESTS);
    // The first has the lease and the second waits for it, whichever shard has the key.
    for number in 100..100 + REQUESTS {
        let lease = encoded(Command::LeaseGet { key: &number.to_le_bytes(), lease_ms: 0 });
        pair.client.write_all(&[lease.clone(), lease].concat()).expect("it fits into the socket");
    }
    let (mut answers, mut turns) = (0, 0);
    while answers < REQUESTS {
        pair.turn();
        if pair.other.needs_turn() {
            pair.other.turn(NOW_MS);
        }
        answers += pair.answers();
        turns += 1;
        assert!(turns < HOLD_TURNS / 2, "{answers} answers, though the other shard has said that the rest takes long");
    }
    assert_eq!(answers, REQUESTS);
    assert!(pair.sockets.reactor.is_pending(pair.sockets.sockets.iter().flatten().next().expect("one").id));
}

#[test]
fn what_comes_from_many_at_once_is_asked_for_together_and_answered() {
    let mut pair = Pair::new();
    let clients: Vec<_> =
        (0..3 * REAPED_MAX).map(|_| TcpStream::connect(pair.address).expect("the kernel accepts")).collect();
    let begun = Instant::now();
    while pair.sockets.open_count() <= clients.len() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the connections do not come");
        pair.turn();
    }
    assert_eq!(pair.sockets.asked_for, 0, "nobody has asked for anything together with others");
    for (number, mut client) in clients.iter().enumerate() {
        client.write_all(&set_of(&number.to_le_bytes(), b"w")).expect("it fits into the socket");
    }
    for mut client in &clients {
        client.set_nonblocking(true).expect("a socket option");
        let mut bytes = [0; 256];
        let read = loop {
            assert!(begun.elapsed() < Duration::from_secs(10), "an answer does not come");
            match client.read(&mut bytes) {
                Ok(read) => break read,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            pair.turn();
            pair.other.turn(NOW_MS);
        };
        let frame = native::frame(&bytes[..read], FRAME_BYTES_MAX).expect("sane");
        assert_eq!(frame.map(|frame| frame.consumed), Some(read), "one answer");
    }
    // Those of this shard, which are about half of them; the first few may have come alone.
    let asked_for = pair.sockets.asked_for;
    assert!(
        (clients.len() as u64 / 4..=clients.len() as u64).contains(&asked_for),
        "of {}: {asked_for}",
        clients.len()
    );
}

#[test]
fn much_is_sent_before_the_turn_ends() {
    let mut pair = Pair::new();
    pair.other.turn(NOW_MS);
    pair.turn();
    assert_eq!(pair.answers(), REQUESTS);
    let value = vec![7; 10_000];
    // A key of this shard is one that is answered without the other.
    let local = (0..200_u64).find(|number| {
        pair.client.write_all(&set_of(&number.to_le_bytes(), &value)).expect("it fits into the socket");
        let begun = Instant::now();
        let is_local = loop {
            pair.turn();
            if pair.answers() == 1 {
                break true;
            }
            if pair.other.needs_turn() {
                break false;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "no answer");
        };
        if !is_local {
            pair.other.turn(NOW_MS);
            pair.turn();
            assert_eq!(pair.answers(), 1);
        }
        is_local
    });
    let key = local.expect("half of the keys are").to_le_bytes();
    let command = Command::Get { key: &key };
    let request = Request { id: 1, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command };
    let mut frame = Vec::new();
    native::encode_request(&mut frame, &request);
    let gets = 2 * SEND_NOW_BYTES / value.len();
    pair.client.write_all(&frame.repeat(gets)).expect("it fits into the socket");
    let begun = Instant::now();
    let (mut bytes, mut read) = (vec![0; 4 * SEND_NOW_BYTES], 0);
    while read < gets * value.len() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{read} bytes of {gets} answers came");
        pair.sockets.ring.enter(None);
        pair.sockets.reap(NOW_MS);
        match pair.client.read(&mut bytes[read..]) {
            Ok(more) => read += more,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    pair.turn();
}

//! What an answer may grow to, and what is copied.

use std::iter;

use larder_protocol::limits::{
    COLD_BYTES_MAX, FAILURE_MESSAGE_BYTES_MAX, FRAME_BYTES_MAX, KEY_BYTES_MAX, KEYS_MAX, REMOVALS_KEY_BYTES_MAX,
    REMOVALS_MAX, SCAN_BYTES_MAX, VALUE_BYTES_MAX,
};
use larder_protocol::native::{Body, Scratch, decode_request, decode_response, encode_request, encode_response};
use larder_protocol::native::{encode_hello, generated as pb, request_bytes};
use larder_protocol::{
    Command, Condition, Entry, Expiry, Failure, GroupAction, GroupAlteration, Keys, Meta, MetaAction, NodeAlteration,
    RemovalReason, Removals, RemovedSpan, Reply, Request, ScanStep, Span, Status, TouchCondition, WriteSpan, Writes,
};
use prost::Message;

use crate::support::{Results, agree_about_request};

/// The frame of a reply. Its length is known before anything is written, so it is reserved once and exactly.
fn frame_of(reply: &Reply<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_response(&mut out, u64::MAX, u64::MAX, reply);
    assert_eq!(out.capacity(), out.len().max(8), "reserved once, and what is needed");
    assert!(out.len() - 4 <= FRAME_BYTES_MAX, "{} bytes", out.len());
    out
}

/// The lengths of the values, or the statuses, of a get_many as a client sees them.
fn lengths(values: Vec<Result<Entry<'_>, Status>>) -> Vec<Result<usize, Status>> {
    let asked = values.len();
    let frame = frame_of(&Reply::Entries(&Results(values)));
    let response = decode_response(&frame[4..]).expect("a response");
    let Body::Entries(entries) = response.body else { panic!("entries: {:?}", response.status) };
    assert_eq!(entries.len(), asked);
    entries.iter().map(|entry| entry.map(|entry| entry.value.len())).collect()
}

fn entry(value: &[u8]) -> Result<Entry<'_>, Status> {
    Ok(Entry { value, flags: u32::MAX, version: u64::MAX, ttl_ms: u64::MAX, is_stale: true })
}

#[test]
fn entries_that_do_not_fit_in_a_frame_are_refused_one_by_one() {
    let value = vec![b'v'; 1 << 20];
    let mut values: Vec<_> = iter::repeat_n(entry(&value), 70).collect();
    values.push(Err(Status::NotFound));
    values.push(entry(b"small"));
    let lengths = lengths(values);

    let whole = lengths.iter().take_while(|length| **length == Ok(1 << 20)).count();
    assert_eq!(whole, 64, "as many as fit");
    assert!(lengths[whole..70].iter().all(|length| *length == Err(Status::TooLarge)));
    assert_eq!(lengths[70..], [Err(Status::NotFound), Ok(5)], "what is small and behind them fits");
}

#[test]
fn results_come_out_alike_however_much_room_there_is() {
    let (small, large) = (vec![b's'; 10], vec![b'l'; 20_000]);
    let (small, large, miss, empty) = (entry(&small), entry(&large), Err(Status::NotFound), entry(b""));
    let batches = [
        vec![],
        vec![miss],
        vec![small, small, large, miss, large],
        vec![large, small, small],
        [vec![large], vec![miss; 200]].concat(),
        [vec![miss], vec![large; 10], vec![small; 300]].concat(),
        vec![empty; 100],
        vec![miss; 1_000],
        [small, miss, empty].repeat(50),
    ];
    for (number, batch) in batches.into_iter().enumerate() {
        let results = Results(batch);
        let frame = frame_of(&Reply::Entries(&results));
        for capacity in (0..24).map(|power| (1 << power) + power).chain([frame.len(), frame.len() + 200]) {
            let mut out = Vec::with_capacity(capacity);
            out.extend_from_slice(b"before");
            encode_response(&mut out, u64::MAX, u64::MAX, &Reply::Entries(&results));
            assert!(out[6..] == frame && out[..6] == *b"before", "batch {number} in a buffer of {capacity} bytes");
        }
    }
}

#[test]
fn the_largest_value_fits_alone_and_in_the_largest_batch() {
    let value = vec![b'v'; VALUE_BYTES_MAX];
    assert_eq!(lengths(vec![entry(&value)]), [Ok(VALUE_BYTES_MAX)]);

    let misses = iter::repeat_n(Err(Status::NotFound), KEYS_MAX - 1);
    let lengths = lengths(misses.chain([entry(&value)]).collect());
    assert_eq!(lengths.last(), Some(&Ok(VALUE_BYTES_MAX)));

    let frame = frame_of(&Reply::Entry(entry(&value).expect("an entry").into()));
    let response = decode_response(&frame[4..]).expect("a response");
    assert!(matches!(response.body, Body::Entry(found) if found.value == value));
}

#[test]
fn the_largest_batch_stays_in_its_frame() {
    let value = vec![b'v'; 8 << 10];
    let lengths = lengths(iter::repeat_n(entry(&value), KEYS_MAX).collect());
    let whole = lengths.iter().filter(|length| length.is_ok()).count();
    let bytes = whole * value.len();
    assert!(bytes > FRAME_BYTES_MAX / 100 * 98, "{bytes} bytes of values use the frame");
    assert!(lengths[whole..].iter().all(|length| *length == Err(Status::TooLarge)));

    let outcomes = Results(iter::repeat_n(Ok(u64::MAX), KEYS_MAX).collect());
    assert!(frame_of(&Reply::Outcomes(&outcomes)).len() < 1 << 20);
}

#[test]
fn every_reply_is_reserved_once_and_exactly() {
    for reply in [
        Reply::Done,
        Reply::Miss,
        Reply::Entry(entry(b"value").expect("an entry").into()),
        Reply::Stored { version: u64::MAX },
        Reply::Number { value: i64::MIN, version: u64::MAX },
        Reply::Invalidated { generation: u64::MAX },
        Reply::Leased { token: u64::MAX, lease_ms: u32::MAX },
        Reply::Pong { acknowledged: u64::MAX, version: u64::MAX, clock_ms: u64::MAX },
        Reply::Failed(&Failure::new(Status::BadRequest, "reason")),
        Reply::Stats(&pb::StatsResult::default()),
        Reply::Scan(&pb::ScanResult { cursor: vec![1; 10], keys: vec![vec![2; 300], Vec::new()] }),
        Reply::Altered(&pb::AlteredGroup { changes: vec![pb::GroupChange::default()], ..Default::default() }),
        Reply::Removals(Removals::new(b"key", &[removed(0, 3, RemovalReason::Evicted, 9); 3], u64::MAX)),
    ] {
        frame_of(&reply);
    }
    frame_of(&Reply::Outcomes(&Results(vec![Ok(1), Err(Status::Exists), Ok(0)])));
}

fn removed(start: u32, len: u32, reason: RemovalReason, bytes: u64) -> RemovedSpan {
    RemovedSpan { key: Span { start, len }, reason, bytes }
}

#[test]
fn the_most_removals_are_within_what_a_client_accepts() {
    let keys = vec![b'k'; REMOVALS_KEY_BYTES_MAX];
    let len = (REMOVALS_KEY_BYTES_MAX / REMOVALS_MAX) as u32;
    let spans: Vec<_> =
        (0..REMOVALS_MAX as u32).map(|at| removed(at * len, len, RemovalReason::Voided, u64::MAX)).collect();
    let frame = frame_of(&Reply::Removals(Removals::new(&keys, &spans, u64::MAX)));
    let response = decode_response(&frame[4..]).expect("a response");
    let Body::Removals(removals) = response.body else { panic!("{response:?}") };
    assert_eq!((removals.removals.len(), removals.missed), (REMOVALS_MAX, u64::MAX));
    let (spans, longest) = ([removed(0, KEY_BYTES_MAX as u32, RemovalReason::Evicted, 1)], &keys[..KEY_BYTES_MAX]);
    frame_of(&Reply::Removals(Removals::new(longest, &spans, 0)));
}

#[test]
fn the_message_of_a_failure_is_cut_between_two_characters() {
    let long = "ä".repeat(FAILURE_MESSAGE_BYTES_MAX);
    for message in [long.clone(), format!("x{long}")] {
        let failure =
            Failure { status: Status::Unavailable, message: message.clone().into(), retry_after_ms: u32::MAX };
        let frame = frame_of(&Reply::Failed(&failure));
        let response = decode_response(&frame[4..]).expect("still UTF-8");
        assert!(message.starts_with(response.message), "{}", response.message);
        assert!((FAILURE_MESSAGE_BYTES_MAX - 1..=FAILURE_MESSAGE_BYTES_MAX).contains(&response.message.len()));
        assert_eq!((response.status, response.retry_after_ms), (Status::Unavailable, u32::MAX));
    }
}

#[test]
fn cold_results_above_their_bound_are_too_large() {
    let name = |bytes: usize| "n".repeat(bytes);
    // Behind the key and the length of the name.
    let fits = pb::StatsResult { node: name(COLD_BYTES_MAX - 5), ..pb::StatsResult::default() };
    let frame = frame_of(&Reply::Stats(&fits));
    let response = decode_response(&frame[4..]).expect("a client accepts it");
    assert!(matches!(response.body, Body::Stats(stats) if *stats == fits));

    let stats = pb::StatsResult { node: name(COLD_BYTES_MAX - 4), ..pb::StatsResult::default() };
    let hello = pb::HelloResult { node: name(COLD_BYTES_MAX), ..pb::HelloResult::default() };
    let mut hello_frame = Vec::new();
    encode_hello(&mut hello_frame, 7, 1, &hello);
    for frame in [frame_of(&Reply::Stats(&stats)), hello_frame] {
        let response = decode_response(&frame[4..]).expect("a response");
        assert_eq!((response.status, response.body), (Status::TooLarge, Body::None));
    }
}

#[test]
fn keys_of_a_scan_have_a_bound_of_their_own() {
    // Behind the key and the length of the one that is the longest that fits.
    let scan = |bytes| pb::ScanResult { cursor: Vec::new(), keys: vec![vec![b'k'; bytes]] };
    let (fits, above) = (scan(SCAN_BYTES_MAX - 5), scan(SCAN_BYTES_MAX - 4));
    let response = |scan: &pb::ScanResult| frame_of(&Reply::Scan(scan));
    let frame = response(&fits);
    let decoded = decode_response(&frame[4..]).expect("a client accepts it");
    assert!(matches!(decoded.body, Body::Scan(scan) if *scan == fits));
    let frame = response(&above);
    let refused = decode_response(&frame[4..]).expect("a response");
    assert_eq!((refused.status, refused.body), (Status::TooLarge, Body::None));
    let sent = pb::Response { result: Some(pb::response::Result::Scan(above)), ..pb::Response::default() };
    let refused = decode_response(&sent.encode_to_vec()).expect_err("longer than a client accepts");
    assert_eq!(refused.status, Status::TooLarge);
}

#[test]
fn keys_and_values_are_borrowed_from_the_frame() {
    let lies_in = |inner: &[u8], outer: &[u8]| outer.as_ptr_range().contains(&inner.as_ptr());
    let key = [b'k'; 100];
    let request = |command| Request { id: 1, epoch: 2, group: 3, timeout_ms: 4, forwarded: true, command };
    let mut frame = Vec::new();
    encode_request(&mut frame, &request(Command::Get { key: &key }));
    assert_eq!(frame.capacity(), frame.len(), "reserved once, and what is needed");
    let mut scratch = Scratch::default();
    match decode_request(&frame[4..], &mut scratch).expect("valid").command {
        Command::Get { key } => assert!(lies_in(key, &frame)),
        other => panic!("{other:?}"),
    }

    let frame = frame_of(&Reply::Entry(entry(&key).expect("an entry").into()));
    match decode_response(&frame[4..]).expect("valid").body {
        Body::Entry(entry) => assert!(lies_in(entry.value, &frame)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_largest_numbers_around_empty_payloads_are_encoded() {
    let (flags, expiry) = (u32::MAX, Expiry::At(u64::MAX));
    let write = WriteSpan { flags, condition: Condition::Version(u64::MAX), expiry, ..WriteSpan::default() };
    let (key, value) = (&b""[..], &b""[..]);
    for command in [
        Command::Get { key },
        Command::GetMany { keys: Keys::new(&[], &[Span { start: 0, len: 0 }; 100]) },
        Command::Set(write.of(&[])),
        Command::SetMany { entries: Writes::new(&[], &[write; 100]) },
        Command::Delete { key, version: u64::MAX },
        Command::Touch { key, expiry, only: TouchCondition::ExpiringEarlier },
        Command::Patch { key, offset: u64::MAX, value },
        Command::AddDecimal { key, delta: value },
        Command::Look { key, value: true },
        Command::Check { key, version: u64::MAX, expires_at_ms: Some(u64::MAX) },
        Command::Transact { key, requests: value },
        Command::Increment { key, delta: i64::MIN, initial: Some(i64::MIN), expiry },
        Command::Count { key, delta: u64::MAX, is_down: true, initial: Some(u64::MAX), expiry, version: u64::MAX },
        Command::Meta(Meta {
            action: MetaAction::TakeFrom,
            flags,
            version: u64::MAX,
            new_version: u64::MAX,
            expiry,
            created: Some(expiry),
            early_ms: u64::MAX,
            is_early_after: true,
            delta: u64::MAX,
            initial: u64::MAX,
            wants_value: true,
            is_unseen: true,
            is_stale: true,
            ..Meta::default()
        }),
        Command::Prepend { key, value },
        Command::Hello { client: "", protocol: u32::MAX, credentials: &[], shard: Some(u32::MAX) },
        Command::Scan(ScanStep { cursor: &[], count: u32::MAX, pattern: &[] }),
        Command::AlterGroup(GroupAlteration { name: "", action: GroupAction::Drop, settings: "" }),
        Command::AlterGroup(GroupAlteration { name: "", action: GroupAction::List, settings: "{}" }),
        Command::AlterNode(NodeAlteration { node: "", weight: Some(""), drain: Some(false) }),
        Command::Ping,
        Command::Watch,
        Command::LeaseGet { key, lease_ms: u32::MAX },
        Command::LeaseSet { write: write.of(&[]), token: u64::MAX },
    ] {
        let (id, epoch, group, timeout_ms) = (u64::MAX, u64::MAX, u64::MAX, u32::MAX);
        let request = Request { id, epoch, group, timeout_ms, forwarded: true, command };
        let mut frame = Vec::new();
        encode_request(&mut frame, &request);
        assert_eq!(frame.len(), request_bytes(&request));
        agree_about_request(&frame[4..]).expect("prost encodes the same");
    }
    let failure = Failure { status: Status::Unauthenticated, message: "".into(), retry_after_ms: u32::MAX };
    frame_of(&Reply::Failed(&failure));
    frame_of(&Reply::Entries(&Results(vec![entry(b""); 100])));
}

#[test]
fn the_size_of_a_request_is_known_without_encoding_it() {
    // Longer than any frame, from one key in memory.
    let key = vec![b'k'; 64 << 10];
    let spans = vec![Span { start: 0, len: key.len() as u32 }; KEYS_MAX];
    let command = Command::GetMany { keys: Keys::new(&key, &spans) };
    let request = Request { id: 0, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command };
    let bytes = request_bytes(&request);
    assert!(bytes > FRAME_BYTES_MAX && bytes > KEYS_MAX * key.len(), "{bytes} bytes");
}

//! The judge of every comparison: what the hand-written codec must say about bytes, worked out from what prost says.

use larder_protocol::limits::{
    CURSOR_BYTES_MAX, GROUP_NAME_BYTES_MAX, GROUP_SETTINGS_BYTES_MAX, NODE_NAME_BYTES_MAX, PATTERN_BYTES_MAX,
    WEIGHT_BYTES_MAX,
};
use larder_protocol::native::generated as pb;
use larder_protocol::native::{
    Body, Malformed, RequestLimits, Response, Scratch, decode_plain, decode_request, decode_response, encode_request,
    encode_response,
};
use larder_protocol::{
    Command, Condition, Entries, Entry, Expiry, Failure, Found, Looked, Members, Outcomes, Pieces, RemovalReason,
    Removals, RemovedSpan, Reply, Request, Span, Status, Value,
};
use pb::request::Operation;
use pb::response::Result as Outcome;
use prost::Message;

use crate::as_prost::request_as_prost;

/// A frame around `message`.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(message.len()).expect("a short message").to_be_bytes().to_vec();
    frame.extend_from_slice(message);
    frame
}

/// Bytes as hex, for messages of failed assertions.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Checks that prost and the hand-written decoder agree about `bytes` as a request, whatever they are.
pub(crate) fn agree_about_request(bytes: &[u8]) -> Result<(), String> {
    let mut scratch = Scratch::default();
    let found = decode_request(bytes, &mut scratch);
    agree_about_plain(bytes, &found)?;
    match (pb::Request::decode(bytes), found) {
        (Ok(sent), Ok(request)) => {
            let wanted = meaning_of_request(&sent).map_err(|status| format!("accepted, not {status:?}: {sent:?}"))?;
            let got = request_as_prost(&request);
            if got != wanted {
                return Err(format!("decoded {got:?}, not {wanted:?}"));
            }
            let mut frame = Vec::new();
            encode_request(&mut frame, &request);
            if frame != framed(&wanted.encode_to_vec()) {
                return Err(format!("encoded {}, not what prost encodes of {wanted:?}", hex(&frame)));
            }
            Ok(())
        }
        (Ok(sent), Err(malformed)) => refused(malformed, sent.id, meaning_of_request(&sent).err()),
        (Err(_), Err(malformed)) if is_refusal(&malformed) => Ok(()),
        (Err(error), found) => Err(format!("prost refuses ({error}), and here it is {found:?}")),
    }
}

/// What is decoded ahead is what is decoded otherwise, and what an encoder writes of the usual requests can be.
fn agree_about_plain(bytes: &[u8], found: &Result<Request<'_>, Malformed>) -> Result<(), String> {
    let limits = RequestLimits::default();
    let plain = decode_plain(bytes, &limits).map(|request| format!("{request:?}"));
    let found = match found {
        Ok(request) => request,
        Err(_) if plain.is_none() => return Ok(()),
        Err(malformed) => return Err(format!("plain, but {malformed:?}")),
    };
    let wanted = format!("{found:?}");
    if plain.is_some_and(|plain| plain != wanted) {
        return Err(format!("plain is not {wanted}"));
    }
    let is_usual = match found.command {
        Command::Get { .. } => true,
        Command::Set(write) => {
            let is_relative = matches!(write.expiry, Expiry::Default | Expiry::Never | Expiry::After(_));
            write.condition == Condition::Always && is_relative
        }
        _ => false,
    };
    let mut frame = Vec::new();
    encode_request(&mut frame, found);
    match decode_plain(&frame[4..], &limits).map(|request| format!("{request:?}")) {
        None if is_usual => Err(format!("what an encoder writes of {wanted} is not plain")),
        Some(plain) if !is_usual || plain != wanted => Err(format!("what an encoder writes of {wanted} is {plain}")),
        _ => Ok(()),
    }
}

/// Like [`agree_about_request`], for responses.
pub(crate) fn agree_about_response(bytes: &[u8]) -> Result<(), String> {
    match (pb::Response::decode(bytes), decode_response(bytes)) {
        (Ok(sent), Ok(response)) => {
            let wanted = meaning_of_response(&sent).map_err(|status| format!("accepted, not {status:?}: {sent:?}"))?;
            let got = response_as_prost(&response);
            if got == wanted { Ok(()) } else { Err(format!("decoded {got:?}, not {wanted:?}")) }
        }
        (Ok(sent), Err(malformed)) => refused(malformed, sent.id, meaning_of_response(&sent).err()),
        (Err(_), Err(malformed)) if is_refusal(&malformed) => Ok(()),
        (Err(error), found) => Err(format!("prost refuses ({error}), and here it is {found:?}")),
    }
}

fn is_refusal(malformed: &Malformed) -> bool {
    matches!(malformed.status, Status::BadRequest | Status::NotSupported | Status::TooLarge)
        && !malformed.reason.is_empty()
}

fn refused(malformed: Malformed, id: u64, wanted: Option<Status>) -> Result<(), String> {
    // An element of a list is judged when it is read, although protobuf may drop the list for a later operation.
    let judged_early = malformed.reason.contains("none that this");
    if malformed.id == id && (Some(malformed.status) == wanted || judged_early) {
        return Ok(());
    }
    Err(format!("refused as {malformed:?}, wanted {wanted:?} with id {id}"))
}

/// What a request that prost decoded means: itself without the fields that have no meaning, or the refusal.
pub(crate) fn meaning_of_request(sent: &pb::Request) -> Result<pb::Request, Status> {
    let mut meaning = sent.clone();
    let expiry_of_set = |set: &mut pb::Set| -> Result<(), Status> {
        match set.condition {
            0..=2 => set.version = 0,
            3 => {}
            _ => return Err(Status::BadRequest),
        }
        if set.expiry == Some(pb::set::Expiry::KeepTtl(false)) {
            set.expiry = None;
        }
        Ok(())
    };
    match meaning.operation.as_mut().ok_or(Status::NotSupported)? {
        Operation::Set(set) => expiry_of_set(set)?,
        Operation::SetMany(many) => many.entries.iter_mut().try_for_each(expiry_of_set)?,
        Operation::Touch(touch) if !(0..=5).contains(&touch.only) => return Err(Status::BadRequest),
        Operation::GetAndTouch(touch) => {
            touch.only = 0;
            touch.expiry.take_if(|expiry| *expiry == pb::touch::Expiry::KeepTtl(false));
        }
        Operation::Touch(touch) => {
            touch.expiry.take_if(|expiry| *expiry == pb::touch::Expiry::KeepTtl(false));
        }
        Operation::Increment(increment) => {
            increment.expiry.take_if(|expiry| *expiry == pb::increment::Expiry::KeepTtl(false));
        }
        Operation::Count(count) => {
            count.expiry.take_if(|expiry| *expiry == pb::count::Expiry::KeepTtl(false));
        }
        Operation::Meta(meta) => {
            if !(0..=9).contains(&meta.action) {
                return Err(Status::BadRequest);
            }
            meta.expiry.take_if(|expiry| *expiry == pb::meta::Expiry::KeepTtl(false));
        }
        Operation::LeaseSet(lease) => expiry_of_set(lease.set.get_or_insert_default())?,
        Operation::Scan(scan) if scan.cursor.len() > CURSOR_BYTES_MAX => return Err(Status::BadRequest),
        Operation::Scan(scan) if scan.pattern.len() > PATTERN_BYTES_MAX => return Err(Status::TooLarge),
        Operation::AlterGroup(alter) if alter.name.len() > GROUP_NAME_BYTES_MAX => return Err(Status::TooLarge),
        Operation::AlterGroup(alter) if alter.settings.len() > GROUP_SETTINGS_BYTES_MAX => {
            return Err(Status::TooLarge);
        }
        Operation::AlterGroup(alter) if !(0..=3).contains(&alter.action) => return Err(Status::NotSupported),
        Operation::AlterNode(alter) if alter.node.len() > NODE_NAME_BYTES_MAX => return Err(Status::TooLarge),
        Operation::AlterNode(pb::AlterNode { weight: Some(weight), .. }) if weight.len() > WEIGHT_BYTES_MAX => {
            return Err(Status::TooLarge);
        }
        _ => {}
    }
    Ok(meaning)
}

/// Like [`meaning_of_request`].
pub(crate) fn meaning_of_response(sent: &pb::Response) -> Result<pb::Response, Status> {
    let known = |status: i32| pb::Status::try_from(status).map_err(|_| Status::NotSupported);
    let mut meaning = sent.clone();
    known(meaning.status)?;
    match &mut meaning.result {
        Some(Outcome::Entry(entry)) if known(entry.status)? != pb::Status::Ok => meaning.result = None,
        Some(Outcome::Looked(looked)) => {
            let status = looked.entry.get_or_insert_default().status;
            if !(1..=2).contains(&looked.claim) {
                looked.claim = 0;
            }
            if known(status)? != pb::Status::Ok {
                meaning.result = None;
            }
        }
        Some(Outcome::Entries(entries)) => {
            for entry in &mut entries.entries {
                if known(entry.status)? != pb::Status::Ok {
                    *entry = pb::Entry { status: entry.status, ..pb::Entry::default() };
                }
            }
        }
        Some(Outcome::Outcomes(outcomes)) => {
            for outcome in &mut outcomes.outcomes {
                if known(outcome.status)? != pb::Status::Ok {
                    outcome.version = 0;
                }
            }
        }
        _ => {}
    }
    Ok(meaning)
}

/// A decoded response in prost's terms.
pub(crate) fn response_as_prost(response: &Response<'_>) -> pb::Response {
    let result = match &response.body {
        Body::None => None,
        Body::Entry(entry) => Some(Outcome::Entry(entry_as_prost(Ok(*entry)))),
        Body::Entries(entries) => {
            let entries: Vec<_> = entries.iter().map(entry_as_prost).collect();
            Some(Outcome::Entries(pb::Entries { entries }))
        }
        &Body::Stored { version, value_bytes } => Some(Outcome::Stored(pb::Stored { version, value_bytes })),
        &Body::Looked(Looked { entry, value_bytes, expires_at_ms, accessed_ms, is_hit: hit, claim }) => {
            let entry = Some(entry_as_prost(Ok(entry)));
            Some(Outcome::Looked(pb::Looked {
                entry,
                value_bytes,
                expires_at_ms,
                accessed_ms,
                hit,
                claim: claim as i32,
            }))
        }
        Body::Transacted(responses) => Some(Outcome::Transacted(pb::Transacted { responses: responses.to_vec() })),
        Body::Outcomes(outcomes) => {
            let outcomes = outcomes.iter().map(|outcome| match outcome {
                Ok(version) => pb::Outcome { status: 0, version },
                Err(status) => pb::Outcome { status: status as i32, version: 0 },
            });
            Some(Outcome::Outcomes(pb::Outcomes { outcomes: outcomes.collect() }))
        }
        Body::Number { value, version } => Some(Outcome::Number(pb::Number { value: *value, version: *version })),
        &Body::Pong { acknowledged, version, clock_ms } => {
            Some(Outcome::Pong(pb::Pong { acknowledged, version, clock_ms }))
        }
        &Body::Leased { token, lease_ms } => Some(Outcome::Leased(pb::Leased { token, lease_ms })),
        Body::Invalidated { generation } => Some(Outcome::Invalidated(pb::Invalidated { generation: *generation })),
        Body::Hello(hello) => Some(Outcome::Hello((**hello).clone())),
        Body::Stats(stats) => Some(Outcome::Stats((**stats).clone())),
        Body::Topology(topology) => Some(Outcome::Topology((**topology).clone())),
        Body::Scan(scan) => Some(Outcome::Scan((**scan).clone())),
        Body::Altered(altered) => Some(Outcome::AlteredGroup((**altered).clone())),
        Body::Removals(removals) => Some(Outcome::Removals((**removals).clone())),
        other => panic!("a body that this test does not know: {other:?}"),
    };
    pb::Response {
        id: response.id,
        epoch: response.epoch,
        status: response.status as i32,
        message: response.message.to_owned(),
        retry_after_ms: response.retry_after_ms,
        result,
    }
}

fn entry_as_prost(entry: Result<Entry<'_>, Status>) -> pb::Entry {
    match entry {
        Ok(Entry { value, flags, version, ttl_ms, is_stale: stale }) => {
            pb::Entry { value: value.to_vec(), flags, version, ttl_ms, status: 0, stale }
        }
        Err(status) => pb::Entry { status: status as i32, ..pb::Entry::default() },
    }
}

/// Results in memory, as an engine has them.
#[derive(Debug)]
pub(crate) struct Results<T>(pub(crate) Vec<Result<T, Status>>);

/// Values in two pieces.
impl Pieces for Results<Entry<'_>> {
    fn append(&self, index: usize, out: &mut Vec<u8>) {
        let value = self.0[index].expect("only an entry has a value").value;
        let (first, rest) = value.split_at(value.len() / 3);
        out.extend_from_slice(first);
        out.extend_from_slice(rest);
    }
}

impl Entries for Results<Entry<'_>> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn entry(&self, index: usize) -> Result<Found<'_>, Status> {
        let entry = self.0[index]?;
        let len = entry.value.len();
        // As both kinds of value, in turn.
        let value = match index % 2 {
            0 => Value::Whole(entry.value),
            _ => Value::InPieces { source: self, index, len },
        };
        Ok(Found { value, ..entry.into() })
    }
}

impl Outcomes for Results<u64> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn outcome(&self, index: usize) -> Result<u64, Status> {
        self.0[index]
    }
}

/// The frame that `encode_response` or `encode_hello` makes of a response; `None` if no reply says that.
pub(crate) fn encoded_again(response: &Response<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (id, epoch) = (response.id, response.epoch);
    let mut encode = |reply: Reply<'_>| encode_twice(&mut out, id, epoch, &reply);
    let bare = response.message.is_empty() && response.retry_after_ms == 0;
    match (response.status, &response.body) {
        (Status::Ok, Body::None) if bare => encode(Reply::Done),
        (Status::NotFound, Body::None) if bare => encode(Reply::Miss),
        (status, Body::None) if status != Status::Ok => {
            let message = response.message.to_owned().into();
            encode(Reply::Failed(&Failure { status, message, retry_after_ms: response.retry_after_ms }));
        }
        _ if response.status != Status::Ok || !bare => return None,
        (_, Body::Entry(entry)) => {
            encode(Reply::Entry((*entry).into()));
            let value = Value::InPieces { source: &Results(vec![Ok(*entry)]), index: 0, len: entry.value.len() };
            let mut in_pieces = Vec::new();
            encode_response(&mut in_pieces, id, epoch, &Reply::Entry(Found { value, ..(*entry).into() }));
            assert_eq!(in_pieces, out, "a value in pieces looks the same on the wire");
        }
        (_, Body::Entries(entries)) => encode(Reply::Entries(&Results(entries.iter().collect()))),
        (_, &Body::Stored { version, value_bytes: 0 }) => {
            encode(Reply::Stored { version });
            let mut resized = Vec::new();
            encode_response(&mut resized, id, epoch, &Reply::Resized { version, value_bytes: 0 });
            assert_eq!(resized, out, "no length is none");
        }
        (_, &Body::Stored { version, value_bytes }) => encode(Reply::Resized { version, value_bytes }),
        (_, &Body::Looked(Looked { entry, value_bytes, expires_at_ms, accessed_ms, is_hit, claim })) => {
            let entry = entry.into();
            encode(Reply::Looked(Looked { entry, value_bytes, expires_at_ms, accessed_ms, is_hit, claim }));
        }
        (_, Body::Transacted(responses)) => encode(Reply::Transacted(responses)),
        (_, Body::Outcomes(outcomes)) => encode(Reply::Outcomes(&Results(outcomes.iter().collect()))),
        (_, Body::Number { value, version }) => encode(Reply::Number { value: *value, version: *version }),
        (_, &Body::Pong { acknowledged, version, clock_ms }) => encode(Reply::Pong { acknowledged, version, clock_ms }),
        (_, &Body::Leased { token, lease_ms }) => encode(Reply::Leased { token, lease_ms }),
        (_, Body::Invalidated { generation }) => encode(Reply::Invalidated { generation: *generation }),
        (_, Body::Stats(stats)) => encode(Reply::Stats(stats)),
        (_, Body::Scan(scan)) => encode(Reply::Scan(scan)),
        (_, Body::Altered(altered)) => encode(Reply::Altered(altered)),
        (_, Body::Removals(removals)) => {
            let keys = removals.removals.iter().flat_map(|removed| removed.key.clone()).collect::<Vec<u8>>();
            encode(Reply::Removals(Removals::new(&keys, &spans_of(removals)?, removals.missed)));
        }
        (_, Body::Topology(topology)) => {
            let nodes = |nodes: &[pb::Node]| nodes.iter().map(|node| larder_ring::Node::try_from(node).ok()).collect();
            let (joining, draining): (Option<Vec<_>>, Option<Vec<_>>) =
                (nodes(&topology.joining), nodes(&topology.draining));
            let (ring, joining, draining) = (larder_ring::Topology::try_from(&**topology).ok()?, joining?, draining?);
            encode(Reply::Topology(Members { topology: &ring, joining: &joining, draining: &draining }));
        }
        (_, Body::Hello(hello)) => larder_protocol::native::encode_hello(&mut out, id, epoch, hello),
        _ => return None,
    }
    Some(out)
}

/// Where removals have their keys if these lie one behind the other; `None` if one has a reason that there is not.
fn spans_of(removals: &pb::Removals) -> Option<Vec<RemovedSpan>> {
    let mut start = 0;
    let spans = removals.removals.iter().map(|removed| {
        let key = Span { start, len: removed.key.len() as u32 };
        start += key.len;
        let reason = RemovalReason::from_number(removed.reason);
        (reason as i32 == removed.reason).then_some(RemovedSpan { key, reason, bytes: removed.bytes })
    });
    spans.collect()
}

/// Encodes an answer into an empty buffer, and into one with room, which gets the same.
fn encode_twice(out: &mut Vec<u8>, id: u64, epoch: u64, reply: &Reply<'_>) {
    encode_response(out, id, epoch, reply);
    let (mut roomy, before) = (Vec::with_capacity(1 << 20), b"before");
    roomy.extend_from_slice(before);
    encode_response(&mut roomy, id, epoch, reply);
    assert_eq!(roomy[before.len()..], *out, "a buffer with room gets the same");
}

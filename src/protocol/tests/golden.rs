//! The bytes of every operation and every result, as they are committed in `tests/golden/`: a comment, the message in
//! protobuf's text format, and the frame in hex. A reflecting encoder that knows nothing but `proto/larder.proto`
//! makes the bytes of the text; both decoders read them, and the hand-written encoder gives them back.
//!
//! `LARDER_REGENERATE=1 cargo test -p larder-protocol golden` writes the hex anew (for new cases: the bytes of old ones
//! are the wire contract and do not change).

use std::collections::BTreeSet;
use std::path::PathBuf;

use larder_protocol::Status;
use larder_protocol::native::{Scratch, decode_request, decode_response, encode_request, frame, generated as pb};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};

use crate::support::{agree_about_request, agree_about_response, encoded_again, framed, hex};

/// One case of a file.
pub(crate) struct Case {
    pub(crate) name: String,
    text: String,
    /// The frame, with its length.
    pub(crate) frame: Vec<u8>,
}

impl Case {
    /// The message, without its length.
    pub(crate) fn message(&self) -> &[u8] {
        &self.frame[4..]
    }
}

/// Every request of `tests/golden/requests.txt`.
pub(crate) fn requests() -> Vec<Case> {
    cases("requests")
}

/// Every response of `tests/golden/responses.txt`.
pub(crate) fn responses() -> Vec<Case> {
    cases("responses")
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{file}.txt"))
}

/// Reads blocks of "# name", text, "= hex".
fn cases(file: &str) -> Vec<Case> {
    let contents = std::fs::read_to_string(path(file)).expect("the golden file is there");
    let mut cases = Vec::<Case>::new();
    for line in contents.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            cases.push(Case { name: name.to_owned(), text: String::new(), frame: Vec::new() });
            continue;
        }
        let case = cases.last_mut().expect("a file begins with a name");
        match line.strip_prefix("= ") {
            Some(hex) => case.frame.extend(hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).expect("hex"))),
            None => case.text.push_str(line),
        }
    }
    cases
}

/// What the specification alone makes of the text of a case.
fn specified(case: &Case, message: &str) -> Vec<u8> {
    let proto_dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let descriptors = protox::compile(["larder.proto"], [proto_dir]).expect("proto/larder.proto compiles");
    let pool = DescriptorPool::from_file_descriptor_set(descriptors).expect("descriptors");
    let descriptor = pool.get_message_by_name(message).expect("a message of the specification");
    let parsed = DynamicMessage::parse_text_format(descriptor, &case.text);
    framed(&parsed.unwrap_or_else(|error| panic!("{}: {error}", case.name)).encode_to_vec())
}

fn regenerate(file: &str, message: &str) {
    let blocks = cases(file).into_iter().map(|case| {
        let frame = specified(&case, message);
        let hex: Vec<String> = frame.chunks(32).map(|line| format!("= {}\n", hex(line))).collect();
        format!("# {}\n{}\n{}", case.name, case.text, hex.concat())
    });
    std::fs::write(path(file), blocks.collect::<Vec<_>>().join("\n")).expect("tests/golden is writable");
}

fn check_file(file: &str, message: &str) -> Vec<Case> {
    if std::env::var_os("LARDER_REGENERATE").is_some() {
        regenerate(file, message);
    }
    let cases = cases(file);
    let mut names = BTreeSet::new();
    for case in &cases {
        assert!(names.insert(&case.name), "{} is there twice", case.name);
        assert_eq!(hex(&case.frame), hex(&specified(case, message)), "{}", case.name);
        let whole = frame(&case.frame, 1 << 20).expect("below the limit").expect("whole");
        assert_eq!((whole.message, whole.consumed), (case.message(), case.frame.len()), "{}", case.name);
    }
    cases
}

#[test]
fn requests_are_those_bytes() {
    let mut operations = BTreeSet::new();
    for case in check_file("requests", "larder.v1.Request") {
        agree_about_request(case.message()).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let mut scratch = Scratch::default();
        let request =
            decode_request(case.message(), &mut scratch).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let mut again = Vec::new();
        encode_request(&mut again, &request);
        assert_eq!(hex(&again), hex(&case.frame), "{}", case.name);
        assert_eq!(again.len(), larder_protocol::native::request_bytes(&request), "{}", case.name);

        let known = pb::Request::decode(case.message()).expect("prost reads it").operation.expect("an operation");
        operations.insert(operation_name(&known));
    }
    assert_eq!(operations.len(), 29, "every operation has a case: {operations:?}");
}

#[test]
fn responses_are_those_bytes() {
    let (mut results, mut statuses) = (BTreeSet::new(), BTreeSet::new());
    for case in check_file("responses", "larder.v1.Response") {
        agree_about_response(case.message()).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let response = decode_response(case.message()).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let again = encoded_again(&response).unwrap_or_else(|| panic!("{}: no reply says this", case.name));
        assert_eq!(hex(&again), hex(&case.frame), "{}", case.name);

        statuses.insert(response.status as u8);
        let known = pb::Response::decode(case.message()).expect("prost reads it").result;
        results.extend(known.as_ref().map(result_name));
    }
    // A topology has a digest that is worked out, so its bytes are the ring's to fix; see `equal`.
    assert_eq!(results.len(), 15, "every result but a topology has a case: {results:?}");
    assert_eq!(statuses.len(), Status::ALL.len(), "every status has a case: {statuses:?}");
}

/// The first word of the value's debug form, which is the name of its variant.
fn operation_name(operation: &pb::request::Operation) -> String {
    format!("{operation:?}").split('(').next().unwrap_or_default().to_owned()
}

fn result_name(result: &pb::response::Result) -> String {
    format!("{result:?}").split('(').next().unwrap_or_default().to_owned()
}

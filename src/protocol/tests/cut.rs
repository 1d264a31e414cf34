//! Bytes of a dialect of text that come in pieces: what is decoded must not depend on how they are cut.
//!
//! The tests of the protocol use this, and what fuzzes it.

use larder_protocol::memcache::{self as lines, Asked, Limits, Parsed, Rest};
use larder_protocol::resp::{self as bulk, Keyspace, Reader, ReaderLimits};

/// Commands of one input that are looked at.
const COMMANDS_MAX: usize = 64;

/// What is made of an input that is cut at these places, which ascend.
pub(crate) type Making = fn(&[u8], &[usize]) -> Vec<String>;

/// Decodes an input whole and in pieces, and returns how many commands it has.
///
/// # Panics
/// If both are not the same.
pub(crate) fn same(input: &[u8], cuts: &[usize], make: Making) -> usize {
    let whole = make(input, &[]);
    assert_eq!(whole, make(input, cuts), "cut at {cuts:?}: {:?}", String::from_utf8_lossy(input));
    whole.len()
}

/// What is made of an input that comes in pieces, which end at these places: each command, and what ends it.
pub(crate) fn resp(input: &[u8], cuts: &[usize]) -> Vec<String> {
    let named = |name: &[u8]| (name == b"scores").then_some(9);
    let keyspace = Keyspace::new(7, Some(&named));
    let limits = ReaderLimits { argument_bytes_max: 1_000, command_bytes_max: 2_000, is_stranger: false };
    let (mut reader, mut places, mut made) = (Reader::default(), bulk::Places::default(), Vec::new());
    let (mut begin, mut ends) = (0, cuts.iter().copied().chain([input.len()]));
    let mut end = ends.next().expect("there is the last");
    while made.len() < COMMANDS_MAX {
        match reader.read(&input[begin..end.max(begin)], limits) {
            Err(broken) => {
                made.push(format!("{broken:?}"));
                break;
            }
            Ok(None) => match ends.next() {
                Some(next) => end = next,
                None => break,
            },
            Ok(Some(taken)) => {
                let arguments = reader.arguments(&input[begin..]);
                if !arguments.is_empty() {
                    let _ = bulk::fit(arguments);
                    made.push(format!("{:?}", bulk::decode(arguments, &keyspace, &mut places, 1_000)));
                }
                begin += taken;
            }
        }
    }
    made
}

/// The same of memcached's protocol.
pub(crate) fn memcache(input: &[u8], cuts: &[usize]) -> Vec<String> {
    // Every other input has lines that are too long to be waited for.
    let line_bytes_max = if input.len().is_multiple_of(2) { 60 } else { lines::LINE_BYTES_MAX };
    let limits = Limits { value_bytes_max: 1_000, line_bytes_max };
    let (mut places, mut made, mut rest) = (lines::Places::default(), Vec::new(), None);
    let (mut begin, mut ends) = (0, cuts.iter().copied().chain([input.len()]));
    let mut end = ends.next().expect("there is the last");
    while made.len() < COMMANDS_MAX {
        let input = &input[begin..end.max(begin)];
        let before = rest.take();
        let parsed = match before {
            Some(rest) => lines::decode_rest(input, rest, &mut places, limits),
            None => lines::decode(input, &mut places, limits),
        };
        match parsed {
            Parsed::Broken(why) => {
                made.push(format!("broken {why}"));
                break;
            }
            Parsed::More => {
                rest = before;
                match ends.next() {
                    Some(next) => end = next,
                    None => break,
                }
            }
            Parsed::Asked(asked, taken) => {
                rest = match asked {
                    Asked::GetPart(_, has_cas) => Some(Rest::Keys { has_cas }),
                    Asked::GetRefused(_) => Some(Rest::Nothing),
                    _ => None,
                };
                // What nobody looks at may be passed over in any number of steps.
                if before != Some(Rest::Nothing) {
                    made.push(format!("{asked:?}"));
                }
                begin += taken;
            }
        }
    }
    made
}

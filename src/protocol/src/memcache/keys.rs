//! Lines that are lists of keys: GET, GETS, GAT, GATS.
//!
//! A GET may have any number of keys, as with memcached, so a line that is too long to be waited for, or has too many keys for a
//! command, is several commands: [`Asked::GetPart`] for all but the last, and what is behind one is read by [`decode_rest`].

use super::decode::{Asked, BAD_FORMAT, ERROR, Limits, Own, Parsed, Places, expiry, number};
use super::{KEY_BYTES_MAX, Shape};
use crate::limits::{KEYS_MAX, SCRATCH_KEYS_KEPT};
use crate::places::{Keys, Span};

/// What follows the part of a GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// More of its keys.
    Keys {
        /// Its values are told with their versions.
        has_cas: bool,
    },
    /// What nobody looks at, up to the end of the line.
    Nothing,
}

/// What is meant by the `input` behind an [`Asked::GetPart`] or [`Asked::GetRefused`].
pub fn decode_rest<'a>(input: &'a [u8], rest: Rest, places: &'a mut Places, limits: Limits) -> Parsed<'a> {
    let end = input.iter().take(limits.line_bytes_max + 1).position(|byte| *byte == b'\n');
    match (rest, end) {
        (Rest::Keys { has_cas }, Some(end)) => {
            let line = &input[..end];
            match get(line.strip_suffix(b"\r").unwrap_or(line), 0, has_cas, places, end + 1) {
                Parsed::Asked(Asked::Own(ERROR), consumed) => Parsed::Asked(Asked::Own(Own::Line("END")), consumed),
                parsed => parsed,
            }
        }
        (Rest::Keys { has_cas }, None) => open_get(input, 0, has_cas, places, limits),
        (Rest::Nothing, Some(end)) => Parsed::Asked(Asked::Own(Own::Silence), end + 1),
        (Rest::Nothing, None) if input.is_empty() => Parsed::More,
        (Rest::Nothing, None) => Parsed::Asked(Asked::GetRefused(Own::Silence), input.len().min(limits.line_bytes_max)),
    }
}

/// A whole line, with keys from a place on.
pub(super) fn get<'a>(
    line: &'a [u8],
    from: usize,
    has_cas: bool,
    places: &'a mut Places,
    consumed: usize,
) -> Parsed<'a> {
    match keys(line, from, places) {
        Ok((keys, _)) if keys.is_empty() => Parsed::Asked(Asked::Own(ERROR), consumed),
        Ok((keys, None)) => Parsed::Asked(Asked::Get(keys, Shape::Values { has_cas }), consumed),
        Ok((keys, Some(at))) => Parsed::Asked(Asked::GetPart(keys, has_cas), at),
        Err(why) => Parsed::Asked(Asked::Own(why), consumed),
    }
}

/// The beginning of a line whose end has not come, with keys from a place on. What is a part does not depend on how much of it is
/// there.
pub(super) fn open_get<'a>(
    input: &'a [u8],
    from: usize,
    has_cas: bool,
    places: &'a mut Places,
    limits: Limits,
) -> Parsed<'a> {
    if input.len() <= limits.line_bytes_max {
        return Parsed::More;
    }
    let window = &input[..limits.line_bytes_max];
    // What is behind the last blank may be half a key.
    let whole = window.iter().rposition(|byte| *byte == b' ').map_or(0, |at| at + 1);
    if whole == 0 || window.len() - whole > KEY_BYTES_MAX {
        return Parsed::Asked(Asked::GetRefused(BAD_FORMAT), window.len());
    }
    match keys(&window[..whole], from, places) {
        Ok((keys, at)) => Parsed::Asked(Asked::GetPart(keys, has_cas), at.unwrap_or(whole)),
        Err(why) => Parsed::Asked(Asked::GetRefused(why), whole),
    }
}

pub(super) fn get_and_touch<'a>(
    line: &'a [u8],
    from: usize,
    has_cas: bool,
    places: &'a mut Places,
    consumed: usize,
) -> Parsed<'a> {
    let rest = &line[from..];
    let begin = from + rest.iter().position(|byte| *byte != b' ').unwrap_or(rest.len());
    let end = begin + line[begin..].iter().position(|byte| *byte == b' ').unwrap_or(line.len() - begin);
    let asked = match (keys(line, end, places), number(&line[begin..end])) {
        _ if begin == end => Asked::Own(ERROR),
        (_, None) => Asked::Own(Own::Line("CLIENT_ERROR invalid exptime argument")),
        (Ok((keys, _)), Some(_)) if keys.is_empty() => Asked::Own(Own::Line("END")),
        (Ok((keys, None)), Some(time)) => Asked::GetAndTouch(keys, expiry(time), Shape::Values { has_cas }),
        (Ok((_, Some(_))), _) => Asked::Own(Own::Line("CLIENT_ERROR too many keys in one command")),
        (Err(why), _) => Asked::Own(why),
    };
    Parsed::Asked(asked, consumed)
}

/// The words from a place on, as keys, and where the first is that is one too many.
fn keys<'a>(line: &'a [u8], from: usize, places: &'a mut Places) -> Result<(Keys<'a>, Option<usize>), Own> {
    places.keys.clear();
    places.keys.shrink_to(SCRATCH_KEYS_KEPT);
    let (mut at, mut rest) = (from, None);
    while at < line.len() {
        if line[at] == b' ' {
            at += 1;
            continue;
        }
        if places.keys.len() == KEYS_MAX {
            rest = Some(at);
            break;
        }
        let len = line[at..].iter().position(|byte| *byte == b' ').unwrap_or(line.len() - at);
        if len > KEY_BYTES_MAX {
            return Err(BAD_FORMAT);
        }
        places.keys.push(Span { start: at as u32, len: len as u32 });
        at += len;
    }
    Ok((Keys::new(line, &places.keys), rest))
}

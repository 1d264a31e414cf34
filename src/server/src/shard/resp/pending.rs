//! Commands that are more than a request and its reply: what has come of them so far.

use larder_engine::{number_of_cursor, reply_of};
use larder_protocol::native::{Body, Response, decode_response, frame};
use larder_protocol::resp::{self, Plan, Telling, Version, array, encode_error, map, null, text, verbatim};
use larder_protocol::{Entries, Entry, Failure, Found, Outcomes, Reply, Status};

use super::Told;
use crate::limits::{RESP_KEYS_BYTES_MAX, RESP_RANDOM_STEPS_MAX};
use crate::resp::Info;

/// A command that waits for replies.
#[derive(Debug)]
pub(super) enum Pending {
    /// Several requests, each with a reply of its own.
    Each(Telling),
    /// Several requests at one go.
    OneGo(Telling),
    /// The commands of an EXEC, at one go.
    Exec(Vec<Item>),
    /// WATCH: places in the list of what is watched, and how many looks are still to come.
    Watch {
        /// The first place.
        first: usize,
        /// Looks.
        left: usize,
    },
    /// KEYS: what was found, encoded, and how many.
    Keys {
        /// Which keys.
        pattern: Vec<u8>,
        /// Of which group.
        group: u64,
        /// So far.
        found: Vec<u8>,
        /// So far.
        count: usize,
    },
    /// SCAN.
    Scan {
        /// Whether keys of the kind that is asked for can be there.
        is_string: bool,
    },
    /// RANDOMKEY, with how many steps may still be made.
    Random {
        /// Of which group.
        group: u64,
        /// Steps.
        steps: usize,
    },
    /// DBSIZE of a group.
    Size(String),
    /// INFO about these sections.
    Info(Vec<String>),
    /// CONFIG RESETSTAT.
    Reset,
}

/// A command of an EXEC.
#[derive(Debug)]
pub(super) enum Item {
    /// It is answered already.
    Said(Vec<u8>),
    /// So many answers are told of.
    Asked(Telling, usize),
}

/// What a reply leads to.
#[derive(Debug)]
pub(super) enum Then {
    /// More replies are to come.
    Wait,
    /// The answer is complete.
    Say(Vec<u8>),
    /// Another step of a scan is to be asked for: the group, where to go on, and which keys.
    Step(u64, Vec<u8>, Vec<u8>),
    /// The versions of what is watched are known up to here.
    Watched(usize, (u64, Option<u64>)),
}

impl Pending {
    /// How many requests have not been answered.
    pub(super) fn left(&self) -> usize {
        match self {
            Pending::Each(telling) => telling.left(),
            Pending::Watch { left, .. } => *left,
            _ => 1,
        }
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Pending::Each(telling) | Pending::OneGo(telling) => telling.bytes(),
            Pending::Keys { found, .. } => found.len(),
            _ => 0,
        }
    }

    /// Takes the reply to a part.
    pub(super) fn take(
        &mut self,
        part: usize,
        reply: &Reply<'_>,
        version: Version,
        (now_ms, shared): Told<'_>,
    ) -> Then {
        let mut out = Vec::new();
        match (self, reply) {
            (Pending::Each(telling), reply) => {
                if !telling.take(part, reply) {
                    return Then::Wait;
                }
                telling.finish(&mut out);
            }
            (Pending::OneGo(telling), Reply::Transacted(frames)) => {
                each_answer(frames, |id, reply| {
                    telling.take(id, reply);
                });
                telling.end();
                telling.finish(&mut out);
            }
            (Pending::OneGo(telling), reply) => {
                telling.fail(reply);
                telling.finish(&mut out);
            }
            (Pending::Exec(items), Reply::Transacted(frames)) => exec(&mut out, items, frames),
            // What was watched was changed.
            (Pending::Exec(_), Reply::Failed(Failure { status: Status::VersionMismatch, .. })) => match version {
                Version::Two => out.extend_from_slice(b"*-1\r\n"),
                Version::Three => null(&mut out, version),
            },
            (Pending::Watch { first, left }, Reply::Looked(_) | Reply::Miss) => {
                *left -= 1;
                let found = match reply {
                    Reply::Looked(looked) => (looked.entry.version, Some(looked.expires_at_ms)),
                    _ => (0, None),
                };
                return Then::Watched(*first + part, found);
            }
            (Pending::Watch { left, .. }, Reply::Failed(_)) => {
                *left -= 1;
                return Then::Watched(usize::MAX, (0, None));
            }
            (Pending::Keys { pattern, group, found, count }, Reply::Scan(scan)) => {
                scan.keys.iter().for_each(|key| bytes(found, key));
                *count += scan.keys.len();
                if found.len() > RESP_KEYS_BYTES_MAX {
                    encode_error(&mut out, "ERR there are too many keys for one answer: use SCAN");
                } else if scan.cursor.is_empty() {
                    array(&mut out, *count);
                    out.append(found);
                } else {
                    return Then::Step(*group, scan.cursor.clone(), pattern.clone());
                }
            }
            (Pending::Scan { is_string }, Reply::Scan(scan)) => {
                let Some(cursor) = number_of_cursor(&scan.cursor) else {
                    encode_error(&mut out, "ERR the place of the scan has no number: use the native protocol");
                    return Then::Say(out);
                };
                array(&mut out, 2);
                text(&mut out, &cursor.to_string());
                let keys = if *is_string { &scan.keys[..] } else { &[] };
                array(&mut out, keys.len());
                keys.iter().for_each(|key| bytes(&mut out, key));
            }
            (Pending::Random { group, steps }, Reply::Scan(scan)) => match &scan.keys[..] {
                [] if *steps > 0 => {
                    *steps -= 1;
                    return Then::Step(*group, scan.cursor.clone(), Vec::new());
                }
                [] => null(&mut out, version),
                keys => bytes(&mut out, &keys[now_ms as usize % keys.len()]),
            },
            (Pending::Size(group), Reply::Stats(stats)) => {
                let found = stats.groups.iter().find(|known| known.name == *group);
                resp::number(&mut out, b':', found.map_or(0, |group| group.entries) as i64);
            }
            (Pending::Info(sections), Reply::Stats(stats)) => {
                verbatim(&mut out, version, &Info { shared, stats, now_ms }.text(sections));
            }
            (Pending::Reset, Reply::Stats(stats)) => {
                shared.resp_counts.set(stats, shared.connections());
                shared.resp_commands.reset();
                out.extend_from_slice(b"+OK\r\n");
            }
            (_, Reply::Failed(_)) => resp::encode(&mut out, version, resp::Shape::Value, reply),
            (pending, reply) => unreachable!("{reply:?} is no answer to {pending:?}"),
        }
        Then::Say(out)
    }
}

/// How many steps RANDOMKEY may make before it says that there is no key.
pub(super) const RANDOM_STEPS: usize = RESP_RANDOM_STEPS_MAX;

/// A command as a plan: one request that is told by its kind, or several.
pub(super) fn telling(plan: &Plan, version: Version) -> Item {
    Item::Asked(Telling::new(plan, version), plan.parts)
}

/// The answers to the commands of an EXEC.
fn exec(out: &mut Vec<u8>, items: &mut [Item], frames: &[u8]) {
    array(out, items.len());
    let mut items = items.iter_mut();
    // Those that are answered already, up to the next that is not.
    let mut next = |out: &mut Vec<u8>| {
        for item in items.by_ref() {
            match item {
                Item::Said(said) => out.append(said),
                Item::Asked(telling, parts) => return Some((telling, *parts)),
            }
        }
        None
    };
    let mut current = next(out);
    each_answer(frames, |id, reply| {
        let Some((telling, parts)) = &mut current else { unreachable!("there are as many answers as requests") };
        telling.take(id, reply);
        *parts -= 1;
        if *parts == 0 {
            telling.finish(out);
            current = next(out);
        }
    });
}

/// Calls `each` with the number and the reply in each frame.
fn each_answer(mut frames: &[u8], mut each: impl FnMut(usize, &Reply<'_>)) {
    while let Some(next) = frame(frames, usize::MAX).expect("an engine answers in frames") {
        let response = decode_response(next.message).expect("an engine's answer is one");
        let mut failure = Failure::new(response.status, "");
        let id = response.id as usize;
        match &response.body {
            Body::Entries(view) => each(id, &Reply::Entries(&Listed(view.iter().collect::<Vec<_>>()))),
            Body::Outcomes(view) => each(id, &Reply::Outcomes(&Listed(view.iter().collect::<Vec<_>>()))),
            _ => each(id, &said(&response, &mut failure)),
        }
        frames = &frames[next.consumed..];
    }
}

fn said<'a>(response: &'a Response<'_>, failure: &'a mut Failure) -> Reply<'a> {
    reply_of(response, failure).expect("it answers a request about keys")
}

/// Results in memory.
#[derive(Debug)]
struct Listed<T>(Vec<Result<T, Status>>);

impl Entries for Listed<Entry<'_>> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn entry(&self, index: usize) -> Result<Found<'_>, Status> {
        self.0[index].map(Found::from)
    }
}

impl Outcomes for Listed<u64> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn outcome(&self, index: usize) -> Result<u64, Status> {
        self.0[index]
    }
}

/// Appends pairs of texts.
pub(super) fn pairs<'p>(out: &mut Vec<u8>, version: Version, pairs: impl ExactSizeIterator<Item = (&'p str, &'p str)>) {
    map(out, version, pairs.len());
    for (name, value) in pairs {
        text(out, name);
        text(out, value);
    }
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    resp::bulk(out, bytes.len(), |out| out.extend_from_slice(bytes));
}

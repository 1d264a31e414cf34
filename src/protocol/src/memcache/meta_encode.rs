//! Replies to meta commands.

use alloc::vec::Vec;

use super::encode::{said, text_of};
use super::meta::{MetaShape, split, words_of};
use crate::{Claim, Found, Looked, Reply, Status};

/// Appends the answer to a meta command, whose words from the key on are `told`.
pub fn encode_meta(out: &mut Vec<u8>, shape: MetaShape, is_quiet: bool, told: &[u8], reply: &Reply<'_>, now_ms: u64) {
    let (key, words) = split(told);
    let words = if matches!(shape, MetaShape::Set { .. }) { split(words).1 } else { words };
    let teller = Teller { key, words, now_ms };
    let stored = |version, bytes| Some((version, bytes));
    match (shape, reply) {
        (MetaShape::Debug, Reply::Looked(looked)) => teller.debug(out, looked),
        (MetaShape::Get { value }, Reply::Looked(looked)) => teller.entry(out, looked, value),
        // It was loaded from an origin just now, or is shown still.
        (MetaShape::Get { value }, Reply::Entry(entry)) => {
            let mut entry = *entry;
            // Its time is over already.
            entry.ttl_ms += u64::from(entry.is_stale && entry.ttl_ms == 0);
            let expires_at_ms = if entry.ttl_ms == 0 { 0 } else { now_ms.saturating_add(entry.ttl_ms) };
            let (value_bytes, accessed_ms) = (entry.value.len() as u64, now_ms);
            let claim = Claim::Nobody;
            let looked = Looked { entry, value_bytes, expires_at_ms, accessed_ms, is_hit: false, claim };
            teller.entry(out, &looked, value);
        }
        (MetaShape::Get { .. }, Reply::Miss) if is_quiet => {}
        (MetaShape::Get { .. } | MetaShape::Debug, Reply::Miss) => teller.status(out, b"EN", None),
        (MetaShape::Set { .. }, Reply::Resized { .. } | Reply::Stored { .. })
        | (MetaShape::Delete, Reply::Done)
        | (MetaShape::Count { .. }, Reply::Looked(_))
            if is_quiet => {}
        (MetaShape::Set { .. }, &Reply::Resized { version, value_bytes }) => {
            teller.status(out, b"HD", stored(version, value_bytes));
        }
        (MetaShape::Set { bytes, .. }, &Reply::Stored { version }) => {
            teller.status(out, b"HD", stored(version, bytes.into()));
        }
        (MetaShape::Delete, Reply::Done) => teller.status(out, b"HD", None),
        (MetaShape::Count { value }, Reply::Looked(looked)) => teller.number(out, looked, value),
        (MetaShape::Set { is_compared, bytes }, Reply::Miss) => {
            teller.status(out, if is_compared { b"NF" } else { b"NS" }, stored(0, bytes.into()));
        }
        (MetaShape::Delete | MetaShape::Count { .. }, Reply::Miss) => teller.status(out, b"NF", None),
        (_, Reply::Failed(failure)) => match (shape, failure.status) {
            (MetaShape::Set { bytes, .. }, Status::Exists) => teller.status(out, b"NS", stored(0, bytes.into())),
            (MetaShape::Set { bytes, .. }, Status::VersionMismatch) => {
                teller.status(out, b"EX", stored(0, bytes.into()));
            }
            (_, Status::VersionMismatch) => teller.status(out, b"EX", None),
            (_, status) => said(out, text_of(status)),
        },
        _ => unreachable!("{reply:?} is no answer to a command of {shape:?}"),
    }
}

/// What an answer is told of.
struct Teller<'a> {
    key: &'a [u8],
    words: &'a [u8],
    now_ms: u64,
}

impl Teller<'_> {
    /// A line of a status, and of version and length of what was stored.
    fn status(&self, out: &mut Vec<u8>, status: &[u8; 2], stored: Option<(u64, u64)>) {
        out.extend_from_slice(status);
        for word in words_of(self.words) {
            match (word[0], stored) {
                (b'c', Some((version, _))) => flag(out, b'c', version),
                (b's', Some((_, bytes))) => flag(out, b's', bytes),
                _ => self.echo(out, word),
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// What is told whatever was found.
    fn echo(&self, out: &mut Vec<u8>, word: &[u8]) {
        match word[0] {
            b'O' => {
                out.push(b' ');
                out.extend_from_slice(word);
            }
            b'k' => {
                out.extend_from_slice(b" k");
                out.extend_from_slice(self.key);
                if words_of(self.words).any(|word| word == b"b") {
                    out.extend_from_slice(b" b");
                }
            }
            _ => {}
        }
    }

    fn entry(&self, out: &mut Vec<u8>, looked: &Looked<Found<'_>>, value: bool) {
        self.head(out, value.then_some(looked.value_bytes), looked);
        match looked.claim {
            Claim::Taken => out.extend_from_slice(b" Z"),
            Claim::Won | Claim::Nobody => {}
        }
        if looked.entry.is_stale {
            out.extend_from_slice(b" X");
        }
        if looked.claim == Claim::Won {
            out.extend_from_slice(b" W");
        }
        out.extend_from_slice(b"\r\n");
        if value {
            looked.entry.value.append_to(out);
            out.extend_from_slice(b"\r\n");
        }
    }

    fn number(&self, out: &mut Vec<u8>, looked: &Looked<Found<'_>>, value: bool) {
        let mut number = Vec::new();
        looked.entry.value.append_to(&mut number);
        // Blanks keep the length of the value, and are no part of the number.
        let number = number.trim_ascii_end();
        self.head(out, value.then_some(number.len() as u64), looked);
        out.extend_from_slice(b"\r\n");
        if value {
            out.extend_from_slice(number);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// The line of an entry, as far as flags ask for it.
    fn head(&self, out: &mut Vec<u8>, value_bytes: Option<u64>, looked: &Looked<Found<'_>>) {
        match value_bytes {
            Some(bytes) => {
                out.extend_from_slice(b"VA ");
                out.extend_from_slice(itoa::Buffer::new().format(bytes).as_bytes());
            }
            None => out.extend_from_slice(b"HD"),
        }
        let mut is_touched = false;
        for word in words_of(self.words) {
            match word[0] {
                b'c' => flag(out, b'c', looked.entry.version),
                b'f' => flag(out, b'f', looked.entry.flags.into()),
                b's' => flag(out, b's', looked.value_bytes),
                b'h' => flag(out, b'h', looked.is_hit.into()),
                b'l' => flag(out, b'l', (self.now_ms / 1_000).saturating_sub(looked.accessed_ms / 1_000)),
                b'T' => is_touched = true,
                // In front of a new time, what it was before.
                b't' if is_touched => self.time_left(out, looked.expires_at_ms),
                b't' => {
                    let before_ms = looked.entry.ttl_ms;
                    let is_limited = before_ms > 0;
                    self.time_left(out, if is_limited { self.now_ms.saturating_add(before_ms) } else { 0 });
                }
                _ => self.echo(out, word),
            }
        }
    }

    fn time_left(&self, out: &mut Vec<u8>, expires_at_ms: u64) {
        match expires_at_ms {
            0 => out.extend_from_slice(b" t-1"),
            at_ms => flag(out, b't', at_ms.saturating_sub(self.now_ms).div_ceil(1_000)),
        }
    }

    fn debug(&self, out: &mut Vec<u8>, looked: &Looked<Found<'_>>) {
        let left_ms = match looked.expires_at_ms {
            0 => -1,
            at_ms => at_ms.saturating_sub(self.now_ms).div_ceil(1_000) as i64,
        };
        let since_s = (self.now_ms / 1_000).saturating_sub(looked.accessed_ms / 1_000);
        let is_fetched = if looked.is_hit { "yes" } else { "no" };
        let (version, size) = (looked.entry.version, self.key.len() as u64 + looked.value_bytes);
        out.extend_from_slice(b"ME ");
        out.extend_from_slice(self.key);
        let facts =
            alloc::format!(" exp={left_ms} la={since_s} cas={version} fetch={is_fetched} cls=1 size={size}\r\n");
        out.extend_from_slice(facts.as_bytes());
    }
}

fn flag(out: &mut Vec<u8>, name: u8, number: u64) {
    out.extend_from_slice(&[b' ', name]);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

//! memcached's text protocol as load: get with one key or several, set and delete. Answers come in the order of the
//! requests; the answer to a multi-get leaves out the keys that were not found.

use std::net::SocketAddr;

use larder_protocol::limits::VALUE_BYTES_MAX;
use larder_protocol::{Command, Expiry, Status};

use super::text::{self, Asked, AskedKeys, Pending, block, line, number, push_number, shown};
use super::{Answer, AnswerBody, AnswerOf, LoadProtocol, ServerFacts, Values};
use crate::error::LoadError;
use crate::limits::{MEMCACHE_KEY_BYTES_MAX, MULTI_GET_MAX, PIPELINE_MAX};

/// One connection's side of the text protocol.
#[derive(Clone, Debug, Default)]
pub struct Memcache {
    pending: Pending,
}

/// The values of an answered multi-get.
#[derive(Clone, Copy, Debug)]
pub struct MemcacheValues<'a> {
    keys: AskedKeys<'a>,
    /// `VALUE` blocks that were checked: in the order of the keys, and none of another key.
    bytes: &'a [u8],
}

impl<'a> Values<'a> for MemcacheValues<'a> {
    fn count(&self) -> usize {
        self.keys.count()
    }

    fn iter(&self) -> impl Iterator<Item = Result<&'a [u8], Status>> {
        let mut rest = self.bytes;
        self.keys.map(move |asked| match value(rest).ok().flatten() {
            Some(block) if block.key == asked => {
                rest = &rest[block.len..];
                Ok(block.value)
            }
            _ => Err(Status::NotFound),
        })
    }
}

impl LoadProtocol for Memcache {
    type Values<'a> = MemcacheValues<'a>;

    fn encode(&mut self, out: &mut Vec<u8>, id: u32, command: &Command<'_>) {
        match command {
            Command::Get { key } => {
                out.extend_from_slice(b"get ");
                out.extend_from_slice(key);
                self.pending.push(id, Asked::Get);
            }
            Command::GetMany { keys } => {
                out.extend_from_slice(b"get");
                for key in keys.iter() {
                    out.push(b' ');
                    out.extend_from_slice(key);
                }
                self.pending.push_get_many(id, keys.iter());
            }
            Command::Set(write) => {
                let ttl_s = match write.expiry {
                    Expiry::After(ms) => ms.div_ceil(1000),
                    _ => 0,
                };
                out.extend_from_slice(b"set ");
                out.extend_from_slice(write.key);
                out.extend_from_slice(b" 0 ");
                push_number(out, ttl_s);
                out.push(b' ');
                push_number(out, write.value.len() as u64);
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(write.value);
                self.pending.push(id, Asked::Set);
            }
            Command::Delete { key, .. } => {
                out.extend_from_slice(b"delete ");
                out.extend_from_slice(key);
                self.pending.push(id, Asked::Delete);
            }
            other => unreachable!("no plan for memcached has {other:?}"),
        }
        out.extend_from_slice(b"\r\n");
    }

    fn decode<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Option<(AnswerOf<'a, Self>, usize)>, String> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let Some((id, asked)) = self.pending.oldest() else {
            return Err(format!("{} answers nothing that was asked", shown(bytes)));
        };
        let read = matches!(asked, Asked::Get | Asked::GetMany { .. });
        let mut values_len = 0;
        if read && bytes[0] == b'V' {
            match self.values(bytes, asked)? {
                Some(len) => values_len = len,
                None => return Ok(None),
            }
        }
        let Some((last, last_len)) = line(&bytes[values_len..])? else { return Ok(None) };
        let (status, message) = match (last, asked) {
            (b"END", Asked::Get) if values_len == 0 => (Status::NotFound, ""),
            (b"END", Asked::Get | Asked::GetMany { .. }) | (b"STORED", Asked::Set) | (b"DELETED", Asked::Delete) => {
                (Status::Ok, "")
            }
            (b"NOT_FOUND", Asked::Delete) => (Status::NotFound, ""),
            _ => failure(last).ok_or_else(|| format!("{} answers a {asked:?}", shown(last)))?,
        };
        let keys = self.pending.pop();
        let body = match (status, asked) {
            (Status::Ok, Asked::Get) => AnswerBody::Value(value(bytes)?.expect("it was checked").value),
            (Status::Ok, Asked::GetMany { .. }) => {
                AnswerBody::Values(MemcacheValues { keys, bytes: &bytes[..values_len] })
            }
            _ => AnswerBody::None,
        };
        Ok(Some((Answer { id, status, message, body }, values_len + last_len)))
    }
}

impl Memcache {
    /// How many bytes the `VALUE` blocks at the front take; `None`: they have no end yet.
    fn values(&self, bytes: &[u8], asked: Asked) -> Result<Option<usize>, String> {
        let mut keys = self.pending.oldest_keys();
        let (mut len, mut count) = (0, 0);
        while bytes.get(len) == Some(&b'V') {
            let Some(Block { key, len: more, .. }) = value(&bytes[len..])? else { return Ok(None) };
            count += 1;
            let asked_for = match asked {
                Asked::Get => count == 1,
                _ => keys.any(|asked| asked == key),
            };
            if !asked_for {
                return Err(format!("a value of {} comes in a place where it was not asked for", shown(key)));
            }
            len += more;
        }
        Ok(if len < bytes.len() { Some(len) } else { None })
    }
}

struct Block<'a> {
    key: &'a [u8],
    value: &'a [u8],
    /// How many bytes all of it takes.
    len: usize,
}

/// The `VALUE` block at the front; `None`: it has no end yet.
fn value(bytes: &[u8]) -> Result<Option<Block<'_>>, String> {
    let Some((head, head_len)) = line(bytes)? else { return Ok(None) };
    let mut words = head.split(|&byte| byte == b' ');
    let (Some(b"VALUE"), Some(key), Some(_flags), Some(len)) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(format!("{} is no VALUE line", shown(head)));
    };
    let Some((value, len)) = block(&bytes[head_len..], number(len)?)? else { return Ok(None) };
    Ok(Some(Block { key, value, len: head_len + len }))
}

fn failure(line: &[u8]) -> Option<(Status, &str)> {
    let message = std::str::from_utf8(line).ok()?;
    let status = match message.split(' ').next()? {
        "ERROR" => Status::NotSupported,
        "CLIENT_ERROR" => Status::BadRequest,
        "SERVER_ERROR" if message.contains("too large") => Status::TooLarge,
        "SERVER_ERROR" => Status::Overloaded,
        _ => return None,
    };
    Some((status, message))
}

/// Asks the server at `address` who it is.
///
/// # Errors
/// No server, or one that does not speak this protocol; a group, of which the protocol knows none.
pub fn connect(address: SocketAddr, group: &str) -> Result<(Memcache, ServerFacts), LoadError> {
    text::check_group(group, "memcache")?;
    let answer = text::ask(address, b"version\r\n", |bytes| match line(bytes)? {
        None => Ok(false),
        Some((line, _)) if line.starts_with(b"VERSION ") => Ok(true),
        Some((line, _)) => Err(format!("{} answers version", shown(line))),
    })?;
    let version = String::from_utf8_lossy(&answer[b"VERSION ".len()..]).trim().to_string();
    let facts = ServerFacts {
        server: format!("memcached {version}"),
        key_bytes_max: MEMCACHE_KEY_BYTES_MAX,
        value_bytes_max: VALUE_BYTES_MAX as u64,
        keys_max: MULTI_GET_MAX as u64,
        pipeline_max: PIPELINE_MAX as u64,
        placement: None,
    };
    Ok((Memcache::default(), facts))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ask_all, in_pieces, shown as seen};
    use super::*;

    #[test]
    fn requests_are_those_of_the_specification() {
        let mut out = Vec::new();
        ask_all(&mut Memcache::default(), &mut out, Expiry::After(1500));
        let expected = "get a\r\nget a bb\r\nset a 0 2 3\r\n\r\nx\r\ndelete a\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn answers_come_in_order_and_in_any_pieces() {
        let hits: &[u8] =
            b"VALUE a 0 3\r\n\r\nx\r\nEND\r\nVALUE a 7 0\r\n\r\nVALUE bb 0 1\r\nz\r\nEND\r\nSTORED\r\nDELETED\r\n";
        let second: &[u8] = b"END\r\nVALUE bb 0 3\r\nEND\r\nEND\r\nSTORED\r\nNOT_FOUND\r\n";
        let misses: &[u8] = b"END\r\nEND\r\nSERVER_ERROR object too large for cache\r\nERROR\r\n";
        let errors: &[u8] =
            b"SERVER_ERROR a\r\nVALUE a 0 1\r\nx\r\nSERVER_ERROR out of memory\r\nCLIENT_ERROR b\r\nNOT_FOUND\r\n";
        for (bytes, expected) in [
            (hits, vec!["1 Ok \\r\\nx", "2 Ok [] [z]", "3 Ok", "4 Ok"]),
            (second, vec!["1 NotFound", "2 Ok NotFound [END]", "3 Ok", "4 NotFound"]),
            (misses, vec!["1 NotFound", "2 Ok NotFound NotFound", "3 TooLarge", "4 NotSupported"]),
            (errors, vec!["1 Overloaded", "2 Overloaded", "3 BadRequest", "4 NotFound"]),
        ] {
            in_pieces(&Memcache::default(), bytes, |answers| assert_eq!(answers, expected, "{}", shown(bytes)));
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_named() {
        for (bytes, expected) in [
            (&b"STORED\r\n"[..], "answers a Get"),
            (b"VALUE a 0\r\n", "no VALUE line"),
            (b"VALUE a 0 x\r\n", "no length"),
            (b"VALUE a 0 1\r\nx\r\nVALUE a 0 1\r\nx\r\nEND\r\n", "not asked for"),
            (b"END\r\nVALUE c 0 1\r\nx\r\nEND\r\n", "not asked for"),
            (b"END\r\nVALUE bb 0 1\r\nx\r\nVALUE a 0 1\r\nx\r\nEND\r\n", "not asked for"),
            (b"END\r\nEND\r\nSTORED\r\nDELETED\r\nEND\r\n", "nothing that was asked"),
        ] {
            let reason = seen(&mut Memcache::default(), bytes).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}

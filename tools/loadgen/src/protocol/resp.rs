//! RESP2, the protocol of Redis, as load: GET, MGET, SET (with PX) and DEL. Answers come in the order of the requests.

use std::net::SocketAddr;

use larder_protocol::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use larder_protocol::{Command, Expiry, Status};

use super::text::{self, Asked, Pending, block, line, number, push_number, shown};
use super::{Answer, AnswerBody, AnswerOf, LoadProtocol, ServerFacts, Values};
use crate::error::LoadError;
use crate::limits::{MULTI_GET_MAX, PIPELINE_MAX};

/// One connection's side of RESP.
#[derive(Clone, Debug, Default)]
pub struct Resp {
    pending: Pending,
}

/// The values of an answered MGET.
#[derive(Clone, Copy, Debug)]
pub struct RespValues<'a> {
    count: usize,
    /// Bulk strings that were checked.
    bytes: &'a [u8],
}

impl<'a> Values<'a> for RespValues<'a> {
    fn count(&self) -> usize {
        self.count
    }

    fn iter(&self) -> impl Iterator<Item = Result<&'a [u8], Status>> {
        let mut rest = self.bytes;
        (0..self.count).map(move |_| {
            let (value, len) = bulk(rest).ok().flatten().expect("the values were checked when they were received");
            rest = &rest[len..];
            value.ok_or(Status::NotFound)
        })
    }
}

impl LoadProtocol for Resp {
    type Values<'a> = RespValues<'a>;

    fn encode(&mut self, out: &mut Vec<u8>, id: u32, command: &Command<'_>) {
        match command {
            Command::Get { key } => {
                out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
                push_bulk(out, key);
                self.pending.push(id, Asked::Get);
            }
            Command::GetMany { keys } => {
                out.push(b'*');
                push_number(out, keys.len() as u64 + 1);
                out.extend_from_slice(b"\r\n$4\r\nMGET\r\n");
                keys.iter().for_each(|key| push_bulk(out, key));
                self.pending.push(id, Asked::GetMany { keys: keys.len() as u32, bytes: 0 });
            }
            Command::Set(write) => {
                let ttl_ms = match write.expiry {
                    Expiry::After(ms) => Some(ms),
                    _ => None,
                };
                out.extend_from_slice(if ttl_ms.is_some() { b"*5\r\n$3\r\nSET\r\n" } else { b"*3\r\n$3\r\nSET\r\n" });
                push_bulk(out, write.key);
                push_bulk(out, write.value);
                if let Some(ms) = ttl_ms {
                    out.extend_from_slice(b"$2\r\nPX\r\n");
                    push_bulk(out, ms.to_string().as_bytes());
                }
                self.pending.push(id, Asked::Set);
            }
            Command::Delete { key, .. } => {
                out.extend_from_slice(b"*2\r\n$3\r\nDEL\r\n");
                push_bulk(out, key);
                self.pending.push(id, Asked::Delete);
            }
            other => unreachable!("no plan for RESP has {other:?}"),
        }
    }

    fn decode<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Option<(AnswerOf<'a, Self>, usize)>, String> {
        let Some(&kind) = bytes.first() else { return Ok(None) };
        let Some((id, asked)) = self.pending.oldest() else {
            return Err(format!("{} answers nothing that was asked", shown(bytes)));
        };
        let Some((first, first_len)) = line(bytes)? else { return Ok(None) };
        let (status, message, body, len) = match (kind, asked) {
            (b'-', _) => {
                let message = std::str::from_utf8(&first[1..]).unwrap_or("an error that is no text");
                (status_of(message), message, AnswerBody::None, first_len)
            }
            (b'$', Asked::Get) => {
                let Some((value, len)) = bulk(bytes)? else { return Ok(None) };
                let (status, body) =
                    value.map_or((Status::NotFound, AnswerBody::None), |value| (Status::Ok, AnswerBody::Value(value)));
                (status, "", body, len)
            }
            (b'*', Asked::GetMany { keys, .. }) => {
                let count = number(&first[1..])?;
                if count != keys as usize {
                    return Err(format!("{count} values answer an MGET of {keys} keys"));
                }
                let mut len = first_len;
                for _ in 0..count {
                    let Some((_, more)) = bulk(&bytes[len..])? else { return Ok(None) };
                    len += more;
                }
                let values = RespValues { count, bytes: &bytes[first_len..len] };
                (Status::Ok, "", AnswerBody::Values(values), len)
            }
            (b'+', Asked::Set) => (Status::Ok, "", AnswerBody::None, first_len),
            (b':', Asked::Delete) => match &first[1..] {
                b"0" => (Status::NotFound, "", AnswerBody::None, first_len),
                _ => (Status::Ok, "", AnswerBody::None, first_len),
            },
            _ => return Err(format!("{} answers a {asked:?}", shown(first))),
        };
        self.pending.pop();
        Ok(Some((Answer { id, status, message, body }, len)))
    }
}

/// A bulk string, `None` for the null one, and how many bytes it takes.
type Bulk<'a> = (Option<&'a [u8]>, usize);

/// The bulk string at the front; `None`: its end has not come.
fn bulk(bytes: &[u8]) -> Result<Option<Bulk<'_>>, String> {
    let Some((head, head_len)) = line(bytes)? else { return Ok(None) };
    match head {
        b"$-1" => Ok(Some((None, head_len))),
        [b'$', digits @ ..] => {
            let Some((value, len)) = block(&bytes[head_len..], number(digits)?)? else { return Ok(None) };
            Ok(Some((Some(value), head_len + len)))
        }
        _ => Err(format!("{} is no bulk string", shown(head))),
    }
}

fn push_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'$');
    push_number(out, bytes.len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn status_of(message: &str) -> Status {
    match message.split(' ').next() {
        Some("OOM" | "LOADING" | "BUSY" | "OVERLOADED") => Status::Overloaded,
        Some("NOAUTH" | "NOPERM" | "WRONGPASS") => Status::Unauthenticated,
        _ => Status::BadRequest,
    }
}

/// Asks the server at `address` who it is.
///
/// # Errors
/// No server, or one that does not speak RESP; a group, of which RESP knows none.
pub fn connect(address: SocketAddr, group: &str) -> Result<(Resp, ServerFacts), LoadError> {
    text::check_group(group, "resp")?;
    let answer = text::ask(address, b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n", |bytes| match bytes.first() {
        Some(b'$') => Ok(bulk(bytes)?.is_some()),
        // A server without INFO says so; it can be loaded all the same.
        Some(b'-') => Ok(line(bytes)?.is_some()),
        _ => Err(format!("{} answers INFO", shown(bytes))),
    })?;
    let answer = String::from_utf8_lossy(&answer);
    let version = answer.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let facts = ServerFacts {
        server: version.map_or("a RESP server".into(), |version| format!("redis {}", version.trim())),
        key_bytes_max: KEY_BYTES_MAX as u64,
        value_bytes_max: VALUE_BYTES_MAX as u64,
        keys_max: MULTI_GET_MAX as u64,
        pipeline_max: PIPELINE_MAX as u64,
        placement: None,
    };
    Ok((Resp::default(), facts))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ask_all, in_pieces, shown as seen};
    use super::*;

    #[test]
    fn requests_are_those_of_the_specification() {
        let mut out = Vec::new();
        ask_all(&mut Resp::default(), &mut out, Expiry::After(1500));
        let expected = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$2\r\nbb\r\n\
                        *5\r\n$3\r\nSET\r\n$1\r\na\r\n$3\r\n\r\nx\r\n$2\r\nPX\r\n$4\r\n1500\r\n\
                        *2\r\n$3\r\nDEL\r\n$1\r\na\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn answers_come_in_order_and_in_any_pieces() {
        let hits: &[u8] = b"$3\r\n\r\nx\r\n*2\r\n$0\r\n\r\n$-1\r\n+OK\r\n:1\r\n";
        let misses: &[u8] = b"$-1\r\n*2\r\n$-1\r\n$1\r\nz\r\n+OK\r\n:0\r\n";
        let errors: &[u8] = b"-OOM no room\r\n-ERR a\r\n-ERR b\r\n-LOADING c\r\n";
        for (bytes, expected) in [
            (hits, vec!["1 Ok \\r\\nx", "2 Ok [] NotFound", "3 Ok", "4 Ok"]),
            (misses, vec!["1 NotFound", "2 Ok NotFound [z]", "3 Ok", "4 NotFound"]),
            (errors, vec!["1 Overloaded", "2 BadRequest", "3 BadRequest", "4 Overloaded"]),
        ] {
            in_pieces(&Resp::default(), bytes, |answers| assert_eq!(answers, expected, "{}", shown(bytes)));
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_named() {
        for (bytes, expected) in [
            (&b"+OK\r\n"[..], "answers a Get"),
            (b"$x\r\n", "no length"),
            (b"$1\r\nab\r\n", "no line ends"),
            (b"$-1\r\n*3\r\n", "3 values answer an MGET of 2 keys"),
            (b"$-1\r\n*2\r\n+a\r\n", "no bulk string"),
            (b"$-1\r\n*2\r\n$-1\r\n$-1\r\n+OK\r\n:0\r\n+MORE\r\n", "nothing that was asked"),
        ] {
            let reason = seen(&mut Resp::default(), bytes).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}

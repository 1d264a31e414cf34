//! Answers of a server that does nothing: every key is there and has the same value.

use larder_protocol::limits::{FRAME_BYTES_MAX, KEY_BYTES_MAX, KEYS_MAX, PIPELINE_MAX, VALUE_BYTES_MAX};
use larder_protocol::native::generated::{Group, HelloResult, Limits};
use larder_protocol::native::{self, Scratch};
use larder_protocol::{Command, Entries, Found, Reply, Status, Value};

use crate::protocol::ProtocolName;
use crate::protocol::text::{block, line, number, push_number, shown};

/// One connection of the server.
#[derive(Debug)]
pub(super) struct Canned {
    protocol: ProtocolName,
    value: Box<[u8]>,
    scratch: Scratch,
}

/// The same entry for each of so many keys.
#[derive(Debug)]
struct Alike<'a>(usize, Found<'a>);

impl Entries for Alike<'_> {
    fn len(&self) -> usize {
        self.0
    }

    fn entry(&self, _index: usize) -> Result<Found<'_>, Status> {
        Ok(self.1)
    }
}

impl Canned {
    pub(super) fn new(protocol: ProtocolName, value_bytes: usize) -> Canned {
        Canned { protocol, value: vec![b'x'; value_bytes].into_boxed_slice(), scratch: Scratch::default() }
    }

    /// Answers every whole request in `bytes`; returns how many bytes they take.
    pub(super) fn answer(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, String> {
        let mut done = 0;
        while done < bytes.len() {
            let len = match self.protocol {
                ProtocolName::Native => self.native(&bytes[done..], out)?,
                ProtocolName::Resp => self.resp(&bytes[done..], out)?,
                ProtocolName::Memcache => self.memcache(&bytes[done..], out)?,
            };
            match len {
                Some(len) => done += len,
                None => break,
            }
        }
        Ok(done)
    }

    fn native(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, String> {
        let Some(frame) = native::frame(bytes, FRAME_BYTES_MAX).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let request =
            native::decode_request(frame.message, &mut self.scratch).map_err(|error| error.reason.to_string())?;
        let entry = Found { value: Value::Whole(&self.value), flags: 0, version: 1, ttl_ms: 0, is_stale: false };
        let mut reply = |reply: &Reply<'_>| native::encode_response(out, request.id, 1, reply);
        match request.command {
            Command::Hello { .. } => native::encode_hello(out, request.id, 1, &hello()),
            Command::Get { .. } | Command::GetAndTouch { .. } => reply(&Reply::Entry(entry)),
            Command::GetMany { keys } => reply(&Reply::Entries(&Alike(keys.len(), entry))),
            Command::Set(_) | Command::Touch { .. } => reply(&Reply::Stored { version: 1 }),
            Command::Delete { .. } => reply(&Reply::Done),
            Command::Increment { .. } => reply(&Reply::Number { value: 1, version: 1 }),
            ref other => return Err(format!("no run sends {other:?}")),
        }
        Ok(Some(frame.consumed))
    }

    fn resp(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, String> {
        let Some((head, mut len)) = line(bytes)? else { return Ok(None) };
        let [b'*', digits @ ..] = head else { return Err(format!("{} is no command", shown(head))) };
        let words = number(digits)?;
        let mut name: &[u8] = b"";
        for word in 0..words {
            let Some((head, head_len)) = line(&bytes[len..])? else { return Ok(None) };
            let [b'$', digits @ ..] = head else { return Err(format!("{} is no bulk string", shown(head))) };
            let Some((text, text_len)) = block(&bytes[len + head_len..], number(digits)?)? else { return Ok(None) };
            if word == 0 {
                name = text;
            }
            len += head_len + text_len;
        }
        match name {
            b"GET" => self.push_bulk(out),
            b"MGET" => {
                out.push(b'*');
                push_number(out, words as u64 - 1);
                out.extend_from_slice(b"\r\n");
                (1..words).for_each(|_| self.push_bulk(out));
            }
            b"SET" => out.extend_from_slice(b"+OK\r\n"),
            b"DEL" => out.extend_from_slice(b":1\r\n"),
            b"INFO" => out.extend_from_slice(b"-ERR this server does nothing\r\n"),
            other => return Err(format!("no run sends {}", shown(other))),
        }
        Ok(Some(len))
    }

    fn push_bulk(&self, out: &mut Vec<u8>) {
        out.push(b'$');
        push_number(out, self.value.len() as u64);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.value);
        out.extend_from_slice(b"\r\n");
    }

    fn memcache(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, String> {
        // A multi-get of many keys is a line too, and longer than those of answers.
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
        let head = bytes[..end].strip_suffix(b"\r").ok_or_else(|| shown(&bytes[..end]))?;
        let mut words = head.split(|&byte| byte == b' ');
        let mut len = end + 1;
        match words.next() {
            Some(b"get") => {
                for key in words {
                    out.extend_from_slice(b"VALUE ");
                    out.extend_from_slice(key);
                    out.extend_from_slice(b" 0 ");
                    push_number(out, self.value.len() as u64);
                    out.extend_from_slice(b"\r\n");
                    out.extend_from_slice(&self.value);
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(b"END\r\n");
            }
            Some(b"set") => {
                let size = number(words.next_back().unwrap_or_default())?;
                let Some((_, value_len)) = block(&bytes[len..], size)? else { return Ok(None) };
                len += value_len;
                out.extend_from_slice(b"STORED\r\n");
            }
            Some(b"delete") => out.extend_from_slice(b"DELETED\r\n"),
            Some(b"version") => out.extend_from_slice(b"VERSION 0 (does nothing)\r\n"),
            _ => return Err(format!("no run sends {}", shown(head))),
        }
        Ok(Some(len))
    }
}

fn hello() -> HelloResult {
    HelloResult {
        protocol: native::PROTOCOL,
        server: "a server that does nothing".into(),
        node: "null".into(),
        shard: 0,
        limits: Some(Limits {
            key_bytes_max: KEY_BYTES_MAX as u64,
            value_bytes_max: VALUE_BYTES_MAX as u64,
            frame_bytes_max: FRAME_BYTES_MAX as u64,
            keys_max: KEYS_MAX as u64,
            pipeline_max: PIPELINE_MAX as u64,
        }),
        groups: vec![Group { name: "default".into(), hash: 1 }],
        topology: None,
    }
}

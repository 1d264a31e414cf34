//! What the text protocols have in common: lines, numbers, and answers that come in the order of the requests.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::error::LoadError;
use crate::limits::{CONNECT_TIMEOUT, LINE_BYTES_MAX};

/// What an answer will be an answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Get,
    /// So many keys, whose lengths and bytes are in [`Pending::keys`].
    GetMany {
        keys: u32,
        bytes: u32,
    },
    Set,
    Delete,
}

/// Requests that wait for their answers, the oldest first. As many as a connection has slots.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    queue: VecDeque<(u32, Asked)>,
    /// Keys of the multi-gets that wait, each behind its length in two bytes, and how many bytes of it are done with.
    keys: Vec<u8>,
    keys_done: usize,
}

impl Pending {
    pub(super) fn push(&mut self, id: u32, asked: Asked) {
        self.queue.push_back((id, asked));
    }

    /// Notes a multi-get, with its keys, so that an answer which leaves out misses can be told apart.
    pub(super) fn push_get_many<'k>(&mut self, id: u32, keys: impl Iterator<Item = &'k [u8]>) {
        if self.keys_done > self.keys.len() / 2 {
            self.keys.drain(..self.keys_done);
            self.keys_done = 0;
        }
        let (before, mut count) = (self.keys.len(), 0);
        for key in keys {
            let len = u16::try_from(key.len()).expect("keys of a text protocol are short");
            self.keys.extend_from_slice(&len.to_le_bytes());
            self.keys.extend_from_slice(key);
            count += 1;
        }
        self.push(id, Asked::GetMany { keys: count, bytes: (self.keys.len() - before) as u32 });
    }

    pub(super) fn oldest(&self) -> Option<(u32, Asked)> {
        self.queue.front().copied()
    }

    /// The oldest request is answered; returns the keys of its multi-get.
    pub(super) fn pop(&mut self) -> AskedKeys<'_> {
        let (_, asked) = self.queue.pop_front().expect("an answer was asked for");
        let Asked::GetMany { bytes, .. } = asked else { return AskedKeys(&[]) };
        let start = self.keys_done;
        self.keys_done += bytes as usize;
        AskedKeys(&self.keys[start..self.keys_done])
    }

    /// The keys of the oldest request, if that is a multi-get.
    pub(super) fn oldest_keys(&self) -> AskedKeys<'_> {
        match self.oldest() {
            Some((_, Asked::GetMany { bytes, .. })) => {
                AskedKeys(&self.keys[self.keys_done..self.keys_done + bytes as usize])
            }
            _ => AskedKeys(&[]),
        }
    }
}

/// Keys in the order asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskedKeys<'a>(&'a [u8]);

impl<'a> Iterator for AskedKeys<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first_chunk()?;
        let (key, rest) = rest.split_at(usize::from(u16::from_le_bytes(*len)));
        self.0 = rest;
        Some(key)
    }
}

/// The first line of `bytes`, without its end, and how many bytes it takes with it. `None`: its end has not come.
pub(crate) fn line(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, String> {
    let window = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    match window.iter().position(|&byte| byte == b'\n') {
        Some(end) if end > 0 && window[end - 1] == b'\r' => Ok(Some((&window[..end - 1], end + 1))),
        Some(end) => Err(format!("a line ends without a carriage return: {}", shown(&window[..end]))),
        None if window.len() == LINE_BYTES_MAX => {
            Err(format!("a line is longer than {LINE_BYTES_MAX} bytes: {}", shown(window)))
        }
        None => Ok(None),
    }
}

/// `len` bytes and the end of a line behind them: the bytes, and how many bytes both take.
pub(crate) fn block(bytes: &[u8], len: usize) -> Result<Option<(&[u8], usize)>, String> {
    let Some(end) = bytes.get(len..len + 2) else { return Ok(None) };
    if end != b"\r\n" {
        return Err(format!("no line ends behind a value of {len} bytes, but {} follows", shown(end)));
    }
    Ok(Some((&bytes[..len], len + 2)))
}

/// A length or count of up to nine digits.
pub(crate) fn number(digits: &[u8]) -> Result<usize, String> {
    if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(format!("{} is no length", shown(digits)));
    }
    Ok(digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

/// Appends a number in decimal.
pub(crate) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Received bytes for an error message.
pub(crate) fn shown(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes[..bytes.len().min(80)].escape_ascii())
}

/// Sends a question over a connection of its own and returns what is read until `complete` is content.
pub(super) fn ask(
    address: SocketAddr,
    question: &[u8],
    complete: impl Fn(&[u8]) -> Result<bool, String>,
) -> Result<Vec<u8>, LoadError> {
    let refused = |source| LoadError::Connect { address, source };
    let broken = |reason: String| LoadError::Protocol { address, reason };
    let mut socket = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).map_err(refused)?;
    socket.set_read_timeout(Some(CONNECT_TIMEOUT)).map_err(refused)?;
    socket.set_write_timeout(Some(CONNECT_TIMEOUT)).map_err(refused)?;
    socket.write_all(question).map_err(refused)?;
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match socket.read(&mut chunk) {
            Ok(0) => return Err(broken("it closed the connection on the first request; is this the port?".into())),
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
            Err(error) => return Err(broken(format!("no answer to the first request: {error}; is this the port?"))),
        }
        if complete(&bytes).map_err(broken)? {
            return Ok(bytes);
        }
        if bytes.len() > LINE_BYTES_MAX {
            return Err(broken(format!("the first answer has no end: {}", shown(&bytes))));
        }
    }
}

/// These protocols have no groups of keys.
pub(super) fn check_group(group: &str, protocol: &str) -> Result<(), LoadError> {
    match group {
        "default" => Ok(()),
        _ => Err(LoadError::option("--group", group, format!("--protocol {protocol} has no groups; leave it out"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_numbers_and_blocks_are_read_or_named() {
        assert_eq!(line(b"OK\r\nrest"), Ok(Some((&b"OK"[..], 4))));
        assert_eq!(line(b"OK\r"), Ok(None));
        assert!(line(b"OK\n").unwrap_err().contains("carriage return"));
        assert!(line(&vec![b'x'; LINE_BYTES_MAX + 5]).unwrap_err().contains("longer"));
        assert_eq!(number(b"120"), Ok(120));
        for wrong in [&b""[..], b"-1", b"1x", b"1234567890"] {
            assert!(number(wrong).is_err(), "{}", shown(wrong));
        }
        assert_eq!(block(b"abc\r\nx", 3), Ok(Some((&b"abc"[..], 5))));
        assert_eq!(block(b"abc\r", 3), Ok(None));
        assert!(block(b"abcd\r\n", 3).is_err());
        for number in [0, 9, 10, 4711, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }

    #[test]
    fn keys_of_waiting_multi_gets_come_back_in_order_and_memory_stays_small() {
        let mut pending = Pending::default();
        for round in 0..1000_u32 {
            let keys: Vec<String> = (0..round % 7).map(|key| format!("{round}:{key}")).collect();
            pending.push_get_many(round, keys.iter().map(|key| key.as_bytes()));
            pending.push(round, Asked::Set);
            if round >= 3 {
                let before = round - 3;
                assert_eq!(pending.oldest().unwrap().0, before);
                let got: Vec<Vec<u8>> = pending.pop().map(<[u8]>::to_vec).collect();
                let asked: Vec<Vec<u8>> = (0..before % 7).map(|key| format!("{before}:{key}").into_bytes()).collect();
                assert_eq!(got, asked);
                assert_eq!(pending.pop().count(), 0);
            }
        }
        assert!(pending.keys.capacity() < 2000, "{}", pending.keys.capacity());
    }
}

//! From the bytes of a connection to the arguments of one command.

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;

use super::table::is_command;
use crate::limits::{KEYS_MAX, SCRATCH_KEYS_KEPT};
use crate::places::{Keys, Span};

/// Most arguments of one command: as many keys as a request may have, each with a value, and the command's name.
pub const ARGUMENTS_MAX: usize = 2 * KEYS_MAX + 1;
/// Longest line that is a command by itself, in bytes, as Valkey has it (`PROTO_INLINE_MAX_SIZE`).
pub const INLINE_BYTES_MAX: usize = 64 << 10;
/// Most bytes that are taken from who has not named a command yet.
pub const STRANGER_BYTES_MAX: usize = 16 << 10;
/// Longest line with a number, in bytes without its end: a sign, and the digits of 64 bits.
const NUMBER_BYTES_MAX: usize = 20;

/// Why nothing behind what was read can be trusted: the text of the error, as Valkey says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub Cow<'static, str>);

/// How long what is read may be.
#[derive(Clone, Copy, Debug)]
pub struct ReaderLimits {
    /// Longest argument, in bytes.
    pub argument_bytes_max: usize,
    /// Longest command, in bytes, below 4 GiB: so much of one is kept until it is whole.
    pub command_bytes_max: usize,
    /// Whether the connection has named no command yet: then it has [`STRANGER_BYTES_MAX`] to do so.
    pub is_stranger: bool,
}

/// Reads one command at a time, and goes on where it stopped when more has come.
///
/// Memory: a place for each argument, at most [`ARGUMENTS_MAX`], of which those above [`SCRATCH_KEYS_KEPT`] are given back with
/// the next command; and the text of a line with quotes, at most [`INLINE_BYTES_MAX`].
#[derive(Debug, Default)]
pub struct Reader {
    spans: Vec<Span>,
    /// Bytes of the command that were read.
    at: usize,
    /// Arguments that are still to come; `None`: their number has not come yet.
    left: Option<usize>,
    /// The arguments of a line, without their quotes, one behind the other.
    line: Vec<u8>,
    is_line: bool,
}

impl Reader {
    /// Reads on in `input`, which begins with the same command as the last time, if that was not whole. Returns how many bytes
    /// the command takes once it is whole; of none, such as an empty line, there are no arguments.
    ///
    /// # Errors
    /// The connection is to be closed once that is said.
    pub fn read(&mut self, input: &[u8], limits: ReaderLimits) -> Result<Option<usize>, Broken> {
        let ReaderLimits { argument_bytes_max, .. } = limits;
        if self.left.is_none() {
            self.begin();
            match input.first() {
                None => return Ok(None),
                Some(b'*') => match number(&input[1..]) {
                    Number::More => return Ok(None),
                    Number::Is(count, taken) if count <= ARGUMENTS_MAX as i64 => {
                        self.at = 1 + taken;
                        self.left = Some(usize::try_from(count).unwrap_or(0));
                    }
                    Number::Is(..) | Number::IsNone => {
                        return Err(Broken(Cow::Borrowed("Protocol error: invalid multibulk length")));
                    }
                },
                Some(_) => return self.read_line(input, limits.is_stranger),
            }
        }
        while let Some(left @ 1..) = self.left {
            let Some((&first, rest)) = input.get(self.at..).and_then(<[u8]>::split_first) else { return Ok(None) };
            if first != b'$' {
                let what = char::from(first).escape_default();
                return Err(Broken(Cow::Owned(format!("Protocol error: expected '$', got '{what}'"))));
            }
            let (len, taken) = match number(rest) {
                Number::More => return Ok(None),
                Number::Is(len, taken) if (0..=argument_bytes_max as i64).contains(&len) => (len as usize, taken),
                Number::Is(..) | Number::IsNone => {
                    return Err(Broken(Cow::Borrowed("Protocol error: invalid bulk length")));
                }
            };
            let start = self.at + 1 + taken;
            let end = start + len + 2;
            // A command that there is has its arguments; another one is only named back.
            let is_strange = limits.is_stranger && !self.spans.first().is_some_and(|name| is_command(name.of(input)));
            let command_bytes_max = if is_strange { STRANGER_BYTES_MAX } else { limits.command_bytes_max };
            if end > command_bytes_max {
                let text = format!("Protocol error: a command is longer than {command_bytes_max} bytes; send several");
                return Err(Broken(Cow::Owned(text)));
            }
            if input.len() < end {
                return Ok(None);
            }
            self.spans.push(Span { start: start as u32, len: len as u32 });
            (self.at, self.left) = (end, Some(left - 1));
        }
        self.left = None;
        Ok(Some(self.at))
    }

    /// Whether part of a command was read, which is not to be read again.
    pub fn is_begun(&self) -> bool {
        self.left.is_some()
    }

    /// The arguments of the command that was read as a whole from `input`.
    pub fn arguments<'a>(&'a self, input: &'a [u8]) -> Keys<'a> {
        Keys::new(if self.is_line { &self.line } else { input }, &self.spans)
    }

    /// How long the command that begins with `input` says it is so far, in bytes.
    pub fn bytes_announced(&self, input: &[u8]) -> usize {
        match input.get(self.at..).and_then(<[u8]>::split_first) {
            Some((b'$', rest)) => match number(rest) {
                Number::Is(len @ 0.., taken) => (self.at + taken + 3).saturating_add(len as usize),
                _ => usize::MAX,
            },
            _ => usize::MAX,
        }
    }

    fn begin(&mut self) {
        self.spans.clear();
        self.spans.shrink_to(SCRATCH_KEYS_KEPT);
        self.line.clear();
        self.line.shrink_to(SCRATCH_KEYS_KEPT);
        (self.at, self.is_line) = (0, false);
    }

    /// Words in a line, as people type them.
    fn read_line(&mut self, input: &[u8], is_stranger: bool) -> Result<Option<usize>, Broken> {
        let line_bytes_max = if is_stranger { STRANGER_BYTES_MAX } else { INLINE_BYTES_MAX };
        let Some(end) = input.iter().take(line_bytes_max + 1).position(|byte| *byte == b'\n') else {
            if input.len() > line_bytes_max {
                return Err(Broken(Cow::Borrowed("Protocol error: too big inline request")));
            }
            return Ok(None);
        };
        let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
        self.is_line = true;
        let mut rest = line;
        loop {
            rest = rest.trim_ascii_start();
            if rest.is_empty() {
                return Ok(Some(end + 1));
            }
            let start = self.line.len();
            rest = word(rest, &mut self.line)
                .ok_or(Broken(Cow::Borrowed("Protocol error: unbalanced quotes in request")))?;
            if self.spans.len() == ARGUMENTS_MAX {
                return Err(Broken(Cow::Borrowed("Protocol error: too big inline request")));
            }
            self.spans.push(Span { start: start as u32, len: (self.line.len() - start) as u32 });
        }
    }
}

enum Number {
    More,
    /// With the bytes that it takes, its end included.
    Is(i64, usize),
    IsNone,
}

/// The number at the beginning of `bytes`, up to the end of its line.
fn number(bytes: &[u8]) -> Number {
    let line = &bytes[..bytes.len().min(NUMBER_BYTES_MAX + 2)];
    let Some(end) = line.iter().position(|byte| *byte == b'\r') else {
        return if line.len() == NUMBER_BYTES_MAX + 2 { Number::IsNone } else { Number::More };
    };
    match line.get(end + 1) {
        None => Number::More,
        Some(_) => integer(&line[..end]).map_or(Number::IsNone, |number| Number::Is(number, end + 2)),
    }
}

/// An integer as Valkey takes one (`string2ll`): no sign but "-", no zeros in front, no blanks.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_canonical =
        text == b"0" || matches!(digits, [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit));
    is_canonical.then(|| core::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

/// Appends the first word of `text`, which may be in quotes, and returns what is behind it (`sdssplitargs` of Valkey).
fn word<'a>(mut text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match text {
            [] => return Some(text),
            [first, ..] if first.is_ascii_whitespace() => return Some(text),
            [quote @ (b'"' | b'\''), rest @ ..] => {
                text = quoted(rest, *quote, out)?;
                // Behind the quote that closes there has to be a blank, or nothing.
                return text.first().is_none_or(u8::is_ascii_whitespace).then_some(text);
            }
            [first, rest @ ..] => {
                out.push(*first);
                text = rest;
            }
        }
    }
}

fn quoted<'a>(mut text: &'a [u8], quote: u8, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let is_double = quote == b'"';
    loop {
        text = match text {
            [] => return None,
            [byte, rest @ ..] if *byte == quote => return Some(rest),
            [b'\\', b'x', high, low, rest @ ..] if is_double && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: u8| char::from(byte).to_digit(16).expect("it is one") as u8;
                out.push(16 * digit(*high) + digit(*low));
                rest
            }
            [b'\\', byte, rest @ ..] if is_double => {
                out.push(match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    byte => *byte,
                });
                rest
            }
            [b'\\', b'\'', rest @ ..] if !is_double => {
                out.push(b'\'');
                rest
            }
            [byte, rest @ ..] => {
                out.push(*byte);
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    const LIMITS: ReaderLimits =
        ReaderLimits { argument_bytes_max: 1 << 10, command_bytes_max: 1 << 20, is_stranger: false };

    /// Bytes that were taken, and the arguments.
    type Command = (usize, Vec<Vec<u8>>);

    /// What a reader makes of `input`, when it comes in pieces that end at each of `cuts`.
    fn read(input: &[u8], cuts: &[usize]) -> Result<Option<Command>, Broken> {
        let mut reader = Reader::default();
        for end in cuts.iter().copied().chain([input.len()]) {
            if let Some(taken) = reader.read(&input[..end], LIMITS)? {
                let arguments = reader.arguments(&input[..end]).iter().map(<[u8]>::to_vec).collect();
                return Ok(Some((taken, arguments)));
            }
        }
        Ok(None)
    }

    fn whole(input: &[u8]) -> Command {
        read(input, &[]).expect("it is one").expect("it is whole")
    }

    #[test]
    fn commands_are_read_however_they_are_cut() {
        let inputs: [&[u8]; 7] = [
            b"*2\r\n$3\r\nGET\r\n$5\r\nab\r\nc\r\n",
            b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$1\r\n*\r\n",
            b"*0\r\n",
            b"*-1\r\n",
            b"PING\r\n",
            b"  set \"a b\\x41\\n\" 'it\\'s'  plain\n",
            b"\r\n",
        ];
        let expected: [&[&[u8]]; 7] = [
            &[b"GET", b"ab\r\nc"],
            &[b"SET", b"", b"*"],
            &[],
            &[],
            &[b"PING"],
            &[b"set", b"a bA\n", b"it's", b"plain"],
            &[],
        ];
        for (input, expected) in inputs.into_iter().zip(expected) {
            assert_eq!(whole(input), (input.len(), expected.iter().map(|argument| argument.to_vec()).collect()));
            // With the next command behind it.
            let two = [input, b"*1\r\n$4\r\nPING\r\n"].concat();
            assert_eq!(whole(&two).0, input.len());
            for first in 0..input.len() {
                assert_eq!(read(&input[..first], &[]), Ok(None), "{first} bytes of {input:?}");
                for second in first..input.len() {
                    assert_eq!(read(input, &[first, second]), Ok(Some(whole(input))));
                }
            }
        }
    }

    #[test]
    fn what_is_no_command_is_said_as_valkey_says_it() {
        let broken: [(&[u8], &str); 12] = [
            (b"*x\r\n", "Protocol error: invalid multibulk length"),
            (b"*32770\r\n", "Protocol error: invalid multibulk length"),
            (b"*99999999999\r\n", "Protocol error: invalid multibulk length"),
            (b"*1111111111111111111111", "Protocol error: invalid multibulk length"),
            (b"*1\r\n+OK\r\n", "Protocol error: expected '$', got '+'"),
            (b"*1\r\n\r\n", "Protocol error: expected '$', got '\\r'"),
            (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
            (b"*1\r\n$1025\r\n", "Protocol error: invalid bulk length"),
            (b"*1\r\n$9999999999999999999\r\n", "Protocol error: invalid bulk length"),
            (b"get \"a\r\n", "Protocol error: unbalanced quotes in request"),
            (b"get \"a\"b\r\n", "Protocol error: unbalanced quotes in request"),
            (b"get 'a\r\n", "Protocol error: unbalanced quotes in request"),
        ];
        for (input, text) in broken {
            assert_eq!(read(input, &[]), Err(Broken(Cow::Borrowed(text))), "{input:?}");
        }
        let mut many = b"*2000\r\n".to_vec();
        (0..1_023).for_each(|_| many.extend_from_slice(&[&b"$1017\r\n"[..], &[b'v'; 1_017], b"\r\n"].concat()));
        many.extend_from_slice(b"$1017\r\n");
        let text = "Protocol error: a command is longer than 1048576 bytes; send several";
        assert_eq!(read(&many, &[]), Err(Broken(Cow::Borrowed(text))), "said before more of it has come");
        let long = vec![b'a'; INLINE_BYTES_MAX + 1];
        assert_eq!(read(&long, &[]), Err(Broken(Cow::Borrowed("Protocol error: too big inline request"))));
        assert_eq!(read(&long[1..], &[]), Ok(None), "its end may come");
    }

    #[test]
    fn who_names_no_command_has_little_room() {
        let limits = ReaderLimits { argument_bytes_max: 1 << 20, command_bytes_max: 1 << 20, is_stranger: true };
        let read = |input: &[u8]| Reader::default().read(input, limits);
        assert_eq!(read(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n"), Ok(None), "a value may be long");
        for input in [&b"*2\r\n$4\r\nWHAT\r\n$100000\r\n"[..], b"*1\r\n$100000\r\n"] {
            assert!(read(input).is_err(), "{input:?}");
        }
        assert_eq!(read(&vec![b'a'; STRANGER_BYTES_MAX]), Ok(None));
        assert!(read(&vec![b'a'; STRANGER_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn a_length_says_what_is_to_come() {
        let mut reader = Reader::default();
        let input = b"*2\r\n$3\r\nGET\r\n$500\r\nab";
        assert_eq!(reader.read(input, LIMITS), Ok(None));
        assert_eq!(reader.bytes_announced(input), b"*2\r\n$3\r\nGET\r\n$500\r\n".len() + 500 + 2);
        assert_eq!(Reader::default().bytes_announced(b"GET"), usize::MAX);
    }

    #[test]
    fn memory_of_a_large_command_is_given_back() {
        let mut many = b"*20000\r\n".to_vec();
        (0..20_000).for_each(|_| many.extend_from_slice(b"$1\r\nk\r\n"));
        let mut reader = Reader::default();
        assert_eq!(reader.read(&many, LIMITS), Ok(Some(many.len())));
        assert_eq!(reader.arguments(&many).len(), 20_000);
        assert_eq!(reader.read(b"PING\r\n", LIMITS), Ok(Some(6)));
        assert!(reader.spans.capacity() <= SCRATCH_KEYS_KEPT);
    }

    #[test]
    fn integers_are_those_of_valkey() {
        for (text, number) in
            [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
        {
            assert_eq!(integer(text.as_bytes()), Some(number));
        }
        for text in ["", "-", "+1", "01", "-0", " 1", "1 ", "9223372036854775808", "-9223372036854775809", "1a"] {
            assert_eq!(integer(text.as_bytes()), None, "{text:?}");
        }
    }
}

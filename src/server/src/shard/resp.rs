//! A connection that speaks RESP: what it has to remember, and its answers in the order of its commands.

use std::collections::VecDeque;

use larder_protocol::resp::{self, Asked, Own, Reader, ReaderLimits, Shape, Version, encode_error, encode_own};
use larder_protocol::{Reply, Request, WriteSpan};

use super::dialect::Step;

/// See the module.
#[derive(Debug, Default)]
pub struct Resp {
    version: Version,
    /// The place of the command that comes next.
    next: u64,
    /// The place of the answer that goes out next.
    front: u64,
    /// Answers that came before their turn, the first of them that of `front`, which has not come. Answers to what waits at
    /// other shards are as many as may wait; those that a connection gives by itself are counted by their bytes.
    held: VecDeque<Option<Vec<u8>>>,
    held_bytes: usize,
    /// A command that has come in part; else nothing.
    reader: Reader,
    /// Answers of the connection's own, until they have their place.
    said: Vec<u8>,
}

/// What a reader of commands needs beside the input: one for all connections of a shard.
#[derive(Debug, Default)]
pub(super) struct RespScratch {
    reader: Reader,
    writes: Vec<WriteSpan>,
}

/// Bytes that an answer that is held takes beside its text.
const HELD_BYTES: usize = size_of::<Option<Vec<u8>>>();
/// Places for answers that are kept when none is held.
const HELD_KEPT: usize = 64;
/// The version of the protocol in the id of a request, above its shape.
const THREE: u64 = 1 << 7;
/// Where the place begins in an id.
const PLACE_SHIFT: u32 = 8;

impl Resp {
    /// The first command in `input`.
    pub(super) fn next<'a>(&mut self, input: &'a [u8], scratch: &'a mut RespScratch, limits: ReaderLimits) -> Step<'a> {
        if self.reader.is_begun() {
            std::mem::swap(&mut self.reader, &mut scratch.reader);
        }
        let RespScratch { reader, writes } = scratch;
        let consumed = match reader.read(input, limits) {
            Ok(None) => return Step::More,
            Ok(Some(consumed)) => consumed,
            Err(broken) => {
                encode_error(&mut self.said, &format!("ERR {}", broken.0));
                return Step::Last { is_malformed: true };
            }
        };
        let arguments = reader.arguments(input);
        if arguments.is_empty() {
            return Step::Said(consumed);
        }
        let own = match resp::decode(arguments, writes) {
            Asked::Command(command, shape) => {
                let id = self.id(shape);
                return Step::Request(
                    Request { id, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command },
                    consumed,
                );
            }
            Asked::Own(own) => own,
            Asked::Hello(version) => {
                self.version = version.unwrap_or(self.version);
                Own::Hello(env!("CARGO_PKG_VERSION"))
            }
            Asked::Quit => {
                encode_own(&mut self.said, self.version, &Own::Ok);
                return Step::Last { is_malformed: false };
            }
        };
        encode_own(&mut self.said, self.version, &own);
        Step::Said(consumed)
    }

    /// What was read of a command belongs to the connection, and nothing else does: memory of large ones is the shard's.
    pub(super) fn give_back(&mut self, scratch: &mut RespScratch) {
        if scratch.reader.is_begun() {
            std::mem::swap(&mut self.reader, &mut scratch.reader);
        }
    }

    fn id(&mut self, shape: Shape) -> u64 {
        let version = if self.version == Version::Three { THREE } else { 0 };
        let id = self.next << PLACE_SHIFT | version | shape as u64;
        self.next += 1;
        id
    }

    /// Appends the answer to a request of [`Resp::next`] to `output`, or holds it until those before it have come.
    pub(super) fn answer(&mut self, output: &mut Vec<u8>, id: u64, reply: &Reply<'_>) {
        let version = if id & THREE == 0 { Version::Two } else { Version::Three };
        let shape = Shape::ALL[(id & (THREE - 1)) as usize];
        self.place(output, id >> PLACE_SHIFT, |out| resp::encode(out, version, shape, reply));
    }

    /// Gives what the connection has said by itself its place behind all that was asked before.
    pub(super) fn say(&mut self, output: &mut Vec<u8>) {
        if self.said.is_empty() {
            return;
        }
        let place = self.next;
        self.next += 1;
        let mut said = std::mem::take(&mut self.said);
        self.place(output, place, |out| out.append(&mut said));
        self.said = said;
    }

    /// Bytes that are held.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// How long the command that begins with `input` says it is so far, in bytes.
    pub(super) fn bytes_announced(&self, input: &[u8]) -> usize {
        self.reader.bytes_announced(input)
    }

    fn place(&mut self, output: &mut Vec<u8>, place: u64, append: impl FnOnce(&mut Vec<u8>)) {
        let behind = usize::try_from(place - self.front).expect("what is held is bounded");
        if behind > 0 {
            let mut text = Vec::new();
            append(&mut text);
            while self.held.len() <= behind {
                self.held.push_back(None);
                self.held_bytes += HELD_BYTES;
            }
            self.held_bytes += text.len();
            assert!(self.held[behind].replace(text).is_none(), "a command is answered once");
            return;
        }
        append(output);
        loop {
            self.front += 1;
            if self.held.pop_front().is_some() {
                self.held_bytes -= HELD_BYTES;
            }
            let Some(text) = self.held.front_mut().and_then(Option::take) else { break };
            self.held_bytes -= text.len();
            output.extend_from_slice(&text);
        }
        if self.held.is_empty() {
            self.held.shrink_to(HELD_KEPT);
        }
    }

    /// Panics with what is wrong.
    pub(super) fn validate(&self, pending: usize) {
        let text: usize = self.held.iter().flatten().map(Vec::len).sum();
        assert_eq!(self.held_bytes, text + HELD_BYTES * self.held.len());
        assert!(self.held.front().is_none_or(Option::is_none), "what has its turn is not held");
        let held = self.held.iter().flatten().count();
        assert_eq!((self.next - self.front) as usize, pending + held, "every command is answered or waits");
        assert!(self.said.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fmt::Write as _;

    use crate::limits::OUTPUT_BYTES_PAUSE;
    use crate::shard::tests::{NOW_MS, reactors, run_until_quiet};
    use crate::shard::{ConnectionId, Dialect, Reactor};

    fn open(reactor: &mut Reactor) -> ConnectionId {
        reactor.opened(Dialect::Resp(Box::default()))
    }

    fn output(reactor: &mut Reactor, id: ConnectionId) -> String {
        while reactor.next_listed().is_some() {}
        let mut all = String::new();
        while let Some(output) = reactor.take_output(id) {
            all.push_str(str::from_utf8(&output).expect("text"));
            reactor.sent(id, output, NOW_MS);
        }
        all
    }

    fn array(words: &[&str]) -> String {
        words.iter().fold(format!("*{}\r\n", words.len()), |mut text, word| {
            write!(text, "${}\r\n{word}\r\n", word.len()).expect("memory");
            text
        })
    }

    /// A random command on few keys, and what is answered to it.
    fn command(random: &mut fastrand::Rng, model: &mut HashMap<String, String>) -> (String, String) {
        let bulk = |value: Option<&String>| match value {
            Some(value) => format!("${}\r\n{value}\r\n", value.len()),
            None => "$-1\r\n".to_owned(),
        };
        let key = random.u32(0..30).to_string();
        let other = random.u32(0..30).to_string();
        let value = random.u64(..).to_string();
        match random.u8(0..9) {
            0 | 1 => {
                model.insert(key.clone(), value.clone());
                (array(&["SET", &key, &value]), "+OK\r\n".into())
            }
            2 => (format!("get {key}\r\n"), bulk(model.get(&key))),
            3 => {
                let answer = format!("*2\r\n{}{}", bulk(model.get(&key)), bulk(model.get(&other)));
                (array(&["MGET", &key, &other]), answer)
            }
            4 => {
                let count = [&key, &other].into_iter().filter(|key| model.remove(*key).is_some()).count();
                (array(&["DEL", &key, &other]), format!(":{count}\r\n"))
            }
            5 => {
                let is_there = model.contains_key(&key);
                model.entry(key.clone()).or_insert_with(|| value.clone());
                (array(&["SETNX", &key, &value]), format!(":{}\r\n", u8::from(!is_there)))
            }
            6 => {
                model.insert(key.clone(), value.clone());
                model.insert(other.clone(), value.clone());
                (array(&["mset", &key, &value, &other, &value]), "+OK\r\n".into())
            }
            7 => ("PING\r\n".into(), "+PONG\r\n".into()),
            _ => (array(&["get"]), "-ERR wrong number of arguments for 'get' command\r\n".into()),
        }
    }

    #[test]
    fn answers_come_in_the_order_of_the_commands_though_the_keys_are_of_many_shards() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..30 {
            let mut reactors = reactors(3);
            let id = open(&mut reactors[0]);
            let mut model = HashMap::new();
            let (mut input, mut expected) = (String::new(), String::new());
            for _ in 0..random.usize(1..400) {
                let (command, answer) = command(&mut random, &mut model);
                input.push_str(&command);
                expected.push_str(&answer);
            }
            let (mut rest, mut said) = (input.as_bytes(), String::new());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(random.usize(1..=rest.len().min(2_000)));
                reactors[0].received(id, now, NOW_MS);
                rest = later;
                for _ in 0..random.usize(0..4) {
                    let shard = random.usize(0..3);
                    reactors[shard].turn(NOW_MS);
                    reactors[shard].validate();
                }
                if random.bool() {
                    said.push_str(&output(&mut reactors[0], id));
                }
            }
            run_until_quiet(&mut reactors);
            said.push_str(&output(&mut reactors[0], id));
            assert_eq!(said, expected, "seed {seed}");
            reactors.iter_mut().for_each(Reactor::validate);
        }
    }

    #[test]
    fn what_is_no_command_is_said_behind_all_that_was_asked_and_is_the_last() {
        let mut reactors = reactors(3);
        let id = open(&mut reactors[0]);
        let keys: Vec<String> = (0..20).map(|key| key.to_string()).collect();
        let asked: String = keys.iter().map(|key| array(&["SET", key, "v"])).collect();
        let bytes = format!("{asked}*1\r\n!\r\nPING\r\n");
        reactors[0].received(id, bytes.as_bytes(), NOW_MS);
        assert!(!reactors[0].wants_input(id) && !reactors[0].is_finished(id), "some is at other shards");
        run_until_quiet(&mut reactors);
        let expected = format!("{}-ERR Protocol error: expected '$', got '!'\r\n", "+OK\r\n".repeat(20));
        assert_eq!(output(&mut reactors[0], id), expected);
        assert!(reactors[0].is_finished(id));
        let quits = open(&mut reactors[0]);
        reactors[0].received(quits, b"PING\r\nQUIT\r\nPING\r\n", NOW_MS);
        assert_eq!(output(&mut reactors[0], quits), "+PONG\r\n+OK\r\n");
        assert!(reactors[0].is_finished(quits));
    }

    #[test]
    fn the_version_changes_behind_what_was_asked_before() {
        let mut reactors = reactors(1);
        let id = open(&mut reactors[0]);
        reactors[0].received(id, b"GET a\r\nHELLO 3\r\nGET a\r\nHELLO 9\r\nGET a\r\n", NOW_MS);
        let said = output(&mut reactors[0], id);
        assert!(said.starts_with("$-1\r\n%6\r\n$6\r\nserver\r\n"), "{said}");
        assert!(said.ends_with("_\r\n-NOPROTO unsupported protocol version\r\n_\r\n"), "{said}");
    }

    /// Another shard has not answered the first command, and the client asks on and on.
    #[test]
    fn what_is_held_is_bounded() {
        let mut reactors = reactors(3);
        let id = open(&mut reactors[0]);
        let mut numbers = 0..100;
        while !reactors[0].is_pending(id) {
            let key = numbers.next().expect("most keys are of other shards").to_string();
            reactors[0].received(id, array(&["GET", &key]).as_bytes(), NOW_MS);
        }
        output(&mut reactors[0], id);
        let echo = array(&["ECHO", &"e".repeat(1_000)]);
        let mut count = 0;
        while reactors[0].wants_input(id) {
            reactors[0].received(id, echo.as_bytes(), NOW_MS);
            count += 1;
        }
        assert!(count <= OUTPUT_BYTES_PAUSE / 1_000 + 1, "{count} answers are held");
        assert_eq!(output(&mut reactors[0], id), "", "none has its turn");
        run_until_quiet(&mut reactors);
        let said = output(&mut reactors[0], id);
        assert!(said.starts_with("$-1\r\n$1000\r\n") && reactors[0].wants_input(id));
        assert_eq!(said.matches("$1000").count(), count);
    }
}

//! A connection that speaks the text protocol of memcached: what it has to remember, and its answers in the order of its
//! commands. Answers repeat keys, so those of what has not been answered are kept.

use std::collections::{BTreeMap, VecDeque};

use larder_protocol::memcache::{
    self, Asked, Limits, MetaShape, Own, Parsed, Places, Quiet, Rest, Shape, StatsKind, encode, encode_meta,
};
use larder_protocol::native::encode_request;
use larder_protocol::{Ahead, Command, Expiry, Keys, Reply, Request};

use super::dialect::Step;
use super::order::{Order, PLACES, following};
use crate::limits::{AHEAD_MAX, MEMCACHE_GATHERED_BYTES_MAX};
use crate::memcache_stats::Stats;
use crate::resp::Shared;

/// See the module.
#[derive(Debug, Default)]
pub struct Memcache {
    order: Order,
    /// Commands that have not been answered, and some behind the first of them that have; the place of the first.
    asked: VecDeque<Waiting>,
    first: u64,
    /// Keys of these, one behind the other.
    keys: Vec<u8>,
    /// Where `keys` begins among all keys that were ever asked for.
    keys_from: usize,
    /// Values of commands that are several requests, by place.
    parts: BTreeMap<u64, Gathered>,
    parts_bytes: usize,
    /// Bytes of the input that are not looked at.
    swallow: usize,
    /// What follows is of a line that is too long for one request.
    rest: Option<Rest>,
    /// A part of such a line is not answered: what follows waits, since it is not asked for if that fails.
    is_waiting: bool,
    /// It has named a command that there is.
    is_known: bool,
    /// What the connection says by itself, with its place.
    says: Vec<(u64, Vec<u8>)>,
    /// Frames of requests that are to be submitted.
    queue: Vec<u8>,
    /// When everything is to be made absent.
    flush: Option<Expiry>,
}

/// A command that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    told: Told,
    is_quiet: Quiet,
    /// Where its keys begin among all keys that were ever asked for, and how long they are.
    keys_at: usize,
    key_bytes: u32,
    is_answered: bool,
}

/// How a reply is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Shape(Shape),
    /// That of a meta command, whose words are kept in place of keys.
    Meta(MetaShape),
    /// Values, and no end of them unless they cannot be had.
    Part {
        has_cas: bool,
    },
    /// Whatever it is.
    Line(&'static str),
    Stats(StatsKind),
    /// Values of several requests.
    Parts {
        has_cas: bool,
    },
}

#[derive(Debug)]
struct Gathered {
    values: Vec<Vec<u8>>,
    left: usize,
    /// What failed.
    failure: Option<Vec<u8>>,
}

/// Bits of an id for the part of a command.
const PART_BITS: u32 = 14;
/// What every answer without values ends with, and that with values too.
const END: &[u8] = b"END\r\n";
/// As memcached says it.
const TOO_MUCH: &[u8] = b"SERVER_ERROR out of memory writing get response\r\n";

const _: () = assert!(PLACES <= 1 << (u64::BITS - PART_BITS), "a place and a part are an id");
const _: () = assert!(larder_protocol::limits::KEYS_MAX <= 1 << PART_BITS, "every key of a command is a part");

impl Memcache {
    /// As [`super::Dialect::ahead`].
    #[inline]
    pub(super) fn ahead<'a>(&self, input: &'a [u8], value_bytes_max: usize, ahead: &mut Ahead<'a>) {
        ahead.requests.clear();
        if self.swallow > 0 || self.rest.is_some() {
            return;
        }
        let (mut end, mut place) = (0, self.order.next());
        while ahead.requests.len() < AHEAD_MAX
            && let Some((command, _, taken)) = memcache::plain(&input[end..], value_bytes_max)
        {
            end += taken;
            ahead.requests.push((request(place, 0, command), end));
            place = following(place);
        }
    }

    /// The one of those that `input` consists of.
    pub(super) fn only<'a>(&self, input: &'a [u8], value_bytes_max: usize) -> Option<Request<'a>> {
        let (command, _, taken) = memcache::plain(input, value_bytes_max)?;
        let is_next = taken == input.len() && self.swallow == 0 && self.rest.is_none();
        is_next.then(|| request(self.order.next(), 0, command))
    }

    /// A request of [`Memcache::ahead`] is executed.
    #[inline]
    pub(super) fn begun(&mut self, command: &Command<'_>) {
        let (told, key) = match *command {
            Command::Get { key } => (Shape::Value { has_cas: false }, key),
            _ => (Shape::Stored, &[][..]),
        };
        self.is_known = true;
        self.wait(Told::Shape(told), false, key);
    }

    /// Takes the place of the next command, whose reply is told so.
    fn wait(&mut self, told: Told, is_quiet: Quiet, keys: &[u8]) -> u64 {
        if self.asked.is_empty() {
            self.first = self.order.next();
        }
        let keys_at = self.keys_from + self.keys.len();
        self.keys.extend_from_slice(keys);
        let key_bytes = keys.len() as u32;
        self.asked.push_back(Waiting { told, is_quiet, keys_at, key_bytes, is_answered: false });
        self.order.take()
    }

    /// The first command in `input`.
    pub(super) fn next<'a>(&mut self, input: &'a [u8], places: &'a mut Places, value_bytes_max: usize) -> Step<'a> {
        if self.swallow > 0 {
            let taken = self.swallow.min(input.len());
            self.swallow -= taken;
            return if taken == 0 { Step::More } else { Step::Said(taken) };
        }
        let line_bytes_max = if self.is_known { memcache::LINE_BYTES_MAX } else { memcache::STRANGER_BYTES_MAX };
        let limits = Limits { value_bytes_max, line_bytes_max };
        let rest = self.rest.take();
        let parsed = match rest {
            Some(rest) => memcache::decode_rest(input, rest, places, limits),
            None => memcache::decode(input, places, limits),
        };
        let (asked, consumed) = match parsed {
            Parsed::More => {
                self.rest = rest;
                return Step::More;
            }
            Parsed::Asked(asked, consumed) => (asked, consumed),
            Parsed::Broken(why) => {
                if !why.is_empty() {
                    self.line(why);
                }
                return Step::Last { is_malformed: true };
            }
        };
        self.is_known |= !matches!(asked, Asked::Own(Own::Line("ERROR")));
        match asked {
            Asked::Command(command, shape, is_quiet) => {
                let place = self.wait(Told::Shape(shape), is_quiet, &[]);
                return Step::Request(request(place, 0, command), consumed);
            }
            Asked::Meta(command, shape, words, is_quiet) => {
                let place = self.wait(Told::Meta(shape), is_quiet, words);
                return Step::Request(request(place, 0, command), consumed);
            }
            Asked::Get(keys, Shape::Values { has_cas }) if keys.len() == 1 => {
                let key = keys.iter().next().expect("there is one");
                let place = self.wait(Told::Shape(Shape::Value { has_cas }), false, key);
                return Step::Request(request(place, 0, Command::Get { key }), consumed);
            }
            Asked::Get(keys, shape) => {
                let place = self.wait(Told::Shape(shape), false, &[]);
                self.keep_keys(keys);
                return Step::Request(request(place, 0, Command::GetMany { keys }), consumed);
            }
            Asked::GetPart(keys, has_cas) => {
                self.rest = Some(Rest::Keys { has_cas });
                if !keys.is_empty() {
                    let place = self.wait(Told::Part { has_cas }, false, &[]);
                    self.keep_keys(keys);
                    self.is_waiting = true;
                    return Step::Request(request(place, 0, Command::GetMany { keys }), consumed);
                }
            }
            Asked::GetRefused(own) => {
                self.rest = Some(Rest::Nothing);
                self.own(own);
            }
            Asked::GetAndTouch(keys, expiry, shape) => self.get_and_touch(keys, expiry, shape),
            Asked::Own(own) => self.own(own),
            Asked::Swallow(own, bytes) => {
                self.own(own);
                self.swallow = bytes;
            }
            Asked::TooLarge(key, bytes, is_quiet) => {
                // What was there is not what the client wants to be there.
                let place = self.wait(Told::Line("SERVER_ERROR object too large for cache"), is_quiet, &[]);
                self.swallow = bytes;
                let delete = Command::Delete { key, version: 0 };
                return Step::Request(request(place, 0, delete), consumed);
            }
            Asked::Flush(None, is_quiet) => {
                let place = self.wait(Told::Shape(Shape::Flushed), is_quiet, &[]);
                self.flush = Some(Expiry::Never);
                return Step::Request(request(place, 0, Command::Invalidate), consumed);
            }
            Asked::Flush(when, is_quiet) => {
                self.flush = when;
                if !is_quiet {
                    self.line("OK");
                }
            }
            Asked::Stats(kind) => {
                let place = self.wait(Told::Stats(kind), false, &[]);
                return Step::Request(request(place, 0, Command::Stats), consumed);
            }
            Asked::Quit => return Step::Last { is_malformed: false },
        }
        Step::Said(consumed)
    }

    /// Keeps the keys of the command that was asked last, with blanks between them.
    fn keep_keys(&mut self, keys: Keys<'_>) {
        let before = self.keys.len();
        for key in keys.iter() {
            self.keys.extend_from_slice(key);
            self.keys.push(b' ');
        }
        self.keys.pop();
        let bytes = self.keys.len() - before;
        self.asked.back_mut().expect("it was just asked").key_bytes = bytes as u32;
    }

    /// GAT of one key is a request; of several, it is one for each.
    fn get_and_touch(&mut self, keys: Keys<'_>, expiry: Expiry, shape: Shape) {
        let has_cas = matches!(shape, Shape::Values { has_cas: true });
        let place = self.wait(Told::Parts { has_cas }, false, &[]);
        self.keep_keys(keys);
        for (part, key) in keys.iter().enumerate() {
            encode_request(&mut self.queue, &request(place, part, Command::GetAndTouch { key, expiry }));
        }
        let (left, values) = (keys.len(), vec![Vec::new(); keys.len()]);
        self.parts.insert(place, Gathered { values, left, failure: None });
    }

    fn own(&mut self, own: Own) {
        match own {
            Own::Line(line) => self.line(line),
            Own::Version => self.line(concat!("VERSION 1.6.45-larder-", env!("CARGO_PKG_VERSION"))),
            Own::Silence => {}
        }
    }

    fn line(&mut self, line: &str) {
        let place = self.wait(Told::Line(""), false, &[]);
        self.asked.back_mut().expect("it was just asked").is_answered = true;
        self.says.push((place, [line.as_bytes(), b"\r\n"].concat()));
    }

    /// Appends what the connection says by itself.
    pub(super) fn say(&mut self, output: &mut Vec<u8>) {
        for (place, said) in std::mem::take(&mut self.says) {
            self.order.place(output, place, |out| out.extend_from_slice(&said));
        }
        self.forget_answered();
    }

    /// Frames of requests that are to be submitted now.
    pub(super) fn take_queue(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.queue)
    }

    /// Whether there are such.
    pub(super) fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether what follows has to wait until something was answered.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// When everything is to be made absent, if that was asked for.
    pub(super) fn take_flush(&mut self) -> Option<Expiry> {
        self.flush.take()
    }

    /// Appends the answer to a request of this connection, or holds it until those before it have come.
    #[inline]
    pub(super) fn answer(
        &mut self,
        output: &mut Vec<u8>,
        id: u64,
        reply: &Reply<'_>,
        (now_ms, shared): (u64, &Shared),
    ) {
        let (place, part) = (id >> PART_BITS, id as usize & ((1 << PART_BITS) - 1));
        let index = (place.wrapping_sub(self.first) % PLACES) as usize;
        let Waiting { told, is_quiet, .. } = self.asked[index];
        match told {
            Told::Shape(shape) => {
                let keys = self.keys_of(index);
                let keys = &self.keys[keys];
                self.order.place(output, place, |out| encode(out, shape, is_quiet, keys, reply));
            }
            Told::Meta(shape) => {
                let words = self.keys_of(index);
                let words = &self.keys[words];
                self.order.place(output, place, |out| encode_meta(out, shape, is_quiet, words, reply, now_ms));
            }
            Told::Part { has_cas } => {
                let keys = self.keys_of(index);
                let keys = &self.keys[keys];
                let mut is_failed = false;
                // It is the last that was asked for, so what is before it is answered first.
                self.order.place(output, place, |out| {
                    encode(out, Shape::Values { has_cas }, false, keys, reply);
                    is_failed = !out.ends_with(END);
                    if !is_failed {
                        out.truncate(out.len() - END.len());
                    }
                });
                self.is_waiting = false;
                if is_failed {
                    self.rest = Some(Rest::Nothing);
                }
            }
            Told::Line(line) => self.order.place(output, place, |out| {
                if !is_quiet {
                    out.extend_from_slice(line.as_bytes());
                    out.extend_from_slice(b"\r\n");
                }
            }),
            Told::Stats(kind) => {
                self.order.place(output, place, |out| Stats { shared, now_ms }.tell(out, kind, reply));
            }
            Told::Parts { has_cas } => {
                if !self.take_part(output, (index, place, part), has_cas, reply) {
                    return;
                }
            }
        }
        self.asked[index].is_answered = true;
        self.forget_answered();
    }

    /// Takes the value of one key; whether it was the last.
    fn take_part(
        &mut self,
        output: &mut Vec<u8>,
        (index, place, part): (usize, u64, usize),
        has_cas: bool,
        reply: &Reply<'_>,
    ) -> bool {
        let keys = self.keys_of(index);
        let key = self.keys[keys].split(|byte| *byte == b' ').nth(part).expect("every part has its key");
        let gathered = self.parts.get_mut(&place).expect("it is kept until all has come");
        let mut text = Vec::new();
        encode(&mut text, Shape::Value { has_cas }, false, key, reply);
        gathered.left -= 1;
        match text.strip_suffix(END) {
            // It fails, and has no use for more.
            _ if gathered.failure.is_some() => {}
            Some(value) if self.parts_bytes + value.len() <= MEMCACHE_GATHERED_BYTES_MAX => {
                self.parts_bytes += value.len();
                gathered.values[part] = value.to_vec();
            }
            Some(_) => gathered.failure = Some(TOO_MUCH.to_vec()),
            None => gathered.failure = Some(text),
        }
        if gathered.failure.is_some() {
            self.parts_bytes -= gathered.values.drain(..).map(|value| value.len()).sum::<usize>();
        }
        if gathered.left > 0 {
            return false;
        }
        let gathered = self.parts.remove(&place).expect("it was just there");
        self.parts_bytes -= gathered.values.iter().map(Vec::len).sum::<usize>();
        self.order.place(output, place, |out| match &gathered.failure {
            Some(failure) => out.extend_from_slice(failure),
            None => {
                gathered.values.iter().for_each(|value| out.extend_from_slice(value));
                out.extend_from_slice(END);
            }
        });
        true
    }

    /// Where the keys of a command are.
    #[inline]
    fn keys_of(&self, index: usize) -> std::ops::Range<usize> {
        let Waiting { keys_at, key_bytes, .. } = self.asked[index];
        let begin = keys_at - self.keys_from;
        begin..begin + key_bytes as usize
    }

    fn forget_answered(&mut self) {
        while self.asked.front().is_some_and(|asked| asked.is_answered) {
            self.asked.pop_front();
            self.first = following(self.first);
        }
        let Some(front) = self.asked.front() else {
            self.keys_from += self.keys.len();
            self.keys.clear();
            self.keys.shrink_to(memcache::LINE_BYTES_MAX);
            return;
        };
        let passed = front.keys_at - self.keys_from;
        if passed > self.keys.len() / 2 {
            self.keys.drain(..passed);
            self.keys_from += passed;
        }
    }

    /// Bytes that are kept until what is before them is answered.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        self.order.held_bytes() + self.parts_bytes
    }

    /// Bytes of keys that are kept for answers.
    #[inline]
    pub(super) fn key_bytes(&self) -> usize {
        self.keys.len()
    }

    /// Panics with what is wrong.
    pub(super) fn validate(&self, pending: usize) {
        let mut end = self.asked.front().map_or(self.keys_from, |front| front.keys_at);
        for asked in &self.asked {
            assert_eq!(asked.keys_at, end, "keys lie one behind the other");
            end += asked.key_bytes as usize;
        }
        assert_eq!(end, self.keys_from + self.keys.len(), "every key has its command");
        let values: usize = self.parts.values().flat_map(|gathered| &gathered.values).map(Vec::len).sum();
        assert_eq!(self.parts_bytes, values);
        let unanswered = self.asked.iter().filter(|asked| !asked.is_answered).count();
        assert_eq!(self.order.validate(), unanswered);
        let left: usize = self.parts.values().map(|gathered| gathered.left).sum();
        if self.queue.is_empty() {
            assert_eq!(unanswered - self.parts.len() + left, pending, "every command is answered or waits");
        }
        assert!(self.says.is_empty());
        assert!(!self.is_waiting || self.rest.is_some() && pending > 0, "who waits for a part will be answered");
    }
}

fn request(place: u64, part: usize, command: Command<'_>) -> Request<'_> {
    Request { id: place << PART_BITS | part as u64, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::MEMCACHE_GATHERED_BYTES_MAX;
    use crate::shard::tests::{NOW_MS, answers_come_in_order, output, reactors, run_until_quiet};
    use crate::shard::{ConnectionId, Dialect, Reactor};

    fn open(reactor: &mut Reactor) -> ConnectionId {
        reactor.opened(Dialect::Memcache(Box::default()))
    }

    /// A random command on few keys, and what is answered to it.
    fn command(random: &mut fastrand::Rng, model: &mut HashMap<String, String>) -> (String, String) {
        let value = |key: &str, model: &HashMap<String, String>| {
            model.get(key).map_or_else(String::new, |value| format!("VALUE {key} 7 {}\r\n{value}\r\n", value.len()))
        };
        let key = format!("k{}", random.u32(0..30));
        let other = format!("k{}", random.u32(0..30));
        let text = random.u64(..).to_string();
        let len = text.len();
        match random.u8(0..13) {
            9 => {
                let found = model.get(&key).map(|value| format!("VA {} O{len} k{key}\r\n{value}\r\n", value.len()));
                (format!("mg {key} O{len} k v\r\n"), found.unwrap_or_else(|| format!("EN O{len} k{key}\r\n")))
            }
            10 => {
                let found = model.get(&key).map(|value| format!("VA {} f7\r\n{value}\r\n", value.len()));
                (format!("mg {key} q f v\r\n"), found.unwrap_or_default())
            }
            11 => {
                model.insert(key.clone(), text.clone());
                (format!("ms {key} {len} F7 q\r\n{text}\r\n"), String::new())
            }
            12 => {
                let answer = if model.remove(&key).is_some() { "HD" } else { "NF" };
                (format!("md {key} k\r\n"), format!("{answer} k{key}\r\n"))
            }
            0 | 1 => {
                model.insert(key.clone(), text.clone());
                (format!("set {key} 7 0 {len}\r\n{text}\r\n"), "STORED\r\n".into())
            }
            2 => {
                model.insert(key.clone(), text.clone());
                (format!("set {key} 7 0 {len} noreply\r\n{text}\r\n"), String::new())
            }
            3 => (format!("get {key}\r\n"), value(&key, model) + "END\r\n"),
            4 => {
                let answer = [&key, &other, &key].map(|key| value(key, model)).concat() + "END\r\n";
                (format!("get {key} {other} {key}\r\n"), answer)
            }
            5 => {
                let answer = [&other, &key].map(|key| value(key, model)).concat() + "END\r\n";
                (format!("gat 0 {other} {key}\r\n"), answer)
            }
            6 => {
                let answer = if model.remove(&key).is_some() { "DELETED" } else { "NOT_FOUND" };
                (format!("delete {key}\r\n"), format!("{answer}\r\n"))
            }
            7 => {
                let answer = if model.contains_key(&key) { "NOT_STORED" } else { "STORED" };
                model.entry(key.clone()).or_insert_with(|| text.clone());
                (format!("add {key} 7 0 {len}\r\n{text}\r\n"), format!("{answer}\r\n"))
            }
            _ => match random.bool() {
                true => ("mn\r\n".into(), "MN\r\n".into()),
                false => ("what\r\n".into(), "ERROR\r\n".into()),
            },
        }
    }

    #[test]
    fn answers_come_in_the_order_of_the_commands_though_the_keys_are_of_many_shards() {
        answers_come_in_order(|| Dialect::Memcache(Box::default()), command);
    }

    #[test]
    fn values_of_many_keys_are_held_up_to_a_bound() {
        let mut reactors = reactors(1);
        let id = open(&mut reactors[0]);
        let value = "v".repeat(100_000);
        reactors[0].received(id, format!("set k 0 0 {}\r\n{value}\r\n", value.len()).as_bytes(), NOW_MS);
        for (keys, is_answered) in [(600, true), (MEMCACHE_GATHERED_BYTES_MAX / value.len() + 1, false), (600, true)] {
            reactors[0].received(id, format!("gat 0{}\r\nmn\r\n", " k".repeat(keys)).as_bytes(), NOW_MS);
            run_until_quiet(&mut reactors);
            reactors[0].validate();
            let mut said = String::new();
            while !said.ends_with("MN\r\n") {
                said += &output(&mut reactors[0], id);
            }
            let values = format!("VALUE k 0 {}\r\n{value}\r\n", value.len()).repeat(keys) + "END\r\nMN\r\n";
            let failed = "SERVER_ERROR out of memory writing get response\r\nMN\r\n";
            let expected = if is_answered { &values } else { failed };
            assert!(said.ends_with(expected), "{keys} keys: {} bytes", said.len());
        }
    }

    #[test]
    fn what_is_too_large_is_passed_over_and_what_was_there_is_gone() {
        let mut reactors = reactors(1);
        let id = open(&mut reactors[0]);
        let most = reactors[0].engine().request_limits().value_bytes_max;
        let mut say = |bytes: &[u8]| {
            reactors[0].received(id, bytes, NOW_MS);
            output(&mut reactors[0], id)
        };
        assert_eq!(say(b"set a 0 0 1\r\nx\r\nset b 0 0 1\r\nx\r\n"), "STORED\r\nSTORED\r\n");
        for (name, key) in [("set", "a"), ("add", "b")] {
            let head = format!("{name} {key} 0 0 {}\r\n", most + 1);
            assert_eq!(say(head.as_bytes()), "SERVER_ERROR object too large for cache\r\n");
            assert_eq!(say(&vec![b'x'; most]), "");
            assert_eq!(say(b"x\r\nmn\r\n"), "MN\r\n", "the connection is in step");
        }
        assert_eq!(say(b"get a b\r\n"), "VALUE b 0 1\r\nx\r\nEND\r\n");
    }

    #[test]
    fn a_get_of_any_length_is_answered_in_parts() {
        let mut reactors = reactors(3);
        let id = open(&mut reactors[0]);
        reactors[0].received(id, b"set a 0 0 1\r\nx\r\nset b 0 0 1\r\ny\r\n", NOW_MS);
        run_until_quiet(&mut reactors);
        assert_eq!(output(&mut reactors[0], id), "STORED\r\nSTORED\r\n");
        let mut say = |text: &str| {
            let mut said = String::new();
            for chunk in text.as_bytes().chunks(10_000) {
                reactors[0].received(id, chunk, NOW_MS);
                loop {
                    run_until_quiet(&mut reactors);
                    let more = output(&mut reactors[0], id);
                    if more.is_empty() {
                        break;
                    }
                    said.push_str(&more);
                }
            }
            said
        };
        let keys = "a absent b ".repeat(20_000);
        let wanted = "VALUE a 0 1\r\nx\r\nVALUE b 0 1\r\ny\r\n".repeat(20_000) + "END\r\nMN\r\n";
        assert!(say(&format!("get {keys}\r\nmn\r\n")) == wanted, "every value, one end, and in step");
        let long = "k".repeat(300);
        let said = say(&format!("get {keys}{long} {keys}\r\nmn\r\n"));
        assert!(said.ends_with("y\r\nCLIENT_ERROR bad command line format\r\nMN\r\n"), "no end, and in step");
    }

    #[test]
    fn everything_is_absent_when_the_time_for_it_has_come() {
        let mut reactors = reactors(3);
        let id = open(&mut reactors[0]);
        let sets: String = (0..20).map(|key| format!("set k{key} 0 0 1 noreply\r\nx\r\n")).collect();
        reactors[0].received(id, format!("{sets}flush_all 10\r\nget k1 k2\r\n").as_bytes(), NOW_MS);
        run_until_quiet(&mut reactors);
        let both = "VALUE k1 0 1\r\nx\r\nVALUE k2 0 1\r\nx\r\nEND\r\n";
        assert_eq!(output(&mut reactors[0], id), format!("OK\r\n{both}"));
        let wake_ms = reactors[0].next_wake_ms().expect("it is waited for");
        assert!(wake_ms <= NOW_MS + 10_000);
        // The same as a time since the Unix epoch.
        let at_s = NOW_MS / 1_000 + 10;
        reactors[0].received(id, format!("flush_all {at_s}\r\n").as_bytes(), NOW_MS);
        assert_eq!(output(&mut reactors[0], id), "OK\r\n");
        assert!(reactors[0].next_wake_ms().expect("it is waited for") <= at_s * 1_000);
        reactors[0].received(id, b"flush_all 10\r\n", NOW_MS);
        assert_eq!(output(&mut reactors[0], id), "OK\r\n");
        for now_ms in [NOW_MS + 9_999, NOW_MS + 10_000] {
            for _ in 0..10 {
                reactors.iter_mut().for_each(|reactor| _ = reactor.turn(now_ms));
            }
            reactors[0].received(id, b"get k1 k2\r\n", now_ms);
            for _ in 0..10 {
                reactors.iter_mut().for_each(|reactor| _ = reactor.turn(now_ms));
            }
            let is_over = now_ms == NOW_MS + 10_000;
            assert_eq!(output(&mut reactors[0], id), if is_over { "END\r\n" } else { both });
        }
        // What is done now is not done again later.
        for (at_ms, line) in [
            (NOW_MS + 20_000, "flush_all 10\r\nflush_all\r\n"),
            (NOW_MS + 20_001, "set k1 0 0 1\r\nx\r\n"),
            (NOW_MS + 40_000, "get k1\r\n"),
        ] {
            reactors[0].received(id, line.as_bytes(), at_ms);
            for _ in 0..10 {
                reactors.iter_mut().for_each(|reactor| _ = reactor.turn(at_ms));
            }
        }
        assert_eq!(output(&mut reactors[0], id), "OK\r\nOK\r\nSTORED\r\nVALUE k1 0 1\r\nx\r\nEND\r\n");
    }

    #[test]
    fn statistics_are_lines() {
        let mut reactors = reactors(2);
        let id = open(&mut reactors[0]);
        for (words, line) in [
            ("stats", "STAT curr_items 0\r\n"),
            ("stats settings", "STAT cas_enabled yes\r\n"),
            ("stats items", "STAT items:1:number 0\r\n"),
            ("stats slabs", "STAT active_slabs 1\r\n"),
            ("stats conns", ""),
        ] {
            reactors[0].received(id, format!("{words}\r\n").as_bytes(), NOW_MS);
            run_until_quiet(&mut reactors);
            let said = output(&mut reactors[0], id);
            assert!(said.contains(line) && said.ends_with("END\r\n"), "{words}: {said}");
        }
        reactors[0].received(id, b"stats reset\r\nversion\r\nGET / HTTP/1.1\r\n", NOW_MS);
        run_until_quiet(&mut reactors);
        let said = output(&mut reactors[0], id);
        assert!(said.starts_with("RESET\r\nVERSION 1.6.45-larder-") && said.lines().count() == 2, "{said}");
        assert!(reactors[0].is_finished(id), "a browser is not talked to");
    }
}

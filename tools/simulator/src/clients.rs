//! Clients that ask any node for anything, and remember what they were told.

use std::collections::{BTreeMap, HashMap};

use fastrand::Rng;
use larder_protocol::{Command, Condition, Expiry, Found, Keys, Reply, Request, Span, Status, Write};

use crate::faults::END_MS;
use crate::history::{Kind, Operation, Outcome};
use crate::world::{At, Event, World};

/// Keys whose values are written, and those whose numbers are added to.
pub(crate) const VALUES: usize = 6;
const NUMBERS: usize = 2;
/// Longest pause of a client between two requests, in ms.
const THINK_MS_MAX: u64 = 120;
/// How much later than its deadline an answer may come, in ms.
const LATE_MS_MAX: u64 = 2_000;
/// How long a client may fill a key, in ms.
const LEASE_MS: u32 = 600;
/// Until then clients ask, in ms.
pub(crate) const LAST_MS: u64 = END_MS + 6_000;

/// Those who ask, and what they wait for.
#[derive(Debug)]
pub(crate) struct Clients {
    /// By client and key, the version that it saw last.
    seen: Vec<[u64; VALUES]>,
    pending: BTreeMap<u64, Pending>,
    next_number: u64,
    pub(crate) next_value: u64,
    /// By value, the node that was asked to store it.
    entries: HashMap<u64, usize>,
    /// By client, the key that it has a lease of, and the token.
    leased: Vec<Option<(usize, u64)>>,
    /// For what only some runs have.
    random: Rng,
}

#[derive(Clone, Debug)]
struct Pending {
    client: usize,
    at: At,
    process: u64,
    asked: Vec<(usize, Kind)>,
    began: u64,
    began_ms: u64,
    timeout_ms: u64,
}

/// A request that outlives its memory.
#[derive(Clone, Debug)]
pub(crate) struct OwnedRequest {
    asked: Vec<(usize, Kind)>,
    timeout_ms: u32,
}

impl OwnedRequest {
    /// Hands out the request.
    pub(crate) fn with<T>(&self, use_it: impl FnOnce(Request<'_>) -> T) -> T {
        let names: Vec<String> = self.asked.iter().map(|(key, _)| key_name(*key)).collect();
        let (mut frame, mut spans) = (Vec::new(), Vec::new());
        for name in &names {
            spans.push(Span { start: frame.len() as u32, len: name.len() as u32 });
            frame.extend_from_slice(name.as_bytes());
        }
        let key = names[0].as_bytes();
        let mut text = String::new();
        let command = match self.asked[0].1 {
            Kind::Get if self.asked.len() > 1 => Command::GetMany { keys: Keys::new(&frame, &spans) },
            Kind::Delete if self.asked.len() > 1 => Command::Invalidate,
            Kind::Get => Command::Get { key },
            Kind::Set(value) => set(key, &mut text, value, Condition::Always),
            Kind::Add(value) => set(key, &mut text, value, Condition::Absent),
            Kind::Swap(version, value) => set(key, &mut text, value, Condition::Version(version)),
            Kind::Delete => Command::Delete { key, version: 0 },
            Kind::Lease => Command::LeaseGet { key, lease_ms: LEASE_MS },
            Kind::Fill(token, value) => {
                let Command::Set(write) = set(key, &mut text, value, Condition::Always) else { unreachable!() };
                Command::LeaseSet { write, token }
            }
            Kind::Increment => Command::Increment { key, delta: 1, initial: Some(1), expiry: Expiry::Default },
        };
        use_it(Request { id: 0, epoch: 0, group: 0, timeout_ms: self.timeout_ms, forwarded: false, command })
    }
}

fn set<'a>(key: &'a [u8], text: &'a mut String, value: u64, condition: Condition) -> Command<'a> {
    *text = value.to_string();
    Command::Set(Write { key, value: text.as_bytes(), flags: 0, condition, expiry: Expiry::Default })
}

fn key_name(key: usize) -> String {
    format!("key {key}")
}

/// The number of a key.
pub(crate) fn key_number(key: &[u8]) -> usize {
    std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix("key ")?.parse().ok()).expect("all keys have one")
}

impl Clients {
    pub(crate) fn new(random: &mut Rng, seed: u64) -> Self {
        let clients = random.usize(2..=5);
        Self {
            leased: vec![None; clients],
            random: Rng::with_seed(seed.wrapping_mul(3)),
            seen: vec![[0; VALUES]; clients],
            pending: BTreeMap::new(),
            next_number: 0,
            next_value: 1,
            entries: HashMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nobody waits for anything.
    pub(crate) fn is_quiet(&self) -> bool {
        self.pending.is_empty()
    }

    /// What a client wants next of leases, if anything: most fill what they have the right to, some never.
    fn next_lease(&mut self, client: usize) -> Option<(usize, Kind)> {
        if let Some((key, token)) = self.leased[client].take() {
            let value = self.next_value;
            self.next_value += 1;
            return (self.random.u8(0..5) > 0).then_some((key, Kind::Fill(token, value)));
        }
        (self.random.u8(0..4) == 0).then(|| (self.random.usize(0..VALUES), Kind::Lease))
    }

    /// What a client wants next.
    fn next(&mut self, client: usize, random: &mut Rng) -> Vec<(usize, Kind)> {
        if random.u8(0..150) == 0 {
            // All keys of the group.
            return (0..VALUES + NUMBERS).map(|key| (key, Kind::Delete)).collect();
        }
        if random.u8(0..6) == 0 {
            let key = VALUES + random.usize(0..NUMBERS);
            let kind = match random.u8(0..10) {
                0 | 1 => Kind::Get,
                2 => Kind::Delete,
                _ => Kind::Increment,
            };
            return vec![(key, kind)];
        }
        let key = random.usize(0..VALUES);
        let value = self.next_value;
        let kind = match random.u8(0..20) {
            0..=5 => Kind::Get,
            6..=8 => {
                let count = random.usize(2..=VALUES);
                return (0..count).map(|_| (random.usize(0..VALUES), Kind::Get)).collect();
            }
            9..=13 => Kind::Set(value),
            14 => Kind::Add(value),
            15..=17 if self.seen[client][key] > 0 => Kind::Swap(self.seen[client][key], value),
            15..=18 => Kind::Delete,
            _ => Kind::Set(value),
        };
        self.next_value += 1;
        vec![(key, kind)]
    }

    /// A request that waits, as it is sent; `None`: nobody waits for it.
    pub(crate) fn request(&self, number: u64) -> Option<OwnedRequest> {
        let pending = self.pending.get(&number)?;
        Some(OwnedRequest { asked: pending.asked.clone(), timeout_ms: pending.timeout_ms as u32 })
    }

    /// Requests that a process was asked and has not answered.
    pub(crate) fn asked_of(&self, node: usize, process: u64) -> Vec<u64> {
        let is_it = |pending: &Pending| (pending.at.0, pending.process) == (node, process);
        self.pending.iter().filter(|(_, pending)| is_it(pending)).map(|(number, _)| *number).collect()
    }

    /// What is known of a request whose connection is lost.
    pub(crate) fn unknown(&self, number: u64) -> Vec<Outcome> {
        self.pending.get(&number).map(|pending| vec![Outcome::Unknown; pending.asked.len()]).unwrap_or_default()
    }

    /// The node that was asked to store a value.
    pub(crate) fn entry_node(&self, value: &[u8]) -> Option<usize> {
        self.entries.get(&number_in(value)).copied()
    }

    /// What a reply says of each key that was asked for.
    pub(crate) fn outcomes(&self, number: u64, reply: &Reply<'_>) -> Vec<Outcome> {
        let Some(pending) = self.pending.get(&number) else { return Vec::new() };
        match reply {
            Reply::Entries(entries) => (0..entries.len())
                .map(|place| match entries.entry(place) {
                    Ok(found) => entry(&found),
                    Err(status) => refused(status),
                })
                .collect(),
            Reply::Entry(found) => vec![entry(found)],
            Reply::Leased { token, .. } => vec![Outcome::Leased(*token)],
            Reply::Miss => vec![if matches!(pending.asked[0].1, Kind::Get | Kind::Delete | Kind::Lease) {
                Outcome::Miss
            } else {
                Outcome::Refused
            }],
            Reply::Stored { version } => vec![Outcome::Stored(*version)],
            Reply::Invalidated { .. } => vec![Outcome::Deleted; pending.asked.len()],
            Reply::Done => vec![Outcome::Deleted],
            Reply::Number { value, version } => vec![Outcome::Number(*version, value.cast_unsigned())],
            Reply::Failed(failure) => vec![refused(failure.status); pending.asked.len()],
            other => panic!("nobody has asked for this: {other:?}"),
        }
    }
}

fn entry(found: &Found<'_>) -> Outcome {
    let mut value = Vec::new();
    found.value.append_to(&mut value);
    Outcome::Entry(found.version, number_in(&value))
}

fn number_in(value: &[u8]) -> u64 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).expect("all values are numbers")
}

fn refused(status: Status) -> Outcome {
    match status {
        Status::NotFound => Outcome::Miss,
        Status::Exists | Status::VersionMismatch | Status::LeaseLost => Outcome::Refused,
        Status::Overloaded | Status::WrongOwner | Status::OwnerUnsure | Status::OriginBusy | Status::OriginFailed => {
            Outcome::Failed
        }
        Status::DeadlineExceeded | Status::OutcomeUnknown | Status::Unavailable => Outcome::Unknown,
        other => panic!("nothing that was asked is answered with {other:?}"),
    }
}

impl World {
    /// A client asks for the next thing.
    pub(crate) fn client_asks(&mut self, client: usize) {
        if self.now_ms >= LAST_MS {
            return;
        }
        let running: Vec<(usize, u64)> = self.processes().map(|(node, process)| (node, process.number)).collect();
        if running.is_empty() {
            let at_ms = self.now_ms + self.random.u64(1..=THINK_MS_MAX);
            return self.at(at_ms, Event::Client(client));
        }
        let (node, process) = running[self.random.usize(0..running.len())];
        let shard = self.random.u16(0..self.nodes[node].shards);
        let lease = if self.filling.has_leases { self.clients.next_lease(client) } else { None };
        let asked = match lease {
            Some(asked) => vec![asked],
            None => self.clients.next(client, &mut self.random),
        };
        let timeout_ms = if self.random.u8(0..4) == 0 { self.random.u64(5..100) } else { self.random.u64(100..2_000) };
        self.ask(client, (node, shard), process, asked, timeout_ms);
    }

    /// A client asks a process; returns the number of the request.
    pub(crate) fn ask(
        &mut self,
        client: usize,
        at: At,
        process: u64,
        asked: Vec<(usize, Kind)>,
        timeout_ms: u64,
    ) -> u64 {
        let number = self.clients.next_number;
        self.clients.next_number += 1;
        if let Kind::Set(value) | Kind::Fill(_, value) = asked[0].1 {
            self.clients.entries.insert(value, at.0);
        }
        self.trace.note(self.now_ms, format_args!("client {client} asks {at:?} as operation {number}: {asked:?}"));
        self.sequence += 1;
        let (began, began_ms) = (self.sequence, self.now_ms);
        self.clients.pending.insert(number, Pending { client, at, process, asked, began, began_ms, timeout_ms });
        let at_ms = self.now_ms + self.delay_ms();
        self.at(at_ms, Event::Asked { number, at, process });
        self.at(self.now_ms + timeout_ms + LATE_MS_MAX, Event::GiveUp { number });
        number
    }

    /// A client is told what became of its request.
    pub(crate) fn client_answered(&mut self, number: u64, outcomes: &[Outcome]) {
        let Some(pending) = self.clients.pending.remove(&number) else { return };
        self.trace.note(self.now_ms, format_args!("operation {number} of client {}: {outcomes:?}", pending.client));
        assert_eq!(outcomes.len(), pending.asked.len(), "each key has an outcome");
        self.sequence += 1;
        self.remember(number, &pending, outcomes, (self.sequence, self.now_ms));
    }

    /// A client waits no longer.
    pub(crate) fn client_gives_up(&mut self, number: u64) {
        let Some(pending) = self.clients.pending.remove(&number) else { return };
        let Pending { at, process, began_ms, .. } = pending;
        self.trace.note(self.now_ms, format_args!("operation {number} is given up"));
        let node = &self.nodes[at.0];
        let runs = node.process.as_ref().is_some_and(|running| running.number == process);
        assert!(!runs || node.paused_until_ms >= began_ms, "operation {number} on {at:?} is never answered");
        let outcomes = vec![Outcome::Unknown; pending.asked.len()];
        self.remember(number, &pending, &outcomes, (u64::MAX, u64::MAX));
    }

    fn remember(&mut self, number: u64, pending: &Pending, outcomes: &[Outcome], (ended, ended_ms): (u64, u64)) {
        let Pending { client, asked, began, began_ms, .. } = pending;
        if asked.len() > 1 && asked[0].1 == Kind::Delete {
            let is_unknown = outcomes.contains(&Outcome::Unknown);
            self.history.invalidated(*began, if is_unknown { u64::MAX } else { ended });
        }
        for (&(key, kind), &outcome) in asked.iter().zip(outcomes) {
            if let Outcome::Entry(version, _) | Outcome::Stored(version) = outcome
                && key < VALUES
                && let Some(seen) = self.clients.seen.get_mut(*client)
            {
                seen[key] = version;
            }
            if let (Outcome::Leased(token), Some(leased)) = (outcome, self.clients.leased.get_mut(*client)) {
                *leased = Some((key, token));
            }
            let (began, began_ms) = (*began, *began_ms);
            // It may be executed later than that was said.
            let (ended, ended_ms) = if outcome == Outcome::Unknown { (u64::MAX, u64::MAX) } else { (ended, ended_ms) };
            self.history.push(Operation { number, key, kind, began, ended, began_ms, ended_ms, outcome });
        }
        if *client < self.clients.len() {
            let at_ms = self.now_ms + self.random.u64(0..=THINK_MS_MAX);
            self.at(at_ms, Event::Client(*client));
        }
    }

    /// When nothing is wrong any more, all nodes have one ring, and each answers for every key.
    ///
    /// # Errors
    /// What is not as it should be.
    pub(crate) fn check_agreement(&mut self) -> Result<(), String> {
        let rings: Vec<(usize, u16, u64, u64, bool)> = self
            .processes()
            .flat_map(|(node, process)| process.engines.iter().map(move |engine| (node, engine)))
            .map(|(node, engine)| {
                let topology = engine.topology();
                (node, engine.shard(), topology.epoch(), topology.digest(), engine.is_settled())
            })
            .collect();
        let first = rings[0];
        for ring in &rings {
            if (ring.2, ring.3) != (first.2, first.3) || !ring.4 {
                return Err(format!(
                    "shards (node, shard, epoch, digest, settled) do not agree: {first:?} and {ring:?}"
                ));
            }
        }
        if rings.iter().map(|ring| ring.0).max() != Some(self.nodes.len() - 1) {
            return Err("not all nodes run".into());
        }
        let nobody = self.clients.len();
        for key in 0..VALUES {
            let value = self.clients.next_value;
            self.clients.next_value += 1;
            let writer = self.random.usize(0..self.nodes.len());
            let Outcome::Stored(version) = self.answer(nobody, writer, (key, Kind::Set(value)))? else {
                return Err(format!("key {key} cannot be set over node {writer}"));
            };
            for reader in 0..self.nodes.len() {
                let outcome = self.answer(nobody, reader, (key, Kind::Get))?;
                // It may have expired and been loaded anew meanwhile.
                if outcome != Outcome::Entry(version, value) && !self.filling.is_stale {
                    return Err(format!(
                        "key {key} is {outcome:?} over node {reader}, after it was set to {value} over node {writer} \
                         with version {version}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, client: usize, node: usize, asked: (usize, Kind)) -> Result<Outcome, String> {
        let process = self.nodes[node].process.as_ref().map(|process| process.number).ok_or("a node does not run")?;
        let shard = self.random.u16(0..self.nodes[node].shards);
        let until_ms = self.now_ms + 2 * LATE_MS_MAX;
        let before = self.history.len();
        self.ask(client, (node, shard), process, vec![asked], 1_000);
        while self.history.len() == before && self.step(until_ms) {}
        self.history.last().filter(|_| self.history.len() > before).ok_or_else(|| "there is no answer".into())
    }
}

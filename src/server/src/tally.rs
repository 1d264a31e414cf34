//! How many requests of each kind a shard has answered, and how: written by the shard, read by whoever tells of it.

use std::sync::atomic::{AtomicU64, Ordering};

use larder_protocol::resp::Which;
use larder_protocol::{Command, Condition, Meta, MetaAction, Reply, Status, Write};

/// Who asked, by what was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// The native protocol.
    Native,
    /// HTTP, for which the sidecar asks.
    Http,
    /// RESP.
    Resp,
    /// The text protocol of memcached.
    Memcache,
}

/// What was asked for, as an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation(u8);

/// How it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The key is there.
    Hit,
    /// It is not.
    Miss,
    /// It is, and its time is over.
    Stale,
    /// It was done.
    Done,
    /// A condition did not hold.
    Unmet,
    /// It failed.
    Error,
}

/// What requests are about, by their [`Operation`].
pub const OPERATIONS: [&str; 33] = [
    "get",
    "set",
    "delete",
    "get_many",
    "set_many",
    "delete_many",
    "touch",
    "get_and_touch",
    "increment",
    "append",
    "prepend",
    "lease_get",
    "lease_set",
    "invalidate",
    "scan",
    "stats",
    "topology",
    "alter_group",
    "alter_node",
    "ping",
    "patch",
    "add_decimal",
    "look",
    "check",
    "transact",
    "count",
    "meta",
    "compare_and_set",
    "count_down",
    "meta_delete",
    "meta_count",
    "meta_count_down",
    "other",
];
/// By [`Outcome`].
pub const OUTCOMES: [&str; 6] = ["hit", "miss", "stale", "done", "unmet", "error"];
/// By [`Spoken`].
pub const DIALECTS: [&str; 4] = ["native", "http", "resp", "memcache"];
/// Upper bounds of durations, in ms; there is one more class without a bound. What is answered in the turn in which it
/// came has taken less than the first.
pub const DURATIONS_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];

const _: () = assert!(DURATIONS_MS[0] == 1, "what took no millisecond is of the first class");

const SLOTS: usize = OUTCOMES.len() + DURATIONS_MS.len() + 2;

/// See the module.
#[derive(Debug)]
pub struct Tally {
    /// For each dialect and operation: answers by outcome, answers by duration but the first class, and the sum of
    /// durations in ms.
    slots: Box<[AtomicU64]>,
    /// Commands of RESP, by their numbers, and behind them those that had another number of arguments.
    commands: Box<[AtomicU64]>,
}

/// What was counted of one kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// By [`Outcome`].
    pub outcomes: [u64; OUTCOMES.len()],
    /// By class of duration.
    pub durations: [u64; DURATIONS_MS.len() + 1],
    /// All of them together, in ms.
    pub sum_ms: u64,
}

impl Operation {
    /// That of a command.
    #[inline]
    pub fn of(command: &Command<'_>) -> Self {
        Self(match command {
            Command::Get { .. } => 0,
            Command::Set(Write { condition: Condition::Version(_), .. }) => 27,
            Command::Set(_) => 1,
            Command::Delete { .. } => 2,
            Command::GetMany { .. } => 3,
            Command::SetMany { .. } => 4,
            Command::DeleteMany { .. } => 5,
            Command::Touch { .. } => 6,
            Command::GetAndTouch { .. } => 7,
            Command::Increment { .. } => 8,
            Command::Append { .. } => 9,
            Command::Prepend { .. } => 10,
            Command::LeaseGet { .. } => 11,
            Command::LeaseSet { .. } => 12,
            Command::Invalidate => 13,
            Command::Scan(_) => 14,
            Command::Stats => 15,
            Command::Topology => 16,
            Command::AlterGroup(_) => 17,
            Command::AlterNode(_) => 18,
            Command::Ping => 19,
            Command::Patch { .. } => 20,
            Command::AddDecimal { .. } => 21,
            Command::Look { .. } => 22,
            Command::Check { .. } => 23,
            Command::Transact { .. } => 24,
            Command::Count { is_down: true, .. } => 28,
            Command::Count { .. } => 25,
            Command::Meta(Meta { action: MetaAction::Delete | MetaAction::Clear, .. }) => 29,
            Command::Meta(Meta { action: MetaAction::AddTo, .. }) => 30,
            Command::Meta(Meta { action: MetaAction::TakeFrom, .. }) => 31,
            Command::Meta(_) => 26,
            _ => 32,
        })
    }
}

impl Outcome {
    /// That of a reply.
    #[inline]
    pub fn of(reply: &Reply<'_>) -> Self {
        match reply {
            Reply::Entry(found) if found.is_stale => Outcome::Stale,
            Reply::Looked(looked) if looked.entry.is_stale => Outcome::Stale,
            Reply::Entry(_) | Reply::Looked(_) => Outcome::Hit,
            Reply::Miss => Outcome::Miss,
            Reply::Failed(failure) => match failure.status {
                Status::Exists | Status::VersionMismatch | Status::LeaseLost => Outcome::Unmet,
                _ => Outcome::Error,
            },
            _ => Outcome::Done,
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self { slots: zeros(DIALECTS.len() * OPERATIONS.len() * SLOTS), commands: zeros(2 * Which::COUNT) }
    }
}

impl Tally {
    /// A request was answered. By one thread only.
    #[inline]
    pub fn answered(&self, spoken: Spoken, operation: Operation, outcome: Outcome) {
        self.add(spoken, operation, outcome as usize, 1);
    }

    /// It has taken so long: to be told of those that were not answered in the turn in which they came. By one thread
    /// only.
    #[inline]
    pub fn took(&self, spoken: Spoken, operation: Operation, ms: u64) {
        if ms > 0 {
            self.took_some(spoken, operation, ms);
        }
    }

    /// Of another class than the first, which has what no other has.
    #[cold]
    fn took_some(&self, spoken: Spoken, operation: Operation, ms: u64) {
        let class = DURATIONS_MS.iter().position(|most| ms < *most).unwrap_or(DURATIONS_MS.len());
        self.add(spoken, operation, OUTCOMES.len() + class - 1, 1);
        self.add(spoken, operation, SLOTS - 1, ms);
    }

    /// A command of RESP was asked for. By one thread only.
    #[inline]
    pub fn asked(&self, which: Which) {
        self.add_command(usize::from(which.number()));
    }

    /// The same with a number of arguments that it does not take. By one thread only.
    #[cold]
    pub fn rejected(&self, which: Which) {
        self.add_command(Which::COUNT + usize::from(which.number()));
    }

    #[inline]
    fn add_command(&self, at: usize) {
        let count = &self.commands[at];
        count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// How often commands of RESP were asked for, by their numbers, and behind all of these how often they were rejected.
    pub fn commands(&self) -> impl Iterator<Item = u64> {
        self.commands.iter().map(|count| count.load(Ordering::Relaxed))
    }

    /// What was counted, by dialect and operation, as far as there was anything.
    pub fn counted(&self) -> impl Iterator<Item = ((usize, usize), Counted)> {
        let kinds = self.slots.chunks_exact(SLOTS).enumerate();
        kinds.filter_map(|(index, slots)| {
            let slot = |at: usize| slots[at].load(Ordering::Relaxed);
            let outcomes: [u64; OUTCOMES.len()] = std::array::from_fn(slot);
            let answers: u64 = outcomes.iter().sum();
            if answers == 0 {
                return None;
            }
            let mut durations: [u64; DURATIONS_MS.len() + 1] =
                std::array::from_fn(|class| if class == 0 { 0 } else { slot(OUTCOMES.len() + class - 1) });
            durations[0] = answers.saturating_sub(durations.iter().sum());
            let kind = (index / OPERATIONS.len(), index % OPERATIONS.len());
            Some((kind, Counted { outcomes, durations, sum_ms: slot(SLOTS - 1) }))
        })
    }

    /// How many requests for an operation were answered so in a dialect.
    pub fn count(&self, spoken: Spoken, operation: &str, outcome: Outcome) -> u64 {
        let operation = OPERATIONS.iter().position(|name| *name == operation).expect("it is an operation");
        self.slots[(spoken as usize * OPERATIONS.len() + operation) * SLOTS + outcome as usize].load(Ordering::Relaxed)
    }

    /// There is one writer, so nothing is lost.
    #[inline]
    fn add(&self, spoken: Spoken, Operation(operation): Operation, at: usize, count: u64) {
        let slot = &self.slots[(spoken as usize * OPERATIONS.len() + usize::from(operation)) * SLOTS + at];
        slot.store(slot.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }
}

impl Counted {
    /// With what another shard has counted.
    pub fn plus(mut self, other: &Self) -> Self {
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(sum, count)| *sum += count);
        self.durations.iter_mut().zip(other.durations).for_each(|(sum, count)| *sum += count);
        self.sum_ms += other.sum_ms;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told_apart() {
        let tally = Tally::default();
        let get = Operation::of(&Command::Get { key: b"k" });
        tally.answered(Spoken::Native, get, Outcome::Hit);
        for (ms, outcome) in [(0, Outcome::Miss), (1, Outcome::Error), (7_000, Outcome::Stale)] {
            tally.answered(Spoken::Native, get, outcome);
            tally.took(Spoken::Native, get, ms);
        }
        tally.answered(Spoken::Http, Operation::of(&Command::Ping), Outcome::of(&Reply::Done));
        let counted: Vec<_> = tally.counted().collect();
        let [((0, 0), gets), ((1, 19), pings)] = &counted[..] else { panic!("{counted:?}") };
        assert_eq!(gets.outcomes, [1, 1, 1, 0, 0, 1]);
        assert_eq!((gets.durations[0], gets.durations[1], gets.durations[12], gets.sum_ms), (2, 1, 1, 7_001));
        assert_eq!((pings.outcomes[3], pings.durations[0]), (1, 1));
        let both = gets.clone().plus(pings);
        assert_eq!((both.outcomes[3], both.durations[0]), (1, 3));
        assert_eq!(OPERATIONS[usize::from(Operation::of(&Command::Watch).0)], "other");
    }
}

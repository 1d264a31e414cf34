//! What clients asked and saw, and whether a cache that keeps its promises can have answered so.
//!
//! For each key: a read gives the newest acknowledged value, or a newer one, or a miss; what was deleted stays deleted;
//! versions never go back; one version is one value; nothing is executed twice, or although it was refused. The one
//! exception is told to the checker: operations during a time in which a node was cut off from etcd alone, see
//! [`History::excuse`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// What was asked of one key. Values are numbers, each used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its entry.
    Get,
    /// Store this value.
    Set(u64),
    /// Store this value if the key is absent.
    Add(u64),
    /// Store this value if the entry has this version.
    Swap(u64, u64),
    /// Remove it.
    Delete,
    /// Add 1 to a number.
    Increment,
    /// Its entry, or the right to fill it.
    Lease,
    /// Store this value by the right with this token.
    Fill(u64, u64),
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An entry: version and value.
    Entry(u64, u64),
    /// There is none.
    Miss,
    /// It was stored with this version.
    Stored(u64),
    /// It was removed.
    Deleted,
    /// The number after the addition: version and value.
    Number(u64, u64),
    /// The right to fill it, by its token.
    Leased(u64),
    /// The condition was not met; not executed.
    Refused,
    /// Not executed, for another reason.
    Failed,
    /// It may or may not have been executed; also where no answer came.
    Unknown,
}

/// One operation on one key.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Its number.
    pub number: u64,
    /// Which key.
    pub key: usize,
    /// What was asked.
    pub kind: Kind,
    /// When, in the order of all that happens.
    pub began: u64,
    /// When it was answered, in the same order; [`u64::MAX`]: never.
    pub ended: u64,
    /// When, in ms.
    pub began_ms: u64,
    /// When, in ms; [`u64::MAX`]: never.
    pub ended_ms: u64,
    /// What was said.
    pub outcome: Outcome,
}

/// What an origin has said.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// Of which key.
    pub key: usize,
    /// When it was asked, in the order of all that happens.
    pub began: u64,
}

/// A request to an origin.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The shard that asked: node and number.
    pub at: (usize, u16),
    /// Of which process.
    pub process: u64,
    /// For which key.
    pub key: usize,
    /// When, in the order of all that happens.
    pub began: u64,
    /// When it was answered, in the same order; [`u64::MAX`]: not yet.
    pub ended: u64,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
    excuses: Vec<(u64, u64)>,
    /// By value.
    loaded: HashMap<u64, Loaded>,
    loads: Vec<Load>,
    /// Invalidations of all keys: from when to when they may have been executed.
    invalidations: Vec<(u64, u64)>,
    /// When shards of processes were given another ring.
    rings: Vec<((usize, u16), u64, u64)>,
    repeats: bool,
}

impl Operation {
    /// The version that it showed to be there.
    fn version(&self) -> Option<u64> {
        match self.outcome {
            // What an origin said and is not kept has no version.
            Outcome::Entry(0, _) => None,
            Outcome::Entry(version, _) | Outcome::Stored(version) | Outcome::Number(version, _) => Some(version),
            _ => None,
        }
    }

    fn may_have_been_executed(&self) -> bool {
        !matches!(self.outcome, Outcome::Refused | Outcome::Failed)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operation { number, key, kind, began_ms, ended_ms, outcome, .. } = self;
        write!(f, "operation {number} on key {key}, {kind:?}, from {began_ms} to {ended_ms} ms: {outcome:?}")
    }
}

impl History {
    /// An operation that has ended, or never will.
    pub fn push(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    /// Operations that overlap with this time, in ms, are not held to the promises about what is newest.
    pub fn excuse(&mut self, from_ms: u64, to_ms: u64) {
        self.excuses.push((from_ms, to_ms));
    }

    /// An origin will say this value, which nobody else has.
    pub fn told(&mut self, value: u64, loaded: Loaded) {
        self.loaded.insert(value, loaded);
    }

    /// An origin is asked.
    pub fn load_began(&mut self, load: Load) {
        self.loads.push(load);
    }

    /// The load that began then is answered.
    pub fn load_ended(&mut self, began: u64, ended: u64) {
        let load = self.loads.iter_mut().rev().find(|load| load.began == began);
        load.expect("it has begun").ended = ended;
    }

    /// All keys were invalidated between these times, or may have been.
    pub fn invalidated(&mut self, began: u64, ended: u64) {
        self.invalidations.push((began, ended));
    }

    /// A shard goes by another ring.
    pub fn ring_changed(&mut self, at: (usize, u16), process: u64, sequence: u64) {
        self.rings.push((at, process, sequence));
    }

    /// Whoever asked may have sent a set that was not answered again, by itself: so one value can have several versions.
    pub fn allow_repeats(&mut self) {
        self.repeats = true;
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// The outcome of the last one.
    pub fn last(&self) -> Option<Outcome> {
        self.operations.last().map(|operation| operation.outcome)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// How many operations had each kind of outcome: entries, misses, writes, not executed, unknown.
    pub fn outcomes(&self) -> [usize; 5] {
        let mut counts = [0; 5];
        for operation in &self.operations {
            let place = match operation.outcome {
                Outcome::Entry(..) => 0,
                Outcome::Miss | Outcome::Leased(_) => 1,
                Outcome::Stored(_) | Outcome::Deleted | Outcome::Number(..) => 2,
                Outcome::Refused | Outcome::Failed => 3,
                Outcome::Unknown => 4,
            };
            counts[place] += 1;
        }
        counts
    }

    /// Looks for a broken promise.
    ///
    /// # Errors
    /// The first that is found.
    pub fn check(&self) -> Result<(), Violation> {
        let mut keys: BTreeMap<usize, Vec<Operation>> = BTreeMap::new();
        for operation in &self.operations {
            keys.entry(operation.key).or_default().push(*operation);
        }
        self.check_flights(&keys)?;
        for operations in keys.values() {
            self.check_values(operations)?;
            self.check_order(operations)?;
            self.check_loads(operations)?;
            self.check_leases(operations)?;
            let strict: Vec<Operation> =
                operations.iter().filter(|operation| !self.is_excused(operation)).copied().collect();
            check_swaps(&strict)?;
            check_numbers(operations, |operation| self.is_excused(operation))?;
        }
        Ok(())
    }

    fn is_excused(&self, operation: &Operation) -> bool {
        self.excuses.iter().any(|(from_ms, to_ms)| operation.began_ms <= *to_ms && operation.ended_ms >= *from_ms)
    }

    /// One version is one value, and what is read was written, by an operation that was not refused and had begun.
    fn check_values(&self, operations: &[Operation]) -> Result<(), Violation> {
        let mut writers: HashMap<u64, &Operation> = HashMap::new();
        let mut values: HashMap<u64, (u64, &Operation)> = HashMap::new();
        for operation in operations {
            if let Kind::Set(value) | Kind::Add(value) | Kind::Swap(_, value) | Kind::Fill(_, value) = operation.kind {
                writers.insert(value, operation);
            }
        }
        let is_counter = operations.iter().any(|operation| operation.kind == Kind::Increment);
        for operation in operations {
            let (version, value) = match (operation.outcome, operation.kind) {
                (Outcome::Entry(version, value) | Outcome::Number(version, value), _) => (version, value),
                (
                    Outcome::Stored(version),
                    Kind::Set(value) | Kind::Add(value) | Kind::Swap(_, value) | Kind::Fill(_, value),
                ) => (version, value),
                _ => continue,
            };
            if version > 0
                && let Some((other, by)) = values.insert(version, (value, operation))
                && other != value
                && !self.is_excused(by)
                && !self.is_excused(operation)
            {
                return broken("one version has two values", &[by, operation]);
            }
            if is_counter || !matches!(operation.outcome, Outcome::Entry(..)) {
                continue;
            }
            match writers.get(&value) {
                None if self.loaded.get(&value).is_some_and(|loaded| loaded.key == operation.key) => {}
                None => return broken("nobody has written this", &[operation]),
                Some(writer) if !writer.may_have_been_executed() => {
                    return broken("what was refused was executed", &[writer, operation]);
                }
                Some(writer) if writer.began > operation.ended => {
                    return broken("it was read before it was written", &[writer, operation]);
                }
                Some(writer) => {
                    if let Outcome::Stored(stored) = writer.outcome
                        && stored != version
                        && !self.repeats
                    {
                        return broken("a value has two versions", &[writer, operation]);
                    }
                }
            }
        }
        Ok(())
    }

    /// What an origin said is not older than what was acknowledged before it was read: nothing that was begun after the
    /// origin was asked was acknowledged before the reading began.
    fn check_loads(&self, operations: &[Operation]) -> Result<(), Violation> {
        let is_write = |operation: &&Operation| {
            matches!(operation.outcome, Outcome::Stored(_) | Outcome::Deleted | Outcome::Number(..))
                && !self.is_excused(operation)
        };
        let writes: Vec<&Operation> = operations.iter().filter(is_write).collect();
        for operation in operations.iter().filter(|operation| !self.is_excused(operation)) {
            let Outcome::Entry(_, value) = operation.outcome else { continue };
            let Some(loaded) = self.loaded.get(&value).filter(|loaded| loaded.key == operation.key) else { continue };
            let is_newer = |write: &&&Operation| write.began > loaded.began && write.ended < operation.began;
            if let Some(write) = writes.iter().find(is_newer) {
                return broken("what was loaded is older than what was written since", &[write, operation]);
            }
        }
        Ok(())
    }

    /// One shard has one load of a key at a time, unless there was a write of the key, an invalidation or another ring since
    /// the first began: what that brings may be too old.
    fn check_flights(&self, keys: &BTreeMap<usize, Vec<Operation>>) -> Result<(), Violation> {
        // By shard, process and key.
        type Place = ((usize, u16), u64, usize);
        let mut by_shard: HashMap<Place, Vec<&Load>> = HashMap::new();
        for load in &self.loads {
            by_shard.entry((load.at, load.process, load.key)).or_default().push(load);
        }
        for ((at, process, key), loads) in by_shard {
            for pair in loads.windows(2) {
                let [first, second] = [pair[0], pair[1]];
                if first.ended < second.began {
                    continue;
                }
                let may_be_between = |began: u64, ended: u64| began < second.began && ended > first.began;
                let is_write = |operation: &Operation| !matches!(operation.kind, Kind::Get | Kind::Lease);
                let writes = keys.get(&key).into_iter().flatten().filter(|operation| is_write(operation));
                let is_excused = writes.into_iter().any(|write| may_be_between(write.began, write.ended))
                    || self.invalidations.iter().any(|(began, ended)| may_be_between(*began, *ended))
                    || self
                        .rings
                        .iter()
                        .any(|(of, by, when)| (*of, *by) == (at, process) && may_be_between(*when, *when));
                if !is_excused {
                    let what = format!("key {key} was loaded twice at a time by {at:?}: {first:?}, then {second:?}");
                    return Err(Violation { what });
                }
            }
        }
        Ok(())
    }

    /// Who fills by a lease fills over nothing that was written since it was given, and nobody was given one after it.
    fn check_leases(&self, operations: &[Operation]) -> Result<(), Violation> {
        let strict = || operations.iter().filter(|operation| !self.is_excused(operation));
        let mut grants: HashMap<u64, &Operation> = HashMap::new();
        for operation in strict() {
            let Outcome::Leased(token) = operation.outcome else { continue };
            if let Some(other) = grants.insert(token, operation) {
                return broken("two have one lease", &[other, operation]);
            }
        }
        for fill in strict() {
            let (Kind::Fill(token, _), Outcome::Stored(version)) = (fill.kind, fill.outcome) else { continue };
            let Some(grant) = grants.get(&token) else { continue };
            if version <= token {
                return broken("what fills is not above its lease", &[grant, fill]);
            }
            let is_since = |operation: &&Operation| operation.began > grant.ended && operation.ended < fill.began;
            let writes = strict().filter(|operation| {
                matches!(operation.outcome, Outcome::Stored(_) | Outcome::Deleted) && operation.number != fill.number
            });
            if let Some(write) = writes.into_iter().find(is_since) {
                return broken("a lease has filled over what was written since", &[grant, write, fill]);
            }
            if let Some(next) = grants.values().copied().find(is_since) {
                return broken("a lease has filled although another had it", &[grant, next, fill]);
            }
        }
        Ok(())
    }

    /// What was seen, or written, or deleted before an operation began is not newer than what that operation sees.
    fn check_order(&self, operations: &[Operation]) -> Result<(), Violation> {
        let strict: Vec<&Operation> = operations.iter().filter(|operation| !self.is_excused(operation)).collect();
        let mut begins = strict.clone();
        begins.sort_by_key(|operation| operation.began);
        let mut ends: Vec<&Operation> =
            strict.iter().copied().filter(|operation| operation.ended != u64::MAX).collect();
        ends.sort_by_key(|operation| operation.ended);
        // The newest that was known at the time when an operation began.
        let mut newest: Option<&Operation> = None;
        let mut newest_at: HashMap<u64, Option<&Operation>> = HashMap::new();
        // What the last acknowledged deletes removed: the newest that was known when they began.
        let mut removed: Option<(&Operation, &Operation)> = None;
        let mut ended = ends.into_iter().peekable();
        for operation in begins {
            while let Some(before) = ended.next_if(|before| before.ended < operation.began) {
                if before.version() > newest.and_then(Operation::version) {
                    newest = Some(before);
                }
                if before.outcome == Outcome::Deleted
                    && let Some(Some(known)) = newest_at.get(&before.number)
                    && removed.is_none_or(|(_, other)| other.version() < known.version())
                {
                    removed = Some((before, known));
                }
            }
            newest_at.insert(operation.number, newest);
            let Some(version) = operation.version() else { continue };
            if let Some((delete, known)) = removed
                && known.version() >= Some(version)
            {
                return broken("what was deleted is there again", &[known, delete, operation]);
            }
            let is_write = !matches!(operation.outcome, Outcome::Entry(..));
            if let Some(known) = newest
                && (known.version() > Some(version) || is_write && known.version() == Some(version))
            {
                return broken("it is older than what was known before", &[known, operation]);
            }
        }
        Ok(())
    }
}

/// Of those who exchange one version for another, one succeeds.
fn check_swaps(operations: &[Operation]) -> Result<(), Violation> {
    let mut swapped: HashMap<u64, &Operation> = HashMap::new();
    for operation in operations {
        if let (Kind::Swap(expected, _), Outcome::Stored(version)) = (operation.kind, operation.outcome) {
            if version <= expected {
                return broken("it has a version that is not above the one it replaced", &[operation]);
            }
            if let Some(other) = swapped.insert(expected, operation) {
                return broken("two have replaced one version", &[other, operation]);
            }
        }
    }
    Ok(())
}

/// A number does not grow by more than was added.
fn check_numbers(operations: &[Operation], is_excused: impl Fn(&Operation) -> bool) -> Result<(), Violation> {
    let is_addition = |operation: &&Operation| operation.kind == Kind::Increment && operation.may_have_been_executed();
    let additions: Vec<&Operation> = operations.iter().filter(is_addition).collect();
    if additions.is_empty() {
        return Ok(());
    }
    let mut seen: Vec<(u64, u64, &Operation)> = operations
        .iter()
        .filter_map(|operation| match operation.outcome {
            Outcome::Entry(version, value) | Outcome::Number(version, value) => Some((version, value, operation)),
            _ => None,
        })
        .collect();
    seen.sort_by_key(|(version, _, operation)| (*version, operation.began));
    for pair in seen.windows(2) {
        let [(_, before, first), (_, after, second)] = [pair[0], pair[1]];
        let may_be_between = |addition: &&&Operation| {
            addition.number != first.number && addition.ended >= first.began && addition.began <= second.ended
        };
        let between = additions.iter().filter(may_be_between);
        let most = between.count() as u64;
        if after > before + most && !is_excused(first) && !is_excused(second) {
            let what = format!("{before} became {after} by at most {most} additions of 1");
            return broken(&what, &[first, second]);
        }
    }
    Ok(())
}

fn broken(what: &str, operations: &[&Operation]) -> Result<(), Violation> {
    let told: Vec<String> = operations.iter().map(ToString::to_string).collect();
    Err(Violation { what: format!("{what}: {}", told.join("; then ")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was asked, what was said, when it began and when it ended.
    type Told = (Kind, Outcome, u64, u64);

    fn history(operations: &[Told]) -> History {
        let mut history = History::default();
        for (number, &(kind, outcome, began, ended)) in operations.iter().enumerate() {
            let (began_ms, ended_ms) = (began, ended);
            history.push(Operation { number: number as u64, key: 0, kind, began, ended, began_ms, ended_ms, outcome });
        }
        history
    }

    fn verdict(operations: &[Told]) -> String {
        history(operations).check().err().map_or("kept".into(), |violation| violation.what)
    }

    #[test]
    fn what_a_cache_may_do_is_no_violation() {
        let set = |value, version, began, ended| (Kind::Set(value), Outcome::Stored(version), began, ended);
        let get = |version, value, began, ended| (Kind::Get, Outcome::Entry(version, value), began, ended);
        assert_eq!(verdict(&[set(1, 10, 0, 1), get(10, 1, 2, 3), (Kind::Get, Outcome::Miss, 4, 5)]), "kept");
        assert_eq!(verdict(&[set(1, 10, 0, 5), get(10, 1, 2, 3)]), "kept", "it is read while it is written");
        assert_eq!(verdict(&[set(1, 10, 0, 1), set(2, 11, 2, 9), get(10, 1, 3, 4), get(11, 2, 5, 6)]), "kept");
        let lost = (Kind::Set(2), Outcome::Unknown, 2, u64::MAX);
        assert_eq!(verdict(&[set(1, 10, 0, 1), lost, get(10, 1, 4, 5), get(12, 2, 6, 7)]), "kept", "it came late");
        let delete = (Kind::Delete, Outcome::Deleted, 2, 3);
        assert_eq!(verdict(&[set(1, 10, 0, 1), delete, set(2, 12, 4, 5), get(12, 2, 6, 7)]), "kept");
        let add = |value, ended| (Kind::Increment, Outcome::Number(10 + value, value), ended - 1, ended);
        let unknown = (Kind::Increment, Outcome::Unknown, 3, u64::MAX);
        assert_eq!(verdict(&[add(1, 2), unknown, add(3, 6), add(4, 8)]), "kept");
    }

    #[test]
    fn each_broken_promise_is_found() {
        let set = |value, version, began, ended| (Kind::Set(value), Outcome::Stored(version), began, ended);
        let get = |version, value, began, ended| (Kind::Get, Outcome::Entry(version, value), began, ended);
        let delete = (Kind::Delete, Outcome::Deleted, 4, 5);
        let cases: [(&str, Vec<Told>); 11] = [
            ("older than what", vec![set(1, 10, 0, 1), set(2, 11, 2, 3), get(10, 1, 4, 5)]),
            ("older than what", vec![set(1, 10, 0, 1), set(2, 9, 2, 3)]),
            ("older than what", vec![set(1, 10, 0, 20), set(2, 11, 0, 20), get(11, 2, 2, 3), get(10, 1, 4, 5)]),
            ("deleted is there", vec![set(1, 10, 0, 1), delete, get(10, 1, 6, 7)]),
            ("two values", vec![set(1, 10, 0, 9), set(2, 10, 0, 9)]),
            ("nobody has written", vec![get(10, 1, 0, 1)]),
            ("refused was executed", vec![(Kind::Set(1), Outcome::Failed, 0, 1), get(10, 1, 2, 3)]),
            ("before it was written", vec![get(10, 1, 0, 1), set(1, 10, 2, 3)]),
            ("two versions", vec![set(1, 10, 0, 1), get(11, 1, 2, 3)]),
            (
                "two have replaced",
                vec![(Kind::Swap(5, 1), Outcome::Stored(10), 0, 9), (Kind::Swap(5, 2), Outcome::Stored(11), 0, 9)],
            ),
            (
                "became 3 by at most 1",
                vec![(Kind::Increment, Outcome::Number(10, 1), 0, 1), (Kind::Increment, Outcome::Number(12, 3), 2, 3)],
            ),
        ];
        for (expected, operations) in cases {
            let found = verdict(&operations);
            assert!(found.contains(expected), "{found} for {operations:?}");
        }
    }

    #[test]
    fn who_has_an_excuse_is_not_held_to_the_order() {
        let stale = [
            (Kind::Set(1), Outcome::Stored(10), 0, 1),
            (Kind::Set(2), Outcome::Stored(11), 2, 3),
            (Kind::Get, Outcome::Entry(10, 1), 14, 15),
        ];
        let mut history = history(&stale);
        assert!(history.check().is_err());
        history.excuse(10, 14);
        assert_eq!(history.check(), Ok(()));
    }
}

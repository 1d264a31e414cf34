//! What kinds of commands there are, as far as routing and time-outs care.

use larder_protocol::{Command, Condition, Keys, Write, Writes};

/// Whether executing a command twice leaves what executing it once does, whatever others do in between: then a lost
/// reply is DEADLINE_EXCEEDED, else OUTCOME_UNKNOWN. This is the one place that decides it.
///
/// A plain set or delete may be repeated: it says what is to be there, and whoever sends it wants that now. What
/// depends on what is there may not: with a condition or a named version, the second execution would report that the
/// first one never was; increment, append and prepend would be applied twice.
pub fn is_idempotent(command: &Command<'_>) -> bool {
    match command {
        Command::Set(write) => write_is_idempotent(write),
        Command::SetMany { entries } => entries.iter().all(|write| write_is_idempotent(&write)),
        Command::Delete { version, .. } => *version == 0,
        Command::Increment { .. } | Command::Append { .. } | Command::Prepend { .. } => false,
        Command::Get { .. }
        | Command::GetMany { .. }
        | Command::DeleteMany { .. }
        | Command::Touch { .. }
        | Command::GetAndTouch { .. }
        | Command::Invalidate
        | Command::Stats
        | Command::Topology
        | Command::Hello { .. }
        | Command::NotOffered { .. } => true,
    }
}

/// As [`is_idempotent`], for one entry.
pub(crate) fn write_is_idempotent(write: &Write<'_>) -> bool {
    write.condition == Condition::Always
}

/// What a command is about: who has to execute it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    /// One key: its owner.
    Key(&'a [u8]),
    /// Several keys: the owner of each.
    Keys(Many<'a>),
    /// A group: every shard.
    Group,
    /// The node: every shard.
    Node,
    /// Whoever is asked.
    Anyone,
}

/// A command on several keys.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Many<'a> {
    Get(Keys<'a>),
    Set(Writes<'a>),
    Delete(Keys<'a>),
}

impl<'a> Subject<'a> {
    #[inline]
    pub(crate) fn of(command: &Command<'a>) -> Self {
        match *command {
            Command::Get { key }
            | Command::Set(Write { key, .. })
            | Command::Delete { key, .. }
            | Command::Touch { key, .. }
            | Command::GetAndTouch { key, .. }
            | Command::Increment { key, .. }
            | Command::Append { key, .. }
            | Command::Prepend { key, .. } => Subject::Key(key),
            Command::GetMany { keys } => Subject::Keys(Many::Get(keys)),
            Command::SetMany { entries } => Subject::Keys(Many::Set(entries)),
            Command::DeleteMany { keys } => Subject::Keys(Many::Delete(keys)),
            Command::Invalidate => Subject::Group,
            Command::Stats => Subject::Node,
            Command::Topology | Command::Hello { .. } | Command::NotOffered { .. } => Subject::Anyone,
        }
    }
}

impl<'a> Many<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Many::Get(keys) | Many::Delete(keys) => keys.len(),
            Many::Set(entries) => entries.len(),
        }
    }

    /// Key `position`, below [`Many::len`].
    pub(crate) fn key(&self, position: usize) -> &'a [u8] {
        match self {
            Many::Get(keys) | Many::Delete(keys) => keys.spans()[position].of(keys.frame()),
            Many::Set(entries) => entries.spans()[position].key.of(entries.frame()),
        }
    }

    /// Whether executing the operation on key `position` again does no harm.
    pub(crate) fn is_idempotent(&self, position: usize) -> bool {
        match self {
            Many::Get(_) | Many::Delete(_) => true,
            Many::Set(entries) => entries.spans()[position].condition == Condition::Always,
        }
    }

    /// The entry to store under key `position` of a set_many.
    pub(crate) fn write(entries: &Writes<'a>, position: usize) -> Write<'a> {
        let span = &entries.spans()[position];
        Write {
            key: span.key.of(entries.frame()),
            value: span.value.of(entries.frame()),
            flags: span.flags,
            condition: span.condition,
            expiry: span.expiry,
        }
    }
}

#[cfg(test)]
mod tests {
    use larder_protocol::{Expiry, WriteSpan};

    use super::*;

    #[test]
    fn what_depends_on_what_is_there_is_not_idempotent() {
        let write = |condition| Write { key: b"k", value: b"v", flags: 0, condition, expiry: Expiry::Default };
        assert!(is_idempotent(&Command::Set(write(Condition::Always))));
        for condition in [Condition::Absent, Condition::Present, Condition::Version(1)] {
            assert!(!is_idempotent(&Command::Set(write(condition))), "{condition:?}");
            let spans = [WriteSpan::default(), WriteSpan { condition, ..WriteSpan::default() }];
            let entries = Writes::new(b"", &spans);
            assert!(!is_idempotent(&Command::SetMany { entries }), "{condition:?}");
            assert!(Many::Set(entries).is_idempotent(0) && !Many::Set(entries).is_idempotent(1));
        }
        assert!(is_idempotent(&Command::Delete { key: b"k", version: 0 }));
        assert!(!is_idempotent(&Command::Delete { key: b"k", version: 1 }));
        assert!(!is_idempotent(&Command::Append { key: b"k", value: b"v" }));
        assert!(!is_idempotent(&Command::Prepend { key: b"k", value: b"v" }));
        let increment = Command::Increment { key: b"k", delta: 0, initial: None, expiry: Expiry::Keep };
        assert!(!is_idempotent(&increment));
        assert!(is_idempotent(&Command::GetAndTouch { key: b"k", expiry: Expiry::Never }));
    }
}

//! What kinds of commands there are, as far as routing and time-outs care.

use larder_protocol::{Command, Keys, Meta, ScanStep, Write, Writes};

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
    /// The keys of a group from some place on: the shard that has it.
    Scan(ScanStep<'a>),
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
            | Command::Prepend { key, .. }
            | Command::Patch { key, .. }
            | Command::Count { key, .. }
            | Command::AddDecimal { key, .. }
            | Command::Look { key, .. }
            | Command::Check { key, .. }
            | Command::Transact { key, .. }
            | Command::Meta(Meta { key, .. })
            | Command::LeaseGet { key, .. }
            | Command::LeaseSet { write: Write { key, .. }, .. } => Subject::Key(key),
            Command::GetMany { keys } => Subject::Keys(Many::Get(keys)),
            Command::SetMany { entries } => Subject::Keys(Many::Set(entries)),
            Command::DeleteMany { keys } => Subject::Keys(Many::Delete(keys)),
            Command::Invalidate => Subject::Group,
            Command::Stats => Subject::Node,
            Command::Scan(step) => Subject::Scan(step),
            Command::AlterGroup(_)
            | Command::AlterNode(_)
            | Command::Ping
            | Command::Topology
            | Command::Watch
            | Command::Hello { .. } => Subject::Anyone,
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
            Many::Set(entries) => Many::write(entries, position).is_idempotent(),
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
    use larder_protocol::{Condition, WriteSpan};

    use super::*;

    #[test]
    fn a_condition_counts_for_its_own_key() {
        let conditional = WriteSpan { condition: Condition::Absent, ..WriteSpan::default() };
        let spans = [WriteSpan::default(), conditional];
        let entries = Writes::new(b"", &spans);
        assert!(Many::Set(entries).is_idempotent(0) && !Many::Set(entries).is_idempotent(1));
    }
}

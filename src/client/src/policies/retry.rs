//! What may be tried again: how often, and which statuses mean "not executed".

use std::time::Duration;

use larder_protocol::{Command, Status};

use crate::limits::{
    ATTEMPTS_DEFAULT, RETRY_BURST_DEFAULT, RETRY_PAUSE_MAX_DEFAULT, RETRY_PAUSE_MIN_DEFAULT, RETRY_PERCENT_DEFAULT,
};

/// How often and how soon a call is tried again. All of it happens within the deadline of the call.
///
/// A call is tried again if the server did not execute it (`OVERLOADED`, `UNAVAILABLE`, `OWNER_UNSURE`,
/// `WRONG_OWNER`, or the request never left this process), whatever the operation is. When the answer was lost or late,
/// only idempotent operations are: all but increment, append, prepend, a set with a condition, and a delete of one
/// version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts of one call, the first included; 1: no retries. At most [`crate::limits::ATTEMPTS_MAX`].
    pub attempts_max: u32,
    /// Retries in percent of all calls of this client and its clones, at most 100.
    pub budget_percent: u32,
    /// Retries that are possible at once after a quiet time, at most [`crate::limits::RETRY_BURST_MAX`].
    pub budget_burst: u32,
    /// The first pause; it doubles with each further one, and up to half of it is random.
    pub pause_min: Duration,
    /// The longest pause, unless the server asks for a longer one.
    pub pause_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: ATTEMPTS_DEFAULT,
            budget_percent: RETRY_PERCENT_DEFAULT,
            budget_burst: RETRY_BURST_DEFAULT,
            pause_min: RETRY_PAUSE_MIN_DEFAULT,
            pause_max: RETRY_PAUSE_MAX_DEFAULT,
        }
    }
}

impl RetryPolicy {
    /// Every call is tried once.
    pub fn none() -> Self {
        Self { attempts_max: 1, budget_percent: 0, budget_burst: 0, ..Self::default() }
    }
}

/// Whether a status promises that nothing was executed (or that it is harmless to repeat), and may go away.
pub(crate) fn is_not_executed(status: Status) -> bool {
    matches!(
        status,
        Status::Overloaded
            | Status::Unavailable
            | Status::OwnerUnsure
            | Status::WrongOwner
            | Status::DeadlineExceeded
            | Status::OriginBusy
    )
}

/// The name of a command in messages.
pub(crate) fn operation(command: &Command<'_>) -> &'static str {
    match command {
        Command::Get { .. } => "get",
        Command::GetMany { .. } => "get_many",
        Command::Set(_) => "set",
        Command::SetMany { .. } => "set_many",
        Command::Delete { .. } => "delete",
        Command::DeleteMany { .. } => "delete_many",
        Command::Touch { .. } => "touch",
        Command::GetAndTouch { .. } => "get_and_touch",
        Command::Increment { .. } => "increment",
        Command::Append { .. } => "append",
        Command::Prepend { .. } => "prepend",
        Command::Count { .. } => "count",
        Command::Patch { .. } => "patch",
        Command::AddDecimal { .. } => "add_decimal",
        Command::Look { .. } => "look",
        Command::Meta(_) => "meta",
        Command::Check { .. } => "check",
        Command::Transact { .. } => "transact",
        Command::Invalidate => "invalidate",
        Command::Scan(_) => "scan",
        Command::AlterGroup(_) => "alter_group",
        Command::AlterNode(_) => "alter_node",
        Command::Ping => "ping",
        Command::Watch => "watch",
        Command::Stats => "stats",
        Command::Topology => "topology",
        Command::Hello { .. } => "hello",
        Command::LeaseGet { .. } => "lease_get",
        Command::LeaseSet { .. } => "lease_set",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_unknown_is_not_not_executed() {
        assert!(!is_not_executed(Status::OutcomeUnknown));
        assert_eq!(Status::ALL.iter().filter(|status| is_not_executed(**status)).count(), 6);
    }
}

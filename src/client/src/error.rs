//! What can go wrong with a call, in the caller's terms.

use larder_protocol::Status;

/// Why a call has no result. Messages name the thing, the value and what to do.
///
/// A miss is no error, and neither is an unmet condition: results have room for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting of the builder is not possible. Nothing was tried.
    #[error("setting {setting} = {value:?}: {remedy}")]
    Setting {
        /// The name of the setting.
        setting: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        remedy: String,
    },
    /// No connection can be made. Nothing was executed.
    #[error("cannot connect to {address}: {reason}; check the address, and that the server runs")]
    Unreachable {
        /// Where to.
        address: String,
        /// What the last try ended with.
        reason: String,
    },
    /// The server took the connection and refused the client in Hello. Nothing was executed.
    #[error("{address} refuses this client ({status:?}): {reason}")]
    Refused {
        /// Which server.
        address: String,
        /// The kind of refusal.
        status: Status,
        /// What the server says.
        reason: String,
    },
    /// What the server sent is not the protocol. The connection was closed.
    #[error("{address} does not speak this protocol: {reason}; check that the port is the native one")]
    Protocol {
        /// Which server.
        address: String,
        /// What is wrong with its bytes.
        reason: String,
    },
    /// The server answered with a result that is none of this operation.
    #[error("{operation}: the server answered with {answer}; its version and this client's do not fit together")]
    UnexpectedAnswer {
        /// The operation of the call.
        operation: &'static str,
        /// What the answer was.
        answer: String,
    },
    /// The connection ended before the answer. Harmless to repeat.
    #[error("{operation}: the connection to {address} was lost: {reason}; harmless to repeat")]
    ConnectionLost {
        /// The operation of the call.
        operation: &'static str,
        /// Which server.
        address: String,
        /// How it ended.
        reason: String,
    },
    /// The deadline of the call has passed. Not executed, or harmless to repeat.
    #[error(
        "{operation}: no answer within {deadline_ms} ms and {attempts} attempt(s), at last: {last}; raise the deadline, or look at the load of the server"
    )]
    DeadlineExceeded {
        /// The operation of the call.
        operation: &'static str,
        /// The time that the call had, in ms.
        deadline_ms: u64,
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt ended with.
        last: String,
    },
    /// One attempt got no answer in its time, and no other could follow. Not executed, or harmless to repeat.
    #[error(
        "{operation}: {address} did not answer within {timeout_ms} ms; raise the attempt time-out, or look at the load of the server"
    )]
    TimedOut {
        /// The operation of the call.
        operation: &'static str,
        /// Which server.
        address: String,
        /// The time that the attempt had, in ms.
        timeout_ms: u64,
    },
    /// The operation may or may not have been executed, and is not harmless to repeat. Read the entry to find out.
    #[error("{operation}: may or may not have been executed: {reason}; read the entry before repeating it")]
    OutcomeUnknown {
        /// The operation of the call.
        operation: &'static str,
        /// Why it is not known.
        reason: String,
    },
    /// A key, value, credential or batch is above a limit. Nothing was changed.
    #[error("{what} of {bytes} bytes is above the limit of {limit}; make it smaller, or raise the limit at the server")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The group is not there.
    #[error("there is no group {group:?}; the server has {known}")]
    NoSuchGroup {
        /// The name asked for.
        group: String,
        /// The groups that the server named last.
        known: String,
    },
    /// Increment of a value that is no decimal integer of 64 bits. Nothing was changed.
    #[error("the value is no decimal integer of 64 bits; set it to one first")]
    NotANumber,
    /// Increment past the range of a signed 64-bit integer. Nothing was changed.
    #[error("the sum is outside a signed 64-bit integer; nothing was changed")]
    OutOfRange,
    /// A bounded queue at the server, or of this client, is full. Not executed.
    #[error("overloaded, not executed: {message}; try again after {retry_after_ms} ms, or send less")]
    Overloaded {
        /// Which queue, in the words of who refused.
        message: String,
        /// When to try again at the earliest, in ms.
        retry_after_ms: u32,
    },
    /// The server cannot do it at this time. Not executed.
    #[error("not executed ({status:?}): {message}; try again after {retry_after_ms} ms")]
    Unavailable {
        /// [`Status::Unavailable`], [`Status::WrongOwner`], [`Status::OwnerUnsure`], [`Status::DeadlineExceeded`] or
        /// [`Status::OriginBusy`].
        status: Status,
        /// What the server says.
        message: String,
        /// When to try again at the earliest, in ms.
        retry_after_ms: u32,
    },
    /// The key is not there, and the origin of its group did not give it. Nothing was kept, and the next get asks it again.
    #[error("not loaded: {message}")]
    OriginFailed {
        /// Which origin, and what it did.
        message: String,
    },
    /// The server refuses the operation for good.
    #[error("refused ({status:?}): {message}")]
    Rejected {
        /// Why.
        status: Status,
        /// What the server says.
        message: String,
    },
}

impl Error {
    /// Whether the same call may succeed later, and making it again is safe: it was not executed, or is harmless to
    /// repeat. The client has then already used up the retries that its policy allows.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Unreachable { .. }
            | Error::ConnectionLost { .. }
            | Error::DeadlineExceeded { .. }
            | Error::TimedOut { .. }
            | Error::Overloaded { .. }
            | Error::Unavailable { .. } => true,
            Error::Setting { .. }
            | Error::Refused { .. }
            | Error::Protocol { .. }
            | Error::UnexpectedAnswer { .. }
            | Error::OutcomeUnknown { .. }
            | Error::TooLarge { .. }
            | Error::NoSuchGroup { .. }
            | Error::NotANumber
            | Error::OutOfRange
            | Error::OriginFailed { .. }
            | Error::Rejected { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_unknown_outcome_is_never_called_retryable() {
        assert!(!Error::OutcomeUnknown { operation: "increment", reason: "lost".into() }.is_retryable());
        assert!(!Error::TooLarge { what: "key", bytes: 2, limit: 1 }.is_retryable());
        assert!(Error::Overloaded { message: "lane".into(), retry_after_ms: 1 }.is_retryable());
    }

    #[test]
    fn messages_name_the_thing_the_value_and_the_remedy() {
        let message = Error::TooLarge { what: "value", bytes: 9, limit: 8 }.to_string();
        assert_eq!(
            message,
            "value of 9 bytes is above the limit of 8; make it smaller, or raise the limit at the server"
        );
    }

    #[test]
    fn an_error_is_small_enough_to_be_returned_by_value() {
        assert!(size_of::<Error>() <= 96, "{}", size_of::<Error>());
    }
}

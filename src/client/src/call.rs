//! One call: attempts, within a deadline, by the retry policy.

use std::time::Duration;

use larder_protocol::{Command, Request, Status, native};
use larder_ring::{DEFAULT_GROUP, group_hash};
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::cluster::View;
use crate::error::Error;
use crate::network::{Answer, Attempt, Link, Payload};
use crate::policies::{Backoff, is_not_executed, operation};
use crate::routing;

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'k> {
    /// To the owner of a key.
    Key(&'k [u8]),
    /// To a node, by its id.
    Node(&'k str),
    /// To any node.
    Any,
}

/// An attempt that brought no result.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// Not executed, or harmless to repeat, and a further attempt may succeed.
    pub(crate) may_repeat: bool,
}

/// The attempts of one call.
#[derive(Debug)]
pub(crate) struct Attempts<'c> {
    client: &'c Client,
    operation: &'static str,
    /// When the whole call is over.
    pub(crate) until: Instant,
    made: u32,
}

impl<'c> Attempts<'c> {
    /// A call begins.
    pub(crate) fn new(client: &'c Client, operation: &'static str) -> Self {
        client.cluster.budget.earn();
        Self { client, operation, until: Instant::now() + client.deadline, made: 1 }
    }

    /// Waits until the next attempt may begin after `failed`.
    ///
    /// # Errors
    /// What the caller is told, if there is to be no further attempt.
    pub(crate) async fn again(&mut self, failed: Failed) -> Result<(), Error> {
        let cluster = &self.client.cluster;
        let retry = &cluster.settings.retry;
        let (overloaded, hint_ms) = match failed.error {
            Error::Overloaded { retry_after_ms, .. } | Error::Unavailable { retry_after_ms, .. } => {
                (true, retry_after_ms)
            }
            _ => (false, 0),
        };
        let may_repeat = failed.may_repeat && self.made < retry.attempts_max;
        let now = Instant::now();
        if may_repeat && now < self.until {
            let backoff = Backoff { min: retry.pause_min, max: retry.pause_max };
            let pause = backoff.pause(self.made, cluster.random());
            // A hint is spread too: all who were refused at one time were given the same.
            let hint = Duration::from_millis(hint_ms.into()).mul_f64(1.0 + cluster.random() / 2.0);
            let pause = pause.max(hint);
            if now + pause < self.until && cluster.budget.spend() {
                sleep(pause).await;
                self.made += 1;
                return Ok(());
            }
            if now + pause < self.until || overloaded {
                return Err(failed.error);
            }
        } else if !failed.may_repeat || overloaded || now < self.until {
            return Err(failed.error);
        }
        Err(Error::DeadlineExceeded {
            operation: self.operation,
            deadline_ms: u64::try_from(self.client.deadline.as_millis()).unwrap_or(u64::MAX),
            attempts: self.made,
            last: failed.error.to_string(),
        })
    }
}

impl Client {
    /// Makes attempts until one brings an answer that is final: of status `OK`, or one that is a result of the
    /// operation (`NOT_FOUND`, `EXISTS`, `VERSION_MISMATCH`).
    pub(crate) async fn call(&self, target: Target<'_>, command: Command<'_>) -> Result<Answer, Error> {
        let mut attempts = Attempts::new(self, operation(&command));
        loop {
            match self.attempt(target, &command, attempts.until).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => attempts.again(failed).await?,
            }
        }
    }

    /// One attempt.
    pub(crate) async fn attempt(
        &self,
        target: Target<'_>,
        command: &Command<'_>,
        call_until: Instant,
    ) -> Result<Answer, Failed> {
        let view = self.cluster.view();
        let place = match target {
            Target::Key(key) => routing::place(&view.topology, self.group_hash(&view), key),
            Target::Node(id) => {
                let left =
                    || Error::Unreachable { address: id.to_owned(), reason: "the node has left the ring".into() };
                let node = view.topology.index_of(id).ok_or_else(left).map_err(Failed::definite)?;
                view.place_on(node)
            }
            Target::Any => view.any_place(),
        };
        let link = view.link(place, call_until).await.map_err(|error| {
            let may_repeat = error.is_retryable();
            Failed { error, may_repeat }
        })?;
        let epoch = view.topology.epoch();
        let request = Request {
            // Given by the connection, as is the time.
            id: 0,
            epoch,
            group: self.wire_group(&view),
            timeout_ms: 0,
            forwarded: false,
            command: *command,
        };
        check_size(&link, &request).map_err(Failed::definite)?;
        let timeout = match command {
            // To wait is what it is for.
            Command::LeaseGet { .. } => self.deadline,
            _ => self.cluster.settings.attempt_timeout,
        };
        let until = call_until.min(Instant::now() + timeout);
        let answer =
            link.exchange(&request, until).await.map_err(|attempt| failed(attempt, &link, command, timeout))?;
        if answer.epoch > epoch || answer.status == Status::WrongOwner {
            self.cluster.ring_seems_outdated();
        }
        match answer.status {
            Status::Ok | Status::NotFound | Status::Exists | Status::VersionMismatch | Status::LeaseLost => Ok(answer),
            status => Err(self.refusal(&view, status, operation(command), answer.message, answer.retry_after_ms)),
        }
    }

    /// A status that is no result, as the caller sees it.
    pub(crate) fn refusal(
        &self,
        view: &View,
        status: Status,
        operation: &'static str,
        message: String,
        retry_after_ms: u32,
    ) -> Failed {
        let error = match status {
            Status::Overloaded => Error::Overloaded { message, retry_after_ms },
            Status::Unavailable
            | Status::WrongOwner
            | Status::OwnerUnsure
            | Status::DeadlineExceeded
            | Status::OriginBusy => Error::Unavailable { status, message, retry_after_ms },
            Status::OriginFailed => Error::OriginFailed { message },
            Status::OutcomeUnknown => Error::OutcomeUnknown { operation, reason: message },
            Status::NoSuchGroup => Error::NoSuchGroup { group: self.group_name().to_owned(), known: known(view) },
            Status::NotANumber => Error::NotANumber,
            Status::OutOfRange => Error::OutOfRange,
            status => Error::Rejected { status, message },
        };
        Failed { error, may_repeat: is_not_executed(status) }
    }

    /// The hash of the group, which keys are placed by.
    pub(crate) fn group_hash(&self, view: &View) -> u64 {
        group_hash(self.group_name(), view.topology.cluster_seed())
    }

    pub(crate) fn wire_group(&self, view: &View) -> u64 {
        if self.group_name() == DEFAULT_GROUP { 0 } else { self.group_hash(view) }
    }
}

impl Failed {
    /// Nothing else can come of it.
    pub(crate) fn definite(error: Error) -> Self {
        Failed { error, may_repeat: false }
    }
}

/// An answer that is a result, but not of this operation.
pub(crate) fn unexpected(operation: &'static str, status: Status, payload: &Payload) -> Error {
    Error::UnexpectedAnswer { operation, answer: format!("{status:?} and {}", payload.kind()) }
}

fn failed(attempt: Attempt, link: &Link, command: &Command<'_>, timeout: Duration) -> Failed {
    let (operation, address) = (operation(command), link.address.clone());
    let timeout_ms = u64::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let repeatable = |error| Failed { error, may_repeat: true };
    match attempt {
        Attempt::NoRoom => {
            let message = format!("the connection to {address} had no room for another request in {timeout_ms} ms");
            repeatable(Error::Overloaded { message, retry_after_ms: 0 })
        }
        Attempt::NotSent { reason } => repeatable(Error::Unreachable { address, reason }),
        Attempt::Lost { .. } | Attempt::TimedOut if !command.is_idempotent() => {
            let reason = format!("{address}: {attempt}");
            Failed::definite(Error::OutcomeUnknown { operation, reason })
        }
        Attempt::Lost { reason } => repeatable(Error::ConnectionLost { operation, address, reason }),
        Attempt::TimedOut => repeatable(Error::TimedOut { operation, address, timeout_ms }),
    }
}

/// Refuses here what the server would refuse, before it costs a transfer.
fn check_size(link: &Link, request: &Request<'_>) -> Result<(), Error> {
    let limits = &link.greeting.limits;
    let (key, value) = match request.command {
        Command::Get { key } | Command::Delete { key, .. } => (key, &[][..]),
        Command::Touch { key, .. } | Command::GetAndTouch { key, .. } => (key, &[][..]),
        Command::Increment { key, .. } => (key, &[][..]),
        Command::Set(write) => (write.key, write.value),
        Command::Append { key, value } | Command::Prepend { key, value } => (key, value),
        _ => (&[][..], &[][..]),
    };
    limits.check(key.len(), value.len())?;
    limits.check_frame(native::request_bytes(request))
}

fn known(view: &View) -> String {
    let names: Vec<&str> = view.groups.iter().map(|group| &*group.name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

//! A connection that is kept up: connects, says Hello, runs, and connects again, with growing and spread pauses.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::Error;
use crate::limits::{FAILURES_UNTIL_DOWN, STABLE_AFTER};
use crate::network::handshake::{ConnectSettings, Established, Greeting, HandshakeError, establish};
use crate::network::link::Link;
use crate::network::pump;
use crate::policies::Backoff;

/// What an endpoint may be asked for, at any time.
#[derive(Clone, Debug)]
pub(crate) enum Status {
    /// Not connected; the outcome is waited for.
    Connecting,
    /// Connected.
    Up(Arc<Link>),
    /// Several tries in a row have failed. It goes on trying; callers are told at once.
    Down(Arc<HandshakeError>),
}

/// Who wants to know what a server said in Hello, and may refuse it.
pub(crate) trait Observer: Send + Sync {
    /// A new connection to `address` has said Hello.
    fn greeted(&self, address: &str, greeting: &Greeting) -> Result<(), HandshakeError>;
}

/// How an endpoint behaves.
#[derive(Clone, Debug)]
pub(crate) struct EndpointSettings {
    pub(crate) connect: ConnectSettings,
    pub(crate) backoff: Backoff,
    /// Requests that wait this long while nothing at all is received end the connection.
    pub(crate) stall: Duration,
    /// Of the jitter.
    pub(crate) seed: u64,
    /// The shard that is asked for. The server may give another one, or know nothing of it: all serve all keys.
    pub(crate) shard: u16,
}

/// One place for a connection. Dropped, it closes the connection.
#[derive(Debug)]
pub(crate) struct Endpoint {
    address: String,
    status: watch::Receiver<Status>,
    task: JoinHandle<()>,
}

impl Endpoint {
    /// Starts to keep a connection to `address` up, beginning with `first` if there is one already.
    pub(crate) fn start(
        address: String,
        settings: EndpointSettings,
        observer: Weak<dyn Observer>,
        first: Option<Established>,
    ) -> Self {
        let initial = first.as_ref().map_or(Status::Connecting, |first| Status::Up(first.link.clone()));
        let (sender, status) = watch::channel(initial);
        let supervisor = Supervisor {
            address: address.clone(),
            rng: fastrand::Rng::with_seed(settings.seed),
            settings,
            observer,
            status: sender,
            failures: 0,
        };
        let task = tokio::spawn(supervisor.run(first));
        Self { address, status, task }
    }

    /// The connection, if it is up at this moment.
    pub(crate) fn current(&self) -> Option<Arc<Link>> {
        match &*self.status.borrow() {
            Status::Up(link) if !link.is_closed() => Some(link.clone()),
            _ => None,
        }
    }

    /// The connection. Waits while one is being made, until `until` at most; an endpoint that is down says so at once.
    pub(crate) async fn link(&self, until: Instant) -> Result<Arc<Link>, Error> {
        if let Some(link) = self.current() {
            return Ok(link);
        }
        let mut status = self.status.clone();
        let usable = |status: &Status| match status {
            Status::Connecting => false,
            Status::Up(link) => !link.is_closed(),
            Status::Down(_) => true,
        };
        match timeout_at(until, status.wait_for(usable)).await {
            Ok(Ok(found)) => match &*found {
                Status::Up(link) => Ok(link.clone()),
                Status::Down(error) => Err(error.at(&self.address)),
                Status::Connecting => unreachable!("it was waited for another one"),
            },
            Ok(Err(_)) => Err(self.unreachable("the client's runtime is shutting down")),
            Err(_) => Err(self.unreachable("no connection came up in time")),
        }
    }

    fn unreachable(&self, reason: &str) -> Error {
        Error::Unreachable { address: self.address.clone(), reason: reason.to_owned() }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Supervisor {
    address: String,
    settings: EndpointSettings,
    rng: fastrand::Rng,
    observer: Weak<dyn Observer>,
    status: watch::Sender<Status>,
    failures: u32,
}

impl Supervisor {
    async fn run(mut self, mut next: Option<Established>) {
        loop {
            let established = match next.take() {
                Some(established) => Ok(established),
                None => self.connect().await,
            };
            match established {
                Ok(established) => {
                    let begun = Instant::now();
                    self.serve(established).await;
                    // A server that takes connections and drops them at once is not to be hammered.
                    self.failures = if begun.elapsed() >= STABLE_AFTER { 0 } else { self.failures + 1 };
                    self.status.send_replace(Status::Connecting);
                }
                Err(error) => {
                    self.failures += 1;
                    // Only what the network did may pass within moments; what the server said stays.
                    let hopeful = matches!(error, HandshakeError::Transport(_));
                    if !hopeful || self.failures >= FAILURES_UNTIL_DOWN {
                        self.status.send_replace(Status::Down(Arc::new(error)));
                    }
                }
            }
            if self.observer.strong_count() == 0 {
                return;
            }
            if self.failures > 0 {
                sleep(self.settings.backoff.pause(self.failures, self.rng.f64())).await;
            }
        }
    }

    async fn connect(&self) -> Result<Established, HandshakeError> {
        let established = establish(&self.address, &self.settings.connect, Some(self.settings.shard)).await?;
        match self.observer.upgrade() {
            Some(observer) => observer.greeted(&self.address, &established.link.greeting)?,
            None => return Err(HandshakeError::Transport("the client is gone".into())),
        }
        Ok(established)
    }

    async fn serve(&self, established: Established) {
        let Established { link, read_half, write_half, unread } = established;
        let guard = CloseOnDrop(link);
        self.status.send_replace(Status::Up(guard.0.clone()));
        let end = pump::run(&guard.0, read_half, write_half, unread, self.settings.stall).await;
        guard.0.close(end);
    }
}

/// Whatever ends the task of a connection, its callers are told.
struct CloseOnDrop(Arc<Link>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close("this client closed it".to_owned());
    }
}

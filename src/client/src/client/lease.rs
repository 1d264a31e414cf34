//! Filling missing keys: leases, and the one call that makes use of them.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use larder_protocol::{Command, Status, Write};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use crate::call::{Target, unexpected};
use crate::client::Client;
use crate::entry::{Entry, SetOptions};
use crate::error::Error;
use crate::network::Payload;

/// What [`Client::lease_get`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// The key is there, or its time is over and somebody else fills it: see [`Entry::is_stale`].
    Hit(Entry),
    /// The key is not there, and the caller alone may fill it.
    Leased(Lease),
    /// The key is not there, and the origin of its group, which was being asked, does not have it.
    Miss,
}

/// The right to fill a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What proves it: a version above all that the key had.
    pub token: u64,
    /// When it ends at the latest.
    until: Instant,
}

/// What became of [`Client::lease_set`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillOutcome {
    /// It was stored.
    Stored {
        /// With this version.
        version: u64,
    },
    /// The lease has ended, or the key was written, deleted or invalidated since, or has another owner. Nothing was
    /// changed.
    Lost,
    /// The condition of the options was not met.
    ConditionNotMet,
}

/// How [`Client::get_or_load`] fills a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// How the value is stored.
    pub set: SetOptions,
    /// How long others wait for this caller at most, before one of them loads too; zero: 5 s.
    pub lease: Duration,
}

/// Why there is no value.
#[derive(Debug)]
pub enum LoadError<E> {
    /// What the caller's own loading said. It is not kept, and told to nobody else.
    Load(E),
    /// The key could not be asked for.
    Cache(Error),
    /// The origin of the key's group does not have it.
    Absent,
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Load(error) => write!(f, "the value cannot be loaded: {error}"),
            LoadError::Cache(error) => write!(f, "the cache cannot be asked: {error}"),
            LoadError::Absent => f.write_str("the origin of the group does not have the key"),
        }
    }
}

impl<E: StdError + 'static> StdError for LoadError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            LoadError::Load(error) => Some(error),
            LoadError::Cache(error) => Some(error),
            LoadError::Absent => None,
        }
    }
}

impl Lease {
    fn is_good(&self) -> bool {
        Instant::now() < self.until
    }
}

impl Client {
    /// The entry of a key; or, if it is not there and nobody else is filling it, the right to. If somebody is, this waits:
    /// until the key is filled, or that lease ends and one of those who wait has the next, or this call's deadline. The
    /// lease lasts for `time`, at most a minute; zero: 5 s.
    ///
    /// ```
    /// # mod fake { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake/mod.rs")); }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder_client::Error> {
    /// # let server = fake::Server::start().await;
    /// # let client = larder_client::Client::connect(server.address()).await?;
    /// # async fn work_out() -> String { "42".into() }
    /// use larder_client::{LeaseOutcome, SetOptions};
    ///
    /// let answer = match client.lease_get("answer", std::time::Duration::ZERO).await? {
    ///     LeaseOutcome::Hit(entry) => entry.value,
    ///     LeaseOutcome::Leased(lease) => {
    ///         let value = work_out().await;
    ///         client.lease_set("answer", &value, &lease, SetOptions::new()).await?;
    ///         value.into()
    ///     }
    ///     LeaseOutcome::Miss => "no answer".into(),
    /// };
    /// assert_eq!(answer, "42");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Any but [`Error::OutcomeUnknown`].
    pub async fn lease_get(&self, key: impl AsRef<[u8]>, time: Duration) -> Result<LeaseOutcome, Error> {
        let (key, asked) = (key.as_ref(), Instant::now());
        let lease_ms = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let answer = self.call(Target::Key(key), Command::LeaseGet { key, lease_ms }).await?;
        match (answer.status, answer.payload) {
            (Status::Ok, Payload::Entry(entry)) => Ok(LeaseOutcome::Hit(entry)),
            (Status::Ok, Payload::Leased { token, lease_ms }) => {
                // Counted from before it was given, so that it does not seem good when it is not.
                let until = asked + Duration::from_millis(u64::from(lease_ms));
                Ok(LeaseOutcome::Leased(Lease { token, until }))
            }
            (Status::NotFound, _) => Ok(LeaseOutcome::Miss),
            (status, payload) => Err(unexpected("lease_get", status, &payload)),
        }
    }

    /// Fills a key that was leased. Tried again only if the server did not execute it.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::OutcomeUnknown`] if the answer was lost or late.
    pub async fn lease_set(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        lease: &Lease,
        options: SetOptions,
    ) -> Result<FillOutcome, Error> {
        let (key, value) = (key.as_ref(), value.as_ref());
        let SetOptions { flags, condition, expiry } = options;
        let write = Write { key, value, flags, condition, expiry };
        let answer = self.call(Target::Key(key), Command::LeaseSet { write, token: lease.token }).await?;
        match (answer.status, &answer.payload) {
            (Status::Ok, Payload::Stored(version)) => Ok(FillOutcome::Stored { version: *version }),
            (Status::LeaseLost, _) => Ok(FillOutcome::Lost),
            (Status::Exists | Status::NotFound | Status::VersionMismatch, _) => Ok(FillOutcome::ConditionNotMet),
            _ => Err(unexpected("lease_set", answer.status, &answer.payload)),
        }
    }

    /// Gives a lease back without filling the key, so that those who wait need not wait for its end.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the answer was lost or late.
    pub async fn lease_end(&self, key: impl AsRef<[u8]>, lease: Lease) -> Result<(), Error> {
        // The token is a version that no entry has, and to delete what has it is to say that nothing will.
        self.delete_version(key, lease.token).await.map(drop)
    }

    /// The value of a key; if it is not there, what `load` says, which is then stored. Of all callers of all programs one
    /// loads at a time, and the others wait for it: those of this client without asking the server again.
    ///
    /// It may be dropped at any time: then the next of this client's callers who wait loads, under the same lease; if there
    /// is none, others load once the lease has ended. What `load` gives is returned also where it is not kept, because the
    /// key was written meanwhile or the cache cannot be reached any more.
    ///
    /// ```
    /// # mod fake { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake/mod.rs")); }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = fake::Server::start().await;
    /// # let client = larder_client::Client::connect(server.address()).await?;
    /// # async fn from_database(id: u32) -> Result<String, std::io::Error> { Ok(format!("user {id}")) }
    /// use larder_client::LoadOptions;
    ///
    /// let user = client.get_or_load("user:17", LoadOptions::default(), || from_database(17)).await?;
    /// assert_eq!(user, "user 17");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What `load` says; or the key could not be asked for within this client's deadline: see [`LoadError`].
    pub async fn get_or_load<V, E, F>(
        &self,
        key: impl AsRef<[u8]>,
        options: LoadOptions,
        load: impl FnOnce() -> F,
    ) -> Result<Bytes, LoadError<E>>
    where
        V: Into<Bytes>,
        F: Future<Output = Result<V, E>>,
    {
        let key = key.as_ref();
        let place = self.cluster.loads.join(self.group_name(), key);
        let mut turn = place.flight.lock().await;
        if let Some(value) = &turn.value {
            return Ok(value.clone());
        }
        let lease = match turn.lease.filter(Lease::is_good) {
            Some(lease) => lease,
            None => match self.lease_get(key, options.lease).await.map_err(LoadError::Cache)? {
                LeaseOutcome::Hit(entry) => return Ok(turn.value.insert(entry.value).clone()),
                LeaseOutcome::Miss => return Err(LoadError::Absent),
                LeaseOutcome::Leased(lease) => *turn.lease.insert(lease),
            },
        };
        match load().await {
            Ok(value) => {
                let value = turn.value.insert(value.into()).clone();
                turn.lease = None;
                // The value is there, whatever becomes of keeping it.
                let _ = self.lease_set(key, &value, &lease, options.set).await;
                Ok(value)
            }
            Err(error) => {
                turn.lease = None;
                // It runs out by itself otherwise.
                let _ = self.lease_end(key, lease).await;
                Err(LoadError::Load(error))
            }
        }
    }
}

/// Group and key.
type Name = (Arc<str>, Box<[u8]>);

/// The keys that callers of one client are loading.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    flights: Mutex<HashMap<Name, Weak<Flight>>>,
}

/// One of them: whose turn it is has it locked.
type Flight = AsyncMutex<Turn>;

/// What those who wait are left.
#[derive(Debug, Default)]
struct Turn {
    value: Option<Bytes>,
    lease: Option<Lease>,
}

/// A caller who waits, or whose turn it is.
#[derive(Debug)]
struct Place<'l> {
    loads: &'l Loads,
    name: Name,
    flight: Arc<Flight>,
}

impl Loads {
    fn join(&self, group: &str, key: &[u8]) -> Place<'_> {
        let name = (group.into(), key.into());
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has its value is for those who waited for it.
        let under_way = flights.get(&name).and_then(Weak::upgrade).filter(|flight| {
            let turn = flight.try_lock();
            turn.map_or(true, |turn| turn.value.is_none())
        });
        let flight = under_way.unwrap_or_else(|| {
            let flight = Arc::default();
            flights.insert(name.clone(), Arc::downgrade(&flight));
            flight
        });
        drop(flights);
        Place { loads: self, name, flight }
    }
}

impl Drop for Place<'_> {
    /// Whoever goes last puts out the light.
    fn drop(&mut self) {
        let mut flights = self.loads.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ours = |known: &Weak<Flight>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(&self.flight));
        if Arc::strong_count(&self.flight) == 1 && flights.get(&self.name).is_some_and(is_ours) {
            flights.remove(&self.name);
        }
    }
}

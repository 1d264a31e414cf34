//! Operations on one key.

use larder_protocol::{Command, Expiry, Status, TouchCondition, Write};

use crate::call::{Target, unexpected};
use crate::client::Client;
use crate::entry::{DeleteOutcome, Entry, IncrementOptions, Number, SetOptions, SetOutcome};
use crate::error::Error;
use crate::network::{Answer, Payload};

impl Client {
    /// The entry of a key, or `None`. Tried again after a lost or late answer.
    ///
    /// # Errors
    /// Any but [`Error::OutcomeUnknown`].
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Entry>, Error> {
        let key = key.as_ref();
        entry("get", self.call(Target::Key(key), Command::Get { key }).await?)
    }

    /// Stores an entry with the defaults of its group, and returns its version. Tried again after a lost or late
    /// answer.
    ///
    /// # Errors
    /// [`Error::TooLarge`], and any but [`Error::OutcomeUnknown`].
    pub async fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<u64, Error> {
        let (key, value) = (key.as_ref(), value.as_ref());
        let SetOptions { flags, condition, expiry } = SetOptions::default();
        let answer = self.call(Target::Key(key), Command::Set(Write { key, value, flags, condition, expiry })).await?;
        match stored("set", answer)? {
            SetOutcome::Stored { version } => Ok(version),
            outcome => Err(Error::UnexpectedAnswer { operation: "set", answer: format!("{outcome:?} though always") }),
        }
    }

    /// Stores an entry as `options` say. With a condition it is tried again only if the server did not execute it.
    ///
    /// ```
    /// # mod fake { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake/mod.rs")); }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder_client::Error> {
    /// # let server = fake::Server::start().await;
    /// # let address = server.address();
    /// # use larder_client::Client;
    /// # let client = Client::connect(address).await?;
    /// use larder_client::{SetOptions, SetOutcome};
    ///
    /// client.set("visits", "1").await?;
    /// let entry = client.get("visits").await?.expect("it was just set");
    /// // Only if nobody else was here in between.
    /// let ours = SetOptions::new().if_version(entry.version);
    /// assert!(matches!(client.set_with("visits", "2", ours).await?, SetOutcome::Stored { .. }));
    /// assert_eq!(client.set_with("visits", "3", ours).await?, SetOutcome::VersionMismatch);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::TooLarge`]; with a condition [`Error::OutcomeUnknown`] if the answer was lost or late. An unmet
    /// condition is no error but an outcome.
    pub async fn set_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: SetOptions,
    ) -> Result<SetOutcome, Error> {
        let (key, value) = (key.as_ref(), value.as_ref());
        let SetOptions { flags, condition, expiry } = options;
        let write = Write { key, value, flags, condition, expiry };
        stored("set", self.call(Target::Key(key), Command::Set(write)).await?)
    }

    /// Removes an entry, and says whether it was there. After a lost or late answer it is tried again, and may then
    /// say `false` because the first attempt did it.
    ///
    /// # Errors
    /// Any but [`Error::OutcomeUnknown`].
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        let key = key.as_ref();
        let answer = self.call(Target::Key(key), Command::Delete { key, version: 0 }).await?;
        match answer.status {
            Status::Ok => Ok(true),
            Status::NotFound => Ok(false),
            _ => Err(unexpected("delete", answer.status, &answer.payload)),
        }
    }

    /// Removes an entry if it has this version (not 0). Tried again only if the server did not execute it.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the answer was lost or late; [`Error::Setting`] if the version is 0, which is none.
    pub async fn delete_version(&self, key: impl AsRef<[u8]>, version: u64) -> Result<DeleteOutcome, Error> {
        if version == 0 {
            let remedy = "no entry has version 0; use the one that get returned, or `delete`".to_owned();
            return Err(Error::Setting { setting: "version", value: "0".to_owned(), remedy });
        }
        let key = key.as_ref();
        let answer = self.call(Target::Key(key), Command::Delete { key, version }).await?;
        match answer.status {
            Status::Ok => Ok(DeleteOutcome::Deleted),
            Status::NotFound => Ok(DeleteOutcome::NotFound),
            Status::VersionMismatch => Ok(DeleteOutcome::VersionMismatch),
            _ => Err(unexpected("delete", answer.status, &answer.payload)),
        }
    }

    /// Sets the expiry of an entry, and returns its version, which stays; `None`: a miss. Tried again after a lost or
    /// late answer.
    ///
    /// # Errors
    /// Any but [`Error::OutcomeUnknown`].
    pub async fn touch(&self, key: impl AsRef<[u8]>, expiry: Expiry) -> Result<Option<u64>, Error> {
        let key = key.as_ref();
        version(
            "touch",
            self.call(Target::Key(key), Command::Touch { key, expiry, only: TouchCondition::Always }).await?,
        )
    }

    /// Sets the expiry of an entry and returns it; `None`: a miss. Tried again after a lost or late answer.
    ///
    /// # Errors
    /// Any but [`Error::OutcomeUnknown`].
    pub async fn get_and_touch(&self, key: impl AsRef<[u8]>, expiry: Expiry) -> Result<Option<Entry>, Error> {
        let key = key.as_ref();
        entry("get_and_touch", self.call(Target::Key(key), Command::GetAndTouch { key, expiry }).await?)
    }

    /// Adds to an entry whose value is a decimal integer; `None`: a miss. Tried again only if the server did not
    /// execute it.
    ///
    /// # Errors
    /// [`Error::NotANumber`], [`Error::OutOfRange`]; [`Error::OutcomeUnknown`] if the answer was lost or late.
    pub async fn increment(&self, key: impl AsRef<[u8]>, delta: i64) -> Result<Option<Number>, Error> {
        self.increment_with(key, delta, IncrementOptions::default()).await
    }

    /// [`Client::increment`], which can create the entry.
    ///
    /// # Errors
    /// As [`Client::increment`].
    pub async fn increment_with(
        &self,
        key: impl AsRef<[u8]>,
        delta: i64,
        options: IncrementOptions,
    ) -> Result<Option<Number>, Error> {
        let key = key.as_ref();
        let IncrementOptions { initial, expiry } = options;
        let answer = self.call(Target::Key(key), Command::Increment { key, delta, initial, expiry }).await?;
        match (answer.status, &answer.payload) {
            (Status::Ok, Payload::Number { value, version }) => Ok(Some(Number { value: *value, version: *version })),
            (Status::NotFound, _) => Ok(None),
            _ => Err(unexpected("increment", answer.status, &answer.payload)),
        }
    }

    /// Adds bytes behind a value, and returns the new version; `None`: a miss. Tried again only if the server did not
    /// execute it.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::OutcomeUnknown`] if the answer was lost or late.
    pub async fn append(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Option<u64>, Error> {
        let (key, value) = (key.as_ref(), value.as_ref());
        version("append", self.call(Target::Key(key), Command::Append { key, value }).await?)
    }

    /// Adds bytes in front of a value, and returns the new version; `None`: a miss. Tried again only if the server did
    /// not execute it.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::OutcomeUnknown`] if the answer was lost or late.
    pub async fn prepend(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Option<u64>, Error> {
        let (key, value) = (key.as_ref(), value.as_ref());
        version("prepend", self.call(Target::Key(key), Command::Prepend { key, value }).await?)
    }
}

fn entry(operation: &'static str, answer: Answer) -> Result<Option<Entry>, Error> {
    match (answer.status, answer.payload) {
        (Status::Ok, Payload::Entry(entry)) => Ok(Some(entry)),
        (Status::NotFound, _) => Ok(None),
        (status, payload) => Err(unexpected(operation, status, &payload)),
    }
}

fn version(operation: &'static str, answer: Answer) -> Result<Option<u64>, Error> {
    match (answer.status, &answer.payload) {
        (Status::Ok, Payload::Stored(version)) => Ok(Some(*version)),
        (Status::NotFound, _) => Ok(None),
        _ => Err(unexpected(operation, answer.status, &answer.payload)),
    }
}

fn stored(operation: &'static str, answer: Answer) -> Result<SetOutcome, Error> {
    match (answer.status, &answer.payload) {
        (Status::Ok, Payload::Stored(version)) => Ok(SetOutcome::Stored { version: *version }),
        (Status::Exists, _) => Ok(SetOutcome::Exists),
        (Status::NotFound, _) => Ok(SetOutcome::NotFound),
        (Status::VersionMismatch, _) => Ok(SetOutcome::VersionMismatch),
        _ => Err(unexpected(operation, answer.status, &answer.payload)),
    }
}

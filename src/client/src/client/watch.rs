//! What leaves a group, as it leaves.

use std::sync::Arc;

use bytes::Bytes;
use larder_protocol::native::generated;
use larder_protocol::{Command, RemovalReason, Request, Status};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::call::unexpected;
use crate::client::Client;
use crate::cluster::{ShardAddress, View};
use crate::error::Error;
use crate::join::join;
use crate::limits::{WATCH_BATCHES_MAX, WATCH_CONNECTS_AT_ONCE, WATCH_PAUSE};
use crate::network::{Answer, Payload, Subscription, establish};

/// The name of the operation in errors.
const WATCH: &str = "watch";
/// The id of the one request of a connection behind its Hello.
const WATCH_ID: u64 = 2;

/// An entry that left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Its key.
    pub key: Bytes,
    /// Why it left.
    pub reason: RemovalReason,
    /// Bytes of key and value.
    pub bytes: u64,
}

/// Entries that left one shard, in the order in which they left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removals {
    /// The id of the node.
    pub node: Arc<str>,
    /// The shard of the node.
    pub shard: u16,
    /// The entries.
    pub removed: Vec<Removed>,
    /// How many left this shard behind these and are told nowhere, because the watch was not read from in time.
    pub missed: u64,
}

/// A watch of all shards, with a connection of its own to each. Dropped, it ends.
#[derive(Debug)]
pub struct Watch {
    batches: mpsc::Receiver<Result<Removals, Error>>,
    /// One for each connection; they end with the watch.
    readers: JoinSet<()>,
    /// Why it has ended.
    ended: Option<Error>,
}

impl Client {
    /// Begins to watch what leaves a group, on every shard of every node of the ring as it is now. When this returns,
    /// every shard has begun: each entry that leaves from then on is told by [`Watch::next`] exactly once, or is counted
    /// in [`Removals::missed`]. An entry whose time is over leaves when the server notices, which may be later.
    ///
    /// A watch slows no server: for a reader that is too slow, a bounded number of entries waits, and the rest is counted.
    ///
    /// ```
    /// # mod fake { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake/mod.rs")); }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder_client::Error> {
    /// # let server = fake::Server::start().await;
    /// # let address = server.address();
    /// # use larder_client::{Client, RemovalReason};
    /// # let client = Client::connect(address).await?;
    /// let mut watch = client.watch("default").await?;
    /// // Meanwhile, "user:17" has to make room.
    /// let removals = watch.next().await?;
    /// assert_eq!((&removals.removed[0].key[..], removals.removed[0].reason), (&b"user:17"[..], RemovalReason::Evicted));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`]; [`Error::Overloaded`] if a shard has as many watches as it may; [`Error::Unavailable`] if
    /// one takes no connection of its own in time; those of a connect. It is not tried again.
    pub async fn watch(&self, group: &str) -> Result<Watch, Error> {
        let client = self.group(group)?;
        let view = client.cluster.view();
        let until = Instant::now() + client.deadline;
        let begun = view.shards().map(|place| {
            let (client, view) = (&client, &view);
            async move { client.watch_shard(view, &place, until).await.map(|begun| (place, begun)) }
        });
        let begun = join(begun, WATCH_CONNECTS_AT_ONCE).await.into_iter().collect::<Result<Vec<_>, Error>>()?;
        let (sender, batches) = mpsc::channel(WATCH_BATCHES_MAX);
        let mut readers = JoinSet::new();
        for (place, subscription) in begun {
            readers.spawn(read(place, subscription, sender.clone()));
        }
        Ok(Watch { batches, readers, ended: None })
    }

    /// Begins the watch of one shard and waits until it has begun.
    async fn watch_shard(&self, view: &View, place: &ShardAddress, until: Instant) -> Result<Subscription, Error> {
        let begin = async {
            let established = loop {
                let settings = &self.cluster.settings.connect;
                let established = establish(&place.address, settings, Some(place.shard)).await;
                let established = established.map_err(|error| error.at(&place.address))?;
                let greeting = &established.link.greeting;
                if greeting.shard == place.shard && *greeting.node == *place.node {
                    break established;
                }
                if Instant::now() + WATCH_PAUSE > until {
                    return Err(place.takes_no_connection());
                }
                sleep(WATCH_PAUSE).await;
            };
            let (epoch, group) = (view.topology.epoch(), self.wire_group(view));
            let request =
                Request { id: WATCH_ID, epoch, group, timeout_ms: 0, forwarded: false, command: Command::Watch };
            let mut subscription =
                Subscription::begin(established, &request).await.map_err(|reason| place.lost(reason))?;
            let Answer { status, payload, message, retry_after_ms, .. } =
                subscription.next().await.map_err(|reason| place.lost(reason))?;
            match (status, &payload) {
                (Status::Ok, Payload::Removals(_)) => Ok(subscription),
                (Status::Ok, payload) => Err(unexpected(WATCH, status, payload)),
                _ => Err(self.refusal(view, status, WATCH, message, retry_after_ms).error),
            }
        };
        let deadline_ms = u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX);
        let late = || Error::TimedOut { operation: WATCH, address: place.address.clone(), timeout_ms: deadline_ms };
        timeout_at(until, begin).await.unwrap_or_else(|_| Err(late()))
    }
}

impl Watch {
    /// What left one of the shards next. Cancel safe: nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// [`Error::ConnectionLost`] if a shard is watched no more, and then the whole watch has ended: begin another one, and
    /// what left in between is told nowhere. Asked again, it says the same.
    pub async fn next(&mut self) -> Result<Removals, Error> {
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        let next = self.batches.recv().await.unwrap_or_else(|| {
            let (address, reason) = ("every node".to_owned(), "the runtime that read has ended".to_owned());
            Err(Error::ConnectionLost { operation: WATCH, address, reason })
        });
        if let Err(error) = &next {
            self.ended = Some(error.clone());
            self.readers.abort_all();
        }
        next
    }
}

impl ShardAddress {
    fn lost(&self, reason: String) -> Error {
        Error::ConnectionLost { operation: WATCH, address: self.address.clone(), reason }
    }

    fn takes_no_connection(&self) -> Error {
        let message = format!("shard {} of node {:?} takes no connection of its own", self.shard, self.node);
        let retry_after_ms = WATCH_PAUSE.as_millis() as u32;
        Error::Unavailable { status: Status::Unavailable, message, retry_after_ms }
    }

    /// What an answer tells.
    fn removals(&self, answer: Answer) -> Result<Removals, Error> {
        match answer.payload {
            Payload::Removals(removals) if answer.status == Status::Ok => {
                let generated::Removals { removals, missed } = *removals;
                let removed = removals.into_iter().map(|removed| Removed {
                    key: removed.key.into(),
                    reason: RemovalReason::from_number(removed.reason),
                    bytes: removed.bytes,
                });
                Ok(Removals { node: self.node.clone(), shard: self.shard, removed: removed.collect(), missed })
            }
            payload => Err(unexpected(WATCH, answer.status, &payload)),
        }
    }
}

/// Passes on what one shard tells, until its connection ends or nobody listens. While nobody takes it, nothing is read.
async fn read(place: ShardAddress, mut subscription: Subscription, batches: mpsc::Sender<Result<Removals, Error>>) {
    loop {
        let batch = match subscription.next().await {
            Ok(answer) => place.removals(answer),
            Err(reason) => Err(place.lost(reason)),
        };
        let is_last = batch.is_err();
        if batches.send(batch).await.is_err() || is_last {
            return;
        }
    }
}

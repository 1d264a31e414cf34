//! Between shards that want keys loaded and the origins of their groups, which the sidecar asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use crossbeam::utils::CachePadded;
use larder_engine::{FlightId, Load, Loaded};
use larder_origin::{Answer, Origin};
use larder_protocol::{Failure, Status};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::dialer::give;
use crate::keeper::Origins;
use crate::limits::{LOADS_MAX, LOADS_RETRY_AFTER_MS};
use crate::shard::{Control, ControlLane};

/// A key that a shard wants loaded.
#[derive(Debug)]
pub struct Wanted {
    shard: u16,
    load: Load,
    origin: Arc<Origin>,
}

/// How a shard has keys loaded.
#[derive(Clone, Debug)]
pub struct Loading {
    shard: u16,
    origins: Origins,
    sender: mpsc::Sender<Wanted>,
    /// Loads of all shards that have not ended.
    count: Arc<CachePadded<AtomicUsize>>,
}

/// What has become of a load.
#[derive(Debug)]
pub enum Landed {
    /// The origin has it.
    Value {
        /// What it has.
        value: Bytes,
        /// See [`Loaded::Value`].
        ttl_ms: Option<u64>,
        /// See [`Loaded::Value`].
        is_kept: bool,
        /// See [`Loaded::Value`].
        etag: Option<Bytes>,
    },
    /// See [`Loaded::Unchanged`].
    Unchanged {
        /// See [`Loaded::Unchanged`].
        ttl_ms: Option<u64>,
    },
    /// The origin does not have it.
    Absent,
    /// It is not known.
    Failed(Failure),
}

/// Asks origins. The sidecar's side.
#[derive(Debug)]
pub struct Loader {
    wanted: mpsc::Receiver<Wanted>,
    shards: Vec<Arc<ControlLane>>,
    count: Arc<CachePadded<AtomicUsize>>,
    clock: Clock,
}

impl Loading {
    /// Has keys loaded from these origins from now on.
    pub fn set_origins(&mut self, origins: Origins) {
        self.origins = origins;
    }

    /// Has a key loaded.
    ///
    /// # Errors
    /// It will not be: the flight, and what has become of it. Its origin takes no more at this time, which is found out here,
    /// so that refusing costs no way to the sidecar; or [`LOADS_MAX`] loads are under way.
    pub fn want(&self, load: Load) -> Result<(), (FlightId, Landed)> {
        let flight = load.flight;
        let Some(origin) = self.origins.get(&load.group) else {
            let failure = Failure::new(Status::OriginFailed, "the group has no origin any more");
            return Err((flight, Landed::Failed(failure)));
        };
        if let Some(refusal) = origin.refusal() {
            return Err((flight, refusal.into()));
        }
        let wanted = Wanted { shard: self.shard, load, origin: Arc::clone(origin) };
        if self.count.fetch_add(1, Ordering::Relaxed) < LOADS_MAX && self.sender.try_send(wanted).is_ok() {
            return Ok(());
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        let message = format!("{LOADS_MAX} keys are being loaded by this node, as many as may; try again");
        let failure =
            Failure { status: Status::OriginBusy, message: message.into(), retry_after_ms: LOADS_RETRY_AFTER_MS };
        Err((flight, Landed::Failed(failure)))
    }
}

impl Landed {
    /// As the engine is told.
    pub fn as_loaded(&self) -> Loaded<'_> {
        match self {
            &Landed::Value { ref value, ttl_ms, is_kept, ref etag } => {
                Loaded::Value { value, ttl_ms, is_kept, etag: etag.as_deref() }
            }
            &Landed::Unchanged { ttl_ms } => Loaded::Unchanged { ttl_ms },
            Landed::Absent => Loaded::Absent,
            Landed::Failed(failure) => Loaded::Failed(failure),
        }
    }
}

impl From<Answer> for Landed {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Value { value, ttl_ms, is_kept, etag } => Landed::Value { value, ttl_ms, is_kept, etag },
            Answer::Unchanged { ttl_ms } => Landed::Unchanged { ttl_ms },
            Answer::Absent => Landed::Absent,
            Answer::Busy { message, retry_after_ms } => {
                Landed::Failed(Failure { status: Status::OriginBusy, message: message.into(), retry_after_ms })
            }
            Answer::Failed { message } => {
                Landed::Failed(Failure { status: Status::OriginFailed, message: message.into(), retry_after_ms: 0 })
            }
        }
    }
}

impl Loader {
    /// A loader for these shards, and how each of them has keys loaded, from these origins at first.
    pub fn new(origins: &Origins, shards: Vec<Arc<ControlLane>>, clock: Clock) -> (Self, Vec<Loading>) {
        let (sender, wanted) = mpsc::channel(LOADS_MAX);
        let count = Arc::<CachePadded<AtomicUsize>>::default();
        let loading =
            |shard| Loading { shard, origins: Arc::clone(origins), sender: sender.clone(), count: Arc::clone(&count) };
        let all = (0..shards.len() as u16).map(loading).collect();
        (Self { wanted, shards, count, clock }, all)
    }

    /// Loads until nobody can want anything any more. Each load is a task of its own.
    pub async fn run(mut self) {
        while let Some(Wanted { shard, load, origin }) = self.wanted.recv().await {
            let (lane, count) = (Arc::clone(&self.shards[usize::from(shard)]), Arc::clone(&self.count));
            let now_ms = self.clock.now_ms();
            tokio::spawn(async move {
                let landed = origin.load(&load.key, load.etag.as_deref(), now_ms).await.into();
                give(&lane, Control::Landed { flight: load.flight, landed }).await;
                count.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
}

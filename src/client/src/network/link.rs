//! One live connection, as its callers see it.
//!
//! A caller takes a place in flight and room in the write queue, both bounded and handed out in the order of asking,
//! leaves its frame in the outbox, and waits for its answer by id. The pump (one task per connection) does the rest.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};

use larder_protocol::{Request, native};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::limits::SHARED_FRAME_BYTES_MAX;
use crate::network::answer::Answer;
use crate::network::calls::{CallId, Calls, Lost};
use crate::network::handshake::Greeting;
use crate::network::outbox::Outbox;

/// A connection that has said Hello.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) address: String,
    pub(crate) greeting: Greeting,
    pub(super) state: Mutex<LinkState>,
    /// Signalled when the outbox is no longer empty.
    pub(super) outbox_filled: Notify,
    /// Places for requests without an answer. Closed with the connection.
    pub(super) in_flight: Semaphore,
    /// Bytes of room in the outbox. Closed with the connection.
    pub(super) write_queue: Semaphore,
    write_queue_bytes: usize,
    /// Reads so far, for the watch over silent peers.
    pub(super) reads: AtomicU64,
    end: OnceLock<String>,
}

/// What callers and pump share under the lock; nobody waits while holding it.
#[derive(Debug, Default)]
pub(super) struct LinkState {
    pub(super) calls: Calls,
    pub(super) outbox: Outbox,
    closed: bool,
}

/// What one attempt on a connection can end with, other than an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Attempt {
    /// Nothing was sent: no room in time.
    #[error("its connection has no room for another request")]
    NoRoom,
    /// Nothing was sent: the connection had ended.
    #[error("the connection ended before the request was sent: {reason}")]
    NotSent {
        /// How it ended.
        reason: String,
    },
    /// Sent, or partly sent, and the connection ended before the answer.
    #[error("the connection ended before the answer: {reason}")]
    Lost {
        /// How it ended.
        reason: String,
    },
    /// Sent, and not answered in time.
    #[error("no answer in time")]
    TimedOut,
}

impl Link {
    pub(super) fn new(address: String, greeting: Greeting, in_flight_max: usize, write_queue_bytes: usize) -> Self {
        let in_flight = in_flight_max.min(greeting.limits.pipeline_max);
        Self {
            address,
            greeting,
            state: Mutex::default(),
            outbox_filled: Notify::new(),
            in_flight: Semaphore::new(in_flight),
            write_queue: Semaphore::new(write_queue_bytes),
            write_queue_bytes,
            reads: AtomicU64::new(0),
            end: OnceLock::new(),
        }
    }

    /// Sends `request` under an id of its own and waits for the answer, until `until` at most.
    ///
    /// Cancel safe: dropped before the frame is in the outbox, nothing is sent; dropped later, the frame goes out and
    /// its answer is discarded when it comes.
    pub(crate) async fn exchange(&self, request: &Request<'_>, until: Instant) -> Result<Answer, Attempt> {
        let mut sent = false;
        match timeout_at(until, self.send_and_wait(request, until, &mut sent)).await {
            Ok(result) => result,
            Err(_) if sent => Err(Attempt::TimedOut),
            Err(_) => Err(Attempt::NoRoom),
        }
    }

    async fn send_and_wait(&self, request: &Request<'_>, until: Instant, sent: &mut bool) -> Result<Answer, Attempt> {
        let frame_bytes = native::request_bytes(request);
        // A frame above the whole queue goes when it has the queue for itself.
        let charge = frame_bytes.min(self.write_queue_bytes);
        let place = self.in_flight.acquire().await.map_err(|_| self.not_sent())?;
        let room = self.write_queue.acquire_many(charge as u32).await.map_err(|_| self.not_sent())?;
        let waiting = Request { timeout_ms: ms_until(until), ..*request };
        let call = self.enqueue(waiting, frame_bytes, charge)?;
        *sent = true;
        // From here the answer gives the place back, and the write gives the room back.
        place.forget();
        room.forget();
        Wait { link: self, call: Some(call) }.await.map_err(|lost| {
            let reason = self.end_reason();
            if lost.sent { Attempt::Lost { reason } } else { Attempt::NotSent { reason } }
        })
    }

    fn enqueue(&self, mut request: Request<'_>, frame_bytes: usize, charge: usize) -> Result<CallId, Attempt> {
        let mut state = self.open_state()?;
        let call = state.calls.begin().ok_or(Attempt::NoRoom)?;
        request.id = call.wire();
        let was_empty = if frame_bytes <= SHARED_FRAME_BYTES_MAX {
            state.queue(call, |outbox| outbox.push(charge, |out| native::encode_request(out, &request)))
        } else {
            drop(state);
            let mut frame = Vec::new();
            native::encode_request(&mut frame, &request);
            state = self.lock();
            if state.closed {
                // The call was told so, like all others.
                return Ok(call);
            }
            state.queue(call, |outbox| outbox.push_frame(charge, frame))
        };
        drop(state);
        if was_empty {
            self.outbox_filled.notify_one();
        }
        Ok(call)
    }

    /// Ends the connection for all who wait for it. The first reason stays.
    pub(super) fn close(&self, reason: String) {
        let _ = self.end.set(reason);
        let mut wakers = Vec::new();
        let mut state = self.lock();
        state.closed = true;
        let taken = state.outbox.taken();
        state.calls.lose_all(taken, &mut wakers);
        drop(state);
        self.in_flight.close();
        self.write_queue.close();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.end.get().is_some()
    }

    /// How it ended.
    pub(crate) fn end_reason(&self) -> String {
        self.end.get().cloned().unwrap_or_else(|| "it was closed".to_owned())
    }

    fn open_state(&self) -> Result<MutexGuard<'_, LinkState>, Attempt> {
        let state = self.lock();
        if state.closed { Err(self.not_sent()) } else { Ok(state) }
    }

    fn not_sent(&self) -> Attempt {
        Attempt::NotSent { reason: self.end_reason() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

impl LinkState {
    /// Puts the frame of `call` into the outbox, and says whether it is the first one there.
    fn queue(&mut self, call: CallId, push: impl FnOnce(&mut Outbox)) -> bool {
        let was_empty = self.outbox.is_empty();
        self.calls.queued(call, self.outbox.position());
        push(&mut self.outbox);
        was_empty
    }
}

/// Waits for the answer of one call, and gives the call up when it is dropped before.
struct Wait<'l> {
    link: &'l Link,
    /// `None` once the answer was taken.
    call: Option<CallId>,
}

impl Future for Wait<'_> {
    type Output = Result<Answer, Lost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let call = self.call.expect("a future is not polled after it was ready");
        let poll = self.link.lock().calls.poll(call, context.waker());
        if poll.is_ready() {
            self.call = None;
        }
        poll
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.link.lock().calls.abandon(call);
        }
    }
}

/// What is left until `until` in whole ms, rounded up, at least 1: what the server is told.
fn ms_until(until: Instant) -> u32 {
    let left = until.saturating_duration_since(Instant::now());
    u32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use larder_protocol::{Command, Condition, Expiry, Write};
    use larder_ring::{Node, Topology};

    use super::*;
    use crate::join::join;
    use crate::server::Limits;

    /// A connection whose pump stands still: what callers leave stays.
    fn stalled(in_flight_max: usize, write_queue_bytes: usize) -> Link {
        let node = Node { id: "n".into(), address: "n:1".into(), shards: 1, points: 1024, incarnation: 1 };
        let limits = Limits {
            key_bytes_max: 1 << 10,
            value_bytes_max: 1 << 20,
            frame_bytes_max: 2 << 20,
            keys_max: 10,
            pipeline_max: 1_000,
        };
        let topology = Arc::new(Topology::single(node, 0));
        let greeting =
            Greeting { server: "s".into(), node: "n".into(), shard: 0, limits, groups: Vec::new(), topology };
        Link::new("n:1".into(), greeting, in_flight_max, write_queue_bytes)
    }

    fn set<'a>(value: &'a [u8]) -> Request<'a> {
        let write = Write { key: b"k", value, flags: 0, condition: Condition::Always, expiry: Expiry::Default };
        Request { id: 0, epoch: 1, group: 0, timeout_ms: 0, forwarded: false, command: Command::Set(write) }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(30)
    }

    /// Bytes of the frames that wait.
    fn queued_bytes(link: &Link) -> u64 {
        let outbox = &link.lock().outbox;
        outbox.position() - outbox.taken()
    }

    #[tokio::test]
    async fn what_waits_to_be_written_is_bounded_in_bytes() {
        let value = vec![0; 100 << 10];
        let link = stalled(1_000, 1 << 20);
        let ends = join((0..200).map(|_| async { link.exchange(&set(&value), soon()).await.unwrap_err() }), 200).await;
        let sent = ends.iter().filter(|end| **end == Attempt::TimedOut).count();
        assert_eq!(sent, 10, "ten frames of 100 KiB fit into 1 MiB");
        assert!(ends.iter().all(|end| matches!(end, Attempt::TimedOut | Attempt::NoRoom)));
        assert!(queued_bytes(&link) <= 1 << 20, "{} bytes", queued_bytes(&link));
    }

    #[tokio::test]
    async fn requests_in_flight_are_bounded_in_number() {
        let link = stalled(7, 1 << 20);
        let ends = join((0..50).map(|_| async { link.exchange(&set(b"v"), soon()).await.unwrap_err() }), 50).await;
        assert_eq!(ends.iter().filter(|end| **end == Attempt::TimedOut).count(), 7);
        let state = link.lock();
        assert_eq!(state.calls.unanswered(), 7, "abandoned calls keep their places until they are answered");
        state.calls.validate();
    }

    #[tokio::test]
    async fn a_frame_above_the_whole_queue_goes_when_it_is_alone() {
        let link = stalled(10, 1_000);
        let value = vec![0; 100 << 10];
        assert_eq!(link.exchange(&set(&value), soon()).await.unwrap_err(), Attempt::TimedOut);
        assert_eq!(link.exchange(&set(b"v"), soon()).await.unwrap_err(), Attempt::NoRoom);
    }

    #[tokio::test]
    async fn the_end_of_the_connection_reaches_all_who_wait_for_it() {
        let link = stalled(2, 1 << 20);
        let calls = (0..4).map(|_| async { link.exchange(&set(b"v"), soon() + Duration::from_secs(60)).await });
        let (ends, ()) = tokio::join!(join(calls, 4), async { link.close("by test".to_owned()) });
        let not_sent = Attempt::NotSent { reason: "by test".to_owned() };
        // Nothing was taken to be written: neither what was queued nor what waited for room has left.
        assert!(ends.iter().all(|end| end.as_ref().unwrap_err() == &not_sent), "{ends:?}");
        assert_eq!(link.exchange(&set(b"v"), soon()).await.unwrap_err(), not_sent);
        link.lock().calls.validate();
    }
}

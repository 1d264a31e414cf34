//! The sidecar as a client of this node's own shards: a connection to each, over a socket pair that is handed over like any
//! connection. So what comes by HTTP takes the way that everything takes, with the same bounds.

use std::collections::HashMap;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Arc, Mutex, PoisonError};

use larder_protocol::limits::FRAME_BYTES_MAX;
use larder_protocol::native::{decode_response, encode_request, frame};
use larder_protocol::{Command, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use crate::limits::{INSIDE_CALLS_MAX, INSIDE_READ_BYTES};
use crate::shard::{Admission, Dialect, Handover, Moved, Parcel};

/// See the module.
#[derive(Debug)]
pub struct Inside {
    handover: Arc<Handover>,
    admission: Arc<Admission>,
    /// By shard; `None`: not connected at this time.
    links: Box<[Mutex<Option<Link>>]>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// [`INSIDE_CALLS_MAX`] requests wait, or as many connections are open as may be.
    #[error("the server has too much to do: try again in a moment")]
    Busy,
    /// The shard takes no connections, or has closed this one: the server stops.
    #[error("the server is stopping: ask another node")]
    Stopping,
}

#[derive(Clone, Debug)]
struct Link {
    next_id: u64,
    frames: mpsc::Sender<Vec<u8>>,
    calls: Arc<Calls>,
}

/// Who waits, by the id of the request; `None`: the connection has ended.
#[derive(Debug)]
struct Calls(Mutex<Option<HashMap<u64, oneshot::Sender<Vec<u8>>>>>);

impl Inside {
    /// To so many shards.
    pub fn new(shards: u16, handover: Arc<Handover>, admission: Arc<Admission>) -> Self {
        Self { handover, admission, links: (0..shards).map(|_| Mutex::default()).collect() }
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.links.len() as u16
    }

    /// Has a shard execute a command on a group, or pass it on to who owns the key; returns the message that answers.
    ///
    /// # Errors
    /// There is no answer. It may have been executed.
    pub async fn call(&self, shard: u16, group: u64, command: Command<'_>) -> Result<Vec<u8>, NoAnswer> {
        let (sender, answer) = oneshot::channel();
        {
            let mut place = self.links[usize::from(shard)].lock().unwrap_or_else(PoisonError::into_inner);
            if place.as_ref().is_none_or(|link| link.calls.are_over()) {
                *place = Some(self.connect(shard)?);
            }
            let link = place.as_mut().expect("it was put there");
            let id = link.next_id;
            link.next_id += 1;
            let mut frame = Vec::new();
            encode_request(&mut frame, &Request { id, epoch: 0, group, timeout_ms: 0, forwarded: false, command });
            link.calls.add(id, sender)?;
            if link.frames.try_send(frame).is_err() {
                link.calls.take(id);
                return Err(NoAnswer::Busy);
            }
        }
        answer.await.map_err(|_| NoAnswer::Stopping)
    }

    fn connect(&self, shard: u16) -> Result<Link, NoAnswer> {
        let (ours, theirs) = StdStream::pair().map_err(|_| NoAnswer::Busy)?;
        ours.set_nonblocking(true).and_then(|()| theirs.set_nonblocking(true)).map_err(|_| NoAnswer::Busy)?;
        let stream = UnixStream::from_std(ours).map_err(|_| NoAnswer::Busy)?;
        if !self.admission.enter() {
            return Err(NoAnswer::Busy);
        }
        let moved = Moved { socket: theirs.into(), parcel: Parcel::new(Dialect::Http, Vec::new()) };
        if self.handover.send(shard, moved).is_err() {
            self.admission.leave();
            return Err(NoAnswer::Stopping);
        }
        let (reader, writer) = stream.into_split();
        let (frames, waiting) = mpsc::channel(INSIDE_CALLS_MAX);
        let calls = Arc::new(Calls(Mutex::new(Some(HashMap::new()))));
        tokio::spawn(write(writer, waiting, Arc::clone(&calls)));
        tokio::spawn(read(reader, Arc::clone(&calls)));
        Ok(Link { next_id: 1, frames, calls })
    }
}

impl Calls {
    fn are_over(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn add(&self, id: u64, sender: oneshot::Sender<Vec<u8>>) -> Result<(), NoAnswer> {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = calls.as_mut().ok_or(NoAnswer::Stopping)?;
        if calls.len() >= INSIDE_CALLS_MAX {
            return Err(NoAnswer::Busy);
        }
        calls.insert(id, sender);
        Ok(())
    }

    fn take(&self, id: u64) -> Option<oneshot::Sender<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.remove(&id)
    }

    /// Nobody is answered any more.
    fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

async fn write(mut writer: OwnedWriteHalf, mut frames: mpsc::Receiver<Vec<u8>>, calls: Arc<Calls>) {
    while let Some(frame) = frames.recv().await {
        if writer.write_all(&frame).await.is_err() {
            break;
        }
    }
    calls.end();
}

async fn read(mut reader: OwnedReadHalf, calls: Arc<Calls>) {
    let mut input = Vec::with_capacity(INSIDE_READ_BYTES);
    while let Ok(1..) = reader.read_buf(&mut input).await {
        let mut consumed = 0;
        // The server's own frames are sound.
        while let Ok(Some(frame)) = frame(&input[consumed..], FRAME_BYTES_MAX) {
            if let Ok(response) = decode_response(frame.message)
                && let Some(sender) = calls.take(response.id)
            {
                // Whoever asked may have gone.
                let _ = sender.send(frame.message.to_vec());
            }
            consumed += frame.consumed;
        }
        input.drain(..consumed);
    }
    calls.end();
}

//! Connections of a dialect that has a port of its own: the sidecar accepts them and gives them to the shards by turns.
//!
//! Their clients know no shards, so any is as good. It costs a shard nothing but to take the connection in.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::limits::ACCEPT_BACKOFF_MS;
use crate::shard::{Admission, Dialect, Handover, Moved, Parcel};

/// Begins a connection from one address to another.
pub type Begin = Box<dyn Fn(String, String) -> Dialect + Send>;

/// See the module.
pub struct Acceptor {
    listener: TcpListener,
    dialect: Begin,
    shards: u16,
    handover: Arc<Handover>,
    admission: Arc<Admission>,
}

impl Acceptor {
    /// For so many shards.
    pub fn new(
        listener: TcpListener,
        dialect: Begin,
        shards: u16,
        handover: Arc<Handover>,
        admission: Arc<Admission>,
    ) -> Self {
        Self { listener, dialect, shards, handover, admission }
    }

    /// Accepts until the runtime ends.
    pub async fn run(self) {
        for shard in (0..self.shards).cycle() {
            let stream = loop {
                match self.listener.accept().await {
                    Ok((stream, _)) => break stream,
                    // No descriptors are left, or that one connection has failed.
                    Err(_) => tokio::time::sleep(Duration::from_millis(ACCEPT_BACKOFF_MS)).await,
                }
            };
            // One that is not admitted, or that cannot be set up, is closed.
            if self.admission.enter() && self.give(shard, stream).is_err() {
                self.admission.leave();
            }
        }
    }

    /// To a shard, or to another where that has no room.
    fn give(&self, shard: u16, stream: TcpStream) -> io::Result<()> {
        let socket = stream.into_std()?;
        // io_uring answers at once where a socket does not block.
        socket.set_nonblocking(false)?;
        let dialect = (self.dialect)(socket.peer_addr()?.to_string(), socket.local_addr()?.to_string());
        let mut moved = Moved { socket: socket.into(), parcel: Parcel::new(dialect, Vec::new()) };
        for next in 0..self.shards {
            match self.handover.send((shard + next) % self.shards, moved) {
                Ok(()) => return Ok(()),
                // In the place of this one it may be another that is given back: each has one place in the count.
                Err(back) => moved = back,
            }
        }
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

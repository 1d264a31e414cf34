//! The server that does nothing: one thread, a read and a write per turn of a connection.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::canned::Canned;
use crate::error::LoadError;
use crate::limits::{CONNECTIONS_MAX, EVENTS_PER_TURN, IDLE_BUFFER_BYTES_MAX, READ_BYTES, SLEEP_MAX};
use crate::protocol::ProtocolName;
use crate::system;

const LISTENER: Token = Token(usize::MAX);

/// A running server; it ends when it is stopped or dropped.
#[derive(Debug)]
pub(super) struct NullServer {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), LoadError>>>,
}

impl NullServer {
    pub(super) fn start(
        protocol: ProtocolName,
        value_bytes: usize,
        core: Option<usize>,
    ) -> Result<NullServer, LoadError> {
        let failed = |source| LoadError::System { action: "start a server that does nothing".into(), source };
        let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let poll = Poll::new().map_err(failed)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE).map_err(failed)?;
        let over = Arc::<AtomicBool>::default();
        let told = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            if let Some(core) = core {
                system::pin("--server-core", core)?;
            }
            let mut serving = Serving {
                poll,
                listener,
                peers: Vec::new(),
                canned: Canned::new(protocol, value_bytes),
                inbox: vec![0; READ_BYTES].into_boxed_slice(),
                address,
            };
            serving.serve(&told)
        });
        Ok(NullServer { address, over, thread: Some(thread) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it.
    ///
    /// # Errors
    /// What it failed with.
    pub(super) fn stop(mut self) -> Result<(), LoadError> {
        self.over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is stopped once");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for NullServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

struct Serving {
    poll: Poll,
    listener: TcpListener,
    peers: Vec<Option<Peer>>,
    canned: Canned,
    inbox: Box<[u8]>,
    address: SocketAddr,
}

struct Peer {
    socket: TcpStream,
    /// The beginning of a request whose rest has not come.
    partial: Vec<u8>,
    out: Vec<u8>,
    written: usize,
}

impl Serving {
    fn serve(&mut self, over: &AtomicBool) -> Result<(), LoadError> {
        let failed = |source| LoadError::System { action: "serve nothing".into(), source };
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while !over.load(Ordering::Relaxed) {
            match self.poll.poll(&mut events, Some(SLEEP_MAX)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(failed(error)),
                _ => {}
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept().map_err(failed)?;
                    continue;
                }
                let Token(number) = event.token();
                let Some(peer) = &mut self.peers[number] else { continue };
                match peer.turn(&mut self.inbox, &mut self.canned) {
                    Ok(true) => {}
                    Ok(false) => self.peers[number] = None,
                    Err(reason) => return Err(LoadError::Protocol { address: self.address, reason }),
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let (mut socket, _) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            assert!(self.peers.len() <= CONNECTIONS_MAX, "a run has a bound of connections");
            socket.set_nodelay(true)?;
            let token = Token(self.peers.len());
            self.poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
            self.peers.push(Some(Peer { socket, partial: Vec::new(), out: Vec::new(), written: 0 }));
        }
    }
}

impl Peer {
    /// Reads, answers and writes until there is nothing more to read or no room to write. False: the peer is gone.
    fn turn(&mut self, inbox: &mut [u8], canned: &mut Canned) -> Result<bool, String> {
        loop {
            match self.write() {
                Ok(true) => {}
                // No room: it is told when there is.
                Ok(false) => return Ok(true),
                Err(_) => return Ok(false),
            }
            let read = match self.socket.read(inbox) {
                Ok(0) => return Ok(false),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Ok(false),
            };
            if self.partial.is_empty() {
                let done = canned.answer(&inbox[..read], &mut self.out)?;
                self.partial.extend_from_slice(&inbox[done..read]);
            } else {
                self.partial.extend_from_slice(&inbox[..read]);
                let done = canned.answer(&self.partial, &mut self.out)?;
                self.partial.drain(..done);
            }
        }
    }

    /// True: everything is written.
    fn write(&mut self) -> io::Result<bool> {
        while self.written < self.out.len() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.out.shrink_to(IDLE_BUFFER_BYTES_MAX);
        self.written = 0;
        Ok(true)
    }
}

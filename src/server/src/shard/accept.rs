//! Where connections come from.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::control::Admission;
use super::ring::Ring;
use crate::limits::{ACCEPT_BACKOFF_MS, ACCEPT_REFUSALS_MAX, LISTEN_BACKLOG};

/// A listening socket of a ring.
pub(super) struct Listener {
    listener: TcpListener,
    reserve: Reserve,
    state: State,
    is_reported: bool,
}

/// An open file that is of no use, but for closing it when there are no others: then a connection can be accepted and
/// closed, so that its client learns of it.
///
/// What one shard gives back here, another may take first, for a connection of its own. So nobody is admitted from
/// then on until the descriptor is here again; else clients of this shard could not be told anything any more.
struct Reserve {
    file: Option<OwnedFd>,
    admission: Arc<Admission>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// An accept is in flight, and the reserve is there.
    Accepting,
    /// It failed for a reason that may pass.
    Waiting {
        until_ms: u64,
    },
    /// Its end was asked for.
    Closing,
    Closed,
}

impl Listener {
    /// Begins to accept.
    ///
    /// # Errors
    /// No descriptor is left to be kept in reserve.
    pub(super) fn new(listener: TcpListener, ring: &mut Ring, admission: Arc<Admission>) -> io::Result<Self> {
        // io_uring answers an accept on a non-blocking socket at once, with EAGAIN.
        listener.set_nonblocking(false)?;
        let reserve = Reserve { file: Some(Reserve::open()?), admission };
        ring.accept(listener.as_fd());
        Ok(Self { listener, reserve, state: State::Accepting, is_reported: false })
    }

    /// Accepting has failed, or its request is over. `more`: it is not over.
    pub(super) fn failed(&mut self, error: Option<Errno>, more: bool, ring: &mut Ring, now_ms: u64) {
        if more || matches!(self.state, State::Closed) {
            return;
        }
        if self.state == State::Closing {
            self.state = State::Closed;
            return;
        }
        match error {
            Some(error) if !is_of_one_connection(error) => {
                self.report(error);
                if matches!(error, Errno::MFILE | Errno::NFILE) {
                    self.turn_away();
                }
                self.state = State::Waiting { until_ms: now_ms + ACCEPT_BACKOFF_MS };
            }
            _ => ring.accept(self.listener.as_fd()),
        }
    }

    /// Accepts again if it is time, and if the reserve is there.
    pub(super) fn retry(&mut self, ring: &mut Ring, now_ms: u64) {
        if let State::Waiting { until_ms } = self.state
            && until_ms <= now_ms
        {
            if self.reserve.restore() {
                ring.accept(self.listener.as_fd());
                self.state = State::Accepting;
            } else {
                self.state = State::Waiting { until_ms: now_ms + ACCEPT_BACKOFF_MS };
            }
        }
    }

    /// When [`Listener::retry`] has something to do.
    pub(super) fn retry_ms(&self) -> Option<u64> {
        let State::Waiting { until_ms } = self.state else { return None };
        Some(until_ms)
    }

    /// Accepts nothing more by itself. [`Listener::is_closed`] says when that is so.
    pub(super) fn close(&mut self, ring: &mut Ring) {
        match self.state {
            State::Accepting => {
                ring.cancel_accept();
                self.state = State::Closing;
            }
            State::Waiting { .. } => {
                self.reserve.renounce();
                self.state = State::Closed;
            }
            State::Closing | State::Closed => {}
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// The connections that wait to be accepted, whose clients may have been answered by the kernel and have sent
    /// their first requests. Who comes later is refused by the kernel, however long the server takes to end.
    ///
    /// # Panics
    /// If the listener is not closed.
    pub(super) fn rest(&self) -> impl Iterator<Item = OwnedFd> + use<> {
        assert!(self.is_closed(), "the kernel may be accepting");
        let waiting = || -> io::Result<Vec<OwnedFd>> {
            self.listener.set_nonblocking(true)?;
            let accept = |_| self.listener.accept().ok().map(|(stream, _)| OwnedFd::from(stream));
            Ok((0..LISTEN_BACKLOG).map_while(accept).collect())
        };
        // An error says that there is no such listener any more.
        let rest = waiting().unwrap_or_default();
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Read);
        rest.into_iter()
    }

    /// Spends the descriptor in reserve on closing connections that cannot be accepted, so that their clients learn of
    /// it and the queue does not stand still.
    fn turn_away(&mut self) {
        self.reserve.spend();
        if self.listener.set_nonblocking(true).is_ok() {
            for _ in 0..ACCEPT_REFUSALS_MAX {
                if self.listener.accept().is_err() {
                    break;
                }
            }
        }
        self.listener.set_nonblocking(false).expect("a listener blocks if told so");
        self.reserve.restore();
    }

    fn report(&mut self, error: Errno) {
        if !std::mem::replace(&mut self.is_reported, true) {
            crate::log::line(format_args!(
                "connections cannot be accepted, trying again every {ACCEPT_BACKOFF_MS} ms: {error}; if files are the \
                 cause, clients are turned away meanwhile: raise `ulimit -n` (this is said once)"
            ));
        }
    }
}

impl Reserve {
    fn open() -> io::Result<OwnedFd> {
        Ok(File::open("/dev/null")?.into())
    }

    /// Gives the descriptor back.
    fn spend(&mut self) {
        if let Some(file) = self.file.take() {
            // First, so that whoever gets the descriptor finds out.
            self.admission.reserve_is_spent();
            drop(file);
        }
    }

    /// Whether there is one again.
    fn restore(&mut self) -> bool {
        if self.file.is_none() {
            self.file = Self::open().ok();
            if self.file.is_some() {
                self.admission.reserve_is_settled();
            }
        }
        self.file.is_some()
    }

    /// Nobody is turned away here any more.
    fn renounce(&mut self) {
        if self.file.is_none() {
            self.admission.reserve_is_settled();
        }
    }
}

/// Errors of the connection that was to be accepted, and not of the listener (accept(2), "Error handling").
fn is_of_one_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::CONNABORTED
            | Errno::INTR
            | Errno::AGAIN
            | Errno::NETDOWN
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
            | Errno::CANCELED
    )
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{SocketAddr, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::limits::RING_SIZE;
    use crate::shard::ring::Completion;

    fn listener(ring: &mut Ring) -> (Listener, SocketAddr, Arc<Admission>) {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        let admission = Arc::new(Admission::new(10));
        (Listener::new(socket, ring, admission.clone()).expect("descriptors"), address, admission)
    }

    fn next(ring: &mut Ring) -> Option<Completion> {
        ring.enter(Some(Duration::from_millis(200)));
        ring.next()
    }

    /// The kernel takes the limit of open files when an accept begins, so that a process cannot be made to meet it at
    /// will: the error is brought about here, and what follows from it is real.
    #[test]
    fn want_of_descriptors_turns_clients_away_waits_and_passes() {
        let mut ring = Ring::new(RING_SIZE).expect("a ring");
        let (mut listener, address, _) = listener(&mut ring);
        ring.cancel_accept();
        let ended = next(&mut ring);
        let Some(Completion::Accepted { socket: Err(Errno::CANCELED), more: false }) = ended else {
            panic!("{ended:?}")
        };
        let mut client = TcpStream::connect(address).expect("the kernel accepts");
        listener.failed(Some(Errno::MFILE), false, &mut ring, 1_000);
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket option");
        assert_eq!(client.read(&mut [0]).expect("closed in order"), 0, "the client is told");
        assert!(listener.reserve.file.is_some(), "the next one can be told too");

        let mut client = TcpStream::connect(address).expect("the kernel accepts");
        assert_eq!(listener.retry_ms(), Some(1_000 + ACCEPT_BACKOFF_MS));
        listener.retry(&mut ring, 1_000 + ACCEPT_BACKOFF_MS - 1);
        assert!(next(&mut ring).is_none(), "it does not try again before it is time");
        listener.retry(&mut ring, 1_000 + ACCEPT_BACKOFF_MS);
        let accepted = next(&mut ring);
        let Some(Completion::Accepted { socket: Ok(socket), more: true }) = accepted else { panic!("{accepted:?}") };
        assert_eq!(listener.retry_ms(), None);
        rustix::io::write(&socket, b"x").expect("a connection");
        client.read_exact(&mut [0]).expect("it is this one");
    }

    #[test]
    fn while_a_reserve_is_missing_nobody_is_admitted() {
        let mut ring = Ring::new(RING_SIZE).expect("a ring");
        let (mut listener, _, admission) = listener(&mut ring);
        listener.failed(Some(Errno::MFILE), false, &mut ring, 1_000);
        assert!(admission.enter(), "it was there again at once");
        // Another shard has taken it.
        listener.reserve.spend();
        assert!(!admission.enter());
        assert_eq!(admission.refused(), 0, "this is not the limit of connections");
        listener.retry(&mut ring, 1_000 + ACCEPT_BACKOFF_MS);
        assert!(listener.state == State::Accepting && admission.enter(), "it has been given back");

        listener.failed(Some(Errno::MFILE), false, &mut ring, 2_000);
        listener.reserve.spend();
        listener.close(&mut ring);
        assert!(listener.is_closed() && admission.enter(), "it is of no use any more");
    }

    #[test]
    fn an_error_of_one_connection_delays_nobody() {
        let mut ring = Ring::new(RING_SIZE).expect("a ring");
        let (mut listener, ..) = listener(&mut ring);
        listener.failed(Some(Errno::CONNABORTED), true, &mut ring, 1_000);
        assert_eq!((listener.retry_ms(), ring.in_flight()), (None, 1), "the accept goes on");
        listener.failed(Some(Errno::CONNABORTED), false, &mut ring, 1_000);
        assert_eq!((listener.retry_ms(), ring.in_flight()), (None, 2), "it begins anew");
    }

    #[test]
    fn what_waited_when_accepting_ended_is_handed_out() {
        let mut ring = Ring::new(RING_SIZE).expect("a ring");
        let (mut listener, address, _) = listener(&mut ring);
        ring.enter(None);
        listener.close(&mut ring);
        assert!(!listener.is_closed(), "the kernel may be accepting");
        while let Some(Completion::Accepted { socket, more }) = next(&mut ring) {
            listener.failed(socket.err(), more, &mut ring, 1_000);
        }
        assert!(listener.is_closed());
        let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(address).expect("the kernel accepts")).collect();
        assert_eq!(listener.rest().count(), clients.len());
        let late = TcpStream::connect(address).expect_err("nobody would accept it");
        assert_eq!(late.kind(), io::ErrorKind::ConnectionRefused);
    }
}

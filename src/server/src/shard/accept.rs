//! Where connections come from.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::ring::Ring;
use crate::limits::{ACCEPT_BACKOFF_MS, ACCEPT_REFUSALS_MAX, LISTEN_BACKLOG};

/// A listening socket of a ring.
pub(super) struct Listener {
    listener: TcpListener,
    /// An open file that is of no use, but for closing it when there are no others.
    reserve: Option<OwnedFd>,
    state: State,
    is_reported: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// An accept is in flight.
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
    pub(super) fn new(listener: TcpListener, ring: &mut Ring) -> io::Result<Self> {
        // io_uring answers an accept on a non-blocking socket at once, with EAGAIN.
        listener.set_nonblocking(false)?;
        let reserve = Some(reserve()?);
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

    /// Accepts again if it is time.
    pub(super) fn retry(&mut self, ring: &mut Ring, now_ms: u64) {
        if let State::Waiting { until_ms } = self.state
            && until_ms <= now_ms
        {
            self.reserve = self.reserve.take().or_else(|| reserve().ok());
            ring.accept(self.listener.as_fd());
            self.state = State::Accepting;
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
            State::Waiting { .. } => self.state = State::Closed,
            State::Closing | State::Closed => {}
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// The connections that wait to be accepted, whose clients may have been answered by the kernel and have sent
    /// their first requests.
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
        waiting().unwrap_or_default().into_iter()
    }

    /// Spends the descriptor in reserve on closing connections that cannot be accepted, so that their clients learn of
    /// it and the queue does not stand still.
    fn turn_away(&mut self) {
        drop(self.reserve.take());
        if self.listener.set_nonblocking(true).is_ok() {
            for _ in 0..ACCEPT_REFUSALS_MAX {
                if self.listener.accept().is_err() {
                    break;
                }
            }
        }
        self.listener.set_nonblocking(false).expect("a listener blocks if told so");
        self.reserve = reserve().ok();
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

fn reserve() -> io::Result<OwnedFd> {
    Ok(File::open("/dev/null")?.into())
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

//! Where connections come from.

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use glommio::net::TcpStream;
use glommio::timer::sleep;
use rustix::io::Errno;

use super::descriptor;
use super::dialect::Dialect;
use super::driver::Shared;
use super::socket::serve;
use crate::limits::{ACCEPT_BACKOFF_MS, LISTEN_BACKLOG};

/// A listening socket, and a second handle to close it by.
pub(super) struct Listener {
    accepting: glommio::net::TcpListener,
    handle: TcpListener,
    is_closed: Cell<bool>,
}

impl Listener {
    /// # Errors
    /// The descriptor cannot be duplicated: mostly none are left.
    pub(super) fn new(listener: TcpListener) -> io::Result<Self> {
        // io_uring answers an accept on a non-blocking socket at once, with EAGAIN.
        listener.set_nonblocking(false)?;
        let handle = listener.try_clone()?;
        Ok(Self { accepting: descriptor::listener(listener), handle, is_closed: Cell::new(false) })
    }

    /// The next of the connections that the kernel has accepted already; none if it has none.
    fn waiting(&self) -> Option<TcpStream> {
        let (stream, _) = self.handle.set_nonblocking(true).and_then(|()| self.handle.accept()).ok()?;
        Some(descriptor::stream(stream))
    }

    /// Accepts nothing more, and ends the accept that is under way: dropped, it would hold the port for a while.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        if let Err(error) = rustix::net::shutdown(&self.handle, rustix::net::Shutdown::Both) {
            crate::log::line(format_args!("a listener does not close: {error}"));
        }
    }
}

/// Accepts until the listener is closed.
pub(super) async fn accept(shared: Rc<Shared>, listener: Rc<Listener>) {
    let mut is_reported = false;
    loop {
        match listener.accepting.accept().await {
            Ok(stream) => open(&shared, stream).await,
            Err(_) if listener.is_closed.get() => return,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut is_reported, true) {
                    crate::log::line(format_args!(
                        "a connection cannot be accepted, trying again every {ACCEPT_BACKOFF_MS} ms: {error}; if files \
                         are the cause, raise `ulimit -n` (this is said once)"
                    ));
                }
                sleep(Duration::from_millis(ACCEPT_BACKOFF_MS)).await;
            }
        }
    }
}

/// Takes in the connections that wait to be accepted, whose clients may have been answered by the kernel and have sent
/// their first requests, and then accepts nothing more.
pub(super) async fn stop_accepting(shared: &Rc<Shared>, listener: &Listener) {
    for _ in 0..LISTEN_BACKLOG {
        let Some(stream) = listener.waiting() else { break };
        open(shared, stream).await;
    }
    listener.close();
}

async fn open(shared: &Rc<Shared>, stream: TcpStream) {
    if !shared.admission.enter() {
        // An error says that the peer has closed it already.
        let _ = stream.shutdown(Shutdown::Both).await;
        return;
    }
    let presence = shared.enter();
    let id = shared.reactor.borrow_mut().opened(Dialect::Native);
    let shared = shared.clone();
    // Nobody keeps the handle: every connection task ends by itself, and the shard waits for that before it exits.
    glommio::spawn_local(async move {
        serve(shared, stream, id).await;
        drop(presence);
    })
    .detach();
}

/// Errors of the connection that was to be accepted, and not of the listener (accept(2), "Error handling").
fn is_of_one_connection(error: &glommio::GlommioError<()>) -> bool {
    let glommio::GlommioError::IoError(error) = error else { return false };
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(
            Errno::CONNABORTED
                | Errno::INTR
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
        )
    )
}

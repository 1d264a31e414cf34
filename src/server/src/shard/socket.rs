//! One connection's socket, as glommio drives it: what comes goes to the reactor, what the reactor has goes out.

use std::future::{Future, poll_fn};
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use glommio::timer::Timer;

use super::driver::{Shared, breathe};
use super::reactor::ConnectionId;
use crate::limits::{CONNECTION_TURNS, LINGER_MS, LINGER_STOPPING_MS, STOP_READ_BYTES_MAX};

/// A connection and its socket.
struct Socket {
    stream: TcpStream,
    id: ConnectionId,
    shared: Rc<Shared>,
    /// Turns since it last had nothing to do.
    turns: usize,
    /// What may still be read after the order to stop.
    stop_read_bytes: usize,
}

/// How a connection ended.
enum End {
    /// The peer is gone, or has what it asked for.
    Done,
    /// The peer may be sending still: its unread bytes must not turn the last answers into a reset.
    Linger,
    /// Cut off.
    Cut,
}

/// Serves one connection to its end.
pub(super) async fn serve(shared: Rc<Shared>, stream: TcpStream, id: ConnectionId) {
    let mut socket = Socket { stream, id, shared, turns: 0, stop_read_bytes: STOP_READ_BYTES_MAX };
    let end = loop {
        match poll_fn(|context| socket.poll_turn(context)).await {
            Ok(None) if socket.turns == CONNECTION_TURNS => {
                breathe().await;
                socket.turns = 0;
            }
            Ok(None) => {}
            Ok(Some(end)) => break end,
            // The peer has reset the connection or its host is gone: nothing can be said to it.
            Err(_) => break End::Done,
        }
    };
    socket.close(end).await;
}

impl Socket {
    /// Reads and writes once each, as far as that is possible now. `Ok(None)`: there may be more to do.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<End>>> {
        self.shared.register(self.id, context.waker());
        if self.shared.is_cut() {
            return Poll::Ready(Ok(Some(End::Cut)));
        }
        // In this order, so that what one read asked for goes out in one write.
        let read = self.read(context)?;
        let wrote = self.write(context)?;
        let mut reactor = self.shared.reactor.borrow_mut();
        if reactor.is_finished(self.id) {
            let is_peer_sending = reactor.is_broken(self.id) || self.shared.is_stopping();
            return Poll::Ready(Ok(Some(if is_peer_sending { End::Linger } else { End::Done })));
        }
        if !wrote && !read {
            self.turns = 0;
            return Poll::Pending;
        }
        self.turns += 1;
        Poll::Ready(Ok(None))
    }

    fn write(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut reactor = self.shared.reactor.borrow_mut();
        let output = reactor.output(self.id);
        if output.is_empty() {
            return Ok(false);
        }
        match Pin::new(&mut self.stream).poll_write(context, output) {
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(bytes)) => {
                reactor.sent(self.id, bytes, self.shared.clock.now_ms());
                self.shared.ask_for_turn(&reactor);
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(false),
        }
    }

    fn read(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut reactor = self.shared.reactor.borrow_mut();
        if !reactor.wants_input(self.id) {
            return Ok(false);
        }
        let mut buffer = self.shared.read_buffer.borrow_mut();
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(0)) => reactor.ended(self.id),
            Poll::Ready(Ok(bytes)) => {
                reactor.received(self.id, &buffer[..bytes], self.shared.clock.now_ms());
                self.shared.ask_for_turn(&reactor);
                if self.shared.is_stopping() {
                    self.stop_read_bytes = self.stop_read_bytes.saturating_sub(bytes);
                    if self.stop_read_bytes == 0 {
                        reactor.ended(self.id);
                    }
                }
            }
            Poll::Ready(Err(error)) => return Err(error),
            // All that had come before the order to stop has been read.
            Poll::Pending if self.shared.is_stopping() => reactor.ended(self.id),
            Poll::Pending => return Ok(false),
        }
        Ok(true)
    }

    async fn close(mut self, end: End) {
        self.shared.forget(self.id);
        if let End::Linger = end {
            let stopping = self.shared.is_stopping();
            let linger = Duration::from_millis(if stopping { LINGER_STOPPING_MS } else { LINGER_MS });
            if self.stream.shutdown(Shutdown::Write).await.is_ok() {
                self.discard(linger).await;
            }
        }
        if let End::Cut = end {
            self.shared.count_cut();
        }
        // A read that is under way holds the socket open past the drop of the stream; this ends it. An error says that
        // the connection has ended already.
        let _ = self.stream.shutdown(Shutdown::Both).await;
    }

    /// Reads and throws away until the peer closes, or for so long. Looks at times whether it is to be cut off.
    async fn discard(&mut self, linger: Duration) {
        let begun = Instant::now();
        let mut timer = Timer::new(Duration::from_millis(LINGER_STOPPING_MS));
        while begun.elapsed() < linger && !self.shared.is_cut() {
            let is_over = poll_fn(|context| {
                if Pin::new(&mut timer).poll(context).is_ready() {
                    timer.reset(Duration::from_millis(LINGER_STOPPING_MS));
                    return Poll::Ready(false);
                }
                let mut buffer = self.shared.read_buffer.borrow_mut();
                Pin::new(&mut self.stream).poll_read(context, &mut buffer).map(|read| !matches!(read, Ok(1..)))
            })
            .await;
            if is_over {
                return;
            }
            breathe().await;
        }
    }
}

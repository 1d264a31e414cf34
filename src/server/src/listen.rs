//! Listening sockets: one per executor, all on one address, and never on an address that somebody else serves.
//!
//! Sockets that share a port (SO_REUSEPORT) would also share it with another server that was started by mistake, and
//! the kernel would give each of both half of the connections. So the first socket binds and listens WITHOUT
//! SO_REUSEPORT: the kernel then refuses it if anything at all listens on an overlapping address, and from then on
//! refuses whoever comes next. Only after that is SO_REUSEPORT set on it, and the other sockets join it. Every server
//! of this kind begins with a socket that does not share, and the kernel decides between two that start at the same
//! moment, so there is no order of events in which both get the port, and no moment at which the port is free between
//! a probe and the real thing: the probe is the first listener. (A foreign program of the same user that sets
//! SO_REUSEPORT could still join; nothing prevents that.)
//!
//! To bind is not enough: with SO_REUSEADDR, which a restart needs because of connections in TIME_WAIT, two sockets
//! may bind one address as long as neither listens.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::{LISTEN_BACKLOG, LISTEN_RETRY_MS_MAX, LISTEN_RETRY_PAUSE_MS};

/// The listening sockets of one address.
#[derive(Debug)]
pub struct Listeners {
    /// The address that is bound; its port is never 0.
    pub address: SocketAddr,
    /// As many as were asked for. They do not block, and connections that they accept have TCP_NODELAY set. Some of
    /// the first connections may wait in the first one whatever the number of sockets.
    pub sockets: Vec<TcpListener>,
}

/// Why an address cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Somebody serves it already.
    #[error(
        "the address {address} is in use: stop the server that has it (`ss -ltnp 'sport = :{}'` shows which), or \
         choose another",
        address.port()
    )]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// No network interface has it.
    #[error("this machine does not have the address {address}: choose one that `ip address` shows, or 0.0.0.0")]
    NotOurs {
        /// The address.
        address: SocketAddr,
    },
    /// Its port is reserved for the privileged.
    #[error(
        "this user may not listen on {address}: choose a port from 1024 up, or give the right with \
         `setcap cap_net_bind_service=+ep` on the larder binary"
    )]
    Denied {
        /// The address.
        address: SocketAddr,
    },
    /// Something else.
    #[error("cannot {step} {address}: {error}")]
    Failed {
        /// The address.
        address: SocketAddr,
        /// What was tried.
        step: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

/// Listens with `count` sockets on an address; port 0 means any that is free.
///
/// An address in use is tried again for up to [`LISTEN_RETRY_MS_MAX`], for the sockets of a process that has just
/// ended may take some time to go.
///
/// # Errors
/// If the address cannot be served by this process alone.
///
/// # Panics
/// If `count` is 0.
pub fn listen(address: SocketAddr, count: u16) -> Result<Listeners, ListenError> {
    listen_within(address, count, Duration::from_millis(LISTEN_RETRY_MS_MAX))
}

fn listen_within(address: SocketAddr, count: u16, retry: Duration) -> Result<Listeners, ListenError> {
    assert!(count > 0, "no sockets for {address}");
    let first = first(address, retry)?;
    let failed = |step| move |error| ListenError::Failed { address, step, error };
    let bound = first.local_addr().and_then(|bound| bound.as_socket().ok_or_else(|| ErrorKind::Unsupported.into()));
    let bound = bound.map_err(failed("learn the port of"))?;

    first.set_reuse_port(true).map_err(failed("share among shards the address"))?;
    let mut sockets = vec![TcpListener::from(first)];
    for _ in 1..count {
        sockets.push(open(bound, true).map_err(|error| refusal(bound, error))?.into());
    }
    Ok(Listeners { address: bound, sockets })
}

/// The socket that nobody shares.
fn first(address: SocketAddr, retry: Duration) -> Result<Socket, ListenError> {
    let started = Instant::now();
    loop {
        match open(address, false) {
            Ok(socket) => return Ok(socket),
            Err(error) if error.kind() == ErrorKind::AddrInUse && started.elapsed() < retry => {
                std::thread::sleep(Duration::from_millis(LISTEN_RETRY_PAUSE_MS));
            }
            Err(error) => return Err(refusal(address, error)),
        }
    }
}

fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    // Accepted connections inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket)
}

fn refusal(address: SocketAddr, error: io::Error) -> ListenError {
    match error.kind() {
        ErrorKind::AddrInUse => ListenError::InUse { address },
        ErrorKind::AddrNotAvailable => ListenError::NotOurs { address },
        ErrorKind::PermissionDenied => ListenError::Denied { address },
        _ => ListenError::Failed { address, step: "listen on", error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{IpAddr, Ipv4Addr, TcpStream};
    use std::sync::Barrier;

    const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    /// An address that no client gets as its own, so that a port found to be free stays free.
    const APART: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 74, 0, 1)), 0);
    const SHORT: Duration = Duration::from_millis(50);

    fn accept_all(listeners: &Listeners) -> Vec<Vec<TcpStream>> {
        let accept = |socket: &TcpListener| socket.accept().ok().map(|(stream, _)| stream);
        listeners.sockets.iter().map(|socket| std::iter::from_fn(|| accept(socket)).collect()).collect()
    }

    #[test]
    fn all_sockets_share_the_port_that_was_found() {
        let listeners = listen(ANY, 4).unwrap();
        assert_eq!(listeners.sockets.len(), 4);
        assert_ne!(listeners.address.port(), 0);
        for socket in &listeners.sockets {
            assert_eq!(socket.local_addr().unwrap(), listeners.address);
            assert_eq!(socket.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        let clients: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(listeners.address).unwrap()).collect();
        let accepted = accept_all(&listeners);
        assert_eq!(accepted.iter().map(Vec::len).sum::<usize>(), clients.len());
        // Fewer than 10 of 200 on one of four sockets happens once in 10^13 runs.
        assert!(accepted.iter().all(|streams| streams.len() >= 10), "{accepted:?}");
        assert!(accepted.iter().flatten().all(|stream| stream.nodelay().unwrap()), "NODELAY is inherited");
    }

    #[test]
    fn an_address_that_somebody_serves_is_refused() {
        let plain = TcpListener::bind(ANY).unwrap();
        let shared = open(ANY, true).unwrap();
        let ours = listen(ANY, 2).unwrap();
        let shared_address = shared.local_addr().unwrap().as_socket().unwrap();
        for address in [plain.local_addr().unwrap(), shared_address, ours.address] {
            let error = listen_within(address, 2, SHORT).unwrap_err();
            assert!(matches!(error, ListenError::InUse { address: named } if named == address), "{error}");
            let wildcard = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            let error = listen_within(wildcard, 2, SHORT).unwrap_err();
            assert!(matches!(error, ListenError::InUse { .. }), "overlapping: {error}");
            assert!(error.to_string().contains(&format!("{wildcard} is in use: stop the server")), "{error}");
        }
    }

    #[test]
    fn of_several_that_start_at_once_one_gets_the_port() {
        for round in 0..30 {
            let address = TcpListener::bind(APART).unwrap().local_addr().unwrap();
            let barrier = Barrier::new(4);
            let results: Vec<_> = std::thread::scope(|scope| {
                let start = || {
                    barrier.wait();
                    listen_within(address, 2, SHORT)
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let servers = results.iter().filter(|result| result.is_ok()).count();
            assert_eq!(servers, 1, "round {round}: {results:?}");
        }
    }

    #[test]
    fn a_port_is_free_again_at_once() {
        let mut address = APART;
        for _ in 0..5 {
            let listeners = listen_within(address, 2, Duration::ZERO).unwrap();
            address = listeners.address;
            let mut client = TcpStream::connect(address).unwrap();
            let accepted = accept_all(&listeners);
            assert_eq!(accepted.iter().map(Vec::len).sum::<usize>(), 1);
            // The server closes first, so the connection stays in TIME_WAIT on its side.
            drop((accepted, listeners));
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn sockets_in_teardown_are_waited_for() {
        let other = TcpListener::bind(APART).unwrap();
        let address = other.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(other);
        });
        listen(address, 1).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn addresses_of_others_are_refused() {
        let error = listen("192.0.2.1:7400".parse().unwrap(), 1).unwrap_err();
        assert!(matches!(error, ListenError::NotOurs { .. }), "{error}");
        assert!(error.to_string().contains("192.0.2.1:7400"), "{error}");
    }
}

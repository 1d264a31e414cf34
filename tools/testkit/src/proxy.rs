//! A forwarder that can be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How often a forwarder looks whether it is still cut.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Listens on a port of its own and passes everything on to a server. While it is cut nothing goes through, and no
/// connection ends.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    is_cut: AtomicBool,
    server: Mutex<SocketAddr>,
    /// Both ends of each connection.
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Before the server at this address.
    ///
    /// # Panics
    /// If loopback has no free port.
    pub fn start(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let shared = Shared { is_cut: AtomicBool::new(false), server: Mutex::new(server), open: Mutex::default() };
        let shared = Arc::new(shared);
        let proxy = Proxy { address, shared: Arc::clone(&shared) };
        // It ends with the process.
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                // A server that is not there is one that closes the connection.
                let _ = join(&shared, client);
            }
        });
        proxy
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nothing through, or everything again.
    pub fn cut(&self, is_cut: bool) {
        self.shared.is_cut.store(is_cut, Ordering::SeqCst);
    }

    /// Ends all connections, and passes on later ones to this server.
    pub fn redirect(&self, server: SocketAddr) {
        *self.shared.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
        for stream in self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Passes on, both ways, what a client and the server say.
fn join(shared: &Arc<Shared>, client: TcpStream) -> std::io::Result<()> {
    let server = TcpStream::connect(*shared.server.lock().unwrap_or_else(PoisonError::into_inner))?;
    let ends = [client.try_clone()?, server.try_clone()?];
    shared.open.lock().unwrap_or_else(PoisonError::into_inner).extend(ends);
    let (client_too, server_too) = (client.try_clone()?, server.try_clone()?);
    for (from, to) in [(client_too, server_too), (server, client)] {
        let shared = Arc::clone(shared);
        thread::spawn(move || pass_on(from, to, &shared.is_cut));
    }
    Ok(())
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, is_cut: &AtomicBool) {
    let mut buffer = [0; 1 << 16];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        while is_cut.load(Ordering::SeqCst) {
            thread::sleep(POLL_INTERVAL);
        }
        if to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    // It may have ended already.
    let _ = to.shutdown(Shutdown::Write);
}

//! A server that is given what to send for each request, and keeps count.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What to do for a request, in order.
pub(crate) enum Act {
    Send(Vec<u8>),
    Sleep(Duration),
    Close,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    /// Heads of requests.
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Server {
    /// Asks `acts` what to do for the request with this number, from 0.
    pub(crate) async fn start(acts: impl Fn(usize) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Seen::default());
        let (acts, shared) = (Arc::new(acts), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let (acts, shared) = (Arc::clone(&acts), Arc::clone(&shared));
                tokio::spawn(async move {
                    shared
                        .most_at_once
                        .fetch_max(1 + shared.at_once.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
                    serve(stream, &*acts, &shared).await;
                    shared.at_once.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { address, seen, task }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().expect("nobody panics").clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// Connections that were open at the same time, at most.
    pub(crate) fn most_at_once(&self) -> usize {
        self.seen.most_at_once.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server that takes one request on each connection and never answers, on a thread of its own. It ends with the process.
pub(crate) struct HungServer {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
}

impl HungServer {
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut open: Vec<std::net::TcpStream> = Vec::new();
            for stream in listener.incoming().flatten() {
                // Those that were ended before this one began are over, however late this thread has noticed.
                open.retain_mut(is_open);
                stream.set_nonblocking(true).expect("a socket option");
                open.push(stream);
                shared.connections.fetch_add(1, Ordering::Relaxed);
                shared.most_at_once.fetch_max(open.len(), Ordering::Relaxed);
            }
        });
        Self { address, seen }
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.seen.most_at_once.load(Ordering::Relaxed)
    }
}

/// Whether the other side has not ended a connection; what it has sent is not looked at.
fn is_open(stream: &mut std::net::TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(1..) => {}
            Ok(0) => return false,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

async fn serve(mut stream: TcpStream, acts: &(impl Fn(usize) -> Vec<Act> + ?Sized), seen: &Seen) {
    let mut input = Vec::new();
    loop {
        while let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head: Vec<u8> = input.drain(..end + 4).collect();
            let number = {
                let mut requests = seen.requests.lock().expect("nobody panics");
                requests.push(String::from_utf8_lossy(&head).into_owned());
                requests.len() - 1
            };
            for act in acts(number) {
                match act {
                    // A client that has seen enough goes.
                    Act::Send(bytes) if stream.write_all(&bytes).await.is_err() => return,
                    Act::Send(_) => {}
                    Act::Sleep(time) => {
                        // The client may go meanwhile.
                        let mut byte = [0];
                        tokio::select! { () = sleep(time) => {}, _ = stream.read(&mut byte) => return }
                    }
                    Act::Close => return,
                }
            }
        }
        match stream.read_buf(&mut input).await {
            Ok(1..) => {}
            _ => return,
        }
    }
}

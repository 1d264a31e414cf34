//! An HTTP server that says what it is told to, and keeps count: what values come from in tests.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    seen: Arc<Seen>,
}

/// What to answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The number of the status.
    pub status: u16,
    /// Further headers, each with its line end.
    pub headers: String,
    /// The body.
    pub body: Vec<u8>,
    /// How long to wait before.
    pub after: Duration,
}

#[derive(Debug, Default)]
struct Seen {
    by_path: Mutex<BTreeMap<String, usize>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    is_over: AtomicBool,
}

impl Answer {
    /// This value, at once.
    pub fn value(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: String::new(), body: body.into(), after: Duration::ZERO }
    }

    /// Nothing, with this status.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::value("") }
    }

    /// The same after some time.
    pub fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }
}

impl Origin {
    /// Serves on a free port of this machine. `answer` is given the path, and how often that was asked for before.
    ///
    /// # Panics
    /// If there is no port.
    pub fn start(answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (seen, answer) = (Arc::new(Seen::default()), Arc::new(answer));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (seen, answer) = (Arc::clone(&shared), Arc::clone(&answer));
                // A client that breaks off is none of the server's business.
                thread::spawn(move || drop(serve(stream, &seen, &*answer)));
            }
        });
        Self { address, seen }
    }

    /// The URL template of its keys, for the configuration.
    pub fn url(&self) -> String {
        format!("http://{}/{{key}}", self.address)
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.by_path().get(path).copied().unwrap_or(0)
    }

    /// How often anything was.
    pub fn total(&self) -> usize {
        self.by_path().values().sum()
    }

    /// How many requests were there at the same time, at most.
    pub fn most_at_once(&self) -> usize {
        self.seen.most_at_once.load(Ordering::Relaxed)
    }

    fn by_path(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, usize>> {
        self.seen.by_path.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.seen.is_over.store(true, Ordering::Relaxed);
        // Wakes who accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, seen: &Seen, answer: &impl Fn(&str, usize) -> Answer) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        while let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head: Vec<u8> = input.drain(..end + 4).collect();
            let head = String::from_utf8_lossy(&head);
            let path = head.split(' ').nth(1).unwrap_or_default();
            let before = {
                let mut by_path = seen.by_path.lock().unwrap_or_else(PoisonError::into_inner);
                let count = by_path.entry(path.to_owned()).or_insert(0);
                *count += 1;
                *count - 1
            };
            seen.most_at_once.fetch_max(1 + seen.at_once.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            let Answer { status, headers, body, after } = answer(path, before);
            // Its client may give it up meanwhile, and then it is not there any more.
            stream.set_read_timeout(Some(after.max(Duration::from_millis(1))))?;
            let is_gone = !after.is_zero() && matches!(stream.peek(&mut buffer), Ok(0));
            stream.set_read_timeout(None)?;
            seen.at_once.fetch_sub(1, Ordering::Relaxed);
            if is_gone {
                return Ok(());
            }
            write!(stream, "HTTP/1.1 {status} Status\r\n{headers}Content-Length: {}\r\n\r\n", body.len())?;
            stream.write_all(&body)?;
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => input.extend_from_slice(&buffer[..count]),
        }
    }
}

//! The connections that speak RESP, as CLIENT tells of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{NOT_POISONED, Shared};

/// All of them, by number.
#[derive(Debug, Default)]
pub struct Clients {
    open: Mutex<BTreeMap<u64, Arc<Client>>>,
    last: AtomicU64,
}

/// One connection.
#[derive(Debug, Default)]
pub struct Client {
    /// Its number, from 1 on.
    pub id: u64,
    /// Where it comes from.
    pub address: String,
    /// Where it has come to.
    pub local: String,
    /// When it came, in ms since the Unix epoch; 0: it has said nothing yet.
    pub begun_ms: AtomicU64,
    /// When it was heard of last.
    pub heard_ms: AtomicU64,
    /// Which database it has chosen.
    pub database: AtomicU32,
    /// Which version of RESP it speaks.
    pub version: AtomicU8,
    /// What it says of itself.
    pub names: Mutex<Names>,
}

/// See [`Client::names`].
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Its name.
    pub name: String,
    /// Name of its library.
    pub library: String,
    /// Version of its library.
    pub library_version: String,
}

/// A connection's place among the clients, for as long as it is kept.
#[derive(Debug)]
pub struct Registration {
    client: Arc<Client>,
    shared: Arc<Shared>,
}

impl Registration {
    /// A new connection between these addresses.
    pub fn new(shared: Arc<Shared>, address: String, local: String) -> Self {
        let id = shared.clients.last.fetch_add(1, Ordering::Relaxed) + 1;
        let client = Arc::new(Client { id, address, local, version: AtomicU8::new(2), ..Client::default() });
        shared.clients.open.lock().expect(NOT_POISONED).insert(id, Arc::clone(&client));
        shared.count_accepted();
        Self { client, shared }
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.clients.open.lock().expect(NOT_POISONED).remove(&self.client.id);
    }
}

impl Clients {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.open.lock().expect(NOT_POISONED).len()
    }

    /// Those of these numbers, or all, a line each.
    pub fn list(&self, only: Option<&[u64]>, now_ms: u64) -> String {
        let open = self.open.lock().expect(NOT_POISONED);
        let mut text = String::new();
        for client in open.values().filter(|client| only.is_none_or(|only| only.contains(&client.id))) {
            client.describe(&mut text, now_ms);
        }
        text
    }

    /// The numbers of those that `is_meant` says so of.
    pub fn find(&self, mut is_meant: impl FnMut(&Client) -> bool) -> Vec<u64> {
        self.open
            .lock()
            .expect(NOT_POISONED)
            .values()
            .filter(|client| is_meant(client))
            .map(|client| client.id)
            .collect()
    }
}

impl Client {
    /// It was heard of.
    pub fn is_heard(&self, now_ms: u64) {
        if self.begun_ms.load(Ordering::Relaxed) == 0 {
            self.begun_ms.store(now_ms, Ordering::Relaxed);
        }
        self.heard_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Appends all that is known of it, as a line.
    pub fn describe(&self, out: &mut String, now_ms: u64) {
        let since = |at: &AtomicU64| match at.load(Ordering::Relaxed) {
            0 => 0,
            at_ms => now_ms.saturating_sub(at_ms) / 1_000,
        };
        let Self { id, address, local, .. } = self;
        let (age, idle) = (since(&self.begun_ms), since(&self.heard_ms));
        let (database, version) = (self.database.load(Ordering::Relaxed), self.version.load(Ordering::Relaxed));
        let Names { name, library, library_version } = self.names.lock().expect(NOT_POISONED).clone();
        let line = writeln!(
            out,
            "id={id} addr={address} laddr={local} fd=-1 name={name} age={age} idle={idle} flags=N db={database} sub=0 psub=0 \
             ssub=0 multi=-1 watch=0 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 \
             events=r cmd=NULL user=default redir=-1 resp={version} lib-name={library} lib-ver={library_version}",
        );
        line.expect("a string takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_listed_for_as_long_as_it_is_there() {
        let shared = Arc::<Shared>::default();
        let open = |from: &str| Registration::new(Arc::clone(&shared), from.into(), "127.0.0.1:1".into());
        let (first, second) = (open("127.0.0.1:5"), open("127.0.0.1:6"));
        first.client().is_heard(1_000);
        first.client().names.lock().expect(NOT_POISONED).name = "worker".into();
        let list = shared.clients.list(None, 4_000);
        assert_eq!(list.lines().count(), 2);
        assert!(list.starts_with("id=1 addr=127.0.0.1:5 laddr=127.0.0.1:1 fd=-1 name=worker age=3 idle=3 "), "{list}");
        assert_eq!(shared.clients.list(Some(&[2, 9]), 0).lines().count(), 1);
        assert_eq!(shared.clients.find(|client| client.address.ends_with(":6")), [2]);
        drop(first);
        assert_eq!((shared.clients.count(), shared.accepted()), (1, 2));
        drop(second);
        assert_eq!(shared.clients.list(None, 0), "");
    }
}

//! The connections that speak RESP, as CLIENT tells of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use larder_protocol::resp::{Filter, Which};

use super::{NOT_POISONED, Shared};

/// All of them, by number.
#[derive(Debug, Default)]
pub struct Clients {
    open: Mutex<BTreeMap<u64, Arc<Client>>>,
    last: AtomicU64,
}

/// One connection. What changes is written by its shard alone, and read by all.
#[derive(Debug, Default)]
pub struct Client {
    /// Its number, from 1 on.
    pub id: u64,
    /// Where it comes from.
    pub address: String,
    /// Where it has come to.
    pub local: String,
    /// When it came, in ms since the Unix epoch.
    pub begun_ms: u64,
    /// When it was heard of last.
    pub heard_ms: AtomicU64,
    /// Which database it has chosen.
    pub database: AtomicU32,
    /// Which version of RESP it speaks.
    pub version: AtomicU8,
    /// What it says of itself.
    pub names: Mutex<Names>,
    /// It is to be closed, and is not told of any more.
    is_killed: AtomicBool,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    commands: AtomicU64,
    /// The number of the last command and one more; 0: there was none.
    last: AtomicU16,
    /// How many commands wait for EXEC, and one more; 0: MULTI was not said.
    queued: AtomicU32,
    watched: AtomicU32,
}

/// What a connection has done so far.
#[derive(Clone, Copy, Debug)]
pub struct Activity {
    /// So many commands.
    pub commands: u64,
    /// The last of them.
    pub last: Option<Which>,
    /// How many wait for EXEC; `None`: MULTI was not said.
    pub queued: Option<usize>,
    /// How many keys are watched.
    pub watched: usize,
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
    /// A new connection between these addresses, which begins now.
    pub fn new(shared: Arc<Shared>, address: String, local: String, now_ms: u64) -> Self {
        let id = shared.clients.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (begun_ms, heard_ms, version) = (now_ms, AtomicU64::new(now_ms), AtomicU8::new(2));
        let client = Arc::new(Client { id, address, local, begun_ms, heard_ms, version, ..Client::default() });
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

    /// Those that `is_meant` says so of, a line each.
    pub fn list(&self, is_meant: impl Fn(&Client) -> bool, now_ms: u64) -> String {
        let open = self.open.lock().expect(NOT_POISONED);
        let mut text = String::new();
        for client in open.values().filter(|client| is_meant(client)) {
            client.describe(&mut text, now_ms);
        }
        text
    }

    /// Those that `is_meant` says so of are clients no more, whatever they ask until they are closed. Returns their numbers.
    pub fn kill(&self, is_meant: impl Fn(&Client) -> bool) -> Vec<u64> {
        let mut open = self.open.lock().expect(NOT_POISONED);
        let mut killed = Vec::new();
        open.retain(|id, client| {
            let is_kept = !is_meant(client);
            if !is_kept {
                client.is_killed.store(true, Ordering::Relaxed);
                killed.push(*id);
            }
            is_kept
        });
        killed
    }
}

impl Client {
    /// So many bytes have come from it.
    pub fn is_heard(&self, bytes: u64, now_ms: u64) {
        self.heard_ms.store(now_ms, Ordering::Relaxed);
        add(&self.bytes_in, bytes);
    }

    /// So many bytes go to it.
    pub fn is_sent(&self, bytes: u64) {
        add(&self.bytes_out, bytes);
    }

    /// Shows what it has done.
    pub fn show(&self, activity: Activity) {
        let Activity { commands, last, queued, watched } = activity;
        self.commands.store(commands, Ordering::Relaxed);
        self.last.store(last.map_or(0, |which| which.number() + 1), Ordering::Relaxed);
        self.queued.store(queued.map_or(0, |count| count as u32 + 1), Ordering::Relaxed);
        self.watched.store(watched as u32, Ordering::Relaxed);
    }

    /// Whether nothing that it asks is to be done any more.
    pub fn is_killed(&self) -> bool {
        self.is_killed.load(Ordering::Relaxed)
    }

    /// Whether a filter of the connection with the number `asks` means it.
    pub fn is_meant(&self, filter: &Filter<'_>, asks: u64, now_ms: u64) -> bool {
        let is_at = |wanted: Option<&[u8]>, address: &str| wanted.is_none_or(|wanted| wanted == address.as_bytes());
        !filter.is_of_other_kind
            && filter.has_id(self.id)
            && is_at(filter.address, &self.address)
            && is_at(filter.local, &self.local)
            && !(filter.skips_self && self.id == asks)
            && since_s(self.begun_ms, now_ms) >= filter.age_s_min
    }

    /// Appends all that is known of it, as a line of Valkey 8.1. What it has in buffers is not told.
    pub fn describe(&self, out: &mut String, now_ms: u64) {
        let Self { id, address, local, .. } = self;
        let heard_ms = self.heard_ms.load(Ordering::Relaxed);
        let (age, idle) = (since_s(self.begun_ms, now_ms), since_s(heard_ms, now_ms));
        let (database, version) = (self.database.load(Ordering::Relaxed), self.version.load(Ordering::Relaxed));
        let Names { name, library, library_version } = self.names.lock().expect(NOT_POISONED).clone();
        let queued = i64::from(self.queued.load(Ordering::Relaxed)) - 1;
        let flags = if queued < 0 { "N" } else { "x" };
        let watched = self.watched.load(Ordering::Relaxed);
        let last = self.last.load(Ordering::Relaxed).checked_sub(1).and_then(Which::of);
        let last = last.map_or("NULL", |which| which.spec().name);
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let (bytes_in, bytes_out, commands) = (count(&self.bytes_in), count(&self.bytes_out), count(&self.commands));
        let line = writeln!(
            out,
            "id={id} addr={address} laddr={local} fd=-1 name={name} age={age} idle={idle} flags={flags} capa= db={database} \
             sub=0 psub=0 ssub=0 multi={queued} watch={watched} qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 \
             oll=0 omem=0 tot-mem=0 events=r cmd={last} user=default redir=-1 resp={version} lib-name={library} \
             lib-ver={library_version} tot-net-in={bytes_in} tot-net-out={bytes_out} tot-cmds={commands}",
        );
        line.expect("a string takes everything");
    }
}

/// There is one writer, so nothing is lost.
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// Seconds since a time.
fn since_s(at_ms: u64, now_ms: u64) -> u64 {
    now_ms.saturating_sub(at_ms) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_listed_for_as_long_as_it_is_there() {
        let shared = Arc::<Shared>::default();
        let open = |from: &str| Registration::new(Arc::clone(&shared), from.into(), "127.0.0.1:1".into(), 500);
        let (first, second) = (open("127.0.0.1:5"), open("127.0.0.1:6"));
        first.client().is_heard(26, 1_000);
        first.client().names.lock().expect(NOT_POISONED).name = "worker".into();
        let list = shared.clients.list(|_| true, 4_000);
        assert_eq!(list.lines().count(), 2);
        assert!(list.starts_with("id=1 addr=127.0.0.1:5 laddr=127.0.0.1:1 fd=-1 name=worker age=3 idle=3 "), "{list}");
        drop(first);
        assert_eq!((shared.clients.count(), shared.connections().accepted), (1, 2));
        drop(second);
        assert_eq!(shared.clients.list(|_| true, 0), "");
    }

    #[test]
    fn a_client_shows_what_it_has_done() {
        let client = Client { id: 7, version: AtomicU8::new(2), ..Client::default() };
        let line = || {
            let mut line = String::new();
            client.describe(&mut line, 0);
            line
        };
        assert!(line().contains(" flags=N capa= db=0 ") && line().contains(" multi=-1 watch=0 "), "{}", line());
        assert!(
            line().contains(" cmd=NULL ") && line().ends_with(" tot-net-in=0 tot-net-out=0 tot-cmds=0\n"),
            "{}",
            line()
        );
        client.is_heard(26, 1);
        client.is_sent(5);
        client.show(Activity { commands: 9, last: Some(Which::SET), queued: Some(2), watched: 3 });
        assert!(line().contains(" flags=x capa= ") && line().contains(" multi=2 watch=3 "), "{}", line());
        assert!(
            line().contains(" cmd=set ") && line().ends_with(" tot-net-in=26 tot-net-out=5 tot-cmds=9\n"),
            "{}",
            line()
        );
    }

    #[test]
    fn clients_are_meant_by_all_of_a_filter() {
        const NONE: [u64; 0] = [];
        let shared = Arc::<Shared>::default();
        let open =
            |(from, begun_ms): (&str, u64)| Registration::new(Arc::clone(&shared), from.into(), "l:1".into(), begun_ms);
        let open: Vec<_> = [("a:1", 9_000), ("b:2", 8_000), ("c:3", 7_000)].map(open).into();
        let meant = |filter: Filter<'_>| -> Vec<u64> {
            let list = shared.clients.list(|client| client.is_meant(&filter, 2, 10_000), 0);
            let ids = list.lines().filter_map(|line| line.split(['=', ' ']).nth(1)?.parse().ok());
            ids.collect()
        };
        assert_eq!(meant(Filter::default()), [1, 2, 3]);
        assert_eq!(meant(Filter { ids: Some(vec![1, 2, 9]), ..Filter::default() }), [1, 2]);
        assert_eq!(meant(Filter { ids: Some(vec![1, 2]), skips_self: true, ..Filter::default() }), [1]);
        assert_eq!(meant(Filter { address: Some(b"c:3"), ..Filter::default() }), [3]);
        assert_eq!(meant(Filter { local: Some(b"l:2"), ..Filter::default() }), NONE);
        assert_eq!(meant(Filter { age_s_min: 2, ..Filter::default() }), [2, 3]);
        assert_eq!(meant(Filter { is_of_other_kind: true, ..Filter::default() }), NONE);
        assert_eq!(shared.clients.kill(|client| client.id > 1), [2, 3]);
        assert!(open[2].client().is_killed() && !open[0].client().is_killed());
        assert_eq!((shared.clients.count(), meant(Filter::default())), (1, vec![1]));
    }
}

//! What nodes see of etcd: records with revisions, leases, and a watch per session.

use std::collections::BTreeMap;

use larder_membership::{Found, GroupRecord, Keys};

/// How often etcd looks for leases that have run out, in ms.
pub(crate) const EXPIRY_LOOK_MS: u64 = 500;

/// A session of one process with etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    pub(crate) node: usize,
    /// Which process of the node.
    pub(crate) process: u64,
    pub(crate) number: u64,
}

/// What a node asks.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// That a lease lives on; and whether it is still that of this key.
    Renew { lease: u64, key: String },
    /// A lease, and the record under it; whoever had the key before has it no more.
    Register { key: String, record: String, ttl_ms: u64 },
    /// All records.
    List,
    /// Everything that happens from this revision on.
    Watch { from: u64 },
    /// Which keys there are, and how far they are.
    Look,
    /// Another record under the same lease.
    Put { key: String, record: String, lease: u64 },
    /// That the generation of the group under this key is raised.
    Raise { key: String },
    /// That a lease ends.
    Revoke { lease: u64 },
}

/// What etcd says.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Renewed {
        /// The key is under this lease.
        is_registered: bool,
    },
    /// There is no such lease.
    NoLease,
    Registered {
        lease: u64,
    },
    Listed {
        revision: u64,
        found: Vec<Found>,
    },
    Watching,
    Changed {
        revision: u64,
        found: Vec<Found>,
    },
    /// Every key, with the revision at which it was written last.
    Looked {
        revision: u64,
        there: Vec<(String, u64)>,
    },
    /// What the watch should begin with is forgotten.
    Cancelled,
    Written,
    Raised {
        generation: u64,
        revision: u64,
    },
}

#[derive(Debug)]
struct Record {
    value: String,
    created: u64,
    written: u64,
    writes: u64,
    lease: u64,
}

#[derive(Debug)]
struct Lease {
    until_ms: u64,
    ttl_ms: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Etcd {
    revision: u64,
    records: BTreeMap<String, Record>,
    leases: BTreeMap<u64, Lease>,
    next_lease: u64,
    log: Vec<(u64, Vec<Found>)>,
    compacted: u64,
    watchers: Vec<Session>,
}

impl Etcd {
    /// There is a cluster, which nobody was in yet.
    pub(crate) fn new(keys: &Keys) -> Self {
        let mut etcd = Self::default();
        let watchers = etcd.write(keys.seed(), "0".into(), 0);
        debug_assert!(watchers.is_empty());
        etcd
    }

    /// A request arrives; what follows from it, in order, for whom.
    pub(crate) fn ask(&mut self, session: Session, ask: Ask, now_ms: u64) -> Vec<(Session, Answer)> {
        let mut told = Vec::new();
        let answer =
            match ask {
                Ask::Renew { lease, key } => match self.leases.get_mut(&lease) {
                    Some(known) => {
                        known.until_ms = now_ms + known.ttl_ms;
                        let is_registered = self.records.get(&key).is_some_and(|record| record.lease == lease);
                        Answer::Renewed { is_registered }
                    }
                    None => Answer::NoLease,
                },
                Ask::Register { key, record, ttl_ms } => {
                    self.next_lease += 1;
                    let lease = self.next_lease;
                    self.leases.insert(lease, Lease { until_ms: now_ms + ttl_ms, ttl_ms });
                    let before = self.records.get(&key).map(|record| record.lease);
                    told.extend(self.write(key, record, lease));
                    if let Some(before) = before {
                        self.leases.remove(&before);
                    }
                    Answer::Registered { lease }
                }
                Ask::List => {
                    let found = self.records.iter().map(|(key, record)| found(key, record)).collect();
                    Answer::Listed { revision: self.revision, found }
                }
                Ask::Watch { from } => {
                    self.watchers.retain(|watcher| (watcher.node, watcher.process) != (session.node, session.process));
                    if from <= self.compacted {
                        return vec![(session, Answer::Cancelled)];
                    }
                    self.watchers.push(session);
                    told.push((session, Answer::Watching));
                    let missed = self.log.iter().filter(|(revision, _)| *revision >= from);
                    told.extend(missed.map(|(revision, found)| {
                        (session, Answer::Changed { revision: *revision, found: found.clone() })
                    }));
                    return told;
                }
                Ask::Look => {
                    let there = self.records.iter().map(|(key, record)| (key.clone(), record.written)).collect();
                    Answer::Looked { revision: self.revision, there }
                }
                Ask::Put { key, record, lease } => {
                    if self.leases.contains_key(&lease) {
                        told.extend(self.write(key, record, lease));
                    }
                    Answer::Written
                }
                Ask::Raise { key } => {
                    let known = self.records.get(&key).map(|record| record.value.clone()).unwrap_or_default();
                    let mut record = GroupRecord::parse(known.as_bytes()).unwrap_or_default();
                    record.generation += 1;
                    told.extend(self.write(key, record.to_json(), 0));
                    Answer::Raised { generation: record.generation, revision: self.revision }
                }
                Ask::Revoke { lease } => {
                    self.leases.remove(&lease);
                    told.extend(self.remove_of(lease));
                    Answer::Written
                }
            };
        told.push((session, answer));
        told
    }

    /// An operator writes, or removes, a record without a lease.
    pub(crate) fn set(&mut self, key: String, value: Option<String>) -> Vec<(Session, Answer)> {
        match value {
            Some(value) => self.write(key, value, 0),
            None => self.remove(key),
        }
    }

    /// Ends leases that have run out.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<(Session, Answer)> {
        let over: Vec<u64> =
            self.leases.iter().filter(|(_, lease)| lease.until_ms <= now_ms).map(|(id, _)| *id).collect();
        let mut told = Vec::new();
        for lease in over {
            self.leases.remove(&lease);
            told.extend(self.remove_of(lease));
        }
        told
    }

    /// It has been away: leases begin anew, as with a new leader, and nobody watches any more.
    pub(crate) fn returns(&mut self, now_ms: u64) {
        self.leases.values_mut().for_each(|lease| lease.until_ms = now_ms + lease.ttl_ms);
        self.watchers.clear();
    }

    /// Forgets what happened so far: who watches from before has to read everything.
    pub(crate) fn compact(&mut self) {
        self.compacted = self.revision;
        self.log.clear();
        self.watchers.clear();
    }

    /// A session is gone.
    pub(crate) fn ends(&mut self, node: usize) {
        self.watchers.retain(|watcher| watcher.node != node);
    }

    fn write(&mut self, key: String, value: String, lease: u64) -> Vec<(Session, Answer)> {
        self.revision += 1;
        let (created, writes) =
            self.records.get(&key).map_or((self.revision, 0), |record| (record.created, record.writes));
        let record = Record { value, created, written: self.revision, writes: writes + 1, lease };
        let found = found(&key, &record);
        self.records.insert(key, record);
        self.tell(found)
    }

    fn remove_of(&mut self, lease: u64) -> Vec<(Session, Answer)> {
        let of_lease = self.records.iter().find(|(_, record)| record.lease == lease).map(|(key, _)| key.clone());
        of_lease.map(|key| self.remove(key)).unwrap_or_default()
    }

    fn remove(&mut self, key: String) -> Vec<(Session, Answer)> {
        if self.records.remove(&key).is_none() {
            return Vec::new();
        }
        self.revision += 1;
        self.tell(Found { key, value: None, created: 0, writes: 0 })
    }

    fn tell(&mut self, found: Found) -> Vec<(Session, Answer)> {
        self.log.push((self.revision, vec![found.clone()]));
        let changed = Answer::Changed { revision: self.revision, found: vec![found] };
        self.watchers.iter().map(|watcher| (*watcher, changed.clone())).collect()
    }
}

fn found(key: &str, record: &Record) -> Found {
    Found {
        key: key.to_owned(),
        value: Some(record.value.clone().into_bytes()),
        created: record.created,
        writes: record.writes,
    }
}

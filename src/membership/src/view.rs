//! What etcd says about a cluster, and the memberships that follow from it. Knows no network and no clock: whoever reads
//! etcd hands in what was read, and the time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use larder_ring::{KeptGroup, Membership, Node, Topology};

use crate::record::{GroupRecord, NodeRecord, OverrideRecord, State};

/// The keys of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// All of them begin with this.
    pub prefix: String,
}

/// What is under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The key.
    pub key: String,
    /// Its value; `None`: it is not there any more.
    pub value: Option<Vec<u8>>,
    /// The revision at which it was created.
    pub created: u64,
    /// How often it was written since.
    pub writes: u64,
}

/// Why what was read is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "etcd is at revision {found}, and was at {known} before: has it lost its data, or is it another one? The ring stays as it is"
)]
pub struct Backwards {
    /// The revision that was read.
    pub found: u64,
    /// One that was read before.
    pub known: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct View {
    keys: Keys,
    cluster_seed: u64,
    members: BTreeMap<String, Member>,
    overrides: BTreeMap<String, OverrideRecord>,
    groups: BTreeMap<String, Group>,
    revision: u64,
    /// What was given last.
    given: Option<(Arc<Topology>, Vec<Node>)>,
    /// What others have been given.
    known: Vec<Arc<Topology>>,
    /// Something has changed since, or is to be given again with a greater epoch.
    is_changed: bool,
    follows: bool,
    registration: u64,
    /// Until then a member is not believed to be gone.
    hold_until_ms: u64,
    /// What was there at this revision, and what was not, is believed all the same.
    believed_to: u64,
    /// See [`Membership::shut_until_ms`].
    shut_until_ms: u64,
    /// Members of a ring before that were missing from one that was given, and are still.
    missed: BTreeSet<String>,
    /// Somebody may have been a member before anything was read, and be none now.
    is_late: bool,
    /// When this node began, it was the only one that there had ever been.
    is_first: bool,
    /// Keys that are there, of whatever can be read or not.
    present: BTreeSet<String>,
    /// By key, what is wrong with a record.
    rejected: BTreeMap<String, String>,
    reports: Vec<String>,
}

#[derive(Clone, Debug)]
struct Group {
    record: GroupRecord,
    created: u64,
}

#[derive(Clone, Debug)]
struct Member {
    record: NodeRecord,
    created: u64,
}

/// Records that are reported at most before somebody takes the reports.
const REPORTS_MAX: usize = 64;

impl Keys {
    /// Those of the cluster with this name.
    pub fn new(cluster: &str) -> Self {
        Self { prefix: format!("/larder/{cluster}/") }
    }

    /// The registration of a node.
    pub fn node(&self, id: &str) -> String {
        format!("{}nodes/{id}", self.prefix)
    }

    /// What an operator has said about a node.
    pub fn override_of(&self, id: &str) -> String {
        format!("{}overrides/{id}", self.prefix)
    }

    /// What all nodes keep of a group.
    pub fn group(&self, name: &str) -> String {
        format!("{}groups/{name}", self.prefix)
    }

    /// The seed of all hashes.
    pub fn seed(&self) -> String {
        format!("{}seed", self.prefix)
    }
}

impl View {
    /// Nothing was read yet.
    pub fn new(keys: Keys, cluster_seed: u64) -> Self {
        Self {
            keys,
            cluster_seed,
            members: BTreeMap::new(),
            overrides: BTreeMap::new(),
            groups: BTreeMap::new(),
            revision: 0,
            given: None,
            known: Vec::new(),
            is_changed: false,
            follows: false,
            registration: 0,
            hold_until_ms: 0,
            believed_to: 0,
            shut_until_ms: 0,
            missed: BTreeSet::new(),
            is_late: true,
            is_first: false,
            present: BTreeSet::new(),
            rejected: BTreeMap::new(),
            reports: Vec::new(),
        }
    }

    /// All keys of the cluster were read, at this revision. What happened since the last reading is not known.
    ///
    /// # Errors
    /// More was read before; nothing changes.
    pub fn list(&mut self, revision: u64, found: impl IntoIterator<Item = Found>) -> Result<(), Backwards> {
        if revision < self.revision {
            return Err(Backwards { found: revision, known: self.revision });
        }
        self.members.clear();
        self.overrides.clear();
        self.groups.clear();
        self.present.clear();
        self.rejected.clear();
        let (mut began, mut writes, mut node_writes) = (0, 0, 0);
        let nodes = self.keys.node("");
        for found in found {
            began = if found.key == self.keys.seed() { found.created } else { began };
            writes += found.writes;
            node_writes += if found.key.starts_with(&nodes) { found.writes } else { 0 };
            self.take(found);
        }
        // Every write since the cluster began is of something that is still there, so nobody has ever left.
        let is_whole = began > 0 && began + writes == revision + 1;
        self.is_late &= self.revision == 0 && !is_whole;
        // That one was this node's.
        self.is_first |= self.revision == 0 && is_whole && node_writes == 1;
        (self.revision, self.is_changed, self.follows) = (revision, true, false);
        Ok(())
    }

    /// What changed at one revision, all of it; every revision before it was handed in.
    pub fn change(&mut self, revision: u64, found: impl IntoIterator<Item = Found>) {
        if revision <= self.revision {
            return;
        }
        let ours = [self.keys.node(""), self.keys.override_of(""), self.keys.group("")];
        let is_ours = |key: &str| ours.iter().any(|of| key.starts_with(of));
        let found: Vec<Found> = found.into_iter().filter(|found| is_ours(&found.key)).collect();
        self.is_changed |= !found.is_empty();
        self.revision = revision;
        found.into_iter().for_each(|found| self.take(found));
    }

    /// Whether this is all that is there, keys with the revisions at which they were written last, and the view has it.
    pub fn is_as<K: AsRef<str>>(&self, there: impl Iterator<Item = (K, u64)>) -> bool {
        let ours = [self.keys.node(""), self.keys.override_of(""), self.keys.group("")];
        let mut count = 0;
        for (key, revision) in there.filter(|(key, _)| ours.iter().any(|of| key.as_ref().starts_with(of))) {
            if revision > self.revision || !self.present.contains(key.as_ref()) {
                return false;
            }
            count += 1;
        }
        count == self.present.len()
    }

    /// Nothing more has changed up to this revision; a node has named an epoch as great as `wanted`.
    pub fn reached(&mut self, revision: u64, wanted: u64) {
        self.revision = self.revision.max(revision);
        let given = self.given.as_ref().map_or(0, |(topology, _)| topology.epoch());
        self.is_changed |= given < wanted && wanted <= self.revision;
    }

    /// etcd was not heard for so long, if it ever was, that registrations may have run out which are renewed again soon:
    /// until this time a member of the ring is not believed to be gone. One that is gone all the same may not have heard etcd
    /// again, and answer as before, unless the own registration is good until `shut_until_ms`.
    pub fn hold(&mut self, until_ms: u64, shut_until_ms: u64) {
        self.hold_until_ms = self.hold_until_ms.max(until_ms);
        self.shut_until_ms = self.shut_until_ms.max(shut_until_ms);
    }

    /// Another member goes by what etcd said at this revision, so this one does too. Not by what etcd says later: the other
    /// may have been told of somebody who was there then and is not now.
    pub fn believe(&mut self, revision: u64) {
        self.believed_to = self.believed_to.max(revision);
    }

    /// This node has registered, for so many times now.
    pub fn registered(&mut self, registration: u64) {
        self.registration = registration;
    }

    /// The next membership, if something has changed: with the members that etcd names, those left out that share an
    /// address with a younger one. `is_down` says that a node is not reached. The last one stays while nobody serves, and
    /// while somebody is missing of whom that is not believed.
    pub fn membership(&mut self, now_ms: u64, is_down: impl Fn(&str) -> bool) -> Option<Membership> {
        if !self.is_changed {
            return None;
        }
        let missing: Vec<String> = self.missing(is_down).map(str::to_owned).collect();
        if now_ms < self.hold_until_ms && self.revision > self.believed_to && !missing.is_empty() {
            // Others may go by this one meanwhile.
            self.follows = false;
            return None;
        }
        let (mut nodes, mut joining, mut leaving) = (Vec::new(), Vec::new(), Vec::new());
        for (id, Member { record, .. }) in self.believed() {
            let said = self.overrides.get(id).copied().unwrap_or_default();
            let Ok(node) = record.node(id, said.weight) else { continue };
            match record.state {
                State::Serving if !said.drain => nodes.push(node),
                State::Serving | State::Draining => leaving.push(node),
                State::Joining => joining.push(node),
            }
        }
        if nodes.is_empty() {
            self.follows = false;
            return None;
        }
        let epoch = self.revision.max(1);
        let given = self.given.iter().map(|(topology, _)| topology);
        let known = given.chain(&self.known).map(|topology| &**topology);
        let made = Topology::from_known(known, self.cluster_seed, epoch, nodes);
        let topology = match made {
            Ok(topology) => Arc::new(topology),
            Err(error) => {
                self.report(format!("the members in etcd make no ring, the last one stays: {error}"));
                (self.is_changed, self.follows) = (false, false);
                return None;
            }
        };
        self.given = Some((Arc::clone(&topology), leaving.clone()));
        self.missed.extend(missing);
        self.missed.retain(|id| !self.members.contains_key(id));
        let may_be_late = now_ms < self.shut_until_ms && (self.is_late || !self.missed.is_empty());
        let shut_until_ms = if may_be_late { self.shut_until_ms } else { 0 };
        let generations = self.groups.iter().map(|(name, group)| (name.clone(), group.record.generation)).collect();
        let (follows, registration, generations) = (self.follows, self.registration, Arc::new(generations));
        let (is_first, groups) = (self.is_first, Some(Arc::new(self.kept_groups())));
        let membership = Membership {
            topology,
            joining,
            leaving,
            follows,
            registration,
            shut_until_ms,
            is_first,
            generations,
            groups,
        };
        (self.is_changed, self.follows) = (false, true);
        Some(membership)
    }

    /// Rings that others have made from the same keys, some of them perhaps the next one here: what they share with it is
    /// not worked out again.
    pub fn know(&mut self, known: impl IntoIterator<Item = Arc<Topology>>) {
        self.known = known.into_iter().collect();
    }

    /// When [`View::membership`] is to be asked again although nothing was read.
    pub fn due_ms(&self) -> Option<u64> {
        (self.is_changed && self.hold_until_ms > 0).then_some(self.hold_until_ms)
    }

    /// The greatest revision that was read.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The registration under an id.
    pub fn record(&self, id: &str) -> Option<&NodeRecord> {
        self.members.get(id).map(|member| &member.record)
    }

    /// The groups that have settings.
    fn kept_groups(&self) -> BTreeMap<String, KeptGroup> {
        let kept = self.groups.iter().filter(|(_, group)| !group.record.settings.is_empty());
        let kept = kept.map(|(name, Group { record, created })| {
            (name.clone(), KeptGroup { identity: (*created).max(1), settings: record.settings_json() })
        });
        kept.collect()
    }

    /// What was said about a node.
    pub fn override_of(&self, id: &str) -> OverrideRecord {
        self.overrides.get(id).copied().unwrap_or_default()
    }

    /// Every registration, by id.
    pub fn records(&self) -> impl Iterator<Item = (&str, &NodeRecord)> {
        self.members.iter().map(|(id, member)| (id.as_str(), &member.record))
    }

    /// What is to be told to the operator, each once.
    pub fn take_reports(&mut self) -> Vec<String> {
        core::mem::take(&mut self.reports)
    }

    fn take(&mut self, Found { key, value, created, .. }: Found) {
        let (nodes, overrides, groups) = (self.keys.node(""), self.keys.override_of(""), self.keys.group(""));
        let is_present = value.is_some();
        let problem = if let Some(id) = key.strip_prefix(&nodes) {
            let read = value.map(|value| NodeRecord::parse(id, &value));
            put(&mut self.members, id, read.map(|read| read.map(|record| Member { record, created })))
        } else if let Some(id) = key.strip_prefix(&overrides) {
            put(&mut self.overrides, id, value.map(|value| OverrideRecord::parse(&value)))
        } else if let Some(name) = key.strip_prefix(&groups) {
            let read = value.map(|value| GroupRecord::parse(&value));
            put(&mut self.groups, name, read.map(|read| read.map(|record| Group { record, created })))
        } else {
            return;
        };
        if is_present {
            self.present.insert(key.clone());
        } else {
            self.present.remove(&key);
        }
        match problem {
            Some(problem) if self.rejected.get(&key) != Some(&problem) => {
                self.report(format!("the record under {key} in etcd is skipped: {problem}"));
                self.rejected.insert(key, problem);
            }
            Some(_) => {}
            None => drop(self.rejected.remove(&key)),
        }
    }

    fn report(&mut self, report: String) {
        if self.reports.len() < REPORTS_MAX {
            self.reports.push(report);
        }
    }

    /// The members without those of which a younger one has the address.
    fn believed(&self) -> impl Iterator<Item = (&str, &Member)> {
        let mut youngest: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
        for (id, member) in &self.members {
            let candidate = (member.created, id.as_str());
            let known = youngest.entry(&member.record.addr).or_insert(candidate);
            *known = candidate.max(*known);
        }
        let is_youngest = move |id: &str, member: &Member| youngest[member.record.addr.as_str()].1 == id;
        self.members
            .iter()
            .map(|(id, member)| (id.as_str(), member))
            .filter(move |(id, member)| is_youngest(id, member))
    }

    /// Who of the ring is not registered, and not down.
    fn missing(&self, is_down: impl Fn(&str) -> bool) -> impl Iterator<Item = &str> {
        let given = self.given.iter().flat_map(|(topology, _)| topology.nodes());
        given.map(|node| node.id.as_str()).filter(move |id| !self.members.contains_key(*id) && !is_down(id))
    }
}

/// Takes in what was read of an id; what is wrong with it. What cannot be read is as if it was not there.
fn put<T>(records: &mut BTreeMap<String, T>, id: &str, read: Option<Result<T, String>>) -> Option<String> {
    let (record, problem) = match read {
        Some(Ok(record)) => (Some(record), None),
        Some(Err(problem)) => (None, Some(problem)),
        None => (None, None),
    };
    match record {
        Some(record) => drop(records.insert(id.to_owned(), record)),
        None => drop(records.remove(id)),
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(address: &str, state: State) -> NodeRecord {
        NodeRecord {
            addr: format!("{address}.example:7400"),
            http: String::new(),
            shards: 2,
            weight: 1.0,
            zone: String::new(),
            state,
            incarnation: 7,
            version: "larder".into(),
        }
    }

    fn found(key: &str, value: &str) -> Found {
        Found { key: format!("/larder/c/{key}"), value: Some(value.as_bytes().to_vec()), created: 1, writes: 1 }
    }

    fn node(id: &str, state: State) -> Found {
        found(&format!("nodes/{id}"), &record(id, state).to_json())
    }

    fn gone(key: &str) -> Found {
        Found { key: format!("/larder/c/{key}"), value: None, created: 0, writes: 0 }
    }

    fn view() -> View {
        View::new(Keys::new("c"), 0)
    }

    fn ids(membership: &Membership) -> Vec<&str> {
        membership.topology.nodes().iter().map(|node| node.id.as_str()).collect()
    }

    fn up(_: &str) -> bool {
        false
    }

    #[test]
    fn those_who_serve_are_in_the_ring_and_those_who_leave_are_named() {
        let mut view = view();
        let listed = [node("a", State::Serving), node("b", State::Draining), node("c", State::Joining)];
        view.list(10, listed).expect("the first");
        let first = view.membership(0, up).expect("a serves");
        assert_eq!((ids(&first), first.topology.epoch(), first.follows), (vec!["a"], 10, false));
        assert_eq!(first.leaving.iter().map(|node| node.id.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(view.membership(0, up), None, "nothing has changed");
        view.change(12, [node("c", State::Serving), gone("nodes/b")]);
        let second = view.membership(0, up).expect("c serves now");
        assert_eq!((ids(&second), second.topology.epoch(), second.follows), (vec!["a", "c"], 12, true));
        assert!(second.leaving.is_empty());
    }

    #[test]
    fn overrides_count_and_go_again() {
        let mut view = view();
        view.list(1, [node("a", State::Serving), node("b", State::Serving), found("overrides/b", r#"{"weight":2}"#)])
            .expect("the first");
        let membership = view.membership(0, up).expect("two serve");
        assert_eq!(membership.topology.nodes().iter().map(|node| node.points).collect::<Vec<_>>(), [1024, 2048]);
        view.change(2, [found("overrides/b", r#"{"drain":true}"#)]);
        let membership = view.membership(0, up).expect("b is drained");
        assert_eq!((ids(&membership), membership.leaving.len()), (vec!["a"], 1));
        view.change(3, [gone("overrides/b")]);
        assert_eq!(view.membership(0, up).map(|membership| membership.topology.nodes().len()), Some(2));
    }

    /// A revision may be taken up only if nothing that happened until then is on its way.
    #[test]
    fn what_is_not_known_yet_is_seen() {
        let mut view = view();
        view.list(5, [node("a", State::Serving), found("nodes/b", "{")]).expect("the first");
        let is_as = |view: &View, there: &[(&str, u64)]| {
            view.is_as(there.iter().map(|(key, revision)| (format!("/larder/c/{key}"), *revision)))
        };
        assert!(is_as(&view, &[("nodes/a", 2), ("nodes/b", 5), ("seed", 9)]));
        assert!(!is_as(&view, &[("nodes/a", 6), ("nodes/b", 5)]), "a was written");
        assert!(!is_as(&view, &[("nodes/a", 2)]), "b is gone");
        assert!(!is_as(&view, &[("nodes/a", 2), ("nodes/b", 5), ("groups/g", 6)]), "g has come");
        view.change(6, [gone("nodes/b"), found("groups/g", "{}")]);
        assert!(is_as(&view, &[("nodes/a", 2), ("groups/g", 6)]));
    }

    #[test]
    fn how_often_a_group_was_invalidated_is_given_on_with_an_epoch_of_its_own() {
        let mut view = view();
        view.list(5, [node("a", State::Serving), found("groups/g", r#"{"generation":2}"#)]).expect("the first");
        let first = view.membership(0, up).expect("a serves");
        assert_eq!(first.generations.get("g"), Some(&2));
        view.change(8, [found("groups/g", r#"{"generation":3,"policy":"lru"}"#)]);
        let second = view.membership(0, up).expect("it was invalidated");
        assert_eq!((second.topology.epoch(), second.generations.get("g"), second.follows), (8, Some(&3), true));
        assert_eq!(second.topology.digest(), first.topology.digest());
        let kept = GroupRecord::parse(br#"{"policy":"lru","generation":3}"#).expect("it can be read");
        let raised = GroupRecord { generation: 4, ..kept };
        assert_eq!(raised.to_json(), r#"{"generation":4,"policy":"lru"}"#);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_skipped_and_reported_once() {
        let mut view = view();
        view.list(1, [node("a", State::Serving), found("nodes/b", "{"), found("other/g", "{")]).expect("the first");
        assert_eq!(view.membership(0, up).map(|membership| membership.topology.nodes().len()), Some(1));
        let reports = view.take_reports();
        assert!(reports.len() == 1 && reports[0].contains("/larder/c/nodes/b"), "{reports:?}");
        view.change(2, [found("nodes/b", "{")]);
        assert!(view.take_reports().is_empty());
        view.change(3, [node("b", State::Serving)]);
        assert_eq!(view.membership(0, up).map(|membership| membership.topology.nodes().len()), Some(2));
    }

    #[test]
    fn after_an_outage_nobody_is_believed_to_be_gone_for_a_while() {
        let mut view = view();
        view.list(1, [node("a", State::Serving), node("b", State::Serving)]).expect("the first");
        view.membership(0, up).expect("two serve");
        view.hold(5_000, 2_000);
        view.list(9, [node("a", State::Serving)]).expect("a later one");
        assert_eq!(view.membership(4_999, up), None, "b may come back");
        assert_eq!(view.due_ms(), Some(5_000));
        let mut without_link = view.clone();
        assert_eq!(without_link.membership(1, |id| id == "b").map(|all| all.topology.nodes().len()), Some(1));
        let mut shown = view.clone();
        shown.believe(8);
        assert_eq!(shown.membership(1, up), None, "at 8 it was there for the other too");
        shown.believe(9);
        assert_eq!(shown.membership(1, up).map(|all| all.topology.nodes().len()), Some(1));
        let mut later = view.clone();
        assert_eq!(later.membership(5_000, up).map(|all| all.topology.nodes().len()), Some(1));
        view.change(10, [node("b", State::Serving)]);
        let back = view.membership(1, up).expect("it is back");
        assert_eq!((back.topology.nodes().len(), back.topology.epoch(), back.follows), (2, 10, false));
    }

    #[test]
    fn the_first_process_of_a_cluster_is_told_from_one_that_comes_back() {
        let seed = Found { key: "/larder/c/seed".into(), value: Some(b"0".to_vec()), created: 4, writes: 1 };
        let group = found("groups/g", r#"{"generation":0}"#);
        let is_first = |revision, nodes: &[Found]| {
            let mut view = view();
            view.list(revision, [&[seed.clone(), group.clone()], nodes].concat()).expect("the first");
            view.membership(0, up).map(|membership| membership.is_first)
        };
        let rewritten = Found { writes: 2, ..node("a", State::Serving) };
        assert_eq!(is_first(6, &[node("a", State::Serving)]), Some(true));
        assert_eq!(is_first(7, &[node("a", State::Serving)]), Some(false), "something was written that is gone");
        assert_eq!(is_first(7, &[node("a", State::Serving), node("b", State::Joining)]), Some(false));
        assert_eq!(is_first(7, &[rewritten]), Some(false), "it may have been another process");
        // Who was the first remains so.
        let mut view = view();
        view.list(6, [seed.clone(), group.clone(), node("a", State::Serving)]).expect("the first");
        view.list(9, [seed, group, node("a", State::Serving)]).expect("a later one");
        assert_eq!(view.membership(0, up).map(|membership| membership.is_first), Some(true));
    }

    #[test]
    fn who_is_missing_all_the_same_may_answer_for_a_while() {
        let mut view = view();
        let seed = Found { key: "/larder/c/seed".into(), value: Some(b"0".to_vec()), created: 4, writes: 1 };
        view.list(6, [seed.clone(), node("a", State::Serving), node("b", State::Serving)]).expect("the first");
        assert_eq!(view.membership(0, up).map(|first| first.shut_until_ms), Some(0));
        view.hold(5_000, 2_000);
        view.list(9, [seed.clone(), node("a", State::Serving)]).expect("a later one");
        view.believe(9);
        let mut without_link = view.clone();
        assert_eq!(without_link.membership(1, |id| id == "b").map(|next| next.shut_until_ms), Some(0));
        assert_eq!(view.membership(1, up).map(|next| next.shut_until_ms), Some(2_000));
        let mut later = view.clone();
        view.change(10, [node("c", State::Serving)]);
        assert_eq!(view.membership(2, up).map(|next| next.shut_until_ms), Some(2_000), "b is not there yet");
        view.change(11, [node("b", State::Serving)]);
        assert_eq!(view.membership(3, up).map(|next| next.shut_until_ms), Some(0));
        later.change(10, [node("c", State::Serving)]);
        assert_eq!(later.membership(2_000, up).map(|next| next.shut_until_ms), Some(0));
    }

    #[test]
    fn who_comes_late_does_not_know_who_has_left() {
        let seed = |created| Found { key: "/larder/c/seed".into(), value: Some(b"0".to_vec()), created, writes: 1 };
        let twice = Found { writes: 2, ..node("a", State::Serving) };
        let shut_until_ms = |revision, found: Vec<Found>| {
            let mut view = view();
            view.hold(5_000, 2_000);
            view.list(revision, found).expect("the first");
            view.membership(0, up).expect("a serves").shut_until_ms
        };
        assert_eq!(shut_until_ms(6, vec![seed(4), twice.clone()]), 0, "all was written by who is there");
        assert_eq!(shut_until_ms(7, vec![seed(4), twice.clone()]), 2_000, "something is gone");
        assert_eq!(shut_until_ms(6, vec![twice]), 2_000, "it is not known when this began");
    }

    #[test]
    fn an_empty_list_is_not_believed_and_a_revision_never_runs_backwards() {
        let mut view = view();
        view.list(5, [node("a", State::Serving)]).expect("the first");
        view.membership(0, up).expect("a serves");
        view.list(6, []).expect("a later one");
        assert_eq!(view.membership(u64::MAX, up), None);
        assert_eq!(view.list(4, [node("a", State::Serving)]), Err(Backwards { found: 4, known: 6 }));
        view.change(6, [node("b", State::Serving)]);
        assert_eq!(view.records().count(), 0, "it was read already");
    }

    #[test]
    fn of_two_with_one_address_the_younger_is_believed() {
        let mut view = view();
        let mut younger = found("nodes/b", &record("a", State::Serving).to_json());
        younger.created = 2;
        view.list(5, [node("a", State::Serving), younger]).expect("the first");
        assert_eq!(view.membership(0, up).as_ref().map(ids), Some(vec!["b"]));
    }

    #[test]
    fn a_greater_epoch_is_taken_up_when_it_is_reached() {
        let mut view = view();
        view.list(5, [node("a", State::Serving)]).expect("the first");
        view.membership(0, up).expect("a serves");
        view.change(6, [found("other/g", "{}")]);
        assert_eq!(view.membership(0, up), None, "no matter of the ring");
        view.reached(7, 9);
        assert_eq!(view.membership(0, up), None, "not there yet");
        view.reached(9, 9);
        let again = view.membership(0, up).expect("reached");
        assert_eq!((again.topology.epoch(), again.follows), (9, true));
    }
}

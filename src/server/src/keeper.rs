//! Who keeps the groups of this node: what they are to be, and what becomes of them while the server runs. Where the members
//! of the cluster are kept in etcd, groups are kept there too, and this follows; else it decides, until the node ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use larder_engine::{ClusterOrderOutcome, GroupPlan, GroupPlans};
use larder_membership::{GroupChange, KeptGroup, merge_settings};
use larder_origin::{Origin, OriginSettings};
use larder_protocol::native::generated::{self, AlteredGroup};
use larder_protocol::{GroupAction, Status};
use larder_ring::{DEFAULT_GROUP, group_hash};
use serde_json::Value;

use crate::config::{Config, ConfigError, Definition, GroupConfig, GroupRoom, parse_definition};

/// The origins of groups, by the hash of the group's name.
pub type Origins = Arc<HashMap<u64, Arc<Origin>>>;

/// An origin, and what it was made from.
#[derive(Clone, Debug)]
struct KnownOrigin {
    settings: OriginSettings,
    origin: Arc<Origin>,
}

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    node_id: String,
    cluster_seed: u64,
    value_bytes_max: usize,
    room: GroupRoom,
    /// Whether etcd keeps the groups.
    is_kept: bool,
    groups: BTreeMap<String, Kept>,
    /// Groups that etcd has and that cannot be here.
    odd: BTreeSet<String>,
    configs: Vec<GroupConfig>,
    origins: HashMap<u64, KnownOrigin>,
    /// Counts what shards were given, and groups that were created here.
    version: u64,
    followed: Option<Arc<BTreeMap<String, KeptGroup>>>,
}

#[derive(Clone, Debug)]
struct Kept {
    definition: Definition,
    identity: u64,
}

/// What shards are to have.
#[derive(Clone, Debug)]
pub struct Plans {
    /// Greater than that of all before.
    pub version: u64,
    /// The groups.
    pub groups: GroupPlans,
    /// Their origins.
    pub origins: Origins,
}

/// Something that can be done about groups.
#[derive(Debug)]
pub enum Considered {
    /// They are named, and stay as they are; or one is as it was wanted already.
    Nothing(AlteredGroup),
    /// One is changed.
    Change {
        /// What.
        change: GroupChange,
        /// The answer when it is done.
        altered: AlteredGroup,
        /// For [`Keeper::take`].
        next: Next,
    },
}

/// The groups after a change.
#[derive(Debug)]
pub struct Next {
    groups: BTreeMap<String, Kept>,
    configs: Vec<GroupConfig>,
}

/// The keeper and whoever asks it are on one thread, and a panic ends the process.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    /// That of a node with this configuration.
    pub fn new(config: &Config) -> Self {
        let kept = |(name, definition): (&String, &Definition)| {
            (name.clone(), Kept { definition: definition.clone(), identity: 0 })
        };
        let mut keeper = Self {
            node_id: config.node_id.clone(),
            cluster_seed: config.cluster_seed,
            value_bytes_max: config.value_bytes_max as usize,
            room: GroupRoom { memory_bytes: config.memory_bytes, shards: config.shards },
            is_kept: config.etcd.is_some(),
            groups: config.definitions.iter().map(kept).collect(),
            odd: BTreeSet::new(),
            configs: config.groups.clone(),
            origins: HashMap::new(),
            version: 0,
            followed: None,
        };
        keeper.set_origins();
        keeper
    }

    /// The groups as shards are to have them.
    pub fn plans(&self) -> Plans {
        let plan = |group: &GroupConfig| GroupPlan {
            settings: group.settings(),
            origin: group.origin.as_ref().map(|origin| larder_engine::OriginSettings {
                negative_ttl_ms: origin.negative_ttl_ms,
                early_refresh_percent: origin.early_refresh_percent,
            }),
            stale_while_revalidate_ms: group.stale_while_revalidate_ms,
            stale_if_error_ms: group.stale_if_error_ms,
            // The group "default" is always the same.
            identity: match group.name.as_str() {
                DEFAULT_GROUP => 0,
                name => self.groups.get(name).map_or(0, |kept| kept.identity),
            },
        };
        let origins = self.origins.iter().map(|(hash, known)| (*hash, Arc::clone(&known.origin)));
        let (groups, origins) = (self.configs.iter().map(plan).collect(), Arc::new(origins.collect()));
        Plans { version: self.version, groups, origins }
    }

    /// What can be done of what is wanted. Changes nothing.
    ///
    /// # Errors
    /// Nothing, and why.
    pub fn consider(&self, action: GroupAction, name: &str, settings: &str) -> Result<Considered, ClusterOrderOutcome> {
        if action == GroupAction::List {
            let all = self.configs.iter().map(|group| group.name.as_str());
            return Ok(Considered::Nothing(self.altered(Vec::new(), self.described(all))));
        }
        let settings = parse_definition(settings)
            .map_err(|why| refused(Status::BadRequest, format!("the settings of group {name:?}: {why}")))?;
        let known = self.groups.get(name);
        let exists = known.is_some() || name == DEFAULT_GROUP;
        let mut groups = self.groups.clone();
        let change = match action {
            GroupAction::Create if known.is_some_and(|known| known.definition == settings) => {
                return Ok(Considered::Nothing(self.altered(Vec::new(), self.described([name].into_iter()))));
            }
            GroupAction::Create if exists => return Err(exists_already(name)),
            GroupAction::Create => {
                let kept = Kept { definition: settings.clone(), identity: self.version + 1 };
                groups.insert(name.to_owned(), kept);
                GroupChange::Create(settings)
            }
            _ if !exists => return Err(self.unknown(name)),
            GroupAction::Drop if name == DEFAULT_GROUP => {
                let why = "the group \"default\" stays: it serves every request that names no group";
                return Err(refused(Status::BadRequest, why.into()));
            }
            GroupAction::Drop => {
                groups.remove(name);
                GroupChange::Drop
            }
            GroupAction::Alter | GroupAction::List => {
                if settings.is_empty() {
                    let why = format!("nothing is to be changed about group {name:?}; name a setting such as memory");
                    return Err(refused(Status::BadRequest, why));
                }
                let kept = groups
                    .entry(name.to_owned())
                    .or_insert_with(|| Kept { definition: Definition::new(), identity: 0 });
                merge_settings(&mut kept.definition, settings.clone());
                // The group "default" is there without anybody having said so.
                GroupChange::Alter { patch: settings, must_be: name != DEFAULT_GROUP }
            }
        };
        let mut wanted = definitions(&groups);
        wanted.retain(|other, _| other == name || !self.odd.contains(other));
        let configs = self.room.resolve(&wanted).map_err(|error| refused(status_of(&error), error.to_string()))?;
        let next = Next { groups, configs };
        let altered = self.altered(self.changes(name, &next.configs), next.described(name));
        Ok(Considered::Change { change, altered, next })
    }

    /// Has the groups so from now on: what shards are to be given.
    pub fn take(&mut self, Next { groups, configs }: Next) -> Plans {
        (self.groups, self.configs) = (groups, configs);
        self.version += 1;
        self.set_origins();
        self.plans()
    }

    /// Follows what is kept of the groups for all nodes: what shards are to be given, if that is news, and what is to be
    /// reported.
    pub fn follow(&mut self, kept: &Arc<BTreeMap<String, KeptGroup>>) -> (Option<Plans>, Vec<String>) {
        if self.followed.as_ref() == Some(kept) {
            return (None, Vec::new());
        }
        self.followed = Some(Arc::clone(kept));
        let (mut groups, mut reports) = (BTreeMap::new(), Vec::new());
        for (name, KeptGroup { identity, settings }) in &**kept {
            match parse_definition(settings) {
                Ok(definition) => drop(groups.insert(name.clone(), Kept { definition, identity: *identity })),
                Err(why) => reports.push(format!("the settings of group {name:?} in etcd are skipped: {why}")),
            }
        }
        let (configs, more) = self.room.resolve_as_fits(&definitions(&groups));
        reports.extend(more);
        let is_here = |name: &String| configs.iter().any(|group| group.name == *name);
        self.odd = groups.keys().filter(|name| !is_here(name)).cloned().collect();
        (Some(self.take(Next { groups, configs })), reports)
    }

    /// What an order that etcd refuses is answered.
    pub fn unknown(&self, name: &str) -> ClusterOrderOutcome {
        let names: Vec<&str> = self.configs.iter().map(|group| group.name.as_str()).collect();
        let why = format!("there is no group {name:?}; this node has {}", names.join(", "));
        refused(Status::NoSuchGroup, why)
    }

    fn altered(&self, changes: Vec<generated::GroupChange>, groups: String) -> AlteredGroup {
        AlteredGroup { node: self.node_id.clone(), changes, is_kept: self.is_kept, groups }
    }

    fn described<'a>(&self, names: impl Iterator<Item = &'a str>) -> String {
        described(&self.groups, &self.configs, names)
    }

    /// What changes about memory and policies: of the group that is named first.
    fn changes(&self, named: &str, next: &[GroupConfig]) -> Vec<generated::GroupChange> {
        let find = |configs: &[GroupConfig], name: &str| {
            let found = configs.iter().find(|group| group.name == name);
            found.map_or((0, String::new()), |group| (group.budget_bytes, group.policy.to_string()))
        };
        let mut names = vec![named];
        names.extend(next.iter().map(|group| group.name.as_str()).filter(|name| *name != named));
        let change = |name: &str| {
            let (memory_bytes_before, policy_before) = find(&self.configs, name);
            let (memory_bytes, policy) = find(next, name);
            let is_change = (memory_bytes, &policy) != (memory_bytes_before, &policy_before);
            is_change.then(|| generated::GroupChange {
                name: name.to_owned(),
                memory_bytes,
                memory_bytes_before,
                policy,
                policy_before,
            })
        };
        names.into_iter().filter_map(change).collect()
    }

    /// Has an origin for each group that has one. One whose settings are the same stays, with what it knows.
    fn set_origins(&mut self) {
        let mut before = std::mem::take(&mut self.origins);
        for group in &self.configs {
            let Some(config) = &group.origin else { continue };
            let settings = OriginSettings { value_bytes_max: self.value_bytes_max, ..config.settings.clone() };
            let hash = group_hash(&group.name, self.cluster_seed);
            let known = before.remove(&hash).filter(|known| known.settings == settings);
            let known = known.unwrap_or_else(|| {
                let origin = Origin::new(&settings).expect("it was checked with the settings of its group");
                KnownOrigin { settings, origin: Arc::new(origin) }
            });
            self.origins.insert(hash, known);
        }
    }
}

impl Next {
    fn described(&self, name: &str) -> String {
        let names = self.configs.iter().map(|group| group.name.as_str()).filter(|known| *known == name);
        described(&self.groups, &self.configs, names)
    }
}

/// A JSON array of what is said of these groups, and of what follows from that here.
fn described<'a>(
    groups: &BTreeMap<String, Kept>,
    configs: &[GroupConfig],
    names: impl Iterator<Item = &'a str>,
) -> String {
    let described = names.map(|name| {
        let mut all = groups.get(name).map(|kept| kept.definition.clone()).unwrap_or_default();
        // What may be secret is for origins alone.
        if let Some(headers) = all.get_mut("origin").and_then(|origin| origin.get_mut("headers")) {
            let count = headers.as_array().map_or(0, Vec::len);
            *headers = Value::from(format!("{count} not shown"));
        }
        all.insert("name".to_owned(), Value::from(name));
        if let Some(group) = configs.iter().find(|group| group.name == name) {
            all.insert("memory_bytes".to_owned(), Value::from(group.budget_bytes));
            all.insert("policy".to_owned(), Value::from(group.policy.to_string()));
        }
        Value::from(all)
    });
    Value::from(described.collect::<Vec<_>>()).to_string()
}

fn definitions(groups: &BTreeMap<String, Kept>) -> BTreeMap<String, Definition> {
    groups.iter().map(|(name, kept)| (name.clone(), kept.definition.clone())).collect()
}

fn refused(status: Status, why: String) -> ClusterOrderOutcome {
    ClusterOrderOutcome::Refused { status, why }
}

/// What who wants to create a group is answered if there is one.
pub fn exists_already(name: &str) -> ClusterOrderOutcome {
    let why = format!("there is a group {name:?} with other settings; alter it, or drop it first with its entries");
    refused(Status::Exists, why)
}

/// Settings that are wrong in themselves are to be corrected; what is more than there is may be right elsewhere.
fn status_of(error: &ConfigError) -> Status {
    match error {
        ConfigError::Refused { name, .. } if name == "memory" => Status::TooLarge,
        _ => Status::BadRequest,
    }
}

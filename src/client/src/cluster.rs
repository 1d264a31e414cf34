//! The nodes that a client knows, the ring that places keys on them, and the connections to each.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};

use larder_protocol::{Command, Request, Status};
use larder_ring::{NodeIndex, Place, Topology};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::builder::Settings;
use crate::client::Loads;
use crate::error::Error;
use crate::limits::REFRESH_INTERVAL;
use crate::network::{EndpointSettings, Established, Greeting, HandshakeError, Link, Observer, Payload};
use crate::node::Node;
use crate::policies::Budget;
use crate::server::{Group, Limits, Members};

/// What all clones of a client share.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) settings: Settings,
    pub(crate) budget: Budget,
    view: RwLock<Arc<View>>,
    /// Held while a view is replaced by the next one.
    adoption: Mutex<()>,
    rng: Mutex<fastrand::Rng>,
    /// Keys that callers are loading.
    pub(crate) loads: Loads,
    /// Signalled when a server seems to know a newer ring.
    outdated: Arc<Notify>,
    refresher: OnceLock<JoinHandle<()>>,
    me: Weak<Cluster>,
}

/// An immutable state of knowledge. Calls hold on to it for one attempt.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) topology: Arc<Topology>,
    pub(crate) groups: Vec<Group>,
    pub(crate) limits: Limits,
    /// As the nodes of the topology.
    nodes: Vec<Arc<Node>>,
}

/// A shard, and where its node is reached.
#[derive(Clone, Debug)]
pub(crate) struct ShardAddress {
    /// The id of the node.
    pub(crate) node: Arc<str>,
    pub(crate) address: String,
    pub(crate) shard: u16,
}

impl Cluster {
    /// Connects to the first of the addresses that answers.
    pub(crate) async fn connect(settings: Settings) -> Result<Arc<Cluster>, Error> {
        let (address, first) = first_connection(&settings).await?;
        let greeting = first.link.greeting.clone();
        let cluster = Arc::new_cyclic(|me| Cluster {
            budget: Budget::new(settings.retry.budget_percent, settings.retry.budget_burst),
            view: RwLock::new(Arc::new(View {
                topology: greeting.topology.clone(),
                groups: Vec::new(),
                limits: greeting.limits,
                nodes: Vec::new(),
            })),
            adoption: Mutex::new(()),
            rng: Mutex::new(fastrand::Rng::with_seed(settings.seed)),
            outdated: Arc::new(Notify::new()),
            loads: Loads::default(),
            refresher: OnceLock::new(),
            me: me.clone(),
            settings,
        });
        cluster.adopt(News::from(&address, &greeting), Some(first));
        let refresher = tokio::spawn(refresh(cluster.me.clone(), cluster.outdated.clone()));
        cluster.refresher.set(refresher).expect("set once, here");
        Ok(cluster)
    }

    /// What is known at this moment.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A server has shown an epoch, or refused as the wrong owner: the ring may be newer than ours.
    pub(crate) fn ring_seems_outdated(&self) {
        self.outdated.notify_one();
    }

    /// Uniform in 0..1, for jitter.
    pub(crate) fn random(&self) -> f64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }

    fn endpoint_settings(&self) -> EndpointSettings {
        EndpointSettings {
            connect: self.settings.connect.clone(),
            backoff: self.settings.reconnect,
            stall: self.settings.stall(),
            seed: self.rng.lock().unwrap_or_else(PoisonError::into_inner).u64(..),
            shard: 0,
        }
    }

    /// Takes what a node said as the new view. Nodes that are known keep their connections.
    fn adopt(&self, news: News<'_>, mut first: Option<Established>) {
        let before = self.view();
        let nodes = news.topology.nodes().iter().map(|node| {
            if let Some(known) = before.nodes.iter().find(|known| known.is(node)) {
                return known.clone();
            }
            // The node that speaks is where it was reached, whatever address it gives itself.
            let reached = news.speaker.filter(|speaker| speaker.node == node.id);
            let dialled = reached.map_or(&*node.address, |speaker| speaker.address);
            let first = if reached.is_some() { first.take() } else { None };
            let connections_max = self.settings.connections_per_node_max;
            Arc::new(Node::new(node, dialled, connections_max, self.endpoint_settings(), self.me.clone(), first))
        });
        let view = View {
            nodes: nodes.collect(),
            topology: news.topology.clone(),
            groups: news.groups.to_vec(),
            limits: news.limits,
        };
        view.validate();
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    /// Asks a connected node for its ring and the nodes outside it, and adopts a newer ring.
    pub(crate) async fn refresh_topology(&self) -> Result<Members, Error> {
        let view = self.view();
        let until = Instant::now() + self.settings.attempt_timeout;
        let link = view.link(view.any_place(), until).await?;
        let request =
            Request { id: 0, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command: Command::Topology };
        let unreachable = |reason: String| Error::Unreachable { address: link.address.clone(), reason };
        let answer = link.exchange(&request, until).await.map_err(|attempt| unreachable(attempt.to_string()))?;
        let protocol = |reason: String| Error::Protocol { address: link.address.clone(), reason };
        let told = match answer.payload {
            Payload::Topology(told) => Members::try_from(&*told).map_err(|error| protocol(error.to_string()))?,
            _ if answer.status != Status::Ok => return Err(unreachable(answer.message)),
            _ => return Err(protocol("it answered topology with something else".to_owned())),
        };
        let _adoption = self.adoption.lock().unwrap_or_else(PoisonError::into_inner);
        let view = self.view();
        if told.topology.epoch() > view.topology.epoch() {
            let topology = told.topology.clone();
            self.adopt(News { topology, groups: &view.groups, limits: view.limits, speaker: None }, None);
        }
        Ok(told)
    }
}

/// What a view is made of.
struct News<'n> {
    topology: Arc<Topology>,
    groups: &'n [Group],
    limits: Limits,
    speaker: Option<Speaker<'n>>,
}

/// The node that brings the news, and where it was reached.
#[derive(Clone, Copy)]
struct Speaker<'n> {
    node: &'n str,
    address: &'n str,
}

impl<'n> News<'n> {
    fn from(address: &'n str, greeting: &'n Greeting) -> Self {
        News {
            topology: greeting.topology.clone(),
            groups: &greeting.groups,
            limits: greeting.limits,
            speaker: Some(Speaker { node: &greeting.node, address }),
        }
    }
}

impl Observer for Cluster {
    /// The larger epoch wins. At the same epoch only the same ring is accepted, and an older one teaches nothing,
    /// unless nobody is left who speaks for the ring that is known: then the servers were started anew.
    fn greeted(&self, address: &str, greeting: &Greeting) -> Result<(), HandshakeError> {
        check_seed(&self.settings, greeting)?;
        let _adoption = self.adoption.lock().unwrap_or_else(PoisonError::into_inner);
        let view = self.view();
        let (known, told) = (&view.topology, &greeting.topology);
        let same_ring = told.digest() == known.digest();
        let newer = told.epoch() > known.epoch() || (same_ring && told.epoch() == known.epoch());
        let nobody_left = !same_ring && view.any_link().is_none();
        if newer || nobody_left {
            self.adopt(News::from(address, greeting), None);
        } else if !same_ring && told.epoch() == known.epoch() {
            return Err(HandshakeError::Transport(format!(
                "it has another ring (digest {:#018x}) at the same epoch {} than the other nodes ({:#018x})",
                told.digest(),
                told.epoch(),
                known.digest()
            )));
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(refresher) = self.refresher.get() {
            refresher.abort();
        }
    }
}

impl View {
    /// The connection for `place`, or for want of it another one to its node; waits if none is up.
    pub(crate) async fn link(&self, place: Place, until: Instant) -> Result<Arc<Link>, Error> {
        self.nodes[usize::from(place.node.0)].link(place.shard, until).await
    }

    /// A connection that is up, whichever.
    pub(crate) fn any_link(&self) -> Option<Arc<Link>> {
        self.nodes.iter().find_map(|node| node.any_link())
    }

    /// The first node that is connected, else the first.
    pub(crate) fn any_place(&self) -> Place {
        let node = self.nodes.iter().position(|node| node.any_link().is_some()).unwrap_or(0);
        self.place_on(NodeIndex(node as u16))
    }

    /// A shard of this node that costs no further connection.
    pub(crate) fn place_on(&self, node: NodeIndex) -> Place {
        Place { node, shard: self.nodes[usize::from(node.0)].first_shard() }
    }

    /// Every shard of every node.
    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardAddress> {
        self.nodes.iter().zip(self.topology.nodes()).flat_map(|(node, record)| {
            let id: Arc<str> = record.id.as_str().into();
            (0..record.shards).map(move |shard| {
                let (node, address) = (id.clone(), node.address().to_owned());
                ShardAddress { node, address, shard }
            })
        })
    }

    fn validate(&self) {
        assert_eq!(self.nodes.len(), self.topology.nodes().len(), "as many nodes as the topology has");
        for (node, record) in self.nodes.iter().zip(self.topology.nodes()) {
            assert!(node.is(record), "nodes are those of the topology, in its order: {node:?}, {record:?}");
            node.validate();
        }
    }
}

async fn first_connection(settings: &Settings) -> Result<(String, Established), Error> {
    let mut errors = Vec::new();
    for address in &settings.addresses {
        match crate::network::establish(address, &settings.connect, None).await {
            Ok(established) => match check_seed(settings, &established.link.greeting) {
                Ok(()) => return Ok((address.clone(), established)),
                Err(error) => errors.push(error.at(address)),
            },
            Err(error) => errors.push(error.at(address)),
        }
    }
    if errors.len() == 1 {
        return Err(errors.remove(0));
    }
    let reasons: Vec<String> = errors.iter().map(Error::to_string).collect();
    Err(Error::Unreachable { address: settings.addresses.join(", "), reason: reasons.join("; ") })
}

fn check_seed(settings: &Settings, greeting: &Greeting) -> Result<(), HandshakeError> {
    let seed = greeting.topology.cluster_seed();
    match settings.cluster_seed {
        Some(expected) if expected != seed => Err(HandshakeError::Protocol(format!(
            "it belongs to the cluster with seed {seed}, and this client is set to seed {expected}"
        ))),
        _ => Ok(()),
    }
}

/// Asks for the ring when a newer one was seen, rarely enough to be no load.
async fn refresh(cluster: Weak<Cluster>, outdated: Arc<Notify>) {
    loop {
        outdated.notified().await;
        let Some(cluster) = cluster.upgrade() else { return };
        // Should it fail, the next answer that shows the newer epoch asks again.
        let _ = cluster.refresh_topology().await;
        drop(cluster);
        sleep(REFRESH_INTERVAL).await;
    }
}

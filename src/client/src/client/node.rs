//! Operations on a group or a node, and what is known of the servers.

use std::sync::Arc;

use larder_protocol::native::generated::{AlteredGroup, StatsResult};
use larder_protocol::{Command, GroupAction, GroupAlteration, NodeAlteration, Status};
use larder_ring::Topology;

use crate::call::{Target, unexpected};
use crate::client::Client;
use crate::error::Error;
use crate::network::Payload;
use crate::server::{Members, ServerInfo};

impl Client {
    /// Makes every entry of the group absent that was acknowledged before, on all nodes, and returns how often the group was
    /// invalidated: in the cluster, if its members are kept in etcd, else on the node that answers. Tried again after a
    /// lost or late answer.
    ///
    /// # Errors
    /// Any but [`Error::OutcomeUnknown`].
    pub async fn invalidate(&self) -> Result<u64, Error> {
        let answer = self.call(Target::Any, Command::Invalidate).await?;
        match (answer.status, &answer.payload) {
            (Status::Ok, Payload::Invalidated(generation)) => Ok(*generation),
            _ => Err(unexpected("invalidate", answer.status, &answer.payload)),
        }
    }

    /// The counters of every node of the topology, in its order.
    ///
    /// # Errors
    /// The first of any node.
    pub async fn stats(&self) -> Result<Vec<StatsResult>, Error> {
        let topology = self.topology();
        let mut all = Vec::with_capacity(topology.nodes().len());
        for node in topology.nodes() {
            let answer = self.call(Target::Node(&node.id), Command::Stats).await?;
            match answer.payload {
                Payload::Stats(stats) if answer.status == Status::Ok => all.push(*stats),
                payload => return Err(unexpected("stats", answer.status, &payload)),
            }
        }
        Ok(all)
    }

    /// The groups of every node, or, where etcd keeps them for all, of one: [`AlteredGroup::groups`] has them as JSON.
    ///
    /// # Errors
    /// The first of any node.
    pub async fn groups(&self) -> Result<Vec<AlteredGroup>, Error> {
        self.on_groups(GroupAlteration { name: "", action: GroupAction::List, settings: "" }).await
    }

    /// Creates a group, on all nodes. `settings` is a JSON object with the keys of a `[[group]]` in `larder.toml` but its
    /// name, such as `{"memory": "64MiB", "policy": "two_q", "ttl": "10m"}`. It is there when this returns. Where the
    /// members of the cluster are kept in etcd, it lasts; else each node has it until it ends. Tried again after a lost or
    /// late answer.
    ///
    /// # Errors
    /// The first of any node, and then those before it have the group: [`Error::Rejected`] if there is another group of this
    /// name, or it cannot be so, with the reason.
    pub async fn create_group(&self, name: &str, settings: &str) -> Result<Vec<AlteredGroup>, Error> {
        self.on_groups(GroupAlteration { name, action: GroupAction::Create, settings }).await
    }

    /// Changes the settings of a group that are named, on all nodes, see [`Client::create_group`]; one that is null is as if
    /// it had never been set. More memory is there at once; less is approached in steps, and so is another policy, and no
    /// request fails meanwhile.
    ///
    /// # Errors
    /// As there, and [`Error::NoSuchGroup`].
    pub async fn alter_group(&self, name: &str, settings: &str) -> Result<Vec<AlteredGroup>, Error> {
        self.on_groups(GroupAlteration { name, action: GroupAction::Alter, settings }).await
    }

    /// Drops a group with its entries, on all nodes, see [`Client::create_group`].
    ///
    /// # Errors
    /// As [`Client::alter_group`]; also for the group "default", which stays.
    pub async fn drop_group(&self, name: &str) -> Result<Vec<AlteredGroup>, Error> {
        self.on_groups(GroupAlteration { name, action: GroupAction::Drop, settings: "" }).await
    }

    /// Asks one node, and the others too unless it keeps groups for all.
    async fn on_groups(&self, alteration: GroupAlteration<'_>) -> Result<Vec<AlteredGroup>, Error> {
        // So that what is said of the group names it.
        let named = if alteration.name.is_empty() { self.clone() } else { self.group(alteration.name)? };
        let topology = self.topology();
        let mut all = Vec::with_capacity(topology.nodes().len());
        for node in topology.nodes() {
            let answer = named.call(Target::Node(&node.id), Command::AlterGroup(alteration)).await?;
            match answer.payload {
                Payload::None if answer.status == Status::Exists => {
                    return Err(Error::Rejected { status: answer.status, message: answer.message });
                }
                Payload::Altered(altered) if answer.status == Status::Ok => {
                    let is_kept = altered.is_kept;
                    all.push(*altered);
                    if is_kept {
                        break;
                    }
                }
                payload => return Err(unexpected("alter_group", answer.status, &payload)),
            }
        }
        Ok(all)
    }

    /// Says of a node of a cluster with etcd what its weight is ("2", or "default" for the one that it was configured
    /// with), and whether it is to own nothing. What is `None` stays. It is kept in etcd, and outlives the node.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is no such node, the weight cannot be, or the cluster has no etcd; or the node that was
    /// asked, or etcd, does not answer.
    pub async fn alter_node(&self, node: &str, weight: Option<&str>, drain: Option<bool>) -> Result<(), Error> {
        let command = Command::AlterNode(NodeAlteration { node, weight, drain });
        let answer = self.call(Target::Any, command).await?;
        match (answer.status, &answer.payload) {
            (Status::Ok, Payload::None) => Ok(()),
            (status, payload) => Err(unexpected("alter_node", status, payload)),
        }
    }

    /// The ring by which this client places keys.
    pub fn topology(&self) -> Arc<Topology> {
        self.cluster.view().topology.clone()
    }

    /// Asks a node for its ring, adopts it if it is newer, and returns the one that is then used. The client does
    /// this by itself when an answer shows a newer epoch.
    ///
    /// # Errors
    /// [`Error::Unreachable`] or [`Error::Protocol`].
    pub async fn refresh_topology(&self) -> Result<Arc<Topology>, Error> {
        self.cluster.refresh_topology().await?;
        Ok(self.topology())
    }

    /// Asks a node for all nodes of its cluster, also those that own nothing.
    ///
    /// # Errors
    /// [`Error::Unreachable`] or [`Error::Protocol`].
    pub async fn members(&self) -> Result<Members, Error> {
        self.cluster.refresh_topology().await
    }

    /// What the server said in the Hello of a connection that is up; `None`: none is.
    pub fn server(&self) -> Option<ServerInfo> {
        let link = self.cluster.view().any_link()?;
        let greeting = &link.greeting;
        Some(ServerInfo {
            address: link.address.clone(),
            server: greeting.server.clone(),
            node: greeting.node.clone(),
            limits: greeting.limits,
            groups: greeting.groups.clone(),
            topology: greeting.topology.clone(),
        })
    }
}

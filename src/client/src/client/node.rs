//! Operations on a group or a node, and what is known of the servers.

use std::sync::Arc;

use larder_protocol::native::generated::{AlteredGroup, StatsResult};
use larder_protocol::{Command, GroupAlteration, NodeAlteration, Status};
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

    /// Gives the group of this client so much memory on every node of the topology, in bytes, and returns what was
    /// changed on each when all its shards have it. It lasts until the node ends, which then has its configuration again.
    /// More is there at once; less is approached in steps, in which no request fails. Tried again after a lost or late
    /// answer; then what it was before may be what the first attempt made it.
    ///
    /// # Errors
    /// The first of any node, and then those before it have been changed: [`Error::NoSuchGroup`], or [`Error::Rejected`]
    /// if the node cannot have it so, with the reason.
    pub async fn alter_memory(&self, memory_bytes: u64) -> Result<Vec<AlteredGroup>, Error> {
        self.alter(Some(memory_bytes), None).await
    }

    /// Gives the group of this client another eviction policy on every node of the topology, such as `lru` or
    /// `two_q:in=30%`: with a colon, parameters that are not to be the usual ones. Its entries stay, and go over to it in
    /// steps. Otherwise as [`Client::alter_memory`].
    ///
    /// # Errors
    /// As [`Client::alter_memory`].
    pub async fn alter_policy(&self, policy: &str) -> Result<Vec<AlteredGroup>, Error> {
        self.alter(None, Some(policy)).await
    }

    /// Both [`Client::alter_memory`] and [`Client::alter_policy`], or none of them on a node that refuses one.
    ///
    /// # Errors
    /// As [`Client::alter_memory`].
    pub async fn alter(&self, memory_bytes: Option<u64>, policy: Option<&str>) -> Result<Vec<AlteredGroup>, Error> {
        let topology = self.topology();
        let name = self.group_name();
        let command = Command::AlterGroup(GroupAlteration { name, memory_bytes, policy });
        let mut all = Vec::with_capacity(topology.nodes().len());
        for node in topology.nodes() {
            let answer = self.call(Target::Node(&node.id), command).await?;
            match answer.payload {
                Payload::Altered(altered) if answer.status == Status::Ok => all.push(*altered),
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

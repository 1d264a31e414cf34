//! One node and the connections to it: one for each of its shards, as far as they may be that many.

use std::sync::{Arc, OnceLock, Weak};

use tokio::time::Instant;

use crate::error::Error;
use crate::network::{Endpoint, EndpointSettings, Established, Link, Observer};

/// A node of the topology.
#[derive(Debug)]
pub(crate) struct Node {
    id: String,
    /// Its address in the topology; connections may go elsewhere, to the address that it was found by.
    advertised: String,
    dialled: String,
    map: ShardMap,
    /// Made when they are first needed; the first one at once.
    endpoints: Box<[OnceLock<Endpoint>]>,
    settings: EndpointSettings,
    observer: Weak<dyn Observer>,
}

impl Node {
    /// Starts to connect to a node, or goes on with `first` if there is a connection already.
    pub(crate) fn new(
        record: &larder_ring::Node,
        dialled: &str,
        connections_max: usize,
        settings: EndpointSettings,
        observer: Weak<dyn Observer>,
        first: Option<Established>,
    ) -> Self {
        // Where it begins does not matter to this client; to the server it matters that not all begin at one shard.
        let first_shard = match &first {
            Some(first) => first.link.greeting.shard % record.shards,
            None => (settings.seed % u64::from(record.shards)) as u16,
        };
        let connections = connections_max.min(usize::from(record.shards)) as u16;
        let node = Self {
            id: record.id.clone(),
            advertised: record.address.clone(),
            dialled: dialled.to_owned(),
            map: ShardMap { shards: record.shards, first: first_shard, connections },
            endpoints: (0..connections).map(|_| OnceLock::new()).collect(),
            settings,
            observer,
        };
        node.endpoint(0, first);
        node
    }

    /// Whether it is the node of this record, reached in the same way.
    pub(crate) fn is(&self, record: &larder_ring::Node) -> bool {
        self.id == record.id && self.advertised == record.address && self.map.shards == record.shards
    }

    /// The connection for `shard`. While that one is not up, another one that is: the server passes on what comes there.
    /// With none up it waits as [`Endpoint::link`] does.
    pub(crate) async fn link(&self, shard: u16, until: Instant) -> Result<Arc<Link>, Error> {
        let own = self.endpoint(self.map.connection(shard), None);
        match own.current().or_else(|| self.any_link()) {
            Some(link) => Ok(link),
            None => own.link(until).await,
        }
    }

    /// A connection that is up, whichever.
    pub(crate) fn any_link(&self) -> Option<Arc<Link>> {
        self.endpoints.iter().filter_map(OnceLock::get).find_map(Endpoint::current)
    }

    /// Where its connections go.
    pub(crate) fn address(&self) -> &str {
        &self.dialled
    }

    /// The shard whose connection is there from the beginning.
    pub(crate) fn first_shard(&self) -> u16 {
        self.map.first
    }

    fn endpoint(&self, connection: u16, first: Option<Established>) -> &Endpoint {
        self.endpoints[usize::from(connection)].get_or_init(|| {
            let settings = EndpointSettings {
                shard: self.map.shard(connection),
                seed: self.settings.seed.wrapping_add(connection.into()),
                ..self.settings.clone()
            };
            Endpoint::start(self.dialled.clone(), settings, self.observer.clone(), first)
        })
    }

    /// # Panics
    /// If an invariant does not hold.
    pub(crate) fn validate(&self) {
        let Self { map, .. } = self;
        assert!(map.first < map.shards && (1..=map.shards).contains(&map.connections), "{}: {map:?}", self.id);
        assert_eq!(self.endpoints.len(), usize::from(map.connections), "{}: {map:?}", self.id);
        assert!(self.endpoints[0].get().is_some(), "{}: nobody connects", self.id);
    }
}

/// Which connection is for which shard.
#[derive(Clone, Copy, Debug)]
struct ShardMap {
    shards: u16,
    /// The shard of connection 0; the following shards have the following connections.
    first: u16,
    /// At most as many as shards. The shards that have none of their own share them.
    connections: u16,
}

impl ShardMap {
    /// The connection for `shard`.
    fn connection(self, shard: u16) -> u16 {
        // Shards of a newer ring than the node's never come here: a view holds the nodes of its own ring.
        let from_first = if shard >= self.first { shard - self.first } else { shard + self.shards - self.first };
        from_first % self.connections
    }

    /// The shard that a connection asks for.
    fn shard(self, connection: u16) -> u16 {
        let shard = self.first + connection;
        if shard >= self.shards { shard - self.shards } else { shard }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shard_has_a_connection_of_its_own_if_there_are_enough() {
        for shards in [1, 2, 3, 64, 256] {
            for first in [0, shards / 2, shards - 1] {
                let map = ShardMap { shards, first, connections: shards };
                assert_eq!(map.connection(first), 0);
                assert!((0..shards).all(|shard| map.shard(map.connection(shard)) == shard), "{map:?}");
            }
        }
    }

    #[test]
    fn shards_share_too_few_connections_evenly() {
        for connections in [1, 3, 5, 7] {
            let map = ShardMap { shards: 15, first: 11, connections };
            let mut used = vec![0; usize::from(connections)];
            (0..15).for_each(|shard| used[usize::from(map.connection(shard))] += 1);
            let (least, most) = (used.iter().min().unwrap(), used.iter().max().unwrap());
            assert!(*least > 0 && most - least <= 1, "{used:?}");
            assert!((0..connections).all(|own| map.connection(map.shard(own)) == own), "{map:?}");
        }
    }
}

//! How a node comes to have its registration, and what others may have against it.

use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, GetOptions, LeaseKeepAliveStream, LeaseKeeper, PutOptions, Txn, TxnOp, TxnOpResponse,
};
use tokio::time::sleep;

use super::Agent;
use super::session::{Ended, found};
use crate::MembershipError;
use crate::record::NodeRecord;

/// What stands in the way of a registration.
struct Rival {
    id: String,
    record: NodeRecord,
    revision: i64,
    lease: i64,
}

/// A registration that is not renewed any more is waited for so much longer than its time, since etcd looks for those
/// twice a second.
const EXPIRY_SLACK: Duration = Duration::from_secs(1);

impl<C: Fn() -> u64> Agent<C> {
    /// The seed is created once, and is the same for all.
    pub(super) async fn check_seed(&mut self, client: &mut Client) -> Result<(), Ended> {
        let (key, ours) = (self.keys.seed(), self.settings.cluster_seed);
        let create = Txn::new()
            .when([Compare::create_revision(key.clone(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key.clone(), ours.to_string(), None)])
            .or_else([TxnOp::get(key.clone(), None)]);
        let answer = self.answer(client.txn(create)).await?;
        if answer.succeeded() {
            return Ok(());
        }
        let theirs = match answer.op_responses().first() {
            Some(TxnOpResponse::Get(read)) => {
                read.kvs().first().map(|kv| String::from_utf8_lossy(kv.value()).into_owned()).unwrap_or_default()
            }
            _ => String::new(),
        };
        if theirs.trim().parse() == Ok(ours) {
            return Ok(());
        }
        let cluster = self.settings.cluster.clone();
        Err(Ended::Refused(MembershipError::OtherSeed { cluster, key, theirs, ours }))
    }

    /// Goes on with the registration that there is, or makes one.
    pub(super) async fn renew_or_register(
        &mut self,
        client: &mut Client,
    ) -> Result<(LeaseKeeper, LeaseKeepAliveStream), Ended> {
        if let Some(lease) = self.lease {
            let sent_ms = (self.clock)();
            match self.answer(client.lease_keep_alive(lease)).await {
                Ok(renewing) if self.is_registered(client, lease).await? => {
                    self.renewed(sent_ms, self.settings.ttl.as_secs() as i64).await;
                    return Ok(renewing);
                }
                Ok(_) => self.lost().await,
                // That is how the client says that there is no such lease.
                Err(Ended::Unanswered(why)) if why.contains("lease not found") => self.lost().await,
                Err(other) => return Err(other),
            }
        }
        self.register(client).await
    }

    async fn is_registered(&mut self, client: &mut Client, lease: i64) -> Result<bool, Ended> {
        let read = self.answer(client.get(self.keys.node(&self.own_id), None)).await?;
        Ok(read.kvs().first().is_some_and(|kv| kv.lease() == lease))
    }

    async fn register(&mut self, client: &mut Client) -> Result<(LeaseKeeper, LeaseKeepAliveStream), Ended> {
        loop {
            self.wait_for_address(client).await?;
            let ttl_s = self.settings.ttl.as_secs() as i64;
            let lease = self.answer(client.lease_grant(ttl_s, None)).await?.id();
            let Some(rival) = self.put_if_absent(client, lease).await? else {
                return self.registered(client, lease).await;
            };
            // An own record is one whose answer was lost; another one with our address is of a process that is gone,
            // since the address is bound by this one.
            if rival.record.addr == self.record.addr && self.take_over(client, lease, &rival).await? {
                if rival.lease != 0 {
                    // It may have run out by itself.
                    let _ = self.answer(client.lease_revoke(rival.lease)).await;
                }
                return self.registered(client, lease).await;
            }
            // It runs out by itself otherwise.
            let _ = self.answer(client.lease_revoke(lease)).await;
            self.wait_for(client, &rival).await?;
        }
    }

    async fn registered(
        &mut self,
        client: &mut Client,
        lease: i64,
    ) -> Result<(LeaseKeeper, LeaseKeepAliveStream), Ended> {
        self.lease = Some(lease);
        self.registration += 1;
        self.view.registered(self.registration);
        let sent_ms = (self.clock)();
        let renewing = self.answer(client.lease_keep_alive(lease)).await?;
        self.renewed(sent_ms, self.settings.ttl.as_secs() as i64).await;
        Ok(renewing)
    }

    /// Writes the registration if nobody has one under this id; else who.
    async fn put_if_absent(&mut self, client: &mut Client, lease: i64) -> Result<Option<Rival>, Ended> {
        let key = self.keys.node(&self.own_id);
        let put = Txn::new()
            .when([Compare::create_revision(key.clone(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key.clone(), self.record.to_json(), Some(PutOptions::new().with_lease(lease)))])
            .or_else([TxnOp::get(key.clone(), None)]);
        let answer = self.answer(client.txn(put)).await?;
        if answer.succeeded() {
            return Ok(None);
        }
        let Some(TxnOpResponse::Get(read)) = answer.op_responses().into_iter().next() else {
            return Err(Ended::Unanswered("it answers a transaction with something else".into()));
        };
        let Some(kv) = read.kvs().first() else { return Err(Ended::Anew) };
        let record = NodeRecord::parse(&self.own_id, kv.value())
            .map_err(|problem| Ended::Refused(MembershipError::UnreadableRecord { key, problem }))?;
        Ok(Some(Rival { id: self.own_id.clone(), record, revision: kv.mod_revision(), lease: kv.lease() }))
    }

    async fn take_over(&mut self, client: &mut Client, lease: i64, rival: &Rival) -> Result<bool, Ended> {
        let key = self.keys.node(&self.own_id);
        let put = Txn::new()
            .when([Compare::mod_revision(key.clone(), CompareOp::Equal, rival.revision)])
            .and_then([TxnOp::put(key, self.record.to_json(), Some(PutOptions::new().with_lease(lease)))]);
        Ok(self.answer(client.txn(put)).await?.succeeded())
    }

    /// Waits until no other node is registered with our address.
    async fn wait_for_address(&mut self, client: &mut Client) -> Result<(), Ended> {
        let prefix = self.keys.node("");
        let read = self.answer(client.get(prefix.clone(), Some(GetOptions::new().with_prefix()))).await?;
        for kv in read.kvs() {
            let key = found(kv).key;
            let Some(id) = key.strip_prefix(&prefix).filter(|id| *id != self.own_id) else { continue };
            // What cannot be read is reported when the members are read.
            let Ok(record) = NodeRecord::parse(id, kv.value()) else { continue };
            if record.addr == self.record.addr {
                let (revision, lease) = (kv.mod_revision(), kv.lease());
                let rival = Rival { id: id.to_owned(), record, revision, lease };
                self.wait_for(client, &rival).await?;
            }
        }
        Ok(())
    }

    /// Waits for the time that a registration lasts, and refuses to go on if it is still there then: somebody renews it.
    async fn wait_for(&mut self, client: &mut Client, rival: &Rival) -> Result<(), Ended> {
        let Rival { id, record, .. } = rival;
        self.say(format!(
            "node {id} is registered at {} in etcd, and this is node {} at {}: waiting {:?} for that to run out",
            record.addr,
            self.own_id,
            self.record.addr,
            self.settings.ttl + EXPIRY_SLACK
        ))
        .await;
        sleep(self.settings.ttl + EXPIRY_SLACK).await;
        let read = self.answer(client.get(self.keys.node(id), None)).await?;
        let is_there = read.kvs().first().is_some_and(|kv| kv.lease() == rival.lease);
        if !is_there {
            return Ok(());
        }
        let (own, address) = (self.own_id.clone(), self.record.addr.clone());
        let (theirs, cluster) = (record.addr.clone(), self.settings.cluster.clone());
        Err(Ended::Refused(if *id == own {
            MembershipError::IdTaken { cluster, id: own, theirs, address }
        } else {
            MembershipError::AddressTaken { cluster, id: own, theirs: id.clone(), address }
        }))
    }
}

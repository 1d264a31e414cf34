//! One session with one etcd server: from the connection until it does not answer any more.

use std::collections::BTreeMap;
use std::future::Future;

use etcd_client::{
    Client, EventType, GetOptions, KeyValue, LeaseKeepAliveStream, LeaseKeeper, PutOptions, WatchOptions, WatchResponse,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::{Agent, Order, RENEWALS_PER_TTL, Refusal, Update, changed};
use crate::MembershipError;
use crate::record::{OverrideRecord, State};
use crate::view::Found;

/// Why a session is over.
pub(super) enum Ended {
    /// As ordered.
    Left,
    /// This node cannot be in this cluster.
    Refused(MembershipError),
    /// The server does not answer, or answers with an error.
    Unanswered(String),
    /// The server answers, and everything is to be begun anew.
    Anew,
}

/// The next renewal that is not answered yet.
struct Renewal {
    sent_ms: u64,
    due: Instant,
}

impl<C: Fn() -> u64> Agent<C> {
    /// A session; returns why it is over.
    pub(super) async fn session(&mut self, endpoint: &str) -> Ended {
        match self.begin(endpoint).await {
            Ok(ended) | Err(ended) => ended,
        }
    }

    async fn begin(&mut self, endpoint: &str) -> Result<Ended, Ended> {
        let options = self.options();
        let mut client = self.answer(Client::connect([endpoint], Some(options))).await?;
        self.check_etcd(&mut client).await?;
        self.check_seed(&mut client).await?;
        let renewing = self.renew_or_register(&mut client).await?;
        self.create_groups(&mut client).await?;
        self.read_all(&mut client).await?;
        if std::mem::replace(&mut self.is_out, false) {
            self.tell(Update::Outage(false)).await;
            self.tell(Update::Report(format!("etcd at {endpoint} answers"))).await;
        }
        self.said.clear();
        self.give().await;
        self.follow(client, renewing).await
    }

    /// The answer to a request, which has to come in time.
    pub(super) async fn answer<T>(
        &self,
        request: impl Future<Output = Result<T, etcd_client::Error>>,
    ) -> Result<T, Ended> {
        match timeout(self.patience(), request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Ended::Unanswered(error.to_string())),
            Err(_) => Err(Ended::Unanswered(format!("no answer within {:?}", self.patience()))),
        }
    }

    /// Whether it is the etcd that was spoken to before.
    async fn check_etcd(&mut self, client: &mut Client) -> Result<(), Ended> {
        let read = self.answer(client.get(self.keys.seed(), None)).await?;
        let found = read.header().map_or(0, |header| header.cluster_id());
        match self.etcd.replace(found) {
            Some(known) if known != found => {
                self.etcd = Some(known);
                Err(Ended::Refused(MembershipError::OtherEtcd { found, known }))
            }
            _ => Ok(()),
        }
    }

    /// Reads all keys of the cluster.
    async fn read_all(&mut self, client: &mut Client) -> Result<(), Ended> {
        let read = self.answer(client.get(self.keys.prefix.clone(), Some(GetOptions::new().with_prefix()))).await?;
        let revision = read.header().map_or(0, |header| header.revision()) as u64;
        let listed = self.view.list(revision, read.kvs().iter().map(found));
        listed.map_err(|error| Ended::Refused(MembershipError::Backwards(error)))
    }

    /// Renews the registration and follows changes and orders until something fails.
    async fn follow(
        &mut self,
        mut client: Client,
        (mut keeper, mut renewals): (LeaseKeeper, LeaseKeepAliveStream),
    ) -> Result<Ended, Ended> {
        let options = WatchOptions::new().with_prefix().with_start_revision(self.view.revision() as i64 + 1);
        let mut watch = self.answer(client.watch(self.keys.prefix.clone(), Some(options))).await?;
        let mut ticks = interval(self.settings.ttl / RENEWALS_PER_TTL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewal: Option<Renewal> = None;
        let mut reach_by: Option<Instant> = None;
        self.write_state(&mut client).await?;
        loop {
            let silence = renewal.as_ref().map(|renewal| renewal.due);
            let held = self.view.due_ms().map(|due_ms| {
                Instant::now() + std::time::Duration::from_millis(due_ms.saturating_sub((self.clock)()).max(1))
            });
            tokio::select! {
                _ = ticks.tick(), if renewal.is_none() => {
                    renewal = Some(Renewal { sent_ms: (self.clock)(), due: Instant::now() + self.patience() });
                    keeper.keep_alive().await.map_err(|error| Ended::Unanswered(error.to_string()))?;
                }
                answer = renewals.message() => {
                    let answer = answer.map_err(|error| Ended::Unanswered(error.to_string()))?;
                    let ttl_s = answer.as_ref().map_or(0, |answer| answer.ttl());
                    match (answer, renewal.take()) {
                        (None, _) => return Err(Ended::Unanswered("it renews the registration no more".into())),
                        (Some(_), Some(Renewal { sent_ms, .. })) if ttl_s > 0 => self.renewed(sent_ms, ttl_s).await,
                        (Some(_), None) if ttl_s > 0 => {}
                        _ => {
                            self.lost().await;
                            return Ok(Ended::Anew);
                        }
                    }
                }
                () = until(silence) => {
                    return Err(Ended::Unanswered(format!("no answer within {:?}", self.patience())));
                }
                change = watch.message() => {
                    let change = change.map_err(|error| Ended::Unanswered(error.to_string()))?;
                    let Some(change) = change else {
                        return Err(Ended::Unanswered("it tells of changes no more".into()));
                    };
                    if change.canceled() {
                        // Compacted, or the server's wish: what was missed is read.
                        return Ok(Ended::Anew);
                    }
                    self.take_changes(&change).await;
                    if reach_by.is_some() && self.view.revision() < self.wanted {
                        self.look(&mut client).await?;
                    }
                    if self.view.revision() >= self.wanted {
                        reach_by = None;
                    }
                    if self.is_gone() {
                        self.lost().await;
                        return Ok(Ended::Anew);
                    }
                }
                () = until(reach_by) => return Ok(Ended::Anew),
                () = until(held) => self.give().await,
                order = self.orders.recv() => match order {
                    None | Some(Order::Leave) => return self.leave(&mut client).await,
                    Some(Order::Reach(epoch)) if epoch > self.wanted => {
                        self.wanted = epoch;
                        self.view.believe(epoch);
                        self.view.reached(0, epoch);
                        self.give().await;
                        if self.view.revision() < epoch {
                            reach_by = Some(Instant::now() + self.patience());
                            self.look(&mut client).await?;
                        }
                    }
                    Some(Order::Override { node, points, drain, done }) => {
                        if self.view.record(&node).is_none() && self.view.override_of(&node).is_empty() {
                            // Whoever asked may be gone.
                            let _ = done.send(Err(Refusal::UnknownNode));
                            continue;
                        }
                        let written = self.write_override(&mut client, &node, points, drain).await;
                        tell(done, written)?;
                    }
                    Some(Order::Invalidate { group, done }) => {
                        let written = self.raise_generation(&mut client, &group).await;
                        tell(done, written)?;
                    }
                    Some(Order::Group { group, change, done }) => {
                        match self.change_group(&mut client, &group, &change).await {
                            // Whoever asked may be gone.
                            Ok(changed) => drop(done.send(changed)),
                            Err(ended) => tell(done, Err(ended))?,
                        }
                    }
                    Some(order) => {
                        self.note(order);
                        self.give().await;
                        self.write_state(&mut client).await?;
                    }
                }
            }
        }
    }

    /// Takes in a message of the watch, revision by revision.
    async fn take_changes(&mut self, change: &WatchResponse) {
        let mut revisions: BTreeMap<i64, Vec<Found>> = BTreeMap::new();
        for event in change.events() {
            let Some(kv) = event.kv() else { continue };
            let mut found = found(kv);
            if event.event_type() == EventType::Delete {
                found.value = None;
            }
            revisions.entry(kv.mod_revision()).or_default().push(found);
        }
        for (revision, found) in revisions {
            self.view.change(revision as u64, found);
            self.give().await;
        }
    }

    /// Looks how far etcd is, and takes up its revision if the view is as what is there. Else what is missing is on its way
    /// over the watch. The watch's own word for how far it is is of no use: before 3.4.25 and 3.5.8, etcd says it before it
    /// tells what happened until then.
    async fn look(&mut self, client: &mut Client) -> Result<(), Ended> {
        let read = self.answer(client.get(self.keys.prefix.clone(), Some(GetOptions::new().with_prefix()))).await?;
        let revision = read.header().map_or(0, |header| header.revision()) as u64;
        let there = read.kvs().iter().map(|kv| (String::from_utf8_lossy(kv.key()), kv.mod_revision() as u64));
        if self.view.is_as(there) {
            self.view.reached(revision, self.wanted);
            self.give().await;
        }
        Ok(())
    }

    /// Whether somebody has taken the registration away.
    fn is_gone(&self) -> bool {
        self.view.record(&self.own_id).is_none_or(|record| record.incarnation != self.record.incarnation)
    }

    /// Writes the state that this node is to have, if etcd has another one.
    async fn write_state(&mut self, client: &mut Client) -> Result<(), Ended> {
        let written = self.view.record(&self.own_id).map(|record| record.state);
        if self.record.state == State::Joining || written == Some(self.record.state) {
            return Ok(());
        }
        let Some(lease) = self.lease else { return Err(Ended::Anew) };
        let options = PutOptions::new().with_lease(lease);
        self.answer(client.put(self.keys.node(&self.own_id), self.record.to_json(), Some(options))).await?;
        Ok(())
    }

    async fn write_override(
        &mut self,
        client: &mut Client,
        node: &str,
        points: Option<Option<u32>>,
        drain: Option<bool>,
    ) -> Result<(), Ended> {
        let key = self.keys.override_of(node);
        let read = self.answer(client.get(key.clone(), None)).await?;
        let before = read.kvs().first().and_then(|kv| OverrideRecord::parse(kv.value()).ok()).unwrap_or_default();
        let after = changed(before, points, drain);
        if after.is_empty() {
            self.answer(client.delete(key, None)).await.map(|_| ())
        } else {
            self.answer(client.put(key, after.to_json(), None)).await.map(|_| ())
        }
    }

    /// Takes the registration back.
    async fn leave(&mut self, client: &mut Client) -> Result<Ended, Ended> {
        if let Some(lease) = self.lease.take() {
            self.lost().await;
            // It runs out by itself otherwise.
            let _ = self.answer(client.lease_revoke(lease)).await;
        }
        Ok(Ended::Left)
    }
}

/// Says what became of an order, and whether the session can go on.
fn tell<T>(done: oneshot::Sender<Result<T, Refusal>>, written: Result<T, Ended>) -> Result<(), Ended> {
    let (answer, ended) = match written {
        Ok(written) => (Ok(written), Ok(())),
        Err(Ended::Unanswered(why)) => (Err(Refusal::Unanswered(why.clone())), Err(Ended::Unanswered(why))),
        Err(other) => (Err(Refusal::Unanswered("its answer is odd".into())), Err(other)),
    };
    // Whoever asked may be gone.
    let _ = done.send(answer);
    ended
}

pub(super) fn found(kv: &KeyValue) -> Found {
    Found {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        value: Some(kv.value().to_vec()),
        created: kv.create_revision() as u64,
        writes: kv.version() as u64,
    }
}

/// Waits for a time; for ever if there is none.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

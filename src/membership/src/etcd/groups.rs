//! What is kept of groups, for all nodes.

use etcd_client::{Client, Compare, CompareOp, KeyValue, Txn, TxnOp};

use super::session::Ended;
use super::{Agent, Invalidated, Refusal};
use crate::record::{GroupRecord, merge_settings};

/// How often the record of a group is written at most, if others write it at the same time.
const WRITES_MAX: usize = 16;

/// What is to become of a group's record.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupChange {
    /// There is to be a group with these settings, and was none, or just that one.
    Create(serde_json::Map<String, serde_json::Value>),
    /// Its settings are changed, see [`merge_settings`]; if it has none they are these. `must_be`: there is to be one.
    Alter {
        /// The change.
        patch: serde_json::Map<String, serde_json::Value>,
        /// Whether it is refused if the group has no record.
        must_be: bool,
    },
    /// It is to be no more.
    Drop,
}

/// What is to be written instead of a record.
enum Next {
    Record(GroupRecord),
    Nothing,
    /// It is as it should be.
    Same,
    Refused(Refusal),
}

impl<C: Fn() -> u64> Agent<C> {
    /// Writes the groups that this node was configured with and that nobody has written: once.
    pub(super) async fn create_groups(&mut self, client: &mut Client) -> Result<(), Ended> {
        while let Some((name, settings)) = self.settings.groups.last().cloned() {
            let written = self.rewrite(client, &name, |record| match record {
                Some(record) if !record.settings.is_empty() => Next::Refused(Refusal::Exists),
                record => Next::Record(GroupRecord { settings: settings.clone(), ..record.unwrap_or_default() }),
            });
            // What is there goes before what this node says.
            let _ = written.await?;
            self.settings.groups.pop();
        }
        Ok(())
    }

    /// Writes that a group was invalidated once more.
    pub(super) async fn raise_generation(&mut self, client: &mut Client, group: &str) -> Result<Invalidated, Ended> {
        let mut generation = 0;
        let written = self.rewrite(client, group, |record| {
            let mut record = record.unwrap_or_default();
            record.generation += 1;
            generation = record.generation;
            Next::Record(record)
        });
        let epoch = written.await?.expect("an invalidation is not refused");
        Ok(Invalidated { generation, epoch })
    }

    /// Writes what is to become of a group; the epoch by which it is so.
    pub(super) async fn change_group(
        &mut self,
        client: &mut Client,
        group: &str,
        change: &GroupChange,
    ) -> Result<Result<u64, Refusal>, Ended> {
        self.rewrite(client, group, |record| {
            let has_settings = record.as_ref().is_some_and(|record| !record.settings.is_empty());
            let mut record = record.unwrap_or_default();
            match change {
                GroupChange::Create(settings) if has_settings && record.settings == *settings => Next::Same,
                GroupChange::Create(_) if has_settings => Next::Refused(Refusal::Exists),
                GroupChange::Create(settings) => Next::Record(GroupRecord { settings: settings.clone(), ..record }),
                GroupChange::Alter { must_be: true, .. } | GroupChange::Drop if !has_settings => {
                    Next::Refused(Refusal::UnknownGroup)
                }
                GroupChange::Alter { patch, .. } => {
                    let before = record.settings.clone();
                    merge_settings(&mut record.settings, patch.clone());
                    if record.settings == before { Next::Same } else { Next::Record(record) }
                }
                GroupChange::Drop => Next::Nothing,
            }
        })
        .await
    }

    /// Replaces the record of a group, whoever else writes it; the revision at which it was so.
    async fn rewrite(
        &mut self,
        client: &mut Client,
        group: &str,
        mut next: impl FnMut(Option<GroupRecord>) -> Next,
    ) -> Result<Result<u64, Refusal>, Ended> {
        let key = self.keys.group(group);
        for _ in 0..WRITES_MAX {
            let read = self.answer(client.get(key.clone(), None)).await?;
            let kv = read.kvs().first();
            let known = kv.map_or(0, KeyValue::mod_revision);
            // What cannot be read is not believed, and is mended by being written.
            let operation = match next(kv.and_then(|kv| GroupRecord::parse(kv.value()).ok())) {
                Next::Record(record) => TxnOp::put(key.clone(), record.to_json(), None),
                Next::Nothing => TxnOp::delete(key.clone(), None),
                Next::Same => return Ok(Ok(known as u64)),
                Next::Refused(refusal) => return Ok(Err(refusal)),
            };
            let write =
                Txn::new().when([Compare::mod_revision(key.clone(), CompareOp::Equal, known)]).and_then([operation]);
            let answer = self.answer(client.txn(write)).await?;
            if answer.succeeded() {
                return Ok(Ok(answer.header().map_or(0, |header| header.revision()) as u64));
            }
        }
        Err(Ended::Unanswered(format!("{key} is written by others all the time")))
    }
}
